"""A second decoder of the interchange files, written from docs/spec alone.

It imports nothing of the programs; the tests beside it compare their answers with its own. Four kinds of file, four
functions, plain dictionaries, one error. Everything is read into memory: this is a judge, not a reader for a bureau.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from tests.conformance.independent import forms
from tests.conformance.independent.certificates import (
    ROLES,
    card_identity,
    certificate,
    check_path,
    check_role,
    issued,
    revocation_list,
    verify,
)
from tests.conformance.independent.certificates import trust as trust
from tests.conformance.independent.content import public_header, read_content
from tests.conformance.independent.octets import (
    BIT_STRING,
    INTEGER,
    OCTET_STRING,
    SEQUENCE,
    SET,
    Refused,
    bits,
    content,
    head,
    in_set_order,
    issuer_and_serial,
    need,
    only,
)
from tests.conformance.independent.signatures import ID_DATA, bundle, signed_text, signer_info

CHUNK = 262144
_OUTER = bytes.fromhex(
    "3080 06092a864886f70d010702 a080 3080 020101 310d300b0609608648016503040201 3080 06092a864886f70d010701 a080 2480"
)
_INNER = bytes.fromhex("3080 060b2a864886f70d0109100117 a080 3080 020100")
_OAEP = bytes.fromhex(
    "303806092a864886f70d010107302ba00d300b0609608648016503040201"
    "a11a301806092a864886f70d010108300b0609608648016503040201"
)
_ECDH = bytes.fromhex("301506062b8104010b01300b060960864801650304012d")
_AES_WRAP = bytes.fromhex("300b060960864801650304012d")
_EC_PUBLIC_KEY = bytes.fromhex("300906072a8648ce3d0201")
_GCM = bytes.fromhex("301e060960864801650304012e3011040c"), bytes.fromhex("020110")


# --- the report -----------------------------------------------------------------------------------------------------


def _literal(data: bytes, at: int, octets: bytes) -> int:
    need(data.startswith(octets, at), "another structure than the specification says")
    return at + len(octets)


def _chunks(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the octets in a run of chunks and the place after its end-of-contents (ENV-3)."""
    found: list[bytes] = []
    while data[at : at + 2] != b"\0\0":
        need(not found or len(found[-1]) == CHUNK, "a short chunk that is not the last")
        identifier, start, at = head(data, at, len(data))
        need(identifier == OCTET_STRING and 1 <= at - start <= CHUNK, "not a chunk")
        found.append(data[start:at])
    need(found, "no chunk")
    return b"".join(found), at + 2


def _definite(data: bytes, at: int, identifier: int) -> tuple[bytes, int]:
    found, _, stop = head(data, at, len(data))
    need(found == identifier, "another element than the specification says")
    return data[at:stop], stop


def _recipients(element: bytes) -> list[dict[str, Any]]:
    """Return the recipients of an envelope (ENV-6, ENV-11)."""
    need(len(content(element)) <= 65536, "recipients of more than 65536 octets")
    members = only(element, SET).all()
    need(1 <= len(members) <= 16, "no recipient, or too many")
    in_set_order(members)
    found = []
    for member in members:
        if member[0] == SEQUENCE:
            parts = only(member, SEQUENCE)
            need(parts.take(INTEGER) == b"\0", "a recipient of another version")
            named = issuer_and_serial(parts.whole(SEQUENCE))
            need(parts.whole(SEQUENCE) == _OAEP, "another key transport")
            point = None
            wrapped = parts.take(OCTET_STRING)
            need(256 <= len(wrapped) <= 1024, "an encrypted key of another size")
        else:
            parts = only(member, 0xA1)
            need(parts.take(INTEGER) == b"\3", "a recipient of another version")
            originator = parts.inside(0xA0)
            public = originator.inside(0xA1)
            originator.end()
            need(public.whole(SEQUENCE) == _EC_PUBLIC_KEY, "another originator key")
            point = bits(public.take(BIT_STRING))
            public.end()
            need(len(point) == 65 and point[0] == 4, "not an uncompressed point of P-256")
            need(parts.whole(SEQUENCE) == _ECDH, "another key agreement")
            keys = parts.inside(SEQUENCE)
            key = keys.inside(SEQUENCE)
            keys.end()
            named = issuer_and_serial(key.whole(SEQUENCE))
            wrapped = key.take(OCTET_STRING)
            key.end()
            need(len(wrapped) == 40, "a wrapped key of another size")
        parts.end()
        found.append({"issuer": named[0], "serial": named[1], "point": point, "wrapped": wrapped})
    need(len({(one["issuer"], one["serial"]) for one in found}) == len(found), "a certificate stands twice")
    return found


def _inner(data: bytes) -> dict[str, Any]:
    """Return the parts of the AuthEnvelopedData (ENV-1 to ENV-4)."""
    at = _literal(data, 0, _INNER)
    infos, at = _definite(data, at, SET)
    recipients = _recipients(infos)
    at = _literal(data, at, b"\x30\x80" + ID_DATA)
    algorithm, at = _definite(data, at, SEQUENCE)
    nonce = algorithm[len(_GCM[0]) : -len(_GCM[1])]
    need(len(nonce) == 12 and algorithm == _GCM[0] + nonce + _GCM[1], "another content encryption")
    at = _literal(data, at, b"\xa0\x80")
    encrypted, at = _chunks(data, at)
    at = _literal(data, at, b"\0\0\x04\x10")
    tag = data[at : at + 16]
    need(len(tag) == 16, "an element ends early")
    at = _literal(data, at + 16, bytes(6))
    need(at == len(data), "octets after the envelope")
    return {"infos": infos, "recipients": recipients, "nonce": nonce, "encrypted": encrypted, "tag": tag}


def _content_key(envelope: Mapping[str, Any], key: Any, der: bytes) -> bytes:
    own = certificate(der)
    check_role(own, "bureau-envelope")
    named = [r for r in envelope["recipients"] if (r["issuer"], r["serial"]) == (own["issuer"], own["serial"])]
    need(named, "not sealed to this key")
    recipient = named[0]
    try:
        if isinstance(key, rsa.RSAPrivateKey):
            need(recipient["point"] is None, "not a recipient for an RSA key")
            oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
            found = key.decrypt(recipient["wrapped"], oaep)
        else:
            need(recipient["point"] is not None, "not a recipient for a P-256 key")
            point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), recipient["point"])
            shared_info = b"\x30\x15" + _AES_WRAP + bytes.fromhex("a206040400000100")
            kdf = X963KDF(hashes.SHA256(), 32, shared_info)
            found = aes_key_unwrap(kdf.derive(key.exchange(ec.ECDH(), point)), recipient["wrapped"])
    except (ValueError, InvalidUnwrap):
        raise Refused("the content key does not open") from None
    need(len(found) == 32, "a content key of another size")
    return found


def _decompressed(frame: bytes, size: int) -> bytes:
    """Return the content of exactly one zstd frame (ENV-7, ENV-11)."""
    need(frame[:4] == b"\x28\xb5\x2f\xfd" and len(frame) > 4, "not a zstd frame")
    need(frame[4] & 0x0B == 0, "a frame with a dictionary or a reserved bit")
    try:
        parameters = zstandard.get_frame_parameters(frame)
        need(parameters.window_size <= 8 << 20, "a frame with a larger window")
        stream = zstandard.ZstdDecompressor(max_window_size=8 << 20).decompressobj()
        found = bytearray()
        for at in range(0, len(frame), 4096):
            need(not stream.eof, "octets after the frame")
            found += stream.decompress(frame[at : at + 4096])
            need(len(found) <= size, "more content than the header says")
        need(stream.eof and not stream.unused_data, "a frame that is not closed, or octets after it")
    except zstandard.ZstdError:
        raise Refused("not a zstd frame") from None
    return bytes(found)


def decode_report(
    data: bytes, believed: Mapping[str, Any], at: datetime, *, key: Any = None, key_certificate: bytes = b""
) -> dict[str, Any]:
    """Prove a `.dat`; with the bureau's key, open it too (REP-*, ENV-*).

    Args:
        data: The file.
        believed: What `trust` returned.
        at: The moment of judgement.
        key: A private key of the bureau.
        key_certificate: Its certificate.
    """
    need(len(data) <= 1 << 30, "too large")
    place = _literal(data, 0, _OUTER)
    signed, place = _chunks(data, place)
    place = _literal(data, place, bytes(4))
    certificates, place = _definite(data, place, 0xA0)
    infos, place = _definite(data, place, SET)
    place = _literal(data, place, bytes(6))
    need(place == len(data), "octets after the file")
    envelope = _inner(signed)

    found = signer_info(content(infos), bundle(content(certificates)), hashlib.sha256(signed).digest(), report=True)
    signer, header = found["signer"], public_header(found["header"])
    need(header["suite"] == f"{signer['key_type']}-sha256-aes256gcm", "a suite that is not the key's")
    need(header["content_bytes"] <= 1000 * len(envelope["encrypted"]), "content out of proportion")
    check_role(signer, "card")
    identity = header["taxpayer_id"], header["machine_no"], header["card_no"]
    need(card_identity(signer) == identity, "another card's signature")
    check_path(signer, found["beside"], believed, at)
    report = {
        "header": header,
        "digest": found["digest"],
        "signer_sha256": signer["sha256"],
        "signing_time": found["time"],
        "recipients": [(one["issuer"], one["serial"]) for one in envelope["recipients"]],
    }
    if key is None:
        return report

    content_key = _content_key(envelope, key, key_certificate)
    try:
        frame = AESGCM(content_key).decrypt(envelope["nonce"], envelope["encrypted"] + envelope["tag"], None)
    except InvalidTag:
        raise Refused("the tag does not hold") from None
    opened = _decompressed(frame, header["content_bytes"])
    need(len(opened) == header["content_bytes"], "content of another size")
    need(hashlib.sha256(opened).hexdigest() == header["content_sha256"], "content with another hash")
    bound = hashlib.sha256(envelope["infos"]).hexdigest()
    return report | {"content": read_content(opened, header, signer["sha256"], bound)}


# --- the texts ------------------------------------------------------------------------------------------------------

_HEX64, _RECEIPT, _CARD_NO = "[0-9a-f]{64}", "[0-9A-Za-z._-]{1,64}", "[0-9A-Za-z-]{1,40}"


def _number(text: str, lowest: int = 1, highest: int = (1 << 53) - 1) -> int:
    found = int(forms.matching("0|[1-9][0-9]{0,15}", text))
    need(lowest <= found <= highest, "a number out of range")
    return found


def _identity(values: Mapping[str, str]) -> dict[str, Any]:
    return {
        "taxpayer_id": forms.tax_number(values["税号"]),
        "machine_no": forms.machine_number(values["分机号"]),
        "stamp": forms.copy_time(values["抄税时间"]),
        "report_digest": forms.matching(_HEX64, values["报告摘要"]),
    }


def _fixed(body: bytes, title: str, labels: list[str]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    found_title, found = forms.lines(body)
    need(found_title == title, "another title")
    need([label for label, _ in found[: len(labels)]] == labels, "other lines, or in another order")
    return dict(found[: len(labels)]), found[len(labels) :]


def parse_result(body: bytes) -> dict[str, Any]:
    """Return the result in a body without signature (RES-3 to RES-6)."""
    labels = "税号 分机号 卡号 抄税时间 报告摘要 清卡随机数 受理回执 结果序号 上次清卡回执 结果 错误号 说明 税局时间"
    authority = "锁死日期 下期起始 上传截止日期 离线开票时长"
    values, rest = _fixed(body, "税渡 报税结果 1", [*labels.split(), *authority.split()])
    limits: dict[str, int] = {}
    for label, value in rest:
        kind = forms.matching("离线限额 [0-9]{3}", label)[-3:]
        need(not limits or kind > max(limits), "limits in another order")
        limits[kind] = forms.fen(value)
        need(limits[kind] >= 0, "a limit below zero")
    need(values["结果"] in ("报税成功", "报税失败"), "neither success nor failure")
    success = values["结果"] == "报税成功"
    need(len(values["说明"]) <= 500, "a longer explanation")
    if success:
        need(not values["错误号"], "a success with an error number")
    else:
        forms.matching("[0-9A-Za-z@._-]{1,32}", values["错误号"])
        need(values["说明"], "a failure without explanation")
        need(not limits and not any(values[label] for label in authority.split()), "a failure that authorises")
    days = {label: forms.day(values[label]) if values[label] else None for label in authority.split()[:3]}
    number = _number(values["结果序号"])
    last = _number(values["上次清卡回执"]) if values["上次清卡回执"] else None
    need(last is None or last < number, "a clear receipt for a result to come")
    if success and values["抄税时间"].endswith("0000"):
        need(days["锁死日期"] and days["下期起始"], "a success for a period report without its days")
    return {
        **_identity(values),
        "card_no": forms.matching(_CARD_NO, values["卡号"]),
        "nonce": forms.matching("[0-9a-f]{32}", values["清卡随机数"]),
        "receipt_no": forms.matching(_RECEIPT, values["受理回执"]),
        "result_no": number,
        "last_acknowledged": last,
        "outcome": "success" if success else "failure",
        "code": values["错误号"],
        "message": values["说明"],
        "bureau_time": forms.time(values["税局时间"]),
        "lock_date": days["锁死日期"],
        "next_period_start": days["下期起始"],
        "upload_deadline": days["上传截止日期"],
        "offline_hours": _number(values["离线开票时长"], 0, 99999) if values["离线开票时长"] else None,
        "offline_limits": limits,
    }


def _signature(found: tuple[bytes, dict[str, Any]]) -> dict[str, Any]:
    body, info = found
    return {
        "body_sha256": hashlib.sha256(body).hexdigest(),
        "signer_sha256": info["signer"]["sha256"],
        "signing_time": info["time"],
    }


def decode_result(data: bytes, believed: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    """Prove a `.txt` (RES-*, TXT-*)."""
    need(len(data) <= 65536, "too large")
    need(data, "a copy that never finished")
    need(data.removeprefix(b"\xef\xbb\xbf").strip(b"\r\n") != b"Y", "still processing")
    found = signed_text(data, "bureau-result", 65536, believed, at)
    return parse_result(found[0]) | _signature(found)


def decode_receipt(data: bytes, believed: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    """Prove the receipt of an upload (RES-30)."""
    found = signed_text(data, "bureau-result", 65536, believed, at)
    labels = "税号 分机号 抄税时间 报告摘要 受理回执 受理时间 查询等待秒数"
    values, rest = _fixed(found[0], "税渡 受理回执 1", labels.split())
    need(not rest, "additional lines")
    seconds = _number(values["查询等待秒数"], 0, 604800)
    return {
        **_identity(values),
        "receipt_no": forms.matching(_RECEIPT, values["受理回执"]),
        "received_at": forms.time(values["受理时间"]),
        "ask_after_seconds": seconds,
    } | _signature(found)


def decode_ack(data: bytes, believed: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    """Prove an `.ack` (ACK-1 to ACK-3)."""
    found = signed_text(data, "card", 65536, believed, at)
    labels = "税号 分机号 卡号 抄税时间 报告摘要 结果序号 结果摘要 清卡时间 锁死日期"
    values, rest = _fixed(found[0], "税渡 清卡回执 1", labels.split())
    need(not rest, "additional lines")
    ack = {
        **_identity(values),
        "card_no": forms.matching(_CARD_NO, values["卡号"]),
        "result_no": _number(values["结果序号"]),
        "result_sha256": forms.matching(_HEX64, values["结果摘要"]),
        "cleared_at": forms.time(values["清卡时间"]),
        "lock_date": forms.day(values["锁死日期"]),
    }
    card = ack["taxpayer_id"], ack["machine_no"], ack["card_no"]
    need(card_identity(found[1]["signer"]) == card, "another card's signature")
    return ack | _signature(found)


# --- the trust file -------------------------------------------------------------------------------------------------


def _octets(text: str, limit: int) -> bytes:
    need(len(text) <= (limit + 2) // 3 * 4, "too large before it is decoded")
    try:
        found = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise Refused("not base64") from None
    need(
        base64.b64encode(found).decode() == text and 0 < len(found) <= limit, "base64 in another spelling, or too large"
    )
    return found


def parse_trust(body: bytes) -> dict[str, Any]:
    """Return what a trust file says; of its signatures only the handovers are checked (TRUST-2 to TRUST-5)."""
    title, found = forms.lines(body)
    version = _number(forms.matching("税渡 信任文件 [0-9]+", title).rpartition(" ")[2])
    left = iter([*found, ("", "")])
    label, value = next(left)

    def take(wanted: str) -> str:
        nonlocal label, value
        need(label == wanted, f"no line {wanted}")
        taken = value
        label, value = next(left)
        return taken

    def numbered(prefix: str, limit: int, size: int) -> list[bytes]:
        taken: list[bytes] = []
        while label == f"{prefix} {len(taken) + 1}":
            need(len(taken) < limit, "too many lines of a kind")
            taken.append(_octets(take(label), size))
        return taken

    need(take("格式") == "1", "another version of the format")
    issued_at = forms.time(take("签发时间"))
    first_root = _number(take("最早有效根"))
    roots = [_octets(take("根证书 1"), 8192)]
    handovers: list[bytes] = []
    while label == f"根证书 {len(roots) + 1}":
        need(len(roots) < 32, "too many roots")
        roots.append(_octets(take(label), 8192))
        handovers.append(_octets(take(f"根交接 {len(roots)}"), 8192))
    need(first_root <= len(roots), "the oldest root that is believed is not there")
    authorities = numbered("签发机构", 16, 8192)
    roles = {role: numbered(f"证书 {role}", 8, 8192) for role in ("bureau-result", "bureau-envelope", "trust")}
    lists = numbered("吊销列表", 16, 1 << 20)
    deadlines: dict[str, int] = {}
    while label.startswith("申报截止 "):
        month = forms.matching("[0-9]{4}-(0[1-9]|1[0-2])", label.removeprefix("申报截止 "))
        need(len(deadlines) < 120 and (not deadlines or month > max(deadlines)), "deadlines too many or out of order")
        deadlines[month] = _number(take(label))
        forms.day(f"{month}-{deadlines[month]:02d}")
    gateways = []
    while label == f"税局地址 {len(gateways) + 1}":
        need(len(gateways) < 8, "too many addresses")
        gateways.append(take(label))
        need(re.fullmatch(r"https?://[!-~]{1,200}", gateways[-1]), "not an address")
    need((label, value) == ("", "") and next(left, None) is None, "other lines, or in another order")

    parsed = [certificate(der) for der in roots]
    for root in parsed:
        need(root["authority"] and 5 in root["usage"] and issued(root, root), "a root that does not sign itself")
        need(not set(root["extended"]) & set(ROLES), "a root with a role")
    for old, new, der in zip(parsed, parsed[1:], handovers, strict=False):
        handover = certificate(der)
        need(handover["subject"] == new["subject"] and handover["spki"] == new["spki"], "a handover of another root")
        need(handover["authority"] and issued(handover, old), "a handover that the root before did not sign")
        need(new["spki"] != old["spki"], "a new root with the old key")
    for role, ders in roles.items():
        for der in ders:
            check_role(certificate(der), role)
    trust((), authorities, lists)
    return {
        "version": version,
        "issued_at": issued_at,
        "first_root": first_root,
        "roots": roots,
        "handovers": handovers,
        "authorities": authorities,
        "certificates": roles,
        "lists": lists,
        "deadlines": deadlines,
        "gateways": gateways,
    }


def _store(found: Mapping[str, Any]) -> dict[str, Any]:
    first = found["first_root"] - 1
    return trust(found["roots"][first:], found["authorities"], found["lists"], found["roots"][:first])


def _check_successor(new: Mapping[str, Any], held: Mapping[str, Any]) -> None:
    for part in ("roots", "handovers"):
        need(new[part][: len(held[part])] == held[part], "roots that do not begin as those that are held")
    need(new["version"] >= held["version"], "outdated")
    if new["version"] == held["version"]:
        need(new["body_sha256"] == held["body_sha256"], "another text of the same version")
    need(new["first_root"] >= held["first_root"] and new["issued_at"] >= held["issued_at"], "mixed with older parts")
    still = {certificate(der)["spki"]: certificate(der) for der in (*new["roots"], *new["authorities"])}
    for authority in still.values():
        numbers = [
            [
                one["number"] if one["number"] is not None else -1
                for one in map(revocation_list, of["lists"])
                if one["issuer"] == authority["subject"]
                and verify(authority, one["algorithm"], one["signature"], one["body"])
            ]
            for of in (held, new)
        ]
        if numbers[0]:
            need(numbers[1] and max(numbers[1]) >= max(numbers[0]), "mixed with an older revocation list")


def decode_trust(
    data: bytes, at: datetime, *, root: bytes | None = None, held: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Prove a trust file by one root that is believed, or as the successor of one that is held (TRUST-1 to TRUST-9)."""
    need(data, "a copy that never finished")

    def believed(body: bytes) -> Mapping[str, Any]:
        store = _store(parse_trust(body))
        if held is not None:
            store["lists"] += [revocation_list(der) for der in held["lists"]]
            store["former"] += [certificate(der) for der in (*held["roots"], *held["authorities"])]
        return store

    found = signed_text(data, "trust", 2 << 20, believed, at)
    read = parse_trust(found[0]) | _signature(found)
    need(root is None or root in read["roots"], "the root that is believed is not in the list")
    if held is not None:
        _check_successor(read, held)
    return read
