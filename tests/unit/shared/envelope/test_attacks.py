"""What an attacker, or another program, can build from well-formed parts: each is refused, and as what it is.

Everything here carries valid signatures unless the test is about a missing one: the attacker may own a card, the
bureau's public certificates and every file that was ever sent.
"""

from __future__ import annotations

import hashlib
import io
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import pytest
import zstandard
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from shared.envelope import cms, der, suites
from shared.envelope.opening import open_report, prove_report
from shared.envelope.roles import Role
from shared.envelope.seal import MAX_FILE_BYTES, MAX_LINE_BYTES
from shared.errors import (
    CertificateRefused,
    ReportContentInvalid,
    ReportInvalid,
    ReportNotForUs,
    SignatureRefused,
    TaxferryError,
)
from shared.keys.file import SoftDecrypter, SoftSigner
from shared.model.report import render_row
from tests.support.forge import CHUNK, Forge, chunks, indefinite
from tests.support.pki import DAY, NOT_AFTER, NOT_BEFORE, NOW, OTHER_TAXPAYER, foreign_pki, pki
from tests.support.reports import invoice, sealed


def prove(data: bytes) -> None:
    prove_report(io.BytesIO(data), pki().trust, at=NOW)


def open_all(data: bytes, decrypter: SoftDecrypter | None = None) -> list[bytes]:
    with open_report(io.BytesIO(data), pki().trust, decrypter or pki().envelope, at=NOW) as opened:
        return [line for _, line in opened.rows()]


def refused_by_proof(data: bytes, error: type[TaxferryError]) -> None:
    with pytest.raises(error) as caught:
        prove(data)
    assert caught.type is error


def refused_by_opening_only(data: bytes, error: type[TaxferryError]) -> None:
    prove(data)
    with pytest.raises(error) as caught:
        open_all(data)
    assert caught.type is error


def noise(size: int) -> bytes:
    """Return digits that hardly compress, so that no limit on the ratio hides the one that is meant."""
    return random.Random(size).randbytes(size // 2 + 1).hex()[:size].encode()


def test_the_forge_builds_what_the_writer_writes() -> None:
    # Without this every refusal below could be the forge's own mistake.
    forge = Forge()
    assert open_all(forge.report()) == forge.rows


# --- signers -------------------------------------------------------------------------------------------------------


def test_a_stripped_signature_is_refused() -> None:  # ENV-8
    forge = Forge()
    forge.infos = der.set_of([])
    refused_by_proof(forge.report(), SignatureRefused)


def test_a_second_signer_is_refused() -> None:  # ENV-8
    forge, other = Forge(), Forge(signer=pki().card(machine_no=1))
    content = forge.content()
    inner, header = forge.inner(forge.frame(content)), forge.header(content)
    infos = [
        der.Reader(
            cms.signer_infos(
                each.signer,
                cms.signed_attributes(each.signer, hashlib.sha256(inner).digest(), signing_time=NOW, hint=header),
            )
        ).read(der.SET)
        for each in (forge, other)
    ]
    forge.infos = der.set_of(infos)
    refused_by_proof(forge.outer(inner, header), SignatureRefused)


@pytest.mark.parametrize("role", [Role.BUREAU_RESULT, Role.BUREAU_ENVELOPE, Role.STATION, Role.TRUST])
def test_another_role_with_a_cards_subject_is_refused(role: Role) -> None:  # ENV-18
    card = pki().card()
    key = pki().key("rsa", "impostor")
    forge = Forge()
    forge.signer = forge.sealer = SoftSigner(key, pki().leaf(role, card.certificate.subject, key), (pki().issuing,))
    refused_by_proof(forge.report(), SignatureRefused)


def test_another_taxpayers_card_cannot_speak_for_us() -> None:  # ENV-18
    forge = Forge()
    forge.signer = forge.sealer = pki().card(OTHER_TAXPAYER)
    refused_by_proof(forge.report(), SignatureRefused)


def test_another_machines_card_cannot_speak_for_ours() -> None:  # ENV-18
    forge = Forge()
    forge.signer = forge.sealer = pki().card(machine_no=1, card_no="TC0000000000")
    refused_by_proof(forge.report(), SignatureRefused)


def test_a_card_that_signs_anothers_ciphertext_is_found_out_by_line_1() -> None:  # ENV-15
    thief = pki().card(OTHER_TAXPAYER)
    forge = Forge(signer=thief)
    # The thief cannot decrypt, so line 1 stays the victim's; the header is the thief's own and true to its card.
    forge.sealer = pki().card()
    refused_by_opening_only(forge.report(), SignatureRefused)


def test_the_same_copy_under_a_renewed_certificate_needs_a_new_line_1() -> None:  # ENV-15
    card = pki().card()
    forge = Forge(signer=pki().card(not_after=NOT_AFTER - DAY))
    forge.sealer = card
    refused_by_opening_only(forge.report(), SignatureRefused)


def test_a_certificate_swapped_for_another_of_the_same_key_is_refused() -> None:  # ENV-8
    forge = Forge()
    other = pki().card(not_before=NOT_BEFORE + DAY)
    assert other.certificate.public_key() == forge.signer.certificate.public_key()
    forge.certificates = cms.certificate_set(other)
    refused_by_proof(forge.report(), SignatureRefused)


def test_a_foreign_root_is_refused() -> None:
    refused_by_proof(Forge(signer=foreign_pki().card()).report(), CertificateRefused)


def test_a_revoked_card_is_refused() -> None:
    data = Forge().report()
    trust = pki().trust_with([pki().card().certificate])
    with pytest.raises(CertificateRefused):
        prove_report(io.BytesIO(data), trust, at=NOW)


def test_an_expired_card_is_refused() -> None:
    refused_by_proof(Forge(signer=pki().card(not_after=NOW - DAY)).report(), CertificateRefused)


def test_certificates_beside_the_path_are_refused() -> None:  # ENV-17
    forge = Forge()
    stray = cms.encoded(pki().card(machine_no=5).certificate)
    bundle = [cms.encoded(forge.signer.certificate), cms.encoded(pki().issuing), stray]
    forge.certificates = der.element(der.context(0), *bundle)
    refused_by_proof(forge.report(), CertificateRefused)


def test_more_than_eight_certificates_are_refused_before_any_is_parsed() -> None:  # ENV-5, ENV-11
    forge = Forge()
    encoded = [cms.encoded(pki().card(machine_no=number).certificate) for number in range(1, 9)]
    own = cms.encoded(forge.signer.certificate)
    forge.certificates = der.element(der.context(0), own, *encoded[:7])
    refused_by_proof(forge.report(), CertificateRefused)  # eight are read, and found to be no chain
    forge.certificates = der.element(der.context(0), own, *encoded)
    refused_by_proof(forge.report(), ReportInvalid)


def test_a_signer_in_the_second_place_is_refused() -> None:  # ENV-5
    forge = Forge()
    forge.certificates = der.element(der.context(0), cms.encoded(pki().issuing), cms.encoded(forge.signer.certificate))
    refused_by_proof(forge.report(), SignatureRefused)


# --- signed attributes ---------------------------------------------------------------------------------------------


def attributes_of(forge: Forge, inner: bytes, header: bytes) -> list[bytes]:
    whole = cms.signed_attributes(forge.signer, hashlib.sha256(inner).digest(), signing_time=NOW, hint=header)
    reader = der.Reader(whole).enter(der.SET)
    found = []
    while not reader.at_end:
        found.append(reader.read_whole(der.SEQUENCE))
    return found


def with_attributes(change: Callable[[list[bytes]], bytes]) -> bytes:
    forge = Forge()
    content = forge.content()
    inner, header = forge.inner(forge.frame(content)), forge.header(content)
    forge.attributes = change(attributes_of(forge, inner, header))
    return forge.outer(inner, header)


def test_there_are_five_attributes_in_order() -> None:  # ENV-8
    prove(with_attributes(der.set_of))


@pytest.mark.parametrize("left_out", range(5))
def test_each_of_the_five_attributes_is_needed(left_out: int) -> None:  # ENV-8
    data = with_attributes(lambda found: der.set_of(found[:left_out] + found[left_out + 1 :]))
    refused_by_proof(data, SignatureRefused)


def test_a_sixth_attribute_is_refused() -> None:  # ENV-8
    extra = der.sequence(der.object_identifier("1.2.840.113549.1.9.15"), der.set_of([der.sequence()]))
    refused_by_proof(with_attributes(lambda found: der.set_of([*found, extra])), SignatureRefused)


def test_attributes_out_of_order_are_refused() -> None:  # ENV-8
    refused_by_proof(with_attributes(lambda found: der.element(der.SET, *reversed(found))), ReportInvalid)


def test_a_repeated_attribute_is_refused() -> None:  # ENV-8
    later = der.sequence(der.object_identifier("1.2.840.113549.1.9.5"), der.set_of([der.time(NOW + DAY)]))
    refused_by_proof(with_attributes(lambda found: der.set_of([*found, later])), ReportInvalid)


ESS_ISSUER = der.sequence(
    der.sequence(der.element(der.context(4), pki().card().certificate.issuer.public_bytes())),
    der.integer(pki().card().certificate.serial_number),
)
CARD_SHA256 = hashlib.sha256(cms.encoded(pki().card().certificate)).digest()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("1.2.840.113549.1.9.3", cms.ID_SIGNED_DATA),
        ("1.2.840.113549.1.9.4", der.octet_string(bytes(32))),
        ("1.2.840.113549.1.9.16.2.47", der.sequence(der.sequence(der.sequence(der.octet_string(bytes(32)))))),
        # Valid elsewhere and true, and yet another spelling: the hash algorithm written out, the issuer, a policy.
        (
            "1.2.840.113549.1.9.16.2.47",
            der.sequence(der.sequence(der.sequence(suites.SHA256, der.octet_string(CARD_SHA256)))),
        ),
        (
            "1.2.840.113549.1.9.16.2.47",
            der.sequence(der.sequence(der.sequence(der.octet_string(CARD_SHA256), ESS_ISSUER))),
        ),
        (
            "1.2.840.113549.1.9.16.2.47",
            der.sequence(
                der.sequence(der.sequence(der.octet_string(CARD_SHA256))),
                der.sequence(der.sequence(der.object_identifier("1.2.3"))),
            ),
        ),
    ],
    ids=["type", "digest", "certificate", "hash", "issuer", "policy"],
)
def test_an_attribute_of_another_value_is_refused(kind: str, value: bytes) -> None:  # ENV-8
    oid = der.object_identifier(kind)

    def change(found: list[bytes]) -> bytes:
        rest = [each for each in found if oid not in each]
        assert len(rest) == len(found) - 1
        return der.set_of([*rest, der.sequence(oid, der.element(der.SET, value))])

    refused_by_proof(with_attributes(change), SignatureRefused)


def test_a_signer_named_by_another_serial_number_is_refused() -> None:  # ENV-8
    forge = Forge()
    content = forge.content()
    inner, header = forge.inner(forge.frame(content)), forge.header(content)
    infos = cms.signer_infos(
        forge.signer,
        cms.signed_attributes(forge.signer, hashlib.sha256(inner).digest(), signing_time=NOW, hint=header),
    )
    own = cms.issuer_and_serial(forge.signer.certificate)
    others = (cms.issuer_and_serial(pki().card(machine_no=number).certificate) for number in range(1, 20))
    other = next(each for each in others if len(each) == len(own))  # random serial numbers differ in length at times
    assert infos.count(own) == 1
    forge.infos = infos.replace(own, other)
    refused_by_proof(forge.outer(inner, header), SignatureRefused)


def test_unsigned_attributes_are_refused() -> None:  # ENV-4
    forge = Forge()
    content = forge.content()
    inner, header = forge.inner(forge.frame(content)), forge.header(content)
    info = der.Reader(
        cms.signer_infos(
            forge.signer,
            cms.signed_attributes(forge.signer, hashlib.sha256(inner).digest(), signing_time=NOW, hint=header),
        )
    ).enter(der.SET)
    body = info.read(der.SEQUENCE)
    forge.infos = der.set_of([der.sequence(body, der.element(der.context(1), b""))])
    refused_by_proof(forge.outer(inner, header), ReportInvalid)


def test_rsa_encryption_as_signature_algorithm_is_refused_in_a_report() -> None:  # ENV-10
    data = Forge().report()
    assert data.count(suites.RSA_SHA256) >= 1
    at = data.rindex(suites.RSA_SHA256)
    refused_by_proof(data[:at] + suites.RSA_PLAIN + data[at + len(suites.RSA_PLAIN) :], SignatureRefused)


# --- header --------------------------------------------------------------------------------------------------------


def test_a_header_altered_and_signed_again_contradicts_line_1() -> None:  # ENV-15, REP-20
    forge = Forge()
    forge.header_changes = {"sequence": 8}
    refused_by_opening_only(forge.report(), SignatureRefused)


def test_a_header_altered_without_the_card_breaks_the_signature() -> None:  # REP-3
    data = Forge().report()
    altered = data.replace(b'"invoice_count":3', b'"invoice_count":2', 1)
    assert altered != data
    refused_by_proof(altered, SignatureRefused)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "taxferry-report/2"},
        {"suite": "p256-sha256-aes256gcm"},
        {"machine_no": "0"},
        {"kind": "adhoc"},
        {"period_start": "2026-06-30"},
        {"extra": 1},
        {"nonce": "AB" * 16},
        {"card_no": 'TC"1'},
        {"content_bytes": -1},
        {"sequence": 0},
    ],
    ids=str,
)
def test_a_header_that_breaks_the_specification_is_refused(changes: dict[str, object]) -> None:  # REP-1, REP-2
    forge = Forge()
    forge.header_changes = changes
    with pytest.raises((ReportInvalid, SignatureRefused)):
        prove(forge.report())


def test_a_header_in_another_spelling_is_refused() -> None:  # REP-1
    forge = Forge()
    content = forge.content()
    inner, header = forge.inner(forge.frame(content)), forge.header(content)
    refused_by_proof(forge.outer(inner, header.replace(b",", b", ", 1)), ReportInvalid)


def test_a_content_digest_that_differs_is_refused_before_release() -> None:  # REP-4
    forge = Forge()
    forge.header_changes = {"content_sha256": "00" * 32}
    refused_by_opening_only(forge.report(), ReportContentInvalid)


# --- recipients ----------------------------------------------------------------------------------------------------


def test_swapped_recipients_are_found_out_by_line_1() -> None:  # ENV-15
    forge = Forge()
    content = forge.content()
    # The card itself re-wraps the key for somebody else and signs that: line 1 still names the first list.
    other = pki().envelope_p256
    forge.recipients_der = cms.recipient_infos([other.certificate], forge.key)
    data = forge.outer(forge.inner(forge.frame(content)), forge.header(content))
    prove(data)
    with pytest.raises(SignatureRefused):
        open_all(data, other)


def test_swapped_recipients_without_the_card_break_the_signature() -> None:  # ENV-1
    forge = Forge()
    data = forge.report()
    ours = forge.recipients_der
    theirs = cms.recipient_infos([foreign_pki().envelope.certificate], forge.key)
    with pytest.raises((SignatureRefused, ReportInvalid)):
        prove(data.replace(ours, theirs))


def recipient_with(algorithm: bytes, encrypted: bytes) -> bytes:
    certificate = pki().envelope.certificate
    return der.set_of(
        [der.sequence(der.integer(0), cms.issuer_and_serial(certificate), algorithm, der.octet_string(encrypted))]
    )


def test_pkcs1_v15_key_transport_is_refused() -> None:  # ENV-10
    forge = Forge()
    key = pki().envelope.certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    forge.recipients_der = recipient_with(suites.RSA_PLAIN, key.encrypt(forge.key, padding.PKCS1v15()))
    refused_by_proof(forge.report(), ReportInvalid)


def test_oaep_with_sha1_is_refused() -> None:  # ENV-10
    forge = Forge()
    key = pki().envelope.certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    default = der.sequence(der.object_identifier("1.2.840.113549.1.1.7"), der.sequence())
    forge.recipients_der = recipient_with(default, key.encrypt(forge.key, oaep))
    refused_by_proof(forge.report(), ReportInvalid)


def test_a_report_for_another_bureau_is_not_for_us() -> None:
    data, _ = sealed(recipients=[foreign_pki().envelope.certificate])
    refused_by_opening_only(data, ReportNotForUs)


def test_a_wrapped_key_that_does_not_open_is_not_for_us() -> None:
    for decrypter in (pki().envelope, pki().envelope_p256):
        forge = Forge(recipients=[decrypter.certificate])
        # The last octet of the element is the last one of the wrapped key.
        forge.recipients_der = forge.recipients_der[:-1] + bytes((forge.recipients_der[-1] ^ 1,))
        data = forge.report()
        prove(data)
        with pytest.raises(ReportNotForUs):
            open_all(data, decrypter)


def test_another_content_key_than_the_wrapped_one_fails_the_tag() -> None:
    forge = Forge()
    forge.key = os.urandom(32)
    refused_by_opening_only(forge.report(), ReportInvalid)


@pytest.mark.parametrize("count", [0, 17])
def test_no_recipient_or_too_many_are_refused(count: int) -> None:  # ENV-6, ENV-11
    forge = Forge()
    one = der.Reader(forge.recipients_der).enter(der.SET).read(der.SEQUENCE)
    name = cms.issuer_and_serial(pki().envelope.certificate)
    assert name in one
    infos = [
        der.sequence(
            one.replace(
                name, der.sequence(der.Reader(name).enter(der.SEQUENCE).read_whole(der.SEQUENCE), der.integer(n))
            )
        )
        for n in range(count)
    ]
    forge.recipients_der = der.set_of(infos)
    refused_by_proof(forge.report(), ReportInvalid)


def test_recipients_out_of_order_are_refused() -> None:  # ENV-6
    forge = Forge(recipients=[pki().envelope.certificate, pki().envelope_p256.certificate])
    reader = der.Reader(forge.recipients_der).enter(der.SET)
    infos = [reader.read_whole(reader.peek()), reader.read_whole(reader.peek())]
    reader.finish()
    assert der.element(der.SET, *infos) == forge.recipients_der
    prove(forge.report())
    forge.recipients_der = der.element(der.SET, *reversed(infos))
    refused_by_proof(forge.report(), ReportInvalid)


def test_one_recipient_twice_is_refused() -> None:  # ENV-6
    forge = Forge()
    twice = [
        der.Reader(cms.recipient_infos(forge.recipients, forge.key)).enter(der.SET).read_whole(der.SEQUENCE)
        for _ in range(2)
    ]
    forge.recipients_der = der.set_of(twice)
    refused_by_proof(forge.report(), ReportInvalid)


# --- envelope ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", [1, 4, 8, 12, 15])
def test_a_short_tag_is_refused(octets: int) -> None:  # ENV-10
    forge = Forge()
    full = suites.content_encryption(forge.nonce)
    forge.content_algorithm = full[:-1] + bytes((octets,))
    forge.tag = b"\x00" * octets
    refused_by_proof(forge.report(), ReportInvalid)


def test_a_wrong_tag_under_a_good_signature_is_an_envelope_failure() -> None:  # ENV-16
    forge = Forge()
    forge.tag = b"\x00" * 16
    refused_by_opening_only(forge.report(), ReportInvalid)


def test_enveloped_data_without_authentication_is_refused() -> None:  # ENV-10
    forge = Forge()
    content = forge.content()
    inner = forge.inner(forge.frame(content)).replace(
        cms.ID_AUTH_ENVELOPED_DATA, der.object_identifier("1.2.840.113549.1.7.3")
    )
    refused_by_proof(forge.outer(inner, forge.header(content)), ReportInvalid)


@pytest.mark.parametrize("junk", [b"\x00", b"\x00\x00", b"\r\n", b"PK\x03\x04"])
def test_octets_after_the_file_are_refused(junk: bytes) -> None:  # ENV-4
    refused_by_proof(Forge().report() + junk, ReportInvalid)


def test_octets_after_the_envelope_are_refused() -> None:  # ENV-4
    forge = Forge()
    content = forge.content()
    refused_by_proof(forge.outer(forge.inner(forge.frame(content)) + b"\x00\x00", forge.header(content)), ReportInvalid)


def test_chunks_cut_differently_are_refused() -> None:  # ENV-3
    forge = Forge()
    forge.chunk = 1000
    refused_by_proof(forge.report(), ReportInvalid)


def test_a_chunk_larger_than_permitted_is_refused_although_it_is_the_last() -> None:  # ENV-3
    forge = Forge()
    forge.rows = [noise(3 * CHUNK)]
    assert open_all(forge.report()) == forge.rows
    forge.chunk = 4 * CHUNK
    refused_by_proof(forge.report(), ReportInvalid)


def test_an_empty_chunk_is_refused() -> None:  # ENV-3
    forge = Forge()
    content = forge.content()
    inner, header = forge.inner(forge.frame(content)), forge.header(content)
    data = forge.outer(inner, header)
    whole = chunks(inner)
    refused_by_proof(data.replace(whole, whole + der.octet_string(b"")), ReportInvalid)


def test_content_of_exactly_one_chunk_is_one_chunk() -> None:  # ENV-3
    class Stored(Forge):
        def frame(self, content: bytes) -> bytes:
            # Raw blocks: what goes in comes out, so that sizes can be planned.
            blocks = [content[at : at + 131072] for at in range(0, len(content), 131072)]
            parts = [b"\x28\xb5\x2f\xfd", b"\x00", b"\x50"]
            for number, block in enumerate(blocks, 1):
                parts.append((len(block) << 3 | (number == len(blocks))).to_bytes(3, "little") + block)
            return b"".join(parts)

    # The row's length is adjusted until the signed content fills its chunk to the octet.
    stored = Stored()
    length = 1
    while True:
        stored.rows = [b"x" * length]
        missing = CHUNK - len(stored.inner(stored.frame(stored.content())))
        if missing == 0:
            break
        length += missing
    content = stored.content()
    inner = stored.inner(stored.frame(content))
    assert len(inner) == CHUNK
    data = stored.outer(inner, stored.header(content))
    prove(data)
    refused_by_proof(data.replace(chunks(inner), chunks(inner) + der.octet_string(b"")), ReportInvalid)


def test_definite_lengths_where_indefinite_ones_belong_are_refused() -> None:  # ENV-2
    forge = Forge()
    content = forge.content()
    inner = forge.inner(forge.frame(content))
    assert inner[:2] == b"\x30\x80"
    definite = der.sequence(inner[2:-2])
    refused_by_proof(forge.outer(definite, forge.header(content)), ReportInvalid)


def test_indefinite_lengths_where_definite_ones_belong_are_refused() -> None:  # ENV-2
    forge = Forge()
    forge.recipients_der = indefinite(der.SET, der.Reader(forge.recipients_der).read(der.SET))
    refused_by_proof(forge.report(), ReportInvalid)


def test_a_length_in_more_octets_than_needed_is_refused() -> None:  # ENV-2
    forge = Forge()
    bundle = der.Reader(cms.certificate_set(forge.signer)).read(der.context(0))
    forge.certificates = bytes((der.context(0), 0x83)) + len(bundle).to_bytes(3, "big") + bundle
    refused_by_proof(forge.report(), ReportInvalid)


def test_a_claimed_length_of_gigabytes_is_refused_without_memory_for_it() -> None:  # ENV-11
    forge = Forge()
    for claim in (b"\x84\x7f\xff\xff\xff", b"\x84\xff\xff\xff\xff", b"\x89" + b"\xff" * 9):
        forge.certificates = bytes((der.context(0),)) + claim
        refused_by_proof(forge.report(), ReportInvalid)


def test_a_file_beyond_one_gibibyte_is_refused_unread(tmp_path: Path) -> None:  # ENV-11
    path = tmp_path / "large.dat"
    with path.open("wb") as file:
        file.write(Forge().report())
        file.truncate(MAX_FILE_BYTES + 1)

    class Unread(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise AssertionError("the file was read")

    with Unread(path) as file, pytest.raises(ReportInvalid):
        prove_report(cast("BinaryIO", file), pki().trust, at=NOW)


@pytest.mark.parametrize(
    "data", [b"", b"Y", b"\x30\x80", b"\x00" * 4096, "税渡 报税结果 1\r\n".encode(), b"PK\x03\x04" * 99]
)
def test_what_is_no_report_at_all_is_refused(data: bytes) -> None:  # ENV-1
    refused_by_proof(data, ReportInvalid)


# --- compression ---------------------------------------------------------------------------------------------------


def framed(change: Callable[[bytes], bytes]) -> bytes:
    forge = Forge()
    forge.frame = change  # type: ignore[method-assign]
    return forge.report()


def compress(content: bytes, **parameters: int) -> bytes:
    chosen = zstandard.ZstdCompressionParameters.from_level(3, **parameters)
    return zstandard.ZstdCompressor(compression_params=chosen).compress(content)


def skippable(data: bytes) -> bytes:
    return b"\x50\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data


@pytest.mark.parametrize(
    "change",
    [
        lambda content: compress(content) + compress(b"more\n"),
        lambda content: compress(content) + compress(b""),
        lambda content: compress(content) + skippable(b"hidden"),
        lambda content: skippable(b"hidden") + compress(content),
        lambda content: compress(content) + b"\x00",
        lambda content: compress(content)[:-1],
        lambda content: compress(content)[:5],
        lambda content: b"",
        lambda content: content,
    ],
    ids=["second", "empty second", "skippable last", "skippable first", "trailing", "cut", "header", "none", "plain"],
)
def test_anything_but_one_whole_frame_is_refused(change: Callable[[bytes], bytes]) -> None:  # ENV-7
    with pytest.raises((ReportContentInvalid, ReportInvalid)):
        open_all(framed(change))


def test_a_window_beyond_8_mib_is_refused() -> None:  # ENV-7, ENV-11
    def wide(content: bytes) -> bytes:
        # Without a known size the header states the window instead of the content's size.
        chosen = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
        writer = zstandard.ZstdCompressor(compression_params=chosen).compressobj()
        return writer.compress(content) + writer.flush()

    refused_by_opening_only(framed(wide), ReportContentInvalid)


def test_a_dictionary_is_refused() -> None:  # ENV-7
    samples = [render_row(invoice(n)) * 3 for n in range(200)]
    words = zstandard.train_dictionary(2048, samples)
    refused_by_opening_only(
        framed(lambda content: zstandard.ZstdCompressor(dict_data=words).compress(content)), ReportContentInvalid
    )


def test_a_bomb_is_refused_by_its_claim_or_its_size() -> None:  # ENV-11
    bomb = compress(b"\x00" * 50_000_000)
    assert len(bomb) < 10_000
    forge = Forge()
    forge.frame = lambda content: bomb  # type: ignore[method-assign]
    # An honest header exceeds the ratio and is refused without opening; a lying one is exceeded by the content.
    forge.header_changes = {"content_bytes": 50_000_000}
    refused_by_proof(forge.report(), ReportInvalid)
    forge.header_changes = {"content_bytes": 100_000}
    refused_by_opening_only(forge.report(), ReportContentInvalid)


def test_less_content_than_signed_is_refused() -> None:  # REP-4
    forge = Forge()
    forge.header_changes = {"content_bytes": len(forge.content()) + 1}
    refused_by_opening_only(forge.report(), ReportContentInvalid)


# --- lines ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [[], [b""], [b"{}", b"", b"{}"], [noise(MAX_LINE_BYTES + 1)], [noise(MAX_LINE_BYTES + CHUNK), b"{}"]],
    ids=["none", "empty", "gap", "long", "longer"],
)
def test_lines_that_break_the_framing_are_refused(rows: list[bytes]) -> None:  # REP-10, ENV-11
    forge = Forge()
    forge.rows = rows
    refused_by_opening_only(forge.report(), ReportContentInvalid)


def test_a_line_of_exactly_the_limit_is_a_line() -> None:  # REP-10
    forge = Forge()
    forge.rows = [noise(MAX_LINE_BYTES)]
    assert open_all(forge.report()) == forge.rows


def test_a_last_line_without_end_is_refused() -> None:  # REP-10
    forge = Forge()
    content = forge.content()[:-1]
    data = forge.outer(forge.inner(forge.frame(content)), forge.header(content))
    refused_by_opening_only(data, ReportContentInvalid)


@pytest.mark.parametrize("changes", [{"salt": "short"}, {"extra": 1}, {"signer_sha256": None}], ids=str)
def test_a_line_1_that_breaks_the_specification_is_refused(changes: dict[str, object]) -> None:  # REP-20
    forge = Forge()
    forge.line_1_changes = changes
    refused_by_opening_only(forge.report(), ReportContentInvalid)


# --- the file under the reader's hands -----------------------------------------------------------------------------


class Changing(io.BytesIO):
    """A file that somebody else writes to at a chosen moment."""

    def swap(self, data: bytes) -> None:
        self.seek(0)
        self.truncate()
        self.write(data)


def test_a_file_swapped_after_the_proof_releases_nothing() -> None:  # ENV-13
    ours, theirs = Forge(), Forge()
    theirs.rows = [row.replace(b"100.00", b"999.00") for row in theirs.rows]
    file = Changing(ours.report())
    with open_report(file, pki().trust, pki().envelope, at=NOW) as opened:
        file.swap(theirs.report())
        released = []
        with pytest.raises(ReportInvalid):
            released.extend(line for _, line in opened.rows())
    assert released == []


def test_a_file_cut_after_the_proof_is_refused() -> None:  # ENV-13
    data = Forge().report()
    file = Changing(data)
    with open_report(file, pki().trust, pki().envelope, at=NOW) as opened:
        file.swap(data[:-1])
        with pytest.raises(ReportInvalid):
            list(opened.rows())


def test_nothing_is_released_after_the_report_is_closed() -> None:
    with open_report(io.BytesIO(Forge().report()), pki().trust, pki().envelope, at=NOW) as opened:
        pass
    with pytest.raises(ValueError, match="closed"):
        list(opened.rows())


def test_a_certificate_that_is_no_certificate_is_refused() -> None:
    forge = Forge()
    junk = der.sequence(der.integer(1))
    values = cms.signed_attributes(forge.signer, b"\x00" * 32, signing_time=NOW, hint=b"{}")
    forge.attributes = values.replace(
        hashlib.sha256(forge.signer.certificate.public_bytes(Encoding.DER)).digest(), hashlib.sha256(junk).digest()
    )
    forge.certificates = der.element(der.context(0), junk)
    refused_by_proof(forge.report(), ReportInvalid)


def test_a_certificate_of_the_right_shape_that_does_not_parse_is_refused() -> None:
    forge = Forge()
    algorithm = suites.RSA_SHA256
    junk = der.sequence(der.sequence(der.integer(1), algorithm), algorithm, der.bit_string(b"x"))
    values = cms.signed_attributes(forge.signer, b"\x00" * 32, signing_time=NOW, hint=b"{}")
    forge.attributes = values.replace(
        hashlib.sha256(forge.signer.certificate.public_bytes(Encoding.DER)).digest(), hashlib.sha256(junk).digest()
    )
    forge.certificates = der.element(der.context(0), junk)
    refused_by_proof(forge.report(), CertificateRefused)


def test_an_intermediate_in_another_spelling_is_refused() -> None:  # ENV-2, ENV-5
    # Unused bits of its signature are outside of what its issuer signed, and libraries ignore them.
    forge = Forge()
    issuing = cms.encoded(pki().issuing)
    signature = issuing[-256:]
    at = issuing.index(b"\x00" + signature)
    respelled = issuing[:at] + b"\x01" + issuing[at + 1 :]
    forge.certificates = der.element(der.context(0), cms.encoded(forge.signer.certificate), respelled)
    refused_by_proof(forge.report(), ReportInvalid)
