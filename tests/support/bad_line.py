"""A line between a station and a bureau that breaks where a test says, and counts what it carried."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

_PIECE: Final = 16384


@dataclass(frozen=True)
class Break:
    """What happens to one upload.

    Attributes:
        after: It breaks after so many octets of the body went through; None: after all of them, without the answer.
        then: Done just before it breaks, while the octets are under way.
    """

    after: int | None = None
    then: Callable[[], object] | None = None


@dataclass
class BadLine:
    """Forwards connections, one request each.

    Attributes:
        target: The bureau's address; it may change when the bureau is started anew.
        plan: What happens to the next uploads of parts; None for nothing.
        parts: Where each part began, and how many octets of it went through.
        breaks: How often it broke.
    """

    target: str
    plan: deque[Break | None] = field(default_factory=deque)
    url: str = ""
    parts: list[tuple[int, int]] = field(default_factory=list)
    breaks: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def carried(self) -> int:
        return sum(octets for _, octets in self.parts)

    def forward(self, client: socket.socket) -> None:
        """Carry one request and its answer."""
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = client.recv(_PIECE)
                if not data:
                    return
                head += data
            head, _, body = head.partition(b"\r\n\r\n")
            part = re.search(rb"(?im)^content-range: bytes ([0-9]+)-([0-9]+)/", head)
            length = re.search(rb"(?im)^content-length: ([0-9]+)", head)
            with self.lock:
                broken = self.plan.popleft() if part is not None and self.plan else None
            left = int(length[1]) if length is not None else 0
            allowed = left if broken is None or broken.after is None else min(left, broken.after)
            parts = urlsplit(self.target)
            sent = 0
            try:
                with socket.create_connection((parts.hostname, parts.port), timeout=60) as bureau:
                    bureau.sendall(head + b"\r\n\r\n")
                    while sent < allowed:
                        piece = (body or client.recv(_PIECE))[: allowed - sent]
                        body = b""
                        if not piece:
                            return
                        bureau.sendall(piece)
                        sent += len(piece)
                    if broken is not None:
                        if broken.then is not None:
                            broken.then()
                        elif broken.after is None:
                            bureau.recv(_PIECE)  # the bureau has answered; nobody will hear it
                        _reset(bureau)
                        _reset(client)
                        return
                    while data := bureau.recv(_PIECE):
                        client.sendall(data)
            finally:
                with self.lock:
                    self.breaks += broken is not None
                    if part is not None:
                        self.parts.append((int(part[1]), sent))


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextlib.contextmanager
def bad_line(target: str) -> Iterator[BadLine]:
    """Lay a line to `target`; its own address is `url`."""
    line = BadLine(target)
    server = socket.create_server(("127.0.0.1", 0), backlog=64)
    line.url = f"http://127.0.0.1:{server.getsockname()[1]}"

    def accept() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            client.settimeout(60)
            threading.Thread(target=line.forward, args=(client,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield line
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)
