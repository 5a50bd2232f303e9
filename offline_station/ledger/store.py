"""The ledger: every invoice of this machine, in one SQLite file.

An import touches two files that know nothing of each other's transactions, the ledger's and the card's. So it goes in
three steps, each durable before the next: the batch is written as *pending*; the card is told; the batch is
*committed*. Readers see committed batches only. After a crash the card is asked whether it knows the batch, and its
answer settles what the ledger does (`recover`).

Nothing here holds more than one invoice or one page of them in memory.
"""

# Conditions are put together from this module's constants; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, cast

from offline_station.core.figures import Figures
from offline_station.ledger.entries import ImportContext
from offline_station.ledger.export import export_invoices
from offline_station.ledger.figures import BatchFigures, IssuedBatch
from offline_station.ledger.importing import read_invoices
from offline_station.ledger.problems import FileReport, Findings, Place
from offline_station.ledger.taking import PERIOD_COPY_OVER, Taking
from shared.durable import is_damage
from shared.errors import ConfigurationError, ImportUnsettled, ListUnreadable, NotFound, StoreDamaged
from shared.ids import ReportKind
from shared.model.report import Invoice, InvoiceKind, InvoiceLine, InvoiceStatus
from shared.money import format_fen
from shared.text import Text
from shared.text.system import shown_name

SCHEMA_VERSION: Final = 1
_PAGE: Final = 500
_PROGRESS_EVERY: Final = 500
_SCHEMA: Final = """
CREATE TABLE batches (
  id INTEGER PRIMARY KEY AUTOINCREMENT, batch_id TEXT NOT NULL, state TEXT NOT NULL, file TEXT NOT NULL,
  format TEXT NOT NULL, gross INTEGER NOT NULL, CHECK (state IN ('pending', 'committed')));
CREATE UNIQUE INDEX batches_known ON batches (batch_id);
CREATE TABLE invoices (
  id INTEGER PRIMARY KEY, batch INTEGER NOT NULL REFERENCES batches (id), kind TEXT NOT NULL, code TEXT NOT NULL,
  number TEXT NOT NULL, day TEXT NOT NULL, status TEXT NOT NULL, buyer_name TEXT NOT NULL, buyer_id TEXT NOT NULL,
  amount INTEGER NOT NULL, tax INTEGER NOT NULL, remark TEXT NOT NULL, original_code TEXT NOT NULL,
  original_number TEXT NOT NULL, adhoc INTEGER REFERENCES copies (id));
CREATE UNIQUE INDEX invoices_by_number ON invoices (number, code, kind);
CREATE UNIQUE INDEX invoices_by_day ON invoices (day, kind, code, number);
CREATE INDEX invoices_by_adhoc ON invoices (adhoc) WHERE adhoc IS NOT NULL;
CREATE INDEX invoices_by_batch ON invoices (batch);
CREATE TABLE lines (
  invoice INTEGER NOT NULL REFERENCES invoices (id), position INTEGER NOT NULL, name TEXT NOT NULL,
  spec TEXT NOT NULL, unit TEXT NOT NULL, quantity TEXT, price TEXT, amount INTEGER NOT NULL, rate TEXT NOT NULL,
  tax INTEGER NOT NULL, goods_code TEXT NOT NULL, nature TEXT NOT NULL,
  PRIMARY KEY (invoice, position)) WITHOUT ROWID;
CREATE TABLE voids (
  batch INTEGER NOT NULL REFERENCES batches (id), invoice INTEGER NOT NULL REFERENCES invoices (id),
  status TEXT NOT NULL, PRIMARY KEY (batch, invoice)) WITHOUT ROWID;
CREATE TABLE copies (
  id INTEGER PRIMARY KEY, copy_id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, first_day TEXT NOT NULL,
  last_day TEXT NOT NULL, last_invoice INTEGER NOT NULL, invoices INTEGER NOT NULL, superseded_by TEXT,
  CHECK (kind IN ('period', 'adhoc')));
"""
# Invoices of batches that the card was not told of yet, or may not have been, do not exist for readers.
_COMMITTED: Final = "i.batch NOT IN (SELECT id FROM batches WHERE state = 'pending')"
_INVOICE_COLUMNS: Final = (
    "i.id, i.kind, i.code, i.number, i.day, i.status, i.buyer_name, i.buyer_id, i.amount, i.tax, i.remark, "
    "i.original_code, i.original_number"
)


@dataclass(frozen=True)
class InvoiceFilter:
    """Which invoices to show; every condition left out lets all pass.

    Attributes:
        month: `YYYY-MM`.
        first_day: First day, included.
        last_day: Last day, included.
        kind: 票种.
        status: Status.
        text: Part of the number, the buyer's name or the buyer's number.
    """

    month: str | None = None
    first_day: date | None = None
    last_day: date | None = None
    kind: InvoiceKind | None = None
    status: InvoiceStatus | None = None
    text: str = ""

    def sql(self) -> tuple[str, list[object]]:
        """Return the condition on `i` and its parameters."""
        parts, values = [_COMMITTED], list[object]()
        if self.month is not None:
            parts.append("i.day BETWEEN ? AND ?")
            values += [f"{self.month}-01", f"{self.month}-31"]
        for column, sign, value in (
            ("day", ">=", self.first_day and self.first_day.isoformat()),
            ("day", "<=", self.last_day and self.last_day.isoformat()),
            ("kind", "=", self.kind),
            ("status", "=", self.status),
        ):
            if value is not None:
                parts.append(f"i.{column} {sign} ?")
                values.append(value)
        if self.text:
            like = "%" + self.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            parts.append(
                "(i.number LIKE ? ESCAPE '\\' OR i.buyer_name LIKE ? ESCAPE '\\' OR i.buyer_id LIKE ? ESCAPE '\\')"
            )
            values += [like, like, like]
        return " AND ".join(parts), values


ALL_INVOICES: Final = InvoiceFilter()


@dataclass(frozen=True)
class Page:
    """Some invoices in the ledger's order (day, kind, code, number), and where the next page begins.

    Attributes:
        invoices: The invoices.
        after: Hand this to the next call; None on the last page.
    """

    invoices: Sequence[Invoice]
    after: str | None


class Ledger:
    """All invoices of one machine. One writer at a time; any number of readers, which see committed imports only."""

    def __init__(self, path: Path) -> None:
        """Open the ledger, and make it if it is not there.

        Raises:
            StoreDamaged: The file is not a ledger, or is damaged. It was not touched.
            ConfigurationError: It was written by a newer version.
        """
        self.path = path
        try:
            with self._connected() as db:
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version == 0:
                    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
                    if tables and db.execute("PRAGMA user_version").fetchone()[0] == 0:  # nobody is just making it
                        raise StoreDamaged(reason=Text(f"“{path.name}”不是发票库", f"'{path.name}' is not a ledger"))
                    db.execute("PRAGMA journal_mode = WAL")
                    db.execute("BEGIN IMMEDIATE")
                    if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                        for statement in _SCHEMA.split(";")[:-1]:
                            db.execute(statement)
                        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                    db.execute("COMMIT")
                elif version != SCHEMA_VERSION:
                    raise ConfigurationError(
                        reason=Text(
                            f"发票库“{path.name}”是第 {version} 版，本程序只认识第 {SCHEMA_VERSION} 版",
                            f"the ledger '{path.name}' has version {version}; this program knows {SCHEMA_VERSION}",
                        )
                    )
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            raise StoreDamaged(
                reason=Text(
                    f"发票库“{path.name}”打不开（{error}）", f"the ledger '{path.name}' cannot be opened ({error})"
                )
            ) from None

    # --- import -----------------------------------------------------------------------------------------------------

    def import_file(
        self,
        path: Path,
        context: ImportContext,
        *,
        record: Callable[[IssuedBatch], None],
        progress: Callable[[int], None] | None = None,
    ) -> FileReport:
        """Take over one invoice list, wholly or not at all.

        Args:
            path: The exported file. It is only read.
            context: Who we are, and which days are open.
            record: Tells the card. Called once at most, after the batch is durable as pending, and not at all if the
                file brings nothing new. If it raises, the batch stays pending until `recover`.
            progress: Told the number of invoices read so far, every few hundred.

        Returns:
            The report. With problems in it, nothing of the file was taken and the card was not told.

        Raises:
            ImportUnsettled: An earlier batch is still pending: call `recover` first. Nothing was read.
        """
        findings = Findings()
        with self._connected() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                if db.execute("SELECT 1 FROM batches WHERE state = 'pending'").fetchone():
                    raise ImportUnsettled
                taking = Taking(db, context, findings)
                name, file_format = shown_name(path.name), ""
                try:
                    source = read_invoices(path, context, findings)
                    file_format = source.format
                    for number, entry in enumerate(source.entries, start=1):
                        taking.take(entry)
                        if progress is not None and number % _PROGRESS_EVERY == 0:
                            progress(number)
                except ListUnreadable as error:
                    findings.problem(Place(), cast("Text", error.context["reason"]))
                report = taking.report(name, file_format)
                if findings.problem_count or not report.batch_id:
                    db.execute("ROLLBACK")
                    return report
                batch = taking.finish(name, file_format)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            record(batch)
            _settle(db, batch.batch_id, known=True)
        return report

    def recover(self, knows_batch: Callable[[str], bool]) -> int:
        """Settle what a crash left between ledger and card; call it before anything else at every start.

        Args:
            knows_batch: The card's answer whether it counted a batch.

        Returns:
            How many batches were settled. Those that the card knows are committed, the others are gone.
        """
        with self._connected() as db:
            pending = [row[0] for row in db.execute("SELECT batch_id FROM batches WHERE state = 'pending' ORDER BY id")]
            for batch_id in pending:
                _settle(db, batch_id, known=knows_batch(batch_id))
        return len(pending)

    # --- copies -----------------------------------------------------------------------------------------------------

    def freeze(
        self,
        copy_id: str,
        *,
        kind: ReportKind,
        period_start: date,
        period_end: date,
        supersedes: str | None = None,
    ) -> int:
        """Mark what a copy covers; what is imported later belongs to a later copy.

        Args:
            copy_id: The copy's identity; a repeated call with it changes nothing.
            kind: `period` covers every invoice dated in the period, `adhoc` every one that no copy covers yet.
            period_start: First day of the period.
            period_end: Last day of the period.
            supersedes: An uncleared copy that this one replaces; what it alone covered is free again first.

        Returns:
            How many invoices the copy covers.
        """
        with self._connected() as db, _transaction(db):
            known = db.execute("SELECT invoices FROM copies WHERE copy_id = ?", (copy_id,)).fetchone()
            if known:
                return int(known[0])
            if supersedes is not None:
                row = db.execute("SELECT id FROM copies WHERE copy_id = ?", (supersedes,)).fetchone()
                if row:
                    db.execute("UPDATE copies SET superseded_by = ? WHERE id = ?", (copy_id, row[0]))
                    db.execute("UPDATE invoices SET adhoc = NULL WHERE adhoc = ?", row)
            last = db.execute("SELECT coalesce(max(id), 0) FROM invoices i WHERE " + _COMMITTED).fetchone()[0]
            copy = db.execute(
                "INSERT INTO copies (copy_id, kind, first_day, last_day, last_invoice, invoices) VALUES (?,?,?,?,?,0)",
                (copy_id, kind, period_start.isoformat(), period_end.isoformat(), last),
            ).lastrowid
            if kind == "adhoc":
                db.execute(
                    f"UPDATE invoices AS i SET adhoc = ? WHERE adhoc IS NULL AND {_COMMITTED} AND NOT {PERIOD_COPY_OVER}",
                    (copy,),
                )
            covered, values = _covered(db, copy_id)
            count = int(db.execute(f"SELECT count(*) FROM invoices i WHERE {covered}", values).fetchone()[0])
            db.execute("UPDATE copies SET invoices = ? WHERE id = ?", (count, copy))
            return count

    def copy_count(self, copy_id: str) -> int:
        """Return how many invoices a copy covers.

        Raises:
            NotFound: `freeze` was not called with this identity.
        """
        with self._connected() as db:
            row = db.execute("SELECT invoices FROM copies WHERE copy_id = ?", (copy_id,)).fetchone()
        if row is None:
            raise NotFound(what=copy_id)
        return int(row[0])

    def copy_rows(self, copy_id: str) -> Iterator[Invoice]:
        """Go through the invoices of a copy by day, kind, code and number: the same order every time.

        Raises:
            NotFound: `freeze` was not called with this identity.
        """
        with self._connected() as db:
            covered, values = _covered(db, copy_id)
            yield from _invoices(db, covered, values)

    def detail_totals(self, copy_id: str) -> dict[tuple[str, str], Figures]:
        """Return a copy's figures by (kind, rate), added up from the very rows that `copy_rows` yields.

        Not from any sum kept elsewhere: comparing them with the card's counters proves that detail = summary.

        Raises:
            NotFound: `freeze` was not called with this identity.
        """
        with self._connected() as db:
            covered, values = _covered(db, copy_id)
            return _totals(db, covered, values)

    # --- questions --------------------------------------------------------------------------------------------------

    def invoices(self, wanted: InvoiceFilter = ALL_INVOICES, *, limit: int = 50, after: str | None = None) -> Page:
        """Return one page of invoices, by day, kind, code and number.

        Args:
            wanted: Which ones.
            limit: Most invoices on the page.
            after: `Page.after` of the page before.
        """
        condition, values = wanted.sql()
        if after is not None:
            condition += " AND (i.day, i.kind, i.code, i.number) > (?, ?, ?, ?)"
            parts = after.split("/")
            values += parts if len(parts) == 4 else ["9999", "", "", ""]
        with self._connected() as db:
            found = list(_invoices(db, condition, values, limit=max(1, limit) + 1))
        page = found[: max(1, limit)]
        more = len(found) > len(page)
        last = page[-1] if page else None
        return Page(page, f"{last.day}/{last.kind}/{last.code}/{last.number}" if more and last else None)

    def each_invoice(self, wanted: InvoiceFilter = ALL_INVOICES) -> Iterator[Invoice]:
        """Go through all invoices that pass, by day, kind, code and number, in bounded memory."""
        condition, values = wanted.sql()
        with self._connected() as db:
            yield from _invoices(db, condition, values)

    def count(self, wanted: InvoiceFilter = ALL_INVOICES) -> int:
        """Return how many invoices pass."""
        condition, values = wanted.sql()
        with self._connected() as db:
            return int(db.execute(f"SELECT count(*) FROM invoices i WHERE {condition}", values).fetchone()[0])

    def summary(self, month: str | None = None) -> dict[tuple[str, str], Figures]:
        """Return the figures of a month (`YYYY-MM`), or of all months, by (kind, rate), added up from the rows."""
        condition, values = InvoiceFilter(month=month).sql()
        with self._connected() as db:
            return _totals(db, condition, values)

    def export(
        self, path: Path, wanted: InvoiceFilter = ALL_INVOICES, *, progress: Callable[[int], None] | None = None
    ) -> int:
        """Write the invoices that pass to a new `.csv` or `.xlsx`; return how many. See `export_invoices`."""
        return export_invoices(self.each_invoice(wanted), path, progress=progress)

    def months(self) -> list[str]:
        """Return the months that have invoices, oldest first."""
        with self._connected() as db:
            return [
                row[0]
                for row in db.execute(
                    f"SELECT DISTINCT substr(i.day, 1, 7) FROM invoices i WHERE {_COMMITTED} ORDER BY 1"
                )
            ]

    # --- connections ------------------------------------------------------------------------------------------------

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=30)) as db:
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = OFF")  # rows of a batch come and go together; checked by the tests
            db.execute("PRAGMA cache_size = -16384")
            db.execute("PRAGMA temp_store = FILE")
            db.execute("PRAGMA journal_size_limit = 67108864")
            yield db


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _settle(db: sqlite3.Connection, batch_id: str, *, known: bool) -> None:
    with _transaction(db):
        row = db.execute("SELECT id FROM batches WHERE batch_id = ? AND state = 'pending'", (batch_id,)).fetchone()
        if row is None:
            return
        if known:
            db.execute(
                "UPDATE invoices SET status = (SELECT v.status FROM voids v WHERE v.batch = ? AND v.invoice = "
                "invoices.id) WHERE id IN (SELECT invoice FROM voids WHERE batch = ?)",
                (row[0], row[0]),
            )
            db.execute("UPDATE batches SET state = 'committed' WHERE id = ?", row)
        else:
            db.execute("DELETE FROM lines WHERE invoice IN (SELECT id FROM invoices WHERE batch = ?)", row)
            db.execute("DELETE FROM invoices WHERE batch = ?", row)
            db.execute("DELETE FROM voids WHERE batch = ?", row)
            db.execute("DELETE FROM batches WHERE id = ?", row)


def _covered(db: sqlite3.Connection, copy_id: str) -> tuple[str, list[object]]:
    row = db.execute("SELECT id, kind, first_day, last_day, last_invoice FROM copies WHERE copy_id = ?", (copy_id,))
    found = row.fetchone()
    if found is None:
        raise NotFound(what=copy_id)
    identity, kind, first, last, last_invoice = found
    if kind == "adhoc":
        return f"i.adhoc = ? AND {_COMMITTED}", [identity]
    return f"i.day BETWEEN ? AND ? AND i.id <= ? AND {_COMMITTED}", [first, last, last_invoice]


def _invoices(
    db: sqlite3.Connection, condition: str, values: Sequence[object], *, limit: int | None = None
) -> Iterator[Invoice]:
    sql = f"SELECT {_INVOICE_COLUMNS} FROM invoices i WHERE {condition} ORDER BY i.day, i.kind, i.code, i.number"
    rows = db.execute(sql + (f" LIMIT {limit:d}" if limit is not None else ""), values)
    while page := rows.fetchmany(_PAGE):
        for row in page:
            yield _invoice(db, row)


def _invoice(db: sqlite3.Connection, row: Sequence[object]) -> Invoice:
    identity, kind, code, number, day, status, buyer_name, buyer_id, amount, tax, remark, o_code, o_number = row
    lines = tuple(
        InvoiceLine.model_construct(
            name=name,
            spec=spec,
            unit=unit,
            quantity=quantity,
            price=price,
            amount=format_fen(line_amount),
            rate=rate,
            tax=format_fen(line_tax),
            goods_code=goods_code,
            nature=nature,
        )
        for name, spec, unit, quantity, price, line_amount, rate, line_tax, goods_code, nature in db.execute(
            "SELECT name, spec, unit, quantity, price, amount, rate, tax, goods_code, nature FROM lines "
            "WHERE invoice = ? ORDER BY position",
            (identity,),
        )
    )
    return Invoice.model_validate(
        {
            "kind": kind,
            "code": code,
            "number": number,
            "day": day,
            "status": status,
            "buyer_name": buyer_name,
            "buyer_id": buyer_id,
            "amount": format_fen(cast("int", amount)),
            "tax": format_fen(cast("int", tax)),
            "remark": remark,
            "original_code": o_code,
            "original_number": o_number,
            "lines": lines,
        }
    )


def _totals(db: sqlite3.Connection, condition: str, values: Sequence[object]) -> dict[tuple[str, str], Figures]:
    found = BatchFigures()
    for kind, status, count in db.execute(
        f"SELECT i.kind, i.status, count(*) FROM invoices i WHERE {condition} GROUP BY 1, 2", values
    ):
        found.count(kind, status, count)
    for kind, status, rate, amount, tax in db.execute(
        "SELECT i.kind, i.status, l.rate, sum(l.amount), sum(l.tax) FROM invoices i JOIN lines l ON l.invoice = i.id "
        f"WHERE {condition} GROUP BY 1, 2, 3",
        values,
    ):
        found.sum(kind, status, rate, amount, tax)
    return found.totals()
