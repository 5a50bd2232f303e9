"""Runs visits of `stick_worker` under strace. Started once, it forks for every run: imports cost more than visits.

Reads one JSON object per line: `{"arguments", "paths", "inject", "log"}`, and answers with one: `{"status", "said"}`.
`inject` is an expression of strace's `-e inject=`, or empty; only system calls on `paths` are traced, counted and
tampered with. The trace is written to `log`. `status` is the exit status, or minus the number of the signal that ended
the visit (SIGALRM: it hung).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.support import stick_worker

LONGEST = 30
"""Seconds after which a visit counts as hung."""
_PR_SET_PTRACER = 0x59616D61


def child(arguments: list[str], go: int, out: int) -> None:
    """Be the visit, as soon as the tracer is there."""
    status = 3
    try:
        signal.alarm(LONGEST)
        os.dup2(out, 1)
        os.dup2(out, 2)
        # Where only ancestors may trace, strace, a sibling, may too.
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
        os.read(go, 1)
        status = stick_worker.main(arguments)
        sys.stdout.flush()
    finally:
        os._exit(status)


def traced(process: int) -> bool:
    """Return whether a process has a tracer."""
    return "TracerPid:\t0\n" not in Path(f"/proc/{process}/status").read_text(encoding="ascii")


def run(request: dict[str, object]) -> dict[str, object]:
    """Make one visit."""
    go_reader, go_writer = os.pipe()
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        child([str(a) for a in request["arguments"]], go_reader, writer)  # type: ignore[attr-defined]
    os.close(writer)
    os.close(go_reader)
    command = ["strace", "-q", "-y", "-p", str(process), "-o", str(request["log"])]
    for path in request["paths"]:  # type: ignore[attr-defined]
        command += ["-P", str(path)]
    if request["inject"]:
        command += ["-e", f"inject={request['inject']}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as strace:
        while not traced(process):
            if strace.poll() is not None:
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
                raise SystemExit(f"strace ended: {strace.stderr.read() if strace.stderr else ''}")
            time.sleep(0.0005)
        os.write(go_writer, b".")
        os.close(go_writer)
        with os.fdopen(reader, encoding="utf-8", errors="replace") as pipe:
            said = pipe.read()
        _, status = os.waitpid(process, 0)
        with contextlib.suppress(subprocess.TimeoutExpired):
            strace.wait(LONGEST)
    return {"status": os.waitstatus_to_exitcode(status), "said": said}


def main() -> None:
    """Serve runs until standard input ends."""
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
