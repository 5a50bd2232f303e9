"""A year of the service in one process: reports of every month, corrections, sticks, archives; nothing grows but the database.

The station's clock is told (`FixedClock`), everything else is the real thing: HTTP, signatures, SQLite, files. What is measured
is taken at the end of each month, after everything that can go is gone: memory that Python has (tracemalloc), open handles,
threads, files outside the archive.
"""

from __future__ import annotations

import gc
import itertools
import logging
import os
import random
import threading
import tracemalloc
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from online_station.core.decide import OperatorRetry
from online_station.shell.archive import Archivist
from shared.ids import parse_stamp
from tests.support.online import PERIOD, Desk, desk, make_ack, make_report
from tests.support.pki import NOW

FIRST = 2
"""Months until caches, pools and prepared statements are filled."""


@dataclass(frozen=True)
class Sample:
    """What the process holds at the end of a month."""

    memory: int
    handles: int
    threads: int
    files: int
    database: int


def month_of(number: int) -> tuple[date, date, date]:
    """Return the first and last day of the month that is reported, and the first of the next; 0 is July 2026."""
    begins = date(2026 + (6 + number) // 12, (6 + number) % 12 + 1, 1)
    next_one = (begins.replace(day=28) + timedelta(days=4)).replace(day=1)
    return begins, next_one - timedelta(days=1), next_one


def live(station_desk: Desk, number: int, companies: int, rng: random.Random) -> None:
    """Play one month to its end."""
    bureau, clock = station_desk.bureau, station_desk.clock
    begins, ends, copied = month_of(number)
    period = f"{ends:%Y-%m}"
    clock.moment = datetime.combine(copied, NOW.timetz())
    bureau.at = clock.now()
    late = set(rng.sample(range(companies), companies // 4))
    if late:
        bureau.declared.discard(period)
    else:
        bureau.declared.add(period)
    made = {}
    for machine in range(companies):
        data, report = make_report(
            machine,
            bureau.pki,
            stamp=parse_stamp(f"{copied:%Y%m%d}0000"),
            period_start=begins,
            period_end=ends,
            sequence=7 + number,
        )
        made[report.digest] = report.header.name.stem
        (station_desk.inbox / report.header.name.file_name(".dat")).write_bytes(data)
    bureau.misbehave("put", *rng.choices((None, None, "drop", 429), k=companies))
    bureau.misbehave("result", *rng.choices((None, None, "drop", 503), k=companies))
    with station_desk.station() as station:
        station.once(patient=False)
        bureau.declared.add(period)
        for _ in range(40):
            clock.advance(minutes=20)
            bureau.at = clock.now()
            for digest in made.keys() & bureau.reports.keys():
                held = bureau.reports[digest]
                if held.answer is None and not held.ack:
                    again = held.code or rng.random() < 0.7
                    if again:
                        bureau.succeed(digest)
                    else:
                        bureau.fail(digest, "271D")
            station.once(patient=False)
            station.ask_now()
            for digest, stem in made.items():
                row = station.store.report(digest)
                assert row is not None
                if row.state.value == "failed":
                    station.store.apply(digest, OperatorRetry(), clock.now())
                staged = station_desk.outbox / f"{stem}.txt"
                if row.state.value == "staged" and staged.exists():
                    (station_desk.inbox / f"{stem}.ack").write_bytes(make_ack(bureau, digest)[0])
                    staged.unlink()  # carried away
            if all(digest in bureau.reports and bureau.reports[digest].ack for digest in made):
                station.once(patient=False)
                break
        assert {station.store.report(digest).state.value for digest in made} == {"acknowledged"}  # type: ignore[union-attr]
    # What the scripted bureau remembers is not the station's.
    for memory in (bureau.reports, bureau.puts, bureau.acks, bureau.log, bureau.nonces, bureau.script):
        memory.clear()


def sample(station_desk: Desk) -> Sample:
    """Look at the process and at the station's folders."""
    gc.collect()
    home = station_desk.home
    kept = [p for folder in (home.spool, home.results, home.quarantine, station_desk.inbox) for p in folder.rglob("*")]
    return Sample(
        memory=tracemalloc.get_traced_memory()[0],
        handles=len(os.listdir("/proc/self/fd")),
        threads=threading.active_count(),
        files=len(kept),
        database=home.database.stat().st_size,
    )


def play(root: Path, companies: int, months: int) -> list[Sample]:
    """Live through some months; return what there was at the end of each."""
    rng = random.Random(20261201)
    samples: list[Sample] = []
    logging.disable(logging.CRITICAL)  # pytest keeps every line until the test ends
    tracemalloc.start()
    try:
        with desk(root) as made:
            made.bureau.declared.discard(PERIOD)
            for number in range(months):
                live(made, number, companies, rng)
                # A day later everything of it is finished, and leaves the disk.
                with made.station() as station:
                    archivist = Archivist(
                        made.home, station.store, station="online-soak", folder=root / "归档", outbox=made.outbox
                    )
                    archivist.run(made.clock.now() + timedelta(days=1), older_than=timedelta(0))
                samples.append(sample(made))
    finally:
        tracemalloc.stop()
        logging.disable(logging.NOTSET)
    return samples


def holds(samples: list[Sample], growth: float) -> None:
    """Assert that nothing grows after the first months but the database, and that one by the same each month."""
    first, last = samples[FIRST], samples[-1]
    assert last.memory <= first.memory * (1 + growth), [s.memory for s in samples]
    assert last.handles <= first.handles, [s.handles for s in samples]
    assert last.threads <= first.threads, [s.threads for s in samples]
    assert last.files <= first.files, [s.files for s in samples]
    steps = [after.database - before.database for before, after in itertools.pairwise(samples)]
    assert max(steps[FIRST:]) <= 2 * max(4096, sorted(steps[FIRST:])[len(steps[FIRST:]) // 2] + 65536), steps


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="platform: handles are counted in /proc")
def test_some_months_leave_nothing_behind_but_the_database(tmp_path):
    holds(play(tmp_path, companies=2, months=5), growth=0.25)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="platform: handles are counted in /proc")
def test_a_year_leaves_nothing_behind_but_the_database(tmp_path):
    holds(play(tmp_path, companies=12, months=14), growth=0.1)
