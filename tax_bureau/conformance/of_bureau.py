"""Plays a client against any bureau, honest and otherwise, and notes what it does (GW-*, RES-30, RES-31, JUDGE-15, JUDGE-17)."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from shared.clock import CHINA, Clock, parse_time
from shared.envelope.chain import TrustStore
from shared.envelope.roles import Role, fingerprint
from shared.envelope.seal import SealedReport
from shared.envelope.textsign import sign_text
from shared.errors import TaxferryError
from shared.httpsig import content_digest
from shared.keys.port import Signer
from shared.model.ack import Ack, render_ack
from shared.model.receipt import Receipt, prove_receipt
from shared.model.result import ProvenResult, is_processing, prove_result
from shared.model.standing import parse_report_status, parse_standing
from shared.model.trust import prove_trust
from shared.text import Text
from tax_bureau.conformance.findings import Findings
from tax_bureau.conformance.papers import Maker, Papers, cannot, stranger
from tax_bureau.conformance.wire import Answer, Fields, Wire, covering

_OWN_SIDE: Final = Text("约束客户端，不约束税局", "binds the client, not the bureau")
_LATER: Final = Text("在此之前的步骤没有成功", "a step before it did not succeed")
_NEEDS_OTHER: Final = Text("需要另一纳税人的密钥（--other-key）", "needs another taxpayer's key (--other-key)")
_TAKES_DAYS: Final = Text("要等一小时以上或数日才能看到", "shows only after an hour or days")

REASONS: Final[dict[str, Text]] = {
    **{f"GW-{n}": _OWN_SIDE for n in (1, 2, 3, 6, 7, 8, 9, 12, 16, 38, 39)},
    **{f"GW-{n}": _LATER for n in (4, 5, 10, 11, 13, 15, 20, 21, 22, 23, 24, 25, 26, 27, 30, 31, 32, 33, 34, 36)},
    "GW-14": _NEEDS_OTHER,
    "GW-17": Text("要把税局压满才看得出", "only a bureau that is full would show it"),
    "GW-18": Text("是为了查日志方便，没有也不影响报税", "eases the reading of logs, and changes nothing for a report"),
    "GW-19": Text("排队的长短从外面看不出", "how long the queue is cannot be seen from outside"),
    "GW-35": _NEEDS_OTHER,
    "GW-37": _TAKES_DAYS,
    "RES-1": _LATER,
    "RES-2": Text("没有遇到 Y", "no Y was met"),
    "RES-3": _LATER,
    "RES-30": _LATER,
    "RES-31": _LATER,
    "TRUST-1": _LATER,
    "JUDGE-11": Text("没有遇到可重发的失败", "no failure was met that the same bytes mend"),
    "JUDGE-15": _LATER,
    "JUDGE-17": Text("没有等到报税成功", "there was no success in time"),
}
"""Every requirement that a bureau is asked about, and why it is not observed unless it is."""

_REFUSED: Final = (400, 401, 403)


def examine(
    wire: Wire, papers: Papers, *, patience: float, pause: Callable[[float], None], progress: Callable[[Text], None]
) -> Findings:
    """Examine a bureau.

    Args:
        wire: The way to it.
        papers: What the examiner holds.
        patience: Seconds to wait for each result.
        pause: Waits.
        progress: Told what comes next.

    Raises:
        CannotExamine: It gives no trust file that proves: nothing can be sealed for it.
    """
    findings = Findings("bureau", REASONS)
    examiner = _Examiner(wire, papers, findings, patience, pause)
    examiner.trust()
    for words, step in (
        (Text("问企业情况和没有收到过的报告", "standing, and a report never received"), examiner.questions),
        (Text("请求签名", "signatures of requests"), examiner.signatures),
        (Text("整份上传和回执", "uploads and receipts"), examiner.uploads),
        (Text("分段上传", "uploads in parts"), examiner.parts),
        (Text("结果和清卡回执", "results and clear receipts"), examiner.results),
        (Text("失败后重发", "sending again after a failure"), examiner.resending),
    ):
        progress(words)
        step()
    return findings


@dataclass
class _Sent:
    """A report that was uploaded."""

    data: bytes
    report: SealedReport
    first: Answer
    receipt: Receipt | None = None

    @property
    def digest(self) -> str:
        return self.report.digest

    @property
    def path(self) -> str:
        return f"/v1/reports/{self.digest}"


class _Examiner:
    def __init__(
        self, wire: Wire, papers: Papers, findings: Findings, patience: float, pause: Callable[[float], None]
    ) -> None:
        self.wire = wire
        self.papers = papers
        self.findings = findings
        self.patience = patience
        self.pause = pause
        self.clock: Clock = wire.clock
        self.store: TrustStore | None = None
        self.maker: Maker | None = None

    # --- helpers ----------------------------------------------------------------------------------------------------

    def expect(self, requirement: str, ok: object, zh: str, en: str, seen: object = "") -> bool:
        return self.findings.expect(requirement, ok, Text(zh, en), seen)

    def ask(self, method: str, target: str, body: bytes | None = None, **how: Any) -> Answer:
        return self.wire.ask(how.pop("by", self.papers.key), method, target, body, **how)

    def _nowhere(self) -> str:
        return f"/v1/reports/{secrets.token_hex(32)}"

    def _refuses(self, requirement: str, answer: Answer, zh: str, en: str) -> None:
        self.expect(requirement, answer.status in _REFUSED, zh, en, answer)

    def _upload(self, **how: Any) -> _Sent:
        assert self.maker is not None
        data, report = self.maker.make(**how)
        sent = _Sent(data, report, self.ask("PUT", f"/v1/reports/{report.digest}", data))
        if sent.first.status == 201:
            sent.receipt = self._receipt(sent, sent.first.body)
        return sent

    def _receipt(self, sent: _Sent, body: bytes) -> Receipt | None:
        assert self.store is not None
        try:
            return prove_receipt(body, self.store, at=self.clock.now()).receipt
        except TaxferryError:
            return None

    def _result(self, sent: _Sent, *, above: int = 0) -> ProvenResult | None:
        """Wait for a result with a higher number; None if there is none in time."""
        assert self.store is not None
        left = self.patience
        while True:
            answer = self.ask("GET", f"{sent.path}/result")
            wait = 1.0
            if answer.status == 202 or is_processing(answer.body):
                self.expect(
                    "RES-2",
                    is_processing(answer.body),
                    "没有结果时只回答 Y",
                    "without a result the answer is Y",
                    answer,
                )
                wait = float(answer.headers.get("retry-after", "1") or 1)
            elif answer.status == 200:
                try:
                    proven = prove_result(answer.body, self.store, at=self.clock.now())
                except TaxferryError as error:
                    self.expect("RES-1", False, "结果能证明", "a result proves", error.text.en)
                    return None
                if proven.result.result_no > above:
                    return proven
            else:
                return None
            if left <= 0:
                return None
            wait = min(max(wait, 0.05), left, 5.0)
            left -= wait
            self.pause(wait)

    # --- what comes first -------------------------------------------------------------------------------------------

    def trust(self) -> None:
        """Fetch the trust file: without it nothing can be sealed."""
        answer = self.ask("GET", "/v1/trust")
        if answer.status != 200:
            raise cannot(f"取不到信任文件（{answer}）", f"there is no trust file ({answer})")
        try:
            found = prove_trust(answer.body, root=self.papers.root, at=self.clock.now())
        except TaxferryError as error:
            raise cannot(
                f"信任文件不能证明：{error.text.zh}", f"the trust file does not prove: {error.text.en}"
            ) from None
        self.expect("TRUST-1", True, "信任文件能证明", "the trust file proves")
        self.store = found.store()
        self.maker = Maker(self.papers.card, found.certificates[Role.BUREAU_ENVELOPE], self.clock)

    def questions(self) -> None:
        """Standing, and what there is to say about a report that was never received."""
        now = self.clock.now().astimezone(CHINA)
        answer = self.ask("GET", f"/v1/taxpayers/{self.papers.taxpayer_id}/standing?period={now:%Y-%m}")
        try:
            standing = parse_standing(answer.body) if answer.status == 200 else None
        except TaxferryError:
            standing = None
        if self.expect("GW-10", standing, "企业情况是规定的 JSON", "a standing is the JSON of the page", answer):
            assert standing is not None
            self.expect("GW-10", standing.enrolled, "已开户的说已开户", "who is enrolled is said to be", answer)
            named = fingerprint(self.papers.key.certificate) in standing.key_fingerprints
            self.expect("GW-10", named, "登记的公钥列在其中", "the key on file is named", answer)
        unknown = self.ask("GET", self._nowhere())
        self.expect("GW-11", unknown.status == 404, "没有收到过的报告是 404", "a report never received is 404", unknown)
        shaped = unknown.is_problem and {"type", "title", "status", "detail", "code"} <= set(unknown.members)
        self.expect(
            "GW-13",
            shaped,
            "拒绝是 problem+json，五个成员齐全",
            "a refusal is problem+json with its five members",
            unknown,
        )

    # --- signatures -------------------------------------------------------------------------------------------------

    def signatures(self) -> None:
        """Requests that are signed otherwise than the profile says; `404` is what an honest one gets."""
        target = self._nowhere()

        def signed(**how: Any) -> Fields:
            return self.wire.sign(self.papers.key, "GET", target, **how)

        def send(fields: Fields, **how: Any) -> Answer:
            return self.wire.send("GET", target, None, fields, **how)

        def instead(fields: Fields, name: str, value: str) -> Fields:
            return [(known, value if known == name else old) for known, old in fields]

        honest = send(signed())
        if not self.expect(
            "GW-21", honest.status == 404, "正确签名的请求被接受", "a request that is signed right is admitted", honest
        ):
            return

        good = signed()
        self._refuses("GW-20", send([]), "没有签名的请求被拒绝", "a request without signature is refused")
        self._refuses("GW-20", send([*good, *good]), "两个签名字段被拒绝", "fields that stand twice are refused")
        given, octets = dict(good)["Signature-Input"], dict(good)["Signature"]
        two = instead(
            instead(good, "Signature-Input", f"{given}, {given.replace('taxferry=', 'b=', 1)}"),
            "Signature",
            f"{octets}, {octets.replace('taxferry=', 'b=', 1)}",
        )
        self._refuses("GW-20", send(two), "同一字段里两个签名被拒绝", "two signatures in one field are refused")
        self._refuses("GW-20", send(self._resigned(target, label="sig1")), "别的标签被拒绝", "another label is refused")

        order = ["@method", "@authority", "@path", "@query"]
        for components, zh, en in (
            (order[:3], "少签一项", "less is covered"),
            ([*order, "content-type"], "多签一项", "more is covered"),
            ([order[1], order[0], *order[2:]], "次序不同", "in another order"),
        ):
            answer = send(self._resigned(target, components=components))
            self._refuses("GW-21", answer, f"{zh}的签名被拒绝", f"refused if {en}")
        moved = self.wire.send("GET", self._nowhere(), None, signed())
        self._refuses("GW-21", moved, "给别的路径的签名被拒绝", "the signature of another path is refused")

        path, body = f"{self._nowhere()}/ack", b"x"
        fields = self.wire.sign(self.papers.key, "PUT", path, body)
        bare = self.wire.sign(self.papers.key, "PUT", path)
        self._refuses(
            "GW-22",
            self.wire.send("PUT", path, body, bare),
            "有内容而无 Content-Digest 被拒绝",
            "a body without Content-Digest is refused",
        )
        self._refuses(
            "GW-22",
            self.wire.send("PUT", path, b"y", fields),
            "内容与摘要不符被拒绝",
            "a body that is not its digest's is refused",
        )

        for change, zh, en in (
            (lambda p: p.replace(';tag="taxferry"', ""), "没有 tag", "there is no tag"),
            (lambda p: p.replace('tag="taxferry"', 'tag="other"'), "tag 不同", "the tag is another"),
            (_created_last, "参数次序不同", "the parameters are in another order"),
        ):
            answer = send(self._resigned(target, parameters=change))
            self._refuses("GW-23", answer, f"{zh}的签名被拒绝", f"refused if {en}")
        short = send(self._resigned(target, nonce="tooshort"))
        self._refuses("GW-23", short, "太短的随机数被拒绝", "a nonce that is too short is refused")

        right = 'alg="ecdsa-p256-sha256"' if "ecdsa" in given else 'alg="rsa-v1_5-sha256"'
        other = 'alg="rsa-v1_5-sha256"' if "ecdsa" in given else 'alg="ecdsa-p256-sha256"'
        for wrong in (other, 'alg="rsa-pss-sha512"'):
            answer = send(self._resigned(target, parameters=_with(right, wrong)))
            self._refuses("GW-24", answer, f"{wrong} 被拒绝", f"{wrong} is refused")
        spoiled = bytearray(base64.b64decode(octets.partition(":")[2].rstrip(":")))
        spoiled[-1] ^= 1
        nonce = secrets.token_hex(16)
        fields = signed(nonce=nonce)
        false = send(instead(fields, "Signature", f"taxferry=:{base64.b64encode(bytes(spoiled)).decode()}:"))
        self._refuses("GW-24", false, "签名不对的请求被拒绝", "a signature that does not verify is refused")

        self._authority(target)
        self._freshness(signed, send)
        once = send(fields)
        self.expect("GW-27", once.status == 404, "签名不对的请求不占用随机数", "a false request uses up no nonce", once)
        self._refuses("GW-27", send(fields), "同一请求再来被拒绝", "the same request again is refused")

        unknown = self.ask("GET", target, by=stranger(self.clock.now()))
        known = unknown.status == 403 and unknown.members.get("code") == "2734"
        self.expect(
            "GW-13", known, "没有登记的密钥得 403 和 2734", "a key that is not on file gets 403 with 2734", unknown
        )
        if self.papers.unenrolled is not None:
            not_yet = self.ask("GET", target, by=self.papers.unenrolled)
            right_code = not_yet.status == 403 and not_yet.members.get("code") == "2735"
            self.expect(
                "GW-13", right_code, "没有开户的得 403 和 2735", "who is not enrolled gets 403 with 2735", not_yet
            )

    def _resigned(
        self,
        target: str,
        *,
        components: list[str] | None = None,
        parameters: Callable[[str], str] = lambda given: given,
        label: str = "taxferry",
        nonce: str | None = None,
        values: dict[str, str] | None = None,
    ) -> Fields:
        """Return fields whose signature holds over another base than the profile's."""
        given = self.wire.sign(self.papers.key, "GET", target)
        value = dict(given)["Signature-Input"]
        if components is not None:
            value = covering(given, components)
        value = parameters(value.removeprefix("taxferry="))
        if nonce is not None:
            value = value.replace(value.partition('nonce="')[2].partition('"')[0], nonce)
        named = components or ["@method", "@authority", "@path", "@query"]
        path, _, query = target.partition("?")
        path = urlsplit(self.wire.url).path + path
        derived = {"@method": "GET", "@authority": self.wire.authority, "@path": path, "@query": f"?{query}"}
        derived |= {"content-type": "text/plain"} | (values or {})
        base = "\n".join([*(f'"{name}": {derived[name]}' for name in named), f'"@signature-params": {value}'])
        octets = _raw(self.papers.key, base.encode("ascii"))
        extra = [("Content-Type", "text/plain")] if "content-type" in named else []
        return [
            *extra,
            ("Signature-Input", f"{label}={value}"),
            ("Signature", f"{label}=:{base64.b64encode(octets).decode()}:"),
        ]

    def _authority(self, target: str) -> None:
        parts = urlsplit(self.wire.url)
        host = parts.hostname or ""
        local = host in ("127.0.0.1", "::1")
        if not local and not any(letter.isalpha() for letter in host):
            return
        netloc = f"localhost:{parts.port}" if local else parts.netloc
        url = f"{parts.scheme}://{netloc}{parts.path}"
        fields = self.wire.sign(self.papers.key, "GET", target, url=url)
        answer = self.wire.send("GET", target, None, fields, host=netloc.upper())
        self.expect(
            "GW-25",
            answer.status == 404,
            "Host 用大写，仍按小写验证签名",
            "a Host in capitals is verified in lower case",
            answer,
        )
        capital = self._resigned(target, values={"@authority": netloc.upper()})
        self._refuses(
            "GW-25",
            self.wire.send("GET", target, None, capital, host=netloc),
            "按大写签名的被拒绝",
            "a signature over capitals is refused",
        )
        no_query = self._resigned(target, values={"@query": ""})
        self._refuses(
            "GW-25",
            self.wire.send("GET", target, None, no_query),
            "没有查询时 @query 是 ?，别的写法被拒绝",
            "an absent query is ?, and nothing else",
        )

    def _freshness(self, signed: Callable[..., Fields], send: Callable[..., Answer]) -> None:
        now = int(self.clock.now().timestamp())
        for offset in (-290, 290):
            answer = send(signed(created=now + offset))
            self.expect(
                "GW-26",
                answer.status == 404,
                f"相差 {offset} 秒的请求被接受",
                f"a request {offset} s off is admitted",
                answer,
            )
        for offset in (-310, 310):
            answer = send(signed(created=now + offset))
            self.expect(
                "GW-26",
                answer.status in _REFUSED,
                f"相差 {offset} 秒的请求被拒绝",
                f"a request {offset} s off is refused",
                answer,
            )
            if answer.status in _REFUSED:
                skewed = answer.status == 401 and answer.kind.endswith("clock-skew")
                self.expect(
                    "GW-15",
                    skewed,
                    "拒绝是 401，类型以 clock-skew 结尾",
                    "it is a 401 whose type ends in clock-skew",
                    answer,
                )
                told = any(_is_time(value) for value in answer.members.values())
                self.expect("GW-15", told, "拒绝里有税局时间", "it tells the bureau's time", answer)

    # --- uploads ----------------------------------------------------------------------------------------------------

    def uploads(self) -> None:
        """Whole uploads: once, twice, under a wrong digest, by somebody else."""
        assert self.maker is not None
        sent = self._upload()
        first = sent.first.status == 201
        self.expect("GW-4", first, "第一次上传回答 201", "the first upload is answered 201", sent.first)
        if not first:
            return
        receipt = sent.receipt
        if self.expect("RES-30", receipt, "回执能证明，行齐全", "the receipt proves and has its lines", sent.first):
            assert receipt is not None
            of_it = (receipt.report_digest, receipt.name) == (sent.digest, sent.report.header.name)
            self.expect("RES-30", of_it, "回执是这份报告的", "the receipt is this report's", sent.first)
        again = self.ask("PUT", sent.path, sent.data)
        self.expect("GW-4", again.status == 200, "再次上传回答 200", "a later upload is answered 200", again)
        if again.status in (200, 201):
            self.expect(
                "RES-31", again.body == sent.first.body, "每次都是同一份回执", "it is always the same receipt", again
            )
        self._status_of(sent)

        data, report = self.maker.make()
        false = self._nowhere()
        mismatch = self.ask("PUT", false, data)
        self.expect(
            "GW-5",
            mismatch.status == 422,
            "摘要与路径不符回答 422",
            "an upload of another digest is answered 422",
            mismatch,
        )
        for path in (false, f"/v1/reports/{report.digest}"):
            kept = self.ask("GET", path)
            self.expect("GW-5", kept.status == 404, "其后什么也没有留下", "nothing of it is kept", kept)

        second, other = self.maker.make(sequence=sent.report.header.sequence)
        taken = self.ask("PUT", f"/v1/reports/{other.digest}", second)
        self.expect(
            "JUDGE-15",
            taken.status == 409,
            "同一次抄税的另一份报告得 409",
            "another report of the same copy gets 409",
            taken,
        )

        if self.papers.other is not None:
            for method, path, body in (
                ("GET", sent.path, None),
                ("GET", f"{sent.path}/result", None),
                ("PUT", sent.path, sent.data),
            ):
                answer = self.ask(method, path, body, by=self.papers.other)
                self.expect(
                    "GW-14", answer.status == 403, f"别人 {method} 得 403", f"somebody else's {method} gets 403", answer
                )
            fresh, made = self.maker.make()
            answer = self.ask("PUT", f"/v1/reports/{made.digest}", fresh, by=self.papers.other)
            self.expect("GW-14", answer.status == 403, "别人上传得 403", "somebody else's upload gets 403", answer)

    def _status_of(self, sent: _Sent) -> None:
        answer = self.ask("GET", sent.path)
        self.expect("GW-5", answer.status != 404, "受理后不再回答 404", "after accepting there is no 404", answer)
        if answer.status == 404:
            return
        try:
            status = parse_report_status(answer.body) if answer.status == 200 else None
        except TaxferryError:
            status = None
        if self.expect("GW-11", status, "状态是规定的 JSON", "a status is the JSON of the page", answer):
            assert status is not None
            has_it = status.report_digest == sent.digest and status.state not in ("partial", "receiving")
            self.expect(
                "GW-11",
                has_it,
                "受理后的状态不是 partial 或 receiving",
                "its state says that the bureau has it",
                answer,
            )

    # --- parts ------------------------------------------------------------------------------------------------------

    def _part(self, data: bytes, path: str, first: int, last: int, **how: Any) -> Answer:
        body = how.pop("body", data[first : last + 1])
        total = how.pop("total", len(data))
        whole = how.pop("whole", hashlib.sha256(data).digest())
        fields = {"Content-Range": f"bytes {first}-{last}/{total}"}
        if whole:
            fields["Repr-Digest"] = content_digest(whole)
        return self.ask("PUT", path, body, fields=fields, **how)

    def _offset(self, path: str, **how: Any) -> Any:
        answer = self.ask("GET", path, **how)
        members = answer.members if answer.status == 200 else {}
        return members.get("offset") if members.get("state") == "partial" else f"{answer.status}"

    def parts(self) -> None:
        """Uploads in parts, whole and broken."""
        assert self.maker is not None
        data, report = self.maker.make()
        path = f"/v1/reports/{report.digest}"
        one, two = len(data) // 3, 2 * len(data) // 3
        first = self._part(data, path, 0, one - 1)
        if not self.expect("GW-30", first.status == 202, "一段被接受", "a part is taken", first):
            return
        acknowledged = first.members.get("state") == "partial" and first.members.get("offset") == one
        self.expect(
            "GW-32",
            acknowledged,
            "202 带状态 partial 和下一段的位置",
            "202 has the status partial and the offset",
            first,
        )
        long = self._part(data, path, one, two - 1, body=data[one:two] + b"x")
        self.expect(
            "GW-30", long.status == 400, "与 Content-Range 不等长得 400", "a body of another length gets 400", long
        )
        nameless = self._part(data, path, one, two - 1, whole=b"")
        self.expect(
            "GW-30", nameless.status == 400, "没有 Repr-Digest 得 400", "without Repr-Digest it gets 400", nameless
        )
        huge = self._part(data, path, one, two - 1, total=(1 << 30) + 1)
        self.expect("GW-30", huge.status == 413, "超过 1 GiB 的文件得 413", "a file above 1 GiB gets 413", huge)
        large = self._part(data, self._nowhere(), 0, 8 << 20, total=(8 << 20) + 2, body=bytes((8 << 20) + 1))
        self.expect("GW-30", large.status == 413, "超过 8 MiB 的段得 413", "a part above 8 MiB gets 413", large)

        ahead = self._part(data, path, two, len(data) - 1)
        at = ahead.status == 409 and ahead.kind == "part-offset" and ahead.members.get("offset") == one
        self.expect(
            "GW-31",
            at,
            "不从该处开始的段得 409 part-offset 和位置",
            "a part from elsewhere gets 409 part-offset with the offset",
            ahead,
        )
        twice = self._part(data, path, 0, one - 1)
        self.expect(
            "GW-31",
            twice.status == 202 and twice.members.get("offset") == one,
            "已有的段再来照样确认，不改变什么",
            "a part that is there is acknowledged and changes nothing",
            twice,
        )

        spoiled = self._part(data, path, one, two - 1, promised=hashlib.sha256(b"other").digest())
        self.expect(
            "GW-32", spoiled.status == 400, "与摘要不符的段得 400", "a part that is not its digest's gets 400", spoiled
        )
        self._part(data, path, one, two - 1, cut=(two - one) // 2)
        offset = self._offset(path)
        self.expect("GW-32", offset == one, "坏段和半段都不算", "spoiled and half parts do not count", offset)

        other = self._part(data, path, one, two - 1, whole=hashlib.sha256(b"other").digest())
        gives_way = other.status == 409 and other.kind == "other-upload" and "retry-after" in other.headers
        self.expect(
            "GW-34",
            gives_way,
            "另一个文件的段得 409 other-upload 和 Retry-After",
            "a part of another file gets 409 other-upload and Retry-After",
            other,
        )
        if self.papers.other is not None:
            seen = self.ask("GET", path, by=self.papers.other)
            self.expect(
                "GW-35", seen.status == 404, "别人看不到没传完的段", "nobody else sees an upload under way", seen
            )

        middle = self._part(data, path, one, two - 1)
        last = self._part(data, path, two, len(data) - 1)
        done = middle.status == 202 and last.status == 201
        if self.expect(
            "GW-33", done, "最后一段的回答是回执（201）", "the last part is answered by the receipt (201)", last
        ):
            sent = _Sent(data, report, last)
            self.expect("GW-33", self._receipt(sent, last.body), "回执能证明", "the receipt proves", last)
            late = self._part(data, path, 0, one - 1)
            same = late.status == 200 and late.body == last.body
            self.expect(
                "GW-36",
                same,
                "受理后任一段都得 200 和同一回执",
                "any part of it gets 200 and the same receipt afterwards",
                late,
            )
        self._spoiled_wholes()

    def _spoiled_wholes(self) -> None:
        assert self.maker is not None
        data, report = self.maker.make()
        path, half = f"/v1/reports/{report.digest}", len(data) // 2
        false = hashlib.sha256(b"another file").digest()
        self._part(data, path, 0, half - 1, whole=false)
        ended = self._part(data, path, half, len(data) - 1, whole=false)
        self.expect(
            "GW-33",
            ended.status == 400,
            "合起来与 Repr-Digest 不符得 400",
            "a whole that is not its Repr-Digest's gets 400",
            ended,
        )
        offset = self._offset(path)
        self.expect("GW-33", offset == "404", "其后什么也没有留下", "nothing of it is kept", offset)
        nowhere = self._nowhere()
        self._part(data, nowhere, 0, half - 1)
        ended = self._part(data, nowhere, half, len(data) - 1)
        self.expect(
            "GW-33", ended.status == 422, "合起来是另一份报告得 422", "a whole that is another report gets 422", ended
        )

    # --- results ----------------------------------------------------------------------------------------------------

    def results(self) -> None:
        """An ad hoc report without business: whatever else a bureau checks, this one is in order."""
        sent = self._upload()
        if sent.receipt is None:
            return
        proven = self._result(sent)
        if proven is None:
            return
        self.expect("RES-1", True, "结果能证明", "a result proves")
        result, header = proven.result, sent.report.header
        fits = (result.name, result.card_no, result.report_digest, result.nonce, result.receipt_no) == (
            header.name,
            header.card_no,
            sent.digest,
            header.nonce,
            sent.receipt.receipt_no,
        )
        self.expect("RES-3", fits, "结果指明这份报告", "a result names its report", proven.body.decode()[:200])
        if result.outcome != "success":
            return
        ack = Ack(
            name=result.name,
            card_no=result.card_no,
            report_digest=result.report_digest,
            result_no=result.result_no,
            result_sha256=proven.body_sha256,
            cleared_at=self.clock.now().replace(microsecond=0),
            lock_date=result.lock_date or self.clock.now().date(),
        )
        path = f"{sent.path}/ack"

        def signed(which: Ack, by: Signer) -> bytes:
            return sign_text(render_ack(which), by, signing_time=which.cleared_at)

        for body, zh, en in (
            (signed(ack, self.papers.key), "不是金税卡签的", "that no card signed"),
            (
                signed(replace(ack, result_no=ack.result_no + 1), self.papers.card),
                "结果序号不对的",
                "with another number",
            ),
            (signed(replace(ack, result_sha256="0" * 64), self.papers.card), "结果摘要不对的", "with another digest"),
        ):
            answer = self.ask("PUT", path, body)
            refused = 400 <= answer.status < 500
            self.expect("JUDGE-17", refused, f"{zh}清卡回执被拒绝", f"a clear receipt {en} is refused", answer)
        for zh, en in (("清卡回执被接受", "a clear receipt is taken"), ("清卡回执可以再来", "it may come again")):
            answer = self.ask("PUT", path, signed(ack, self.papers.card))
            self.expect("JUDGE-17", 200 <= answer.status < 300, zh, en, answer)
        state = self.ask("GET", sent.path).members.get("state")
        self.expect("JUDGE-17", state == "closed", "报告随之结束（closed）", "the report is closed by it", state)

    def resending(self) -> None:
        """A period report of a month that nobody declared: 271D, which the same bytes can mend."""
        sent = self._upload(period=True)
        if sent.receipt is None:
            return
        failed = self._result(sent)
        if failed is None or failed.result.code != "271D":
            return
        again = self.ask("PUT", sent.path, sent.data)
        self.expect(
            "GW-4",
            again.status == 200,
            "可重发的失败后再传，得 200",
            "sent again after a failure that it mends: 200",
            again,
        )
        same = again.body == sent.first.body
        self.expect("RES-31", same, "还是同一份回执", "it is the same receipt still", again)
        pending = self.ask("GET", f"{sent.path}/result")
        # It may have been judged anew before we asked; then only the number tells.
        number = _number(self, pending) if pending.status == 200 else None
        reopened = pending.status == 202 or (number is not None and number > failed.result.result_no)
        self.expect(
            "GW-4", reopened, "重新审核，之后是 Y 或新结果", "it is judged again: Y, or a newer result", pending
        )
        later = self._result(sent, above=failed.result.result_no)
        self.expect("JUDGE-11", later, "后一个结果的序号更高", "a later result has a higher number", "none in time")


def _number(examiner: _Examiner, answer: Answer) -> int | None:
    assert examiner.store is not None
    try:
        return prove_result(answer.body, examiner.store, at=examiner.clock.now()).result.result_no
    except TaxferryError:
        return None


def _with(old: str, new: str) -> Callable[[str], str]:
    return lambda parameters: parameters.replace(old, new)


def _created_last(parameters: str) -> str:
    covered, _, rest = parameters.partition(";created=")
    created, _, others = rest.partition(";")
    return f"{covered};{others};created={created}"


def _raw(signer: Signer, base: bytes) -> bytes:
    """Return a request signature's octets (GW-24)."""
    signature = signer.sign(base)
    if signer.algorithm != "ecdsa-p256-sha256":
        return signature
    r, s = decode_dss_signature(signature)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _is_time(value: object) -> bool:
    try:
        parse_time(str(value))
    except ValueError:
        return False
    return True
