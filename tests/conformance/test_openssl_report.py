"""OpenSSL and zstd open our reports by the three commands of the specification; we open OpenSSL's envelopes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared.envelope import cms, der, suites
from shared.envelope.der import Malformed, Reader
from shared.envelope.opening import open_report
from shared.keys.file import SoftDecrypter
from tests.support.pki import NOW, Pki, p256_pki, pki
from tests.support.reports import rows, sealed
from tests.support.tools import openssl, run, tool


def write_world(folder: Path, world: Pki) -> None:
    (folder / "root.pem").write_bytes(world.root.public_bytes(Encoding.PEM))
    for kind in ("rsa", "p256"):
        key = world.key(kind, f"envelope {kind}")  # type: ignore[arg-type]
        decrypter = world.envelope_of(kind)  # type: ignore[arg-type]
        (folder / f"{kind}.pem").write_bytes(decrypter.certificate.public_bytes(Encoding.PEM))
        (folder / f"{kind}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def open_with_stock_tools(folder: Path, recipient: str) -> bytes:
    """The commands that the specification prints."""
    ssl, zstd = openssl(), tool("zstd")
    run(folder, ssl, "cms -verify -binary -inform DER -in R.dat -CAfile root.pem -purpose any -out inner.der")
    keys = f"-recip {recipient}.pem -inkey {recipient}.key"
    run(folder, ssl, f"cms -decrypt -binary -inform DER -in inner.der {keys} -out R.zst")
    return run(folder, zstd, "-dc R.zst")


@pytest.mark.parametrize("recipient", ["rsa", "p256"])
@pytest.mark.parametrize("card", ["rsa", "p256"])
@pytest.mark.parametrize("world", [pki, p256_pki])
def test_stock_tools_open_our_report(tmp_path: Path, world: object, card: str, recipient: str) -> None:  # ENV-1, ENV-6
    bureau = pki() if world is pki else p256_pki()
    write_world(tmp_path, bureau)
    data, written = sealed(
        bureau.card(key_type=card),  # type: ignore[arg-type]
        [bureau.envelope.certificate, bureau.envelope_p256.certificate],
        world=bureau,
    )
    (tmp_path / "R.dat").write_bytes(data)
    content = open_with_stock_tools(tmp_path, recipient)
    assert hashlib.sha256(content).hexdigest() == written.header.content_sha256
    assert content.split(b"\n")[1:-1] == list(rows(3))


def test_stock_tools_open_a_report_of_many_chunks(tmp_path: Path) -> None:  # ENV-3
    write_world(tmp_path, pki())

    def many() -> Iterator[bytes]:
        for number in range(20_000):
            yield b'{"n":"' + hashlib.sha512(number.to_bytes(4, "big")).hexdigest().encode() + b'"}'

    data, written = sealed(invoices=0, content=many())
    assert len(data) > 4 * 262144
    (tmp_path / "R.dat").write_bytes(data)
    assert hashlib.sha256(open_with_stock_tools(tmp_path, "rsa")).hexdigest() == written.header.content_sha256


def test_openssl_refuses_an_altered_report(tmp_path: Path) -> None:
    # Its approval of ours would mean little if it approved of everything.
    write_world(tmp_path, pki())
    data, _ = sealed()
    (tmp_path / "R.dat").write_bytes(data.replace(b'"sequence":7', b'"sequence":8'))
    command = "cms -verify -binary -inform DER -in R.dat -CAfile root.pem -purpose any -out inner.der"
    run(tmp_path, openssl(), command, good=False)


# --- their envelopes -----------------------------------------------------------------------------------------------

SECRET = b"what the bureau alone may read\n" * 1000
OAEP = ("-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256")
ECDH = ("-keyopt", "ecdh_kdf_md:sha256")


def their_envelope(folder: Path, *recipients: str) -> Reader:
    """Have OpenSSL encrypt, and return a reader that stands before the recipientInfos."""
    write_world(folder, pki())
    (folder / "secret").write_bytes(SECRET)
    command = "cms -encrypt -aes-256-gcm -binary -in secret -outform DER -out theirs.der"
    run(folder, openssl(), command, *recipients)
    content_info = Reader((folder / "theirs.der").read_bytes()).enter(der.SEQUENCE)
    assert content_info.read_whole(der.OBJECT_IDENTIFIER) == cms.ID_AUTH_ENVELOPED_DATA
    enveloped = content_info.enter(der.context(0)).enter(der.SEQUENCE)
    assert enveloped.read_whole(der.INTEGER) == der.integer(0)
    return enveloped


def decrypt(enveloped: Reader, decrypter: SoftDecrypter) -> bytes:
    """Open an envelope with definite lengths by the parts of our reader."""
    infos = cms.parse_recipient_infos(enveloped.read_whole(der.SET))
    info = cms.find_recipient(infos, decrypter.certificate)
    assert info is not None
    encrypted = enveloped.enter(der.SEQUENCE)
    assert encrypted.read_whole(der.OBJECT_IDENTIFIER) == cms.ID_DATA
    algorithm = encrypted.read_whole(der.SEQUENCE)
    nonce = algorithm[len(suites.CONTENT_ENCRYPTION_BEFORE_NONCE) :][: suites.NONCE_BYTES]
    assert algorithm == suites.content_encryption(nonce)
    ciphertext = encrypted.read(der.context(0, constructed=False))
    tag = enveloped.read(der.OCTET_STRING)
    enveloped.finish()
    assert len(tag) == suites.TAG_BYTES
    return AESGCM(info.unwrap(decrypter)).decrypt(nonce, ciphertext + tag, None)


def test_we_open_their_rsa_envelope(tmp_path: Path) -> None:  # ENV-6, ENV-10
    assert decrypt(their_envelope(tmp_path, "-recip", "rsa.pem", *OAEP), pki().envelope) == SECRET


def test_we_open_their_p256_envelope(tmp_path: Path) -> None:  # ENV-6, ENV-10
    assert decrypt(their_envelope(tmp_path, "-recip", "p256.pem", *ECDH), pki().envelope_p256) == SECRET


@pytest.mark.parametrize("kind", ["rsa", "p256"])
def test_we_open_their_envelope_for_both(tmp_path: Path, kind: str) -> None:  # ENV-6
    enveloped = their_envelope(tmp_path, "-recip", "rsa.pem", *OAEP, "-recip", "p256.pem", *ECDH)
    assert decrypt(enveloped, pki().envelope_of(kind)) == SECRET  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "recipient",
    [
        ("-recip", "rsa.pem"),
        ("-recip", "rsa.pem", "-keyopt", "rsa_padding_mode:oaep"),
        ("-recip", "p256.pem"),
        ("-recip", "p256.pem", "-keyopt", "ecdh_kdf_md:sha512"),
    ],
    ids=["PKCS#1 v1.5", "OAEP with SHA-1", "KDF with SHA-1", "KDF with SHA-512"],
)
def test_their_other_key_encryption_is_refused(tmp_path: Path, recipient: tuple[str, ...]) -> None:  # ENV-10
    infos = their_envelope(tmp_path, *recipient).read_whole(der.SET)
    with pytest.raises(Malformed):
        cms.parse_recipient_infos(infos)


# --- the example that opens for ever -------------------------------------------------------------------------------


VECTOR = Path(__file__).parent.parent / "vectors" / "report"
NAME = "310100000000000_0_202608010000.dat"


@pytest.mark.parametrize("recipient", ["rsa", "p256"])
def test_stock_tools_open_the_published_example(tmp_path: Path, recipient: str) -> None:
    for path in VECTOR.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "R.dat").write_bytes((VECTOR / NAME).read_bytes())
    for suffix in ("pem", "key"):
        (tmp_path / f"{recipient}.{suffix}").write_bytes((VECTOR / f"bureau-{recipient}.{suffix}").read_bytes())
    assert open_with_stock_tools(tmp_path, recipient) == (VECTOR / "content.jsonl").read_bytes()


def test_what_stock_tools_read_is_what_we_read() -> None:
    data, written = sealed()
    with open_report(io.BytesIO(data), pki().trust, pki().envelope, at=NOW) as opened:
        assert opened.proven.header == written.header
