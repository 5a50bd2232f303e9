"""A wrapper around the gateway's interface that misbehaves as the script in the bureau's home says (`faults`).

The interface itself knows nothing of it: a request is carried out by it as ever, or not at all, and only what goes over
the line is another thing. Without a script every request passes by.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from shared.canonical import CRLF
from shared.envelope.textsign import sign_text
from shared.states import BureauState
from shared.text import Text
from tax_bureau.app import problem
from tax_bureau.faults import Asked, Fault, Kind, Route, Script
from tax_bureau.home import Bureau

_log: Final = logging.getLogger("taxferry.bureau")
_REPORT: Final = re.compile(r"/v1/reports/([0-9a-f]{64})(/result|/ack)?")
_STANDING: Final = re.compile(r"/v1/taxpayers/([0-9A-Z]{1,20})/standing")
_KEYID: Final = re.compile(r';keyid="([0-9a-f]{64})"')
_DRIPS: Final = 20
_SOON_SECONDS: Final = 30
_PATIENCE_SECONDS: Final = 5.0

_lines: MutableMapping[object, asyncio.BaseTransport] = {}


class KnownLine(H11Protocol):
    """HTTP whose connections can be found by the client's address: a hang-up is nothing that ASGI has a word for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the connection."""
        super().connection_made(transport)  # type: ignore[arg-type]
        _lines[self.client] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        _lines.pop(self.client, None)
        super().connection_lost(exc)


@dataclass
class _Reply:
    """An answer that was held back."""

    start: Message = field(default_factory=dict)
    body: bytes = b""

    @property
    def is_text(self) -> bool:
        return b"-----BEGIN CMS-----" in self.body

    async def send(self, send: Send) -> None:
        """Send it as it is, of whatever length it is now."""
        headers = [(n, v) for n, v in self.start["headers"] if n.lower() != b"content-length"]
        start = {**self.start, "headers": [*headers, (b"content-length", str(len(self.body)).encode())]}
        await send(start)
        await send({"type": "http.response.body", "body": self.body})


class Misbehaving:
    """The interface, and what goes wrong with it."""

    def __init__(self, app: ASGIApp, bureau: Bureau) -> None:
        """Wrap the interface of an open bureau."""
        self._app = app
        self._bureau = bureau
        self._script = Script(bureau.home)
        self._acts: dict[Kind, Callable[[_Request], Awaitable[None]]] = {
            Kind.DROP_REPLY: _drop_reply,
            Kind.DROP_REQUEST: _hang_up,
            Kind.LATE: _late,
            Kind.BUSY: _busy,
            Kind.UNAVAILABLE: _unavailable,
            Kind.SLOW_BYTES: _slow_bytes,
            Kind.CUT_BODY: _cut_body,
            Kind.WRONG_SIGNATURE: _wrong_signature,
            Kind.WRONG_ROLE: self._wrong_role,
            Kind.STALE_RESULT: self._stale_result,
            Kind.DOUBLE_REPLY: _double_reply,
            Kind.DOUBLE_REQUEST: _double_request,
            Kind.STILL_PROCESSING: _still_processing,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, well or badly."""
        if scope["type"] != "http" or not self._script.exists:
            await self._app(scope, receive, send)
            return
        fault = await run_in_threadpool(self._look_up, scope)
        if fault is None:
            await self._app(scope, receive, send)
            return
        _log.warning(
            "scripted fault %d, %s: %s %s", fault.number, fault.rule.kind.value, scope["method"], scope["path"]
        )
        await self._acts[fault.rule.kind](_Request(self._app, scope, receive, send, fault))

    def _look_up(self, scope: Scope) -> Fault | None:
        asked = self._asked(scope)
        return None if asked is None else self._script.take(asked, self._bureau.clock.now().timestamp())

    def _asked(self, scope: Scope) -> Asked | None:
        headers = dict(scope["headers"])
        keyid = _KEYID.search(headers.get(b"signature-input", b"").decode("latin-1"))
        path, method = scope["path"], scope["method"]
        report, standing = _REPORT.fullmatch(path), _STANDING.fullmatch(path)
        taxpayers = {standing[1]} if standing is not None else set()
        with self._bureau.store.read() as tx:
            key = tx.station_key(keyid[1]) if keyid is not None else None
            known = tx.report(report[1]) if report is not None else None
            results = len(tx.results(known.digest)) if known is not None else 0
        taxpayers |= {key.taxpayer_id} if key is not None else set()
        taxpayers |= {known.header.taxpayer_id} if known is not None else set()
        if report is None:
            route: Route | None = "standing" if standing is not None else "trust" if path == "/v1/trust" else None
            return None if route is None else Asked(route, "", taxpayers)
        stale = known is not None and results > (known.state is not BureauState.STORED)
        return Asked(_route(method, report[2] or "", b"content-range" in headers), report[1], taxpayers, stale)

    async def _wrong_role(self, request: _Request) -> None:
        reply = await request.carried_out()
        if reply.is_text:
            keyring = self._bureau.keyring
            signer = keyring.result if request.scope["path"] == "/v1/trust" else keyring.trust
            body = reply.body.partition(b"-----BEGIN CMS-----")[0]
            reply.body = await run_in_threadpool(lambda: sign_text(body, signer, signing_time=self._bureau.clock.now()))
        await reply.send(request.send)

    async def _stale_result(self, request: _Request) -> None:
        reply = await request.carried_out()
        match = _REPORT.fullmatch(request.scope["path"])
        assert match is not None

        def older() -> bytes:
            with self._bureau.store.read() as tx:
                results = tx.results(match[1])
            # Before a report that was reopened is judged again, the newest result is the stale one.
            return results[-1 if reply.start["status"] == 202 or len(results) == 1 else -2].text

        if reply.start["status"] in (200, 202):
            reply.body = await run_in_threadpool(older)
            reply.start["status"] = 200
            reply.start["headers"] = [(n, v) for n, v in reply.start["headers"] if n.lower() != b"retry-after"]
        await reply.send(request.send)


def _route(method: str, rest: str, in_parts: bool) -> Route:
    if rest:
        return "result" if rest == "/result" else "ack"
    if method != "PUT":
        return "status"
    return "part" if in_parts else "put"


@dataclass(frozen=True)
class _Request:
    """A request under way, and the fault that it meets."""

    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send
    fault: Fault

    async def carried_out(self, receive: Receive | None = None) -> _Reply:
        """Have the interface do what the request asks, and keep the answer back."""
        reply = _Reply()

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                reply.start = dict(message)
            else:
                reply.body += message.get("body", b"")

        await self.app(self.scope, receive or self.receive, keep)
        return reply

    async def drained(self) -> None:
        """Read the body and do nothing with it: who is still sending does not listen."""
        while (message := await self.receive())["type"] == "http.request" and message.get("more_body", False):
            pass

    @property
    def line(self) -> asyncio.BaseTransport | None:
        client = self.scope.get("client")
        return _lines.get(tuple(client)) if client else None


async def _hang_up(request: _Request) -> None:
    line = request.line
    if isinstance(line, asyncio.Transport):
        line.abort()
        # The server is to see that the line is gone before it sees that nothing was answered.
        while (await asyncio.wait_for(request.receive(), _PATIENCE_SECONDS))["type"] != "http.disconnect":
            pass


async def _drop_reply(request: _Request) -> None:
    await request.carried_out()
    await _hang_up(request)


async def _late(request: _Request) -> None:
    reply = await request.carried_out()
    await asyncio.sleep(request.fault.rule.seconds)
    await reply.send(request.send)


async def _busy(request: _Request) -> None:
    await request.drained()
    text = Text("税局繁忙，请稍后再试", "the bureau is busy: try again later")
    answer = problem(429, "busy", text, "busy", retry_after=request.fault.rule.retry_after)
    await answer(request.scope, request.receive, request.send)


async def _unavailable(request: _Request) -> None:
    if request.fault.rule.after_accepting:
        await request.carried_out()
    else:
        await request.drained()
    headers = [(b"content-type", b"text/html")]
    if request.fault.rule.retry_after is not None:
        headers.append((b"retry-after", str(request.fault.rule.retry_after).encode()))
    reply = _Reply(
        {"type": "http.response.start", "status": 503, "headers": headers},
        b"<html><body><h1>503 Service Unavailable</h1></body></html>",
    )
    await reply.send(request.send)


async def _slow_bytes(request: _Request) -> None:
    reply = await request.carried_out()
    await request.send(reply.start)
    step = max(1, -(-len(reply.body) // _DRIPS))
    for at in range(0, len(reply.body), step):
        await asyncio.sleep(request.fault.rule.seconds / _DRIPS)
        await request.send({"type": "http.response.body", "body": reply.body[at : at + step], "more_body": True})
    await request.send({"type": "http.response.body", "body": b""})


async def _cut_body(request: _Request) -> None:
    reply = await request.carried_out()
    headers = [(n, v) for n, v in reply.start["headers"] if n.lower() != b"content-length"]
    await request.send({**reply.start, "headers": [*headers, (b"content-length", str(len(reply.body) + 1).encode())]})
    await request.send({"type": "http.response.body", "body": reply.body[: len(reply.body) // 2], "more_body": True})
    line = request.line
    if line is not None:
        line.close()
        while (await asyncio.wait_for(request.receive(), _PATIENCE_SECONDS))["type"] != "http.disconnect":
            pass


async def _wrong_signature(request: _Request) -> None:
    reply = await request.carried_out()
    if reply.is_text:
        lines = reply.body.split(CRLF)
        end = lines.index(b"-----END CMS-----")
        # The last whole line of the block lies within the signature's octets; the base64 stays well formed.
        last = max(at for at in range(end) if len(lines[at]) == 64)
        lines[last] = bytes((ord("B") if lines[last][20] == ord("A") else ord("A"),)).join(
            (lines[last][:20], lines[last][21:])
        )
        reply.body = CRLF.join(lines)
    await reply.send(request.send)


async def _double_reply(request: _Request) -> None:
    reply = await request.carried_out()
    reply.body *= 2
    await reply.send(request.send)


async def _double_request(request: _Request) -> None:
    messages: list[dict[str, Any]] = []
    while True:
        message = dict(await request.receive())
        messages.append(message)
        if not message.get("more_body", False):
            break
    await request.carried_out(_replayed(messages))
    reply = await request.carried_out(_replayed(messages))
    await reply.send(request.send)


def _replayed(messages: list[dict[str, Any]]) -> Receive:
    left = iter(messages)

    async def receive() -> Message:
        return next(left, {"type": "http.disconnect"})

    return receive


async def _still_processing(request: _Request) -> None:
    await request.drained()
    wait = request.fault.rule.retry_after if request.fault.rule.retry_after is not None else _SOON_SECONDS
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", str(wait).encode())]
    await _Reply({"type": "http.response.start", "status": 202, "headers": headers}, b"Y").send(request.send)
