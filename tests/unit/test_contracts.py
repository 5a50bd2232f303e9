"""The import contracts hold, and each of them fails when it should: a contract that cannot fail proves nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("shared", "offline_station", "online_station", "tax_bureau")

# Contract id, and a line in a module that breaks it. A module that does not exist yet is made.
VIOLATIONS = [
    ("shared-knows-nobody", "shared/money.py", "import tax_bureau"),
    ("shared-knows-nobody", "shared/faults/model.py", "from online_station.core import decide"),
    ("strangers", "online_station/shell/gateway.py", "import offline_station"),
    ("strangers", "tax_bureau/store.py", "from online_station.core import decide"),
    ("air-gap", "offline_station/shell/sneaky.py", "import socket"),
    ("air-gap", "shared/durable.py", "import requests"),
    ("air-gap", "shared/envelope/cms.py", "import http.client"),
    ("air-gap", "shared/medium/find.py", "import select"),
    ("air-gap", "shared/medium/reader.py", "import ssl"),
    ("air-gap", "shared/medium/attend.py", "import multiprocessing"),
    ("air-gap", "shared/jobs/pool.py", "import socket"),
    ("air-gap", "shared/web/guard.py", "import socket"),
    ("air-gap", "shared/web/site.py", "import uvicorn"),
    ("air-gap", "offline_station/web/sneaky.py", "import starlette"),
    ("air-gap", "offline_station/cli.py", "import uvicorn"),
    ("pages", "offline_station/shell/visit.py", "from shared.web import serving"),
    ("pages", "offline_station/cli.py", "from shared.web import site"),
    ("pages", "offline_station/ledger/store.py", "from shared.web.events import Hub"),
    ("small-side", "offline_station/ledger/store.py", "import sqlalchemy"),
    ("small-side", "offline_station/shell/store.py", "from shared.jobs import rows"),
    ("small-side", "offline_station/shell/store.py", "from shared.jobs import limits"),
    ("small-side", "offline_station/shell/sneaky.py", "import psycopg"),
    ("offline-layers", "offline_station/core/figures.py", "from offline_station import shell"),
    ("offline-layers", "offline_station/ledger/entries.py", "from offline_station.card import port"),
    ("offline-layers", "offline_station/card/port.py", "from offline_station.ledger import store"),
    ("offline-layers", "offline_station/shell/store.py", "from offline_station import web"),
    ("offline-layers", "offline_station/homeless.py", ""),
    ("online-layers", "online_station/core/decide.py", "from online_station import shell"),
    ("online-layers", "online_station/homeless.py", ""),
    ("bureau-layers", "tax_bureau/judge/declared.py", "from tax_bureau import store"),
    ("bureau-layers", "tax_bureau/homeless.py", ""),
    ("shared-layers", "shared/errors.py", "from shared import ids"),
    ("shared-layers", "shared/envelope/cms.py", "from shared.model import result"),
    ("shared-layers", "shared/helpers.py", ""),
    ("shared-layers", "shared/medium/sticks.py", "from shared import stick_verbs"),
    ("shared-layers", "shared/medium/reading.py", "from shared import cli"),
    ("shared-layers", "shared/cli.py", "from shared.web import blocks"),
    ("shared-layers", "shared/web/site.py", "from shared import stick_verbs"),
    ("shared-layers", "shared/stick_words.py", "from shared import medium"),
    ("jobs-layers", "shared/jobs/database.py", "from shared.jobs import rows"),
    ("jobs-layers", "shared/jobs/homeless.py", ""),
    ("functional-core", "shared/jobs/limits.py", "import sqlalchemy"),
    ("functional-core", "online_station/core/decide.py", "import time"),
    ("functional-core", "tax_bureau/judge/declared.py", "import os"),
    ("functional-core", "shared/ids.py", "from pathlib import Path"),
    ("one-door", "tax_bureau/store.py", "import requests"),
    ("one-door", "online_station/core/decide.py", "import watchdog"),
    ("one-door", "shared/medium/find.py", "import psutil"),
    ("one-door", "offline_station/shell/scanning.py", "import segno"),
    ("one-door", "online_station/core/alarms.py", "import requests"),
    ("one-door", "online_station/shell/watch.py", "import prometheus_client"),
    ("one-door", "online_station/shell/metrics.py", "from http.server import HTTPServer"),
    ("no-tests", "shared/money.py", "import hypothesis"),
]


def lint(tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Check the contracts of a tree, in a process that sees this tree and not the installed one."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache", *options],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )


def contract_ids() -> set[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {contract["id"] for contract in settings["tool"]["importlinter"]["contracts"]}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the packages and their contracts, to be spoiled."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_is_kept(tree: Path) -> None:
    done = lint(tree)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_contract_has_a_violation_that_breaks_it() -> None:
    assert {contract for contract, _, _ in VIOLATIONS} == contract_ids()


@pytest.mark.parametrize(("contract", "module", "line"), VIOLATIONS)
def test_a_seeded_violation_breaks_its_contract(tree: Path, contract: str, module: str, line: str) -> None:
    path = tree / module
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(f"{text}\n{line}\n", encoding="utf-8")
    done = lint(tree, "--contract", contract)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout
