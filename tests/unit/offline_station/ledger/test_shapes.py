"""Every shape of list that the invoicing software writes gives the same invoices."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from shared.money import parse_fen
from tests.support import workbooks as lists
from tests.support.ledger import JANUARY, ORDINARY, SPECIAL, USED_CARS, VEHICLES, Desk, context, read
from tests.support.workbooks import Line, Sale


def sales(count: int, code: str, seed: int = 7, **more: object) -> list[Sale]:
    return lists.made_up_sales(
        random.Random(seed),
        count,
        first_day=JANUARY[0],
        last_day=JANUARY[1],
        code=code,
        **more,  # type: ignore[arg-type]
    )


def assert_same(path: Path, expected: Sequence[Sale], kind: str, *, voids: bool = True) -> None:
    entries, findings = read(path)
    assert [p.in_words.zh for p in findings.problems] == []
    assert [p.in_words.zh for p in findings.warnings] == []
    assert [entry.invoice.number for entry in entries] == [sale.number for sale in expected]
    for entry, sale in zip(entries, expected, strict=True):
        invoice = entry.invoice
        assert (invoice.code, invoice.kind, invoice.day) == (sale.code, kind, sale.day.isoformat())
        assert (invoice.buyer_name, invoice.buyer_id) == (sale.buyer, sale.buyer_id)
        assert (entry.amount, entry.tax) == (sale.amount, sale.tax)
        sign = "negative" if sale.amount < 0 else "positive"
        assert invoice.status == (f"{sign}-void" if sale.void and voids else sign)
        assert [
            (line.name, parse_fen(line.amount), line.rate, parse_fen(line.tax), line.quantity) for line in invoice.lines
        ] == [(line.name, line.amount, line.rate, line.tax, line.quantity or None) for line in sale.lines]


def test_the_official_workbook_of_special_invoices(tmp_path: Path) -> None:
    wanted = sales(60, SPECIAL, void_share=0)
    assert_same(lists.official_xls(tmp_path / "专.xls", "专用发票", wanted, JANUARY), wanted, "004")


def test_the_official_workbook_of_ordinary_invoices(tmp_path: Path) -> None:
    wanted = sales(60, ORDINARY, void_share=0, rates=("0.13", "exempt", "untaxed", "0.03"))
    assert_same(lists.official_xls(tmp_path / "普.xls", "普通发票", wanted, JANUARY), wanted, "007")


def test_several_blocks_in_one_sheet_each_with_its_own_kind(tmp_path: Path) -> None:
    special, ordinary = sales(20, SPECIAL), sales(20, ORDINARY, seed=8)
    path = lists.golden_tax_xlsx(tmp_path / "a.xlsx", [("专用发票", special), ("普通发票", ordinary)], JANUARY)
    entries, findings = read(path)
    assert (findings.problem_count, findings.warning_count) == (0, 0)
    assert [e.invoice.kind for e in entries] == ["004"] * 20 + ["007"] * 20
    assert [e.amount for e in entries] == [s.amount for s in special + ordinary]
    assert sum(e.invoice.status.endswith("void") for e in entries) == sum(s.void for s in special + ordinary) > 0


def test_motor_vehicle_invoices_one_row_each(tmp_path: Path) -> None:
    car = Line("轿车", 29126214, 873786, "0.03", spec="演示牌 YS-1")
    wanted = [Sale(f"0000000{n}", JANUARY[0], (car,), code=VEHICLES) for n in range(1, 4)]
    assert_same(lists.vehicle_xls(tmp_path / "车.xls", wanted), wanted, "005")


def test_used_cars_have_one_price_and_no_tax(tmp_path: Path) -> None:
    car = Line("轿车", 8_800_000, 0, "untaxed", spec="演示牌 YS-1")
    wanted = [Sale(f"0000000{n}", JANUARY[0], (car,), code=USED_CARS) for n in range(1, 4)]
    assert_same(lists.used_car_xls(tmp_path / "二手.xls", wanted), wanted, "006")


def test_used_cars_of_another_market_are_refused(tmp_path: Path) -> None:
    car = Sale("00000001", JANUARY[0], (Line("轿车", 100, 0, "untaxed"),), code=USED_CARS)
    _, findings = read(lists.used_car_xls(tmp_path / "a.xls", [car], market_id="91310000OTHER00012"))
    assert findings.problem_count == 1


def test_the_full_query_holds_every_invoice_twice_and_gives_it_once(tmp_path: Path) -> None:
    wanted = sales(40, "")
    assert_same(lists.full_query_xlsx(tmp_path / "全量.xlsx", wanted), wanted, "102")


def test_the_older_full_query_names_its_detail_sheet_otherwise(tmp_path: Path) -> None:
    wanted = sales(10, "")
    path = lists.full_query_xlsx(
        tmp_path / "a.xlsx", wanted, detail_sheet="货物清单", kind_words="全电发票（增值税专用发票）"
    )
    assert_same(path, wanted, "101")


def test_the_full_query_with_paper_invoices_writes_dashes_for_digital_numbers(tmp_path: Path) -> None:
    wanted = sales(10, ORDINARY)
    assert_same(lists.full_query_xlsx(tmp_path / "a.xlsx", wanted, kind_words="增值税普通发票"), wanted, "007")


def test_an_invoice_without_details_comes_from_the_head_sheet(tmp_path: Path) -> None:
    blank = Sale("26310000000000000001", JANUARY[0], (), void=True)
    whole = Sale("26310000000000000002", JANUARY[0], (Line("a", 10000, 1300),))
    path = tmp_path / "a.xlsx"
    lists.full_query_xlsx(path, [whole, blank])
    entries, findings = read(path)
    assert findings.problem_count == 0
    assert [(e.invoice.number[-1], e.invoice.status) for e in entries] == [("2", "positive"), ("1", "blank-void")]


def test_details_that_differ_from_their_head_sheet_are_a_problem(tmp_path: Path) -> None:
    sale = Sale("26310000000000000002", JANUARY[0], (Line("a", 10000, 1300),))
    headings, other = list(lists.FULL_HEADS), list(lists.FULL_LINES)
    common = {
        "数电发票号码": sale.number,
        "销方识别号": lists.SELLER[1],
        "开票日期": "2019-01-03",
        "发票票种": "数电票（普通发票）",
    }
    head = common | {"金额": "101.00", "税额": "13.00", "发票状态": "正常"}
    line = common | {"金额": "100.00", "税额": "13.00", "税率": "13%", "货物或应税劳务名称": "a"}
    lists.write_xlsx(
        tmp_path / "a.xlsx",
        [
            ("发票基础信息", [headings, [head.get(h) for h in headings]]),
            ("信息汇总表", [other, [line.get(h) for h in other]]),
        ],
    )
    entries, findings = read(tmp_path / "a.xlsx")
    assert entries == []
    assert "明细之和 100.00 与所列合计 101.00 不符" in findings.problems[0].message.zh


@pytest.mark.parametrize("encoding", ["gbk", "utf-8", "gb18030"])
def test_bulk_xml_in_the_encodings_it_comes_in(tmp_path: Path, encoding: str) -> None:
    wanted = sales(40, ORDINARY, rates=("0.13", "0.06", "exempt", "untaxed"))
    assert_same(lists.kp_xml(tmp_path / "kp.xml", wanted, "普通发票", encoding=encoding), wanted, "007")


def test_the_text_export_of_issued_invoices(tmp_path: Path) -> None:
    wanted = sales(40, ORDINARY)
    assert_same(lists.sjjk0201(tmp_path / "out.txt", wanted), wanted, "007")


def test_the_text_export_says_a_wrong_count_and_only_that_is_told(tmp_path: Path) -> None:
    entries, findings = read(lists.sjjk0201(tmp_path / "out.txt", sales(5, ORDINARY), count=9))
    assert len(entries) == 5
    assert findings.problem_count == 0
    assert [w.place.row for w in findings.warnings] == [2]


@pytest.mark.parametrize(
    ("encoding", "delimiter"),
    [("gbk", ","), ("gb18030", "\t"), ("utf-8", ","), ("utf-8-sig", ";"), ("utf-16", "\t"), ("utf-8", "|")],
)
def test_delimited_text_in_every_encoding(tmp_path: Path, encoding: str, delimiter: str) -> None:
    wanted = sales(40, ORDINARY)
    assert_same(lists.csv_list(tmp_path / "a.csv", wanted, encoding=encoding, delimiter=delimiter), wanted, "007")


def test_vehicle_xml_knows_sl_as_something_else(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(
        (
            '<?xml version="1.0" encoding="gbk"?><business><body><fpdm>131001920011</fpdm><fphm>00000001</fphm>'
            "<kprq>2019-01-04</kprq><gfdwmc>张三</gfdwmc><gfdwsbh></gfdwsbh><cllx>轿车</cllx><cpxh>YS-1</cpxh>"
            "<jshj>300000.00</jshj><zzssl>0.03</zzssl><zzsse>8737.86</zzsse><bhsj>291262.14</bhsj><dw>5</dw></body>"
            "<body><fpdm>131001920011</fpdm><fphm>00000002</fphm><kprq>2019-01-05</kprq><gfdwmc>李四</gfdwmc>"
            "<cllx>轿车</cllx><cpxh>YS-1</cpxh><jshj>113.00</jshj><zzssl>0.13</zzssl><zzsse>13.00</zzsse>"
            "<bhsj>100.00</bhsj></body></business>"
        ).encode("gbk")
    )
    entries, findings = read(path)
    assert findings.problem_count == 0
    assert [(e.invoice.kind, e.amount, e.tax, e.line_sums[0][0]) for e in entries] == [
        ("005", 29126214, 873786, "0.03"),
        ("005", 10000, 1300, "0.13"),
    ]


def test_sl_is_the_rate_in_business_and_the_quantity_in_kp(tmp_path: Path) -> None:
    business, kp = tmp_path / "b.xml", tmp_path / "k.xml"
    business.write_text(
        f"<business id='FPKJ'><body><fplxdm>007</fplxdm><fpdm>{ORDINARY}</fpdm><fphm>00000001</fphm><kprq>20190104</kprq>"
        f"<xhdwsbh>{lists.SELLER[1]}</xhdwsbh><fyxm count='1'><group xh='1'><spmc>x</spmc><spsl>2</spsl><dj>50</dj>"
        "<je>100.00</je><sl>0.13</sl><se>13.00</se></group></fyxm></body></business>",
        encoding="utf-8",
    )
    kp.write_text(
        f"<Kp><Fpxx><Fpsj><Fp><Fpzl>普通发票</Fpzl><Lbdm>{ORDINARY}</Lbdm><Fphm>00000001</Fphm><Kprq>20190104</Kprq>"
        "<Spxx><Sph><Spmc>x</Spmc><Dj>50</Dj><Sl>2</Sl><Je>100.00</Je><Slv>0.13</Slv><Se>13.00</Se></Sph></Spxx></Fp>"
        "</Fpsj></Fpxx></Kp>",
        encoding="utf-8",
    )
    found = [read(path)[0][0].invoice.lines[0] for path in (business, kp)]
    assert [(line.quantity, line.rate) for line in found] == [("2", "0.13"), ("2", "0.13")]


def test_amounts_with_fifteen_decimals_are_settled_so_that_the_total_holds(tmp_path: Path) -> None:
    third = "33.333333333333333"
    lines = "".join(
        f"<Sph><Spmc>x{n}</Spmc><Je>{third}</Je><Slv>0.06</Slv><Se>2.000000000000000</Se></Sph>" for n in range(3)
    )
    path = tmp_path / "k.xml"
    path.write_text(
        f"<Kp><Fpxx><Fpsj><Fp><Fpzl>普通发票</Fpzl><Lbdm>{ORDINARY}</Lbdm><Fphm>00000001</Fphm><Kprq>20190104</Kprq>"
        f"<Hjje>100.00</Hjje><Hjse>6.00</Hjse><Spxx>{lines}</Spxx></Fp></Fpsj></Fpxx></Kp>",
        encoding="utf-8",
    )
    entries, findings = read(path)
    assert findings.problem_count == 0
    assert [amount for _, amount, _ in entries[0].line_sums] == [3334, 3333, 3333]
    assert entries[0].amount == 10000


def test_one_ledger_takes_all_of_them_and_detail_is_summary(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    special, ordinary, digital = sales(30, SPECIAL), sales(30, ORDINARY, seed=8), sales(30, "", seed=9)
    files = [
        lists.golden_tax_xlsx(tmp_path / "a.xlsx", [("专用发票", special)], JANUARY),
        lists.kp_xml(tmp_path / "b.xml", ordinary, "普通发票"),
        lists.full_query_xlsx(tmp_path / "c.xlsx", digital),
        # The same invoices again, as another program lists them.
        lists.csv_list(tmp_path / "d.csv", special, kind_words="增值税专用发票"),
    ]
    reports = [desk.take(path) for path in files]
    assert [(r.invoices, r.skipped, r.problem_count) for r in reports] == [
        (30, 0, 0),
        (30, 0, 0),
        (30, 0, 0),
        (0, 30, 0),
    ]
    ledger = desk.ledger
    assert ledger.freeze("c", kind="period", period_start=JANUARY[0], period_end=JANUARY[1]) == 90
    told = {}
    for batch in desk.batches.values():
        told |= batch.totals()
    assert ledger.detail_totals("c") == {k: v for k, v in told.items() if v} == ledger.summary("2019-01")


def test_a_car_listed_twice_is_one_car(tmp_path: Path) -> None:
    car = Sale("00000001", JANUARY[0], (Line("轿车", 10000, 1300),), code=VEHICLES)
    report = Desk(tmp_path).take(lists.vehicle_xls(tmp_path / "a.xls", [car, car]))
    assert (report.invoices, report.skipped, report.problem_count) == (1, 1, 0)


def test_an_official_list_that_repeats_an_invoice_does_not_double_it(tmp_path: Path) -> None:
    sale = Sale("00000001", JANUARY[0], (Line("x", 10000, 1300),), code=SPECIAL)
    report = Desk(tmp_path).take(lists.official_xls(tmp_path / "a.xls", "专用发票", [sale, sale], JANUARY))
    assert (report.invoices, report.skipped, report.amount) == (1, 1, 10000)
    other = replace(sale, number="00000002"), replace(sale, number="00000002", lines=(Line("x", 20000, 2600),))
    report = Desk(tmp_path).take(lists.official_xls(tmp_path / "b.xls", "专用发票", other, JANUARY))
    assert (report.invoices, report.problem_count) == (0, 1)
    assert "本文件前面的行" in report.problems[0].message.zh


def test_a_former_tax_number_is_ours_too(tmp_path: Path) -> None:
    path = lists.csv_list(tmp_path / "a.csv", sales(2, ORDINARY), seller=("旧名", "310100000000000"))
    assert read(path)[1].problem_count == 2
    assert read(path, context(former_ids=("310100000000000",)))[1].problem_count == 0
