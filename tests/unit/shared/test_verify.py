"""The stand-alone proof of any file."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from shared.envelope.chain import TrustStore
from shared.envelope.textsign import sign_text
from shared.errors import (
    CertificateRefused,
    ConfigurationError,
    FormatError,
    NameContradicts,
    NotFound,
    ReportInvalid,
    ResultEmpty,
    SignatureRefused,
    StillProcessing,
    TaxferryError,
    TrustRefused,
)
from shared.model.receipt import render_receipt
from shared.verify import NOT_CHECKED, load_trust, recognise_kind, verify_file
from tests.support.pki import NOW, foreign_pki, pki
from tests.support.reports import sealed
from tests.support.texts import ack_of, receipt, signed, signed_ack, signed_trust, success, trust_file

P = pki()
STEM = "310100000000000_0_200807180808"
ROOT = TrustStore((P.root,))


NAMES = (f"{STEM}.txt", f"{STEM}.ack", "trust.txt", "受理回执.txt", "310100000000000_0_202608010000.dat")


@functools.cache
def contents() -> dict[str, bytes]:
    """Return one file of each kind under its true name."""
    files = (
        signed(success()),
        signed_ack(ack_of(success())),
        signed_trust(trust_file()),
        sign_text(render_receipt(receipt()), P.bureau_result, signing_time=NOW),
        sealed(P.card())[0],
    )
    return dict(zip(NAMES, files, strict=True))


KINDS = {".ack": "ack", ".dat": "report"}


def kind_of(name: str) -> str:
    """Return the kind that a file of that name should turn out to be."""
    special = {"trust.txt": "trust", "受理回执.txt": "receipt"}
    return special.get(name) or KINDS.get(Path(name).suffix, "result")


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_is_proven_up_to_a_root(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(contents()[name])
    found = verify_file(tmp_path / name, P.trust, NOW)
    assert found.kind == kind_of(name)
    assert found.valid
    assert found.checked_chain
    assert NOT_CHECKED not in found.warnings
    assert found.signer["role"]
    assert found.header


@pytest.mark.parametrize("name", NAMES)
def test_without_a_root_it_is_said_that_nobody_vouches(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(contents()[name])
    found = verify_file(tmp_path / name, None, NOW)
    assert found.kind == kind_of(name)
    assert not found.checked_chain
    assert NOT_CHECKED in found.warnings


@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_root_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(contents()[name])
    with pytest.raises((CertificateRefused, TrustRefused)):
        verify_file(tmp_path / name, foreign_pki().trust, NOW)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("store", [None, P.trust], ids=["no root", "root"])
def test_an_altered_file_is_refused_with_and_without_a_root(
    tmp_path: Path, name: str, store: TrustStore | None
) -> None:
    data = contents()[name]
    # Not in the middle: there stand the intermediates, which only a root can prove.
    for position in (1, 40, 200, len(data) - 60, len(data) - 30):
        altered = bytearray(data)
        altered[position] ^= 4
        (tmp_path / name).write_bytes(bytes(altered))
        with pytest.raises(TaxferryError):
            verify_file(tmp_path / name, store, NOW)


def test_a_name_that_contradicts_the_content_is_refused_with_both(tmp_path: Path) -> None:
    path = tmp_path / "310100000000000_1_200807180808.txt"
    path.write_bytes(signed(success()))
    with pytest.raises(NameContradicts) as caught:
        verify_file(path, P.trust, NOW)
    assert "310100000000000_1_200807180808" in str(caught.value)
    assert "310100000000000_0_200807180808" in str(caught.value)


@pytest.mark.parametrize("name", [f"{STEM} (1).txt", "重命名.bin", f"{STEM}.txt.txt", f"{STEM}.dat"])
def test_the_name_decides_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(signed(success()))
    assert verify_file(tmp_path / name, P.trust, NOW).kind == "result"


def test_a_y_and_an_empty_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / f"{STEM}.txt"
    path.write_bytes(b"Y")
    with pytest.raises(StillProcessing):
        verify_file(path, None, NOW)
    path.write_bytes(b"")
    with pytest.raises(ResultEmpty, match=STEM):
        verify_file(path, None, NOW)
    path.with_suffix(".dat").write_bytes(b"")
    with pytest.raises(ReportInvalid):
        verify_file(path.with_suffix(".dat"), None, NOW)


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04", b"\x00" * 999, b"\x30\x80", b"\xff" * 70_000])
@pytest.mark.parametrize("name", ["x.bin", "trust.txt", f"{STEM}.txt", f"{STEM}.ack", f"{STEM}.dat", "notes.txt"])
def test_foreign_files_are_refused_in_words(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FormatError):
        verify_file(tmp_path / name, P.trust, NOW)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        verify_file(tmp_path / "nowhere.txt", None, NOW)
    with pytest.raises(NotFound):
        verify_file(tmp_path, None, NOW)


def test_a_result_signed_by_a_card_is_a_signature_failure_even_without_a_root(tmp_path: Path) -> None:
    path = tmp_path / f"{STEM}.txt"
    path.write_bytes(signed(success(), by=P.card()))
    with pytest.raises(SignatureRefused):
        verify_file(path, None, NOW)


def test_kinds_are_recognised_by_their_first_octets() -> None:
    for name, data in contents().items():
        assert recognise_kind(data[:64]) == kind_of(name)
    assert recognise_kind(b"\xef\xbb\xbf" + signed(success())[:50]) == "result"
    with pytest.raises(ReportInvalid):
        recognise_kind(b"??", "x.bin")


def test_trust_is_named_as_pem_or_as_a_trust_file(tmp_path: Path) -> None:
    pem = tmp_path / "root.pem"
    pem.write_bytes(P.root.public_bytes(Encoding.PEM))
    assert load_trust(pem, at=NOW).roots == (P.root,)
    file = tmp_path / "trust.txt"
    file.write_bytes(signed_trust(trust_file()))
    assert load_trust(file, at=NOW) == trust_file().store()


@pytest.mark.parametrize("data", [b"", b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_trust_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "root.pem").write_bytes(data)
    with pytest.raises(ConfigurationError):
        load_trust(tmp_path / "root.pem", at=NOW)
    with pytest.raises(ConfigurationError):
        load_trust(tmp_path / "nowhere", at=NOW)


def test_no_roots_prove_no_trust_file(tmp_path: Path) -> None:
    (tmp_path / "trust.txt").write_bytes(signed_trust(trust_file()))
    with pytest.raises(TrustRefused):
        verify_file(tmp_path / "trust.txt", TrustStore(()), NOW)
    assert verify_file(tmp_path / "trust.txt", ROOT, NOW).header["version"] == 1


def test_a_certificate_without_end_is_described(tmp_path: Path) -> None:
    """It ends in the last second of the year 9999 in UTC, which China time cannot spell (TRUST-13)."""
    card = P.card(card_no="ENDLESS", not_after=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    path = tmp_path / f"{STEM}.ack"
    path.write_bytes(signed_ack(ack_of(success(card)), by=card))
    found = verify_file(path, P.trust, NOW)
    assert found.signer["not_after"] == "9999-12-31T23:59:59+00:00"
    assert found.signer["not_before"] == "2006-01-01T00:00:00+08:00"
