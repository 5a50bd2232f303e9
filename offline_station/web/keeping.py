"""The pages of what is kept: reports and their slips, sticks, backups, the log, the check of this PC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from offline_station.core.card_rules import CopyRecord
from offline_station.core.next_action import age_in_words
from offline_station.shell import visit as sticks
from offline_station.shell.backup import SUFFIX
from offline_station.shell.doctor import Finding, examine_station
from offline_station.shell.journal import export_log
from offline_station.shell.operators import Right
from offline_station.shell.station import Station
from offline_station.shell.store import Event, ReportLife
from offline_station.web.desk import Desk, thrown_away
from offline_station.web.done import Done, let_go, size_words, visited
from offline_station.web.month import table_of_copy
from offline_station.web.standing import copy_words, failure_card, life_line, month_words
from offline_station.web.wording import on_page
from shared.errors import MediumInUse, NothingChosen, PageUnknown
from shared.medium.eject import eject
from shared.medium.find import STATES, FoundStick, MediumState, foreign_files
from shared.states import OfflineState
from shared.text import Text, both
from shared.web.blocks import FaultCard, Leg
from shared.web.peer import can_tell
from shared.web.site import Answer, Download, Page, Visit
from shared.web.work import Progress

_MAX_BACKUP: Final = 4 << 30
STATE_WORDS: Final = {
    OfflineState.COPIED: Text("已抄税", "copied"),
    OfflineState.SEALED: Text("已生成报税文件", "sealed"),
    OfflineState.CARRIED: Text("已放上U盘", "on the stick"),
    OfflineState.FAILED: Text("报税失败", "refused"),
    OfflineState.SUCCEEDED: Text("报税成功，待清卡", "succeeded, to be cleared"),
    OfflineState.CLEARED: Text("已清卡", "cleared"),
    OfflineState.ACKNOWLEDGED: Text("已结案", "completed"),
    OfflineState.SUPERSEDED: Text("已被取代", "superseded"),
}
_EVENTS: Final = {
    "copied": Text("抄税", "copied"),
    "sealed": Text("生成报税文件", "sealed"),
    "carried": Text("放上U盘", "put on the stick"),
    "failure": Text("收到结果：报税失败", "result: refused"),
    "success": Text("收到结果：报税成功", "result: success"),
    "late-failure": Text(
        "成功之后又收到失败的结果（不影响清卡）", "a failure after the success (it clears all the same)"
    ),
    "cleared": Text("清卡", "cleared"),
    "ack-carried": Text("清卡回执放上U盘", "the clear receipt was put on the stick"),
    "acknowledged": Text("税局已收到清卡回执", "the bureau has the clear receipt"),
    "superseded": Text("被新的抄税取代", "superseded by a new copy"),
}
REASONS: Final = {
    "before-clear": Text("清卡前自动备份", "before clearing"),
    "by-hand": Text("手工备份", "by hand"),
    "before-restore": Text("恢复前", "before a restore"),
}


@dataclass(frozen=True)
class ReportRow:
    """A report in the list.

    Attributes:
        copy: Its copy.
        words: Which one it is.
        state: Where it is.
        age: For how long.
        legs: Its life-line.
        events: What happened, with times.
        fault: What the bureau said, if it refused.
    """

    copy: CopyRecord
    words: Text
    state: Text
    age: Text
    legs: tuple[Leg, ...]
    events: Sequence[tuple[datetime, Text, Text]]
    fault: FaultCard | None
    life: ReportLife


def add_keeping_pages(desk: Desk) -> None:
    """Declare them."""
    _add_reports(desk)
    _add_sticks(desk)
    _add_backups(desk)
    _add_check(desk)


# Reports


def _row(station: Station, copy: CopyRecord, life: ReportLife, now: datetime) -> ReportRow:
    events = station.store.events(copy.nonce)
    times = {event.event: event.at for event in events}
    return ReportRow(
        copy,
        copy_words(copy),
        STATE_WORDS[life.state],
        age_in_words((now - life.changed_at).total_seconds()),
        life_line(copy, life.state, times, life.stick),
        [(event.at, _EVENTS.get(event.event, both(event.event)), _event_facts(event)) for event in events],
        failure_card(copy) if life.state is OfflineState.FAILED else None,
        life,
    )


def _event_facts(event: Event) -> Text:
    facts = event.facts
    shown = [both(f"{facts['code']} {facts['message']}")] if facts.get("code") else []
    if facts.get("stick"):
        shown.append(Text(f"U盘“{facts['stick']}”", f"stick “{facts['stick']}”"))
    if facts.get("receipt_no"):
        shown.append(Text(f"受理回执 {facts['receipt_no']}", f"receipt {facts['receipt_no']}"))
    return Text("，".join(one.zh for one in shown), ", ".join(one.en for one in shown))


def _add_reports(desk: Desk) -> None:
    site = desk.site

    @site.page("/history")
    def history(_visit: Visit) -> Answer:
        with desk.look() as station:
            now = desk.clock.now()
            rows = [_row(station, copy, life, now) for copy, life in station.copies()]
            return Page("history.html", rows=rows, standing=desk.standing(station, ()))

    def find(station: Station, nonce: str) -> ReportRow:
        for copy, life in station.copies():
            if copy.nonce == nonce:
                return _row(station, copy, life, desk.clock.now())
        raise PageUnknown

    @site.page("/history/{nonce}")
    def report(visit: Visit) -> Answer:
        with desk.look() as station:
            row = find(station, visit.parts["nonce"])
            waits = row.copy.open and row.copy.success is None and row.copy.report_digest is not None
            return Page(
                "one_report.html",
                row=row,
                rows=table_of_copy(row.copy),
                may_carry_again=waits,
                standing=desk.standing(station, ()),
            )

    @site.page("/history/{nonce}/slip")
    def slip(visit: Visit) -> Answer:
        with desk.look() as station:
            row = find(station, visit.parts["nonce"])
            return Page(
                "report_slip.html",
                row=row,
                rows=table_of_copy(row.copy),
                reading=station.read(),
                printed=desk.clock.now(),
            )


# Sticks


def _stick_words(found: Sequence[FoundStick]) -> list[tuple[FoundStick, Text, Text]]:
    return [(one, STATES[one.state].name, on_page(STATES[one.state].advice)) for one in found]


def _path_of(visit: Visit, found: Sequence[FoundStick]) -> Path:
    """Return the medium that a form names: only one that is in."""
    wanted = visit.form.get("path", "")
    for one in found:
        if str(one.path) == wanted:
            return one.path
    if not wanted and len(found) == 1:
        return found[0].path
    raise NothingChosen(what=Text("U盘（可能已被拔出）", "a stick (it may have been pulled out)"))


def _add_sticks(desk: Desk) -> None:
    site = desk.site

    @site.page("/stick")
    def stick(_visit: Visit) -> Answer:
        with desk.look() as station:
            found = desk.found_sticks(station)
            return Page(
                "stick.html",
                sticks=_stick_words(found),
                new=MediumState.NOT_OURS,
                bad=(MediumState.DAMAGED, MediumState.PULLED),
                sizes=size_words,
                outbox=station.outbox,
                inbox=station.inbox,
                standing=desk.standing(station, found),
            )

    @site.action("/stick/sync")
    def sync(visit: Visit) -> Answer:
        def do(station: Station, progress: Progress) -> Done:
            path = (
                _path_of(visit, desk.found_sticks(station))
                if visit.form.get("path")
                else sticks.sticks_of(station).find(None)
            )
            done = sticks.sync(station, path, progress=progress)
            if done.problem is not None:
                raise done.problem
            return visited(done)

        return desk.start(visit, "sync", Text("与U盘同步：请不要拔出", "Syncing the stick: do not pull it out"), do)

    @site.action("/stick/prepare")
    def prepare(visit: Visit) -> Answer:
        label = visit.form.get("label", "").strip()[:40]

        def do(station: Station, _progress: Progress) -> Done:
            path = _path_of(visit, desk.found_sticks(station))
            count = foreign_files(path)
            if count and visit.form.get("sure") != "yes":
                raise MediumInUse(name=str(path), count=count)
            identity = sticks.prepare(station, path, label)
            return Done(
                Text(f"U盘“{identity.label}”已准备好", f"The stick “{identity.label}” is ready"),
                lines=[
                    Text("没有格式化，原有的文件都没有动。", "Nothing was formatted, and no other file was touched.")
                ],
                pull=True,
            )

        return desk.start(visit, "prepare", Text("准备U盘", "Preparing the stick"), do)

    @site.action("/stick/eject")
    def let_out(visit: Visit) -> Answer:
        def do(station: Station, _progress: Progress) -> Done:
            path = _path_of(visit, desk.found_sticks(station))
            identity = sticks.sticks_of(station).settle(path)
            return let_go(path.name if identity is None else identity.label, eject(path))

        return desk.start(visit, "eject", Text("弹出U盘", "Ejecting the stick"), do)

    @site.page("/stick/slip")
    def slip(_visit: Visit) -> Answer:
        with desk.hold() as station:
            path = sticks.sticks_of(station).find(None)
            return Page("stick_slip.html", slip=sticks.slip(station, path), reading=station.read(), sizes=size_words)


# Backups


@dataclass(frozen=True)
class BackupRow:
    """A backup in the list."""

    name: str
    made_at: datetime
    size: int


def _backups(desk: Desk) -> list[BackupRow]:
    found = []
    for path in desk.home.backups.glob(f"*{SUFFIX}"):
        status = path.stat()
        found.append(
            BackupRow(path.name, datetime.fromtimestamp(status.st_mtime, desk.clock.now().tzinfo), status.st_size)
        )
    return sorted(found, key=lambda one: one.made_at, reverse=True)


def _add_backups(desk: Desk) -> None:
    site = desk.site

    @site.page("/backup")
    def backups(_visit: Visit) -> Answer:
        with desk.look() as station:
            return Page(
                "backup.html",
                items=_backups(desk),
                folder=desk.home.backups,
                sizes=size_words,
                standing=desk.standing(station, ()),
            )

    @site.action("/backup")
    def backup(visit: Visit) -> Answer:
        def do(station: Station, _progress: Progress) -> Done:
            made = station.backup()
            return Done(
                Text("备份完成", "The backup is made"),
                facts=[
                    (Text("文件", "File"), made.path.name),
                    (Text("大小", "Size"), size_words(made.size_bytes)),
                    (Text("文件夹", "Folder"), made.path.parent),
                ],
                lines=[
                    Text(
                        "备份里有发票和报税记录，没有金税卡：卡只能有一张。",
                        "It holds invoices and records, and never the card: there is only one card.",
                    ),
                    Text(
                        "请再存一份到别的磁盘：在“备份”页下载。",
                        "Keep another one on another disk: download it from “Backups”.",
                    ),
                ],
            )

        return desk.start(visit, "backup", Text("数据备份", "Backing up"), do)

    @site.page("/backup/file/{name}")
    def download(visit: Visit) -> Answer:
        for one in _backups(desk):
            if one.name == visit.parts["name"]:
                return Download(one.name, "application/zip", _chunks(desk.home.backups / one.name))
        raise PageUnknown

    @site.page("/restore/{name}")
    def restore_page(visit: Visit) -> Answer:
        one = next((b for b in _backups(desk) if b.name == visit.parts["name"]), None)
        if one is None:
            raise PageUnknown
        return Page("restore.html", one=one, sizes=size_words)

    @site.action("/restore", max_bytes=_MAX_BACKUP)
    def restore(visit: Visit) -> Answer:
        desk.need(visit, Right.MANAGE)
        if visit.form.get("sure") != "yes":
            raise NothingChosen(what=Text("确认恢复的方框", "the box that says you are sure"))
        uploads = visit.files.get("file", ())
        if uploads:
            folder, (path, *_) = desk.keep_uploads(uploads)
        else:
            name = visit.form.get("name", "")
            if name not in [one.name for one in _backups(desk)]:
                raise NothingChosen(what=Text("备份文件", "a backup"))
            folder, path = desk.home.page / "none", desk.home.backups / name

        def do(_progress: Progress) -> Done:
            with thrown_away(folder):
                made, kept, behind = Station.restore(desk.home, path, desk.clock)
            with desk.hold() as station:
                station.store.note(desk.clock.now(), "operator", name=visit.session.operator, action="restore")
            warnings = []
            if behind:
                months = "、".join(month_words(month).zh for month in sorted(behind))
                warnings.append(
                    Text(
                        f"{months}的发票明细比卡上少：请重新导入这些月份的清单。",
                        f"The detail of {', '.join(sorted(behind))} is less than the card counted: import those months' lists again.",
                    )
                )
            return Done(
                Text(
                    f"已恢复 {made.made_at[:16].replace('T', ' ')} 的备份",
                    f"The backup of {made.made_at[:16].replace('T', ' ')} is restored",
                ),
                not warnings,
                facts=[(Text("恢复前的数据保存在", "What was there before is kept in"), kept)],
                lines=[
                    Text(
                        "金税卡没有回退：卡上的计数和状态不变。",
                        "The card was not rolled back: its counts and state are unchanged.",
                    )
                ],
                warnings=warnings,
            )

        return desk.start_apart(visit, "restore", Text("恢复备份", "Restoring"), do)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(1 << 16):
            yield chunk


# The check, the folders, the log


def _add_check(desk: Desk) -> None:
    site = desk.site

    @site.page("/check")
    def check(visit: Visit) -> Answer:
        with desk.look() as station:
            findings = [
                Finding(f.name, f.ok, f.what, on_page(f.detail), on_page(f.remedy) if f.remedy else None)
                for f in examine_station(station)
            ]
            findings.append(_peers())
            return Page(
                "check.html",
                findings=findings,
                outbox=station.outbox,
                inbox=station.inbox,
                standing=desk.standing(station, ()),
                reading=station.read(),
            )

    @site.action("/folders")
    def folders(visit: Visit) -> Answer:
        desk.need(visit, Right.MANAGE)
        outbox, inbox = (
            Path(text) if (text := visit.form.get(name, "").strip()) else None for name in ("outbox", "inbox")
        )

        def do(_progress: Progress) -> Done:
            done = Station.initialise(desk.home, None, desk.clock, outbox=outbox, inbox=inbox)
            if done.changed:
                return Done(Text("文件夹已改", "The folders are changed"))
            return Done(Text("文件夹没有变化", "The folders are the same as before"), None)

        return desk.start_apart(visit, "folders", Text("改文件夹", "Changing the folders"), do)

    @site.page("/log")
    def log(_visit: Visit) -> Answer:
        with desk.look() as station:
            path, _ = export_log(station, None)
        return Download(path.name, "text/csv; charset=utf-8", _chunks(path))


def _peers() -> Finding:
    what = Text("页面只给本用户", "the page is this user's only")
    if can_tell():
        return Finding(
            "page", True, what, Text("系统核对每个连接属于哪个用户", "the system tells whose each connection is")
        )
    return Finding(
        "page",
        False,
        what,
        Text("此系统不能核对连接属于哪个用户", "this system does not tell whose a connection is"),
        Text("多人共用的电脑上请不要使用页面", "do not use the page on a PC with several users"),
    )
