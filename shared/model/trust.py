"""The trust file: what a machine without network believes, and how that changes (TRUST-*).

One text, signed by the delegated trust key: every root since version 1 with the handover from each to the next,
authorities, the bureau's current certificates by role, revocation lists, the official filing calendar and the
gateway's addresses. Certificates are base64 DER on one line, the only encoding.

A root is believed because a chain of handovers leads to it from the one that the reader held before: the new root
signs itself, and the old root signs a certificate of the same name and key. So an old reader can follow any number of
changes from one file, and nobody who holds only one of the two keys can make a change.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from shared.canonical import CRLF, render_lines
from shared.clock import format_time
from shared.envelope.chain import (
    MAX_CERTIFICATE_BYTES,
    MAX_CRL_BYTES,
    PARSER_ERRORS,
    TrustStore,
    check_leaf,
    check_root,
    check_signature_algorithm,
    crl_number,
    load_certificate,
    load_crl,
    same_key,
)
from shared.envelope.roles import Role
from shared.envelope.textsign import prove_text, read_signed_text, sign_text
from shared.errors import CertificateRefused, Outdated, TrustFileInvalid, TrustRefused
from shared.keys.port import Signer
from shared.model.fields import Lines, parse_count, parse_moment, whole_seconds
from shared.text import Text

MAX_TRUST_BYTES: Final = 2 << 20
FORMAT: Final = "1"
_TITLE: Final = "税渡 信任文件"
_BUREAU_ROLES: Final = (Role.BUREAU_RESULT, Role.BUREAU_ENVELOPE, Role.TRUST)
_MAX_ROOTS, _MAX_AUTHORITIES, _MAX_PER_ROLE, _MAX_CRLS, _MAX_DEADLINES, _MAX_GATEWAYS = 32, 16, 8, 16, 120, 8
_MONTH: Final = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])", re.ASCII)
_GATEWAY: Final = re.compile(r"https?://[!-~]{1,200}", re.ASCII)


@dataclass(frozen=True)
class TrustFile:
    """One version of what is believed.

    Attributes:
        version: Grows with every file of this bureau.
        issued_at: When it was made.
        roots: Every root since version 1, the oldest first.
        handovers: For each root but the first, the certificate of its name and key by the root before it.
        first_root: Number (from 1) of the oldest root still in force; all from there to the last are believed.
        intermediates: Authorities between the roots and everyone else.
        certificates: The bureau's current certificates by role.
        crls: Current revocation lists, one for each authority.
        calendar: Official filing deadlines: the day by month `YYYY-MM`.
        gateways: Addresses of the bureau's gateway, the preferred one first.
        signer: The trust key's certificate, once the file was proven; not part of it.
        warnings: What a person should know although the file was proven; not part of it.
    """

    version: int
    issued_at: datetime
    roots: tuple[x509.Certificate, ...]
    handovers: tuple[x509.Certificate, ...] = ()
    first_root: int = 1
    intermediates: tuple[x509.Certificate, ...] = ()
    certificates: Mapping[Role, tuple[x509.Certificate, ...]] = field(default_factory=dict, hash=False)
    crls: tuple[x509.CertificateRevocationList, ...] = ()
    calendar: Mapping[str, int] = field(default_factory=dict, hash=False)
    gateways: tuple[str, ...] = ()
    signer: x509.Certificate | None = field(default=None, compare=False)
    warnings: tuple[Text, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        """Refuse a file that no reader would accept.

        Raises:
            ValueError: Counts or numbers out of range, a certificate under another role, a deadline that is no day.
            TrustRefused: A root or a handover that does not hold.
            CertificateRefused: A certificate that is not fit for its place.
        """
        object.__setattr__(self, "issued_at", whole_seconds(self.issued_at))
        certificates = {role: tuple(self.certificates.get(role, ())) for role in _BUREAU_ROLES}
        if unknown := set(self.certificates) - set(_BUREAU_ROLES):
            raise ValueError(f"roles {unknown}")
        object.__setattr__(self, "certificates", certificates)
        object.__setattr__(self, "calendar", dict(sorted(self.calendar.items())))
        self._check_counts()
        for role, group in certificates.items():
            for certificate in group:
                check_leaf(certificate, role)
        _check_roots(self.roots, self.handovers)

    def _check_counts(self) -> None:
        groups = (
            (self.roots, _MAX_ROOTS),
            (self.intermediates, _MAX_AUTHORITIES),
            (self.crls, _MAX_CRLS),
            (self.calendar, _MAX_DEADLINES),
            (self.gateways, _MAX_GATEWAYS),
            *((group, _MAX_PER_ROLE) for group in self.certificates.values()),
        )
        if any(len(group) > limit for group, limit in groups):
            raise ValueError("too many entries")
        if self.version < 1 or not 1 <= self.first_root <= len(self.roots):
            raise ValueError("version or root number out of range")
        if len(self.handovers) != len(self.roots) - 1:
            raise ValueError("every root but the first needs its handover")
        for month, day in self.calendar.items():
            if _MONTH.fullmatch(month) is None or not 1 <= day <= 31:
                raise ValueError(f"deadline {month}")
            datetime(int(month[:4]), int(month[5:]), day)  # noqa: DTZ001  only to see that there is such a day
        if any(_GATEWAY.fullmatch(gateway) is None for gateway in self.gateways):
            raise ValueError("a gateway's address is invalid")

    @property
    def roots_in_force(self) -> tuple[x509.Certificate, ...]:
        """The roots that are believed now."""
        return self.roots[self.first_root - 1 :]

    def store(self) -> TrustStore:
        """Return what certificates are proven with under this file."""
        return self._store

    @functools.cached_property
    def _store(self) -> TrustStore:
        return TrustStore(self.roots_in_force, self.intermediates, self.crls, self.roots[: self.first_root - 1])

    def certificates_of(self, role: Role, at: datetime) -> tuple[x509.Certificate, ...]:
        """Return the bureau's certificates of a role that are acceptable at a moment, in the file's order."""
        store = self.store()
        found = []
        for certificate in self.certificates[role]:
            try:
                store.prove(certificate, (), role, at=at)
            except CertificateRefused:
                continue  # expired or revoked since: there may be another
            found.append(certificate)
        return tuple(found)

    def envelope_certificates(self, at: datetime) -> tuple[x509.Certificate, ...]:
        """Return the certificates that a report made at `at` is sealed to: all acceptable ones."""
        return self.certificates_of(Role.BUREAU_ENVELOPE, at)


def _check_roots(roots: tuple[x509.Certificate, ...], handovers: tuple[x509.Certificate, ...]) -> None:
    for root in roots:
        check_root(root)
    for number, (old, new, handover) in enumerate(zip(roots, roots[1:], handovers, strict=False), start=2):
        try:
            holds = handover.subject == new.subject and same_key(handover, new) and not same_key(old, new)
            constraints = handover.extensions.get_extension_for_class(x509.BasicConstraints).value
            check_signature_algorithm(handover)
            handover.verify_directly_issued_by(old)
        except (CertificateRefused, InvalidSignature, x509.ExtensionNotFound, *PARSER_ERRORS):
            holds = False
        else:
            holds = holds and constraints.ca
        if not holds:
            raise TrustRefused(
                reason=Text(
                    f"第 {number} 个根证书没有前一个根证书的签名", f"root {number} has no handover by the one before"
                )
            )


def render_trust_body(trust: TrustFile) -> bytes:
    """Return the body of a trust file, the octets that are signed: the inverse of `parse_trust_body`."""
    return render_lines(f"{_TITLE} {trust.version}", _lines(trust))


def _lines(trust: TrustFile) -> Iterator[tuple[str, str]]:
    yield "格式", FORMAT
    yield "签发时间", format_time(trust.issued_at)
    yield "最早有效根", str(trust.first_root)
    yield "根证书 1", _b64(trust.roots[0])
    for number, (root, handover) in enumerate(zip(trust.roots[1:], trust.handovers, strict=True), start=2):
        yield f"根证书 {number}", _b64(root)
        yield f"根交接 {number}", _b64(handover)
    for number, certificate in enumerate(trust.intermediates, start=1):
        yield f"签发机构 {number}", _b64(certificate)
    for role in _BUREAU_ROLES:
        for number, certificate in enumerate(trust.certificates[role], start=1):
            yield f"证书 {role.value} {number}", _b64(certificate)
    for number, crl in enumerate(trust.crls, start=1):
        yield f"吊销列表 {number}", _b64(crl)
    for month, day in trust.calendar.items():
        yield f"申报截止 {month}", str(day)
    for number, gateway in enumerate(trust.gateways, start=1):
        yield f"税局地址 {number}", gateway


def _b64(item: x509.Certificate | x509.CertificateRevocationList) -> str:
    return base64.b64encode(item.public_bytes(Encoding.DER)).decode()


def parse_trust_body(body: bytes) -> TrustFile:
    """Return the trust file in a body without signature. Its handovers hold; nothing else is proven by that.

    Raises:
        TrustFileInvalid: Not exactly the lines of a trust file, or a certificate in it that does not parse.
        TrustRefused: A root without the handover by the one before it.
    """
    try:
        return _parse(body)
    except CertificateRefused as error:
        raise TrustFileInvalid(reason=error.text) from None


def _parse(body: bytes) -> TrustFile:
    version_text = body.split(CRLF, 1)[0].decode("utf-8", "replace").removeprefix(_TITLE + " ")
    try:
        version = parse_count(version_text, least=1)
    except ValueError:
        raise TrustFileInvalid(reason=Text("第 1 行不是信任文件", "line 1 is not that of a trust file")) from None
    lines = Lines(body, f"{_TITLE} {version}", TrustFileInvalid)
    if lines.take("格式") != FORMAT:
        raise TrustFileInvalid(reason=Text("不认识的格式版本，请升级软件", "an unknown format: update the software"))
    with lines.values():
        issued_at = parse_moment(lines.take("签发时间"))
        first_root = parse_count(lines.take("最早有效根"), least=1)
        roots, handovers = _take_roots(lines)
        trust = TrustFile(
            version=version,
            issued_at=issued_at,
            roots=roots,
            handovers=handovers,
            first_root=first_root,
            intermediates=_take_certificates(lines, "签发机构", _MAX_AUTHORITIES),
            certificates={
                role: _take_certificates(lines, f"证书 {role.value}", _MAX_PER_ROLE) for role in _BUREAU_ROLES
            },
            crls=tuple(load_crl(_der(text, MAX_CRL_BYTES)) for _, text in lines.take_series("吊销列表", _MAX_CRLS)),
            calendar={month: parse_count(day, least=1) for month, day in lines.take_series("申报截止", _MAX_DEADLINES)},
            gateways=tuple(text for _, text in lines.take_series("税局地址", _MAX_GATEWAYS)),
        )
    lines.end()
    # Also proves that the numbers in the labels count from 1 and that the series are in their order.
    if render_trust_body(trust) != body:
        raise TrustFileInvalid(reason=Text("不是规定的唯一写法", "it is not in the one permitted form"))
    return trust


def _take_roots(lines: Lines) -> tuple[tuple[x509.Certificate, ...], tuple[x509.Certificate, ...]]:
    roots = [_certificate(lines.take("根证书 1"))]
    handovers = []
    for _, text in lines.take_series("根证书", _MAX_ROOTS):
        roots.append(_certificate(text))
        handovers.append(_certificate(lines.take(f"根交接 {len(roots)}")))
    return tuple(roots), tuple(handovers)


def _take_certificates(lines: Lines, prefix: str, limit: int) -> tuple[x509.Certificate, ...]:
    return tuple(_certificate(text) for _, text in lines.take_series(prefix, limit))


def _certificate(text: str) -> x509.Certificate:
    return load_certificate(_der(text, MAX_CERTIFICATE_BYTES))


def _der(text: str, limit: int) -> bytes:
    # The size is known before anything is decoded or parsed.
    if len(text) > (limit + 2) // 3 * 4:
        raise ValueError("an entry is too large")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def render_trust(trust: TrustFile, signer: Signer, *, signing_time: datetime | None = None) -> bytes:
    """Return a trust file, signed.

    Args:
        trust: What it says.
        signer: The delegated trust key.
        signing_time: `trust.issued_at` unless given.
    """
    return sign_text(render_trust_body(trust), signer, signing_time=signing_time or trust.issued_at)


def prove_trust(data: bytes, *, root: x509.Certificate | TrustFile, at: datetime) -> TrustFile:
    """Prove a trust file, and that it may replace what is believed now.

    Args:
        data: The file. A byte order mark and LF line ends are tolerated, nothing else.
        root: What is believed now: the root that was handed over by a person, or the trust file in force.
        at: The moment of judgement.

    Returns:
        The trust file; the one in force again if it is the same.

    Raises:
        TrustFileInvalid: Empty, too large, not a signed text, not a trust file. What is in force stays in force after
            this and all that follow.
        TrustRefused: Its roots do not continue those that are believed, or it mixes newer parts with older ones.
        Outdated: It is older than the one in force.
        SignatureRefused: Altered, or not signed by a trust key.
        CertificateRefused: The trust key's certificate is not acceptable.
    """
    trust, _ = read_signed_trust(data)
    store = trust.store()
    if isinstance(root, TrustFile):
        _check_same_history(trust, root)
        # A trust key that is revoked by now must not sign its revocation away.
        former = (*store.former, *root.roots, *root.intermediates)
        store = replace(store, crls=(*store.crls, *root.crls), former=former)
    elif root not in trust.roots:
        raise TrustRefused(reason=Text("它的根证书不是本机信任的根证书", "it does not continue the root trusted here"))
    proven = prove_text(data, Role.TRUST, store, at=at, error=TrustFileInvalid)
    if isinstance(root, TrustFile):
        _check_newer(trust, root)
    return replace(trust, signer=proven.signer, warnings=proven.warnings)


def open_issued_trust(data: bytes, *, at: datetime) -> TrustFile:
    """Return the trust file that came inside a card: its first root is believed because it came that way.

    Raises:
        TrustFileInvalid, SignatureRefused, CertificateRefused: As `prove_trust`.
    """
    return prove_trust(data, root=read_signed_trust(data)[0].roots[0], at=at)


def read_signed_trust(data: bytes) -> tuple[TrustFile, x509.Certificate]:
    """Return a trust file whose signature holds against the certificate inside; nobody vouches for that one yet.

    The roots stand inside the file that they are to prove: so it is read before it is proven, within its limits.

    Raises:
        TrustFileInvalid: Empty, too large, not a signed text, not a trust file.
        TrustRefused: A root without the handover by the one before it.
        SignatureRefused: Altered, or not signed by a trust key.
        CertificateRefused: The signer's certificate does not parse.
    """
    if not data:
        raise TrustFileInvalid(reason=Text("文件是空的（0 字节）", "it is empty (0 bytes)"))
    if len(data) > MAX_TRUST_BYTES:
        raise TrustFileInvalid(
            reason=Text(f"文件超过 {MAX_TRUST_BYTES} 字节", f"it is larger than {MAX_TRUST_BYTES} bytes")
        )
    signed = read_signed_text(data, Role.TRUST, error=TrustFileInvalid)
    return parse_trust_body(signed.body), signed.signer


def _check_same_history(new: TrustFile, current: TrustFile) -> None:
    common = min(len(new.roots), len(current.roots))
    if new.roots[:common] != current.roots[:common] or new.handovers[: common - 1] != current.handovers[: common - 1]:
        raise TrustRefused(reason=Text("它的根证书历史与本机的不同", "its history of roots is not the one known here"))


def _check_newer(new: TrustFile, current: TrustFile) -> None:
    if new.version < current.version:
        raise Outdated(
            reason=Text(
                f"信任文件版本 {new.version}，现用版本 {current.version}",
                f"trust file version {new.version}, and version {current.version} is in force",
            )
        )
    if new.version == current.version:
        if render_trust_body(new) != render_trust_body(current):
            raise TrustRefused(
                reason=Text(f"与现用的版本 {new.version} 内容不同", f"another content under version {new.version}")
            )
        return
    older = (
        len(new.roots) < len(current.roots)
        or new.first_root < current.first_root
        or new.issued_at < current.issued_at
        or any(not _continued(crl, new) for crl in current.crls)
    )
    if older:
        raise TrustRefused(reason=Text("新版本中含有比现用版本更旧的部分", "parts of it are older than those in force"))


def _continued(old: x509.CertificateRevocationList, trust: TrustFile) -> bool:
    """Return whether a revocation list has a successor in a newer file, or its authority is gone from it."""
    authorities = (*trust.roots_in_force, *trust.intermediates)
    if not any(each.subject == old.issuer and _key_id(each) == _issuer_key_id(old) for each in authorities):
        return True
    return any(
        crl.issuer == old.issuer and _issuer_key_id(crl) == _issuer_key_id(old) and crl_number(crl) >= crl_number(old)
        for crl in trust.crls
    )


def _key_id(certificate: x509.Certificate) -> bytes:
    return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest


def _issuer_key_id(crl: x509.CertificateRevocationList) -> bytes | None:
    try:
        return crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return None
