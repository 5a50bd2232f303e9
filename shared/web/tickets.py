"""Tickets: the right to open the page once, for a short time.

A ticket is a file in a folder that only its owner can read; to spend it is to remove it. So whoever may write that
folder (another run of the same program by the same person) can hand out tickets of a page that is already open, and
no process ever has to ask another one over a socket. The file's name is the ticket's digest: reading the folder's
listing gives no ticket.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from shared.clock import format_time, parse_time

OPENED_SECONDS: Final = 60
"""A ticket in a browser's address: it is spent at once."""
PRINTED_SECONDS: Final = 600
"""A ticket that a person copies from a terminal."""
_LONGEST: Final = 100


class Tickets:
    """The tickets of one page."""

    def __init__(self, folder: Path) -> None:
        """Keep them in `folder`, which is made and shut to others."""
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def issue(self, now: datetime, seconds: int) -> str:
        """Return a new ticket."""
        ticket = secrets.token_urlsafe(32)
        path = self._path(ticket)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(format_time(now + timedelta(seconds=seconds)))
        return ticket

    def spend(self, ticket: str, now: datetime) -> bool:
        """Use a ticket up; return whether it was good. Of two who try at the same time, one succeeds."""
        if len(ticket) > _LONGEST:
            return False
        path = self._path(ticket)
        try:
            until = path.read_text(encoding="ascii")
            path.unlink()
            return now <= parse_time(until)
        except (OSError, ValueError):
            return False

    def sweep(self) -> None:
        """Throw away what an earlier run left."""
        for path in self._folder.glob("ticket-*"):
            path.unlink(missing_ok=True)

    def _path(self, ticket: str) -> Path:
        return self._folder / f"ticket-{hashlib.sha256(ticket.encode(errors='replace')).hexdigest()}"
