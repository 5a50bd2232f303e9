"""The file operations that a visit to a stick needs, and nothing more.

Every call is relative to a folder that was opened once: after a stick is unmounted, a path leads into the host's empty
mount point and writes there succeed silently, while a handle fails (STICK-6). Where the system has no such handles
(Windows), the path is used, and a pulled drive letter fails by itself.

Errors are the system's own `OSError`s; `stick.py` gives them meaning.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from shared.files import open_ordinary


@dataclass(frozen=True)
class Folder:
    """An open folder.

    Attributes:
        path: Where it was found; for messages, and for systems without directory handles.
        handle: The directory handle, or None.
    """

    path: Path
    handle: int | None


@dataclass(frozen=True)
class FileLook:
    """What lies under a name, not followed if it is a link.

    Attributes:
        regular: Whether it is an ordinary file.
        size: Its length in bytes.
    """

    regular: bool
    size: int


class FilePort(Protocol):
    """The file system of a medium."""

    def open_folder(self, path: Path) -> Folder:
        """Open the folder that is the medium."""
        ...

    def open_below(self, parent: Folder, name: str) -> Folder:
        """Open a folder inside, never through a link."""
        ...

    def make_below(self, parent: Folder, name: str) -> None:
        """Make a folder inside; one that is there is left as it is."""
        ...

    def close(self, folder: Folder) -> None:
        """Give the handle back."""
        ...

    def names(self, folder: Folder, limit: int) -> list[str]:
        """Return at most `limit` names, in no order."""
        ...

    def look(self, folder: Folder, name: str) -> FileLook | None:
        """Return what lies under a name, or None."""
        ...

    def open_read(self, folder: Folder, name: str, *, past_cache: bool = False) -> BinaryIO:
        """Open an ordinary file for reading, never a link, a pipe or a device; `past_cache` reads the medium itself."""
        ...

    def create(self, folder: Folder, name: str) -> BinaryIO:
        """Make a new file and open it for writing; `FileExistsError` if there is one."""
        ...

    def append(self, folder: Folder, name: str, data: bytes) -> BinaryIO:
        """Add to a file's end, making it if need be; return it open, and not yet synced."""
        ...

    def sync_file(self, file: BinaryIO) -> None:
        """Let what was written reach the medium."""
        ...

    def sync_name(self, folder: Folder, name: str) -> None:
        """Open a file under this name and let it reach the medium, directory entry included."""
        ...

    def sync_folder(self, folder: Folder) -> None:
        """Let the folder's entries reach the medium; fails if the medium is gone."""
        ...

    def rename_new(self, folder: Folder, old: str, new: str) -> None:
        """Rename without replacing; `FileExistsError` if the new name is taken."""
        ...

    def remove(self, folder: Folder, name: str) -> None:
        """Remove a file."""
        ...

    def free_bytes(self, folder: Folder) -> int:
        """Return how much an ordinary user can still write."""
        ...

    def read_only(self, folder: Folder) -> bool:
        """Return whether the medium is mounted so that nothing can be written."""
        ...


_BINARY: Final = getattr(os, "O_BINARY", 0)
_CLOEXEC: Final = getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY | _CLOEXEC | _NOFOLLOW
_HANDLES: Final = os.open in os.supports_dir_fd and os.scandir in os.supports_fd
_RENAME_NOREPLACE: Final = 1
# What a file system without the flag answers (FUSE drivers among them).
_NO_SUCH_FLAG: Final = frozenset({errno.EINVAL, errno.ENOSYS, getattr(errno, "ENOTSUP", errno.EINVAL), errno.EPERM})


class LocalFiles:
    """This machine's file system."""

    def open_folder(self, path: Path) -> Folder:
        """Open the folder that is the medium."""
        if not _HANDLES:
            if not path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
            return Folder(path, None)
        return Folder(path, os.open(path, os.O_RDONLY | os.O_DIRECTORY | _CLOEXEC))

    def open_below(self, parent: Folder, name: str) -> Folder:
        """Open a folder inside, never through a link."""
        path = parent.path / name
        if parent.handle is None:
            status = os.lstat(path)
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
            return Folder(path, None)
        flags = os.O_RDONLY | os.O_DIRECTORY | _NOFOLLOW | _CLOEXEC
        return Folder(path, os.open(name, flags, dir_fd=parent.handle))

    def make_below(self, parent: Folder, name: str) -> None:
        """Make a folder inside; one that is there is left as it is."""
        where, base = self._at(parent, name)
        try:
            os.mkdir(where, 0o777, dir_fd=base)
        except FileExistsError:
            return

    def close(self, folder: Folder) -> None:
        """Give the handle back."""
        if folder.handle is not None:
            os.close(folder.handle)

    def names(self, folder: Folder, limit: int) -> list[str]:
        """Return at most `limit` names, in no order."""
        found: list[str] = []
        with os.scandir(folder.path if folder.handle is None else folder.handle) as entries:
            for entry in entries:
                if len(found) >= limit:
                    break
                found.append(entry.name)
        return found

    def look(self, folder: Folder, name: str) -> FileLook | None:
        """Return what lies under a name, or None."""
        where, base = self._at(folder, name)
        try:
            status = os.stat(where, dir_fd=base, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return FileLook(stat.S_ISREG(status.st_mode), status.st_size)

    def open_read(self, folder: Folder, name: str, *, past_cache: bool = False) -> BinaryIO:
        """Open an ordinary file for reading, never a link, a pipe or a device; `past_cache` reads the medium itself."""
        where, base = self._at(folder, name)
        file = open_ordinary(where, within=base)
        if past_cache and hasattr(os, "posix_fadvise"):
            try:
                # Pages that reached the medium are dropped, so that what is read next comes from it.
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                _forget_below(os.fstat(file.fileno()).st_dev)
            except BaseException:
                file.close()
                raise
        return file

    def create(self, folder: Folder, name: str) -> BinaryIO:
        """Make a new file and open it for writing; `FileExistsError` if there is one."""
        where, base = self._at(folder, name)
        return os.fdopen(os.open(where, _CREATE, 0o644, dir_fd=base), "wb")

    def append(self, folder: Folder, name: str, data: bytes) -> BinaryIO:
        """Add to a file's end, making it if need be; return it open, and not yet synced."""
        where, base = self._at(folder, name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _BINARY | _CLOEXEC | _NOFOLLOW
        file = os.fdopen(os.open(where, flags, 0o644, dir_fd=base), "ab")
        try:
            # After a power cut a file on FAT may have more allocated than its length says; whoever lets it grow then
            # makes the system declare the medium read-only. To cut it off at its own length gives the rest back.
            os.ftruncate(file.fileno(), os.fstat(file.fileno()).st_size)
            file.write(data)
            file.flush()
        except BaseException:
            with contextlib.suppress(OSError):
                file.close()
            raise
        return file

    def sync_file(self, file: BinaryIO) -> None:
        """Let what was written reach the medium."""
        file.flush()
        os.fsync(file.fileno())

    def sync_name(self, folder: Folder, name: str) -> None:
        """Open a file under this name and let it reach the medium, directory entry included."""
        where, base = self._at(folder, name)
        handle = os.open(where, os.O_RDWR | _BINARY | _CLOEXEC | _NOFOLLOW, dir_fd=base)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def sync_folder(self, folder: Folder) -> None:
        """Let the folder's entries reach the medium; fails if the medium is gone."""
        if folder.handle is None:
            os.stat(folder.path)
            return
        try:
            os.fsync(folder.handle)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file system that has nothing to sync there
                raise

    def rename_new(self, folder: Folder, old: str, new: str) -> None:
        """Rename without replacing; `FileExistsError` if the new name is taken."""
        if folder.handle is None:
            os.rename(folder.path / old, folder.path / new)  # Windows never replaces here
            return
        if _renameat2(folder.handle, old, new):
            return
        # One visitor at a time has the stick: between the look and the rename stands nobody.
        if self.look(folder, new) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
        os.rename(old, new, src_dir_fd=folder.handle, dst_dir_fd=folder.handle)

    def remove(self, folder: Folder, name: str) -> None:
        """Remove a file."""
        where, base = self._at(folder, name)
        os.unlink(where, dir_fd=base)

    def free_bytes(self, folder: Folder) -> int:
        """Return how much an ordinary user can still write."""
        if folder.handle is not None:
            status = os.statvfs(folder.handle)
            return status.f_bavail * status.f_frsize
        return shutil.disk_usage(folder.path).free

    def read_only(self, folder: Folder) -> bool:
        """Return whether the medium is mounted so that nothing can be written."""
        if folder.handle is None or not hasattr(os, "ST_RDONLY"):
            return not os.access(folder.path, os.W_OK)
        return bool(os.fstatvfs(folder.handle).f_flag & os.ST_RDONLY)

    @staticmethod
    def _at(folder: Folder, name: str) -> tuple[str, int | None]:
        if (
            name in ("", ".", "..")
            or "/" in name
            or "\0" in name
            or (os.name == "nt" and ("\\" in name or ":" in name))
        ):
            raise OSError(errno.EINVAL, "not a plain name", name)
        return (name, folder.handle) if folder.handle is not None else (str(folder.path / name), None)


def _device_below(number: int) -> str | None:
    """Return the block device under a file system that a user-space driver serves, if Linux names one."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            lines = mounts.read().splitlines()
    except OSError:
        return None
    where = f"{os.major(number)}:{os.minor(number)}"
    for line in lines:
        before, _, after = line.partition(" - ")
        kind, _, rest = after.partition(" ")
        if before.split(" ")[2:3] == [where] and kind.startswith("fuse"):
            return rest.partition(" ")[0]
    return None


def _forget_below(number: int) -> None:
    """Let a user-space driver (ntfs-3g, exfat-fuse) read the medium and not the cache of its block device.

    Only the administrator may; for others the receiver's own proof remains.
    """
    device = _device_below(number)
    if device is None:
        return
    with contextlib.suppress(OSError):
        handle = os.open(device, os.O_RDONLY | _CLOEXEC | getattr(os, "O_NONBLOCK", 0))
        try:
            if stat.S_ISBLK(os.fstat(handle).st_mode):
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def _renameat2(folder: int, old: str, new: str) -> bool:
    """Rename with RENAME_NOREPLACE; return False where this system or file system does not have it."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    if call(folder, os.fsencode(old), folder, os.fsencode(new), _RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_SUCH_FLAG:
        return False
    raise OSError(number, os.strerror(number), old, None, new)


LOCAL: Final = LocalFiles()
