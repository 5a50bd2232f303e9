"""Reads what a stranger wrote in a process of its own that can do next to nothing (decision 8).

The parent holds the card, keys and ledger. It starts one of our own modules in a new interpreter, hands it one request,
and gets messages back: small JSON objects, bounded in size and number, which are as little to be believed as the files
that they describe.

    for message in run_confined("shared.medium.reader", {…}, readable=[stick], writable=[scratch]):
        …

The module that runs inside imports everything it will need, and then:

    if __name__ == "__main__":
        serve(work)                          # work(request) yields messages

`serve` takes the request, gives up all that a reader does not need, says what it could give up, and only then begins to
read. On the wire: one line of JSON to the child's standard input, which stays open as long as the parent lives; one line
for each message from its standard output, the last being `{"event": "end"}`.

Run as a program this module does nothing, confined: `available` asks it what this machine can do.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import site
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final, NoReturn

import shared
from shared.errors import Interrupted, ReaderFailed, ReaderFailure
from shared.medium import renounce
from shared.text import Text

if sys.platform != "win32":
    import resource

_log: Final = logging.getLogger("taxferry.medium")


@dataclass(frozen=True)
class Limits:
    """How much a confined process may use before it is ended.

    Attributes:
        memory_bytes: Address space. The interpreter with all that a reader imports takes less than 64 MiB of it.
        cpu_seconds: Time at work; waiting for a slow stick does not count.
        file_bytes: Length of a file that it writes: the longest report, and a little.
        open_files: Open files.
        silent_seconds: Time without a message.
        total_seconds: Time in all.
        message_bytes: Length of a message.
        messages: How many messages.
    """

    memory_bytes: int = 512 << 20
    cpu_seconds: int = 300
    file_bytes: int = (1 << 30) + (1 << 20)
    open_files: int = 64
    silent_seconds: float = 60.0
    total_seconds: float = 4 * 3600.0
    message_bytes: int = 1 << 20
    messages: int = 100_000


DEFAULT_LIMITS: Final = Limits()
END: Final[Mapping[str, object]] = {"event": "end"}

_OUT_OF_MEMORY: Final = 71
"""Status with which a child says that its memory was not enough."""
_SAID: Final = 8192
"""Bytes kept of what the child wrote to its standard error: the last ones."""
_LOOK: Final = 0.2
"""Seconds between two looks at whether somebody wants to stop."""
_GRACE: Final = 5.0
"""Seconds for threads to notice that the child is gone."""


# The parent's side -----------------------------------------------------------------------------------------------------


def _never() -> bool:
    return False


def run_confined(
    module: str,
    request: Mapping[str, object],
    *,
    readable: Sequence[Path],
    writable: Sequence[Path],
    limits: Limits = DEFAULT_LIMITS,
    cancelled: Callable[[], bool] = _never,
) -> Iterator[dict[str, object]]:
    """Run one of our modules in a confined process and yield its messages, the closing one excepted.

    Nothing starts before the first message is asked for, and however the iteration ends, no process is left: run it to
    its end, or close it (`contextlib.closing`). Go through it in one thread, because the child ends with the thread that
    started it. The first message is `{"event": "confined", "protections": […]}` if the module uses `serve`.

    Args:
        module: Name of the module; it serves (`serve`) when it is run as a program.
        request: What it is to do; JSON.
        readable: Folders and files that it may read.
        writable: Folders in which it may make, change and remove files.
        limits: What it may use.
        cancelled: Asked several times a second; the child is ended as soon as the answer is yes.

    Raises:
        ReaderFailed: The process ended early, used too much, was silent too long, or did not keep to the form. What was
            yielded before stands, and what it wrote to `writable` is there: nothing else was changed.
        Interrupted: `cancelled` said so. The same holds.
    """
    document = {
        "parent": os.getpid(),
        "readable": [str(path.absolute()) for path in readable],
        "writable": [str(path.absolute()) for path in writable],
        "limits": asdict(limits),
        "request": dict(request),
    }
    line = json.dumps(document).encode("ascii") + b"\n"
    child = _Child(module, line, limits)
    try:
        ended = False
        for number, answer in enumerate(child.answers(cancelled), 1):
            if number > limits.messages:
                raise _failed(ReaderFailure.FORM, Text("它写的消息太多", "it wrote too many messages"))
            if ended:
                raise _failed(ReaderFailure.FORM, Text("它在结束之后还写消息", "it went on after its end"))
            message = _parse(answer, limits.message_bytes)
            if message == END:
                ended = True
            else:
                yield message
        status = child.stop()
        if status != 0 or not ended:
            raise _ended(status)
    except ReaderFailed as error:
        child.stop()
        error.add_note(child.said())
        _log.info("a confined process failed: %s %s", error.failure, child.said())
        raise
    finally:
        child.stop()


class _Child:
    """The process, and the threads that listen to it: Python has no other way to wait for a pipe with a time limit."""

    def __init__(self, module: str, line: bytes, limits: Limits) -> None:
        self._limits = limits
        self._answers: queue.Queue[bytes | None] = queue.Queue(maxsize=16)
        self._stopping = threading.Event()
        self._last = time.monotonic() + limits.total_seconds
        self._error_tail = b""
        self._stopped = False
        self._process: subprocess.Popen[bytes] | None = None
        self._threads: list[threading.Thread] = []
        try:
            self._process = _start(module)
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            assert self._process.stderr is not None
            work: list[tuple[Callable[..., None], tuple[object, ...]]] = [
                (_tell, (self._process.stdin, line)),
                (self._listen, (self._process, self._process.stdout)),
                (self._overhear, (self._process.stderr,)),
            ]
            self._threads = [threading.Thread(target=do, args=arguments, daemon=True) for do, arguments in work]
            for thread in self._threads:
                thread.start()
        except BaseException:
            self.stop()
            raise

    def answers(self, cancelled: Callable[[], bool]) -> Iterator[bytes]:
        """Yield lines until the process has ended."""
        while (line := self._next(cancelled)) is not None:
            yield line

    def _next(self, cancelled: Callable[[], bool]) -> bytes | None:
        until = time.monotonic() + self._limits.silent_seconds
        while True:
            if cancelled():
                raise Interrupted
            now = time.monotonic()
            if now >= self._last:
                raise _failed(ReaderFailure.TIME, Text("它用的时间超过上限", "it took more time than it may"))
            left = until - now
            if left <= 0:
                seconds = f"{self._limits.silent_seconds:g}"
                raise _failed(
                    ReaderFailure.TIME,
                    Text(f"它 {seconds} 秒没有任何进展", f"it was silent for {seconds} seconds"),
                )
            with contextlib.suppress(queue.Empty):
                return self._answers.get(timeout=min(left, _LOOK))

    def _listen(self, process: subprocess.Popen[bytes], pipe: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):  # the pipe was closed
            while line := pipe.readline(self._limits.message_bytes + 2):
                self._put(line)
        # The process is watched to its end, and left to be collected: until then its number cannot be another's.
        waitid = getattr(os, "waitid", None)
        with contextlib.suppress(ChildProcessError):
            if waitid is None:
                process.wait()
            else:
                waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        self._put(None)

    def _put(self, line: bytes | None) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(queue.Full):
                self._answers.put(line, timeout=_LOOK)
                return

    def _overhear(self, pipe: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):
            while block := os.read(pipe.fileno(), _SAID):
                self._error_tail = (self._error_tail + block)[-_SAID:]

    def said(self) -> str:
        """Return the end of what the process wrote to its standard error, with nothing that a terminal would obey."""
        lines = self._error_tail.decode("utf-8", "backslashreplace").splitlines()
        return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)

    def stop(self) -> int:
        """End the process and whatever it started, and return its status, which is its own if it has ended itself."""
        process = self._process
        if process is None:
            return -1
        if not self._stopped:
            self._stopping.set()
            _kill(process)
            process.wait()
            for thread in self._threads:
                if thread.ident is not None:
                    thread.join(_GRACE)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self._stopped = True
        return process.returncode


def _start(module: str) -> subprocess.Popen[bytes]:
    # -P: nothing is imported from the present folder, whatever lies there.
    command = [sys.executable, "-P", "-m", module]
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    return subprocess.Popen(  # noqa: S603 - our own interpreter, our own module
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        close_fds=True,
        cwd=os.path.abspath(os.sep),  # not on the stick: it could not be unmounted
        env=_environment(),
        start_new_session=True,  # Ctrl-C is for the parent, which ends the child in good order
        creationflags=flags,
    )


_INHERITED: Final = (
    *("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "TZ"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),  # an interpreter may lie apart from its library
    *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "TEMP", "TMP", "APPDATA"),  # Windows
    *("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONUTF8", "PYTHONHOME"),
)


def _environment() -> dict[str, str]:
    """Return the variables that an interpreter needs to find itself and our code; no proxies, no secrets."""
    found = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    code = _code_folder()
    if code.parent not in _libraries():  # in a checkout
        found["PYTHONPATH"] = str(code.parent)
    if site.ENABLE_USER_SITE and site.USER_BASE:
        found["PYTHONUSERBASE"] = site.USER_BASE
    return found


def _code_folder() -> Path:
    return Path(shared.__path__[0]).absolute()


def _libraries() -> list[Path]:
    """Return where the interpreter's modules lie."""
    return [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def _tell(pipe: IO[bytes], line: bytes) -> None:
    """Write the request; the pipe stays open, and tells the child by its end that the parent is gone."""
    with contextlib.suppress(OSError, ValueError):
        pipe.write(line)
        pipe.flush()


def _parse(line: bytes, limit: int) -> dict[str, object]:
    if len(line) > limit + 1:
        raise _failed(ReaderFailure.FORM, Text("它写的一条消息太长", "it wrote too long a message"))
    try:
        message = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise _failed(ReaderFailure.FORM, Text("它写的不是规定的消息", "it wrote something that is no message"))
    return message


def _failed(failure: ReaderFailure, reason: Text) -> ReaderFailed:
    return ReaderFailed(failure=failure, reason=reason)


def _ended(status: int) -> ReaderFailed:
    if status == _OUT_OF_MEMORY:
        return _failed(ReaderFailure.MEMORY, Text("用的内存超过上限", "it used more memory than it may"))
    if status == -int(getattr(signal, "SIGXCPU", 0) or 1 << 16):
        return _failed(ReaderFailure.TIME, Text("用的处理器时间超过上限", "it used more processor time than it may"))
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = str(-status)
        return _failed(ReaderFailure.ENDED, Text(f"被系统结束（{name}）", f"it was ended by the system ({name})"))
    return _failed(ReaderFailure.ENDED, Text(f"提前退出（状态 {status}）", f"it ended early (status {status})"))


# The child's side ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Assignment:
    """What the parent wants, and within which bounds.

    Attributes:
        request: What is to be done; the module's own matter.
        readable: What may be read.
        writable: What may be changed.
        limits: What may be used.
        parent: Process number of the parent.
    """

    request: dict[str, object]
    readable: tuple[Path, ...]
    writable: tuple[Path, ...]
    limits: Limits
    parent: int


def serve(work: Callable[[dict[str, object]], Iterable[Mapping[str, object]]]) -> NoReturn:
    """Be the confined process: take the request, give up everything else, send the messages of `work`, end.

    What `work` prints goes to standard error, so that it cannot be taken for a message.

    Args:
        work: Given the request, yields messages; JSON.
    """
    status = 0
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def tell(message: Mapping[str, object]) -> None:
        out.write(json.dumps(dict(message)).encode("ascii") + b"\n")
        out.flush()

    try:
        task = receive()
        given_up = enter(task.readable, task.writable, task.limits, parent=task.parent)
        tell({"event": "confined", "protections": given_up})
        for message in work(task.request):
            tell(message)
        tell(END)
    except MemoryError:
        status = _OUT_OF_MEMORY
    except BrokenPipeError:  # the parent wants no more
        status = 1
    # At once: nothing that ran in here is worth a tidy end.
    sys.stderr.flush()
    os._exit(status)


def receive() -> Assignment:
    """Read what the parent wants; end the process if there is no parent any more."""
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        os._exit(1)
    document = json.loads(line)
    return Assignment(
        document["request"],
        tuple(map(Path, document["readable"])),
        tuple(map(Path, document["writable"])),
        Limits(**document["limits"]),
        document["parent"],
    )


def enter(
    readable: Sequence[Path], writable: Sequence[Path], limits: Limits, *, parent: int | None = None
) -> list[str]:
    """Give up all that a reader does not need; call it after the imports and before the first foreign byte.

    The interpreter's and our own code stays readable, because modules load parts of themselves late. Nothing fails where
    a system lacks a protection.

    Args:
        readable: What may be read from now on.
        writable: Where files may be made, changed and removed from now on.
        limits: What may be used from now on.
        parent: Process number of the parent; the present parent if it is not given.

    Returns:
        The words of the protections in force, of those in `PROTECTIONS`.

    Raises:
        RuntimeError: There are several threads, so that most protections would bind only one of them.
    """
    if renounce.threads() > 1 or threading.active_count() > 1:
        raise RuntimeError("a process with several threads cannot be confined")
    time.localtime()  # the zone is read from a file once, which is still possible now
    code = [_code_folder(), *_libraries()]
    network = renounce.cut_network()
    privileges = renounce.drop_privileges()
    bounded = _limit(limits)
    files = renounce.keep_only_files([*readable, *code], writable)
    bound = (
        renounce.die_with(os.getppid() if parent is None else parent) if sys.platform == "linux" else _follow_stdin()
    )
    calls = renounce.forbid_calls()
    in_force = {
        "process": True,
        "parent": bound,
        "limits": bounded,
        "files": files,
        "network": network or calls,
        "programs": files or calls,
        "calls": calls,
        "privileges": privileges,
    }
    return [word for word in PROTECTIONS if in_force[word]]


def _limit(limits: Limits) -> bool:
    """Set the system's limits; return whether memory and time are bounded."""
    if sys.platform == "win32":
        return False
    done = set()
    for name, value, more in (
        ("RLIMIT_CORE", 0, 0),
        ("RLIMIT_NPROC", 0, 0),  # no meaning for root
        ("RLIMIT_NOFILE", limits.open_files, 0),
        ("RLIMIT_FSIZE", limits.file_bytes, 0),
        ("RLIMIT_CPU", limits.cpu_seconds, 1),  # a signal that says why, and a second later one that cannot be caught
        ("RLIMIT_AS", limits.memory_bytes, 0),
    ):
        number = getattr(resource, name, None)
        if number is None:
            continue
        with contextlib.suppress(ValueError, OSError):
            _, highest = resource.getrlimit(number)
            hard = value + more if highest == resource.RLIM_INFINITY else min(value + more, highest)
            resource.setrlimit(number, (min(value, hard), hard))
            done.add(name)
    return {"RLIMIT_AS", "RLIMIT_CPU"} <= done


def _follow_stdin() -> bool:
    """End with the parent where the kernel does not see to it: its end of our standard input closes."""

    def wait() -> None:
        while sys.stdin.buffer.read(1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
    return True


# What is in force here -------------------------------------------------------------------------------------------------

PROTECTIONS: Final[Mapping[str, Text]] = {
    "process": Text(
        "独立进程：没有卡、密钥和账，环境变量只留必需的", "a process of its own: no card, keys or ledger in it"
    ),
    "parent": Text("主程序一结束，它也结束", "it ends with the program that started it"),
    "limits": Text("内存和处理器时间有上限", "memory and processor time are bounded"),
    "files": Text("只能读U盘、只能写临时文件夹", "it reads only the stick and writes only to a scratch folder"),
    "network": Text("没有网络", "it has no network"),
    "programs": Text("不能启动程序", "it can start no programs"),
    "calls": Text("用不到的系统调用一律拒绝", "system calls that it does not need are refused"),
    "privileges": Text("没有特权，也得不到特权", "it has no privileges and can get none"),
}
"""All protections there are, by their permanent words; which are in force depends on the system."""


@dataclass(frozen=True)
class Protection:
    """One thing that a confined process cannot do.

    Attributes:
        word: Permanent name.
        name: What it says to people.
        in_force: Whether this machine does it.
    """

    word: str
    name: Text
    in_force: bool


def available() -> list[Protection]:
    """Return what this machine can do, found out by confining a process that does nothing."""
    in_force: list[object] = []
    with contextlib.suppress(ReaderFailed, OSError):
        for message in run_confined("shared.medium.confine", {}, readable=(), writable=()):
            words = message.get("protections")
            if isinstance(words, list):
                in_force = words
    return [Protection(word, name, word in in_force) for word, name in PROTECTIONS.items()]


def _nothing(_request: dict[str, object]) -> Iterator[Mapping[str, object]]:
    yield from ()


if __name__ == "__main__":
    serve(_nothing)
