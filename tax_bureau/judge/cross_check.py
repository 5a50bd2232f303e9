"""271D, second cause: declaration and reports do not agree (一窗式比对数据不符)."""

from __future__ import annotations

from typing import Final

from shared.model.report import KIND_NAMES
from shared.money import format_fen
from tax_bureau.judge.facts import Facts, Figures, Finding

TOLERANCE_FEN: Final = 1000
"""Some bureaus let ten yuan pass: declarations are rounded differently from sums of invoices."""
SPECIAL: Final = frozenset({"004", "005", "009", "028", "101"})
"""Kinds whose tax the buyer deducts: declared and collected must be equal. The others may be declared with more
(sales without an invoice are declared in the same place), never with less."""
_SHOWN: Final = 3


def check(facts: Facts) -> Finding | None:
    """Compare what all machines reported with what was declared (JUDGE-9)."""
    declaration = facts.declaration
    if not facts.of_period or declaration is None or declaration.matching:
        return None
    differences = []
    for kind in sorted({*declaration.figures, *facts.collected}):
        declared, collected = declaration.figures.get(kind, Figures()), facts.collected.get(kind, Figures())
        for what, said, found in (
            ("销售额", declared.amount, collected.amount),
            ("税额", declared.tax, collected.tax),
        ):
            sign = _compare(kind, said, found)
            if sign:
                name = KIND_NAMES[kind].zh if kind in KIND_NAMES else "票种"
                differences.append(f"{name}({kind}){what}申报{format_fen(said)}{sign}抄报{format_fen(found)}")
    if not differences:
        return None
    more = f"；另有{len(differences) - _SHOWN}处" if len(differences) > _SHOWN else ""
    return Finding("271D", f"一窗式比对数据不符：{'；'.join(differences[:_SHOWN])}{more}")


def _compare(kind: str, declared: int, collected: int) -> str:
    """Return the sign that explains a mismatch, or nothing."""
    if kind in SPECIAL:
        return "≠" if abs(declared - collected) > TOLERANCE_FEN else ""
    return "<" if declared + TOLERANCE_FEN < collected else ""
