"""The command line of the reference gateway: thin; every verb opens the bureau, does one thing and says what it did."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from shared.cli import FILE, Context, Outcome, Program, add_standard_verbs, argument, option
from shared.clock import SystemClock, format_time
from shared.durable import write_durably
from shared.errors import ConfigurationError, NameInvalid, NotFound, UsageError
from shared.ids import MachineNo, TaxpayerId, parse_machine_no, parse_stem, parse_taxpayer_id, taxpayer_id_warning
from shared.keys.file import load_key_file
from shared.keys.secret import read_pin_file
from shared.model.report import KIND_NAMES
from shared.money import parse_fen
from shared.text import Text, both
from shared.text.system import os_reason
from tax_bureau.conformance_verbs import add_conformance_verb
from tax_bureau.fault_verbs import add_fault_verbs
from tax_bureau.figures import MAX_BYTES, parse_figures
from tax_bureau.home import Bureau, init_bureau, open_bureau
from tax_bureau.issue import KeyType, certificate_pem
from tax_bureau.judge.facts import Declaration
from tax_bureau.registry import CardOrder, read_certificate
from tax_bureau.store import Report, Store

program = Program(
    "tax-bureau", Text("税渡 参考税局：证书、发卡、开户、申报、受理报税", "taxferry, the reference gateway of a bureau")
)
add_standard_verbs(program)
add_fault_verbs(program)
add_conformance_verb(program)

_STATES: Final = {
    "stored": Text("待审", "to be judged"),
    "waiting": Text("等待其他开票机", "waiting for other machines"),
    "failed": Text("报税失败", "failed"),
    "succeeded": Text("报税成功", "succeeded"),
    "closed": Text("已清卡", "cleared"),
    "superseded": Text("已作废", "superseded"),
}
_EVENTS: Final = {
    "received": Text("受理", "received"),
    "reopened": Text("重新审核", "to be judged again"),
    "postponed": Text("暂缓", "postponed"),
    "superseded": Text("被新的抄税取代", "superseded by a newer copy"),
    "success": Text("报税成功", "success"),
    "failure": Text("报税失败", "failure"),
    "acknowledged": Text("收到清卡回执", "clear receipt"),
}
_DEFAULT_LIMITS: Final = ("004=1000000.00", "007=1000000.00")


def _read_by(parse: Callable[[str], object]) -> Callable[[click.Context, click.Parameter, str | None], object]:
    """Return an option's callback that parses its text; a wrong text is a usage error."""

    def callback(ctx: click.Context, parameter: click.Parameter, value: str | None) -> object:
        if value is None:
            return None
        try:
            return parse(value)
        except NameInvalid as error:
            raise click.BadParameter(str(error.text), ctx, parameter) from None
        except ValueError as error:
            raise click.BadParameter(str(error.args[0]), ctx, parameter) from None

    return callback


def _day(text: str) -> date:
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII) is None:
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(Text("日期应写作 YYYY-MM-DD", "a day is written YYYY-MM-DD")) from None


def _month(text: str) -> str:
    if re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", text, re.ASCII) is None:
        raise ValueError(Text("月份应写作 YYYY-MM", "a month is written YYYY-MM"))
    return text


def _taxpayer_option() -> click.Parameter:
    return option(
        "--taxpayer-id",
        required=True,
        metavar="T",
        callback=_read_by(parse_taxpayer_id),
        help=Text("税号", "tax number"),
    )


def _key_type_option() -> click.Parameter:
    return option("--key-type", type=click.Choice(["rsa", "p256"]), default="rsa", help=Text("密钥种类", "kind of key"))


def _open(context: Context) -> Bureau:
    bureau = open_bureau(context.home, SystemClock())
    context.at_end(bureau.store.close)
    return bureau


def _id_warnings(taxpayer_id: str) -> list[Text]:
    warning = taxpayer_id_warning(taxpayer_id)
    return [warning] if warning is not None else []


@program.verb(
    "init",
    Text("建立税局：根证书、签发机构、各用途密钥、第 1 版信任文件", "make a bureau: certificates, keys, trust file 1"),
    option("--trust-out", type=FILE, metavar="FILE", help=Text("把根证书写到这里", "write the root certificate here")),
    _key_type_option(),
    option(
        "--gateway", multiple=True, metavar="URL", help=Text("写入信任文件的税局地址", "addresses for the trust file")
    ),
)
def init(context: Context, trust_out: Path | None, key_type: KeyType, gateway: tuple[str, ...]) -> Outcome:
    """Make a bureau."""
    bad = [url for url in gateway if re.fullmatch(r"https?://[!-~]{1,200}", url) is None]
    if bad:
        raise UsageError(
            reason=Text(f"地址无效：{bad[0][:80]}", f"not an address: {bad[0][:80]}"), command="tax-bureau init"
        )
    made = init_bureau(context.home, SystemClock(), key_type=key_type, gateways=gateway)
    bureau = _open(context)
    if trust_out is not None:
        write_durably(trust_out, certificate_pem(bureau.keyring.root).encode(), mode=0o644)
    said = Text("税局已建立", "the bureau is made") if made else Text("税局早已建立", "the bureau was made before")
    lines = [Text(f"{said.zh}：{context.home}", f"{said.en}: {context.home}")]
    if trust_out is not None:
        lines.append(Text(f"根证书：{trust_out}", f"root certificate: {trust_out}"))
    return Outcome(
        {"created": made, "home": str(context.home), "trust_out": str(trust_out) if trust_out else None},
        lines,
        next_action=Text("发行金税卡：issue-card", "issue the cards: issue-card"),
    )


@program.verb(
    "issue-card",
    Text("发行金税卡（文件形式），权限仅限本人", "issue a tax card as a file that only its owner may read"),
    _taxpayer_option(),
    option("--name", required=True, metavar="N", help=Text("纳税人名称", "the taxpayer's name")),
    option(
        "--machine-no",
        required=True,
        metavar="NUMBER",
        callback=_read_by(parse_machine_no),
        help=Text("分机号，0 为主机", "machine number; 0 is the main machine"),
    ),
    option(
        "--sub-machines",
        metavar="K",
        type=click.IntRange(0, 65535),
        default=0,
        help=Text("主机卡：分机台数", "main card: number of sub machines"),
    ),
    _key_type_option(),
    option(
        "--last-copied",
        metavar="YYYY-MM-DD",
        callback=_read_by(_day),
        help=Text(
            "已抄税到哪一天（含）；默认上上月最后一天",
            "copied up to and with this day; default: the last of the month before last",
        ),
    ),
    option(
        "--lock-date",
        metavar="YYYY-MM-DD",
        callback=_read_by(_day),
        help=Text(
            "锁死日期；默认本月申报截止日，已过则为月末",
            "lock date; default: this month's filing day, or the month's end",
        ),
    ),
    option(
        "--offline-hours",
        metavar="HOURS",
        type=click.IntRange(0, 99999),
        default=72,
        help=Text("离线开票时长", "offline hours"),
    ),
    option(
        "--offline-limit",
        multiple=True,
        metavar="KIND=YUAN",
        default=_DEFAULT_LIMITS,
        help=Text("离线限额，如 004=1000000.00", "offline limit, such as 004=1000000.00"),
    ),
    option(
        "--stock", multiple=True, metavar="KIND=N", help=Text("库存，如 004=100", "numbers in stock, such as 004=100")
    ),
    option("--reissue", is_flag=True, help=Text("重新发行：原卡停用", "replace the machine's card in use")),
    option(
        "--out", required=True, type=FILE, metavar="FILE", help=Text("写到这里（.taxcard）", "write it here (.taxcard)")
    ),
)
def issue_card(
    context: Context,
    taxpayer_id: TaxpayerId,
    name: str,
    machine_no: MachineNo,
    sub_machines: int,
    key_type: KeyType,
    last_copied: date | None,
    lock_date: date | None,
    offline_hours: int,
    offline_limit: tuple[str, ...],
    stock: tuple[str, ...],
    reissue: bool,
    out: Path,
) -> Outcome:
    """Issue a card."""
    if machine_no and sub_machines:
        raise UsageError(
            reason=Text("只有主机卡知道分机台数", "only the main card knows the sub machines"),
            command="tax-bureau issue-card",
        )
    if not 1 <= len(name.strip()) <= 200:
        raise UsageError(
            reason=Text("名称应为 1–200 个字符", "a name has 1 to 200 characters"), command="tax-bureau issue-card"
        )
    order = CardOrder(
        taxpayer_id=taxpayer_id,
        name=name.strip(),
        machine_no=machine_no,
        sub_machines=sub_machines,
        key_type=key_type,
        last_copied=last_copied,
        lock_date=lock_date,
        offline_hours=offline_hours,
        offline_limits={kind: _fen(text) for kind, text in _per_kind(offline_limit).items()},
        stock={kind: _count(text) for kind, text in _per_kind(stock).items()},
        reissue=reissue,
    )
    issued = _open(context).registry.issue_card(order, out)
    card = issued.card
    which = Text("主机", "main machine") if machine_no == 0 else Text(f"{machine_no} 号分机", f"machine {machine_no}")
    said = Text("已发行", "issued") if issued.new else Text("早已发行", "issued before")
    return Outcome(
        {
            "card_no": card.card_no,
            "taxpayer_id": taxpayer_id,
            "machine_no": machine_no,
            "lock_date": card.lock_date.isoformat(),
            "last_copied": card.last_copied.isoformat(),
            "out": str(out),
            "new": issued.new,
        },
        [
            Text(
                f"{said.zh}金税卡 {card.card_no}（{which.zh}），锁死日期 {card.lock_date}：{out}",
                f"card {card.card_no} {said.en} ({which.en}), lock date {card.lock_date}: {out}",
            )
        ],
        next_action=Text("在开票机执行 init --card", "on the invoicing PC: init --card"),
        warnings=[*_id_warnings(taxpayer_id), *issued.warnings],
    )


@program.verb(
    "issue-key",
    Text("发行企业密钥（U棒）文件", "issue an enterprise key as a file"),
    _taxpayer_option(),
    option("--name", default="", metavar="N", help=Text("纳税人名称", "the taxpayer's name")),
    _key_type_option(),
    option(
        "--pin-file", required=True, type=FILE, metavar="FILE", help=Text("口令文件", "the file that holds the PIN")
    ),
    option("--out", required=True, type=FILE, metavar="FILE", help=Text("写到这里（.p12）", "write it here (.p12)")),
)
def issue_key(
    context: Context, taxpayer_id: TaxpayerId, name: str, key_type: KeyType, pin_file: Path, out: Path
) -> Outcome:
    """Issue an enterprise key."""
    registry = _open(context).registry
    found = registry.issue_key(taxpayer_id, out, read_pin_file(pin_file), key_type=key_type, name=name)
    return Outcome(
        {"fingerprint": found, "taxpayer_id": taxpayer_id, "out": str(out)},
        [Text(f"企业密钥 {found[:16]}…：{out}", f"enterprise key {found[:16]}…: {out}")],
        next_action=Text("开户：enroll --key", "put it on file: enroll --key"),
        warnings=_id_warnings(taxpayer_id),
    )


@program.verb(
    "enroll",
    Text("开户：登记企业公钥", "put an enterprise key on file"),
    _taxpayer_option(),
    option("--key", type=FILE, metavar="FILE", help=Text("密钥文件（.p12）", "the key file (.p12)")),
    option("--pin-file", type=FILE, metavar="FILE", help=Text("口令文件", "the file that holds the PIN")),
    option("--certificate", type=FILE, metavar="FILE", help=Text("证书（PEM）", "the certificate (PEM)")),
    option("--withdraw", is_flag=True, help=Text("取消登记", "take it off file")),
)
def enroll(
    context: Context,
    taxpayer_id: TaxpayerId,
    key: Path | None,
    pin_file: Path | None,
    certificate: Path | None,
    withdraw: bool,
) -> Outcome:
    """Put a key on file."""
    if (key is None) == (certificate is None) or (key is not None and pin_file is None):
        raise UsageError(
            reason=Text(
                "给出 --key 和 --pin-file，或给出 --certificate", "give --key and --pin-file, or --certificate"
            ),
            command="tax-bureau enroll",
        )
    bureau = _open(context)
    if certificate is not None:
        found = read_certificate(certificate)
    else:
        assert key is not None
        assert pin_file is not None
        found = load_key_file(key, read_pin_file(pin_file)).certificate
    fingerprint = bureau.registry.enroll(taxpayer_id, found, withdraw=withdraw)
    said = Text("已取消登记", "taken off file") if withdraw else Text("已开户", "enrolled")
    return Outcome(
        {"taxpayer_id": taxpayer_id, "fingerprint": fingerprint, "enrolled": not withdraw},
        [
            Text(
                f"{said.zh}：{taxpayer_id}，公钥 {fingerprint[:16]}…",
                f"{said.en}: {taxpayer_id}, key {fingerprint[:16]}…",
            )
        ],
        warnings=_id_warnings(taxpayer_id),
    )


@program.verb(
    "delegate",
    Text("登记代理：让代理机构用自己的U棒代报", "let an agency report for a taxpayer with its own key"),
    _taxpayer_option(),
    option(
        "--agency",
        required=True,
        callback=_read_by(parse_taxpayer_id),
        help=Text("代理机构税号", "the agency's tax number"),
    ),
)
def delegate(context: Context, taxpayer_id: TaxpayerId, agency: TaxpayerId) -> Outcome:
    """Let an agency report."""
    _open(context).registry.delegate(taxpayer_id, agency)
    return Outcome(
        {"taxpayer_id": taxpayer_id, "agency": agency},
        [Text(f"{agency} 可代 {taxpayer_id} 报税", f"{agency} may report for {taxpayer_id}")],
    )


@program.verb(
    "declare",
    Text(
        "申报：登记某月的申报数据（默认与报税数据一致）", "take a declaration (by default one that matches the reports)"
    ),
    _taxpayer_option(),
    option(
        "--period",
        required=True,
        metavar="YYYY-MM",
        callback=_read_by(_month),
        help=Text("所属月份", "the month declared"),
    ),
    option(
        "--figures",
        type=FILE,
        metavar="FILE.json",
        help=Text('申报数据，如 {"004": {"amount": "1.00", "tax": "0.13"}}', "declared sales and tax per invoice kind"),
    ),
    option(
        "--matching", is_flag=True, help=Text("比对时取自全部报税数据", "taken from all reports when they are compared")
    ),
)
def declare(context: Context, taxpayer_id: TaxpayerId, period: str, figures: Path | None, matching: bool) -> Outcome:
    """Take a declaration."""
    if figures is not None and matching:
        raise UsageError(
            reason=Text("--figures 与 --matching 只能取一", "--figures or --matching, not both"),
            command="tax-bureau declare",
        )
    bureau = _open(context)
    declaration = Declaration(matching=True) if figures is None else Declaration(figures=_read_figures(figures))
    version, again = bureau.desk.declare(taxpayer_id, period, declaration)
    lines = [
        Text(
            f"已登记 {taxpayer_id} {period} 的申报（第 {version} 版）",
            f"declaration {version} of {taxpayer_id} for {period} taken",
        )
    ]
    if again:
        lines.append(
            Text(f"{len(again)} 份因 271D 失败的报告将重新比对", f"{len(again)} failed report(s) will be judged again")
        )
    return Outcome(
        {
            "taxpayer_id": taxpayer_id,
            "period": period,
            "version": version,
            "matching": declaration.matching,
            "judged_again": list(again),
        },
        lines,
        warnings=_id_warnings(taxpayer_id),
    )


@program.verb(
    "serve",
    Text("启动税局接口，直到被停止", "run the gateway until it is stopped"),
    option("--host", default="127.0.0.1", metavar="ADDRESS", help=Text("监听地址", "address to listen on")),
    option(
        "--port",
        metavar="P",
        type=click.IntRange(0, 65535),
        default=8650,
        help=Text("端口，0 为任意", "port; 0 takes a free one"),
    ),
    option(
        "--processing-seconds",
        metavar="S",
        type=click.FloatRange(0, 86400),
        help=Text("受理后多少秒审核", "seconds from a report's arrival to its judgement"),
    ),
)
def serve(context: Context, host: str, port: int, processing_seconds: float | None) -> Outcome:
    """Run the gateway."""
    from tax_bureau import serve as service  # the HTTP libraries are an extra; the other verbs do without

    bureau = _open(context)
    if processing_seconds is not None:
        bureau.desk.set_processing_seconds(processing_seconds)
    url = ""

    def ready(found: str) -> None:
        nonlocal url
        url = found
        context.emit({"url": found})
        context.say(Text(f"税局接口已启动：{found}", f"the gateway is ready: {found}"))

    with service.stopped_by_signals() as stop:
        service.serve(bureau, service.listen(host, port), ready, stop)
    return Outcome({"url": url, "stopped": True}, [Text("税局接口已停止", "the gateway has stopped")])


@program.verb(
    "list",
    Text("列出收到的报告", "list the reports received"),
    option(
        "--taxpayer-id",
        metavar="T",
        callback=_read_by(parse_taxpayer_id),
        help=Text("只看此税号", "of this taxpayer only"),
    ),
    option("--period", metavar="YYYY-MM", callback=_read_by(_month), help=Text("只看此月份", "of this month only")),
)
def list_reports(context: Context, taxpayer_id: TaxpayerId | None, period: str | None) -> Outcome:
    """List reports."""
    bureau = _open(context)
    with bureau.store.read() as tx:
        reports = tx.reports(taxpayer_id=taxpayer_id, period=period)
    items = [_item(report) for report in reports]
    lines = [_line(report) for report in reports] or [Text("没有报告", "no reports")]
    return Outcome({"items": items}, lines)


@program.verb(
    "show",
    Text("一份报告的经过和结果", "one report's life and results"),
    argument("id", metavar="ID", help=Text("报告摘要、摘要开头或文件名", "digest, the start of one, or file name")),
)
def show(context: Context, id: str) -> Outcome:  # noqa: A002  the word on the command line
    """Show a report."""
    bureau = _open(context)
    report = _find(bureau.store, id)
    with bureau.store.read() as tx:
        events = tx.events(report.digest)
        results = tx.results(report.digest)
    lines = [
        _line(report),
        Text(f"报告摘要 {report.digest}", f"digest {report.digest}"),
        *(
            Text(
                f"  {e.at}  {_EVENTS.get(e.what, both(e.what)).zh} {e.detail}".rstrip(),
                f"  {e.at}  {_EVENTS.get(e.what, both(e.what)).en} {e.detail}".rstrip(),
            )
            for e in events
        ),
    ]
    if report.message:
        lines.append(both(f"{report.code} {report.message}".strip()))
    return Outcome(
        {
            **_item(report),
            "header": report.header.model_dump(mode="json"),
            "events": [{"at": e.at, "event": e.what, "detail": e.detail} for e in events],
            "results": [
                {
                    "result_no": r.result_no,
                    "outcome": r.outcome,
                    "code": r.code,
                    "message": r.message,
                    "decided_at": r.decided_at,
                    "by_hand": r.by_hand,
                }
                for r in results
            ],
        },
        lines,
    )


@program.verb(
    "decide",
    Text("人工裁定一份报告", "decide a report by hand"),
    argument("id", metavar="ID", help=Text("报告摘要、摘要开头或文件名", "digest, the start of one, or file name")),
    option("--success", is_flag=True, help=Text("报税成功", "it succeeds")),
    option("--failure", is_flag=True, help=Text("报税失败", "it fails")),
    option("--code", default="", metavar="CODE", help=Text("错误号，如 271D", "error number, such as 271D")),
    option("--reason", default="", metavar="TEXT", help=Text("说明", "the explanation")),
)
def decide(context: Context, id: str, success: bool, failure: bool, code: str, reason: str) -> Outcome:  # noqa: A002
    """Decide by hand."""
    if success == failure:
        raise UsageError(
            reason=Text("给出 --success 或 --failure", "give --success or --failure"), command="tax-bureau decide"
        )
    if failure and (re.fullmatch(r"[0-9A-Za-z@._-]{1,32}", code, re.ASCII) is None or not reason.strip()):
        raise UsageError(
            reason=Text("失败需要 --code 和 --reason", "a failure needs --code and --reason"),
            command="tax-bureau decide",
        )
    bureau = _open(context)
    report = _find(bureau.store, id)
    result = bureau.desk.decide(report.digest, "success" if success else "failure", code=code, message=reason)
    return Outcome(
        {"report_digest": report.digest, "result_no": result.result_no, "outcome": result.outcome, "code": result.code},
        [
            Text(
                f"{report.header.name} 已裁定：{'报税成功' if success else '报税失败 ' + code}（结果序号 {result.result_no}）",
                f"{report.header.name} decided: {'success' if success else 'failure ' + code} (result {result.result_no})",
            )
        ],
    )


@program.verb(
    "rejudge",
    Text("修复后重新审核一份失败或等待的报告", "judge a failed or waiting report again after a repair"),
    argument("id", metavar="ID", help=Text("报告摘要、摘要开头或文件名", "digest, the start of one, or file name")),
)
def rejudge(context: Context, id: str) -> Outcome:  # noqa: A002
    """Judge again."""
    bureau = _open(context)
    report = _find(bureau.store, id)
    bureau.desk.judge_again(report.digest)
    return Outcome(
        {"report_digest": report.digest},
        [Text(f"{report.header.name} 将重新审核", f"{report.header.name} will be judged again")],
        next_action=Text("serve 运行时自动完成", "done by serve while it runs"),
    )


def _find(store: Store, wanted: str) -> Report:
    """Return the report that an ID means: digest, unique start of one, or file stem.

    Raises:
        NotFound: None, or several.
    """
    with store.read() as tx:
        found: tuple[Report, ...] = ()
        if re.fullmatch(r"[0-9a-f]{4,64}", wanted, re.ASCII):
            found = tx.reports(digest_prefix=wanted, limit=2)
        if not found:
            try:
                name = parse_stem(re.sub(r"\.(dat|txt|ack)$", "", Path(wanted).name))
            except NameInvalid:
                raise NotFound(what=wanted[:200]) from None
            # A superseding copy has the same name: the newest is meant.
            found = tuple(r for r in tx.reports(taxpayer_id=name.taxpayer_id) if r.header.name == name)[-1:]
    if len(found) != 1:
        raise NotFound(what=wanted[:200])
    return found[0]


def _item(report: Report) -> dict[str, Any]:
    header = report.header
    due = datetime.fromtimestamp(report.due_at, SystemClock().now().tzinfo) if report.due_at is not None else None
    return {
        "report_digest": report.digest,
        "taxpayer_id": header.taxpayer_id,
        "machine_no": header.machine_no,
        "stamp": header.stamp,
        "kind": header.kind,
        "period": header.period,
        "card_no": header.card_no,
        "sequence": header.sequence,
        "invoice_count": header.invoice_count,
        "received_at": report.received_at,
        "receipt_no": report.receipt_no,
        "state": report.state.value,
        "due_at": format_time(due) if due is not None else None,
        "result_no": report.result_no,
        "code": report.code,
        "message": report.message,
    }


def _line(report: Report) -> Text:
    state = _STATES[report.state.value]
    code = f" {report.code}" if report.code else ""
    return Text(
        f"{report.digest[:12]}  {report.header.name}  {state.zh}{code}",
        f"{report.digest[:12]}  {report.header.name}  {state.en}{code}",
    )


def _per_kind(pairs: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        kind, sign, value = pair.partition("=")
        if not sign or kind not in KIND_NAMES:
            raise UsageError(
                reason=Text(f"应写作 票种=值：{pair[:40]}", f"KIND=VALUE is expected: {pair[:40]}"),
                command="tax-bureau issue-card",
            )
        found[kind] = value
    return found


def _fen(text: str) -> int:
    try:
        found = parse_fen(text)
    except ValueError:
        found = -1
    if found < 0:
        raise UsageError(
            reason=Text(f"金额应写作 1000000.00：{text[:40]}", f"an amount is written 1000000.00: {text[:40]}"),
            command="tax-bureau issue-card",
        )
    return found


def _count(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,12}", text, re.ASCII) is None:
        raise UsageError(
            reason=Text(f"应为整数：{text[:40]}", f"a whole number is expected: {text[:40]}"),
            command="tax-bureau issue-card",
        )
    return int(text)


def _read_figures(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return dict(parse_figures(file.read(MAX_BYTES + 1)))
    except OSError as error:
        raise ConfigurationError(
            reason=Text(f"{path} 读不出（{os_reason(error).zh}）", f"{path}: {os_reason(error).en}")
        ) from None


def main() -> NoReturn:
    """Run the program."""
    program.main()
