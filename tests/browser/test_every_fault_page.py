"""Every fault that is met on the invoicing PC, on its page: what the page says, and its card in both languages.

The journeys are those of `tests/journey/test_every_fault.py`: the command line meets a fault where it truly arises, and at
that very moment somebody presses the button of the same name on the page. A journey whose fault was met by both screens
ends there, except in a sample, in which the remedy is followed to the end and the page says that all is well again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import offline_station.cli
from offline_station.cli import program as offline_program
from offline_station.shell.home import Home
from offline_station.web.desk import Desk
from offline_station.web.serve import make_desk
from offline_station.web.wording import card_on_page
from shared.cli import Program
from shared.faults import CATALOGUE
from shared.text import set_language
from shared.web.blocks import FaultCard, card_of_fault
from tests.journey.test_every_fault import JOURNEYS, SLOW
from tests.support.fault_world import Office, Said, World
from tests.support.pages import Counter
from tests.support.web import Browser, Reply, served

HERE = (
    *("locked", "2715-wrong-files", "2715-reissued-card", "2734-envelope", "clear-other-taxpayer"),
    *("clear-other-machine", "clear-other-time", "clear-other-nonce", "clear-other-digest", "clear-older"),
    *("clear-nothing-awaited", "clear-refused", "already-cleared", "not-declared-cannot-clear", "not-copied"),
    *("already-copied", "earlier-month-open", "copied-cannot-void", "unread-volumes", "unuploaded-invoices"),
    *("offline-limits", "interrupted-on-card", "medium-mismatch", "return-forbidden", "zero-month", "monthly-duty"),
    *("hall-copy", "summary-upload-failed", "device-and-disk-lost", "re-issued-card"),
)
"""The faults whose screen is the invoicing PC's."""
CURED = frozenset({"2715-wrong-files", "interrupted-on-card", "clear-other-nonce"})
CODE = re.compile(r"B\d{4}|\d{3,4}[A-Z]?|JSK\d+|0x[0-9A-F]+")


class Met(Exception):
    """Both screens have shown it."""


def plain(text: object) -> str:
    """Return a text as `Reply.words` has it."""
    return " ".join(str(text).split())


@dataclass
class PageWorld(World):
    """A journey in which the page of the invoicing PC is looked at, whenever its command line shows the fault.

    Attributes:
        typed: The last verb that was typed for a person to read: where, and its words.
        status: What it came to.
        shown: What the page showed, in both languages.
        look: Looks at the page with something else, a real browser.
    """

    typed: tuple[Path, tuple[str, ...]] = (Path(), ())
    status: int = 0
    shown: list[Reply] = field(default_factory=list)
    look: Callable[[Desk, int, FaultCard], None] | None = None

    def run(
        self, program: Program, home: Path | None, *words: object, expect: int | None = 0, json_: bool = True
    ) -> Any:
        pulled = getattr(self, "made", None) and self.made.pulled
        said = super().run(program, home, *words, expect=expect, json_=json_)
        if program is offline_program and home is not None and not json_:
            self.typed, self.status, self.pulled = (home, tuple(map(str, words))), said.status, pulled
        return said

    def device(self) -> Any:
        self.made = super().device()
        return self.made

    def seen(self, said: Said, ask: str, *, on: str, words: str = "", explain: str = "") -> None:
        super().seen(said, ask, on=on, words=words, explain=explain)
        if on != "offline":
            return
        self.met(ask, explain or ask)
        if self.key not in CURED:
            raise Met

    def met(self, ask: str, search: str) -> None:
        """Press the button whose verb was typed, and read what the page says of it, in both languages."""
        home, verb = self.typed
        if getattr(self, "pulled", ""):
            self.made.pulled = self.pulled  # and the card is pulled out again
        with page_of(home) as (desk, port, browser):
            pressed = press(desk, browser, verb) if self.status else browser.get("/")
            if not desk.home.card.exists():
                assert "装入金税卡" in pressed.words, "without a card the page begins from the beginning"
            elif self.status and CODE.fullmatch(ask):
                assert ask in pressed.words, f"{ask} is not on the page: {pressed.words}"
                assert "由谁处理" in pressed.words
            self.shown.append(pressed)
            fault = CATALOGUE[self.key]
            card = card_on_page(card_of_fault(fault))
            for language in ("zh", "en"):
                browser.post("/language", to=language, back="/")
                self.shown.append(browser.get(f"/help?q={quote(search)}"))
                missing = [part for part in parts_of(card, language) if part not in self.shown[-1].words]
                assert missing == [], f"{search} ({language}) does not show {missing}"
            if self.look is not None:
                browser.post("/language", to="zh", back="/")
                self.look(desk, port, card)

    def cured(self, *facts: object) -> None:
        super().cured(*facts)
        home, _ = self.typed
        with page_of(home) as (_desk, _port, browser):
            page = browser.get("/")
            assert "由谁处理" not in page.words, "the page still shows a fault"
            assert "本期已完成" in page.words


def parts_of(card: FaultCard, language: str) -> list[str]:
    """Return what a person has to find on the page: what happened, why, who acts, whether to send again, what to do."""
    set_language(language)
    try:
        return [plain(part) for part in (card.title, card.cause, card.actor, card.where, card.resend, *card.steps)]
    finally:
        set_language("zh")


@contextlib.contextmanager
def page_of(home: Path) -> Iterator[tuple[Desk, int, Browser]]:
    """Serve the page of an invoicing PC, at the time that its command line has."""
    desk = make_desk(Home(home), offline_station.cli.clock)
    with served(desk.site) as port:
        browser = Browser(port)
        browser.open(desk.site.address(port, 60))
        yield desk, port, browser


def press(desk: Desk, browser: Browser, verb: tuple[str, ...]) -> Reply:
    """Press the button of a verb, and wait for what comes of it."""
    name, *rest = verb
    files = None
    fields: dict[str, str] = {"again": "yes"} if "--again" in rest else {}
    if name in ("status", "doctor") or not desk.home.card.exists():
        return browser.get("/")
    if name == "result" and rest:
        path, files = "/result/file", {"file": (Path(rest[0]).name, Path(rest[0]).read_bytes())}
    elif name == "invoices":
        path, files = "/invoices/import", {"files": (Path(rest[1]).name, Path(rest[1]).read_bytes())}
    elif name == "init":
        path, fields = "/welcome/card", {"path": rest[1]}
    elif name == "clear":
        with desk.look() as station:
            copy = station.card.open_copy()
        path, fields = "/clear", {"nonce": copy.nonce if copy else "", "sure": "yes"}
    else:
        path = f"/{name}"
    found = browser.post(path, files, **fields)
    work = next(reversed(desk.site.bench._known.values()), None)
    if work is None:
        return found
    assert work.wait(60)
    return browser.get(f"/progress/{work.id}")


@pytest.fixture(scope="module")
def bureau(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    made = Office(tmp_path_factory.mktemp("税 局"))
    yield made
    made.close()


@contextlib.contextmanager
def journeying(office: Office, world: PageWorld) -> Iterator[PageWorld]:
    """Let a journey go as far as it is to go, and leave the bureau as it was."""
    try:
        yield world
    except Met:
        pass
    finally:
        for close in world.closing:
            close()
        office.clock.by = timedelta(0)
        office.bureau.desk.set_processing_seconds(0)


@pytest.mark.parametrize("key", [pytest.param(k, marks=[pytest.mark.slow] * (k in SLOW)) for k in HERE])
def test_the_page_shows_the_fault_with_its_card_in_both_languages(
    key: str, bureau: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with journeying(bureau, PageWorld(bureau, tmp_path, monkeypatch, capsys, key)) as world:
        JOURNEYS[key](world)
    assert len(world.shown) >= 3, "the fault did not come to the page"
    assert ("cured" in world.trace) is (key in CURED)


@pytest.mark.parametrize("key", ["locked", "2715-reissued-card"])
def test_a_person_finds_the_fault_and_its_remedy_with_a_browser(
    key: str,
    bureau: Office,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    window: Callable[..., Any],
) -> None:
    read: list[str] = []

    def look(desk: Desk, port: int, card: FaultCard) -> None:
        page = window(desk.site.address(port, 60))
        page.get_by_role("link", name="帮助", exact=True).click()
        page.get_by_role("searchbox").fill(str(card.title))
        page.get_by_role("button", name="查找").click()
        page.get_by_role("heading", name=str(card.title)).first.wait_for()
        read.append(plain(page.locator("main").inner_text()))
        assert [part for part in parts_of(card, "zh") if part not in read[0]] == []
        page.get_by_role("button", name="English").click()
        page.get_by_text("Who must act").first.wait_for()

    with journeying(bureau, PageWorld(bureau, tmp_path, monkeypatch, capsys, key, look=look)) as world:
        JOURNEYS[key](world)
    assert read, "nobody looked"


def test_no_fault_that_is_met_on_this_pc_is_left_out() -> None:
    """A fault that has its place on the invoicing PC alone is in the list above, whatever screen its journey reads."""
    assert set(HERE) <= set(CATALOGUE)
    assert {key for key, fault in CATALOGUE.items() if fault.where.zh == "开票机"} <= set(HERE)


def test_the_page_also_explains_what_is_met_elsewhere(at: Counter) -> None:
    me = at.browser()
    for language in ("zh", "en"):
        me.post("/language", to=language, back="/")
        for key in sorted(set(CATALOGUE) - set(HERE)):
            words = me.get(f"/help?q={key}").words
            missing = [p for p in parts_of(card_on_page(card_of_fault(CATALOGUE[key])), language) if p not in words]
            assert missing == [], f"{key} ({language})"
