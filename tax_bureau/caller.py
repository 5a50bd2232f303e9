"""Who sends a request: the signature over it, its age, its nonce (GW-20 to GW-27).

Order: the signature's form, the key it names, the signature itself, then age and nonce. A nonce is kept only for a
request that was really signed: nobody else can use it up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography import x509

from shared.clock import Clock, format_time
from shared.errors import SignatureRefused
from shared.httpsig import (
    NONCE_MEMORY_SECONDS,
    WINDOW_SECONDS,
    parse_content_digest,
    parse_signature,
    verify_request,
)
from shared.text import Text
from tax_bureau.refusal import Kind, Refusal
from tax_bureau.store import StationKey, Store

_SINGLE: Final = frozenset(
    {"host", "signature", "signature-input", "content-digest", "content-range", "repr-digest", "content-length"}
)


@dataclass(frozen=True)
class Request:
    """A request as it was received, before anybody believes it.

    Attributes:
        method: In capitals.
        path: Percent-encoded, as sent.
        query: As sent, without `?`.
        headers: Names and values, in lower case and as sent.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str:
        """Return a header field, or an empty text."""
        return next((value for known, value in self.headers if known == name), "")

    def body_sha256(self) -> bytes:
        """Return the SHA-256 that the request promises for its body.

        Raises:
            Refusal: It promises none, or not in the profile's spelling.
        """
        value = self.header("content-digest")
        if not value:
            raise Refusal(Kind.BAD_REQUEST, Text("缺少 Content-Digest", "Content-Digest is missing"))
        try:
            return parse_content_digest(value)
        except SignatureRefused as error:
            raise Refusal(Kind.BAD_REQUEST, error.text) from None


class Doorkeeper:
    """Finds out who sends a request."""

    def __init__(self, store: Store, clock: Clock) -> None:
        """Know the keys and the nonces in `store`."""
        self._store = store
        self._clock = clock

    def admit(self, request: Request) -> StationKey:
        """Return the key under which a request was sent; whether it is on file is another question.

        Raises:
            Refusal: Not signed by a key known here, too old or too new, or seen before.
        """
        headers = _single(request.headers)
        try:
            given = parse_signature(headers)
        except SignatureRefused as error:
            raise Refusal(Kind.UNSIGNED, error.text) from None
        with self._store.read() as tx:
            key = tx.station_key(given.keyid)
        if key is None:
            raise _not_on_file(
                Text("验证签名失败：税局没有登记这把U棒", "the signature does not verify: this key is not known here")
            )
        certificate = _certificate(key.certificate)
        try:
            verify_request(request.method, headers.get("host", ""), request.path, request.query, headers, certificate)
        except SignatureRefused as error:
            raise _not_on_file(error.text) from None
        now = self._clock.now()
        if abs(now.timestamp() - given.created) > WINDOW_SECONDS:
            raise Refusal(
                Kind.CLOCK_SKEW,
                Text(
                    f"请求的时间与税局相差超过 {WINDOW_SECONDS} 秒；税局时间 {format_time(now)}",
                    f"the request is more than {WINDOW_SECONDS} s off; the bureau's time is {format_time(now)}",
                ),
                server_time=format_time(now),
            )
        expires = now.timestamp() + NONCE_MEMORY_SECONDS
        fresh = self._store.remember_nonce(given.keyid, given.nonce, now=now.timestamp(), expires_at=expires)
        if not fresh:
            raise Refusal(Kind.NONCE_REPLAYED, Text("这个请求已经收到过", "this very request was received before"))
        return key


@lru_cache(maxsize=4096)
def _certificate(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def _not_on_file(text: Text) -> Refusal:
    return Refusal(Kind.KEY_NOT_ON_FILE, text, code="2734", field_code="0x8204000D")


def _single(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        if name in found and name in _SINGLE:
            raise Refusal(Kind.BAD_REQUEST, Text(f"请求头 {name} 重复", f"header field {name} stands twice"))
        found[name] = value
    return found
