from __future__ import annotations

import base64
import datetime as dt
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from shared.errors import SignatureRefused
from shared.httpsig import (
    authority_of,
    content_digest,
    parse_content_digest,
    parse_signature,
    sign_request,
    verify_request,
)

URL = "https://Gateway.Example:8443/v1/taxpayers/310100000000000/standing?period=2008-07"
BODY = content_digest(hashlib.sha256(b"body").digest())
NONCE = "0123456789abcdef0123456789abcdef"


class Key:
    """A station key made on the spot: the profile needs no chain."""

    def __init__(self, kind: str) -> None:
        self.chain = ()
        self._key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
        self.algorithm = "rsa-pkcs1v15-sha256" if kind == "rsa" else "ecdsa-p256-sha256"
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "station")])
        day = dt.datetime(2008, 7, 1, tzinfo=dt.UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(7)
            .not_valid_before(day)
            .not_valid_after(day + dt.timedelta(days=30))
            .sign(self._key, hashes.SHA256())
        )

    @property
    def keyid(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def sign(self, data: bytes) -> bytes:
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))


@pytest.fixture(scope="module", params=["rsa", "p256"])
def key(request):
    return Key(request.param)


def signed(key, *, method="PUT", url=URL, body=BODY, **more):
    return sign_request(method, url, body, key, created=1216368488, nonce=NONCE, keyid=key.keyid, **more)


def check(key, headers, *, method="PUT", authority="gateway.example:8443", path=None, query="period=2008-07"):
    path = "/v1/taxpayers/310100000000000/standing" if path is None else path
    verify_request(method, authority, path, query, headers, key.certificate)


def test_the_signed_octets_are_those_of_the_standard_written_out_by_hand(key):
    """GW-21: an independent reading of RFC 9421 section 2.5, without the code under test."""
    headers = signed(key)
    parameters = headers["Signature-Input"].partition("=")[2]
    by_hand = (
        '"@method": PUT\n'
        '"@authority": gateway.example:8443\n'
        '"@path": /v1/taxpayers/310100000000000/standing\n'
        '"@query": ?period=2008-07\n'
        f'"content-digest": {BODY}\n'
        f'"@signature-params": {parameters}'
    ).encode()
    raw = base64.b64decode(headers["Signature"].removeprefix("taxferry=:").removesuffix(":"))
    public = key.certificate.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        public.verify(raw, by_hand, padding.PKCS1v15(), hashes.SHA256())
    else:
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

        der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        public.verify(der, by_hand, ec.ECDSA(hashes.SHA256()))


def test_a_signed_request_verifies_and_shows_its_time_and_nonce(key):
    headers = signed(key)
    check(key, headers)
    given = parse_signature({name.lower(): value for name, value in headers.items()})
    assert (given.created, given.nonce, given.keyid) == (1216368488, NONCE, key.keyid)


def test_a_request_without_a_body_covers_no_content_digest(key):
    headers = signed(key, method="GET", body=None)
    assert "Content-Digest" not in headers
    check(key, headers, method="GET")


def test_an_empty_query_and_path_have_one_spelling(key):
    headers = signed(key, method="GET", url="http://bureau.example", body=None)
    check(key, headers, method="GET", authority="bureau.example", path="/", query="")


@pytest.mark.parametrize(
    "change",
    [
        {"method": "GET"},
        {"authority": "other.example:8443"},
        {"path": "/v1/taxpayers/310100000000001/standing"},
        {"query": "period=2008-06"},
        {"query": ""},
    ],
)
def test_a_change_of_any_covered_part_is_refused(key, change):
    headers = signed(key)
    with pytest.raises(SignatureRefused):
        check(key, headers, **change)


def test_another_body_digest_is_refused(key):
    headers = signed(key) | {"Content-Digest": content_digest(hashlib.sha256(b"other").digest())}
    with pytest.raises(SignatureRefused):
        check(key, headers)


@pytest.mark.parametrize("added", ["Content-Digest", "Repr-Digest", "Content-Range"])
def test_a_field_that_must_be_covered_cannot_be_added_afterwards(key, added):
    headers = signed(key, body=None) | {added: BODY}
    with pytest.raises(SignatureRefused):
        check(key, headers)


def test_a_covered_field_cannot_be_taken_away(key):
    headers = signed(key)
    del headers["Content-Digest"]
    with pytest.raises(SignatureRefused):
        check(key, headers)


def test_parts_cover_range_and_whole_file(key):
    more = {"Content-Range": "bytes 0-3/8", "Repr-Digest": BODY}
    headers = signed(key, fields=more)
    check(key, headers)
    with pytest.raises(SignatureRefused):
        check(key, headers | {"Content-Range": "bytes 4-7/8"})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("created=1216368488", "created=1216368489"),
        (NONCE, NONCE[::-1]),
        ('tag="taxferry"', 'tag="other"'),
        (';alg="', ';expires=1;alg="'),
        ('"@method" ', ""),
        ("taxferry=(", "sig1=("),
        ("created=1216368488", "created=01216368488"),
    ],
)
def test_another_signature_input_is_refused(key, old, new):
    headers = signed(key)
    changed = headers["Signature-Input"].replace(old, new)
    assert changed != headers["Signature-Input"]
    with pytest.raises(SignatureRefused):
        check(key, headers | {"Signature-Input": changed})


def test_another_key_of_either_kind_is_refused(key):
    for kind in ("rsa", "p256"):
        with pytest.raises(SignatureRefused):
            verify_request(
                "PUT",
                "gateway.example:8443",
                "/v1/taxpayers/310100000000000/standing",
                "period=2008-07",
                signed(key),
                Key(kind).certificate,
            )


@pytest.mark.parametrize("field", ["Signature", "Signature-Input"])
@pytest.mark.parametrize("value", ["", "taxferry", "taxferry=::", "x" * 5000, "税渡", "taxferry=(\x00)"])
def test_rubbish_is_refused_and_nothing_else_escapes(key, field, value):
    with pytest.raises(SignatureRefused):
        check(key, signed(key) | {field: value})


def test_a_request_without_a_signature_is_refused(key):
    with pytest.raises(SignatureRefused):
        check(key, {"Content-Digest": BODY})


def test_a_digest_field_has_one_spelling():
    digest = hashlib.sha256(b"x").digest()
    assert parse_content_digest(content_digest(digest)) == digest
    for bad in ("", "sha-256=::", "sha-512=" + content_digest(digest)[8:], content_digest(digest) + " ", "sha-256=:é:"):
        with pytest.raises(SignatureRefused):
            parse_content_digest(bad)


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://Bureau.Example/x", "bureau.example"),
        ("http://bureau.example:80/x", "bureau.example"),
        ("https://bureau.example:443/x", "bureau.example"),
        ("https://bureau.example:80/x", "bureau.example:80"),
        ("http://[::1]:8080/x", "[::1]:8080"),
    ],
)
def test_the_authority_leaves_out_the_scheme_s_own_port(url, authority):
    assert authority_of(url) == authority


@pytest.mark.parametrize("url", ["ftp://x/", "http:///x", "http://x/#f", "http://x/税"])
def test_a_url_outside_the_profile_is_a_defect(key, url):
    with pytest.raises(ValueError):
        signed(key, url=url)
