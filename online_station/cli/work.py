"""Take, send, ask, stage: once, or as a service."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

import click

from online_station.cli import base
from online_station.cli.base import program
from online_station.cli.words import action, item, line_of, next_of
from online_station.core.decide import (
    AskNow,
)
from online_station.core.story import service_line
from online_station.shell.health import Address, parse_address
from online_station.shell.home import Home
from online_station.shell.intake import Harvest
from online_station.shell.log import log_event, log_to, logging_too, read_log_settings, stop_logging
from online_station.shell.notify import Heartbeat, Notifier
from online_station.shell.oversight import Oversight
from online_station.shell.quiet_hour import QuietHour
from online_station.shell.runner import THREADS
from online_station.shell.setup import at_work, opened, read_settings
from online_station.shell.steps import Pass
from online_station.shell.store import Store
from online_station.shell.trust import Trust
from online_station.shell.visiting import Visiting
from shared import stick_verbs
from shared.cli import FILE, Context, Outcome, argument, option
from shared.clock import format_time, parse_time, readable_time
from shared.durable import copy_durably
from shared.envelope.opening import prove_report
from shared.errors import (
    BureauBusy,
    BureauUnreachable,
    ExitCode,
    FileMissing,
    OutcomeUnknown,
    StationBusy,
    TaxferryError,
)
from shared.states import ONLINE_TERMINAL, OnlineState
from shared.text import Text

_UNFINISHED: Final = frozenset(OnlineState) - ONLINE_TERMINAL


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
    concerned = store.some({*done.moved, *done.answers})
    lines = _harvest_words(done.harvest)
    lines.extend(line_of(r) for r in concerned)
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
        "items": [item(r) for r in concerned],
        **extra,
    }
    return Outcome(
        data,
        lines,
        next_action=next_of(concerned) or next_of(store.reports(_UNFINISHED)),
        warnings=[*done.warnings, *done.harvest.warnings],
        errors=once_each([*done.harvest.rejected, *done.problems]),
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


def once_each(problems: Sequence[TaxferryError]) -> list[TaxferryError]:
    """Return each of several like problems once."""
    seen: dict[tuple[str, str], TaxferryError] = {}
    for problem in problems:
        seen.setdefault((problem.code, str(problem)), problem)
    return list(seen.values())


def _ask_the_service(home: Home) -> Outcome:
    """Let the running service do at once what a verb cannot do beside it."""
    with opened(home) as store:
        now = base.CLOCK.now()
        rows = store.open_reports()
        for row in rows:
            store.apply(row.digest, AskNow(), now)
    return Outcome(
        {"service": True, "items": [item(r) for r in rows]},
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
        with at_work(home, base.CLOCK) as station:
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
        with at_work(home, base.CLOCK) as station:
            done = station.ask_now()
            outcome = _pass_outcome(done, station.store, {})
            items = [{**item(row), "outcome": done.answers[row.digest]} for row in station.store.some(done.answers)]
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
        with at_work(home, base.CLOCK) as station:
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
        {**outcome.data, **item(row)},
        [line_of(row)],
        action(row),
        outcome.warnings,
        code,
        outcome.errors,
    )


def _hand_to_the_service(home: Home, file: Path) -> Outcome:
    now = base.CLOCK.now()
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
    option(
        "--threads",
        type=click.IntRange(1, 64),
        default=THREADS,
        metavar="N",
        help=Text(f"同时办理的件数，默认 {THREADS}", f"how many steps are done at once ({THREADS})"),
    ),
    option(
        "--metrics",
        metavar="HOST:PORT",
        help=Text(
            "在这个地址提供指标和健康检查（例：127.0.0.1:9464）",
            "serve metrics and health there (like 127.0.0.1:9464)",
        ),
    ),
)
def run(context: Context, no_sticks: bool, threads: int, metrics: str | None) -> Outcome:
    """Work until SIGTERM or Ctrl-C."""
    home = Home(context.home)
    address = None if metrics is None else parse_address(metrics)
    over = Oversight(home, base.CLOCK)
    notifier = Notifier()
    stop, wake = threading.Event(), Heartbeat(notifier)

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt  # asked twice: at once. Whatever is under way is asked about at the next start.
        stop.set()
        wake.set()
        notifier.stopping()

    told = logging_too(context.emit if context.json else _narrator(context))
    with at_work(home, base.CLOCK, notify=told, gateway=over.gateway) as station, contextlib.ExitStack() as beside:
        beside.callback(stop_logging, log_to(home.logs, read_log_settings(station.store)))
        where = beside.enter_context(over.watching(stop, address))
        station.meter = over.meter
        before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            ready = {"event": "ready", "at": format_time(base.CLOCK.now()), "inbox": str(station.intake.inboxes.root)}
            log_event(ready)
            beside.callback(log_event, {"event": "stopped"})
            context.emit(ready if where is None else {**ready, "metrics": f"{where.url}/metrics"})
            context.say(
                Text(
                    f"服务已启动，守候 {station.intake.inboxes.root}",
                    f"the service is up and watches {station.intake.inboxes.root}",
                )
            )
            _say_where(context, where)
            tell = over.counting(stick_verbs.narrator(context))
            visiting = None if no_sticks else Visiting(home, base.CLOCK, stop, wake, tell)
            if visiting is not None:
                visiting.start()
            quiet = QuietHour(home, station.store, base.CLOCK, stop)
            quiet.start()
            notifier.ready(str(Text("守候收件文件夹", "watching the inbox")))
            station.run(stop, wake, threads=threads)
            if visiting is not None:
                visiting.join()
            quiet.join()
        finally:
            for number, old in before.items():
                signal.signal(number, old)
        left = station.store.count_open()
    return Outcome(
        {"event": "stopped", "open": left},
        [Text(f"服务已停止，未完成的报告 {left} 个", f"the service has stopped; {left} report(s) are open")],
    )


def _say_where(context: Context, where: Address | None) -> None:
    if where is None:
        return
    context.say(
        Text(
            f"指标 {where.url}/metrics，健康检查 {where.url}/healthz 和 {where.url}/readyz",
            f"metrics at {where.url}/metrics, health at {where.url}/healthz and {where.url}/readyz",
        )
    )
    if not where.is_local:
        context.say(
            Text(
                "注意：别的电脑也能看到这些数字；没有口令，请用防火墙限制",
                "note: other PCs can see these numbers, without a password: let a firewall say who may",
            )
        )


def _narrator(context: Context) -> Callable[[Mapping[str, object]], None]:
    def say(event: Mapping[str, object]) -> None:
        at = readable_time(parse_time(str(event["at"])))
        words = service_line(str(event["event"]), {k: str(v) for k, v in event.items() if k not in ("at", "event")})
        context.say(Text(f"{at}  {words.zh}", f"{at}  {words.en}"))

    return say
