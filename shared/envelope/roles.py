"""What a certificate may be used for: exactly one role, named by a private extended key usage.

A card signs reports and clear receipts, the bureau signs results with a key that does nothing else, and so on. A
signature made in another role is a signature failure, however valid its chain is (TRUST-10). The subjects of cards
and stations carry the identity that the signed content must repeat (TRUST-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.errors import CertificateRefused, NameInvalid
from shared.ids import MachineNo, TaxpayerId, parse_machine_no, parse_taxpayer_id
from shared.text import Text


class Role(StrEnum):
    """The one thing that a certificate is for."""

    CARD = "card"
    BUREAU_RESULT = "bureau-result"
    BUREAU_ENVELOPE = "bureau-envelope"
    TRUST = "trust"
    STATION = "station"


# The arc below 2.25 is a random UUID: anyone may make one, nobody has to register it.
_ARC: Final = "2.25.147695742703116527850616076478095611811"
ROLE_OIDS: Final[Mapping[Role, x509.ObjectIdentifier]] = MappingProxyType(
    {role: x509.ObjectIdentifier(f"{_ARC}.{number}") for number, role in enumerate(Role, start=1)}
)
_ROLE_OF_OID: Final = {oid: role for role, oid in ROLE_OIDS.items()}

ROLE_NAMES: Final[Mapping[Role, Text]] = MappingProxyType(
    {
        Role.CARD: Text("金税卡", "tax card"),
        Role.BUREAU_RESULT: Text("税局结果签名", "bureau result"),
        Role.BUREAU_ENVELOPE: Text("税局信封", "bureau envelope"),
        Role.TRUST: Text("信任文件签名", "trust file"),
        Role.STATION: Text("上网机（U棒）", "Internet PC (enterprise key)"),
    }
)

_CARD_NO: Final = re.compile(r"[0-9A-Za-z-]{1,40}", re.ASCII)


def role_of(certificate: x509.Certificate) -> Role:
    """Return the role of a certificate.

    Besides the role only `emailProtection` may stand in the extended key usage: stock S/MIME tools ask for it.

    Raises:
        CertificateRefused: No role, several roles, or a usage beside the role.
    """
    try:
        usages = list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        raise CertificateRefused(reason=Text("证书没有写明用途", "it names no role")) from None
    except (ValueError, TypeError, x509.DuplicateExtension, Warning):
        raise CertificateRefused(reason=Text("证书扩展无法解析", "its extensions do not parse")) from None
    roles = [_ROLE_OF_OID[oid] for oid in usages if oid in _ROLE_OF_OID]
    others = [oid for oid in usages if oid not in _ROLE_OF_OID and oid != ExtendedKeyUsageOID.EMAIL_PROTECTION]
    if len(roles) != 1 or others:
        raise CertificateRefused(
            reason=Text("证书应当只有一个规定的用途", "it must carry exactly one role and no other usage")
        )
    return roles[0]


@dataclass(frozen=True)
class CardIdentity:
    """Whose card, on which machine.

    Attributes:
        taxpayer_id: 税号.
        machine_no: 分机号.
        card_no: The card's own number.
    """

    taxpayer_id: TaxpayerId
    machine_no: MachineNo
    card_no: str


def card_identity(certificate: x509.Certificate) -> CardIdentity:
    """Return the identity in a card certificate's subject; the role is not looked at.

    Raises:
        CertificateRefused: An attribute is missing, stands there twice or is not of its grammar.
    """
    card_no = _one(certificate, NameOID.SERIAL_NUMBER)
    if _CARD_NO.fullmatch(card_no) is None:
        raise CertificateRefused(reason=Text("证书中的卡号无效", "the card number in its subject is invalid"))
    try:
        machine_no = parse_machine_no(_one(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME))
    except NameInvalid as error:
        raise CertificateRefused(reason=error.text) from None
    return CardIdentity(station_taxpayer(certificate), machine_no, card_no)


def station_taxpayer(certificate: x509.Certificate) -> TaxpayerId:
    """Return the 税号 in the subject of a station's or a card's certificate.

    Raises:
        CertificateRefused: None, several, or not of its grammar.
    """
    try:
        return parse_taxpayer_id(_one(certificate, NameOID.ORGANIZATION_IDENTIFIER))
    except NameInvalid as error:
        raise CertificateRefused(reason=error.text) from None


def _one(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    try:
        found = [str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(oid)]
    except (ValueError, TypeError, Warning):
        raise CertificateRefused(reason=Text("证书主题无法解析", "its subject does not parse")) from None
    if len(found) != 1:
        raise CertificateRefused(
            reason=Text(
                f"证书主题应当恰有一个 {oid.dotted_string}", f"its subject must have exactly one {oid.dotted_string}"
            )
        )
    return found[0]


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the hex SHA-256 of the certificate's DER: the key's name in HTTP signatures and enrolments."""
    return certificate.fingerprint(hashes.SHA256()).hex()
