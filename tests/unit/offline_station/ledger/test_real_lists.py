"""What real lists do to an importer, point by point: each is survived, or refused with its row and column."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest

from offline_station.ledger.assemble import blue_reference
from offline_station.ledger.entries import Entry
from offline_station.ledger.problems import Findings
from shared.model.report import MAX_LINES_PER_INVOICE
from tests.support import workbooks as lists
from tests.support.ledger import JANUARY, ORDINARY, ROW, SPECIAL, context, csv_rows, read
from tests.support.workbooks import OFFICIAL, SELLER, Line, Sale

Row = Mapping[str, object]


def one(tmp_path: Path, *rows: Row) -> Entry:
    """Return the only invoice of a list without problems."""
    entries, findings = read(csv_rows(tmp_path / "list.csv", rows))
    assert [p.in_words.zh for p in findings.problems] == []
    assert len(entries) == 1
    return entries[0]


def refused(tmp_path: Path, *rows: Row) -> Findings:
    """Return the findings of a list of which nothing is accepted."""
    entries, findings = read(csv_rows(tmp_path / "list.csv", rows))
    assert entries == []
    assert findings.problem_count > 0
    return findings


def official(tmp_path: Path, *rows: list[object]) -> tuple[list[Entry], Findings]:
    """Read rows below the preamble and the header of an official list."""
    above: list[list[object]] = [
        [],
        ["某企业发票数据"],
        [],
        ["资料区间：2019-01-01~2019-01-31"],
        ["发票类别：普通发票"],
        list(OFFICIAL),
    ]
    return read(lists.write_xls(tmp_path / "list.xls", [("Sheet1", [*above, *rows])]))


def official_row(
    number: str | None, goods: str, amount: str | None, tax: str | None, rate: object = 0.13
) -> list[object]:
    head = [ORDINARY, number, "甲", "913300001428571423", "", "", "2019-01-07", "27.0", "1"] if number else [None] * 9
    return [*head, goods, "", "", "", "", amount, rate, tax, ""]


# --- 1 subtotals, footers, continuation rows


def test_a_subtotal_even_after_one_line_is_compared_and_not_counted(tmp_path: Path) -> None:
    entries, findings = official(
        tmp_path,
        official_row("00000001", "a", "100.00", "13.00"),
        official_row(None, "小计", "100.00", "13.00", None),
        official_row("00000002", "b", "50.00", "6.50"),
        official_row(None, "b", "-5.00", "-0.65"),
        official_row(None, "小 计", "45.00", "5.85", None),
        ["份数：2  金额：145.00元  税额：18.85元"],
        [None] * 9 + [" "],
    )
    assert (findings.problem_count, findings.warning_count) == (0, 0)
    assert [(e.amount, len(e.invoice.lines)) for e in entries] == [(10000, 1), (4500, 2)]
    assert [line.nature for line in entries[1].invoice.lines] == ["normal", "discount"]


def test_a_subtotal_that_differs_from_its_lines_is_named(tmp_path: Path) -> None:
    entries, findings = official(
        tmp_path, official_row("00000001", "a", "100.00", "13.00"), official_row(None, "小计", "200.00", "13.00", None)
    )
    assert entries == []
    assert (findings.problems[0].place.sheet, findings.problems[0].place.row) == ("Sheet1", 8)
    assert findings.problems[0].place.column == "金额"


def test_a_footer_that_states_more_than_there_is_warns(tmp_path: Path) -> None:
    entries, findings = official(
        tmp_path, official_row("00000001", "a", "100.00", "13.00"), ["份数：2  金额：200.00元  税额：26.00元"]
    )
    assert (len(entries), findings.problem_count) == (1, 0)
    assert [w.place.row for w in findings.warnings] == [8]


def test_a_product_that_is_called_like_a_total_is_a_product(tmp_path: Path) -> None:
    entries, findings = official(tmp_path, official_row("00000001", "合计尺", "100.00", "13.00"))
    assert findings.problem_count == 0
    assert entries[0].invoice.lines[0].name == "合计尺"


@pytest.mark.parametrize("name", ["小计", "本页小计", "合计", "份数：3", "发票类别：专用发票", "资料区间：1~2"])
def test_goods_in_a_continuation_row_are_goods_whatever_their_name(tmp_path: Path, name: str) -> None:
    entries, findings = official(
        tmp_path, official_row("00000001", "a", "100.00", "13.00"), official_row(None, name, "10.00", "1.30")
    )
    assert (findings.problem_count, entries[0].amount) == (0, 11000)
    assert [line.name for line in entries[0].invoice.lines] == ["a", name]


def test_a_row_that_belongs_to_nothing_is_a_problem(tmp_path: Path) -> None:
    entries, findings = official(tmp_path, official_row(None, "a", "100.00", "13.00"))
    assert entries == []
    assert findings.problems[0].place.row == 7


# --- 3 printed lists


@pytest.mark.parametrize("words", ["(详见销货清单)", "（详见销货清单）", "详见销货清单", " ( 详见销货清单 ) "])
def test_a_list_summary_with_its_details_is_not_counted_twice(tmp_path: Path, words: str) -> None:
    entries, findings = official(
        tmp_path,
        official_row("00000001", words, "100.00", "13.00"),
        official_row(None, "a", "60.00", "7.80"),
        official_row(None, "b", "40.00", "5.20"),
    )
    assert findings.problem_count == 0
    assert [line.name for line in entries[0].invoice.lines] == ["a", "b"]
    assert entries[0].amount == 10000


def test_a_list_summary_alone_is_the_line(tmp_path: Path) -> None:
    entries, findings = official(tmp_path, official_row("00000001", "(详见销货清单)", "8000.00", "1040.00"))
    assert (findings.problem_count, entries[0].amount) == (0, 800000)


def test_goods_that_merely_contain_the_words_are_goods(tmp_path: Path) -> None:
    entries, _ = official(
        tmp_path,
        official_row("00000001", "矿泉水（详见销货清单第3行）", "60.00", "7.80"),
        official_row(None, "b", "40.00", "5.20"),
    )
    assert entries[0].amount == 10000


def test_a_list_summary_that_its_details_do_not_reach_is_a_problem(tmp_path: Path) -> None:
    entries, findings = official(
        tmp_path,
        official_row("00000001", "(详见销货清单)", "100.00", "13.00"),
        official_row(None, "a", "60.00", "7.80"),
    )
    assert entries == []
    assert "详见销货清单" in findings.problems[0].message.zh


# --- 4 voids


@pytest.mark.parametrize("words", ["作废", "已作废", " 作废发票", "作废发票", "正废"])
def test_a_void_invoice_keeps_what_it_said(tmp_path: Path, words: str) -> None:
    entry = one(tmp_path, {**ROW, "发票状态": words})
    assert (entry.invoice.status, entry.amount, entry.tax) == ("positive-void", 10000, 1300)


@pytest.mark.parametrize(
    ("flag", "status"), [("是", "positive-void"), ("1", "positive-void"), ("否", "positive"), ("0", "positive")]
)
def test_a_void_flag_counts_like_a_status(tmp_path: Path, flag: str, status: str) -> None:
    assert one(tmp_path, {**ROW, "作废标志": flag}).invoice.status == status


def test_a_blank_void_is_all_empty(tmp_path: Path) -> None:
    keep = {"发票代码", "发票号码", "开票日期"}
    blank = {key: value if key in keep else None for key, value in ROW.items()}
    entry = one(tmp_path, {**blank, "发票状态": "空白作废"})
    assert (entry.invoice.status, entry.invoice.lines, entry.amount) == ("blank-void", (), 0)


def test_a_blank_void_without_a_day_takes_the_month_that_the_list_states(tmp_path: Path) -> None:
    rows = lists.official_rows(
        [("专用发票", [Sale("00000001", JANUARY[0], (Line("a", 100, 13),), code=SPECIAL)])],
        JANUARY,
        headings=lists.OFFICIAL_B,
    )
    blank: list[object] = [None] * len(lists.OFFICIAL_B)
    blank[0], blank[1], blank[-1] = SPECIAL, "00000002", "作废"
    entries, findings = read(lists.write_xlsx(tmp_path / "a.xlsx", [("Sheet1", [*rows[:-1], blank])]))
    assert [p.in_words.zh for p in findings.problems] == []
    assert (entries[1].invoice.status, entries[1].invoice.day) == ("blank-void", "2019-01-31")


def test_a_valid_invoice_without_amounts_is_a_problem(tmp_path: Path) -> None:
    empty = {key: None if key in {"金额", "税额", "税率", "商品名称"} else value for key, value in ROW.items()}
    assert refused(tmp_path, {**empty, "发票状态": "正常"}).problems[0].place.column == "金额"


@pytest.mark.parametrize("words", ["正常", "有效发票", "已红冲-全额", "已红冲-部分", "--", "", "红字发票", "正常发票"])
def test_a_cancelled_or_normal_invoice_is_not_void(tmp_path: Path, words: str) -> None:
    assert one(tmp_path, {**ROW, "发票状态": words}).invoice.status == "positive"


def test_a_doubtful_status_counts_and_warns(tmp_path: Path) -> None:
    entries, findings = read(csv_rows(tmp_path / "a.csv", [{**ROW, "发票状态": "失控"}]))
    assert (entries[0].invoice.status, findings.warning_count) == ("positive", 1)


def test_an_unknown_status_is_never_guessed(tmp_path: Path) -> None:
    problem = refused(tmp_path, {**ROW, "发票状态": "待查"}).problems[0]
    assert (problem.place.row, problem.place.column) == (2, "发票状态")


# --- 5 red invoices and discounts


def test_a_red_invoice_is_negative_with_its_blue_one(tmp_path: Path) -> None:
    red = {
        **ROW,
        "数量": "-2",
        "金额": "-100.00",
        "税额": "-13.00",
        "备注": f"对应正数发票代码:{ORDINARY}号码:00000007",
    }
    invoice = one(tmp_path, red).invoice
    assert (invoice.status, invoice.amount, invoice.lines[0].quantity) == ("negative", "-100.00", "-2")
    assert (invoice.original_code, invoice.original_number) == (ORDINARY, "00000007")


@pytest.mark.parametrize(
    ("remark", "blue"),
    [
        ("对应正数发票代码:3100193330号码:00000007", ("3100193330", "00000007")),
        ("对应正数发票代码：3100193330，号码：00000007 开票日期", ("3100193330", "00000007")),
        ("被红冲蓝字发票代码 031001900111 号码 12345678", ("031001900111", "12345678")),
        ("红冲发票代码：３１００１９３３３０ 发票号码：００００００７７", ("3100193330", "00000077")),
        ("蓝票 3100193330 00000007", ("3100193330", "00000007")),
        (
            "被红冲蓝字数电票号码：26312000000012345678 红字发票信息确认单编号：31011926011234567890",
            ("", "26312000000012345678"),
        ),
        (
            "红字发票信息确认单编号：31011926011234567890 被红冲蓝字数电票号码：26312000000012345678",
            ("", "26312000000012345678"),
        ),
        ("开具红字增值税专用发票信息表编号3101151901008405", ("", "")),
        ("红字发票信息确认单编号：31011926011234567890", ("", "")),
        ("", ("", "")),
        ("货到付款 电话 02112345678", ("", "")),
    ],
)
def test_remarks_name_the_blue_invoice_in_several_wordings(remark: str, blue: tuple[str, str]) -> None:
    assert blue_reference(remark) == blue


def test_the_sign_column_must_agree_with_the_amount(tmp_path: Path) -> None:
    assert one(tmp_path, {**ROW, "是否正数发票": "是"}).invoice.status == "positive"
    findings = refused(tmp_path, {**ROW, "是否正数发票": "否"})
    assert [problem.place.column for problem in findings.problems] == ["是否正数发票"]


def test_amount_and_tax_have_one_sign(tmp_path: Path) -> None:
    """Discounts at a rate of their own could turn them apart; no summary has a place for that (REP-21, REP-23)."""
    discount = {**ROW, "数量": "", "单价": "", "金额": "-99.00", "税额": "-13.01"}
    findings = refused(tmp_path, ROW, discount)
    assert [problem.place.column for problem in findings.problems] == ["税额"]
    assert one(tmp_path, ROW, {**discount, "税额": "-13.00"}).invoice.status == "positive"


def test_a_discount_stands_inside_a_positive_invoice(tmp_path: Path) -> None:
    entry = one(tmp_path, ROW, {**ROW, "数量": "", "单价": "", "金额": "-10.00", "税额": "-1.30"})
    assert [line.nature for line in entry.invoice.lines] == ["normal", "discount"]
    assert (entry.invoice.status, entry.amount) == ("positive", 9000)


# --- 6 digital numbers


def test_a_digital_invoice_has_twenty_digits_and_no_code(tmp_path: Path) -> None:
    row = {
        **ROW,
        "发票代码": "--",
        "发票号码": "--",
        "数电号码": "26312000000012345678",
        "发票票种": "数电票（普通发票）",
    }
    invoice = one(tmp_path, row).invoice
    assert (invoice.code, invoice.number, invoice.kind) == ("", "26312000000012345678", "102")


def test_a_paper_form_of_a_digital_invoice_goes_by_its_digital_number(tmp_path: Path) -> None:
    row = {
        **ROW,
        "发票代码": "031002600104",
        "数电号码": "26312000000012345678",
        "发票票种": "数电纸质发票（普通发票）",
    }
    assert one(tmp_path, row).invoice.key == "26312000000012345678"


def test_a_digital_number_split_into_twelve_and_eight_is_put_together(tmp_path: Path) -> None:
    row = {**ROW, "发票代码": "263120000000", "发票号码": "12345678", "发票票种": "数电发票（增值税专用发票）"}
    invoice = one(tmp_path, row).invoice
    assert (invoice.key, invoice.kind) == ("26312000000012345678", "101")


def test_twenty_digits_in_the_number_column_are_a_digital_number(tmp_path: Path) -> None:
    row = {**ROW, "发票代码": "", "发票号码": "26312000000012345678", "发票票种": "普通发票"}
    assert one(tmp_path, row).invoice.kind == "102"


@pytest.mark.parametrize("number", ["2631200000001234567", "263120000000123456789", "2631200000001234567X"])
def test_a_digital_number_of_another_length_is_a_problem(tmp_path: Path, number: str) -> None:
    problem = refused(tmp_path, {**ROW, "数电号码": number}).problems[0]
    assert (problem.place.row, problem.place.column) == (2, "数电号码")


# --- 7 rates


def test_margin_taxation_is_printed_as_asterisks(tmp_path: Path) -> None:
    entry = one(tmp_path, {**ROW, "税率": "***", "税额": "5.00", "备注": "差额征税：2640.00。"})
    assert entry.line_sums == [("margin", 10000, 500)]


def test_asterisks_without_tax_are_a_zero_rate_unless_the_remark_says_margin(tmp_path: Path) -> None:
    assert one(tmp_path, {**ROW, "税率": "***", "税额": "***"}).line_sums == [("zero", 10000, 0)]
    assert one(tmp_path, {**ROW, "税率": "***", "税额": "0", "备注": "差额征税：1"}).line_sums == [("margin", 10000, 0)]


@pytest.mark.parametrize(("words", "rate"), [("免税", "exempt"), ("不征税", "untaxed"), ("0%", "zero")])
@pytest.mark.parametrize("tax", ["0.00", "", "***"])
def test_named_rates_have_no_tax(tmp_path: Path, words: str, rate: str, tax: str) -> None:
    assert one(tmp_path, {**ROW, "税率": words, "税额": tax}).line_sums == [(rate, 10000, 0)]


def test_a_missing_rate_is_told_by_the_tax_if_only_one_fits(tmp_path: Path) -> None:
    entries, findings = read(csv_rows(tmp_path / "a.csv", [{**ROW, "税率": None}]))
    assert entries[0].line_sums == [("0.13", 10000, 1300)]
    assert findings.warning_count == 1


def test_a_missing_rate_that_several_rates_could_be_is_a_problem(tmp_path: Path) -> None:
    assert refused(tmp_path, {**ROW, "税率": None, "税额": "9.50"}).problems[0].place.column == "税率"


def test_tax_that_differs_from_rate_times_amount_warns_and_is_taken(tmp_path: Path) -> None:
    entries, findings = read(csv_rows(tmp_path / "a.csv", [{**ROW, "税额": "13.07"}]))
    assert (len(entries), findings.warning_count) == (1, 1)
    assert findings.warnings[0].place.column == "税额"
    assert read(csv_rows(tmp_path / "a.csv", [{**ROW, "税额": "13.06"}]))[1].warning_count == 0


# --- 8, 9 numbers and days


def test_numbers_that_lost_their_zeros_are_restored_where_certain(tmp_path: Path) -> None:
    rows: list[list[object]] = [list(ROW), list(ROW.values())]
    rows[1][0], rows[1][1] = 31001900111, 144
    entries, findings = read(lists.write_xlsx(tmp_path / "a.xlsx", [("s", rows)]))
    assert (findings.problem_count, findings.warning_count) == (0, 2)
    assert (entries[0].invoice.code, entries[0].invoice.number) == ("031001900111", "00000144")


@pytest.mark.parametrize(
    ("code", "column"), [("310019333", "发票代码"), ("99001900399", "发票代码"), ("31001933301", "发票代码")]
)
def test_a_code_that_cannot_be_restored_with_certainty_is_refused(tmp_path: Path, code: str, column: str) -> None:
    problem = refused(tmp_path, {**ROW, "发票代码": code}).problems[0]
    assert (problem.place.row, problem.place.column) == (2, column)


def test_twenty_digits_that_became_a_floating_number_are_refused_with_their_row(tmp_path: Path) -> None:
    row = {**ROW, "数电号码": "26312000000012345678"}
    rows: list[list[object]] = [list(row), list(row.values()), list(row.values())]
    rows[2][-1] = 26312000000012345678.0
    entries, findings = read(lists.write_xlsx(tmp_path / "a.xlsx", [("发票", rows)]), context(kind="102"))
    assert len(entries) == 1
    assert [(p.place.sheet, p.place.row, p.place.column) for p in findings.problems] == [("发票", 3, "数电号码")]
    assert refused(tmp_path, {**row, "数电号码": "2.63E+19"}).problem_count == 1


def test_amounts_and_days_as_real_numbers_and_days(tmp_path: Path) -> None:
    rows: list[list[object]] = [list(ROW), list(ROW.values())]
    rows[1][2], rows[1][8], rows[1][9], rows[1][10] = date(2019, 1, 7), 0.1 + 0.2, 0.13, 0.04
    for name, write in (("a.xls", lists.write_xls), ("a.xlsx", lists.write_xlsx)):
        entries, findings = read(write(tmp_path / name, [("s", rows)]))
        assert findings.problem_count == 0
        assert (entries[0].amount, entries[0].tax, entries[0].invoice.day) == (30, 4, "2019-01-07")


def test_eighteen_decimals_of_a_price_are_kept(tmp_path: Path) -> None:
    line = one(tmp_path, {**ROW, "单价": "49.999999999999999999", "数量": "2.000000000000000001"}).invoice.lines[0]
    assert (line.price, line.quantity) == ("49.999999999999999999", "2.000000000000000001")


def test_a_price_that_includes_tax_is_not_carried_as_one_without(tmp_path: Path) -> None:
    row = {("含税单价" if key == "单价" else key): value for key, value in ROW.items()}
    assert one(tmp_path, row).invoice.lines[0].price is None


@pytest.mark.parametrize("day", ["2019-02-03", "2029-01-01", "1990-01-01", "2019-02-30", ""])
def test_a_day_in_the_future_or_no_day_at_all_is_a_problem(tmp_path: Path, day: str) -> None:
    assert refused(tmp_path, {**ROW, "开票日期": day}).problems[0].place.column == "开票日期"


def test_tomorrow_is_still_accepted_as_clocks_differ(tmp_path: Path) -> None:
    assert one(tmp_path, {**ROW, "开票日期": "2019-02-02"}).invoice.day == "2019-02-02"


# --- 10 toll invoices


@pytest.mark.parametrize(("start", "end"), [("20190103", "20190104"), ("2019-01-03", "2019/01/04")])
def test_days_in_place_of_quantity_and_price_are_kept_as_text(tmp_path: Path, start: str, end: str) -> None:
    row = {**ROW, "商品名称": "*经营租赁*通行费", "规格型号": "沪A12345", "数量": start, "单价": end}
    line = one(tmp_path, row).invoice.lines[0]
    assert (line.nature, line.quantity, line.price, line.spec) == ("freeform", None, None, "沪A12345")
    assert start in line.unit
    assert end in line.unit


# --- 11 buyers, many lines


@pytest.mark.parametrize(
    "buyer", ["", "000000000000000", "310100000000000", "31010019900101001X", "9133000014285714231234"]
)
def test_buyers_numbers_of_any_length_are_kept(tmp_path: Path, buyer: str) -> None:
    assert one(tmp_path, {**ROW, "购方税号": buyer}).invoice.buyer_id == buyer


def test_two_thousand_lines_are_one_invoice_and_one_more_is_not(tmp_path: Path) -> None:
    entry = one(tmp_path, *[ROW] * MAX_LINES_PER_INVOICE)
    assert (len(entry.invoice.lines), entry.amount) == (2000, 2000 * 10000)
    assert "2000" in refused(tmp_path, *[ROW] * (MAX_LINES_PER_INVOICE + 1)).problems[0].message.zh


# --- sellers, machines, kinds


def test_received_invoices_are_recognised_by_their_seller(tmp_path: Path) -> None:
    row = {**ROW, "购方税号": SELLER[1], "销方税号": "91330106142857142K"}
    problem = refused(tmp_path, row).problems[0]
    assert "进项" in problem.message.zh
    assert problem.place.column == "销方税号"


def test_invoices_of_another_taxpayer_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, {**ROW, "销方税号": "91330106142857142K"}).problems[0].place.row == 2
    assert one(tmp_path, {**ROW, "销方税号": SELLER[1].lower()}).amount == 10000


@pytest.mark.parametrize(
    "headings",
    [
        "序号 发票代码 发票号码 开票日期 销方税号 销方名称 金额 税额 认 证 方 式 确认/认证日期 发票类型 发票状态",
        "序号 发票代码 发票号码 开票日期 销方名称 金额 税额 发票状态 发票类型",
        "是否勾选* 数电票号码 发票代码 发票号码 开票日期* 金额* 票面税额* 有效抵扣税额* 购买方识别号* 销售方纳税人名称",
    ],
)
def test_lists_of_received_invoices_are_recognised_by_their_columns(tmp_path: Path, headings: str) -> None:
    columns = headings.replace("认 证 方 式", "认证方式").split()
    row = dict.fromkeys(columns, "1")
    _, findings = read(csv_rows(tmp_path / "a.csv", [row]))
    assert findings.problem_count == 1
    assert "进项" in findings.problems[0].message.zh


def test_another_machines_invoices_are_refused(tmp_path: Path) -> None:
    assert one(tmp_path, {**ROW, "开票机号": "0"}).amount == 10000
    problem = refused(tmp_path, {**ROW, "开票机号": "2"}).problems[0]
    assert problem.place.column == "开票机号"
    entries, _ = read(csv_rows(tmp_path / "m.csv", [{**ROW, "开票机号": "002"}]), context(machine_no=2))
    assert len(entries) == 1


def test_an_unknown_kind_is_a_problem_of_its_row_until_the_operator_says_it(tmp_path: Path) -> None:
    row = {**ROW, "发票代码": ""}
    assert refused(tmp_path, row).problems[0].place.row == 2
    entries, _ = read(csv_rows(tmp_path / "k.csv", [row]), context(kind="007"))
    assert (entries[0].invoice.kind, entries[0].invoice.key) == ("007", "00000001")


# --- sums


def test_a_total_that_is_not_the_sum_is_a_problem(tmp_path: Path) -> None:
    assert refused(tmp_path, {**ROW, "价税合计": "114.00"}).problems[0].place.column == "价税合计"
    assert one(tmp_path, {**ROW, "价税合计": "113.00"}).amount == 10000
    rows = [{**ROW, "价税合计": "226.00"}, {**ROW, "价税合计": "226.00"}]
    assert one(tmp_path, *rows).amount == 20000


def test_an_invoice_total_beside_line_amounts_is_compared(tmp_path: Path) -> None:
    rows = [{**ROW, "合计金额": "200.00", "合计税额": "26.00"}] * 2
    assert one(tmp_path, *rows).amount == 20000
    assert refused(tmp_path, *rows[:1]).problems[0].place.column == "合计金额"


def test_every_problem_is_counted_and_the_first_two_hundred_are_listed(tmp_path: Path) -> None:
    rows = [{**ROW, "发票号码": f"{n:08d}", "金额": "?"} for n in range(1, 251)]
    findings = refused(tmp_path, *rows)
    assert (findings.problem_count, len(findings.problems)) == (250, 200)
    assert findings.problems[199].place.row == 201


def test_sheets_that_are_no_list_are_left_out_and_named(tmp_path: Path) -> None:
    rows: list[list[object]] = [list(ROW), list(ROW.values())]
    path = lists.write_xlsx(tmp_path / "a.xlsx", [("说明", [["填写说明", "请勿修改"]]), ("发票", rows), ("空", [])])
    entries, findings = read(path)
    assert (len(entries), findings.problem_count) == (1, 0)
    assert [w.place.sheet for w in findings.warnings] == ["说明"]


# --- further lists that are known


def test_the_query_list_of_issued_invoices_has_one_row_for_an_invoice(tmp_path: Path) -> None:
    row = {
        "发票种类": "普通发票",
        "发票代码": ORDINARY,
        "发票号码": "00000001",
        "开票机号": "0",
        "购方名称": "甲",
        "购方税号": "913300001428571423",
        "开票日期": "2019-01-07 10:00:00",
        "报送状态": "已报送",
        "合计金额": "100.00",
        "税率": "13%",
        "合计税额": "13.00",
        "主要商品名称": "(详见销货清单)",
        "作废标志": "否",
        "清单标志": "是",
    }
    assert one(tmp_path, row).amount == 10000
    entries, findings = read(csv_rows(tmp_path / "b.csv", [row, {**row, "发票号码": "00000002", "作废标志": "是"}]))
    assert [e.invoice.status for e in entries] == ["positive", "positive-void"]
    assert findings.problem_count == 0
    # Twice the same whole invoice is not one of two lines.
    assert [e.amount for e in read(csv_rows(tmp_path / "c.csv", [row, row]))[0]] == [10000, 10000]


def test_sums_of_a_shops_export_with_and_without_tax(tmp_path: Path) -> None:
    row = {
        "订单号": "A1",
        "发票代码": "031001900311",
        "发票号码": "00000001",
        "购方名称": "甲",
        "发票类型": "电子发票",
        "作废标志": "N",
        "开票时间": "2019-01-07 10:00:00",
        "合计金额(含税)": "113.00",
        "合计金额(不含税)": "100.00",
        "合计税额": "13.00",
    }
    entry = one(tmp_path, row)
    assert (entry.invoice.kind, entry.line_sums) == ("026", [("0.13", 10000, 1300)])


def test_a_file_of_invoices_to_be_issued_is_told_from_issued_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(
        '<?xml version="1.0" encoding="GBK" ?><Kp><Fpxx><Fpsj><Fp><Djh>1</Djh><Gfmc>甲</Gfmc><Spxx><Sph><Spmc>a</Spmc>'
        "<Je>100.00</Je><Slv>0.13</Slv><Se>13.00</Se></Sph></Spxx></Fp></Fpsj></Fpxx></Kp>".encode("gbk")
    )
    _, findings = read(path)
    assert "待开发票" in findings.problems[0].message.zh
