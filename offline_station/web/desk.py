"""What the pages of the invoicing PC share: opening the station, starting work, who may do what.

A page that shows opens the station for looking, beside whoever is at work. What changes something is a piece of work:
one at a time here, and under the station's own lock against other programs.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from offline_station.shell import visit as sticks
from offline_station.shell.arrivals import scan
from offline_station.shell.home import Home
from offline_station.shell.operators import Operator, Operators, Right, require
from offline_station.shell.station import PROGRAM, Station
from offline_station.web.done import Done
from offline_station.web.standing import Facts, Standing, due_month, standing
from offline_station.web.wording import card_on_page
from shared.clock import Clock
from shared.errors import NotInitialised, StationBusy, TaxferryError
from shared.medium.find import FoundStick, MediumState
from shared.model.result import prove_result
from shared.states import OfflineState
from shared.text import Text
from shared.web.blocks import OFFLINE_PC
from shared.web.site import Answer, Go, Site, Upload, Visit
from shared.web.work import Progress

TITLE: Final = Text("税渡 开票机", "taxferry, invoicing PC")
PATIENCE_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.1
_NAVIGATION: Final = (
    ("/", Text("首页", "Home")),
    ("/invoices", Text("已开发票", "Invoices")),
    ("/history", Text("报税记录", "Reports")),
    ("/stick", Text("U盘", "Stick")),
    ("/backup", Text("备份", "Backups")),
    ("/operators", Text("操作员", "Operators")),
    ("/check", Text("检测环境", "Check")),
    ("/help", Text("帮助", "Help")),
)
Task = Callable[[Station, Progress], Done]


class Desk:
    """The invoicing PC behind its pages."""

    def __init__(self, home: Home, clock: Clock) -> None:
        """Serve the station in `home`; it need not be initialised yet."""
        self.home, self.clock = home, clock
        self.operators = Operators(home.operators)
        home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.site = Site(
            PROGRAM,
            TITLE,
            folder=home.page,
            log=home.log,
            clock=clock,
            templates=("offline_station.web", "templates"),
            pc=OFFLINE_PC,
        )
        self.site.before = self._before
        self.site.common = self._common
        self.site.reword = card_on_page
        self._clear_uploads()

    # Opening the station

    def look(self) -> Station:
        """Open the station for looking; what another program has saved so far is shown."""
        if not self.home.card.exists():
            raise NotInitialised(home=self.home.root, program=PROGRAM)
        return Station.open(self.home, self.clock, exclusive=False)

    def hold(self) -> Station:
        """Open the station for changing it; another program that is at work is waited for, for a while.

        Raises:
            StationBusy: It is still at work.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        pause = threading.Event()
        while True:
            try:
                return Station.open(self.home, self.clock)
            except StationBusy:
                if time.monotonic() >= end:
                    raise
                pause.wait(_LOOK_SECONDS)

    def start(self, visit: Visit, name: str, title: Text, task: Task) -> Answer:
        """Start a piece of work on the station, and lead to its page."""

        def do(progress: Progress) -> Done:
            with self.hold() as station:
                if visit.session.operator:
                    station.store.note(self.clock.now(), "operator", name=visit.session.operator, action=name)
                return task(station, progress)

        return self.start_apart(visit, name, title, do)

    def start_apart(self, visit: Visit, name: str, title: Text, do: Callable[[Progress], Done]) -> Answer:
        """Start a piece of work that opens the station itself."""
        work = self.site.bench.start(name, title, visit.session.operator, do)
        return Go(f"/progress/{work.id}")

    # Who

    def operator(self, visit: Visit) -> Operator | None:
        """Return who is signed in; None where nobody has to be."""
        return self.operators.find(visit.session.operator) if visit.session.operator else None

    def need(self, visit: Visit, right: Right) -> None:
        """Insist on a right.

        Raises:
            NotAllowed: They do not have it.
        """
        if self.operators.any:
            require(self.operator(visit), right)

    def may(self, visit: Visit, right: Right) -> bool:
        """Return whether they have a right."""
        try:
            self.need(visit, right)
        except TaxferryError:
            return False
        return True

    def _before(self, visit: Visit) -> Answer | None:
        if visit.path == "/language" or visit.path.startswith(("/help", "/tour")):
            return None
        if not self.home.card.exists():
            return None if visit.path in ("/welcome", "/welcome/card") else Go("/welcome")
        if not self.operators.any:
            return None
        if visit.session.operator and self.operator(visit) is None:
            visit.session.sign_out()
        if visit.session.operator or visit.path in ("/sign-in", "/sign-out"):
            return None
        return Go("/sign-in")

    def _common(self, visit: Visit) -> Mapping[str, Any]:
        ready = self.home.card.exists()
        signed_in = ready and (not self.operators.any or bool(visit.session.operator))
        return {
            "operator": self.operator(visit),
            "navigation": _NAVIGATION if signed_in else (_NAVIGATION[-1],),
            "may_clear": self.may(visit, Right.CLEAR),
            "may_manage": self.may(visit, Right.MANAGE),
        }

    # What stands

    def found_sticks(self, station: Station) -> list[FoundStick]:
        """Return the media that are in."""
        return sticks.sticks_of(station).found()

    def standing(self, station: Station, found: Sequence[FoundStick]) -> Standing:
        """Return where things stand."""
        return standing(self.facts(station, found))

    def facts(self, station: Station, found: Sequence[FoundStick]) -> Facts:
        """Return what the first page is told."""
        reading = station.read()
        copy = reading.facts.open_copy
        life = station.life_of(copy)
        facts = Facts(
            state=reading.state,
            locked=reading.locked,
            at=reading.at,
            due=due_month(reading.at),
            copy=copy,
            life=life.state if life else None,
            stick=life.stick if life else "",
            since=life.changed_at if life else None,
            cleared=reading.facts.last_cleared,
            behind=sorted(station.behind()),
            waiting_result=copy is not None and copy.success is None and self._result_waits(station, found),
            stick_in=any(one.identity is not None and one.state in _USABLE for one in found),
        )
        cleared = reading.facts.last_cleared
        if cleared is None:
            return facts
        past = station.store.report(cleared.nonce)
        if past is None or past.state not in (OfflineState.CLEARED, OfflineState.ACKNOWLEDGED):
            return facts
        where = "arrived" if past.acknowledged else "carried" if past.ack_stick else "here"
        return replace(facts, receipt=where, receipt_stick=past.ack_stick)  # type: ignore[arg-type]

    def _result_waits(self, station: Station, found: Sequence[FoundStick]) -> bool:
        seen = self._seen(station)
        if any(one.waiting and not {_mark(one, entry) for entry in one.work} <= seen for one in found):
            return True
        last = station.read().facts.last_result_no
        trust, at = station.card.trust_in_force().store(), station.read().at
        for arrival in scan(station.inbox):
            with contextlib.suppress(TaxferryError):
                if prove_result(arrival.data, trust, at=at).result.result_no > last:
                    return True
        return False

    def note_seen(self, station: Station, found: Sequence[FoundStick]) -> None:
        """Remember what lay on the sticks when the results were taken in: it stays there, and is no news any more."""
        marks = sorted({_mark(one, entry) for one in found for entry in one.work})
        station.store.set_setting(_SEEN, json.dumps(marks, ensure_ascii=False))

    def _seen(self, station: Station) -> set[str]:
        try:
            return set(json.loads(station.store.setting(_SEEN, "[]")))
        except (ValueError, TypeError):
            return set()

    # Uploads

    def keep_uploads(self, uploads: Sequence[Upload]) -> tuple[Path, list[Path]]:
        """Lay uploaded files down under their own names; return their folder, and the files in their order."""
        root = self.home.page / "uploads"
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=root))
        kept = []
        for number, upload in enumerate(uploads):
            own = folder / str(number)
            own.mkdir(mode=0o700)
            path = own / _plain(upload.name)
            with path.open("xb") as file:
                shutil.copyfileobj(upload.file, file, 1 << 20)
            kept.append(path)
        return folder, kept

    def _clear_uploads(self) -> None:
        shutil.rmtree(self.home.page / "uploads", ignore_errors=True)
        self.site.tickets.sweep()


def _mark(stick: FoundStick, entry: tuple[str, str, int]) -> str:
    place, name, size = entry
    return f"{'' if stick.identity is None else stick.identity.id}/{place}/{name}/{size}"


_SEEN: Final = "page:seen"
_USABLE: Final = frozenset({MediumState.EMPTY, MediumState.WORK})
_BAD_CHARACTERS: Final = frozenset('<>:"|?*')


def _plain(name: str) -> str:
    """Return an uploaded file's name as every file system takes it."""
    clean = "".join("_" if c in _BAD_CHARACTERS or not c.isprintable() else c for c in name).strip(" .")
    stem, dot, suffix = clean.rpartition(".")
    while len(clean.encode()) > 200:
        stem = stem[:-1]
        clean = f"{stem}{dot}{suffix}"[-200:] if not stem else f"{stem}{dot}{suffix}"
    return clean or "file"


@contextlib.contextmanager
def thrown_away(folder: Path) -> Iterator[None]:
    """Remove a folder at the end."""
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
