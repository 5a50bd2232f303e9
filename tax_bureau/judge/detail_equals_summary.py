"""2715: the invoices do not add up to the card's summary (发票明细与汇总比对不符)."""

from __future__ import annotations

from tax_bureau.judge.facts import Facts, Finding

_SHOWN = 3


def check(facts: Facts) -> Finding | None:
    """Find out whether detail and summary agree (JUDGE-6); `detail` compared them while it read."""
    differences = facts.examination.differences
    if not differences:
        return None
    more = f"；另有{len(differences) - _SHOWN}处" if len(differences) > _SHOWN else ""
    return Finding("2715", f"发票明细与汇总比对不符：{'；'.join(differences[:_SHOWN])}{more}")
