"""`result --scan`: a result typed in by a scanner goes the road of any result file (QR-11, QR-12)."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from offline_station import cli
from offline_station.card.software import SoftwareCard
from offline_station.core.card_rules import CopyRecord
from offline_station.shell import scanning
from offline_station.shell.scanning import MAX_LINE_BYTES, MAX_TOTAL_BYTES, scan
from shared.clock import FixedClock
from shared.errors import QrIncomplete
from shared.qr import split
from shared.text import Text
from tests.support.offline import NOW, answer, new_station

ROOT = Path(__file__).parents[4]


class Desk:
    """An invoicing PC with a copied and reported month, and a scanner."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self._monkeypatch, self._capsys = home, monkeypatch, capsys
        self.err = ""

    def run(self, *words: object, typed: bytes = b"", status: int = 0) -> dict[str, Any]:
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
        code = cli.program.run(["--home", str(self.home), "--json", *map(str, words)])
        out, self.err = self._capsys.readouterr()
        assert code == status, f"{words}: {code}\n{out}{self.err}"
        said: dict[str, Any] = json.loads(out)
        self.errors = said["errors"]
        data: dict[str, Any] = said["data"]
        return data

    def scan(self, *texts: str, status: int = 0, end: str = "\n") -> dict[str, Any]:
        return self.run("result", "--scan", typed="".join(text + end for text in texts).encode(), status=status)

    def open_copy(self) -> CopyRecord:
        card = SoftwareCard(self.home / "card.db")
        found = card.open_copy()
        card.close()
        assert found is not None
        return found

    @property
    def state(self) -> str:
        state: str = self.run("status")["state"]
        return state


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = new_station(tmp_path_factory.mktemp("template"), FixedClock(NOW)).root
    before, cli.clock = cli.clock, FixedClock(NOW)
    try:
        for verb in ("copy", "report"):
            assert cli.program.run(["--home", str(home), verb]) == 0
    finally:
        cli.clock = before
    return home


@pytest.fixture
def desk(
    tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Desk]:
    monkeypatch.setattr(cli, "clock", FixedClock(NOW))
    capsys.readouterr()
    return Desk(Path(shutil.copytree(template, tmp_path / "开票 机")), monkeypatch, capsys)


def codes(desk: Desk, number: int = 1, **changes: Any) -> list[str]:
    return split(answer(desk.open_copy(), number, bureau_time=NOW, **changes))


def test_a_scanned_success_clears_the_card(desk: Desk) -> None:  # QR-11
    texts = codes(desk)
    found = desk.scan(*reversed(texts), texts[0])
    assert (found["outcome"], found["effect"]) == ("success", "remembered")
    assert f"已收到 1/{len(texts)}，还缺第 1、2、" in desk.err
    assert f"{len(texts)} 张已收齐" in desk.err
    assert desk.state == "to-clear"
    assert desk.run("clear")["cleared"] is True
    assert [path.suffix for path in (desk.home / "results").iterdir()] == [".txt"]


def test_a_scanned_failure_is_taken_notice_of(desk: Desk) -> None:
    found = desk.scan(*codes(desk, code="271D", message="未申报"))
    assert (found["outcome"], found["code"]) == ("failure", "271D")


def test_an_unfinished_set_says_what_is_missing_and_changes_nothing(desk: Desk) -> None:  # QR-9, QR-11
    texts = codes(desk)
    desk.scan(*texts[:2], *texts[3:], status=12)
    (error,) = desk.errors
    assert error["code"] == "B1204"
    assert "还缺第 3 张" in error["message"]
    assert desk.state == "copied"
    assert not list((desk.home / "results").iterdir())
    desk.scan(status=12)
    assert "没有收到一张二维码" in desk.errors[0]["message"]
    assert desk.scan(*texts)["outcome"] == "success"


def test_a_misread_code_is_told_at_once_and_can_be_scanned_again(desk: Desk) -> None:  # QR-5
    texts = codes(desk)
    wrong = texts[1][:100] + ("A" if texts[1][100] != "A" else "B") + texts[1][101:]
    assert desk.scan(texts[0], wrong, texts[1][:-3], "http://x", *texts[1:])["outcome"] == "success"
    told = [line for line in desk.err.splitlines() if line.startswith("没有采用")]
    assert len(told) == 3
    assert told[0].startswith("没有采用第 2 张：有字符读错")
    assert "请重扫" in told[1]


def test_of_two_results_the_one_for_this_card_is_taken(desk: Desk) -> None:  # QR-9
    ours = codes(desk)
    other = desk.open_copy().name.__class__(desk.open_copy().name.taxpayer_id, 3, desk.open_copy().name.stamp)  # type: ignore[arg-type]
    theirs = codes(desk, name=other)
    desk.scan(*theirs, status=22)
    assert "3 号分机" in desk.errors[0]["message"]
    assert desk.scan(*theirs[:-1], *ours)["outcome"] == "success"
    assert "另一组二维码没有收齐，没有采用" in desk.err


def test_both_of_two_whole_results_are_looked_at(desk: Desk) -> None:
    ours = codes(desk)
    other = desk.open_copy().name.__class__(desk.open_copy().name.taxpayer_id, 3, desk.open_copy().name.stamp)  # type: ignore[arg-type]
    found = desk.scan(*codes(desk, name=other), *ours)
    assert found["outcome"] == "success"
    assert [refused["code"] for refused in found["refused"]] == ["B2203"]


@pytest.mark.parametrize(("data", "status"), [(b"garbage", 12), (b"", 12), (b"Y", 43)], ids=["garbage", "empty", "Y"])
def test_what_the_codes_carry_is_proven_like_a_file(desk: Desk, data: bytes, status: int) -> None:  # QR-11
    desk.scan(*split(data), status=status)
    assert desk.state == "copied"
    assert not list((desk.home / "results").iterdir())


def test_an_altered_result_is_refused_by_its_signature(desk: Desk) -> None:  # QR-11
    forged = answer(desk.open_copy(), bureau_time=NOW).replace(b"2026-09-15", b"2027-09-15", 1)
    desk.scan(*split(forged), status=20)
    assert desk.state == "copied"


def test_a_file_and_a_scan_exclude_each_other_and_no_station_is_told_first(desk: Desk, tmp_path: Path) -> None:
    desk.run("result", "--scan", tmp_path / "x.txt", status=2)
    texts = codes(desk)
    desk.home = tmp_path / "nowhere"
    desk.scan(*texts, status=50)
    assert "已收到" not in desk.err


# The reader alone


class Told(list[str]):
    def __call__(self, line: Text) -> None:
        self.append(line.zh)


TEXTS = split(bytes(range(256)) * 8 + b"x")


def carried(typed: bytes, *, by_hand: bool = False) -> bytes:
    (only,) = scan(io.BytesIO(typed), Told(), by_hand=by_hand)
    return only.data


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\n\n", "\r\n\r\n", " ", ""])
@pytest.mark.parametrize("by_hand", [True, False], ids=["by hand", "piped"])
def test_every_line_end_of_a_scanner_is_understood(end: str, by_hand: bool) -> None:
    if end == "\r\n\r\n" and by_hand:
        end = "\r\n\n"
    assert carried("".join(text + end for text in TEXTS).encode(), by_hand=by_hand) == bytes(range(256)) * 8 + b"x"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16-le"])
def test_full_width_characters_come_in_any_encoding_of_chinese_pcs(encoding: str) -> None:  # QR-7
    wide = encoding != "utf-16-le"
    typed = "\n".join("".join(chr(ord(c) + 0xFEE0) if wide else c for c in text) for text in TEXTS)
    assert carried(typed.encode(encoding)) == bytes(range(256)) * 8 + b"x"


def test_by_hand_it_ends_with_the_first_whole_set_or_two_empty_lines() -> None:
    stream = io.BytesIO(("\n".join(TEXTS) + "\nexit\n").encode())
    scan(stream, Told(), by_hand=True)
    assert stream.readline() == b"exit\n"
    stream = io.BytesIO(b"\n\nexit\n")
    with pytest.raises(QrIncomplete):
        scan(stream, Told(), by_hand=True)
    assert stream.readline() == b"exit\n"


def test_a_line_without_end_is_not_kept_and_the_next_one_is_read() -> None:  # QR-12
    told = Told()
    typed = b"x" * (3 * MAX_LINE_BYTES) + b"\n" + "\n".join(TEXTS).encode()
    assert len(scan(io.BytesIO(typed), told, by_hand=False)) == 1
    assert told.count("有一行太长，没有采用") == 1


class Endless(io.RawIOBase):
    """A stream of lines without end, which counts what was taken from it."""

    def __init__(self) -> None:
        self.given = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        line = b"0123456789" * 100 + b"\n"
        self.given += len(line)
        return line


def test_input_without_end_is_given_up() -> None:  # QR-12
    stream = Endless()
    with pytest.raises(QrIncomplete):
        scan(stream, Told(), by_hand=False)  # type: ignore[arg-type]
    assert stream.given <= MAX_TOTAL_BYTES + 2 * scanning.MAX_LINE_BYTES


# A terminal, with somebody who stops


@pytest.mark.skipif(os.name == "nt", reason="platform: Windows has no pseudo-terminals")
def test_on_a_terminal_a_scanner_is_heard_and_ctrl_c_leaves_nothing(desk: Desk) -> None:
    import pty

    texts = codes(desk)
    ours, theirs = pty.openpty()
    before = sorted(path.name for path in desk.home.rglob("*"))
    with subprocess.Popen(
        [sys.executable, "-m", "offline_station", "--home", str(desk.home), "result", "--scan"],
        cwd=ROOT,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        try:
            assert process.stderr is not None
            assert "英文输入法" in process.stderr.readline()
            os.write(ours, texts[0].encode() + b"\r\n")
            assert process.stderr.readline().startswith("已收到 1/")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
            os.close(ours)
            os.close(theirs)
    assert process.returncode == 130, out + err
    assert "B9901" in err
    assert desk.state == "copied"
    assert sorted(path.name for path in desk.home.rglob("*")) == before
