"""Keys that lie in memory or in a file (PKCS#12), behind the same ports as a token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key, pkcs12

from shared.errors import KeyUnavailable
from shared.keys.port import SignatureAlgorithm
from shared.keys.secret import Secret
from shared.text import Text
from shared.text.system import os_reason

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_MAX_KEY_FILE: Final = 1 << 18
_OAEP: Final = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


class SoftSigner:
    """A `Signer` whose private key is in this process's memory."""

    def __init__(
        self, private_key: PrivateKey, certificate: x509.Certificate, chain: Sequence[x509.Certificate] = ()
    ) -> None:
        """Hold a key with its certificate.

        Raises:
            KeyUnavailable: The key is not the certificate's, or not of a kind that is used here.
        """
        _check(private_key, certificate)
        self._key = private_key
        self._certificate = certificate
        self._chain = tuple(chain)

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate of the key."""
        return self._certificate

    @property
    def chain(self) -> Sequence[x509.Certificate]:
        """Intermediates, the issuer of the certificate first."""
        return self._chain

    @property
    def algorithm(self) -> SignatureAlgorithm:
        """The one algorithm of this key."""
        return "rsa-pkcs1v15-sha256" if isinstance(self._key, rsa.RSAPrivateKey) else "ecdsa-p256-sha256"

    def sign(self, data: bytes) -> bytes:
        """Return the signature over SHA-256 of `data`."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._certificate.subject.rfc4514_string()})"


class FileSigner(SoftSigner):
    """A `Signer` that was loaded from a key file."""


class SoftDecrypter:
    """A `Decrypter` whose private key is in this process's memory."""

    def __init__(self, private_key: PrivateKey, certificate: x509.Certificate) -> None:
        """Hold a key with its bureau-envelope certificate.

        Raises:
            KeyUnavailable: The key is not the certificate's, or not of a kind that is used here.
        """
        _check(private_key, certificate)
        self._key = private_key
        self._certificate = certificate

    @property
    def certificate(self) -> x509.Certificate:
        """The bureau-envelope certificate of the key."""
        return self._certificate

    def unwrap_rsa_oaep(self, encrypted_key: bytes) -> bytes:
        """Return the content key wrapped by RSAES-OAEP (SHA-256, MGF1-SHA-256).

        Raises:
            ValueError: It does not open, or this is not an RSA key.
        """
        if not isinstance(self._key, rsa.RSAPrivateKey):
            raise ValueError("not an RSA key")
        return self._key.decrypt(encrypted_key, _OAEP)

    def agree_p256(self, ephemeral_point: bytes) -> bytes:
        """Return the 32-octet ECDH shared secret with an uncompressed P-256 point.

        Raises:
            ValueError: Not a point of the curve, or this is not a P-256 key.
        """
        if not isinstance(self._key, ec.EllipticCurvePrivateKey):
            raise ValueError("not a P-256 key")
        if len(ephemeral_point) != 65 or ephemeral_point[0] != 4:
            raise ValueError("not an uncompressed point")
        peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), ephemeral_point)
        return self._key.exchange(ec.ECDH(), peer)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._certificate.subject.rfc4514_string()})"


def load_key_file(path: Path, pin: Secret) -> FileSigner:
    """Return the signer in a PKCS#12 file.

    Args:
        path: The key file.
        pin: What opens it.

    Raises:
        KeyUnavailable: The file cannot be read, the PIN does not open it, or it does not hold one fit key with its
            certificate. Nothing was signed.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_KEY_FILE + 1)
    except OSError as error:
        raise KeyUnavailable(
            reason=Text(f"密钥文件 {path} 读不出（{os_reason(error).zh}）", f"key file {path}: {os_reason(error).en}")
        ) from None
    if len(data) > _MAX_KEY_FILE:
        raise KeyUnavailable(reason=Text(f"{path} 不是密钥文件", f"{path} is not a key file"))
    try:
        key, certificate, chain = pkcs12.load_key_and_certificates(data, pin.reveal_secret().encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The container is opened by the PIN: a wrong PIN and a damaged file cannot be told apart.
        raise KeyUnavailable(
            reason=Text("口令不正确，或密钥文件已损坏", "the PIN is wrong, or the key file is damaged")
        ) from None
    if certificate is None or not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise KeyUnavailable(
            reason=Text(
                "密钥文件中没有可用的私钥和证书", "the key file does not hold a fit private key and its certificate"
            )
        )
    return FileSigner(key, certificate, chain)


def load_private_key(pem: str) -> PrivateKey:
    """Return the private key in an unencrypted PEM text, as it lies inside a card's own storage.

    Raises:
        KeyUnavailable: Not a key of a kind that is used here.
    """
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise KeyUnavailable(reason=Text("私钥无法解析", "the private key does not parse"))
    return key


def _check(key: PrivateKey, certificate: x509.Certificate) -> None:
    shape = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*shape) != certificate.public_key().public_bytes(*shape):
        raise KeyUnavailable(reason=Text("私钥与证书不配对", "the private key does not belong to the certificate"))
    fit = key.key_size >= 2048 if isinstance(key, rsa.RSAPrivateKey) else isinstance(key.curve, ec.SECP256R1)
    if not fit:
        raise KeyUnavailable(
            reason=Text("密钥应为 2048 位以上 RSA 或 P-256", "the key is neither RSA of 2048 bits or more nor P-256")
        )
