"""Files that nobody's writer makes, signed by the right key: the two readers accept and refuse the same."""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import zstandard
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.canonical import parse_json, value_fault
from shared.envelope.chain import TrustStore
from shared.envelope.roles import Role
from shared.errors import TaxferryError
from shared.keys.file import SoftSigner
from shared.model.ack import render_ack
from shared.model.result import render_result
from tests.conformance.independent import forms, sides, writer
from tests.conformance.independent.octets import Refused, content, only
from tests.support import texts
from tests.support.pki import DAY, NOT_AFTER, NOT_BEFORE, NOW, foreign_pki, pki, rogue_pki

pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")
SETTINGS = settings(derandomize=True, deadline=None, max_examples=100, database=None)
NOTHING = (sides.REFUSED, "proof"), (sides.REFUSED, "content")


def envelope_key(kind: Any = "rsa") -> bytes:
    """Return the certificate of an envelope key."""
    return sides.der(pki().envelope_of(kind).certificate)


def report(rows: list[dict[str, Any]] | list[bytes] | None = None, signer: Any = None, **changes: Any) -> bytes:
    """Return a report by the second writer."""
    if rows is None:
        rows = sides.rows(sides.invoice(n) for n in range(1, 4))
    raw = [row if isinstance(row, bytes) else writer.canonical(row) for row in rows]
    return writer.report(
        sides.header(**changes.pop("header", {})),
        raw,
        signer or pki().card(key_type="p256"),
        changes.pop("recipients", [envelope_key()]),
        NOW,
        **changes,
    )


def same(data: bytes, **how: Any) -> Any:
    """Return what both say of a report, which must be the same."""
    project, other = sides.report(data, **how)
    assert project == other
    return project


# --- content --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "changes", "differs"),
    [
        (0, {"opening": 6}, True),
        (0, {"bought": 4, "closing": 4}, False),
        (0, {"positive_count": 2, "closing": 4}, True),
        (0, {"positive_amount": "300.01"}, True),
        (0, {"positive_amount": "-300.00"}, None),
        (0, {"positive_void_tax": "-0.01"}, None),
        (0, {"negative_amount": "0.01"}, None),
        (0, {"negative_amount": "-0.01"}, True),
        (0, {"negative_void_tax": "1.00"}, None),
        (0, {"opening": -1}, None),
        (0, {"returned": 1 << 53}, None),
        (0, {"positive_tax": "39.0"}, None),
        (0, {"negative_tax": "-0.00"}, None),
        (0, {"kind": "008"}, None),
        (0, {"kind": "004"}, True),
        (0, {"more": 1}, None),
        (1, {"rate": "0.130"}, True),
        (1, {"rate": "0.1300000"}, None),
        (1, {"rate": "zero"}, True),
        (1, {"rate": "1"}, None),
        (1, {"kind": "028"}, True),
        (1, {"positive_tax": "38.99"}, True),
        (1, {"positive_amount": "-1.00"}, True),
        (1, {"negative_void_tax": "1.00"}, True),
        (2, {"day": "2026-07-01"}, False),
        (2, {"day": "2026-06-30"}, True),
        (2, {"day": "2026-7-01"}, None),
        (2, {"day": "2026-02-30"}, None),
        (2, {"day": "2026-02-29"}, None),
        (2, {"day": "2024-02-29"}, True),
        (2, {"day": "0000-07-01"}, None),
        (2, {"code": ""}, False),
        (2, {"code": "1" * 11}, None),
        (2, {"number": "1" * 20}, False),
        (2, {"number": "1" * 9}, None),
        (2, {"status": "negative"}, None),
        (2, {"status": "negative-void"}, None),
        (2, {"status": "positive-void"}, True),
        (2, {"status": "void"}, None),
        (2, {"status": "blank-void"}, None),
        (2, {"amount": "-100.00"}, None),
        (2, {"tax": "-0.01"}, None),
        (2, {"amount": "0.00"}, True),
        (2, {"status": "negative", "amount": "-100.00"}, None),
        (2, {"status": "negative", "amount": "-100.00", "tax": "0.00"}, True),
        (2, {"status": "negative", "amount": "0.00", "tax": "0.00", "lines": []}, True),
        (2, {"lines": []}, True),
        (2, {"lines": [sides.line(10000, 1300)] * 2001}, None),
        (2, {"lines": [sides.line(10000, 1300, rate="exempt")]}, True),
        (2, {"lines": [sides.line(10000, 1300, quantity=None, price="-1." + "0" * 18)]}, False),
        (2, {"lines": [sides.line(10000, 1300, quantity="1" * 16)]}, None),
        (2, {"lines": [sides.line(10000, 1300, nature="gift")]}, None),
        (2, {"lines": [sides.line(9900, 1300)]}, True),
        (2, {"buyer_name": "名" * 400, "remark": "\u200b\n" * 500}, False),
        (2, {"buyer_name": "名" * 401}, None),
        (2, {"remark": "名" * 1001}, None),
        (2, {"original_number": None}, None),
        (-1, {"invoices": 2}, True),
        (-1, {"lines": 2}, True),
        (-1, {"amount": "1.00"}, True),
        (-1, {"tax": 0}, None),
    ],
)
def test_content_is_judged_alike(place: int, changes: dict[str, Any], differs: bool | None) -> None:
    """A row that is none is an error, one that does not add up a difference (REP-10 to REP-12, REP-20 to REP-27)."""
    rows = sides.rows(sides.invoice(n) for n in range(1, 4))
    rows[place] |= changes
    assert same(report(rows))[-1] == ("content" if differs is None else differs)


@pytest.mark.parametrize("day", ["2026-07-31", "2026-08-01", "2026-08-05", "2026-08-06"])
def test_an_ad_hoc_report_has_invoices_of_any_day(day: str) -> None:
    """It covers what no copy covered before, and lists are read late (REP-27)."""
    header = {
        "stamp": "202608050930",
        "kind": "adhoc",
        "period_start": "2026-08-01",
        "period_end": "2026-08-05",
        "invoice_count": 1,
    }
    assert same(report(sides.rows([sides.invoice(1, day=day)]), header=header))[-1] is False


def test_a_discount_may_outweigh_its_rate() -> None:
    """Signs are those of whole invoices and kinds; a rate may go the other way (REP-21 to REP-23)."""
    both = [sides.line(10000, 1300), sides.line(-1000, -60, rate="0.06", nature="discount")]
    summary, rate, one, trailer = sides.rows([sides.invoice(1, amount="90.00", tax="12.40", lines=both)])
    parts = [
        rate | {"positive_amount": "100.00", "positive_tax": "13.00"},
        rate | {"rate": "0.06", "positive_amount": "-10.00", "positive_tax": "-0.60"},
    ]
    assert same(report([summary, *parts, one, trailer], header={"invoice_count": 1}))[-1] is False


def test_an_invoice_of_nothing_has_either_sign() -> None:
    """A total of zero is neither above nor below it (REP-23)."""
    nothing = {"amount": "0.00", "tax": "0.00", "lines": [sides.line(0, 0)]}
    rows = sides.rows(sides.invoice(n, status, **nothing) for n, status in enumerate(sides.STATUSES[:4], 1))
    assert same(report(rows, header={"invoice_count": 4}))[-1] is False


def test_order_is_judged_alike() -> None:
    """Summaries and rates, invoices, one trailer (REP-25)."""
    r = sides.rows(sides.invoice(n) for n in range(1, 4))
    raw = sides.written(r)
    refused: list[list[Any]] = [
        r[:-1],
        [*r, r[-1]],
        [*r, r[2]],
        [r[0], r[2], r[1], *r[3:]],
        [r[0], *r],
        [r[0], r[1], *r[1:]],
        [],
        [*raw[:2], b"", *raw[2:]],
        [line + b"\r" for line in raw],
        [raw[0].replace(b",", b", ", 1), *raw[1:]],
        [{"type": "note"}, *r],
    ]
    for rows in refused:
        assert same(report(rows)) == NOTHING[1]
    assert same(report([r[1], r[0], *r[2:]]))[-1] is False
    for rows in (r[1:], [r[0], *r[2:]], r[2:]):
        assert same(report(rows))[-1] is True
    blank = sides.rows([sides.invoice(1), sides.invoice(2, "blank-void"), sides.invoice(3)])
    assert same(report(blank))[-1] is False
    blank[1]["rate"] = "0.06"
    assert same(report(blank))[-1] is True


@pytest.mark.parametrize(
    "changes",
    [
        {"line_1": {"salt": "0" * 31}},
        {"line_1": {"salt": "A" * 32}},
        {"line_1": {"signer_sha256": "0" * 64}},
        {"line_1": {"recipients_sha256": "0" * 64}},
        {"line_1": {"sequence": 8}},
        {"line_1": {"more": 1}},
        {"line_1": {"content_bytes": 5}},
        {"changes": {"content_sha256": "0" * 64}},
        {"changes": {"content_bytes": 100}},
        {"changes": {"invoice_count": 2}},
    ],
)
def test_what_binds_the_content_is_checked_alike(changes: dict[str, Any]) -> None:
    """Line 1, hash and size bind the content to header, card and recipients (REP-4, REP-20, ENV-15)."""
    assert same(report(**changes)) == NOTHING[1]


@pytest.mark.parametrize(
    "header",
    [
        {"sequence": 0},
        {"machine_no": 65536},
        {"machine_no": 1},
        {"nonce": "A" * 32},
        {"card_no": ""},
        {"card_no": "TC0000000001"},
        {"kind": "adhoc"},
        {"period_start": "2026-07-02"},
        {"period_end": "2026-08-01"},
        {"stamp": "202608010001"},
        {"stamp": "202608020000"},
        {"stamp": "000101010000"},
        {"format": "taxferry-report/2"},
        {"taxpayer_id": "310100000000001"},
        {"invoice_count": True},
        {"more": 1},
        {"content_bytes": -1},
        {"content_bytes": 10**8},
        {"suite": "rsa-sha256-aes256gcm"},
        {"suite": "p256"},
    ],
)
def test_a_wrong_header_is_refused_alike(header: dict[str, Any]) -> None:
    """The header has one form and is the card's (REP-1, REP-2, ENV-9, ENV-11, ENV-18)."""
    assert same(report(changes=header)) == NOTHING[0]


# --- structure ------------------------------------------------------------------------------------------------------


def inner_of(data: bytes) -> bytes:
    """Return the octets under the signature of a report of one chunk."""
    element = data[52 : data.index(b"\0\0\0\0\0\0", 52) + 6]
    return content(element[: 2 + (element[1] & 0x7F) + int.from_bytes(element[2 : 2 + (element[1] & 0x7F)], "big")])


def test_an_altered_envelope_under_a_new_signature() -> None:
    """Whoever holds a card and alters the envelope is refused all the same (ENV-2, ENV-6, ENV-10, ENV-15).

    The names of recipients are left out: what stands in them is compared, and not read (the test after this).
    """
    signer = pki().card(key_type="p256")
    data = report(recipients=[envelope_key("rsa"), envelope_key("p256")])
    inner = inner_of(data)
    header = writer.canonical(sides.header(suite="p256-sha256-aes256gcm", content_sha256="0" * 64, content_bytes=2000))
    assert same(writer.signed(inner, header, signer, NOW)) == NOTHING[1]
    name = only(writer.named(envelope_key()), 0x30).whole(0x30)
    names = {at + n for at in range(len(inner)) if inner.startswith(name, at) for n in range(2, len(name))}
    assert len(names) == 2 * (len(name) - 2)
    chance = random.Random(7)
    places = [at for at in range(900) if at not in names] + list(range(len(inner) - 40, len(inner)))
    for at in chance.sample(places, 80):
        changed = inner[:at] + bytes([inner[at] ^ 1 << chance.randrange(8)]) + inner[at + 1 :]
        assert same(writer.signed(changed, header, signer, NOW))[0] == sides.REFUSED, at
        cut = inner[:at] + inner[at + 1 :]
        assert same(writer.signed(cut, header, signer, NOW)) == NOTHING[0], at


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("3000", True),
        ("3002ffff", True),
        ("30023100", True),
        ("300d310b3009060355040313023f3f", True),
        ("300c310a300806035504030c01ff", True),
        ("30820002ffff", False),
        ("3003ffff", False),
        ("3102ffff", False),
        ("30", False),
    ],
)
def test_names_of_other_recipients_are_not_looked_into(name: str, good: bool) -> None:
    """A name is one element that is compared with those of certificates, whatever is inside (ENV-6)."""
    rsa, p256 = envelope_key("rsa"), envelope_key("p256")

    def infos(key: bytes) -> bytes:
        made = writer.recipient(p256, key)
        issuer = only(writer.named(p256), 0x30).whole(0x30)
        parts = only(made, 0xA1).all()
        *_, wrapped = only(content(parts[3]), 0x30).all()
        serial = only(writer.named(p256), 0x30).all()[1]
        assert issuer in parts[3]
        entry = writer.tlv(0x30, writer.tlv(0x30, bytes.fromhex(name), serial), wrapped)
        changed = writer.tlv(0xA1, *parts[:3], writer.tlv(0x30, entry))
        return writer.tlv(0x31, *sorted([changed, writer.recipient(rsa, key)]))

    found = same(forged(infos=infos))
    assert found[-1] is False if good else found == NOTHING[0]


@pytest.mark.parametrize(("size", "good"), [(65536, True), (65537, False)])
def test_recipients_are_limited_alike(size: int, good: bool) -> None:
    """The content of recipientInfos has at most 65536 octets (ENV-11)."""
    rsa = envelope_key("rsa")

    def infos(key: bytes) -> bytes:
        made = writer.recipient(rsa, key)
        version, _, *rest = only(made, 0x30).all()
        serial = only(writer.named(rsa), 0x30).all()[1]
        room = size - len(made)
        for octets in range(room - 500, room):
            name = writer.tlv(0x30, writer.tlv(4, bytes(octets)))
            other = writer.tlv(0x30, version, writer.tlv(0x30, name, serial), *rest)
            if len(other) == room:
                return writer.tlv(0x31, *sorted([made, other]))
        raise AssertionError(size)

    found = same(forged(infos=infos))
    assert found[-1] is False if good else found == NOTHING[0]


def forged(frame: Any = None, infos: Any = None, **how: Any) -> bytes:
    """Return a report whose frame or recipients are made otherwise."""
    signer, key = pki().card(key_type="p256"), os.urandom(32)
    recipients = infos(key) if infos else writer.tlv(0x31, writer.recipient(envelope_key(), key))
    common = sides.header(suite="p256-sha256-aes256gcm")
    first = {
        "salt": "0" * 32,
        "signer_sha256": hashlib.sha256(writer.ders(signer)[0]).hexdigest(),
        "recipients_sha256": hashlib.sha256(recipients).hexdigest(),
    }
    rows = sides.rows(sides.invoice(n) for n in range(1, 4))
    octets = b"".join(writer.canonical(row) + b"\n" for row in (common | first, *rows))
    sealed = writer.envelope((frame or zstandard.compress)(octets), recipients, key)
    public = common | {"content_sha256": hashlib.sha256(octets).hexdigest(), "content_bytes": len(octets)}
    return writer.signed(sealed, writer.canonical(public), signer, NOW, **how)


def _windowed(log: int) -> Any:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=log)

    def compress(data: bytes) -> bytes:
        stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        return stream.compress(data) + stream.flush()

    return compress


SKIPPABLE = bytes.fromhex("502a4d1800000000")


@pytest.mark.parametrize(
    ("frame", "good"),
    [
        (zstandard.compress, True),
        (zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compress, True),
        (_windowed(23), True),
        (_windowed(24), False),
        (lambda c: zstandard.compress(c[:99]) + zstandard.compress(c[99:]), False),
        (lambda c: zstandard.compress(c) + b"x", False),
        (lambda c: zstandard.compress(c) + SKIPPABLE, False),
        (lambda c: SKIPPABLE + zstandard.compress(c), False),
        (lambda c: zstandard.compress(c) + zstandard.compress(b""), False),
        (lambda c: zstandard.compress(c)[:-1], False),
        (lambda c: zstandard.compress(c)[4:], False),
        (lambda c: c, False),
        (lambda c: zstandard.compress(c[:-1]), False),
        (lambda c: zstandard.compress(c + b"\n"), False),
    ],
)
def test_frames_are_taken_alike(frame: Any, good: bool) -> None:
    """One frame, closed, with nothing around it (ENV-7, ENV-11)."""
    found = same(forged(frame))
    assert found[-1] is False if good else found == NOTHING[1]


def test_recipients_are_taken_alike() -> None:
    """One to sixteen, in order, none twice, in one form each (ENV-6, ENV-10)."""
    rsa, p256 = envelope_key("rsa"), envelope_key("p256")
    key = pki().key("p256", "envelope p256")
    more = [
        sides.der(pki().leaf(Role.BUREAU_ENVELOPE, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"E{n}")]), key))
        for n in range(16)
    ]

    def to(*wanted: bytes, reverse: bool = False) -> Any:
        return lambda k: writer.tlv(0x31, *sorted((writer.recipient(der, k) for der in wanted), reverse=reverse))

    def parts(change: Any, der: bytes = rsa) -> Any:
        def infos(k: bytes) -> bytes:
            made = writer.recipient(der, k)
            changed = writer.tlv(made[0], *change(only(made, made[0]).all()))
            rest = [] if der == rsa else [writer.recipient(rsa, k)]
            return writer.tlv(0x31, *sorted([changed, *rest]))

        return infos

    assert same(forged(infos=to(rsa, *more[:15])))[-1] is False
    for infos in (
        to(),
        to(rsa, rsa),
        to(rsa, *more),
        to(rsa, p256, reverse=True),
        parts(lambda e: [b"\2\1\2", *e[1:]]),
        parts(lambda e: [*e[:3], writer.tlv(4, content(e[3])[:-1])]),
        parts(lambda e: [*e[:2], bytes.fromhex("300d06092a864886f70d0101010500"), e[3]]),
        parts(lambda e: [*e, b"\5\0"]),
        parts(lambda e: [b"\2\1\2", *e[1:]], p256),
        parts(lambda e: [*e[:2], writer.tlv(0xA1, writer.tlv(4, b"u")), *e[2:]], p256),
        parts(lambda e: [*e[:3], writer.tlv(0x30, *only(e[3], 0x30).all() * 2)], p256),
        parts(lambda e: [*e[:3], writer.tlv(0x30)], p256),
    ):
        assert same(forged(infos=infos)) == NOTHING[0]
    assert same(forged(infos=to(p256))) == NOTHING[1]
    assert same(forged(infos=to(p256)), kind="p256")[-1] is False
    assert same(forged(infos=lambda _: writer.tlv(0x31, writer.recipient(rsa, b"k" * 16)))) == NOTHING[1]


def test_certificates_beside_are_taken_alike() -> None:
    """All on the path, each the issuer of the one before, none twice (ENV-5, ENV-17)."""
    issuing, root, foreign = map(sides.der, (pki().issuing, pki().root, foreign_pki().root))
    for beside in ([], [issuing], [issuing, root]):
        assert same(forged(beside=beside))[-1] is False
    for beside in ([root], [root, issuing], [issuing, issuing], [issuing, root, root], [issuing, foreign]):
        assert same(forged(beside=beside)) == NOTHING[0]
    assert same(forged(size=1000)) == NOTHING[0]
    assert same(forged() + b"\0") == NOTHING[0]


# --- certificates ---------------------------------------------------------------------------------------------------

ARC = "2.25.147695742703116527850616076478095611811"
CARD = x509.ObjectIdentifier(f"{ARC}.1")
RESULT = x509.ObjectIdentifier(f"{ARC}.2")
OTHER = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0")
MAIL, CLIENT = ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.CLIENT_AUTH
KEY_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


def named(text: str) -> x509.Name:
    """Return a name of one part."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certify(
    subject: x509.Name,
    issuer: x509.Name,
    *,
    key: Any = None,
    issuer_key: Any = None,
    authority: bool = True,
    length: int | None = None,
    usages: tuple[str, ...] | None = ("key_cert_sign", "crl_sign"),
    roles: tuple[x509.ObjectIdentifier, ...] = (),
    until: datetime = NOT_AFTER,
    since: datetime = NOT_BEFORE,
    extra: tuple[tuple[Any, bool], ...] = (),
    digest: Any = None,
    pad: Any = None,
) -> x509.Certificate:
    """Return a certificate of which everything can be chosen."""
    own = pki().key("p256", "differential")
    made = (
        x509.CertificateBuilder(issuer, subject, (key or own).public_key(), x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(authority, length), True)
    )
    if usages is not None:
        made = made.add_extension(x509.KeyUsage(**{usage: usage in usages for usage in KEY_USAGES}), True)
    if roles:
        made = made.add_extension(x509.ExtendedKeyUsage(roles), False)
    for extension, critical in extra:
        made = made.add_extension(extension, critical)
    return made.sign(issuer_key or own, digest or hashes.SHA256(), rsa_padding=pad)


def card(issuer: x509.Certificate, **changes: Any) -> SoftSigner:
    """Return a card under an authority."""
    wanted: dict[str, Any] = {"authority": False, "usages": ("digital_signature",), "roles": (CARD,)}
    subject = changes.pop("subject", pki().card().certificate.subject)
    certificate = certify(subject, issuer.subject, **(wanted | changes))
    return SoftSigner(pki().key("p256", "differential"), certificate)


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({}, True),
        ({"roles": (CARD, MAIL)}, True),
        ({"roles": (CARD, CLIENT)}, False),
        ({"roles": (CARD, RESULT)}, False),
        ({"roles": (RESULT,)}, False),
        ({"roles": ()}, False),
        ({"authority": True}, False),
        ({"usages": None}, False),
        ({"usages": ("key_encipherment",)}, False),
        ({"extra": ((OTHER, True),)}, False),
        ({"extra": ((OTHER, False),)}, True),
        ({"until": NOW - timedelta(seconds=1)}, False),
        ({"until": NOW}, True),
        ({"since": NOW}, True),
        ({"since": NOW + timedelta(seconds=1)}, False),
        ({"since": datetime(1950, 1, 1, tzinfo=UTC), "until": datetime(9999, 12, 31, tzinfo=UTC)}, True),
        ({"until": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)}, True),
        ({"since": datetime(9999, 12, 31, 23, tzinfo=UTC), "until": datetime(9999, 12, 31, 23, tzinfo=UTC)}, False),
        ({"digest": hashes.SHA512()}, True),
        ({"digest": hashes.SHA224()}, False),
        ({"subject": named("nobody")}, False),
    ],
)
def test_cards_are_taken_alike(changes: dict[str, Any], good: bool) -> None:
    """Role, usage, validity and extensions of a signer (TRUST-10 to TRUST-15)."""
    root = certify(named("R"), named("R"))
    found = same(report(signer=card(root, **changes)), store=TrustStore(roots=(root,)))
    assert (found[-1] is False) is good


@pytest.mark.parametrize("between", range(6))
def test_paths_are_as_long_for_both(between: int) -> None:
    """At most four authorities between root and signer, from the file or from the store (TRUST-12, ENV-17)."""
    path = [certify(named("R"), named("R"))]
    for n in range(between):
        path.append(certify(named(f"C{n}"), path[-1].subject))
    signer = card(path[-1])
    with_path = SoftSigner(pki().key("p256", "differential"), signer.certificate, tuple(reversed(path[1:])))
    roots, authorities = tuple(path[:1]), tuple(path[1:])
    for data, store in (
        (report(signer=signer), TrustStore(roots=roots, intermediates=authorities)),
        (report(signer=with_path), TrustStore(roots=roots)),
    ):
        assert (same(data, store=store)[-1] is False) is (between <= 4)


@pytest.mark.parametrize(
    ("root", "authority", "good"),
    [
        ({}, {}, True),
        ({"length": 1}, {"length": 0}, True),
        ({"length": 0}, {}, False),
        ({}, {"authority": False}, False),
        ({}, {"usages": ("crl_sign",)}, False),
        ({}, {"usages": None}, False),
        ({}, {"until": NOW - DAY}, False),
        ({"until": NOW - DAY}, {}, False),
        ({"usages": ("crl_sign",)}, {}, False),
        ({"extra": ((OTHER, True),)}, {}, False),
        ({}, {"extra": ((OTHER, True),)}, False),
        ({}, {"roles": (CARD,)}, False),
        ({}, {"roles": (RESULT, MAIL)}, False),
        ({"roles": (CARD,)}, {}, False),
        ({"roles": (CLIENT,)}, {"roles": (MAIL,)}, True),
    ],
)
def test_authorities_are_taken_alike(root: dict[str, Any], authority: dict[str, Any], good: bool) -> None:
    """Authorities say so, keep their path length and are valid now (TRUST-12, TRUST-13, TRUST-15)."""
    top = certify(named("R"), named("R"), **root)
    middle = certify(named("C"), named("R"), **authority)
    found = same(report(signer=card(middle)), store=TrustStore(roots=(top,), intermediates=(middle,)))
    assert (found[-1] is False) is good


def listed(
    issuer: x509.Certificate,
    *serials: int,
    key: Any = None,
    until: datetime = NOT_AFTER,
    number: int = 1,
    pad: Any = None,
) -> Any:
    """Return a revocation list."""
    made = x509.CertificateRevocationListBuilder(issuer.subject, NOT_BEFORE, until)
    for serial in serials:
        made = made.add_revoked_certificate(x509.RevokedCertificateBuilder(serial, NOT_BEFORE).build())
    made = made.add_extension(x509.CRLNumber(number), False)
    return made.sign(key or pki().key("p256", "differential"), hashes.SHA256(), rsa_padding=pad)


def test_lists_count_alike() -> None:
    """Who is named is refused; a list by a stranger is a refusal as well (TRUST-16, TRUST-17)."""
    root = certify(named("R"), named("R"))
    middle = certify(named("C"), named("R"))
    mute = certify(named("M"), named("R"), usages=("key_cert_sign",))
    signer, beside = card(middle), card(mute)
    own, stranger = signer.certificate.serial_number, pki().key("p256", "stranger")
    for lists, good in (
        ([listed(middle), listed(root)], True),
        ([listed(middle, until=NOT_BEFORE + DAY)], True),
        ([listed(root, own)], True),
        ([listed(root, root.serial_number)], True),
        ([listed(middle, own)], False),
        ([listed(middle, own), listed(middle, number=2)], False),
        ([listed(middle, own, until=NOT_BEFORE + DAY)], False),
        ([listed(root, middle.serial_number)], False),
        ([listed(middle, key=stranger)], False),
        ([listed(root, key=stranger)], False),
        ([listed(middle), listed(middle, key=stranger)], False),
        ([listed(middle, key=stranger), listed(middle)], False),
    ):
        store = TrustStore(roots=(root,), intermediates=(middle,), crls=tuple(lists))
        assert (same(report(signer=signer), store=store)[-1] is False) is good
    store = TrustStore(roots=(root,), intermediates=(mute,), crls=(listed(mute),))
    assert same(report(signer=beside), store=store) == NOTHING[0]


def test_lists_of_two_keys_of_one_name_are_told_apart() -> None:
    """A list by another key of the issuer's name is that key's, and ignored, if somebody known has it (TRUST-16)."""
    old_key = pki().key("p256", "older")
    root = certify(named("R"), named("R"))
    new, old = certify(named("C"), named("R")), certify(named("C"), named("R"), key=old_key)
    mute = certify(named("C"), named("R"), usages=("key_cert_sign",))
    signer = card(new)
    own = signer.certificate.serial_number
    for authorities, former, lists, good in (
        ((new, old), (), [listed(old, own, key=old_key)], True),
        ((new, old), (), [listed(new), listed(old, own, key=old_key)], True),
        ((new, old), (), [listed(new, own), listed(old, key=old_key)], False),
        ((new,), (old,), [listed(old, own, key=old_key)], True),
        ((new,), (), [listed(old, own, key=old_key)], False),
        ((new,), (), [listed(new), listed(old, key=old_key)], False),
        ((old, new), (), [listed(new, key=pki().key("p256", "stranger"))], False),
        ((old,), (new,), [], False),
        ((mute,), (new,), [listed(new)], False),
    ):
        store = TrustStore(roots=(root,), intermediates=authorities, crls=tuple(lists), former=former)
        assert (same(report(signer=signer), store=store)[-1] is False) is good


PSS = padding.PSS(padding.MGF1(hashes.SHA256()), 32)


def test_other_padding_is_refused_alike() -> None:
    """Certificates and lists are signed with PKCS#1 v1.5 or ECDSA, and with nothing else (TRUST-14, TRUST-16)."""
    key = pki().key("rsa", "padding")
    root = certify(named("R"), named("R"), key=key, issuer_key=key)
    middle = certify(named("C"), named("R"), key=key, issuer_key=key)
    pss = certify(named("C"), named("R"), key=key, issuer_key=key, pad=PSS)
    pss_root = certify(named("R"), named("R"), key=key, issuer_key=key, pad=PSS)
    plain, padded = card(middle, issuer_key=key), card(middle, issuer_key=key, pad=PSS)
    for signer, top, authority, lists, good in (
        (plain, root, middle, (listed(middle, key=key),), True),
        (padded, root, middle, (), False),
        (plain, root, pss, (), False),
        (plain, pss_root, middle, (), False),
        (plain, root, middle, (listed(middle, key=key, pad=PSS),), False),
    ):
        store = TrustStore(roots=(top,), intermediates=(authority,), crls=lists)
        assert (same(report(signer=signer), store=store)[-1] is False) is good


def test_strangers_are_refused_alike() -> None:
    """Another bureau, and one that uses this one's names (TRUST-12)."""
    for world in (foreign_pki(), rogue_pki()):
        assert same(report(signer=world.card())) == NOTHING[0]
        assert sides.result(texts.signed(texts.success(), by=world.bureau_result)) == (sides.REFUSED,) * 2


# --- signed texts ---------------------------------------------------------------------------------------------------

SIGNER = pki().signer(Role.BUREAU_RESULT, key_type="p256")
SUCCESS = render_result(texts.success())
FAILURE = render_result(texts.failure())
VALUES = [
    *("", "0", "1", "16", "17", "18", "072", "99999", "100000", "-1", "9007199254740991", "9007199254740992", "１７"),
    *("310100000000000", "91110108551385082Q", "31010000000000a", "65535", "65536", "200807180000", "202608010000"),
    *("200802300808", "6f" * 32, "6F" * 32, "ab" * 16, "TC0000000000", "T" * 41, "R_.-", "R" * 65, "R/1"),
    *("报税成功", "报税失败", "成功", "271D", "错误", "a@._-", "2008-08-15", "2008-02-30", "2008-8-15", "0000-01-01"),
    *("2008-07-18T08:23:11+08:00", "2008-07-18T08:23:11Z", "2008-07-18T08:23:60+08:00", "2008-07-18T24:00:00+08:00"),
    *("0001-01-01T07:59:59+08:00", "0001-01-01T08:00:00+08:00", "9999-12-31T23:59:59+08:00", "9999-12-31"),
    *("1000000.00", "-0.00", "-1.00", "0.00", "1.0", "01.00", "9" * 13 + ".99", "9" * 14 + ".99"),
    *(
        "说" * 500,
        "说" * 501,
        "a  b",
        "a: b",
        " a",
        "a ",
        "\u3000a",
        "a\u200b",
        "e\u0301",
        "-----BEGIN",
        "-----",
        "----",
    ),
    *("a\u2028b", "a\tb", "a\u00a0b", "\ue000", "a\x7f", "\ufeff"),
]
LABELS = [
    "税号",
    "结果",
    "结果:",
    "离线限额 004",
    "离线限额 005",
    "离线限额 007",
    "离线限额 101",
    "离线限额 7",
    "备注",
    "",
    " ",
    "a b",
]


@st.composite
def altered_bodies(draw: st.DrawFn) -> bytes:
    """Return a result's body with some lines altered, moved, doubled, dropped or added."""
    lines = draw(st.sampled_from([SUCCESS, FAILURE])).decode().split("\r\n")[:-1]
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(0, len(lines) - 1)))
        what = draw(
            st.sampled_from(["value", "value", "value", "swap", "drop", "double", "add", "limit", "blank", "raw"])
        )
        label = lines[at].partition(":")[0] if lines else ""
        value = draw(st.sampled_from(VALUES))
        if what == "value" and lines:
            lines[at] = f"{label}: {value}" if value else f"{label}:"
        elif what == "swap" and lines:
            to = draw(st.integers(0, len(lines) - 1))
            lines[at], lines[to] = lines[to], lines[at]
        elif what == "drop" and lines:
            del lines[at]
        elif what == "double" and lines:
            lines.insert(at, lines[at])
        elif what == "add":
            lines.insert(at, f"{draw(st.sampled_from(LABELS))}: {value}")
        elif what == "limit":
            lines.append(f"离线限额 {draw(st.integers(0, 999)):03d}: {value}")
        elif what == "blank" and lines:
            lines[at] = draw(st.sampled_from([lines[at] + " ", " " + lines[at], lines[at].replace(": ", ":"), ""]))
        elif what == "raw":
            lines.insert(at, draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=8)))
    return "".join(line + "\r\n" for line in lines).encode()


@given(body=altered_bodies())
@SETTINGS
def test_results_are_read_alike(body: bytes) -> None:
    """Whatever the lines are, both take them or both do not, and read the same (RES-3 to RES-6, FORM-4 to FORM-6)."""
    project, other = sides.result(writer.text(body, SIGNER, NOW))
    assert project == other


def test_characters_are_permitted_alike() -> None:
    """Which characters may stand in a value is a list, not a matter of anybody's tables (FORM-4)."""
    codes = {*range(0x3400), *range(0xE000, 0x10000, 7), *range(0xF8F0, 0xFE20), *range(0xFFF0, 0x10010)}
    codes |= {*range(0xE0000, 0xE0200), *range(0x110000 - 3, 0x110000), *random.Random(8).sample(range(0x110000), 2000)}
    codes |= {plane << 16 | last for plane in range(1, 17) for last in (0, 1, 0xFFFD, 0xFFFE, 0xFFFF)}
    for code in sorted(codes - {*range(0xD800, 0xE000)}):
        value = f"a{chr(code)}b"
        try:
            forms.lines(f"t\r\nl: {value}\r\n".encode())
        except Refused:
            assert value_fault(value) is not None, hex(code)
        else:
            assert value_fault(value) is None, hex(code)
    # Unassigned today or not: rare ideographs of later versions, all of the planes 2 and 3 but their last two.
    assert value_fault("\U000323b0") is value_fault("\U0003fffd") is None
    assert value_fault("\U0003fffe") is not None
    for code in (0x20, 0xA0, 0x3000, 0x2009):
        for value in (f"a{chr(code)}", f"{chr(code)}a"):
            assert value_fault(value) is not None


@pytest.mark.parametrize(
    ("time", "good"),
    [
        ("0001-01-01T00:00:00+08:00", False),
        ("0001-01-01T07:59:59+08:00", False),
        ("0001-01-01T08:00:00+08:00", True),
        ("9999-12-31T23:59:59+08:00", True),
        ("2008-07-18T24:00:00+08:00", False),
    ],
)
def test_times_lie_in_the_same_range(time: str, good: bool) -> None:
    """From the first second of the year 1 in UTC to the last of the year 9999 in China time (FORM-3)."""
    body = SUCCESS.replace(b"2008-07-18T08:23:11+08:00", time.encode())
    project, other = sides.result(writer.text(body, SIGNER, NOW))
    assert project == other
    assert (project != sides.REFUSED) is good


@given(
    mark=st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 2, b"\xff\xfe", b" ", b"\r\n", b"\n"]),
    ends=st.sampled_from([b"\r\n", b"\r\n", b"\n", b"\n", b"\r", b"\n\r", b" \r\n", b"\r\n\r\n", b"\x0b"]),
    cut=st.integers(0, 3),
    tail=st.lists(st.sampled_from([b"\n", b"\r\n", b"\r", b" ", b"\t", b"Y", b"\x1a", b"\0"]), max_size=4).map(
        b"".join
    ),
    other=st.none()
    | st.tuples(st.integers(0, 80), st.sampled_from([b"\n", b"\r\n", b"\r", b" \r\n", b"", b"\r\n\r\n"])),
    before_signing=st.booleans(),
)
@SETTINGS
def test_editors_are_forgiven_alike(
    mark: bytes, ends: bytes, cut: int, tail: bytes, other: tuple[int, bytes] | None, before_signing: bool
) -> None:
    """Byte order marks, line ends and what is after the last line (RES-8, TXT-1, TXT-5, TXT-6)."""

    def spoil(data: bytes) -> bytes:
        lines = data.split(b"\r\n")[:-1]
        joined = [line + ends for line in lines]
        if other is not None and other[0] < len(joined):
            joined[other[0]] = lines[other[0]] + other[1]
        spoilt = mark + b"".join(joined)
        return spoilt[: len(spoilt) - cut] + tail

    data = writer.text(spoil(SUCCESS), SIGNER, NOW) if before_signing else spoil(writer.text(SUCCESS, SIGNER, NOW))
    project, decoded = sides.result(data)
    assert project == decoded


@pytest.mark.parametrize("data", [b"", b"Y", b"Y\r\n", b"\xef\xbb\xbfY\n\n", b"y", b"YY", b"\xef\xbb\xbf", b"\n"])
def test_what_is_no_result_is_none_for_both(data: bytes) -> None:
    """`Y`, nothing, and little more (RES-1, RES-2)."""
    assert sides.result(data) == (sides.REFUSED,) * 2


def test_sizes_are_limited_alike() -> None:
    """65536 octets are taken, one more is not (RES-1, ACK-1, TXT-9)."""
    result = texts.signed(texts.success()).replace(b"\r\n", b"\n")
    ack = writer.text(render_ack(texts.ack_of(texts.success())), pki().card(), NOW).replace(b"\r\n", b"\n")
    for read, data in ((sides.result, result), (sides.ack, ack)):
        project, other = read(data + b"\n" * (65536 - len(data)))
        assert project == other != sides.REFUSED
        assert read(data + b"\n" * (65537 - len(data))) == (sides.REFUSED,) * 2


def test_blocks_are_taken_alike() -> None:
    """One spelling of the base64, one structure of the block (TXT-3, TXT-4, TXT-7)."""
    der = writer.block(SUCCESS, SIGNER, NOW)
    spelled = base64.b64encode(der)

    def wrapped(width: int) -> bytes:
        lines = b"".join(spelled[at : at + width] + b"\r\n" for at in range(0, len(spelled), width))
        return SUCCESS + b"-----BEGIN CMS-----\r\n" + lines + b"-----END CMS-----\r\n"

    good = wrapped(64)
    project, other = sides.result(good)
    assert project == other != sides.REFUSED
    own, *chain = writer.ders(SIGNER)
    plain = writer.attributes(hashlib.sha256(SUCCESS).digest(), NOW, own)

    def block(attributes: list[bytes], *, after: bytes = b"", certificates: list[bytes] | None = None) -> bytes:
        info = writer.signer_info(SIGNER, attributes, after=after)
        beside = writer.tlv(0xA0, *(certificates or [own, *chain]))
        version, sha256, data = b"\2\1\1", der_of("300b0609608648016503040201"), der_of("06092a864886f70d010701")
        parts = [version, writer.tlv(0x31, sha256), writer.tlv(0x30, data), beside, writer.tlv(0x31, info)]
        return writer.tlv(0x30, der_of("06092a864886f70d010702"), writer.tlv(0xA0, writer.tlv(0x30, *parts)))

    def der_of(text: str) -> bytes:
        return bytes.fromhex(text)

    def timed(tag: int, text: bytes) -> list[bytes]:
        digest = hashlib.sha256(SUCCESS).digest()
        return writer.attributes(digest, NOW, own, time=writer.tlv(tag, text))

    foreign = writer.attribute("06032a0304", b"\5\0")
    for octets, fine in (
        (block(plain), True),
        (block(timed(0x17, b"490805013000Z")), True),
        (block(timed(0x17, b"500805013000Z")), True),
        (block(timed(0x18, b"20500805013000Z")), True),
        (block(timed(0x18, b"20490805013000Z")), False),
        (block(timed(0x18, b"20500805013000.0Z")), False),
        (block(timed(0x18, b"00010101000000Z")), True),
        (block(timed(0x18, b"99991231155959Z")), True),
        (block(timed(0x18, b"99991231160000Z")), False),
        (block(timed(0x18, b"99991231235959Z")), False),
        (block(timed(0x17, b"2608050130Z")), False),
        (block(timed(0x17, b"260230013000Z")), False),
        (block(timed(0x17, b"260805013060Z")), False),
        (block(plain[::-1]), False),
        (block(plain[1:]), False),
        (block(sorted([*plain, foreign])), False),
        (block(sorted([*plain, plain[0]])), False),
        (block(plain, after=writer.tlv(0xA1, foreign)), False),
        (block(plain, certificates=[*chain, own]), False),
        (block(plain, certificates=[own, own]), False),
        (block(plain) + b"\0", False),
    ):
        project, other = sides.result(writer.armoured(SUCCESS, octets))
        assert project == other
        assert (project != sides.REFUSED) is fine
    for data in (wrapped(63), wrapped(76), wrapped(len(spelled)), good.replace(b" CMS", b" PKCS7"), good + good):
        assert sides.result(data) == (sides.REFUSED,) * 2


def test_certificates_by_openssl_stand_in_any_order() -> None:
    """It sorts them by their octets; the path is found all the same, the root included or not (TXT-7)."""
    root = certify(named("R"), named("R"))
    outer, inner = certify(named("O"), root.subject), certify(named("I"), named("O"))
    signer = card(inner, roles=(RESULT,))
    own, store = sides.der(signer.certificate), TrustStore(roots=(root,))
    capabilities = writer.attribute("06092a864886f70d01090f", writer.tlv(0x30))
    plain = writer.attributes(hashlib.sha256(SUCCESS).digest(), NOW, own)

    def text(certificates: Sequence[bytes], attributes: list[bytes]) -> bytes:
        return writer.armoured(SUCCESS, writer.signed_data(signer, attributes, certificates))

    path = [own, *map(sides.der, (inner, outer, root))]
    for length in (3, 4):
        for order in itertools.permutations(path[:length]):
            project, other = sides.result(text(order, sorted([*plain, capabilities])), store=store)
            assert project == other != sides.REFUSED
            project, other = sides.result(text(order, plain), store=store)
            assert project == other
            assert (project == sides.REFUSED) is (list(order) != path[:length])
    stranger = sides.der(foreign_pki().root)
    for wrong in ([*path, stranger], [stranger, *path], [own, path[2], path[3]], [own, path[1], path[3]], path[1:]):
        assert sides.result(text(wrong, sorted([*plain, capabilities])), store=store) == (sides.REFUSED,) * 2


def test_certificates_of_one_name_are_ordered_too() -> None:
    """A root, its handover by the root before, and that one: there is one order, and it is not the first tried."""
    key = pki().key("p256", "older")
    first = certify(named("1"), named("1"), key=key, issuer_key=key)
    handover, second = certify(named("2"), named("1"), issuer_key=key), certify(named("2"), named("2"))
    signer = card(second, roles=(RESULT,))
    own, store = sides.der(signer.certificate), TrustStore(roots=(first,))
    capabilities = writer.attribute("06092a864886f70d01090f", writer.tlv(0x30))
    attributes = sorted([*writer.attributes(hashlib.sha256(SUCCESS).digest(), NOW, own), capabilities])
    for order in itertools.permutations([own, *map(sides.der, (second, handover, first))]):
        data = writer.armoured(SUCCESS, writer.signed_data(signer, attributes, order))
        project, other = sides.result(data, store=store)
        assert project == other != sides.REFUSED


# --- canonical JSON -------------------------------------------------------------------------------------------------

_SCALARS = st.none() | st.booleans() | st.integers(-(2**54), 2**54) | st.floats() | st.text(max_size=5)
_TREES = st.recursive(_SCALARS, lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=3), c, max_size=3))


@given(
    tree=st.dictionaries(st.text(st.characters(max_codepoint=130), max_size=3), _TREES, max_size=4),
    ascii_only=st.booleans(),
    sort=st.booleans(),
    depth=st.integers(0, 18),
    change=st.none()
    | st.tuples(st.integers(0, 60), st.sampled_from([b" ", b"\n", b"\\", b'"', b"0", b"\xff", b"1e0", b","])),
)
@SETTINGS
def test_json_is_read_alike(
    tree: dict[str, Any], ascii_only: bool, sort: bool, depth: int, change: tuple[int, bytes] | None
) -> None:
    """One object has one spelling for both (FORM-1, FORM-2)."""
    for _ in range(depth):
        tree = {"a": tree}
    text = forms.json.dumps(tree, ensure_ascii=ascii_only, sort_keys=sort, separators=(",", ":"))
    data = text.encode("utf-8", "surrogatepass")
    if change is not None:
        data = data[: change[0]] + change[1] + data[change[0] :]
    try:
        decoded: Any = forms.canonical_json(data)
    except Refused:
        decoded = None
    try:
        assert parse_json(data) == decoded
    except TaxferryError:
        assert decoded is None


# --- trust files ----------------------------------------------------------------------------------------------------


def test_successors_are_judged_alike() -> None:
    """What may take the place of a trust file, and what may not (TRUST-6 to TRUST-9)."""
    world, second = pki(), texts.NextRoot(pki())
    base = {"version": 3, "crls": world.crls(number=5)}
    two = {"roots": (world.root, second.root), "handovers": (second.handover,)}
    revoked = world.crls([world.trust_signer.certificate], number=6)

    def of(**changes: Any) -> bytes:
        return texts.signed_trust(texts.trust_file(**{**base, **changes}))

    cases: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
        ({}, {}, True),
        ({}, {"gateways": ()}, False),
        ({}, {"version": 4}, True),
        ({}, {"version": 2}, False),
        ({}, {"version": 4, "crls": world.crls(number=4)}, False),
        ({}, {"version": 4, "crls": world.crls(number=6)}, True),
        ({}, {"version": 4, "crls": ()}, False),
        ({}, {"version": 4, "crls": world.crls(number=5)[:1]}, False),
        ({"crls": ()}, {"version": 4}, True),
        ({"crls": world.crls(number=5) + world.crls(number=7)[:1]}, {"version": 4}, False),
        ({}, {"version": 4, "issued_at": NOW - 2 * DAY}, False),
        ({}, {"version": 4, "issued_at": NOW}, True),
        ({}, {"version": 4, "intermediates": ()}, True),
        ({}, {"version": 4} | two, True),
        (two, {"version": 4}, False),
        (two, {"version": 4} | two, True),
        ({}, {"version": 4, "crls": revoked}, False),
        ({"crls": revoked}, {"version": 4, "crls": world.crls(number=7)}, False),
    ]
    for held, new, good in cases:
        project, other = sides.trust(of(**new), held=of(**held))
        assert project == other, new
        assert (project != sides.REFUSED) is good, new
    for root in (second.root, foreign_pki().root):
        assert sides.trust(of(), root=root) == (sides.REFUSED,) * 2


def test_an_authority_may_change_its_key_and_keep_its_name() -> None:
    """The list of the old key says nothing of what the new key issued (TRUST-9, TRUST-16)."""
    world, key = pki(), pki().key("p256", "issuing again")
    issuing = certify(world.issuing.subject, world.root.subject, key=key, issuer_key=world.root_key)
    signer = certify(
        named("T"),
        issuing.subject,
        issuer_key=key,
        authority=False,
        usages=("digital_signature",),
        roles=(x509.ObjectIdentifier(f"{ARC}.4"),),
    )
    lists = (world.crls(number=6)[0], listed(issuing, key=key))
    changes = {"version": 2, "intermediates": (issuing,), "crls": lists}
    by = SoftSigner(pki().key("p256", "differential"), signer, (issuing,))
    held = texts.signed_trust(texts.trust_file(crls=world.crls([world.card().certificate], number=5)))
    good = texts.signed_trust(texts.trust_file(**changes), by=by)
    project, other = sides.trust(good, held=held)
    assert project == other != sides.REFUSED
    gone = listed(issuing, signer.serial_number, key=key)
    data = texts.signed_trust(texts.trust_file(**changes | {"crls": (*lists, gone)}), by=by)
    assert sides.trust(data, held=held) == (sides.REFUSED,) * 2


@pytest.mark.parametrize(
    ("old", "new", "good"),
    [
        ("信任文件 1\r", "信任文件 9007199254740991\r", True),
        ("信任文件 1\r", "信任文件 9007199254740992\r", False),
        ("信任文件 1\r", "信任文件 01\r", False),
        ("格式: 1", "格式: 2", False),
        ("最早有效根: 1", "最早有效根: 2", False),
        ("最早有效根: 1", "最早有效根: 0", False),
        ("2026-08: 17", "2026-08: 31", True),
        ("2026-08: 17", "2026-08: 32", False),
        ("2026-09: 15", "2026-09: 31", False),
        ("2026-08: 17", "2026-08: 07", False),
        ("2026-08: 17", "2026-10: 17", False),
        ("2026-08: 17", "2026-09: 17", False),
        ("2026-08: 17", "2026-13: 17", False),
        ("https://bureau.example.cn", "http://" + "a" * 200, True),
        ("https://bureau.example.cn", "http://" + "a" * 201, False),
        ("https://bureau.example.cn", "ftp://bureau.example.cn", False),
        ("https://bureau.example.cn", "https://税局.cn", False),
        ("税局地址 1", "税局地址 2", False),
        ("签发机构 1", "签发机构 2", False),
        ("证书 trust 1", "证书 card 1", False),
        ("根证书 1: ", "根证书 1: AAAA", False),
    ],
)
def test_lines_of_a_trust_file_are_read_alike(old: str, new: str, good: bool) -> None:
    """Numbers, days, addresses and the order of the lines (TRUST-2, TRUST-3)."""
    signed = texts.signed_trust(texts.trust_file()).decode()
    body = signed[: signed.index("-----BEGIN")]
    assert old in body
    project, other = sides.trust(writer.text(body.replace(old, new, 1).encode(), pki().trust_signer, NOW))
    assert project == other
    assert (project != sides.REFUSED) is good
