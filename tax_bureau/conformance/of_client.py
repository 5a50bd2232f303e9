"""Plays a bureau against any client, by a script for each report, and judges what the client did by what it sent."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from shared.clock import CHINA, Clock, format_time
from shared.envelope.roles import fingerprint
from shared.envelope.textsign import sign_text
from shared.errors import SignatureRefused
from shared.httpsig import WINDOW_SECONDS, content_digest, parse_content_digest, parse_signature, verify_request
from shared.ids import Nonce
from shared.model.receipt import Receipt, render_receipt
from shared.model.result import Result, render_result
from shared.text import Text
from tax_bureau.conformance.findings import Findings
from tax_bureau.conformance.theatre import HELD, TAXPAYER, Prop, Scene, World

_BUREAU: Final = Text("约束税局，不约束客户端", "binds the bureau, not the client")
_INSIDE: Final = Text(
    "在客户端内部：从外面只能由 GW-2、GW-3、GW-6 间接看出",
    "inside the client: outside it shows only by GW-2, GW-3 and GW-6",
)
_LATER: Final = Text("客户端没有走到这一步", "the client did not come that far")
_NEVER: Final = Text("客户端没有发出请求", "the client sent no request")

REASONS: Final[dict[str, Text]] = {
    "GW-1": _INSIDE,
    "GW-2": _LATER,
    "GW-3": _LATER,
    **{f"GW-{n}": _BUREAU for n in (4, 5, 11, 13, 14, 15)},
    "GW-6": _LATER,
    "GW-7": Text("在客户端内部：要在它运行时断电才看得出", "inside the client: only cutting its power would show it"),
    "GW-8": _LATER,
    "GW-9": _LATER,
    "GW-10": _LATER,
    "GW-12": _LATER,
    "GW-16": _LATER,
    **{f"GW-{n}": _BUREAU for n in (17, 18, 19)},
    **{f"GW-{n}": _NEVER for n in (20, 21, 22, 23, 24, 25, 26, 27)},
    **{f"GW-{n}": _BUREAU for n in (30, 31, 32, 33, 34, 35, 36, 37)},
    "GW-38": Text("客户端没有分段上传", "the client sent nothing in parts"),
    "GW-39": Text("客户端没有分段上传", "the client sent nothing in parts"),
    "RES-32": _LATER,
}
"""Every requirement that a client is asked about, and why it is not observed unless it is."""

WAIT: Final = 3
"""What every Retry-After, and the receipt, says."""
_ENDLESS_BYTES: Final = 48 << 20
_BOUNDED_BYTES: Final = 16 << 20
"""More than any pair of socket buffers holds, and far more than a client may take."""
_SILENT_SECONDS: Final = 30.0
"""Who asks no more for that long has believed what it got."""
_EARLY: Final = 0.5
"""Clocks that are read twice differ by that much at most."""


@dataclass(frozen=True)
class Exchange:
    """A request, and what was done about it.

    Attributes:
        at: When it came.
        method: As sent.
        kind: put, part, status, result, ack, standing, trust, other.
        digest: The report, if it is about one.
        period: The month, of a standing.
        first: Where a part begins.
        status: What was answered; 0 for nothing.
        octets: How much of an endless answer was taken.
        fault: What is wrong with its signature, by requirement.
        nonce: Of its signature.
    """

    at: datetime
    method: str
    kind: str
    digest: str = ""
    period: str = ""
    first: int = -1
    status: int = 0
    octets: int = 0
    fault: tuple[str, str] = ("", "")
    nonce: str = ""


@dataclass
class Played:
    """How far the script of a report is."""

    prop: Prop
    taken: bool = False
    offset: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    done: bool = False


@dataclass(frozen=True)
class _Reply:
    status: int
    body: bytes = b""
    media: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


_HANG_UP: Final = _Reply(0)


@dataclass
class Stage:
    """The play.

    Attributes:
        world: Its certificates.
        clock: When requests come.
        log: Every request, in order.
        outbox: Where the client puts results, if that is known.
        seen_early: Files that were there before their result was true.
    """

    world: World
    props: Sequence[Prop]
    clock: Clock
    outbox: Path | None = None
    log: list[Exchange] = field(default_factory=list)
    seen_early: list[str] = field(default_factory=list)
    url: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        """Begin."""
        self.played: dict[str, Played] = {prop.report.digest: Played(prop) for prop in self.props}
        self._trust = self.world.trust_file()
        self._number = 0

    @property
    def finished(self) -> bool:
        """Whether every report that is to be sent has its result."""
        with self.lock:
            return all(each.done for each in self.played.values() if each.prop.scene not in HELD)

    def answer(self, seen: Exchange, headers: Mapping[str, str], body: bytes) -> _Reply:
        """Return what the script says to a request."""
        played = self.played.get(seen.digest)
        if seen.kind == "trust":
            return _Reply(200, self._trust)
        if seen.kind == "standing":
            return self._standing(seen.period)
        if played is None:
            return _problem(404, "unknown-report", "no such thing")
        with self.lock:
            played.counts[seen.kind] += 1
            match seen.kind:
                case "put":
                    return self._put(played, body)
                case "part":
                    return self._part(played, headers, body)
                case "status":
                    return self._status(played)
                case "result":
                    return self._result(played)
                case "ack":
                    return _Reply(204, media="")
                case _:
                    return _problem(404, "no-such-path", "no such thing")

    def _standing(self, period: str) -> _Reply:
        scenes = {each.prop.scene for each in self.played.values() if each.prop.period == period}
        enrolled, known = Scene.NOT_ENROLLED not in scenes, Scene.OTHER_KEY not in scenes
        body = {
            "taxpayer_id": TAXPAYER,
            "period": period,
            "enrolled": enrolled,
            "declared": Scene.UNDECLARED not in scenes,
            "machines_expected": [each.prop.report.header.machine_no for each in self.played.values()],
            "machines_reported": [],
            "key_fingerprints": [fingerprint(self.world.station) if known else "0" * 64] if enrolled else [],
            "lock_date": "",
            "upload_deadline": "",
            "bureau_time": format_time(self.clock.now()),
            "more": "a reader ignores what it does not know",
        }
        return _Reply(200, json.dumps(body).encode(), "application/json")

    def _receipt(self, played: Played, status: int = 201, *, false: bool = False) -> _Reply:
        played.taken = True
        receipt = Receipt(
            played.prop.report.header.name,
            played.prop.report.digest,
            f"C{played.prop.report.header.machine_no:06d}",
            self.world.now,
            WAIT,
        )
        signer = self.world.trust_signer if false else self.world.result
        return _Reply(status, sign_text(render_receipt(receipt), signer, signing_time=self.world.now))

    def _put(self, played: Played, body: bytes) -> _Reply:
        scene, first = played.prop.scene, played.counts["put"] == 1
        if body != played.prop.data:
            return _problem(422, "digest-mismatch", "these are not the octets of that report")
        if played.taken:
            return self._receipt(played, 200)
        if not first:
            return self._receipt(played)
        match scene:
            case Scene.LOST_REPLY:
                self._receipt(played)
                return _HANG_UP
            case Scene.UNAVAILABLE:
                self._receipt(played)
                return _Reply(503, b"<html>503</html>", "text/html")
            case Scene.PORTAL:
                return _Reply(200, b"<html>login</html>", "text/html")
            case Scene.REDIRECT:
                return _Reply(307, b"", "text/html", {"Location": f"{self.url}/trap"})
            case Scene.BUSY:
                return _problem(429, "busy", "later", retry_after=WAIT)
            case Scene.FALSE_RECEIPT:
                return self._receipt(played, false=True)
            case _:
                return self._receipt(played)

    def _part(self, played: Played, headers: Mapping[str, str], body: bytes) -> _Reply:
        first, last, total = (int(n) for n in re.findall("[0-9]+", headers.get("content-range", "0-0/0"))[:3])
        whole = content_digest(hashlib.sha256(played.prop.data).digest())
        number = played.counts["part"]
        if total != len(played.prop.data) or headers.get("repr-digest") != whole:
            return _problem(409, "other-upload", "another file", retry_after=WAIT)
        if played.taken:
            return self._receipt(played, 200)
        if first != played.offset or body != played.prop.data[first : last + 1]:
            return _problem(409, "part-offset", "from elsewhere", offset=played.offset)
        if number == 3:
            # Half of what was there is gone: the bureau says so, and is to be believed.
            played.offset //= 2
            return _problem(409, "part-offset", "from elsewhere", offset=played.offset)
        if last + 1 == total:
            return self._receipt(played)
        played.offset = last + 1
        if number == 1:
            return _HANG_UP
        return _Reply(202, _status_json(played.prop.report.digest, "partial", played.offset), "application/json")

    def _status(self, played: Played) -> _Reply:
        digest = played.prop.report.digest
        if not played.taken and played.offset:
            return _Reply(200, _status_json(digest, "partial", played.offset), "application/json")
        if not played.taken:
            return _problem(404, "unknown-report", "never received")
        receipt_no = f"C{played.prop.report.header.machine_no:06d}"
        body = _status_json(digest, "processing", 0, receipt_no=receipt_no, ask_after_seconds=WAIT)
        return _Reply(200, body, "application/json")

    def _result(self, played: Played) -> _Reply:
        number, scene = played.counts["result"], played.prop.scene
        if not played.taken:
            return _problem(404, "unknown-report", "never received")
        if not played.done:
            self._look_into_the_outbox(played)
        if scene is Scene.PLAIN and number == 1:
            return _Reply(202, b"Y", headers={"Retry-After": str(WAIT)})
        if scene is Scene.FALSE_RESULT and number == 1:
            return _Reply(200, self._success(played, false=True))
        if scene is Scene.FALSE_RESULT and number == 2:
            return _Reply(200, self._success(played, nonce=Nonce("0" * 32)))
        if scene is Scene.ENDLESS and number == 1:
            return _Reply(-1)
        played.done = True
        return _Reply(200, self._success(played))

    def _success(self, played: Played, *, false: bool = False, **changes: Any) -> bytes:
        header = played.prop.report.header
        self._number += 1
        today = self.clock.now().astimezone(CHINA).date()
        result = Result(
            name=header.name,
            card_no=header.card_no,
            report_digest=played.prop.report.digest,
            nonce=Nonce(header.nonce),
            receipt_no=f"C{header.machine_no:06d}",
            result_no=self._number,
            last_acknowledged=None,
            outcome="success",
            code="",
            message="",
            bureau_time=self.clock.now().replace(microsecond=0),
            lock_date=today + timedelta(days=40),
            next_period_start=today.replace(day=1),
        )
        signer = self.world.trust_signer if false else self.world.result
        return sign_text(render_result(replace(result, **changes)), signer, signing_time=result.bureau_time)

    def _look_into_the_outbox(self, played: Played) -> None:
        name = played.prop.report.header.name.file_name(".txt")
        if self.outbox is not None and (self.outbox / name).exists():
            self.seen_early.append(name)

    def check_signature(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, host: str
    ) -> tuple[str, str]:
        """Return which requirement a request's signature breaks, and how; nothing if none."""
        if "signature" not in headers or "signature-input" not in headers:
            return "GW-20", "not signed"
        fault = _form_fault(headers)
        if fault[0]:
            return fault
        try:
            given = parse_signature(headers)
        except SignatureRefused as error:
            return "GW-23", error.text.en
        if body or method == "PUT":
            try:
                if parse_content_digest(headers.get("content-digest", "")) != hashlib.sha256(body).digest():
                    return "GW-22", "Content-Digest is not the body's"
            except SignatureRefused:
                return "GW-22", "Content-Digest is missing or not of the profile"
        if given.keyid != fingerprint(self.world.station):
            return "GW-23", "keyid is not the key's that was handed out"
        try:
            verify_request(method, host, path, query, headers, self.world.station)
        except SignatureRefused as error:
            return "GW-24", error.text.en
        if abs(given.created - self.clock.now().timestamp()) > WINDOW_SECONDS:
            return "GW-26", f"created {given.created}"
        with self.lock:
            if any(each.nonce == given.nonce for each in self.log):
                return "GW-27", f"nonce {given.nonce} again"
        return "", ""


_COVERED: Final = re.compile(r"taxferry=\(([^)]*)\)")


def _form_fault(headers: Mapping[str, str]) -> tuple[str, str]:
    given = headers["signature-input"]
    match = _COVERED.match(given)
    if match is None or given.count("=(") != 1:
        return "GW-20", given[:200]
    covered = [name.strip('"') for name in match[1].split(" ")]
    wanted = ["@method", "@authority", "@path", "@query"]
    wanted += [name for name in ("content-digest", "content-range", "repr-digest") if name in headers]
    if covered != wanted:
        return "GW-21", f"{covered} instead of {wanted}"
    return "", ""


def _problem(status: int, kind: str, words: str, *, retry_after: int | None = None, **more: object) -> _Reply:
    body = {
        "type": f"urn:taxferry:problem:{kind}",
        "title": words,
        "status": status,
        "detail": words,
        "code": kind,
        **more,
    }
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return _Reply(status, json.dumps(body).encode(), "application/problem+json", headers)


def _status_json(digest: str, state: str, offset: int, **more: object) -> bytes:
    return json.dumps({"report_digest": digest, "state": state, "offset": offset, **more}).encode()


_PATHS: Final = (
    (re.compile(r"/v1/reports/([0-9a-f]{64})"), "report"),
    (re.compile(r"/v1/reports/([0-9a-f]{64})/result"), "result"),
    (re.compile(r"/v1/reports/([0-9a-f]{64})/ack"), "ack"),
    (re.compile(r"/v1/taxpayers/([0-9A-Z]+)/standing"), "standing"),
    (re.compile(r"/v1/(trust)"), "trust"),
)


def _classify(method: str, path: str, query: str, in_parts: bool) -> tuple[str, str, str]:
    for pattern, kind in _PATHS:
        match = pattern.fullmatch(path)
        if match is None:
            continue
        digest = match[1] if kind in ("report", "result", "ack") else ""
        if kind == "report":
            kind = "status" if method == "GET" else "part" if in_parts else "put"
        return kind, digest, parse_qs(query).get("period", [""])[0]
    return "trap" if path == "/trap" else "other", "", ""


@contextmanager
def playing(stage: Stage, host: str = "127.0.0.1", port: int = 0) -> Iterator[Stage]:
    """Play; `stage.url` says where."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def log_message(self, *_args: object) -> None:
            """Stay quiet."""

        def do_GET(self) -> None:
            self._handle()

        def do_PUT(self) -> None:
            self._handle()

        def _handle(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", "0")))
            kind, digest, period = _classify(self.command, parts.path, parts.query, "content-range" in headers)
            fault = ("", "")
            if kind not in ("other", "trap"):
                fault = stage.check_signature(
                    self.command, parts.path, parts.query, headers, body, headers.get("host", "")
                )
            numbers = re.findall("[0-9]+", headers.get("content-range", ""))
            nonce = re.search(r'nonce="([^"]*)"', headers.get("signature-input", ""))
            seen = Exchange(
                stage.clock.now(),
                self.command,
                kind,
                digest,
                period,
                int(numbers[0]) if numbers else -1,
                fault=fault,
                nonce=nonce[1] if nonce else "",
            )
            reply = stage.answer(seen, headers, body)
            with stage.lock:
                place = len(stage.log)
                stage.log.append(replace(seen, status=max(reply.status, 0)))
            if reply.status == -1:
                octets = self._endless()
                with stage.lock:
                    stage.log[place] = replace(stage.log[place], status=200, octets=octets)
            elif reply.status == 0:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
            else:
                self._reply(reply)

        def _endless(self) -> int:
            """Answer with a text that does not end; return how much of it was taken."""
            self.close_connection = True
            sent = 0
            with contextlib.suppress(OSError):
                self.send_response_only(200)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.end_headers()
                self.connection.settimeout(20)
                while sent < _ENDLESS_BYTES:
                    sent += self.connection.send(b"x" * 65536)
            return sent

        def _reply(self, reply: _Reply) -> None:
            with contextlib.suppress(OSError):
                self.send_response_only(reply.status)
                self.send_header("Date", self.date_time_string(stage.clock.now().timestamp()))
                if reply.media:
                    self.send_header("Content-Type", reply.media)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if reply.status != 204:
                    self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """Clients hang up."""

    server = Server((host, port), Handler)
    stage.url = f"http://{host}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield stage
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


# --- judging the client ---------------------------------------------------------------------------------------------


def judge_client(stage: Stage) -> Findings:
    """Return what the requests that came say about the client."""
    findings = Findings("client", REASONS)
    with stage.lock:
        log = list(stage.log)
    _Judge(stage, findings, log).all()
    return findings


class _Judge:
    def __init__(self, stage: Stage, findings: Findings, log: list[Exchange]) -> None:
        self.stage = stage
        self.findings = findings
        self.log = log

    def expect(self, requirement: str, ok: object, zh: str, en: str, seen: object = "") -> None:
        self.findings.expect(requirement, ok, Text(zh, en), seen)

    def of(self, scene: Scene) -> list[Exchange]:
        digest = next((each.prop.report.digest for each in self.stage.played.values() if each.prop.scene is scene), "-")
        return [each for each in self.log if each.digest == digest]

    def all(self) -> None:
        self._signatures()
        self._unknown()
        self._yes()
        self._waits()
        self._results()
        self._before_sending()
        self._parts()

    def _signatures(self) -> None:
        signed = [each for each in self.log if each.kind not in ("other", "trap")]
        if not signed:
            return
        faults = {id_: seen for each in reversed(signed) for id_, seen in [each.fault] if id_}
        names = {
            "GW-20": ("恰好一个签名，标签 taxferry", "exactly one signature, labelled taxferry"),
            "GW-21": ("覆盖规定的各项，次序不变", "the covered components are those of the profile, in order"),
            "GW-22": ("有内容就有 Content-Digest，且相符", "a body has its Content-Digest"),
            "GW-23": ("参数齐全，次序不变", "the parameters are those of the profile, in order"),
            "GW-24": ("签名能验证", "the signature verifies"),
            "GW-25": ("主机名小写，没有查询时为 ?", "the authority is in lower case, an absent query is ?"),
            "GW-26": ("时间与现在相差不超过 300 秒", "created is within 300 s"),
            "GW-27": ("随机数不重复", "no nonce comes twice"),
        }
        has_body = any(each.method == "PUT" for each in signed)
        for id_, (zh, en) in names.items():
            # What does not verify for its base says nothing about how the authority was spelled.
            if id_ == "GW-25" and "GW-24" in faults:
                continue
            if id_ != "GW-22" or has_body:
                self.expect(id_, id_ not in faults, zh, en, faults.get(id_, ""))

    def _after_first_put(self, scene: Scene) -> tuple[Exchange | None, list[Exchange]]:
        about = [each for each in self.of(scene) if each.kind in ("put", "part", "status", "result")]
        first = next((at for at, each in enumerate(about) if each.kind in ("put", "part")), None)
        if first is None or len(about) == first + 1:
            return None, []
        return about[first], about[first + 1 :]

    def _unknown(self) -> None:
        """GW-2, GW-6: after an answer that is none, a question and no second upload."""
        for scene, id_, zh, en in (
            (
                Scene.LOST_REPLY,
                "GW-6",
                "回答丢失后先询问，再决定是否重发",
                "after a lost answer it asks before it sends",
            ),
            (Scene.UNAVAILABLE, "GW-2", "503 是结果不明，先询问", "503 is the outcome unknown: it asks first"),
        ):
            sent, after = self._after_first_put(scene)
            if sent is not None:
                self.expect(id_, after[0].kind == "status", zh, en, f"{after[0].method} {after[0].kind}")

    def _yes(self) -> None:
        """GW-3: only a receipt that proves is a yes, and redirections are not followed."""
        for scene, zh, en in (
            (Scene.PORTAL, "认证页面不算受理", "a login page is no yes"),
            (Scene.FALSE_RECEIPT, "不能证明的回执不算受理", "a receipt that does not prove is no yes"),
        ):
            sent, after = self._after_first_put(scene)
            if sent is not None:
                self.expect("GW-3", after[0].kind == "status", zh, en, f"{after[0].method} {after[0].kind}")
        if self._after_first_put(Scene.REDIRECT)[0] is not None or any(each.kind == "trap" for each in self.log):
            followed = [each for each in self.log if each.kind == "trap"]
            self.expect("GW-3", not followed, "不跟随重定向", "it follows no redirection", f"{len(followed)} requests")

    def _waits(self) -> None:
        sent, after = self._after_first_put(Scene.BUSY)
        if sent is not None:
            again = next((each for each in after if each.kind in ("put", "part")), None)
            if again is not None:
                self._not_before("GW-8", sent, again, "429 后等够 Retry-After", "after 429 it waits for Retry-After")
        results = [each for each in self.of(Scene.PLAIN) if each.kind == "result"]
        if len(results) >= 2:
            self._not_before(
                "GW-8", results[0], results[1], "Y 之后等够 Retry-After", "after Y it waits for Retry-After"
            )
        taken = next((each for each in self.of(Scene.PLAIN) if each.kind == "put" and each.status == 201), None)
        if taken is not None and results:
            self._not_before(
                "RES-32", taken, results[0], "首次查询不早于回执所说", "it asks first when the receipt says so"
            )

    def _not_before(self, id_: str, one: Exchange, other: Exchange, zh: str, en: str) -> None:
        waited = (other.at - one.at).total_seconds()
        self.expect(id_, waited >= WAIT - _EARLY, zh, en, f"{waited:.1f} s")

    def _results(self) -> None:
        asked = [each for each in self.of(Scene.FALSE_RESULT) if each.kind == "result"]
        silent = bool(asked) and (self.stage.clock.now() - asked[-1].at).total_seconds() > _SILENT_SECONDS
        if asked and (len(asked) >= 3 or silent):
            self.expect(
                "GW-9",
                len(asked) >= 3,
                "不能证明的、别的报告的结果不算数，再问",
                "results that do not prove or fit are not believed: it asks again",
                f"{len(asked)} questions",
            )
        if asked and self.stage.outbox is not None:
            early = self.stage.seen_early
            self.expect(
                "GW-9",
                not early,
                "真结果之前，传出目录里什么也没有",
                "nothing lies in the outbox before the true result",
                early,
            )
        endless = [each for each in self.of(Scene.ENDLESS) if each.octets]
        if endless:
            taken = endless[0].octets
            self.expect(
                "GW-16",
                taken < _BOUNDED_BYTES,
                "回答太长就不再收",
                "an answer that is too long is not taken",
                f"{taken} octets",
            )

    def _before_sending(self) -> None:
        sent = [each for each in self.log if each.kind in ("put", "part")]
        if not sent:
            return
        before = self.log[: self.log.index(sent[0])]
        self.expect(
            "GW-10",
            any(each.kind == "standing" for each in before),
            "上传前先问企业情况",
            "it asks for the standing before it sends",
        )
        self.expect(
            "GW-12",
            any(each.kind == "trust" for each in before),
            "上传前先取信任文件",
            "it fetches the trust file before it sends",
        )
        for scene, id_, zh, en in (
            (Scene.UNDECLARED, "GW-10", "未申报的征期报告不发", "a period that is not declared is held"),
            (Scene.NOT_ENROLLED, "GW-10", "未开户的不发", "who is not enrolled is held"),
            (Scene.OTHER_KEY, "GW-10", "公钥没有登记的不发", "a key that is not on file is held"),
            (Scene.OLD_ENVELOPE, "GW-12", "加密给旧密钥的不发", "what is sealed to a former key is held"),
        ):
            if not any(each.prop.scene is scene for each in self.stage.played.values()):
                continue
            uploads = [each for each in self.of(scene) if each.kind in ("put", "part")]
            self.expect(id_, not uploads, zh, en, f"{len(uploads)} uploads")

    def _parts(self) -> None:
        about = self.of(Scene.PARTS)
        parts = [each for each in about if each.kind == "part"]
        if not parts:
            return
        first = about.index(parts[0])
        asked = any(each.kind == "status" for each in about[:first])
        self.expect(
            "GW-38",
            asked and parts[0].first == 0,
            "第一段之前先问，从 0 开始",
            "it asks before the first part, and begins at 0",
        )
        after = about[first + 1 :]
        if not after:
            return
        self.expect(
            "GW-38",
            after[0].kind == "status",
            "一段的回答丢失后先问",
            "after a part whose answer was lost it asks",
            f"{after[0].method} {after[0].kind}",
        )
        wanted = self.stage.played[parts[0].digest]
        followed = _follows(about)
        self.expect(
            "GW-38",
            followed,
            "从税局所说的位置继续",
            "it goes on where the bureau says",
            [each.first for each in parts],
        )
        early = [each for each in about if each.kind == "result" and each.at < parts[-1].at]
        self.expect(
            "GW-39",
            wanted.taken and not early,
            "202 不算受理：一直传到回执",
            "202 is no yes: it goes on until the receipt",
            f"taken: {wanted.taken}",
        )


def _follows(about: Sequence[Exchange]) -> bool:
    """Return whether no part of a file was left out or sent before it was asked for."""
    parts = [each.first for each in about if each.kind == "part"]
    return len(parts) < 4 or (parts[1] > 0 and parts[3] < parts[2])
