"""What the station knows, in one SQLite file: every decision is here before anything is done about it.

Writers take the database with BEGIN IMMEDIATE, read the report, decide, and commit with `synchronous=FULL`; so the
service and an operator's verb can work at the same time, and no decision is made from a stale row. A row carries the
name of its next step and a due time, nothing else is needed to go on with it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from online_station.core.backoff import is_due
from online_station.core.decide import (
    OPEN_AT_BUREAU,
    AskNow,
    AskWaiting,
    Checked,
    Event,
    HoldReason,
    NoAnswer,
    Policy,
    Proved,
    ResultProven,
    Snapshot,
    Step,
    StillProcessing,
    Upload,
    decide,
    next_step,
)
from online_station.shell.records import AckRow, EventRow, Gap, Left, LegRow, QuarantinedRow, ReportRow, ResultRow
from online_station.shell.schema import (
    ACK,
    EVENT,
    LEG,
    MIGRATIONS,
    QUARANTINED,
    REPORT,
    RESULT,
    SCHEMA_VERSION,
    SETTING,
    STANDING,
)
from shared.clock import CHINA, format_time
from shared.errors import Ambiguous, NotFound, StoreDamaged
from shared.model.report import PublicHeader
from shared.states import OnlineState

_MOST_MISSING: Final = 50
ACK_WAITING: Final = "waiting"
ACK_SENDING: Final = "sending"
ACK_UNKNOWN: Final = "unknown"
ACK_DELIVERED: Final = "delivered"
ACK_REFUSED: Final = "refused"


def _latest_left(column: sa.Column[Any], name: str) -> sa.Label[Any]:
    query = sa.select(column).where(LEG.c.digest == REPORT.c.digest, LEG.c.leg == LEFT)
    return query.order_by(LEG.c.id.desc()).limit(1).scalar_subquery().label(name)


CAME: Final = "came"
LEFT: Final = "left"
_LEFT: Final = (_latest_left(LEG.c.label, "left_label"), _latest_left(LEG.c.at, "left_at"))
_LATER: Final = REPORT.alias("later")
_OVERTAKEN: Final = (
    sa.exists().where(_LATER.c.card_no == REPORT.c.card_no, _LATER.c.sequence > REPORT.c.sequence).label("overtaken")
)


class Store:
    """The station's database."""

    def __init__(self, path: Path, policy: Policy) -> None:
        """Open the database, creating or migrating it.

        Args:
            path: The file.
            policy: How patient the decisions are.

        Raises:
            StoreDamaged: The file was written by a newer release. It was not touched.
        """
        self._policy = policy
        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(path)),
            isolation_level="AUTOCOMMIT",
            connect_args={"timeout": 20.0, "check_same_thread": False},
            poolclass=sa.pool.StaticPool,
        )
        try:
            with self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                connection.exec_driver_sql("PRAGMA synchronous=FULL")
                connection.exec_driver_sql("PRAGMA foreign_keys=ON")
            self._migrate()
        except BaseException:
            self._engine.dispose()
            raise

    def close(self) -> None:
        """Give the file back."""
        self._engine.dispose()

    def _migrate(self) -> None:
        with self.writing() as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version > SCHEMA_VERSION:
                raise StoreDamaged(reason=f"schema {version} > {SCHEMA_VERSION}")
            for migration in MIGRATIONS[version:]:
                migration(connection)
            if version < SCHEMA_VERSION:
                connection.exec_driver_sql(f"PRAGMA user_version={SCHEMA_VERSION}")

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection for questions."""
        with self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection for one transaction: committed at the end of the block, or undone."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                # A full disk may have ended the transaction already, or leave it open when the commit fails.
                with contextlib.suppress(sa.exc.DBAPIError):
                    connection.exec_driver_sql("ROLLBACK")
                raise

    def change_counter(self) -> int:
        """Return a number that differs after another process has written."""
        with self.reading() as connection:
            return int(connection.exec_driver_sql("PRAGMA data_version").scalar_one())

    # Settings

    def setting(self, name: str) -> str | None:
        """Return a setting, or None."""
        with self.reading() as connection:
            found = connection.execute(sa.select(SETTING.c.value).where(SETTING.c.name == name)).scalar()
            return None if found is None else str(found)

    def settings(self) -> dict[str, str]:
        """Return all settings."""
        with self.reading() as connection:
            return {str(n): str(v) for n, v in connection.execute(sa.select(SETTING.c.name, SETTING.c.value))}

    def set(self, **values: str) -> None:
        """Write settings, all or none."""
        with self.writing() as connection:
            for name, value in values.items():
                connection.execute(sa.delete(SETTING).where(SETTING.c.name == name))
                connection.execute(sa.insert(SETTING).values(name=name, value=value))

    # Reports

    def add_report(
        self,
        header: PublicHeader,
        digest: str,
        *,
        size_bytes: int,
        file_sha256: str,
        recipients: str,
        now: datetime,
        note: str,
    ) -> bool:
        """Note a proven report whose file lies in the spool.

        Returns:
            False if it was known already; then only its file's digest is brought up to date.
        """
        with self.writing() as connection:
            known = connection.execute(sa.select(REPORT.c.digest).where(REPORT.c.digest == digest)).scalar()
            if known is not None:
                connection.execute(
                    sa.update(REPORT)
                    .where(REPORT.c.digest == digest)
                    .values(file_sha256=file_sha256, size_bytes=size_bytes)
                )
                return False
            found = Snapshot(
                digest=digest,
                taxpayer_id=header.taxpayer_id,
                period=header.period,
                period_report=header.kind == "period",
            )
            proven, _ = decide(found, Proved(), now, self._policy)
            connection.execute(
                sa.insert(REPORT).values(
                    digest=digest,
                    stem=header.name.stem,
                    taxpayer_id=header.taxpayer_id,
                    machine_no=header.machine_no,
                    stamp=header.stamp,
                    kind=header.kind,
                    period=header.period,
                    card_no=header.card_no,
                    sequence=header.sequence,
                    nonce=header.nonce,
                    header=json.dumps(header.model_dump(mode="json")),
                    size_bytes=size_bytes,
                    file_sha256=file_sha256,
                    recipients=recipients,
                    questions=0,
                    uploads=0,
                    found_at=_epoch(now),
                    changed_at=_epoch(now),
                    **_columns(proven),
                )
            )
            _log(connection, now, digest, "proved", found.state, proven.state, note)
            return True

    def apply(
        self, digest: str, event: Event, now: datetime, *, note: str = "", result: ResultRow | None = None
    ) -> tuple[Snapshot, Snapshot, bool]:
        """Decide about one report and commit the decision.

        Args:
            digest: The report.
            event: What happened.
            now: The present.
            note: For the event's line in the report's history.
            result: A believed result to keep in the same transaction.

        Returns:
            The report before and after, and whether it is now to be sent by the caller.

        Raises:
            NotFound: There is no such report.
            IllegalTransition: The event does not fit the state. Nothing has changed.
        """
        with self.writing() as connection:
            row = connection.execute(sa.select(REPORT).where(REPORT.c.digest == digest)).one_or_none()
            if row is None:
                raise NotFound(what=digest)
            before = _snapshot(row)
            after, commands = decide(before, event, now, self._policy)
            values = _columns(after)
            send = any(isinstance(c, Upload) for c in commands)
            if send:
                values["uploads"] = row.uploads + 1
            if isinstance(event, StillProcessing | ResultProven | NoAnswer):
                values["questions"] = row.questions + 1
            if after.state is not before.state:
                values["changed_at"] = _epoch(now)
            connection.execute(sa.update(REPORT).where(REPORT.c.digest == digest).values(**values))
            if result is not None:
                connection.execute(
                    sa.insert(RESULT)
                    .prefix_with("OR IGNORE")
                    .values(
                        digest=digest,
                        result_no=result.result_no,
                        outcome=result.outcome,
                        code=result.code,
                        body_sha256=result.body_sha256,
                        received_at=_epoch(result.received_at),
                    )
                )
            # A report is asked about hundreds of times: only what changes it is history.
            if _is_history(before, event, after):
                _log(connection, now, digest, _event_name(event), before.state, after.state, note)
            for command in commands:
                if isinstance(command, AskWaiting):
                    _ask_waiting(connection, command, digest, now, self._policy)
            return before, after, send

    def due(self, now: datetime) -> list[str]:
        """Return the digests of the reports with something to do now, the longest overdue first."""
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(REPORT.c.digest, REPORT.c.due_at)
                .where(REPORT.c.due_at.is_not(None))
                .where(REPORT.c.step != Step.NONE.value)
                .order_by(REPORT.c.due_at)
            )
            return [str(digest) for digest, due_at in rows if is_due(_moment(due_at), now)]

    def next_due(self) -> datetime | None:
        """Return when the next thing is due, or None if nothing is."""
        with self.reading() as connection:
            earliest = [connection.execute(sa.select(sa.func.min(table.c.due_at))).scalar() for table in (REPORT, ACK)]
            return min((m for m in map(_moment, earliest) if m is not None), default=None)

    def report(self, digest: str) -> ReportRow | None:
        """Return one report, or None."""
        with self.reading() as connection:
            row = connection.execute(
                sa.select(REPORT, _OVERTAKEN, *_LEFT).where(REPORT.c.digest == digest)
            ).one_or_none()
            return None if row is None else _report(row)

    def reports(self) -> list[ReportRow]:
        """Return all reports, the oldest first."""
        with self.reading() as connection:
            query = sa.select(REPORT, _OVERTAKEN, *_LEFT).order_by(
                REPORT.c.found_at, REPORT.c.machine_no, REPORT.c.digest
            )
            return [_report(row) for row in connection.execute(query)]

    def find(self, wanted: str) -> ReportRow:
        """Return the report that an ID means: its digest, the start of it, or its file's stem.

        Of several copies of one stem the newest is meant: it is the one that the card waits for.

        Raises:
            NotFound: No report has it.
            Ambiguous: Several digests start with it.
        """
        stem = wanted.strip().upper()
        for suffix in (".DAT", ".TXT", ".ACK"):
            stem = stem.removesuffix(suffix)
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(REPORT, _OVERTAKEN, *_LEFT).where(REPORT.c.stem == stem).order_by(REPORT.c.sequence.desc())
            ).all()
            if rows:
                return _report(rows[0])
            prefix = wanted.strip().lower()
            if prefix and set(prefix) <= set("0123456789abcdef"):
                rows = connection.execute(
                    sa.select(REPORT, _OVERTAKEN, *_LEFT).where(REPORT.c.digest.startswith(prefix))
                ).all()
        if len(rows) > 1:
            raise Ambiguous(what=wanted[:80], found=", ".join(str(r.digest)[:12] for r in rows[:4]))
        if not rows:
            raise NotFound(what=wanted[:80])
        return _report(rows[0])

    def events(self, digest: str) -> list[EventRow]:
        """Return the history of a report, the oldest first."""
        with self.reading() as connection:
            rows = connection.execute(sa.select(EVENT).where(EVENT.c.digest == digest).order_by(EVENT.c.id))
            return [EventRow(_at(r.at), r.event, r.from_state, r.to_state, r.note) for r in rows]

    def note(self, digest: str, event: str, now: datetime, note: str) -> None:
        """Write a line into a report's history that changes nothing (put on a stick, a second copy arrived)."""
        with self.writing() as connection:
            state = connection.execute(sa.select(REPORT.c.state).where(REPORT.c.digest == digest)).scalar()
            if state is not None:
                _log(connection, now, digest, event, OnlineState(state), OnlineState(state), note)

    def open_reports(self) -> list[ReportRow]:
        """Return the reports about which the bureau, or its standing, can be asked now."""
        return [
            r
            for r in self.reports()
            if next_step(r.snapshot) is not Step.NONE
            and (
                r.snapshot.hold is not None
                or r.state in OPEN_AT_BUREAU
                or r.state in (OnlineState.UNKNOWN, OnlineState.PROVEN, OnlineState.ANSWERED)
            )
        ]

    def results(self, digest: str) -> list[ResultRow]:
        """Return the believed results of a report, the oldest first."""
        with self.reading() as connection:
            rows = connection.execute(sa.select(RESULT).where(RESULT.c.digest == digest).order_by(RESULT.c.result_no))
            return [
                ResultRow(r.digest, r.result_no, r.outcome, r.code, r.body_sha256, _at(r.received_at)) for r in rows
            ]

    # Sticks

    def add_leg(self, digest: str, leg: str, stick_id: str, label: str, now: datetime) -> None:
        """Remember that a report came by a stick, or that a result left on one; the same stick again is no news."""
        with self.writing() as connection:
            latest = connection.execute(
                sa.select(LEG.c.stick_id, LEG.c.label)
                .where(LEG.c.digest == digest)
                .where(LEG.c.leg == leg)
                .order_by(LEG.c.id.desc())
            ).first()
            if latest is None or (latest.stick_id, latest.label) != (stick_id, label):
                connection.execute(
                    sa.insert(LEG).values(at=_epoch(now), digest=digest, leg=leg, stick_id=stick_id, label=label)
                )

    def legs(self, digest: str) -> list[LegRow]:
        """Return the walks of one report and its results, the oldest first."""
        with self.reading() as connection:
            rows = connection.execute(sa.select(LEG).where(LEG.c.digest == digest).order_by(LEG.c.id))
            return [_leg(row) for row in rows]

    def gaps(self) -> list[Gap]:
        """Return what is missing between the copies of each card that arrived here."""
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(REPORT.c.taxpayer_id, REPORT.c.machine_no, REPORT.c.card_no, REPORT.c.sequence)
                .distinct()
                .order_by(REPORT.c.taxpayer_id, REPORT.c.machine_no, REPORT.c.card_no, REPORT.c.sequence)
            ).all()
        found = []
        for before, after in itertools.pairwise(rows):
            same = before.card_no == after.card_no
            if same and after.sequence > before.sequence + 1:
                missing = tuple(range(before.sequence + 1, after.sequence))[:_MOST_MISSING]
                found.append(Gap(after.taxpayer_id, after.machine_no, after.card_no, missing, after.sequence))
        return found

    # Clear receipts

    def add_ack(self, sha256: str, digest: str, stem: str, now: datetime) -> bool:
        """Note a proven clear receipt whose file lies in the spool; False if it was known."""
        with self.writing() as connection:
            if connection.execute(sa.select(ACK.c.sha256).where(ACK.c.sha256 == sha256)).scalar() is not None:
                return False
            delivered = connection.execute(
                sa.select(ACK.c.sha256).where(ACK.c.digest == digest).where(ACK.c.state == ACK_DELIVERED)
            ).first()
            connection.execute(
                sa.insert(ACK).values(
                    sha256=sha256,
                    digest=digest,
                    stem=stem,
                    # Issued again by the card, with an identical body: the bureau has one already.
                    state=ACK_WAITING if delivered is None else ACK_DELIVERED,
                    message="",
                    attempts=0,
                    due_at=_epoch(now) if delivered is None else None,
                    taken_at=_epoch(now),
                )
            )
            return True

    def acks(self) -> list[AckRow]:
        """Return all clear receipts, the oldest first."""
        with self.reading() as connection:
            return [_ack(r) for r in connection.execute(sa.select(ACK).order_by(ACK.c.taken_at, ACK.c.sha256))]

    def due_acks(self, now: datetime) -> list[AckRow]:
        """Return the clear receipts that are to be delivered, or asked about, now."""
        return [a for a in self.acks() if is_due(a.due_at, now)]

    def set_ack(self, sha256: str, state: str, *, attempts: int, due_at: datetime | None, message: str = "") -> None:
        """Write where a clear receipt is on its way."""
        with self.writing() as connection:
            connection.execute(
                sa.update(ACK)
                .where(ACK.c.sha256 == sha256)
                .values(state=state, attempts=attempts, message=message, due_at=_epoch_or_none(due_at))
            )

    # Quarantine, standing

    def add_quarantined(self, row: QuarantinedRow) -> None:
        """Note a file that was set aside; a second time for the same file changes nothing."""
        with self.writing() as connection:
            connection.execute(
                sa.insert(QUARANTINED)
                .prefix_with("OR IGNORE")
                .values(
                    stored_name=row.stored_name,
                    name=row.name,
                    code=row.code,
                    reason_zh=row.reason_zh,
                    reason_en=row.reason_en,
                    at=_epoch(row.at),
                )
            )

    def quarantined(self) -> list[QuarantinedRow]:
        """Return the files that were set aside, the oldest first."""
        with self.reading() as connection:
            rows = connection.execute(sa.select(QUARANTINED).order_by(QUARANTINED.c.at, QUARANTINED.c.stored_name))
            return [QuarantinedRow(r.stored_name, r.name, r.code, r.reason_zh, r.reason_en, _at(r.at)) for r in rows]

    def set_standing(self, taxpayer_id: str, period: str, body: str, now: datetime) -> None:
        """Keep the bureau's last word on a taxpayer's period."""
        with self.writing() as connection:
            connection.execute(
                sa.insert(STANDING)
                .prefix_with("OR REPLACE")
                .values(taxpayer_id=taxpayer_id, period=period, body=body, at=_epoch(now))
            )

    def standing(self, taxpayer_id: str, period: str) -> tuple[str, datetime] | None:
        """Return the bureau's last word on a taxpayer's period and when it was said, or None."""
        with self.reading() as connection:
            row = connection.execute(
                sa.select(STANDING.c.body, STANDING.c.at)
                .where(STANDING.c.taxpayer_id == taxpayer_id)
                .where(STANDING.c.period == period)
            ).one_or_none()
            return None if row is None else (str(row.body), _at(row.at))


def _ask_waiting(connection: Connection, command: AskWaiting, but: str, now: datetime, policy: Policy) -> None:
    rows = connection.execute(
        sa.select(REPORT)
        .where(REPORT.c.taxpayer_id == command.taxpayer_id)
        .where(REPORT.c.period == command.period)
        .where(REPORT.c.state == OnlineState.WAITING.value)
        .where(REPORT.c.digest != but)
    ).all()
    for row in rows:
        after, _ = decide(_snapshot(row), AskNow(), now, policy)
        connection.execute(sa.update(REPORT).where(REPORT.c.digest == row.digest).values(**_columns(after)))


def _is_history(before: Snapshot, event: Event, after: Snapshot) -> bool:
    if isinstance(event, AskNow | NoAnswer | StillProcessing):
        return before.state is not after.state
    if isinstance(event, Checked):
        return before.state is not after.state or before.hold is not after.hold
    if isinstance(event, ResultProven):
        return before.result_no != after.result_no
    return True


def _event_name(event: Event) -> str:
    name = type(event).__name__
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")


def _log(
    connection: Connection,
    now: datetime,
    digest: str,
    event: str,
    before: OnlineState,
    after: OnlineState,
    note: str,
) -> None:
    connection.execute(
        sa.insert(EVENT).values(
            at=_epoch(now), digest=digest, event=event, from_state=before.value, to_state=after.value, note=note[:500]
        )
    )


def _columns(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "state": snapshot.state.value,
        "hold": None if snapshot.hold is None else snapshot.hold.value,
        "released": snapshot.released,
        "code": snapshot.code,
        "message": snapshot.message,
        "resend": snapshot.resend,
        "receipt_no": snapshot.receipt_no,
        "result_no": snapshot.result_no,
        "to_stage": snapshot.to_stage,
        "ack_delivered": snapshot.ack_delivered,
        "attempts": snapshot.attempts,
        "due_at": _epoch_or_none(snapshot.due_at),
        "step": next_step(snapshot).value,
    }


def _snapshot(row: Row[Any]) -> Snapshot:
    return Snapshot(
        digest=row.digest,
        taxpayer_id=row.taxpayer_id,
        period=row.period,
        period_report=row.kind == "period",
        state=OnlineState(row.state),
        hold=None if row.hold is None else HoldReason(row.hold),
        released=bool(row.released),
        code=row.code,
        message=row.message,
        resend=row.resend,
        receipt_no=row.receipt_no,
        result_no=row.result_no,
        to_stage=bool(row.to_stage),
        ack_delivered=bool(row.ack_delivered),
        attempts=row.attempts,
        due_at=_moment(row.due_at),
    )


def _report(row: Row[Any]) -> ReportRow:
    return ReportRow(
        snapshot=_snapshot(row),
        header=PublicHeader.model_validate(json.loads(row.header)),
        size_bytes=row.size_bytes,
        file_sha256=row.file_sha256,
        recipients=row.recipients,
        questions=row.questions,
        uploads=row.uploads,
        found_at=_at(row.found_at),
        changed_at=_at(row.changed_at),
        overtaken=bool(row.overtaken),
        left=None if row.left_at is None else Left(row.left_label, _at(row.left_at)),
    )


WHOLE_REPORTS: Final = sa.select(REPORT, _OVERTAKEN, *_LEFT)
report_row: Final = _report


def _leg(row: Row[Any]) -> LegRow:
    return LegRow(_at(row.at), row.digest, row.leg, row.stick_id, row.label)


def _ack(row: Row[Any]) -> AckRow:
    return AckRow(
        row.sha256, row.digest, row.stem, row.state, row.message, row.attempts, _moment(row.due_at), _at(row.taken_at)
    )


def _epoch(moment: datetime) -> float:
    return moment.timestamp()


def _epoch_or_none(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _at(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, CHINA)


def _moment(epoch: float | None) -> datetime | None:
    return None if epoch is None else _at(epoch)


def describe(rows: Sequence[EventRow]) -> list[dict[str, str]]:
    """Return a history as `--json` shows it."""
    return [
        {"at": format_time(r.at), "event": r.event, "from": r.from_state, "to": r.to_state, "note": r.note}
        for r in rows
    ]
