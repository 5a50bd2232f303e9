"""The real online station and the real gateway on 127.0.0.1, with one clock that stands until a test moves it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from cryptography.hazmat.primitives.serialization import Encoding

from online_station.core.decide import DEFAULT_POLICY
from online_station.shell.home import Home
from online_station.shell.runner import Pass
from online_station.shell.setup import at_work, initialise, opened
from online_station.shell.store import ReportRow
from shared.text import both
from tax_bureau.app import make_app
from tax_bureau.faults import Fault, Kind, Rule, Script
from tax_bureau.misbehaving import KnownLine, Misbehaving
from tax_bureau.serve import listen, url_of
from tests.support.bureau import PIN, Office
from tests.support.pki import TAXPAYER

_PATIENCE = 10.0


@contextmanager
def http(office: Office) -> Iterator[str]:
    """Serve the office's interface, misbehaving as its script says; nothing is judged unless the test does it."""
    server = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        Misbehaving(make_app(office.bureau), office.bureau),
        http=KnownLine,
        log_level="error",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=5,
    )
    service = uvicorn.Server(config)
    thread = threading.Thread(target=service.run, kwargs={"sockets": [server]}, daemon=True)
    thread.start()
    try:
        yield url_of(server)
    finally:
        service.should_exit = True
        thread.join(_PATIENCE)
        server.close()
        assert not thread.is_alive()


@dataclass
class Line:
    """A station, an office, and what is between them.

    Attributes:
        office: The bureau.
        home: The station's home.
        words: Everything that the station said to its operator, in both languages.
    """

    office: Office
    home: Home
    words: list[str]

    @property
    def script(self) -> Script:
        """What the office does wrong."""
        return Script(self.office.root / "home")

    def fault(self, kind: str, **changes: Any) -> Fault:
        """Let the office do something wrong from now on."""
        return self.script.add(Rule(Kind(kind), **changes))

    def report(self, machine: int = 0, **changes: Any) -> str:
        """Seal a report and put it into the station's inbox; return its digest."""
        data, made = self.office.seal(self.office.card(machine), **changes)
        (self.home.default_inbox / made.header.name.file_name(".dat")).write_bytes(data)
        return made.digest

    def once(self, *, ask: bool = False, part_bytes: int | None = None) -> Pass:
        """Let the station do what is due, and note what it says."""
        with at_work(self.home, self.office.clock, settle=0.0) as station:
            if part_bytes is not None:
                station.keyring.own.gateway.part_bytes = part_bytes  # type: ignore[attr-defined]
            done = station.ask_now() if ask else station.once(patient=False)
        for each in [*(error.text for error in done.problems), *done.warnings]:
            self.words += [each.zh, each.en]
        for row in self.rows():
            self.words += [row.snapshot.message, row.snapshot.code]
        return done

    def rows(self) -> tuple[ReportRow, ...]:
        """Return the station's reports."""
        with opened(self.home, DEFAULT_POLICY) as store:
            return tuple(store.reports())

    def row(self, digest: str) -> ReportRow:
        """Return one of them."""
        with opened(self.home, DEFAULT_POLICY) as store:
            return store.find(digest)

    def state(self, digest: str) -> str:
        """Return a report's state at the station."""
        return self.row(digest).state.value

    def judge(self) -> None:
        """Let the office judge what is due."""
        self.office.bureau.desk.judge_all()

    def go_on(self, digest: str, until: str, *, step: float = 60.0, most: int = 60, **options: Any) -> list[str]:
        """Let time pass until the report is in a state; return the states on the way.

        The operator does nothing: what heals, heals by itself.
        """
        seen: list[str] = []
        for _ in range(most):
            self.once(**options)
            self.judge()
            seen.append(self.state(digest))
            if seen[-1] == until:
                return seen
            self.office.clock.advance(seconds=step)
        raise AssertionError(f"{digest[:12]} does not become {until}: {seen}; {self.words}")

    def acknowledge(self, digest: str) -> None:
        """Put the clear receipt into the inbox, as a stick would bring it."""
        (self.home.default_inbox / f"{self.row(digest).header.name.stem}.ack").write_bytes(self.office.ack(digest))

    def events(self, digest: str) -> list[str]:
        """Return what happened to a report at the office."""
        with self.office.bureau.store.read() as tx:
            return [event.what for event in tx.events(digest)]

    def results(self, digest: str) -> int:
        """Return how many results the office gave a report."""
        with self.office.bureau.store.read() as tx:
            return len(tx.results(digest))


@contextmanager
def line(root: Path) -> Iterator[Line]:
    """Lay a line between a fresh office, which has July declared, and a fresh station that is on its file."""
    office = Office(root / "office")
    office.declare()
    pin, pem = root / "pin.txt", root / "root.pem"
    pin.write_text(PIN.reveal_secret() + "\n", encoding="utf-8")
    pem.write_bytes(office.bureau.keyring.root.public_bytes(Encoding.PEM))
    home = Home(root / "上网机")
    with http(office) as url:
        initialise(
            home,
            bureau=url,
            key=office.root / f"{TAXPAYER}.p12",
            pin_file=pin,
            root_file=pem,
            inbox=None,
            outbox=None,
            proxy="",
            ca_file=None,
            clock=office.clock,
        )
        yield Line(office, home, [both("").zh])
