"""The gateway's HTTP interface (GW-*): thin. It reads requests, asks the desk, and says what came of it.

What the interface is, is said once, in `openapi`; a test walks all of it against this module.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

from anyio.to_thread import current_default_thread_limiter
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.envelope.seal import MAX_FILE_BYTES
from shared.errors import NameInvalid, SignatureRefused
from shared.httpsig import parse_content_digest
from shared.ids import parse_report_digest, parse_taxpayer_id
from shared.model.fields import MAX_TEXT_BYTES
from shared.model.standing import ReportStatus
from shared.text import Text, both
from tax_bureau.access import AccessLog, Manners, request_id
from tax_bureau.admission import Full, Gate, Limits
from tax_bureau.caller import Doorkeeper, Request
from tax_bureau.desk import Taken
from tax_bureau.home import Bureau
from tax_bureau.metrics import CONTENT_TYPE, Metrics
from tax_bureau.openapi import document
from tax_bureau.parts import MAX_PART_BYTES, Part, Partial, parse_range
from tax_bureau.refusal import Kind, Refusal
from tax_bureau.spool import Arrival, TooLarge, Upload
from tax_bureau.store import Report, StationKey

STATUS: Final[dict[Kind, int]] = {
    Kind.BAD_REQUEST: 400,
    Kind.BODY_DIGEST: 400,
    Kind.UNSIGNED: 401,
    Kind.CLOCK_SKEW: 401,
    Kind.NONCE_REPLAYED: 401,
    Kind.KEY_NOT_ON_FILE: 403,
    Kind.NOT_ENROLLED: 403,
    Kind.NOT_YOURS: 403,
    Kind.UNKNOWN_REPORT: 404,
    Kind.SEQUENCE_TAKEN: 409,
    Kind.NOT_SUCCEEDED: 409,
    Kind.PART_OFFSET: 409,
    Kind.OTHER_UPLOAD: 409,
    Kind.TOO_LARGE: 413,
    Kind.DIGEST_MISMATCH: 422,
    Kind.REPORT_INVALID: 422,
    Kind.ACK_INVALID: 422,
    Kind.BUSY: 429,
}
"""429 for `not now`: a 5xx may come from anything in between and says nothing about what the bureau has."""
_BUSY_SECONDS: Final = 30
_TEXT: Final = "text/plain; charset=utf-8"
_HTTP_ERRORS: Final = {
    404: ("no-such-path", Text("没有这个地址", "there is no such path")),
    405: ("no-such-method", Text("这个地址不支持这种请求", "this path has no such method")),
}
_PERIOD: Final = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])", re.ASCII)
_NO_STORE: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_THREADS: Final = 16
"""For what asks the store; more would only wait for each other, and for connections."""


def make_app(bureau: Bureau, *, limits: Limits | None = None, log: AccessLog | None = None) -> Starlette:
    """Return the interface of an open bureau.

    Args:
        bureau: What is served.
        limits: What is taken on at once.
        log: Where each request is written down.
    """
    metrics = Metrics(bureau.store, bureau.clock)
    gate = Gate(bureau.desk, bureau.home, limits or Limits())
    gateway = _Gateway(bureau, gate, metrics)
    routes = [
        Route("/v1/reports/{digest}", gateway.put_report, methods=["PUT"]),
        Route("/v1/reports/{digest}", gateway.get_report, methods=["GET"]),
        Route("/v1/reports/{digest}/result", gateway.get_result, methods=["GET"]),
        Route("/v1/reports/{digest}/ack", gateway.put_ack, methods=["PUT"]),
        Route("/v1/taxpayers/{taxpayer_id}/standing", gateway.get_standing, methods=["GET"]),
        Route("/v1/trust", gateway.get_trust, methods=["GET"]),
        Route("/healthz", gateway.get_health, methods=["GET"]),
        Route("/readyz", gateway.get_ready, methods=["GET"]),
        Route("/metrics", gateway.get_metrics, methods=["GET"]),
        Route("/openapi.json", gateway.get_openapi, methods=["GET"]),
    ]
    manners = Middleware(
        Manners,
        metrics=metrics,
        log=log,
        clock=bureau.clock,
        most=gate.requests,
        answer=_any,
    )
    return Starlette(
        routes=routes, middleware=[manners], exception_handlers={Refusal: _refused, HTTPException: _http_error}
    )


class _Gateway:
    """The handlers."""

    def __init__(self, bureau: Bureau, gate: Gate, metrics: Metrics) -> None:
        self._bureau = bureau
        self._desk = bureau.desk
        self._gate = gate
        self._metrics = metrics
        self._door = Doorkeeper(bureau.store, bureau.clock)

    async def _admit(self, http: HttpRequest, request: Request) -> StationKey:
        """Return who asks."""
        current_default_thread_limiter().total_tokens = _THREADS
        key = await run_in_threadpool(self._door.admit, request)
        http.scope["taxferry.key"] = key.fingerprint
        return key

    async def put_report(self, http: HttpRequest) -> Response:
        """Take a `.dat`, or a part of one."""
        request = _received(http)
        promised = request.body_sha256()
        part = _part(request, promised) if request.header("content-range") else None
        limit = part.size if part is not None else MAX_FILE_BYTES
        _check_length(request, limit, _too_large(limit) if part is None else _not_that_long())
        digest = _digest(http)
        try:
            with self._gate.upload():
                key, known = await run_in_threadpool(self._begin, http, request, digest)
                return await self._receive(http, key, known, digest, part, promised, limit)
        except Full as full:
            self._metrics.shed(full.reason)
            raise

    def _begin(self, http: HttpRequest, request: Request, digest: str) -> tuple[StationKey, Report | None]:
        """Say whether an upload may begin, before a byte of it is read; return who sends it, and the report if known."""
        self._gate.check(int(request.header("content-length") or 0))
        key = self._door.admit(request)
        http.scope["taxferry.key"] = key.fingerprint
        return key, self._desk.check_upload(key, digest)

    async def _receive(
        self,
        http: HttpRequest,
        key: StationKey,
        known: Report | None,
        digest: str,
        part: Part | None,
        promised: bytes,
        limit: int,
    ) -> Response:
        upload = self._bureau.spool.begin(limit)
        try:
            async for chunk in http.stream():
                upload.write(chunk)
            taken = await run_in_threadpool(self._take, key, known, digest, part, promised, upload)
        except TooLarge:
            raise _too_large(MAX_FILE_BYTES) if part is None else _not_that_long() from None
        except ClientDisconnect:
            raise Refusal(Kind.BAD_REQUEST, Text("上传中断", "the upload ended early")) from None
        except OSError as error:
            raise Refusal(Kind.BUSY, Text("税局暂时不能存放文件", "the bureau cannot store files now")) from error
        finally:
            upload.abandon()
        if isinstance(taken, Partial):
            status = ReportStatus(report_digest=digest, state="partial", offset=taken.offset)
            return JSONResponse(status.model_dump(mode="json"), 202, headers=_NO_STORE)
        return _text(taken.receipt, 201 if taken.new else 200)

    def _take(
        self, key: StationKey, known: Report | None, digest: str, part: Part | None, promised: bytes, upload: Upload
    ) -> Taken | Partial:
        arrival: Arrival = upload.finish(durable=part is None)
        _check_promise(promised, arrival.sha256)
        if part is None:
            taken = self._desk.take(key, digest, arrival, known)
            self._desk.forget_parts(key, digest)
            return taken
        if arrival.size_bytes != part.size:
            raise _not_that_long()
        return self._desk.take_part(key, digest, part, arrival)

    async def get_report(self, http: HttpRequest) -> Response:
        """Say where a report stands."""
        key = await self._admit(http, _received(http))
        status = await run_in_threadpool(self._desk.status, key, _digest(http))
        return JSONResponse(status.model_dump(mode="json"), headers=_NO_STORE)

    async def get_result(self, http: HttpRequest) -> Response:
        """Give the newest result, or `Y`."""
        key = await self._admit(http, _received(http))
        answer = await run_in_threadpool(self._desk.answer, key, _digest(http))
        if answer.text is None:
            return _text(b"Y", 202, {"Retry-After": str(answer.retry_after)})
        return _text(answer.text, 200)

    async def put_ack(self, http: HttpRequest) -> Response:
        """Take an `.ack`."""
        request = _received(http)
        promised = request.body_sha256()
        _check_length(request, MAX_TEXT_BYTES, _too_large(MAX_TEXT_BYTES))
        key = await self._admit(http, request)
        digest = _digest(http)
        body = await _small_body(http, MAX_TEXT_BYTES, promised)
        await run_in_threadpool(self._desk.acknowledge, key, digest, body)
        status = await run_in_threadpool(self._desk.status, key, digest)
        return JSONResponse(status.model_dump(mode="json"), headers=_NO_STORE)

    async def get_standing(self, http: HttpRequest) -> Response:
        """Say what is known of a taxpayer's month."""
        key = await self._admit(http, _received(http))
        period = http.query_params.get("period", "")
        if _PERIOD.fullmatch(period) is None:
            raise Refusal(Kind.BAD_REQUEST, Text("period 应为 YYYY-MM", "period must be YYYY-MM"))
        try:
            taxpayer_id = parse_taxpayer_id(http.path_params["taxpayer_id"])
        except NameInvalid as error:
            raise Refusal(Kind.BAD_REQUEST, error.text) from None
        standing = await run_in_threadpool(self._desk.standing, key, taxpayer_id, period)
        return JSONResponse(standing.model_dump(mode="json"), headers=_NO_STORE)

    async def get_trust(self, _http: HttpRequest) -> Response:
        """Give the trust file; it proves itself, so anyone may ask for it."""
        data = await run_in_threadpool(self._trust_file)
        return _text(data, 200)

    def _trust_file(self) -> bytes:
        with self._bureau.store.read() as tx:
            data = tx.trust_file()
        assert data is not None, "an initialised bureau has one"
        return data

    async def get_health(self, _http: HttpRequest) -> Response:
        """Say that the program runs."""
        return JSONResponse({"status": "ok"}, headers=_NO_STORE)

    async def get_ready(self, _http: HttpRequest) -> Response:
        """Say that the store answers."""
        await run_in_threadpool(self._trust_file)
        return JSONResponse({"status": "ready"}, headers=_NO_STORE)

    async def get_metrics(self, _http: HttpRequest) -> Response:
        """Give the numbers for monitoring."""
        return Response(
            await run_in_threadpool(self._metrics.text), media_type=None, headers={"Content-Type": CONTENT_TYPE}
        )

    async def get_openapi(self, _http: HttpRequest) -> Response:
        """Give the description of this interface."""
        return JSONResponse(document())


def _received(http: HttpRequest) -> Request:
    raw_path = http.scope.get("raw_path") or http.scope["path"].encode("ascii", "replace")
    return Request(
        method=http.method,
        path=raw_path.split(b"?", 1)[0].decode("latin-1"),
        query=http.scope.get("query_string", b"").decode("latin-1"),
        headers=tuple((n.decode("latin-1").lower(), v.decode("latin-1")) for n, v in http.scope["headers"]),
    )


def _digest(http: HttpRequest) -> str:
    try:
        return parse_report_digest(http.path_params["digest"])
    except NameInvalid as error:
        raise Refusal(Kind.BAD_REQUEST, error.text) from None


def _part(request: Request, sha256: bytes) -> Part:
    """Return what a request says about the part of a file that it brings (GW-30)."""
    found = parse_range(request.header("content-range"))
    if found is None:
        raise Refusal(Kind.BAD_REQUEST, Text("Content-Range 无效", "Content-Range is invalid"))
    whole = request.header("repr-digest")
    if not whole:
        raise Refusal(Kind.BAD_REQUEST, Text("缺少 Repr-Digest", "Repr-Digest is missing"))
    try:
        part = Part(*found, sha256=sha256, whole_sha256=parse_content_digest(whole))
    except SignatureRefused as error:
        raise Refusal(Kind.BAD_REQUEST, error.text) from None
    if part.total > MAX_FILE_BYTES:
        raise _too_large(MAX_FILE_BYTES)
    if part.size > MAX_PART_BYTES:
        raise _too_large(MAX_PART_BYTES)
    return part


def _not_that_long() -> Refusal:
    return Refusal(
        Kind.BAD_REQUEST,
        Text("这一段的长度与 Content-Range 不符", "the part is not as long as Content-Range says"),
    )


def _check_length(request: Request, limit: int, refusal: Refusal) -> None:
    """Refuse a body that says itself that it is longer than it may be, before reading any of it."""
    length = request.header("content-length")
    if length and (not length.isascii() or not length.isdigit()):
        raise Refusal(Kind.BAD_REQUEST, Text("Content-Length 无效", "Content-Length is invalid"))
    if length and (len(length) > 15 or int(length) > limit):
        raise refusal


def _too_large(limit: int) -> Refusal:
    return Refusal(Kind.TOO_LARGE, Text(f"超过 {limit} 字节", f"it is larger than {limit} bytes"))


def _check_promise(promised: bytes, found: bytes) -> None:
    if promised != found:
        raise Refusal(
            Kind.BODY_DIGEST,
            Text(
                "收到的内容与 Content-Digest 不符，请重新上传", "the body is not that of Content-Digest: send it again"
            ),
        )


async def _small_body(http: HttpRequest, limit: int, promised: bytes) -> bytes:
    body = b""
    async for chunk in http.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    _check_promise(promised, hashlib.sha256(body).digest())
    return body


def _text(data: bytes, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(data, status, {**_NO_STORE, **(headers or {})}, media_type=_TEXT)


def problem(
    status: int, kind: str, text: Text, code: str, *, retry_after: int | None = None, **more: object
) -> Response:
    """Return an answer of RFC 9457; `code` is the field's number where the field has one."""
    if retry_after is None and status == 429:
        retry_after = _BUSY_SECONDS
    return JSONResponse(
        {
            "type": f"urn:taxferry:problem:{kind}",
            "title": kind.replace("-", " "),
            "status": status,
            "detail": text.zh,
            "detail_en": text.en,
            "code": code,
            **more,
        },
        status,
        headers={**_NO_STORE, **({"Retry-After": str(retry_after)} if retry_after is not None else {})},
        media_type="application/problem+json",
    )


async def _refused(http: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return _refusal(http.scope, error)


async def _http_error(http: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind, said = _HTTP_ERRORS.get(error.status_code, ("http", both(str(error.detail))))
    found = problem(error.status_code, kind, said, kind, request_id=request_id(http.scope))
    found.headers.update(error.headers or {})
    return found


def _any(scope: Any, error: Exception) -> Response:
    """Return the answer to any error.

    One of the store is 503 and not 429: its last word, the commit, may have been obeyed, and so the caller has to ask.
    """
    if isinstance(error, Refusal):
        return _refusal(scope, error)
    own = request_id(scope)
    if isinstance(error, DBAPIError | PoolTimeout):
        said = Text("税局的数据库暂时不可用", "the bureau's database is not available now")
        return problem(503, "store-unavailable", said, "store-unavailable", retry_after=_BUSY_SECONDS, request_id=own)
    said = Text(f"税局程序出错，编号 {own}", f"a defect of the bureau's program, under the id {own}")
    return problem(500, "internal", said, "internal", request_id=own)


def _refusal(scope: Any, error: Refusal) -> Response:
    more = {**error.more, **({"field_code": error.field_code} if error.field_code else {})}
    own = request_id(scope)
    return problem(
        STATUS[error.kind],
        error.kind.value,
        error.text,
        error.code,
        retry_after=error.retry_after,
        request_id=own,
        **more,
    )
