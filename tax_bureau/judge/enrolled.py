"""2735: the taxpayer is not enrolled (企业未开户)."""

from __future__ import annotations

from tax_bureau.judge.facts import Facts, Finding

CODE = "2735"


def check(facts: Facts) -> Finding | None:
    """Find out whether the taxpayer has an enterprise key on file (JUDGE-1)."""
    if facts.enrolled:
        return None
    return Finding(CODE, "企业未开户或开户不成功")
