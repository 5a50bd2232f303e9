"""A bureau on 127.0.0.1, invoicing PCs and Internet PCs, worked through their real command lines.

The bureau serves from a thread, with a clock that a test may advance. Between it and an Internet PC stands a front
door that can be shut, busy, a login page, or a line that breaks. Cards and keys have fakes that behave like a device.
"""

from __future__ import annotations

import http.client
import itertools
import json
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import offline_station.cli
import online_station.cli.base
from offline_station.card.refusals import DeviceRefused
from offline_station.card.software import SoftwareCard
from offline_station.cli import program as offline_program
from online_station.cli import program as online_program
from shared.cli import Program
from shared.clock import SystemClock
from shared.errors import KeyUnavailable
from shared.faults import CATALOGUE
from shared.ids import month_end
from shared.keys.port import Signer
from shared.text import Text
from tax_bureau import serve
from tax_bureau.cli import program as bureau_program
from tax_bureau.home import Bureau, init_bureau, open_bureau
from tests.support import workbooks

NAME = "上海示例制造有限公司"
PATIENCE_SECONDS = 60
_NUMBERS = itertools.count(1)


class Ahead(SystemClock):
    """The machine's time, and as much more as a test says."""

    def __init__(self) -> None:
        self.by = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.by


@dataclass
class Said:
    """What a verb showed to the person at the keyboard, and its exit status."""

    status: int
    screen: str

    def __contains__(self, words: str) -> bool:
        return words in self.screen


class Office:
    """The bureau that all journeys of a file share.

    Attributes:
        root: Its folder.
        clock: Its clock.
        url: Where it listens.
        bureau: The open bureau that serves.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.clock = Ahead()
        listening = serve.listen("127.0.0.1", 0)
        here = f"http://127.0.0.1:{listening.getsockname()[1]}"
        init_bureau(self.home, self.clock, key_type="p256", gateways=[here])
        self.bureau: Bureau = open_bureau(self.home, self.clock)
        (root / "root.pem").write_text(_pem(self.bureau), encoding="utf-8")
        self.bureau.desk.set_processing_seconds(0)
        self._stop = threading.Event()
        ready: list[str] = []
        come = threading.Event()

        def up(url: str) -> None:
            ready.append(url)
            come.set()

        self._thread = threading.Thread(target=serve.serve, args=(self.bureau, listening, up, self._stop))
        self._thread.start()
        assert come.wait(PATIENCE_SECONDS), "the bureau did not come up"
        [self.url] = ready

    def close(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_SECONDS)
        self.bureau.store.close()


def _pem(bureau: Bureau) -> str:
    from tax_bureau.issue import certificate_pem

    return certificate_pem(bureau.keyring.root)


class Device(SoftwareCard):
    """A card in the hands of a driver: it does what the software card does, unless the device objects.

    Attributes:
        objects: By method, the device code with which it refuses, as long as that stands here.
        pulled: The method in which the card is pulled out, once.
    """

    objects: dict[str, str] = {}  # noqa: RUF012  one device for all openings of a test
    pulled: str = ""

    def _ask(self, method: str) -> None:
        if method in type(self).objects:
            raise DeviceRefused(type(self).objects[method])
        if type(self).pulled == method:
            type(self).pulled = ""
            raise DeviceRefused("JSK241")

    def copy(self, now: datetime, **how: Any) -> Any:
        self._ask("copy")
        return super().copy(now, **how)

    def clear(self, now: datetime) -> Any:
        self._ask("clear")
        return super().clear(now)

    def return_volume(self, now: datetime) -> None:
        """Give bought invoices back, as the invoicing software would ask: never between period start and clear."""
        if self.read(now).state.value != "done":
            raise DeviceRefused("JSK085")

    def upload_summary(self, *, network: bool) -> None:
        """Report by the invoicing software's own way, which needs a network."""
        if not network:
            raise DeviceRefused("JSK250")


class Slot:
    """A USB port with tokens in it: what a driver of enterprise keys would see.

    Attributes:
        tokens: The keys that are plugged in.
        locked: The key locked itself after wrong PINs.
    """

    def __init__(self, *tokens: Signer) -> None:
        self.tokens = list(tokens)
        self.locked = False

    def signer(self, *_file_and_pin: object) -> Signer:
        if len(self.tokens) > 1:
            raise KeyUnavailable(
                reason=Text(f"插着 {len(self.tokens)} 个U棒（0x82040057）", "several keys are plugged in (0x82040057)")
            )
        if self.locked:
            raise KeyUnavailable(reason=Text("U棒已锁住（0x82040054）", "the key is locked (0x82040054)"))
        return self.tokens[0]


class FrontDoor:
    """What stands between an Internet PC and the bureau.

    Attributes:
        mode: `open`, `busy` (429), `login` (a page that is not the bureau's), `down` (hangs up on everybody), or `cut`
            (passes an upload on and loses the answer).
        uploads: How many uploads went through.
    """

    def __init__(self, behind: str) -> None:
        self.mode = "open"
        self.uploads = 0
        target = urlsplit(behind)
        door = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def _pass(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if door.mode == "down":
                    self.close_connection = True
                    return
                if door.mode == "login":
                    self._answer(200, {"Content-Type": "text/html"}, "<html>请登录</html>".encode())
                    return
                if door.mode == "busy":
                    problem = {
                        "type": "urn:taxferry:problem:busy",
                        "title": "busy",
                        "status": 429,
                        "detail": "高峰",
                        "code": "busy",
                    }
                    fields = {"Content-Type": "application/problem+json", "Retry-After": "1"}
                    self._answer(429, fields, json.dumps(problem).encode())
                    return
                there = http.client.HTTPConnection(target.hostname or "", target.port or 80, timeout=PATIENCE_SECONDS)
                try:
                    there.request(self.command, self.path, body, dict(self.headers))
                    reply = there.getresponse()
                    data = reply.read()
                finally:
                    there.close()
                if self.command == "PUT":
                    door.uploads += 1
                    if door.mode == "cut":
                        self.close_connection = True
                        return
                kept = {k: v for k, v in reply.getheaders() if k.lower() in ("content-type", "retry-after", "date")}
                self._answer(reply.status, kept, data)

            do_GET = do_PUT = _pass  # noqa: N815

            def _answer(self, status: int, fields: dict[str, str], body: bytes) -> None:
                self.send_response_only(status)
                for name, value in {**fields, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        self._handler = Handler
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def open(self) -> None:
        """Listen (again), at the same address."""
        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def shut(self) -> None:
        """Let nobody in: connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@dataclass
class World:
    """One journey: its bureau, its screens, and what was seen and cured on the way.

    Attributes:
        office: The bureau.
        root: The journey's own folder.
        monkeypatch: Puts fakes into the ports, and takes them out.
        trace: The stages that were passed.
    """

    office: Office
    root: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    key: str
    trace: list[str] = field(default_factory=list)
    closing: list[Callable[[], None]] = field(default_factory=list)

    def run(
        self, program: Program, home: Path | None, *words: object, expect: int | None = 0, json_: bool = True
    ) -> Any:
        """Run a verb; return its `data` or, for people, what was on the screen."""
        place = [] if home is None else ["--home", str(home)]
        status = program.run([*place, *(["--json"] if json_ else []), *map(str, words)])
        out, err = self.capsys.readouterr()
        assert expect is None or status == expect, f"{words}: {status}\n{out}{err}"
        if json_:
            answer = json.loads(out)
            return {**answer["data"], "errors": answer["errors"], "status": status}
        return Said(status, out + err)

    def bureau(self, *words: object, expect: int | None = 0) -> dict[str, Any]:
        """Run a verb of the bureau's person."""
        found: dict[str, Any] = self.run(bureau_program, self.office.home, *words, expect=expect)
        return found

    def seen(self, said: Said, ask: str, *, on: str, words: str = "", explain: str = "") -> None:
        """Check that the fault is on the screen, and that the same PC explains it with its whole remedy.

        Args:
            said: The screen.
            ask: What the operator reads there and asks `explain` about.
            on: `offline` or `online`: where the screen is.
            words: What else the screen says.
            explain: What the operator asks instead: what the explanation of the code, or the manual, leads to.
        """
        assert ask in said, f"{ask} is not on the screen:\n{said.screen}"
        assert words in said, f"{words} is not on the screen:\n{said.screen}"
        self.explained(explain or ask, on=on)

    def explained(self, ask: str, *, on: str) -> None:
        """Check that `explain` on that PC gives this fault with every step of its remedy."""
        program = {"offline": offline_program, "online": online_program}[on]
        told = self.run(program, None, "explain", *ask.split(), json_=False)
        fault = CATALOGUE[self.key]
        for line in (fault.title.zh, fault.cause.zh, *(step.zh for step in fault.steps)):
            assert line in told, f"explain {ask} does not say: {line}\n{told.screen}"
        self.trace.append("seen")

    def cured(self, *facts: object) -> None:
        """Note that the remedy has cured it; each fact must hold."""
        assert all(facts), facts
        assert "seen" in self.trace, "cured before anybody saw it"
        self.trace.append("cured")

    def firm(self, machines: int = 1, **card: object) -> Firm:
        """Return a taxpayer with cards in its invoicing PCs."""
        return Firm(self, machines, card)

    def door(self) -> FrontDoor:
        """Return a front door before the bureau."""
        found = FrontDoor(self.office.url)
        self.closing.append(found.shut)
        return found

    def at_offline(self, moment: datetime) -> None:
        """Let the invoicing PCs believe that it is this time."""
        ahead = Ahead()
        ahead.by = moment - SystemClock().now()
        self.monkeypatch.setattr(offline_station.cli, "clock", ahead)

    def at_online(self, by: timedelta) -> None:
        """Let the Internet PCs' clocks be off."""
        ahead = Ahead()
        ahead.by = by
        self.monkeypatch.setattr(online_station.cli.base, "CLOCK", ahead)

    def device(self) -> type[Device]:
        """Put a device with a driver in the software card's place."""
        made = type("TestDevice", (Device,), {"objects": {}, "pulled": ""})
        self.monkeypatch.setattr("offline_station.shell.station.SoftwareCard", made)
        return made


class Firm:
    """One taxpayer: its cards, its invoicing PCs, its Internet PC."""

    def __init__(self, world: World, machines: int, card: dict[str, object]) -> None:
        self.world = world
        self.number = next(_NUMBERS)
        self.taxpayer = f"31010000{self.number:07d}"
        self.root = world.root / f"企业 {self.number}"
        self.root.mkdir()
        (self.root / "口令").write_text("135790\n", encoding="utf-8")
        self.homes: dict[int, Path] = {}
        self.cards: dict[int, str] = {}
        for machine in range(machines):
            subs = {"sub_machines": machines - 1} if machine == 0 and machines > 1 else {}
            self.take_card(machine, **subs, **card)
        self._connected = False

    @property
    def period(self) -> str:
        """The month that the card waits to copy."""
        return f"{last_month():%Y-%m}"

    def take_card(self, machine: int = 0, *, fresh: bool = False, **how: object) -> dict[str, Any]:
        """Have a card issued and taken into an invoicing PC: in a new home if it is `fresh`."""
        card = self.root / f"{machine}.taxcard"
        options = [w for k, v in how.items() for w in (f"--{k.replace('_', '-')}", v)]
        made = self.world.bureau(
            *("issue-card", "--taxpayer-id", self.taxpayer, "--name", NAME, "--key-type", "p256"),
            *("--machine-no", machine, *options, *(["--reissue"] if fresh else []), "--out", card),
            expect=None,
        )
        assert made["status"] in (0, 1), made
        self.cards[machine] = made["card_no"]
        self.homes[machine] = self.root / f"开票机 {machine}{' 新' if fresh else ''}"
        self.offline("init", "--card", card, machine=machine)
        return made

    # the two PCs

    def offline(self, *words: object, machine: int = 0, expect: int | None = 0) -> dict[str, Any]:
        found: dict[str, Any] = self.world.run(offline_program, self.homes[machine], *words, expect=expect)
        return found

    def offline_screen(self, *words: object, machine: int = 0, expect: int | None = 0) -> Said:
        said: Said = self.world.run(offline_program, self.homes[machine], *words, expect=expect, json_=False)
        return said

    @property
    def online_home(self) -> Path:
        return self.root / "上网机"

    def online(self, *words: object, expect: int | None = 0) -> dict[str, Any]:
        found: dict[str, Any] = self.world.run(online_program, self.online_home, *words, expect=expect)
        return found

    def online_screen(self, *words: object, expect: int | None = 0) -> Said:
        said: Said = self.world.run(online_program, self.online_home, *words, expect=expect, json_=False)
        return said

    # the bureau

    def new_key(self, name: str = "key") -> list[object]:
        """Have an enterprise key issued; return the options that name it."""
        key: list[object] = ["--key", self.root / f"{name}.p12", "--pin-file", self.root / "口令"]
        out = ["--out", key[1], *key[2:]]
        self.world.bureau("issue-key", "--taxpayer-id", self.taxpayer, "--key-type", "p256", *out)
        return key

    def enroll(self, key: list[object]) -> None:
        self.world.bureau("enroll", "--taxpayer-id", self.taxpayer, *key)

    def connect(self, url: str = "", *, enrolled: bool = True) -> None:
        """Set the Internet PC up."""
        key = self.new_key()
        if enrolled:
            self.enroll(key)
        self.init_online(key, url)

    def init_online(self, key: list[object], url: str = "") -> dict[str, Any]:
        root = self.world.office.root / "root.pem"
        made = self.online("init", "--bureau", url or self.world.office.url, *key, "--trust", root, expect=None)
        assert made["status"] in (0, 1), made
        self._connected = True
        return made

    def declare(self, **how: object) -> None:
        options = [w for k, v in how.items() for w in (f"--{k.replace('_', '-')}", v)] or ["--matching"]
        self.world.bureau("declare", "--taxpayer-id", self.taxpayer, "--period", self.period, *options)

    # the work of a month

    def sell(self, count: int = 3, *, month: date | None = None, code: str = "3100193320", machine: int = 0) -> Path:
        """Import some invoices of a month, by default the one to be reported; return the list."""
        month = month or last_month()
        sales = workbooks.made_up_sales(
            random.Random(count),
            count,
            first_day=month,
            last_day=month_end(month),
            code=code,
            first_number=next(_NUMBERS) * 100,
            void_share=0,
            red_share=0,
        )
        path = workbooks.csv_list(self.root / f"清单 {next(_NUMBERS)}.csv", sales, seller=(NAME, self.taxpayer))
        self.offline("invoices", "import", path, machine=machine)
        return path

    def report(self, *copy: str, machine: int = 0) -> dict[str, Any]:
        """Copy and report; return what `report` says."""
        self.offline("copy", *copy, machine=machine)
        return self.offline("report", machine=machine)

    def send(self, made: dict[str, Any], *, expect: int | None = 0) -> Said:
        """Upload a report from the Internet PC."""
        if not self._connected:
            self.connect()
        return self.online_screen("upload", made["file"], expect=expect)

    def send_despite(self, made: dict[str, Any]) -> None:
        """Upload a report although the Internet PC advises against it."""
        self.send(made, expect=52)
        self.online("release", made["report_digest"])
        self.online("once", expect=None)

    def state(self, made: dict[str, Any]) -> str:
        return str(self.online("show", made["report_digest"])["state"])

    def wait_for(self, made: dict[str, Any], *states: str) -> None:
        """Ask for results until the report is in one of these states."""
        last = time.monotonic() + PATIENCE_SECONDS
        while True:
            self.world.office.bureau.desk.judge_all()  # what is due is judged now, not at the office's next look
            self.online("results", expect=None)
            if (found := self.state(made)) in states:
                return
            assert time.monotonic() < last, f"{found}, not {states}"
            time.sleep(0.02)

    def failed(self, made: dict[str, Any]) -> Said:
        """Wait for a failure; return the screen that shows it."""
        self.wait_for(made, "failed")
        return self.online_screen("show", made["report_digest"])

    def fetch(self, made: dict[str, Any]) -> Path:
        """Wait for the success; return its file."""
        self.wait_for(made, "staged")
        return self.staged(made)

    def staged(self, made: dict[str, Any]) -> Path:
        """Return a copy of what the Internet PC has put out."""
        folder = self.root / f"带回 {next(_NUMBERS)}"
        folder.mkdir()
        return Path(shutil.copy(self.online_home / "outbox" / f"{made['stem']}.txt", folder))

    def finish(self, made: dict[str, Any], *, machine: int = 0) -> dict[str, Any]:
        """Fetch the success of a report that is under way, and clear with it."""
        return self.clear_with(self.fetch(made), machine=machine)

    def clear_with(self, result: Path, *, machine: int = 0) -> dict[str, Any]:
        assert self.offline("result", result, machine=machine, expect=None)["outcome"] == "success"
        cleared = self.offline("clear", machine=machine)
        assert cleared["cleared"]
        return cleared

    def whole_month(self) -> dict[str, Any]:
        """Copy, report, upload, fetch and clear; return what `clear` says."""
        self.declare()
        made = self.report()
        self.send(made)
        return self.finish(made)

    def stick(self) -> Path:
        """Return a folder that stands for a stick, prepared."""
        folder = self.root / "U盘"
        folder.mkdir()
        self.offline("stick", "prepare", folder)
        return folder


def last_month(today: date | None = None) -> date:
    """Return the first day of the month before."""
    today = today or date.today()  # noqa: DTZ011  the machine's own day is what the stations use
    return (today.replace(day=1) - timedelta(days=1)).replace(day=1)


@contextmanager
def journeying(
    office: Office, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str
) -> Iterator[World]:
    """Give a world to one journey, and leave the bureau as it was."""
    world = World(office, root, monkeypatch, capsys, key)
    try:
        yield world
    finally:
        for close in world.closing:
            close()
        office.clock.by = timedelta(0)
        office.bureau.desk.set_processing_seconds(0)
