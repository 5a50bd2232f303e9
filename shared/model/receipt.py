"""The receipt of an upload: the bureau has these bytes, and says when to ask for their result (RES-30 to RES-32)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509

from shared.canonical import render_lines
from shared.clock import format_time
from shared.envelope.chain import TrustStore
from shared.envelope.roles import Role
from shared.envelope.textsign import prove_text, read_signed_text
from shared.errors import ResultInvalid
from shared.ids import ReportDigest, ReportName, parse_machine_no, parse_stamp, parse_taxpayer_id
from shared.model.fields import (
    L_DIGEST,
    L_MACHINE,
    L_STAMP,
    L_TAXPAYER,
    MAX_TEXT_BYTES,
    Lines,
    name_lines,
    parse_count,
    parse_moment,
    parse_receipt_no,
    take_digest,
    whole_seconds,
)
from shared.text import Text

TITLE: Final = "税渡 受理回执 1"
_MAX_WAIT: Final = 7 * 86400


@dataclass(frozen=True)
class Receipt:
    """Proof that the bureau holds a report. Every upload of the same report gets the same receipt.

    Attributes:
        name: Taxpayer, machine and copy time.
        report_digest: The report.
        receipt_no: The bureau's number.
        received_at: When the bureau had the whole of it.
        ask_after_seconds: How long after `received_at` to ask for the result first.
    """

    name: ReportName
    report_digest: ReportDigest
    receipt_no: str
    received_at: datetime
    ask_after_seconds: int

    def __post_init__(self) -> None:
        """Refuse a receipt that no reader would accept.

        Raises:
            ValueError: A number out of range.
        """
        object.__setattr__(self, "received_at", whole_seconds(self.received_at))
        parse_receipt_no(self.receipt_no)
        if not 0 <= self.ask_after_seconds <= _MAX_WAIT:
            raise ValueError("the time to wait is out of range")


def render_receipt(receipt: Receipt) -> bytes:
    """Return the body of a receipt: the inverse of `parse_receipt`."""
    return render_lines(TITLE, _lines(receipt))


def _lines(receipt: Receipt) -> Iterator[tuple[str, str]]:
    yield from name_lines(receipt.name, None)
    yield L_DIGEST, receipt.report_digest
    yield "受理回执", receipt.receipt_no
    yield "受理时间", format_time(receipt.received_at)
    yield "查询等待秒数", str(receipt.ask_after_seconds)


def parse_receipt(body: bytes) -> Receipt:
    """Return the receipt in a body without signature; nothing is proven by that.

    Raises:
        ResultInvalid: Not exactly the lines of a receipt.
    """
    lines = Lines(body, TITLE, ResultInvalid)
    with lines.values():
        taxpayer_id = parse_taxpayer_id(lines.take(L_TAXPAYER))
        machine_no = parse_machine_no(lines.take(L_MACHINE))
        receipt = Receipt(
            name=ReportName(taxpayer_id, machine_no, parse_stamp(lines.take(L_STAMP))),
            report_digest=take_digest(lines),
            receipt_no=lines.take("受理回执"),
            received_at=parse_moment(lines.take("受理时间")),
            ask_after_seconds=parse_count(lines.take("查询等待秒数")),
        )
    lines.end()
    if render_receipt(receipt) != body:
        raise ResultInvalid(reason=Text("不是规定的唯一写法", "it is not in the one permitted form"))
    return receipt


@dataclass(frozen=True)
class ProvenReceipt:
    """A receipt whose signature, role and chain hold.

    Attributes:
        receipt: What it says.
        body: The signed octets.
        signer: The bureau's certificate.
        warnings: What a person should know although the receipt is proven.
    """

    receipt: Receipt
    body: bytes
    signer: x509.Certificate
    warnings: tuple[Text, ...] = ()


def prove_receipt(data: bytes, trust: TrustStore, *, at: datetime) -> ProvenReceipt:
    """Prove the answer to an upload.

    Raises:
        ResultInvalid: Too large, or not a signed text, or not a receipt.
        SignatureRefused: Altered, or not signed by the bureau's result key.
        CertificateRefused: The signer's certificate is not acceptable.
    """
    _check_outside(data)
    proven = prove_text(data, Role.BUREAU_RESULT, trust, at=at, error=ResultInvalid)
    return ProvenReceipt(parse_receipt(proven.body), proven.body, proven.signer, proven.warnings)


def read_signed_receipt(data: bytes) -> tuple[Receipt, x509.Certificate]:
    """Return a receipt whose signature holds against the certificate inside; nobody vouches for that one.

    Raises:
        ResultInvalid, SignatureRefused, CertificateRefused: As `prove_receipt`.
    """
    _check_outside(data)
    signed = read_signed_text(data, Role.BUREAU_RESULT, error=ResultInvalid)
    return parse_receipt(signed.body), signed.signer


def _check_outside(data: bytes) -> None:
    if len(data) > MAX_TEXT_BYTES:
        raise ResultInvalid(reason=Text(f"文件超过 {MAX_TEXT_BYTES} 字节", f"it is larger than {MAX_TEXT_BYTES} bytes"))
