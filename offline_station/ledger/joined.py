"""Workbooks that hold the same invoices twice: once as invoices, once as lines.

The full-query export has one sheet with a row for an invoice (发票基础信息) and one with a row for a line (信息汇总表, or
…货物清单). Neither alone is enough: the first knows status and kind, the second the goods; older ones lack columns in
one that the other has. They are joined by number, through a temporary database, so that neither has to fit in memory.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date
from typing import cast

from offline_station.ledger.cells import Cell, is_blank
from offline_station.ledger.layouts import RawInvoice, RawLine, SheetLayout, key_of
from offline_station.ledger.problems import Findings, Place
from offline_station.ledger.sheets import Sheet
from shared.text import Text


def join(heads: Sequence[Sheet], details: Sequence[Sheet], findings: Findings) -> Iterator[RawInvoice]:
    """Go through the invoices of both kinds of sheets, each once.

    Invoices come in the order of the detail sheets; those that have no details there come last, as their own one line.
    A status or a kind that only one sheet tells is taken from it; sums that both tell must agree.
    """
    with closing(sqlite3.connect("")) as db:  # a temporary file that vanishes with the connection
        db.execute("PRAGMA cache_size = -8192")
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("CREATE TABLE heads (id INTEGER PRIMARY KEY, sheet TEXT, row INTEGER, data TEXT, used INTEGER)")
        db.execute("CREATE TABLE keys (key TEXT PRIMARY KEY, head INTEGER) WITHOUT ROWID")
        for sheet in heads:
            layout = SheetLayout(sheet.name, findings)
            for raw in layout.invoices(sheet.read()):
                _remember(db, raw, findings)
        for sheet in details:
            layout = SheetLayout(sheet.name, findings)
            for raw in layout.invoices(sheet.read()):
                yield _merged(db, raw)
        for sheet_name, row, data in db.execute("SELECT sheet, row, data FROM heads WHERE NOT used ORDER BY id"):
            yield _alone(Place(sheet_name, row), data)


def _keys(raw: RawInvoice) -> list[str]:
    digital, code, number = key_of(raw.head)
    if not digital and len(code) == 12 and len(number) == 8:
        # Digital numbers are split 12 + 8 by some templates; a paper code of twelve digits is found by it as well.
        return [code + number]
    found = [digital] if digital else []
    if code and number:
        found.append(code + number)
    elif number and not digital:
        found.append(number)
    return found


def _remember(db: sqlite3.Connection, raw: RawInvoice, findings: Findings) -> None:
    keys = _keys(raw)
    data = json.dumps(
        {
            "head": {name: _plain(cell) for name, cell in raw.head.items()},
            "line": {name: _plain(cell) for name, cell in raw.lines[0].cells.items() if name != "sequence"},
            "titles": dict(raw.titles),
            "category": raw.category,
        }
    )
    for key in keys:
        known = db.execute("SELECT data FROM heads JOIN keys ON keys.head = heads.id WHERE key = ?", (key,)).fetchone()
        if known is None:
            continue
        if known[0] != data:
            findings.problem(
                raw.place,
                Text(f"发票 {key} 在本表中重复且内容不同", f"invoice {key} stands in this sheet twice and differs"),
            )
        return
    head = db.execute(
        "INSERT INTO heads (sheet, row, data, used) VALUES (?,?,?,0)",
        (raw.place.sheet, raw.place.row, data),
    ).lastrowid
    db.executemany("INSERT INTO keys VALUES (?,?)", [(key, head) for key in keys])


def _plain(cell: Cell) -> Cell:
    if isinstance(cell, date):
        return cell.isoformat()
    return str(cell) if not isinstance(cell, str | int | float | bool | None) else cell


def _merged(db: sqlite3.Connection, raw: RawInvoice) -> RawInvoice:
    for key in _keys(raw):
        row = db.execute(
            "SELECT id, data FROM heads JOIN keys ON keys.head = heads.id WHERE keys.key = ?", (key,)
        ).fetchone()
        if row is None:
            continue
        db.execute("UPDATE heads SET used = 1 WHERE id = ?", (row[0],))
        known = json.loads(row[1])
        head = cast("dict[str, Cell]", known["head"])
        line = cast("dict[str, Cell]", known["line"])
        titles = dict(known["titles"]) | dict(raw.titles)
        for name, cell in head.items():
            if is_blank(raw.head.get(name)):
                raw.head[name] = cell
        for name, sum_name in (("amount", "sum_amount"), ("tax", "sum_tax")):
            if is_blank(raw.head.get(sum_name)) and not is_blank(line.get(name)):
                raw.head[sum_name] = line[name]
                titles.setdefault(sum_name, known["titles"].get(name, name))
        raw.titles = titles
        raw.category = raw.category or known["category"]
        break
    return raw


def _alone(place: Place, data: str) -> RawInvoice:
    known = json.loads(data)
    return RawInvoice(
        place, known["head"], known["titles"], [RawLine(place, known["line"])], known["category"], whole_in_row=True
    )
