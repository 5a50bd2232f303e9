"""Filling a ledger up that is older than its card: after a backup was restored.

The card has counted invoices whose detail the restored ledger lacks. When their lists are imported again they must not
count twice; new ones must count once. The card cannot tell invoices apart, but the sums can: what is missing is what
the card has and the ledger has not.
"""

from __future__ import annotations

from collections.abc import Mapping

from offline_station.core.figures import WHOLE_KIND, Totals, subtract_totals
from shared.errors import WrongState
from shared.text import Text


def used_counts(totals: Totals) -> dict[str, int]:
    """Return the number of invoices by kind."""
    return {kind: figures.used for (kind, rate), figures in totals.items() if rate == WHOLE_KIND}


def new_to_card(brought: Mapping[str, Totals], gap: Mapping[str, Totals]) -> dict[str, Totals]:
    """Return, by month, what of an import the card has not counted yet (CARD-15).

    Args:
        brought: What the import would add to the ledger, by month.
        gap: What the card has and the ledger has not, by month.

    Raises:
        WrongState: The import holds some of what is missing and some that is new: nobody can tell which. Nothing was
            counted.
    """
    has, missing = _counts(brought), _counts(gap)
    if all(count <= missing.get(key, 0) for key, count in has.items()):
        return {}
    if all(has.get(key, 0) >= count for key, count in missing.items()):
        rest = {month: subtract_totals(brought.get(month, {}), gap.get(month, {})) for month in {*brought, *gap}}
        return {month: totals for month, totals in sorted(rest.items()) if totals}
    first = min(month for month, _ in missing)
    raise WrongState(
        reason=Text(
            f"恢复备份后 {first} 等月份缺少发票明细，而这个清单只含其中一部分，又含新的发票",
            f"since the restore, invoices of {first} are missing; this list holds some of them and some new ones",
        ),
        next_action=Text(
            "先把恢复前导入过的清单逐个重新导入，再导入新的清单",
            "import the lists from before the restore again first, one by one, then the new one",
        ),
    )


def _counts(months: Mapping[str, Totals]) -> dict[tuple[str, str], int]:
    return {(month, kind): n for month, totals in months.items() for kind, n in used_counts(totals).items() if n}
