"""Windows that stay open: many of them, two people's, over a restart, and while a stick is pulled."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from typing import Any

import pytest

from offline_station.shell import visit
from offline_station.shell.station import Station
from offline_station.web.serve import _watching, make_desk
from tests.support.pages import ADMIN, ADMIN_PASSWORD, CLERK, CLERK_PASSWORD, Counter
from tests.support.web import served


def test_eight_windows_of_one_browser_all_answer(at: Counter, window: Callable[..., Any]) -> None:
    first = window(at.desk.site.address(at.port, 60))
    first.get_by_text("还没有抄税").wait_for()
    tabs = [first.context.new_page() for _ in range(7)]
    for tab in tabs:
        tab.goto(f"http://127.0.0.1:{at.port}/")
        tab.get_by_text("还没有抄税").wait_for()
    tabs[-1].get_by_role("link", name="抄税", exact=True).click()
    tabs[-1].get_by_role("button", name="发票已全部导入，抄税").click()
    tabs[-1].get_by_text("抄税成功").wait_for()
    assert at.desk.site.hub.listeners <= 3
    tabs[-2].get_by_text("还没有生成报税文件").wait_for()
    first.bring_to_front()
    first.reload()
    first.get_by_text("还没有生成报税文件").wait_for()


def test_progress_is_seen_live_and_the_result_follows_by_itself(at: Counter, window: Callable[..., Any]) -> None:
    page = window(at.desk.site.address(at.port, 60))
    page.get_by_text("还没有抄税").wait_for()
    go = [threading.Event() for _ in range(2)]

    def slow(progress):
        go[0].wait(30)
        progress(30, 120, at.desk.site.pc)
        go[1].wait(30)
        raise FileNotFoundError(2, "gone", "x.dat")

    work = at.desk.site.bench.start("report", at.desk.site.title, "", slow)
    page.locator("#work").wait_for()
    page.goto(f"http://127.0.0.1:{at.port}/progress/{work.id}")
    page.get_by_text("请不要拔出U盘").wait_for()
    go[0].set()
    page.get_by_text("25 %").wait_for()
    assert page.locator("#work-bar").get_attribute("value") is not None
    go[1].set()
    page.get_by_text("x.dat").first.wait_for()
    assert page.locator(".fault").is_visible()


@pytest.mark.slow
def test_two_people_work_and_see_each_other(office: Counter, window: Callable[..., Any]) -> None:
    pages = []
    for name, password in ((CLERK, CLERK_PASSWORD), (ADMIN, ADMIN_PASSWORD)):
        page = window(quiet=True)
        page.goto(office.desk.site.address(office.port, 60))
        page.wait_for_selector("#password")
        page.locator("#name").select_option(name)
        page.locator("#password").fill(password)
        page.locator("main button").click()
        page.get_by_text("还没有抄税").wait_for()
        pages.append(page)
    clerk, admin = pages
    admin.get_by_role("link", name="抄税", exact=True).click()
    clerk.get_by_role("link", name="抄税", exact=True).click()
    clerk.get_by_role("button", name="发票已全部导入，抄税").click()
    clerk.get_by_text("抄税成功").wait_for()
    admin.get_by_role("button", name="发票已全部导入，抄税").click()
    admin.get_by_text("B5204").first.wait_for()
    admin.get_by_role("link", name="首页", exact=True).click()
    admin.get_by_text("还没有生成报税文件").wait_for()


def test_a_restarted_program_is_told_and_a_new_ticket_goes_on(at: Counter, window: Callable[..., Any]) -> None:
    page = window(quiet=True)
    desk = make_desk(at.desk.home, at.clock)
    with served(desk.site) as port:
        page.goto(desk.site.address(port, 60))
        page.get_by_text("还没有抄税").wait_for()
    page.get_by_text("与程序的连接中断").wait_for()
    with Station.open(at.desk.home, at.clock) as station:
        station.copy(kind="period")
    again = make_desk(at.desk.home, at.clock)
    with served(again.site, port=port) as same:
        assert same == port
        page.reload()
        page.get_by_text("程序重新启动过").wait_for()
        page.goto(again.site.address(port, 60))
        page.get_by_text("还没有生成报税文件").wait_for()


@pytest.mark.slow
def test_a_stick_is_seen_when_it_comes_and_when_it_goes(at: Counter, window: Callable[..., Any]) -> None:
    stop = threading.Event()
    page = window(at.desk.site.address(at.port, 60))
    page.get_by_text("没有插U盘").first.wait_for()
    with _watching(at.desk, stop):
        at.plug_in()
        page.get_by_text("现在可以拔出").first.wait_for()
        (at.stick / "TAXFERRY").rename(at.folder / "gone")
        page.get_by_text("现在可以拔出").first.wait_for(state="detached")
    page.get_by_role("link", name="U盘", exact=True).click()


@pytest.mark.slow
def test_a_stick_pulled_in_the_middle_ends_in_a_fault_card(
    at: Counter, window: Callable[..., Any], monkeypatch: Any
) -> None:
    at.plug_in()
    page = window(at.desk.site.address(at.port, 60))
    page.get_by_role("link", name="抄税", exact=True).click()
    page.get_by_role("button", name="发票已全部导入，抄税").click()
    page.get_by_text("抄税成功").wait_for()
    carry = visit.carry

    def pulled(*words: Any, **more: Any):
        shutil.rmtree(at.stick / "TAXFERRY")
        yield from carry(*words, **more)

    monkeypatch.setattr(visit, "carry", pulled)
    page.get_by_role("link", name="首页", exact=True).click()
    page.get_by_role("button", name="远程报税", exact=True).click()
    page.locator(".fault").wait_for()
    assert "B35" in page.locator(".fault .code").inner_text()
    monkeypatch.undo()
    at.plug_in()
    page.goto(f"http://127.0.0.1:{at.port}/stick")
    page.locator("main").get_by_role("button", name="与U盘同步").first.click()
    page.get_by_text("放上 310100000000000_0_202608010000.dat").wait_for()


@pytest.mark.slow
def test_what_is_being_typed_is_not_lost_to_news(at: Counter, window: Callable[..., Any]) -> None:
    page = window(at.desk.site.address(at.port, 60))
    page.get_by_text("还没有抄税").wait_for()
    page.goto(f"http://127.0.0.1:{at.port}/check")
    page.locator("#outbox").fill("/tmp/typed")
    while at.desk.site.hub.listeners == 0:
        page.wait_for_timeout(20)
    at.desk.site.hub.publish("changed")
    page.get_by_text("内容有更新").wait_for()
    assert page.locator("#outbox").input_value() == "/tmp/typed"
