"""Text that a person can read, with one detached signature below it (requirements TXT-*).

    title and lines, UTF-8, CRLF
    -----BEGIN CMS-----
    … DER SignedData without content, base64 in lines of 64 …
    -----END CMS-----

What a text editor changes without changing the meaning is tolerated: a BOM, LF for CRLF throughout, blank lines at the
end. The body handed on is always the canonical one, the octets under the signature.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509

from shared.envelope import cms, der, suites
from shared.envelope.chain import TrustStore
from shared.envelope.cms import SignerInfo
from shared.envelope.der import Malformed, Reader
from shared.envelope.opening import check_bundle, clock_warnings
from shared.envelope.roles import ROLE_NAMES, Role, role_of
from shared.errors import FormatError, SignatureRefused
from shared.keys.port import Signer
from shared.text import Text

MAX_TEXT_BYTES: Final = 8 << 20
"""Room for a trust file with long revocation lists; readers of smaller kinds check their own limit first."""
_BOM: Final = b"\xef\xbb\xbf"
_CRLF: Final = b"\r\n"
_BEGIN: Final = b"-----BEGIN CMS-----\r\n"
_END: Final = b"-----END CMS-----\r\n"
_COLUMNS: Final = 64
_LINE_ENDS: Final = re.compile(rb"(?:\r?\n)+")
_ENCAPSULATED: Final = der.sequence(cms.ID_DATA)


def sign_text(body: bytes, signer: Signer, *, signing_time: datetime) -> bytes:
    """Return the body with the signature below it.

    Args:
        body: Canonical text: UTF-8, every line ended by CRLF, as `shared.canonical.render_lines` makes it.
        signer: The key.
        signing_time: Claimed time.

    Raises:
        KeyUnavailable: The key cannot be used now. Nothing was signed.
        ValueError: The body is not canonical: a defect of the caller.
    """
    if _normalised(body) != body or not body.endswith(_CRLF) or b"-----BEGIN" in body or body.startswith(_BOM):
        raise ValueError("the body is not canonical text")
    attributes = cms.signed_attributes(signer, suites.sha256(body), signing_time=signing_time, hint=None)
    signed_data = der.sequence(
        der.integer(1),
        der.set_of([suites.SHA256]),
        _ENCAPSULATED,
        cms.certificate_set(signer),
        cms.signer_infos(signer, attributes),
    )
    return body + _armour(der.sequence(cms.ID_SIGNED_DATA, der.element(der.context(0), signed_data)))


def _armour(content_info: bytes) -> bytes:
    text = base64.b64encode(content_info)
    lines = [text[at : at + _COLUMNS] + _CRLF for at in range(0, len(text), _COLUMNS)]
    return b"".join((_BEGIN, *lines, _END))


@dataclass(frozen=True)
class SignedText:
    """Text whose signature holds against the certificate inside; nobody vouches for that one yet.

    Attributes:
        body: The canonical octets under the signature.
        signer: The signer's certificate.
        chain: The intermediates that came with it.
        signing_time: As the signer claims.
    """

    body: bytes
    signer: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    signing_time: datetime


@dataclass(frozen=True)
class ProvenText:
    """Text that is untouched and from a signer in the right role.

    Attributes:
        body: The canonical octets under the signature: UTF-8 is not checked here.
        signer: The signer's certificate.
        signing_time: As the signer claims.
        warnings: What a person should know although the text is accepted.
    """

    body: bytes
    signer: x509.Certificate
    signing_time: datetime
    warnings: tuple[Text, ...]


def read_signed_text(data: bytes, role: Role, *, error: type[FormatError]) -> SignedText:
    """Check everything about signed text that needs no trust store.

    Whoever can make certificates passes this: use `prove_text` where anything is decided.

    Args:
        data: The whole file.
        role: The role that the signer's certificate must carry.
        error: What a file of this kind raises when it does not parse; constructed with `reason`.

    Raises:
        FormatError: Of the given class: not text with one signature block below it.
        SignatureRefused: The signature does not hold, or was made in another role.
        CertificateRefused: The signer's certificate does not parse or has a key of no listed kind.
    """
    try:
        body, block = _split(data)
        info = _parse_block(block, suites.sha256(body))
    except Malformed as fault:
        raise error(reason=fault.reason) from None
    if (found := role_of(info.certificate)) is not role:
        raise SignatureRefused(
            reason=Text(
                f"签名者是“{ROLE_NAMES[found].zh}”，应为“{ROLE_NAMES[role].zh}”",
                f"the signer's role is {found.value}, and {role.value} is needed",
            )
        )
    return SignedText(body, info.certificate, info.chain, info.signing_time)


def prove_text(data: bytes, role: Role, trust: TrustStore, *, at: datetime, error: type[FormatError]) -> ProvenText:
    """Prove that text is untouched and signed in the right role under a trusted root.

    Args:
        data: The whole file.
        role: The role that the signer's certificate must carry.
        trust: Roots, intermediates and revocation lists in force.
        at: The moment of judgement.
        error: What a file of this kind raises when it does not parse; constructed with `reason`.

    Raises:
        FormatError: Of the given class: not text with one signature block below it.
        SignatureRefused: The signature does not hold, or was made in another role.
        CertificateRefused: The signer's certificate is expired, revoked or of an unknown root.
    """
    signed = read_signed_text(data, role, error=error)
    check_bundle(signed.signer, signed.chain, trust)
    warnings = trust.prove(signed.signer, signed.chain, role, at=at)
    return ProvenText(
        signed.body, signed.signer, signed.signing_time, (*warnings, *clock_warnings(signed.signing_time, at))
    )


def _normalised(data: bytes) -> bytes:
    """Return the text with CRLF line ends; they must be CRLF throughout or LF throughout."""
    ends = data.count(b"\n")
    paired = data.count(_CRLF)
    if data.count(b"\r") != paired or paired not in (0, ends):
        raise Malformed(Text("换行符不一致", "mixed line ends"))
    return data if paired else data.replace(b"\n", _CRLF)


def _split(data: bytes) -> tuple[bytes, bytes]:
    """Return the body and the DER of the block, both proven to be in their one spelling."""
    if len(data) > MAX_TEXT_BYTES:
        raise Malformed(Text("文件过大", "the file is too large"))
    data = data.removeprefix(_BOM)
    kept = data.rstrip(b"\r\n")
    # Blank lines at the end may be of either kind: whoever pressed Enter there changed nothing else. But the last line
    # must be ended, so that a text cut short anywhere is refused.
    if _LINE_ENDS.fullmatch(data, len(kept)) is None:
        raise Malformed(Text("最后一行没有结束", "the last line is not ended"))
    text = _normalised(kept) + _CRLF
    body, begin, rest = text.partition(_BEGIN)
    if not begin or not body.endswith(_CRLF) or not rest.endswith(_END):
        raise Malformed(Text("没有完整的签名块", "there is no complete signature block"))
    lines = rest.removesuffix(_END)
    if b"-----" in lines or b"-----BEGIN" in body:
        raise Malformed(Text("签名块不止一个", "more than one signature block"))
    try:
        block = base64.b64decode(lines.replace(_CRLF, b""), validate=True)
    except binascii.Error:
        block = b""
    if _armour(block) != begin + rest:
        raise Malformed(Text("签名块不是唯一写法", "the signature block is in another spelling"))
    return body, block


def _parse_block(block: bytes, digest: bytes) -> SignerInfo:
    outer = Reader(block)
    content_info = outer.enter(der.SEQUENCE)
    outer.finish()
    content_info.expect(cms.ID_SIGNED_DATA, Text("签名块不是签名数据", "the block is not signed data"))
    explicit = content_info.enter(der.context(0))
    content_info.finish()
    signed_data = explicit.enter(der.SEQUENCE)
    explicit.finish()
    signed_data.expect(der.integer(1), Text("签名版本不符", "another version of signed data"))
    signed_data.expect(der.set_of([suites.SHA256]), Text("摘要算法不在列表中", "a digest algorithm not listed"))
    signed_data.expect(_ENCAPSULATED, Text("签名块带有内容", "the block has content of its own"))
    bundle = cms.parse_certificate_set(signed_data.read(der.context(0)))
    infos = signed_data.read(der.SET)
    signed_data.finish()
    return cms.parse_signer_infos(infos, bundle, digest, hinted=False, foreign=True)
