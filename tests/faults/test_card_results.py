"""A wrong result never clears a card: every byte altered, every truncation, and statements that fail in the middle."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from offline_station.card.software import SoftwareCard
from offline_station.core.card_rules import CopyRecord
from shared.errors import TaxferryError
from shared.states import CardState
from tests.support.offline import DIGEST, JULY, NOW, answer, batch, software_card

STEP = 1 if os.environ.get("TAXFERRY_PROFILE") == "long" else 23


def waiting_card(folder: Path) -> tuple[SoftwareCard, CopyRecord]:
    card = software_card(folder)
    card.record_issued(batch("july", JULY))
    made = card.copy(NOW, kind="period")
    card.bind_report(made.nonce, DIGEST)
    found = card.open_copy()
    assert found is not None
    return card, found


def test_no_altered_byte_makes_a_success(tmp_path: Path) -> None:
    card, made = waiting_card(tmp_path)
    good = answer(made)
    before = card.read(NOW)
    for at in range(0, len(good), STEP):
        altered = bytearray(good)
        altered[at] ^= 1 << (at % 8)
        with pytest.raises(TaxferryError):
            card.examine(bytes(altered), NOW)
    assert card.read(NOW) == before
    card.close()


def test_no_truncation_makes_a_success(tmp_path: Path) -> None:
    card, made = waiting_card(tmp_path)
    good = answer(made).rstrip(b"\r\n")
    before = card.read(NOW)
    for length in range(0, len(good), STEP):
        with pytest.raises(TaxferryError):
            card.examine(good[:length], NOW)
    assert card.read(NOW) == before
    card.close()


class FailingConnection(sqlite3.Connection):
    """A disk that fails at the n-th statement, the commit included; 0 never."""

    fail_at = 0
    statements = 0

    def _count(self) -> None:
        cls = FailingConnection
        cls.statements += 1
        if cls.statements == cls.fail_at:
            raise sqlite3.OperationalError("disk I/O error (on purpose)")

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        self._count()
        return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        self._count()
        return super().executemany(*arguments)


def arm(fail_at: int) -> None:
    FailingConnection.fail_at, FailingConnection.statements = fail_at, 0


OPERATIONS: dict[str, Any] = {
    "count": lambda card, made: card.record_issued(batch("more", [("2026-08", *JULY[0][1:])])),
    "copy again": lambda card, made: card.copy(NOW, kind="period", again=True),
    "bind": lambda card, made: card.bind_report(made.nonce, "e" * 64),
    "success": lambda card, made: card.examine(answer(made, 3), NOW),
    "failure": lambda card, made: card.examine(answer(made, 3, code="271D"), NOW),
    "clear": lambda card, made: card.clear(NOW),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_disk_that_fails_anywhere_leaves_the_old_state_or_the_new(tmp_path: Path, name: str) -> None:
    """CARD-2: one transaction; and the operation asked for again completes."""
    first, made = waiting_card(tmp_path)
    if name == "clear":
        first.examine(answer(made), NOW)
        made = first.history()[0]
    first.close()
    image = first.path.read_bytes()

    def state(card: SoftwareCard) -> tuple[object, ...]:
        reading = card.read(NOW)
        return (
            reading.state,
            reading.facts.last_result_no,
            reading.facts.lock_date,
            sorted(reading.facts.totals),
            [
                (c.sequence, c.report_digest, bool(c.superseded_by), bool(c.success), bool(c.cleared_at))
                for c in card.history()
            ],
        )

    arm(0)
    with_old = SoftwareCard(first.path, FailingConnection)
    old = state(with_old)
    OPERATIONS[name](with_old, made)
    new = state(with_old)
    with_old.close()
    assert old != new
    failures = 0
    for fail_at in range(1, 200):
        first.path.write_bytes(image)
        arm(0)
        card = SoftwareCard(first.path, FailingConnection)
        arm(fail_at)
        try:
            OPERATIONS[name](card, made)
        except sqlite3.OperationalError:
            failures += 1
        else:
            card.close()
            break
        finally:
            arm(0)
        found = state(card)
        assert found in (old, new), f"statement {fail_at}"
        card.close()
        again = SoftwareCard(first.path)
        assert state(again) == found, "what the failing process saw is what the next one sees"
        if found == old:
            OPERATIONS[name](again, made)
        assert state(again) == new
        again.close()
    assert failures >= 4, "begin, look, change, commit"
    arm(0)


def test_a_card_is_never_cleared_without_its_own_success(tmp_path: Path) -> None:
    """Whatever result is shown, in whatever order: only the right one leads to clearing."""
    card, made = waiting_card(tmp_path)
    wrong = [
        answer(made, 1, code="2715", message="不符"),
        answer(made, 9, nonce="f" * 32),
        answer(made, 9, card_no="TC000"),
        b"Y",
        b"",
    ]
    for data in wrong:
        with contextlib.suppress(TaxferryError):
            card.examine(data, NOW)
        with pytest.raises(TaxferryError):
            card.clear(NOW)
    assert card.read(NOW).state is CardState.COPIED
    card.examine(answer(made, 2), NOW)
    assert not card.clear(NOW).already
    card.close()
