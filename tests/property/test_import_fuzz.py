"""However a list is damaged, the importer answers with a report: nothing foreign is raised, nothing half is taken."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline_station.core.figures import add_totals
from tests.support import workbooks as lists
from tests.support.ledger import JANUARY, ORDINARY, ROW, Desk, csv_rows, scratch_folder

SHAPES = ("xls", "xlsx", "full-query", "kp-xml", "sjjk", "csv")


@cache
def good(shape: str) -> bytes:
    """Return the bytes of a small good list."""
    sales = lists.made_up_sales(random.Random(1), 6, first_day=JANUARY[0], last_day=JANUARY[1], code=ORDINARY)
    with scratch_folder() as folder:
        path = folder / "list"
        {
            "xls": lambda: lists.official_xls(path, "普通发票", sales, JANUARY),
            "xlsx": lambda: lists.golden_tax_xlsx(path, [("普通发票", sales)], JANUARY),
            "full-query": lambda: lists.full_query_xlsx(path, sales, kind_words="增值税普通发票"),
            "kp-xml": lambda: lists.kp_xml(path, sales, "普通发票"),
            "sjjk": lambda: lists.sjjk0201(path, sales),
            "csv": lambda: lists.csv_list(path, sales),
        }[shape]()
        return path.read_bytes()


def take(data: bytes) -> None:
    """Import bytes, and check what must hold whatever they are."""
    with scratch_folder() as folder:
        (folder / "list").write_bytes(data)
        check(Desk(folder), folder / "list")


def check(desk: Desk, path: Path) -> None:
    report = desk.take(path)
    count = desk.ledger.count()
    told = {k: v for k, v in add_totals(*(b.totals() for b in desk.batches.values())).items() if v}
    if report.problem_count:
        assert (count, told, report.invoices) == (0, {}, 0)
        assert report.error is not None
    else:
        assert count == report.invoices
    assert told == desk.ledger.summary()
    assert sum(1 for _ in desk.ledger.each_invoice()) == count


HALF = settings(max_examples=settings().max_examples // 2)


@HALF
@pytest.mark.parametrize("shape", SHAPES)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12))
def test_flipped_bytes_are_answered(shape: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(good(shape))
    for where, value in changes:
        data[int(where * len(data))] = value
    take(bytes(data))


@HALF
@pytest.mark.parametrize("shape", SHAPES)
@given(st.floats(0, 1), st.floats(0, 1), st.binary(max_size=40))
def test_missing_and_inserted_pieces_are_answered(shape: str, start: float, end: float, piece: bytes) -> None:
    data = good(shape)
    first, last = sorted((int(start * len(data)), int(end * len(data))))
    take(data[:first] + piece + data[last:])


STRANGE = st.one_of(
    st.none(),
    st.text(max_size=20),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        [
            "合计",
            "小计",
            "(详见销货清单)",
            "份数：3",
            "发票类别：x",
            "作废",
            "***",
            "1e5",
            "--",
            "=1+1",
            "-0.00",
            "٣",
            "１２",
        ]
    ),
)


@given(
    st.lists(
        st.dictionaries(st.sampled_from([*ROW, "发票状态", "备注", "价税合计"]), STRANGE, max_size=3),
        min_size=1,
        max_size=5,
    )
)
def test_strange_cells_in_text_are_answered(changes: list[dict[str, object]]) -> None:
    with scratch_folder() as folder:
        rows = [
            {**ROW, "发票状态": "", "备注": "", "价税合计": None, "发票号码": f"{n:08d}"} | c
            for n, c in enumerate(changes, 1)
        ]
        check(Desk(folder), csv_rows(folder / "list.csv", rows, encoding="utf-8"))


WORKBOOK_STRANGE = st.one_of(
    STRANGE.filter(lambda value: not isinstance(value, int) or abs(value) < 2**53),
    st.booleans(),
    st.dates(date(1901, 1, 1), date(2100, 1, 1)),
    st.just(datetime(2019, 1, 7, 23, 59)),  # noqa: DTZ001 - workbooks have no time zone
    st.just(timedelta(hours=30)),
)


@given(st.lists(st.dictionaries(st.sampled_from(list(ROW)), WORKBOOK_STRANGE, max_size=3), min_size=1, max_size=4))
def test_strange_cells_in_a_workbook_are_answered(changes: list[dict[str, object]]) -> None:
    with scratch_folder() as folder:
        rows = [list(ROW), *([{**ROW, "发票号码": f"{n:08d}"} | c for n, c in enumerate(changes, 1)])]
        cells = [list(row.values()) if isinstance(row, dict) else row for row in rows]
        check(Desk(folder), lists.write_xlsx(folder / "list.xlsx", [("s", cells)]))
