"""The page on reliability says what was recorded, and its maker fails when one of our runs ended badly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from docs import reliability
from tests.support.reliability import BAD, GOOD, record

CUT = {"tier": "uml", "medium": "vfat (FAT16)", "fault": "power cut at each write"}


def lines(*rows: tuple[str, dict[str, int]]) -> list[str]:
    return [json.dumps({**CUT, "subject": subject, "outcomes": outcomes}) for subject, outcomes in rows]


def test_the_counts_of_all_runs_are_added_up_and_ours_stands_first() -> None:
    rows = reliability.merge(
        lines(("cp", {"lost": 2}), ("taxferry", {"new": 3}), ("taxferry", {"new": 1, "absent": 4}))
    )
    assert [(row.subject, row.runs, row.bad) for row in rows] == [("taxferry", 8, 0), ("cp", 2, 2)]


@pytest.mark.parametrize(
    ("name", "zh"),
    [
        ("EIO at each operation", "每个文件操作返回 EIO"),
        ("pulled at each operation", "在每个文件操作处拔出"),
        ("pulled in a visit of a station: report out", "两站往返，写上报告的那次被拔出"),
        ("something new", "something new"),
    ],
)
def test_a_fault_has_its_chinese_name_or_stands_as_it_is(name: str, zh: str) -> None:
    row = json.dumps({**CUT, "fault": name, "subject": "taxferry", "outcomes": {"new": 1}})
    assert f"| uml | vfat (FAT16) | {zh} | taxferry | new 1 |" in reliability.page(reliability.merge([row]), [])


def test_the_page_shows_ours_and_others_side_by_side_and_explains_every_word() -> None:
    page = reliability.page(reliability.merge(lines(("taxferry", {"new": 8}), ("cp", {"new": 1, "lost": 2}))), ["here"])
    assert "| 介质 | 故障 | taxferry | cp |" in page
    assert "| 0 / 8 | 2 / 3 |" in page
    assert "8 次故障中，坏结局 0 次" in page
    assert all(word in page for word in (*GOOD, *BAD))
    assert set(reliability.ENDS) == {*GOOD, *BAD}


@pytest.mark.parametrize(("outcomes", "status"), [({"new": 3}, 0), ({"new": 3, "false-safe": 1}, 1), ({}, 1)])
def test_a_bad_end_of_ours_or_none_at_all_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcomes: dict[str, int], status: int
) -> None:
    monkeypatch.setenv("TAXFERRY_RELIABILITY", str(tmp_path))
    monkeypatch.setattr(reliability, "PAGE", tmp_path / "page.md")
    record(**CUT, subject="taxferry" if outcomes else "cp", outcomes=outcomes)
    assert reliability.main(tmp_path) == status
    assert (tmp_path / "page.md").read_text(encoding="utf-8").startswith("<!--")
