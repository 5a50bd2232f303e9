"""Files that could not be accepted: under which name they are kept, and the text beside each that says why."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from shared.clock import format_time
from shared.errors import TaxferryError
from shared.text import Text
from shared.text.system import shown_name

WHY: Final = ".why.txt"
"""What the name of the text ends in, after the name of the file."""

_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_LONGEST: Final = 180
"""Bytes of a kept file's name: file systems allow 255, and the text's and the temporary file's names are longer."""


def kept_name(mark: str, name: str) -> str:
    """Return the name under which a file is kept: what tells it from others, then its own name or the end of it."""
    safe = _UNSAFE.sub("_", shown_name(name)).strip(" .") or "file"
    while len(f"{mark}{safe}".encode()) > _LONGEST:
        safe = safe[1:]
    return f"{mark}{safe}"


def explanation(name: str, error: TaxferryError, now: datetime) -> bytes:
    """Return the text beside a file, in the operator's language: what happened, whether anything is lost, what to do.

    Args:
        name: The name under which the file came, as it can be shown.
        error: Why it was refused.
        now: When.
    """
    name = "".join(c if c.isprintable() else "?" for c in name)  # it was given by anyone: no lines, nothing invisible
    lines = [
        str(Text(f"文件：{name}", f"file: {name}")),
        str(Text(f"时间：{format_time(now)}", f"time: {format_time(now)}")),
        str(Text(f"原因：{error.text.zh} [{error.code}]", f"reason: {error.text.en} [{error.code}]")),
        str(Text(f"数据：{error.safe.zh}", f"data: {error.safe.en}")),
        str(Text(f"办法：{error.advice.zh}", f"hint: {error.advice.en}")),
        "",
    ]
    # With a byte order mark: the editors of old Windows read it as GBK otherwise.
    return "\r\n".join(lines).encode("utf-8-sig")
