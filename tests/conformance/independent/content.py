"""What stands in a sealed report: REP-1, REP-2, REP-10 to REP-12 and REP-20 to REP-27, read afresh."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from tests.conformance.independent.forms import (
    canonical_json,
    copy_time,
    day,
    fen,
    matching,
    month_before,
    need,
    tax_number,
)

STATUSES = ("positive", "negative", "positive-void", "negative-void", "blank-void")
_COUNTS = [status.replace("-", "_") + "_count" for status in STATUSES]
_SUMS = [f"{status.replace('-', '_')}_{what}" for status in STATUSES[:4] for what in ("amount", "tax")]
_STOCK = ["opening", "bought", "returned", "closing"]
_TEXTS = {"buyer_name": 400, "buyer_id": 30, "remark": 1000, "original_code": 12, "original_number": 20}
_LINE_TEXTS = {"name": 600, "spec": 200, "unit": 100, "goods_code": 40}
_KINDS = "004|005|006|007|009|025|026|028|101|102"
_PUBLIC = {
    *("format", "suite", "taxpayer_id", "machine_no", "stamp", "kind", "period_start", "period_end", "card_no"),
    *("sequence", "nonce", "invoice_count", "content_sha256", "content_bytes"),
}


def _whole(value: Any, lowest: int = 0, highest: int = (1 << 53) - 1) -> int:
    need(isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest, "not such an integer")
    return int(value)


def _text(value: Any, longest: int = 1 << 20) -> str:
    need(isinstance(value, str) and len(value) <= longest, "not a string, or a longer one")
    return str(value)


def public_header(data: bytes) -> dict[str, Any]:
    """Return the public header (REP-1, REP-2)."""
    header = canonical_json(data)
    need(set(header) == _PUBLIC, "a header with other members")
    for name in _PUBLIC - {"machine_no", "sequence", "invoice_count", "content_bytes"}:
        matching(r"[ !#-\[\]-~]*", _text(header[name]))
    _whole(header["machine_no"], 0, 65535)
    _whole(header["sequence"], 1)
    _whole(header["invoice_count"])
    _whole(header["content_bytes"])
    matching("taxferry-report/1", header["format"])
    matching("(rsa|p256)-sha256-aes256gcm", header["suite"])
    tax_number(header["taxpayer_id"])
    matching("[0-9A-Za-z-]{1,40}", header["card_no"])
    matching("[0-9a-f]{32}", header["nonce"])
    matching("[0-9a-f]{64}", header["content_sha256"])
    stamp = copy_time(header["stamp"])
    first, last = day(header["period_start"]), day(header["period_end"])
    need(header["kind"] == ("period" if stamp.endswith("0000") else "adhoc"), "a kind that is not the stamp's")
    if header["kind"] == "period":
        need((first, last) == month_before(stamp), "not exactly the month before")
    else:
        need(last.strftime("%Y%m%d").zfill(8) == stamp[:8] and first <= last, "not up to the day of the stamp")
    return header


def _rate(value: Any) -> str:
    return matching(r"0\.[0-9]{1,6}|exempt|untaxed|margin|zero", _text(value))


def _sums(row: Mapping[str, Any]) -> list[int]:
    return [fen(row[name]) for name in _SUMS]


def _summary(row: Mapping[str, Any]) -> None:
    need(set(row) == {"type", "kind", *_STOCK, *_COUNTS, *_SUMS}, "a summary with other members")
    for name in (*_STOCK, *_COUNTS):
        _whole(row[name])
    for name, value in zip(_SUMS, _sums(row), strict=True):
        need(value <= 0 if name.startswith("negative") else value >= 0, "a sum with the wrong sign")


def _line(line: Any) -> None:
    members = {"name", "spec", "unit", "quantity", "price", "amount", "rate", "tax", "goods_code", "nature"}
    need(isinstance(line, dict) and set(line) == members, "a goods line with other members")
    for name, longest in _LINE_TEXTS.items():
        _text(line[name], longest)
    for name in ("quantity", "price"):
        if line[name] is not None:
            matching(r"-?[0-9]{1,15}(\.[0-9]{1,18})?", _text(line[name]))
    fen(line["amount"])
    fen(line["tax"])
    _rate(line["rate"])
    need(line["nature"] in ("normal", "discount", "freeform"), "another nature")


def _invoice(row: Mapping[str, Any]) -> None:
    members = {"type", "kind", "code", "number", "day", "status", "amount", "tax", "lines", *_TEXTS}
    need(set(row) == members, "an invoice with other members")
    matching("([0-9]{10}|[0-9]{12})?", _text(row["code"]))
    matching("[0-9]{8}|[0-9]{20}", _text(row["number"]))
    day(row["day"])
    need(row["status"] in STATUSES, "another status")
    for name, longest in _TEXTS.items():
        _text(row[name], longest)
    need(isinstance(row["lines"], list) and len(row["lines"]) <= 2000, "no lines, or too many")
    for line in row["lines"]:
        _line(line)
    sums = fen(row["amount"]), fen(row["tax"])
    need(min(sums) >= 0 if row["status"].startswith("positive") else max(sums) <= 0, "not the sign of the status")
    if row["status"] == "blank-void":
        need(sums == (0, 0) and not row["lines"], "a blank voided invoice that says something")


def read_content(data: bytes, header: Mapping[str, Any], signer: str, recipients: str) -> dict[str, Any]:
    """Return the rows of the content, and where detail and summary differ (REP-10 to REP-12, REP-20 to REP-27)."""
    need(data.endswith(b"\n"), "a line that is not ended")
    raw = data[:-1].split(b"\n")
    need(all(1 <= len(line) <= 1 << 20 for line in raw), "an empty or a longer line")
    first, *rows = [canonical_json(line) for line in raw]
    salt = _text(first.get("salt"))
    matching("[0-9a-f]{32}", salt)
    bound = {name: header[name] for name in _PUBLIC - {"content_sha256", "content_bytes"}}
    bound |= {"salt": salt, "signer_sha256": signer, "recipients_sha256": recipients}
    need(first == bound, "line 1 is not bound to header, signer and recipients")

    summaries: dict[str, dict[str, Any]] = {}
    rates: dict[tuple[str, str], dict[str, Any]] = {}
    invoices: list[dict[str, Any]] = []
    trailer: dict[str, Any] | None = None
    for row in rows:
        kind = row.get("type")
        need(trailer is None, "a row after the trailer")
        if kind != "trailer":
            matching(_KINDS, _text(row.get("kind")))
        if kind == "summary":
            need(not invoices and row["kind"] not in summaries, "a summary after invoices, or a second one")
            _summary(row)
            summaries[row["kind"]] = row
        elif kind == "rate":
            need(set(row) == {"type", "kind", "rate", *_SUMS}, "a rate with other members")
            key = row["kind"], _rate(row["rate"])
            need(not invoices and key not in rates, "a rate after invoices, or a second one")
            _sums(row)
            rates[key] = row
        elif kind == "invoice":
            _invoice(row)
            invoices.append(row)
        else:
            need(kind == "trailer" and set(row) == {"type", "invoices", "lines", "amount", "tax"}, "no row of ours")
            _whole(row["invoices"])
            _whole(row["lines"])
            fen(row["amount"])
            fen(row["tax"])
            trailer = row
    need(trailer is not None, "content without a trailer")
    return {
        "header": first,
        "summaries": list(summaries.values()),
        "rates": list(rates.values()),
        "invoices": invoices,
        "trailer": trailer,
        "differences": _differences(header, summaries, rates, invoices, trailer or {}),
    }


def _differences(
    header: Mapping[str, Any],
    summaries: Mapping[str, Mapping[str, Any]],
    rates: Mapping[tuple[str, str], Mapping[str, Any]],
    invoices: list[dict[str, Any]],
    trailer: Mapping[str, Any],
) -> list[str]:
    found = []
    valid = [row for row in invoices if row["status"] in ("positive", "negative")]
    read = len(invoices), sum(len(row["lines"]) for row in invoices)
    sums = sum(fen(row["amount"]) for row in valid), sum(fen(row["tax"]) for row in valid)
    if (trailer["invoices"], trailer["lines"], fen(trailer["amount"]), fen(trailer["tax"])) != (*read, *sums):
        found.append("the trailer is not what was read")
    if header["invoice_count"] != len(invoices):
        found.append("the header counts other invoices")

    inside = all(header["period_start"] <= row["day"] <= header["period_end"] for row in invoices)
    if header["kind"] == "period" and not inside:
        found.append("an invoice of another period")

    seen: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys([*_COUNTS, *_SUMS], 0))
    at_rate: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(_SUMS, 0))
    without_lines = set()
    for row in invoices:
        status = row["status"].replace("-", "_")
        seen[row["kind"]][f"{status}_count"] += 1
        if status == "blank_void":
            continue
        if not row["lines"]:
            without_lines.add(row["kind"])
        for what in ("amount", "tax"):
            seen[row["kind"]][f"{status}_{what}"] += fen(row[what])
            for line in row["lines"]:
                at_rate[row["kind"], line["rate"]][f"{status}_{what}"] += fen(line[what])

    for kind in sorted({*summaries, *seen, *(kind for kind, _ in rates)}):
        summary = summaries.get(kind)
        if summary is None:
            found.append(f"{kind}: no summary")
            continue
        counts = sum(summary[name] for name in _COUNTS)
        if summary["closing"] != summary["opening"] + summary["bought"] - summary["returned"] - counts:
            found.append(f"{kind}: the stock does not add up")
        if any(summary[name] != seen[kind][name] for name in _COUNTS):
            found.append(f"{kind}: other counts")
        if any(fen(summary[name]) != seen[kind][name] for name in _SUMS):
            found.append(f"{kind}: other sums")
        of_kind = [row for (of, _), row in rates.items() if of == kind]
        if any(fen(summary[name]) != sum(fen(row[name]) for row in of_kind) for name in _SUMS):
            found.append(f"{kind}: the rates do not add up")
        if kind not in without_lines:
            for rate in sorted({rate for of, rate in (*rates, *at_rate) if of == kind}):
                row, lines = rates.get((kind, rate)), at_rate[kind, rate]
                if any((fen(row[name]) if row else 0) != lines[name] for name in _SUMS):
                    found.append(f"{kind} {rate}: other lines")
    return found
