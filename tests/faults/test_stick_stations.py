"""The whole round trip of both stations' programs with a stick that fails somewhere on the way.

Four walks: the report to the Internet PC, the result back, the clear receipt out again. In one visit of one station the
power fails, or the stick is pulled; what came through is what luck leaves. Then the other station looks at it as it is,
the visit is repeated, and the trip goes on: it ends in a card that was cleared by its own result, and in a receipt at
the bureau.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from offline_station import cli as offline_cli
from offline_station.shell.home import Home as OfflineHome
from offline_station.shell.station import Station
from online_station import cli as online_cli
from online_station.cli import base as online_cli_base
from shared.clock import FixedClock
from shared.states import CardState
from tests.support import media
from tests.support.cargo import Tally, sample
from tests.support.fuse_daemon import Daemon
from tests.support.offline import invoice_list, new_station, taxcard
from tests.support.online import Desk, desk
from tests.support.pki import NOW
from tests.support.stickfs import stick_of_memory

MEDIUM = "vfat (modelled)"
FAILURES = {30, 31, 32, 33, 34, 35}
"""Exit statuses that speak of the stick."""


class Trip:
    """Two stations, a bureau and a stick of memory."""

    def __init__(self, folder: Path, online: Desk, stick: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
        self.online, self.stick, self._capsys = online, stick, capsys
        self.clock = FixedClock(NOW)
        card = taxcard().model_copy(update={"trust": online.bureau.trust_file().decode()})
        self.offline = new_station(folder, self.clock, card)
        self.run(self.offline_cli, "invoices", "import", invoice_list(folder / "发票.csv", 4))
        self.run(self.offline_cli, "stick", "prepare", stick.path)
        stick.ask("save")
        self.run(self.offline_cli, "copy")
        self.run(self.offline_cli, "report")
        stick.ask("restore")
        self.homes = (self.offline.root, online.home.root)
        self.pristine = folder / "pristine"
        for home in self.homes:
            shutil.copytree(home, self.pristine / home.name)
        self.walks: list[Callable[[], int]] = [
            lambda: self.sync(self.offline_cli),
            lambda: self.sync(self.online_cli),
            lambda: self.sync(self.online_cli),
            lambda: self.sync(self.offline_cli),
            lambda: self.sync(self.offline_cli),
            lambda: self.sync(self.online_cli),
        ]

    # Programs -------------------------------------------------------------------------------------------------------

    def offline_cli(self, *words: object) -> int:
        return offline_cli.program.run(["--home", str(self.offline.root), *map(str, words), "--json"])

    def online_cli(self, *words: object) -> int:
        return online_cli.program.run(["--home", str(self.online.home.root), *map(str, words), "--json"])

    def run(self, program: Callable[..., int], *words: object, status: int | None = 0) -> dict[str, Any]:
        """Run a verb; return its data."""
        self._capsys.readouterr()
        found = program(*words)
        said = self._capsys.readouterr()
        assert status is None or found == status, f"{words}: {found}\n{said.out}{said.err}"
        return {**json.loads(said.out)["data"], "status": found}

    def sync(self, program: Callable[..., int]) -> int:
        return int(self.run(program, "stick", "sync", self.stick.path, status=None)["status"])

    # The trip -------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Be at the start: the report is sealed and the stick is empty."""
        for home in self.homes:
            shutil.rmtree(home)
            shutil.copytree(self.pristine / home.name, home)
        bureau = self.online.bureau
        for memory in (bureau.reports, bureau.puts, bureau.acks, bureau.log, bureau.nonces):
            memory.clear()
        self.stick.ask("restore")

    def between(self, walk: int) -> None:
        """Do what stands between two walks."""
        if walk == 2:
            self.run(self.online_cli, "once")
            for digest in list(self.online.bureau.reports):
                self.online.bureau.succeed(digest)
            self.run(self.online_cli, "results")
        elif walk == 4:
            self.run(self.offline_cli, "result")
            self.run(self.offline_cli, "clear")

    def card(self) -> tuple[CardState, bool]:
        """Return the card's state, and whether it was cleared by nothing but its own success."""
        with Station.open(OfflineHome(self.offline.root), self.clock) as station:
            history = list(station.card.history())
            return station.read().state, all(c.success is not None for c in history if c.cleared_at)

    def travel(self, failing: int, seed: int | None, **fault: object) -> str:
        """Make the trip with one visit that fails; return how it ended."""
        self.begin()
        status = 0
        for number, walk in enumerate(self.walks):
            self.between(number)
            if number == failing:
                self.stick.ask("arm", **fault)
                status = walk()
                self.stick.ask("pull")
                self.stick.ask("replug", seed=seed)
                if status not in FAILURES | {0}:
                    return "crashed"
                if not self.meddle(failing):
                    return "wrong-clear"
            if walk() != 0:
                return "next-visit-blocked"
        self.run(self.online_cli, "once")
        state, proper = self.card()
        if not proper or state is not CardState.DONE:
            return "wrong-clear" if not proper else "lost"
        reports = list(self.online.bureau.reports.values())
        if len(reports) != 1 or reports[0].ack is None or set(self.online.bureau.puts.values()) != {1}:
            return "lost"
        return "new"

    def meddle(self, failing: int) -> bool:
        """Have the invoicing PC try to clear with whatever the failed visit left; return whether that was proper."""
        if failing == 2:
            self.sync(self.offline_cli)
            cleared = self.run(self.offline_cli, "result", status=None)["status"] == 0
            state, proper = self.card()
            return proper and (cleared or state is CardState.COPIED)
        return True


@pytest.fixture(scope="module")
def stick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    media.need(media.no_fuse)
    with stick_of_memory(tmp_path_factory.mktemp("stations")) as made:
        yield made


@pytest.fixture
def trip(
    tmp_path: Path, stick: Daemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Trip]:
    stick.ask("reset")
    monkeypatch.setattr(offline_cli, "clock", FixedClock(NOW))
    monkeypatch.setattr(online_cli_base, "CLOCK", FixedClock(NOW))
    with desk(tmp_path) as online:
        yield Trip(tmp_path, online, stick, capsys)


WALKS = ["report out", "report in", "result out", "result in", "receipt out", "receipt in"]


def test_the_trip_is_possible_at_all(trip: Trip) -> None:
    assert trip.travel(99, None) == "new"


@pytest.mark.parametrize("walk", range(len(WALKS)), ids=WALKS)
def test_one_visit_loses_power_or_its_stick_and_the_trip_ends_well(trip: Trip, walk: int) -> None:
    """STICK-5, STICK-12: and the card is only ever cleared by its own success."""
    cut = Tally("fuse", MEDIUM, f"power cut in a visit of a station: {WALKS[walk]}")
    pulled = Tally("fuse", MEDIUM, f"pulled in a visit of a station: {WALKS[walk]}")
    trip.begin()
    for number, step in enumerate(trip.walks[:walk]):
        trip.between(number)
        assert step() == 0
    trip.between(walk)
    before = trip.stick.ask("operations")
    assert trip.walks[walk]() == 0
    after = trip.stick.ask("operations")
    changes, everything = (after[which] - before[which] for which in ("changes", "all"))
    for at in sample(range(1, changes + 1), 9, first=walk * 2 + 5):
        for seed in sample((None, 1, 2, 3), 2, first=at):
            cut.count(trip.travel(walk, seed, at=at, do="cut", among="changes"), f"operation {at}, luck {seed}")
    for at in sample(range(1, everything + 1), 60, first=walk * 7 + 11):
        for do in sample(("yank", "vanish"), 2, first=at):
            pulled.count(trip.travel(walk, None, at=at, do=do), f"operation {at}, {do}")
    for tally in (cut, pulled):
        if tally.ends:
            tally.close()
