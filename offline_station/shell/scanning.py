"""QR codes as they come in: a scanner types their texts into standard input, or a person pastes them (QR-5 to QR-12).

Nothing is kept but in memory: whoever stops half-way has changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from offline_station.shell.arrivals import Arrival
from shared.errors import QrIncomplete
from shared.qr import Parts, Taken
from shared.text import Text

MAX_LINE_BYTES: Final = 1 << 16
MAX_TOTAL_BYTES: Final = 1 << 20


def scan(stream: BinaryIO, tell: Callable[[Text], None], *, by_hand: bool) -> list[Arrival]:
    """Read part texts until a set is whole, and return what the whole sets carry.

    Args:
        stream: Where they come from.
        tell: Is told, line by line, how far it is.
        by_hand: Whether somebody sits there: then the first whole set ends it, and two empty lines in a row do (one
            alone does not: many scanners type one after each code). Else all is read.

    Returns:
        At least one.

    Raises:
        QrIncomplete: No set became whole.
        QrContradicts: The parts of a set are no file.
    """
    parts = Parts()
    empty = 0
    for line in _lines(stream, tell):
        text = _decoded(line)
        if not text.strip():
            empty += 1
            if by_hand and empty > 1:
                break
            continue
        empty = 0
        _take(parts, text, tell)
        if by_hand and parts.whole:
            break
    if not parts.whole:
        raise QrIncomplete(reason=parts.what_is_missing)
    if parts.missing:
        words = parts.what_is_missing
        tell(
            Text(f"另一组二维码没有收齐，没有采用：{words.zh}", f"another set is not complete and not used: {words.en}")
        )
    return [Arrival(f"QR {one.set_id}", None, one.complete()) for one in parts.whole]


def _take(parts: Parts, text: str, tell: Callable[[Text], None]) -> None:
    """Take a line in and say what it was, and how far every set that it touched is now."""
    touched = {}
    for news in parts.add(text):
        if isinstance(news, Taken):
            touched[news.part.set_id] = news
            continue
        which = Text(f"第 {news.number} 张", f"code {news.number}") if news.number else Text("这一张", "this code")
        tell(
            Text(
                f"没有采用{which.zh}：{news.why.zh}；请重扫", f"{which.en} was not taken: {news.why.en}; scan it again"
            )
        )
    several = len(parts.sets) > 1
    for set_id, taken in touched.items():
        words = parts.sets[set_id].what_is_missing
        again = Text(f"第 {taken.part.number} 张已经有了；", f"code {taken.part.number} was here already; ")
        before = again if taken.again else Text("", "")
        group = Text(f"{set_id} 组：", f"set {set_id}: ") if several else Text("", "")
        tell(Text(group.zh + before.zh + words.zh, group.en + before.en + words.en))


def _lines(stream: BinaryIO, tell: Callable[[Text], None]) -> Iterator[bytes]:
    """Yield lines without their ends, as many as may be read; of one that is too long, nothing (QR-12)."""
    total, skipping = 0, False
    while line := stream.readline(MAX_LINE_BYTES + 1):
        total += len(line)
        whole = line.endswith(b"\n")
        if len(line) > MAX_LINE_BYTES and not whole:
            if not skipping:
                tell(Text("有一行太长，没有采用", "a line is too long and was not taken"))
            skipping = True
        elif skipping:
            skipping = not whole
        else:
            # A scanner may end a code with a carriage return alone.
            yield from line.rstrip(b"\r\n").split(b"\r")
        if total > MAX_TOTAL_BYTES:
            tell(Text("输入太多，后面的没有读", "too much input: the rest was not read"))
            return


def _decoded(line: bytes) -> str:
    """Return the characters of a line; full-width ones may come in either of the two encodings of Chinese PCs."""
    line = line.replace(b"\0", b"")  # of a text that Windows kept in two octets for each character
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError:
        return line.decode("gb18030", errors="replace")
