"""Names and numbers that cross the gap (NAME-1 to NAME-8)."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from shared.clock import CHINA
from shared.errors import NameInvalid
from shared.ids import (
    ReportName,
    adhoc_stamp,
    month_end,
    parse_machine_no,
    parse_nonce,
    parse_report_digest,
    parse_report_name,
    parse_stamp,
    parse_stem,
    parse_taxpayer_id,
    period_covered,
    period_stamp,
    recognise_name,
    taxpayer_id_warning,
    uscc_check_character,
)

STEM = "310100000000000_0_200807180808"


@pytest.mark.parametrize(
    "text", ["310100000000000", "31010000000000A01", "91110108551385082Q", "11010519491231002X01", "Z" * 15]
)
def test_a_tax_number_of_each_length_is_accepted(text: str) -> None:
    assert parse_taxpayer_id(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3" * 14,
        "3" * 16,
        "3" * 19,
        "3" * 21,
        "31010000000000a",
        "31010000000000 ",
        "３" * 15,
        "31010000000000_",
        "310100000000000\n",
        "٣" * 15,
    ],
)
def test_any_other_tax_number_is_refused_by_name_and_reason(text: str) -> None:
    with pytest.raises(NameInvalid) as caught:
        parse_taxpayer_id(text)
    assert caught.value.code == "B1001"
    assert "税号" in str(caught.value)


def test_check_characters_follow_gb_32100() -> None:
    for number in ("91110108551385082Q", "91330100799655058B", "91440300708461136T", "9144030071526726XG"):
        assert uscc_check_character(number[:17]) == number[17]
        assert taxpayer_id_warning(number) is None


def test_a_check_value_of_31_is_written_0() -> None:
    assert uscc_check_character("91310000000000011") == "0"
    assert taxpayer_id_warning("913100000000000110") is None


def test_check_values_that_a_reader_without_the_second_modulo_would_refuse_are_about_3_percent() -> None:
    numbers = [f"91310000{serial:09d}" for serial in range(3100)]
    assert 60 < sum(uscc_check_character(number) == "0" for number in numbers) < 140


def test_a_wrong_check_character_is_a_warning_that_names_the_number_and_no_refusal() -> None:
    assert parse_taxpayer_id("91110108551385082A")
    warning = taxpayer_id_warning("91110108551385082A")
    assert warning is not None
    assert "91110108551385082A" in warning.zh
    assert "91110108551385082A" in warning.en


def test_a_letter_outside_the_alphabet_is_a_warning() -> None:
    assert uscc_check_character("9111010855138508I") is None
    assert taxpayer_id_warning("9111010855138508IQ") is not None


def test_a_sole_traders_resident_number_is_no_warning() -> None:
    assert taxpayer_id_warning("11010519491231002X") is None
    assert taxpayer_id_warning("110105194912310021") is not None


@pytest.mark.parametrize("text", ["310100000000000", "31010000000000A01", "11010519491231002X01"])
def test_other_lengths_have_no_check_character(text: str) -> None:
    assert taxpayer_id_warning(text) is None


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("1", 1), ("10", 10), ("65535", 65535)])
def test_machine_numbers(text: str, number: int) -> None:
    assert parse_machine_no(text) == number


@pytest.mark.parametrize("text", ["", "00", "01", "65536", "99999", "100000", "-1", "+1", "1.0", "１", "1 ", "x"])
def test_other_machine_numbers_are_refused(text: str) -> None:
    with pytest.raises(NameInvalid):
        parse_machine_no(text)


def test_a_stamp_that_ends_in_0000_is_a_period_stamp() -> None:
    stamp = parse_stamp("202008010000")
    assert stamp.kind == "period"
    assert period_covered(stamp) == (date(2020, 7, 1), date(2020, 7, 31))


def test_january_covers_december_of_the_year_before() -> None:
    assert period_covered(parse_stamp("202101010000")) == (date(2020, 12, 1), date(2020, 12, 31))


def test_any_other_minute_is_ad_hoc_and_does_not_say_where_it_starts() -> None:
    stamp = parse_stamp("200807180808")
    assert stamp.kind == "adhoc"
    assert stamp.moment == datetime(2008, 7, 18, 8, 8, tzinfo=CHINA)
    with pytest.raises(ValueError, match="200807180808"):
        period_covered(stamp)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20080718080",
        "2008071808080",
        "200807180860",
        "200807182408",
        "200802300808",
        "200813010808",
        "000001010808",
        "202008020000",
        "２００８07180808",
        "20080718 808",
    ],
)
def test_other_stamps_are_refused(text: str) -> None:
    with pytest.raises(NameInvalid):
        parse_stamp(text)


def test_an_ad_hoc_copy_at_midnight_is_stamped_one_minute_later() -> None:
    assert adhoc_stamp(datetime(2026, 8, 1, 0, 0, 59, tzinfo=CHINA)).text == "202608010001"
    assert adhoc_stamp(datetime(2026, 8, 1, 0, 1, tzinfo=CHINA)).text == "202608010001"
    assert adhoc_stamp(datetime(2026, 8, 1, 12, 0, tzinfo=CHINA)).text == "202608011200"


def test_stamps_are_made_in_china_time() -> None:
    moment = datetime(2026, 7, 31, 16, 30, tzinfo=CHINA) + timedelta(hours=8)
    assert period_stamp(moment).text == "202608010000"
    assert period_stamp(moment.astimezone(tz=None)).text == "202608010000"
    assert adhoc_stamp(moment).text == "202608010030"


def test_month_end_knows_leap_years() -> None:
    assert month_end(date(2024, 2, 3)) == date(2024, 2, 29)
    assert month_end(date(2026, 2, 3)) == date(2026, 2, 28)


def test_a_true_name_is_read_and_written_in_one_spelling() -> None:
    for suffix in (".dat", ".txt", ".ack"):
        name, found = parse_report_name(STEM + suffix)
        assert found == suffix
        assert name.file_name(found) == STEM + suffix


@pytest.mark.parametrize(
    "name",
    [
        STEM,
        STEM + ".DAT",
        STEM + ".zip",
        STEM + ".dat ",
        "a_" + STEM + ".dat",
        "310100000000000_0.dat",
        "_0_200807180808.dat",
        f"../{STEM}.dat",
        ".dat",
        "",
    ],
)
def test_only_the_true_spelling_is_a_name(name: str) -> None:
    with pytest.raises(NameInvalid):
        parse_report_name(name)


@pytest.mark.parametrize(
    "name",
    [
        f"{STEM}.dat",
        f"{STEM} (1).dat",
        f"{STEM}(12).dat",
        f"{STEM} - 副本.dat",
        f"{STEM} - 副本 (2).dat",
        f"{STEM}副本.dat",
        f"{STEM} - Copy.dat",
        f"{STEM} - Copy (3).dat",
        f"{STEM}.dat.txt",
        f"{STEM}.DAT",
        f"{STEM}.Dat (1)",
        f"{STEM}.dat - 副本",
        f"  {STEM}.dat ",
        STEM.translate({ord("0") + n: 0xFF10 + n for n in range(10)}) + ".dat",
        f"{STEM}．dat",
    ],
)
def test_names_that_people_changed_are_recognised(name: str) -> None:
    found = recognise_name(name)
    assert found is not None
    assert found[0].file_name(found[1]) == f"{STEM}.dat"


def test_lower_case_letters_of_the_tax_number_are_recognised() -> None:
    found = recognise_name("91110108551385082q_1_202608010000.txt")
    assert found is not None
    assert found[0].stem == "91110108551385082Q_1_202608010000"
    assert found[1] == ".txt"


@pytest.mark.parametrize(
    "name",
    [
        "readme.txt",
        f"{STEM}",
        f"{STEM}.dat.exe",
        f"x{STEM}.dat",
        f"{STEM}9.dat",
        f"{STEM}.dat" + " (1)" * 60,
        f"folder/{STEM}.dat",
        "",
        ".dat",
        "310100000000000_0_202008020000.dat",
        f"{STEM}.part",
    ],
)
def test_other_names_are_not_taken_for_reports(name: str) -> None:
    assert recognise_name(name) is None


def test_an_identity_in_words_says_machine_and_time_in_both_languages() -> None:
    main = parse_stem("310100000000000_0_202008010000").in_words
    sub = parse_stem("310100000000000_3_200807180808").in_words
    assert "主机" in main.zh
    assert "2020年8月征期" in main.zh
    assert "main machine" in main.en
    assert "3 号分机" in sub.zh
    assert "2008年7月18日 08:08" in sub.zh
    assert "machine 3" in sub.en
    assert "2008-07-18 08:08" in sub.en


def test_names_sort_by_taxpayer_machine_and_time() -> None:
    stems = ["310100000000000_0_200807180808", "310100000000000_2_200807180807", "310100000000000_10_200807180807"]
    names: list[ReportName] = sorted(map(parse_stem, reversed(stems)))
    assert [name.stem for name in names] == stems


def test_digests_and_nonces_have_one_spelling() -> None:
    assert parse_report_digest("0a" * 32) == "0a" * 32
    assert parse_nonce("0a" * 16) == "0a" * 16
    for text in ("0A" * 32, "0a" * 31, "0a" * 33, "zz" * 32, "0a" * 32 + "\n"):
        with pytest.raises(NameInvalid):
            parse_report_digest(text)
    for text in ("0A" * 16, "0a" * 15, "0a" * 17, "zz" * 16, "0a" * 16 + "\n"):
        with pytest.raises(NameInvalid):
            parse_nonce(text)
