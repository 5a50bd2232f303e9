"""Tells the other station on this PC which folder stands for the stick: by its own command, as a person would."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from shared.errors import ConfigurationError
from shared.text import Text

_SECONDS: Final = 60


def tell_offline_station(home: Path | None, folder: Path) -> str:
    """Have `offline-station` prepare a folder as its stick; it is the one that remembers it.

    Args:
        home: Its home; the system's custom if not given.
        folder: The folder, prepared already; it keeps its identity.

    Returns:
        What it used as its home, as far as it was named.

    Raises:
        ConfigurationError: It is not installed here, has no card yet, or would not. This side is set up; run it again.
    """
    command = [sys.executable, "-m", "offline_station"]
    if home is not None:
        command += ["--home", str(home.absolute())]
    command += ["--json", "stick", "prepare", str(folder)]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter, our own program, a list of arguments
            command, capture_output=True, text=True, encoding="utf-8", timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _would_not(Text(str(error), str(error))) from None
    if done.returncode == 0:
        return "" if home is None else str(home.absolute())
    try:
        first = json.loads(done.stdout)["errors"][0]
        raise _would_not(Text(f"{first['message']}。{first['hint']}", f"{first['message']}. {first['hint']}"))
    except (ValueError, KeyError, IndexError, TypeError):
        said = (done.stderr or done.stdout).strip().splitlines()
        reason = said[-1][:200] if said else str(done.returncode)
        raise _would_not(Text(reason, reason)) from None


def _would_not(reason: Text) -> ConfigurationError:
    return ConfigurationError(
        reason=Text(f"开票机程序没有配合：{reason.zh}", f"offline-station would not: {reason.en}")
    )
