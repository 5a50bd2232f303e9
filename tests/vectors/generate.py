"""Writes the published cases and their manifest: the same octets every time, on every machine.

    python -m tests.vectors.generate

`report/`, `text/` and `httpsig/` beside them were made once and are never written again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from shared.clock import format_time
from shared.envelope.chain import TrustStore
from shared.envelope.opening import open_report, prove_report
from shared.errors import TaxferryError
from shared.keys.file import SoftDecrypter
from shared.model.ack import prove_ack
from shared.model.receipt import prove_receipt
from shared.model.result import prove_result
from shared.model.trust import prove_trust
from tax_bureau.judge.detail import read_content
from tests.vectors.cases import Case, cases
from tests.vectors.fixed import NOW, World, key

CASES = Path(__file__).parent / "cases"


def read(case: Case, files: dict[str, bytes], world: World, at: datetime = NOW) -> dict[str, Any]:
    """Return what our reader finds in a case.

    Raises:
        TaxferryError: It refuses it.
    """
    store = TrustStore(roots=(world.root,), intermediates=(world.issuing,), crls=world.lists())
    data = case.data
    match case.kind:
        case "report":
            opener = SoftDecrypter(key("envelope-p256"), world.envelope_p256)
            proven = prove_report(io.BytesIO(data), store, at=at)
            with open_report(io.BytesIO(data), store, opener, at=at) as opened:
                reading = read_content(proven.header, opened.rows())
            return {"report_digest": proven.digest, "differences": bool(reading.differences)}
        case "result":
            result = prove_result(data, store, at=at)
            return {
                "result_no": result.result.result_no,
                "outcome": result.result.outcome,
                "body_sha256": result.body_sha256,
            }
        case "ack":
            return {"result_no": prove_ack(data, store, at=at).ack.result_no}
        case "receipt":
            return {"ask_after_seconds": prove_receipt(data, store, at=at).receipt.ask_after_seconds}
        case "trust":
            held: Any = world.root
            if case.held:
                held = prove_trust(files[case.held], root=world.root, at=at)
            return {"version": prove_trust(data, root=held, at=at).version}
    raise AssertionError(case.kind)


def entry(case: Case, files: dict[str, bytes], world: World) -> dict[str, Any]:
    """Return a case's line of the manifest."""
    found: dict[str, Any] = {
        "file": case.name,
        "kind": case.kind,
        "what": case.what,
        "requirement": case.requirement,
        "valid": case.exit_code == 0,
    }
    if case.held:
        found["held"] = case.held
    try:
        expect = read(case, files, world)
    except TaxferryError as error:
        if int(error.exit_code) != case.exit_code:
            raise ValueError(f"{case.name}: {error.code} {error.exit_code} {error.text.en}") from error
        stage = {"stage": case.stage} if case.kind == "report" else {}
        return found | {"error": {"exit_code": case.exit_code, "code": error.code} | stage}
    assert case.exit_code == 0, f"{case.name} is valid"
    return found | {"expect": expect}


def octets() -> dict[str, bytes]:
    """Return every file below `cases/`, the manifest among them."""
    world, all_cases = World(), cases()
    files = {case.name: case.data for case in all_cases}
    assert len(files) == len(all_cases), "one file for each case"

    def pem(one: Any) -> bytes:
        found: bytes = one.public_bytes(Encoding.PEM)
        return found

    manifest = {
        "about": "TEST ONLY. docs/spec/vectors.md says how to use these.",
        "at": format_time(NOW),
        "root": "root.pem",
        "intermediates": ["issuing.pem"],
        "revocation_lists": ["root.crl", "issuing.crl"],
        "envelope_keys": [
            {"certificate": "envelope-rsa.pem", "key": "../keys/envelope-rsa.key"},
            {"certificate": "envelope-p256.pem", "key": "../keys/envelope-p256.key"},
        ],
        "cases": [entry(case, files, world) for case in all_cases],
    }
    lists = world.lists()
    write: Callable[[object], str] = lambda value: json.dumps(value, ensure_ascii=False, indent=1)  # noqa: E731
    return files | {
        "manifest.json": (write(manifest) + "\n").encode(),
        "root.pem": pem(world.root),
        "issuing.pem": pem(world.issuing),
        "envelope-rsa.pem": pem(world.envelope_rsa),
        "envelope-p256.pem": pem(world.envelope_p256),
        "root.crl": pem(lists[0]),
        "issuing.crl": pem(lists[1]),
    }


def main() -> None:
    """Write them."""
    for name, data in octets().items():
        path = CASES / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main()
