"""What the service counts, for Prometheus: the one module that knows `prometheus_client`.

No label names a taxpayer, a report or a person; numbers come from the database when they are asked for, counters from the
work of this process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, Counter, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import shared
from online_station.shell.meter import Kind, LifeSign, Meter, Outcome

FRESH_SECONDS: Final = 5.0
"""A second look within so many seconds is answered from the first: nobody can tire the database out."""


@dataclass(frozen=True)
class Gauges:
    """What the database and the disk say.

    Attributes:
        reports: How many reports are in each state.
        due: How many reports and clear receipts are due now.
        oldest_due_seconds: For how long the oldest of them has been due.
        inbox_files: How many files lie in the inbox.
        quarantined: How many files were set aside.
        circuit_open: Whether the bureau is left alone for now.
        bureau_down_seconds: For how long the bureau could not be reached; 0 if it can.
        alarms: How many alarms of each kind stand.
    """

    reports: Mapping[str, int] = field(default_factory=dict)
    due: int = 0
    oldest_due_seconds: float = 0.0
    inbox_files: int = 0
    quarantined: int = 0
    circuit_open: bool = False
    bureau_down_seconds: float = 0.0
    alarms: Mapping[str, int] = field(default_factory=dict)


class PrometheusMeter(Meter):
    """Counts for `/metrics`."""

    def __init__(self, look: Callable[[], Gauges], life: LifeSign) -> None:
        """Ask `look` for what is not counted here, each time somebody wants to know."""
        disable_created_metrics()  # type: ignore[no-untyped-call,unused-ignore]
        self.registry = CollectorRegistry()
        self._asked = Counter(
            "taxferry_bureau_requests",
            "Requests to the bureau by kind and outcome.",
            ("kind", "outcome"),
            registry=self.registry,
        )
        self._sent = Counter("taxferry_upload_bytes", "Bytes of reports that the bureau took.", registry=self.registry)
        self._visited = Counter(
            "taxferry_stick_visits", "Visits of sticks by outcome.", ("outcome",), registry=self.registry
        )
        self._told = Counter(
            "taxferry_alarm_messages",
            "Messages to alarm robots by kind of robot and outcome.",
            ("robot", "outcome"),
            registry=self.registry,
        )
        self._turned = Counter(
            "taxferry_loop_turns", "Times that the service's loop came round.", registry=self.registry
        )
        self.registry.register(_Looking(look, life))

    def turned(self) -> None:
        """Count it."""
        self._turned.inc()

    def asked(self, kind: Kind, outcome: Outcome) -> None:
        """Count it."""
        self._asked.labels(kind, outcome).inc()

    def sent(self, size: int) -> None:
        """Count it."""
        self._sent.inc(size)

    def visited(self, outcome: str) -> None:
        """Count it."""
        self._visited.labels(outcome).inc()

    def told(self, robot: str, outcome: str) -> None:
        """Count it."""
        self._told.labels(robot, outcome).inc()

    def page(self, accepted: str) -> tuple[bytes, str]:
        """Return what `/metrics` answers, and its media type, in the form that the asker accepts."""
        encode, media = choose_encoder(accepted)
        return encode(self.registry), media


class _Looking(Collector):
    """What is looked up when somebody asks."""

    def __init__(self, look: Callable[[], Gauges], life: LifeSign) -> None:
        self._look, self._life = look, life
        self._lock = threading.Lock()
        self._seen = Gauges()
        self._seen_at = float("-inf")

    def describe(self) -> Iterator[Metric]:
        """Say nothing: nobody is to look into the database only to learn the names."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield what is so now."""
        with self._lock:
            if time.monotonic() - self._seen_at > FRESH_SECONDS:
                self._seen = self._look()
                self._seen_at = time.monotonic()
            seen = self._seen
        reports = GaugeMetricFamily("taxferry_reports", "Reports in each state.", labels=("state",))
        for state, number in seen.reports.items():
            reports.add_metric((state,), number)
        yield reports
        alarms = GaugeMetricFamily("taxferry_alarms", "Alarms that stand, by kind.", labels=("kind",))
        for kind, number in seen.alarms.items():
            alarms.add_metric((kind,), number)
        yield alarms
        for name, words, value in (
            ("taxferry_due", "Reports and clear receipts that are due now.", seen.due),
            ("taxferry_oldest_due_seconds", "For how long the oldest of them has been due.", seen.oldest_due_seconds),
            ("taxferry_inbox_files", "Files in the inbox.", seen.inbox_files),
            ("taxferry_quarantined_files", "Files that were set aside.", seen.quarantined),
            (
                "taxferry_bureau_circuit_open",
                "1 while the bureau is left alone because it could not be reached.",
                float(seen.circuit_open),
            ),
            (
                "taxferry_bureau_unreachable_seconds",
                "For how long the bureau could not be reached.",
                seen.bureau_down_seconds,
            ),
            ("taxferry_loop_age_seconds", "Seconds since the service's work moved last.", self._life.age),
        ):
            yield GaugeMetricFamily(name, words, value=value)
        build = GaugeMetricFamily("taxferry_build_info", "The program's version.", labels=("version",))
        build.add_metric((shared.__version__,), 1)
        yield build
