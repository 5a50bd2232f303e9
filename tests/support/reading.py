"""The reader of sticks inside the test's own process: the same requests and messages, without half a second each time.

A `conftest.py` that imports `read_in_process` applies it to all tests below it; a test that asks for `read_apart` has
the real process again. `nothing_plugged_in` lets a station see folders alone, whatever is mounted where tests run.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from shared.medium import confine, reader
from shared.medium.find import survey


def run_here(
    module: str,
    request: Mapping[str, object],
    *,
    readable: Sequence[Path],
    writable: Sequence[Path],
    **_more: object,
) -> Iterator[dict[str, Any]]:
    """Keep the contract of `run_confined`; both ways, what is said goes through JSON as it does through the pipes."""
    assert module == "shared.medium.reader"
    asked = json.loads(json.dumps(dict(request)).encode("ascii"))
    assert [str(path.absolute()) for path in readable] == [asked["path"]], "it may read the stick alone"
    assert [str(path.absolute()) for path in writable] == [asked["scratch"]], "and write to the scratch folder alone"
    yield {"event": "confined", "protections": []}
    for message in reader.work(asked):
        yield json.loads(json.dumps(message).encode("ascii"))


@pytest.fixture(autouse=True)
def read_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read sticks in this process."""
    monkeypatch.setattr("shared.medium.reading.run_confined", run_here)


@pytest.fixture
def read_apart(read_in_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read sticks in a process apart, as it is outside tests."""
    monkeypatch.setattr("shared.medium.reading.run_confined", confine.run_confined)


@pytest.fixture(autouse=True)
def nothing_plugged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no volume of this machine be found."""
    monkeypatch.setattr("shared.medium.sticks.survey", functools.partial(survey, volumes=tuple))
