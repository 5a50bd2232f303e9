"""The script of faults by itself, and the verbs that write it."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from tax_bureau.cli import program
from tax_bureau.faults import KINDS, ROUTES, Asked, Kind, Rule, Script
from tests.support.bureau import Office

PUT = Asked("put", "ab" * 32, ("310100000000000",))


def drawn(folder: Path, seed: int) -> list[bool]:
    folder.mkdir()
    script = Script(folder)
    script.add(Rule(Kind.BUSY, times=None, probability=0.3, seed=seed))
    return [Script(folder).take(PUT, 0) is not None for _ in range(60)]


def test_the_same_seed_hits_the_same_requests_also_across_restarts(tmp_path: Path) -> None:
    first = drawn(tmp_path / "a", 7)
    assert first == drawn(tmp_path / "b", 7)
    assert first != drawn(tmp_path / "c", 8)
    assert 8 <= sum(first) <= 30


def test_once_is_once_however_many_ask_at_the_same_time(tmp_path: Path) -> None:
    script = Script(tmp_path)
    script.add(Rule(Kind.BUSY, times=3))
    hits = []

    def ask() -> None:
        hits.extend(script.take(PUT, 0) is not None for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hits.count(True) == 3
    assert script.faults()[0].over(0)


def test_a_fault_is_over_when_its_time_has_come(tmp_path: Path) -> None:
    script = Script(tmp_path)
    script.add(Rule(Kind.BUSY, times=None, until=100.0))
    assert script.take(PUT, 100.0) is not None
    assert script.take(PUT, 100.5) is None


def test_the_first_fault_that_fits_is_the_one(tmp_path: Path) -> None:
    script = Script(tmp_path)
    script.add(Rule(Kind.BUSY, routes=("result",)))
    script.add(Rule(Kind.LATE, digest="cd"))
    wanted = script.add(Rule(Kind.CUT_BODY, taxpayer_id="310100000000000"))
    script.add(Rule(Kind.DROP_REPLY))
    found = script.take(PUT, 0)
    assert found is not None
    assert found.number == wanted.number


def test_a_number_is_never_given_again(tmp_path: Path) -> None:
    script = Script(tmp_path)
    assert script.faults() == script.clear() == ()
    assert not script.exists, "looking makes nothing"
    assert script.add(Rule(Kind.BUSY)).number == 1
    assert script.clear([1, 5]) == (1,)
    assert script.add(Rule(Kind.BUSY)).number == 2


@pytest.fixture
def home(office: Office) -> Path:
    return office.root / "home"


def run(home: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        program.main(["--home", str(home), "faults", *words])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_verbs_set_list_and_clear(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(home, capsys, "set", "late", "--route", "put", "--route", "part", "--seconds", "3")
    assert code == 0
    assert "照办，过 --seconds 秒才回答" in out
    assert "faults clear 1" in out
    code, out, _ = run(home, capsys, "set", "busy", "--for", "3600", "--probability", "0.5", "--seed", "4")
    assert "概率 0.5（种子 4）" in out
    code, out, _ = run(home, capsys, "list", "--json")
    items = json.loads(out)["data"]["items"]
    assert [(i["kind"], i["times"], i["routes"]) for i in items] == [
        ("late", 1, ["put", "part"]),
        ("busy", None, sorted(ROUTES)),
    ]
    assert run(home, capsys, "clear", "1")[0] == 0
    code, _, err = run(home, capsys, "clear", "1")
    assert (code, "没有找到" in err) == (50, True)
    run(home, capsys, "clear")
    code, out, _ = run(home, capsys, "list")
    assert "没有故障" in out


@pytest.mark.parametrize(
    "words",
    [
        ("set", "stale-result", "--route", "put"),
        ("set", "busy", "--times", "2", "--until-cleared"),
        ("set", "busy", "--digest", "XYZ"),
        ("set", "busy", "--after-accepting"),
        ("set", "nonsense"),
    ],
)
def test_what_cannot_be_is_refused(home: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    assert run(home, capsys, *words)[0] == 2
    assert Script(home).faults() == ()


def test_every_kind_is_in_the_help(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(home, capsys, "set", "--help")
    for kind in KINDS:
        assert kind.value in out
