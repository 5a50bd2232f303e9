"""What an operator decides about a report."""

from __future__ import annotations

from typing import Final

from online_station.cli import base
from online_station.cli.base import program
from online_station.cli.words import action, fault_of, item, line_of
from online_station.core.advice import next_action, state_words
from online_station.core.decide import (
    Event,
    HoldReason,
    OperatorCancel,
    OperatorHold,
    OperatorRelease,
    OperatorRetry,
    Snapshot,
    operator_may,
)
from online_station.shell.home import Home
from online_station.shell.setup import opened
from shared.cli import Context, Outcome, argument
from shared.errors import (
    WrongState,
)
from shared.states import OnlineState
from shared.text import Text


def _decide(context: Context, wanted: str, verb: str, event: Event) -> Outcome:
    with opened(Home(context.home)) as store:
        row = store.find(wanted)
        before = row.snapshot
        if not _already(before, verb):
            _permit(before, verb)
            store.apply(row.digest, event, base.CLOCK.now())
        row = store.find(row.digest)
    return Outcome(item(row), [line_of(row)], next_action=action(row))


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
    follow = next_action(snapshot, fault_of(snapshot))
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


ID: Final = argument("wanted", metavar="ID", help=Text("摘要、摘要开头或文件名", "digest, its start, or file name"))


@program.verb("retry", Text("改正后把同一个文件再传一次", "send the same bytes again after a correction"), ID)
def retry(context: Context, wanted: str) -> Outcome:
    """Send again."""
    return _decide(context, wanted, "retry", OperatorRetry())


@program.verb("hold", Text("暂不上传", "keep a report from being sent"), ID)
def hold(context: Context, wanted: str) -> Outcome:
    """Hold."""
    return _decide(context, wanted, "hold", OperatorHold())


@program.verb("release", Text("放行：不论申报情况都上传", "send a report despite a hold"), ID)
def release(context: Context, wanted: str) -> Outcome:
    """Send despite a hold."""
    return _decide(context, wanted, "release", OperatorRelease())


@program.verb("cancel", Text("放弃一个报告，不再上传", "give a report up"), ID)
def cancel(context: Context, wanted: str) -> Outcome:
    """Give up."""
    return _decide(context, wanted, "cancel", OperatorCancel())
