"""What an importer is told, and the invoices it hands to the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from offline_station.ledger.problems import Place
from shared.ids import MachineNo, TaxpayerId
from shared.model.report import Invoice, InvoiceKind


@dataclass(frozen=True)
class ImportContext:
    """What the station knows and a list does not say.

    Attributes:
        taxpayer_id: Our 税号: the seller of every invoice that we take over.
        machine_no: Our 分机号, compared where a list has 开票机号.
        today: The day; invoices dated after tomorrow are refused.
        open_from: First day that no period copy covers: earlier invoices come too late. None if nothing was copied.
        kind: The 票种 of rows for which neither the list nor the invoice code tells it.
        former_ids: Our earlier tax numbers (15 digits became 18 when the codes were unified).
    """

    taxpayer_id: TaxpayerId
    machine_no: MachineNo
    today: date
    open_from: date | None = None
    kind: InvoiceKind | None = None
    former_ids: tuple[str, ...] = ()

    @property
    def our_ids(self) -> frozenset[str]:
        """All numbers that mean us."""
        return frozenset({str(self.taxpayer_id), *self.former_ids})


@dataclass(frozen=True)
class Entry:
    """One invoice, complete and consistent, with the place where it begins.

    Attributes:
        invoice: As the report will carry it.
        place: Its first row.
        amount: Fen without tax.
        tax: Fen of tax.
        line_sums: Rate, amount and tax of every line, in the order of `invoice.lines`.
    """

    invoice: Invoice
    place: Place
    amount: int
    tax: int
    line_sums: Sequence[tuple[str, int, int]]
