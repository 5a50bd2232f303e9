"""Wake the scanner when something happens in the inbox. The scan is the truth; events are only hints.

A watch can go deaf without a word: the kernel's queue overflows, the folder is unmounted or made anew, a handler dies.
So this class only ever shortens the wait for the next scan, checks on each tick whether the watch still lives, and
builds it anew if not. A folder that cannot be watched at all is scanned at intervals.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import threading
import warnings
from pathlib import Path
from typing import Final

from watchdog.events import (
    DirCreatedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from online_station.shell.log import LOGGER

_EVENTS: Final[list[type[FileSystemEvent]]] = [FileClosedEvent, FileMovedEvent, FileCreatedEvent, DirCreatedEvent]
if os.name == "nt":  # pragma: no cover - there is no close event on Windows
    _EVENTS.append(FileModifiedEvent)


class _Hint(FileSystemEventHandler):
    """Sets the event and does nothing else: a handler that raises or blocks kills the observer's thread."""

    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._wake.set()


class _Overflow(logging.Handler):
    """Turns the only trace of a lost event, a line in watchdog's log, into a scan."""

    def __init__(self, wake: threading.Event) -> None:
        super().__init__(logging.WARNING)
        self._wake = wake

    def emit(self, record: logging.LogRecord) -> None:
        self._wake.set()


class InboxWatcher:
    """A watch on a folder and the folders in it, any of which may vanish and come back."""

    def __init__(self, folder: Path, wake: threading.Event) -> None:
        """Set `wake` whenever something may have happened in `folder`; nothing is watched before `ensure`."""
        self._folder = folder
        self._wake = wake
        self._observer: BaseObserver | None = None
        self._identity: tuple[int, int] | None = None
        self._overflow = _Overflow(wake)
        logging.getLogger("watchdog.observers").addHandler(self._overflow)
        self.restarts = 0

    @property
    def alive(self) -> bool:
        """Whether the watch lives and looks at the folder that has the name now."""
        observer = self._observer
        return (
            observer is not None
            and observer.is_alive()
            and all(emitter.is_alive() for emitter in observer.emitters)
            and self._identity == self._look()
        )

    def ensure(self) -> bool:
        """Build the watch anew if it died; return whether one lives. To be called on every tick."""
        if self.alive:
            return True
        self._stop()
        identity = self._look()
        if identity is None:
            return False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                observer = self._started(recursive=True)
        except (OSError, RuntimeError) as error:
            # No more watches to be had, or a file system without them: scans at intervals find everything too.
            LOGGER.warning("the inbox cannot be watched and is scanned at intervals: %s", error)
            return False
        self._observer, self._identity = observer, identity
        self.restarts += 1
        self._wake.set()
        return True

    def _started(self, *, recursive: bool) -> BaseObserver:
        observer = Observer()
        try:
            observer.schedule(_Hint(self._wake), str(self._folder), recursive=recursive, event_filter=_EVENTS)
            observer.start()
        except OSError:
            with contextlib.suppress(OSError, RuntimeError):
                observer.stop()
            if not recursive:
                raise
            # More folders than the system gives watches: the inbox itself is watched, the others are scanned.
            return self._started(recursive=False)
        return observer

    def close(self) -> None:
        """Stop watching."""
        logging.getLogger("watchdog.observers").removeHandler(self._overflow)
        self._stop()

    def _stop(self) -> None:
        observer, self._observer, self._identity = self._observer, None, None
        if observer is not None:
            with contextlib.suppress(OSError, RuntimeError, KeyError):
                observer.unschedule_all()
                observer.stop()
                observer.join(5)

    def _look(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._folder)
        except OSError:
            return None
        return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None
