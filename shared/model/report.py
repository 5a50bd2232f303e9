"""The report: its public header and its content, line by line.

The header is public and signed; the content is JSON lines: one `ContentHeader`, then `KindSummary` and `RateSummary`
rows, then `Invoice` rows, then one `Trailer` (requirements REP-*). Amounts are strings with two decimals and are added
as integer fen. This module knows shapes and spellings, no cryptography and no files.
"""

from __future__ import annotations

from datetime import date
from typing import Final, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from shared.canonical import parse_json, render_json
from shared.errors import NameInvalid, NotCanonical, ReportContentInvalid, ReportInvalid
from shared.ids import ReportName, Stamp, parse_machine_no, parse_stamp, parse_taxpayer_id, period_covered
from shared.model.base import (
    Amount,
    Count,
    Hex32,
    Hex64,
    IsoDay,
    Number,
    Printable,
    SignedModel,
    StampText,
    TaxpayerIdText,
)
from shared.money import parse_fen
from shared.text import Text

FORMAT: Final = "taxferry-report/1"
Suite = Literal["rsa-sha256-aes256gcm", "p256-sha256-aes256gcm"]
InvoiceKind = Literal["004", "005", "006", "007", "009", "025", "026", "028", "101", "102"]
"""004 专, 005 机动车, 006 二手车, 007 普, 009 货运, 025 卷, 026 电普, 028 电专; ours: 101 数电专, 102 数电普."""
KIND_NAMES: Final[dict[str, Text]] = {
    "004": Text("增值税专用发票", "special VAT invoice"),
    "005": Text("机动车销售统一发票", "motor vehicle invoice"),
    "006": Text("二手车销售统一发票", "used car invoice"),
    "007": Text("增值税普通发票", "ordinary VAT invoice"),
    "009": Text("货物运输业增值税专用发票", "freight VAT invoice"),
    "025": Text("增值税普通发票（卷票）", "ordinary VAT invoice (roll)"),
    "026": Text("增值税电子普通发票", "electronic ordinary VAT invoice"),
    "028": Text("增值税电子专用发票", "electronic special VAT invoice"),
    "101": Text("数电票（专用发票）", "fully digital special invoice"),
    "102": Text("数电票（普通发票）", "fully digital ordinary invoice"),
}
InvoiceStatus = Literal["positive", "negative", "positive-void", "negative-void", "blank-void"]
MAX_LINES_PER_INVOICE: Final = 2000


class _Identity(SignedModel):
    format: Literal["taxferry-report/1"]
    suite: Suite
    taxpayer_id: TaxpayerIdText
    machine_no: int = Field(ge=0, le=65535)
    stamp: StampText
    kind: Literal["period", "adhoc"]
    period_start: IsoDay
    period_end: IsoDay
    card_no: Printable
    sequence: int = Field(ge=1, le=2**53 - 1)
    nonce: Hex32
    invoice_count: Count

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        stamp = parse_stamp_or_value_error(self.stamp)
        if stamp.kind != self.kind:
            raise ValueError("kind and stamp disagree")
        start, end = date.fromisoformat(self.period_start), date.fromisoformat(self.period_end)
        if start > end:
            raise ValueError("the period ends before it starts")
        if self.kind == "period" and (start, end) != period_covered(stamp):
            raise ValueError("a period report covers exactly the month before its stamp")
        if self.kind == "adhoc" and end != stamp.moment.date():
            raise ValueError("an ad hoc report ends on the day of its stamp")
        return self

    @property
    def name(self) -> ReportName:
        """The identity that the report's true file name carries."""
        return ReportName(
            parse_taxpayer_id(self.taxpayer_id), parse_machine_no(str(self.machine_no)), parse_stamp(self.stamp)
        )

    @property
    def period(self) -> str:
        """The month `YYYY-MM` in which the report's period ends."""
        return self.period_end[:7]


def parse_stamp_or_value_error(text: str) -> Stamp:
    """Return the stamp; for validators, which speak `ValueError`."""
    try:
        return parse_stamp(text)
    except NameInvalid as error:
        raise ValueError(str(error)) from None


class PublicHeader(_Identity):
    """What everyone may read: the contentDescription under the card's signature (REP-3)."""

    content_sha256: Hex64
    content_bytes: Count


class ContentHeader(_Identity):
    """Line 1 of the content: the header again, with what binds it to this envelope (REP-20)."""

    salt: Hex32
    signer_sha256: Hex64
    recipients_sha256: Hex64


class _Sums(SignedModel):
    positive_amount: Amount
    positive_tax: Amount
    negative_amount: Amount
    negative_tax: Amount
    positive_void_amount: Amount
    positive_void_tax: Amount
    negative_void_amount: Amount
    negative_void_tax: Amount

    @model_validator(mode="after")
    def _no_negative_zero(self) -> Self:
        for name in SUM_FIELDS:
            parse_fen(getattr(self, name))
        return self


def _fits(amount: str, status: str) -> bool:
    """Return whether an amount may stand for something of this status, by its sign alone (REP-21, REP-23)."""
    if status.startswith("positive"):
        return not amount.startswith("-")
    return amount == "0.00" or (status.startswith("negative") and amount.startswith("-"))


SUM_FIELDS: Final = (
    "positive_amount",
    "positive_tax",
    "negative_amount",
    "negative_tax",
    "positive_void_amount",
    "positive_void_tax",
    "negative_void_amount",
    "negative_void_tax",
)
COUNT_FIELDS: Final = (
    "positive_count",
    "negative_count",
    "positive_void_count",
    "negative_void_count",
    "blank_void_count",
)


class KindSummary(_Sums):
    """The card's figures of one invoice kind: stock, counts by status, sums by status (REP-21).

    Every count is of invoices. Negative (red) sums are never above zero, positive ones never below. Void sums are what
    the voided invoices said.
    Identity: closing = opening + bought − returned − (all five counts).
    """

    type: Literal["summary"] = "summary"
    kind: InvoiceKind
    opening: Count
    bought: Count
    returned: Count
    closing: Count
    positive_count: Count
    negative_count: Count
    positive_void_count: Count
    negative_void_count: Count
    blank_void_count: Count

    @model_validator(mode="after")
    def _signs(self) -> Self:
        if not all(_fits(getattr(self, name), name) for name in SUM_FIELDS):
            raise ValueError("a sum with the wrong sign")
        return self

    @property
    def used(self) -> int:
        """Invoices used up: the five counts together."""
        return sum(getattr(self, name) for name in COUNT_FIELDS)


class RateSummary(_Sums):
    """The figures of one kind at one tax rate (REP-22); the rates of a kind add up to its `KindSummary`.

    They may have either sign: the discounts at a rate may outweigh its goods.

    Attributes:
        rate: A decimal fraction (`0.13`), `exempt` (免税), `untaxed` (不征税), `margin` (差额征税, printed `***`)
            or `zero` (普通零税率).
    """

    type: Literal["rate"] = "rate"
    kind: InvoiceKind
    rate: str = Field(pattern=r"^(0\.[0-9]{1,6}|exempt|untaxed|margin|zero)$")


class InvoiceLine(SignedModel):
    """One goods line.

    Attributes:
        nature: `normal`, `discount` (negative inside a positive invoice) or `freeform` (quantity and price are not
            numbers, as on toll invoices: what stands there instead is kept in `unit`).
    """

    name: str = Field(max_length=600)
    spec: str = Field(default="", max_length=200)
    unit: str = Field(default="", max_length=100)
    quantity: Number | None = None
    price: Number | None = None
    amount: Amount
    rate: str = Field(pattern=r"^(0\.[0-9]{1,6}|exempt|untaxed|margin|zero)$")
    tax: Amount
    goods_code: str = Field(default="", max_length=40)
    nature: Literal["normal", "discount", "freeform"] = "normal"


class Invoice(SignedModel):
    """One invoice with its lines (REP-23). Its sums have the sign of its status; a blank voided one has no lines."""

    type: Literal["invoice"] = "invoice"
    kind: InvoiceKind
    code: str = Field(pattern=r"^([0-9]{10}|[0-9]{12}|)$")
    number: str = Field(pattern=r"^[0-9]{8}$|^[0-9]{20}$")
    day: IsoDay
    status: InvoiceStatus
    buyer_name: str = Field(default="", max_length=400)
    buyer_id: str = Field(default="", max_length=30)
    amount: Amount
    tax: Amount
    remark: str = Field(default="", max_length=1000)
    original_code: str = Field(default="", max_length=12)
    original_number: str = Field(default="", max_length=20)
    lines: tuple[InvoiceLine, ...] = Field(default=(), max_length=MAX_LINES_PER_INVOICE)

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    @model_validator(mode="after")
    def _signs(self) -> Self:
        status = self.status
        if not (_fits(self.amount, status) and _fits(self.tax, status)) or (status == "blank-void" and self.lines):
            raise ValueError("amounts or lines that do not fit the status")
        return self

    @property
    def key(self) -> str:
        """What makes an invoice the same invoice: code and number (20-digit numbers have no code)."""
        return f"{self.code}-{self.number}" if self.code else self.number


class Trailer(SignedModel):
    """The last line (REP-24): counts of rows, and the sums of all invoices that are not void."""

    type: Literal["trailer"] = "trailer"
    invoices: Count
    lines: Count
    amount: Amount
    tax: Amount


ContentRow = KindSummary | RateSummary | Invoice | Trailer
_ROWS: Final[dict[object, type[ContentRow]]] = {
    "summary": KindSummary,
    "rate": RateSummary,
    "invoice": Invoice,
    "trailer": Trailer,
}


def parse_public_header(data: bytes) -> PublicHeader:
    """Return the header in the octets of a contentDescription.

    Raises:
        ReportInvalid: Not the canonical JSON of exactly the header's members, or members that contradict each other.
    """
    try:
        return PublicHeader.model_validate(parse_json(data))
    except (NotCanonical, ValidationError) as error:
        raise ReportInvalid(
            reason=Text("公开头不符合规定", f"the public header is invalid ({_first(error)})")
        ) from None


def parse_content_header(line: bytes) -> ContentHeader:
    """Return line 1 of the content.

    Raises:
        ReportContentInvalid: Not the canonical JSON of exactly its members.
    """
    try:
        return ContentHeader.model_validate(parse_json(line))
    except (NotCanonical, ValidationError) as error:
        raise ReportContentInvalid(line=1, reason=Text("内容头不符合规定", _first(error))) from None


def parse_row(line: bytes, number: int) -> ContentRow:
    """Return one later line of the content.

    Args:
        line: The line without its line end.
        number: Its number for messages, counted from 1.

    Raises:
        ReportContentInvalid: Not the canonical JSON of a known row.
    """
    try:
        value = parse_json(line)
        model = _ROWS.get(value.get("type"))
        if model is None:
            raise ReportContentInvalid(line=number, reason=Text("未知的行类型", "an unknown type of row"))
        # JSON arrays become tuples: strict models do not convert lists.
        if isinstance(value.get("lines"), list):
            value["lines"] = tuple(value["lines"])  # type: ignore[arg-type]
        return model.model_validate(value)
    except (NotCanonical, ValidationError) as error:
        raise ReportContentInvalid(line=number, reason=Text("不符合规定", _first(error))) from None


def render_row(row: SignedModel) -> bytes:
    """Return the canonical line of a header or a row, without its line end."""
    return render_json(row.model_dump(mode="json"))


def _first(error: NotCanonical | ValidationError) -> str:
    if isinstance(error, ValidationError):
        found = error.errors(include_url=False, include_input=False, include_context=False)[0]
        return f"{'.'.join(str(p) for p in found['loc'])[:80]}: {found['msg'][:120]}"
    return error.text.en
