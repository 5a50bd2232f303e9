"""Small, correct reports for tests: a draft, its rows, and the sealed file."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Any

from cryptography import x509

from shared.envelope.roles import card_identity
from shared.envelope.seal import ReportDraft, SealedReport, seal_report
from shared.ids import Nonce, parse_stamp
from shared.keys.port import Signer
from shared.model.report import (
    SUM_FIELDS,
    Invoice,
    InvoiceLine,
    KindSummary,
    RateSummary,
    Trailer,
    render_row,
)
from shared.money import format_fen
from tests.support.pki import NOW, Pki, pki

NONCE = Nonce("0123456789abcdef0123456789abcdef")


def draft(signer: Signer, *, invoices: int = 3, **changes: Any) -> ReportDraft:
    """Return the draft of a July 2026 period report of the card that `signer` is."""
    card = card_identity(signer.certificate)
    fields: dict[str, Any] = {
        "taxpayer_id": card.taxpayer_id,
        "machine_no": card.machine_no,
        "stamp": parse_stamp("202608010000"),
        "period_start": date(2026, 7, 1),
        "period_end": date(2026, 7, 31),
        "card_no": card.card_no,
        "sequence": 7,
        "nonce": NONCE,
        "invoice_count": invoices,
    }
    return ReportDraft(**{**fields, **changes})


def invoice(number: int, *, fen: int = 10000, tax: int = 1300, status: str = "positive") -> Invoice:
    """Return an ordinary invoice with one line at 13 %."""
    line = InvoiceLine(
        name="钢材", unit="吨", quantity="1", price="100", amount=format_fen(fen), rate="0.13", tax=format_fen(tax)
    )
    return Invoice(
        kind="007",
        code="3100204130",
        number=f"{number:08d}",
        day="2026-07-18",
        status=status,  # type: ignore[arg-type]
        buyer_name="北京某某公司",
        amount=format_fen(fen),
        tax=format_fen(tax),
        lines=(line,),
    )


def rows(invoices: int = 3) -> Iterator[bytes]:
    """Yield the rows of a report of that many equal invoices, all sums right."""
    sums = dict.fromkeys(SUM_FIELDS, "0.00")
    sums["positive_amount"], sums["positive_tax"] = format_fen(10000 * invoices), format_fen(1300 * invoices)
    yield render_row(
        KindSummary(
            kind="007",
            opening=0,
            bought=invoices,
            returned=0,
            closing=0,
            positive_count=invoices,
            negative_count=0,
            positive_void_count=0,
            negative_void_count=0,
            blank_void_count=0,
            **sums,
        )
    )
    if invoices:
        yield render_row(RateSummary(kind="007", rate="0.13", **sums))
    for number in range(1, invoices + 1):
        yield render_row(invoice(number))
    yield render_row(
        Trailer(invoices=invoices, lines=invoices, amount=sums["positive_amount"], tax=sums["positive_tax"])
    )


def noise(size: int, seed: int = 0) -> Iterator[bytes]:
    """Yield rows that no compression makes much smaller than `size` octets; as invoices they mean nothing."""
    rng = random.Random(seed)
    for at in range(0, size, 300_000):
        yield base64.b64encode(rng.randbytes(min(300_000, size - at)))


def sealed(
    signer: Signer | None = None,
    recipients: Sequence[x509.Certificate] | None = None,
    *,
    invoices: int = 3,
    content: Iterable[bytes] | None = None,
    world: Pki | None = None,
    **changes: Any,
) -> tuple[bytes, SealedReport]:
    """Return the octets of a sealed report and what its writer says about it."""
    world = world or pki()
    signer = signer or world.card()
    out = io.BytesIO()
    report = seal_report(
        out,
        draft(signer, invoices=invoices, **changes),
        rows(invoices) if content is None else content,
        signer=signer,
        recipients=[world.envelope.certificate] if recipients is None else recipients,
        signing_time=NOW,
    )
    return out.getvalue(), report
