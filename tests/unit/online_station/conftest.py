from __future__ import annotations

import pytest

from tests.support.online import desk


@pytest.fixture
def station_desk(tmp_path):
    with desk(tmp_path) as made:
        yield made
        assert made.bureau.unsigned == [], "every request is signed by the profile"
