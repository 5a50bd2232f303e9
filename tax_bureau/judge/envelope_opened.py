"""2734, 0x82040010: the envelope does not open with the bureau's keys (拆解数字信封失败)."""

from __future__ import annotations

from tax_bureau.judge.facts import Facts, Finding

FIELD_CODE = "0x82040010"


def check(facts: Facts) -> Finding | None:
    """Find out whether the envelope opened (JUDGE-3)."""
    if facts.examination.fault != "envelope":
        return None
    return Finding("2734", f"拆解数字信封失败，错误码：{FIELD_CODE}（{facts.examination.reason}）", FIELD_CODE)
