"""Results that have arrived: finding them, and setting aside what cannot be accepted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from shared.durable import copy_durably, sync_directory, write_durably
from shared.errors import FileMissing, TaxferryError
from shared.files import open_ordinary
from shared.ids import ReportName, recognise_name
from shared.model.fields import MAX_TEXT_BYTES
from shared.model.trust import MAX_TRUST_BYTES
from shared.quarantine import WHY, explanation, kept_name
from shared.text.system import shown_name

_MAX_FILES: Final = 2000
_TITLE: Final = "税渡 报税结果".encode()
_BOM: Final = b"\xef\xbb\xbf"
TRUST_NAME: Final = "trust.txt"


@dataclass(frozen=True)
class Arrival:
    """A file that may be a result.

    Attributes:
        name: Its name where it lies.
        claimed: Whose the name says it is, if it says.
        data: Its content, cut off one byte past what a result may have.
        path: Where it lies in the inbox; None if it was named by the operator or lies on a stick.
    """

    name: str
    claimed: ReportName | None
    data: bytes
    path: Path | None = None


def read_named(path: Path) -> Arrival:
    """Return the file that an operator named.

    Raises:
        FileMissing: There is no such file.
    """
    data = read_ordinary(path, MAX_TEXT_BYTES, follow=True)
    if data is None:
        raise FileMissing(what=path)
    recognised = recognise_name(path.name)
    return Arrival(path.name, recognised[0] if recognised else None, data)


def scan(inbox: Path) -> list[Arrival]:
    """Return what lies in the inbox and is named, or begins, like a result. Other files are nobody's business."""
    found = []
    try:
        names = sorted(entry.name for entry in inbox.iterdir())[:_MAX_FILES]
    except FileNotFoundError:
        return []
    for name in names:
        if name.startswith(".") or name.lower() == TRUST_NAME:
            continue
        recognised = recognise_name(name)
        path = inbox / name
        if recognised is not None and recognised[1] == ".txt":
            data = read_ordinary(path, MAX_TEXT_BYTES)
            if data is not None:
                found.append(Arrival(name, recognised[0], data, path))
        elif name.lower().endswith(".txt"):
            data = read_ordinary(path, MAX_TEXT_BYTES)
            if data is not None and data.removeprefix(_BOM).startswith(_TITLE):
                found.append(Arrival(name, None, data, path))
    return found


def read_trust(inbox: Path) -> bytes | None:
    """Return the trust file in the inbox, if there is one."""
    return read_ordinary(inbox / TRUST_NAME, MAX_TRUST_BYTES)


def read_ordinary(path: Path, limit: int, *, follow: bool = False) -> bytes | None:
    """Return the start of an ordinary file, at most one byte past `limit`, or None.

    Pipes and devices are never waited on; a link is followed only if a person named it.
    """
    try:
        with open_ordinary(path, follow=follow) as file:
            return file.read(limit + 1)
    except OSError:
        return None


def set_aside(path: Path, quarantine: Path, error: TaxferryError, now: datetime) -> Path:
    """Move a file that cannot be accepted out of the inbox, beside a text that says why.

    The text is written first: whatever lies in quarantine has its reason beside it.
    """
    quarantine.mkdir(parents=True, exist_ok=True)
    stamp = f"{now:%Y%m%d%H%M%S}"
    target = quarantine / kept_name(f"{stamp}_", path.name)
    number = 1
    while target.exists():
        number += 1
        target = quarantine / kept_name(f"{stamp}-{number}_", path.name)
    write_durably(target.with_name(target.name + WHY), explanation(shown_name(path.name), error, now))
    copy_durably(path, target)
    path.unlink(missing_ok=True)
    sync_directory(path.parent)
    return target


def keep_aside(copy: Path, name: str, sha256: str, quarantine: Path, error: TaxferryError, now: datetime) -> Path:
    """Keep a copy of a file on a stick that cannot be accepted, beside a text that says why; once for each content.

    Args:
        copy: The copy; it is not needed any more.
        name: Its name on the stick.
        sha256: Its SHA-256, in hex.
        quarantine: Where it goes.
        error: Why it cannot be accepted.
        now: When.
    """
    quarantine.mkdir(parents=True, exist_ok=True)
    target = quarantine / kept_name(f"{sha256[:8]}-", name)
    if not target.exists():
        write_durably(target.with_name(target.name + WHY), explanation(shown_name(name), error, now))
        copy_durably(copy, target)
    return target
