"""How fast reports are sealed, proven and opened, and in how much memory.

    python benchmarks/envelope.py [--megabytes 200] [--suite p256]

Every step runs in a process of its own over the same file of rows, so that its peak memory is its own. `bare zstd` is
the floor: the same rows through the same compressor and nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

LIMIT_MB = 60
"""Peak memory that sealing and opening must stay below, whatever the size of the report."""


def make_rows(path: Path, megabytes: int) -> tuple[int, int]:
    """Write invoice rows of realistic entropy, from a fixed seed; return their number and the file's size."""
    from shared.model.report import Invoice, InvoiceLine, render_row
    from shared.money import format_fen

    chance = random.Random(20260801)
    goods = [
        "*黑色金属冶炼压延品*热轧卷板",
        "*电子计算机*笔记本电脑",
        "*餐饮服务*餐费",
        "*运输服务*运费",
        "*纸制品*打印纸",
    ]
    count = size = 0
    with path.open("wb") as file:
        while size < megabytes * 1_000_000:
            fen = chance.randrange(100, 50_000_000)
            amounts = {"amount": format_fen(fen), "tax": format_fen(fen * 13 // 100)}
            line = InvoiceLine(
                name=chance.choice(goods), unit="件", quantity=str(chance.randrange(1, 999)), rate="0.13", **amounts
            )
            row = Invoice(
                kind="007",
                code="3100204130",
                number=f"{count:08d}",
                day=date(2026, 7, chance.randrange(1, 32)).isoformat(),
                status="positive",
                buyer_name=f"上海第{chance.randrange(5000)}贸易有限公司",
                buyer_id=f"91310{chance.randrange(10**12, 10**13)}",
                lines=(line,),
                **amounts,
            )
            size += file.write(render_row(row) + b"\n")
            count += 1
    return count, size


def read_rows(path: Path) -> Iterator[bytes]:
    """Yield the rows without line ends."""
    with path.open("rb", buffering=1 << 20) as file:
        for line in file:
            yield line[:-1]


def step(name: str, folder: Path, suite: str) -> None:
    """Run one step and print its figures as JSON. The certificate world is made before the clock starts."""
    from shared.envelope.opening import open_report, prove_report
    from shared.envelope.seal import COMPRESSION_LEVEL, seal_report
    from tests.support.pki import NOW, pki
    from tests.support.reports import draft

    rows, report = folder / "rows", folder / "report.dat"
    count = json.loads((folder / "count").read_text())
    world = pki()
    began, cpu = time.perf_counter(), time.process_time()
    note = ""
    if name == "bare zstd":
        import zstandard

        compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_checksum=True).compressobj()
        block: list[bytes] = []
        size = 0
        for row in read_rows(rows):
            block.append(row)
            size += len(row)
            if size > 1 << 18:
                compressor.compress(b"\n".join(block) + b"\n")
                block, size = [], 0
        compressor.flush()
    elif name == "round trip":
        # Keys live in memory only: sealing, proving and opening share a process, and are timed one by one.
        card = world.card(key_type=suite)  # type: ignore[arg-type]
        began, cpu = time.perf_counter(), time.process_time()
        with report.open("wb") as out:
            sealed = seal_report(
                out,
                draft(card, invoices=count),
                read_rows(rows),
                signer=card,
                recipients=[world.envelope.certificate],
                signing_time=NOW,
            )
        figures("seal", began, cpu, sealed.header.content_bytes, "")
        began, cpu = time.perf_counter(), time.process_time()
        with report.open("rb") as file:
            prove_report(file, world.trust, at=NOW)
        figures("prove", began, cpu, sealed.header.content_bytes, "")
        began, cpu = time.perf_counter(), time.process_time()
        digest = hashlib.sha256()
        with report.open("rb") as file, open_report(file, world.trust, world.envelope, at=NOW) as opened:
            for _, line in opened.rows():
                digest.update(line)
        name = "open"
        note = f"{report.stat().st_size / 1e6:.1f} MB file"
    figures(name, began, cpu, rows.stat().st_size, note)


def figures(name: str, began: float, cpu: float, size: int, note: str) -> None:
    """Print the figures of a step: time, throughput, peak memory so far."""
    wall, used = time.perf_counter() - began, time.process_time() - cpu
    print(
        json.dumps({"step": name, "wall": wall, "cpu": used, "mb": size / 1e6, "rss": peak_memory_mb(), "note": note})
    )


def peak_memory_mb() -> float:
    """Return the process's peak resident memory, or 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1024


def main() -> int:
    """Run all steps and print a table; return 1 if one took more memory than permitted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--suite", choices=("rsa", "p256"), default="rsa")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.step:
        step(chosen.step, chosen.folder, chosen.suite)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count, size = make_rows(folder / "rows", chosen.megabytes)
        (folder / "count").write_text(json.dumps(count))
        print(f"{count} invoices, {size / 1e6:.0f} MB of rows, suite {chosen.suite}")
        found = []
        for each in ("bare python", "bare zstd", "round trip"):
            lines = subprocess.run(
                [sys.executable, __file__, "--step", each, "--folder", str(folder), "--suite", chosen.suite],
                check=True,
                capture_output=True,
                text=True,
            ).stdout.splitlines()
            found += [json.loads(line) for line in lines]
    base = found[0]["rss"]
    floor = next(each["cpu"] for each in found if each["step"] == "bare zstd")
    print(f"{'step':12} {'wall s':>8} {'cpu s':>8} {'MB/s':>8} {'x zstd':>8} {'peak MB':>8}")
    for each in found[1:]:
        print(
            f"{each['step']:12} {each['wall']:8.2f} {each['cpu']:8.2f} {each['mb'] / each['wall']:8.0f} "
            f"{each['cpu'] / floor:8.2f} {each['rss']:8.0f}  {each['note']}"
        )
    print(f"of which {base:.0f} MB are the interpreter, the libraries and the test certificates")
    return int(max(each["rss"] for each in found) > LIMIT_MB)


if __name__ == "__main__":
    sys.exit(main())
