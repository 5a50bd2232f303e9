"""PINs and passwords as a type that does not print itself."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from shared.errors import KeyUnavailable
from shared.text import Text
from shared.text.system import os_reason

_MAX_PIN_FILE: Final = 1024


class Secret:
    """A text that must not reach a log, a traceback or a message; whoever needs it has to say so."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Hold `text`."""
        self._text = text

    def reveal_secret(self) -> str:
        """Return the text itself. Call it in the argument list of what consumes it, and keep no reference."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    def __str__(self) -> str:
        return "…"

    def __format__(self, spec: str) -> str:
        return "…"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not to be stored")


def read_pin_file(path: Path) -> Secret:
    """Return the PIN in a file: its first line, without line end and byte order mark.

    Raises:
        KeyUnavailable: The file cannot be read, is empty, or is no PIN file. No key was touched.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_PIN_FILE + 1)
    except OSError as error:
        raise KeyUnavailable(
            reason=Text(f"口令文件 {path} 读不出（{os_reason(error).zh}）", f"PIN file {path}: {os_reason(error).en}")
        ) from None
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        lines = []
    if len(data) > _MAX_PIN_FILE or len([line for line in lines if line]) != 1 or not lines[0]:
        raise KeyUnavailable(
            reason=Text(f"口令文件 {path} 应当只有一行口令", f"PIN file {path} must hold one line: the PIN")
        )
    return Secret(lines[0])
