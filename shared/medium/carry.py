"""What a visit puts on a stick and takes away from it again: the same rules for both stations.

Above a handful, files go as one container: a stick of 20 MB/s takes a thousand small files four times as fast in one
piece (STICK-14). What has to take the place of an older file of its name goes by itself, since a container replaces
nothing; so does the trust file, with which nobody is ever done: a container goes only when all in it is done with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from shared.errors import ForeignObject, NameTaken, TaxferryError
from shared.medium.facts import Facts
from shared.medium.names import Direction
from shared.medium.reading import Harvest, Seen
from shared.medium.stick import Outgoing, Stick, StickFile

HANDFUL: Final = 5
"""As many files go one by one; more go as a container."""


@dataclass(frozen=True)
class Cargo:
    """A file that is to lie on the stick, and what its signature proves."""

    file: Outgoing
    facts: Facts


@dataclass(frozen=True)
class Carried:
    """What became of a file that was to lie on the stick.

    Attributes:
        cargo: The file.
        already: Whether it lay there before.
        container: The container that holds it; empty if it lies by itself.
        error: Why it is not there: something else has its name, and was not touched.
    """

    cargo: Cargo
    already: bool = False
    container: str = ""
    error: TaxferryError | None = None


def carry(
    stick: Stick,
    harvest: Harvest,
    cargo: Sequence[Cargo],
    direction: Direction,
    *,
    now: datetime,
    advanced: Callable[[int], None],
) -> Iterator[Carried]:
    """Let every file lie on the stick, durably; yield each as soon as it does, so that it can be written down.

    Args:
        stick: The open stick.
        harvest: What lies there.
        cargo: The files.
        direction: Who is to read them.
        now: The time, for the transfer log.
        advanced: Told of every block's length, written and read back.

    Raises:
        MediumError: The stick failed or is full; what was yielded before lies there.
        OSError: A local file cannot be read.
    """
    packed = harvest.packed(direction)
    confirmed: set[str] = set()
    fresh: list[Cargo] = []
    for item in cargo:
        container = packed.get((item.file.name, item.file.sha256))
        if container is None:
            fresh.append(item)
            continue
        if container not in confirmed:
            stick.confirm(direction, container)
            confirmed.add(container)
        advanced(2 * item.file.size)
        yield Carried(item, already=True, container=container)
    taken = {seen.name for seen in harvest.files if seen.direction is direction and not seen.container}
    together = [item for item in fresh if item.file.name not in taken and item.facts.kind != "trust"]
    if len(together) <= HANDFUL:
        together = []
    packed_names = {item.file.name for item in together}

    def alone(item: Cargo) -> Carried:
        try:
            placed = stick.place(
                item.file.path,
                item.file.name,
                direction,
                now=now,
                digest=item.file.digest,
                superseded=harvest.older_than(direction, item.file.name, item.facts),
                advanced=advanced,
            )
        except NameTaken as error:
            return Carried(item, error=error)
        except ForeignObject as error:
            if error.context["name"] != item.file.name:
                raise  # it concerns the folder, and so every file
            return Carried(item, error=error)
        return Carried(item, already=placed.already)

    yield from (alone(item) for item in fresh if item.file.name not in packed_names)
    if not together:
        return
    try:
        names = [p.name for p in stick.place_batch([i.file for i in together], direction, now=now, advanced=advanced)]
    except (NameTaken, ForeignObject):
        # A damaged container of the same members has the name: it is left as it is, and the files go without one.
        yield from map(alone, together)
        return
    for item in together:
        yield Carried(item, container=names[0] if len(names) == 1 else "…")


def leave_trust(path: Path, file: Outgoing, *, station: str, now: datetime) -> bool:
    """Put a trust file on a prepared stick, for the first meeting of two PCs; return whether it lies there (STICK-24).

    Another one that lies there is left: the Internet PC's next visit puts the newer one in its place.

    Raises:
        MediumError: The stick failed.
    """
    with Stick.open(path, station=station) as stick:
        try:
            stick.place(file.path, file.name, Direction.TO_OFFLINE, now=now, digest=file.digest)
        except (NameTaken, ForeignObject):
            return False
        stick.finish()
        return True


def tidy(stick: Stick, harvest: Harvest, finished: Callable[[Seen], bool]) -> list[str]:
    """Remove what is finished: files by themselves, and containers whose every member is (STICK-10).

    Args:
        stick: The open stick.
        harvest: What lies there.
        finished: Whether the next leg of a file is proven, and was long enough ago.

    Returns:
        The names of the files that are gone, members of containers by their own names.
    """
    single = [seen for seen in harvest.files if not seen.container and seen.sha256 and finished(seen)]
    removed = [seen.name for seen in single if stick.remove(entry_of(seen), seen.sha256)]
    for box in harvest.containers:
        members = [seen for seen in harvest.files if (seen.place, seen.container) == (box.place, box.name)]
        # Of one that is damaged, or that holds what is for others as well, nobody here knows whether all is done with.
        whole = box.error is None and not box.others
        if whole and members and all(map(finished, members)) and stick.remove(entry_of(box), box.sha256):
            removed.extend(seen.name for seen in members)
    return removed


def entry_of(seen: Seen) -> StickFile:
    """Return a file as `Stick` lists it."""
    report = seen.facts.name if seen.facts is not None and seen.facts.stem else None
    return StickFile(seen.name, seen.place, seen.size, report, seen.suffix)
