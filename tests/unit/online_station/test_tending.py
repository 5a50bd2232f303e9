"""An operator decides about one report or many: who and why is kept, and each has an outcome of its own."""

from __future__ import annotations

import json

import pytest

from online_station import cli
from online_station.cli import base
from online_station.shell import tending
from online_station.shell.setup import opened


@pytest.fixture
def run(station_desk, capsys, monkeypatch):
    monkeypatch.setattr(base, "CLOCK", station_desk.clock)

    def call(*words):
        status = cli.program.run(["--home", str(station_desk.home.root), *map(str, words), "--json"])
        answer = json.loads(capsys.readouterr().out)
        return status, {**answer["data"], "errors": answer["errors"]}

    return call


@pytest.fixture
def held(station_desk):
    """Three reports that wait for the declaration."""
    station_desk.bureau.declared.clear()
    digests = [station_desk.report(machine) for machine in (0, 1, 2)]
    station_desk.once()
    assert {station_desk.state(digest) for digest in digests} == {"held"}
    return digests


def events(desk, digest):
    with opened(desk.home) as store:
        return [(e.event, e.note) for e in store.events(digest)]


def test_who_and_why_stand_in_the_life_line(station_desk, run, held, monkeypatch):
    assert run("hold", held[0], "--reason", "等 财务\n确认\x00", "--operator", " 王会计 ")[0] == 0
    assert events(station_desk, held[0])[-1] == ("operator-hold", "王会计: 等 财务 确认")
    monkeypatch.setattr(tending.getpass, "getuser", lambda: "li")
    run("release", held[0])
    assert events(station_desk, held[0])[-1] == ("operator-release", "li")

    def nobody():
        raise OSError("no such user")

    monkeypatch.setattr(tending.getpass, "getuser", nobody)
    run("cancel", held[1], "--reason", "x" * 1000)
    assert events(station_desk, held[1])[-1] == ("operator-cancel", "x" * 300)


def test_giving_up_takes_a_reason(station_desk, run, held):
    for reason in ([], ["--reason", "  "]):
        status, refused = run("cancel", held[0], *reason)
        assert (status, "--reason" in refused["errors"][0]["message"]) == (2, True)
    assert station_desk.state(held[0]) == "held"


def test_several_at_once_have_an_outcome_each(station_desk, run, held):
    run("cancel", held[2], "--reason", "错")
    status, done = run("release", *held, "没有这个", held[0])
    assert status == 50
    assert (done["changed"], done["same"], done["refused"]) == (2, 0, 2)
    assert [(i["state"], i["changed"], i["error"] and i["error"]["code"]) for i in done["items"]] == [
        ("proven", True, None),
        ("proven", True, None),
        ("cancelled", False, "B5201"),
    ]
    before = events(station_desk, held[0])
    status, again = run("release", held[0], held[1])
    assert (status, again["changed"], again["same"]) == (0, 0, 2)
    assert events(station_desk, held[0]) == before, "run again, it changes nothing"


def test_all_or_none_touches_none_if_one_cannot(station_desk, run, held):
    run("cancel", held[2], "--reason", "错")
    status, done = run("release", *held, "--all-or-none")
    assert (status, done["changed"], done["refused"]) == (52, 0, 1)
    assert station_desk.state(held[0]) == "held"
    assert run("release", held[0], "没有这个", "--all-or-none")[0] == 50
    assert station_desk.state(held[0]) == "held"
    assert run("release", held[0], held[1], "--all-or-none")[1]["changed"] == 2


def test_a_filter_says_how_many_and_waits_for_a_yes(station_desk, run, held):
    status, refused = run("hold", "--period", "2026-07")
    assert (status, refused["errors"][0]["code"]) == (50, "B5030")
    assert "3" in refused["errors"][0]["message"]
    assert run("list")[1]["items"][0]["hold"] == "not-declared"
    status, done = run("hold", "--period", "2026-07", "--taxpayer", "310100000000000", "--yes")
    assert (status, done["changed"]) == (0, 3)
    assert run("hold", "--period", "2026-07")[1]["items"] == [], "there is nothing left to ask about"
    assert run("release", "--taxpayer", "999999999999999", "--yes")[1]["changed"] == 0
    assert run("release", "--period", "2026-07", held[0])[0] == 2, "one of the two"
    assert run("release")[0] == 2


def test_the_question_is_asked_at_a_terminal(station_desk, held, monkeypatch, capsys):
    import sys

    from online_station.cli import deciding

    monkeypatch.setattr(base, "CLOCK", station_desk.clock)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    asked = []
    answers = iter([False, True])
    monkeypatch.setattr(deciding.click, "confirm", lambda words, err: asked.append(words) or next(answers))
    words = ["--home", str(station_desk.home.root), "--lang", "zh", "hold", "--period", "2026-07"]
    assert cli.program.run(words) == 50
    assert station_desk.row(held[0]).snapshot.hold.value == "not-declared"
    assert cli.program.run(words) == 0
    assert asked == ["暂不上传：涉及 3 个报告。执行吗？"] * 2
    assert station_desk.row(held[0]).snapshot.hold.value == "operator"
    assert "执行 3 个" in capsys.readouterr().out


def test_the_service_may_be_faster(station_desk, held):
    with opened(station_desk.home) as store:
        rows = [store.find(digest) for digest in held]
        for row in rows[:1]:
            tending.tend(store, [row], "release", note="", now=station_desk.clock.now())
        station_desk.once()
        assert station_desk.state(held[0]) == "accepted"
        done = tending.tend(store, rows, "hold", note="li", now=station_desk.clock.now())
    assert [(each.changed, each.error is None) for each in done] == [(False, False), (True, True), (True, True)]
