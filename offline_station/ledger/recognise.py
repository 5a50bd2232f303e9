"""What a file is, by its first bytes; a suffix proves nothing."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Final, Literal

from offline_station.ledger.sheets import MAX_FILE_BYTES, guarded, unreadable

Container = Literal["xls", "xlsx", "xml", "sjjk0201", "text"]
_SNIFFED: Final = 4096
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BIFF: Final = re.compile(rb"\x09[\x00\x02\x04\x08]")
_FOREIGN: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"%PDF", "这是 PDF 文件", "it is a PDF"),
    (b"Rar!", "这是压缩包，请先解压", "it is an archive; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "这是压缩包，请先解压", "it is an archive; unpack it first"),
    (b"\x1f\x8b", "这是压缩包，请先解压", "it is an archive; unpack it first"),
    (b"\x89PNG", "这是图片", "it is a picture"),
    (b"\xff\xd8\xff", "这是图片", "it is a picture"),
    (b"SQLite format 3", "这是数据库文件", "it is a database"),
    (b"MZ", "这是程序文件", "it is a program"),
)


def recognise(path: Path) -> Container:
    """Return what kind of container a file is.

    Raises:
        ListUnreadable: Empty, too large, or of a kind that holds no invoice list. The message says what it is and
            how to get one that can be read.
    """
    size = path.stat().st_size
    if not path.is_file():
        raise unreadable(path, "这不是普通文件", "it is not a regular file")
    if size == 0:
        raise unreadable(path, "文件是空的（0 字节）", "the file is empty (0 bytes)")
    if size > MAX_FILE_BYTES:
        raise unreadable(
            path, f"文件超过 {MAX_FILE_BYTES >> 20} MiB，请分批导出", "the file is too large; export in several"
        )
    with path.open("rb") as file:
        start = file.read(_SNIFFED)
    for magic, zh, en in _FOREIGN:
        if start.startswith(magic):
            raise unreadable(path, f"{zh}，不是发票清单", f"{en}, not an invoice list")
    if start.startswith(_OLE) or _BIFF.match(start):
        return "xls"
    if start.startswith(b"PK"):
        return _zip_kind(path)
    return _text_kind(path, start)


def _zip_kind(path: Path) -> Container:
    with guarded(path, ".xlsx"), zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    if "OFD.xml" in names:
        raise unreadable(path, "这是 OFD 版式发票，不是发票清单", "it is an OFD document, not an invoice list")
    if any(name.endswith(".bin") and name.startswith("xl/workbook") for name in names):
        raise unreadable(path, "请在 Excel 或 WPS 中另存为 .xlsx", "it is an .xlsb; save it as .xlsx")
    if "[Content_Types].xml" in names and any(name.lower().startswith("xl/") for name in names):
        return "xlsx"
    raise unreadable(path, "这是压缩包，请先解压", "it is an archive; unpack it first")


def _text_kind(path: Path, start: bytes) -> Container:
    text = _decoded_start(start)
    lowered = text.lstrip("\ufeff \t\r\n").lower()
    if re.match(r"<!doctype html|<html|<table|<meta|<head|<style|<div", lowered) or (
        lowered.startswith("<?xml") and "<html" in lowered
    ):
        raise unreadable(
            path,
            "这其实是网页（HTML），只是后缀为 .xls；请在 Excel 或 WPS 中打开，另存为 .xlsx 后再导入",
            "it is a web page (HTML) under the name of a workbook; open it in Excel or WPS and save it as .xlsx",
        )
    if "schemas-microsoft-com:office:spreadsheet" in lowered or lowered.startswith("mime-version:"):
        raise unreadable(
            path,
            "这是 XML 表格（2003），请在 Excel 或 WPS 中打开，另存为 .xlsx 后再导入",
            "it is an XML spreadsheet of 2003; open it in Excel or WPS and save it as .xlsx",
        )
    if lowered.startswith("<"):
        return "xml"
    if lowered.startswith("sjjk0201"):
        return "sjjk0201"
    if lowered.startswith("sjjk"):
        raise unreadable(
            path,
            "这是待开发票（传入）文件，不是已开发票传出（SJJK0201）",
            "it is a file of invoices to be issued, not of issued ones (SJJK0201)",
        )
    if not start.startswith((b"\xff\xfe", b"\xfe\xff")) and b"\0" in start:
        raise unreadable(path, "不认识的文件格式", "an unknown kind of file")
    return "text"


def _decoded_start(start: bytes) -> str:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return start.decode("utf-16", errors="replace")
    return start.decode("gb18030", errors="replace") if not _is_utf8(start) else start.decode("utf-8", errors="replace")


def _is_utf8(start: bytes) -> bool:
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.end >= len(start) - 3 and error.reason.startswith("unexpected end")
    return True
