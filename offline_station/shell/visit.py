"""A visit to the stick: reports and clear receipts go onto it, results and the trust file come off it.

What lies on the stick is read and proven by a process apart (`shared.medium.reading`); this one holds the card. It
takes what was proven into the inbox, and puts on the stick what waits; nothing is removed before the next leg's proof.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from offline_station.core.card_rules import CopyRecord
from offline_station.shell.arrivals import Arrival, keep_aside, scan
from offline_station.shell.home import Home
from offline_station.shell.spool import SpooledFile
from offline_station.shell.station import Refusal, Station
from offline_station.shell.store import ReportLife, StationStore
from shared.clock import Clock
from shared.durable import TEMPORARY_SUFFIX, move_durably, write_durably
from shared.errors import (
    MediumAbsent,
    MediumAmbiguous,
    MediumDamaged,
    MediumError,
    MediumReadOnly,
    MediumUnprepared,
    Outdated,
    ResultOutdated,
    StillProcessing,
    TaxferryError,
)
from shared.files import hash_file
from shared.ids import ReportDigest, recognise_name
from shared.medium.carry import Cargo, carry, leave_trust, tidy
from shared.medium.facts import Facts, prove_facts
from shared.medium.find import FoundStick
from shared.medium.names import BATCH, TRUST, Direction, recognise
from shared.medium.reading import Harvest, Seen, read_stick
from shared.medium.slip import Slip, slip_of
from shared.medium.stick import Outgoing, Stick, StickFile, StickIdentity
from shared.medium.sticks import Sticks
from shared.model.result import ProvenResult, prove_result
from shared.states import OfflineState
from shared.stick_words import TOO_MANY
from shared.text import Text

RETENTION: Final = timedelta(days=7)
"""How long a finished file stays on a stick: until then it can still be looked at there."""
Progress = Callable[[int, int, Text], None]
_READING: Final = Text("读取U盘（字节）", "reading the stick (bytes)")
_WRITING: Final = Text("写入U盘并读回核对（字节）", "writing to the stick and reading back (bytes)")
_SUFFIXES: Final = {".dat": "report", ".ack": "ack"}


def _silent(_done: int, _total: int, _what: Text) -> None:
    """Show nothing."""


@dataclass
class Visit:
    """What one visit did.

    Attributes:
        path: Where the stick is.
        label: What people call it.
        placed: Names of the files that this visit put on it for the Internet PC.
        already: Names of the files for the Internet PC that an earlier visit had put on it.
        container: The container that holds them, if there were many.
        taken: Names of the results that now lie in the inbox.
        trust_version: The version of a trust file that was taken in; 0 if none.
        removed: Names of files that were done with and were removed.
        refused: Files for this station that cannot be accepted; they stay where they are.
        unplaced: Names of files that wait and could not be put on a read-only medium.
        foreign: How many files on it are none of ours.
        problem: Why not everything could be placed.
        warnings: What a person should know about the stick.
        protections: What confined the process that read it.
    """

    path: Path
    label: str = ""
    placed: list[str] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    container: str = ""
    taken: list[str] = field(default_factory=list)
    trust_version: int = 0
    removed: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    unplaced: list[str] = field(default_factory=list)
    foreign: int = 0
    problem: TaxferryError | None = None
    warnings: list[Text] = field(default_factory=list)
    protections: tuple[str, ...] = ()


@dataclass(frozen=True)
class Waiting:
    """A file that is to go out, and what is written down once it lies on a stick.

    Attributes:
        cargo: The file.
        note: Writes it down: called with the stick's label.
    """

    cargo: Cargo
    note: Callable[[str], None]


def station_tag(station: Station) -> str:
    """Return the name under which this station writes on sticks."""
    facts = station.read().facts
    return f"{facts.taxpayer_id}-{facts.machine_no}"


def _machine(station: Station) -> str:
    facts = station.read().facts
    return f"{facts.taxpayer_id}_{facts.machine_no}"


# Which stick


@dataclass(frozen=True)
class _Memory:
    """The station's settings, as what it remembers of sticks."""

    store: StationStore

    def recall(self, key: str) -> str:
        return self.store.setting(key)

    def keep(self, key: str, value: str) -> None:
        self.store.set_setting(key, value)


class Lookout:
    """What an attended station looks at every few seconds; card and records are opened only when they have changed."""

    def __init__(self, home: Home, clock: Clock, *, everyone: bool) -> None:
        """Look out on behalf of the station in `home`."""
        self._home, self._clock, self._everyone = home, clock, everyone
        self._seen: Hashable = None
        self._sticks: Sticks | None = None
        self._mark: frozenset[Hashable] = frozenset()
        self._outbox = home.outbox

    def look(self) -> tuple[Sequence[FoundStick], frozenset[Hashable]]:
        """Return what is in, and what waits to be put on a stick."""
        seen = tuple(_stamp(path) for path in (self._home.card, self._home.station))
        if self._sticks is None or seen != self._seen:
            with Station.open(self._home, self._clock, exclusive=False) as station:
                sticks = sticks_of(station)
                last, to_place = station.store.setting("stick"), sticks.to_place()
                self._sticks = replace(sticks, memory=_Remembered(last), to_place=lambda: to_place)
                self._mark, self._outbox = outgoing_mark(station, everyone=False), station.outbox
            self._seen = seen
        return self._sticks.found(), self._mark | (_names_in(self._outbox) if self._everyone else frozenset())


def _stamp(path: Path) -> Hashable:
    """Return what differs after a database was written: its log grows, or is folded into it."""
    found = []
    for each in (path, path.with_name(path.name + "-wal")):
        try:
            status = each.stat()
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        except OSError:
            found.append((0, 0, 0))
    return tuple(found)


@dataclass(frozen=True)
class _Remembered:
    """The stick that was used last, for a look round."""

    last: str

    def recall(self, _key: str) -> str:
        return self.last

    def keep(self, _key: str, _value: str) -> None:
        """Keep nothing: a look changes nothing."""


def sticks_of(station: Station) -> Sticks:
    """Return what this station knows of sticks."""
    mine = _machine(station)
    done = {copy.name.stem for copy in station.card.history() if not copy.open}

    def wanted(entry: StickFile) -> bool:
        if entry.report is None:
            return entry.suffix == BATCH  # who knows whose results are in it before it is read
        ours = f"{entry.report.taxpayer_id}_{entry.report.machine_no}" == mine
        return ours and entry.suffix == ".txt" and entry.report.stem not in done

    return Sticks(station_tag(station), _Memory(station.store), wanted, lambda: has_outgoing(station))


def prepare(station: Station, path: Path, label: str, *, new_identity: bool = False) -> StickIdentity:
    """Make a folder a stick of ours, and remember it."""
    now = station.clock.now()
    identity = sticks_of(station).prepare(path, label, new_identity=new_identity, now=now)
    station.store.note(now, "stick-prepared", id=identity.id, label=identity.label)
    _introduce(station, path, now)
    return identity


def _introduce(station: Station, path: Path, now: datetime) -> None:
    """Leave the trust file on the stick: an Internet PC that knows nothing yet finds the bureau's address in it."""
    with _scratch(station) as scratch:
        file = scratch / TRUST
        write_durably(file, station.card.trust_file())
        leave_trust(path, Outgoing.of(file, TRUST), station=station_tag(station), now=now)


def meet(station: Station, wanted: Path | None) -> tuple[str, int]:
    """Take the trust file that an Internet PC has left on a stick; what it does not prove to the card is not taken.

    Args:
        station: This PC.
        wanted: The stick; None if only one is in.

    Returns:
        The stick's label, and the version that is in force now if it is another one than before, else 0.

    Raises:
        MediumError: No stick, several, or one that failed.
        TaxferryError: A trust file that does not continue the card's own. The card keeps what it has.
    """
    path = sticks_of(station).find(wanted)
    identity, _ = sticks_of(station).listing(path)
    visit = Visit(path, path.name if identity is None else identity.label)
    with _reading(station, path, station_tag(station), everyone=False, progress=_silent) as harvest:
        for seen in harvest.of("trust"):
            _take_trust(station, seen, visit)
    if visit.refused:
        raise visit.refused[0].error
    sticks_of(station).remember(path)
    return visit.label, visit.trust_version


def slip(station: Station, path: Path) -> Slip:
    """Return the transfer slip of what a stick carries to the Internet PC, every machine's files included."""
    tag = station_tag(station)
    identity, _ = sticks_of(station).listing(path)
    with _reading(station, path, tag, everyone=True, progress=_silent) as harvest:
        return slip_of(harvest, identity, path, Direction.TO_ONLINE, tag, station.clock.now())


def fill_disc(station: Station, folder: Path, label: str, *, everyone: bool, progress: Progress) -> tuple[Visit, Slip]:
    """Fill a new folder with what is to be burnt to a disc.

    Raises:
        MediumInUse: The folder is not empty.
        MediumError: It cannot be written.
    """
    sticks_of(station).prepare_disc(folder, label, now=station.clock.now())
    done = sync(station, folder, everyone=everyone, progress=progress, remember=False)
    if done.problem is not None:
        raise done.problem
    return done, slip(station, folder)


def has_outgoing(station: Station) -> bool:
    """Return whether something waits that lies on no stick yet."""
    return any(
        life.state is OfflineState.SEALED if copy.open else life.state is OfflineState.CLEARED and not life.ack_stick
        for copy, life in station.copies()
        if copy.report_digest is not None
    )


def outgoing_mark(station: Station, *, everyone: bool) -> frozenset[Hashable]:
    """Return what waits to be put on a stick, each in words that only it has."""
    copy = station.card.open_copy()
    found: set[Hashable] = {("ack", copy.nonce) for copy, _ in station.waiting_acks()}
    if copy is not None and copy.success is None and copy.report_digest is not None:
        found.add(("report", copy.report_digest))
    return frozenset(found) | (_names_in(station.outbox) if everyone else frozenset())


def _names_in(folder: Path) -> frozenset[Hashable]:
    with contextlib.suppress(OSError):
        return frozenset(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return frozenset()


# The visit


def sync(
    station: Station,
    path: Path,
    *,
    everyone: bool = False,
    remember: bool = True,
    progress: Progress = _silent,
) -> Visit:
    """Carry both ways in one visit.

    Args:
        station: This PC.
        path: Where the stick is.
        everyone: Carry for every machine whose files lie in the outbox, which several stations share.
        remember: Whether this is the stick, or the folder that stands for it, that is meant when none is named.
        progress: Told of the bytes that were moved, of how many, and whether they are read or written.

    Raises:
        MediumError: The stick is absent or failed; what was not placed is placed by the next visit.
    """
    visit = Visit(path)
    tag = station_tag(station)
    with Stick.open(path, station=tag, unprepared=True) as stick:
        visit.label = stick.identity.label if stick.identity else path.name
        visit.warnings.extend(sticks_of(station).doubts(stick))
        with _reading(station, path, tag, everyone=everyone, progress=progress) as harvest:
            _same_stick(stick, harvest)
            visit.foreign, visit.protections = harvest.foreign, harvest.protections
            visit.refused.extend(Refusal(str(error.context["name"]), error) for error in stick.not_folders())
            if harvest.truncated:
                visit.warnings.append(TOO_MANY)
            _take(station, harvest, visit, everyone=everyone)
        try:
            _place(station, stick, harvest, visit, everyone=everyone, progress=progress)
            _tidy(station, stick, harvest, visit)
        except MediumError as error:
            # What was taken is safe in the inbox; what could not be placed still lies in the spool.
            visit.problem = error
        stick.finish()
        if stick.identity is not None and remember:
            sticks_of(station).remember(path)
    return visit


def _reading(
    station: Station, path: Path, tag: str, *, everyone: bool, progress: Progress
) -> contextlib.AbstractContextManager[Harvest]:
    reading = station.read()
    return read_stick(
        path,
        station=tag,
        scratch=station.home.spool,
        trust=station.card.trust_in_force().store(),
        at=reading.at,
        machines=None if everyone else [_machine(station)],
        copy_kinds=(".txt", TRUST),
        known={},
        advanced=lambda done, total: progress(done, total, _READING),
    )


def _same_stick(stick: Stick, harvest: Harvest) -> None:
    if harvest.identity != ("" if stick.identity is None else stick.identity.id):
        raise MediumDamaged(reason=Text("读取时换了U盘", "the stick was changed while it was read"))


def results_on_stick(station: Station) -> list[Arrival]:
    """Return this machine's results that lie on the stick that is in, if exactly one is; proven by the process apart."""
    found: list[Arrival] = []
    with contextlib.suppress(MediumError):
        path = sticks_of(station).find(None)
        with _reading(station, path, station_tag(station), everyone=False, progress=_silent) as harvest:
            for seen in harvest.files:
                if seen.suffix == ".txt" and seen.copy is not None:
                    recognised = recognise(seen.name)
                    claimed = None if recognised is None else recognised[0]
                    found.append(Arrival(seen.name, claimed, seen.copy.read_bytes()))
    return found


def put_report_on_stick(station: Station) -> str | None:
    """Put the waiting report onto the stick that is in, if exactly one is; return its label."""
    with contextlib.suppress(MediumAbsent, MediumAmbiguous, MediumUnprepared):
        done = put_report(station, None)
        return done.label
    return None


def put_report(station: Station, wanted: Path | None, *, progress: Progress = _silent) -> Visit:
    """Put the waiting report onto a stick, whether or not it lies on another one.

    Raises:
        MediumError: No stick, several, or one that failed. The report is kept, and can be put on any stick.
    """
    path = sticks_of(station).find(wanted)
    tag = station_tag(station)
    visit = Visit(path)
    with Stick.open(path, station=tag) as stick:
        visit.label = stick.identity.label if stick.identity else ""
        with _reading(station, path, tag, everyone=False, progress=progress) as harvest:
            _same_stick(stick, harvest)
            _place(station, stick, harvest, visit, everyone=False, progress=progress)
        stick.finish()
        sticks_of(station).remember(path)
    if visit.problem is not None:
        raise visit.problem
    return visit


# Off the stick


def _take(station: Station, harvest: Harvest, visit: Visit, *, everyone: bool) -> None:
    for seen in harvest.of("trust"):
        _take_trust(station, seen, visit)
    for seen in harvest.of("result"):
        try:
            _take_result(station, seen, visit)
        except TaxferryError as error:
            visit.refused.append(Refusal(seen.name, error))
    for seen in harvest.files:
        if seen.error is None or seen.suffix not in (".txt", TRUST):
            continue
        moved = None
        if seen.copy is not None and not isinstance(seen.error, StillProcessing):
            quarantine, now = station.home.quarantine, station.clock.now()
            moved = keep_aside(seen.copy, seen.name, seen.sha256, quarantine, seen.error, now)
        visit.refused.append(Refusal(seen.name, seen.error, moved))
    # What was whole in a damaged container was taken; that something may be missing has to be said.
    visit.refused.extend(Refusal(name, error) for name, error in harvest.broken(Direction.TO_OFFLINE))


def _take_result(station: Station, seen: Seen, visit: Visit) -> None:
    """Move a proven result into the inbox; the card proves it again when it takes notice of it."""
    facts, copy = seen.facts, seen.copy
    assert facts is not None
    assert copy is not None
    reading = station.read()
    if facts.card_no == reading.facts.card_no and facts.number <= reading.facts.last_result_no:
        return  # the card has taken notice of it before: it need not travel again
    target = station.inbox / facts.name.file_name(".txt")
    if target.is_file():
        if hash_file(target)[0] == seen.sha256:
            if target.name not in visit.taken:
                visit.taken.append(target.name)
            return
        _refuse_if_older(target, facts, station, at=reading.at)
    station.inbox.mkdir(parents=True, exist_ok=True)
    move_durably(copy, target)
    visit.taken.append(target.name)
    station.store.note(station.clock.now(), "taken", file=target.name, stick=visit.label)


def _refuse_if_older(waiting: Path, facts: Facts, station: Station, *, at: datetime) -> None:
    """Let an older result not take the place of a newer one that waits in the inbox."""
    there = _proven_there(waiting, station, at=at)
    if there is not None and there.result.card_no == facts.card_no and there.result.result_no > facts.number:
        raise ResultOutdated(
            reason=Text("inbox 中已有更新的结果", "a newer one is in the inbox"),
            number=facts.number,
            last=there.result.result_no,
        )


def _proven_there(waiting: Path, station: Station, *, at: datetime) -> ProvenResult | None:
    try:
        return prove_result(waiting.read_bytes(), station.card.trust_in_force().store(), at=at)
    except TaxferryError:
        return None


def _take_trust(station: Station, seen: Seen, visit: Visit) -> None:
    if seen.copy is None:
        return
    before = station.card.trust_in_force().version
    try:
        version = station.card.update_trust(seen.copy.read_bytes(), station.clock.now())
    except Outdated:
        return
    except TaxferryError as error:
        visit.refused.append(Refusal(seen.name, error))
        return
    if version != before:
        visit.trust_version = version
        station.store.note(station.clock.now(), "trust", version=version, stick=visit.label)


# Onto the stick


def _place(
    station: Station, stick: Stick, harvest: Harvest, visit: Visit, *, everyone: bool, progress: Progress
) -> None:
    now = station.clock.now()
    with _scratch(station) as scratch:
        waiting = list(outgoing(station, scratch, everyone=everyone))
        if not waiting:
            if harvest.nothing_of_ours:
                raise MediumUnprepared(name=str(stick.path))
            return
        if stick.identity is None or stick.read_only:
            there = {(seen.name, seen.sha256) for seen in harvest.files if seen.direction is Direction.TO_ONLINE}
            missing = [w for w in waiting if (w.cargo.file.name, w.cargo.file.sha256) not in there]
            visit.unplaced = [w.cargo.file.name for w in missing]
            visit.already = [w.cargo.file.name for w in waiting if w not in missing]
            if missing and stick.read_only and not visit.taken:
                raise MediumReadOnly(name=visit.label or str(stick.path))
            if missing and not stick.read_only:
                raise MediumUnprepared(name=str(stick.path))
            return
        by_name = {w.cargo.file.name: w for w in waiting}
        total = 2 * sum(w.cargo.file.size for w in waiting)
        done = 0

        def advanced(size: int) -> None:
            nonlocal done
            done += size
            progress(min(done, total), total, _WRITING)

        cargo = [w.cargo for w in waiting]
        blocked: TaxferryError | None = None
        for carried in carry(stick, harvest, cargo, Direction.TO_ONLINE, now=now, advanced=advanced):
            name = carried.cargo.file.name
            if carried.error is not None:
                # A newer receipt under the same name, or a file that is not ours to judge: it stays.
                if carried.cargo.facts.kind == "report":
                    blocked = blocked or carried.error
                else:
                    visit.already.append(name)
                continue
            by_name[name].note(visit.label)
            visit.container = carried.container or visit.container
            (visit.already if carried.already else visit.placed).append(name)
        if blocked is not None:
            raise blocked  # after all the others: they have done nothing


@contextlib.contextmanager
def _scratch(station: Station) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=".visit.", suffix=TEMPORARY_SUFFIX, dir=station.home.spool) as folder:
        yield Path(folder)


def outgoing(station: Station, scratch: Path, *, everyone: bool = False) -> Iterator[Waiting]:
    """Return what waits to be carried to the Internet PC: the sealed report, clear receipts, others' files if asked.

    Args:
        station: This PC.
        scratch: A folder for receipts, which the card gives out as bytes.
        everyone: Also what other machines have put into the outbox that they share with this one.
    """
    names = set()
    waiting = station.waiting_report()
    if waiting is not None and waiting[0].report_digest not in _answered(station):
        copy, kept = waiting
        found = _waiting_report(station, copy, kept)
        names.add(found.cargo.file.name)
        yield found
    for copy, ack in station.waiting_acks():
        found = _waiting_ack(station, copy, ack, scratch)
        names.add(found.cargo.file.name)
        yield found
    if everyone:
        yield from (w for w in _others(station) if w.cargo.file.name not in names)


def _waiting_report(station: Station, copy: CopyRecord, kept: SpooledFile) -> Waiting:
    trust, at = station.card.trust_in_force().store(), station.read().at
    with kept.path.open("rb") as file:
        facts = prove_facts(file, ".dat", trust, at=at)
    name = copy.name.file_name(".dat")
    return Waiting(
        Cargo(Outgoing(kept.path, name, kept.sha256, kept.size_bytes, kept.digest), facts),
        lambda stick: station.store.carried(copy, stick, station.clock.now()),
    )


def _waiting_ack(station: Station, copy: CopyRecord, ack: bytes, scratch: Path) -> Waiting:
    name = copy.name.file_name(".ack")
    path = scratch / name
    write_durably(path, ack)
    trust, at = station.card.trust_in_force().store(), station.read().at
    facts = prove_facts(io.BytesIO(ack), ".ack", trust, at=at)
    sha256 = hashlib.sha256(ack).hexdigest()
    return Waiting(
        Cargo(Outgoing(path, name, sha256, len(ack), copy.report_digest or ""), facts),
        lambda stick: station.store.ack_carried(copy.nonce, stick, station.clock.now()),
    )


def _others(station: Station) -> Iterator[Waiting]:
    """Return the proven files of other machines in the outbox; of several with one true name, the newest."""
    mine = _machine(station)
    trust, at = station.card.trust_in_force().store(), station.read().at
    found: dict[str, Waiting] = {}
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(station.outbox.iterdir()):
            recognised = recognise_name(path.name)
            if recognised is None or recognised[1] not in _SUFFIXES or path.is_symlink() or not path.is_file():
                continue
            if f"{recognised[0].taxpayer_id}_{recognised[0].machine_no}" == mine:
                continue
            try:
                with path.open("rb") as file:
                    facts = prove_facts(file, recognised[1], trust, at=at)
            except TaxferryError:
                continue  # still being written, or none of ours: its own station says so
            if facts.stem != recognised[0].stem:
                continue
            item = Outgoing.of(path, facts.name.file_name(recognised[1]), facts.digest)
            known = found.get(item.name)
            if known is None or facts.supersedes(known.cargo.facts):
                found[item.name] = Waiting(Cargo(item, facts), _note_nothing)
    yield from found.values()


def _note_nothing(_stick: str) -> None:
    """Another machine's file: its own station follows it."""


def _answered(station: Station) -> set[ReportDigest]:
    """Return the reports whose proven results wait in the inbox for the operator."""
    trust, at = station.card.trust_in_force().store(), station.read().at
    found = set()
    for arrival in scan(station.inbox):
        with contextlib.suppress(TaxferryError):
            found.add(prove_result(arrival.data, trust, at=at).result.report_digest)
    return found


def _tidy(station: Station, stick: Stick, harvest: Harvest, visit: Visit) -> None:
    """Remove our own files whose next leg is proven: reports and results of what was cleared, receipts that arrived."""
    if stick.identity is None or stick.read_only:
        return
    done = {copy.name.stem: (copy, life) for copy, life in reversed(list(station.copies())) if not copy.open}
    now = station.clock.now()

    def finished(seen: Seen) -> bool:
        found = done.get(seen.facts.stem) if seen.facts is not None else None
        if found is None or seen.facts is None:
            return False
        copy, life = found
        return _is_finished(seen, copy, life, now)

    visit.removed.extend(tidy(stick, harvest, finished))


def _is_finished(seen: Seen, copy: CopyRecord, life: ReportLife, now: datetime) -> bool:
    facts = seen.facts
    if facts is None or facts.card_no != copy.card_no or copy.cleared_at is None:
        return False
    if now - copy.cleared_at < RETENTION:
        return False
    if facts.kind == "ack":
        return life.acknowledged and now - life.changed_at >= RETENTION
    # The card was cleared: of this name, nothing up to what cleared it is waited for by anybody.
    if facts.kind == "report":
        return facts.number <= copy.sequence
    return facts.kind == "result" and copy.success is not None and facts.number <= copy.success.result_no


REMOVE_SAFELY: Final = Text("现在可以拔出U盘", "the stick can be pulled out now")
