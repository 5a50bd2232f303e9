"""The peak of the month in small: a third of the bureau's answers goes wrong, and for a while there is no bureau at all.

Nothing is lost and nothing is sent again unasked; the limits of the host hold as the bureau measures them; what it says about
when to come again is obeyed; and an outage is noticed once, not by everybody.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from benchmarks.agency import Agency, Watched, bureau, make_home, stats
from tests.support.agency_month import make_month
from tests.support.service_node import LIMITS

pytestmark = pytest.mark.skipif(os.name == "nt", reason="platform: processes are ended by signal")
TRUST = 2
"""Requests that ask for the trust file are beside the limits: the service makes one of them at a time."""


def play(root: Path, companies: int, seconds: float, outage: float, patience: float) -> dict[str, object]:
    """Let a service work through a bad month; return what the bureau has seen."""
    month = make_month(root / "month", companies)
    shared = root / "shared"
    for part in ("in", "out"):
        (shared / part).mkdir(parents=True)
    with bureau(month, seconds, 1 / 3) as url:
        make_home(root / "home", month, url, shared, None, 10.0)
        command = [sys.executable, "-m", "tests.support.service_node", str(root / "home")]
        node = Watched(command, log=root / "log")
        try:
            agency = Agency(month, shared / "in", shared / "out")
            agency.drop()
            last, back = time.monotonic() + patience, 0.0
            seen: dict[str, object] = {"acks": 0}
            while seen["acks"] < companies:  # type: ignore[operator]
                agency.carry()
                assert time.monotonic() < last, seen
                assert node.process.poll() is None, (root / "log").read_text()[-2000:]
                if time.monotonic() > back:  # the test's own questions would count as somebody's who noticed nothing
                    seen = stats(url)
                if not back and len(seen.get("taken", ())) > companies // 3:  # type: ignore[arg-type]
                    request = urllib.request.Request(f"{url}/outage", data=str(outage).encode(), method="POST")
                    urllib.request.urlopen(request, timeout=10).close()
                    back = time.monotonic() + outage + 0.1
                time.sleep(0.1)
        finally:
            node.end(signal.SIGTERM)
        for case in month.cases.values():
            assert (shared / "out" / case.name.file_name(".txt")).read_bytes() == month.result(case.digest)
    return seen


def holds(seen: dict[str, object], companies: int) -> None:
    """Assert what has to be true of every peak."""
    assert len(seen["taken"]) == companies  # type: ignore[arg-type]
    assert seen["bad"] == 0
    assert seen["troubles"], "it did misbehave"
    assert seen["early"] == [], "nobody came before the time that he was told"
    assert seen["most_at_once"] <= LIMITS.at_once + TRUST  # type: ignore[operator]
    begun = sorted(seen["begun"])  # type: ignore[call-overload]
    for first in range(len(begun)):
        for number, moment in enumerate(begun[first:], 1):
            span = moment - begun[first]
            if span > 2.0:
                break
            # A request begins a moment after its job was claimed.
            assert number <= LIMITS.burst + LIMITS.per_second * (span + 0.5) + TRUST, (number, span)
    assert seen["during_outage"], "somebody noticed the outage"
    # Those that open the circuit, those that were under way, and then one probe at a time.
    most = LIMITS.outages + LIMITS.at_once + 8 + TRUST
    assert len(seen["during_outage"]) <= most  # type: ignore[arg-type]


def test_a_bad_hour_in_small(tmp_path):
    holds(play(tmp_path, 9, 0.5, 1.5, 90), 9)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_bad_day(tmp_path):
    holds(play(tmp_path, 600, 10.0, 3.0, 1500), 600)
