"""Questions to the station's database, answered page by page: what there is, and who has reported a month.

Each answer is a plain value, for the verbs and for a page alike. No question loads more rows than it shows: a page begins
after the key of the last thing on the page before (keyset), and totals are counted by the database.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, Generic, Literal, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_station.core.board import STAGE_OF, STAGES, Due, Line, Seen, Stage, due, latest_missed, lines
from online_station.core.board import present_period as period_of
from online_station.shell.records import Gap, QuarantinedRow, ReportRow
from online_station.shell.schema import ACK, COMPANY, HOST_LIMIT, LEG, QUARANTINED, REPORT, STANDING
from online_station.shell.store import WHOLE_REPORTS, report_row
from shared.clock import CHINA
from shared.jobs.limits import Circuit
from shared.model.standing import Standing
from shared.states import OnlineState

_CHUNK: Final = 400
_MOST_MISSING: Final = 50
_BEFORE_ALL: Final = ""

T = TypeVar("T")
Only = Literal["silent", "open", "failed", "done"]
Calendar = Mapping[str, int] | None

_DONE: Final = frozenset({OnlineState.ACKNOWLEDGED, OnlineState.CANCELLED, OnlineState.QUARANTINED})
OPEN_STATES: Final = tuple(state for state in OnlineState if state not in _DONE)
"""The states of reports with which something has still to happen."""
WITH_A_PERSON: Final = (OnlineState.FAILED, OnlineState.HELD)
"""The states of reports that a person has to see to."""


class Readable(Protocol):
    """A database that can be asked: a `Store`, or a `shared.jobs.database.Database` of the same tables."""

    def reading(self) -> AbstractContextManager[Connection]:
        """Give a connection for questions."""
        ...


class KeyMalformed(ValueError):
    """The key of a page is none that was ever given out."""


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of what there is.

    Attributes:
        items: What is shown.
        next: What the next page begins after; None if there is none.
        total: How many there are on all pages together.
    """

    items: tuple[T, ...]
    next: str | None
    total: int


# Reports


@dataclass(frozen=True)
class Wanted:
    """Which reports are asked for; what is None or empty does not matter.

    Attributes:
        taxpayer: 税号.
        states: In one of these states; `quarantined` are files that were set aside.
        period: Of this month `YYYY-MM`.
        machine: Of this machine.
        text: With these words in the name, the code, the message, the receipt's number or the company's name.
        since: That arrived on this day or later.
        until: That arrived on this day or earlier.
        missed: Period reports of this month or an earlier one that are not cleared: see `overdue`.
    """

    taxpayer: str | None = None
    states: tuple[OnlineState, ...] = ()
    period: str | None = None
    machine: int | None = None
    text: str = ""
    since: date | None = None
    until: date | None = None
    missed: str | None = None


def overdue(wanted: Wanted, today: date, calendar: Calendar = None) -> Wanted:
    """Return what is wanted, as far as its filing deadline has passed and it is not cleared."""
    states = wanted.states or OPEN_STATES
    return Wanted(**{**vars(wanted), "states": states, "missed": latest_missed(today, calendar)})


def reports_page(
    store: Readable, wanted: Wanted, *, limit: int | None, after: str | None = None
) -> Page[ReportRow | QuarantinedRow]:
    """Return the reports and the files that were set aside, the newest first.

    Args:
        store: The database.
        wanted: Which.
        limit: At most so many; None for all.
        after: `Page.next` of the page before.

    Raises:
        KeyMalformed: `after` is none.
    """
    place = None if after is None else _place(after)
    with store.reading() as connection:
        keys = connection.execute(keys_of_page(wanted, limit, place)).all()
        more = limit is not None and len(keys) > limit
        shown = keys[:limit] if limit is not None else keys
        found = {r.digest: r for r in _rows(connection, [str(k.id) for k in shown if not k.aside])}
        aside = _set_aside(connection, [str(k.id) for k in shown if k.aside])
        total = int(connection.execute(_counted(wanted)).scalar_one()) if more or place is not None else len(shown)
    items = [aside[str(k.id)] if k.aside else found[str(k.id)] for k in shown if k.id in aside or k.id in found]
    return Page(tuple(items), _key(float(shown[-1].at), str(shown[-1].id)) if more else None, total)


def keys_of_page(wanted: Wanted, limit: int | None, place: tuple[float, str] | None) -> sa.Select[Any]:
    """Return the statement that finds what stands on a page: one walk along an index for each state that is wanted."""
    parts = [_branch(REPORT, REPORT.c.found_at, REPORT.c.digest, each, limit, place) for each in _conditions(wanted)]
    aside = _aside_condition(wanted)
    if aside is not None:
        parts.append(_branch(QUARANTINED, QUARANTINED.c.at, QUARANTINED.c.stored_name, aside, limit, place))
    if not parts:  # nothing can be both in such a state and of such a machine
        parts.append(_branch(QUARANTINED, QUARANTINED.c.at, QUARANTINED.c.stored_name, sa.false(), 1, None))
    whole = sa.union_all(*(sa.select(part.subquery()) for part in parts)).subquery() if parts[1:] else None
    if whole is None:
        return parts[0]
    query = sa.select(whole).order_by(whole.c.at.desc(), whole.c.id.desc())
    return query if limit is None else query.limit(limit + 1)


def _branch(
    table: sa.Table,
    at: sa.Column[Any],
    key: sa.Column[Any],
    condition: sa.ColumnElement[bool],
    limit: int | None,
    place: tuple[float, str] | None,
) -> sa.Select[Any]:
    query = sa.select(at.label("at"), key.label("id"), sa.literal(int(table is QUARANTINED)).label("aside"))
    query = query.where(condition).order_by(at.desc(), key.desc())
    if place is not None:
        query = query.where(sa.tuple_(at, key) < sa.tuple_(sa.literal(place[0]), sa.literal(place[1])))
    return query if limit is None else query.limit(limit + 1)


def _conditions(wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    c = REPORT.c
    states = [s.value for s in wanted.states if s is not OnlineState.QUARANTINED]
    if wanted.states and not states:
        return []
    common: list[sa.ColumnElement[bool]] = [sa.true()]
    if wanted.taxpayer is not None:
        common.append(c.taxpayer_id == wanted.taxpayer)
    if wanted.period is not None:
        common.append(c.period == wanted.period)
    if wanted.machine is not None:
        common.append(c.machine_no == wanted.machine)
    if wanted.text:
        words = [each.icontains(wanted.text, autoescape=True) for each in (c.stem, c.code, c.message, c.receipt_no)]
        named = COMPANY.c.name.icontains(wanted.text, autoescape=True)
        common.append(sa.or_(*words, sa.exists().where(COMPANY.c.taxpayer_id == c.taxpayer_id, named)))
    common.extend(_arrived(c.found_at, wanted))
    if wanted.missed is not None:
        common.extend((c.kind == "period", c.period <= wanted.missed, ~_later_copy()))
    if states and wanted.taxpayer is None and wanted.period is None:
        return [sa.and_(c.state == state, *common) for state in dict.fromkeys(states)]
    if states:
        common.append(c.state.in_(states))
    return [sa.and_(*common)]


def _aside_condition(wanted: Wanted) -> sa.ColumnElement[bool] | None:
    if wanted.states and OnlineState.QUARANTINED not in wanted.states:
        return None
    if wanted.period is not None or wanted.machine is not None or wanted.missed is not None:
        return None  # what a file that was not accepted says about itself is not believed
    c = QUARANTINED.c
    found: list[sa.ColumnElement[bool]] = [sa.true(), *_arrived(c.at, wanted)]
    if wanted.taxpayer is not None:
        found.append(c.name.contains(wanted.taxpayer, autoescape=True))
    if wanted.text:
        words = [each.icontains(wanted.text, autoescape=True) for each in (c.name, c.code, c.reason_zh, c.reason_en)]
        found.append(sa.or_(*words))
    return sa.and_(*found)


def _arrived(at: sa.Column[Any], wanted: Wanted) -> Iterator[sa.ColumnElement[bool]]:
    if wanted.since is not None:
        yield at >= _midnight(wanted.since)
    if wanted.until is not None:
        yield at < _midnight(wanted.until + timedelta(days=1))


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=CHINA).timestamp()


def _later_copy() -> sa.Exists:
    """Whether the same card has a later copy of the same month: its report counts in place of this one."""
    later = REPORT.alias("later_copy")
    return sa.exists().where(
        later.c.card_no == REPORT.c.card_no,
        later.c.sequence > REPORT.c.sequence,
        later.c.period == REPORT.c.period,
        later.c.kind == "period",
        later.c.state != OnlineState.CANCELLED.value,
    )


def _counted(wanted: Wanted) -> sa.Select[Any]:
    counts: list[sa.ColumnElement[int]] = [
        sa.select(sa.func.count()).select_from(REPORT).where(each).scalar_subquery() for each in _conditions(wanted)
    ]
    aside = _aside_condition(wanted)
    if aside is not None:
        counts.append(sa.select(sa.func.count()).select_from(QUARANTINED).where(aside).scalar_subquery())
    return sa.select(sum(counts, start=sa.literal(0)))


def _rows(connection: Connection, digests: Sequence[str]) -> Iterator[ReportRow]:
    for part in _chunks(digests):
        yield from map(report_row, connection.execute(WHOLE_REPORTS.where(REPORT.c.digest.in_(part))))


def _set_aside(connection: Connection, names: Sequence[str]) -> dict[str, QuarantinedRow]:
    found = {}
    for part in _chunks(names):
        for r in connection.execute(sa.select(QUARANTINED).where(QUARANTINED.c.stored_name.in_(part))):
            at = datetime.fromtimestamp(r.at, CHINA)
            found[str(r.stored_name)] = QuarantinedRow(r.stored_name, r.name, r.code, r.reason_zh, r.reason_en, at)
    return found


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def _key(at: float, name: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([at, name]).encode()).decode().rstrip("=")


def _place(key: str) -> tuple[float, str]:
    try:
        at, name = json.loads(base64.urlsafe_b64decode(key + "=" * (-len(key) % 4)))
        return float(at), str(name)
    except (ValueError, TypeError, binascii.Error, UnicodeError):
        raise KeyMalformed(key) from None


def first_for_a_person(store: Readable, wanted: Wanted) -> ReportRow | None:
    """Return the oldest report, of those that are wanted, that a person has to see to; else the oldest open one."""
    states = [s for s in OPEN_STATES if not wanted.states or s in wanted.states]
    with store.reading() as connection:
        for group in ([s for s in states if s in WITH_A_PERSON], [s for s in states if s not in WITH_A_PERSON]):
            if not group:
                continue
            narrowed = Wanted(**{**vars(wanted), "states": tuple(group)})
            parts = [
                sa.select(REPORT.c.found_at, REPORT.c.digest)
                .where(each, ~_overtaken())
                .order_by(REPORT.c.found_at, REPORT.c.digest)
                .limit(1)
                .subquery()
                for each in _conditions(narrowed)
            ]
            whole = sa.union_all(*(sa.select(part) for part in parts)).subquery()
            first = connection.execute(
                sa.select(whole.c.digest).order_by(whole.c.found_at, whole.c.digest).limit(1)
            ).scalar()
            if first is not None:
                return next(_rows(connection, [str(first)]))
    return None


def _overtaken() -> sa.Exists:
    later = REPORT.alias("later")
    return sa.exists().where(later.c.card_no == REPORT.c.card_no, later.c.sequence > REPORT.c.sequence)


def gaps(store: Readable, taxpayer: str | None = None) -> list[Gap]:
    """Return what is missing between the copies of each card that arrived here."""
    c = REPORT.c
    before = sa.func.lag(c.sequence).over(partition_by=c.card_no, order_by=c.sequence)
    # Only what the index of cards holds: the few rows that follow a gap are looked up afterwards.
    inner = sa.select(c.card_no, c.sequence, before.label("before"))
    if taxpayer is not None:
        inner = inner.where(c.taxpayer_id == taxpayer)
    copies = inner.subquery()
    query = (
        sa.select(c.taxpayer_id, c.machine_no, c.card_no, copies.c.before, copies.c.sequence)
        .distinct()
        .join(copies, sa.and_(copies.c.card_no == c.card_no, copies.c.sequence == c.sequence))
        .where(copies.c.sequence > copies.c.before + 1)
        .order_by(c.taxpayer_id, c.machine_no, c.card_no, copies.c.sequence)
    )
    with store.reading() as connection:
        return [
            Gap(
                r.taxpayer_id,
                r.machine_no,
                r.card_no,
                tuple(itertools.islice(range(r.before + 1, r.sequence), _MOST_MISSING)),
                r.sequence,
            )
            for r in connection.execute(query)
        ]


@dataclass(frozen=True)
class Work:
    """What is to be done next about a report, and who is at it.

    Attributes:
        step: The name of the next step; empty or `none` if there is none.
        due_at: When it is due.
        worker: Who has it now; empty if nobody does.
        lease_until: Until when.
        lane: What it keeps the order of: its card, while later copies wait for it.
        ahead: How many earlier reports of that lane it waits for.
    """

    step: str
    due_at: datetime | None
    worker: str = ""
    lease_until: datetime | None = None
    lane: str = ""
    ahead: int = 0


def work_of(store: Readable, digest: str) -> Work | None:
    """Return what is to be done next about a report; None if there is no such report."""
    lane, place = REPORT.columns.get("lane"), REPORT.columns.get("lane_seq")
    with store.reading() as connection:
        row = connection.execute(sa.select(REPORT).where(REPORT.c.digest == digest)).one_or_none()
        if row is None:
            return None
        known = row._mapping  # noqa: SLF001  SQLAlchemy's public name for it
        ahead = 0
        if lane is not None and place is not None and known["lane"] is not None:
            before = sa.select(sa.func.count()).where(lane == known["lane"], place < known["lane_seq"])
            ahead = int(connection.execute(before).scalar_one())
    leased = known.get("lease_until")
    return Work(
        str(known["step"]),
        None if known["due_at"] is None else datetime.fromtimestamp(known["due_at"], CHINA),
        str(known.get("worker") or "") if leased is not None else "",
        None if leased is None else datetime.fromtimestamp(leased, CHINA),
        str(known.get("lane") or ""),
        ahead,
    )


def counts(store: Readable) -> dict[str, int]:
    """Return how many reports there are in each state, and how many files were set aside."""
    with store.reading() as connection:
        found = dict.fromkeys((state.value for state in OnlineState), 0)
        rows = connection.execute(sa.select(REPORT.c.state, sa.func.count()).group_by(REPORT.c.state))
        found.update({str(state): int(number) for state, number in rows})
        aside = connection.execute(sa.select(sa.func.count()).select_from(QUARANTINED)).scalar_one()
        found[OnlineState.QUARANTINED.value] += int(aside)
        return found


def due_now(store: Readable, now: datetime) -> tuple[int, datetime | None]:
    """Return how many reports and clear receipts are due now, and since when the oldest one is."""
    number, oldest = 0, None
    with store.reading() as connection:
        for table in (REPORT, ACK):
            row = connection.execute(
                sa.select(sa.func.count(), sa.func.min(table.c.due_at)).where(table.c.due_at <= now.timestamp())
            ).one()
            number += int(row[0])
            if row[1] is not None:
                since = datetime.fromtimestamp(row[1], CHINA)
                oldest = since if oldest is None else min(oldest, since)
    return number, oldest


def circuit_is_open(store: Readable) -> bool:
    """Return whether the bureau is left alone for now, because it could not be reached."""
    with store.reading() as connection:
        closed = Circuit.CLOSED.value
        return (
            connection.execute(sa.select(HOST_LIMIT.c.name).where(HOST_LIMIT.c.circuit != closed)).first() is not None
        )


# The board


@dataclass(frozen=True)
class Silent:
    """A registered company that has sent no report of a month."""

    taxpayer_id: str
    name: str


@dataclass(frozen=True)
class Tally:
    """A month in numbers.

    Attributes:
        due: Until when it is to be reported and cleared.
        registered: How many companies are registered here.
        silent: How many of them have sent nothing.
        companies: How many companies are in each stage; a company is as far as its slowest machine.
        reports: How many reports are in each state; of a card only the newest copy counts.
    """

    due: Due
    registered: int
    silent: int
    companies: Mapping[Stage, int]
    reports: Mapping[OnlineState, int]

    @property
    def seen(self) -> int:
        """How many companies have sent a report."""
        return sum(self.companies.values())

    @property
    def open(self) -> int:
        """How many of them are not cleared yet."""
        return self.seen - self.companies.get(Stage.CLEARED, 0)


@dataclass(frozen=True)
class OpenMonth:
    """A month in which not all is cleared.

    Attributes:
        due: Until when it is to be reported and cleared.
        companies: How many companies that have sent a report are not cleared.
    """

    due: Due
    companies: int


def board_page(
    store: Readable,
    *,
    period: str | None = None,
    taxpayer: str | None = None,
    only: Only | None = None,
    limit: int | None = None,
    after: str | None = None,
) -> Page[Line]:
    """Return who has reported, one line per company and month: the newest month first, then by taxpayer.

    Args:
        store: The database.
        period: Of this month; None for all.
        taxpayer: Of this company; None for all.
        only: `failed` (or held), `done`, `open` (not done); `silent` companies have no line: see `silent_page`.
        limit: At most so many lines; None for all.
        after: `Page.next` of the page before.

    Raises:
        KeyMalformed: `after` is none.
    """
    month, company = ("", _BEFORE_ALL) if after is None else _board_place(after)
    found: list[Line] = []
    with store.reading() as connection:
        months = [period] if period is not None else _months(connection)
        begun = after is None
        for each in months:
            if not begun and each > month:
                continue
            start = company if not begun and each == month else _BEFORE_ALL
            begun = True
            room = None if limit is None else limit + 1 - len(found)
            found.extend(_lines(connection, each, start, taxpayer, only, room))
            if limit is not None and len(found) > limit:
                break
        more = limit is not None and len(found) > limit
        shown = found[:limit] if limit is not None else found
        whole = len(shown)
        if more or after is not None:
            whole = sum(_count_lines(connection, each, taxpayer, only) for each in months)
    key = _key(0.0, f"{shown[-1].period} {shown[-1].taxpayer_id}") if more else None
    return Page(tuple(shown), key, whole)


def silent_page(
    store: Readable,
    period: str,
    *,
    taxpayer: str | None = None,
    limit: int | None = None,
    after: str | None = None,
) -> Page[Silent]:
    """Return the registered companies that have sent no report of a month, by taxpayer.

    Raises:
        KeyMalformed: `after` is none.
    """
    start = _BEFORE_ALL if after is None else _board_place(after)[1]
    condition = _is_silent(period, taxpayer)
    query = sa.select(COMPANY.c.taxpayer_id, COMPANY.c.name).where(condition, COMPANY.c.taxpayer_id > start)
    query = query.order_by(COMPANY.c.taxpayer_id)
    with store.reading() as connection:
        rows = connection.execute(query if limit is None else query.limit(limit + 1)).all()
        more = limit is not None and len(rows) > limit
        shown = [Silent(str(r.taxpayer_id), str(r.name)) for r in (rows[:limit] if limit is not None else rows)]
        total = len(shown)
        if more or after is not None:
            counting = sa.select(sa.func.count()).select_from(COMPANY).where(condition)
            total = int(connection.execute(counting).scalar_one())
    return Page(tuple(shown), _key(0.0, f"{period} {shown[-1].taxpayer_id}") if more else None, total)


def tally(
    store: Readable, period: str, today: date, *, taxpayer: str | None = None, calendar: Calendar = None
) -> Tally:
    """Return a month in numbers, counted by the database."""
    with store.reading() as connection:
        registering = sa.select(sa.func.count()).select_from(COMPANY)
        if taxpayer is not None:
            registering = registering.where(COMPANY.c.taxpayer_id == taxpayer)
        being_silent = sa.select(sa.func.count()).select_from(COMPANY).where(_is_silent(period, taxpayer))
        newest = _newest(period, taxpayer)
        states = connection.execute(sa.select(newest.c.state, sa.func.count()).group_by(newest.c.state)).all()
        return Tally(
            due(period, today, calendar),
            int(connection.execute(registering).scalar_one()),
            int(connection.execute(being_silent).scalar_one()),
            _by_stage(connection, period, taxpayer, None),
            {OnlineState(r[0]): int(r[1]) for r in sorted(states, key=lambda r: str(r[0]))},
        )


def open_months(store: Readable, today: date, *, calendar: Calendar = None) -> list[OpenMonth]:
    """Return the months in which a company is not cleared, the oldest first."""
    states = [state.value for state in OPEN_STATES]
    query = (
        sa.select(REPORT.c.period, sa.func.count(sa.distinct(REPORT.c.taxpayer_id)))
        .where(REPORT.c.state.in_(states), REPORT.c.kind == "period", ~_later_copy())
        .group_by(REPORT.c.period)
        .order_by(REPORT.c.period)
    )
    with store.reading() as connection:
        return [OpenMonth(due(str(r[0]), today, calendar), int(r[1])) for r in connection.execute(query)]


@dataclass(frozen=True)
class Stuck:
    """A report that only a person can move.

    Attributes:
        digest: The report.
        stem: Its name.
        taxpayer_id: Whose.
        state: `failed` or `held`.
        hold: Why it is held; empty for a failed one.
        code: The bureau's code.
        message: The bureau's own words.
    """

    digest: str
    stem: str
    taxpayer_id: str
    state: OnlineState
    hold: str
    code: str
    message: str


def stuck(store: Readable, *, but: Collection[str], limit: int) -> list[Stuck]:
    """Return the reports that a person has to see to, the oldest first.

    Args:
        store: The database.
        but: Reasons of holds that are not meant.
        limit: At most so many.
    """
    c = REPORT.c
    query = (
        sa.select(c.digest, c.stem, c.taxpayer_id, c.state, c.hold, c.code, c.message)
        .where(c.state.in_([state.value for state in WITH_A_PERSON]), ~_overtaken())
        .where(sa.or_(c.hold.is_(None), c.hold.not_in(list(but))))
        .order_by(c.found_at, c.digest)
        .limit(limit)
    )
    with store.reading() as connection:
        return [
            Stuck(r.digest, r.stem, r.taxpayer_id, OnlineState(r.state), r.hold or "", r.code, r.message)
            for r in connection.execute(query)
        ]


def behind(store: Readable, period: str, before: Stage, *, limit: int) -> tuple[int, list[str]]:
    """Return how many companies that have sent a report of a month are not as far as a stage, and the first of them."""
    with store.reading() as connection:
        slowest = _slowest(period, None, None).subquery()
        condition = slowest.c.stage < STAGES.index(before)
        number = int(connection.execute(sa.select(sa.func.count()).select_from(slowest).where(condition)).scalar_one())
        first = sa.select(slowest.c.taxpayer_id).where(condition).order_by(slowest.c.taxpayer_id).limit(limit)
        return number, [str(r[0]) for r in connection.execute(first)] if number else []


@dataclass(frozen=True)
class Away:
    """A stick on which results left that have not been heard of since.

    Attributes:
        stick_id: The stick; empty for a medium that was never prepared.
        label: What people call it.
        results: How many results.
        since: When the first of them left.
    """

    stick_id: str
    label: str
    results: int
    since: datetime


def sticks_away(store: Readable, before: datetime) -> list[Away]:
    """Return the sticks with which results left before a time whose reports are not cleared, as far as is known here."""
    later = LEG.alias("later_leg")
    latest = sa.select(sa.func.max(later.c.id)).where(later.c.digest == LEG.c.digest, later.c.leg == "left")
    query = (
        sa.select(LEG.c.stick_id, LEG.c.label, sa.func.count(), sa.func.min(LEG.c.at))
        .join(REPORT, REPORT.c.digest == LEG.c.digest)
        .where(REPORT.c.state == OnlineState.STAGED.value, LEG.c.leg == "left", ~_overtaken())
        .where(LEG.c.id == latest.scalar_subquery(), LEG.c.at < before.timestamp())
        .group_by(LEG.c.stick_id, LEG.c.label)
        .order_by(LEG.c.stick_id, LEG.c.label)
    )
    with store.reading() as connection:
        return [
            Away(str(r[0]), str(r[1]), int(r[2]), datetime.fromtimestamp(r[3], CHINA))
            for r in connection.execute(query)
        ]


def names_of(store: Readable, taxpayers: Iterable[str]) -> dict[str, str]:
    """Return the registered names of some companies."""
    found = {}
    with store.reading() as connection:
        for part in _chunks(sorted(set(taxpayers))):
            query = sa.select(COMPANY.c.taxpayer_id, COMPANY.c.name).where(COMPANY.c.taxpayer_id.in_(part))
            found.update({str(r.taxpayer_id): str(r.name) for r in connection.execute(query)})
    return found


def present_period(now: datetime) -> str:
    """Return the month that is to be reported now."""
    return period_of(now.astimezone(CHINA).date())


def _board_place(key: str) -> tuple[str, str]:
    month, _, company = _place(key)[1].partition(" ")
    if not company:
        raise KeyMalformed(key)
    return month, company


def _months(connection: Connection) -> list[str]:
    """Return the months of which there are reports, the newest first: one look into the index for each."""
    found: list[str] = []
    while True:
        query = sa.select(sa.func.max(REPORT.c.period))
        latest = connection.execute(query.where(REPORT.c.period < found[-1]) if found else query).scalar()
        if latest is None:
            return found
        found.append(str(latest))


def _counts_in(period: str, taxpayer: str | None, start: str = _BEFORE_ALL) -> list[sa.ColumnElement[bool]]:
    c = REPORT.c
    found = [c.period == period, c.kind == "period", c.state.in_([state.value for state in STAGE_OF])]
    if taxpayer is not None:
        found.append(c.taxpayer_id == taxpayer)
    if start:
        found.append(c.taxpayer_id > start)
    return found


def _newest(period: str, taxpayer: str | None, start: str = _BEFORE_ALL) -> sa.Subquery:
    """The newest copy of each card in a month, with its stage as a number."""
    c = REPORT.c
    place = sa.func.row_number().over(
        partition_by=(c.taxpayer_id, c.machine_no, c.card_no), order_by=(c.sequence.desc(), c.found_at.desc())
    )
    stage = sa.case(*((c.state == state.value, STAGES.index(found)) for state, found in STAGE_OF.items()))
    copies = (
        sa.select(c.taxpayer_id, c.state, stage.label("stage"), place.label("place"))
        .where(*_counts_in(period, taxpayer, start))
        .subquery()
    )
    return sa.select(copies).where(copies.c.place == 1).subquery()


def _slowest(
    period: str, taxpayer: str | None, only: Only | None, start: str = _BEFORE_ALL
) -> sa.Select[tuple[str, int]]:
    newest = _newest(period, taxpayer, start)
    stage = sa.func.min(newest.c.stage)
    query = sa.select(newest.c.taxpayer_id, stage.label("stage")).group_by(newest.c.taxpayer_id)
    last = STAGES.index(Stage.CLEARED)
    match only:
        case "failed":
            return query.having(stage <= STAGES.index(Stage.HELD))
        case "done":
            return query.having(stage == last)
        case "open":
            return query.having(stage < last)
        case "silent":
            return query.having(sa.false())
        case None:
            return query


def _by_stage(connection: Connection, period: str, taxpayer: str | None, only: Only | None) -> dict[Stage, int]:
    slowest = _slowest(period, taxpayer, only).subquery()
    rows = connection.execute(sa.select(slowest.c.stage, sa.func.count()).group_by(slowest.c.stage)).all()
    return {STAGES[r[0]]: int(r[1]) for r in sorted(rows, key=lambda r: int(r[0]))}


def _count_lines(connection: Connection, period: str, taxpayer: str | None, only: Only | None) -> int:
    if only is not None:
        return sum(_by_stage(connection, period, taxpayer, only).values())
    companies = sa.select(REPORT.c.taxpayer_id).distinct().where(*_counts_in(period, taxpayer)).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(companies)).scalar_one())


def _lines(
    connection: Connection, period: str, start: str, taxpayer: str | None, only: Only | None, room: int | None
) -> list[Line]:
    if only is None:
        query: sa.Select[Any] = sa.select(REPORT.c.taxpayer_id).distinct().where(*_counts_in(period, taxpayer, start))
        query = query.order_by(REPORT.c.taxpayer_id)
    else:
        query = _slowest(period, taxpayer, only, start)
        query = query.order_by(query.selected_columns.taxpayer_id)
    companies = [str(r[0]) for r in connection.execute(query if room is None else query.limit(room))]
    seen: list[Seen] = []
    standings: dict[tuple[str, str], Standing] = {}
    for part in _chunks(companies):
        seen.extend(_seen(connection, period, part))
        told = sa.select(STANDING.c.taxpayer_id, STANDING.c.body)
        told = told.where(STANDING.c.period == period, STANDING.c.taxpayer_id.in_(part))
        for r in connection.execute(told):
            standings[str(r.taxpayer_id), period] = Standing.model_validate_json(r.body)
    return lines(seen, standings)


def _seen(connection: Connection, period: str, companies: Collection[str]) -> Iterator[Seen]:
    c = REPORT.c
    query = sa.select(c.taxpayer_id, c.machine_no, c.card_no, c.sequence, c.state, c.digest)
    query = query.where(*_counts_in(period, None), c.taxpayer_id.in_(companies))
    for r in connection.execute(query):
        yield Seen(r.taxpayer_id, period, r.machine_no, r.card_no, r.sequence, OnlineState(r.state), r.digest)


def _is_silent(period: str, taxpayer: str | None) -> sa.ColumnElement[bool]:
    sent = sa.exists().where(*_counts_in(period, None), REPORT.c.taxpayer_id == COMPANY.c.taxpayer_id)
    return ~sent if taxpayer is None else sa.and_(~sent, COMPANY.c.taxpayer_id == taxpayer)
