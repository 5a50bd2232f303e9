"""What lies on a stick under which name (requirements STICK-1, STICK-4, STICK-9).

A name on a stick was written by anyone: it is a hint and it is bounded, and everything that is not of these grammars
is a foreign file, which is counted and never opened.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from shared.ids import ReportName, Suffix, recognise_name
from shared.model.trust import MAX_TRUST_BYTES

MARKER: Final = "TAXFERRY"
IDENTITY: Final = "stick.json"
LOG: Final = "transfer-log.csv"
TRUST: Final = "trust.txt"
BATCH: Final = ".tar"

MAX_SIZES: Final[dict[str, int]] = {
    ".dat": 1 << 30,
    ".txt": 1 << 16,
    ".ack": 1 << 16,
    TRUST: MAX_TRUST_BYTES,
    BATCH: 1 << 30,
}
"""The largest file of each kind, in bytes."""


class Direction(StrEnum):
    """Who is to read what lies in a folder of the stick."""

    TO_ONLINE = "to-online"
    TO_OFFLINE = "to-offline"


@dataclass(frozen=True)
class PartName:
    """A file that is still being written, or that a crash left so."""

    name: str
    digest8: str
    station: str

    def __str__(self) -> str:
        return f".{self.name}.{self.digest8}.{self.station}.part"


_PART: Final = re.compile(r"\.(.{1,160})\.([0-9a-f]{8})\.([a-z0-9][a-z0-9-]{0,31})\.part", re.ASCII | re.DOTALL)


def parse_part_name(name: str) -> PartName | None:
    """Return what a temporary's name says: of which file, which content and which station's it is."""
    match = _PART.fullmatch(name)
    return PartName(match[1], match[2], match[3]) if match else None


def station_tag(text: str) -> str:
    """Return a station's id as it stands in temporary names and in the log: `a-z0-9-`, 1 to 32 characters."""
    tag = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:32].strip("-")
    return tag or "station"


_MARKS: Final = r"(?:[ _]*\(\d{1,3}\)|[ _-]*副本|[ _-]*copy)*"
_CONTAINER: Final = re.compile(rf"(batch-[0-9a-f]{{16}}){_MARKS}\.tar{_MARKS}", re.ASCII)


def recognise_container(name: str) -> str | None:
    """Return the true name of a container whose name people or Explorer may have changed, or None (STICK-18)."""
    if len(name) > 80:
        return None
    match = _CONTAINER.fullmatch(unicodedata.normalize("NFKC", name).strip().lower())
    return f"{match[1]}.tar" if match else None


def recognise(name: str) -> tuple[ReportName | None, Suffix | Literal[".tar", "trust.txt"]] | None:
    """Return what a name on a stick means: whose file it claims to be (if it is a report's) and of what kind it is.

    Returns:
        None if the name is none of ours.
    """
    found = recognise_name(name)
    if found is not None:
        return found
    plain = unicodedata.normalize("NFC", name).strip().lower()
    if len(plain) <= 60 and re.fullmatch(r"trust(?:[ _]*\(\d{1,3}\)|[ _-]*副本)?\.txt", plain):
        return None, TRUST
    if recognise_container(name) is not None:
        return None, BATCH
    return None
