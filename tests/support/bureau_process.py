"""The reference bureau as a process of its own, to be spoken to over a socket and killed."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PATIENCE: Final = 30.0


class Process:
    """`tax-bureau serve` as a process of its own."""

    def __init__(self, home: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tax_bureau", "--home", str(home), "serve", "--port", "0", *options, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        assert self.process.stdout is not None
        self.url = json.loads(self.process.stdout.readline())["url"]

    def end(self, how: signal.Signals) -> tuple[int, str]:
        """Send a signal; return the exit status and what it said on standard error."""
        self.process.send_signal(how)
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors


@contextlib.contextmanager
def serving(home: Path, *options: str) -> Iterator[Process]:
    process = Process(home, *options)
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.process.kill()
            process.process.communicate(timeout=PATIENCE)
