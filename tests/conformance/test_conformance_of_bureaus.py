"""The examination of bureaus: the reference gateway passes it, and each wrong bureau fails exactly the right requirement."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from shared.envelope.roles import fingerprint
from shared.envelope.textsign import sign_text
from shared.errors import CannotExamine
from shared.text import both
from tax_bureau.app import make_app, problem
from tax_bureau.cli import program
from tax_bureau.conformance.findings import Findings
from tax_bureau.conformance.of_bureau import REASONS, examine
from tax_bureau.conformance.papers import Papers, issued_by
from tax_bureau.conformance.wire import Answer, Wire
from tests.docs.test_spec import requirements
from tests.support.bureau import Office, close_offices
from tests.support.bureau_process import serving

QUICK = ("accepts replays", "an offset is not told")


@dataclass(frozen=True)
class Asked:
    """A request on its way to a bureau."""

    method: str
    path: str
    headers: dict[str, str]
    office: Office
    papers: Papers

    @property
    def in_parts(self) -> bool:
        return "content-range" in self.headers

    @property
    def given(self) -> str:
        return self.headers.get("signature-input", "")

    @property
    def created(self) -> int:
        return int(re.findall("created=([0-9]+)", self.given)[0]) if self.given else 0


Before = Callable[[Asked], Answer | None]
After = Callable[[Asked, Answer], Answer]


def said(status: int, kind: str = "unknown-report", **more: Any) -> Answer:
    """Return an answer of RFC 9457."""
    made = problem(status, kind, both(kind), kind, **more)
    headers = {name.decode(): value.decode() for name, value in made.raw_headers}
    return Answer(status, headers, bytes(made.body))


def changed(answer: Answer, **members: Any) -> Answer:
    """Return an answer with other members."""
    found = {name: value for name, value in (answer.members | members).items() if value is not None}
    return replace(answer, body=json.dumps(found).encode())


def resigned(asked: Asked, answer: Answer, *, false: bool) -> Answer:
    keyring = asked.office.bureau.keyring
    body = answer.body.partition(b"-----BEGIN")[0]
    signer = keyring.trust if false else keyring.result
    return replace(answer, body=sign_text(body, signer, signing_time=asked.office.clock.now()))


def on(
    status: int, act: Callable[[Answer], Answer], path: str = "", method: str = "", parts: bool | None = None
) -> After:
    """Return a change of answers of one status to some requests."""

    def after(asked: Asked, answer: Answer) -> Answer:
        fits = (
            answer.status == status
            and asked.path.endswith(path)
            and asked.method.startswith(method)
            and (parts is None or asked.in_parts is parts)
        )
        return act(answer) if fits else answer

    return after


def as_status(status: int) -> Callable[[Answer], Answer]:
    return lambda answer: replace(answer, status=status)


def if_(test: Callable[[Asked], object], answer: Callable[[], Answer]) -> Before:
    return lambda asked: answer() if test(asked) else None


def is_status(asked: Asked) -> bool:
    return asked.method == "GET" and re.fullmatch("/v1/reports/[0-9a-f]{64}", asked.path) is not None


def replayed() -> Before:
    seen: set[str] = set()

    def before(asked: Asked) -> Answer | None:
        known = f"{asked.path} {asked.given}" in seen
        seen.add(f"{asked.path} {asked.given}")
        return said(404) if known and asked.given else None

    return before


def state(wanted: tuple[str, ...], act: Callable[[Answer], Answer]) -> After:
    return lambda asked, answer: act(answer) if is_status(asked) and answer.members.get("state") in wanted else answer


def false_receipts() -> After:
    made: dict[str, Answer] = {}

    def after(asked: Asked, answer: Answer) -> Answer:
        if asked.method != "PUT" or asked.in_parts or asked.path.endswith("/ack") or answer.status not in (200, 201):
            return answer
        body = made.setdefault(asked.path, resigned(asked, answer, false=True)).body
        return replace(answer, body=body)

    return after


def other_sees(asked: Asked, answer: Answer) -> Answer:
    assert asked.papers.other is not None
    theirs = fingerprint(asked.papers.other.certificate) in asked.given
    return replace(answer, status=200) if theirs and is_status(asked) and answer.status == 404 else answer


WRONG: dict[str, tuple[str, Before | None, After | None]] = {
    "a second upload is 201": ("GW-4", None, on(200, as_status(201), method="PUT", parts=False)),
    "each receipt is another": (
        "RES-31",
        None,
        lambda q, a: (
            resigned(q, a, false=False)
            if q.method == "PUT" and not q.in_parts and a.status == 200 and q.path[-4:] != "/ack"
            else a
        ),
    ),
    "forgets what it accepted": ("GW-5", None, state(("stored", "processing"), lambda _: said(404))),
    "takes another digest for a bad request": ("GW-5", None, on(422, as_status(400), method="PUT", parts=False)),
    "a standing has no keys": ("GW-10", None, on(200, lambda a: changed(a, key_fingerprints=None), path="/standing")),
    "knows states of its own": ("GW-11", None, state(("stored", "processing"), lambda a: changed(a, state="received"))),
    "refuses in plain text": ("GW-13", None, on(404, lambda a: replace(a, headers={"content-type": "text/plain"}))),
    "has no code for a strange key": (
        "GW-13",
        None,
        on(403, lambda a: changed(a, code="x") if a.members.get("code") == "2734" else a),
    ),
    "hides what is another's": (
        "GW-14",
        None,
        on(403, lambda a: said(404) if a.kind == "not-yours" else a),
    ),
    "does not say that it is the clock": (
        "GW-15",
        None,
        on(401, lambda a: changed(a, type="about:blank") if a.kind == "clock-skew" else a),
    ),
    "does not tell the time": ("GW-15", None, on(401, lambda a: changed(a, server_time=None))),
    "takes unsigned requests": ("GW-20", if_(lambda q: not q.given, lambda: said(404)), None),
    "does not need @query": ("GW-21", if_(lambda q: q.given and '"@query"' not in q.given, lambda: said(404)), None),
    "needs no Content-Digest": (
        "GW-22",
        if_(lambda q: q.method == "PUT" and "content-digest" not in q.headers, lambda: said(404)),
        None,
    ),
    "needs no tag": ("GW-23", if_(lambda q: q.given and "tag=" not in q.given, lambda: said(404)), None),
    "takes other algorithms": ("GW-24", if_(lambda q: "rsa-pss" in q.given, lambda: said(404)), None),
    "verifies the Host as it stands": (
        "GW-25",
        if_(lambda q: q.headers["host"] != q.headers["host"].lower(), lambda: said(401, "unsigned")),
        None,
    ),
    "is strict about time": (
        "GW-26",
        if_(
            lambda q: 200 < abs(q.created - q.office.clock.now().timestamp()) < 300,
            lambda: said(401, "clock-skew", server_time="2026-08-05T09:30:00+08:00"),
        ),
        None,
    ),
    "accepts replays": ("GW-27", replayed(), None),
    "has another answer for too large": ("GW-30", None, on(413, as_status(400))),
    "an offset is not told": (
        "GW-31",
        None,
        on(409, lambda a: changed(a, offset=None) if a.kind == "part-offset" else a),
    ),
    "a part is stored": ("GW-32", None, on(202, lambda a: changed(a, state="stored"), method="PUT")),
    "the last part is 200": ("GW-33", None, on(201, as_status(200), parts=True)),
    "another upload has no time": (
        "GW-34",
        None,
        on(409, lambda a: replace(a, headers={k: v for k, v in a.headers.items() if k != "retry-after"})),
    ),
    "shows parts to others": ("GW-35", None, other_sees),
    "a late part is 201": ("GW-36", None, on(200, as_status(201), method="PUT", parts=True)),
    "Y has a tail": ("RES-2", None, on(202, lambda a: replace(a, body=b"Y, please wait"), path="/result")),
    "signs results with another key": (
        "RES-1",
        None,
        lambda q, a: resigned(q, a, false=True) if q.path.endswith("/result") and a.status == 200 else a,
    ),
    "signs receipts with another key": (
        "RES-30",
        None,
        false_receipts(),
    ),
    "does not mind a second report of a copy": (
        "JUDGE-15",
        None,
        on(409, lambda a: as_status(422)(a) if a.kind == "sequence-taken" else a),
    ),
    "takes any clear receipt": (
        "JUDGE-17",
        None,
        lambda q, a: replace(a, status=200) if q.path.endswith("/ack") and a.status in (409, 422) else a,
    ),
}


class Local(Wire):
    """The way to a bureau in this process, which something may change on the way."""

    def __init__(
        self, office: Office, papers: Papers, before: Before | None = None, after: After | None = None
    ) -> None:
        super().__init__("http://127.0.0.1:8080", office.clock)
        self.office, self.papers = office, papers
        self.before, self.after = before, after
        self.app = make_app(office.bureau)

    def send(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        fields: Any = (),
        *,
        host: str | None = None,
        cut: int | None = None,
    ) -> Answer:
        path, _, query = target.partition("?")
        headers = [("host", host or "127.0.0.1:8080"), *((n.lower(), v) for n, v in fields)]
        if body is not None:
            headers.append(("content-length", str(len(body))))
        asked = Asked(method, path, dict(headers), self.office, self.papers)
        answer = self.before(asked) if self.before is not None else None
        if answer is None:
            answer = asyncio.run(self._call(method, path, query, headers, (body or b"")[:cut], cut is not None))
        return self.after(asked, answer) if self.after is not None else answer

    async def _call(
        self, method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes, broken: bool
    ) -> Answer:
        queue: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": broken}]
        found: dict[str, Any] = {}
        parts: list[bytes] = []

        async def receive() -> dict[str, Any]:
            return queue.pop(0) if queue else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                found.update(message)
            else:
                parts.append(message.get("body", b""))

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in headers],
            "server": ("127.0.0.1", 8080),
            "client": ("127.0.0.1", 1),
        }
        await self.app(scope, receive, send)
        answer = {n.decode().lower(): v.decode() for n, v in found["headers"]}
        return Answer(0, trouble="cut") if broken else Answer(found["status"], answer, b"".join(parts))


@contextmanager
def office(root: Path) -> Iterator[Office]:
    yield Office(root / "office")
    close_offices()


def examined(root: Path, before: Before | None = None, after: After | None = None) -> Findings:
    with office(root) as made, issued_by(made.bureau) as papers:
        made.bureau.desk.set_processing_seconds(1)

        def pause(seconds: float) -> None:
            made.clock.advance(seconds=seconds)
            made.bureau.desk.judge_all()

        wire = Local(made, papers, before, after)
        return examine(wire, papers, patience=10, pause=pause, progress=lambda _: None)


def test_the_reference_gateway_keeps_every_requirement_that_shows(tmp_path: Path) -> None:
    """GW-4, GW-5, GW-10, GW-11, GW-13 to GW-15, GW-20 to GW-27, GW-30 to GW-36, and of results and receipts."""
    findings = examined(tmp_path)
    assert [found for found in findings.all if not found.ok] == []
    unseen = {id_ for id_ in REASONS if not findings.of(id_)}
    assert unseen == {f"GW-{n}" for n in (1, 2, 3, 6, 7, 8, 9, 12, 16, 17, 18, 19, 37, 38, 39)}


@pytest.mark.parametrize("wrong", [pytest.param(w, marks=() if w in QUICK else pytest.mark.slow) for w in WRONG])
def test_a_wrong_bureau_fails_exactly_the_right_requirement(tmp_path: Path, wrong: str) -> None:
    requirement, before, after = WRONG[wrong]
    findings = examined(tmp_path, before, after)
    assert findings.broken == (requirement,), [found for found in findings.all if not found.ok]


def test_without_a_trust_file_nothing_is_examined(tmp_path: Path) -> None:
    with pytest.raises(CannotExamine, match="信任文件"):
        examined(tmp_path, lambda q: said(404) if q.path == "/v1/trust" else None)
    with pytest.raises(CannotExamine, match="不能证明"):
        examined(tmp_path / "2", None, lambda q, a: replace(a, body=b"x" + a.body) if q.path == "/v1/trust" else a)


def test_every_requirement_of_the_gateway_is_examined_or_listed_with_a_reason() -> None:
    stated = {r.id for r in requirements() if r.page == "gateway.md"}
    assert stated <= set(REASONS)


# --- the verb --------------------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any], str]:
    with pytest.raises(SystemExit) as ended:
        program.main([*words, "--json"])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), json.loads(out.splitlines()[-1]), err


def test_the_verb_examines_the_bureau_of_a_home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Office(tmp_path / "office", real_time=True)
    home = str(made.root / "home")
    expected = tmp_path / "expected.txt"
    close_offices()
    with serving(made.root / "home", "--processing-seconds", "0") as process:
        expected.write_text("# not yet\nGW-31   # offsets\n", encoding="utf-8")
        words = ("conformance", process.url, "--patience", "20", "--expected-failures", str(expected))
        code, found, _ = run(capsys, "--home", home, *words)
    assert (code, found["data"]["unexpected_passes"], found["data"]["failures"]) == (1, ["GW-31"], [])


def test_a_wrong_list_of_expected_failures_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = tmp_path / "expected.txt"
    expected.write_text("GW-31\ngw-31\n", encoding="utf-8")
    code, found, _ = run(
        capsys, "--home", str(tmp_path), "conformance", "http://127.0.0.1:9", "--expected-failures", str(expected)
    )
    assert (code, found["errors"][0]["code"]) == (50, "B5040")
    assert "gw-31" in found["errors"][0]["message"]


def test_what_is_examined_can_be_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found, _ = run(capsys, "--home", str(tmp_path), "conformance", "--requirements")
    assert (code, {item["requirement"] for item in found["data"]["items"]}) == (0, set(REASONS))
    assert run(capsys, "--home", str(tmp_path), "conformance")[0] == 2
    assert run(capsys, "--home", str(tmp_path), "conformance", "--listen")[0] == 2
