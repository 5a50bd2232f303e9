"""Invoice lists in the shapes that invoicing software writes, with made-up content.

Tests and the demonstration import these lists. Shapes (columns, preambles, subtotals, footers) are those of real
exports; names, numbers and amounts are invented here.
"""

# Headings are written as they stand in a row of a list.
# ruff: noqa: SIM905

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

import xlsxwriter
import xlwt

SELLER: Final = ("税渡演示商贸有限公司", "91310000MADEMO0017")
_BUYERS: Final = (
    ("东海机械有限公司", "913300001428571423"),
    ("北山县第二中学", "12330000470000001A"),
    ("南湖食品厂", "330400111222333"),
    ("西溪出版社", "91330106142857142K"),
    ("张三", ""),
    ("个人", "000000000000000"),
)
_GOODS: Final = (
    ("*纸制品*打印纸", "A4 80g", "包", "106010801"),
    ("*金属制品*六角螺栓", "M8×40", "千个", "108041403"),
    ("*劳务*设备安装费", "", "次", "201000000"),
    ("*软饮料*矿泉水，详见标签", "500ml", "箱", "103030701"),
    ("*计算机外部设备*激光打印机", "LP-2", "台", "109051202"),
)
OFFICIAL: Final = (
    "发票代码 发票号码 购方企业名称 购方税号 银行帐号 地址电话 开票日期 商品编码版本号 单据号 商品名称 规格 单位 数量 单价 金额 税率 税额 税收分类编码"
).split()
OFFICIAL_B: Final = (
    "发票代码 发票号码 购方企业名称 购方税号 银行账号 地址电话 开票日期 单据号 备注 商品名称 规格 单位 数量 单价 金额 税率 税额 发票状态"
).split()
VEHICLE: Final = (
    "发票代码 发票号码 开票日期 购方单位名称 身份证号码 购方单位识别号 车辆类型 厂牌型号 产地 合格证书 进口证明书号 商检单号 发动机号码 "
    "车辆识别代号 价税合计 电话 帐号 地址 开户银行 增值税税率 增值税税额 不含税价 吨位 限乘人数 商品版本号 税收编码"
).split()
USED_CAR: Final = (
    "发票代码 发票号码 开票日期 买方单位/个人名称 买方单位代码/身份证号码 买方单位/个人住址 买方单位/个人电话 卖方单位/个人名称 卖方单位/个人代码 "
    "卖方单位/个人住址 卖方单位/个人电话 车牌照号 登记证号 车辆类型 车辆识别代号 厂牌型号 转入地车辆管理所名称 经营、拍卖单位名称 经营、拍卖单位地址 "
    "经营、拍卖单位纳税人识别号 经营、拍卖单位开户行、账号 经营、拍卖单位电话 二手车市场名称 二手车市场识别号 二手车市场地址 二手车市场开户行、账号 "
    "二手车市场电话 车价合计 开票人 备注 税收编码"
).split()
FULL_LINES: Final = (
    "序号 发票代码 发票号码 数电发票号码 销方识别号 销方名称 购方识别号 购买方名称 开票日期 税收分类编码 特定业务类型 货物或应税劳务名称 规格型号 单位 "
    "数量 单价 金额 税率 税额 价税合计 发票来源 发票票种 发票状态 是否正数发票 发票风险等级 开票人 备注"
).split()
FULL_HEADS: Final = (
    "序号 发票代码 发票号码 数电发票号码 销方识别号 销方名称 购方识别号 购买方名称 开票日期 金额 税额 价税合计 发票来源 发票票种 发票状态 "
    "是否正数发票 发票风险等级 开票人 备注"
).split()


@dataclass(frozen=True)
class Line:
    """One goods line; amounts in fen."""

    name: str
    amount: int
    tax: int
    rate: str = "0.13"
    quantity: str = ""
    price: str = ""
    spec: str = ""
    unit: str = ""
    goods_code: str = ""


@dataclass(frozen=True)
class Sale:
    """One invoice as the shop remembers it. `void` keeps what it said; without lines it is a blank void."""

    number: str
    day: date
    lines: tuple[Line, ...]
    code: str = ""
    buyer: str = "东海机械有限公司"
    buyer_id: str = "913300001428571423"
    void: bool = False
    remark: str = ""

    @property
    def amount(self) -> int:
        """Fen without tax."""
        return sum(line.amount for line in self.lines)

    @property
    def tax(self) -> int:
        """Fen of tax."""
        return sum(line.tax for line in self.lines)


def yuan(fen: int) -> str:
    """Return fen as a list writes them."""
    return f"{'-' if fen < 0 else ''}{abs(fen) // 100}.{abs(fen) % 100:02d}"


def made_up_sales(
    chance: random.Random,
    count: int,
    *,
    first_day: date,
    last_day: date,
    code: str = "3100193130",
    first_number: int = 1,
    rates: Sequence[str] = ("0.13", "0.06"),
    void_share: float = 0.05,
    red_share: float = 0.05,
) -> list[Sale]:
    """Return plausible sales in the order of their numbers and days.

    A code of ten digits whose eighth is 1 is a special invoice, 3 an ordinary one; an empty code makes digital numbers.
    """
    span = (last_day - first_day).days
    days = sorted(chance.randint(0, span) for _ in range(count))
    found = []
    for at, offset in enumerate(days):
        number = f"{first_number + at:08d}" if code else f"{first_day:%y}31{2000000000000000 + first_number + at}"
        buyer, buyer_id = chance.choice(_BUYERS)
        sale = Sale(
            number,
            first_day + timedelta(days=offset),
            tuple(_made_up_line(chance, chance.choice(rates)) for _ in range(chance.choice((1, 1, 1, 2, 3)))),
            code=code,
            buyer=buyer,
            buyer_id=buyer_id,
        )
        if chance.random() < void_share:
            sale = replace(sale, void=True)
        elif found and chance.random() < red_share:
            blue = chance.choice(found)
            if blue.amount > 0 and not blue.void:
                sale = red_of(blue, sale.number, sale.day)
        found.append(sale)
    return found


def red_of(blue: Sale, number: str, day: date) -> Sale:
    """Return the red invoice that cancels a blue one, as it is printed: negative amount and quantity."""
    remark = f"对应正数发票代码:{blue.code}号码:{blue.number}" if blue.code else f"被红冲蓝字数电票号码：{blue.number}"
    lines = tuple(
        replace(line, amount=-line.amount, tax=-line.tax, quantity=f"-{line.quantity}" if line.quantity else "")
        for line in blue.lines
    )
    return replace(blue, number=number, day=day, lines=lines, remark=remark)


def _made_up_line(chance: random.Random, rate: str) -> Line:
    name, spec, unit, goods_code = chance.choice(_GOODS)
    quantity = chance.randint(1, 40)
    price = chance.randint(100, 90_000)
    amount = quantity * price
    tax = fen_of_tax(amount, rate)
    return Line(name, amount, tax, rate, str(quantity), yuan(price), spec, unit, goods_code)


def fen_of_tax(amount: int, rate: str) -> int:
    """Return the tax on an amount of fen, the half rounded up; named rates have none."""
    if not rate.startswith("0"):
        return 0
    return int((Decimal(amount) * Decimal(rate)).quantize(Decimal(1), ROUND_HALF_UP))


def rate_words(rate: str, style: str = "number") -> Any:
    """Return a rate in one of the spellings of exports: `number` 0.13, `percent` 13%, `whole` 13."""
    named = {"exempt": "免税", "untaxed": "不征税", "zero": "0%" if style == "percent" else 0, "margin": "***"}
    if rate in named:
        return named[rate]
    share = float(rate)
    if style == "percent":
        return f"{share * 100:g}%"
    return f"{share * 100:g}" if style == "whole" else share


# --- official .xls --------------------------------------------------------------------------------------------------


def _official_rows(sales: Iterable[Sale], headings: Sequence[str], *, subtotals: bool) -> Iterable[list[Any]]:
    for sale in sales:
        head = {
            "发票代码": sale.code,
            "发票号码": sale.number,
            "购方企业名称": sale.buyer,
            "购方税号": sale.buyer_id,
            "银行帐号": "演示银行 6222",
            "银行账号": "演示银行 6222",
            "地址电话": "演示路 1 号 010-1",
            "开票日期": sale.day.isoformat(),
            "商品编码版本号": "27.0",
            "单据号": sale.number.lstrip("0"),
            "备注": sale.remark,
            "发票状态": " 作废发票" if sale.void else "正常",
        }
        for at, line in enumerate(sale.lines or (None,)):
            cells: dict[str, Any] = dict(head) if at == 0 else {}
            if line is not None:
                cells |= {
                    "商品名称": line.name,
                    "规格": line.spec,
                    "单位": line.unit,
                    "数量": line.quantity,
                    "单价": line.price,
                    "金额": yuan(line.amount),
                    "税率": rate_words(line.rate),
                    "税额": yuan(line.tax),
                    "税收分类编码": line.goods_code,
                }
            yield [cells.get(heading) for heading in headings]
        if subtotals and len(sale.lines) > 1:
            total = {"商品名称": "小计", "金额": yuan(sale.amount), "税额": yuan(sale.tax)}
            yield [total.get(heading) for heading in headings]


def footer(sales: Sequence[Sale]) -> str:
    """Return the footer of an official list."""
    return (
        f"份数：{len(sales)}  金额：{yuan(sum(s.amount for s in sales))}元  税额：{yuan(sum(s.tax for s in sales))}元"
    )


def official_rows(
    blocks: Sequence[tuple[str, Sequence[Sale]]],
    interval: tuple[date, date],
    *,
    headings: Sequence[str] = OFFICIAL,
    subtotals: bool = True,
) -> list[list[Any]]:
    """Return the rows of an official list, one block for each 发票类别."""
    rows: list[list[Any]] = [[], ["税渡演示商贸有限公司发票数据"], []]
    for category, sales in blocks:
        rows += [[f"资料区间：{interval[0]}~{interval[1]}"], [f"发票类别：{category}"], list(headings)]
        rows += _official_rows(sales, headings, subtotals=subtotals)
        rows.append([footer(sales)])
    return rows


def write_xls(path: Path, sheets: Sequence[tuple[str, Sequence[Sequence[Any]]]]) -> Path:
    """Write rows to an .xls; None leaves a cell out, a `date` becomes a real date."""
    book = xlwt.Workbook(encoding="utf-8")
    day_style = xlwt.easyxf(num_format_str="yyyy-mm-dd")
    for name, rows in sheets:
        sheet = book.add_sheet(name)
        for at, row in enumerate(rows):
            for column, value in enumerate(row):
                if value is None:
                    continue
                if isinstance(value, date):
                    sheet.write(at, column, value, day_style)
                else:
                    sheet.write(at, column, value)
    book.save(str(path))
    return path


def write_xlsx(
    path: Path, sheets: Sequence[tuple[str, Iterable[Sequence[Any]]]], *, constant_memory: bool = False
) -> Path:
    """Write rows to an .xlsx; None leaves a cell out, a `date` becomes a real date."""
    options = {"constant_memory": constant_memory, "strings_to_formulas": False, "strings_to_urls": False}
    book = xlsxwriter.Workbook(str(path), options)
    day_style = book.add_format({"num_format": "yyyy-mm-dd"})
    for name, rows in sheets:
        sheet = book.add_worksheet(name)
        for at, row in enumerate(rows):
            for column, value in enumerate(row):
                if value is None:
                    continue
                if isinstance(value, date):
                    sheet.write_datetime(at, column, value, day_style)
                else:
                    sheet.write(at, column, value)
    book.close()
    return path


def official_xls(path: Path, category: str, sales: Sequence[Sale], interval: tuple[date, date]) -> Path:
    """Write a list as the official software does: 专用发票 or 普通发票, 18 columns."""
    return write_xls(path, [("Sheet1", official_rows([(category, sales)], interval))])


def golden_tax_xlsx(path: Path, blocks: Sequence[tuple[str, Sequence[Sale]]], interval: tuple[date, date]) -> Path:
    """Write a list as the golden tax disk's software does: .xlsx, several blocks in one sheet, a status column."""
    return write_xlsx(path, [("发票明细", official_rows(blocks, interval, headings=OFFICIAL_B))])


def vehicle_xls(path: Path, sales: Sequence[Sale]) -> Path:
    """Write motor vehicle invoices: 26 columns, one row an invoice, the rate in whole per cent."""
    rows: list[list[Any]] = [["机动车销售统一发票"], list(VEHICLE)]
    for sale in sales:
        line = sale.lines[0]
        cells = {
            "发票代码": sale.code,
            "发票号码": sale.number,
            "开票日期": sale.day.isoformat(),
            "购方单位名称": sale.buyer,
            "身份证号码": "",
            "购方单位识别号": sale.buyer_id,
            "车辆类型": "轿车",
            "厂牌型号": "演示牌 YS-1",
            "产地": "上海",
            "车辆识别代号": f"LDEMO{sale.number}0000",
            "价税合计": yuan(line.amount + line.tax),
            "增值税税率": rate_words(line.rate, "whole"),
            "增值税税额": yuan(line.tax),
            "不含税价": yuan(line.amount),
            "商品版本号": "27.0",
            "税收编码": "1090305010000000000",
        }
        rows.append([cells.get(heading) for heading in VEHICLE])
    return write_xls(path, [("Sheet1", rows)])


def used_car_xls(path: Path, sales: Sequence[Sale], *, market_id: str = SELLER[1]) -> Path:
    """Write used car invoices: 31 columns, the price in one sum and no tax; a person sells, the market issues."""
    rows: list[list[Any]] = [["二手车销售统一发票"], list(USED_CAR)]
    for sale in sales:
        cells = {
            "发票代码": sale.code,
            "发票号码": sale.number,
            "开票日期": sale.day.isoformat(),
            "买方单位/个人名称": sale.buyer,
            "买方单位代码/身份证号码": sale.buyer_id,
            "卖方单位/个人名称": "李四",
            "卖方单位/个人代码": "310101190001010000",
            "车牌照号": "沪A00000",
            "车辆类型": "轿车",
            "厂牌型号": "演示牌 YS-1",
            "车辆识别代号": f"LDEMO{sale.number}0000",
            "二手车市场名称": SELLER[0],
            "二手车市场识别号": market_id,
            "车价合计": yuan(sale.amount + sale.tax),
            "开票人": "演示",
            "备注": sale.remark,
        }
        rows.append([cells.get(heading) for heading in USED_CAR])
    return write_xls(path, [("Sheet1", rows)])


# --- full query -----------------------------------------------------------------------------------------------------


def full_query_xlsx(
    path: Path,
    sales: Sequence[Sale],
    *,
    kind_words: str | Callable[[Sale], str] = "数电票（普通发票）",
    seller: tuple[str, str] = SELLER,
    detail_sheet: str = "信息汇总表",
) -> Path:
    """Write the full query's workbook: every invoice in 发票基础信息 and again, line by line, in 信息汇总表."""
    heads: list[list[Any]] = [list(FULL_HEADS)]
    lines: list[list[Any]] = [list(FULL_LINES)]
    for at, sale in enumerate(sales, start=1):
        common = {
            "序号": str(at),
            "发票代码": sale.code or "--",
            "发票号码": sale.number if sale.code else "--",
            "数电发票号码": "" if sale.code else sale.number,
            "销方识别号": seller[1],
            "销方名称": seller[0],
            "购方识别号": sale.buyer_id,
            "购买方名称": sale.buyer,
            "开票日期": f"{sale.day} 10:08:11",
            "发票来源": "电子发票服务平台",
            "发票票种": kind_words if isinstance(kind_words, str) else kind_words(sale),
            "发票状态": "作废" if sale.void else "正常",
            "是否正数发票": "否" if sale.amount < 0 else "是",
            "发票风险等级": "正常",
            "开票人": "演示",
            "备注": sale.remark,
        }
        sums = {
            "金额": yuan(sale.amount),
            "税额": yuan(sale.tax),
            "价税合计": yuan(sale.amount + sale.tax),
        }
        heads.append([(common | sums).get(heading) for heading in FULL_HEADS])
        for line in sale.lines:
            cells = common | {
                "税收分类编码": line.goods_code,
                "货物或应税劳务名称": line.name,
                "规格型号": line.spec,
                "单位": line.unit,
                "数量": line.quantity,
                "单价": line.price,
                "金额": line.amount / 100,
                "税率": rate_words(line.rate, "percent"),
                "税额": line.tax / 100,
                "价税合计": (line.amount + line.tax) / 100,
            }
            lines.append([cells.get(heading) for heading in FULL_LINES])
    whole = [None] * len(FULL_HEADS)
    for name, value in (
        ("序号", "合计行"),
        ("金额", yuan(sum(s.amount for s in sales))),
        ("税额", yuan(sum(s.tax for s in sales))),
    ):
        whole[FULL_HEADS.index(name)] = value  # type: ignore[call-overload]
    heads.append(whole)
    return write_xlsx(path, [("发票基础信息", heads), (detail_sheet, lines)])


# --- XML and text ---------------------------------------------------------------------------------------------------


def kp_xml(
    path: Path, sales: Iterable[Sale], kind_words: str, *, seller: tuple[str, str] = SELLER, encoding: str = "gbk"
) -> Path:
    """Write a `<Kp>` bulk file, one invoice after the other."""
    with path.open("w", encoding=encoding, errors="xmlcharrefreplace", newline="\r\n") as file:
        file.write(f'<?xml version = "1.0" encoding = "{encoding}"?>\n<Kp>\n<Version>2.0</Version>\n<Fpxx>\n')
        file.write("<Zsl>0</Zsl>\n<Fpsj>\n")
        for sale in sales:
            file.write(
                f"<Fp><Djh></Djh><Fpzl>{kind_words}</Fpzl><Lbdm>{sale.code}</Lbdm><Fphm>{sale.number}</Fphm>"
                f"<Kprq>{sale.day:%Y%m%d}</Kprq><Gfmc>{escape(sale.buyer)}</Gfmc><Gfsh>{sale.buyer_id}</Gfsh>"
                f"<Xfmc>{seller[0]}</Xfmc><Xfsh>{seller[1]}</Xfsh><Hjje>{yuan(sale.amount)}</Hjje>"
                f"<Hjse>{yuan(sale.tax)}</Hjse><Bz>{escape(sale.remark)}</Bz>"
                + (f"<Zfbz>{int(sale.void)}</Zfbz>" if sale.void else "")
                + "<Spxx>\n"
            )
            for at, line in enumerate(sale.lines, start=1):
                file.write(
                    f"<Sph><Xh>{at}</Xh><Spmc>{escape(line.name)}</Spmc><Ggxh>{escape(line.spec)}</Ggxh>"
                    f"<Jldw>{line.unit}</Jldw><Spbm>{line.goods_code}</Spbm><Lslbz>{_zero_flag(line.rate)}</Lslbz>"
                    f"<Dj>{line.price}</Dj><Sl>{line.quantity}</Sl><Je>{yuan(line.amount)}</Je>"
                    f"<Slv>{0 if _zero_flag(line.rate) else line.rate}</Slv><Se>{yuan(line.tax)}</Se></Sph>\n"
                )
            file.write("</Spxx></Fp>\n")
        file.write("</Fpsj>\n</Fpxx>\n</Kp>\n")
    return path


def _zero_flag(rate: str) -> str:
    return {"exempt": "1", "untaxed": "2", "zero": "3"}.get(rate, "")


def sjjk0201(
    path: Path,
    sales: Sequence[Sale],
    *,
    kind: str = "2",
    seller: tuple[str, str] = SELLER,
    encoding: str = "gbk",
    count: int | None = None,
) -> Path:
    """Write the text export of issued invoices: 24 fields a head, 11 a line, the amount before the price."""
    rows = [
        "SJJK0201~~已开发票传出",
        f"{len(sales) if count is None else count}~~20190101~~20190131",
    ]
    for at, sale in enumerate(sales, start=1):
        rates = {line.rate for line in sale.lines}
        head = [
            str(int(sale.void)),
            "0",
            kind,
            sale.code,
            sale.number,
            str(len(sale.lines)),
            f"{sale.day:%Y%m%d}",
            f"{sale.day:%m}",
            f"D{at}",
            yuan(sale.amount),
            rates.pop() if len(rates) == 1 else "",
            yuan(sale.tax),
            sale.buyer,
            sale.buyer_id,
            "演示路 1 号",
            "演示银行",
            seller[0],
            seller[1],
            "演示路 2 号",
            "演示银行",
            sale.remark,
            "演示",
            "复核",
            "收款",
        ]
        rows += [f"//发票{at}", "~~".join(head)]
        rows += [
            "~~".join(
                (
                    "1" if line.amount < 0 <= sale.amount else "0",
                    line.name,
                    line.spec,
                    line.unit,
                    line.quantity,
                    yuan(line.amount),
                    "0" if _zero_flag(line.rate) else line.rate,
                    yuan(line.tax),
                    line.price,
                    "0",
                    "",
                )
            )
            for line in sale.lines
        ]
    path.write_text("\r\n".join(rows) + "\r\n", encoding=encoding, errors="replace", newline="")
    return path


CSV_HEADINGS: Final = (
    "发票代码 发票号码 数电发票号码 发票票种 发票状态 开票日期 销售方识别号 购买方名称 购买方识别号 项目名称 规格型号 单位 数量 单价 金额 税率 税额 价税合计 备注"
).split()


def csv_list(
    path: Path,
    sales: Iterable[Sale],
    *,
    kind_words: str = "增值税普通发票",
    seller: tuple[str, str] = SELLER,
    encoding: str = "gb18030",
    delimiter: str = ",",
) -> Path:
    """Write a delimited list that repeats the invoice on every line, as platforms and SaaS systems do."""
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(CSV_HEADINGS)
        for sale in sales:
            head = [
                sale.code,
                sale.number if sale.code else "",
                "" if sale.code else sale.number,
                kind_words,
                "已作废" if sale.void else "正常",
                f"{sale.day:%Y/%m/%d} 09:30",
                seller[1],
                sale.buyer,
                sale.buyer_id,
            ]
            for line in sale.lines or (None,):
                goods = (
                    [""] * 9
                    if line is None
                    else [
                        line.name,
                        line.spec,
                        line.unit,
                        line.quantity,
                        line.price,
                        f"{abs(line.amount) / 100:,.2f}" if line.amount >= 0 else yuan(line.amount),
                        rate_words(line.rate, "percent"),
                        yuan(line.tax),
                        yuan(line.amount + line.tax),
                    ]
                )
                writer.writerow([*head, *goods, sale.remark])
    return path
