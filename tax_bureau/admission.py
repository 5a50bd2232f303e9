"""Whether there is room for another upload, asked before a byte of it is read.

An office that takes more than it can carry loses all of it; one that says "later" loses nothing. What is full is said
by 429 and `Retry-After`: a station knows then that its report was certainly not received (GW-2) and comes back, and the
times are spread so that not all of them come back at once.
"""

from __future__ import annotations

import contextlib
import math
import random
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.text import Text
from tax_bureau.desk import Desk
from tax_bureau.refusal import Kind, Refusal
from tax_bureau.store import Line

_SOONEST: Final = 5.0
_LATEST: Final = 3600.0
_SPREAD: Final = 0.5
_DISK_SECONDS: Final = 300.0


@dataclass(frozen=True)
class Limits:
    """What this process takes on.

    Attributes:
        requests: Requests under way at once.
        uploads: Uploads under way at once.
        queue: Reports that may wait for their judgement, over all processes.
        free_bytes: What has to stay free on the spool's disk.
    """

    requests: int = 512
    uploads: int = 64
    queue: int = 200_000
    free_bytes: int = 1 << 30


class Full(Refusal):
    """There is no room now.

    Attributes:
        reason: `requests`, `uploads`, `queue` or `disk`.
    """

    def __init__(self, reason: str, text: Text, seconds: float) -> None:
        """Say for how long, roughly."""
        spread = random.uniform(1.0, 1.0 + _SPREAD)  # noqa: S311  it spreads who comes back, and guards nothing
        super().__init__(Kind.BUSY, text, retry_after=math.ceil(min(_LATEST, max(_SOONEST, seconds)) * spread))
        self.reason = reason


class Gate:
    """The door of one serving process."""

    def __init__(self, desk: Desk, spool: Path, limits: Limits) -> None:
        """Watch over the queue of `desk` and the disk of `spool`."""
        self._desk = desk
        self._spool = spool
        self._limits = limits
        self._guard = threading.Lock()
        self._uploads = 0
        self._seen: Line | None = None
        self._since = 0

    @property
    def uploads(self) -> int:
        """How many uploads are under way."""
        return self._uploads

    @property
    def requests(self) -> int:
        """How many requests may be under way at once."""
        return self._limits.requests

    @contextlib.contextmanager
    def upload(self) -> Iterator[None]:
        """Be one of the uploads under way while the block runs.

        Raises:
            Full: There are as many as this process takes on.
        """
        with self._guard:
            if self._uploads >= self._limits.uploads:
                raise Full("uploads", Text("同时上传的太多", "too many uploads at once"), _SOONEST)
            self._uploads += 1
        try:
            yield
        finally:
            with self._guard:
                self._uploads -= 1

    def check(self, size_bytes: int) -> None:
        """Refuse an upload for which there is no place in the queue or on the disk.

        Args:
            size_bytes: How large it says that it is.

        Raises:
            Full: No room now.
        """
        line, pace = self._desk.queue()
        with self._guard:
            # The queue is counted once in a while; what was let in since then stands in it as well.
            if line is not self._seen:
                self._seen, self._since = line, 0
            excess = line.ready + line.waiting + self._since - self._limits.queue
            self._since += excess < 0
        if excess >= 0:
            # Until the queue is a tenth shorter: at its very end every second station would be sent away again.
            shorter = excess + self._limits.queue / 10
            wait = shorter / pace.per_second if pace.per_second else _DISK_SECONDS
            raise Full("queue", Text("等待审核的报告太多", "too many reports wait to be judged"), wait)
        # Parts are copied once.
        if shutil.disk_usage(self._spool).free < self._limits.free_bytes + 2 * size_bytes:
            raise Full("disk", Text("税局的存储空间不足", "the bureau is short of disk space"), _DISK_SECONDS)


def too_many_requests() -> Full:
    """Return the refusal of a request beyond what this process takes on."""
    return Full("requests", Text("同时处理的请求太多", "too many requests at once"), _SOONEST)
