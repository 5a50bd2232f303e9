"""Certificates proven offline (TRUST-12 to TRUST-17)."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from shared.envelope.chain import (
    MAX_CERTIFICATE_BYTES,
    MAX_CHAIN,
    TrustStore,
    check_root,
    load_certificate,
    load_crl,
)
from shared.envelope.roles import ROLE_OIDS, Role
from shared.errors import CertificateRefused
from tax_bureau.issue import authority_name, make_certificate, make_crl, make_issuing_ca, make_root
from tests.support.pki import DAY, NOT_AFTER, NOT_BEFORE, NOW, Pki, cached_key, foreign_pki, p256_pki, pki, rogue_pki

P = pki()
VALID: dict[str, Any] = {"not_before": NOT_BEFORE, "not_after": NOT_AFTER}
CARD = P.card()


def refused(store: TrustStore, certificate: x509.Certificate, role: Role = Role.CARD, **options: Any) -> str:
    """Return why a certificate is refused."""
    with pytest.raises(CertificateRefused) as caught:
        store.prove(certificate, options.get("chain", ()), role, at=options.get("at", NOW))
    return caught.value.text.en


@pytest.mark.parametrize("bureau", [pki(), p256_pki()], ids=["rsa", "p256"])
@pytest.mark.parametrize("key_type", ["rsa", "p256"])
def test_every_role_is_proven_up_to_the_root_without_warning(bureau: Pki, key_type: Any) -> None:
    leaves = {
        Role.CARD: bureau.card(key_type=key_type).certificate,
        Role.STATION: bureau.station(key_type=key_type).certificate,
        Role.BUREAU_RESULT: bureau.signer(Role.BUREAU_RESULT, key_type=key_type).certificate,
        Role.TRUST: bureau.signer(Role.TRUST, key_type=key_type).certificate,
        Role.BUREAU_ENVELOPE: bureau.envelope_of(key_type).certificate,
    }
    for role, certificate in leaves.items():
        assert bureau.trust.prove(certificate, (), role, at=NOW) == ()


def test_another_role_is_refused_and_both_are_named() -> None:
    reason = refused(P.trust, P.bureau_result.certificate)
    assert "bureau-result" in reason
    assert "card" in reason


def test_the_chain_that_came_along_helps_and_is_not_believed() -> None:
    bare = TrustStore((P.root,))
    assert "no path" in refused(bare, CARD.certificate)
    assert bare.prove(CARD.certificate, CARD.chain, Role.CARD, at=NOW)
    assert "no path" in refused(TrustStore((foreign_pki().root,)), CARD.certificate, chain=(*CARD.chain, P.root))


@pytest.mark.parametrize("bureau", [foreign_pki(), rogue_pki()], ids=["foreign", "rogue twin"])
def test_a_bureau_that_nobody_believes_is_refused(bureau: Pki) -> None:
    card = bureau.card()
    assert "no path" in refused(P.trust, card.certificate, chain=(*card.chain, bureau.root))


def test_no_roots_believe_nothing() -> None:
    assert "no path" in refused(TrustStore(()), CARD.certificate, chain=(*CARD.chain, P.root))


def test_validity_is_judged_at_the_moment_asked_for() -> None:
    card = P.card(card_no="SHORT", not_before=NOW - DAY, not_after=NOW + DAY).certificate
    assert P.trust.prove(card, (), Role.CARD, at=NOW) == ()
    assert P.trust.prove(card, (), Role.CARD, at=NOW + DAY) == ()
    assert "from" in refused(P.trust, card, at=NOW - 2 * DAY)
    assert "expired" in refused(P.trust, card, at=NOW + 2 * DAY)


def test_an_expired_authority_is_refused() -> None:
    assert "expired" in refused(P.trust, P.card(not_after=NOT_AFTER + 9 * DAY).certificate, at=NOT_AFTER + DAY)


def test_a_renewed_authority_of_one_name_and_key_is_found() -> None:
    old = make_issuing_ca(
        P.issuing_key.public_key(),
        P.issuing.subject,
        issuer=P.root,
        issuer_key=P.root_key,
        not_before=NOT_BEFORE,
        not_after=NOW - DAY,
    )
    for pool in ((old, P.issuing), (P.issuing, old)):
        store = TrustStore((P.root,), pool, P.crls())
        assert store.prove(CARD.certificate, (), Role.CARD, at=NOW) == ()
    assert "expired" in refused(TrustStore((P.root,), (old,), P.crls()), CARD.certificate)


def leaf_by(issuer: x509.Certificate, key: Any, name: str = "leaf", **changes: Any) -> x509.Certificate:
    public = changes.pop("public_key", None) or P.key("p256", "leaf").public_key()
    return make_certificate(
        changes.pop("role", Role.CARD), public, authority_name(name), issuer=issuer, issuer_key=key, **VALID
    )


def test_a_leaf_cannot_issue() -> None:
    card_key = P.key("rsa", "station 310100000000000")
    under = leaf_by(P.station().certificate, card_key)
    assert "authority" in refused(P.trust, under, chain=(P.station().certificate,))


def test_path_length_is_kept() -> None:
    key = P.key("p256", "sub")
    below = make_issuing_ca(
        key.public_key(), authority_name("sub"), issuer=P.issuing, issuer_key=P.issuing_key, **VALID
    )
    assert "longer" in refused(P.trust, leaf_by(below, key), chain=(below,))


def deep(levels: int) -> tuple[list[x509.Certificate], Any]:
    """Return a chain of authorities below the root, with the key of the last."""
    issuer, issuer_key, chain = P.root, P.root_key, []
    for level in range(levels):
        key = P.key("p256", f"level {level}")
        issuer = make_issuing_ca(
            key.public_key(),
            authority_name(f"level {level}"),
            issuer=issuer,
            issuer_key=issuer_key,
            path_length=None,
            **VALID,
        )
        issuer_key = key
        chain.append(issuer)
    return chain, issuer_key


def test_four_authorities_are_enough() -> None:
    chain, key = deep(4)
    assert TrustStore((P.root,)).prove(leaf_by(chain[-1], key), chain, Role.CARD, at=NOW)
    chain, key = deep(5)
    assert "no path" in refused(TrustStore((P.root,)), leaf_by(chain[-1], key), chain=chain)


def test_more_certificates_than_permitted_are_refused() -> None:
    assert str(MAX_CHAIN) in refused(P.trust, CARD.certificate, chain=(P.issuing,) * (MAX_CHAIN + 1))


def test_a_hostile_bundle_of_cross_signatures_ends_soon() -> None:
    # Eight authorities of one name that all sign each other: without a budget the paths multiply.
    name = authority_name("ring")
    keys = [P.key("p256", f"ring {n}") for n in range(8)]
    ring = []
    for n, key in enumerate(keys):
        issuer = make_root(keys[n - 1], name, **VALID)
        ring.append(
            make_issuing_ca(key.public_key(), name, issuer=issuer, issuer_key=keys[n - 1], path_length=None, **VALID)
        )
    leaf = leaf_by(ring[-1], keys[-1])
    assert "no path" in refused(P.trust, leaf, chain=ring)


def test_an_authority_is_no_leaf_whatever_its_usage_says() -> None:
    key = P.key("p256", "ca leaf")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(authority_name("x"))
        .issuer_name(P.issuing.subject)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ROLE_OIDS[Role.CARD]]), critical=False)
        .sign(P.issuing_key, hashes.SHA256())
    )
    assert "CA" in refused(P.trust, certificate)


def odd_leaf(key: Any, *, usage: bool = True, critical: x509.ExtensionType | None = None, digest: Any = None) -> Any:
    """Return a leaf that the issuing functions would not make."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(authority_name("odd"))
        .issuer_name(P.issuing.subject)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.ExtendedKeyUsage([ROLE_OIDS[Role.CARD]]), critical=False)
        .add_extension(
            x509.KeyUsage(usage, False, not usage, False, False, False, False, False, False),
            critical=True,
        )
    )
    if critical is not None:
        builder = builder.add_extension(critical, critical=True)
    return builder.sign(P.issuing_key, digest or hashes.SHA256())


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(public_exponent=65537, key_size=1024),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["rsa-1024", "p384", "k1", "ed25519"],
)
def test_weak_and_unlisted_keys_are_refused(key: Any) -> None:
    assert P.trust.prove(odd_leaf(cached_key("p256", "odd")), (), Role.CARD, at=NOW) == ()
    assert "P-256" in refused(P.trust, odd_leaf(key))


def test_a_key_usage_that_does_not_fit_is_refused() -> None:
    assert "usage" in refused(P.trust, odd_leaf(cached_key("p256", "odd"), usage=False))
    swapped = leaf_by(P.issuing, P.issuing_key, role=Role.BUREAU_ENVELOPE)
    assert P.trust.prove(swapped, (), Role.BUREAU_ENVELOPE, at=NOW) == ()


def test_a_critical_extension_that_is_not_understood_is_refused() -> None:
    constraint = x509.NameConstraints([x509.DNSName("example.com")], None)
    assert "critical" in refused(P.trust, odd_leaf(cached_key("p256", "odd"), critical=constraint))


def test_a_certificate_signed_with_a_weak_hash_is_refused() -> None:  # TRUST-14
    assert "not listed" in refused(P.trust, odd_leaf(cached_key("p256", "odd"), digest=hashes.SHA224()))


# --- revocation -----------------------------------------------------------------------------------------------------


def test_a_revoked_certificate_is_refused() -> None:
    assert "revoked" in refused(P.trust_with([CARD.certificate]), CARD.certificate)


def test_a_revoked_authority_takes_its_leaves_with_it() -> None:
    assert "revoked" in refused(P.trust_with([P.issuing]), CARD.certificate)


def test_another_certificates_revocation_does_no_harm() -> None:
    assert P.trust_with([P.card(machine_no=1).certificate]).prove(CARD.certificate, (), Role.CARD, at=NOW) == ()


def test_no_list_is_a_warning_once() -> None:
    warnings = TrustStore((P.root,), (P.issuing,)).prove(CARD.certificate, (), Role.CARD, at=NOW)
    assert [w.en for w in warnings] == ["there is no revocation list: revocation was not checked"]


def test_an_outdated_list_is_a_warning_that_names_its_day() -> None:
    store = P.trust_with((), next_update=NOW - DAY)
    warnings = store.prove(CARD.certificate, (), Role.CARD, at=NOW)
    assert len(warnings) == 1
    assert "2026-08-04" in warnings[0].zh
    assert "2026-08-04" in warnings[0].en


def test_an_outdated_list_still_revokes() -> None:
    assert "revoked" in refused(P.trust_with([CARD.certificate], next_update=NOW - DAY), CARD.certificate)


def test_any_of_several_lists_revokes() -> None:
    old, new = P.crls([CARD.certificate], number=1), P.crls((), number=2)
    assert "revoked" in refused(TrustStore((P.root,), (P.issuing,), (*new, *old)), CARD.certificate)


def test_a_list_by_a_twin_of_the_issuer_is_not_overlooked() -> None:
    forged = rogue_pki().crls()
    assert "CRL" in refused(TrustStore((P.root,), (P.issuing,), forged), CARD.certificate)
    # Beside the genuine one as well: somebody wants something to be overlooked (TRUST-16).
    for lists in ((*forged, *P.crls()), (*P.crls(), *forged)):
        assert "CRL" in refused(TrustStore((P.root,), (P.issuing,), lists), CARD.certificate)


def test_a_list_by_an_authority_that_may_not_sign_lists_is_refused() -> None:  # TRUST-16
    key = P.key("p256", "no lists")
    usage = x509.KeyUsage(False, False, False, False, False, True, False, False, False)
    authority = (
        x509.CertificateBuilder()
        .subject_name(authority_name("no lists"))
        .issuer_name(P.root.subject)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(P.root_key, hashes.SHA256())
    )
    leaf = leaf_by(authority, key)
    crl = make_crl(authority, key, (), number=1, this_update=NOW - DAY, next_update=NOW + DAY)
    assert TrustStore((P.root,), (authority,)).prove(leaf, (), Role.CARD, at=NOW)
    assert "CRL" in refused(TrustStore((P.root,), (authority,), (crl,)), leaf)


def test_lists_of_other_issuers_count_for_nothing() -> None:
    store = TrustStore((P.root,), (P.issuing,), foreign_pki().crls([CARD.certificate]))
    assert store.prove(CARD.certificate, (), Role.CARD, at=NOW)


# --- parsing --------------------------------------------------------------------------------------------------------


def test_a_certificate_is_parsed_only_below_the_limit() -> None:
    with pytest.raises(CertificateRefused, match="过大"):
        load_certificate(b"\x30" * (MAX_CERTIFICATE_BYTES + 1))


def test_every_flipped_byte_of_a_certificate_is_refused_in_words() -> None:
    der = P.card(key_type="p256").certificate.public_bytes(Encoding.DER)
    for position in range(len(der)):
        altered = bytearray(der)
        altered[position] ^= 1 << position % 8
        with pytest.raises(CertificateRefused):
            P.trust.prove(load_certificate(bytes(altered)), (), Role.CARD, at=NOW)


def test_every_truncation_of_a_certificate_is_refused() -> None:
    der = CARD.certificate.public_bytes(Encoding.DER)
    for length in range(0, len(der), 7):
        with pytest.raises(CertificateRefused):
            load_certificate(der[:length])
    with pytest.raises(CertificateRefused):
        load_certificate(der + b"\x00")


def test_an_altered_list_never_passes_for_a_good_one() -> None:
    root_list, issuing_list = P.crls([P.card(machine_no=1).certificate])
    der = issuing_list.public_bytes(Encoding.DER)
    for position in range(0, len(der), 3):
        altered = bytearray(der)
        altered[position] ^= 1 << position % 8
        try:
            store = TrustStore((P.root,), (P.issuing,), (root_list, load_crl(bytes(altered))))
            # A list that names another issuer by now is one that is missing here: that is told.
            assert store.prove(CARD.certificate, (), Role.CARD, at=NOW) != (), position
        except CertificateRefused:
            continue


def test_noise_is_no_certificate_and_no_list() -> None:
    noise = random.Random(20080718)
    for _ in range(200):
        data = noise.randbytes(noise.randrange(400))
        with pytest.raises(CertificateRefused):
            load_certificate(data)
        with pytest.raises(CertificateRefused):
            load_crl(data)


def test_a_delta_list_is_not_taken() -> None:
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(P.issuing.subject)
        .last_update(NOT_BEFORE)
        .next_update(NOT_AFTER)
        .add_extension(x509.DeltaCRLIndicator(1), critical=True)
        .sign(P.issuing_key, hashes.SHA256())
    )
    with pytest.raises(CertificateRefused):
        load_crl(crl.public_bytes(Encoding.DER))


def test_a_root_signs_itself_and_is_an_authority() -> None:
    check_root(P.root)
    check_root(p256_pki().root)
    for certificate in (P.issuing, CARD.certificate, leaf_by(P.root, P.root_key)):
        with pytest.raises(CertificateRefused):
            check_root(certificate)


def test_a_list_signed_with_a_weak_hash_does_not_count() -> None:  # TRUST-14
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(P.issuing.subject)
        .last_update(NOW - DAY)
        .next_update(NOW + DAY)
        .add_extension(x509.CRLNumber(1), critical=False)
    )
    good, weak = (builder.sign(P.issuing_key, digest) for digest in (hashes.SHA256(), hashes.SHA224()))
    assert TrustStore((P.root,), (P.issuing,), (good,)).prove(CARD.certificate, (), Role.CARD, at=NOW)
    assert "CRL" in refused(TrustStore((P.root,), (P.issuing,), (weak,)), CARD.certificate)


def test_a_list_made_for_another_key_of_the_issuer_does_not_count() -> None:
    crl = make_crl(
        P.issuing, rogue_pki().issuing_key, (), number=1, this_update=NOW - timedelta(days=1), next_update=NOW + DAY
    )
    assert "CRL" in refused(TrustStore((P.root,), (P.issuing,), (crl,)), CARD.certificate)
