"""What holds for every test: the language, seeded randomness, and that nothing is left out silently.

Settings from the environment:

    TAXFERRY_PROFILE        `quick` (default: seeded, few examples) or `long` (new seeds, many examples)
    TAXFERRY_REQUIRE_TOOLS  `1`: a test may not be skipped for want of a tool; only `platform: …` skips remain
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from shared.text import set_language

# Programs that tests start inherit these: one language whatever the machine speaks, and no proxy before 127.0.0.1.
os.environ.update({"LANGUAGE": "zh", "LC_ALL": "C.UTF-8", "NO_PROXY": "127.0.0.1,localhost"})

_SLOW_MACHINES = [HealthCheck.too_slow]
settings.register_profile(
    "quick", max_examples=50, deadline=None, derandomize=True, database=None, suppress_health_check=_SLOW_MACHINES
)
settings.register_profile(
    "long", max_examples=2000, deadline=None, print_blob=True, suppress_health_check=_SLOW_MACHINES
)
settings.load_profile(os.environ.get("TAXFERRY_PROFILE", "quick"))


@pytest.fixture(autouse=True)
def _usual_rights() -> Iterator[None]:
    """Files are made with the rights that a user's are: a program that ran in this process has made its own stricter."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def _speak_chinese() -> Iterator[None]:
    """Render messages in Chinese, the first language, whatever an earlier test chose."""
    set_language("zh")
    yield
    set_language("zh")


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure where all tools are promised."""
    if os.environ.get("TAXFERRY_REQUIRE_TOOLS") != "1" or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if reason.removeprefix("Skipped: ").startswith("platform: "):
        return
    report.outcome = "failed"
    report.longrepr = f"skipped although TAXFERRY_REQUIRE_TOOLS=1 promises every tool: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Apply `TAXFERRY_REQUIRE_TOOLS` to a test."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Apply `TAXFERRY_REQUIRE_TOOLS` to a whole file."""
    report = yield
    _refuse_skip(report)
    return report
