"""How a report is said: in a line, in JSON, and as the next human action."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

from online_station.cli import base
from online_station.core.advice import OVERTAKEN, next_action, not_back, state_words
from online_station.shell.records import QuarantinedRow, ReportRow
from online_station.shell.tending import fault_of
from shared.calendar import filing_deadline
from shared.clock import format_time
from shared.ids import recognise_name
from shared.states import ONLINE_TERMINAL, OnlineState
from shared.text import Text


def action(row: ReportRow) -> Text:
    """Return the next human action about a report."""
    if row.overtaken and row.state not in ONLINE_TERMINAL:
        return OVERTAKEN
    if row.state is OnlineState.STAGED and row.left is not None:
        now = base.CLOCK.now()
        overdue = not_back(row.left.label, now - row.left.at, deadline(row), now.date())
        if overdue is not None:
            return overdue
    return next_action(row.snapshot, fault_of(row.snapshot))


def deadline(row: ReportRow) -> date | None:
    """Return until when a period's report is to be cleared; an ad hoc one has no such day."""
    if row.header.kind != "period":
        return None
    due = date.fromisoformat(row.header.period_end) + timedelta(days=1)
    return filing_deadline(f"{due:%Y-%m}").day


def item(row: ReportRow) -> dict[str, object]:
    """Return a report as `--json` shows it."""
    snapshot, header = row.snapshot, row.header
    return {
        "report_digest": row.digest,
        "stem": header.name.stem,
        "taxpayer_id": header.taxpayer_id,
        "machine_no": header.machine_no,
        "stamp": header.stamp,
        "kind": header.kind,
        "period": header.period,
        "card_no": header.card_no,
        "sequence": header.sequence,
        "invoice_count": header.invoice_count,
        "state": snapshot.state.value,
        "state_text": str(state_words(snapshot)),
        "hold": None if snapshot.hold is None else snapshot.hold.value,
        "code": snapshot.code,
        "message": snapshot.message,
        "receipt_no": snapshot.receipt_no,
        "result_no": snapshot.result_no,
        "bytes": row.size_bytes,
        "found_at": format_time(row.found_at),
        "changed_at": format_time(row.changed_at),
        "due_at": None if snapshot.due_at is None else format_time(snapshot.due_at),
        "age_seconds": max(0, int((base.CLOCK.now() - row.found_at).total_seconds())),
        "overtaken": row.overtaken,
        "stick": None if row.left is None else {"label": row.left.label, "left_at": format_time(row.left.at)},
        "next_action": str(action(row)),
    }


def quarantined_item(row: QuarantinedRow) -> dict[str, object]:
    """Return a file that was set aside as `--json` shows it."""
    recognised = recognise_name(row.name)
    name = None if recognised is None else recognised[0]
    return {
        "report_digest": "",
        "stem": row.name if name is None else name.stem,
        "taxpayer_id": "" if name is None else name.taxpayer_id,
        "machine_no": None if name is None else name.machine_no,
        "stamp": "" if name is None else name.stamp.text,
        "state": OnlineState.QUARANTINED.value,
        "code": row.code,
        "message": str(Text(row.reason_zh, row.reason_en)),
        "file": row.stored_name,
        "changed_at": format_time(row.at),
        "next_action": str(READ_WHY),
    }


READ_WHY: Final = Text(
    "查看 quarantine 文件夹中同名的说明，再从原电脑重新拷贝",
    "read the explanation beside it in the quarantine folder, then copy it again from the PC that made it",
)


def line_of(row: ReportRow) -> Text:
    """Return a report in one line."""
    name, words = row.header.name, state_words(row.snapshot)
    return Text(f"{name.stem}  {words.zh}", f"{name.stem}  {words.en}")


def next_of(rows: Sequence[ReportRow]) -> Text | None:
    """Return the next action that several reports ask for: the first that asks something of a person."""
    rows = [row for row in rows if not row.overtaken]
    for row in rows:
        if row.state in (OnlineState.FAILED, OnlineState.HELD):
            return action(row)
    for row in rows:
        if row.state not in ONLINE_TERMINAL:
            return action(row)
    return None
