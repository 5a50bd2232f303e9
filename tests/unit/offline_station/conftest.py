"""Sticks are read in this process, unless a test asks for `read_apart`."""

from __future__ import annotations

from tests.support.reading import nothing_plugged_in, read_apart, read_in_process

__all__ = ["nothing_plugged_in", "read_apart", "read_in_process"]
