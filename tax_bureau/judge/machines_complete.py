"""272C: other machines of the taxpayer have not reported (该企业有其他开票机未报税)."""

from __future__ import annotations

from collections.abc import Iterable

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


def expected(registered: Iterable[int], sub_machines: int | None) -> frozenset[int]:
    """Return the machines that have to report for a period.

    The main card knows how many sub machines there are. Those whose cards are registered are meant first; the rest
    of the count, cards that the bureau has not seen, take the lowest free numbers.

    Args:
        registered: Machine numbers of the cards in use.
        sub_machines: What the main card knows; None without a main card, when the registered ones are all.
    """
    known = sorted(set(registered))
    if sub_machines is None:
        return frozenset(known)
    subs = [number for number in known if number][:sub_machines]
    free = 1
    while len(subs) < sub_machines:
        if free not in subs:
            subs.append(free)
        free += 1
    return frozenset({0, *subs})
