"""A second writer of reports and signed texts, from docs/spec alone, that can also write what nobody may.

Only signing itself is another's: a signer has a certificate and turns octets into a signature.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import zstandard
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.conformance.independent.octets import only

CHUNK = 262144
_SHA256 = bytes.fromhex("300b0609608648016503040201")
_DATA = bytes.fromhex("06092a864886f70d010701")
_SIGNED = bytes.fromhex("06092a864886f70d010702")
_SIGNATURES = {
    "rsa": bytes.fromhex("300d06092a864886f70d01010b0500"),
    "p256": bytes.fromhex("300a06082a8648ce3d040302"),
}


def tlv(identifier: int, *parts: bytes) -> bytes:
    """Return a DER element."""
    inside = b"".join(parts)
    if len(inside) < 0x80:
        return bytes([identifier, len(inside)]) + inside
    size = len(inside).to_bytes((len(inside).bit_length() + 7) // 8, "big")
    return bytes([identifier, 0x80 | len(size)]) + size + inside


def open_ended(identifier: int, *parts: bytes) -> bytes:
    """Return an element of indefinite length."""
    return bytes([identifier, 0x80]) + b"".join(parts) + b"\0\0"


def chunked(data: bytes, size: int = CHUNK) -> bytes:
    """Return the data as a run of OCTET STRINGs."""
    return b"".join(tlv(4, data[at : at + size]) for at in range(0, len(data), size))


def canonical(value: dict[str, Any]) -> bytes:
    """Return an object in its one spelling."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def named(der: bytes) -> bytes:
    """Return the issuerAndSerialNumber of a certificate, whatever else that says."""
    body = only(der, 0x30).inside(0x30)
    body.whole(0xA0)
    serial = body.whole(0x02)
    body.whole(0x30)
    return tlv(0x30, body.whole(0x30), serial)


def attribute(kind: str, *values: bytes) -> bytes:
    """Return a signed attribute; its kind as the hexadecimal OID element."""
    return tlv(0x30, bytes.fromhex(kind), tlv(0x31, *values))


def attributes(
    digest: bytes, signed_at: datetime, signer: bytes, header: bytes | None = None, *, time: bytes | None = None
) -> list[bytes]:
    """Return the signed attributes in their order."""
    stamp = tlv(0x17, signed_at.astimezone(UTC).strftime("%y%m%d%H%M%SZ").encode())
    own = hashlib.sha256(signer).digest()
    found = [
        attribute("06092a864886f70d010903", _DATA),
        attribute("06092a864886f70d010904", tlv(4, digest)),
        attribute("06092a864886f70d010905", time or stamp),
        attribute("060b2a864886f70d010910022f", tlv(0x30, tlv(0x30, tlv(0x30, tlv(4, own))))),
    ]
    if header is not None:
        found.append(attribute("060b2a864886f70d0109100204", tlv(0x30, tlv(0x0C, header), _DATA)))
    return sorted(found)


def signer_info(signer: Any, signed: Sequence[bytes], *, after: bytes = b"") -> bytes:
    """Return a SignerInfo over the attributes."""
    inside = b"".join(signed)
    return tlv(
        0x30,
        b"\x02\x01\x01",
        named(ders(signer)[0]),
        _SHA256,
        tlv(0xA0, inside),
        _SIGNATURES[key_type(signer.certificate.public_key())],
        tlv(4, signer.sign(tlv(0x31, inside))),
        after,
    )


def key_type(key: Any) -> str:
    """Return the kind of a public key."""
    return "rsa" if isinstance(key, rsa.RSAPublicKey) else "p256"


def ders(signer: Any) -> list[bytes]:
    """Return a signer's certificate and its intermediates."""
    return [c.public_bytes(Encoding.DER) for c in (signer.certificate, *signer.chain)]


def block(body: bytes, signer: Any, signed_at: datetime, *, beside: Iterable[bytes] | None = None) -> bytes:
    """Return the SignedData of a text, in DER."""
    own, *chain = ders(signer)
    signed = attributes(hashlib.sha256(body).digest(), signed_at, own)
    return signed_data(signer, signed, [own, *(chain if beside is None else beside)])


def signed_data(signer: Any, signed: Sequence[bytes], certificates: Iterable[bytes]) -> bytes:
    """Return the SignedData of a text with those attributes and certificates, in DER."""
    infos = tlv(0x31, signer_info(signer, signed))
    found = tlv(0xA0, *certificates)
    inside = tlv(0x30, b"\x02\x01\x01", tlv(0x31, _SHA256), tlv(0x30, _DATA), found, infos)
    return tlv(0x30, _SIGNED, tlv(0xA0, inside))


def armoured(body: bytes, octets: bytes) -> bytes:
    """Return a text with a signature block below it."""
    spelled = base64.b64encode(octets)
    lines = b"".join(spelled[at : at + 64] + b"\r\n" for at in range(0, len(spelled), 64))
    return body + b"-----BEGIN CMS-----\r\n" + lines + b"-----END CMS-----\r\n"


def text(body: bytes, signer: Any, signed_at: datetime) -> bytes:
    """Return a signed text; the body may be anything."""
    return armoured(body, block(body, signer, signed_at))


def recipient(der: bytes, key: bytes) -> bytes:
    """Return the recipient of a bureau-envelope certificate."""
    public_key = x509.load_der_x509_certificate(der).public_key()
    if isinstance(public_key, rsa.RSAPublicKey):
        algorithm = bytes.fromhex(
            "303806092a864886f70d010107302ba00d300b0609608648016503040201a11a301806092a864886f70d010108"
            "300b0609608648016503040201"
        )
        wrapped = public_key.encrypt(key, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))
        return tlv(0x30, b"\x02\x01\x00", named(der), algorithm, tlv(4, wrapped))
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    point = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    shared_info = bytes.fromhex("3015300b060960864801650304012da206040400000100")
    wrapping = X963KDF(hashes.SHA256(), 32, shared_info).derive(ephemeral.exchange(ec.ECDH(), public_key))
    public = tlv(0xA1, bytes.fromhex("300906072a8648ce3d0201"), tlv(3, b"\0", point))
    keys = tlv(0x30, tlv(0x30, named(der), tlv(4, aes_key_wrap(wrapping, key))))
    algorithm = bytes.fromhex("301506062b8104010b01300b060960864801650304012d")
    return tlv(0xA1, b"\x02\x01\x03", tlv(0xA0, public), algorithm, keys)


def envelope(frame: bytes, infos: bytes, key: bytes) -> bytes:
    """Return the AuthEnvelopedData around a frame."""
    nonce = os.urandom(12)
    sealed = AESGCM(key).encrypt(nonce, frame, None)
    algorithm = bytes.fromhex("301e060960864801650304012e3011040c") + nonce + bytes.fromhex("020110")
    inside = open_ended(0x30, _DATA, algorithm, open_ended(0xA0, chunked(sealed[:-16])))
    enveloped = open_ended(0x30, b"\x02\x01\x00", infos, inside, tlv(4, sealed[-16:]))
    return open_ended(0x30, bytes.fromhex("060b2a864886f70d0109100117"), open_ended(0xA0, enveloped))


def signed(
    inner: bytes,
    header: bytes,
    signer: Any,
    signed_at: datetime,
    *,
    size: int = CHUNK,
    beside: Iterable[bytes] | None = None,
) -> bytes:
    """Return a report around an envelope, whatever that is."""
    own, *chain = ders(signer)
    wanted = attributes(hashlib.sha256(inner).digest(), signed_at, own, header)
    data = open_ended(0x30, _DATA, open_ended(0xA0, open_ended(0x24, chunked(inner, size))))
    certificates = tlv(0xA0, own, *(chain if beside is None else beside))
    infos = tlv(0x31, signer_info(signer, wanted))
    inside = open_ended(0x30, b"\x02\x01\x01", tlv(0x31, _SHA256), data, certificates, infos)
    return open_ended(0x30, _SIGNED, open_ended(0xA0, inside))


def report(
    header: dict[str, Any],
    rows: Iterable[bytes],
    signer: Any,
    recipients: Sequence[bytes],
    signed_at: datetime,
    *,
    line_1: dict[str, Any] | None = None,
    changes: dict[str, Any] | None = None,
) -> bytes:
    """Return a report; `header` is the public header without what is known only now.

    Args:
        header: Its members but `suite`, `content_sha256` and `content_bytes`.
        rows: Lines after the first.
        signer: The card.
        recipients: Certificates.
        signed_at: Signing time.
        line_1: What to change in line 1.
        changes: What to change in the header.
    """
    key = os.urandom(32)
    infos = tlv(0x31, *sorted(recipient(der, key) for der in recipients))
    common = header | {"suite": f"{key_type(signer.certificate.public_key())}-sha256-aes256gcm"}
    first = {
        "salt": os.urandom(16).hex(),
        "signer_sha256": hashlib.sha256(ders(signer)[0]).hexdigest(),
        "recipients_sha256": hashlib.sha256(infos).hexdigest(),
    }
    content = b"".join(line + b"\n" for line in (canonical(common | first | (line_1 or {})), *rows))
    frame = zstandard.ZstdCompressor(write_checksum=True).compress(content)
    public = common | {"content_sha256": hashlib.sha256(content).hexdigest(), "content_bytes": len(content)}
    return signed(envelope(frame, infos, key), canonical(public | (changes or {})), signer, signed_at)
