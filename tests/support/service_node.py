"""One node of a station as a process of its own, in a hurry: `python -m tests.support.service_node HOME`.

The real service with the real clock; only its patience is shortened, so that a lease runs out and a bureau is asked again
within seconds.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from online_station.core.backoff import Backoff
from online_station.core.decide import Policy
from online_station.shell import runner, steps
from online_station.shell.home import Home
from online_station.shell.log import log_to
from online_station.shell.setup import at_work
from shared.clock import SystemClock
from shared.jobs.limits import Limits

LEASE_SECONDS = 2.0
PART_BYTES = 200_000
LIMITS = Limits(pause=0.2, longest_pause=1.0, per_second=50.0, burst=20)
SOON = Backoff(0.1, 0.4)
POLICY = Policy(trouble=SOON, standing=SOON, processing=SOON, waiting=SOON, correction=SOON)


def main() -> None:
    """Be a node until SIGTERM."""
    runner.LEASE_SECONDS, runner.POLL_SECONDS, runner.RESCAN_SECONDS = LEASE_SECONDS, 0.1, 1.0  # type: ignore[misc]
    steps.ACK_BACKOFF = SOON  # type: ignore[misc]
    stop, wake = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: (stop.set(), wake.set()))
    home = Home(Path(sys.argv[1]))
    with at_work(home, SystemClock(), policy=POLICY, settle=0.2) as station:
        log_to(home.logs)
        station.keyring.own.gateway.part_bytes = PART_BYTES  # type: ignore[attr-defined]
        station._limits = LIMITS
        print("ready", flush=True)
        station.run(stop, wake)


if __name__ == "__main__":
    main()
