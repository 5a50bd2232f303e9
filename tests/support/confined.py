"""A module that runs confined and tries what a hostile file would like it to do."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import io
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import zstandard
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.medium.confine import END, serve

Request = dict[str, Any]


def connect(request: Request) -> object:
    with socket.create_connection(("127.0.0.1", request["port"]), timeout=5):
        return "connected"


def datagram(_request: Request) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        return made.sendto(b"x", ("127.0.0.1", 9))


def read(request: Request) -> object:
    return Path(request["path"]).read_text(encoding="utf-8")


def names(request: Request) -> object:
    return sorted(os.listdir(request["path"]))


def write(request: Request) -> object:
    return Path(request["path"]).write_text("written", encoding="utf-8")


def change_mode(request: Request) -> object:
    os.chmod(request["path"], 0o777)
    return "changed"


def cut(request: Request) -> object:
    os.truncate(request["path"], 0)
    return "cut"


def remove(request: Request) -> object:
    os.unlink(request["path"])
    return "removed"


def fork(_request: Request) -> object:
    made = 0
    for _ in range(100):
        with contextlib.suppress(OSError):
            if os.fork() == 0:
                time.sleep(60)
            made += 1
    if not made:
        raise PermissionError("no process could be made")
    return made


def program(_request: Request) -> object:
    return subprocess.run([sys.executable, "-c", "pass"], check=True).returncode


def become(_request: Request) -> object:
    os.execv(sys.executable, [sys.executable, "-c", "pass"])
    return "became"


def thread(_request: Request) -> object:
    threading.Thread(target=int).start()
    return "started"


def signal_parent(_request: Request) -> object:
    os.kill(os.getppid(), 0)
    return "reached"


def read_parent(_request: Request) -> object:
    with open(f"/proc/{os.getppid()}/mem", "rb") as memory:
        return memory.fileno()


def read_parent_by_call(_request: Request) -> object:
    """Ask for the parent's memory at an address that it need not have: the refusal comes before the address is looked at."""

    class Span(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

    mine = ctypes.create_string_buffer(8)
    here, there = Span(ctypes.addressof(mine), 8), Span(ctypes.addressof(mine), 8)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.process_vm_readv(os.getppid(), ctypes.byref(here), 1, ctypes.byref(there), 1, 0) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "read"


def large_file(request: Request) -> object:
    with open(request["path"], "wb") as file:
        file.write(bytes(1 << 20))
        file.flush()
    return "written"


def many_files(request: Request) -> object:
    opened = [os.open(request["path"], os.O_RDONLY) for _ in range(1000)]
    return len(opened)


def prove(request: Request) -> object:
    """Do what the real reader does with what it finds, after the door was closed."""
    data = Path(request["path"]).read_bytes()
    curve = ec.generate_private_key(ec.SECP256R1())
    curve.public_key().verify(curve.sign(data, ec.ECDSA(hashes.SHA256())), data, ec.ECDSA(hashes.SHA256()))
    key = rsa.generate_private_key(65537, 2048)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    key.public_key().verify(key.sign(data, pss, hashes.SHA256()), data, pss, hashes.SHA256())
    assert AESGCM(bytes(32)).decrypt(bytes(12), AESGCM(bytes(32)).encrypt(bytes(12), data, None), None) == data
    packed = zstandard.ZstdCompressor(level=19).compress(data)
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed)) as reader:
        assert reader.read() == data
    return hashlib.sha256(data).hexdigest()


def surroundings(_request: Request) -> object:
    return {"environment": dict(os.environ), "folder": os.getcwd(), "arguments": sys.argv, "handles": _handles()}


def _handles() -> int:
    found = 0
    for number in range(3, 64):
        with contextlib.suppress(OSError):
            os.fstat(number)
            found += 1
    return found


def allocate(_request: Request) -> object:
    return len(bytearray(2 << 30))


def spin(_request: Request) -> object:
    while True:
        pass


def silent(_request: Request) -> object:
    time.sleep(600)
    return "awake"


def exit_early(request: Request) -> object:
    os._exit(request["status"])


def crash(_request: Request) -> object:
    return ctypes.string_at(0)


def stumble(_request: Request) -> object:
    print("\x1b[31mprinted")
    raise ValueError("stumbled")


def babble(request: Request) -> object:
    """Write past `serve`, to whatever is open."""
    for number in range(3, 16):
        with contextlib.suppress(OSError):
            os.write(number, request["text"].encode())
    return "babbled"


DEEDS: Mapping[str, Callable[[Request], object]] = {
    each.__name__: each
    for each in (
        connect, datagram, read, names, write, change_mode, cut, remove, fork, program, become, thread, signal_parent,
        read_parent, read_parent_by_call, large_file, many_files, prove, surroundings, allocate, spin, silent, exit_early,
        crash, stumble, babble,
    )
}  # fmt: skip


def work(request: Request) -> Iterator[Mapping[str, object]]:
    """Yield what became of each deed: its result, or the kind of error."""
    yield {"event": "born", "process": os.getpid(), "request": request}
    for _ in range(request.get("messages", 0)):
        yield {"event": "again"}
    if length := request.get("length"):
        yield {"event": "x" * length}
    if request.get("end_twice"):
        yield END
    for deed in request.get("deeds", ()):
        try:
            found = DEEDS[deed["do"]](deed)
        except OSError as error:
            yield {"event": "tried", "do": deed["do"], "refused": type(error).__name__, "number": error.errno}
        else:
            yield {"event": "tried", "do": deed["do"], "result": found}


if __name__ == "__main__":
    serve(work)
