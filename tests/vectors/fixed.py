"""Keys, certificates and signatures of the published cases, the same octets whenever they are made. TEST ONLY.

The private keys lie in `keys/`, for everybody to read: nothing that they sign may ever be believed outside a test. An
RSA signature of PKCS #1 v1.5 is the same each time; for P-256 the nonce is that of RFC 6979; whatever else is random
in an honest file comes from a counter here.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from shared.clock import CHINA
from shared.envelope.roles import CardIdentity, Role
from shared.ids import MachineNo, TaxpayerId
from tax_bureau.issue import authority_name, card_name, make_certificate, make_crl, make_issuing_ca, make_root
from tests.conformance.independent.writer import named, tlv

KEYS = Path(__file__).parent / "keys"
NOW = datetime(2026, 8, 5, 9, 30, tzinfo=CHINA)
FROM, TO = datetime(2006, 1, 1, tzinfo=CHINA), datetime(2046, 1, 1, tzinfo=CHINA)
TAXPAYER, OTHER = TaxpayerId("310100000000000"), TaxpayerId("91110108551385082Q")
NAME = "上海某某贸易有限公司"
RSA_KEYS = ("root", "next-root", "issuing", "result", "trust", "card-rsa", "envelope-rsa", "foreign")
P256_KEYS = ("card-p256", "envelope-p256", "ephemeral")
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def make_keys() -> None:
    """Make the keys that are not there. They are published: whoever makes others, publishes other cases."""
    for name in (*RSA_KEYS, *P256_KEYS):
        path = KEYS / f"{name}.key"
        if not path.exists():
            key: Any = (
                rsa.generate_private_key(65537, 2048) if name in RSA_KEYS else ec.generate_private_key(ec.SECP256R1())
            )
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            path.write_bytes(b"TEST ONLY: everybody has this key.\n" + pem)


@functools.cache
def key(name: str) -> Any:
    """Return a published private key."""
    return load_pem_private_key((KEYS / f"{name}.key").read_bytes(), None)


def stream(label: str, size: int) -> bytes:
    """Return octets that stand for random ones."""
    return hashlib.shake_256(f"taxferry vectors {label}".encode()).digest(size)


class Fixed:
    """A signer whose signatures are always the same."""

    def __init__(self, name: str, certificate: x509.Certificate, chain: tuple[x509.Certificate, ...] = ()) -> None:
        self._key = key(name)
        self.certificate = certificate
        self.chain = chain

    @property
    def algorithm(self) -> Any:
        return "rsa-pkcs1v15-sha256" if isinstance(self._key, rsa.RSAPrivateKey) else "ecdsa-p256-sha256"

    def sign(self, data: bytes) -> bytes:
        if isinstance(self._key, rsa.RSAPrivateKey):
            found: bytes = self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())
            return found
        return rfc6979(self._key, data)


def rfc6979(private: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """Return the deterministic ECDSA signature with P-256 and SHA-256."""
    secret = private.private_numbers().private_value
    digest = hashlib.sha256(data).digest()
    number = int.from_bytes(digest, "big") % ORDER
    seed = secret.to_bytes(32, "big") + number.to_bytes(32, "big")
    v, k = b"\x01" * 32, bytes(32)
    for octet in (b"\x00", b"\x01"):
        k = hmac.digest(k, v + octet + seed, "sha256")
        v = hmac.digest(k, v, "sha256")
    while True:
        v = hmac.digest(k, v, "sha256")
        nonce = int.from_bytes(v, "big")
        if 0 < nonce < ORDER:
            r = ec.derive_private_key(nonce, ec.SECP256R1()).public_key().public_numbers().x % ORDER
            s = pow(nonce, -1, ORDER) * (number + r * secret) % ORDER
            if r and s:
                return encode_dss_signature(r, s)
        k = hmac.digest(k, v + b"\x00", "sha256")
        v = hmac.digest(k, v, "sha256")


def oaep(public: rsa.RSAPublicKey, message: bytes, label: str) -> bytes:
    """Return RSAES-OAEP with SHA-256, with a seed that is always the same (RFC 8017, 7.1.1)."""
    numbers = public.public_numbers()
    size = (numbers.n.bit_length() + 7) // 8
    block = hashlib.sha256(b"").digest() + bytes(size - len(message) - 66) + b"\x01" + message
    seed = stream(f"oaep {label}", 32)
    masked = _xor(block, _mgf1(seed, len(block)))
    masked_seed = _xor(seed, _mgf1(masked, 32))
    encoded = int.from_bytes(b"\x00" + masked_seed + masked, "big")
    return pow(encoded, numbers.e, numbers.n).to_bytes(size, "big")


def _mgf1(seed: bytes, size: int) -> bytes:
    parts = (hashlib.sha256(seed + n.to_bytes(4, "big")).digest() for n in range(size // 32 + 1))
    return b"".join(parts)[:size]


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def recipient(certificate: x509.Certificate, content_key: bytes) -> bytes:
    """Return the recipient info of an envelope certificate (ENV-6)."""
    der, public = certificate.public_bytes(Encoding.DER), certificate.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        algorithm = bytes.fromhex(
            "303806092a864886f70d010107302ba00d300b0609608648016503040201a11a301806092a864886f70d010108"
            "300b0609608648016503040201"
        )
        return tlv(0x30, b"\x02\x01\x00", named(der), algorithm, tlv(4, oaep(public, content_key, "content")))
    ephemeral = key("ephemeral")
    point = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    shared_info = bytes.fromhex("3015300b060960864801650304012da206040400000100")
    wrapping = X963KDF(hashes.SHA256(), 32, shared_info).derive(ephemeral.exchange(ec.ECDH(), public))
    originator = tlv(0xA0, tlv(0xA1, bytes.fromhex("300906072a8648ce3d0201"), tlv(3, b"\0", point)))
    keys = tlv(0x30, tlv(0x30, named(der), tlv(4, aes_key_wrap(wrapping, content_key))))
    return tlv(0xA1, b"\x02\x01\x03", originator, bytes.fromhex("301506062b8104010b01300b060960864801650304012d"), keys)


def frame(content: bytes) -> bytes:
    """Return one zstd frame of raw blocks: the same octets with every version of every compressor (RFC 8878)."""
    header = b"\x28\xb5\x2f\xfd" + b"\xa0" + len(content).to_bytes(4, "little")
    pieces = [content[at : at + 65536] for at in range(0, len(content), 65536)] or [b""]
    blocks = [
        (len(piece) << 3 | (number == len(pieces))).to_bytes(3, "little") + piece
        for number, piece in enumerate(pieces, 1)
    ]
    return header + b"".join(blocks)


class World:
    """The certificates of the cases."""

    def __init__(self) -> None:
        """Issue them."""
        span: dict[str, Any] = {"not_before": FROM, "not_after": TO}
        self.root = make_root(key("root"), authority_name("TEST ONLY root"), serial=1, **span)
        self.issuing = make_issuing_ca(
            key("issuing").public_key(),
            authority_name("TEST ONLY issuing CA"),
            issuer=self.root,
            issuer_key=key("root"),
            serial=2,
            **span,
        )
        self.foreign_root = make_root(key("foreign"), authority_name("TEST ONLY foreign root"), serial=1, **span)
        self.next_root = make_root(key("next-root"), authority_name("TEST ONLY root 2"), serial=1, **span)
        second: dict[str, Any] = {"path_length": None, "serial": 3, **span}
        public = key("next-root").public_key()
        name = authority_name("TEST ONLY root 2")
        self.handover = make_issuing_ca(public, name, issuer=self.root, issuer_key=key("root"), **second)
        self.false_handover = make_issuing_ca(public, name, issuer=self.root, issuer_key=key("foreign"), **second)
        self.next_list = make_crl(self.next_root, key("next-root"), (), number=1, this_update=FROM, next_update=TO)
        self.result = self.signer("result", Role.BUREAU_RESULT, authority_name("TEST ONLY result"), 10)
        self.trust = self.signer("trust", Role.TRUST, authority_name("TEST ONLY trust"), 11)
        self.envelope_rsa = self.leaf(
            "envelope-rsa", Role.BUREAU_ENVELOPE, authority_name("TEST ONLY envelope RSA"), 12
        )
        self.envelope_p256 = self.leaf(
            "envelope-p256", Role.BUREAU_ENVELOPE, authority_name("TEST ONLY envelope P-256"), 13
        )
        self.former_envelope = self.leaf("ephemeral", Role.BUREAU_ENVELOPE, authority_name("TEST ONLY former"), 14)
        self.card = self.signer("card-p256", Role.CARD, self._card_name(0), 20)
        self.card_rsa = self.signer("card-rsa", Role.CARD, self._card_name(1), 21)
        self.revoked = self.signer("card-rsa", Role.CARD, self._card_name(2), 22)
        self.expired = self.signer(
            "card-rsa", Role.CARD, self._card_name(3), 23, not_after=datetime(2020, 1, 1, tzinfo=CHINA)
        )
        self.foreign_card = self.foreign("card-rsa", Role.CARD, self._card_name(4), 24)
        self.foreign_result = self.foreign("result", Role.BUREAU_RESULT, authority_name("TEST ONLY result"), 10)
        self.foreign_trust = self.foreign("trust", Role.TRUST, authority_name("TEST ONLY trust"), 11)

    @staticmethod
    def _card_name(machine: int) -> x509.Name:
        return card_name(NAME, CardIdentity(TAXPAYER, MachineNo(machine), f"TC{machine:010d}"))

    def leaf(self, name: str, role: Role, subject: x509.Name, serial: int, **changes: Any) -> x509.Certificate:
        fields: dict[str, Any] = {
            "issuer": self.issuing,
            "issuer_key": key("issuing"),
            "not_before": FROM,
            "not_after": TO,
            "serial": serial,
        }
        return make_certificate(role, key(name).public_key(), subject, **fields | changes)

    def signer(self, name: str, role: Role, subject: x509.Name, serial: int, **changes: Any) -> Fixed:
        return Fixed(name, self.leaf(name, role, subject, serial, **changes), (self.issuing,))

    def foreign(self, name: str, role: Role, subject: x509.Name, serial: int) -> Fixed:
        changes = {"issuer": self.foreign_root, "issuer_key": key("foreign")}
        return Fixed(name, self.leaf(name, role, subject, serial, **changes))

    def lists(self, number: int = 1) -> tuple[x509.CertificateRevocationList, ...]:
        """Return the revocation lists of root and issuing CA: card 22 is revoked."""
        span: dict[str, Any] = {"number": number, "this_update": FROM, "next_update": TO}
        return (
            make_crl(self.root, key("root"), (), **span),
            make_crl(self.issuing, key("issuing"), [(22, FROM)], **span),
        )
