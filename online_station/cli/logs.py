"""The service's logs: hand them over for support, and say how much is kept."""

from __future__ import annotations

from pathlib import Path

import click

from online_station.cli import base
from online_station.cli.base import program
from online_station.cli.checks import examine
from online_station.shell.home import Home
from online_station.shell.log import (
    LEAST_BYTES,
    MOST_BYTES,
    MOST_KEPT,
    LogSettings,
    read_log_settings,
    write_log_settings,
)
from online_station.shell.log_export import export_logs
from online_station.shell.setup import opened
from shared.cli import FILE, Context, Outcome, argument, option
from shared.text import Text

_log = program.group(
    "log", Text("日志：导出给维护人员，设置保留多少", "the logs: hand them over, say how much is kept")
)


@_log.verb(
    "export",
    Text(
        "把日志和 doctor 的结果打成一个 zip，交给维护人员\n\n里面没有报税内容、口令、密钥，也没有机器人的地址。",
        "put the logs and doctor's findings into a zip for support\n\n"
        "No content of reports is in it, no PIN, no key and no robot's address.",
    ),
    argument("file", type=FILE, required=False, metavar="[FILE.zip]", help=Text("写到哪里", "where to write it")),
)
def log_export(context: Context, file: Path | None) -> Outcome:
    """Export the logs."""
    home, now = Home(context.home), base.CLOCK.now()
    target = Path(f"taxferry-log-{now:%Y%m%d-%H%M%S}.zip") if file is None else file
    with opened(home) as store:
        names = export_logs(home, store, examine(home), target.absolute(), now)
    return Outcome(
        {"file": str(target.absolute()), "entries": names},
        [
            Text(
                f"已写入 {target.absolute()}（{len(names)} 个文件）",
                f"written to {target.absolute()} ({len(names)} files)",
            )
        ],
        Text("打开看一眼，然后交给维护人员", "have a look at it, then hand it to the maintainers"),
    )


@_log.verb(
    "set",
    Text(
        "设置日志保留多少；不带选项时只显示。服务下次启动时生效",
        "set how much is kept, or show it; the service goes by it after its next start",
    ),
    option(
        "--size-mb",
        type=click.IntRange(1, MOST_BYTES >> 20),
        metavar="N",
        help=Text("一个文件写到多少 MB 就换新的", "a file of so many MB is put aside and a new one begun"),
    ),
    option(
        "--files",
        type=click.IntRange(1, MOST_KEPT),
        metavar="N",
        help=Text("换下来的文件保留多少个", "how many files that were put aside are kept"),
    ),
)
def log_set(context: Context, size_mb: int | None, files: int | None) -> Outcome:
    """Set how much is kept."""
    with opened(Home(context.home)) as store:
        before = read_log_settings(store)
        after = LogSettings(
            before.max_bytes if size_mb is None else max(LEAST_BYTES, size_mb << 20),
            before.kept if files is None else files,
        )
        if after != before:
            write_log_settings(store, after)
    size = after.max_bytes / (1 << 20)
    return Outcome(
        {"max_bytes": after.max_bytes, "kept": after.kept},
        [
            Text(
                f"日志每 {size:g} MB 换一个文件，另保留 {after.kept} 个旧的",
                f"a new file of the log is begun every {size:g} MB, and {after.kept} old ones are kept",
            )
        ],
    )
