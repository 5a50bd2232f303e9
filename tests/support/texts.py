"""Results, clear receipts, upload receipts and trust files for tests, plain and signed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from cryptography import x509

from shared.clock import CHINA
from shared.envelope.roles import Role, card_identity
from shared.envelope.textsign import sign_text
from shared.ids import Nonce, ReportDigest, ReportName, Stamp, parse_stamp
from shared.keys.port import Signer
from shared.model.ack import Ack, render_ack
from shared.model.receipt import Receipt
from shared.model.result import Result, render_result
from shared.model.trust import TrustFile, render_trust
from tax_bureau.issue import authority_name, make_crl, make_issuing_ca, make_root
from tests.support.pki import DAY, NOT_AFTER, NOT_BEFORE, NOW, Pki, pki

DIGEST = ReportDigest("6f" * 32)
NONCE = Nonce("ab" * 16)
ADHOC = parse_stamp("200807180808")
PERIOD = parse_stamp("202608010000")


def name_of(card: Signer, stamp: Stamp = ADHOC) -> ReportName:
    """Return the identity of a report by that card."""
    identity = card_identity(card.certificate)
    return ReportName(identity.taxpayer_id, identity.machine_no, stamp)


def success(card: Signer | None = None, **changes: Any) -> Result:
    """Return a success for a report of that card, by default the main machine's of 18 July 2008."""
    card = card or pki().card()
    result = Result(
        name=name_of(card),
        card_no=card_identity(card.certificate).card_no,
        report_digest=DIGEST,
        nonce=NONCE,
        receipt_no="R2008071800001",
        result_no=17,
        last_acknowledged=16,
        outcome="success",
        code="",
        message="",
        bureau_time=datetime(2008, 7, 18, 8, 23, 11, tzinfo=CHINA),
        lock_date=date(2008, 8, 15),
        next_period_start=date(2008, 8, 1),
        upload_deadline=date(2008, 8, 15),
        offline_hours=72,
        offline_limits={"004": 100_000_000, "007": 5_000_000},
    )
    return replace(result, **changes)


def failure(card: Signer | None = None, **changes: Any) -> Result:
    """Return a failure with 271D for the same report."""
    nothing = {
        "lock_date": None,
        "next_period_start": None,
        "upload_deadline": None,
        "offline_hours": None,
        "offline_limits": {},
    }
    words = {"outcome": "failure", "code": "271D", "message": "申报比对不通过：未查询到申报信息"}
    return replace(success(card), **{**nothing, **words, **changes})


def signed(result: Result, *, by: Signer | None = None, at: datetime = NOW) -> bytes:
    """Return the `.txt` of a result."""
    return sign_text(render_result(result), by or pki().bureau_result, signing_time=at)


def ack_of(result: Result, **changes: Any) -> Ack:
    """Return the clear receipt for a success."""
    ack = Ack(
        name=result.name,
        card_no=result.card_no,
        report_digest=result.report_digest,
        result_no=result.result_no,
        result_sha256=hashlib.sha256(render_result(result)).hexdigest(),
        cleared_at=datetime(2008, 7, 18, 9, 1, 40, tzinfo=CHINA),
        lock_date=result.lock_date or date(2008, 8, 15),
    )
    return replace(ack, **changes)


def signed_ack(ack: Ack, *, by: Signer | None = None, at: datetime = NOW) -> bytes:
    """Return the `.ack` of a clearing."""
    return sign_text(render_ack(ack), by or pki().card(), signing_time=at)


def receipt(**changes: Any) -> Receipt:
    """Return the receipt of an upload."""
    found = Receipt(name_of(pki().card()), DIGEST, "R2008071800001", datetime(2008, 7, 18, 8, 10, 2, tzinfo=CHINA), 600)
    return replace(found, **changes)


def trust_file(bureau: Pki | None = None, **changes: Any) -> TrustFile:
    """Return version 1 of a bureau's trust file."""
    bureau = bureau or pki()
    found = TrustFile(
        version=1,
        issued_at=NOW - DAY,
        roots=(bureau.root,),
        intermediates=(bureau.issuing,),
        certificates={
            Role.BUREAU_RESULT: (bureau.bureau_result.certificate,),
            Role.BUREAU_ENVELOPE: (bureau.envelope.certificate, bureau.envelope_p256.certificate),
            Role.TRUST: (bureau.trust_signer.certificate,),
        },
        crls=bureau.crls(),
        calendar={"2026-08": 17, "2026-09": 15},
        gateways=("https://bureau.example.cn",),
    )
    return replace(found, **changes)


def signed_trust(trust: TrustFile, *, by: Signer | None = None) -> bytes:
    """Return the text of a trust file."""
    return render_trust(trust, by or pki().trust_signer)


class NextRoot:
    """A second root of a bureau, with its handover by the first, and an issuing CA below it."""

    def __init__(self, bureau: Pki, label: str = "root 2") -> None:
        """Make them."""
        self.key = bureau.key(bureau.key_type, label)
        name = authority_name(f"{bureau.names} {label}")
        validity = {"not_before": NOT_BEFORE, "not_after": NOT_AFTER}
        self.root = make_root(self.key, name, **validity)
        self.handover = make_issuing_ca(
            self.key.public_key(),
            name,
            issuer=bureau.root,
            issuer_key=bureau.root_key,
            path_length=None,
            **validity,
        )
        self.crl: x509.CertificateRevocationList = make_crl(
            self.root, self.key, (), number=1, this_update=NOT_BEFORE, next_update=NOT_AFTER
        )
