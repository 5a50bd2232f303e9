"""Runs a program as if nothing were plugged into this machine: `python -m tests.support.no_mounts online_station …`.

A program that attends to sticks visits every prepared one that is in; a test's must not touch anybody's real one.
"""

from __future__ import annotations

import runpy
import sys

import psutil


def main() -> None:
    """Be that program."""
    psutil.disk_partitions = lambda all=False: []  # noqa: A006  psutil's own word
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
