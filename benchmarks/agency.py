"""The agency month: thousands of companies' reports dropped into one inbox at once, until each has its result and is closed.

    python -m benchmarks.agency [--companies 20000] [--peak] [--only sqlite,huey] [--seconds 40]

Each variant is the same month: the papers are made beforehand (kept in build/agency), the bureau is a process of its own
(`tests.support.scripted_bureau`) whose 40 minutes are compressed, and the station is the real `online-station run` on a home
of its own. Baselines of the same run, over the same bureau, gateway client and proofs:

    naive     one thread per file, asking at fixed intervals, remembering nothing
    huey      the ready-made task queue on SQLite (pip install huey): quick and small, and it loses jobs when it is killed

`--peak` makes a third of the bureau's answers go wrong (429, 503, connections dropped before and after, slow).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.support.agency_month import Month, make_month

ROOT = Path(__file__).resolve().parent.parent
REAL_SECONDS = 40 * 60
VARIANTS = ("naive", "huey", "sqlite", "postgresql", "postgresql-2")
_LOOK_SECONDS = 0.5


@dataclass
class Outcome:
    """What a variant came to.

    Attributes:
        name: The variant.
        companies: How many reports.
        wall: Seconds from the first file to the last clear receipt.
        cpu: Processor seconds of the station, all nodes.
        bureau_cpu: Of the bureau.
        memory: Peak of the largest process, in MB.
        handles: The most open files of a process.
        database: Size at the end, in MB.
        requests: Requests that the bureau got.
        staged: Seconds from the moment that an answer is ready until it lies in the outbox, sorted.
        most_at_once: Requests under way at the same time.
        most_puts: How often a report was sent at most.
        lost: Reports without a result, or without a delivered clear receipt.
    """

    name: str
    companies: int
    wall: float
    cpu: float
    bureau_cpu: float
    memory: float
    handles: int
    database: float
    requests: int
    staged: list[float]
    most_at_once: int
    most_puts: int
    lost: int

    def row(self, base: Outcome | None) -> list[str]:
        """Return the cells of a table's row; ratios are to the baseline."""
        each = 1000 * self.cpu / self.companies
        ratio = "" if base is None or base is self else f" ({self.cpu / base.cpu:.2f}×)"
        return [
            self.name,
            f"{self.wall:.0f} s",
            f"{each:.1f} ms{ratio}",
            f"{1000 * self.bureau_cpu / self.companies:.1f} ms",
            f"{self.requests / self.companies:.2f}",
            f"{percentile(self.staged, 0.5):.2f} / {percentile(self.staged, 0.99):.2f} s",
            f"{self.memory:.0f} MB",
            str(self.handles),
            f"{self.database:.1f} MB",
            f"{self.lost}",
            f"{self.most_puts}",
        ]


HEAD = (
    "variant",
    "wall",
    "CPU per report",
    "bureau's CPU",
    "requests per report",
    "ready → staged p50 / p99",
    "peak memory",
    "handles",
    "database",
    "lost",
    "most uploads of one",
)


def percentile(values: Sequence[float], part: float) -> float:
    """Return a percentile of sorted values; not a number of none."""
    return values[min(len(values) - 1, int(part * len(values)))] if values else float("nan")


# Processes


class Watched:
    """A process whose memory and handles are looked at, and whose processor time is known at the end."""

    def __init__(self, command: Sequence[str], *, env: dict[str, str] | None = None, log: Path) -> None:
        self.log = log.open("ab")
        self.process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **(env or {})}, stdout=self.log, stderr=self.log
        )
        self.handles = 0
        self.cpu = self.memory = 0.0

    def look(self) -> None:
        """Take a sample."""
        with contextlib.suppress(psutil.Error, OSError):
            self.handles = max(self.handles, psutil.Process(self.process.pid).num_fds())

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it and take its account."""
        self.process.send_signal(how)
        _, status, used = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu, self.memory = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
        self.log.close()


@contextlib.contextmanager
def bureau(month: Month, seconds: float, trouble: float) -> Iterator[str]:
    """Run the bureau; give its URL."""
    command = [sys.executable, "-m", "tests.support.scripted_bureau", str(month.folder)]
    command += ["--seconds", str(seconds), "--trouble", str(trouble)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def stats(url: str) -> dict[str, Any]:
    """Return what the bureau has seen."""
    with urllib.request.urlopen(f"{url}/stats", timeout=120) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


# The month


class Agency:
    """The people and the invoicing PCs: files into the inbox, results out of the outbox, clear receipts back."""

    def __init__(self, month: Month, inbox: Path, outbox: Path) -> None:
        self.month, self.inbox, self.outbox = month, inbox, outbox
        self.stems = {case.name.stem: case for case in month.cases.values()}
        self.staged: dict[str, float] = {}

    def drop(self) -> None:
        """Put all reports into the inbox, as a copying program does."""
        for case in self.month.cases.values():
            shutil.copyfile(self.month.report(case), self.inbox / case.name.file_name(".dat"))

    def carry(self) -> None:
        """Bring the clear receipts for the results that are new in the outbox."""
        with os.scandir(self.outbox) as entries:
            for entry in entries:
                stem, dot, suffix = entry.name.rpartition(".")
                if dot and suffix == "txt" and stem in self.stems and stem not in self.staged:
                    case = self.stems[stem]
                    self.staged[stem] = entry.stat().st_mtime
                    shutil.copyfile(self.month.ack(case), self.inbox / case.name.file_name(".ack"))


def station(arguments: Sequence[str]) -> list[str]:
    """Return the command line of the station's program."""
    return [sys.executable, "-m", "online_station", *arguments]


def make_home(home: Path, month: Month, url: str, shared: Path, database: str | None, rate: float) -> None:
    """Make a station, or a node of one, and fill its register."""
    where = [] if database is None else ["--database", database]
    init = ["init", "--bureau", url, "--key", str(month.key), "--pin-file", str(month.pin_file)]
    init += ["--root" if False else "--trust", str(month.root)]
    init += ["--inbox", str(shared / "in"), "--outbox", str(shared / "out"), "--per-second", str(rate), *where]
    for command in (init, ["companies", "import", str(month.companies)]):
        done = subprocess.run(
            station(["--home", str(home), *command]), cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode > 1:
            raise SystemExit(done.stdout + done.stderr)


def _files_size(folder: Path, pattern: str) -> float:
    return sum(path.stat().st_size for path in folder.glob(pattern)) / 1e6


def run(
    name: str,
    month: Month,
    folder: Path,
    *,
    seconds: float,
    trouble: float,
    rate: float,
    patience: float,
    database: Callable[[], str] | None,
) -> Outcome:
    """Run a variant."""
    shared = folder / "shared"
    for part in ("in", "out"):
        (shared / part).mkdir(parents=True)
    with bureau(month, seconds, trouble) as url:
        nodes: list[Watched] = []
        homes = [folder / f"node {number}" for number in (1, 2)][: 2 if name.endswith("-2") else 1]
        address = database() if name.startswith("postgresql") and database is not None else None
        if name in ("naive", "huey"):
            command = [sys.executable, "-m", f"benchmarks.agency_{name}", str(month.folder), str(folder), url]
            nodes.append(Watched([*command, str(seconds)], log=folder / f"{name}.log"))
        else:
            for home in homes:
                make_home(home, month, url, shared, address, rate)
                nodes.append(
                    Watched(station(["--home", str(home), "run", "--no-sticks"]), log=folder / f"{home.name}.log")
                )
        agency = Agency(month, shared / "in", shared / "out")
        began = time.monotonic()
        dropping = threading.Thread(target=agency.drop)
        dropping.start()
        closed = 0
        while closed < len(month.cases) and time.monotonic() - began < patience:
            time.sleep(_LOOK_SECONDS)
            agency.carry()
            for node in nodes:
                node.look()
                if node.process.poll() is not None:
                    raise SystemExit(f"{name}: the process ended; see {node.log.name}")
            if len(agency.staged) == len(month.cases):
                closed = stats(url)["acks"]
        dropping.join()
        wall = time.monotonic() - began
        for node in nodes:
            node.end()
        seen = stats(url)
    ready = {digest: at + seconds for digest, at in seen["taken"].items()}
    staged = sorted(
        agency.staged[case.name.stem] - ready[digest]
        for digest, case in month.cases.items()
        if case.name.stem in agency.staged and digest in ready
    )
    return Outcome(
        name=name,
        companies=len(month.cases),
        wall=wall,
        cpu=sum(node.cpu for node in nodes),
        bureau_cpu=seen["cpu"],
        memory=max(node.memory for node in nodes),
        handles=max(node.handles for node in nodes),
        database=_database_size(address) if address else _files_size(folder, "**/*.db*"),
        requests=sum(seen["requests"].values()),
        staged=staged,
        most_at_once=seen["most_at_once"],
        most_puts=seen["most_puts"],
        lost=len(month.cases) - min(len(staged), seen["acks"]),
    )


def _database_size(url: str) -> float:
    import psycopg

    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
        return 0.0 if row is None else float(row[0]) / 1e6


def table(outcomes: Sequence[Outcome], base: str) -> str:
    """Return the outcomes as a table."""
    found = next((one for one in outcomes if one.name == base), None)
    rows = [HEAD, ["---"] * len(HEAD), *(one.row(found) for one in outcomes)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(arguments: Sequence[str] | None = None) -> list[Outcome]:
    """Run the variants and print their table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--companies", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=40.0, help="what the bureau's 40 minutes are compressed to")
    parser.add_argument("--rate", type=float, default=1000.0, help="requests per second that the station may begin")
    parser.add_argument("--peak", action="store_true", help="a third of the answers goes wrong")
    parser.add_argument("--only", default=",".join(VARIANTS))
    parser.add_argument("--patience", type=float, default=3600.0)
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "agency")
    parser.add_argument("--keep", type=Path, help="a folder in which homes and logs are left")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    month = make_month(options.build / str(options.companies), options.companies)
    print(f"{options.companies} companies; papers ready after {time.monotonic() - began:.0f} s", flush=True)
    factor = REAL_SECONDS / options.seconds
    print(f"40 minutes are {options.seconds:g} s ({factor:g} times as fast); peak: {options.peak}", flush=True)
    outcomes: list[Outcome] = []
    with contextlib.ExitStack() as stack:
        cluster: Any = None

        def database() -> str:
            nonlocal cluster
            from tests.support.databases import running_cluster

            if cluster is None:
                cluster = stack.enter_context(running_cluster())
            url: str = cluster.new_database()
            return url

        for name in options.only.split(","):
            folder = Path(tempfile.mkdtemp(prefix=f"agency-{name}-", dir=options.keep))
            try:
                outcome = run(
                    name,
                    month,
                    folder,
                    seconds=options.seconds,
                    trouble=1 / 3 if options.peak else 0.0,
                    rate=options.rate,
                    patience=options.patience,
                    database=database,
                )
            finally:
                if options.keep is None:
                    shutil.rmtree(folder, ignore_errors=True)
            outcomes.append(outcome)
            print(f"  {name}: {', '.join(outcome.row(None)[1:])}", flush=True)
    print(table(outcomes, "naive"))
    return outcomes


if __name__ == "__main__":
    main()
