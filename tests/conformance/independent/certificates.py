"""Certificates, revocation lists, roles and paths: docs/spec/trust.md (TRUST-10 to TRUST-17), read afresh."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise, permutations
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tests.conformance.independent.forms import machine_number, matching, tax_number
from tests.conformance.independent.octets import (
    BIT_STRING,
    INTEGER,
    OCTET_STRING,
    OID,
    SEQUENCE,
    Elements,
    Refused,
    bits,
    content,
    distinguished_name,
    integer,
    moment,
    need,
    object_id,
    only,
)

_ROLES = "2.25.147695742703116527850616076478095611811."
ROLES = {
    _ROLES + str(n): role for n, role in enumerate(("card", "bureau-result", "bureau-envelope", "trust", "station"), 1)
}
_EMAIL = "1.3.6.1.5.5.7.3.4"
_BASIC, _USAGE, _EXTENDED = "2.5.29.19", "2.5.29.15", "2.5.29.37"
_SIGNING, _ENCIPHERING, _AGREEING, _ISSUING, _LISTING = 0, 2, 4, 5, 6
_HASHES = {"b": hashes.SHA256(), "c": hashes.SHA384(), "d": hashes.SHA512()}
_SIGNATURES: dict[bytes, tuple[str, hashes.HashAlgorithm]] = {
    **{bytes.fromhex(f"300d06092a864886f70d01010{n}0500"): ("rsa", kind) for n, kind in _HASHES.items()},
    bytes.fromhex("300a06082a8648ce3d040302"): ("p256", hashes.SHA256()),
    bytes.fromhex("300a06082a8648ce3d040303"): ("p256", hashes.SHA384()),
    bytes.fromhex("300a06082a8648ce3d040304"): ("p256", hashes.SHA512()),
}
_RSA_KEY = bytes.fromhex("300d06092a864886f70d0101010500")
_P256_KEY = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")

Certificate = dict[str, Any]


def _boolean(data: bytes) -> bool:
    need(data in (b"\x00", b"\xff"), "a BOOLEAN in another form")
    return data == b"\xff"


def _extensions(run: Elements) -> dict[str, tuple[bool, bytes]]:
    found: dict[str, tuple[bool, bytes]] = {}
    for element in run.all():
        parts = only(element, SEQUENCE)
        kind, critical = object_id(parts.take(OID)), False
        if parts.peek() == 0x01:
            critical = _boolean(parts.take(0x01))
            need(critical, "a default that is written")
        need(kind not in found, "an extension stands twice")
        found[kind] = critical, parts.take(OCTET_STRING)
        parts.end()
    need(found, "an empty list of extensions")
    return found


def _signed(der: bytes) -> tuple[bytes, bytes, bytes]:
    parts = only(der, SEQUENCE)
    body, algorithm = parts.whole(SEQUENCE), parts.whole(SEQUENCE)
    signature = bits(parts.take(BIT_STRING))
    parts.end()
    return body, algorithm, signature


def _public_key(spki: bytes) -> tuple[str, Any]:
    algorithm = only(spki, SEQUENCE).whole(SEQUENCE)
    need(algorithm in (_RSA_KEY, _P256_KEY), "a key of no listed kind")
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        raise Refused("a key that is none") from None
    if isinstance(key, rsa.RSAPublicKey):
        need(2048 <= key.key_size <= 8192, "an RSA key of another size")
        return "rsa", key
    return "p256", key


def verify(signer: Certificate, algorithm: bytes, signature: bytes, data: bytes) -> bool:
    """Return whether a signature holds under a certificate's key."""
    kind, digest = _SIGNATURES.get(algorithm, ("", hashes.SHA256()))
    if kind != signer["key_type"]:
        return False
    try:
        if kind == "rsa":
            signer["key"].verify(signature, data, padding.PKCS1v15(), digest)
        else:
            signer["key"].verify(signature, data, ec.ECDSA(digest))
    except InvalidSignature:
        return False
    return True


def _basic(value: bytes) -> tuple[bool, int | None]:
    parts, authority, length = only(value, SEQUENCE), False, None
    if parts.peek() == 0x01:
        authority = _boolean(parts.take(0x01))
        need(authority, "a default that is written")
    if parts.peek() == INTEGER:
        length = integer(parts.take(INTEGER))
        need(authority and length >= 0, "a path length that says nothing")
    parts.end()
    return authority, length


def _usage(value: bytes) -> frozenset[int]:
    run = Elements(value)
    data = run.take(BIT_STRING)
    run.end()
    need(len(data) >= 2 and data[0] < 8, "a key usage in another form")
    return frozenset(n for n in range(8 * (len(data) - 1)) if data[1 + n // 8] & 0x80 >> n % 8)


def certificate(der: bytes) -> Certificate:
    """Return what this decoder needs of a certificate (ENV-5, TRUST-14, TRUST-15)."""
    need(len(der) <= 8192, "a certificate of more than 8192 octets")
    body, algorithm, signature = _signed(der)
    parts = only(body, SEQUENCE)
    need(integer(only(parts.whole(0xA0), 0xA0).take(INTEGER)) == 2, "not a certificate of version 3")
    serial = integer(parts.take(INTEGER))
    need(serial > 0, "a serial number that is not positive")
    need(parts.whole(SEQUENCE) == algorithm, "two signature algorithms")
    need(algorithm in _SIGNATURES, "a certificate with another signature algorithm")
    issuer = parts.whole(SEQUENCE)
    distinguished_name(issuer)
    validity = parts.inside(SEQUENCE)
    not_before, not_after = moment(validity.whole()), moment(validity.whole())
    validity.end()
    subject = parts.whole(SEQUENCE)
    spki = parts.whole(SEQUENCE)
    key_type, key = _public_key(spki)
    extensions: dict[str, tuple[bool, bytes]] = {}
    if parts.peek() is not None:
        outer = parts.inside(0xA3)
        extensions = _extensions(outer.inside(SEQUENCE))
        outer.end()
    parts.end()
    critical = {kind for kind, (is_critical, _) in extensions.items() if is_critical}
    need(critical <= {_BASIC, _USAGE, _EXTENDED}, "a critical extension that is not understood")
    authority, length = _basic(extensions[_BASIC][1]) if _BASIC in extensions else (False, None)
    extended = (
        [object_id(content(e)) for e in only(extensions[_EXTENDED][1], SEQUENCE).all()]
        if _EXTENDED in extensions
        else []
    )
    return {
        "der": der,
        "sha256": hashlib.sha256(der).hexdigest(),
        "body": body,
        "algorithm": algorithm,
        "signature": signature,
        "serial": serial,
        "issuer": issuer,
        "subject": subject,
        "attributes": distinguished_name(subject),
        "not_before": not_before,
        "not_after": not_after,
        "spki": spki,
        "key_type": key_type,
        "key": key,
        "authority": authority,
        "path_length": length,
        "usage": _usage(extensions[_USAGE][1]) if _USAGE in extensions else frozenset(),
        "extended": extended,
    }


def check_role(found: Certificate, role: str) -> None:
    """Refuse a certificate without exactly that role, or unfit for it (TRUST-10, TRUST-12, TRUST-14)."""
    usages = [usage for usage in found["extended"] if usage != _EMAIL]
    need([ROLES.get(usage) for usage in usages] == [role], "another role")
    need(not found["authority"], "a certificate with a role is an authority")
    wanted = _SIGNING
    if role == "bureau-envelope":
        wanted = _ENCIPHERING if found["key_type"] == "rsa" else _AGREEING
    need(wanted in found["usage"], "a key usage that does not fit")


def card_identity(found: Certificate) -> tuple[str, int, str]:
    """Return taxpayer, machine and card number in a card's subject, each exactly once (TRUST-11)."""
    values = []
    for kind in ("2.5.4.97", "2.5.4.11", "2.5.4.5"):
        named = [value for attribute, value in found["attributes"] if attribute == kind]
        need(len(named) == 1, "a subject that does not name one taxpayer, machine and card")
        values.append(named[0])
    return tax_number(values[0]), machine_number(values[1]), matching("[0-9A-Za-z-]{1,40}", values[2])


def revocation_list(der: bytes) -> dict[str, Any]:
    """Return what this decoder needs of a revocation list (TRUST-16)."""
    need(len(der) <= 1 << 20, "a revocation list of more than 1 MiB")
    body, algorithm, signature = _signed(der)
    parts = only(body, SEQUENCE)
    if parts.peek() == INTEGER:
        need(integer(parts.take(INTEGER)) == 1, "not a revocation list of version 2")
    need(parts.whole(SEQUENCE) == algorithm, "two signature algorithms")
    issuer, this_update, next_update = parts.whole(SEQUENCE), moment(parts.whole()), moment(parts.whole())
    revoked = set()
    if parts.peek() == SEQUENCE:
        for entry in parts.inside(SEQUENCE).all():
            fields = only(entry, SEQUENCE)
            revoked.add(integer(fields.take(INTEGER)))
            moment(fields.whole())
            if fields.peek() is not None:
                _extensions(fields.inside(SEQUENCE))
            fields.end()
    number = None
    if parts.peek() is not None:
        outer = parts.inside(0xA0)
        kinds = _extensions(outer.inside(SEQUENCE))
        outer.end()
        need(not any(critical for critical, _ in kinds.values()), "a revocation list that is not understood")
        if "2.5.29.20" in kinds:
            run = Elements(kinds["2.5.29.20"][1])
            number = integer(run.take(INTEGER))
            run.end()
    parts.end()
    return {
        "der": der,
        "body": body,
        "algorithm": algorithm,
        "signature": signature,
        "issuer": issuer,
        "this_update": this_update,
        "next_update": next_update,
        "revoked": revoked,
        "number": number,
    }


def trust(
    roots: Iterable[bytes],
    authorities: Iterable[bytes] = (),
    lists: Iterable[bytes] = (),
    former: Iterable[bytes] = (),
) -> dict[str, list[dict[str, Any]]]:
    """Return what is believed, from DER octets."""
    return {
        "roots": [certificate(der) for der in roots],
        "authorities": [certificate(der) for der in authorities],
        "lists": [revocation_list(der) for der in lists],
        "former": [certificate(der) for der in former],
    }


def issued(child: Certificate, parent: Certificate) -> bool:
    """Return whether one certificate is by the name and the key of the other."""
    return child["issuer"] == parent["subject"] and verify(
        parent, child["algorithm"], child["signature"], child["body"]
    )


def _paths(path: list[Certificate], believed: Mapping[str, Any]) -> Iterable[list[Certificate]]:
    if any(path[-1]["der"] == root["der"] for root in believed["roots"]):
        yield path
        return
    for root in believed["roots"]:
        if issued(path[-1], root):
            yield [*path, root]
    if len(path) <= 4:
        for authority in believed["authorities"]:
            if all(authority["der"] != c["der"] for c in path) and issued(path[-1], authority):
                yield from _paths([*path, authority], believed)


def _check_path(path: Sequence[Certificate], believed: Mapping[str, Any], at: datetime) -> None:
    _, *authorities = path
    need(len(authorities) <= 5, "more than four authorities between")
    for below, authority in enumerate(authorities):
        need(authority["authority"] and _ISSUING in authority["usage"], "an issuer that is no authority")
        need(not any(usage in ROLES for usage in authority["extended"]), "an authority with a role")
        length = authority["path_length"]
        need(length is None or below <= length, "a path that is too long for an authority")
    for found in path:
        need(found["not_before"] <= at <= found["not_after"], "a certificate that is not valid now")
    known = [*believed["roots"], *believed["authorities"], *believed["former"], *authorities]
    for child, parent in pairwise(path):
        for listed in believed["lists"]:
            if listed["issuer"] != child["issuer"]:
                continue
            if verify(parent, listed["algorithm"], listed["signature"], listed["body"]):
                need(_LISTING in parent["usage"], "a list by an authority that makes none")
                need(child["serial"] not in listed["revoked"], "a revoked certificate")
                continue
            others = [other for other in known if other["subject"] == listed["issuer"]]
            need(
                any(verify(other, listed["algorithm"], listed["signature"], listed["body"]) for other in others),
                "a list that nobody of that name signed",
            )


def check_path(
    leaf: Certificate, beside: Sequence[Certificate], believed: Mapping[str, Any], at: datetime, *, ordered: bool = True
) -> None:
    """Prove a certificate, with those that came beside it, all of them on the path (ENV-17, TRUST-12 to TRUST-16)."""
    failure = Refused("a certificate beside the path, or no path to a root")
    for order in permutations(beside) if not ordered else [beside]:
        path = [leaf, *order]
        if not all(issued(child, parent) for child, parent in pairwise(path)):
            continue
        for candidate in _paths(path, believed):
            try:
                _check_path(candidate, believed, at)
            except Refused as refused:
                failure = refused
            else:
                return
    raise failure
