"""What is sealed comes out again: every kind of key, any size, and only where it should."""

from __future__ import annotations

import hashlib
import io
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from shared.clock import CHINA
from shared.envelope.opening import RecipientId, open_report, prove_report, read_signed_report
from shared.envelope.seal import SealedReport, is_invoice_row, seal_report
from shared.errors import CertificateRefused, KeyUnavailable, ReportInvalid, ReportTooLarge
from shared.keys.port import SignatureAlgorithm
from shared.model.report import parse_row
from shared.text import Text
from tests.support.pki import DAY, NOW, foreign_pki, p256_pki, pki
from tests.support.reports import draft, rows, sealed


@pytest.mark.parametrize("card", ["rsa", "p256"])
@pytest.mark.parametrize("bureau", ["rsa", "p256"])
@pytest.mark.parametrize("key", ["rsa", "p256"])
def test_every_pair_of_keys_seals_and_opens(card: str, bureau: str, key: str) -> None:  # ENV-6, ENV-10
    world = pki() if bureau == "rsa" else p256_pki()
    signer = world.card(key_type=card)  # type: ignore[arg-type]
    decrypter = world.envelope if key == "rsa" else world.envelope_p256
    recipients = [world.envelope.certificate, world.envelope_p256.certificate]
    data, written = sealed(signer, recipients, world=world)

    proven = prove_report(io.BytesIO(data), world.trust, at=NOW)
    assert (proven.digest, proven.header, proven.size_bytes) == (written.digest, written.header, len(data))
    assert proven.signer == signer.certificate
    assert proven.signing_time == NOW
    assert proven.warnings == ()
    assert proven.header.suite.startswith(card)
    for certificate in recipients:
        assert sum(each.matches(certificate) for each in proven.recipients) == 1
    with open_report(io.BytesIO(data), world.trust, decrypter, at=NOW) as opened:
        assert [line for _, line in opened.rows()] == list(rows(3))
        assert [number for number, _ in opened.rows()] == [2, 3, 4, 5, 6, 7]
        assert opened.proven == proven


def test_the_writer_says_what_is_in_the_file() -> None:  # REP-4
    data, written = sealed()
    assert written.file_sha256 == hashlib.sha256(data).hexdigest()
    assert written.size_bytes == len(data)
    with open_report(io.BytesIO(data), pki().trust, pki().envelope, at=NOW) as opened:
        first = opened.content_header
        assert first.model_dump(exclude={"salt", "signer_sha256", "recipients_sha256"}) == written.header.model_dump(
            exclude={"content_sha256", "content_bytes"}
        )
        assert first.signer_sha256 == hashlib.sha256(pki().card().certificate.public_bytes(Encoding.DER)).hexdigest()


def test_a_report_is_proven_by_content_that_stands_anywhere_in_the_file_object() -> None:
    file = io.BytesIO(sealed()[0])
    file.seek(17)
    prove_report(file, pki().trust, at=NOW)


def test_a_zero_report_is_a_report() -> None:
    data, _ = sealed(invoices=0)
    with open_report(io.BytesIO(data), pki().trust, pki().envelope, at=NOW) as opened:
        found = [parse_row(line, number) for number, line in opened.rows()]
    assert [row.type for row in found] == ["summary", "trailer"]


def test_sealing_the_same_copy_again_makes_another_report() -> None:  # ENV-12
    (first, one), (second, two) = sealed(), sealed()
    assert one.digest != two.digest
    assert one.header.content_sha256 != two.header.content_sha256
    with (
        open_report(io.BytesIO(first), pki().trust, pki().envelope, at=NOW) as this,
        open_report(io.BytesIO(second), pki().trust, pki().envelope, at=NOW) as other,
    ):
        assert this.content_header.salt != other.content_header.salt


def test_the_same_content_signed_by_another_card_is_another_report() -> None:  # REP-6, REP-7
    ours, theirs = sealed()[1], sealed(pki().card(machine_no=1))[1]
    assert ours.digest != theirs.digest


def test_many_chunks_come_out_as_they_went_in() -> None:  # ENV-3
    count = 40_000

    def many() -> Iterator[bytes]:
        # Digits that do not compress keep the ciphertext above several chunks.
        for number in range(count):
            yield b'{"n":"' + hashlib.sha512(number.to_bytes(4, "big")).hexdigest().encode() + b'"}'

    data, written = sealed(invoices=0, content=many())
    assert len(data) > 8 * 262144
    with open_report(io.BytesIO(data), pki().trust, pki().envelope, at=NOW) as opened:
        assert all(line == expected for (_, line), expected in zip(opened.rows(), many(), strict=True))
    assert written.header.content_bytes > count * 128


def test_memory_does_not_grow_with_the_report(tmp_path: Path) -> None:  # ENV-14
    path = tmp_path / "large.dat"
    line = 50_000

    def large() -> Iterator[bytes]:
        for number in range(600):
            yield hashlib.shake_256(number.to_bytes(4, "big")).digest(line).replace(b"\n", b" ")

    def peak(work: Callable[[], object]) -> int:
        tracemalloc.start()
        try:
            work()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def seal() -> None:
        with path.open("wb") as out:
            seal_report(
                out,
                draft(pki().card(), invoices=0),
                large(),
                signer=pki().card(),
                recipients=[pki().envelope.certificate],
                signing_time=NOW,
            )

    def prove() -> None:
        with path.open("rb") as file:
            prove_report(file, pki().trust, at=NOW)

    def read() -> None:
        with path.open("rb") as file, open_report(file, pki().trust, pki().envelope, at=NOW) as opened:
            assert sum(len(row) for _, row in opened.rows()) == 600 * line

    # What the interpreter allocates; the compressor's window, the same for every size, comes on top.
    peaks = [peak(work) for work in (seal, prove, read)]
    assert path.stat().st_size > 29_000_000
    assert max(peaks) < 5_000_000, peaks


def test_what_needs_no_trust_is_read_without_it() -> None:
    signed = read_signed_report(io.BytesIO(sealed(foreign_pki().card(), world=foreign_pki())[0]))
    assert signed.header.taxpayer_id == "310100000000000"
    assert [each.subject for each in signed.chain] == [foreign_pki().issuing.subject]


def test_a_signing_time_in_the_future_is_a_warning_only() -> None:
    data, _ = sealed()
    assert prove_report(io.BytesIO(data), pki().trust, at=NOW - 2 * DAY).warnings != ()
    assert prove_report(io.BytesIO(data), pki().trust, at=NOW - DAY / 2).warnings == ()


def test_progress_counts_invoices() -> None:
    seen: list[int] = []
    seal_report(
        io.BytesIO(),
        draft(pki().card(), invoices=2500),
        rows(2500),
        signer=pki().card(),
        recipients=[pki().envelope.certificate],
        signing_time=NOW,
        progress=seen.append,
    )
    assert seen == [1000, 2000, 2500]


def test_invoice_rows_are_known_by_their_last_member() -> None:
    kinds = [is_invoice_row(row) for row in rows(3)]
    assert kinds == [False, False, True, True, True, False]
    assert not is_invoice_row(b'{"remark":",\\"type\\":\\"invoice\\"}"}')


@pytest.mark.parametrize(
    "content",
    [
        list(rows(2)),
        list(rows(4)),
        [*rows(3), b""],
        [b"{}\n{}", *rows(3)],
        [b"x" * ((1 << 20) + 1), *rows(3)],
    ],
    ids=["too few", "too many", "empty", "two lines", "too long"],
)
def test_rows_that_do_not_fit_the_draft_are_a_defect_of_the_caller(content: list[bytes]) -> None:
    with pytest.raises(ValueError):
        sealed(invoices=3, content=content)


def test_content_that_a_reader_would_take_for_a_bomb_is_not_sealed() -> None:  # ENV-11
    with pytest.raises(ReportTooLarge):
        sealed(invoices=0, content=(b'{"same":"row"}' for _ in range(2_000_000)))


@pytest.mark.parametrize("count", [0, 17])
def test_the_number_of_recipients_is_bounded_for_writers_too(count: int) -> None:  # ENV-6
    with pytest.raises(ValueError, match="recipients"):
        sealed(recipients=[pki().envelope.certificate] * count)


class _Pulled:
    """A card that is pulled before it signs."""

    def __init__(self) -> None:
        card = pki().card()
        self.certificate, self.chain = card.certificate, card.chain
        self.algorithm: SignatureAlgorithm = card.algorithm

    def sign(self, data: bytes) -> bytes:
        raise KeyUnavailable(reason=Text("已拔出", "pulled"))


def test_a_card_pulled_before_signing_leaves_no_report() -> None:
    out = io.BytesIO()
    with pytest.raises(KeyUnavailable):
        seal_report(
            out,
            draft(pki().card()),
            rows(3),
            signer=_Pulled(),
            recipients=[pki().envelope.certificate],
            signing_time=NOW,
        )
    with pytest.raises(ReportInvalid):
        read_signed_report(io.BytesIO(out.getvalue()))


class _Reluctant(io.RawIOBase):
    """An unbuffered file that takes and gives at most a few octets at a time."""

    def __init__(self, data: bytes = b"") -> None:
        self.buffer = io.BytesIO(data)

    def write(self, data: object) -> int:
        return self.buffer.write(bytes(memoryview(data))[:1000])  # type: ignore[arg-type]

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.buffer.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        return self.buffer.read(min(size, 777) if size >= 0 else size)


def test_short_reads_and_writes_lose_nothing() -> None:
    out = _Reluctant()
    written = seal_report(
        out,  # type: ignore[arg-type]
        draft(pki().card()),
        rows(3),
        signer=pki().card(),
        recipients=[pki().envelope.certificate],
        signing_time=NOW,
    )
    file = _Reluctant(out.buffer.getvalue())
    assert prove_report(file, pki().trust, at=NOW).digest == written.digest  # type: ignore[arg-type]


@pytest.mark.parametrize("year", [1999, 2026, 2049, 2050, 2099])
def test_signing_times_of_this_and_the_next_century_are_written_and_read(year: int) -> None:  # ENV-8
    moment = datetime(year, 8, 5, 9, 30, 1, tzinfo=CHINA)
    out = io.BytesIO()
    seal_report(
        out,
        draft(pki().card()),
        rows(3),
        signer=pki().card(),
        recipients=[pki().envelope.certificate],
        signing_time=moment,
    )
    assert read_signed_report(io.BytesIO(out.getvalue())).signing_time == moment


def test_recipients_are_named_by_issuer_and_serial() -> None:
    written: SealedReport
    data, written = sealed()
    (recipient,) = read_signed_report(io.BytesIO(data)).recipients
    certificate = pki().envelope.certificate
    assert recipient == RecipientId(certificate.issuer.public_bytes(), certificate.serial_number)
    assert written.header.invoice_count == 3


def test_a_recipient_with_a_weak_key_is_refused_before_anything_is_written() -> None:
    out = io.BytesIO()
    with pytest.raises(CertificateRefused):
        seal_report(
            out,
            draft(pki().card()),
            rows(3),
            signer=pki().card(),
            recipients=[_weak()],
            signing_time=NOW,
        )
    assert out.getvalue() == b""


def _weak():  # type: ignore[no-untyped-def]
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import NameOID

    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "weak")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW - DAY, NOW + DAY)
    return builder.sign(key, hashes.SHA256())


class _Bottomless(io.RawIOBase):
    """A file that counts what it is given and keeps nothing."""

    def write(self, data: object) -> int:
        return len(memoryview(data))  # type: ignore[arg-type]


def test_a_report_beyond_the_limit_is_not_sealed(monkeypatch: pytest.MonkeyPatch) -> None:  # ENV-11
    monkeypatch.setattr("shared.envelope.seal.MAX_FILE_BYTES", 1_000_000)
    noise = (hashlib.shake_256(number.to_bytes(4, "big")).hexdigest(20_000).encode() for number in range(100))
    with pytest.raises(ReportTooLarge):
        seal_report(
            _Bottomless(),  # type: ignore[arg-type]
            draft(pki().card(), invoices=0),
            noise,
            signer=pki().card(),
            recipients=[pki().envelope.certificate],
            signing_time=NOW,
        )
