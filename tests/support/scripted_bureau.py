"""A lean bureau in a process of its own, for thousands of reports: `python -m tests.support.scripted_bureau FOLDER`.

Real HTTP on 127.0.0.1 and real signatures: every request's is verified, receipts are signed when they are given, results
were signed beforehand (`tests.support.agency_month`). It judges nothing. What it measures is how it was asked: how many
requests at the same time, when each one began, who came before the `Retry-After` that he was told.

It prints its URL when it is ready. `GET /stats` tells what it has seen, as JSON; `PUT /outage` makes it close every
connection unread for as many seconds as the body says, and hand out nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import resource
import time
from collections import Counter
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from shared.clock import SystemClock
from shared.envelope.textsign import sign_text
from shared.errors import TaxferryError
from shared.httpsig import content_digest, parse_signature, verify_request
from shared.ids import ReportDigest
from shared.model.receipt import Receipt, render_receipt
from tests.support.agency_month import PERIOD, Month, receipt_no

TROUBLES = ("429", "503", "refuse", "drop", "slow", "503-bare")


@dataclass
class Seen:
    """What the bureau has seen.

    Attributes:
        requests: How many, by kind.
        taken: Times at which each report was taken for the first time.
        puts: Complete uploads, by report.
        acks: Clear receipts that arrived, by report.
        at_once: Requests under way now.
        most_at_once: The most that there ever were.
        begun: When each request began.
        early: Requests for a report that came before the moment that its last answer named.
        early_all: Requests that came although the bureau had asked everybody to wait.
        during_outage: When connections came while there was nobody.
        troubles: How often it misbehaved, by kind.
        bad: Requests whose signature does not hold.
    """

    requests: Counter[str] = field(default_factory=Counter)
    taken: dict[str, float] = field(default_factory=dict)
    puts: Counter[str] = field(default_factory=Counter)
    acks: Counter[str] = field(default_factory=Counter)
    at_once: int = 0
    most_at_once: int = 0
    begun: list[float] = field(default_factory=list)
    early: list[tuple[str, float]] = field(default_factory=list)
    during_outage: list[float] = field(default_factory=list)
    troubles: Counter[str] = field(default_factory=Counter)
    bad: int = 0


class Bureau:
    """The bureau's memory and its temper."""

    def __init__(self, month: Month, *, seconds: float, trouble: float, seed: int, slow: float, verify: bool) -> None:
        """Serve the papers of a month.

        Args:
            month: The papers.
            seconds: How long it works on a report.
            trouble: Which part of all requests goes wrong.
            seed: Of the chance that decides which.
            slow: How many seconds a slow answer takes.
            verify: Whether requests' signatures are looked at.
        """
        self.month, self.seconds, self.trouble, self.slow, self.verify = month, seconds, trouble, slow, verify
        self.seen = Seen()
        self.rng = random.Random(seed)
        self.trust = month.trust
        self.keyid = hashlib.sha256(month.station.public_bytes(Encoding.DER)).hexdigest()
        self.outage_until = 0.0
        self.not_before: dict[str, float] = {}
        self.receipts: dict[str, bytes] = {}
        self.nonces: set[str] = set()

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes, str, str]:
        """Return status, body, type and `Retry-After` of an answer."""
        path, _, query = target.partition("?")
        if self.verify:
            self._check(method, path, query, headers, body)
        match path.strip("/").split("/"):
            case ["v1", "reports", digest] if method == "PUT":
                return self._take(digest, body)
            case ["v1", "reports", digest]:
                return self._status(digest)
            case ["v1", "reports", digest, "result"]:
                return self._result(digest)
            case ["v1", "reports", digest, "ack"]:
                if digest not in self.seen.taken:
                    return _problem(404)
                self.seen.acks[digest] += 1
                return 204, b"", "", ""
            case ["v1", "taxpayers", taxpayer_id, "standing"]:
                return self._standing(taxpayer_id)
            case ["v1", "trust"]:
                return 200, self.trust, "text/plain", ""
            case ["healthz"]:
                return 200, b"{}", "application/json", ""
        return _problem(404)

    def _check(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> None:
        try:
            given = parse_signature(headers)
            verify_request(method, headers["host"], path, query, headers, self.month.station)
            wrong = given.nonce in self.nonces or given.keyid != self.keyid
            self.nonces.add(given.nonce)
            if method == "PUT":
                wrong |= headers["content-digest"] != content_digest(hashlib.sha256(body).digest())
        except (TaxferryError, KeyError):
            wrong = True
        self.seen.bad += wrong

    def _take(self, digest: str, body: bytes) -> tuple[int, bytes, str, str]:
        case = self.month.cases.get(digest)
        if case is None or body != self.month.report(case).read_bytes():
            return _problem(422)
        self.seen.puts[digest] += 1
        new = digest not in self.receipts
        if new:
            now = SystemClock().now()
            made = Receipt(case.name, ReportDigest(digest), receipt_no(digest), now, round(self.seconds))
            self.receipts[digest] = sign_text(render_receipt(made), self.month.bureau, signing_time=now)
            self.seen.taken[digest] = time.time()
        return 201 if new else 200, self.receipts[digest], "text/plain; charset=utf-8", ""

    def _status(self, digest: str) -> tuple[int, bytes, str, str]:
        if digest not in self.receipts:
            return _problem(404)
        state = "closed" if self.seen.acks[digest] else "succeeded" if self._ready(digest) else "processing"
        body = {
            "report_digest": digest,
            "state": state,
            "receipt_no": receipt_no(digest),
            "ask_after_seconds": round(self.seconds),
            "code": "",
        }
        return 200, json.dumps(body).encode(), "application/json", ""

    def _ready(self, digest: str) -> bool:
        return time.time() >= self.seen.taken[digest] + self.seconds

    def _result(self, digest: str) -> tuple[int, bytes, str, str]:
        if digest not in self.receipts:
            return _problem(404)
        if self._ready(digest):
            return 200, self.month.result(digest), "text/plain; charset=utf-8", ""
        left = self.seen.taken[digest] + self.seconds - time.time()
        return 202, b"Y", "text/plain", str(max(1, round(left)))

    def _standing(self, taxpayer_id: str) -> tuple[int, bytes, str, str]:
        body = {
            "taxpayer_id": taxpayer_id,
            "period": PERIOD,
            "enrolled": True,
            "declared": True,
            "machines_expected": [0],
            "machines_reported": [],
            "key_fingerprints": [self.keyid],
            "lock_date": "",
            "upload_deadline": "",
            "bureau_time": SystemClock().now().isoformat(),
        }
        return 200, json.dumps(body).encode(), "application/json", ""

    def mood(self, kind: str) -> str:
        """Return how a request is to go wrong, or nothing."""
        if kind == "trust" or self.rng.random() >= self.trouble:
            return ""
        mood = self.rng.choice(TROUBLES)
        self.seen.troubles[mood] += 1
        return mood

    def stats(self) -> dict[str, Any]:
        """Return what was seen."""
        seen, used = self.seen, resource.getrusage(resource.RUSAGE_SELF)
        return {
            "requests": seen.requests,
            "taken": seen.taken,
            "most_puts": max(seen.puts.values(), default=0),
            "acks": len(seen.acks),
            "most_at_once": seen.most_at_once,
            "begun": seen.begun,
            "early": seen.early,
            "during_outage": seen.during_outage,
            "troubles": seen.troubles,
            "bad": seen.bad,
            "cpu": used.ru_utime + used.ru_stime,
        }


def _problem(status: int) -> tuple[int, bytes, str, str]:
    body = {"type": "about:blank", "title": "scripted", "status": status, "detail": "scripted", "code": ""}
    return status, json.dumps(body).encode(), "application/problem+json", ""


def kind_of(method: str, path: str) -> str:
    """Return what a request is: put, status, result, ack, standing, trust, or other."""
    match path.partition("?")[0].strip("/").split("/"):
        case ["v1", "reports", _]:
            return "put" if method == "PUT" else "status"
        case ["v1", "reports", _, ("result" | "ack") as kind]:
            return kind
        case ["v1", "taxpayers", *_]:
            return "standing"
        case ["v1", "trust"]:
            return "trust"
    return "other"


class _Connection(asyncio.Protocol):
    """One connection, one request."""

    def __init__(self, bureau: Bureau) -> None:
        self.bureau, self.data, self.need, self.counted = bureau, b"", -1, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.began = time.time()
        if self.began < self.bureau.outage_until:
            self.bureau.seen.during_outage.append(self.began)
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, found, body = self.data.partition(b"\r\n\r\n")
        if not found:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        if len(body) < int(headers.get("content-length", "0")):
            return None
        method, target, _ = first.split(" ")
        if target == "/stats":
            return self._reply(200, json.dumps(self.bureau.stats()).encode(), "application/json", "")
        if target == "/outage":
            self.bureau.outage_until = time.time() + float(body)
            return self._reply(204, b"", "", "")
        return self._handle(method, target, headers, body)

    def _handle(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        bureau, seen = self.bureau, self.bureau.seen
        kind = kind_of(method, target)
        seen.requests[kind] += 1
        seen.begun.append(self.began)
        seen.at_once += 1
        self.counted = True
        seen.most_at_once = max(seen.most_at_once, seen.at_once)
        about = target if kind in ("put", "status", "result", "ack") else ""
        if about and self.began < bureau.not_before.get(about, 0.0):
            seen.early.append((target, bureau.not_before[about] - self.began))
        mood = bureau.mood(kind)
        if mood == "refuse":
            return self.transport.abort()
        if mood in ("429", "503", "503-bare"):
            wait = "" if mood == "503-bare" else str(1 + int(bureau.rng.random() < 0.2))
            if wait and about:
                bureau.not_before[about] = time.time() + float(wait)
            status, answer, media, _ = _problem(int(mood[:3]))
            return self._reply(status, answer, media, wait)
        answered = bureau.answer(method, target, headers, body)
        if answered[3] and about:
            bureau.not_before[about] = time.time() + float(answered[3]) - 1.0
        if mood == "drop":
            return self.transport.abort()
        if mood == "slow":
            asyncio.get_running_loop().call_later(bureau.slow, self._reply, *answered)
            return None
        return self._reply(*answered)

    def _reply(self, status: int, body: bytes, media: str, retry_after: str) -> None:
        if self.transport.is_closing():
            return
        head = f"HTTP/1.1 {status} -\r\nDate: {formatdate(usegmt=True)}\r\nConnection: close\r\n"
        head += f"Content-Type: {media}\r\n" if media else ""
        head += f"Retry-After: {retry_after}\r\n" if retry_after else ""
        head += f"Content-Length: {len(body)}\r\n" if status != 204 else ""
        self.transport.write(f"{head}\r\n".encode() + body)
        self._over()
        self.transport.close()

    def _over(self) -> None:
        # Over once it is answered: the client may begin the next one before the connection is closed on both sides.
        self.bureau.seen.at_once -= self.counted
        self.counted = False

    def connection_lost(self, _error: Exception | None) -> None:
        self._over()


async def serve(bureau: Bureau) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(bureau), "127.0.0.1", 0, backlog=1000)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    """Be a bureau."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--trouble", type=float, default=0.0)
    parser.add_argument("--slow", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trusting", action="store_true", help="verify no signatures of requests")
    options = parser.parse_args()
    bureau = Bureau(
        Month(options.folder),
        seconds=options.seconds,
        trouble=options.trouble,
        seed=options.seed,
        slow=options.slow,
        verify=not options.trusting,
    )
    asyncio.run(serve(bureau))


if __name__ == "__main__":
    main()
