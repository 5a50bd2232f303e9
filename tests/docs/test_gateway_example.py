"""The worked examples of the gateway's page are true: an RFC 9421 signature read with nothing but the page (GW-20, GW-23)."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from shared.errors import SignatureRefused
from shared.httpsig import parse_signature, verify_request
from shared.model.standing import parse_report_status, parse_standing

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/spec/gateway.md").read_text(encoding="utf-8")
CERTIFICATE = x509.load_pem_x509_certificate((ROOT / "tests/vectors/httpsig/station.pem").read_bytes())
PATH = f"/v1/reports/{'6f' * 32}/ack"


def blocks(language):
    return [b.rstrip("\n") for b in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)]


BASE, FIELDS = blocks("text")
HEADERS = dict(line.split(": ", 1) for line in FIELDS.splitlines())


def test_the_signature_on_the_page_is_over_the_base_on_the_page():
    raw = base64.b64decode(HEADERS["Signature"].removeprefix("taxferry=:").removesuffix(":"))
    CERTIFICATE.public_key().verify(raw, BASE.encode(), padding.PKCS1v15(), hashes.SHA256())


def test_our_verifier_reads_the_page_the_same_way():
    assert parse_signature(HEADERS).created == 1216368488
    assert parse_signature(HEADERS).keyid == CERTIFICATE.fingerprint(hashes.SHA256()).hex()
    verify_request("PUT", "gateway.example.cn", PATH, "", HEADERS, CERTIFICATE)
    with pytest.raises(SignatureRefused):
        verify_request("PUT", "gateway.example.cn", PATH, "x", HEADERS, CERTIFICATE)


def test_the_digest_on_the_page_is_the_body_s():
    found = hashlib.sha256("清卡回执\r\n".encode()).digest()
    assert HEADERS["Content-Digest"] == f"sha-256=:{base64.b64encode(found).decode()}:"


def test_the_json_on_the_page_is_read():
    standing, status = blocks("json")
    assert parse_standing(standing.encode()).machines_expected == (0, 1)
    assert parse_report_status(status.encode()).state == "processing"
