"""Runs a program under an audit hook that refuses every use of a network, the making of a socket included.

    python tests/airgap/runner.py MODULE ARGUMENT…

The hook cannot be removed once it is there. A refusal ends the process at once with status 97, so that no `except` in
the program can hide it.
"""

from __future__ import annotations

import os
import runpy
import sys

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


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event.startswith(FORBIDDEN) and event not in HARMLESS:
        os.write(2, f"air gap: {event} {arguments!r}\n".encode(errors="backslashreplace"))
        os._exit(REFUSED_STATUS)


def main() -> None:
    sys.addaudithook(refuse)
    module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    sys.path.insert(0, os.getcwd())
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
