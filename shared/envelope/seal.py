"""Writes a report, `.dat`, in one pass and in bounded memory (requirements REP-*, ENV-*).

    rows → JSON lines → one zstd frame → AES-256-GCM → AuthEnvelopedData → SignedData → file

Lengths that are known only at the end are indefinite, and everything that a reader needs first is written first. The
card signs last: by then the content is on its way and only the attributes go to the key.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import BinaryIO, Final

import zstandard
from cryptography import x509
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import GCM

from shared.envelope import cms, der, suites
from shared.errors import ReportTooLarge
from shared.ids import MachineNo, Nonce, ReportDigest, ReportName, Stamp, TaxpayerId
from shared.keys.port import Signer
from shared.model.report import FORMAT, ContentHeader, PublicHeader, render_row
from shared.text import Text

CHUNK_BYTES: Final = 262144
MAX_FILE_BYTES: Final = 1 << 30
MAX_LINE_BYTES: Final = 1 << 20
MAX_RATIO: Final = 1000
COMPRESSION_LEVEL: Final = 3
_BLOCK_BYTES: Final = 1 << 18
_SALT_BYTES: Final = 16
_PROGRESS_STEP: Final = 1000

# What begins with 0x80 as length ends with two zero octets.
_END: Final = b"\x00\x00"
_INDEFINITE: Final = b"\x80"
_CONTENT_INFO: Final = bytes((der.SEQUENCE,)) + _INDEFINITE
_EXPLICIT_0: Final = bytes((der.context(0),)) + _INDEFINITE
_CONSTRUCTED_OCTETS: Final = b"\x24" + _INDEFINITE

SIGNED_PREFIX: Final = b"".join(
    (
        _CONTENT_INFO,
        cms.ID_SIGNED_DATA,
        _EXPLICIT_0,
        _CONTENT_INFO,
        der.integer(1),
        der.set_of([suites.SHA256]),
        _CONTENT_INFO,
        cms.ID_DATA,
        _EXPLICIT_0,
        _CONSTRUCTED_OCTETS,
    )
)
"""Everything before the first chunk of the signed content; always the same octets."""
SIGNED_AFTER_CONTENT: Final = _END * 2
SIGNED_SUFFIX: Final = _END * 3
ENVELOPE_PREFIX: Final = b"".join(
    (_CONTENT_INFO, cms.ID_AUTH_ENVELOPED_DATA, _EXPLICIT_0, _CONTENT_INFO, der.integer(0))
)
"""Everything before the recipientInfos."""
ENCRYPTED_BEFORE_NONCE: Final = _CONTENT_INFO + cms.ID_DATA + suites.CONTENT_ENCRYPTION_BEFORE_NONCE
ENCRYPTED_AFTER_NONCE: Final = suites.CONTENT_ENCRYPTION_AFTER_NONCE + _EXPLICIT_0
ENVELOPE_AFTER_CONTENT: Final = _END + bytes((der.OCTET_STRING, suites.TAG_BYTES))
ENVELOPE_SUFFIX: Final = _END * 3


@dataclass(frozen=True)
class ReportDraft:
    """What the card froze, before anything is sealed.

    Attributes:
        taxpayer_id: 税号.
        machine_no: 分机号.
        stamp: 抄税日期时间; it says whether the report is a period or an ad hoc one.
        period_start: First day covered.
        period_end: Last day covered.
        card_no: The card's number.
        sequence: The card's number of this copy.
        nonce: The clear nonce that the card made for this copy.
        invoice_count: Invoice rows that will follow.
    """

    taxpayer_id: TaxpayerId
    machine_no: MachineNo
    stamp: Stamp
    period_start: date
    period_end: date
    card_no: str
    sequence: int
    nonce: Nonce
    invoice_count: int

    @property
    def name(self) -> ReportName:
        """The identity that the file's true name carries."""
        return ReportName(self.taxpayer_id, self.machine_no, self.stamp)


@dataclass(frozen=True)
class SealedReport:
    """What was written.

    Attributes:
        digest: The report's identity: SHA-256 of the signed attributes.
        header: Its public header.
        size_bytes: Size of the file.
        file_sha256: SHA-256 of the file, for information: the file's octets are not its identity.
    """

    digest: ReportDigest
    header: PublicHeader
    size_bytes: int
    file_sha256: str


class _Output:
    """The file, its size and its hash."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > MAX_FILE_BYTES:
            raise ReportTooLarge(reason=Text("文件将超过 1 GiB", "the file would exceed 1 GiB"))
        self._hash.update(data)
        view = memoryview(data)
        while view:
            # An unbuffered file may take less than it was given.
            view = view[self._out.write(view) :]

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


class _Chunks:
    """Cuts octets into primitive OCTET STRINGs of exactly `CHUNK_BYTES`, the last one excepted (ENV-3)."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._kept = bytearray()
        self._head = b"\x04" + der.encode_length(CHUNK_BYTES)
        self.total = 0

    def write(self, data: bytes) -> None:
        self.total += len(data)
        self._kept += data
        if len(self._kept) < CHUNK_BYTES:
            return
        whole = len(self._kept) - len(self._kept) % CHUNK_BYTES
        with memoryview(self._kept) as view:
            for at in range(0, whole, CHUNK_BYTES):
                self._write(self._head)
                self._write(bytes(view[at : at + CHUNK_BYTES]))
        del self._kept[:whole]

    def finish(self) -> None:
        if self._kept:
            self._write(der.octet_string(bytes(self._kept)))
            self._kept.clear()
        self._write(_END)


def seal_report(
    out: BinaryIO,
    draft: ReportDraft,
    rows: Iterable[bytes],
    *,
    signer: Signer,
    recipients: Sequence[x509.Certificate],
    signing_time: datetime,
    progress: Callable[[int], None] | None = None,
    entropy: Callable[[int], bytes] = os.urandom,
) -> SealedReport:
    """Write a report: compressed, encrypted to the bureau, signed by the card.

    Args:
        out: An open file to be written from its present position; temporary until this returns.
        draft: What the card froze.
        rows: The content after its first line: canonical rows without line ends, as `render_row` makes them.
        signer: The card's key.
        recipients: Bureau-envelope certificates of the trust file in force.
        signing_time: The card's clock.
        progress: Told now and then how many invoice rows have been taken.
        entropy: Source of the content key, the GCM nonce and the salt.

    Returns:
        The report's identity and header.

    Raises:
        KeyUnavailable: The card does not sign now. The file is incomplete: remove it.
        ReportTooLarge: Readers would refuse the file for its size. Remove it.
        CertificateRefused: A certificate's key is of no listed kind. Nothing was written.
        ValueError: The rows do not fit the draft: a defect of the caller. Remove the file.
    """
    if signer.algorithm != suites.signature_algorithm(signer.certificate):
        raise ValueError(f"{signer.algorithm} is not the algorithm of the signer's certificate")
    content_key, nonce = entropy(suites.KEY_BYTES), entropy(suites.NONCE_BYTES)
    recipients_der = cms.recipient_infos(recipients, content_key)
    identity = {
        "format": FORMAT,
        "suite": suites.SUITES[signer.algorithm],
        "taxpayer_id": draft.taxpayer_id,
        "machine_no": draft.machine_no,
        "stamp": str(draft.stamp),
        "kind": draft.stamp.kind,
        "period_start": draft.period_start.isoformat(),
        "period_end": draft.period_end.isoformat(),
        "card_no": draft.card_no,
        "sequence": draft.sequence,
        "nonce": draft.nonce,
        "invoice_count": draft.invoice_count,
    }
    first_line = ContentHeader.model_validate(
        {
            **identity,
            "salt": entropy(_SALT_BYTES).hex(),
            "signer_sha256": suites.sha256(cms.encoded(signer.certificate)).hex(),
            "recipients_sha256": suites.sha256(recipients_der).hex(),
        }
    )
    certificates = cms.certificate_set(signer)

    file = _Output(out)
    signed_hash = hashlib.sha256()
    outer = _Chunks(file.write)

    def write_signed(data: bytes) -> None:
        signed_hash.update(data)
        outer.write(data)

    file.write(SIGNED_PREFIX)
    write_signed(ENVELOPE_PREFIX + recipients_der + ENCRYPTED_BEFORE_NONCE + nonce + ENCRYPTED_AFTER_NONCE)
    encryptor = Cipher(AES256(content_key), GCM(nonce)).encryptor()
    inner = _Chunks(write_signed)
    content = _Content(render_row(first_line), rows, progress)
    for compressed in content.compressed():
        inner.write(encryptor.update(compressed))
    encryptor.finalize()
    inner.finish()
    write_signed(ENVELOPE_AFTER_CONTENT + encryptor.tag + ENVELOPE_SUFFIX)
    outer.finish()
    file.write(SIGNED_AFTER_CONTENT)

    if content.invoices != draft.invoice_count:
        raise ValueError(f"{content.invoices} invoice rows instead of {draft.invoice_count}")
    if content.size > MAX_RATIO * inner.total:
        # No list of real invoices comes near this; a reader would take it for a decompression bomb.
        raise ReportTooLarge(
            reason=Text("内容重复过多，压缩比超过上限", f"the content compresses more than {MAX_RATIO} to one")
        )
    header = PublicHeader.model_validate(
        {**identity, "content_sha256": content.sha256, "content_bytes": content.size},
    )
    attributes = cms.signed_attributes(signer, signed_hash.digest(), signing_time=signing_time, hint=render_row(header))
    file.write(certificates + cms.signer_infos(signer, attributes) + SIGNED_SUFFIX)
    return SealedReport(ReportDigest(suites.sha256(attributes).hex()), header, file.size, file.sha256)


_INVOICE_END: Final = b',"type":"invoice"}'


def is_invoice_row(line: bytes) -> bool:
    """Return whether a canonical row is an invoice; `type` is the last member of every row's canonical form."""
    return line.endswith(_INVOICE_END)


class _Content:
    """The JSON lines, counted and hashed on their way into one zstd frame."""

    def __init__(self, first: bytes, rows: Iterable[bytes], progress: Callable[[int], None] | None) -> None:
        self._first = first
        self._rows = rows
        self._progress = progress
        self._hash = hashlib.sha256()
        self.invoices = 0
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def compressed(self) -> Iterable[bytes]:
        compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_checksum=True).compressobj()
        for block in self._blocks():
            self._hash.update(block)
            self.size += len(block)
            if data := compressor.compress(block):
                yield data
        yield compressor.flush()

    def _blocks(self) -> Iterable[bytes]:
        waiting = [self._first]
        length = len(self._first)
        for row in self._rows:
            if not 0 < len(row) <= MAX_LINE_BYTES or b"\n" in row:
                raise ValueError(f"a row of {len(row)} bytes, or with a line end")
            waiting.append(row)
            length += len(row)
            if is_invoice_row(row):
                self.invoices += 1
                if self._progress is not None and self.invoices % _PROGRESS_STEP == 0:
                    self._progress(self.invoices)
            if length >= _BLOCK_BYTES:
                yield b"\n".join(waiting) + b"\n"
                waiting, length = [], 0
        if waiting:
            yield b"\n".join(waiting) + b"\n"
        if self._progress is not None:
            self._progress(self.invoices)
