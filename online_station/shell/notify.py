"""Tell the service manager how the service is: ready, alive, stopping (the datagrams of `sd_notify`).

Without `NOTIFY_SOCKET` nothing is sent, so the service is the same by hand, under systemd and elsewhere.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

_SECONDS: Final = 1.0


class Notifier:
    """The way to the service manager."""

    def __init__(self, environment: Mapping[str, str] = os.environ, *, process: int | None = None) -> None:
        """Read the service manager's wishes.

        Args:
            environment: Where it put them.
            process: The process that it watches: this one.
        """
        self._address = environment.get("NOTIFY_SOCKET", "")
        wanted = environment.get("WATCHDOG_PID", "")
        ours = not wanted or wanted == str(os.getpid() if process is None else process)
        microseconds = environment.get("WATCHDOG_USEC", "")
        self.watchdog_seconds = int(microseconds) / 1e6 if ours and microseconds.isdecimal() else 0.0
        """How long it waits for a sign of life; 0 if it wants none."""

    def tell(self, **facts: str) -> bool:
        """Send some variables; return whether there was somebody to send them to.

        The service does not depend on it: what goes wrong is only that nobody hears it.
        """
        family = getattr(socket, "AF_UNIX", None)
        if not self._address or family is None:
            return False
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        message = "\n".join(f"{name}={value}" for name, value in facts.items())
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as way:
                way.settimeout(_SECONDS)
                way.sendto(message.encode(), address)
        except OSError:
            return False
        return True

    def ready(self, status: str) -> bool:
        """Say that the service is up."""
        return self.tell(READY="1", STATUS=status)

    def stopping(self) -> bool:
        """Say that the service is on its way out."""
        return self.tell(STOPPING="1")


class Heartbeat(threading.Event):
    """An event whose waiting is a sign of life: the loop that waits for it again and again is not stuck."""

    def __init__(self, notifier: Notifier, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Send signs of life at most every third of the time that the service manager waits."""
        super().__init__()
        self._notifier = notifier
        self._monotonic = monotonic
        self._next = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        """Wait as an event does."""
        pause = self._notifier.watchdog_seconds / 3
        now = self._monotonic()
        if pause and now >= self._next:
            self._next = now + pause
            self._notifier.tell(WATCHDOG="1")
        return super().wait(timeout)
