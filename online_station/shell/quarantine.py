"""Files that could not be accepted: kept, out of the way, each with a text beside it that says why."""

from __future__ import annotations

import errno
import hashlib
import os
from datetime import datetime
from pathlib import Path
from typing import Final

from online_station.shell.records import QuarantinedRow
from online_station.shell.store import Store
from shared.durable import copy_durably, sync_directory, write_durably
from shared.errors import TaxferryError
from shared.quarantine import WHY, explanation, kept_name
from shared.text.system import shown_name

_SAMPLE: Final = 1 << 20


def set_aside(folder: Path, source: Path, error: TaxferryError, store: Store, now: datetime) -> QuarantinedRow:
    """Move a file into the quarantine, with the reason beside it in the operator's language.

    The reason is written first and the names depend on the content, so that a crash in between and a second run end
    in the same place.

    Raises:
        OSError: The file is still where it was, or in both places.
    """
    row = _describe(source, error, now)
    write_durably(folder / (row.stored_name + WHY), explanation(row.name, error, now))
    store.add_quarantined(row)
    try:
        os.replace(source, folder / row.stored_name)
    except OSError as problem:
        if problem.errno != errno.EXDEV:
            raise
        copy_durably(source, folder / row.stored_name)
        source.unlink()
    sync_directory(folder)
    sync_directory(source.parent)
    return row


def keep_copy(folder: Path, source: Path, name: str, error: TaxferryError, store: Store, now: datetime) -> None:
    """Put a copy of a file into the quarantine, once: it stays where it is, and people find out why."""
    row = _describe(source, error, now, name)
    if (folder / row.stored_name).is_file():
        return
    write_durably(folder / (row.stored_name + WHY), explanation(name, error, now))
    copy_durably(source, folder / row.stored_name)
    store.add_quarantined(row)


def _describe(source: Path, error: TaxferryError, now: datetime, name: str | None = None) -> QuarantinedRow:
    name = shown_name(source.name) if name is None else name
    with source.open("rb") as file:
        sample = hashlib.sha256(file.read(_SAMPLE))
        sample.update(str(os.fstat(file.fileno()).st_size).encode())
    return QuarantinedRow(
        stored_name=kept_name(f"{sample.hexdigest()[:8]}-", name),
        name=name,
        code=error.code,
        reason_zh=error.text.zh,
        reason_en=error.text.en,
        at=now,
    )
