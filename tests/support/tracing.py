"""System calls of a program, listed by strace and tampered with one by one."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.tools import LONGEST

ROOT = Path(__file__).parents[2]
_CALL = re.compile(r"(\w+)\(.*\)\s+= (-?\d+|\?)")


@dataclass(frozen=True)
class Call:
    """One system call of a traced run.

    Attributes:
        name: Its name.
        number: The how many-th of this name: strace counts so.
        result: What it returned.
        shown: How strace shows it.
    """

    name: str
    number: int
    result: int
    shown: str

    def inject(self, what: str) -> str:
        """Return strace's expression for a fault at this call."""
        return f"{self.name}:{what}:when={self.number}"


@dataclass(frozen=True)
class Traced:
    """A run under strace.

    Attributes:
        status: The exit status; minus the signal's number if one ended it.
        said: Its output.
        trace: What strace wrote.
    """

    status: int
    said: str
    trace: str

    @property
    def calls(self) -> list[Call]:
        """The system calls, in their order."""
        count: Counter[str] = Counter()
        found = []
        for line in self.trace.splitlines():
            match = _CALL.match(line)
            if match:
                count[match[1]] += 1
                found.append(Call(match[1], count[match[1]], int(match[2]) if match[2] != "?" else -1, line))
        return found

    @property
    def hit(self) -> bool:
        """Whether the fault took place."""
        return "(INJECTED)" in self.trace or "+++ killed by" in self.trace


class Tracer:
    """Visits of `stick_worker` under strace, each in a process of its own."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.stick_tracer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def run(self, arguments: Sequence[object], paths: Sequence[Path], inject: str = "") -> Traced:
        """Make a visit; with a fault, if `inject` says so."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {
            "arguments": [str(a) for a in arguments],
            "paths": [str(p) for p in paths],
            "inject": inject,
            "log": str(self._log),
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Traced(answer["status"], answer["said"], self._log.read_text(encoding="utf-8", errors="replace"))

    def close(self) -> None:
        """End the process that forks."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(LONGEST)


@contextlib.contextmanager
def tracer(folder: Path) -> Iterator[Tracer]:
    """Start the process that forks; end it at the end."""
    with contextlib.closing(Tracer(folder / "strace.log")) as made:
        yield made


def trace(command: Sequence[object], paths: Sequence[Path], log: Path, inject: str = "") -> Traced:
    """Run any program under strace."""
    words = ["strace", "-f", "-qq", "-y", "-o", str(log), *(w for p in paths for w in ("-P", str(p)))]
    words += ["-e", f"inject={inject}"] if inject else []
    done = subprocess.run([*words, *map(str, command)], capture_output=True, text=True, timeout=LONGEST, check=False)
    text = re.sub(r"^\d+ +", "", log.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE)
    return Traced(done.returncode, done.stdout + done.stderr, text)
