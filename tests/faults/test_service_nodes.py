"""The service under a misbehaving bureau, killed and stopped at random: one PC on SQLite, several nodes on PostgreSQL.

Whatever happens to the processes, in the end every report was taken by the bureau, its result lies in the outbox, its clear
receipt was delivered, and between two sendings of a report somebody asked what had become of the first.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import cluster, postgresql, until  # noqa: F401  fixtures
from tests.support.online import Desk, desk, large_report, make_ack, make_report
from tests.support.service_node import LEASE_SECONDS

pytestmark = pytest.mark.skipif(os.name == "nt", reason="platform: processes are stopped and killed by signal")
ROOT = Path(__file__).parents[2]


class Service:
    """A node's process, started again as often as it is killed."""

    def __init__(self, node: Desk) -> None:
        self.node = node
        self.log = (node.root / f"{node.name}.log").open("ab")
        self.starts = 0
        self.process = self._start()

    def ready(self) -> bool:
        """Return whether the process that was started last is at work."""
        return Path(self.log.name).read_text(errors="replace").count("ready") == self.starts

    def _start(self) -> subprocess.Popen[bytes]:
        self.starts = Path(self.log.name).read_text(errors="replace").count("ready") + 1
        command = [sys.executable, "-m", "tests.support.service_node", str(self.node.home.root)]
        return subprocess.Popen(command, cwd=ROOT, stdout=self.log, stderr=self.log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def kill_and_start(self) -> None:
        self.kill()
        self.process = self._start()

    def stop_for(self, seconds: float) -> None:
        """Let it stand still, and go on as if nothing had been."""
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        until(lambda: self.ready() or self.process.poll() is not None, 30, "the last start")
        self.process.terminate()
        try:
            assert self.process.wait(30) == 0, Path(self.log.name).read_text()[-3000:]
        finally:
            self.process.kill()
            self.log.close()


@contextlib.contextmanager
def services(nodes: list[Desk]) -> Iterator[list[Service]]:
    running = [Service(node) for node in nodes]
    try:
        yield running
    finally:
        failed = None
        for service in running:
            try:
                service.end()
            except AssertionError as error:
                failed = error
        if failed is not None and sys.exc_info()[0] is None:
            raise failed


def sends_unasked(log: list[tuple[str, str, int]], digest: str) -> int:
    """Count the uploads after one of unknown outcome without a question in between."""
    unknown, count = False, 0
    for method, path, status in log:
        if path.endswith(digest) and method == "PUT":
            count += unknown
            unknown = status != 429
        elif path.endswith(digest):
            unknown = False
    return count


def play(nodes: list[Desk], seed: int, reports: int, strokes: int) -> None:
    """Let files arrive, the bureau misbehave, and processes die, until everything is closed all the same."""
    rng = random.Random(seed)
    desk = nodes[0]
    bureau = desk.bureau
    bureau.ask_after = 0
    for kind in ("put", "status", "result", "standing", "ack"):
        bureau.misbehave(
            kind, *(rng.choice((None, None, None, None, "drop", "refuse", 429, 503)) for _ in range(8 * reports))
        )
    files = [make_report(machine) for machine in range(reports)]
    waiting = [(f"{report.header.name.stem}.dat", data) for data, report in files]
    digests = [report.digest for _, report in files]
    stems = {report.digest: report.header.name.stem for _, report in files}
    acked: set[str] = set()

    def move() -> None:
        """Be the rest of the world for a moment."""
        for _ in range(min(len(waiting), 1 + rng.randrange(3))):
            name, data = waiting.pop()
            (desk.inbox / name).write_bytes(data)
        with bureau.lock:
            for digest in digests:
                held = bureau.reports.get(digest)
                if held is not None and held.answer is None and rng.random() < 0.5:
                    bureau.succeed(digest)
        for digest in digests:
            if digest not in acked and (desk.outbox / f"{stems[digest]}.txt").exists():
                acked.add(digest)
                data, stem = make_ack(bureau, digest)
                (desk.inbox / f"{stem}.ack").write_bytes(data)

    stops = 0
    with services(nodes) as running:
        for stroke in range(strokes):
            move()
            time.sleep(rng.uniform(0.1, 0.6))
            service = rng.choice(running)
            if len(nodes) > 1 and stroke % 3 == 2:
                service.stop_for(1.3 * LEASE_SECONDS)
                stops += 1
            else:
                service.kill_and_start()
        last = time.monotonic() + 120
        while not all(d in bureau.reports and bureau.reports[d].ack is not None for d in digests):
            move()
            assert time.monotonic() < last, [(d[:8], nodes[0].state(d)) for d in digests]
            time.sleep(0.1)
        until(
            lambda: all(desk.state(d) == "acknowledged" for d in digests), 30, [(d[:8], desk.state(d)) for d in digests]
        )
    # A node can be stopped after it saw that a report is its own and before its request left: the bureau knows the digest.
    assert sum(sends_unasked(bureau.log, digest) for digest in digests) <= stops
    taken = [path.rsplit("/", 1)[1] for method, path, status in bureau.log if method == "PUT" and status == 201]
    assert len(taken) == len(set(taken)), "no report was taken twice"
    assert list(desk.inbox.iterdir()) == []
    assert bureau.unsigned == []
    for digest in digests:
        assert (desk.outbox / f"{stems[digest]}.txt").read_bytes() == bureau.reports[digest].answer


def test_one_pc_killed_again_and_again(tmp_path):
    with desk(tmp_path) as made:
        play([made], seed=1, reports=4, strokes=3)


def test_two_nodes_killed_and_stopped_beyond_their_lease(tmp_path, postgresql):  # noqa: F811
    with desk(tmp_path, postgresql, shared=tmp_path / "共享", name="甲") as first:
        play([first, first.another("乙", postgresql)], seed=2, reports=4, strokes=3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [0, 2, 3])
def test_hundreds_of_kills(tmp_path, request, count, seed):
    if not count:
        with desk(tmp_path) as made:
            return play([made], seed=100 + seed, reports=40, strokes=40)
    url = request.getfixturevalue("postgresql")
    with desk(tmp_path, url, shared=tmp_path / "共享", name="1") as first:
        nodes = [first, *(first.another(str(n), url) for n in range(2, count + 1))]
        return play(nodes, seed=200 + 10 * count + seed, reports=40, strokes=40)


def test_a_dead_node_s_upload_is_taken_over_without_a_person(tmp_path, postgresql):  # noqa: F811
    """It dies in the middle of a large report and its disk is lost; the other node goes on where the bureau is."""
    data, report = large_report(1_000_000)
    with desk(tmp_path, postgresql, shared=tmp_path / "共享", name="甲") as first:
        second = first.another("乙", postgresql)
        bureau = first.bureau
        running: list[Service] = []

        def strike(begins_at: int) -> None:
            if begins_at == 400_000 and running[0].process.poll() is None:
                running[0].process.kill()

        bureau.on_part = strike
        with contextlib.ExitStack() as stack:
            running += stack.enter_context(services([first]))
            (first.inbox / report.header.name.file_name(".dat")).write_bytes(data)
            until(lambda: running[0].process.poll() is not None, 30)
            for file in first.home.spool.iterdir():
                file.unlink()
            stack.enter_context(services([second]))
            until(lambda: report.digest in bureau.reports, 30)
            until(lambda: second.state(report.digest) != "sending", 30)
            running[0].process = running[0]._start()  # it comes back, and has nothing to do
        assert bureau.puts[report.digest] == 1
        whole = [part.first for part in bureau.parts if part.status]
        assert whole == sorted(set(whole)), "nothing that had arrived was sent again"
