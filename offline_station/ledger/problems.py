"""What is wrong with an invoice list, by sheet, row and column, in words for the person who exported it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shared.errors import ImportInvalid
from shared.money import format_fen
from shared.text import Text

MAX_LISTED: Final = 200
"""Problems that are kept in full; all are counted."""


@dataclass(frozen=True)
class Place:
    """Where something stands in the file.

    Attributes:
        sheet: The worksheet's name; empty in files that have none.
        row: Counted from 1 as spreadsheets and editors do; 0 means the file as a whole.
        column: The column's own heading, or the element's name.
    """

    sheet: str = ""
    row: int = 0
    column: str = ""

    def at(self, column: str) -> Place:
        """Return the place of a column in the same row."""
        return Place(self.sheet, self.row, column)

    @property
    def in_words(self) -> Text:
        """The place as a person finds it."""
        zh, en = [], []
        if self.sheet:
            zh.append(f"工作表“{self.sheet}”")
            en.append(f"sheet '{self.sheet}'")
        if self.row:
            zh.append(f"第 {self.row} 行")
            en.append(f"row {self.row}")
        if self.column:
            zh.append(f"“{self.column}”")
            en.append(f"'{self.column}'")
        return Text("".join(zh) or "整个文件", ", ".join(en) or "the file")


@dataclass(frozen=True)
class Problem:
    """One finding."""

    place: Place
    message: Text

    def as_json(self) -> dict[str, object]:
        """Return the finding as `--json` shows it."""
        return {
            "sheet": self.place.sheet,
            "row": self.place.row,
            "column": self.place.column,
            "message": str(self.message),
        }

    @property
    def in_words(self) -> Text:
        """Place and message together."""
        where = self.place.in_words
        return Text(f"{where.zh}：{self.message.zh}", f"{where.en}: {self.message.en}")


class Findings:
    """Collects problems and warnings of one file: the first ones in full, all of them counted."""

    def __init__(self) -> None:
        """Begin with none."""
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.problem_count = 0
        self.warning_count = 0

    def problem(self, place: Place, message: Text) -> None:
        """Note what forbids the import of the whole file."""
        self.problem_count += 1
        if len(self.problems) < MAX_LISTED:
            self.problems.append(Problem(place, message))

    def warning(self, place: Place, message: Text) -> None:
        """Note what a person should look at, and what does not forbid the import."""
        self.warning_count += 1
        if len(self.warnings) < MAX_LISTED:
            self.warnings.append(Problem(place, message))


@dataclass(frozen=True)
class FileReport:
    """What became of one file.

    Attributes:
        file: Its name.
        format: What it was recognised as (`official-xls`, `xlsx`, `csv`, `kp-xml`, `sjjk0201` …); empty if nothing.
        invoices: Invoices taken over.
        lines: Their lines.
        voided: Void ones among them, and invoices of the ledger that this file says are void now.
        amount: Fen without tax of the taken invoices that are not void.
        tax: Fen of their tax.
        skipped: Invoices that the ledger, or an earlier row, already has.
        problems: The first `MAX_LISTED` problems. Any problem means that nothing of the file was taken.
        problem_count: All problems.
        warnings: The first warnings.
        warning_count: All warnings.
        batch_id: The card's batch; empty if nothing was taken.
    """

    file: str
    format: str = ""
    invoices: int = 0
    lines: int = 0
    voided: int = 0
    amount: int = 0
    tax: int = 0
    skipped: int = 0
    problems: tuple[Problem, ...] = ()
    problem_count: int = 0
    warnings: tuple[Problem, ...] = ()
    warning_count: int = 0
    batch_id: str = ""

    @property
    def error(self) -> ImportInvalid | None:
        """The error of a file that was refused, or None."""
        if not self.problem_count:
            return None
        return ImportInvalid(name=self.file, count=self.problem_count, first=self.problems[0].in_words)

    def as_json(self) -> dict[str, object]:
        """Return the report as an item of `invoices import --json`."""
        return {
            "file": self.file,
            "format": self.format,
            "invoices": self.invoices,
            "lines": self.lines,
            "voided": self.voided,
            "amount": format_fen(self.amount),
            "tax": format_fen(self.tax),
            "skipped": self.skipped,
            "problems": [problem.as_json() for problem in self.problems],
            "problem_count": self.problem_count,
            "warnings": [warning.as_json() for warning in self.warnings],
            "warning_count": self.warning_count,
        }
