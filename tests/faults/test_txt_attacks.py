"""Results that are genuine, and not for this card: a wrong result never clears, and the right one still does (RES-20, RES-21).

Each attack meets a real software card with a sealed, uncleared copy of July 2026.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from offline_station.card.software import SoftwareCard
from offline_station.core.card_rules import CopyRecord
from shared.envelope.textsign import sign_text
from shared.errors import (
    CertificateRefused,
    OtherReport,
    Outdated,
    ResultEmpty,
    ResultInvalid,
    SignatureRefused,
    StillProcessing,
    TaxferryError,
    WrongState,
)
from shared.ids import MachineNo, Nonce, ReportDigest, ReportName, Stamp, TaxpayerId
from shared.keys.file import SoftSigner
from shared.model.ack import prove_ack
from shared.model.result import prove_result
from shared.states import CardState
from tests.support.offline import DIGEST, JULY, NOW, answer, batch, software_card
from tests.support.pki import OTHER_TAXPAYER, TAXPAYER, foreign_pki, pki, rogue_pki

LATER = NOW + timedelta(hours=3)


@dataclass
class Waiting:
    """A card that waits for the result of its copy."""

    card: SoftwareCard
    copy: CopyRecord
    path: Path

    def state(self) -> tuple[object, ...]:
        """Return everything that a refused result must leave as it is."""
        reading = self.card.read(LATER)
        return (reading.state, reading.facts, tuple(self.card.history()))

    def refuses(self, data: bytes, error: type[TaxferryError] | tuple[type[TaxferryError], ...]) -> TaxferryError:
        """Show the result to the card, and see it refused without any change."""
        before = self.state()
        with pytest.raises(error) as caught:
            self.card.examine(data, LATER)
        assert self.state() == before
        with pytest.raises(WrongState):
            self.card.clear(LATER)
        assert self.state() == before
        return caught.value

    def clears(self, data: bytes) -> None:
        """Show the result to the card, and see the card cleared."""
        self.card.examine(data, LATER)
        assert self.card.read(LATER).state is CardState.TO_CLEAR
        self.card.clear(LATER)
        assert self.card.read(LATER).state is CardState.DONE


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Waiting]:
    """Return a card with a sealed copy of July."""
    card = software_card(tmp_path)
    card.record_issued(batch("b1", JULY))
    copy = card.copy(NOW, kind="period")
    card.bind_report(copy.nonce, DIGEST)
    bound = card.open_copy()
    assert bound is not None
    yield Waiting(card, bound, tmp_path)
    card.close()


OTHER_NAMES: dict[str, Callable[[ReportName], ReportName]] = {
    "another taxpayer": lambda n: replace(n, taxpayer_id=TaxpayerId(OTHER_TAXPAYER)),
    "another machine": lambda n: replace(n, machine_no=MachineNo(1)),
    "another month": lambda n: replace(n, stamp=Stamp("202607010000")),
    "an ad hoc copy": lambda n: replace(n, stamp=Stamp("202608050930")),
}


@pytest.mark.parametrize("which", list(OTHER_NAMES))
def test_another_reports_result_is_refused_and_both_are_named(waiting: Waiting, which: str) -> None:
    other = OTHER_NAMES[which](waiting.copy.name)
    error = waiting.refuses(answer(waiting.copy, name=other), OtherReport)
    assert other.in_words.zh in str(error)
    assert error.exit_code == 22
    waiting.clears(answer(waiting.copy))


def test_each_mismatch_has_an_error_code_of_its_own(waiting: Waiting) -> None:
    name = waiting.copy.name
    wrong = {
        "taxpayer": answer(waiting.copy, name=OTHER_NAMES["another taxpayer"](name)),
        "machine": answer(waiting.copy, name=OTHER_NAMES["another machine"](name)),
        "card": answer(waiting.copy, card_no="TC999"),
        "time": answer(waiting.copy, name=OTHER_NAMES["another month"](name)),
        "digest": answer(waiting.copy, digest=ReportDigest("e" * 64)),
        "nonce": answer(waiting.copy, nonce=Nonce("0" * 32)),
    }
    codes = {which: waiting.refuses(data, OtherReport).code for which, data in wrong.items()}
    assert len(set(codes.values())) == len(codes), codes
    waiting.clears(answer(waiting.copy))


def test_the_result_of_the_copy_before_is_refused(waiting: Waiting) -> None:
    old = waiting.copy
    copy = waiting.card.copy(NOW + timedelta(minutes=5), kind="period", again=True)
    waiting.card.bind_report(copy.nonce, ReportDigest("e" * 64))
    waiting.refuses(answer(old), OtherReport)
    waiting.clears(answer(copy, digest=ReportDigest("e" * 64)))


def test_a_replayed_success_changes_nothing_and_does_not_clear_again(waiting: Waiting) -> None:
    data = answer(waiting.copy)
    waiting.clears(data)
    before = waiting.state()
    waiting.card.examine(data, LATER)
    assert waiting.state() == before


def test_last_months_success_does_not_clear_this_month(waiting: Waiting) -> None:
    data = answer(waiting.copy)
    waiting.clears(data)
    september = NOW + timedelta(days=31)
    copy = waiting.card.copy(september, kind="period")
    waiting.card.bind_report(copy.nonce, ReportDigest("e" * 64))
    # It is the body that was applied: no error, and no effect on the copy that is open now.
    waiting.card.examine(data, september)
    assert waiting.card.read(september).state is CardState.COPIED
    with pytest.raises(WrongState):
        waiting.card.clear(september)


def test_an_older_number_than_a_failure_seen_is_refused(waiting: Waiting) -> None:
    waiting.card.examine(answer(waiting.copy, 5, code="271D"), LATER)
    waiting.refuses(answer(waiting.copy, 4), Outdated)
    waiting.refuses(answer(waiting.copy, 5), Outdated)
    waiting.clears(answer(waiting.copy, 6))


def test_a_failure_never_clears(waiting: Waiting) -> None:
    waiting.card.examine(answer(waiting.copy, 1, code="2715"), LATER)
    assert waiting.card.read(LATER).state is CardState.COPIED
    with pytest.raises(WrongState):
        waiting.card.clear(LATER)
    waiting.clears(answer(waiting.copy, 2))


@pytest.mark.parametrize(
    "signer",
    [foreign_pki().bureau_result, rogue_pki().bureau_result],
    ids=["another bureau", "a bureau under the same names"],
)
def test_a_result_that_another_bureau_signed_again_is_refused(waiting: Waiting, signer: SoftSigner) -> None:
    genuine = answer(waiting.copy)
    body = prove_result(genuine, pki().trust, at=LATER).body
    waiting.refuses(sign_text(body, signer, signing_time=NOW), CertificateRefused)
    # Nor does the genuine certificate beside the foreign signature help.
    block = re.search(rb"-----BEGIN CMS-----.*", sign_text(body, signer, signing_time=NOW), re.DOTALL)
    assert block is not None
    waiting.refuses(body + block[0], CertificateRefused)
    waiting.clears(genuine)


@pytest.mark.parametrize(
    "signer",
    [pki().card(), pki().card(TAXPAYER, 0, "p256"), pki().station(), pki().trust_signer],
    ids=["a card", "the card itself", "a station", "the trust key"],
)
def test_a_result_signed_in_another_role_is_refused(waiting: Waiting, signer: SoftSigner) -> None:
    body = prove_result(answer(waiting.copy), pki().trust, at=LATER).body
    waiting.refuses(sign_text(body, signer, signing_time=NOW), SignatureRefused)
    waiting.clears(answer(waiting.copy))


def test_every_digit_of_the_text_counts(waiting: Waiting) -> None:
    genuine = answer(waiting.copy)
    end = genuine.index(b"-----BEGIN CMS-----")
    for match in re.finditer(rb"[0-9]", genuine[:end]):
        altered = bytearray(genuine)
        altered[match.start()] = b"1234567890"[genuine[match.start()] - 48]
        with pytest.raises((SignatureRefused, ResultInvalid)):
            waiting.card.examine(bytes(altered), LATER)
    assert waiting.card.read(LATER).state is CardState.COPIED
    waiting.clears(genuine)


def test_a_failure_edited_into_a_success_is_refused(waiting: Waiting) -> None:
    failure = answer(waiting.copy, code="271D")
    edited = failure.decode().replace("报税失败", "报税成功").replace("错误号: 271D", "错误号:")
    waiting.refuses(edited.encode(), (SignatureRefused, ResultInvalid))


def test_a_lock_date_moved_by_hand_is_refused(waiting: Waiting) -> None:
    edited = answer(waiting.copy).replace(b"2026-09-15", b"2027-09-15")
    waiting.refuses(edited, SignatureRefused)


def test_the_block_of_one_result_under_the_text_of_another_is_refused(waiting: Waiting) -> None:
    mine, other = answer(waiting.copy), answer(waiting.copy, name=OTHER_NAMES["another month"](waiting.copy.name))
    mark = b"-----BEGIN CMS-----"
    swapped = mine[: mine.index(mark)] + other[other.index(mark) :]
    waiting.refuses(swapped, SignatureRefused)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", ResultEmpty),
        (b"Y", StillProcessing),
        (b"\x00" * 4096, ResultInvalid),
        ("报税成功".encode("gbk"), ResultInvalid),
        (b"x" * 70_000, ResultInvalid),
    ],
    ids=["empty", "Y", "zeros", "gbk", "large"],
)
def test_what_is_no_result_leaves_the_card_waiting(waiting: Waiting, data: bytes, error: type[TaxferryError]) -> None:
    waiting.refuses(data, error)
    waiting.clears(answer(waiting.copy))


def test_there_is_no_clear_receipt_before_the_clearing(waiting: Waiting) -> None:
    """ACK-4, ACK-5."""
    assert waiting.card.acknowledgement(waiting.copy.nonce) is None
    waiting.card.examine(answer(waiting.copy), LATER)
    assert waiting.card.acknowledgement(waiting.copy.nonce) is None
    record = waiting.card.clear(LATER)
    assert waiting.card.acknowledgement(waiting.copy.nonce) == record.ack
    proven = prove_ack(record.ack, pki().trust, at=LATER)
    assert proven.ack.result_sha256 == prove_result(answer(waiting.copy), pki().trust, at=LATER).body_sha256
    assert proven.ack.name == waiting.copy.name


def test_a_clear_receipt_does_not_clear(waiting: Waiting, tmp_path_factory: pytest.TempPathFactory) -> None:
    waiting.card.examine(answer(waiting.copy), LATER)
    waiting.card.clear(LATER)
    ack = waiting.card.acknowledgement(waiting.copy.nonce)
    assert ack is not None
    other = software_card(tmp_path_factory.mktemp("other"))
    try:
        other.record_issued(batch("b1", JULY))
        copy = other.copy(NOW, kind="period")
        other.bind_report(copy.nonce, DIGEST)
        with pytest.raises(TaxferryError):
            other.examine(ack, LATER)
        assert other.read(LATER).state is CardState.COPIED
    finally:
        other.close()


def test_the_twin_of_a_card_refuses_the_others_success(
    waiting: Waiting, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # The same figures, the same minute, the same digest even: the nonce is the card's own.
    twin = software_card(tmp_path_factory.mktemp("twin"))
    try:
        twin.record_issued(batch("b1", JULY))
        copy = twin.copy(NOW, kind="period")
        twin.bind_report(copy.nonce, DIGEST)
        with pytest.raises(OtherReport):
            twin.examine(answer(waiting.copy), LATER)
    finally:
        twin.close()


def test_a_success_for_the_main_machine_does_not_clear_a_sub_machine(
    waiting: Waiting, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from tests.support.offline import taxcard

    sub = software_card(tmp_path_factory.mktemp("sub"), taxcard(1))
    try:
        sub.copy(NOW, kind="period")
        with pytest.raises(OtherReport) as caught:
            sub.examine(answer(waiting.copy), LATER)
        assert "主机" in str(caught.value)
        assert "1 号分机" in str(caught.value)
    finally:
        sub.close()
    assert waiting.copy.period_end == date(2026, 7, 31)
