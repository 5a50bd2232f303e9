"""Every scripted fault of the gateway, between the real station and the real gateway: nothing is lost, nothing doubled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.model.result import prove_result
from tax_bureau.faults import KINDS, Kind
from tests.support.bureau import Office, close_offices
from tests.support.bureau_process import Process, serving
from tests.support.real_line import Line, line

CLOSED = "连接就断了"
UNKNOWN = "税局是否收到不明"
NO_ANSWER = "没有得到可用的答复"
NOT_BELIEVED = "验证签名失败"

TELLING = {
    (Kind.DROP_REPLY, "put"): UNKNOWN,
    (Kind.DROP_REPLY, "part"): UNKNOWN,
    (Kind.DROP_REPLY, "ack"): UNKNOWN,
    (Kind.DROP_REQUEST, "put"): UNKNOWN,
    (Kind.DROP_REQUEST, "result"): CLOSED,
    (Kind.LATE, "put"): "",
    (Kind.BUSY, "put"): "税局繁忙",
    (Kind.UNAVAILABLE, "put"): UNKNOWN,
    (Kind.UNAVAILABLE, "standing"): NO_ANSWER,
    (Kind.SLOW_BYTES, "result"): "",
    (Kind.CUT_BODY, "put"): UNKNOWN,
    (Kind.CUT_BODY, "result"): CLOSED,
    (Kind.WRONG_SIGNATURE, "put"): NOT_BELIEVED,
    (Kind.WRONG_SIGNATURE, "result"): NOT_BELIEVED,
    (Kind.WRONG_SIGNATURE, "trust"): NOT_BELIEVED,
    (Kind.WRONG_ROLE, "result"): "应为“税局结果签名”",
    (Kind.STALE_RESULT, "result"): "该企业有其他开票机未报税",
    (Kind.DOUBLE_REPLY, "put"): "签名块不止一个",
    (Kind.DOUBLE_REQUEST, "put"): UNKNOWN,
    (Kind.DOUBLE_REQUEST, "ack"): UNKNOWN,
    (Kind.STILL_PROCESSING, "result"): "",
}
"""What the operator has to be told; nothing where the fault is none for the station."""
QUICK = {
    (Kind.DROP_REPLY, "put"),
    (Kind.DROP_REPLY, "ack"),
    (Kind.BUSY, "put"),
    (Kind.UNAVAILABLE, "standing"),
    (Kind.CUT_BODY, "result"),
    (Kind.WRONG_SIGNATURE, "trust"),
    (Kind.WRONG_ROLE, "result"),
    (Kind.DOUBLE_REQUEST, "put"),
    (Kind.DOUBLE_REQUEST, "ack"),
}
REST = [
    (kind, route) for kind, trait in KINDS.items() for route in sorted(trait.routes) if (kind, route) not in TELLING
]


@pytest.fixture
def real_line(tmp_path: Path) -> Iterator[Line]:
    with line(tmp_path) as made:
        yield made
    close_offices()


def journey(on: Line, kind: Kind, route: str) -> str:
    """Take a report from the inbox to its clear receipt, with a fault on the way; return its digest."""
    part_bytes = 700 if route == "part" else None
    digest = on.report()
    on.office.send(on.office.card(1))  # the sub machine has reported
    if route == "trust":
        on.office.clock.advance(hours=13)
    if route == "status":
        # A status is asked for after a reply that was lost.
        on.fault("drop-reply", routes=("put",))
    on.fault(kind.value, routes=(route,), seconds=0.2, retry_after=20)
    on.go_on(digest, "staged", part_bytes=part_bytes)
    on.acknowledge(digest)
    on.go_on(digest, "acknowledged")
    assert on.script.faults()[-1].used == 1, "the fault came up"
    return digest


def check(on: Line, digest: str) -> None:
    """Check that there is one report, one receipt, one success, one clear receipt, and the true result in the outbox."""
    with on.office.bureau.store.read() as tx:
        assert sorted(r.digest for r in tx.reports()).count(digest) == 1
        newest = tx.results(digest)[-1].text
    events = on.events(digest)
    assert [events.count(each) for each in ("received", "success", "acknowledged")] == [1, 1, 1]
    (staged,) = on.home.default_outbox.glob("*.txt")
    assert staged.read_bytes() == newest
    assert prove_result(newest, on.office.bureau.keyring.store, at=on.office.clock.now()).result.outcome == "success"
    assert list(on.home.quarantine.glob("*")) == []


@pytest.mark.parametrize(
    ("kind", "route"),
    [
        pytest.param(*key, marks=() if key in QUICK else pytest.mark.slow)
        for key in TELLING
        if key[0] is not Kind.STALE_RESULT
    ],
)
def test_a_fault_costs_nothing_but_time(real_line: Line, kind: Kind, route: str) -> None:
    """GW-2, GW-3, GW-6 to GW-9, from outside; the operator is told what happened, in words."""
    digest = journey(real_line, kind, route)
    check(real_line, digest)
    told = TELLING[kind, route]
    assert any(told in words for words in real_line.words)
    assert not any("Error" in words for words in real_line.words), "names of classes are no words"


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "route"), REST)
def test_every_other_fault_costs_nothing_but_time(real_line: Line, kind: Kind, route: str) -> None:
    check(real_line, journey(real_line, kind, route))
    assert not any("Error" in words for words in real_line.words)


def test_a_stale_result_is_not_taken_for_the_new_one(real_line: Line) -> None:
    """GW-9: the failure of before, after the report was judged again, is no news."""
    digest = real_line.report()
    real_line.go_on(digest, "waiting")  # 272C: machine 1 has not reported
    real_line.fault("stale-result", times=2)
    real_line.office.send(real_line.office.card(1))
    assert real_line.results(digest) == 2
    real_line.once(ask=True)
    assert real_line.state(digest) == "waiting"
    real_line.once(ask=True)
    assert real_line.state(digest) == "waiting"
    real_line.once(ask=True)
    assert real_line.state(digest) == "staged"
    assert [f.used for f in real_line.script.faults()] == [2]


def test_y_for_an_hour_is_waited_for_and_never_put_where_somebody_looks(real_line: Line) -> None:
    digest = real_line.report()
    real_line.office.send(real_line.office.card(1))
    until = real_line.office.clock.now().timestamp() + 3600
    real_line.fault("still-processing", times=None, until=until, retry_after=600)
    states = real_line.go_on(digest, "staged", most=30, step=240)
    assert states.count("processing") >= 13
    assert 4 <= real_line.script.faults()[0].used <= 7, "asked no sooner than every ten minutes"
    assert real_line.script.faults()[0].over(real_line.office.clock.now().timestamp())
    real_line.acknowledge(digest)
    real_line.go_on(digest, "acknowledged")
    check(real_line, digest)


def test_503_after_accepting_is_asked_about_and_not_sent_again(real_line: Line) -> None:
    digest = real_line.report()
    real_line.office.send(real_line.office.card(1))
    real_line.fault("unavailable", routes=("put",), after_accepting=True)
    uploads = real_line.fault("late", routes=("put",), times=None, seconds=0)
    real_line.once()
    assert real_line.events(digest) == ["received"]
    real_line.go_on(digest, "staged")
    assert [f.used for f in real_line.script.faults() if f.number == uploads.number] == [0]


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_everything_at_once_by_chance_heals(real_line: Line, seed: int) -> None:
    """Every kind of fault with some probability, for each request."""
    digest = real_line.report()
    real_line.office.send(real_line.office.card(1))
    for number, kind in enumerate(KINDS):
        real_line.fault(kind.value, times=None, probability=0.12, seed=100 * seed + number, seconds=0.01, retry_after=5)
    real_line.go_on(digest, "staged", most=200, step=600)
    real_line.acknowledge(digest)
    real_line.go_on(digest, "acknowledged", most=200, step=600)
    check(real_line, digest)
    assert sum(fault.used for fault in real_line.script.faults()) >= 2


def test_a_fault_is_for_whom_it_was_set(real_line: Line) -> None:
    first, second = real_line.report(0), real_line.report(1)
    real_line.fault("busy", routes=("put",), digest=second[:10], times=None)
    real_line.fault("busy", routes=("put",), taxpayer_id="91110108551385082Q", times=None)
    real_line.once()
    assert (real_line.state(first), real_line.state(second)) == ("accepted", "proven")
    real_line.script.clear()
    real_line.go_on(second, "accepted")


# --- from another process -------------------------------------------------------------------------------------------


def bureau(home: Path, *words: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "tax_bureau", "--home", str(home), "--json", *words],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)["data"]
    return found


@pytest.mark.skipif(os.name == "nt", reason="platform: processes are killed by signal")
def test_a_fault_is_set_from_another_process_and_survives_a_restart(tmp_path: Path) -> None:
    office = Office(tmp_path / "office", real_time=True)
    home = office.root / "home"
    close_offices()
    with serving(home) as process:
        assert status(process) == 200
        bureau(home, "faults", "set", "busy", "--route", "trust", "--times", "2", "--retry-after", "7")
        assert status(process) == 429
        process.end(signal.SIGKILL)
    with serving(home) as process:
        assert status(process) == 429
        assert status(process) == 200
    (item,) = bureau(home, "faults", "list")["items"]  # type: ignore[misc]
    assert (item["used"], item["over"]) == (2, True)
    assert bureau(home, "faults", "clear")["cleared"] == [1]


def status(process: Process) -> int:
    import http.client

    connection = http.client.HTTPConnection(process.url.removeprefix("http://"), timeout=20)
    try:
        connection.request("GET", "/v1/trust")
        return connection.getresponse().status
    finally:
        connection.close()
