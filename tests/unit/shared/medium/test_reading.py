"""What the reading process says is believed only as far as an honest one could have said it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared import faults
from shared.errors import MediumDamaged, MediumError, NameContradicts, ReaderFailed, TaxferryError
from shared.medium import Direction
from shared.medium import reading as module
from shared.medium.facts import Facts
from shared.medium.reading import Told, sweep_scratch
from shared.text import Text
from tests.support.online import make_report
from tests.support.pki import TAXPAYER
from tests.support.reading import run_here
from tests.support.sticks import (
    container_of,
    file_of,
    name_of,
    ours,
    prepared,
    reading,
    result_for,
    saying,
    stem,
)

SHA = hashlib.sha256(b"data").hexdigest()
LISTING = {"event": "listing", "identity": "", "foreign": 0, "others": 0, "truncated": False, "total_bytes": 4}
FACTS = {"kind": "report", "stem": stem(), "card_no": "TC1", "number": 1, "digest": "a" * 64, "signed_at": "x"}
FILE = {
    "event": "file",
    "place": "to-online",
    "name": name_of(0, ".dat"),
    "suffix": ".dat",
    "size": 4,
    "sha256": SHA,
    "copied": "0",
    "facts": FACTS,
}


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    return prepared(tmp_path / "U 盘")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder


def write(scratch: Path) -> None:
    (scratch / "0").write_bytes(b"data")


# A process apart


def test_a_process_apart_finds_the_same_as_this_one_would(
    stick: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ours(stick, Direction.TO_ONLINE) / name_of(0, ".dat")).write_bytes(make_report(0)[0])
    (ours(stick, Direction.TO_ONLINE) / f"{stem(1)} (1).DAT").write_bytes(b"rubbish")
    (ours(stick, Direction.TO_OFFLINE) / file_of(result_for())[0]).write_bytes(file_of(result_for())[1])
    name, data = container_of({name_of(2, ".dat"): make_report(2)[0]}, Direction.TO_ONLINE)
    (ours(stick, Direction.TO_ONLINE) / name).write_bytes(data)
    seen: list[tuple[int, int]] = []
    with reading(stick, scratch, advanced=lambda done, total: seen.append((done, total))) as apart:
        copies = [s.copy.read_bytes() for s in apart.files if s.copy]
        assert len(list(scratch.iterdir())) == 1
    assert list(scratch.iterdir()) == []
    assert "process" in apart.protections
    monkeypatch.setattr(module, "run_confined", run_here)
    with reading(stick, scratch) as here:
        assert [s.copy.read_bytes() for s in here.files if s.copy] == copies

    def told(harvest: module.Harvest) -> list[tuple[object, ...]]:
        return [
            (s.place, s.container, s.name, s.sha256, s.facts, s.error and s.error.code)
            for s in [*harvest.files, *harvest.containers]
        ]

    assert told(here) == told(apart)
    assert here.identity == apart.identity
    assert [s.facts.kind for s in here.of("report") if s.facts] == ["report", "report"]


def test_the_scratch_folder_goes_however_the_visit_ends(stick: Path, scratch: Path, tmp_path: Path) -> None:
    (ours(stick, Direction.TO_ONLINE) / name_of(0, ".dat")).write_bytes(make_report(0)[0])
    with pytest.raises(ZeroDivisionError), reading(stick, scratch) as harvest:
        assert harvest.files[0].copy is None or 1 / 0
    assert list(scratch.iterdir()) == []
    with pytest.raises(MediumError), reading(tmp_path / "gone", scratch):
        pass
    assert list(scratch.iterdir()) == []

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with (ours(stick, Direction.TO_ONLINE) / f"{stem()} (1).dat").open("wb") as file:
        file.truncate(8 << 20)
    with pytest.raises(KeyboardInterrupt), reading(stick, scratch, advanced=interrupt):
        pass
    assert list(scratch.iterdir()) == []


def test_what_killed_visits_left_is_swept_and_nothing_else(scratch: Path, tmp_path: Path) -> None:
    left = scratch / ".visit.abc.taxferry-tmp"
    left.mkdir()
    (left / "0").write_bytes(b"x")
    link = scratch / ".visit.link.taxferry-tmp"
    link.symlink_to(tmp_path)
    (scratch / "report").write_bytes(b"kept")
    sweep_scratch(scratch)
    assert sorted(path.name for path in scratch.iterdir()) == [link.name, "report"]


def test_a_stick_exchanged_after_it_was_opened_is_noticed(stick: Path, scratch: Path, tmp_path: Path) -> None:
    other = prepared(tmp_path / "other", "别的")
    with reading(stick, scratch) as harvest:
        first = harvest.identity
    stick.rename(tmp_path / "taken away")
    other.rename(stick)
    with reading(stick, scratch) as harvest:
        assert harvest.identity != first


# Lies


def changed(**changes: Any) -> dict[str, Any]:
    return {**FILE, **changes}


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in FILE.items() if key not in keys}


def link(scratch: Path) -> None:
    (scratch / "0").symlink_to("/etc/passwd")


def folder(scratch: Path) -> None:
    (scratch / "0").mkdir()


def pipe(scratch: Path) -> None:
    os.mkfifo(scratch / "0")


TXT = name_of(0, ".txt")
LIES: dict[str, list[Any]] = {
    "nothing": [],
    "no listing": [write, FILE],
    "two listings": [LISTING, LISTING],
    "an unknown event": [LISTING, {"event": "shell", "command": "rm"}],
    "a number for a list": [LISTING, {"event": "confined", "protections": 7}],
    "more than is asked": [LISTING, {**LISTING, "event": "progress", "done": 1}],
    "a negative count": [{**LISTING, "foreign": -1}],
    "a yes that is a word": [{**LISTING, "truncated": "yes"}],
    "a number in words": [{**LISTING, "total_bytes": "4"}],
    "no copy where it says": [LISTING, FILE],
    "a path for a copy": [LISTING, changed(copied="../../home/card.db")],
    "an absolute path": [LISTING, changed(copied="/etc/passwd")],
    "a link for a copy": [LISTING, link, FILE],
    "a folder for a copy": [LISTING, folder, FILE],
    "a pipe for a copy": [LISTING, pipe, FILE],
    "a copy of another size": [LISTING, write, changed(size=5)],
    "one copy for two": [LISTING, write, FILE, changed(name=f"{stem()} (1).dat")],
    "a copy of what was not asked for": [
        LISTING,
        write,
        changed(name="trust.txt", suffix="trust.txt", facts={"kind": "trust", "number": 1}),
    ],
    "a name that is none of ours": [LISTING, write, changed(name="autorun.inf")],
    "a path for a name": [LISTING, write, changed(name=f"../{name_of(0, '.dat')}")],
    "a name that goes on and on": [LISTING, write, changed(name="9" * 100_000 + ".dat")],
    "a suffix that is not the name's": [LISTING, write, changed(suffix=".txt")],
    "a suffix that there is not": [LISTING, write, changed(suffix=".exe")],
    "a container in a path": [LISTING, write, changed(container="/tmp/x")],
    "a place that there is not": [LISTING, write, changed(place="C:")],
    "somebody else's file": [LISTING, write, changed(name=name_of(3, ".dat"), facts={**FACTS, "stem": stem(3)})],
    "another identity than the name's": [LISTING, write, changed(facts={**FACTS, "stem": stem(3)})],
    "an identity that is none": [LISTING, write, changed(facts={**FACTS, "stem": "x"})],
    "no identity": [LISTING, write, changed(facts={**FACTS, "stem": ""})],
    "no digest": [LISTING, write, changed(facts={**FACTS, "digest": ""})],
    "a digest that is none": [LISTING, write, changed(facts={**FACTS, "digest": "A" * 64})],
    "a result in a report": [LISTING, write, changed(facts={**FACTS, "kind": "result"})],
    "proven and not copied": [LISTING, without("copied")],
    "proven and wrong": [LISTING, write, changed(error={"code": "B1102", "context": {"reason": ["x", "y"]}})],
    "neither proven nor wrong": [LISTING, write, without("facts")],
    "copied without a SHA-256": [LISTING, write, changed(sha256="")],
    "larger than it may be": [LISTING, write, changed(name=TXT, suffix=".txt", size=1 << 20)],
    "an error that there is not": [LISTING, write, {**without("facts"), "error": {"code": "B9999", "context": {}}}],
    "an error without its facts": [LISTING, write, {**without("facts"), "error": {"code": "B3503", "context": {}}}],
    "trouble that is no medium's": [{"event": "trouble", "error": {"code": "B5001", "context": {}}}],
    "trouble that there is not": [{"event": "trouble", "error": {"code": "B0000", "context": {}}}],
    "a container with a signature": [LISTING, changed(name="batch-0123456789abcdef.tar", suffix=".tar", copied="")],
    "others in a single file": [LISTING, write, changed(others=3)],
}


@pytest.mark.parametrize("messages", LIES.values(), ids=LIES)
def test_what_no_honest_reader_says_ends_the_visit_as_a_failed_medium(
    stick: Path, scratch: Path, messages: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "run_confined", saying(messages))
    with pytest.raises(MediumDamaged), reading(stick, scratch, machines=[f"{TAXPAYER}_0"], copy_kinds=(".dat", ".txt")):
        pass
    assert list(scratch.iterdir()) == []


def test_the_truth_said_in_the_same_way_is_believed(
    stick: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protections = {"event": "confined", "protections": ["process", "\x1b[2J"]}
    messages = [protections, LISTING, write, FILE, {"event": "progress", "done": 9}]
    monkeypatch.setattr(module, "run_confined", saying(messages))
    told: list[tuple[int, int]] = []
    with reading(
        stick, scratch, machines=[f"{TAXPAYER}_0"], advanced=lambda done, total: told.append((done, total))
    ) as harvest:
        (seen,) = harvest.files
        assert seen.copy is not None
        assert seen.copy.read_bytes() == b"data"
        assert (seen.direction, harvest.protections) == (Direction.TO_ONLINE, ("process",))
    assert told == [(9, 9)], "no more than all"


def test_a_process_that_ends_early_or_says_no_messages_is_a_failed_reader(
    stick: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READER", "tests.support.no_such_reader")
    with pytest.raises(ReaderFailed), reading(stick, scratch):
        pass
    assert list(scratch.iterdir()) == []


# Errors on their way


def test_every_error_crosses_with_its_code_and_its_words() -> None:
    error = NameContradicts(named=Text("甲", "A"), signed=Text("乙", "B"))
    back = Told.model_validate_json(Told.of(error).model_dump_json()).error()
    assert (type(back), back.text, back.safe, back.advice) == (type(error), error.text, error.safe, error.advice)


@pytest.mark.parametrize("code", sorted(faults.ERRORS))
def test_no_code_with_strange_facts_escapes_as_another_exception(code: str) -> None:
    for context in ({}, {"reason": 7}, {"name": "x", "reason": ["a", "b"]}, {"code": "x", "failure": "y", "text": "z"}):
        told = Told.model_validate_json(
            Told.model_construct(code=code, context=context).model_dump_json(warnings=False)
        )
        try:
            error: TaxferryError | None = told.error()
        except ValueError:
            error = None
        assert error is None or error.code == code
        if error is not None:
            assert str(error) is not None


def test_what_a_terminal_would_obey_does_not_come_through() -> None:
    told = Told(code="B3503", context={"name": "\x1b[2Ja\nb", "reason": ("\x07中", "\u202een")})
    assert told.error().text.zh == "U盘上的“ [2Ja b”不能使用： 中"


# What is newer


def test_only_a_higher_number_of_the_same_card_s_same_report_supersedes() -> None:
    def facts(**changes: Any) -> Facts:
        return Facts(**{**FACTS, "number": 5, "signed_at": "2026-08-05T09:30:00+08:00", **changes})

    new = facts()
    older: Callable[..., bool] = lambda **changes: new.supersedes(facts(**changes))  # noqa: E731
    assert older(number=4)
    assert older(signed_at="2026-08-05T09:29:59+08:00")
    assert not older()
    assert not older(number=6)
    for other in ({"card_no": "TC2"}, {"stem": stem(1)}, {"kind": "ack"}):
        assert not older(number=4, **other)
