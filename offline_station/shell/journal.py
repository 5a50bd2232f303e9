"""The log, as a table that people can open."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Final

from offline_station.shell.station import Station
from shared.clock import format_time
from shared.durable import write_durably

_HEADER: Final = ("时间 time", "事件 event", "报告 report", "内容 facts")
_BOM: Final = "\ufeff"


def export_log(station: Station, target: Path | None) -> tuple[Path, int]:
    """Write every event as CSV with a byte order mark, as spreadsheets want it; return the file and the count.

    Cells that a spreadsheet would take for a formula are quoted with an apostrophe: facts hold names from outside.
    """
    path = target or station.home.log / f"log-{station.clock.now():%Y%m%d%H%M%S}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    stems = {str(life.nonce): life.name.stem for life in station.store.reports()}
    out = io.StringIO(newline="")
    out.write(_BOM)
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_HEADER)
    events = station.store.events()
    for event in events:
        facts = json.dumps(dict(event.facts), ensure_ascii=False, sort_keys=True) if event.facts else ""
        row = [format_time(event.at), event.event, stems.get(event.nonce, ""), facts]
        writer.writerow([_cell(value) for value in row])
    write_durably(path, out.getvalue().encode())
    return path, len(events)


def _cell(value: str) -> str:
    return "'" + value if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
