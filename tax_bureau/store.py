"""The bureau's memory: a SQLite file for one process, a PostgreSQL database for several (see `shared.jobs.database`).

What was read inside a write transaction is still true when it commits. SQLite gives that by itself: one writer has the
whole file. On PostgreSQL a transaction first takes what it is about (`hold`): a report's digest, a taxpayer. Nothing
here decides anything: the desk does.

    with store.write() as tx:
        tx.hold(taxpayer_id)
        report = tx.report(digest)
        ...

The row of a report is also its job (`shared.jobs.rows`), and stands in its taxpayer's line: of each taxpayer one report
at a time is due, the others wait behind it without a due time. So whoever brings five thousand reports waits for
himself, and whoever brings one is next but few.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy import (
    BigInteger,
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
    bindparam,
    delete,
    event,
    func,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.engine import RowMapping

from shared.clock import format_time
from shared.errors import StoreDamaged
from shared.jobs import rows
from shared.jobs.database import Database, add_missing, insert_new, insert_or_update, migrate, open_database
from shared.jobs.rows import Claim, job_columns, job_indexes
from shared.model.report import PublicHeader, parse_public_header, render_row
from shared.states import BUREAU, BureauEvent, BureauState, advance
from tax_bureau.audit import FIRST, By, Entry
from tax_bureau.authority import Authority
from tax_bureau.judge.facts import CardOnFile, Declaration, Examination, Figures

JUDGE: Final = "judge"
"""The one step that a report's row is ever due for."""
_BUSY_SECONDS: Final = 30
_NONCE_SWEEP_SECONDS: Final = 30.0
_STOPPED_SECONDS: Final = 5
"""Our transactions do nothing but ask the server and sign; one that says nothing for so long has no process any more."""
_CONNECTIONS: Final = 24
"""As many as a server's threads use at once, with some to spare."""

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
    Column("sequence", BigInteger, nullable=False),
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
    Column("ready_at", Float),
    Column("round", Integer, nullable=False),
    Column("counted", Boolean, nullable=False),
    Column("examination", String),
    Column("result_no", Integer),
    Column("code", String, nullable=False),
    Column("field_code", String, nullable=False),
    Column("message", String, nullable=False),
    *job_columns(),
    Index("reports_of_card", "card_no", "sequence"),
    Index("reports_of_period", "taxpayer_id", "period"),
    Index("reports_in_line", "taxpayer_id", "ready_at"),
    Index("reports_ready", "ready_at"),
)
job_indexes(_reports)
REPORTS: Final = _reports
"""The rows that workers claim."""
_workers = Table(
    "workers",
    _metadata,
    Column("name", String, primary_key=True),
    Column("threads", Integer, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("judged", BigInteger, nullable=False),
    Column("busy_seconds", Float, nullable=False),
    Column("pace", Float, nullable=False),
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


# What is asked for every report, put together once: that takes longer than asking.
_OF: Final = bindparam("of", type_=String)
_REPORT: Final = select(_reports).where(_reports.c.digest == _OF)
_STATION_KEY: Final = select(_station_keys).where(_station_keys.c.fingerprint == _OF)
_ENROLLED: Final = (
    select(_station_keys)
    .where(_station_keys.c.taxpayer_id == _OF, _station_keys.c.enrolled_at.is_not(None))
    .order_by(_station_keys.c.enrolled_at, _station_keys.c.fingerprint)
)
_CARD: Final = select(_cards).where(_cards.c.card_no == _OF)
_ARRIVAL: Final = (_reports.c.received_at, _reports.c.receipt_no)
_OF_CARD: Final = select(_reports).where(_reports.c.card_no == _OF).order_by(*_ARRIVAL)
_MONTH: Final = bindparam("in_month", type_=String)
_OF_PERIOD: Final = (
    select(_reports).where(_reports.c.taxpayer_id == _OF, _reports.c.period == _MONTH).order_by(*_ARRIVAL)
)
_PLACE: Final = (_reports.c.digest, _reports.c.ready_at, _reports.c.due_at, _reports.c.lease_until)
_IN_LINE: Final = (_reports.c.taxpayer_id == _OF, _reports.c.ready_at.is_not(None))
_LINE: Final = select(*_PLACE).where(*_IN_LINE).order_by(_reports.c.ready_at, _reports.c.receipt_no).limit(2)
_CALLED: Final = select(*_PLACE).where(*_IN_LINE, _reports.c.due_at.is_not(None)).limit(2)
_CALL: Final = update(_reports).where(_reports.c.digest == _OF).values(due_at=bindparam("at", type_=Float), step=JUDGE)
_COUNT: Final = (
    update(_counters).where(_counters.c.name == _OF).values(value=_counters.c.value + 1).returning(_counters.c.value)
)
_DECLARATION: Final = (
    select(_declarations)
    .where(_declarations.c.taxpayer_id == _OF, _declarations.c.period == _MONTH)
    .order_by(_declarations.c.version.desc())
    .limit(1)
)

_NEW_REPORT: Final = insert(_reports)
_NEW_RESULT: Final = insert(_results)
_NEW_EVENT: Final = insert(_events)
_THIS: Final = update(_reports).where(_reports.c.digest == _OF)
_MOVE: Final = _THIS.values(
    state=bindparam("new_state"), ready_at=bindparam("ready", type_=Float), due_at=None, round=bindparam("new_round")
)
_KEEP: Final = _THIS.values(counted=bindparam("counts"), examination=bindparam("found", type_=String))
_NEWEST: Final = _THIS.values(
    result_no=bindparam("new_no"),
    code=bindparam("new_code"),
    field_code=bindparam("new_field_code"),
    message=bindparam("new_message"),
)
_NEW_DAYS: Final = (
    update(_cards)
    .where(_cards.c.card_no == _OF)
    .values(lock_date=bindparam("locked"), next_period_start=bindparam("next"), upload_deadline=bindparam("deadline"))
)
_CARDS: Final = (
    select(_cards).where(_cards.c.withdrawn_at.is_(None)).order_by(_cards.c.taxpayer_id, _cards.c.machine_no)
)
_CARDS_OF: Final = _CARDS.where(_cards.c.taxpayer_id == _OF)
_RESULTS: Final = select(_results).where(_results.c.digest == _OF).order_by(_results.c.result_no)


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
        due_at: From when on it may be judged (POSIX seconds), while it waits for that; its turn may come later.
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
class Line:
    """The queue before the judges.

    Attributes:
        ready: How many reports may be judged now.
        taxpayers: Whose reports those are, at most one of each counted: how many are served before everybody had a turn.
        waiting: How many reports are not to be judged yet.
    """

    ready: int = 0
    taxpayers: int = 0
    waiting: int = 0


@dataclass(frozen=True)
class Worker:
    """What a judging process says of itself every few seconds.

    Attributes:
        name: Its name.
        threads: How many reports it judges at once.
        started_at: POSIX seconds.
        seen_at: The last word from it.
        judged: How many reports it has judged.
        busy_seconds: How long its threads have judged in all.
        pace: Judgements per second, of late and while there was work; 0 if it has not judged any.
    """

    name: str
    threads: int
    started_at: float
    seen_at: float
    judged: int = 0
    busy_seconds: float = 0.0
    pace: float = 0.0


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
        self._server = connection.dialect.name != "sqlite"

    def hold(self, *names: str) -> None:
        """Be the only one to change what is named so, until this transaction ends: a taxpayer, a report's digest.

        To be asked before anything is read that the transaction relies on. A digest comes before a taxpayer, or two
        transactions may wait for each other.
        """
        if self._server:  # SQLite has one writer at a time
            for name in names:
                self._c.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, _HOLDING))))

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
        insert_or_update(self._c, _settings, {"name": name, "value": value})

    def next_number(self, name: str) -> int:
        """Return the next number of a row of numbers that starts at 1 and has no gaps but those of failures."""
        number = self._c.execute(_COUNT, {"of": name}).scalar_one_or_none()
        if number is None and insert_new(self._c, _counters, {"name": name, "value": 1}):
            return 1
        return int(self._c.execute(_COUNT, {"of": name}).scalar_one() if number is None else number)

    def next_receipt(self) -> int:
        """Return the next number of a receipt. Several processes take them at once, so a failure leaves a gap."""
        if not self._server:
            return self.next_number("receipt")
        # A counter's row would have to be kept until the commit, and all uploads would stand behind it.
        return int(self._c.exec_driver_sql("SELECT nextval('receipt_numbers')").scalar_one())

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
        found = self._c.execute(_STATION_KEY, {"of": fingerprint}).mappings().one_or_none()
        return _station_key(found) if found is not None else None

    def enrolled_keys(self, taxpayer_id: str) -> tuple[StationKey, ...]:
        """Return the keys on file for a taxpayer."""
        return tuple(_station_key(row) for row in self._c.execute(_ENROLLED, {"of": taxpayer_id}).mappings())

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
        row = self._c.execute(_CARD, {"of": card_no}).mappings().one_or_none()
        return _card(row) if row is not None else None

    def cards(self, taxpayer_id: str | None = None) -> tuple[Card, ...]:
        """Return the cards in use, of one taxpayer or of all."""
        found = self._c.execute(_CARDS) if taxpayer_id is None else self._c.execute(_CARDS_OF, {"of": taxpayer_id})
        return tuple(_card(row) for row in found.mappings())

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
            _NEW_DAYS,
            {
                "of": card_no,
                "locked": days.lock_date.isoformat(),
                "next": days.next_period_start.isoformat(),
                "deadline": days.upload_deadline.isoformat(),
            },
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
        row = self._c.execute(_REPORT, {"of": digest}).mappings().one_or_none()
        return _report(row) if row is not None else None

    def reports_of_card(self, card_no: str) -> tuple[Report, ...]:
        """Return all reports that name a card, in the order of their arrival."""
        return tuple(_report(row) for row in self._c.execute(_OF_CARD, {"of": card_no}).mappings())

    def reports_of_period(self, taxpayer_id: str, period: str) -> tuple[Report, ...]:
        """Return a taxpayer's reports of a month, in the order of their arrival."""
        found = self._c.execute(_OF_PERIOD, {"of": taxpayer_id, "in_month": period})
        return tuple(_report(row) for row in found.mappings())

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

    def in_line(self, now: float) -> Line:
        """Return how long the queue is."""
        due = select(func.count()).select_from(_reports)
        query = select(
            due.where(_reports.c.ready_at <= now).scalar_subquery(),
            due.where(_reports.c.due_at <= now).scalar_subquery(),
            due.where(_reports.c.ready_at > now).scalar_subquery(),
        )
        return Line(*(int(number) for number in self._c.execute(query).one()))

    def in_line_of(self, taxpayer_id: str, ready_at: float) -> int:
        """Return how many reports of a taxpayer were ready to be judged by then, and still wait."""
        c = _reports.c
        query = select(func.count()).select_from(_reports)
        return int(self._c.execute(query.where(c.taxpayer_id == taxpayer_id, c.ready_at <= ready_at)).scalar_one())

    def line_up(self, taxpayer_id: str, now: float) -> None:
        """See that exactly one of a taxpayer's waiting reports is due, the one that has waited longest.

        To be asked at the end of whatever put a report into the line or took one out. One that becomes due because its
        predecessor left goes behind all that are due already: so the taxpayers take turns.
        """
        first, *others = self._c.execute(_LINE, {"of": taxpayer_id}).all() or (None,)
        if first is None:
            return
        called = [row for row in (first, *others) if row.due_at is not None]
        if others:  # the one whose turn it is may stand anywhere in a line of more than one
            called = list(self._c.execute(_CALLED, {"of": taxpayer_id}).all())
        if len(called) == 1 and (called[0].lease_until is not None or called[0].ready_at <= max(first.ready_at, now)):
            return
        for other in called:
            if other.digest != first.digest:
                self._c.execute(_CALL, {"of": other.digest, "at": None})
        if first.due_at is None:
            self._c.execute(_CALL, {"of": first.digest, "at": max(first.ready_at, now)})

    def claim(self, worker: str, now: float | None, lease_seconds: float) -> Claim | None:
        """Take the report whose turn it is, for a while."""
        found = rows.claim(
            self._c, _reports, worker, lease_seconds=lease_seconds, now=now, steps=(JUDGE,), in_order=False
        )
        return found[0] if found else None

    def give_back(self, claim: Claim) -> bool:
        """Give a claimed report back; False if another worker has it: then the caller has nothing to say about it."""
        return rows.settle(self._c, claim, {"due_at": _reports.c.due_at})

    def let_go(self, worker: str | None = None) -> int:
        """End the leases of a worker that is certainly dead, or of all."""
        return rows.let_go(self._c, _reports, worker)

    def leasing(self) -> tuple[str, ...]:
        """Return the workers that have reports in hand."""
        query = select(_reports.c.worker).where(_reports.c.lease_until.is_not(None)).distinct()
        return tuple(self._c.execute(query).scalars())

    def keep_worker(self, worker: Worker) -> None:
        """Keep what a judging process says of itself."""
        insert_or_update(self._c, _workers, dict(vars(worker)))

    def fold_workers(self, before: float) -> None:
        """Add up what processes did that ended before then, so that the totals stay and the rows do not pile up."""
        old = _workers.c.seen_at < before
        found = self._c.execute(select(_workers).where(old)).mappings().all()
        if len(found) < 2:
            return
        self._c.execute(delete(_workers).where(old))
        total = Worker(
            name="past",
            threads=0,
            started_at=0.0,
            seen_at=0.0,
            judged=sum(row["judged"] for row in found),
            busy_seconds=sum(row["busy_seconds"] for row in found),
        )
        self.keep_worker(total)

    def workers(self, since: float = 0.0) -> tuple[Worker, ...]:
        """Return the judging processes that were heard of since then."""
        query = select(_workers).where(_workers.c.seen_at >= since).order_by(_workers.c.name)
        return tuple(Worker(**row) for row in self._c.execute(query).mappings())

    def counts_by_state(self) -> dict[str, int]:
        """Return how many reports are in each state."""
        query = select(_reports.c.state, func.count()).group_by(_reports.c.state)
        return {str(state): int(count) for state, count in self._c.execute(query)}

    def add_report(self, report: Report) -> None:
        """Take a report."""
        header = report.header
        self._c.execute(
            _NEW_REPORT,
            {
                "digest": report.digest,
                "taxpayer_id": header.taxpayer_id,
                "machine_no": header.machine_no,
                "stamp": header.stamp,
                "kind": header.kind,
                "period": header.period,
                "card_no": header.card_no,
                "sequence": header.sequence,
                "header": render_row(header),
                "signer": report.signer,
                "signed_on": report.signed_on.isoformat(),
                "size_bytes": report.size_bytes,
                "file_sha256": report.file_sha256,
                "received_at": report.received_at,
                "uploaded_by": report.uploaded_by,
                "receipt_no": report.receipt_no,
                "ask_after": report.ask_after,
                "receipt": report.receipt,
                "state": report.state.value,
                "ready_at": report.due_at,
                "step": JUDGE,
                "round": report.round,
                "counted": report.counted,
                "code": "",
                "field_code": "",
                "message": "",
            },
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
        # Whose turn it is, `line_up` says.
        moving = {"of": report.digest, "new_state": moved.state.value, "ready": moved.due_at, "new_round": moved.round}
        self._c.execute(_MOVE, moving)
        return moved

    def postpone(self, digest: str, due_at: float) -> None:
        """Let a report that could not be looked at wait."""
        self._c.execute(update(_reports).where(_reports.c.digest == digest).values(ready_at=due_at, due_at=None))

    def keep_judgement(self, digest: str, *, counted: bool, examination: Examination | None) -> None:
        """Keep what a judgement found out about the file."""
        found = _examination_text(examination) if examination is not None else None
        self._c.execute(_KEEP, {"of": digest, "counts": counted, "found": found})

    def add_result(self, result: StoredResult) -> None:
        """Keep a signed result; it becomes its report's newest."""
        self._c.execute(
            _NEW_RESULT,
            {
                "card_no": result.card_no,
                "result_no": result.result_no,
                "digest": result.digest,
                "outcome": result.outcome,
                "code": result.code,
                "field_code": result.field_code,
                "message": result.message,
                "decided_at": result.decided_at,
                "by_hand": result.by_hand,
                "body_sha256": result.body_sha256,
                "text": result.text,
            },
        )
        self._c.execute(
            _NEWEST,
            {
                "of": result.digest,
                "new_no": result.result_no,
                "new_code": result.code,
                "new_field_code": result.field_code,
                "new_message": result.message,
            },
        )

    def results(self, digest: str) -> tuple[StoredResult, ...]:
        """Return all results of a report, the newest last."""
        return tuple(_result(row) for row in self._c.execute(_RESULTS, {"of": digest}).mappings())

    def add_event(self, digest: str, at: datetime, what: str, detail: str = "") -> None:
        """Write a line of a report's life."""
        self._c.execute(_NEW_EVENT, {"digest": digest, "at": format_time(at), "what": what, "detail": detail})

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
        row = self._c.execute(_DECLARATION, {"of": taxpayer_id, "in_month": period}).mappings().one_or_none()
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
        self.hold("audit")
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


class Store:
    """The open memory."""

    def __init__(self, where: Path | str) -> None:
        """Open a SQLite file, making it if it is not there, or the PostgreSQL database of that URL.

        An older release's is brought up to date.

        Raises:
            StoreDamaged: It was made by a newer release.
            StoreUnreachable: There is no server, or it lets nobody in.
            ConfigurationError: The database is not fit.
        """
        self._database = open_database(where, name="tax-bureau", connections=_CONNECTIONS)
        if self._database.is_server:
            _end_stopped_transactions(self._database)
        try:
            migrate(self._database, _MIGRATIONS)
            if self._database.is_server:
                self._nonces: _NonceTable | _NonceFile = _NonceTable(self._database)
            else:
                assert self._database.engine.url.database is not None
                path = Path(self._database.engine.url.database)
                self._nonces = _NonceFile(path.with_name(f"{path.stem}-nonces.db"))
        except BaseException:
            self._database.close()
            raise

    @property
    def database(self) -> Database:
        """The database, for those who claim jobs."""
        return self._database

    @property
    def _engine(self) -> Engine:
        return self._database.engine

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Begin a transaction that may change things; durable when the `with` ends, undone if it raises."""
        with self._database.writing() as connection:
            yield Transaction(connection)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Begin a transaction that sees one state and changes nothing."""
        with self._database.reading() as connection:
            yield Transaction(connection)

    def remember_nonce(self, keyid: str, nonce: str, *, now: float, expires_at: float) -> bool:
        """Keep a request's nonce; return False if it was used before.

        It survives the end of this process, however it ends, but perhaps not a power cut in the same second: to wait
        for the disk at every question would cost more than all the rest of it, and a repeated request changes nothing
        that the first one did not.
        """
        return self._nonces.remember(keyid, nonce, now=now, expires_at=expires_at)

    def close(self) -> None:
        """Close it."""
        self._nonces.close()
        self._database.close()


def _end_stopped_transactions(database: Database) -> None:
    """Have the server end a transaction whose process was stopped in the middle: it keeps what it holds from the others."""

    @event.listens_for(database.engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        connection.execute(f"SET idle_in_transaction_session_timeout = '{_STOPPED_SECONDS}s'")
        connection.commit()

    database.engine.dispose()  # those that are open already


class _NonceTable:
    """Nonces that all processes of the bureau share."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._swept = 0.0

    def remember(self, keyid: str, nonce: str, *, now: float, expires_at: float) -> bool:
        with self._database.writing() as connection:
            connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            if abs(now - self._swept) > _NONCE_SWEEP_SECONDS:
                self._swept = now
                connection.execute(delete(_nonces).where(_nonces.c.expires_at < now))
            return insert_new(connection, _nonces, {"keyid": keyid, "nonce": nonce, "expires_at": expires_at})

    def close(self) -> None:
        """Nothing is open."""


class _NonceFile:
    """Nonces in a file of their own, which is not synced at every commit."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._guard = threading.Lock()
        self._swept = 0.0
        self._db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS nonces (keyid TEXT, nonce TEXT, expires_at REAL, PRIMARY KEY (keyid, nonce)) "
            "WITHOUT ROWID"
        )
        self._db.execute("CREATE INDEX IF NOT EXISTS nonces_expire ON nonces (expires_at)")

    def remember(self, keyid: str, nonce: str, *, now: float, expires_at: float) -> bool:
        with self._guard:
            if abs(now - self._swept) > _NONCE_SWEEP_SECONDS:
                self._swept = now
                self._db.execute("DELETE FROM nonces WHERE expires_at < ?", (now,))
            added = self._db.execute("INSERT OR IGNORE INTO nonces VALUES (?, ?, ?)", (keyid, nonce, expires_at))
            return added.rowcount == 1

    def close(self) -> None:
        with self._guard:
            self._db.close()


_HOLDING: Final = 7_203_918_447
"""Seed of the advisory locks of `hold`: other programs in the same database have others."""


def _first_schema(connection: Connection) -> None:
    """Make everything, or see that a bureau of the first release is there and needs nothing but the next step."""
    if connection.dialect.name == "sqlite" and _table_exists(connection, "settings"):
        version = Transaction(connection).setting("schema_version")
        if version != "1":
            raise StoreDamaged(reason=f"schema {version}, expected 1")
    _metadata.create_all(connection)
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql("CREATE SEQUENCE IF NOT EXISTS receipt_numbers")


def _reports_are_jobs(connection: Connection) -> None:
    """Let the row of a report be its job: what was due stays due, and each taxpayer's reports stand in a line."""
    _metadata.create_all(connection)
    connection.exec_driver_sql("DROP INDEX IF EXISTS reports_due")
    before = {column["name"] for column in inspect(connection).get_columns("reports")}
    add_missing(connection, _reports)
    if "ready_at" in before:
        return
    c = _reports.c
    stored = c.state == BureauState.STORED.value
    connection.execute(update(_reports).where(stored).values(ready_at=func.coalesce(c.due_at, 0.0), step=JUDGE))
    connection.execute(update(_reports).values(due_at=None))
    tx = Transaction(connection)
    for taxpayer_id in connection.execute(select(c.taxpayer_id).where(stored).distinct()).scalars().all():
        tx.line_up(taxpayer_id, 0.0)


def _table_exists(connection: Connection, name: str) -> bool:
    return inspect(connection).has_table(name)


def _people_are_on_record(connection: Connection) -> None:
    """Have the record of what people did."""
    _metadata.create_all(connection)


_MIGRATIONS: Final = (_first_schema, _reports_are_jobs, _people_are_on_record)


def claimed(claim: Claim) -> Report:
    """Return a report as it was when it was claimed."""
    return _report(claim.row._mapping)  # noqa: SLF001  SQLAlchemy's public name for it


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


@lru_cache(maxsize=1024)
def _header(data: bytes) -> PublicHeader:
    """Return a stored header; a report is looked at several times when it is taken and judged."""
    return parse_public_header(data)


def _report(row: RowMapping) -> Report:
    return Report(
        digest=row["digest"],
        header=_header(row["header"]),
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
        due_at=row["ready_at"],
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
