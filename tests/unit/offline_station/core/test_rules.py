"""The pure rules: composing, supplementing, the next action, and the card's rules over many random lives."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from offline_station.card.software import SoftwareCard
from offline_station.core.card_rules import CopyRecord, trusted_now
from offline_station.core.composing import check_detail, content_rows
from offline_station.core.figures import (
    WHOLE_KIND,
    Figures,
    add_totals,
    figures_of,
    stock_over,
    subtract_totals,
    summarise,
)
from offline_station.core.next_action import Situation, age_in_words, next_action
from offline_station.core.supplement import new_to_card
from shared.clock import CHINA
from shared.errors import DetailMismatch, TaxferryError, WrongState
from shared.ids import MachineNo, Nonce, ReportDigest, ReportName, Stamp, TaxpayerId
from shared.model.report import Invoice, parse_row
from shared.states import CardState, OfflineState
from tests.support.offline import JULY, NOW, answer, batch, software_card, taxcard
from tests.support.reports import invoice

TOTALS = batch("july", JULY).totals()


def a_copy(totals: dict[tuple[str, str], Figures] | None = None) -> CopyRecord:
    totals = TOTALS if totals is None else totals
    stock = {kind: stock_over(10, 0, figures.used) for (kind, rate), figures in totals.items() if rate == WHOLE_KIND}
    summaries, rates = summarise(totals, stock)
    return CopyRecord(
        name=ReportName(TaxpayerId("310100000000000"), MachineNo(0), Stamp("202608010000")),
        card_no="TC1",
        period_start=date(2026, 7, 1),
        period_end=date(2026, 7, 31),
        nonce=Nonce("ab" * 16),
        sequence=1,
        copied_at=NOW,
        summaries=summaries,
        rates=rates,
    )


# figures


def test_what_the_summary_states_reads_back_as_the_same_figures() -> None:
    summaries, rates = summarise(TOTALS, {})
    assert figures_of(summaries, rates) == {key: figures for key, figures in TOTALS.items() if figures}


def test_totals_add_and_subtract() -> None:
    double = add_totals(TOTALS, TOTALS)
    assert subtract_totals(double, TOTALS) == {key: figures for key, figures in TOTALS.items() if figures}
    assert subtract_totals(TOTALS, TOTALS) == {}


@pytest.mark.parametrize(("held", "before", "used"), [(0, 0, 0), (5, 0, 3), (5, 3, 4), (5, 9, 4), (0, 0, 7)])
def test_no_stock_is_negative(held: int, before: int, used: int) -> None:
    """CARD-18."""
    stock = stock_over(held, before, used)
    assert min(stock.opening, stock.bought, stock.closing) >= 0
    assert stock.closing == stock.opening + stock.bought - used


# composing


def test_the_rows_are_summaries_invoices_and_one_trailer() -> None:
    invoices = [invoice(n) for n in (1, 2)] + [invoice(3, status="positive-void")]
    figures = Figures(positive_count=2, positive_void_count=1, positive_amount=200_00, positive_tax=26_00)
    made = a_copy({("007", WHOLE_KIND): replace(figures, positive_void_amount=100_00, positive_void_tax=13_00)})
    rows = [parse_row(line, n) for n, line in enumerate(content_rows(made, iter(invoices)), start=2)]
    assert [row.type for row in rows] == ["summary", "invoice", "invoice", "invoice", "trailer"]
    trailer = rows[-1].model_dump()
    assert (trailer["invoices"], trailer["lines"]) == (3, 3)
    assert (trailer["amount"], trailer["tax"]) == ("200.00", "26.00"), "voids are not sold"


def test_detail_equal_to_the_summary_passes() -> None:
    check_detail(a_copy(), {key: figures for key, figures in TOTALS.items() if figures})
    check_detail(a_copy({}), {})


@pytest.mark.parametrize(
    ("key", "change", "said", "found"),
    [
        (("004", WHOLE_KIND), Figures(positive_count=1), "2", "3"),
        (("004", WHOLE_KIND), Figures(positive_amount=1), "300.00", "300.01"),
        (("004", "0.06"), Figures(positive_tax=-1), "12.00", "11.99"),
        (("007", WHOLE_KIND), Figures(blank_void_count=-1), "1", "0"),
        (("026", WHOLE_KIND), Figures(positive_count=1), "0", "1"),
    ],
)
def test_a_difference_names_the_kind_and_both_numbers(
    key: tuple[str, str], change: Figures, said: str, found: str
) -> None:
    """REP-30: one fen is enough."""
    detail = dict(TOTALS)
    detail[key] = detail.get(key, Figures()) + change
    with pytest.raises(DetailMismatch) as refused:
        check_detail(a_copy(), detail)
    text = refused.value.text.en
    assert key[0] in text
    assert f" {said}, " in text
    assert text.endswith(f" {found}")
    if key[1]:
        assert key[1] in text


def test_another_number_of_invoices_is_never_sealed() -> None:
    with pytest.raises(DetailMismatch):
        list(content_rows(a_copy({}), iter([invoice(1)])))


def test_composing_keeps_no_invoices() -> None:
    """One goes through before the next is asked for."""
    alive: list[int] = []

    def source() -> object:
        for n in range(1, 50):
            alive.append(n)
            yield invoice(n)

    made = a_copy({("007", WHOLE_KIND): Figures(positive_count=49)})
    rows = content_rows(made, source())  # type: ignore[arg-type]
    next(rows)
    for expected in range(1, 50):
        row = parse_row(next(rows), 2)
        assert isinstance(row, Invoice)
        assert len(alive) == expected


# supplement


def month(count: int, fen: int = 100) -> dict[tuple[str, str], Figures]:
    return {("007", WHOLE_KIND): Figures(positive_count=count, positive_amount=count * fen)}


def test_what_the_card_has_is_not_told_again() -> None:
    """CARD-15."""
    assert new_to_card({"2026-07": month(3)}, {"2026-07": month(5)}) == {}
    assert new_to_card({"2026-07": month(5)}, {"2026-07": month(5)}) == {}


def test_what_is_new_beside_all_that_was_missing_is_told() -> None:
    """CARD-15."""
    assert new_to_card({"2026-07": month(7)}, {"2026-07": month(5)}) == {"2026-07": month(2)}
    both = {"2026-07": month(5), "2026-08": month(1)}
    assert new_to_card(both, {"2026-07": month(5)}) == {"2026-08": month(1)}


def test_a_part_of_what_is_missing_and_new_ones_is_refused() -> None:
    """CARD-15."""
    with pytest.raises(WrongState):
        new_to_card({"2026-07": month(3), "2026-08": month(1)}, {"2026-07": month(5)})


# next action


@pytest.mark.parametrize(
    ("state", "locked", "life", "needle"),
    [
        (CardState.TO_COPY, False, None, "copy"),
        (CardState.COPIED, False, OfflineState.COPIED, "report"),
        (CardState.COPIED, False, OfflineState.SEALED, "stick sync"),
        (CardState.COPIED, False, OfflineState.CARRIED, "上网机"),
        (CardState.TO_CLEAR, False, OfflineState.SUCCEEDED, "clear"),
        (CardState.TO_CLEAR, True, OfflineState.SUCCEEDED, "clear"),
        (CardState.DONE, False, None, "已完成"),
        (CardState.COPIED, True, OfflineState.SEALED, "办税服务厅"),
        (CardState.TO_COPY, True, None, "办税服务厅"),
    ],
)
def test_every_state_has_its_next_action(
    state: CardState, locked: bool, life: OfflineState | None, needle: str
) -> None:
    made = a_copy() if life else None
    assert needle in next_action(Situation(state, locked, made, life, "财务")).zh


def test_ages_are_said_as_people_do() -> None:
    assert [age_in_words(s).en for s in (-5, 59, 3600, 86400 * 2.5)] == ["less than a minute"] * 2 + ["1 h", "2 days"]


def test_trusted_time_is_never_before_the_floor() -> None:
    """CARD-12."""
    assert trusted_now(NOW, None) == NOW
    assert trusted_now(NOW, NOW - timedelta(days=1)) == NOW
    assert trusted_now(NOW, NOW + timedelta(days=1)) == NOW + timedelta(days=1)


# the card over many lives


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_asked_of_a_card_its_promises_hold(tmp_path: Path, seed: int) -> None:
    """A random walk: every operation at any time, with right and wrong results; refusals change nothing."""
    chance = random.Random(seed)
    card = software_card(tmp_path, taxcard(last_copied=date(2026, 6, 30), lock_date=date(2026, 8, 17)))
    now = datetime(2026, 8, 1, 9, 0, tzinfo=CHINA)
    counted = number = 0
    applied: set[str] = set()
    for step in range(70):
        now += timedelta(hours=chance.choice([0, 1, 5, 30]))
        history = list(card.history())
        what = chance.choice(["issue", "copy", "adhoc", "again", "bind", "success", "failure", "stale", "clear"])
        before = card.read(now).facts
        try:
            if what == "issue":
                card.record_issued(batch(f"b{step}", [(f"{now:%Y-%m}", *JULY[0][1:])]))
                counted += 1
            elif what in ("copy", "again"):
                card.copy(now, kind="period", again=what == "again")
            elif what == "adhoc":
                card.copy(now, kind="adhoc", again=chance.random() < 0.5)
            elif what == "bind" and history:
                card.bind_report(chance.choice(history).nonce, ReportDigest(f"{step:064x}"))
            elif what in ("success", "failure", "stale") and history:
                target = history[-1] if what != "stale" else chance.choice(history)
                number += chance.choice([0, 1, 1])
                lock = now.date() + timedelta(days=30)
                code = {} if what != "failure" else {"code": "271D"}
                later = {} if code else {"lock_date": lock}
                card.examine(answer(target, max(1, number), bureau_time=now, **code, **later), now)
            elif what == "clear":
                record = card.clear(now)
                assert record.copy.success is not None
                applied.add(record.copy.success.body_sha256)
        except TaxferryError:
            assert card.read(now).facts == before, f"{what} was refused and changed something"
        keep_promises(card, before_sequence=len(history), counted=counted)
    assert all(c.success and c.success.body_sha256 in applied for c in card.history() if c.cleared_at)
    assert len(card.history()) > 2, "the walk went nowhere"
    card.close()


def keep_promises(card: SoftwareCard, *, before_sequence: int, counted: int) -> None:
    history = list(card.history())
    assert sum(copy.open for copy in history) <= 1
    assert [copy.sequence for copy in history] == list(range(1, len(history) + 1))
    assert len(history) - before_sequence in (0, 1)
    assert len({copy.nonce for copy in history}) == len(history)
    for copy in history:
        assert not (copy.cleared_at and copy.superseded_by)
        if copy.cleared_at:
            assert copy.success is not None
            assert card.acknowledgement(copy.nonce) is not None
        for s in copy.summaries:
            assert s.closing == s.opening + s.bought - s.returned - s.used >= 0
    facts = card.read(NOW).facts
    assert sum(f.used for totals in facts.totals.values() for (_, rate), f in totals.items() if not rate) == counted
