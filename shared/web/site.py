"""A local page: its routes, its templates, its language. It hides the web framework from the stations.

    site = Site("offline-station", title, folder=home / "page", clock=clock, templates=("offline_station.web", "templates"))

    @site.page("/history")
    def history(visit: Visit) -> Answer:
        return Page("history.html", items=…)

    @site.action("/copy")
    def copy(visit: Visit) -> Answer:
        work = site.bench.start("copy", Text("抄税处理", "copying"), visit.session.operator, lambda progress: …)
        return Go(f"/progress/{work.id}")

Handlers are ordinary functions and run in a thread. A `TaxferryError` that leaves one is shown as a fault card.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote, urlencode

import jinja2
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

import shared
from shared.cli import as_taxferry_error
from shared.clock import Clock, readable_time
from shared.errors import FormExpired, PageUnknown, TaxferryError
from shared.money import format_yuan
from shared.text import Language, Text, current_language, set_language
from shared.web import blocks
from shared.web.events import Hub, encode
from shared.web.guard import MAX_BODY, OPEN, STATIC, Asgi, BodyTooLarge, Guard, too_large
from shared.web.peer import Address, Owner, can_tell, owner_of
from shared.web.sessions import Session, Sessions
from shared.web.tickets import Tickets
from shared.web.work import Bench, record_defect

_HERE: Final = Path(__file__).parent
_MAX_FIELDS: Final = 200
_MAX_FILES: Final = 50
EVENTS: Final = "/events"
LANGUAGE: Final = "/language"


@dataclass(frozen=True)
class Upload:
    """A file that came with a form.

    Attributes:
        name: As the browser gives it; a name, never a path.
        file: Its content, at its start.
        size: Its length.
    """

    name: str
    file: IO[bytes]
    size: int


@dataclass(frozen=True)
class Visit:
    """One request for a page.

    Attributes:
        session: Whose it is.
        path: The address.
        parts: The named parts of the address.
        query: What stands after the question mark; of several values, the last.
        form: The fields of a form; of several values, the last.
        fields: The same with all values.
        files: Uploaded files by field.
    """

    session: Session
    path: str
    parts: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)
    files: Mapping[str, Sequence[Upload]] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """An answer: a template with values.

    Attributes:
        template: Its name.
        status: The HTTP status.
        values: What it shows.
    """

    template: str
    status: int
    values: Mapping[str, Any]

    def __init__(self, template: str, *, status: int = 200, **values: Any) -> None:
        """Show `template` with `values`."""
        object.__setattr__(self, "template", template)
        object.__setattr__(self, "status", status)
        object.__setattr__(self, "values", values)


@dataclass(frozen=True)
class Go:
    """An answer: another page of ours."""

    path: str


@dataclass(frozen=True)
class Download:
    """An answer: a file to be saved.

    Attributes:
        name: Under which name.
        kind: Its media type.
        chunks: Its content.
    """

    name: str
    kind: str
    chunks: Iterable[bytes]


Answer = Page | Go | Download
Handler = Callable[[Visit], Answer]


class Site:
    """One local page."""

    def __init__(
        self,
        program: str,
        title: Text,
        *,
        folder: Path,
        log: Path,
        clock: Clock,
        templates: tuple[str, str],
        pc: Text,
    ) -> None:
        """Make a page without routes.

        Args:
            program: The program's name.
            title: What stands above every page.
            folder: Where the page keeps what is its own: tickets and uploads.
            log: Where records of defects go.
            clock: The time.
            templates: A package, and the folder in it that holds the station's templates.
            pc: What this PC is called.
        """
        self.program, self.title, self.pc, self.clock = program, title, pc, clock
        self.folder, self.log = folder, log
        self.hub, self.sessions, self.tickets = Hub(), Sessions(), Tickets(folder)
        self.bench = Bench(self.hub, clock, log)
        self.boot = secrets.token_hex(8)
        self.navigation: Sequence[tuple[str, Text]] = ()
        self.before: Callable[[Visit], Answer | None] = lambda _visit: None
        self.common: Callable[[Visit], Mapping[str, Any]] = lambda _visit: {}
        self.reword: Callable[[blocks.FaultCard], blocks.FaultCard] = lambda card: card
        self._routes: list[Route] = []
        self._large: dict[str, int] = {}
        self._static = _static_files(_HERE / "static")
        self._environment = _environment(templates, self._static)
        self._add(EVENTS, self._events)
        self._add(STATIC + "{name}", self._file)
        self.action(LANGUAGE)(self._switch)

    # Declaring

    def page(self, path: str) -> Callable[[Handler], Handler]:
        """Declare a page (GET). `{name}` in the path matches a part of it."""

        def declare(handler: Handler) -> Handler:
            async def answer(request: Request) -> Response:
                return await self._answer(request, handler, _visit(request))

            self._add(path, answer)
            return handler

        return declare

    def action(self, path: str, *, max_bytes: int = MAX_BODY) -> Callable[[Handler], Handler]:
        """Declare what a form does (POST). The form's token is checked before the handler is called.

        Args:
            path: Its address; without named parts if `max_bytes` is given.
            max_bytes: The largest body, uploaded files included.
        """
        if max_bytes != MAX_BODY:
            self._large[path] = max_bytes

        def declare(handler: Handler) -> Handler:
            async def answer(request: Request) -> Response:
                try:
                    async with request.form(max_files=_MAX_FILES, max_fields=_MAX_FIELDS) as form:
                        visit = _visit(request, form)
                        given = request.headers.get("x-csrf-token") or visit.form.get("csrf", "")
                        if not hmac.compare_digest(given.encode(), visit.session.csrf.encode()):
                            return await self._fault(visit, FormExpired(), status=403)
                        return await self._answer(request, handler, visit)
                except HTTPException as error:
                    return Response(str(error.detail), error.status_code, media_type="text/plain")
                except BodyTooLarge:
                    return Response(*too_large(), media_type="text/html")
                except ClientDisconnect:
                    return Response(status_code=400)

            self._add(path, answer, method="POST")
            return handler

        return declare

    def _add(self, path: str, endpoint: Callable[[Request], Any], *, method: str = "GET") -> None:
        self._routes.append(Route(path, endpoint, methods=[method]))

    @property
    def actions(self) -> list[str]:
        """The addresses of all actions."""
        return [route.path for route in self._routes if "POST" in (route.methods or ())]

    @property
    def pages(self) -> list[str]:
        """The addresses of all pages that people open."""
        own = (EVENTS, STATIC)
        return [r.path for r in self._routes if "GET" in (r.methods or ()) and not r.path.startswith(own)]

    def app(self, port: int, *, owner: Callable[[Address, Address], Owner] = owner_of) -> Asgi:
        """Return the guarded application for a port."""
        inner = Starlette(routes=self._routes, exception_handlers={404: self._unknown, 405: self._unknown})
        return Guard(
            inner,
            port=port,
            sessions=self.sessions,
            tickets=self.tickets,
            clock=self.clock,
            owner=owner,
            large=self._large,
            quiet=(EVENTS,),
        )

    def address(self, port: int, seconds: int) -> str:
        """Return an address that opens the page once."""
        return f"http://127.0.0.1:{port}{OPEN}?ticket={self.tickets.issue(self.clock.now(), seconds)}"

    # Answering

    async def _answer(self, request: Request, handler: Handler, visit: Visit) -> Response:
        set_language(self._language(visit.session, request))

        def call() -> Response:
            try:
                answer = self.before(visit) or handler(visit)
                return self._respond(visit, answer)
            except Exception as error:  # noqa: BLE001  whatever it is, the page has to say so
                known = as_taxferry_error(error) or record_defect(error, self.log)
                return self._fault_page(visit, known)

        return await run_in_threadpool(copy_context().run, call)

    async def _fault(self, visit: Visit, error: TaxferryError, *, status: int) -> Response:
        return await run_in_threadpool(self._fault_page, visit, error, status)

    async def _unknown(self, request: Request, _error: Exception) -> Response:
        session = getattr(request.state, "session", None)
        if session is None:
            return Response("not found", 404, media_type="text/plain")
        set_language(self._language(session, request))
        return await self._fault(_visit(request), PageUnknown(), status=404)

    def _fault_page(self, visit: Visit, error: TaxferryError, status: int = 409) -> Response:
        card = self.card_of(error)
        try:
            return self._respond(visit, Page("fault.html", status=status, card=card, error=error))
        except Exception as second:  # noqa: BLE001  the station's own part of the page does not come up either
            record_defect(second, self.log)
            return self._respond(visit, Page("fault.html", status=status, card=card, error=error), bare=True)

    def card_of(self, error: TaxferryError) -> blocks.FaultCard:
        """Return an error as this page shows it."""
        return self.reword(blocks.card_of_error(error, now=self.clock.now(), version=shared.__version__))

    def _respond(self, visit: Visit, answer: Answer, *, bare: bool = False) -> Response:
        if isinstance(answer, Go):
            return RedirectResponse(answer.path, status_code=303)
        if isinstance(answer, Download):
            headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(answer.name)}"}
            return StreamingResponse(answer.chunks, media_type=answer.kind, headers=headers)
        return Response(self.render(visit, answer, bare=bare), answer.status, media_type="text/html")

    def render(self, visit: Visit, page: Page, *, bare: bool = False) -> str:
        """Return a page as HTML, in the language of the present context."""
        values = {
            "site": self,
            "session": visit.session,
            "csrf": visit.session.csrf,
            "path": visit.path,
            "here": f"{visit.path}?{urlencode(visit.query)}" if visit.query else visit.path,
            "lang": current_language(),
            "notices": visit.session.take_notices(),
            "running": self.bench.running,
            "version": shared.__version__,
            "peers_known": can_tell(),
            "bare": bare,
            "navigation": self.navigation,
            **({} if bare else self.common(visit)),
            **page.values,
        }
        return self._environment.get_template(page.template).render(values)

    def _language(self, session: Session, request: Request) -> Language:
        if session.language is not None:
            return session.language
        return "en" if request.headers.get("accept-language", "").lower().startswith("en") else "zh"

    def _switch(self, visit: Visit) -> Answer:
        visit.session.language = "en" if visit.form.get("to") == "en" else "zh"
        return Go(local(visit.form.get("back", "/")))

    async def _file(self, request: Request) -> Response:
        found = self._static.get(request.path_params["name"])
        if found is None:
            return Response("not found", 404, media_type="text/plain")
        data, kind, _ = found
        return Response(data, media_type=kind, headers={"cache-control": "public, max-age=3600"})

    async def _events(self, request: Request) -> Response:
        def first() -> bytes:
            running = self.bench.running
            return encode("hello", {"boot": self.boot, "work": running.facts() if running else None})

        async def stream() -> AsyncIterator[bytes]:
            async for event in self.hub.stream(request.state.session.csrf, first):
                yield event

        return StreamingResponse(stream(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


def local(path: str) -> str:
    """Return an address of ours, whatever was asked for: never another site's."""
    good = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if good and len(path) < 500 else "/"


def _visit(request: Request, form: FormData | None = None) -> Visit:
    fields: dict[str, list[str]] = {}
    files: dict[str, list[Upload]] = {}
    for key, value in form.multi_items() if form is not None else ():
        if isinstance(value, UploadFile):
            if value.filename:
                name = value.filename.replace("\\", "/").rsplit("/", 1)[-1]
                files.setdefault(key, []).append(Upload(name, value.file, value.size or 0))
        else:
            fields.setdefault(key, []).append(value)
    return Visit(
        session=request.state.session,
        path=request.url.path,
        parts=dict(request.path_params),
        query=dict(request.query_params),
        form={key: values[-1] for key, values in fields.items()},
        fields=fields,
        files=files,
    )


_KINDS: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def _static_files(folder: Path) -> dict[str, tuple[bytes, str, str]]:
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in _KINDS:
            data = path.read_bytes()
            found[path.name] = (data, _KINDS[path.suffix], hashlib.sha256(data).hexdigest()[:12])
    return found


def _environment(templates: tuple[str, str], static: Mapping[str, tuple[bytes, str, str]]) -> jinja2.Environment:
    own = jinja2.FileSystemLoader(_HERE / "templates")
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(*templates), own]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )

    def asset(name: str) -> str:
        return f"{STATIC}{name}?{static[name][2]}"

    environment.globals.update(
        {
            "t": lambda zh, en: str(Text(zh, en)),
            "asset": asset,
            "yuan": format_yuan,
            "when": readable_time,
            "days_words": blocks.days_words,
            "level_of": blocks.level_of,
        }
    )
    environment.filters["u"] = lambda text: quote(str(text), safe="")
    return environment
