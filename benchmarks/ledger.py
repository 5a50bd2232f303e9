"""A million invoices through the ledger: import, summary, freeze, detail = summary, and the rows of a copy.

    python benchmarks/ledger.py [--invoices 1000000]

Lists are made first (delimited text, .xlsx, .xls and `<Kp>` XML, as the invoicing software writes them). The ledger then
works in a process of its own, whose peak memory is printed: it must stay below 200 MB however many invoices there are.
The baseline is what cannot be undercut in this language: the standard `csv` reader feeding one bare SQLite table from the same
delimited files, nothing parsed, nothing checked.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from offline_station.ledger.entries import ImportContext
from offline_station.ledger.store import Ledger
from shared.ids import MachineNo, parse_taxpayer_id
from tests.support import workbooks

FIRST, LAST = date(2026, 7, 1), date(2026, 7, 31)
LIMIT_MB = 200
CODE = "3100193330"
PER_TEXT_FILE, PER_WORKBOOK = 150_000, 25_000


def make_lists(folder: Path, invoices: int) -> dict[str, object]:
    """Write lists with `invoices` invoices in all: two small workbooks, one XML, the rest delimited text."""
    chance = random.Random(20260801)
    left, serial = invoices, 1
    writers: list[tuple[int, str, Callable[[Path, list[workbooks.Sale]], object]]] = [
        (
            min(PER_WORKBOOK, invoices // 10),
            "a.xls",
            lambda path, sales: workbooks.official_xls(path, "普通发票", sales, (FIRST, LAST)),
        ),
        (
            min(PER_WORKBOOK, invoices // 10),
            "b.xlsx",
            lambda path, sales: workbooks.golden_tax_xlsx(path, [("普通发票", sales)], (FIRST, LAST)),
        ),
        (min(PER_TEXT_FILE, invoices // 5), "c.xml", lambda path, sales: workbooks.kp_xml(path, sales, "普通发票")),
    ]
    number = 0
    while left > 0:
        count, name, write = (
            writers[number] if number < len(writers) else (PER_TEXT_FILE, f"d{number}.csv", workbooks.csv_list)
        )
        count = min(count, left)
        sales = workbooks.made_up_sales(
            chance,
            count,
            first_day=FIRST,
            last_day=LAST,
            code=CODE,
            first_number=serial,
            void_share=0.0 if name == "a.xls" else 0.02,
        )
        write(folder / name, sales)
        left, serial, number = left - count, serial + count, number + 1
    return {"files": number}


def ledger_run(folder: Path) -> dict[str, object]:
    """Import every list of the folder, then do what a copy and a report do; return figures."""
    ledger = Ledger(folder / "ledger.db")
    context = ImportContext(parse_taxpayer_id(workbooks.SELLER[1]), MachineNo(0), date(2026, 8, 1))
    steps: dict[str, float] = {}
    files = {}
    begun = time.perf_counter()
    for path in sorted(p for p in folder.iterdir() if p.suffix in {".csv", ".xls", ".xlsx", ".xml"}):
        start = time.perf_counter()
        report = ledger.import_file(
            path,
            context,
            record=lambda batch: None,
            progress=lambda done, name=path.name: print(f"\r{name}: {done}", end="", file=sys.stderr),  # type: ignore[misc]
        )
        if report.error is not None:
            raise report.error
        files[path.name] = (report.invoices, round(report.invoices / (time.perf_counter() - start)), _peak_mb())
    steps["import"] = time.perf_counter() - begun
    for name, step in (
        ("summary", lambda: ledger.summary("2026-07")),
        ("freeze", lambda: ledger.freeze("copy", kind="period", period_start=FIRST, period_end=LAST)),
        ("detail totals", lambda: ledger.detail_totals("copy")),
        ("rows of the copy", lambda: sum(1 for _ in ledger.copy_rows("copy"))),
    ):
        start = time.perf_counter()
        step()
        steps[name] = time.perf_counter() - start
    if ledger.summary("2026-07") != ledger.detail_totals("copy"):
        raise SystemExit("detail and summary differ")
    return {"files": files, "steps": steps, "peak_mb": _peak_mb(), "invoices": ledger.copy_count("copy")}


def baseline_run(folder: Path) -> dict[str, object]:
    """Feed the same delimited files to one table."""
    with sqlite3.connect(folder / "baseline.db") as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"CREATE TABLE rows ({', '.join(f'c{at}' for at in range(len(workbooks.CSV_HEADINGS)))})")
        rows, start = 0, time.perf_counter()
        for path in sorted(folder.glob("*.csv")):
            with path.open(encoding="gb18030", newline="") as file:
                before = db.total_changes
                db.executemany(
                    f"INSERT INTO rows VALUES ({','.join('?' * len(workbooks.CSV_HEADINGS))})", csv.reader(file)
                )
                rows += db.total_changes - before
            db.commit()
        return {"rows": rows, "seconds": time.perf_counter() - start, "peak_mb": _peak_mb()}


def _peak_mb() -> int:
    status = Path("/proc/self/status")
    if status.exists():  # the peak of this program alone; getrusage carries over that of whoever started it
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) >> 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _in_child(step: str, folder: Path, invoices: int = 0) -> dict[str, object]:
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder), "--invoices", str(invoices)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def main() -> None:
    """Make the lists, run both, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--invoices", type=int, default=1_000_000)
    arguments.add_argument("--step", choices=["make", "ledger", "baseline"], help=argparse.SUPPRESS)
    arguments.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    wanted = arguments.parse_args()
    if wanted.step == "make":
        print(json.dumps(make_lists(wanted.folder, wanted.invoices)))
        return
    if wanted.step == "ledger":
        print(json.dumps(ledger_run(wanted.folder)))
        return
    if wanted.step == "baseline":
        print(json.dumps(baseline_run(wanted.folder)))
        return
    with tempfile.TemporaryDirectory(prefix="ledger-benchmark-") as name:
        folder = Path(name)
        start = time.perf_counter()
        _in_child("make", folder, wanted.invoices)
        print(
            f"lists made in {time.perf_counter() - start:.0f} s: {sum(p.stat().st_size for p in folder.iterdir()) >> 20} MiB"
        )
        ledger, baseline = _in_child("ledger", folder), _in_child("baseline", folder)
    report(ledger, baseline)


def report(ledger: dict[str, object], baseline: dict[str, object]) -> None:
    """Print the figures, and fail if the memory limit was passed."""
    print()
    for name, (count, rate, peak) in ledger["files"].items():  # type: ignore[attr-defined]
        print(f"{name:>10}  {count:>8} invoices  {rate:>7}/s  peak so far {peak} MB")
    for name, seconds in ledger["steps"].items():  # type: ignore[attr-defined]
        print(f"{name:>18}  {seconds:7.1f} s  {ledger['invoices'] / seconds:>9.0f} invoices/s")  # type: ignore[operator]
    rows_per_second = baseline["rows"] / baseline["seconds"]  # type: ignore[operator]
    csv_rates = [rate for name, (_, rate, _) in ledger["files"].items() if name.endswith(".csv")]  # type: ignore[attr-defined]
    if csv_rates:
        print(f"baseline (csv → one SQLite table): {rows_per_second:.0f} rows/s, peak {baseline['peak_mb']} MB")
        print(
            f"the ledger takes {rows_per_second / (sum(csv_rates) / len(csv_rates)):.1f} times the baseline per CSV invoice"
        )
    print(f"peak memory of the ledger's process: {ledger['peak_mb']} MB (limit {LIMIT_MB} MB)")
    if ledger["peak_mb"] > LIMIT_MB:  # type: ignore[operator]
        raise SystemExit("over the limit")


if __name__ == "__main__":
    main()
