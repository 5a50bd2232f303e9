"""Sticks with proven files on them, and their reading inside the test's own process."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from shared.clock import format_time
from shared.medium import Direction, Stick, container
from shared.medium.carry import Cargo
from shared.medium.facts import Facts
from shared.medium.reading import Harvest, Request, read_stick
from shared.medium.stick import Outgoing
from shared.model.result import Result
from tests.support import texts
from tests.support.pki import NOW, TAXPAYER, Pki, pki

STATION = "online-4f2a"


def prepared(folder: Path, label: str = "财务") -> Path:
    """Make a new folder a stick."""
    folder.mkdir(parents=True)
    with Stick.prepare(folder, label, station=STATION, now=NOW):
        pass
    return folder


def ours(stick: Path, direction: Direction) -> Path:
    """Return one of the two folders."""
    return stick / "TAXFERRY" / direction.value


def container_of(members: Mapping[str, bytes], direction: Direction) -> tuple[str, bytes]:
    """Return name and bytes of the container of these files."""
    plan = container.plan(
        [container.Member(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in members.items()],
        direction,
    )
    out = io.BytesIO()
    container.write(plan, lambda member: io.BytesIO(members[member.name]), out.write)
    return plan.name, out.getvalue()


# Results


def result_for(machine: int = 0, number: int = 17, **changes: Any) -> Result:
    """Return a success for a machine's period report."""
    card = pki().card(machine_no=machine, key_type="p256")
    name = texts.name_of(card, texts.PERIOD)
    digest = hashlib.sha256(f"{machine}".encode()).hexdigest()
    return texts.success(card, name=name, result_no=number, report_digest=digest, **changes)


def file_of(result: Result) -> tuple[str, bytes]:
    """Return name and bytes of a result's file."""
    return result.name.file_name(".txt"), texts.signed(result)


def facts_of(result: Result) -> Facts:
    """Return what its signature proves."""
    return Facts(
        kind="result",
        stem=result.name.stem,
        card_no=result.card_no,
        number=result.result_no,
        digest=result.report_digest,
        signed_at=format_time(result.bureau_time),
    )


def cargo_of(folder: Path, result: Result) -> Cargo:
    """Write a result's file into a local folder, to be carried from there."""
    name, data = file_of(result)
    path = folder / f"{hashlib.sha256(data).hexdigest()[:8]}-{name}"
    path.write_bytes(data)
    return Cargo(Outgoing.of(path, name, result.report_digest), facts_of(result))


# Reading


def request(path: Path, scratch: Path, *, world: Pki | None = None, **changes: Any) -> Request:
    """Return a request to read everything on a stick, and to copy everything but trust files."""
    trust = (world or pki()).trust
    fields: dict[str, Any] = {
        "path": str(path),
        "station": STATION,
        "scratch": str(scratch),
        "at": format_time(NOW),
        "machines": None,
        "copy_kinds": (".dat", ".txt", ".ack"),
        "known": (),
        "known_sizes": (),
        "roots": tuple(_base64(c) for c in trust.roots),
        "intermediates": tuple(_base64(c) for c in trust.intermediates),
        "crls": tuple(_base64(c) for c in trust.crls),
        "former": (),
    }
    return Request(**{**fields, **changes})


def _base64(item: Any) -> str:
    return base64.b64encode(item.public_bytes(Encoding.DER)).decode("ascii")


def saying(messages: Iterable[object]) -> Callable[..., Iterator[object]]:
    """Return what stands for a process that says just this, and first does what it is told to in the scratch folder."""

    def run(_module: str, asked: dict[str, Any], **_: object) -> Iterator[object]:
        for message in messages:
            if callable(message):
                message(Path(asked["scratch"]))
            else:
                yield message

    return run


def reading(
    path: Path,
    scratch: Path,
    *,
    machines: Sequence[str] | None = None,
    copy_kinds: Sequence[str] = (".dat", ".txt", ".ack"),
    known: Mapping[str, int] | None = None,
    at: datetime = NOW,
    advanced: Callable[[int, int], None] = lambda _done, _total: None,
) -> AbstractContextManager[Harvest]:
    """Read a stick as a station does."""
    return read_stick(
        path,
        station=STATION,
        scratch=scratch,
        trust=pki().trust,
        at=at,
        machines=machines,
        copy_kinds=copy_kinds,
        known=known or {},
        advanced=advanced,
    )


def stem(machine: int = 0) -> str:
    """Return the stem of a machine's period report."""
    return f"{TAXPAYER}_{machine}_202608010000"


def name_of(machine: int, suffix: str) -> str:
    """Return the name of a machine's file."""
    return stem(machine) + suffix
