"""The algorithms, as a table: what is not a row here is refused (ENV-10).

Readers compare whole AlgorithmIdentifiers byte for byte, so parameters that nobody listed (another hash inside OAEP, a
shorter tag, an absent NULL) are refused without being understood.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from shared.envelope import der
from shared.errors import CertificateRefused, SignatureRefused
from shared.keys.port import SignatureAlgorithm
from shared.model.report import Suite
from shared.text import Text

SHA256: Final = der.sequence(der.object_identifier("2.16.840.1.101.3.4.2.1"))
"""Without parameters, as RFC 5754 section 2 asks of writers."""
RSA_SHA256: Final = der.sequence(der.object_identifier("1.2.840.113549.1.1.11"), der.element(der.NULL))
RSA_PLAIN: Final = der.sequence(der.object_identifier("1.2.840.113549.1.1.1"), der.element(der.NULL))
"""`rsaEncryption`, which OpenSSL writes as the signature algorithm of an RSA signer (RFC 3370 section 3.2)."""
ECDSA_SHA256: Final = der.sequence(der.object_identifier("1.2.840.10045.4.3.2"))

OAEP_SHA256: Final = der.sequence(
    der.object_identifier("1.2.840.113549.1.1.7"),
    der.sequence(
        der.element(der.context(0), SHA256),
        der.element(der.context(1), der.sequence(der.object_identifier("1.2.840.113549.1.1.8"), SHA256)),
    ),
)
AES256_WRAP: Final = der.sequence(der.object_identifier("2.16.840.1.101.3.4.1.45"))
ECDH_SHA256KDF: Final = der.sequence(der.object_identifier("1.3.132.1.11.1"), AES256_WRAP)
EC_PUBLIC_KEY: Final = der.sequence(der.object_identifier("1.2.840.10045.2.1"))
"""Without a curve: the recipient's certificate says which (RFC 5753 section 7.1.2)."""

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
POINT_BYTES: Final = 65
WRAPPED_KEY_BYTES: Final = KEY_BYTES + 8

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
"""Larger ones only cost a verifier time."""

SUITES: Final[Mapping[SignatureAlgorithm, Suite]] = {
    "rsa-pkcs1v15-sha256": "rsa-sha256-aes256gcm",
    "ecdsa-p256-sha256": "p256-sha256-aes256gcm",
}
"""The name in the header that goes with the card's key."""
SIGNATURE_IDENTIFIERS: Final[Mapping[SignatureAlgorithm, bytes]] = {
    "rsa-pkcs1v15-sha256": RSA_SHA256,
    "ecdsa-p256-sha256": ECDSA_SHA256,
}


def content_encryption(nonce: bytes) -> bytes:
    """Return the AlgorithmIdentifier of AES-256-GCM with a 12-octet nonce and a 16-octet tag (RFC 5084)."""
    return der.sequence(
        der.object_identifier("2.16.840.1.101.3.4.1.46"),
        der.sequence(der.octet_string(nonce), der.integer(TAG_BYTES)),
    )


CONTENT_ENCRYPTION_BEFORE_NONCE: Final = content_encryption(bytes(NONCE_BYTES))[: -(NONCE_BYTES + 3)]
CONTENT_ENCRYPTION_AFTER_NONCE: Final = content_encryption(bytes(NONCE_BYTES))[-3:]

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


def public_key(certificate: x509.Certificate) -> PublicKey:
    """Return the certificate's key, if it is of a kind in the table: RSA from 2048 bits, or P-256.

    Raises:
        CertificateRefused: Another kind or size of key.
    """
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, rsa.RSAPublicKey) and MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise CertificateRefused(
        reason=Text("密钥应为 RSA（2048 位以上）或 P-256", "its key must be RSA of 2048 bits or more, or P-256")
    )


def signature_algorithm(certificate: x509.Certificate) -> SignatureAlgorithm:
    """Return the one algorithm that the certificate's key signs with.

    Raises:
        CertificateRefused: As for `public_key`.
    """
    return "rsa-pkcs1v15-sha256" if isinstance(public_key(certificate), rsa.RSAPublicKey) else "ecdsa-p256-sha256"


def verify_signature(certificate: x509.Certificate, signature: bytes, data: bytes) -> None:
    """State that `signature` over SHA-256 of `data` is by the certificate's key.

    Raises:
        SignatureRefused: It is not.
        CertificateRefused: The key is of no listed kind.
    """
    key = public_key(certificate)
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        else:
            decode_dss_signature(signature)
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        raise SignatureRefused(
            reason=Text("签名与内容不符", "it does not fit the content, or another key made it")
        ) from None


def sha256(data: bytes) -> bytes:
    """Return SHA-256 of `data`."""
    return hashlib.sha256(data).digest()
