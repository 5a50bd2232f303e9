"""Serves a local page on 127.0.0.1 until somebody says stop, and opens a browser on it.

There is no way to listen elsewhere. The ticket reaches the browser in a file that only its owner can read: a command
line is for every user of a PC to see.
"""

from __future__ import annotations

import contextlib
import html
import json
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

import uvicorn

from shared.errors import PageNotServed
from shared.text import Text
from shared.text.system import os_reason
from shared.web.guard import HOST
from shared.web.site import Site

_BACKLOG: Final = 64
_START_SECONDS: Final = 30.0
_SHUTDOWN_SECONDS: Final = 3
_DRAIN_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.5
_FIRST: Final = "open.html"
_WHERE: Final = "page.json"


def listen(port: int, *, last: int = 0) -> socket.socket:
    """Return a listening socket on 127.0.0.1.

    Args:
        port: Which port; 0 takes a free one.
        last: The port to prefer where any will do: an open window finds the page again.

    Raises:
        PageNotServed: The port is in use.
    """
    for wanted in [last, 0] if last and not port else [port]:
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if sys.platform == "win32":
                # SO_REUSEADDR would let any user's process take the port over while we listen.
                server.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((HOST, wanted))
            server.listen(_BACKLOG)
        except OSError as error:
            server.close()
            if wanted and wanted == last and not port:
                continue
            raise PageNotServed(port=wanted, reason=os_reason(error)) from None
        return server
    raise AssertionError("a port was tried")


def serve(site: Site, server: socket.socket, ready: Callable[[int], None], stop: threading.Event) -> None:
    """Serve a page until `stop` is set; work that is under way is waited for.

    Args:
        site: The page.
        server: Made by `listen`; closed at the end.
        ready: Called with the port once requests are answered.
        stop: Set by a signal, or by whoever started this.

    Raises:
        PageNotServed: It did not come up.
    """
    port = int(server.getsockname()[1])
    http = uvicorn.Server(
        uvicorn.Config(
            site.app(port),
            log_level="critical",
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            ws="none",
            http="h11",
            loop="asyncio",
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            h11_max_incomplete_event_size=1 << 16,
        )
    )
    thread = threading.Thread(target=http.run, kwargs={"sockets": [server]}, name="page", daemon=True)
    thread.start()
    try:
        waited = 0.0
        while not http.started and thread.is_alive() and waited < _START_SECONDS:
            waited += 0.01
            stop.wait(0.01)
        if not http.started:
            raise PageNotServed(port=port, reason=Text("页面没有启动", "it did not start"))
        ready(port)
        while not stop.wait(_LOOK_SECONDS):
            pass  # a wait without an end is deaf to Ctrl-C on Windows
        site.bench.drain(_DRAIN_SECONDS)
    finally:
        site.hub.close()
        http.should_exit = True
        thread.join(_SHUTDOWN_SECONDS + 5)
        server.close()


# One page for each home


class Claim:
    """The right to serve the page of one home; the system takes it back when the process dies."""

    def __init__(self, folder: Path) -> None:
        """Say whose page it is: `folder` is the page's own."""
        self._folder = folder
        self._file: IO[bytes] | None = None

    def take(self) -> bool:
        """Take the right; return False if another process serves this page."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (self._folder / ".serving").open("ab")
        try:
            _lock(file)
        except OSError:
            file.close()
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Give it back."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def port(self) -> int:
        """The port on which the page is, or was last; 0 if nobody knows."""
        try:
            return int(json.loads((self._folder / _WHERE).read_text(encoding="ascii"))["port"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def note(self, port: int) -> None:
        """Write down the port."""
        with contextlib.suppress(OSError):
            (self._folder / _WHERE).write_text(json.dumps({"port": port}), encoding="ascii")


def _lock(file: IO[bytes]) -> None:
    if sys.platform == "win32":  # pragma: no cover
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# Opening a browser


def open_browser(folder: Path, address: str) -> bool:
    """Open an address with a ticket in the user's browser; return whether one was found.

    Args:
        folder: The page's own folder, which is shut to others.
        address: Made by `Site.address`, for `OPENED_SECONDS`.
    """
    if sys.platform not in ("win32", "darwin") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False  # without a screen, a browser in the terminal would take its place
    path = folder / _FIRST
    address = html.escape(address, quote=True)
    text = (
        '<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
        f'<title>税渡 taxferry</title><meta http-equiv="refresh" content="0;url={address}"></head>'
        f'<body><p><a href="{address}">打开 · Open</a></p></body></html>'
    )
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    try:
        return bool(webbrowser.open(path.absolute().as_uri()))
    except (OSError, webbrowser.Error):
        return False


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[Claim | None]:
    """Hold the right to serve a page while the block runs; None if another process has it."""
    claim = Claim(folder)
    if not claim.take():
        yield None
        return
    try:
        yield claim
    finally:
        claim.release()
