"""The door of a local page: what every request has to pass before any page sees it.

In this order: the connection is this user's; the host is ours, with our port; the method is one of ours; no other
site asks; the body is small enough; a session is there (or a ticket begins one). The token in every form is checked
where forms are read (`shared.web.site`). What is refused is told in both languages, and nothing is done.

Why each rule is there, and what was seen without it, is written in decision 17.
"""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from shared.clock import Clock
from shared.text import Text
from shared.web.peer import Address, Owner
from shared.web.sessions import Session, Sessions
from shared.web.tickets import Tickets

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

HOST: Final = "127.0.0.1"
OPEN: Final = "/open"
STATIC: Final = "/static/"
MAX_BODY: Final = 1 << 20
_METHODS: Final = frozenset({"GET", "HEAD", "POST"})
_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"content-security-policy", _CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), usb=()"),
)

_USER: Final = Text(
    "这个连接来自本机的其他用户，已拒绝。页面只给启动它的用户使用。",
    "This connection comes from another user of this PC and was refused. The page is only for the user who started it.",
)
_HOST: Final = Text(
    "地址不对，已拒绝。请使用程序打开的页面，或程序显示的地址。",
    "Wrong address; refused. Use the page that the program opened, or the address that it printed.",
)
_ORIGIN: Final = Text(
    "请求来自其他网页，已拒绝，什么都没有做。", "Another site asked for this; refused, and nothing was done."
)
_TICKET: Final = Text(
    "这个链接已经用过，或已过时。请再启动一次程序（serve），它会打开新的页面。",
    "This link was used before or is too old. Start the program (serve) again: it opens a new page.",
)
_SESSION: Final = Text(
    "这个窗口没有登记，或程序重新启动过。请再启动一次程序（serve），它会打开新的页面。",
    "This window is not known, or the program was started anew. Start the program (serve) again: it opens a new page.",
)
_METHOD: Final = Text("不支持这种请求。", "This kind of request is not supported.")
_LARGE: Final = Text("内容太大，已拒绝。", "Too large; refused.")


class BodyTooLarge(Exception):
    """More was sent than a request may hold; no page has seen it whole."""


class Guard:
    """An ASGI application round another one, which sees only what passed."""

    def __init__(
        self,
        app: Asgi,
        *,
        port: int,
        sessions: Sessions,
        tickets: Tickets,
        clock: Clock,
        owner: Callable[[Address, Address], Owner],
        large: Mapping[str, int],
        quiet: Sequence[str] = (),
    ) -> None:
        """Guard `app`.

        Args:
            app: What is guarded.
            port: Our port.
            sessions: The sessions.
            tickets: The tickets that begin one.
            clock: The time.
            owner: Says whose a connection is.
            large: Paths that take more than `MAX_BODY` octets, and how many.
            quiet: Paths that a page asks for by itself: they keep nobody signed in.
        """
        self._app, self._sessions, self._tickets, self._clock = app, sessions, tickets, clock
        self._owner, self._large, self._quiet = owner, large, frozenset(quiet)
        self._port = port
        self._host = f"{HOST}:{port}"
        self._origin = f"http://{self._host}"
        self.cookie = f"taxferry-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or say why not."""
        if scope["type"] != "http":
            return  # no websockets, and nothing to start or to end
        sent = _Sent(send)
        headers = _Headers(scope["headers"])
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(sent, *refusal)
            return
        path = scope["path"]
        if path.startswith(STATIC):
            await self._app(scope, receive, sent)
            return
        if path == OPEN:
            await self._open(scope, sent)
            return
        session = self._session(headers)
        if session is None:
            await _refuse(sent, 403, _SESSION)
            return
        if path not in self._quiet:
            session.seen_at = self._clock.now()
        scope.setdefault("state", {})["session"] = session
        before = session.key
        sent.cookie = lambda: self._set_cookie(session) if session.key != before else None
        await self._app(scope, _limited(receive, self._large.get(path, MAX_BODY)), sent)

    def _refusal(self, scope: Scope, headers: _Headers) -> tuple[int, Text] | None:
        client, server = scope.get("client"), scope.get("server")
        if not client or not server or self._owner(tuple(client), (server[0], self._port)) is Owner.OTHER:
            return 403, _USER
        if headers.all("host") != [self._host]:
            return 421, _HOST
        method, path = scope["method"], scope["path"]
        if method not in _METHODS:
            return 405, _METHOD
        site = headers.one("sec-fetch-site")
        opening = method == "GET" and path == OPEN and headers.one("sec-fetch-mode") in ("", "navigate")
        if site not in ("", "same-origin", "none") and not opening:
            return 403, _ORIGIN
        if headers.one("sec-fetch-dest") in ("iframe", "frame", "embed", "object"):
            return 403, _ORIGIN
        origin = headers.one("origin")
        if origin and origin != self._origin:
            return 403, _ORIGIN
        if method == "POST" and not origin and not self._is_ours(headers.one("referer")):
            return 403, _ORIGIN
        length = headers.one("content-length")
        if length and (not length.isdecimal() or int(length) > self._large.get(path, MAX_BODY)):
            return 413, _LARGE
        return None

    def _is_ours(self, referrer: str) -> bool:
        found = urlsplit(referrer)
        return f"{found.scheme}://{found.netloc}" == self._origin

    def _session(self, headers: _Headers) -> Session | None:
        pairs = (pair.strip().partition("=") for line in headers.all("cookie") for pair in line.split(";"))
        key = next((value for name, _, value in pairs if name == self.cookie), None)
        return None if key is None else self._sessions.find(key, self._clock.now())

    def _set_cookie(self, session: Session) -> bytes:
        return f"{self.cookie}={session.key}; HttpOnly; SameSite=Strict; Path=/".encode()

    async def _open(self, scope: Scope, sent: _Sent) -> None:
        """Change a ticket for a session.

        The answer is a page that goes on by itself, not a redirection: a browser that came from a file would not show
        the new cookie at the end of a redirection.
        """
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        ticket = query.get("ticket", [""])[0]
        now = self._clock.now()
        if scope["method"] != "GET" or not self._tickets.spend(ticket, now):
            await _refuse(sent, 403, _TICKET)
            return
        session = self._sessions.begin(now)
        words = Text("正在打开页面…", "Opening the page…")
        body = _page(words, '<meta http-equiv="refresh" content="0;url=/">', '<p><a href="/">打开 · Open</a></p>')
        await _answer(sent, 200, body, [(b"set-cookie", self._set_cookie(session))])


class _Headers:
    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self._raw = raw

    def all(self, name: str) -> list[str]:
        wanted = name.encode()
        return [value.decode("latin-1") for key, value in self._raw if key.lower() == wanted]

    def one(self, name: str) -> str:
        """Return a header that is there once; a header that is there twice is none that we know."""
        found = self.all(name)
        return found[0] if len(found) == 1 else "; ".join(found)


class _Sent:
    """Adds our headers to every answer, whoever gives it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.cookie: Callable[[], bytes | None] = lambda: None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            own = [*message.get("headers", [])]
            names = {key.lower() for key, _ in own}
            own += [pair for pair in HEADERS if pair[0] not in names]
            if b"cache-control" not in names:
                own.append((b"cache-control", b"no-store"))
            cookie = self.cookie()
            if cookie is not None:
                own.append((b"set-cookie", cookie))
            message["headers"] = own
        await self._send(message)


def _limited(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise BodyTooLarge
        return message

    return counted


def too_large() -> tuple[bytes, int]:
    """Return the page about a body that turned out too large, and its status."""
    return _page(_LARGE), 413


async def _refuse(sent: _Sent, status: int, why: Text) -> None:
    await _answer(sent, status, _page(why), [])


async def _answer(sent: _Sent, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    own = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(body)).encode()), *headers]
    await sent({"type": "http.response.start", "status": status, "headers": own})
    await sent({"type": "http.response.body", "body": body})


def _page(words: Text, head: str = "", more: str = "") -> bytes:
    """Return a page that needs nothing else of ours: whoever sees it may have no session and no language."""
    chinese, english = html.escape(words.zh), html.escape(words.en)
    return (
        '<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><title>税渡 taxferry</title>'
        f'<meta name="viewport" content="width=device-width"><link rel="icon" href="{STATIC}icon.svg">'
        f'<link rel="stylesheet" href="{STATIC}style.css">{head}</head>'
        f'<body class="bare"><main><h1>税渡</h1><p>{chinese}</p><p lang="en">{english}</p>{more}</main></body></html>'
    ).encode()
