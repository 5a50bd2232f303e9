"""Kill the online station anywhere and start it again: nothing is lost, nothing is sent twice without an answer."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from online_station.shell.gateway import PART_BYTES
from tests.support.online import desk, large_report, make_ack, make_report
from tests.support.pki import NOW

pytestmark = pytest.mark.skipif(os.name == "nt", reason="platform: processes are forked and killed by signal")
ROOT = Path(__file__).parents[2]


class Zygote:
    """Stations on demand, one process each."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.station_zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def run(self, home, verb: str, *, kill_at: int = 0, now=NOW, part_bytes: int = 0) -> dict:
        request = {
            "home": str(home),
            "verb": verb,
            "kill_at": kill_at,
            "now": now.isoformat(),
            "part_bytes": part_bytes,
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert not answer["error"], answer["error"]
        return answer

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)


@pytest.fixture(scope="module")
def zygote():
    with contextlib.closing(Zygote()) as made:
        yield made


@pytest.fixture
def made(tmp_path):
    with desk(tmp_path) as found:
        yield found


def sends_without_an_answer(log, digest) -> int:
    """Count uploads after an upload whose reply the station may not have seen, with no question in between."""
    unanswered, count = False, 0
    for method, path, _ in log:
        if not path.endswith(digest):
            continue
        if method == "PUT":
            count += unanswered
            unanswered = True
        else:
            unanswered = False
    return count


def finish(zygote, desk, digest):
    """Play the rest of the report's life without kills."""
    bureau = desk.bureau
    zygote.run(desk.home.root, "once")
    if digest not in bureau.reports:
        zygote.run(desk.home.root, "results")  # it waits a while after the second lost connection
    if bureau.reports[digest].answer is None:
        bureau.succeed(digest)
    zygote.run(desk.home.root, "results")
    stem = desk.row(digest).header.name.stem
    staged = desk.outbox / f"{stem}.txt"
    assert staged.read_bytes() == bureau.reports[digest].answer
    if bureau.reports[digest].ack is None and not list(desk.home.spool.glob("*.ack")):
        (desk.inbox / f"{stem}.ack").write_bytes(make_ack(bureau, digest)[0])
    zygote.run(desk.home.root, "once", now=NOW + timedelta(hours=2))
    assert desk.state(digest) == "acknowledged"
    assert bureau.reports[digest].ack is not None


def reset(desk, pristine):
    shutil.rmtree(desk.home.root)
    shutil.copytree(pristine, desk.home.root)
    bureau = desk.bureau
    bureau.reports.clear()
    bureau.puts.clear()
    bureau.acks.clear()
    bureau.log.clear()
    bureau.nonces.clear()
    bureau.uploads.clear()
    bureau.parts.clear()


@pytest.mark.parametrize("misbehaviour", [None, "drop", "refuse"])
def test_killed_at_every_point_of_taking_and_sending(zygote, made, tmp_path, misbehaviour):
    digest = made.report()
    pristine = tmp_path / "pristine"
    shutil.copytree(made.home.root, pristine)
    point, killed = 0, True
    seen = set()
    while killed:
        point += 1
        reset(made, pristine)
        if misbehaviour:
            made.bureau.misbehave("put", misbehaviour)
        answer = zygote.run(made.home.root, "once", kill_at=point)
        killed = answer["killed"]
        seen.update(answer["points"])
        finish(zygote, made, digest)
        puts = made.bureau.puts[digest]
        assert sends_without_an_answer(made.bureau.log, digest) == 0, answer["points"]
        assert puts == (2 if misbehaviour == "refuse" else 1), answer["points"]
        assert made.bureau.acks[digest] == 1
        made.bureau.script.clear()
    assert {"report kept", "report noted", "report removed from the inbox", "decided Checked"} <= seen
    assert misbehaviour or "upload answered" in seen


@pytest.mark.parametrize("misbehaviour", [None, "refuse"])
def test_killed_at_every_point_of_sending_a_large_report(zygote, made, tmp_path, misbehaviour):  # GW-38
    size = 5_000
    data, report = large_report(2 * size - 1_000)
    assert 2 * size < len(data) < 3 * size
    (made.inbox / report.header.name.file_name(".dat")).write_bytes(data)
    pristine = tmp_path / "pristine"
    shutil.copytree(made.home.root, pristine)
    point, killed, seen = 0, True, set()
    while killed:
        point += 1
        reset(made, pristine)
        if misbehaviour:
            made.bureau.misbehave("part", None, misbehaviour)
        answer = zygote.run(made.home.root, "once", kill_at=point, part_bytes=size)
        killed = answer["killed"]
        seen.update(answer["points"])
        for verb in ("once", "results"):  # the second one only after the second lost connection
            zygote.run(made.home.root, verb, part_bytes=size)
        assert made.state(report.digest) in ("accepted", "processing"), answer["points"]
        assert made.bureau.puts[report.digest] == 1, answer["points"]
        # A station that is killed between two parts has lost nothing.
        octets = sum(part.octets for part in made.bureau.parts)
        assert octets == len(data) + (size if misbehaviour == "refuse" else 0), answer["points"]
        made.bureau.script.clear()
    assert {"part arrived", "decided Checked"} <= seen


def test_killed_in_the_middle_of_every_part(made):  # GW-38
    """The real program, by SIGKILL, when half of a part is on its way: the others are not sent again."""
    data, report = large_report(13 << 20)
    assert 3 * PART_BYTES < len(data) < 4 * PART_BYTES
    (made.inbox / report.header.name.file_name(".dat")).write_bytes(data)
    command = [sys.executable, "-m", "online_station", "--home", str(made.home.root), "once"]
    running: list[subprocess.Popen[bytes]] = []
    todo = [3 * PART_BYTES, 2 * PART_BYTES, PART_BYTES, 0]

    def kill(first: int) -> None:
        if todo and first == todo[-1]:
            todo.pop()
            running[-1].kill()

    made.bureau.on_part = kill
    for number in range(5):
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            running.append(process)
            process.wait(60)
        assert process.returncode == (0 if number == 4 else -signal.SIGKILL)
    assert made.bureau.puts[report.digest] == 1
    whole = [part for part in made.bureau.parts if part.octets == part.size]
    assert sum(part.octets for part in made.bureau.parts) <= len(data) + 4 * PART_BYTES
    # Nothing that the bureau had acknowledged was sent once more.
    acknowledged = [part.first for part in whole if part.status]
    assert acknowledged == sorted(set(acknowledged)) == [n * PART_BYTES for n in range(4)]


def test_killed_at_every_point_of_fetching_and_staging(zygote, made, tmp_path):
    digest = made.report()
    zygote.run(made.home.root, "once")
    made.bureau.succeed(digest)
    pristine = tmp_path / "pristine"
    shutil.copytree(made.home.root, pristine)
    point, killed, seen = 0, True, set()
    held = made.bureau.reports[digest]
    while killed:
        point += 1
        reset(made, pristine)
        held.ack = None
        made.bureau.reports[digest] = held
        answer = zygote.run(made.home.root, "results", kill_at=point)
        killed = answer["killed"]
        seen.update(answer["points"])
        finish(zygote, made, digest)
        assert made.bureau.puts[digest] == 0, "the bureau has it already"
    assert {"result kept", "decided ResultProven", "result staged", "decided Staged"} <= seen


@pytest.mark.parametrize("misbehaviour", [None, "drop", "refuse"])
def test_killed_at_every_point_of_delivering_the_clear_receipt(zygote, made, tmp_path, misbehaviour):
    digest = made.report()
    zygote.run(made.home.root, "once")
    made.bureau.succeed(digest)
    zygote.run(made.home.root, "results")
    made.ack(digest)
    pristine = tmp_path / "pristine"
    shutil.copytree(made.home.root, pristine)
    held = made.bureau.reports[digest]
    point, killed, seen = 0, True, set()
    while killed:
        point += 1
        reset(made, pristine)
        held.ack = None
        made.bureau.reports[digest] = held
        if misbehaviour:
            made.bureau.misbehave("ack", misbehaviour)
        answer = zygote.run(made.home.root, "once", kill_at=point)
        killed = answer["killed"]
        seen.update(answer["points"])
        finish(zygote, made, digest)
        assert made.bureau.acks[digest] == (2 if misbehaviour == "refuse" else 1), answer["points"]
        made.bureau.script.clear()
    assert {"ack kept", "ack noted", "ack sending"} <= seen


def test_the_service_killed_at_random_moments_sends_each_report_once(made):
    """The real program, by SIGKILL from outside, while reports arrive."""
    rng = random.Random(20080718)
    made.bureau.ask_after = 0
    command = [sys.executable, "-m", "online_station", "--home", str(made.home.root), "--json", "run"]
    files = [make_report(machine) for machine in range(4)]
    digests = [report.digest for _, report in files]
    for data, report in files:
        (made.inbox / report.header.name.file_name(".dat")).write_bytes(data)
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout.readline()  # it is up
            time.sleep(rng.uniform(0.0, 0.25))
            process.send_signal(signal.SIGKILL)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        # What the killed one left half done is told first, while the service makes itself ready.
        assert "ready" in (json.loads(line)["event"] for line in process.stdout)
        last = time.monotonic() + 60
        while not all(d in made.bureau.reports for d in digests) or list(made.inbox.iterdir()):
            assert time.monotonic() < last
            time.sleep(0.05)
        process.terminate()
        said = process.communicate(timeout=30)[0]
        assert process.returncode == 0
        assert json.loads(said.splitlines()[-1])["data"]["event"] == "stopped"
    assert {d: made.bureau.puts[d] for d in digests} == dict.fromkeys(digests, 1)
    assert all(sends_without_an_answer(made.bureau.log, d) == 0 for d in digests)
    assert list(made.inbox.iterdir()) == []
