"""272C: other machines of the taxpayer have not reported (该企业有其他开票机未报税)."""

from __future__ import annotations

from tax_bureau.judge.facts import Facts, Finding, machine_in_words

CODE = "272C"
_SHOWN = 10


def check(facts: Facts) -> Finding | None:
    """Find out whether all machines have reported (JUDGE-8); ad hoc, each machine stands alone."""
    missing = sorted(facts.expected - facts.reported)
    if not facts.of_period or not missing:
        return None
    named = "、".join(machine_in_words(number) for number in missing[:_SHOWN])
    more = f"等{len(missing)}台" if len(missing) > _SHOWN else ""
    done = len(facts.expected & facts.reported)
    return Finding(
        CODE,
        f"该企业有其他开票机未报税：{named}{more}（已报{done}台，应报{len(facts.expected)}台）；全部报税后再查询结果",
    )
