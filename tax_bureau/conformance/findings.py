"""What was found, by requirement, and what that means beside the failures that are expected."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from shared.errors import ExpectedFailuresInvalid
from shared.text import Text

Side = Literal["bureau", "client"]
_ID: Final = re.compile(r"[A-Z]{2,8}-[0-9]{1,3}", re.ASCII)


class Verdict(StrEnum):
    """What is known of a requirement."""

    HOLDS = "holds"
    BROKEN = "broken"
    NOT_OBSERVED = "not-observed"


@dataclass(frozen=True)
class Finding:
    """One thing that was seen.

    Attributes:
        requirement: What it is about.
        ok: Whether it is as it should be.
        what: What should be.
        seen: What was instead, if it was not.
    """

    requirement: str
    ok: bool
    what: Text
    seen: str = ""


@dataclass
class Findings:
    """Everything that was seen.

    Attributes:
        side: Who was examined.
        reasons: Every requirement of that side, and why it was not observed, if it was not.
        all: The findings, in order.
    """

    side: Side
    reasons: Mapping[str, Text]
    all: list[Finding] = field(default_factory=list)

    def expect(self, requirement: str, ok: object, what: Text, seen: object = "") -> bool:
        """Note whether something is as it should be; return that."""
        assert requirement in self.reasons, f"{requirement} is none that {self.side}s are examined for"
        self.all.append(Finding(requirement, bool(ok), what, "" if ok else str(seen)[:300]))
        return bool(ok)

    def of(self, requirement: str) -> tuple[Finding, ...]:
        """Return what was seen about a requirement."""
        return tuple(found for found in self.all if found.requirement == requirement)

    def verdict(self, requirement: str) -> Verdict:
        """Return what is known of a requirement."""
        found = self.of(requirement)
        if not found:
            return Verdict.NOT_OBSERVED
        return Verdict.HOLDS if all(each.ok for each in found) else Verdict.BROKEN

    @property
    def broken(self) -> tuple[str, ...]:
        """The requirements that do not hold."""
        return tuple(id_ for id_ in self.reasons if self.verdict(id_) is Verdict.BROKEN)

    @property
    def held(self) -> tuple[str, ...]:
        """The requirements that were seen to hold."""
        return tuple(id_ for id_ in self.reasons if self.verdict(id_) is Verdict.HOLDS)


@dataclass(frozen=True)
class Judgement:
    """The findings beside what was expected.

    Attributes:
        failures: Broken, and not expected to be.
        expected: Broken, as expected.
        unexpected_passes: Expected to be broken, and they hold.
    """

    failures: tuple[str, ...]
    expected: tuple[str, ...]
    unexpected_passes: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether everything is as expected."""
        return not self.failures and not self.unexpected_passes


def judge(findings: Findings, expected: Iterable[str]) -> Judgement:
    """Return the findings beside the expected failures."""
    wanted = set(expected)
    return Judgement(
        failures=tuple(id_ for id_ in findings.broken if id_ not in wanted),
        expected=tuple(id_ for id_ in findings.broken if id_ in wanted),
        unexpected_passes=tuple(id_ for id_ in findings.held if id_ in wanted),
    )


def read_expected(text: str, known: Mapping[str, Text]) -> tuple[str, ...]:
    """Return the requirements in a file of expected failures: one a line, and `#` begins a remark.

    Raises:
        ExpectedFailuresInvalid: A line is no requirement that is examined.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        if _ID.fullmatch(word) is None or word not in known:
            raise ExpectedFailuresInvalid(row=number, what=word[:40])
        found.append(word)
    return tuple(found)
