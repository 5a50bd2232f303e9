"""Sealed reports under their digests, and how they reach the outbox under their true names.

A report is sealed once. Sealing again would make another digest, and a result for the first one would no longer fit;
so what was sealed is kept, and `report` gives out the same bytes for ever.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from shared.durable import copy_durably, publish, temporary_beside
from shared.envelope.chain import TrustStore
from shared.envelope.opening import ProvenReport, prove_report
from shared.errors import TaxferryError
from shared.files import hash_file
from shared.ids import ReportDigest, parse_report_digest

_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class SpooledFile:
    """A sealed report in the spool."""

    digest: ReportDigest
    path: Path
    sha256: str
    size_bytes: int


class Spool:
    """The folder of sealed reports."""

    def __init__(self, folder: Path) -> None:
        """Keep reports in `folder`, which exists."""
        self.folder = folder

    def path(self, digest: ReportDigest) -> Path:
        """Return where a report lies, whether or not it does."""
        return self.folder / f"{digest}.dat"

    def temporary(self) -> Path:
        """Return a fresh name to seal into."""
        return temporary_beside(self.folder / "sealing.dat")

    def keep(self, temporary: Path, digest: ReportDigest) -> Path:
        """Give a finished temporary its name by digest, durably."""
        path = self.path(digest)
        publish(temporary, path)
        return path

    def find(
        self, digest: ReportDigest, *, known_sha256: str, trust: TrustStore, at: datetime, elsewhere: Path
    ) -> SpooledFile | None:
        """Return the sealed report if it is still whole.

        Args:
            digest: The report.
            known_sha256: SHA-256 of the file when it was sealed; empty if that was forgotten: then it is proven anew.
            trust: For that proof.
            at: The moment of it.
            elsewhere: Another place where the same bytes may lie (the outbox); from there the spool is mended.
        """
        path = self.path(digest)
        for candidate in (path, elsewhere):
            if not candidate.is_file():
                continue
            sha256, size = hash_file(candidate)
            if sha256 != known_sha256 if known_sha256 else not _is_report(candidate, digest, trust, at):
                continue
            if candidate is not path:
                copy_durably(candidate, path)
            return SpooledFile(digest, path, sha256, size)
        return None

    def remove_strays(self, known: Collection[str]) -> None:
        """Remove what was sealed and never bound to the card: nobody was given it.

        Args:
            known: Digests that the card or the life-lines ever knew.
        """
        for path in self.folder.glob("*.dat"):
            try:
                digest = parse_report_digest(path.stem)
            except TaxferryError:
                continue
            if digest not in known:
                path.unlink(missing_ok=True)


def _is_report(path: Path, digest: ReportDigest, trust: TrustStore, at: datetime) -> bool:
    try:
        with path.open("rb") as file:
            return prove_report(file, trust, at=at).digest == digest
    except TaxferryError:
        return False


def give_out(source: Path, sha256: str, folder: Path, name: str) -> Path:
    """Put a file into a folder that people look into, under its true name, whole or not at all.

    Args:
        source: The kept file.
        sha256: Its SHA-256; an equal file that lies there already is left as it is.
        folder: The outbox.
        name: The true name. An older report of that name, which cannot clear any more, is replaced.
    """
    target = folder / name
    if target.is_file() and hash_file(target)[0] == sha256:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    copy_durably(source, target, mode=0o644)
    return target


@dataclass(frozen=True)
class OlderReport:
    """Proves that a file is a report of the same card with a lower sequence, or sealed before ours."""

    trust: TrustStore
    at: datetime
    card_no: str
    sequence: int
    sealed_at: datetime

    def __call__(self, file: BinaryIO) -> bool:
        """Return whether `file` is provably older."""
        file.seek(0, os.SEEK_SET)
        try:
            found: ProvenReport = prove_report(file, self.trust, at=self.at)
        except TaxferryError:
            return False
        header = found.header
        if header.card_no != self.card_no:
            return False
        return (header.sequence, found.signing_time) < (self.sequence, self.sealed_at)
