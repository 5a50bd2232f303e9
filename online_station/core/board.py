"""Who has reported a period: per taxpayer, per machine. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from online_station.core.decide import Snapshot
from shared.model.standing import Standing
from shared.states import OnlineState
from shared.text import Text

_AT_BUREAU = frozenset(
    {
        OnlineState.ACCEPTED,
        OnlineState.PROCESSING,
        OnlineState.WAITING,
        OnlineState.ANSWERED,
        OnlineState.STAGED,
        OnlineState.ACKNOWLEDGED,
    }
)


@dataclass(frozen=True)
class Line:
    """One taxpayer's month.

    Attributes:
        taxpayer_id: 税号.
        period: The month.
        declared: Whether a return was filed, as far as the bureau last said; None if it was not asked.
        expected: Machines that must report; those seen here where the bureau was not asked.
        reported: Machines whose report the bureau has.
        missing: The rest.
    """

    taxpayer_id: str
    period: str
    declared: bool | None
    expected: tuple[int, ...]
    reported: tuple[int, ...]
    missing: tuple[int, ...]

    @property
    def in_words(self) -> Text:
        """The line as people read it."""
        declared = {None: Text("申报情况未知", "declaration unknown"), True: Text("已申报", "declared")}.get(
            self.declared, Text("未申报", "not declared")
        )
        done, of = len(self.reported), len(self.expected)
        names = "、".join("主机" if m == 0 else f"{m} 号分机" for m in self.missing[:20])
        ids = ", ".join(str(m) for m in self.missing[:20])
        return Text(
            f"{self.taxpayer_id}  {self.period}  {declared.zh}  {of} 台中 {done} 台已报"
            + (f"，还缺 {names}" if self.missing else ""),
            f"{self.taxpayer_id}  {self.period}  {declared.en}  {done} of {of} reported"
            + (f", missing: {ids}" if self.missing else ""),
        )


def board(reports: Sequence[tuple[Snapshot, int]], standings: Mapping[tuple[str, str], Standing]) -> list[Line]:
    """Return one line per taxpayer and period of the period reports that were seen here.

    Args:
        reports: Every report with its machine number.
        standings: The bureau's last word, by taxpayer and period. It may be older than what the reports show.
    """
    seen: dict[tuple[str, str], dict[int, bool]] = {}
    for snapshot, machine in reports:
        if snapshot.period_report and snapshot.state is not OnlineState.CANCELLED:
            machines = seen.setdefault((snapshot.taxpayer_id, snapshot.period), {})
            machines[machine] = machines.get(machine, False) or snapshot.state in _AT_BUREAU
    lines = []
    for key, machines in sorted(seen.items()):
        standing = standings.get(key)
        told = set(standing.machines_reported) if standing is not None else set()
        expected = set(machines) | told | (set(standing.machines_expected) if standing is not None else set())
        reported = told | {m for m, there in machines.items() if there}
        lines.append(
            Line(
                taxpayer_id=key[0],
                period=key[1],
                declared=None if standing is None else standing.declared,
                expected=tuple(sorted(expected)),
                reported=tuple(sorted(reported)),
                missing=tuple(sorted(expected - reported)),
            )
        )
    return lines


def silent(registered: Iterable[str], lines: Iterable[Line], period: str) -> list[str]:
    """Return the registered taxpayers of whom no report of a period has been seen, in order.

    Args:
        registered: The taxpayers that are expected to report.
        lines: The board.
        period: The month in question.
    """
    seen = {line.taxpayer_id for line in lines if line.period == period}
    return sorted(set(registered) - seen)
