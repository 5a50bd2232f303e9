"""The two things that a private key may be asked for.

A key that lies on a card or a token never leaves it; so nobody here asks for the key itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from cryptography import x509

SignatureAlgorithm = Literal["rsa-pkcs1v15-sha256", "ecdsa-p256-sha256"]


class Signer(Protocol):
    """A private key that signs, with its certificate."""

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate of the key."""
        ...

    @property
    def chain(self) -> Sequence[x509.Certificate]:
        """Intermediates between the certificate and the root, the issuer of the certificate first; often empty."""
        ...

    @property
    def algorithm(self) -> SignatureAlgorithm:
        """The one algorithm of this key."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Return the signature over SHA-256 of `data`: PKCS#1 v1.5, or ECDSA in DER.

        Raises:
            KeyUnavailable: The key or its device cannot be used now. Nothing was signed.
        """
        ...


class Decrypter(Protocol):
    """A private key that opens envelopes, with its certificate."""

    @property
    def certificate(self) -> x509.Certificate:
        """The bureau-envelope certificate of the key."""
        ...

    def unwrap_rsa_oaep(self, encrypted_key: bytes) -> bytes:
        """Return the content key wrapped by RSAES-OAEP (SHA-256, MGF1-SHA-256).

        Raises:
            ValueError: It does not open.
        """
        ...

    def agree_p256(self, ephemeral_point: bytes) -> bytes:
        """Return the 32-octet ECDH shared secret with an uncompressed P-256 point.

        Raises:
            ValueError: Not a point of the curve.
        """
        ...
