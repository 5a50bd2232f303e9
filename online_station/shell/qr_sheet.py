"""A result as QR codes for eyes and scanners: on the terminal, or as one page to show or print (QR-4).

What the codes say is decided in `shared.qr`; here they are only drawn. The library that draws is imported when
something is drawn, so that no other verb needs it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Final, TextIO

from online_station.core.advice import next_action
from online_station.shell.home import Home
from online_station.shell.records import ReportRow, ResultRow
from shared.durable import write_durably
from shared.envelope.chain import TrustStore
from shared.errors import FileMissing, NotOverwritten, WrongState
from shared.model.result import Result, prove_result
from shared.qr import split
from shared.text import Text, both, current_language

VERSION: Final = 13
"""69 modules: with its quiet zone a code is 77 columns wide on a terminal, and cheap scanners read it from a screen."""
QUIET: Final = 4
SIDE: Final = 69 + 2 * QUIET
"""Modules along a side of what is drawn."""
_MODULE_PIXELS: Final = 4
_HALVES: Final = {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}
"""What is drawn for an upper and a lower module, by whether each is dark: in light ink, on a dark ground."""
# The ink and the ground are named, so that the codes are right in a window with a light ground too.
_LIGHT_ON_DARK: Final = "\x1b[97;40m"
_AS_BEFORE: Final = "\x1b[0m"


@dataclass(frozen=True)
class Sheet:
    """The codes of one result.

    Attributes:
        result: What they carry.
        period: The month that the report is about, `YYYY-MM`.
        parts: The text of each code.
    """

    result: Result
    period: str
    parts: Sequence[str]

    @property
    def set_id(self) -> str:
        """The identity of the set."""
        return self.parts[0].split("-")[1]


def sheet_of(row: ReportRow, believed: Sequence[ResultRow], home: Home, trust: TrustStore, now: datetime) -> Sheet:
    """Return the codes of a report's newest result, proven once more.

    Args:
        row: The report.
        believed: Its results, the oldest first.
        home: Where they are kept.
        trust: What is believed.
        now: The moment of judgement.

    Raises:
        WrongState: No proven result is here yet.
        FileMissing: The kept file is gone.
        TaxferryError: The kept file is no longer what was proven.
    """
    if not believed:
        raise WrongState(
            reason=Text(
                f"{row.header.name.stem} 还没有验证过的结果，没有二维码可显示",
                f"there is no proven result of {row.header.name.stem} yet, so there are no codes to show",
            ),
            next_action=next_action(row.snapshot, None),
        )
    path = home.result_file(row.digest, believed[-1].result_no)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileMissing(what=path) from None
    proven = prove_result(data, trust, at=now, name=path.name)
    return Sheet(proven.result, row.header.period, split(data))


def caption(number: int, total: int) -> Text:
    """Return what stands beside a code."""
    return Text(f"第 {number}/{total} 张", f"code {number} of {total}")


def shown(parts: Sequence[str], out: TextIO) -> list[Text]:
    """Return the lines that show all codes on a stream, or say why that cannot be and what to do instead."""
    if not _can_draw(out.encoding):
        return [
            Text(
                "此窗口显示不了二维码，请写成网页：show 编号 --qr 文件.html",
                "this window cannot show QR codes; write a page: show ID --qr FILE.html",
            )
        ]
    terminal = out.isatty()
    lines = list(on_terminal(parts, colours=terminal and _takes_colours()))
    size = shutil.get_terminal_size()
    rows = SIDE // 2 + 2
    if terminal and (size.columns < SIDE or size.lines < rows):
        lines.append(
            Text(
                f"窗口太小（要 {SIDE} 列、{rows} 行）：请放大窗口，或写成网页：show 编号 --qr 文件.html",
                f"the window is too small ({SIDE} columns and {rows} lines are needed): enlarge it, or write a page: "
                "show ID --qr FILE.html",
            )
        )
    return lines


def _can_draw(encoding: str | None) -> bool:
    try:
        "█▀▄".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _takes_colours() -> bool:
    """Return whether the window surely knows the codes for colours: old Windows consoles print them."""
    if os.name == "nt":
        return "WT_SESSION" in os.environ
    return os.environ.get("TERM", "dumb") != "dumb"


def on_terminal(parts: Sequence[str], *, colours: bool) -> Iterator[Text]:
    """Yield the lines that show all codes, two modules in the height of a character.

    Args:
        parts: Their texts.
        colours: Whether the ground may be set; else the window's own must be dark.
    """
    before, after = (_LIGHT_ON_DARK, _AS_BEFORE) if colours else ("", "")
    for number, part in enumerate(parts, 1):
        modules = _modules(part)
        yield both("")
        yield caption(number, len(parts))
        if len(modules) % 2:
            modules = [*modules, [True] * SIDE]  # below the quiet zone: the window's own ground
        for upper, lower in zip(modules[::2], modules[1::2], strict=True):
            yield both(before + "".join(_HALVES[pair] for pair in zip(upper, lower, strict=True)) + after)


def _modules(part: str) -> list[list[bool]]:
    """Return which modules are dark, line by line, with the quiet zone."""
    import segno

    code = segno.make_qr(part, version=VERSION, error="m", mode="alphanumeric", boost_error=False)
    return [[bool(module) for module in line] for line in code.matrix_iter(border=QUIET)]


def _svg(part: str, label: str) -> str:
    """Return one code as a drawing: a run of dark modules is one stroke."""
    strokes = []
    for y, line in enumerate(_modules(part)):
        x = 0
        while x < SIDE:
            end = x
            while end < SIDE and line[end]:
                end += 1
            if end > x:
                strokes.append(f"M{x} {y}h{end - x}v1H{x}z")
            x = end + 1
    pixels = SIDE * _MODULE_PIXELS
    return (
        f'<svg role="img" aria-label="{escape(label)}" width="{pixels}" height="{pixels}" viewBox="0 0 {SIDE} {SIDE}" '
        f'shape-rendering="crispEdges"><path fill="#fff" d="M0 0h{SIDE}v{SIDE}H0z"/><path d="{"".join(strokes)}"/></svg>'
    )


_GENERATOR: Final = '<meta name="generator" content="taxferry show --qr">'
"""By this a page of ours is known."""
_STYLE: Final = """
body { margin: 1.5rem auto; max-width: 42rem; padding: 0 1rem; background: #fff; color: #000;
  font: 16px/1.5 "Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", sans-serif; }
h1 { font-size: 1.4rem; margin: 0 0 .5rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; margin: 0 0 1rem; }
dt { color: #444; }
dd { margin: 0; overflow-wrap: anywhere; }
figure { display: inline-block; margin: 0 1rem 1rem 0; break-inside: avoid; text-align: center; }
svg { display: block; }
figcaption { font-size: .9rem; }
@page { size: A4; margin: 12mm; }
@media print { body { widows: 1; orphans: 1; margin: 0; padding: 0; max-width: none; font-size: 11pt; }
  svg { width: 76mm; height: 76mm; } figure { margin: 0 6mm 2mm 0; } }
"""


def write_page(sheet: Sheet, target: Path) -> None:
    """Write the page to a file; an earlier page of ours is replaced.

    Raises:
        NotOverwritten: The file is something else. It is as it was.
    """
    with contextlib.suppress(FileNotFoundError), target.open("rb") as present:
        if _GENERATOR.encode() not in present.read(1024):
            raise NotOverwritten(name=target)
    write_durably(target, page(sheet), mode=0o644)


def page(sheet: Sheet) -> bytes:
    """Return a page that holds everything in itself, in the language of the current context.

    The same result gives the same page: it bears no time of its own.
    """
    result, total = sheet.result, len(sheet.parts)
    title = str(Text("税渡 报税结果二维码", "taxferry: a result as QR codes"))
    machine = result.name.machine_no
    facts: list[tuple[Text, Text]] = [
        (Text("税号", "taxpayer"), both(result.name.taxpayer_id)),
        (
            Text("开票机", "machine"),
            Text(f"{machine} 号分机", f"sub machine {machine}") if machine else Text("主机（0）", "main machine (0)"),
        ),
        (Text("所属期", "period"), both(sheet.period)),
        (
            Text("结果", "outcome"),
            Text("报税成功", "success")
            if result.outcome == "success"
            else Text(f"报税失败（{result.code}）", f"failure ({result.code})"),
        ),
        (Text("结果序号", "result no."), both(str(result.result_no))),
        (Text("报告摘要", "report digest"), both(result.report_digest)),
        (Text("二维码组号", "set of codes"), Text(f"{sheet.set_id}，共 {total} 张", f"{sheet.set_id}, {total} codes")),
    ]
    how = Text(
        "在开票机执行 offline-station result --scan，逐张扫描，先后不限，重复无妨；收齐后会自动结束。",
        "On the invoicing PC run offline-station result --scan and scan each code, in any order and as often as you "
        "like; it ends by itself when all are there.",
    )
    figures = []
    for number, part in enumerate(sheet.parts, 1):
        words = str(caption(number, total))
        figures.append(f"<figure>{_svg(part, words)}<figcaption>{escape(words)}</figcaption></figure>")
    rows = "".join(f"<dt>{escape(str(label))}</dt><dd>{escape(str(value))}</dd>" for label, value in facts)
    language = "zh-CN" if current_language() == "zh" else "en"
    html = (
        f'<!DOCTYPE html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n{_GENERATOR}\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)} {escape(result.name.stem)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n<dl>{rows}</dl>\n<p>{escape(str(how))}</p>\n<div>\n"
        + "\n".join(figures)
        + "\n</div>\n</body>\n</html>\n"
    )
    return html.encode()
