"""What the programs write, a second decoder reads from the specification alone; what is altered, both refuse."""

from __future__ import annotations

import ast
import io
import random
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared.envelope.roles import Role
from shared.envelope.seal import seal_report
from shared.model.receipt import render_receipt
from shared.model.result import render_result
from tests.conformance.independent import decoder, sides, writer
from tests.support import reports, texts, tools
from tests.support.pki import NOW, TAXPAYER, pki

pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")
HERE = Path(__file__).parent
DECODER = ("octets", "forms", "certificates", "signatures", "content", "decoder")


def sealed(
    rows: list[dict[str, Any]], *, card: Any = "rsa", recipients: tuple[Any, ...] = ("rsa",), **changes: Any
) -> bytes:
    """Return a report of those rows, written by the project."""
    signer = pki().card(TAXPAYER, 0, card)
    count = sum(row["type"] == "invoice" for row in rows)
    out = io.BytesIO()
    seal_report(
        out,
        reports.draft(signer, invoices=count, **changes),
        iter(sides.written(rows)),
        signer=signer,
        recipients=[pki().envelope_of(kind).certificate for kind in recipients],
        signing_time=NOW,
    )
    return out.getvalue()


def decoded(data: bytes, kind: Any = "rsa") -> dict[str, Any]:
    """Return what the decoder makes of a report."""
    key, certificate = pki().key(kind, f"envelope {kind}"), sides.der(pki().envelope_of(kind).certificate)
    return decoder.decode_report(data, sides.believed(pki().trust), NOW, key=key, key_certificate=certificate)


def rows_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows in decoded content."""
    content = found["content"]
    return [*content["summaries"], *content["rates"], *content["invoices"], content["trailer"]]


def test_the_decoder_knows_nothing_of_the_programs() -> None:
    """The decoder and the second writer import primitives, the standard library, and themselves."""
    allowed = {"cryptography", "zstandard", "tests.conformance.independent"}
    for name in (*DECODER, "writer"):
        for node in ast.walk(ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8"))):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            for module in modules:
                assert not module.startswith(("shared", "offline_station", "online_station", "tax_bureau")), module
                assert not module.startswith("tests") or any(module.startswith(a) for a in allowed), module


@pytest.mark.parametrize("card", ["rsa", "p256"])
@pytest.mark.parametrize("recipients", [("rsa",), ("p256",), ("rsa", "p256")])
def test_a_report_reads_the_same(card: Any, recipients: tuple[Any, ...]) -> None:
    """Every row comes out as it went in, by every recipient's key (ENV-1 to ENV-10, REP-1 to REP-6, REP-20)."""
    rows = sides.rows(sides.invoice(n) for n in range(1, 4))
    data = sealed(rows, card=card, recipients=recipients)
    for kind in recipients:
        found = decoded(data, kind)
        assert rows_of(found) == rows
        assert found["content"]["differences"] == []
        project, other = sides.report(data, kind=kind)
        assert project == other
    assert len(decoded(data, recipients[0])["recipients"]) == len(recipients)


def test_the_writer_s_word_is_the_decoder_s() -> None:
    """Digest and header are those that the writer announced (REP-3, REP-6)."""
    data, said = reports.sealed()
    found = decoded(data)
    assert (found["digest"], found["header"]) == (said.digest, said.header.model_dump())


def test_all_statuses() -> None:
    """Red, voided and blank invoices are counted and summed alike (REP-21 to REP-27)."""
    rows = sides.rows(sides.invoice(n, status) for n, status in enumerate(sides.STATUSES * 3, 1))
    data = sealed(rows)
    assert rows_of(decoded(data)) == rows
    project, other = sides.report(data)
    assert project == other
    assert project[-1] is False


def test_a_report_of_nothing() -> None:
    """A month without business is a report (REP-21, REP-24)."""
    whole = sides.rows([])
    for rows in (whole, [whole[0], whole[-1]], whole[-1:]):
        data = sealed(rows)
        assert rows_of(decoded(data)) == rows
        project, other = sides.report(data)
        assert project == other


def test_an_ad_hoc_report() -> None:
    """It ends on the day of its stamp (REP-2)."""
    stamp = texts.ADHOC
    when = {"stamp": stamp, "period_start": date(2008, 7, 1), "period_end": date(2008, 7, 18)}
    rows = sides.rows([sides.invoice(1, day="2008-07-02")])
    data = sealed(rows, **when)
    project, other = sides.report(data)
    assert project == other
    assert project[1]["kind"] == "adhoc"


def test_a_report_across_chunk_borders() -> None:
    """Both levels are cut at exactly 262144 octets (ENV-3), wherever the content ends."""
    chance = random.Random(20260805)
    rows = sides.rows(
        sides.invoice(n, remark="".join(chr(chance.randrange(0x4E00, 0x9FA5)) for _ in range(1000))) for n in range(190)
    )
    data = sealed(rows)
    assert len(data) > 262144 + 4096
    assert rows_of(decoded(data)) == rows
    for cut in (52 + 262144 + 5, 262144, len(data) - 1):
        assert sides.report(data[:cut]) == ((sides.REFUSED, "proof"),) * 2
    moved = data[:52] + data[52:].replace(b"\x04\x83\x04\x00\x00", b"\x04\x83\x03\xff\xff", 1)
    assert sides.report(moved) == ((sides.REFUSED, "proof"),) * 2


@pytest.mark.parametrize("size", [262143, 262144, 262145, 524288])
def test_an_envelope_of_exactly_a_chunk(size: int) -> None:
    """The last chunk of a string may be whole, and is never empty (ENV-3)."""
    signer = pki().card()
    infos = writer.tlv(0x31, writer.recipient(sides.der(pki().envelope.certificate), b"k" * 32))
    frame = size - len(writer.envelope(b"f" * 200000, infos, b"k" * 32)) + 200000
    inner = writer.envelope(b"f" * frame, infos, b"k" * 32)
    inner = writer.envelope(b"f" * (frame + size - len(inner)), infos, b"k" * 32)
    public = writer.canonical(
        sides.header(suite="rsa-sha256-aes256gcm", content_sha256="0" * 64, content_bytes=1000 * size // 2)
    )
    data = writer.signed(inner, public, signer, NOW)
    assert sides.report(data) == ((sides.REFUSED, "content"),) * 2
    again = writer.signed(inner, public, signer, NOW, size=262143)
    expected = "content" if size == 262143 else "proof"
    assert sides.report(again) == ((sides.REFUSED, expected),) * 2


def test_texts_read_the_same() -> None:
    """Results, receipts and trust files by RSA and P-256 keys (RES-3, ACK-2, RES-30, TRUST-2)."""
    success, failure = texts.success(), texts.failure()
    for result in (success, failure, texts.success(last_acknowledged=None, offline_limits={}, upload_deadline=None)):
        for by in (None, pki().signer(Role.BUREAU_RESULT, key_type="p256")):
            project, other = sides.result(texts.signed(result, by=by))
            assert project == other != sides.REFUSED
    for card in (pki().card(), pki().card(key_type="p256")):
        project, other = sides.ack(texts.signed_ack(texts.ack_of(texts.success(card)), by=card))
        assert project == other != sides.REFUSED
    data = writer.text(render_receipt(texts.receipt()), pki().bureau_result, NOW)
    project, other = sides.receipt(data)
    assert project == other != sides.REFUSED
    second = texts.NextRoot(pki())
    two = {"roots": (pki().root, second.root), "handovers": (second.handover,)}
    for changes in ({}, {"gateways": (), "calendar": {}, "crls": ()}, two, two | {"version": 9, "first_root": 1}):
        project, other = sides.trust(texts.signed_trust(texts.trust_file(**changes)))
        assert project == other != sides.REFUSED


def test_the_second_writer_s_report_is_read_by_the_project() -> None:
    """Two writers and two readers agree, each with each (ENV-6, REP-20)."""
    rows = sides.rows(sides.invoice(n, status) for n, status in enumerate(sides.STATUSES, 1))
    for card in ("rsa", "p256"):
        signer = pki().card(TAXPAYER, 0, card)  # type: ignore[arg-type]
        to = [sides.der(pki().envelope_of(kind).certificate) for kind in ("rsa", "p256")]
        data = writer.report(sides.header(invoice_count=5), sides.written(rows), signer, to, NOW)
        for kind in ("rsa", "p256"):
            project, other = sides.report(data, kind=kind)
            assert project == other
            assert project[0] != sides.REFUSED


def test_a_block_by_openssl(tmp_path: Path) -> None:
    """What stock tools sign, both take, and both refuse when it is altered (TXT-7)."""
    openssl, signer = tools.openssl(), pki().bureau_result
    key = pki().key("rsa", Role.BUREAU_RESULT.value)
    (tmp_path / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "own").write_bytes(signer.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "chain").write_bytes(signer.chain[0].public_bytes(Encoding.PEM))
    body = render_result(texts.success())
    (tmp_path / "body").write_bytes(body)
    command = "cms -sign -cades -binary -md sha256 -in body -signer own -inkey key -certfile chain -outform PEM"
    block = tools.run(tmp_path, openssl, command).replace(b"\r", b"").replace(b"\n", b"\r\n")
    data = body + block
    project, other = sides.result(data)
    assert project == other != sides.REFUSED
    agree(sides.result, data, sample=60, seed=6)


def agree(read: Any, data: bytes, *, sample: int, seed: int) -> None:
    """Flip single bits and cut the file at seeded places: both refuse all of it."""
    chance = random.Random(seed)
    altered = [
        (f"bit at {at}", data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :])
        for at in chance.sample(range(len(data)), min(sample, len(data)))
    ]
    for at in chance.sample(range(len(data) - 1), sample // 4):
        altered.append((f"cut at {at}", data[:at]))
        altered.append((f"without {at}", data[:at] + data[at + 1 :]))
        altered.append((f"twice {at}", data[: at + 1] + data[at:]))
    for what, changed in altered:
        project, other = read(changed)
        assert project == other, what
        refused = project == sides.REFUSED or (isinstance(project, tuple) and project[0] == sides.REFUSED)
        assert refused or changed.rstrip(b"\r\n") == data.rstrip(b"\r\n"), what


@pytest.mark.parametrize("card", ["rsa", "p256"])
def test_an_altered_report_is_refused_by_both(card: Any) -> None:
    """No octet of a report is free (ENV-2, ENV-4, ENV-9, ENV-13)."""
    data = sealed(sides.rows(sides.invoice(n) for n in range(1, 4)), card=card, recipients=("rsa", "p256"))
    agree(sides.report, data, sample=250, seed=1)


def test_altered_texts_are_refused_by_both() -> None:
    """No octet of a signed text is free, the last line end excepted (TXT-1 to TXT-6)."""
    agree(sides.result, texts.signed(texts.success()), sample=250, seed=2)
    agree(sides.ack, texts.signed_ack(texts.ack_of(texts.success())), sample=150, seed=3)
    agree(sides.receipt, writer.text(render_receipt(texts.receipt()), pki().bureau_result, NOW), sample=100, seed=4)
    agree(sides.trust, texts.signed_trust(texts.trust_file()), sample=120, seed=5)
