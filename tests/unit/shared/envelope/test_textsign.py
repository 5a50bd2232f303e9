"""Signed text: what an editor does to it, what an attacker does to it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime

import pytest

from shared.canonical import render_lines
from shared.clock import CHINA
from shared.envelope import cms, der, suites
from shared.envelope.opening import clock_warnings
from shared.envelope.roles import Role
from shared.envelope.textsign import MAX_TEXT_BYTES, prove_text, read_signed_text, sign_text
from shared.errors import AckInvalid, CertificateRefused, ResultInvalid, SignatureRefused, TaxferryError
from tests.support.pki import DAY, NOW, foreign_pki, p256_pki, pki

BODY = render_lines("税渡 样例 1", [("税号", "310100000000000"), ("金额", "100.00"), ("说明", "")])
BOM = b"\xef\xbb\xbf"
BEGIN, END = b"-----BEGIN CMS-----\r\n", b"-----END CMS-----\r\n"


@pytest.fixture(scope="module")
def text() -> bytes:
    return sign_text(BODY, pki().bureau_result, signing_time=NOW)


def prove(data: bytes, role: Role = Role.BUREAU_RESULT) -> bytes:
    return prove_text(data, role, pki().trust, at=NOW, error=ResultInvalid).body


def refused(data: bytes, error: type[TaxferryError]) -> None:
    with pytest.raises(error) as caught:
        prove(data)
    assert caught.type is error


@pytest.mark.parametrize("world", [pki, p256_pki])
def test_what_is_signed_is_proven(world: Callable[[], object]) -> None:
    bureau = pki() if world is pki else p256_pki()
    data = sign_text(BODY, bureau.bureau_result, signing_time=NOW)
    proven = prove_text(data, Role.BUREAU_RESULT, bureau.trust, at=NOW, error=ResultInvalid)
    assert (proven.body, proven.signer, proven.signing_time, proven.warnings) == (
        BODY,
        bureau.bureau_result.certificate,
        NOW,
        (),
    )


def test_clocks_at_the_end_of_time_are_compared() -> None:
    """A day of tolerance has no room after the last day of the year 9999."""
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=CHINA)
    assert clock_warnings(last, last) == ()
    assert len(clock_warnings(last, NOW)) == 1


def test_the_text_is_the_body_and_64_columns(text: bytes) -> None:  # TXT-1, TXT-3
    assert text.startswith(BODY + BEGIN)
    lines = text.removeprefix(BODY).split(b"\r\n")
    assert {len(line) for line in lines[1:-3]} == {64}
    assert 0 < len(lines[-3]) <= 64
    assert lines[-2:] == [b"-----END CMS-----", b""]


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: BOM + data,
        lambda data: data.replace(b"\r\n", b"\n"),
        lambda data: BOM + data.replace(b"\r\n", b"\n"),
        lambda data: data + b"\r\n",
        lambda data: data + b"\n\r\n\n",
        lambda data: data.replace(b"\r\n", b"\n") + b"\r\n",
    ],
    ids=["bom", "lf", "both", "blank line", "blank lines", "crlf after lf"],
)
def test_what_an_editor_does_is_tolerated(text: bytes, edit: Callable[[bytes], bytes]) -> None:  # TXT-5
    assert prove(edit(text)) == BODY


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        (lambda data: data.replace(b"100.00", b"900.00"), SignatureRefused),
        (lambda data: data.replace("说明:\r\n".encode(), b""), SignatureRefused),
        (lambda data: b"\r\n" + data, SignatureRefused),
        (lambda data: "前言\r\n".encode() + data, SignatureRefused),
        (lambda data: data.replace(BEGIN, "附言: 1\r\n".encode() + BEGIN), SignatureRefused),
        (lambda data: data.replace(b": ", b":  ", 1), SignatureRefused),
        (lambda data: data.decode().encode("gbk"), SignatureRefused),
        (lambda data: data.decode().encode("utf-16"), ResultInvalid),
        (lambda data: BOM + BOM + data, SignatureRefused),
        (lambda data: data + b" ", ResultInvalid),
        (lambda data: data + "附言\r\n".encode(), ResultInvalid),
        (lambda data: data + data.removeprefix(BODY), ResultInvalid),
        (lambda data: data + data, ResultInvalid),
        (lambda data: data.replace(b"\r\n", b"\n", 1), ResultInvalid),
        (lambda data: data.replace(b"\r\n", b"\r"), ResultInvalid),
        (lambda data: data.replace(b"\r\n", b"\r\r\n"), ResultInvalid),
        (lambda data: data[:-1], ResultInvalid),
        (lambda data: data[:-2], ResultInvalid),
        (lambda data: data + b"\r", ResultInvalid),
        (lambda data: data.removesuffix(END), ResultInvalid),
        (lambda data: data.replace(BEGIN, BEGIN.lower()), ResultInvalid),
        (lambda data: data.replace(b"CMS", b"PKCS7"), ResultInvalid),
        (lambda data: BODY, ResultInvalid),
        (lambda data: data.removeprefix(BODY), ResultInvalid),
        (lambda data: BODY + BEGIN + END, ResultInvalid),
        (lambda data: b"", ResultInvalid),
        (lambda data: b"\x00" * 5000, ResultInvalid),
        (lambda data: b"\r\n" * 5000, ResultInvalid),
    ],
)  # fmt: skip
def test_everything_else_is_refused(text: bytes, edit: Callable[[bytes], bytes], error: type[TaxferryError]) -> None:
    refused(edit(text), error)  # TXT-6


def reflow(text: bytes, columns: int) -> bytes:
    base = text.removeprefix(BODY + BEGIN).removesuffix(END).replace(b"\r\n", b"")
    return BODY + BEGIN + b"".join(base[at : at + columns] + b"\r\n" for at in range(0, len(base), columns)) + END


@pytest.mark.parametrize("columns", [60, 63, 65, 76, 10**6])
def test_another_wrapping_of_the_block_is_refused(text: bytes, columns: int) -> None:  # TXT-3
    assert reflow(text, 64) == text
    refused(reflow(text, columns), ResultInvalid)


def test_bits_that_base64_ignores_are_refused() -> None:  # TXT-3
    # The length of an ECDSA signature varies, and with it whether the base64 is padded: one of many is.
    found = next(
        data
        for _ in range(200)
        if b"=\r\n" + END in (data := sign_text(BODY, p256_pki().bureau_result, signing_time=NOW))
    )
    at = found.index(b"=")
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = alphabet[alphabet.index(found[at - 1]) + 1]
    with pytest.raises(ResultInvalid):
        prove_text(
            found[: at - 1] + bytes((other,)) + found[at:],
            Role.BUREAU_RESULT,
            p256_pki().trust,
            at=NOW,
            error=ResultInvalid,
        )


@pytest.mark.parametrize("line", [b"x: -----BEGIN CMS-----\r\n", b"-----BEGIN PGP SIGNATURE-----\r\n"])
def test_a_body_that_seems_to_begin_a_block_is_refused_whoever_signed_it(line: bytes) -> None:  # TXT-1
    signer = pki().bureau_result

    def signed(body: bytes) -> bytes:
        attributes = cms.signed_attributes(signer, suites.sha256(body), signing_time=NOW, hint=None)
        made = sign_text(BODY, signer, signing_time=NOW)
        block = base64.b64decode(made.removeprefix(BODY + BEGIN).removesuffix(END))
        outer = der.Reader(block).enter(der.SEQUENCE)
        outer.read(der.OBJECT_IDENTIFIER)
        fields = outer.enter(der.context(0)).enter(der.SEQUENCE)
        kept = [fields.read_whole(tag) for tag in (der.INTEGER, der.SET, der.SEQUENCE, der.context(0))]
        data = der.sequence(*kept, cms.signer_infos(signer, attributes))
        text = base64.b64encode(der.sequence(cms.ID_SIGNED_DATA, der.element(der.context(0), data)))
        return body + BEGIN + b"".join(text[at : at + 64] + b"\r\n" for at in range(0, len(text), 64)) + END

    assert prove(signed(BODY + b"x: y\r\n")) == BODY + b"x: y\r\n"
    refused(signed(BODY + line), ResultInvalid)


@pytest.mark.parametrize("role", [Role.CARD, Role.TRUST, Role.STATION])
def test_another_role_is_refused(text: bytes, role: Role) -> None:  # TXT-8
    with pytest.raises(SignatureRefused):
        prove(text, role)


def test_a_cards_own_key_cannot_sign_results() -> None:  # TXT-8
    refused(sign_text(BODY, pki().card(), signing_time=NOW), SignatureRefused)


def test_another_bureau_is_refused() -> None:
    refused(sign_text(BODY, foreign_pki().bureau_result, signing_time=NOW), CertificateRefused)


def test_the_error_is_the_callers() -> None:
    with pytest.raises(AckInvalid):
        prove_text(b"nothing\r\n", Role.CARD, pki().trust, at=NOW, error=AckInvalid)


def test_what_needs_no_trust_is_read_without_it() -> None:
    signed = read_signed_text(
        sign_text(BODY, foreign_pki().bureau_result, signing_time=NOW), Role.BUREAU_RESULT, error=ResultInvalid
    )
    assert signed.body == BODY


def test_a_signing_time_in_the_future_is_a_warning_only(text: bytes) -> None:
    early = prove_text(text, Role.BUREAU_RESULT, pki().trust, at=NOW - 2 * DAY, error=ResultInvalid)
    assert early.warnings != ()


def test_too_much_text_is_refused_before_it_is_decoded() -> None:  # TXT-9
    refused(b"x" * (MAX_TEXT_BYTES + 1), ResultInvalid)


def block(*parts: bytes) -> bytes:
    content = der.sequence(cms.ID_SIGNED_DATA, der.element(der.context(0), der.sequence(*parts)))
    base = base64.b64encode(content)
    return BODY + BEGIN + b"".join(base[at : at + 64] + b"\r\n" for at in range(0, len(base), 64)) + END


def parts() -> list[bytes]:
    signer = pki().bureau_result
    attributes = cms.signed_attributes(signer, suites.sha256(BODY), signing_time=NOW, hint=None)
    return [
        der.integer(1),
        der.set_of([suites.SHA256]),
        der.sequence(cms.ID_DATA),
        cms.certificate_set(signer),
        cms.signer_infos(signer, attributes),
    ]


def test_the_block_is_built_of_these_parts() -> None:  # TXT-4
    assert prove(block(*parts())) == BODY


@pytest.mark.parametrize(
    ("at", "part", "error"),
    [
        (0, der.integer(3), ResultInvalid),
        (1, der.set_of([suites.SHA256, suites.AES256_WRAP]), ResultInvalid),
        (2, der.sequence(cms.ID_DATA, der.element(der.context(0), der.octet_string(BODY))), ResultInvalid),
        (3, b"", ResultInvalid),
        (3, der.element(der.context(0)), ResultInvalid),
        (4, der.set_of([]), SignatureRefused),
    ],
)
def test_a_block_of_other_parts_is_refused(at: int, part: bytes, error: type[TaxferryError]) -> None:  # TXT-4
    refused(block(*[*parts()[:at], part, *parts()[at + 1 :]]), error)


def test_a_hint_in_a_text_signature_is_refused() -> None:  # TXT-4
    signer = pki().bureau_result
    attributes = cms.signed_attributes(signer, suites.sha256(BODY), signing_time=NOW, hint=b"{}")
    refused(block(*parts()[:4], cms.signer_infos(signer, attributes)), SignatureRefused)


@pytest.mark.parametrize(
    "body",
    [b"", b"no end", b"lf\n", b"cr\r\r\n", BOM + b"bom\r\n", b"a\r\n-----BEGIN CMS-----\r\n", b"mixed\r\nends\n"],
)
def test_a_body_that_is_not_canonical_is_a_defect_of_the_caller(body: bytes) -> None:  # TXT-1
    with pytest.raises(ValueError):
        sign_text(body, pki().bureau_result, signing_time=NOW)
