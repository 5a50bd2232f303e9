"""How fast a stick is filled and read, against plain copying and against what the medium itself can do.

    python -m benchmarks.stick [--runs 3] [--media folder,ext4,exfat,slow,uneven] [--folder /media/stick] [--json FILE]

Two loads: 1,000 sealed reports of 100 KB, and one file of 1 GB (200 MB on the emulated sticks). All rows of a run follow
one another on the same medium, each on an empty folder with the system's caches dropped (as root); figures are medians
over the runs, ratios are medians of the ratios within a run. The rows that others are measured by:

    limit: write    the same bytes as one file, written by dd past the cache and synced
    limit: +read    that, and the file read once past the cache: what nobody can undercut who looks at what was written
    limit: read     the same bytes read past the cache

`place` and `place_batch` hold the whole protocol of docs/spec/stick.md: syncs, read-back, rename, transfer log, and
`finish`. `read_stick` is the confined reader: it is started, lists, copies to this machine's disk and proves every
signature. Sources lie in memory where the system has a folder for that.

Root is needed for all media but the folder; a medium or a tool that is not there is named with the reason.
`--folder` measures a folder of your choice, a real stick for one. It makes and removes `taxferry-benchmark` there.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.media import MEDIA, Absent, Medium
from shared.ids import Stamp
from shared.medium import Direction, Outgoing, Stick
from shared.medium.reading import read_stick
from tests.support.pki import NOW, Pki, pki
from tests.support.reports import sealed

REPORTS, REPORT_BYTES, LARGE_BYTES, LARGE_SLOW_BYTES = 1_000, 100_000, 1_000_000_000, 200_000_000
QUICK_REPORTS, QUICK_LARGE_BYTES = 100, 64_000_000
GOAL = 1.4
"""How many times the medium's own limit a container may take, looked at once after it was written."""

WRITE, WRITE_READ, READ = "limit: write", "limit: +read", "limit: read"
ORDER = (
    WRITE,
    READ,
    WRITE_READ,
    "cp, sync",
    "rsync --fsync",
    "place",
    "place_batch",
    "reader, empty stick",
    "out: cp, sync",
    "out: rsync --fsync",
    "out: read_stick, files",
    "out: read_stick, container",
    "in and out, cp",
    "in and out, files",
    "in and out, container",
)
STATION = "benchmark"


@dataclass(frozen=True)
class Load:
    """Files that are to be carried.

    Attributes:
        name: How the load is called.
        folder: Where they lie.
        files: What they are to be on the stick.
        joined: The same bytes as one file.
        size: Their bytes.
    """

    name: str
    folder: Path
    files: tuple[Outgoing, ...]
    joined: Path
    size: int


@dataclass
class Row:
    """Something that was timed on a medium with a load, run by run."""

    medium: str
    load: str
    name: str
    bytes: int
    seconds: list[float] = field(default_factory=list)
    skipped: str = ""


# Loads -----------------------------------------------------------------------------------------------------------


def make_reports(where: Path, count: int, world: Pki) -> Load:
    """Seal that many ad hoc reports of about 100 KB each; their content is dense, so that zstd leaves it as it is."""
    chance, card = random.Random(20260801), world.card()
    rows = [base64.b64encode(chance.randbytes(720)) for _ in range(REPORT_BYTES // 730)]
    folder = where / "reports"
    folder.mkdir()
    files: list[Outgoing] = []
    joined = where / "reports.joined"
    first = (NOW - timedelta(days=1)).replace(hour=0, minute=0)
    with joined.open("wb") as together:
        for number in range(1, count + 1):
            moment = first + timedelta(minutes=number)
            data, report = sealed(
                card,
                content=rows,
                world=world,
                invoices=0,
                stamp=Stamp(f"{moment:%Y%m%d%H%M}"),
                period_start=date(2026, 8, 1),
                period_end=moment.date(),
                sequence=number,
            )
            path = folder / f"{report.header.name.stem}.dat"
            path.write_bytes(data)
            together.write(data)
            files.append(Outgoing.of(path, path.name, report.digest))
    size = sum(each.size for each in files)
    return Load(f"{count:,} reports of {size // count // 1000} KB", folder, tuple(files), joined, size)


def make_large(where: Path, size: int) -> Load:
    """Write one file of noise under a report's name."""
    chance = random.Random(20260801)
    folder = where / f"large-{size}"
    folder.mkdir()
    path = folder / "310100000000000_0_202608010000.dat"
    with path.open("wb") as file:
        for at in range(0, size, 1 << 20):
            file.write(chance.randbytes(min(1 << 20, size - at)))
    return Load(f"one file of {size // 1_000_000:,} MB", folder, (Outgoing.of(path, path.name),), path, size)


# Steps -----------------------------------------------------------------------------------------------------------


class Bench:
    """One load on one medium: the folder to write to, a disk of this machine to read to, and what is timed."""

    def __init__(self, target: Path, local: Path, load: Load, world: Pki, *, keep_caches: bool) -> None:
        self.target = target
        self.local = local
        self.load = load
        self.world = world
        self.stick = target / "stick"
        self.raw = target / "raw"
        self.keep_caches = keep_caches

    def empty(self) -> None:
        """Remove what the last row left, and make a stick."""
        for path in (self.stick, self.target / "copy", self.local):
            shutil.rmtree(path, ignore_errors=True)
        self.raw.unlink(missing_ok=True)
        self.stick.mkdir()
        self.local.mkdir()
        Stick.prepare(self.stick, "benchmark", station=STATION, now=NOW).close()
        self.forget()

    def forget(self) -> None:
        """Let everything reach the medium, and the caches be empty."""
        for path in (self.target, self.local):
            sync(path)
        if self.keep_caches:
            return
        with contextlib.suppress(OSError), open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
            file.write("3")

    def write_raw(self) -> None:
        """Write the bytes as one file, with nothing around it."""
        common = ["dd", f"if={self.load.joined}", f"of={self.raw}", "bs=1M", "conv=fsync", "status=none"]
        if not run(*common, "oflag=direct", good=False):
            run(*common)

    def read_raw(self) -> None:
        """Read the bytes of that file."""
        common = ["dd", f"if={self.raw}", "of=/dev/null", "bs=1M", "status=none"]
        if not run(*common, "iflag=direct", good=False):
            run(*common)

    def copy(self) -> None:
        """Copy as a careful person does."""
        run("cp", "-r", self.load.folder, self.target / "copy")
        sync(self.target)

    def rsync(self) -> None:
        """Copy and sync each file."""
        run("rsync", "-r", "--fsync", f"{self.load.folder}/", self.target / "copy")

    def place(self) -> None:
        """Place file by file."""
        with self.visit() as stick:
            for each in self.load.files:
                stick.place(each.path, each.name, Direction.TO_ONLINE, now=NOW, digest=each.digest)

    def place_batch(self) -> None:
        """Place everything as one container."""
        with self.visit() as stick:
            stick.place_batch(self.load.files, Direction.TO_ONLINE, now=NOW)

    @contextlib.contextmanager
    def visit(self) -> Iterator[Stick]:
        """Open the stick, and end with the proof that everything has reached it."""
        with Stick.open(self.stick, station=STATION) as stick:
            yield stick
            stick.finish()

    def copy_out(self) -> None:
        """Copy what lies on the stick to the disk."""
        run("cp", "-r", self.stick / "TAXFERRY" / Direction.TO_ONLINE, self.local / "copy")
        sync(self.local)

    def rsync_out(self) -> None:
        """Copy what lies on the stick to the disk and sync each file."""
        run("rsync", "-r", "--fsync", f"{self.stick / 'TAXFERRY' / Direction.TO_ONLINE}/", self.local / "copy")

    def take(self, expected: int) -> None:
        """Have the stick read by the confined reader; every report must be proven and copied."""
        with read_stick(
            self.stick,
            station=STATION,
            scratch=self.local,
            trust=self.world.trust,
            at=NOW,
            machines=None,
            copy_kinds=(".dat",),
            known={},
            advanced=lambda done, total: None,
        ) as harvest:
            proven = [seen for seen in harvest.of("report") if seen.copy is not None]
            if len(proven) != expected:
                raise SystemExit(f"{len(proven)} of {expected} reports were proven: {harvest.files[:1]}")


def run(program: str, *words: str | Path, good: bool = True) -> bool:
    """Run a stock program; return whether it was there and succeeded."""
    if shutil.which(program) is None:
        raise Absent(f"{program} is not installed")
    done = subprocess.run([program, *map(str, words)], capture_output=True, check=False)
    if good and done.returncode != 0:
        raise Absent(f"{program}: {done.stderr.decode(errors='replace').strip()[-200:]}")
    return done.returncode == 0


def sync(path: Path) -> None:
    """Let the file system at a path reach its medium."""
    if not (shutil.which("sync") and run("sync", "-f", path, good=False)) and hasattr(os, "sync"):
        os.sync()


# Rounds ----------------------------------------------------------------------------------------------------------


def measure(medium: Medium, bench: Bench, runs: int) -> list[Row]:
    """Time every row once per run, and print how far it is."""
    rows: dict[str, Row] = {}
    load, count = bench.load, len(bench.load.files)

    def timed(name: str, step: Callable[[], None], size: int = load.size) -> float | None:
        row = rows.setdefault(name, Row(medium.name, load.name, name, size))
        progress(f"{medium.name}, {load.name}: {name}")
        started = time.perf_counter()
        try:
            step()
        except Absent as why:
            row.skipped = str(why)
            return None
        row.seconds.append(time.perf_counter() - started)
        return row.seconds[-1]

    def derived(name: str, *parts: float | None) -> None:
        if None not in parts:
            rows.setdefault(name, Row(medium.name, load.name, name, load.size)).seconds.append(
                sum(part for part in parts if part is not None)
            )

    for _ in range(runs):
        bench.empty()
        write = timed(WRITE, bench.write_raw)
        bench.forget()
        derived(WRITE_READ, write, timed(READ, bench.read_raw))
        bench.empty()
        copied = timed("cp, sync", bench.copy)
        bench.empty()
        timed("rsync --fsync", bench.rsync)
        bench.empty()
        placed = timed("place", bench.place)
        if count == 1:
            continue
        bench.forget()
        derived("in and out, cp", copied, timed("out: cp, sync", bench.copy_out))
        shutil.rmtree(bench.local / "copy", ignore_errors=True)
        bench.forget()
        timed("out: rsync --fsync", bench.rsync_out)
        shutil.rmtree(bench.local / "copy", ignore_errors=True)
        bench.forget()
        derived("in and out, files", placed, timed("out: read_stick, files", lambda: bench.take(count)))
        bench.empty()
        timed("reader, empty stick", lambda: bench.take(0), 0)
        bench.empty()
        packed = timed("place_batch", bench.place_batch)
        bench.forget()
        derived("in and out, container", packed, timed("out: read_stick, container", lambda: bench.take(count)))
    progress("")
    return [rows[name] for name in sorted(rows, key=ORDER.index)]


def progress(words: str) -> None:
    """Say what is under way, to whoever watches."""
    if sys.stderr.isatty():
        print(f"\r{words:90}\r", end="", file=sys.stderr, flush=True)


def ratio(row: Row, base: Row | None) -> float | None:
    """Return how many times a row takes another's time: the median of the ratios within a run."""
    if base is None or not row.seconds or len(base.seconds) != len(row.seconds):
        return None
    return statistics.median(mine / theirs for mine, theirs in zip(row.seconds, base.seconds, strict=True))


def figures(rows: list[Row]) -> list[dict[str, object]]:
    """Return the rows of one medium and load as figures, with their ratios to the named baselines."""
    by_name = {row.name: row for row in rows}
    found: list[dict[str, object]] = []
    for row in rows:
        bases = {WRITE: WRITE, WRITE_READ: WRITE_READ, "cp": "cp, sync"}
        if row.name.startswith("in and out"):
            bases = {WRITE_READ: WRITE_READ, "cp": "in and out, cp"}
        elif row.name.startswith(("out:", READ)):
            bases = {READ: READ, "cp": "out: cp, sync"}
        elif row.name.startswith("reader"):
            bases = {}
        found.append(
            {
                "medium": row.medium,
                "load": row.load,
                "name": row.name,
                "bytes": row.bytes,
                "seconds": row.seconds,
                "median": statistics.median(row.seconds) if row.seconds else None,
                "skipped": row.skipped,
                "ratios": {base: ratio(row, by_name.get(name)) for base, name in bases.items()},
            }
        )
    return found


def show(found: list[dict[str, object]]) -> None:
    """Print the table of one medium and load."""
    print(f"  {'':28}{'median s':>9}  {'min–max':>15}{'MB/s':>8}{'x write':>9}{'x +read':>9}{'x read':>9}{'x cp':>7}")
    for row in found:
        if row["skipped"]:
            print(f"  {row['name']:28}skipped: {row['skipped']}")
            continue
        seconds, median, ratios = row["seconds"], row["median"], row["ratios"]
        assert isinstance(seconds, list)
        assert isinstance(median, float)
        assert isinstance(ratios, Mapping)
        shown = [ratios.get(base) for base in (WRITE, WRITE_READ, READ, "cp")]
        cells = "".join(
            f"{'' if value is None else format(value, '.2f'):>{width}}"
            for value, width in zip(shown, (9, 9, 9, 7), strict=True)
        )
        rate = f"{row['bytes'] / median / 1e6:.1f}" if row["bytes"] else ""  # type: ignore[operator]
        print(f"  {row['name']:28}{median:>9.2f}  {f'{min(seconds):.2f}–{max(seconds):.2f}':>15}{rate:>8}{cells}")


def machine() -> str:
    """Return what this was measured on."""
    words = f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {os.cpu_count()} processors"
    with contextlib.suppress(OSError):
        words += f", load {os.getloadavg()[0]:.1f}"
    return words


# The whole -------------------------------------------------------------------------------------------------------


def in_memory(size: int) -> Path | None:
    """Return a folder whose files lie in memory, if there is one with room."""
    folder = Path("/dev/shm")
    if os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > 2 * size:
        return folder
    return None


def arguments(words: list[str] | None) -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, help="how often everything is timed (3; 1 if --quick)")
    parser.add_argument(
        "--quick", action="store_true", help="100 reports and 64 MB, on a folder unless --media is given"
    )
    parser.add_argument("--media", help="which media: " + ",".join(medium.name for medium in MEDIA))
    parser.add_argument("--folder", type=Path, help="the folder to measure as the medium `folder`")
    parser.add_argument("--loads", default="reports,large", help="which loads: reports,large")
    parser.add_argument("--keep-caches", action="store_true", help="leave the caches of this machine alone")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args(words)
    options.media = options.media or ("folder" if options.quick or options.folder else "folder,ext4,exfat,slow,uneven")
    options.runs = options.runs or (1 if options.quick else 3)
    unknown = {*options.media.split(",")} - {medium.name for medium in MEDIA}
    if unknown:
        parser.error(f"no such medium: {', '.join(sorted(unknown))}")
    return options


def loads(options: argparse.Namespace, where: Path, world: Pki) -> Iterator[tuple[Load, bool | None]]:
    """Yield each load and for which media it is: fast ones, slow ones, or both; it is removed afterwards."""
    if "reports" in options.loads:
        yield make_reports(where, QUICK_REPORTS if options.quick else REPORTS, world), None
    if "large" in options.loads:
        if options.quick:
            yield make_large(where, QUICK_LARGE_BYTES), None
            return
        for size, of_slow in ((LARGE_BYTES, False), (LARGE_SLOW_BYTES, True)):
            yield make_large(where, size), of_slow


def main(words: list[str] | None = None) -> int:
    """Measure and print; return 1 if a container took longer than the goal permits on a slow stick."""
    options = arguments(words)
    wanted = [medium for medium in MEDIA if medium.name in options.media.split(",")]
    root = hasattr(os, "geteuid") and os.geteuid() == 0 and sys.platform == "linux"
    caches = "not dropped" if options.keep_caches else "dropped" if root else "not dropped: not root"
    print(f"{machine()}; {options.runs} runs, caches {caches}")
    everything: list[dict[str, object]] = []
    skipped: dict[str, str] = {}
    world = pki()
    with contextlib.ExitStack() as stack:
        local = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stick-benchmark-")))
        memory = in_memory(LARGE_BYTES + LARGE_SLOW_BYTES)
        sources = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stick-benchmark-", dir=memory)))
        for load, of_slow in loads(options, sources, world):
            for medium in wanted:
                if of_slow not in (None, medium.slow) or medium.name in skipped:
                    continue
                with tempfile.TemporaryDirectory(prefix="medium-", dir=local) as folder:
                    try:
                        with mounted(medium, options.folder, Path(folder), load.size) as target:
                            disk = local / "disk"
                            bench = Bench(target, disk, load, world, keep_caches=options.keep_caches)
                            rows = measure(medium, bench, options.runs)
                    except Absent as why:
                        skipped[medium.name] = str(why)
                        print(f"\n{medium.name} ({medium.words}): skipped: {why}")
                        continue
                print(f"\n{medium.name} ({medium.words}), {load.name}, {load.size / 1e6:.1f} MB")
                found = figures(rows)
                show(found)
                everything += found
    if options.json:
        told = {"machine": machine(), "runs": options.runs, "skipped": skipped, "rows": everything}
        options.json.write_text(json.dumps(told, ensure_ascii=False, indent=1), encoding="utf-8")
    return judge(everything)


@contextlib.contextmanager
def mounted(medium: Medium, chosen: Path | None, where: Path, size: int) -> Iterator[Path]:
    """Give the folder of a medium, with twice the room that the load needs."""
    if medium.name != "folder" or chosen is None:
        with medium.mounted(where, 2 * size) as target:
            yield target
        return
    target = chosen / "taxferry-benchmark"
    target.mkdir()
    try:
        yield target
    finally:
        shutil.rmtree(target, ignore_errors=True)


def judge(everything: list[dict[str, object]]) -> int:
    """Print how the containers compare with the goal; return 1 if one is slower where the medium sets the pace."""
    slow_media = {medium.name for medium in MEDIA if medium.slow}
    late = 0
    print()
    for row in everything:
        ratios = row["ratios"]
        if row["name"] != "place_batch" or not isinstance(ratios, Mapping) or ratios.get(WRITE_READ) is None:
            continue
        against, judged = ratios[WRITE_READ], row["medium"] in slow_media
        late += judged and against > GOAL
        words = f"goal {GOAL}" if judged else "not judged: faster than sticks are, the processor sets the pace"
        print(
            f"container on {row['medium']}: {against:.2f} times the medium's limit of writing and reading back "
            f"({words}), {ratios[WRITE]:.2f} times that of writing alone"
        )
    return int(late > 0)


if __name__ == "__main__":
    sys.exit(main())
