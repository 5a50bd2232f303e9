"""The one profile of HTTP Message Signatures (RFC 9421) that stations and bureaus speak (GW-20 to GW-27).

Pure: text and bytes in, text and bytes out. One label, one order of components and parameters, so that a request has
one signature input; whoever verifies refuses every other spelling before it looks at a key.

What is *not* here: whether a request is fresh (300 s) and whether its nonce was seen before. Only the verifier's shell
has a clock and a memory; `SignatureInput` shows it `created` and `nonce`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from shared.errors import SignatureRefused
from shared.keys.port import Signer
from shared.text import Text

LABEL: Final = "taxferry"
TAG: Final = "taxferry"
WINDOW_SECONDS: Final = 300
"""How far `created` may lie from the verifier's clock."""
NONCE_MEMORY_SECONDS: Final = 600
"""How long a verifier remembers nonces: both halves of the window."""

Algorithm = Literal["rsa-v1_5-sha256", "ecdsa-p256-sha256"]
_ALGORITHMS: Final[dict[str, Algorithm]] = {
    "rsa-pkcs1v15-sha256": "rsa-v1_5-sha256",
    "ecdsa-p256-sha256": "ecdsa-p256-sha256",
}
DERIVED: Final = ("@method", "@authority", "@path", "@query")
FIELDS: Final = ("content-digest", "content-range", "repr-digest")
"""Header fields that are covered whenever a request carries them, in this order."""

_INPUT: Final = re.compile(
    LABEL
    + r'=\(("[@a-z-]{1,32}"(?: "[@a-z-]{1,32}"){0,9})\)'
    + r';created=([1-9][0-9]{0,11});nonce="([A-Za-z0-9_-]{16,64})";keyid="([0-9a-f]{64})"'
    + r';alg="(rsa-v1_5-sha256|ecdsa-p256-sha256)";tag="'
    + TAG
    + r'"'
)
_SIGNATURE: Final = re.compile(LABEL + r"=:([A-Za-z0-9+/]{40,1400}={0,2}):")
_MAX_FIELD: Final = 4096


@dataclass(frozen=True)
class SignatureInput:
    """What a request says about its own signature, read but not yet verified.

    Attributes:
        components: The covered components, in order.
        created: POSIX seconds at which the request was signed; the caller checks the window.
        nonce: Unique per request; the caller checks that it is new.
        keyid: Hex SHA-256 of the station certificate's DER.
        algorithm: How it was signed.
        parameters: The `@signature-params` value, as it stands under the signature.
        signature: The signature's octets (ECDSA: r and s, 32 octets each).
    """

    components: tuple[str, ...]
    created: int
    nonce: str
    keyid: str
    algorithm: Algorithm
    parameters: str
    signature: bytes


def content_digest(sha256: bytes) -> str:
    """Return the value of a `Content-Digest` or `Repr-Digest` field (RFC 9530) for a SHA-256."""
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"


def parse_content_digest(value: str) -> bytes:
    """Return the SHA-256 in a `Content-Digest` or `Repr-Digest` field of the one spelling that `content_digest` writes.

    Raises:
        SignatureRefused: Any other value.
    """
    match = re.fullmatch(r"sha-256=:([A-Za-z0-9+/]{43}=):", value)
    found = base64.b64decode(match[1]) if match else b""
    if len(found) != 32 or content_digest(found) != value:
        raise SignatureRefused(reason=Text("Content-Digest 写法不对", "Content-Digest is not of the profile"))
    return found


def sign_request(
    method: str,
    url: str,
    body_digest: str | None,
    signer: Signer,
    *,
    created: int,
    nonce: str,
    keyid: str,
    fields: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the header fields that make a request signed.

    Args:
        method: `GET` or `PUT`.
        url: The absolute URL as it will be sent: ASCII, already percent-encoded.
        body_digest: `content_digest` of the body, or None without a body.
        signer: The station key.
        created: Now, in POSIX seconds.
        nonce: 16 to 64 characters of `A-Za-z0-9_-`, never used before.
        keyid: Fingerprint of the station certificate.
        fields: Further covered fields (`Content-Range`, `Repr-Digest`), for an upload in parts.

    Returns:
        `Signature-Input`, `Signature`, and the covered header fields themselves.

    Raises:
        KeyUnavailable: The key cannot be used now. Nothing was signed.
        ValueError: An argument outside the profile: a defect of the caller.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment or not url.isascii():
        raise ValueError(url)
    covered = {name.lower(): value for name, value in (fields or {}).items()}
    if body_digest is not None:
        covered["content-digest"] = body_digest
    if not set(covered) <= set(FIELDS):
        raise ValueError(f"fields outside the profile: {sorted(covered)}")
    components = (*DERIVED, *(name for name in FIELDS if name in covered))
    algorithm = _ALGORITHMS[signer.algorithm]
    parameters = _parameters(components, created, nonce, keyid, algorithm)
    if _INPUT.fullmatch(f"{LABEL}={parameters}") is None:
        raise ValueError(parameters)
    base = signature_base(
        components,
        parameters,
        method=method,
        authority=authority_of(url),
        path=parts.path,
        query=parts.query,
        fields=covered,
    )
    signature = signer.sign(base)
    if algorithm == "ecdsa-p256-sha256":
        r, s = decode_dss_signature(signature)
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return {
        **{_FIELD_SPELLING[name]: covered[name] for name in components if name in covered},
        "Signature-Input": f"{LABEL}={parameters}",
        "Signature": f"{LABEL}=:{base64.b64encode(signature).decode()}:",
    }


_FIELD_SPELLING: Final = {
    "content-digest": "Content-Digest",
    "content-range": "Content-Range",
    "repr-digest": "Repr-Digest",
}


def authority_of(url: str) -> str:
    """Return the `@authority` of a URL: host in lower case, and the port unless it is the scheme's own."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return host if parts.port is None or parts.port == default else f"{host}:{parts.port}"


def _parameters(components: tuple[str, ...], created: int, nonce: str, keyid: str, algorithm: Algorithm) -> str:
    covered = " ".join(f'"{name}"' for name in components)
    return f'({covered});created={created};nonce="{nonce}";keyid="{keyid}";alg="{algorithm}";tag="{TAG}"'


def signature_base(
    components: tuple[str, ...],
    parameters: str,
    *,
    method: str,
    authority: str,
    path: str,
    query: str,
    fields: Mapping[str, str],
) -> bytes:
    """Return the octets that are signed (RFC 9421, section 2.5).

    Args:
        components: The covered components, in order.
        parameters: The `@signature-params` value.
        method: Request method, in capitals.
        authority: Host and, unless it is the scheme's own, port; lower case.
        path: Path as sent, percent-encoded; empty counts as `/`.
        query: Query as sent, without `?`; empty and absent are the same.
        fields: Values of the covered header fields, by lower-case name.

    Raises:
        ValueError: A component without a value, or text that is not ASCII or has a line end.
    """
    derived = {"@method": method, "@authority": authority, "@path": path or "/", "@query": f"?{query}"}
    lines = []
    for name in components:
        value = derived.get(name) if name.startswith("@") else fields.get(name)
        if value is None:
            raise ValueError(name)
        lines.append(f'"{name}": {value.strip()}')
    lines.append(f'"@signature-params": {parameters}')
    if any("\n" in line or "\r" in line for line in lines):
        raise ValueError("a line end in a component")
    return "\n".join(lines).encode("ascii")


def parse_signature(headers: Mapping[str, str]) -> SignatureInput:
    """Return what the request says about its signature.

    Args:
        headers: Header fields of the request, in any case.

    Raises:
        SignatureRefused: No signature, two, or another spelling than the profile's; covered components that are not
            exactly those the profile demands for the fields this request carries.
    """
    lowered = _lowered(headers)
    given, signed = lowered.get("signature-input", ""), lowered.get("signature", "")
    if not given or not signed:
        raise SignatureRefused(reason=Text("请求没有签名", "the request is not signed"))
    match = _INPUT.fullmatch(given) if len(given) <= _MAX_FIELD else None
    octets = _SIGNATURE.fullmatch(signed) if len(signed) <= _MAX_FIELD else None
    if match is None or octets is None:
        raise SignatureRefused(reason=Text("请求签名的写法不对", "the request signature is not of the profile"))
    components = tuple(part.strip('"') for part in match[1].split(" "))
    if components != (*DERIVED, *(name for name in FIELDS if name in lowered)):
        raise SignatureRefused(
            reason=Text("请求签名没有覆盖规定的内容", "the request signature does not cover what it must")
        )
    try:
        signature = base64.b64decode(octets[1], validate=True)
    except binascii.Error:
        raise SignatureRefused(
            reason=Text("请求签名的写法不对", "the request signature is not of the profile")
        ) from None
    algorithm: Algorithm = "rsa-v1_5-sha256" if match[5] == "rsa-v1_5-sha256" else "ecdsa-p256-sha256"
    return SignatureInput(
        components, int(match[2]), match[3], match[4], algorithm, given.removeprefix(f"{LABEL}="), signature
    )


def verify_request(
    method: str, authority: str, path: str, query: str, headers: Mapping[str, str], certificate: x509.Certificate
) -> None:
    """Check the signature of a request against one certificate.

    That the body has the `Content-Digest`, that the request is fresh, its nonce new and the certificate on file is
    the caller's to check.

    Args:
        method: As received.
        authority: The `Host` field, or the authority this server is known by.
        path: As received, percent-encoded.
        query: As received, without `?`.
        headers: Header fields of the request, in any case.
        certificate: The certificate that `keyid` named.

    Raises:
        SignatureRefused: It does not verify. Nothing about the request can be believed.
    """
    given = parse_signature(headers)
    lowered = _lowered(headers)
    refused = SignatureRefused(reason=Text("请求签名验证失败", "the request signature does not verify"))
    try:
        base = signature_base(
            given.components,
            given.parameters,
            method=method.upper(),
            authority=authority.lower(),
            path=path,
            query=query,
            fields=lowered,
        )
    except ValueError:
        raise refused from None
    key = certificate.public_key()
    try:
        if given.algorithm == "rsa-v1_5-sha256" and isinstance(key, rsa.RSAPublicKey):
            key.verify(given.signature, base, padding.PKCS1v15(), hashes.SHA256())
        elif (
            given.algorithm == "ecdsa-p256-sha256"
            and isinstance(key, ec.EllipticCurvePublicKey)
            and isinstance(key.curve, ec.SECP256R1)
            and len(given.signature) == 64
        ):
            r, s = int.from_bytes(given.signature[:32], "big"), int.from_bytes(given.signature[32:], "big")
            key.verify(encode_dss_signature(r, s), base, ec.ECDSA(hashes.SHA256()))
        else:
            raise refused
    except InvalidSignature:
        raise refused from None


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    lowered: dict[str, str] = {}
    for name, value in headers.items():
        if name.lower() in lowered:
            raise SignatureRefused(reason=Text("请求头重复", "a header field stands twice"))
        lowered[name.lower()] = value
    return lowered
