"""The one JSON encoding and the one `label: value` encoding of everything that is signed.

JSON follows RFC 8785 restricted to objects, arrays, strings, integers, booleans and null, with ASCII member names; a
reader accepts bytes only if writing what was read gives the same bytes again (FORM-1). That one comparison refuses
duplicate members, other number spellings, other escapes and stray blanks at once.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from shared.errors import NotCanonical
from shared.text import Text

MAX_SAFE_INTEGER: Final = 2**53 - 1
CRLF: Final = b"\r\n"


def render_json(value: object) -> bytes:
    """Return the canonical encoding of `value`, without a final line end.

    Args:
        value: Objects with ASCII string keys, arrays, strings, integers within ±(2⁵³−1), booleans, None.

    Raises:
        ValueError: A float, another type, a lone surrogate, an integer or key out of range.
    """
    _check(value, depth=0)
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True).encode()


def _check(value: object, depth: int) -> None:
    if depth > 16:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise ValueError(f"member name {key!r}")
            _check(item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, bool) or value is None or isinstance(value, str):
        pass
    elif isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise ValueError(f"integer {value}")
    else:
        raise ValueError(f"{type(value).__name__} has no canonical form")


def parse_json(data: bytes) -> dict[str, object]:
    """Return the object in `data`, which must be in the canonical encoding.

    Raises:
        NotCanonical: Anything else: other bytes for the same value, another top level than an object, floats,
            numbers out of range, duplicate members, bad UTF-8, deep nesting.
    """
    try:
        value = json.loads(data.decode("utf-8"), parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise NotCanonical(
            reason=Text("不是规定的 JSON", f"not the JSON that is permitted ({type(error).__name__})")
        ) from None
    if not isinstance(value, dict):
        raise NotCanonical(reason=Text("应为一个对象", "an object is expected"))
    try:
        again = render_json(value)
    except (ValueError, RecursionError):
        again = b""
    if again != data:
        raise NotCanonical(reason=Text("不是唯一写法", "another spelling than the canonical one"))
    return value


def _refuse(text: str) -> object:
    raise ValueError(text)


_FORBIDDEN: Final = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f\xad"  # controls, the soft hyphen
    "\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # what is not seen, or turns the rest round
    "\ud800-\uf8ff\U000f0000-\U0010ffff"  # surrogates, private use
    "\U000e0000-\U000e007f"  # tags
    "\ufdd0-\ufdef\ufffe\uffff"  # noncharacters, here and at the end of each plane
    + "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(1, 15))
    + "]"
)
"""A list of our own (FORM-4): which characters are assigned, and as what, depends on the version of Python, and two
stations must not disagree about somebody's rare name. NFC is safe: it never changes for an assigned character, and no
new unified ideograph takes part in it."""
_BLANKS: Final = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"


def value_fault(value: str) -> Text | None:
    """Return why `value` may not stand in a `label: value` line, or None (FORM-4).

    Args:
        value: The value alone. It must be NFC, without the characters of the list, without blanks at either end, and
            must not start with `-----`.
    """
    if value != value.strip(_BLANKS):
        return Text("两端有空白", "blanks at the ends")
    if value.startswith("-----"):
        return Text("不能以 ----- 开头", "it starts with -----")
    if not unicodedata.is_normalized("NFC", value):
        return Text("不是 NFC 写法", "not in form NFC")
    if (found := _FORBIDDEN.search(value)) is not None:
        code = f"U+{ord(found[0]):04X}"
        return Text(f"含有不允许的字符 {code}", f"forbidden character {code}")
    return None


def clean_value(text: str, *, limit: int = 500) -> str:
    """Return the nearest permitted value to a text that came from elsewhere (a bureau's own wording, a reason).

    Args:
        text: Anything.
        limit: Most characters kept.
    """
    text = unicodedata.normalize("NFC", text)
    kept = _FORBIDDEN.sub(" ", text)
    clean = unicodedata.normalize("NFC", " ".join(kept.split())[:limit]).strip()
    while clean.startswith("-----"):
        clean = clean.lstrip("-").strip()
    return clean


def render_lines(title: str, lines: Iterable[tuple[str, str]]) -> bytes:
    """Return a text body: the title line, then `label: value` lines, each ended by CRLF, in UTF-8.

    An empty value is written `label:` without a blank.

    Raises:
        ValueError: A value that `value_fault` refuses: a defect of the caller, who cleans foreign text first.
    """
    rendered = [title]
    for label, value in lines:
        fault = value_fault(value)
        if fault is not None:
            raise ValueError(f"{label}: {fault.en}")
        rendered.append(f"{label}: {value}" if value else f"{label}:")
    return b"".join(line.encode() + CRLF for line in rendered)


def parse_lines(body: bytes) -> tuple[str, Sequence[tuple[str, str]]]:
    """Return the title and the lines of a canonical text body.

    Labels are checked by the caller, who knows which must stand where.

    Raises:
        NotCanonical: Not UTF-8, a line that is not `label: value` in its one spelling, a bare CR or LF, no CRLF at
            the end, a forbidden value.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise NotCanonical(
            reason=Text("不是 UTF-8 文本（可能被另存为 GBK）", "not UTF-8 (saved as GBK perhaps)")
        ) from None
    if not text.endswith("\r\n"):
        raise NotCanonical(reason=Text("最后一行没有结束", "the last line is not ended"))
    title, *rest = text[:-2].split("\r\n")
    fault = value_fault(title)
    if fault is not None:
        raise NotCanonical(reason=Text(f"第 1 行{fault.zh}", f"line 1: {fault.en}"))
    pairs = []
    for number, line in enumerate(rest, start=2):
        label, colon, value = line.partition(":")
        if not colon or not label or (value and not value.startswith(" ")) or value == " ":
            raise NotCanonical(reason=Text(f"第 {number} 行不是“标签: 值”", f"line {number} is not 'label: value'"))
        value = value[1:]
        fault = value_fault(value) or value_fault(label)
        if fault is not None:
            raise NotCanonical(reason=Text(f"第 {number} 行{fault.zh}", f"line {number}: {fault.en}"))
        pairs.append((label, value))
    return title, pairs
