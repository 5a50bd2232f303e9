"""The software card keeps what the specification of the card promises (CARD-1 to CARD-14)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from offline_station.card.port import CardDriver, CopyRecord
from offline_station.card.software import SoftwareCard, create_card_file
from shared.clock import CHINA
from shared.errors import (
    AlreadyCopied,
    CertificateRefused,
    ConfigurationError,
    EarlierPeriodOpen,
    Locked,
    NoSuccess,
    NotCopied,
    NothingAwaited,
    OtherCard,
    OtherCopyTime,
    OtherDigest,
    OtherMachine,
    OtherNonce,
    OtherReport,
    OtherTaxpayer,
    Outdated,
    PeriodClosed,
    ResultEmpty,
    ResultInvalid,
    ResultOutdated,
    SignatureRefused,
    StillProcessing,
    StoreDamaged,
    TaxferryError,
    TrustError,
    TrustFileInvalid,
    WrongState,
)
from shared.ids import MachineNo, ReportDigest, ReportName, Stamp, TaxpayerId
from shared.model.ack import parse_ack, prove_ack
from shared.states import CardState
from tests.support.offline import (
    DIGEST,
    JULY,
    LOCK_DATE,
    NEXT_LOCK_DATE,
    NOW,
    answer,
    batch,
    software_card,
    taxcard,
    trust_text,
)
from tests.support.pki import NOT_BEFORE, OTHER_TAXPAYER, TAXPAYER, foreign_pki, pki, rogue_pki

LATER = NOW + timedelta(days=1)


@pytest.fixture
def card(tmp_path: Path) -> Iterator[SoftwareCard]:
    found = software_card(tmp_path)
    yield found
    found.close()


def copied(card: SoftwareCard, *, invoices: bool = True) -> CopyRecord:
    """Bring the card to 已抄税, with a report bound."""
    if invoices:
        card.record_issued(batch("july", JULY))
    made = card.copy(NOW, kind="period")
    card.bind_report(made.nonce, DIGEST)
    found = card.open_copy()
    assert found is not None
    return found


def snapshot(card: SoftwareCard) -> list[str]:
    """Return everything that the card's file holds."""
    with closing(sqlite3.connect(card.path)) as db, db:
        found = list(db.iterdump())
    db.close()
    return found


def test_it_is_a_card_driver(card: SoftwareCard) -> None:
    driver: CardDriver = card
    assert driver.read(NOW).state is CardState.TO_COPY


def test_only_its_owner_may_read_the_file(card: SoftwareCard) -> None:
    if os.name == "nt":
        pytest.skip("platform: Windows has no permission bits")
    assert card.path.stat().st_mode & 0o777 == 0o600


def test_a_card_file_is_never_made_over_another(card: SoftwareCard) -> None:
    before = snapshot(card)
    with pytest.raises(ConfigurationError):
        create_card_file(card.path, taxcard(1), NOW)
    assert snapshot(card) == before


@pytest.mark.parametrize(
    "content", [b"", b"not a database at all, but long enough to look at", b"SQLite format 3\0" + b"\0" * 200]
)
def test_another_file_is_not_taken_for_a_card(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "card.db"
    path.write_bytes(content)
    with pytest.raises((StoreDamaged, sqlite3.DatabaseError)):
        SoftwareCard(path)
    assert path.read_bytes() == content


def test_a_card_with_a_foreign_trust_file_is_not_taken_in(tmp_path: Path) -> None:
    forged = taxcard().model_copy(update={"trust": "税渡 信任文件 1\r\n"})
    with pytest.raises(TrustFileInvalid):
        create_card_file(tmp_path / "card.db", forged, NOW)
    assert not (tmp_path / "card.db").exists()


# Counting


def test_a_batch_is_counted_once_however_often_it_is_told(card: SoftwareCard) -> None:
    for _ in range(3):
        card.record_issued(batch("july", JULY))
    made = card.copy(NOW, kind="period")
    assert made.invoice_count == len(JULY)
    assert card.knows_batch("july")
    assert not card.knows_batch("other")


def test_figures_are_frozen_per_kind_and_rate(card: SoftwareCard) -> None:
    made = copied(card)
    special, ordinary = made.summaries
    assert (special.kind, special.positive_count, special.negative_count) == ("004", 2, 1)
    assert (special.positive_amount, special.positive_tax) == ("300.00", "25.00")
    assert (special.negative_amount, special.negative_tax) == ("-50.00", "-6.50")
    assert (ordinary.positive_void_count, ordinary.blank_void_count) == (1, 1)
    assert [(r.kind, r.rate, r.positive_amount) for r in made.rates] == [
        ("004", "0.06", "200.00"),
        ("004", "0.13", "100.00"),
        ("007", "0.13", "0.00"),
    ]


def test_stock_identity_holds_also_beyond_the_stock(tmp_path: Path) -> None:
    """CARD-18: what was issued without stock was bought somewhere."""
    card = software_card(tmp_path, taxcard(stock={"004": 1}))
    card.record_issued(batch("july", JULY))
    made = card.copy(NOW, kind="period")
    for s in made.summaries:
        assert s.closing == s.opening + s.bought - s.returned - s.used
        assert s.closing >= 0
    assert [(s.kind, s.opening, s.bought, s.closing) for s in made.summaries] == [("004", 1, 2, 0), ("007", 0, 2, 0)]
    card.close()


def test_a_month_without_business_makes_a_zero_copy_with_its_stock(card: SoftwareCard) -> None:
    """CARD-4."""
    made = card.copy(NOW, kind="period")
    assert made.invoice_count == 0
    assert [(s.kind, s.opening, s.closing, s.used) for s in made.summaries] == [
        ("004", 100, 100, 0),
        ("007", 50, 50, 0),
    ]
    assert made.rates == ()


def test_invoices_of_a_copied_month_are_refused_as_a_whole(card: SoftwareCard) -> None:
    copied(card)
    before = snapshot(card)
    mixed = batch("late", [("2026-08", *JULY[0][1:]), JULY[0]])
    with pytest.raises(PeriodClosed, match="2026-07"):
        card.record_issued(mixed)
    assert snapshot(card) == before
    assert not card.knows_batch("late")


def test_invoices_from_before_the_card_are_refused(card: SoftwareCard) -> None:
    with pytest.raises(PeriodClosed):
        card.record_issued(batch("old", [("2026-06", *JULY[0][1:])]))


def test_a_later_void_is_a_change_too(card: SoftwareCard) -> None:
    card.record_issued(batch("july", JULY))
    card.record_issued(batch("void", [], voids=[("2026-07", "004", 100_00, 13_00)]))
    special = card.copy(NOW, kind="period").summaries[0]
    assert (special.positive_count, special.positive_void_count) == (1, 1)
    assert (special.positive_amount, special.positive_void_amount) == ("200.00", "100.00")
    assert special.used == 3


def test_sums_that_no_amount_can_state_are_refused(card: SoftwareCard) -> None:
    huge = 9 * 10**14
    card.record_issued(batch("one", [("2026-07", "004", "positive", "0.13", huge, 0)]))
    with pytest.raises(WrongState):
        card.record_issued(batch("two", [("2026-07", "004", "positive", "0.13", huge, 0)]))
    assert card.copy(NOW, kind="period").invoice_count == 1


# Copying


def test_a_period_copy_covers_exactly_the_month_before(card: SoftwareCard) -> None:
    """CARD-4."""
    card.record_issued(batch("both", [*JULY, ("2026-08", *JULY[0][1:])]))
    made = card.copy(NOW, kind="period")
    assert str(made.name.stamp) == "202608010000"
    assert (made.period_start, made.period_end) == (date(2026, 7, 1), date(2026, 7, 31))
    assert made.invoice_count == len(JULY)
    assert card.read(NOW).state is CardState.COPIED


def test_a_second_copy_is_refused_and_changes_nothing(card: SoftwareCard) -> None:
    """CARD-5, CARD-7."""
    copied(card)
    before = snapshot(card)
    with pytest.raises(AlreadyCopied) as refused:
        card.copy(LATER, kind="period")
    assert refused.value.exit_code == 52
    with pytest.raises(AlreadyCopied):
        card.copy(LATER, kind="adhoc", again=True)
    assert snapshot(card) == before


def test_again_supersedes_with_new_nonce_and_sequence(card: SoftwareCard) -> None:
    """CARD-6: the same period, another copy."""
    old = copied(card)
    new = card.copy(LATER, kind="period", again=True)
    assert new.name == old.name
    assert new.nonce != old.nonce
    assert new.sequence == old.sequence + 1
    assert new.summaries == old.summaries
    assert [c.superseded_by for c in card.history()] == [new.nonce, None]


def test_a_superseded_copy_can_no_longer_clear(card: SoftwareCard) -> None:
    """CARD-6."""
    old = copied(card)
    new = card.copy(LATER, kind="period", again=True)
    with pytest.raises(OtherDigest):
        card.examine(answer(old), LATER)
    # Even if the same report digest were bound again, the nonce is another one.
    card.bind_report(new.nonce, DIGEST)
    with pytest.raises(OtherNonce):
        card.examine(answer(old), LATER)
    with pytest.raises(NoSuccess):
        card.clear(LATER)


def test_the_next_period_waits_for_the_next_month(card: SoftwareCard) -> None:
    made = copied(card)
    card.examine(answer(made), NOW)
    card.clear(NOW)
    with pytest.raises(AlreadyCopied):
        card.copy(LATER, kind="period")
    with pytest.raises(AlreadyCopied):
        card.copy(LATER, kind="period", again=True)
    september = datetime(2026, 9, 2, 8, 0, tzinfo=CHINA)
    assert card.read(september).state is CardState.TO_COPY
    assert card.copy(september, kind="period").period_start == date(2026, 8, 1)


def test_an_earlier_month_with_invoices_is_for_the_tax_hall(tmp_path: Path) -> None:
    """CARD-8."""
    card = software_card(tmp_path, taxcard(last_copied=date(2026, 5, 31)))
    card.record_issued(batch("june", [("2026-06", *JULY[0][1:])]))
    with pytest.raises(EarlierPeriodOpen, match="2026-06"):
        card.copy(NOW, kind="period")
    card.close()


def test_an_earlier_month_without_invoices_is_no_obstacle(tmp_path: Path) -> None:
    card = software_card(tmp_path, taxcard(last_copied=date(2026, 4, 30)))
    card.record_issued(batch("july", JULY))
    assert card.copy(NOW, kind="period").period == "2026-07"
    card.close()


def test_an_uncleared_period_copy_is_not_overtaken_by_the_next_month(tmp_path: Path) -> None:
    """CARD-8: superseding it would let a month vanish."""
    card = software_card(tmp_path, taxcard(lock_date=date(2026, 12, 15)))
    copied(card)
    for again in (False, True):
        with pytest.raises(EarlierPeriodOpen):
            card.copy(datetime(2026, 9, 2, 8, 0, tzinfo=CHINA), kind="period", again=again)
    card.close()


@pytest.mark.parametrize("kind", ["period", "adhoc"])
def test_after_the_lock_date_nothing_is_copied(card: SoftwareCard, kind: str) -> None:
    """CARD-11."""
    locked = datetime(2026, 8, 18, 0, 0, tzinfo=CHINA)
    card.record_issued(batch("july", JULY))
    assert not card.read(locked - timedelta(minutes=1)).locked
    assert card.read(locked).locked
    with pytest.raises(Locked) as refused:
        card.copy(locked, kind=kind)  # type: ignore[arg-type]
    assert refused.value.exit_code == 53
    assert card.open_copy() is None


def test_after_the_lock_date_a_success_still_clears(card: SoftwareCard) -> None:
    """CARD-11."""
    made = copied(card)
    late = datetime(2026, 8, 20, 9, 0, tzinfo=CHINA)
    card.examine(answer(made), late)
    assert card.clear(late).lock_date == NEXT_LOCK_DATE
    assert not card.read(late).locked


# Ad hoc


def test_an_ad_hoc_copy_covers_what_no_copy_covers(card: SoftwareCard) -> None:
    card.record_issued(batch("july", JULY))
    made = card.copy(NOW, kind="adhoc")
    assert str(made.name.stamp) == "202608050930"
    assert made.kind == "adhoc"
    assert (made.period_start, made.period_end) == (date(2026, 7, 1), date(2026, 8, 5))
    assert made.invoice_count == len(JULY)


def test_ad_hoc_at_midnight_is_stamped_one_minute_later(card: SoftwareCard) -> None:
    made = card.copy(datetime(2026, 8, 6, 0, 0, tzinfo=CHINA), kind="adhoc")
    assert str(made.name.stamp) == "202608060001"


def test_ad_hoc_clear_moves_no_lock_date_and_takes_the_limits(card: SoftwareCard) -> None:
    """CARD-10."""
    card.record_issued(batch("july", JULY))
    made = card.copy(NOW, kind="adhoc")
    card.bind_report(made.nonce, DIGEST)
    card.examine(answer(made), NOW)
    assert card.clear(NOW).lock_date == LOCK_DATE
    reading = card.read(NOW)
    assert reading.facts.lock_date == LOCK_DATE
    assert reading.offline_hours == 48
    assert reading.offline_limits == {"004": 200_000_00}
    assert reading.state is CardState.TO_COPY, "the period copy is still due"


def test_the_period_copy_covers_the_month_whole_after_an_ad_hoc_one(card: SoftwareCard) -> None:
    """CARD-4."""
    card.record_issued(batch("july", JULY))
    first = card.copy(NOW, kind="adhoc")
    card.bind_report(first.nonce, DIGEST)
    card.examine(answer(first), NOW)
    card.clear(NOW)
    card.record_issued(batch("more", JULY[:1]))
    made = card.copy(LATER, kind="period")
    assert made.invoice_count == len(JULY) + 1
    assert [(s.opening, s.closing) for s in made.summaries] == [(100, 96), (50, 48)]


def test_the_next_ad_hoc_copy_holds_only_what_came_since(card: SoftwareCard) -> None:
    card.record_issued(batch("july", JULY))
    first = card.copy(NOW, kind="adhoc")
    card.bind_report(first.nonce, DIGEST)
    card.examine(answer(first), NOW)
    card.clear(NOW)
    card.record_issued(batch("more", JULY[:1]))
    second = card.copy(LATER, kind="adhoc")
    assert second.invoice_count == 1
    assert [(s.kind, s.opening, s.closing) for s in second.summaries] == [("004", 97, 96), ("007", 48, 48)]


def test_again_on_an_ad_hoc_copy_takes_in_what_the_old_one_covered(card: SoftwareCard) -> None:
    card.record_issued(batch("july", JULY))
    card.copy(NOW, kind="adhoc")
    card.record_issued(batch("more", [("2026-08", *JULY[0][1:])]))
    with pytest.raises(AlreadyCopied):
        card.copy(LATER, kind="adhoc")
    second = card.copy(LATER, kind="adhoc", again=True)
    assert second.invoice_count == len(JULY) + 1
    assert second.period_start == date(2026, 7, 1)


def test_a_period_copy_supersedes_an_open_ad_hoc_one(card: SoftwareCard) -> None:
    """CARD-7."""
    card.record_issued(batch("july", JULY))
    old = card.copy(NOW, kind="adhoc")
    new = card.copy(LATER, kind="period")
    assert [c.superseded_by for c in card.history() if c.nonce == old.nonce] == [new.nonce]
    assert card.open_copy() == new


def test_an_ad_hoc_copy_with_its_success_is_cleared_first(card: SoftwareCard) -> None:
    """CARD-7."""
    made = card.copy(NOW, kind="adhoc")
    card.bind_report(made.nonce, DIGEST)
    card.examine(answer(made), NOW)
    with pytest.raises(AlreadyCopied):
        card.copy(LATER, kind="period")
    card.clear(LATER)
    assert card.copy(LATER, kind="period").kind == "period"


def test_what_an_ad_hoc_copy_covers_can_no_longer_be_voided(card: SoftwareCard) -> None:
    """CARD-3: whether that copy is cleared or not."""
    card.record_issued(batch("july", JULY[:1]))
    made = card.copy(NOW, kind="adhoc")
    void = batch("void", [], voids=[("2026-07", "004", 100_00, 13_00)])
    with pytest.raises(PeriodClosed):
        card.record_issued(void)
    card.bind_report(made.nonce, DIGEST)
    card.examine(answer(made), NOW)
    card.clear(NOW)
    with pytest.raises(PeriodClosed):
        card.record_issued(void)


# Results


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"name": ReportName(OTHER_TAXPAYER, MachineNo(0), Stamp("202608010000"))}, OtherTaxpayer),
        ({"name": ReportName(TAXPAYER, MachineNo(1), Stamp("202608010000"))}, OtherMachine),
        ({"card_no": "TC999"}, OtherCard),
        ({"name": ReportName(TAXPAYER, MachineNo(0), Stamp("202607010000"))}, OtherCopyTime),
        ({"report_digest": ReportDigest("e" * 64)}, OtherDigest),
        ({"nonce": "0" * 32}, OtherNonce),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_each_mismatch_is_refused_by_its_own_name(
    card: SoftwareCard, changes: dict[str, object], error: type[OtherReport]
) -> None:
    """RES-20, CARD-9: and the card is as it was."""
    made = copied(card)
    before = snapshot(card)
    with pytest.raises(OtherReport) as refused:
        card.examine(answer(made, **changes), NOW)
    assert type(refused.value) is error
    assert refused.value.exit_code == 22
    assert snapshot(card) == before
    with pytest.raises(NoSuccess):
        card.clear(NOW)


def test_mismatches_are_looked_for_in_the_devices_order(card: SoftwareCard) -> None:
    """RES-20: what is wrong in every respect is refused for the first one."""
    made = copied(card)
    wrong: dict[str, object] = {"nonce": "0" * 32}
    expected: type[TaxferryError] = OtherNonce
    steps: list[tuple[dict[str, object], type[TaxferryError]]] = [
        ({"report_digest": ReportDigest("e" * 64)}, OtherDigest),
        ({"name": ReportName(TAXPAYER, MachineNo(0), Stamp("202607010000"))}, OtherCopyTime),
        ({"card_no": "TC999"}, OtherCard),
        ({"name": ReportName(TAXPAYER, MachineNo(1), Stamp("202607010000"))}, OtherMachine),
        ({"name": ReportName(OTHER_TAXPAYER, MachineNo(1), Stamp("202607010000"))}, OtherTaxpayer),
    ]
    for change, error in [({}, expected), *steps]:
        wrong |= change
        with pytest.raises(OtherReport) as refused:
            card.examine(answer(made, **wrong), NOW)
        assert type(refused.value) is error
    with pytest.raises(SignatureRefused):
        card.examine(answer(made, **wrong, signer=pki().card()), NOW)


def test_a_refusal_names_both_reports_in_words(card: SoftwareCard) -> None:
    made = copied(card)
    theirs = ReportName(TAXPAYER, MachineNo(1), Stamp("202607180808"))
    with pytest.raises(OtherMachine) as refused:
        card.examine(answer(made, name=theirs), NOW)
    assert "machine 1" in refused.value.text.en
    assert "2026-07-18 08:08" in refused.value.text.en
    assert "the main machine" in refused.value.text.en
    assert "1 号分机" in refused.value.text.zh
    assert "主机" in refused.value.text.zh


def test_only_a_bureaus_result_key_is_believed(card: SoftwareCard) -> None:
    made = copied(card)
    before = snapshot(card)
    for signer in (pki().card(), pki().station(), pki().trust_signer):
        with pytest.raises(SignatureRefused):
            card.examine(answer(made, signer=signer), NOW)
    for other in (foreign_pki(), rogue_pki()):
        with pytest.raises((CertificateRefused, SignatureRefused)):
            card.examine(answer(made, signer=other.bureau_result), NOW)
    assert snapshot(card) == before


def test_a_result_altered_by_one_digit_is_refused(card: SoftwareCard) -> None:
    made = copied(card)
    data = answer(made)
    altered = data.replace(b"2026-09-15", b"2027-09-15", 1)
    assert altered != data
    with pytest.raises(SignatureRefused):
        card.examine(altered, NOW)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", ResultEmpty),
        (b"Y", StillProcessing),
        (b"Y\r\n", StillProcessing),
        (b"nonsense", ResultInvalid),
        (b"x" * (1 << 17), ResultInvalid),
    ],
    ids=["empty", "Y", "Y line", "nonsense", "oversized"],
)
def test_what_is_no_result_is_named_and_changes_nothing(
    card: SoftwareCard, data: bytes, error: type[TaxferryError]
) -> None:
    copied(card)
    before = snapshot(card)
    with pytest.raises(error):
        card.examine(data, NOW)
    assert snapshot(card) == before


def test_a_failure_uses_up_its_number_and_never_clears(card: SoftwareCard) -> None:
    """RES-21, CARD-13."""
    made = copied(card)
    verdict = card.examine(answer(made, 5, code="271D"), NOW)
    assert (verdict.effect, verdict.result.outcome) == ("consumed", "failure")
    assert card.read(NOW).facts.last_result_no == 5
    assert card.read(NOW).state is CardState.COPIED
    with pytest.raises(NoSuccess) as refused:
        card.clear(NOW)
    assert "271D" in refused.value.text.en
    assert refused.value.exit_code == 52


def test_a_number_that_is_not_higher_is_outdated(card: SoftwareCard) -> None:
    made = copied(card)
    card.examine(answer(made, 5, code="271D"), NOW)
    for number in (4, 5):
        with pytest.raises(ResultOutdated) as refused:
            card.examine(answer(made, number), NOW)
        assert refused.value.exit_code == 23
    assert card.examine(answer(made, 6), NOW).effect == "remembered"


def test_the_same_result_again_changes_nothing(card: SoftwareCard) -> None:
    """CARD-13."""
    made = copied(card)
    failure, success = answer(made, 1, code="271D"), answer(made, 2)
    card.examine(failure, NOW)
    before = snapshot(card)
    assert card.examine(failure, NOW).effect == "repeated"
    assert snapshot(card) == before
    card.examine(success, NOW)
    before = snapshot(card)
    assert card.examine(success, NOW).effect == "repeated"
    assert snapshot(card) == before
    card.clear(NOW)
    before = snapshot(card)
    verdict = card.examine(success, NOW)
    assert verdict.effect == "applied-before"
    assert verdict.copy.nonce == made.nonce
    assert snapshot(card) == before
    with pytest.raises(NothingAwaited):
        card.examine(failure, NOW)


def test_the_body_counts_and_not_its_signature(card: SoftwareCard) -> None:
    """RES-9: the bureau may sign the same decision twice."""
    made = copied(card)
    card.examine(answer(made, 2), NOW)
    assert card.examine(answer(made, 2).replace(b"\r\n", b"\n"), NOW).effect == "repeated"


def test_a_failure_after_the_success_does_not_take_it_away(card: SoftwareCard) -> None:
    """CARD-13."""
    made = copied(card)
    card.examine(answer(made, 2), NOW)
    assert card.examine(answer(made, 3, code="272C"), NOW).effect == "consumed"
    assert card.read(NOW).state is CardState.TO_CLEAR
    assert card.examine(answer(made, 2), NOW).effect == "repeated"
    assert card.clear(NOW).lock_date == NEXT_LOCK_DATE


def test_a_newer_success_replaces_the_remembered_one(card: SoftwareCard) -> None:
    made = copied(card)
    card.examine(answer(made, 2), NOW)
    card.examine(answer(made, 3, lock_date=date(2026, 9, 16)), NOW)
    assert card.clear(NOW).lock_date == date(2026, 9, 16)


def test_a_result_of_another_digest_is_refused_before_anything_is_sealed(card: SoftwareCard) -> None:
    made = card.copy(NOW, kind="period")
    with pytest.raises(OtherDigest):
        card.examine(answer(made), NOW)


# Binding


def test_the_card_waits_for_the_report_that_was_sealed_last(card: SoftwareCard) -> None:
    """CARD-16."""
    made = copied(card)
    other = ReportDigest("a" * 64)
    card.bind_report(made.nonce, other)
    with pytest.raises(OtherDigest):
        card.examine(answer(made, digest=DIGEST), NOW)
    assert card.examine(answer(made, digest=other), NOW).effect == "remembered"


def test_a_report_with_its_success_is_not_sealed_again(card: SoftwareCard) -> None:
    made = copied(card)
    card.examine(answer(made), NOW)
    card.bind_report(made.nonce, DIGEST)
    with pytest.raises(WrongState):
        card.bind_report(made.nonce, ReportDigest("a" * 64))


def test_only_the_open_copy_is_bound(card: SoftwareCard) -> None:
    old = copied(card)
    card.copy(LATER, kind="period", again=True)
    with pytest.raises(WrongState):
        card.bind_report(old.nonce, DIGEST)


# Clearing


def test_clearing_takes_over_what_the_bureau_authorised(card: SoftwareCard) -> None:
    """CARD-10."""
    made = copied(card)
    card.examine(answer(made, 7), NOW)
    record = card.clear(NOW)
    reading = card.read(NOW)
    assert not record.already
    assert record.copy.nonce == made.nonce
    assert reading.facts.lock_date == record.lock_date == NEXT_LOCK_DATE
    assert reading.next_period_start == date(2026, 8, 1)
    assert reading.upload_deadline == NEXT_LOCK_DATE
    assert (reading.offline_hours, reading.offline_limits) == (48, {"004": 200_000_00})
    assert reading.state is CardState.DONE
    assert reading.last_cleared_at is not None


def test_clearing_again_is_the_same_clearing(card: SoftwareCard) -> None:
    """CARD-14, ACK-4: even the receipt's octets."""
    made = copied(card)
    card.examine(answer(made), NOW)
    first = card.clear(NOW)
    before = snapshot(card)
    again = card.clear(LATER)
    assert again.already
    assert (again.ack, again.lock_date, again.copy) == (first.ack, first.lock_date, first.copy)
    assert card.acknowledgement(made.nonce) == first.ack
    assert snapshot(card) == before


@pytest.mark.parametrize("key_type", ["rsa", "p256"])
def test_the_clear_receipt_is_the_cards_own_word(tmp_path: Path, key_type: str) -> None:
    card = software_card(tmp_path, taxcard(key_type=key_type))  # type: ignore[arg-type]
    made = copied(card)
    verdict = card.examine(answer(made, 9), NOW)
    proven = prove_ack(card.clear(NOW).ack, pki().trust, at=NOW)
    assert parse_ack(proven.body) == proven.ack
    assert (proven.ack.result_no, proven.ack.result_sha256) == (9, verdict.body_sha256)
    assert (proven.ack.report_digest, proven.ack.lock_date) == (DIGEST, NEXT_LOCK_DATE)
    card.close()


def test_no_receipt_without_clearing(card: SoftwareCard) -> None:
    """ACK-5."""
    made = copied(card)
    card.examine(answer(made), NOW)
    assert card.acknowledgement(made.nonce) is None


def test_nothing_to_clear_is_said_so(card: SoftwareCard) -> None:
    with pytest.raises(NotCopied):
        card.clear(NOW)
    copied(card)
    with pytest.raises(NoSuccess):
        card.clear(NOW)


def test_a_clearing_of_last_month_is_not_this_months(card: SoftwareCard) -> None:
    made = copied(card)
    card.examine(answer(made), NOW)
    card.clear(NOW)
    with pytest.raises(NotCopied):
        card.clear(datetime(2026, 9, 2, 8, 0, tzinfo=CHINA))


# Time


def test_the_floor_of_time_is_what_a_bureau_proved(card: SoftwareCard) -> None:
    """CARD-12: a clock that was put back opens nothing that is locked."""
    made = copied(card)
    card.examine(answer(made, code="271D", bureau_time=datetime(2026, 8, 18, 9, 0, tzinfo=CHINA)), NOW)
    reading = card.read(NOW)
    assert reading.locked
    assert reading.at == datetime(2026, 8, 18, 9, 0, tzinfo=CHINA)
    with pytest.raises(Locked):
        card.copy(NOW, kind="period", again=True)


def test_a_result_is_proven_at_the_floor_of_time(card: SoftwareCard) -> None:
    """CARD-12: with a clock of years ago no certificate would be valid yet, and with one put back an expired one would."""
    made = copied(card)
    card.examine(answer(made, 1, code="271D", bureau_time=NOW), NOW)
    assert card.examine(answer(made, 2, bureau_time=NOW), NOT_BEFORE - timedelta(days=365)).effect == "remembered"


def test_the_floor_of_time_never_sinks(card: SoftwareCard) -> None:
    made = copied(card)
    card.examine(answer(made, 1, code="271D", bureau_time=NOW + timedelta(hours=5)), NOW)
    card.examine(answer(made, 2, code="271D", bureau_time=NOW + timedelta(hours=3)), NOW)
    assert card.read(NOW).at == NOW + timedelta(hours=5)


def test_a_clock_before_the_last_copy_makes_no_ad_hoc_copy(card: SoftwareCard) -> None:
    card.record_issued(batch("august", [("2026-08", *JULY[0][1:])]))
    with pytest.raises(WrongState, match=r"2026-07|早于"):
        card.copy(datetime(2026, 7, 20, 9, 0, tzinfo=CHINA), kind="adhoc")


# Trust


def test_a_newer_trust_file_is_taken_and_an_older_one_refused(card: SoftwareCard) -> None:
    assert card.update_trust(trust_text(version=3), NOW) == 3
    assert card.read(NOW).trust_version == 3
    assert card.update_trust(trust_text(version=3), NOW) == 3
    with pytest.raises(Outdated):
        card.update_trust(trust_text(version=2), NOW)
    assert card.read(NOW).trust_version == 3


def test_a_foreign_trust_file_changes_nothing(card: SoftwareCard) -> None:
    before = snapshot(card)
    for data in (trust_text(foreign_pki(), version=9), trust_text(rogue_pki(), version=9), b"", b"x" * 100):
        with pytest.raises((TrustError, TrustFileInvalid)):
            card.update_trust(data, NOW)
    assert snapshot(card) == before
    assert card.examine(answer(copied(card)), NOW).effect == "remembered"


def test_taxpayer_of_the_card_is_the_one_issued(card: SoftwareCard) -> None:
    facts = card.read(NOW).facts
    assert (facts.taxpayer_id, facts.machine_no) == (TaxpayerId(TAXPAYER), 0)


def test_two_copies_of_one_minute_would_share_a_name_and_are_refused(card: SoftwareCard) -> None:
    first = card.copy(NOW, kind="adhoc")
    card.bind_report(first.nonce, DIGEST)
    card.examine(answer(first, digest=DIGEST, bureau_time=NOW), NOW)
    card.clear(NOW)
    with pytest.raises(WrongState, match="这一分钟"):
        card.copy(NOW + timedelta(seconds=1), kind="adhoc")
    assert card.copy(NOW + timedelta(minutes=1), kind="adhoc").name.stamp != first.name.stamp


def test_clear_of_a_locked_card_that_never_copied_names_the_tax_hall(card: SoftwareCard) -> None:
    locked = datetime(LOCK_DATE.year, LOCK_DATE.month, LOCK_DATE.day, 9, tzinfo=CHINA) + timedelta(days=2)
    with pytest.raises(NotCopied) as caught:
        card.clear(locked)
    assert "办税服务厅" in caught.value.advice.zh
