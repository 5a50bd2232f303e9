"""The door of a local page: every request that is not its own user's, from its own window, ends there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from shared.clock import FixedClock, SystemClock
from shared.errors import PageNotServed
from shared.text import Text
from shared.web import serving
from shared.web.guard import HEADERS
from shared.web.peer import Owner, owner_of
from shared.web.site import Answer, Go, Page, Site, Visit, local
from shared.web.tickets import PRINTED_SECONDS, Tickets
from tests.support.web import Browser, served

DONE: list[str] = []


def small_site(folder: Path) -> Site:
    site = Site(
        "test",
        Text("测试", "test"),
        folder=folder / "page",
        log=folder / "log",
        clock=SystemClock(),
        templates=("shared.web", "templates"),
        pc=Text("开票机", "invoicing PC"),
    )

    @site.page("/")
    def home(_visit: Visit) -> Answer:
        return Page("base.html")

    @site.action("/do")
    def do(visit: Visit) -> Answer:
        DONE.append(visit.form.get("what", ""))
        return Go("/")

    @site.action("/upload", max_bytes=3 << 20)
    def upload(visit: Visit) -> Answer:
        DONE.extend(f"{one.name}:{one.size}" for one in visit.files["file"])
        return Go("/")

    @site.page("/broken")
    def broken(_visit: Visit) -> Answer:
        raise RuntimeError("secret")

    return site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return small_site(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def port(site: Site) -> Iterator[int]:
    with served(site) as found:
        yield found


@pytest.fixture
def browser(site: Site, port: int) -> Browser:
    DONE.clear()
    one = Browser(port)
    assert one.open(site.address(port, 60)).status == 200
    return one


def raw(port: int, *lines: str) -> int:
    """Send lines as they are, and return the status of the answer; 0 if there is none."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = connection.recv(64)
    return int(answer.split()[1]) if answer else 0


def test_a_window_with_a_ticket_sees_the_page(browser: Browser) -> None:
    assert "税渡" in browser.page.words


def test_every_answer_carries_the_protections(browser: Browser) -> None:
    for path in ("/", "/nowhere", "/static/style.css", "/open?ticket=no", "/broken"):
        found = browser.get(path)
        for name, value in HEADERS:
            assert found.headers[name.decode()] == value.decode(), path
        assert "server" not in found.headers
        assert not [name for name in found.headers if name.startswith("access-control")]
        assert path.startswith("/static") or found.headers["cache-control"] == "no-store"
    policy = browser.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost:{port}", "127.0.0.1.:{port}", "127.0.0.1:1", "127.0.0.1", "[::1]:{port}", ""]
)
def test_another_name_for_this_page_is_refused(port: int, host: str) -> None:
    assert raw(port, "GET / HTTP/1.1", f"Host: {host.format(port=port)}", "Connection: close") == 421


def test_no_host_and_two_hosts_are_refused(port: int) -> None:
    assert raw(port, "GET / HTTP/1.1", "Connection: close") == 400
    assert raw(port, "GET / HTTP/1.0") == 421
    own = f"Host: 127.0.0.1:{port}"
    assert raw(port, "GET / HTTP/1.1", own, own, "Connection: close") in (400, 421)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT"])
def test_other_methods_are_refused(port: int, method: str) -> None:
    assert raw(port, f"{method} / HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close") in (400, 405)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "iframe"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
    ],
)
def test_other_sites_get_nothing(browser: Browser, headers: dict[str, str]) -> None:
    assert browser.request("GET", "/", headers=headers).status == 403


def form(browser: Browser, **headers: str) -> int:
    """Post a form with a good token and the given headers."""
    token = browser.page.forms[0]["csrf"]
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    return browser.request("POST", "/do", f"csrf={token}&what=x".encode(), kind | headers).status


def test_a_form_needs_to_come_from_our_page(browser: Browser) -> None:
    assert form(browser) == 403
    assert form(browser, Origin="http://127.0.0.1:1") == 403
    assert form(browser, Referer="http://127.0.0.1:1/") == 403
    assert form(browser, Origin=browser.origin, **{"Sec-Fetch-Site": "cross-site"}) == 403
    assert DONE == []
    assert form(browser, Origin=browser.origin) == 303
    assert form(browser, Referer=browser.origin + "/") == 303
    assert DONE == ["x", "x"]


@pytest.mark.parametrize("token", ["", "wrong", "中文"])
def test_a_form_without_its_token_does_nothing(browser: Browser, site: Site, token: str) -> None:
    for path in site.actions:
        files = {"file": ("a", b"b")} if path == "/upload" else None
        assert browser.post(path, files, csrf=token, what="bad", to="en").status == 403, path
    assert DONE == []
    assert "过时" in browser.page.words, "the language was not switched either"


def test_without_a_session_there_is_nothing(site: Site, port: int) -> None:
    nobody = Browser(port)
    for path in ("/", "/broken", "/events", "/nowhere"):
        assert nobody.request("GET", path).status == 403
    wrong = Browser(port, cookie=f"taxferry-{port}=guess")
    assert wrong.request("GET", "/").status == 403
    answer = wrong.request("POST", "/do", b"csrf=", {"Origin": wrong.origin})
    assert answer.status == 403
    assert "serve" in answer.words


def test_the_cookie_is_for_this_port_only_and_no_script_reads_it(site: Site, port: int) -> None:
    parts = site.address(port, 60).split("/", 3)[3]
    cookie = Browser(port).request("GET", f"/{parts}").headers["set-cookie"]
    assert cookie.startswith(f"taxferry-{port}=")
    assert cookie.endswith("; HttpOnly; SameSite=Strict; Path=/")


def test_a_ticket_is_good_once(site: Site, port: int) -> None:
    path = "/" + site.address(port, 60).split("/", 3)[3]
    assert Browser(port).request("GET", path).status == 200
    again = Browser(port).request("GET", path)
    assert (again.status, again.headers.get("set-cookie")) == (403, None)
    assert "用过" in again.words


def test_a_ticket_is_good_for_a_while(tmp_path: Path) -> None:
    tickets, clock = Tickets(tmp_path), FixedClock(SystemClock().now())
    early, late = tickets.issue(clock.now(), PRINTED_SECONDS), tickets.issue(clock.now(), PRINTED_SECONDS)
    clock.moment += timedelta(seconds=PRINTED_SECONDS)
    assert tickets.spend(early, clock.now())
    clock.moment += timedelta(seconds=1)
    assert not tickets.spend(late, clock.now())
    assert not tickets.spend("x" * 5000, clock.now())
    assert list(tmp_path.iterdir()) == []


def test_of_many_who_spend_one_ticket_one_succeeds(tmp_path: Path) -> None:
    tickets, now = Tickets(tmp_path), SystemClock().now()
    ticket, start = tickets.issue(now, 60), threading.Barrier(8)
    won: list[bool] = []

    def spend() -> None:
        start.wait()
        won.append(tickets.spend(ticket, now))

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def test_a_ticket_is_not_in_the_folder_and_the_folder_is_shut(tmp_path: Path) -> None:
    tickets = Tickets(tmp_path / "page")
    ticket = tickets.issue(SystemClock().now(), 60)
    (file,) = (tmp_path / "page").iterdir()
    assert ticket not in file.name + file.read_text()
    if os.name != "nt":
        assert (tmp_path / "page").stat().st_mode & 0o077 == 0
        assert file.stat().st_mode & 0o077 == 0


def test_too_large_bodies_are_refused_said_or_unsaid(browser: Browser) -> None:
    assert browser.post("/do", what="x" * (1 << 20)).status == 413
    assert DONE == []
    lines = [
        "POST /do HTTP/1.1",
        f"Host: 127.0.0.1:{browser.port}",
        f"Origin: {browser.origin}",
        f"Cookie: {browser.cookie}",
        "Content-Type: application/x-www-form-urlencoded",
        "Transfer-Encoding: chunked",
        "Connection: close",
    ]
    with socket.create_connection(("127.0.0.1", browser.port), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        piece = b"what=" + b"x" * 65531
        with contextlib.suppress(OSError):  # it need not hear us out
            for _ in range(17):
                connection.sendall(b"10000\r\n" + piece + b"\r\n")
        answer = connection.recv(64)
    assert answer.split()[1] == b"413"
    assert DONE == []


def test_files_come_under_their_names_and_never_as_paths(browser: Browser) -> None:
    browser.get("/")
    found = browser.post("/upload", {"file": ("..\\..\\税 务.csv", b"1" * 2_000_000), "file#2": ("/etc/passwd", b"x")})
    assert found.status == 200
    assert DONE == ["税 务.csv:2000000", "passwd:1"]


def test_a_defect_is_told_without_its_secrets(browser: Browser, site: Site) -> None:
    found = browser.get("/broken")
    assert found.status == 409
    assert "B5099" in found.text
    assert "secret" not in found.text
    assert [path for path in site.log.iterdir() if "secret" in path.read_text()]


def test_an_unknown_address_leads_back(browser: Browser) -> None:
    found = browser.get("/nowhere")
    assert found.status == 404
    assert "B5053" in found.text
    assert browser.request("GET", "/do").status == 404


def test_a_language_once_chosen_stays(browser: Browser) -> None:
    assert 'lang="zh-CN"' in browser.page.text
    assert 'lang="en"' in browser.get("/", **{"Accept-Language": "en-GB,en"}).text
    assert "Skip to the content" in browser.post("/language", to="en", back="/").words
    assert "Skip to the content" in browser.get("/", **{"Accept-Language": "zh-CN"}).words


@pytest.mark.parametrize(
    "bad", ["//evil.example", "https://evil.example", "/\\evil.example", "x", "", "/\r\nX: y", "/" * 600]
)
def test_no_address_leads_to_another_site(bad: str) -> None:
    assert local(bad) == "/"
    assert local("/history?x=1") == "/history?x=1"


# Another user of this PC


def test_our_own_connection_is_known_as_ours(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        assert owner_of(connection.getsockname(), connection.getpeername()) is Owner.SELF


def test_a_connection_that_nobody_holds_any_more_is_nobodys(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        ends = connection.getsockname(), connection.getpeername()
    assert owner_of(*ends) is Owner.OTHER


CLIENT = """
import json, socket, sys
port, cookie, family = int(sys.argv[1]), sys.argv[2], sys.argv[3]
answers = []
for head in sys.argv[4:]:
    kind = socket.AF_INET6 if family == "6" else socket.AF_INET
    host = "::ffff:127.0.0.1" if family == "6" else "127.0.0.1"
    with socket.socket(kind) as s:
        s.settimeout(20)
        s.connect((host, port))
        s.sendall(f"{head} HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\nCookie: {cookie}\\r\\nConnection: close\\r\\n\\r\\n".encode())
        data = b""
        while piece := s.recv(4096):
            data += piece
        answers.append(int(data.split()[1]))
print(json.dumps(answers))
"""


def as_user(words: list[str], *, user: str = "nobody") -> list[str]:
    """Return a command line that another user of this PC would run."""
    if os.name == "nt" or os.getuid() != 0:
        pytest.skip("platform: only root can act as another user")
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    return ["setpriv", f"--reuid={user}", "--clear-groups", *words]


@pytest.mark.parametrize("family", ["4", "6"])
def test_another_user_gets_nothing_even_with_our_cookie_and_a_good_ticket(
    site: Site, browser: Browser, family: str
) -> None:
    ticket = "/" + site.address(browser.port, 60).split("/", 3)[3]
    words = [sys.executable, "-I", "-c", CLIENT, str(browser.port), browser.cookie, family, "GET /", f"GET {ticket}"]
    mine = subprocess.run([*words[:-1]], capture_output=True, text=True, check=True, timeout=60, cwd="/")
    assert json.loads(mine.stdout) == [200]
    theirs = subprocess.run(as_user(words), capture_output=True, text=True, check=False, timeout=60, cwd="/")
    if theirs.returncode != 0 and "Permission" in theirs.stderr:
        pytest.skip("platform: another user may not run this Python")
    assert json.loads(theirs.stdout) == [403, 403], theirs.stderr
    assert Browser(browser.port).request("GET", ticket).status == 200, "their attempt did not use the ticket up"


# The socket


def test_the_page_listens_on_this_pc_only() -> None:
    with serving.listen(0) as server:
        assert server.getsockname()[0] == "127.0.0.1"


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with serving.listen(0) as server:
        port = server.getsockname()[1]
        with pytest.raises(PageNotServed, match=str(port)):
            serving.listen(port)
        with serving.listen(0, last=port) as other:
            assert other.getsockname()[1] != port, "any free one, if the last one is taken"
    with serving.listen(0, last=port) as again:
        assert again.getsockname()[1] == port


def test_one_process_serves_a_home(tmp_path: Path) -> None:
    with serving.claimed(tmp_path / "page") as first:
        assert first is not None
        first.note(4711)
        with serving.claimed(tmp_path / "page") as second:
            assert second is None
            assert serving.Claim(tmp_path / "page").port == 4711
    with serving.claimed(tmp_path / "page") as third:
        assert third is not None


def test_without_a_screen_no_browser_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert serving.open_browser(tmp_path, "http://127.0.0.1:1/open?ticket=x") is False
    assert list(tmp_path.iterdir()) == []


def test_the_browser_is_led_by_a_file_and_not_by_a_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setenv("DISPLAY", ":1")
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    assert serving.open_browser(tmp_path, "http://127.0.0.1:1/open?ticket=s3cret")
    assert opened == [(tmp_path / "open.html").as_uri()]
    file = tmp_path / "open.html"
    assert "ticket=s3cret" in file.read_text(encoding="utf-8")
    if os.name != "nt":
        assert file.stat().st_mode & 0o077 == 0
