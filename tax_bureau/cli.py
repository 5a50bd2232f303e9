"""The command line of the reference gateway: thin; every verb opens the bureau, does one thing and says what it did."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from platform import node
from typing import Any, Final, NoReturn

import click

from shared.canonical import clean_value
from shared.cli import FILE, Context, Outcome, Program, add_standard_verbs, argument, option, print_error
from shared.clock import SystemClock, format_time
from shared.durable import write_durably
from shared.envelope.roles import card_identity
from shared.envelope.roles import fingerprint as fingerprint_of
from shared.errors import AuditBroken, ConfigurationError, NameInvalid, NotFound, UsageError
from shared.ids import MachineNo, TaxpayerId, parse_machine_no, parse_stem, parse_taxpayer_id, taxpayer_id_warning
from shared.keys.file import load_key_file
from shared.keys.secret import read_pin_file
from shared.model.report import KIND_NAMES
from shared.money import format_fen, parse_fen
from shared.text import Text, both
from shared.text.system import os_reason
from tax_bureau.admission import Limits
from tax_bureau.audit import By, Entry
from tax_bureau.authority import month_text, next_month
from tax_bureau.conformance_verbs import add_conformance_verb
from tax_bureau.fault_verbs import add_fault_verbs
from tax_bureau.figures import MAX_BYTES, parse_figures
from tax_bureau.home import Bureau, init_bureau, open_bureau
from tax_bureau.issue import KeyType, certificate_pem
from tax_bureau.judge.facts import Declaration
from tax_bureau.keyring import KeyName
from tax_bureau.registry import CardOrder, read_certificate
from tax_bureau.store import Report, Store, Wanted

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
    "reissued": Text("结果重新签发", "result issued again"),
}
_MAX_NAME: Final = 64
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


def _lease_option() -> click.Parameter:
    return option(
        "--lease-seconds",
        metavar="S",
        type=click.FloatRange(0.2, 3600),
        default=60.0,
        help=Text(
            "别的机器上的进程死后，多少秒由其他进程接手",
            "seconds until others take over from a process that died elsewhere",
        ),
    )


def _reason_option(what: Text, *, required: bool = False) -> click.Parameter:
    settings: dict[str, Any] = {"required": True} if required else {"default": ""}
    return option("--reason", metavar="TEXT", help=what, **settings)


_WHY: Final = Text("为什么（记入审计记录）", "why; it goes into the audit record")


def _operator_option() -> click.Parameter:
    return option(
        "--operator",
        default="",
        metavar="NAME",
        help=Text("操作人；默认为本机登录用户", "who does it; by default the system's user"),
    )


def _who(*, reason_required: bool = False) -> tuple[click.Parameter, click.Parameter]:
    """Return the options that say who does something and why."""
    return _operator_option(), _reason_option(_WHY, required=reason_required)


def _by(operator: str, reason: str) -> By:
    user = _os_user()
    return By(clean_value(operator, limit=_MAX_NAME) or user, user, clean_value(reason))


def _by_with_reason(operator: str, reason: str, command: str) -> By:
    by = _by(operator, reason)
    if not by.reason:
        raise UsageError(
            reason=Text("--reason 不能为空", "--reason must say something"), command=f"tax-bureau {command}"
        )
    return by


def _os_user() -> str:
    """Return as whom the system knows this process; what the environment says counts only where there is no better."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError, AttributeError):
        pass
    try:
        return clean_value(getpass.getuser(), limit=_MAX_NAME)
    except (OSError, KeyError, ImportError):
        return "?"


def _open(context: Context) -> Bureau:
    bureau = open_bureau(context.home, SystemClock())
    context.at_end(bureau.store.close)
    return bureau


def _open_to_change(context: Context) -> Bureau:
    """Open a bureau for a verb that changes something: its entry in the audit record is sealed when the verb ends."""
    bureau = _open(context)
    context.at_end(lambda: _seal(bureau))
    return bureau


def _seal(bureau: Bureau) -> None:
    try:
        bureau.book.seal()
    except AuditBroken as error:
        # The change is made and on record; that the record was tampered with before is everybody's to know.
        print_error(error)


def _judged_again(digests: tuple[str, ...]) -> list[Text]:
    if not digests:
        return []
    return [Text(f"{len(digests)} 份报告将重新审核", f"{len(digests)} report(s) will be judged again")]


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
    option(
        "--database",
        metavar="URL",
        default="",
        help=Text(
            "PostgreSQL 数据库（空的），供多个进程共用；默认用文件夹里的 SQLite",
            "an empty PostgreSQL database, for several processes; default: SQLite in the folder",
        ),
    ),
    _operator_option(),
)
def init(
    context: Context,
    trust_out: Path | None,
    key_type: KeyType,
    gateway: tuple[str, ...],
    database: str,
    operator: str,
) -> Outcome:
    """Make a bureau."""
    bad = [url for url in gateway if re.fullmatch(r"https?://[!-~]{1,200}", url) is None]
    if bad:
        raise UsageError(
            reason=Text(f"地址无效：{bad[0][:80]}", f"not an address: {bad[0][:80]}"), command="tax-bureau init"
        )
    if database and not database.startswith(("postgresql://", "postgres://")):
        raise UsageError(
            reason=Text("--database 应以 postgresql:// 开头", "--database begins with postgresql://"),
            command="tax-bureau init",
        )
    url = re.sub("^postgres:", "postgresql:", database)
    made = init_bureau(
        context.home, SystemClock(), key_type=key_type, gateways=gateway, database=url, by=_by(operator, "")
    )
    bureau = _open_to_change(context)
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
    *_who(),
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
    operator: str,
    reason: str,
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
    bureau = _open_to_change(context)
    issued = bureau.registry.issue_card(order, out, _by(operator, reason))
    again = bureau.desk.reconsider(taxpayer_id) if issued.new else ()
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
            "judged_again": list(again),
        },
        [
            Text(
                f"{said.zh}金税卡 {card.card_no}（{which.zh}），锁死日期 {card.lock_date}：{out}",
                f"card {card.card_no} {said.en} ({which.en}), lock date {card.lock_date}: {out}",
            ),
            *_judged_again(again),
        ],
        next_action=Text("在开票机执行 init --card", "on the invoicing PC: init --card"),
        warnings=[*_id_warnings(taxpayer_id), *issued.warnings],
    )


@program.verb(
    "authorise",
    Text(
        "修改一张卡的离线时长和离线限额；随下一次报税成功的结果带到卡上",
        "change a card's offline hours and limits; its next success carries them",
    ),
    option("--card-no", required=True, metavar="NUMBER", help=Text("卡号", "the card's number")),
    option(
        "--offline-hours", metavar="HOURS", type=click.IntRange(0, 99999), help=Text("离线开票时长", "offline hours")
    ),
    option(
        "--offline-limit",
        multiple=True,
        metavar="KIND=YUAN",
        help=Text("离线限额，如 004=1000000.00", "offline limit, such as 004=1000000.00"),
    ),
    *_who(reason_required=True),
)
def authorise(
    context: Context,
    card_no: str,
    offline_hours: int | None,
    offline_limit: tuple[str, ...],
    operator: str,
    reason: str,
) -> Outcome:
    """Change what a card may do offline."""
    by = _by_with_reason(operator, reason, "authorise")
    if offline_hours is None and not offline_limit:
        raise UsageError(
            reason=Text("给出 --offline-hours 或 --offline-limit", "give --offline-hours or --offline-limit"),
            command="tax-bureau authorise",
        )
    limits = {kind: _fen(text) for kind, text in _per_kind(offline_limit).items()}
    hours, now = _open_to_change(context).registry.authorise(card_no, offline_hours, limits, by)
    shown = ", ".join(f"{kind} {format_fen(fen)}" for kind, fen in sorted(now.items()))
    return Outcome(
        {"card_no": card_no, "offline_hours": hours, "offline_limits": {k: format_fen(v) for k, v in now.items()}},
        [
            Text(
                f"卡 {card_no}：离线 {hours} 小时，限额 {shown or '—'}",
                f"card {card_no}: offline {hours} h, limits {shown or '—'}",
            )
        ],
        next_action=Text("该卡下一次报税成功并清卡后生效", "in force once the card has cleared with its next success"),
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
    *_who(),
)
def issue_key(
    context: Context,
    taxpayer_id: TaxpayerId,
    name: str,
    key_type: KeyType,
    pin_file: Path,
    out: Path,
    operator: str,
    reason: str,
) -> Outcome:
    """Issue an enterprise key."""
    registry, by = _open_to_change(context).registry, _by(operator, reason)
    found = registry.issue_key(taxpayer_id, out, read_pin_file(pin_file), key_type=key_type, name=name, by=by)
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
    *_who(),
)
def enroll(
    context: Context,
    taxpayer_id: TaxpayerId,
    key: Path | None,
    pin_file: Path | None,
    certificate: Path | None,
    withdraw: bool,
    operator: str,
    reason: str,
) -> Outcome:
    """Put a key on file."""
    if (key is None) == (certificate is None) or (key is not None and pin_file is None):
        raise UsageError(
            reason=Text(
                "给出 --key 和 --pin-file，或给出 --certificate", "give --key and --pin-file, or --certificate"
            ),
            command="tax-bureau enroll",
        )
    bureau = _open_to_change(context)
    if certificate is not None:
        found = read_certificate(certificate)
    else:
        assert key is not None
        assert pin_file is not None
        found = load_key_file(key, read_pin_file(pin_file)).certificate
    fingerprint = bureau.registry.enroll(taxpayer_id, found, withdraw=withdraw, by=_by(operator, reason))
    again = () if withdraw else bureau.desk.reconsider(taxpayer_id)
    said = Text("已取消登记", "taken off file") if withdraw else Text("已开户", "enrolled")
    return Outcome(
        {
            "taxpayer_id": taxpayer_id,
            "fingerprint": fingerprint,
            "enrolled": not withdraw,
            "judged_again": list(again),
        },
        [
            Text(
                f"{said.zh}：{taxpayer_id}，公钥 {fingerprint[:16]}…",
                f"{said.en}: {taxpayer_id}, key {fingerprint[:16]}…",
            ),
            *_judged_again(again),
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
    *_who(),
)
def delegate(context: Context, taxpayer_id: TaxpayerId, agency: TaxpayerId, operator: str, reason: str) -> Outcome:
    """Let an agency report."""
    _open_to_change(context).registry.delegate(taxpayer_id, agency, _by(operator, reason))
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
    *_who(),
)
def declare(
    context: Context,
    taxpayer_id: TaxpayerId,
    period: str,
    figures: Path | None,
    matching: bool,
    operator: str,
    reason: str,
) -> Outcome:
    """Take a declaration."""
    if figures is not None and matching:
        raise UsageError(
            reason=Text("--figures 与 --matching 只能取一", "--figures or --matching, not both"),
            command="tax-bureau declare",
        )
    bureau = _open_to_change(context)
    declaration = Declaration(matching=True) if figures is None else Declaration(figures=_read_figures(figures))
    version, again = bureau.desk.declare(taxpayer_id, period, declaration, _by(operator, reason))
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
        help=Text(
            "受理后至多多少秒开始审核，每份不同（300 即 3–5 分钟）",
            "from a report's arrival to its judgement at most, each its own (300: 3 to 5 minutes)",
        ),
    ),
    option(
        "--workers",
        metavar="N",
        type=click.IntRange(0, 64),
        default=1,
        help=Text("同时审核几份；0 表示只由 work 审核", "reports judged at once; 0 leaves judging to work"),
    ),
    _lease_option(),
    option("--tls-cert", type=FILE, metavar="FILE", help=Text("TLS 证书（PEM）", "TLS certificate (PEM)")),
    option("--tls-key", type=FILE, metavar="FILE", help=Text("TLS 证书的密钥（PEM）", "its key (PEM)")),
    option(
        "--max-uploads",
        metavar="N",
        type=click.IntRange(1, 10_000),
        default=64,
        help=Text("同时接收的上传数，超出的稍后再来", "uploads at once; more are told to come later"),
    ),
    option(
        "--max-queue",
        metavar="N",
        type=click.IntRange(1, 100_000_000),
        default=200_000,
        help=Text("待审报告的上限，超出的稍后再来", "reports waiting at most; more are told to come later"),
    ),
    option(
        "--access-log",
        type=FILE,
        metavar="FILE",
        help=Text(
            "访问日志（JSON 行，自动轮换）；默认在 logs 文件夹",
            "access log (JSON lines, rotated); default: in the folder logs",
        ),
    ),
    _operator_option(),
)
def serve(
    context: Context,
    host: str,
    port: int,
    processing_seconds: float | None,
    workers: int,
    lease_seconds: float,
    tls_cert: Path | None,
    tls_key: Path | None,
    max_uploads: int,
    max_queue: int,
    access_log: Path | None,
    operator: str,
) -> Outcome:
    """Run the gateway."""
    from tax_bureau import serve as service  # the HTTP libraries are an extra; the other verbs do without

    if (tls_cert is None) != (tls_key is None):
        raise UsageError(
            reason=Text("--tls-cert 和 --tls-key 要一起给", "--tls-cert and --tls-key belong together"),
            command="tax-bureau serve",
        )
    bureau = _open_to_change(context)
    if processing_seconds is not None:
        bureau.desk.set_processing_seconds(processing_seconds, _by(operator, ""))
    url = ""

    def ready(found: str) -> None:
        nonlocal url
        url = found
        context.emit({"url": found})
        context.say(Text(f"税局接口已启动：{found}", f"the gateway is ready: {found}"))

    with service.stopped_by_signals() as stop:
        server = service.listen(host, port)
        # Several processes write to one folder of logs: each has its own file.
        default = bureau.home / "logs" / f"access-{node() or 'bureau'}-{server.getsockname()[1]}.jsonl"
        how = service.Service(
            workers=workers,
            lease_seconds=lease_seconds,
            limits=Limits(uploads=max_uploads, queue=max_queue),
            certificate=tls_cert,
            key=tls_key,
            access_log=access_log or default,
        )
        service.serve(bureau, server, ready, stop, how)
    return Outcome({"url": url, "stopped": True}, [Text("税局接口已停止", "the gateway has stopped")])


_STATES_HELP: Final = Text(
    "只看此状态（可多次）：stored 待审、waiting 等待其他开票机、failed、succeeded、closed 已清卡、superseded 已作废",
    "in this state only (more than once: in any of them)",
)
_ID: Final = argument(
    "id", metavar="ID", help=Text("报告摘要、摘要开头或文件名", "digest, the start of one, or file name")
)


@program.verb(
    "work",
    Text("只审核报告，直到被停止；与 serve 并行", "judge reports until it is stopped, beside serve"),
    option(
        "--workers",
        metavar="N",
        type=click.IntRange(1, 64),
        default=1,
        help=Text("同时审核几份", "reports judged at once"),
    ),
    _lease_option(),
)
def work(context: Context, workers: int, lease_seconds: float) -> Outcome:
    """Judge."""
    from tax_bureau import serve as service

    bureau = _open(context)
    context.emit({"working": True})
    context.say(Text(f"开始审核（同时 {workers} 份）", f"judging ({workers} at once)"))
    if not bureau.store.database.is_server:
        context.say(
            Text(
                "本税局用的是 SQLite：所有进程必须在同一台机器上；多台机器请用 init --database",
                "this bureau is on SQLite: all its processes have to be on one machine; for several, init --database",
            )
        )
    with service.stopped_by_signals() as stop:
        service.work(bureau, stop, threads=workers, lease_seconds=lease_seconds)
    return Outcome({"stopped": True}, [Text("审核已停止", "judging has stopped")])


@program.verb(
    "list",
    Text("列出收到的报告，最新的在前", "list the reports received, the newest first"),
    option(
        "--taxpayer-id",
        metavar="T",
        callback=_read_by(parse_taxpayer_id),
        help=Text("只看此税号", "of this taxpayer only"),
    ),
    option(
        "--machine-no",
        metavar="NUMBER",
        callback=_read_by(parse_machine_no),
        help=Text("只看此分机号", "of this machine only"),
    ),
    option("--period", metavar="YYYY-MM", callback=_read_by(_month), help=Text("只看此月份", "of this month only")),
    option("--kind", type=click.Choice(["period", "adhoc"]), help=Text("只看征期或非征期", "period or ad hoc only")),
    option("--state", multiple=True, type=click.Choice(list(_STATES)), help=_STATES_HELP),
    option("--code", metavar="CODE", help=Text("只看此错误号", "with this error number only")),
    option(
        "--from",
        "received_from",
        metavar="YYYY-MM-DD",
        callback=_read_by(_day),
        help=Text("受理日期自", "received from"),
    ),
    option(
        "--to", "received_to", metavar="YYYY-MM-DD", callback=_read_by(_day), help=Text("受理日期至", "received until")
    ),
    option("--by-hand", is_flag=True, help=Text("只看人工裁定过的", "decided by a person only")),
    option("--page", type=click.IntRange(1, 1_000_000), default=1, metavar="N", help=Text("第几页", "which page")),
    option(
        "--page-size",
        type=click.IntRange(1, 1000),
        default=50,
        metavar="N",
        help=Text("每页几份", "reports on a page"),
    ),
)
def list_reports(
    context: Context,
    taxpayer_id: TaxpayerId | None,
    machine_no: MachineNo | None,
    period: str | None,
    kind: str | None,
    state: tuple[str, ...],
    code: str | None,
    received_from: date | None,
    received_to: date | None,
    by_hand: bool,
    page: int,
    page_size: int,
) -> Outcome:
    """List reports."""
    bureau = _open(context)
    wanted = Wanted(taxpayer_id, machine_no, period, kind, state, code, received_from, received_to, by_hand)
    with bureau.store.read() as tx:
        reports, total = tx.find_reports(wanted, skip=(page - 1) * page_size, limit=page_size)
    pages = max(1, -(-total // page_size))
    lines = [_line(report) for report in reports] or [Text("没有报告", "no reports")]
    if pages > 1:
        lines.append(Text(f"第 {page} 页，共 {pages} 页，{total} 份", f"page {page} of {pages}, {total} reports"))
    next_page = Text(f"看下一页：加 --page {page + 1}", f"for the next page add --page {page + 1}")
    return Outcome(
        {"items": [_item(report) for report in reports], "page": page, "pages": pages, "total": total},
        lines,
        next_action=next_page if page < pages else None,
    )


@program.verb("show", Text("一份报告的经过和结果", "one report's life and results"), _ID)
def show(context: Context, id: str) -> Outcome:  # noqa: A002  the word on the command line
    """Show a report."""
    bureau = _open(context)
    report = _find(bureau.store, id)
    with bureau.store.read() as tx:
        events = tx.events(report.digest)
        results = tx.results(report.digest)
        acts = tx.audit(subject=report.digest)
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
    lines += [_act_line(entry) for entry in acts]
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
            "acts": [_act(entry) for entry in acts],
        },
        lines,
    )


@program.verb(
    "decide",
    Text("人工裁定一份报告；理由必填，记入审计记录", "decide a report by hand, with a reason that goes on record"),
    _ID,
    option("--success", is_flag=True, help=Text("报税成功", "it succeeds")),
    option("--failure", is_flag=True, help=Text("报税失败", "it fails")),
    option("--code", default="", metavar="CODE", help=Text("错误号，如 271D", "error number, such as 271D")),
    option(
        "--message",
        default="",
        metavar="TEXT",
        help=Text("写进结果的说明；默认同 --reason", "the explanation in the result; --reason by default"),
    ),
    *_who(reason_required=True),
)
def decide(
    context: Context,
    id: str,  # noqa: A002  the word on the command line
    success: bool,
    failure: bool,
    code: str,
    message: str,
    operator: str,
    reason: str,
) -> Outcome:
    """Decide by hand."""
    if success == failure:
        raise UsageError(
            reason=Text("给出 --success 或 --failure", "give --success or --failure"), command="tax-bureau decide"
        )
    by = _by_with_reason(operator, reason, "decide")
    if failure and re.fullmatch(r"[0-9A-Za-z@._-]{1,32}", code, re.ASCII) is None:
        raise UsageError(reason=Text("失败需要 --code", "a failure needs --code"), command="tax-bureau decide")
    bureau = _open_to_change(context)
    report = _find(bureau.store, id)
    result = bureau.desk.decide(
        report.digest, "success" if success else "failure", code=code, message=clean_value(message) or by.reason, by=by
    )
    said = Text("报税成功", "success") if success else Text(f"报税失败 {code}", f"failure {code}")
    return Outcome(
        {"report_digest": report.digest, "result_no": result.result_no, "outcome": result.outcome, "code": result.code},
        [
            Text(
                f"{report.header.name} 已裁定：{said.zh}（结果序号 {result.result_no}）",
                f"{report.header.name} decided: {said.en} (result {result.result_no})",
            )
        ],
        next_action=Text(
            "上网机再次查询（results）时取到这个结果", "the Internet PC gets this result when it asks again (results)"
        ),
    )


@program.verb(
    "reissue",
    Text("重新签发结果：决定不变，新的结果序号", "sign a report's result anew: same decision, next number"),
    _ID,
    *_who(reason_required=True),
)
def reissue_result(context: Context, id: str, operator: str, reason: str) -> Outcome:  # noqa: A002
    """Issue a result again."""
    by = _by_with_reason(operator, reason, "reissue")
    bureau = _open_to_change(context)
    report = _find(bureau.store, id)
    result = bureau.desk.reissue(report.digest, by)
    return Outcome(
        {"report_digest": report.digest, "result_no": result.result_no, "outcome": result.outcome, "code": result.code},
        [
            Text(
                f"{report.header.name} 的结果已重新签发（结果序号 {result.result_no}）",
                f"the result of {report.header.name} is issued again (result {result.result_no})",
            )
        ],
        next_action=Text(
            "还没有取到结果的上网机会取到新签的这一份；新装的上网机上传同一个 .dat 即可取得。以前取走的那一份照样能清卡",
            "an Internet PC that has no result yet gets this one; one that was set up anew uploads the same .dat and gets it. "
            "the one fetched before still clears the card",
        ),
    )


@program.verb(
    "rejudge",
    Text("修复后重新审核一份失败或等待的报告", "judge a failed or waiting report again after a repair"),
    _ID,
    *_who(),
)
def rejudge(context: Context, id: str, operator: str, reason: str) -> Outcome:  # noqa: A002
    """Judge again."""
    bureau = _open_to_change(context)
    report = _find(bureau.store, id)
    bureau.desk.judge_again(report.digest, _by(operator, reason))
    return Outcome(
        {"report_digest": report.digest},
        [Text(f"{report.header.name} 将重新审核", f"{report.header.name} will be judged again")],
        next_action=Text("serve 运行时自动完成", "done by serve while it runs"),
    )


# Keys, revocations, calendar


@program.verb(
    "renew-key",
    Text(
        "更换税局密钥，公布新的信任文件\n\n换信封密钥后，用旧公钥加密的报告打不开（2734，0x82040010），除非给出 --accept-old-for。",
        "put a new key of the bureau in force and publish it\n\nWhat was sealed to an old envelope key opens no more "
        "(2734, 0x82040010), unless --accept-old-for is given.",
    ),
    argument("name", type=click.Choice(["envelope", "result", "trust"]), help=Text("哪一把", "which one")),
    _key_type_option(),
    option(
        "--accept-old-for",
        type=click.FloatRange(0, 400 * 86400),
        default=0.0,
        metavar="SECONDS",
        help=Text(
            "信封密钥：旧密钥还收多少秒；到期后执行 publish",
            "envelope: how long the old key still opens reports; publish when that is over",
        ),
    ),
    *_who(reason_required=True),
)
def renew_key(
    context: Context, name: KeyName, key_type: KeyType, accept_old_for: float, operator: str, reason: str
) -> Outcome:
    """Renew a key."""
    if accept_old_for and name != "envelope":
        raise UsageError(
            reason=Text("--accept-old-for 只用于 envelope", "--accept-old-for belongs to envelope"),
            command="tax-bureau renew-key",
        )
    by = _by_with_reason(operator, reason, "renew-key")
    certificate, version = _open_to_change(context).trust.renew(name, key_type, by, accept_old_for=accept_old_for)
    found = fingerprint_of(certificate)
    return Outcome(
        {"name": name, "fingerprint": found, "trust_version": version},
        [
            Text(
                f"新密钥 {found[:16]}… 已启用，信任文件第 {version} 版",
                f"new key {found[:16]}… is in force, trust file version {version}",
            )
        ],
        next_action=_CARRY_TRUST,
    )


_CARRY_TRUST: Final = Text(
    "各上网机执行 once 取得新的信任文件，再用 stick sync 带到开票机",
    "run once on each Internet PC to fetch the trust file, and carry it to the invoicing PCs with stick sync",
)


@program.verb(
    "revoke",
    Text("吊销一张卡或一把U棒的证书，公布新的吊销列表", "revoke a card's or an enterprise key's certificate"),
    option("--card-no", metavar="NUMBER", help=Text("卡号", "the card's number")),
    option("--certificate", type=FILE, metavar="FILE", help=Text("证书（PEM）", "the certificate (PEM)")),
    option("--key", type=FILE, metavar="FILE", help=Text("密钥文件（.p12）", "the key file (.p12)")),
    option("--pin-file", type=FILE, metavar="FILE", help=Text("口令文件", "the file that holds the PIN")),
    *_who(reason_required=True),
)
def revoke(
    context: Context,
    card_no: str | None,
    certificate: Path | None,
    key: Path | None,
    pin_file: Path | None,
    operator: str,
    reason: str,
) -> Outcome:
    """Revoke a certificate."""
    by = _by_with_reason(operator, reason, "revoke")
    if sum(given is not None for given in (card_no, certificate, key)) != 1 or (key is None) != (pin_file is None):
        raise UsageError(
            reason=Text(
                "给出 --card-no、--certificate 或 --key（连同 --pin-file）之一",
                "give one of --card-no, --certificate, and --key with --pin-file",
            ),
            command="tax-bureau revoke",
        )
    bureau = _open_to_change(context)
    office = bureau.trust
    if card_no is not None:
        found = office.card_certificate(card_no)
    elif certificate is not None:
        found = read_certificate(certificate)
    else:
        assert key is not None
        assert pin_file is not None
        found = load_key_file(key, read_pin_file(pin_file)).certificate
    version = office.revoke(found, by)
    again = bureau.desk.reconsider(card_identity(found).taxpayer_id) if card_no is not None else ()
    mark = fingerprint_of(found)
    return Outcome(
        {"fingerprint": mark, "trust_version": version, "judged_again": list(again)},
        [
            Text(
                f"证书 {mark[:16]}… 已吊销，信任文件第 {version} 版",
                f"certificate {mark[:16]}… is revoked, trust file version {version}",
            ),
            *_judged_again(again),
        ],
        next_action=_CARRY_TRUST,
    )


@program.verb(
    "publish",
    Text(
        "公布信任文件：补上中断未公布的改动；--renew-lists 同时重签吊销列表",
        "publish the trust file, catching up with what an interruption left out",
    ),
    option("--renew-lists", is_flag=True, help=Text("重新签发吊销列表", "sign the revocation lists anew")),
    option(
        "--days",
        type=click.IntRange(1, 4000),
        metavar="N",
        help=Text("与 --renew-lists 合用：列表几天后过期（默认 400）", "with --renew-lists: days until they are stale"),
    ),
    *_who(),
)
def publish(context: Context, renew_lists: bool, days: int | None, operator: str, reason: str) -> Outcome:
    """Publish the trust file."""
    if days is not None and not renew_lists:
        raise UsageError(
            reason=Text("--days 要与 --renew-lists 合用", "--days goes with --renew-lists"),
            command="tax-bureau publish",
        )
    office, by = _open_to_change(context).trust, _by(operator, reason)
    if renew_lists:
        version, new = office.renew_revocation_lists(by, life=None if days is None else timedelta(days=days)), True
    else:
        version, new = office.publish(by)
    said = (
        Text(f"已公布信任文件第 {version} 版", f"trust file version {version} is published")
        if new
        else Text(f"信任文件第 {version} 版已是最新", f"trust file version {version} says it all already")
    )
    return Outcome({"trust_version": version, "new": new}, [said], next_action=_CARRY_TRUST if new else None)


_calendar = program.group("calendar", Text("征期日历：查看、公布截止日", "the filing calendar: see it, publish a day"))
_SOURCES: Final = {
    "override": Text("本局公布", "published here"),
    "official": Text("官方公布", "official"),
    "computed": Text("按规则推算，未公布", "by the rule, not published"),
    "forecast": Text("预测，未公布", "forecast, not published"),
}


@_calendar.verb(
    "list",
    Text("各月申报截止日，以及是公布的还是预测的", "the filing day of each month, and how sure it is"),
    option("--from", "first", metavar="YYYY-MM", callback=_read_by(_month), help=Text("从哪个月起", "first month")),
    option("--months", type=click.IntRange(1, 120), default=14, metavar="N", help=Text("几个月", "how many months")),
)
def list_calendar(context: Context, first: str | None, months: int) -> Outcome:
    """List filing days."""
    bureau = _open(context)
    day = date.fromisoformat(f"{first}-01") if first else bureau.clock.now().date().replace(day=1)
    items, lines = [], []
    for _ in range(months):
        month = month_text(day)
        found = bureau.calendar.deadline(month)
        items.append({"month": month, "day": found.day.isoformat(), "source": found.source, "certain": found.certain})
        words = _SOURCES[found.source]
        lines.append(Text(f"{month}  {found.day}  {words.zh}", f"{month}  {found.day}  {words.en}"))
        day = next_month(day)
    return Outcome({"items": items}, lines)


@_calendar.verb(
    "set",
    Text(
        "公布某月的申报截止日（胜过规则），写入信任文件", "publish the filing day of its month; it wins over the rule"
    ),
    argument("day", metavar="YYYY-MM-DD", callback=_read_by(_day), help=Text("截止日（含）", "the last day, included")),
    *_who(reason_required=True),
)
def set_filing_day(context: Context, day: date, operator: str, reason: str) -> Outcome:
    """Publish a filing day."""
    by = _by_with_reason(operator, reason, "calendar set")
    version = _open_to_change(context).trust.set_filing_day(day, by)
    return Outcome(
        {"month": month_text(day), "day": day.isoformat(), "trust_version": version},
        [
            Text(
                f"{day:%Y-%m} 的申报截止日为 {day}，信任文件第 {version} 版",
                f"the filing day of {day:%Y-%m} is {day}, trust file version {version}",
            )
        ],
        next_action=_CARRY_TRUST,
    )


# The record of what people did

_audit = program.group(
    "audit", Text("审计记录：谁在何时做了什么、为什么", "the audit record: who did what, when and why")
)


@_audit.verb(
    "list",
    Text("列出审计记录", "list the record"),
    option(
        "--subject",
        default="",
        metavar="TEXT",
        help=Text("只看此对象（摘要、税号、卡号的开头）", "of this subject only"),
    ),
    option("--operator", default="", metavar="NAME", help=Text("只看此人", "of this person only")),
    option("--after", type=click.IntRange(0), default=0, metavar="N", help=Text("从第 N 条之后", "after entry N")),
    option("--limit", type=click.IntRange(1, 10_000), default=100, metavar="N", help=Text("最多几条", "at most")),
)
def audit_list(context: Context, subject: str, operator: str, after: int, limit: int) -> Outcome:
    """List entries."""
    with _open(context).store.read() as tx:
        entries = tx.audit(after=after, subject=subject, operator=operator, limit=limit + 1)
    more, entries = len(entries) > limit, entries[:limit]
    following = (
        Text(f"后面还有：加 --after {entries[-1].number}", f"there is more: --after {entries[-1].number}")
        if more
        else None
    )
    lines = [_act_line(entry) for entry in entries] or [Text("没有记录", "nothing on record")]
    return Outcome({"items": [_act(entry) for entry in entries], "more": more}, lines, next_action=following)


@_audit.verb(
    "verify",
    Text(
        "核对审计记录：改、删、调换、截去的都会指出\n\n最后一个检查点之后被截去的看不出来，所以检查点要另外保管。",
        "look for entries that were changed, removed, reordered or cut off\n\nWhat is cut off behind the last checkpoint "
        "leaves no trace: keep checkpoints elsewhere.",
    ),
    option(
        "--checkpoint",
        multiple=True,
        type=FILE,
        metavar="FILE",
        help=Text("另外保管的检查点（可多个）", "a checkpoint that was kept elsewhere (more than one may be given)"),
    ),
)
def audit_verify(context: Context, checkpoint: tuple[Path, ...]) -> Outcome:
    """Verify the record."""
    found = _open(context).book.inspect(checkpoint)
    data = {
        "entries": found.entries,
        "checkpoints": found.checkpoints,
        "last_checkpoint": found.last_checkpoint,
        "breaches": [
            {"kind": each.kind, "first": each.first, "last": each.last, "message": str(each.text)}
            for each in found.breaches
        ],
    }
    lines = [
        Text(
            f"{found.entries} 条记录，{found.checkpoints} 个签名检查点，最后一个到第 {found.last_checkpoint} 条",
            f"{found.entries} entries, {found.checkpoints} signed checkpoints, the last one up to entry {found.last_checkpoint}",
        )
    ]
    if not found.breaches and not found.unusable:
        lines.append(Text("没有发现改动", "nothing was tampered with"))
    warnings = [
        Text(f"检查点 {name} 不能用：{why.zh}", f"checkpoint {name} proves nothing: {why.en}")
        for name, why in found.unusable
    ]
    return Outcome(data, lines, warnings=warnings, errors=[AuditBroken(reason=each.text) for each in found.breaches])


@_audit.verb(
    "checkpoint",
    Text("现在签发一个检查点，写到文件另外保管", "sign a checkpoint now, to be kept elsewhere"),
    option("--out", type=FILE, metavar="FILE", help=Text("写到这里", "write it here")),
)
def audit_checkpoint(context: Context, out: Path | None) -> Outcome:
    """Sign a checkpoint."""
    found = _open(context).book.checkpoint(out)
    if found is None:
        return Outcome({"number": 0, "out": None}, [Text("还没有记录", "nothing is on record yet")])
    return Outcome(
        {"number": found.number, "digest": found.digest, "out": None if out is None else str(out)},
        [
            Text(
                f"检查点到第 {found.number} 条，摘要 {found.digest[:16]}…",
                f"checkpoint up to entry {found.number}, digest {found.digest[:16]}…",
            )
        ],
        next_action=Text(
            "把检查点文件另外保管（如打印摘要或存到别处），以后用 audit verify --checkpoint 核对",
            "keep the file elsewhere, or write the digest down; later give it to audit verify --checkpoint",
        ),
    )


_ACTIONS: Final = {
    "init": Text("建立税局", "bureau made"),
    "issue-card": Text("发卡", "card issued"),
    "reissue-card": Text("重新发卡", "card re-issued"),
    "issue-key": Text("发U棒", "key issued"),
    "authorise": Text("修改离线授权", "offline authority changed"),
    "enroll": Text("开户", "enrolled"),
    "withdraw-key": Text("取消登记", "taken off file"),
    "delegate": Text("登记代理", "delegation"),
    "declare": Text("申报", "declaration"),
    "decide": Text("人工裁定", "decided by hand"),
    "reissue": Text("重新签发结果", "result issued again"),
    "rejudge": Text("重新审核", "judged again"),
    "renew-key": Text("更换税局密钥", "bureau key renewed"),
    "revoke": Text("吊销证书", "certificate revoked"),
    "renew-lists": Text("重签吊销列表", "revocation lists renewed"),
    "filing-day": Text("公布截止日", "filing day published"),
    "publish": Text("公布信任文件", "trust file published"),
    "processing-seconds": Text("设置审核等待", "processing time set"),
}


def _act(entry: Entry) -> dict[str, Any]:
    return {
        "number": entry.number,
        "at": entry.at,
        "operator": entry.operator,
        "os_user": entry.os_user,
        "action": entry.action,
        "subject": entry.subject,
        "reason": entry.reason,
        "detail": dict(entry.detail),
        "digest": entry.digest,
    }


def _act_line(entry: Entry) -> Text:
    words = _ACTIONS.get(entry.action, both(entry.action))
    who = entry.operator if entry.operator == entry.os_user else f"{entry.operator} ({entry.os_user})"
    subject = entry.subject[:12] if re.fullmatch(r"[0-9a-f]{64}", entry.subject) else entry.subject
    detail = " ".join(f"{name}={value[:40]}" for name, value in entry.detail.items() if value)
    zh = f"；理由：{entry.reason}" if entry.reason else ""
    en = f"; reason: {entry.reason}" if entry.reason else ""
    return Text(
        f"#{entry.number}  {entry.at}  {who}  {words.zh} {subject}  {detail}{zh}",
        f"#{entry.number}  {entry.at}  {who}  {words.en} {subject}  {detail}{en}",
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
    # A success with an explanation has a lock date that nobody has published.
    noted = bool(report.message) and not report.code
    return Text(
        f"{report.digest[:12]}  {report.header.name}  {state.zh}{code}{'（锁死日期为预测）' if noted else ''}",
        f"{report.digest[:12]}  {report.header.name}  {state.en}{code}{' (lock date is a forecast)' if noted else ''}",
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
