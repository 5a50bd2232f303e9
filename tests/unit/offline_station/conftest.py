"""Sticks are read in this process, unless a test asks for `read_apart`."""

from __future__ import annotations

import pytest

from offline_station.shell import operators
from tests.support.reading import nothing_plugged_in, read_apart, read_in_process

__all__ = ["nothing_plugged_in", "read_apart", "read_in_process"]


@pytest.fixture(autouse=True, scope="session")
def cheap_passwords() -> None:
    """Let a password cost a millisecond: guessing them is not what these tests do."""
    operators._COST["n"] = 1 << 10
