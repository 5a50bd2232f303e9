"""The program itself, to which the other modules add their verbs."""

from __future__ import annotations

from typing import Final

from shared.cli import Program
from shared.clock import SystemClock
from shared.text import Text

program = Program("online-station", Text("税渡 上网机", "taxferry, Internet PC"))
CLOCK: Final = SystemClock()


def main() -> None:
    """Run the program."""
    program.main()
