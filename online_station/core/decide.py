"""What happens to a report, and what is to be done about it: a function of what is known, what happened and the time.

`decide` moves along the one table of `shared.states`; it reads no clock, no disk and no network. The shell commits the
new snapshot before it carries out a command, and every command may be carried out twice (GW-6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

from online_station.core.backoff import Backoff
from shared.states import ONLINE, OnlineEvent, OnlineState, advance, allowed

_S, _E = OnlineState, OnlineEvent

Resend = Literal["same-bytes", "wait", "new-report", "never", ""]
"""What the fault catalogue says about sending again; empty for a code that it does not know."""


class HoldReason(StrEnum):
    """Why a report is not sent although it is in order."""

    OPERATOR = "operator"
    NOT_ENROLLED = "not-enrolled"
    KEY_NOT_ON_FILE = "key-not-on-file"
    NOT_DECLARED = "not-declared"
    ENVELOPE_OUTDATED = "envelope-outdated"
    NOT_OURS = "not-ours"
    KEY_MISSING = "key-missing"


class Step(StrEnum):
    """What the shell does next for a report, by name: rows carry it, so that any process can go on."""

    NONE = "none"
    CHECK = "check"
    SEND = "send"
    ASK_STATUS = "ask-status"
    ASK_RESULT = "ask-result"
    STAGE = "stage"


@dataclass(frozen=True)
class Snapshot:
    """All that decides about one report.

    Attributes:
        digest: The report's identity.
        taxpayer_id: 税号.
        period: The month `YYYY-MM` in which the report's period ends.
        period_report: Whether it is a period (征期) report.
        state: Where it is in its life.
        hold: Why it is held, if it is.
        released: An operator said to send it whatever the standing is.
        code: The bureau's code of the last refusal or failure.
        message: The bureau's own words with it.
        resend: What the fault catalogue says about that code.
        receipt_no: 受理回执; empty until the bureau has taken the report.
        result_no: 结果序号 of the newest result that was believed.
        to_stage: A believed result is not in the outbox yet and has to be.
        ack_delivered: The bureau has the clear receipt.
        attempts: Attempts of the present step since it began.
        due_at: When the next step is due; None if nothing is to be done.
    """

    digest: str
    taxpayer_id: str
    period: str
    period_report: bool
    state: OnlineState = OnlineState.FOUND
    hold: HoldReason | None = None
    released: bool = False
    code: str = ""
    message: str = ""
    resend: Resend = ""
    receipt_no: str = ""
    result_no: int | None = None
    to_stage: bool = False
    ack_delivered: bool = False
    attempts: int = 0
    due_at: datetime | None = None


@dataclass(frozen=True)
class Proved:
    """The file is whole, signed by its card, and lies in the spool."""


@dataclass(frozen=True)
class Checked:
    """Everything that could stop the upload was looked at.

    Attributes:
        obstacle: What stops it, or None.
        code: The field's code for the obstacle.
        message: The bureau's own words, if it had any.
    """

    obstacle: HoldReason | None
    code: str = ""
    message: str = ""


@dataclass(frozen=True)
class SendDue:
    """A released report is to be sent now."""


@dataclass(frozen=True)
class Taken:
    """The bureau has the report: a proven receipt, or its status after an unknown outcome."""

    receipt_no: str
    ask_after: float


@dataclass(frozen=True)
class NotTaken:
    """The report has certainly not arrived: no connection, or an answer that says `not now`.

    Attributes:
        retry_after: Seconds after which the bureau wants to see it again, if it said so.
        moved_on: More of it is there than the time before: the line is bad, and it works.
    """

    retry_after: float | None = None
    moved_on: bool = False


@dataclass(frozen=True)
class ReplyLost:
    """Sending had begun and there is no believable answer; also what a restart finds."""

    retry_after: float | None = None


@dataclass(frozen=True)
class NeverSeen:
    """Asked after an unknown outcome, the bureau says that it does not have the report, or not all of it.

    Attributes:
        partly: It has the beginning of it.
        moved_on: More of it is there than the time before: the line is bad, and it works.
    """

    partly: bool = False
    moved_on: bool = False


@dataclass(frozen=True)
class Refused:
    """The bureau said no to the upload."""

    code: str
    message: str
    resend: Resend = ""


@dataclass(frozen=True)
class NoAnswer:
    """A question could not be asked or was not answered; nothing is known that was not known before."""

    retry_after: float | None = None


@dataclass(frozen=True)
class StillProcessing:
    """The bureau answered `Y`, or again with a result that was known already."""

    retry_after: float | None = None


@dataclass(frozen=True)
class ResultProven:
    """A result was proven and matches the report.

    Attributes:
        result_no: 结果序号.
        success: Whether it is a 报税成功.
        code: The code of a failure.
        message: The bureau's words.
        resend: What the catalogue says about the code.
        stage_failure: A failure that the invoicing PC has to see.
    """

    result_no: int
    success: bool
    code: str = ""
    message: str = ""
    resend: Resend = ""
    stage_failure: bool = False


@dataclass(frozen=True)
class Staged:
    """The result lies durably in the outbox (or a newer one of the same name does)."""


@dataclass(frozen=True)
class AckDelivered:
    """The bureau has taken the clear receipt."""


@dataclass(frozen=True)
class OperatorHold:
    """An operator wants the report to stay here."""


@dataclass(frozen=True)
class OperatorRelease:
    """An operator wants the report sent whatever the standing is."""


@dataclass(frozen=True)
class OperatorRetry:
    """An operator wants the same bytes sent again, after a correction elsewhere."""


@dataclass(frozen=True)
class OperatorCancel:
    """An operator gives the report up."""


@dataclass(frozen=True)
class Restored:
    """The row came out of a backup, which may be older than the truth."""


@dataclass(frozen=True)
class AskNow:
    """Somebody does not want to wait for the due time."""


Event = (
    Proved
    | Checked
    | SendDue
    | Taken
    | NotTaken
    | ReplyLost
    | NeverSeen
    | Refused
    | NoAnswer
    | StillProcessing
    | ResultProven
    | Staged
    | AckDelivered
    | OperatorHold
    | OperatorRelease
    | OperatorRetry
    | OperatorCancel
    | Restored
    | AskNow
)


@dataclass(frozen=True)
class Upload:
    """Send the spooled file now: the snapshot says `sending` and is committed."""


@dataclass(frozen=True)
class AskWaiting:
    """Every report of this taxpayer and period that waits for other machines is to be asked about at once."""

    taxpayer_id: str
    period: str


Command = Upload | AskWaiting


_TROUBLE: Final = Backoff(5, 900)
_STANDING: Final = Backoff(1, 900)
_PROCESSING: Final = Backoff(60, 2400)
_WAITING: Final = Backoff(300, 6 * 3600)
_CORRECTION: Final = Backoff(300, 6 * 3600)


@dataclass(frozen=True)
class Policy:
    """How patient the station is, per kind of waiting."""

    trouble: Backoff = _TROUBLE
    """The bureau cannot be reached."""
    standing: Backoff = _STANDING
    """A hold whose cause may go away."""
    processing: Backoff = _PROCESSING
    """`Y`."""
    waiting: Backoff = _WAITING
    """272C: until the other machines have reported."""
    correction: Backoff = _CORRECTION
    """A failure that the bureau judges again by itself once the declaration is corrected."""


DEFAULT_POLICY: Final = Policy()

OPEN_AT_BUREAU: Final = frozenset({_S.ACCEPTED, _S.PROCESSING, _S.WAITING, _S.FAILED})
"""States in which the bureau may be asked for a result."""


def next_step(snapshot: Snapshot) -> Step:
    """Return what is to be done next for a report, whenever it is due."""
    if snapshot.to_stage:
        return Step.STAGE
    match snapshot.state:
        case _S.PROVEN:
            return Step.SEND if snapshot.released else Step.CHECK
        case _S.HELD:
            return Step.NONE if snapshot.hold is HoldReason.OPERATOR else Step.CHECK
        case _S.SENDING | _S.UNKNOWN:
            return Step.ASK_STATUS
        case _S.ACCEPTED | _S.PROCESSING | _S.WAITING:
            return Step.ASK_RESULT
        case _S.FAILED:
            return Step.ASK_RESULT if snapshot.receipt_no else Step.NONE
        case _:
            return Step.NONE


def decide(
    snapshot: Snapshot, event: Event, now: datetime, policy: Policy = DEFAULT_POLICY
) -> tuple[Snapshot, tuple[Command, ...]]:
    """Return the report after `event`, and what is to be done once that is on disk.

    Args:
        snapshot: The report before.
        event: What happened.
        now: The present.
        policy: How patient to be.

    Raises:
        IllegalTransition: The event cannot happen in this state. Nothing has changed.
    """
    match event:
        case Proved():
            return _to(snapshot, _E.PROVED, due_at=now), ()
        case Checked() if snapshot.hold is HoldReason.OPERATOR:
            return snapshot, ()  # the operator was faster than the bureau's answer
        case Checked(obstacle=None):
            if snapshot.state is _S.HELD:
                snapshot = _to(snapshot, _E.RELEASE, hold=None, code="", message="", resend="")
            return _sending(snapshot, now)
        case Checked(obstacle=obstacle, code=code, message=message):
            attempts = snapshot.attempts + 1 if snapshot.hold is obstacle else 1
            held = _to(snapshot, _E.HOLD, hold=obstacle, code=code, message=message, resend="", attempts=attempts)
            return replace(held, due_at=policy.standing.due(now, attempts, held.digest)), ()
        case SendDue():
            return _sending(snapshot, now)
        case Taken(receipt_no=receipt_no, ask_after=ask_after):
            due = policy.processing.due(now, 1, snapshot.digest, ask_after)
            taken = _to(
                snapshot,
                _E.TAKEN,
                hold=None,
                receipt_no=receipt_no,
                due_at=due,
                attempts=0,
                code="",
                message="",
                resend="",
            )
            return taken, _ask_others(taken)
        case NotTaken(retry_after=after, moved_on=moved_on):
            attempts = 1 if moved_on else snapshot.attempts + 1
            due = policy.trouble.due(now, attempts, snapshot.digest, after)
            return _to(snapshot, _E.NOT_TAKEN, attempts=attempts, due_at=due), ()
        case ReplyLost(retry_after=after):
            due = now if after is None else policy.trouble.due(now, 1, snapshot.digest, after)
            return _to(snapshot, _E.REPLY_LOST, due_at=due), ()
        case NeverSeen(moved_on=moved_on):
            attempts = 1 if moved_on else snapshot.attempts + 1
            due = now if attempts <= 1 else policy.trouble.due(now, attempts, snapshot.digest)
            fresh = _to(snapshot, _E.NEVER_SEEN, due_at=due, attempts=attempts)
            if fresh.hold is HoldReason.OPERATOR:  # held when the backup was made, and not sent since
                fresh = _to(fresh, _E.HOLD, due_at=None, attempts=0)
            return fresh, ()
        case Refused(code=code, message=message, resend=resend):
            return _to(snapshot, _E.REFUSED, code=code, message=message, resend=resend, due_at=None, attempts=0), ()
        case NoAnswer(retry_after=after):
            attempts = snapshot.attempts + 1
            due = policy.trouble.due(now, attempts, snapshot.digest, after)
            return replace(snapshot, attempts=attempts, due_at=due), ()
        case StillProcessing(retry_after=after):
            return _still_processing(snapshot, after, now, policy), ()
        case ResultProven():
            return _answered(snapshot, event, now, policy)
        case Staged():
            staged = replace(snapshot, to_stage=False)
            if snapshot.state is _S.ANSWERED:
                staged = _to(staged, _E.WRITTEN, due_at=None, attempts=0)
                if staged.ack_delivered:
                    staged = _to(staged, _E.ACKNOWLEDGED)
                return staged, ()
            return replace(staged, due_at=_judged_again_at(staged, now, policy)), ()
        case AckDelivered():
            acknowledged = replace(snapshot, ack_delivered=True)
            if snapshot.state is _S.STAGED:
                return _to(acknowledged, _E.ACKNOWLEDGED, due_at=None), ()
            if snapshot.state in OPEN_AT_BUREAU:
                # Another station fetched the result; ours is there to be fetched as well.
                acknowledged = replace(acknowledged, due_at=now)
            return acknowledged, ()
        case OperatorHold():
            held = _to(snapshot, _E.HOLD, hold=HoldReason.OPERATOR, released=False, due_at=None, attempts=0)
            return replace(held, code="", message="", resend=""), ()
        case OperatorRelease():
            if snapshot.state is _S.PROVEN:
                return replace(snapshot, released=True, due_at=now), ()
            return _to(
                snapshot,
                _E.RELEASE,
                hold=None,
                released=True,
                due_at=now,
                attempts=0,
                code="",
                message="",
                resend="",
            ), ()
        case OperatorRetry():
            return _to(snapshot, _E.RETRY, released=False, due_at=now, attempts=0), ()
        case OperatorCancel():
            return _to(snapshot, _E.CANCEL, due_at=None, hold=None, attempts=0), ()
        case Restored():
            return _restored(snapshot, now), ()
        case AskNow():
            return (snapshot if next_step(snapshot) is Step.NONE else replace(snapshot, due_at=now)), ()


def _to(snapshot: Snapshot, event: OnlineEvent, **changes: object) -> Snapshot:
    return replace(snapshot, state=advance(ONLINE, snapshot.state, event), **changes)  # type: ignore[arg-type]


def _sending(snapshot: Snapshot, now: datetime) -> tuple[Snapshot, tuple[Command, ...]]:
    # Due at once: while a worker sends, its lease keeps the others off; if it dies, the next one asks what became of it.
    return _to(snapshot, _E.SEND, due_at=now), (Upload(),)


def _restored(snapshot: Snapshot, now: datetime) -> Snapshot:
    """Ask about everything that is under way, whatever the backup believed."""
    if allowed(ONLINE, snapshot.state, _E.RESTORED):
        hold = snapshot.hold if snapshot.hold is HoldReason.OPERATOR else None
        return _to(snapshot, _E.RESTORED, hold=hold, due_at=now, attempts=0)
    if snapshot.state is _S.STAGED:
        snapshot = replace(snapshot, to_stage=True)  # the outbox may be another one
    return snapshot if next_step(snapshot) is Step.NONE else replace(snapshot, due_at=now)


def _ask_others(snapshot: Snapshot) -> tuple[Command, ...]:
    return (AskWaiting(snapshot.taxpayer_id, snapshot.period),) if snapshot.period_report else ()


def _still_processing(snapshot: Snapshot, after: float | None, now: datetime, policy: Policy) -> Snapshot:
    changed = snapshot.state is not _S.PROCESSING
    attempts = 1 if changed else snapshot.attempts + 1
    due = policy.processing.due(now, attempts, snapshot.digest, after)
    return _to(snapshot, _E.PROCESSING, attempts=attempts, due_at=due)


def _answered(
    snapshot: Snapshot, event: ResultProven, now: datetime, policy: Policy
) -> tuple[Snapshot, tuple[Command, ...]]:
    if snapshot.result_no is not None and event.result_no <= snapshot.result_no:
        return _known_answer(snapshot, now, policy), ()
    if event.success:
        answered = _to(
            snapshot,
            _E.SUCCESS,
            result_no=event.result_no,
            to_stage=True,
            due_at=now,
            attempts=0,
            code="",
            message=event.message,
            resend="",
        )
        return answered, _ask_others(answered)
    missing = event.resend == "wait"
    attempts = snapshot.attempts + 1 if missing and snapshot.state is _S.WAITING else 1
    failed = _to(
        snapshot,
        _E.MACHINES_MISSING if missing else _E.FAILURE,
        result_no=event.result_no,
        code=event.code,
        message=event.message,
        resend=event.resend,
        to_stage=event.stage_failure,
        attempts=attempts,
    )
    return replace(failed, due_at=now if event.stage_failure else _judged_again_at(failed, now, policy)), ()


def _judged_again_at(snapshot: Snapshot, now: datetime, policy: Policy) -> datetime | None:
    """Return when to look whether the bureau has judged anew, or None if it will not do so by itself."""
    if snapshot.resend not in ("wait", "same-bytes") or not snapshot.receipt_no:
        return None
    patience = policy.waiting if snapshot.state is _S.WAITING else policy.correction
    return patience.due(now, max(1, snapshot.attempts), snapshot.digest)


def _known_answer(snapshot: Snapshot, now: datetime, policy: Policy) -> Snapshot:
    """The bureau repeats a result that was believed before."""
    if snapshot.state in (_S.ACCEPTED, _S.PROCESSING):
        # Sent again after a correction, and the new judgement is not there yet.
        return _still_processing(snapshot, None, now, policy)
    repeated = replace(snapshot, attempts=snapshot.attempts + 1)
    return replace(repeated, due_at=_judged_again_at(repeated, now, policy))


OPERATOR_EVENTS: Final[Mapping[str, OnlineEvent]] = MappingProxyType(
    {"hold": _E.HOLD, "release": _E.RELEASE, "retry": _E.RETRY, "cancel": _E.CANCEL}
)


def operator_may(snapshot: Snapshot, verb: str) -> bool:
    """Return whether an operator's verb (`hold`, `release`, `retry`, `cancel`) fits the report's present state."""
    return allowed(ONLINE, snapshot.state, OPERATOR_EVENTS[verb])
