"""The examination of clients: the online station and a stranger pass it, and each wrong client fails the right requirement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from online_station.shell.home import Home
from online_station.shell.setup import at_work, initialise
from shared.clock import FixedClock
from tax_bureau.conformance.of_client import REASONS, Stage, judge_client, playing
from tax_bureau.conformance.theatre import Scene, World
from tests.conformance.mini_client import WRONG, MiniClient
from tests.docs.test_spec import requirements
from tests.support.pki import NOW

QUICK = ("resends-after-lost-reply", "covers-less")


@contextmanager
def stage(root: Path, outbox: Path, *, large: bool = True) -> Iterator[Stage]:
    world = World(NOW)
    props = world.props([scene for scene in Scene if large or scene is not Scene.PARTS])
    world.hand_out(root / "out", props)
    with playing(Stage(world, props, FixedClock(NOW), outbox=outbox)) as made:
        yield made


def mini(root: Path, wrong: str = "") -> Stage:
    outbox = root / "outbox"
    outbox.mkdir()
    with stage(root, outbox) as made:
        assert isinstance(made.clock, FixedClock)
        MiniClient(made.url, root / "out", outbox, made.clock, wrong).run(lambda: made.finished)
        return made


@pytest.mark.parametrize("large", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_online_station_keeps_every_requirement_that_shows(tmp_path: Path, large: bool) -> None:
    """GW-2, GW-3, GW-6, GW-8 to GW-10, GW-12, GW-16, GW-20 to GW-27, GW-38, GW-39."""
    home = Home(tmp_path / "上网机")
    with stage(tmp_path, home.default_outbox, large=large) as made:
        assert isinstance(made.clock, FixedClock)
        out = tmp_path / "out"
        initialise(
            home,
            bureau=made.url,
            key=out / "key.p12",
            pin_file=out / "pin.txt",
            root_file=out / "root.pem",
            inbox=None,
            outbox=None,
            proxy="",
            ca_file=None,
            clock=made.clock,
        )
        for path in (out / "reports").iterdir():
            (home.default_inbox / path.name).write_bytes(path.read_bytes())
        for _ in range(200):
            with at_work(home, made.clock, settle=0.0) as station:
                station.once(patient=False)
            if made.finished:
                break
            made.clock.advance(seconds=2)
        findings = judge_client(made)
    assert [found for found in findings.all if not found.ok] == []
    seen = {id_ for id_ in REASONS if findings.of(id_)}
    parts = {"GW-38", "GW-39"} if large else set()
    assert seen == {f"GW-{n}" for n in (2, 3, 6, 8, 9, 10, 12, 16, *range(20, 28))} | {"RES-32"} | parts


def test_another_client_written_from_the_pages_keeps_them_too(tmp_path: Path) -> None:
    findings = judge_client(mini(tmp_path))
    assert [found for found in findings.all if not found.ok] == []


@pytest.mark.parametrize("wrong", [pytest.param(w, marks=() if w in QUICK else pytest.mark.slow) for w in WRONG])
def test_a_wrong_client_fails_exactly_the_right_requirement(tmp_path: Path, wrong: str) -> None:
    findings = judge_client(mini(tmp_path, wrong))
    assert set(findings.broken) == WRONG[wrong], [found for found in findings.all if not found.ok]


def test_every_requirement_of_the_gateway_is_examined_or_listed_with_a_reason() -> None:
    stated = {r.id for r in requirements() if r.page == "gateway.md"}
    assert stated <= set(REASONS)
    assert all(reason.zh and reason.en for reason in REASONS.values())
