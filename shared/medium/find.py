"""Which media are in, in what state they are, and which of them is meant (requirements STICK-21 to STICK-23).

A medium is ours by the marker that lies on it, never by its volume name or its drive letter. Where more than one could
be meant, a person says which: nothing here guesses.

    found = survey(remembered, station=…, wanted=…, to_place=True)
    stick = choose(found, typed)             or both at once: locate(typed, remembered, …)
    if (status := stick.exit_code(to_place=True)) is not ExitCode.OK: …say STATES[stick.state]
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final

from shared.errors import (
    ExitCode,
    MediumAbsent,
    MediumAmbiguous,
    MediumDamaged,
    MediumError,
    MediumUnprepared,
    NoSuchStick,
)
from shared.medium.names import MARKER, parse_part_name, recognise
from shared.medium.port import LOCAL, FilePort
from shared.medium.stick import Stick, StickFile, StickIdentity
from shared.medium.volumes import Volume, is_gone, mounted_volumes, place_of, volume_at
from shared.text import Text
from shared.text.system import os_reason, shown_name

# States -----------------------------------------------------------------------------------------------------------


class MediumState(StrEnum):
    """Everything that a place for a medium can be found to be."""

    NONE = "none"
    SEVERAL = "several"
    NOT_OURS = "not-ours"
    EMPTY = "empty"
    WORK = "work"
    FULL = "full"
    READ_ONLY = "read-only"
    DAMAGED = "damaged"
    PULLED = "pulled"


@dataclass(frozen=True)
class StateWords:
    """What is said of a state.

    Attributes:
        name: In a word or two.
        advice: What to do about it, in a sentence.
        exit: The status of a program that can do nothing else because of it.
    """

    name: Text
    advice: Text
    exit: ExitCode


STATES: Final[Mapping[MediumState, StateWords]] = MappingProxyType(
    {
        MediumState.NONE: StateWords(
            Text("没有U盘", "no stick"),
            Text(
                "插入准备过的U盘；新U盘先执行 stick prepare 准备一次。",
                "Plug in a prepared stick; prepare a new one once with stick prepare.",
            ),
            ExitCode.MEDIUM_ABSENT,
        ),
        MediumState.SEVERAL: StateWords(
            Text("有多个U盘", "several sticks"),
            Text(
                "只留下要用的那一个，或写明它的名称或路径。",
                "Leave only the one that you mean, or give its name or path.",
            ),
            ExitCode.MEDIUM_AMBIGUOUS,
        ),
        MediumState.NOT_OURS: StateWords(
            Text("不是税渡的U盘", "not a taxferry stick"),
            Text(
                "换上税渡的U盘；确要使用这一个，先执行 stick prepare，不会格式化，也不动其他文件。",
                "Take a taxferry stick instead; to use this one run stick prepare, which formats nothing and touches no other file.",
            ),
            ExitCode.MEDIUM_UNPREPARED,
        ),
        MediumState.EMPTY: StateWords(
            Text("没有要搬运的文件", "nothing to carry"),
            Text(
                "U盘可以使用；上面没有给这台电脑的文件，这台电脑也没有要放上去的。",
                "The stick can be used; nothing on it is meant for this PC, and this PC has nothing for it.",
            ),
            ExitCode.OK,
        ),
        MediumState.WORK: StateWords(
            Text("有要搬运的文件", "files to carry"),
            Text(
                "执行 stick sync，双向一次完成；看到可以拔出再拔。",
                "Run stick sync, which carries both ways at once; take the stick out when it says so.",
            ),
            ExitCode.OK,
        ),
        MediumState.FULL: StateWords(
            Text("已满", "full"),
            Text(
                "删除U盘上不需要的其他文件，或换一个U盘；TAXFERRY 文件夹不要动。",
                "Remove other files that you do not need, or take another stick; leave the TAXFERRY folder alone.",
            ),
            ExitCode.MEDIUM_FULL,
        ),
        MediumState.READ_ONLY: StateWords(
            Text("只读", "read-only"),
            Text(
                "打开写保护开关或换一个U盘；只取文件不受影响。",
                "Open its write-protect switch or take another stick; taking files from it works all the same.",
            ),
            ExitCode.MEDIUM_READ_ONLY,
        ),
        MediumState.DAMAGED: StateWords(
            Text("读不出来", "cannot be read"),
            Text(
                "重新插入再试；仍然读不出来就换一个U盘，原件都在发送的电脑上。",
                "Plug it in again; if it still cannot be read take another stick, the sending PC has every original.",
            ),
            ExitCode.MEDIUM_DAMAGED,
        ),
        MediumState.PULLED: StateWords(
            Text("已被拔出", "pulled out"),
            Text(
                "重新插入后再执行一次；没有放完的文件会重新放。",
                "Plug it in and run the command again; whatever was not placed is placed anew.",
            ),
            ExitCode.MEDIUM_DAMAGED,
        ),
    }
)

RESERVE: Final = 1 << 20
"""Free bytes below which a stick takes no more files."""


@dataclass(frozen=True)
class FoundStick:
    """A medium, or a folder that stands for one, as it was found.

    Attributes:
        path: Where it is.
        state: What it is; NONE and SEVERAL are no single medium's state.
        identity: Who it is, if it is ours and could be read that far.
        label: Its name for people: of the identity, else of the volume.
        volume: What is mounted there; None for a plain folder.
        free_bytes: How much can still be written.
        waiting: How many files lie there that the caller wants.
        work: Those files: place, name and length of each.
        error: Why it could not be read.
    """

    path: Path
    state: MediumState
    identity: StickIdentity | None = None
    label: str = ""
    volume: Volume | None = None
    free_bytes: int = 0
    waiting: int = 0
    work: frozenset[tuple[str, str, int]] = frozenset()
    error: MediumError | None = None

    def exit_code(self, *, to_place: bool) -> ExitCode:
        """Return how a program ends that found this; that nothing can be written matters only to one that has to."""
        if self.state is MediumState.READ_ONLY and not to_place:
            return ExitCode.OK
        return STATES[self.state].exit

    @property
    def shown(self) -> str:
        """Its name and place, as one says them to a person."""
        place = shown_name(str(self.path))
        return f"{self.label} ({place})" if self.label and self.label != place else place


# Looking ----------------------------------------------------------------------------------------------------------


def survey(
    remembered: Sequence[Path],
    *,
    station: str,
    wanted: Callable[[StickFile], bool],
    to_place: bool,
    volumes: Callable[[], Sequence[Volume]] = mounted_volumes,
    files: FilePort = LOCAL,
) -> list[FoundStick]:
    """Return every medium of ours that is in, and every removable one that is not ours; each once, by its path.

    A disk that looks fixed and has no marker is nobody's business and is left out.

    Args:
        remembered: Folders that were used before; those that are gone, or are not ours any more, are left out.
        station: The id of this station.
        wanted: Whether a file on the stick is one that the caller came for.
        to_place: Whether the caller has something to write.
        volumes: The mounted volumes.
        files: The file system.

    Returns:
        What was found. One bad medium is one bad entry: nothing is raised for it.
    """
    mounted = volumes()
    candidates: dict[object, tuple[Path, Volume | None, bool]] = {place_of(v.path): (v.path, v, False) for v in mounted}
    for path in remembered:
        key = place_of(path)
        known = candidates.get(key)
        if known is not None:
            candidates[key] = (known[0], known[1], True)
        elif path.is_dir():
            candidates[key] = (path, None, True)
    found = []
    for path, volume, known_path in candidates.values():
        expected = known_path or (volume is not None and volume.removable)
        one = _look(path, volume, station, wanted, to_place, volumes, files, expected=expected)
        stale = known_path and one.state is MediumState.NOT_OURS and (volume is None or not volume.removable)
        if one.identity is not None or (expected and not stale):
            found.append(one)
    return sorted(found, key=lambda one: str(one.path))


def examine(
    path: Path,
    *,
    station: str = "",
    wanted: Callable[[StickFile], bool] = lambda _: True,
    to_place: bool = False,
    volumes: Callable[[], Sequence[Volume]] = mounted_volumes,
    files: FilePort = LOCAL,
) -> FoundStick:
    """Return what one folder is, ours or not; the arguments are those of `survey`."""
    return _look(path, volume_at(path, volumes()), station, wanted, to_place, volumes, files, expected=True)


def _look(
    path: Path,
    volume: Volume | None,
    station: str,
    wanted: Callable[[StickFile], bool],
    to_place: bool,
    volumes: Callable[[], Sequence[Volume]],
    files: FilePort,
    *,
    expected: bool,
) -> FoundStick:
    name = shown_name(path.name or str(path))
    found = FoundStick(path, MediumState.NOT_OURS, label=name, volume=volume)
    try:
        if volume is not None and is_gone(volume):
            raise MediumDamaged(reason=os_reason(OSError(errno.ENODEV, "")))
        with Stick.open(path, station=station, unprepared=True, files=files) as stick:
            found = replace(found, identity=stick.identity, label=stick.identity.label if stick.identity else name)
            if stick.identity is not None:
                work = frozenset((file.place, file.name, file.size) for file in stick.list().files if wanted(file))
                found = replace(found, waiting=len(work), work=work)
        found = replace(found, free_bytes=_room(path, files, prove=expected and found.identity is None))
    except MediumError as error:
        return replace(found, state=_broken(path, volume, volumes), error=error)
    if found.identity is not None:
        found = replace(found, state=_state(found, to_place=to_place))
    return found


def _state(found: FoundStick, *, to_place: bool) -> MediumState:
    if _is_read_only(found.path, found.volume):
        return MediumState.READ_ONLY
    if to_place and found.free_bytes < RESERVE:
        return MediumState.FULL
    return MediumState.WORK if found.waiting or to_place else MediumState.EMPTY


def _room(path: Path, files: FilePort, *, prove: bool) -> int:
    """Return what is free; a medium that showed no marker must first prove that it lives.

    A pulled stick can look like an empty and healthy folder, and only a sync tells the two apart. Disks that nobody
    asked about are not made to sync.
    """
    try:
        folder = files.open_folder(path)
        try:
            if prove:
                try:
                    files.sync_folder(folder)
                except OSError as error:
                    if error.errno not in _CANNOT_SYNC:
                        raise
            return files.free_bytes(folder)
        finally:
            with contextlib.suppress(OSError):
                files.close(folder)
    except OSError as error:
        raise MediumDamaged(reason=os_reason(error)) from error


_CANNOT_SYNC: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.EBADF})


def _is_read_only(path: Path, volume: Volume | None) -> bool:
    if volume is not None and volume.read_only:
        return True
    if not hasattr(os, "statvfs"):
        return False
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _broken(path: Path, volume: Volume | None, volumes: Callable[[], Sequence[Volume]]) -> MediumState:
    """Tell a medium that fails from one that is no longer there."""
    if volume is None:
        return MediumState.DAMAGED if path.is_dir() else MediumState.PULLED
    if is_gone(volume) or all(each.path != volume.path for each in volumes()):
        return MediumState.PULLED
    return MediumState.DAMAGED


# Choosing ---------------------------------------------------------------------------------------------------------


def choose(
    found: Sequence[FoundStick],
    wanted: str | Path | None,
    *,
    examine: Callable[[Path], FoundStick] = examine,
) -> FoundStick:
    """Return the one stick that is meant.

    Args:
        found: From `survey`.
        wanted: What the operator typed: a folder, a stick's name, or its id; None or `""` for nothing.
        examine: Looks at a folder that was typed and is not among `found`.

    Returns:
        It, whatever its state: the caller says what is wrong with it (`exit_code`, `STATES`). Only what was typed can
        return one that is not ours.

    Raises:
        MediumAbsent: None is in, or not the one that was typed (`NoSuchStick` names those that are in).
        MediumUnprepared: Nothing was typed, and what is in is not ours.
        MediumAmbiguous: Several could be meant.
    """
    if wanted is None or not str(wanted):
        return _only(found)
    path = Path(wanted)
    if path.is_dir():
        here = place_of(path)
        listed = next((one for one in found if place_of(one.path) == here), None)
        return listed if listed is not None else examine(path.absolute())
    typed = str(wanted)
    meant = [one for one in found if typed == str(one.path)]  # a dead mount is no folder any more
    if not meant and not isinstance(wanted, Path):
        meant = [one for one in found if _plain(typed) == _plain(one.label)]
        meant += [one for one in found if one.identity is not None and one.identity.id == typed.lower()]
    meant = list(dict.fromkeys(meant))
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise MediumAmbiguous(names=_names(meant))
    if isinstance(wanted, Path) or re.search(r"[/\\]|^[A-Za-z]:", typed) or not _ours(found):
        raise MediumAbsent(path=typed)
    raise NoSuchStick(name=typed, names=_names(_ours(found)))


def locate(
    typed: str | Path | None,
    remembered: Sequence[Path],
    *,
    station: str,
    wanted: Callable[[StickFile], bool],
    to_place: bool,
    volumes: Callable[[], Sequence[Volume]] = mounted_volumes,
    files: FilePort = LOCAL,
) -> FoundStick:
    """Survey and choose in one step; see both for arguments and errors."""
    found = survey(remembered, station=station, wanted=wanted, to_place=to_place, volumes=volumes, files=files)

    def look(path: Path) -> FoundStick:
        return examine(path, station=station, wanted=wanted, to_place=to_place, volumes=volumes, files=files)

    return choose(found, typed, examine=look)


def _only(found: Sequence[FoundStick]) -> FoundStick:
    ours = [one for one in _ours(found) if one.state is not MediumState.PULLED]
    broken = [one for one in found if one.state in (MediumState.DAMAGED, MediumState.PULLED)]
    for candidates in (ours, broken):
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise MediumAmbiguous(names=_names(candidates))
    if found:
        paths = [shown_name(str(one.path)) for one in found]
        raise MediumUnprepared(name=Text("、".join(paths), ", ".join(paths)))
    raise MediumAbsent(path="?")


def _ours(found: Iterable[FoundStick]) -> list[FoundStick]:
    return [one for one in found if one.identity is not None]


def _names(found: Iterable[FoundStick]) -> Text:
    names = [one.shown for one in found]
    return Text("、".join(names), ", ".join(names))


def _plain(label: str) -> str:
    return unicodedata.normalize("NFKC", " ".join(label.split())).casefold()


# Copies -----------------------------------------------------------------------------------------------------------


def fingerprint(volume: Volume | None) -> str:
    """Return what tells a volume from another one of the same content; `""` if nothing does (a plain folder)."""
    if volume is None or not (volume.serial or volume.total_bytes):
        return ""
    return f"{volume.serial}:{volume.total_bytes or ''}"


def clone_warning(identity: StickIdentity, volume: Volume | None, known: Mapping[str, str]) -> Text | None:
    """Return a warning if a stick's identity was seen before on another volume: one of the two is a copy.

    Args:
        identity: Who the stick says it is.
        volume: Where that was read.
        known: The fingerprint under which each stick id was seen last.
    """
    (serial, size), (old_serial, old_size) = (
        print_.rpartition(":")[::2] for print_ in (fingerprint(volume), known.get(identity.id, ""))
    )
    # Of two serials the size says no more: another driver reports another size for the same volume.
    other = serial != old_serial if serial and old_serial else bool(size and old_size and size != old_size)
    if not other:
        return None
    return Text(
        f"U盘“{identity.label}”的标记以前在另一个U盘上见过：其中一个是复制品。"
        "若是换了新盘，请在新盘上执行 stick prepare 并给它新的标识（--new-identity）",
        f"the marker of stick '{identity.label}' was seen on another volume before: one of the two is a copy. "
        "if this is the copy, run stick prepare on it with a new identity (--new-identity)",
    )


def twins(found: Sequence[FoundStick]) -> list[tuple[FoundStick, ...]]:
    """Return the media that are in at the same time and say that they are the same stick."""
    by_id: dict[str, list[FoundStick]] = {}
    for one in _ours(found):
        assert one.identity is not None
        by_id.setdefault(one.identity.id, []).append(one)
    return [tuple(group) for group in by_id.values() if len(group) > 1]


def twins_warning(group: Sequence[FoundStick]) -> Text:
    """Return what to say of media that `twins` found."""
    return Text(
        "这些U盘的标记相同，其中有复制品：{names}。请在复制品上执行 stick prepare 并给它新的标识（--new-identity）",
        "these sticks have the same marker, so all but one are copies: {names}. "
        "run stick prepare on each copy with a new identity (--new-identity)",
    ).fill(names=_names(group))


# Others' files ----------------------------------------------------------------------------------------------------

_MOST_COUNTED: Final = 1_000
_SYSTEMS_OWN: Final = re.compile(
    r"system volume information|\$recycle\.bin|recycler|lost\+found|found\.\d{3}|desktop\.ini|thumbs\.db|autorun\.inf"
    r"|\.trash(?:es|-\d+)?|\.fseventsd|\.spotlight-v100|\.temporaryitems|\.documentrevisions-v100|\.ds_store|\._.*",
    re.DOTALL,
)
"""What operating systems leave on every medium by themselves."""


def foreign_files(path: Path, files: FilePort = LOCAL) -> int:
    """Return how many entries of others a medium holds at its top, for the question before it is prepared.

    Files of ours and what operating systems leave behind are not counted; a thousand is where counting ends.

    Raises:
        MediumAbsent: There is no such folder.
        MediumDamaged: It cannot be read.
    """
    try:
        folder = files.open_folder(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MediumAbsent(path=str(path)) from error
    except OSError as error:
        raise MediumDamaged(reason=os_reason(error)) from error
    try:
        names = files.names(folder, 2 * _MOST_COUNTED)
    except OSError as error:
        raise MediumDamaged(reason=os_reason(error)) from error
    finally:
        with contextlib.suppress(OSError):
            files.close(folder)
    return min(_MOST_COUNTED, sum(1 for name in names if not _is_known(name)))


def _is_known(name: str) -> bool:
    return (
        name.upper() == MARKER
        or recognise(name) is not None
        or parse_part_name(name) is not None
        or _SYSTEMS_OWN.fullmatch(name.lower()) is not None
    )
