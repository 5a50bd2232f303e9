"""Kills an invoicing PC at every point of a verb, starts it again, and looks.

A process of its own, with one thread, so that it may fork: each trial is a child that dies by SIGKILL at its n-th
point, a point being a statement of any database or a change of a file. Then the home is opened as the next start would,
and the promises are checked: all of it happened or nothing, the card was never cleared without its own success, nobody
has a file that the card does not wait for, and the verb run again completes.

    python -m tests.support.card_killer VERB STEP FOLDER      prints one JSON object
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from offline_station.shell.home import Home
from offline_station.shell.station import Station
from shared.clock import FixedClock
from shared.envelope.opening import prove_report
from shared.errors import AlreadyCopied
from shared.model.ack import prove_ack
from shared.states import CardState
from tests.support.offline import NOW, answer, invoice_list, new_station
from tests.support.pki import pki

INVOICES = 6
CLOCK = FixedClock(NOW)
Verb = Callable[[Home], None]


class Points:
    """Counts the points of a child, and ends it at one of them."""

    def __init__(self, kill_at: int) -> None:
        self.kill_at = kill_at
        self.count = 0

    def reached(self) -> None:
        self.count += 1
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self, home: Home) -> None:
        points = self

        class Connection(sqlite3.Connection):
            def execute(self, *arguments: Any) -> sqlite3.Cursor:
                points.reached()
                return super().execute(*arguments)

            def executemany(self, *arguments: Any) -> sqlite3.Cursor:
                points.reached()
                return super().executemany(*arguments)

        connect = sqlite3.connect

        def counting(*arguments: Any, **settings: Any) -> sqlite3.Connection:
            settings["factory"] = Connection
            return connect(*arguments, **settings)

        sqlite3.connect = counting  # type: ignore[assignment]
        root = str(home.root)

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            if event in ("os.rename", "os.remove", "os.mkdir", "os.truncate") or (
                event == "open" and str(arguments[0]).startswith(root) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            ):
                points.reached()

        sys.addaudithook(watch)


def child(home: Home, verb: Verb, kill_at: int, out: Path) -> int | None:
    """Run a verb in a child that dies at point `kill_at`; return its number of points, or None if it was killed."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            points = Points(kill_at)
            points.install(home)
            verb(home)
            count = points.count
            points.kill_at = 0
            out.write_text(str(count), encoding="utf-8")
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        return None
    if status:
        raise SystemExit(f"the verb itself failed ({status})")
    return int(out.read_text(encoding="utf-8"))


def do_import(home: Home) -> None:
    with Station.open(home, CLOCK) as station:
        station.import_files([home.root.parent / "发票.csv"])


def do_copy(home: Home) -> None:
    with Station.open(home, CLOCK) as station:
        try:
            station.copy(kind="period")
        except AlreadyCopied:
            # What a person is told who runs it again after it had happened.
            assert station.card.open_copy() is not None


def do_copy_again(home: Home) -> None:
    with Station.open(home, CLOCK) as station:
        station.copy(kind="period", again=True)


def do_report(home: Home) -> None:
    with Station.open(home, CLOCK) as station:
        station.report()


def do_result(home: Home) -> None:
    with Station.open(home, CLOCK) as station:
        station.result()


def do_clear(home: Home) -> None:
    with Station.open(home, CLOCK) as station:
        station.clear()


def prepare(folder: Path, verb: str) -> Home:
    """Bring a home to where `verb` begins."""
    home = new_station(folder, CLOCK)
    invoice_list(folder / "发票.csv", INVOICES)
    steps = ["import", "copy", "report", "result", "clear"]
    for step in steps[: steps.index("report" if verb == "copy-again" else verb)]:
        if step == "result":
            put_result(home)
        VERBS[step](home)
    if verb == "result":
        put_result(home)
    return home


def put_result(home: Home) -> None:
    with Station.open(home, CLOCK) as station:
        made = station.card.open_copy()
        assert made is not None
        (station.inbox / made.name.file_name(".txt")).write_bytes(answer(made))


VERBS: dict[str, Verb] = {
    "import": do_import,
    "copy": do_copy,
    "copy-again": do_copy_again,
    "report": do_report,
    "result": do_result,
    "clear": do_clear,
}


def promises(home: Home, *, finished: str = "") -> list[str]:
    """Return which promises do not hold in a home as the next start finds it."""
    broken = []

    def insist(condition: object, what: str) -> None:
        if not condition:
            broken.append(what)

    with Station.open(home, CLOCK) as station:
        history = list(station.card.history())
        still_open = [copy for copy in history if copy.open]
        insist(len(still_open) <= 1, "two open copies")
        insist([c.sequence for c in history] == list(range(1, len(history) + 1)), "sequences have gaps")
        insist(all(c.success for c in history if c.cleared_at), "cleared without its own success")
        counted = sum(f.used for (_, rate), f in station.read().facts.totals.get("2026-07", {}).items() if not rate)
        insist(counted in (0, INVOICES), f"the card counted {counted}")
        insist(station.ledger.count() == counted, "ledger and card differ")
        insist(not station.behind(), "the ledger lacks detail")
        for copy in history:
            life = station.store.report(copy.nonce)
            insist(life is not None, "a copy has no life-line")
            insist(copy.invoice_count == INVOICES, "a copy froze other figures")
            if copy.open:
                insist(station.ledger.copy_count(copy.nonce) == INVOICES, "the ledger froze other invoices")
        for path in station.outbox.glob("*.dat"):
            with path.open("rb") as file:
                digest = prove_report(file, pki().trust, at=NOW).digest
            insist(digest in {c.report_digest for c in history}, "a file is out that no copy waits for")
        for path in station.outbox.glob("*.ack"):
            ack = prove_ack(path.read_bytes(), pki().trust, at=NOW + timedelta(hours=3)).ack
            insist([c for c in history if c.cleared_at and c.report_digest == ack.report_digest], "a receipt lies")
        for folder in (home.root, home.outbox, home.spool, home.results, home.inbox):
            insist(not list(folder.glob(".*.taxferry-tmp")), f"a temporary file was left in {folder.name}")
        state = station.read().state
        if finished in ("copy", "copy-again", "report"):
            insist(state is CardState.COPIED, f"state {state}")
        if finished == "report":
            insist(len(list(station.outbox.glob("*.dat"))) == 1, "no report is out")
        if finished == "result":
            insist(state is CardState.TO_CLEAR, f"state {state}")
            insist(len(list(home.results.glob("*.txt"))) == 1, "the result was not kept")
        if finished == "clear":
            insist(state is CardState.DONE, f"state {state}")
            insist(len(list(station.outbox.glob("*.ack"))) == 1, "no receipt is out")
            insist(list(home.backups.glob("*.zip")), "there is no backup")
    return broken


def sealed_out(home: Home) -> bytes | None:
    found = list(home.outbox.glob("*.dat"))
    return found[0].read_bytes() if found else None


def main(verb: str, step: int, folder: Path) -> dict[str, object]:
    """Kill `verb` at every `step`-th point; return what went wrong."""
    template = prepare(folder / "template", verb)
    work = folder / "trial"
    wrong: list[str] = []
    kills = 0
    point = 1
    while True:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(folder / "template", work)
        home = Home(work / template.root.name)
        done = child(home, VERBS[verb], point, work / "points")
        if done is not None:
            break
        kills += 1
        try:
            wrong += [f"point {point}: {what}" for what in promises(home)]
            before = sealed_out(home)
            VERBS[verb](home)
            wrong += [f"point {point}, run again: {what}" for what in promises(home, finished=verb)]
            if verb == "report" and before is not None and sealed_out(home) != before:
                wrong.append(f"point {point}: other bytes were given out the second time")
        except Exception as error:  # noqa: BLE001  everything that goes wrong is the finding
            wrong.append(f"point {point}: {type(error).__name__}: {error}")
        point += step
    return {"kills": kills, "wrong": wrong, "points": done}


if __name__ == "__main__":
    target = Path(sys.argv[3])
    (target / "template").mkdir(parents=True)
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), target)))
