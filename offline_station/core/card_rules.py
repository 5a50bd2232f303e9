"""The rules of the tax card, without the card: what may be copied, what a result is to it, when it is locked.

A card driver gathers the facts, asks here, and keeps the answer in one transaction. The time is always the trusted
one: never earlier than the latest time that a bureau proved (CARD-12).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final, Literal

from offline_station.core.figures import WHOLE_KIND, Totals, add_totals, subtract_totals
from shared.errors import (
    AlreadyCopied,
    EarlierPeriodOpen,
    Locked,
    NotCopied,
    NothingAwaited,
    OtherCard,
    OtherCopyTime,
    OtherDigest,
    OtherMachine,
    OtherNonce,
    OtherReport,
    OtherTaxpayer,
    PeriodClosed,
    ResultOutdated,
    WrongState,
)
from shared.ids import Nonce, ReportDigest, ReportKind, ReportName, Stamp, adhoc_stamp, period_covered, period_stamp
from shared.model.report import COUNT_FIELDS, KindSummary, RateSummary
from shared.model.result import Result
from shared.money import MAX_FEN
from shared.states import CardState
from shared.text import Text


@dataclass(frozen=True)
class SeenResult:
    """A proven result that the card has taken notice of: its number is used up."""

    result_no: int
    body_sha256: str
    outcome: Literal["success", "failure"]
    code: str
    message: str
    receipt_no: str
    bureau_time: datetime
    lock_date: date | None = None
    next_period_start: date | None = None
    upload_deadline: date | None = None
    offline_hours: int | None = None
    offline_limits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class CopyRecord:
    """One copy (抄税): what the card froze, and what has become of it.

    Attributes:
        name: Taxpayer, machine and copy time.
        period_start: First day covered.
        period_end: Last day covered.
        nonce: The clear nonce, made by the card for this copy alone.
        sequence: One higher than the card's copy before.
        summaries: The frozen figures per kind; with `rates`, the report's summary rows.
        report_digest: The report that the card waits to hear of, once sealed.
        success: The proven success that will clear it.
        failure: The latest proven failure.
        cleared_at: When it cleared the card.
        superseded_by: The nonce of the copy that took its place.
    """

    name: ReportName
    card_no: str
    period_start: date
    period_end: date
    nonce: Nonce
    sequence: int
    copied_at: datetime
    summaries: tuple[KindSummary, ...]
    rates: tuple[RateSummary, ...]
    report_digest: ReportDigest | None = None
    success: SeenResult | None = None
    failure: SeenResult | None = None
    cleared_at: datetime | None = None
    superseded_by: Nonce | None = None

    @property
    def kind(self) -> ReportKind:
        """`period` or `adhoc`."""
        return self.name.stamp.kind

    @property
    def open(self) -> bool:
        """Whether it can still clear the card."""
        return self.cleared_at is None and self.superseded_by is None

    @property
    def invoice_count(self) -> int:
        """Invoices covered, voided and blank voided ones included."""
        return sum(summary.used for summary in self.summaries)

    @property
    def period(self) -> str:
        """The month `YYYY-MM` in which it ends."""
        return f"{self.period_end:%Y-%m}"

    def covers_month(self, month: str) -> bool:
        """Return whether it may cover invoices of a month `YYYY-MM`."""
        return f"{self.period_start:%Y-%m}" <= month <= self.period


@dataclass(frozen=True)
class CardFacts:
    """Everything on the card that its rules need.

    Attributes:
        open_from: First day that no period copy covers: invoices before it are refused.
        last_copy_day: Day of the last copy that stands (superseded ones do not): where an ad hoc copy begins.
        clock_floor: The latest time that a bureau proved.
        last_applied_sha256: The result body with which the card was last cleared.
        last_result_no: The highest result number seen.
        totals: All figures counted, by month.
        covered: The part that cleared copies covered, by month.
    """

    taxpayer_id: str
    machine_no: int
    card_no: str
    lock_date: date
    open_from: date
    last_copy_day: date
    open_copy: CopyRecord | None = None
    last_cleared: CopyRecord | None = None
    clock_floor: datetime | None = None
    last_applied_sha256: str = ""
    last_result_no: int = 0
    totals: Mapping[str, Totals] = field(default_factory=dict)
    covered: Mapping[str, Totals] = field(default_factory=dict)


def trusted_now(now: datetime, floor: datetime | None) -> datetime:
    """Return the time to decide by: the PC's clock, but never before what a bureau proved (CARD-12)."""
    return now if floor is None or now >= floor else floor.astimezone(now.tzinfo)


def is_locked(facts: CardFacts, at: datetime) -> bool:
    """Return whether the lock date has passed (锁死): no copy, no report; clearing stays possible (CARD-11)."""
    return at.date() > facts.lock_date


def period_due(facts: CardFacts, at: datetime) -> bool:
    """Return whether the month before `at` still waits for its period copy."""
    return facts.open_from < at.date().replace(day=1)


def state_of(facts: CardFacts, at: datetime) -> CardState:
    """Return the card's state; `locked` stands beside it."""
    if facts.open_copy is not None:
        return CardState.TO_CLEAR if facts.open_copy.success is not None else CardState.COPIED
    return CardState.TO_COPY if period_due(facts, at) else CardState.DONE


@dataclass(frozen=True)
class CopyPlan:
    """What a copy would freeze.

    Attributes:
        covers: The figures by month.
        supersedes: The open copy that it takes the place of.
        open_from: The card's first open day once this copy is made.
    """

    stamp: Stamp
    period_start: date
    period_end: date
    covers: Mapping[str, Totals]
    supersedes: CopyRecord | None
    open_from: date


_REPORT_NEXT: Final = Text(
    "在开票机执行 report 生成报税文件；若该次抄税不能成功（如 2715），执行 copy --again 重新抄税",
    "run report on the invoicing PC; if this copy cannot succeed (2715, say), run copy --again",
)
_CLEAR_NEXT: Final = Text("在开票机执行 clear 清卡", "run clear on the invoicing PC")
HALL: Final = Text("请携带金税卡到办税服务厅处理", "take the card to the tax hall")


def plan_copy(facts: CardFacts, now: datetime, *, kind: ReportKind, again: bool) -> CopyPlan:
    """Decide a copy (CARD-4 to CARD-8).

    Args:
        facts: The card.
        now: The PC's clock.
        kind: `period` covers exactly the month before; `adhoc` everything not yet covered.
        again: Whether an uncleared copy may be superseded.

    Raises:
        Locked: The lock date has passed.
        AlreadyCopied: A copy is open, or the period is done.
        EarlierPeriodOpen: Invoices of an even earlier month were never copied.
        WrongState: The clock lies before the last copy, or an ad hoc copy would supersede a period copy.
    """
    at = trusted_now(now, facts.clock_floor)
    if is_locked(facts, at):
        raise Locked(lock_date=facts.lock_date)
    if facts.open_copy is not None and facts.open_copy.success is not None and not again:
        raise AlreadyCopied(
            reason=Text(
                f"{facts.open_copy.name.in_words.zh} 已报税成功，等待清卡",
                f"{facts.open_copy.name.in_words.en} has succeeded and waits to be cleared",
            ),
            next_action=_CLEAR_NEXT,
        )
    return _plan_period(facts, at, again=again) if kind == "period" else _plan_adhoc(facts, at, again=again)


def _plan_period(facts: CardFacts, at: datetime, *, again: bool) -> CopyPlan:
    stamp = period_stamp(at)
    start, end = period_covered(stamp)
    open_copy = facts.open_copy
    if open_copy is not None and open_copy.kind == "period":
        if open_copy.name.stamp != stamp:
            raise EarlierPeriodOpen(
                reason=Text(
                    f"{open_copy.name.in_words.zh} 还没有清卡",
                    f"{open_copy.name.in_words.en} is not cleared yet",
                ),
                next_action=Text(
                    "先取回并使用该次报税的结果清卡；不能成功时请携带金税卡到办税服务厅处理",
                    "fetch that report's result and clear with it; if it cannot succeed, take the card to the tax hall",
                ),
            )
        if not again:
            raise AlreadyCopied(
                reason=Text(f"{start:%Y-%m} 已经抄税", f"{start:%Y-%m} is copied already"), next_action=_REPORT_NEXT
            )
    elif not period_due(facts, at):
        raise AlreadyCopied(
            reason=Text(
                f"{start.year}年{start.month}月已经抄税，下一次征期抄税在下月初",
                f"{start:%Y-%m} was copied already; the next period copy is due at the beginning of next month",
            ),
            next_action=Text(
                "无需处理；月中需要报税时执行 copy --adhoc",
                "nothing to do; within the month, copy --adhoc makes an ad hoc copy",
            ),
        )
    month = f"{start:%Y-%m}"
    earlier = [m for m in _open_months(facts) if m < month and any(facts.totals[m].values())]
    if earlier:
        raise EarlierPeriodOpen(
            reason=Text(
                f"{earlier[0]} 有发票没有抄税，远程报税只能报 {month}",
                f"invoices of {earlier[0]} were never copied; only {month} can be reported remotely",
            ),
            next_action=HALL,
        )
    return CopyPlan(
        stamp,
        start,
        end,
        {month: facts.totals.get(month, {})},
        open_copy,
        open_from=end + timedelta(days=1),
    )


def _plan_adhoc(facts: CardFacts, at: datetime, *, again: bool) -> CopyPlan:
    open_copy = facts.open_copy
    if open_copy is not None and open_copy.kind == "period":
        raise AlreadyCopied(
            reason=Text(
                f"{open_copy.name.in_words.zh} 还没有清卡，非征期抄税要在清卡之后",
                f"{open_copy.name.in_words.en} is not cleared yet; an ad hoc copy comes after clearing",
            ),
            next_action=_CLEAR_NEXT if open_copy.success else _REPORT_NEXT,
        )
    if open_copy is not None and not again:
        raise AlreadyCopied(
            reason=Text(f"{open_copy.name.in_words.zh} 还没有清卡", f"{open_copy.name.in_words.en} is not cleared yet"),
            next_action=_REPORT_NEXT,
        )
    stamp = adhoc_stamp(at)
    if facts.last_cleared is not None and facts.last_cleared.name.stamp == stamp:
        # The stamp is the name of the report, its result and its receipt: two copies of one minute would share them.
        raise WrongState(
            reason=Text("这一分钟内已有一次抄税", "a copy of this very minute was cleared already"),
            next_action=Text("等一分钟，再执行 copy --adhoc", "wait a minute, then run copy --adhoc again"),
        )
    covers = uncovered(facts)
    start = open_copy.period_start if open_copy is not None else facts.last_copy_day
    if covers and first_of(min(covers)) < start.replace(day=1):
        start = first_of(min(covers))
    if start > stamp.moment.date() or any(month > stamp.text[:4] + "-" + stamp.text[4:6] for month in covers):
        raise WrongState(
            reason=Text(
                f"电脑时间 {stamp.moment:%Y-%m-%d %H:%M} 早于上次抄税或已开发票的日期",
                f"the clock says {stamp.moment:%Y-%m-%d %H:%M}, before the last copy or the invoices",
            ),
            next_action=Text("校正开票机的日期和时间后再试", "correct the invoicing PC's clock and try again"),
        )
    return CopyPlan(stamp, start, stamp.moment.date(), covers, open_copy, open_from=facts.open_from)


def first_of(month: str) -> date:
    """Return the first day of a month `YYYY-MM`."""
    return date.fromisoformat(month + "-01")


def _open_months(facts: CardFacts) -> list[str]:
    return sorted(month for month in facts.totals if first_of(month) >= facts.open_from)


def uncovered(facts: CardFacts) -> dict[str, Totals]:
    """Return the figures, by month, that no cleared copy covers."""
    found: dict[str, Totals] = {}
    for month in _open_months(facts):
        rest = subtract_totals(facts.totals[month], facts.covered.get(month, {}))
        if rest:
            found[month] = rest
    return found


def check_batch(facts: CardFacts, months: Mapping[str, Totals], open_covers: Mapping[str, Totals]) -> None:
    """Refuse issued figures that touch what was copied (CARD-3).

    Args:
        facts: The card before the batch.
        months: The batch: differences by month.
        open_covers: What the open copy has frozen, by month.

    Raises:
        PeriodClosed: A month that a period copy covers, or a void of an invoice that was already copied.
        WrongState: Sums beyond what an amount can say.
    """
    for month, delta in months.items():
        if first_of(month) < facts.open_from:
            raise PeriodClosed(
                reason=Text(f"{month} 已经抄税，不能再导入该月的发票", f"{month} was copied; its invoices are closed"),
                next_action=HALL,
            )
        after = add_totals(facts.totals.get(month, {}), delta)
        if any(abs(n) > MAX_FEN for figures in after.values() for n in figures.numbers):
            raise WrongState(
                reason=Text(f"{month} 的合计超出范围", f"the sums of {month} are out of range"),
                next_action=Text("核对发票清单中的金额后再导入", "check the amounts in the list, then import it again"),
            )
        free = subtract_totals(after, add_totals(facts.covered.get(month, {}), open_covers.get(month, {})))
        for (kind, rate), figures in free.items():
            if rate == WHOLE_KIND and any(n < 0 for n in figures.numbers[: len(COUNT_FIELDS)]):
                raise PeriodClosed(
                    reason=Text(
                        f"{month} 票种 {kind} 的发票已经抄税，不能再作废",
                        f"invoices of {month}, kind {kind}, were copied and can no longer be voided",
                    ),
                    next_action=Text(
                        "已抄税的发票请开具红字发票冲销", "issue a negative (red) invoice against a copied one"
                    ),
                )


Effect = Literal["remembered", "consumed", "repeated", "applied-before"]


@dataclass(frozen=True)
class Judgement:
    """What a proven result is to the card.

    Attributes:
        copy: The copy that it answers.
        effect: `remembered` (a new success), `consumed` (a new failure), `repeated` (seen already), `applied-before`
            (the card was cleared with this very body).
    """

    copy: CopyRecord
    effect: Effect


def judge_result(facts: CardFacts, result: Result, body_sha256: str) -> Judgement:
    """Match a proven result against the card, in the device's order (RES-20, CARD-9).

    The signature and the role were proven before.

    Raises:
        OtherReport: One of its kinds, each naming both reports in words.
        ResultOutdated: A number that is not higher than the last.
    """
    ours_name = facts.open_copy.name if facts.open_copy else None
    theirs, ours = result.name.in_words, ours_name.in_words if ours_name else _NOTHING_OURS

    def refuse(error: type[OtherReport], what: Text, *, of: Text = theirs, mine: Text = ours) -> OtherReport:
        return error(field=what, theirs=of, ours=mine)

    if result.name.taxpayer_id != facts.taxpayer_id:
        raise refuse(OtherTaxpayer, _TAXPAYER, mine=_identity(facts))
    if result.name.machine_no != facts.machine_no:
        raise refuse(OtherMachine, _MACHINE, mine=ours if ours_name else _identity(facts))
    if result.card_no != facts.card_no:
        raise refuse(
            OtherCard,
            _CARD,
            of=_join(theirs, Text(f"卡号 {result.card_no}", f"card {result.card_no}")),
            mine=Text(f"卡号 {facts.card_no}", f"card {facts.card_no}"),
        )
    if facts.last_cleared is not None and body_sha256 == facts.last_applied_sha256:
        return Judgement(facts.last_cleared, "applied-before")
    copy = facts.open_copy
    if copy is None:
        raise NothingAwaited(theirs=theirs)
    if result.name.stamp != copy.name.stamp:
        raise refuse(OtherCopyTime, _STAMP)
    if result.report_digest != copy.report_digest:
        raise refuse(
            OtherDigest,
            _DIGEST,
            of=_join(theirs, _short(result.report_digest)),
            mine=_join(ours, _short(copy.report_digest) if copy.report_digest else _UNSEALED),
        )
    if result.nonce != copy.nonce:
        raise refuse(OtherNonce, _NONCE)
    if result.result_no <= facts.last_result_no:
        for seen in (copy.success, copy.failure):
            if seen is not None and (seen.body_sha256, seen.result_no) == (body_sha256, facts.last_result_no):
                return Judgement(copy, "repeated")
        if copy.success is not None and copy.success.body_sha256 == body_sha256:
            return Judgement(copy, "repeated")
        raise ResultOutdated(
            reason=Text("结果序号没有增加", "its number is not higher"),
            number=result.result_no,
            last=facts.last_result_no,
        )
    return Judgement(copy, "remembered" if result.outcome == "success" else "consumed")


_TAXPAYER: Final = Text("税号", "the tax number")
_MACHINE: Final = Text("分机号", "the machine number")
_CARD: Final = Text("卡号", "the card number")
_STAMP: Final = Text("抄税时间", "the copy time")
_DIGEST: Final = Text("报告摘要", "the report digest")
_NONCE: Final = Text("清卡随机数", "the clear nonce")
_NOTHING_OURS: Final = Text("（无等待中的报税）", "(nothing)")
_UNSEALED: Final = Text("尚未生成报税文件", "not sealed yet")


def _short(digest: str) -> Text:
    return Text(f"摘要 {digest[:12]}…", f"digest {digest[:12]}…")


def _join(first: Text, second: Text) -> Text:
    return Text(f"{first.zh}，{second.zh}", f"{first.en}, {second.en}")


def _identity(facts: CardFacts) -> Text:
    which = (
        Text("主机", "the main machine")
        if facts.machine_no == 0
        else Text(f"{facts.machine_no} 号分机", f"machine {facts.machine_no}")
    )
    return Text(f"税号 {facts.taxpayer_id} {which.zh}", f"taxpayer {facts.taxpayer_id}, {which.en}")


def require_reportable(facts: CardFacts, now: datetime) -> CopyRecord:
    """Return the copy that may be reported now.

    Raises:
        Locked: The lock date has passed.
        NotCopied: There is no open copy.
    """
    if is_locked(facts, trusted_now(now, facts.clock_floor)):
        raise Locked(lock_date=facts.lock_date)
    if facts.open_copy is None:
        raise NotCopied(
            reason=Text("还没有抄税", "nothing is copied"),
            next_action=Text("先在开票机执行 copy 抄税", "run copy on the invoicing PC first"),
        )
    return facts.open_copy
