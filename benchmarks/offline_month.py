"""A month with a million invoices on the invoicing PC: import, copy, report, each a process of its own.

    python benchmarks/offline_month.py [--invoices 1000000] [--files 4]

Runs the program as an operator would and prints the time and the peak memory of every verb. Each must stay below
200 MB however many invoices there are; the exit status is 1 if one does not.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from datetime import date, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from shared.clock import CHINA
from shared.model.taxcard import write_taxcard
from tests.support.offline import taxcard
from tests.support.pki import TAXPAYER
from tests.support.workbooks import CSV_HEADINGS

ROOT = Path(__file__).resolve().parent.parent
LIMIT_MB = 200


def make_lists(folder: Path, invoices: int, files: int, month: date) -> list[Path]:
    """Write delimited lists with `invoices` ordinary invoices in all."""
    found = []
    for number in range(files):
        path = folder / f"发票{number}.csv"
        with path.open("w", encoding="gb18030", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(CSV_HEADINGS)
            for serial in range(number * invoices // files + 1, (number + 1) * invoices // files + 1):
                fen, day = 10_000 + serial % 90_000, month.replace(day=1 + serial % 28)
                tax = (fen * 13 + 50) // 100
                head = ["3100193320", f"{serial:08d}", "", "增值税普通发票", "正常", f"{day:%Y/%m/%d} 09:30", TAXPAYER]
                goods = ["*纸制品*打印纸", "A4", "包", "1", _yuan(fen), _yuan(fen), "13%", _yuan(tax), _yuan(fen + tax)]
                writer.writerow([*head, f"第{serial % 997}号商店", "913300001428571423", *goods, ""])
        found.append(path)
    return found


def _yuan(fen: int) -> str:
    return f"{fen // 100}.{fen % 100:02d}"


def run(home: Path, *words: object) -> tuple[float, int, dict[str, object]]:
    """Run one verb in a process; return its seconds, its peak memory in MB and its data."""
    started = time.monotonic()
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "offline_station", "--home", str(home), "--json", *map(str, words)]
    process = os.fork()
    if process == 0:
        os.dup2(writer, 1)
        os.execve(sys.executable, command, os.environ | {"PYTHONPATH": str(ROOT)})
    os.close(writer)
    with os.fdopen(reader, "rb") as out:
        printed = out.read()
    _, status, usage = os.wait4(process, 0)
    answered = json.loads(printed)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{words[0]}: {answered['errors']}")
    return time.monotonic() - started, usage.ru_maxrss // 1024, answered["data"]


def main() -> int:
    """Run the month; return 1 if a verb needed too much memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--invoices", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=4)
    options = parser.parse_args()
    today = datetime.now(CHINA).date()
    month = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    worst = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = folder / "home"
        card = folder / "0.taxcard"
        write_taxcard(card, taxcard(last_copied=month - timedelta(days=1), lock_date=today + timedelta(days=20)))
        lists = make_lists(folder, options.invoices, options.files, month)
        run(home, "init", "--card", card)
        print(f"{options.invoices:,} invoices in {options.files} files")
        for words in (["invoices", "import", *lists], ["copy"], ["report"], ["report"], ["status"], ["backup"]):
            seconds, peak, data = run(home, *words)
            size = f"  {data['bytes']:,} bytes" if "bytes" in data else ""
            print(f"{words[0]:10} {seconds:8.1f} s  {peak:4} MB{size}", flush=True)
            worst = max(worst, peak)
    print(f"peak {worst} MB, limit {LIMIT_MB} MB")
    return 0 if worst < LIMIT_MB else 1


if __name__ == "__main__":
    sys.exit(main())
