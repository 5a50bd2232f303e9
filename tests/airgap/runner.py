"""Runs a program under an audit hook that refuses every use of a network, the making of a socket included.

It refuses the start of programs too, because they would run without the hook: all but the few that the invoicing side
is known to start.

    python tests/airgap/runner.py [--serving] MODULE ARGUMENT…

With `--serving`, for the verb that serves the page, sockets may be made and bound to 127.0.0.1, and nothing else: no
connection, no datagram, no name.

The hook cannot be removed once it is there. A refusal ends the process at once with status 97, so that no `except` in
the program can hide it.
"""

from __future__ import annotations

import functools
import os
import runpy
import socket
import sys
from collections.abc import Sequence

REFUSED_STATUS = 97
FORBIDDEN = (
    "socket.",
    "urllib.Request",
    "http.client.",
    "ftplib.",
    "smtplib.",
    "poplib.",
    "imaplib.",
    "nntplib.",
    "telnetlib.",
    "webbrowser.open",
)
HARMLESS = ("socket.gethostname",)
"""The machine's own name: asked without a network."""

PROCESSES = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile", "pty.spawn")
CONFINED = ("shared.medium.reader", "shared.medium.confine")
"""Our own modules that run in a process which can reach no network (decision 8); the second does nothing."""
EJECTORS = ("udisksctl", "umount", "diskutil")
"""Programs of the system that let go of a stick."""


def is_known(arguments: Sequence[object]) -> bool:
    """Return whether a program may be started: by its file and its words, as `subprocess` reports them."""
    executable, words = arguments[0], arguments[1]
    if not isinstance(words, list):
        return False  # Windows reports one line; there the journey shows less
    if os.path.basename(str(executable)) in EJECTORS and str(executable) == str(words[0]):
        return True
    return str(executable) == sys.executable and words[1:] in [["-P", "-m", module] for module in CONFINED]


def is_served(event: str, arguments: Sequence[object]) -> bool:
    """Return whether a page on 127.0.0.1 needs it: streams, made and bound here."""
    if event == "socket.__new__":
        _, family, kind, _ = arguments
        return family in (socket.AF_INET, socket.AF_UNIX, -1) and kind in (socket.SOCK_STREAM, -1)
    if event == "socket.bind":
        address = arguments[1]
        return isinstance(address, tuple) and address[0] == "127.0.0.1"
    return False


def refuse(event: str, arguments: tuple[object, ...], *, serving: bool = False) -> None:
    network = event.startswith(FORBIDDEN) and event not in HARMLESS
    if network and serving and is_served(event, arguments):
        return
    if network or event.startswith(PROCESSES) or (event == "subprocess.Popen" and not is_known(arguments)):
        os.write(2, f"air gap: {event} {arguments!r}\n".encode(errors="backslashreplace"))
        os._exit(REFUSED_STATUS)


def main() -> None:
    serving = sys.argv[1] == "--serving"
    if serving:
        del sys.argv[1]
    sys.addaudithook(functools.partial(refuse, serving=serving))
    module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    sys.path.insert(0, os.getcwd())
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
