"""Wrong turns on the real command lines: wrong order, ad hoc copies, copies made again, failures before successes.

One bureau runs as a process; the programs run inside the test, each test for a taxpayer of its own.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from offline_station.cli import program as offline
from online_station.cli import program as online
from shared.cli import Program
from shared.ids import month_end
from tax_bureau.cli import program as bureau
from tests.journey.demo import last_month
from tests.support import workbooks

ROOT = Path(__file__).parents[2]
MONTH = last_month(date.today())  # noqa: DTZ011  the machine's own day is what the stations use
PERIOD = f"{MONTH:%Y-%m}"
NAME = "上海示例制造有限公司"
PATIENCE_SECONDS = 20
NUMBERS = itertools.count(1)


@dataclass
class Said:
    """What a verb printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def answer(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = self.answer["data"]
        return data


@dataclass
class Office:
    """The bureau that serves all tests of this file."""

    root: Path
    url: str


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    root = tmp_path_factory.mktemp("税 局")
    assert bureau.run(["--home", str(root / "home"), "init", "--trust-out", str(root / "root.pem")]) == 0
    command = [sys.executable, "-m", "tax_bureau", "--home", str(root / "home"), "serve", "--json"]
    options = ["--port", "0", "--processing-seconds", "0"]
    with subprocess.Popen(
        [*command, *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
    ) as process:
        try:
            assert process.stdout is not None
            yield Office(root, json.loads(process.stdout.readline())["url"])
        finally:
            process.terminate()
            process.wait(timeout=20)


class Firm:
    """One taxpayer: its cards, its invoicing PCs, its Internet PC."""

    def __init__(self, office: Office, root: Path, machines: int, call: Callable[..., Said]) -> None:
        self.office, self.root, self._call = office, root, call
        self.taxpayer = f"31010000{next(NUMBERS):07d}"
        (root / "口令").write_text("135790\n", encoding="utf-8")
        for machine in range(machines):
            card = root / f"{machine}.taxcard"
            subs = ["--sub-machines", machines - 1] if machine == 0 else []
            common = ["--taxpayer-id", self.taxpayer, "--name", NAME, "--key-type", "p256"]
            self.bureau("issue-card", *common, "--machine-no", machine, *subs, "--out", card)
            self.offline("init", "--card", card, machine=machine)
        key = ["--key", root / "key.p12", "--pin-file", root / "口令"]
        self.bureau("issue-key", "--taxpayer-id", self.taxpayer, "--out", *key[1:], "--key-type", "p256")
        self.bureau("enroll", "--taxpayer-id", self.taxpayer, *key)
        self.online("init", "--bureau", office.url, *key, "--trust", office.root / "root.pem")

    def bureau(self, *words: object, expect: int = 0) -> Said:
        return self._call(bureau, self.office.root / "home", *words, expect=expect)

    def offline(self, *words: object, machine: int = 0, expect: int = 0) -> Said:
        return self._call(offline, self.root / f"开票机 {machine}", *words, expect=expect)

    def online(self, *words: object, expect: int | None = 0) -> Said:
        return self._call(online, self.root / "上网机", *words, expect=expect)

    def declare(self) -> None:
        self.bureau("declare", "--taxpayer-id", self.taxpayer, "--period", PERIOD, "--matching")

    def sell(self, count: int, month: date = MONTH, last: date | None = None) -> None:
        """Import some invoices of a month into the main machine."""
        sales = workbooks.made_up_sales(
            random.Random(count),
            count,
            first_day=month,
            last_day=last or month_end(month),
            code="3100193320",
            first_number=month.month * 1000,
        )
        path = workbooks.csv_list(self.root / f"清单 {month:%m}.csv", sales, seller=(NAME, self.taxpayer))
        self.offline("invoices", "import", path)

    def report(self, *copy: str, machine: int = 0) -> dict[str, Any]:
        """Copy and report; return what `report` says."""
        self.offline("copy", *copy, machine=machine)
        return self.offline("report", machine=machine).data

    def state(self, digest: str) -> str:
        return str(self.online("show", digest).data["state"])

    def wait_for(self, digest: str, state: str) -> None:
        last = time.monotonic() + PATIENCE_SECONDS
        while (found := self.state(digest)) != state:
            assert time.monotonic() < last, f"{found}, not {state}"
            self.online("results", expect=None)
            time.sleep(0.05)

    def fetch(self, report: dict[str, Any]) -> Path:
        """Upload a report, and return a copy of its result."""
        self.online("upload", report["file"])
        self.wait_for(report["report_digest"], "staged")
        return Path(shutil.copy(self.root / "上网机" / "outbox" / f"{report['stem']}.txt", self.new_folder()))

    def new_folder(self) -> Path:
        folder = self.root / f"带回 {next(NUMBERS)}"
        folder.mkdir()
        return folder


@pytest.fixture
def firm(office: Office, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Firm]:
    def call(program: Program, home: Path, *words: object, expect: int | None = 0) -> Said:
        status = program.run(["--home", str(home), "--json", *map(str, words)])
        said = Said(status, *capsys.readouterr())
        assert expect is None or status == expect, f"{words}: {status}\n{said.out}{said.err}"
        assert set(said.answer) == {"ok", "command", "data", "errors", "version"}
        assert said.answer["ok"] == (status in (0, 1))
        assert said.err == ""
        return said

    return lambda machines=1: Firm(office, tmp_path, machines, call)


def test_verbs_in_the_wrong_order_name_the_next_step_and_change_nothing(firm: Callable[..., Firm]) -> None:
    us = firm()
    before = us.offline("status").data
    for verb, step in (("report", "copy"), ("clear", "copy"), ("result", "copy")):
        assert step in us.offline(verb, expect=52).answer["errors"][0]["hint"]
    assert us.offline("status").data == before
    us.offline("copy")
    for verb in ("clear", "result"):
        assert "report" in us.offline(verb, expect=52).answer["errors"][0]["hint"]
    assert "--again" in us.offline("copy", expect=52).answer["errors"][0]["hint"]
    us.offline("copy", "--adhoc", expect=52)
    us.offline("report")
    assert us.offline("report").data["sealed_now"] is False
    us.offline("clear", expect=52)
    assert us.offline("status").data["state"] == "copied"


def test_a_zero_report_goes_the_whole_way_and_every_verb_twice(firm: Callable[..., Firm]) -> None:
    us = firm()
    us.declare()
    made = us.report()
    assert made["invoice_count"] == 0
    result = us.fetch(made)
    us.online("upload", made["file"])
    assert us.online("show", made["report_digest"]).data["uploads"] == 1
    assert us.offline("result", result).data["outcome"] == "success"
    assert us.offline("result", result).data["effect"] == "repeated"
    assert us.offline("clear").data["already"] is False
    again = us.offline("clear").data
    assert again["already"] is True
    assert us.offline("result", result).data["effect"] == "applied-before"
    for _ in range(2):
        shutil.copy(again["ack_file"], us.root / "上网机" / "inbox")
        us.online("once")
    assert us.state(made["report_digest"]) == "acknowledged"


def test_a_failure_clears_nothing_and_the_same_bytes_succeed_later(firm: Callable[..., Firm]) -> None:
    us = firm()
    us.sell(4)
    made = us.report()
    digest = made["report_digest"]
    us.online("upload", made["file"], expect=52)
    assert us.state(digest) == "held"
    us.online("release", made["stem"])
    us.online("once")
    us.wait_for(digest, "failed")
    assert us.online("show", digest[:8]).data["code"] == "271D"
    us.declare()
    us.online("retry", digest[:8])
    us.wait_for(digest, "staged")
    success = us.root / "上网机" / "outbox" / f"{made['stem']}.txt"
    assert us.offline("result", success).data["outcome"] == "success"
    us.offline("clear")
    assert us.online("show", digest).data["uploads"] == 2


def test_a_copy_made_again_is_the_only_one_that_clears(firm: Callable[..., Firm]) -> None:
    us = firm()
    us.sell(4)
    us.declare()
    first = us.report()
    old = us.fetch(first)
    second = us.report("--again")
    assert second["stem"] == first["stem"]
    assert second["report_digest"] != first["report_digest"]
    assert us.offline("result", old, expect=22).answer["errors"][0]["code"] == "B2206"
    us.offline("clear", expect=52)
    us.offline("result", us.fetch(second))
    us.offline("clear")
    assert us.offline("result", old, expect=22).status == 22
    items = {i["report_digest"]: i for i in us.online("list").data["items"]}
    assert items[first["report_digest"]]["overtaken"]
    states = [i["state"] for i in us.offline("history").data["items"]]
    assert states == ["cleared", "superseded"]


def test_a_period_copy_takes_the_place_of_an_open_ad_hoc_one(firm: Callable[..., Firm]) -> None:
    us = firm()
    us.sell(3)
    us.declare()
    adhoc = us.report("--adhoc")
    assert adhoc["kind"] == "adhoc"
    old = us.fetch(adhoc)
    period = us.report()
    assert period["invoice_count"] == 3
    us.offline("result", old, expect=22)
    us.offline("result", us.fetch(period))
    lock = us.offline("clear").data["lock_date"]
    us.offline("result", us.fetch(us.report("--adhoc")))
    assert us.offline("clear").data["lock_date"] == lock, "an ad hoc clear moves no lock date"


def test_a_y_that_a_person_carried_is_named_and_clears_nothing(firm: Callable[..., Firm]) -> None:
    us = firm()
    made = us.report()
    inbox = us.root / "开票机 0" / "inbox"
    (inbox / f"{made['stem']}.txt").write_bytes(b"Y\r\n")
    found = us.offline("result", expect=43).data
    assert (found["outcome"], found["code"]) == ("processing", "Y")
    us.offline("clear", expect=52)
    assert us.offline("status").data["state"] == "copied"


def test_the_main_machine_waits_until_the_last_sub_has_reported(firm: Callable[..., Firm]) -> None:
    us = firm(3)
    us.declare()
    main = us.report()
    us.online("upload", main["file"])
    sub = us.report(machine=1)
    us.online("upload", sub["file"])
    us.wait_for(main["report_digest"], "waiting")
    us.wait_for(sub["report_digest"], "waiting")
    (line,) = us.online("board").data["items"]
    assert line["missing"] == [2]
    assert list((us.root / "上网机" / "outbox").iterdir()) == [], "nothing to carry back yet"
    last = us.report(machine=2)
    result = us.fetch(last)
    us.wait_for(main["report_digest"], "staged")
    assert us.offline("result", result, expect=22).answer["errors"][0]["code"] == "B2203"
    us.offline("result", us.root / "上网机" / "outbox" / f"{main['stem']}.txt")
    us.offline("clear")
