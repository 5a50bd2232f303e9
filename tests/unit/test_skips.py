"""Where every tool is promised, a test that skips for want of one fails: else nobody would notice what was not proven."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(folder: Path, body: str, *, promised: str) -> str:
    """Run one test file under the project's own test settings; return pytest's summary."""
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    (folder / "test_it.py").write_text(f"import pytest\n{body}\n", encoding="utf-8")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n0",
            "--rootdir",
            folder,
            "-c",
            os.devnull,
            "-p",
            "no:cacheprovider",
            ".",
        ],
        cwd=folder,
        env=os.environ | {"TAXFERRY_REQUIRE_TOOLS": promised, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout.splitlines()[-1]


SKIP = 'def test_it():\n    pytest.skip("zstd is not installed")'
MARK = '@pytest.mark.skipif(True, reason="zstd is not installed")\ndef test_it():\n    assert True'
FILE = 'pytest.importorskip("nonesuch")\ndef test_it():\n    assert True'
PLATFORM = 'def test_it():\n    pytest.skip("platform: root ignores permission bits")'


@pytest.mark.parametrize("body", [SKIP, MARK, FILE], ids=["call", "mark", "file"])
def test_a_skip_for_want_of_a_tool_fails_where_tools_are_promised(tmp_path: Path, body: str) -> None:
    summary = run(tmp_path, body, promised="1")
    assert "failed" in summary or "error" in summary, summary


def test_a_skip_for_want_of_a_tool_is_a_skip_elsewhere(tmp_path: Path) -> None:
    assert run(tmp_path, SKIP, promised="").startswith("1 skipped")


def test_what_a_platform_cannot_show_is_still_skipped(tmp_path: Path) -> None:
    assert run(tmp_path, PLATFORM, promised="1").startswith("1 skipped")
