"""A stick that is pulled, cut off, full or lying, at every single operation of a visit."""

from __future__ import annotations

import copy
import errno
import hashlib
import os
import random
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from shared.clock import CHINA
from shared.envelope.chain import TrustStore
from shared.errors import MediumDamaged, MediumError, MediumFull, MediumReadOnly, TaxferryError
from shared.medium import Direction, Folder, Outgoing, Stick
from shared.medium.names import parse_part_name
from shared.medium.reading import read_stick
from tests.support.medium import MemoryMedium, Pessimist, PowerCut, Tree, files_below
from tests.support.reading import read_in_process

__all__ = ["read_in_process"]

NOW = datetime(2026, 8, 3, 9, 30, tzinfo=CHINA)
NAME = "310100000000000_0_202608010000.txt"
FINAL = f"TAXFERRY/to-offline/{NAME}"
NEW = b"success " * 300
OLD = b"failure, number 16"
PATH = Path("/media/stick")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write in three blocks what would otherwise be one."""
    monkeypatch.setattr("shared.medium.stick._CHUNK", 1000)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "result"
    path.write_bytes(NEW)
    return path


def prepared() -> Tree:
    medium = MemoryMedium()
    Stick.prepare(PATH, "财务部", station="online-1", now=NOW, files=medium).close()
    return medium.root


def holding(content: bytes) -> Tree:
    medium = MemoryMedium(prepared())
    folder = medium.root.folders["TAXFERRY"].folders["to-offline"]
    handle = Folder(PATH, 1)
    medium._open[1] = folder
    file = medium.create(handle, NAME)
    file.write(content)
    medium.sync_file(file)
    medium.sync_folder(handle)
    return medium.root


OLDER = frozenset({hashlib.sha256(OLD).hexdigest()})
"""What is proven older than the new file."""


def visit(medium: MemoryMedium, source: Path) -> None:
    """Place one file and finish: what an operator calls a transfer."""
    with Stick.open(PATH, station="online-1", files=medium) as stick:
        stick.place(source, NAME, Direction.TO_OFFLINE, now=NOW, superseded=OLDER)
        stick.finish()


def operations_of(start: Callable[[], Tree], run: Callable[[MemoryMedium], None]) -> int:
    medium = MemoryMedium(start())
    run(medium)
    return medium.operations


def lucks() -> Iterator[random.Random]:
    yield Pessimist()
    yield from (random.Random(seed) for seed in range(6))


STARTS = {"empty": prepared, "older file": lambda: holding(OLD), "broken-off copy": lambda: holding(NEW[:700])}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS.keys())
def test_a_power_cut_anywhere_loses_nothing_and_a_second_visit_completes(
    source: Path, start: Callable[[], Tree]
) -> None:
    before = dict(files_below(start())).get(FINAL)
    for cut_at in range(operations_of(start, lambda m: visit(m, source))):
        for luck in lucks():
            medium = MemoryMedium(start())
            medium.cut_at = cut_at
            with pytest.raises(PowerCut):
                visit(medium, source)
            left = medium.root.survivor(luck)
            found = dict(files_below(left))
            # Under the final name: what was there, what is new, or a beginning of it that no receiver can prove.
            final = found.get(FINAL)
            assert final is None or final == before or NEW.startswith(final), (cut_at, medium.log[-3:])
            if before == OLD:
                # The older file goes only when the newer one lies complete beside it. (Between the rename and the sync
                # that follows it, this kind of medium can lose both names: the sender still has the original.)
                renamed = f"rename to {NAME}" in medium.log
                assert OLD in found.values() or NEW in found.values() or renamed, (cut_at, medium.log[-3:])
            visit(MemoryMedium(left), source)
            after = dict(files_below(left))
            assert after[FINAL] == NEW
            assert not any(parse_part_name(name.rsplit("/", 1)[-1]) for name in after)


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS.keys())
def test_what_was_reported_as_placed_survives_every_power_cut(source: Path, start: Callable[[], Tree]) -> None:
    for luck in lucks():
        medium = MemoryMedium(start())
        with Stick.open(PATH, station="online-1", files=medium) as stick:
            stick.place(source, NAME, Direction.TO_OFFLINE, now=NOW, superseded=OLDER)
        assert dict(files_below(medium.root.survivor(luck)))[FINAL] == NEW


def test_a_file_that_counts_as_already_there_survives_too(source: Path) -> None:
    """STICK-7: a first visit may have broken off between the rename and the last two syncs."""
    total = operations_of(prepared, lambda m: visit(m, source))
    for cut_at in range(total):
        medium = MemoryMedium(prepared())
        medium.cut_at = cut_at
        with pytest.raises(PowerCut):
            visit(medium, source)
        medium.cut_at = None  # the program was killed, the machine goes on: the cache is still there
        visit(medium, source)
        assert dict(files_below(medium.root.survivor(Pessimist())))[FINAL] == NEW, cut_at


def test_the_textbook_protocol_would_lose_the_file_on_this_medium(source: Path) -> None:
    """The model is as bad as the real driver: without the second sync under the final name, the file is empty."""

    class Textbook(MemoryMedium):
        def sync_name(self, folder: Folder, name: str) -> None:
            return

    medium = Textbook(prepared())
    visit(medium, source)
    assert dict(files_below(medium.root))[FINAL] == NEW
    assert dict(files_below(medium.root.survivor(Pessimist())))[FINAL] == b""


MEANINGS = [
    (errno.EIO, MediumDamaged),
    (errno.ENODEV, MediumDamaged),
    (errno.ENOENT, MediumError),
    (errno.ENOSPC, MediumFull),
    (errno.EFBIG, MediumFull),
    (errno.EROFS, MediumReadOnly),
]


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS.keys())
@pytest.mark.parametrize("forever", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize(("number", "expected"), MEANINGS, ids=[errno.errorcode[n] for n, _ in MEANINGS])
def test_an_error_anywhere_is_a_clear_one_and_a_second_visit_completes(
    source: Path, start: Callable[[], Tree], number: int, expected: type[MediumError], forever: bool
) -> None:
    begun = start()
    before = dict(files_below(begun)).get(FINAL)
    for fail_at in range(operations_of(start, lambda m: visit(m, source))):
        medium = MemoryMedium(copy.deepcopy(begun))
        medium.fail_at, medium.failure, medium.forever = fail_at, number, forever
        try:
            visit(medium, source)
        except TaxferryError as error:
            assert isinstance(error, MediumError), (fail_at, medium.log[-3:])  # noqa: PT017
            if forever and fail_at > 3:
                assert isinstance(error, expected), (fail_at, medium.log[-3:])  # noqa: PT017
        final = dict(files_below(medium.root)).get(FINAL)
        assert final in (None, before, NEW)
        medium.fail_at = None
        visit(medium, source)
        assert dict(files_below(medium.root))[FINAL] == NEW


def test_a_full_stick_keeps_nothing_of_ours(source: Path) -> None:
    total = operations_of(prepared, lambda m: visit(m, source))
    seen = 0
    for fail_at in range(total):
        medium = MemoryMedium(prepared())
        medium.fail_at, medium.failure = fail_at, errno.ENOSPC
        try:
            visit(medium, source)
        except MediumFull:
            seen += 1
            assert not any(".part" in name for name, _ in files_below(medium.root)), (fail_at, medium.log[-4:])
        except MediumError:
            continue
    assert seen > 5


class WriteProtected(MemoryMedium):
    """A stick whose switch is closed, or a disc."""

    def step(self, what: str) -> None:
        super().step(what)
        if what.split()[0] in {"mkdir", "create", "append", "sync", "rename", "remove"}:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), what)


def test_a_write_protected_stick_is_read_like_any_other(source: Path) -> None:
    """STICK-13: nothing need be written back to it; and what it holds already counts as placed."""
    with Stick.open(PATH, station="online-1", files=WriteProtected(holding(NEW))) as stick:
        (entry,) = stick.list().files
        assert b"".join(stick.blocks(entry)) == NEW
        assert stick.place(source, NAME, Direction.TO_OFFLINE, now=NOW).already
        stick.finish()


def test_a_write_protected_stick_refuses_what_is_new_and_stays_as_it_was(source: Path) -> None:
    medium = WriteProtected(holding(OLD))
    before = dict(files_below(medium.root))
    with Stick.open(PATH, station="online-1", files=medium) as stick, pytest.raises(MediumReadOnly):
        stick.place(source, NAME, Direction.TO_OFFLINE, now=NOW, superseded=OLDER)
    assert dict(files_below(medium.root)) == before


def test_a_pulled_stick_that_looks_empty_and_healthy_is_never_safe_to_remove(source: Path) -> None:
    """STICK-12: every look succeeds and shows nothing; only a sync tells."""
    medium = MemoryMedium(holding(NEW))
    with Stick.open(PATH, station="online-1", files=medium) as stick:
        assert len(stick.list().files) == 1
        medium.looks_empty = True
        assert stick.list().files == ()  # this says nothing
        with pytest.raises(MediumDamaged):
            stick.finish()


def test_nothing_can_be_placed_on_a_stick_that_is_gone(source: Path) -> None:
    medium = MemoryMedium(prepared())
    with Stick.open(PATH, station="online-1", files=medium) as stick:
        medium.looks_empty = True
        with pytest.raises(MediumError):
            stick.place(source, NAME, Direction.TO_OFFLINE, now=NOW)


def test_a_stick_pulled_while_it_is_read_gives_a_clear_error_and_no_local_file(
    tmp_path: Path, read_in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STICK-8: what is handed over was read to its end, whatever happens to the stick; and nothing is left behind."""
    scratch = tmp_path / "spool"
    scratch.mkdir()

    def read(medium: MemoryMedium) -> list[bytes]:
        """Do what a visit does until it takes; return what it was handed."""
        monkeypatch.setattr(
            "shared.medium.reader.Stick",
            SimpleNamespace(open=lambda path, **more: Stick.open(path, files=medium, **more)),
        )
        handed = []
        with Stick.open(PATH, station="offline-1", files=medium) as stick:
            with read_stick(
                PATH,
                station="offline-1",
                scratch=scratch,
                trust=TrustStore(()),
                at=NOW,
                machines=None,
                copy_kinds=(".txt",),
                known={},
                advanced=lambda _done, _total: None,
            ) as harvest:
                for seen in harvest.files:
                    if seen.copy is None:
                        assert isinstance(seen.error, MediumError)
                    else:
                        assert seen.sha256 == hashlib.sha256(NEW).hexdigest()
                        handed.append(seen.copy.read_bytes())
            stick.finish()
        return handed

    medium = MemoryMedium(holding(NEW))
    assert read(medium) == [NEW]
    total = medium.operations
    for fail_at in range(total):
        failing = MemoryMedium(holding(NEW))
        failing.fail_at, failing.forever = fail_at, True
        # Of the last operation of all, reading the block with the marker's bytes, only an error tells.
        pulled = [Pulled(holding(NEW), fail_at)] if fail_at < total - 1 else []
        for medium in (failing, *pulled):
            with pytest.raises(MediumError):
                assert set(read(medium)) <= {NEW}
            assert os.listdir(scratch) == [], (fail_at, medium.log[-3:])


class Pulled(MemoryMedium):
    """A stick that looks empty and healthy from one operation on."""

    def __init__(self, root: Tree, at: int) -> None:
        super().__init__(root)
        self.at = at

    def step(self, what: str) -> None:
        self.looks_empty = self.operations >= self.at
        super().step(what)


def batch(folder: Path) -> list[Outgoing]:
    made = []
    for number in range(3):
        path = folder / f"ack {number}"
        path.write_bytes(f"clear receipt {number}\n".encode() * 40)
        made.append(Outgoing.of(path, f"310100000000000_{number}_202608010000.ack"))
    return made


def test_a_power_cut_anywhere_leaves_a_whole_container_or_none_and_a_second_visit_completes(tmp_path: Path) -> None:
    """STICK-5, STICK-14: a container is placed like any file."""
    items = batch(tmp_path)

    def carry(medium: MemoryMedium) -> str:
        with Stick.open(PATH, station="offline-1", files=medium) as stick:
            (placed,) = stick.place_batch(items, Direction.TO_ONLINE, now=NOW)
            stick.finish()
        return f"TAXFERRY/to-online/{placed.name}"

    whole = MemoryMedium(prepared())
    name = carry(whole)
    content = dict(files_below(whole.root))[name]
    assert dict(files_below(whole.root.survivor(Pessimist())))[name] == content
    for cut_at in range(whole.operations):
        for luck in lucks():
            medium = MemoryMedium(prepared())
            medium.cut_at = cut_at
            with pytest.raises(PowerCut):
                carry(medium)
            left = medium.root.survivor(luck)
            found = dict(files_below(left)).get(name)
            assert found in (None, b"", content), (cut_at, medium.log[-3:])
            carry(MemoryMedium(left))
            after = dict(files_below(left))
            assert after[name] == content
            assert not any(parse_part_name(path.rsplit("/", 1)[-1]) for path in after)


def test_preparing_can_break_off_anywhere_and_be_done_again() -> None:
    def prepare(medium: MemoryMedium) -> None:
        Stick.prepare(PATH, "财务部", station="online-1", now=NOW, files=medium).close()

    total = operations_of(Tree, prepare)
    for cut_at in range(total):
        for luck in lucks():
            medium = MemoryMedium()
            medium.cut_at = cut_at
            with pytest.raises(PowerCut):
                prepare(medium)
            again = MemoryMedium(medium.root.survivor(luck))
            prepare(again)
            with Stick.open(PATH, station="x", files=MemoryMedium(again.root.survivor(Pessimist()))) as stick:
                assert stick.identity is not None
