"""Serves the pages of the invoicing PC: what the verb `serve` does."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from offline_station.shell.home import Home
from offline_station.shell.visit import Lookout
from offline_station.web.books import add_invoice_pages
from offline_station.web.desk import Desk
from offline_station.web.keeping import add_keeping_pages
from offline_station.web.month import add_month_pages
from offline_station.web.people import add_people_pages
from offline_station.web.start import add_start_pages
from shared.clock import Clock
from shared.medium.volumes import MountWake
from shared.web import serving
from shared.web.guard import HOST, OPEN
from shared.web.tickets import OPENED_SECONDS, PRINTED_SECONDS, Tickets

_LOOK_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Served:
    """Where the page is.

    Attributes:
        url: An address that opens it once.
        address: The address without a ticket.
        opened: Whether a browser was opened on it.
        elsewhere: Whether another process serves it.
    """

    url: str
    address: str
    opened: bool
    elsewhere: bool = False


def make_desk(home: Home, clock: Clock) -> Desk:
    """Return the pages of the station in `home`."""
    desk = Desk(home, clock)
    add_month_pages(desk)
    add_invoice_pages(desk)
    add_keeping_pages(desk)
    add_people_pages(desk)
    add_start_pages(desk)
    return desk


def serve_pages(
    home: Home,
    clock: Clock,
    *,
    port: int,
    browser: bool,
    ready: Callable[[Served], None],
    stop: threading.Event,
) -> None:
    """Serve until `stop` is set; if another process serves this home already, only say where.

    Args:
        home: The station's folder.
        clock: The time.
        port: The port; 0 takes the last one, or any that is free.
        browser: Whether to open a browser.
        ready: Told where the page is.
        stop: Ends it.

    Raises:
        PageNotServed: The port is in use.
    """
    home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with serving.claimed(home.page) as claim:
        if claim is None:
            there = serving.Claim(home.page).port
            ready(_other(home, clock, there, browser=browser))
            return
        server = serving.listen(port, last=claim.port)
        desk = make_desk(home, clock)

        def up(found: int) -> None:
            claim.note(found)
            opened = browser and serving.open_browser(home.page, desk.site.address(found, OPENED_SECONDS))
            ready(Served(desk.site.address(found, PRINTED_SECONDS), f"http://{HOST}:{found}/", opened))

        with _watching(desk, stop):
            serving.serve(desk.site, server, up, stop)


def _other(home: Home, clock: Clock, port: int, *, browser: bool) -> Served:
    """Return where another process serves the page; a ticket is a file, so nobody has to ask it."""
    tickets, address = Tickets(home.page), f"http://{HOST}:{port}"

    def link(seconds: int) -> str:
        return f"{address}{OPEN}?ticket={tickets.issue(clock.now(), seconds)}"

    opened = browser and serving.open_browser(home.page, link(OPENED_SECONDS))
    return Served(link(PRINTED_SECONDS), address + "/", opened, elsewhere=True)


@contextlib.contextmanager
def _watching(desk: Desk, stop: threading.Event) -> Iterator[None]:
    """Tell open windows when a stick is plugged in or pulled out, and when another program changed the station."""
    thread = threading.Thread(target=_watch, args=(desk, stop), name="lookout", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5)


def _watch(desk: Desk, stop: threading.Event) -> None:
    lookout = Lookout(desk.home, desk.clock, everyone=False)
    before: object = None
    with MountWake() as wake:
        while not stop.is_set():
            if desk.site.hub.listeners and desk.home.card.exists() and desk.site.bench.running is None:
                with contextlib.suppress(Exception):  # what is wrong is said by the page itself
                    found, waiting = lookout.look()
                    now = (tuple((one.path, one.state, one.work) for one in found), waiting)
                    if before is not None and now != before:
                        desk.site.hub.publish("changed")
                    before = now
            wake.wait(_LOOK_SECONDS, stop)
