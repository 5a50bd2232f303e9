"""Times in their one spelling (FORM-3)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.clock import CHINA, FixedClock, SystemClock, format_time, parse_time


def test_a_time_is_written_in_china_time_to_the_second() -> None:
    assert format_time(datetime(2008, 7, 18, 0, 23, 11, 999, tzinfo=UTC)) == "2008-07-18T08:23:11+08:00"


def test_a_time_is_read_back() -> None:
    assert parse_time("2008-07-18T08:23:11+08:00") == datetime(2008, 7, 18, 8, 23, 11, tzinfo=CHINA)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2008-07-18",
        "2008-07-18T08:23:11",
        "2008-07-18T00:23:11+00:00",
        "2008-07-18T00:23:11Z",
        "2008-07-18 08:23:11+08:00",
        "2008-07-18T08:23+08:00",
        "2008-07-18T08:23:11.0+08:00",
        "20080718T082311+0800",
        "2008-02-30T08:23:11+08:00",
        "2008-07-18T08:23:11+08:00 ",
        "0001-01-01T00:00:00+09:00",
        "0001-01-01T07:59:59+08:00",
        "9999-12-31T23:59:59-01:00",
    ],
)
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time(text)


def test_the_system_clock_tells_aware_china_time_in_whole_seconds() -> None:
    now = SystemClock().now()
    assert now.utcoffset() == CHINA.utcoffset(None)
    assert now.microsecond == 0


def test_a_fixed_clock_moves_only_when_told() -> None:
    clock = FixedClock(datetime(2026, 8, 5, tzinfo=CHINA))
    before = clock.now()
    assert clock.now() == before
    clock.advance(hours=2)
    assert (clock.now() - before).total_seconds() == 7200
