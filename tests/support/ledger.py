"""An accountant's desk for tests: lists made from rows, read or taken over by a ledger that remembers what it was told."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from offline_station.ledger.entries import Entry, ImportContext
from offline_station.ledger.figures import IssuedBatch
from offline_station.ledger.importing import read_invoices
from offline_station.ledger.problems import FileReport, Findings, Place
from offline_station.ledger.store import Ledger
from shared.errors import ListUnreadable
from shared.ids import MachineNo, parse_taxpayer_id
from shared.model.report import InvoiceKind
from shared.text import Text
from tests.support.workbooks import SELLER

TODAY = date(2019, 2, 1)
JANUARY = (date(2019, 1, 1), date(2019, 1, 31))
SPECIAL, ORDINARY, VEHICLES, USED_CARS = "3100193130", "3100193330", "131001920011", "031001900017"


def context(
    *,
    machine_no: int = 0,
    today: date = TODAY,
    open_from: date | None = None,
    kind: InvoiceKind | None = None,
    former_ids: tuple[str, ...] = (),
) -> ImportContext:
    """Return what the station of the made-up seller knows."""
    return ImportContext(parse_taxpayer_id(SELLER[1]), MachineNo(machine_no), today, open_from, kind, former_ids)


def read(path: Path, told: ImportContext | None = None) -> tuple[list[Entry], Findings]:
    """Return the invoices of a list and what was found wrong; a file refused as a whole is one problem."""
    findings = Findings()
    entries: list[Entry] = []
    try:
        entries.extend(read_invoices(path, told or context(), findings).entries)
    except ListUnreadable as error:
        reason = error.context["reason"]
        assert isinstance(reason, Text)
        findings.problem(Place(), reason)
    return entries, findings


ROW: Mapping[str, object] = {
    "发票代码": ORDINARY,
    "发票号码": "00000001",
    "开票日期": "2019-01-07",
    "购方名称": "东海机械有限公司",
    "购方税号": "913300001428571423",
    "商品名称": "*纸制品*打印纸",
    "数量": "2",
    "单价": "50",
    "金额": "100.00",
    "税率": "13%",
    "税额": "13.00",
}
"""One plausible row; tests change what they are about."""


def csv_rows(path: Path, rows: Sequence[Mapping[str, object]], *, encoding: str = "utf-8") -> Path:
    """Write rows as delimited text, the columns in the order in which they first appear; None is an empty cell."""
    headings = list(dict.fromkeys(heading for row in rows for heading in row))
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(headings)
        writer.writerows([[row.get(heading) for heading in headings] for row in rows])
    return path


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a folder for one example of a property test: in memory where the system has such, as there are many."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="lists-", dir=memory if os.access(memory, os.W_OK) else None))
    try:
        yield path
    finally:
        shutil.rmtree(path)


class Desk:
    """A ledger with a card that counts what it is told."""

    def __init__(self, folder: Path) -> None:
        """Open the ledger in `folder`."""
        self.folder = folder
        self.ledger = Ledger(folder / "ledger.db")
        self.batches: dict[str, IssuedBatch] = {}

    def record(self, batch: IssuedBatch) -> None:
        """Count a batch, once."""
        self.batches.setdefault(batch.batch_id, batch)

    def take(self, path: Path, told: ImportContext | None = None) -> FileReport:
        """Import a file."""
        return self.ledger.import_file(path, told or context(), record=self.record)

    def rows(self, *rows: Mapping[str, object], told: ImportContext | None = None) -> FileReport:
        """Import rows as a list of their own."""
        path = csv_rows(self.folder / f"list{len(list(self.folder.glob('list*')))}.csv", rows)
        return self.take(path, told)
