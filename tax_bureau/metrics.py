"""Numbers for monitoring, in Prometheus' format.

What this process did is counted here; what all processes of the bureau share (reports by state, the queue, judgements)
is read from the store when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from shared.clock import Clock
from tax_bureau.pace import Pace
from tax_bureau.store import Store

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0)


class Metrics:
    """The numbers of one serving process."""

    def __init__(self, store: Store, clock: Clock) -> None:
        """Begin to count; read what is shared from `store`."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "taxferry_bureau_requests",
            "Requests by route, method and status.",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "taxferry_bureau_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ("route", "method"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._bytes = Counter(
            "taxferry_bureau_received_bytes", "Octets of bodies that were read.", registry=self._registry
        )
        self._shed = Counter(
            "taxferry_bureau_shed",
            "Requests that were sent away for want of room.",
            ("reason",),
            registry=self._registry,
        )
        self._under_way = Gauge(
            "taxferry_bureau_requests_under_way", "Requests under way in this process.", registry=self._registry
        )
        self._registry.register(_Shared(store, clock))

    def begun(self) -> None:
        """Count a request that begins."""
        self._under_way.inc()

    def ended(self, route: str, method: str, status: int, seconds: float, received: int) -> None:
        """Count a request that has ended."""
        self._under_way.dec()
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route, method).observe(seconds)
        self._bytes.inc(received)

    def shed(self, reason: str) -> None:
        """Count a request that is sent away."""
        self._shed.labels(reason).inc()

    def text(self) -> bytes:
        """Return all numbers; it asks the store."""
        return generate_latest(self._registry)


class _Shared(Collector):
    """What is the same whichever process is asked."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def describe(self) -> Iterator[Metric]:
        """Name nothing beforehand: the store is asked only when somebody wants the numbers."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Ask the store."""
        now = self._clock.now().timestamp()
        with self._store.read() as tx:
            counts, line, workers = tx.counts_by_state(), tx.in_line(now), tx.workers()
        states = GaugeMetricFamily("taxferry_bureau_reports", "Reports by state.", labels=("state",))
        for state, count in sorted(counts.items()):
            states.add_metric((state,), count)
        yield states
        for name, words, value in (
            ("backlog", "Reports that may be judged now.", line.ready),
            ("backlog_taxpayers", "Taxpayers whose reports those are.", line.taxpayers),
            ("backlog_waiting", "Reports that are not to be judged yet.", line.waiting),
        ):
            yield GaugeMetricFamily(f"taxferry_bureau_{name}", words, value)
        judging = tuple(worker for worker in workers if worker.seen_at > now - Pace.HEARD_SECONDS)
        yield GaugeMetricFamily("taxferry_bureau_judging_processes", "Processes that judge.", len(judging))
        yield GaugeMetricFamily(
            "taxferry_bureau_judgements_per_second",
            "What they can do in a second, as measured while there was work.",
            sum(worker.pace for worker in judging),
        )
        yield CounterMetricFamily("taxferry_bureau_judged", "Judgements.", sum(each.judged for each in workers))
        yield CounterMetricFamily(
            "taxferry_bureau_judging_seconds", "Seconds that judging took.", sum(each.busy_seconds for each in workers)
        )
