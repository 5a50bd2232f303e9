"""Reads a stick and proves what lies on it, in a process that holds nothing: `python -m shared.medium.reader`.

It is started by `shared.medium.reading` through `shared.medium.confine`: it is given a request, gives up what rights
the system lets it give up before it opens the first file, and answers with one JSON object per line. It knows no card,
no key and no ledger. What it writes is named by its own counting, never by the stick.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final, cast

from shared.clock import parse_time
from shared.envelope.chain import TrustStore
from shared.errors import MediumError, NameContradicts, StorageFull, TaxferryError
from shared.ids import ReportName
from shared.medium import confine, container
from shared.medium.facts import Facts, prove_facts
from shared.medium.names import BATCH, recognise
from shared.medium.reading import (
    FileMessage,
    ListingMessage,
    Message,
    ProgressMessage,
    Request,
    Told,
    TroubleMessage,
)
from shared.medium.stick import Listing, Place, Stick, StickFile
from shared.text import Text

_CHUNK: Final = 1 << 20
_PROGRESS: Final = 4 << 20
_LARGE: Final = 1 << 20
"""From this size on, a file that may be known is read once for its SHA-256 before it is copied."""
_REJECTED: Final = 16 << 20
"""The largest file that is copied although it proves nothing: for the quarantine."""
_REJECTED_IN_ALL: Final = 64 << 20
"""As much of that is copied in a visit: a stick full of rubbish does not fill this PC's disk."""


def work(request: dict[str, object]) -> Iterator[dict[str, object]]:
    """Answer one request."""
    # As JSON: it has no tuples, and only there does pydantic's strict mode take lists for them.
    for message in examine(Request.model_validate_json(json.dumps(request))):
        # What is told is ASCII with escapes: it carries every name through any encoding.
        yield message.model_dump(mode="json", exclude_none=True)


def examine(request: Request) -> Iterator[Message]:
    """Go through the stick; whatever is wrong with one file is told about that file, and the others follow."""
    try:
        with Stick.open(Path(request.path), station=request.station, unprepared=True) as stick:
            yield from _Examination(request, stick).run()
    except MediumError as error:
        yield TroubleMessage(error=Told.of(error))


class _Hashing(io.RawIOBase):
    """A file that is read from its start to its end, and its SHA-256."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.file = file
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self.file.read(size)
        self.digest.update(block)
        return block


class _Examination:
    def __init__(self, request: Request, stick: Stick) -> None:
        self.request = request
        self.stick = stick
        self.trust: TrustStore = request.trust()
        self.at: datetime = parse_time(request.at)
        self.scratch = Path(request.scratch)
        self.known = frozenset(request.known)
        self.known_sizes = frozenset(request.known_sizes)
        self.copies = 0
        self.read = 0
        self.told = 0
        self.rejected = 0

    def run(self) -> Iterator[Message]:
        listing = self.stick.list()
        wanted = [entry for entry in listing.files if self.wanted(entry.report)]
        yield self.listed(listing, wanted)
        for unusable in listing.unusable:
            meaning = recognise(unusable.name)
            if meaning is not None and self.wanted(meaning[0]):
                yield FileMessage(
                    place=unusable.place,
                    name=_spelled(unusable.name),
                    suffix=meaning[1],
                    size=0,
                    error=Told.of(unusable.error),
                )
        for entry in wanted:
            yield from self.container(entry) if entry.suffix == BATCH else self.single(entry)

    def wanted(self, report: ReportName | None) -> bool:
        machines = self.request.machines
        return machines is None or report is None or f"{report.taxpayer_id}_{report.machine_no}" in machines

    def listed(self, listing: Listing, wanted: list[StickFile]) -> ListingMessage:
        identity = self.stick.identity
        return ListingMessage(
            identity="" if identity is None else identity.id,
            foreign=listing.foreign,
            others=len(listing.files) - len(wanted),
            truncated=listing.truncated,
            total_bytes=sum(entry.size for entry in wanted),
        )

    def counted(self, blocks: Iterable[bytes]) -> Iterator[bytes | ProgressMessage]:
        """Pass blocks on, and say now and then how many bytes were read."""
        for block in blocks:
            self.read += len(block)
            yield block
            if self.read - self.told >= _PROGRESS:
                self.told = self.read
                yield ProgressMessage(done=self.read)

    # Files

    def single(self, entry: StickFile) -> Iterator[Message]:
        try:
            if entry.size >= _LARGE and entry.size in self.known_sizes:
                digest = hashlib.sha256()
                for found in self.counted(self.stick.blocks(entry)):
                    if isinstance(found, ProgressMessage):
                        yield found
                    else:
                        digest.update(found)
                if digest.hexdigest() in self.known:
                    yield self.told_of(entry, sha256=digest.hexdigest())
                    return
            blocks = self.stick.blocks(entry)
            yield from self.file(entry.place, entry.name, "", entry.suffix, entry.report, entry.size, blocks)
        except MediumError as error:
            yield self.told_of(entry, error=Told.of(error))

    def told_of(self, entry: StickFile, *, sha256: str = "", error: Told | None = None, others: int = 0) -> FileMessage:
        return FileMessage(
            place=entry.place,
            name=_spelled(entry.name),
            suffix=entry.suffix,
            size=entry.size,
            sha256=sha256,
            error=error,
            others=others,
        )

    def container(self, entry: StickFile) -> Iterator[Message]:
        """Go through a container; members before the place where it is damaged are as good as any (STICK-20)."""
        error: MediumError | None = None
        sha256, others = "", 0
        try:
            with self.stick.reading(entry) as opened:
                file = _Hashing(opened)
                for member in container.read(cast("BinaryIO", file), entry.size):
                    if not self.wanted(member.report):
                        others += 1
                    else:
                        blocks = iter(lambda member=member: member.read(_CHUNK), b"")  # type: ignore[misc]
                        yield from self.file(
                            entry.place, member.name, entry.name, member.suffix, member.report, member.size, blocks
                        )
                sha256 = file.digest.hexdigest()
        except MediumError as problem:
            error = problem
        yield self.told_of(entry, sha256=sha256, error=None if error is None else Told.of(error), others=others)

    def file(
        self,
        place: Place,
        name: str,
        inside: str,
        suffix: str,
        report: ReportName | None,
        size: int,
        blocks: Iterable[bytes],
    ) -> Iterator[Message]:
        """Copy a file out, prove the copy, and keep it if it is wanted."""
        copied = f"{self.copies:x}"
        self.copies += 1
        path = self.scratch / copied
        facts: Facts | None = None
        error: TaxferryError | None = None
        digest = hashlib.sha256()
        try:
            with _own_disk():
                opened = path.open("xb+")
            with opened as local:
                for found in self.counted(blocks):
                    if isinstance(found, ProgressMessage):
                        yield found
                    else:
                        digest.update(found)
                        with _own_disk():
                            local.write(found)
                with _own_disk():
                    local.flush()
                try:
                    local.seek(0)
                    facts = prove_facts(local, suffix, self.trust, at=self.at, name=name)
                    if report is not None and facts.stem != report.stem:
                        raise NameContradicts(named=report.in_words, signed=facts.name.in_words)
                except TaxferryError as problem:
                    facts, error = None, problem
                keep = suffix in self.request.copy_kinds and digest.hexdigest() not in self.known
                if error is not None:
                    keep = keep and size <= _REJECTED and self.rejected + size <= _REJECTED_IN_ALL
                    self.rejected += size if keep else 0
                if keep:
                    with _own_disk():
                        os.fsync(local.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        if not keep:
            path.unlink()
        yield FileMessage(
            place=place,
            name=_spelled(name),
            container=_spelled(inside),
            suffix=suffix,
            size=size,
            sha256=digest.hexdigest(),
            copied=copied if keep else "",
            facts=facts,
            error=None if error is None else Told.of(error),
        )


@contextlib.contextmanager
def _own_disk() -> Iterator[None]:
    """Let it not be said of the stick that this PC's disk is full."""
    try:
        yield
    except OSError as error:
        raise StorageFull(name=Text("本机的临时文件夹", "this PC's scratch folder")) from error


def _spelled(name: str) -> str:
    """Return a name so that it can be told: what is no character is escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")[:300]


if __name__ == "__main__":
    confine.serve(work)
