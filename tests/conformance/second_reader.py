"""A second reader of reports and signed text, written from `docs/spec/` alone.

It shares nothing with the program: no import from it, another way of working (everything in memory, a whole tree first),
so that a mistake that writer and reader share shows up here as a disagreement. It is no example of how to read large
files. Numbers in comments are the requirements.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import zstandard
from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap
from cryptography.x509.oid import NameOID

ROLE = "2.25.147695742703116527850616076478095611811."
CARD, RESULT, ENVELOPE, TRUST, STATION = (ROLE + str(number) for number in range(1, 6))  # TRUST-10

DATA = "06092a864886f70d010701"
SIGNED = "06092a864886f70d010702"
ENVELOPED = "060b2a864886f70d0109100117"
ALGORITHM_SHA256 = "300b0609608648016503040201"  # ENV-10
ALGORITHM_RSA = "300d06092a864886f70d01010b0500"
ALGORITHM_RSA_PLAIN = "300d06092a864886f70d0101010500"
ALGORITHM_ECDSA = "300a06082a8648ce3d040302"
ALGORITHM_OAEP = "303806092a864886f70d010107302ba00d300b0609608648016503040201a11a301806092a864886f70d010108300b0609608648016503040201"
ALGORITHM_ECDH = "301506062b8104010b01300b060960864801650304012d"
ALGORITHM_EC_KEY = "300906072a8648ce3d0201"
CONTENT_TYPE, MESSAGE_DIGEST, SIGNING_TIME = (f"06092a864886f70d0109{last:02x}" for last in (3, 4, 5))
CAPABILITIES = "06092a864886f70d01090f"
SIGNING_CERTIFICATE = "060b2a864886f70d010910022f"
CONTENT_HINT = "060b2a864886f70d0109100204"
CHUNK = 262144

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class Refused(Exception):
    """The octets are not what the specification says."""


def need(true: object, why: str) -> None:
    if not true:
        raise Refused(why)


# --- octets to a tree ----------------------------------------------------------------------------------------------


@dataclass
class Node:
    """One element: its octets, its content octets, its parts if it is constructed."""

    tag: int
    raw: bytes
    content: bytes
    indefinite: bool
    parts: list[Node]

    @property
    def hex(self) -> str:
        return self.raw.hex()


def node(data: bytes, at: int = 0, depth: int = 0) -> tuple[Node, int]:
    """Return the element at a place and the place after it."""
    need(at + 2 <= len(data) and depth < 40, "ends early")
    tag, first = data[at], data[at + 1]
    need(tag & 0x1F != 0x1F, "high tag")
    start = at + 2
    if first == 0x80:
        need(tag & 0x20, "an indefinite length on a primitive element")
        parts, place = [], start
        while data[place : place + 2] != b"\0\0":
            part, place = node(data, place, depth + 1)
            parts.append(part)
        return Node(tag, data[at : place + 2], data[start:place], True, parts), place + 2
    length = first
    if first > 0x80:
        octets = data[start : start + first - 0x80]
        length = int.from_bytes(octets, "big")
        need(octets[:1] not in (b"", b"\0") and length > 0x7F, "not the shortest length")  # ENV-2
        start += first - 0x80
    end = start + length
    need(end <= len(data), "ends early")
    parts = []
    if tag & 0x20:
        place = start
        while place < end:
            part, place = node(data[:end], place, depth + 1)
            parts.append(part)
    return Node(tag, data[at:end], data[start:end], False, parts), end


def whole(data: bytes) -> Node:
    found, end = node(data)
    need(end == len(data), "something follows")  # ENV-4
    return found


def shape(found: Node, tag: int, count: int | None, *, indefinite: bool = False) -> list[Node]:
    need(found.tag == tag and found.indefinite is indefinite, f"not {tag:02x}")
    need(count is None or len(found.parts) == count, f"not {count} parts")
    return found.parts


def joined(found: Node, tag: int) -> bytes:
    """Return the content of a chunked string (ENV-3)."""
    chunks = shape(found, tag, None, indefinite=True)
    need(chunks, "no chunk")
    for number, chunk in enumerate(chunks, 1):
        need(chunk.tag == 4 and not chunk.indefinite, "not a chunk")
        size = len(chunk.content)
        need(size == CHUNK or (number == len(chunks) and 0 < size < CHUNK), "a chunk of another size")
    return b"".join(chunk.content for chunk in chunks)


def definite(found: Node) -> None:
    need(not found.indefinite, "an indefinite length")
    for part in found.parts:
        definite(part)


# --- signature -----------------------------------------------------------------------------------------------------


@dataclass
class Signature:
    """What a signer info says, proven up to the root."""

    certificate: x509.Certificate
    digest: str
    hint: bytes


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def signature(
    certificates: Node, infos: Node, content: bytes, root: x509.Certificate, role: str, *, hinted: bool
) -> Signature:
    for found in (certificates, infos):
        definite(found)
    bundle = shape(certificates, 0xA0, None)
    need(1 <= len(bundle) <= 8, "number of certificates")  # ENV-5
    (info,) = shape(infos, 0x31, 1)  # ENV-8
    version, issuer_and_serial, digest_algorithm, signed, algorithm, value = shape(info, 0x30, 6)
    need(version.hex == "020101" and digest_algorithm.hex == ALGORITHM_SHA256, "version or digest")
    attributes: dict[str, Node] = {}
    raws = []
    for attribute in shape(signed, 0xA0, None):
        kind, values = shape(attribute, 0x30, 2)
        (attributes[kind.hex],) = shape(values, 0x31, 1)
        raws.append(attribute.raw)
    need(raws == sorted(raws) and len(raws) == len(attributes), "order of attributes")
    foreign = not hinted and CAPABILITIES in attributes  # TXT-7
    expected = {CONTENT_TYPE, MESSAGE_DIGEST, SIGNING_TIME, SIGNING_CERTIFICATE}
    expected |= {CONTENT_HINT} if hinted else set()
    expected |= {CAPABILITIES} if foreign else set()
    need(set(attributes) == expected, "attributes")
    need(attributes[CONTENT_TYPE].hex == DATA, "content type")
    need(attributes[MESSAGE_DIGEST].raw == b"\x04\x20" + sha256(content), "message digest")
    moment = attributes[SIGNING_TIME]
    need(re.fullmatch(rb"\x17\x0d\d{12}Z|\x18\x0f20[5-9]\d{11}Z", moment.raw), "signing time")

    bound = attributes[SIGNING_CERTIFICATE]
    order = bundle if foreign else bundle[:1]
    chosen = [each for each in order if sha256(each.raw) in bound.raw]
    need(len(chosen) == 1, "the bound certificate")
    leaf = chosen[0]
    if not foreign:
        need(bound.raw == bytes.fromhex("30263024302204 20".replace(" ", "")) + sha256(leaf.raw), "binding")
    certificate = x509.load_der_x509_certificate(leaf.raw)
    fields = [part for part in shape(leaf.parts[0], 0x30, None) if part.tag != 0xA0]
    need(b"".join((fields[2].raw, fields[0].raw)) == issuer_and_serial.content, "issuer and serial number")

    octets = b"\x31" + signed.raw[1:]
    key = certificate.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            need(algorithm.hex == (ALGORITHM_RSA_PLAIN if foreign else ALGORITHM_RSA), "signature algorithm")
            key.verify(value.content, octets, padding.PKCS1v15(), hashes.SHA256())
        else:
            need(isinstance(key, ec.EllipticCurvePublicKey) and algorithm.hex == ALGORITHM_ECDSA, "signature algorithm")
            assert isinstance(key, ec.EllipticCurvePublicKey)
            key.verify(value.content, octets, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Refused("signature") from None
    prove(leaf, [each for each in bundle if each is not leaf], root, role)
    hint = b""
    if hinted:
        text, kind = shape(attributes[CONTENT_HINT], 0x30, 2)
        need(text.tag == 0x0C and kind.hex == DATA, "content hint")
        hint = text.content
    return Signature(certificate, sha256(octets).hex(), hint)  # REP-6


def prove(leaf: Node, rest: Sequence[Node], root: x509.Certificate, role: str) -> None:
    """ENV-17, ENV-18, in the small: the path in the file's order, up to one root, without lists."""
    path = [x509.load_der_x509_certificate(each.raw) for each in (leaf, *rest)] + [root]
    for each in (leaf, *rest):
        body, outside, bits = shape(each, 0x30, 3)
        inside = [part for part in body.parts if part.tag != 0xA0][1]
        need(inside.raw == outside.raw and bits.tag == 3 and bits.content[:1] == b"\0", "spelling")  # ENV-5
    for subject, issuer in itertools.pairwise(path):
        try:
            subject.verify_directly_issued_by(issuer)
        except (InvalidSignature, ValueError, TypeError):
            raise Refused("chain") from None
    usage = path[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    need([oid.dotted_string for oid in usage if oid.dotted_string.startswith(ROLE)] == [role], "role")


# --- the report ----------------------------------------------------------------------------------------------------


@dataclass
class Report:
    """A report that was proven and opened."""

    digest: str
    header: dict[str, Any]
    line_1: dict[str, Any]
    rows: list[bytes]


def canonical(data: bytes) -> dict[str, Any]:
    """FORM-1, FORM-2: what is written again is the same."""
    try:
        value = json.loads(data)
    except ValueError:
        raise Refused("not JSON") from None
    need(isinstance(value, dict), "not an object")
    again = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    need(again == data, "not canonical")
    return dict(value)


MEMBERS = (
    "format suite taxpayer_id machine_no stamp kind period_start period_end card_no sequence nonce invoice_count "
    "content_sha256 content_bytes"
)
HEADER = frozenset(MEMBERS.split())


def read_report(data: bytes, root: x509.Certificate, key: Key, recipient: x509.Certificate) -> Report:
    """Prove and open a report."""
    kind, explicit = shape(whole(data), 0x30, 2, indefinite=True)
    need(kind.hex == SIGNED, "not signed data")
    (signed,) = shape(explicit, 0xA0, 1, indefinite=True)
    version, digests, encapsulated, certificates, infos = shape(signed, 0x30, 5, indefinite=True)
    need(version.hex == "020101" and digests.hex == "310d" + ALGORITHM_SHA256, "version or digest")
    kind, explicit = shape(encapsulated, 0x30, 2, indefinite=True)
    need(kind.hex == DATA, "not data")
    (octets,) = shape(explicit, 0xA0, 1, indefinite=True)
    inner = joined(octets, 0x24)
    proven = signature(certificates, infos, inner, root, CARD, hinted=True)

    header = canonical(proven.hint)
    need(set(header) == HEADER, "members of the header")  # REP-1
    subject = {each.oid: each.value for each in proven.certificate.subject}
    identity = (header["taxpayer_id"], str(header["machine_no"]), header["card_no"])
    names = (NameOID.ORGANIZATION_IDENTIFIER, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.SERIAL_NUMBER)
    need(identity == tuple(subject[name] for name in names), "another card")  # ENV-18
    suite = "rsa" if isinstance(proven.certificate.public_key(), rsa.RSAPublicKey) else "p256"
    need(header["suite"] == f"{suite}-sha256-aes256gcm", "suite")  # ENV-9

    recipients, frame = open_envelope(inner, key, recipient, header["content_bytes"])
    content = inflate(frame, header["content_bytes"])
    need(hashlib.sha256(content).hexdigest() == header["content_sha256"], "content digest")  # REP-4
    need(content.endswith(b"\n"), "last line")  # REP-10
    first, *rows = content[:-1].split(b"\n")
    line_1 = canonical(first)
    bound = {
        "signer_sha256": proven.certificate.fingerprint(hashes.SHA256()).hex(),
        "recipients_sha256": hashlib.sha256(recipients).hexdigest(),
        "salt": line_1.get("salt"),
    }
    public = {name: value for name, value in header.items() if not name.startswith("content_")}
    need(line_1 == public | bound, "line 1")  # REP-20, ENV-15
    for row in rows:
        need(0 < len(row) <= 1 << 20, "size of a line")
        need(canonical(row)["type"] in ("summary", "rate", "invoice", "trailer"), "type of row")
    return Report(proven.digest, header, line_1, rows)


def open_envelope(inner: bytes, key: Key, recipient: x509.Certificate, content_bytes: int) -> tuple[bytes, bytes]:
    """Return the recipientInfos and the decrypted frame."""
    kind, explicit = shape(whole(inner), 0x30, 2, indefinite=True)
    need(kind.hex == ENVELOPED, "not authenticated enveloped data")
    (enveloped,) = shape(explicit, 0xA0, 1, indefinite=True)
    version, recipients, encrypted, tag = shape(enveloped, 0x30, 4, indefinite=True)
    need(version.hex == "020100" and tag.tag == 4 and len(tag.content) == 16, "version or tag")
    kind, algorithm, octets = shape(encrypted, 0x30, 3, indefinite=True)
    definite(algorithm)
    match = re.fullmatch("301e060960864801650304012e3011040c(.{24})020110", algorithm.hex)
    need(kind.hex == DATA and match, "content encryption")
    assert match is not None
    ciphertext = joined(octets, 0xA0)
    need(content_bytes <= 1000 * len(ciphertext), "ratio")  # ENV-11
    definite(recipients)
    infos = shape(recipients, 0x31, None)
    raws = [each.raw for each in infos]
    need(0 < len(raws) <= 16 and raws == sorted(set(raws)), "recipients")  # ENV-6
    mine = [content_key for each in infos if (content_key := unwrap(each, key, recipient)) is not None]
    need(len(mine) == 1 and len(mine[0]) == 32, "not for us")
    try:
        return recipients.raw, AESGCM(mine[0]).decrypt(bytes.fromhex(match[1]), ciphertext + tag.content, None)
    except InvalidTag:
        raise Refused("tag") from None


def unwrap(info: Node, key: Key, recipient: x509.Certificate) -> bytes | None:
    """Return the content key if this recipient info is ours; check it in any case."""
    if info.tag == 0x30:
        version, name, algorithm, encrypted = shape(info, 0x30, 4)
        need(version.hex == "020100" and algorithm.hex == ALGORITHM_OAEP and encrypted.tag == 4, "key transport")
        if not named(name, recipient) or not isinstance(key, rsa.RSAPrivateKey):
            return None
        try:
            return key.decrypt(encrypted.content, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))
        except ValueError:
            raise Refused("not for us") from None
    version, originator, algorithm, keys = shape(info, 0xA1, 4)
    need(version.hex == "020103" and algorithm.hex == ALGORITHM_ECDH, "key agreement")
    (public,) = shape(originator, 0xA0, 1)
    kind, point = shape(public, 0xA1, 2)
    need(kind.hex == ALGORITHM_EC_KEY and point.tag == 3 and point.content[:2] == b"\0\4", "originator")
    (entry,) = shape(keys, 0x30, 1)
    name, wrapped = shape(entry, 0x30, 2)
    need(wrapped.tag == 4 and len(wrapped.content) == 40, "wrapped key")
    if not named(name, recipient) or not isinstance(key, ec.EllipticCurvePrivateKey):
        return None
    try:
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point.content[1:])
        secret = key.exchange(ec.ECDH(), theirs)
        # X9.63 with one round: secret, counter, shared info.
        shared_info = bytes.fromhex("3015" + "300b060960864801650304012d" + "a206" + "0404" + "00000100")
        return aes_key_unwrap(sha256(secret + b"\0\0\0\1" + shared_info), wrapped.content)
    except (ValueError, InvalidUnwrap):
        raise Refused("not for us") from None


def named(name: Node, certificate: x509.Certificate) -> bool:
    issuer, serial = shape(name, 0x30, 2)
    return issuer.raw == certificate.issuer.public_bytes() and int.from_bytes(serial.content, "big") == (
        certificate.serial_number
    )


def inflate(frame: bytes, size: int) -> bytes:
    """ENV-7."""
    try:
        parameters = zstandard.get_frame_parameters(frame)
        need(frame[:4] == b"\x28\xb5\x2f\xfd" and parameters.dict_id == 0, "kind of frame")
        need(parameters.window_size <= 8 << 20, "window")
        reader = zstandard.ZstdDecompressor(max_window_size=8 << 20).decompressobj()
        content: bytes = reader.decompress(frame)
    except zstandard.ZstdError:
        raise Refused("frame") from None
    need(reader.eof and not reader.unused_data and len(content) == size, "size of the content")
    return content


# --- signed text ---------------------------------------------------------------------------------------------------


def read_text(data: bytes, root: x509.Certificate, role: str) -> tuple[str, list[tuple[str, str]]]:
    """Prove signed text; return its title and its lines."""
    data = data.removeprefix(b"\xef\xbb\xbf")  # TXT-5
    stripped = data.rstrip(b"\r\n")
    need(re.fullmatch(rb"(\r?\n)+", data[len(stripped) :]), "last line")
    ends = set(re.findall(rb"\r?\n|\r", stripped))
    need(ends in ({b"\r\n"}, {b"\n"}), "line ends")
    text = stripped.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b"\r\n"
    match = re.fullmatch(rb"(.*\r\n)-----BEGIN CMS-----\r\n([A-Za-z0-9+/=\r\n]*)-----END CMS-----\r\n", text, re.DOTALL)
    need(match and b"-----BEGIN" not in match[1], "block")
    assert match is not None
    octets = base64.b64decode(match[2].replace(b"\r\n", b""))
    base = base64.b64encode(octets).decode()
    again = "".join(base[at : at + 64] + "\r\n" for at in range(0, len(base), 64))
    need(again.encode() == match[2], "wrapping")  # TXT-3
    kind, explicit = shape(whole(octets), 0x30, 2)
    (signed,) = shape(explicit, 0xA0, 1)
    version, digests, encapsulated, certificates, infos = shape(signed, 0x30, 5)
    need((kind.hex, version.hex) == (SIGNED, "020101") and encapsulated.hex == "300b" + DATA, "signed data")  # TXT-4
    need(digests.hex == "310d" + ALGORITHM_SHA256, "digest")
    signature(certificates, infos, match[1], root, role, hinted=False)
    title, *lines = match[1].decode().removesuffix("\r\n").split("\r\n")
    pairs = []
    for line in lines:
        label, colon, value = line.partition(":")  # FORM-5
        need(colon and label and (not value or (value[0] == " " and value != " ")), "line")
        pairs.append((label, value[1:]))
    return title, pairs


def refuses(read: Callable[[], object]) -> bool:
    """Return whether a reading is refused, by us or by a library that we call."""
    try:
        read()
    except (Refused, ValueError, TypeError, KeyError, IndexError, Warning):
        return True
    except (x509.InvalidVersion, x509.ExtensionNotFound, UnsupportedAlgorithm):
        return True
    return False
