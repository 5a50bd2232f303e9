"""What a process on Linux can give up for good: network, files, programs, privileges.

Each function takes something from the process that calls it, says whether that worked, and cannot be undone. On another
system, or on a kernel that does not know the call, nothing happens and the answer is no. The kernel's own calls are
made through the C library: Python has no names for them (decision 8 says why no library is used).

    cut_network        a network of its own, in which there is nothing
    drop_privileges    no capabilities, none to be had by a program with the set-uid bit, no memory dumps
    keep_only_files    Landlock: a few folders to read, fewer to write, nothing to execute, no TCP, no other's sockets
    forbid_calls       seccomp: no sockets, no processes, no programs, nothing done to other processes or the machine
    die_with           the kernel ends this process when its parent ends

They are bound to the thread that calls them, and only threads started afterwards inherit them: the process must have one
thread. The order is that of the list; `confine.enter` keeps it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import signal
import stat
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final


def _load() -> Any:
    if sys.platform != "linux":
        return None
    try:
        return ctypes.CDLL(None, use_errno=True)
    except (OSError, TypeError):
        return None


_libc: Final = _load()


def _prctl(option: int, *arguments: int) -> bool:
    values = [*arguments, 0, 0, 0, 0][:4]
    return _libc is not None and _libc.prctl(option, *map(ctypes.c_ulong, values)) == 0


def _syscall(number: int, *arguments: Any) -> int:
    """Make a system call that the C library has no function for; -1 is a refusal."""
    if _libc is None:
        return -1
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    _libc.syscall.restype = ctypes.c_long
    return int(_libc.syscall(ctypes.c_long(number), *wide))


def threads() -> int:
    """Return how many threads this process has, those of libraries included; 1 where the system does not say."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 1


# Network ---------------------------------------------------------------------------------------------------------------

_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000


def cut_network() -> bool:
    """Move into a network that has no devices, so that not even 127.0.0.1 can be reached.

    Root makes the network alone. Anyone else needs a name space for users around it, in which they are themselves and
    nobody else exists; some systems do not allow that.
    """
    unshare = getattr(_libc, "unshare", None)
    if unshare is None or sys.platform == "win32":
        return False
    if unshare(_CLONE_NEWNET) == 0:
        return True
    user, group = os.geteuid(), os.getegid()
    if unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    # Without the maps the process is nobody to itself; files are judged by the real user all the same.
    for name, line in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with contextlib.suppress(OSError):
            Path("/proc/self", name).write_text(line, encoding="ascii")
    return True


# Privileges ------------------------------------------------------------------------------------------------------------

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_SECCOMP: Final = 22
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CAPABILITY_HEADER: Final = struct.pack("=Ii", 0x20080522, 0)
"""The third version of the structure, for the calling thread."""
_CAP_DAC_READ_SEARCH: Final = 2


def drop_privileges() -> bool:
    """Give up all capabilities, and the ways to get some; no other process of the same user may look inside.

    Root keeps one, to read files whatever their owner: a stick may be mounted for another user.
    """
    if _libc is None or sys.platform == "win32":
        return False
    try:
        capget, capset = _libc.capget, _libc.capset
    except AttributeError:
        return False
    # Three words (effective, permitted, inheritable) for the capabilities 0–31, three for the others.
    header, data = ctypes.create_string_buffer(_CAPABILITY_HEADER), ctypes.create_string_buffer(24)
    if capget(header, data) != 0:
        return False
    kept = struct.unpack("=6I", data.raw)[1] & (1 << _CAP_DAC_READ_SEARCH) if os.getuid() == 0 else 0
    for capability in range(64):
        if not kept >> capability & 1:
            _prctl(_PR_CAPBSET_DROP, capability)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = ctypes.create_string_buffer(_CAPABILITY_HEADER)
    dropped = capset(header, ctypes.create_string_buffer(struct.pack("=6I", kept, kept, 0, 0, 0, 0), 24)) == 0
    _prctl(_PR_SET_DUMPABLE, 0)
    return _prctl(_PR_SET_NO_NEW_PRIVS, 1) and dropped


def die_with(parent: int) -> bool:
    """Let the kernel kill this process as soon as its parent ends; end at once if it has ended already.

    A change of privileges clears this, so it comes after them.

    Args:
        parent: Process number of the parent.
    """
    if not _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL) if sys.platform != "win32" else 0):
        return False
    if os.getppid() != parent:
        os._exit(1)
    return True


# Files: Landlock -------------------------------------------------------------------------------------------------------

_LANDLOCK_CREATE: Final = 444
_LANDLOCK_ADD: Final = 445
_LANDLOCK_RESTRICT: Final = 446
_GET_VERSION: Final = 1
_PATH_BENEATH: Final = 1

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15

_READ: Final = _READ_FILE | _READ_DIR
_WRITE: Final = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
_ON_FILES: Final = _WRITE_FILE | _READ_FILE | _TRUNCATE
"""Rights that mean something for a file; the kernel refuses a rule that gives it others."""


def landlock_version() -> int:
    """Return the version of Landlock's interface that this kernel has; 0 if it has none or does not use it."""
    return max(0, _syscall(_LANDLOCK_CREATE, None, 0, _GET_VERSION))


def _handled(version: int) -> tuple[int, int, int]:
    """Return what this version can forbid: on files, on TCP ports, and towards processes outside."""
    files = (1 << 13) - 1  # execute, write, read, list, remove ×2, make ×7
    if version >= 2:
        files |= _REFER  # before: links and renames between folders are always refused
    if version >= 3:
        files |= _TRUNCATE  # before: not governed; `forbid_calls` refuses the call that needs no open file
    if version >= 5:
        files |= _IOCTL_DEV
    network = 0b11 if version >= 4 else 0  # bind and connect
    scoped = 0b11 if version >= 6 else 0  # abstract sockets and signals
    return files, network, scoped


def keep_only_files(readable: Iterable[Path], writable: Iterable[Path]) -> bool:
    """Give up all files but these: some to read, some to change, none to execute; files that are open stay open.

    A path that is not there is left out. `stat`, and what `forbid_calls` refuses besides, is not governed by Landlock.

    Args:
        readable: Files, and folders with all that is in them.
        writable: Folders in which files and folders may be made, changed and removed.
    """
    version = landlock_version()
    if not version or sys.platform == "win32":
        return False
    files, network, scoped = _handled(version)
    attribute = struct.pack("=QQQ", files, network, scoped)
    # Longer than an older kernel knows would be refused.
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _syscall(_LANDLOCK_CREATE, ctypes.c_char_p(attribute), size, 0)
    if ruleset < 0:
        return False
    try:
        for paths, rights in ((readable, _READ), (writable, _WRITE)):
            for path in paths:
                if not _allow(ruleset, path, rights & files):
                    return False
        return _prctl(_PR_SET_NO_NEW_PRIVS, 1) and _syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> bool:
    try:
        handle = os.open(path, getattr(os, "O_PATH", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return True  # no rule, no right
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= _ON_FILES
        return (
            _syscall(_LANDLOCK_ADD, ruleset, _PATH_BENEATH, ctypes.c_char_p(struct.pack("=Qi", rights, handle)), 0) == 0
        )
    finally:
        os.close(handle)


# System calls: seccomp -------------------------------------------------------------------------------------------------

_REFUSED: Final[dict[str, tuple[int | None, int | None]]] = {
    # Sockets, and the ring that can make them without the call.
    "socket": (41, 198),
    "socketpair": (53, 199),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # Processes, threads, programs.
    "fork": (57, None),
    "vfork": (58, None),
    "clone": (56, 220),
    "clone3": (435, 435),
    "execve": (59, 221),
    "execveat": (322, 281),
    # Other processes: signals, memory, handles. The parent has the keys in its memory.
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "perf_event_open": (298, 241),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    # What Landlock does not govern: a file's length by its name, its mode, owner, times and attributes.
    "truncate": (76, 45),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "open_by_handle_at": (304, 265),
    # Mounts and name spaces.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    # The kernel itself: what attacks on it begin with, and what only an administrator needs.
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "modify_ldt": (154, None),
    "iopl": (172, None),
    "ioperm": (173, None),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "syslog": (103, 116),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
}
"""Calls that a reader of files has no use for, with their numbers on x86-64 and on 64-bit ARM."""

_NEWEST: Final = 451
"""The last call that was weighed for this list. Newer ones are answered as by an older kernel."""

_MACHINES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the table, and the number by which the filter knows the machine."""

# The filter is a program for the kernel's packet filter: load a word, compare, jump, answer.
_LOAD, _EQUAL, _AT_LEAST, _ANSWER = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_CALL_NUMBER, _MACHINE = 0, 4  # where they stand in what the filter is shown


def refused_calls() -> frozenset[str]:
    """Return the names of the calls that `forbid_calls` refuses on this machine; none where it has no table."""
    column = _MACHINES.get(platform.machine(), (None, 0))[0]
    return frozenset() if column is None else frozenset(n for n, each in _REFUSED.items() if each[column] is not None)


def _filter(column: int, machine: int) -> bytes:
    numbers = sorted(number for each in _REFUSED.values() if (number := each[column]) is not None)

    def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value)

    steps = [
        step(_LOAD, _MACHINE),
        step(_EQUAL, machine, 1),
        step(_ANSWER, _KILL),  # another machine's calls (32 bits) have other numbers
        step(_LOAD, _CALL_NUMBER),
        step(_AT_LEAST, _NEWEST + 1, len(numbers) + 1),  # to "not known"; the x32 calls are among these
    ]
    steps += [step(_EQUAL, number, len(numbers) - at + 1) for at, number in enumerate(numbers)]  # to "refused"
    steps += [
        step(_ANSWER, _ALLOW),
        step(_ANSWER, _REFUSE | errno.ENOSYS),
        step(_ANSWER, _REFUSE | errno.EPERM),
    ]
    return b"".join(steps)


def forbid_calls() -> bool:
    """Give up the system calls that a reader of files does not need; they fail with "not permitted" from now on."""
    if _libc is None or sys.maxsize <= 1 << 32 or (known := _MACHINES.get(platform.machine())) is None:
        return False
    program = _filter(*known)
    code = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))

    whole = Program(len(program) // 8, ctypes.addressof(code))
    filter_mode = 2
    return _prctl(_PR_SET_NO_NEW_PRIVS, 1) and _prctl(_PR_SET_SECCOMP, filter_mode, ctypes.addressof(whole))
