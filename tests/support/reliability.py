"""What the fault campaigns saw, written down for the manual's page on reliability.

A campaign counts how its runs ended and calls `record`; `python -m docs.reliability` makes the page from what was
recorded. Nothing is written unless TAXFERRY_RELIABILITY names a folder, so that ordinary test runs leave no files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

GOOD = ("new", "old", "absent", "refused", "torn-not-believed", "spoiled")
"""How a run may end: the file is there and proven; the one before it is; it is not there and its sender keeps it; a
clear error said so; something unfinished lies there under no final name, or is not believed; the file system is damaged,
and a clear error says to take another stick, while the sender keeps the file."""
BAD = ("torn-believed", "false-safe", "lost", "wrong-clear", "next-visit-blocked", "hung", "crashed")
"""How no run may end."""


def record(*, tier: str, medium: str, fault: str, subject: str, outcomes: Mapping[str, int]) -> None:
    """Write one row down.

    Args:
        tier: `in-process`, `strace`, `fuse`, `loop` or `uml`.
        medium: The file system, and what is special about it: `vfat`, `exfat-fuse`, `ext4`, `ntfs-3g`, `memory`.
        fault: What was done: `kill -9 at each system call`, `power cut at each write`, `pulled while writing`.
        subject: Who was tried: `taxferry`, `cp`, `nncp-xfer`.
        outcomes: How often each word of `GOOD` or `BAD` was the end.
    """
    unknown = set(outcomes) - set(GOOD) - set(BAD)
    assert not unknown, unknown
    folder = os.environ.get("TAXFERRY_RELIABILITY")
    if not folder:
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    row = {"tier": tier, "medium": medium, "fault": fault, "subject": subject, "outcomes": dict(outcomes)}
    with (Path(folder) / f"{os.getpid()}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")
