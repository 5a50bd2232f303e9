"""Who is told when something needs a person: robots, rules, and what stands."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from online_station.cli import base
from online_station.cli.base import program
from online_station.core.alarms import Rules
from online_station.shell import webhook
from online_station.shell.alarm_book import LIMITS, AlarmBook, RobotRow, StandingAlarm
from online_station.shell.home import Home
from online_station.shell.setup import opened, read_settings
from online_station.shell.webhook import ROBOT_KINDS, Robot, RobotKind, Said, check_robot, masked
from shared.cli import FILE, Context, Outcome, argument, option
from shared.clock import format_time, readable_time
from shared.errors import FileMissing, NotFound, RobotInvalid, RobotSilent
from shared.text import Text

_MAX_SECRET: Final = 4096
_alarms = program.group(
    "alarms",
    Text("告警：出了需要人管的事，发到企业微信、钉钉或别的系统", "alarms: tell a robot when something needs a person"),
)
_KIND_WORDS: Final = {
    "generic": Text("通用 JSON", "plain JSON"),
    "wecom": Text("企业微信", "企业微信 (WeCom)"),
    "dingtalk": Text("钉钉", "钉钉 (DingTalk)"),
}


@_alarms.verb(
    "set",
    Text(
        "登记一个接收告警的机器人；同名的会更新\n\n地址就是凭据：谁有它谁就能往群里发消息。用 --url-file 可以不留在命令记录里。",
        "add a robot that alarms are sent to; one of that name is described anew\n\n"
        "The address is a secret: whoever has it can write to the group. --url-file keeps it out of the shell's history.",
    ),
    argument("name", metavar="NAME", help=Text("名称，自己起，例如 报税群", "a name of your own")),
    option(
        "--kind",
        type=click.Choice(ROBOT_KINDS),
        required=True,
        help=Text(
            "generic 通用 JSON，wecom 企业微信群机器人，dingtalk 钉钉自定义机器人",
            "generic: plain JSON; wecom: 企业微信; dingtalk: 钉钉",
        ),
    ),
    option("--url", metavar="URL", help=Text("机器人的地址", "the robot's address")),
    option("--url-file", type=FILE, metavar="FILE", help=Text("写着地址的文件", "a file with the address in it")),
    option(
        "--secret-file",
        type=FILE,
        metavar="FILE",
        help=Text(
            "写着加签密钥的文件（钉钉的 SEC…，或通用 JSON 的签名密钥）",
            "a file with the signed secret (钉钉's SEC…, or the key that signs plain JSON)",
        ),
    ),
    option("--ca-file", type=FILE, metavar="FILE", help=Text("TLS 证书文件（PEM）", "certificates for TLS (PEM)")),
)
def alarms_set(
    context: Context,
    name: str,
    kind: RobotKind,
    url: str | None,
    url_file: Path | None,
    secret_file: Path | None,
    ca_file: Path | None,
) -> Outcome:
    """Add a robot."""
    if (url is None) == (url_file is None):
        raise RobotInvalid(
            reason=Text("--url 和 --url-file 要给出一个，只给一个", "give one of --url and --url-file, and only one")
        )
    if ca_file is not None and not ca_file.is_file():
        raise FileMissing(what=ca_file)
    robot = Robot(
        name,
        kind,
        url if url is not None else _from_file(url_file),
        _from_file(secret_file) if secret_file is not None else "",
        "" if ca_file is None else str(ca_file.absolute()),
    )
    warnings = check_robot(robot)
    with opened(Home(context.home)) as store:
        new = AlarmBook(store).put_robot(robot, base.CLOCK.now())
    return Outcome(
        {"name": name, "kind": kind, "url": masked(robot.url), "signed": bool(robot.secret), "new": new},
        [
            Text(f"已登记“{name}”（{_KIND_WORDS[kind].zh}）", f"'{name}' is added ({_KIND_WORDS[kind].en})")
            if new
            else Text(f"已更新“{name}”", f"'{name}' is described anew")
        ],
        Text(f"执行 alarms test {name} 试一试", f"try it: alarms test {name}"),
        warnings,
    )


def _from_file(path: Path | None) -> str:
    assert path is not None
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_SECRET + 1)
    except FileNotFoundError:
        raise FileMissing(what=path) from None
    except OSError:
        data = b""
    text = data.decode("utf-8-sig", "replace").strip()
    if not text or len(data) > _MAX_SECRET or "\n" in text:
        raise RobotInvalid(reason=Text(f"{path} 里应该只有一行", f"{path} should hold one line"))
    return text


@_alarms.verb("list", Text("列出机器人、规则和现有的告警", "list the robots, the rules and the alarms that stand"))
def alarms_list(context: Context) -> Outcome:
    """List everything about alarms."""
    with opened(Home(context.home)) as store:
        book = AlarmBook(store)
        robots, standing, rules = book.robots(), book.standing(), book.rules()
    lines = [_robot_line(row) for row in robots]
    if not robots:
        lines.append(
            Text("还没有登记机器人：告警只在这里和日志里", "there is no robot yet: alarms are only here and in the log")
        )
    lines.append(_rules_line(rules))
    lines += [_alarm_line(each) for each in standing] or [Text("现在没有告警", "there are no alarms now")]
    return Outcome(
        {
            "robots": [_robot_json(row) for row in robots],
            "rules": asdict(rules),
            "items": [
                {
                    "key": each.alarm.key,
                    "kind": each.alarm.kind.value,
                    "text": str(each.alarm.text),
                    "since": format_time(each.raised_at),
                    "said_at": format_time(each.said_at),
                }
                for each in standing
            ],
        },
        lines,
    )


def _robot_json(row: RobotRow) -> dict[str, object]:
    return {
        "name": row.robot.name,
        "kind": row.robot.kind,
        "url": masked(row.robot.url),
        "signed": bool(row.robot.secret),
        "sent_at": None if row.sent_at is None else format_time(row.sent_at),
        "failed_at": None if row.failed_at is None else format_time(row.failed_at),
        "failure": str(row.failure),
        "waiting": row.waiting,
    }


def _robot_line(row: RobotRow) -> Text:
    kind, url = _KIND_WORDS[row.robot.kind], masked(row.robot.url)
    if row.failed_at is not None:
        at = readable_time(row.failed_at)
        fared = Text(
            f"{at} 没有送到：{row.failure.zh}（待送 {row.waiting} 条）",
            f"failed at {at}: {row.failure.en} ({row.waiting} waiting)",
        )
    elif row.sent_at is not None:
        at = readable_time(row.sent_at)
        fared = Text(f"{at} 送到", f"told at {at}")
    else:
        fared = Text("还没有送过", "never told anything yet")
    return Text(f"{row.robot.name}  {kind.zh}  {url}  {fared.zh}", f"{row.robot.name}  {kind.en}  {url}  {fared.en}")


def _rules_line(rules: Rules) -> Text:
    return Text(
        f"规则：截止前 {rules.days_before} 天起提醒，U盘 {rules.stick_days} 天未归，连不上税局 {rules.down_minutes} 分钟，"
        f"磁盘不足 {rules.free_gib} GiB，密钥 {rules.key_days} 天内到期；没有解决的每 {rules.repeat_hours} 小时再说一次",
        f"rules: from {rules.days_before} days before a deadline, a stick away for {rules.stick_days} days, no bureau for "
        f"{rules.down_minutes} minutes, less than {rules.free_gib} GiB of disk, a key that expires within {rules.key_days} "
        f"days; said again every {rules.repeat_hours} hours",
    )


def _alarm_line(each: StandingAlarm) -> Text:
    at = readable_time(each.raised_at)
    return Text(f"{at}  {each.alarm.text.zh}", f"{at}  {each.alarm.text.en}")


_RULE_HELP: Final = {
    "days_before": Text("截止前多少天起提醒没有完成的", "days before a deadline from which on open work is an alarm"),
    "stick_days": Text("带走结果的U盘多少天没有消息算未归", "days after which a stick that left should be heard of"),
    "down_minutes": Text("连不上税局多少分钟才提醒", "minutes without the bureau before it is an alarm"),
    "free_gib": Text("磁盘至少要剩多少 GiB", "GiB that should be free on the disk"),
    "key_days": Text("企业密钥到期前多少天起提醒", "days before the key's certificate expires"),
    "repeat_hours": Text("没有解决的隔多少小时再说一次", "hours after which a lasting alarm is said again"),
}


@_alarms.verb(
    "rules",
    Text("设置什么时候告警；不带选项时只显示", "set when something is an alarm, or show it"),
    *(
        option(f"--{name.replace('_', '-')}", type=click.IntRange(*LIMITS[name]), metavar="N", help=words)
        for name, words in _RULE_HELP.items()
    ),
)
def alarms_rules(context: Context, **values: int | None) -> Outcome:
    """Set the rules."""
    with opened(Home(context.home)) as store:
        book = AlarmBook(store)
        given = {name: value for name, value in values.items() if value is not None}
        rules = book.set_rules(**given) if given else book.rules()
    return Outcome(asdict(rules), [_rules_line(rules)])


@_alarms.verb(
    "test",
    Text("给机器人发一条测试消息", "send a robot a message to try it"),
    argument("name", required=False, metavar="[NAME]", help=Text("哪一个；不写就是全部", "which one; all by default")),
)
def alarms_test(context: Context, name: str | None) -> Outcome:
    """Try the robots."""
    home, now = Home(context.home), base.CLOCK.now()
    with opened(home) as store:
        settings = read_settings(home, store)
        robots = [row.robot for row in AlarmBook(store).robots() if name is None or row.robot.name == name]
    if not robots:
        raise NotFound(what=name or "alarms")
    words = Text("告警会这样送到；看到这条就说明设置好了", "alarms arrive like this; who reads it has set it up well")
    said = [Said("test", "test", "test", now, words)]
    told: list[str] = []
    errors: list[RobotSilent] = []
    for robot in robots:
        try:
            request = webhook.parcel(robot, settings.station_id, said, now)
            webhook.send(robot, request, proxy=settings.proxy)
        except RobotSilent as error:
            errors.append(error)
        else:
            told.append(robot.name)
    return Outcome(
        {"told": told, "failed": [str(error.context["robot"]) for error in errors]},
        [Text(f"“{each}”收下了", f"'{each}' took it") for each in told],
        Text("到群里看一看", "have a look into the group") if told else None,
        errors=errors,
    )


@_alarms.verb(
    "remove",
    Text("去掉一个机器人；没送完的也不再送", "take a robot away, with what it had still to be told"),
    argument("name", metavar="NAME", help=Text("名称", "its name")),
)
def alarms_remove(context: Context, name: str) -> Outcome:
    """Remove a robot."""
    with opened(Home(context.home)) as store:
        if not AlarmBook(store).remove_robot(name):
            raise NotFound(what=name[:80])
    return Outcome({"name": name}, [Text(f"已去掉“{name}”", f"'{name}' is gone")])
