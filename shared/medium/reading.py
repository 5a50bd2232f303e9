"""What lies on a stick, as a process apart read and proved it (STICK-8, STICK-9).

A stick was filled by anyone. The program that holds the card, the keys and the ledger therefore opens nothing of it
but the marker: `read_stick` starts `shared.medium.reader`, which lists the stick, copies what is wanted into a scratch
folder, proves it, and says what it found, one JSON object per line. What it says is checked like any other input, and
whatever it hands over is proven again by the card, or by the intake, before anything is believed.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared import faults
from shared.clock import format_time
from shared.durable import TEMPORARY_SUFFIX
from shared.envelope.chain import TrustStore, load_certificate, load_crl
from shared.errors import MediumDamaged, MediumError, TaxferryError
from shared.medium.confine import PROTECTIONS, Limits, run_confined
from shared.medium.facts import Facts
from shared.medium.names import BATCH, MAX_SIZES, TRUST, Direction, recognise, recognise_container
from shared.medium.stick import Place
from shared.text import Text

READER: Final = "shared.medium.reader"
MAX_FINDINGS: Final = 20_000
_SCRATCH: Final = ".visit."
LIMITS: Final = Limits(
    memory_bytes=1 << 30,
    cpu_seconds=3600,
    file_bytes=(1 << 30) + (8 << 20),
    open_files=128,
    silent_seconds=120,
    message_bytes=1 << 16,
    messages=2 * MAX_FINDINGS,
)

_Hex64 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Short = Annotated[str, Field(max_length=600)]
_STRICT: Final = ConfigDict(extra="forbid", frozen=True, strict=True)


class Request(BaseModel):
    """What the reader is asked to do.

    Attributes:
        path: Where the stick is.
        station: Our tag.
        scratch: The folder for copies.
        at: The moment of judgement.
        machines: `税号_分机号` of those whose files are wanted; None for everybody's.
        copy_kinds: Suffixes of files that are to be copied out; others of ours are only proven where they lie.
        known: SHA-256 of what we have: not to be copied.
        known_sizes: Their sizes: a file of another size need not be read twice.
        roots, intermediates, crls, former: The trust store, DER in base64.
    """

    model_config = _STRICT

    path: str
    station: str
    scratch: str
    at: str
    machines: tuple[str, ...] | None
    copy_kinds: tuple[str, ...]
    known: tuple[str, ...]
    known_sizes: tuple[int, ...]
    roots: tuple[str, ...]
    intermediates: tuple[str, ...]
    crls: tuple[str, ...]
    former: tuple[str, ...]

    def trust(self) -> TrustStore:
        """Return the trust store."""
        certificates = [
            tuple(load_certificate(base64.b64decode(text)) for text in texts)
            for texts in (self.roots, self.intermediates, self.former)
        ]
        crls = tuple(load_crl(base64.b64decode(text)) for text in self.crls)
        return TrustStore(certificates[0], certificates[1], crls, certificates[2])


class Told(BaseModel):
    """An error, on its way from one process to the other: its permanent code and the facts of the occurrence."""

    model_config = _STRICT

    code: str = Field(pattern=r"^B[0-9]{4}$")
    context: Mapping[_Short, int | _Short | tuple[_Short, _Short]] = {}

    @classmethod
    def of(cls, error: TaxferryError) -> Told:
        """Describe an error."""
        context: dict[str, int | str | tuple[str, str]] = {}
        for key, value in error.context.items():
            if isinstance(value, Text):
                context[key] = (value.zh[:500], value.en[:500])
            else:
                context[key] = value if type(value) is int else str(value)[:500]
        return cls(code=error.code, context=context)

    def error(self) -> TaxferryError:
        """Return the error.

        Raises:
            ValueError: There is no such error, or its facts are not those of its message.
        """
        found = faults.ERRORS.get(self.code)
        if found is None:
            raise ValueError(self.code)
        context = {key: _legible(value) for key, value in self.context.items()}
        try:
            return found(**context)
        except (KeyError, TypeError, AttributeError) as problem:
            raise ValueError(self.code) from problem


def _legible(value: int | str | tuple[str, str]) -> int | str | Text:
    """Return a fact of an error so that it can be shown: nothing in it that a terminal would obey."""
    if isinstance(value, tuple):
        return Text(*("".join(c if c.isprintable() else " " for c in each) for each in value))
    return value if isinstance(value, int) else "".join(c if c.isprintable() else " " for c in value)


class FileMessage(BaseModel):
    """One file of ours that lies on the stick, by itself or in a container; of a container also how much is others'."""

    model_config = _STRICT

    event: Literal["file"] = "file"
    place: Place
    name: _Short
    container: _Short = ""
    suffix: str = Field(pattern=r"^(\.dat|\.txt|\.ack|\.tar|trust\.txt)$")
    size: int = Field(ge=0)
    sha256: _Hex64 | Literal[""] = ""
    copied: str = Field(default="", pattern=r"^[0-9a-f]{0,64}$")
    others: int = Field(default=0, ge=0)
    facts: Facts | None = None
    error: Told | None = None


class ListingMessage(BaseModel):
    """What was found in all, before any file was opened."""

    model_config = _STRICT

    event: Literal["listing"] = "listing"
    identity: _Short
    foreign: int = Field(ge=0)
    others: int = Field(ge=0)
    truncated: bool
    total_bytes: int = Field(ge=0)


class ProgressMessage(BaseModel):
    """How many bytes were read so far."""

    model_config = _STRICT

    event: Literal["progress"] = "progress"
    done: int = Field(ge=0)


class ProtectionMessage(BaseModel):
    """What keeps the reader from doing anything else."""

    model_config = _STRICT

    event: Literal["confined"] = "confined"
    protections: tuple[_Short, ...]


class TroubleMessage(BaseModel):
    """The stick as a whole could not be read (any further)."""

    model_config = _STRICT

    event: Literal["trouble"] = "trouble"
    error: Told


class _Any(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    message: Annotated[
        FileMessage | ListingMessage | ProgressMessage | ProtectionMessage | TroubleMessage,
        Field(discriminator="event"),
    ]


Message = FileMessage | ListingMessage | ProgressMessage | ProtectionMessage | TroubleMessage


@dataclass(frozen=True)
class Seen:
    """A file that lies on the stick under a name of ours.

    Attributes:
        place: In which of the three folders.
        name: Its name there, or in its container.
        container: The container's name; empty if it lies by itself.
        suffix: Its kind by its name.
        size: Its length.
        sha256: Its SHA-256; empty if it could not be read.
        copy: Where its copy lies, until the end of the visit; None if none was wanted.
        facts: What its signature proves; None if it proves nothing.
        error: Why it proves nothing.
        others: How many members of a container are for other machines than those asked for. They were not opened.
    """

    place: Place
    name: str
    container: str
    suffix: str
    size: int
    sha256: str
    copy: Path | None
    facts: Facts | None
    error: TaxferryError | None
    others: int = 0

    @property
    def direction(self) -> Direction | None:
        """Who is to read it, by the folder; None in the root."""
        return None if self.place == "root" else Direction(self.place)


@dataclass
class Harvest:
    """Everything of ours on a stick.

    Attributes:
        identity: The stick's id, as the reader saw it; empty if it has none.
        files: The files, containers left out and their members in.
        containers: The containers by place and name: whole ones with their members' SHA-256.
        foreign: How many other entries there are.
        others: How many files there are for other machines than those asked for. They were not opened.
        truncated: Whether there was more than anyone puts on a stick.
        protections: What kept the reader from doing anything else.
    """

    identity: str = ""
    files: list[Seen] = field(default_factory=list)
    containers: list[Seen] = field(default_factory=list)
    foreign: int = 0
    others: int = 0
    truncated: bool = False
    protections: tuple[str, ...] = ()

    @property
    def nothing_of_ours(self) -> bool:
        """Whether nothing there was ever put there by a station: it is another stick, or another folder, than was meant."""
        return not (self.identity or self.files or self.containers or self.others or self.truncated)

    def of(self, kind: str) -> list[Seen]:
        """Return the proven files of a kind, the newest last."""
        found = [seen for seen in self.files if seen.facts is not None and seen.facts.kind == kind]
        return sorted(found, key=lambda seen: (seen.facts.number if seen.facts else 0, seen.name))

    def older_than(self, direction: Direction, name: str, facts: Facts) -> frozenset[str]:
        """Return the SHA-256 of files of this name that are proven older than what `facts` describe."""
        return frozenset(
            seen.sha256
            for seen in self.files
            if seen.direction is direction
            and seen.name == name
            and not seen.container
            and seen.facts is not None
            and facts.supersedes(seen.facts)
        )

    def broken(self, direction: Direction) -> list[tuple[str, TaxferryError]]:
        """Return the damaged containers, and why, that who reads this direction's folder has to be told of.

        Whoever writes there puts what is missing there again in the same visit.
        """
        return [(box.name, box.error) for box in self.containers if box.error and box.direction in (direction, None)]

    def packed(self, direction: Direction) -> dict[tuple[str, str], str]:
        """Return name and SHA-256 of what lies in whole containers, with the container's name."""
        whole = {seen.name for seen in self.containers if seen.direction is direction and seen.error is None}
        return {
            (seen.name, seen.sha256): seen.container
            for seen in self.files
            if seen.direction is direction and seen.container in whole
        }


@contextlib.contextmanager
def read_stick(
    path: Path,
    *,
    station: str,
    scratch: Path,
    trust: TrustStore,
    at: datetime,
    machines: Sequence[str] | None,
    copy_kinds: Sequence[str],
    known: Mapping[str, int],
    advanced: Callable[[int, int], None],
) -> Iterator[Harvest]:
    """Have a stick read and proven by a process apart; its copies are there while the block runs.

    Args:
        path: The stick.
        station: Our tag.
        scratch: A local folder in which a folder for the copies is made; best on the disk to which they go.
        trust: What is believed.
        at: The moment of judgement.
        machines: `税号_分机号` of those whose files are wanted; None for everybody's.
        copy_kinds: Suffixes of the files that are to be copied.
        known: SHA-256 and size of what is here already and is not copied again.
        advanced: Told how many bytes were read, and of how many.

    Raises:
        MediumError: The stick failed. What was copied is gone; the stick is as it was.
        ReaderFailed: The reading process ended before its end: something on the stick made it fail.
    """
    folder = Path(tempfile.mkdtemp(prefix=_SCRATCH, suffix=TEMPORARY_SUFFIX, dir=scratch))
    try:
        request = Request(
            path=str(path.absolute()),
            station=station,
            scratch=str(folder.absolute()),
            at=format_time(at),
            machines=None if machines is None else tuple(machines),
            copy_kinds=tuple(copy_kinds),
            known=tuple(sorted(known)),
            known_sizes=tuple(sorted(set(known.values()))),
            roots=tuple(_base64(c) for c in trust.roots),
            intermediates=tuple(_base64(c) for c in trust.intermediates),
            crls=tuple(_base64(c) for c in trust.crls),
            former=tuple(_base64(c) for c in trust.former),
        )
        yield _collect(request, folder, advanced)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_scratch(scratch: Path) -> None:
    """Remove the folders that killed visits left. Only while no visit is under way."""
    for folder in scratch.glob(f"{_SCRATCH}*{TEMPORARY_SUFFIX}"):
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)


def _collect(request: Request, folder: Path, advanced: Callable[[int, int], None]) -> Harvest:
    harvest = Harvest()
    total, listed = 0, False
    copies: set[str] = set()
    running = run_confined(
        READER,
        request.model_dump(mode="json"),
        readable=[Path(request.path)],
        writable=[folder],
        limits=LIMITS,
    )
    with contextlib.closing(running) as messages:  # type: ignore[type-var]
        for found in map(_checked, messages):
            match found:
                case ListingMessage():
                    if listed:
                        raise _nonsense()
                    listed = True
                    harvest.identity, harvest.foreign, harvest.others = found.identity, found.foreign, found.others
                    harvest.truncated, total = found.truncated, found.total_bytes
                case ProgressMessage():
                    advanced(found.done, max(total, found.done))
                case ProtectionMessage():
                    harvest.protections = tuple(word for word in found.protections if word in PROTECTIONS)
                case TroubleMessage():
                    error = _told(found.error)
                    raise error if isinstance(error, MediumError) else _nonsense()
                case FileMessage():
                    if not listed or (found.copied and found.copied in copies):
                        raise _nonsense()
                    copies.add(found.copied)
                    seen = _seen(found, request, folder)
                    (harvest.containers if seen.suffix == ".tar" else harvest.files).append(seen)
    if not listed:
        raise _nonsense()
    return harvest


def _checked(message: Mapping[str, Any]) -> Message:
    # The lines are JSON, which has no tuples: pydantic's strict mode takes lists for them only from JSON itself.
    try:
        return _Any.model_validate_json(json.dumps({"message": message})).message
    except ValidationError:
        raise _nonsense() from None


_KINDS: Final = {".dat": "report", ".txt": "result", ".ack": "ack", TRUST: "trust"}


def _contradicts(found: FileMessage, request: Request) -> bool:
    """Return whether a message says what no honest reader says of any file, asked what this one was asked."""
    meaning = recognise(found.name)
    if meaning is None or meaning[1] != found.suffix:
        return True
    report, facts = meaning[0], found.facts
    if found.suffix == BATCH:
        return bool(found.container or found.copied or facts is not None)
    if found.others or (found.container and recognise_container(found.container) is None):
        return True
    mine = request.machines is None or report is None or f"{report.taxpayer_id}_{report.machine_no}" in request.machines
    if not mine or (found.copied and found.suffix not in request.copy_kinds):
        return True
    if found.sha256 == "":
        return found.error is None or facts is not None or found.copied != ""
    if found.size > MAX_SIZES[found.suffix]:
        return True
    if facts is None:
        return found.error is None and found.sha256 not in request.known
    wanted = found.suffix in request.copy_kinds and found.sha256 not in request.known
    if found.error is not None or facts.kind != _KINDS[found.suffix] or wanted is not bool(found.copied):
        return True
    try:
        stem = "" if report is None else report.stem
        return stem != facts.stem or (facts.digest == "") is not (facts.stem == "")
    except TaxferryError:
        return True


def _seen(found: FileMessage, request: Request, folder: Path) -> Seen:
    if _contradicts(found, request):
        raise _nonsense()
    copy = folder / found.copied if found.copied else None
    if copy is not None:
        look = copy.lstat() if os.path.lexists(copy) else None
        if look is None or not stat.S_ISREG(look.st_mode) or look.st_size != found.size:
            raise _nonsense()
    return Seen(
        found.place,
        found.name,
        found.container,
        found.suffix,
        found.size,
        found.sha256,
        copy,
        found.facts,
        None if found.error is None else _told(found.error),
        found.others,
    )


def _told(told: Told) -> TaxferryError:
    try:
        return told.error()
    except ValueError:
        raise _nonsense() from None


def _nonsense() -> MediumDamaged:
    return MediumDamaged(
        reason=Text("读取U盘的进程给出了无法理解的内容", "the reading process said what makes no sense")
    )


def _base64(item: Any) -> str:
    return base64.b64encode(item.public_bytes(Encoding.DER)).decode("ascii")
