"""Attending to whatever is plugged in, driven without a clock and without a stick."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from shared.medium.attend import RETRY_SECONDS, attend
from shared.medium.find import FoundStick, MediumState
from shared.medium.stick import StickIdentity


def stick(name: str = "red", *files: str, state: MediumState = MediumState.EMPTY, at: str = "") -> FoundStick:
    identity = StickIdentity(f"{name:0>16}", name, "", "")
    return with_files(FoundStick(Path(at or f"/media/{name}"), state, identity, label=name), *files)


def with_files(found: FoundStick, *files: str, size: int = 1) -> FoundStick:
    work = frozenset(("to-online", name, size) for name in files)
    return replace(found, waiting=len(work), work=work)


Step = Callable[["World"], None]


@dataclass
class World:
    """What is plugged in, and what the machine does about it. Each wait lets the next step of the story happen."""

    steps: list[Step]
    sticks: list[FoundStick] = field(default_factory=list)
    outgoing: frozenset[Hashable] = frozenset()
    now: float = 1000.0
    failing: set[str] = field(default_factory=set)
    visits: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    during: Callable[[FoundStick], None] = lambda _: None
    stop: threading.Event = field(default_factory=threading.Event)

    def survey(self) -> tuple[Sequence[FoundStick], frozenset[Hashable]]:
        return list(self.sticks), self.outgoing

    def visit(self, found: FoundStick) -> bool:
        self.visits.append(found.label)
        self.during(found)
        return found.label not in self.failing

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        assert stop is self.stop
        self.waits.append(seconds)
        self.now += seconds
        if not self.steps:
            stop.set()
            return False
        self.steps.pop(0)(self)
        return True

    def run(self) -> World:
        attend(
            survey=self.survey,
            visit=self.visit,
            notice=lambda found: self.notices.append(f"{found.label}: {found.state}"),
            wake=self,
            stop=self.stop,
            monotonic=lambda: self.now,
        )
        return self


def plug(*found: FoundStick) -> Step:
    def step(world: World) -> None:
        world.sticks.extend(found)

    return step


def pull(name: str) -> Step:
    def step(world: World) -> None:
        world.sticks = [one for one in world.sticks if one.label != name]

    return step


def nothing(_: World) -> None:
    return


def test_a_stick_that_is_plugged_in_is_visited_once() -> None:
    assert World([nothing, plug(stick()), nothing, nothing]).run().visits == ["red"]


def test_a_stick_that_is_in_already_is_visited_at_once() -> None:
    world = World([], [stick()]).run()
    assert (world.visits, len(world.waits)) == (["red"], 1)


def test_a_stick_that_is_plugged_in_again_is_visited_again() -> None:
    assert World([plug(stick()), pull("red"), plug(stick())]).run().visits == ["red", "red"]


def test_the_same_stick_in_another_place_is_visited_there() -> None:
    moved: list[Step] = [lambda world: world.sticks.__setitem__(0, stick(at="/mnt/usb"))]
    assert World(moved, [stick()]).run().visits == ["red", "red"]


def test_something_new_that_waits_to_go_out_lets_every_stick_be_visited_again() -> None:
    def sealed(world: World) -> None:
        world.outgoing = frozenset({"report"})

    world = World([nothing, sealed, nothing], [stick("red"), stick("blue")]).run()
    assert world.visits == ["red", "blue", "red", "blue"]


def test_something_new_on_the_stick_lets_it_be_visited_again() -> None:
    def arrived(world: World) -> None:
        world.sticks = [with_files(world.sticks[0], "a", "b")]

    def replaced(world: World) -> None:
        world.sticks = [with_files(world.sticks[0], "a", "b", size=2)]

    assert World([nothing, arrived, nothing], [stick("red", "a")]).run().visits == ["red", "red"]
    assert World([nothing, replaced, nothing], [stick("red", "a", "b")]).run().visits == ["red", "red"]


def test_what_is_done_with_is_no_reason_to_begin_again() -> None:
    """A person who was told to pull the stick must not be told a moment later to leave it in."""

    def taken_in(world: World) -> None:
        world.sticks = [with_files(world.sticks[0], "a")]
        world.outgoing = frozenset({"1"})

    def again(world: World) -> None:
        world.sticks = [with_files(world.sticks[0], "a", "b")]

    world = World([taken_in, nothing, again, nothing], [stick("red", "a", "b")], frozenset({"1", "2"})).run()
    assert world.visits == ["red", "red"], "what went and came back is new"


def test_what_a_visit_itself_changes_is_no_news() -> None:
    def during(_found: FoundStick) -> None:
        world.sticks = [replace(with_files(world.sticks[0], "a"), state=MediumState.WORK)]
        world.outgoing = frozenset({"on the stick now"})

    world = World([nothing, nothing], [stick()])
    world.during = during
    assert world.run().visits == ["red"]


def test_a_stick_that_fails_is_left_alone_for_a_while_and_then_tried_again() -> None:
    world = World([nothing] * 40, [stick()], failing={"red"}).run()
    span = sum(world.waits[:-1])
    assert len(world.visits) == 1 + int(span // RETRY_SECONDS)
    assert len(world.visits) >= 3


def test_a_stick_that_fails_is_tried_at_once_when_it_is_plugged_in_again() -> None:
    assert len(World([pull("red"), plug(stick())], [stick()], failing={"red"}).run().visits) == 2


def test_a_stick_that_fails_keeps_no_other_one_waiting() -> None:
    world = World([nothing, plug(stick("blue"))], [stick("red")], failing={"red"}).run()
    assert world.visits == ["red", "blue"]


def test_a_stick_that_works_again_is_left_in_peace() -> None:
    def mend(world: World) -> None:
        world.failing.clear()

    world = World([mend, *[nothing] * 40], [stick()], failing={"red"}).run()
    assert world.visits == ["red", "red"]


def test_a_stick_pulled_during_its_visit_is_visited_when_it_comes_back() -> None:
    def during(_found: FoundStick) -> None:
        if len(world.visits) == 1:
            world.sticks = []

    world = World([nothing, plug(stick()), nothing], [stick()])
    world.during = during
    assert world.run().visits == ["red", "red"]


def test_asked_to_stop_during_a_visit_it_ends_after_that_one() -> None:
    world = World([nothing], [stick("red"), stick("blue")])
    world.during = lambda _: world.stop.set()
    world.run()
    assert world.visits == ["red"]


def test_asked_to_stop_before_it_begins_it_does_nothing() -> None:
    world = World([], [stick()])
    world.stop.set()
    world.run()
    assert (world.visits, world.waits) == ([], [])


def test_what_cannot_be_visited_is_told_once_for_each_state_and_not_visited() -> None:
    bare = FoundStick(Path("/media/bare"), MediumState.NOT_OURS, label="bare")

    def break_it(world: World) -> None:
        world.sticks = [replace(bare, state=MediumState.DAMAGED)]

    world = World([plug(bare), nothing, break_it, nothing, pull("bare"), plug(bare)]).run()
    assert world.visits == []
    assert world.notices == ["bare: not-ours", "bare: damaged", "bare: not-ours"]


def test_a_full_or_read_only_stick_is_visited_for_what_can_be_taken() -> None:
    found = [stick("red", state=MediumState.FULL), stick("blue", state=MediumState.READ_ONLY)]
    world = World([nothing], found).run()
    assert (world.visits, world.notices) == (["red", "blue"], [])


def test_a_stick_that_is_unlocked_is_visited_again() -> None:
    def unlock(world: World) -> None:
        world.sticks = [stick(state=MediumState.EMPTY)]

    assert World([unlock, nothing], [stick(state=MediumState.READ_ONLY)]).run().visits == ["red", "red"]
