"""Backups of what can be made again nowhere else: the ledger and the station's memory.

The card is never in a backup. A second card with the same key and an older memory could copy and report a month twice
under sequence numbers that the bureau has seen, or forget that it was cleared. So a backup says what the card's
numbers were, for a person to read, and a restore never touches the card: what the card has counted since then stays
counted, and lists that are imported again fill the ledger up without counting twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import zipfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Final

from offline_station.card.port import CardReading
from offline_station.shell.home import Home
from shared.clock import format_time
from shared.durable import copy_durably, publish, sync_directory, temporary_beside
from shared.errors import BackupInvalid, FileMissing, MediumFull, TaxferryError
from shared.text import Text

SUFFIX: Final = ".backup.zip"
FORMAT: Final = "taxferry-backup/1"
_MANIFEST: Final = "manifest.json"
_MEMBERS: Final = ("ledger.db", "station.db")
_MAX_MANIFEST: Final = 1 << 20
_MAX_MEMBER: Final = 64 << 30
_CHUNK: Final = 1 << 20
_SIDE_FILES: Final = ("-wal", "-shm", "-journal")


@dataclass(frozen=True)
class Backup:
    """A backup that was made or proven.

    Attributes:
        path: The file.
        made_at: When.
        reason: Why (`before-clear`, `by-hand`, `before-restore`).
        size_bytes: Its size.
        card: The card's numbers at that time, for information.
    """

    path: Path
    made_at: str
    reason: str
    size_bytes: int
    card: Mapping[str, object]


def make_backup(home: Home, reading: CardReading, now: datetime, *, reason: str, target: Path | None = None) -> Backup:
    """Write one file with consistent copies of the ledger and the station's memory, and their digests.

    Args:
        home: The station; its databases may be in use by this process.
        reading: The card, for the numbers.
        now: The time.
        reason: Why.
        target: Where to; a new name in the backups folder by default.

    Raises:
        MediumFull: There is no room; nothing was written.
    """
    facts = reading.facts
    stem = f"{facts.taxpayer_id}_{facts.machine_no}_{now:%Y%m%d%H%M%S}_{reason}"
    path = target or _free_name(home.backups, stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    sources = {name: home.root / name for name in _MEMBERS}
    needed = 2 * sum(source.stat().st_size for source in sources.values() if source.exists()) + (1 << 20)
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise MediumFull(needed=needed, free=free)
    card: dict[str, object] = {
        "card_no": facts.card_no,
        "last_result_no": facts.last_result_no,
        "lock_date": facts.lock_date.isoformat(),
        "state": reading.state.value,
    }
    temporary = temporary_beside(path)
    copy = temporary_beside(path.with_name("member.db"))
    members: dict[str, dict[str, object]] = {}
    try:
        with zipfile.ZipFile(temporary, "x", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, source in sources.items():
                _snapshot(source, copy)
                with copy.open("rb") as reader, archive.open(name, "w", force_zip64=True) as writer:
                    sha256, size = _pour(reader, writer)
                members[name] = {"sha256": sha256, "bytes": size}
                copy.unlink()
            manifest = {
                "format": FORMAT,
                "made_at": format_time(now),
                "reason": reason,
                "taxpayer_id": facts.taxpayer_id,
                "machine_no": facts.machine_no,
                "card": card,
                "members": members,
            }
            archive.writestr(_MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1, sort_keys=True))
        temporary.chmod(0o600)
        publish(temporary, path)
    finally:
        copy.unlink(missing_ok=True)
        temporary.unlink(missing_ok=True)
    return Backup(path, format_time(now), reason, path.stat().st_size, card)


def _free_name(folder: Path, stem: str) -> Path:
    path, number = folder / (stem + SUFFIX), 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}{SUFFIX}"
    return path


def _snapshot(source: Path, target: Path) -> None:
    """Copy a database as one transaction sees it, whoever else has it open."""
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy, pages=4096)
        copy.execute("PRAGMA journal_mode = DELETE")


def _pour(reader: IO[bytes], writer: IO[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while block := reader.read(_CHUNK):
        digest.update(block)
        size += len(block)
        writer.write(block)
    return digest.hexdigest(), size


def latest_backup(home: Home) -> Path | None:
    """Return the newest backup by its time of writing, or None."""
    found = [path for path in home.backups.glob(f"*{SUFFIX}") if path.is_file()]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def unpack_backup(path: Path, folder: Path, *, taxpayer_id: str, machine_no: int, card_no: str) -> Backup:
    """Prove a backup and lay its members beside the databases that they shall replace; nothing is replaced yet.

    Args:
        path: The backup.
        folder: Where the members go, as `<name>.restored`.
        taxpayer_id: Whose backup it must be.
        machine_no: Of which machine.
        card_no: With which card.

    Raises:
        FileMissing: There is no such file.
        BackupInvalid: Not a backup, altered, incomplete, or of another station. Nothing is left in `folder`.
    """
    laid: list[Path] = []
    if not path.is_file():  # nor wait on a pipe
        raise FileMissing(what=path)
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = _read_manifest(archive)
            owner = (manifest.get("taxpayer_id"), manifest.get("machine_no"))
            card = manifest.get("card")
            if not isinstance(card, dict):
                raise _invalid("清单不完整", "its manifest is incomplete")
            if (*owner, card.get("card_no")) != (taxpayer_id, machine_no, card_no):
                raise _invalid(
                    f"它属于税号 {owner[0]}、分机 {owner[1]}、卡 {card.get('card_no')}",
                    f"it belongs to taxpayer {owner[0]}, machine {owner[1]}, card {card.get('card_no')}",
                )
            if sorted(archive.namelist()) != sorted([*_MEMBERS, _MANIFEST]):
                raise _invalid("内含的文件不对", "its files are not those of a backup")
            for name in _MEMBERS:
                laid.append(folder / f"{name}.restored")
                _lay(archive, name, manifest, laid[-1])
            return Backup(
                path, str(manifest.get("made_at")), str(manifest.get("reason")), path.stat().st_size, dict(card)
            )
    except BaseException as error:
        for file in laid:
            file.unlink(missing_ok=True)
        if isinstance(error, FileNotFoundError | IsADirectoryError):
            raise FileMissing(what=path) from None
        if isinstance(error, TaxferryError):
            raise
        if isinstance(
            error, zipfile.BadZipFile | zipfile.LargeZipFile | ValueError | KeyError | EOFError | OverflowError
        ):
            raise _invalid("不是完整的备份文件", "it is not a whole backup file") from None
        if isinstance(error, RuntimeError) or type(error).__module__ == "zlib":  # encrypted, or a broken stream
            raise _invalid("不是完整的备份文件", "it is not a whole backup file") from None
        raise


def _read_manifest(archive: zipfile.ZipFile) -> dict[str, object]:
    with archive.open(_MANIFEST) as file:
        found = json.loads(file.read(_MAX_MANIFEST))
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise _invalid("格式版本不认识", "its format is unknown")
    return found


def _lay(archive: zipfile.ZipFile, name: str, manifest: Mapping[str, object], target: Path) -> None:
    members = manifest.get("members")
    said = members.get(name) if isinstance(members, dict) else None
    if not isinstance(said, dict):
        raise _invalid("清单不完整", "its manifest is incomplete")
    if archive.getinfo(name).file_size != said.get("bytes") or archive.getinfo(name).file_size > _MAX_MEMBER:
        raise _invalid(f"{name} 的大小不对", f"the size of {name} is not what the manifest says")
    target.unlink(missing_ok=True)
    with (
        archive.open(name) as reader,
        os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as w,
    ):
        sha256, _ = _pour(reader, w)
        w.flush()
        os.fsync(w.fileno())
    if sha256 != said.get("sha256"):
        raise _invalid(f"{name} 的校验值不对", f"the digest of {name} is not what the manifest says")
    try:
        with closing(sqlite3.connect(f"{target.absolute().as_uri()}?mode=ro", uri=True)) as db:
            answer = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        answer = str(error)
    if answer != "ok":
        raise _invalid(f"{name} 已损坏", f"{name} is damaged")


def _invalid(zh: str, en: str) -> BackupInvalid:
    return BackupInvalid(reason=Text(zh, en))


def put_in_place(home: Home, now: datetime) -> Path:
    """Let the laid members take the databases' places; nobody may have those open.

    What was there is kept as it is in a folder of its own: it may be damaged, which is why someone restores. Each
    replacement is one rename; a crash between two leaves one old and one new, and both follow the card at the next
    start.

    Returns:
        The folder with what was there.
    """
    kept = home.backups / f"{now:%Y%m%d%H%M%S}_before-restore"
    number = 1
    while kept.exists():
        number += 1
        kept = home.backups / f"{now:%Y%m%d%H%M%S}-{number}_before-restore"
    kept.mkdir(parents=True)
    for name in _MEMBERS:
        for suffix in ("", *_SIDE_FILES):
            source = home.root / (name + suffix)
            if source.exists():
                copy_durably(source, kept / source.name)
    for name in _MEMBERS:
        for suffix in _SIDE_FILES:  # they belong to the old file and would be played into the new one
            (home.root / (name + suffix)).unlink(missing_ok=True)
        os.replace(home.root / f"{name}.restored", home.root / name)
    sync_directory(home.root)
    return kept
