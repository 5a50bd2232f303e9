"""271D, first cause: the period was not declared (未申报)."""

from __future__ import annotations

from tax_bureau.judge.facts import Facts, Finding


def check(facts: Facts) -> Finding | None:
    """Find out whether the period was declared (JUDGE-7); an ad hoc report needs no declaration."""
    if not facts.of_period or facts.declaration is not None:
        return None
    return Finding("271D", f"未申报：{facts.header.period} 尚未网上申报，请先申报，再上传同一报税文件")
