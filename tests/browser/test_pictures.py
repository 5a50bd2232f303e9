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

from tests.support.pages import Counter

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
INDEX = FOLDER / "pictures.json"
TAKE = os.environ.get("TAXFERRY_PICTURES") == "1"


def digest(text: str) -> str:
    """Return what stands for a text: without what differs from run to run."""
    plain = re.sub(r"[0-9a-f]{16,}|\d+ (字节|bytes|KB)|/\S+", "…", " ".join(text.split()))
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def test_the_pictures_show_what_the_pages_say(at: Counter, window: Callable[..., Any]) -> None:
    at.plug_in()
    at.do(at.browser(), "/invoices/import", {"files": at.invoices(24)})
    page = window(quiet=True, viewport={"width": 1080, "height": 720})
    page.goto(at.desk.site.address(at.port, 60))
    page.get_by_text("还没有抄税").wait_for()
    found: dict[str, str] = {}

    def take(name: str) -> None:
        found[name] = digest(page.locator("main").inner_text())
        if TAKE:
            page.screenshot(path=FOLDER / f"{name}.png", full_page=True)

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
    if TAKE:
        INDEX.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    shown = json.loads(INDEX.read_text(encoding="utf-8"))
    assert found == shown, "the pages say something else now: run make pictures"
    assert {path.stem for path in FOLDER.glob("*.png")} == set(found)


@pytest.mark.parametrize("other", ["税局没有通过", "Home"])
def test_another_text_is_another_picture(other: str) -> None:
    assert digest("首页") != digest(other)
    assert digest("摘要 0123456789abcdef0123 /tmp/x") == digest("摘要 fedcba98765432100000 /tmp/y")
