"""The text that lies beside a file which could not be accepted: both stations say it in the same words."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from shared.clock import format_time
from shared.errors import TaxferryError
from shared.text import Text

WHY: Final = ".why.txt"
"""What the name of the text ends in, after the name of the file."""


def explanation(name: str, error: TaxferryError, now: datetime) -> bytes:
    """Return the text beside a file, in the operator's language: what happened, whether anything is lost, what to do.

    Args:
        name: The name under which the file came, as it can be shown.
        error: Why it was refused.
        now: When.
    """
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
