"""Back the station up, restore it, move it to another PC."""

from __future__ import annotations

import tempfile
from pathlib import Path

from online_station.cli import base
from online_station.cli.base import program
from online_station.core.advice import STATE_WORDS
from online_station.shell.backup import Backup, check_backup, make_backup, restore, retire
from online_station.shell.home import Home
from online_station.shell.setup import opened
from shared.cli import FILE, FOLDER, Context, Outcome, argument, option
from shared.clock import format_time, readable_time
from shared.errors import UsageError
from shared.keys.secret import Secret, read_pin_file
from shared.states import OnlineState
from shared.text import Text

_PASSPHRASE = option(
    "--passphrase-file",
    type=FILE,
    metavar="FILE",
    help=Text("备份口令文件（一行）", "a file that holds the backup's passphrase (one line)"),
)
_FEWEST_LETTERS = 8


def _passphrase(file: Path | None, *, new: bool) -> Secret | None:
    if file is None:
        return None
    passphrase = read_pin_file(file)
    if new and len(passphrase.reveal_secret()) < _FEWEST_LETTERS:
        raise UsageError(
            reason=Text(
                f"备份口令至少 {_FEWEST_LETTERS} 个字符：备份里有企业密钥",
                f"the passphrase needs {_FEWEST_LETTERS} characters at least: the backup holds the enterprise key",
            ),
            command="online-station backup",
        )
    return passphrase


def _data(backup: Backup) -> dict[str, object]:
    return {
        "file": str(backup.path),
        "made_at": format_time(backup.made_at),
        "station": backup.station,
        "taxpayer_id": backup.taxpayer_id,
        "bytes": backup.size_bytes,
        "files": backup.files,
        "keys": backup.keys,
        "locked": backup.locked,
        "has_database": backup.has_database,
        "reports": dict(backup.reports),
    }


def _lines(backup: Backup) -> list[Text]:
    at = readable_time(backup.made_at)
    lines = [
        Text(
            f"{backup.path}：{at} 的备份，文件 {backup.files} 个，{backup.size_bytes:,} 字节，完整",
            f"{backup.path}: of {at}, {backup.files} files, {backup.size_bytes:,} bytes, whole",
        ),
        Text(
            f"已用口令加密，含密钥 {backup.keys} 个" if backup.locked else "没有加密，不含密钥和口令",
            f"locked with a passphrase, {backup.keys} key(s)" if backup.locked else "not locked, without keys and PINs",
        ),
    ]
    for state, count in sorted(backup.reports.items()):
        words = STATE_WORDS[OnlineState(state)]
        lines.append(Text(f"  {words.zh}：{count}", f"  {words.en}: {count}"))
    return lines


@program.verb(
    "backup",
    Text(
        "备份整个上网机（服务运行时也可以）\n\n有 --passphrase-file 时加密，并含密钥；没有时不含密钥和口令。",
        "back the whole station up, also while the service runs\n\n"
        "With --passphrase-file it is locked and holds the keys; without, keys and PINs are left out.",
    ),
    argument("file", type=FILE, help=Text("新文件，或一个文件夹", "a new file, or a folder")),
    _PASSPHRASE,
    option("--without-archive", is_flag=True, help=Text("不含归档文件", "leave archives out")),
    option(
        "--retire",
        "retire_it",
        is_flag=True,
        help=Text(
            "迁到另一台电脑：备份后本机不再工作（先停止服务）",
            "to move to another PC: afterwards this one works no more (stop the service first)",
        ),
    ),
)
def backup(
    context: Context, file: Path, passphrase_file: Path | None, without_archive: bool, retire_it: bool
) -> Outcome:
    """Back up."""
    home, now = Home(context.home), base.CLOCK.now()
    passphrase = _passphrase(passphrase_file, new=True)
    with opened(home) as store:
        make = retire if retire_it else make_backup
        made = make(
            home,
            store,
            file.absolute(),
            now,
            passphrase=passphrase,
            with_archive=not without_archive,
            progress=context.progress,
        )
        shared = store.is_shared
    lines, follow = _lines(made), Text("把备份放到另一个介质保存", "keep it on another medium")
    if shared:
        lines.append(
            Text(
                "数据库在 PostgreSQL 上，不在这个文件里：先执行 pg_dump --format=custom --file 文件 数据库地址，再做本备份",
                "the database is on PostgreSQL and not in this file: run pg_dump --format=custom --file FILE URL first",
            )
        )
    if retire_it:
        lines.append(Text("本机已停用", "this PC's station is retired"))
        follow = Text(
            "在新电脑上执行 online-station --home 新文件夹 restore 备份文件",
            "on the new PC, run online-station --home DIR restore FILE",
        )
    return Outcome({**_data(made), "retired": retire_it}, lines, follow)


@program.verb(
    "restore",
    Text(
        "从备份恢复到空文件夹（--home）\n\n恢复后，所有未完成的报告都先向税局询问，再决定是否上传。",
        "restore a backup into an empty home\n\n"
        "Afterwards every report under way is asked about before anything is sent.",
    ),
    argument("file", type=FILE, help=Text("备份文件", "the backup")),
    _PASSPHRASE,
    option("--check", is_flag=True, help=Text("只核对备份，不恢复", "prove the backup and change nothing")),
    option("--replace", is_flag=True, help=Text("现有的站移到旁边保留", "move the station that is there aside")),
    option("--inbox", type=FOLDER, metavar="DIR", help=Text("新的收件文件夹", "where files arrive from now on")),
    option("--outbox", type=FOLDER, metavar="DIR", help=Text("新的发件文件夹", "where results go from now on")),
    option("--database", metavar="URL", help=Text("共用的数据库地址", "the database that nodes share")),
    option(
        "--database-restored",
        is_flag=True,
        help=Text("该数据库也是从转储恢复的", "that database was restored from a dump, too"),
    ),
)
def restore_station(
    context: Context,
    file: Path,
    passphrase_file: Path | None,
    check: bool,
    replace: bool,
    inbox: Path | None,
    outbox: Path | None,
    database: str | None,
    database_restored: bool,
) -> Outcome:
    """Restore."""
    passphrase = _passphrase(passphrase_file, new=False)
    if check:
        with tempfile.TemporaryDirectory(prefix="taxferry-") as scratch:  # the backup's own medium is read by others
            found = check_backup(file, passphrase, Path(scratch))
        return Outcome(_data(found), _lines(found), Text("备份可用", "the backup can be used"))
    done = restore(
        Home(context.home),
        file,
        base.CLOCK.now(),
        passphrase=passphrase,
        replacing=replace,
        inbox=inbox,
        outbox=outbox,
        database=database,
        database_restored=database_restored,
        progress=context.progress,
    )
    lines = [
        *_lines(done.backup),
        Text(f"收件文件夹 {done.inbox}", f"inbox {done.inbox}"),
        Text(f"发件文件夹 {done.outbox}", f"outbox {done.outbox}"),
        Text(f"将先向税局询问的报告 {done.asked} 个", f"{done.asked} report(s) are asked about first"),
    ]
    if done.aside is not None:
        lines.append(Text(f"原来的站保留在 {done.aside}", f"what was here before lies in {done.aside}"))
    return Outcome(
        {
            **_data(done.backup),
            "asked": done.asked,
            "inbox": str(done.inbox),
            "outbox": str(done.outbox),
            "aside": None if done.aside is None else str(done.aside),
        },
        lines,
        Text("执行 doctor 检查环境，然后 once 或 run", "run doctor, then once or run"),
        done.warnings,
    )
