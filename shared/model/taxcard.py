"""An issued card before it is moved into a station: the `.taxcard` file.

The file is the card: whoever holds it can sign as the taxpayer. It is read once, by `init`, and removed there.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import Field, StringConstraints, ValidationError, model_validator

from shared.canonical import render_json
from shared.durable import write_durably
from shared.envelope.chain import MAX_CHAIN, PARSER_ERRORS, load_certificate
from shared.envelope.roles import CardIdentity, card_identity
from shared.errors import CardFileInvalid, CertificateRefused, KeyUnavailable
from shared.ids import MAX_MACHINE_NO, MachineNo, TaxpayerId
from shared.keys.file import SoftSigner, load_private_key
from shared.model.base import Count, StoredModel, TaxpayerIdText
from shared.model.trust import MAX_TRUST_BYTES
from shared.money import MAX_FEN
from shared.text import Text
from shared.text.system import os_reason

MAX_TAXCARD_BYTES: Final = 4 << 20

_Kind = Annotated[str, StringConstraints(pattern=r"^[0-9]{3}$")]
_Fen = Annotated[int, Field(ge=0, le=MAX_FEN)]


class TaxCard(StoredModel):
    """Everything that the bureau puts on a card.

    Attributes:
        card_no: The card's number, unique at the bureau.
        taxpayer_id: 税号.
        taxpayer_name: 纳税人名称.
        machine_no: 分机号.
        sub_machines: How many sub machines there are: known to the main card only, 0 on a sub card.
        key_pem: The private key, PKCS#8 without a password.
        certificate_pem: The card's certificate.
        chain_pem: Intermediates, one PEM after the other.
        trust: The text of the trust file that the card is issued with.
        last_copied: The day up to which the figures were copied already.
        lock_date: 锁死日期.
        offline_hours: 离线开票时长.
        offline_limits: 离线限额: fen by invoice kind.
        stock: Numbers in stock by invoice kind, bought before the card came here.
    """

    card_no: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z-]{1,40}$")]
    taxpayer_id: TaxpayerIdText
    taxpayer_name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    machine_no: Annotated[int, Field(ge=0, le=MAX_MACHINE_NO)]
    sub_machines: Annotated[int, Field(ge=0, le=MAX_MACHINE_NO)] = 0
    key_pem: Annotated[str, Field(repr=False, max_length=16384)]
    certificate_pem: Annotated[str, Field(max_length=16384)]
    chain_pem: Annotated[str, Field(max_length=131072)] = ""
    trust: Annotated[str, Field(repr=False, max_length=MAX_TRUST_BYTES)]
    last_copied: date
    lock_date: date
    offline_hours: Annotated[int, Field(ge=0, le=99999)] = 0
    offline_limits: dict[_Kind, _Fen] = Field(default_factory=dict)
    stock: dict[_Kind, Count] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _main_knows_subs(self) -> Self:
        if self.machine_no and self.sub_machines:
            raise ValueError("only the main card knows the sub machines")
        return self

    @property
    def identity(self) -> CardIdentity:
        """Whose card this is."""
        return CardIdentity(TaxpayerId(self.taxpayer_id), MachineNo(self.machine_no), self.card_no)

    def signer(self) -> SoftSigner:
        """Return the card's key with its certificate.

        Raises:
            CardFileInvalid: The certificates do not parse, or name another card.
        KeyUnavailable: The key does not parse, or does not belong to the certificate.
        """
        try:
            certificate = load_certificate(
                x509.load_pem_x509_certificate(self.certificate_pem.encode()).public_bytes(Encoding.DER)
            )
            chain = x509.load_pem_x509_certificates(self.chain_pem.encode()) if self.chain_pem else []
            if len(chain) > MAX_CHAIN or card_identity(certificate) != self.identity:
                raise ValueError
        except (CertificateRefused, *PARSER_ERRORS):
            raise CardFileInvalid(
                reason=Text("卡内证书与卡不符", "the certificate on the card is not this card's")
            ) from None
        return SoftSigner(load_private_key(self.key_pem), certificate, chain)


def render_taxcard(card: TaxCard) -> bytes:
    """Return the file of a card."""
    return render_json(card.model_dump(mode="json")) + b"\n"


def parse_taxcard(data: bytes) -> TaxCard:
    """Return the card in a file's content, with a key that fits its certificate.

    Raises:
        CardFileInvalid: Not a card, or its key cannot be used.
    """
    try:
        if len(data) > MAX_TAXCARD_BYTES:
            raise ValueError
        card = TaxCard.model_validate_json(data)
    except (ValidationError, ValueError) as error:
        detail = _first(error) if isinstance(error, ValidationError) else ""
        raise CardFileInvalid(
            reason=Text(
                f"这不是金税卡文件，或已损坏{detail and f'（{detail}）'}",
                f"it is not a card file, or it is damaged{detail and f' ({detail})'}",
            )
        ) from None
    try:
        card.signer()
    except KeyUnavailable as error:
        raise CardFileInvalid(reason=error.context["reason"]) from None
    return card


def _first(error: ValidationError) -> str:
    # Never the input itself: it may be the private key.
    found = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return ".".join(str(p) for p in found["loc"])[:80]


def read_taxcard(path: Path) -> TaxCard:
    """Return the card in a file.

    Raises:
        CardFileInvalid: The file cannot be read, is not a card, or its key cannot be used.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TAXCARD_BYTES + 1)
    except OSError as error:
        why = os_reason(error)
        raise CardFileInvalid(reason=Text(f"{path} 读不出（{why.zh}）", f"{path} cannot be read ({why.en})")) from None
    return parse_taxcard(data)


def write_taxcard(path: Path, card: TaxCard) -> None:
    """Write the card's file, durably, readable by its owner only."""
    write_durably(path, render_taxcard(card), mode=0o600)
