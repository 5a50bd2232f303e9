"""What there is: list, show, board."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Final

import click

from online_station.cli import base
from online_station.cli.base import program
from online_station.cli.words import action, fault_of, item, line_of, next_of, quarantined_item
from online_station.core.advice import never_came, state_words
from online_station.core.board import Line, board, silent
from online_station.core.story import happened
from online_station.shell import qr_sheet
from online_station.shell.home import Home
from online_station.shell.records import EventRow, LegRow
from online_station.shell.register import Register
from online_station.shell.setup import opened
from online_station.shell.store import CAME, describe
from online_station.shell.trust import Trust
from shared import faults
from shared.cli import FILE, Context, Outcome, argument, option
from shared.clock import format_time, readable_time
from shared.errors import (
    UsageError,
)
from shared.model.standing import Standing
from shared.states import OnlineState
from shared.text import Text, both


@program.verb("list", Text("列出全部报告和状态", "list all reports and their states"))
def list_reports(context: Context) -> Outcome:
    """List the reports."""
    with opened(Home(context.home)) as store:
        rows, quarantined, gaps = store.reports(), store.quarantined(), store.gaps()
    lines = [line_of(r) for r in rows]
    lines.extend(Text(f"{r.name}  已隔离：{r.reason_zh}", f"{r.name}  quarantined: {r.reason_en}") for r in quarantined)
    if not lines:
        lines.append(Text("还没有报告", "there are no reports yet"))
    lines.extend(never_came(gap.taxpayer_id, gap.machine_no, gap.missing, gap.before) for gap in gaps)
    return Outcome(
        {"items": [*map(item, rows), *map(quarantined_item, quarantined)], "gaps": [asdict(gap) for gap in gaps]},
        lines,
        next_action=next_of(rows),
    )


_TERMINAL: Final = "-"
"""Where QR codes go when no file is named."""


def _only_a_page(_ctx: click.Context, _parameter: click.Parameter, target: Path | None) -> Path | None:
    """Refuse an ID that stands where the page's name may stand, before anybody misses it elsewhere."""
    if target is not None and str(target) != _TERMINAL and target.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            reason=Text(
                f"--qr 后面只能是 .html 文件名，不是“{target}”；报告的编号写在 --qr 前面",
                f"after --qr only the name of an .html file may stand, not '{target}'; the ID goes before --qr",
            ),
            command="online-station show",
        )
    return target


@program.verb(
    "show",
    Text("一个报告的全过程", "one report's life-line"),
    argument("wanted", metavar="ID", help=Text("摘要、摘要开头或文件名", "digest, its start, or file name")),
    option(
        "--qr",
        type=FILE,
        is_flag=False,
        flag_value=_TERMINAL,
        metavar="[FILE.html]",
        callback=_only_a_page,
        help=Text(
            "把结果显示为二维码；给出文件名则写成可打印的网页（用于不许插U盘的开票机）",
            "show the result as QR codes, or, with a file, write a page to print: for PCs that take no stick",
        ),
    ),
)
def show(context: Context, wanted: str, qr: Path | None) -> Outcome:
    """Show one report."""
    home = Home(context.home)
    if qr is not None:
        return _show_qr(context, home, wanted, None if str(qr) == _TERMINAL else qr)
    with opened(home) as store:
        row = store.find(wanted)
        events, believed = store.events(row.digest), store.results(row.digest)
        acks = [a for a in store.acks() if a.digest == row.digest]
        legs = store.legs(row.digest)
    fault = fault_of(row.snapshot)
    header, words = row.header, state_words(row.snapshot)
    lines = [
        header.name.in_words,
        Text(f"状态：{words.zh}", f"state: {words.en}"),
        Text(f"报告摘要：{row.digest}", f"report digest: {row.digest}"),
    ]
    if row.snapshot.receipt_no:
        lines.append(Text(f"受理回执：{row.snapshot.receipt_no}", f"receipt: {row.snapshot.receipt_no}"))
    if fault is not None:
        lines.extend(faults.describe(fault))
    elif row.state in (OnlineState.ANSWERED, OnlineState.STAGED) and row.snapshot.message:
        said = row.snapshot.message  # a success with words: its lock date is a forecast, say
        lines.append(Text(f"税局说明：{said}", f"the bureau says: {said}"))
    lines.extend(_leg_line(leg) for leg in legs if leg.leg == CAME)
    lines.extend(_event_line(e) for e in events)
    return Outcome(
        {
            **item(row),
            "legs": [
                {"leg": leg.leg, "at": format_time(leg.at), "stick": leg.stick_id or None, "label": leg.label}
                for leg in legs
            ],
            "questions": row.questions,
            "uploads": row.uploads,
            "events": describe(events),
            "results": [
                {
                    "result_no": r.result_no,
                    "outcome": r.outcome,
                    "code": r.code,
                    "body_sha256": r.body_sha256,
                    "received_at": format_time(r.received_at),
                    "file": str(home.result_file(r.digest, r.result_no)),
                }
                for r in believed
            ],
            "acks": [{"state": a.state, "sha256": a.sha256, "message": a.message} for a in acks],
            "fault": None if fault is None else faults.as_json(fault),
        },
        lines,
        next_action=action(row),
    )


def _leg_line(leg: LegRow) -> Text:
    at = readable_time(leg.at)
    return Text(f"  {at}  由U盘“{leg.label}”带来", f"  {at}  came on stick '{leg.label}'")


def _show_qr(context: Context, home: Home, wanted: str, target: Path | None) -> Outcome:
    now = base.CLOCK.now()
    with opened(home) as store:
        row = store.find(wanted)
        sheet = qr_sheet.sheet_of(row, store.results(row.digest), home, Trust(home.trust, now).store, now)
    total = len(sheet.parts)
    lines = [
        row.header.name.in_words,
        Text(f"二维码 {sheet.set_id} 组，共 {total} 张", f"set {sheet.set_id}, {total} codes"),
    ]
    if target is not None:
        qr_sheet.write_page(sheet, target)
        lines.append(
            Text(f"已写入 {target}，用浏览器打开或打印", f"written to {target}: open it in a browser, or print it")
        )
    elif not context.json:
        lines += qr_sheet.shown(sheet.parts, sys.stdout)
    data = {
        **item(row),
        "qr": {"set": sheet.set_id, "parts": list(sheet.parts), "file": None if target is None else str(target)},
    }
    follow = Text(
        "在开票机执行 result --scan，逐张扫描，先后不限",
        "run result --scan on the invoicing PC and scan each code, in any order",
    )
    return Outcome(data, lines, next_action=follow)


def _event_line(event: EventRow) -> Text:
    words = happened(event.event, OnlineState(event.from_state), OnlineState(event.to_state), event.note)
    at = readable_time(event.at)
    return Text(f"  {at}  {words.zh}", f"  {at}  {words.en}")


@program.verb(
    "board",
    Text("本期申报与各机报税情况", "who has reported this period, per taxpayer and machine"),
)
def show_board(context: Context) -> Outcome:
    """Show who has reported."""
    with opened(Home(context.home)) as store:
        rows, gaps, companies = store.reports(), store.gaps(), Register(store).companies()
        keys = sorted({(r.header.taxpayer_id, r.header.period) for r in rows if r.snapshot.period_report})
        standings: dict[tuple[str, str], Standing] = {}
        for taxpayer_id, period in keys:
            known = store.standing(taxpayer_id, period)
            if known is not None:
                standings[taxpayer_id, period] = Standing.model_validate_json(known[0])
    lines: list[Line] = board([(r.snapshot, r.header.machine_no) for r in rows], standings)
    period = f"{base.CLOCK.now().date().replace(day=1) - timedelta(days=1):%Y-%m}"
    names: dict[str, str] = {company.taxpayer_id: company.name for company in companies}
    absent = silent(names, lines, period)
    return Outcome(
        {
            "items": [asdict(line) | {"name": names.get(line.taxpayer_id, "")} for line in lines],
            "gaps": [asdict(gap) for gap in gaps],
            "period": period,
            "silent": [{"taxpayer_id": each, "name": names[each]} for each in absent],
        },
        [
            *([line.in_words for line in lines] or [Text("还没有征期报告", "there are no period reports yet")]),
            *_silent_lines(absent, names, period),
            *(never_came(gap.taxpayer_id, gap.machine_no, gap.missing, gap.before) for gap in gaps),
        ],
    )


def _silent_lines(absent: Sequence[str], names: Mapping[str, str], period: str) -> list[Text]:
    if not absent:
        return []
    head = Text(
        f"{period} 还没有送来报税文件的企业 {len(absent)} 家：",
        f"{len(absent)} companies have sent no report of {period}:",
    )
    return [head, *(both(f"  {each}  {names[each]}") for each in absent[:_MOST_SILENT]), *_more(len(absent))]


def _more(count: int) -> list[Text]:
    rest = count - _MOST_SILENT
    return [Text(f"  另有 {rest} 家（--json 全部列出）", f"  and {rest} more (--json lists all)")] if rest > 0 else []


_MOST_SILENT: Final = 50
