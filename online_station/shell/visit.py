"""A visit to a stick: take what came for this station, leave what goes back, clean up what has arrived.

What is taken goes into the inbox, where everything else arrives too. What is left stays here as well, until the clear
receipt proves that it was used; only then is it removed from the stick.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from online_station.shell.home import Home
from online_station.shell.store import ReportRow, Store
from online_station.shell.trust import TRUST_NAME, Trust
from shared import faults
from shared.envelope.opening import prove_report
from shared.errors import NameTaken, TaxferryError
from shared.ids import ReportName, Suffix
from shared.medium import Direction, Stick, StickFile
from shared.model.ack import prove_ack
from shared.model.result import prove_result
from shared.model.trust import MAX_TRUST_BYTES, prove_trust
from shared.states import OnlineState
from shared.text import Text

_MAX_TEXT: Final = 1 << 16


@dataclass
class Visit:
    """What a visit came to.

    Attributes:
        taken: Files that were copied into the inbox, by their true names.
        known: How many files on the stick were known here already.
        placed: Files that were put on the stick.
        removed: Files whose next leg is proven and that were removed from the stick.
        foreign: How many files on the stick are none of ours.
        problems: Files that could not be taken or placed; the others were.
    """

    taken: list[str] = field(default_factory=list)
    known: int = 0
    placed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    foreign: int = 0
    problems: list[TaxferryError] = field(default_factory=list)


class _Known(Exception):
    """The file on the stick is one that this station has."""


def synchronise(
    stick: Stick,
    home: Home,
    store: Store,
    trust: Trust,
    inbox: Path,
    now: datetime,
    progress: Callable[[int, int | None, Text], None],
) -> Visit:
    """Carry both directions in one go, and prove at the end that the medium is alive.

    Args:
        stick: The open stick.
        home: The station's folders.
        store: The station's database.
        trust: What is believed.
        inbox: Where files for this station go.
        now: The present.
        progress: Told how far the visit is.

    Raises:
        MediumError: The stick failed; what was taken is safe, what was placed has to be placed again.
        OSError: This PC's disk failed.
    """
    visit = Visit()
    # A clear receipt proves that its result was used: from then on the stick need not carry it.
    used = {ack.digest for ack in store.acks()}
    listing = stick.list(".dat", ".ack")
    visit.foreign = listing.foreign
    visit.problems.extend(item.error for item in listing.unusable)
    for done, entry in enumerate(listing.files):
        progress(done, len(listing.files), Text("读取U盘", "reading the stick"))
        _take(stick, entry, visit, used, store, trust, inbox, now)
    newest = newest_results(store)
    outgoing = [r for r in newest if r.state is not OnlineState.ACKNOWLEDGED and r.digest not in used]
    for done, row in enumerate(outgoing):
        progress(done, len(outgoing), Text("写入U盘", "writing the stick"))
        _place_result(stick, row, visit, home, store, trust, now)
    _place_trust(stick, visit, trust, now)
    _clean(stick, visit, home, [r for r in newest if r.state is OnlineState.ACKNOWLEDGED or r.digest in used])
    stick.finish()
    return visit


def newest_results(store: Store) -> list[ReportRow]:
    """Return, per name, the report whose result the invoicing PC is to have, or had."""
    newest: dict[str, ReportRow] = {}
    for row in store.reports():
        snapshot = row.snapshot
        if snapshot.result_no is None or snapshot.to_stage:
            continue
        done = row.state in (OnlineState.STAGED, OnlineState.ACKNOWLEDGED)
        failed = row.state is OnlineState.FAILED and faults.find(snapshot.code, snapshot.message).stage_to_offline
        stem = row.header.name.stem
        if (done or failed) and (stem not in newest or newest[stem].header.sequence < row.header.sequence):
            newest[stem] = row
    return list(newest.values())


def _take(
    stick: Stick,
    entry: StickFile,
    visit: Visit,
    used: set[str],
    store: Store,
    trust: Trust,
    inbox: Path,
    now: datetime,
) -> None:
    suffix: Suffix = ".ack" if entry.suffix == ".ack" else ".dat"

    def prove(file: BinaryIO) -> ReportName:
        if suffix == ".dat":
            report = prove_report(file, trust.store, at=now)
            if store.report(report.digest) is not None:
                raise _Known
            return report.header.name
        ack = prove_ack(file.read(_MAX_TEXT + 1), trust.store, at=now)
        used.add(ack.ack.report_digest)
        if any(known.sha256 == ack.body_sha256 for known in store.acks()):
            raise _Known
        return ack.ack.name

    try:
        for attempt in range(10):
            mark = f" ({attempt})" if attempt else ""
            try:
                taken = stick.take(entry, inbox, prove=prove, name=lambda name, mark=mark: f"{name.stem}{mark}{suffix}")  # type: ignore[misc]
            except NameTaken:
                continue  # another report of the same name is in the inbox, and was not looked at yet
            visit.taken.append(taken.path.name)
            return
        raise NameTaken(name=entry.name)
    except _Known:
        visit.known += 1
    except TaxferryError as error:
        visit.problems.append(error)


def _place_result(
    stick: Stick, row: ReportRow, visit: Visit, home: Home, store: Store, trust: Trust, now: datetime
) -> None:
    number = row.snapshot.result_no
    assert number is not None
    name = row.header.name.file_name(".txt")

    def supersedes(present: BinaryIO) -> bool:
        try:
            there = prove_result(present.read(_MAX_TEXT + 1), trust.store, at=now).result
        except TaxferryError:
            return False
        return there.card_no == row.header.card_no and there.result_no < number

    try:
        placement = stick.place(
            home.result_file(row.digest, number),
            name,
            Direction.TO_OFFLINE,
            now=now,
            digest=row.digest,
            supersedes=supersedes,
        )
    except NameTaken as error:
        visit.problems.append(error)
        return
    if not placement.already:
        visit.placed.append(name)
        label = stick.identity.label if stick.identity is not None else ""
        store.note(row.digest, "placed-on-stick", now, f"{name} → {label}")


def _place_trust(stick: Stick, visit: Visit, trust: Trust, now: datetime) -> None:
    current = trust.current
    if current is None or not trust.file.is_file():
        return

    def supersedes(present: BinaryIO) -> bool:
        try:
            return prove_trust(present.read(MAX_TRUST_BYTES + 1), root=trust.root, at=now).version < current.version
        except TaxferryError:
            return False

    try:
        if not stick.place(trust.file, TRUST_NAME, Direction.TO_OFFLINE, now=now, supersedes=supersedes).already:
            visit.placed.append(TRUST_NAME)
    except NameTaken as error:
        visit.problems.append(error)


def _clean(stick: Stick, visit: Visit, home: Home, used: Sequence[ReportRow]) -> None:
    """Remove results from the stick whose clear receipts have arrived."""
    by_name: Mapping[str, ReportRow] = {row.header.name.file_name(".txt"): row for row in used}
    for entry in stick.list(".txt").files:
        row = by_name.get(entry.name)
        if row is None or row.snapshot.result_no is None:
            continue
        ours = home.result_file(row.digest, row.snapshot.result_no)
        if ours.is_file() and stick.remove(entry, hashlib.sha256(ours.read_bytes()).hexdigest()):
            visit.removed.append(entry.name)
