"""ZBar reads every code as it was drawn, and what it reads clears the card (QR-1, QR-4)."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from offline_station import cli as offline
from offline_station.card.software import SoftwareCard
from online_station.shell.qr_sheet import QUIET, SIDE, Sheet, on_terminal, page
from shared.clock import FixedClock
from shared.model.result import parse_result, prove_result
from shared.qr import split
from tests.support.offline import NOW, answer, new_station
from tests.support.pki import pki
from tests.support.tools import run, tool

VECTORS = Path(__file__).parents[1] / "vectors" / "text"
PIXELS = 3
"""To a module: what a camera sees of a code at arm's length."""
Modules = list[list[bool]]


def picture(folder: Path, number: int, modules: Modules) -> str:
    """Write an image of modules, dark where they say so; return its name."""
    rows = [b"".join((b"\0" if dark else b"\xff") * PIXELS for dark in line) * PIXELS for line in modules]
    size = f"{len(modules[0]) * PIXELS} {len(modules) * PIXELS}"
    name = f"{number:02}.pgm"
    (folder / name).write_bytes(f"P5 {size} 255\n".encode() + b"".join(rows))
    return name


def read_by_zbar(folder: Path, codes: list[Modules]) -> list[str]:
    names = [picture(folder, number, modules) for number, modules in enumerate(codes, 1)]
    return run(folder, tool("zbarimg"), "--quiet --raw -Sdisable -Sqrcode.enable", *names).decode().splitlines()


def of_blocks(drawn: list[str]) -> list[Modules]:
    """Return the modules of codes in half blocks, between captions: light where there is ink."""
    found: list[Modules] = []
    for line in drawn:
        plain = re.sub("\x1b\\[[0-9;]*m", "", line)
        if plain.startswith("第"):
            found.append([])
        elif plain:
            assert set(plain) <= set("█▀▄ ")
            found[-1] += [[c not in "█▀" for c in plain], [c not in "█▄" for c in plain]]
    return found


def of_drawing(svg: str) -> Modules:
    """Return the modules of an inline drawing."""
    box = re.search(r'viewBox="0 0 (\d+) (\d+)"', svg)
    assert box is not None
    assert int(box[1]) == int(box[2]) == SIDE
    modules = [[False] * SIDE for _ in range(SIDE)]
    for x, y, width, back in re.findall(r"M(\d+) (\d+)h(\d+)v1H(\d+)z", svg.rpartition("<path")[2]):
        assert x == back
        modules[int(y)][int(x) : int(x) + int(width)] = [True] * int(width)
    return modules


@pytest.fixture(scope="module")
def result() -> bytes:
    return (VECTORS / "result.txt").read_bytes()


@pytest.mark.parametrize("colours", [True, False])
def test_zbar_reads_what_is_on_the_terminal(tmp_path: Path, result: bytes, colours: bool) -> None:
    texts = split(result)
    codes = of_blocks([line.zh for line in on_terminal(texts, colours=colours)])
    assert read_by_zbar(tmp_path, codes) == texts


def test_zbar_reads_what_is_on_the_page(tmp_path: Path, result: bytes) -> None:
    texts = split(result)
    text = page(Sheet(parse_result(prove_body(result)), "2008-07", texts)).decode()
    drawings = [of_drawing(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]
    assert read_by_zbar(tmp_path, drawings) == texts


def prove_body(data: bytes) -> bytes:
    return data.partition(b"-----BEGIN CMS-----")[0]


def test_a_code_has_its_quiet_zone_and_is_small_enough_for_cheap_scanners(result: bytes) -> None:  # QR-4
    (code, *_) = of_blocks([line.zh for line in on_terminal(split(result)[:1], colours=False)])
    code = code[:SIDE]
    edge = [*code[:QUIET], *code[-QUIET:], *([line[i] for line in code] for i in (*range(QUIET), *range(-QUIET, 0)))]
    assert not any(any(line) for line in edge)
    # Dark and light take turns between the corners' squares: their number gives the version.
    timing = code[QUIET + 6][QUIET + 7 : SIDE - QUIET - 7]
    assert all(a != b for a, b in pairwise(timing))
    assert (len(timing) + 14 - 17) // 4 <= 13
    assert not format_of(code) & 0b11, "level M"


def format_of(code: Modules) -> int:
    """Return the five bits of level and mask beside the upper left square; the two bits of level M are 00."""
    row = code[QUIET + 8]
    bits = [row[QUIET + x] for x in range(5)]
    value = int("".join(str(int(bit)) for bit in bits), 2) ^ 0b10101
    return value >> 3


def test_what_zbar_reads_clears_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = FixedClock(NOW)
    monkeypatch.setattr(offline, "clock", clock)
    home = new_station(tmp_path, clock).root

    def verb(*words: str, status: int = 0) -> dict[str, Any]:
        code = offline.program.run(["--home", str(home), "--json", *words])
        out, err = capsys.readouterr()
        assert code == status, out + err
        data: dict[str, Any] = json.loads(out)["data"]
        return data

    verb("copy")
    verb("report")
    card = SoftwareCard(home / "card.db")
    made = card.open_copy()
    card.close()
    assert made is not None
    data = answer(made, bureau_time=NOW)
    proven = prove_result(data, pki().trust, at=NOW)
    text = page(Sheet(proven.result, "2026-07", split(data))).decode()
    shutil.rmtree(tmp_path / "scans", ignore_errors=True)
    (tmp_path / "scans").mkdir()
    typed = read_by_zbar(tmp_path / "scans", [of_drawing(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\r".join(reversed(typed)).encode())))
    assert verb("result", "--scan")["outcome"] == "success"
    assert verb("clear")["cleared"] is True
