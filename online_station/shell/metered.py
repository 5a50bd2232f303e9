"""A bureau whose answers are counted. It adds nothing and takes nothing away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from online_station.shell.gateway import Gateway, Processing, Progress
from online_station.shell.meter import Kind, Meter, Outcome
from shared.errors import BureauBusy, BureauRefused, BureauUnreachable, OutcomeUnknown, TaxferryError
from shared.model.standing import ReportStatus, Standing

T = TypeVar("T")


class MeteredGateway:
    """Speaks through another gateway and tells a meter what came of it."""

    def __init__(self, inner: Gateway, meter: Meter) -> None:
        """Speak through `inner`."""
        self.inner = inner
        self._meter = meter

    @property
    def name(self) -> str:
        """The bureau's host, for messages."""
        return self.inner.name

    def put_report(self, digest: str, path: Path, sha256: str, *, progress: Progress = lambda _n, _of: None) -> bytes:
        """Send a report; see `Gateway`."""

        def alive(arrived: int, size: int) -> None:
            self._meter.sent(0)  # a part went: a sign of life; what was sent is counted once, at the end
            progress(arrived, size)

        receipt = self._asked("upload", lambda: self.inner.put_report(digest, path, sha256, progress=alive))
        self._meter.sent(path.stat().st_size)
        return receipt

    def report_status(self, digest: str) -> ReportStatus | None:
        """Return where a report stands; see `Gateway`."""
        return self._asked("status", lambda: self.inner.report_status(digest))

    def result(self, digest: str) -> bytes | Processing:
        """Return the signed result; see `Gateway`."""
        return self._asked("result", lambda: self.inner.result(digest))

    def put_ack(self, digest: str, data: bytes) -> None:
        """Deliver a clear receipt; see `Gateway`."""
        self._asked("ack", lambda: self.inner.put_ack(digest, data))

    def standing(self, taxpayer_id: str, period: str) -> Standing:
        """Return the bureau's word on a taxpayer's month; see `Gateway`."""
        return self._asked("standing", lambda: self.inner.standing(taxpayer_id, period))

    def trust(self) -> bytes:
        """Return the current trust file; see `Gateway`."""
        return self._asked("trust", self.inner.trust)

    def clock(self) -> datetime:
        """Return the bureau's time; see `Gateway`."""
        return self._asked("clock", self.inner.clock)

    def _asked(self, kind: Kind, call: Callable[[], T]) -> T:
        outcome: Outcome = "failed"
        try:
            answer = call()
            outcome = "ok"
            return answer
        except TaxferryError as error:
            outcome = _outcome(error)
            raise
        finally:
            self._meter.asked(kind, outcome)


def _outcome(error: TaxferryError) -> Outcome:
    match error:
        case BureauUnreachable():
            return "unreachable"
        case BureauBusy():
            return "busy"
        case OutcomeUnknown():
            return "unknown"
        case BureauRefused():
            return "refused"
        case _:
            return "failed"
