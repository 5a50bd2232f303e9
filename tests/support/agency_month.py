"""All the papers of an agency's month, made beforehand: for each company a report, the bureau's result, the clear receipt.

Sealing and signing are real and take about two milliseconds for a company, so that what is measured later is the station.
A month that lies in a folder already is used again.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from shared.envelope.roles import Role
from shared.envelope.seal import seal_report
from shared.envelope.textsign import sign_text
from shared.ids import Nonce, ReportName, TaxpayerId, parse_stem
from shared.keys.file import SoftSigner
from shared.keys.secret import Secret
from shared.model.ack import Ack, render_ack
from shared.model.result import Result, render_result
from shared.model.trust import TrustFile, render_trust
from tax_bureau.issue import make_pkcs12
from tests.support.pki import NOW, TAXPAYER, Pki, p256_pki
from tests.support.reports import draft, rows

PIN = "135790"
PERIOD = "2026-07"
_VERSION = 3
"""Of what lies in the folder; one that another version made is made anew."""


@dataclass(frozen=True)
class Case:
    """One company's month.

    Attributes:
        digest: Of the report.
        name: The report's identity.
    """

    digest: str
    name: ReportName


@dataclass(frozen=True)
class Month:
    """The papers, as they lie in a folder."""

    folder: Path

    @property
    def root(self) -> Path:
        """The bureau's root certificate."""
        return self.folder / "root.pem"

    @property
    def key(self) -> Path:
        """The agency's key file."""
        return self.folder / "key.p12"

    @property
    def pin_file(self) -> Path:
        """What opens it."""
        return self.folder / "pin.txt"

    @property
    def companies(self) -> Path:
        """The agency's list of companies."""
        return self.folder / "companies.csv"

    @property
    def trust(self) -> bytes:
        """The bureau's trust file."""
        return (self.folder / "trust.txt").read_bytes()

    @cached_property
    def station(self) -> x509.Certificate:
        """The certificate of the agency's key."""
        return _certificates(self.folder / "station.pem")[0]

    @cached_property
    def bureau(self) -> SoftSigner:
        """The key that signs the bureau's receipts and results."""
        data = (self.folder / "bureau.pem").read_bytes()
        leaf, *chain = _certificates(self.folder / "bureau.pem")
        return SoftSigner(load_pem_private_key(data, None), leaf, tuple(chain))  # type: ignore[arg-type]

    @cached_property
    def cases(self) -> Mapping[str, Case]:
        """The companies' reports, by digest."""
        found = json.loads((self.folder / "cases.json").read_text("utf-8"))
        return {digest: Case(digest, parse_stem(stem)) for digest, stem in found}

    def report(self, case: Case) -> Path:
        """Return a company's sealed report."""
        return self.folder / "reports" / case.name.file_name(".dat")

    def result(self, digest: str) -> bytes:
        """Return the bureau's result."""
        return (self.folder / "results" / f"{digest}.txt").read_bytes()

    def ack(self, case: Case) -> Path:
        """Return the clear receipt for that result."""
        return self.folder / "acks" / case.name.file_name(".ack")


def _certificates(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


def make_month(folder: Path, companies: int, *, stamp: str = "202608010000") -> Month:
    """Make the papers of a month, or find them in the folder.

    Args:
        folder: Where they lie; what lies there and does not fit is removed.
        companies: How many.
        stamp: 抄税日期时间 of all reports.
    """
    month = Month(folder)
    wanted = f"{_VERSION} {companies} {stamp}"
    done = folder / "complete"
    if done.is_file() and done.read_text() == wanted:
        return month
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("reports", "results", "acks"):
        (folder / name).mkdir(parents=True)
    world = p256_pki()
    _write_world(month, world)
    cases, lines = [], ["taxpayer_id,name"]
    for number, (case, report, result, ack) in enumerate(_papers(world, companies)):
        month.report(case).write_bytes(report)
        (folder / "results" / f"{case.digest}.txt").write_bytes(result)
        month.ack(case).write_bytes(ack)
        cases.append([case.digest, case.name.stem])
        lines.append(f"{case.name.taxpayer_id},代账客户 {number + 1}")
    (folder / "cases.json").write_text(json.dumps(cases), "utf-8")
    month.companies.write_text("\n".join(lines) + "\n", "utf-8")
    done.write_text(wanted)
    return month


def _papers(world: Pki, companies: int) -> Iterator[tuple[Case, bytes, bytes, bytes]]:
    content = list(rows(3))
    for number in range(companies):
        card = world.card(TaxpayerId(f"3101{number:011d}"), key_type="p256", card_no=f"TC{number:010d}")
        made = draft(card, nonce=Nonce(hashlib.sha256(b"%d" % number).hexdigest()[:32]))
        out = io.BytesIO()
        sealed = seal_report(
            out,
            made,
            content,
            signer=card,
            recipients=[world.envelope_p256.certificate],
            signing_time=NOW,
        )
        header = sealed.header
        result = Result(
            name=header.name,
            card_no=header.card_no,
            report_digest=sealed.digest,
            nonce=Nonce(header.nonce),
            receipt_no=receipt_no(sealed.digest),
            result_no=1,
            last_acknowledged=None,
            outcome="success",
            code="",
            message="",
            bureau_time=NOW,
            lock_date=date(2026, 9, 15),
            next_period_start=date(2026, 9, 1),
        )
        body = render_result(result)
        ack = Ack(
            header.name, header.card_no, sealed.digest, 1, hashlib.sha256(body).hexdigest(), NOW, date(2026, 9, 15)
        )
        yield (
            Case(sealed.digest, header.name),
            out.getvalue(),
            sign_text(body, world.bureau_result, signing_time=NOW),
            sign_text(render_ack(ack), card, signing_time=NOW),
        )


def receipt_no(digest: str) -> str:
    """Return the number of the receipt for a report."""
    return f"R{int(digest[:12], 16)}"


def _write_world(month: Month, world: Pki) -> None:
    folder = month.folder
    station = world.station(TAXPAYER, "p256")
    month.root.write_bytes(world.root.public_bytes(Encoding.PEM))
    (folder / "station.pem").write_bytes(station.certificate.public_bytes(Encoding.PEM))
    key = world.key("p256", f"station {TAXPAYER}")
    month.key.write_bytes(make_pkcs12(key, station.certificate, (world.issuing,), Secret(PIN), label="station"))
    month.pin_file.write_text(f"{PIN}\n")
    secret = world.key("p256", Role.BUREAU_RESULT.value).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    chain = [world.bureau_result.certificate, *world.bureau_result.chain]
    (folder / "bureau.pem").write_bytes(secret + b"".join(c.public_bytes(Encoding.PEM) for c in chain))
    trust = TrustFile(
        version=1,
        issued_at=NOW,
        roots=(world.root,),
        intermediates=(world.issuing,),
        certificates={
            Role.BUREAU_RESULT: (world.bureau_result.certificate,),
            Role.BUREAU_ENVELOPE: (world.envelope_p256.certificate,),
            Role.TRUST: (world.trust_signer.certificate,),
        },
        crls=world.crls(),
        gateways=(),
    )
    (folder / "trust.txt").write_bytes(render_trust(trust, world.trust_signer))
