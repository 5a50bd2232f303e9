from __future__ import annotations

import pytest

from offline_station.ledger.kinds import kinds_of_number, kinds_of_words, resolve_kind, restored_code
from shared.model.report import KIND_NAMES, InvoiceKind


@pytest.mark.parametrize(
    ("words", "code", "number", "kind"),
    [
        ("专用发票", "3100193130", "00000001", "004"),
        ("普通发票", "3100193330", "00000001", "007"),
        ("增值税专票", "", "00000001", "004"),
        ("普通发票", "031001900311", "00000001", "026"),
        ("普通发票", "031001900107", "00000001", "025"),
        ("专用发票", "031001900113", "00000001", "028"),
        ("数电发票（普通发票）", "", "2" * 20, "102"),
        ("数电票(增值税专用发票)", "", "2" * 20, "101"),
        ("全电发票（增值税专用发票）", "", "2" * 20, "101"),
        ("电子发票（普通发票）", "", "2" * 20, "102"),
        ("普通发票", "", "2" * 20, "102"),
        ("增值税电子普通发票", "144031539110", "00000001", "026"),
        ("增值税电子专用发票", "", "00000001", "028"),
        ("机动车销售统一发票", "111007777777", "44422222", "005"),
        ("二手车销售统一发票", "", "00000001", "006"),
        ("增值税普通发票（卷票）", "", "00000001", "025"),
        ("", "3100193130", "00000001", "004"),
        ("", "3100193630", "00000001", "007"),
        ("", "131001920011", "00000001", "005"),
        ("", "031001900017", "00000001", "006"),
        ("", "031001900112", "00000001", "026"),
        ("026", "", "00000001", "026"),
        ("04", "", "00000001", "007"),
        ("81", "", "2" * 20, "101"),
        ("货物运输业增值税专用发票", "3100193730", "00000001", "009"),
    ],
)
def test_the_kind_comes_from_words_code_and_number(words: str, code: str, number: str, kind: InvoiceKind) -> None:
    assert resolve_kind(kinds_of_words(words), kinds_of_number(code, number), None) == (kind, False)


def test_words_win_over_the_code_and_the_contradiction_is_told() -> None:
    assert resolve_kind(kinds_of_words("专用发票"), kinds_of_number("1400111650", "00100144"), None) == ("004", True)


@pytest.mark.parametrize(
    ("words", "code", "number"),
    [
        ("", "", "00000001"),
        ("", "", "2" * 20),
        ("电子发票", "", "2" * 20),
        ("某某企业发票数据", "9999999999", "00000001"),
    ],
)
def test_what_neither_tells_stays_unknown_unless_the_operator_says_it(words: str, code: str, number: str) -> None:
    found = kinds_of_words(words), kinds_of_number(code, number)
    assert resolve_kind(*found, None)[0] is None
    said: InvoiceKind = "102" if len(number) == 20 else "007"
    assert resolve_kind(*found, said)[0] == said


def test_the_operator_cannot_say_what_the_number_rules_out() -> None:
    assert resolve_kind((), kinds_of_number("", "2" * 20), "004")[0] is None


def test_our_own_names_of_the_kinds_are_understood() -> None:
    for kind, name in KIND_NAMES.items():
        number = "2" * 20 if kind in {"101", "102"} else "00000001"
        assert resolve_kind(kinds_of_words(name.zh), kinds_of_number("", number), None)[0] == kind


def test_a_lost_zero_of_a_code_is_restored_only_where_it_is_certain() -> None:
    assert restored_code("31001900311") == "031001900311"
    assert restored_code("31001900399") is None
    assert restored_code("99001900311") is None
    assert restored_code("310019313") is None
    assert restored_code("3100190031x") is None
