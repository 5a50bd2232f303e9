"""What the bureau says of a taxpayer's month and of one report, as JSON on the wire."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

from pydantic import Field, StringConstraints, ValidationError

from shared.errors import BureauRefused
from shared.model.base import Count, Hex64, TaxpayerIdText, WireModel
from shared.text import Text

MAX_ANSWER_BYTES: Final = 1 << 18

Month = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")]
DayOrEmpty = Annotated[str, StringConstraints(pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$")]
_MachineNo = Annotated[int, Field(ge=0, le=65535)]
ReportStateText = Literal["partial", "receiving", "stored", "processing", "waiting", "failed", "succeeded", "closed"]


class Standing(WireModel):
    """A taxpayer's month: asked before a period report is uploaded, so that a `no` holds it instead of failing it.

    Attributes:
        taxpayer_id: 税号.
        period: The month asked about.
        enrolled: 开户: the bureau takes remote reports from this taxpayer.
        declared: 申报: a return for this month was filed.
        machines_expected: Machine numbers that must report.
        machines_reported: Those whose report the bureau accepted.
        key_fingerprints: Station certificates on file.
        lock_date: 锁死日期, or empty.
        upload_deadline: 上传截止日期, or empty.
        bureau_time: The bureau's clock when it answered.
    """

    taxpayer_id: TaxpayerIdText
    period: Month
    enrolled: bool
    declared: bool
    machines_expected: Annotated[tuple[_MachineNo, ...], Field(max_length=65536)]
    machines_reported: Annotated[tuple[_MachineNo, ...], Field(max_length=65536)]
    key_fingerprints: Annotated[tuple[Hex64, ...], Field(max_length=64)]
    lock_date: DayOrEmpty = ""
    upload_deadline: DayOrEmpty = ""
    bureau_time: Annotated[str, StringConstraints(max_length=40)]


class ReportStatus(WireModel):
    """Where one report stands at the bureau.

    Attributes:
        report_digest: The report.
        state: `partial` (an upload in parts, up to `offset`), `receiving`, `stored`, `processing`, `waiting` (272C),
            `failed`, `succeeded`, `closed` (the clear receipt arrived).
        offset: Bytes that the bureau holds of a partial upload.
        receipt_no: 受理回执, once the report is stored.
        ask_after_seconds: When to ask again.
        code: The last result's error number, or empty.
        message: The last result's explanation, or empty.
    """

    report_digest: Hex64
    state: ReportStateText
    offset: Count = 0
    receipt_no: Annotated[str, StringConstraints(max_length=64)] = ""
    ask_after_seconds: Annotated[int, Field(ge=0, le=7 * 86400)] = 0
    code: Annotated[str, StringConstraints(max_length=32)] = ""
    message: Annotated[str, StringConstraints(max_length=500)] = ""


def parse_standing(data: bytes) -> Standing:
    """Return the standing in a bureau's answer.

    Raises:
        BureauRefused: The answer is not what this interface says.
    """
    return _parse(Standing, data)


def parse_report_status(data: bytes) -> ReportStatus:
    """Return the status in a bureau's answer.

    Raises:
        BureauRefused: The answer is not what this interface says.
    """
    return _parse(ReportStatus, data)


_M = TypeVar("_M", bound=WireModel)


def _parse(model: type[_M], data: bytes) -> _M:
    try:
        if len(data) > MAX_ANSWER_BYTES:
            raise ValueError
        return model.model_validate_json(data)
    except (ValidationError, ValueError):
        raise BureauRefused(
            reason=Text("税局的答复无法解析", "the bureau's answer does not parse"), fault="B4201"
        ) from None
