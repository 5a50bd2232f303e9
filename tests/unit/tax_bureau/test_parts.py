"""Uploads in parts at the bureau: what counts, what survives, and that there is never a second receipt."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.model.receipt import prove_receipt
from tax_bureau.parts import FORGOTTEN_SECONDS, GIVES_WAY_SECONDS, MAX_OPEN, MAX_PART_BYTES, Parts, parse_range
from tax_bureau.store import Transaction
from tests.support.bureau import AGENCY, Client, Office, Reply
from tests.support.pki import OTHER_TAXPAYER, TAXPAYER
from tests.support.reports import noise

PART = 10_000


class Sending:
    """One report and the client that sends it."""

    def __init__(self, office: Office, client: Client | None = None, **changes: Any) -> None:
        self.office = office
        changes = {"content": noise(34_000), "invoices": 0, **changes}
        self.data, self.report = office.seal(**changes)
        self.digest = self.report.digest
        self.client = client or office.client()
        self.sent = 0

    @property
    def starts(self) -> list[int]:
        return list(range(0, len(self.data), PART))

    def put(self, first: int, size: int = PART, **options: Any) -> Reply:
        client = options.pop("client", self.client)
        self.sent += len(self.data[first : first + size])
        return client.put_part(self.digest, self.data, first, size, **options)

    def put_rest(self, first: int = 0) -> Reply:
        """Send everything from an offset on, and return the last answer."""
        reply = self.put(first)
        while reply.status == 202:
            reply = self.put(reply.json["offset"])
        return reply

    def offset(self, client: Client | None = None) -> int | None:
        """Return what the bureau says it has; None if it never heard of the report."""
        reply = (client or self.client).get(f"/v1/reports/{self.digest}")
        if reply.status == 404:
            return None
        assert (reply.status, reply.json["state"]) == (200, "partial"), reply.body
        found: int = reply.json["offset"]
        return found


@pytest.fixture
def sending(office: Office) -> Sending:
    return Sending(office)


def refused(reply: Reply, status: int, kind: str) -> dict[str, Any]:
    assert (reply.status, reply.headers["content-type"]) == (status, "application/problem+json"), reply.body
    assert reply.json["type"] == f"urn:taxferry:problem:{kind}"
    return reply.json


def receipts(office: Office) -> list[str]:
    with office.bureau.store.read() as tx:
        return [report.receipt_no for report in tx.reports()]


def lying(office: Office) -> list[str]:
    """Return the names of what lies in the spool besides reports on file."""
    spool = office.root / "home" / "spool"
    return sorted(p.name for p in spool.rglob("*") if p.is_file() and p.parent.name != "reports")


def reports(office: Office) -> list[bytes]:
    return [p.read_bytes() for p in sorted((office.root / "home" / "spool" / "reports").iterdir())]


# --- what counts ---------------------------------------------------------------------------------------------------


def test_parts_make_the_report_and_one_receipt(office: Office, sending: Sending) -> None:  # GW-30, GW-32, GW-33
    assert sending.offset() is None
    for first in sending.starts[:-1]:
        reply = sending.put(first)
        assert (reply.status, reply.json["state"], reply.json["offset"]) == (202, "partial", first + PART)
        assert sending.offset() == first + PART
        assert receipts(office) == []
    reply = sending.put(sending.starts[-1])
    assert reply.status == 201
    receipt = prove_receipt(reply.body, office.bureau.keyring.store, at=office.clock.now()).receipt
    assert (receipt.report_digest, [receipt.receipt_no]) == (sending.digest, receipts(office))
    assert reports(office) == [sending.data]
    assert lying(office) == []
    assert sending.client.get(f"/v1/reports/{sending.digest}").json["state"] != "partial"
    again = sending.client.put_report(sending.digest, sending.data)
    assert (again.status, again.body) == (200, reply.body)


def test_one_part_may_be_the_whole(office: Office, sending: Sending) -> None:
    assert sending.put(0, len(sending.data)).status == 201
    assert lying(office) == []


@pytest.mark.parametrize("first", [1, PART, 3 * PART])
def test_a_part_beyond_the_offset_is_told_where_to_go_on(office: Office, sending: Sending, first: int) -> None:  # GW-31
    assert refused(sending.put(first), 409, "part-offset")["offset"] == 0
    sending.put(0)
    if first > PART:
        assert refused(sending.put(first), 409, "part-offset")["offset"] == PART
    assert sending.put_rest(PART).status == 201


def test_a_part_that_is_there_already_is_taken_again_and_changes_nothing(sending: Sending) -> None:  # GW-31
    sending.put(0)
    sending.put(PART)
    for first, size in ((0, PART), (PART, PART), (0, 2 * PART), (5, 77), (2 * PART - 1, 1)):
        reply = sending.put(first, size)
        assert (reply.status, reply.json["offset"]) == (202, 2 * PART)


def test_an_earlier_part_that_reaches_further_or_is_another_one_does_not_count(sending: Sending) -> None:  # GW-31
    sending.put(0)
    assert refused(sending.put(5, PART), 409, "part-offset")["offset"] == PART
    assert refused(sending.put(0, PART, octets=bytes(PART)), 409, "part-offset")["offset"] == PART
    assert sending.put_rest(PART).status == 201


def test_a_part_unlike_its_digest_does_not_count(sending: Sending) -> None:  # GW-22, GW-32
    sending.put(0)
    right = sending.data[PART : 2 * PART]
    refused(sending.put(PART, octets=right[:-1] + b"\0", digest_of=right), 400, "body-digest")
    assert sending.offset() == PART
    assert sending.put_rest(PART).status == 201


@pytest.mark.parametrize("cut", [0, 1, PART // 2, PART - 1])
def test_half_a_part_does_not_count(office: Office, sending: Sending, cut: int) -> None:  # GW-32
    sending.put(0)
    refused(sending.put(PART, cut=cut), 400, "bad-request")
    assert sending.offset() == PART
    assert [name for name in lying(office) if name.endswith(".part")] == []
    assert sending.put_rest(PART).status == 201


@pytest.mark.parametrize(
    "range_",
    [
        "bytes 0-9999",
        "bytes 0-9999/*",
        "bytes */30000",
        "bytes 9999-0/30000",
        "bytes 0-30000/30000",
        "octets 0-1/2",
        "x",
    ],
)
def test_a_range_that_is_none_is_refused(office: Office, sending: Sending, range_: str) -> None:  # GW-30
    refused(sending.put(0, range=range_), 400, "bad-request")
    assert lying(office) == []


@pytest.mark.parametrize("octets", [b"", b"x" * (PART - 1), b"x" * (PART + 1)])
def test_a_body_of_another_length_than_its_range_is_refused(sending: Sending, octets: bytes) -> None:  # GW-30
    reply = sending.put(0, octets=octets)
    assert reply.status in (400, 413)
    assert sending.offset() is None


def test_more_octets_than_announced_are_not_taken(sending: Sending) -> None:
    reply = sending.put(0, octets=b"x" * (PART + 1), extra={"content-length": str(PART)})
    refused(reply, 400, "bad-request")
    assert sending.offset() is None


def test_parts_and_files_have_their_limits(sending: Sending) -> None:  # GW-30
    limit = (1 << 30) + 1
    refused(sending.put(0, total=limit), 413, "too-large")
    refused(sending.put(0, range=f"bytes 0-{MAX_PART_BYTES}/{2 * MAX_PART_BYTES}"), 413, "too-large")
    assert sending.offset() is None


def test_the_range_of_the_largest_part_is_read() -> None:
    assert parse_range(f"bytes 0-{(1 << 30) - 1}/{1 << 30}") == (0, (1 << 30) - 1, 1 << 30)


@pytest.mark.parametrize(
    ("name", "other", "left_out"),
    [
        ("Content-Range", f"bytes 1-{PART}/99999", (401, "unsigned")),
        ("Repr-Digest", "sha-256=:" + "B" * 42 + "A=:", (400, "bad-request")),
    ],
)
def test_range_and_digest_of_the_file_are_signed(
    sending: Sending, name: str, other: str, left_out: tuple[int, str]
) -> None:  # GW-21, GW-30
    client, target, part = sending.client, f"/v1/reports/{sending.digest}", sending.data[:PART]
    fields = {"Content-Range": f"bytes 0-{PART - 1}/99999", "Repr-Digest": "sha-256=:" + "A" * 43 + "=:"}
    signed = client.sign("PUT", target, part, fields=fields)
    refused(client.request("PUT", target, part, headers={**signed, name: other}), 403, "key-not-on-file")
    del signed[name]
    refused(client.request("PUT", target, part, headers=signed), *left_out)
    assert sending.offset() is None


# --- the whole -----------------------------------------------------------------------------------------------------


def test_a_file_that_is_another_report_leaves_nothing(office: Office, sending: Sending) -> None:  # GW-5, GW-33
    digest, sending.digest = sending.digest, "0" * 64
    found = refused(sending.put_rest(), 422, "digest-mismatch")
    assert found["report_digest"] == digest
    assert (sending.offset(), lying(office), reports(office)) == (None, [], [])


def test_a_file_that_does_not_prove_leaves_nothing(office: Office, sending: Sending) -> None:  # GW-33
    sending.data = sending.data[:-500] + bytes([sending.data[-500] ^ 1]) + sending.data[-499:]
    refused(sending.put_rest(), 422, "report-invalid")
    assert (sending.offset(), lying(office), reports(office)) == (None, [], [])


def test_parts_that_are_not_the_file_leave_nothing(office: Office, sending: Sending) -> None:  # GW-33
    sending.put(0)
    sending.put(PART, octets=bytes(PART))
    refused(sending.put_rest(2 * PART), 400, "body-digest")
    assert (sending.offset(), lying(office)) == (None, [])
    assert sending.put_rest().status == 201


def test_another_report_of_the_copy_in_parts_conflicts_as_always(office: Office, sending: Sending) -> None:  # JUDGE-15
    office.send()
    refused(sending.put_rest(), 409, "sequence-taken")
    assert (sending.offset(), lying(office)) == (None, [])


def test_while_the_whole_is_proven_the_bureau_says_so(
    office: Office, sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:  # GW-33
    said: list[Reply] = []
    whole = Parts.whole

    def asked_meanwhile(parts: Parts, partial: Any) -> Any:
        said.append(sending.client.get(f"/v1/reports/{sending.digest}"))
        return whole(parts, partial)

    monkeypatch.setattr(Parts, "whole", asked_meanwhile)
    assert sending.put_rest().status == 201
    assert [(reply.status, reply.json["state"]) for reply in said] == [(200, "receiving")]


def test_what_is_on_file_need_not_be_sent_again(office: Office, sending: Sending) -> None:  # GW-4, GW-36
    receipt = sending.put_rest().body
    office.bureau.desk.judge_all()
    for first in (0, sending.starts[-1]):
        reply = sending.put(first)
        assert (reply.status, reply.body) == (200, receipt)
    assert lying(office) == []
    assert len(receipts(office)) == 1


def test_a_failure_that_can_be_cured_is_reopened_by_its_first_part(office: Office) -> None:  # GW-4, GW-36
    sending = Sending(office, content=None, invoices=300)
    sending.put_rest()
    office.bureau.desk.judge_all()
    assert office.code(sending.digest) == "271D"
    assert sending.put(0).status == 200
    assert sending.client.get(f"/v1/reports/{sending.digest}/result").body == b"Y"


def test_a_report_that_comes_whole_after_all_ends_its_parts(office: Office, sending: Sending) -> None:
    sending.put(0)
    assert sending.client.put_report(sending.digest, sending.data).status == 201
    assert lying(office) == []


# --- who else sends ------------------------------------------------------------------------------------------------


def test_another_file_of_the_report_is_turned_away_until_the_first_is_idle(office: Office, sending: Sending) -> None:
    """GW-34."""
    sending.put(0)
    other = {"whole": hashlib.sha256(b"other").digest()}
    reply = sending.put(0, **other)
    refused(reply, 409, "other-upload")
    assert reply.headers["retry-after"] == str(GIVES_WAY_SECONDS)
    refused(sending.put(0, total=len(sending.data) + 1), 409, "other-upload")
    assert sending.offset() == PART
    office.clock.advance(seconds=GIVES_WAY_SECONDS)
    assert sending.put(0, **other).status == 202
    refused(sending.put(PART), 409, "other-upload")


def test_nobody_else_s_parts_are_in_the_way_or_to_be_seen(office: Office, sending: Sending) -> None:  # GW-35
    stranger, agency = office.client(office.key(OTHER_TAXPAYER)), office.client(office.key(AGENCY))
    assert stranger.put_part(sending.digest, b"squatting" * 9, 0, 10).status == 202
    assert sending.offset() is None
    assert sending.put(0).status == 202
    assert sending.offset(stranger) == 10
    office.bureau.registry.delegate(TAXPAYER, AGENCY)
    assert sending.put(0, client=agency).status == 202
    assert sending.put_rest(PART).status == 201
    # The delegate's upload is of the same octets, which are on file now.
    assert sending.put(PART, client=agency).status == 200
    assert len(receipts(office)) == 1
    refused(stranger.put_part(sending.digest, b"squatting" * 9, 10, 10), 403, "not-yours")


def test_a_stranger_s_report_in_parts_is_refused_with_its_last_part(office: Office, sending: Sending) -> None:  # GW-14
    sending.client = office.client(office.key(OTHER_TAXPAYER))
    refused(sending.put_rest(), 403, "not-yours")
    assert (lying(office), reports(office)) == ([], [])


@pytest.mark.parametrize("seed", range(4))
def test_two_uploaders_of_one_report_get_one_receipt(office: Office, seed: int) -> None:  # GW-36
    """Each follows the offsets it is told, without knowing of the other."""
    sending = Sending(office)
    answers: list[bytes] = []

    def upload(rng: random.Random) -> None:
        client, offset = office.client(), 0
        for _ in range(60):
            reply = client.put_part(sending.digest, sending.data, offset, rng.choice([PART, PART // 2, 3000]))
            if reply.status in (200, 201):
                answers.append(reply.body)
                return
            assert reply.status in (202, 409), reply.body
            offset = reply.json["offset"]

    threads = [threading.Thread(target=upload, args=(random.Random(f"{seed} {n}"),)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 3
    assert len(set(answers)) == 1
    assert len(receipts(office)) == 1
    assert reports(office) == [sending.data]
    assert lying(office) == []


# --- what survives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("litter", [b"", b"half a part", b"x" * 3 * PART])
def test_what_a_crash_left_half_written_is_cut_off(office: Office, sending: Sending, litter: bytes) -> None:  # GW-32
    sending.put(0)
    (data,) = (office.root / "home" / "spool" / "parts").glob("*.bin")
    with data.open("ab") as file:
        file.write(litter)
    office.restart()
    office.bureau.desk.sweep()
    assert sending.offset() == PART
    assert sending.put_rest(PART).status == 201
    assert reports(office) == [sending.data]


@pytest.mark.parametrize("damage", [lambda note, data: data.unlink(), lambda note, data: note.write_bytes(b"{")])
def test_an_upload_whose_octets_are_lost_begins_anew(
    office: Office, sending: Sending, damage: Callable[[Path, Path], object]
) -> None:
    sending.put(0)
    parts = office.root / "home" / "spool" / "parts"
    damage(next(parts.glob("*.json")), next(parts.glob("*.bin")))
    assert sending.offset() in (None, 0)
    assert refused(sending.put(PART), 409, "part-offset")["offset"] == 0
    assert sending.put_rest().status == 201


def test_acceptance_that_fails_at_the_last_moment_costs_only_the_last_part(
    office: Office, sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:  # GW-33
    """The file has its name already, and the row does not come to be: what a crash leaves there is taken back."""

    def broken(_tx: Transaction, _report: Any) -> None:
        raise RuntimeError("power cut")

    last = sending.starts[-1]
    for first in sending.starts[:-1]:
        sending.put(first)
    with monkeypatch.context() as patched:
        patched.setattr(Transaction, "add_report", broken)
        assert sending.put(last).status == 500
    assert reports(office) == [sending.data]
    office.restart()
    office.bureau.desk.sweep()
    assert sending.offset() == last
    assert reports(office) == []
    assert sending.put(last).status == 201
    assert (reports(office), len(receipts(office))) == ([sending.data], 1)
    assert sending.sent == len(sending.data) + len(sending.data[last:])


def test_a_crash_right_after_the_commit_changes_nothing_that_was_accepted(
    office: Office, sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:  # GW-33
    def broken(_parts: Parts, _taxpayer: str, _digest: str) -> None:
        raise RuntimeError("power cut")

    for first in sending.starts[:-1]:
        sending.put(first)
    with monkeypatch.context() as patched:
        patched.setattr(Parts, "discard", broken)
        assert sending.put(sending.starts[-1]).status == 500
    office.restart()
    office.clock.advance(seconds=GIVES_WAY_SECONDS + 1)
    office.bureau.desk.sweep()
    assert sending.client.get(f"/v1/reports/{sending.digest}").json["state"] != "partial"
    assert sending.put(sending.starts[-1]).status == 200
    assert (reports(office), len(receipts(office)), lying(office)) == ([sending.data], 1, [])


def test_a_full_disk_is_not_now_and_nothing_is_lost(
    office: Office, sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    sending.put(0)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        refused(sending.put(PART), 429, "busy")
    assert sending.offset() == PART
    assert sending.put_rest(PART).status == 201


def test_nothing_is_acknowledged_before_it_is_on_the_disk(
    office: Office, sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:  # GW-32
    """The octets first, then the note that they count, then its folder; only then the answer."""
    order: list[str] = []
    fsync, real_replace = os.fsync, os.replace

    def synced(fd: int) -> None:
        order.append(Path(os.readlink(f"/proc/self/fd/{fd}")).suffix or "folder")
        fsync(fd)

    def renamed(source: Any, target: Any) -> None:
        order.append("renamed")
        real_replace(source, target)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("platform: /proc")
    sending.put(0)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", synced)
        patched.setattr(os, "replace", renamed)
        assert sending.put(PART).status == 202
    assert order == [".bin", ".taxferry-tmp", "renamed", "folder"]


# --- what is forgotten ---------------------------------------------------------------------------------------------


def test_an_upload_that_nobody_goes_on_with_is_forgotten(office: Office, sending: Sending) -> None:  # GW-37
    sending.put(0)
    office.clock.advance(seconds=FORGOTTEN_SECONDS - 1)
    office.bureau.desk.sweep()
    assert sending.put(PART).status == 202
    office.clock.advance(seconds=FORGOTTEN_SECONDS)
    assert sending.offset() == 2 * PART
    office.clock.advance(seconds=1)
    assert sending.offset() is None
    assert refused(sending.put(2 * PART), 409, "part-offset")["offset"] == 0
    assert sending.put_rest().status == 201


def test_forgotten_uploads_leave_the_disk_without_a_restart(office: Office, sending: Sending) -> None:  # GW-37
    sending.put(0)
    office.clock.advance(seconds=FORGOTTEN_SECONDS + 3601)
    office.client(office.key(AGENCY)).put_part("1" * 64, b"another", 0, 1)
    assert [name.split("-")[0] for name in lying(office)] == [AGENCY, AGENCY]


def test_a_taxpayer_has_only_so_many_uploads_under_way(office: Office, sending: Sending) -> None:  # GW-37
    for number in range(MAX_OPEN):
        assert sending.client.put_part(f"{number:064x}", sending.data, 0, 10).status == 202
    reply = sending.put(0)
    refused(reply, 429, "busy")
    assert int(reply.headers["retry-after"]) > 0
    assert sending.client.put_part("0" * 64, sending.data, 10, 10).status == 202
    assert office.client(office.key(AGENCY)).put_part("0" * 64, sending.data, 0, 10).status == 202
