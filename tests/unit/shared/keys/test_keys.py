"""Keys and PINs: they sign, they open, and they never print."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, pkcs12

from shared.envelope.roles import Role
from shared.errors import KeyUnavailable
from shared.keys.file import SoftDecrypter, SoftSigner, load_key_file, load_private_key
from shared.keys.secret import Secret, read_pin_file
from tax_bureau.issue import authority_name, key_pem, make_certificate, make_pkcs12
from tests.support.pki import NOT_AFTER, NOT_BEFORE, pki

P = pki()
PIN = Secret("密码-4711")


def key_file(folder: Path, *, pin: Secret = PIN) -> Path:
    """Return a key file of the enterprise key."""
    path = folder / "U棒 密钥.p12"
    path.write_bytes(
        make_pkcs12(P.key("rsa", "station 310100000000000"), P.station().certificate, (P.issuing,), pin, label="U棒")
    )
    return path


def test_a_secret_does_not_print() -> None:
    assert "4711" not in f"{PIN} {PIN!r} {PIN:>30} {[PIN]}"
    assert PIN.reveal_secret() == "密码-4711"


def test_a_secret_is_not_stored() -> None:
    for store in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            store(PIN)


@pytest.mark.parametrize("data", [b"4711", b"4711\n", b"4711\r\n", b"\xef\xbb\xbf4711\r\n", b"4711\n\n"])
def test_a_pin_is_the_one_line_of_its_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "口令.txt"
    path.write_bytes(data)
    assert read_pin_file(path).reveal_secret() == "4711"


def test_blanks_belong_to_a_pin(tmp_path: Path) -> None:
    (tmp_path / "pin").write_bytes(b" 47 11 \n")
    assert read_pin_file(tmp_path / "pin").reveal_secret() == " 47 11 "


@pytest.mark.parametrize("data", [b"", b"\n", b"a\nb\n", b"\xff\xfe4\x007\x00", b"x" * 1025, b"\n4711"])
def test_what_is_no_pin_file_is_refused_without_showing_it(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "pin").write_bytes(data)
    with pytest.raises(KeyUnavailable) as caught:
        read_pin_file(tmp_path / "pin")
    assert "xxxx" not in str(caught.value)


def test_a_missing_pin_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailable, match="nowhere"):
        read_pin_file(tmp_path / "nowhere")


def test_a_key_file_gives_a_signer_with_its_chain(tmp_path: Path) -> None:
    signer = load_key_file(key_file(tmp_path), PIN)
    assert signer.certificate == P.station().certificate
    assert list(signer.chain) == [P.issuing]
    assert signer.algorithm == "rsa-pkcs1v15-sha256"
    key = signer.certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    key.verify(signer.sign(b"data"), b"data", padding.PKCS1v15(), hashes.SHA256())


def test_a_wrong_pin_is_refused_without_showing_either(tmp_path: Path) -> None:
    path = key_file(tmp_path)
    for pin in ("wrong-pin", ""):
        with pytest.raises(KeyUnavailable) as caught:
            load_key_file(path, Secret(pin))
        assert "wrong-pin" not in str(caught.value)
        assert "4711" not in str(caught.value)


def test_a_damaged_key_file_is_refused(tmp_path: Path) -> None:
    path = key_file(tmp_path)
    data = path.read_bytes()
    for damaged in (b"", b"x", data[:-1], data[: len(data) // 2], b"\x00" * len(data), data + b"x" * (1 << 18)):
        path.write_bytes(damaged)
        with pytest.raises(KeyUnavailable):
            load_key_file(path, PIN)


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailable, match="U棒"):
        load_key_file(tmp_path / "U棒.p12", PIN)
    with pytest.raises(KeyUnavailable):
        load_key_file(tmp_path, PIN)


def test_a_key_file_without_certificate_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.p12"
    path.write_bytes(pkcs12.serialize_key_and_certificates(None, P.key("p256", "x"), None, None, NoEncryption()))
    with pytest.raises(KeyUnavailable):
        load_key_file(path, PIN)


def test_key_and_certificate_must_belong_together() -> None:
    for make in (SoftSigner, SoftDecrypter):
        with pytest.raises(KeyUnavailable):
            make(P.key("rsa", "another"), P.card().certificate)


def test_weak_keys_are_refused() -> None:
    for key in (
        rsa.generate_private_key(public_exponent=65537, key_size=1024),
        ec.generate_private_key(ec.SECP384R1()),
    ):
        certificate = make_certificate(
            Role.CARD,
            key.public_key(),
            authority_name("weak"),
            issuer=P.issuing,
            issuer_key=P.issuing_key,
            not_before=NOT_BEFORE,
            not_after=NOT_AFTER,
        )
        with pytest.raises(KeyUnavailable):
            SoftSigner(key, certificate)


def test_a_p256_key_signs_in_der() -> None:
    signer = P.card(key_type="p256")
    assert signer.algorithm == "ecdsa-p256-sha256"
    key = signer.certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(signer.sign(b"data"), b"data", ec.ECDSA(hashes.SHA256()))


def test_envelope_keys_open_what_was_sealed_to_them() -> None:
    oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
    key = P.envelope.certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert P.envelope.unwrap_rsa_oaep(key.encrypt(b"k" * 32, oaep)) == b"k" * 32
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    peer = P.envelope_p256.certificate.public_key()
    assert isinstance(peer, ec.EllipticCurvePublicKey)
    point = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert P.envelope_p256.agree_p256(point) == ephemeral.exchange(ec.ECDH(), peer)


def test_what_does_not_open_is_a_value_error() -> None:
    for data in (b"", b"x" * 256, b"x" * 255):
        with pytest.raises(ValueError):
            P.envelope.unwrap_rsa_oaep(data)
    for point in (b"", b"\x04" + b"\x01" * 64, b"\x02" + b"\x01" * 32, b"\x00"):
        with pytest.raises(ValueError):
            P.envelope_p256.agree_p256(point)
    with pytest.raises(ValueError):
        P.envelope.agree_p256(b"\x04" * 65)
    with pytest.raises(ValueError):
        P.envelope_p256.unwrap_rsa_oaep(b"x" * 256)


def test_signers_print_whose_they_are_and_no_key() -> None:
    shown = repr(P.card()) + repr(P.envelope)
    assert "TC0000000000" in shown
    assert "PRIVATE" not in shown


@pytest.mark.parametrize("kind", ["rsa", "p256"])
def test_a_cards_key_is_read_from_pem(kind: str) -> None:
    key = P.key(kind, "pem")  # type: ignore[arg-type]
    assert load_private_key(key_pem(key)).private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
    ) == key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("pem", ["", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused(pem: str) -> None:
    with pytest.raises(KeyUnavailable):
        load_private_key(pem)
