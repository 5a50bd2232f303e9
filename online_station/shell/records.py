"""What is read from the database, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from online_station.core.decide import (
    Snapshot,
)
from shared.model.report import PublicHeader
from shared.states import OnlineState


@dataclass(frozen=True)
class Left:
    """The latest stick on which a report's result left.

    Attributes:
        label: What people call it.
        at: When.
    """

    label: str
    at: datetime


@dataclass(frozen=True)
class ReportRow:
    """One report, as it lies in the database.

    Attributes:
        snapshot: What decides about it.
        header: Its public header, proven.
        size_bytes: Length of the `.dat`.
        file_sha256: SHA-256 of the `.dat` in the spool.
        recipients: Whose keys open it: JSON pairs of an issuer's DER in hex and a serial number.
        questions: How often the bureau was asked about it.
        uploads: How often sending it was begun.
        found_at: When it was taken from the inbox.
        changed_at: When its state changed last.
        overtaken: Whether the same card has made a later copy: it then waits for this report no more.
        left: The stick on which its result left last.
    """

    snapshot: Snapshot
    header: PublicHeader
    size_bytes: int
    file_sha256: str
    recipients: str
    questions: int
    uploads: int
    found_at: datetime
    changed_at: datetime
    overtaken: bool = False
    left: Left | None = None

    @property
    def digest(self) -> str:
        """The report's identity."""
        return self.snapshot.digest

    @property
    def state(self) -> OnlineState:
        """Where it is in its life."""
        return self.snapshot.state


@dataclass(frozen=True)
class AckRow:
    """A clear receipt on its way to the bureau."""

    sha256: str
    digest: str
    stem: str
    state: str
    message: str
    attempts: int
    due_at: datetime | None
    taken_at: datetime


@dataclass(frozen=True)
class AnsweredRow:
    """A report with a result, as far as it matters for carrying that back.

    Attributes:
        digest: The report.
        stem: Its name.
        sequence: Its place among the copies of its card.
        state: Where it is in its life.
        code: The bureau's code of a failure.
        message: The bureau's words with it.
        result_no: 结果序号 of the newest result.
        to_stage: That one is not in the outbox yet.
        has_left: A result of it has left on a stick.
    """

    digest: str
    stem: str
    sequence: int
    state: OnlineState
    code: str
    message: str
    result_no: int
    to_stage: bool
    has_left: bool


@dataclass(frozen=True)
class FileFacts:
    """What recognises a report's file.

    Attributes:
        digest: The report.
        stem: Its name.
        size_bytes: Its length.
    """

    digest: str
    stem: str
    size_bytes: int


@dataclass(frozen=True)
class LegRow:
    """A report that came by a stick, or a result that left on one.

    Attributes:
        at: When.
        digest: The report.
        leg: `came` or `left`.
        stick_id: The stick; empty for a medium that was never prepared.
        label: What people call it.
    """

    at: datetime
    digest: str
    leg: str
    stick_id: str
    label: str


@dataclass(frozen=True)
class Gap:
    """Copies of a card that never arrived here, although later ones did.

    Attributes:
        taxpayer_id: Whose card.
        machine_no: Which machine.
        card_no: The card.
        missing: Their sequence numbers.
        before: The sequence of the next one that did arrive.
    """

    taxpayer_id: str
    machine_no: int
    card_no: str
    missing: tuple[int, ...]
    before: int


@dataclass(frozen=True)
class QuarantinedRow:
    """A file that was set aside."""

    stored_name: str
    name: str
    code: str
    reason_zh: str
    reason_en: str
    at: datetime


@dataclass(frozen=True)
class EventRow:
    """Something that happened to a report."""

    at: datetime
    event: str
    from_state: str
    to_state: str
    note: str


@dataclass(frozen=True)
class ResultRow:
    """A believed result."""

    digest: str
    result_no: int
    outcome: str
    code: str
    body_sha256: str
    received_at: datetime
