"""A medium in memory that behaves as the worst real one: it can be pulled or lose power at every single operation.

The durability is that of Linux vfat: content survives a power cut only after a sync of the file, an entry only after a
sync of its folder, and the length of a renamed file only after a sync of the file *under its new name*.
"""

from __future__ import annotations

import errno
import io
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self, cast

from shared.medium import FileLook, Folder


class PowerCut(BaseException):
    """The machine is off. Not an `Exception`: no handler of the program runs any more with effect."""


@dataclass
class Node:
    """A file: what the cache says and what has reached the medium."""

    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""


@dataclass
class Entry:
    """A name in a folder; `length_known` as soon as the file was synced under this name."""

    node: Node
    length_known: bool = False

    def after_a_cut(self) -> bytes:
        return self.node.synced if self.length_known else b""


@dataclass
class Tree:
    """A folder: its entries now, and as they were at its last sync."""

    files: dict[str, Entry] = field(default_factory=dict)
    folders: dict[str, Tree] = field(default_factory=dict)
    durable_files: dict[str, Entry] = field(default_factory=dict)
    durable_folders: dict[str, Tree] = field(default_factory=dict)

    def sync(self) -> None:
        self.durable_files = {name: Entry(e.node, e.length_known) for name, e in self.files.items()}
        self.durable_folders = dict(self.folders)

    def survivor(self, luck: random.Random) -> Tree:
        """Return what is left after a power cut; what was not synced is there or not, as luck has it."""
        left = Tree()
        for name in sorted({*self.files, *self.durable_files}):
            now, then = self.files.get(name), self.durable_files.get(name)
            kept = now if luck.random() < 0.5 else then
            if kept is not None:
                data = kept.after_a_cut()
                entry = Entry(Node(bytearray(data), data), length_known=True)
                left.files[name] = left.durable_files[name] = entry
        for name in sorted({*self.folders, *self.durable_folders}):
            folder = self.folders.get(name)
            if folder is not None and (name in self.durable_folders or luck.random() < 0.5):
                left.folders[name] = left.durable_folders[name] = folder.survivor(luck)
        return left


class Pessimist(random.Random):
    """Luck that never comes: nothing survives that was not synced."""

    def random(self) -> float:
        return 1.0


class MemoryMedium:
    """A `FilePort` over a `Tree`.

    Attributes:
        operations: How many have been carried out.
        cut_at: Raise `PowerCut` in place of this operation and of every later one.
        fail_at: Raise `failure` in place of this operation; of every later one too if `forever`.
        looks_empty: A pulled stick as the cache shows it: an empty, healthy folder that cannot be synced.
        says_read_only: What the system says of the mount; a stick may refuse all the same.
    """

    def __init__(self, root: Tree | None = None) -> None:
        self.root = Tree() if root is None else root
        self.operations = 0
        self.cut_at: int | None = None
        self.fail_at: int | None = None
        self.failure = errno.EIO
        self.forever = False
        self.looks_empty = False
        self.says_read_only = False
        self.room = 1 << 30
        self._open: dict[int, Tree] = {}
        self.log: list[str] = []

    def step(self, what: str) -> None:
        """Count an operation, and let it fail if its time has come."""
        number = self.operations
        self.operations += 1
        self.log.append(what)
        if self.cut_at is not None and number >= self.cut_at:
            raise PowerCut
        if self.fail_at is not None and (number == self.fail_at or (self.forever and number > self.fail_at)):
            raise OSError(self.failure, os.strerror(self.failure), what)

    # The port ------------------------------------------------------------------------------------------------------

    def _tree(self, folder: Folder) -> Tree:
        assert folder.handle is not None
        return self._open[folder.handle]

    def _handle(self, path: Path, tree: Tree) -> Folder:
        number = len(self._open) + 1
        self._open[number] = tree
        return Folder(path, number)

    def open_folder(self, path: Path) -> Folder:
        self.step("open root")
        return self._handle(path, self.root)

    def open_below(self, parent: Folder, name: str) -> Folder:
        self.step(f"open {name}/")
        tree = self._tree(parent).folders.get(name)
        if tree is None or self.looks_empty:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return self._handle(parent.path / name, tree)

    def make_below(self, parent: Folder, name: str) -> None:
        self.step(f"mkdir {name}")
        if self.looks_empty:
            raise OSError(errno.EIO, os.strerror(errno.EIO), name)
        self._tree(parent).folders.setdefault(name, Tree())

    def close(self, folder: Folder) -> None:
        return

    def names(self, folder: Folder, limit: int) -> list[str]:
        self.step("list")
        tree = self._tree(folder)
        return [] if self.looks_empty else [*tree.files, *tree.folders][:limit]

    def look(self, folder: Folder, name: str) -> FileLook | None:
        self.step(f"look {name}")
        tree = self._tree(folder)
        if self.looks_empty:
            return None
        if name in tree.folders:
            return FileLook(regular=False, size=0)
        entry = tree.files.get(name)
        return None if entry is None else FileLook(regular=True, size=len(entry.node.data))

    def _entry(self, folder: Folder, name: str) -> Entry:
        entry = None if self.looks_empty else self._tree(folder).files.get(name)
        if entry is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return entry

    def open_read(self, folder: Folder, name: str, *, past_cache: bool = False) -> BinaryIO:
        self.step(f"read {name}")
        node = self._entry(folder, name).node
        return cast("BinaryIO", _Reader(self, node.synced if past_cache else bytes(node.data)))

    def create(self, folder: Folder, name: str) -> BinaryIO:
        self.step(f"create {name}")
        if self.looks_empty:
            raise OSError(errno.EIO, os.strerror(errno.EIO), name)
        tree = self._tree(folder)
        if name in tree.files:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        entry = tree.files[name] = Entry(Node())
        return cast("BinaryIO", _Writer(self, entry))

    def append(self, folder: Folder, name: str, data: bytes) -> BinaryIO:
        self.step(f"append {name}")
        entry = self._tree(folder).files.setdefault(name, Entry(Node()))
        entry.node.data += data
        return cast("BinaryIO", _Writer(self, entry))

    def sync_file(self, file: BinaryIO) -> None:
        self.step("sync file")
        cast("_Writer", file).sync()

    def sync_name(self, folder: Folder, name: str) -> None:
        self.step(f"sync {name}")
        entry = self._entry(folder, name)
        entry.node.synced, entry.length_known = bytes(entry.node.data), True

    def sync_folder(self, folder: Folder) -> None:
        self.step("sync folder")
        if self.looks_empty:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._tree(folder).sync()

    def rename_new(self, folder: Folder, old: str, new: str) -> None:
        self.step(f"rename to {new}")
        tree = self._tree(folder)
        if new in tree.files or new in tree.folders:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
        if old in tree.folders:
            tree.folders[new] = tree.folders.pop(old)
        else:
            tree.files[new] = Entry(tree.files.pop(old).node)

    def remove(self, folder: Folder, name: str) -> None:
        self.step(f"remove {name}")
        if self.looks_empty or name not in self._tree(folder).files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        del self._tree(folder).files[name]

    def free_bytes(self, folder: Folder) -> int:
        self.step("free")
        return self.room

    def read_only(self, folder: Folder) -> bool:
        self.step("how mounted")
        return self.says_read_only


class _Reader(io.BytesIO):
    def __init__(self, medium: MemoryMedium, data: bytes) -> None:
        super().__init__(data)
        self.medium = medium

    def read(self, size: int | None = -1) -> bytes:
        self.medium.step("read block")
        return super().read(-1 if size is None else size)


class _Writer:
    def __init__(self, medium: MemoryMedium, entry: Entry) -> None:
        self.medium, self.entry = medium, entry

    def write(self, data: bytes) -> int:
        self.medium.step("write block")
        self.entry.node.data += data
        return len(data)

    def flush(self) -> None:
        return

    def sync(self) -> None:
        self.entry.node.synced, self.entry.length_known = bytes(self.entry.node.data), True

    def close(self) -> None:
        self.medium.step("close")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def files_below(tree: Tree, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield every file of a tree as its cache has it."""
    for name, entry in tree.files.items():
        yield prefix + name, bytes(entry.node.data)
    for name, folder in tree.folders.items():
        yield from files_below(folder, f"{prefix}{name}/")
