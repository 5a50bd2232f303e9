"""The verbs `tax-bureau faults …`: write, read and clear the script by which a running gateway misbehaves."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import click

from shared.cli import Context, Outcome, Program, argument, option
from shared.clock import SystemClock, format_time
from shared.errors import NotFound, NotInitialised, UsageError
from shared.text import Text
from tax_bureau.faults import KINDS, ROUTES, Fault, Kind, Route, Rule, Script


def add_fault_verbs(program: Program) -> None:
    """Declare the group."""
    faults = program.group(
        "faults",
        Text(
            "按剧本捣乱：让运行中的税局接口出故障（测试和演示用）",
            "scripted misbehaviour of a running gateway, for tests and demonstrations",
        ),
    )

    @faults.verb(
        "set",
        Text(
            f"增加一条故障，从下一个请求起生效\n\n{_kinds('zh')}",
            f"add a fault; it holds from the next request on\n\n{_kinds('en')}",
        ),
        argument(
            "kind",
            type=click.Choice([kind.value for kind in Kind]),
            metavar="KIND",
            help=Text("故障种类", "what goes wrong"),
        ),
        option(
            "--route",
            multiple=True,
            type=click.Choice(list(ROUTES)),
            help=Text(
                "只对这类请求，可给多次；默认所有适用的", "only for these requests; default: all that it can hit"
            ),
        ),
        option("--taxpayer-id", default="", metavar="T", help=Text("只对此税号", "only for this taxpayer")),
        option("--digest", default="", metavar="D", help=Text("只对此报告（摘要或开头）", "only for this report")),
        option(
            "--times",
            type=click.IntRange(1, 1_000_000),
            metavar="N",
            help=Text("几次；默认一次", "how often; default: once"),
        ),
        option("--until-cleared", is_flag=True, help=Text("一直，直到 clear", "always, until it is cleared")),
        option(
            "--for",
            "for_seconds",
            type=click.FloatRange(0, 10_000_000),
            metavar="SECONDS",
            help=Text("只在这段时间里（不再限次数）", "for that long (and then not only once)"),
        ),
        option(
            "--probability",
            type=click.FloatRange(0, 1),
            default=1.0,
            metavar="P",
            help=Text("每个请求出故障的概率", "of coming up, per request"),
        ),
        option(
            "--seed",
            type=int,
            default=0,
            metavar="N",
            help=Text("随机种子：同样的种子，同样的故障", "the same seed, the same faults"),
        ),
        option(
            "--seconds",
            type=click.FloatRange(0, 3600),
            default=5.0,
            metavar="S",
            help=Text("late、slow-bytes 用时", "how long late and slow-bytes take"),
        ),
        option(
            "--retry-after",
            type=click.IntRange(0, 1_000_000),
            metavar="S",
            help=Text("回答里的 Retry-After", "Retry-After of the answer"),
        ),
        option(
            "--after-accepting",
            is_flag=True,
            help=Text("unavailable：先照办再回答 503", "unavailable: carry the request out before 503"),
        ),
    )
    def set_fault(context: Context, kind: str, route: tuple[Route, ...], **given: Any) -> Outcome:
        """Add a fault."""
        rule = _rule(Kind(kind), route, **given)
        fault = _script(context).add(rule)
        said = _line(fault, _now())
        return Outcome(
            {"fault": _item(fault, _now())},
            [said],
            next_action=Text(
                f"查看：faults list；解除：faults clear {fault.number}",
                f"see it with faults list, end it with faults clear {fault.number}",
            ),
        )

    @faults.verb("list", Text("列出故障和已发生的次数", "list the faults, and how often each came up"))
    def list_faults(context: Context) -> Outcome:
        """List faults."""
        now, found = _now(), _script(context).faults()
        return Outcome(
            {"items": [_item(fault, now) for fault in found]},
            [_line(fault, now) for fault in found] or [Text("没有故障", "no faults")],
        )

    @faults.verb(
        "clear",
        Text("解除故障；不给编号则全部解除", "end faults; all of them if no number is given"),
        argument("numbers", nargs=-1, type=int, metavar="[NUMBER]…", help=Text("编号", "their numbers")),
    )
    def clear(context: Context, numbers: tuple[int, ...]) -> Outcome:
        """Clear faults."""
        cleared = _script(context).clear(numbers or None)
        missing = sorted(set(numbers) - set(cleared))
        if missing:
            raise NotFound(what=str(missing[0]))
        return Outcome(
            {"cleared": list(cleared)},
            [Text(f"解除了 {len(cleared)} 条故障", f"{len(cleared)} faults ended")],
        )


def _kinds(language: str) -> str:
    return "\n\n".join(f"{kind.value}  {getattr(trait.words, language)}" for kind, trait in KINDS.items())


def _rule(
    kind: Kind,
    routes: tuple[Route, ...],
    *,
    taxpayer_id: str,
    digest: str,
    times: int | None,
    until_cleared: bool,
    for_seconds: float | None,
    probability: float,
    seed: int,
    seconds: float,
    retry_after: int | None,
    after_accepting: bool,
) -> Rule:
    wrong = [route for route in routes if route not in KINDS[kind].routes]
    if wrong:
        possible = "、".join(sorted(KINDS[kind].routes))
        raise _usage(
            Text(
                f"{kind.value} 不能用于 {wrong[0]}，只能用于 {possible}",
                f"{kind.value} cannot hit {wrong[0]}, only {possible.replace('、', ', ')}",
            )
        )
    if times is not None and until_cleared:
        raise _usage(Text("--times 和 --until-cleared 只能给一个", "give --times or --until-cleared, not both"))
    if re.fullmatch(r"[0-9a-f]{0,64}", digest) is None:
        raise _usage(Text("摘要应为十六进制", "a digest is hexadecimal"))
    if after_accepting and kind is not Kind.UNAVAILABLE:
        raise _usage(Text("--after-accepting 只用于 unavailable", "--after-accepting belongs to unavailable"))
    endless = until_cleared or for_seconds is not None
    return Rule(
        kind=kind,
        routes=routes,
        taxpayer_id=taxpayer_id,
        digest=digest,
        times=times if times is not None else None if endless else 1,
        until=None if for_seconds is None else _now() + for_seconds,
        probability=probability,
        seed=seed,
        seconds=seconds,
        retry_after=retry_after,
        after_accepting=after_accepting,
    )


def _usage(reason: Text) -> UsageError:
    return UsageError(reason=reason, command="tax-bureau faults set")


def _script(context: Context) -> Script:
    if not (context.home / "bureau.db").exists():
        raise NotInitialised(home=context.home, program="tax-bureau")
    return Script(context.home)


def _now() -> float:
    return SystemClock().now().timestamp()


def _item(fault: Fault, now: float) -> dict[str, object]:
    rule = fault.rule
    return {
        "number": fault.number,
        "kind": rule.kind.value,
        "routes": list(rule.routes or sorted(KINDS[rule.kind].routes)),
        "taxpayer_id": rule.taxpayer_id,
        "digest": rule.digest,
        "times": rule.times,
        "until": None if rule.until is None else _time(rule.until),
        "probability": rule.probability,
        "seed": rule.seed,
        "seconds": rule.seconds,
        "retry_after": rule.retry_after,
        "after_accepting": rule.after_accepting,
        "seen": fault.seen,
        "used": fault.used,
        "over": fault.over(now),
    }


def _line(fault: Fault, now: float) -> Text:
    rule = fault.rule
    words = KINDS[rule.kind].words
    routes = ", ".join(rule.routes) or "*"
    whose = " ".join(part for part in (rule.taxpayer_id, rule.digest[:12]) if part)
    how_zh = [
        f"{rule.times} 次"
        if rule.times is not None
        else "直到解除"
        if rule.until is None
        else f"到 {_time(rule.until)}"
    ]
    how_en = [
        f"{rule.times} times"
        if rule.times is not None
        else "until cleared"
        if rule.until is None
        else f"until {_time(rule.until)}"
    ]
    if rule.probability < 1:
        how_zh.append(f"概率 {rule.probability:g}（种子 {rule.seed}）")
        how_en.append(f"probability {rule.probability:g} (seed {rule.seed})")
    over = Text("，已结束", ", over") if fault.over(now) else Text("", "")
    head = f"{fault.number}  {rule.kind.value}  [{routes}]" + (f"  {whose}" if whose else "")
    return Text(
        f"{head}  {'，'.join(how_zh)}；已发生 {fault.used} 次{over.zh}  {words.zh}",
        f"{head}  {', '.join(how_en)}; came up {fault.used} times{over.en}  {words.en}",
    )


def _time(seconds: float) -> str:
    return format_time(datetime.fromtimestamp(seconds, SystemClock().now().tzinfo))
