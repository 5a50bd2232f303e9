"""How soon the invoicing PC's page is there, and what it holds, against an empty Starlette application in the same run.

    python -m benchmarks.pages [--rounds 5]

Each round starts a process of its own and asks until it answers; the medians are printed and held against the limits,
with the command line itself (`status`) beside them: most of what the page costs is there before the first socket. The
processor's seconds say more than the clock's where the machine has other things to do.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from shared.clock import SystemClock
from tests.support.offline import new_station

LIMIT_SECONDS = 0.6
LIMIT_MB = 60.0
ROOT = Path(__file__).parents[1]
EMPTY = """
import json, socket, sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
server = socket.create_server(("127.0.0.1", 0))
print(json.dumps({"url": f"http://127.0.0.1:{server.getsockname()[1]}/"}), flush=True)
app = Starlette(routes=[Route("/", lambda request: PlainTextResponse("hello"))])
uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off")).run(sockets=[server])
"""


def one(command: list[str]) -> tuple[float, float, float]:
    """Start a page; return the seconds until its first answer, the processor's, and the megabytes it then holds."""
    started = time.perf_counter()
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            host, _, path = url.removeprefix("http://").partition("/")
            cookie = ""
            for address in dict.fromkeys([f"/{path}", "/"]):
                connection = http.client.HTTPConnection(host, timeout=30)
                connection.request("GET", address, headers={"Cookie": cookie} if cookie else {})
                answer = connection.getresponse()
                assert answer.status == 200, answer.read()
                cookie = (answer.getheader("set-cookie") or cookie).split(";")[0]
                answer.read()
                connection.close()
            seconds = time.perf_counter() - started
            watched = psutil.Process(process.pid)
            times = watched.cpu_times()
            return seconds, times.user + times.system, watched.memory_info().rss / 1e6
        finally:
            process.terminate()


def verb(command: list[str]) -> tuple[float, float, float]:
    """Run a verb; return the seconds it took, the processor's, and the most megabytes that it held."""
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000


def measure(rounds: int) -> dict[str, tuple[float, ...]]:
    """Return seconds, processor seconds and megabytes, the medians of some rounds, by what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        home = new_station(Path(folder), SystemClock()).root
        station = [sys.executable, "-m", "offline_station", "--home", str(home), "--json"]
        found: dict[str, list[tuple[float, float, float]]] = {"empty": [], "status": [], "page": []}
        for _ in range(rounds):
            found["empty"].append(one([sys.executable, "-c", EMPTY]))
            found["status"].append(verb([*station, "status"]))
            found["page"].append(one([*station, "serve", "--no-browser"]))
    return {
        name: tuple(statistics.median(column) for column in zip(*rows, strict=True)) for name, rows in found.items()
    }


def main() -> None:
    """Print the table; end with 1 if a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    found = measure(parser.parse_args().rounds)
    for name, (seconds, processor, megabytes) in found.items():
        print(f"{name:6} {seconds * 1000:6.0f} ms {processor * 1000:6.0f} ms of processor {megabytes:6.1f} MB")
    seconds, _, megabytes = found["page"]
    good = seconds < LIMIT_SECONDS and megabytes < LIMIT_MB
    print(f"limits {LIMIT_SECONDS * 1000:6.0f} ms {LIMIT_MB:6.1f} MB: {'kept' if good else 'PASSED'}")
    sys.exit(not good)


if __name__ == "__main__":
    main()
