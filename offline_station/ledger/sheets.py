"""Worksheets as rows of cells: .xls, .xlsx and delimited text, all hostile until proven otherwise.

The parsers underneath were written for honest files. So sizes are checked before they see a byte, and whatever they
raise on the way becomes one error of ours.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO, Final, cast

import xlrd

from offline_station.ledger.cells import Cell
from offline_station.ledger.xlsx import MAX_COLUMNS, MAX_ROWS, read_rows, read_workbook
from offline_station.ledger.xmlstream import XmlRefused
from shared.errors import ListUnreadable
from shared.text import Text

Row = tuple[int, Sequence[Cell]]
"""A row's number as people count it, and its cells."""

MAX_FILE_BYTES: Final = 512 << 20
MAX_XLS_BYTES: Final = 96 << 20
"""An .xls is read into memory; 65,536 rows of an invoice list take a third of this."""
MAX_SHEETS: Final = 64
MAX_PART_BYTES: Final = 2 << 30
MAX_STRINGS_BYTES: Final = 32 << 20
"""The shared texts of an .xlsx are held in memory, so they are bounded apart from the sheets."""
MAX_SMALL_PART_BYTES: Final = 4 << 20
MAX_RATIO: Final = 200
MAX_LINE_CHARACTERS: Final = 1 << 20


@dataclass(frozen=True)
class Sheet:
    """One worksheet; its rows can be read any number of times.

    Attributes:
        name: Its title; empty for text files.
        read: Begins at the first row.
    """

    name: str
    read: Callable[[], Iterator[Row]]


def unreadable(path: Path, zh: str, en: str) -> ListUnreadable:
    """Return the error for a file that is no invoice list."""
    return ListUnreadable(name=path.name, reason=Text(zh, en))


@contextmanager
def guarded(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a third party's parser raises on bad bytes into `ListUnreadable`."""
    try:
        yield
    except (ListUnreadable, GeneratorExit):
        raise
    except XmlRefused as error:
        raise unreadable(path, f"{what} 文件不正常：{error.text.zh}", f"the {what} is odd: {error.text.en}") from None
    except Exception as error:
        raise unreadable(
            path,
            f"{what} 文件已损坏或不完整（{type(error).__name__}）",
            f"the {what} file is damaged or incomplete ({type(error).__name__})",
        ) from error


def _guarded_rows(path: Path, what: str, rows: Iterator[Row]) -> Iterator[Row]:
    # Only the parser's own step is guarded: an error of whoever uses the row is not the file's fault.
    while True:
        with guarded(path, what):
            try:
                row = next(rows)
            except StopIteration:
                return
        yield row


# --- .xls -----------------------------------------------------------------------------------------------------------


def open_xls(path: Path) -> Sequence[Sheet]:
    """Return the worksheets of an .xls (BIFF 2 to 8).

    Raises:
        ListUnreadable: Too large, encrypted, damaged, or none.
    """
    if path.stat().st_size > MAX_XLS_BYTES:
        raise unreadable(path, "xls 文件过大，请分批导出", "the .xls is too large; export it in several files")
    with guarded(path, ".xls"):
        try:
            # The log would go to standard output, which belongs to --json.
            book = xlrd.open_workbook(str(path), on_demand=True, logfile=io.StringIO(), ragged_rows=True)
        except xlrd.XLRDError as error:
            if "encrypt" in str(error).lower() or "password" in str(error).lower():
                raise unreadable(
                    path, "文件有打开密码，请去掉密码后再导入", "the file has a password; save it without one"
                ) from None
            raise
        names = book.sheet_names()[:MAX_SHEETS]
    return [Sheet(name, lambda at=at: _xls_rows(path, book, at)) for at, name in enumerate(names)]  # type: ignore[misc]


def _xls_rows(path: Path, book: xlrd.book.Book, at: int) -> Iterator[Row]:
    return _guarded_rows(path, ".xls", _raw_xls_rows(book, at))


def _raw_xls_rows(book: xlrd.book.Book, at: int) -> Iterator[Row]:
    sheet = book.sheet_by_index(at)
    try:
        for number in range(min(sheet.nrows, MAX_ROWS)):
            cells: list[Cell] = []
            for cell in sheet.row(number)[:MAX_COLUMNS]:
                if cell.ctype == xlrd.XL_CELL_DATE:
                    cells.append(_xls_day(cell.value, book.datemode))
                elif cell.ctype == xlrd.XL_CELL_ERROR:
                    cells.append("#" + xlrd.error_text_from_code.get(cell.value, "ERR").strip("#"))
                elif cell.ctype == xlrd.XL_CELL_BOOLEAN:
                    cells.append(bool(cell.value))
                elif cell.ctype in {xlrd.XL_CELL_EMPTY, xlrd.XL_CELL_BLANK}:
                    cells.append(None)
                else:
                    cells.append(cell.value)
            yield number + 1, cells
    finally:
        book.unload_sheet(at)


def _xls_day(value: float, datemode: int) -> Cell:
    try:
        return cast("date", xlrd.xldate_as_datetime(value, datemode))
    except (ValueError, OverflowError):
        return value


# --- .xlsx ----------------------------------------------------------------------------------------------------------


def open_xlsx(path: Path) -> Sequence[Sheet]:
    """Return the worksheets of an .xlsx.

    Raises:
        ListUnreadable: Too large, a zip bomb, damaged, or none.
    """
    with guarded(path, ".xlsx"):
        _check_parts(path)
        book = read_workbook(path)
    return [
        Sheet(name, lambda part=part: _guarded_rows(path, ".xlsx", read_rows(path, book, part)))  # type: ignore[misc]
        for name, part in book.sheets[:MAX_SHEETS]
    ]


def _check_parts(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if len(parts) > 2000:
            raise unreadable(path, "文件内部件数过多", "the file has too many parts")
        for part in parts:
            name = part.filename.lower()
            if not name.endswith((".xml", ".rels")):
                continue  # pictures and the like are never opened
            if name.endswith("sharedstrings.xml"):
                limit = MAX_STRINGS_BYTES
            elif "/worksheets/" in name:
                limit = MAX_PART_BYTES
            else:
                limit = MAX_SMALL_PART_BYTES
            # Sheets of nearly equal rows pack thirtyfold; nothing real packs two hundredfold.
            if part.file_size > limit or part.file_size > (1 << 20) + MAX_RATIO * part.compress_size:
                raise unreadable(
                    path,
                    f"“{part.filename}”解压后过大（{part.file_size} 字节），请分批导出",
                    f"'{part.filename}' is too large when unpacked ({part.file_size} bytes); export in several files",
                )


# --- text -----------------------------------------------------------------------------------------------------------

_BOMS: Final = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


def detect_encoding(path: Path) -> str:
    """Return the encoding of a text file: by its mark, else UTF-8 if all of it is, else GB18030 if all of it is.

    Raises:
        ListUnreadable: None of them.
    """
    with path.open("rb") as file:
        start = file.read(4)
    for mark, encoding in _BOMS:
        if start.startswith(mark):
            return encoding
    for encoding in ("utf-8", "gb18030"):
        try:
            with path.open(encoding=encoding, newline="") as text:
                while text.read(1 << 20):
                    pass
        except UnicodeDecodeError:
            continue
        return encoding
    raise unreadable(
        path, "文字编码既不是 UTF-8 也不是 GBK，或文件已损坏", "the text is neither UTF-8 nor GBK, or it is damaged"
    )


def text_lines(path: Path, file: IO[str]) -> Iterator[str]:
    """Go through the lines of a text file, with their ends, none of them unreasonably long.

    Raises:
        ListUnreadable: A line that is too long, or bytes that are no text.
    """
    try:
        while line := file.readline(MAX_LINE_CHARACTERS):
            if len(line) == MAX_LINE_CHARACTERS:
                raise unreadable(path, "有一行过长", "a line is too long")
            yield line
    except UnicodeError:
        raise unreadable(path, "文字编码错误，文件可能已损坏", "the text is damaged") from None


def open_csv(path: Path, encoding: str, delimiter: str) -> Sequence[Sheet]:
    """Return delimited text as the one worksheet that it is."""
    return [Sheet("", lambda: _guarded_rows(path, "CSV", _raw_csv_rows(path, encoding, delimiter)))]


def _raw_csv_rows(path: Path, encoding: str, delimiter: str) -> Iterator[Row]:
    with path.open(encoding=encoding, newline="") as file:
        reader = csv.reader(text_lines(path, file), delimiter=delimiter)
        first = 1
        for cells in reader:
            yield first, cells[:MAX_COLUMNS]
            first = reader.line_num + 1
