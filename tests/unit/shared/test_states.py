"""Every transition table: all paths walked, no state without a way out, nothing sent twice without an answer (GW-6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

import pytest

from shared.states import (
    BUREAU,
    BUREAU_TERMINAL,
    CARD,
    OFFLINE,
    OFFLINE_TERMINAL,
    ONLINE,
    ONLINE_TERMINAL,
    BureauEvent,
    BureauState,
    CardEvent,
    CardState,
    IllegalTransition,
    OfflineEvent,
    OfflineState,
    OnlineEvent,
    OnlineState,
    advance,
    allowed,
)

Table = Mapping[tuple[Any, Any], Any]

TABLES: list[tuple[str, Table, type[StrEnum], type[StrEnum], StrEnum, frozenset[Any]]] = [
    ("online", ONLINE, OnlineState, OnlineEvent, OnlineState.FOUND, ONLINE_TERMINAL),
    ("offline", OFFLINE, OfflineState, OfflineEvent, OfflineState.COPIED, OFFLINE_TERMINAL),
    ("card", CARD, CardState, CardEvent, CardState.TO_COPY, frozenset({CardState.DONE})),
    ("bureau", BUREAU, BureauState, BureauEvent, BureauState.STORED, BUREAU_TERMINAL),
]
each_table = pytest.mark.parametrize(
    ("table", "states", "events", "start", "ends"), [row[1:] for row in TABLES], ids=[row[0] for row in TABLES]
)


def walks(table: Table, start: StrEnum, ends: frozenset[Any]) -> Iterator[list[tuple[Any, Any]]]:
    """Yield every walk from the start that uses no row of the table twice, once it can go no further."""
    stack: list[tuple[Any, list[tuple[Any, Any]]]] = [(start, [])]
    while stack:
        state, walked = stack.pop()
        onward = [row for row in table if row[0] == state and row not in walked]
        if not onward or (state in ends and walked and len(walked) > 12):
            yield walked
            continue
        stack.extend((table[row], [*walked, row]) for row in onward)


def reachable(table: Table, start: StrEnum) -> set[Any]:
    """Return all states that can be reached."""
    found = {start}
    while more := {table[row] for row in table if row[0] in found} - found:
        found |= more
    return found


@each_table
def test_every_row_and_state_is_reached_and_every_event_is_used(
    table: Table, states: type[StrEnum], events: type[StrEnum], start: StrEnum, ends: frozenset[Any]
) -> None:
    found = reachable(table, start)
    assert found == set(states)
    assert {row[0] for row in table} <= found
    assert {row[1] for row in table} == set(events)


@each_table
def test_every_state_can_reach_an_end(
    table: Table, states: type[StrEnum], events: type[StrEnum], start: StrEnum, ends: frozenset[Any]
) -> None:
    for state in states:
        assert reachable(table, state) & ends, state


@each_table
def test_ends_are_ends_and_only_they(
    table: Table, states: type[StrEnum], events: type[StrEnum], start: StrEnum, ends: frozenset[Any]
) -> None:
    if start is CardState.TO_COPY:
        return  # the card's life goes on with the next period
    assert {state for state in states if not any(row[0] == state for row in table)} == set(ends)


@each_table
def test_what_the_table_does_not_say_is_a_defect(
    table: Table, states: type[StrEnum], events: type[StrEnum], start: StrEnum, ends: frozenset[Any]
) -> None:
    for state in states:
        for event in events:
            if allowed(table, state, event):
                assert advance(table, state, event) == table[state, event]
            else:
                with pytest.raises(IllegalTransition, match=event.value):
                    advance(table, state, event)


@each_table
def test_states_and_events_are_stored_by_value(
    table: Table, states: type[StrEnum], events: type[StrEnum], start: StrEnum, ends: frozenset[Any]
) -> None:
    for (state, event), after in table.items():
        assert advance(table, states(str(state)), events(str(event))) is after


@pytest.mark.parametrize(
    ("table", "start", "ends"), [(t[1], t[4], t[5]) for t in TABLES[1:]], ids=[t[0] for t in TABLES[1:]]
)
def test_every_path_is_walked(table: Table, start: StrEnum, ends: frozenset[Any]) -> None:
    walked: set[tuple[Any, Any]] = set()
    for number, path in enumerate(walks(table, start, ends)):
        state: Any = start
        for before, event in path:
            assert state == before
            state = advance(table, state, event)
        walked.update(path)
        if number > 20_000:
            break
    assert walked == set(table)


def online_walks(limit: int) -> Iterator[list[tuple[OnlineState, OnlineEvent]]]:
    """Yield all sequences of up to `limit` events of a report on the Internet PC, loops included."""
    stack: list[tuple[OnlineState, list[tuple[OnlineState, OnlineEvent]]]] = [(OnlineState.FOUND, [])]
    while stack:
        state, path = stack.pop()
        onward = [row for row in ONLINE if row[0] is state]
        if not onward or len(path) == limit:
            yield path
            continue
        stack.extend((ONLINE[row], [*path, row]) for row in onward)


ANSWERS = {
    OnlineEvent.TAKEN,
    OnlineEvent.NOT_TAKEN,
    OnlineEvent.REFUSED,
    OnlineEvent.NEVER_SEEN,
}


def test_every_path_of_the_internet_pc_is_walked_and_nothing_is_sent_twice_without_an_answer() -> None:
    used: set[tuple[OnlineState, OnlineEvent]] = set()
    for path in online_walks(9):
        used.update(path)
        open_question = False
        for _, event in path:
            if event is OnlineEvent.SEND:
                assert not open_question, path
                open_question = True
            elif event in ANSWERS:
                open_question = False
    assert used == set(ONLINE)


def test_after_a_lost_reply_only_the_bureaus_answer_leads_on() -> None:
    unknown = OnlineState.UNKNOWN
    onward = {event for (state, event), after in ONLINE.items() if state is unknown and after is not unknown}
    assert onward == {OnlineEvent.TAKEN, OnlineEvent.NEVER_SEEN}


@pytest.mark.parametrize(
    "state", [OnlineState.ACCEPTED, OnlineState.PROCESSING, OnlineState.UNKNOWN, OnlineState.SENDING]
)
def test_what_is_no_result_is_never_staged(state: OnlineState) -> None:
    assert not allowed(ONLINE, state, OnlineEvent.WRITTEN)


def test_a_report_is_answered_by_a_success_alone() -> None:
    assert {event for (_, event), after in ONLINE.items() if after is OnlineState.ANSWERED} == {OnlineEvent.SUCCESS}


def test_only_a_proven_success_lets_the_card_clear() -> None:
    assert {row[0] for row in CARD if row[1] is CardEvent.CLEAR} == {CardState.TO_CLEAR}
    into = {event for (before, event), after in CARD.items() if after is CardState.TO_CLEAR and before is not after}
    assert into == {CardEvent.SUCCESS_PROVEN}


def test_a_report_is_cleared_only_after_a_success() -> None:
    into = {
        before for (before, event), after in OFFLINE.items() if after is OfflineState.CLEARED and before is not after
    }
    assert into == {OfflineState.SUCCEEDED}


def test_a_closed_report_at_the_bureau_stays_closed() -> None:
    for event in BureauEvent:
        assert not allowed(BUREAU, BureauState.CLOSED, event)
