"""The ledger: whole files or nothing, the card and the ledger together, known invoices, voids, copies."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from offline_station.core.figures import WHOLE_KIND, Figures, add_totals
from offline_station.ledger.figures import IssuedBatch
from offline_station.ledger.store import InvoiceFilter, Ledger
from shared.errors import ConfigurationError, ImportInvalid, ImportUnsettled, NotFound, StoreDamaged
from tests.support import workbooks as lists
from tests.support.ledger import JANUARY, ORDINARY, ROW, SPECIAL, TODAY, Desk, context, csv_rows
from tests.support.workbooks import Sale


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def numbered(number: int, **more: object) -> dict[str, object]:
    return {**ROW, "发票号码": f"{number:08d}", **more}


def told(desk: Desk) -> dict[tuple[str, str], Figures]:
    return {k: v for k, v in add_totals(*(b.totals() for b in desk.batches.values())).items() if v}


# --- all or nothing


def test_a_list_whose_name_old_windows_wrote_is_taken(desk: Desk, tmp_path: Path) -> None:
    plain = csv_rows(tmp_path / "a.csv", [numbered(1)])
    named = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + "发票.csv".encode("gbk")))
    plain.rename(named)
    report = desk.take(named)
    assert (report.invoices, report.problem_count) == (1, 0)
    assert report.file.isprintable()


def test_one_bad_row_refuses_the_whole_file_and_the_card_hears_nothing(desk: Desk) -> None:
    report = desk.rows(numbered(1), numbered(2, 金额="?"), numbered(3))
    assert (report.invoices, report.amount, report.batch_id) == (0, 0, "")
    assert [p.as_json() for p in report.problems] == [
        {"sheet": "", "row": 3, "column": "金额", "message": "不是金额：?"}
    ]
    assert desk.batches == {}
    assert desk.ledger.count() == 0
    error = report.error
    assert isinstance(error, ImportInvalid)
    assert "第 3 行" in str(error)


def test_a_good_file_reports_what_it_brought(desk: Desk) -> None:
    report = desk.rows(numbered(1), numbered(2, 发票状态="作废"), numbered(3, 金额="-100.00", 税额="-13.00"))
    assert report.error is None
    shown = report.as_json()
    assert {name: shown[name] for name in ("invoices", "lines", "voided", "amount", "tax", "skipped")} == {
        "invoices": 3,
        "lines": 3,
        "voided": 1,
        "amount": "0.00",
        "tax": "0.00",
        "skipped": 0,
    }
    (batch,) = desk.batches.values()
    (delta,) = batch.months["2019-01"]
    assert delta.kind == "007"
    assert delta.whole == Figures(
        positive_count=1,
        negative_count=1,
        positive_void_count=1,
        positive_amount=10000,
        positive_tax=1300,
        negative_amount=-10000,
        negative_tax=-1300,
        positive_void_amount=10000,
        positive_void_tax=1300,
    )
    assert set(delta.rates) == {"0.13"}


def test_rates_add_up_to_their_kind(desk: Desk, tmp_path: Path) -> None:
    sales = lists.made_up_sales(
        random.Random(3), 80, first_day=JANUARY[0], last_day=JANUARY[1], code=ORDINARY, rates=("0.13", "0.06", "exempt")
    )
    desk.take(lists.csv_list(tmp_path / "a.csv", sales))
    totals = desk.ledger.summary("2019-01")
    whole = totals["007", WHOLE_KIND]
    parts = sum((figures for (_, rate), figures in totals.items() if rate != WHOLE_KIND), start=Figures())
    assert parts.numbers[5:] == whole.numbers[5:]
    assert len(totals) == 4
    assert whole.used == len(sales)
    assert told(desk) == totals


def test_amounts_that_no_sum_could_hold_are_refused(desk: Desk) -> None:
    vast = {"金额": "5000000000000.00", "税率": "免税", "税额": "0.00", "数量": "", "单价": ""}
    assert desk.rows(numbered(1, **vast)).invoices == 1
    report = desk.rows(numbered(2, **vast))
    assert "金额累计超出范围" in report.problems[0].message.zh
    assert desk.ledger.count() == 1


# --- known invoices


def test_the_same_file_again_brings_nothing(desk: Desk) -> None:
    first = desk.rows(numbered(1), numbered(2))
    again = desk.rows(numbered(1), numbered(2))
    assert (first.invoices, again.invoices, again.skipped, again.batch_id) == (2, 0, 2, "")
    assert len(desk.batches) == 1


def test_an_overlapping_file_brings_only_what_is_new(desk: Desk) -> None:
    desk.rows(numbered(1), numbered(2))
    report = desk.rows(numbered(2), numbered(3))
    assert (report.invoices, report.skipped) == (1, 1)
    assert desk.ledger.count() == 3


def test_special_and_ordinary_invoices_of_one_number_are_two_with_a_warning(desk: Desk) -> None:
    """The device counts kinds apart, and the administration's own sample lists share numbers between kinds."""
    desk.rows(numbered(1) | {"票种": "增值税专用发票"})
    report = desk.rows(numbered(1) | {"票种": "增值税普通发票"})
    assert (report.invoices, report.skipped, report.problem_count) == (1, 0, 0)
    assert any("按两张发票导入" in warning.in_words.zh for warning in report.warnings)
    again = desk.rows(numbered(1) | {"票种": "增值税普通发票"})
    assert (again.invoices, again.skipped) == (0, 1)


def test_an_ordinary_invoice_under_another_name_of_its_kind_is_not_counted_twice(desk: Desk) -> None:
    desk.rows(numbered(1) | {"票种": "增值税普通发票"})
    report = desk.rows(numbered(1) | {"票种": "增值税电子普通发票"})
    assert report.invoices == 0
    assert report.problem_count == 1
    assert desk.ledger.count() == 1


def test_a_known_number_with_other_content_is_a_problem_that_says_what_differs(desk: Desk) -> None:
    desk.rows(numbered(1))
    report = desk.rows(numbered(1, 金额="200.00", 税额="26.00"))
    assert report.problem_count == 1
    assert "金额与税额 100.00 + 13.00 / 200.00 + 26.00" in report.problems[0].message.zh
    assert "购方名称" in desk.rows(numbered(1, 购方名称="别家")).problems[0].message.zh
    assert "开票日期" in desk.rows(numbered(1, 开票日期="2019-01-08")).problems[0].message.zh


def test_a_list_that_says_less_about_a_known_invoice_is_no_contradiction(desk: Desk) -> None:
    desk.rows(numbered(1))
    report = desk.rows(numbered(1, 购方名称="", 购方税号="", 商品名称="别的写法"))
    assert (report.skipped, report.problem_count) == (1, 0)


def test_the_same_invoice_apart_in_one_file_is_counted_once(desk: Desk) -> None:
    report = desk.rows(numbered(1), numbered(2), numbered(1))
    assert (report.invoices, report.skipped, report.amount) == (2, 1, 20000)


def test_one_number_under_two_codes_is_two_invoices(desk: Desk) -> None:
    report = desk.rows(numbered(1), numbered(1, 发票代码=SPECIAL))
    assert (report.invoices, report.problem_count) == (2, 0)


def test_without_a_code_column_the_number_and_content_tell(desk: Desk) -> None:
    desk.rows(numbered(1))
    bare = {key: value for key, value in numbered(1).items() if key != "发票代码"}
    told_kind = context(kind="007")
    assert desk.rows(bare, told=told_kind).skipped == 1
    other = {**bare, "金额": "50.00", "税额": "6.50"}
    assert desk.rows(other, told=told_kind).invoices == 1
    report = desk.rows({**other, "金额": "70.00", "税额": "9.10"}, told=told_kind)
    assert "没有发票代码" in report.problems[0].message.zh


# --- voids


def test_an_invoice_that_is_void_now_becomes_void_and_the_card_is_told_the_change(desk: Desk) -> None:
    desk.rows(numbered(1), numbered(2))
    report = desk.rows(numbered(1, 发票状态="作废"), numbered(2))
    assert (report.invoices, report.voided, report.skipped) == (0, 1, 1)
    change = desk.batches[report.batch_id].totals()["007", WHOLE_KIND]
    assert (change.positive_count, change.positive_void_count) == (-1, 1)
    assert (change.positive_amount, change.positive_void_amount) == (-10000, 10000)
    assert told(desk) == desk.ledger.summary()
    assert [i.status for i in desk.ledger.each_invoice()] == ["positive-void", "positive"]


def test_a_void_listed_without_its_amounts_keeps_those_that_are_known(desk: Desk) -> None:
    desk.rows(numbered(1))
    keep = {"发票代码", "发票号码", "开票日期"}
    blank = {key: value if key in keep else None for key, value in numbered(1).items()}
    assert desk.rows({**blank, "发票状态": "作废"}).voided == 1
    (invoice,) = desk.ledger.each_invoice()
    assert (invoice.status, invoice.amount) == ("positive-void", "100.00")


def test_a_red_invoice_becomes_a_red_void(desk: Desk) -> None:
    red = numbered(1, 金额="-100.00", 税额="-13.00", 数量="-2")
    desk.rows(red)
    desk.rows({**red, "发票状态": "作废"})
    assert desk.ledger.summary()["007", WHOLE_KIND].negative_void_amount == -10000
    assert told(desk) == desk.ledger.summary()


def test_a_void_later_in_the_same_file_counts_as_void_once(desk: Desk) -> None:
    report = desk.rows(numbered(1), numbered(2), numbered(1, 发票状态="作废"))
    assert (report.invoices, report.voided, report.amount) == (2, 1, 10000)
    assert told(desk) == desk.ledger.summary()
    assert desk.ledger.summary()["007", WHOLE_KIND].positive_void_count == 1


def test_a_void_stated_twice_is_told_once(desk: Desk) -> None:
    desk.rows(numbered(1))
    report = desk.rows(numbered(1, 发票状态="作废"), numbered(2), numbered(1, 发票状态="作废"))
    assert (report.invoices, report.voided, report.skipped) == (1, 1, 1)
    assert told(desk) == desk.ledger.summary()


def test_an_older_list_does_not_bring_a_void_invoice_back(desk: Desk) -> None:
    desk.rows(numbered(1, 发票状态="作废"))
    report = desk.rows(numbered(1))
    assert (report.skipped, report.problem_count, report.warning_count) == (1, 0, 1)
    assert next(desk.ledger.each_invoice()).status == "positive-void"


# --- closed periods


def test_an_invoice_of_a_copied_period_comes_too_late_and_known_ones_do_not_matter(desk: Desk) -> None:
    desk.rows(numbered(1))
    closed = context(open_from=date(2019, 2, 1))
    assert desk.rows(numbered(1), told=closed).skipped == 1
    report = desk.rows(numbered(1), numbered(2), told=closed)
    assert [p.place.row for p in report.problems] == [3]
    assert "已抄税" in report.problems[0].message.zh


@pytest.mark.parametrize("kind", ["period", "adhoc"])
def test_a_copied_invoice_cannot_be_voided_any_more(desk: Desk, kind: str) -> None:
    desk.rows(numbered(1))
    desk.ledger.freeze("c", kind=kind, period_start=JANUARY[0], period_end=JANUARY[1])  # type: ignore[arg-type]
    report = desk.rows(numbered(1, 发票状态="作废"))
    assert report.problem_count == 1
    assert "红字" in report.problems[0].message.zh


# --- the card and the ledger together


class Unplugged(Exception):
    """The machine stops here."""


def test_if_the_card_never_heard_of_it_the_batch_is_gone_after_recovery(desk: Desk, tmp_path: Path) -> None:
    path = csv_rows(tmp_path / "a.csv", [numbered(1), numbered(2)])

    def stop(batch: IssuedBatch) -> None:
        raise Unplugged(batch.batch_id)

    with pytest.raises(Unplugged):
        desk.ledger.import_file(path, context(), record=stop)
    ledger = Ledger(desk.ledger.path)
    assert (ledger.count(), ledger.summary(), ledger.months()) == (0, {}, [])
    with pytest.raises(ImportUnsettled):
        ledger.import_file(path, context(), record=desk.record)
    assert ledger.recover(lambda batch_id: batch_id in desk.batches) == 1
    assert ledger.recover(lambda batch_id: True) == 0
    assert desk.take(path).invoices == 2
    assert told(desk) == ledger.summary()


def test_if_the_card_counted_it_the_batch_is_there_after_recovery(desk: Desk, tmp_path: Path) -> None:
    desk.rows(numbered(1))
    path = csv_rows(tmp_path / "a.csv", [numbered(1, 发票状态="作废"), numbered(2)])

    def count_and_stop(batch: IssuedBatch) -> None:
        desk.record(batch)
        raise Unplugged

    with pytest.raises(Unplugged):
        desk.ledger.import_file(path, context(), record=count_and_stop)
    assert [i.status for i in desk.ledger.each_invoice()] == ["positive"]
    assert Ledger(desk.ledger.path).recover(lambda batch_id: batch_id in desk.batches) == 1
    assert [i.status for i in desk.ledger.each_invoice()] == ["positive-void", "positive"]
    assert told(desk) == desk.ledger.summary()


def test_the_batch_of_the_same_invoices_has_the_same_name_in_a_restored_ledger(tmp_path: Path) -> None:
    rows = [numbered(1), numbered(2)]
    names = []
    for folder in ("first", "restored"):
        (tmp_path / folder).mkdir()
        names.append(Desk(tmp_path / folder).rows(*rows).batch_id)
    assert names[0] == names[1]
    assert names[0]


def test_a_reader_sees_nothing_of_an_import_that_is_under_way(desk: Desk, tmp_path: Path) -> None:
    desk.rows(numbered(1))
    seen = []

    def look(batch: IssuedBatch) -> None:
        seen.append((desk.ledger.count(), desk.ledger.summary()["007", WHOLE_KIND].positive_count))
        desk.record(batch)

    path = csv_rows(tmp_path / "b.csv", [numbered(2), numbered(3)])
    desk.ledger.import_file(path, context(), record=look)
    assert seen == [(1, 1)]
    assert desk.ledger.count() == 3


def test_progress_is_told_while_a_file_is_read(desk: Desk, tmp_path: Path) -> None:
    path = csv_rows(tmp_path / "a.csv", [numbered(n) for n in range(1, 1201)])
    heard: list[int] = []
    desk.ledger.import_file(path, context(), record=desk.record, progress=heard.append)
    assert heard == [500, 1000]


def test_an_interruption_while_reading_leaves_nothing(desk: Desk, tmp_path: Path) -> None:
    path = csv_rows(tmp_path / "a.csv", [numbered(n) for n in range(1, 1201)])

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        desk.ledger.import_file(path, context(), record=desk.record, progress=interrupt)
    assert desk.ledger.count() == 0
    assert desk.ledger.recover(lambda batch_id: False) == 0
    assert desk.take(path).invoices == 1200


# --- copies


def test_a_period_copy_covers_its_month_and_nothing_that_comes_later(desk: Desk) -> None:
    desk.rows(numbered(1), numbered(2, 开票日期="2019-01-31"), numbered(3, 开票日期="2019-02-01"))
    ledger = desk.ledger
    assert ledger.freeze("jan", kind="period", period_start=JANUARY[0], period_end=JANUARY[1]) == 2
    desk.rows(numbered(4, 开票日期="2019-01-15"))
    assert (ledger.copy_count("jan"), [i.number for i in ledger.copy_rows("jan")]) == (2, ["00000001", "00000002"])
    assert ledger.detail_totals("jan")["007", WHOLE_KIND].positive_count == 2
    assert ledger.freeze("jan", kind="period", period_start=JANUARY[0], period_end=JANUARY[1]) == 2


def test_ad_hoc_copies_cover_each_invoice_once(desk: Desk) -> None:
    ledger = desk.ledger
    desk.rows(numbered(1), numbered(2))
    assert ledger.freeze("a", kind="adhoc", period_start=JANUARY[0], period_end=TODAY) == 2
    assert ledger.freeze("b", kind="adhoc", period_start=TODAY, period_end=TODAY) == 0
    desk.rows(numbered(3))
    assert ledger.freeze("c", kind="adhoc", period_start=TODAY, period_end=TODAY) == 1
    assert [i.number for i in ledger.copy_rows("c")] == ["00000003"]
    assert ledger.freeze("jan", kind="period", period_start=JANUARY[0], period_end=JANUARY[1]) == 3
    desk.rows(numbered(4, 开票日期="2019-02-01"))
    assert ledger.freeze("d", kind="adhoc", period_start=TODAY, period_end=TODAY) == 1


def test_a_superseding_copy_covers_what_the_old_one_did_and_more(desk: Desk) -> None:
    ledger = desk.ledger
    desk.rows(numbered(1))
    ledger.freeze("a", kind="adhoc", period_start=JANUARY[0], period_end=TODAY)
    desk.rows(numbered(2))
    assert ledger.freeze("b", kind="adhoc", period_start=JANUARY[0], period_end=TODAY, supersedes="a") == 2
    assert ledger.detail_totals("b") == ledger.summary()


def test_an_empty_month_is_an_empty_copy(desk: Desk) -> None:
    assert desk.ledger.freeze("zero", kind="period", period_start=JANUARY[0], period_end=JANUARY[1]) == 0
    assert list(desk.ledger.copy_rows("zero")) == []
    assert desk.ledger.detail_totals("zero") == {}


def test_a_copy_that_was_never_made_is_not_found(desk: Desk) -> None:
    for question in (desk.ledger.copy_count, desk.ledger.detail_totals, lambda name: list(desk.ledger.copy_rows(name))):
        with pytest.raises(NotFound):
            question("nowhere")


def test_detail_is_counted_from_the_lines_and_notices_one_that_is_missing(desk: Desk) -> None:
    desk.rows(numbered(1), numbered(2))
    desk.ledger.freeze("c", kind="period", period_start=JANUARY[0], period_end=JANUARY[1])
    before = desk.ledger.detail_totals("c")
    with closing(sqlite3.connect(desk.ledger.path)) as db, db:
        db.execute("DELETE FROM lines WHERE invoice = 2")
    after = desk.ledger.detail_totals("c")
    assert before["007", WHOLE_KIND].positive_amount - after["007", WHOLE_KIND].positive_amount == 10000


def test_rows_come_in_the_same_order_however_they_were_imported(tmp_path: Path) -> None:
    chance = random.Random(5)
    sales = lists.made_up_sales(chance, 60, first_day=JANUARY[0], last_day=JANUARY[1], code=ORDINARY)
    shuffled = sales[:]
    chance.shuffle(shuffled)
    orders = []
    for name, given in (("a", sales), ("b", shuffled)):
        (tmp_path / name).mkdir()
        desk = Desk(tmp_path / name)
        desk.take(lists.csv_list(tmp_path / f"{name}.csv", given))
        desk.ledger.freeze("c", kind="period", period_start=JANUARY[0], period_end=JANUARY[1])
        orders.append(list(desk.ledger.copy_rows("c")))
    assert orders[0] == orders[1]
    assert len(orders[0]) == 60


# --- questions


def test_pages_go_through_all_invoices_once(desk: Desk) -> None:
    desk.rows(*(numbered(n) for n in range(1, 26)))
    found: list[str] = []
    after: str | None = None
    while True:
        page = desk.ledger.invoices(limit=10, after=after)
        found += [invoice.number for invoice in page.invoices]
        after = page.after
        if after is None:
            break
    assert found == [f"{n:08d}" for n in range(1, 26)]


def test_filters_narrow_the_list(desk: Desk) -> None:
    desk.rows(
        numbered(1),
        numbered(2, 发票状态="作废"),
        numbered(3, 购方名称="100%_纯棉公司", 购方税号=""),
        numbered(4, 开票日期="2019-02-01"),
        numbered(5, 发票代码=SPECIAL),
    )
    ledger = desk.ledger
    assert ledger.count(InvoiceFilter(month="2019-01")) == 4
    assert ledger.count(InvoiceFilter(status="positive-void")) == 1
    assert ledger.count(InvoiceFilter(kind="004")) == 1
    assert ledger.count(InvoiceFilter(text="100%_")) == 1
    assert ledger.count(InvoiceFilter(text="%")) == 1
    assert ledger.count(InvoiceFilter(first_day=date(2019, 2, 1), last_day=date(2019, 2, 1))) == 1
    assert ledger.months() == ["2019-01", "2019-02"]
    assert ledger.invoices(after="nonsense").invoices == []


# --- the file itself


def test_a_file_that_is_no_ledger_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"not a database, just text of some length" * 50)
    with pytest.raises(StoreDamaged):
        Ledger(path)
    assert path.read_bytes().startswith(b"not a database")


def test_somebody_elses_database_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as db, db:
        db.execute("CREATE TABLE theirs (a)")
    before = (tmp_path / "ledger.db").read_bytes()
    with pytest.raises(StoreDamaged):
        Ledger(tmp_path / "ledger.db")
    assert (tmp_path / "ledger.db").read_bytes() == before


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    Ledger(tmp_path / "l.db")
    with closing(sqlite3.connect(tmp_path / "l.db")) as db, db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError):
        Ledger(tmp_path / "l.db")


def test_rows_of_the_ledger_belong_together(desk: Desk) -> None:
    desk.rows(numbered(1), numbered(2))
    with closing(sqlite3.connect(desk.ledger.path)) as db, db:
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_export_can_be_imported_again(desk: Desk, tmp_path: Path) -> None:
    sales = lists.made_up_sales(
        random.Random(4),
        40,
        first_day=JANUARY[0],
        last_day=JANUARY[1],
        code=ORDINARY,
        rates=("0.13", "exempt", "untaxed"),
    )
    sales.append(Sale("00000999", JANUARY[1], (), code=ORDINARY, buyer="", buyer_id="", void=True))
    sales[0] = replace(sales[0], buyer="=HYPERLINK(1)", remark="-1+1")
    desk.take(lists.csv_list(tmp_path / "in.csv", sales))
    digital = lists.made_up_sales(random.Random(6), 10, first_day=JANUARY[0], last_day=JANUARY[1], code="")
    desk.take(lists.full_query_xlsx(tmp_path / "in.xlsx", digital))
    for name in ("out.csv", "out.xlsx"):
        assert desk.ledger.export(tmp_path / name) == 51
        (tmp_path / name[-4:]).mkdir()
        other = Desk(tmp_path / name[-4:])
        report = other.take(tmp_path / name)
        assert [p.in_words.zh for p in report.problems] == []
        assert list(other.ledger.each_invoice()) == list(desk.ledger.each_invoice())
    assert "'=HYPERLINK" in (tmp_path / "out.csv").read_text(encoding="utf-8-sig")


def test_export_to_anything_else_is_refused(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        desk.ledger.export(tmp_path / "out.pdf")
    with pytest.raises(ConfigurationError):
        desk.ledger.export(tmp_path / "missing" / "out.csv")
    assert not list(tmp_path.glob("*out*"))
