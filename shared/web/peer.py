"""Whose process is at the other end of a connection on this PC.

A cookie belongs to a host, not to a port: a browser hands the session of our page to any server on 127.0.0.1, another
user's included. So the page does not rest on the cookie alone: it asks the operating system who owns the other socket.

Linux tells it in `/proc/net/tcp`, Windows by `GetExtendedTcpTable` and the owner of the process. Elsewhere nobody is
asked, and `can_tell()` says so.
"""

from __future__ import annotations

import ctypes
import os
import sys
from enum import Enum
from pathlib import Path
from typing import Any, Final

Address = tuple[str, int]
_LINUX_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_MAPPED: Final = "0000000000000000FFFF0000"  # ::ffff:a.b.c.d, as the table spells it
_TRIES: Final = 3
"""The table is read piece by piece while it changes: an entry can be missed once."""


class Owner(Enum):
    """Whose process it is."""

    SELF = "self"
    OTHER = "other"
    UNKNOWN = "unknown"


def can_tell() -> bool:
    """Return whether this system tells whose a connection is."""
    return sys.platform == "win32" or os.access(_LINUX_TABLES[0], os.R_OK)


def owner_of(client: Address, server: Address) -> Owner:
    """Return who owns the client's end of a connection between two IPv4 addresses of this PC.

    Args:
        client: The other end's address, as `accept` gave it.
        server: Our end's.

    Returns:
        `SELF` only if the system says that the socket is held by a process of the user who runs this one. A socket
        that nobody holds any more is `OTHER`: the kernel shows such as root's.
    """
    if sys.platform == "win32":  # pragma: no cover
        return _windows_owner(client, server)
    if not can_tell():
        return Owner.UNKNOWN
    wanted = _spelling(client), _spelling(server)
    for _ in range(_TRIES):
        for table in _LINUX_TABLES:
            uid = _holder(table, *wanted)
            if uid is not None:
                return Owner.SELF if uid == os.getuid() else Owner.OTHER
    return Owner.OTHER


def _spelling(address: Address) -> str:
    octets = bytes(int(part) for part in address[0].split("."))
    return f"{int.from_bytes(octets, sys.byteorder):08X}:{address[1]:04X}"


def _holder(table: Path, local: str, remote: str) -> int | None:
    """Return the user who holds the socket with these ends; None if there is none, or if nobody holds it."""
    try:
        text = table.read_text(encoding="ascii")
    except OSError:
        return None
    for line in text.splitlines()[1:]:
        fields = line.split(None, 10)
        if fields[1].removeprefix(_MAPPED) == local and fields[2].removeprefix(_MAPPED) == remote:
            inode = fields[9]
            return int(fields[7]) if inode != "0" else None
    return None


# Windows


class _Row(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("state", "local", "local_port", "remote", "remote_port", "pid")]


_AF_INET: Final = 2
_OWNER_PID_ALL: Final = 5
_QUERY_LIMITED: Final = 0x1000
_TOKEN_QUERY: Final = 8
_TOKEN_USER: Final = 1
_ACCESS_DENIED: Final = 5


def _windows_owner(client: Address, server: Address) -> Owner:  # pragma: no cover
    try:
        pid = _windows_pid(client, server)
        if not pid:
            return Owner.UNKNOWN
        theirs, mine = _windows_user(pid), _windows_user(os.getpid())
    except PermissionError:
        return Owner.OTHER
    except OSError:
        return Owner.UNKNOWN
    return Owner.SELF if theirs == mine else Owner.OTHER


def _library(name: str) -> Any:  # pragma: no cover
    return ctypes.WinDLL(name, use_last_error=True)  # type: ignore[attr-defined]


def _failure() -> OSError:  # pragma: no cover
    code = ctypes.get_last_error()  # type: ignore[attr-defined]
    return PermissionError(code, "access denied") if code == _ACCESS_DENIED else OSError(code, "the system refused")


def _windows_pid(client: Address, server: Address) -> int:  # pragma: no cover
    """Return the process that holds the client's end; 0 if the table does not say."""
    table_of = _library("iphlpapi").GetExtendedTcpTable
    size = ctypes.c_uint32(0)
    table_of(None, ctypes.byref(size), False, _AF_INET, _OWNER_PID_ALL, 0)
    buffer = ctypes.create_string_buffer(size.value + 64 * ctypes.sizeof(_Row))
    size.value = len(buffer)
    if table_of(buffer, ctypes.byref(size), False, _AF_INET, _OWNER_PID_ALL, 0) != 0:
        return 0
    count = ctypes.c_uint32.from_buffer(buffer).value
    rows = (_Row * count).from_buffer(buffer, ctypes.sizeof(ctypes.c_uint32))
    for row in rows:
        if _windows_end(row.local, row.local_port) == client and _windows_end(row.remote, row.remote_port) == server:
            return int(row.pid)
    return 0


def _windows_end(address: int, port: int) -> Address:  # pragma: no cover
    """Return an end of a row: both numbers are in the order of the network."""
    octets = address.to_bytes(4, sys.byteorder)
    return ".".join(map(str, octets)), int.from_bytes((port & 0xFFFF).to_bytes(2, sys.byteorder), "big")


def _windows_user(pid: int) -> bytes:  # pragma: no cover
    """Return the security identifier of the user who runs a process."""
    kernel, advapi = _library("kernel32"), _library("advapi32")
    kernel.OpenProcess.restype = ctypes.c_void_p
    process = kernel.OpenProcess(_QUERY_LIMITED, False, pid)
    if not process:
        raise _failure()
    token = ctypes.c_void_p()
    try:
        if not advapi.OpenProcessToken(ctypes.c_void_p(process), _TOKEN_QUERY, ctypes.byref(token)):
            raise _failure()
        needed = ctypes.c_uint32(0)
        advapi.GetTokenInformation(token, _TOKEN_USER, None, 0, ctypes.byref(needed))
        buffer = ctypes.create_string_buffer(needed.value)
        if not advapi.GetTokenInformation(token, _TOKEN_USER, buffer, needed, ctypes.byref(needed)):
            raise _failure()
        sid = ctypes.c_void_p.from_buffer(buffer)
        advapi.GetLengthSid.argtypes = [ctypes.c_void_p]
        return ctypes.string_at(sid.value or 0, advapi.GetLengthSid(sid))
    finally:
        if token.value:
            kernel.CloseHandle(token)
        kernel.CloseHandle(ctypes.c_void_p(process))
