"""The running bureau: the HTTP interface on its own thread, the judge on this one, until somebody says stop.

All that must survive is in the store. A restart finds what is due there and goes on; nothing hangs on this process.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

import uvicorn

from shared.errors import ConfigurationError
from shared.text import Text
from shared.text.system import os_reason
from tax_bureau.app import make_app
from tax_bureau.home import Bureau
from tax_bureau.misbehaving import KnownLine, Misbehaving

_log: Final = logging.getLogger("taxferry.bureau")
_LOOK_SECONDS: Final = 0.2
"""How often the store is asked for due work: other processes of this bureau put some there as well."""
_TROUBLE_SECONDS: Final = 5.0
_START_SECONDS: Final = 30.0
_SHUTDOWN_SECONDS: Final = 10
_BACKLOG: Final = 128


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Raises:
        ConfigurationError: The address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, port))
        server.listen(_BACKLOG)
    except OSError as error:
        server.close()
        raise ConfigurationError(
            reason=Text(
                f"不能在 {host} 端口 {port} 上监听（{os_reason(error).zh}）",
                f"cannot listen on {host} port {port}: {os_reason(error).en}",
            )
        ) from None
    return server


def url_of(server: socket.socket) -> str:
    """Return the address of a listening socket."""
    host, port = server.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(bureau: Bureau, server: socket.socket, ready: Callable[[str], None], stop: threading.Event) -> None:
    """Serve until `stop` is set.

    Args:
        bureau: What is served.
        server: A listening socket; closed at the end.
        ready: Called with the address once requests are answered.
        stop: Set by a signal, or by whoever started this.

    Raises:
        ConfigurationError: The interface did not come up.
    """
    bureau.desk.sweep()
    http = uvicorn.Server(
        uvicorn.Config(
            Misbehaving(make_app(bureau), bureau),
            http=KnownLine,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            h11_max_incomplete_event_size=1 << 16,
        )
    )
    thread = threading.Thread(target=http.run, kwargs={"sockets": [server]}, name="http", daemon=True)
    thread.start()
    try:
        waited = 0.0
        while not http.started and thread.is_alive() and waited < _START_SECONDS:
            waited += 0.02
            stop.wait(0.02)
        if not http.started:
            raise ConfigurationError(reason=Text("HTTP 服务没有启动", "the HTTP interface did not come up"))
        ready(url_of(server))
        work(bureau, stop)
    finally:
        http.should_exit = True
        thread.join(_SHUTDOWN_SECONDS + 5)
        server.close()


def work(bureau: Bureau, stop: threading.Event) -> None:
    """Judge what is due, until `stop` is set."""
    while not stop.is_set():
        pause = _LOOK_SECONDS
        try:
            while not stop.is_set() and bureau.desk.judge_next(stop.is_set):
                pass
        except Exception as error:  # noqa: BLE001  one report or one full disk must not end the office
            _log.error("judge: %s: %s", type(error).__name__, error)
            pause = _TROUBLE_SECONDS
        stop.wait(pause)


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Give an event that SIGINT and SIGTERM set, instead of what they do otherwise."""
    stop = threading.Event()

    def _stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
