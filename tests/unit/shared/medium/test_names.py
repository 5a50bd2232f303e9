"""What names on a stick mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.medium.names import PartName, parse_part_name, recognise, station_tag

REPORT = "310100000000000_0_202608010000.dat"


def test_a_part_name_says_whose_and_which_it_is() -> None:
    name = f".{REPORT}.0a1b2c3d.offline-4f2a.part"
    assert parse_part_name(name) == PartName(REPORT, "0a1b2c3d", "offline-4f2a")
    assert str(PartName(REPORT, "0a1b2c3d", "offline-4f2a")) == name


@pytest.mark.parametrize(
    "name",
    [
        REPORT,
        f"{REPORT}.0a1b2c3d.a.part",
        f".{REPORT}.0a1b2c3.a.part",
        f".{REPORT}.0A1B2C3D.a.part",
        f".{REPORT}.0a1b2c3d..part",
        f".{REPORT}.0a1b2c3d.A.part",
        f".{REPORT}.0a1b2c3d.{'a' * 33}.part",
        f".{REPORT}.0a1b2c3d.a.part.",
    ],
)
def test_what_is_not_of_that_form_is_no_part(name: str) -> None:
    assert parse_part_name(name) is None


@given(st.text(max_size=60))
def test_every_station_has_a_tag_that_part_names_can_hold(text: str) -> None:
    tag = station_tag(text)
    assert parse_part_name(str(PartName(REPORT, "00000000", tag))) == PartName(REPORT, "00000000", tag)


@pytest.mark.parametrize("name", ["trust.txt", "Trust.TXT", "trust (1).txt", "trust - 副本.txt"])
def test_the_trust_file_is_recognised_as_people_leave_it(name: str) -> None:
    assert recognise(name) == (None, "trust.txt")


@pytest.mark.parametrize("name", ["trust.txt.exe", "mytrust.txt", "readme.txt", "transfer-log.csv", "stick.json", ""])
def test_other_names_are_foreign(name: str) -> None:
    assert recognise(name) is None
