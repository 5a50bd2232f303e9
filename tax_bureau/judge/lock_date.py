"""LOCKED: copied or sealed after the card's lock date (已过锁死期)."""

from __future__ import annotations

from shared.ids import parse_stamp
from tax_bureau.judge.facts import Facts, Finding

CODE = "LOCKED"


def check(facts: Facts) -> Finding | None:
    """Find out whether the card could still copy and report (JUDGE-4).

    A period copy is stamped with the first of the month, so the day on which the card signed counts as well: a locked
    card neither copies nor reports. How long the file then travelled does not matter.
    """
    assert facts.card is not None, "asked after card_known"
    lock_date = facts.card.lock_date
    copied = parse_stamp(facts.header.stamp).moment.date()
    last = max(copied, facts.signed_on)
    if last <= lock_date:
        return None
    return Finding(
        CODE, f"抄税报税日期 {last.isoformat()} 已过锁死日期 {lock_date.isoformat()}，请携带金税卡到办税服务厅报税"
    )
