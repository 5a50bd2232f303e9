"""What other pages and other people try, in a real browser: nothing of it reaches the station."""

from __future__ import annotations

import contextlib
import http.server
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.pages import Counter
from tests.unit.shared.web.test_guard import CLIENT, as_user


@contextlib.contextmanager
def elsewhere(body: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Serve a page from another port, as another user could; give its address, and the headers it was sent."""
    seen: list[dict[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(dict(self.headers.items()))
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/", seen
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def victim(at: Counter, window: Callable[..., Any]) -> Any:
    """An accountant whose page is open."""
    page = window(quiet=True)
    page.goto(at.desk.site.address(at.port, 60))
    page.get_by_text("还没有抄税").wait_for()
    return page


def untouched(at: Counter) -> bool:
    return at.last is None and not list((at.desk.home.root / "outbox").iterdir())


@pytest.mark.parametrize(
    "kind",
    [
        "application/x-www-form-urlencoded",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("multipart/form-data", "text/plain")),
    ],
)
def test_another_page_posts_nothing(at: Counter, victim: Any, kind: str) -> None:
    body = (
        f'<form id="f" method="post" enctype="{kind}" action="http://127.0.0.1:{at.port}/copy">'
        '<input name="csrf" value="x"></form><script>document.getElementById("f").submit()</script>'
    )
    with elsewhere(body) as (address, _):
        tab = victim.context.new_page()
        tab.goto(address)
        tab.wait_for_url("**/copy")
        assert "其他网页" in tab.content()
    assert untouched(at)


def test_another_port_sees_the_cookie_and_can_do_nothing_with_it(at: Counter, victim: Any) -> None:
    """The hole that ports leave: a cookie is for the host. Whose the connection is decides."""
    with elsewhere("<p>hello</p>") as (address, seen):
        tab = victim.context.new_page()
        tab.goto(address)
        tab.locator("p").wait_for()
    cookie = next(headers["Cookie"] for headers in seen if "Cookie" in headers)
    assert cookie.startswith("taxferry-"), "if browsers ever stop sending it, the check may go"
    words = [sys.executable, "-I", "-c", CLIENT, str(at.port), cookie, "4", "GET /"]
    theirs = subprocess.run(as_user(words), capture_output=True, text=True, check=False, timeout=60, cwd="/")
    if theirs.returncode != 0 and "Permission" in theirs.stderr:
        pytest.skip("platform: another user may not run this Python")
    assert theirs.stdout.strip() == "[403]", theirs.stderr


def test_another_page_reads_nothing(at: Counter, victim: Any) -> None:
    target = f"http://127.0.0.1:{at.port}"
    body = f"""<p id="out"></p><script>
      const out = [];
      const note = (what, p) => p.then(r => out.push(what + ":" + r), () => out.push(what + ":refused"));
      Promise.all([
        note("fetch", fetch("{target}/", {{credentials: "include"}}).then(r => r.text())),
        note("opaque", fetch("{target}/", {{mode: "no-cors", credentials: "include"}}).then(r => r.type + r.status)),
        note("post", fetch("{target}/copy", {{method: "POST", credentials: "include", body: "csrf=x"}}).then(r => r.text())),
        note("events", new Promise((ok, no) => {{ const s = new EventSource("{target}/events", {{withCredentials: true}});
          s.onmessage = ok; s.addEventListener("hello", () => ok("heard")); s.onerror = no; }})),
        note("script", new Promise((ok, no) => {{ const s = document.createElement("script");
          s.src = "{target}/static/app.js"; s.onload = () => ok("ran"); s.onerror = no; document.head.append(s); }})),
      ]).then(() => document.getElementById("out").textContent = out.sort().join(" "));
    </script>"""
    with elsewhere(body) as (address, _):
        tab = victim.context.new_page()
        tab.goto(address)
        tab.wait_for_selector("#out:not(:empty)")
        assert (
            tab.locator("#out").inner_text()
            == "events:refused fetch:refused opaque:refused post:refused script:refused"
        )
    assert untouched(at)


def test_the_page_is_in_no_frame(at: Counter, victim: Any) -> None:
    body = f'<iframe src="http://127.0.0.1:{at.port}/" width="900" height="600"></iframe><p>end</p>'
    with elsewhere(body) as (address, _):
        tab = victim.context.new_page()
        tab.goto(address)
        tab.get_by_text("end").wait_for()
        tab.wait_for_load_state("networkidle")
        inside = [frame for frame in tab.frames if frame is not tab.main_frame]
        assert "锁死日期" not in "".join(frame.content() for frame in inside)


def test_a_name_that_was_bound_to_this_pc_opens_nothing(at: Counter, victim: Any) -> None:
    tab = victim.context.new_page()
    answer = tab.goto(f"http://rebind.test:{at.port}/")
    assert answer.status == 421
    assert "锁死日期" not in tab.content()
    answer = tab.goto(f"http://rebind.test:{at.port}{at.desk.site.address(at.port, 60).split(str(at.port))[1]}")
    assert answer.status == 421, "not with a good ticket either"


@pytest.mark.slow
def test_a_stolen_ticket_that_was_used_opens_nothing(at: Counter, window: Callable[..., Any]) -> None:
    address = at.desk.site.address(at.port, 60)
    window(address).get_by_text("还没有抄税").wait_for()
    thief = window(quiet=True)
    assert thief.goto(address).status == 403
    assert "用过" in thief.content()
    assert thief.goto(f"http://127.0.0.1:{at.port}/").status == 403


@pytest.mark.slow
def test_a_link_from_elsewhere_opens_no_page_of_ours(at: Counter, victim: Any) -> None:
    with elsewhere(f'<a href="http://127.0.0.1:{at.port}/clear">win</a>') as (address, _):
        tab = victim.context.new_page()
        tab.goto(address)
        tab.get_by_text("win").click()
        tab.wait_for_url("**/clear")
        assert "其他网页" in tab.content()


@pytest.mark.slow
def test_no_script_of_a_name_runs(at: Counter, victim: Any) -> None:
    _, data = at.invoices()
    victim.goto(f"http://127.0.0.1:{at.port}/invoices")
    name = '"><img src=x onerror=document.title=1><script>document.title=1<‌/script>.csv'
    victim.set_input_files("#files", [{"name": name, "mimeType": "text/csv", "buffer": data}])
    victim.get_by_role("button", name="导入", exact=True).click()
    victim.get_by_text("导入 6 张发票").wait_for()
    assert victim.title() != "1"
