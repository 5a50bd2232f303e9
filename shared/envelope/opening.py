"""Reads a report, `.dat`: proves it without any key, and opens it with the bureau's (requirements ENV-*).

The reader knows one encoding and compares most of it octet by octet with what the writer writes. It reads the file
once to prove it, and again to open it; every block of the file is remembered by its hash, so that what is read later
is what was proven, whoever may write to the file meanwhile. Memory is bounded by the chunk and the zstd window.

Order: structure, signature, role and identity, trust; then key, tag, content digest, first line; only then content.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO, Final, Protocol

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import GCM

from shared.clock import format_time
from shared.envelope import cms, der, seal, suites
from shared.envelope.chain import TrustStore, is_issued_by
from shared.envelope.cms import RecipientId, RecipientInfo, SignerInfo, TransportedKey
from shared.envelope.der import Malformed
from shared.envelope.frame import FrameReader
from shared.envelope.roles import Role, card_identity, role_of
from shared.errors import (
    CertificateRefused,
    ReportContentInvalid,
    ReportInvalid,
    ReportNotForUs,
    SignatureRefused,
)
from shared.ids import ReportDigest
from shared.keys.port import Decrypter
from shared.model.report import ContentHeader, PublicHeader, parse_content_header, parse_public_header
from shared.text import Text

__all__ = [
    "OpenedReport",
    "ProvenReport",
    "RecipientId",
    "SignedReport",
    "check_bundle",
    "clock_warnings",
    "open_report",
    "prove_report",
    "read_signed_report",
]

_CLOCK_TOLERANCE: Final = timedelta(days=1)
_ENDS_EARLY: Final = Text("文件提前结束", "the file ends early")


# --- reading -------------------------------------------------------------------------------------------------------


class _Octets(Protocol):
    """Something that gives octets one after the other."""

    def read(self, size: int) -> bytes:
        """Return exactly `size` octets, or raise `Malformed`."""
        ...


class _PinnedFile:
    """A file whose blocks, once read, must read the same ever after."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hashes = bytearray()
        self.size = file.seek(0, os.SEEK_END)
        if self.size > seal.MAX_FILE_BYTES:
            raise Malformed(Text("文件超过 1 GiB", "the file is larger than 1 GiB"))

    def block(self, number: int) -> bytes:
        """Return a block of `CHUNK_BYTES`, or what is left of the file."""
        start = number * seal.CHUNK_BYTES
        wanted = min(seal.CHUNK_BYTES, self.size - start)
        self._file.seek(start)
        data = self._file.read(wanted)
        while len(data) < wanted and (more := self._file.read(wanted - len(data))):
            data += more
        pinned = hashlib.sha256(data).digest()
        at = number * len(pinned)
        if at == len(self._hashes):
            self._hashes += pinned
        if len(data) < wanted or self._hashes[at : at + len(pinned)] != pinned:
            raise Malformed(Text("文件在读取时被改动", "the file changed while it was read"))
        return data


class _FileOctets:
    """The octets of a pinned file from its beginning."""

    def __init__(self, file: _PinnedFile) -> None:
        self._file = file
        self._at = 0
        self._number = -1
        self._block = b""

    @property
    def at_end(self) -> bool:
        return self._at == self._file.size

    def read(self, size: int) -> bytes:
        if size > self._file.size - self._at:
            raise Malformed(_ENDS_EARLY)
        parts = []
        while size:
            number, offset = divmod(self._at, seal.CHUNK_BYTES)
            if number != self._number:
                self._block, self._number = self._file.block(number), number
            part = self._block[offset : offset + size]
            parts.append(part)
            self._at += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class _ChunkedOctets:
    """The content of a constructed OCTET STRING: chunks of exactly `CHUNK_BYTES`, the last one excepted (ENV-3)."""

    def __init__(self, source: _Octets) -> None:
        self._source = source
        self._left = 0
        self._chunk = seal.CHUNK_BYTES
        self._begun = False
        self._ended = False
        self.hash = hashlib.sha256()
        self.total = 0

    def read(self, size: int) -> bytes:
        parts = []
        while size:
            if not self._left and not self._next():
                raise Malformed(Text("内容提前结束", "the content ends early"))
            part = self._source.read(min(size, self._left))
            self._left -= len(part)
            size -= len(part)
            parts.append(part)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self.hash.update(data)
        self.total += len(data)
        return data

    def pieces(self) -> Iterator[bytes]:
        """Yield all that is left, a chunk or less at a time."""
        while self._left or self._next():
            yield self.read(self._left)

    def finish(self) -> None:
        """Read the end-of-contents octets, which must come now."""
        if self._left or self._next():
            raise Malformed(Text("内容之后有多余的字节", "superfluous octets after the content"))

    def _next(self) -> bool:
        if self._ended:
            return False
        head = self._source.read(2)
        if head == b"\x00\x00" and self._begun:
            self._ended = True
            return False
        if head[0] != der.OCTET_STRING or self._chunk != seal.CHUNK_BYTES:
            raise Malformed(Text("分块不符合规定", "a chunk that does not follow the rules"))
        if head[1] > 0x80:
            head += self._source.read(head[1] & 0x03)
        self._chunk, _ = der.decode_length(head, 1)
        if not 0 < self._chunk <= seal.CHUNK_BYTES:
            raise Malformed(Text("分块大小不符合规定", "a chunk of a size that is not permitted"))
        self._left = self._chunk
        self._begun = True
        return True


def _expect(source: _Octets, octets: bytes) -> None:
    if source.read(len(octets)) != octets:
        raise Malformed(Text("结构不符合规定", "the structure is not the one of a report"))


def _read_element(source: _Octets, tag: int, limit: int) -> bytes:
    """Return a whole element with a definite length, checked against `limit` before it is read."""
    head = source.read(2)
    if head[0] != tag:
        raise Malformed(Text("结构不符合规定", "the structure is not the one of a report"))
    if head[1] > 0x80:
        if head[1] > 0x84:
            raise Malformed(Text("长度编码无效", "an invalid length"))
        head += source.read(head[1] & 0x7F)
    length, _ = der.decode_length(head, 1)
    if length > limit:
        raise Malformed(Text("结构过大", "a structure larger than is permitted"))
    return head + source.read(length)


class _Walk:
    """One reading of the file from its first to its last octet, in three steps that must be taken in order."""

    def __init__(self, file: _PinnedFile) -> None:
        self._source = _FileOctets(file)
        _expect(self._source, seal.SIGNED_PREFIX)
        self._signed = _ChunkedOctets(self._source)
        _expect(self._signed, seal.ENVELOPE_PREFIX)
        self.recipients_der = _read_element(self._signed, der.SET, cms.MAX_RECIPIENTS_BYTES)
        _expect(self._signed, seal.ENCRYPTED_BEFORE_NONCE)
        self.nonce = self._signed.read(suites.NONCE_BYTES)
        _expect(self._signed, seal.ENCRYPTED_AFTER_NONCE)
        self._encrypted = _ChunkedOctets(self._signed)

    def ciphertext(self) -> Iterator[bytes]:
        """Step one: yield the encrypted content."""
        return self._encrypted.pieces()

    @property
    def ciphertext_bytes(self) -> int:
        return self._encrypted.total

    def tag(self) -> bytes:
        """Step two: the authentication tag and the end of the signed content."""
        self._encrypted.finish()
        _expect(self._signed, seal.ENVELOPE_AFTER_CONTENT)
        tag = self._signed.read(suites.TAG_BYTES)
        _expect(self._signed, seal.ENVELOPE_SUFFIX)
        self._signed.finish()
        return tag

    def signature(self) -> tuple[list[bytes], bytes, bytes]:
        """Step three: the certificates, the content of the signerInfos, the digest of the signed content."""
        _expect(self._source, seal.SIGNED_AFTER_CONTENT)
        certificates = _read_element(self._source, der.context(0), cms.MAX_CERTIFICATES_BYTES)
        infos = _read_element(self._source, der.SET, cms.MAX_SIGNER_INFOS_BYTES)
        _expect(self._source, seal.SIGNED_SUFFIX)
        if not self._source.at_end:
            raise Malformed(Text("文件末尾有多余的字节", "superfluous octets at the end of the file"))
        bundle = cms.parse_certificate_set(der.Reader(certificates).read(der.context(0)))
        return bundle, der.Reader(infos).read(der.SET), self._signed.hash.digest()


# --- proving -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SignedReport:
    """A whole report whose signature holds against the card certificate inside; nobody vouches for that one yet.

    Attributes:
        header: The public header under the signature.
        digest: The report's identity.
        signer: The card's certificate.
        chain: The intermediates that came with it.
        signing_time: As the card claims.
        recipients: Whose keys open it.
        size_bytes: Size of the file.
    """

    header: PublicHeader
    digest: ReportDigest
    signer: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    signing_time: datetime
    recipients: tuple[RecipientId, ...]
    size_bytes: int


@dataclass(frozen=True)
class ProvenReport:
    """A report that is whole, untouched and from the card of the taxpayer and machine that it names.

    Attributes:
        header: The public header under the signature.
        digest: The report's identity.
        signer: The card's certificate.
        signing_time: As the card claims.
        recipients: Whose keys open it.
        size_bytes: Size of the file.
        warnings: What a person should know although the report is accepted.
    """

    header: PublicHeader
    digest: ReportDigest
    signer: x509.Certificate
    signing_time: datetime
    recipients: tuple[RecipientId, ...]
    size_bytes: int
    warnings: tuple[Text, ...]


@dataclass(frozen=True)
class _Parsed:
    """What the first reading found, for the readings after it."""

    file: _PinnedFile
    signed: SignedReport
    recipients_der: bytes
    infos: tuple[RecipientInfo, ...]


def _parse(file: BinaryIO) -> _Parsed:
    try:
        pinned = _PinnedFile(file)
        walk = _Walk(pinned)
        infos = cms.parse_recipient_infos(walk.recipients_der)
        for _ in walk.ciphertext():
            pass
        walk.tag()
        bundle, content, digest = walk.signature()
        info = cms.parse_signer_infos(content, bundle, digest, hinted=True)
    except Malformed as error:
        raise ReportInvalid(reason=error.reason) from None
    header = _checked_header(info, walk.ciphertext_bytes)
    return _Parsed(
        pinned,
        SignedReport(
            header,
            ReportDigest(suites.sha256(info.attributes).hex()),
            info.certificate,
            info.chain,
            info.signing_time,
            tuple(each.recipient for each in infos),
            pinned.size,
        ),
        walk.recipients_der,
        infos,
    )


def _checked_header(info: SignerInfo, ciphertext_bytes: int) -> PublicHeader:
    header = parse_public_header(info.hint or b"")
    if role_of(info.certificate) is not Role.CARD:
        raise SignatureRefused(reason=Text("签名者不是金税卡", "the signer is not a tax card"))
    card = card_identity(info.certificate)
    if (card.taxpayer_id, card.machine_no, card.card_no) != (header.taxpayer_id, header.machine_no, header.card_no):
        raise SignatureRefused(
            reason=Text("签名的金税卡与报税数据所称的不是同一张", "the card that signed is not the one in the header")
        )
    if header.suite != suites.SUITES[suites.signature_algorithm(info.certificate)]:
        raise SignatureRefused(reason=Text("算法套件与签名不符", "the suite in the header is not the signature's"))
    if header.content_bytes > seal.MAX_RATIO * ciphertext_bytes:
        raise ReportInvalid(
            reason=Text("内容压缩比过大", f"the content is more than {seal.MAX_RATIO} times its compressed size")
        )
    return header


def read_signed_report(file: BinaryIO) -> SignedReport:
    """Check everything about a report that needs no trust store.

    Structure, signature, digest, the role of the signer's certificate and its identity. Whoever can make certificates
    passes this: use `prove_report` where anything is decided.

    Args:
        file: Seekable; read from its first octet, whatever its position.

    Raises:
        ReportInvalid: The file ends early or does not parse.
        SignatureRefused: The signature does not hold, or another role or card made it.
        CertificateRefused: The signer's certificate does not parse or has a key of no listed kind.
    """
    return _parse(file).signed


def check_bundle(signer: x509.Certificate, chain: Iterable[x509.Certificate], trust: TrustStore) -> None:
    """Check that the certificates of a file are one path: each issued by the next, the last by one of the store's.

    A certificate beside the path would be an octet string that nobody proves.

    Raises:
        CertificateRefused: They are not.
    """
    path = [signer, *chain]
    for subject, issuer in itertools.pairwise(path):
        if not is_issued_by(subject, issuer):
            raise CertificateRefused(
                reason=Text("文件中的证书不成链", "the certificates in the file are not one chain")
            )
    if not any(is_issued_by(path[-1], each) for each in (*trust.roots, *trust.intermediates)):
        raise CertificateRefused(
            reason=Text("不是由信任的根证书签发", "no path leads from it to a root that is trusted here")
        )


def clock_warnings(signing_time: datetime, at: datetime) -> tuple[Text, ...]:
    """Return a warning if something was signed in the future: a clock is wrong, and a clock alone decides nothing."""
    if signing_time - at <= _CLOCK_TOLERANCE:
        return ()
    when = format_time(signing_time)
    return (
        Text(
            f"签名时间 {when} 在本机时间之后：请检查两台电脑的时钟",
            f"the signing time {when} lies in the future: check the clocks of both PCs",
        ),
    )


def _prove(signed: SignedReport, trust: TrustStore, at: datetime) -> ProvenReport:
    check_bundle(signed.signer, signed.chain, trust)
    warnings = trust.prove(signed.signer, signed.chain, Role.CARD, at=at)
    return ProvenReport(
        signed.header,
        signed.digest,
        signed.signer,
        signed.signing_time,
        signed.recipients,
        signed.size_bytes,
        (*warnings, *clock_warnings(signed.signing_time, at)),
    )


def prove_report(file: BinaryIO, trust: TrustStore, *, at: datetime) -> ProvenReport:
    """Prove that a report is whole, untouched and from the card it names.

    No key is needed, nothing is decrypted, and memory does not grow with the file (ENV-14).

    Args:
        file: Seekable; read from its first octet, whatever its position.
        trust: Roots, intermediates and revocation lists in force.
        at: The moment of judgement.

    Raises:
        ReportInvalid: The file ends early or does not parse: the copy is damaged.
        SignatureRefused: The signature does not hold, or another role or card made it.
        CertificateRefused: The card's certificate is expired, revoked or of an unknown root.
    """
    return _prove(_parse(file).signed, trust, at)


# --- opening -------------------------------------------------------------------------------------------------------


class OpenedReport:
    """A report whose signature, tag and content digest hold.

    Attributes:
        proven: What the signature says.
        content_header: Line 1 of the content, equal to the public header and bound to signer and recipients.
    """

    def __init__(self, parsed: _Parsed, proven: ProvenReport, content_key: bytes) -> None:
        self._parsed = parsed
        self._key: bytes | None = content_key
        self.proven = proven
        self.content_header = self._check_content()

    def rows(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines after the first, each with its number counted from 1, without line ends.

        May be called again. Only framing is checked here: `shared.model.report.parse_row` reads a row, and order and
        sums are for whoever judges the report.

        Raises:
            ReportInvalid: The file changed since it was proven; the lines yielded before are those that were proven.
            ReportContentInvalid: A line is empty or too long.
        """
        lines = _lines(self._content())
        next(lines)
        yield from lines

    def close(self) -> None:
        """Forget the content key."""
        self._key = None

    def _check_content(self) -> ContentHeader:
        """Read all of the content once and release nothing of it: tag, digest, framing, first line."""
        digest = hashlib.sha256()

        def hashed() -> Iterator[bytes]:
            for block in self._content():
                digest.update(block)
                yield block

        first = b""
        number = 0
        for number, line in _lines(hashed()):
            if number == 1:
                first = line
        if digest.hexdigest() != self.proven.header.content_sha256:
            raise ReportContentInvalid(
                line=number, reason=Text("内容与签名的摘要不符", "the content is not the one whose digest was signed")
            )
        header = parse_content_header(first)
        self._check_first_line(header)
        return header

    def _check_first_line(self, header: ContentHeader) -> None:
        bound = {"salt", "signer_sha256", "recipients_sha256"}
        if header.model_dump(exclude=bound) != self.proven.header.model_dump(
            exclude={"content_sha256", "content_bytes"}
        ):
            raise SignatureRefused(
                reason=Text("内部的报税信息与签名的不一致", "the header inside is not the one under the signature")
            )
        if header.signer_sha256 != suites.sha256(cms.encoded(self.proven.signer)).hex():
            raise SignatureRefused(
                reason=Text("内容是为另一张金税卡封装的", "the content was sealed by another card than signed it")
            )
        if header.recipients_sha256 != suites.sha256(self._parsed.recipients_der).hex():
            raise SignatureRefused(
                reason=Text("接收方名单与封装时不同", "the recipients are not those for whom it was sealed")
            )

    def _content(self) -> Iterator[bytes]:
        """Yield the decompressed content; at the end tag and size hold."""
        if self._key is None:
            raise ValueError("the report was closed")
        try:
            walk = _Walk(self._parsed.file)
            decryptor = Cipher(AES256(self._key), GCM(walk.nonce)).decryptor()
            frame = FrameReader(self.proven.header.content_bytes)
            fault: Malformed | None = None
            for piece in walk.ciphertext():
                data = decryptor.update(piece)
                if fault is None:
                    try:
                        yield from frame.feed(data)
                    except Malformed as error:
                        # Which fault it is depends on the tag, which comes last: a wrong key decrypts to noise.
                        fault = error
            tag = walk.tag()
        except Malformed as error:
            raise ReportInvalid(reason=error.reason) from None
        try:
            decryptor.finalize_with_tag(tag)
        except InvalidTag:
            raise ReportInvalid(reason=Text("数字信封的校验码不符", "the envelope's tag does not hold")) from None
        try:
            if fault is not None:
                raise fault
            frame.finish()
        except Malformed as error:
            raise ReportContentInvalid(line=0, reason=error.reason) from None
        if frame.total != self.proven.header.content_bytes:
            raise ReportContentInvalid(line=0, reason=Text("内容小于签名的大小", "less content than the signed size"))


@contextmanager
def open_report(file: BinaryIO, trust: TrustStore, decrypter: Decrypter, *, at: datetime) -> Iterator[OpenedReport]:
    """Prove a report, decrypt it, and give access to its content; within the `with` block only.

    Nothing is released before signature, tag and content digest hold. What is released later is read again from the
    file, and refused if the file changed.

    Args:
        file: Seekable; it stays open and in place during the block.
        trust: Roots, intermediates and revocation lists in force.
        decrypter: The bureau's envelope key.
        at: The moment of judgement.

    Raises:
        ReportInvalid: As for `prove_report`, or the envelope's tag does not hold.
        ReportNotForUs: Not sealed to this key.
        ReportContentInvalid: Signed and opened, but not what the specification says.
        SignatureRefused: As for `prove_report`, or the content was sealed by another card or for other recipients.
        CertificateRefused: As for `prove_report`.
        KeyUnavailable: The bureau's key cannot be used now.
    """
    parsed = _parse(file)
    proven = _prove(parsed.signed, trust, at)
    opened = OpenedReport(parsed, proven, _unwrap(parsed.infos, decrypter))
    try:
        yield opened
    finally:
        opened.close()


def _unwrap(infos: tuple[RecipientInfo, ...], decrypter: Decrypter) -> bytes:
    info = cms.find_recipient(infos, decrypter.certificate)
    is_rsa = isinstance(suites.public_key(decrypter.certificate), rsa.RSAPublicKey)
    if info is None or isinstance(info, TransportedKey) is not is_rsa:
        raise ReportNotForUs
    try:
        key = info.unwrap(decrypter)
    except ValueError:
        raise ReportNotForUs from None
    if len(key) != suites.KEY_BYTES:
        raise ReportNotForUs
    return key


def _lines(blocks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of the content, numbered from 1, each checked for its size."""
    rest = b""
    number = 0
    for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            number += 1
            if not 0 < len(line) <= seal.MAX_LINE_BYTES:
                raise ReportContentInvalid(line=number, reason=Text("行为空或过长", "an empty or too long line"))
            yield number, line
        if len(rest) > seal.MAX_LINE_BYTES:
            raise ReportContentInvalid(line=number + 1, reason=Text("行过长", "a line that is too long"))
    if rest or number < 2:
        raise ReportContentInvalid(line=number + 1, reason=Text("最后一行没有结束", "the last line is not ended"))
