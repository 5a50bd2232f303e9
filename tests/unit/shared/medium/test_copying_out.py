"""Copying out of a stick and proving the copies: what the station is handed, and what is left of it afterwards."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest

from shared.clock import CHINA
from shared.errors import ForeignObject, NameContradicts, ReportInvalid, ResultInvalid, TaxferryError
from shared.medium import Stick
from shared.medium.reading import Harvest, Seen, read_stick, sweep_scratch
from tests.support.online import make_report
from tests.support.pki import NOW, pki
from tests.support.reading import read_apart, read_in_process

__all__ = ["read_apart", "read_in_process"]

NAME = "310100000000000_0_202608010000.dat"
RESULT = "310100000000000_0_202608010000.txt"
MADE = datetime(2026, 8, 3, 9, 30, tzinfo=CHINA)


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    folder = tmp_path / "U 盘"
    folder.mkdir()
    Stick.prepare(folder, "财务部", station="a", now=MADE).close()
    return folder


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    made = tmp_path / "spool"
    made.mkdir()
    return made


def harvest(
    stick: Path,
    spool: Path,
    *,
    machines: Sequence[str] | None = None,
    kinds: Sequence[str] = (".dat", ".txt", ".ack"),
    known: dict[str, int] | None = None,
) -> tuple[Harvest, dict[str, bytes]]:
    """Read a stick; return what was found, and the copies as they were while the block ran."""
    with read_stick(
        stick,
        station="a",
        scratch=spool,
        trust=pki().trust,
        at=NOW,
        machines=machines,
        copy_kinds=kinds,
        known=known or {},
        advanced=lambda _done, _total: None,
    ) as found:
        copies = {seen.name: seen.copy.read_bytes() for seen in found.files if seen.copy is not None}
        for seen in found.files:
            if seen.copy is not None:
                assert not set(seen.copy.name) - set("0123456789abcdef"), "named by our counting, never by the stick"
                assert spool in seen.copy.parents
    assert os.listdir(spool) == [], "the copies are gone with the block"
    return found, copies


def only(found: Harvest) -> Seen:
    (seen,) = found.files
    return seen


@pytest.mark.parametrize("process", ["here", "apart"])
def test_a_file_is_copied_and_its_copy_proven_before_it_is_told(
    stick: Path, spool: Path, process: str, request: pytest.FixtureRequest
) -> None:
    """STICK-8."""
    if process == "apart":
        request.getfixturevalue("read_apart")
    data, made = make_report()
    where = stick / "TAXFERRY" / "to-online" / "310100000000000_0_202608010000 (1).DAT"
    where.write_bytes(data)
    found, copies = harvest(stick, spool)
    seen = only(found)
    assert copies == {where.name: data}
    assert (seen.sha256, seen.size, seen.error) == (hashlib.sha256(data).hexdigest(), len(data), None)
    assert seen.facts is not None
    assert (seen.facts.kind, seen.facts.digest, seen.facts.name) == ("report", made.digest, made.header.name)
    assert where.read_bytes() == data
    assert bool(found.protections) == (process == "apart")


def test_a_file_that_fails_its_proof_is_nothing_but_a_copy_with_an_error(stick: Path, spool: Path) -> None:
    """STICK-8."""
    data, _ = make_report()
    spoilt = data[:-40] + bytes(40)
    (stick / NAME).write_bytes(spoilt)
    found, copies = harvest(stick, spool)
    seen = only(found)
    assert seen.facts is None
    assert isinstance(seen.error, TaxferryError)
    assert copies == {NAME: spoilt}, "for the quarantine"
    assert (stick / NAME).read_bytes() == spoilt


def test_a_proven_file_under_another_ones_name_proves_nothing(stick: Path, spool: Path) -> None:
    data, _ = make_report(1)
    (stick / NAME).write_bytes(data)
    seen = only(harvest(stick, spool)[0])
    assert seen.facts is None
    assert isinstance(seen.error, NameContradicts)


def test_one_bad_file_does_not_hide_the_others(stick: Path, spool: Path) -> None:
    data, _ = make_report(1)
    (stick / NAME).write_bytes(b"rubbish")
    (stick / RESULT).write_bytes(b"rubbish")
    (stick / "310100000000000_2_202608010000.dat").write_bytes(b"")
    (stick / "310100000000000_1_202608010000.dat").write_bytes(data)
    found, _ = harvest(stick, spool)
    errors = {seen.name: type(seen.error) for seen in found.files}
    assert errors == {
        NAME: ReportInvalid,
        RESULT: ResultInvalid,
        "310100000000000_2_202608010000.dat": ForeignObject,
        "310100000000000_1_202608010000.dat": type(None),
    }
    assert [seen.name for seen in found.of("report")] == ["310100000000000_1_202608010000.dat"]


def test_what_is_known_or_not_wanted_is_proven_and_not_copied(stick: Path, spool: Path) -> None:
    data, made = make_report()
    (stick / NAME).write_bytes(data)
    for found, copies in (
        harvest(stick, spool, known={hashlib.sha256(data).hexdigest(): len(data)}),
        harvest(stick, spool, kinds=(".txt",)),
    ):
        seen = only(found)
        assert copies == {}
        assert seen.facts is not None
        assert seen.facts.digest == made.digest


def test_files_of_other_machines_are_counted_and_not_opened(stick: Path, spool: Path) -> None:
    data, _ = make_report()
    (stick / NAME).write_bytes(data)
    (stick / "310100000000000_1_202608010000.dat").write_bytes(b"rubbish")
    found, _ = harvest(stick, spool, machines=["310100000000000_0"])
    assert only(found).name == NAME
    assert found.others == 1


def test_folders_that_killed_visits_left_are_swept_and_nothing_else(spool: Path) -> None:
    left = spool / ".visit.abc.taxferry-tmp"
    (left / "deep").mkdir(parents=True)
    (left / "0").write_bytes(b"copy")
    (spool / "kept.dat").write_bytes(b"report")
    sweep_scratch(spool)
    assert os.listdir(spool) == ["kept.dat"]
