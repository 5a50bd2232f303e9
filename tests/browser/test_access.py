"""Everybody can use the pages: by axe in both languages, light and dark; by the keyboard alone; on a narrow screen."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest

from tests.support.pages import ADMIN, ADMIN_PASSWORD, Counter

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def axe(page: Any) -> list[str]:
    """Return what axe finds fault with."""
    if not page.evaluate("() => typeof axe === 'object'"):
        pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
        page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("rules => axe.run(document, rules)", RULES)
    return [f"{v['id']}: {node['target']} {node['failureSummary']}" for v in found["violations"] for node in v["nodes"]]


def busy_office(office: Counter) -> list[str]:
    """Bring the month to a failure and then a success, and return the addresses of everything that can be seen."""
    me = office.browser(ADMIN, ADMIN_PASSWORD)
    office.plug_in()
    name, data = office.invoices()
    spoiled = data.decode("gb18030").replace("13%", "十三", 2).encode("gb18030")
    office.do(me, "/invoices/import", {"files": (name, spoiled)})
    office.do(me, "/invoices/import", {"files": (name, data)})
    office.do(me, "/copy")
    office.do(me, "/report")
    office.answer(code="271D", message="未申报")
    office.do(me, "/result")
    office.do(me, "/backup")
    office.do(me, "/stick/sync", path="/nowhere")
    nonce = office.open_copy().nonce
    backup = next(office.desk.home.backups.glob("*.zip")).name
    invoice = me.get("/invoices").text.split("/invoices/one/")[1].split('"')[0]
    return [
        "/",
        "/copy?again=1",
        "/report",
        "/result",
        "/clear",
        "/invoices",
        f"/invoices/one/{invoice}",
        "/history",
        f"/history/{nonce}",
        f"/history/{nonce}/slip",
        "/stick",
        "/stick/slip",
        "/backup",
        f"/restore/{backup}",
        "/operators",
        "/check",
        "/help",
        "/help?q=271D",
        "/tour",
        "/welcome?step=people",
        "/welcome?step=folders",
        "/welcome?step=stick",
        "/nowhere",
        *(f"/progress/{work}" for work in office.desk.site.bench._known),
    ]


def sign_in(page: Any) -> None:
    page.locator("#name").select_option(ADMIN)
    page.locator("#password").fill(ADMIN_PASSWORD)
    page.locator("main button").click()
    page.wait_for_selector(".lockdate")


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("language", "scheme", "share"),
    [
        ("zh", "dark", 6),
        *(pytest.param(la, sc, 1, marks=pytest.mark.slow) for la in ("zh", "en") for sc in ("light", "dark")),
    ],
)
def test_axe_finds_no_fault_with_any_page(
    office: Counter, window: Callable[..., Any], language: str, scheme: str, share: int
) -> None:
    paths = busy_office(office)[::share]
    locale = "zh-CN" if language == "zh" else "en-GB"
    page = window(quiet=True, locale=locale, color_scheme=scheme, bypass_csp=True)
    page.goto(office.desk.site.address(office.port, 60))
    page.wait_for_selector("#password")
    found = {"/sign-in": axe(page)}
    sign_in(page)
    for path in paths:
        page.goto(f"http://127.0.0.1:{office.port}{path}")
        found[path] = axe(page)
    office.answer(2)
    me = office.browser(ADMIN, ADMIN_PASSWORD)
    office.do(me, "/result")
    for path in ("/", "/clear"):
        page.goto(f"http://127.0.0.1:{office.port}{path}")
        found[f"{path} with a success"] = axe(page)
    assert {path: faults for path, faults in found.items() if faults} == {}
    assert len(found) > 25 // share


def test_axe_sees_a_fault_where_there_is_one(at: Counter, window: Callable[..., Any]) -> None:
    page = window(at.desk.site.address(at.port, 60), bypass_csp=True)
    page.evaluate("() => document.documentElement.removeAttribute('lang')")
    assert [fault for fault in axe(page) if fault.startswith("html-has-lang")]


def test_the_first_run_is_without_fault_too(tmp_path, window: Callable[..., Any]) -> None:
    from tests.support.pages import counter

    with counter(tmp_path) as at:
        page = window(at.desk.site.address(at.port, 60), bypass_csp=True)
        page.wait_for_url("**/welcome")
        assert axe(page) == []


def test_the_keyboard_goes_in_the_order_of_reading_and_does_everything(at: Counter, window: Callable[..., Any]) -> None:
    page = window(at.desk.site.address(at.port, 60))
    page.get_by_text("还没有抄税").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    places: list[float] = []
    for _ in range(12):
        page.keyboard.press("Tab")
        name, top, left = page.evaluate(
            "() => { const e = document.activeElement, r = e.getBoundingClientRect();"
            " return [e.textContent.trim(), Math.round(r.top + scrollY), r.left] }"
        )
        places.append(top + left / 10_000)
        if name == "抄税":
            break
    assert places == sorted(places)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="发票已全部导入，抄税").focus()
    page.keyboard.press("Enter")
    page.get_by_text("抄税成功").wait_for()


@pytest.mark.slow
def test_nothing_is_cut_off_on_a_narrow_screen_or_in_large_type(office: Counter, window: Callable[..., Any]) -> None:
    paths = busy_office(office)
    page = window(quiet=True, viewport={"width": 320, "height": 800})
    page.goto(office.desk.site.address(office.port, 60))
    page.wait_for_selector("#password")
    sign_in(page)
    for path in paths:
        page.goto(f"http://127.0.0.1:{office.port}{path}")
        width = page.evaluate("() => document.documentElement.scrollWidth")
        assert width <= 320, f"{path}: {width}"


@pytest.mark.slow
def test_a_printed_slip_has_signatures_and_no_menu(office: Counter, window: Callable[..., Any]) -> None:
    busy_office(office)
    page = window(quiet=True)
    page.goto(office.desk.site.address(office.port, 60))
    page.wait_for_selector("#password")
    sign_in(page)
    page.goto(f"http://127.0.0.1:{office.port}/history/{office.open_copy().nonce}/slip")
    assert not page.get_by_text("复核人").is_visible()
    page.emulate_media(media="print")
    assert page.get_by_text("复核人").is_visible()
    assert not page.get_by_role("navigation").is_visible()
