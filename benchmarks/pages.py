"""How soon the invoicing PC's page is there, and what it holds, against an empty Starlette application in the same run.

    python -m benchmarks.pages [--rounds 5]

Each round starts a process of its own and asks until it answers; the medians are printed and held against the limits.
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


def one(command: list[str]) -> tuple[float, float]:
    """Start a page; return the seconds until its first answer, and the megabytes it then holds."""
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
            return seconds, psutil.Process(process.pid).memory_info().rss / 1e6
        finally:
            process.terminate()


def measure(rounds: int) -> dict[str, tuple[float, float]]:
    """Return seconds and megabytes, the medians of some rounds, by what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        home = new_station(Path(folder), SystemClock()).root
        page = [sys.executable, "-m", "offline_station", "--home", str(home), "--json", "serve", "--no-browser"]
        commands = {"empty": [sys.executable, "-c", EMPTY], "page": page}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                found[name].append(one(command))
    return {
        name: (statistics.median(s for s, _ in rows), statistics.median(m for _, m in rows))
        for name, rows in found.items()
    }


def main() -> None:
    """Print the table; end with 1 if a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    found = measure(parser.parse_args().rounds)
    for name, (seconds, megabytes) in found.items():
        print(f"{name:6} {seconds * 1000:6.0f} ms {megabytes:6.1f} MB")
    seconds, megabytes = found["page"]
    good = seconds < LIMIT_SECONDS and megabytes < LIMIT_MB
    print(f"limits {LIMIT_SECONDS * 1000:6.0f} ms {LIMIT_MB:6.1f} MB: {'kept' if good else 'PASSED'}")
    sys.exit(not good)


if __name__ == "__main__":
    main()
