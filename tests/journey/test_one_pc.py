"""Both stations on one PC: one command sets them up, and the report finds its way through the folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from offline_station.cli import program as offline
from online_station.cli import program as online
from shared.clock import SystemClock
from tests.support.offline import new_station
from tests.support.online import desk
from tests.support.reading import nothing_plugged_in

__all__ = ["nothing_plugged_in"]


@pytest.fixture
def both(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "开票机"
    folder.mkdir()
    home = new_station(folder, SystemClock())

    def run(program, root: Path, *words: object, status: int = 0) -> dict:
        assert program.run(["--home", str(root), "--json", *map(str, words)]) == status
        return json.loads(capsys.readouterr().out)

    with desk(tmp_path) as made:
        yield run, home.root, made.home.root


def test_one_command_lets_a_folder_stand_for_the_stick_on_both_sides(both) -> None:
    run, here, there = both
    made = run(online, there, "pair", "--offline-home", here)["data"]
    assert run(offline, here, "stick", "list")["data"]["path"] == made["folder"]
    assert run(online, there, "stick", "list")["data"]["path"] == made["folder"]
    assert run(online, there, "pair", "--offline-home", here)["data"] == made, "it can be run again"


def test_a_station_without_a_card_says_what_to_do(both, tmp_path: Path) -> None:
    run, _, there = both
    answer = run(online, there, "pair", "--offline-home", tmp_path / "无", status=50)
    assert "init" in answer["errors"][0]["message"]
