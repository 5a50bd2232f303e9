"""Every byte of a result and of a clear receipt flipped, every truncation: nothing is accepted, all is said in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared.envelope.textsign import sign_text
from shared.errors import (
    AckInvalid,
    CertificateRefused,
    ResultEmpty,
    ResultInvalid,
    SignatureRefused,
    StillProcessing,
    TaxferryError,
    TrustError,
)
from shared.model.ack import prove_ack
from shared.model.receipt import prove_receipt, render_receipt
from shared.model.result import prove_result
from tests.support.pki import NOW, p256_pki, pki
from tests.support.texts import ack_of, failure, receipt, signed, signed_ack, success

Prove = Callable[..., Any]

FILES: dict[str, tuple[bytes, Prove, type[TaxferryError], Any]] = {
    "success rsa": (signed(success()), prove_result, ResultInvalid, pki().trust),
    "failure p256": (
        signed(failure(), by=p256_pki().bureau_result),
        prove_result,
        ResultInvalid,
        p256_pki().trust,
    ),
    "ack p256": (
        signed_ack(ack_of(success(pki().card(key_type="p256"))), by=pki().card(key_type="p256")),
        prove_ack,
        AckInvalid,
        pki().trust,
    ),
    "receipt": (
        sign_text(render_receipt(receipt()), pki().bureau_result, signing_time=NOW),
        prove_receipt,
        ResultInvalid,
        pki().trust,
    ),
}
each_file = pytest.mark.parametrize(("data", "prove", "error", "trust"), list(FILES.values()), ids=list(FILES))


@each_file
def test_the_file_itself_is_proven(data: bytes, prove: Prove, error: type[TaxferryError], trust: Any) -> None:
    assert prove(data, trust, at=NOW)


@each_file
def test_no_flipped_byte_is_accepted(data: bytes, prove: Prove, error: type[TaxferryError], trust: Any) -> None:
    for position in range(len(data)):
        altered = bytearray(data)
        altered[position] ^= 1 << position % 8
        with pytest.raises((error, SignatureRefused, CertificateRefused)):
            prove(bytes(altered), trust, at=NOW)


def test_no_bit_of_the_lines_of_a_result_may_flip() -> None:
    data = signed(success())
    for position in range(data.index(b"-----BEGIN")):
        for bit in range(8):
            altered = bytearray(data)
            altered[position] ^= 1 << bit
            with pytest.raises((ResultInvalid, SignatureRefused)):
                prove_result(bytes(altered), pki().trust, at=NOW)


@each_file
def test_no_truncation_is_accepted(data: bytes, prove: Prove, error: type[TaxferryError], trust: Any) -> None:
    for length in range(len(data)):
        with pytest.raises((error, ResultEmpty)):
            prove(data[:length], trust, at=NOW)


@each_file
def test_no_missing_byte_is_accepted(data: bytes, prove: Prove, error: type[TaxferryError], trust: Any) -> None:
    for position in range(0, len(data) - 2, 5):
        with pytest.raises((error, TrustError)):
            prove(data[:position] + data[position + 1 :], trust, at=NOW)


@each_file
@pytest.mark.parametrize("size", [512, 1024, 2048])
def test_a_block_of_zeros_as_a_pulled_stick_leaves_it_is_refused(
    data: bytes, prove: Prove, error: type[TaxferryError], trust: Any, size: int
) -> None:
    for damaged in (b"\x00" * len(data), data[:size] + b"\x00" * (len(data) - size), b"\x00" * size + data[size:]):
        with pytest.raises((error, TrustError)):
            prove(damaged, trust, at=NOW)


@each_file
def test_a_y_is_never_a_proof(data: bytes, prove: Prove, error: type[TaxferryError], trust: Any) -> None:
    with pytest.raises((error, StillProcessing)):
        prove(b"Y", trust, at=NOW)
    with pytest.raises((error, TrustError)):
        prove(b"Y\r\n" + data, trust, at=NOW)
