"""The whole round trip as processes, with real files: what `make demo` shows must be true."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("to-online", "to-offline")
PATIENCE_SECONDS = 280
"""Half a minute on an idle computer; the demonstration itself waits longer where everything is slow."""


@pytest.mark.timeout(300)
def test_the_demonstration_clears_every_card_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "演示 demo"
    command = [sys.executable, "-m", "tests.journey.demo", "--folder", str(folder), "--lang", "zh"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    ) as process:
        try:
            shown, _ = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.terminate()  # it ends its bureau, too
    assert process.returncode == 0, shown[-3000:]
    assert shown.splitlines()[-1] == "结论：两张卡全部清卡成功。"
    assert "Traceback" not in shown
    for word in ("暂不上传", "（Y）", "271D", "272C", "分机号不同", "清卡成功", "已清卡，完成"):
        assert word in shown, word
    assert (folder / "说明 README.txt").is_file()
    marker = folder / "U盘" / "TAXFERRY"
    lying = {direction: sorted(p.suffix for p in (marker / direction).iterdir()) for direction in FOLDERS}
    assert lying == {"to-online": [".ack", ".ack", ".dat", ".dat"], "to-offline": [".txt", ".txt", ".txt"]}, (
        "what is done with stays for seven days"
    )
    assert (marker / "to-offline" / "trust.txt").is_file()
