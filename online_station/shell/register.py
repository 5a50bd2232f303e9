"""The companies that a station reports for: who they are, where their files arrive, which key signs for each.

A station of one taxpayer needs none of this. A bookkeeping agency registers its clients, from a list that it has
anyway, and then sees which of them have not sent a report at all.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import ParseError

import sqlalchemy as sa
from sqlalchemy.engine import Row

from online_station.shell.schema import COMPANY
from online_station.shell.store import Store
from shared.clock import CHINA
from shared.errors import FileMissing, RegisterInvalid, TaxferryError
from shared.ids import TaxpayerId, parse_taxpayer_id, taxpayer_id_warning
from shared.text import Text

MAX_COMPANIES: Final = 100_000
MAX_LIST_BYTES: Final = 64 << 20
_EXACT_DIGITS: Final = 15  # more than these a spreadsheet does not keep of a number
_LOST_DIGITS: Final = re.compile(r"[0-9](\.[0-9]+)?E\+[0-9]+", re.IGNORECASE)
_MAX_NAME_OCTETS: Final = 255
_MAX_PATH_OCTETS: Final = 4000
_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "taxpayer_id": ("税号", "纳税人识别号", "统一社会信用代码", "taxpayer_id", "taxpayer id"),
    "name": ("名称", "企业名称", "纳税人名称", "name"),
    "inbox": ("收件文件夹", "文件夹", "inbox", "folder"),
    "key": ("密钥文件", "密钥", "key"),
    "pin_file": ("口令文件", "口令", "pin_file", "pin file"),
}


@dataclass(frozen=True)
class Company:
    """A company that this station reports for.

    Attributes:
        taxpayer_id: 税号.
        name: Its name for people.
        inbox: A folder of its own in which its files arrive; empty if they arrive in the station's inbox.
        key: Its enterprise key file; empty if the station's own key acts for it (a delegation on file).
        pin_file: The file with that key's PIN.
        added_at: Since when it is registered.
    """

    taxpayer_id: TaxpayerId
    name: str = ""
    inbox: str = ""
    key: str = ""
    pin_file: str = ""
    added_at: datetime | None = None


@dataclass(frozen=True)
class Registered:
    """What an import came to.

    Attributes:
        added: How many companies are new.
        changed: How many were known, and are described differently now.
        same: How many were known exactly so.
        warnings: What a person should know about single rows.
    """

    added: int = 0
    changed: int = 0
    same: int = 0
    warnings: tuple[Text, ...] = ()


class Register:
    """The companies in the station's database."""

    def __init__(self, store: Store) -> None:
        """Look into `store`."""
        self._store = store

    def companies(self) -> list[Company]:
        """Return all, by their numbers."""
        with self._store.reading() as connection:
            return [_company(row) for row in connection.execute(sa.select(COMPANY).order_by(COMPANY.c.taxpayer_id))]

    def find(self, taxpayer_id: str) -> Company | None:
        """Return one, or None."""
        with self._store.reading() as connection:
            row = connection.execute(sa.select(COMPANY).where(COMPANY.c.taxpayer_id == taxpayer_id)).one_or_none()
            return None if row is None else _company(row)

    def folders(self) -> list[str]:
        """Return the companies' own inboxes: asked at every look, so nothing else is read."""
        with self._store.reading() as connection:
            return list(connection.execute(sa.select(COMPANY.c.inbox).where(COMPANY.c.inbox != "")).scalars())

    def put(self, companies: Sequence[Company], now: datetime) -> Registered:
        """Register companies, all or none; one that is known is described anew."""
        added = changed = same = 0
        with self._store.writing() as connection:
            known = {row.taxpayer_id: _company(row) for row in connection.execute(sa.select(COMPANY))}
            for company in companies:
                values = {
                    "name": company.name,
                    "inbox": company.inbox,
                    "key_file": company.key,
                    "pin_file": company.pin_file,
                }
                before = known.get(company.taxpayer_id)
                if before is None:
                    added += 1
                    connection.execute(
                        sa.insert(COMPANY).values(taxpayer_id=company.taxpayer_id, added_at=now.timestamp(), **values)
                    )
                elif _described(before) != _described(company):
                    changed += 1
                    connection.execute(
                        sa.update(COMPANY).where(COMPANY.c.taxpayer_id == company.taxpayer_id).values(**values)
                    )
                else:
                    same += 1
        return Registered(added, changed, same)

    def remove(self, taxpayer_id: str) -> bool:
        """Take a company off the register; its reports stay. Return whether it was on it."""
        with self._store.writing() as connection:
            return connection.execute(sa.delete(COMPANY).where(COMPANY.c.taxpayer_id == taxpayer_id)).rowcount > 0


def _described(company: Company) -> tuple[str, ...]:
    return (company.name, company.inbox, company.key, company.pin_file)


def _company(row: Row[Any]) -> Company:
    return Company(
        TaxpayerId(row.taxpayer_id),
        row.name,
        row.inbox,
        row.key_file,
        row.pin_file,
        datetime.fromtimestamp(row.added_at, CHINA),
    )


# Lists


def read_list(path: Path) -> tuple[list[Company], list[Text]]:
    """Read a list of companies (.csv in UTF-8 or GBK, .xlsx); relative paths in it are relative to the list.

    Returns:
        The companies and what a person should know about single rows.

    Raises:
        FileMissing: There is no such file.
        RegisterInvalid: A row, named, cannot be used. Nothing was registered.
    """
    if not path.is_file():
        raise FileMissing(what=path)
    if path.stat().st_size > MAX_LIST_BYTES:
        raise RegisterInvalid(row=0, reason=Text("文件太大", "the file is too large"))
    rows = _xlsx_rows(path) if path.suffix.lower() == ".xlsx" else _csv_rows(path)
    found: dict[str, Company] = {}
    notes: list[Text] = []
    columns: Mapping[str, int] | None = None
    for number, row in rows:
        if not any(row):
            continue
        if columns is None:
            columns = _columns(row, number)
            continue
        company = _from_row(row, columns, number, path.parent)
        if company.taxpayer_id in found:
            raise RegisterInvalid(
                row=number,
                reason=Text(f"税号 {company.taxpayer_id} 重复", f"taxpayer {company.taxpayer_id} stands twice"),
            )
        odd = taxpayer_id_warning(company.taxpayer_id)
        if odd is not None:
            notes.append(Text(f"第 {number} 行：{odd.zh}", f"row {number}: {odd.en}"))
        found[company.taxpayer_id] = company
        if len(found) > MAX_COMPANIES:
            raise RegisterInvalid(row=number, reason=Text("企业太多", "too many companies"))
    if not found:
        raise RegisterInvalid(row=0, reason=Text("里面没有企业", "there is no company in it"))
    return list(found.values()), notes


def _columns(header: Sequence[str], number: int) -> Mapping[str, int]:
    plain = [cell.strip().lower() for cell in header]
    columns = {
        field: plain.index(name) for field, names in _COLUMNS.items() for name in reversed(names) if name in plain
    }
    if "taxpayer_id" not in columns:
        raise RegisterInvalid(
            row=number,
            reason=Text(
                "第一行应为表头，至少有“税号”一列（还可以有 名称、收件文件夹、密钥文件、口令文件）",
                "the first row has to be a header with at least the column taxpayer_id (and name, inbox, key, pin_file)",
            ),
        )
    return columns


def _from_row(row: Sequence[str], columns: Mapping[str, int], number: int, folder: Path) -> Company:
    values = {field: row[at].strip() if at < len(row) else "" for field, at in columns.items()}
    if any(unicodedata.category(sign) == "Cc" for value in values.values() for sign in value):
        raise RegisterInvalid(row=number, reason=Text("含有控制字符", "there is a control character in it"))
    if _LOST_DIGITS.fullmatch(values["taxpayer_id"]):
        raise RegisterInvalid(
            row=number,
            reason=Text(
                "税号在表格里成了数字，末几位已经丢失；把该列设为文本格式，重新填写税号",
                "the taxpayer_id became a number in the spreadsheet and its last digits are lost; "
                "format the column as text and enter it again",
            ),
        )
    try:
        taxpayer_id = parse_taxpayer_id(values["taxpayer_id"].upper())
    except TaxferryError as error:
        raise RegisterInvalid(row=number, reason=error.text) from None
    paths = {
        field: str((folder / values[field]).absolute()) if values.get(field) else ""
        for field in ("inbox", "key", "pin_file")
    }
    for path in paths.values():
        octets = [len(part.encode()) for part in Path(path).parts]
        if max(octets, default=0) > _MAX_NAME_OCTETS or sum(octets) + len(octets) > _MAX_PATH_OCTETS:
            raise RegisterInvalid(row=number, reason=Text("文件夹或文件的路径太长", "a path is too long"))
    if bool(paths["key"]) != bool(paths["pin_file"]):
        raise RegisterInvalid(
            row=number, reason=Text("密钥文件和口令文件要成对", "a key file and a PIN file go together")
        )
    return Company(taxpayer_id, values.get("name", "")[:200], paths["inbox"], paths["key"], paths["pin_file"])


def _csv_rows(path: Path) -> Iterator[tuple[int, Sequence[str]]]:
    data = path.read_bytes()
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = data.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise RegisterInvalid(row=0, reason=Text("编码既不是 UTF-8 也不是 GBK", "neither UTF-8 nor GBK"))
    number = 0
    try:
        dialect = ";" if text.partition("\n")[0].count(";") > text.partition("\n")[0].count(",") else ","
        for number, row in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=dialect), 1):
            yield number, row
    except csv.Error as error:
        raise RegisterInvalid(
            row=number + 1, reason=Text("不是能读的 CSV（引号或长度不对）", f"no readable CSV ({error})")
        ) from None


def _xlsx_rows(path: Path) -> Iterator[tuple[int, Sequence[str]]]:
    from openpyxl import load_workbook

    try:
        with zipfile.ZipFile(path) as archive:
            if any(part.file_size > MAX_LIST_BYTES for part in archive.infolist()):
                raise RegisterInvalid(row=0, reason=Text("文件太大", "the file is too large"))
        book = load_workbook(path, read_only=True, data_only=True)
        try:
            rows: Iterable[tuple[object, ...]] = book.worksheets[0].iter_rows(values_only=True)
            for number, row in enumerate(rows, 1):
                yield number, ["" if value is None else _shown(value) for value in row[:64]]
        finally:
            book.close()
    except (zipfile.BadZipFile, KeyError, ValueError, IndexError, OSError, ParseError) as error:
        raise RegisterInvalid(
            row=0, reason=Text("不是能读的 xlsx 工作簿", f"no readable xlsx workbook ({type(error).__name__})")
        ) from None


def _shown(value: object) -> str:
    if isinstance(value, int | float) and abs(value) >= 10**_EXACT_DIGITS:
        return f"{value:.4E}"  # as the spreadsheet shows it, so that nobody takes the digits for real ones
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
