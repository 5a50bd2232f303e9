"""Kill the bureau's processes anywhere and start them again: nothing is lost, and nothing is judged twice.

The real programs, by SIGKILL from outside, while a station uploads and judges read: on SQLite one process that serves
and judges, on PostgreSQL one that serves and two that judge. Most kills are made while the victim has a report in hand.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from online_station.shell.gateway import HttpGateway
from shared.clock import SystemClock
from shared.errors import BureauBusy, BureauUnreachable, OutcomeUnknown
from shared.ids import MachineNo
from shared.keys.file import SoftSigner
from tax_bureau.registry import CardOrder
from tests.support.bureau import AGENCY, Office, close_offices
from tests.support.bureau_process import PATIENCE, Process
from tests.support.databases import cluster, postgresql, until
from tests.support.pki import OTHER_TAXPAYER, TAXPAYER, TAXPAYER_NAME
from tests.support.reports import rows

__all__ = ["cluster", "postgresql"]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="platform: processes are killed by signal")
LEASE = 1.0
INVOICES = 600


@pytest.fixture(params=["sqlite", "postgresql"])
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgresql")
    found = Office(tmp_path / "office", real_time=True, database=url)
    yield found
    close_offices()


class Judge:
    """`tax-bureau work` as a process of its own."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tax_bureau", "--home", str(home), "work", "--lease-seconds", str(LEASE), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        assert "working" in self.process.stdout.readline()


class Processes:
    """The bureau's processes by name, and how to start each again."""

    def __init__(self, office: Office) -> None:
        self._home = office.root / "home"
        self._server = bool(office.database)
        self._options = ["--processing-seconds", "0", "--lease-seconds", str(LEASE)]
        self._options += ["--workers", "0" if self._server else "2"]
        self.running: dict[str, Process | Judge] = {}
        self.start("serve")
        for name in ("judge 1", "judge 2") if self._server else ():
            self.start(name)

    @property
    def url(self) -> str:
        serving = self.running["serve"]
        assert isinstance(serving, Process)
        return serving.url

    def start(self, name: str) -> None:
        self.running[name] = Process(self._home, *self._options) if name == "serve" else Judge(self._home)

    def kill(self, name: str) -> None:
        process = self.running[name].process
        process.kill()
        process.communicate(timeout=PATIENCE)

    def holders(self, office: Office) -> list[str]:
        """Return the processes that have a report in hand."""
        with office.bureau.store.read() as tx:
            pids = {int(worker.split(":")[1]) for worker in tx.leasing()}
        return [name for name, each in self.running.items() if each.process.pid in pids]

    def close(self) -> None:
        for each in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                each.process.send_signal(signal.SIGCONT)
            each.process.kill()
            each.process.communicate(timeout=PATIENCE)


class Station(threading.Thread):
    """Uploads reports one after the other; what the bureau says that it has is not sent again (GW-6).

    To send it again would be to ask for another judgement, if the first one was a failure that a correction cures.
    """

    def __init__(self, office: Office, processes: Processes, machines: int) -> None:
        super().__init__(daemon=True)
        self._processes = processes
        self._office = office
        content = list(rows(INVOICES))
        self._todo = []
        for number in range(2, machines + 2):
            for taxpayer in (TAXPAYER, OTHER_TAXPAYER, AGENCY):
                card = _card(office, taxpayer, number)
                data, report = office.seal(card, taxpayer_id=taxpayer, content=content, invoices=INVOICES)
                path = office.root / f"{report.digest}.dat"
                path.write_bytes(data)
                self._todo.append((taxpayer, report.digest, path))
        self.receipts: dict[str, bytes] = {}
        self.lost: list[str] = []

    def run(self) -> None:
        for taxpayer, digest, path in self._todo:
            sent = hashlib.sha256(path.read_bytes()).hexdigest()
            while digest not in self.receipts:
                gateway = HttpGateway(self._processes.url, self._office.key(taxpayer), SystemClock())
                try:
                    status = gateway.report_status(digest)
                    if status is None or not status.receipt_no:
                        self.receipts[digest] = gateway.put_report(digest, path, sent)
                    else:
                        self.receipts[digest] = self._office.bureau.desk.receipt(_key(self._office, taxpayer), digest)
                except (BureauUnreachable, OutcomeUnknown, BureauBusy):
                    time.sleep(0.05)


def _card(office: Office, taxpayer: str, number: int) -> SoftSigner:
    order = CardOrder(taxpayer, TAXPAYER_NAME, MachineNo(number), 0, key_type="p256")
    return office.bureau.registry.issue_card(order, office.root / f"{taxpayer}-{number}").card.signer()


def results(office: Office, digest: str) -> list[int]:
    with office.bureau.store.read() as tx:
        return [each.result_no for each in tx.results(digest)]


def campaign(office: Office, *, kills: int, machines: int, seed: int) -> int:
    """Kill that often while reports come; return how many kills were made with a report in the victim's hand."""
    rng = random.Random(seed)
    patience = PATIENCE + 5 * kills
    processes = Processes(office)
    station = Station(office, processes, machines)
    at_work = 0
    try:
        station.start()
        for number in range(kills):
            names = sorted(processes.running)
            if number % 3 != 2:
                with contextlib.suppress(AssertionError):  # nobody may have anything left
                    until(lambda: processes.holders(office), 2.0)
                names = processes.holders(office) or names
            time.sleep(rng.uniform(0.0, 0.03))
            name = rng.choice(names)
            at_work += name in processes.holders(office)
            processes.kill(name)
            processes.start(name)
        station.join(patience)
        digests = [digest for _, digest, _ in station._todo]
        assert set(station.receipts) == set(digests)
        until(lambda: all(results(office, digest) for digest in digests), patience)
        for taxpayer, digest, path in station._todo:
            # Not by sending the report again: that would have it judged again.
            assert office.bureau.desk.receipt(_key(office, taxpayer), digest) == station.receipts[digest]
            assert (office.root / "home" / "spool" / "reports" / f"{digest}.dat").read_bytes() == path.read_bytes()
        assert {tuple(results(office, digest)) for digest in digests} == {(1,)}
        assert len(set(digests)) == 3 * machines
    finally:
        processes.close()
    return at_work


def _key(office: Office, taxpayer: str) -> object:
    with office.bureau.store.read() as tx:
        return tx.enrolled_keys(taxpayer)[0]


def test_killed_at_random_moments_it_loses_nothing_and_judges_nothing_twice(office: Office) -> None:
    assert campaign(office, kills=3, machines=4, seed=20080718) >= 1


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3))
def test_killed_very_often_it_loses_nothing_and_judges_nothing_twice(office: Office, seed: int) -> None:
    assert campaign(office, kills=40, machines=40, seed=seed) >= 10


def test_a_judge_that_was_stopped_for_longer_than_its_lease_writes_nothing(postgresql: str, tmp_path: Path) -> None:
    office = Office(tmp_path / "office", real_time=True, database=postgresql)
    processes = Processes(office)
    try:
        station = Station(office, processes, 2)
        station.start()
        until(lambda: [name for name in processes.holders(office) if name != "serve"], PATIENCE)
        stopped = next(name for name in processes.holders(office) if name != "serve")
        process = processes.running[stopped].process
        process.send_signal(signal.SIGSTOP)
        station.join(PATIENCE)
        digests = [digest for _, digest, _ in station._todo]
        until(lambda: all(results(office, digest) for digest in digests), PATIENCE)
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        assert [results(office, digest) for digest in digests] == [[1]] * len(digests)
    finally:
        processes.close()
        close_offices()
