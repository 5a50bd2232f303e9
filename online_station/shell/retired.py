"""A station that was moved to another PC: its data stays here to be looked at, and it works no more."""

from __future__ import annotations

from typing import Final

from online_station.shell.store import Store
from shared.clock import parse_time, readable_time
from shared.errors import StationRetired

RETIRED: Final = "retired_at"


def refuse_if_retired(store: Store) -> None:
    """Let a station that was moved to another PC do nothing more.

    Raises:
        StationRetired: It was.
    """
    at = store.setting(RETIRED)
    if at:
        raise StationRetired(at=readable_time(parse_time(at)))
