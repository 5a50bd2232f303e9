"""Names, amounts and canonical forms for all inputs: one spelling, and reading undoes writing."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import date, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from shared.canonical import clean_value, parse_json, parse_lines, render_json, render_lines, value_fault
from shared.clock import CHINA, format_time, parse_time
from shared.errors import NameInvalid, NotCanonical
from shared.ids import (
    ReportName,
    Stamp,
    Suffix,
    adhoc_stamp,
    parse_machine_no,
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
from shared.money import MAX_FEN, format_fen, parse_fen

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
USCC = "0123456789ABCDEFGHJKLMNPQRTUWXY"

taxpayer_ids = st.sampled_from([15, 17, 18, 20]).flatmap(lambda n: st.text(ALPHABET, min_size=n, max_size=n))
machine_numbers = st.integers(0, 65535)
moments = st.datetimes(datetime(1994, 1, 1), datetime(2099, 12, 31)).map(lambda m: m.replace(tzinfo=CHINA))  # noqa: DTZ001
stamps = st.one_of(moments.map(adhoc_stamp), moments.map(period_stamp))
suffixes: st.SearchStrategy[Suffix] = st.sampled_from([".dat", ".txt", ".ack"])


@st.composite
def names(draw: st.DrawFn) -> ReportName:
    """Return any valid identity."""
    return ReportName(parse_taxpayer_id(draw(taxpayer_ids)), parse_machine_no(str(draw(machine_numbers))), draw(stamps))


@given(names(), suffixes)
def test_a_name_is_read_as_it_was_written(name: ReportName, suffix: Suffix) -> None:
    assert parse_report_name(name.file_name(suffix)) == (name, suffix)
    assert parse_stem(name.stem) == name


MARKS = st.sampled_from(["", " (1)", "(23)", " - 副本", " - 副本 (2)", " - Copy", " - Copy (4)", "副本"])


@given(names(), suffixes, MARKS, st.booleans(), st.booleans(), st.sampled_from(["", ".txt", ".dat"]), MARKS)
def test_a_changed_name_is_recognised(
    name: ReportName, suffix: Suffix, mark: str, wide: bool, upper: bool, second: str, late: str
) -> None:
    changed = name.stem + mark + (suffix.upper() if upper else suffix) + second
    if late.strip().startswith(("(", "-", "副")) and "Copy" not in late:
        changed += late
    if wide:
        changed = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in changed)
    assert recognise_name(changed) == (name, suffix)


@given(st.text(max_size=80))
@example("310100000000000_0_200807180808.dat")
def test_whatever_is_accepted_is_a_true_name(text: str) -> None:
    with suppress(NameInvalid):
        name, suffix = parse_report_name(text)
        assert name.file_name(suffix) == text
    found = recognise_name(text)
    if found is not None:
        assert parse_report_name(found[0].file_name(found[1])) == found


@given(moments)
def test_stamps_never_take_an_ad_hoc_copy_for_a_period_copy(moment: datetime) -> None:
    assert adhoc_stamp(moment).kind == "adhoc"
    period = period_stamp(moment)
    first, last = period_covered(period)
    assert first.day == 1
    assert last.toordinal() + 1 == date(moment.year, moment.month, 1).toordinal()
    assert parse_stamp(period.text) == period


@given(st.text("0123456789", min_size=12, max_size=12))
def test_a_stamp_is_a_real_minute_or_refused(text: str) -> None:
    try:
        stamp = parse_stamp(text)
    except NameInvalid:
        return
    assert f"{stamp.moment:%Y%m%d%H%M}".rjust(12, "0") == text
    assert isinstance(stamp, Stamp)


@given(st.text(USCC, min_size=17, max_size=17), st.integers(0, 16), st.sampled_from(USCC))
def test_a_check_character_finds_every_single_wrong_character(first: str, place: int, wrong: str) -> None:
    check = uscc_check_character(first)
    assert check is not None
    assert check in USCC
    assert taxpayer_id_warning(first + check) is None
    altered = first[:place] + wrong + first[place + 1 :]
    if altered != first:
        assert uscc_check_character(altered) != check


@given(st.integers(-MAX_FEN, MAX_FEN))
def test_an_amount_is_read_as_it_was_written(fen: int) -> None:
    assert parse_fen(format_fen(fen)) == fen


@given(st.one_of(st.text(max_size=20), st.from_regex(re.compile(r"-?[0-9]{0,15}\.?[0-9]{0,3}"), fullmatch=True)))
def test_an_amount_has_one_spelling(text: str) -> None:
    with suppress(ValueError):
        assert format_fen(parse_fen(text)) == text


@given(moments)
def test_a_time_is_read_as_it_was_written(moment: datetime) -> None:
    assert parse_time(format_time(moment)) == moment.replace(microsecond=0)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcxyz_", max_size=6), inner, max_size=4),
    max_leaves=12,
)
json_objects = st.dictionaries(st.text("abcxyz_", max_size=6), json_values, max_size=5)


@given(json_objects)
def test_json_is_read_as_it_was_written(value: dict[str, object]) -> None:
    assert parse_json(render_json(value)) == value


@given(json_objects)
def test_json_in_another_spelling_is_refused(value: dict[str, object]) -> None:
    canonical = render_json(value)
    for other in (
        json.dumps(value).encode(),
        json.dumps(value, ensure_ascii=False, indent=1).encode(),
        canonical + b"\n",
    ):
        if other != canonical:
            try:
                parse_json(other)
            except NotCanonical:
                continue
            raise AssertionError(other)


@given(st.binary(max_size=60))
def test_any_octets_are_canonical_json_or_refused(data: bytes) -> None:
    with suppress(NotCanonical):
        assert render_json(parse_json(data)) == data


@given(st.text(max_size=60))
@example("- -----x")
@example("-----\u200b-----")
def test_cleaned_words_may_stand_in_a_line(text: str) -> None:
    clean = clean_value(text)
    assert value_fault(clean) is None
    assert clean_value(clean) == clean


lines = st.lists(
    st.tuples(st.sampled_from(["税号", "说明", "离线限额 004"]), st.text(max_size=30).map(clean_value)), max_size=6
)


@given(lines)
def test_lines_are_read_as_they_were_written(pairs: list[tuple[str, str]]) -> None:
    assert parse_lines(render_lines("标题 1", pairs)) == ("标题 1", pairs)


@given(st.one_of(st.binary(max_size=60), st.text("标题甲乙: \r\n-\ufeff\u202e", max_size=40).map(str.encode)))
def test_any_octets_are_canonical_lines_or_refused(data: bytes) -> None:
    with suppress(NotCanonical):
        title, pairs = parse_lines(data)
        assert render_lines(title, pairs) == data
