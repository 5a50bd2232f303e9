"""Large reports over a line that breaks, between real processes: one receipt, the same octets, and little sent twice."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from online_station.shell.gateway import PART_BYTES, HttpGateway
from online_station.shell.home import Home
from online_station.shell.setup import initialise
from shared.clock import SystemClock
from shared.envelope.seal import SealedReport
from shared.errors import BureauBusy, BureauUnreachable, OutcomeUnknown
from tax_bureau.home import open_bureau
from tests.support.bad_line import BadLine, Break, bad_line
from tests.support.bureau import PIN, Office
from tests.support.bureau_process import Process, serving
from tests.support.pki import TAXPAYER
from tests.support.reports import noise

ROOT = Path(__file__).parents[2]
PART = 64 << 10
PARTS = 6

pytestmark = pytest.mark.skipif(os.name == "nt", reason="platform: processes are killed by signal")


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """Return a bureau whose certificates are in force now: the processes have the machine's clock."""
    made = Office(tmp_path / "office", real_time=True)
    made.declare()
    return made


class Sender:
    """A client that goes on as the station does: after an unknown outcome it asks, and then puts the report again."""

    def __init__(self, office: Office, line: BadLine) -> None:
        self.data, self.report = office.seal(content=noise(round((PARTS - 0.5) * PART)), invoices=0)
        assert (PARTS - 1) * PART < len(self.data) < PARTS * PART
        self.line = line
        self.path = office.root / "r.dat"
        self.path.write_bytes(self.data)
        self.gateway = HttpGateway(line.url, office.key(), SystemClock(), part_bytes=PART)
        self.troubles = 0

    def send(self) -> None:
        digest = self.report.digest
        for _ in range(40):
            try:
                if self.troubles:
                    status = self.gateway.report_status(digest)
                    if status is not None and status.state not in ("partial", "receiving"):
                        return
                self.gateway.put_report(digest, self.path, hashlib.sha256(self.data).hexdigest())
                return
            except (OutcomeUnknown, BureauUnreachable, BureauBusy):
                self.troubles += 1
        raise AssertionError(self.troubles)


def check(office: Office, data: bytes, report: SealedReport, line: BadLine, part: int) -> None:
    """Check that the bureau has the very octets, gave one receipt, and that no break cost more than a part."""
    bureau = open_bureau(office.root / "home", SystemClock())
    with closing(bureau.store), bureau.store.read() as tx:
        (found,) = tx.reports()
        assert [event.what for event in tx.events(report.digest)].count("received") == 1
    assert (found.digest, found.file_sha256) == (report.digest, hashlib.sha256(data).hexdigest())
    assert bureau.spool.path(report.digest).read_bytes() == data
    assert list((office.root / "home" / "spool" / "parts").iterdir()) == []
    assert len(data) <= line.carried <= len(data) + line.breaks * part


@pytest.mark.parametrize("octets", [0, PART // 3, None])
def test_the_line_breaks_at_every_part(office: Office, octets: int | None) -> None:  # GW-32, GW-38
    """Before each part, in each part, and after each part before its answer."""
    with serving(office.root / "home", "--processing-seconds", "600") as process, bad_line(process.url) as line:
        sender = Sender(office, line)
        for _ in range(PARTS):
            line.plan.extend([Break(octets), None] if octets is not None else [Break(None)])
        sender.send()
        assert line.breaks == PARTS
        check(office, sender.data, sender.report, line, PART)
        if octets is None:
            assert line.carried == len(sender.data), "what arrived is not sent again"


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_bureau_is_killed_again_and_again(office: Office, seed: int) -> None:  # GW-32, GW-33
    """By SIGKILL while a part is on its way, or while it is written, acknowledged or proven."""
    rng = random.Random(seed)
    home = office.root / "home"
    process = Process(home, "--processing-seconds", "600")
    try:
        with bad_line(process.url) as line:
            sender = Sender(office, line)

            def kill(pause: float) -> None:
                nonlocal process
                time.sleep(pause)
                process.end(signal.SIGKILL)
                process = Process(home)
                line.target = process.url

            for number in range(4):
                # Every other time after all of the part went out: somewhere between its octets and its answer.
                after = rng.randrange(1, PART // 2) if number % 2 else None
                pause = rng.uniform(0, 0.04)
                line.plan.extend([Break(after, lambda pause=pause: kill(pause)), *[None] * rng.randrange(2)])
            sender.send()
            assert line.breaks >= 3
            check(office, sender.data, sender.report, line, PART)
    finally:
        if process.process.poll() is None:
            process.process.kill()
            process.process.communicate(timeout=30)


@pytest.mark.parametrize("seed", range(3))
def test_the_bureau_is_killed_while_it_takes_the_whole(office: Office, seed: int) -> None:  # GW-33
    """Between the last octet and the receipt lie proof, acceptance and commit: any moment is good enough."""
    rng = random.Random(f"whole {seed}")
    home = office.root / "home"
    process = Process(home, "--processing-seconds", "600")
    try:
        with bad_line(process.url) as line:
            sender = Sender(office, line)

            def kill() -> None:
                nonlocal process
                time.sleep(rng.uniform(0, 0.06))
                process.end(signal.SIGKILL)
                process = Process(home)
                line.target = process.url

            line.plan.extend([*[None] * (PARTS - 1), Break(None, kill), Break(None, kill)])
            sender.send()
            assert line.breaks >= 1
            check(office, sender.data, sender.report, line, PART)
    finally:
        if process.process.poll() is None:
            process.process.kill()
            process.process.communicate(timeout=30)


def peak_kib(pid: int) -> int:
    """Return the most memory that a process has had so far, in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="platform: memory is read from /proc")
def test_sixty_four_megabytes_between_two_programs_over_a_bad_line(office: Office, tmp_path: Path) -> None:  # GW-38
    """Station and bureau as programs; the line breaks, either is killed in the middle, and memory stays small."""
    rng = random.Random(64)
    data, report = office.seal(content=noise(64 << 20), invoices=0)
    assert len(data) > 64 << 20
    root, pin = tmp_path / "root.pem", tmp_path / "pin.txt"
    root.write_bytes(office.bureau.keyring.root.public_bytes(Encoding.PEM))
    pin.write_text(f"{PIN.reveal_secret()}\n")
    home = Home(tmp_path / "station")
    bureau_home = office.root / "home"
    process = Process(bureau_home, "--processing-seconds", "600")
    try:
        with bad_line(process.url) as line:
            initialise(
                home,
                bureau=line.url,
                key=office.root / f"{TAXPAYER}.p12",
                pin_file=pin,
                root_file=root,
                inbox=None,
                outbox=None,
                proxy="",
                ca_file=None,
                clock=SystemClock(),
            )
            (home.default_inbox / report.header.name.file_name(".dat")).write_bytes(data)
            command = [sys.executable, "-m", "online_station", "--home", str(home.root), "--json"]
            peaks: list[int] = []
            running: list[subprocess.Popen[bytes]] = []
            before = peak_kib(process.process.pid)

            def kill_bureau() -> None:
                nonlocal process
                peaks.append(peak_kib(process.process.pid) - before)
                process.end(signal.SIGKILL)
                process = Process(bureau_home)
                line.target = process.url

            def kill_station() -> None:
                running[-1].kill()

            line.plan.extend(
                [
                    *[None] * 3,
                    Break(rng.randrange(PART_BYTES)),
                    Break(None),
                    None,
                    Break(rng.randrange(PART_BYTES), kill_bureau),
                    None,
                    Break(rng.randrange(PART_BYTES), kill_station),
                    Break(0),
                    *[None] * 2,
                    Break(None, kill_bureau),
                ]
            )
            last = time.monotonic() + 300
            while True:
                assert time.monotonic() < last
                with subprocess.Popen(
                    [*command, "once"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                ) as station:
                    running.append(station)
                    station.wait(200)
                listed = subprocess.run([*command, "list"], cwd=ROOT, capture_output=True, check=True, timeout=60)
                items = json.loads(listed.stdout)["data"]["items"]
                if [item["state"] for item in items] == ["accepted"]:
                    break
                time.sleep(0.5)  # the station's own pauses are of seconds
            peaks.append(peak_kib(process.process.pid) - before)
            assert not line.plan
            check(office, data, report, line, PART_BYTES)
            assert max(peaks) < 48 << 10, peaks
    finally:
        if process.process.poll() is None:
            process.process.kill()
            process.process.communicate(timeout=30)
