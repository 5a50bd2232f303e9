"""Requests as they are wanted, also such as no honest client sends, and whatever comes back."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import re
import secrets
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from shared.clock import Clock
from shared.envelope.roles import fingerprint
from shared.httpsig import authority_of, content_digest, sign_request
from shared.keys.port import Signer
from shared.text.system import os_reason

_SECONDS: Final = 60.0
_MOST: Final = 4 << 20
Fields = list[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: 0 if nothing did.
        headers: By name in lower case.
        body: At most 4 MiB of it.
        trouble: Why nothing came.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    trouble: str = ""

    @property
    def is_problem(self) -> bool:
        """Whether it is an answer of RFC 9457."""
        return self.headers.get("content-type", "").split(";")[0].strip().lower() == "application/problem+json"

    @property
    def members(self) -> dict[str, Any]:
        """The members of a JSON body; none if it is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def kind(self) -> str:
        """The last word of a problem's type."""
        return re.split(r"[:/]", str(self.members.get("type", "")))[-1] if self.is_problem else ""

    def __str__(self) -> str:
        return self.trouble or f"{self.status} {self.body[:160].decode('utf-8', 'replace')}".strip()


class Wire:
    """The way to a bureau."""

    def __init__(self, url: str, clock: Clock, ca_file: Path | None = None) -> None:
        """Speak to the bureau at `url`."""
        self.url = url.rstrip("/")
        self.clock = clock
        self._parts = urlsplit(self.url)
        self._context = None
        if self._parts.scheme == "https":
            self._context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)

    @property
    def authority(self) -> str:
        """The address as it is signed."""
        return authority_of(self.url)

    def sign(
        self,
        signer: Signer,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        created: int | None = None,
        nonce: str | None = None,
        fields: Mapping[str, str] | None = None,
        promised: bytes | None = None,
        url: str | None = None,
    ) -> Fields:
        """Return the header fields of an honest request; `promised` is a digest that is not the body's."""
        digest = hashlib.sha256(body).digest() if body is not None else None
        found = sign_request(
            method,
            (url or self.url) + target,
            None if digest is None else content_digest(promised or digest),
            signer,
            created=int(self.clock.now().timestamp()) if created is None else created,
            nonce=nonce or secrets.token_hex(16),
            keyid=fingerprint(signer.certificate),
            fields=fields,
        )
        return list(found.items())

    def ask(self, signer: Signer, method: str, target: str, body: bytes | None = None, **how: Any) -> Answer:
        """Send an honest request."""
        cut = how.pop("cut", None)
        return self.send(method, target, body, self.sign(signer, method, target, body, **how), cut=cut)

    def send(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        fields: Iterable[tuple[str, str]] = (),
        *,
        host: str | None = None,
        cut: int | None = None,
    ) -> Answer:
        """Send a request with exactly these fields; the line may break after `cut` octets of the body."""
        secure = self._context is not None
        place, port = self._parts.hostname or "", self._parts.port or (443 if secure else 80)
        connection = (
            http.client.HTTPSConnection(place, port, timeout=_SECONDS, context=self._context)
            if secure
            else http.client.HTTPConnection(place, port, timeout=_SECONDS)
        )
        try:
            connection.putrequest(method, self._parts.path + target, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", host or self._parts.netloc)
            for name, value in fields:
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            self._write(connection, body, cut)
            if cut is not None:
                return Answer(0, trouble="cut")
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read(_MOST))
        except OSError as error:
            return Answer(0, trouble=str(os_reason(error)))
        except http.client.HTTPException as error:
            return Answer(0, trouble=type(error).__name__)
        finally:
            connection.close()

    @staticmethod
    def _write(connection: http.client.HTTPConnection, body: bytes | None, cut: int | None) -> None:
        # It may have answered before it had everything.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if body:
                connection.send(body if cut is None else body[:cut])


def covering(fields: Fields, components: Iterable[str]) -> str:
    """Return the `Signature-Input` of signed fields with other covered components."""
    given = dict(fields)["Signature-Input"]
    return f"taxferry=({' '.join(f'{chr(34)}{name}{chr(34)}' for name in components)}){given.partition(')')[2]}"
