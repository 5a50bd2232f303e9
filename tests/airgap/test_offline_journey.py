"""The offline journey reaches no network: it runs whole under an audit hook that refuses even the making of a socket."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest

import offline_station
import shared
from shared.clock import SystemClock
from shared.model.taxcard import write_taxcard
from tests.airgap.runner import REFUSED_STATUS, is_known
from tests.support.offline import taxcard
from tests.support.web import Browser, Reply

ROOT = Path(__file__).parents[2]
NETWORK = {
    "_posixsubprocess",
    "_socket",
    "_ssl",
    "asyncio",
    "ftplib",
    "http",
    "imaplib",
    "multiprocessing",
    "poplib",
    "pty",
    "requests",
    "smtplib",
    "socket",
    "socketserver",
    "ssl",
    "starlette",
    "subprocess",
    "telnetlib",
    "urllib3",
    "uvicorn",
    "watchdog",
    "webbrowser",
    "xmlrpc",
}

PAGES = {
    "web/events.py": {"asyncio"},
    "web/serving.py": {"socket", "uvicorn", "webbrowser"},
    "web/site.py": {"starlette"},
}
"""Files of `shared` that serve the page on 127.0.0.1 (decision 17), and what each of them needs for it."""

STARTERS = {"medium/confine.py", "medium/eject.py"}
"""Files of `shared` that may start programs: the reader of sticks, which can reach no network itself (decision 8), and
the system's own tools that let go of a stick. The runner knows both by their words."""


RUNNER = str(ROOT / "tests" / "airgap" / "runner.py")


def run(
    *arguments: object, cwd: Path = ROOT, program: str = "offline_station", serving: bool = False
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, RUNNER, *(["--serving"] if serving else []), program, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )


PROBES = {
    "a socket": "import socket; socket.socket()",
    "a name": "import socket; socket.getaddrinfo('localhost', 80)",
    "a datagram": "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
    "a listener": "import socket; socket.create_server(('127.0.0.1', 0))",
    "a pair": "import socket; socket.socketpair()",
    "the low level": "import _socket; _socket.socket()",
    "a request": "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9/')",
    "a program": "import subprocess; subprocess.run(['curl', 'http://127.0.0.1:9/'])",
    "a program by its shell": "import os; os.system('curl http://127.0.0.1:9/')",
    "a program in our place": "import os; os.execvp('curl', ['curl', 'http://127.0.0.1:9/'])",
    "a program by the system": "import os; os.posix_spawn('/usr/bin/env', ['env', 'curl'], {})",
    "another process": "import os; os.fork()",
    "a module without walls": "import subprocess, sys; subprocess.run([sys.executable, '-P', '-m', 'http.server'])",
    "code without walls": "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import socket'])",
    "hidden by an except": "import socket\ntry:\n    socket.socket()\nexcept BaseException:\n    pass",
}


@pytest.mark.parametrize("source", PROBES.values(), ids=PROBES.keys())
def test_the_hook_bites(tmp_path: Path, source: str) -> None:
    (tmp_path / "probe.py").write_text(source, encoding="utf-8")
    done = run(cwd=tmp_path, program="probe")
    assert done.returncode == REFUSED_STATUS, done.stderr
    assert "air gap: " in done.stderr


OPEN_TO_THE_PAGE = {"a socket", "a listener", "a pair", "the low level", "hidden by an except"}
SERVING_PROBES = {name: source for name, source in PROBES.items() if name not in OPEN_TO_THE_PAGE} | {
    "a connection": "import socket; socket.socket().connect(('127.0.0.1', 9))",
    "a listener for others": "import socket; socket.create_server(('0.0.0.0', 0))",
    "a listener in the other family": "import socket; socket.create_server(('::1', 0), family=socket.AF_INET6)",
    "a raw socket": "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW)",
}


@pytest.mark.parametrize("source", SERVING_PROBES.values(), ids=SERVING_PROBES.keys())
def test_the_hook_bites_where_a_page_is_served_too(tmp_path: Path, source: str) -> None:
    (tmp_path / "probe.py").write_text(source, encoding="utf-8")
    done = run(cwd=tmp_path, program="probe", serving=True)
    assert done.returncode == REFUSED_STATUS, done.stderr


def test_a_page_may_listen_on_this_pc(tmp_path: Path) -> None:
    source = "import socket; print(socket.create_server(('127.0.0.1', 0)).getsockname()[0])"
    (tmp_path / "probe.py").write_text(source, encoding="utf-8")
    assert run(cwd=tmp_path, program="probe", serving=True).stdout.strip() == "127.0.0.1"


def test_the_page_is_served_under_the_hook_and_only_by_its_verb(tmp_path: Path) -> None:
    home, stick = tmp_path / "开票机", tmp_path / "U盘"
    stick.mkdir()
    today = SystemClock().now().date()
    last = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    card = tmp_path / "0.taxcard"
    write_taxcard(card, taxcard(last_copied=last - timedelta(days=1), lock_date=today + timedelta(days=20)))
    words = [
        sys.executable,
        RUNNER,
        "--serving",
        "offline_station",
        "--home",
        str(home),
        "--json",
        "serve",
        "--no-browser",
    ]
    with subprocess.Popen(
        words,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            me = Browser(int(url.split(":")[2].split("/")[0]))
            assert "装入金税卡" in me.open(url).words
            me.post("/welcome/card", None, path=str(card))
            assert "还没有抄税" in me.get("/").words
            assert run("--home", home, "stick", "prepare", stick).returncode == 0
            assert "抄税成功" in patiently(me, me.post("/copy")).words
            assert "现在可以拔出U盘" in patiently(me, me.post("/report")).words
        finally:
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert "air gap" not in err
    strict = run("--home", home, "--json", "serve", "--no-browser")
    assert strict.returncode == REFUSED_STATUS, "the other verbs' hook does not know the page"


def patiently(browser: Browser, shown: Reply) -> Reply:
    """Look again, as the page does by itself, until the work is done."""
    path = shown.path
    for _ in range(600):
        if 'id="work"' not in shown.text:
            return shown
        shown = browser.get(path)
    raise AssertionError(shown.words)


def test_verbs_other_than_serve_know_no_page(tmp_path: Path) -> None:
    source = (
        "import sys; from offline_station.cli import program; program.run(['--home', 'x', 'status']); "
        "print([m for m in ('starlette', 'uvicorn', 'jinja2', 'asyncio', 'shared.web') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_the_hook_lets_other_work_pass(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(
        "import sqlite3, ssl; sqlite3.connect(':memory:'); print('done')", encoding="utf-8"
    )
    done = run(cwd=tmp_path, program="probe")
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr


def test_the_hook_lets_the_confined_process_pass(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(
        "from shared.medium.confine import available; print(available()[0].in_force)", encoding="utf-8"
    )
    done = run(cwd=tmp_path, program="probe")
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


def test_only_the_known_programs_may_start() -> None:
    python = sys.executable
    assert is_known((python, [python, "-P", "-m", "shared.medium.reader"], None, None))
    assert is_known(("/usr/bin/udisksctl", ["/usr/bin/udisksctl", "unmount", "-b", "/dev/sdb1"], None, None))
    assert not is_known(("/usr/bin/curl", ["/usr/bin/curl", "umount"], None, None))
    assert not is_known(("/usr/bin/curl", ["umount"], None, None))
    assert not is_known((python, [python, "-P", "-m", "shared.medium.reader", "more"], None, None))
    assert not is_known(("/usr/bin/python3", [python, "-P", "-m", "shared.medium.reader"], None, None))
    assert not is_known((python, [python, "-P", "-m", "http.server"], None, None))


def test_the_whole_offline_journey_touches_no_network(tmp_path: Path) -> None:
    done = run(tmp_path, program="tests.airgap.journey")
    assert (done.returncode, done.stdout.strip()) == (0, "journey complete"), done.stdout + done.stderr


def test_the_program_itself_runs_under_the_hook(tmp_path: Path) -> None:
    done = run("--home", tmp_path / "home", "--json", "status")
    assert done.returncode == 50, done.stdout + done.stderr
    assert json.loads(done.stdout)["errors"][0]["code"] == "B5003"


def test_the_mounted_volumes_are_listed_without_a_network(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(
        "import sys; from shared.medium.volumes import mounted_volumes; mounted_volumes(); print('psutil' in sys.modules)",
        encoding="utf-8",
    )
    done = run(cwd=tmp_path, program="probe")
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stdout + done.stderr


@pytest.mark.parametrize("package", [offline_station, shared], ids=lambda package: package.__name__)
def test_no_module_imports_a_network_library_or_another_program(package: ModuleType) -> None:
    """Statically, whatever a journey does not reach, and what import contracts do not see (`urllib.request`)."""
    folder = Path(package.__file__ or "").parent
    found = []
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            where = path.relative_to(folder).as_posix()
            allowed: set[str] = set()
            if package is shared:
                allowed = PAGES.get(where, set()) | ({"subprocess"} if where in STARTERS else set())
            found += [
                f"{where}: {n}" for n in names if n.split(".")[0] in NETWORK - allowed or n.startswith("urllib.request")
            ]
    assert found == []
