"""A small HTTP server for those who watch over the service: `/metrics`, `/healthz`, `/readyz`. It takes no orders."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from online_station.shell.log import LOGGER
from shared.errors import MetricsUnavailable
from shared.text import Text
from shared.text.system import os_reason

DEFAULT_PORT: Final = 9464
_MOST_AT_ONCE: Final = 8
_SECONDS: Final = 10.0
_JSON: Final = "application/json; charset=utf-8"


@dataclass(frozen=True)
class Address:
    """Where the server listens.

    Attributes:
        host: A name or a number.
        port: The port; 0 for any that is free.
    """

    host: str
    port: int

    @property
    def is_local(self) -> bool:
        """Whether only this PC can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read `HOST:PORT`, `[HOST]:PORT`, `HOST`, `:PORT` or `PORT`; what is not said is 127.0.0.1 and 9464.

    Raises:
        MetricsUnavailable: It is none of these.
    """
    if re.fullmatch(r"[0-9]{1,5}", text, re.ASCII):
        text = f":{text}"
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\[\]:\s]*))(?::([0-9]{1,5}))?", text, re.ASCII)
    port = DEFAULT_PORT if found is None or found[3] is None else int(found[3])
    if found is None or not text or port > 65535:
        raise MetricsUnavailable(
            address=text[:80],
            reason=Text("应为 地址:端口，例如 127.0.0.1:9464", "it should be HOST:PORT, like 127.0.0.1:9464"),
        )
    return Address(found[1] or found[2] or "127.0.0.1", port)


@dataclass(frozen=True)
class Answer:
    """What a page says.

    Attributes:
        status: The HTTP status.
        body: The octets.
        media: Their type.
    """

    status: int
    body: bytes
    media: str


Route = Callable[[str], Answer]
"""Answers a GET; it is told what the asker accepts."""


def checks_answer(checks: Mapping[str, bool]) -> Answer:
    """Return 200 if everything is in order and 503 otherwise, with each check by name."""
    good = all(checks.values())
    body = json.dumps({"ok": good, "checks": dict(checks)}).encode() + b"\n"
    return Answer(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, body, _JSON)


@contextlib.contextmanager
def serving(address: Address, routes: Mapping[str, Route]) -> Iterator[Address]:
    """Serve `routes` while the block runs; give the address, with the port that was taken.

    Raises:
        MetricsUnavailable: Nobody can listen there. Nothing was begun.
    """
    try:
        server = _Server(address, routes)
    except OSError as error:
        raise MetricsUnavailable(address=f"{address.host}:{address.port}", reason=os_reason(error)) from None
    except OverflowError:
        raise MetricsUnavailable(address=address.host, reason=Text("端口不对", "no such port")) from None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="metrics", daemon=True)
    thread.start()
    try:
        yield Address(address.host, int(server.server_address[1]))
    finally:
        server.shutdown()
        server.server_close()
        thread.join(_SECONDS)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: Address, routes: Mapping[str, Route]) -> None:
        self.routes = routes
        self.room = threading.BoundedSemaphore(_MOST_AT_ONCE)
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        super().__init__((address.host, address.port), _Handler)

    def server_bind(self) -> None:
        # The parent's asks the name service for this PC's full name, which may take half a minute.
        if os.name != "nt":  # there it would let another program take the port away
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        # Somebody went away in the middle; that is theirs to know.
        LOGGER.debug("metrics: %s", client_address)


class _Handler(BaseHTTPRequestHandler):
    timeout = _SECONDS
    server_version = "taxferry"
    sys_version = ""
    protocol_version = "HTTP/1.0"
    server: _Server

    def do_GET(self) -> None:
        """Answer."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer without the body."""
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        if not self.server.room.acquire(blocking=False):
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        try:
            answer = self._found()
        finally:
            self.server.room.release()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.media)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(answer.body)

    def _found(self) -> Answer:
        route = self.server.routes.get(self.path.partition("?")[0])
        if route is None:
            return Answer(HTTPStatus.NOT_FOUND, b"not found\n", "text/plain; charset=utf-8")
        try:
            return route(self.headers.get("Accept", ""))
        except Exception:  # noqa: BLE001
            # Whoever watches over the service has to learn that it is not well, whatever it is.
            LOGGER.exception("metrics: %s", self.path.partition("?")[0][:80])
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"error\n", "text/plain; charset=utf-8")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
        """Log nothing: a question every few seconds is no event."""
