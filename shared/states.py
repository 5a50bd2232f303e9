"""The life cycles, as data: a report on each side, the card, the bureau's judgement.

The tables are the whole truth: diagrams and the manual's state pages are generated from them, tests walk every path,
and `advance` is the only way to move. States are stored by value.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar


class IllegalTransition(ValueError):
    """The table has no row for this state and event: a defect in this program. Nothing has changed."""


class OnlineState(StrEnum):
    """A report on the Internet PC."""

    FOUND = "found"
    PROVEN = "proven"
    HELD = "held"
    SENDING = "sending"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    PROCESSING = "processing"
    WAITING = "waiting"
    FAILED = "failed"
    ANSWERED = "answered"
    STAGED = "staged"
    ACKNOWLEDGED = "acknowledged"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"


class OnlineEvent(StrEnum):
    """What can happen to a report on the Internet PC."""

    PROVED = "proved"
    DISPROVED = "disproved"
    HOLD = "hold"
    RELEASE = "release"
    SEND = "send"
    TAKEN = "taken"
    NOT_TAKEN = "not-taken"
    REPLY_LOST = "reply-lost"
    NEVER_SEEN = "never-seen"
    REFUSED = "refused"
    PROCESSING = "processing"
    MACHINES_MISSING = "machines-missing"
    FAILURE = "failure"
    SUCCESS = "success"
    RETRY = "retry"
    WRITTEN = "written"
    ACKNOWLEDGED = "acknowledged"
    CANCEL = "cancel"
    RESTORED = "restored"


_S, _E = OnlineState, OnlineEvent
ONLINE: Final[Mapping[tuple[OnlineState, OnlineEvent], OnlineState]] = MappingProxyType(
    {
        (_S.FOUND, _E.PROVED): _S.PROVEN,
        (_S.FOUND, _E.DISPROVED): _S.QUARANTINED,
        (_S.PROVEN, _E.HOLD): _S.HELD,
        (_S.PROVEN, _E.SEND): _S.SENDING,
        (_S.PROVEN, _E.CANCEL): _S.CANCELLED,
        (_S.HELD, _E.HOLD): _S.HELD,
        (_S.HELD, _E.RELEASE): _S.PROVEN,
        (_S.HELD, _E.CANCEL): _S.CANCELLED,
        # Between two sends stands an answer: after a lost reply the bureau is asked (requirement GW-6).
        (_S.SENDING, _E.TAKEN): _S.ACCEPTED,
        (_S.SENDING, _E.NOT_TAKEN): _S.PROVEN,
        (_S.SENDING, _E.REPLY_LOST): _S.UNKNOWN,
        (_S.SENDING, _E.REFUSED): _S.FAILED,
        (_S.UNKNOWN, _E.TAKEN): _S.ACCEPTED,
        (_S.UNKNOWN, _E.NEVER_SEEN): _S.PROVEN,
        # What came out of a backup may be older than the truth: asked before anything is sent.
        (_S.PROVEN, _E.RESTORED): _S.UNKNOWN,
        (_S.HELD, _E.RESTORED): _S.UNKNOWN,
        (_S.SENDING, _E.RESTORED): _S.UNKNOWN,
        (_S.UNKNOWN, _E.RESTORED): _S.UNKNOWN,
        (_S.ACCEPTED, _E.PROCESSING): _S.PROCESSING,
        (_S.ACCEPTED, _E.MACHINES_MISSING): _S.WAITING,
        (_S.ACCEPTED, _E.FAILURE): _S.FAILED,
        (_S.ACCEPTED, _E.SUCCESS): _S.ANSWERED,
        (_S.PROCESSING, _E.PROCESSING): _S.PROCESSING,
        (_S.PROCESSING, _E.MACHINES_MISSING): _S.WAITING,
        (_S.PROCESSING, _E.FAILURE): _S.FAILED,
        (_S.PROCESSING, _E.SUCCESS): _S.ANSWERED,
        (_S.WAITING, _E.PROCESSING): _S.PROCESSING,
        (_S.WAITING, _E.MACHINES_MISSING): _S.WAITING,
        (_S.WAITING, _E.FAILURE): _S.FAILED,
        (_S.WAITING, _E.SUCCESS): _S.ANSWERED,
        (_S.FAILED, _E.RETRY): _S.PROVEN,
        (_S.FAILED, _E.HOLD): _S.HELD,
        (_S.FAILED, _E.CANCEL): _S.CANCELLED,
        (_S.CANCELLED, _E.RETRY): _S.PROVEN,  # given up by mistake
        # The bureau judges again by itself when the declaration is corrected.
        (_S.FAILED, _E.PROCESSING): _S.PROCESSING,
        (_S.FAILED, _E.MACHINES_MISSING): _S.WAITING,
        (_S.FAILED, _E.FAILURE): _S.FAILED,
        (_S.FAILED, _E.SUCCESS): _S.ANSWERED,
        (_S.ANSWERED, _E.WRITTEN): _S.STAGED,
        (_S.STAGED, _E.ACKNOWLEDGED): _S.ACKNOWLEDGED,
    }
)
ONLINE_TERMINAL: Final = frozenset({_S.ACKNOWLEDGED, _S.QUARANTINED})


class OfflineState(StrEnum):
    """A report on the invoicing PC."""

    COPIED = "copied"
    SEALED = "sealed"
    CARRIED = "carried"
    FAILED = "failed"
    SUCCEEDED = "succeeded"
    CLEARED = "cleared"
    ACKNOWLEDGED = "acknowledged"
    SUPERSEDED = "superseded"


class OfflineEvent(StrEnum):
    """What can happen to a report on the invoicing PC."""

    SEALED = "sealed"
    CARRIED = "carried"
    FAILURE = "failure"
    SUCCESS = "success"
    CLEARED = "cleared"
    ACKNOWLEDGED = "acknowledged"
    SUPERSEDED = "superseded"


_OS, _OE = OfflineState, OfflineEvent
OFFLINE: Final[Mapping[tuple[OfflineState, OfflineEvent], OfflineState]] = MappingProxyType(
    {
        (_OS.COPIED, _OE.SEALED): _OS.SEALED,
        (_OS.COPIED, _OE.SUPERSEDED): _OS.SUPERSEDED,
        (_OS.SEALED, _OE.SEALED): _OS.SEALED,  # --reseal: a new bureau key, a new digest
        (_OS.SEALED, _OE.CARRIED): _OS.CARRIED,
        (_OS.SEALED, _OE.FAILURE): _OS.FAILED,
        (_OS.SEALED, _OE.SUCCESS): _OS.SUCCEEDED,
        (_OS.SEALED, _OE.SUPERSEDED): _OS.SUPERSEDED,
        (_OS.CARRIED, _OE.SEALED): _OS.SEALED,
        (_OS.CARRIED, _OE.CARRIED): _OS.CARRIED,
        (_OS.CARRIED, _OE.FAILURE): _OS.FAILED,
        (_OS.CARRIED, _OE.SUCCESS): _OS.SUCCEEDED,
        (_OS.CARRIED, _OE.SUPERSEDED): _OS.SUPERSEDED,
        (_OS.FAILED, _OE.SEALED): _OS.SEALED,
        (_OS.FAILED, _OE.CARRIED): _OS.CARRIED,
        (_OS.FAILED, _OE.FAILURE): _OS.FAILED,
        (_OS.FAILED, _OE.SUCCESS): _OS.SUCCEEDED,
        (_OS.FAILED, _OE.SUPERSEDED): _OS.SUPERSEDED,
        (_OS.SUCCEEDED, _OE.CARRIED): _OS.SUCCEEDED,
        (_OS.SUCCEEDED, _OE.SUCCESS): _OS.SUCCEEDED,
        (_OS.SUCCEEDED, _OE.CLEARED): _OS.CLEARED,
        (_OS.SUCCEEDED, _OE.SUPERSEDED): _OS.SUPERSEDED,
        (_OS.CLEARED, _OE.CLEARED): _OS.CLEARED,
        (_OS.CLEARED, _OE.ACKNOWLEDGED): _OS.ACKNOWLEDGED,
    }
)
OFFLINE_TERMINAL: Final = frozenset({_OS.ACKNOWLEDGED, _OS.SUPERSEDED})


class CardState(StrEnum):
    """The card's own life through a period. `locked` stands beside it: see `CardReading.locked`."""

    TO_COPY = "to-copy"
    COPIED = "copied"
    TO_CLEAR = "to-clear"
    DONE = "done"


class CardEvent(StrEnum):
    """What can happen to the card."""

    COPY = "copy"
    SUCCESS_PROVEN = "success-proven"
    CLEAR = "clear"
    NEW_PERIOD = "new-period"


_CS, _CE = CardState, CardEvent
CARD: Final[Mapping[tuple[CardState, CardEvent], CardState]] = MappingProxyType(
    {
        (_CS.TO_COPY, _CE.COPY): _CS.COPIED,
        (_CS.COPIED, _CE.COPY): _CS.COPIED,  # --again, or a period copy over an open ad hoc one
        (_CS.COPIED, _CE.SUCCESS_PROVEN): _CS.TO_CLEAR,
        (_CS.TO_CLEAR, _CE.COPY): _CS.COPIED,
        (_CS.TO_CLEAR, _CE.SUCCESS_PROVEN): _CS.TO_CLEAR,
        (_CS.TO_CLEAR, _CE.CLEAR): _CS.DONE,
        (_CS.DONE, _CE.NEW_PERIOD): _CS.TO_COPY,
        (_CS.DONE, _CE.COPY): _CS.COPIED,  # an ad hoc copy later in the month
    }
)


class BureauState(StrEnum):
    """A report at the reference gateway."""

    STORED = "stored"
    SUCCEEDED = "succeeded"
    WAITING = "waiting"
    FAILED = "failed"
    CLOSED = "closed"
    SUPERSEDED = "superseded"


class BureauEvent(StrEnum):
    """What can happen to a report at the reference gateway."""

    SUCCESS = "success"
    MACHINES_MISSING = "machines-missing"
    FAILURE = "failure"
    REOPEN = "reopen"
    ACKNOWLEDGED = "acknowledged"
    SUPERSEDED = "superseded"


_BS, _BE = BureauState, BureauEvent
BUREAU: Final[Mapping[tuple[BureauState, BureauEvent], BureauState]] = MappingProxyType(
    {
        (_BS.STORED, _BE.SUCCESS): _BS.SUCCEEDED,
        (_BS.STORED, _BE.MACHINES_MISSING): _BS.WAITING,
        (_BS.STORED, _BE.FAILURE): _BS.FAILED,
        (_BS.STORED, _BE.SUPERSEDED): _BS.SUPERSEDED,
        (_BS.WAITING, _BE.REOPEN): _BS.STORED,
        (_BS.WAITING, _BE.SUPERSEDED): _BS.SUPERSEDED,
        (_BS.FAILED, _BE.REOPEN): _BS.STORED,
        (_BS.FAILED, _BE.SUPERSEDED): _BS.SUPERSEDED,
        (_BS.SUCCEEDED, _BE.ACKNOWLEDGED): _BS.CLOSED,
        (_BS.SUCCEEDED, _BE.SUPERSEDED): _BS.SUPERSEDED,
    }
)
BUREAU_TERMINAL: Final = frozenset({_BS.CLOSED, _BS.SUPERSEDED})

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


def advance(table: Mapping[tuple[S, E], S], state: S, event: E) -> S:
    """Return the state after `event`.

    Raises:
        IllegalTransition: The table has no such row. Nothing has changed.
    """
    try:
        return table[state, event]
    except KeyError:
        raise IllegalTransition(f"{event} in {state}") from None


def allowed(table: Mapping[tuple[S, E], S], state: S, event: E) -> bool:
    """Return whether `event` may happen in `state`."""
    return (state, event) in table
