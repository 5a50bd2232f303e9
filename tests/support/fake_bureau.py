"""A bureau for tests of its clients: real HTTP on 127.0.0.1, real signatures, and misbehaviour on demand.

It keeps what it received, counts it, checks every request's signature, and does what its script says: drop the reply
after taking a report, be busy, be still processing, fail with any code. It judges nothing; `tax_bureau` does that.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
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
from shared.httpsig import parse_signature, verify_request
from shared.ids import Nonce
from shared.model.ack import prove_ack
from shared.model.receipt import Receipt, render_receipt
from shared.model.result import Result, render_result
from shared.model.trust import TrustFile, render_trust
from tests.support.pki import NOW, Pki


@dataclass
class Held:
    """A report that the bureau has."""

    proven: ProvenReport
    receipt: bytes
    receipt_no: str
    answer: bytes | None = None
    """The signed result; None is a `Y`."""
    result_no: int | None = None
    code: str = ""
    state: str = "processing"
    ack: bytes | None = None


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
            answered as they are with status 200.
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
    lock: threading.RLock = field(default_factory=threading.RLock)

    def know(self, certificate) -> None:
        """Put a station's key on file."""
        self.certificates[fingerprint(certificate)] = certificate
        self.key_fingerprints.add(fingerprint(certificate))

    def misbehave(self, kind: str, *what: object) -> None:
        """Script what happens to the next requests of a kind: put, status, result, ack, standing, trust."""
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
        known = self.reports.get(digest)
        if known is not None:
            if known.state == "failed":
                self.process(digest)
            return 200, known.receipt, "text/plain; charset=utf-8"
        receipt_no = f"R{len(self.reports) + 1:06d}"
        receipt = Receipt(proven.header.name, proven.digest, receipt_no, self.at, self.ask_after)
        signed = sign_text(render_receipt(receipt), self.pki.bureau_result, signing_time=self.at)
        self.reports[digest] = Held(proven, signed, receipt_no)
        return 201, signed, "text/plain; charset=utf-8"

    def status(self, digest: str) -> tuple[int, bytes, str]:
        held = self.reports.get(digest)
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


def problem(status: int, code: str, title: str) -> tuple[int, bytes, str]:
    body = {"type": "about:blank", "title": title, "status": status, "detail": title, "code": code}
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
            body = self.rfile.read(length)
            if len(body) != length:
                return  # the client died: nothing was received
            self._handle(body)

        def _handle(self, body: bytes) -> None:
            parts = urlsplit(self.path)
            kind, call = self._route(parts.path, parse_qs(parts.query), body)
            with bureau.lock:
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
    from shared.httpsig import parse_content_digest

    return [parse_content_digest(v) for k, v in headers.items() if k.lower() == "content-digest"]


def later(bureau: FakeBureau, **span: float) -> None:
    """Let the bureau's clock go on."""
    bureau.at += timedelta(**span)
