"""The verbs of the invoicing PC (开票机), in the order of the original software's buttons."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final, cast

import click

from offline_station.card.port import CardReading
from offline_station.core.card_rules import CopyRecord, SeenResult
from offline_station.core.next_action import Situation, age_in_words, next_action
from offline_station.ledger.export import export_invoices
from offline_station.ledger.store import InvoiceFilter
from offline_station.shell import visit
from offline_station.shell.arrivals import Arrival, read_ordinary
from offline_station.shell.doctor import MEMORY_LOST, examine_station
from offline_station.shell.home import Home
from offline_station.shell.journal import export_log
from offline_station.shell.operators import ROLES, Operators, Right, Role, require
from offline_station.shell.scanning import scan as scan_codes
from offline_station.shell.station import PROGRAM, Answer, Refusal, Station
from offline_station.shell.store import Event, ReportLife
from shared import stick_verbs
from shared.cli import (
    FILE,
    FOLDER,
    Context,
    Outcome,
    Program,
    add_standard_verbs,
    argument,
    as_taxferry_error,
    option,
    stopping,
)
from shared.clock import Clock, SystemClock, format_time, readable_time
from shared.envelope.roles import fingerprint
from shared.errors import ExitCode, FileMissing, MediumError, NotInitialised, StationBusy, TaxferryError, UsageError
from shared.faults import find
from shared.ids import taxpayer_id_warning
from shared.medium.attend import attend
from shared.medium.find import STATES, FoundStick
from shared.medium.volumes import MountWake
from shared.model.report import KIND_NAMES, InvoiceKind, InvoiceStatus
from shared.money import format_fen, format_yuan
from shared.states import CardState, OfflineState
from shared.stick_words import carried_words, read_only_warning, useless_words
from shared.text import Text, both
from shared.text.fingerprints import grouped

program = Program(
    PROGRAM, Text("税渡 开票机：抄税、报税、清卡，不连网络", "taxferry, invoicing PC: copy, report, clear; no network")
)
clock: Clock = SystemClock()

_CLOCK_TOLERANCE_SECONDS: Final = 300
_MAX_PASSWORD_BYTES: Final = 4096
_STATES: Final = {
    "to-copy": Text("待抄税", "to copy"),
    "copied": Text("已抄税，待报税", "copied, to be reported"),
    "to-clear": Text("待清卡", "to clear"),
    "done": Text("已完成", "done"),
    "locked": Text("锁死", "locked"),
}
_LIVES: Final = {
    OfflineState.COPIED: Text("已抄税", "copied"),
    OfflineState.SEALED: Text("已生成报税文件", "sealed"),
    OfflineState.CARRIED: Text("已放上U盘", "on the stick"),
    OfflineState.FAILED: Text("报税失败", "failed"),
    OfflineState.SUCCEEDED: Text("报税成功", "succeeded"),
    OfflineState.CLEARED: Text("已清卡", "cleared"),
    OfflineState.ACKNOWLEDGED: Text("已结案", "acknowledged"),
    OfflineState.SUPERSEDED: Text("已被新的抄税取代", "superseded"),
}


def _home(context: Context) -> Home:
    return Home(context.home)


def _open(context: Context) -> Station:
    return Station.open(_home(context), clock)


def _look(context: Context) -> Station:
    """Open for looking: if another process is at work, what it has saved so far is shown."""
    try:
        return Station.open(_home(context), clock)
    except StationBusy:
        return Station.open(_home(context), clock, exclusive=False)


def _glance(context: Context) -> Station:
    """Open for a glance that is in nobody's way."""
    return Station.open(_home(context), clock, exclusive=False)


def _warnings(station: Station, reading: CardReading) -> list[Text]:
    found = []
    if station.memory_lost:
        found.append(MEMORY_LOST)
    behind = (reading.at - clock.now()).total_seconds()
    if behind > _CLOCK_TOLERANCE_SECONDS:
        age = age_in_words(behind)
        found.append(
            Text(
                f"本机时钟比税局时间慢 {age.zh}，请校正；判断按税局时间进行",
                f"this PC's clock is {age.en} behind the bureau's; correct it. decisions use the bureau's time",
            )
        )
    return found


# Who acts


def _who_acts() -> list[click.Parameter]:
    return [
        option(
            "--operator", metavar="NAME", help=Text("由谁操作（设置了操作员时）", "who acts, where there are operators")
        ),
        option(
            "--password-file",
            type=FILE,
            metavar="FILE",
            help=Text(
                "存有其密码的文件；不给时在终端询问", "a file with the password; asked for on a terminal otherwise"
            ),
        ),
    ]


def _prove_operator(context: Context, name: str | None, password_file: Path | None, right: Right) -> str:
    """Return who acts, having proven it; nobody has to where there are no operators.

    Raises:
        NotAllowed: They may not do this.
        SignInRefused: It is not them.
        UsageError: They have to be named.
    """
    operators = Operators(_home(context).operators)
    if not operators.any:
        return ""
    if name is None:
        why = Text("设置了操作员：请用 --operator 写明由谁操作", "there are operators: say with --operator who acts")
        raise UsageError(reason=why, command=PROGRAM)
    found = operators.prove(name, _password(context, password_file, Text("密码", "Password")), clock.now())
    require(found, right)
    return found.name


def _password(context: Context, file: Path | None, prompt: Text, *, twice: bool = False) -> str:
    if file is not None:
        data = read_ordinary(file, _MAX_PASSWORD_BYTES, follow=True)
        if data is None:
            raise FileMissing(what=file)
        return data.decode("utf-8-sig", "replace").rstrip("\r\n")
    if context.json or sys.stdin is None or not sys.stdin.isatty():
        why = Text(
            "缺少 --password-file（没有终端可以询问密码）", "--password-file is missing: there is no terminal to ask on"
        )
        raise UsageError(reason=why, command=PROGRAM)
    return str(click.prompt(str(prompt), hide_input=True, confirmation_prompt=twice, err=True))


# init


@program.verb(
    "init",
    Text("初始化：装入金税卡，设置传出目录和传入目录", "take a card in, and set the outbox and inbox"),
    option(
        "--card",
        type=FILE,
        help=Text("金税卡文件（.taxcard），装入后原文件移走", "the card file (.taxcard); it is moved in"),
    ),
    option("--outbox", type=FOLDER, help=Text("传出目录：.dat 和 .ack 放在这里", "outbox: .dat and .ack are put here")),
    option("--inbox", type=FOLDER, help=Text("传入目录：在这里找 .txt", "inbox: .txt is looked for here")),
    option(
        "--stick",
        type=FOLDER,
        metavar="DIR|LABEL",
        help=Text(
            "从上网机准备的U盘取得信任文件；只插着一个时不用写",
            "a stick that the Internet PC prepared, for its trust file; needless if only one is in",
        ),
    ),
)
def init(context: Context, card: Path | None, outbox: Path | None, inbox: Path | None, stick: Path | None) -> Outcome:
    """Take a card in."""
    home = _home(context)
    if card is None and not home.card.exists():
        raise UsageError(reason=Text("缺少 --card FILE", "--card FILE is missing"), command=f"{PROGRAM} init")
    done = Station.initialise(home, card, clock, outbox=outbox, inbox=inbox)
    with _open(context) as station:
        met = _meet(station, stick)
        reading = station.read()
        facts = reading.facts
        root = fingerprint(station.card.trust_in_force().roots_in_force[-1])
        lines = [
            Text(f"已装入金税卡 {done.card_no}", f"card {done.card_no} is in")
            if done.taken_in
            else Text(f"金税卡 {done.card_no} 已经在本站，没有重复装入", f"card {done.card_no} was in already"),
            _who(reading),
            Text(f"传出目录 {station.outbox}", f"outbox {station.outbox}"),
            Text(f"传入目录 {station.inbox}", f"inbox {station.inbox}"),
            Text(
                f"税局根证书指纹（设置上网机时核对）{grouped(root)}",
                f"fingerprint of the bureau's root, to compare when the Internet PC is set up: {grouped(root)}",
            ),
            *met,
        ]
        odd = taxpayer_id_warning(facts.taxpayer_id)
        if odd is not None:
            lines.append(odd)
        data = {
            "card_no": done.card_no,
            "taxpayer_id": facts.taxpayer_id,
            "taxpayer_name": reading.taxpayer_name,
            "machine_no": facts.machine_no,
            "sub_machines": reading.sub_machines,
            "taken_in": done.taken_in,
            "outbox": str(station.outbox),
            "inbox": str(station.inbox),
            "home": str(home.root),
            "lock_date": facts.lock_date.isoformat(),
            "root_fingerprint": root,
            "trust_version": reading.trust_version,
        }
        return Outcome(data, lines, station.next_action(reading))


def _meet(station: Station, stick: Path | None) -> list[Text]:
    """Take what the Internet PC has left on a stick for a PC that has only its card."""
    try:
        label, version = visit.meet(station, stick)
    except MediumError:
        if stick is not None:
            raise
        return []  # no stick, or not one that is meant without being named
    if not version:
        return []
    return [
        Text(
            f"从U盘“{label}”更新了信任文件（版本 {version}）",
            f"the trust file of the stick '{label}' is in force now (version {version})",
        )
    ]


def _who(reading: CardReading) -> Text:
    facts = reading.facts
    which = (
        Text(f"{facts.machine_no} 号分机", f"machine {facts.machine_no}")
        if facts.machine_no
        else Text(f"主机（另有 {reading.sub_machines} 台分机）", f"main machine (sub machines: {reading.sub_machines})")
        if reading.sub_machines
        else Text("主机（没有分机）", "main machine (no sub machines)")
    )
    return Text(
        f"{reading.taxpayer_name} 税号 {facts.taxpayer_id} {which.zh}",
        f"{reading.taxpayer_name}, taxpayer {facts.taxpayer_id}, {which.en}",
    )


# invoices

invoices = program.group("invoices", Text("已开发票：导入、查询、导出", "invoices: import, list, export"))
_KIND: Final = click.Choice(sorted(KIND_NAMES))
_STATUS: Final = click.Choice(["positive", "negative", "positive-void", "negative-void", "blank-void"])


_STATUS_WORDS: Final[dict[InvoiceStatus, Text]] = {
    "positive": Text("正数", "positive"),
    "negative": Text("负数", "negative"),
    "positive-void": Text("正废", "positive void"),
    "negative-void": Text("负废", "negative void"),
    "blank-void": Text("空废", "blank void"),
}


def _filter_options() -> list[click.Parameter]:
    return [
        option("--month", metavar="YYYY-MM", help=Text("开票月份", "month of issue")),
        option("--kind", type=_KIND, help=Text("票种", "invoice kind")),
        option("--status", type=_STATUS, help=Text("状态", "status")),
        option(
            "--text",
            default="",
            help=Text("号码、购方名称或税号的一部分", "part of the number, buyer's name or number"),
        ),
    ]


def _filter(month: str | None, kind: str | None, status: str | None, text: str) -> InvoiceFilter:
    if month is not None:
        try:
            date.fromisoformat(month + "-01")
        except ValueError:
            raise UsageError(
                reason=Text(f"月份应为 YYYY-MM：{month}", f"a month is YYYY-MM: {month}"), command=f"{PROGRAM} invoices"
            ) from None
    return InvoiceFilter(
        month=month, kind=cast("InvoiceKind | None", kind), status=cast("InvoiceStatus | None", status), text=text
    )


@invoices.verb(
    "import",
    Text(
        "导入开票软件导出的发票清单（xls、xlsx、csv、xml、txt）\n\n每个文件要么全部导入，要么一张也不导入。",
        "import lists that the invoicing software exported (xls, xlsx, csv, xml, txt)\n\nEach file wholly or not at all.",
    ),
    argument("files", nargs=-1, required=True, type=FILE, help=Text("发票清单", "invoice lists")),
    option("--kind", type=_KIND, help=Text("清单不写票种时的票种", "the kind, for lists that do not say it")),
)
def invoices_import(context: Context, files: tuple[Path, ...], kind: str | None) -> Outcome:
    """Take over invoice lists."""
    with _open(context) as station:
        reports = station.import_files(files, kind=cast("InvoiceKind | None", kind), progress=context.progress)
        behind = station.behind()
        next_one = station.next_action()
    lines: list[Text] = []
    errors: list[TaxferryError] = []
    warnings: list[Text] = []
    for report in reports:
        error = report.error
        if error is not None:
            errors.append(error)
            lines.append(Text(f"{report.file}：没有导入", f"{report.file}: not imported"))
            lines += [Text(f"  {p.in_words.zh}", f"  {p.in_words.en}") for p in report.problems[:20]]
            if report.problem_count > 20:
                more = report.problem_count - 20
                lines.append(Text(f"  另有 {more} 处", f"  and {more} more"))
        else:
            amount, tax = format_yuan(report.amount), format_yuan(report.tax)
            lines.append(
                Text(
                    f"{report.file}：导入 {report.invoices} 张（作废 {report.voided}），金额 {amount}，税额 {tax}；"
                    f"跳过已有 {report.skipped} 张",
                    f"{report.file}: {report.invoices} invoices ({report.voided} void), amount {amount}, tax {tax}; "
                    f"{report.skipped} known already",
                )
            )
        lines += [Text(f"  注意 {w.in_words.zh}", f"  note {w.in_words.en}") for w in report.warnings[:20]]
    if behind:
        warnings.append(_behind(sorted(behind)))
    return Outcome({"files": [r.as_json() for r in reports]}, lines, next_one, warnings, errors=errors)


def _behind(months: Sequence[str]) -> Text:
    text = "、".join(months)
    return Text(
        f"{text} 的发票明细比卡上的少（恢复过备份），请重新导入这些月份的清单",
        f"the ledger holds less than the card for {text} (a backup was restored): import those months' lists again",
    )


@invoices.verb(
    "list",
    Text("已开发票查询", "show invoices"),
    *_filter_options(),
    option("--limit", type=click.IntRange(1, 1000), default=50, help=Text("每页张数", "invoices per page")),
    option("--after", help=Text("上一页给出的续页标记", "where the page before ended")),
)
def invoices_list(
    context: Context,
    month: str | None,
    kind: str | None,
    status: str | None,
    text: str,
    limit: int,
    after: str | None,
) -> Outcome:
    """Show a page of invoices."""
    wanted = _filter(month, kind, status, text)
    with _look(context) as station:
        page = station.ledger.invoices(wanted, limit=limit, after=after)
        count = station.ledger.count(wanted)
        next_one = station.next_action()
    lines = [
        Text(
            f"{i.day}  {i.kind}  {i.key}  {_STATUS_WORDS[i.status].zh} {i.amount:>16} {i.tax:>14}  {i.buyer_name}",
            f"{i.day}  {i.kind}  {i.key}  {i.status:14} {i.amount:>16} {i.tax:>14}  {i.buyer_name}",
        )
        for i in page.invoices
    ]
    lines.append(Text(f"共 {count} 张", f"{count} in all"))
    if page.after is not None:
        lines.append(Text(f"下一页：--after {page.after}", f"next page: --after {page.after}"))
    data = {
        "items": [
            i.model_dump(mode="json", exclude={"lines", "type"}) | {"lines": len(i.lines)} for i in page.invoices
        ],
        "count": count,
        "after": page.after,
    }
    return Outcome(data, lines, next_one)


@invoices.verb(
    "export",
    Text("数据导出：把发票存为 xlsx 或 csv", "save invoices as xlsx or csv"),
    argument("file", type=FILE, help=Text("目标文件，.xlsx 或 .csv", "target file, .xlsx or .csv")),
    *_filter_options(),
)
def invoices_export(
    context: Context, file: Path, month: str | None, kind: str | None, status: str | None, text: str
) -> Outcome:
    """Export invoices."""
    wanted = _filter(month, kind, status, text)
    with _look(context) as station:
        total = station.ledger.count(wanted)
        what = Text("导出", "exporting")
        count = export_invoices(
            station.ledger.each_invoice(wanted), file, progress=lambda done: context.progress(done, total, what)
        )
        next_one = station.next_action()
    line = Text(f"已导出 {count} 张到 {file}", f"{count} invoices are in {file}")
    return Outcome({"file": str(file), "invoices": count}, [line], next_one)


# status


@program.verb("status", Text("报税状态：卡的状态、锁死日期、剩余天数", "the card's state, lock date and days left"))
def status(context: Context) -> Outcome:
    """Show the card."""
    with _look(context) as station:
        reading = station.read()
        copy = reading.facts.open_copy
        life = station.life_of(copy)
        next_one = station.next_action(reading)
        behind = sorted(station.behind())
        warnings = _warnings(station, reading)
    facts = reading.facts
    state = _state(reading)
    days = reading.days_left
    left = Text(f"剩 {days} 天", f"{days} days left") if days >= 0 else Text(f"已过 {-days} 天", f"{-days} days ago")
    lines = [
        _who(reading),
        Text(f"状态：{_STATES[state].zh}", f"state: {_STATES[state].en}"),
        Text(
            f"锁死日期 {facts.lock_date}，{left.zh}",
            f"lock date {facts.lock_date}, {left.en}",
        ),
    ]
    if reading.locked:
        lines.append(
            Text(
                "已过锁死日期：不能抄税和远程报税；已有的报税成功结果仍可清卡",
                "the lock date has passed: no copy, no remote report; a success that is here can still clear",
            )
        )
    if copy is not None:
        lines.append(_copy_line(copy, life))
    if reading.upload_deadline is not None:
        lines.append(Text(f"上传截止日期 {reading.upload_deadline}", f"upload deadline {reading.upload_deadline}"))
    limits = [f"{kind} {format_yuan(fen)}" for kind, fen in sorted(reading.offline_limits.items())]
    hours = "—" if reading.offline_hours is None else str(reading.offline_hours)
    lines.append(
        Text(
            f"离线开票 {hours} 小时；限额 {'，'.join(limits) or '—'}",
            f"offline {hours} h; limits {', '.join(limits) or '—'}",
        )
    )
    warnings += [_behind(behind)] if behind else []
    data: dict[str, object] = {
        "state": state,
        "card_state": reading.state.value,
        "locked": reading.locked,
        "taxpayer_id": facts.taxpayer_id,
        "taxpayer_name": reading.taxpayer_name,
        "machine_no": facts.machine_no,
        "sub_machines": reading.sub_machines,
        "card_no": facts.card_no,
        "lock_date": facts.lock_date.isoformat(),
        "days_left": reading.days_left,
        "last_copied_at": _time(reading.last_copied_at),
        "last_cleared_at": _time(reading.last_cleared_at),
        "next_period_start": _iso(reading.next_period_start),
        "upload_deadline": _iso(reading.upload_deadline),
        "offline_hours": reading.offline_hours,
        "offline_limits": {kind: format_fen(fen) for kind, fen in sorted(reading.offline_limits.items())},
        "stock": dict(sorted(reading.stock.items())),
        "last_result_no": facts.last_result_no,
        "trust_version": reading.trust_version,
        "bureau_time": _time(facts.clock_floor),
        "open_copy": _copy_json(copy, life) if copy else None,
        "next_action": str(next_one),
    }
    return Outcome(data, lines, next_one, warnings)


def _state(reading: CardReading) -> str:
    # A success that is here unlocks the card: to clear is then the fact that counts.
    return "locked" if reading.locked and reading.state is not CardState.TO_CLEAR else reading.state.value


def _copy_line(copy: CopyRecord, life: ReportLife | None) -> Text:
    where = _LIVES[life.state] if life else _LIVES[OfflineState.COPIED]
    return Text(
        f"{copy.name.in_words.zh}：{copy.period_start} 至 {copy.period_end}，{copy.invoice_count} 张，{where.zh}",
        f"{copy.name.in_words.en}: {copy.period_start} to {copy.period_end}, {copy.invoice_count} invoices, {where.en}",
    )


def _copy_json(copy: CopyRecord, life: ReportLife | None) -> dict[str, object]:
    return {
        "stem": copy.name.stem,
        "stamp": str(copy.name.stamp),
        "kind": copy.kind,
        "nonce": copy.nonce,
        "sequence": copy.sequence,
        "period_start": copy.period_start.isoformat(),
        "period_end": copy.period_end.isoformat(),
        "invoice_count": copy.invoice_count,
        "report_digest": copy.report_digest,
        "copied_at": format_time(copy.copied_at),
        "state": life.state.value if life else OfflineState.COPIED.value,
    }


def _time(moment: Any) -> str | None:
    return format_time(moment) if moment is not None else None


def _iso(day: date | None) -> str | None:
    return day.isoformat() if day is not None else None


# copy


@program.verb(
    "copy",
    Text(
        "抄税处理：在卡上固定上月的发票\n\n没有业务的月份也要抄税（零申报）。",
        "freeze last month's figures on the card\n\nA month without business is copied too (a zero report).",
    ),
    option(
        "--adhoc", is_flag=True, help=Text("非征期抄税：上次抄税以来到现在", "ad hoc: from the last copy until now")
    ),
    option(
        "--again",
        is_flag=True,
        help=Text("取代还没清卡的抄税；旧的不能再清卡", "supersede an uncleared copy, which can then no longer clear"),
    ),
)
def copy_verb(context: Context, adhoc: bool, again: bool) -> Outcome:
    """Copy."""
    with _open(context) as station:
        made = station.copy(kind="adhoc" if adhoc else "period", again=again)
        life = station.life_of(made)
        next_one = station.next_action()
        replaced = [c for c, _ in station.copies() if c.superseded_by == made.nonce]
        warnings = _warnings(station, station.read())
    lines = [_copy_line(made, life)]
    if made.invoice_count == 0:
        lines.append(Text("本期没有发票：零申报", "no invoices in the period: a zero report"))
    lines += _summary_lines(made)
    lines += [
        Text(
            f"{old.name.in_words.zh} 已被取代，不能再用来清卡", f"{old.name.in_words.en} is superseded and cannot clear"
        )
        for old in replaced
    ]
    data = _copy_json(made, life) | {
        "summaries": [s.model_dump(mode="json") for s in made.summaries],
        "superseded": [old.nonce for old in replaced],
    }
    return Outcome(data, lines, next_one, warnings)


def _summary_lines(copy: CopyRecord) -> list[Text]:
    found = []
    for s in copy.summaries:
        name = KIND_NAMES[s.kind]
        voided = s.positive_void_count + s.negative_void_count + s.blank_void_count
        found.append(
            Text(
                f"  {s.kind} {name.zh}：正数 {s.positive_count} 份，金额 {s.positive_amount} 税额 {s.positive_tax}；"
                f"负数 {s.negative_count} 份，金额 {s.negative_amount} 税额 {s.negative_tax}；"
                f"作废 {voided} 份；期初库存 {s.opening}，期末库存 {s.closing}",
                f"  {s.kind} {name.en}: {s.positive_count} positive, amount {s.positive_amount} tax {s.positive_tax}; "
                f"{s.negative_count} negative, amount {s.negative_amount} tax {s.negative_tax}; "
                f"{voided} void; stock {s.opening} at first, {s.closing} at last",
            )
        )
    return found


# report


@program.verb(
    "report",
    Text(
        "远程报税：核对明细与汇总，生成报税文件（.dat）\n\n只生成一次；再执行得到同一文件。",
        "check detail against summary and seal the report (.dat)\n\nIt is sealed once; again gives the same bytes.",
    ),
    option(
        "--reseal",
        is_flag=True,
        help=Text("税局公钥更换后重新加密；摘要会不同", "seal again, to a new bureau key; the digest changes"),
    ),
    option(
        "--again",
        is_flag=True,
        help=Text(
            "U盘丢失或迟迟不回时：把同一文件再放到插着的U盘上（不会重复报税）",
            "for a stick that is lost or does not come back: put the same bytes on the one that is in (nothing is filed twice)",
        ),
    ),
    option(
        "--stick",
        type=FOLDER,
        metavar="DIR|LABEL",
        help=Text("与 --again 合用：放到哪个U盘", "with --again: which stick"),
    ),
)
def report(context: Context, reseal: bool, again: bool, stick: Path | None) -> Outcome:
    """Seal the report."""
    if (reseal and again) or (stick is not None and not again):
        wrong = Text(
            "--again 给出同一文件，不能与 --reseal 合用；--stick 要与 --again 合用",
            "--again gives the same bytes: not with --reseal; --stick goes with --again",
        )
        raise UsageError(reason=wrong, command=f"{PROGRAM} report")
    with _open(context) as station:
        done = station.report(reseal=reseal, progress=context.progress)
        label: str | None = None
        if again and not done.finished:
            label = visit.put_report(station, stick, progress=context.progress).label
        elif not done.finished:
            label = visit.put_report_on_stick(station)
        next_one = station.next_action()
        life = station.life_of(done.copy)
        warnings = _warnings(station, station.read())
    copy = done.copy
    lines = [
        Text(f"报税文件已生成：{done.path}", f"the report is sealed: {done.path}")
        if done.sealed_now
        else Text(f"报税文件早已生成，内容不变：{done.path}", f"the report was sealed before, unchanged: {done.path}"),
        _copy_line(copy, life),
        Text(
            f"{done.size_bytes} 字节，摘要 {copy.report_digest}",
            f"{done.size_bytes} bytes, digest {copy.report_digest}",
        ),
    ]
    if label:
        lines.append(
            Text(
                f"已放上U盘“{label}”，{visit.REMOVE_SAFELY.zh}",
                f"it is on the stick '{label}' too; {visit.REMOVE_SAFELY.en}",
            )
        )
    if done.finished:
        lines.append(Text("该报告已经清卡，无需再报", "that report was cleared already: there is nothing to report"))
    data = {
        "file": str(done.path),
        "report_digest": copy.report_digest,
        "invoice_count": copy.invoice_count,
        "bytes": done.size_bytes,
        "sealed_now": done.sealed_now,
        "stick": label,
        "stem": copy.name.stem,
        "stamp": str(copy.name.stamp),
        "kind": copy.kind,
    }
    return Outcome(data, lines, next_one, warnings)


# result


@program.verb(
    "result",
    Text(
        "报税结果：查找、验证并显示结果（.txt）\n\n不给文件时在传入目录和U盘上查找；不许插U盘时扫描二维码（--scan）。",
        "find, prove and show the result (.txt)\n\nWithout a file, the inbox and the stick are searched; where no stick may "
        "come in, scan QR codes (--scan).",
    ),
    argument("file", required=False, type=FILE, help=Text("结果文件", "the result file")),
    option(
        "--scan",
        is_flag=True,
        help=Text(
            "用扫描枪扫描（或粘贴）上网机显示的二维码", "scan (or paste) the QR codes that the Internet PC shows"
        ),
    ),
)
def result(context: Context, file: Path | None, scan: bool) -> Outcome:
    """Take notice of the result."""
    scanned = _scan(context, file) if scan else []
    with _open(context) as station:
        if scanned:
            answer = station.result(scanned=scanned)
        else:
            answer = station.result(file, more=[] if file is not None else visit.results_on_stick(station))
        next_one = station.next_action()
        warnings = _warnings(station, station.read())
    lines: list[Text] = []
    data: dict[str, object] = {}
    code = ExitCode.OK
    if answer.processing:
        lines.append(
            Text(
                "税局正在处理中（Y），还没有结果；卡没有改动",
                "the bureau is still processing (Y): there is no result yet, and the card is untouched",
            )
        )
        next_one = Text(
            "10 到 15 分钟后在上网机再次查询结果；不要重复上传",
            "ask again on the Internet PC in 10 to 15 minutes; do not upload again",
        )
        data = {"report_digest": None, "outcome": "processing", "code": "Y", "message": str(lines[0])}
        code = ExitCode.STILL_PROCESSING
    elif answer.verdict is not None:
        data, lines = _verdict(answer)
        lines += list(answer.verdict.warnings)
    elif answer.from_memory is not None:
        data, lines = _remembered(answer.from_memory)
    data["refused"] = [_refusal_json(r) for r in answer.refused]
    known = bool(lines)
    if known:
        for refusal in answer.refused:
            lines += _refusal_lines(refusal)
    # An exit status of 0 means a proven result: what else lay there is told, and is no failure of this verb.
    errors = [] if known else [r.error for r in _most_telling(answer.refused)]
    return Outcome(data, lines, next_one, warnings if code is ExitCode.OK and not known else (), code, errors)


def _scan(context: Context, file: Path | None) -> list[Arrival]:
    """Return what is scanned. The station is not held meanwhile: somebody may need it, and scanning takes its time."""
    if file is not None:
        raise UsageError(
            reason=Text("给出文件时不能用 --scan", "--scan and a file exclude each other"), command=f"{PROGRAM} result"
        )
    if sys.stdin is None:
        raise UsageError(
            reason=Text("没有标准输入，无法扫描", "there is no standard input to scan into"),
            command=f"{PROGRAM} result",
        )
    with _look(context):
        pass  # what is wrong with the station is said before anybody scans
    by_hand = sys.stdin.isatty()
    if by_hand:
        _tell(
            Text(
                "请切换到英文输入法，逐张扫描上网机上的二维码，先后不限；收齐后自动结束，连按两次回车放弃",
                "with an English keyboard layout, scan the codes of the Internet PC in any order; it ends by itself when "
                "all are there, and when you press Enter twice",
            )
        )
    return scan_codes(sys.stdin.buffer, _tell, by_hand=by_hand)


def _tell(line: Text) -> None:
    """Say how far a long conversation is; standard output stays the verb's answer."""
    print(line, file=sys.stderr, flush=True)


def _verdict(answer: Answer) -> tuple[dict[str, object], list[Text]]:
    verdict = answer.verdict
    assert verdict is not None
    found = verdict.result
    lines = []
    if found.outcome == "success":
        lines.append(Text(f"报税成功：{found.name.in_words.zh}", f"success: {found.name.in_words.en}"))
        if found.lock_date is not None:
            lines.append(Text(f"清卡后锁死日期 {found.lock_date}", f"lock date after clearing: {found.lock_date}"))
        if found.message:
            # In a success the bureau's words are about its days: a lock date that nobody has published yet, say.
            lines.append(Text(f"税局说明：{found.message}", f"the bureau says: {found.message}"))
    else:
        lines.append(
            Text(
                f"报税失败：{found.name.in_words.zh}，错误号 {found.code}，{found.message}",
                f"failure: {found.name.in_words.en}, {found.code}: {_english(found.code, found.message)}",
            )
        )
    lines.append(
        Text(
            f"受理回执 {found.receipt_no}，税局时间 {readable_time(found.bureau_time)}",
            f"receipt {found.receipt_no}, bureau time {readable_time(found.bureau_time)}",
        )
    )
    if verdict.effect == "applied-before":
        lines.append(Text("该结果已经用来清过卡", "the card was cleared with this result already"))
    elif verdict.effect == "repeated":
        lines.append(Text("该结果之前已经登记", "this result was taken notice of before"))
    data = {
        "report_digest": found.report_digest,
        "outcome": found.outcome,
        "code": found.code,
        "message": found.message,
        "stem": found.name.stem,
        "receipt_no": found.receipt_no,
        "result_no": found.result_no,
        "bureau_time": format_time(found.bureau_time),
        "lock_date": _iso(found.lock_date),
        "effect": verdict.effect,
    }
    return data, lines


def _english(code: str, message: str) -> str:
    """Return a failure's reason in English: the bureau speaks Chinese, the catalogue both."""
    return find(code, message).title.en


def _remembered(copy: CopyRecord) -> tuple[dict[str, object], list[Text]]:
    seen: SeenResult | None = copy.success or copy.failure
    assert seen is not None
    what = Text("报税成功", "success") if seen.outcome == "success" else Text("报税失败", "failure")
    tail = Text("，已清卡", ", cleared") if copy.cleared_at else Text("", "")
    reason = f" {seen.code} {seen.message}" if seen.code else ""
    english = f" {seen.code} {_english(seen.code, seen.message)}" if seen.code else ""
    line = Text(
        f"没有新的结果；已有的是：{copy.name.in_words.zh} {what.zh}{reason}{tail.zh}",
        f"no new result; the one known is: {copy.name.in_words.en}, {what.en}{english}{tail.en}",
    )
    data: dict[str, object] = {
        "report_digest": copy.report_digest,
        "outcome": seen.outcome,
        "code": seen.code,
        "message": seen.message,
        "stem": copy.name.stem,
        "receipt_no": seen.receipt_no,
        "result_no": seen.result_no,
        "bureau_time": format_time(seen.bureau_time),
        "lock_date": _iso(seen.lock_date),
        "effect": "applied-before" if copy.cleared_at else "repeated",
    }
    return data, [line]


def _refusal_json(refusal: Refusal) -> dict[str, object]:
    return {
        "file": refusal.name,
        "moved_to": str(refusal.moved_to) if refusal.moved_to else None,
        **refusal.error.as_json(),
    }


def _refusal_lines(refusal: Refusal) -> list[Text]:
    error = refusal.error
    lines = [
        Text(
            f"没有采用 {refusal.name}：{error.text.zh} [{error.code}]",
            f"not taken: {refusal.name}: {error.text.en} [{error.code}]",
        )
    ]
    if refusal.moved_to is not None:
        lines.append(Text(f"  已移到 {refusal.moved_to}", f"  moved to {refusal.moved_to}"))
    return lines


def _most_telling(refused: Sequence[Refusal]) -> list[Refusal]:
    """Put what was moved aside, being useless to everybody, behind what merely belongs elsewhere."""
    return sorted(refused, key=lambda r: r.moved_to is None)


# clear


@program.verb(
    "clear",
    Text(
        "清卡操作：先备份，再用报税成功的结果清卡，写出清卡回执（.ack）",
        "back up, clear the card with the proven success, and write the clear receipt (.ack)",
    ),
    *_who_acts(),
)
def clear(context: Context, operator: str | None, password_file: Path | None) -> Outcome:
    """Clear the card."""
    by = _prove_operator(context, operator, password_file, Right.CLEAR)
    with _open(context) as station:
        if by:
            station.store.note(clock.now(), "operator", name=by, action="clear")
        done = station.clear()
        reading = station.read()
        next_one = station.next_action(reading)
        warnings = _warnings(station, reading)
    record = done.record
    lines = [
        Text(
            f"已经清过卡：{record.copy.name.in_words.zh}（{record.copy.cleared_at:%Y-%m-%d %H:%M}）",
            f"cleared already: {record.copy.name.in_words.en} ({record.copy.cleared_at:%Y-%m-%d %H:%M})",
        )
        if record.already
        else Text(f"清卡成功：{record.copy.name.in_words.zh}", f"cleared: {record.copy.name.in_words.en}"),
        Text(f"锁死日期 {reading.facts.lock_date}", f"lock date {reading.facts.lock_date}"),
        Text(f"清卡回执 {done.ack}", f"clear receipt {done.ack}"),
    ]
    if done.backup is not None:
        lines.append(Text(f"清卡前的备份 {done.backup.path}", f"backup from before: {done.backup.path}"))
    if not record.already:
        lines.append(
            Text(
                "现在可以重新启动开票软件；启动完成前不要拔卡",
                "the invoicing software may restart now; leave the card in until it has",
            )
        )
    data = {
        "cleared": True,
        "already": record.already,
        "lock_date": reading.facts.lock_date.isoformat(),
        "ack_file": str(done.ack),
        "report_digest": record.copy.report_digest,
        "stem": record.copy.name.stem,
        "cleared_at": _time(record.copy.cleared_at),
        "backup": str(done.backup.path) if done.backup else None,
        "upload_deadline": _iso(reading.upload_deadline),
        "next_period_start": _iso(reading.next_period_start),
        "offline_hours": reading.offline_hours,
        "offline_limits": {kind: format_fen(fen) for kind, fen in sorted(reading.offline_limits.items())},
    }
    return Outcome(data, lines, next_one, warnings)


# stick

stick = program.group(
    "stick", Text("U盘：准备、查看、同步、弹出、交接单、光盘", "sticks: prepare, list, sync, eject, slip, disc")
)
_EVERYONE: Final = Text(
    "几台开票机共用传出目录时：替全部开票机带出和取回",
    "where several invoicing PCs share the outbox: carry for all of them",
)


@stick.verb(
    "prepare",
    Text(
        "准备U盘：建立 TAXFERRY 文件夹和标记，不格式化\n\n只插着一个新U盘时不用写位置。",
        "make a stick ours: marker and folders, nothing is formatted\n\nIf only one new stick is in, it is meant.",
    ),
    *stick_verbs.prepare_parameters(),
)
def stick_prepare(context: Context, folder: Path | None, label: str, yes: bool, new_identity: bool) -> Outcome:
    """Prepare a stick."""
    with _open(context) as station:
        where = folder if folder is not None else stick_verbs.the_new_one(visit.sticks_of(station).found())
        stick_verbs.ask_first(context, where, yes=yes)
        return stick_verbs.prepared(visit.prepare(station, where, label, new_identity=new_identity), where)


@stick.verb(
    "list",
    Text("查看插着的U盘、各自的状态和上面的文件", "show the sticks that are in, their states and their files"),
    stick_verbs.stick_argument(),
)
def stick_list(context: Context, folder: Path | None) -> Outcome:
    """List sticks."""
    with _look(context) as station:
        sticks = visit.sticks_of(station)
        found = sticks.found()
        return stick_verbs.listed(
            found,
            sticks.meant(folder, found),
            sticks.listing,
            to_place=sticks.to_place(),
            next_action=station.next_action(),
        )


@stick.verb(
    "sync",
    Text("与U盘双向同步：放上 .dat 和 .ack，取下 .txt", "both ways in one go: .dat and .ack onto it, .txt off it"),
    stick_verbs.stick_argument(),
    option("--all", "everyone", is_flag=True, help=_EVERYONE),
)
def stick_sync(context: Context, folder: Path | None, everyone: bool) -> Outcome:
    """Carry both ways."""
    with _open(context) as station:
        path = visit.sticks_of(station).find(folder)
        done = visit.sync(station, path, everyone=everyone, progress=context.progress)
        next_one = station.next_action()
        waits_for_result = _waits_for_result(station)
    lines, warnings = _visit_words(done)
    if done.taken and waits_for_result:
        next_one = Text("在开票机执行 result 查看结果", "run result on the invoicing PC")
    elif any(name.endswith(".ack") for name in done.placed):
        next_one = Text(
            f"把U盘“{done.label}”插到上网机，送交清卡回执；之后正常开票",
            f"take the stick '{done.label}' to the Internet PC, which delivers the clear receipt; then go on invoicing",
        )
    return Outcome(_visit_json(done), lines, next_one, warnings, errors=[done.problem] if done.problem else ())


def _waits_for_result(station: Station) -> bool:
    copy = station.read().facts.open_copy
    return copy is not None and copy.success is None


def _visit_words(done: visit.Visit) -> tuple[list[Text], list[Text]]:
    """Return what a visit did, and what a person should know about it."""
    lines = [Text(f"U盘“{done.label}”（{done.path}）", f"stick '{done.label}' ({done.path})")]
    lines += carried_words(done.placed, done.container)
    lines += [Text(f"  早已放上 {name}", f"  on it already: {name}") for name in done.already]
    lines += [Text(f"  取下 {name}", f"  taken: {name}") for name in done.taken]
    lines += [Text(f"  已办完，从U盘移走 {name}", f"  done with, removed: {name}") for name in done.removed]
    if done.trust_version:
        lines.append(
            Text(f"  信任文件更新到版本 {done.trust_version}", f"  trust file is now version {done.trust_version}")
        )
    if done.problem is None:
        if len(lines) == 1 and not done.unplaced:
            lines.append(Text("  没有要带的文件", "  nothing to carry"))
        lines.append(visit.REMOVE_SAFELY)
    # What was meant for us and cannot be used keeps this from being all that was asked for.
    warnings = [line for refusal in done.refused for line in _refusal_lines(refusal)] + done.warnings
    if done.unplaced and done.problem is None:
        warnings.append(read_only_warning(done.unplaced))
    return lines, warnings


def _visit_json(done: visit.Visit) -> dict[str, object]:
    return {
        "path": str(done.path),
        "label": done.label,
        "placed": done.placed,
        "already": done.already,
        "container": done.container or None,
        "taken": done.taken,
        "removed": done.removed,
        "unplaced": done.unplaced,
        "foreign": done.foreign,
        "trust_version": done.trust_version or None,
        "refused": [_refusal_json(r) for r in done.refused],
        "safe": done.problem is None,
        "confined_by": list(done.protections),
    }


@stick.verb(
    "eject",
    Text(
        "弹出U盘：确认全部写完，能断电就断电", "eject a stick: everything is written, and it is powered off if possible"
    ),
    stick_verbs.stick_argument(),
)
def stick_eject(context: Context, folder: Path | None) -> Outcome:
    """Make a stick safe to remove."""
    with _open(context) as station:
        sticks = visit.sticks_of(station)
        path = sticks.find(folder)
        identity = sticks.settle(path)
        return stick_verbs.ejected(identity, path, station.next_action())


@stick.verb(
    "slip",
    Text(
        "打印交接单：列出U盘上带出的文件，供双方签名", "a printable slip of what the stick carries out, for signatures"
    ),
    *stick_verbs.slip_parameters(),
)
def stick_slip(context: Context, folder: Path | None, out: Path | None) -> Outcome:
    """Write a transfer slip."""
    with _open(context) as station:
        slip = visit.slip(station, visit.sticks_of(station).find(folder))
        target = out if out is not None else station.home.log / f"{slip.number}.html"
        return stick_verbs.slip_written(slip, target)


@stick.verb(
    "disc",
    Text(
        "准备刻光盘：把要带出的文件和交接单放进一个文件夹\n\n给不许用可写U盘的单位。",
        "prepare a disc: what goes out, and its slip, in a folder to burn\n\nFor sites that forbid sticks that can be written.",
    ),
    argument("folder", type=FOLDER, metavar="DIR", help=Text("新的空文件夹", "a new, empty folder")),
    option("--label", default="", metavar="NAME", help=Text("光盘的名称", "the disc's name")),
    option("--all", "everyone", is_flag=True, help=_EVERYONE),
)
def stick_disc(context: Context, folder: Path, label: str, everyone: bool) -> Outcome:
    """Fill a folder that is to be burnt."""
    with _open(context) as station:
        done, slip = visit.fill_disc(station, folder, label, everyone=everyone, progress=context.progress)
        written = stick_verbs.slip_written(slip, folder / stick_verbs.SLIP_NAME)
    lines, warnings = _visit_words(done)
    return Outcome(
        _visit_json(done) | dict(written.data), [*lines[:-1], *written.lines], stick_verbs.burn_next(folder), warnings
    )


# watch


@program.verb(
    "watch",
    Text(
        "守候U盘：插上就自动传输，提示可以拔出；直到停止\n\n不占用本站：可以同时执行其他命令。",
        "attend to sticks: plug one in, wait for the word, pull it out; until stopped\n\n"
        "Other verbs can be used meanwhile.",
    ),
    option("--all", "everyone", is_flag=True, help=_EVERYONE),
)
def watch(context: Context, everyone: bool) -> Outcome:
    """Attend to sticks until SIGTERM or Ctrl-C."""
    with _glance(context):
        pass  # a station that cannot be opened says so now
    stop = threading.Event()
    tell = stick_verbs.narrator(context)
    lookout = visit.Lookout(_home(context), clock, everyone=everyone)
    visited = 0

    def serve(found: FoundStick) -> bool | None:
        nonlocal visited
        facts = {"label": found.label, "path": str(found.path)}
        begun = Text(f"U盘“{found.label}”：正在传输，请不要拔出…", f"stick '{found.label}': do not pull it out…")
        try:
            with _open(context) as station:
                tell("visiting", facts, begun)
                done = visit.sync(station, found.path, everyone=everyone, progress=context.progress)
                action = station.next_action()
        except StationBusy:
            return None  # another verb is at work: the next look comes soon
        except (TaxferryError, OSError) as problem:
            error = as_taxferry_error(problem)
            if error is None:
                raise
            tell("failed", facts | {"error": error.as_json()}, _failed_words(found, error))
            return False
        visited += 1
        lines, warnings = _visit_words(done)
        for line in [*lines[1:-1], *warnings]:
            context.say(line)
        if done.problem is not None:
            tell("failed", facts | {"error": done.problem.as_json()}, _failed_words(found, done.problem))
            return False
        words = Text(
            f"√ 现在可以拔出U盘“{done.label}”。下一步：{action.zh}",
            f"√ the stick '{done.label}' can be pulled out now. next: {action.en}",
        )
        tell("safe", _visit_json(done) | {"next_action": str(action)}, words)
        return True

    def notice(found: FoundStick) -> None:
        state = STATES[found.state]
        facts = {"label": found.label, "path": str(found.path), "state": found.state.value}
        tell("unusable", facts, useless_words(found.shown, state.name, state.advice))

    with stopping(stop), MountWake() as wake:
        context.emit({"event": "ready"})
        context.say(Text("已开始守候：请插入U盘（Ctrl-C 停止）", "attending: plug a stick in (Ctrl-C stops)"))
        attend(survey=lookout.look, visit=serve, notice=notice, wake=wake, stop=stop)
    words = Text(f"已停止守候，共传输 {visited} 次", f"stopped after {visited} visit(s)")
    return Outcome({"event": "stopped", "visits": visited}, [words])


def _failed_words(found: FoundStick, error: TaxferryError) -> Text:
    return Text(
        f"× U盘“{found.label}”没有传输完：{error.text.zh}。{error.safe.zh}。{error.advice.zh}",
        f"× stick '{found.label}': {error.text.en}. {error.safe.en}. {error.advice.en}",
    )


# history


@program.verb("history", Text("报税信息查询：每次报税的经过和下一步", "each report's life-line, age and next action"))
def history(context: Context) -> Outcome:
    """Show all reports."""
    with _look(context) as station:
        now = clock.now()
        items, lines = [], []
        for copy, life in station.copies():
            action = _action_of(station, copy, life)
            age = age_in_words((now - life.changed_at).total_seconds())
            code = copy.failure.code if copy.failure and life.state is OfflineState.FAILED else ""
            lines.append(
                Text(
                    f"{copy.name.stem}  {_LIVES[life.state].zh}{code and ' ' + code}（{age.zh}前）  {action.zh}",
                    f"{copy.name.stem}  {_LIVES[life.state].en}{code and ' ' + code} ({age.en} ago)  {action.en}",
                )
            )
            items.append(
                _copy_json(copy, life)
                | {
                    "code": code,
                    "changed_at": format_time(life.changed_at),
                    "age": str(age),
                    "next_action": str(action),
                }
            )
        next_one = station.next_action()
    if not items:
        lines.append(Text("还没有抄过税", "nothing was copied yet"))
    return Outcome({"items": items}, lines, next_one)


def _action_of(station: Station, copy: CopyRecord, life: ReportLife) -> Text:
    if life.state is OfflineState.CLEARED:
        if life.ack_stick:
            return Text(
                "清卡回执已放上U盘，由上网机送交税局", "the clear receipt is on the stick; the Internet PC delivers it"
            )
        return Text("用 stick sync 带出清卡回执", "carry the clear receipt out with stick sync")
    if life.state in (OfflineState.ACKNOWLEDGED, OfflineState.SUPERSEDED):
        return Text("无", "nothing")
    reading = station.read()
    return next_action(
        Situation(
            state=CardState.TO_CLEAR if copy.success else CardState.COPIED,
            locked=reading.locked,
            copy=copy,
            life=life.state,
            carried_to=life.stick,
            carried_seconds=(reading.at - life.changed_at).total_seconds(),
            days_left=reading.days_left,
        )
    )


@program.verb(
    "show",
    Text("显示一次报税的全部经过", "one report's whole life-line"),
    argument("id", help=Text("摘要、摘要开头或文件名", "a digest, the start of one, or a file name")),
)
def show(context: Context, id: str) -> Outcome:  # noqa: A002
    """Show one report."""
    with _look(context) as station:
        life = station.find(id)
        copy = next(c for c, _ in station.copies() if c.nonce == life.nonce)
        events = station.store.events(life.nonce)
        action = _action_of(station, copy, life)
        now = clock.now()
    lines = [_copy_line(copy, life), Text(f"清卡随机数 {copy.nonce}", f"clear nonce {copy.nonce}")]
    if copy.report_digest:
        lines.append(Text(f"报告摘要 {copy.report_digest}", f"report digest {copy.report_digest}"))
    lines += [_event_line(event, now) for event in events]
    seen = copy.success or copy.failure
    data = _copy_json(copy, life) | {
        "bytes": life.size_bytes,
        "stick": life.stick,
        "superseded_by": copy.superseded_by,
        "cleared_at": _time(copy.cleared_at),
        "result": {
            "outcome": seen.outcome,
            "code": seen.code,
            "message": seen.message,
            "receipt_no": seen.receipt_no,
            "result_no": seen.result_no,
            "bureau_time": format_time(seen.bureau_time),
        }
        if seen
        else None,
        "events": [{"at": format_time(e.at), "event": e.event, **e.facts} for e in events],
        "changed_at": format_time(life.changed_at),
        "next_action": str(action),
    }
    return Outcome(data, lines, action)


_EVENTS: Final = {
    **{state.value: words for state, words in _LIVES.items()},
    "failure": Text("收到结果：报税失败", "result: failure"),
    "success": Text("收到结果：报税成功", "result: success"),
    "late-failure": Text("成功之后又收到失败的结果（不影响清卡）", "a failure after the success (clears all the same)"),
    "ack-carried": Text("清卡回执已放上U盘", "the clear receipt is on the stick"),
    "acknowledged": Text("税局已收到清卡回执", "the bureau has the clear receipt"),
}


def _event_line(event: Event, now: Any) -> Text:
    words = _EVENTS.get(event.event, both(event.event))
    age = age_in_words((now - event.at).total_seconds())
    facts = [_FACTS[key].fill(value=event.facts[key]) for key in _FACTS if event.facts.get(key)]
    code, message = str(event.facts.get("code") or ""), str(event.facts.get("message") or "")
    if code or message:
        facts.insert(0, Text(f"{code} {message}".strip(), f"{code} {_english(code, message)}".strip()))
    when = readable_time(event.at)
    chinese, english = "，".join(f.zh for f in facts), ", ".join(f.en for f in facts)
    return Text(
        f"  {when}  {words.zh}{chinese and '：' + chinese}（{age.zh}前）",
        f"  {when}  {words.en}{english and ': ' + english} ({age.en} ago)",
    )


_FACTS: Final = {
    "receipt_no": Text("受理回执 {value}", "receipt {value}"),
    "result_no": Text("结果序号 {value}", "result no. {value}"),
    "stick": Text("U盘“{value}”", "stick '{value}'"),
    "file": Text("{value}", "{value}"),
}


# backup, restore, log, doctor


@program.verb(
    "backup",
    Text("数据备份：发票和报税记录（不含金税卡）", "back up the invoices and the records (never the card)"),
    argument("file", required=False, type=FILE, help=Text("备份到哪个文件", "where to")),
)
def backup(context: Context, file: Path | None) -> Outcome:
    """Make a backup."""
    with _open(context) as station:
        made = station.backup(file)
        next_one = station.next_action()
    lines = [
        Text(f"已备份到 {made.path}（{made.size_bytes} 字节）", f"backed up to {made.path} ({made.size_bytes} bytes)"),
        Text("备份里没有金税卡：卡只能有一张", "the card is not in it: there is only one card"),
    ]
    return Outcome({"file": str(made.path), "bytes": made.size_bytes, "made_at": made.made_at}, lines, next_one)


@program.verb(
    "restore",
    Text(
        "数据恢复：先验证备份，再恢复；金税卡不会回退", "prove a backup, then restore it; the card is never rolled back"
    ),
    argument("file", type=FILE, help=Text("备份文件", "the backup")),
    *_who_acts(),
)
def restore(context: Context, file: Path, operator: str | None, password_file: Path | None) -> Outcome:
    """Restore a backup."""
    by = _prove_operator(context, operator, password_file, Right.MANAGE)
    done, kept, behind = Station.restore(_home(context), file, clock)
    with _open(context) as station:
        if by:
            station.store.note(clock.now(), "operator", name=by, action="restore")
        next_one = station.next_action()
    made_at = done.made_at[:19].replace("T", " ")
    lines = [
        Text(f"已恢复 {made_at} 的备份", f"the backup of {made_at} is restored"),
        Text(f"恢复前的数据保存在 {kept}", f"what was there before is kept in {kept}"),
    ]
    warnings = []
    if behind:
        warnings.append(_behind(sorted(behind)))
        next_one = Text("重新导入缺少明细的月份的发票清单", "import the lists of the months that lack detail again")
    data = {"file": str(file), "made_at": done.made_at, "kept": str(kept), "behind": sorted(behind)}
    return Outcome(data, lines, next_one, warnings)


log = program.group("log", Text("日志", "the log"))


@log.verb(
    "export",
    Text("导出日志（CSV，可用表格软件打开）", "export the log (CSV, opens in a spreadsheet)"),
    argument("file", required=False, type=FILE, help=Text("目标文件", "target file")),
)
def log_export(context: Context, file: Path | None) -> Outcome:
    """Export the log."""
    with _look(context) as station:
        path, count = export_log(station, file)
        next_one = station.next_action()
    line = Text(f"{count} 条日志已导出到 {path}", f"{count} entries are in {path}")
    return Outcome({"file": str(path), "entries": count}, [line], next_one)


# operators, serve


people = program.group(
    "operators", Text("用户管理：管理员、操作员、密码、清卡权限", "administrators, operators, passwords, rights")
)
_NAME: Final = Text("姓名", "the name")
_NEW_PASSWORD: Final = option(
    "--new-password-file",
    type=FILE,
    metavar="FILE",
    help=Text("存有新密码的文件；不给时在终端询问", "a file with the new password; asked for on a terminal otherwise"),
)


def _people_outcome(operators: Operators, lines: Sequence[Text]) -> Outcome:
    known = operators.all()
    data = {
        "items": [
            {"name": one.name, "role": one.role.value, "may_clear": one.may(Right.CLEAR), "since": one.since}
            for one in known
        ]
    }
    return Outcome(data, lines)


@people.verb("list", Text("查看操作员", "show who works here"))
def operators_list(context: Context) -> Outcome:
    """Show the operators."""
    operators = Operators(_home(context).operators)
    lines = [
        Text(
            f"{one.name}  {ROLES[one.role].zh}  {'可以清卡' if one.may(Right.CLEAR) else '不可以清卡'}",
            f"{one.name}  {ROLES[one.role].en}  {'may clear' if one.may(Right.CLEAR) else 'may not clear'}",
        )
        for one in operators.all()
    ]
    none = Text("没有设置操作员：不需要登录", "there are no operators: nobody has to sign in")
    return _people_outcome(operators, lines or [none])


@people.verb(
    "add",
    Text(
        "添加管理员或操作员；第一个是管理员，管理员和操作员不能同名", "add somebody; the first one is an administrator"
    ),
    argument("name", help=_NAME),
    option(
        "--role",
        type=click.Choice([role.value for role in Role]),
        default=Role.OPERATOR.value,
        help=Text("administrator 管理员，operator 操作员", "what they are"),
    ),
    option("--may-clear", is_flag=True, help=Text("可以清卡", "they may clear the card")),
    _NEW_PASSWORD,
    *_who_acts(),
)
def operators_add(
    context: Context,
    name: str,
    role: str,
    may_clear: bool,
    new_password_file: Path | None,
    operator: str | None,
    password_file: Path | None,
) -> Outcome:
    """Add somebody."""
    with _open(context) as station:
        by = _prove_operator(context, operator, password_file, Right.MANAGE)
        operators = Operators(_home(context).operators)
        password = _password(context, new_password_file, Text("新密码", "New password"), twice=True)
        made = operators.add(name, Role(role), password, clock.now(), may_clear=may_clear)
        station.store.note(clock.now(), "operator-added", name=by, who=made.name, role=made.role.value)
    kind = ROLES[made.role]
    return _people_outcome(operators, [Text(f"已添加{kind.zh}“{made.name}”", f"added: {made.name} ({kind.en})")])


@people.verb("remove", Text("删除管理员或操作员", "remove somebody"), argument("name", help=_NAME), *_who_acts())
def operators_remove(context: Context, name: str, operator: str | None, password_file: Path | None) -> Outcome:
    """Remove somebody."""
    with _open(context) as station:
        by = _prove_operator(context, operator, password_file, Right.MANAGE)
        operators = Operators(_home(context).operators)
        gone = operators.remove(name)
        station.store.note(clock.now(), "operator-removed", name=by, who=gone.name)
    return _people_outcome(operators, [Text(f"已删除“{gone.name}”", f"removed: {gone.name}")])


@people.verb(
    "password",
    Text("重设一个人的密码", "give somebody a new password"),
    argument("name", help=_NAME),
    _NEW_PASSWORD,
    *_who_acts(),
)
def operators_password(
    context: Context, name: str, new_password_file: Path | None, operator: str | None, password_file: Path | None
) -> Outcome:
    """Set a password."""
    with _open(context) as station:
        by = _prove_operator(context, operator, password_file, Right.MANAGE)
        operators = Operators(_home(context).operators)
        operators.set_password(name, _password(context, new_password_file, Text("新密码", "New password"), twice=True))
        station.store.note(clock.now(), "operator-password", name=by, who=name)
    return _people_outcome(operators, [Text(f"“{name}”的密码已改", f"the password of {name} is changed")])


@people.verb(
    "allow",
    Text("允许或不许一名操作员清卡", "let an operator clear the card, or not"),
    argument("name", help=_NAME),
    option("--clear/--no-clear", "may_clear", default=True, help=Text("可以清卡，或不可以", "may clear, or may not")),
    *_who_acts(),
)
def operators_allow(
    context: Context, name: str, may_clear: bool, operator: str | None, password_file: Path | None
) -> Outcome:
    """Change a right."""
    with _open(context) as station:
        by = _prove_operator(context, operator, password_file, Right.MANAGE)
        operators = Operators(_home(context).operators)
        changed = operators.allow_clearing(name, may_clear)
        station.store.note(clock.now(), "operator-rights", name=by, who=changed.name, may_clear=may_clear)
    word = Text("可以清卡" if may_clear else "不可以清卡", "may clear" if may_clear else "may not clear")
    return _people_outcome(operators, [Text(f"“{changed.name}”{word.zh}", f"{changed.name} {word.en}")])


@program.verb(
    "serve",
    Text(
        "打开页面：只在本机 127.0.0.1，不经过网络；直到停止\n\n自动打开浏览器；已经开着时只打开新的窗口。",
        "the page, on 127.0.0.1 of this PC only; until stopped\n\nOpens a browser; if it runs already, only a new window.",
    ),
    option(
        "--port",
        type=click.IntRange(0, 65535),
        default=0,
        help=Text("端口；默认自动选", "the port; a free one by default"),
    ),
    option(
        "--browser/--no-browser",
        default=True,
        help=Text("打开浏览器，或只显示地址", "open a browser, or only print the address"),
    ),
)
def serve(context: Context, port: int, browser: bool) -> Outcome:
    """Serve the page until SIGTERM or Ctrl-C."""
    from offline_station.web.serve import Served, serve_pages  # no other verb knows the page

    stop = threading.Event()
    where: list[Served] = []

    def ready(served: Served) -> None:
        where.append(served)
        context.emit({"event": "ready", "url": served.url, "address": served.address, "elsewhere": served.elsewhere})
        if served.elsewhere:
            context.say(Text(f"页面已经开着：{served.address}", f"the page is open already: {served.address}"))
        else:
            context.say(
                Text(
                    f"页面在 {served.address}，只有本机可以打开（Ctrl-C 停止）",
                    f"the page is at {served.address}, for this PC only (Ctrl-C stops)",
                )
            )
        if not served.opened:
            context.say(
                Text(
                    f"请在浏览器中打开（10 分钟内有效，只能用一次）：\n{served.url}",
                    f"open this in a browser (good for 10 minutes, and once):\n{served.url}",
                )
            )

    with stopping(stop):
        serve_pages(_home(context), clock, port=port, browser=browser, ready=ready, stop=stop)
    if where and where[0].elsewhere:
        return Outcome({"event": "elsewhere", "address": where[0].address}, [])
    return Outcome({"event": "stopped"}, [Text("页面已关闭；数据都已保存", "the page is closed; everything is saved")])


@program.verb(
    "doctor", Text("检测环境：卡、密钥、时钟、文件夹、空间、U盘", "check card, key, clock, folders, space, stick")
)
def doctor(context: Context) -> Outcome:
    """Examine the station."""
    home = _home(context)
    if not home.card.exists():
        raise NotInitialised(home=home.root, program=PROGRAM)
    with _look(context) as station:
        findings = examine_station(station)
        next_one = station.next_action()
    lines = []
    for finding in findings:
        mark = "√" if finding.ok else "×"  # both exist in the Chinese code page
        lines.append(
            Text(f"{mark} {finding.what.zh}：{finding.detail.zh}", f"{mark} {finding.what.en}: {finding.detail.en}")
        )
        if finding.remedy is not None:
            lines.append(Text(f"    {finding.remedy.zh}", f"    {finding.remedy.en}"))
    bad = [f for f in findings if not f.ok]
    data = {
        "ok": not bad,
        "items": [
            {
                "name": f.name,
                "ok": f.ok,
                "what": str(f.what),
                "detail": str(f.detail),
                "remedy": str(f.remedy) if f.remedy else None,
            }
            for f in findings
        ],
    }
    warnings = [Text(f"{f.what.zh}：{f.detail.zh}", f"{f.what.en}: {f.detail.en}") for f in bad]
    return Outcome(data, lines, next_one, warnings)


add_standard_verbs(program)


def main() -> None:
    """Run the program."""
    program.main(sys.argv[1:])


if __name__ == "__main__":
    main()
