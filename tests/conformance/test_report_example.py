"""The published example of a report, and the octets that the specification prints, are what the code reads."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from shared.envelope import cms, seal, suites
from shared.envelope.chain import TrustStore
from shared.envelope.opening import open_report
from shared.keys.file import SoftDecrypter
from shared.model.report import parse_content_header, parse_public_header, parse_row, render_row
from tax_bureau.judge.detail import read_content
from tests.support.pki import NOW

ROOT = Path(__file__).parents[2]
VECTOR = ROOT / "tests" / "vectors" / "report"
PAGE = (ROOT / "docs" / "spec" / "report.md").read_text(encoding="utf-8")
TEXT_PAGE = (ROOT / "docs" / "spec" / "signed-text.md").read_text(encoding="utf-8")


def pem(name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((VECTOR / name).read_bytes())


@pytest.mark.parametrize("kind", ["rsa", "p256"])
def test_the_example_opens_for_ever(kind: str) -> None:
    key = load_pem_private_key((VECTOR / f"bureau-{kind}.key").read_bytes(), None)
    decrypter = SoftDecrypter(key, pem(f"bureau-{kind}.pem"))  # type: ignore[arg-type]
    data = (VECTOR / "310100000000000_0_202608010000.dat").read_bytes()
    with open_report(io.BytesIO(data), TrustStore((pem("root.pem"),)), decrypter, at=NOW) as opened:
        lines = [render_row(opened.content_header), *(line for _, line in opened.rows())]
        assert read_content(opened.proven.header, opened.rows()).differences == ()
        assert b"".join(line + b"\n" for line in lines) == (VECTOR / "content.jsonl").read_bytes()
        assert opened.proven.digest in PAGE
        assert render_row(opened.proven.header).decode() in PAGE


def test_the_printed_lines_are_rows() -> None:
    header, first, *printed = [
        line.encode() for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
    ]
    parse_public_header(header)
    parse_content_header(first)
    lines = (VECTOR / "content.jsonl").read_bytes().splitlines()
    assert [first, *printed] == [*lines[:4], lines[-1]]
    for number, line in enumerate(printed, 2):
        parse_row(line, number)


def test_the_printed_octets_are_those_of_the_code() -> None:  # ENV-2
    blocks = [bytes.fromhex(block) for block in re.findall(r"```text\n((?:[0-9a-f]{2}\s)+)```", PAGE)]
    assert blocks == [seal.SIGNED_PREFIX, seal.ENVELOPE_PREFIX]


def test_the_printed_algorithms_are_those_of_the_code() -> None:  # ENV-10
    table = PAGE[PAGE.index("| use | AlgorithmIdentifier") :].split("\n\n")[0]
    printed = [bytes.fromhex(octets) for octets in re.findall(r"`([0-9a-f]+)`", table)]
    assert printed == [
        suites.SHA256,
        suites.RSA_SHA256,
        suites.ECDSA_SHA256,
        suites.OAEP_SHA256,
        suites.ECDH_SHA256KDF,
        suites.CONTENT_ENCRYPTION_BEFORE_NONCE,
        suites.CONTENT_ENCRYPTION_AFTER_NONCE,
    ]
    assert suites.RSA_PLAIN.hex() in TEXT_PAGE


def test_the_printed_limits_are_those_of_the_code() -> None:  # ENV-11
    assert (seal.CHUNK_BYTES, seal.MAX_FILE_BYTES, seal.MAX_LINE_BYTES, seal.MAX_RATIO) == (262144, 2**30, 2**20, 1000)
    assert (cms.MAX_RECIPIENTS, cms.MAX_CERTIFICATES, cms.MAX_CERTIFICATE_BYTES) == (16, 8, 8192)
