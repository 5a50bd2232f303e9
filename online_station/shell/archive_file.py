"""One archive file: a zip that explains itself, with the digest of everything that is in it.

    README.txt                       what this is and how to check it with tools that every system has
    reports/<digest>/facts.json      the report's row, history, walks, results and clear receipts
    reports/<digest>/<stem>.dat …    its files
    quarantine/<stored name>/…       what was set aside, with its explanation
    log/…                            old logs
    SHA256SUMS                       for `sha256sum -c`
    manifest.json                    the same with lengths, and where each file lay; written last

It is written once and never changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final

from shared.clock import format_time
from shared.durable import publish, temporary_beside
from shared.errors import ArchiveInvalid
from shared.files import hash_file
from shared.text import Text

FORMAT: Final = "taxferry-archive/1"
MANIFEST: Final = "manifest.json"
SUMS: Final = "SHA256SUMS"
README: Final = "README.txt"
FACTS: Final = "facts.json"
_MAX_MANIFEST: Final = 256 << 20
_MAX_FACTS: Final = 64 << 20
_CHUNK: Final = 1 << 20
_PLACE: Final = re.compile(r"(spool|results|quarantine|log)/[^/\\\x00]+")
_PACKED: Final = (".txt", ".json", ".log")


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        sha256: Its digest.
        size_bytes: Its length.
        place: Where it lay, relative to the home; empty for what was written for the archive.
    """

    sha256: str
    size_bytes: int
    place: str = ""


@dataclass(frozen=True)
class Manifest:
    """What an archive says of itself.

    Attributes:
        station: Which station wrote it.
        period: The month.
        made_at: When.
        members: All files but the manifest itself.
    """

    station: str
    period: str
    made_at: str
    members: Mapping[str, Member]


class Writer:
    """An archive that is being written; it has no final name before it is complete."""

    def __init__(self, path: Path, *, station: str, period: str, now: datetime) -> None:
        """Begin an archive that will be `path`."""
        self._path = path
        self._station, self._period, self._now = station, period, now
        self._temporary = temporary_beside(path)
        handle = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        self._file = os.fdopen(handle, "w+b")
        self._zip = zipfile.ZipFile(self._file, "w", allowZip64=True)
        self.members: dict[str, Member] = {}

    def add_file(self, name: str, source: Path, place: str = "") -> Member:
        """Add a file.

        Raises:
            OSError: It cannot be read, or there is no room. The archive has to be given up.
        """
        with source.open("rb") as reader:
            return self._add(name, iter(lambda: reader.read(_CHUNK), b""), place)

    def add_octets(self, name: str, data: bytes) -> Member:
        """Add a file that exists nowhere else."""
        return self._add(name, iter([data]), "")

    def _add(self, name: str, parts: Iterator[bytes], place: str) -> Member:
        info = zipfile.ZipInfo(name, self._now.timetuple()[:6])
        info.external_attr = 0o600 << 16
        info.compress_type = zipfile.ZIP_DEFLATED if name.endswith(_PACKED) else zipfile.ZIP_STORED
        digest, size = hashlib.sha256(), 0
        with self._zip.open(info, "w", force_zip64=True) as writer:
            for part in parts:
                digest.update(part)
                size += len(part)
                writer.write(part)
        self.members[name] = Member(digest.hexdigest(), size, place)
        return self.members[name]

    def finish(self) -> tuple[str, int]:
        """Write the manifest, give the archive its name durably, and prove it by reading it back.

        Returns:
            SHA-256 and length of the file.

        Raises:
            OSError: There is no such archive.
            ArchiveInvalid: What can be read back is not what was written. The file stays, for whoever looks into it.
        """
        self.add_octets(README, _readme(self._period, self._station, self._now))
        sums = "".join(f"{member.sha256}  {name}\n" for name, member in sorted(self.members.items()))
        self.add_octets(SUMS, sums.encode())
        manifest = {
            "format": FORMAT,
            "station": self._station,
            "period": self._period,
            "made_at": format_time(self._now),
            "members": {
                name: {"sha256": m.sha256, "bytes": m.size_bytes} | ({"place": m.place} if m.place else {})
                for name, m in self.members.items()
            },
        }
        self._zip.writestr(MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1))
        self._zip.close()
        self._file.close()
        publish(self._temporary, self._path)
        _forget_cache(self._path)
        if prove(self._path).members != self.members:
            raise _invalid(self._path, "读回的内容与写入的不符", "what can be read back is not what was written")
        return hash_file(self._path)

    def give_up(self) -> None:
        """Remove what was written, if it has no name yet."""
        self._zip.fp = None  # nothing more is to be written by its destructor
        self._file.close()
        self._temporary.unlink(missing_ok=True)


def _forget_cache(path: Path) -> None:
    """Have the next reading come from the disk, where the system can be told so."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _readme(period: str, station: str, now: datetime) -> bytes:
    zh = (
        f"税渡上网机归档 {period}",
        "",
        f"站名 {station}，制作时间 {format_time(now)}。",
        "内容：该月已经完成（已清卡或已放弃）的报告、结果、回执、全过程，以及隔离的文件和旧日志。",
        "核对：解压到一个空文件夹，在其中执行 sha256sum -c SHA256SUMS。",
        "取回：online-station archive restore 报告编号。",
        "请勿改动；复制一份到别的介质保存。",
    )
    en = (
        f"taxferry, Internet PC: archive of {period}",
        "",
        f"Station {station}, made at {format_time(now)}.",
        "Holds the finished reports of that month (cleared or given up), their results, receipts and histories, files that",
        "were set aside, and old logs.",
        "To check: unpack into an empty folder and run sha256sum -c SHA256SUMS there.",
        "To bring one back: online-station archive restore ID.",
        "Do not change it; keep a copy on another medium.",
    )
    return "\r\n".join((*zh, "", "", *en, "")).encode("utf-8-sig")


def prove(path: Path) -> Manifest:
    """Read an archive from end to end.

    Raises:
        ArchiveInvalid: It is missing, incomplete or altered.
    """
    with _opened(path) as archive:
        manifest = _manifest(path, archive)
        names = archive.namelist()
        if sorted(names) != sorted([*manifest.members, MANIFEST]):
            raise _invalid(path, "内含的文件与清单不符", "its files are not those of its manifest")
        for name, member in manifest.members.items():
            for _ in _read(path, archive, name, member):
                pass
        return manifest


def read_manifest(path: Path) -> Manifest:
    """Return what an archive says of itself, without reading its files.

    Raises:
        ArchiveInvalid: It is missing, or no archive.
    """
    with _opened(path) as archive:
        return _manifest(path, archive)


def read_json(path: Path, name: str) -> dict[str, Any]:
    """Return a member that is one JSON object, proven.

    Raises:
        ArchiveInvalid: There is no such archive or member, or it was altered.
    """
    with _opened(path) as archive:
        member = _manifest(path, archive).members.get(name)
        if member is None or member.size_bytes > _MAX_FACTS:
            raise _invalid(path, f"其中没有 {name}", f"it has no {name}")
        found = json.loads(b"".join(_read(path, archive, name, member)))
    if not isinstance(found, dict):
        raise _invalid(path, f"{name} 不对", f"{name} is not what it should be")
    return found


def extract(path: Path, wanted: Mapping[str, Path]) -> None:
    """Write members into files durably; all are proven before the first is written.

    Raises:
        ArchiveInvalid: There is no such archive or member, or it was altered. Nothing was written.
        OSError: A file cannot be written.
    """
    with _opened(path) as archive:
        members = _manifest(path, archive).members
        for name in wanted:
            if name not in members:
                raise _invalid(path, f"其中没有 {name}", f"it has no {name}")
            for _ in _read(path, archive, name, members[name]):
                pass
        for name, target in wanted.items():
            temporary = temporary_beside(target)
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
            try:
                with os.fdopen(handle, "wb") as writer:
                    for part in _read(path, archive, name, members[name]):
                        writer.write(part)
                publish(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)


class _opened:  # noqa: N801  used like a function
    """Open an archive; what goes wrong inside is said in words."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._zip: zipfile.ZipFile | None = None

    def __enter__(self) -> zipfile.ZipFile:
        try:
            self._zip = zipfile.ZipFile(self._path)
        except FileNotFoundError:
            raise _invalid(self._path, "文件不在", "it is missing") from None
        except (zipfile.BadZipFile, OSError) as error:
            raise _invalid(self._path, "不是完整的归档", "it is no whole archive") from error
        return self._zip

    def __exit__(self, kind: object, error: BaseException | None, _trace: object) -> None:
        if self._zip is not None:
            self._zip.close()
        if isinstance(error, zipfile.BadZipFile | zlib.error | EOFError | KeyError | ValueError | RuntimeError):
            raise _invalid(self._path, "已损坏", "it is damaged") from error


def _manifest(path: Path, archive: zipfile.ZipFile) -> Manifest:
    if archive.getinfo(MANIFEST).file_size > _MAX_MANIFEST:
        raise _invalid(path, "清单过大", "its manifest is too large")
    with archive.open(MANIFEST) as file:
        found = json.loads(file.read(_MAX_MANIFEST))
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("members"), dict):
        raise _invalid(path, "格式版本不认识", "its format is unknown")
    members = {}
    for name, said in found["members"].items():
        place = str(said.get("place", ""))
        if place and not _PLACE.fullmatch(place):
            raise _invalid(path, "清单里的位置不对", "a place in its manifest is not one of a station")
        members[str(name)] = Member(str(said["sha256"]), int(said["bytes"]), place)
    return Manifest(str(found.get("station")), str(found.get("period")), str(found.get("made_at")), members)


def _read(path: Path, archive: zipfile.ZipFile, name: str, member: Member) -> Iterator[bytes]:
    if archive.getinfo(name).file_size != member.size_bytes:
        raise _invalid(path, f"{name} 的大小不对", f"the size of {name} is not what the manifest says")
    digest = hashlib.sha256()
    reader: IO[bytes]
    with archive.open(name) as reader:
        while part := reader.read(_CHUNK):
            digest.update(part)
            yield part
    if digest.hexdigest() != member.sha256:
        raise _invalid(path, f"{name} 的校验值不对", f"the digest of {name} is not what the manifest says")


def _invalid(path: Path, zh: str, en: str) -> ArchiveInvalid:
    return ArchiveInvalid(name=path.name, reason=Text(zh, en))
