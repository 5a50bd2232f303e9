"""The bureau's memory: one SQLite file, spoken to through SQLAlchemy Core.

Write transactions begin at once (`BEGIN IMMEDIATE`), so that what was read inside one is still true when it commits,
whatever other process of this bureau works on the same file. Nothing here decides anything: the desk does.

    with store.write() as tx:
        report = tx.report(digest)
        ...
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine import RowMapping

from shared.clock import format_time
from shared.errors import StoreDamaged
from shared.model.report import PublicHeader, parse_public_header, render_row
from shared.states import BUREAU, BureauEvent, BureauState, advance
from tax_bureau.audit import FIRST, By, Entry
from tax_bureau.authority import Authority
from tax_bureau.judge.facts import CardOnFile, Declaration, Examination, Figures

SCHEMA_VERSION: Final = 1
_BUSY_SECONDS: Final = 30

_metadata = MetaData()
_settings = Table("settings", _metadata, Column("name", String, primary_key=True), Column("value", String))
_counters = Table("counters", _metadata, Column("name", String, primary_key=True), Column("value", Integer))
_taxpayers = Table(
    "taxpayers",
    _metadata,
    Column("taxpayer_id", String, primary_key=True),
    Column("name", String, nullable=False),
)
_delegates = Table(
    "delegates",
    _metadata,
    Column("taxpayer_id", String, primary_key=True),
    Column("delegate_id", String, primary_key=True),
)
_station_keys = Table(
    "station_keys",
    _metadata,
    Column("fingerprint", String, primary_key=True),
    Column("taxpayer_id", String, nullable=False, index=True),
    Column("certificate", String, nullable=False),
    Column("issued_at", String),
    Column("enrolled_at", String),
)
_cards = Table(
    "cards",
    _metadata,
    Column("card_no", String, primary_key=True),
    Column("taxpayer_id", String, nullable=False, index=True),
    Column("machine_no", Integer, nullable=False),
    Column("sub_machines", Integer, nullable=False),
    Column("fingerprint", String, nullable=False),
    Column("certificate", String, nullable=False),
    Column("issued_at", String, nullable=False),
    Column("withdrawn_at", String),
    Column("lock_date", String, nullable=False),
    Column("next_period_start", String, nullable=False),
    Column("upload_deadline", String, nullable=False),
    Column("offline_hours", Integer, nullable=False),
    Column("offline_limits", String, nullable=False),
    Column("last_acknowledged", Integer),
)
_reports = Table(
    "reports",
    _metadata,
    Column("digest", String, primary_key=True),
    Column("taxpayer_id", String, nullable=False),
    Column("machine_no", Integer, nullable=False),
    Column("stamp", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("period", String, nullable=False),
    Column("card_no", String, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("header", LargeBinary, nullable=False),
    Column("signer", String, nullable=False),
    Column("signed_on", String, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("file_sha256", String, nullable=False),
    Column("received_at", String, nullable=False),
    Column("uploaded_by", String, nullable=False),
    Column("receipt_no", String, nullable=False),
    Column("ask_after", Integer, nullable=False),
    Column("receipt", LargeBinary, nullable=False),
    Column("state", String, nullable=False),
    Column("due_at", Float),
    Column("round", Integer, nullable=False),
    Column("counted", Boolean, nullable=False),
    Column("examination", String),
    Column("result_no", Integer),
    Column("code", String, nullable=False),
    Column("field_code", String, nullable=False),
    Column("message", String, nullable=False),
    Index("reports_of_card", "card_no", "sequence"),
    Index("reports_of_period", "taxpayer_id", "period"),
    Index("reports_due", "state", "due_at"),
)
_results = Table(
    "results",
    _metadata,
    Column("card_no", String, primary_key=True),
    Column("result_no", Integer, primary_key=True),
    Column("digest", String, nullable=False, index=True),
    Column("outcome", String, nullable=False),
    Column("code", String, nullable=False),
    Column("field_code", String, nullable=False),
    Column("message", String, nullable=False),
    Column("decided_at", String, nullable=False),
    Column("by_hand", Boolean, nullable=False),
    Column("body_sha256", String, nullable=False),
    Column("text", LargeBinary, nullable=False),
)
_declarations = Table(
    "declarations",
    _metadata,
    Column("taxpayer_id", String, primary_key=True),
    Column("period", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("matching", Boolean, nullable=False),
    Column("figures", String, nullable=False),
    Column("declared_at", String, nullable=False),
)
_nonces = Table(
    "nonces",
    _metadata,
    Column("keyid", String, primary_key=True),
    Column("nonce", String, primary_key=True),
    Column("expires_at", Float, nullable=False, index=True),
)
_acks = Table(
    "acks",
    _metadata,
    Column("digest", String, primary_key=True),
    Column("result_no", Integer, nullable=False),
    Column("received_at", String, nullable=False),
    Column("ack", LargeBinary, nullable=False),
)
_trust_files = Table(
    "trust_files",
    _metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("text", LargeBinary, nullable=False),
)
_events = Table(
    "events",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", String, nullable=False, index=True),
    Column("at", String, nullable=False),
    Column("what", String, nullable=False),
    Column("detail", String, nullable=False),
)
_audit = Table(
    "audit",
    _metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", String, nullable=False),
    Column("operator", String, nullable=False),
    Column("os_user", String, nullable=False),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("detail", String, nullable=False),
    Column("previous", String, nullable=False),
    Column("digest", String, nullable=False),
)
_checkpoints = Table(
    "audit_checkpoints",
    _metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("text", LargeBinary, nullable=False),
)


@dataclass(frozen=True)
class StationKey:
    """An enterprise key that this bureau issued or enrolled.

    Attributes:
        fingerprint: Its name in request signatures.
        taxpayer_id: Whose it is.
        certificate: PEM.
        enrolled: On file for reporting.
    """

    fingerprint: str
    taxpayer_id: str
    certificate: str
    enrolled: bool


@dataclass(frozen=True)
class Card:
    """A registered card with what its next success will carry.

    Attributes:
        on_file: What the checks look at.
        sub_machines: How many sub machines a main card knows.
        certificate: PEM.
        next_period_start: The first day on which it makes its next period copy.
        upload_deadline: 上传截止日期.
        offline_hours: 离线开票时长.
        offline_limits: 离线限额 per invoice kind, in fen.
        last_acknowledged: The result number of the last clear receipt that arrived.
    """

    on_file: CardOnFile
    sub_machines: int
    certificate: str
    next_period_start: date
    upload_deadline: date
    offline_hours: int
    offline_limits: Mapping[str, int]
    last_acknowledged: int | None = None


@dataclass(frozen=True)
class Report:
    """A report that the bureau has taken.

    Attributes:
        digest: Its identity.
        header: The proven public header.
        signer: Fingerprint of the card's certificate.
        signed_on: The day on which the card signed.
        size_bytes: Of the file in the spool.
        file_sha256: Of the file in the spool.
        received_at: When it was taken.
        uploaded_by: Fingerprint of the key that brought it.
        receipt_no: 受理回执.
        ask_after: Seconds after which the receipt says to ask.
        receipt: The signed receipt, as it is handed out every time.
        state: Where it is.
        due_at: When it is to be judged (POSIX seconds), while it waits for that.
        round: Grows whenever it is to be judged anew; what was prepared for an older round is void.
        counted: The file itself was found good: its machine has reported.
        examination: What opening it showed, once that is settled for good.
        result_no: Of its newest result.
        code: 错误号 of its newest result.
        field_code: The return value that belongs to the code.
        message: 说明 of its newest result.
    """

    digest: str
    header: PublicHeader
    signer: str
    signed_on: date
    size_bytes: int
    file_sha256: str
    received_at: str
    uploaded_by: str
    receipt_no: str
    ask_after: int
    receipt: bytes
    state: BureauState = BureauState.STORED
    due_at: float | None = None
    round: int = 1
    counted: bool = False
    examination: Examination | None = None
    result_no: int | None = None
    code: str = ""
    field_code: str = ""
    message: str = ""


@dataclass(frozen=True)
class StoredResult:
    """A result as it was signed.

    Attributes:
        card_no: The card whose numbers it uses.
        result_no: 结果序号.
        digest: The report it is about.
        outcome: `success` or `failure`.
        code: 错误号.
        field_code: The return value that belongs to the code.
        message: 说明.
        decided_at: When.
        by_hand: A person decided.
        body_sha256: What a clear receipt repeats.
        text: The `.txt`.
    """

    card_no: str
    result_no: int
    digest: str
    outcome: Literal["success", "failure"]
    code: str
    field_code: str
    message: str
    decided_at: str
    by_hand: bool
    body_sha256: str
    text: bytes


@dataclass(frozen=True)
class Event:
    """One line of a report's life at the bureau."""

    at: str
    what: str
    detail: str


@dataclass(frozen=True)
class Wanted:
    """Which reports a person asks for; what is None or empty does not narrow.

    Attributes:
        taxpayer_id: Of this taxpayer.
        machine_no: Of this machine.
        period: Of this month.
        kind: `period` or `adhoc`.
        states: In one of these states.
        code: Whose newest result has this 错误号.
        received_from: Received on this day or later.
        received_to: Received on this day or earlier.
        by_hand: With a result that a person decided.
    """

    taxpayer_id: str | None = None
    machine_no: int | None = None
    period: str | None = None
    kind: str | None = None
    states: tuple[str, ...] = ()
    code: str | None = None
    received_from: date | None = None
    received_to: date | None = None
    by_hand: bool = False


class Transaction:
    """What may be asked and changed; commits when its `with` ends without an error."""

    def __init__(self, connection: Connection) -> None:
        """Work on an open transaction."""
        self._c = connection

    # settings and numbers

    def setting(self, name: str) -> str | None:
        """Return a setting, or None."""
        return self._c.execute(select(_settings.c.value).where(_settings.c.name == name)).scalar_one_or_none()

    def settings_with(self, prefix: str) -> dict[str, str]:
        """Return the settings whose names begin so, without that beginning, in the order of their names."""
        query = select(_settings).where(_settings.c.name.startswith(prefix, autoescape=True)).order_by(_settings.c.name)
        return {str(r["name"])[len(prefix) :]: str(r["value"]) for r in self._c.execute(query).mappings()}

    def set_setting(self, name: str, value: str) -> None:
        """Keep a setting."""
        self._c.execute(delete(_settings).where(_settings.c.name == name))
        self._c.execute(insert(_settings).values(name=name, value=value))

    def next_number(self, name: str) -> int:
        """Return the next number of a row of numbers that starts at 1 and has no gaps but those of failures."""
        now = self._c.execute(select(_counters.c.value).where(_counters.c.name == name)).scalar_one_or_none()
        number = (now or 0) + 1
        if now is None:
            self._c.execute(insert(_counters).values(name=name, value=number))
        else:
            self._c.execute(update(_counters).where(_counters.c.name == name).values(value=number))
        return number

    # taxpayers, keys, cards

    def taxpayer_name(self, taxpayer_id: str) -> str | None:
        """Return the name of a registered taxpayer."""
        query = select(_taxpayers.c.name).where(_taxpayers.c.taxpayer_id == taxpayer_id)
        return self._c.execute(query).scalar_one_or_none()

    def set_taxpayer(self, taxpayer_id: str, name: str) -> None:
        """Register a taxpayer, or change its name."""
        self._c.execute(delete(_taxpayers).where(_taxpayers.c.taxpayer_id == taxpayer_id))
        self._c.execute(insert(_taxpayers).values(taxpayer_id=taxpayer_id, name=name))

    def add_delegate(self, taxpayer_id: str, delegate_id: str) -> None:
        """Let another taxpayer (an agency) report for this one."""
        if not self.is_delegate(taxpayer_id, delegate_id):
            self._c.execute(insert(_delegates).values(taxpayer_id=taxpayer_id, delegate_id=delegate_id))

    def is_delegate(self, taxpayer_id: str, delegate_id: str) -> bool:
        """Return whether `delegate_id` may report for `taxpayer_id`."""
        query = select(_delegates.c.delegate_id).where(
            _delegates.c.taxpayer_id == taxpayer_id, _delegates.c.delegate_id == delegate_id
        )
        return self._c.execute(query).first() is not None

    def station_key(self, fingerprint: str) -> StationKey | None:
        """Return the key of that fingerprint."""
        row = self._c.execute(select(_station_keys).where(_station_keys.c.fingerprint == fingerprint)).mappings()
        found = row.one_or_none()
        return _station_key(found) if found is not None else None

    def enrolled_keys(self, taxpayer_id: str) -> tuple[StationKey, ...]:
        """Return the keys on file for a taxpayer."""
        query = (
            select(_station_keys)
            .where(_station_keys.c.taxpayer_id == taxpayer_id, _station_keys.c.enrolled_at.is_not(None))
            .order_by(_station_keys.c.enrolled_at, _station_keys.c.fingerprint)
        )
        return tuple(_station_key(row) for row in self._c.execute(query).mappings())

    def add_station_key(self, fingerprint: str, taxpayer_id: str, certificate: str, *, issued_at: datetime) -> None:
        """Know a key, without enrolling it; a known one stays as it is."""
        if self.station_key(fingerprint) is None:
            self._c.execute(
                insert(_station_keys).values(
                    fingerprint=fingerprint,
                    taxpayer_id=taxpayer_id,
                    certificate=certificate,
                    issued_at=format_time(issued_at),
                )
            )

    def enroll(self, fingerprint: str, at: datetime | None) -> None:
        """Put a known key on file, or with None take it off."""
        self._c.execute(
            update(_station_keys)
            .where(_station_keys.c.fingerprint == fingerprint)
            .values(enrolled_at=format_time(at) if at is not None else None)
        )

    def card(self, card_no: str) -> Card | None:
        """Return a registered card."""
        row = self._c.execute(select(_cards).where(_cards.c.card_no == card_no)).mappings().one_or_none()
        return _card(row) if row is not None else None

    def cards(self, taxpayer_id: str | None = None) -> tuple[Card, ...]:
        """Return the cards in use, of one taxpayer or of all."""
        query = select(_cards).where(_cards.c.withdrawn_at.is_(None))
        if taxpayer_id is not None:
            query = query.where(_cards.c.taxpayer_id == taxpayer_id)
        query = query.order_by(_cards.c.taxpayer_id, _cards.c.machine_no)
        return tuple(_card(row) for row in self._c.execute(query).mappings())

    def add_card(self, card: Card, *, issued_at: datetime) -> None:
        """Register a card."""
        on_file = card.on_file
        self._c.execute(
            insert(_cards).values(
                card_no=on_file.card_no,
                taxpayer_id=on_file.taxpayer_id,
                machine_no=on_file.machine_no,
                sub_machines=card.sub_machines,
                fingerprint=on_file.fingerprint,
                certificate=card.certificate,
                issued_at=format_time(issued_at),
                lock_date=on_file.lock_date.isoformat(),
                next_period_start=card.next_period_start.isoformat(),
                upload_deadline=card.upload_deadline.isoformat(),
                offline_hours=card.offline_hours,
                offline_limits=json.dumps(dict(card.offline_limits)),
            )
        )

    def withdraw_card(self, card_no: str, at: datetime) -> None:
        """Take a card out of use."""
        self._c.execute(update(_cards).where(_cards.c.card_no == card_no).values(withdrawn_at=format_time(at)))

    def set_authority(self, card_no: str, days: Authority) -> None:
        """Keep what a success gave to the card."""
        self._c.execute(
            update(_cards)
            .where(_cards.c.card_no == card_no)
            .values(
                lock_date=days.lock_date.isoformat(),
                next_period_start=days.next_period_start.isoformat(),
                upload_deadline=days.upload_deadline.isoformat(),
            )
        )

    def set_offline_authority(self, card_no: str, hours: int, limits: Mapping[str, int]) -> None:
        """Keep what the card's next success will permit offline."""
        self._c.execute(
            update(_cards)
            .where(_cards.c.card_no == card_no)
            .values(offline_hours=hours, offline_limits=json.dumps(dict(limits)))
        )

    def set_last_acknowledged(self, card_no: str, result_no: int) -> None:
        """Keep the highest result number that a clear receipt named."""
        self._c.execute(
            update(_cards)
            .where(
                _cards.c.card_no == card_no,
                func.coalesce(_cards.c.last_acknowledged, 0) < result_no,
            )
            .values(last_acknowledged=result_no)
        )

    # reports

    def report(self, digest: str) -> Report | None:
        """Return a report."""
        row = self._c.execute(select(_reports).where(_reports.c.digest == digest)).mappings().one_or_none()
        return _report(row) if row is not None else None

    def reports_with(self, card_no: str, sequence: int) -> tuple[Report, ...]:
        """Return the reports of that copy of that card: one, unless the copy was sealed anew."""
        query = select(_reports).where(_reports.c.card_no == card_no, _reports.c.sequence == sequence)
        return tuple(_report(row) for row in self._c.execute(query).mappings())

    def reports(
        self,
        *,
        taxpayer_id: str | None = None,
        period: str | None = None,
        card_no: str | None = None,
        digest_prefix: str | None = None,
        limit: int = 10_000,
    ) -> tuple[Report, ...]:
        """Return reports in the order of their arrival."""
        query = select(_reports)
        if taxpayer_id is not None:
            query = query.where(_reports.c.taxpayer_id == taxpayer_id)
        if period is not None:
            query = query.where(_reports.c.period == period)
        if card_no is not None:
            query = query.where(_reports.c.card_no == card_no)
        if digest_prefix is not None:
            query = query.where(_reports.c.digest.startswith(digest_prefix, autoescape=True))
        query = query.order_by(_reports.c.received_at, _reports.c.receipt_no).limit(limit)
        return tuple(_report(row) for row in self._c.execute(query).mappings())

    def find_reports(self, wanted: Wanted, *, skip: int, limit: int) -> tuple[tuple[Report, ...], int]:
        """Return a page of the reports asked for, the newest first, and how many there are in all."""
        where = [
            _reports.c[name] == value
            for name, value in (
                ("taxpayer_id", wanted.taxpayer_id),
                ("machine_no", wanted.machine_no),
                ("period", wanted.period),
                ("kind", wanted.kind),
                ("code", wanted.code),
            )
            if value is not None
        ]
        if wanted.states:
            where.append(_reports.c.state.in_(wanted.states))
        # Times are texts of one spelling and zone: their first ten characters are the day.
        day = func.substr(_reports.c.received_at, 1, 10)
        if wanted.received_from is not None:
            where.append(day >= wanted.received_from.isoformat())
        if wanted.received_to is not None:
            where.append(day <= wanted.received_to.isoformat())
        if wanted.by_hand:
            where.append(_reports.c.digest.in_(select(_results.c.digest).where(_results.c.by_hand)))
        total = self._c.execute(select(func.count()).select_from(_reports).where(*where)).scalar_one()
        query = (
            select(_reports)
            .where(*where)
            .order_by(_reports.c.received_at.desc(), _reports.c.receipt_no.desc())
            .offset(skip)
            .limit(limit)
        )
        return tuple(_report(row) for row in self._c.execute(query).mappings()), int(total)

    def next_due(self, now: float) -> Report | None:
        """Return the report that has waited longest for its judgement."""
        query = (
            select(_reports)
            .where(_reports.c.state == BureauState.STORED.value, _reports.c.due_at <= now)
            .order_by(_reports.c.due_at, _reports.c.receipt_no)
            .limit(1)
        )
        row = self._c.execute(query).mappings().one_or_none()
        return _report(row) if row is not None else None

    def counts_by_state(self) -> dict[str, int]:
        """Return how many reports are in each state."""
        query = select(_reports.c.state, func.count()).group_by(_reports.c.state)
        return {str(state): int(count) for state, count in self._c.execute(query)}

    def add_report(self, report: Report) -> None:
        """Take a report."""
        header = report.header
        self._c.execute(
            insert(_reports).values(
                digest=report.digest,
                taxpayer_id=header.taxpayer_id,
                machine_no=header.machine_no,
                stamp=header.stamp,
                kind=header.kind,
                period=header.period,
                card_no=header.card_no,
                sequence=header.sequence,
                header=render_row(header),
                signer=report.signer,
                signed_on=report.signed_on.isoformat(),
                size_bytes=report.size_bytes,
                file_sha256=report.file_sha256,
                received_at=report.received_at,
                uploaded_by=report.uploaded_by,
                receipt_no=report.receipt_no,
                ask_after=report.ask_after,
                receipt=report.receipt,
                state=report.state.value,
                due_at=report.due_at,
                round=report.round,
                counted=report.counted,
                code="",
                field_code="",
                message="",
            )
        )

    def move(self, report: Report, event: BureauEvent, *, due_at: float | None = None) -> Report:
        """Advance a report; being opened again starts a new round.

        Raises:
            IllegalTransition: The table does not permit it: a defect of the caller.
        """
        state = advance(BUREAU, report.state, event)
        moved = replace(
            report,
            state=state,
            due_at=due_at if state is BureauState.STORED else None,
            round=report.round + (event is BureauEvent.REOPEN),
        )
        self._c.execute(
            update(_reports)
            .where(_reports.c.digest == report.digest)
            .values(state=moved.state.value, due_at=moved.due_at, round=moved.round)
        )
        return moved

    def postpone(self, digest: str, due_at: float) -> None:
        """Let a report that could not be looked at wait."""
        self._c.execute(update(_reports).where(_reports.c.digest == digest).values(due_at=due_at))

    def keep_judgement(self, digest: str, *, counted: bool, examination: Examination | None) -> None:
        """Keep what a judgement found out about the file."""
        self._c.execute(
            update(_reports)
            .where(_reports.c.digest == digest)
            .values(
                counted=counted,
                examination=_examination_text(examination) if examination is not None else None,
            )
        )

    def add_result(self, result: StoredResult) -> None:
        """Keep a signed result; it becomes its report's newest."""
        self._c.execute(
            insert(_results).values(
                card_no=result.card_no,
                result_no=result.result_no,
                digest=result.digest,
                outcome=result.outcome,
                code=result.code,
                field_code=result.field_code,
                message=result.message,
                decided_at=result.decided_at,
                by_hand=result.by_hand,
                body_sha256=result.body_sha256,
                text=result.text,
            )
        )
        self._c.execute(
            update(_reports)
            .where(_reports.c.digest == result.digest)
            .values(result_no=result.result_no, code=result.code, field_code=result.field_code, message=result.message)
        )

    def results(self, digest: str) -> tuple[StoredResult, ...]:
        """Return all results of a report, the newest last."""
        query = select(_results).where(_results.c.digest == digest).order_by(_results.c.result_no)
        return tuple(_result(row) for row in self._c.execute(query).mappings())

    def add_event(self, digest: str, at: datetime, what: str, detail: str = "") -> None:
        """Write a line of a report's life."""
        self._c.execute(insert(_events).values(digest=digest, at=format_time(at), what=what, detail=detail))

    def events(self, digest: str) -> tuple[Event, ...]:
        """Return a report's life."""
        query = select(_events).where(_events.c.digest == digest).order_by(_events.c.id)
        return tuple(Event(row["at"], row["what"], row["detail"]) for row in self._c.execute(query).mappings())

    # clear receipts, declarations, trust, requests

    def ack(self, digest: str) -> bytes | None:
        """Return the clear receipt of a report."""
        return self._c.execute(select(_acks.c.ack).where(_acks.c.digest == digest)).scalar_one_or_none()

    def add_ack(self, digest: str, result_no: int, ack: bytes, at: datetime) -> None:
        """Keep a clear receipt."""
        self._c.execute(insert(_acks).values(digest=digest, result_no=result_no, ack=ack, received_at=format_time(at)))

    def declaration(self, taxpayer_id: str, period: str) -> Declaration | None:
        """Return the newest declaration of a period."""
        query = (
            select(_declarations)
            .where(_declarations.c.taxpayer_id == taxpayer_id, _declarations.c.period == period)
            .order_by(_declarations.c.version.desc())
            .limit(1)
        )
        row = self._c.execute(query).mappings().one_or_none()
        if row is None:
            return None
        return Declaration(matching=row["matching"], figures=_figures(json.loads(row["figures"])))

    def add_declaration(self, taxpayer_id: str, period: str, declaration: Declaration, at: datetime) -> int:
        """Keep a declaration above the earlier ones of its period; return its version."""
        query = select(func.max(_declarations.c.version)).where(
            _declarations.c.taxpayer_id == taxpayer_id, _declarations.c.period == period
        )
        version = int(self._c.execute(query).scalar_one_or_none() or 0) + 1
        self._c.execute(
            insert(_declarations).values(
                taxpayer_id=taxpayer_id,
                period=period,
                version=version,
                matching=declaration.matching,
                figures=json.dumps(_figures_plain(declaration.figures)),
                declared_at=format_time(at),
            )
        )
        return version

    # the record of what people did

    def add_audit(self, by: By, at: datetime, action: str, subject: str, **detail: object) -> Entry:
        """Write an entry below the last one."""
        last = self._c.execute(select(_audit).order_by(_audit.c.number.desc()).limit(1)).mappings().one_or_none()
        entry = Entry(
            number=1 if last is None else last["number"] + 1,
            at=format_time(at),
            operator=by.operator,
            os_user=by.os_user,
            action=action,
            subject=subject,
            reason=by.reason,
            detail={name: str(value) for name, value in sorted(detail.items())},
            previous=FIRST if last is None else last["digest"],
        )
        entry = replace(entry, digest=entry.computed())
        self._c.execute(
            insert(_audit).values(
                number=entry.number,
                at=entry.at,
                operator=entry.operator,
                os_user=entry.os_user,
                action=entry.action,
                subject=entry.subject,
                reason=entry.reason,
                detail=json.dumps(dict(entry.detail), ensure_ascii=False),
                previous=entry.previous,
                digest=entry.digest,
            )
        )
        return entry

    def audit(
        self, *, after: int = 0, subject: str = "", operator: str = "", limit: int | None = None
    ) -> tuple[Entry, ...]:
        """Return entries in the order of their numbers, of a subject or an operator if one is given."""
        query = select(_audit).where(_audit.c.number > after)
        if subject:
            query = query.where(_audit.c.subject.startswith(subject, autoescape=True))
        if operator:
            query = query.where((_audit.c.operator == operator) | (_audit.c.os_user == operator))
        return tuple(_entry(row) for row in self._c.execute(query.order_by(_audit.c.number).limit(limit)).mappings())

    def last_audit(self) -> Entry | None:
        """Return the last entry."""
        row = self._c.execute(select(_audit).order_by(_audit.c.number.desc()).limit(1)).mappings().one_or_none()
        return None if row is None else _entry(row)

    def checkpoints(self) -> tuple[bytes, ...]:
        """Return the signed checkpoints that are kept here."""
        return tuple(self._c.execute(select(_checkpoints.c.text).order_by(_checkpoints.c.number)).scalars())

    def add_checkpoint(self, number: int, text: bytes) -> None:
        """Keep a signed checkpoint; one over the same entry stays."""
        known = select(_checkpoints.c.number).where(_checkpoints.c.number == number)
        if self._c.execute(known).first() is None:
            self._c.execute(insert(_checkpoints).values(number=number, text=text))

    def trust_file(self) -> bytes | None:
        """Return the newest trust file."""
        query = select(_trust_files.c.text).order_by(_trust_files.c.version.desc()).limit(1)
        return self._c.execute(query).scalar_one_or_none()

    def add_trust_file(self, version: int, text: bytes) -> None:
        """Keep a trust file; the same version takes the place of an unfinished one."""
        self._c.execute(delete(_trust_files).where(_trust_files.c.version == version))
        self._c.execute(insert(_trust_files).values(version=version, text=text))

    def remember_nonce(self, keyid: str, nonce: str, *, now: float, expires_at: float) -> bool:
        """Keep a request's nonce; return False if it was used before."""
        self._c.execute(delete(_nonces).where(_nonces.c.expires_at < now))
        query = select(_nonces.c.nonce).where(_nonces.c.keyid == keyid, _nonces.c.nonce == nonce)
        if self._c.execute(query).first() is not None:
            return False
        self._c.execute(insert(_nonces).values(keyid=keyid, nonce=nonce, expires_at=expires_at))
        return True


class Store:
    """The database file."""

    def __init__(self, path: Path) -> None:
        """Open `path`, making it if it is not there.

        Raises:
            StoreDamaged: It was made by a program with another schema.
        """
        self.path = path
        # Made here, so that it and the files that SQLite puts beside it are readable by their owner only.
        path.touch(mode=0o600)
        self._engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_SECONDS})
        _configure(self._engine)
        try:
            with self.write() as tx:
                _metadata.create_all(tx._c)  # noqa: SLF001  same module
                version = tx.setting("schema_version")
                if version is None:
                    tx.set_setting("schema_version", str(SCHEMA_VERSION))
                elif version != str(SCHEMA_VERSION):
                    raise StoreDamaged(reason=f"schema {version}, expected {SCHEMA_VERSION}")
        except BaseException:
            self._engine.dispose()
            raise

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Begin a transaction that may change things; durable when the `with` ends, undone if it raises."""
        with (
            self._engine.connect().execution_options(taxferry_begin="BEGIN IMMEDIATE") as connection,
            connection.begin(),
        ):
            yield Transaction(connection)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Begin a transaction that sees one state and changes nothing."""
        with self._engine.connect() as connection, connection.begin():
            yield Transaction(connection)

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()


def _configure(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where `_begun` says, not where the driver guesses
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("taxferry_begin", "BEGIN"))


def _station_key(row: RowMapping) -> StationKey:
    return StationKey(row["fingerprint"], row["taxpayer_id"], row["certificate"], row["enrolled_at"] is not None)


def _card(row: RowMapping) -> Card:
    on_file = CardOnFile(
        card_no=row["card_no"],
        taxpayer_id=row["taxpayer_id"],
        machine_no=row["machine_no"],
        fingerprint=row["fingerprint"],
        lock_date=date.fromisoformat(row["lock_date"]),
        withdrawn=row["withdrawn_at"] is not None,
    )
    return Card(
        on_file=on_file,
        sub_machines=row["sub_machines"],
        certificate=row["certificate"],
        next_period_start=date.fromisoformat(row["next_period_start"]),
        upload_deadline=date.fromisoformat(row["upload_deadline"]),
        offline_hours=row["offline_hours"],
        offline_limits={str(kind): int(fen) for kind, fen in json.loads(row["offline_limits"]).items()},
        last_acknowledged=row["last_acknowledged"],
    )


def _report(row: RowMapping) -> Report:
    return Report(
        digest=row["digest"],
        header=parse_public_header(row["header"]),
        signer=row["signer"],
        signed_on=date.fromisoformat(row["signed_on"]),
        size_bytes=row["size_bytes"],
        file_sha256=row["file_sha256"],
        received_at=row["received_at"],
        uploaded_by=row["uploaded_by"],
        receipt_no=row["receipt_no"],
        ask_after=row["ask_after"],
        receipt=row["receipt"],
        state=BureauState(row["state"]),
        due_at=row["due_at"],
        round=row["round"],
        counted=row["counted"],
        examination=_examination(row["examination"]) if row["examination"] is not None else None,
        result_no=row["result_no"],
        code=row["code"],
        field_code=row["field_code"],
        message=row["message"],
    )


def _result(row: RowMapping) -> StoredResult:
    return StoredResult(
        card_no=row["card_no"],
        result_no=row["result_no"],
        digest=row["digest"],
        outcome="success" if row["outcome"] == "success" else "failure",
        code=row["code"],
        field_code=row["field_code"],
        message=row["message"],
        decided_at=row["decided_at"],
        by_hand=row["by_hand"],
        body_sha256=row["body_sha256"],
        text=row["text"],
    )


def _entry(row: RowMapping) -> Entry:
    try:
        detail = {str(name): str(value) for name, value in json.loads(row["detail"]).items()}
    except (ValueError, AttributeError):
        detail = {"?": str(row["detail"])}  # somebody wrote here: the digest says so
    return Entry(
        number=row["number"],
        at=row["at"],
        operator=row["operator"],
        os_user=row["os_user"],
        action=row["action"],
        subject=row["subject"],
        reason=row["reason"],
        detail=detail,
        previous=row["previous"],
        digest=row["digest"],
    )


def _figures_plain(figures: Mapping[str, Figures]) -> dict[str, list[int]]:
    return {kind: [sums.amount, sums.tax] for kind, sums in figures.items()}


def _figures(plain: Mapping[str, Sequence[int]]) -> dict[str, Figures]:
    return {kind: Figures(amount, tax) for kind, (amount, tax) in plain.items()}


def _examination_text(examination: Examination) -> str:
    return json.dumps(
        {
            "fault": examination.fault,
            "reason": examination.reason,
            "code": examination.code,
            "differences": list(examination.differences),
            "collected": _figures_plain(examination.collected),
        },
        ensure_ascii=False,
    )


def _examination(text: str) -> Examination:
    plain: dict[str, Any] = json.loads(text)
    return Examination(
        fault=plain["fault"],
        reason=plain["reason"],
        code=plain["code"],
        differences=tuple(plain["differences"]),
        collected=_figures(plain["collected"]),
    )
