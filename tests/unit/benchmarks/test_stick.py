"""The benchmark of sticks measures what it names."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from benchmarks import stick
from tests.support.tools import tool


def test_a_quick_run_times_every_row_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if os.name == "nt":
        pytest.skip("platform: its baselines are programs of Unix")
    tool("dd")
    tool("rsync")
    monkeypatch.setattr(stick, "QUICK_REPORTS", 5)
    monkeypatch.setattr(stick, "QUICK_LARGE_BYTES", 3_000_000)
    target, told = tmp_path / "stick", tmp_path / "figures.json"
    target.mkdir()

    assert stick.main(["--quick", "--keep-caches", "--folder", str(target), "--json", str(told)]) == 0

    figures = json.loads(told.read_text(encoding="utf-8"))
    assert figures["skipped"] == {}
    rows = {(row["load"], row["name"]): row for row in figures["rows"]}
    assert {name for _, name in rows} == set(stick.ORDER)
    assert all(len(row["seconds"]) == 1 and row["seconds"][0] > 0 for row in rows.values())
    container = rows["5 reports of 102 KB", "place_batch"]
    assert container["ratios"][stick.WRITE] > container["ratios"][stick.WRITE_READ] > 0
    assert "container on folder" in capsys.readouterr().out
    assert list(target.iterdir()) == []


def test_a_row_whose_program_is_missing_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = stick.shutil.which
    monkeypatch.setattr(stick.shutil, "which", lambda name: None if name == "rsync" else found(name))
    monkeypatch.setattr(stick, "QUICK_LARGE_BYTES", 1_000_000)
    assert stick.main(["--quick", "--keep-caches", "--loads", "large", "--folder", str(tmp_path)]) == 0
    assert "skipped: rsync is not installed" in capsys.readouterr().out
