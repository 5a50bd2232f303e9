"""A file system of ours, by FUSE, in a process of its own that is told what to do over its standard input.

    serve(operations, mountpoint, answer)      in that process: be the file system until standard input ends
    with mounted("tests.support.stickfs", path) as daemon:
        daemon.ask("arm", at=3)                in the test: one command, one answer, both JSON

There is no socket and no magic file: the file system's own tree holds nothing but what a stick would hold.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_SECONDS = 20


def serve(operations: Any, mountpoint: str, answer: Callable[[dict[str, Any]], object], **options: object) -> None:
    """Mount, say `null`, and answer each line of standard input; unmount when it ends.

    Args:
        operations: What `mfusepy` calls, one call at a time.
        mountpoint: An empty folder.
        answer: Called with each command in a thread of its own.
        options: Mount options.
    """

    # Where both are installed, the binding would choose the older library, which has no `renameat2`.
    os.environ.setdefault("FUSE_LIBRARY_PATH", ctypes.util.find_library("fuse3") or "")
    import mfusepy

    class Binding(mfusepy.FUSE):  # type: ignore[misc]
        """The binding, with the flags of `renameat2`."""

        def rename_fuse_3(self, old: bytes, new: bytes, flags: int) -> int:
            return int(self.operations.rename(old.decode(), new.decode(), flags))

    ending = threading.Event()

    def obey() -> None:
        for line in sys.stdin:
            print(json.dumps(answer(json.loads(line))), flush=True)
        ending.set()
        os.kill(os.getpid(), signal.SIGTERM)

    def begin(_path: str) -> None:
        print("null", flush=True)
        threading.Thread(target=obey, daemon=True).start()

    operations.init = begin
    try:
        Binding(operations, mountpoint, foreground=True, nothreads=True, **options)
    except RuntimeError:  # so the binding says that a signal ended it
        if not ending.is_set():
            raise


class Daemon:
    """The test's end of such a process."""

    def __init__(self, module: str, mountpoint: Path, *arguments: object) -> None:
        self.path = mountpoint
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(mountpoint), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def answer(self) -> Any:
        """Return the next answer."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise OSError(f"the file system's process ended ({self._process.wait(_SECONDS)})")
        return json.loads(line)

    def ask(self, command: str, **arguments: object) -> Any:
        """Give a command and return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        """Unmount, and end the process; by force if need be."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_SECONDS)
        self._process.stdout.close()
        if os.path.ismount(self.path):
            subprocess.run(["fusermount3", "-u", "-z", str(self.path)], capture_output=True, check=False)


@contextlib.contextmanager
def mounted(module: str, mountpoint: Path, *arguments: object) -> Iterator[Daemon]:
    """Start a file system's process, wait until it is mounted, and end it at the end."""
    mountpoint.mkdir(parents=True, exist_ok=True)
    daemon = Daemon(module, mountpoint, *arguments)
    try:
        daemon.answer()
        yield daemon
    finally:
        daemon.close()
