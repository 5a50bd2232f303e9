"""A desk with a station; sticks are read in this process, unless a test asks for `read_apart`."""

from __future__ import annotations

import pytest

from tests.support.online import desk
from tests.support.reading import nothing_plugged_in, read_apart, read_in_process

__all__ = ["nothing_plugged_in", "read_apart", "read_in_process", "station_desk"]


@pytest.fixture
def station_desk(tmp_path):
    with desk(tmp_path) as made:
        yield made
        assert made.bureau.unsigned == [], "every request is signed by the profile"
