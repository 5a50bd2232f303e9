"""The two readers side by side: each says what is in a file, or that it refuses it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from shared.envelope.chain import TrustStore
from shared.envelope.opening import open_report, prove_report
from shared.errors import TaxferryError
from shared.keys.port import Decrypter
from shared.model.ack import prove_ack
from shared.model.receipt import prove_receipt
from shared.model.result import prove_result
from shared.model.trust import TrustFile, prove_trust
from tax_bureau.judge.detail import read_content
from tests.conformance.independent import decoder, writer
from tests.conformance.independent.octets import Refused
from tests.support.pki import NOW, pki

REFUSED = "refused"
SUMS = [
    f"{of}_{what}" for of in ("positive", "negative", "positive_void", "negative_void") for what in ("amount", "tax")
]


def der(found: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    """Return the octets of a certificate or a revocation list."""
    return found.public_bytes(Encoding.DER)


def believed(store: TrustStore) -> dict[str, Any]:
    """Return a store as the decoder wants it."""
    return decoder.trust(*(map(der, part) for part in (store.roots, store.intermediates, store.crls, store.former)))


def _project_report(data: bytes, store: TrustStore, opener: Decrypter, at: datetime) -> Any:
    file = io.BytesIO(data)
    try:
        proven = prove_report(file, store, at=at)
    except TaxferryError:
        return REFUSED, "proof"
    try:
        with open_report(file, store, opener, at=at) as opened:
            reading = read_content(proven.header, opened.rows())
    except TaxferryError:
        return REFUSED, "content"
    return proven.digest, proven.header.model_dump(), proven.signing_time, bool(reading.differences)


def _decoded_report(data: bytes, store: TrustStore, key: Any, certificate: bytes, at: datetime) -> Any:
    try:
        trust = believed(store)
        decoder.decode_report(data, trust, at)
    except Refused:
        return REFUSED, "proof"
    try:
        found = decoder.decode_report(data, trust, at, key=key, key_certificate=certificate)
    except Refused:
        return REFUSED, "content"
    return found["digest"], found["header"], found["signing_time"], bool(found["content"]["differences"])


def report(data: bytes, *, store: TrustStore | None = None, kind: Any = "rsa", at: datetime = NOW) -> tuple[Any, Any]:
    """Return what the project and the decoder say about a report, opened with the bureau's key of one kind."""
    store = store or pki().trust
    opener, key = pki().envelope_of(kind), pki().key(kind, f"envelope {kind}")
    project = _project_report(data, store, opener, at)
    return project, _decoded_report(data, store, key, der(opener.certificate), at)


def _either(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (TaxferryError, Refused):
        return REFUSED


def _outcome(found: Any) -> dict[str, Any]:
    name = found.name
    rest = {member: getattr(found, member) for member in found.__dataclass_fields__ if member != "name"}
    rest |= {"taxpayer_id": name.taxpayer_id, "machine_no": name.machine_no, "stamp": name.stamp.text}
    return {**rest, "offline_limits": dict(rest["offline_limits"])} if "offline_limits" in rest else rest


def _without_signature(found: dict[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in found if name not in ("body_sha256", "signer_sha256", "signing_time")}


def result(data: bytes, *, store: TrustStore | None = None, at: datetime = NOW) -> tuple[Any, Any]:
    """Return what both say about a `.txt`."""
    store = store or pki().trust
    return (
        _either(lambda: _outcome(prove_result(data, store, at=at).result)),
        _either(lambda: _without_signature(decoder.decode_result(data, believed(store), at))),
    )


def ack(data: bytes, *, store: TrustStore | None = None, at: datetime = NOW) -> tuple[Any, Any]:
    """Return what both say about an `.ack`."""
    store = store or pki().trust
    return (
        _either(lambda: _outcome(prove_ack(data, store, at=at).ack)),
        _either(lambda: _without_signature(decoder.decode_ack(data, believed(store), at))),
    )


def receipt(data: bytes, *, store: TrustStore | None = None, at: datetime = NOW) -> tuple[Any, Any]:
    """Return what both say about the receipt of an upload."""
    store = store or pki().trust
    return (
        _either(lambda: _outcome(prove_receipt(data, store, at=at).receipt)),
        _either(lambda: _without_signature(decoder.decode_receipt(data, believed(store), at))),
    )


def _trust_members(found: TrustFile) -> dict[str, Any]:
    return {
        "version": found.version,
        "issued_at": found.issued_at,
        "first_root": found.first_root,
        "roots": list(map(der, found.roots)),
        "handovers": list(map(der, found.handovers)),
        "authorities": list(map(der, found.intermediates)),
        "certificates": {
            role: [der(one) for of, ones in found.certificates.items() if of.value == role for one in ones]
            for role in ("bureau-result", "bureau-envelope", "trust")
        },
        "lists": list(map(der, found.crls)),
        "deadlines": dict(found.calendar),
        "gateways": list(found.gateways),
    }


def trust(
    data: bytes, *, root: x509.Certificate | None = None, held: bytes = b"", at: datetime = NOW
) -> tuple[Any, Any]:
    """Return what both say about a trust file: to somebody who believes a root, or who holds another file."""
    root = root or pki().root

    def project() -> Any:
        before: Any = prove_trust(held, root=root, at=at) if held else root
        return _trust_members(prove_trust(data, root=before, at=at))

    def decoded() -> Any:
        before = decoder.decode_trust(held, at, root=der(root)) if held else None
        return _without_signature(decoder.decode_trust(data, at, root=None if held else der(root), held=before))

    return _either(project), _either(decoded)


# --- content, in plain JSON -----------------------------------------------------------------------------------------

STATUSES = ("positive", "negative", "positive-void", "negative-void", "blank-void")


def header(**changes: Any) -> dict[str, Any]:
    """Return the public header of a July 2026 report by the main machine's card, without what only a writer knows."""
    return {
        "format": "taxferry-report/1",
        "taxpayer_id": "310100000000000",
        "machine_no": 0,
        "stamp": "202608010000",
        "kind": "period",
        "period_start": "2026-07-01",
        "period_end": "2026-07-31",
        "card_no": "TC0000000000",
        "sequence": 7,
        "nonce": "0123456789abcdef0123456789abcdef",
        "invoice_count": 3,
    } | changes


def line(fen: int, tax: int, **changes: Any) -> dict[str, Any]:
    """Return a goods line."""
    return {
        "name": "钢材",
        "spec": "",
        "unit": "吨",
        "quantity": "1",
        "price": "100",
        "amount": yuan(fen),
        "rate": "0.13",
        "tax": yuan(tax),
        "goods_code": "",
        "nature": "normal",
    } | changes


def invoice(number: int, status: str = "positive", **changes: Any) -> dict[str, Any]:
    """Return an invoice of 100 yuan with one line; red ones are negative, blank ones empty."""
    sign = {"negative": -1, "negative-void": -1, "blank-void": 0}.get(status, 1)
    return {
        "type": "invoice",
        "kind": "007",
        "code": "3100204130",
        "number": f"{number:08d}",
        "day": "2026-07-18",
        "status": status,
        "buyer_name": "北京某某公司" if sign else "",
        "buyer_id": "",
        "amount": yuan(sign * 10000),
        "tax": yuan(sign * 1300),
        "remark": "",
        "original_code": "",
        "original_number": "",
        "lines": [line(sign * 10000, sign * 1300)] if sign else [],
    } | changes


def yuan(fen: int) -> str:
    """Return an amount of money."""
    return f"{'-' * (fen < 0)}{abs(fen) // 100}.{abs(fen) % 100:02d}"


def rows(invoices: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a report of those invoices of one kind and rate, all sums right."""
    invoices = list(invoices)
    sums = dict.fromkeys(SUMS, 0)
    counts = dict.fromkeys((f"{status.replace('-', '_')}_count" for status in STATUSES), 0)
    total = {"amount": 0, "tax": 0}
    for one in invoices:
        status = one["status"].replace("-", "_")
        counts[f"{status}_count"] += 1
        for what in total:
            fen = int(one[what].replace(".", ""))
            if status != "blank_void":
                sums[f"{status}_{what}"] += fen
            if "void" not in status:
                total[what] += fen
    written = {name: yuan(fen) for name, fen in sums.items()}
    stock = {"opening": 5, "bought": len(invoices), "returned": 2, "closing": 3}
    return [
        {"type": "summary", "kind": "007", **stock, **counts, **written},
        {"type": "rate", "kind": "007", "rate": "0.13", **written},
        *invoices,
        {
            "type": "trailer",
            "invoices": len(invoices),
            "lines": sum(len(one["lines"]) for one in invoices),
            "amount": yuan(total["amount"]),
            "tax": yuan(total["tax"]),
        },
    ]


def written(found: Iterable[dict[str, Any]]) -> list[bytes]:
    """Return rows as the lines of a report."""
    return [writer.canonical(row) for row in found]
