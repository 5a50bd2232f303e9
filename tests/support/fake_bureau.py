"""A bureau for tests of its clients: real HTTP on 127.0.0.1, real signatures, and misbehaviour on demand.

It keeps what it received, counts it, checks every request's signature, and does what its script says: drop the reply
after taking a report, be busy, be still processing, fail with any code. It judges nothing; `tax_bureau` does that.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import socket
import struct
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from shared.envelope.opening import ProvenReport, prove_report
from shared.envelope.roles import Role, fingerprint
from shared.envelope.textsign import sign_text
from shared.errors import TaxferryError
from shared.httpsig import parse_content_digest, parse_signature, verify_request
from shared.ids import Nonce
from shared.model.ack import prove_ack
from shared.model.receipt import Receipt, render_receipt
from shared.model.result import Result, render_result
from shared.model.trust import TrustFile, render_trust
from tests.support.pki import NOW, Pki


@dataclass(frozen=True)
class Cut:
    """The connection breaks after so many octets of a part."""

    octets: int


@dataclass(frozen=True)
class Lie:
    """A part is carried out, and another offset is told."""

    offset: int


@dataclass
class Held:
    """A report that the bureau has."""

    proven: ProvenReport
    receipt: bytes
    receipt_no: str
    sha256: bytes
    answer: bytes | None = None
    """The signed result; None is a `Y`."""
    result_no: int | None = None
    code: str = ""
    state: str = "processing"
    ack: bytes | None = None


@dataclass
class Begun:
    """An upload in parts."""

    total: int
    whole: bytes
    data: bytes = b""


@dataclass(frozen=True)
class Received:
    """A part that was sent, or a piece of one.

    Attributes:
        digest: The report.
        first: Where it begins.
        size: How many octets it announced.
        octets: How many octets of it were read.
        status: What was answered; 0 for nothing.
    """

    digest: str
    first: int
    size: int
    octets: int
    status: int


@dataclass
class FakeBureau:
    """The bureau's memory and its script.

    Attributes:
        pki: Whose certificates it uses.
        key_fingerprints: Station keys on file.
        enrolled: Whether the taxpayer is enrolled.
        declared: Periods for which a return was filed.
        ask_after: What receipts say.
        retry_after: What a `Y` says; empty for nothing.
        puts: Complete uploads per digest, taken or not.
        log: Every request: method, path, status.
        script: Misbehaviour to come, per kind of request; each is used once. An integer is answered as a problem of
            that status; `drop` closes the connection after the request was carried out, `refuse` before; bytes are
            answered as they are with status 200. Of a part also: a `Cut`, `restart` (nothing of it is kept, and the next
            connection is closed unread), a `Lie`.
        uploads: Uploads in parts under way.
        parts: Every part that was sent.
        on_part: Told where each part begins, once half of it was read.
        down: That many connections to come are closed unread.
    """

    pki: Pki
    key_fingerprints: set[str] = field(default_factory=set)
    enrolled: bool = True
    declared: set[str] = field(default_factory=set)
    machines: tuple[int, ...] = (0,)
    ask_after: int = 600
    retry_after: str = ""
    number: int = 0
    url: str = ""
    at: datetime = NOW
    puts: Counter[str] = field(default_factory=Counter)
    acks: Counter[str] = field(default_factory=Counter)
    log: list[tuple[str, str, int]] = field(default_factory=list)
    reports: dict[str, Held] = field(default_factory=dict)
    script: dict[str, deque[object]] = field(default_factory=lambda: defaultdict(deque))
    certificates: dict[str, object] = field(default_factory=dict)
    problem_type: str = "about:blank"
    nonces: set[str] = field(default_factory=set)
    unsigned: list[str] = field(default_factory=list)
    trust_version: int = 1
    uploads: dict[str, Begun] = field(default_factory=dict)
    parts: list[Received] = field(default_factory=list)
    on_part: Callable[[int], None] | None = None
    down: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def know(self, certificate) -> None:
        """Put a station's key on file."""
        self.certificates[fingerprint(certificate)] = certificate
        self.key_fingerprints.add(fingerprint(certificate))

    def misbehave(self, kind: str, *what: object) -> None:
        """Script what happens to the next requests of a kind: put, part, status, result, ack, standing, trust."""
        self.script[kind].extend(what)

    def trust_file(self, *, envelope=None) -> bytes:
        made = TrustFile(
            version=self.trust_version,
            issued_at=self.at,
            roots=(self.pki.root,),
            intermediates=(self.pki.issuing,),
            certificates={
                Role.BUREAU_RESULT: (self.pki.bureau_result.certificate,),
                Role.BUREAU_ENVELOPE: tuple(envelope) if envelope else (self.pki.envelope.certificate,),
                Role.TRUST: (self.pki.trust_signer.certificate,),
            },
            crls=self.pki.crls(),
            gateways=(),
        )
        return render_trust(made, self.pki.trust_signer)

    # What the bureau decides, by hand of the test

    def succeed(self, digest: str, **changes: object) -> None:
        """Answer the report with a success."""
        period = self.reports[digest].proven.header.kind == "period"
        authority = {"lock_date": date(2026, 9, 15), "next_period_start": date(2026, 9, 1)} if period else {}
        self._answer(digest, "success", "", "", **{**authority, **changes})

    def fail(self, digest: str, code: str, message: str = "未申报", **changes: object) -> None:
        """Answer the report with a failure."""
        self._answer(digest, "failure", code, message, **changes)

    def _answer(self, digest: str, outcome: str, code: str, message: str, *, signer=None, **changes: object) -> None:
        with self.lock:
            held = self.reports[digest]
            header = held.proven.header
            self.number += 1
            values = {
                "name": header.name,
                "card_no": header.card_no,
                "report_digest": held.proven.digest,
                "nonce": Nonce(header.nonce),
                "receipt_no": held.receipt_no,
                "result_no": self.number,
                "last_acknowledged": None,
                "outcome": outcome,
                "code": code,
                "message": message,
                "bureau_time": self.at,
            }
            result = Result(**{**values, **changes})  # type: ignore[arg-type]
            held.answer = sign_text(
                render_result(result), signer or self.pki.bureau_result, signing_time=result.bureau_time
            )
            held.result_no, held.code = result.result_no, code
            held.state = "succeeded" if outcome == "success" else "waiting" if code == "272C" else "failed"

    def process(self, digest: str) -> None:
        """Go back to `Y`."""
        held = self.reports[digest]
        held.answer, held.state = None, "processing"

    # What arrives

    def take(self, digest: str, body: bytes) -> tuple[int, bytes, str]:
        try:
            proven = prove_report(io.BytesIO(body), self.pki.trust, at=self.at)
        except TaxferryError:
            return problem(422, "0x82040010", "报告不完整")
        if proven.digest != digest:
            return problem(422, "", "摘要不符")
        if digest in self.reports:
            return self.take_again(digest)
        receipt_no = f"R{len(self.reports) + 1:06d}"
        receipt = Receipt(proven.header.name, proven.digest, receipt_no, self.at, self.ask_after)
        signed = sign_text(render_receipt(receipt), self.pki.bureau_result, signing_time=self.at)
        self.reports[digest] = Held(proven, signed, receipt_no, hashlib.sha256(body).digest())
        return 201, signed, "text/plain; charset=utf-8"

    def take_again(self, digest: str) -> tuple[int, bytes, str]:
        if self.reports[digest].state == "failed":
            self.process(digest)
        return 200, self.reports[digest].receipt, "text/plain; charset=utf-8"

    def take_part(self, digest: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes, str]:
        first, last, total = (int(n) for n in re.findall("[0-9]+", headers["Content-Range"]))
        whole = parse_content_digest(headers["Repr-Digest"])
        if _digests(headers) != [hashlib.sha256(body).digest()] or len(body) != last - first + 1:
            return problem(400, "body-digest", "这一段不对")
        if digest in self.reports and self.reports[digest].sha256 == whole:
            return self.take_again(digest)
        begun = self.uploads.get(digest)
        if begun is None:
            if first:
                return self._elsewhere(0)
            begun = self.uploads[digest] = Begun(total, whole)
        if (begun.total, begun.whole) != (total, whole):
            return problem(409, "other-upload", "另一个文件", kind="other-upload")
        if first != len(begun.data):
            return self._elsewhere(len(begun.data))
        if last + 1 < total:
            begun.data += body
            return 202, self._partial(digest, len(begun.data)), "application/json"
        del self.uploads[digest]
        self.puts[digest] += 1
        if hashlib.sha256(begun.data + body).digest() != whole:
            return problem(400, "body-digest", "合起来不对")
        return self.take(digest, begun.data + body)

    def _elsewhere(self, offset: int) -> tuple[int, bytes, str]:
        return problem(409, "part-offset", "不从这里开始", kind="part-offset", offset=offset)

    def _partial(self, digest: str, offset: int) -> bytes:
        return json.dumps({"report_digest": digest, "state": "partial", "offset": offset}).encode()

    def status(self, digest: str) -> tuple[int, bytes, str]:
        held = self.reports.get(digest)
        if held is None and digest in self.uploads:
            return 200, self._partial(digest, len(self.uploads[digest].data)), "application/json"
        if held is None:
            return problem(404, "", "没有收到过")
        state = "closed" if held.ack is not None else held.state
        body = {
            "report_digest": digest,
            "state": state,
            "receipt_no": held.receipt_no,
            "ask_after_seconds": self.ask_after,
            "code": held.code,
        }
        return 200, json.dumps(body).encode(), "application/json"

    def result(self, digest: str) -> tuple[int, bytes, str]:
        held = self.reports.get(digest)
        if held is None:
            return problem(404, "", "没有收到过")
        if held.answer is None:
            return 202, b"Y", "text/plain"
        return 200, held.answer, "text/plain; charset=utf-8"

    def take_ack(self, digest: str, body: bytes) -> tuple[int, bytes, str]:
        held = self.reports.get(digest)
        if held is None:
            return problem(404, "", "没有收到过")
        try:
            prove_ack(body, self.pki.trust, at=self.at)
        except TaxferryError:
            return problem(422, "", "清卡回执无效")
        held.ack = body
        return 204, b"", ""

    def standing(self, taxpayer_id: str, period: str) -> tuple[int, bytes, str]:
        body = {
            "taxpayer_id": taxpayer_id,
            "period": period,
            "enrolled": self.enrolled,
            "declared": period in self.declared,
            "machines_expected": list(self.machines),
            "machines_reported": [],
            "key_fingerprints": sorted(self.key_fingerprints),
            "lock_date": "",
            "upload_deadline": "",
            "bureau_time": self.at.isoformat(),
            "something_new": True,
        }
        return 200, json.dumps(body).encode(), "application/json"


def problem(status: int, code: str, title: str, *, kind: str = "", offset: int | None = None) -> tuple[int, bytes, str]:
    body: dict[str, object] = {"title": title, "status": status, "detail": title, "code": code}
    body["type"] = f"urn:taxferry:problem:{kind}" if kind else "about:blank"
    if offset is not None:
        body["offset"] = offset
    return status, json.dumps(body, ensure_ascii=False).encode(), "application/problem+json"


@contextmanager
def serving(bureau: FakeBureau) -> Iterator[FakeBureau]:
    """Serve the bureau on a free port of 127.0.0.1; `bureau.url` says where."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20

        def log_message(self, *_args: object) -> None:
            """Stay quiet."""

        def do_GET(self) -> None:
            self._handle(b"")

        def do_PUT(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            if self.headers.get("Content-Range"):
                return self._handle_part(length)
            body = self.rfile.read(length)
            if len(body) != length:
                return None  # the client died: nothing was received
            return self._handle(body)

        def _handle_part(self, length: int) -> None:
            path = urlsplit(self.path).path
            digest = path.split("/")[3]
            first = int(re.findall("[0-9]+", self.headers["Content-Range"])[0])
            with bureau.lock:
                misbehaviour = bureau.script["part"].popleft() if bureau.script["part"] else None
            wanted = min(misbehaviour.octets, length) if isinstance(misbehaviour, Cut) else length
            body = self.rfile.read(min(wanted, length // 2))
            if bureau.on_part is not None:
                bureau.on_part(first)
            body += self.rfile.read(wanted - len(body))
            with bureau.lock:
                answer: tuple[int, bytes, str] = (0, b"", "")
                if len(body) == length and misbehaviour not in ("refuse", "restart"):
                    self._check(path, "", body)
                    answer = (
                        problem(misbehaviour, "", "scripted")
                        if isinstance(misbehaviour, int)
                        else (bureau.take_part(digest, dict(self.headers.items()), body))
                    )
                    if isinstance(misbehaviour, Lie):
                        answer = 202, bureau._partial(digest, misbehaviour.offset), "application/json"
                if misbehaviour in ("drop", "restart") or isinstance(misbehaviour, Cut):
                    answer = (0, b"", "")
                bureau.down += misbehaviour == "restart"
                bureau.parts.append(Received(digest, first, length, len(body), answer[0]))
                self._log(answer[0])
            if answer[0]:
                return self._reply(*answer)
            # A reset: what the client has still in its buffers is lost, as on a line that broke.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return self._hang_up()

        def _handle(self, body: bytes) -> None:
            parts = urlsplit(self.path)
            kind, call = self._route(parts.path, parse_qs(parts.query), body)
            with bureau.lock:
                if bureau.down:
                    bureau.down -= 1
                    return self._hang_up()
                misbehaviour = bureau.script[kind].popleft() if bureau.script[kind] else None
                if kind == "put":
                    bureau.puts[parts.path.split("/")[3]] += 1
                if kind == "ack":
                    bureau.acks[parts.path.split("/")[3]] += 1
                if misbehaviour == "refuse":
                    self._log(0)
                    return self._hang_up()
                self._check(parts.path, parts.query, body)
                if isinstance(misbehaviour, int):
                    answer = problem(misbehaviour, "", f"scripted {misbehaviour}")
                elif isinstance(misbehaviour, tuple):
                    answer = problem(*misbehaviour)
                elif isinstance(misbehaviour, bytes):
                    answer = (200, misbehaviour, "text/html")
                else:
                    answer = call()
                self._log(0 if misbehaviour == "drop" else answer[0])
            if misbehaviour == "drop":
                return self._hang_up()
            return self._reply(*answer)

        def _hang_up(self) -> None:
            self.close_connection = True

        def _log(self, status: int) -> None:
            bureau.log.append((self.command, self.path, status))

        def _check(self, path: str, query: str, body: bytes) -> None:
            """Refuse nothing, remember everything: a test looks at `unsigned`."""
            headers = dict(self.headers.items())
            try:
                given = parse_signature(headers)
                certificate = bureau.certificates.get(given.keyid)
                if certificate is None or given.nonce in bureau.nonces:
                    raise ValueError
                bureau.nonces.add(given.nonce)
                verify_request(self.command, headers["Host"], path, query, headers, certificate)  # type: ignore[arg-type]
                if body and hashlib.sha256(body).digest() not in _digests(headers):
                    raise ValueError
            except (TaxferryError, ValueError):
                bureau.unsigned.append(f"{self.command} {self.path}")

        def _route(self, path: str, query: dict[str, list[str]], body: bytes):
            match path.strip("/").split("/"):
                case ["v1", "reports", digest] if self.command == "PUT":
                    return "put", lambda: bureau.take(digest, body)
                case ["v1", "reports", digest]:
                    return "status", lambda: bureau.status(digest)
                case ["v1", "reports", digest, "result"]:
                    return "result", lambda: bureau.result(digest)
                case ["v1", "reports", digest, "ack"]:
                    return "ack", lambda: bureau.take_ack(digest, body)
                case ["v1", "taxpayers", taxpayer_id, "standing"]:
                    return "standing", lambda: bureau.standing(taxpayer_id, query["period"][0])
                case ["v1", "trust"]:
                    return "trust", lambda: (200, bureau.trust_file(), "text/plain")
                case ["healthz"]:
                    return "health", lambda: (200, b"{}", "application/json")
            return "other", lambda: problem(404, "", "unknown path")

        def _reply(self, status: int, body: bytes, media: str) -> None:
            try:
                self.send_response_only(status)
                self.send_header("Date", format_datetime(bureau.at.astimezone(), usegmt=False))
                if media:
                    self.send_header("Content-Type", media)
                if status in (202, 429, 503) and bureau.retry_after:
                    self.send_header("Retry-After", bureau.retry_after)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                self.close_connection = True  # the client was killed

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """Killed clients are what this is for."""

    server = Server(("127.0.0.1", 0), Handler)
    bureau.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield bureau
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _digests(headers: dict[str, str]) -> list[bytes]:
    return [parse_content_digest(v) for k, v in headers.items() if k.lower() == "content-digest"]


def later(bureau: FakeBureau, **span: float) -> None:
    """Let the bureau's clock go on."""
    bureau.at += timedelta(**span)
