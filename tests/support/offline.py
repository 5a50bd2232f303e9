"""An invoicing PC for tests: issued cards, batches of invoices, and the bureau's answers to a copy."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from offline_station.card.software import SoftwareCard, create_card_file
from offline_station.core.card_rules import CopyRecord
from offline_station.ledger.figures import BatchFigures, IssuedBatch
from offline_station.shell.home import Home
from offline_station.shell.station import Station
from shared.clock import CHINA, Clock
from shared.envelope.roles import Role, card_identity
from shared.envelope.textsign import sign_text
from shared.ids import Nonce, ReportDigest
from shared.keys.file import SoftSigner
from shared.model.report import InvoiceStatus
from shared.model.result import Result, render_result
from shared.model.taxcard import TaxCard, write_taxcard
from shared.model.trust import TrustFile, render_trust
from tax_bureau.issue import KeyType
from tests.support import workbooks
from tests.support.pki import NOT_BEFORE, TAXPAYER, TAXPAYER_NAME, Pki, pki

NOW = datetime(2026, 8, 5, 9, 30, tzinfo=CHINA)
"""In the filing days of August: the month to report is July 2026."""
LOCK_DATE = date(2026, 8, 17)
NEXT_LOCK_DATE = date(2026, 9, 15)
DIGEST = ReportDigest("d" * 64)


def trust_file(bureau: Pki | None = None, *, version: int = 1) -> TrustFile:
    """Return a trust file of a bureau with its RSA and P-256 envelope keys."""
    bureau = bureau or pki()
    return TrustFile(
        version=version,
        issued_at=NOT_BEFORE + timedelta(days=version),
        roots=(bureau.root,),
        intermediates=(bureau.issuing,),
        certificates={
            Role.BUREAU_RESULT: (bureau.bureau_result.certificate,),
            Role.BUREAU_ENVELOPE: (bureau.envelope.certificate, bureau.envelope_p256.certificate),
            Role.TRUST: (bureau.trust_signer.certificate,),
        },
        crls=bureau.crls(),
        calendar={"2026-08": 17, "2026-09": 15},
    )


def trust_text(bureau: Pki | None = None, *, version: int = 1) -> bytes:
    """Return the same, signed."""
    bureau = bureau or pki()
    return render_trust(trust_file(bureau, version=version), bureau.trust_signer)


def taxcard(
    machine_no: int = 0,
    *,
    taxpayer_id: str = TAXPAYER,
    key_type: KeyType = "p256",
    last_copied: date = date(2026, 6, 30),
    lock_date: date = LOCK_DATE,
    sub_machines: int = 0,
    stock: dict[str, int] | None = None,
    signer: SoftSigner | None = None,
) -> TaxCard:
    """Return an issued card: July 2026 waits to be copied."""
    signer = signer or pki().card(taxpayer_id, machine_no, key_type)
    key = signer._key
    return TaxCard(
        card_no=card_identity(signer.certificate).card_no,
        taxpayer_id=taxpayer_id,
        taxpayer_name=TAXPAYER_NAME,
        machine_no=machine_no,
        sub_machines=sub_machines,
        key_pem=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        certificate_pem=signer.certificate.public_bytes(Encoding.PEM).decode(),
        chain_pem="".join(c.public_bytes(Encoding.PEM).decode() for c in signer.chain),
        trust=trust_text().decode(),
        last_copied=last_copied,
        lock_date=lock_date,
        offline_hours=72,
        offline_limits={"004": 100_000_00},
        stock={"004": 100, "007": 50} if stock is None else stock,
    )


def software_card(folder: Path, card: TaxCard | None = None) -> SoftwareCard:
    """Make a software card in a folder and open it."""
    path = folder / "card.db"
    create_card_file(path, card or taxcard(), NOW)
    return SoftwareCard(path)


def batch(
    name: str,
    invoices: Iterable[tuple[str, str, InvoiceStatus, str, int, int]],
    *,
    voids: Iterable[tuple[str, str, int, int]] = (),
) -> IssuedBatch:
    """Return a batch.

    Args:
        name: Its identity.
        invoices: Month, kind, status, rate, amount and tax in fen of each.
        voids: Month, kind, amount and tax of earlier positive invoices (at 0.13) that are void now.
    """
    figures = BatchFigures()
    for month, kind, status, rate, amount, tax in invoices:
        figures.add(month, kind, status, [] if status == "blank-void" else [(rate, amount, tax)])
    for month, kind, amount, tax in voids:
        figures.add(month, kind, "positive", [("0.13", amount, tax)], sign=-1)
        figures.add(month, kind, "positive-void", [("0.13", amount, tax)])
    return figures.batch(name)


JULY = [
    ("2026-07", "004", "positive", "0.13", 100_00, 13_00),
    ("2026-07", "004", "positive", "0.06", 200_00, 12_00),
    ("2026-07", "004", "negative", "0.13", -50_00, -6_50),
    ("2026-07", "007", "positive-void", "0.13", 70_00, 9_10),
    ("2026-07", "007", "blank-void", "0.13", 0, 0),
]
"""Five invoices of July 2026."""


def answer(
    copy: CopyRecord,
    number: int = 1,
    *,
    digest: ReportDigest | None = None,
    code: str = "",
    message: str = "",
    signer: SoftSigner | None = None,
    bureau_time: datetime = NOW + timedelta(hours=2),
    **changes: object,
) -> bytes:
    """Return the bureau's signed result for a copy: a success, or a failure with a code.

    Args:
        copy: The copy that is answered.
        number: 结果序号.
        digest: The report's digest; the copy's own by default.
        code: 错误号 of a failure.
        message: 说明.
        signer: Who signs; the bureau's result key by default.
        bureau_time: 税局时间.
        changes: Members of the result that shall be otherwise.
    """
    authority: dict[str, object] = {}
    if not code:
        authority = {
            "lock_date": NEXT_LOCK_DATE,
            "next_period_start": date(2026, 8, 1),
            "upload_deadline": NEXT_LOCK_DATE,
            "offline_hours": 48,
            "offline_limits": {"004": 200_000_00},
        }
    nonce = changes.pop("nonce", copy.nonce)
    assert isinstance(nonce, str)
    result = Result(
        name=copy.name,
        card_no=copy.card_no,
        report_digest=digest or copy.report_digest or DIGEST,
        nonce=Nonce(nonce),
        receipt_no=f"R{number:08d}",
        result_no=number,
        last_acknowledged=None,
        outcome="failure" if code else "success",
        code=code,
        message=message or ("未申报" if code else ""),
        bureau_time=bureau_time,
        **authority,  # type: ignore[arg-type]
    )
    result = replace(result, **changes)  # type: ignore[arg-type]
    return sign_text(render_result(result), signer or pki().bureau_result, signing_time=bureau_time)


# A whole invoicing PC


def new_station(folder: Path, clock: Clock, card: TaxCard | None = None, **folders: Path) -> Home:
    """Issue a card into `folder` and take it into a new home beside it; return the home."""
    source = folder / "issued.taxcard"
    write_taxcard(source, card or taxcard())
    home = Home(folder / "home")
    Station.initialise(home, source, clock, **folders)
    return home


def invoice_list(
    path: Path, count: int = 6, *, first_number: int = 1, month: date = date(2026, 7, 1), seed: int = 7
) -> Path:
    """Write a list of ordinary invoices of a month, voided and red ones among them."""
    sales = workbooks.made_up_sales(
        random.Random(seed),
        count,
        first_day=month,
        last_day=month.replace(day=28),
        code="3100193320",
        first_number=first_number,
        void_share=0.2,
        red_share=0.2,
    )
    return workbooks.csv_list(path, sales, seller=(TAXPAYER_NAME, TAXPAYER))
