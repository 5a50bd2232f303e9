"""The sticks of one station: which are in, which is meant, and what the station remembers of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from shared.errors import MediumError, MediumInUse
from shared.medium.find import (
    FoundStick,
    choose,
    clone_warning,
    examine,
    fingerprint,
    survey,
    twins,
    twins_warning,
)
from shared.medium.stick import Listing, Stick, StickFile, StickIdentity
from shared.text import Text
from shared.text.system import shown_name

_LAST: Final = "stick"
_VOLUME: Final = "volume:"


class Memory(Protocol):
    """The station's settings."""

    def recall(self, key: str) -> str:
        """Return what is kept under a key, or an empty string."""
        ...

    def keep(self, key: str, value: str) -> None:
        """Keep something under a key."""
        ...


@dataclass(frozen=True)
class Sticks:
    """What a station knows of sticks.

    Attributes:
        station: The station's name on sticks.
        memory: Where it remembers the stick used last, and the volume on which it saw each.
        wanted: Whether a file on a stick is for this station.
        to_place: Whether something waits to be put on a stick.
    """

    station: str
    memory: Memory
    wanted: Callable[[StickFile], bool]
    to_place: Callable[[], bool]

    def found(self) -> list[FoundStick]:
        """Return every medium that is in, the folder used last included, and what state it is in."""
        last = self.memory.recall(_LAST)
        return survey([Path(last)] if last else [], station=self.station, wanted=self.wanted, to_place=self.to_place())

    def find(self, typed: Path | None) -> Path:
        """Return where the stick is that is meant: a folder, a name, or the only one that is in.

        Raises:
            MediumAbsent: None is in, or not the one that was named.
            MediumAmbiguous: Several are, and the operator has to say which.
            MediumUnprepared: What is in is no stick of ours, and nothing was named.
        """
        if typed is not None and typed.is_dir():
            return typed.absolute()
        return choose(self.found(), None if typed is None else str(typed)).path

    def meant(self, typed: Path | None, found: Sequence[FoundStick]) -> FoundStick | None:
        """Return the medium to be shown in full; None if there is none, or several and none was named.

        Raises:
            MediumAbsent: What was named is not in.
        """
        if typed is not None:
            return choose(
                found,
                str(typed),
                examine=lambda path: examine(path, station=self.station, wanted=self.wanted, to_place=self.to_place()),
            )
        with contextlib.suppress(MediumError):
            return choose(found, None)
        return None

    def prepare(self, path: Path, label: str, *, new_identity: bool, now: datetime) -> StickIdentity:
        """Make a folder a stick of ours, and remember it."""
        with Stick.prepare(path, label, station=self.station, now=now, new_identity=new_identity) as stick:
            stick.finish()
            identity = stick.identity
        assert identity is not None
        self.remember(path)
        return identity

    def prepare_disc(self, folder: Path, label: str, *, now: datetime) -> None:
        """Make a new folder one that is to be burnt to a disc.

        Raises:
            MediumInUse: It is not empty. Nothing was written.
            MediumError: It cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        others = sum(1 for _ in folder.iterdir())
        if others:
            raise MediumInUse(name=shown_name(str(folder)), count=others)
        with Stick.prepare(folder, label or f"光盘 {now:%Y-%m-%d}", station=self.station, now=now) as stick:
            stick.finish()

    def listing(self, path: Path) -> tuple[StickIdentity | None, Listing]:
        """Return what lies on a stick, by its names."""
        with Stick.open(path, station=self.station, unprepared=True) as stick:
            return stick.identity, stick.list()

    def settle(self, path: Path) -> StickIdentity | None:
        """Make sure that everything has reached a stick, and let go of it.

        Raises:
            MediumError: It was pulled or failed.
        """
        with Stick.open(path, station=self.station, unprepared=True) as stick:
            stick.finish()
            return stick.identity

    def remember(self, path: Path) -> None:
        """Let this be the stick, or the folder that stands for one, that is meant when none is named."""
        if self.memory.recall(_LAST) != str(path.absolute()):
            self.memory.keep(_LAST, str(path.absolute()))

    def doubts(self, stick: Stick) -> Iterator[Text]:
        """Tell of a marker that was copied to another stick: two in at once, or one seen before on another volume."""
        identity = stick.identity
        if identity is None:
            return
        here = [one for one in self.found() if one.identity is not None and one.identity.id == identity.id]
        yield from map(twins_warning, twins(here))
        volume = next((one.volume for one in here if one.path.absolute() == stick.path.absolute()), None)
        seen = fingerprint(volume)
        if not seen:
            return
        known = self.memory.recall(_VOLUME + identity.id)
        warning = clone_warning(identity, volume, {identity.id: known} if known else {})
        if warning is not None:
            yield warning
        elif not known:
            self.memory.keep(_VOLUME + identity.id, seen)
