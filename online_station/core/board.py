"""Who has reported a period: per taxpayer, per machine. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from shared.calendar import days_left, filing_deadline
from shared.model.standing import Standing
from shared.states import OnlineState
from shared.text import Text

_AT_BUREAU = frozenset(
    {
        OnlineState.ACCEPTED,
        OnlineState.PROCESSING,
        OnlineState.WAITING,
        OnlineState.ANSWERED,
        OnlineState.STAGED,
        OnlineState.ACKNOWLEDGED,
    }
)


class Stage(StrEnum):
    """How far a machine, or a taxpayer's slowest machine, has come with a month, the most urgent first."""

    FAILED = "failed"
    HELD = "held"
    HERE = "here"
    WAITING = "waiting"
    AT_BUREAU = "at-bureau"
    ANSWERED = "answered"
    STAGED = "staged"
    CLEARED = "cleared"


STAGES: Final = tuple(Stage)
"""The stages in their order: a taxpayer is as far as the first of them that one of its machines is in."""
STAGE_OF: Final[Mapping[OnlineState, Stage]] = MappingProxyType(
    {
        OnlineState.FOUND: Stage.HERE,
        OnlineState.PROVEN: Stage.HERE,
        OnlineState.HELD: Stage.HELD,
        OnlineState.SENDING: Stage.HERE,
        OnlineState.UNKNOWN: Stage.HERE,
        OnlineState.ACCEPTED: Stage.AT_BUREAU,
        OnlineState.PROCESSING: Stage.AT_BUREAU,
        OnlineState.WAITING: Stage.WAITING,
        OnlineState.FAILED: Stage.FAILED,
        OnlineState.ANSWERED: Stage.ANSWERED,
        OnlineState.STAGED: Stage.STAGED,
        OnlineState.ACKNOWLEDGED: Stage.CLEARED,
    }
)
"""The stage of a report's state. One that was cancelled or quarantined is no step of its month."""
STAGE_WORDS: Final[Mapping[Stage, Text]] = MappingProxyType(
    {
        Stage.FAILED: Text("报税失败", "failed"),
        Stage.HELD: Text("暂不上传", "held"),
        Stage.HERE: Text("已抄税，待上传", "copied, to be sent"),
        Stage.WAITING: Text("等其他开票机", "waiting for other machines"),
        Stage.AT_BUREAU: Text("已上传，待结果", "sent, no result yet"),
        Stage.ANSWERED: Text("报税成功，待备好", "succeeded, to be staged"),
        Stage.STAGED: Text("报税成功，待清卡", "succeeded, to be cleared"),
        Stage.CLEARED: Text("已清卡，完成", "cleared, done"),
    }
)


@dataclass(frozen=True)
class Machine:
    """One machine's month.

    Attributes:
        machine_no: Which.
        state: The state of its newest report.
        stage: How far it has come.
        digest: That report.
    """

    machine_no: int
    state: OnlineState
    stage: Stage
    digest: str


@dataclass(frozen=True)
class Line:
    """One taxpayer's month.

    Attributes:
        taxpayer_id: 税号.
        period: The month.
        declared: Whether a return was filed, as far as the bureau last said; None if it was not asked.
        expected: Machines that must report; those seen here where the bureau was not asked.
        reported: Machines whose report the bureau has.
        missing: The rest.
        stage: How far the slowest of the machines seen here has come; None if that was not looked at.
        machines: How far each machine seen here has come.
    """

    taxpayer_id: str
    period: str
    declared: bool | None
    expected: tuple[int, ...]
    reported: tuple[int, ...]
    missing: tuple[int, ...]
    stage: Stage | None = None
    machines: tuple[Machine, ...] = ()

    @property
    def in_words(self) -> Text:
        """The line as people read it."""
        declared = {None: Text("申报情况未知", "declaration unknown"), True: Text("已申报", "declared")}.get(
            self.declared, Text("未申报", "not declared")
        )
        done, of = len(self.reported), len(self.expected)
        names = "、".join("主机" if m == 0 else f"{m} 号分机" for m in self.missing[:20])
        ids = ", ".join(str(m) for m in self.missing[:20])
        stage = Text("", "") if self.stage is None else STAGE_WORDS[self.stage]
        return Text(
            f"{self.taxpayer_id}  {self.period}  {declared.zh}  {of} 台中 {done} 台已报"
            + (f"，还缺 {names}" if self.missing else "")
            + (f"  {stage.zh}" if stage.zh else ""),
            f"{self.taxpayer_id}  {self.period}  {declared.en}  {done} of {of} reported"
            + (f", missing: {ids}" if self.missing else "")
            + (f"  {stage.en}" if stage.en else ""),
        )


@dataclass(frozen=True)
class Seen:
    """What counts of one period report.

    Attributes:
        taxpayer_id: 税号.
        period: The month.
        machine_no: Which machine.
        card_no: Its card: a later copy of it takes the place of an earlier one.
        sequence: Which copy of the card.
        state: Where it is.
        digest: The report.
    """

    taxpayer_id: str
    period: str
    machine_no: int
    card_no: str
    sequence: int
    state: OnlineState
    digest: str


def lines(reports: Iterable[Seen], standings: Mapping[tuple[str, str], Standing]) -> list[Line]:
    """Return one line per taxpayer and month: the newest month first, then by taxpayer.

    Args:
        reports: All period reports of those taxpayers and months; cancelled ones do not count, and of a card only the
            newest copy.
        standings: The bureau's last word. It may be older than what the reports show.
    """
    newest: dict[tuple[str, str], dict[tuple[int, str], Seen]] = {}
    there: dict[tuple[str, str], set[int]] = {}
    for seen in reports:
        if seen.state not in STAGE_OF:
            continue
        key = (seen.taxpayer_id, seen.period)
        if seen.state in _AT_BUREAU:
            there.setdefault(key, set()).add(seen.machine_no)
        copies = newest.setdefault(key, {})
        known = copies.get((seen.machine_no, seen.card_no))
        if known is None or known.sequence < seen.sequence:
            copies[seen.machine_no, seen.card_no] = seen
    found = []
    for key in sorted(sorted(newest), key=lambda each: each[1], reverse=True):
        machines = [
            Machine(seen.machine_no, seen.state, STAGE_OF[seen.state], seen.digest)
            for _, seen in sorted(newest[key].items())
        ]
        stage = min((machine.stage for machine in machines), key=STAGES.index)
        reported = there.get(key, set())
        found.append(_line(key, {m.machine_no for m in machines}, reported, standings.get(key), stage, tuple(machines)))
    return found


def _line(
    key: tuple[str, str],
    seen: set[int],
    there: set[int],
    standing: Standing | None,
    stage: Stage | None,
    machines: tuple[Machine, ...],
) -> Line:
    told = set(standing.machines_reported) if standing is not None else set()
    expected = seen | told | (set(standing.machines_expected) if standing is not None else set())
    reported = told | there
    return Line(
        taxpayer_id=key[0],
        period=key[1],
        declared=None if standing is None else standing.declared,
        expected=tuple(sorted(expected)),
        reported=tuple(sorted(reported)),
        missing=tuple(sorted(expected - reported)),
        stage=stage,
        machines=machines,
    )


# Months and their deadlines


@dataclass(frozen=True)
class Due:
    """Until when a month is to be reported and cleared.

    Attributes:
        period: The month.
        day: The last day, as far as it is known.
        days_left: How many days are left, that day counted as zero; negative if it has passed.
        certain: Whether a bureau has said so; a forecast otherwise.
    """

    period: str
    day: date
    days_left: int
    certain: bool

    @property
    def in_words(self) -> Text:
        """The deadline as people read it."""
        sure = Text("", "") if self.certain else Text("（推算）", " (forecast)")
        if self.days_left < 0:
            return Text(
                f"{self.period} 的征期 {self.day} 截止{sure.zh}，已过 {-self.days_left} 天",
                f"{self.period} was due on {self.day}{sure.en}, {-self.days_left} day(s) ago",
            )
        return Text(
            f"{self.period} 的征期 {self.day} 截止{sure.zh}，还有 {self.days_left} 天",
            f"{self.period} is due on {self.day}{sure.en}, in {self.days_left} day(s)",
        )


def due(period: str, today: date, overrides: Mapping[str, int] | None = None) -> Due:
    """Return until when a month `YYYY-MM` is to be reported and cleared.

    Args:
        period: The month.
        today: The day.
        overrides: The trust file's calendar.
    """
    found = filing_deadline(month_after(period), overrides)
    return Due(period, found.day, days_left(found.day, today), found.certain)


def month_after(period: str) -> str:
    """Return the month after a month `YYYY-MM`: that in which it is due."""
    year, month = int(period[:4]), int(period[5:])
    return f"{year + month // 12:04}-{month % 12 + 1:02}"


def month_before(period: str) -> str:
    """Return the month before a month `YYYY-MM`."""
    year, month = int(period[:4]), int(period[5:])
    return f"{year - (month == 1):04}-{(month - 2) % 12 + 1:02}"


def present_period(today: date) -> str:
    """Return the month that is to be reported now: the one before this."""
    return month_before(f"{today:%Y-%m}")


def latest_missed(today: date, overrides: Mapping[str, int] | None = None) -> str:
    """Return the newest month whose deadline has passed; it has passed for all earlier ones too."""
    period = present_period(today)
    return period if due(period, today, overrides).days_left < 0 else month_before(period)
