"""The transfer slip: one page for the paper ledger of sites where a medium changes hands against signatures.

HTML that needs nothing but itself: no script, no picture, no font of its own, nothing fetched. Both languages are
printed, Chinese first. It goes onto A4 with up to `ROWS` files a page; whatever a page can hold is measured for the
worst names, so that the last page always has its signatures.

A slip proves nothing by itself: it says what was handed over, and the receiver compares the digests with what
`verify` shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Final

from shared.canonical import clean_value, render_json
from shared.clock import format_time, readable_time
from shared.errors import NameInvalid
from shared.ids import ReportName, parse_report_name, period_covered
from shared.medium.names import TRUST, Direction, recognise_container
from shared.medium.reading import Harvest
from shared.medium.stick import StickIdentity
from shared.text import Text

ROWS: Final = 24
"""Files on one page."""
MAX_FILES: Final = 2_000


@dataclass(frozen=True)
class SlipFile:
    """A line of a slip.

    Attributes:
        name: The file's name on the medium; whose it is and of which period is read from it.
        size: Its length.
        sha256: Its SHA-256, in hex.
        digest: The report digest, in hex; empty for what belongs to no report.
    """

    name: str
    size: int
    sha256: str
    digest: str = ""


@dataclass(frozen=True)
class Slip:
    """What is handed over.

    Attributes:
        medium_label: The medium's name for people.
        medium_id: Its sixteen hex digits.
        direction: Who is to read it.
        station: Which station filled it.
        made_at: When.
        files: In the order of printing.
    """

    medium_label: str
    medium_id: str
    direction: Direction
    station: str
    made_at: datetime
    files: tuple[SlipFile, ...]

    @property
    def number(self) -> str:
        """The slip's number for the ledger: the day, and eight hex digits that depend on all that it lists."""
        content = render_json(
            {
                "medium": self.medium_id,
                "direction": self.direction.value,
                "station": clean_value(self.station),
                "made_at": format_time(self.made_at),
                "files": [[clean_value(f.name), f.size, f.sha256, f.digest] for f in self.files],
            }
        )
        day = format_time(self.made_at)[:10].replace("-", "")
        return f"{day}-{hashlib.sha256(content).hexdigest()[:8].upper()}"


def slip_of(
    harvest: Harvest, identity: StickIdentity | None, path: Path, direction: Direction, station: str, now: datetime
) -> Slip:
    """Return the slip of everything on a medium that goes in one direction and is proven."""
    files = [
        SlipFile(seen.name, seen.size, seen.sha256, seen.facts.digest)
        for seen in harvest.files
        if seen.direction is direction and seen.facts is not None
    ]
    return Slip(
        identity.label if identity else path.name,
        identity.id if identity else "",
        direction,
        station,
        now,
        tuple(sorted(files, key=lambda file: file.name)),
    )


_KINDS: Final = {
    ".dat": Text("报税文件", "Report"),
    ".txt": Text("报税结果", "Result"),
    ".ack": Text("清卡回执", "Clear receipt"),
    TRUST: Text("信任文件", "Trust file"),
    ".tar": Text("打包文件", "Container"),
    "": Text("其他文件", "Other"),
}
_DIRECTIONS: Final = {
    Direction.TO_ONLINE: Text("开票机 → 上网机", "invoicing PC to Internet PC"),
    Direction.TO_OFFLINE: Text("上网机 → 开票机", "Internet PC to invoicing PC"),
}


def render_slip(slip: Slip) -> str:
    """Return the slip as an HTML page of A4 sheets.

    Args:
        slip: What is handed over. Texts from outside are made harmless here.

    Raises:
        ValueError: More files than a visit has.
    """
    if len(slip.files) > MAX_FILES:
        raise ValueError(f"{len(slip.files)} files")
    sheets = [slip.files[i : i + ROWS] for i in range(0, len(slip.files), ROWS)] or [()]
    pages = "".join(_page(slip, files, number, len(sheets)) for number, files in enumerate(sheets, start=1))
    return (
        '<!DOCTYPE html>\n<html lang="zh-CN">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>税渡 数据交接单 {slip.number}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n{pages}</body>\n</html>\n"
    )


def _page(slip: Slip, files: Sequence[SlipFile], number: int, pages: int) -> str:
    rows = "".join(_row(file, (number - 1) * ROWS + i) for i, file in enumerate(files, start=1))
    closing = _totals(slip) + _SIGNATURES if number == pages else _CONTINUED
    return (
        f'<section class="page">\n{_head(slip, number, pages)}'
        f'<table class="files">\n<thead><tr>{_COLUMNS}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n'
        f"{closing}</section>\n"
    )


def _head(slip: Slip, number: int, pages: int) -> str:
    way = _DIRECTIONS[slip.direction]
    facts = (
        (Text("介质", "Medium"), f"{_safe(slip.medium_label, 40)} <code>{_safe(slip.medium_id, 16)}</code>"),
        (Text("方向", "Direction"), f"<b>{way.zh}</b> {_small(way.en)}"),
        (Text("站点", "Station"), f"<code>{_safe(slip.station, 32)}</code>"),
        (Text("时间", "Time"), f"{readable_time(slip.made_at)} {_small('北京时间 UTC+8')}"),
    )
    cells = "".join(f"<div>{_label(label)} {value}</div>" for label, value in facts)
    return (
        f"<header><h1>税渡 数据交接单 {_small('Transfer slip')}</h1>"
        f"<p>{_label(Text('单号', 'No.'))} <code>{slip.number}</code>　"
        f"第 {number} 页，共 {pages} 页 {_small(f'page {number} of {pages}')}</p></header>\n"
        f'<div class="facts">{cells}</div>\n'
    )


def _row(file: SlipFile, number: int) -> str:
    suffix, report = _meaning(file.name)
    kind = _KINDS[suffix]
    about = f"{kind.zh} {_small(kind.en)}"
    who = "—"
    if report is not None:
        about += f" · {_period(report)}"
        who = f"<code>{report.taxpayer_id}</code><br>{_machine(report)}"
    return (
        f"<tr><td>{number}</td>"
        f'<td><div class="name"><code>{_safe(file.name, 44)}</code></div>{about}</td>'
        f"<td>{who}</td>"
        f'<td class="number">{file.size:,}</td>'
        f"<td><code>{_fours(file.digest, 64) or '—'}</code></td>"
        f"<td><code>{_fours(file.sha256[:16], 16)}</code></td></tr>\n"
    )


def _meaning(name: str) -> tuple[str, ReportName | None]:
    if name == TRUST:
        return TRUST, None
    if recognise_container(name) == name:
        return ".tar", None
    try:
        report, suffix = parse_report_name(name)
    except NameInvalid:
        return "", None
    return suffix, report


def _period(report: ReportName) -> str:
    if report.stamp.kind == "period":
        try:
            first, _ = period_covered(report.stamp)
        except ValueError:  # the month before the first one
            return str(report.stamp)
        return f"{first.year}年{first.month}月 {_small(f'{first:%Y-%m}')}"
    return f"{report.stamp.moment:%Y-%m-%d %H:%M} 非征期 {_small('ad hoc')}"


def _machine(report: ReportName) -> str:
    if report.machine_no == 0:
        return f"主机 {_small('main')}"
    return f"{report.machine_no} 号分机 {_small('sub')}"


def _totals(slip: Slip) -> str:
    counts: dict[str, int] = {}
    for file in slip.files:
        suffix, _ = _meaning(file.name)
        counts[suffix] = counts.get(suffix, 0) + 1
    kinds = "，".join(
        f"{kind.zh} {_small(kind.en)} {counts[suffix]}" for suffix, kind in _KINDS.items() if suffix in counts
    )
    total = sum(file.size for file in slip.files)
    return (
        f'<p class="totals">{_label(Text("合计", "Total"))} <b>{len(slip.files)}</b> 个文件 {_small("files")}，'
        f"<b>{total:,}</b> 字节 {_small('bytes')}{f'（{kinds}）' if kinds else ''}</p>\n"
    )


def _fours(digits: str, limit: int) -> str:
    """Return hex digits in groups of four, as they are read aloud."""
    clean = _safe(digits, limit)
    if not clean.isascii() or not clean.isalnum():
        return clean
    return " ".join(_groups(clean))


def _groups(digits: str) -> Iterator[str]:
    for start in range(0, len(digits), 4):
        yield digits[start : start + 4]


def _safe(text: str, limit: int) -> str:
    """Return a text from outside as it may stand in a page: one line, nothing unseen, not longer than its place."""
    clean = clean_value(text, limit=limit + 1)
    return escape(clean if len(clean) <= limit else clean[: limit - 1] + "…")


def _small(text: str) -> str:
    return f"<small>{text}</small>"


def _label(text: Text) -> str:
    return f'<span class="label">{text.zh} {_small(text.en)}</span>'


_COLUMNS: Final = "".join(
    f'<th class="{width}">{label.zh}<br>{_small(label.en)}</th>'
    for width, label in (
        ("n", Text("序号", "No.")),
        ("f", Text("文件名 · 种类 · 所属期", "File name · kind · period")),
        ("t", Text("税号 · 机器", "Taxpayer · machine")),
        ("b", Text("字节", "Bytes")),
        ("d", Text("报告摘要", "Report digest")),
        ("s", Text("SHA-256", "前 16 位 first 16")),
    )
)


def _person(role: Text, more: str = "&nbsp;") -> str:
    return (
        f'<td>{_label(role)}<div class="check">{more}</div>'
        f'<div class="line">{_label(Text("签名", "Signature"))}</div>'
        f'<div class="line">{_label(Text("日期时间", "Date, time"))}</div></td>'
    )


_SIGNATURES: Final = (
    '<table class="people"><tr>'
    + _person(Text("交出人", "Handed over by"))
    + _person(Text("携带人", "Carried by"))
    + _person(Text("接收人", "Received by"), f"□ 核对无误 {_small('checked, all agree')}")
    + "</tr></table>\n"
    '<p class="note">接收人：在目的机器上执行 verify，将显示的报告摘要与本单核对，一致后签名。<br>'
    "<small>Receiver: run verify on the destination PC and compare the digests it shows with this slip before signing."
    "</small></p>\n"
)
_CONTINUED: Final = f'<p class="note">接下页 {_small("continued on the next page")}</p>\n'

_STYLE: Final = """\
@page { size: A4 portrait; margin: 10mm; }
* { box-sizing: border-box; }
body { margin: 0; color: #000; background: #fff;
  font: 7.5pt/1.25 "Noto Sans CJK SC", "Microsoft YaHei", "SimSun", "WenQuanYi Zen Hei", sans-serif; }
.page { width: 190mm; margin: 0 auto; break-after: page; }
.page:last-child { break-after: auto; }
@media screen { .page { padding: 10mm 0; } }
small { font-size: 82%; color: #444; }
code { font-family: Consolas, "DejaVu Sans Mono", "Courier New", monospace; }
.label { color: #444; white-space: nowrap; }
header { display: flex; justify-content: space-between; align-items: baseline; border-bottom: 0.5mm solid #000; }
h1 { font-size: 15pt; line-height: 1.3; margin: 0 0 1mm; }
h1 small { font-weight: normal; font-size: 10pt; }
header p { margin: 0; font-size: 8pt; }
.facts { display: grid; grid-template-columns: 1fr 1fr; gap: 0.8mm 4mm; margin: 1.5mm 0 2mm; font-size: 8.5pt; }
.facts div { overflow: hidden; white-space: nowrap; }
table { width: 100%; border-collapse: collapse; table-layout: fixed; }
th, td { border: 0.2mm solid #000; padding: 0.4mm 0.8mm; text-align: left; vertical-align: middle; }
th { font-weight: bold; line-height: 1.15; background: #eee; }
.files tr { break-inside: avoid; }
.files td { height: 7.6mm; font-size: 6.8pt; line-height: 1.3; overflow: hidden; white-space: nowrap; }
.files code { font-size: 6.4pt; }
.files .name { overflow: hidden; }
.files .name code { font-size: 6pt; }
.files td:nth-child(5), .files td:nth-child(6) { white-space: normal; }
.n { width: 8mm; } .f { width: 58mm; } .t { width: 31mm; } .b { width: 21mm; } .d { width: 56mm; } .s { width: 16mm; }
td.number { text-align: right; }
.totals { margin: 2mm 0; font-size: 9pt; }
.people { break-inside: avoid; font-size: 9pt; }
.people td { vertical-align: top; padding: 1mm 1.5mm; }
.line { height: 9mm; padding-top: 4mm; border-bottom: 0.2mm solid #000; }
.line:last-child { border-bottom: 0; }
.check { white-space: nowrap; }
.note { margin: 1.5mm 0 0; }
"""
