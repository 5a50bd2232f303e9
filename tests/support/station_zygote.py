"""Runs online stations in processes that are killed at a chosen point. Started once, it forks for every run.

Reads one JSON object per line: `{"home", "verb", "kill_at", "now", "part_bytes"}`; answers with one: `{"killed", "points", "error"}`.
`kill_at` is the number of the checkpoint at which the child kills itself with SIGKILL (0: never), `points` the
checkpoints it passed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from datetime import datetime
from pathlib import Path

from online_station.shell.home import Home
from online_station.shell.setup import at_work
from shared.clock import FixedClock


def run(request: dict[str, object], out: int) -> None:
    """Be a station, until the end or the chosen checkpoint."""
    points: list[str] = []

    def checkpoint(point: str) -> None:
        points.append(point)
        os.write(out, f"{point}\n".encode())
        if len(points) == request["kill_at"]:
            os.kill(os.getpid(), signal.SIGKILL)

    clock = FixedClock(datetime.fromisoformat(str(request["now"])))
    with at_work(Home(Path(str(request["home"]))), clock, checkpoint=checkpoint, settle=0.0) as station:
        if request.get("part_bytes"):
            station.keyring.own.gateway.part_bytes = request["part_bytes"]  # type: ignore[attr-defined]
        if request["verb"] == "once":
            station.once(patient=False)
        else:
            station.ask_now()


def main() -> None:
    """Serve runs until standard input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            status = 0
            try:
                run(request, writer)
            except BaseException:  # noqa: BLE001  the parent reports it
                os.write(writer, ("!" + traceback.format_exc().replace("\n", "\r") + "\n").encode())
                status = 1
            os._exit(status)
        os.close(writer)
        with os.fdopen(reader, encoding="utf-8") as pipe:
            said = pipe.read().splitlines()
        _, status = os.waitpid(child, 0)
        errors = [s for s in said if s.startswith("!")]
        answer = {
            "killed": os.WIFSIGNALED(status),
            "points": [s for s in said if not s.startswith("!")],
            "error": errors[0].replace("\r", "\n") if errors else "",
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
