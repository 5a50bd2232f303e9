"""What an operator decides about reports."""

from __future__ import annotations

import sys
from typing import Final

import click

from online_station.cli import base
from online_station.cli.base import program
from online_station.cli.words import action, item, line_of, next_of
from online_station.shell.home import Home
from online_station.shell.retired import refuse_if_retired
from online_station.shell.setup import opened
from online_station.shell.store import Store
from online_station.shell.tending import Tended, Verb, fitting, named, note_of, operator_name, tend
from shared.cli import Context, Outcome, argument, option
from shared.errors import ConfirmationNeeded, TaxferryError, UsageError
from shared.text import Text

_VERB_WORDS: Final[dict[Verb, Text]] = {
    "hold": Text("暂不上传", "hold"),
    "release": Text("放行", "release"),
    "retry": Text("再传一次", "retry"),
    "cancel": Text("放弃", "cancel"),
}
_MEANT: Final = (
    argument(
        "wanted",
        metavar="ID…",
        nargs=-1,
        help=Text("摘要、摘要开头或文件名；可以写几个", "digest, its start, or file name; several may be given"),
    ),
    option("--taxpayer", default="", metavar="TAXPAYER_ID", help=Text("该税号的全部报告", "all reports of a taxpayer")),
    option("--period", default="", metavar="YYYY-MM", help=Text("该月的全部报告", "all reports of a month")),
    option("--reason", default="", metavar="TEXT", help=Text("原因，记入全过程", "why; kept in the life-line")),
    option(
        "--operator",
        default="",
        metavar="NAME",
        help=Text("操作员；默认是系统用户", "who decides; the system's user by default"),
    ),
    option(
        "--all-or-none",
        is_flag=True,
        help=Text("有一个不能执行，就一个也不执行", "touch none unless every one can be done"),
    ),
    option("--yes", is_flag=True, help=Text("不再询问", "do not ask")),
)


def _decide(
    context: Context,
    verb: Verb,
    wanted: tuple[str, ...],
    taxpayer: str,
    period: str,
    reason: str,
    operator: str,
    all_or_none: bool,
    yes: bool,
) -> Outcome:
    command = f"{context.program} {verb}"
    filtered = bool(taxpayer or period)
    if bool(wanted) == filtered:
        raise UsageError(
            reason=Text(
                "写出报告的编号，或者用 --taxpayer、--period 选择，二者取一",
                "name the reports by ID, or choose them with --taxpayer and --period: one of the two",
            ),
            command=command,
        )
    if verb == "cancel" and not reason.strip():
        raise UsageError(
            reason=Text("放弃报告要写明原因：--reason 原因", "to give a report up takes a reason: --reason TEXT"),
            command=command,
        )
    note = note_of(operator_name(operator), reason)
    with opened(Home(context.home)) as store:
        refuse_if_retired(store)
        if filtered:
            rows = fitting(store, verb, taxpayer.strip().upper(), period.strip())
            if rows:
                _confirm(context, verb, len(rows), yes=yes)
            unknown: list[TaxferryError] = []
        else:
            rows, unknown = named(store, wanted)
            if unknown and (len(wanted) == 1 or all_or_none):
                raise unknown[0]
        done = tend(store, rows, verb, note=note, now=base.CLOCK.now(), all_or_none=all_or_none)
        if len(wanted) == 1:
            return _one(done[0])
        return _several(store, verb, done, unknown)


def _confirm(context: Context, verb: Verb, count: int, *, yes: bool) -> None:
    if yes:
        return
    if not context.json and sys.stdin.isatty():
        words = _VERB_WORDS[verb]
        question = Text(f"{words.zh}：涉及 {count} 个报告。执行吗？", f"{words.en}: {count} report(s). go on?")
        if click.confirm(str(question), err=True):
            return
    raise ConfirmationNeeded(verb=verb, count=count)


def _one(done: Tended) -> Outcome:
    if done.error is not None:
        raise done.error
    return Outcome({**item(done.row), "changed": done.changed}, [line_of(done.row)], next_action=action(done.row))


def _several(store: Store, verb: Verb, done: list[Tended], unknown: list[TaxferryError]) -> Outcome:
    changed = sum(each.changed for each in done)
    errors = [each.error for each in done if each.error is not None]
    same = len(done) - changed - len(errors)
    words = _VERB_WORDS[verb]
    lines = [
        Text(
            f"{words.zh}：执行 {changed} 个，此前已是如此 {same} 个，不能执行 {len(errors) + len(unknown)} 个",
            f"{words.en}: {changed} done, {same} were so before, {len(errors) + len(unknown)} not possible",
        )
    ]
    for each in done:
        line = line_of(each.row)
        lines.append(line if each.error is None else Text(f"× {line.zh}", f"× {line.en}"))
    return Outcome(
        {
            "items": [
                {
                    **item(each.row),
                    "changed": each.changed,
                    "error": None if each.error is None else {"code": each.error.code, "message": str(each.error)},
                }
                for each in done
            ],
            "changed": changed,
            "same": same,
            "refused": len(errors) + len(unknown),
        },
        lines,
        next_action=next_of([each.row for each in done]),
        errors=[*unknown, *errors],
    )


@program.verb("retry", Text("改正后把同一个文件再传一次", "send the same bytes again after a correction"), *_MEANT)
def retry(
    context: Context,
    wanted: tuple[str, ...],
    taxpayer: str,
    period: str,
    reason: str,
    operator: str,
    all_or_none: bool,
    yes: bool,
) -> Outcome:
    """Send again."""
    return _decide(context, "retry", wanted, taxpayer, period, reason, operator, all_or_none, yes)


@program.verb("hold", Text("暂不上传", "keep reports from being sent"), *_MEANT)
def hold(
    context: Context,
    wanted: tuple[str, ...],
    taxpayer: str,
    period: str,
    reason: str,
    operator: str,
    all_or_none: bool,
    yes: bool,
) -> Outcome:
    """Hold."""
    return _decide(context, "hold", wanted, taxpayer, period, reason, operator, all_or_none, yes)


@program.verb("release", Text("放行：不论申报情况都上传", "send reports despite a hold"), *_MEANT)
def release(
    context: Context,
    wanted: tuple[str, ...],
    taxpayer: str,
    period: str,
    reason: str,
    operator: str,
    all_or_none: bool,
    yes: bool,
) -> Outcome:
    """Send despite a hold."""
    return _decide(context, "release", wanted, taxpayer, period, reason, operator, all_or_none, yes)


@program.verb("cancel", Text("放弃报告，不再上传；须写原因", "give reports up; takes a reason"), *_MEANT)
def cancel(
    context: Context,
    wanted: tuple[str, ...],
    taxpayer: str,
    period: str,
    reason: str,
    operator: str,
    all_or_none: bool,
    yes: bool,
) -> Outcome:
    """Give up."""
    return _decide(context, "cancel", wanted, taxpayer, period, reason, operator, all_or_none, yes)
