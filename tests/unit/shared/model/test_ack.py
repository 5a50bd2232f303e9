"""The clear receipt and the receipt of an upload (ACK-1 to ACK-4, RES-30)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from shared.clock import CHINA
from shared.envelope.chain import TrustStore
from shared.envelope.textsign import sign_text
from shared.errors import AckInvalid, CertificateRefused, ResultInvalid, SignatureRefused
from shared.keys.port import Signer
from shared.model.ack import Ack, parse_ack, prove_ack, render_ack
from shared.model.receipt import Receipt, parse_receipt, prove_receipt, render_receipt
from tests.support.pki import NOW, OTHER_TAXPAYER, foreign_pki, pki
from tests.support.texts import ack_of, receipt, signed, signed_ack, success

VECTORS = Path(__file__).parents[3] / "vectors" / "text"


def test_a_clear_receipt_is_written_as_specified_and_read_back() -> None:
    ack = ack_of(success())
    assert render_ack(ack).decode().split("\r\n") == [
        "税渡 清卡回执 1",
        "税号: 310100000000000",
        "分机号: 0",
        "卡号: TC0000000000",
        "抄税时间: 200807180808",
        "报告摘要: " + "6f" * 32,
        "结果序号: 17",
        "结果摘要: 9c5d44fad4e0d8c1d5d17900bb958194e8aa9e347fabdd6e5af4beaba1fcb145",
        "清卡时间: 2008-07-18T09:01:40+08:00",
        "锁死日期: 2008-08-15",
        "",
    ]
    assert parse_ack(render_ack(ack)) == ack


def test_issued_again_it_has_an_identical_body() -> None:
    card = pki().card(key_type="p256")
    ack = ack_of(success(card))
    first = prove_ack(signed_ack(ack, by=card, at=NOW), pki().trust, at=NOW)
    again = prove_ack(signed_ack(ack, by=card, at=NOW + timedelta(hours=5)), pki().trust, at=NOW)
    assert first.body == again.body
    assert first.body_sha256 == again.body_sha256


@pytest.mark.parametrize(
    "changes",
    [
        {"result_no": 0},
        {"result_sha256": "9C" * 32},
        {"result_sha256": ""},
        {"card_no": "a b"},
        {"cleared_at": datetime(2008, 7, 18)},  # noqa: DTZ001
    ],
)
def test_what_no_reader_would_take_is_not_made(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        ack_of(success(), **changes)


@pytest.mark.parametrize("number", range(10))
def test_no_line_may_be_missing_or_doubled(number: int) -> None:
    lines = render_ack(ack_of(success())).split(b"\r\n")[:-1]
    for altered in (lines[:number] + lines[number + 1 :], lines[: number + 1] + lines[number:]):
        with pytest.raises(AckInvalid):
            parse_ack(b"".join(line + b"\r\n" for line in altered))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("清卡回执 1", "清卡回执 2"),
        ("锁死日期: 2008-08-15", "锁死日期:"),
        ("锁死日期: 2008-08-15", "锁死日期: 2008-8-15"),
        ("结果序号: 17", "结果序号: 0"),
        ("结果摘要: 9c", "结果摘要: 9C"),
        ("清卡时间: 2008", "清卡时间: 208"),
    ],
)
def test_other_spellings_are_refused(old: str, new: str) -> None:
    with pytest.raises(AckInvalid):
        parse_ack(render_ack(ack_of(success())).decode().replace(old, new).encode())


def test_a_clear_receipt_is_proven_with_its_card() -> None:
    proven = prove_ack(signed_ack(ack_of(success())), pki().trust, at=NOW)
    assert proven.ack == ack_of(success())
    assert proven.signer == pki().card().certificate


@pytest.mark.parametrize(
    "signer",
    [
        pki().card(machine_no=1),
        pki().card(OTHER_TAXPAYER),
        pki().card(card_no="TC999"),
    ],
    ids=["another machine", "another taxpayer", "another card"],
)
def test_another_cards_signature_is_refused(signer: Signer) -> None:
    with pytest.raises(SignatureRefused):
        prove_ack(signed_ack(ack_of(success()), by=signer), pki().trust, at=NOW)


def test_a_bureau_cannot_write_a_clear_receipt() -> None:
    with pytest.raises(SignatureRefused):
        prove_ack(signed_ack(ack_of(success()), by=pki().bureau_result), pki().trust, at=NOW)


def test_a_foreign_card_is_refused() -> None:
    with pytest.raises(CertificateRefused):
        prove_ack(signed_ack(ack_of(success()), by=foreign_pki().card()), pki().trust, at=NOW)


@pytest.mark.parametrize("data", [b"", b"Y", b"\x00" * 99, b"x" * 70_000], ids=["empty", "y", "nul", "too large"])
def test_what_is_no_clear_receipt_is_refused(data: bytes) -> None:
    with pytest.raises(AckInvalid):
        prove_ack(data, pki().trust, at=NOW)


def test_a_result_is_no_clear_receipt() -> None:
    with pytest.raises(SignatureRefused):
        prove_ack(signed(success()), pki().trust, at=NOW)


@pytest.mark.parametrize(
    "edit",
    [lambda d: b"\xef\xbb\xbf" + d, lambda d: d.replace(b"\r\n", b"\n"), lambda d: d + b"\r\n"],
    ids=["bom", "lf", "blank line"],
)
def test_what_an_editor_changes_is_tolerated(edit: Callable[[bytes], bytes]) -> None:
    assert prove_ack(edit(signed_ack(ack_of(success()))), pki().trust, at=NOW).ack == ack_of(success())


def test_the_receipt_of_an_upload_is_read_back_and_proven() -> None:
    found = receipt()
    assert parse_receipt(render_receipt(found)) == found
    data = sign_text(render_receipt(found), pki().bureau_result, signing_time=NOW)
    assert prove_receipt(data, pki().trust, at=NOW).receipt == found


def test_a_receipt_by_a_card_or_of_another_kind_is_refused() -> None:
    with pytest.raises(SignatureRefused):
        prove_receipt(sign_text(render_receipt(receipt()), pki().card(), signing_time=NOW), pki().trust, at=NOW)
    with pytest.raises(ResultInvalid):
        prove_receipt(signed(success()), pki().trust, at=NOW)
    with pytest.raises(ResultInvalid):
        prove_receipt(b"x" * 70_000, pki().trust, at=NOW)


@pytest.mark.parametrize("changes", [{"ask_after_seconds": -1}, {"ask_after_seconds": 604801}, {"receipt_no": " "}])
def test_a_receipt_that_no_reader_would_take_is_not_made(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        receipt(**changes)


def test_the_vectors_of_the_specification_are_proven() -> None:
    trust = TrustStore((x509.load_pem_x509_certificate((VECTORS / "root.pem").read_bytes()),))
    ack: Ack = prove_ack((VECTORS / "clear.ack").read_bytes(), trust, at=NOW).ack
    assert ack == ack_of(success())
    assert ack.lock_date == date(2008, 8, 15)
    found: Receipt = prove_receipt((VECTORS / "receipt.txt").read_bytes(), trust, at=NOW).receipt
    assert found == receipt()
    assert found.received_at.tzinfo is CHINA
