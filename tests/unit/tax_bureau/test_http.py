"""The HTTP interface: who may ask, what is refused and how, and that nothing is stored by a refusal."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

import pytest

from shared.envelope import cms, der
from shared.envelope.roles import fingerprint
from shared.httpsig import content_digest
from shared.keys.port import Signer
from shared.model.receipt import prove_receipt
from shared.model.result import is_processing
from shared.model.standing import parse_report_status, parse_standing
from shared.model.trust import prove_trust
from tax_bureau.app import STATUS, make_app
from tax_bureau.caller import Doorkeeper, Request
from tax_bureau.openapi import document as openapi
from tax_bureau.refusal import Kind, Refusal
from tax_bureau.store import Report
from tests.support.bureau import AGENCY, PERIOD, Client, Office, Reply, send
from tests.support.pki import OTHER_TAXPAYER, TAXPAYER, foreign_pki

STANDING = f"/v1/taxpayers/{TAXPAYER}/standing?period={PERIOD}"


def problem(reply: Reply, status: int, code: str) -> dict[str, Any]:
    """Return the members of a problem after checking its form."""
    assert reply.status == status, reply.body
    assert reply.headers["content-type"] == "application/problem+json"
    found = reply.json
    assert (found["status"], found["code"]) == (status, code)
    assert found["type"].startswith("urn:taxferry:problem:")
    assert found["detail"] != found["detail_en"]
    return found


def stored(office: Office) -> tuple[Report, ...]:
    with office.bureau.store.read() as tx:
        return tx.reports()


def files(office: Office) -> list[str]:
    return [p.name for p in (office.root / "home" / "spool").rglob("*") if p.is_file()]


# --- uploading -----------------------------------------------------------------------------------------------------


def test_first_upload_is_created_and_later_ones_get_the_same_receipt(office: Office) -> None:  # RES-31
    data, report = office.seal()
    first = office.client().put_report(report.digest, data)
    office.clock.advance(hours=1)
    again = office.client().put_report(report.digest, data)
    assert (first.status, again.status) == (201, 200)
    assert first.body == again.body
    receipt = prove_receipt(first.body, office.bureau.keyring.store, at=office.clock.now()).receipt
    assert (receipt.report_digest, receipt.name) == (report.digest, report.header.name)
    assert files(office) == [f"{report.digest}.dat"]


def signed_again(data: bytes, signer: Signer) -> bytes:
    """Return the same report with a second signature of its card over the same attributes."""
    end = data.index(cms.certificate_set(signer)) + len(cms.certificate_set(signer))
    info = der.Reader(data[end:-6]).enter(der.SET).enter(der.SEQUENCE)
    for tag in (der.INTEGER, der.SEQUENCE, der.SEQUENCE):
        info.read(tag)
    attributes = der.element(der.SET, info.read(der.context(0)))
    return data[:end] + cms.signer_infos(signer, attributes) + data[-6:]


def test_same_report_in_another_file_is_the_same_report(office: Office) -> None:  # REP-7, GW-4
    """An ECDSA signature made twice differs, and the signed attributes do not."""
    data, report = office.seal()
    receipt = office.client().put_report(report.digest, data).body
    other = signed_again(data, office.card())
    assert other != data
    reply = office.client().put_report(report.digest, other)
    assert (reply.status, reply.body) == (200, receipt)
    assert files(office) == [f"{report.digest}.dat"]


def test_damaged_copy_of_a_known_report_is_refused(office: Office) -> None:
    data, report = office.seal()
    position = data.rindex(office.card().certificate.signature)  # inside the certificate: breaking it is refused
    office.client().put_report(report.digest, data)
    broken = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
    problem(office.client().put_report(report.digest, broken), 422, "2734")
    assert office.client().put_report(report.digest, data).status == 200


def test_wrong_path_stores_nothing(office: Office) -> None:
    data, report = office.seal()
    found = problem(office.client().put_report("0" * 64, data), 422, "digest-mismatch")
    assert found["report_digest"] == report.digest
    assert (stored(office), files(office)) == ((), [])


def test_body_unlike_its_digest_stores_nothing(office: Office) -> None:  # GW-22
    data, report = office.seal()
    reply = office.client().put_report(report.digest, data, digest_of=data + b"\0")
    problem(reply, 400, "body-digest")
    assert (stored(office), files(office)) == ((), [])


@pytest.mark.parametrize(
    ("damage", "code", "field_code"),
    [
        (lambda d: b"", "2734", "0x82040010"),
        (lambda d: d[:-1], "2734", "0x82040010"),
        (lambda d: d[: len(d) // 2], "2734", "0x82040010"),
        (lambda d: d + b"\0", "2734", "0x82040010"),
        (lambda d: b"PK\x03\x04" + d[4:], "2734", "0x82040010"),
        (lambda d: d[: len(d) // 3] + bytes([d[len(d) // 3] ^ 1]) + d[len(d) // 3 + 1 :], "2734", "0x8204000D"),
    ],
    ids=["empty", "one byte short", "half", "one byte more", "foreign", "one bit"],
)
def test_damaged_file_is_refused_at_the_door(office: Office, damage: Any, code: str, field_code: str) -> None:
    data, report = office.seal(invoices=40)
    found = problem(office.client().put_report(report.digest, damage(data)), 422, code)
    assert found["field_code"] == field_code
    assert (stored(office), files(office)) == ((), [])


def test_report_of_an_unknown_card_issuer_is_refused_at_the_door(office: Office) -> None:
    card = foreign_pki().card()
    data, report = office.seal(card)
    found = problem(office.client().put_report(report.digest, data), 422, "2734")
    assert found["field_code"] == "0x8204000D"


def test_another_report_of_a_known_copy_conflicts(office: Office) -> None:  # JUDGE-15
    first, second = office.seal(), office.seal(invoices=2)
    assert office.client().put_report(first[1].digest, first[0]).status == 201
    problem(office.client().put_report(second[1].digest, second[0]), 409, "sequence-taken")
    assert [r.digest for r in stored(office)] == [first[1].digest]
    assert files(office) == [f"{first[1].digest}.dat"]


def test_size_is_refused_before_anything_is_read(office: Office) -> None:
    reply = office.client().put_report("0" * 64, b"x", extra={"content-length": str((1 << 30) + 1)})
    problem(reply, 413, "too-large")
    problem(office.client().put_ack("0" * 64, b"x", extra={"content-length": "65537"}), 413, "too-large")


def test_more_bytes_than_announced_are_not_taken(office: Office) -> None:
    digest = office.send()
    reply = office.client().put_ack(digest, b"x" * 65537, extra={"content-length": "10"})
    problem(reply, 413, "too-large")


# --- who asks ------------------------------------------------------------------------------------------------------


def test_replayed_request_is_refused(office: Office) -> None:  # GW-27
    client = office.client()
    headers = client.sign("GET", STANDING)
    assert client.get(STANDING, headers=headers).status == 200
    problem(client.get(STANDING, headers=headers), 401, "nonce-replayed")


def test_nonces_are_remembered_over_a_restart_and_not_longer_than_needed(office: Office) -> None:
    client = office.client()
    headers = client.sign("GET", STANDING)
    client.get(STANDING, headers=headers)
    office.restart()
    problem(client.get(STANDING, headers=headers), 401, "nonce-replayed")
    office.clock.advance(seconds=601)
    assert client.get(STANDING).status == 200
    problem(client.get(STANDING, headers=headers), 401, "clock-skew")


def test_request_from_a_fast_clock_cannot_be_replayed_as_long_as_it_is_in_the_window(office: Office) -> None:  # GW-27
    client = office.client()
    headers = client.sign("GET", STANDING, created=int(office.clock.now().timestamp()) + 300)
    assert client.get(STANDING, headers=headers).status == 200
    for _ in range(2):
        office.clock.advance(seconds=300)
        problem(client.get(STANDING, headers=headers), 401, "nonce-replayed")
    office.clock.advance(seconds=1)
    problem(client.get(STANDING, headers=headers), 401, "clock-skew")


def test_nonce_of_a_request_that_nobody_signed_is_not_used_up(office: Office) -> None:  # GW-27
    client = office.client()
    headers = client.sign("GET", STANDING)
    forged = {**headers, "Signature": client.sign("GET", STANDING)["Signature"]}
    problem(client.get(STANDING, headers=forged), 403, "2734")
    assert client.get(STANDING, headers=headers).status == 200


@pytest.mark.parametrize("offset", [-301, 301])
def test_request_from_another_time_learns_the_time(office: Office, offset: int) -> None:  # GW-26
    created = int(office.clock.now().timestamp()) + offset
    found = problem(office.client().get(STANDING, created=created), 401, "clock-skew")
    assert found["server_time"] == "2026-08-05T09:30:00+08:00"


@pytest.mark.parametrize("offset", [-300, 300])
def test_edge_of_the_window_is_inside(office: Office, offset: int) -> None:
    created = int(office.clock.now().timestamp()) + offset
    assert office.client().get(STANDING, created=created).status == 200


def test_unsigned_request_is_refused(office: Office) -> None:
    problem(send(office.bureau, "GET", STANDING), 401, "unsigned")


@pytest.mark.parametrize("name", ["Signature", "Signature-Input"])
def test_altered_signature_is_refused(office: Office, name: str) -> None:
    client = office.client()
    headers = client.sign("GET", STANDING)
    other = client.sign("GET", STANDING, nonce=secrets.token_hex(16))
    problem(client.get(STANDING, headers={**headers, name: other[name]}), 403, "2734")


@pytest.mark.parametrize("name", ["host", "signature", "signature-input", "content-digest", "content-range"])
def test_field_that_stands_twice_is_refused_whichever_one_would_verify(office: Office, name: str) -> None:  # GW-20
    target = f"/v1/reports/{'0' * 64}/ack"
    signed = {"host": "bureau.test", **office.client().sign("PUT", target, b"x")}
    fields = [(field.lower(), value) for field, value in signed.items()]
    door = Doorkeeper(office.bureau.store, office.clock)
    for twice in ([(name, "x"), *fields, (name, "x")], [*fields, (name, dict(fields).get(name, "x")), (name, "x")]):
        with pytest.raises(Refusal) as caught:
            door.admit(Request("PUT", target, "", tuple(twice)))
        assert caught.value.kind is Kind.BAD_REQUEST
    assert door.admit(Request("PUT", target, "", tuple(fields))).taxpayer_id == TAXPAYER


def test_signature_for_another_path_is_refused(office: Office) -> None:
    client = office.client()
    headers = client.sign("GET", f"/v1/reports/{'0' * 64}")
    problem(client.get(STANDING, headers=headers), 403, "2734")


def test_key_that_nobody_issued_is_2734(office: Office) -> None:
    found = problem(office.client(foreign_pki().station()).get(STANDING), 403, "2734")
    assert found["field_code"] == "0x8204000D"


def test_another_key_under_a_known_name_is_2734(office: Office) -> None:
    client = office.client(office.key(OTHER_TAXPAYER))
    problem(client.get(STANDING, keyid=fingerprint(office.key().certificate)), 403, "2734")


def test_issued_key_that_is_not_on_file_is_2734_beside_another_and_2735_without(office: Office) -> None:
    data, report = office.seal()
    client = office.client()
    office.bureau.registry.enroll(TAXPAYER, office.key().certificate, withdraw=True)
    problem(client.put_report(report.digest, data), 403, "2735")
    office.bureau.registry.enroll(TAXPAYER, office.new_key("second").certificate)
    found = problem(client.put_report(report.digest, data), 403, "2734")
    assert found["field_code"] == "0x8204000D"
    standing = parse_standing(client.get(STANDING).body)
    assert standing.enrolled
    assert fingerprint(office.key().certificate) not in standing.key_fingerprints


def test_other_taxpayers_see_and_send_nothing(office: Office) -> None:
    data, report = office.seal()
    stranger = office.client(office.key(OTHER_TAXPAYER))
    problem(stranger.put_report(report.digest, data), 403, "not-yours")
    assert (stored(office), files(office)) == ((), [])
    digest = office.send()
    target = f"/v1/reports/{digest}"
    problem(stranger.get(target), 403, "not-yours")
    problem(stranger.get(target + "/result"), 403, "not-yours")
    problem(stranger.put_report(digest, data), 403, "not-yours")
    problem(stranger.put_ack(digest, b"x"), 403, "not-yours")
    problem(stranger.get(STANDING), 403, "not-yours")


def test_delegate_on_file_reports_for_the_taxpayer(office: Office) -> None:
    data, report = office.seal()
    agency = office.client(office.key(AGENCY))
    problem(agency.put_report(report.digest, data), 403, "not-yours")
    office.bureau.registry.delegate(TAXPAYER, AGENCY)
    assert agency.put_report(report.digest, data).status == 201
    assert agency.get(STANDING).status == 200
    assert office.client().get(f"/v1/reports/{report.digest}").status == 200


def test_delegate_of_a_taxpayer_that_is_not_enrolled_is_2735(office: Office) -> None:
    data, report = office.seal()
    office.bureau.registry.delegate(TAXPAYER, AGENCY)
    office.bureau.registry.enroll(TAXPAYER, office.key().certificate, withdraw=True)
    problem(office.client(office.key(AGENCY)).put_report(report.digest, data), 403, "2735")


def test_rsa_key_is_as_good(office: Office) -> None:
    signer = office.new_key("rsa", key_type="rsa")
    office.bureau.registry.enroll(TAXPAYER, signer.certificate)
    assert office.client(signer).get(STANDING).status == 200


# --- answers -------------------------------------------------------------------------------------------------------


def test_too_early_a_question_gets_y_and_when_to_come_back(office: Office) -> None:
    office.bureau.desk.set_processing_seconds(90)
    digest = office.send()
    reply = office.client().get(f"/v1/reports/{digest}/result")
    assert (reply.status, reply.body) == (202, b"Y")
    # Each report waits for its own share of the time: 3 to 5 minutes of 5.
    wait = int(reply.headers["retry-after"])
    assert 54 <= wait <= 90
    assert is_processing(reply.body)
    status = parse_report_status(office.client().get(f"/v1/reports/{digest}").body)
    assert (status.state, status.ask_after_seconds) == ("stored", wait)
    office.clock.advance(seconds=wait - 1)
    office.bureau.desk.judge_all()
    assert office.client().get(f"/v1/reports/{digest}/result").headers["retry-after"] == "1"
    office.clock.advance(seconds=1)
    office.bureau.desk.judge_all()
    assert office.code(digest) == "271D"


def test_resent_failure_is_y_until_a_higher_number(office: Office) -> None:  # JUDGE-13
    data, report = office.seal()
    client = office.client()
    receipt = client.put_report(report.digest, data).body
    office.bureau.desk.judge_all()
    first = office.result(report.digest).result.result_no
    again = client.put_report(report.digest, data)
    assert (again.status, again.body) == (200, receipt)
    assert client.get(f"/v1/reports/{report.digest}/result").body == b"Y"
    office.bureau.desk.judge_all()
    assert office.result(report.digest).result.result_no > first


@pytest.mark.parametrize("declared", [True, False])
def test_only_a_failure_that_can_be_cured_is_reopened_by_resending(office: Office, declared: bool) -> None:
    if declared:
        office.declare()  # 272C then: it waits, and resending changes nothing
    data, report = office.seal()
    client = office.client()
    client.put_report(report.digest, data)
    office.bureau.desk.judge_all()
    number = office.result(report.digest).result.result_no
    client.put_report(report.digest, data)
    office.bureau.desk.judge_all()
    assert office.result(report.digest).result.result_no == (number if declared else number + 1)


def test_never_received_is_404_everywhere(office: Office) -> None:
    target = f"/v1/reports/{'0' * 64}"
    problem(office.client().get(target), 404, "unknown-report")
    problem(office.client().get(target + "/result"), 404, "unknown-report")
    problem(office.client().put_ack("0" * 64, b"x"), 404, "unknown-report")


@pytest.mark.parametrize(
    "target",
    [
        "/v1/reports/abc",
        f"/v1/reports/{'A' * 64}",
        f"/v1/reports/{'A' * 64}/result",
        f"/v1/taxpayers/{TAXPAYER}/standing",
        f"/v1/taxpayers/{TAXPAYER}/standing?period=2026-13",
        f"/v1/taxpayers/abc/standing?period={PERIOD}",
    ],
)
def test_malformed_targets_are_400(office: Office, target: str) -> None:
    reply = office.client().get(target)
    problem(reply, 400, "bad-request")


def test_unknown_paths_and_methods_are_problems_too(office: Office) -> None:
    reply = send(office.bureau, "GET", "/v2/nothing")
    assert (reply.status, reply.json["code"]) == (404, "no-such-path")
    reply = send(office.bureau, "POST", f"/v1/reports/{'0' * 64}")
    assert (reply.status, reply.json["code"]) == (405, "no-such-method")
    assert set(reply.headers["allow"].replace(" ", "").split(",")) >= {"PUT"}


# --- closing -------------------------------------------------------------------------------------------------------


def succeeded(office: Office) -> str:
    office.declare()
    office.send(office.card(1))
    return office.send(office.card(0))


def test_clear_receipt_closes_the_report_and_may_be_repeated(office: Office) -> None:  # JUDGE-17
    digest = succeeded(office)
    ack = office.ack(digest)
    for _ in range(2):
        reply = office.client().put_ack(digest, ack)
        assert (reply.status, reply.json["state"]) == (200, "closed")


def test_clear_receipt_signed_again_is_the_same_receipt(office: Office) -> None:
    digest = succeeded(office)
    at = office.clock.now()
    office.client().put_ack(digest, office.ack(digest, at=at))
    office.clock.advance(days=1)
    assert office.client().put_ack(digest, office.ack(digest, at=at)).status == 200


def test_clear_receipt_for_a_failure_is_refused(office: Office) -> None:
    office.declare()
    digest = office.send(office.card(0))
    problem(office.client().put_ack(digest, office.ack(digest)), 409, "not-succeeded")


@pytest.mark.parametrize("changes", [{"result_no": 99}, {"result_sha256": "0" * 64}])
def test_clear_receipt_for_another_result_is_refused(office: Office, changes: dict[str, Any]) -> None:
    digest = succeeded(office)
    problem(office.client().put_ack(digest, office.ack(digest, **changes)), 409, "not-succeeded")
    assert office.client().get(f"/v1/reports/{digest}").json["state"] == "succeeded"


def test_clear_receipt_of_another_report_is_refused(office: Office) -> None:
    digest = succeeded(office)
    problem(office.client().put_ack(digest, office.ack(digest, report_digest="0" * 64)), 422, "ack-invalid")


@pytest.mark.parametrize(
    "damage", [lambda d: b"", lambda d: d[:-40], lambda d: b"Y", lambda d: d.replace(b"2026", b"2027", 1)]
)
def test_damaged_clear_receipt_is_refused(office: Office, damage: Any) -> None:
    digest = succeeded(office)
    reply = office.client().put_ack(digest, damage(office.ack(digest)))
    assert reply.status == 422
    assert reply.json["code"] in ("B1401", "2734")


def test_clear_receipt_by_another_card_is_refused(office: Office) -> None:
    digest = succeeded(office)
    problem(office.client().put_ack(digest, office.ack(digest, card=office.card(1))), 422, "2734")


# --- the description of the interface ------------------------------------------------------------------------------


def test_openapi_names_every_route_and_every_route_is_named(office: Office) -> None:
    document = send(office.bureau, "GET", "/openapi.json").json
    said = {(path, method) for path, item in document["paths"].items() for method in item if method != "parameters"}
    routes = {
        (route.path, method.lower())  # type: ignore[attr-defined]
        for route in make_app(office.bureau).routes
        for method in route.methods  # type: ignore[attr-defined]
        if method != "HEAD"
    }
    assert said == routes


def test_openapi_is_true_of_a_walk_through_everything(office: Office) -> None:
    """Go through every path to every success, and hold each answer against the document."""
    document = send(office.bureau, "GET", "/openapi.json").json
    walked: set[tuple[str, str, str]] = set()

    def check(path: str, method: str, reply: Reply) -> Reply:
        said = document["paths"][path][method]["responses"]
        assert str(reply.status) in said, (path, method, reply.status, reply.body)
        media = reply.headers["content-type"].split(";")[0]
        assert media in said[str(reply.status)]["content"], (path, media)
        for name in said[str(reply.status)].get("headers", {}):
            assert name.lower() in reply.headers
        reference = said[str(reply.status)]["content"][media]["schema"].get("$ref", "")
        if reference:
            schema = document["components"]["schemas"][reference.rsplit("/", 1)[1]]
            members = json.loads(reply.body)
            assert set(members) <= set(schema["properties"]), (path, set(members))
            assert set(schema.get("required", ())) <= set(members)
        walked.add((path, method, str(reply.status)))
        return reply

    client = office.client()
    report_path, result_path, ack_path = (f"/v1/reports/{{digest}}{tail}" for tail in ("", "/result", "/ack"))
    office.declare()
    office.send(office.card(1))
    data, report = office.seal()
    target = f"/v1/reports/{report.digest}"
    check(report_path, "get", client.get(target))
    check(result_path, "get", client.get(target + "/result"))
    check(report_path, "put", client.put_report(report.digest, data))
    check(report_path, "put", client.put_report(report.digest, data))
    check(report_path, "put", client.put_report("0" * 64, data))
    check(report_path, "put", client.put_part("1" * 64, data, 0, 100))
    check(report_path, "get", client.get("/v1/reports/" + "1" * 64))
    check(report_path, "put", client.put_part("1" * 64, data, 300, 100))
    check(result_path, "get", client.get(target + "/result"))
    office.bureau.desk.judge_all()
    check(report_path, "get", client.get(target))
    check(result_path, "get", client.get(target + "/result"))
    check(ack_path, "put", client.put_ack(report.digest, office.ack(report.digest)))
    check("/v1/taxpayers/{taxpayer_id}/standing", "get", client.get(STANDING))
    for path in ("/v1/trust", "/healthz", "/readyz", "/metrics", "/openapi.json"):
        check(path, "get", send(office.bureau, "GET", path))
    successes = {
        (path, method, status)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
        for status in operation["responses"]
        if status.startswith("2")
    }
    assert successes <= walked


def test_every_refusal_has_a_documented_status() -> None:
    assert set(STATUS) == set(Kind)
    said = {
        int(status)
        for item in openapi()["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
        for status in operation["responses"]
    }
    assert set(STATUS.values()) <= said


def test_trust_file_is_there_for_everyone_and_proves_itself(office: Office) -> None:
    reply = send(office.bureau, "GET", "/v1/trust")
    trust = prove_trust(reply.body, root=office.bureau.keyring.root, at=office.clock.now())
    assert trust.version == 1
    assert trust.warnings == ()
    assert trust.calendar["2026-09"] == 15
    assert office.taxcard().trust.encode() == reply.body


def test_content_digest_of_another_algorithm_is_refused(office: Office) -> None:
    data, report = office.seal()
    client: Client = office.client()
    headers = client.sign("PUT", f"/v1/reports/{report.digest}", data)
    headers["Content-Digest"] = content_digest(hashlib.sha256(data).digest()).replace("sha-256", "sha-512")
    problem(client.put_report(report.digest, data, headers=headers), 400, "bad-request")
    del headers["Content-Digest"]
    problem(client.put_report(report.digest, data, headers=headers), 400, "bad-request")
