"""Operators: one name, one role, a password, and rights."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from offline_station.shell.operators import Operators, Right, Role, require
from shared.clock import FixedClock
from shared.errors import NotAllowed, OperatorInvalid, SignInRefused, StoreDamaged
from tests.support.offline import NOW

GOOD = "correct-horse"


@pytest.fixture
def people(tmp_path: Path) -> Operators:
    found = Operators(tmp_path / "operators.json")
    found.add("李主管", Role.ADMINISTRATOR, GOOD, NOW)
    found.add("王会计", Role.OPERATOR, "battery-staple", NOW)
    return found


def test_nobody_has_to_sign_in_where_there_is_nobody(tmp_path: Path) -> None:
    assert not Operators(tmp_path / "operators.json").any
    require(None, Right.CLEAR)


def test_the_first_one_is_an_administrator(tmp_path: Path) -> None:
    empty = Operators(tmp_path / "operators.json")
    with pytest.raises(OperatorInvalid, match="管理员"):
        empty.add("王会计", Role.OPERATOR, GOOD, NOW)
    assert not empty.any


@pytest.mark.parametrize("name", ["王会计", " 王会计 ", "李主管"])
def test_administrator_and_operator_never_share_a_name(people: Operators, name: str) -> None:
    for role in Role:
        with pytest.raises(OperatorInvalid):
            people.add(name, role, GOOD, NOW)
    assert len(people.all()) == 2


def test_names_differ_in_more_than_case_and_width(people: Operators) -> None:
    people.add("Anna", Role.OPERATOR, GOOD, NOW)
    for same in ("ANNA", "Ａｎｎａ", "anna "):
        with pytest.raises(OperatorInvalid):
            people.add(same, Role.OPERATOR, GOOD, NOW)


@pytest.mark.parametrize("name", ["", "  ", "x" * 31, "a\nb", "a\x00", "\u202eabc"])
def test_unusable_names_are_refused(people: Operators, name: str) -> None:
    with pytest.raises(OperatorInvalid):
        people.add(name, Role.OPERATOR, GOOD, NOW)


@pytest.mark.parametrize("password", ["", "1234567", "aaaaaaaaaa", "abababababab", "x" * 257, "zhangsanfeng"])
def test_weak_passwords_are_refused(people: Operators, password: str) -> None:
    with pytest.raises(OperatorInvalid):
        people.add("ZhangSanFeng", Role.OPERATOR, password, NOW)


def test_the_right_password_lets_in_and_no_other(people: Operators) -> None:
    assert people.prove("李主管", GOOD, NOW).role is Role.ADMINISTRATOR
    for name, password in (("李主管", "battery-staple"), ("王会计", GOOD), ("无此人", GOOD), ("李主管", "")):
        with pytest.raises(SignInRefused, match="姓名或密码不对"):
            people.prove(name, password, NOW)


def test_guessing_has_to_wait(people: Operators) -> None:
    clock = FixedClock(NOW)
    for _ in range(5):
        with pytest.raises(SignInRefused, match="不对"):
            people.prove("王会计", "guess", clock.now())
    with pytest.raises(SignInRefused, match="太多"):
        people.prove("王会计", "battery-staple", clock.now())
    assert people.prove("李主管", GOOD, clock.now()), "others are not kept out"
    clock.moment += timedelta(seconds=31)
    assert people.prove("王会计", "battery-staple", clock.now())


def test_clearing_is_a_right(people: Operators) -> None:
    admin, operator = people.all()
    require(admin, Right.CLEAR)
    require(admin, Right.MANAGE)
    with pytest.raises(NotAllowed):
        require(operator, Right.CLEAR)
    require(people.allow_clearing("王会计", True), Right.CLEAR)
    with pytest.raises(NotAllowed):
        require(people.find("王会计"), Right.MANAGE)
    with pytest.raises(OperatorInvalid):
        people.allow_clearing("李主管", False)


def test_the_last_administrator_stays_while_there_are_others(people: Operators) -> None:
    with pytest.raises(OperatorInvalid):
        people.remove("李主管")
    people.remove("王会计")
    people.remove("李主管")
    assert not people.any


def test_a_new_password_takes_the_place_of_the_old_one(people: Operators) -> None:
    people.set_password("王会计", "another-good-one")
    with pytest.raises(SignInRefused):
        people.prove("王会计", "battery-staple", NOW)
    assert people.prove("王会计", "another-good-one", NOW)
    with pytest.raises(OperatorInvalid):
        people.set_password("王会计", "short")
    with pytest.raises(OperatorInvalid):
        people.set_password("无此人", GOOD)


def test_the_file_holds_no_password_and_is_its_owners(people: Operators, tmp_path: Path) -> None:
    path = tmp_path / "operators.json"
    text = path.read_text(encoding="utf-8")
    assert GOOD not in text
    proofs = {one["proof"] for one in json.loads(text)["operators"]}
    people.set_password("王会计", GOOD)
    again = {one["proof"] for one in json.loads(path.read_text(encoding="utf-8"))["operators"]}
    assert len(again) == 2, "the same password twice looks different"
    assert proofs != again
    if os.name != "nt":
        assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"format": "other", "operators": []}', '{"format": "taxferry-operators/1"}']
)
def test_a_damaged_list_lets_nobody_in(tmp_path: Path, people: Operators, damage: str) -> None:
    (tmp_path / "operators.json").write_text(damage, encoding="utf-8")
    with pytest.raises(StoreDamaged):
        people.prove("李主管", GOOD, NOW)
    with pytest.raises(StoreDamaged):
        _ = people.any
