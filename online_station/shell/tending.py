"""What an operator decides about reports: one or many, with the reason and the person kept in each life-line.

Each report is decided by itself and has an outcome of its own; or, if that is asked for, none is touched unless all can
be. A verb that was carried out before changes nothing and succeeds, so whatever was interrupted is simply run again.
"""

from __future__ import annotations

import getpass
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal

from online_station.core.advice import next_action, state_words
from online_station.core.decide import (
    Event,
    HoldReason,
    OperatorCancel,
    OperatorHold,
    OperatorRelease,
    OperatorRetry,
    Snapshot,
    operator_may,
)
from online_station.shell.archived import where_archived
from online_station.shell.records import ReportRow
from online_station.shell.store import Store
from shared import faults
from shared.errors import StillArchived, TaxferryError, WrongState
from shared.faults import Fault
from shared.states import IllegalTransition, OnlineState
from shared.text import Text

Verb = Literal["hold", "release", "retry", "cancel"]
_EVENTS: Final[Mapping[Verb, Event]] = MappingProxyType(
    {"hold": OperatorHold(), "release": OperatorRelease(), "retry": OperatorRetry(), "cancel": OperatorCancel()}
)
_LONGEST_REASON: Final = 300
_LONGEST_NAME: Final = 64


@dataclass(frozen=True)
class Tended:
    """What a verb came to for one report.

    Attributes:
        row: The report afterwards.
        changed: Whether this run changed it; otherwise it was so already, or could not be done.
        error: Why it could not be done.
    """

    row: ReportRow
    changed: bool
    error: TaxferryError | None = None


def operator_name(given: str = "") -> str:
    """Return who acts: the name that was given, or the operating system's user; empty if it knows none."""
    if given.strip():
        return _one_line(given)[:_LONGEST_NAME]
    try:
        return _one_line(getpass.getuser())[:_LONGEST_NAME]
    except (OSError, KeyError, ImportError):  # no such user in the system's list, or a system without one
        return ""


def note_of(operator: str, reason: str) -> str:
    """Return what the life-line keeps beside the verb: who, and why."""
    return ": ".join(part for part in (operator, _one_line(reason)[:_LONGEST_REASON]) if part)


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def fault_of(snapshot: Snapshot) -> Fault | None:
    """Return what the catalogue says about a failed report, or None."""
    if snapshot.state is not OnlineState.FAILED or not (snapshot.code or snapshot.message):
        return None
    return faults.find(snapshot.code, snapshot.message)


def is_done(snapshot: Snapshot, verb: Verb) -> bool:
    """Return whether a verb was carried out before: then it changes nothing and succeeds."""
    state = snapshot.state
    match verb:
        case "hold":
            return snapshot.hold is HoldReason.OPERATOR
        case "release":
            return snapshot.released
        case "retry":
            return snapshot.receipt_no != "" and state in (
                OnlineState.PROVEN,
                OnlineState.SENDING,
                OnlineState.UNKNOWN,
                OnlineState.ACCEPTED,
                OnlineState.PROCESSING,
            )
        case "cancel":
            return state is OnlineState.CANCELLED


def why_not(snapshot: Snapshot, verb: Verb) -> WrongState | None:
    """Return why a verb does not fit a report's present state, or None if it fits."""
    if verb == "release" and snapshot.state is OnlineState.PROVEN:
        return None
    words = state_words(snapshot)
    follow = next_action(snapshot, fault_of(snapshot))
    if not operator_may(snapshot, verb):
        return WrongState(reason=words, next_action=follow)
    taken_and_final = bool(snapshot.receipt_no) and snapshot.resend in ("new-report", "never")
    if verb == "retry" and taken_and_final:
        return WrongState(
            reason=Text(
                f"{words.zh}；同一文件再传，税局的答复不会改变",
                f"{words.en}; the same bytes would get the same answer",
            ),
            next_action=follow,
        )
    return None


def _obstacle(row: ReportRow, verb: Verb, archives: Mapping[str, str]) -> TaxferryError | None:
    if is_done(row.snapshot, verb):
        return None
    if row.digest in archives and verb == "retry":
        return StillArchived(report=row.header.name.stem, archive=archives[row.digest])
    return why_not(row.snapshot, verb)


def fitting(store: Store, verb: Verb, taxpayer_id: str, period: str) -> list[ReportRow]:
    """Return the reports of a taxpayer, of a period, or of both, with which a verb would do something.

    Args:
        store: The database.
        verb: What is to be done.
        taxpayer_id: Whose; empty for everybody's.
        period: Which month; empty for all.
    """
    found = [
        row
        for row in store.reports()
        if (not taxpayer_id or row.header.taxpayer_id == taxpayer_id) and (not period or row.header.period == period)
    ]
    archives = where_archived(store, {row.digest for row in found})
    return [row for row in found if not is_done(row.snapshot, verb) and _obstacle(row, verb, archives) is None]


def tend(
    store: Store, rows: Sequence[ReportRow], verb: Verb, *, note: str, now: datetime, all_or_none: bool = False
) -> list[Tended]:
    """Carry out a verb on reports, each by itself.

    Args:
        store: The database.
        rows: The reports.
        verb: What is to be done.
        note: Who and why (`note_of`).
        now: The present.
        all_or_none: Touch none unless every one can be done.

    Returns:
        What came of each, in their order.
    """
    archives = where_archived(store, {row.digest for row in rows})
    obstacles = {row.digest: _obstacle(row, verb, archives) for row in rows}
    if all_or_none and any(obstacles.values()):
        return [Tended(row, False, obstacles[row.digest]) for row in rows]
    return [_one(store, row, verb, obstacles[row.digest], note, now) for row in rows]


def _one(store: Store, row: ReportRow, verb: Verb, obstacle: TaxferryError | None, note: str, now: datetime) -> Tended:
    if obstacle is not None or is_done(row.snapshot, verb):
        return Tended(row, False, obstacle)
    try:
        store.apply(row.digest, _EVENTS[verb], now, note=note)
    except IllegalTransition:
        # The service was faster than this verb.
        row = _again(store, row)
        return Tended(row, False, why_not(row.snapshot, verb) or _moving(row))
    return Tended(_again(store, row), True)


def _again(store: Store, row: ReportRow) -> ReportRow:
    found = store.report(row.digest)
    assert found is not None
    return found


def _moving(row: ReportRow) -> WrongState:
    return WrongState(reason=state_words(row.snapshot), next_action=Text("再执行一次", "run it again"))


def named(store: Store, wanted: Collection[str]) -> tuple[list[ReportRow], list[TaxferryError]]:
    """Return the reports that IDs mean, each once, and what is wrong with the other IDs."""
    rows: dict[str, ReportRow] = {}
    errors: list[TaxferryError] = []
    for each in wanted:
        try:
            row = store.find(each)
        except TaxferryError as error:
            errors.append(error)
        else:
            rows.setdefault(row.digest, row)
    return list(rows.values()), errors
