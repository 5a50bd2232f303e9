"""A visit to the stick: reports and clear receipts go onto it, results and the trust file come off it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from offline_station.core.card_rules import CopyRecord
from offline_station.shell.arrivals import Arrival, scan
from offline_station.shell.spool import OlderReport, SpooledFile
from offline_station.shell.station import Refusal, Station
from shared.durable import temporary_beside, write_durably
from shared.envelope.opening import prove_report
from shared.errors import (
    MediumAbsent,
    MediumError,
    MediumUnprepared,
    NameContradicts,
    NameTaken,
    Outdated,
    ResultOutdated,
    StillProcessing,
    TaxferryError,
)
from shared.ids import ReportDigest, ReportName
from shared.medium.names import MAX_SIZES, TRUST, Direction
from shared.medium.stick import Listing, Placement, Stick, StickFile, StickIdentity
from shared.model.ack import prove_ack
from shared.model.result import ProvenResult, prove_result
from shared.text import Text


@dataclass
class Visit:
    """What one visit did.

    Attributes:
        path: Where the stick is.
        label: What people call it.
        placed: Names of the files that this visit put on it for the Internet PC.
        already: Names of the files for the Internet PC that an earlier visit had put on it.
        taken: Names of the results that now lie in the inbox.
        trust_version: The version of a trust file that was taken in; 0 if none.
        removed: Names of files that were done with and were removed.
        refused: Files for this station that cannot be accepted; they stay where they are.
        problem: Why nothing could be placed, although there was something to place.
    """

    path: Path
    label: str = ""
    placed: list[str] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    trust_version: int = 0
    removed: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    problem: TaxferryError | None = None


def station_tag(station: Station) -> str:
    """Return the name under which this station writes on sticks."""
    facts = station.read().facts
    return f"{facts.taxpayer_id}-{facts.machine_no}"


def _path_of(station: Station, path: Path | None) -> Path:
    found = path or station.stick_path
    if found is None:
        raise MediumAbsent(path="?")
    return found


def prepare(station: Station, path: Path, label: str) -> StickIdentity:
    """Make a folder a stick of ours, and remember it."""
    now = station.clock.now()
    with Stick.prepare(path, label, station=station_tag(station), now=now) as stick:
        stick.finish()
        identity = stick.identity
    assert identity is not None
    station.store.set_setting("stick", str(path.absolute()))
    station.store.note(now, "stick-prepared", id=identity.id, label=identity.label)
    return identity


def listing(station: Station, path: Path | None) -> tuple[Path, StickIdentity | None, Listing]:
    """Return what lies on the stick."""
    found = _path_of(station, path)
    with Stick.open(found, station=station_tag(station), unprepared=True) as stick:
        return found, stick.identity, stick.list()


def eject(station: Station, path: Path | None) -> StickIdentity | None:
    """Make sure that everything has reached the stick: then it is safe to remove."""
    with Stick.open(_path_of(station, path), station=station_tag(station), unprepared=True) as stick:
        stick.finish()
        return stick.identity


def sync(station: Station, path: Path | None) -> Visit:
    """Carry both ways in one visit.

    Raises:
        MediumError: The stick is absent or failed; what was not placed is placed by the next visit.
    """
    found = _path_of(station, path)
    visit = Visit(found)
    with Stick.open(found, station=station_tag(station), unprepared=True) as stick:
        visit.label = stick.identity.label if stick.identity else found.name
        _take(station, stick, visit)
        try:
            _place(station, stick, visit)
            _tidy(station, stick, visit)
        except MediumError as error:
            # What was taken is safe in the inbox; what could not be placed still lies in the spool.
            visit.problem = error
        stick.finish()
        if stick.identity is not None:
            station.store.set_setting("stick", str(found.absolute()))
    return visit


def put_report_on_stick(station: Station) -> str | None:
    """Put the waiting report onto the stick that was used last, if it is in; return its label."""
    path = station.stick_path
    if path is None:
        return None
    with contextlib.suppress(MediumAbsent, MediumUnprepared):
        with Stick.open(path, station=station_tag(station)) as stick:
            visit = Visit(path, stick.identity.label if stick.identity else "")
            _place(station, stick, visit)
            stick.finish()
        return visit.label
    return None


def results_on_stick(station: Station) -> list[Arrival]:
    """Return this machine's results that lie on the stick used last, if it is in."""
    path = station.stick_path
    if path is None:
        return []
    found: list[Arrival] = []
    with contextlib.suppress(MediumError), Stick.open(path, station=station_tag(station), unprepared=True) as stick:
        for entry in _ours(station, stick.list(".txt").files):
            with stick.reading(entry) as file:
                found.append(Arrival(entry.name, entry.report, file.read(MAX_SIZES[".txt"] + 1)))
    return found


def _ours(station: Station, files: Sequence[StickFile]) -> list[StickFile]:
    facts = station.read().facts
    mine = (facts.taxpayer_id, facts.machine_no)
    return [f for f in files if f.report is not None and (f.report.taxpayer_id, f.report.machine_no) == mine]


def _is_ours(station: Station, name: ReportName | None) -> bool:
    facts = station.read().facts
    return name is not None and (name.taxpayer_id, name.machine_no) == (facts.taxpayer_id, facts.machine_no)


# Off the stick


def _take(station: Station, stick: Stick, visit: Visit) -> None:
    listed = stick.list(".txt", TRUST)
    for entry in listed.files:
        if entry.suffix == TRUST:
            _take_trust(station, stick, entry, visit)
    for unusable in listed.unusable:
        visit.refused.append(Refusal(unusable.name, unusable.error))
    for entry in _ours(station, listed.files):
        try:
            _take_result(station, stick, entry, visit)
        except _AlreadySeen:
            continue
        except StillProcessing as error:
            visit.refused.append(Refusal(entry.name, error))
        except MediumError:
            raise
        except TaxferryError as error:
            visit.refused.append(Refusal(entry.name, error))


class _AlreadySeen(Exception):
    """The card has taken notice of this result before: it need not travel again."""


def _take_result(station: Station, stick: Stick, entry: StickFile, visit: Visit) -> None:
    reading = station.read()
    trust = station.card.trust_in_force().store()

    def prove(file: BinaryIO) -> ProvenResult:
        proven = prove_result(file.read(MAX_SIZES[".txt"] + 1), trust, at=reading.at, name=entry.name)
        if entry.report != proven.result.name and entry.report is not None:
            raise NameContradicts(named=entry.report.in_words, signed=proven.result.name.in_words)
        if proven.result.card_no == reading.facts.card_no and proven.result.result_no <= reading.facts.last_result_no:
            raise _AlreadySeen
        waiting = station.inbox / proven.result.name.file_name(".txt")
        if waiting.is_file():
            _refuse_if_older(waiting, proven, station, at=reading.at)
        return proven

    station.inbox.mkdir(parents=True, exist_ok=True)
    taken = stick.take(
        entry,
        station.inbox,
        prove=prove,
        name=lambda proven: proven.result.name.file_name(".txt"),
        replace=True,
    )
    visit.taken.append(taken.path.name)
    if not taken.already:
        station.store.note(station.clock.now(), "taken", file=taken.path.name, stick=visit.label)


def _refuse_if_older(waiting: Path, proven: ProvenResult, station: Station, *, at: datetime) -> None:
    """Let an older result not take the place of a newer one that waits in the inbox."""
    try:
        there = prove_result(waiting.read_bytes(), station.card.trust_in_force().store(), at=at)
    except TaxferryError:
        return
    same_card = there.result.card_no == proven.result.card_no
    if same_card and there.result.result_no > proven.result.result_no:
        raise ResultOutdated(
            reason=Text("inbox 中已有更新的结果", "a newer one is in the inbox"),
            number=proven.result.result_no,
            last=there.result.result_no,
        )


def _take_trust(station: Station, stick: Stick, entry: StickFile, visit: Visit) -> None:
    before = station.card.trust_in_force().version
    with stick.reading(entry) as file:
        data = file.read(MAX_SIZES[TRUST] + 1)
    try:
        version = station.card.update_trust(data, station.clock.now())
    except Outdated:
        return
    except TaxferryError as error:
        visit.refused.append(Refusal(entry.name, error))
        return
    if version != before:
        visit.trust_version = version
        station.store.note(station.clock.now(), "trust", version=version, stick=visit.label)


# Onto the stick


def _place(station: Station, stick: Stick, visit: Visit) -> None:
    now = station.clock.now()
    waiting = station.waiting_report()
    if waiting is not None and waiting[0].report_digest in _answered(station):
        waiting = None  # its result is here: the bureau has had the report, and the stick need not carry it again
    acks = station.waiting_acks()
    if (waiting or acks) and stick.identity is None:
        raise MediumUnprepared(name=str(stick.path))
    if waiting is not None:
        copy, kept = waiting
        placement = _place_report(station, stick, copy, kept, now)
        station.store.carried(copy, visit.label, now)
        (visit.already if placement.already else visit.placed).append(copy.name.file_name(".dat"))
    for copy, ack in acks:
        placed_now = _place_ack(station, stick, copy, ack, now)
        station.store.ack_carried(copy.nonce, visit.label, now)
        (visit.placed if placed_now else visit.already).append(copy.name.file_name(".ack"))


def _answered(station: Station) -> set[ReportDigest]:
    """Return the reports whose proven results wait in the inbox for the operator."""
    trust, at = station.card.trust_in_force().store(), station.read().at
    found = set()
    for arrival in scan(station.inbox):
        with contextlib.suppress(TaxferryError):
            found.add(prove_result(arrival.data, trust, at=at).result.report_digest)
    return found


def _place_report(station: Station, stick: Stick, copy: CopyRecord, kept: SpooledFile, now: datetime) -> Placement:
    trust, at = station.card.trust_in_force().store(), station.read().at
    with kept.path.open("rb") as file:
        sealed_at = prove_report(file, trust, at=at).signing_time
    return stick.place(
        kept.path,
        copy.name.file_name(".dat"),
        Direction.TO_ONLINE,
        now=now,
        digest=kept.digest,
        supersedes=OlderReport(trust, at, copy.card_no, copy.sequence, sealed_at),
    )


def _place_ack(station: Station, stick: Stick, copy: CopyRecord, ack: bytes, now: datetime) -> bool:
    """Put a clear receipt on the stick; return whether it was not there yet."""
    name = copy.name.file_name(".ack")
    source = temporary_beside(station.home.results / name)
    trust, at = station.card.trust_in_force().store(), station.read().at

    def older(file: BinaryIO) -> bool:
        try:
            there = prove_ack(file.read(MAX_SIZES[".ack"] + 1), trust, at=at).ack
        except TaxferryError:
            return False
        assert copy.success is not None
        return there.card_no == copy.card_no and there.result_no < copy.success.result_no

    try:
        write_durably(source, ack)
        placement = stick.place(
            source, name, Direction.TO_ONLINE, now=now, digest=copy.report_digest or "", supersedes=older
        )
    except NameTaken:
        # A newer receipt under the same name, or a file that is not ours to judge: it stays.
        return False
    finally:
        source.unlink(missing_ok=True)
    return not placement.already


def _tidy(station: Station, stick: Stick, visit: Visit) -> None:
    """Remove our own files whose next leg is proven: reports that were cleared, results that cleared them (STICK-10)."""
    if stick.identity is None:
        return
    done = {copy.name.stem: (copy, life) for copy, life in reversed(list(station.copies())) if not copy.open}
    for entry in stick.list(".dat", ".txt").files:
        if entry.report is None or not _is_ours(station, entry.report):
            continue
        found = done.get(entry.report.stem)
        if found is None or found[0].cleared_at is None:
            continue
        copy, life = found
        sha256 = life.file_sha256
        if entry.suffix == ".txt":
            kept = station.home.results / f"{copy.name.stem}.{life.result_no}.txt"
            sha256 = hashlib.sha256(kept.read_bytes()).hexdigest() if kept.is_file() else ""
        if sha256 and stick.remove(entry, sha256):
            visit.removed.append(entry.name)


REMOVE_SAFELY: Final = Text("U盘可以安全拔出", "the stick is safe to remove")
