"""The process is killed in the middle of an import: ledger and card agree after the next start."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from offline_station.core.figures import WHOLE_KIND
from offline_station.ledger.store import Ledger
from tests.support import workbooks as lists
from tests.support.ledger import JANUARY, ORDINARY, Desk

CHILD = """
import os, signal, sys
from pathlib import Path
from offline_station.ledger.store import Ledger
from tests.support.ledger import context

folder, moment = Path(sys.argv[1]), sys.argv[2]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def record(batch):
    if moment == "before the card":
        die()
    with (folder / "card").open("a") as card:
        card.write(batch.batch_id + "\\n")
        card.flush()
        os.fsync(card.fileno())
    if moment == "after the card":
        die()

def progress(done):
    if moment == f"at {done}":
        die()

Ledger(folder / "ledger.db").import_file(folder / "list.csv", context(), record=record, progress=progress)
"""


@pytest.mark.skipif(os.name == "nt", reason="platform: no SIGKILL")
@pytest.mark.parametrize(
    ("moment", "there"),
    [("at 500", 0), ("at 1500", 0), ("before the card", 0), ("after the card", 1600), ("never", 1600)],
)
def test_ledger_and_card_agree_after_a_kill(tmp_path: Path, moment: str, there: int) -> None:
    sales = lists.made_up_sales(random.Random(2), 1600, first_day=JANUARY[0], last_day=JANUARY[1], code=ORDINARY)
    lists.csv_list(tmp_path / "list.csv", sales)
    (tmp_path / "card").touch()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), moment], check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == (0 if moment == "never" else -signal.SIGKILL)

    card = (tmp_path / "card").read_text().split()
    Ledger(tmp_path / "ledger.db").recover(lambda batch_id: batch_id in card)
    desk = Desk(tmp_path)
    assert desk.ledger.count() == there
    assert bool(card) == bool(there)

    report = desk.take(tmp_path / "list.csv")
    assert (report.invoices, report.skipped) == (1600 - there, there)
    assert desk.ledger.summary()["007", WHOLE_KIND].used == 1600
    assert [b for b in desk.batches if b in card] == []
