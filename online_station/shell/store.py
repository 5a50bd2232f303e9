"""What the station knows, in one database: every decision is here before anything is done about it.

Writers lock the report's row, read it, decide, and commit durably; so the service, an operator's verb and other nodes can
work at the same time, and no decision is made from a stale row. A row carries the name of its next step, a due time and
a lease (`shared.jobs`); nothing else is needed to go on with it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

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
from online_station.shell import files
from online_station.shell.records import (
    AckRow,
    AnsweredRow,
    EventRow,
    FileFacts,
    Gap,
    Left,
    LegRow,
    QuarantinedRow,
    ReportRow,
    ResultRow,
)
from online_station.shell.schema import (
    ACK,
    EVENT,
    LEG,
    MIGRATIONS,
    QUARANTINED,
    REPORT,
    RESULT,
    SETTING,
    STANDING,
)
from shared.clock import CHINA, format_time
from shared.errors import Ambiguous, NotFound
from shared.files import hash_file
from shared.jobs import rows
from shared.jobs.database import insert_new, insert_or_update, migrate, open_database
from shared.jobs.rows import Claim
from shared.model.report import PublicHeader
from shared.states import ONLINE_TERMINAL, IllegalTransition, OnlineState

_MOST_MISSING: Final = 50
_BATCH: Final = 500
_DELIVER: Final = "deliver"
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


class LeaseLost(Exception):
    """Another worker has the row by now: this one was away for longer than its lease. Nothing has changed."""


class Store:
    """The station's database."""

    def __init__(self, where: Path | str, policy: Policy) -> None:
        """Open the database, creating or migrating it.

        Args:
            where: The file, or the URL of a PostgreSQL database that several nodes share.
            policy: How patient the decisions are.

        Raises:
            StoreDamaged: It was written by a newer release. It was not touched.
            StoreUnreachable: There is no server, or it lets nobody in.
        """
        self._policy = policy
        self.database = open_database(where, name="taxferry")
        try:
            migrate(self.database, MIGRATIONS)
        except BaseException:
            self.database.close()
            raise

    @property
    def is_shared(self) -> bool:
        """Whether other nodes may work on the same reports."""
        return self.database.is_server

    def close(self) -> None:
        """Give the database back."""
        self.database.close()

    def reading(self) -> AbstractContextManager[Connection]:
        """Give a connection for questions, which all see the same state."""
        return self.database.reading()

    def writing(self) -> AbstractContextManager[Connection]:
        """Give a connection for one transaction: committed at the end of the block, or undone."""
        return self.database.writing()

    def change_mark(self) -> Hashable:
        """Return something that differs after something has happened to a report, whoever did it."""
        latest = [sa.select(sa.func.max(c)).scalar_subquery() for c in (EVENT.c.id, LEG.c.id, ACK.c.taken_at)]
        with self.reading() as connection:
            return tuple(connection.execute(sa.select(*latest)).one())

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
                insert_or_update(connection, SETTING, {"name": name, "value": value})

    def set_new(self, **values: str) -> None:
        """Write settings that are not there yet."""
        with self.writing() as connection:
            for name, value in values.items():
                insert_new(connection, SETTING, {"name": name, "value": value})

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
        content: Path | None = None,
    ) -> bool:
        """Note a proven report whose file lies in the spool.

        Args:
            header: Its public header.
            digest: Its identity.
            size_bytes: Of the file.
            file_sha256: Of the file.
            recipients: See `ReportRow`.
            now: The present.
            note: Its name when it came.
            content: The file; where nodes share the database it is kept there too.

        Returns:
            False if it was known already; then only its file's digest is brought up to date.
        """
        with self.writing() as connection:
            found = Snapshot(
                digest=digest,
                taxpayer_id=header.taxpayer_id,
                period=header.period,
                period_report=header.kind == "period",
            )
            proven, _ = decide(found, Proved(), now, self._policy)
            row = {
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
                "size_bytes": size_bytes,
                "file_sha256": file_sha256,
                "recipients": recipients,
                "questions": 0,
                "uploads": 0,
                "found_at": _epoch(now),
                "changed_at": _epoch(now),
                **_columns(proven, header.card_no, header.sequence),
            }
            new = insert_new(connection, REPORT, row)
            known = None if new else connection.execute(_sha256_of(digest)).scalar_one()
            if self.is_shared and content is not None and known != file_sha256:
                files.put_file(connection, files.report_name(digest), content)
            if not new:
                values = {"file_sha256": file_sha256, "size_bytes": size_bytes}
                connection.execute(sa.update(REPORT).where(REPORT.c.digest == digest).values(**values))
                return False
            _log(connection, now, digest, "proved", found.state, proven.state, note)
            return True

    def apply(
        self,
        digest: str,
        event: Event,
        now: datetime,
        *,
        note: str = "",
        result: ResultRow | None = None,
        papers: Mapping[str, bytes] = MappingProxyType({}),
        standing: str | None = None,
        claim: Claim | None = None,
        keep: bool = False,
    ) -> tuple[Snapshot, Snapshot, bool]:
        """Decide about one report and commit the decision.

        Args:
            digest: The report.
            event: What happened.
            now: The present.
            note: For the event's line in the report's history.
            result: A believed result to keep in the same transaction.
            papers: What the bureau signed, by name (`files`), to keep where other nodes can reach it.
            standing: The bureau's last word on the taxpayer's period.
            claim: The worker's lease of the report; None for a person, whose word needs none.
            keep: Go on under the lease afterwards. To send is always done under it.

        Returns:
            The report before and after, and whether it is now to be sent by the caller.

        Raises:
            NotFound: There is no such report.
            LeaseLost: Another worker has the report by now. Nothing has changed, and nothing more is to be done.
            IllegalTransition: The event does not fit the state: somebody else was faster. Nothing has changed; a lease has
                ended.
        """
        try:
            with self.writing() as connection:
                row = self._for_decision(connection, digest, claim)
                before = _snapshot(row)
                after, commands = decide(before, event, now, self._policy)
                send = any(isinstance(c, Upload) for c in commands)
                values = _columns(after, row.card_no, row.sequence)
                if send:
                    values["uploads"] = row.uploads + 1
                if isinstance(event, StillProcessing | ResultProven | NoAnswer):
                    values["questions"] = row.questions + 1
                if after.state is not before.state:
                    values["changed_at"] = _epoch(now)
                if claim is None:
                    connection.execute(sa.update(REPORT).where(REPORT.c.digest == digest).values(**values))
                else:
                    (rows.save if send or keep else rows.settle)(connection, claim, values)
                if result is not None:
                    _keep_result(connection, digest, result)
                if standing is not None:
                    _keep_standing(connection, row.taxpayer_id, row.period, standing, now)
                if self.is_shared:
                    for name, data in papers.items():
                        files.put_octets(connection, name, data)
                # A report is asked about hundreds of times: only what changes it is history.
                if _is_history(before, event, after):
                    _log(connection, now, digest, _event_name(event), before.state, after.state, note)
                for command in commands:
                    if isinstance(command, AskWaiting):
                        _ask_waiting(connection, command, digest, now, self._policy)
                return before, after, send
        except IllegalTransition:
            if claim is not None:
                self.give_back(claim)
            raise

    def _for_decision(self, connection: Connection, digest: str, claim: Claim | None) -> Row[Any]:
        """Return a report's row, locked until the transaction ends."""
        if claim is not None:
            mine = rows.current(connection, claim)
            if mine is None:
                raise LeaseLost(digest)
            return mine
        query = sa.select(REPORT).where(REPORT.c.digest == digest).with_for_update()
        found = connection.execute(query).one_or_none()
        if found is None:
            raise NotFound(what=digest)
        return found

    def claim_report(
        self, digest: str, worker: str, lease_seconds: float, now: float | None, steps: Collection[Step]
    ) -> Claim | None:
        """Take one report that is due, if nobody has it and no earlier one of its card comes first."""
        return self._claim(REPORT, digest, worker, lease_seconds, now, {step.value for step in steps})

    def claim_ack(self, sha256: str, worker: str, lease_seconds: float, now: float | None) -> Claim | None:
        """Take one clear receipt that is due, if nobody has it."""
        return self._claim(ACK, sha256, worker, lease_seconds, now, None)

    def _claim(
        self,
        table: sa.Table,
        key: str,
        worker: str,
        lease_seconds: float,
        now: float | None,
        steps: Collection[str] | None,
    ) -> Claim | None:
        with self.database.writing(durable=False) as connection:
            found = rows.claim(connection, table, worker, lease_seconds=lease_seconds, now=now, steps=steps, only=key)
        return found[0] if found else None

    def holds(self, claim: Claim) -> bool:
        """Return whether a lease still holds."""
        with self.reading() as connection:
            return rows.holds(connection, claim)

    def give_back(self, claim: Claim) -> None:
        """End a lease; what is to be done, and when, stays as it is."""
        with self.writing() as connection:
            row = rows.current(connection, claim)
            if row is not None:
                rows.settle(connection, claim, {"due_at": row.due_at, "tries": row.tries})

    def end_leases(self, worker: str | None) -> None:
        """End the leases of a worker that is certainly dead; None: all, said by the only one who may work."""
        with self.writing() as connection:
            for table in (REPORT, ACK):
                rows.let_go(connection, table, worker)

    def mend_clock(self, horizon_seconds: float, now: float | None) -> None:
        """Make due what is due further ahead than anything is ever written: the clock was set back since."""
        for table in (REPORT, ACK):
            with self.reading() as connection:
                wrong = rows.are_beyond(connection, table, horizon_seconds, now)
            if wrong:
                with self.writing() as connection:
                    rows.pull_in(connection, table, horizon_seconds, now)

    def bring(self, path: Path, name: str, sha256: str = "") -> None:
        """See to it that a file lies in this node's folders, if another node took it.

        Args:
            path: Where it belongs.
            name: Its name in the database (`files`).
            sha256: Of its octets; empty where its signature proves it.

        Raises:
            FileNotFoundError: Nobody has it.
        """
        if self.is_shared and not (path.is_file() and (not sha256 or hash_file(path)[0] == sha256)):
            with self.reading() as connection:
                files.fetch(connection, name, path)

    def due(self, now: datetime) -> list[str]:
        """Return the digests of the reports with something to do now, the longest overdue first."""
        with self.reading() as connection:
            query = (
                sa.select(REPORT.c.digest).where(REPORT.c.due_at <= _epoch(now)).where(REPORT.c.step != Step.NONE.value)
            )
            return list(connection.execute(query.order_by(REPORT.c.due_at, REPORT.c.digest)).scalars())

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

    def reports(self, states: Collection[OnlineState] | None = None) -> list[ReportRow]:
        """Return all reports, or those in some states, the oldest first."""
        return self._select(sa.true() if states is None else REPORT.c.state.in_([state.value for state in states]))

    def some(self, digests: Collection[str]) -> list[ReportRow]:
        """Return these reports, the oldest first."""
        wanted = sorted(digests)
        found = [
            row
            for batch in range(0, len(wanted), _BATCH)
            for row in self._select(REPORT.c.digest.in_(wanted[batch : batch + _BATCH]))
        ]
        return sorted(found, key=lambda row: (row.found_at, row.header.machine_no, row.digest))

    def _select(self, which: sa.ColumnElement[bool]) -> list[ReportRow]:
        with self.reading() as connection:
            query = sa.select(REPORT, _OVERTAKEN, *_LEFT).where(which)
            return [
                _report(row)
                for row in connection.execute(query.order_by(REPORT.c.found_at, REPORT.c.machine_no, REPORT.c.digest))
            ]

    def files(self) -> dict[str, FileFacts]:
        """Return of every report's file what recognises it, by its SHA-256."""
        columns = (REPORT.c.file_sha256, REPORT.c.digest, REPORT.c.stem, REPORT.c.size_bytes)
        with self.reading() as connection:
            return {
                row.file_sha256: FileFacts(row.digest, row.stem, row.size_bytes)
                for row in connection.execute(sa.select(*columns))
            }

    def answered(self) -> list[AnsweredRow]:
        """Return the reports with a result that share their name with one whose result may still have to go back.

        Those whose clear receipt is there are among them only as the newer bearers of such a name.
        """
        other = REPORT.alias("other")
        open_states = [OnlineState.STAGED.value, OnlineState.FAILED.value]
        waiting = sa.select(other.c.stem).where(other.c.state.in_(open_states))
        c = REPORT.c
        columns = (c.digest, c.stem, c.sequence, c.state, c.code, c.message, c.result_no, c.to_stage, _LEFT[1])
        query = sa.select(*columns).where(c.result_no.is_not(None) & c.stem.in_(waiting))
        with self.reading() as connection:
            return [
                AnsweredRow(
                    digest=row.digest,
                    stem=row.stem,
                    sequence=row.sequence,
                    state=OnlineState(row.state),
                    code=row.code,
                    message=row.message,
                    result_no=row.result_no,
                    to_stage=bool(row.to_stage),
                    has_left=row.left_at is not None,
                )
                for row in connection.execute(query)
            ]

    def acknowledged(self) -> frozenset[str]:
        """Return the digests of the reports whose clear receipts have come."""
        with self.reading() as connection:
            return frozenset(connection.execute(sa.select(ACK.c.digest)).scalars())

    def closed_files(self) -> dict[str, datetime]:
        """Return since when the reports are closed whose clear receipt the bureau has, by their files' SHA-256."""
        query = sa.select(REPORT.c.file_sha256, REPORT.c.changed_at)
        with self.reading() as connection:
            found = connection.execute(query.where(REPORT.c.state == OnlineState.ACKNOWLEDGED.value))
            return {row.file_sha256: _at(row.changed_at) for row in found}

    def earlier(self, digest: str) -> list[str]:
        """Return the reports of the same card that have to go before one."""
        before = REPORT.alias("before")
        same = (before.c.lane == REPORT.c.lane) & (before.c.lane_seq < REPORT.c.lane_seq)
        with self.reading() as connection:
            query = sa.select(before.c.digest).select_from(REPORT).join(before, same).where(REPORT.c.digest == digest)
            return list(connection.execute(query.order_by(before.c.lane_seq)).scalars())

    def count_open(self) -> int:
        """Return how many reports are not done with."""
        with self.reading() as connection:
            over = REPORT.c.state.in_([state.value for state in ONLINE_TERMINAL])
            return int(connection.execute(sa.select(sa.func.count()).select_from(REPORT).where(~over)).scalar_one())

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
        asked = [*OPEN_AT_BUREAU, OnlineState.UNKNOWN, OnlineState.PROVEN, OnlineState.ANSWERED]
        return self._select(
            (REPORT.c.step != Step.NONE.value)
            & (REPORT.c.hold.is_not(None) | REPORT.c.state.in_([state.value for state in asked]))
        )

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

    def add_ack(self, sha256: str, digest: str, stem: str, now: datetime, data: bytes) -> bool:
        """Note a proven clear receipt whose file lies in the spool; False if it was known."""
        with self.writing() as connection:
            delivered = connection.execute(
                sa.select(ACK.c.sha256).where(ACK.c.digest == digest).where(ACK.c.state == ACK_DELIVERED)
            ).first()
            row = {
                "sha256": sha256,
                "digest": digest,
                "stem": stem,
                # Issued again by the card, with an identical body: the bureau has one already.
                "state": ACK_WAITING if delivered is None else ACK_DELIVERED,
                "message": "",
                "attempts": 0,
                "due_at": _epoch(now) if delivered is None else None,
                "step": _DELIVER,
                "taken_at": _epoch(now),
            }
            if not insert_new(connection, ACK, row):
                return False
            if self.is_shared:
                files.put_octets(connection, files.ack_name(sha256), data)
            return True

    def acks(self) -> list[AckRow]:
        """Return all clear receipts, the oldest first."""
        with self.reading() as connection:
            return [ack_of(r) for r in connection.execute(sa.select(ACK).order_by(ACK.c.taken_at, ACK.c.sha256))]

    def due_acks(self, now: datetime) -> list[str]:
        """Return the SHA-256 of the clear receipts that are to be delivered, or asked about, now."""
        with self.reading() as connection:
            query = sa.select(ACK.c.sha256).where(ACK.c.due_at <= _epoch(now)).order_by(ACK.c.taken_at, ACK.c.sha256)
            return list(connection.execute(query).scalars())

    def set_ack(
        self,
        claim: Claim,
        state: str,
        *,
        attempts: int,
        due_at: datetime | None,
        message: str = "",
        keep: bool = False,
        durable: bool = True,
    ) -> None:
        """Write where a clear receipt is on its way.

        Args:
            claim: The worker's lease of it.
            state: Where it is.
            attempts: How often it was tried.
            due_at: When it is to be tried, or asked about, next.
            message: What the bureau said.
            keep: Go on under the lease afterwards.
            durable: Whether it has to survive a power cut: not what the bureau tells again.

        Raises:
            LeaseLost: Another worker has it by now. Nothing has changed.
        """
        values = {"state": state, "attempts": attempts, "message": message, "due_at": _epoch_or_none(due_at)}
        with self.database.writing(durable=durable) as connection:
            if not (rows.save if keep else rows.settle)(connection, claim, values):
                raise LeaseLost(claim.key)

    # Quarantine, standing

    def add_quarantined(self, row: QuarantinedRow) -> None:
        """Note a file that was set aside; a second time for the same file changes nothing."""
        with self.writing() as connection:
            values = {
                "stored_name": row.stored_name,
                "name": row.name,
                "code": row.code,
                "reason_zh": row.reason_zh,
                "reason_en": row.reason_en,
                "at": _epoch(row.at),
            }
            insert_new(connection, QUARANTINED, values)

    def quarantined(self) -> list[QuarantinedRow]:
        """Return the files that were set aside, the oldest first."""
        with self.reading() as connection:
            rows = connection.execute(sa.select(QUARANTINED).order_by(QUARANTINED.c.at, QUARANTINED.c.stored_name))
            return [QuarantinedRow(r.stored_name, r.name, r.code, r.reason_zh, r.reason_en, _at(r.at)) for r in rows]

    def standing(self, taxpayer_id: str, period: str) -> tuple[str, datetime] | None:
        """Return the bureau's last word on a taxpayer's period and when it was said, or None."""
        with self.reading() as connection:
            row = connection.execute(
                sa.select(STANDING.c.body, STANDING.c.at)
                .where(STANDING.c.taxpayer_id == taxpayer_id)
                .where(STANDING.c.period == period)
            ).one_or_none()
            return None if row is None else (str(row.body), _at(row.at))


def _sha256_of(digest: str) -> sa.Select[Any]:
    return sa.select(REPORT.c.file_sha256).where(REPORT.c.digest == digest)


def _keep_result(connection: Connection, digest: str, result: ResultRow) -> None:
    values = {
        "digest": digest,
        "result_no": result.result_no,
        "outcome": result.outcome,
        "code": result.code,
        "body_sha256": result.body_sha256,
        "received_at": _epoch(result.received_at),
    }
    insert_new(connection, RESULT, values)


def _keep_standing(connection: Connection, taxpayer_id: str, period: str, body: str, now: datetime) -> None:
    values = {"taxpayer_id": taxpayer_id, "period": period, "body": body, "at": _epoch(now)}
    insert_or_update(connection, STANDING, values)


def _ask_waiting(connection: Connection, command: AskWaiting, but: str, now: datetime, policy: Policy) -> None:
    waiting = connection.execute(
        sa.select(REPORT)
        .where(REPORT.c.taxpayer_id == command.taxpayer_id)
        .where(REPORT.c.period == command.period)
        .where(REPORT.c.state == OnlineState.WAITING.value)
        .where(REPORT.c.digest != but)
        .order_by(REPORT.c.digest)  # two transactions that lock them take the same order
        .with_for_update()
    ).all()
    for row in waiting:
        after, _ = decide(_snapshot(row), AskNow(), now, policy)
        values = _columns(after, row.card_no, row.sequence)
        connection.execute(sa.update(REPORT).where(REPORT.c.digest == row.digest).values(**values))


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


_IN_ORDER: Final = frozenset({OnlineState.PROVEN, OnlineState.SENDING, OnlineState.UNKNOWN})
"""States in which a report keeps the later ones of its card waiting: the bureau is to have them in order (GW-11). One that
is held, waits for a person or was answered bars nobody."""


def _columns(snapshot: Snapshot, card_no: str, sequence: int) -> dict[str, Any]:
    return {
        "lane": card_no if snapshot.state in _IN_ORDER else None,
        "lane_seq": sequence,
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


def _report(row: Row[Any], *, bare: bool = False) -> ReportRow:
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
        overtaken=not bare and bool(row.overtaken),
        left=None if bare or row.left_at is None else Left(row.left_label, _at(row.left_at)),
    )


def report_of(row: Row[Any]) -> ReportRow:
    """Return a report from its bare row: without what later copies and sticks say about it."""
    return _report(row, bare=True)


WHOLE_REPORTS: Final = sa.select(REPORT, _OVERTAKEN, *_LEFT)
report_row: Final = _report


def _leg(row: Row[Any]) -> LegRow:
    return LegRow(_at(row.at), row.digest, row.leg, row.stick_id, row.label)


def ack_of(row: Row[Any]) -> AckRow:
    """Return a clear receipt from its row."""
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
