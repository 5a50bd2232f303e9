"""What takes time: one piece of work at a time, in a thread of its own, for everybody to see.

A request starts the work and is answered at once; the page shows how far it is, live where there is JavaScript and by
itself every few seconds where there is none. A window that is closed meanwhile stops nothing.
"""

from __future__ import annotations

import contextvars
import itertools
import secrets
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from shared.cli import as_taxferry_error
from shared.clock import Clock
from shared.errors import InternalError, PageBusy, TaxferryError
from shared.text import Text
from shared.web.blocks import NOWHERE
from shared.web.events import Hub

Progress = Callable[[int, int | None, Text], None]
_KEPT: Final = 50
_TOLD_SECONDS: Final = 0.1
_SOON_SECONDS: Final = 0.6
"""How long a request waits for work that may be done at once: then its result is the next page."""


@dataclass
class Work:
    """One piece of work.

    Attributes:
        id: For its page's address.
        name: What kind it is, for programs.
        title: What it is, for people.
        operator: Who asked for it.
        started_at: When.
        what: What it does at the moment.
        done: How much of it.
        total: Of how much; None if nobody knows.
        outcome: What it returned.
        error: Why it did not.
    """

    id: str
    name: str
    title: Text
    operator: str
    started_at: datetime
    what: Text = NOWHERE
    done: int = 0
    total: int | None = None
    outcome: Any = None
    error: TaxferryError | None = None
    _end: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def finished(self) -> bool:
        """Whether it has ended, one way or the other."""
        return self._end.is_set()

    @property
    def percent(self) -> int | None:
        """How far it is, if that can be told."""
        return 100 * min(self.done, self.total) // self.total if self.total else None

    def wait(self, seconds: float) -> bool:
        """Wait for its end; return whether it came."""
        return self._end.wait(seconds)

    def facts(self) -> dict[str, object]:
        """Return what a window is told about it; a window knows its own language."""
        return {
            "id": self.id,
            "percent": self.percent,
            "done": self.done,
            "total": self.total,
            "zh": self.what.zh or self.title.zh,
            "en": self.what.en or self.title.en,
            "finished": self.finished,
        }


class Bench:
    """Where work is done."""

    def __init__(self, hub: Hub, clock: Clock, log: Path) -> None:
        """Do work, and tell `hub` of it; records of defects go into the folder `log`."""
        self._hub, self._clock, self._log = hub, clock, log
        self._known: OrderedDict[str, Work] = OrderedDict()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    @property
    def running(self) -> Work | None:
        """What is being done, if anything is."""
        with self._lock:
            return next((work for work in reversed(self._known.values()) if not work.finished), None)

    def find(self, wanted: str) -> Work | None:
        """Return a piece of work by its id; the oldest ones are forgotten."""
        with self._lock:
            return self._known.get(wanted)

    def start(self, name: str, title: Text, operator: str, do: Callable[[Progress], Any]) -> Work:
        """Start a piece of work, and give it a moment to be done at once.

        Args:
            name: What kind it is.
            title: What it is, for people.
            operator: Who asked for it.
            do: Does it; called with a function that shows progress, in a thread of its own.

        Raises:
            PageBusy: Other work is under way. Nothing was begun.
        """
        with self._lock:
            busy = next((work for work in self._known.values() if not work.finished), None)
            if busy is not None:
                who = Text(f"（{busy.operator}）", f" ({busy.operator})") if busy.operator else Text("", "")
                raise PageBusy(what=busy.title, who=who)
            work = Work(f"{next(self._numbers)}-{secrets.token_hex(4)}", name, title, operator, self._clock.now())
            self._known[work.id] = work
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(self._run, work, do), name=f"work-{name}", daemon=True)
        thread.start()
        work.wait(_SOON_SECONDS)
        return work

    def drain(self, seconds: float) -> bool:
        """Wait for what is under way; return whether it ended. Cut off, it is finished by the next start."""
        work = self.running
        return work is None or work.wait(seconds)

    def _run(self, work: Work, do: Callable[[Progress], Any]) -> None:
        told = 0.0

        def progress(done: int, total: int | None, what: Text) -> None:
            nonlocal told
            work.done, work.total, work.what = done, total, what
            now = time.monotonic()
            if now - told >= _TOLD_SECONDS:
                told = now
                self._hub.publish("work", work.facts())

        self._hub.publish("work", work.facts())
        try:
            work.outcome = do(progress)
        except Exception as error:  # noqa: BLE001  whatever it is, the page has to say so
            work.error = as_taxferry_error(error) or self.defect(error)
        finally:
            work._end.set()  # noqa: SLF001  same module
            self._hub.publish("work", work.facts())
            self._hub.publish("changed")

    def defect(self, error: Exception) -> TaxferryError:
        """Record a defect of the program, and return what to say about it."""
        return record_defect(error, self._log)


def record_defect(error: Exception, folder: Path) -> TaxferryError:
    """Write down what a defect was; the error that is returned says where."""
    reference = secrets.token_hex(4)
    try:
        if folder.parent.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)
            path = folder / f"defect-{reference}.txt"
            details = "".join(traceback.format_exception(error))
            path.write_text(details, encoding="utf-8", errors="backslashreplace")
            reference = str(path)
    except OSError:
        pass
    return InternalError(kind=type(error).__name__, reference=reference)
