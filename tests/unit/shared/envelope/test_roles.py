"""Roles and subjects of certificates (TRUST-10, TRUST-11)."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.envelope.roles import ROLE_NAMES, ROLE_OIDS, Role, card_identity, fingerprint, role_of, station_taxpayer
from shared.errors import CertificateRefused
from tests.support.pki import NOT_AFTER, NOT_BEFORE, OTHER_TAXPAYER, TAXPAYER, pki

P = pki()


def certificate(
    usages: list[x509.ObjectIdentifier] | None = None, subject: list[tuple[x509.ObjectIdentifier, str]] | None = None
) -> x509.Certificate:
    """Return a certificate with those usages and that subject."""
    key = P.key("p256", "odd")
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in subject or [(NameOID.COMMON_NAME, "x")]])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(P.issuing.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
    )
    if usages is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return builder.sign(P.issuing_key, hashes.SHA256())


def test_every_role_has_an_own_identifier_and_a_name() -> None:
    assert len(set(ROLE_OIDS.values())) == len(Role) == 5
    assert {oid.dotted_string.rsplit(".", 1)[0] for oid in ROLE_OIDS.values()} == {
        "2.25.147695742703116527850616076478095611811"
    }
    assert set(ROLE_NAMES) == set(Role)


@pytest.mark.parametrize("role", list(Role))
def test_a_role_is_read(role: Role) -> None:
    assert role_of(certificate([ROLE_OIDS[role]])) is role
    assert role_of(certificate([ROLE_OIDS[role], ExtendedKeyUsageOID.EMAIL_PROTECTION])) is role


@pytest.mark.parametrize(
    "usages",
    [
        None,
        [ExtendedKeyUsageOID.EMAIL_PROTECTION],
        [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE],
        [ROLE_OIDS[Role.CARD], ROLE_OIDS[Role.TRUST]],
        [ROLE_OIDS[Role.CARD], ROLE_OIDS[Role.CARD]],
        [ROLE_OIDS[Role.CARD], ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE],
        [ROLE_OIDS[Role.CARD], ExtendedKeyUsageOID.SERVER_AUTH],
        [x509.ObjectIdentifier("2.25.147695742703116527850616076478095611811.6")],
    ],
)
def test_no_role_several_roles_and_other_usages_are_refused(usages: list[x509.ObjectIdentifier] | None) -> None:
    with pytest.raises(CertificateRefused) as caught:
        role_of(certificate(usages))
    assert caught.value.field_code == "0x8204000D"


def test_a_card_names_taxpayer_machine_and_number() -> None:
    card = card_identity(P.card(OTHER_TAXPAYER, 12, "p256").certificate)
    assert (card.taxpayer_id, card.machine_no, card.card_no) == (OTHER_TAXPAYER, 12, "TC000012082Q")


def test_a_station_names_its_taxpayer() -> None:
    assert station_taxpayer(P.station().certificate) == TAXPAYER


GOOD = [
    (NameOID.ORGANIZATION_IDENTIFIER, "310100000000000"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "0"),
    (NameOID.SERIAL_NUMBER, "TC1"),
]


@pytest.mark.parametrize(
    "subject",
    [
        GOOD[1:],
        GOOD[:1] + GOOD[2:],
        GOOD[:2],
        [*GOOD, GOOD[0]],
        [*GOOD, GOOD[1]],
        [*GOOD, GOOD[2]],
        [(NameOID.ORGANIZATION_IDENTIFIER, "31010000000000"), *GOOD[1:]],
        [GOOD[0], (NameOID.ORGANIZATIONAL_UNIT_NAME, "00"), GOOD[2]],
        [GOOD[0], (NameOID.ORGANIZATIONAL_UNIT_NAME, "65536"), GOOD[2]],
        [*GOOD[:2], (NameOID.SERIAL_NUMBER, "TC 1")],
        [*GOOD[:2], (NameOID.SERIAL_NUMBER, "T" * 41)],
    ],
)
def test_a_subject_that_is_not_exactly_that_of_a_card_is_refused(
    subject: list[tuple[x509.ObjectIdentifier, str]],
) -> None:
    assert card_identity(certificate(subject=GOOD)).card_no == "TC1"
    with pytest.raises(CertificateRefused):
        card_identity(certificate(subject=subject))


def test_a_fingerprint_is_the_sha256_of_the_der() -> None:
    import hashlib

    from cryptography.hazmat.primitives.serialization import Encoding

    der = P.root.public_bytes(Encoding.DER)
    assert fingerprint(P.root) == hashlib.sha256(der).hexdigest()
