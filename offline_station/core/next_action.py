"""What a person does next, and on which PC: the last line of every verb."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from offline_station.core.card_rules import CopyRecord
from shared.faults import Resend, find
from shared.states import CardState, OfflineState
from shared.text import Text

_LONG_SECONDS: Final = 86_400.0
"""A stick that is away for longer is said to be: the walk and the bureau's work take hours at most."""


@dataclass(frozen=True)
class Situation:
    """What the next action depends on.

    Attributes:
        state: The card's.
        locked: Whether the lock date has passed.
        copy: The open copy, if any.
        life: Where its report is in its life, as far as this PC knows.
        carried_to: The label of the stick that has it.
        carried_seconds: How long ago it was put on that stick.
        days_left: Days to the lock date.
    """

    state: CardState
    locked: bool
    copy: CopyRecord | None = None
    life: OfflineState | None = None
    carried_to: str = ""
    carried_seconds: float = 0.0
    days_left: int | None = None


def next_action(now: Situation) -> Text:
    """Return the next human action."""
    if now.state is CardState.TO_CLEAR:
        return Text("在开票机执行 clear 清卡", "run clear on the invoicing PC")
    if now.locked:
        return Text(
            "已过锁死日期：请携带金税卡到办税服务厅报税（若上网机已取得报税成功的结果，拷回后仍可清卡）",
            "the lock date has passed: take the card to the tax hall (a success that waits on the Internet PC can still "
            "clear it)",
        )
    if now.state is CardState.TO_COPY:
        return Text(
            "导入上月全部发票后，在开票机执行 copy 抄税",
            "import all invoices of last month, then run copy on the invoicing PC",
        )
    if now.state is CardState.DONE:
        return Text(
            "本期已完成；正常开票，下月初再抄税", "this period is done; go on invoicing, and copy early next month"
        )
    return _of_report(now)


def _of_report(now: Situation) -> Text:
    copy = now.copy
    if copy is None or now.life in (None, OfflineState.COPIED):
        return Text("在开票机执行 report 生成报税文件", "run report on the invoicing PC")
    if now.life is OfflineState.FAILED and copy.failure is not None:
        return after_failure(copy.failure.code, copy.failure.message)
    dat = copy.name.file_name(".dat")
    if now.life is OfflineState.CARRIED and now.carried_seconds >= _LONG_SECONDS:
        return _not_back(now, dat)
    if now.life is OfflineState.CARRIED:
        return Text(
            f"把U盘{_label(now.carried_to).zh}插到上网机，由上网机上传 {dat}；取得 .txt 后拷回开票机执行 result",
            f"take the stick{_label(now.carried_to).en} to the Internet PC, which uploads {dat}; bring the .txt back and "
            "run result here",
        )
    return Text(
        f"用U盘把 {dat} 带到上网机（stick sync，或从 outbox 拷贝）；取得 .txt 后拷回开票机执行 result",
        f"carry {dat} to the Internet PC (stick sync, or copy it from the outbox); bring the .txt back and run result here",
    )


def _not_back(now: Situation, dat: str) -> Text:
    """Return what to do about a stick that has been away for long: nobody sees from here whether it is lost."""
    age, label = age_in_words(now.carried_seconds), _label(now.carried_to)
    left = Text("", "")
    if now.days_left is not None:
        left = Text(f"；距锁死日期还有 {now.days_left} 天", f"; lock date in {now.days_left} days")
    return Text(
        f"U盘{label.zh}带走 {dat} 已 {age.zh}，结果还没有带回{left.zh}。请到上网机查看；U盘丢失时在开票机执行 report --again，"
        "把同一文件放到另一个U盘（不会重复报税）",
        f"stick{label.en} left with {dat} {age.en} ago and no result came back{left.en}. look on the Internet PC; if the "
        "stick is lost, run report --again here, which puts the same bytes on another one (nothing is filed twice)",
    )


def _label(label: str) -> Text:
    return Text(f"“{label}”", f" '{label}'") if label else Text("", "")


def after_failure(code: str, message: str) -> Text:
    """Return what to do about a failure: the catalogue knows who must act and whether the same bytes may go again."""
    fault = find(code, message)
    if fault.resend is Resend.NEW_REPORT:
        then = Text("改正后在开票机执行 copy --again 和 report", "once corrected, run copy --again and report here")
    elif fault.resend is Resend.SAME_BYTES:
        then = Text(
            "改正后在上网机重发同一文件（retry），再取新的结果",
            "once corrected, send the same file again on the Internet PC (retry) and fetch the new result",
        )
    elif fault.resend is Resend.WAIT:
        then = Text("在上网机等待并再次查询结果", "wait on the Internet PC and ask for the result again")
    else:
        then = Text("不能远程解决，请到办税服务厅处理", "it cannot be settled remotely: go to the tax hall")
    return Text(f"{then.zh}；详见 explain {code}", f"{then.en}; see explain {code}")


def age_in_words(seconds: float) -> Text:
    """Return an age as a person says it."""
    minutes = max(0, int(seconds // 60))
    if minutes == 0:
        return Text("不到 1 分钟", "less than a minute")
    if minutes < 60:
        return Text(f"{minutes} 分钟", f"{minutes} min")
    if minutes < 48 * 60:
        return Text(f"{minutes // 60} 小时", f"{minutes // 60} h")
    return Text(f"{minutes // (24 * 60)} 天", f"{minutes // (24 * 60)} days")
