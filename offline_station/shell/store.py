"""What the station remembers: settings, each report's life-line, and every event with its time.

The card is the authority; this is the memory of what was done with its copies. After a crash, or after an old backup
was restored, `follow_card` brings it up to date from the card alone.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from offline_station.core.card_rules import CopyRecord, SeenResult
from shared.clock import format_time, parse_time
from shared.errors import StoreDamaged
from shared.ids import Nonce, ReportDigest, ReportName, parse_stem
from shared.states import OFFLINE, OfflineEvent, OfflineState, advance, allowed

SCHEMA_VERSION: Final = 1
_APPLICATION_ID: Final = 0x54585353  # "TXSS"
_SCHEMA: Final = """
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE reports (
    nonce TEXT PRIMARY KEY, stem TEXT NOT NULL, sequence INTEGER NOT NULL, state TEXT NOT NULL, digest TEXT,
    file_sha256 TEXT, size_bytes INTEGER, stick TEXT NOT NULL DEFAULT '', result_no INTEGER NOT NULL DEFAULT 0,
    ack_stick TEXT NOT NULL DEFAULT '', changed_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX reports_in_order ON reports (sequence);
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, nonce TEXT NOT NULL, event TEXT NOT NULL,
    facts TEXT NOT NULL
);
CREATE INDEX events_of_report ON events (nonce, id);
"""


@dataclass(frozen=True)
class ReportLife:
    """One report on this PC.

    Attributes:
        nonce: Its copy's nonce: what it is known by before it is sealed.
        state: Where it is in its life.
        digest: Its identity once sealed; of the latest sealing.
        file_sha256: SHA-256 of the sealed file.
        stick: Label of the stick that it was last put on.
        result_no: Number of the latest result.
        ack_stick: Label of the stick that its clear receipt was put on.
        changed_at: When the state last changed.
    """

    nonce: Nonce
    name: ReportName
    sequence: int
    state: OfflineState
    digest: ReportDigest | None
    file_sha256: str
    size_bytes: int
    stick: str
    result_no: int
    ack_stick: str
    changed_at: datetime

    @property
    def acknowledged(self) -> bool:
        """Whether the bureau has said that the clear receipt arrived."""
        return self.state is OfflineState.ACKNOWLEDGED


@dataclass(frozen=True)
class Event:
    """Something that was done or seen."""

    id: int
    at: datetime
    nonce: str
    event: str
    facts: Mapping[str, object]


class StationStore:
    """`station.db`: one writer, every change one transaction."""

    def __init__(self, path: Path) -> None:
        """Open the store, and make it if it is not there.

        Raises:
            StoreDamaged: The file is not a store of this version. It was not touched.
        """
        self.path = path
        self._db = sqlite3.connect(path, isolation_level=None, timeout=10)
        try:
            self._db.execute("PRAGMA trusted_schema = OFF")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0 and self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                self._db.execute("PRAGMA journal_mode = WAL")
                with self._changing():
                    for statement in _SCHEMA.split(";")[:-1]:
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                    self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION or self._application() != _APPLICATION_ID:
                raise StoreDamaged(reason=f"{path.name}: {self._application():#x}/{version}")
            self._db.execute("PRAGMA synchronous = FULL")
        except BaseException:
            self._db.close()
            raise

    def _application(self) -> int:
        return int(self._db.execute("PRAGMA application_id").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    # Settings

    def setting(self, key: str, default: str = "") -> str:
        """Return a setting."""
        row = self._db.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else default

    def set_setting(self, key: str, value: str) -> None:
        """Keep a setting."""
        with self._changing():
            self._db.execute("INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)", (key, value))

    # Reports

    def reports(self) -> Sequence[ReportLife]:
        """Return all reports, the oldest first."""
        return [_life(row) for row in self._db.execute(f"{_SELECT} ORDER BY sequence")]

    def report(self, nonce: str) -> ReportLife | None:
        """Return the report of a copy."""
        row = self._db.execute(f"{_SELECT} WHERE nonce = ?", (nonce,)).fetchone()
        return _life(row) if row else None

    def events(self, nonce: str | None = None) -> Sequence[Event]:
        """Return the events of one report, or all, in their order."""
        condition, values = ("WHERE nonce = ?", (nonce,)) if nonce is not None else ("", ())
        rows = self._db.execute(f"SELECT id, at, nonce, event, facts FROM events {condition} ORDER BY id", values)  # noqa: S608
        return [Event(r[0], parse_time(r[1]), r[2], r[3], json.loads(r[4])) for r in rows]

    def note(self, now: datetime, event: str, nonce: str = "", **facts: object) -> None:
        """Remember an event that moves no report."""
        with self._changing():
            self._insert_event(now, nonce, event, facts)

    def _insert_event(self, now: datetime, nonce: str, event: str, facts: Mapping[str, object]) -> None:
        self._db.execute(
            "INSERT INTO events (at, nonce, event, facts) VALUES (?, ?, ?, ?)",
            (format_time(now), nonce, event, json.dumps(dict(facts), ensure_ascii=False, default=str, sort_keys=True)),
        )

    def follow_card(self, history: Sequence[CopyRecord], now: datetime) -> int:
        """Bring the life-lines up to what the card says; return how many steps that took.

        It is the one road on which a report moves through `copied`, `sealed`, results, `cleared` and `superseded`,
        in ordinary work and after a crash alike.
        """
        steps = 0
        with self._changing():
            for copy in history:
                life = self.report(copy.nonce)
                if life is None:
                    self._db.execute(
                        "INSERT INTO reports (nonce, stem, sequence, state, changed_at) VALUES (?, ?, ?, ?, ?)",
                        (
                            copy.nonce,
                            copy.name.stem,
                            copy.sequence,
                            OfflineState.COPIED.value,
                            format_time(copy.copied_at),
                        ),
                    )
                    facts = {
                        "sequence": copy.sequence,
                        "kind": copy.kind,
                        "period_start": copy.period_start.isoformat(),
                        "period_end": copy.period_end.isoformat(),
                        "invoice_count": copy.invoice_count,
                    }
                    self._insert_event(copy.copied_at, copy.nonce, OfflineState.COPIED.value, facts)
                    steps += 1
                steps += self._catch_up(copy, now)
        return steps

    def _catch_up(self, copy: CopyRecord, now: datetime) -> int:
        steps = 0
        life = self.report(copy.nonce)
        assert life is not None
        if copy.report_digest is not None and life.digest != copy.report_digest:
            self._db.execute(
                "UPDATE reports SET digest = ?, file_sha256 = NULL, size_bytes = NULL, stick = '' WHERE nonce = ?",
                (copy.report_digest, copy.nonce),
            )
            steps += self._move(copy, OfflineEvent.SEALED, now, report_digest=copy.report_digest)
        seen_results = [seen for seen in (copy.failure, copy.success) if seen is not None]
        for seen in sorted(seen_results, key=lambda s: s.result_no):
            if seen.result_no > life.result_no:
                event = OfflineEvent.SUCCESS if seen.outcome == "success" else OfflineEvent.FAILURE
                steps += self._move(copy, event, now, **_result_facts(seen))
                self._db.execute(
                    "UPDATE reports SET result_no = max(result_no, ?) WHERE nonce = ?", (seen.result_no, copy.nonce)
                )
        life = self.report(copy.nonce)
        assert life is not None
        if copy.cleared_at is not None and life.state is OfflineState.SUCCEEDED:
            steps += self._move(copy, OfflineEvent.CLEARED, copy.cleared_at)
        if copy.superseded_by is not None and life.state is not OfflineState.SUPERSEDED:
            steps += self._move(copy, OfflineEvent.SUPERSEDED, now, by=copy.superseded_by)
        return steps

    def _move(self, copy: CopyRecord, event: OfflineEvent, at: datetime, **facts: object) -> int:
        row = self._db.execute("SELECT state FROM reports WHERE nonce = ?", (copy.nonce,)).fetchone()
        state = OfflineState(row[0])
        if not allowed(OFFLINE, state, event):
            # A failure that comes after the success changes nothing any more; it is remembered all the same.
            self._insert_event(at, copy.nonce, f"late-{event.value}", facts)
            return 1
        self._db.execute(
            "UPDATE reports SET state = ?, changed_at = ? WHERE nonce = ?",
            (advance(OFFLINE, state, event).value, format_time(at), copy.nonce),
        )
        self._insert_event(at, copy.nonce, event.value, facts)
        return 1

    def sealed_file(self, nonce: str, *, file_sha256: str, size_bytes: int) -> None:
        """Remember what the sealed file looks like."""
        with self._changing():
            self._db.execute(
                "UPDATE reports SET file_sha256 = ?, size_bytes = ? WHERE nonce = ?", (file_sha256, size_bytes, nonce)
            )

    def carried(self, copy: CopyRecord, stick: str, now: datetime) -> None:
        """Remember that the report lies on a stick."""
        with self._changing():
            life = self.report(copy.nonce)
            if life is None or (life.stick == stick and life.state is OfflineState.CARRIED):
                return
            self._db.execute("UPDATE reports SET stick = ? WHERE nonce = ?", (stick, copy.nonce))
            if allowed(OFFLINE, life.state, OfflineEvent.CARRIED):
                self._move(copy, OfflineEvent.CARRIED, now, stick=stick)

    def ack_carried(self, nonce: str, stick: str, now: datetime) -> None:
        """Remember that the clear receipt lies on a stick."""
        with self._changing():
            life = self.report(nonce)
            if life is None or life.ack_stick == stick:
                return
            self._db.execute("UPDATE reports SET ack_stick = ? WHERE nonce = ?", (stick, nonce))
            self._insert_event(now, nonce, "ack-carried", {"stick": stick})

    def acknowledged_up_to(self, result_no: int, history: Sequence[CopyRecord], now: datetime) -> None:
        """Remember that the bureau has the clear receipts up to a result number: those lives are complete."""
        with self._changing():
            for copy in history:
                life = self.report(copy.nonce)
                if life is None or life.state is not OfflineState.CLEARED or copy.success is None:
                    continue
                if copy.success.result_no <= result_no:
                    self._move(copy, OfflineEvent.ACKNOWLEDGED, now, result_no=result_no)


_SELECT: Final = (
    "SELECT nonce, stem, sequence, state, digest, file_sha256, size_bytes, stick, result_no, ack_stick, changed_at"
    " FROM reports"
)


def _life(row: Sequence[object]) -> ReportLife:
    nonce, stem, sequence, state, digest, sha256, size, stick, result_no, ack_stick, changed_at = row
    return ReportLife(
        nonce=Nonce(str(nonce)),
        name=parse_stem(str(stem)),
        sequence=int(str(sequence)),
        state=OfflineState(str(state)),
        digest=ReportDigest(str(digest)) if digest else None,
        file_sha256=str(sha256 or ""),
        size_bytes=int(str(size or 0)),
        stick=str(stick),
        result_no=int(str(result_no)),
        ack_stick=str(ack_stick),
        changed_at=parse_time(str(changed_at)),
    )


def _result_facts(seen: SeenResult) -> dict[str, object]:
    return {
        "result_no": seen.result_no,
        "receipt_no": seen.receipt_no,
        "code": seen.code,
        "message": seen.message,
        "bureau_time": format_time(seen.bureau_time),
    }
