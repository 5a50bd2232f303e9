"""What a person has to be told although nobody asks: facts in, alarms out. Pure.

An alarm has a key: the same trouble is the same alarm for as long as it lasts. `compare` says which alarms are new, which
have lasted so long that they are said again, and which are over; a shell keeps them and sends what is said.

Texts name companies, reports and machines. They hold no amount, no count of invoices, nothing of what a report says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal

from online_station.core.advice import HOLD_WORDS
from online_station.core.board import Due
from online_station.core.decide import HoldReason
from shared import faults
from shared.text import Text

NAMED: Final = 5
"""How many companies an alarm names; of the others it says how many there are."""
_STILL_TOLD: Final = 5
"""Days after a deadline for which it is still worth an alarm."""
HOLDS_WITHOUT_ALARM: Final = frozenset({HoldReason.OPERATOR, HoldReason.NOT_DECLARED})
"""Holds that somebody wanted, or that go away by themselves when the return is filed."""


class Kind(StrEnum):
    """What is wrong."""

    DEADLINE = "deadline"
    SILENT = "silent"
    FAULT = "fault"
    HELD = "held"
    STICK = "stick"
    BUREAU = "bureau"
    DISK = "disk"
    KEY = "key"


@dataclass(frozen=True)
class Rules:
    """When something is an alarm.

    Attributes:
        days_before: A month's reports should be staged so many days before its deadline.
        stick_days: A stick with results should be heard of again within so many days.
        down_minutes: The bureau may be out of reach for so long.
        free_gib: So much room should be left on the disk.
        key_days: The key's certificate should last so many days.
        repeat_hours: An alarm that lasts is said again after so many hours.
    """

    days_before: int = 3
    stick_days: int = 3
    down_minutes: int = 30
    free_gib: int = 2
    key_days: int = 30
    repeat_hours: int = 24


@dataclass(frozen=True)
class Companies:
    """Some companies.

    Attributes:
        number: How many.
        first: The first of them, as they are called.
    """

    number: int = 0
    first: tuple[str, ...] = ()

    @property
    def words(self) -> Text:
        """They as people say it."""
        names = self.first[:NAMED]
        more = self.number > len(names)
        return Text("、".join(names) + (" 等" if more else ""), ", ".join(names) + (" and others" if more else ""))


@dataclass(frozen=True)
class StuckReport:
    """A report that only a person can move.

    Attributes:
        digest: The report.
        shown: What people call it.
        hold: Why it is held; None if it failed.
        code: The bureau's code.
        message: The bureau's own words.
    """

    digest: str
    shown: str
    hold: HoldReason | None
    code: str = ""
    message: str = ""


@dataclass(frozen=True)
class StickAway:
    """A stick that left with results.

    Attributes:
        name: What tells it from others.
        label: What people call it.
        results: How many results.
        days: For how many days.
    """

    name: str
    label: str
    results: int
    days: int


@dataclass(frozen=True)
class Facts:
    """What is so now.

    Attributes:
        place: The machine that looks, for what concerns it alone.
        due: The month that is to be reported.
        behind: Companies that sent a report whose result is not staged.
        silent: Registered companies that sent nothing.
        stuck: Reports that only a person can move.
        sticks: Sticks that left with results so long ago that somebody should wonder.
        down_for: For how long the bureau has been out of reach.
        free_bytes: Room on the disk; None if it could not be looked up.
        key_days: For how many days the key's certificate lasts; None if it could not be looked up.
    """

    place: str
    due: Due
    behind: Companies = field(default_factory=Companies)
    silent: Companies = field(default_factory=Companies)
    stuck: Sequence[StuckReport] = ()
    sticks: Sequence[StickAway] = ()
    down_for: timedelta = timedelta()
    free_bytes: int | None = None
    key_days: int | None = None


@dataclass(frozen=True)
class Alarm:
    """Something that a person has to be told.

    Attributes:
        key: The same trouble has the same key.
        kind: What is wrong.
        place: The machine that it concerns; empty if it concerns all.
        text: What is said.
    """

    key: str
    kind: Kind
    place: str
    text: Text


def alarms(facts: Facts, rules: Rules) -> list[Alarm]:
    """Return what a person has to be told now."""
    found: list[Alarm] = []
    if -_STILL_TOLD <= facts.due.days_left <= rules.days_before:
        found += _deadline(facts)
    found += [_stuck(report) for report in facts.stuck]
    found += [_away(stick) for stick in facts.sticks]
    if facts.down_for >= timedelta(minutes=rules.down_minutes):
        minutes = int(facts.down_for.total_seconds() // 60)
        text = Text(
            f"{facts.place} 已有 {minutes} 分钟连不上税局。报告都在，连上后自动继续；请检查网络，在上网机执行 doctor",
            f"{facts.place} has not reached the bureau for {minutes} minutes. nothing is lost and it goes on by itself; check "
            "the network, and run doctor there",
        )
        found.append(Alarm(f"bureau:{facts.place}", Kind.BUREAU, facts.place, text))
    if facts.free_bytes is not None and facts.free_bytes < rules.free_gib << 30:
        free = facts.free_bytes >> 20
        text = Text(
            f"{facts.place} 的磁盘只剩 {free} MiB，请清理",
            f"there are {free} MiB left on the disk of {facts.place}: make room",
        )
        found.append(Alarm(f"disk:{facts.place}", Kind.DISK, facts.place, text))
    if facts.key_days is not None and facts.key_days < rules.key_days:
        text = (
            Text(
                f"{facts.place} 的企业密钥（U棒）证书还有 {facts.key_days} 天到期，请到税务机关换发",
                f"the certificate of the key on {facts.place} expires in {facts.key_days} days: have it re-issued",
            )
            if facts.key_days >= 0
            else Text(
                f"{facts.place} 的企业密钥（U棒）证书已经到期，请到税务机关换发",
                f"the certificate of the key on {facts.place} has expired: have it re-issued",
            )
        )
        found.append(Alarm(f"key:{facts.place}", Kind.KEY, facts.place, text))
    return found


def _deadline(facts: Facts) -> list[Alarm]:
    due, found = facts.due, []
    if facts.behind.number:
        who = facts.behind.words
        text = Text(
            f"{due.in_words.zh}，还有 {facts.behind.number} 家没有报税成功：{who.zh}。用 board --only open 查看",
            f"{due.in_words.en}; {facts.behind.number} companies have no success yet: {who.en}. see board --only open",
        )
        found.append(Alarm(f"deadline:{due.period}", Kind.DEADLINE, "", text))
    if facts.silent.number:
        who = facts.silent.words
        text = Text(
            f"{due.in_words.zh}，还有 {facts.silent.number} 家没有送来报税文件：{who.zh}。用 board --only silent 查看",
            f"{due.in_words.en}; {facts.silent.number} companies have sent nothing: {who.en}. see board --only silent",
        )
        found.append(Alarm(f"silent:{due.period}", Kind.SILENT, "", text))
    return found


def _stuck(report: StuckReport) -> Alarm:
    short = report.digest[:12]
    if report.hold is not None:
        why = HOLD_WORDS[report.hold]
        text = Text(
            f"{report.shown} 暂不上传：{why.zh}。用 show {short} 查看办法",
            f"{report.shown} is held: {why.en}. show {short} says what to do",
        )
        return Alarm(f"held:{report.digest}:{report.hold.value}", Kind.HELD, "", text)
    fault = faults.find(report.code, report.message)
    told = f"{report.code} {fault.title.zh}".strip()
    text = Text(
        f"{report.shown} 报税失败：{told}。用 show {short} 查看办法",
        f"{report.shown} failed: {f'{report.code} {fault.title.en}'.strip()}. show {short} says what to do",
    )
    return Alarm(f"fault:{report.digest}:{report.code}", Kind.FAULT, "", text)


def _away(stick: StickAway) -> Alarm:
    text = Text(
        f"U盘“{stick.label}”带走了 {stick.results} 个结果，{stick.days} 天还没有带回清卡回执。请到开票机查看是否已清卡",
        f"stick '{stick.label}' left with {stick.results} result(s) {stick.days} days ago and no clear receipt came back: see "
        "on the invoicing PC whether the card is cleared",
    )
    return Alarm(f"stick:{stick.name}", Kind.STICK, "", text)


# What is said


@dataclass(frozen=True)
class Known:
    """An alarm that stands.

    Attributes:
        place: The machine that it concerns; empty if it concerns all.
        said_at: When it was said last.
    """

    place: str
    said_at: datetime


Event = Literal["raised", "repeated", "ended"]


@dataclass(frozen=True)
class Changes:
    """What is to be said.

    Attributes:
        raised: New alarms.
        repeated: Alarms that have lasted, and were said so long ago that they are said again.
        ended: Keys of alarms that are over.
    """

    raised: tuple[Alarm, ...]
    repeated: tuple[Alarm, ...]
    ended: tuple[str, ...]


def compare(known: Mapping[str, Known], now_so: Collection[Alarm], now: datetime, rules: Rules, place: str) -> Changes:
    """Return what is to be said.

    Args:
        known: The alarms that stand, by key.
        now_so: What is so, as this machine sees it.
        now: The present.
        rules: When an alarm is said again.
        place: This machine: it judges what concerns all and itself, and no other machine.
    """
    holding = {alarm.key: alarm for alarm in now_so}
    repeat = timedelta(hours=rules.repeat_hours)
    return Changes(
        tuple(alarm for key, alarm in holding.items() if key not in known),
        tuple(a for key, a in holding.items() if key in known and now - known[key].said_at >= repeat),
        tuple(key for key, each in known.items() if key not in holding and each.place in ("", place)),
    )
