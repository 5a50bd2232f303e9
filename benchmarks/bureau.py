"""How much a bureau takes in and judges in a second, and what it does when five times as much comes.

    python -m benchmarks.bureau [--url postgresql://user@host/empty] [--small 400] [--large 2] [--repeat 3]
    python -m benchmarks.bureau --overload 90 [--url …]

Every number is compared with a floor from the same run on the same machine:

    uploads     the same HTTP stack that receives the same octets and does nothing with them; and, as what cannot be
                left out, the bare proof of the same files (signature of the request, of the report, its chain)
    judgements  bare decrypt, verify and parse of the same files, by as many processes

Reports are small (200 invoices) and large (100,000). Each comes from a taxpayer of its own, as in a filing period. Without
a URL the database is SQLite. Where PostgreSQL is installed, `--postgresql` starts a server of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

ROOT: Final = Path(__file__).resolve().parent.parent
LIMIT_MB: Final = 120
"""Peak memory of a judging process, whatever the size of the report."""
UPLOADS_GOAL: Final = 0.60
JUDGING_GOAL: Final = 0.80


# --- what is sent ----------------------------------------------------------------------------------------------------


def taxpayer(number: int) -> str:
    """Return the number of the n-th taxpayer, of 15 digits."""
    return f"31{number:013d}"


class Province:
    """A bureau with many taxpayers, and a report of each."""

    def __init__(self, folder: Path, url: str, key_type: str) -> None:
        """Make the bureau."""
        from shared.clock import SystemClock
        from tax_bureau.home import init_bureau, open_bureau

        self.folder, self.clock = folder, SystemClock()
        init_bureau(folder / "home", self.clock, key_type=key_type, database=url)  # type: ignore[arg-type]
        self.bureau = open_bureau(folder / "home", self.clock)
        self.key_type = key_type
        self.people = 0

    def settle(self, count: int) -> list[tuple[Any, Any]]:
        """Register taxpayers, declared and enrolled, and return the card and the station key of each."""
        from shared.envelope.roles import CardIdentity, Role, fingerprint
        from shared.ids import MachineNo, TaxpayerId
        from shared.keys.file import SoftSigner
        from tax_bureau.issue import card_name, certificate_pem, make_certificate, new_key, station_name
        from tax_bureau.judge.facts import CardOnFile, Declaration
        from tax_bureau.keyring import leaf_validity
        from tax_bureau.store import Card

        ring, now = self.bureau.keyring, self.clock.now()
        valid = leaf_validity(now)
        made = []
        with self.bureau.store.write() as tx:
            for _ in range(count):
                self.people += 1
                owner = TaxpayerId(taxpayer(self.people))
                identity = CardIdentity(owner, MachineNo(0), f"TF{self.people:010d}")
                signers = []
                for role, name in (
                    (Role.CARD, card_name("某某公司", identity)),
                    (Role.STATION, station_name("某某公司", owner)),
                ):
                    key = new_key(self.key_type)  # type: ignore[arg-type]
                    certificate = make_certificate(
                        role,
                        key.public_key(),
                        name,
                        issuer=ring.issuing,
                        issuer_key=ring.issuing_key,
                        not_before=valid.not_before,
                        not_after=valid.not_after,
                    )
                    signers.append(SoftSigner(key, certificate, (ring.issuing,)))
                card, station = signers
                pem = certificate_pem(card.certificate)
                on_file = CardOnFile(
                    identity.card_no, owner, MachineNo(0), fingerprint(card.certificate), date(2099, 1, 1)
                )
                far = date(2099, 1, 1)
                tx.add_card(Card(on_file, 0, pem, far, far, 72, {}), issued_at=now)
                print_of = fingerprint(station.certificate)
                tx.add_station_key(print_of, owner, certificate_pem(station.certificate), issued_at=now)
                tx.enroll(print_of, now)
                tx.add_declaration(owner, "2026-07", Declaration(matching=True), now)
                made.append((card, station))
        return made

    def requests(self, count: int, invoices: int, out: Path) -> list[Path]:
        """Write a report of each of so many new taxpayers as the request that uploads it; return the reports' files."""
        from shared.envelope.roles import fingerprint
        from shared.envelope.seal import seal_report
        from shared.httpsig import content_digest, sign_request
        from tests.support.reports import draft, rows

        out.mkdir(parents=True)
        content = list(rows(invoices))
        files = []
        for number, (card, station) in enumerate(self.settle(count)):
            body = io.BytesIO()
            sealed = seal_report(
                body,
                draft(card, invoices=invoices),
                content,
                signer=card,
                recipients=[self.bureau.keyring.envelope.certificate],
                signing_time=self.clock.now(),
            )
            data = body.getvalue()
            path = out / f"{number:06d}.dat"
            path.write_bytes(data)
            files.append(path)
            target = f"/v1/reports/{sealed.digest}"
            for method, where, name in (("PUT", target, ".head"), ("GET", f"{target}/result", ".ask")):
                fields = sign_request(
                    method,
                    f"http://bureau.test{where}",
                    content_digest(hashlib.sha256(data).digest()) if method == "PUT" else None,
                    station,
                    created=int(self.clock.now().timestamp()) + 120,
                    nonce=secrets.token_hex(16),
                    keyid=fingerprint(station.certificate),
                )
                head = [f"{method} {where} HTTP/1.1", "Host: bureau.test"]
                head += [f"Content-Length: {len(data)}"] if method == "PUT" else []
                head += [f"{field}: {value}" for field, value in fields.items()]
                path.with_suffix(name).write_bytes("\r\n".join([*head, "", ""]).encode())
        return files

    def backlog(self) -> int:
        """Return how many reports are not judged yet."""
        with self.bureau.store.read() as tx:
            line = tx.in_line(self.clock.now().timestamp())
        return line.ready + line.waiting

    def close(self) -> None:
        """Close the store."""
        self.bureau.store.close()


# --- programs --------------------------------------------------------------------------------------------------------


@dataclass
class Program:
    """A process of the bench, and what it said when it was ready."""

    process: subprocess.Popen[str]
    said: dict[str, Any]

    def peak_mb(self) -> float:
        """Return its peak resident memory so far."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
        return 0.0


@contextlib.contextmanager
def program(*arguments: str) -> Iterator[Program]:
    """Run a Python program until the block ends."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        yield Program(process, json.loads(process.stdout.readline()))
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def bureau(home: Path, *options: str) -> contextlib.AbstractContextManager[Program]:
    """Run `tax-bureau`."""
    return program("-m", "tax_bureau", "--home", str(home), *options, "--json")


def sink() -> None:
    """Serve the floor: receive and forget."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    answer = b"x" * 2900  # about the size of a receipt

    async def put(request: Request) -> Response:
        async for _ in request.stream():
            pass
        return Response(answer, 201, media_type="text/plain; charset=utf-8")

    server = socket.create_server(("127.0.0.1", 0))
    print(json.dumps({"url": f"http://127.0.0.1:{server.getsockname()[1]}"}), flush=True)
    config = uvicorn.Config(
        Starlette(routes=[Route("/v1/reports/{digest}", put, methods=["PUT"])]),
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[server])


def client(folder: Path, url: str, connections: int, *, ask: bool = False) -> None:
    """Send all uploads of a folder over some connections, or ask for all results, and print what came of it."""
    host, port = url.removeprefix("http://").split(":")
    files = sorted(folder.glob("*.dat"))
    if ask:
        requests = [path.with_suffix(".ask").read_bytes() for path in files]
    else:
        requests = [path.with_suffix(".head").read_bytes() + path.read_bytes() for path in files]
    guard, at, found = threading.Lock(), iter(requests), []

    def work() -> None:
        with socket.create_connection((host, int(port))) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                with guard:
                    data = next(at, None)
                if data is None:
                    return
                began = time.perf_counter()
                line.sendall(data)
                status = read_answer(line)[0]
                with guard:
                    found.append((status, time.perf_counter() - began))

    threads = [threading.Thread(target=work) for _ in range(connections)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    statuses = [status for status, _ in found]
    print(
        json.dumps(
            {
                "seconds": seconds,
                "count": len(found),
                "bytes": sum(map(len, requests)),
                "statuses": {str(s): statuses.count(s) for s in sorted(set(statuses))},
                "p99": sorted(t for _, t in found)[int(len(found) * 0.99)],
            }
        )
    )


def storm(folder: Path, url: str, per_second: float, seconds: float) -> None:
    """Send so many uploads a second whatever is answered, those that were sent away again and again; print what came.

    Nobody waits for `Retry-After`: the stations of this storm are impolite.
    """
    host, port = url.removeprefix("http://").split(":")
    waiting = deque(
        (p.with_suffix(".head").read_bytes() + p.read_bytes(), p.name) for p in sorted(folder.glob("*.dat"))
    )
    guard = threading.Lock()
    statuses: dict[str, int] = {}
    times: dict[str, list[float]] = {}
    accepted: list[str] = []
    waits: list[int] = []
    began, sent = time.perf_counter(), 0

    def work() -> None:
        nonlocal sent
        line: socket.socket | None = None
        while True:
            with guard:
                at = began + sent / per_second
                sent += 1
                if at > began + seconds or not waiting:
                    break
                data, name = waiting.popleft()
            time.sleep(max(0.0, at - time.perf_counter()))
            start = time.perf_counter()
            status, headers = 0, {}
            with contextlib.suppress(OSError):
                if line is None:
                    line = socket.create_connection((host, int(port)), timeout=60)
                    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                line.sendall(data)
                status, headers, _ = read_answer(line)
            if line is not None and (status == 0 or headers.get("connection") == "close"):
                line.close()
                line = None
            with guard:
                statuses[str(status)] = statuses.get(str(status), 0) + 1
                times.setdefault(str(status), []).append(time.perf_counter() - start)
                if status in (200, 201):
                    accepted.append(name)
                else:
                    waiting.append((data, name))
                    if "retry-after" in headers:
                        waits.append(int(headers["retry-after"]))
        if line is not None:
            line.close()

    threads = [threading.Thread(target=work) for _ in range(96)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = {status: sorted(each) for status, each in times.items()}
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - began,
                "statuses": statuses,
                "accepted": len(accepted),
                "p50": {status: each[len(each) // 2] for status, each in took.items()},
                "p99": {status: each[int(len(each) * 0.99)] for status, each in took.items()},
                "retry_after": [min(waits, default=0), max(waits, default=0)],
                "left": len(waiting),
            }
        )
    )


def read_answer(line: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read one answer with a Content-Length; status 0 if the connection ended."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = line.recv(65536)
        if not more:
            return 0, {}, b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    while len(body) < int(headers.get("content-length", 0)):
        more = line.recv(65536)
        if not more:
            return 0, {}, b""
        body += more
    return int(first.split()[1]), headers, body


def bare(home: Path, folder: Path, what: str) -> None:
    """Prove, or open and parse, all reports of a folder; nothing else. Print how long it took."""
    from shared.clock import SystemClock
    from shared.envelope.opening import open_report, prove_report
    from tax_bureau.judge.detail import read_content
    from tax_bureau.keyring import load_keyring

    ring, now = load_keyring(home / "keys"), SystemClock().now()
    files = sorted(folder.glob("*.dat"))
    began = time.perf_counter()
    for path in files:
        with path.open("rb") as file:
            if what == "prove":
                prove_report(file, ring.store, at=now)
                continue
            with open_report(file, ring.store, ring.envelope, at=now) as opened:
                reading = read_content(opened.proven.header, opened.rows())
                assert not reading.differences
    seconds = time.perf_counter() - began
    peak = 0.0
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text()
        peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({"seconds": seconds, "count": len(files), "rss": peak}))


def run(*arguments: str) -> dict[str, Any]:
    """Run a step of this file as a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bureau", *arguments], capture_output=True, text=True, check=True, cwd=ROOT
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# --- measuring -------------------------------------------------------------------------------------------------------


@dataclass
class Measured:
    """The numbers of one kind of report and one database, over several runs."""

    uploads: list[float]
    questions: list[float]
    floor: list[float]
    proofs: list[float]
    judged: dict[int, list[float]]
    bare: dict[int, list[float]]
    size: int
    peak: float
    peak_bare: float
    p99: float


def measure(url: str, count: int, invoices: int, repeat: int, key_type: str, connections: int) -> Measured:
    """Measure one kind of report."""
    found = Measured([], [], [], [], {1: [], 2: []}, {1: [], 2: []}, 0, 0.0, 0.0, 0.0)
    with tempfile.TemporaryDirectory(prefix="taxferry-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        province = Province(folder, url, key_type)
        stack.callback(province.close)
        province.bureau.desk.set_processing_seconds(0)
        home = folder / "home"
        for number in range(repeat):
            for processes in (1, 2):
                batch = folder / f"batch-{number}-{processes}"
                province.requests(count, invoices, batch)
                found.size = next(batch.glob("*.dat")).stat().st_size
                with program("-m", "benchmarks.bureau", "--step", "sink") as floor:
                    empty = run(
                        "--step",
                        "client",
                        "--folder",
                        str(batch),
                        "--to",
                        floor.said["url"],
                        "--connections",
                        str(connections),
                    )
                found.floor.append(empty["count"] / empty["seconds"])
                with bureau(home, "serve", "--port", "0", "--workers", "0") as serving:
                    sent = run(
                        "--step",
                        "client",
                        "--folder",
                        str(batch),
                        "--to",
                        serving.said["url"],
                        "--connections",
                        str(connections),
                    )
                    assert sent["statuses"] == {"201": count}, sent
                    asked = run(
                        "--step",
                        "client",
                        "--ask",
                        "--folder",
                        str(batch),
                        "--to",
                        serving.said["url"],
                        "--connections",
                        str(connections),
                    )
                    assert asked["statuses"] == {"202": count}, asked
                found.questions.append(count / asked["seconds"])
                found.uploads.append(count / sent["seconds"])
                found.p99 = max(found.p99, sent["p99"])
                proofs = run("--step", "prove", "--folder", str(batch), "--home", str(home))
                found.proofs.append(count / proofs["seconds"])
                # As many bare processes at once as there are workers, each with its share of the files.
                shares = [folder / f"share-{number}-{processes}-{index}" for index in range(processes)]
                for index, share in enumerate(shares):
                    share.mkdir()
                    for path in sorted(batch.glob("*.dat"))[index::processes]:
                        os.link(path, share / path.name)
                with ThreadPoolExecutor(processes) as pool:
                    results = list(pool.map(partial(_open_share, home), shares))
                found.bare[processes].append(count / max(each["seconds"] for each in results))
                found.peak_bare = max(found.peak_bare, *(each["rss"] for each in results))
                found.judged[processes].append(_judge(province, home, count, processes, found))
                shutil.rmtree(batch)
    return found


def _open_share(home: Path, share: Path) -> dict[str, Any]:
    return run("--step", "open", "--folder", str(share), "--home", str(home))


def _judge(province: Province, home: Path, count: int, processes: int, found: Measured) -> float:
    """Let so many processes judge what was uploaded; return how many reports a second that were."""
    assert province.backlog() == count
    with contextlib.ExitStack() as stack:
        working = [stack.enter_context(bureau(home, "work")) for _ in range(processes)]
        last = time.monotonic() + 600
        while province.backlog():
            assert time.monotonic() < last, "it does not end"
            time.sleep(0.05)
        found.peak = max(found.peak, *(each.peak_mb() for each in working))
        for each in working:
            each.process.send_signal(signal.SIGTERM)
            each.process.wait(60)
    with province.bureau.store.read() as tx:
        mine = sorted(tx.workers(), key=lambda worker: worker.started_at)[-processes:]
        assert sum(worker.judged for worker in mine) == count, mine
        assert set(tx.counts_by_state()) == {"succeeded"}, tx.counts_by_state()
    # From the first claim to the last word: what a process needs to start is no judging.
    return sum(worker.judged / worker.busy_seconds for worker in mine if worker.judged)


def overload(url: str, seconds: float, key_type: str, *, invoices: int = 1000) -> bool:
    """Let five times as much come as is judged, and see that nothing is lost, nobody waits, and it recovers alone."""
    with tempfile.TemporaryDirectory(prefix="taxferry-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        province = Province(folder, url, key_type)
        stack.callback(province.close)
        province.bureau.desk.set_processing_seconds(0)
        home = folder / "home"
        sample = folder / "sample"
        province.requests(40, invoices, sample)
        with bureau(home, "serve", "--port", "0", "--workers", "0") as serving:
            run("--step", "client", "--folder", str(sample), "--to", serving.said["url"])
        found = Measured([], [], [], [], {1: [], 2: []}, {1: [], 2: []}, 0, 0.0, 0.0, 0.0)
        capacity = _judge(province, home, 40, 1, found)
        queue = int(capacity * 10)
        storm_of = folder / "storm"
        province.requests(int(capacity * (seconds + 20)) + queue, invoices, storm_of)
        print(f"one judge manages {capacity:.1f} reports/s alone; the queue is limited to {queue}")
        with (
            bureau(home, "serve", "--port", "0", "--workers", "0", "--max-queue", str(queue)) as serving,
            bureau(home, "work") as judge,
        ):
            came = run(
                "--step", "storm", "--folder", str(storm_of), "--to", serving.said["url"],
                "--rate", str(5 * capacity), "--seconds", str(seconds),
            )  # fmt: skip
            longest = province.backlog()
            began = time.monotonic()
            while province.backlog():
                assert time.monotonic() < began + 600, "it does not recover"
                time.sleep(0.1)
            recovered = time.monotonic() - began
            peaks = serving.peak_mb(), judge.peak_mb()
        with province.bureau.store.read() as tx:
            counts = tx.counts_by_state()
        print(json.dumps(came, indent=1))
        print(f"at the end {longest} waited; without a person the queue was empty after {recovered:.1f} s")
        print(
            f"accepted {came['accepted']} and judged {counts}; peak MB: serving {peaks[0]:.0f}, judging {peaks[1]:.0f}"
        )
        return counts == {"succeeded": came["accepted"] + 40} and set(came["statuses"]) <= {"201", "200", "429"}


def report(title: str, found: Measured) -> bool:
    """Print the numbers and their ratios; return whether the goals hold."""

    def spread(values: list[float]) -> str:
        return f"{statistics.median(values):8.3g} ({min(values):.3g} to {max(values):.3g})"

    def ratio(ours: list[float], theirs: list[float]) -> list[float]:
        return [a / b for a, b in zip(ours, theirs, strict=True)]

    print(f"\n{title}: {found.size / 1e6:.3f} MB each")
    share = ratio(found.uploads, found.floor)
    proofs = ratio(found.uploads, [1 / (1 / a + 1 / b) for a, b in zip(found.floor, found.proofs, strict=True)])
    print(f"  uploads/s          {spread(found.uploads)}   slowest of a hundred: {found.p99 * 1000:.0f} ms")
    print(f"  questions/s        {spread(found.questions)}")
    print(f"  floor/s            {spread(found.floor)}")
    print(f"  bare proofs/s      {spread(found.proofs)}")
    print(f"  of the floor       {spread(share)}")
    print(f"  of floor and proof {spread(proofs)}")
    good = statistics.median(share) >= UPLOADS_GOAL
    for processes in (1, 2):
        of = ratio(found.judged[processes], found.bare[processes])
        print(f"  judged/s, {processes} proc.  {spread(found.judged[processes])}")
        print(f"  bare/s, {processes} proc.    {spread(found.bare[processes])}   ratio {spread(of)}")
        good = good and statistics.median(of) >= JUDGING_GOAL
    print(f"  peak MB of a judging process: {found.peak:.0f} (bare: {found.peak_bare:.0f})")
    return good and found.peak < LIMIT_MB


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="", help="an empty PostgreSQL database; by default SQLite")
    parser.add_argument("--postgresql", action="store_true", help="start a PostgreSQL server for this")
    parser.add_argument("--small", type=int, default=300, help="how many small reports a run")
    parser.add_argument("--large", type=int, default=2, help="how many large reports a run; 0: none")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--suite", choices=("rsa", "p256"), default="p256")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--overload", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--ask", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--to", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.step == "sink":
        sink()
        return 0
    if chosen.step == "client":
        client(chosen.folder, chosen.to, chosen.connections, ask=chosen.ask)
        return 0
    if chosen.step == "storm":
        storm(chosen.folder, chosen.to, chosen.rate, chosen.seconds)
        return 0
    if chosen.step in ("prove", "open"):
        bare(chosen.home, chosen.folder, chosen.step)
        return 0
    with contextlib.ExitStack() as stack:
        make: Any = lambda: chosen.url  # noqa: E731
        if chosen.postgresql:
            from tests.support.databases import running_cluster

            make = stack.enter_context(running_cluster()).new_database
        kind = "PostgreSQL" if chosen.url or chosen.postgresql else "SQLite"
        if chosen.overload:
            print(f"{kind}, five times too much for {chosen.overload:.0f} s")
            return 0 if overload(make(), chosen.overload, chosen.suite) else 1
        good = True
        for name, count, invoices in (("small", chosen.small, 200), ("large", chosen.large, 100_000)):
            if count:
                found = measure(make(), count, invoices, chosen.repeat, chosen.suite, chosen.connections)
                good = report(f"{kind}, {name} reports ({invoices} invoices), {chosen.suite}", found) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
