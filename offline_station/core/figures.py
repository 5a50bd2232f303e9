"""The figures of an invoice kind, as whole numbers that add up: counts by status and sums in fen.

Card and ledger count independently with this one type; `detail = summary` compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Final, cast

from shared.model.report import COUNT_FIELDS, SUM_FIELDS, KindSummary, RateSummary
from shared.money import format_fen, parse_fen

WHOLE_KIND: Final = ""
"""The rate under which a kind's own figures stand; its counts stand nowhere else."""


@dataclass(frozen=True)
class Figures:
    """Five counts of invoices and eight sums in fen; also a difference of such figures.

    Void sums are what the voided invoices said. Negative (red) sums are negative or zero.
    """

    positive_count: int = 0
    negative_count: int = 0
    positive_void_count: int = 0
    negative_void_count: int = 0
    blank_void_count: int = 0
    positive_amount: int = 0
    positive_tax: int = 0
    negative_amount: int = 0
    negative_tax: int = 0
    positive_void_amount: int = 0
    positive_void_tax: int = 0
    negative_void_amount: int = 0
    negative_void_tax: int = 0

    def __add__(self, other: Figures) -> Figures:
        """Return both together."""
        return Figures(*(a + b for a, b in zip(self.numbers, other.numbers, strict=True)))

    def __sub__(self, other: Figures) -> Figures:
        """Return what is in this and not in the other."""
        return Figures(*(a - b for a, b in zip(self.numbers, other.numbers, strict=True)))

    def __bool__(self) -> bool:
        """Return whether anything is not zero."""
        return any(self.numbers)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The thirteen numbers in the order of `FIGURE_FIELDS`."""
        return tuple(cast("int", getattr(self, name)) for name in FIGURE_FIELDS)

    @property
    def used(self) -> int:
        """Invoices used up: the five counts together."""
        return sum(self.numbers[: len(COUNT_FIELDS)])


FIGURE_FIELDS: Final = tuple(field.name for field in fields(Figures))
assert FIGURE_FIELDS == COUNT_FIELDS + SUM_FIELDS

Totals = Mapping[tuple[str, str], Figures]
"""Figures by (kind, rate); the rate `WHOLE_KIND` is the kind itself."""


def add_totals(*parts: Totals) -> dict[tuple[str, str], Figures]:
    """Return the sum of several totals."""
    found: dict[tuple[str, str], Figures] = {}
    for part in parts:
        for key, figures in part.items():
            found[key] = found.get(key, _NOTHING) + figures
    return found


def subtract_totals(whole: Totals, part: Totals) -> dict[tuple[str, str], Figures]:
    """Return what is in `whole` and not in `part`; entries that vanish are left out."""
    found = dict(whole)
    for key, figures in part.items():
        found[key] = found.get(key, _NOTHING) - figures
    return {key: figures for key, figures in found.items() if figures}


_NOTHING: Final = Figures()


@dataclass(frozen=True)
class Stock:
    """Invoice numbers of one kind over a period: closing = opening + bought − returned − used, never below zero."""

    opening: int
    bought: int
    used: int

    @property
    def closing(self) -> int:
        """Numbers left."""
        return self.opening + self.bought - self.used


def stock_over(held: int, used_before: int, used: int) -> Stock:
    """Return the stock of a period.

    The software card cannot see purchases: they happen in the invoicing software. So an issue beyond the stock books
    the missing numbers as bought; the identity then holds and no stock is negative.

    Args:
        held: Stock at the beginning of the first open month.
        used_before: Numbers used between then and the period.
        used: Numbers used in the period.
    """
    opening = max(0, held - used_before)
    return Stock(opening, max(0, used - opening), used)


def summarise(totals: Totals, stock: Mapping[str, Stock]) -> tuple[tuple[KindSummary, ...], tuple[RateSummary, ...]]:
    """Return the summary rows of a report (REP-21, REP-22), sorted by kind and rate.

    Args:
        totals: The figures of what the report covers.
        stock: Stock of every kind that shall appear; a kind without business appears with zeros (a zero report).
    """
    kinds = sorted({kind for kind, _ in totals} | set(stock))
    summaries, rates = [], []
    for kind in kinds:
        figures = totals.get((kind, WHOLE_KIND), _NOTHING)
        held = stock.get(kind) or stock_over(0, 0, figures.used)
        counts = dict(zip(COUNT_FIELDS, figures.numbers, strict=False))
        summaries.append(
            KindSummary.model_validate(
                {
                    "kind": kind,
                    "opening": held.opening,
                    "bought": held.bought,
                    "returned": 0,
                    "closing": held.closing,
                    **counts,
                    **_sums(figures),
                }
            )
        )
        rates += [
            RateSummary.model_validate({"kind": kind, "rate": rate, **_sums(part)})
            for (k, rate), part in sorted(totals.items())
            if k == kind and rate != WHOLE_KIND and part
        ]
    return tuple(summaries), tuple(rates)


def figures_of(summaries: Iterable[KindSummary], rates: Iterable[RateSummary]) -> dict[tuple[str, str], Figures]:
    """Return the totals that summary rows state: the inverse of `summarise`, without the stock."""
    found = {}
    for summary in summaries:
        sums = {name: parse_fen(getattr(summary, name)) for name in SUM_FIELDS}
        counts = {name: cast("int", getattr(summary, name)) for name in COUNT_FIELDS}
        found[summary.kind, WHOLE_KIND] = Figures(**counts, **sums)
    for rate in rates:
        found[rate.kind, rate.rate] = Figures(**{name: parse_fen(getattr(rate, name)) for name in SUM_FIELDS})
    return {key: figures for key, figures in found.items() if figures}


def _sums(figures: Figures) -> dict[str, str]:
    return {name: format_fen(value) for name, value in zip(SUM_FIELDS, figures.numbers[5:], strict=True)}
