"""Certificates proven offline: path, validity, constraints, key sizes, role and revocation.

Everything comes from the trust store and the signed file itself; nothing is fetched. What a clock alone cannot settle
on a machine without network (a list that should have been replaced by now) is a warning, and the bureau decides; what
a signature settles (an unknown root, a revoked key) is a refusal (TRUST-12 to TRUST-17).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID

from shared.clock import format_time
from shared.envelope.der import INTEGER, NULL, SEQUENCE, Reader, context, element, object_identifier, sequence
from shared.envelope.roles import ROLE_NAMES, ROLE_OIDS, Role, role_of
from shared.errors import CertificateRefused
from shared.text import Text

MAX_CERTIFICATE_BYTES: Final = 8192
MAX_CRL_BYTES: Final = 1 << 20
MAX_CHAIN: Final = 8
MAX_DEPTH: Final = 4
"""Intermediates between a certificate and its root."""
_MAX_SIGNATURES: Final = 48
"""Signatures tried while a path is looked for: a hostile bundle must not cost minutes."""
_REMEMBERED: Final = 4096
"""Signatures of certificates that are remembered, good or bad."""
_RSA_BITS: Final = range(2048, 8193)
_SIGNATURES: Final = frozenset(
    (
        *(sequence(object_identifier(f"1.2.840.113549.1.1.{n}"), element(NULL)) for n in (11, 12, 13)),
        *(sequence(object_identifier(f"1.2.840.10045.4.3.{n}")) for n in (2, 3, 4)),
    )
)
"""RSA PKCS#1 v1.5 and ECDSA, each with SHA-256, SHA-384 and SHA-512, octet for octet (TRUST-14)."""
_UNDERSTOOD: Final = frozenset(
    {ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE}
)
_ROLES: Final = frozenset(ROLE_OIDS.values())
# What hostile DER makes the parser raise; `Warning` because a caller may have turned warnings into errors.
PARSER_ERRORS: Final = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    Warning,
)

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def load_certificate(der: bytes) -> x509.Certificate:
    """Return the certificate in DER octets of unknown origin, parsed to the last extension.

    Raises:
        CertificateRefused: Too large, not a certificate, or something in it does not parse.
    """
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise CertificateRefused(reason=Text("证书过大", f"it is larger than {MAX_CERTIFICATE_BYTES} bytes"))
    try:
        certificate = x509.load_der_x509_certificate(der)
        # The parser is lazy: what is not touched here would fail later, in a place that does not expect it.
        _touch(certificate)
        if certificate.public_bytes(Encoding.DER) != der:
            raise ValueError
    except PARSER_ERRORS:
        raise CertificateRefused(reason=Text("证书无法解析", "it does not parse")) from None
    return certificate


def _touch(certificate: x509.Certificate) -> None:
    if certificate.version is not x509.Version.v3 or certificate.serial_number <= 0:
        raise ValueError
    if certificate.not_valid_before_utc > certificate.not_valid_after_utc:
        raise ValueError
    certificate.public_key()
    _ = certificate.signature_hash_algorithm
    for extension in certificate.extensions:
        _ = extension.value
    for name in (certificate.subject, certificate.issuer):
        for attribute in name:
            str(attribute.value).encode()


def load_crl(der: bytes) -> x509.CertificateRevocationList:
    """Return the revocation list in DER octets of unknown origin.

    Raises:
        CertificateRefused: Too large, not a revocation list, without an end of its validity, or of a kind that is not
            understood (delta and indirect lists).
    """
    if len(der) > MAX_CRL_BYTES:
        raise CertificateRefused(reason=Text("吊销列表过大", f"its CRL is larger than {MAX_CRL_BYTES} bytes"))
    try:
        crl = x509.load_der_x509_crl(der)
        if crl.next_update_utc is None or crl.next_update_utc < crl.last_update_utc:
            raise ValueError
        _ = crl.signature_hash_algorithm
        if any(extension.critical for extension in crl.extensions):
            raise ValueError
        _ = crl_number(crl)
        list(crl.issuer)
    except PARSER_ERRORS:
        raise CertificateRefused(reason=Text("吊销列表无法解析", "its CRL does not parse")) from None
    return crl


def crl_number(crl: x509.CertificateRevocationList) -> int:
    """Return the list's number, or -1 if it has none."""
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return -1


@dataclass(frozen=True)
class TrustStore:
    """What a station believes: roots in force, and what helps to reach them.

    Attributes:
        roots: Self-signed certificates, believed as they are.
        intermediates: Certificates that may stand between; believed only if a root vouches for them.
        crls: Revocation lists; each counts only under its issuer's signature.
        former: Certificates that are not believed any more: only their revocation lists are recognised by them.
    """

    roots: tuple[x509.Certificate, ...]
    intermediates: tuple[x509.Certificate, ...] = ()
    crls: tuple[x509.CertificateRevocationList, ...] = ()
    former: tuple[x509.Certificate, ...] = ()
    # The lists are the same objects as long as the store lives, and are large: each is verified once under an issuer.
    _held: dict[tuple[int, x509.Certificate], bool] = field(
        default_factory=dict, init=False, compare=False, repr=False, hash=False
    )

    def prove(
        self, certificate: x509.Certificate, chain: Sequence[x509.Certificate], role: Role, *, at: datetime
    ) -> tuple[Text, ...]:
        """Prove that a certificate is acceptable in a role.

        Args:
            certificate: The signer's or recipient's certificate.
            chain: Certificates that came with it, in any order; none of them is believed for that.
            role: What it is used for here.
            at: The moment of judgement, aware.

        Returns:
            What a person should know although the certificate is accepted: no or only an outdated revocation list.

        Raises:
            CertificateRefused: Another role, a weak key, no path to a root, not valid at that moment, revoked.
        """
        try:
            return self._prove(certificate, chain, role, at)
        except PARSER_ERRORS:
            raise CertificateRefused(
                reason=Text("证书链无法解析", "a certificate of its chain does not parse")
            ) from None

    def _prove(
        self, certificate: x509.Certificate, chain: Sequence[x509.Certificate], role: Role, at: datetime
    ) -> tuple[Text, ...]:
        check_leaf(certificate, role)
        path = self._path(certificate, chain, at)
        for position, each in enumerate(path):
            _check_validity(each, at)
            _check_key(each)
            if position:
                _check_authority(each, below=position - 1)
        warnings: list[Text] = []
        for subject, issuer in itertools.pairwise(path):
            warning = self._check_revocation(subject, issuer, path, at)
            if warning is not None and warning not in warnings:
                warnings.append(warning)
        return tuple(warnings)

    def _path(
        self, certificate: x509.Certificate, chain: Sequence[x509.Certificate], at: datetime
    ) -> list[x509.Certificate]:
        if len(chain) > MAX_CHAIN:
            raise CertificateRefused(reason=Text("证书过多", f"more than {MAX_CHAIN} certificates came with it"))
        budget = iter(range(_MAX_SIGNATURES))
        # An authority that was renewed has two certificates of one name and key: those valid now come first.
        pool = sorted((*self.intermediates, *chain), key=lambda each: not _valid(each, at))
        path = self._extend([certificate], pool, budget)
        if path is None:
            raise CertificateRefused(
                reason=Text("不是由信任的根证书签发", "no path leads from it to a root that is trusted here")
            )
        return path

    def _extend(
        self, path: list[x509.Certificate], pool: Sequence[x509.Certificate], budget: Iterator[int]
    ) -> list[x509.Certificate] | None:
        last = path[-1]
        for root in self.roots:
            if _issued(last, root, budget):
                return [*path, root]
        if len(path) > MAX_DEPTH:
            return None
        for candidate in pool:
            if candidate not in path and candidate not in self.roots and _issued(last, candidate, budget):
                found = self._extend([*path, candidate], pool, budget)
                if found is not None:
                    return found
        return None

    def _check_revocation(
        self, subject: x509.Certificate, issuer: x509.Certificate, path: Sequence[x509.Certificate], at: datetime
    ) -> Text | None:
        named = [crl for crl in self.crls if crl.issuer == subject.issuer]
        proven = [crl for crl in named if self._holds(crl, issuer)]
        # Two keys of one name have a list each. What none of them signed is somebody's attempt, not another's list.
        known = [
            each for each in (*self.roots, *self.intermediates, *self.former, *path) if each.subject == subject.issuer
        ]
        if any(crl not in proven and not any(self._holds(crl, each) for each in known) for crl in named):
            raise CertificateRefused(reason=Text("吊销列表的签名不符", "the signature of its CRL does not verify"))
        usage = _extension(issuer, x509.KeyUsage)
        if proven and (usage is None or not usage.crl_sign):
            raise CertificateRefused(
                reason=Text("签发者无权签发吊销列表", "its issuer may not sign the CRL that it signed")
            )
        if not proven:
            return Text("没有吊销列表，未检查证书是否已吊销", "there is no revocation list: revocation was not checked")
        if any(crl.get_revoked_certificate_by_serial_number(subject.serial_number) is not None for crl in proven):
            raise CertificateRefused(reason=Text("证书已被吊销", "it was revoked"))
        until = max(crl.next_update_utc for crl in proven if crl.next_update_utc is not None)
        if until < at:
            day = format_time(until)[:10]
            return Text(
                f"吊销列表已过期（{day}），请更新信任文件", f"the revocation list ended on {day}: update the trust file"
            )
        return None

    def _holds(self, crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
        known = self._held.get((id(crl), issuer))
        if known is None:
            known = _crl_holds(crl, issuer)
            if len(self._held) >= _REMEMBERED:
                self._held.clear()
            self._held[id(crl), issuer] = known
        return known


def check_leaf(certificate: x509.Certificate, role: Role) -> None:
    """Check what a certificate says of itself: one role, no CA, the right key usage, a sufficient key.

    Raises:
        CertificateRefused: One of these fails, or a critical extension is not understood.
    """
    found = role_of(certificate)
    if found is not role:
        raise CertificateRefused(
            reason=Text(
                f"证书用途应为“{ROLE_NAMES[role].zh}”，实际是“{ROLE_NAMES[found].zh}”",
                f"its role is {found.value}, and {role.value} is needed",
            )
        )
    _check_extensions(certificate)
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise CertificateRefused(reason=Text("签发机构的证书不能用于签名", "it is a CA's own certificate"))
    _check_key(certificate)
    usage = _extension(certificate, x509.KeyUsage)
    if usage is None or not _usage_fits(usage, role, certificate):
        raise CertificateRefused(reason=Text("证书的密钥用途不符", "its key usage does not permit this"))


def _usage_fits(usage: x509.KeyUsage, role: Role, certificate: x509.Certificate) -> bool:
    if role is not Role.BUREAU_ENVELOPE:
        return usage.digital_signature
    if isinstance(certificate.public_key(), rsa.RSAPublicKey):
        return usage.key_encipherment
    return usage.key_agreement


def _check_extensions(certificate: x509.Certificate) -> None:
    if any(extension.critical and extension.oid not in _UNDERSTOOD for extension in certificate.extensions):
        raise CertificateRefused(
            reason=Text("证书含有不认识的关键扩展", "a critical extension of it is not understood")
        )
    check_signature_algorithm(certificate)


def check_signature_algorithm(certificate: x509.Certificate) -> None:
    """Check that a certificate is signed with an algorithm of the list (TRUST-14).

    Raises:
        CertificateRefused: With another one, or in another spelling: MD5, SHA-1, PSS, EdDSA and the rest.
    """
    to_be_signed = Reader(certificate.tbs_certificate_bytes).enter(SEQUENCE)
    to_be_signed.read(context(0))
    to_be_signed.read(INTEGER)
    if to_be_signed.read_whole(SEQUENCE) not in _SIGNATURES:
        raise CertificateRefused(
            reason=Text("证书的签名算法不在列表中", "it is signed with an algorithm that is not listed")
        )


def _check_key(certificate: x509.Certificate) -> None:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        good = key.key_size in _RSA_BITS
    else:
        good = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    if not good:
        raise CertificateRefused(
            reason=Text("密钥应为 2048 位以上 RSA 或 P-256", "its key is neither RSA of 2048 bits or more nor P-256")
        )


def certificate_time(moment: datetime) -> str:
    """Return when a certificate begins or ends, for people: in China time, or in UTC where that has no spelling.

    "Without end" is 9999-12-31T23:59:59Z in certificates (RFC 5280): in China the year 10000 has begun by then.
    """
    try:
        return format_time(moment)
    except OverflowError:
        return moment.isoformat()


def _valid(certificate: x509.Certificate, at: datetime) -> bool:
    return certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc


def _check_validity(certificate: x509.Certificate, at: datetime) -> None:
    if at < certificate.not_valid_before_utc:
        since = certificate_time(certificate.not_valid_before_utc)
        raise CertificateRefused(reason=Text(f"证书自 {since} 起才有效", f"it is valid only from {since}"))
    if at > certificate.not_valid_after_utc:
        until = certificate_time(certificate.not_valid_after_utc)
        raise CertificateRefused(reason=Text(f"证书已于 {until} 过期", f"it expired on {until}"))


def _check_authority(certificate: x509.Certificate, *, below: int) -> None:
    """Check that an issuer may issue, with `below` further issuers between it and the leaf."""
    _check_extensions(certificate)
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    if constraints is None or not constraints.ca or usage is None or not usage.key_cert_sign:
        raise CertificateRefused(reason=Text("签发者不是签发机构", "its issuer is not a certificate authority"))
    usages = _extension(certificate, x509.ExtendedKeyUsage)
    if usages is not None and not _ROLES.isdisjoint(usages):
        raise CertificateRefused(reason=Text("签发机构不应有用途", "an authority carries a role"))
    if constraints.path_length is not None and below > constraints.path_length:
        raise CertificateRefused(reason=Text("证书链过长", "the chain is longer than an issuer of it permits"))


def _issued(certificate: x509.Certificate, issuer: x509.Certificate, budget: Iterator[int]) -> bool:
    if certificate.issuer != issuer.subject or next(budget, None) is None:
        return False
    return is_issued_by(certificate, issuer)


@functools.lru_cache(maxsize=_REMEMBERED)
def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether a certificate names another one as its issuer and bears its signature; nobody vouches for that one.

    It is remembered, because a station proves thousands of files under a few authorities. Certificates are equal when
    their octets are, so that nothing but these very octets is ever taken for proven.
    """
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *PARSER_ERRORS):
        return False
    return True


def path_order(certificate: x509.Certificate, others: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """Return the other certificates so that each issued the one before, or as they came if no order does that."""

    def above(last: x509.Certificate, left: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...] | None:
        if not left:
            return ()
        for each in left:
            if _issued(last, each, budget):
                found = above(each, [other for other in left if other is not each])
                if found is not None:
                    return (each, *found)
        return None

    budget = iter(range(_MAX_SIGNATURES))
    found = above(certificate, others)
    return tuple(others) if found is None else found


def _crl_holds(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        return False
    to_be_signed = Reader(crl.tbs_certlist_bytes).enter(SEQUENCE)
    if to_be_signed.peek() == INTEGER:
        to_be_signed.read(INTEGER)
    return to_be_signed.read_whole(SEQUENCE) in _SIGNATURES and crl.is_signature_valid(key)


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def check_root(certificate: x509.Certificate) -> None:
    """Check that a certificate is fit to be a root: self-signed, a CA, a sufficient key.

    Raises:
        CertificateRefused: One of these fails.
    """
    try:
        _check_key(certificate)
        _check_authority(certificate, below=0)
        good = _issued(certificate, certificate, iter(range(1)))
    except PARSER_ERRORS:
        raise CertificateRefused(reason=Text("证书无法解析", "it does not parse")) from None
    if not good:
        raise CertificateRefused(reason=Text("不是自签名的根证书", "it is not a self-signed root"))


def same_key(one: x509.Certificate, other: x509.Certificate) -> bool:
    """Return whether two certificates hold the same public key."""
    shape = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return one.public_key().public_bytes(*shape) == other.public_key().public_bytes(*shape)
