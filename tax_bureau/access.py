"""Around every request: its id, its line in the log, its place in the numbers, and an answer even to a defect.

The log has no secrets: no signature, no nonce, no header, no body. One JSON object a line, one file for each serving
process, which begins anew at 16 MiB and keeps nine old ones.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final

from shared.clock import Clock, format_time
from tax_bureau.admission import Full, too_many_requests
from tax_bureau.metrics import Metrics

LOG_BYTES: Final = 16 << 20
LOG_FILES: Final = 9
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}", re.ASCII)
_log: Final = logging.getLogger("taxferry.bureau")

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Answer = Callable[[Scope, Exception], App]


class AccessLog:
    """A file with a line for each request."""

    def __init__(self, path: Path, *, max_bytes: int = LOG_BYTES, files: int = LOG_FILES) -> None:
        """Write to `path`, readable by its owner only."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._handler = _Private(path, maxBytes=max_bytes, backupCount=files, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(message)s"))

    def write(self, line: dict[str, object]) -> None:
        """Write a line; a disk that is full ends no request."""
        text = json.dumps(line, ensure_ascii=False)
        self._handler.handle(logging.LogRecord("access", logging.INFO, "", 0, text, None, None))

    def close(self) -> None:
        """Close the file."""
        self._handler.close()


class _Private(RotatingFileHandler):
    def _open(self) -> Any:
        stream = super()._open()
        os.chmod(self.baseFilename, 0o600)
        return stream

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's own name
        """Say it once in the program's log, instead of a traceback for each request."""
        _log.warning("the access log cannot be written: %s", self.baseFilename)


def request_id(scope: Scope) -> str:
    """Return the id of a request that came through `Manners`."""
    return str(scope.get("taxferry.request_id", ""))


class Manners:
    """The outermost layer of the interface."""

    def __init__(
        self, app: App, *, metrics: Metrics, log: AccessLog | None, clock: Clock, most: int, answer: Answer
    ) -> None:
        """Go around `app`.

        Args:
            app: What answers requests.
            metrics: Where they are counted.
            log: Where they are written down, if anywhere.
            clock: The time for the log.
            most: Requests at once; any more are sent away.
            answer: Makes an answer of an error.
        """
        self._app = app
        self._metrics = metrics
        self._access = log
        self._clock = clock
        self._most = most
        self._answer = answer
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
        found = given if _ID.fullmatch(given) else secrets.token_hex(8)
        scope["taxferry.request_id"] = found
        began = time.perf_counter()
        status = received = sent = 0

        async def receiving() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def sending(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", found.encode())]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        self._metrics.begun()
        self._under_way += 1
        try:
            app = self._app
            if self._under_way > self._most:
                refusal = too_many_requests()
                self._metrics.shed(refusal.reason)
                app = self._answer(scope, refusal)
            try:
                await app(scope, receiving, sending)
            except Exception as error:  # whatever it is, the caller gets an answer, and the id to ask about it
                _log.exception("request %s failed", found)
                if status:
                    raise
                await self._answer(scope, error)(scope, receiving, sending)
        finally:
            self._under_way -= 1
            seconds = time.perf_counter() - began
            route = _route(scope)
            # A method that is not ours would be a label for everybody to invent.
            method = scope["method"] if scope["method"] in ("GET", "HEAD", "PUT") else "other"
            self._metrics.ended(route, method, status, seconds, received)
            if self._access is not None:
                self._write(scope, route, status, seconds, received, sent)

    def _write(self, scope: Scope, route: str, status: int, seconds: float, received: int, sent: int) -> None:
        assert self._access is not None
        client = scope.get("client")
        self._access.write(
            {
                "time": format_time(self._clock.now()),
                "request_id": request_id(scope),
                "client": client[0] if client else "",
                "method": scope["method"][:16],
                "path": scope["path"][:256],
                "route": route,
                "status": status,
                "seconds": round(seconds, 4),
                "bytes_in": received,
                "bytes_out": sent,
                **({"key": scope["taxferry.key"][:16]} if "taxferry.key" in scope else {}),
            }
        )


def _route(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", "other"))


def reason_of(error: Exception) -> str:
    """Return why a request was sent away, or nothing if it was not."""
    return error.reason if isinstance(error, Full) else ""
