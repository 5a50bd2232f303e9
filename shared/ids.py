"""Who and what a report is: tax numbers, machines, copy times, digests and the names built from them.

A name is a hint and never an identity: identity is the signed header (requirement NAME-1). So there are two readers
of names: `parse_report_name` accepts the one true spelling; `recognise_name` also knows what people, Explorer and
mail programs make of it.
"""

from __future__ import annotations

import calendar
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Literal, NewType

from shared.clock import CHINA
from shared.errors import NameInvalid
from shared.text import Text

TaxpayerId = NewType("TaxpayerId", str)
MachineNo = NewType("MachineNo", int)
ReportDigest = NewType("ReportDigest", str)
Nonce = NewType("Nonce", str)

ReportKind = Literal["period", "adhoc"]
Suffix = Literal[".dat", ".txt", ".ack"]

MAX_MACHINE_NO: Final = 65535
TAXPAYER_ID_LENGTHS: Final = (15, 17, 18, 20)

_WHAT_TAXPAYER: Final = Text("税号", "tax number")
_WHAT_MACHINE: Final = Text("分机号", "machine number")
_WHAT_STAMP: Final = Text("抄税日期时间", "copy time")
_WHAT_NAME: Final = Text("文件名", "file name")
_WHAT_DIGEST: Final = Text("报告摘要", "report digest")
_WHAT_NONCE: Final = Text("清卡随机数", "clear nonce")

# GB 32100-2015: 31 characters, no I O S V Z; the weights are powers of 3 modulo 31.
_USCC_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_USCC_WEIGHTS: Final = tuple(pow(3, i, 31) for i in range(17))


def parse_taxpayer_id(text: str) -> TaxpayerId:
    """Return a 税号: 15, 17, 18 or 20 characters of `0-9A-Z` (NAME-2).

    Raises:
        NameInvalid: Anything else.
    """
    if len(text) not in TAXPAYER_ID_LENGTHS:
        raise NameInvalid(
            name=text[:64],
            what=_WHAT_TAXPAYER,
            reason=Text("应为 15、17、18 或 20 位", "it must have 15, 17, 18 or 20 characters"),
        )
    if re.fullmatch(r"[0-9A-Z]+", text, re.ASCII) is None:
        raise NameInvalid(
            name=text[:64],
            what=_WHAT_TAXPAYER,
            reason=Text("只能是数字和大写字母", "only digits and capital letters are permitted"),
        )
    return TaxpayerId(text)


def uscc_check_character(first17: str) -> str | None:
    """Return the check character that GB 32100 gives seventeen characters, or None if one is not of its alphabet.

    The check value 31 is written `0`: a reader that forgets the second modulo refuses 3 % of all valid codes.
    """
    total = 0
    for character, weight in zip(first17, _USCC_WEIGHTS, strict=True):
        value = _USCC_ALPHABET.find(character)
        if value < 0:
            return None
        total += value * weight
    return _USCC_ALPHABET[(31 - total % 31) % 31]


def taxpayer_id_warning(taxpayer_id: str) -> Text | None:
    """Return what is odd about a well-formed 税号, or None: a wrong check character is a warning, never a refusal."""
    if len(taxpayer_id) != 18:
        return None
    if re.fullmatch(r"[0-9]{17}[0-9X]", taxpayer_id, re.ASCII) and _is_resident_number(taxpayer_id):
        return None  # a sole trader reports under the owner's resident identity number
    expected = uscc_check_character(taxpayer_id[:17])
    if expected == taxpayer_id[17]:
        return None
    return Text(
        f"税号 {taxpayer_id} 的校验位不符，请核对",
        f"the check character of {taxpayer_id} is wrong; compare it with the licence",
    )


def _is_resident_number(text: str) -> bool:
    total = sum(int(c) * pow(2, 17 - i, 11) for i, c in enumerate(text[:17]))
    return "10X98765432"[total % 11] == text[17]


def parse_machine_no(text: str) -> MachineNo:
    """Return a 分机号: 0 is the main machine, 1 to 65535 a sub machine, no leading zero (NAME-3).

    Raises:
        NameInvalid: Anything else.
    """
    if re.fullmatch(r"0|[1-9][0-9]{0,4}", text, re.ASCII) is None or int(text) > MAX_MACHINE_NO:
        raise NameInvalid(
            name=text[:64],
            what=_WHAT_MACHINE,
            reason=Text(
                "应为 0（主机）或 1 到 65535（分机），不带前导零",
                "it must be 0 (main) or 1 to 65535 (sub), without leading zeros",
            ),
        )
    return MachineNo(int(text))


@dataclass(frozen=True, order=True)
class Stamp:
    """A 抄税日期时间: `YYYYMMDDHHMM`, a real minute; `0000` at the end makes it a period report's.

    Attributes:
        text: The twelve digits.
    """

    text: str

    @property
    def moment(self) -> datetime:
        """The minute, in China Standard Time."""
        t = self.text
        return datetime(int(t[:4]), int(t[4:6]), int(t[6:8]), int(t[8:10]), int(t[10:12]), tzinfo=CHINA)

    @property
    def kind(self) -> ReportKind:
        """`period` (征期) if the last four digits are `0000`, else `adhoc` (非征期)."""
        return "period" if self.text.endswith("0000") else "adhoc"

    def __str__(self) -> str:
        """Return the twelve digits."""
        return self.text


def parse_stamp(text: str) -> Stamp:
    """Return a copy time; a period stamp must be the first day of a month (NAME-4).

    Raises:
        NameInvalid: Not twelve digits, not a real minute, or a period stamp on another day than the first.
    """
    stamp = Stamp(text)
    reason = None
    if re.fullmatch(r"[0-9]{12}", text, re.ASCII) is None:
        reason = Text("应为 12 位数字 YYYYMMDDHHMM", "it must be twelve digits, YYYYMMDDHHMM")
    else:
        try:
            moment = stamp.moment
        except ValueError:
            reason = Text("没有这个日期或时间", "there is no such day or minute")
        else:
            if stamp.kind == "period" and moment.day != 1:
                reason = Text("征期报税的日期应为当月 1 日", "a period report is stamped with the first day of a month")
    if reason is not None:
        raise NameInvalid(name=text[:64], what=_WHAT_STAMP, reason=reason)
    return stamp


def period_stamp(now: datetime) -> Stamp:
    """Return the stamp of a period copy made at `now`: the first day of that month at 00:00."""
    local = now.astimezone(CHINA)
    return Stamp(f"{local.year:04d}{local.month:02d}010000")


def adhoc_stamp(now: datetime) -> Stamp:
    """Return the stamp of an ad hoc copy made at `now`; at exactly 00:00 it is `0001`, as `0000` means period."""
    local = now.astimezone(CHINA)
    minute = 1 if (local.hour, local.minute) == (0, 0) else local.minute
    return Stamp(f"{local.year:04d}{local.month:02d}{local.day:02d}{local.hour:02d}{minute:02d}")


def period_covered(stamp: Stamp) -> tuple[date, date]:
    """Return the first and last day that a period stamp covers: the whole month before it.

    Raises:
        ValueError: The stamp is an ad hoc one, which does not say where it starts, or there is no month before it.
    """
    day = stamp.moment.date()
    if stamp.kind != "period" or day == date.min:
        raise ValueError(stamp.text)
    last = day - timedelta(days=1)
    return last.replace(day=1), last


def month_end(day: date) -> date:
    """Return the last day of `day`'s month."""
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])


def parse_report_digest(text: str) -> ReportDigest:
    """Return a report digest: 64 lower-case hex digits.

    Raises:
        NameInvalid: Anything else.
    """
    if re.fullmatch(r"[0-9a-f]{64}", text, re.ASCII) is None:
        raise NameInvalid(
            name=text[:80],
            what=_WHAT_DIGEST,
            reason=Text("应为 64 位小写十六进制数字", "it must be 64 lower-case hexadecimal digits"),
        )
    return ReportDigest(text)


def parse_nonce(text: str) -> Nonce:
    """Return a clear nonce: 32 lower-case hex digits, made by the card when it copies.

    Raises:
        NameInvalid: Anything else.
    """
    if re.fullmatch(r"[0-9a-f]{32}", text, re.ASCII) is None:
        raise NameInvalid(
            name=text[:80],
            what=_WHAT_NONCE,
            reason=Text("应为 32 位小写十六进制数字", "it must be 32 lower-case hexadecimal digits"),
        )
    return Nonce(text)


@dataclass(frozen=True, order=True)
class ReportName:
    """The identity that a name claims: taxpayer, machine, copy time.

    Attributes:
        taxpayer_id: 税号.
        machine_no: 分机号; 0 is the main machine.
        stamp: 抄税日期时间.
    """

    taxpayer_id: TaxpayerId
    machine_no: MachineNo
    stamp: Stamp

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return f"{self.taxpayer_id}_{self.machine_no}_{self.stamp}"

    def file_name(self, suffix: Suffix) -> str:
        """Return the true name of the report (`.dat`), its result (`.txt`) or its clear receipt (`.ack`)."""
        return self.stem + suffix

    def __str__(self) -> str:
        """Return the stem."""
        return self.stem

    @property
    def in_words(self) -> Text:
        """The identity as a person says it, for messages that name two reports."""
        m = self.stamp.moment
        which = (
            Text("主机", "the main machine")
            if self.machine_no == 0
            else Text(f"{self.machine_no} 号分机", f"machine {self.machine_no}")
        )
        if self.stamp.kind == "period":
            when = Text(f"{m.year}年{m.month}月征期抄税", f"the period copy of {m:%Y-%m}")
        else:
            when = Text(
                f"{m.year}年{m.month}月{m.day}日 {m:%H:%M} 非征期抄税", f"the ad hoc copy of {m:%Y-%m-%d %H:%M}"
            )
        return Text(
            f"税号 {self.taxpayer_id} {which.zh}（{when.zh}）", f"taxpayer {self.taxpayer_id}, {which.en} ({when.en})"
        )


def parse_stem(stem: str) -> ReportName:
    """Return the identity in a name without suffix.

    Raises:
        NameInvalid: Not `税号_分机号_抄税日期时间` in its one spelling.
    """
    parts = stem.split("_")
    if len(parts) != 3:
        raise NameInvalid(
            name=stem[:120],
            what=_WHAT_NAME,
            reason=Text("应由两个下划线分成三段", "it must have three parts joined by underscores"),
        )
    return ReportName(parse_taxpayer_id(parts[0]), parse_machine_no(parts[1]), parse_stamp(parts[2]))


def parse_report_name(name: str) -> tuple[ReportName, Suffix]:
    """Return the identity and the suffix of a file in its one true spelling.

    Raises:
        NameInvalid: Any other name, those that `recognise_name` would accept included.
    """
    for suffix in _SUFFIXES:
        if name.endswith(suffix):
            return parse_stem(name.removesuffix(suffix)), suffix
    raise NameInvalid(
        name=name[:120],
        what=_WHAT_NAME,
        reason=Text("后缀应为 .dat、.txt 或 .ack", "it must end in .dat, .txt or .ack"),
    )


_SUFFIXES: Final[tuple[Suffix, ...]] = (".dat", ".txt", ".ack")
_COPY_MARKS: Final = re.compile(
    r"(?:[ _]*\(\d{1,3}\)|[ _-]*副本(?:[ _]*\(\d{1,3}\))?|[ _-]*copy(?:[ _]*\(?\d{0,3}\)?)?)+$", re.IGNORECASE
)
_MAX_NAME: Final = 200


def recognise_name(name: str) -> tuple[ReportName, Suffix] | None:
    """Return what a name means that a person, Explorer or a mail program may have changed, or None.

    Known changes: ` (1)`, `- 副本`, ` - Copy`, a doubled suffix (`.dat.txt`, where the first one counts),
    full-width characters, upper-case suffixes, lower-case letters in the tax number, blanks at the ends.
    """
    if len(name) > _MAX_NAME:
        return None
    text = unicodedata.normalize("NFKC", name).strip()
    for base, suffix in _split_suffixes(text):
        try:
            return parse_stem(_COPY_MARKS.sub("", base).strip().upper()), suffix
        except NameInvalid:
            continue
    return None


def _split_suffixes(text: str) -> Iterator[tuple[str, Suffix]]:
    match = re.fullmatch(r"(.+?)((?:\.(?:dat|txt|ack))+)((?:[ _]*\(\d{1,3}\)|[ _-]*副本)*)", text, re.IGNORECASE)
    if match is None:
        return
    first = "." + match[2].lower().split(".")[1]
    for suffix in _SUFFIXES:
        if suffix == first:
            yield match[1], suffix
