"""The clear receipt: the card's word that it was cleared, and with which result (ACK-*)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from cryptography import x509

from shared.canonical import render_lines
from shared.clock import format_time
from shared.envelope.chain import TrustStore
from shared.envelope.roles import CardIdentity, Role, card_identity
from shared.envelope.textsign import prove_text, read_signed_text
from shared.errors import AckInvalid, SignatureRefused
from shared.ids import ReportDigest, ReportName
from shared.model.fields import (
    L_DIGEST,
    MAX_TEXT_BYTES,
    Lines,
    name_lines,
    parse_card_no,
    parse_count,
    parse_day,
    parse_moment,
    parse_sha256,
    take_digest,
    take_name_and_card,
    whole_seconds,
)
from shared.text import Text

TITLE: Final = "税渡 清卡回执 1"


@dataclass(frozen=True)
class Ack:
    """One clearing. Issued again it has an identical body, whenever that is.

    Attributes:
        name: Taxpayer, machine and copy time of the report that was cleared.
        card_no: The card.
        report_digest: The report.
        result_no: 结果序号 of the success that cleared it.
        result_sha256: SHA-256 of that result's body.
        cleared_at: When the card cleared.
        lock_date: The card's lock date after that.
    """

    name: ReportName
    card_no: str
    report_digest: ReportDigest
    result_no: int
    result_sha256: str
    cleared_at: datetime
    lock_date: date

    def __post_init__(self) -> None:
        """Refuse a clear receipt that no reader would accept.

        Raises:
            ValueError: A number out of range or a digest in another spelling.
        """
        object.__setattr__(self, "cleared_at", whole_seconds(self.cleared_at))
        parse_card_no(self.card_no)
        parse_sha256(self.result_sha256)
        if self.result_no < 1:
            raise ValueError("result numbers start at 1")


def render_ack(ack: Ack) -> bytes:
    """Return the body of a clear receipt: the inverse of `parse_ack` (ACK-2)."""
    return render_lines(TITLE, _lines(ack))


def _lines(ack: Ack) -> Iterator[tuple[str, str]]:
    yield from name_lines(ack.name, ack.card_no)
    yield L_DIGEST, ack.report_digest
    yield "结果序号", str(ack.result_no)
    yield "结果摘要", ack.result_sha256
    yield "清卡时间", format_time(ack.cleared_at)
    yield "锁死日期", ack.lock_date.isoformat()


def parse_ack(body: bytes) -> Ack:
    """Return the clear receipt in a body without signature; nothing is proven by that.

    Raises:
        AckInvalid: Not exactly the lines of a clear receipt, each in its one spelling.
    """
    lines = Lines(body, TITLE, AckInvalid)
    with lines.values():
        name, card_no = take_name_and_card(lines)
        ack = Ack(
            name=name,
            card_no=card_no,
            report_digest=take_digest(lines),
            result_no=parse_count(lines.take("结果序号"), least=1),
            result_sha256=parse_sha256(lines.take("结果摘要")),
            cleared_at=parse_moment(lines.take("清卡时间")),
            lock_date=parse_day(lines.take("锁死日期")),
        )
    lines.end()
    if render_ack(ack) != body:
        raise AckInvalid(reason=Text("不是规定的唯一写法", "it is not in the one permitted form"))
    return ack


@dataclass(frozen=True)
class ProvenAck:
    """A clear receipt whose signature, role, chain and card hold.

    Attributes:
        ack: What it says.
        body: The signed octets.
        body_sha256: Hex SHA-256 of `body`: the same however often it is issued again.
        signer: The card's certificate.
        warnings: What a person should know although the receipt is proven.
    """

    ack: Ack
    body: bytes
    body_sha256: str
    signer: x509.Certificate
    warnings: tuple[Text, ...] = ()


def prove_ack(data: bytes, trust: TrustStore, *, at: datetime) -> ProvenAck:
    """Prove the content of an `.ack`.

    Raises:
        AckInvalid: Empty, too large, not a signed text, or not a clear receipt.
        SignatureRefused: Altered, not signed by a card, or by another card than the one it names (ACK-3).
        CertificateRefused: The card's certificate is not acceptable.
    """
    _check_outside(data)
    proven = prove_text(data, Role.CARD, trust, at=at, error=AckInvalid)
    ack = parse_ack(proven.body)
    _check_card(ack, proven.signer)
    return ProvenAck(ack, proven.body, hashlib.sha256(proven.body).hexdigest(), proven.signer, proven.warnings)


def read_signed_ack(data: bytes) -> tuple[Ack, x509.Certificate]:
    """Return a clear receipt whose signature holds against the certificate inside; nobody vouches for that one.

    Raises:
        AckInvalid, SignatureRefused, CertificateRefused: As `prove_ack`.
    """
    _check_outside(data)
    signed = read_signed_text(data, Role.CARD, error=AckInvalid)
    ack = parse_ack(signed.body)
    _check_card(ack, signed.signer)
    return ack, signed.signer


def _check_outside(data: bytes) -> None:
    if not data:
        raise AckInvalid(reason=Text("文件是空的（0 字节）", "it is empty (0 bytes)"))
    if len(data) > MAX_TEXT_BYTES:
        raise AckInvalid(reason=Text(f"文件超过 {MAX_TEXT_BYTES} 字节", f"it is larger than {MAX_TEXT_BYTES} bytes"))


def _check_card(ack: Ack, signer: x509.Certificate) -> None:
    if card_identity(signer) != CardIdentity(ack.name.taxpayer_id, ack.name.machine_no, ack.card_no):
        raise SignatureRefused(reason=Text("不是所称的金税卡签发的", "another card than the one it names signed it"))
