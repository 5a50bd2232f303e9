"""The client's three outcomes, and what it does not believe."""

from __future__ import annotations

import hashlib
import json
import socket
import threading

import pytest

from online_station.shell.gateway import HttpGateway, Processing, check_url
from shared.clock import FixedClock
from shared.errors import (
    BureauBusy,
    BureauRefused,
    BureauUnreachable,
    ConfigurationError,
    NotTheBureau,
    OutcomeUnknown,
    ReportInvalid,
)
from tests.support.fake_bureau import FakeBureau, serving
from tests.support.online import make_report
from tests.support.pki import NOW, TAXPAYER, pki


@pytest.fixture
def bureau():
    station = pki().station(key_type="p256")
    with serving(FakeBureau(pki())) as made:
        made.know(station.certificate)
        yield made


@pytest.fixture
def gateway(bureau):
    return HttpGateway(bureau.url, pki().station(key_type="p256"), FixedClock(NOW), connect_seconds=2, upload_seconds=2)


@pytest.fixture
def report(tmp_path):
    data, made = make_report()
    path = tmp_path / "r.dat"
    path.write_bytes(data)
    return made.digest, path, hashlib.sha256(data).hexdigest()


def raw_server(reply: bytes, *, read_body: bool = True):
    """Serve one connection with fixed octets."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = server.accept()
        with connection:
            got = b""
            while b"\r\n\r\n" not in got:
                got += connection.recv(65536)
            if read_body:
                head, _, body = got.partition(b"\r\n\r\n")
                length = next(
                    (int(v.split(b":")[1]) for v in head.split(b"\r\n") if v.lower().startswith(b"content-length")), 0
                )
                while len(body) < length:
                    body += connection.recv(65536)
            connection.sendall(reply)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return server, HttpGateway(
        f"http://127.0.0.1:{server.getsockname()[1]}",
        pki().station(key_type="p256"),
        FixedClock(NOW),
        connect_seconds=2,
        upload_seconds=1,
    )


def test_the_same_report_gets_the_same_receipt(gateway, bureau, report):
    """GW-4."""
    first, second = gateway.put_report(*report), gateway.put_report(*report)
    assert first == second == bureau.reports[report[0]].receipt
    assert [s for _, _, s in bureau.log] == [201, 200]
    assert bureau.unsigned == []


def test_a_report_that_was_never_received_has_no_status(gateway, report):
    assert gateway.report_status(report[0]) is None


def test_an_upload_under_another_digest_is_refused(gateway, report):
    """GW-5."""
    with pytest.raises(BureauRefused) as caught:
        gateway.put_report("b" * 64, *report[1:])
    assert caught.value.context["status"] == 422


def test_a_refusal_shows_the_field_s_code(gateway, bureau, report):
    """GW-13."""
    bureau.misbehave("put", (403, "2735", "未开户"))
    with pytest.raises(BureauRefused) as caught:
        gateway.put_report(*report)
    assert caught.value.context["bureau_code"] == "2735"
    assert "2735 未开户" in str(caught.value)


def test_what_is_sent_where_is_not_decided_by_variables(gateway, report, monkeypatch):
    """A proxy in the environment would see every request; `init --proxy` says which one is meant."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert gateway.put_report(*report)


def test_nobody_listens(report):
    """GW-2."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    gateway = HttpGateway(f"http://127.0.0.1:{port}", pki().station(key_type="p256"), FixedClock(NOW))
    with pytest.raises(BureauUnreachable):
        gateway.put_report(*report)
    with pytest.raises(BureauUnreachable):
        gateway.standing(TAXPAYER, "2026-07")


def test_a_broken_connection_after_sending_began_is_unknown(gateway, bureau, report):
    bureau.misbehave("put", "drop")
    with pytest.raises(OutcomeUnknown):
        gateway.put_report(*report)
    assert gateway.report_status(report[0]).state == "processing"


def test_a_broken_connection_while_asking_is_no_answer(gateway, bureau, report):
    bureau.misbehave("status", "drop")
    with pytest.raises(BureauUnreachable):
        gateway.report_status(report[0])


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 201 Created\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000,
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 30\r\n\r\n",
        b"rubbish\r\n\r\n",
    ],
)
def test_half_a_reply_is_unknown(reply, report):
    """GW-1, GW-16."""
    server, gateway = raw_server(reply)
    with server, pytest.raises(OutcomeUnknown):
        gateway.put_report(*report)


def test_a_reply_that_never_comes_is_unknown(report):
    with socket.create_server(("127.0.0.1", 0)) as server:
        gateway = HttpGateway(
            f"http://127.0.0.1:{server.getsockname()[1]}",
            pki().station(key_type="p256"),
            FixedClock(NOW),
            connect_seconds=1,
            upload_seconds=0.3,
        )
        with pytest.raises(OutcomeUnknown):
            gateway.put_report(*report)


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/login\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nno",
    ],
)
def test_what_is_no_problem_document_is_not_the_bureau(reply, report):
    """GW-3: a login page neither takes nor refuses, and is never followed."""
    server, gateway = raw_server(reply)
    with server, pytest.raises(NotTheBureau):
        gateway.put_report(*report)
    server, gateway = raw_server(reply)
    with server, pytest.raises(NotTheBureau):
        gateway.report_status(report[0])


@pytest.mark.parametrize("ask", [lambda g: g.trust(), lambda g: g.clock(), lambda g: g.standing(TAXPAYER, "2026-07")])
def test_a_login_page_answers_no_question_although_it_says_200(ask):
    """GW-3."""
    page = b"<html>login</html>"
    head = b"HTTP/1.1 200 OK\r\nDate: Wed, 05 Aug 2026 01:30:00 GMT\r\nContent-Type: text/html\r\n"
    server, gateway = raw_server(head + b"Content-Length: %d\r\n\r\n" % len(page) + page)
    with server, pytest.raises(NotTheBureau):
        ask(gateway)


@pytest.mark.parametrize(("given", "seconds"), [("120", 120.0), ("", None), ("soon", None), ("9" * 12, None)])
def test_a_busy_bureau_says_when(gateway, bureau, report, given, seconds):
    """GW-8."""
    bureau.retry_after = given
    bureau.misbehave("put", 429)
    with pytest.raises(BureauBusy) as caught:
        gateway.put_report(*report)
    assert caught.value.context["retry_after"] == seconds


def test_a_y_is_a_y_whatever_its_status(gateway, bureau, report):
    gateway.put_report(*report)
    assert gateway.result(report[0]) == Processing(None)
    bureau.misbehave("result", b"Y\r\n")
    assert gateway.result(report[0]) == Processing(None)
    bureau.retry_after = "77"
    assert gateway.result(report[0]) == Processing(77.0)


def test_a_damaged_file_is_not_sent(gateway, bureau, report):
    digest, path, _ = report
    with pytest.raises(ReportInvalid):
        gateway.put_report(digest, path, "0" * 64)
    assert bureau.log == []


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"\xff", json.dumps({"taxpayer_id": "X"}).encode(), b"[" * 100_000]
)
def test_a_standing_that_does_not_parse_is_an_error_of_the_tree(gateway, bureau, body):
    bureau.misbehave("standing", body)
    with pytest.raises(BureauRefused):
        gateway.standing(TAXPAYER, "2026-07")


def test_another_taxpayer_s_standing_is_no_answer(gateway, bureau):
    bureau.misbehave("standing", bureau.standing("91110108551385082Q", "2026-07")[1])
    with pytest.raises(OutcomeUnknown):
        gateway.standing(TAXPAYER, "2026-07")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x",
        "http://",
        "http://u:p@x",
        "http://x/?q",
        "http://x/#f",
        "http://税局",
        "http://x:99999",
        "http://x y",
        "",
        "x",
    ],
)
def test_an_address_that_cannot_be_used_is_a_clear_error(url):
    with pytest.raises(ConfigurationError):
        check_url(url)
