"""Cells of an .xlsx as every program writes them."""

from __future__ import annotations

import zipfile
from datetime import date, datetime
from pathlib import Path

import openpyxl
import pytest

from offline_station.ledger.cells import Cell
from offline_station.ledger.xlsx import read_rows, read_workbook
from tests.support import workbooks as lists

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
STRICT = "http://purl.oclc.org/ooxml/spreadsheetml/main"
DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def rows_of(path: Path, at: int = 0) -> dict[int, list[Cell]]:
    book = read_workbook(path)
    return {number: list(cells) for number, cells in read_rows(path, book, book.sheets[at][1])}


def by_hand(
    path: Path, sheet_data: str, *, book: str = "", styles: str = "", strings: str = "", prefix: str = ""
) -> Path:
    """Write a workbook part by part."""
    p = f"{prefix}:" if prefix else ""
    space = f"xmlns{':' + prefix if prefix else ''}='{MAIN}' xmlns:r='{DOCUMENT}'"
    kinds = [("rId1", "worksheet", "worksheets/sheet1.xml")]
    kinds += [("rId2", "styles", "styles.xml")] * bool(styles) + [
        ("rId3", "sharedStrings", "/xl/sharedStrings.xml")
    ] * bool(strings)
    relations = "".join(f"<Relationship Id='{i}' Type='{DOCUMENT}/{k}' Target='{t}'/>" for i, k, t in kinds)
    parts = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": f"<Relationships><Relationship Id='a' Type='{DOCUMENT}/officeDocument' Target='xl/workbook.xml'/></Relationships>",
        "xl/workbook.xml": f"<{p}workbook {space}>{book}<{p}sheets><{p}sheet name='表' sheetId='1' r:id='rId1'/></{p}sheets></{p}workbook>",
        "xl/_rels/workbook.xml.rels": f"<Relationships>{relations}</Relationships>",
        "xl/worksheets/sheet1.xml": f"<{p}worksheet {space}><{p}sheetData>{sheet_data}</{p}sheetData></{p}worksheet>",
    }
    parts |= {"xl/styles.xml": f"<styleSheet {space}>{styles}</styleSheet>"} if styles else {}
    parts |= {"xl/sharedStrings.xml": f"<sst {space}>{strings}</sst>"} if strings else {}
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return path


def test_what_another_program_wrote_is_read_as_it_reads_it_itself(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    values = ["文本", "00123", 1, -2.5, 0.1, True, date(2019, 1, 7), datetime(2019, 1, 7, 12), None, "尾"]  # noqa: DTZ001
    sheet.append(values)
    sheet["C4"] = "远"
    book.create_sheet("二")["A1"] = "x"
    book.save(tmp_path / "a.xlsx")
    found = rows_of(tmp_path / "a.xlsx")
    assert found == {
        1: ["文本", "00123", 1, -2.5, 0.1, True, datetime(2019, 1, 7), datetime(2019, 1, 7, 12), None, "尾"],  # noqa: DTZ001
        4: [None, None, "远"],
    }
    assert rows_of(tmp_path / "a.xlsx", 1) == {1: ["x"]}


def test_rows_with_gaps_keep_their_numbers(tmp_path: Path) -> None:
    path = lists.write_xlsx(tmp_path / "a.xlsx", [("s", [[], [], ["a"], [], [None, "b"]])])
    assert rows_of(path) == {3: ["a"], 5: [None, "b"]}


def test_inline_shared_and_rich_texts(tmp_path: Path) -> None:
    path = by_hand(
        tmp_path / "a.xlsx",
        "<row><c t='inlineStr'><is><t>甲</t></is></c><c t='s'><v>1</v></c><c t='str'><f>1+1</f><v>丙</v></c><c t='e'><v>#REF!</v></c></row>",
        strings="<si><t>零</t></si><si><r><t>乙</t></r><r><t>_x000D_二</t></r><rPh><t>yi</t></rPh></si>",
    )
    assert rows_of(path) == {1: ["甲", "乙\r二", "丙", "#REF!"]}


def test_prefixed_elements_and_missing_references(tmp_path: Path) -> None:
    path = by_hand(
        tmp_path / "a.xlsx",
        "<x:row><x:c><x:v>1</x:v></x:c><x:c r='D1'><x:v>2</x:v></x:c><x:c><x:v>3</x:v></x:c></x:row>",
        prefix="x",
    )
    assert rows_of(path) == {1: [1, None, None, 2, 3]}


@pytest.mark.parametrize(
    ("code", "is_day"),
    [
        ("yyyy-mm-dd", True),
        ("yyyy&quot;年&quot;m&quot;月&quot;d&quot;日&quot;", True),
        ("[$-804]yyyy/m/d;@", True),
        ("0.00", False),
        ("#,##0.00_);[Red](#,##0.00)", False),
        ("0.00&quot;days&quot;", False),
        ("[Red]0", False),
        ("General", False),
        ("@", False),
    ],
)
def test_a_number_is_a_day_if_its_format_shows_one(tmp_path: Path, code: str, is_day: bool) -> None:
    styles = (
        f"<numFmts><numFmt numFmtId='200' formatCode='{code}'/></numFmts><cellStyleXfs><xf numFmtId='14'/></cellStyleXfs>"
        "<cellXfs><xf numFmtId='0'/><xf numFmtId='200'/></cellXfs>"
    )
    path = by_hand(tmp_path / "a.xlsx", "<row><c s='1'><v>43472</v></c><c><v>43472</v></c></row>", styles=styles)
    day = datetime(2019, 1, 7)  # noqa: DTZ001
    assert rows_of(path) == {1: [day if is_day else 43472, 43472]}


def test_workbooks_that_count_from_1904(tmp_path: Path) -> None:
    styles = "<cellXfs><xf numFmtId='14'/></cellXfs>"
    path = by_hand(
        tmp_path / "a.xlsx", "<row><c s='0'><v>42010</v></c></row>", styles=styles, book="<workbookPr date1904='1'/>"
    )
    assert rows_of(path) == {1: [datetime(2019, 1, 7)]}  # noqa: DTZ001
