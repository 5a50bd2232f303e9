"""A stick of memory, by FUSE: the rules of FAT, the durability of Linux vfat, and faults on command.

The rules: names differ by more than case, some characters are forbidden, times are even seconds, files end at 4 GiB,
there are no links and no owners. The durability: content survives a power cut only after a sync of the file, an entry
only after a sync of its folder, and the length of a renamed file only after a sync of the file under its new name. What
was not synced survives by luck: not at all, wholly, in part, or as zeros.

Commands (see `fuse_daemon`):

    reset, save, restore      an empty stick; remember the medium as it is now, all of it durable; be that one again
    arm                       a `Fault` at an operation
    heal                      no fault any more; the cache is still there
    pull, replug seed         all of it is gone; what came through with this luck is back (null: nothing unsynced)
    operations                how many there were, and which changed anything
    protect, shrink left lie  the write-protection switch; only so many bytes are left, and `statfs` may deny it
"""

from __future__ import annotations

import contextlib
import copy
import errno
import os
import random
import re
import stat
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.fuse_daemon import Daemon, mounted, serve

CHANGES = frozenset({"create", "write", "truncate", "mkdir", "unlink", "rmdir", "rename", "fsync", "fsyncdir"})
"""Operations between which a power cut makes a difference."""
LARGEST = (1 << 32) - 1
SECTOR = 512
CLUSTER = 4096
_FORBIDDEN = re.compile(r'[\x00-\x1f<>:"|?*\\]')
_RENAME_NOREPLACE = 1


@dataclass
class Node:
    """A file: what the cache holds, and what has reached the medium."""

    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    modified: float = 0.0


@dataclass
class Slot:
    """A name in a folder."""

    name: str
    node: Node | Folder
    length_known: bool = False

    def survivor(self, luck: random.Random | None) -> Slot:
        """Return what a power cut leaves of it."""
        if isinstance(self.node, Folder):
            return Slot(self.name, self.node.survivor(luck), length_known=True)
        now, kept = bytes(self.node.data), self.node.synced
        if luck is not None and now != kept:
            part = luck.randrange(0, len(now) + 1, SECTOR)
            kept = luck.choice([kept, now, now[:part], bytes(len(now)), b""])
        if not self.length_known and (luck is None or luck.random() < 0.5):
            kept = b""
        return Slot(self.name, Node(bytearray(kept), kept, self.node.modified), length_known=True)


@dataclass
class Folder:
    """A folder: its names now, and those that have reached the medium."""

    slots: dict[str, Slot] = field(default_factory=dict)
    synced: dict[str, Slot] = field(default_factory=dict)

    def survivor(self, luck: random.Random | None) -> Folder:
        """Return what a power cut leaves of it: without luck, nothing that was not synced."""
        left = Folder()
        for key in sorted({*self.slots, *self.synced}):
            now, then = self.slots.get(key), self.synced.get(key)
            kept = now if now is then or (luck is not None and luck.random() < 0.5) else then
            if kept is not None:
                left.slots[key] = left.synced[key] = kept.survivor(luck)
        return left

    def sync_all(self) -> None:
        """Let everything reach the medium."""
        for slot in self.slots.values():
            if isinstance(slot.node, Folder):
                slot.node.sync_all()
            else:
                slot.node.synced, slot.length_known = bytes(slot.node.data), True
        self.synced = dict(self.slots)

    def size(self) -> int:
        """Return how many bytes of clusters are taken."""
        return sum(
            s.node.size() if isinstance(s.node, Folder) else -(-len(s.node.data) // CLUSTER) * CLUSTER
            for s in self.slots.values()
        )


@dataclass
class Fault:
    """What happens at one operation.

    Attributes:
        at: At which; the first is 1.
        do: `cut` (the power, in the middle of it), `yank` (everything fails from now on), `vanish` (pulled, and the
            cache shows an empty, healthy folder), `flip` (one bit), `short` (half is written), `forget` (success is
            said, nothing done), or the name of an error.
        among: Which operations are counted: `all`, `changes`, or one's name.
        on: A pattern that the path must contain.
        forever: Whether it happens at every later one, too.
    """

    at: int
    do: str
    among: str = "all"
    on: str = ""
    forever: bool = False
    seen: int = 0

    def strikes(self, operation: str, path: str) -> bool:
        """Count an operation; return whether it is struck."""
        counted = self.among in ("all", operation) or (self.among == "changes" and operation in CHANGES)
        if not counted or not re.search(self.on, path):
            return False
        self.seen += 1
        return self.seen == self.at or (self.forever and self.seen > self.at)


class Stickfs:
    """The operations of the file system."""

    use_ns = True

    def __init__(self, capacity: int) -> None:
        self._one_at_a_time = threading.RLock()
        self.capacity = self.whole = capacity
        self.lies_about_room = False
        self.saved = self.wreck = Folder()
        self.reset()

    def reset(self, tree: Folder | None = None) -> None:
        """Be a healthy stick with this tree."""
        self.root = Folder() if tree is None else tree
        self.fault: Fault | None = None
        self.gone = ""
        self.protected = False
        self.capacity, self.lies_about_room = self.whole, False
        self.count = {"all": 0, "changes": 0}
        self.log: list[str] = []

    # Commands -------------------------------------------------------------------------------------------------------

    def obey(self, told: dict[str, Any]) -> object:
        """Carry a command out and return its answer."""
        with self._one_at_a_time:
            command = told.pop("command")
            if command == "reset":
                self.reset()
            elif command == "save":
                self.root.sync_all()
                self.saved = copy.deepcopy(self.root)
            elif command == "restore":
                self.reset(copy.deepcopy(self.saved))
            elif command == "arm":
                self.fault = Fault(**told)
            elif command == "heal":
                self.reset(self.root)
            elif command == "pull":
                self.wreck, self.gone = self.root, "yank"
            elif command == "replug":
                seed = told["seed"]
                self.reset(self.wreck.survivor(None if seed is None else random.Random(seed)))
            elif command == "operations":
                return {**self.count, "log": self.log}
            elif command == "protect":
                self.protected = True
            elif command == "shrink":
                self.capacity, self.lies_about_room = self.root.size() + told["left"], told.get("lie", False)
            else:
                raise AssertionError(command)
            return None

    # Faults ---------------------------------------------------------------------------------------------------------

    def step(self, operation: str, path: str) -> str:
        """Count an operation; raise what is to be raised; return what else is to be done with it."""
        self.count["all"] += 1
        changes = operation in CHANGES
        self.count["changes"] += changes
        if changes:
            self.log.append(f"{operation} {path}")
        struck = self.fault is not None and not self.gone and self.fault.strikes(operation, path)
        do = self.fault.do if self.fault is not None and struck else ""
        if do in ("yank", "vanish"):
            self.gone = do
        if self.gone == "vanish" and operation in ("getattr", "open", "readdir", "statfs"):
            if operation in ("readdir", "statfs") or isinstance(self._node(path), Folder):
                return "vanish"
            raise self.error(errno.ENOENT)
        if self.gone:
            raise self.error(errno.EIO)
        if self.protected and changes and operation not in ("fsync", "fsyncdir"):
            raise self.error(errno.EROFS)
        if do in ("", "cut", "flip", "short", "forget"):
            return do
        raise self.error(getattr(errno, do))

    def done(self, do: str) -> None:
        """End an operation: one that the power cut interrupted has happened in the cache, and nobody is told."""
        if do == "cut":
            self.gone = "yank"
            raise self.error(errno.EIO)

    @staticmethod
    def error(number: int) -> OSError:
        return OSError(number, os.strerror(number))

    # The tree -------------------------------------------------------------------------------------------------------

    def _name(self, name: str) -> str:
        if _FORBIDDEN.search(name):
            raise self.error(errno.EINVAL)
        if len(name.encode("utf-16-le")) > 2 * 255:
            raise self.error(errno.ENAMETOOLONG)
        return name.rstrip(". ") or name

    def _place(self, path: str) -> tuple[Folder, str]:
        parent, _, name = path.rpartition("/")
        node = self._node(parent)
        if not isinstance(node, Folder):
            raise self.error(errno.ENOTDIR)
        return node, self._name(name)

    def _slot(self, path: str) -> Slot:
        folder, name = self._place(path)
        slot = folder.slots.get(name.casefold())
        if slot is None:
            raise self.error(errno.ENOENT)
        return slot

    def _node(self, path: str) -> Node | Folder:
        return self.root if path in ("", "/") else self._slot(path).node

    def _file(self, path: str) -> Node:
        node = self._node(path)
        if isinstance(node, Folder):
            raise self.error(errno.EISDIR)
        return node

    def _need(self, node: Node, length: int) -> None:
        if length > LARGEST:
            raise self.error(errno.EFBIG)
        clusters = (-(-length // CLUSTER) - -(-len(node.data) // CLUSTER)) * CLUSTER
        if clusters > 0 and self.root.size() + clusters > self.capacity:
            raise self.error(errno.ENOSPC)

    # Operations -----------------------------------------------------------------------------------------------------

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        with self._one_at_a_time:
            self.step("getattr", path)
            node = self._node(path)
            size = 0 if isinstance(node, Folder) else len(node.data)
            kind = stat.S_IFDIR if isinstance(node, Folder) else stat.S_IFREG
            seconds = 0 if isinstance(node, Folder) else int(node.modified) // 2 * 2
            times = dict.fromkeys(("st_mtime", "st_ctime", "st_atime"), seconds * 10**9)
            owner = {"st_uid": os.getuid(), "st_gid": os.getgid()}
            return {"st_mode": kind | 0o755, "st_nlink": 1, "st_size": size, **owner, **times}

    def readdir(self, path: str, fh: int) -> list[str]:
        with self._one_at_a_time:
            do = self.step("readdir", path)
            node = self._node(path)
            assert isinstance(node, Folder)
            return [".", "..", *(() if do == "vanish" else (slot.name for slot in node.slots.values()))]

    def statfs(self, path: str) -> dict[str, int]:
        with self._one_at_a_time:
            self.step("statfs", "/")
            room = self.whole if self.lies_about_room else self.capacity
            free = max(0, room - self.root.size()) // CLUSTER
            blocks = {"f_blocks": self.whole // CLUSTER, "f_bfree": free, "f_bavail": free}
            return {"f_bsize": CLUSTER, "f_frsize": CLUSTER, "f_namemax": 255, **blocks}

    def create(self, path: str, mode: int) -> int:
        with self._one_at_a_time:
            do = self.step("create", path)
            folder, name = self._place(path)
            folder.slots[name.casefold()] = Slot(name, Node(modified=time.time()))
            self.done(do)
            return 0

    def open(self, path: str, flags: int) -> int:
        with self._one_at_a_time:
            self.step("open", path)
            self._file(path)
            return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        with self._one_at_a_time:
            do = self.step("read", path)
            return _flipped(bytes(self._file(path).data[offset : offset + size]), do)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        with self._one_at_a_time:
            do = self.step("write", path)
            node = self._file(path)
            if do == "forget":
                return len(data)
            if do == "short":
                data = data[: max(1, len(data) // 2)]
            self._need(node, offset + len(data))
            node.data += bytes(max(0, offset - len(node.data)))
            node.data[offset : offset + len(data)] = _flipped(data, do)
            node.modified = time.time()
            self.done(do)
            return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        with self._one_at_a_time:
            do = self.step("truncate", path)
            node = self._file(path)
            self._need(node, length)
            node.data = node.data[:length] + bytes(max(0, length - len(node.data)))
            self.done(do)
            return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        with self._one_at_a_time:
            do = self.step("fsync", path)
            slot = self._slot(path)
            assert isinstance(slot.node, Node)
            if do not in ("cut", "forget"):
                slot.node.synced, slot.length_known = bytes(slot.node.data), True
            self.done(do)
            return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        with self._one_at_a_time:
            do = self.step("fsyncdir", path)
            node = self._node(path)
            assert isinstance(node, Folder)
            if do not in ("cut", "forget"):
                node.synced = dict(node.slots)
            self.done(do)
            return 0

    def mkdir(self, path: str, mode: int) -> int:
        with self._one_at_a_time:
            do = self.step("mkdir", path)
            folder, name = self._place(path)
            folder.slots[name.casefold()] = Slot(name, Folder(), length_known=True)
            self.done(do)
            return 0

    def unlink(self, path: str) -> int:
        with self._one_at_a_time:
            do = self.step("unlink", path)
            folder, name = self._place(path)
            self._file(path)
            if do != "forget":
                del folder.slots[name.casefold()]
            self.done(do)
            return 0

    def rmdir(self, path: str) -> int:
        with self._one_at_a_time:
            do = self.step("rmdir", path)
            folder, name = self._place(path)
            node = self._node(path)
            if not isinstance(node, Folder):
                raise self.error(errno.ENOTDIR)
            if node.slots:
                raise self.error(errno.ENOTEMPTY)
            del folder.slots[name.casefold()]
            self.done(do)
            return 0

    def rename(self, old: str, new: str, flags: int) -> int:
        with self._one_at_a_time:
            do = self.step("rename", old)
            slot = self._slot(old)
            source, old_name = self._place(old)
            target, new_name = self._place(new)
            if flags & ~_RENAME_NOREPLACE:
                raise self.error(errno.EINVAL)
            if flags and new_name.casefold() in target.slots:
                raise self.error(errno.EEXIST)
            if do != "forget":
                # The new entry's length is written with the file itself, not with its folder.
                del source.slots[old_name.casefold()]
                target.slots[new_name.casefold()] = Slot(
                    new_name, slot.node, length_known=isinstance(slot.node, Folder)
                )
            self.done(do)
            return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        with self._one_at_a_time:
            self.step("utimens", path)
            node = self._node(path)
            if isinstance(node, Node):
                node.modified = time.time() if times is None else times[1] / 10**9
            return 0

    def flush(self, path: str, fh: int) -> int:
        with self._one_at_a_time:
            self.step("flush", path)
            return 0

    def release(self, path: str, fh: int) -> int:
        return 0

    def chmod(self, path: str, mode: int) -> int:
        return 0  # as vfat: said to be done

    def chown(self, path: str, uid: int, gid: int) -> int:
        raise self.error(errno.EPERM)

    def symlink(self, target: str, source: str) -> int:
        raise self.error(errno.EPERM)

    def link(self, target: str, source: str) -> int:
        raise self.error(errno.EPERM)


def _flipped(data: bytes, do: str) -> bytes:
    if do != "flip" or not data:
        return data
    changed = bytearray(data)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


@contextlib.contextmanager
def stick_of_memory(folder: Path, *, capacity: int = 16 << 20) -> Iterator[Daemon]:
    """Mount one below a folder; `path` is where."""
    with mounted("tests.support.stickfs", folder / "memory stick", capacity) as daemon:
        yield daemon


if __name__ == "__main__":
    made = Stickfs(int(sys.argv[2]))
    uncached = {"direct_io": True, "attr_timeout": 0, "entry_timeout": 0, "negative_timeout": 0}
    serve(made, sys.argv[1], made.obey, fsname="stickfs", **uncached)
