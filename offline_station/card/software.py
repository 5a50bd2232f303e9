"""The software card: one SQLite file that behaves like the real device.

Every operation is one transaction, `synchronous=EXTRA`, in rollback-journal mode: the file alone is the card, and
after a power cut an operation has happened wholly or not at all (CARD-2). Nothing outside decides: the program hands
in figures, a time and results, and the card answers.

The private key lies in the file, readable by its owner only. That is the price of software; a real card keeps it
inside, behind the same port.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final, cast

from offline_station.card.port import CardReading, ClearRecord, Verdict
from offline_station.core.card_rules import (
    HALL,
    CardFacts,
    CopyPlan,
    CopyRecord,
    Judgement,
    SeenResult,
    check_batch,
    is_locked,
    judge_result,
    plan_copy,
    state_of,
    trusted_now,
)
from offline_station.core.figures import (
    FIGURE_FIELDS,
    WHOLE_KIND,
    Figures,
    Stock,
    Totals,
    add_totals,
    stock_over,
    summarise,
)
from offline_station.core.next_action import after_failure
from offline_station.ledger.figures import IssuedBatch
from shared.clock import format_time, parse_time
from shared.durable import is_damage, publish, temporary_beside
from shared.envelope.textsign import sign_text
from shared.errors import CardDamaged, CardFileInvalid, ConfigurationError, NoSuccess, NotCopied, WrongState
from shared.ids import MachineNo, Nonce, ReportDigest, ReportKind, ReportName, Stamp, TaxpayerId
from shared.keys.file import SoftSigner
from shared.model.ack import Ack, render_ack
from shared.model.report import KindSummary, RateSummary, parse_row, render_row
from shared.model.result import ProvenResult, Result, prove_result
from shared.model.taxcard import TaxCard, parse_taxcard, render_taxcard
from shared.model.trust import TrustFile, open_issued_trust, parse_trust_body, prove_trust, render_trust_body
from shared.states import CARD, CardEvent, CardState, advance
from shared.text import Text

SCHEMA_VERSION: Final = 1
_APPLICATION_ID: Final = 0x54584644  # "TXFD"
_SCHEMA: Final = f"""
CREATE TABLE card (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    issued BLOB NOT NULL,              -- the card's file as issued: identity, key, certificate, first stock
    trust BLOB NOT NULL,
    trust_body BLOB NOT NULL,          -- what of it was proven when it was taken: that stays in force
    lock_date TEXT NOT NULL,
    open_from TEXT NOT NULL,
    last_sequence INTEGER NOT NULL DEFAULT 0,
    last_result_no INTEGER NOT NULL DEFAULT 0,
    last_applied_sha256 TEXT NOT NULL DEFAULT '',
    last_cleared_nonce TEXT,
    clock_floor TEXT,
    next_period_start TEXT,
    upload_deadline TEXT,
    offline_hours INTEGER,
    offline_limits TEXT NOT NULL
);
CREATE TABLE counted (
    month TEXT NOT NULL, kind TEXT NOT NULL, rate TEXT NOT NULL, {", ".join(f"{f} INTEGER NOT NULL" for f in FIGURE_FIELDS)},
    PRIMARY KEY (month, kind, rate)
) WITHOUT ROWID;
CREATE TABLE covered (
    nonce TEXT NOT NULL, month TEXT NOT NULL, kind TEXT NOT NULL, rate TEXT NOT NULL, {", ".join(f"{f} INTEGER NOT NULL" for f in FIGURE_FIELDS)},
    PRIMARY KEY (nonce, month, kind, rate)
) WITHOUT ROWID;
CREATE TABLE batches (batch_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE copies (
    sequence INTEGER PRIMARY KEY,
    nonce TEXT NOT NULL UNIQUE,
    stamp TEXT NOT NULL,
    period_start TEXT NOT NULL,
    period_end TEXT NOT NULL,
    copied_at TEXT NOT NULL,
    summary_rows BLOB NOT NULL,
    report_digest TEXT,
    success TEXT,
    failure TEXT,
    cleared_at TEXT,
    lock_date_after TEXT,
    ack BLOB,
    superseded_by TEXT
);
-- The card holds at most one uncleared copy (CARD-5); the database itself will not hold two.
CREATE UNIQUE INDEX one_open_copy ON copies ((1)) WHERE cleared_at IS NULL AND superseded_by IS NULL;
"""
# Statements put together from constant names only; every value is bound.
_NAMES: Final = ", ".join(FIGURE_FIELDS)
_MARKS: Final = ", ".join("?" for _ in FIGURE_FIELDS)
_COUNT: Final = f"INSERT OR REPLACE INTO counted VALUES (?, ?, ?, {_MARKS})"  # noqa: S608
_COVER: Final = f"INSERT INTO covered VALUES (?, ?, ?, ?, {_MARKS})"  # noqa: S608
_COUNTED: Final = f"SELECT month, kind, rate, {_NAMES} FROM counted"  # noqa: S608
_COVERED: Final = f"SELECT month, kind, rate, {_NAMES} FROM covered WHERE nonce = ?"  # noqa: S608


def create_card_file(path: Path, card: TaxCard, now: datetime) -> None:
    """Make the software card's file from an issued card: there is no moment at which half a card has its name.

    Raises:
        ConfigurationError: Something is there already. It was not touched.
        TrustFileInvalid: The card's trust file does not hold, like the following. Nothing was made.
        TrustError: It is not acceptable.
    """
    if path.exists():
        raise ConfigurationError(reason=Text(f"{path} 已经存在", f"{path} exists already"))
    trust = open_issued_trust(card.trust.encode(), at=now)
    temporary = temporary_beside(path)
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(sqlite3.connect(temporary, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = DELETE")
            db.execute("PRAGMA synchronous = OFF")  # nobody knows this file until it is synced and published below
            db.executescript("BEGIN;" + _SCHEMA + "COMMIT;")
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            db.execute(
                "INSERT INTO card (id, issued, trust, trust_body, lock_date, open_from, offline_hours, offline_limits)"
                " VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
                (
                    render_taxcard(card),
                    card.trust.encode(),
                    render_trust_body(trust),
                    card.lock_date.isoformat(),
                    _first_open_day(card.last_copied).isoformat(),
                    card.offline_hours,
                    json.dumps(card.offline_limits, sort_keys=True),
                ),
            )
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _first_open_day(last_copied: date) -> date:
    """Return the first day of the month that is not wholly copied yet."""
    return (last_copied + timedelta(days=1)).replace(day=1)


class SoftwareCard:
    """A `CardDriver` on one SQLite file."""

    def __init__(self, path: Path, connection: type[sqlite3.Connection] = sqlite3.Connection) -> None:
        """Open the card.

        Args:
            path: The file that `create_card_file` made.
            connection: The kind of connection; tests let it fail on purpose.

        Raises:
            CardDamaged: The file is not a card of this version, or damaged. It was not touched.
        """
        self.path = path
        self._db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=10, factory=connection
        )
        try:
            self._db.execute("PRAGMA trusted_schema = OFF")
            self._db.execute("PRAGMA synchronous = EXTRA")
            application = self._db.execute("PRAGMA application_id").fetchone()[0]
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            row = None
            if (application, version) == (_APPLICATION_ID, SCHEMA_VERSION):
                row = self._db.execute("SELECT issued FROM card").fetchone()
            if row is None:
                raise CardDamaged(reason=f"{path.name}: {application:#x}/{version}")
            self._issued = parse_taxcard(row[0])
        except CardFileInvalid as error:
            self._db.close()
            raise CardDamaged(reason=error.text) from None
        except sqlite3.DatabaseError as error:
            self._db.close()
            if not is_damage(error):
                raise
            raise CardDamaged(reason=f"{path.name}: {error}") from None
        except BaseException:
            self._db.close()
            raise
        self._trust: tuple[bytes, TrustFile] | None = None

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @property
    def issued(self) -> TaxCard:
        """The card as it was issued."""
        return self._issued

    # Reading

    def read(self, now: datetime) -> CardReading:
        """Return the card's state."""
        with self._reading():
            facts = self._facts()
            row = self._db.execute(
                "SELECT next_period_start, upload_deadline, offline_hours, offline_limits FROM card"
            ).fetchone()
            copied = self._db.execute("SELECT copied_at FROM copies ORDER BY sequence DESC LIMIT 1").fetchone()
            cleared = self._db.execute("SELECT max(cleared_at) FROM copies").fetchone()
        at = trusted_now(now, facts.clock_floor)
        return CardReading(
            facts=facts,
            at=at,
            state=state_of(facts, at),
            locked=is_locked(facts, at),
            days_left=(facts.lock_date - at.date()).days,
            taxpayer_name=self._issued.taxpayer_name,
            sub_machines=self._issued.sub_machines,
            last_copied_at=parse_time(copied[0]) if copied else None,
            last_cleared_at=parse_time(cleared[0]) if cleared[0] else None,
            next_period_start=_day(row[0]),
            upload_deadline=_day(row[1]),
            offline_hours=row[2],
            offline_limits=json.loads(row[3]),
            trust_version=self._trust_in_force().version,
            stock={kind: stock.closing for kind, stock in self._stock(facts.totals, {}).items()},
        )

    def signer(self) -> SoftSigner:
        """Return the card's key."""
        return self._issued.signer()

    def open_copy(self) -> CopyRecord | None:
        """Return the one copy that can still clear the card."""
        return self._copy_where("cleared_at IS NULL AND superseded_by IS NULL")

    def history(self) -> Sequence[CopyRecord]:
        """Return all copies, the oldest first."""
        return [self._copy(row) for row in self._db.execute(f"{_SELECT_COPY} ORDER BY sequence")]

    def knows_batch(self, batch_id: str) -> bool:
        """Return whether a batch was counted."""
        return self._db.execute("SELECT 1 FROM batches WHERE batch_id = ?", (batch_id,)).fetchone() is not None

    def acknowledgement(self, nonce: Nonce) -> bytes | None:
        """Return the clear receipt of a copy, or None if it was not cleared."""
        row = self._db.execute("SELECT ack FROM copies WHERE nonce = ?", (nonce,)).fetchone()
        return cast("bytes | None", row[0]) if row else None

    def trust_file(self) -> bytes:
        """Return the trust file in force."""
        return cast("bytes", self._db.execute("SELECT trust FROM card").fetchone()[0])

    # Changing: one transaction each

    def record_issued(self, batch: IssuedBatch) -> None:
        """Count issued invoices; a batch that is known counts once only.

        Raises:
            PeriodClosed: It touches what was copied. Nothing was counted.
        """
        months = {month: add_totals(*(d.totals for d in deltas)) for month, deltas in batch.months.items()}
        with self._changing():
            if self.knows_batch(batch.batch_id):
                return
            facts = self._facts()
            open_covers = self._covers(facts.open_copy.nonce) if facts.open_copy else {}
            check_batch(facts, months, open_covers)
            self._db.execute("INSERT INTO batches (batch_id) VALUES (?)", (batch.batch_id,))
            for month, totals in months.items():
                for (kind, rate), figures in add_totals(facts.totals.get(month, {}), totals).items():
                    self._db.execute(
                        _COUNT,
                        (month, kind, rate, *figures.numbers),
                    )

    def copy(self, now: datetime, *, kind: ReportKind, again: bool = False) -> CopyRecord:
        """Freeze the figures (抄税) under a new nonce and sequence.

        Raises:
            Locked: The lock date has passed.
            WrongState: One of its kinds. Nothing changed.
        """
        with self._changing():
            facts = self._facts()
            plan = plan_copy(facts, now, kind=kind, again=again)
            at = trusted_now(now, facts.clock_floor)
            advance(CARD, state_of(facts, at), CardEvent.COPY)
            summaries, rates = self._summarise(facts, plan)
            nonce = Nonce(secrets.token_hex(16))
            sequence = self._db.execute("SELECT last_sequence FROM card").fetchone()[0] + 1
            if plan.supersedes is not None:
                self._db.execute("UPDATE copies SET superseded_by = ? WHERE nonce = ?", (nonce, plan.supersedes.nonce))
            self._db.execute(
                "INSERT INTO copies (sequence, nonce, stamp, period_start, period_end, copied_at, summary_rows)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    sequence,
                    nonce,
                    str(plan.stamp),
                    plan.period_start.isoformat(),
                    plan.period_end.isoformat(),
                    format_time(at),
                    b"\n".join(render_row(row) for row in (*summaries, *rates)),
                ),
            )
            self._db.executemany(
                _COVER,
                [
                    (nonce, month, k, rate, *figures.numbers)
                    for month, totals in plan.covers.items()
                    for (k, rate), figures in totals.items()
                ],
            )
            self._db.execute("UPDATE card SET last_sequence = ?, open_from = ?", (sequence, plan.open_from.isoformat()))
        made = self.open_copy()
        assert made is not None
        return made

    def bind_report(self, nonce: Nonce, report_digest: ReportDigest) -> None:
        """Tell the card which sealed report its open copy waits to hear of.

        Raises:
            WrongState: The copy is not open, or has its success already.
        """
        with self._changing():
            copy = self.open_copy()
            if copy is None or copy.nonce != nonce:
                raise WrongState(
                    reason=Text("该次抄税已经清卡或被取代", "that copy was cleared or superseded"),
                    next_action=Text("执行 status 查看现在的状态", "see status for the present state"),
                )
            if copy.report_digest == report_digest:
                return
            if copy.success is not None:
                raise WrongState(
                    reason=Text("该次抄税已报税成功", "that copy has succeeded already"),
                    next_action=Text("在开票机执行 clear 清卡", "run clear on the invoicing PC"),
                )
            self._db.execute(
                "UPDATE copies SET report_digest = ?, failure = NULL WHERE nonce = ?", (report_digest, nonce)
            )

    def examine(self, result_data: bytes, now: datetime) -> Verdict:
        """Prove a result and match it; take notice of its number, and remember a success.

        Raises:
            ResultInvalid: Not a result. The card is untouched after this and the following.
            StillProcessing: The file says only that the bureau is not done.
            SignatureRefused: Not signed in the role of a bureau's result.
            CertificateRefused: Its certificate does not chain to this card's trust.
            OtherReport: One of its kinds: the result is not for this copy.
            Outdated: A number that is not higher than the last seen.
        """
        floor = self._clock_floor()
        proven = prove_result(result_data, self._trust_in_force().store(), at=trusted_now(now, floor))
        with self._changing():
            facts = self._facts()
            judgement = judge_result(facts, proven.result, proven.body_sha256)
            if judgement.effect in ("remembered", "consumed"):
                self._take_notice(facts, judgement, proven, trusted_now(now, facts.clock_floor))
        copy = self._copy_where("nonce = ?", judgement.copy.nonce)
        assert copy is not None
        return Verdict(proven.result, proven.body_sha256, copy, judgement.effect, proven.warnings)

    def _take_notice(self, facts: CardFacts, judgement: Judgement, proven: ProvenResult, at: datetime) -> None:
        result = proven.result
        if judgement.effect == "remembered":
            advance(CARD, state_of(facts, at), CardEvent.SUCCESS_PROVEN)
        seen = (_dump_seen(_seen(result, proven.body_sha256)), judgement.copy.nonce)
        if judgement.effect == "remembered":
            self._db.execute("UPDATE copies SET success = ? WHERE nonce = ?", seen)
        else:
            self._db.execute("UPDATE copies SET failure = ? WHERE nonce = ?", seen)
        # Proven bureau time only ever moves forward: it is the floor under this PC's clock.
        self._db.execute(
            "UPDATE card SET last_result_no = ?, clock_floor = max(coalesce(clock_floor, ''), ?)",
            (result.result_no, format_time(result.bureau_time)),
        )

    def clear(self, now: datetime) -> ClearRecord:
        """Clear the card with the success it remembers (清卡); when it is cleared already, return that clearing.

        Raises:
            NoSuccess: No proven success of the open copy is here.
            NotCopied: Nothing was ever copied, or the period waits to be copied.
        """
        with self._changing():
            facts = self._facts()
            at = trusted_now(now, facts.clock_floor)
            copy = facts.open_copy
            if copy is None:
                return self._cleared_before(facts, at)
            success = copy.success
            if success is None:
                raise NoSuccess(reason=_no_success(copy), next_action=_towards_success(copy))
            advance(CARD, CardState.TO_CLEAR, CardEvent.CLEAR)
            # An ad hoc clear takes the new limits and moves no lock date (CARD-10).
            moves = copy.kind == "period" and success.lock_date is not None
            lock_date = success.lock_date if moves and success.lock_date is not None else facts.lock_date
            ack = self._sign_ack(copy, success, at, lock_date)
            self._db.execute(
                "UPDATE copies SET cleared_at = ?, lock_date_after = ?, ack = ? WHERE nonce = ?",
                (format_time(at), lock_date.isoformat(), ack, copy.nonce),
            )
            self._db.execute(
                "UPDATE card SET lock_date = ?, last_applied_sha256 = ?, last_cleared_nonce = ?,"
                " next_period_start = coalesce(?, next_period_start), upload_deadline = coalesce(?, upload_deadline),"
                " offline_hours = coalesce(?, offline_hours), offline_limits = CASE WHEN ? THEN ? ELSE offline_limits END",
                (
                    lock_date.isoformat(),
                    success.body_sha256,
                    copy.nonce,
                    _iso(success.next_period_start) if moves else None,
                    _iso(success.upload_deadline),
                    success.offline_hours,
                    bool(success.offline_limits),
                    json.dumps(dict(success.offline_limits), sort_keys=True),
                ),
            )
        cleared = self._copy_where("nonce = ?", copy.nonce)
        assert cleared is not None
        return ClearRecord(cleared, lock_date, ack, already=False)

    def _cleared_before(self, facts: CardFacts, at: datetime) -> ClearRecord:
        last = facts.last_cleared
        if last is None or state_of(facts, at) is CardState.TO_COPY:
            raise NotCopied(
                reason=Text("还没有抄税，没有可清的报税", "nothing is copied, so there is nothing to clear"),
                next_action=HALL
                if is_locked(facts, at)
                else Text("先在开票机执行 copy 抄税", "run copy on the invoicing PC first"),
            )
        row = self._db.execute("SELECT lock_date_after, ack FROM copies WHERE nonce = ?", (last.nonce,)).fetchone()
        return ClearRecord(last, date.fromisoformat(row[0]), row[1], already=True)

    def _sign_ack(self, copy: CopyRecord, success: SeenResult, at: datetime, lock_date: date) -> bytes:
        assert copy.report_digest is not None
        body = render_ack(
            Ack(
                name=copy.name,
                card_no=copy.card_no,
                report_digest=copy.report_digest,
                result_no=success.result_no,
                result_sha256=success.body_sha256,
                cleared_at=at,
                lock_date=lock_date,
            )
        )
        return sign_text(body, self.signer(), signing_time=at)

    def update_trust(self, data: bytes, now: datetime) -> int:
        """Take a newer trust file; return its version. The one in force may come again.

        Raises:
            TrustFileInvalid: Not a trust file. The present one stays in force after this and the following.
            TrustRefused: Not signed as it must be, or older.
        """
        with self._changing():
            current = self._trust_in_force()
            if data == self.trust_file():
                return current.version
            newer = prove_trust(data, root=current, at=trusted_now(now, self._clock_floor()))
            self._db.execute("UPDATE card SET trust = ?, trust_body = ?", (data, render_trust_body(newer)))
        return newer.version

    # Inside

    @contextmanager
    def _changing(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # A failed COMMIT can leave the transaction open; what fails here, the next opening rolls back.
            with suppress(sqlite3.Error):
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _reading(self) -> Iterator[None]:
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")

    def _clock_floor(self) -> datetime | None:
        text = self._db.execute("SELECT clock_floor FROM card").fetchone()[0]
        return parse_time(text) if text else None

    def _trust_in_force(self) -> TrustFile:
        body = self._db.execute("SELECT trust_body FROM card").fetchone()[0]
        if self._trust is None or self._trust[0] != body:
            self._trust = (body, parse_trust_body(body))
        return self._trust[1]

    def trust_in_force(self) -> TrustFile:
        """Return what this card believes."""
        return self._trust_in_force()

    def _facts(self) -> CardFacts:
        row = self._db.execute(
            "SELECT lock_date, open_from, last_result_no, last_applied_sha256, last_cleared_nonce, clock_floor FROM card"
        ).fetchone()
        standing = self._db.execute(
            "SELECT stamp FROM copies WHERE superseded_by IS NULL ORDER BY sequence DESC LIMIT 1"
        ).fetchone()
        issued = self._issued
        return CardFacts(
            taxpayer_id=issued.taxpayer_id,
            machine_no=issued.machine_no,
            card_no=issued.card_no,
            lock_date=date.fromisoformat(row[0]),
            open_from=date.fromisoformat(row[1]),
            last_copy_day=Stamp(standing[0]).moment.date() if standing else issued.last_copied + timedelta(days=1),
            open_copy=self.open_copy(),
            last_cleared=self._copy_where("nonce = ?", row[4]) if row[4] else None,
            last_result_no=row[2],
            last_applied_sha256=row[3],
            clock_floor=parse_time(row[5]) if row[5] else None,
            totals=_by_month(self._db.execute(_COUNTED)),
            covered=self._covered_by_cleared(),
        )

    def _covered_by_cleared(self) -> dict[str, Totals]:
        """Add up what cleared copies covered; a period copy covers its month whole, ad hoc copies before it or not."""
        found: dict[str, Totals] = {}
        rows = self._db.execute(
            "SELECT nonce, stamp FROM copies WHERE cleared_at IS NOT NULL ORDER BY sequence"
        ).fetchall()
        for nonce, stamp in rows:
            for month, totals in self._covers(nonce).items():
                whole = Stamp(stamp).kind == "period"
                found[month] = totals if whole else add_totals(found.get(month, {}), totals)
        return found

    def _covers(self, nonce: str) -> dict[str, Totals]:
        return _by_month(self._db.execute(_COVERED, (nonce,)))

    def _stock(self, before: Mapping[str, Totals], period: Mapping[str, Totals]) -> dict[str, Stock]:
        used_before, used = _used(before), _used(period)
        return {
            kind: stock_over(self._issued.stock.get(kind, 0), used_before.get(kind, 0), used.get(kind, 0))
            for kind in {*self._issued.stock, *used_before, *used}
        }

    def _summarise(self, facts: CardFacts, plan: CopyPlan) -> tuple[tuple[KindSummary, ...], tuple[RateSummary, ...]]:
        if plan.stamp.kind == "period":
            before = {month: t for month, t in facts.totals.items() if month < min(plan.covers)}
        else:
            before = dict(facts.covered)
        return summarise(add_totals(*plan.covers.values()), self._stock(before, plan.covers))

    def _copy_where(self, condition: str, *values: str) -> CopyRecord | None:
        row = self._db.execute(f"{_SELECT_COPY} WHERE {condition}", values).fetchone()
        return self._copy(row) if row else None

    def _copy(self, row: tuple[object, ...]) -> CopyRecord:
        (sequence, nonce, stamp, start, end, copied_at, rows, digest, success, failure, cleared_at, superseded) = row
        parsed = [parse_row(line, number) for number, line in enumerate(cast("bytes", rows).splitlines(), start=1)]
        return CopyRecord(
            name=ReportName(
                TaxpayerId(self._issued.taxpayer_id), MachineNo(self._issued.machine_no), Stamp(cast("str", stamp))
            ),
            card_no=self._issued.card_no,
            period_start=date.fromisoformat(cast("str", start)),
            period_end=date.fromisoformat(cast("str", end)),
            nonce=Nonce(cast("str", nonce)),
            sequence=cast("int", sequence),
            copied_at=parse_time(cast("str", copied_at)),
            summaries=tuple(r for r in parsed if isinstance(r, KindSummary)),
            rates=tuple(r for r in parsed if isinstance(r, RateSummary)),
            report_digest=ReportDigest(cast("str", digest)) if digest else None,
            success=_load_seen(cast("str", success)) if success else None,
            failure=_load_seen(cast("str", failure)) if failure else None,
            cleared_at=parse_time(cast("str", cleared_at)) if cleared_at else None,
            superseded_by=Nonce(cast("str", superseded)) if superseded else None,
        )


_SELECT_COPY: Final = (
    "SELECT sequence, nonce, stamp, period_start, period_end, copied_at, summary_rows, report_digest, success, failure,"
    " cleared_at, superseded_by FROM copies"
)


def _towards_success(copy: CopyRecord) -> Text:
    if copy.report_digest is None:
        return Text("先在开票机执行 report 生成报税文件", "run report on the invoicing PC first")
    if copy.failure is not None:
        return after_failure(copy.failure.code, copy.failure.message)
    return Text(
        "在上网机取得本次报税的 .txt，拷回开票机后执行 result",
        "fetch this report's .txt on the Internet PC, carry it here and run result",
    )


def _no_success(copy: CopyRecord) -> Text:
    if copy.failure is not None:
        return Text(
            f"{copy.name.in_words.zh} 的结果是报税失败（{copy.failure.code}），不能清卡",
            f"the result of {copy.name.in_words.en} is a failure ({copy.failure.code}); it clears nothing",
        )
    return Text(
        f"{copy.name.in_words.zh} 还没有报税成功的结果",
        f"no proven success for {copy.name.in_words.en} has arrived",
    )


def _by_month(rows: sqlite3.Cursor) -> dict[str, Totals]:
    found: dict[str, dict[tuple[str, str], Figures]] = {}
    for month, kind, rate, *numbers in rows:
        found.setdefault(month, {})[kind, rate] = Figures(*numbers)
    return cast("dict[str, Totals]", found)


def _used(months: Mapping[str, Totals]) -> dict[str, int]:
    found: dict[str, int] = {}
    for totals in months.values():
        for (kind, rate), figures in totals.items():
            if rate == WHOLE_KIND:
                found[kind] = found.get(kind, 0) + figures.used
    return found


def _seen(result: Result, body_sha256: str) -> SeenResult:
    return SeenResult(
        result_no=result.result_no,
        body_sha256=body_sha256,
        outcome=result.outcome,
        code=result.code,
        message=result.message,
        receipt_no=result.receipt_no,
        bureau_time=result.bureau_time,
        lock_date=result.lock_date,
        next_period_start=result.next_period_start,
        upload_deadline=result.upload_deadline,
        offline_hours=result.offline_hours,
        offline_limits=dict(result.offline_limits),
    )


def _dump_seen(seen: SeenResult) -> str:
    return json.dumps(
        {
            "result_no": seen.result_no,
            "body_sha256": seen.body_sha256,
            "outcome": seen.outcome,
            "code": seen.code,
            "message": seen.message,
            "receipt_no": seen.receipt_no,
            "bureau_time": format_time(seen.bureau_time),
            "lock_date": _iso(seen.lock_date),
            "next_period_start": _iso(seen.next_period_start),
            "upload_deadline": _iso(seen.upload_deadline),
            "offline_hours": seen.offline_hours,
            "offline_limits": dict(seen.offline_limits),
        },
        ensure_ascii=False,
        sort_keys=True,
    )


def _load_seen(text: str) -> SeenResult:
    found = json.loads(text)
    found["bureau_time"] = parse_time(found["bureau_time"])
    for name in ("lock_date", "next_period_start", "upload_deadline"):
        found[name] = _day(found[name])
    return SeenResult(**found)


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def _iso(day: date | None) -> str | None:
    return day.isoformat() if day else None
