"""A visit to a stick: take what came for this station, leave what goes back, clean up what has arrived.

What lies on the stick is read and proven by a process apart (`shared.medium.reading`); this one holds the enterprise
key. What was proven goes into the inbox, where everything else arrives too. What is left stays here as well, until the
clear receipt proves that it was used; only then, and after some days, is it removed from the stick.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from online_station.shell.files import result_name
from online_station.shell.home import Home
from online_station.shell.quarantine import keep_copy
from online_station.shell.records import AnsweredRow, ReportRow
from online_station.shell.store import ACK_DELIVERED, CAME, LEFT, Store
from online_station.shell.trust import TRUST_NAME, Trust
from shared import faults
from shared.durable import move_durably
from shared.errors import MediumDamaged, MediumError, MediumReadOnly, MediumUnprepared, TaxferryError
from shared.files import hash_file
from shared.medium import Direction, Outgoing, Stick, StickFile
from shared.medium.carry import Cargo, carry, leave_trust, tidy
from shared.medium.facts import Facts, prove_facts
from shared.medium.names import BATCH
from shared.medium.reading import Harvest, Seen, read_stick
from shared.medium.slip import Slip, slip_of
from shared.medium.sticks import Sticks
from shared.states import OnlineState
from shared.stick_words import TOO_MANY
from shared.text import Text

RETENTION: Final = timedelta(days=7)
"""How long a used result stays on a stick: until then it can still be looked at there."""
Progress = Callable[[int, int | None, Text], None]
_READING: Final = Text("读取U盘（字节）", "reading the stick (bytes)")
_WRITING: Final = Text("写入U盘并读回核对（字节）", "writing to the stick and reading back (bytes)")
_TRIES: Final = 100


def _silent(_done: int, _total: int | None, _what: Text) -> None:
    """Show nothing."""


@dataclass
class Visit:
    """What a visit came to.

    Attributes:
        path: Where the stick is.
        label: What people call it.
        stick_id: Its id; empty if it was never prepared.
        taken: Files that were copied into the inbox, by their true names.
        known: How many files on the stick were known here already.
        placed: Files that were put on the stick.
        already: Files that lay there before.
        container: The container that holds what was placed, if that was much.
        removed: Files whose next leg is proven and that were removed from the stick.
        unplaced: Results that wait and could not be put on a read-only medium.
        foreign: How many files on the stick are none of ours.
        problems: Files that could not be taken or placed; the others were.
        failure: What kept the visit from placing everything.
        warnings: What a person should know about the stick.
        protections: What confined the process that read it.
    """

    path: Path
    label: str = ""
    stick_id: str = ""
    taken: list[str] = field(default_factory=list)
    known: int = 0
    placed: list[str] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    container: str = ""
    removed: list[str] = field(default_factory=list)
    unplaced: list[str] = field(default_factory=list)
    foreign: int = 0
    problems: list[TaxferryError] = field(default_factory=list)
    failure: MediumError | None = None
    warnings: list[Text] = field(default_factory=list)
    protections: tuple[str, ...] = ()


# Which stick


@dataclass(frozen=True)
class _Memory:
    """The station's settings, as what it remembers of sticks."""

    store: Store

    def recall(self, key: str) -> str:
        return self.store.setting(key) or ""

    def keep(self, key: str, value: str) -> None:
        self.store.set(**{key: value})


def sticks_of(store: Store, station: str) -> Sticks:
    """Return what this station knows of sticks."""

    @functools.cache  # read only when there is a stick with something on it
    def known() -> frozenset[tuple[str, int]]:
        return frozenset((facts.stem, facts.size_bytes) for facts in store.files().values())

    @functools.cache
    def acknowledged() -> frozenset[str]:
        return frozenset(ack.stem for ack in store.acks())

    def wanted(entry: StickFile) -> bool:
        if entry.report is None:
            return entry.suffix == BATCH  # who knows what is in it before it is read
        if entry.suffix == ".ack":
            return entry.report.stem not in acknowledged()
        return entry.suffix == ".dat" and (entry.report.stem, entry.size) not in known()

    return Sticks(station, _Memory(store), wanted, lambda: any(not row.has_left for row in _outgoing(store)))


def outgoing_mark(store: Store) -> frozenset[Hashable]:
    """Return what waits to be put on a stick, each in words that only it has."""
    return frozenset((row.digest, row.result_no) for row in _outgoing(store))


def introduce(path: Path, station: str, trust: Trust, now: datetime) -> bool:
    """Put the trust file on a stick that was prepared, for a PC that has only its card; return whether it lies there."""
    cargo = _trust_cargo(trust)
    return cargo is not None and leave_trust(path, cargo.file, station=station, now=now)


def slip(path: Path, *, station: str, home: Home, store: Store, trust: Trust, now: datetime) -> Slip:
    """Return the transfer slip of what a stick carries to the invoicing PCs."""
    identity, _ = sticks_of(store, station).listing(path)
    with home.visiting(), _reading(path, station, home, store, trust, now, _silent) as harvest:
        return slip_of(harvest, identity, path, Direction.TO_OFFLINE, station, now)


# The visit


def synchronise(
    path: Path,
    *,
    station: str,
    home: Home,
    store: Store,
    trust: Trust,
    inbox: Path,
    now: datetime,
    remember: bool = True,
    progress: Progress = _silent,
) -> Visit:
    """Carry both directions in one go, and prove at the end that the medium is alive.

    Args:
        path: Where the stick is.
        station: This station's name on sticks.
        home: The station's folders.
        store: The station's database.
        trust: What is believed.
        inbox: Where files for this station go.
        now: The present.
        remember: Whether this is the stick, or the folder that stands for it, that is meant when none is named.
        progress: Told of the bytes that were moved, of how many, and whether they are read or written.

    Raises:
        MediumError: The stick failed; what was taken is safe, what was placed has to be placed again.
        StationBusy: Another process of this station is visiting a stick.
        OSError: This PC's disk failed.
    """
    with home.visiting(), Stick.open(path, station=station, unprepared=True) as stick:
        identity = stick.identity
        visit = Visit(path, identity.label if identity else path.name, identity.id if identity else "")
        visit.warnings.extend(sticks_of(store, station).doubts(stick))
        with _reading(path, station, home, store, trust, now, progress) as harvest:
            if harvest.identity != visit.stick_id:
                raise MediumDamaged(reason=Text("读取时换了U盘", "the stick was changed while it was read"))
            visit.foreign, visit.protections = harvest.foreign, harvest.protections
            visit.problems.extend(stick.not_folders())
            if harvest.truncated:
                visit.warnings.append(TOO_MANY)
            _take(harvest, visit, home, store, inbox, now)
        try:
            _place(stick, harvest, visit, home, store, trust, now, progress)
            if identity is not None and not stick.read_only:
                visit.removed.extend(tidy(stick, harvest, _finished(store, now)))
        except MediumError as error:
            # What was taken is safe in the inbox; what could not be placed is still kept here.
            visit.failure = error
        stick.finish()
        if identity is not None and remember:
            sticks_of(store, station).remember(path)
    return visit


def _reading(
    path: Path, station: str, home: Home, store: Store, trust: Trust, now: datetime, progress: Progress
) -> contextlib.AbstractContextManager[Harvest]:
    return read_stick(
        path,
        station=station,
        scratch=home.spool,
        trust=trust.store,
        at=now,
        machines=None,
        copy_kinds=(".dat", ".ack"),
        known={sha256: facts.size_bytes for sha256, facts in store.files().items()},
        advanced=lambda done, total: progress(done, total, _READING),
    )


def newest_results(store: Store) -> list[AnsweredRow]:
    """Return, per name, the report whose result the invoicing PC is to have, or had."""
    newest: dict[str, AnsweredRow] = {}
    for row in store.answered():
        if row.to_stage:
            continue
        done = row.state in (OnlineState.STAGED, OnlineState.ACKNOWLEDGED)
        failed = row.state is OnlineState.FAILED and faults.find(row.code, row.message).stage_to_offline
        if (done or failed) and (row.stem not in newest or newest[row.stem].sequence < row.sequence):
            newest[row.stem] = row
    return list(newest.values())


# Off the stick


def _take(harvest: Harvest, visit: Visit, home: Home, store: Store, inbox: Path, now: datetime) -> None:
    files = {sha256: facts.digest for sha256, facts in store.files().items()}
    bodies = {ack.sha256 for ack in store.acks()}
    for seen in harvest.files:
        if seen.suffix not in (".dat", ".ack"):
            continue  # for the invoicing PCs, and theirs to judge
        if seen.sha256 and seen.sha256 in files:
            store.add_leg(files[seen.sha256], CAME, visit.stick_id, visit.label, now)
            visit.known += 1
            continue
        if seen.error is not None:
            visit.problems.append(seen.error)
            if seen.copy is not None:
                keep_copy(home.quarantine, seen.copy, seen.name, seen.error, store, now)
            continue
        facts = seen.facts
        if facts is None or seen.copy is None:
            continue
        known = store.report(facts.digest) is not None if facts.kind == "report" else facts.body_sha256 in bodies
        if facts.kind == "report":
            store.add_leg(facts.digest, CAME, visit.stick_id, visit.label, now)
        if known:
            visit.known += 1
            continue
        taken = _into_inbox(seen, facts, inbox)
        if taken not in visit.taken:
            visit.taken.append(taken)
    # What was whole in a damaged container was taken; that something may be missing has to be said.
    visit.problems.extend(error for _, error in harvest.broken(Direction.TO_ONLINE))


def _into_inbox(seen: Seen, facts: Facts, inbox: Path) -> str:
    """Move a proven copy into the inbox under its true name; another file of that name stays as it is."""
    assert seen.copy is not None
    inbox.mkdir(parents=True, exist_ok=True)
    for attempt in range(_TRIES):
        mark = f" ({attempt})" if attempt else ""
        target = inbox / f"{facts.stem}{mark}{seen.suffix}"
        if not target.exists():
            move_durably(seen.copy, target)
            return target.name
        if target.is_file() and hash_file(target) == (seen.sha256, seen.size):
            return target.name  # an earlier visit took it, and it was not looked at yet
    raise MediumDamaged(
        reason=Text(f"收件文件夹里有太多同名文件：{facts.stem}", f"too many files named {facts.stem} in the inbox")
    )


# Onto the stick


def _outgoing(store: Store) -> list[AnsweredRow]:
    """Return the reports whose results the invoicing PCs are still to have."""
    used = store.acknowledged()
    return [r for r in newest_results(store) if r.state is not OnlineState.ACKNOWLEDGED and r.digest not in used]


def _place(
    stick: Stick,
    harvest: Harvest,
    visit: Visit,
    home: Home,
    store: Store,
    trust: Trust,
    now: datetime,
    progress: Progress,
) -> None:
    # A clear receipt proves that its result was used, also one that has only just come off this stick.
    used = {seen.facts.digest for seen in harvest.of("ack") if seen.facts is not None}
    rows = store.some({row.digest for row in _outgoing(store)} - used)
    cargo = [_cargo(row, home, store, trust, now) for row in rows]
    there = {(seen.name, seen.sha256) for seen in harvest.files if seen.direction is Direction.TO_OFFLINE}
    if stick.identity is None or stick.read_only:
        missing = [item for item in cargo if (item.file.name, item.file.sha256) not in there]
        visit.unplaced = [item.file.name for item in missing]
        if missing and stick.read_only and not visit.taken:
            raise MediumReadOnly(name=visit.label or str(stick.path))
        if (missing and not stick.read_only) or harvest.nothing_of_ours:
            raise MediumUnprepared(name=str(stick.path))
        return
    trusted = _trust_cargo(trust)
    if trusted is not None:
        cargo.append(trusted)
    total, done = 2 * sum(item.file.size for item in cargo), 0

    def advanced(size: int) -> None:
        nonlocal done
        done += size
        progress(min(done, total), total, _WRITING)

    for carried in carry(stick, harvest, cargo, Direction.TO_OFFLINE, now=now, advanced=advanced):
        name = carried.cargo.file.name
        if carried.error is not None:
            visit.problems.append(carried.error)
            continue
        visit.container = carried.container or visit.container
        (visit.already if carried.already else visit.placed).append(name)
        digest = carried.cargo.facts.digest
        if digest:
            store.add_leg(digest, LEFT, visit.stick_id, visit.label, now)
            if not carried.already:
                store.note(digest, "placed-on-stick", now, f"{name} → {visit.label}")


def _cargo(row: ReportRow, home: Home, store: Store, trust: Trust, now: datetime) -> Cargo:
    number = row.snapshot.result_no
    assert number is not None
    path = home.result_file(row.digest, number)
    store.bring(path, result_name(row.digest, number))
    with path.open("rb") as file:
        facts = prove_facts(file, ".txt", trust.store, at=now)
    return Cargo(Outgoing.of(path, row.header.name.file_name(".txt"), row.digest), facts)


def _trust_cargo(trust: Trust) -> Cargo | None:
    current = trust.current
    if current is None or not trust.file.is_file():
        return None
    return Cargo(Outgoing.of(trust.file, TRUST_NAME), Facts(kind="trust", number=current.version))


def _finished(store: Store, now: datetime) -> Callable[[Seen], bool]:
    """Return what says of a file on the stick that it was used, long enough ago.

    A result is, when its clear receipt came. Reports and clear receipts are for their own machines to remove; but what one
    of them packed for several would stay for ever: these are finished here, when the bureau has the clear receipt.
    """
    used: dict[str, datetime] = {}
    delivered: dict[str, datetime] = {}
    for ack in store.acks():
        used.setdefault(ack.digest, ack.taken_at)
        if ack.state == ACK_DELIVERED:
            delivered[ack.sha256] = ack.taken_at
    closed = store.closed_files()

    def finished(seen: Seen) -> bool:
        facts = seen.facts
        when: datetime | None = None
        if facts is not None and facts.kind == "result":
            when = used.get(facts.digest)
        elif seen.container and facts is not None and facts.kind == "ack":
            when = delivered.get(facts.body_sha256)
        elif seen.container:
            when = closed.get(seen.sha256)
        return when is not None and now - when >= RETENTION

    return finished
