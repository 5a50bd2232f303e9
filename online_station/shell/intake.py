"""Take reports and clear receipts from the inbox: scan, prove, keep, and only then remove.

Names are hints. A file is what its signature says; one that proves is taken at once, one that does not prove yet may
still be on its way and is given time, and what is then still no good is set aside with the reason beside it. Files
that are none of ours are left alone and counted.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final, Literal

from online_station.core.stability import Fingerprint, StabilityTracker
from online_station.shell.archived import is_archived
from online_station.shell.home import Home
from online_station.shell.log import LOGGER
from online_station.shell.quarantine import set_aside
from online_station.shell.records import QuarantinedRow
from online_station.shell.store import Store
from online_station.shell.trust import Trust
from shared.durable import TEMPORARY_SUFFIX, publish, temporary_beside, write_durably
from shared.envelope.opening import ProvenReport, prove_report
from shared.errors import (
    ConfigurationError,
    MisplacedResult,
    NameContradicts,
    OtherReport,
    ReportEmpty,
    ReportInvalid,
    TaxferryError,
)
from shared.files import open_ordinary
from shared.ids import ReportName, recognise_name
from shared.model.ack import Ack, prove_ack
from shared.text import Text
from shared.text.system import os_reason, shown_name

if os.name != "nt":
    import fcntl

MAX_FILES: Final = 1_000
"""Files of a folder that are looked at in one go; the others follow at once, after a look at the other folders."""
MAX_REPORT_BYTES: Final = 1 << 30
_MAX_TEXT: Final = 1 << 16
SMALL: Final = 1 << 20
_TEMPORARY: Final = (".part", ".tmp", ".crdownload", ".partial", "~", TEMPORARY_SUFFIX)

Kind = Literal["report", "ack", "result"]
Checkpoint = Callable[[str], None]


@dataclass(frozen=True)
class Found:
    """A file in the inbox that may be ours.

    Attributes:
        path: Where it lies.
        kind: What its name says it is.
        named: The identity in its name, or None where the name is of no known shape.
        looks: Its size, time and inode at the scan.
    """

    path: Path
    kind: Kind
    named: ReportName | None
    looks: Fingerprint


@dataclass
class Harvest:
    """What one scan of the inbox came to.

    Attributes:
        reports: Digests taken, whether they were new or not.
        acks: Digests of the reports whose clear receipts were taken.
        known: How many of the files were known already.
        quarantined: What was set aside.
        waiting: Names of files that are given more time.
        foreign: How many files are none of ours.
        warnings: What a person should know about files that were taken.
        rejected: Why files were set aside, in the order of `quarantined`.
    """

    reports: list[str] = field(default_factory=list)
    acks: list[str] = field(default_factory=list)
    known: int = 0
    quarantined: list[QuarantinedRow] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    foreign: int = 0
    warnings: list[Text] = field(default_factory=list)
    rejected: list[TaxferryError] = field(default_factory=list)


@dataclass
class Inboxes:
    """The folders in which files arrive: the inbox, one folder per company in it, and folders elsewhere.

    A folder is read only if it has changed since it was last read, or if files in it are waited for: thousands of
    folders cost a look at each and no more.

    Attributes:
        root: The station's inbox.
        elsewhere: Returns the companies' own folders.
    """

    root: Path
    elsewhere: Callable[[], Sequence[Path]] = tuple
    _read: dict[Path, tuple[int, float]] = field(default_factory=dict)
    _unfinished: set[Path] = field(default_factory=set)

    @property
    def more(self) -> bool:
        """Whether files were left for the next look."""
        return bool(self._unfinished)

    def left(self, folder: Path, more: bool) -> None:
        """Note whether a folder has more files than were looked at."""
        (self._unfinished.add if more else self._unfinished.discard)(folder)

    def folders(self) -> list[Path]:
        """Return all folders, the inbox first.

        Raises:
            ConfigurationError: The inbox cannot be read.
        """
        found = [self.root]
        try:
            with os.scandir(self.root) as entries:
                found += sorted(
                    Path(entry.path)
                    for entry in entries
                    if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
                )
        except OSError as error:
            raise _unreadable(self.root, error) from None
        known = set(found)
        return [*found, *(folder for folder in self.elsewhere() if folder not in known)]

    def changed(self, folder: Path, monotonic: float, *, waited_for: bool) -> bool:
        """Return whether a folder is to be read now, and note that it is."""
        try:
            mtime = os.stat(folder).st_mtime_ns
        except OSError:
            self._read.pop(folder, None)
            self._unfinished.discard(folder)
            return False
        known = self._read.get(folder)
        # A change in the very moment of the last reading has the same time as that reading.
        quiet = known is not None and known[0] == mtime and monotonic - known[1] >= _GRANULARITY
        if known is None or known[0] != mtime:
            self._read[folder] = (mtime, monotonic)
        return waited_for or not quiet or folder == self.root or folder in self._unfinished


_GRANULARITY: Final = 3.0
"""Seconds in which two changes of a folder may have the same time."""


def _unreadable(folder: Path, error: OSError) -> ConfigurationError:
    why = os_reason(error)
    return ConfigurationError(reason=Text(f"收件文件夹 {folder} 读不了（{why.zh}）", f"inbox {folder}: {why.en}"))


def scan(inbox: Path) -> tuple[list[Found], int]:
    """Return what lies in one folder and may be ours, and how many files are none of ours.

    Those that have lain there for longest come first: nobody is overtaken for ever by names that sort before his.

    Flat; symbolic links, devices and other things that are no regular files are never opened.

    Raises:
        ConfigurationError: The folder cannot be read.
    """
    found: list[Found] = []
    foreign = 0
    try:
        with os.scandir(inbox) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower().endswith(_TEMPORARY):
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                kind = _kind(entry.name) if stat.S_ISREG(status.st_mode) else None
                if kind is None:
                    foreign += not stat.S_ISDIR(status.st_mode)
                    continue
                recognised = recognise_name(entry.name)
                named = None if recognised is None else recognised[0]
                found.append(Found(inbox / entry.name, kind, named, _looks(status)))
    except OSError as error:
        raise _unreadable(inbox, error) from None
    found.sort(key=lambda f: (f.looks.mtime_ns, f.path.name))
    return found, foreign


def _kind(name: str) -> Kind | None:
    recognised = recognise_name(name)
    if recognised is not None:
        return {".dat": "report", ".ack": "ack", ".txt": "result"}[recognised[1]]  # type: ignore[return-value]
    lowered = name.lower()
    if lowered.endswith(".dat"):
        return "report"
    return "ack" if lowered.endswith(".ack") else None


def _looks(status: os.stat_result) -> Fingerprint:
    return Fingerprint(status.st_size, status.st_mtime_ns, status.st_ino)


def being_written(file: BinaryIO) -> bool:
    """Return whether another process has the file open for writing, where the system can tell."""
    if os.name == "nt" or not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        fcntl.fcntl(file.fileno(), fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(file.fileno(), fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a foreign owner's file, or a file system without leases
    return False


class Intake:
    """Takes files from the inboxes into the spool of one station."""

    def __init__(
        self,
        home: Home,
        inboxes: Inboxes,
        store: Store,
        trust: Trust,
        tracker: StabilityTracker,
        *,
        checkpoint: Checkpoint,
    ) -> None:
        """Take from `inboxes` into `home`; `checkpoint` is told where a crash would be interesting."""
        self.inboxes = inboxes
        self._home = home
        self._store = store
        self._trust = trust
        self._tracker = tracker
        self._checkpoint = checkpoint
        # How files looked when they did not prove: an unchanged file is not read again and again.
        self._unproven: dict[str, Fingerprint] = {}
        self._not_ours: dict[str, Fingerprint] = {}

    def run(self, now: datetime, monotonic: float) -> Harvest:
        """Look through the inboxes once and take what can be taken.

        Args:
            now: The present, for proofs and notes.
            monotonic: The same, for the question whether a file is still growing.

        Raises:
            ConfigurationError: The folder cannot be read.
        """
        harvest = Harvest()
        waited = {Path(key).parent for key in (*self._unproven, *self._not_ours)}
        for folder in self.inboxes.folders():
            if not self.inboxes.changed(folder, monotonic, waited_for=folder in waited):
                continue
            try:
                self._folder(folder, harvest, now, monotonic)
            except ConfigurationError as error:
                if folder == self.inboxes.root:
                    raise
                LOGGER.warning("%s", error)  # one company's folder is out of reach: the others are not
        return harvest

    def _folder(self, folder: Path, harvest: Harvest, now: datetime, monotonic: float) -> None:
        files, foreign = scan(folder)
        harvest.foreign += foreign
        names = {str(f.path) for f in files}
        for memory in (self._unproven, self._not_ours):
            for key in [key for key in memory if Path(key).parent == folder and key not in names]:
                del memory[key]
        ours = [f for f in files if self._not_ours.get(str(f.path)) != f.looks]
        harvest.foreign += len(files) - len(ours)
        # The tracker knows the files that are waited for, and no others: its next moment is when to look again.
        self._tracker.keep_only((str(f.path) for f in ours), of=lambda key: Path(key).parent == folder)
        for file in ours:
            self._tracker.observe(str(file.path), file.looks, monotonic)
        room = MAX_FILES
        for file in ours:
            key = str(file.path)
            if self._unproven.get(key) == file.looks and not self._tracker.is_stable(key, monotonic):
                harvest.waiting.append(file.path.name)
                continue
            if not room:
                break
            room -= 1
            try:
                self._one(file, harvest, now, monotonic)
            except OSError as error:
                # Gone again, or not readable: the next scan sees it anew.
                LOGGER.warning("%s: %s", file.path.name, error)
                self._tracker.forget(key)
                harvest.foreign += 1
        else:
            self.inboxes.left(folder, more=False)
            return
        self.inboxes.left(folder, more=True)

    def _one(self, found: Found, harvest: Harvest, now: datetime, monotonic: float) -> None:
        try:
            if found.kind == "report":
                digest, new, warnings = self.take_report(found.path, now, named=found.named, remove=True)
                harvest.reports.append(digest)
            elif found.kind == "ack":
                digest, new, warnings = self._take_ack(found, now)
                harvest.acks.append(digest)
            else:
                raise MisplacedResult(name=found.path.name)
            harvest.known += not new
            harvest.warnings.extend(warnings)
            self._tracker.forget(str(found.path))
        except TaxferryError as error:
            self._reject(found, error, harvest, now, monotonic)

    def _reject(self, found: Found, error: TaxferryError, harvest: Harvest, now: datetime, monotonic: float) -> None:
        name, key = found.path.name, str(found.path)
        if not isinstance(error, NameContradicts):
            self._unproven[key] = found.looks
            with open_ordinary(found.path) as file:
                busy = being_written(file)
            if busy:
                self._tracker.touch(key, monotonic)
            if busy or not self._tracker.is_stable(key, monotonic):
                harvest.waiting.append(name)
                return
            if found.named is None:
                # Neither the name nor the content is one of ours.
                self._not_ours[key] = found.looks
                self._tracker.forget(key)
                harvest.foreign += 1
                return
        row = set_aside(self._home.quarantine, found.path, error, self._store, now)
        self._tracker.forget(key)
        LOGGER.warning("%s set aside: %s %s", name, error.code, error.text.zh)
        harvest.quarantined.append(row)
        harvest.rejected.append(error)

    def take_report(
        self, path: Path, now: datetime, *, named: ReportName | None, remove: bool
    ) -> tuple[str, bool, tuple[Text, ...]]:
        """Prove a report, keep it in the spool under its digest, note it, and then remove the file.

        Args:
            path: The file.
            now: The moment of judgement.
            named: The identity in its name, if the name has one.
            remove: Whether the file is the inbox's, to be removed once it is kept.

        Returns:
            The digest, whether it was new, and what a person should know.

        Raises:
            TaxferryError: It is no acceptable report. The file is where it was.
            OSError: It cannot be read, or the spool cannot be written. The file is where it was.
        """
        with open_ordinary(path) as file:
            before = os.fstat(file.fileno())
            if before.st_size == 0:
                raise ReportEmpty(name=path.name)
            if before.st_size > MAX_REPORT_BYTES:
                raise ReportInvalid(reason=Text("超过 1 GiB", "it is larger than 1 GiB"))
            # A small one is read once: what is proven and what is kept are the same octets then.
            small = file.read(SMALL + 1) if before.st_size <= SMALL else None
            if small is not None and len(small) > SMALL:
                small = None  # it grew
            proven = prove_report(file if small is None else io.BytesIO(small), self._trust.store, at=now)
            if named is not None and named != proven.header.name:
                raise NameContradicts(named=named.in_words, signed=proven.header.name.in_words)
            sha256, size = self._keep_report(file, small, proven, now)
        self._checkpoint("report kept")
        new = self._store.add_report(
            proven.header,
            proven.digest,
            size_bytes=size,
            file_sha256=sha256,
            recipients=json.dumps([[r.issuer_der.hex(), str(r.serial)] for r in proven.recipients]),
            now=now,
            note=shown_name(path.name),
            content=self._home.report_file(proven.digest),
        )
        self._checkpoint("report noted")
        if remove:
            self._remove(path, before)
            self._checkpoint("report removed from the inbox")
        return proven.digest, new, proven.warnings

    def _keep_report(self, file: BinaryIO, small: bytes | None, proven: ProvenReport, now: datetime) -> tuple[str, int]:
        """Copy an open, proven report into the spool; return the SHA-256 and size of what lies there."""
        kept = self._home.report_file(proven.digest)
        known = self._store.report(proven.digest)
        if known is not None and is_archived(self._store, proven.digest):
            return known.file_sha256, known.size_bytes  # finished long ago; its file lies in the archive
        if known is not None and kept.is_file():
            with kept.open("rb") as present:
                if hashlib.file_digest(present, "sha256").hexdigest() == known.file_sha256:
                    return known.file_sha256, known.size_bytes
        if small is not None:
            write_durably(kept, small)
            return hashlib.sha256(small).hexdigest(), len(small)
        temporary = temporary_beside(kept)
        digest, size = hashlib.sha256(), 0
        try:
            file.seek(0)
            with temporary.open("xb") as copy:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
                    size += len(chunk)
                    if size > MAX_REPORT_BYTES:
                        raise ReportInvalid(reason=Text("超过 1 GiB", "it is larger than 1 GiB"))
                    copy.write(chunk)
            # What counts is what lies in our own folder now: the original can change under the reader.
            with temporary.open("rb") as copy_again:
                if prove_report(copy_again, self._trust.store, at=now).digest != proven.digest:
                    raise ReportInvalid(reason=Text("读取时文件被改动", "it changed while it was read"))
            publish(temporary, kept)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return digest.hexdigest(), size

    def _take_ack(self, found: Found, now: datetime) -> tuple[str, bool, tuple[Text, ...]]:
        with open_ordinary(found.path) as file:
            before = os.fstat(file.fileno())
            data = file.read(_MAX_TEXT + 1)
        proven = prove_ack(data, self._trust.store, at=now)
        ack = proven.ack
        if found.named is not None and found.named != ack.name:
            raise NameContradicts(named=found.named.in_words, signed=ack.name.in_words)
        self._check_ack(ack)
        kept = self._home.ack_file(proven.body_sha256)
        if not kept.exists():
            write_durably(kept, data)
        self._checkpoint("ack kept")
        new = self._store.add_ack(proven.body_sha256, ack.report_digest, ack.name.stem, now, data)
        self._checkpoint("ack noted")
        self._remove(found.path, before)
        return ack.report_digest, new, proven.warnings

    def _check_ack(self, ack: Ack) -> None:
        """Compare a clear receipt with the report it names, where this station knows it."""
        row = self._store.report(ack.report_digest)
        if row is None:
            return
        if (row.header.name, row.header.card_no) != (ack.name, ack.card_no):
            raise OtherReport(field=Text("身份", "identity"), theirs=ack.name.in_words, ours=row.header.name.in_words)

    def _remove(self, path: Path, known: os.stat_result) -> None:
        """Remove a file of the inbox, unless another has taken its name since."""
        try:
            if _looks(os.stat(path, follow_symlinks=False)) == _looks(known):
                # Not synced: should a power cut bring it back, it is known, and removed again.
                path.unlink()
        except FileNotFoundError:
            pass
