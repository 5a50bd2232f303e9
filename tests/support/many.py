"""A station's database with many companies in it, as they are some way into a month."""

from __future__ import annotations

import hashlib
import json
import random
from calendar import monthrange
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from online_station.core.decide import Step
from online_station.shell.schema import COMPANY, LEG, REPORT, STANDING
from shared.jobs.database import Database
from shared.states import OnlineState
from tests.support.online import make_report
from tests.support.pki import NOW

STATES = (
    *[OnlineState.ACKNOWLEDGED] * 8,
    *[OnlineState.STAGED] * 4,
    *[OnlineState.PROCESSING] * 3,
    OnlineState.WAITING,
    OnlineState.HELD,
    OnlineState.FAILED,
    OnlineState.PROVEN,
    OnlineState.CANCELLED,
)


@cache
def _header() -> dict[str, Any]:
    return make_report()[1].header.model_dump(mode="json")


def taxpayer(number: int) -> str:
    """Return the number of a company."""
    return f"3101{number:011}"


def report_values(
    company: int,
    *,
    period: str = "2026-07",
    machine: int = 0,
    state: OnlineState = OnlineState.ACKNOWLEDGED,
    sequence: int = 1,
    kind: str = "period",
    found: datetime = NOW,
    **changes: Any,
) -> dict[str, Any]:
    """Return a row of the table of reports."""
    year, month = int(period[:4]), int(period[5:])
    due = f"{year + month // 12}{month % 12 + 1:02}"
    who, stamp = taxpayer(company), f"{due}010000" if kind == "period" else f"{due}151000"
    card = f"{company:09}{machine:03}"
    header = {**_header(), "taxpayer_id": who, "machine_no": machine, "stamp": stamp, "kind": kind}
    header |= {
        "period_start": f"{period}-01",
        "period_end": f"{period}-{monthrange(year, month)[1]:02}",
        "card_no": card,
        "sequence": sequence,
    }
    at = found.timestamp()
    return {
        "digest": hashlib.sha256(f"{who} {machine} {period} {kind} {sequence}".encode()).hexdigest(),
        "stem": f"{who}_{machine}_{stamp}",
        "taxpayer_id": who,
        "machine_no": machine,
        "stamp": stamp,
        "kind": kind,
        "period": period,
        "card_no": card,
        "sequence": sequence,
        "nonce": "0" * 32,
        "header": json.dumps(header),
        "size_bytes": 4000,
        "file_sha256": "0" * 64,
        "recipients": "[]",
        "state": state.value,
        "hold": "not-declared" if state is OnlineState.HELD else None,
        "released": False,
        "code": "2715" if state is OnlineState.FAILED else "",
        "message": "明细与汇总不符" if state is OnlineState.FAILED else "",
        "resend": "",
        "receipt_no": f"R{company}",
        "result_no": None,
        "to_stage": False,
        "ack_delivered": False,
        "attempts": 0,
        "due_at": at + 60 if state is OnlineState.PROCESSING else None,
        "step": Step.NONE.value,
        "questions": 0,
        "uploads": 1,
        "found_at": at,
        "changed_at": at,
        **changes,
    }


def insert(database: Any, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows, many at a time."""
    with database.writing() as connection:
        for start in range(0, len(rows), 5000):
            connection.execute(sa.insert(table), rows[start : start + 5000])


def fill(database: Any, *, companies: int, periods: Sequence[str], seed: int = 0) -> list[dict[str, Any]]:
    """Register companies, and let nine of ten of them have sent reports of each month; return the reports.

    Every tenth company has two machines, every twentieth has copied twice.
    """
    chance = random.Random(seed)
    insert(
        database,
        COMPANY,
        [
            {
                "taxpayer_id": taxpayer(n),
                "name": f"第{n}家公司",
                "inbox": "",
                "key_file": "",
                "pin_file": "",
                "added_at": NOW.timestamp(),
            }
            for n in range(companies)
        ],
    )
    rows = list(_reports(chance, companies, periods))
    insert(database, REPORT, rows)
    insert(
        database,
        LEG,
        [
            {"at": r["found_at"] + 5, "digest": r["digest"], "leg": "left", "stick_id": "0" * 16, "label": "财务"}
            for r in rows
            if r["state"] == "staged"
        ],
    )
    insert(
        database,
        STANDING,
        [
            {"taxpayer_id": r["taxpayer_id"], "period": r["period"], "body": standing(r), "at": r["found_at"]}
            for r in rows
            if r["machine_no"] == 0 and r["sequence"] == 1
        ],
    )
    return rows


def standing(row: dict[str, Any], machines: Sequence[int] = (0,)) -> str:
    """Return the bureau's word on a report's taxpayer and month."""
    return json.dumps(
        {
            "taxpayer_id": row["taxpayer_id"],
            "period": row["period"],
            "enrolled": True,
            "declared": True,
            "machines_expected": list(machines),
            "machines_reported": [],
            "key_fingerprints": [],
            "lock_date": "",
            "upload_deadline": "",
            "bureau_time": "",
        }
    )


def _reports(chance: random.Random, companies: int, periods: Sequence[str]) -> Iterator[dict[str, Any]]:
    moment = NOW.timestamp() - 86400.0 * 30 * len(periods)
    copied: Counter[tuple[int, int]] = Counter()
    for number, period in enumerate(periods):
        present = number == len(periods) - 1
        for company in range(companies):
            if company % 10 == 9:
                continue
            for machine in range(1 + (company % 10 == 0)):
                copies = 1 + (company % 20 == 3)
                for copy in range(copies):
                    moment += chance.random()
                    last = copy == copies - 1
                    settled = not present and chance.random() < 0.9
                    state = OnlineState.ACKNOWLEDGED if settled else chance.choice(STATES)
                    # A copy of every fiftieth company was lost on its way.
                    copied[company, machine] += 1 + (company % 50 == 7 and number == 1)
                    yield report_values(
                        company,
                        period=period,
                        machine=machine,
                        state=state if last else OnlineState.FAILED,
                        sequence=copied[company, machine],
                        found=datetime.fromtimestamp(moment, NOW.tzinfo),
                    )
        moment += 86400.0 * 20


def open_tables(where: Any) -> Database:
    """Open a database with the station's tables in it."""
    from online_station.shell.schema import MIGRATIONS
    from shared.jobs.database import migrate, open_database

    database = open_database(where)
    migrate(database, MIGRATIONS)
    return database
