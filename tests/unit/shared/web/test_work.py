"""Long work on a local page: one at a time, seen by every window, and no failure of it is silent."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from shared.clock import SystemClock
from shared.errors import MediumAbsent, PageBusy
from shared.faults import CATALOGUE
from shared.text import Text
from shared.web.blocks import card_of_error, card_of_fault
from shared.web.events import STREAMS, Hub
from shared.web.work import Bench
from tests.support.web import Browser, served
from tests.unit.shared.web.test_guard import small_site

TITLE = Text("生成报税文件", "sealing")


def bench(folder: Path) -> Bench:
    return Bench(Hub(), SystemClock(), folder / "log")


def test_short_work_is_done_when_the_request_is_answered(tmp_path: Path) -> None:
    work = bench(tmp_path).start("x", TITLE, "", lambda _progress: 7)
    assert (work.finished, work.outcome, work.error) == (True, 7, None)


def test_work_goes_on_one_at_a_time_and_says_who_is_at_it(tmp_path: Path) -> None:
    one, go = bench(tmp_path), threading.Event()
    first = one.start("x", TITLE, "王会计", lambda _progress: go.wait(30))
    with pytest.raises(PageBusy) as busy:
        one.start("y", Text("清卡", "clear"), "李主管", lambda _progress: None)
    assert "生成报税文件" in str(busy.value)
    assert "王会计" in str(busy.value)
    assert one.running is first
    go.set()
    assert first.wait(30)
    assert one.running is None
    assert one.start("y", Text("清卡", "clear"), "李主管", lambda _progress: 1).finished


def test_progress_is_kept_for_whoever_looks(tmp_path: Path) -> None:
    one, shown, go = bench(tmp_path), threading.Event(), threading.Event()

    def do(progress):
        progress(30, 120, Text("张", "invoices"))
        shown.set()
        go.wait(30)

    work = one.start("x", TITLE, "", do)
    assert shown.wait(30)
    assert (work.percent, work.what.zh) == (25, "张")
    go.set()
    assert work.wait(30)


def test_a_failure_of_work_is_its_outcome(tmp_path: Path) -> None:
    def fail(_progress):
        raise MediumAbsent

    work = bench(tmp_path).start("x", TITLE, "", fail)
    assert isinstance(work.error, MediumAbsent)


def test_a_full_disk_and_a_defect_are_errors_of_ours(tmp_path: Path) -> None:
    def full(_progress):
        raise OSError(28, "No space left on device", "x")

    def defect(_progress):
        raise KeyError("secret")

    one = bench(tmp_path)
    found = one.start("x", TITLE, "", full).error
    assert found is not None
    assert found.code == "B3302" or found.exit_code.value in (33, 50)
    broken = one.start("x", TITLE, "", defect).error
    assert broken is not None
    assert broken.code == "B5099"
    assert "secret" not in str(broken)
    assert [path for path in (tmp_path / "log").iterdir() if "secret" in path.read_text()]


def test_old_work_is_forgotten_and_new_work_is_not(tmp_path: Path) -> None:
    one = bench(tmp_path)
    works = [one.start("x", TITLE, "", lambda _progress: None) for _ in range(60)]
    assert one.find(works[0].id) is None
    assert one.find(works[-1].id) is works[-1]


class Window:
    """A window that listens."""

    def __init__(self, browser: Browser) -> None:
        self.socket = socket.create_connection(("127.0.0.1", browser.port), timeout=20)
        self.socket.sendall(
            f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{browser.port}\r\nCookie: {browser.cookie}\r\n\r\n".encode()
        )
        self.seen = ""
        self.hear("hello")

    def hear(self, event: str) -> str:
        """Wait for an event and return what was heard up to it."""
        while f"event: {event}\n" not in self.seen or not self.seen.endswith("\n\r\n"):
            piece = self.socket.recv(4096)
            assert piece, f"the stream ended without {event}: {self.seen}"
            self.seen += piece.decode()
        return self.seen

    def end(self) -> None:
        """Wait for the stream's end."""
        while not self.seen.endswith("\r\n0\r\n\r\n"):
            piece = self.socket.recv(4096)
            assert piece, "it was cut off"
            self.seen += piece.decode()

    def __enter__(self):
        return self

    def __exit__(self, *_exc: object) -> None:
        self.socket.close()


def test_windows_hear_of_work_and_the_oldest_of_many_gives_its_place(tmp_path: Path) -> None:
    site = small_site(tmp_path)
    with served(site) as port:
        browser = Browser(port)
        browser.open(site.address(port, 60))
        with Window(browser) as oldest, Window(browser) as second, Window(browser):
            with Window(browser):
                oldest.hear("bye")
                oldest.end()
                assert site.hub.listeners == STREAMS
                site.bench.start("x", TITLE, "", lambda progress: progress(1, 2, TITLE))
                heard = second.hear("changed")
                facts = [json.loads(line[6:]) for line in heard.splitlines() if line.startswith("data: ")]
                assert {"zh": "生成报税文件", "finished": True}.items() <= facts[-2].items()
            assert browser.get("/").status == 200, "the page itself still has a connection"


def test_the_end_of_the_program_ends_the_streams(tmp_path: Path) -> None:
    site = small_site(tmp_path)
    with served(site) as port:
        browser = Browser(port)
        browser.open(site.address(port, 60))
        window = Window(browser)
    with window:
        window.end()


def test_every_fault_of_the_catalogue_makes_a_card_in_both_languages() -> None:
    for fault in CATALOGUE.values():
        card = card_of_fault(fault, "税局的话")
        assert all((card.title.zh, card.title.en, card.cause.en, card.actor.zh, card.resend.en, card.steps))
    card = card_of_error(MediumAbsent(), version="1")
    assert card.resend_allowed == ""
    assert "B3001" in card.details
