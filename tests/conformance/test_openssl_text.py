"""OpenSSL verifies our signed text; we take the detached signatures that OpenSSL makes, and no weaker ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared.canonical import render_lines
from shared.envelope import suites
from shared.envelope.roles import Role
from shared.envelope.textsign import prove_text, sign_text
from shared.errors import ResultInvalid, SignatureRefused, TaxferryError
from tests.support.pki import NOW, Pki, p256_pki, pki
from tests.support.tools import openssl, run

BODY = render_lines("税渡 样例 1", [("税号", "310100000000000"), ("金额", "100.00"), ("说明", "")])
WORLDS = {"rsa": pki, "p256": p256_pki}


def write_world(folder: Path, world: Pki) -> None:
    signer = world.bureau_result
    key = world.key(world.key_type, Role.BUREAU_RESULT.value)
    (folder / "root.pem").write_bytes(world.root.public_bytes(Encoding.PEM))
    (folder / "issuing.pem").write_bytes(world.issuing.public_bytes(Encoding.PEM))
    (folder / "signer.pem").write_bytes(signer.certificate.public_bytes(Encoding.PEM))
    (folder / "signer.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "body.txt").write_bytes(BODY)


@pytest.mark.parametrize("kind", WORLDS)
@pytest.mark.parametrize("purpose", [(), ("-purpose", "any")], ids=["plain", "any purpose"])
def test_openssl_verifies_our_text(tmp_path: Path, kind: str, purpose: tuple[str, ...]) -> None:  # TXT-2
    world = WORLDS[kind]()
    write_world(tmp_path, world)
    (tmp_path / "R.txt").write_bytes(sign_text(BODY, world.bureau_result, signing_time=NOW))
    command = "cms -verify -inform PEM -in R.txt -content body.txt -CAfile root.pem"
    assert run(tmp_path, openssl(), command, *purpose) == BODY


@pytest.mark.parametrize("kind", WORLDS)
def test_openssl_finds_the_bound_certificate(tmp_path: Path, kind: str) -> None:  # TXT-4
    world = WORLDS[kind]()
    write_world(tmp_path, world)
    (tmp_path / "R.txt").write_bytes(sign_text(BODY, world.bureau_result, signing_time=NOW))
    command = "cms -verify -cades -inform PEM -in R.txt -content body.txt -CAfile root.pem"
    run(tmp_path, openssl(), command)


def test_openssl_refuses_another_body(tmp_path: Path) -> None:
    write_world(tmp_path, pki())
    (tmp_path / "R.txt").write_bytes(sign_text(BODY, pki().bureau_result, signing_time=NOW))
    (tmp_path / "body.txt").write_bytes(BODY.replace(b"100.00", b"900.00"))
    command = "cms -verify -inform PEM -in R.txt -content body.txt -CAfile root.pem"
    run(tmp_path, openssl(), command, good=False)


SIGN = "cms -sign -in body.txt -signer signer.pem -inkey signer.key -outform PEM"


def their_text(folder: Path, kind: str, *options: str) -> bytes:
    write_world(folder, WORLDS[kind]())
    block = run(folder, openssl(), SIGN, *options).replace(b"\r\n", b"\n")
    return BODY + block.replace(b"\n", b"\r\n")


def prove(data: bytes, kind: str) -> bytes:
    return prove_text(data, Role.BUREAU_RESULT, WORLDS[kind]().trust, at=NOW, error=ResultInvalid).body


@pytest.mark.parametrize("kind", WORLDS)
@pytest.mark.parametrize("options", [(), ("-binary",), ("-certfile", "issuing.pem")], ids=["text", "binary", "chain"])
def test_we_take_their_detached_signatures(tmp_path: Path, kind: str, options: tuple[str, ...]) -> None:  # TXT-7
    data = their_text(tmp_path, kind, "-cades", "-md", "sha256", *options)
    assert prove(data, kind) == BODY
    # An editor may have been there too.
    assert prove(data.replace(b"\r\n", b"\n"), kind) == BODY


def test_their_signature_over_another_body_is_refused(tmp_path: Path) -> None:  # TXT-6
    data = their_text(tmp_path, "rsa", "-cades", "-md", "sha256")
    with pytest.raises(SignatureRefused):
        prove(data.replace(b"100.00", b"900.00"), "rsa")


@pytest.mark.parametrize(
    "options",
    [
        ("-md", "sha256"),
        ("-cades", "-md", "sha512"),
        ("-cades", "-md", "sha256", "-nodetach"),
        ("-cades", "-md", "sha256", "-nocerts"),
        ("-cades", "-md", "sha256", "-keyid"),
        ("-cades", "-md", "sha256", "-keyopt", "rsa_padding_mode:pss"),
        ("-md", "sha256", "-noattr"),
    ],
    ids=["certificate not bound", "SHA-512", "attached", "no certificate", "key identifier", "PSS", "no attributes"],
)
def test_their_other_signatures_are_refused(tmp_path: Path, options: tuple[str, ...]) -> None:  # TXT-4, TXT-6, ENV-10
    with pytest.raises(TaxferryError):
        prove(their_text(tmp_path, "rsa", *options), "rsa")


def test_their_name_of_the_algorithm_is_no_second_spelling_of_ours() -> None:  # TXT-7
    # Only with smimeCapabilities under the signature is rsaEncryption taken.
    import base64

    data = sign_text(BODY, pki().bureau_result, signing_time=NOW)
    body, _, block = data.partition(b"-----BEGIN CMS-----\r\n")
    content = base64.b64decode(block.removesuffix(b"-----END CMS-----\r\n").replace(b"\r\n", b""))
    at = content.rindex(suites.RSA_SHA256)
    content = content[:at] + suites.RSA_PLAIN + content[at + len(suites.RSA_PLAIN) :]
    base = base64.b64encode(content)
    lines = b"".join(base[at : at + 64] + b"\r\n" for at in range(0, len(base), 64))
    with pytest.raises(SignatureRefused, match="算法"):
        prove(body + b"-----BEGIN CMS-----\r\n" + lines + b"-----END CMS-----\r\n", "rsa")
