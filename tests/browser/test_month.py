"""The month clicked through on the page, against a real bureau and a real Internet PC: with JavaScript and without."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from offline_station.shell.home import Home
from offline_station.web.serve import make_desk
from shared.clock import SystemClock
from shared.ids import month_end
from tests.journey.test_wrong_turns import MONTH, NAME, Firm, firm, office
from tests.support import workbooks
from tests.support.web import served

__all__ = ["firm", "office"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("script", [pytest.param(True, marks=pytest.mark.slow), False], ids=["script", "no-script"])
def test_the_month_is_clicked_through(firm: Callable[..., Firm], window: Callable[..., Any], script: bool) -> None:
    us = firm()
    sales = workbooks.made_up_sales(
        random.Random(7), 40, first_day=MONTH, last_day=month_end(MONTH), code="3100193320", first_number=1
    )
    listed = workbooks.csv_list(us.root / "清单.csv", sales, seller=(NAME, us.taxpayer))
    stick = us.root / "U盘 红"
    stick.mkdir()
    us.offline("stick", "prepare", stick, "--label", "财务红色")
    desk = make_desk(Home(us.root / "开票机 0"), SystemClock())
    with served(desk.site) as port:
        page = window(desk.site.address(port, 60), java_script_enabled=script)

        def press(name: str) -> None:
            page.get_by_role("button", name=name, exact=True).first.click()

        def see(text: str) -> None:
            page.get_by_text(text).first.wait_for()

        def home() -> None:
            page.get_by_role("link", name="首页", exact=True).click()
            page.get_by_text("锁死日期").first.wait_for()

        see("还没有抄税")
        page.get_by_role("link", name="已开发票").click()
        page.set_input_files("#files", [str(listed)])
        press("导入")
        see("导入 40 张发票")
        home()
        page.get_by_role("link", name="抄税", exact=True).click()
        press("发票已全部导入，抄税")
        see("抄税成功")
        home()
        press("远程报税")
        see("现在可以拔出U盘")
        home()
        see("等结果带回")
        stem = us.offline("status").data["open_copy"]["stem"]
        digest = us.offline("status").data["open_copy"]["report_digest"]

        us.declare()
        us.online("stick", "sync", stick)
        us.online("once")
        us.wait_for(digest, "staged")
        us.online("stick", "sync", stick)
        assert (stick / "TAXFERRY" / "to-offline" / f"{stem}.txt").is_file()

        home()
        if not script:
            page.reload()
        see("结果已经带回")
        press("报税结果")
        see("报税成功")
        home()
        page.get_by_role("link", name="清卡", exact=True).click()
        see("已核对")
        page.get_by_label("我已查看上面的结果").check()
        press("清卡")
        see("清卡成功")
        press("与U盘同步")
        see(f"放上 {stem}.ack")
        see("现在可以拔出U盘")
        us.online("stick", "sync", stick)
        us.online("once")
        assert us.state(digest) == "acknowledged"
        home()
        see("本期已完成")
    assert us.offline("status").data["state"] == "done"
