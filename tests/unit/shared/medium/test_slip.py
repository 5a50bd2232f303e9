"""The transfer slip: everything that was handed over stands on it, and nothing on it can act."""

from __future__ import annotations

import hashlib
import re
import subprocess
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from shared.clock import CHINA
from shared.medium import Direction
from shared.medium.slip import MAX_FILES, ROWS, Slip, SlipFile, render_slip
from tests.support.tools import LONGEST, tool

WIDEST = ("W" * 20 + "_65535_200812301858.dat", "91310000MA1FL0A11X_0_202608010000.ack")


def listed(count: int) -> tuple[SlipFile, ...]:
    """Return files with the widest names and numbers that there are."""
    hashes = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(count)]
    return tuple(SlipFile(WIDEST[n % 2], 1 << 30, sha256, sha256[::-1]) for n, sha256 in enumerate(hashes))


def slip(*files: SlipFile, label: str = "一号U盘", station: str = "offline-4f2a") -> Slip:
    moment = datetime(2026, 8, 1, 9, 30, 5, tzinfo=CHINA)
    return Slip(label, "0123456789abcdef", Direction.TO_ONLINE, station, moment, files)


class Page(HTMLParser):
    """A strict look at a page: every element closed in order, its text kept by cells."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.cells: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")
        if tag == "br":
            self.handle_data("\n")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if "td" in self.open:
            self.cells[-1] += data


REPORT = SlipFile("310100000000000_3_202608010000.dat", 1234567, "ab" * 32, "0123456789abcdef" * 4)
ADHOC = SlipFile("310100000000000_0_200807180808.txt", 812, "cd" * 32, "fedcba9876543210" * 4)
TRUST = SlipFile("trust.txt", 4000, "ef" * 32)
BATCH = SlipFile("batch-0123456789abcdef.tar", 5000, "01" * 32)


def test_everything_that_is_handed_over_stands_on_the_slip() -> None:
    page = Page(render_slip(slip(REPORT, ADHOC, TRUST, BATCH)))
    row = page.cells[:6]
    assert row[0] == "1"
    assert row[1].startswith(REPORT.name)
    assert "报税文件 Report · 2026年7月 2026-07" in row[1]
    assert row[2].split("\n") == ["310100000000000", "3 号分机 sub"]
    assert row[3] == "1,234,567"
    assert row[4].replace(" ", "") == REPORT.digest
    assert re.fullmatch(r"(?:[0-9a-f]{4} ){15}[0-9a-f]{4}", row[4])
    assert row[5] == "abab abab abab abab"
    assert "报税结果 Result · 2008-07-18 08:08 非征期 ad hoc" in page.cells[7]
    assert page.cells[8].split("\n") == ["310100000000000", "主机 main"]
    assert "信任文件 Trust file" in page.cells[13]
    assert "打包文件 Container" in page.cells[19]
    for expected in (
        "税渡 数据交接单 Transfer slip",
        "一号U盘 0123456789abcdef",
        "开票机 → 上网机 invoicing PC to Internet PC",
        "offline-4f2a",
        "2026-08-01 09:30:05",
        "4 个文件 files，1,244,379 字节 bytes",
        "第 1 页，共 1 页",
        "□ 核对无误",
    ):
        assert expected in page.text
    for role in ("交出人 Handed over by", "携带人 Carried by", "接收人 Received by"):
        assert page.text.count(role) == 1
    assert page.text.count("签名 Signature") == 3
    assert page.text.count("日期时间 Date, time") == 3


def test_the_other_direction_is_told_apart() -> None:
    there = slip(ADHOC)
    back = Slip(there.medium_label, there.medium_id, Direction.TO_OFFLINE, there.station, there.made_at, there.files)
    assert "上网机 → 开票机" in Page(render_slip(back)).text
    assert "开票机 → 上网机" not in Page(render_slip(back)).text
    assert back.number != there.number


def test_the_number_is_that_of_this_hand_over() -> None:
    numbers = {slip(*files).number for files in ((), (REPORT,), (REPORT, ADHOC), (ADHOC, REPORT), (TRUST,))}
    assert len(numbers) == 5
    assert slip(REPORT).number == slip(REPORT).number
    assert re.fullmatch(r"20260801-[0-9A-F]{8}", slip(REPORT).number)


HOSTILE = '<script>alert("1")</script>&amp;\'"><img src=x>'


def test_texts_from_outside_are_shown_and_cannot_act() -> None:
    file = SlipFile(HOSTILE, 1, HOSTILE, HOSTILE)
    html = render_slip(slip(file, SlipFile("gnp\u202etxt.\x00\r\nexe", 1, ""), label=HOSTILE, station=HOSTILE))
    page = Page(html)
    assert not {"script", "img", "link", "iframe", "a"} & {tag for tag, _ in page.seen}
    assert not [name for _, attrs in page.seen for name in attrs if name.startswith("on") or name in ("src", "href")]
    assert HOSTILE[:30] in page.text
    assert "\u202e" not in html
    assert "\x00" not in html
    assert "其他文件 Other" in page.text


def test_the_page_needs_nothing_but_itself_and_forbids_the_rest() -> None:
    html = render_slip(slip(*listed(3)))
    assert "default-src 'none'" in html
    assert not re.search(r"https?:|url\(|@import|src=|href=", html)


@pytest.mark.parametrize(("count", "pages"), [(0, 1), (1, 1), (ROWS, 1), (ROWS + 1, 2), (3 * ROWS, 3)])
def test_more_files_go_on_to_further_pages_and_are_signed_for_once(count: int, pages: int) -> None:
    page = Page(render_slip(slip(*listed(count))))
    assert [attrs.get("class") for tag, attrs in page.seen if tag == "section"] == ["page"] * pages
    assert page.text.count("报告摘要Report digest") + page.text.count("报告摘要\nReport digest") == pages
    assert page.text.count(f"共 {pages} 页") == pages
    assert page.text.count("接收人 Received by") == 1
    assert page.cells[: 6 * count : 6] == [str(n) for n in range(1, count + 1)]


def test_more_files_than_a_visit_has_are_no_slip() -> None:
    with pytest.raises(ValueError, match=str(MAX_FILES + 1)):
        render_slip(slip(*[REPORT] * (MAX_FILES + 1)))


def printed_pages(folder: Path, html: str) -> int:
    """Return on how many sheets of paper a browser prints a page."""
    (folder / "slip.html").write_text(html, encoding="utf-8")
    browser = tool("chromium")
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--no-pdf-header-footer",
        f"--user-data-dir={folder / 'profile'}",
        f"--print-to-pdf={folder / 'slip.pdf'}",
        (folder / "slip.html").as_uri(),
    ]
    subprocess.run(command, cwd=folder, capture_output=True, timeout=LONGEST, check=True)
    pdf = (folder / "slip.pdf").read_bytes()
    sizes = re.findall(rb"/MediaBox \[0 0 ([0-9.]+) ([0-9.]+)\]", pdf)
    assert {(round(float(w)), round(float(h))) for w, h in sizes} == {(595, 842)}  # A4 in points
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


@pytest.mark.parametrize(("count", "sheets"), [(20, 1), (ROWS, 1), (2 * ROWS, 2)])
def test_a_full_page_with_its_signatures_fits_one_sheet(tmp_path: Path, count: int, sheets: int) -> None:
    assert printed_pages(tmp_path, render_slip(slip(*listed(count), label="寬" * 60))) == sheets
