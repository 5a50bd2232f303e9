"""The station's folder: what lies where, and that one program at a time works in it."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from shared.errors import AccessDenied, StationBusy
from shared.text import Text

_FOLDERS: Final = ("outbox", "inbox", "results", "spool", "backups", "quarantine", "log")


@dataclass(frozen=True)
class Home:
    """All paths of one invoicing PC.

    Attributes:
        root: The folder that holds all state.
    """

    root: Path

    @property
    def card(self) -> Path:
        """The software card. There is only one: it is never copied, not even into a backup."""
        return self.root / "card.db"

    @property
    def station(self) -> Path:
        """Settings, the reports' life-lines, the log of events."""
        return self.root / "station.db"

    @property
    def ledger(self) -> Path:
        """The invoices."""
        return self.root / "ledger.db"

    @property
    def outbox(self) -> Path:
        """Where `.dat` and `.ack` go unless `init` named another folder (传出目录)."""
        return self.root / "outbox"

    @property
    def inbox(self) -> Path:
        """Where `.txt` is looked for unless `init` named another folder."""
        return self.root / "inbox"

    @property
    def results(self) -> Path:
        """Results that the card took notice of."""
        return self.root / "results"

    @property
    def spool(self) -> Path:
        """Sealed reports under their digests: what `report` gives out again and again."""
        return self.root / "spool"

    @property
    def backups(self) -> Path:
        """Backups, one made before every clearing."""
        return self.root / "backups"

    @property
    def quarantine(self) -> Path:
        """What could not be accepted, each beside a text that says why."""
        return self.root / "quarantine"

    @property
    def operators(self) -> Path:
        """Who works here; never in a backup."""
        return self.root / "operators.json"

    @property
    def page(self) -> Path:
        """What the local page keeps while it is open: tickets and uploads."""
        return self.root / "page"

    @property
    def log(self) -> Path:
        """Exports of the log, and records of defects."""
        return self.root / "log"

    def make(self) -> None:
        """Make the folders, readable by their owner only."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in _FOLDERS:
            (self.root / name).mkdir(mode=0o700, exist_ok=True)


class HomeLock:
    """The right to change a home: held by one process at a time, let go by the system when that process dies."""

    def __init__(self, home: Home) -> None:
        """Take the lock.

        Raises:
            StationBusy: Another process holds it. Nothing was changed.
            AccessDenied: The folder cannot be written.
        """
        path = home.root / ".lock"
        try:
            self._file: IO[bytes] = path.open("ab")
        except PermissionError:
            raise AccessDenied(name=str(path)) from None
        try:
            _lock(self._file)
        except OSError:
            self._file.close()
            raise StationBusy(home=str(home.root)) from None

    def release(self) -> None:
        """Let go."""
        with contextlib.suppress(OSError):
            self._file.close()


def _lock(file: IO[bytes]) -> None:
    if os.name == "nt":  # pragma: no cover
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


FOLDER_NAMES: Final = {
    "outbox": Text("传出目录", "outbox"),
    "inbox": Text("传入目录", "inbox"),
}
