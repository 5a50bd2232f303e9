"""The interface's manners: room, ids, one form of error, numbers, the log, TLS, and a description that is true."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import ipaddress
import json
import logging
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from prometheus_client.parser import text_string_to_metric_families
from schemathesis.specs.openapi import checks as openapi_checks
from sqlalchemy.exc import OperationalError

from online_station.shell.gateway import HttpGateway
from shared.clock import SystemClock
from shared.envelope.roles import fingerprint
from shared.errors import BureauBusy, BureauUnreachable
from shared.httpsig import content_digest, sign_request
from tax_bureau.access import AccessLog
from tax_bureau.admission import Limits
from tax_bureau.app import make_app
from tax_bureau.desk import Desk
from tax_bureau.issue import certificate_pem, key_pem, new_key
from tests.support.bureau import Client, Office, Reply, send
from tests.support.bureau_process import serving
from tests.support.databases import until
from tests.support.pki import TAXPAYER


class Usage(NamedTuple):
    total: int
    used: int
    free: int


UPLOAD_SECONDS = 30


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.getLogger("taxferry.bureau").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("taxferry.bureau").setLevel(logging.NOTSET)


def numbers(office: Office, text: bytes | None = None) -> dict[tuple[str, ...], float]:
    """Return all numbers by name and labels."""
    text = text if text is not None else send(office.bureau, "GET", "/metrics").body
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


# --- room ------------------------------------------------------------------------------------------------------------


class Unread:
    """A request of which nobody is to read the body."""

    def __init__(self, office: Office, limits: Limits) -> None:
        self.app = make_app(office.bureau, limits=limits)
        self.office = office
        self.read = 0

    def put(self, data: bytes, digest: str, extra: dict[str, str] | None = None) -> Reply:
        fields = self.office.client().sign("PUT", f"/v1/reports/{digest}", data)
        fields = {"host": "bureau.test", "content-length": str(len(data)), **fields, **(extra or {})}
        return asyncio.run(self._call(digest, data, fields))

    async def _call(self, digest: str, data: bytes, fields: dict[str, str]) -> Reply:
        said: list[Any] = []

        async def receive() -> dict[str, Any]:
            self.read += 1
            return {"type": "http.request", "body": data, "more_body": False}

        async def answer(message: Any) -> None:
            said.append(message)

        path = f"/v1/reports/{digest}"
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "PUT", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1),
            "headers": [(n.lower().encode(), v.encode()) for n, v in fields.items()], "server": ("bureau.test", 80),
        }  # fmt: skip
        await self.app(scope, receive, answer)
        headers = {n.decode().lower(): v.decode() for n, v in said[0]["headers"]}
        return Reply(said[0]["status"], headers, b"".join(m.get("body", b"") for m in said[1:]))


@pytest.mark.parametrize("full", ["queue", "disk", "uploads"])
def test_upload_is_sent_away_unread_when_there_is_no_room(
    office: Office, full: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # GW-17
    office.bureau.desk.set_processing_seconds(300)
    office.client().put_report(*reversed(sealed(office, office.card(1))))
    office.restart()
    limits = {"queue": Limits(queue=1), "disk": Limits(free_bytes=1 << 62), "uploads": Limits(uploads=0)}[full]
    unread = Unread(office, limits)
    data, digest = sealed(office)
    reply = unread.put(data, digest)
    assert (reply.status, reply.json["code"], unread.read) == (429, "busy", 0)
    assert 5 <= int(reply.headers["retry-after"]) <= 5400
    assert office.client().get(f"/v1/reports/{digest}").status == 404
    said = asyncio.run(metrics_of(unread.app))
    assert numbers(office, said)["taxferry_bureau_shed_total", full] == 1
    # A large file has to fit twice; a small one may find room where it does not.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, (1 << 30) + 2 * len(data)))
    roomy = Unread(office, Limits())
    assert roomy.put(data, digest).status == 201
    data, digest = sealed(office, office.card(0), sequence=8)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, (1 << 30) + 2 * len(data) - 1))
    assert roomy.put(data, digest).status == 429


def sealed(office: Office, card: Any = None, **changes: Any) -> tuple[bytes, str]:
    data, report = office.seal(card, **changes)
    return data, report.digest


async def metrics_of(app: Any) -> bytes:
    said: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def answer(message: Any) -> None:
        said.append(message.get("body", b""))

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": "/metrics", "raw_path": b"/metrics", "query_string": b"", "root_path": "", "headers": [],
        "server": ("bureau.test", 80), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    await app(scope, receive, answer)
    return b"".join(said)


def test_requests_beyond_what_is_taken_on_get_a_polite_answer(office: Office) -> None:
    unread = Unread(office, Limits(requests=0))
    reply = unread.put(*sealed(office))
    assert (reply.status, unread.read) == (429, 0)
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json["request_id"] == reply.headers["x-request-id"]


def test_those_who_are_sent_away_do_not_all_come_back_at_once(office: Office) -> None:
    unread = Unread(office, Limits(queue=0))
    waits = {int(unread.put(*sealed(office)).headers["retry-after"]) for _ in range(12)}
    assert len(waits) > 3


def test_a_station_that_is_sent_away_knows_that_nothing_was_received(tmp_path: Path) -> None:
    """Through a real connection, with a body larger than what fits into the buffers on the way."""
    office = Office(tmp_path / "office", real_time=True)
    from tests.support.reports import noise

    data, digest = sealed(office, content=noise(12 << 20), invoices=0)
    path = tmp_path / "large.dat"
    path.write_bytes(data)
    with serving(office.root / "home", "--processing-seconds", "0", "--workers", "0", "--max-queue", "1") as process:
        gateway = HttpGateway(process.url, office.key(), SystemClock())
        first, found = sealed(office, office.card(1))
        small = tmp_path / "small.dat"
        small.write_bytes(first)
        gateway.put_report(found, small, hashlib.sha256(first).hexdigest())
        until(lambda: "backlog 1.0" in requests.get(process.url + "/metrics", timeout=5).text)
        threading.Event().wait(1.1)  # what is known of the queue may be a second old
        with pytest.raises(BureauBusy) as refused:
            gateway.put_report(digest, path, hashlib.sha256(data).hexdigest())
        assert refused.value.context["seconds"] >= 5
        assert gateway.report_status(digest) is None


# --- ids and errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "no-such-path"),
        ("POST", "/v1/trust", 405, "no-such-method"),
        ("DELETE", f"/v1/reports/{'0' * 64}", 405, "no-such-method"),
        ("GET", f"/v1/reports/{'0' * 64}", 401, "unsigned"),
        ("PUT", f"/v1/reports/{'0' * 64}", 400, "bad-request"),
    ],
)
def test_every_error_is_a_problem_with_the_request_s_id(
    office: Office, method: str, path: str, status: int, code: str
) -> None:
    reply = send(office.bureau, method, path)
    assert (reply.status, reply.json["code"]) == (status, code)
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json["request_id"] == reply.headers["x-request-id"]


def test_a_defect_is_a_problem_too_and_names_the_id_to_ask_about(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("秘密")

    monkeypatch.setattr(Desk, "status", broken)
    reply = office.client().get(f"/v1/reports/{'0' * 64}")
    assert (reply.status, reply.json["code"]) == (500, "internal")
    assert reply.json["request_id"] in reply.json["detail"]
    assert "秘密" not in reply.body.decode()


def test_a_store_that_is_away_leaves_the_outcome_unknown(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:  # GW-17
    """Never 429: the commit whose answer was lost may have happened (GW-2)."""

    def away(*_: Any) -> None:
        raise OperationalError("COMMIT", {}, Exception("connection lost"))

    monkeypatch.setattr(Desk, "take", away)
    data, report = office.seal()
    reply = office.client().put_report(report.digest, data)
    assert (reply.status, reply.json["code"]) == (503, "store-unavailable")
    assert int(reply.headers["retry-after"]) > 0


def test_a_request_s_own_id_comes_back_if_it_is_one(office: Office) -> None:  # GW-18
    def asked(value: str) -> str:
        return send(office.bureau, "GET", "/healthz", headers={"X-Request-Id": value}).headers["x-request-id"]

    assert asked("station-7.2026_a") == "station-7.2026_a"
    for bad in ("short", "a" * 65, "with blank in it", 'quote"inside-it', "-leading-dash"):
        assert asked(bad) != bad
    assert asked("short") != asked("short")


# --- the log and the numbers -----------------------------------------------------------------------------------------


def test_access_log_has_a_line_for_each_request_and_no_secret(tmp_path: Path) -> None:
    office = Office(tmp_path / "office", real_time=True)
    data, digest = sealed(office)
    path = tmp_path / "report.dat"
    path.write_bytes(data)
    with serving(office.root / "home") as process:
        HttpGateway(process.url, office.key(), SystemClock()).put_report(digest, path, hashlib.sha256(data).hexdigest())
        headers = {"X-Request-Id": "asked-by-a-person", "Authorization": "Bearer geheim-4711"}
        assert requests.get(f"{process.url}/nowhere?pin=135790", headers=headers, timeout=5).status_code == 404
        process.end(signal.SIGTERM)
    (log,) = (office.root / "home" / "logs").glob("access-*.jsonl")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    text = log.read_text()
    upload, lost = (json.loads(line) for line in text.splitlines())
    assert (upload["method"], upload["status"], upload["bytes_in"]) == ("PUT", 201, len(data))
    assert (upload["route"], upload["path"]) == ("/v1/reports/{digest}", f"/v1/reports/{digest}")
    assert upload["key"] == fingerprint(office.key().certificate)[:16]
    assert upload["seconds"] > 0
    assert (lost["request_id"], lost["status"], lost["client"]) == ("asked-by-a-person", 404, "127.0.0.1")
    assert not [word for word in ("sha-256", "nonce", "keyid", "geheim", "135790") if word in text]


def test_access_log_rotates_and_survives_a_disk_that_is_full(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "logs" / "access.jsonl", max_bytes=500, files=2)
    for number in range(40):
        log.write({"number": number, "path": "/v1/报告"})
    shutil.rmtree(tmp_path / "logs")
    log.write({"number": 40})
    (tmp_path / "logs").mkdir()
    log.close()
    other = AccessLog(tmp_path / "logs" / "access.jsonl", max_bytes=500, files=2)
    for number in range(200):
        other.write({"number": number})
    other.close()
    files = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert files == ["access.jsonl", "access.jsonl.1", "access.jsonl.2"]
    assert all(path.stat().st_size <= 500 for path in (tmp_path / "logs").iterdir())


def test_numbers_tell_requests_the_queue_and_the_judgements(office: Office) -> None:
    office.send(office.card(0))
    office.client().put_report(*reversed(sealed(office, office.card(1))))
    unread = Unread(office, Limits())
    unread.put(*sealed(office, office.card(0), sequence=9))
    found = numbers(office, asyncio.run(metrics_of(unread.app)))
    assert found["taxferry_bureau_reports", "stored"] == 2
    assert found["taxferry_bureau_backlog",] == 2
    assert found["taxferry_bureau_backlog_taxpayers",] == 1
    assert found["taxferry_bureau_requests_total", "PUT", "/v1/reports/{digest}", "201"] == 1
    assert found["taxferry_bureau_request_seconds_count", "PUT", "/v1/reports/{digest}"] == 1
    assert found["taxferry_bureau_judged_total",] == 0
    assert found["taxferry_bureau_received_bytes_total",] > 1000


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a TLS certificate for 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = new_key("p256")
    now = SystemClock().now()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bureau")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / "tls.pem", folder / "tls.key"
    pem.write_text(certificate_pem(made))
    private.write_text(key_pem(key))
    return pem, private


def test_a_station_reports_over_tls_with_the_bureau_s_certificate_on_file(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    office = Office(tmp_path / "office", real_time=True)
    pem, private = certificate
    data, digest = sealed(office)
    path = tmp_path / "report.dat"
    path.write_bytes(data)
    with serving(office.root / "home", "--tls-cert", str(pem), "--tls-key", str(private)) as process:
        assert process.url.startswith("https://127.0.0.1:")
        trusting = HttpGateway(process.url, office.key(), SystemClock(), ca_file=pem)
        assert trusting.put_report(digest, path, hashlib.sha256(data).hexdigest())
        with pytest.raises(BureauUnreachable):
            HttpGateway(process.url, office.key(), SystemClock()).report_status(digest)


def test_a_tls_certificate_that_is_not_fit_is_said_before_serving(
    office: Office, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    pem, private = certificate
    other = tmp_path / "other.key"
    other.write_text(key_pem(new_key("p256")))
    for arguments, status in (
        (["--tls-cert", str(pem), "--tls-key", str(other)], 50),
        (["--tls-cert", str(tmp_path / "missing"), "--tls-key", str(private)], 50),
        (["--tls-cert", str(pem)], 2),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "tax_bureau", "--home", str(office.root / "home"), "serve", "--port", "0", *arguments],
            capture_output=True, timeout=UPLOAD_SECONDS, check=False, text=True,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        assert "tls" in done.stderr.lower()


# --- the description -------------------------------------------------------------------------------------------------


class Signed(requests.auth.AuthBase):
    """Signs whatever is sent, as a station would."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body
        octets = body.encode() if isinstance(body, str) else body
        assert request.url is not None
        parts = urlsplit(request.url)
        fields = {n: v for n in ("Content-Range", "Repr-Digest") if (v := request.headers.get(n)) is not None}
        fields = {n: v if isinstance(v, str) else v.decode("latin-1") for n, v in fields.items()}
        signer = self._office.key()
        signed = sign_request(
            request.method or "",
            f"{parts.scheme}://{parts.netloc}{parts.path}" + (f"?{parts.query}" if parts.query else ""),
            None if octets is None else content_digest(hashlib.sha256(octets).digest()),
            signer,
            created=int(SystemClock().now().timestamp()),
            nonce=hashlib.sha256(str(id(request)).encode() + (octets or b"")).hexdigest(),
            keyid=fingerprint(signer.certificate),
            fields=fields,
        )
        request.headers.update(signed)
        return request


def test_the_published_description_is_true_whatever_is_asked(tmp_path: Path) -> None:
    """Schemathesis makes requests of the description, right ones and wrong ones, and holds the answers against it."""
    office = Office(tmp_path / "office", real_time=True)
    office.bureau.desk.set_processing_seconds(0)
    with serving(office.root / "home") as process:
        schema = schemathesis.openapi.from_url(f"{process.url}/openapi.json")
        operations = [found.ok() for found in schema.get_all_operations()]
        # Its own description it does not ask for again.
        assert len({operation.label for operation in operations} | {"GET /openapi.json"}) == 10
        asked = 0
        for operation in operations:
            for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

                @seed(20080718)
                @settings(
                    max_examples=6,
                    deadline=None,
                    database=None,
                    phases=(Phase.generate,),
                    suppress_health_check=list(HealthCheck),
                )
                @given(case=operation.as_strategy(generation_mode=mode), signed=st.booleans())
                def ask(case: schemathesis.Case, signed: bool) -> None:
                    answer = case.call(base_url=process.url, auth=Signed(office) if signed else None)
                    case.validate_response(
                        answer,
                        checks=[
                            schemathesis.checks.not_a_server_error,
                            openapi_checks.status_code_conformance,
                            openapi_checks.content_type_conformance,
                            openapi_checks.response_headers_conformance,
                            openapi_checks.response_schema_conformance,
                        ],
                    )

                # Where nothing wrong can be sent (a path without parameters), there is nothing to ask.
                with contextlib.suppress(schemathesis.errors.SchemathesisError, Unsatisfiable):
                    ask()
                    asked += 1
        assert asked >= len(operations)


# --- signatures by somebody else's program ---------------------------------------------------------------------------


@pytest.mark.parametrize("key_type", ["rsa", "p256"])
def test_requests_verify_with_an_independent_implementation(office: Office, key_type: Any) -> None:
    """By http-message-signatures: RFC 9421 and RFC 9530, and not only this project's reading of them.

    The other way round is closed on purpose: it writes the parameters in another order, and the profile has one (GW-21).
    """
    theirs = pytest.importorskip("http_message_signatures", reason="http-message-signatures is not installed")
    signer = office.new_key("independent", key_type=key_type)
    office.bureau.registry.enroll(TAXPAYER, signer.certificate)
    algorithm = theirs.algorithms.RSA_V1_5_SHA256 if key_type == "rsa" else theirs.algorithms.ECDSA_P256_SHA256
    private = office.root / "independent.p12"
    keyid = fingerprint(signer.certificate)

    class Keys(theirs.HTTPSignatureKeyResolver):  # type: ignore[misc, name-defined]
        def resolve_public_key(self, key_id: str) -> Any:
            assert key_id == keyid
            return signer.certificate.public_key()

        def resolve_private_key(self, key_id: str) -> Any:
            from cryptography.hazmat.primitives.serialization import pkcs12

            from tests.support.bureau import PIN

            return pkcs12.load_key_and_certificates(private.read_bytes(), PIN.reveal_secret().encode())[0]

    data, report = office.seal()
    target = f"/v1/reports/{report.digest}"
    client = Client(office, signer)
    message = requests.Request("PUT", f"http://bureau.test{target}", data=data).prepare()
    message.headers.update(client.sign("PUT", target, data))
    message.headers["Host"] = "bureau.test"
    kwargs = {"signature_algorithm": algorithm, "key_resolver": Keys()}
    verifier = theirs.HTTPMessageVerifier(**kwargs)
    verifier.max_clock_skew = dt.timedelta(days=36500)  # the test's clock stands in another year
    verifier.validate_created_and_expires = lambda *_, **__: None
    (found,) = verifier.verify(message)
    assert found.label == "taxferry"
    covered = {name.strip('"').split('"')[0] for name in found.covered_components}
    assert covered >= {"@method", "@authority", "@path", "@query", "content-digest"}

    message.headers["Content-Digest"] = content_digest(bytes(32))
    with pytest.raises(theirs.InvalidSignature):
        verifier.verify(message)
