"""The folders of one online station, and the lock that makes one process their owner."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from shared.errors import StationBusy
from shared.medium.reading import sweep_scratch

if os.name == "nt":  # pragma: no cover - exercised on Windows only
    import msvcrt
else:
    import fcntl


@dataclass(frozen=True)
class Home:
    """Where everything of a station lies.

    Attributes:
        root: The folder given with `--home`.
    """

    root: Path

    @property
    def database(self) -> Path:
        """Settings, reports, events."""
        return self.root / "station.db"

    @property
    def node_file(self) -> Path:
        """Where the database is, if it is not here, and what is this node's own affair."""
        return self.root / "node.json"

    @property
    def spool(self) -> Path:
        """Reports and clear receipts, named for their content."""
        return self.root / "spool"

    @property
    def results(self) -> Path:
        """Every proven result and receipt, kept for ever."""
        return self.root / "results"

    @property
    def quarantine(self) -> Path:
        """What could not be accepted, each with a text that says why."""
        return self.root / "quarantine"

    @property
    def trust(self) -> Path:
        """The pinned root and the current trust file."""
        return self.root / "trust"

    @property
    def logs(self) -> Path:
        """The log of the service."""
        return self.root / "log"

    @property
    def archive(self) -> Path:
        """What is finished, a file per month."""
        return self.root / "archive"

    @property
    def default_inbox(self) -> Path:
        """Where files from the invoicing PCs arrive unless `init` said otherwise."""
        return self.root / "inbox"

    @property
    def default_outbox(self) -> Path:
        """Where results for the invoicing PCs are put unless `init` said otherwise."""
        return self.root / "outbox"

    def report_file(self, digest: str) -> Path:
        """Return where the report of that digest is kept."""
        return self.spool / f"{digest}.dat"

    def ack_file(self, sha256: str) -> Path:
        """Return where the clear receipt with that SHA-256 is kept."""
        return self.spool / f"{sha256}.ack"

    def result_file(self, digest: str, result_no: int) -> Path:
        """Return where a report's result of that number is kept."""
        return self.results / f"{digest}-{result_no}.txt"

    def receipt_file(self, digest: str) -> Path:
        """Return where the bureau's signed upload receipt is kept."""
        return self.results / f"{digest}-receipt.txt"

    def create(self) -> None:
        """Make the folders, readable by their owner alone; existing ones are left as they are."""
        for folder in (self.root, self.spool, self.results, self.quarantine, self.trust, self.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Own the station while the block runs; the system frees the lock when the process dies, however it dies.

        Raises:
            StationBusy: Another process owns it. Nothing was done.
        """
        with self._only_one("station.lock"):
            yield

    @contextlib.contextmanager
    def visiting(self) -> Iterator[None]:
        """Be the one process of this station that visits a stick, while the block runs.

        Raises:
            StationBusy: Another one is visiting. Nothing was done.
        """
        with self._only_one("stick.lock"):
            sweep_scratch(self.spool)
            yield

    @contextlib.contextmanager
    def tidying(self) -> Iterator[None]:
        """Be the one process that moves finished files away, or that copies all of them, while the block runs.

        The service may be at work meanwhile: it only adds files.

        Raises:
            StationBusy: Another one is at it. Nothing was done.
        """
        with self._only_one("archive.lock"):
            yield

    @contextlib.contextmanager
    def _only_one(self, name: str) -> Iterator[None]:
        handle = open(self.root / name, "ab+")  # noqa: SIM115  the lock lives as long as the handle
        try:
            if not _try_lock(handle):
                raise StationBusy(home=self.root)
            yield
        finally:
            handle.close()


def _try_lock(handle: IO[bytes]) -> bool:
    try:
        if os.name == "nt":  # pragma: no cover
            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            fcntl.flock(handle.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
