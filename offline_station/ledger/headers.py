"""The column headings that real exports use, and which field each of them means."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from offline_station.ledger.cells import Cell

_VOCABULARY: Final[Mapping[str, str]] = {
    "digital": "数电号码 数电发票号码 数电票号码 数电票号 全电发票号码 全电票号码 全电号码 电子发票号码 数电发票号",
    "code": "发票代码 类别代码 发票类别代码 票据代码 fpdm lbdm invoicecode",
    "number": "发票号码 发票号 票号 票据号码 fphm invoicenumber invoiceno",
    "day": "开票日期 开票时间 开具日期 开具时间 填开日期 发票日期 kprq issuetime issuedate",
    "buyer_name": (
        "购方企业名称 购方名称 购买方名称 购方单位名称 购货单位名称 购货单位 买方单位/个人名称 买方单位/个人 受票方名称 "
        "购买方企业名称 gfmc gmfmc buyername"
    ),
    "buyer_id": (
        "购方税号 购方识别号 购买方识别号 购买方税号 购买方纳税人识别号 购方纳税人识别号 购方单位识别号 购货单位识别号 "
        "购货单位税号 买方单位代码/身份证号码 买方单位代码/身份证号 购买方统一社会信用代码/纳税人识别号 受票方税号 "
        "gfsh gmfnsrsbh gfdwsbh buyeridnum"
    ),
    "buyer_person": "身份证号码 身份证号码/组织机构代码 身份证号 组织机构代码 sfzhm",
    "seller_name": (
        "销方名称 销售方名称 销方企业名称 销售方企业名称 销售方纳税人名称 销货单位名称 开票方名称 卖方单位/个人名称 "
        "卖方单位/个人 卖方名称 xfmc xsfmc sellername"
    ),
    "seller_id": (
        "销方税号 销方识别号 销售方税号 销售方识别号 销售方纳税人识别号 销方纳税人识别号 销货单位税号 销货单位识别号 "
        "开票方税号 开票方识别号 销售方统一社会信用代码/纳税人识别号 xfsh xsfnsrsbh selleridnum"
    ),
    "car_seller_id": "卖方单位/个人代码 卖方单位代码/身份证号码 卖方单位代码/身份证号 卖方代码 xfdm",
    "auction_id": (
        "经营、拍卖单位纳税人识别号 经营拍卖单位纳税人识别号 经营、拍卖单位识别号 经营、拍卖单位税号 jypmdwsbh"
    ),
    "market_id": "二手车市场识别号 二手车市场纳税人识别号 二手车市场税号 escscsbh",
    "goods": (
        "商品名称 货物或应税劳务名称 货物或应税劳务、服务名称 货物名称 货物或劳务名称 货物或应税劳务 项目名称 "
        "主要商品名称 spmc itemname"
    ),
    "car_type": "车辆类型 cllx",
    "car_model": "厂牌型号 cpxh",
    "car_frame": "车辆识别代号 车架号码 车辆识别代号/车架号码 clsbdh",
    "spec": "规格 规格型号 ggxh specmod",
    "unit": "单位 计量单位 jldw meaunits",
    "quantity": "数量 sl quantity",
    "price": "单价 单价(不含税) 不含税单价 dj unprice",
    "price_with_tax": "含税单价 单价(含税)",
    "amount": "金额 不含税金额 金额(不含税) 不含税价 不含税价格 金额(元) je amount",
    "sum_amount": "合计金额 合计金额(不含税) 金额合计 不含税合计金额 hjje",
    "rate": "税率 增值税税率 增值税税率或征收率 税率/征收率 税率(%) slv zzssl taxrate",
    "tax": "税额 票面税额 增值税税额 税额(元) se zzsse comtaxam",
    "sum_tax": "合计税额 税额合计 hjse",
    "total": (
        "价税合计 价税合计金额 含税金额 票面金额 车价合计 车价合计(小写) 价税合计(小写) 合计金额(含税) 金额(含税) "
        "jshj cjhj totaltax-includedamount"
    ),
    "goods_code": (
        "税收分类编码 商品和服务税收编码 商品和服务税收分类编码 商品和服务分类编码 商品编码 税收编码 货物编码 spbm taxclassificationcode"
    ),
    "status": "发票状态 有效状态 发票状态标志 状态",
    "void_flag": "作废标志 是否作废 zfbz",
    "kind": "发票票种 票种 发票种类 发票类型 发票类别 发票名称 fpzl",
    "sign": "是否正数发票",
    "remark": "备注 bz",
    "machine": "开票机号 分机号 kpjh",
    "original_code": "原发票代码 对应蓝字发票代码 被红冲发票代码 蓝字发票代码 对应正数发票代码 yfpdm",
    "original_number": (
        "原发票号码 对应蓝字发票号码 被红冲发票号码 蓝字发票号码 对应正数发票号码 被红冲蓝字数电票号码 yfphm"
    ),
    "zero_flag": "零税率标识 零税率标志 lslbz lslbs",
    "sequence": "序号 xh",
}
_FIELDS: Final[Mapping[str, str]] = {
    heading: field for field, headings in _VOCABULARY.items() for heading in headings.split()
}
_PURCHASE_MARKS: Final = re.compile(r"(是否勾选|勾选状态|勾选标志|勾选时间|认证方式|认证日期|认证时间|有效抵扣税额)")
HEAD_FIELDS: Final = frozenset(
    [
        "digital",
        "code",
        "number",
        "day",
        "buyer_name",
        "buyer_id",
        "buyer_person",
        "seller_name",
        "seller_id",
        "car_seller_id",
        "auction_id",
        "market_id",
        "status",
        "void_flag",
        "kind",
        "sign",
        "remark",
        "machine",
        "original_code",
        "original_number",
        "sum_amount",
        "sum_tax",
    ]
)
"""Fields of the invoice; the others belong to a line."""


@dataclass(frozen=True)
class Columns:
    """A recognised header row.

    Attributes:
        at: Field to column index.
        titles: Field to the heading as the file writes it.
        purchases: The heading that shows that this is a list of received invoices; empty otherwise.
        sums_only: The amounts are headed as sums of the invoice (合计金额), so every row is a whole invoice.
    """

    at: Mapping[str, int]
    titles: Mapping[str, str]
    purchases: str = ""
    sums_only: bool = False

    @property
    def has_goods(self) -> bool:
        """Whether rows say what was sold; the head sheet of a full query does not."""
        return bool({"goods", "rate", "quantity", "price", "car_model", "car_type"} & self.at.keys())

    @property
    def is_whole_in_row(self) -> bool:
        """Whether every row is a whole invoice: a vehicle's, one in a list without lines, one with its sums."""
        return self.sums_only or not self.has_goods or "car_model" in self.at or "car_type" in self.at

    def pick(self, cells: Sequence[Cell]) -> dict[str, Cell]:
        """Return the cells of a row by field."""
        width = len(cells)
        return {field: cells[index] for field, index in self.at.items() if index < width}


def normalise_heading(value: str) -> str:
    """Return a heading without blanks, asterisks and full-width forms, in lower case."""
    text = unicodedata.normalize("NFKC", value).lower()
    return "".join(c for c in text if not c.isspace() and c not in "*:\u200b\ufeff").strip("'\"")


def recognise_header(cells: Sequence[Cell]) -> Columns | None:
    """Return the columns if a row is a header of invoices, else None.

    A header names the number, an amount, and at least three more known columns; data rows never do.
    """
    at: dict[str, int] = {}
    titles: dict[str, str] = {}
    purchases = ""
    for index, cell in enumerate(cells[:400]):
        if not isinstance(cell, str) or len(cell) > 60:
            continue
        heading = normalise_heading(cell)
        if not purchases and _PURCHASE_MARKS.search(heading):
            purchases = cell.strip()
        field = _FIELDS.get(heading)
        if field is not None and field not in at:
            at[field] = index
            titles[field] = cell.strip()
    numbered = "number" in at or "digital" in at
    summed = {"amount", "sum_amount", "total"} & at.keys()
    if not numbered or not summed or len(at) < 5:
        return None
    sums_only = "amount" not in at and "sum_amount" in at
    for field, stand_in in (("amount", "sum_amount"), ("tax", "sum_tax")):
        if field not in at and stand_in in at:
            at[field] = at.pop(stand_in)
            titles[field] = titles.pop(stand_in)
    return Columns(at, titles, purchases, sums_only)
