"""The published cases: made again they are the same, and every reader there is says of each what the manifest says."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from shared.errors import TaxferryError
from tests.conformance import second_reader
from tests.conformance.independent import decoder
from tests.conformance.independent.octets import Refused
from tests.docs.test_spec import requirements
from tests.support.tools import openssl, run, tool
from tests.vectors.generate import CASES, octets

MANIFEST: dict[str, Any] = json.loads((CASES / "manifest.json").read_text(encoding="utf-8"))
AT = datetime.fromisoformat(MANIFEST["at"])
ALL: list[dict[str, Any]] = MANIFEST["cases"]
VALID = [case for case in ALL if case["valid"]]
ROLES = {
    "result": second_reader.RESULT,
    "receipt": second_reader.RESULT,
    "ack": second_reader.CARD,
    "trust": second_reader.TRUST,
}
KINDS = ("report", *ROLES)


def of(kind: str) -> list[dict[str, Any]]:
    return [case for case in ALL if case["kind"] == kind]


def data(case: dict[str, Any]) -> bytes:
    return (CASES / case["file"]).read_bytes()


def pem(name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((CASES / name).read_bytes())


def der(name: str) -> bytes:
    return pem(name).public_bytes(Encoding.DER)


@cache
def believed() -> dict[str, Any]:
    lists = [
        x509.load_pem_x509_crl((CASES / name).read_bytes()).public_bytes(Encoding.DER)
        for name in MANIFEST["revocation_lists"]
    ]
    return decoder.trust([der(MANIFEST["root"])], [der(name) for name in MANIFEST["intermediates"]], lists)


def private(name: str) -> Any:
    return load_pem_private_key((CASES / name).read_bytes(), None)


def test_made_again_they_are_the_same_octets() -> None:  # VEC-2, VEC-3
    """Also proves that our readers say what the manifest says: it is written from what they find."""
    made = octets()
    on_disk = {
        path.relative_to(CASES).as_posix(): path.read_bytes()
        for path in CASES.rglob("*")
        if path.is_file() and path.name != ".gitattributes"
    }
    assert sorted(made) == sorted(on_disk)
    assert [name for name in made if made[name] != on_disk[name]] == []


def test_the_manifest_covers_every_kind_and_names_what_exists() -> None:
    stated = {requirement.id for requirement in requirements()}
    codes = {error.code for error in _errors(TaxferryError)}
    for kind in KINDS:
        assert {case["valid"] for case in of(kind)} == {True, False}
    for case in ALL:
        assert case["requirement"] in stated, case["file"]
        assert case["valid"] is ("expect" in case) is not ("error" in case)
        if "error" in case:
            assert case["error"]["code"] in codes, case["file"]
    assert {case["error"]["exit_code"] for case in ALL if "error" in case} == {11, 12, 14, 15, 20, 21, 23, 24, 43}


def _errors(of_class: type[TaxferryError]) -> list[type[TaxferryError]]:
    return [of_class, *(each for sub in of_class.__subclasses__() for each in _errors(sub))]


def decoded(case: dict[str, Any], at_most: str = "content") -> Any:
    """Return what the independent decoder finds in a case."""
    found = data(case)
    match case["kind"]:
        case "report":
            keys: dict[str, Any] = {}
            if at_most == "content":
                keys = {"key": private("../keys/envelope-p256.key"), "key_certificate": der("envelope-p256.pem")}
            return decoder.decode_report(found, believed(), AT, **keys)
        case "result":
            return decoder.decode_result(found, believed(), AT)
        case "ack":
            return decoder.decode_ack(found, believed(), AT)
        case "receipt":
            return decoder.decode_receipt(found, believed(), AT)
    if not case.get("held"):
        return decoder.decode_trust(found, AT, root=der(MANIFEST["root"]))
    held = decoder.decode_trust((CASES / case["held"]).read_bytes(), AT, root=der(MANIFEST["root"]))
    return decoder.decode_trust(found, AT, held=held)


@pytest.mark.parametrize("kind", KINDS)
def test_the_independent_decoder_says_what_the_manifest_says(kind: str) -> None:  # VEC-1
    for case in of(kind):
        if not case["valid"]:
            with pytest.raises(Refused):
                decoded(case)
            if case["error"].get("stage") == "content":
                assert decoded(case, "proof")["digest"], f"{case['file']}: only the bureau can see that"
            continue
        found = decoded(case)
        expect = dict(case["expect"])
        if kind == "report":
            expect = {"digest": expect["report_digest"]}
            assert bool(found["content"]["differences"]) is case["expect"]["differences"], case["file"]
        assert {name: found[name] for name in expect} == expect, case["file"]


NOT_IN_THE_SECOND = {"expired", "revoked", "header-other-month", "header-kind", "header-other-format"}
NOT_IN_THE_SECOND |= {"rows-out-of-order", "no-trailer", "ack/other-card"}
"""The second reader knows neither time nor lists, nor what a header or a row means."""


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_reader_says_what_the_manifest_says(kind: str) -> None:
    root = pem(MANIFEST["root"])

    def read(case: dict[str, Any]) -> object:
        if kind == "report":
            key, recipient = private("../keys/envelope-p256.key"), pem("envelope-p256.pem")
            return second_reader.read_report(data(case), root, key, recipient)
        return second_reader.read_text(data(case), root, ROLES[kind])

    for case in of(kind):
        name = Path(case["file"]).stem
        if case["valid"]:
            read(case)
        elif not NOT_IN_THE_SECOND & {name, f"{kind}/{name}"} and (
            kind == "report" or case["error"]["exit_code"] == 20
        ):
            assert second_reader.refuses(lambda case=case: read(case)), case["file"]


@pytest.mark.parametrize("kind", ["rsa", "p256"])
def test_openssl_and_zstd_open_the_valid_reports(tmp_path: Path, kind: str) -> None:
    ssl, zstd = openssl(), tool("zstd")
    (tmp_path / "root.pem").write_bytes((CASES / "root.pem").read_bytes())
    (tmp_path / "own.pem").write_bytes((CASES / f"envelope-{kind}.pem").read_bytes())
    (tmp_path / "own.key").write_bytes((CASES / f"../keys/envelope-{kind}.key").read_bytes())
    opened = 0
    for case in of("report"):
        if not case["valid"] or (kind == "rsa" and "one-recipient" in case["file"]):
            continue
        (tmp_path / "R.dat").write_bytes(data(case))
        run(tmp_path, ssl, "cms -verify -binary -inform DER -in R.dat -CAfile root.pem -purpose any -out inner.der")
        run(tmp_path, ssl, "cms -decrypt -binary -inform DER -in inner.der -recip own.pem -inkey own.key -out R.zst")
        assert run(tmp_path, zstd, "-dc R.zst").startswith(b'{"card_no":')
        opened += 1
    assert opened >= 6


def test_openssl_verifies_the_valid_texts_and_no_altered_one(tmp_path: Path) -> None:
    ssl = openssl()
    (tmp_path / "root.pem").write_bytes((CASES / "root.pem").read_bytes())
    command = "cms -verify -inform PEM -in R.txt -content body.txt -CAfile root.pem"
    for case in ALL:
        name = Path(case["file"]).stem
        if case["kind"] == "report" or not (case["valid"] or name in ("altered", "foreign-root")):
            continue
        found = data(case).removeprefix(b"\xef\xbb\xbf")
        if b"\r\n" not in found:
            found = found.replace(b"\n", b"\r\n")
        (tmp_path / "R.txt").write_bytes(found)
        (tmp_path / "body.txt").write_bytes(found.partition(b"-----BEGIN")[0])
        run(tmp_path, ssl, command, good=case["valid"])


def test_the_published_keys_say_what_they_are() -> None:
    keys = sorted((CASES.parent / "keys").glob("*.key"))
    assert len(keys) >= 10
    for path in keys:
        assert path.read_text().startswith("TEST ONLY"), path.name
