"""A bureau for every test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bureau import Office, close_offices


@pytest.fixture(autouse=True)
def _offices_close() -> Iterator[None]:
    yield
    close_offices()


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """Return a bureau in a folder of its own."""
    return Office(tmp_path / "office")
