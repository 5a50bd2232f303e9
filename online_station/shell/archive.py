"""Move what is finished into an archive file per month, and bring it back.

Finished is a report that was cleared or given up, whose clear receipts are settled and whose name no unfinished report
bears. Its row stays in the database for ever: the digest is what recognises the same file when it comes again.

    note that an archive is being written  →  write it  →  read it back  →  note that it is sealed and what is in it
    →  only then remove the files, each only if it is the very one that the archive holds

Killed anywhere, the next run goes on: an archive that was not sealed is removed (everything in it is still in its
place), and files whose archive is sealed are removed then.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_station.shell import archive_file
from online_station.shell import files as blobs
from online_station.shell.archived import (
    LOG,
    QUARANTINED,
    REPORT,
    SEALED,
    WRITING,
    ArchiveRow,
    archive_of,
    archives,
)
from online_station.shell.home import Home
from online_station.shell.log import LOGGER
from online_station.shell.records import ReportRow
from online_station.shell.schema import ACK, ARCHIVE, ARCHIVED, BLOB, EVENT, LEG, RESULT
from online_station.shell.schema import QUARANTINED as SET_ASIDE
from online_station.shell.schema import REPORT as REPORTS
from online_station.shell.store import ACK_DELIVERED, ACK_REFUSED, Store
from shared.clock import CHINA
from shared.durable import sweep, sync_directory
from shared.errors import ArchiveInvalid, NotFound, TaxferryError
from shared.files import hash_file
from shared.jobs.database import insert_new
from shared.quarantine import WHY
from shared.states import OnlineState
from shared.text import Text
from shared.text.system import os_reason

DEFAULT_DAYS: Final = 180
FINISHED: Final = (OnlineState.ACKNOWLEDGED.value, OnlineState.CANCELLED.value)
_SETTLED: Final = (ACK_DELIVERED, ACK_REFUSED)
_BATCH: Final = 200
_ABANDONED: Final = timedelta(days=1)
Checkpoint = Callable[[str], None]
Progress = Callable[[int, int | None, Text], None]
_MOVING: Final = Text("归档（个）", "archiving")


def _nowhere(_point: str) -> None:
    """Do not crash."""


def _silent(_done: int, _total: int | None, _what: Text) -> None:
    """Show nothing."""


@dataclass
class Archived:
    """What a run came to.

    Attributes:
        archives: The archives that were written.
        reports: How many reports were moved.
        others: How many other files.
        removed_bytes: How much room became free.
        problems: What could not be moved; it is where it was.
    """

    archives: list[Path] = field(default_factory=list)
    reports: int = 0
    others: int = 0
    removed_bytes: int = 0
    problems: list[Text] = field(default_factory=list)


@dataclass(frozen=True)
class _Thing:
    """Something that is to be moved: a report, a file that was set aside, a log."""

    kind: str
    key: str
    period: str
    changed_at: float
    facts: dict[str, Any]
    files: tuple[tuple[str, Path], ...]
    sha256: str = ""


class Archivist:
    """Moves finished things of one station; safe beside the service."""

    def __init__(
        self,
        home: Home,
        store: Store,
        *,
        station: str,
        folder: Path,
        outbox: Path,
        checkpoint: Checkpoint = _nowhere,
        progress: Progress = _silent,
    ) -> None:
        """Archive into `folder`.

        Args:
            home: The folders.
            store: The database.
            station: The station's name, for the archives.
            folder: Where archives lie.
            outbox: Where results were staged.
            checkpoint: Told where a crash would be interesting.
            progress: Told how far it is.
        """
        self._home = home
        self._store = store
        self._station = station
        self._folder = folder
        self._outbox = outbox
        self._checkpoint = checkpoint
        self._progress = progress

    def run(self, now: datetime, *, older_than: timedelta) -> Archived:
        """Move everything that was finished that long ago.

        Raises:
            StationBusy: Another process is at it. Nothing was done.
            ArchiveInvalid: An archive could not be read back. Nothing that is in it was removed.
            OSError: The disk failed. Nothing was removed that is not in a sealed archive.
        """
        done = Archived()
        with self._home.tidying():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._undo(now)
            self._find_leftovers()
            self._clean(done)
            by_period: dict[str, list[tuple[str, str]]] = {}
            for kind, key, period in self._finished(now - older_than):
                by_period.setdefault(period, []).append((kind, key))
            for period, keys in sorted(by_period.items()):
                self._one(period, keys, now, done)
            self._clean(done)
        return done

    def finished(self, now: datetime, *, older_than: timedelta) -> tuple[int, int]:
        """Return how many reports and how many other files a run would move."""
        found = [kind for kind, _, _ in self._finished(now - older_than)]
        return found.count(REPORT), len(found) - found.count(REPORT)

    # What is finished

    def _finished(self, before: datetime) -> list[tuple[str, str, str]]:
        cutoff = before.timestamp()
        other = REPORTS.alias("other")
        open_namesake = sa.exists().where(other.c.stem == REPORTS.c.stem, other.c.state.not_in(FINISHED))
        open_ack = sa.exists().where(ACK.c.digest == REPORTS.c.digest, ACK.c.state.not_in(_SETTLED))
        brought_back = sa.exists().where(
            EVENT.c.digest == REPORTS.c.digest, EVENT.c.event == "archive-restored", EVENT.c.at >= cutoff
        )
        moved = sa.exists().where(ARCHIVED.c.kind == REPORT, ARCHIVED.c.key == REPORTS.c.digest)
        reports = (
            sa.select(REPORTS.c.digest, REPORTS.c.period)
            .where(REPORTS.c.state.in_(FINISHED), REPORTS.c.changed_at < cutoff, REPORTS.c.to_stage.is_(False))
            .where(~open_namesake, ~open_ack, ~brought_back, ~moved)
            .order_by(REPORTS.c.found_at, REPORTS.c.digest)
        )
        aside = sa.select(SET_ASIDE.c.stored_name, SET_ASIDE.c.at).where(SET_ASIDE.c.at < cutoff)
        with self._store.reading() as connection:
            found = [(REPORT, str(d), str(p)) for d, p in connection.execute(reports)]
            found += [(QUARANTINED, str(n), _month(at)) for n, at in connection.execute(aside)]
        for path in sorted(self._home.logs.glob("*.log.*")):  # never the one that is being written
            at = path.stat().st_mtime
            if at < cutoff:
                found.append((LOG, path.name, _month(at)))
        return found

    def _thing(self, kind: str, key: str, period: str) -> _Thing | None:
        if kind == REPORT:
            return self._report(key, period)
        if kind == QUARANTINED:
            folder = self._home.quarantine
            with self._store.reading() as connection:
                row = connection.execute(sa.select(SET_ASIDE).where(SET_ASIDE.c.stored_name == key)).mappings().first()
            if row is None:
                return None
            files = tuple((f"quarantine/{n}", folder / n) for n in (key, key + WHY) if (folder / n).is_file())
            return _Thing(kind, key, period, row["at"], {"quarantined": dict(row)}, files)
        path = self._home.logs / key
        try:
            sha256, _ = hash_file(path)
        except FileNotFoundError:
            return None
        name = f"{path.name}.{sha256[:8]}"  # logs turn over: the same name is another file by then
        return _Thing(kind, name, period, path.stat().st_mtime, {}, ((f"log/{path.name}", path),))

    def _report(self, digest: str, period: str) -> _Thing | None:
        with self._store.reading() as connection:

            def rows(table: sa.Table, order: sa.Column[Any]) -> list[dict[str, Any]]:
                query = sa.select(table).where(table.c.digest == digest).order_by(order)
                return [dict(row) for row in connection.execute(query).mappings()]

            found = rows(REPORTS, REPORTS.c.digest)
            if not found or found[0]["state"] not in FINISHED:
                return None
            facts: dict[str, Any] = {
                "report": found[0],
                "events": rows(EVENT, EVENT.c.id),
                "legs": rows(LEG, LEG.c.id),
                "results": rows(RESULT, RESULT.c.result_no),
                "acks": rows(ACK, ACK.c.taken_at),
            }
        home, report = self._home, found[0]
        kept = _kept(digest, [r["result_no"] for r in facts["results"]], [a["sha256"] for a in facts["acks"]])
        for place, name in kept.items():
            with contextlib.suppress(FileNotFoundError):  # nobody has it: there was none, or a person removed it
                self._store.bring(home.root / place, name)
        files = tuple((place, home.root / place) for place in kept if (home.root / place).is_file())
        return _Thing(REPORT, digest, period, report["changed_at"], facts, files, report["file_sha256"])

    # Writing

    def _one(self, period: str, keys: Sequence[tuple[str, str]], now: datetime, done: Archived) -> None:
        path = self._begin(period, now)
        self._checkpoint("archive begun")
        writer = archive_file.Writer(path, station=self._station, period=period, now=now)
        moved: list[_Thing] = []
        try:
            for number, (kind, key) in enumerate(keys):
                self._progress(number, len(keys), _MOVING)
                thing = self._thing(kind, key, period)
                if thing is not None and self._add(writer, thing, done):
                    moved.append(thing)
            if not moved:
                writer.give_up()
                self._forget(path.name)
                return
            self._checkpoint("archive filled")
            sha256, size = writer.finish()
        except BaseException:
            writer.give_up()
            raise
        self._checkpoint("archive proven")
        self._seal(path.name, sha256, size)
        self._checkpoint("archive sealed")
        done.archives.append(path)
        for start in range(0, len(moved), _BATCH):
            self._note(path.name, moved[start : start + _BATCH], now, done)
            self._checkpoint("archive noted")

    def _begin(self, period: str, now: datetime) -> Path:
        number = 0
        while True:
            number += 1
            name = f"taxferry-archive_{period}{'' if number == 1 else f'-{number}'}.zip"
            if (self._folder / name).exists():
                continue
            row = {
                "name": name,
                "folder": str(self._folder),
                "period": period,
                "state": WRITING,
                "made_at": now.timestamp(),
                "size_bytes": 0,
                "sha256": "",
            }
            with self._store.writing() as connection:
                if insert_new(connection, ARCHIVE, row):
                    return self._folder / name

    def _add(self, writer: archive_file.Writer, thing: _Thing, done: Archived) -> bool:
        """Add a thing with its files; return whether it may be moved."""
        prefix = _prefix(thing.kind, thing.key)
        for place, path in thing.files:
            if path.suffix == ".dat" and thing.kind == REPORT and hash_file(path)[0] != thing.sha256:
                done.problems.append(
                    Text(
                        f"spool 中的 {path.name} 与登记的校验值不符，没有归档",
                        f"{path.name} in the spool is not what was noted; it was not archived",
                    )
                )
                return False
            writer.add_file(prefix + self._name_in(thing, path), path, place)
        facts = json.dumps(thing.facts, ensure_ascii=False, indent=1, sort_keys=True)
        writer.add_octets(prefix + archive_file.FACTS, facts.encode())
        return True

    def _name_in(self, thing: _Thing, path: Path) -> str:
        """Return a file's name in the archive: reports' files have the names that people know."""
        if thing.kind != REPORT:
            return path.name
        stem = str(thing.facts["report"]["stem"])
        if path.suffix == ".ack":
            return f"{stem}-{path.stem[:8]}.ack"
        return stem + path.name.removeprefix(thing.key)

    def _seal(self, name: str, sha256: str, size: int) -> None:
        values = {"state": SEALED, "sha256": sha256, "size_bytes": size}
        with self._store.writing() as connection:
            connection.execute(sa.update(ARCHIVE).where(ARCHIVE.c.name == name).values(**values))

    def _note(self, name: str, things: Sequence[_Thing], now: datetime, done: Archived) -> None:
        at = now.timestamp()
        with self._store.writing() as connection:
            for thing in things:
                state = ""
                if thing.kind == REPORT:
                    query = sa.select(REPORTS.c.state, REPORTS.c.changed_at).where(REPORTS.c.digest == thing.key)
                    present = connection.execute(query.with_for_update()).one()
                    if present.changed_at != thing.changed_at or present.state not in FINISHED:
                        continue  # somebody has taken it up again meanwhile
                    state = present.state
                row = {"kind": thing.kind, "key": thing.key, "archive": name, "at": at, "cleaned": False}
                if not insert_new(connection, ARCHIVED, row):
                    continue
                if thing.kind == QUARANTINED:
                    connection.execute(sa.delete(SET_ASIDE).where(SET_ASIDE.c.stored_name == thing.key))
                if thing.kind != REPORT:
                    done.others += 1
                    continue
                done.reports += 1
                # Written before the others go: the numbers of events are never given twice.
                connection.execute(sa.insert(EVENT).values(**_event(at, thing.key, "archived", state, name)))
                for table, rows in ((EVENT, thing.facts["events"]), (LEG, thing.facts["legs"])):
                    ids = [row["id"] for row in rows]
                    for start in range(0, len(ids), _BATCH):
                        some = table.c.id.in_(ids[start : start + _BATCH])
                        connection.execute(sa.delete(table).where(some))
                connection.execute(sa.update(REPORTS).where(REPORTS.c.digest == thing.key).values(recipients="[]"))

    def _forget(self, name: str) -> None:
        with self._store.writing() as connection:
            connection.execute(sa.delete(ARCHIVE).where(ARCHIVE.c.name == name, ARCHIVE.c.state == WRITING))

    # After a crash

    def _undo(self, now: datetime) -> None:
        """Remove archives that were never sealed: all that is in them is still in its place."""
        sweep(self._folder)
        query = sa.select(ARCHIVE.c.name, ARCHIVE.c.made_at).where(
            ARCHIVE.c.state == WRITING, ARCHIVE.c.folder == str(self._folder)
        )
        with self._store.reading() as connection:
            found = connection.execute(query).all()
        ours = not self._store.is_shared or self._folder.is_relative_to(self._home.root)
        for row in found:
            if ours or row.made_at < (now - _ABANDONED).timestamp():
                (self._folder / row.name).unlink(missing_ok=True)
                sync_directory(self._folder)
                self._forget(row.name)

    def _find_leftovers(self) -> None:
        """Have files removed once more that came back although their report lies in an archive (a second receipt)."""
        lying = {path.stem for path in self._home.spool.iterdir() if path.suffix in (".dat", ".ack")}
        with self._store.reading() as connection:
            acks = {row.sha256: row.digest for row in connection.execute(sa.select(ACK.c.sha256, ACK.c.digest))}
        digests = {acks.get(stem, stem) for stem in lying}
        with self._store.reading() as connection:
            query = sa.select(ARCHIVED.c.key).where(ARCHIVED.c.kind == REPORT, ARCHIVED.c.cleaned)
            query = query.where(ARCHIVED.c.archive.in_(self._within_reach()))
            again = sorted(digests & set(connection.execute(query).scalars()))
        if again:
            with self._store.writing() as connection:
                for digest in again:
                    which = (ARCHIVED.c.kind == REPORT) & (ARCHIVED.c.key == digest)
                    connection.execute(sa.update(ARCHIVED).where(which).values(cleaned=False))

    # Removing

    def _clean(self, done: Archived) -> None:
        query = sa.select(ARCHIVED.c.kind, ARCHIVED.c.key, ARCHIVED.c.archive).where(ARCHIVED.c.cleaned.is_(False))
        with self._store.reading() as connection:
            left = connection.execute(query.order_by(ARCHIVED.c.archive, ARCHIVED.c.key)).all()
        if self._store.is_shared:  # what another node has archived it cleans away itself
            near = self._within_reach()
            left = [row for row in left if row.archive in near]
        manifests: dict[str, archive_file.Manifest] = {}
        for start in range(0, len(left), _BATCH):
            some = left[start : start + _BATCH]
            cleaned = []
            for row in some:
                try:
                    if row.archive not in manifests:
                        manifests = {row.archive: archive_file.read_manifest(self._where(row.archive))}
                    done.removed_bytes += self._remove(row.kind, row.key, manifests[row.archive])
                except ArchiveInvalid as error:
                    # Its files stay until the archive can be read again.
                    if error.text not in done.problems:
                        done.problems.append(error.text)
                    continue
                except OSError as error:
                    done.problems.append(os_reason(error))
                    continue
                cleaned.append(row)
            for folder in (self._home.spool, self._home.results, self._home.quarantine, self._home.logs, self._outbox):
                if folder.is_dir():
                    sync_directory(folder)
            with self._store.writing() as connection:
                for row in cleaned:
                    if row.kind == REPORT and self._store.is_shared:
                        names = list(_kept_by(connection, row.key).values())
                        connection.execute(sa.delete(BLOB).where(BLOB.c.name.in_(names)))
                    which = (ARCHIVED.c.kind == row.kind) & (ARCHIVED.c.key == row.key)
                    connection.execute(sa.update(ARCHIVED).where(which).values(cleaned=True))
            self._checkpoint("archive cleaned")

    def _within_reach(self) -> set[str]:
        return {row.name for row in archives(self._store) if path_of(row, self._folder).is_file()}

    def _where(self, name: str) -> Path:
        for row in archives(self._store):
            if row.name == name:
                return path_of(row, self._folder)
        return self._folder / name

    def _remove(self, kind: str, key: str, manifest: archive_file.Manifest) -> int:
        freed = 0
        for name, member in _members(manifest, kind, key):
            path = self._home.root / member.place
            if member.place.startswith("results/") and not member.place.endswith("-receipt.txt"):
                freed += self._unlink(self._outbox / _staged_name(name), member)
            freed += self._unlink(path, member)
            self._checkpoint("archived file removed")
        return freed

    def _unlink(self, path: Path, member: archive_file.Member) -> int:
        """Remove a file if it is the very one that the archive holds."""
        try:
            if path.is_symlink() or path.stat().st_size != member.size_bytes or hash_file(path)[0] != member.sha256:
                return 0
            path.unlink()
        except FileNotFoundError:
            return 0
        return member.size_bytes


def _kept(digest: str, result_nos: Iterable[int], acks: Iterable[str]) -> dict[str, str]:
    """Return where a report's files lie in a home, and their names in a database that several nodes share."""
    return {
        f"spool/{digest}.dat": blobs.report_name(digest),
        f"results/{digest}-receipt.txt": blobs.receipt_name(digest),
        **{f"results/{digest}-{number}.txt": blobs.result_name(digest, number) for number in result_nos},
        **{f"spool/{sha256}.ack": blobs.ack_name(sha256) for sha256 in acks},
    }


def _kept_by(connection: Connection, digest: str) -> dict[str, str]:
    numbers = connection.execute(sa.select(RESULT.c.result_no).where(RESULT.c.digest == digest)).scalars()
    acks = connection.execute(sa.select(ACK.c.sha256).where(ACK.c.digest == digest)).scalars()
    return _kept(digest, list(numbers), list(acks))


def _event(at: float, digest: str, event: str, state: str, note: str) -> dict[str, object]:
    return {"at": at, "digest": digest, "event": event, "from_state": state, "to_state": state, "note": note}


def _month(at: float) -> str:
    return f"{datetime.fromtimestamp(at, CHINA):%Y-%m}"


def _prefix(kind: str, key: str) -> str:
    return {REPORT: f"reports/{key}/", QUARANTINED: f"quarantine/{key}/", LOG: f"log/{key}/"}[kind]


def _members(manifest: archive_file.Manifest, kind: str, key: str) -> Iterator[tuple[str, archive_file.Member]]:
    prefix = _prefix(kind, key)
    for name, member in manifest.members.items():
        if name.startswith(prefix) and member.place:
            yield name.removeprefix(prefix), member


def _staged_name(name: str) -> str:
    """Return under which name a result lies in the outbox: without the number that it has here."""
    return name.rpartition("-")[0] + ".txt"


def path_of(row: ArchiveRow, folder: Path) -> Path:
    """Return where an archive lies: where it was written, or in the folder that is used now (a station that moved)."""
    written = Path(row.folder) / row.name
    return written if written.is_file() else folder / row.name


def facts_of(store: Store, folder: Path, row: ReportRow) -> tuple[ArchiveRow, Path, dict[str, Any]]:
    """Return the archive of a report and what it knows of it.

    Raises:
        NotFound: The report lies in no archive.
        ArchiveInvalid: The archive is missing or damaged.
    """
    with store.reading() as connection:
        found = archive_of(connection, REPORT, row.digest)
    if found is None:
        raise NotFound(what=row.header.name.stem)
    known = next(each for each in archives(store) if each.name == found.archive)
    path = path_of(known, folder)
    return known, path, archive_file.read_json(path, _prefix(REPORT, row.digest) + archive_file.FACTS)


def bring_back(home: Home, store: Store, folder: Path, row: ReportRow, now: datetime) -> ArchiveRow:
    """Bring a report back out of its archive, which stays as it is.

    Raises:
        NotFound: The report lies in no archive.
        ArchiveInvalid: The archive is missing or damaged. Nothing was changed.
        StationBusy: Another process moves files just now.
        OSError: A file could not be written. The report lies in the archive as before.
    """
    with home.tidying():
        known, path, facts = facts_of(store, folder, row)
        prefix = _prefix(REPORT, row.digest)
        wanted = {
            prefix + name: home.root / member.place
            for name, member in _members(archive_file.read_manifest(path), REPORT, row.digest)
        }
        archive_file.extract(path, wanted)
        with store.writing() as connection:
            for table, rows in ((EVENT, facts["events"]), (LEG, facts["legs"])):
                for each in rows:
                    insert_new(connection, table, each)  # under the numbers that they had: their order stays
            if store.is_shared:
                for place, name in _kept_by(connection, row.digest).items():
                    if (home.root / place).is_file():
                        blobs.put_file(connection, name, home.root / place)
            recipients = facts["report"]["recipients"]
            connection.execute(sa.update(REPORTS).where(REPORTS.c.digest == row.digest).values(recipients=recipients))
            state, at = row.state.value, now.timestamp()
            connection.execute(sa.insert(EVENT).values(**_event(at, row.digest, "archive-restored", state, known.name)))
            which = (ARCHIVED.c.kind == REPORT) & (ARCHIVED.c.key == row.digest)
            connection.execute(sa.delete(ARCHIVED).where(which))
    return known


def check(store: Store, folder: Path) -> list[tuple[ArchiveRow, TaxferryError | None]]:
    """Read every archive from end to end; return what is wrong with each."""
    found: list[tuple[ArchiveRow, TaxferryError | None]] = []
    for row in archives(store):
        path = path_of(row, folder)
        try:
            archive_file.prove(path)
            if hash_file(path)[0] != row.sha256:
                raise ArchiveInvalid(
                    name=row.name, reason=Text("与封存时的校验值不符", "it is not the file that was sealed")
                )
        except ArchiveInvalid as error:
            LOGGER.warning("%s: %s", row.name, error)
            found.append((row, error))
        else:
            found.append((row, None))
    return found
