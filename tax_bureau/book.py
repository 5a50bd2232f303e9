"""The audit record at work: entries are written with the change they tell of, checkpoints are signed and kept outside.

The bureau signs nothing that it has not looked at: before a checkpoint it follows the chain from the last one on, and
leaves the old checkpoint, which is the evidence, where the two do not fit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.clock import Clock
from shared.durable import write_durably
from shared.errors import AuditBroken, CheckpointInvalid, FileMissing, TaxferryError
from shared.text import Text
from tax_bureau.audit import (
    CHECKPOINT_EVERY,
    FIRST,
    MAX_CHECKPOINT_BYTES,
    Breach,
    By,
    Checkpoint,
    Entry,
    prove_checkpoint,
    render_checkpoint,
    verify,
)
from tax_bureau.keyring import Keyring
from tax_bureau.store import Store, Transaction

NEWEST: Final = "checkpoint.txt"


@dataclass(frozen=True)
class Inspection:
    """What `verify` found.

    Attributes:
        entries: How many entries there are.
        checkpoints: How many signed checkpoints they were held against.
        last_checkpoint: Number of the last entry that a checkpoint covers; what was cut off behind it leaves no trace.
        breaches: Where the record is not what was written.
        unusable: Checkpoints that do not prove, by name, and why.
    """

    entries: int
    checkpoints: int
    last_checkpoint: int
    breaches: tuple[Breach, ...]
    unusable: tuple[tuple[str, Text], ...]


class Book:
    """The audit record of one bureau."""

    def __init__(self, store: Store, keyring: Callable[[], Keyring], folder: Path, clock: Clock) -> None:
        """Work with these.

        Args:
            store: Holds the entries.
            keyring: The bureau's keys as they are now.
            folder: Where the newest checkpoint lies beside the database.
            clock: The time of entries and checkpoints.
        """
        self._store = store
        self._keyring = keyring
        self._folder = folder
        self._clock = clock

    def write(self, tx: Transaction, by: By, action: str, subject: str, **detail: object) -> Entry:
        """Write an entry in the transaction of the change that it tells of."""
        entry = tx.add_audit(by, self._clock.now(), action, subject, **detail)
        if entry.number % CHECKPOINT_EVERY == 0:
            with contextlib.suppress(AuditBroken):  # found by `verify`, and no reason to stop the office
                tx.add_checkpoint(entry.number, self._signed(tx, entry, self._newest()))
        return entry

    def seal(self) -> Checkpoint | None:
        """Sign a checkpoint over the last entry and put it beside the database; None if there is no entry.

        Raises:
            AuditBroken: The record does not continue the checkpoint that lies there. That one stays.
        """
        before = self._newest()
        with self._store.read() as tx:
            last = tx.last_audit()
            if last is None and before is None:
                return None
            if last is None or (before is not None and last.number < before.number):
                assert before is not None
                found = [Checkpoint(before.number, before.digest, before.at)]
                raise _broken(verify(tx.audit(), found))
            if before is not None and (last.number, last.digest) == (before.number, before.digest):
                return before
            text = self._signed(tx, last, before)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        write_durably(self._folder / NEWEST, text)
        return Checkpoint(last.number, last.digest, self._clock.now())

    def checkpoint(self, out: Path | None) -> Checkpoint | None:
        """Sign a checkpoint now, keep it, and write it to `out`, to be taken elsewhere.

        Raises:
            AuditBroken: The record does not continue the last checkpoint. Nothing was signed.
        """
        found = self.seal()
        if found is None:
            return None
        text = (self._folder / NEWEST).read_bytes()
        with self._store.write() as tx:
            tx.add_checkpoint(found.number, text)
        if out is not None:
            write_durably(out, text, mode=0o644)
        return found

    def inspect(self, files: Iterable[Path] = ()) -> Inspection:
        """Hold the whole record against itself and against every checkpoint there is.

        Args:
            files: Checkpoints that were kept elsewhere.

        Raises:
            FileMissing: One of them cannot be read.
            CheckpointInvalid, SignatureRefused, CertificateRefused: One of them does not prove.
        """
        with self._store.read() as tx:
            entries, kept = tx.audit(), tx.checkpoints()
        proven = [self._proven(_read(path)) for path in files]
        unusable: list[tuple[str, Text]] = []
        own = [(f"bureau.db #{place}", text) for place, text in enumerate(kept, 1)]
        with contextlib.suppress(FileMissing):
            own.append((NEWEST, _read(self._folder / NEWEST)))
        for name, text in own:
            try:
                proven.append(self._proven(text))
            except TaxferryError as error:
                unusable.append((name, error.text))
        return Inspection(
            entries=len(entries),
            checkpoints=len(proven),
            last_checkpoint=max((each.number for each in proven), default=0),
            breaches=tuple(verify(entries, proven)),
            unusable=tuple(unusable),
        )

    def _proven(self, text: bytes) -> Checkpoint:
        return prove_checkpoint(text, self._keyring().store, at=self._clock.now())

    def _newest(self) -> Checkpoint | None:
        try:
            return self._proven(_read(self._folder / NEWEST))
        except TaxferryError:
            return None  # none yet, or one that proves nothing any more: `inspect` tells of it

    def _signed(self, tx: Transaction, last: Entry, before: Checkpoint | None) -> bytes:
        """Return a checkpoint over an entry, after following the chain to it from the last checkpoint."""
        start = before.number if before is not None and before.number <= last.number else 0
        entries = tx.audit(after=max(0, start - 1))
        previous = entries[0].previous if entries and start > 1 else FIRST
        for number, entry in enumerate(entries, start=max(1, start)):
            if entry.number != number or entry.previous != previous or entry.computed() != entry.digest:
                raise _broken(verify(tx.audit(), [before] if before is not None else []))
            previous = entry.digest
        if before is not None and start and entries[0].digest != before.digest:
            raise _broken(verify(tx.audit(), [before]))
        return render_checkpoint(Checkpoint(last.number, last.digest, self._clock.now()), self._keyring().result)


def _broken(breaches: list[Breach]) -> AuditBroken:
    first = breaches[0].text if breaches else Text("与检查点不符", "it does not fit the checkpoint")
    return AuditBroken(reason=first)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_CHECKPOINT_BYTES + 1)
    except FileNotFoundError:
        raise FileMissing(what=path) from None
    except OSError as error:
        raise CheckpointInvalid(reason=Text(f"{path} 读不出", f"{path}: {error.strerror}")) from None
