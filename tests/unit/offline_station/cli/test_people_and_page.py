"""The verbs of the people and of the page: who may do what on the command line, and `serve` as a process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from offline_station import cli
from offline_station.shell.station import Station
from shared.clock import FixedClock, SystemClock
from tests.support.offline import NOW, answer, new_station
from tests.support.web import Browser

ROOT = Path(__file__).parents[4]


class Line:
    """A command line with passwords in files."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.home = new_station(folder, cli.clock).root
        self.err: dict[str, Any] = {}

    def secret(self, text: str) -> Path:
        path = self.folder / f"{abs(hash(text))}.txt"
        path.write_text(text + "\n", encoding="utf-8")
        return path

    def ask(self, *words: object, status: int = 0) -> dict[str, Any]:
        code = cli.program.run(["--home", str(self.home), "--json", *map(str, words)])
        found = json.loads(self._capsys.readouterr().out)
        assert code == status, found
        self.err = found["errors"][0] if found["errors"] else {}
        data: dict[str, Any] = found["data"]
        return data

    def staff(self) -> None:
        self.ask(
            "operators", "add", "李主管", "--role", "administrator", "--new-password-file", self.secret("correct-horse")
        )
        self.ask(
            "operators",
            "add",
            "王会计",
            "--new-password-file",
            self.secret("battery-staple"),
            *self.by("李主管", "correct-horse"),
        )

    def by(self, name: str, password: str) -> tuple[object, ...]:
        return "--operator", name, "--password-file", self.secret(password)


@pytest.fixture
def line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.setattr(cli, "clock", FixedClock(NOW))
    return Line(tmp_path, capsys)


def test_without_operators_everything_is_as_it_was(line: Line) -> None:
    assert line.ask("operators", "list")["items"] == []
    line.ask("copy")
    saved = line.ask("backup")["file"]
    line.ask("restore", saved)


def test_the_first_operator_is_an_administrator(line: Line) -> None:
    line.ask("operators", "add", "王会计", "--new-password-file", line.secret("battery-staple"), status=50)
    assert line.err["code"] == "B5054"


def test_people_are_managed_by_administrators_alone(line: Line) -> None:
    line.staff()
    add = ("operators", "add", "新人", "--new-password-file", line.secret("xyzzy-plugh"))
    line.ask(*add, status=2)
    line.ask(*add, *line.by("李主管", "wrong-one"), status=50)
    assert line.err["code"] == "B5055"
    line.ask(*add, *line.by("王会计", "battery-staple"), status=51)
    names = [one["name"] for one in line.ask(*add, *line.by("李主管", "correct-horse"))["items"]]
    assert names == ["李主管", "新人", "王会计"]
    admin = line.by("李主管", "correct-horse")
    assert line.ask("operators", "allow", "新人", *admin)["items"][1]["may_clear"] is True
    assert line.ask("operators", "allow", "新人", "--no-clear", *admin)["items"][1]["may_clear"] is False
    line.ask("operators", "password", "新人", "--new-password-file", line.secret("another-one"), *admin)
    line.ask("operators", "remove", "新人", *admin)
    line.ask("operators", "remove", "李主管", *admin, status=50)


def test_clearing_is_a_right_here_too(line: Line) -> None:
    line.staff()
    line.ask("copy")
    line.ask("report")
    with Station.open(cli.Home(line.home), cli.clock) as station:
        copy = station.card.open_copy()
    assert copy is not None
    path = line.folder / copy.name.file_name(".txt")
    path.write_bytes(answer(copy, bureau_time=NOW))
    line.ask("result", path)
    line.ask("clear", status=2)
    line.ask("clear", *line.by("王会计", "battery-staple"), status=51)
    assert line.err["code"] == "B5101"
    line.ask("operators", "allow", "王会计", *line.by("李主管", "correct-horse"))
    assert line.ask("clear", *line.by("王会计", "battery-staple"))["cleared"] is True
    acted = [e["event"] for e in line.ask("show", copy.name.stem)["events"]]
    assert "cleared" in acted


def test_a_password_has_to_come_from_somewhere(line: Line) -> None:
    line.staff()
    line.ask("clear", "--operator", "李主管", status=2)
    line.ask("clear", "--operator", "李主管", "--password-file", line.folder / "none", status=50)


@contextlib.contextmanager
def serving(home: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Run `serve`, and give its process and its first line."""
    command = [sys.executable, "-m", "offline_station", "--home", str(home), "--json", "serve", "--no-browser", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first, process.communicate()
            yield process, json.loads(first)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def test_serve_says_where_it_is_and_ends_when_it_is_told(tmp_path: Path) -> None:
    home = new_station(tmp_path, SystemClock()).root
    with serving(home) as (process, ready):
        assert ready["event"] == "ready"
        port = int(ready["address"].rstrip("/").rpartition(":")[2])
        me = Browser(port)
        assert "锁死日期" in me.open(ready["url"]).words
        assert (
            ready["url"].split("ticket=")[1] not in Path(f"/proc/{process.pid}/cmdline").read_text()
            if os.path.exists("/proc")
            else True
        )
        with serving(home) as (second, there):
            assert there["elsewhere"] is True
            assert there["address"] == ready["address"]
            out, _ = second.communicate(timeout=60)
            assert second.returncode == 0, out
            assert "锁死日期" in Browser(port).open(there["url"]).words, "its ticket opens the page that runs"
    assert process.returncode == 0
    with serving(home) as (_, again):
        assert again["address"] == ready["address"], "the same port, so that an old window finds it"
        old = me.get("/")
        assert old.status == 403
        assert "serve" in old.words


def test_serve_starts_before_there_is_a_card(tmp_path: Path) -> None:
    with serving(tmp_path / "neu") as (_, ready):
        assert "装入金税卡" in Browser(int(ready["address"].rstrip("/").rpartition(":")[2])).open(ready["url"]).words


def test_serve_names_a_port_that_is_taken(tmp_path: Path) -> None:
    home = new_station(tmp_path, SystemClock()).root
    with serving(tmp_path / "other") as (_, ready):
        port = ready["address"].rstrip("/").rpartition(":")[2]
        command = [sys.executable, "-m", "offline_station", "--home", str(home), "--json", "serve", "--port", port]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 50
    assert json.loads(done.stdout)["errors"][0]["code"] == "B5050"
