"""The verbs of the online station (上网机). Each says what it did, what the state is, and what a person does next."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from types import FrameType
from typing import Final

import click

from online_station.core.advice import OVERTAKEN, never_came, next_action, not_back, state_words
from online_station.core.board import Line, board, silent
from online_station.core.decide import (
    AskNow,
    Event,
    HoldReason,
    OperatorCancel,
    OperatorHold,
    OperatorRelease,
    OperatorRetry,
    Snapshot,
    operator_may,
)
from online_station.core.story import happened, service_line
from online_station.shell import diagnosis, qr_sheet
from online_station.shell.home import Home
from online_station.shell.intake import Harvest
from online_station.shell.log import log_to, stop_logging
from online_station.shell.pairing import tell_offline_station
from online_station.shell.register import Register, read_list
from online_station.shell.runner import Pass
from online_station.shell.setup import Settings, at_work, initialise, opened, read_settings
from online_station.shell.store import CAME, EventRow, LegRow, QuarantinedRow, ReportRow, Store, describe
from online_station.shell.trust import Trust
from online_station.shell.visit import slip, sticks_of, synchronise
from online_station.shell.visiting import Visiting, after_visit, visit_json, visit_words
from shared import faults, stick_verbs
from shared.calendar import filing_deadline
from shared.cli import FILE, FOLDER, Context, Outcome, Program, add_standard_verbs, argument, option
from shared.clock import SystemClock, format_time, parse_time, readable_time
from shared.durable import copy_durably
from shared.envelope.opening import prove_report
from shared.envelope.roles import fingerprint
from shared.errors import (
    BureauBusy,
    BureauUnreachable,
    ExitCode,
    FileMissing,
    NotFound,
    OutcomeUnknown,
    StationBusy,
    TaxferryError,
    UsageError,
    WrongState,
)
from shared.faults import Fault
from shared.ids import recognise_name
from shared.medium.sticks import Sticks
from shared.model.standing import Standing
from shared.states import ONLINE_TERMINAL, OnlineState
from shared.text import Text, both

program = Program("online-station", Text("税渡 上网机", "taxferry, Internet PC"))
_CLOCK: Final = SystemClock()


def main() -> None:
    """Run the program."""
    program.main()


# Words and JSON of one report


def _fault(snapshot: Snapshot) -> Fault | None:
    if snapshot.state is not OnlineState.FAILED or not (snapshot.code or snapshot.message):
        return None
    return faults.find(snapshot.code, snapshot.message)


def _action(row: ReportRow) -> Text:
    """Return the next human action about a report."""
    if row.overtaken and row.state not in ONLINE_TERMINAL:
        return OVERTAKEN
    if row.state is OnlineState.STAGED and row.left is not None:
        now = _CLOCK.now()
        overdue = not_back(row.left.label, now - row.left.at, _deadline(row), now.date())
        if overdue is not None:
            return overdue
    return next_action(row.snapshot, _fault(row.snapshot))


def _deadline(row: ReportRow) -> date | None:
    """Return until when a period's report is to be cleared; an ad hoc one has no such day."""
    if row.header.kind != "period":
        return None
    due = date.fromisoformat(row.header.period_end) + timedelta(days=1)
    return filing_deadline(f"{due:%Y-%m}").day


def _item(row: ReportRow) -> dict[str, object]:
    snapshot, header = row.snapshot, row.header
    return {
        "report_digest": row.digest,
        "stem": header.name.stem,
        "taxpayer_id": header.taxpayer_id,
        "machine_no": header.machine_no,
        "stamp": header.stamp,
        "kind": header.kind,
        "period": header.period,
        "card_no": header.card_no,
        "sequence": header.sequence,
        "invoice_count": header.invoice_count,
        "state": snapshot.state.value,
        "state_text": str(state_words(snapshot)),
        "hold": None if snapshot.hold is None else snapshot.hold.value,
        "code": snapshot.code,
        "message": snapshot.message,
        "receipt_no": snapshot.receipt_no,
        "result_no": snapshot.result_no,
        "bytes": row.size_bytes,
        "found_at": format_time(row.found_at),
        "changed_at": format_time(row.changed_at),
        "due_at": None if snapshot.due_at is None else format_time(snapshot.due_at),
        "age_seconds": max(0, int((_CLOCK.now() - row.found_at).total_seconds())),
        "overtaken": row.overtaken,
        "stick": None if row.left is None else {"label": row.left.label, "left_at": format_time(row.left.at)},
        "next_action": str(_action(row)),
    }


def _quarantined_item(row: QuarantinedRow) -> dict[str, object]:
    recognised = recognise_name(row.name)
    name = None if recognised is None else recognised[0]
    return {
        "report_digest": "",
        "stem": row.name if name is None else name.stem,
        "taxpayer_id": "" if name is None else name.taxpayer_id,
        "machine_no": None if name is None else name.machine_no,
        "stamp": "" if name is None else name.stamp.text,
        "state": OnlineState.QUARANTINED.value,
        "code": row.code,
        "message": str(Text(row.reason_zh, row.reason_en)),
        "file": row.stored_name,
        "changed_at": format_time(row.at),
        "next_action": str(_READ_WHY),
    }


_READ_WHY: Final = Text(
    "查看 quarantine 文件夹中同名的说明，再从原电脑重新拷贝",
    "read the explanation beside it in the quarantine folder, then copy it again from the PC that made it",
)


def _line(row: ReportRow) -> Text:
    name, words = row.header.name, state_words(row.snapshot)
    return Text(f"{name.stem}  {words.zh}", f"{name.stem}  {words.en}")


def _next(rows: Sequence[ReportRow]) -> Text | None:
    """Return the next action that several reports ask for: the first that asks something of a person."""
    rows = [row for row in rows if not row.overtaken]
    for row in rows:
        if row.state in (OnlineState.FAILED, OnlineState.HELD):
            return _action(row)
    for row in rows:
        if row.state not in ONLINE_TERMINAL:
            return _action(row)
    return None


# init


@program.verb(
    "init",
    Text("初始化：税局网址、企业密钥、收发文件夹", "set the bureau's address, the enterprise key and the folders"),
    option("--bureau", required=True, metavar="URL", help=Text("税局网址", "the bureau's address")),
    option("--key", required=True, type=FILE, metavar="FILE", help=Text("企业密钥（PKCS#12）", "key file (PKCS#12)")),
    option("--pin-file", required=True, type=FILE, metavar="FILE", help=Text("口令文件", "file that holds the PIN")),
    option("--trust", type=FILE, metavar="FILE", help=Text("税局根证书（PEM）", "the bureau's root certificate (PEM)")),
    option("--inbox", type=FOLDER, metavar="DIR", help=Text("收件文件夹", "where files from the invoicing PCs arrive")),
    option("--outbox", type=FOLDER, metavar="DIR", help=Text("发件文件夹", "where results are put")),
    option("--proxy", metavar="URL", help=Text("HTTP 代理", "an HTTP proxy")),
    option("--ca-file", type=FILE, metavar="FILE", help=Text("TLS 证书文件（PEM）", "certificates for TLS (PEM)")),
)
def init(
    context: Context,
    bureau: str,
    key: Path,
    pin_file: Path,
    trust: Path | None,
    inbox: Path | None,
    outbox: Path | None,
    proxy: str | None,
    ca_file: Path | None,
) -> Outcome:
    """Make the station."""
    made = initialise(
        Home(context.home),
        bureau=bureau,
        key=key,
        pin_file=pin_file,
        root_file=trust,
        inbox=inbox,
        outbox=outbox,
        proxy=proxy,
        ca_file=ca_file,
        clock=_CLOCK,
    )
    settings = made.settings
    root = fingerprint(made.root)
    warnings = list(made.warnings)
    if not made.root_was_given:
        warnings.append(
            Text(
                f"根证书是从税局网址取得的，请与税务机关公布的指纹核对：{root}",
                f"the root came from the bureau's address; compare its fingerprint with the published one: {root}",
            )
        )
    return Outcome(
        {
            "bureau": settings.bureau,
            "taxpayer_id": settings.taxpayer_id,
            "key_fingerprint": made.keyid,
            "root_fingerprint": root,
            "trust_version": made.trust_version,
            "inbox": str(settings.inbox),
            "outbox": str(settings.outbox),
        },
        [
            Text(f"上网机已就绪：{settings.bureau}", f"the station is ready: {settings.bureau}"),
            Text(f"税号 {settings.taxpayer_id}", f"taxpayer {settings.taxpayer_id}"),
            Text(f"收件文件夹 {settings.inbox}", f"inbox {settings.inbox}"),
            Text(f"发件文件夹 {settings.outbox}", f"outbox {settings.outbox}"),
        ],
        next_action=Text(
            "把开票机的 .dat 文件放入收件文件夹（或 stick sync），然后执行 once 或 run",
            "put the .dat of the invoicing PC into the inbox (or run stick sync), then run once or run",
        ),
        warnings=warnings,
    )


# Passes


def _exit_code(done: Pass) -> ExitCode:
    """Return what a pass came to as an exit status: the way to the bureau counts, a report's own state does not."""
    for kind, code in (
        (OutcomeUnknown, ExitCode.OUTCOME_UNKNOWN),
        (BureauUnreachable, ExitCode.BUREAU_UNREACHABLE),
        (BureauBusy, ExitCode.BUREAU_BUSY),
    ):
        if any(isinstance(p, kind) for p in done.problems):
            return code
    return ExitCode.OK


def _harvest_words(harvest: Harvest) -> list[Text]:
    words = []
    if harvest.reports or harvest.acks:
        words.append(
            Text(
                f"收到报税文件 {len(harvest.reports)} 个，清卡回执 {len(harvest.acks)} 个",
                f"{len(harvest.reports)} report(s) and {len(harvest.acks)} clear receipt(s) taken from the inbox",
            )
        )
    words.extend(
        Text(f"已隔离 {row.name}：{row.reason_zh}", f"set aside {row.name}: {row.reason_en}")
        for row in harvest.quarantined
    )
    if harvest.waiting:
        names = "、".join(harvest.waiting[:5])
        words.append(Text(f"还在写入，稍后再看：{names}", f"still being written, looked at later: {names}"))
    if harvest.foreign:
        words.append(Text(f"无关文件 {harvest.foreign} 个，没有动", f"{harvest.foreign} other file(s) were left alone"))
    return words


def _pass_outcome(done: Pass, store: Store, extra: dict[str, object]) -> Outcome:
    rows = store.reports()
    concerned = [r for r in rows if r.digest in done.moved or r.digest in done.answers]
    lines = _harvest_words(done.harvest)
    lines.extend(_line(r) for r in concerned)
    lines.extend(Text(f"已放入发件文件夹：{p.name}", f"staged: {p.name}") for p in done.staged)
    if done.acks:
        lines.append(Text(f"清卡回执已送达 {len(done.acks)} 个", f"{len(done.acks)} clear receipt(s) delivered"))
    if not lines and not done.problems:
        lines.append(_nothing_due(store))
    data: dict[str, object] = {
        "taken": done.harvest.reports,
        "acks_taken": done.harvest.acks,
        "quarantined": [
            {
                "file": r.name,
                "stored_name": r.stored_name,
                "code": r.code,
                "message": str(Text(r.reason_zh, r.reason_en)),
            }
            for r in done.harvest.quarantined
        ],
        "waiting_files": done.harvest.waiting,
        "foreign": done.harvest.foreign,
        "staged": [str(p) for p in done.staged],
        "acks_delivered": done.acks,
        "items": [_item(r) for r in concerned],
        **extra,
    }
    open_rows = [r for r in rows if r.state not in ONLINE_TERMINAL]
    return Outcome(
        data,
        lines,
        next_action=_next(concerned) or _next(open_rows),
        warnings=[*done.warnings, *done.harvest.warnings],
        errors=_once_each([*done.harvest.rejected, *done.problems]),
        exit_code=_exit_code(done),
    )


def _nothing_due(store: Store) -> Text:
    due = store.next_due()
    if due is None:
        return Text("没有到期的工作", "nothing was due")
    at = readable_time(due)
    return Text(
        f"没有到期的工作；下一项 {at} 到期，要立即处理请执行 results",
        f"nothing was due; the next thing is due at {at}. to do it now, run results",
    )


def _once_each(problems: Sequence[TaxferryError]) -> list[TaxferryError]:
    seen: dict[tuple[str, str], TaxferryError] = {}
    for problem in problems:
        seen.setdefault((problem.code, str(problem)), problem)
    return list(seen.values())


def _ask_the_service(home: Home) -> Outcome:
    """Let the running service do at once what a verb cannot do beside it."""
    with opened(home) as store:
        now = _CLOCK.now()
        rows = store.open_reports()
        for row in rows:
            store.apply(row.digest, AskNow(), now)
    return Outcome(
        {"service": True, "items": [_item(r) for r in rows]},
        [Text("服务（run）正在运行，已请它立即处理", "the service (run) is at work and was asked to do it at once")],
        next_action=Text("稍后用 list 查看", "see list in a moment"),
    )


@program.verb(
    "once",
    Text("处理一遍：收件、核对、上传、查询、备好结果", "one pass: take, prove, send, ask, stage"),
)
def once(context: Context) -> Outcome:
    """Do what is due, once."""
    home = Home(context.home)
    try:
        with at_work(home, _CLOCK) as station:
            return _pass_outcome(station.once(), station.store, {})
    except StationBusy:
        return _ask_the_service(home)


@program.verb(
    "results",
    Text("现在就查询结果，不等到期", "ask for results now, before they are due"),
)
def results(context: Context) -> Outcome:
    """Ask about every open report."""
    home = Home(context.home)
    try:
        with at_work(home, _CLOCK) as station:
            done = station.ask_now()
            outcome = _pass_outcome(done, station.store, {})
            items = [
                {**_item(row), "outcome": done.answers[row.digest]}
                for row in station.store.reports()
                if row.digest in done.answers
            ]
    except StationBusy:
        return _ask_the_service(home)
    code = outcome.exit_code
    only_y = bool(done.answers) and set(done.answers.values()) == {"processing"}
    if only_y and code is ExitCode.OK:
        code = ExitCode.STILL_PROCESSING
    return Outcome(
        {**outcome.data, "items": items},
        outcome.lines,
        outcome.next_action,
        outcome.warnings,
        code,
        outcome.errors,
    )


@program.verb(
    "upload",
    Text("上传一个报税文件", "send one report"),
    argument("file", type=FILE, help=Text(".dat 文件", "the .dat")),
)
def upload(context: Context, file: Path) -> Outcome:
    """Take one file and send it."""
    home = Home(context.home)
    try:
        with at_work(home, _CLOCK) as station:
            digest, done = station.upload(file)
            outcome = _pass_outcome(done, station.store, {})
            row = station.store.report(digest)
    except StationBusy:
        return _hand_to_the_service(home, file)
    assert row is not None
    code = outcome.exit_code
    if code is ExitCode.OK:
        code = {
            OnlineState.HELD: ExitCode.WRONG_STATE,
            OnlineState.CANCELLED: ExitCode.WRONG_STATE,
            OnlineState.UNKNOWN: ExitCode.OUTCOME_UNKNOWN,
            OnlineState.PROVEN: ExitCode.BUREAU_BUSY,
            OnlineState.FAILED: ExitCode.BUREAU_REFUSED,
        }.get(row.state, ExitCode.OK)
    return Outcome(
        {**outcome.data, **_item(row)},
        [_line(row)],
        _action(row),
        outcome.warnings,
        code,
        outcome.errors,
    )


def _hand_to_the_service(home: Home, file: Path) -> Outcome:
    now = _CLOCK.now()
    try:
        with file.open("rb") as opened_file:
            proven = prove_report(opened_file, Trust(home.trust, now).store, at=now)
    except OSError:
        raise FileMissing(what=file) from None
    with opened(home) as store:
        inbox = read_settings(home, store).inbox
    name = proven.header.name.file_name(".dat")
    copy_durably(file, inbox / name)
    return Outcome(
        {"service": True, "report_digest": proven.digest, "stem": proven.header.name.stem},
        [
            Text(
                f"已验证 {name}，放入收件文件夹，由正在运行的服务上传",
                f"{name} is proven and in the inbox; the running service sends it",
            )
        ],
        next_action=Text("稍后用 list 查看", "see list in a moment"),
    )


@program.verb(
    "run",
    Text(
        "作为服务运行：守候收件文件夹和U盘，按时查询，直到停止",
        "run as a service: attend to inbox and sticks, send, ask and stage until stopped",
    ),
    option(
        "--no-sticks",
        is_flag=True,
        help=Text("不自动传输插上的U盘", "leave sticks that are plugged in alone"),
    ),
)
def run(context: Context, no_sticks: bool) -> Outcome:
    """Work until SIGTERM or Ctrl-C."""
    home = Home(context.home)
    stop, wake = threading.Event(), threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt  # asked twice: at once. Whatever is under way is asked about at the next start.
        stop.set()
        wake.set()

    with at_work(home, _CLOCK, notify=context.emit if context.json else _narrator(context)) as station:
        handler = log_to(home.logs)
        before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            context.emit({"event": "ready", "at": format_time(_CLOCK.now()), "inbox": str(station.intake.inboxes.root)})
            context.say(
                Text(
                    f"服务已启动，守候 {station.intake.inboxes.root}",
                    f"the service is up and watches {station.intake.inboxes.root}",
                )
            )
            visiting = None if no_sticks else Visiting(home, _CLOCK, stop, wake, stick_verbs.narrator(context))
            if visiting is not None:
                visiting.start()
            station.run(stop, wake)
            if visiting is not None:
                visiting.join()
        finally:
            for number, old in before.items():
                signal.signal(number, old)
            stop_logging(handler)
        rows = [r for r in station.store.reports() if r.state not in ONLINE_TERMINAL]
    return Outcome(
        {"event": "stopped", "open": len(rows)},
        [Text(f"服务已停止，未完成的报告 {len(rows)} 个", f"the service has stopped; {len(rows)} report(s) are open")],
    )


def _narrator(context: Context) -> Callable[[Mapping[str, object]], None]:
    def say(event: Mapping[str, object]) -> None:
        at = readable_time(parse_time(str(event["at"])))
        words = service_line(str(event["event"]), {k: str(v) for k, v in event.items() if k not in ("at", "event")})
        context.say(Text(f"{at}  {words.zh}", f"{at}  {words.en}"))

    return say


# What there is


@program.verb("list", Text("列出全部报告和状态", "list all reports and their states"))
def list_reports(context: Context) -> Outcome:
    """List the reports."""
    with opened(Home(context.home)) as store:
        rows, quarantined, gaps = store.reports(), store.quarantined(), store.gaps()
    lines = [_line(r) for r in rows]
    lines.extend(Text(f"{r.name}  已隔离：{r.reason_zh}", f"{r.name}  quarantined: {r.reason_en}") for r in quarantined)
    if not lines:
        lines.append(Text("还没有报告", "there are no reports yet"))
    lines.extend(never_came(gap.taxpayer_id, gap.machine_no, gap.missing, gap.before) for gap in gaps)
    return Outcome(
        {"items": [*map(_item, rows), *map(_quarantined_item, quarantined)], "gaps": [asdict(gap) for gap in gaps]},
        lines,
        next_action=_next(rows),
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
    fault = _fault(row.snapshot)
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
    lines.extend(_leg_line(leg) for leg in legs if leg.leg == CAME)
    lines.extend(_event_line(e) for e in events)
    return Outcome(
        {
            **_item(row),
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
        next_action=_action(row),
    )


def _leg_line(leg: LegRow) -> Text:
    at = readable_time(leg.at)
    return Text(f"  {at}  由U盘“{leg.label}”带来", f"  {at}  came on stick '{leg.label}'")


def _show_qr(context: Context, home: Home, wanted: str, target: Path | None) -> Outcome:
    now = _CLOCK.now()
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
        **_item(row),
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
    period = f"{_CLOCK.now().date().replace(day=1) - timedelta(days=1):%Y-%m}"
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


# Companies

_companies = program.group(
    "companies", Text("企业名单：代账公司登记所服务的企业", "the companies that this station reports for")
)


@_companies.verb(
    "import",
    Text(
        "导入企业名单（csv、xlsx）：税号、名称、收件文件夹、密钥文件、口令文件\n\n要么全部导入，要么一家也不导入；再次导入会更新。",
        "take a list of companies (csv, xlsx): taxpayer_id, name, inbox, key, pin_file\n\n"
        "All or none; a second import brings them up to date.",
    ),
    argument("file", type=FILE, help=Text("企业名单", "the list")),
)
def companies_import(context: Context, file: Path) -> Outcome:
    """Register companies."""
    companies, notes = read_list(file)
    with opened(Home(context.home)) as store:
        done = Register(store).put(companies, _CLOCK.now())
    missing = [c for c in companies if c.key and not Path(c.key).is_file()]
    warnings = notes + [
        Text(f"{c.taxpayer_id} 的密钥文件不在：{c.key}", f"the key file of {c.taxpayer_id} is missing: {c.key}")
        for c in missing[:20]
    ]
    return Outcome(
        {"added": done.added, "changed": done.changed, "same": done.same, "keys_missing": len(missing)},
        [
            Text(
                f"新登记 {done.added} 家，更新 {done.changed} 家，未变 {done.same} 家",
                f"{done.added} registered, {done.changed} brought up to date, {done.same} unchanged",
            )
        ],
        Text("执行 board 查看哪些企业还没有报税", "run board to see who has not reported yet"),
        warnings,
    )


@_companies.verb("list", Text("列出登记的企业", "list the companies"))
def companies_list(context: Context) -> Outcome:
    """List the companies."""
    with opened(Home(context.home)) as store:
        companies = Register(store).companies()
    lines = []
    for company in companies:
        key = Text("自己的密钥", "a key of its own") if company.key else Text("用本站密钥（代办）", "the station's key")
        lines.append(
            Text(
                f"{company.taxpayer_id}  {company.name}  {key.zh}{'，文件夹 ' + company.inbox if company.inbox else ''}",
                f"{company.taxpayer_id}  {company.name}  {key.en}{', folder ' + company.inbox if company.inbox else ''}",
            )
        )
    return Outcome(
        {
            "items": [
                {
                    "taxpayer_id": c.taxpayer_id,
                    "name": c.name,
                    "inbox": c.inbox,
                    "key": c.key,
                    "pin_file": c.pin_file,
                    "key_present": bool(c.key) and Path(c.key).is_file(),
                }
                for c in companies
            ]
        },
        lines or [Text("还没有登记企业", "no company is registered")],
    )


@_companies.verb(
    "remove",
    Text("从名单中去掉一家企业；它的报告保留", "take a company off the register; its reports stay"),
    argument("taxpayer_id", metavar="TAXPAYER_ID", help=Text("税号", "taxpayer id")),
)
def companies_remove(context: Context, taxpayer_id: str) -> Outcome:
    """Remove a company."""
    with opened(Home(context.home)) as store:
        if not Register(store).remove(taxpayer_id.strip().upper()):
            raise NotFound(what=taxpayer_id[:80])
    return Outcome(
        {"taxpayer_id": taxpayer_id}, [Text(f"已从名单中去掉 {taxpayer_id}", f"{taxpayer_id} is off the register")]
    )


# What an operator decides


def _decide(context: Context, wanted: str, verb: str, event: Event) -> Outcome:
    with opened(Home(context.home)) as store:
        row = store.find(wanted)
        before = row.snapshot
        if not _already(before, verb):
            _permit(before, verb)
            store.apply(row.digest, event, _CLOCK.now())
        row = store.find(row.digest)
    return Outcome(_item(row), [_line(row)], next_action=_action(row))


def _already(snapshot: Snapshot, verb: str) -> bool:
    """Return whether a verb was carried out before: then it changes nothing and succeeds."""
    state = snapshot.state
    match verb:
        case "hold":
            return snapshot.hold is HoldReason.OPERATOR
        case "release":
            return snapshot.released
        case "retry":
            return snapshot.receipt_no != "" and state in (
                OnlineState.PROVEN,
                OnlineState.SENDING,
                OnlineState.UNKNOWN,
                OnlineState.ACCEPTED,
                OnlineState.PROCESSING,
            )
        case "cancel":
            return state is OnlineState.CANCELLED
        case _:
            return False


def _permit(snapshot: Snapshot, verb: str) -> None:
    words = state_words(snapshot)
    follow = next_action(snapshot, _fault(snapshot))
    if verb == "release" and snapshot.state is OnlineState.PROVEN:
        return
    if not operator_may(snapshot, verb):
        raise WrongState(reason=words, next_action=follow)
    taken_and_final = bool(snapshot.receipt_no) and snapshot.resend in ("new-report", "never")
    if verb == "retry" and taken_and_final:
        raise WrongState(
            reason=Text(
                f"{words.zh}；同一文件再传，税局的答复不会改变",
                f"{words.en}; the same bytes would get the same answer",
            ),
            next_action=follow,
        )


_ID: Final = argument("wanted", metavar="ID", help=Text("摘要、摘要开头或文件名", "digest, its start, or file name"))


@program.verb("retry", Text("改正后把同一个文件再传一次", "send the same bytes again after a correction"), _ID)
def retry(context: Context, wanted: str) -> Outcome:
    """Send again."""
    return _decide(context, wanted, "retry", OperatorRetry())


@program.verb("hold", Text("暂不上传", "keep a report from being sent"), _ID)
def hold(context: Context, wanted: str) -> Outcome:
    """Hold."""
    return _decide(context, wanted, "hold", OperatorHold())


@program.verb("release", Text("放行：不论申报情况都上传", "send a report despite a hold"), _ID)
def release(context: Context, wanted: str) -> Outcome:
    """Send despite a hold."""
    return _decide(context, wanted, "release", OperatorRelease())


@program.verb("cancel", Text("放弃一个报告，不再上传", "give a report up"), _ID)
def cancel(context: Context, wanted: str) -> Outcome:
    """Give up."""
    return _decide(context, wanted, "cancel", OperatorCancel())


# Stick

_stick = program.group(
    "stick", Text("U盘：准备、查看、同步、弹出、交接单、光盘", "sticks: prepare, list, sync, eject, slip, disc")
)


@_stick.verb(
    "prepare",
    Text(
        "准备U盘：做标记，不格式化，不动其他文件\n\n只插着一个新U盘时不用写位置。",
        "make a stick ours: a marker; nothing is formatted or removed\n\nIf only one new stick is in, it is meant.",
    ),
    *stick_verbs.prepare_parameters(),
)
def stick_prepare(context: Context, folder: Path | None, label: str, yes: bool, new_identity: bool) -> Outcome:
    """Make the marker."""
    with _sticks(context) as sticks:
        where = folder.absolute() if folder is not None else stick_verbs.the_new_one(sticks.found())
        stick_verbs.ask_first(context, where, yes=yes)
        identity = sticks.prepare(where, label, new_identity=new_identity, now=_CLOCK.now())
    return stick_verbs.prepared(identity, where)


@contextlib.contextmanager
def _sticks(context: Context) -> Iterator[Sticks]:
    home = Home(context.home)
    with opened(home) as store:
        yield sticks_of(store, read_settings(home, store).station_id)


@_stick.verb(
    "list",
    Text("查看插着的U盘、各自的状态和上面的文件", "show the sticks that are in, their states and their files"),
    stick_verbs.stick_argument(),
)
def stick_list(context: Context, folder: Path | None) -> Outcome:
    """List sticks."""
    with _sticks(context) as sticks:
        found = sticks.found()
        return stick_verbs.listed(
            found, sticks.meant(folder, found), sticks.listing, to_place=sticks.to_place(), next_action=None
        )


@_stick.verb(
    "sync",
    Text("双向一次完成：取报税文件，放结果", "both directions in one go: reports off it, results onto it"),
    stick_verbs.stick_argument(),
)
def stick_sync(context: Context, folder: Path | None) -> Outcome:
    """Take what came, leave what goes back."""
    home = Home(context.home)
    now = _CLOCK.now()
    with opened(home) as store:
        settings: Settings = read_settings(home, store)
        done = synchronise(
            sticks_of(store, settings.station_id).find(folder),
            station=settings.station_id,
            home=home,
            store=store,
            trust=Trust(home.trust, now),
            inbox=settings.inbox,
            now=now,
            progress=context.progress,
        )
    lines, warnings = visit_words(done)
    errors = _once_each([*done.problems, *([done.failure] if done.failure is not None else [])])
    code = ExitCode.OK if done.failure is None else done.failure.exit_code
    return Outcome(visit_json(done), lines, after_visit(done), warnings, code, errors)


@_stick.verb(
    "eject",
    Text(
        "弹出U盘：确认全部写完，能断电就断电", "eject a stick: everything is written, and it is powered off if possible"
    ),
    stick_verbs.stick_argument(),
)
def stick_eject(context: Context, folder: Path | None) -> Outcome:
    """Prove that everything has reached the medium, and let go of it."""
    with _sticks(context) as sticks:
        path = sticks.find(folder)
        identity = sticks.settle(path)
    return stick_verbs.ejected(identity, path)


@_stick.verb(
    "slip",
    Text(
        "打印交接单：列出U盘上带回的文件，供双方签名", "a printable slip of what the stick carries back, for signatures"
    ),
    *stick_verbs.slip_parameters(),
)
def stick_slip(context: Context, folder: Path | None, out: Path | None) -> Outcome:
    """Write a transfer slip."""
    home = Home(context.home)
    now = _CLOCK.now()
    with opened(home) as store:
        station = read_settings(home, store).station_id
        where = sticks_of(store, station).find(folder)
        made = slip(where, station=station, home=home, store=store, trust=Trust(home.trust, now), now=now)
    return stick_verbs.slip_written(made, out if out is not None else home.logs / f"{made.number}.html")


@_stick.verb(
    "disc",
    Text(
        "准备刻光盘：把要带回的结果和交接单放进一个文件夹\n\n给不许用可写U盘的单位。",
        "prepare a disc: the results and their slip, in a folder to burn\n\nFor sites that forbid sticks that can be written.",
    ),
    argument("folder", type=FOLDER, metavar="DIR", help=Text("新的空文件夹", "a new, empty folder")),
    option("--label", default="", metavar="NAME", help=Text("光盘的名称", "the disc's name")),
)
def stick_disc(context: Context, folder: Path, label: str) -> Outcome:
    """Fill a folder that is to be burnt."""
    home = Home(context.home)
    now = _CLOCK.now()
    folder = folder.absolute()
    with opened(home) as store:
        settings = read_settings(home, store)
        station, trust = settings.station_id, Trust(home.trust, now)
        sticks_of(store, station).prepare_disc(folder, label, now=now)
        done = synchronise(
            folder,
            station=station,
            home=home,
            store=store,
            trust=trust,
            inbox=settings.inbox,
            now=now,
            remember=False,
            progress=context.progress,
        )
        if done.failure is not None:
            raise done.failure
        made = slip(folder, station=station, home=home, store=store, trust=trust, now=now)
    written = stick_verbs.slip_written(made, folder / stick_verbs.SLIP_NAME)
    lines, warnings = visit_words(done)
    return Outcome(
        visit_json(done) | dict(written.data), [*lines[:-1], *written.lines], stick_verbs.burn_next(folder), warnings
    )


# Both stations on one PC


@program.verb(
    "pair",
    Text(
        "开票机可以联网时：两个程序装在同一台电脑，用一个文件夹代替U盘\n\n"
        "之后让 offline-station watch 和 online-station run 一直开着即可；证明和检查与用U盘时完全相同。",
        "where the invoicing PC may have a network: both programs on one PC, a folder in place of the stick\n\n"
        "Then leave offline-station watch and online-station run on; everything is proven just as with a stick.",
    ),
    option(
        "--offline-home",
        type=FOLDER,
        metavar="DIR",
        help=Text("开票机程序的数据文件夹；默认是系统的", "the home of offline-station; the system's by default"),
    ),
    option(
        "--folder",
        type=FOLDER,
        metavar="DIR",
        help=Text("代替U盘的文件夹；默认在本站的数据文件夹里", "the folder; in this station's home by default"),
    ),
)
def pair(context: Context, offline_home: Path | None, folder: Path | None) -> Outcome:
    """Let a folder stand for the stick, on both sides."""
    where = (folder if folder is not None else context.home / "passage").absolute()
    label = "本机文件夹"
    with _sticks(context) as sticks:
        where.mkdir(parents=True, exist_ok=True)
        stick_verbs.ask_first(context, where, yes=False)
        sticks.prepare(where, label, new_identity=False, now=_CLOCK.now())
    told = tell_offline_station(offline_home, where)
    return Outcome(
        {"folder": str(where), "offline_home": told},
        [Text(f"两个程序都用 {where} 代替U盘", f"both programs use {where} in place of a stick")],
        Text(
            "让 offline-station watch 和 online-station run 一直开着；之后在开票机程序里 copy、report、result、clear 即可",
            "leave offline-station watch and online-station run on; then copy, report, result and clear as usual",
        ),
    )


# Checks


@program.verb("doctor", Text("检测环境，逐项给出办法", "check everything, each with a remedy"))
def doctor(context: Context) -> Outcome:
    """Check everything."""
    home = Home(context.home)
    now = _CLOCK.now()
    findings: list[diagnosis.Finding] = []
    with opened(home) as store:
        settings = read_settings(home, store)
        trust = Trust(home.trust, now)
        findings.extend(diagnosis.folders(home, settings.inbox, settings.outbox))
        findings.append(diagnosis.reader())
        findings.append(diagnosis.trust_file(trust))
        try:
            signer = settings.signer()
        except TaxferryError as error:
            findings.append(diagnosis.Finding("key", "error", error.text, error.advice))
        else:
            findings.extend(diagnosis.key(signer, trust.store, now))
            gateway = settings.gateway(signer, _CLOCK)
            findings.extend(diagnosis.network(settings.bureau, gateway, now))
            if findings[-1].name == "clock":
                findings.append(diagnosis.on_file(gateway, settings.taxpayer_id, fingerprint(signer.certificate), now))
        quarantined = len(store.quarantined())
        if quarantined:
            findings.append(
                diagnosis.Finding(
                    "quarantine",
                    "warning",
                    Text(f"隔离文件 {quarantined} 个", f"{quarantined} file(s) in quarantine"),
                    _READ_WHY,
                )
            )
    bad = [f for f in findings if f.verdict == "error"]
    code = ExitCode.OK
    if bad:
        unreachable = bad[0].name in ("network", "lan", "bureau")
        code = ExitCode.BUREAU_UNREACHABLE if unreachable else ExitCode.CONFIGURATION
    marks = {"ok": "√", "warning": "!", "error": "×"}  # all exist in the Chinese code page
    lines = []
    for finding in findings:
        mark, message, remedy = marks[finding.verdict], finding.message, finding.remedy
        arrow = " → " if remedy.zh else ""
        lines.append(
            Text(
                f"{mark} {finding.title.zh}：{message.zh}{arrow}{remedy.zh}",
                f"{mark} {finding.title.en}: {message.en}{arrow}{remedy.en}",
            )
        )
    return Outcome(
        {
            "items": [
                {"name": f.name, "verdict": f.verdict, "message": str(f.message), "remedy": str(f.remedy)}
                for f in findings
            ]
        },
        lines,
        next_action=bad[0].remedy if bad else None,
        warnings=[f.message for f in findings if f.verdict == "warning"],
        exit_code=code,
    )


add_standard_verbs(program)
