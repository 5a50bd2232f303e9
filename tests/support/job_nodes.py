"""Nodes as processes that can be killed, and the host they send to, which counts.

Run as a program it reads one JSON object per line, `{"url", "port", "name", "lease", "alone", "limits"}`, forks a node, and answers
with its process id. A node serves the table of `tests.support.jobs` until it is killed:

    send  saves `ask`, sends the key to the host, and notes it
    ask   asks the host whether it has the key; if not, it sends it
    poll  notes that it is finished, and leaves its lane

What a node notes goes into the table `effect`, in the transaction that settles the row.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from shared.jobs import rows
from shared.jobs.database import open_database, present
from shared.jobs.limiter import ANSWERED
from shared.jobs.limits import Limits
from shared.jobs.pool import Done, Pool, Queue, Task
from tests.support.databases import until
from tests.support.jobs import EFFECT, PARCEL, bureau

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
LIMITS = Limits(at_once=6, per_second=500.0, burst=50)


class Host:
    """Takes keys over HTTP and counts how often each one came."""

    def __init__(self) -> None:
        self.puts: Counter[str] = Counter()
        self.order: list[str] = []
        self.most_at_once = 0
        self.hold: Callable[[str], bool] = lambda key: False
        """Asked after a key was noted: whether its answer is held back until `release`."""
        self.held: set[str] = set()
        self.starts: list[float] = []
        self.takes = 0.0
        """Seconds that a request takes."""
        self._now = 0
        self._guard = threading.Lock()
        self._release = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def release(self) -> None:
        """Answer all requests that are held back, and hold none any more."""
        self.hold = lambda key: False
        self._release.set()

    def close(self) -> None:
        """End it."""
        self.release()
        self._server.shutdown()
        self._server.server_close()

    def put(self, key: str) -> None:
        """Take a key."""
        with self._guard:
            self.puts[key] += 1
            self.order.append(key)
            self.starts.append(time.monotonic())
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            held = self.hold(key)
            if held:
                self.held.add(key)
                self._release.clear()
        if held:
            self._release.wait(PATIENCE)
        elif self.takes:
            threading.Event().wait(self.takes)
        with self._guard:
            self._now -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                host.put(self.path[1:])
                self._answer(200)

            def do_GET(self) -> None:
                self._answer(200 if host.puts[self.path[1:]] else 404)

            def _answer(self, status: int) -> None:
                with contextlib.suppress(OSError):  # whoever asked may have been killed
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


class Nodes:
    """Starts nodes and kills them."""

    def __init__(self, url: str, host: Host, folder: Path) -> None:
        self._url = url
        self._host = host
        self.log = folder / "nodes.log"
        with self.log.open("ab") as log:
            self._zygote = subprocess.Popen(
                [sys.executable, "-m", "tests.support.job_nodes"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
            )
        self.alive: list[int] = []

    def start(self, name: str, *, lease: float = 1.0, alone: bool = False, limits: Limits = LIMITS) -> int:
        """Start a node and return its process id."""
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        about: dict[str, object] = {
            "url": self._url,
            "port": self._host.port,
            "name": name,
            "lease": lease,
            "alone": alone,
        }
        about["limits"] = dataclasses.asdict(limits)
        self._zygote.stdin.write(json.dumps(about) + "\n")
        self._zygote.stdin.flush()
        pid = int(self._zygote.stdout.readline())
        self.alive.append(pid)
        return pid

    def kill(self, pid: int) -> None:
        """Kill a node, and wait until it is gone."""
        os.kill(pid, signal.SIGKILL)
        self.alive.remove(pid)
        until(lambda: not is_alive(pid), what="the end of a node")

    def close(self) -> None:
        """Kill all of them."""
        for pid in list(self.alive):
            self.kill(pid)
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.close()
        self._zygote.wait(PATIENCE)
        self._zygote.stdout.close()


def is_alive(pid: int) -> bool:
    """Return whether a process is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def playground(url: str, folder: Path) -> Iterator[tuple[Host, Nodes]]:
    """Have a host, and nodes that use a database."""
    host = Host()
    try:
        nodes = Nodes(url, host, folder)
        try:
            yield host, nodes
        finally:
            nodes.close()
    finally:
        host.close()


class Kills:
    """Kills nodes at moments of a seeded choice: while an answer is under way, or some requests later, anywhere."""

    def __init__(self, seed: int, host: Host) -> None:
        self._rng = random.Random(seed)
        self._host = host

    def await_moment(self, finished: Callable[[], bool]) -> bool:
        """Return when it is time to kill; False if all is finished before."""
        host, rng = self._host, self._rng
        count = len(host.order) + rng.randint(1, 5)
        within = rng.random() < 0.5
        pause = rng.uniform(0.0, 0.02)
        if within:
            host.hold = lambda key: len(host.order) >= count
        until(lambda: len(host.order) >= count or finished(), PATIENCE, "requests")
        if not within:
            last = time.monotonic() + pause  # anywhere between the steps; nothing waits for this
            until(lambda: time.monotonic() >= last)
        return not finished()


def handle(task: Task, port: int, name: str) -> Done:
    """Do a step."""
    claim = task.claim

    def ask(method: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            connection.request(method, f"/{claim.key}")
            return connection.getresponse().status
        finally:
            connection.close()

    def note(connection: sa.Connection, step: str, values: dict[str, object]) -> dict[str, object]:
        at = present(connection)
        connection.execute(sa.insert(EFFECT).values(key=claim.key, step=step, worker=name, at=at))
        return {"due_at": at, **values}

    if claim.step == "poll":
        return Done(lambda connection, row: note(connection, "poll", {"step": "none", "due_at": None, "lane": None}))
    if claim.step == "ask" and ask("GET") == 200:
        return Done(lambda connection, row: note(connection, "send", {"step": "poll"}), ANSWERED)
    if not task.save({"step": "ask"}):
        return Done(None)
    ask("PUT")
    return Done(lambda connection, row: note(connection, "send", {"step": "poll"}), ANSWERED)


def serve(about: dict[str, Any]) -> None:
    """Be a node, until the end."""
    database = open_database(about["url"], name=about["name"])
    if about["alone"]:
        with database.writing() as connection:
            rows.let_go(connection, PARCEL)
    queue = Queue(
        PARCEL, lambda task: handle(task, about["port"], about["name"]), limiter=bureau(Limits(**about["limits"]))
    )
    Pool(
        database,
        [queue],
        threads=2,
        worker=about["name"],
        lease_seconds=about["lease"],
        poll_seconds=0.05,
        after_failure=lambda claim: 0.05,
    ).start()
    signal.pause()


def main() -> None:
    """Fork nodes until standard input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        about = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                serve(about)
            except BaseException:  # noqa: BLE001  the parent's caller reads it in the log
                traceback.print_exc()
            os._exit(1)
        print(child, flush=True)


if __name__ == "__main__":
    main()
