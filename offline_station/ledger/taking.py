"""Takes the invoices of one file into the ledger's open transaction, one by one.

Here it is decided whether an invoice is new, known, or a known one that is void now.
"""

# Conditions are put together from this module's constants; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

import hashlib
import sqlite3
from typing import Final, NamedTuple, cast

from offline_station.ledger.entries import Entry, ImportContext
from offline_station.ledger.figures import BatchFigures, IssuedBatch
from offline_station.ledger.problems import FileReport, Findings
from shared.model.report import KIND_NAMES, InvoiceKind, InvoiceStatus
from shared.money import MAX_FEN, format_fen
from shared.text import Text

PERIOD_COPY_OVER: Final = """EXISTS (SELECT 1 FROM copies p WHERE p.kind = 'period' AND p.superseded_by IS NULL
  AND i.day BETWEEN p.first_day AND p.last_day AND i.id <= p.last_invoice)"""
"""Condition on `i`: a period copy that was not superseded covers the invoice."""
_VOIDED: Final[dict[str, InvoiceStatus]] = {"positive": "positive-void", "negative": "negative-void"}


class Taking:
    """Takes the invoices of one file into an open transaction, one by one."""

    def __init__(self, db: sqlite3.Connection, context: ImportContext, findings: Findings) -> None:
        self._db = db
        self._context = context
        self._findings = findings
        self._batch = db.execute(
            "INSERT INTO batches (batch_id, state, file, format, gross) VALUES ('', 'pending', '', '', 0)"
        ).lastrowid
        self._gross_before: int = db.execute("SELECT sum(gross) FROM batches").fetchone()[0]
        self._gross = 0
        self._figures = BatchFigures()
        self._content = hashlib.sha256()
        self._invoices = self._lines = self._voided = self._amount = self._tax = self._skipped = 0
        self._changed = False

    def take(self, entry: Entry) -> None:
        """Take one invoice, or recognise it, or note why neither is possible."""
        invoice = entry.invoice
        same_number = self._all("i.number = ? AND i.code = ?", invoice.number, invoice.code)
        known = next((row for row in same_number if _deductible(row.kind) is _deductible(invoice.kind)), None)
        if known is None and len(invoice.number) == 8:
            # Some lists have no 发票代码: there the number alone, with the same content, is the same invoice.
            candidates = self._all("i.number = ? AND (i.code = '' OR ? = '')", invoice.number, invoice.code)
            known = next((row for row in candidates if _difference(row, entry) is None), None)
        if known is not None:
            self._meet(known, entry)
            return
        if same_number:
            # The device counts kinds apart, so a special and an ordinary invoice of one number are two invoices; lists
            # that merely call an ordinary invoice by another name are not.
            other = KIND_NAMES[cast("InvoiceKind", same_number[0].kind)]
            self._findings.warning(
                entry.place,
                Text(
                    f"已有相同代码号码的{other.zh}：{invoice.key}。票种不同，按两张发票导入，请核对",
                    f"{invoice.key} is also the number of a {other.en}: taken as two invoices, as the kinds differ; check them",
                ),
            )
        self._insert(entry)

    def _all(self, condition: str, *values: str) -> list[_Known]:
        return [_Known(*row) for row in self._db.execute(_KNOWN + condition, values)]

    def _insert(self, entry: Entry) -> None:
        invoice, open_from = entry.invoice, self._context.open_from
        if open_from is not None and invoice.day < open_from.isoformat():
            self._findings.problem(
                entry.place,
                Text(
                    f"发票 {invoice.key} 的开票日期 {invoice.day} 在已抄税的所属期内（{open_from} 起可导入），不能补录",
                    f"invoice {invoice.key} of {invoice.day} belongs to a period already copied (open from {open_from})",
                ),
            )
            return
        self._gross += sum(abs(amount) + abs(tax) for _, amount, tax in entry.line_sums)
        if self._gross_before + self._gross > MAX_FEN:
            # Sums of a ledger have thirteen digits before the point, as the report writes them.
            self._findings.problem(entry.place, Text("金额累计超出范围", "the sum of all amounts is out of range"))
            return
        identity = self._db.execute(
            "INSERT INTO invoices (batch, kind, code, number, day, status, buyer_name, buyer_id, amount, tax, remark, "
            "original_code, original_number) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                self._batch,
                invoice.kind,
                invoice.code,
                invoice.number,
                invoice.day,
                invoice.status,
                invoice.buyer_name,
                invoice.buyer_id,
                entry.amount,
                entry.tax,
                invoice.remark,
                invoice.original_code,
                invoice.original_number,
            ),
        ).lastrowid
        self._db.executemany(
            "INSERT INTO lines VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
            [
                (
                    identity,
                    position,
                    line.name,
                    line.spec,
                    line.unit,
                    line.quantity,
                    line.price,
                    amount,
                    rate,
                    tax,
                    line.goods_code,
                    line.nature,
                )
                for position, (line, (rate, amount, tax)) in enumerate(
                    zip(invoice.lines, entry.line_sums, strict=True), start=1
                )
            ],
        )
        self._figures.add(invoice.day[:7], invoice.kind, invoice.status, entry.line_sums)
        self._note(f"{invoice.key} {invoice.kind} {invoice.day} {invoice.status} {entry.line_sums}")
        self._invoices += 1
        self._lines += len(invoice.lines)
        if _is_void(invoice.status):
            self._voided += 1
        else:
            self._amount += entry.amount
            self._tax += entry.tax

    def _meet(self, known: _Known, entry: Entry) -> None:
        invoice = entry.invoice
        if not _is_void(known.status):
            changed = self._db.execute(
                "SELECT status FROM voids WHERE batch = ? AND invoice = ?", (self._batch, known.identity)
            ).fetchone()
            known = known._replace(status=changed[0]) if changed else known
        # A void one is often listed without what it said; the ledger remembers.
        difference = None if invoice.status == "blank-void" else _difference(known, entry)
        if difference is not None:
            again = Text("本文件前面的行", "an earlier row of this file") if known.batch == self._batch else None
            where = again or Text("已导入的发票", "what was imported before")
            hint = Text("", "")
            if not invoice.code and len(invoice.number) == 8:
                hint = Text(
                    "；清单没有发票代码，号码相同的发票无法区分", "; without a code, equal numbers cannot be told apart"
                )
            self._findings.problem(
                entry.place,
                Text(
                    f"发票 {invoice.key} 与{where.zh}不一致（{difference.zh}）{hint.zh}",
                    f"invoice {invoice.key} differs from {where.en} ({difference.en}){hint.en}",
                ),
            )
        elif _is_void(invoice.status) and not _is_void(known.status):
            self._void(known, entry)
        else:
            if _is_void(known.status) and not _is_void(invoice.status):
                self._findings.warning(
                    entry.place,
                    Text(
                        f"发票 {invoice.key} 已登记为作废，清单中为正常（可能是较早导出的清单），保持作废",
                        f"invoice {invoice.key} is void in the ledger; this list (an older one?) says it is not: it stays void",
                    ),
                )
            self._skipped += 1

    def _void(self, known: _Known, entry: Entry) -> None:
        status = _VOIDED[known.status]
        sums = self._db.execute(
            "SELECT rate, amount, tax FROM lines WHERE invoice = ? ORDER BY position", (known.identity,)
        ).fetchall()
        if known.batch == self._batch:
            self._db.execute("UPDATE invoices SET status = ? WHERE id = ?", (status, known.identity))
            self._amount -= known.amount
            self._tax -= known.tax
        else:
            open_from = self._context.open_from
            closed = open_from is not None and known.day < open_from.isoformat()
            if closed or self._copied(known.identity):
                self._findings.problem(
                    entry.place,
                    Text(
                        f"发票 {entry.invoice.key}（{known.day}）已抄税，不能再作废；应开具红字发票",
                        f"invoice {entry.invoice.key} of {known.day} was copied already and cannot be voided; issue a red one",
                    ),
                )
                return
            self._db.execute("INSERT INTO voids VALUES (?,?,?)", (self._batch, known.identity, status))
        self._figures.add(known.day[:7], known.kind, known.status, sums, sign=-1)
        self._figures.add(known.day[:7], known.kind, status, sums)
        self._note(f"{entry.invoice.key} {status}")
        self._voided += 1

    def _copied(self, identity: int) -> bool:
        return (
            self._db.execute(
                f"SELECT 1 FROM invoices i WHERE i.id = ? AND (i.adhoc IS NOT NULL OR {PERIOD_COPY_OVER})", (identity,)
            ).fetchone()
            is not None
        )

    def _note(self, change: str) -> None:
        self._changed = True
        self._content.update(change.encode() + b"\n")

    @property
    def _batch_id(self) -> str:
        # Made of what is issued, so that the card counts it once even if the ledger is restored and reads it again.
        return self._content.hexdigest()[:32] if self._changed else ""

    def report(self, name: str, file_format: str) -> FileReport:
        """Return what became of the file so far."""
        findings = self._findings
        refused = findings.problem_count > 0
        return FileReport(
            file=name,
            format=file_format,
            invoices=0 if refused else self._invoices,
            lines=0 if refused else self._lines,
            voided=0 if refused else self._voided,
            amount=0 if refused else self._amount,
            tax=0 if refused else self._tax,
            skipped=0 if refused else self._skipped,
            problems=tuple(findings.problems),
            problem_count=findings.problem_count,
            warnings=tuple(findings.warnings),
            warning_count=findings.warning_count,
            batch_id="" if refused else self._batch_id,
        )

    def finish(self, name: str, file_format: str) -> IssuedBatch:
        """Name the batch and return what the card is to be told."""
        self._db.execute(
            "UPDATE batches SET batch_id = ?, file = ?, format = ?, gross = ? WHERE id = ?",
            (self._batch_id, name, file_format, self._gross, self._batch),
        )
        return self._figures.batch(self._batch_id)


class _Known(NamedTuple):
    identity: int
    batch: int
    kind: str
    day: str
    status: InvoiceStatus
    amount: int
    tax: int
    buyer_id: str
    buyer_name: str


_KNOWN: Final = (
    "SELECT i.id, i.batch, i.kind, i.day, i.status, i.amount, i.tax, i.buyer_id, i.buyer_name FROM invoices i WHERE "
)


def _deductible(kind: str) -> bool:
    """Return whether a kind is one of the special (专用) ones."""
    return kind in {"004", "028", "101"}


def _is_void(status: str) -> bool:
    return status.endswith("void")


def _difference(known: _Known, entry: Entry) -> Text | None:
    """Return in which way two rows of one number speak of different invoices, or None.

    Lists differ in what they contain: a remark, a buyer or a line description that one of them lacks is no difference.
    """
    invoice = entry.invoice
    if known.amount != entry.amount or known.tax != entry.tax:
        was, now = (
            f"{format_fen(known.amount)} + {format_fen(known.tax)}",
            f"{format_fen(entry.amount)} + {format_fen(entry.tax)}",
        )
        return Text(f"金额与税额 {was} / {now}", f"amount and tax {was} / {now}")
    if known.day != invoice.day:
        return Text(f"开票日期 {known.day} / {invoice.day}", f"day {known.day} / {invoice.day}")
    if known.kind != invoice.kind:
        was_kind, now_kind = KIND_NAMES[cast("InvoiceKind", known.kind)], KIND_NAMES[invoice.kind]
        return Text(f"票种 {was_kind.zh} / {now_kind.zh}", f"kind {was_kind.en} / {now_kind.en}")
    for zh, en, was, now in (
        ("购方税号", "buyer number", known.buyer_id, invoice.buyer_id),
        ("购方名称", "buyer", known.buyer_name, invoice.buyer_name),
    ):
        if was and now and "".join(was.split()) != "".join(now.split()):
            return Text(f"{zh} {was} / {now}", f"{en} {was} / {now}")
    return None
