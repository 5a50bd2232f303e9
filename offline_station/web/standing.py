"""Where things stand, and what comes next: one sentence, one step, four tiles, and the life-line of a report.

Pure: it is told what the card and the records say. The words are the page's own; what may be done is decided by the
card's rules, never here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from offline_station.core.card_rules import CopyRecord
from offline_station.core.next_action import age_in_words
from offline_station.web.wording import card_on_page
from shared.faults import Resend, find
from shared.ids import ReportName, period_covered
from shared.states import CardState, OfflineState
from shared.text import Text
from shared.web.blocks import (
    HALL,
    NOWHERE,
    OFFLINE_PC,
    ONLINE_PC,
    FaultCard,
    Leg,
    MonthStep,
    NextStep,
    card_of_fault,
    details_of,
)

LONG_SECONDS: Final = 86_400.0


@dataclass(frozen=True)
class Facts:
    """What the page knows.

    Attributes:
        state: The card's.
        locked: Whether the lock date has passed.
        at: The trusted time.
        due: The month that waits to be copied, as `YYYY-MM`.
        copy: The open copy.
        life: Where its report is.
        stick: The label of the stick that has it.
        since: Since when.
        cleared: The copy cleared last.
        receipt: Where its clear receipt is: `here`, `carried`, `arrived`, or nothing.
        receipt_stick: The label of the stick that has the receipt.
        behind: Months of which invoices are missing after a restore.
        waiting_result: Whether a result for this PC lies on a stick that is in, or in the inbox.
        stick_in: Whether a stick of ours is in.
    """

    state: CardState
    locked: bool
    at: datetime
    due: str = ""
    copy: CopyRecord | None = None
    life: OfflineState | None = None
    stick: str = ""
    since: datetime | None = None
    cleared: CopyRecord | None = None
    receipt: Literal["", "here", "carried", "arrived"] = ""
    receipt_stick: str = ""
    behind: Sequence[str] = ()
    waiting_result: bool = False
    stick_in: bool = False

    @property
    def seconds(self) -> float:
        """How long the report has been where it is."""
        return (self.at - self.since).total_seconds() if self.since else 0.0


@dataclass(frozen=True)
class Standing:
    """What the first page says.

    Attributes:
        state: The card's state in a word or two.
        sentence: Where things stand.
        next: What to do.
        steps: The four tiles.
        fault: What the bureau said, if it refused.
    """

    state: Text
    sentence: Text
    next: NextStep
    steps: tuple[MonthStep, ...]
    fault: FaultCard | None = None


def standing(facts: Facts) -> Standing:
    """Return where things stand."""
    fault = failure_card(facts.copy) if facts.life is OfflineState.FAILED and facts.copy is not None else None
    return Standing(_state(facts), _sentence(facts), next_step(facts), _steps(facts), fault)


# Names


def month_words(month: str) -> Text:
    """Return `2026-07` as people say it."""
    year, number = month.split("-")
    return Text(f"{int(year)}年{int(number)}月", month)


def report_words(name: ReportName) -> Text:
    """Return which report it is: a month, or an ad hoc copy and when it was made."""
    if name.stamp.kind == "period":
        first, _ = period_covered(name.stamp)
        return month_words(f"{first:%Y-%m}")
    moment = name.stamp.moment
    return Text(
        f"{moment.year}年{moment.month}月{moment.day}日 {moment:%H:%M} 非征期", f"ad hoc of {moment:%Y-%m-%d %H:%M}"
    )


def copy_words(copy: CopyRecord) -> Text:
    """Return which report a copy makes."""
    return report_words(copy.name)


def _on(label: str) -> Text:
    return Text(f"U盘“{label}”", f"the stick “{label}”") if label else Text("U盘", "the stick")


# In a word, and in a sentence


def _state(facts: Facts) -> Text:
    if facts.state is CardState.TO_CLEAR:
        return Text("待清卡", "To clear")
    if facts.locked:
        return Text("已锁死", "Locked")
    if facts.state is CardState.TO_COPY:
        return Text("待抄税", "To copy")
    if facts.state is CardState.DONE:
        return Text("本期已完成", "Done for this period")
    if facts.life is OfflineState.FAILED:
        return Text("报税失败，待处理", "Refused, to be settled")
    return (
        Text("已抄税，待报税", "Copied, to be reported")
        if facts.life in (None, OfflineState.COPIED, OfflineState.SEALED)
        else Text("已报出，等结果", "On its way, waiting for the result")
    )


def _sentence(facts: Facts) -> Text:
    copy = facts.copy
    if facts.state is CardState.TO_CLEAR and copy is not None:
        words = copy_words(copy)
        return Text(
            f"{words.zh}报税成功，结果已验证，可以清卡。",
            f"The report of {words.en} succeeded; the result is proven, and the card can be cleared.",
        )
    if facts.locked:
        return Text(
            "已过锁死日期：不能抄税和远程报税；如果上网机已取得报税成功的结果，拷回来仍可清卡。",
            "The lock date has passed: no copy and no remote report. A success that waits on the Internet PC can still clear the card.",
        )
    if facts.state is CardState.TO_COPY:
        words = month_words(facts.due)
        return Text(f"{words.zh}的发票还没有抄税。", f"The invoices of {words.en} are not copied yet.")
    if facts.state is CardState.DONE or copy is None:
        return _done_sentence(facts)
    words = copy_words(copy)
    if facts.life in (None, OfflineState.COPIED):
        return Text(
            f"{words.zh}已抄税（{copy.invoice_count} 张发票），还没有生成报税文件。",
            f"{words.en} is copied ({copy.invoice_count} invoices); the report is not sealed yet.",
        )
    if facts.life is OfflineState.SEALED:
        return Text(
            f"{words.zh}的报税文件已生成，还没有放上U盘。", f"The report of {words.en} is sealed and on no stick yet."
        )
    if facts.life is OfflineState.FAILED and copy.failure is not None:
        title = find(copy.failure.code, copy.failure.message).title
        return Text(
            f"税局没有通过{words.zh}的报税：{title.zh}。", f"The bureau refused the report of {words.en}: {title.en}."
        )
    age, on = age_in_words(facts.seconds), _on(facts.stick)
    return Text(
        f"{words.zh}的报税文件在{on.zh}上（{age.zh}前放上），等结果带回。",
        f"The report of {words.en} is on {on.en} (put there {age.en} ago); its result is awaited.",
    )


def _done_sentence(facts: Facts) -> Text:
    if facts.cleared is None:
        return Text("本期没有要报的税。", "There is nothing to report in this period.")
    words = copy_words(facts.cleared)
    more = {
        "": NOWHERE,
        "here": Text("；清卡回执还没有带出", "; the clear receipt is still here"),
        "carried": Text(
            f"；清卡回执在{_on(facts.receipt_stick).zh}上", f"; the clear receipt is on {_on(facts.receipt_stick).en}"
        ),
        "arrived": Text("，税局已收到清卡回执", ", and the bureau has the clear receipt"),
    }[facts.receipt]
    return Text(f"{words.zh}已清卡{more.zh}。", f"{words.en} is cleared{more.en}.")


# What to do


def next_step(facts: Facts) -> NextStep:
    """Return what a person does next, and where."""
    if facts.behind and facts.state is not CardState.TO_CLEAR:
        months = "、".join(month_words(month).zh for month in facts.behind)
        return NextStep(
            Text(
                f"恢复过备份，{months}的发票明细比卡上少：重新导入这些月份的发票清单。",
                f"A backup was restored and the detail of {', '.join(facts.behind)} is incomplete: import those months' lists again.",
            ),
            OFFLINE_PC,
            link="/invoices",
            button=Text("导入发票", "Import invoices"),
        )
    if facts.state is CardState.TO_CLEAR:
        return NextStep(
            Text("核对报税结果，然后清卡。", "Look at the result, then clear the card."),
            OFFLINE_PC,
            link="/clear",
            button=Text("清卡", "Clear"),
        )
    if facts.locked:
        return NextStep(
            Text(
                "携带金税卡到办税服务厅报税；先到上网机看看有没有报税成功的结果。",
                "Take the card to the tax hall; first see whether a success waits on the Internet PC.",
            ),
            HALL,
            here=False,
        )
    if facts.state is CardState.TO_COPY:
        words = month_words(facts.due)
        return NextStep(
            Text(
                f"确认{words.zh}的发票全部导入，然后抄税。",
                f"Make sure that all invoices of {words.en} are imported, then copy.",
            ),
            OFFLINE_PC,
            link="/copy",
            button=Text("抄税", "Copy"),
        )
    if facts.state is CardState.DONE or facts.copy is None:
        return _after_clearing(facts)
    return _of_report(facts, facts.copy)


def _after_clearing(facts: Facts) -> NextStep:
    if facts.receipt == "here":
        return NextStep(
            Text(
                "插上U盘同步，把清卡回执带到上网机；之后正常开票。",
                "Sync a stick and take the clear receipt to the Internet PC; then go on invoicing.",
            ),
            OFFLINE_PC,
            link="/stick/sync" if facts.stick_in else "/stick",
            button=Text("与U盘同步", "Sync the stick"),
            posts=facts.stick_in,
        )
    if facts.receipt == "carried":
        on = _on(facts.receipt_stick)
        return NextStep(
            Text(
                f"把{on.zh}插到上网机，送交清卡回执；开票照常进行。",
                f"Plug {on.en} into the Internet PC, which delivers the clear receipt; invoicing goes on.",
            ),
            ONLINE_PC,
            here=False,
        )
    return NextStep(Text("正常开票；下月初再抄税。", "Go on invoicing; copy early next month."), OFFLINE_PC)


def _of_report(facts: Facts, copy: CopyRecord) -> NextStep:
    if facts.waiting_result:
        return NextStep(
            Text("结果已经带回：取出并验证报税结果。", "The result is back: take it in and prove it."),
            OFFLINE_PC,
            link="/result",
            button=Text("报税结果", "Result"),
        )
    if facts.life in (None, OfflineState.COPIED):
        text = (
            Text("U盘已插好：生成报税文件并放上U盘。", "The stick is in: seal the report and put it there.")
            if facts.stick_in
            else Text("插上U盘，生成报税文件。", "Plug a stick in and seal the report.")
        )
        return NextStep(text, OFFLINE_PC, link="/report", button=Text("远程报税", "Report"))
    if facts.life is OfflineState.FAILED and copy.failure is not None:
        return _after_failure(copy.failure.code, copy.failure.message)
    if facts.life is OfflineState.SEALED:
        return NextStep(
            Text("插上U盘同步，把报税文件带到上网机。", "Sync a stick and take the report to the Internet PC."),
            OFFLINE_PC,
            link="/stick/sync" if facts.stick_in else "/stick",
            button=Text("与U盘同步", "Sync the stick"),
            posts=facts.stick_in,
        )
    on = _on(facts.stick)
    if facts.seconds >= LONG_SECONDS:
        age = age_in_words(facts.seconds)
        return NextStep(
            Text(
                f"{on.zh}带走 {age.zh}了，结果还没有带回：到上网机查看；U盘丢了就在“报税记录”里把同一文件再放到另一个U盘（不会重复报税）。",
                f"It is {age.en} since {on.en} left and no result is back: look on the Internet PC. If the stick is lost, put the "
                "same file on another one, from “Reports” (nothing is filed twice).",
            ),
            ONLINE_PC,
            here=False,
        )
    return NextStep(
        Text(
            f"把{on.zh}插到上网机，由它上传；取得结果后把U盘拿回来插上。",
            f"Plug {on.en} into the Internet PC, which uploads the report; bring it back when it has the result.",
        ),
        ONLINE_PC,
        here=False,
    )


def _after_failure(code: str, message: str) -> NextStep:
    fault = find(code, message)
    if fault.resend is Resend.NEW_REPORT:
        return NextStep(
            Text(
                "按下面的步骤改正，然后重新抄税、重新报税。", "Put it right as shown below, then copy and report again."
            ),
            OFFLINE_PC,
            link="/copy?again=1",
            button=Text("重新抄税", "Copy again"),
        )
    if fault.resend is Resend.SAME_BYTES:
        return NextStep(
            Text(
                "按下面的步骤改正，然后在上网机重发同一个文件，再取新的结果；这里不用重新抄税。",
                "Put it right as shown below, then send the same file again on the Internet PC and fetch the new result; nothing is copied again here.",
            ),
            ONLINE_PC,
            here=False,
        )
    if fault.resend is Resend.WAIT:
        return NextStep(
            Text(
                "不要重发：等一等，在上网机再查询结果。",
                "Send nothing again: wait, then ask for the result on the Internet PC.",
            ),
            ONLINE_PC,
            here=False,
        )
    return NextStep(
        Text("不能远程解决，请到办税服务厅处理。", "It cannot be settled remotely: go to the tax hall."),
        HALL,
        here=False,
    )


# The four tiles


def _steps(facts: Facts) -> tuple[MonthStep, ...]:
    at = _position(facts)
    report_states: Mapping[OfflineState | None, Text] = {
        OfflineState.SEALED: Text("文件已生成，待放上U盘", "sealed, on no stick yet"),
        OfflineState.CARRIED: Text(f"已放上{_on(facts.stick).zh}", f"on {_on(facts.stick).en}"),
    }
    return (
        MonthStep(
            Text("报税状态", "Status"),
            Text("导入发票，抄税", "Import invoices and copy"),
            _tile(facts, 0, at),
            _copied_note(facts),
            "/copy?again=1" if _needs_new(facts) else "/copy",
            button=Text("重新抄税", "Copy again")
            if _needs_new(facts)
            else Text("抄税", "Copy")
            if at == 0
            else NOWHERE,
        ),
        MonthStep(
            Text("远程报税", "Report"),
            Text("生成报税文件，放上U盘", "Seal the report onto the stick"),
            _tile(facts, 1, at),
            report_states.get(facts.life, NOWHERE) if at != 1 or facts.life is not OfflineState.COPIED else NOWHERE,
            "/report",
            posts=True,
            button=Text("远程报税", "Report") if at == 1 else NOWHERE,
        ),
        MonthStep(
            Text("报税结果", "Result"),
            Text("取回并验证税局的结果", "Bring back and prove the bureau's result"),
            _tile(facts, 2, at),
            _result_note(facts),
            "/result",
            posts=facts.waiting_result or facts.stick_in,
            button=Text("报税结果", "Result") if at == 2 else NOWHERE,
        ),
        MonthStep(
            Text("清卡", "Clear"),
            Text("用成功的结果清卡", "Clear the card with the success"),
            _tile(facts, 3, at),
            Text("已清卡", "cleared") if at == 4 and facts.cleared else NOWHERE,
            "/clear",
            button=Text("清卡", "Clear") if at == 3 else NOWHERE,
        ),
    )


def _needs_new(facts: Facts) -> bool:
    copy = facts.copy
    if facts.life is not OfflineState.FAILED or copy is None or copy.failure is None:
        return False
    return find(copy.failure.code, copy.failure.message).resend is Resend.NEW_REPORT


def _position(facts: Facts) -> int:
    """Return which tile invites: 0 to 3; 4 if all is done."""
    if facts.state is CardState.TO_CLEAR:
        return 3
    if facts.state is CardState.DONE:
        return 4
    if facts.state is CardState.TO_COPY or _needs_new(facts):
        return 0
    if facts.life in (None, OfflineState.COPIED, OfflineState.SEALED):
        return 2 if facts.waiting_result else 1
    return 2


def _tile(facts: Facts, number: int, at: int) -> Literal["done", "now", "wait", "shut"]:
    if facts.locked and facts.state is not CardState.TO_CLEAR:
        return "done" if number < at or at == 4 else "shut"
    return "done" if number < at or at == 4 else "now" if number == at else "wait"


def _copied_note(facts: Facts) -> Text:
    shown = facts.copy or (facts.cleared if facts.state is CardState.DONE else None)
    if shown is None:
        return month_words(facts.due) if facts.due else NOWHERE
    words = copy_words(shown)
    return Text(f"{words.zh}，{shown.invoice_count} 张", f"{words.en}, {shown.invoice_count} invoices")


def _result_note(facts: Facts) -> Text:
    if facts.state in (CardState.TO_CLEAR, CardState.DONE) and (facts.copy or facts.cleared):
        return Text("报税成功", "success")
    if facts.life is OfflineState.FAILED and facts.copy is not None and facts.copy.failure is not None:
        return Text(f"失败 {facts.copy.failure.code}", f"failure {facts.copy.failure.code}")
    if facts.waiting_result:
        return Text("结果已带回", "it is back")
    return Text("等待中", "awaited") if facts.life is OfflineState.CARRIED else NOWHERE


# Failure


def failure_card(copy: CopyRecord) -> FaultCard | None:
    """Return the bureau's refusal of a copy as a card."""
    seen = copy.failure
    if seen is None:
        return None
    details = details_of(
        seen.code,
        seen.message,
        {
            "report": copy.name.stem,
            "digest": copy.report_digest or "",
            "receipt": seen.receipt_no,
            "result_no": seen.result_no,
            "bureau_time": seen.bureau_time.isoformat(),
        },
    )
    return card_on_page(card_of_fault(find(seen.code, seen.message), seen.message, details=details))


# The life-line


def life_line(copy: CopyRecord, state: OfflineState, times: Mapping[str, datetime], stick: str) -> tuple[Leg, ...]:
    """Return the life of a report on both PCs, as far as this one knows it.

    Args:
        copy: The copy.
        state: Where its report is.
        times: When it was sealed, carried, acknowledged: by the names of the states.
        stick: The label of the stick that had it.
    """
    seen = copy.success or copy.failure
    answered = seen.bureau_time if seen else None
    failed = seen is not None and seen.outcome == "failure"
    reached = {
        "sealed": copy.report_digest is not None,
        "carried": "carried" in times or seen is not None,
        "answered": seen is not None,
        "cleared": copy.cleared_at is not None,
        "acknowledged": state is OfflineState.ACKNOWLEDGED,
    }
    legs = [
        Leg(Text("抄税", "copied"), "done", OFFLINE_PC, copy.copied_at),
        Leg(Text("生成报税文件", "sealed"), _leg(reached["sealed"]), OFFLINE_PC, times.get("sealed")),
        Leg(
            Text("放上U盘", "on the stick"),
            _leg(reached["carried"]),
            OFFLINE_PC,
            times.get("carried"),
            Text(f"“{stick}”", f"“{stick}”") if stick else NOWHERE,
        ),
        Leg(Text("上传，税局受理", "uploaded, accepted"), _leg(reached["answered"]), ONLINE_PC),
        Leg(
            Text("报税失败", "refused")
            if failed
            else Text("报税成功", "succeeded")
            if seen
            else Text("税局结果", "the result"),
            "failed" if failed else _leg(reached["answered"]),
            ONLINE_PC,
            answered,
            Text(seen.code, seen.code) if failed and seen else NOWHERE,
        ),
        Leg(Text("清卡", "cleared"), _leg(reached["cleared"]), OFFLINE_PC, copy.cleared_at),
        Leg(Text("回执送达", "receipt delivered"), _leg(reached["acknowledged"]), ONLINE_PC, times.get("acknowledged")),
    ]
    if state is OfflineState.SUPERSEDED:
        return (
            *[leg for leg in legs if leg.state != "todo"],
            Leg(Text("已被新的抄税取代", "superseded by a new copy"), "done", OFFLINE_PC, times.get("superseded")),
        )
    return _with_now(legs)


def _leg(done: bool) -> Literal["done", "todo"]:
    return "done" if done else "todo"


def _with_now(legs: Sequence[Leg]) -> tuple[Leg, ...]:
    found: list[Leg] = []
    marked = False
    for leg in legs:
        if leg.state == "todo" and not marked:
            marked = True
            leg = Leg(leg.name, "now", leg.where, leg.at, leg.note)
        found.append(leg)
    return tuple(found)


def due_month(at: datetime) -> str:
    """Return the month before `at`, which is the one to copy."""
    first = at.date().replace(day=1)
    year, month = (first.year, first.month - 1) if first.month > 1 else (first.year - 1, 12)
    return f"{year}-{month:02d}"
