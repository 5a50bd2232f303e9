"""Scripted misbehaviour of a running gateway: what is to go wrong, for whom, how often (tests and demonstrations).

The script lies in the bureau's home, in a small database of its own: another process writes it while the gateway runs,
and it survives a restart. Whether a fault comes up is counted there too, in the same transaction in which it is found;
so `once` is once, however many requests come at the same time. A probability is drawn from the seed and the number of
the request that met the fault: the same script before the same requests does the same.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal

from shared.text import Text

Route = Literal["put", "part", "status", "result", "ack", "standing", "trust"]
ROUTES: Final[dict[Route, Text]] = {
    "put": Text("上传整份报告", "upload of a whole report"),
    "part": Text("上传报告的一段", "upload of a part of a report"),
    "status": Text("查询报告状态", "status of a report"),
    "result": Text("取报税结果", "result of a report"),
    "ack": Text("送交清卡回执", "delivery of a clear receipt"),
    "standing": Text("查询企业当月情况", "standing of a taxpayer"),
    "trust": Text("取信任文件", "trust file"),
}
_SIGNED: Final[frozenset[Route]] = frozenset({"put", "part", "result", "trust"})
_BUSY_SECONDS: Final = 5.0


class Kind(StrEnum):
    """What goes wrong."""

    DROP_REPLY = "drop-reply"
    DROP_REQUEST = "drop-request"
    LATE = "late"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"
    SLOW_BYTES = "slow-bytes"
    CUT_BODY = "cut-body"
    WRONG_SIGNATURE = "wrong-signature"
    WRONG_ROLE = "wrong-role"
    STALE_RESULT = "stale-result"
    DOUBLE_REPLY = "double-reply"
    DOUBLE_REQUEST = "double-request"
    STILL_PROCESSING = "still-processing"


@dataclass(frozen=True)
class Trait:
    """What a kind of fault is.

    Attributes:
        words: For people.
        routes: Requests that it can hit.
    """

    words: Text
    routes: frozenset[Route] = frozenset(ROUTES)


KINDS: Final[dict[Kind, Trait]] = {
    Kind.DROP_REPLY: Trait(
        Text("照办，但不回答就断开", "carry out the request, and hang up without an answer"),
    ),
    Kind.DROP_REQUEST: Trait(Text("不办，不回答就断开", "hang up without carrying anything out")),
    Kind.LATE: Trait(Text("照办，过 --seconds 秒才回答", "carry out the request, and answer --seconds late")),
    Kind.BUSY: Trait(Text("不办，回答 429", "carry nothing out, and answer 429")),
    Kind.UNAVAILABLE: Trait(
        Text(
            "回答 503（像中间的代理）；加 --after-accepting 则先照办",
            "answer 503, like something in between; with --after-accepting, carry it out first",
        )
    ),
    Kind.SLOW_BYTES: Trait(
        Text("照办，回答在 --seconds 秒里一点点地发", "carry it out, and let the answer drip for --seconds")
    ),
    Kind.CUT_BODY: Trait(
        Text("照办，回答发到一半就断开", "carry it out, and hang up in the middle of the answer"),
    ),
    Kind.WRONG_SIGNATURE: Trait(
        Text("照办，回答里的签名是坏的", "carry it out, and spoil the signature in the answer"), _SIGNED
    ),
    Kind.WRONG_ROLE: Trait(
        Text(
            "照办，回答由税局用途不对的密钥签名",
            "carry it out, and sign the answer with a key of the bureau that is for something else",
        ),
        _SIGNED,
    ),
    Kind.STALE_RESULT: Trait(
        Text("不给最新结果，给前一个结果", "give the result before the newest one"), frozenset({"result"})
    ),
    Kind.DOUBLE_REPLY: Trait(Text("照办，回答的内容重复两遍", "carry it out, and give the answer's body twice over")),
    Kind.DOUBLE_REQUEST: Trait(
        Text(
            "同一请求办两次，只听得到第二次的回答",
            "carry the same request out twice, as a proxy that repeats; the second answer is heard",
        )
    ),
    Kind.STILL_PROCESSING: Trait(
        Text("一直回答 Y（正在处理中）", "answer Y (still processing), whatever was decided"), frozenset({"result"})
    ),
}


@dataclass(frozen=True)
class Rule:
    """One line of the script.

    Attributes:
        kind: What goes wrong.
        routes: Requests that it hits; empty for all that it can.
        taxpayer_id: Of whose requests and reports; empty for everybody's.
        digest: Start of the report's digest; empty for every report.
        times: How often; None until it is cleared.
        until: POSIX seconds after which it is over; None for never.
        probability: Of coming up, per request that it could hit.
        seed: Decides which requests those are.
        seconds: How late, or how slowly.
        retry_after: What the answer says about trying again; None for nothing, or the usual.
        after_accepting: The request is carried out all the same.
    """

    kind: Kind
    routes: tuple[Route, ...] = ()
    taxpayer_id: str = ""
    digest: str = ""
    times: int | None = 1
    until: float | None = None
    probability: float = 1.0
    seed: int = 0
    seconds: float = _BUSY_SECONDS
    retry_after: int | None = None
    after_accepting: bool = False


@dataclass(frozen=True)
class Fault:
    """A line of the script, and what came of it.

    Attributes:
        number: Its name; never given to another one.
        rule: What it says.
        seen: Requests that it could hit.
        used: Requests that it did hit.
    """

    number: int
    rule: Rule
    seen: int = 0
    used: int = 0

    def over(self, now: float) -> bool:
        """Return whether it will never come up again."""
        rule = self.rule
        return (rule.times is not None and self.used >= rule.times) or (rule.until is not None and now > rule.until)


@dataclass(frozen=True)
class Asked:
    """A request, as far as a script can tell it from others.

    Attributes:
        route: What is asked for.
        digest: The report; empty if it is about none.
        taxpayers: Whose request and whose report it is, as far as that is known.
        has_stale: There is an older result to give.
    """

    route: Route
    digest: str = ""
    taxpayers: Collection[str] = ()
    has_stale: bool = False


class Script:
    """The faults of one bureau's home."""

    def __init__(self, home: Path) -> None:
        """Use `home`; nothing is made there before a fault is set."""
        self._path = home / "faults.db"

    @property
    def exists(self) -> bool:
        """Whether a fault was ever set."""
        return self._path.exists()

    def add(self, rule: Rule) -> Fault:
        """Write a further line; it holds from the next request on."""
        with self._open() as db:
            number = db.execute("INSERT INTO fault (rule) VALUES (?)", (json.dumps(asdict(rule)),)).lastrowid
        assert number is not None
        return Fault(number, rule)

    def faults(self) -> tuple[Fault, ...]:
        """Return the whole script, in the order in which it was written."""
        if not self.exists:
            return ()
        with self._open() as db:
            return _read(db)

    def clear(self, numbers: Collection[int] | None = None) -> tuple[int, ...]:
        """Remove lines, or all of them; return the numbers of those that were there."""
        known = tuple(f.number for f in self.faults() if numbers is None or f.number in numbers)
        if known:
            with self._open() as db:
                db.executemany("DELETE FROM fault WHERE number = ?", [(number,) for number in known])
        return known

    def take(self, asked: Asked, now: float) -> Fault | None:
        """Return the fault that hits a request, counted as used; None if nothing goes wrong."""
        if not self.exists:
            return None
        with self._open() as db:
            for fault in _read(db):
                if fault.over(now) or not _hits(fault.rule, asked):
                    continue
                seen = fault.seen + 1
                drawn = _draw(fault.rule, seen)
                db.execute("UPDATE fault SET seen = ?, used = used + ? WHERE number = ?", (seen, drawn, fault.number))
                if drawn:
                    return Fault(fault.number, fault.rule, seen, fault.used + 1)
        return None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute(
                "CREATE TABLE IF NOT EXISTS fault (number INTEGER PRIMARY KEY AUTOINCREMENT, rule TEXT NOT NULL, "
                "seen INTEGER NOT NULL DEFAULT 0, used INTEGER NOT NULL DEFAULT 0)"
            )
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")


def _read(db: sqlite3.Connection) -> tuple[Fault, ...]:
    found = []
    for number, text, seen, used in db.execute("SELECT number, rule, seen, used FROM fault ORDER BY number"):
        rule = json.loads(text)
        found.append(
            Fault(number, Rule(**rule | {"kind": Kind(rule["kind"]), "routes": tuple(rule["routes"])}), seen, used)
        )
    return tuple(found)


def _hits(rule: Rule, asked: Asked) -> bool:
    return (
        asked.route in (rule.routes or KINDS[rule.kind].routes)
        and (not rule.taxpayer_id or rule.taxpayer_id in asked.taxpayers)
        and asked.digest.startswith(rule.digest)
        and (rule.kind is not Kind.STALE_RESULT or asked.has_stale)
    )


def _draw(rule: Rule, seen: int) -> bool:
    drawn = int.from_bytes(hashlib.sha256(f"{rule.seed}:{seen}".encode()).digest()[:6], "big")
    return drawn < rule.probability * 2**48
