"""One visit to a stick, as a program: puts the files of a folder on it, and says SAFE when the stick may be removed.

    python -m tests.support.stick_worker STICK FOLDER DIRECTION [--mode MODE] [--station ID]

Prints `SAFE` after `Stick.finish`, and never before; `REFUSED CODE` and status 1 if the stick's errors forbid it.
Whatever else it prints is a defect.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from shared.clock import CHINA
from shared.errors import TaxferryError
from shared.medium import LOCAL, Direction, FilePort, Outgoing, Stick

NOW = datetime(2026, 8, 5, 9, 30, tzinfo=CHINA)
STATION = "worker-1"


def _one_by_one(stick: Stick, folder: Path, direction: Direction) -> None:
    for source in sorted(folder.iterdir()):
        stick.place(source, source.name, direction, now=NOW)


def _as_a_container(stick: Stick, folder: Path, direction: Direction) -> None:
    items = [Outgoing.of(source, source.name) for source in sorted(folder.iterdir())]
    stick.place_batch(items, direction, now=NOW)


MODES: dict[str, Callable[[Stick, Path, Direction], None]] = {"single": _one_by_one, "batch": _as_a_container}
"""How the files of a folder are placed."""


def visit(
    path: Path,
    folder: Path,
    direction: Direction,
    *,
    mode: str = "single",
    station: str = STATION,
    files: FilePort = LOCAL,
) -> None:
    """Place every file of a folder; on return the stick is safe to remove."""
    with Stick.open(path, station=station, files=files) as stick:
        MODES[mode](stick, folder, direction)
        stick.finish()


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the visit that the arguments describe; return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("stick", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("direction", type=Direction)
    parser.add_argument("--mode", choices=MODES, default="single")
    parser.add_argument("--station", default=STATION)
    told = parser.parse_args(arguments)
    try:
        visit(told.stick, told.folder, told.direction, mode=told.mode, station=told.station)
    except TaxferryError as error:
        print(f"REFUSED {error.code}", flush=True)
        return 1
    print("SAFE", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
