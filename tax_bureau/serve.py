"""The running bureau: the HTTP interface on its own thread, the judges on theirs, until somebody says stop.

All that must survive is in the store. A restart finds what is due there and goes on; nothing hangs on this process.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn

from shared.errors import ConfigurationError
from shared.text import Text
from shared.text.system import os_reason
from tax_bureau import workers as judges
from tax_bureau.access import AccessLog
from tax_bureau.admission import Limits
from tax_bureau.app import make_app
from tax_bureau.home import Bureau
from tax_bureau.misbehaving import KnownLine, Misbehaving

_START_SECONDS: Final = 30.0
_SHUTDOWN_SECONDS: Final = 10
_WAKE_SECONDS: Final = 0.5
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


def url_of(server: socket.socket, *, secure: bool = False) -> str:
    """Return the address of a listening socket."""
    host, port = server.getsockname()[:2]
    scheme = "https" if secure else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@dataclass(frozen=True)
class Service:
    """How a bureau is served.

    Attributes:
        workers: How many reports this process judges at once; 0 leaves that to other processes.
        lease_seconds: How long a report stays in the hands of a process that died on another machine.
        limits: What is taken on at once.
        certificate: PEM file with the TLS certificate and its chain; without one, HTTP is not encrypted.
        key: PEM file with its key.
        access_log: Where each request is written down.
    """

    workers: int = 1
    lease_seconds: float = judges.LEASE_SECONDS
    limits: Limits = field(default_factory=Limits)
    certificate: Path | None = None
    key: Path | None = None
    access_log: Path | None = None


def serve(
    bureau: Bureau,
    server: socket.socket,
    ready: Callable[[str], None],
    stop: threading.Event,
    how: Service | None = None,
) -> None:
    """Serve until `stop` is set.

    Args:
        bureau: What is served.
        server: A listening socket; closed at the end.
        ready: Called with the address once requests are answered.
        stop: Set by a signal, or by whoever started this.
        how: How; by default with one judge and without TLS.

    Raises:
        ConfigurationError: The interface did not come up, or its certificate is not fit.
    """
    how = how or Service()
    bureau.desk.sweep()
    if how.certificate is not None:
        _check_tls(how.certificate, how.key)
    log = AccessLog(how.access_log) if how.access_log is not None else None
    http = uvicorn.Server(
        uvicorn.Config(
            Misbehaving(make_app(bureau, limits=how.limits, log=log), bureau),
            http=KnownLine,
            ssl_certfile=how.certificate,
            ssl_keyfile=how.key,
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
        ready(url_of(server, secure=how.certificate is not None))
        work(bureau, stop, threads=how.workers, lease_seconds=how.lease_seconds)
    finally:
        http.should_exit = True
        thread.join(_SHUTDOWN_SECONDS + 5)
        server.close()
        if log is not None:
            log.close()


def work(
    bureau: Bureau, stop: threading.Event, *, threads: int = 1, lease_seconds: float = judges.LEASE_SECONDS
) -> None:
    """Judge what is due, until `stop` is set; with no threads, only wait for that."""
    if not threads:
        wait_for(stop)
        return
    with judges.judging(bureau.desk, bureau.store, bureau.clock, threads=threads, lease_seconds=lease_seconds):
        wait_for(stop)


def wait_for(stop: threading.Event) -> None:
    """Wait in the main thread until a signal's handler sets an event.

    The system may hand the signal to another thread, as it does with a process that was stopped a moment ago. Python runs the
    handler in the main thread all the same, but only when that wakes up.
    """
    while not stop.wait(_WAKE_SECONDS):
        pass


def _check_tls(certificate: Path, key: Path | None) -> None:
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except OSError as error:  # ssl's own errors too
        said = (
            os_reason(error) if not isinstance(error, ssl.SSLError) else Text("不匹配或不是 PEM", "no match, or no PEM")
        )
        raise ConfigurationError(
            reason=Text(
                f"TLS 证书 {certificate} 或其密钥不可用（{said.zh}）",
                f"the TLS certificate {certificate} or its key cannot be used: {said.en}",
            )
        ) from None


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
