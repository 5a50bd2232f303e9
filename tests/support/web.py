"""A browser without a screen, for local pages: it keeps cookies, fills forms, and does what fetch metadata tells."""

from __future__ import annotations

import contextlib
import http.client
import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode, urlsplit

from shared.web import serving
from shared.web.site import Site


@dataclass
class Reply:
    """An answer of a page."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    path: str = ""

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def words(self) -> str:
        """What a person reads, in one line."""
        reader = _Words()
        reader.feed(self.text)
        return " ".join("".join(reader.found).split())

    @property
    def forms(self) -> list[dict[str, str]]:
        """The action of each form, and its fields' values."""
        reader = _Forms()
        reader.feed(self.text)
        return reader.found


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.silent += tag in ("script", "style", "noscript")

    def handle_endtag(self, tag: str) -> None:
        self.silent -= tag in ("script", "style", "noscript")
        self.found.append(" ")

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.found.append(data)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        if tag == "form":
            self.found.append({"": values.get("action", "")})
        elif tag == "input" and self.found and values.get("name"):
            if values.get("type") in ("radio", "checkbox") and "checked" not in values:
                return
            self.found[-1][values["name"]] = values.get("value", "")


@dataclass
class Browser:
    """One browser at a page.

    Attributes:
        port: Where the page is.
        cookie: What it was given.
    """

    port: int
    cookie: str = ""
    page: Reply = field(default_factory=lambda: Reply(0, {}, b""))

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send a request as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            own = {"Cookie": self.cookie} if self.cookie else {}
            connection.request(method, path, body, own | dict(headers or {}))
            answer = connection.getresponse()
            found = Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read(), path)
        finally:
            connection.close()
        if "set-cookie" in found.headers:
            self.cookie = found.headers["set-cookie"].split(";")[0]
        return found

    def open(self, address: str) -> Reply:
        """Follow a link with a ticket."""
        parts = urlsplit(address)
        assert self.request("GET", f"{parts.path}?{parts.query}", headers=_navigation("cross-site")).status == 200
        return self.get("/")

    def get(self, path: str, **headers: str) -> Reply:
        """Go to a page, and on to where it sends."""
        found = self.request("GET", path, headers=_navigation("same-origin") | headers)
        while found.status == 303:
            found = self.request("GET", found.headers["location"], headers=_navigation("same-origin"))
        self.page = found
        return found

    def post(self, path: str, files: Mapping[str, tuple[str, bytes]] | None = None, /, **fields: str) -> Reply:
        """Send a form of ours, with the token of the page that is shown, and go on to where it sends."""
        token = re.search(r'name="csrf" value="([^"]+)"', self.page.text)
        values = {"csrf": token[1] if token else ""} | fields
        if files is None:
            body, kind = urlencode(values).encode(), "application/x-www-form-urlencoded"
        else:
            body, kind = _multipart(values, files)
        found = self.request(
            "POST", path, body, {"Origin": self.origin, "Content-Type": kind} | _navigation("same-origin")
        )
        if found.status == 303:
            return self.get(found.headers["location"])
        self.page = found
        return found


def _navigation(site: str) -> dict[str, str]:
    return {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


def _multipart(fields: Mapping[str, str], files: Mapping[str, tuple[str, bytes]]) -> tuple[bytes, str]:
    edge = secrets.token_hex(16)
    parts = [
        f'--{edge}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()
    ]
    for key, (name, data) in files.items():
        head = f'--{edge}\r\nContent-Disposition: form-data; name="{key.split("#")[0]}"; filename="{name}"\r\n\r\n'
        parts.append(head.encode() + data + b"\r\n")
    return b"".join(parts) + f"--{edge}--\r\n".encode(), f"multipart/form-data; boundary={edge}"


@contextlib.contextmanager
def served(site: Site, *, port: int = 0) -> Iterator[int]:
    """Serve a site while the block runs, on a free port unless one is named; give the port."""
    stop, up, at = threading.Event(), threading.Event(), [0]

    def ready(found: int) -> None:
        at[0] = found
        up.set()

    thread = threading.Thread(target=serving.serve, args=(site, serving.listen(port), ready, stop))
    thread.start()
    try:
        assert up.wait(30)
        yield at[0]
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
