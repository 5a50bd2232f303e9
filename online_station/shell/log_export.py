"""The logs and what is known of the station, in one file for support: no content, no secret."""

from __future__ import annotations

import io
import json
import platform
import sqlite3
import sys
import zipfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import shared
from online_station.shell import queries
from online_station.shell.alarm_book import AlarmBook
from online_station.shell.diagnosis import Finding
from online_station.shell.home import Home
from online_station.shell.log import HUMAN_LOG, JSON_LOG, read_log_settings, scrubbed
from online_station.shell.schema import SCHEMA_VERSION
from online_station.shell.setup import read_settings
from online_station.shell.store import Store
from shared.clock import format_time
from shared.durable import write_durably
from shared.errors import NotOverwritten
from shared.text.system import shown_name

MOST_BYTES: Final = 64 << 20
"""Of the logs, the newest first; older ones stay where they are."""


def export_logs(home: Home, store: Store, findings: Iterable[Finding], target: Path, now: datetime) -> list[str]:
    """Write a zip with the logs, doctor's findings and some facts about the station; return its entries.

    What earlier releases wrote into a log is scrubbed now.

    Raises:
        NotOverwritten: There is such a file. It was not touched.
    """
    if target.exists():
        raise NotOverwritten(name=shown_name(target.name))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("about.json", _json(_about(home, store, now)))
        archive.writestr("doctor.json", _json([_finding(each) for each in findings]))
        room = MOST_BYTES
        for path in _logs(home.logs):
            text = scrubbed(path.read_bytes()[-room:].decode("utf-8", "replace"))
            archive.writestr(f"log/{path.name}", text)
            room -= min(room, len(text.encode()))
            if room <= 0:
                break
        names = archive.namelist()
    write_durably(target, packed.getvalue())
    return names


def _logs(folder: Path) -> list[Path]:
    """Return the logs, the newest first."""
    found = [path for name in (HUMAN_LOG, JSON_LOG) for path in folder.glob(f"{name}*") if path.is_file()]
    return sorted(found, key=lambda path: -path.stat().st_mtime)


def _finding(finding: Finding) -> dict[str, str]:
    return {
        "name": finding.name,
        "verdict": finding.verdict,
        "message": scrubbed(finding.message.zh),
        "message_en": scrubbed(finding.message.en),
        "remedy": finding.remedy.zh,
    }


def _about(home: Home, store: Store, now: datetime) -> dict[str, object]:
    settings, logs = read_settings(home, store), read_log_settings(store)
    number, oldest = queries.due_now(store, now)
    parts = urlsplit(settings.bureau)
    with store.reading() as connection:
        engine = connection.dialect.name
    book = AlarmBook(store)
    return {
        "made_at": format_time(now),
        "version": shared.__version__,
        "python": sys.version,
        "system": platform.platform(),
        "sqlite": sqlite3.sqlite_version,
        "database": engine,
        "schema": SCHEMA_VERSION,
        "station": settings.station_id,
        "taxpayer_id": settings.taxpayer_id,
        "bureau": f"{parts.scheme}://{parts.hostname or ''}{'' if parts.port is None else f':{parts.port}'}",
        "proxy": bool(settings.proxy),
        "own_ca": bool(settings.ca_file),
        "reports": queries.counts(store),
        "due": number,
        "oldest_due": None if oldest is None else format_time(oldest),
        "log": {"max_bytes": logs.max_bytes, "kept": logs.kept},
        "alarms": book.counts(),
        "robots": [
            {"kind": row.robot.kind, "waiting": row.waiting, "failure": row.failure.zh} for row in book.robots()
        ],
    }


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
