"""What a judgement may look at, gathered by the desk before it asks.

Plain values: no file, no database, no clock. Whoever wants to know what the bureau would say to a report makes a
`Facts` and calls `order.judge`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from shared.model.report import PublicHeader

Fault = Literal["", "signature", "envelope", "content"]


@dataclass(frozen=True)
class Figures:
    """Sales of one invoice kind, in fen, voids left out.

    Attributes:
        amount: Without tax.
        tax: The tax.
    """

    amount: int = 0
    tax: int = 0

    def __add__(self, other: Figures) -> Figures:
        return Figures(self.amount + other.amount, self.tax + other.tax)


@dataclass(frozen=True)
class CardOnFile:
    """A card as the bureau registered it.

    Attributes:
        card_no: Its number.
        taxpayer_id: Whose it is.
        machine_no: The machine it belongs to.
        fingerprint: Of its certificate.
        lock_date: The last day on which it may copy and report.
        withdrawn: Replaced by a re-issued card, or given back.
    """

    card_no: str
    taxpayer_id: str
    machine_no: int
    fingerprint: str
    lock_date: date
    withdrawn: bool = False


@dataclass(frozen=True)
class Declaration:
    """What the taxpayer declared for a period.

    Attributes:
        matching: The declaration is taken from the reports themselves, at the time of comparison.
        figures: Declared sales per invoice kind; a kind that is not named was declared as nothing.
    """

    matching: bool = False
    figures: Mapping[str, Figures] = field(default_factory=dict)


@dataclass(frozen=True)
class Examination:
    """What opening a report showed. It depends on the file and on the bureau's keys alone.

    Attributes:
        fault: Why the content could not be taken: `signature`, `envelope`, `content`, or nothing.
        reason: The same in one short Chinese line.
        code: The error's own code, for a fault in the content.
        differences: Where detail and summary disagree, each in a short Chinese phrase.
        collected: What the report brings to the comparison, per invoice kind.
    """

    fault: Fault = ""
    reason: str = ""
    code: str = ""
    differences: tuple[str, ...] = ()
    collected: Mapping[str, Figures] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """Everything that a judgement may look at.

    Attributes:
        header: The report's proven public header.
        signer: Fingerprint of the certificate that signed it.
        signed_on: The day on which the card signed.
        enrolled: The taxpayer has a key on file.
        card: The card that the header names, if it is registered.
        examination: What opening the file showed.
        declaration: The declaration of the report's period, if there is one.
        expected: The machines that have to report for the period.
        reported: Those that did, this one included.
        collected: Sales per kind over all reports of the taxpayer and period, this one included.
    """

    header: PublicHeader
    signer: str
    signed_on: date
    enrolled: bool
    card: CardOnFile | None
    examination: Examination
    declaration: Declaration | None = None
    expected: frozenset[int] = frozenset()
    reported: frozenset[int] = frozenset()
    collected: Mapping[str, Figures] = field(default_factory=dict)

    @property
    def of_period(self) -> bool:
        """Whether this is a period report (征期): only those are compared with the declaration."""
        return self.header.kind == "period"


@dataclass(frozen=True)
class Finding:
    """Why a report does not succeed.

    Attributes:
        code: 错误号, the field's error number or a code of ours.
        message: 说明: one short Chinese line.
        field_code: The return value that the field shows beside 2734.
    """

    code: str
    message: str
    field_code: str = ""


Check = Callable[[Facts], Finding | None]


def machine_in_words(number: int) -> str:
    """Return a machine as the field says it."""
    return "主机" if number == 0 else f"{number}号分机"
