"""`show --qr`: proven results only, as codes on a terminal or as one page that needs nothing else (QR-4)."""

from __future__ import annotations

import io
import json
import os
import re

import pytest

from online_station import cli
from online_station.cli import base
from online_station.shell import qr_sheet
from shared.qr import Parts
from shared.text import set_language

NAME = "310100000000000_0_202608010000"


@pytest.fixture
def run(station_desk, capsys, monkeypatch):
    monkeypatch.setattr(base, "CLOCK", station_desk.clock)

    def call(*words, status=0, json_wanted=True):
        line = ["--home", str(station_desk.home.root), *map(str, words), *(["--json"] if json_wanted else [])]
        code = cli.program.run(line)
        said = capsys.readouterr()
        assert code == status, said.out + said.err
        if not json_wanted:
            return said.out
        answer = json.loads(said.out)
        return {**answer["data"], "errors": answer["errors"]}

    return call


@pytest.fixture
def answered(station_desk, run):
    """A report whose success the station keeps; its digest."""
    digest = station_desk.report()
    run("once")
    station_desk.bureau.succeed(digest)
    run("results")
    return digest


def test_a_report_without_a_proven_result_has_no_codes(station_desk, run, tmp_path):
    station_desk.report()
    run("once")
    (error,) = run("show", NAME, "--qr", status=52)["errors"]
    assert error["code"] == "B5201"
    assert "还没有验证过的结果" in error["message"]
    page = tmp_path / "x.html"
    run("show", NAME, "--qr", page, status=52)
    assert not page.exists()
    run("show", "nonesuch", "--qr", status=50)


def test_the_texts_carry_the_very_result_that_is_kept(station_desk, answered, run):
    qr = run("show", answered[:8], "--qr")["qr"]
    parts = Parts()
    for text in qr["parts"]:
        parts.add(text)
    assert parts.complete() == station_desk.bureau.reports[answered].answer
    assert (list(parts.sets), qr["file"]) == ([qr["set"]], None)
    assert run("show", NAME, "--qr")["qr"] == qr, "the same result gives the same codes"


def test_a_kept_result_that_was_altered_is_not_shown(station_desk, answered, run):
    path = station_desk.home.result_file(answered, 1)
    kept = path.read_bytes()
    path.write_bytes(kept.replace(b"2026-09", b"2027-09", 1))
    assert run("show", NAME, "--qr", status=20)["errors"][0]["code"] == "B2001"
    path.unlink()
    assert run("show", NAME, "--qr", status=50)["errors"][0]["code"] == "B5011"


def test_the_page_needs_nothing_from_elsewhere(answered, run, tmp_path):
    page = tmp_path / "二维码.html"
    shown = run("show", NAME, "--qr", page)
    text = page.read_text(encoding="utf-8")
    assert shown["qr"]["file"] == str(page)
    assert text.count("<svg") == len(shown["qr"]["parts"])
    assert not re.search(r"(?:src|href)=|url\(|@import|https?:|<script|<link", text)
    for needle in ("310100000000000", "主机", "2026-07", answered, shown["qr"]["set"], "第 1/", "result --scan"):
        assert needle in text
    first = page.read_bytes()
    run("show", NAME, "--qr", page)
    assert page.read_bytes() == first, "it can be run again"
    run("show", NAME, "--qr", page, "--lang", "en")
    english = page.read_text(encoding="utf-8")
    assert "main machine" in english
    assert not re.search("[\u4e00-\u9fff]", english)


def test_another_file_is_not_overwritten(answered, run, tmp_path):
    other = tmp_path / "报表.html"
    other.write_text("<p>mine</p>")
    assert run("show", NAME, "--qr", other, status=50)["errors"][0]["code"] == "B5014"
    assert other.read_text() == "<p>mine</p>"
    run("show", NAME, "--qr", tmp_path / "x.txt", status=2)
    assert "编号写在 --qr 前面" in run("show", "--qr", NAME, status=2)["errors"][0]["message"]


def test_the_codes_are_drawn_with_captions_where_they_can_be(answered, run):
    out = run("show", NAME, "--qr", json_wanted=False)
    total = len(run("show", NAME, "--qr")["qr"]["parts"])
    assert [line for line in out.splitlines() if line.startswith("第 ")] == [
        f"第 {n}/{total} 张" for n in range(1, total + 1)
    ]
    assert "\x1b" not in out, "colours are for terminals"
    assert max(map(len, re.findall("^[█▀▄ ]+$", out, re.MULTILINE))) == qr_sheet.SIDE <= 80


class Screen(io.StringIO):
    def __init__(self, encoding: str, terminal: bool) -> None:
        super().__init__()
        self._encoding, self._terminal = encoding, terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.skipif(os.name == "nt", reason="platform: other consoles")
def test_a_terminal_is_told_its_colours_and_its_size(monkeypatch):
    parts = Parts()
    parts.add("")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    texts = ["TF1-XP4NHB7WYYA6-01-01-AAAA"]
    lines = [line.zh for line in qr_sheet.shown(texts, Screen("utf-8", terminal=True))]
    assert lines[2].startswith("\x1b[97;40m")
    assert "窗口太小" in lines[-1]
    monkeypatch.setenv("LINES", "50")
    assert "窗口太小" not in qr_sheet.shown(texts, Screen("utf-8", terminal=True))[-1].zh
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in qr_sheet.shown(texts, Screen("utf-8", terminal=True))[2].zh


@pytest.mark.parametrize("encoding", ["gbk", "cp936", "ascii"])
def test_a_window_that_cannot_draw_is_pointed_to_the_page(encoding):
    (line,) = qr_sheet.shown(["TF1-"], Screen(encoding, terminal=True))
    assert ".html" in line.zh
    set_language("en")
    assert ".html" in str(line)
