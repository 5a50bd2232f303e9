"""What a tax card can be asked. A real card needs one driver with these methods; the program only carries.

The card owns the counters, the key, the nonce, the sequence, the lock date and the decision to clear (CARD-1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from offline_station.core.card_rules import CardFacts, CopyRecord, Effect, SeenResult
from offline_station.ledger.figures import IssuedBatch
from shared.ids import Nonce, ReportDigest, ReportKind
from shared.keys.port import Signer
from shared.model.result import Result
from shared.model.trust import TrustFile
from shared.states import CardState
from shared.text import Text

__all__ = [
    "CardDriver",
    "CardFacts",
    "CardReading",
    "ClearRecord",
    "CopyRecord",
    "Effect",
    "IssuedBatch",
    "SeenResult",
    "Verdict",
]


@dataclass(frozen=True)
class CardReading:
    """The card as `status` shows it.

    Attributes:
        facts: What its rules know.
        at: The trusted time that everything here was decided by.
        state: The state; `locked` stands beside it.
        sub_machines: 分机 that a main machine expects besides itself.
        days_left: Days to the lock date; negative once it has passed.
    """

    facts: CardFacts
    at: datetime
    state: CardState
    locked: bool
    days_left: int
    taxpayer_name: str
    sub_machines: int
    last_copied_at: datetime | None
    last_cleared_at: datetime | None
    next_period_start: date | None
    upload_deadline: date | None
    offline_hours: int | None
    offline_limits: Mapping[str, int]
    trust_version: int
    stock: Mapping[str, int]


@dataclass(frozen=True)
class Verdict:
    """What a proven result is to the card.

    Attributes:
        effect: `remembered` (a new success: the card can be cleared), `consumed` (a new failure), `repeated` (nothing
            new), `applied-before` (the card was cleared with it).
        warnings: What the proof found odd without refusing.
    """

    result: Result
    body_sha256: str
    copy: CopyRecord
    effect: Effect
    warnings: tuple[Text, ...] = ()


@dataclass(frozen=True)
class ClearRecord:
    """A clearing (清卡).

    Attributes:
        copy: The copy that was cleared.
        lock_date: The card's lock date after it.
        ack: The signed clear receipt: the same bytes whenever it is asked for.
        already: Whether the card had been cleared before this call.
    """

    copy: CopyRecord
    lock_date: date
    ack: bytes
    already: bool


class CardDriver(Protocol):
    """A tax card. Every method is one crash-safe step: after a power cut it has happened wholly or not at all."""

    def read(self, now: datetime) -> CardReading:
        """Return the card's state."""
        ...

    def signer(self) -> Signer:
        """Return the card's key.

        Raises:
            KeyUnavailable: The key cannot be used now.
        """
        ...

    def record_issued(self, batch: IssuedBatch) -> None:
        """Count issued invoices; a batch that is known counts once only.

        Raises:
            PeriodClosed: It touches what was copied. Nothing was counted.
        """
        ...

    def knows_batch(self, batch_id: str) -> bool:
        """Return whether a batch was counted."""
        ...

    def copy(self, now: datetime, *, kind: ReportKind, again: bool = False) -> CopyRecord:
        """Freeze the figures (抄税) under a new nonce and sequence.

        Raises:
            Locked: The lock date has passed.
            WrongState: One of its kinds: a copy is open, the period is done, an earlier month is open. Nothing
                changed.
        """
        ...

    def open_copy(self) -> CopyRecord | None:
        """Return the one copy that can still clear the card."""
        ...

    def history(self) -> Sequence[CopyRecord]:
        """Return all copies, the oldest first."""
        ...

    def bind_report(self, nonce: Nonce, report_digest: ReportDigest) -> None:
        """Tell the card which sealed report its open copy waits to hear of. Sealing again may bind another.

        Raises:
            WrongState: The copy is not open, or has its success already.
        """
        ...

    def examine(self, result_data: bytes, now: datetime) -> Verdict:
        """Prove a result and match it; take notice of its number, and remember a success.

        Raises:
            ResultInvalid: Not a result. The card is untouched after this and the following.
            StillProcessing: The file says only that the bureau is not done.
            SignatureRefused: Not signed in the role of a bureau's result.
            CertificateRefused: Its certificate does not chain to this card's trust.
            OtherReport: One of its kinds: the result is not for this copy.
            Outdated: A number that is not higher than the last seen.
        """
        ...

    def clear(self, now: datetime) -> ClearRecord:
        """Clear the card with the success it remembers (清卡); when it is cleared already, return that clearing.

        Raises:
            NoSuccess: No proven success of the open copy is here.
            NotCopied: Nothing was ever copied, or the period waits to be copied.
        """
        ...

    def acknowledgement(self, nonce: Nonce) -> bytes | None:
        """Return the clear receipt of a copy, or None if it was not cleared."""
        ...

    def trust_file(self) -> bytes:
        """Return the trust file in force."""
        ...

    def trust_in_force(self) -> TrustFile:
        """Return the same, read."""
        ...

    def update_trust(self, data: bytes, now: datetime) -> int:
        """Take a newer trust file; return its version. The one in force may come again.

        Raises:
            TrustFileInvalid: Not a trust file. The present one stays in force after this and the following.
            TrustRefused: Not signed as it must be, or older.
        """
        ...

    def close(self) -> None:
        """Let go of the device."""
        ...
