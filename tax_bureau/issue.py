"""Certificates, revocation lists and key files, as pure functions: root, issuing CA, leaves of one role each.

Nothing here keeps a number or a file; whoever calls stores what was issued. Serial numbers are random unless given,
so that two calls never collide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.envelope.roles import ROLE_OIDS, CardIdentity, Role
from shared.ids import TaxpayerId
from shared.keys.file import PrivateKey
from shared.keys.secret import Secret

KeyType = Literal["rsa", "p256"]
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

_NO_USAGE: Final = {
    "digital_signature": False,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "key_cert_sign": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}


def new_key(kind: KeyType) -> PrivateKey:
    """Return a fresh private key: RSA of 2048 bits, or P-256."""
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: PrivateKey) -> str:
    """Return the private key as unencrypted PEM (PKCS#8), for storage that is protected otherwise."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def certificate_pem(certificate: x509.Certificate) -> str:
    """Return the certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM).decode()


def authority_name(common_name: str) -> x509.Name:
    """Return the subject of a root or an issuing CA."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "taxferry reference bureau"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def card_name(taxpayer_name: str, card: CardIdentity) -> x509.Name:
    """Return the subject of a card's certificate: taxpayer, 税号, machine and card number (TRUST-11)."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, taxpayer_name[:64]),
            x509.NameAttribute(NameOID.ORGANIZATION_IDENTIFIER, card.taxpayer_id),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, str(card.machine_no)),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, card.card_no),
            x509.NameAttribute(NameOID.COMMON_NAME, f"card {card.card_no}"),
        ]
    )


def station_name(taxpayer_name: str, taxpayer_id: TaxpayerId) -> x509.Name:
    """Return the subject of an enterprise key's certificate."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, taxpayer_name[:64]),
            x509.NameAttribute(NameOID.ORGANIZATION_IDENTIFIER, taxpayer_id),
            x509.NameAttribute(NameOID.COMMON_NAME, f"station {taxpayer_id}"),
        ]
    )


def make_root(
    key: PrivateKey, name: x509.Name, *, not_before: datetime, not_after: datetime, serial: int | None = None
) -> x509.Certificate:
    """Return a self-signed root."""
    builder = _builder(name, name, key.public_key(), not_before, not_after, serial)
    return _authority(builder, key.public_key(), key.public_key(), None).sign(key, hashes.SHA256())


def make_issuing_ca(
    public_key: PublicKey,
    name: x509.Name,
    *,
    issuer: x509.Certificate,
    issuer_key: PrivateKey,
    not_before: datetime,
    not_after: datetime,
    path_length: int | None = 0,
    serial: int | None = None,
) -> x509.Certificate:
    """Return the certificate of an authority below `issuer`.

    With the name and key of a new root and the old root as `issuer` this is the handover of TRUST-5: the old root's
    signature under the new one (`path_length=None` then).
    """
    builder = _builder(name, issuer.subject, public_key, not_before, not_after, serial)
    return _authority(builder, public_key, issuer_key.public_key(), path_length).sign(issuer_key, hashes.SHA256())


def make_certificate(
    role: Role,
    public_key: PublicKey,
    name: x509.Name,
    *,
    issuer: x509.Certificate,
    issuer_key: PrivateKey,
    not_before: datetime,
    not_after: datetime,
    serial: int | None = None,
) -> x509.Certificate:
    """Return a certificate of exactly one role.

    Those that sign text carry `emailProtection` besides: stock S/MIME tools then verify without being told a purpose.
    """
    usage = dict(_NO_USAGE)
    usages = [ROLE_OIDS[role]]
    if role is not Role.BUREAU_ENVELOPE:
        usage["digital_signature"] = True
    elif isinstance(public_key, rsa.RSAPublicKey):
        usage["key_encipherment"] = True
    else:
        usage["key_agreement"] = True
    if role in (Role.CARD, Role.BUREAU_RESULT, Role.TRUST):
        usages.append(ExtendedKeyUsageOID.EMAIL_PROTECTION)
    return (
        _builder(name, issuer.subject, public_key, not_before, not_after, serial)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def make_crl(
    issuer: x509.Certificate,
    issuer_key: PrivateKey,
    revoked: Iterable[tuple[int, datetime]],
    *,
    number: int,
    this_update: datetime,
    next_update: datetime,
) -> x509.CertificateRevocationList:
    """Return a revocation list.

    Args:
        issuer: The authority whose certificates are revoked.
        issuer_key: Its key.
        revoked: Serial number and moment of each revocation.
        number: Grows with every list of this issuer.
        this_update: When the list is made.
        next_update: When a newer one must be there.
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(this_update)
        .next_update(next_update)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    for serial, moment in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(moment).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(issuer_key, hashes.SHA256())


def make_pkcs12(
    key: PrivateKey, certificate: x509.Certificate, chain: Sequence[x509.Certificate], pin: Secret, *, label: str
) -> bytes:
    """Return a key file: private key, certificate and chain, encrypted with the PIN."""
    return pkcs12.serialize_key_and_certificates(
        label.encode(), key, certificate, list(chain), BestAvailableEncryption(pin.reveal_secret().encode())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: PublicKey,
    not_before: datetime,
    not_after: datetime,
    serial: int | None,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial if serial is not None else x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def _authority(
    builder: x509.CertificateBuilder, public_key: PublicKey, issuer_key: PublicKey, path_length: int | None
) -> x509.CertificateBuilder:
    usage = _NO_USAGE | {"key_cert_sign": True, "crl_sign": True}
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )
