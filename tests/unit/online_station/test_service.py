"""The service as a service manager starts, watches and ends it, and what describes it to one."""

from __future__ import annotations

import os
import plistlib
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from online_station import cli
from online_station.shell.notify import Heartbeat, Notifier
from online_station.shell.service_units import KINDS, install, render
from shared.clock import CHINA
from shared.errors import ServiceNotInstalled
from tests.support.online import make_report
from tests.support.tools import run as run_tool
from tests.support.tools import tool

posix = pytest.mark.skipif(os.name == "nt", reason="platform: a socket in the file system, signals")
ROOT = Path(__file__).parents[3]


@contextmanager
def service_manager(folder: Path):
    """Listen as a service manager does."""
    path = folder / "notify"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as heard:
        heard.bind(str(path))
        heard.settimeout(60)
        yield heard, str(path)


def facts(heard) -> dict[str, str]:
    return dict(line.split("=", 1) for line in heard.recv(4096).decode().splitlines())


def wait_for(heard, name: str) -> dict[str, str]:
    while True:
        told = facts(heard)
        if name in told:
            return told


@posix
def test_the_manager_is_told_when_there_is_one(tmp_path):
    with service_manager(tmp_path) as (heard, address):
        notifier = Notifier({"NOTIFY_SOCKET": address})
        assert notifier.ready("好")
        assert facts(heard) == {"READY": "1", "STATUS": "好"}
        assert notifier.stopping()
        assert facts(heard) == {"STOPPING": "1"}
    assert not Notifier({}).ready("")
    assert not Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready("")
    assert not Notifier({"NOTIFY_SOCKET": "/" + "x" * 300}).ready(""), "an address that none can be"


@pytest.mark.skipif(sys.platform != "linux", reason="platform: names of sockets that lie in no folder")
def test_the_managers_socket_may_lie_in_no_folder(tmp_path):
    name = f"taxferry-{os.getpid()}-{tmp_path.name}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as heard:
        heard.bind("\0" + name)
        heard.settimeout(10)
        assert Notifier({"NOTIFY_SOCKET": "@" + name}).stopping()
        assert facts(heard) == {"STOPPING": "1"}


@posix
def test_signs_of_life_come_from_the_loop_and_not_too_often(tmp_path):
    with service_manager(tmp_path) as (heard, address):
        notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, process=7)
        assert notifier.watchdog_seconds == 30.0
        moment = iter([0.0, 1.0, 9.9, 10.0, 11.0])
        beat = Heartbeat(notifier, lambda: next(moment))
        for _ in range(5):
            beat.wait(0)
        heard.settimeout(0)
        assert [facts(heard), facts(heard)] == [{"WATCHDOG": "1"}] * 2
        with pytest.raises(BlockingIOError):
            heard.recv(1)
    other = {"NOTIFY_SOCKET": "x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}
    assert Notifier(other, process=7).watchdog_seconds == 0.0, "another process is watched"


ODD = Path('/var/lib/税 渡 100% $HOME "x"')


@pytest.mark.parametrize("kind", ["system", "user", "template"])
@pytest.mark.parametrize(
    "home", [Path("/var/lib/taxferry-online"), Path("/srv/税渡"), ODD], ids=["usual", "srv", "odd"]
)
def test_systemd_takes_the_units(tmp_path, kind, home):
    analyze = tool("systemd-analyze")
    unit = render(kind, home=home, user="root", writes=[Path("/srv/收件 1")])
    name = unit.file_name.replace("@", "@one")
    (tmp_path / name).write_text(unit.text, encoding="utf-8")
    done = subprocess.run([analyze, "verify", str(tmp_path / name)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


def test_what_depends_on_the_pc_is_filled_in():
    text = render("system", home=ODD, user="税", python="/opt/py").text
    assert 'ExecStart=/opt/py -m online_station --home "/var/lib/税 渡 100%% $$HOME \\"x\\""' in text
    assert "StateDirectory=" not in text
    assert 'ReadWritePaths=-/media -/run/media -/mnt "/var/lib/税 渡 100%% $HOME \\"x\\""' in text
    assert "ProtectHome=yes" in render("system", home=Path("/srv/x"), python="/opt/py").text or sys.prefix.startswith(
        ("/home", "/root")
    )
    text = render("system", home=Path("/srv/x"), writes=[Path("/home/a/收 件")]).text
    assert "ProtectHome=read-only" in text
    assert 'ReadWritePaths=-/media -/run/media -/mnt /srv/x "/home/a/收 件"' in text
    assert "--home /var/lib/taxferry-online/%i" in render("template", home=Path("/var/lib/taxferry-online")).text
    assert "StateDirectory=taxferry-online/%i" in render("template", home=Path("/var/lib/taxferry-online")).text
    for kind in KINDS:
        assert "@" not in render(kind, home=Path("/srv/x")).text.replace("@system-service", "")
    with pytest.raises(ServiceNotInstalled):
        render("system", home=Path("/srv/x\nUser=root"))


def test_the_others_are_well_formed_and_say_that_they_were_not_tried(capsys):
    home = Path("/用户 & 家/x<y>")
    job = plistlib.loads(render("launchd", home=home).text.encode())
    assert job["ProgramArguments"][:5] == [sys.executable, "-m", "online_station", "--home", str(home)]
    for kind in ("winsw", "task"):
        text = render(kind, home=home, python=r"C:\Program Files\py.exe").text
        found = ET.fromstring(text.split("?>", 1)[1])
        words = [e.text for e in found.iter() if e.tag.endswith(("arguments", "Arguments"))]
        assert words == [f'-m online_station --home "{home}" --lang zh run'] or "--lang en" in str(words)
    for kind in ("launchd", "winsw", "task"):
        assert "Not tried" in render(kind, home=home).text
        assert cli.program.run(["--home", "/srv/none", "--lang", "zh", "service", "print", "--kind", kind]) == 1
        assert "没有在它的系统上试过" in capsys.readouterr().err
        with pytest.raises(ServiceNotInstalled):
            install(render(kind, home=home), start=False)


def test_a_unit_is_put_in_place(station_desk, capsys, tmp_path):
    words = ["--home", str(station_desk.home.root), "--lang", "zh", "service"]
    assert cli.program.run([*words, "install", "--folder", str(tmp_path / "units")]) == 0
    text = (tmp_path / "units/taxferry-online.service").read_text("utf-8")
    assert f'ReadWritePaths=-/media -/run/media -/mnt "{station_desk.home.root}"' in text
    capsys.readouterr()
    assert cli.program.run([*words, "print"]) == 0
    assert capsys.readouterr().out == text
    assert cli.program.run([*words, "install", "--run-as", "nobody-has-this-name"]) == 50
    assert "useradd --system" in capsys.readouterr().err


class Service:
    """The command line of the unit, run for real."""

    def __init__(self, desk, address, *before, watchdog="300000"):
        unit = render("system", home=desk.home.root)
        (line,) = [each for each in unit.text.splitlines() if each.startswith("ExecStart=")]
        self.words = line.removeprefix("ExecStart=").replace(f'"{desk.home.root}"', "\0").split()
        self.words = [str(desk.home.root) if word == "\0" else word for word in self.words]
        environment = dict(os.environ, NOTIFY_SOCKET=address, WATCHDOG_USEC=watchdog, PYTHONPATH=str(ROOT))
        environment.pop("WATCHDOG_PID", None)
        self.process = subprocess.Popen(
            [*before, *self.words, "--no-sticks"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=desk.home.root,
        )

    def end(self) -> tuple[int, float, str]:
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            _, said = self.process.communicate(timeout=30)
        finally:
            self.process.kill()
        return self.process.returncode, time.monotonic() - started, said


@pytest.fixture
def of_today(station_desk):
    station_desk.bureau.at = datetime.now(CHINA)
    station_desk.bureau.trust_version = 2
    return station_desk


@posix
def test_the_service_says_ready_lives_and_ends_within_seconds_in_its_sandbox(of_today, tmp_path):
    desk, before = of_today, sandbox(tmp_path)
    with service_manager(tmp_path) as (heard, address):
        service = Service(desk, address, *before)
        try:
            assert wait_for(heard, "READY")["STATUS"]
            digest = desk.report()
            wait_for(heard, "WATCHDOG")
            wait_for(heard, "WATCHDOG")
            deadline = time.monotonic() + 40
            while desk.state_or_none(digest) != "accepted" and time.monotonic() < deadline:
                wait_for(heard, "WATCHDOG")
            assert desk.state_or_none(digest) == "accepted"
            code, seconds, said = service.end()
        finally:
            service.process.kill()
            service.process.wait()
        assert (code, said) == (0, "")
        assert seconds < 10
        wait_for(heard, "STOPPING")
    assert desk.bureau.puts[digest] == 1
    assert [path.name for path in desk.home.spool.iterdir()] == [f"{digest}.dat"], "nothing half done"


def sandbox(tmp_path) -> tuple[str, ...]:
    """Return a command that keeps a program to what the unit lets it touch: all is read-only but its home."""
    unshare, setpriv = tool("unshare"), tool("setpriv")
    script = tmp_path / "sandbox.sh"
    script.write_text(
        f"""set -e
mount --rbind "{tmp_path}" "{tmp_path}"
mount -o remount,bind,ro /
touch /usr/written 2>/dev/null && exit 90
exec {setpriv} --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
""",
        encoding="utf-8",
    )
    tried = subprocess.run([unshare, "--mount", "true"], capture_output=True, check=False)
    if tried.returncode != 0:
        pytest.skip("platform: no mount namespaces here")
    return (unshare, "--mount", "sh", str(script))


@posix
def test_ended_while_it_sends_nothing_is_half_done(of_today, tmp_path):
    desk = of_today
    data, made = make_report()
    with service_manager(tmp_path) as (heard, address):
        service = Service(desk, address, watchdog="0")
        try:
            wait_for(heard, "READY")
            (desk.inbox / made.header.name.file_name(".dat")).write_bytes(data)
            code, seconds, _ = service.end()
        finally:
            service.process.kill()
            service.process.wait()
    assert (code, seconds < 10) == (0, True)
    assert run_tool(ROOT, sys.executable, "-m online_station --home", str(desk.home.root), "once")
    assert desk.state_or_none(made.digest) == "accepted"
    assert desk.bureau.puts[made.digest] == 1
