"""A real browser at the pages: Debian's Chromium, driven by Playwright; no request of it leaves this PC."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from offline_station.shell import operators
from offline_station.shell.operators import Operators, Role
from shared.clock import FixedClock
from tests.support.offline import NOW, new_station
from tests.support.pages import ADMIN, ADMIN_PASSWORD, CLERK, CLERK_PASSWORD, Counter, counter
from tests.support.reading import nothing_plugged_in, read_apart, read_in_process
from tests.support.tools import tool

__all__ = ["nothing_plugged_in", "read_apart", "read_in_process"]

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP rebind.test 127.0.0.1",
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for all tests of a module; each has its own context.

    Not for longer: while it is there an event loop runs in this thread, and other tests could run none of their own.
    """
    path = tool("chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def window(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open a window: a context of its own, in which every foreign request and every error of a script is a failure."""
    with contextlib.ExitStack() as end:
        trouble: list[str] = []

        def open_one(address: str = "", *, quiet: bool = False, **settings: Any) -> Any:
            made = {"locale": "zh-CN", "timezone_id": "Asia/Shanghai", "viewport": {"width": 1200, "height": 900}}
            context = chromium.new_context(**(made | settings))
            end.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(20_000)
            if not quiet:
                page.on("pageerror", lambda error: trouble.append(str(error)))
                page.on("console", lambda m: trouble.append(m.text) if m.type == "error" else None)
                page.on(
                    "request", lambda r: trouble.append(r.url) if not r.url.startswith("http://127.0.0.1:") else None
                )
            if address:
                page.goto(address)
                page.wait_for_selector("header")
            return page

        yield open_one
        assert trouble == []


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A station that has its card and nobody else."""
    return new_station(tmp_path_factory.mktemp("template"), FixedClock(NOW)).root


@pytest.fixture
def at(tmp_path: Path, template: Path) -> Iterator[Counter]:
    """The page of a station without operators."""
    with counter(tmp_path, template) as found:
        yield found


@pytest.fixture
def office(at: Counter) -> Counter:
    """The same with an administrator and an operator."""
    people = Operators(at.desk.home.operators)
    people.add(ADMIN, Role.ADMINISTRATOR, ADMIN_PASSWORD, NOW)
    people.add(CLERK, Role.OPERATOR, CLERK_PASSWORD, NOW)
    return at


@pytest.fixture(autouse=True, scope="session")
def cheap_passwords() -> None:
    """Let a password cost a millisecond."""
    operators._COST["n"] = 1 << 10
