"""What an import tells the card: how the figures of each month change.

A real card counts invoices as they are issued. The software card counts them when the ledger takes them over: both
change together, or neither does. This module is all that the card needs to know of the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from offline_station.core.figures import WHOLE_KIND, Figures, add_totals
from shared.model.report import InvoiceStatus


@dataclass(frozen=True)
class KindDelta:
    """How the figures of one kind change in one month.

    Attributes:
        kind: 票种.
        whole: The change of the kind's counts and sums.
        rates: The change of the sums at each rate; they add up to the sums of `whole` and count no invoices.
    """

    kind: str
    whole: Figures
    rates: Mapping[str, Figures] = field(default_factory=dict)

    @property
    def totals(self) -> dict[tuple[str, str], Figures]:
        """The same by (kind, rate), the kind itself under `WHOLE_KIND`."""
        return {(self.kind, WHOLE_KIND): self.whole} | {(self.kind, rate): part for rate, part in self.rates.items()}


@dataclass(frozen=True)
class IssuedBatch:
    """The invoices of one import, as the card sees them.

    Attributes:
        batch_id: What makes a batch the same batch: the card counts it once, however often it is told.
        months: `YYYY-MM` to the changes of its kinds. A later void is a change too: one positive less, one void more.
    """

    batch_id: str
    months: Mapping[str, Sequence[KindDelta]]

    def totals(self, months: Iterable[str] | None = None) -> dict[tuple[str, str], Figures]:
        """Return the changes of some months (of all by default) together, by (kind, rate)."""
        wanted = self.months if months is None else months
        return add_totals(*(delta.totals for month in wanted for delta in self.months.get(month, ())))


class BatchFigures:
    """Adds up a batch while its file is read: bounded by months, kinds and rates, not by invoices."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._cells: dict[tuple[str, str, str], list[int]] = {}

    def add(
        self,
        month: str,
        kind: str,
        status: InvoiceStatus,
        rates: Iterable[tuple[str, int, int]],
        *,
        sign: int = 1,
    ) -> None:
        """Count one invoice.

        Args:
            month: `YYYY-MM` of its day.
            kind: 票种.
            status: Its status.
            rates: Rate, amount and tax of its lines, in fen; none for a blank void.
            sign: 1 for an invoice that is there now, -1 for one that is no longer what it was.
        """
        self.count(kind, status, sign, month=month)
        for rate, amount, tax in rates:
            self.sum(kind, status, rate, sign * amount, sign * tax, month=month)

    def count(self, kind: str, status: InvoiceStatus, count: int, *, month: str = "") -> None:
        """Count invoices without their sums."""
        self._cell(month, kind, WHOLE_KIND)[_COUNT_AT[status]] += count

    def sum(self, kind: str, status: InvoiceStatus, rate: str, amount: int, tax: int, *, month: str = "") -> None:
        """Add fen to a rate and to its kind, without counting an invoice."""
        at = _AMOUNT_AT[status]
        for cell in (self._cell(month, kind, WHOLE_KIND), self._cell(month, kind, rate)):
            cell[at] += amount
            cell[at + 1] += tax

    def _cell(self, month: str, kind: str, rate: str) -> list[int]:
        return self._cells.setdefault((month, kind, rate), [0] * _WIDTH)

    def batch(self, batch_id: str) -> IssuedBatch:
        """Return what was added, with the months and kinds in order."""
        months: dict[str, list[KindDelta]] = {}
        for month, kind in sorted({key[:2] for key in self._cells}):
            rates = {
                rate: Figures(*cell)
                for (m, k, rate), cell in sorted(self._cells.items())
                if (m, k) == (month, kind) and rate != WHOLE_KIND and any(cell)
            }
            whole = Figures(*self._cells[month, kind, WHOLE_KIND])
            if whole or rates:
                months.setdefault(month, []).append(KindDelta(kind, whole, rates))
        return IssuedBatch(batch_id, months)

    def totals(self) -> dict[tuple[str, str], Figures]:
        """Return what was added, all months together, by (kind, rate)."""
        return {key: figures for key, figures in self.batch("").totals().items() if figures}


_STATUSES: Final[tuple[InvoiceStatus, ...]] = ("positive", "negative", "positive-void", "negative-void", "blank-void")
_COUNT_AT: Final[Mapping[InvoiceStatus, int]] = {status: at for at, status in enumerate(_STATUSES)}
# A blank void has no sums: should it ever have lines, this fails instead of counting them somewhere.
_AMOUNT_AT: Final[Mapping[InvoiceStatus, int]] = {status: 5 + 2 * at for at, status in enumerate(_STATUSES[:4])}
_WIDTH: Final = len(Figures().numbers)
