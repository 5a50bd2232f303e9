"""SignerInfo and signed text: docs/spec/signed-text.md and ENV-5, ENV-8 to ENV-10, read afresh."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tests.conformance.independent.certificates import Certificate, certificate, check_path, check_role, verify
from tests.conformance.independent.octets import (
    INTEGER,
    OCTET_STRING,
    OID,
    SEQUENCE,
    SET,
    UTF8,
    Elements,
    Refused,
    content,
    in_set_order,
    issuer_and_serial,
    moment,
    need,
    object_id,
    only,
)

SHA256 = bytes.fromhex("300b0609608648016503040201")
ID_DATA = bytes.fromhex("06092a864886f70d010701")
ID_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
SIGNATURES = {"rsa": bytes.fromhex("300d06092a864886f70d01010b0500"), "p256": bytes.fromhex("300a06082a8648ce3d040302")}
_RSA_ENCRYPTION = bytes.fromhex("300d06092a864886f70d0101010500")
CONTENT_TYPE, DIGEST, TIME = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4", "1.2.840.113549.1.9.5"
CERTIFICATE, HINT = "1.2.840.113549.1.9.16.2.47", "1.2.840.113549.1.9.16.2.4"
CAPABILITIES = "1.2.840.113549.1.9.15"


def bundle(data: bytes) -> list[Certificate]:
    """Return the certificates in the content of the certificates element (ENV-5)."""
    elements = Elements(data).all()
    need(1 <= len(elements) <= 8 and len(set(elements)) == len(elements), "no certificate, too many, or one twice")
    return [certificate(element) for element in elements]


def _signing_certificate(value: bytes, signer: Certificate, *, foreign: bool) -> None:
    certs = only(value, SEQUENCE)
    ids = certs.inside(SEQUENCE)
    certs.end()
    named = ids.inside(SEQUENCE)
    ids.end()
    need(named.take(OCTET_STRING) == bytes.fromhex(signer["sha256"]), "signingCertificateV2 names another certificate")
    if foreign and named.peek() is not None:
        pair = named.inside(SEQUENCE)
        names = pair.inside(SEQUENCE)
        need(names.take(0xA4) == signer["issuer"], "signingCertificateV2 names another issuer")
        names.end()
        serial = pair.take(INTEGER)
        need(
            int.from_bytes(serial, "big", signed=True) == signer["serial"], "signingCertificateV2 names another number"
        )
        pair.end()
    named.end()


def signer_info(infos: bytes, certificates: list[Certificate], digest: bytes, *, report: bool) -> dict[str, Any]:
    """Check the one SignerInfo in the content of signerInfos (ENV-8, ENV-9, TXT-4, TXT-7)."""
    run = Elements(infos)
    info = run.inside(SEQUENCE)
    run.end()
    need(info.take(INTEGER) == b"\x01", "a SignerInfo of another version")
    named = issuer_and_serial(info.whole(SEQUENCE))
    need(info.whole(SEQUENCE) == SHA256, "another digest algorithm")
    signed = info.take(0xA0)
    algorithm, signature = info.whole(SEQUENCE), info.take(OCTET_STRING)
    info.end()

    attributes = Elements(signed).all()
    in_set_order(attributes)
    values: dict[str, bytes] = {}
    for attribute in attributes:
        pair = only(attribute, SEQUENCE)
        kind = object_id(pair.take(OID))
        need(kind not in values, "an attribute stands twice")
        of_one = pair.inside(SET)
        values[kind] = of_one.whole()
        of_one.end()
        pair.end()
    foreign = not report and CAPABILITIES in values
    expected = {CONTENT_TYPE, DIGEST, TIME, CERTIFICATE} | ({HINT} if report else set())
    need(set(values) == expected | ({CAPABILITIES} if foreign else set()), "other attributes")

    signer = certificates[0]
    if foreign:
        of_that_name = [c for c in certificates if (c["issuer"], c["serial"]) == named]
        need(len(of_that_name) == 1, "the signer's certificate is missing or stands there twice")
        signer = of_that_name[0]
    need((signer["issuer"], signer["serial"]) == named, "the first certificate is not the signer's")
    need(values[CONTENT_TYPE] == ID_DATA, "another content type")
    need(values[DIGEST][0] == OCTET_STRING and content(values[DIGEST]) == digest, "the message digest does not hold")
    _signing_certificate(values[CERTIFICATE], signer, foreign=foreign)
    wanted = SIGNATURES[signer["key_type"]]
    need(algorithm == (_RSA_ENCRYPTION if foreign and signer["key_type"] == "rsa" else wanted), "another signature")
    as_set = _element(SET, signed)
    need(verify(signer, wanted, signature, as_set), "the signature does not hold")
    header = b""
    if report:
        hint = only(values[HINT], SEQUENCE)
        header = hint.take(UTF8)
        need(hint.whole() == ID_DATA, "another content type in the hint")
        hint.end()
    signed_at = moment(values[TIME])
    need(signed_at < datetime(9999, 12, 31, 16, tzinfo=UTC), "a signing time without spelling in China time")
    return {
        "signer": signer,
        "beside": [c for c in certificates if c is not signer],
        "ordered": not foreign,
        "time": signed_at,
        "digest": hashlib.sha256(as_set).hexdigest(),
        "header": header,
    }


def _element(identifier: int, data: bytes) -> bytes:
    size = len(data)
    if size < 0x80:
        return bytes([identifier, size]) + data
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([identifier, 0x80 | len(octets)]) + octets + data


_BEGIN, _END = b"-----BEGIN CMS-----\r\n", b"-----END CMS-----\r\n"


def split_text(data: bytes) -> tuple[bytes, bytes]:
    """Return the canonical body and the octets of the block (TXT-1, TXT-3, TXT-5, TXT-6)."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    text = re.sub(rb"(?:\r?\n)+\Z", b"", data)
    need(text != data, "the last line is not ended")
    if b"\r" in text:
        rest = text.replace(b"\r\n", b"")
        need(b"\r" not in rest and b"\n" not in rest, "line ends of several kinds")
    else:
        text = text.replace(b"\n", b"\r\n")
    data = text + b"\r\n"
    at = data.find(b"-----BEGIN")
    need(at >= 0 and data.startswith(_BEGIN, at), "no signature block")
    need(at == 0 or data[at - 2 : at] == b"\r\n", "a marker inside a line")
    body, block = data[:at], data[at + len(_BEGIN) :]
    end = block.find(_END)
    need(end >= 0, "a signature block without end")
    armour, after = block[:end], block[end + len(_END) :]
    need(not after, "text after the signature")
    try:
        body.decode("utf-8")
        octets = base64.b64decode(armour.replace(b"\r\n", b""), validate=True)
    except (binascii.Error, UnicodeDecodeError):
        raise Refused("not UTF-8 and base64") from None
    spelled = base64.b64encode(octets)
    again = b"".join(spelled[n : n + 64] + b"\r\n" for n in range(0, len(spelled), 64))
    need(again == armour, "base64 in another spelling")
    return body, octets


def signed_text(
    data: bytes, role: str, limit: int, believed: Mapping[str, Any] | Callable[[bytes], Mapping[str, Any]], at: datetime
) -> tuple[bytes, dict[str, Any]]:
    """Prove a signed text and return its canonical body and what its signature says (TXT-1 to TXT-9).

    `believed` may be a function of the body: a trust file brings its own roots.
    """
    need(len(data) <= min(limit, 8 << 20), "too large")
    body, octets = split_text(data)
    outer = only(octets, SEQUENCE)
    need(outer.whole(OID) == ID_SIGNED_DATA, "not SignedData")
    explicit = outer.inside(0xA0)
    outer.end()
    parts = explicit.inside(SEQUENCE)
    explicit.end()
    need(parts.take(INTEGER) == b"\x01", "SignedData of another version")
    need(parts.take(SET) == SHA256, "another digest algorithm")
    need(parts.take(SEQUENCE) == ID_DATA, "content inside the signature")
    certificates = bundle(parts.take(0xA0))
    info = signer_info(parts.take(SET), certificates, hashlib.sha256(body).digest(), report=False)
    parts.end()
    check_role(info["signer"], role)
    found = believed(body) if callable(believed) else believed
    check_path(info["signer"], info["beside"], found, at, ordered=info["ordered"])
    return body, info
