"""Large reports on a bad line: what was taken is not sent again, and nothing is guessed."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import pytest

from online_station.core.story import happened
from online_station.shell.gateway import PART_BYTES, HttpGateway
from shared.clock import FixedClock
from shared.errors import (
    BureauBusy,
    BureauError,
    BureauRefused,
    BureauUnreachable,
    OutcomeUnknown,
)
from shared.model.receipt import prove_receipt
from shared.model.standing import ReportStatus
from shared.states import OnlineState
from tests.support.fake_bureau import Begun, Cut, FakeBureau, Lie, serving
from tests.support.online import large_report
from tests.support.pki import NOW, pki

PART = 20_000
PARTS = 6


@pytest.fixture(scope="module")
def report():
    """Return a report of five and a half parts."""
    return large_report(round(PART * (PARTS - 0.5)) - 3_000)


@pytest.fixture
def bureau(report):
    data, _ = report
    assert (PARTS - 1) * PART < len(data) < PARTS * PART
    station = pki().station(key_type="p256")
    with serving(FakeBureau(pki())) as made:
        made.know(station.certificate)
        yield made
        assert made.unsigned == [], "every request is signed by the profile"
        made.on_part = None


class Line:
    """A client that goes on as the station does: after whatever happened, the report is put again."""

    def __init__(self, bureau: FakeBureau, report: Any, folder: Path) -> None:
        self.bureau = bureau
        self.data, made = report
        self.digest = made.digest
        self.path = folder / "r.dat"
        self.path.write_bytes(self.data)
        self.told: list[int] = []
        self.troubles: list[BureauError] = []
        self.gateway = HttpGateway(
            bureau.url,
            pki().station(key_type="p256"),
            FixedClock(NOW),
            connect_seconds=2,
            read_seconds=5,
            upload_seconds=5,
            part_bytes=PART,
        )

    def put(self) -> bytes:
        sha256 = hashlib.sha256(self.data).hexdigest()
        return self.gateway.put_report(self.digest, self.path, sha256, progress=lambda n, _: self.told.append(n))

    def put_until_taken(self, attempts: int = 20) -> bytes:
        for _ in range(attempts):
            try:
                if self.troubles and self.digest in self.bureau.reports:
                    assert self.gateway.report_status(self.digest).state == "processing"
                    return self.bureau.reports[self.digest].receipt
                return self.put()
            except (OutcomeUnknown, BureauUnreachable, BureauBusy) as error:
                self.troubles.append(error)
        raise AssertionError(self.troubles)

    def sent(self) -> int:
        return sum(part.octets for part in self.bureau.parts)

    def check(self, cuts: int) -> None:
        """Check that all of it arrived once, and that a cut cost no more than a part."""
        held = self.bureau.reports[self.digest]
        assert prove_receipt(held.receipt, pki().trust, at=NOW).receipt.report_digest == self.digest
        assert self.bureau.puts[self.digest] == 1
        assert self.bureau.uploads == {}
        assert len(self.data) <= self.sent() <= len(self.data) + cuts * PART


@pytest.fixture
def line(bureau, report, tmp_path):
    return Line(bureau, report, tmp_path)


def test_a_large_report_goes_in_parts_and_gets_one_receipt(line, bureau):  # GW-30, GW-38
    receipt = line.put()
    assert receipt == bureau.reports[line.digest].receipt
    assert [(part.first, part.status) for part in bureau.parts] == [
        *((number * PART, 202) for number in range(PARTS - 1)),
        ((PARTS - 1) * PART, 201),
    ]
    assert line.told == [number * PART for number in range(1, PARTS)]
    assert [method for method, _, _ in bureau.log] == ["GET", *["PUT"] * PARTS]
    line.check(cuts=0)


@pytest.mark.parametrize("size", [PART - 1, PART, PART + 1])
def test_only_what_is_larger_than_a_part_goes_in_parts(line, bureau, size):
    line.gateway.part_bytes = len(line.data) - size + PART
    line.put()
    assert len(bureau.parts) == (2 if size > PART else 0)
    assert bureau.puts[line.digest] == 1


def test_parts_are_of_four_mebibytes():
    gateway = HttpGateway("http://127.0.0.1:9", pki().station(key_type="p256"), FixedClock(NOW))
    assert gateway.part_bytes == PART_BYTES == 4 << 20


@pytest.mark.parametrize("octets", [0, 1, PART // 2, PART - 1, PART])
@pytest.mark.parametrize("number", range(PARTS))
def test_a_cut_anywhere_costs_at_most_its_part(line, bureau, number, octets):  # GW-32, GW-38
    """At every boundary, and inside: before the part, in it, and after all of it without its answer."""
    bureau.misbehave("part", *[None] * number, Cut(octets))
    line.put_until_taken()
    assert len(line.troubles) == 1
    assert isinstance(line.troubles[0], OutcomeUnknown)
    line.check(cuts=1)


@pytest.mark.parametrize("seed", range(8))
def test_a_line_that_breaks_again_and_again_carries_the_report_all_the_same(line, bureau, seed):  # GW-38
    rng = random.Random(seed)
    faults: list[object] = [
        rng.choice([None, Cut(rng.randrange(PART)), "drop", "refuse", "restart", 503, 429]) for _ in range(12)
    ]
    bureau.misbehave("part", *faults)
    line.put_until_taken()
    used = 12 - len(bureau.script["part"])
    line.check(cuts=sum(fault is not None for fault in faults[:used]))


@pytest.mark.parametrize("number", range(PARTS))
def test_a_part_whose_answer_was_lost_is_not_sent_again(line, bureau, number):  # GW-6, GW-38
    bureau.misbehave("part", *[None] * number, "drop")
    with pytest.raises(OutcomeUnknown):
        line.put()
    before = line.sent()
    if number < PARTS - 1:
        line.put()
        assert line.sent() == len(line.data)
    else:
        # The bureau has it all. Whoever asks, as the station does, sends nothing.
        assert line.gateway.report_status(line.digest).state == "processing"
        assert line.sent() == before == len(line.data)


@pytest.mark.parametrize(
    ("fault", "outcome"), [(503, OutcomeUnknown), (429, BureauBusy), (403, BureauRefused), (500, OutcomeUnknown)]
)
def test_the_outcome_of_a_part_is_the_outcome_of_the_upload(line, bureau, fault, outcome):  # GW-39
    bureau.retry_after = "77"
    bureau.misbehave("part", None, fault)
    with pytest.raises(outcome) as caught:
        line.put()
    if fault in (429, 503):
        assert caught.value.context["retry_after"] == 77.0  # GW-8
    line.put()
    line.check(cuts=1)


def test_nobody_listens_any_more_in_the_middle(line, bureau, monkeypatch):  # GW-2
    url = bureau.url

    def leave(first: int) -> None:
        if first == PART:
            line.gateway.url = "http://127.0.0.1:9"

    bureau.on_part = leave
    with pytest.raises(BureauUnreachable):
        line.put()
    line.gateway.url = url
    bureau.on_part = None
    line.put()
    line.check(cuts=0)


def test_a_part_that_is_taken_is_no_yes(line, bureau):  # GW-39
    """A bureau that has told of everything and never gives a receipt has not taken the report."""
    for _ in range(4):
        bureau.misbehave("part", *[None] * (PARTS - 1), Lie(len(line.data)))
        with pytest.raises(OutcomeUnknown):
            line.put()
        bureau.script["part"].clear()
        bureau.reports.clear()


@pytest.mark.parametrize("lie", [0, 1, PART - 1, 2 * PART, 3 * PART + 5])
def test_an_offset_that_was_a_lie_is_found_out(line, bureau, lie):  # GW-38
    bureau.misbehave("part", None, Lie(lie))
    line.put_until_taken()
    line.check(cuts=2)


@pytest.mark.parametrize("lie", [1, PART + 1, 10**9])
def test_a_status_with_a_false_offset_is_found_out(line, bureau, lie):  # GW-38
    bureau.misbehave("part", None, None, "refuse")
    with pytest.raises(OutcomeUnknown):
        line.put()
    said = ReportStatus(report_digest=line.digest, state="partial", offset=lie)
    bureau.misbehave("status", said.model_dump_json().encode())
    line.put()
    line.check(cuts=2)


def test_a_bureau_that_sends_us_round_in_circles_gets_no_more_than_a_few_parts(line, bureau):  # GW-38
    bureau.misbehave("part", *[Lie(PART * (number % 3)) for number in range(1, 100)])
    with pytest.raises(OutcomeUnknown):
        line.put()
    assert len(bureau.parts) <= 12


@pytest.mark.parametrize(
    "answer",
    [
        b"{}",
        b"",
        b"\xff",
        ReportStatus(report_digest="f" * 64, state="partial", offset=PART).model_dump_json().encode(),
    ],
)
def test_without_a_believable_offset_nothing_is_sent(line, bureau, answer):  # GW-6, GW-38
    bureau.misbehave("status", answer)
    with pytest.raises(OutcomeUnknown):
        line.put()
    assert bureau.parts == []


def test_while_the_bureau_proves_it_nothing_is_sent(line, bureau):  # GW-33
    status = ReportStatus(report_digest=line.digest, state="receiving", ask_after_seconds=9)
    bureau.misbehave("status", status.model_dump_json().encode())
    with pytest.raises(BureauBusy) as caught:
        line.put()
    assert (caught.value.context["retry_after"], bureau.parts) == (9.0, [])


def test_another_file_s_upload_is_waited_for(line, bureau):  # GW-34
    bureau.retry_after = "1800"
    bureau.uploads[line.digest] = Begun(len(line.data) + 1, b"\0" * 32)
    with pytest.raises(BureauBusy):
        line.put()
    del bureau.uploads[line.digest]
    line.put()
    line.check(cuts=1)


def test_parts_that_do_not_fit_together_are_sent_anew(line, bureau):  # GW-33
    bureau.misbehave("part", None, None, "refuse")
    with pytest.raises(OutcomeUnknown):
        line.put()
    bureau.uploads[line.digest].data = bytes(2 * PART)
    with pytest.raises(BureauRefused) as caught:
        line.put()
    assert caught.value.context["status"] == 400
    line.put()
    assert line.digest in bureau.reports


# --- the station ---------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(station_desk, report):
    data, made = report
    station_desk.part_bytes = PART
    (station_desk.inbox / made.header.name.file_name(".dat")).write_bytes(data)
    station_desk.digest, station_desk.data = made.digest, data
    return station_desk


def octets(desk) -> int:
    return sum(part.octets for part in desk.bureau.parts)


def test_the_station_goes_on_where_it_was_cut_off(desk):  # GW-11, GW-38
    bureau = desk.bureau
    bureau.misbehave("part", None, None, Cut(100), None, Cut(200))
    desk.once()
    assert desk.state(desk.digest) == "accepted"
    assert octets(desk) == len(desk.data) + 300
    assert bureau.puts[desk.digest] == 1


def test_a_bad_line_that_gets_on_does_not_make_the_station_impatient(desk):
    """Each time more has arrived: the pauses do not grow as if nobody were there."""
    bureau = desk.bureau
    bureau.misbehave("part", *[fault for _ in range(PARTS - 1) for fault in (None, "restart")])
    for _ in range(4 * PARTS):
        desk.once()
        row = desk.row(desk.digest)
        if row.snapshot.due_at is not None and row.state is not OnlineState.ACCEPTED:
            assert (row.snapshot.due_at - desk.clock.moment).total_seconds() <= 30
            desk.clock.moment = max(desk.clock.moment, row.snapshot.due_at)
    assert desk.state(desk.digest) == "accepted"
    assert octets(desk) <= len(desk.data) + PART * (PARTS - 1)


def test_a_bureau_that_is_busy_in_the_middle_is_left_alone_for_as_long_as_it_says(desk):  # GW-8
    desk.bureau.retry_after = "120"
    desk.bureau.misbehave("part", None, 429)
    desk.once()
    row = desk.row(desk.digest)
    assert row.state is OnlineState.PROVEN
    assert (row.snapshot.due_at - desk.clock.moment).total_seconds() >= 120
    desk.clock.moment = row.snapshot.due_at
    desk.once()
    assert desk.state(desk.digest) == "accepted"
    assert octets(desk) == len(desk.data) + PART


def test_a_refusal_of_the_whole_is_a_refusal(desk):  # GW-39
    desk.bureau.misbehave("part", *[None] * (PARTS - 1), 422)
    desk.once()
    assert desk.state(desk.digest) == "failed"


def test_the_history_says_that_a_part_has_arrived():
    words = happened("never-seen", OnlineState.UNKNOWN, OnlineState.PROVEN, "arrived-in-part")
    assert "断点" in words.zh
