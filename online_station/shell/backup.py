"""Back up the whole station into one file while it works, and restore it here or on another PC.

The database is copied first, as one transaction sees it; then every file. The service only adds files meanwhile, so
whatever the database speaks of is in the backup. Keys and PINs go into it only if it is locked with a passphrase.

A backup may be older than the truth: after a restore every report that is under way is asked about before anything is
sent, so nothing is uploaded twice and nothing is forgotten.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import sqlite3
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final, cast

import sqlalchemy as sa

from online_station.core.decide import DEFAULT_POLICY, Restored
from online_station.shell.home import Home
from online_station.shell.locked_stream import Locking, is_locked, unlock_file
from online_station.shell.node import Node, read_node, write_node
from online_station.shell.register import Company, Register
from online_station.shell.retired import RETIRED
from online_station.shell.schema import ARCHIVE, COMPANY, SCHEMA_VERSION, SETTING
from online_station.shell.setup import Settings, read_settings
from online_station.shell.store import Store
from shared.clock import format_time, parse_time
from shared.durable import TEMPORARY_SUFFIX, copy_durably, publish, sweep, sync_directory, temporary_beside
from shared.errors import (
    ConfigurationError,
    FileMissing,
    HomeNotEmpty,
    MediumFull,
    PassphraseWrong,
    StationBackupInvalid,
)
from shared.keys.secret import Secret
from shared.states import ONLINE_TERMINAL, OnlineState
from shared.text import Text

SUFFIX: Final = ".backup"
FORMAT: Final = "taxferry-online-backup/1"
_MANIFEST: Final = "manifest.json"
_DATABASE: Final = "station.db"
_NODE: Final = "node.json"
_FOLDERS: Final = ("trust", "quarantine", "results", "spool", "archive")
_MEMBER: Final = re.compile(
    r"(station\.db|node\.json|(trust|quarantine|results|spool|archive|inbox|outbox|keys)(/[^/\\\x00]+){1,3})"
)
_MAX_MANIFEST: Final = 256 << 20
_CHUNK: Final = 1 << 20
_ROOM: Final = 16 << 20
_OVER: Final = ONLINE_TERMINAL | {OnlineState.CANCELLED}
_WORK: Final = ".restoring"
Progress = Callable[[int, int | None, Text], None]
_COPYING: Final = Text("备份（字节）", "backing up (bytes)")
_LAYING: Final = Text("恢复（字节）", "restoring (bytes)")


def _silent(_done: int, _total: int | None, _what: Text) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Backup:
    """A backup that was made or proven.

    Attributes:
        path: The file.
        made_at: When.
        station: The station's name.
        taxpayer_id: Whose key it works with.
        size_bytes: Its length.
        files: How many files it holds.
        keys: How many keys it holds.
        locked: Whether it opens with a passphrase only.
        has_database: Whether the database is in it; one on a server is not.
        reports: How many reports there are, by state.
    """

    path: Path
    made_at: datetime
    station: str
    taxpayer_id: str
    size_bytes: int
    files: int
    keys: int
    locked: bool
    has_database: bool
    reports: Mapping[str, int]


@dataclass(frozen=True)
class _Key:
    taxpayer_id: str  # empty: the station's own
    key: Path
    pin_file: Path


@dataclass
class Put:
    """What a restore came to.

    Attributes:
        backup: What was restored.
        asked: How many reports are asked about before anything is sent.
        inbox: Where files arrive now.
        outbox: Where results go now.
        aside: Where the station that was here before lies now, if there was one.
        warnings: What a person has to see to.
    """

    backup: Backup
    asked: int
    inbox: Path
    outbox: Path
    aside: Path | None = None
    warnings: list[Text] = field(default_factory=list)


# Making


def make_backup(
    home: Home,
    store: Store,
    target: Path,
    now: datetime,
    *,
    passphrase: Secret | None = None,
    with_archive: bool = True,
    progress: Progress = _silent,
) -> Backup:
    """Write everything of a station into one new file and prove it.

    Args:
        home: The station; it may be at work.
        store: Its database.
        target: The file; or a folder, in which it gets a name.
        now: The time.
        passphrase: What locks it; without one, keys and PINs are left out.
        with_archive: Whether archives go into it.
        progress: Told how far it is.

    Raises:
        ConfigurationError: There is such a file already.
        MediumFull: There is no room.
        StationBusy: Finished files are being moved just now.
        StationBackupInvalid: What was written could not be read back.
    """
    settings = read_settings(home, store)
    if target.is_dir():
        target = target / f"taxferry-online_{settings.taxpayer_id}_{now:%Y%m%d%H%M%S}{SUFFIX}"
    if target.exists():
        raise ConfigurationError(reason=Text(f"文件 {target} 已存在，换一个文件名", f"{target} exists; name another"))
    target.parent.mkdir(parents=True, exist_ok=True)
    with home.tidying():
        sweep(home.root)
        snapshot = home.root / f".snapshot{TEMPORARY_SUFFIX}"
        snapshot.unlink(missing_ok=True)
        temporary = temporary_beside(target)
        try:
            if not store.is_shared:
                _snapshot(home.database, snapshot)
            found = dict(_members(home, settings, with_archive))
            if snapshot.exists():
                found = {_DATABASE: snapshot, **found}
            keys = _keys(settings, Register(store).companies()) if passphrase is not None else []
            if passphrase is not None and home.node_file.is_file():
                found[_NODE] = home.node_file  # it holds the way to the database, with its password
            total = sum(path.stat().st_size for path in found.values() if path.is_file())
            free = shutil.disk_usage(target.parent).free
            if free < total + _ROOM:
                raise MediumFull(needed=total + _ROOM, free=free)
            facts = {
                "format": FORMAT,
                "made_at": format_time(now),
                "station": settings.station_id,
                "taxpayer_id": settings.taxpayer_id,
                "schema": SCHEMA_VERSION,
                "home": str(home.root.absolute()),
                "settings": {"inbox": str(settings.inbox), "outbox": str(settings.outbox)},
                "reports": dict(Counter(row.state.value for row in store.reports())),
            }
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
            with os.fdopen(handle, "wb") as file:
                _write(file, passphrase, found, keys, facts, total, progress)
            snapshot.unlink(missing_ok=True)
            made = check_backup(temporary, passphrase, home.root)
            publish(temporary, target)
        finally:
            snapshot.unlink(missing_ok=True)
            temporary.unlink(missing_ok=True)
    return replace(made, path=target)


def retire(home: Home, store: Store, target: Path, now: datetime, **more: Any) -> Backup:
    """Back up a station for the last time: from then on it works no more here.

    Raises:
        StationBusy: The service is at work. Nothing was done.
        ConfigurationError: It is one of several nodes. Nothing was done.
    """
    if store.is_shared:
        raise ConfigurationError(
            reason=Text(
                "几台上网机共用一个数据库时不用迁移：在新电脑上 init --database，再停用这一台即可",
                "nodes that share a database are not moved: run init --database on the new PC and stop this one",
            )
        )
    with home.locked():
        made = make_backup(home, store, target, now, **more)
        store.set(**{RETIRED: format_time(now)})
    return made


def _snapshot(source: Path, target: Path) -> None:
    """Copy a database as one transaction sees it, whoever else writes to it."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")


def _members(home: Home, settings: Settings, with_archive: bool) -> Iterator[tuple[str, Path]]:
    """Yield what is to be copied: the inbox first, whose files may move into the spool meanwhile."""
    for name, folder in (("inbox", settings.inbox), ("outbox", settings.outbox)):
        for path in _files(folder, depth=2):
            yield f"{name}/{path.relative_to(folder).as_posix()}", path
    for name in _FOLDERS:
        folder = home.root / name
        if name != "archive" or with_archive:
            for path in _files(folder, depth=1):
                yield f"{name}/{path.name}", path


def _files(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.is_symlink() or entry.name.endswith(TEMPORARY_SUFFIX):
            continue
        if entry.is_file():
            yield Path(entry.path)
        elif depth > 1 and entry.is_dir() and not entry.name.startswith("."):
            yield from _files(Path(entry.path), depth - 1)


def _keys(settings: Settings, companies: list[Company]) -> list[_Key]:
    found = [_Key("", settings.key, settings.pin_file)]
    found += [_Key(c.taxpayer_id, Path(c.key), Path(c.pin_file)) for c in companies if c.key]
    return found


def _write(
    file: IO[bytes],
    passphrase: Secret | None,
    found: Mapping[str, Path],
    keys: list[_Key],
    facts: dict[str, Any],
    total: int,
    progress: Progress,
) -> None:
    target = file if passphrase is None else cast("IO[bytes]", Locking(file, passphrase))
    members: dict[str, dict[str, object]] = {}
    done = 0
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:

        def add(name: str, path: Path) -> bool:
            nonlocal done
            digest, size = hashlib.sha256(), 0
            try:
                reader = path.open("rb")
            except FileNotFoundError:
                return False  # the service has moved it on; what it moved it to is copied later
            packed = zipfile.ZIP_DEFLATED if name == _DATABASE else zipfile.ZIP_STORED
            info = zipfile.ZipInfo(name)
            info.compress_type = packed
            info.external_attr = 0o600 << 16
            with reader, archive.open(info, "w", force_zip64=True) as writer:
                while block := reader.read(_CHUNK):
                    digest.update(block)
                    size += len(block)
                    writer.write(block)
                    done += len(block)
                    progress(min(done, total), total, _COPYING)
            members[name] = {"sha256": digest.hexdigest(), "bytes": size}
            return True

        for name, path in found.items():
            add(name, path)
        facts["keys"] = []
        for number, each in enumerate(keys):
            key, pin = f"keys/{number}.p12", f"keys/{number}.pin"
            if add(key, each.key) and add(pin, each.pin_file):
                facts["keys"].append(
                    {
                        "taxpayer_id": each.taxpayer_id,
                        "key": key,
                        "pin": pin,
                        "paths": [str(each.key), str(each.pin_file)],
                    }
                )
        facts["members"] = members
        archive.writestr(_MANIFEST, json.dumps(facts, ensure_ascii=False, indent=1))
    if passphrase is not None:
        target.close()
    file.flush()
    os.fsync(file.fileno())


# Proving


def check_backup(path: Path, passphrase: Secret | None, scratch: Path) -> Backup:
    """Read a backup from end to end; nothing is changed.

    Args:
        path: The file.
        passphrase: What opens it, if it is locked.
        scratch: A folder on this PC, where a locked one is opened for the while.

    Raises:
        FileMissing: There is no such file.
        PassphraseWrong: It is locked, and this does not open it.
        StationBackupInvalid: It is no backup of an Internet PC, or incomplete or altered.
    """
    with _open(path, passphrase, scratch) as (archive, manifest):
        for name in manifest["members"]:
            for _ in _read(archive, manifest, name):
                pass
        return _described(path, manifest)


def _described(path: Path, manifest: Mapping[str, Any]) -> Backup:
    return Backup(
        path,
        parse_time(manifest["made_at"]),
        str(manifest["station"]),
        str(manifest["taxpayer_id"]),
        path.stat().st_size,
        len(manifest["members"]),
        len(manifest["keys"]),
        is_locked(path),
        _DATABASE in manifest["members"],
        {str(state): int(count) for state, count in manifest["reports"].items()},
    )


@contextlib.contextmanager
def _open(path: Path, passphrase: Secret | None, scratch: Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, Any]]]:
    if not path.is_file():
        raise FileMissing(what=path)
    opened, plain = path, None
    try:
        if is_locked(path):
            if passphrase is None:
                raise PassphraseWrong(reason=Text("还没有给出口令", "no passphrase was given"))
            plain = scratch / f".opened-{os.getpid()}{TEMPORARY_SUFFIX}"
            plain.unlink(missing_ok=True)
            unlock_file(path, plain, passphrase)
            opened = plain
        with zipfile.ZipFile(opened) as archive:
            yield archive, _manifest(archive)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        KeyError,
        ValueError,
        TypeError,
        RuntimeError,
    ) as error:
        raise _invalid("不是完整的备份文件", "it is no whole backup") from error
    finally:
        if plain is not None:
            plain.unlink(missing_ok=True)


def _manifest(archive: zipfile.ZipFile) -> dict[str, Any]:
    if archive.getinfo(_MANIFEST).file_size > _MAX_MANIFEST:
        raise _invalid("清单过大", "its manifest is too large")
    with archive.open(_MANIFEST) as file:
        found = json.loads(file.read(_MAX_MANIFEST))
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise _invalid(
            "不是上网机的备份，或格式版本不认识", "it is no backup of an Internet PC, or of an unknown format"
        )
    members = found["members"]
    if sorted(archive.namelist()) != sorted([*members, _MANIFEST]):
        raise _invalid("内含的文件与清单不符", "its files are not those of its manifest")
    for name in members:
        if not _MEMBER.fullmatch(name) or any(part in ("", ".", "..") for part in name.split("/")):
            raise _invalid("内含不认识的文件", "it has a file that no station has")
    return found


def _read(archive: zipfile.ZipFile, manifest: Mapping[str, Any], name: str) -> Iterator[bytes]:
    said = manifest["members"][name]
    if archive.getinfo(name).file_size != said["bytes"]:
        raise _invalid(f"{name} 的大小不对", f"the size of {name} is not what the manifest says")
    digest = hashlib.sha256()
    with archive.open(name) as reader:
        while block := reader.read(_CHUNK):
            digest.update(block)
            yield block
    if digest.hexdigest() != said["sha256"]:
        raise _invalid(f"{name} 的校验值不对", f"the digest of {name} is not what the manifest says")


def _invalid(zh: str, en: str) -> StationBackupInvalid:
    return StationBackupInvalid(reason=Text(zh, en))


# Restoring


def restore(
    home: Home,
    path: Path,
    now: datetime,
    *,
    passphrase: Secret | None = None,
    replacing: bool = False,
    inbox: Path | None = None,
    outbox: Path | None = None,
    database: str | None = None,
    database_restored: bool = False,
    progress: Progress = _silent,
) -> Put:
    """Make the station of a backup in a home, and have everything that is under way asked about first.

    Killed anywhere, it is run again: the database takes its place last, and without it there is no station.

    Args:
        home: An empty home, or with `replacing` any.
        path: The backup.
        now: The time.
        passphrase: What opens it.
        replacing: Whether a station that is there is moved aside.
        inbox: Where files arrive from now on.
        outbox: Where results go from now on.
        database: URL of the database, if the backup is of a node.
        database_restored: Whether that database was restored from a dump: then its reports are asked about, too.
        progress: Told how far it is.

    Raises:
        HomeNotEmpty: There is a station and `replacing` was not said. Nothing was changed.
        StationBusy: That station is at work. Nothing was changed.
        StationBackupInvalid, PassphraseWrong, FileMissing: Nothing was changed.
        StoreDamaged: The backup was made by a newer release. Nothing was changed.
    """
    if not path.is_file():
        raise FileMissing(what=path)
    taken = home.database.exists() or home.node_file.exists()
    if taken and not replacing:
        raise HomeNotEmpty(home=home.root)
    home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with home.locked(), home.tidying():
        work = home.root / _WORK
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(mode=0o700)
        try:
            with _open(path, passphrase, work) as (archive, manifest):
                _lay(archive, manifest, work, progress)
                backup = _described(path, manifest)
            warnings: list[Text] = []
            old = Path(manifest["home"])
            new_inbox = inbox or _moved(manifest["settings"]["inbox"], old, home, home.default_inbox, warnings)
            new_outbox = outbox or _moved(manifest["settings"]["outbox"], old, home, home.default_outbox, warnings)
            places = _places(manifest, old, home)
            settings = {
                "inbox": str(new_inbox.absolute()),
                "outbox": str(new_outbox.absolute()),
                **{name: str(where_to) for name, where_to in places.own.items()},
            }
            put = Put(backup, 0, new_inbox, new_outbox, warnings=warnings)
            if backup.has_database:
                put.asked = _adopt(work / _DATABASE, settings, places, old, home, now, warnings)
            else:
                _write_node(work, settings, database, manifest)
            with_archive = any(name.startswith("archive/") for name in manifest["members"])
            put.aside = _move_aside(home, now, with_archive=with_archive) if taken else None
            _put_in_place(home, work, manifest, new_inbox, new_outbox, places)
            if put.aside is not None:
                warnings.extend(_newer(put.aside, home))
        finally:
            shutil.rmtree(work, ignore_errors=True)
    if not backup.has_database and database_restored:
        node = read_node(home)
        assert node is not None
        with closing(Store(node.database, DEFAULT_POLICY)) as store:
            put.asked = ask_about_all(store, now)
    return put


def ask_about_all(store: Store, now: datetime) -> int:
    """Have every report that is under way asked about before anything is sent; return how many there are."""
    rows = store.reports(frozenset(OnlineState) - _OVER)
    if not store.is_shared:
        store.end_leases(None)  # of whoever was at work when the backup was made
    for row in rows:
        store.apply(row.digest, Restored(), now)
    return len(rows)


@dataclass(frozen=True)
class _Places:
    """Where keys go: by member, and the settings and companies that name them."""

    files: dict[str, Path]
    own: dict[str, Path]
    companies: dict[str, tuple[Path, Path]]


def _places(manifest: Mapping[str, Any], old: Path, home: Home) -> _Places:
    files: dict[str, Path] = {}
    own: dict[str, Path] = {}
    companies: dict[str, tuple[Path, Path]] = {}
    for each in manifest["keys"]:
        name = each["taxpayer_id"] or "station"
        pair = []
        for member, path, suffix in zip((each["key"], each["pin"]), each["paths"], (".p12", ".pin"), strict=True):
            inside = Path(path).is_relative_to(old)
            pair.append(home.root / Path(path).relative_to(old) if inside else home.root / "keys" / f"{name}{suffix}")
            files[member] = pair[-1]
        if each["taxpayer_id"]:
            companies[each["taxpayer_id"]] = (pair[0], pair[1])
        else:
            own.update(key=pair[0], pin_file=pair[1])
    return _Places(files, own, companies)


def _moved(path: str, old: Path, home: Home, default: Path, warnings: list[Text]) -> Path:
    """Return where a folder of the old PC is on this one."""
    there = Path(path)
    if there.is_relative_to(old):
        return home.root / there.relative_to(old)
    if there.is_dir():
        return there
    warnings.append(
        Text(f"这台电脑上没有 {there}，改用 {default}", f"there is no {there} on this PC; {default} is used instead")
    )
    return default


def _lay(archive: zipfile.ZipFile, manifest: Mapping[str, Any], work: Path, progress: Progress) -> None:
    total = sum(int(said["bytes"]) for said in manifest["members"].values())
    free = shutil.disk_usage(work).free
    if free < total + _ROOM:
        raise MediumFull(needed=total + _ROOM, free=free)
    done = 0
    for name in manifest["members"]:
        target = work / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        with os.fdopen(handle, "wb") as writer:
            for block in _read(archive, manifest, name):
                writer.write(block)
                done += len(block)
                progress(done, total, _LAYING)
            writer.flush()
            os.fsync(writer.fileno())


def _adopt(
    database: Path,
    settings: Mapping[str, str],
    places: _Places,
    old: Path,
    home: Home,
    now: datetime,
    warnings: list[Text],
) -> int:
    """Make a database at home in another folder, and have what is under way asked about."""
    with closing(sqlite3.connect(database)) as copy:
        try:
            answer = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.DatabaseError as error:
            answer = str(error)
    if answer != "ok":
        raise _invalid("其中的数据库已损坏", "the database in it is damaged")
    with closing(Store(database, DEFAULT_POLICY)) as store:
        with store.writing() as connection:
            for name, value in settings.items():
                connection.execute(sa.update(SETTING).where(SETTING.c.name == name).values(value=value))
            connection.execute(sa.delete(SETTING).where(SETTING.c.name.in_((RETIRED, "trust_asked_at"))))
            for row in connection.execute(sa.select(COMPANY)).all():
                key, pin = places.companies.get(row.taxpayer_id, (row.key_file, row.pin_file))
                values = {"key_file": str(key), "pin_file": str(pin), "inbox": _within(row.inbox, old, home)}
                connection.execute(sa.update(COMPANY).where(COMPANY.c.taxpayer_id == row.taxpayer_id).values(**values))
            for row in connection.execute(sa.select(ARCHIVE.c.name, ARCHIVE.c.folder)).all():
                here = _within(row.folder, old, home)
                connection.execute(sa.update(ARCHIVE).where(ARCHIVE.c.name == row.name).values(folder=here))
            folder = connection.execute(sa.select(SETTING.c.value).where(SETTING.c.name == "archive_folder")).scalar()
            if folder:
                here = _within(folder, old, home)
                connection.execute(sa.update(SETTING).where(SETTING.c.name == "archive_folder").values(value=here))
        asked = ask_about_all(store, now)
        if not Path(store.setting("key") or "").is_file() and not places.own:
            warnings.append(
                Text(
                    "备份没有加密，所以不含密钥和口令：把它们放好后执行 init --key … --pin-file …",
                    "the backup is not locked and so holds no keys: put them here and run init --key … --pin-file …",
                )
            )
        named = [store.setting("ca_file") or "", *(company.inbox for company in Register(store).companies())]
        warnings.extend(
            Text(f"这台电脑上没有 {path}", f"there is no {path} on this PC")
            for path in named
            if path and not Path(path).exists() and not Path(path).is_relative_to(home.root)
        )
    with closing(sqlite3.connect(database)) as copy:  # one file, that one rename puts in place
        copy.execute("PRAGMA journal_mode = DELETE")
    return asked


def _within(path: str, old: Path, home: Home) -> str:
    inside = bool(path) and Path(path).is_relative_to(old)
    return str(home.root / Path(path).relative_to(old)) if inside else path


def _write_node(work: Path, settings: Mapping[str, str], database: str | None, manifest: Mapping[str, Any]) -> None:
    node = read_node(Home(work))
    address = database or ("" if node is None else node.database)
    if not address:
        raise ConfigurationError(
            reason=Text(
                "这是共用数据库的一台的备份：用 --database 写出数据库地址",
                "this is the backup of a node: name its database with --database",
            )
        )
    known = {"key": "", "pin_file": "", "proxy": "", "ca_file": ""} | ({} if node is None else dict(node.settings))
    # A name of its own: the machine of the backup may still be at work under its name.
    write_node(Home(work), replace(Node.new(address), settings=known | dict(settings)))
    manifest["members"].setdefault(_NODE, {})


def _newer(aside: Path, home: Home) -> Iterator[Text]:
    """Yield what is to be done about reports that arrived after the backup was made."""
    here = {path.name for path in home.spool.glob("*.dat")}
    newer = [path for path in (aside / "spool").glob("*.dat") if path.name not in here]
    if newer:
        yield Text(
            f"备份之后到达的报告 {len(newer)} 个在 {aside / 'spool'}：把这些 .dat 复制到收件文件夹，税局按摘要认得出已上传的",
            f"{len(newer)} report(s) that arrived after the backup lie in {aside / 'spool'}: copy these .dat into the "
            "inbox; the bureau knows by their digests which ones it has",
        )


def _move_aside(home: Home, now: datetime, *, with_archive: bool) -> Path:
    """Move the station that is here into a folder of its own, its database first; archives only if others come."""
    number = 1
    aside = home.root / f"replaced-{now:%Y%m%d%H%M%S}"
    while aside.exists():
        number += 1
        aside = home.root / f"replaced-{now:%Y%m%d%H%M%S}-{number}"
    aside.mkdir(mode=0o700)
    names = [_NODE, _DATABASE, f"{_DATABASE}-wal", f"{_DATABASE}-shm", "keys", *_FOLDERS]
    if not with_archive:
        names.remove("archive")
    for name in names:
        if (home.root / name).exists():
            os.replace(home.root / name, aside / name)
    sync_directory(aside)
    sync_directory(home.root)
    return aside


def _move(source: Path, target: Path) -> None:
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy_durably(source, target)


def _put_in_place(
    home: Home, work: Path, manifest: Mapping[str, Any], inbox: Path, outbox: Path, places: _Places
) -> None:
    home.create()
    touched = {home.root}
    for name in manifest["members"]:
        if name in (_DATABASE, _NODE):
            continue
        kind, _, rest = name.partition("/")
        if kind in ("inbox", "outbox"):
            target = (inbox if kind == "inbox" else outbox) / rest
            if target.exists():
                continue  # another file of that name arrived here; the spool has what was taken before
        else:
            target = places.files.get(name, home.root / name)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _move(work / name, target)
        touched.add(target.parent)
    for folder in (inbox, outbox):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in touched:
        sync_directory(folder)
    last = _DATABASE if _DATABASE in manifest["members"] else _NODE
    os.replace(work / last, home.root / last)
    sync_directory(home.root)
