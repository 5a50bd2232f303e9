"""The wheel brings the four packages and nothing else: `shared` is a name that others might use too."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import shared

ROOT = Path(__file__).parents[2]
PACKAGES = {"shared", "offline_station", "online_station", "tax_bureau"}
SOURCES = (*sorted(PACKAGES), "pyproject.toml", "README.md", "LICENSE", ".gitignore")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """The wheel as `pip` would build it, from a copy of the sources."""
    pytest.importorskip("hatchling")
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree)
    (tree / "tests").mkdir()
    (tree / "tests" / "secret.py").touch()
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return zipfile.Path(built)


def test_the_top_level_is_the_four_packages_and_the_metadata(wheel: zipfile.Path) -> None:
    assert {entry.name for entry in wheel.iterdir()} == {*PACKAGES, f"taxferry-{shared.__version__}.dist-info"}


def test_every_module_and_data_file_of_the_packages_is_in_it(wheel: zipfile.Path) -> None:
    names = set(wheel.root.namelist())
    missing = [
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.relative_to(ROOT).as_posix() not in names
    ]
    assert missing == []


def test_every_package_is_marked_as_typed(wheel: zipfile.Path) -> None:
    assert [package for package in sorted(PACKAGES) if not (wheel / package / "py.typed").is_file()] == []


def test_the_commands_are_the_three_programs(wheel: zipfile.Path) -> None:
    text = (wheel / f"taxferry-{shared.__version__}.dist-info" / "entry_points.txt").read_text()
    commands = {line.split(" = ")[0]: line.split(" = ")[1] for line in text.splitlines() if " = " in line}
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert commands == declared
    assert set(commands) == {"offline-station", "online-station", "tax-bureau"}
