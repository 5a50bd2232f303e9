"""Files that are no invoice list are named for what they are; hostile ones are bounded."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from offline_station.ledger import sheets
from shared.text import set_language
from tests.support import workbooks as lists
from tests.support.ledger import JANUARY, ORDINARY, ROW, Desk, csv_rows, read

ROWS: list[list[object]] = [list(ROW), list(ROW.values())]


def zipped(**parts: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return out.getvalue()


def said(path: Path) -> str:
    entries, findings = read(path)
    assert entries == []
    assert findings.problem_count >= 1
    return findings.problems[0].message.zh


@pytest.mark.parametrize(
    ("name", "data", "word"),
    [
        ("a.xls", b"", "0 字节"),
        ("a.xls", b"<html><body><table><tr><td>x</td></tr></table>", "网页"),
        ("a.xls", b"\xef\xbb\xbf<!DOCTYPE html><html>", "网页"),
        ("a.xls", "<table><tr><td>发票代码</td></tr></table>".encode("gbk"), "网页"),
        ("a.xls", b"<?xml version='1.0'?><Workbook xmlns='urn:schemas-microsoft-com:office:spreadsheet'>", "2003"),
        ("a.pdf", b"%PDF-1.7 ...", "PDF"),
        ("a.zip", zipped(list=b"x"), "压缩包"),
        ("a.ofd", zipped(OFD_dot_xml=b"<x/>"), "OFD"),
        ("a.rar", b"Rar!\x1a\x07\x00", "压缩包"),
        ("a.png", b"\x89PNG\r\n", "图片"),
        ("a.db", b"SQLite format 3\0", "数据库"),
        ("a.txt", "SJJK0101~~销售单据传入".encode("gbk"), "待开发票"),
        ("a.bin", bytes(range(256)) * 4, "不认识"),
        ("a.csv", b"a,b,c\n1,2,3\n", "表头"),
        ("a.csv", b"\x81\x30 \xff\xff\xff", "编码"),
        ("a.xlsx", b"PK\x03\x04 and no more", "已损坏"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "已损坏"),
        ("a.xml", b"<Kp><Fpxx>", "XML"),
        ("a.xml", b"<other/>", "不认识的 XML"),
        ("a.xml", b"<Kp></Kp>", "没有发票"),
        ("a.xml", "<Kp/>".encode("utf-16"), "没有发票"),
    ],
)
def test_a_foreign_file_is_named_for_what_it_is(tmp_path: Path, name: str, data: bytes, word: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert word in said(path)


def test_a_missing_file_and_a_folder_are_problems_and_no_crash(tmp_path: Path) -> None:
    assert "打不开" in said(tmp_path / "nowhere.xls")
    assert "文件" in said(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="platform: no pipes in folders")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    assert "普通文件" in said(tmp_path / "a.csv")


def test_the_suffix_proves_nothing(tmp_path: Path) -> None:
    path = lists.write_xlsx(tmp_path / "a.xls", [("s", ROWS)])
    assert len(read(path)[0]) == 1
    path = csv_rows(tmp_path / "b.xls", [ROW], encoding="gbk")
    assert len(read(path)[0]) == 1


def test_a_file_beyond_the_limit_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("wb") as file:
        file.truncate(sheets.MAX_FILE_BYTES + 1)
    assert "MiB" in said(tmp_path / "a.csv")


def with_sheet(tmp_path: Path, change: Callable[[bytes], bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """Return a good workbook whose sheet was changed."""
    lists.write_xlsx(tmp_path / "good.xlsx", [("s", ROWS)])
    with (
        zipfile.ZipFile(tmp_path / "good.xlsx") as source,
        zipfile.ZipFile(tmp_path / "bad.xlsx", "w", compression) as out,
    ):
        for part in source.infolist():
            data = source.read(part)
            out.writestr(part.filename, change(data) if part.filename.endswith("sheet1.xml") else data)
    return tmp_path / "bad.xlsx"


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = with_sheet(tmp_path, lambda data: data.replace(b"<sheetData>", b"<sheetData>" + b" " * (8 << 20)))
    assert "解压后过大" in said(path)


@pytest.mark.parametrize(
    "junk",
    [
        b" " * (1 << 17),
        b"<c " + b"x" * (3 << 20) + b"='1'/>",
        b"<!-- " + b"x" * (3 << 20) + b" -->",
        b"<x>" * 70,
        b"<row r='1'><c><v>" + b"1" * (1 << 17) + b"</v></c></row>",
    ],
    ids=["blanks", "tag", "comment", "depth", "value"],
)
def test_an_endless_text_or_tag_is_refused(tmp_path: Path, junk: bytes) -> None:
    path = with_sheet(tmp_path, lambda data: data.replace(b"<sheetData>", b"<sheetData>" + junk), zipfile.ZIP_STORED)
    assert "不正常" in said(path)


@pytest.mark.parametrize(
    "junk",
    [
        b"<!-- made by a program -->",
        b"<row r='1'>" + b"<c><v>1</v></c>" * 50_000 + b"</row>",
        b"<c r='A1'/>",
        b"<row/>" * 9,
    ],
    ids=["comment", "cells", "stray", "empty rows"],
)
def test_what_is_odd_and_bounded_does_no_harm(tmp_path: Path, junk: bytes) -> None:
    path = with_sheet(tmp_path, lambda data: data.replace(b"<sheetData>", b"<sheetData>" + junk), zipfile.ZIP_STORED)
    entries, findings = read(path)
    assert (len(entries), findings.problem_count) == (1, 0)


def test_a_part_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    lists.write_xlsx(tmp_path / "a.xlsx", [("s", ROWS)])
    data = (tmp_path / "a.xlsx").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.xlsx") as archive:
        size = archive.getinfo("xl/worksheets/sheet1.xml").file_size
    (tmp_path / "b.xlsx").write_bytes(data.replace(size.to_bytes(4, "little"), (7).to_bytes(4, "little")))
    assert said(tmp_path / "b.xlsx")


@pytest.mark.parametrize("where", ["xl/workbook.xml", "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"])
def test_entities_in_a_workbook_are_refused(tmp_path: Path, where: str) -> None:
    lists.write_xlsx(tmp_path / "a.xlsx", [("s", ROWS)])
    bomb = (
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
        b"<x>&b;&b;&b;</x>"
    )
    with zipfile.ZipFile(tmp_path / "a.xlsx") as source, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as out:
        for part in source.infolist():
            out.writestr(part.filename, bomb if part.filename == where else source.read(part))
    message = said(tmp_path / "b.xlsx")
    assert "已损坏" in message or "不是正常的工作表" in message


@pytest.mark.parametrize(
    "xml",
    [
        '<!DOCTYPE Kp [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><Kp>&b;</Kp>',
        '<!DOCTYPE Kp SYSTEM "file:///etc/passwd"><Kp/>',
        '<!DOCTYPE Kp [<!ENTITY x SYSTEM "file:///etc/passwd">]><Kp>&x;</Kp>',
        "<Kp>" * 60 + "</Kp>" * 60,
        "<Kp><Fpsj><Fp><Bz>" + "字" * 80_000 + "</Bz></Fp></Fpsj></Kp>",
        "<Kp><Fpsj><Fp>" + "<x/>" * 250_000 + "</Fp></Fpsj></Kp>",
    ],
    ids=["bomb", "external type", "external entity", "deep", "long", "wide"],
)
def test_hostile_xml_is_refused(tmp_path: Path, xml: str) -> None:
    (tmp_path / "a.xml").write_text(xml, encoding="utf-8")
    assert said(tmp_path / "a.xml")


def test_a_declared_encoding_that_is_a_lie_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(
        b'<?xml version="1.0" encoding="gbk"?><Kp><Fpsj><Fp><Gfmc>' + b"\x81\x00\xff</Gfmc></Fp></Fpsj></Kp>"
    )
    assert said(path)


def test_one_endless_line_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"x" * (3 << 20))
    assert said(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text(",".join(ROW) + "\n" + '"' + "x" * 300_000 + '"\n', encoding="utf-8")
    assert said(tmp_path / "b.csv")


def test_a_sheet_dimension_that_lies_is_not_believed(tmp_path: Path) -> None:
    lists.write_xlsx(tmp_path / "a.xlsx", [("s", ROWS)])
    with zipfile.ZipFile(tmp_path / "a.xlsx") as source:
        parts = {part.filename: source.read(part) for part in source.infolist()}
    for at, dimension in enumerate((b'ref="A1"', b'ref="A1:XFD1048576"')):
        path = tmp_path / f"{at}.xlsx"
        with zipfile.ZipFile(path, "w") as out:
            for name, data in parts.items():
                out.writestr(name, data.replace(b'ref="A1:K2"', dimension))
        assert len(read(path)[0]) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda path: lists.official_xls(path, "普通发票", SALES, JANUARY),
        lambda path: lists.golden_tax_xlsx(path, [("普通发票", SALES)], JANUARY),
        lambda path: lists.kp_xml(path, SALES, "普通发票"),
        lambda path: lists.sjjk0201(path, SALES),
        lambda path: lists.csv_list(path, SALES),
    ],
    ids=["xls", "xlsx", "xml", "sjjk", "csv"],
)
def test_a_list_cut_short_anywhere_raises_nothing_foreign(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    data = make(tmp_path / "whole").read_bytes()
    for step in range(1, 40):
        path = tmp_path / f"cut{step}"
        path.write_bytes(data[: len(data) * step // 40])
        entries, findings = read(path)
        assert findings.problem_count or len(entries) <= len(SALES)


SALES = [
    lists.Sale(f"{n:08d}", JANUARY[0], (lists.Line("*纸制品*打印纸", 10000, 1300),), code=ORDINARY)
    for n in range(1, 30)
]


def test_problems_speak_the_language_of_the_reader(tmp_path: Path) -> None:
    (tmp_path / "a.xls").write_bytes(b"")
    report = Desk(tmp_path).take(tmp_path / "a.xls")
    assert "0 字节" in str(report.as_json()["problems"])
    set_language("en")
    assert "0 bytes" in str(report.as_json()["problems"])
    assert report.error is not None
    assert "0 bytes" in str(report.error)


def test_names_with_blanks_and_chinese_are_fine(tmp_path: Path) -> None:
    folder = tmp_path / "发票 导出"
    folder.mkdir()
    assert Desk(folder).take(csv_rows(folder / "一月 （最终）.csv", [ROW])).invoices == 1
