"""The whole round trip as processes, with real files: what `make demo` shows must be true."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.journey.demo import DemoFailed, Stage
from tests.support.web import Browser

ROOT = Path(__file__).parents[2]
FOLDERS = ("to-online", "to-offline")
PATIENCE_SECONDS = 280
"""Half a minute on an idle computer; the demonstration itself waits longer where everything is slow."""


@pytest.mark.timeout(300)
def test_the_demonstration_clears_every_card_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "演示 demo"
    command = [sys.executable, "-m", "tests.journey.demo", "--folder", str(folder), "--lang", "zh", "--pages"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
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
    assert shown.count("/open?ticket=") >= 2, "the pages were open beside it, and nobody had to press a key"
    assert (folder / "说明 README.txt").is_file()
    marker = folder / "U盘" / "TAXFERRY"
    lying = {direction: sorted(p.suffix for p in (marker / direction).iterdir()) for direction in FOLDERS}
    assert lying == {"to-online": [".ack", ".ack", ".dat", ".dat"], "to-offline": [".txt", ".txt", ".txt"]}, (
        "what is done with stays for seven days"
    )
    assert (marker / "to-offline" / "trust.txt").is_file()


def test_a_page_of_the_demonstration_opens_with_the_printed_address_and_ends_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = Stage(tmp_path, "zh", pages=True)
    with stage.ending:
        url = stage.open_page("开票机0")
        assert f"[开票机0] 页面 {url}" in capsys.readouterr().out
        port = urlsplit(url).port
        assert port is not None
        assert "开始使用" in Browser(port).open(url).words
    with pytest.raises(ConnectionRefusedError):
        Browser(port).get("/")
    assert Stage(tmp_path, "zh").open_page("开票机0") == "", "there is none, if nobody asked for pages"


def test_a_page_that_does_not_open_stops_the_demonstration(tmp_path: Path) -> None:
    (tmp_path / "开票机0").write_text("not a folder", encoding="utf-8")
    stage = Stage(tmp_path, "zh", pages=True)
    with stage.ending, pytest.raises(DemoFailed, match="开票机0 页面"):
        stage.open_page("开票机0")
