"""The published cases: one scenario in each file, and what a reader has to make of it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding

from shared.envelope.roles import Role, card_identity
from shared.ids import Nonce, ReportDigest, ReportName, parse_stamp
from shared.model.ack import Ack, render_ack
from shared.model.receipt import Receipt, render_receipt
from shared.model.result import Result, render_result
from shared.model.trust import TrustFile, render_trust_body
from tests.conformance.independent import writer
from tests.conformance.independent.writer import canonical, open_ended, tlv
from tests.support.reports import rows
from tests.vectors.fixed import NOW, Fixed, World, frame, recipient, stream

GOOD, BAD_REPORT, BAD_RESULT, BAD_ACK, BAD_TRUST = 0, 11, 12, 14, 15
SIGNATURE, CERTIFICATE, OTHER, OUTDATED, TRUST = 20, 21, 22, 23, 24
CONTENT_KEY = stream("content key", 32)
GCM_NONCE = stream("gcm nonce", 12)
DIGEST = ReportDigest("6f" * 32)


@dataclass(frozen=True)
class Case:
    """A file, and what is to be made of it.

    Attributes:
        name: Its place below `cases/`.
        data: Its octets.
        what: The scenario.
        requirement: What it is about.
        exit_code: Of a reader that refuses it; 0 if it is valid.
        stage: Of a report. `proof`: whoever has the root refuses it; `content`: only whoever has the bureau's key can;
            `judgement`: it is well formed, and a bureau that compares detail and summary answers 2715.
        held: For a trust file, the one in force at the reader, below `cases/`.
    """

    name: str
    data: bytes
    what: str
    requirement: str
    exit_code: int = GOOD
    stage: str = "proof"
    held: str = ""

    @property
    def kind(self) -> str:
        """Which kind of file it is."""
        return self.name.partition("/")[0]


# --- reports ---------------------------------------------------------------------------------------------------------


def plain(data: bytes) -> bytes:
    """Change nothing."""
    return data


@dataclass
class Draft:
    """A report in the making; whatever is not changed is honest."""

    world: World
    card: Fixed
    header: dict[str, Any] = field(default_factory=dict)
    public: dict[str, Any] = field(default_factory=dict)
    line_1: dict[str, Any] = field(default_factory=dict)
    rows: list[bytes] = field(default_factory=lambda: list(rows(3)))
    recipients: tuple[x509.Certificate, ...] = ()
    framed: Callable[[bytes], bytes] = frame
    content: Callable[[bytes], bytes] = plain
    tag: Callable[[bytes], bytes] = plain
    algorithm: tuple[str, str] = ("301e060960864801650304012e3011040c", "020110")
    spelled: Callable[[dict[str, Any]], bytes] = canonical
    chunk: int = 262144
    signer: Fixed | None = None
    attributes: Callable[[list[bytes]], list[bytes]] = list
    after: bytes = b""

    def make(self) -> bytes:
        """Return the file."""
        card = card_identity(self.card.certificate)
        common = {
            "format": "taxferry-report/1",
            "suite": f"{writer.key_type(self.card.certificate.public_key())}-sha256-aes256gcm",
            "taxpayer_id": card.taxpayer_id,
            "machine_no": card.machine_no,
            "stamp": "202608010000",
            "kind": "period",
            "period_start": "2026-07-01",
            "period_end": "2026-07-31",
            "card_no": card.card_no,
            "sequence": 7,
            "nonce": "0123456789abcdef0123456789abcdef",
            "invoice_count": sum(b'"type":"invoice"' in row for row in self.rows),
        } | self.header
        envelopes = self.recipients or (self.world.envelope_rsa, self.world.envelope_p256)
        infos = tlv(0x31, *sorted(recipient(each, CONTENT_KEY) for each in envelopes))
        first = {
            "salt": stream("salt", 16).hex(),
            "signer_sha256": hashlib.sha256(writer.ders(self.card)[0]).hexdigest(),
            "recipients_sha256": hashlib.sha256(infos).hexdigest(),
        }
        content = self.content(b"".join(line + b"\n" for line in (canonical(common | first | self.line_1), *self.rows)))
        public = common | {"content_sha256": hashlib.sha256(content).hexdigest(), "content_bytes": len(content)}
        public = {name: value for name, value in (public | self.public).items() if value is not None}
        inner = self._envelope(self.framed(content), infos)
        return self._signed(inner, self.spelled(public)) + self.after

    def _envelope(self, framed: bytes, infos: bytes) -> bytes:
        sealed = AESGCM(CONTENT_KEY).encrypt(GCM_NONCE, framed, None)
        algorithm = bytes.fromhex(self.algorithm[0]) + GCM_NONCE + bytes.fromhex(self.algorithm[1])
        data = bytes.fromhex("06092a864886f70d010701")
        inside = open_ended(0x30, data, algorithm, open_ended(0xA0, writer.chunked(sealed[:-16])))
        enveloped = open_ended(0x30, b"\x02\x01\x00", infos, inside, tlv(4, self.tag(sealed[-16:])))
        return open_ended(0x30, bytes.fromhex("060b2a864886f70d0109100117"), open_ended(0xA0, enveloped))

    def _signed(self, inner: bytes, header: bytes) -> bytes:
        signer = self.signer or self.card
        own, *chain = writer.ders(signer)
        wanted = self.attributes(writer.attributes(hashlib.sha256(inner).digest(), NOW, own, header))
        data = open_ended(
            0x30,
            bytes.fromhex("06092a864886f70d010701"),
            open_ended(0xA0, open_ended(0x24, writer.chunked(inner, self.chunk))),
        )
        infos = tlv(0x31, writer.signer_info(signer, wanted))
        sha256 = bytes.fromhex("310d300b0609608648016503040201")
        inside = open_ended(0x30, b"\x02\x01\x01", sha256, data, tlv(0xA0, own, *chain), infos)
        return open_ended(0x30, bytes.fromhex("06092a864886f70d010702"), open_ended(0xA0, inside))


def _changed(row: bytes, old: bytes, new: bytes) -> bytes:
    assert old in row
    return row.replace(old, new, 1)


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def reports(world: World) -> Iterator[Case]:
    """Yield the cases of `.dat`."""

    def draft(**changes: Any) -> Draft:
        return Draft(world, **{"card": world.card, **changes})

    def case(
        name: str, what: str, requirement: str, exit_code: int = GOOD, stage: str = "proof", **changes: Any
    ) -> Case:
        return Case(f"report/{name}.dat", draft(**changes).make(), what, requirement, exit_code, stage)

    good = draft().make()
    adhoc = {"stamp": "202607180808", "kind": "adhoc", "period_start": "2026-07-01", "period_end": "2026-07-18"}
    yield case("valid-p256", "a period report of a P-256 card, sealed to an RSA and a P-256 key", "REP-1")
    yield case("valid-rsa", "the same of an RSA card", "ENV-10", card=world.card_rsa)
    yield case("valid-adhoc", "an ad hoc report", "REP-1", header=adhoc)
    yield case("valid-zero", "a month without business", "REP-24", rows=list(rows(0))[-1:])
    yield case("valid-one-recipient", "sealed to the P-256 key alone", "ENV-6", recipients=(world.envelope_p256,))
    yield case("valid-large", "two chunks", "ENV-3", rows=list(rows(800)))

    for name, data, what in (
        ("empty", b"", "no octets: a copy that never finished"),
        ("cut-short", good[: len(good) // 2], "the second half is missing"),
        ("cut-by-one", good[:-1], "the last octet is missing"),
        ("octet-after", good + b"\n", "an octet after the end"),
        ("not-cms", b"PK\x03\x04" + bytes(60), "another kind of file under the name"),
    ):
        yield Case(f"report/{name}.dat", data, what, "ENV-13" if data else "ENV-4", BAD_REPORT)
    inside = good.index(bytes.fromhex("301e060960864801650304012e")) + 60
    yield Case(
        "report/flipped-content.dat", _flip(good, inside), "one bit of the ciphertext is another", "ENV-13", SIGNATURE
    )
    end = len(good) - 20
    yield Case(
        "report/flipped-signature.dat", _flip(good, end), "one bit of the signature is another", "ENV-8", SIGNATURE
    )
    yield case("short-chunks", "chunks of 1000 octets", "ENV-3", BAD_REPORT, chunk=1000)
    yield case(
        "tag-of-12",
        "a GCM tag of twelve octets",
        "ENV-10",
        BAD_REPORT,
        tag=lambda t: t[:12],
        algorithm=("301e060960864801650304012e3011040c", "02010c"),
    )
    yield case(
        "unsorted-attributes",
        "signed attributes in another order",
        "ENV-8",
        BAD_REPORT,
        attributes=lambda found: found[::-1],
    )
    yield case(
        "missing-attribute",
        "no signingCertificateV2",
        "ENV-8",
        SIGNATURE,
        attributes=lambda found: [a for a in found if bytes.fromhex("010910022f") not in a],
    )
    yield case(
        "header-not-canonical",
        "a blank in the public header",
        "FORM-2",
        BAD_REPORT,
        spelled=lambda h: canonical(h).replace(b",", b", ", 1),
    )
    yield case("header-member-more", "a member that no page knows", "REP-1", BAD_REPORT, public={"remark": "x"})
    yield case("header-member-less", "no nonce", "REP-1", BAD_REPORT, public={"nonce": None})
    yield case(
        "header-other-format", "a format of the future", "REP-1", BAD_REPORT, public={"format": "taxferry-report/2"}
    )
    yield case(
        "header-other-month",
        "a period that is not the month before the stamp",
        "NAME-4",
        BAD_REPORT,
        header={"period_start": "2026-06-01", "period_end": "2026-06-30"},
    )
    yield case("header-kind", "a period stamp in an ad hoc report", "NAME-4", BAD_REPORT, header={"kind": "adhoc"})
    yield case(
        "header-suite",
        "the suite of the other kind of key",
        "ENV-9",
        SIGNATURE,
        header={"suite": "rsa-sha256-aes256gcm"},
    )
    yield case(
        "header-bomb",
        "content that would be more than a thousand times the file",
        "ENV-11",
        BAD_REPORT,
        public={"content_bytes": 1 << 40},
    )
    yield case(
        "other-card",
        "the header names another card than the certificate",
        "ENV-18",
        SIGNATURE,
        header={"card_no": "TC9999999999"},
    )
    yield case(
        "other-taxpayer",
        "the header names another taxpayer than the certificate",
        "TRUST-11",
        SIGNATURE,
        header={"taxpayer_id": "91110108551385082Q"},
    )
    yield case(
        "wrong-role",
        "signed with the key for results",
        "TRUST-10",
        SIGNATURE,
        signer=world.result,
        header={"suite": "rsa-sha256-aes256gcm"},
    )
    yield case("foreign-root", "a card that another root issued", "TRUST-12", CERTIFICATE, card=world.foreign_card)
    yield case("expired", "a card whose certificate has expired", "TRUST-13", CERTIFICATE, card=world.expired)
    yield case("revoked", "a card that is on the revocation list", "TRUST-16", CERTIFICATE, card=world.revoked)

    only = "content"
    yield case(
        "tag-wrong",
        "signed as it is, and the GCM tag does not hold",
        "ENV-14",
        BAD_REPORT,
        only,
        tag=lambda t: _flip(t, 0),
    )
    yield case(
        "not-for-us",
        "sealed to no key of the bureau's",
        "ENV-14",
        BAD_REPORT,
        only,
        recipients=(world.former_envelope,),
    )
    yield case(
        "content-other-hash",
        "content_sha256 of another content",
        "REP-4",
        BAD_REPORT,
        only,
        public={"content_sha256": "0" * 64},
    )
    yield case(
        "content-other-size",
        "content_bytes one too small",
        "REP-4",
        BAD_REPORT,
        only,
        public={"content_bytes": len(b"x") + 1},
    )
    yield case(
        "two-frames", "two zstd frames", "ENV-7", BAD_REPORT, only, framed=lambda c: frame(c[:500]) + frame(c[500:])
    )
    yield case(
        "skippable-frame",
        "a skippable frame after the content",
        "ENV-7",
        BAD_REPORT,
        only,
        framed=lambda c: frame(c) + b"\x50\x2a\x4d\x18\x00\x00\x00\x00",
    )
    yield case("not-a-frame", "content that is not compressed", "ENV-7", BAD_REPORT, only, framed=plain)
    yield case(
        "line-1-other",
        "line 1 says another sequence than the header",
        "REP-20",
        SIGNATURE,
        only,
        line_1={"sequence": 8},
    )
    yield case(
        "line-1-signer", "line 1 names another signer", "ENV-15", SIGNATURE, only, line_1={"signer_sha256": "0" * 64}
    )
    yield case(
        "line-1-recipients",
        "line 1 was written for other recipients",
        "ENV-15",
        SIGNATURE,
        only,
        line_1={"recipients_sha256": "0" * 64},
    )
    honest = list(rows(3))
    yield case(
        "rows-out-of-order",
        "an invoice before its summary",
        "REP-25",
        BAD_REPORT,
        only,
        rows=[honest[2], *honest[:2], *honest[3:]],
    )
    yield case(
        "row-not-canonical",
        "a row in another spelling",
        "REP-10",
        BAD_REPORT,
        only,
        rows=[honest[0].replace(b",", b", ", 1), *honest[1:]],
    )
    yield case("no-trailer", "the last line is missing", "REP-25", BAD_REPORT, only, rows=honest[:-1])
    yield case(
        "last-line-open", "no line end after the last line", "REP-10", BAD_REPORT, only, content=lambda c: c[:-1]
    )
    yield case(
        "trailer-wrong",
        "well formed, and the trailer counts one line more: a bureau answers 2715",
        "REP-26",
        GOOD,
        "judgement",
        rows=[*honest[:-1], _changed(honest[-1], b'"lines":3', b'"lines":4')],
    )
    yield case(
        "summary-differs",
        "well formed, and detail and summary differ: a bureau answers 2715",
        "REP-27",
        GOOD,
        "judgement",
        rows=[
            _changed(_changed(honest[0], b'"positive_count":3', b'"positive_count":2'), b'"closing":0', b'"closing":1'),
            *honest[1:],
        ],
    )


# --- texts -----------------------------------------------------------------------------------------------------------


def name_of(card: Fixed, stamp: str = "200807180808") -> ReportName:
    """Return the identity of a report."""
    found = card_identity(card.certificate)
    return ReportName(found.taxpayer_id, found.machine_no, parse_stamp(stamp))


def success(world: World, **changes: Any) -> Result:
    """Return a success for the main machine."""
    result = Result(
        name=name_of(world.card),
        card_no=card_identity(world.card.certificate).card_no,
        report_digest=DIGEST,
        nonce=Nonce("ab" * 16),
        receipt_no="R2008071800001",
        result_no=17,
        last_acknowledged=16,
        outcome="success",
        code="",
        message="",
        bureau_time=NOW,
        lock_date=date(2026, 8, 17),
        next_period_start=date(2026, 8, 1),
        upload_deadline=date(2026, 8, 17),
        offline_hours=72,
        offline_limits={"004": 100_000_000, "007": 5_000_000},
    )
    return replace(result, **changes)


def failure(world: World, **changes: Any) -> Result:
    """Return a failure."""
    nothing: dict[str, Any] = {"lock_date": None, "next_period_start": None, "upload_deadline": None}
    nothing |= {"offline_hours": None, "offline_limits": {}}
    words = {"outcome": "failure", "code": "271D", "message": "申报比对不通过：未查询到申报信息"}
    return success(world, **nothing | words | changes)


def _lines(body: bytes, **changes: str) -> bytes:
    """Return a body with other values."""
    text = body.decode()
    for label, value in changes.items():
        label = label.replace("_", " ")
        (line,) = (each for each in text.split("\r\n") if each.startswith(f"{label}:"))
        text = text.replace(f"{line}\r\n", f"{label}: {value}\r\n" if value else f"{label}:\r\n")
    return text.encode()


def results(world: World) -> Iterator[Case]:
    """Yield the cases of `.txt`."""
    body, failed = render_result(success(world)), render_result(failure(world))
    good = writer.text(body, world.result, NOW)
    block = good[len(body) :]

    def case(name: str, data: bytes, what: str, requirement: str, exit_code: int = GOOD) -> Case:
        return Case(f"result/{name}.txt", data, what, requirement, exit_code)

    def signed(of: bytes, by: Fixed = world.result) -> bytes:
        return writer.text(of, by, NOW)

    yield case("valid-success", good, "a success", "RES-3")
    yield case("valid-failure", signed(failed), "a failure", "RES-4")
    yield case(
        "valid-unknown-code",
        signed(_lines(failed, 错误号="9Z99", 说明="以后才有的原因")),
        "an error number that nobody knows yet",
        "RES-7",
    )
    yield case("valid-bom", b"\xef\xbb\xbf" + good, "a byte order mark, as an editor writes it", "RES-8")
    yield case("valid-lf", good.replace(b"\r\n", b"\n"), "LF for CR LF throughout", "RES-8")
    yield case("valid-line-ends-after", good + b"\r\n\n", "line ends after the last line", "TXT-5")
    period = success(world, name=name_of(world.card, "202608010000"))
    yield case("valid-period", signed(render_result(period)), "a success for a period report", "RES-5")

    yield case("empty", b"", "no octets", "RES-2", BAD_RESULT)
    yield case("processing", b"Y", "a Y: the bureau is still at it", "RES-2", 43)
    yield case("processing-line", b"\xef\xbb\xbfY\r\n", "a Y as an editor saves it", "RES-2", 43)
    for name, data, what, requirement, code in (
        ("cut-short", good[:-30], "the end is missing", "TXT-5", BAD_RESULT),
        ("no-signature", body, "no signature below", "TXT-1", BAD_RESULT),
        ("text-before", b"FW:\r\n" + good, "a line before the title", "RES-8", SIGNATURE),
        ("text-after", good + b"sent from my phone\r\n", "a line after the signature", "RES-8", BAD_RESULT),
        ("second-block", good + block, "the block stands twice", "RES-8", BAD_RESULT),
        ("mixed-ends", good.replace(b"\r\n", b"\n", 3), "line ends of both kinds", "TXT-6", BAD_RESULT),
        ("gbk", body.decode().encode("gbk") + block, "in GBK", "RES-8", SIGNATURE),
        (
            "altered",
            good.replace(b"200807180808", b"200807180809", 1),
            "one digit is another",
            "TXT-2",
            SIGNATURE,
        ),
        (
            "blank-at-end",
            good.replace(b"271D", b"271D ").replace("分机号: 0".encode(), "分机号: 0 ".encode()),
            "a blank at the end of a line",
            "RES-8",
            SIGNATURE,
        ),
        (
            "base64-columns",
            body + block.replace(b"\r\n", b"", 2).replace(b"CMS-----", b"CMS-----\r\n", 1),
            "the block in other columns",
            "TXT-3",
            BAD_RESULT,
        ),
        ("too-large", good + b"\r\n" * 40000, "more than 65536 octets", "RES-1", BAD_RESULT),
    ):
        yield case(name, data, what, requirement, code)
    yield case("wrong-role", signed(body, world.trust), "signed with the key for trust files", "TRUST-10", SIGNATURE)
    yield case("signed-by-card", signed(body, world.card), "signed by the card itself", "TRUST-10", SIGNATURE)
    yield case("foreign-root", signed(body, world.foreign_result), "signed under another root", "TRUST-12", CERTIFICATE)
    limits = "离线限额 004: 1000000.00\r\n"
    for name, of, what, requirement in (
        ("failure-authorises", _lines(failed, 锁死日期="2026-08-17"), "a failure with a lock date", "RES-4"),
        ("failure-without-reason", _lines(failed, 说明=""), "a failure that says nothing", "RES-3"),
        ("success-with-code", _lines(body, 错误号="271D"), "a success with an error number", "RES-3"),
        ("number-not-higher", _lines(body, 上次清卡回执="17"), "the last clear receipt is not lower", "RES-6"),
        ("number-zero", _lines(body, 结果序号="0"), "result number 0", "RES-3"),
        ("leading-zero", _lines(body, 结果序号="017"), "a number with a leading zero", "FORM-3"),
        ("no-such-day", _lines(body, 锁死日期="2026-02-30"), "a day that does not exist", "FORM-3"),
        ("other-zone", _lines(body, 税局时间="2026-08-05T01:30:00+00:00"), "a time in another zone", "FORM-3"),
        ("limits-twice", body.replace(limits.encode(), limits.encode() * 2), "a limit stands twice", "RES-3"),
        ("line-missing", body.replace("分机号: 0\r\n".encode(), b""), "a line is missing", "FORM-6"),
        (
            "lines-swapped",
            body.replace(
                "税号: 310100000000000\r\n分机号: 0\r\n".encode(), "分机号: 0\r\n税号: 310100000000000\r\n".encode()
            ),
            "two lines in another order",
            "FORM-6",
        ),
        ("not-nfc", _lines(failed, 说明="e\u0301"), "a value that is not in NFC", "FORM-4"),
        ("invisible", _lines(failed, 说明="a\u200bb"), "a character that nobody sees", "FORM-4"),
        ("other-title", body.replace("报税结果 1".encode(), "报税结果 2".encode()), "a version of the future", "RES-3"),
        (
            "period-without-days",
            _lines(render_result(period), 锁死日期=""),
            "a success for a period report without a lock date",
            "RES-5",
        ),
    ):
        yield case(name, signed(of), f"signed as it is: {what}", requirement, BAD_RESULT)


def acks(world: World) -> Iterator[Case]:
    """Yield the cases of `.ack`."""
    result = success(world)
    ack = Ack(
        name=result.name,
        card_no=result.card_no,
        report_digest=DIGEST,
        result_no=17,
        result_sha256=hashlib.sha256(render_result(result)).hexdigest(),
        cleared_at=NOW,
        lock_date=date(2026, 8, 17),
    )
    body = render_ack(ack)
    good = writer.text(body, world.card, NOW)

    def case(name: str, data: bytes, what: str, requirement: str, exit_code: int = GOOD) -> Case:
        return Case(f"ack/{name}.ack", data, what, requirement, exit_code)

    yield case("valid", good, "a clear receipt", "ACK-2")
    yield case("valid-lf", good.replace(b"\r\n", b"\n"), "LF for CR LF throughout", "ACK-1")
    yield case("empty", b"", "no octets", "ACK-1", BAD_ACK)
    yield case("cut-short", good[: len(good) // 2], "the second half is missing", "ACK-1", BAD_ACK)
    yield case("altered", good.replace(b"2026-08-17", b"2026-09-17", 1), "another lock date", "ACK-1", SIGNATURE)
    yield case(
        "signed-by-bureau",
        writer.text(body, world.result, NOW),
        "signed with the key for results",
        "TRUST-10",
        SIGNATURE,
    )
    yield case("other-card", writer.text(body, world.card_rsa, NOW), "signed by another card", "ACK-3", SIGNATURE)
    yield case(
        "expired",
        writer.text(_lines(body, 分机号="3", 卡号="TC0000000003"), world.expired, NOW),
        "a card whose certificate has expired",
        "TRUST-13",
        CERTIFICATE,
    )
    yield case(
        "revoked",
        writer.text(_lines(body, 分机号="2", 卡号="TC0000000002"), world.revoked, NOW),
        "a card that is on the revocation list",
        "TRUST-16",
        CERTIFICATE,
    )
    yield case(
        "line-missing",
        writer.text(body.replace(b"2026-08-17\r\n", b"\r\n"), world.card, NOW),
        "signed as it is: no lock date",
        "ACK-2",
        BAD_ACK,
    )


def receipts(world: World) -> Iterator[Case]:
    """Yield the cases of upload receipts."""
    body = render_receipt(Receipt(name_of(world.card), DIGEST, "R2008071800001", NOW, 600))

    def case(name: str, data: bytes, what: str, requirement: str, exit_code: int = GOOD) -> Case:
        return Case(f"receipt/{name}.txt", data, what, requirement, exit_code)

    good = writer.text(body, world.result, NOW)
    yield case("valid", good, "the receipt of an upload", "RES-30")
    yield case(
        "wrong-role", writer.text(body, world.trust, NOW), "signed with the key for trust files", "GW-3", SIGNATURE
    )
    yield case("altered", good.replace(b"600", b"601", 1), "another waiting time", "GW-3", SIGNATURE)
    yield case(
        "foreign-root", writer.text(body, world.foreign_result, NOW), "signed under another root", "GW-3", CERTIFICATE
    )
    yield case(
        "too-patient",
        writer.text(_lines(body, 查询等待秒数="604801"), world.result, NOW),
        "signed as it is: more than a week to wait",
        "RES-30",
        BAD_RESULT,
    )


def trusts(world: World) -> Iterator[Case]:
    """Yield the cases of trust files."""
    first = TrustFile(
        version=1,
        issued_at=NOW - timedelta(days=2),
        roots=(world.root,),
        intermediates=(world.issuing,),
        certificates={
            Role.BUREAU_RESULT: (world.result.certificate,),
            Role.BUREAU_ENVELOPE: (world.envelope_rsa, world.envelope_p256),
            Role.TRUST: (world.trust.certificate,),
        },
        crls=world.lists(1),
        calendar={"2026-08": 17, "2026-09": 15},
        gateways=("https://bureau.example.cn",),
    )
    second = replace(first, version=2, issued_at=NOW - timedelta(days=1), crls=world.lists(2))

    def signed(trust: TrustFile | bytes, by: Fixed = world.trust) -> bytes:
        body = trust if isinstance(trust, bytes) else render_trust_body(trust)
        return writer.text(body, by, NOW)

    def case(name: str, data: bytes, what: str, requirement: str, exit_code: int = GOOD, held: str = "") -> Case:
        return Case(f"trust/{name}.txt", data, what, requirement, exit_code, held=held)

    one, two = signed(first), signed(second)
    yield case("valid-1", one, "version 1, believed by whoever believes root.pem", "TRUST-2")
    yield case("valid-2", two, "its successor", "TRUST-8", held="trust/valid-1.txt")
    yield case("valid-again", one, "the very file that is in force", "TRUST-7", held="trust/valid-1.txt")
    moved = replace(
        second,
        roots=(world.root, world.next_root),
        handovers=(world.handover,),
        crls=(*world.lists(2), world.next_list),
    )
    yield case(
        "valid-new-root", signed(moved), "a second root, handed over by the first", "TRUST-5", held="trust/valid-1.txt"
    )
    yield case("empty", b"", "no octets", "TRUST-1", BAD_TRUST)
    yield case("cut-short", one[: len(one) // 2], "the second half is missing", "TRUST-1", BAD_TRUST)
    yield case("altered", one.replace(b"2026-08: 17", b"2026-08: 18", 1), "another filing day", "TRUST-1", SIGNATURE)
    yield case("wrong-role", signed(first, world.result), "signed with the key for results", "TRUST-1", SIGNATURE)
    foreign = replace(first, roots=(world.foreign_root,), intermediates=(), crls=())
    yield case(
        "other-root", signed(foreign, world.foreign_trust), "another root than the one believed", "TRUST-6", TRUST
    )
    yield case("older", one, "version 1 where version 2 is in force", "TRUST-7", OUTDATED, held="trust/valid-2.txt")
    other = replace(first, gateways=("https://other.example.cn",))
    yield case(
        "same-version-other-text",
        signed(other),
        "another text of the same version",
        "TRUST-7",
        TRUST,
        held="trust/valid-1.txt",
    )
    mixed = replace(second, version=3, issued_at=NOW, crls=world.lists(1))
    yield case(
        "mixed",
        signed(mixed),
        "version 3 with the revocation lists of version 1",
        "TRUST-8",
        TRUST,
        held="trust/valid-2.txt",
    )
    alone = render_trust_body(moved).replace(x509_text(world.handover), x509_text(world.false_handover))
    yield case(
        "false-handover",
        signed(alone),
        "a second root that the first did not hand over to",
        "TRUST-5",
        TRUST,
        held="trust/valid-1.txt",
    )
    body = render_trust_body(first)
    calendar = "申报截止 2026-09: 15\r\n".encode()
    yield case(
        "calendar-twice",
        signed(body.replace(calendar, calendar * 2)),
        "signed as it is: a month stands twice",
        "TRUST-2",
        BAD_TRUST,
    )
    place = "证书 bureau-result 1: ".encode()
    start = body.index(place) + len(place)
    envelope = x509_text(world.envelope_rsa)
    swapped = body[:start] + envelope + body[body.index(b"\r\n", start) :]
    yield case(
        "role-of-line",
        signed(swapped),
        "signed as it is: an envelope certificate in the line of results",
        "TRUST-2",
        BAD_TRUST,
    )


def x509_text(certificate: x509.Certificate) -> bytes:
    """Return a certificate as it stands in a trust file."""
    return base64.b64encode(certificate.public_bytes(Encoding.DER))


def cases() -> list[Case]:
    """Return every case."""
    world = World()
    return [*reports(world), *results(world), *acks(world), *receipts(world), *trusts(world)]
