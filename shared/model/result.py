"""The result of a report: what the bureau decided, for a person to read and for a card to prove (RES-*)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final, Literal

from cryptography import x509

from shared.canonical import render_lines, value_fault
from shared.clock import format_time
from shared.envelope.chain import TrustStore
from shared.envelope.roles import Role
from shared.envelope.textsign import SignedText, prove_text, read_signed_text
from shared.errors import ResultEmpty, ResultInvalid, StillProcessing
from shared.ids import Nonce, ReportDigest, ReportName
from shared.model.fields import (
    L_DIGEST,
    MAX_TEXT_BYTES,
    Lines,
    day_text,
    name_lines,
    number_text,
    parse_card_no,
    parse_count,
    parse_moment,
    parse_optional_day,
    parse_receipt_no,
    take_digest,
    take_name_and_card,
    take_nonce,
    whole_seconds,
)
from shared.money import format_fen, parse_fen
from shared.text import Text

TITLE: Final = "税渡 报税结果 1"
SUCCESS: Final = "报税成功"
FAILURE: Final = "报税失败"
PROCESSING: Final = b"Y"
"""The whole answer while the bureau is not ready: no result, and never carried to a card (RES-2)."""
MAX_MESSAGE: Final = 500
_MAX_LIMITS: Final = 32
_CODE: Final = re.compile(r"[0-9A-Za-z@._-]{1,32}", re.ASCII)
_KIND: Final = re.compile(r"[0-9]{3}", re.ASCII)
_BOM: Final = b"\xef\xbb\xbf"

Outcome = Literal["success", "failure"]


@dataclass(frozen=True)
class Result:
    """One decision about one report of one card.

    Attributes:
        name: Taxpayer, machine and copy time of the report.
        card_no: The card that signed the report.
        report_digest: The report.
        nonce: The report's clear nonce: only the card that made it will clear with it.
        receipt_no: 受理回执 of the upload.
        result_no: 结果序号, growing with every result for this card.
        last_acknowledged: 上次清卡回执: the number of the last result of this card whose clear receipt arrived.
        outcome: `success` or `failure`.
        code: 错误号 of a failure; empty in a success.
        message: 说明; never empty in a failure.
        bureau_time: When the bureau decided.
        lock_date: New 锁死日期. Authority lines, this and those below, are empty in a failure; a success for a period
            report has at least the first two.
        next_period_start: 下期起始.
        upload_deadline: 上传截止日期.
        offline_hours: 离线开票时长.
        offline_limits: 离线限额: fen by invoice kind.
    """

    name: ReportName
    card_no: str
    report_digest: ReportDigest
    nonce: Nonce
    receipt_no: str
    result_no: int
    last_acknowledged: int | None
    outcome: Outcome
    code: str
    message: str
    bureau_time: datetime
    lock_date: date | None = None
    next_period_start: date | None = None
    upload_deadline: date | None = None
    offline_hours: int | None = None
    offline_limits: Mapping[str, int] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Refuse a result that no reader would accept.

        Raises:
            ValueError: A number out of range, a text that may not stand in a line, or members that contradict each
                other.
        """
        object.__setattr__(self, "bureau_time", whole_seconds(self.bureau_time))
        object.__setattr__(self, "offline_limits", dict(sorted(self.offline_limits.items())))
        parse_card_no(self.card_no)
        parse_receipt_no(self.receipt_no)
        if self.result_no < 1:
            raise ValueError("result numbers start at 1")
        if self.last_acknowledged is not None and not 1 <= self.last_acknowledged < self.result_no:
            raise ValueError("the acknowledged result is an earlier one")
        if len(self.message) > MAX_MESSAGE or value_fault(self.message) is not None:
            raise ValueError("the message may not stand in a line")
        self._check_authority()

    def _check_authority(self) -> None:
        lines = (self.lock_date, self.next_period_start, self.upload_deadline, self.offline_hours)
        if self.outcome == "failure":
            if _CODE.fullmatch(self.code) is None or not self.message:
                raise ValueError("a failure has an error number and an explanation")
            if any(line is not None for line in lines) or self.offline_limits:
                raise ValueError("a failure authorises nothing")
            return
        if self.code:
            raise ValueError("a success has no error number")
        if self.name.stamp.kind == "period" and (self.lock_date is None or self.next_period_start is None):
            raise ValueError("a success for a period report names the next lock date and period")
        if self.offline_hours is not None and not 0 <= self.offline_hours <= 99999:
            raise ValueError("offline hours out of range")
        if len(self.offline_limits) > _MAX_LIMITS:
            raise ValueError("too many offline limits")
        if any(_KIND.fullmatch(kind) is None or fen < 0 for kind, fen in self.offline_limits.items()):
            raise ValueError("an offline limit is invalid")


def render_result(result: Result) -> bytes:
    """Return the body of a result, the octets that are signed: the inverse of `parse_result` (RES-3)."""
    return render_lines(TITLE, _lines(result))


def _lines(result: Result) -> Iterator[tuple[str, str]]:
    yield from name_lines(result.name, result.card_no)
    yield L_DIGEST, result.report_digest
    yield "清卡随机数", result.nonce
    yield "受理回执", result.receipt_no
    yield "结果序号", str(result.result_no)
    yield "上次清卡回执", number_text(result.last_acknowledged)
    yield "结果", SUCCESS if result.outcome == "success" else FAILURE
    yield "错误号", result.code
    yield "说明", result.message
    yield "税局时间", format_time(result.bureau_time)
    yield "锁死日期", day_text(result.lock_date)
    yield "下期起始", day_text(result.next_period_start)
    yield "上传截止日期", day_text(result.upload_deadline)
    yield "离线开票时长", number_text(result.offline_hours)
    for kind, fen in result.offline_limits.items():
        yield f"离线限额 {kind}", format_fen(fen)


def parse_result(body: bytes) -> Result:
    """Return the result in a body without signature; nothing is proven by that.

    Raises:
        ResultInvalid: Not exactly the lines of a result, each in its one spelling.
    """
    lines = Lines(body, TITLE, ResultInvalid)
    with lines.values():
        name, card_no = take_name_and_card(lines)
        result = Result(
            name=name,
            card_no=card_no,
            report_digest=take_digest(lines),
            nonce=take_nonce(lines, "清卡随机数"),
            receipt_no=lines.take("受理回执"),
            result_no=parse_count(lines.take("结果序号"), least=1),
            last_acknowledged=_optional_count(lines.take("上次清卡回执")),
            outcome=_outcome(lines.take("结果")),
            code=lines.take("错误号"),
            message=lines.take("说明"),
            bureau_time=parse_moment(lines.take("税局时间")),
            lock_date=parse_optional_day(lines.take("锁死日期")),
            next_period_start=parse_optional_day(lines.take("下期起始")),
            upload_deadline=parse_optional_day(lines.take("上传截止日期")),
            offline_hours=_optional_count(lines.take("离线开票时长")),
            offline_limits={kind: parse_fen(value) for kind, value in lines.take_series("离线限额", _MAX_LIMITS)},
        )
    lines.end()
    if render_result(result) != body:
        raise ResultInvalid(reason=Text("不是规定的唯一写法", "it is not in the one permitted form"))
    return result


def _outcome(text: str) -> Outcome:
    if text == SUCCESS:
        return "success"
    if text == FAILURE:
        return "failure"
    raise ValueError(f"outcome {text[:20]!r}")


def _optional_count(text: str) -> int | None:
    return parse_count(text) if text else None


def is_processing(data: bytes) -> bool:
    """Return whether a file or answer is the bureau's `Y`: still processing (RES-2)."""
    return len(data) < 16 and data.removeprefix(_BOM).rstrip(b"\r\n") == PROCESSING


@dataclass(frozen=True)
class ProvenResult:
    """A result whose signature, role and chain hold. Which card may clear with it is the card's own decision.

    Attributes:
        result: The decision.
        body: The signed octets, in canonical form.
        body_sha256: Hex SHA-256 of `body`: the same for every signature over the same decision.
        signer: The bureau's certificate.
        signing_time: What the signature says of its own time.
        warnings: What a person should know although the result is proven.
    """

    result: Result
    body: bytes
    body_sha256: str
    signer: x509.Certificate
    signing_time: datetime
    warnings: tuple[Text, ...] = ()


def prove_result(data: bytes, trust: TrustStore, *, at: datetime, name: str = ".txt") -> ProvenResult:
    """Prove the content of a `.txt`.

    Args:
        data: The file. A byte order mark and LF line ends are tolerated, nothing else.
        trust: What is believed.
        at: The moment of judgement.
        name: The file's name, for messages.

    Raises:
        ResultEmpty: Zero bytes.
        StillProcessing: A `Y`.
        ResultInvalid: Too large, or not a signed text, or not a result.
        SignatureRefused: Altered, or not signed by the bureau's result key.
        CertificateRefused: The signer's certificate is not acceptable.
    """
    _check_outside(data, name)
    proven = prove_text(data, Role.BUREAU_RESULT, trust, at=at, error=ResultInvalid)
    return ProvenResult(
        result=parse_result(proven.body),
        body=proven.body,
        body_sha256=hashlib.sha256(proven.body).hexdigest(),
        signer=proven.signer,
        signing_time=proven.signing_time,
        warnings=proven.warnings,
    )


def read_signed_result(data: bytes, *, name: str = ".txt") -> SignedText:
    """Return a result whose signature holds against the certificate inside; nobody vouches for that one.

    Raises:
        ResultEmpty, StillProcessing, ResultInvalid, SignatureRefused, CertificateRefused: As `prove_result`.
    """
    _check_outside(data, name)
    return read_signed_text(data, Role.BUREAU_RESULT, error=ResultInvalid)


def _check_outside(data: bytes, name: str) -> None:
    if not data:
        raise ResultEmpty(name=name)
    if is_processing(data):
        raise StillProcessing
    if len(data) > MAX_TEXT_BYTES:
        raise ResultInvalid(reason=Text(f"文件超过 {MAX_TEXT_BYTES} 字节", f"it is larger than {MAX_TEXT_BYTES} bytes"))
