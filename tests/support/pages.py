"""The pages of an invoicing PC for tests: a station, its page on a free port, and a browser without a screen."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from offline_station.card.software import SoftwareCard
from offline_station.core.card_rules import CopyRecord
from offline_station.shell import visit
from offline_station.shell.home import Home
from offline_station.shell.station import Station
from offline_station.web.desk import Desk
from offline_station.web.serve import make_desk
from shared.clock import FixedClock
from tests.support.offline import NOW, answer, invoice_list
from tests.support.web import Browser, Reply, served

ADMIN, ADMIN_PASSWORD = "李主管", "correct-horse"
CLERK, CLERK_PASSWORD = "王会计", "battery-staple"
CJK = re.compile(r"[\u4e00-\u9fff]+")


@dataclass
class Counter:
    """An accountant's counter: the page, and what happens around it.

    Attributes:
        desk: The page's inside.
        folder: The test's folder.
        clock: The time; it stands until a test moves it.
        port: Where the page is.
    """

    desk: Desk
    folder: Path
    clock: FixedClock
    port: int

    @property
    def stick(self) -> Path:
        return self.folder / "U盘"

    def browser(self, name: str = "", password: str = "") -> Browser:
        """Return a browser at the first page; signed in, if a name is given."""
        found = Browser(self.port)
        found.open(self.desk.site.address(self.port, 60))
        if name:
            assert found.post("/sign-in", name=name, password=password).status == 200
            assert name in found.page.words
        return found

    def wait(self, browser: Browser) -> Reply:
        """Wait for the work whose page is shown, and show what came of it."""
        work = self.desk.site.bench.running
        if work is not None:
            assert work.wait(60)
        if (work := work or self.last) is not None:
            return browser.get(f"/progress/{work.id}")
        return browser.page

    @property
    def last(self):
        return next(reversed(self.desk.site.bench._known.values()), None)

    def do(self, browser: Browser, path: str, files=None, /, **fields: str) -> Reply:
        """Press a button, and wait for what comes of it."""
        found = browser.post(path, files, **fields)
        return self.wait(browser) if found.status == 200 and self.desk.site.bench.running else found

    def plug_in(self) -> None:
        """Plug in a prepared stick: a folder stands for it."""
        self.stick.mkdir(exist_ok=True)
        with Station.open(self.desk.home, self.clock) as station:
            visit.prepare(station, self.stick, "财务红色")

    def invoices(self, count: int = 6) -> tuple[str, bytes]:
        """Return a list of invoices of July."""
        path = invoice_list(self.folder / "发票清单.csv", count)
        return path.name, path.read_bytes()

    def open_copy(self) -> CopyRecord:
        card = SoftwareCard(self.desk.home.card)
        found = card.open_copy()
        card.close()
        assert found is not None
        return found

    def answer(self, number: int = 1, **changes: object) -> Path:
        """Let the Internet PC put the bureau's answer onto the stick."""
        copy = self.open_copy()
        folder = self.stick / "TAXFERRY" / "to-offline"
        path = folder / copy.name.file_name(".txt")
        self.clock.moment += timedelta(minutes=20)
        changes.setdefault("bureau_time", self.clock.now())
        path.write_bytes(answer(copy, number, **changes))
        return path


@contextlib.contextmanager
def counter(folder: Path, template: Path | None = None) -> Iterator[Counter]:
    """Serve the page of a station; of a new one without a card, if there is no template."""
    clock = FixedClock(NOW)
    home = Home(folder / "开票 机")
    if template is not None:
        shutil.copytree(template, home.root)
    desk = make_desk(home, clock)
    with served(desk.site) as port:
        yield Counter(desk, folder, clock, port)
