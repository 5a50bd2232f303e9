"""Worksheets of an .xlsx, row by row, from its XML.

Written for lists that nobody vouches for: no document types, no entities, every text, row and nesting bounded, and
nothing kept but the shared texts and the row at hand. What a cell shows is of interest here; styles matter only as far
as they make a number a day.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from offline_station.ledger.cells import Cell
from offline_station.ledger.xmlstream import XmlTarget, feed

MAX_COLUMNS: Final = 256
MAX_ROWS: Final = 1_048_576
_EPOCH_1900: Final = datetime(1899, 12, 30)  # noqa: DTZ001 - workbooks have no time zone
_EPOCH_1904: Final = datetime(1904, 1, 1)  # noqa: DTZ001
_BUILTIN_DAYS: Final = frozenset({*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)})
_ESCAPED: Final = re.compile(r"_x([0-9A-Fa-f]{4})_")
# What a number format says literally: quoted texts, escaped characters, colours and conditions.
_LITERAL: Final = re.compile(r'"[^"]*"|\\.|_.|\*.|\[[^\]hms]*\]')


_T = TypeVar("_T", bound=XmlTarget)


class WorkbookFault(ValueError):
    """The parts of the archive do not make a workbook."""


@dataclass(frozen=True)
class Workbook:
    """What all sheets share.

    Attributes:
        sheets: Name and part of every worksheet, in order.
        strings: The shared texts.
        day_styles: Indexes of the cell styles that make a number a day.
        epoch: The day that serial number 0 means.
    """

    sheets: Sequence[tuple[str, str]]
    strings: Sequence[str]
    day_styles: frozenset[int]
    epoch: datetime


def read_workbook(path: Path) -> Workbook:
    """Read what all sheets share.

    Raises:
        WorkbookFault, zipfile.BadZipFile, ParseError and others: The file is no workbook; the caller translates.
    """
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        root = _relations(archive, "_rels/.rels", names)
        main = next((part for kind, part in root.values() if kind == "officeDocument"), "xl/workbook.xml")
        book = _parse(archive, main, _BookTarget())
        folder, _, file = main.rpartition("/")
        relations = _relations(archive, f"{folder}/_rels/{file}.rels", names)
        sheets = [
            (name, relations[identity][1])
            for name, identity in book.sheets
            if identity in relations and relations[identity][0] == "worksheet"
        ]
        if not sheets:
            raise WorkbookFault("no worksheet")
        by_kind = dict(relations.values())
        strings = day_styles = None
        if by_kind.get("sharedStrings") in names:
            strings = _parse(archive, by_kind["sharedStrings"], _StringsTarget()).strings
        if by_kind.get("styles") in names:
            day_styles = _parse(archive, by_kind["styles"], _StylesTarget()).day_styles
    return Workbook(sheets, strings or [], frozenset(day_styles or ()), _EPOCH_1904 if book.from_1904 else _EPOCH_1900)


def read_rows(path: Path, book: Workbook, part: str) -> Iterator[tuple[int, Sequence[Cell]]]:
    """Go through the rows of a sheet that hold anything, with their numbers."""
    with zipfile.ZipFile(path) as archive, closing(archive.open(part)) as file:
        target = _SheetTarget(book)
        for _ in feed(file, target):
            yield from target.rows
            target.rows.clear()


def _relations(archive: zipfile.ZipFile, part: str, names: set[str]) -> Mapping[str, tuple[str, str]]:
    """Return id to kind and part."""
    if part not in names:
        return {}
    base = part.rpartition("_rels/")[0]
    found = {}
    for identity, kind, target in _parse(archive, part, _RelationsTarget()).found:
        full = target[1:] if target.startswith("/") else base + target
        while "/../" in full:
            full = re.sub(r"[^/]+/\.\./", "", full, count=1) if re.search(r"[^/]+/\.\./", full) else ""
        found[identity] = (kind.rpartition("/")[2], full)
    return found


def _parse(archive: zipfile.ZipFile, part: str, target: _T) -> _T:
    with closing(archive.open(part)) as file:
        for _ in feed(file, target):
            pass
    return target


class _RelationsTarget(XmlTarget):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []

    def opened(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "Relationship" and attributes.get("TargetMode") != "External":
            self.found.append((attributes.get("Id", ""), attributes.get("Type", ""), attributes.get("Target", "")))


class _BookTarget(XmlTarget):
    def __init__(self) -> None:
        super().__init__()
        self.sheets: list[tuple[str, str]] = []
        self.from_1904 = False

    def opened(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "sheet":
            identity = next((value for key, value in attributes.items() if key.endswith("}id")), "")
            self.sheets.append((attributes.get("name", ""), identity))
        elif name == "workbookPr":
            self.from_1904 = attributes.get("date1904") in {"1", "true"}


class _StringsTarget(XmlTarget):
    def __init__(self) -> None:
        super().__init__()
        self.strings: list[str] = []
        self._parts: list[str] = []
        self._phonetic = False

    def opened(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "rPh":
            self._phonetic = True

    def closed(self, name: str, text: str) -> None:
        if name == "t":
            if not self._phonetic:
                self._parts.append(text)
        elif name == "rPh":
            self._phonetic = False
        elif name == "si":
            self.strings.append(_unescaped("".join(self._parts)))
            self._parts = []


class _StylesTarget(XmlTarget):
    def __init__(self) -> None:
        super().__init__()
        self.day_styles: set[int] = set()
        self._formats: dict[str, bool] = {}
        self._inside = False
        self._count = 0

    def opened(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "numFmt":
            self._formats[attributes.get("numFmtId", "")] = _shows_day(attributes.get("formatCode", ""))
        elif name == "cellXfs":
            self._inside = True
        elif name == "xf" and self._inside:
            number = attributes.get("numFmtId", "0")
            if self._formats.get(number, number.isdecimal() and len(number) < 6 and int(number) in _BUILTIN_DAYS):
                self.day_styles.add(self._count)
            self._count += 1

    def closed(self, name: str, text: str) -> None:
        if name == "cellXfs":
            self._inside = False


def _shows_day(code: str) -> bool:
    shown = _LITERAL.sub("", code.split(";", maxsplit=1)[0]).lower()
    return any(letter in shown for letter in "ymdhs") and "general" not in shown


class _SheetTarget(XmlTarget):
    """Collects rows; a row without content is left out."""

    def __init__(self, book: Workbook) -> None:
        super().__init__()
        self.rows: list[tuple[int, Sequence[Cell]]] = []
        self._book = book
        self._number = 0
        self._cells: list[Cell] = []
        self._column = 0
        self._type = ""
        self._style = ""
        self._value: str | None = None
        self._parts: list[str] = []

    def opened(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "c":
            reference = attributes.get("r")
            self._column = _column(reference) if reference else self._column + 1
            self._type, self._style = attributes.get("t", "n"), attributes.get("s", "")
            self._value, self._parts = None, []
        elif name == "row":
            stated = attributes.get("r", "")
            number = int(stated) if stated.isdecimal() and len(stated) <= 8 else 0
            self._number = number if number > self._number else self._number + 1
            if self._number > MAX_ROWS:
                raise WorkbookFault("too many rows")
            self._cells, self._column = [], -1

    def closed(self, name: str, text: str) -> None:
        if name == "v":
            self._value = text
        elif name == "t":
            self._parts.append(text)
        elif name == "c":
            if 0 <= self._column < MAX_COLUMNS:
                cell = self._cell()
                if cell is not None:
                    cells = self._cells
                    if len(cells) <= self._column:
                        cells.extend([None] * (self._column + 1 - len(cells)))
                    cells[self._column] = cell
        elif name == "row" and self._cells:
            self.rows.append((self._number, self._cells))
            self._cells = []

    def _cell(self) -> Cell:
        kind, value = self._type, self._value
        if kind == "inlineStr":
            return _unescaped("".join(self._parts))
        if value is None:
            return None
        if kind == "s":
            return self._book.strings[int(value)]
        if kind == "n":
            return self._number_or_day(value)
        if kind == "b":
            return value.strip() == "1"
        return _unescaped(value)  # a formula's text, an ISO day, or an error such as #REF!

    def _number_or_day(self, value: str) -> Cell:
        if not value.strip():
            return None
        number: int | float
        number = int(value) if value.isdecimal() and len(value) < 400 else float(value)
        if self._style and int(self._style) in self._book.day_styles and 1 <= number < 2_958_466:
            return self._book.epoch + timedelta(days=number)
        return number


def _column(reference: str) -> int:
    column = 0
    for character in reference[:4]:
        if not "A" <= character <= "Z":
            break
        column = column * 26 + ord(character) - 64
    return column - 1


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text) if "_x" in text else text
