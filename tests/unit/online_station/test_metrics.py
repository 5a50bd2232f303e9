"""Metrics, health and readiness: what is served, to whom, and what it does not say."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from online_station.core.decide import AskNow
from online_station.shell.health import Address, Answer, checks_answer, parse_address, serving
from online_station.shell.log import LOGGER
from online_station.shell.meter import NO_METER, LifeSign, Meter, Meters
from online_station.shell.metered import MeteredGateway
from online_station.shell.metrics import Gauges, PrometheusMeter
from online_station.shell.oversight import STILL_SECONDS, Oversight
from shared.errors import (
    BureauBusy,
    BureauRefused,
    BureauUnreachable,
    MetricsUnavailable,
    OutcomeUnknown,
    ReportInvalid,
)
from shared.text import Text, both
from tests.support.databases import until
from tests.unit.online_station.test_cli import run

__all__ = ["run"]

ANY = Address("127.0.0.1", 0)


def get(where, path, method="GET", headers=()):
    connection = http.client.HTTPConnection(where.host, where.port, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers


def values(page):
    """Read a page of metrics with Prometheus' own parser."""
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("text", "host", "port", "local"),
    [
        ("127.0.0.1:9464", "127.0.0.1", 9464, True),
        ("9100", "127.0.0.1", 9100, True),
        (":9100", "127.0.0.1", 9100, True),
        ("localhost", "localhost", 9464, True),
        ("[::1]:9465", "::1", 9465, True),
        ("0.0.0.0:0", "0.0.0.0", 0, False),
        ("monitor.example:80", "monitor.example", 80, False),
    ],
)
def test_an_address_is_read_in_all_its_forms(text, host, port, local):
    found = parse_address(text)
    assert (found.host, found.port, found.is_local) == (host, port, local)


@pytest.mark.parametrize(
    "text", ["", "a:b", "127.0.0.1:99999", "http://x", "1:2:3", "::1", "127.0.0.1:９４６４", "a b:1"]
)
def test_what_is_no_address_is_refused_with_the_right_form(text):
    with pytest.raises(MetricsUnavailable, match=r"127\.0\.0\.1:9464"):
        parse_address(text)


def test_a_port_that_somebody_has_is_said_to_be_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(MetricsUnavailable) as caught, serving(address, {}):
            pass
    assert "端口已被占用" in caught.value.text.zh


def test_pages_are_served_and_nothing_else():
    def broken(_accepted):
        raise ValueError("a secret")

    routes = {"/ok": lambda accepted: Answer(200, accepted.encode(), "text/plain"), "/broken": broken}
    with serving(ANY, routes) as where:
        status, body, headers = get(where, "/ok?x=1", headers={"Accept": "text/x"})
        assert (status, body, headers["Cache-Control"]) == (200, b"text/x", "no-store")
        assert "Python" not in headers["Server"]
        assert get(where, "/ok", "HEAD")[:2] == (200, b"")
        assert get(where, "/nowhere")[0] == 404
        assert get(where, "/../etc/passwd")[0] == 404
        assert get(where, "/ok", "POST")[0] == 501
        LOGGER.disabled = True
        try:
            assert get(where, "/broken")[:2] == (500, b"error\n")
        finally:
            LOGGER.disabled = False
    with pytest.raises(OSError, match=r"."):
        get(where, "/ok")


def test_who_says_nothing_keeps_nobody_else_waiting():
    with serving(ANY, {"/ok": lambda _: Answer(200, b"", "text/plain")}) as where, contextlib.ExitStack() as silent:
        for _ in range(20):
            silent.enter_context(socket.create_connection((where.host, where.port), timeout=5))
        assert get(where, "/ok")[0] == 200


def test_one_check_that_fails_is_named():
    good, bad = checks_answer({"a": True}), checks_answer({"a": True, "b": False})
    assert (good.status, json.loads(good.body)) == (200, {"ok": True, "checks": {"a": True}})
    assert (bad.status, json.loads(bad.body)) == (503, {"ok": False, "checks": {"a": True, "b": False}})


# Counting


def test_the_default_counts_nothing_and_all_hooks_reach_every_meter():
    counted = []

    class Counting(Meter):
        def turned(self):
            counted.append("turned")

        def asked(self, kind, outcome):
            counted.append((kind, outcome))

        def sent(self, size):
            counted.append(size)

        def visited(self, outcome):
            counted.append(outcome)

        def told(self, robot, outcome):
            counted.append((robot, outcome))

    meters = Meters(NO_METER)
    meters.add(Counting())
    for meter in (NO_METER, meters):
        meter.turned()
        meter.asked("upload", "ok")
        meter.sent(7)
        meter.visited("safe")
        meter.told("wecom", "failed")
    assert counted == ["turned", ("upload", "ok"), 7, "safe", ("wecom", "failed")]


class Scripted:
    """A bureau that raises what it is told."""

    name = "bureau.test"

    def __init__(self, error=None):
        self.error = error

    def _do(self, *_args, **_more):
        if self.error is not None:
            raise self.error
        return b"yes"

    put_report = report_status = result = put_ack = standing = trust = clock = _do


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "ok"),
        (BureauUnreachable(host="x", reason=both("y")), "unreachable"),
        (BureauBusy(seconds=1, retry_after=1.0), "busy"),
        (OutcomeUnknown(report="x"), "unknown"),
        (BureauRefused(reason=both("x"), fault="2735"), "refused"),
        (ReportInvalid(reason=Text("x", "x")), "failed"),
    ],
)
def test_every_request_is_counted_by_what_came_of_it_and_nothing_is_changed(error, outcome, tmp_path):
    path = tmp_path / "x.dat"
    path.write_bytes(b"x" * 100)
    meter = PrometheusMeter(Gauges, LifeSign())
    gateway = MeteredGateway(Scripted(error), meter)
    calls = {
        "upload": lambda: gateway.put_report("d", path, "s"),
        "status": lambda: gateway.report_status("d"),
        "result": lambda: gateway.result("d"),
        "ack": lambda: gateway.put_ack("d", b""),
        "standing": lambda: gateway.standing("t", "2026-07"),
        "trust": gateway.trust,
        "clock": gateway.clock,
    }
    for call in calls.values():
        if error is None:
            call()
        else:
            with pytest.raises(type(error)) as caught:
                call()
            assert caught.value is error
    found = values(meter.page("")[0])
    assert {key[1:]: v for key, v in found.items() if key[0] == "taxferry_bureau_requests_total"} == {
        tuple(sorted((kind, outcome))): 1.0 for kind in calls
    }
    assert found[("taxferry_upload_bytes_total",)] == (100.0 if error is None else 0.0)
    assert gateway.name == "bureau.test"


def test_the_database_is_asked_once_for_many_looks():
    looks = []

    def look():
        looks.append(1)
        return Gauges(reports={"held": 3}, due=2, alarms={"disk": 1}, circuit_open=True)

    meter = PrometheusMeter(look, LifeSign())
    assert looks == [], "to be registered is no question"
    found = [values(meter.page("")[0]) for _ in range(5)][-1]
    assert len(looks) == 1
    assert found[("taxferry_reports", "held")] == 3
    assert found[("taxferry_due",)] == 2
    assert found[("taxferry_alarms", "disk")] == 1
    assert found[("taxferry_bureau_circuit_open",)] == 1
    assert "openmetrics" in meter.page("application/openmetrics-text; version=1.0.0")[1]


def test_any_work_is_a_sign_of_life():
    now = [0.0]
    life = LifeSign(lambda: now[0])
    for move in (life.turned, lambda: life.asked("trust", "unreachable"), lambda: life.sent(0)):
        now[0] += 10
        assert life.age == 10
        move()
        assert life.age == 0


# Of a station


def test_a_station_is_seen_from_outside(station_desk, monkeypatch):
    desk = station_desk
    over = Oversight(desk.home, desk.clock)
    desk.bureau.declared.clear()
    with desk.station(gateway=over.gateway) as station, over.watching(threading.Event(), ANY, every=3600) as where:
        station.meter = over.meter
        digest = desk.report()
        (desk.inbox / "310100000000000_5_202608010000.dat").write_bytes(b"")
        station.once(patient=False)
        desk.bureau.declared.add("2026-07")
        station.store.apply(digest, AskNow(), desk.clock.now())
        station.once(patient=False)
        desk.clock.advance(hours=1)
        (desk.inbox / "note.doc").write_text("x")
        tell = over.counting(lambda *_: None)
        tell("visiting", {}, both(""))
        tell("safe", {"label": "财务"}, both(""))
        status, page, headers = get(where, "/metrics")
        assert (status, headers["Content-Type"].startswith("text/plain")) == (200, True)
        found = values(page)
        assert found[("taxferry_reports", "accepted")] == 1
        assert found[("taxferry_quarantined_files",)] == 1
        assert found[("taxferry_inbox_files",)] == 1
        assert found[("taxferry_bureau_requests_total", "ok", "upload")] == 1
        assert found[("taxferry_bureau_requests_total", "ok", "standing")] == 2
        assert found[("taxferry_upload_bytes_total",)] == desk.home.report_file(digest).stat().st_size
        assert found[("taxferry_stick_visits_total", "safe")] == 1
        assert found[("taxferry_due",)] == 1
        assert found[("taxferry_oldest_due_seconds",)] > 60
        for secret in (b"310100000000000", digest.encode(), b"135790"):
            assert secret not in page
        assert get(where, "/healthz")[0] == 200
        assert get(where, "/readyz")[0] == 200


def test_a_loop_that_stands_still_is_not_healthy(station_desk):
    over = Oversight(station_desk.home, station_desk.clock)
    now = [0.0]
    over._life._monotonic = lambda: now[0]
    over._life.turned()
    with over.watching(threading.Event(), ANY, every=3600) as where:
        assert get(where, "/healthz")[0] == 200
        now[0] += STILL_SECONDS + 1
        status, body, _ = get(where, "/healthz")
        assert (status, json.loads(body)["checks"]) == (503, {"working": False})
        over.meter.turned()
        assert get(where, "/healthz")[0] == 200


def test_the_manual_names_the_metrics_that_are_served():
    manual = (Path(__file__).parents[3] / "docs/howto/monitoring.md").read_text(encoding="utf-8")
    meter = PrometheusMeter(Gauges, LifeSign())
    served = set()
    for family in text_string_to_metric_families(meter.page("")[0].decode()):
        served.add(f"{family.name}_total" if family.type == "counter" else family.name)
    assert set(re.findall(r"taxferry_[a-z_]+", manual)) == served


@pytest.mark.parametrize("broken", ["inbox", "key"])
def test_what_a_station_lacks_is_named(station_desk, broken):
    desk = station_desk
    with desk.station() as station:
        if broken == "inbox":
            desk.inbox.rmdir()
        else:
            (desk.root / "key.p12").unlink()
        over = Oversight(desk.home, desk.clock)
        with over.watching(threading.Event(), ANY, every=3600) as where:
            status, body, _ = get(where, "/readyz")
        checks = json.loads(body)["checks"]
        assert (status, [name for name, good in checks.items() if not good]) == (503, [broken])
        if broken == "inbox":
            desk.inbox.mkdir()
        assert station.store.settings()


def test_the_watch_ends_with_the_block(station_desk):
    over = Oversight(station_desk.home, station_desk.clock)
    with over.watching(threading.Event(), every=3600):
        assert any(thread.name == "watch" for thread in threading.enumerate())
    assert not any(thread.name in ("watch", "metrics") for thread in threading.enumerate())


def test_an_address_that_cannot_be_had_keeps_the_service_from_starting(station_desk, run):
    for address in ("nonsense:x", "256.0.0.1:1"):
        status, out, err = run("run", "--metrics", address, json_wanted=False)
        assert status == 50
        assert "B5021" in err
        assert "服务已启动" not in out


def test_the_service_serves_what_it_was_asked_to_and_logs_for_programs(station_desk, tmp_path):
    """In a process of its own, as a service manager starts it."""
    words = ["--home", str(station_desk.home.root), "--json", "run", "--no-sticks", "--metrics", "127.0.0.1:0"]
    with subprocess.Popen(
        [sys.executable, "-m", "online_station", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as service:
        assert service.stdout is not None
        try:
            ready = json.loads(service.stdout.readline())
            url = ready["metrics"]
            assert url.startswith("http://127.0.0.1:")
            where = Address("127.0.0.1", int(url.rsplit(":", 1)[1].split("/")[0]))
            station_desk.report()
            until(lambda: values(get(where, "/metrics")[1])[("taxferry_loop_turns_total",)] > 0)
            until(lambda: values(get(where, "/metrics")[1]).get(("taxferry_bureau_requests_total", "ok", "upload")), 60)
            assert get(where, "/readyz")[0] == 200
        finally:
            service.send_signal(signal.SIGTERM)
            out, err = service.communicate(timeout=60)
    assert (service.returncode, err) == (0, "")
    assert json.loads(out.splitlines()[-1])["data"]["event"] == "stopped"
    log = (station_desk.home.logs / "station.jsonl").read_text(encoding="utf-8").splitlines()
    assert {"taken", "state"} <= {json.loads(line)["event"] for line in log}
