"""The manual's pictures show what the pages say now. `make pictures` takes them anew.

What is compared is the text that each picture shows, not its pixels: fonts differ from PC to PC.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from offline_station.shell.operators import Operators, Role
from tests.support.offline import NOW
from tests.support.pages import ADMIN, ADMIN_PASSWORD, CLERK, CLERK_PASSWORD, Counter, counter

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
INDEX = FOLDER / "pictures.json"
PLACE = """([from, to]) => {
  const all = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (all.nextNode()) all.currentNode.nodeValue = all.currentNode.nodeValue.replaceAll(from, to);
}"""
"""Lets a picture show an office's folder in the place of a test's."""
TAKE = os.environ.get("TAXFERRY_PICTURES") == "1"


def digest(text: str) -> str:
    """Return what stands for a text: without what differs from run to run."""
    changing = r"[0-9a-f]{16,}|([0-9A-F]{4} ){15}[0-9A-F]{4}|[\d,]+ (字节|bytes|KB)|[\d.]+ GB|/\S+"
    plain = re.sub(changing, "…", " ".join(text.split()))
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def test_the_pictures_show_what_the_pages_say(
    at: Counter, window: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offline_station.web.start._card_files", lambda _desk: iter([Path("/media/U盘/card.taxcard")]))
    at.plug_in()
    at.do(at.browser(), "/invoices/import", {"files": at.invoices(24)})
    page = window(quiet=True, viewport={"width": 1080, "height": 720})
    page.goto(at.desk.site.address(at.port, 60))
    page.get_by_text("还没有抄税").wait_for()
    found: dict[str, str] = {}

    def take(name: str, shown: Any = None) -> None:
        of = shown or page
        found[name] = digest(of.locator("main").inner_text())
        if TAKE:
            of.evaluate(PLACE, [str(tmp_path), "/home/财务"])
            of.screenshot(path=FOLDER / f"{name}.png", full_page=True)

    def visit(path: str, name: str) -> None:
        page.goto(f"http://127.0.0.1:{at.port}{path}")
        page.locator("h1").first.wait_for()
        take(name)

    def press(name: str, then: str) -> None:
        page.get_by_role("button", name=name, exact=True).first.click()
        page.get_by_text(then).first.wait_for()

    def home() -> None:
        page.goto(f"http://127.0.0.1:{at.port}/")
        page.locator(".lockdate").wait_for()

    take("home")
    page.get_by_role("link", name="抄税", exact=True).click()
    press("发票已全部导入，抄税", "抄税成功")
    home()
    press("远程报税", "现在可以拔出U盘")
    take("reported")
    at.answer(code="271D", message="未申报")
    home()
    press("报税结果", "由谁处理")
    home()
    take("refused")
    at.answer(2)
    home()
    press("报税结果", "报税成功")
    page.goto(f"http://127.0.0.1:{at.port}/clear")
    page.get_by_text("已核对").wait_for()
    take("clear")
    page.get_by_label("我已查看上面的结果").check()
    press("清卡", "清卡成功")
    take("cleared")
    press("与U盘同步", "现在可以拔出U盘")
    visit("/welcome?step=stick", "first-stick")
    visit("/stick", "stick")
    visit("/help?q=2715", "help")
    for path in at.desk.home.backups.iterdir():
        os.utime(path, (NOW.timestamp(), NOW.timestamp()))  # the page shows when the file was written
    visit("/backup", "backup")
    people = Operators(at.desk.home.operators)
    people.add(ADMIN, Role.ADMINISTRATOR, ADMIN_PASSWORD, NOW)
    people.add(CLERK, Role.OPERATOR, CLERK_PASSWORD, NOW)
    page.goto(f"http://127.0.0.1:{at.port}/sign-in")
    page.get_by_label("姓名").select_option(ADMIN)
    page.get_by_label("密码").fill(ADMIN_PASSWORD)
    press("登录", "锁死日期")
    visit("/operators", "operators")
    with counter(tmp_path / "新") as new:
        first = window(quiet=True, viewport={"width": 1080, "height": 720})
        first.goto(new.desk.site.address(new.port, 60))
        first.get_by_text("1. 装入金税卡").wait_for()
        take("welcome", first)
    if TAKE:
        INDEX.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    shown = json.loads(INDEX.read_text(encoding="utf-8"))
    assert found == shown, "the pages say something else now: run make pictures"
    assert {path.stem for path in FOLDER.glob("*.png")} == set(found)


@pytest.mark.parametrize("other", ["税局没有通过", "Home"])
def test_another_text_is_another_picture(other: str) -> None:
    assert digest("首页") != digest(other)
    assert digest("摘要 0123456789abcdef0123 /tmp/x") == digest("摘要 fedcba98765432100000 /tmp/y")


def test_the_card_beside_the_machine_is_one_sheet_in_either_language(
    window: Callable[..., Any], tmp_path: Path
) -> None:
    page = window(quiet=True)
    page.set_content((FOLDER.parent / "handbook" / "card.html").read_text(encoding="utf-8"))
    sheet = page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", sheet)) == 2, "Chinese on one side, English on the other"
    assert page.locator("article").count() == 2
