"""A database exactly as the first release left it: its tables as SQL, and a report and a clear receipt in every state."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.envelope.opening import prove_report
from shared.model.ack import prove_ack
from shared.model.result import parse_result, prove_result
from tests.support.online import Desk, make_ack, make_report
from tests.support.pki import NOW

FIRST_SCHEMA = """
CREATE TABLE setting (name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (name));
CREATE TABLE report (
    digest TEXT NOT NULL, stem TEXT NOT NULL, taxpayer_id TEXT NOT NULL, machine_no INTEGER NOT NULL,
    stamp TEXT NOT NULL, kind TEXT NOT NULL, period TEXT NOT NULL, card_no TEXT NOT NULL, sequence INTEGER NOT NULL,
    nonce TEXT NOT NULL, header TEXT NOT NULL, size_bytes INTEGER NOT NULL, file_sha256 TEXT NOT NULL,
    recipients TEXT NOT NULL, state TEXT NOT NULL, hold TEXT, released BOOLEAN NOT NULL, code TEXT NOT NULL,
    message TEXT NOT NULL, resend TEXT NOT NULL, receipt_no TEXT NOT NULL, result_no INTEGER,
    to_stage BOOLEAN NOT NULL, ack_delivered BOOLEAN NOT NULL, attempts INTEGER NOT NULL, due_at FLOAT,
    step TEXT NOT NULL, questions INTEGER NOT NULL, uploads INTEGER NOT NULL, found_at FLOAT NOT NULL,
    changed_at FLOAT NOT NULL, PRIMARY KEY (digest)
);
CREATE INDEX ix_report_stem ON report (stem);
CREATE INDEX report_due ON report (due_at);
CREATE TABLE event (
    id INTEGER NOT NULL, at FLOAT NOT NULL, digest TEXT NOT NULL, event TEXT NOT NULL, from_state TEXT NOT NULL,
    to_state TEXT NOT NULL, note TEXT NOT NULL, PRIMARY KEY (id)
);
CREATE INDEX ix_event_digest ON event (digest);
CREATE TABLE result (
    digest TEXT NOT NULL, result_no INTEGER NOT NULL, outcome TEXT NOT NULL, code TEXT NOT NULL,
    body_sha256 TEXT NOT NULL, received_at FLOAT NOT NULL, PRIMARY KEY (digest, result_no)
);
CREATE TABLE ack (
    sha256 TEXT NOT NULL, digest TEXT NOT NULL, stem TEXT NOT NULL, state TEXT NOT NULL, message TEXT NOT NULL,
    attempts INTEGER NOT NULL, due_at FLOAT, taken_at FLOAT NOT NULL, PRIMARY KEY (sha256)
);
CREATE INDEX ix_ack_digest ON ack (digest);
CREATE TABLE quarantined (
    stored_name TEXT NOT NULL, name TEXT NOT NULL, code TEXT NOT NULL, reason_zh TEXT NOT NULL,
    reason_en TEXT NOT NULL, at FLOAT NOT NULL, PRIMARY KEY (stored_name)
);
CREATE TABLE standing (
    taxpayer_id TEXT NOT NULL, period TEXT NOT NULL, body TEXT NOT NULL, at FLOAT NOT NULL,
    PRIMARY KEY (taxpayer_id, period)
);
PRAGMA user_version = 1;
"""
"""What the first release made, to the letter of its columns: it is written here, and not derived from today's code."""

_AT = NOW.timestamp()
_NOTHING = {
    "hold": None,
    "released": 0,
    "code": "",
    "message": "",
    "resend": "",
    "receipt_no": "",
    "result_no": None,
    "to_stage": 0,
    "ack_delivered": 0,
    "attempts": 0,
    "due_at": None,
    "step": "none",
    "questions": 0,
    "uploads": 0,
}
_TAKEN = ("accepted", "processing", "waiting", "failed", "failed for good", "answered", "staged", "acknowledged")
_WITH_RESULT = ("waiting", "failed", "failed for good", "answered", "staged", "acknowledged")

REPORTS: Mapping[str, Mapping[str, Any]] = {
    "proven": {"state": "proven", "step": "check", "due_at": _AT},
    "held": {
        "state": "held",
        "hold": "not-declared",
        "code": "271D",
        "message": "未申报",
        "step": "check",
        "due_at": _AT + 900,
        "attempts": 3,
    },
    "held by hand": {"state": "held", "hold": "operator"},
    "released": {"state": "proven", "released": 1, "step": "send", "due_at": _AT},
    "sending, arrived": {"state": "sending", "step": "ask-status", "uploads": 1},
    "sending, lost": {"state": "sending", "step": "ask-status", "uploads": 1},
    "unknown, arrived": {"state": "unknown", "step": "ask-status", "uploads": 1, "due_at": _AT},
    "unknown, lost": {"state": "unknown", "step": "ask-status", "uploads": 1, "due_at": _AT},
    "accepted": {"state": "accepted", "step": "ask-result", "due_at": _AT + 600},
    "processing": {"state": "processing", "step": "ask-result", "due_at": _AT + 600, "questions": 2, "attempts": 2},
    "waiting": {"state": "waiting", "code": "272C", "resend": "wait", "step": "ask-result", "due_at": _AT + 600},
    "failed": {"state": "failed", "code": "271D", "resend": "same-bytes", "step": "ask-result", "due_at": _AT + 600},
    "failed for good": {"state": "failed", "code": "2715", "resend": "new-report", "step": "ask-result"},
    "refused": {"state": "failed", "code": "2734", "message": "未开户", "uploads": 1},
    "answered": {"state": "answered", "to_stage": 1, "step": "stage", "due_at": _AT},
    "staged": {"state": "staged"},
    "staged, receipt waiting": {"state": "staged"},
    "staged, receipt sending": {"state": "staged"},
    "staged, receipt unknown": {"state": "staged"},
    "staged, receipt refused": {"state": "staged"},
    "acknowledged": {"state": "acknowledged", "ack_delivered": 1},
    "cancelled": {"state": "cancelled"},
}
ACKS: Mapping[str, Mapping[str, Any]] = {
    "staged, receipt waiting": {"state": "waiting", "due_at": _AT, "attempts": 0},
    "staged, receipt sending": {"state": "sending", "due_at": None, "attempts": 1},
    "staged, receipt unknown": {"state": "unknown", "due_at": _AT, "attempts": 1},
    "staged, receipt refused": {"state": "refused", "due_at": None, "attempts": 1, "message": "清卡回执无效"},
    "acknowledged": {"state": "delivered", "due_at": None, "attempts": 1},
}


@dataclass
class Left:
    """What the first release left.

    Attributes:
        digests: The reports, by what happened to them.
        acks: The SHA-256 of their clear receipts.
    """

    digests: dict[str, str] = field(default_factory=dict)
    acks: dict[str, str] = field(default_factory=dict)


def leave(desk: Desk) -> Left:
    """Put a station of the first release in the place of a desk's, with the bureau knowing what it has sent."""
    database = desk.home.database
    with contextlib.closing(sqlite3.connect(database)) as db:
        settings = db.execute("SELECT name, value FROM setting").fetchall()
    for path in (database, *database.parent.glob("station.db-*")):
        path.unlink(missing_ok=True)
    left = Left()
    with contextlib.closing(sqlite3.connect(database)) as db:
        db.executescript(FIRST_SCHEMA)
        known = ("bureau", "key", "pin_file", "inbox", "outbox", "proxy", "ca_file", "station_id", "taxpayer_id")
        db.executemany("INSERT INTO setting VALUES (?, ?)", [(n, v) for n, v in settings if n in known])
        for machine, (name, values) in enumerate(REPORTS.items()):
            left.digests[name] = _report(db, desk, machine, name, values)
        for name, values in ACKS.items():
            left.acks[name] = _ack(db, desk, left.digests[name], values)
        db.execute(
            "INSERT INTO quarantined VALUES (?, ?, ?, ?, ?, ?)", ("1-x.dat", "x.dat", "B1101", "坏的", "bad", _AT)
        )
        db.commit()
    return left


def _report(db: sqlite3.Connection, desk: Desk, machine: int, name: str, values: Mapping[str, Any]) -> str:
    data, made = make_report(machine, desk.bureau.pki)
    header, digest = made.header, made.digest
    file = desk.home.spool / f"{digest}.dat"
    file.write_bytes(data)
    with file.open("rb") as opened:
        recipients = prove_report(opened, desk.bureau.pki.trust, at=NOW).recipients
    row = {
        **_NOTHING,
        "digest": digest,
        "stem": header.name.stem,
        "taxpayer_id": header.taxpayer_id,
        "machine_no": header.machine_no,
        "stamp": header.stamp,
        "kind": header.kind,
        "period": header.period,
        "card_no": header.card_no,
        "sequence": header.sequence,
        "nonce": header.nonce,
        "header": json.dumps(header.model_dump(mode="json")),
        "size_bytes": len(data),
        "file_sha256": hashlib.sha256(data).hexdigest(),
        "recipients": json.dumps([[r.issuer_der.hex(), str(r.serial)] for r in recipients]),
        "found_at": _AT,
        "changed_at": _AT,
        **values,
    }
    state = name.partition(",")[0]
    if state in _TAKEN or name.endswith("arrived"):
        desk.bureau.take(digest, data)
    if state in _TAKEN:
        receipt = desk.bureau.reports[digest]
        (desk.home.results / f"{digest}-receipt.txt").write_bytes(receipt.receipt)
        row |= {"receipt_no": receipt.receipt_no, "uploads": 1}
    if state in _WITH_RESULT:
        row["result_no"] = _result(db, desk, digest, row["code"])
    columns = ", ".join(row)
    db.execute(f"INSERT INTO report ({columns}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
    event = (_AT, digest, "proved", "found", "proven", f"{header.name.stem}.dat")
    db.execute("INSERT INTO event (at, digest, event, from_state, to_state, note) VALUES (?, ?, ?, ?, ?, ?)", event)
    return digest


def _result(db: sqlite3.Connection, desk: Desk, digest: str, code: str) -> int:
    if code:
        desk.bureau.fail(digest, code)
    else:
        desk.bureau.succeed(digest)
    answer = desk.bureau.reports[digest].answer
    assert answer is not None
    proven = prove_result(answer, desk.bureau.pki.trust, at=NOW)
    result = parse_result(proven.body)
    (desk.home.results / f"{digest}-{result.result_no}.txt").write_bytes(answer)
    sha256 = hashlib.sha256(proven.body).hexdigest()
    row = (digest, result.result_no, result.outcome, result.code, sha256, _AT)
    db.execute("INSERT INTO result VALUES (?, ?, ?, ?, ?, ?)", row)
    return result.result_no


def _ack(db: sqlite3.Connection, desk: Desk, digest: str, values: Mapping[str, Any]) -> str:
    data, stem = make_ack(desk.bureau, digest)
    sha256 = prove_ack(data, desk.bureau.pki.trust, at=NOW).body_sha256
    Path(desk.home.spool / f"{sha256}.ack").write_bytes(data)
    if values["state"] in ("delivered", "unknown"):
        desk.bureau.take_ack(digest, data)
    row = {"sha256": sha256, "digest": digest, "stem": stem, "message": "", "taken_at": _AT, **values}
    db.execute(f"INSERT INTO ack ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
    return sha256
