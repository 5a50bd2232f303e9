"""The checks in the field's order, and the judgement that they make together (JUDGE-10)."""

from __future__ import annotations

from typing import Final

from tax_bureau.judge import (
    card_known,
    content_readable,
    cross_check,
    declared,
    detail_equals_summary,
    enrolled,
    envelope_opened,
    lock_date,
    machines_complete,
)
from tax_bureau.judge.facts import Check, Facts, Finding

CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("enrolled", enrolled.check),
    ("card_known", card_known.check),
    ("envelope_opened", envelope_opened.check),
    ("lock_date", lock_date.check),
    ("content_readable", content_readable.check),
    ("detail_equals_summary", detail_equals_summary.check),
    ("declared", declared.check),
    ("machines_complete", machines_complete.check),
    ("cross_check", cross_check.check),
)
"""2735, 2734 (signature), 2734 (envelope), locked, unreadable, 2715, 271D (undeclared), 272C, 271D (mismatch)."""

ABOUT_THE_FILE: Final = frozenset(
    {"enrolled", "card_known", "envelope_opened", "lock_date", "content_readable", "detail_equals_summary"}
)
"""Checks of one report by itself. A report that passes them counts as reported for its machine."""


def judge(facts: Facts) -> tuple[str, Finding] | None:
    """Return the first check that finds something, with its finding; None means 报税成功."""
    for name, check in CHECKS:
        finding = check(facts)
        if finding is not None:
            return name, finding
    return None
