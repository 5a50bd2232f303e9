"""What there is: list, show, board."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Final

import click

from online_station.cli import base
from online_station.cli.base import program
from online_station.cli.words import action, item, line_of, quarantined_item
from online_station.core.advice import never_came, state_words
from online_station.core.board import STAGE_WORDS, Due, Line, Stage
from online_station.core.story import happened
from online_station.shell import qr_sheet, queries
from online_station.shell.archived import where_archived
from online_station.shell.files import result_name
from online_station.shell.home import Home
from online_station.shell.queries import KeyMalformed, Only, OpenMonth, Page, Silent, Tally, Wanted, Work
from online_station.shell.records import AckRow, EventRow, Gap, LegRow, QuarantinedRow, ReportRow
from online_station.shell.setup import opened
from online_station.shell.store import (
    ACK_DELIVERED,
    ACK_REFUSED,
    ACK_SENDING,
    ACK_UNKNOWN,
    ACK_WAITING,
    CAME,
    describe,
)
from online_station.shell.tending import fault_of
from online_station.shell.trust import Trust
from shared import faults
from shared.cli import FILE, Context, Outcome, argument, option
from shared.clock import format_time, readable_time
from shared.errors import (
    UsageError,
)
from shared.states import OnlineState
from shared.text import Text, both

_SHOWN: Final = 50
"""How much people are shown at once, unless they say otherwise. `--json` shows everything, unless told a limit."""


def _day(_ctx: click.Context, parameter: click.Parameter, value: str | None) -> date | None:
    """Read a day, `YYYY-MM-DD`."""
    try:
        return None if value is None else date.fromisoformat(value)
    except ValueError:
        raise UsageError(
            reason=Text(
                f"--{parameter.name} 后面的“{value}”不是日期（例：2026-07-31）",
                f"'{value}' after --{parameter.name} is no day (like 2026-07-31)",
            ),
            command=f"{program.name} list",
        ) from None


def _month(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Read a month, `YYYY-MM`."""
    if value is None or re.fullmatch(r"[1-9][0-9]{3}-(0[1-9]|1[0-2])", value, re.ASCII) is not None:
        return value
    raise UsageError(
        reason=Text(
            f"--period 后面的“{value}”不是月份（例：2026-07）", f"'{value}' after --period is no month (like 2026-07)"
        ),
        command=f"{program.name} list",
    )


def _paging() -> list[click.Parameter]:
    return [
        option(
            "--limit",
            type=click.IntRange(1, 100_000),
            metavar="N",
            help=Text(
                f"最多列出多少个；默认 {_SHOWN}，--json 默认全部", f"how many at most; {_SHOWN}, or all with --json"
            ),
        ),
        option(
            "--after",
            metavar="KEY",
            help=Text("从上一页给出的位置继续", "go on after the page before; its next or last line gives the KEY"),
        ),
    ]


def _of_taxpayer() -> click.Parameter:
    return option("--taxpayer", metavar="TAXPAYER_ID", help=Text("只看这个税号", "of this taxpayer only"))


def _limit(context: Context, limit: int | None) -> int | None:
    return limit if limit is not None or context.json else _SHOWN


def _bad_key(command: str) -> UsageError:
    return UsageError(
        reason=Text("--after 后面不是上一页给出的位置", "what stands after --after is no KEY of a page"),
        command=f"{program.name} {command}",
    )


def _rest(total: int, shown: int, key: str | None, unit: str = "个") -> list[Text]:
    """Say that there is more, and how it is seen."""
    if key is None:
        return []
    rest = total - shown
    return [
        Text(
            f"共 {total} {unit}，另有 {rest} {unit}；下一页加 --after {key}",
            f"{total} in all, {rest} not on this page; for the next page add --after {key}",
        )
    ]


def _calendar(home: Home) -> Mapping[str, int] | None:
    current = Trust(home.trust, base.CLOCK.now()).current
    return None if current is None else current.calendar


@program.verb(
    "list",
    Text("列出报告和状态，新的在前", "list reports and their states, the newest first"),
    _of_taxpayer(),
    option(
        "--state",
        "states",
        multiple=True,
        type=click.Choice([state.value for state in OnlineState]),
        metavar="STATE",
        help=Text(
            "只看这种状态（failed、held、staged …）；可以写几次",
            "in this state only (failed, held, staged …); can be given several times",
        ),
    ),
    option("--period", callback=_month, metavar="YYYY-MM", help=Text("只看这个所属月份", "of this month only")),
    option(
        "--machine",
        type=click.IntRange(0, 65535),
        metavar="N",
        help=Text("只看这台开票机（0 是主机）", "of this machine only (0 is the main one)"),
    ),
    option(
        "--text",
        default="",
        metavar="WORDS",
        help=Text(
            "文件名、错误号、说明、受理回执或企业名称里有这几个字",
            "with these words in name, code, message, receipt or company name",
        ),
    ),
    option(
        "--since", callback=_day, metavar="YYYY-MM-DD", help=Text("这一天起收到的", "that arrived on this day or later")
    ),
    option("--until", callback=_day, metavar="YYYY-MM-DD", help=Text("到这一天为止收到的", "that arrived by this day")),
    option(
        "--overdue",
        is_flag=True,
        help=Text("只看征期已过还没有清卡的", "whose filing deadline has passed and which are not cleared"),
    ),
    *_paging(),
)
def list_reports(
    context: Context,
    taxpayer: str | None,
    states: tuple[str, ...],
    period: str | None,
    machine: int | None,
    text: str,
    since: date | None,
    until: date | None,
    overdue: bool,
    limit: int | None,
    after: str | None,
) -> Outcome:
    """List the reports."""
    home = Home(context.home)
    taxpayer = None if taxpayer is None else taxpayer.strip().upper()
    wanted = Wanted(taxpayer, tuple(map(OnlineState, states)), period, machine, text.strip(), since, until)
    with opened(home) as store:
        if overdue:
            wanted = queries.overdue(wanted, base.CLOCK.now().date(), _calendar(home))
        try:
            page = queries.reports_page(store, wanted, limit=_limit(context, limit), after=after)
        except KeyMalformed:
            raise _bad_key("list") from None
        missing = queries.gaps(store, taxpayer) if after is None else []
        first = queries.first_for_a_person(store, wanted)
    lines = [line_of(r) if isinstance(r, ReportRow) else _set_aside_line(r) for r in page.items]
    if not lines:
        narrowed = wanted != Wanted() or after is not None
        lines.append(
            Text("没有符合条件的报告", "there is no such report")
            if narrowed
            else Text("还没有报告", "there are no reports yet")
        )
    lines.extend(_rest(page.total, len(page.items), page.next))
    lines.extend(_gap_lines(missing))
    return Outcome(
        {
            "items": [item(r) if isinstance(r, ReportRow) else quarantined_item(r) for r in page.items],
            "total": page.total,
            "next": page.next,
            "gaps": [asdict(gap) for gap in missing],
        },
        lines,
        next_action=None if first is None else action(first),
    )


def _set_aside_line(row: QuarantinedRow) -> Text:
    return Text(f"{row.name}  已隔离：{row.reason_zh}", f"{row.name}  quarantined: {row.reason_en}")


def _gap_lines(missing: Sequence[Gap]) -> list[Text]:
    lines = [never_came(gap.taxpayer_id, gap.machine_no, gap.missing, gap.before) for gap in missing[:_MOST_GAPS]]
    rest = len(missing) - _MOST_GAPS
    if rest > 0:
        lines.append(Text(f"缺抄税文件的还有 {rest} 处（--json 全部列出）", f"and {rest} more gaps (--json lists all)"))
    return lines


_MOST_GAPS: Final = 10
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
        work = queries.work_of(store, row.digest)
        archive = where_archived(store, {row.digest}).get(row.digest)
    assert work is not None
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
    if archive is not None:
        lines.append(Text(f"归档：{archive}（archive show 查看全过程）", f"archive: {archive} (see archive show)"))
    told = [(leg.at, _leg_line(leg)) for leg in legs if leg.leg == CAME]
    told += [(ack.taken_at, _ack_line(ack)) for ack in acks]
    told += [(event.at, _event_line(event)) for event in events]
    lines.extend(line for _, line in sorted(told, key=lambda each: each[0]))
    lines.extend(_work_lines(work))
    return Outcome(
        {
            **item(row),
            "legs": [
                {"leg": leg.leg, "at": format_time(leg.at), "stick": leg.stick_id or None, "label": leg.label}
                for leg in legs
            ],
            "archive": archive,
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
            "acks": [
                {
                    "state": a.state,
                    "sha256": a.sha256,
                    "message": a.message,
                    "taken_at": format_time(a.taken_at),
                    "attempts": a.attempts,
                    "due_at": None if a.due_at is None else format_time(a.due_at),
                }
                for a in acks
            ],
            "work": {
                "step": work.step,
                "due_at": None if work.due_at is None else format_time(work.due_at),
                "worker": work.worker or None,
                "lease_until": None if work.lease_until is None else format_time(work.lease_until),
                "lane": work.lane or None,
                "ahead": work.ahead,
            },
            "fault": None if fault is None else faults.as_json(fault),
        },
        lines,
        next_action=action(row),
    )


def _leg_line(leg: LegRow) -> Text:
    at = readable_time(leg.at)
    return Text(f"  {at}  由U盘“{leg.label}”带来", f"  {at}  came on stick '{leg.label}'")


_ACK_WORDS: Final = {
    ACK_WAITING: Text("待送达税局", "to be delivered"),
    ACK_SENDING: Text("正在送达", "being delivered"),
    ACK_UNKNOWN: Text("是否送达不明，先询问税局", "outcome unknown, the bureau is asked first"),
    ACK_DELIVERED: Text("已送达税局", "delivered"),
    ACK_REFUSED: Text("税局不接受", "refused by the bureau"),
}


def _ack_line(row: AckRow) -> Text:
    at, words = readable_time(row.taken_at), _ACK_WORDS.get(row.state, both(row.state))
    told = f"（{row.message}）" if row.message else ""
    return Text(
        f"  {at}  收到清卡回执，{words.zh}{told}",
        f"  {at}  clear receipt taken, {words.en}{told and ' (' + row.message + ')'}",
    )


def _work_lines(work: Work) -> list[Text]:
    lines = []
    if work.due_at is not None:
        at = readable_time(work.due_at)
        lines.append(Text(f"下一步在 {at} 到期", f"the next step is due at {at}"))
    if work.lease_until is not None:
        until = readable_time(work.lease_until)
        lines.append(
            Text(f"{work.worker} 正在处理，最迟到 {until}", f"{work.worker} is at it, until {until} at the latest")
        )
    if work.ahead:
        lines.append(
            Text(
                f"同一张卡有 {work.ahead} 个更早的报告在前面，按顺序上传",
                f"{work.ahead} earlier report(s) of the same card go first",
            )
        )
    return lines


def _show_qr(context: Context, home: Home, wanted: str, target: Path | None) -> Outcome:
    now = base.CLOCK.now()
    with opened(home) as store:
        row = store.find(wanted)
        believed = store.results(row.digest)
        for each in believed[-1:]:
            with contextlib.suppress(FileNotFoundError):  # said below
                store.bring(home.result_file(row.digest, each.result_no), result_name(row.digest, each.result_no))
        sheet = qr_sheet.sheet_of(row, believed, home, Trust(home.trust, now).store, now)
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
    option(
        "--period",
        callback=_month,
        metavar="YYYY-MM",
        help=Text("只看这个所属月份；默认列出所有月份", "of this month only; all of them by default"),
    ),
    _of_taxpayer(),
    option(
        "--only",
        type=click.Choice(["silent", "open", "failed", "done"]),
        help=Text(
            "只看：没有送来的、没有完成的、失败或暂不上传的、已完成的",
            "only those that sent nothing, are not done, failed or are held, are done",
        ),
    ),
    *_paging(),
)
def show_board(
    context: Context,
    period: str | None,
    taxpayer: str | None,
    only: Only | None,
    limit: int | None,
    after: str | None,
) -> Outcome:
    """Show who has reported."""
    home, now = Home(context.home), base.CLOCK.now()
    taxpayer = None if taxpayer is None else taxpayer.strip().upper()
    month = queries.present_period(now) if period is None else period
    most = _limit(context, limit)
    calendar = _calendar(home)
    with opened(home) as store:
        try:
            page: Page[Line] = Page((), None, 0)
            absent: Page[Silent] = Page((), None, 0)
            if only != "silent":
                page = queries.board_page(store, period=period, taxpayer=taxpayer, only=only, limit=most, after=after)
            if only == "silent" or (only is None and after is None):
                place = after if only == "silent" else None
                absent = queries.silent_page(store, month, taxpayer=taxpayer, limit=most, after=place)
        except KeyMalformed:
            raise _bad_key("board") from None
        whole = queries.tally(store, month, now.date(), taxpayer=taxpayer, calendar=calendar)
        months = queries.open_months(store, now.date(), calendar=calendar)
        missing = queries.gaps(store, taxpayer) if after is None and only is None else []
        names = queries.names_of(store, (line.taxpayer_id for line in page.items))
    lines = [*_tally_lines(whole)]
    lines += [_open_month_line(each) for each in months if each.due.period != month]
    lines += [_board_line(line, names) for line in page.items]
    if not page.items and only is None:
        lines.append(Text("还没有征期报告", "there are no period reports yet"))
    elif not page.items and not absent.items:
        lines.append(Text("没有这样的企业", "there are no such companies"))
    lines += _rest(page.total, len(page.items), page.next, "家")
    lines += _silent_lines(absent, month, paged=only == "silent")
    lines += _gap_lines(missing)
    return Outcome(
        {
            "items": [_line_json(line, names) for line in page.items],
            "gaps": [asdict(gap) for gap in missing],
            "period": month,
            "silent": [asdict(each) for each in absent.items],
            "total": absent.total if only == "silent" else page.total,
            "next": absent.next if only == "silent" else page.next,
            "totals": {
                "registered": whole.registered,
                "silent": whole.silent,
                "seen": whole.seen,
                "open": whole.open,
                "companies": {stage.value: whole.companies.get(stage, 0) for stage in Stage},
                "reports": {state.value: number for state, number in whole.reports.items()},
            },
            "deadline": _due_json(whole.due),
            "open_months": [{**_due_json(each.due), "companies": each.companies} for each in months],
        },
        lines,
    )


def _due_json(due: Due) -> dict[str, object]:
    return {
        "period": due.period,
        "deadline": due.day.isoformat(),
        "days_left": due.days_left,
        "certain": due.certain,
    }


def _line_json(line: Line, names: Mapping[str, str]) -> dict[str, object]:
    return {
        **asdict(line),
        "stage": None if line.stage is None else line.stage.value,
        "stage_text": "" if line.stage is None else str(STAGE_WORDS[line.stage]),
        "machines": [
            {
                "machine_no": machine.machine_no,
                "state": machine.state.value,
                "stage": machine.stage.value,
                "report_digest": machine.digest,
            }
            for machine in line.machines
        ],
        "name": names.get(line.taxpayer_id, ""),
    }


def _board_line(line: Line, names: Mapping[str, str]) -> Text:
    name = names.get(line.taxpayer_id, "")
    return Text(f"{line.in_words.zh}  {name}".rstrip(), f"{line.in_words.en}  {name}".rstrip())


def _tally_lines(whole: Tally) -> list[Text]:
    if not whole.registered and not whole.seen:
        return [whole.due.in_words]
    stages = [(STAGE_WORDS[stage], number) for stage, number in whole.companies.items()]
    stages += [(Text("没有送来", "sent nothing"), whole.silent)] if whole.silent else []
    head = Text("", "")
    if whole.registered:
        head = Text(f"登记 {whole.registered} 家，", f"{whole.registered} registered, ")
    return [
        whole.due.in_words,
        Text(
            f"{head.zh}已送来 {whole.seen} 家："[: None if stages else -1]
            + "，".join(f"{words.zh} {number}" for words, number in stages),
            f"{head.en}{whole.seen} have sent a report: "[: None if stages else -2]
            + ", ".join(f"{words.en} {number}" for words, number in stages),
        ),
    ]


def _open_month_line(month: OpenMonth) -> Text:
    words = month.due.in_words
    return Text(f"{words.zh}，未清卡 {month.companies} 家", f"{words.en}: {month.companies} companies are not cleared")


def _silent_lines(absent: Page[Silent], period: str, *, paged: bool) -> list[Text]:
    if not absent.items:
        return []
    head = Text(
        f"{period} 还没有送来报税文件的企业 {absent.total} 家：",
        f"{absent.total} companies have sent no report of {period}:",
    )
    lines = [head, *(both(f"  {each.taxpayer_id}  {each.name}") for each in absent.items)]
    if paged:
        return lines + _rest(absent.total, len(absent.items), absent.next, "家")
    rest = absent.total - len(absent.items)
    if rest > 0:
        lines.append(
            Text(
                f"  另有 {rest} 家（用 board --only silent 一页一页看）",
                f"  and {rest} more (board --only silent shows them page by page)",
            )
        )
    return lines
