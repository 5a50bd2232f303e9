"""Archives of what is finished."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import click

from online_station.cli import base
from online_station.cli.base import program
from online_station.cli.words import item, line_of
from online_station.core.story import happened
from online_station.shell import archive
from online_station.shell.archived import archives
from online_station.shell.home import Home
from online_station.shell.quiet_hour import archive_days, archive_folder, parse_daily
from online_station.shell.retired import refuse_if_retired
from online_station.shell.setup import opened, read_settings
from shared.cli import FOLDER, Context, Outcome, argument, option
from shared.clock import CHINA, format_time, readable_time
from shared.errors import UsageError
from shared.states import OnlineState
from shared.text import Text, both

_archive = program.group("archive", Text("归档：已完成的报告按月移入归档文件", "move finished reports into archives"))
_ID = argument("wanted", metavar="ID", help=Text("摘要、摘要开头或文件名", "digest, its start, or file name"))
_KEEP_A_COPY = Text(
    "把归档文件再复制一份到别的介质保存；不要改名，不要改动",
    "keep a second copy of the archives on another medium; do not rename or change them",
)


@_archive.verb(
    "run",
    Text(
        "把早已完成的报告、隔离文件和旧日志移入归档文件\n\n"
        "只动已清卡或已放弃的报告；归档读回核对无误后才删除原文件。随时可以再执行一次。",
        "move what was finished long ago, what was set aside and old logs into archives\n\n"
        "Only reports that were cleared or given up; nothing is removed before the archive was read back. Safe to run again.",
    ),
    option(
        "--older-than",
        type=click.IntRange(0, 36500),
        metavar="DAYS",
        help=Text("完成后满多少天；默认按设置（180）", "days since it was finished; as set (180) by default"),
    ),
    option("--dry-run", is_flag=True, help=Text("只数一数，不动", "count only")),
)
def archive_run(context: Context, older_than: int | None, dry_run: bool) -> Outcome:
    """Archive."""
    home, now = Home(context.home), base.CLOCK.now()
    with opened(home) as store:
        refuse_if_retired(store)
        settings = read_settings(home, store)
        folder = archive_folder(home, store)
        days = archive_days(store) if older_than is None else older_than
        archivist = archive.Archivist(
            home,
            store,
            station=settings.station_id,
            folder=folder,
            outbox=settings.outbox,
            progress=context.progress,
        )
        if dry_run:
            reports, others = archivist.finished(now, older_than=timedelta(days=days))
            return Outcome(
                {"reports": reports, "others": others, "days": days, "archives": []},
                [
                    Text(
                        f"完成满 {days} 天：报告 {reports} 个，其他文件 {others} 个；没有移动",
                        f"finished for {days} days: {reports} report(s), {others} other file(s); nothing was moved",
                    )
                ],
            )
        done = archivist.run(now, older_than=timedelta(days=days))
    return Outcome(
        {
            "archives": [str(path) for path in done.archives],
            "reports": done.reports,
            "others": done.others,
            "removed_bytes": done.removed_bytes,
            "days": days,
        },
        [
            Text(
                f"已归档报告 {done.reports} 个，其他文件 {done.others} 个，腾出 {done.removed_bytes:,} 字节",
                f"{done.reports} report(s) and {done.others} other file(s) archived, {done.removed_bytes:,} bytes freed",
            ),
            *(both(f"  {path}") for path in done.archives),
        ],
        next_action=_KEEP_A_COPY if done.archives else None,
        warnings=done.problems,
    )


@_archive.verb(
    "list",
    Text("列出归档文件", "list the archives"),
    option("--check", is_flag=True, help=Text("从头到尾读一遍，逐个核对", "read each from end to end and prove it")),
)
def archive_list(context: Context, check: bool) -> Outcome:
    """List archives."""
    home = Home(context.home)
    with opened(home) as store:
        folder = archive_folder(home, store)
        rows = archives(store)
        verdicts = {row.name: error for row, error in archive.check(store, folder)} if check else {}
    lines = []
    for row in rows:
        mark = Text("", "")
        if check:
            mark = Text("  完好", "  sound") if verdicts[row.name] is None else Text("  不可用", "  NOT usable")
        lines.append(
            Text(
                f"{row.name}  报告 {row.reports}，其他 {row.others}，{row.size_bytes:,} 字节{mark.zh}",
                f"{row.name}  {row.reports} report(s), {row.others} other, {row.size_bytes:,} bytes{mark.en}",
            )
        )
    return Outcome(
        {
            "folder": str(folder),
            "items": [
                {
                    "name": row.name,
                    "file": str(archive.path_of(row, folder)),
                    "present": archive.path_of(row, folder).is_file(),
                    "period": row.period,
                    "made_at": format_time(row.made_at),
                    "reports": row.reports,
                    "others": row.others,
                    "bytes": row.size_bytes,
                    "sha256": row.sha256,
                    **({"sound": verdicts[row.name] is None} if check else {}),
                }
                for row in rows
            ],
        },
        lines or [Text("还没有归档", "there are no archives yet")],
        errors=[error for error in verdicts.values() if error is not None],
    )


@_archive.verb("show", Text("查看归档中一个报告的全过程", "the life-line of a report in an archive"), _ID)
def archive_show(context: Context, wanted: str) -> Outcome:
    """Show a report in an archive."""
    home = Home(context.home)
    with opened(home) as store:
        row = store.find(wanted)
        known, path, facts = archive.facts_of(store, archive_folder(home, store), row)
    lines = [
        row.header.name.in_words,
        Text(f"报告摘要：{row.digest}", f"report digest: {row.digest}"),
        Text(f"归档文件：{path}", f"archive: {path}"),
    ]
    for event in facts["events"]:
        at = readable_time(_moment(event["at"]))
        words = happened(
            event["event"], OnlineState(event["from_state"]), OnlineState(event["to_state"]), event["note"]
        )
        lines.append(Text(f"  {at}  {words.zh}", f"  {at}  {words.en}"))
    return Outcome(
        {
            **item(row),
            "archive": known.name,
            "file": str(path),
            "events": [
                {
                    "at": format_time(_moment(e["at"])),
                    "event": e["event"],
                    "from": e["from_state"],
                    "to": e["to_state"],
                    "note": e["note"],
                }
                for e in facts["events"]
            ],
            "results": [{k: r[k] for k in ("result_no", "outcome", "code", "body_sha256")} for r in facts["results"]],
            "acks": [{k: a[k] for k in ("state", "sha256", "message")} for a in facts["acks"]],
        },
        lines,
        Text(
            f"需要原文件时执行 archive restore {row.header.name.stem}",
            f"to have its files again, run archive restore {row.header.name.stem}",
        ),
    )


@_archive.verb("restore", Text("从归档取回一个报告", "bring a report back out of its archive"), _ID)
def archive_restore(context: Context, wanted: str) -> Outcome:
    """Bring a report back."""
    home = Home(context.home)
    with opened(home) as store:
        refuse_if_retired(store)
        row = store.find(wanted)
        known = archive.bring_back(home, store, archive_folder(home, store), row, base.CLOCK.now())
        row = store.find(row.digest)
    return Outcome(
        {**item(row), "archive": known.name},
        [
            line_of(row),
            Text(f"已从 {known.name} 取回；归档文件没有改动", f"brought back from {known.name}, which was not changed"),
        ],
        Text("执行 show 查看全过程", "run show for its life-line"),
    )


@_archive.verb(
    "auto",
    Text("让服务每天在空闲时刻自动归档", "let the service archive by itself once a day"),
    option("--at", metavar="HH:MM", help=Text("每天的时刻，如 02:30", "when, such as 02:30")),
    option(
        "--after",
        type=click.IntRange(1, 36500),
        metavar="DAYS",
        help=Text("完成后满多少天；默认 180", "days since it was finished; 180 by default"),
    ),
    option(
        "--folder",
        type=FOLDER,
        metavar="DIR",
        help=Text("归档文件夹；默认在数据文件夹的 archive", "where archives lie; archive in the home by default"),
    ),
    option("--off", is_flag=True, help=Text("不再自动归档", "stop doing so")),
)
def archive_auto(context: Context, at: str | None, after: int | None, folder: Path | None, off: bool) -> Outcome:
    """Set when and what the service archives."""
    if off and at is not None:
        raise UsageError(
            reason=Text("--at 和 --off 只能用一个", "--at and --off contradict each other"),
            command="online-station archive auto",
        )
    values: dict[str, str] = {}
    if off:
        values["archive_at"] = ""
    elif at is not None:
        values["archive_at"] = f"{parse_daily(at):%H:%M}"
    if after is not None:
        values["archive_after_days"] = str(after)
    home = Home(context.home)
    with opened(home) as store:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            values["archive_folder"] = str(folder.absolute())
        store.set(**values)
        daily, days, where = store.setting("archive_at") or "", archive_days(store), archive_folder(home, store)
    line = (
        Text(f"服务每天 {daily} 归档完成满 {days} 天的报告", f"the service archives at {daily} what is {days} days old")
        if daily
        else Text("服务不自动归档；可随时执行 archive run", "the service does not archive; run archive run at any time")
    )
    return Outcome({"at": daily, "days": days, "folder": str(where)}, [line, both(str(where))])


def _moment(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, CHINA)
