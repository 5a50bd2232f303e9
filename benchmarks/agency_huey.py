"""The ready-made engine in `benchmarks.agency`: huey on SQLite, the smallest that needs no server besides.

    python -m benchmarks.agency_huey MONTH FOLDER URL SECONDS

It puts tasks off and tries them again by itself, and four of its threads do them. It takes an entry away before the work is
done: what a killed process was doing is lost, and it knows no order, no limits and nothing of a report's state.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from huey import SqliteHuey

from benchmarks.agency_naive import Errand
from tests.support.agency_month import Month


def main() -> None:
    """Work until killed."""
    month, folder, url, seconds = Month(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    errand = Errand(month, folder, url, seconds)
    huey = SqliteHuey(filename=str(folder / "huey.db"), fsync=True, results=False)

    @huey.task()
    def report(path: str) -> None:
        result.schedule((errand.send(Path(path)),), delay=errand.pause)

    @huey.task()
    def result(digest: str) -> None:
        if not errand.ask(digest):
            result.schedule((digest,), delay=errand.pause)

    @huey.task()
    def ack(path: str) -> None:
        if not errand.close(Path(path)):
            ack.schedule((path,), delay=errand.pause)

    consumer = huey.create_consumer(workers=4, periodic=False, initial_delay=0.05, max_delay=0.5, scheduler_interval=1)
    threading.Thread(target=consumer.start, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while True:
        for path in sorted(errand.inbox.iterdir()):
            if path.suffix == ".dat":
                report(str(errand.take(path)))
            elif path.suffix == ".ack":
                ack(str(errand.take(path)))
        time.sleep(0.5)


if __name__ == "__main__":
    main()
