"""The bureau's envelope key changes in the middle of a period: for a while the old one is still accepted, or it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bureau import close_offices
from tests.support.real_line import Line, line

DAY = 86400.0


@pytest.fixture
def real_line(tmp_path: Path) -> Iterator[Line]:
    with line(tmp_path) as made:
        yield made
    close_offices()


def renew(on: Line, accept_old_for: float = 0.0) -> None:
    on.office.bureau.trust.renew("envelope", "p256", accept_old_for=accept_old_for)


def old_key(on: Line) -> list[object]:
    return [on.office.bureau.keyring.envelope.certificate]


def test_the_old_key_is_accepted_for_a_while(real_line: Line) -> None:  # GW-12
    """What lay at the bureau, and what is sent a day later, is opened; what comes too late is held, with the remedy."""
    old = old_key(real_line)
    waiting = real_line.report(0)
    real_line.once()
    renew(real_line, 3 * DAY)
    real_line.office.clock.advance(days=1)
    late = real_line.report(1, recipients=old)
    real_line.go_on(late, "staged")
    real_line.go_on(waiting, "staged")
    assert [real_line.events(d).count("success") for d in (waiting, late)] == [1, 1]

    real_line.office.clock.advance(days=3)
    real_line.office.bureau.trust.publish()
    too_late = real_line.report(1, recipients=old, sequence=8)
    real_line.once()
    assert real_line.state(too_late) == "held"
    assert real_line.row(too_late).snapshot.hold == "envelope-outdated"
    again = real_line.report(1, sequence=8)
    real_line.go_on(again, "staged")


def test_the_old_key_is_not_accepted(real_line: Line) -> None:
    """What lay at the bureau fails with the field's number; the card seals the same copy again, and that goes through."""
    waiting = real_line.report(0)
    real_line.once()
    renew(real_line)
    real_line.go_on(waiting, "failed")
    assert real_line.row(waiting).snapshot.code == "2734"
    assert any("拆解数字信封" in words for words in real_line.words)
    real_line.office.send(real_line.office.card(1))
    again = real_line.report(0)
    real_line.go_on(again, "staged")
    assert real_line.events(again).count("success") == 1


def test_the_grace_survives_a_restart_and_ends_by_itself(real_line: Line) -> None:
    renew(real_line, DAY)
    renew(real_line, 2 * DAY)
    real_line.office.restart()
    keyring = real_line.office.bureau.keyring
    now = real_line.office.clock.now
    assert len(keyring.openers(now())) == 3
    real_line.office.clock.advance(days=1, seconds=1)
    assert len(keyring.openers(now())) == 2
    real_line.office.clock.advance(days=1)
    assert [each.certificate for each in keyring.openers(now())] == [keyring.envelope.certificate]
