"""The one module that speaks to a bureau (GW-1 to GW-16, and GW-30 to GW-39 for large reports). Another bureau's client replaces this module and nothing else.

Every call ends in one of three ways. It returns: the bureau has answered yes. It raises `BureauRefused`: the bureau
has answered no. It raises `OutcomeUnknown`: sending had begun and no believable answer came. What certainly did not
arrive is `BureauUnreachable`, what may come again later `BureauBusy`. Nothing here is believed without a signature
except refusals and states, and those never end a report's life.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO, Final, Protocol
from urllib.parse import quote, urlsplit

import requests
from requests.adapters import HTTPAdapter

from shared.canonical import clean_value
from shared.clock import Clock
from shared.envelope.roles import fingerprint
from shared.errors import (
    BureauBusy,
    BureauRefused,
    BureauUnreachable,
    ClockSkew,
    ConfigurationError,
    NotTheBureau,
    OutcomeUnknown,
    ReportInvalid,
)
from shared.httpsig import content_digest, sign_request
from shared.keys.port import Signer
from shared.model.result import is_processing
from shared.model.standing import ReportStatus, Standing, parse_report_status, parse_standing
from shared.model.trust import MAX_TRUST_BYTES
from shared.text import Text, both
from shared.text.system import os_reason

CONNECT_SECONDS: Final = 10.0
READ_SECONDS: Final = 60.0
UPLOAD_SECONDS: Final = 300.0
"""A bureau proves a whole report before it answers, and a large one takes a while."""
PART_BYTES: Final = 4 << 20
"""A larger report goes in parts of this size: a broken line costs no more than one."""
WHOLE_ANSWER_SECONDS: Final = 120.0
MAX_SMALL: Final = 1 << 18
_MAX_RETRY_AFTER: Final = 86400.0
_RECEIVING_SECONDS: Final = 30.0
_MOST_DETOURS: Final = 3
"""How often a bureau may say, without taking anything, that it wants another part than the one it was sent."""

Progress = Callable[[int, int], None]
"""Told how many octets of a report the bureau has, and how many there are."""


def _untold(_arrived: int, _size: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Processing:
    """The bureau answered `Y`.

    Attributes:
        retry_after: Seconds after which it wants to be asked again, if it said so.
    """

    retry_after: float | None


class Gateway(Protocol):
    """A bureau, as the station needs it."""

    @property
    def name(self) -> str:
        """The bureau's host, for messages."""
        ...

    def put_report(self, digest: str, path: Path, sha256: str, *, progress: Progress = _untold) -> bytes:
        """Send a report, a large one in parts from where the bureau has it; return the bureau's signed receipt.

        Args:
            digest: The report.
            path: Its file.
            sha256: Of the file that was proven, in hex.
            progress: Told after each part that the bureau has taken; the last one is told by the receipt.

        Raises:
            BureauUnreachable, BureauBusy: It has certainly not arrived, or not all of it.
            OutcomeUnknown: It may have arrived: ask `report_status` before sending again.
            BureauRefused: The bureau does not take it.
            ReportInvalid: The file in the spool is not the one that was proven. Nothing was sent.
        """
        ...

    def report_status(self, digest: str) -> ReportStatus | None:
        """Return where a report stands; None if the bureau never received it.

        Raises:
            BureauUnreachable, BureauBusy, OutcomeUnknown: There was no answer. Asking changes nothing.
            BureauRefused: The bureau does not tell us.
        """
        ...

    def result(self, digest: str) -> bytes | Processing:
        """Return the signed result, not yet proven.

        Raises:
            BureauUnreachable, BureauBusy, OutcomeUnknown: There was no answer. Asking changes nothing.
            BureauRefused: The bureau does not tell us.
        """
        ...

    def put_ack(self, digest: str, data: bytes) -> None:
        """Deliver a clear receipt.

        Raises:
            BureauUnreachable, BureauBusy: It has certainly not arrived.
            OutcomeUnknown: It may have arrived.
            BureauRefused: The bureau does not take it.
        """
        ...

    def standing(self, taxpayer_id: str, period: str) -> Standing:
        """Return the bureau's word on a taxpayer's month.

        Raises:
            BureauUnreachable, BureauBusy, OutcomeUnknown: There was no answer.
            BureauRefused: The bureau does not tell us.
        """
        ...

    def trust(self) -> bytes:
        """Return the current trust file, not yet proven.

        Raises:
            BureauUnreachable, BureauBusy, OutcomeUnknown, BureauRefused: There is none to be had now.
        """
        ...

    def clock(self) -> datetime:
        """Return the bureau's time.

        Raises:
            BureauUnreachable, BureauBusy, OutcomeUnknown, BureauRefused: It did not tell.
        """
        ...


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class _FileBody:
    """A request body that is read from a file, from its present position, and knows whether any of it was handed out.

    Attributes:
        begun: Whether the first byte may be on its way.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = self._left = size
        self.begun = False

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(1 << 16):
            yield chunk

    def read(self, size: int = -1) -> bytes:
        self.begun = True
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


class HttpGateway:
    """A bureau that speaks this project's HTTP interface."""

    def __init__(
        self,
        url: str,
        signer: Signer,
        clock: Clock,
        *,
        connect_seconds: float = CONNECT_SECONDS,
        read_seconds: float = READ_SECONDS,
        upload_seconds: float = UPLOAD_SECONDS,
        proxy: str = "",
        ca_file: Path | None = None,
        part_bytes: int = PART_BYTES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Speak to the bureau at `url`, signing with the enterprise's key.

        Args:
            url: `https://host[:port][/prefix]`; `http` is for tests and for gateways behind a local tunnel.
            signer: The station key.
            clock: For `created`.
            connect_seconds: How long to wait for a connection.
            read_seconds: How long to wait for the next bytes.
            upload_seconds: The same, for the answer to an upload.
            proxy: An HTTP proxy, or empty.
            ca_file: Certificates for TLS, if not the system's.
            part_bytes: A larger report goes in parts of this size.
            monotonic: Measures how long an answer takes.

        Raises:
            ConfigurationError: `url` is not an address that can be used.
        """
        self.url = check_url(url)
        self._signer = signer
        self._keyid = fingerprint(signer.certificate)
        self._clock = clock
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._upload_seconds = upload_seconds
        self.part_bytes = part_bytes
        self._monotonic = monotonic
        self._session = requests.Session()
        # No .netrc, no variables: what is sent where is decided by `init` alone.
        self._session.trust_env = False
        self._session.headers.clear()
        self._session.headers.update({"User-Agent": "taxferry", "Accept-Encoding": "identity", "Connection": "close"})
        self._session.mount("http://", HTTPAdapter(max_retries=0))
        self._session.mount("https://", HTTPAdapter(max_retries=0))
        if proxy:
            self._session.proxies = {"http": proxy, "https": proxy}
        if ca_file is not None:
            self._session.verify = str(ca_file)

    @property
    def name(self) -> str:
        """The bureau's host, for messages."""
        return urlsplit(self.url).netloc

    def put_report(self, digest: str, path: Path, sha256: str, *, progress: Progress = _untold) -> bytes:
        """Send a report, a large one in parts; return the bureau's signed receipt."""
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise ReportInvalid(
                    reason=Text(
                        "上网机保存的副本已损坏，请重新拷贝原文件", "this PC's copy is damaged; copy it here again"
                    )
                )
            size = file.tell()
            if size > self.part_bytes:
                return self._put_parts(digest, file, size, bytes.fromhex(sha256), progress)
            file.seek(0)
            answer = self._put_octets(digest, _FileBody(file, size), bytes.fromhex(sha256), self._upload_seconds)
        return self._accepted(answer, (200, 201), digest).body

    def _put_octets(
        self, digest: str, body: _FileBody, sha256: bytes, patience: float, fields: Mapping[str, str] | None = None
    ) -> _Answer:
        return self._send(
            "PUT",
            f"/v1/reports/{digest}",
            body=body,
            sha256=sha256,
            media="application/octet-stream",
            fields=fields,
            patience=patience,
            what=digest,
        )

    def _put_parts(self, digest: str, file: BinaryIO, size: int, sha256: bytes, progress: Progress) -> bytes:
        """Send a report in parts, each from where the bureau says that it has it (GW-38)."""
        offset = reached = self._offset(digest, size)
        detours = 0
        while True:
            length = min(self.part_bytes, size - offset)
            answer = self._put_part(digest, file, (offset, length, size), sha256)
            if answer.status == 202:
                told = self._told_offset(answer, digest)
            elif _problem_type(answer) == "part-offset":
                told = _whole_number(_members(answer).get("offset"))
            elif _problem_type(answer) == "other-upload":
                # Not about these octets, and over by itself: another file of the same report is on its way.
                wait = _retry_after(answer)
                raise BureauBusy(seconds=int(wait or 60), retry_after=wait)
            else:
                return self._accepted(answer, (200, 201), digest).body
            if answer.status != 202 or told != offset + length:
                detours += 1
            elif reached < told < size:
                # Only what was never there before makes up for a detour: no bureau can send us round for ever.
                reached, detours = told, 0
                progress(told, size)
            if told is None or not 0 <= told < size or detours > _MOST_DETOURS:
                raise OutcomeUnknown(report=digest[:12])
            offset = told

    def _put_part(self, digest: str, file: BinaryIO, where: tuple[int, int, int], whole_sha256: bytes) -> _Answer:
        offset, length, size = where
        file.seek(offset)
        part = _FileBody(file, length)
        found = hashlib.sha256()
        for chunk in part:
            found.update(chunk)
        file.seek(offset)
        fields = {
            "Content-Range": f"bytes {offset}-{offset + length - 1}/{size}",
            "Repr-Digest": content_digest(whole_sha256),
        }
        # Only after the last part does the bureau prove anything; a line that died in another one is noticed sooner.
        patience = self._upload_seconds if offset + length == size else self._read_seconds
        return self._put_octets(digest, _FileBody(file, length), found.digest(), patience, fields)

    def _offset(self, digest: str, size: int) -> int:
        """Ask from where a report is to be sent: what arrived earlier, perhaps before this program began, counts."""
        answer = self._send("GET", f"/v1/reports/{digest}", what=digest)
        if answer.status == 404 and _is_problem(answer):
            return 0
        status = _status(self._accepted(answer, (200,), digest), digest)
        if status.state == "receiving":
            wait = float(status.ask_after_seconds or _RECEIVING_SECONDS)
            raise BureauBusy(seconds=int(wait), retry_after=wait)
        # Any other state: the bureau has the report, and sending it again reopens it (GW-4).
        return status.offset if status.state == "partial" and status.offset < size else 0

    def _told_offset(self, answer: _Answer, digest: str) -> int | None:
        status = _status(answer, digest)
        return status.offset if status.state == "partial" else None

    def report_status(self, digest: str) -> ReportStatus | None:
        """Return where a report stands; None if the bureau never received it."""
        answer = self._send("GET", f"/v1/reports/{digest}", what=digest)
        if answer.status == 404 and _is_problem(answer):
            return None
        status = parse_report_status(self._accepted(answer, (200,), digest).body)
        if status.report_digest != digest:
            raise OutcomeUnknown(report=digest[:12])
        return status

    def result(self, digest: str) -> bytes | Processing:
        """Return the signed result, not yet proven."""
        answer = self._send("GET", f"/v1/reports/{digest}/result", what=digest)
        self._accepted(answer, (200, 202), digest)
        if answer.status == 202 or is_processing(answer.body):
            return Processing(_retry_after(answer))
        return answer.body

    def put_ack(self, digest: str, data: bytes) -> None:
        """Deliver a clear receipt."""
        answer = self._send(
            "PUT",
            f"/v1/reports/{digest}/ack",
            body=data,
            sha256=hashlib.sha256(data).digest(),
            media="text/plain; charset=utf-8",
            what=digest,
        )
        self._accepted(answer, (200, 201, 204), digest)

    def standing(self, taxpayer_id: str, period: str) -> Standing:
        """Return the bureau's word on a taxpayer's month."""
        answer = self._send("GET", f"/v1/taxpayers/{quote(taxpayer_id)}/standing?period={period}", what=taxpayer_id)
        standing = parse_standing(self._no_page(self._accepted(answer, (200,), taxpayer_id)).body)
        if (standing.taxpayer_id, standing.period) != (taxpayer_id, period):
            raise OutcomeUnknown(report=taxpayer_id)
        return standing

    def trust(self) -> bytes:
        """Return the current trust file, not yet proven."""
        answer = self._send("GET", "/v1/trust", what="trust", limit=MAX_TRUST_BYTES)
        return self._no_page(self._accepted(answer, (200,), "trust")).body

    def clock(self) -> datetime:
        """Return the bureau's time."""
        answer = self._no_page(self._send("GET", "/healthz", what="healthz"))
        try:
            return parsedate_to_datetime(answer.headers.get("date", ""))
        except ValueError:
            raise NotTheBureau(host=self.name, reason=Text("没有时间", "it tells no time")) from None

    def _send(
        self,
        method: str,
        target: str,
        *,
        what: str,
        body: _FileBody | bytes | None = None,
        sha256: bytes | None = None,
        media: str = "",
        fields: Mapping[str, str] | None = None,
        patience: float | None = None,
        limit: int = MAX_SMALL,
    ) -> _Answer:
        url = self.url + target
        headers = sign_request(
            method,
            url,
            None if sha256 is None else content_digest(sha256),
            self._signer,
            created=int(self._clock.now().timestamp()),
            nonce=secrets.token_hex(16),
            keyid=self._keyid,
            fields=fields,
        )
        if media:
            headers["Content-Type"] = media
        try:
            with self._session.request(
                method,
                url,
                data=body,
                headers=headers,
                timeout=(self._connect_seconds, self._read_seconds if patience is None else patience),
                allow_redirects=False,
                stream=True,
            ) as response:
                data = self._read(response, limit)
                lowered = {name.lower(): value for name, value in response.headers.items()}
                return _Answer(response.status_code, lowered, data)
        except requests.RequestException as error:
            begun = body.begun if isinstance(body, _FileBody) else body is not None
            if begun and not _never_connected(error):
                raise OutcomeUnknown(report=what[:12]) from error
            raise BureauUnreachable(host=self.name, reason=_why(error)) from error
        finally:
            # No connection is used twice: one that the other side has closed meanwhile looks like a lost reply.
            self._session.close()

    def _read(self, response: requests.Response, limit: int) -> bytes:
        """Read an answer of bounded length in bounded time: a socket that drips one byte a minute ends too."""
        began = self._monotonic()
        parts: list[bytes] = []
        size = 0
        for part in response.iter_content(1 << 14):
            size += len(part)
            if size > limit or self._monotonic() - began > WHOLE_ANSWER_SECONDS:
                raise requests.exceptions.ContentDecodingError("the answer is too long")
            parts.append(part)
        return b"".join(parts)

    def _accepted(self, answer: _Answer, statuses: tuple[int, ...], what: str) -> _Answer:
        """Return the answer if it is a yes; else raise what it is."""
        if answer.status in statuses:
            return answer
        if answer.status == 429:
            raise BureauBusy(seconds=int(_retry_after(answer) or 60), retry_after=_retry_after(answer))
        if answer.status >= 500:
            # A gateway in front may have given up on a bureau that has the report: that is no answer about it.
            raise OutcomeUnknown(report=what[:12], retry_after=_retry_after(answer))
        if _is_problem(answer) and _problem(answer).get("type", "").endswith("nonce-replayed"):
            # This very request was there before: something on the way sent it twice. The first one had an answer.
            raise OutcomeUnknown(report=what[:12])
        if not _is_problem(answer):
            raise NotTheBureau(
                host=self.name,
                reason=Text(f"意外的 HTTP 状态 {answer.status}", f"unexpected HTTP status {answer.status}"),
            )
        raise self._refusal(answer)

    def _no_page(self, answer: _Answer) -> _Answer:
        """Return the answer to a question, unless it is a page for people: a login page answers anything with 200."""
        html = answer.headers.get("content-type", "").split(";")[0].strip().lower() == "text/html"
        if html and answer.body.lstrip().startswith(b"<"):
            raise NotTheBureau(host=self.name, reason=Text("回答的是一个网页", "it answered with a web page"))
        return answer

    def _refusal(self, answer: _Answer) -> BureauRefused:
        problem = _problem(answer)
        code = _CODE.sub("", problem.get("code", ""))[:32]
        words = clean_value(problem.get("detail") or problem.get("title") or f"HTTP {answer.status}")
        english = clean_value(problem.get("detail_en", "")) or words
        if "clock-skew" in problem.get("type", ""):
            return ClockSkew(reason=Text(words, english), fault="B4202", status=answer.status)
        return BureauRefused(
            reason=Text(f"{code} {words}".strip(), f"{code} {english}".strip()),
            fault=code or "B4201",
            status=answer.status,
            bureau_code=code,
            bureau_message=words,
        )


def check_url(url: str) -> str:
    """Return a bureau's address without a final slash.

    Raises:
        ConfigurationError: Not `http(s)://host[:port][/prefix]`.
    """
    try:
        parts = urlsplit(url)
        usable = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and url.isascii()
            and (parts.port is None or parts.port > 0)
            and not (parts.query or parts.fragment or parts.username or parts.password)
            and re.search(r"[\s\x00-\x1f]", url) is None
        )
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(
            reason=Text(f"税局网址“{url[:200]}”不能使用", f"the bureau's address '{url[:200]}' cannot be used")
        )
    return url.rstrip("/")


_CODE: Final = re.compile(r"[^0-9A-Za-z@._-]")


def _is_problem(answer: _Answer) -> bool:
    return answer.headers.get("content-type", "").split(";")[0].strip().lower() == "application/problem+json"


def _members(answer: _Answer) -> dict[str, object]:
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _problem(answer: _Answer) -> dict[str, str]:
    return {k: v for k, v in _members(answer).items() if isinstance(v, str)}


def _problem_type(answer: _Answer) -> str:
    """Return the last word of a 409's type, which says what kind of conflict it is; empty for any other answer."""
    if answer.status != 409 or not _is_problem(answer):
        return ""
    return re.split(r"[:/]", _problem(answer).get("type", ""))[-1]


def _whole_number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _status(answer: _Answer, digest: str) -> ReportStatus:
    """Return the status in an answer to an upload, or about to be one.

    Raises:
        OutcomeUnknown: It does not parse, or is another report's.
    """
    try:
        status = parse_report_status(answer.body)
    except BureauRefused as error:
        raise OutcomeUnknown(report=digest[:12]) from error
    if status.report_digest != digest:
        raise OutcomeUnknown(report=digest[:12])
    return status


def _retry_after(answer: _Answer) -> float | None:
    given = answer.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,8}", given, re.ASCII):
        return min(float(given), _MAX_RETRY_AFTER)
    try:
        at, sent = parsedate_to_datetime(given), parsedate_to_datetime(answer.headers.get("date", ""))
        return min(max((at - sent).total_seconds(), 0.0), _MAX_RETRY_AFTER)
    except (ValueError, TypeError):
        return None


def _never_connected(error: requests.RequestException) -> bool:
    """Return whether the request failed before a connection existed, so that nothing can have arrived."""
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.InvalidURL | requests.exceptions.ProxyError):
        return True
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return type(reason).__name__ in ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError")


def _why(error: requests.RequestException) -> Text:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    name = type(reason if reason is not None else error).__name__
    cause = getattr(reason, "__cause__", None)
    if name in _WHY:
        return _WHY[name]
    return os_reason(cause) if isinstance(cause, OSError) else both(name)


_WHY: Final = {
    "NameResolutionError": Text("网址解析不了", "the name cannot be resolved"),
    "ConnectTimeoutError": Text("连接超时", "no connection in time"),
    "ConnectTimeout": Text("连接超时", "no connection in time"),
    "ProxyError": Text("代理不可用", "the proxy does not work"),
    "SSLError": Text("TLS 证书不被信任", "the TLS certificate is not trusted"),
    "InvalidURL": Text("网址不能使用", "the address cannot be used"),
    "ConnectionError": Text("还没答复，连接就断了", "the connection closed before there was an answer"),
    "ProtocolError": Text("还没答复，连接就断了", "the connection closed before there was an answer"),
    "ReadTimeout": Text("等不到答复", "no answer in time"),
    "ReadTimeoutError": Text("等不到答复", "no answer in time"),
    "ChunkedEncodingError": Text("答复没有收完，连接就断了", "the connection closed in the middle of the answer"),
    "ContentDecodingError": Text("答复太大或太慢", "the answer is too large or too slow"),
}
