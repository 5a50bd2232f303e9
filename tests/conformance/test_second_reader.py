"""Two readers that share nothing agree: on the published examples, on new files, and on damaged ones."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from shared.envelope.opening import prove_report
from shared.envelope.roles import Role
from shared.envelope.textsign import prove_text, sign_text
from shared.errors import ResultInvalid, TaxferryError
from tests.conformance import second_reader
from tests.support.forge import Forge
from tests.support.pki import NOW, p256_pki, pki
from tests.support.reports import rows, sealed

VECTORS = Path(__file__).parent.parent / "vectors"


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


@pytest.mark.parametrize("kind", ["rsa", "p256"])
def test_the_published_report_reads_the_same(kind: str) -> None:
    folder = VECTORS / "report"
    key = load_pem_private_key((folder / f"bureau-{kind}.key").read_bytes(), None)
    report = second_reader.read_report(
        (folder / "310100000000000_0_202608010000.dat").read_bytes(),
        certificate(folder / "root.pem"),
        key,  # type: ignore[arg-type]
        certificate(folder / f"bureau-{kind}.pem"),
    )
    assert report.rows == (folder / "content.jsonl").read_bytes().splitlines()[1:]
    page = (VECTORS.parent.parent / "docs" / "spec" / "report.md").read_text(encoding="utf-8")
    assert report.digest in page


@pytest.mark.parametrize(
    ("name", "role", "title"),
    [
        ("result.txt", second_reader.RESULT, "税渡 报税结果 1"),
        ("failure.txt", second_reader.RESULT, "税渡 报税结果 1"),
        ("receipt.txt", second_reader.RESULT, "税渡 受理回执 1"),
        ("clear.ack", second_reader.CARD, "税渡 清卡回执 1"),
        ("trust.txt", second_reader.TRUST, "税渡 信任文件 2"),
    ],
)
def test_the_published_texts_read_the_same(name: str, role: str, title: str) -> None:
    data = (VECTORS / "text" / name).read_bytes()
    root = certificate(VECTORS / "text" / "root.pem")
    found, lines = second_reader.read_text(data, root, role)
    assert found == title
    body = data.decode().split("-----BEGIN")[0]
    assert [f"{label}: {value}" if value else f"{label}:" for label, value in lines] == body.split("\r\n")[1:-1]
    others = {second_reader.RESULT, second_reader.CARD, second_reader.TRUST} - {role}
    assert all(
        second_reader.refuses(lambda other=other: second_reader.read_text(data, root, other)) for other in others
    )


@pytest.mark.parametrize("card", ["rsa", "p256"])
@pytest.mark.parametrize("recipient", ["rsa", "p256"])
def test_new_reports_read_the_same(card: str, recipient: str) -> None:  # ENV-1, REP-6
    bureau = pki() if card == "rsa" else p256_pki()
    data, written = sealed(
        bureau.card(key_type=card),  # type: ignore[arg-type]
        [bureau.envelope.certificate, bureau.envelope_p256.certificate],
        world=bureau,
    )
    report = second_reader.read_report(
        data,
        bureau.root,
        bureau.key(recipient, f"envelope {recipient}"),  # type: ignore[arg-type]
        bureau.envelope_of(recipient).certificate,  # type: ignore[arg-type]
    )
    assert (report.digest, report.header) == (written.digest, written.header.model_dump())
    assert report.rows == list(rows(3))


def both_refuse(data: bytes) -> bool:
    """Return what both readers say of a damaged report; they must say the same."""
    world = p256_pki()
    key, certificate = world.key("p256", "envelope p256"), world.envelope_p256.certificate
    theirs = second_reader.refuses(lambda: second_reader.read_report(data, world.root, key, certificate))
    try:
        prove_report(io.BytesIO(data), world.trust, at=NOW)
        ours = False
    except TaxferryError:
        ours = True
    assert ours is theirs
    return ours


def test_both_refuse_what_is_damaged() -> None:  # ENV-13
    world = p256_pki()
    data, _ = sealed(world.card(key_type="p256"), [world.envelope_p256.certificate], world=world)
    assert not both_refuse(data)
    chance = random.Random(21)
    for _ in range(600):
        at = chance.randrange(len(data))
        assert both_refuse(data[:at] + bytes((data[at] ^ 1 << chance.randrange(8),)) + data[at + 1 :])
        assert both_refuse(data[:at])


def test_both_refuse_other_chunks() -> None:  # ENV-3
    world = p256_pki()
    for chunk in (1, 1000, 262143, 262145):
        forge = Forge(world=world, signer=world.card(key_type="p256"), recipients=[world.envelope_p256.certificate])
        forge.chunk = chunk
        small = len(forge.report()) < 262143 and chunk > 262142
        assert both_refuse(forge.report()) is not small


def test_both_refuse_text_that_is_damaged() -> None:  # TXT-6
    world = p256_pki()
    data = sign_text("标题 1\r\n税号: 310100000000000\r\n".encode(), world.bureau_result, signing_time=NOW)
    chance = random.Random(22)
    for attempt in range(600):
        at = chance.randrange(len(data))
        damaged = data if attempt == 0 else data[:at] + bytes((chance.randrange(256),)) + data[at + 1 :]
        theirs = second_reader.refuses(
            lambda damaged=damaged: second_reader.read_text(damaged, world.root, second_reader.RESULT)
        )
        try:
            prove_text(damaged, Role.BUREAU_RESULT, world.trust, at=NOW, error=ResultInvalid)
            ours = False
        except TaxferryError:
            ours = True
        assert ours is theirs is (damaged != data)
