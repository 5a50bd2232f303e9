"""The pages of the invoices: import, list, totals, export."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Final, cast, get_args
from urllib.parse import urlencode

from offline_station.ledger.export import export_invoices
from offline_station.ledger.store import InvoiceFilter
from offline_station.shell.station import Station
from offline_station.web.desk import Desk, thrown_away
from offline_station.web.done import Done, imported
from offline_station.web.month import rate_words, table_of
from offline_station.web.standing import month_words
from shared.errors import NothingChosen, PageUnknown
from shared.model.report import KIND_NAMES, InvoiceKind, InvoiceStatus
from shared.text import Text
from shared.web.site import Answer, Download, Page, Visit
from shared.web.work import Progress

MAX_UPLOAD: Final = 1 << 30
PER_PAGE: Final = 50
STATUSES: Final[dict[InvoiceStatus, Text]] = {
    "positive": Text("正数", "positive"),
    "negative": Text("负数（红字）", "negative (red)"),
    "positive-void": Text("正废", "positive void"),
    "negative-void": Text("负废", "negative void"),
    "blank-void": Text("空废", "blank void"),
}
_FILE_KINDS: Final = {
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "csv": "text/csv; charset=utf-8",
}


def add_invoice_pages(desk: Desk) -> None:
    """Declare them."""
    site = desk.site

    @site.page("/invoices")
    def invoices(visit: Visit) -> Answer:
        wanted = _filter(visit)
        with desk.look() as station:
            months = station.ledger.months()
            page = station.ledger.invoices(wanted, limit=PER_PAGE, after=visit.query.get("after") or None)
            return Page(
                "invoices.html",
                months=[(month, month_words(month)) for month in reversed(months)],
                kinds=KIND_NAMES,
                statuses=STATUSES,
                wanted=wanted,
                query=_query(wanted),
                items=page.invoices,
                after=page.after,
                first=not visit.query.get("after"),
                count=station.ledger.count(wanted),
                rows=table_of(station.ledger.summary(wanted.month)),
                summed=month_words(wanted.month) if wanted.month else Text("全部月份", "all months"),
                standing=desk.standing(station, ()),
            )

    @site.page("/invoices/one/{key}")
    def one(visit: Visit) -> Answer:
        key = visit.parts["key"]
        with desk.look() as station:
            text = key.rpartition("-")[2]
            found = [i for i in station.ledger.invoices(InvoiceFilter(text=text), limit=200).invoices if i.key == key]
        if not found:
            raise PageUnknown
        return Page("invoice.html", items=found, kinds=KIND_NAMES, statuses=STATUSES, rate_words=rate_words)

    @site.action("/invoices/import", max_bytes=MAX_UPLOAD)
    def take(visit: Visit) -> Answer:
        uploads = visit.files.get("files", ())
        if not uploads:
            raise NothingChosen(what=Text("发票清单文件", "an invoice list"))
        kind = visit.form.get("kind", "")
        folder, paths = desk.keep_uploads(uploads)

        def do(station: Station, progress: Progress) -> Done:
            with thrown_away(folder):
                wanted = cast("InvoiceKind", kind) if kind in KIND_NAMES else None
                return imported(station.import_files(paths, kind=wanted, progress=progress))

        try:
            return desk.start(visit, "import", Text("导入发票", "Importing invoices"), do)
        except BaseException:
            with thrown_away(folder):
                raise

    @site.page("/invoices/export")
    def export(visit: Visit) -> Answer:
        suffix = "csv" if visit.query.get("as") == "csv" else "xlsx"
        wanted = _filter(visit)
        folder = Path(tempfile.mkdtemp(dir=desk.home.page))
        try:
            path = folder / f"out.{suffix}"
            with desk.look() as station:
                export_invoices(station.ledger.each_invoice(wanted), path)
                reading = station.read()
            span = wanted.month or "all"
            name = f"{reading.facts.taxpayer_id}_{reading.facts.machine_no}_{span}.{suffix}"
            return Download(name, _FILE_KINDS[suffix], _chunks(path, folder))
        except BaseException:
            with thrown_away(folder):
                raise


def _chunks(path: Path, folder: Path) -> Iterator[bytes]:
    with thrown_away(folder), path.open("rb") as file:
        while chunk := file.read(1 << 16):
            yield chunk


def _filter(visit: Visit) -> InvoiceFilter:
    """Return what a person asked for; what makes no sense asks for nothing."""
    month: str | None = visit.query.get("month", "")
    try:
        date.fromisoformat(f"{month}-01")
    except ValueError:
        month = None
    kind, status = visit.query.get("kind", ""), visit.query.get("status", "")
    return InvoiceFilter(
        month=month,
        kind=cast("InvoiceKind", kind) if kind in KIND_NAMES else None,
        status=cast("InvoiceStatus", status) if status in get_args(InvoiceStatus) else None,
        text=visit.query.get("text", "").strip()[:100],
    )


def _query(wanted: InvoiceFilter) -> str:
    found = {"month": wanted.month, "kind": wanted.kind, "status": wanted.status, "text": wanted.text}
    return urlencode({key: value for key, value in found.items() if value})
