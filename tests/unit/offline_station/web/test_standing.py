"""Where things stand: one sentence, one next step with its PC, and one tile of four that invites."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from offline_station.card.software import SoftwareCard
from offline_station.core.card_rules import CopyRecord
from offline_station.web.standing import Facts, due_month, life_line, standing
from offline_station.web.wording import BUTTONS, on_page
from shared.faults import CATALOGUE, ERRORS
from shared.medium.find import STATES
from shared.states import CardState, OfflineState
from shared.text import Text
from shared.web.blocks import HALL, OFFLINE_PC, ONLINE_PC
from tests.support.offline import DIGEST, JULY, NOW, answer, batch, software_card

CJK = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CopyRecord]:
    """A copy: fresh, with failures that ask for three different things, and with a success."""
    folder = tmp_path_factory.mktemp("card")
    card: SoftwareCard = software_card(folder)
    card.record_issued(batch("one", JULY))
    found = {"fresh": card.copy(NOW, kind="period")}
    card.bind_report(found["fresh"].nonce, DIGEST)
    for number, code in enumerate(("271D", "2715", "272C", "2799"), 1):
        card.examine(answer(found["fresh"], number, code=code, message="税局的话"), NOW + timedelta(hours=3))
        open_copy = card.open_copy()
        assert open_copy is not None
        found[code] = open_copy
    card.examine(answer(found["fresh"], 9), NOW + timedelta(hours=3))
    success = card.open_copy()
    assert success is not None
    found["success"] = success
    card.close()
    return found


def facts(**changes: object) -> Facts:
    return replace(Facts(CardState.TO_COPY, False, NOW, due="2026-07"), **changes)  # type: ignore[arg-type]


def carried(copy: CopyRecord, **changes: object) -> Facts:
    base = {"state": CardState.COPIED, "copy": copy, "life": OfflineState.CARRIED, "stick": "红", "since": NOW}
    return facts(**(base | changes))


def inviting(found: Facts) -> list[str]:
    return [step.name.zh for step in standing(found).steps if step.state == "now"]


def test_before_copying_the_first_tile_invites() -> None:
    found = standing(facts())
    assert inviting(facts()) == ["报税状态"]
    assert found.next.where == OFFLINE_PC
    assert found.next.link == "/copy"
    assert "2026年7月" in found.sentence.zh


def test_a_fresh_copy_is_to_be_reported(copies) -> None:
    found = facts(state=CardState.COPIED, copy=copies["fresh"], life=OfflineState.COPIED)
    assert inviting(found) == ["远程报税"]
    assert standing(found).next.link == "/report"
    sealed = replace(found, life=OfflineState.SEALED)
    assert inviting(sealed) == ["远程报税"]
    assert standing(sealed).next.button.zh == "与U盘同步"


def test_a_report_on_a_stick_is_the_other_pcs(copies) -> None:
    found = standing(carried(copies["fresh"]))
    assert found.next.where == ONLINE_PC
    assert not found.next.here
    assert "红" in found.next.text.zh
    late = standing(carried(copies["fresh"], since=NOW - timedelta(days=3)))
    assert "不会重复报税" in late.next.text.zh


def test_a_result_that_is_back_is_taken_in_here(copies) -> None:
    found = carried(copies["fresh"], waiting_result=True)
    assert standing(found).next.link == "/result"
    assert inviting(found) == ["报税结果"]
    by_hand = replace(found, life=OfflineState.SEALED)
    assert inviting(by_hand) == ["报税结果"], "it was copied by hand: nobody saw it leave"


@pytest.mark.parametrize(
    ("code", "where", "word", "tile"),
    [
        ("271D", ONLINE_PC, "重发同一个文件", "报税结果"),
        ("2715", OFFLINE_PC, "重新抄税", "报税状态"),
        ("272C", ONLINE_PC, "不要重发", "报税结果"),
    ],
)
def test_a_failure_says_what_may_be_sent_and_where(copies, code: str, where: Text, word: str, tile: str) -> None:
    found = carried(copies[code], life=OfflineState.FAILED)
    shown = standing(found)
    assert shown.next.where == where
    assert word in shown.next.text.zh
    assert inviting(found) == [tile]
    assert shown.fault is not None
    assert shown.fault.code == code
    assert copies[code].name.stem in shown.fault.details


def test_an_unknown_failure_shows_the_bureaus_own_words(copies) -> None:
    shown = standing(carried(copies["2799"], life=OfflineState.FAILED))
    assert shown.fault is not None
    assert shown.fault.title.zh == "税局的话"


def test_a_proven_success_is_to_be_cleared_even_when_locked(copies) -> None:
    for locked in (False, True):
        found = facts(state=CardState.TO_CLEAR, copy=copies["success"], life=OfflineState.SUCCEEDED, locked=locked)
        assert inviting(found) == ["清卡"]
        assert standing(found).next.link == "/clear"


def test_a_locked_card_invites_nowhere_but_to_the_hall(copies) -> None:
    for found in (facts(locked=True), carried(copies["fresh"], locked=True)):
        shown = standing(found)
        assert inviting(found) == []
        assert shown.next.where == HALL
        assert shown.state.zh == "已锁死"


def test_after_clearing_the_receipt_is_followed_to_its_end(copies) -> None:
    done = facts(state=CardState.DONE, cleared=copies["success"])
    assert inviting(done) == []
    assert standing(replace(done, receipt="here")).next.link == "/stick"
    assert standing(replace(done, receipt="here", stick_in=True)).next.posts
    assert standing(replace(done, receipt="carried", receipt_stick="红")).next.where == ONLINE_PC
    assert "税局已收到" in standing(replace(done, receipt="arrived")).sentence.zh


def test_missing_detail_comes_first() -> None:
    assert standing(facts(behind=["2026-06"])).next.link == "/invoices"


def test_every_state_speaks_english_without_a_chinese_character(copies) -> None:
    for name, copy in copies.items():
        if name == "2799":
            continue  # the bureau's own words pass through
        for life in (None, *OfflineState):
            for locked in (False, True):
                state = CardState.TO_CLEAR if name == "success" else CardState.COPIED
                shown = standing(carried(copy, state=state, life=life, locked=locked, stick="red"))
                said = [shown.state, shown.sentence, shown.next.text, shown.next.where, shown.next.button]
                said += [part for step in shown.steps for part in (step.name, step.what, step.note, step.button)]
                assert not [text for text in said if CJK.search(text.en)]


@pytest.mark.parametrize(
    ("life", "now"),
    [
        (OfflineState.COPIED, "生成报税文件"),
        (OfflineState.SEALED, "放上U盘"),
        (OfflineState.CARRIED, "上传，税局受理"),
    ],
)
def test_a_life_line_says_where_the_report_is(copies, life: OfflineState, now: str) -> None:
    copy = copies["fresh"]
    times = {"copied": NOW}
    if life is not OfflineState.COPIED:
        copy = replace(copy, report_digest=DIGEST)
    if life is OfflineState.CARRIED:
        times["carried"] = NOW
    legs = life_line(copy, life, times, "红")
    assert [leg.name.zh for leg in legs if leg.state == "now"] == [now]


def test_a_life_line_ends_with_the_receipt(copies) -> None:
    copy = replace(copies["success"], report_digest=DIGEST, cleared_at=NOW)
    legs = life_line(copy, OfflineState.ACKNOWLEDGED, {"acknowledged": NOW}, "红")
    assert {leg.state for leg in legs} == {"done"}
    failed = life_line(copies["271D"], OfflineState.FAILED, {}, "")
    assert [(leg.name.zh, leg.note.zh) for leg in failed if leg.state == "failed"] == [("报税失败", "271D")]
    superseded = life_line(copies["fresh"], OfflineState.SUPERSEDED, {"superseded": NOW}, "")
    assert superseded[-1].name.zh == "已被新的抄税取代"


def test_the_month_that_waits_is_the_one_before() -> None:
    assert due_month(NOW) == "2026-07"
    assert due_month(NOW.replace(month=1)) == "2025-12"


# Words


def texts() -> list[Text]:
    found = [text for error in ERRORS.values() for text in (error.message, error.safe, error.hint)]
    found += [text for fault in CATALOGUE.values() for text in (fault.title, fault.cause, fault.safe, *fault.steps)]
    return found + [text for state in STATES.values() for text in (state.name, state.advice)]


def test_nobody_at_the_page_is_told_to_run_a_verb_that_has_a_button() -> None:
    verbs = "|".join(sorted(BUTTONS, key=len, reverse=True))
    left = [on_page(t).zh for t in texts() if re.search(rf"执行 ?({verbs})(?![\w-])", on_page(t).zh)]
    assert left == []
    english = [on_page(t).en for t in texts() if re.search(rf"\b[Rr]un ({verbs})(?![\w-])", on_page(t).en)]
    assert english == []


def test_buttons_take_the_place_of_verbs_and_nothing_else_changes() -> None:
    said = Text("在开票机执行 copy --again 和 report：重新抄税", "run copy --again here, with stick sync")
    assert on_page(said) == Text(
        "在开票机点“重新抄税”和“远程报税”：重新抄税", "press “Copy again” here, with “Sync the stick”"
    )
    plain = Text("文件 report.dat 在 /home/copy 里", "the report.dat is a copy, and the result is clear")
    assert on_page(plain) == plain
