"""A code of our own: signed and opened, but the content breaks the specification."""

from __future__ import annotations

from tax_bureau.judge.facts import Facts, Finding


def check(facts: Facts) -> Finding | None:
    """Find out whether the content could be read to its end (JUDGE-5)."""
    if facts.examination.fault != "content":
        return None
    return Finding(facts.examination.code, f"报税数据内容不符合规定：{facts.examination.reason}")
