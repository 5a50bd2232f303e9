"""What a visit puts on a stick, by itself or in a container, and what it takes away again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ForeignObject, MediumFull, MediumUnprepared, NameTaken
from shared.medium import Direction, Stick, container, reading
from shared.medium.carry import HANDFUL, Cargo, Carried, carry, tidy
from shared.medium.facts import Facts
from shared.medium.port import LocalFiles
from shared.medium.reading import Seen
from shared.medium.stick import Outgoing
from tests.support import texts
from tests.support.pki import NOW, TAXPAYER
from tests.support.reading import read_in_process
from tests.support.sticks import STATION, cargo_of, name_of, ours, prepared, result_for
from tests.support.sticks import reading as read

__all__ = ["read_in_process"]

TO = Direction.TO_OFFLINE
MANY = HANDFUL + 2


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    return prepared(tmp_path / "U 盘")


@pytest.fixture
def local(tmp_path: Path) -> Path:
    folder = tmp_path / "local"
    folder.mkdir()
    return folder


def visit(
    stick: Path, local: Path, cargo: Sequence[Cargo], finished: Callable[[Seen], bool] = lambda _: False, **how: Any
) -> tuple[list[Carried], list[str], list[int]]:
    """Carry and tidy; return what was carried, what was removed, and the lengths that progress was told of."""
    moved: list[int] = []
    with (
        Stick.open(stick, station=STATION) as opened,
        read(stick, local, copy_kinds=(), machines=how.get("machines")) as harvest,
    ):
        done = list(carry(opened, harvest, cargo, TO, now=NOW, advanced=moved.append))
        removed = tidy(opened, harvest, finished)
        opened.finish()
    return done, removed, moved


def there(stick: Path) -> list[str]:
    return sorted(path.name for path in ours(stick, TO).iterdir())


def log(stick: Path) -> str:
    return (stick / "TAXFERRY" / "transfer-log.csv").read_text(encoding="utf-8-sig")


def test_a_handful_goes_one_by_one_and_more_as_one_container(stick: Path, local: Path) -> None:
    few = [cargo_of(local, result_for(machine)) for machine in range(HANDFUL)]
    done, _, moved = visit(stick, local, few)
    assert there(stick) == sorted(item.file.name for item in few)
    assert all(not each.already and not each.container and each.error is None for each in done)
    assert sum(moved) == 2 * sum(item.file.size for item in few)
    many = [cargo_of(local, result_for(machine)) for machine in range(100, 100 + MANY)]
    done, _, moved = visit(stick, local, many)
    (box,) = {each.container for each in done}
    assert there(stick) == sorted([*(item.file.name for item in few), box])
    with (ours(stick, TO) / box).open("rb") as file:
        found = container.read(file, (ours(stick, TO) / box).stat().st_size)
        assert [entry.name for entry in found] == sorted(item.file.name for item in many)
    assert sum(moved) == 2 * (ours(stick, TO) / box).stat().st_size
    assert f"{box}/{many[0].file.name}" in log(stick)


def test_what_lies_there_is_not_put_there_again_packed_or_not(stick: Path, local: Path) -> None:
    many = [cargo_of(local, result_for(machine)) for machine in range(MANY)]
    visit(stick, local, many)
    before = {path.name: path.stat() for path in ours(stick, TO).iterdir()}
    lines = log(stick)
    done, _, moved = visit(stick, local, many[:3])
    assert [each.already for each in done] == [True] * 3
    assert {each.container for each in done} == set(before), "they lie in the container that has all"
    assert sum(moved) == 2 * sum(item.file.size for item in many[:3])
    assert {path.name: path.stat().st_mtime_ns for path in ours(stick, TO).iterdir()} == {
        name: status.st_mtime_ns for name, status in before.items()
    }
    assert log(stick) == lines


def test_what_is_packed_is_made_durable_before_it_counts(
    stick: Path, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [cargo_of(local, result_for(machine)) for machine in range(MANY)]
    done, _, _ = visit(stick, local, many)
    synced: list[str] = []
    known = LocalFiles.sync_name
    monkeypatch.setattr(
        LocalFiles, "sync_name", lambda self, folder, name: (synced.append(name), known(self, folder, name))[1]
    )
    visit(stick, local, many)
    assert synced == [done[0].container], "once, although many lie in it"


def test_a_newer_result_goes_by_itself_and_takes_the_older_one_s_place(stick: Path, local: Path) -> None:
    old = [cargo_of(local, result_for(machine)) for machine in range(2)]
    visit(stick, local, old)
    new = [cargo_of(local, result_for(machine, 18)) for machine in range(2 + MANY)]
    done, _, _ = visit(stick, local, new)
    by_name = {each.cargo.file.name: each for each in done}
    for item in new[:2]:
        assert by_name[item.file.name].container == ""
        assert (ours(stick, TO) / item.file.name).read_bytes() == item.file.path.read_bytes()
    assert all(by_name[item.file.name].container for item in new[2:])
    assert len(there(stick)) == 3


def test_an_older_or_foreign_file_of_the_name_stays_and_the_others_are_carried(stick: Path, local: Path) -> None:
    visit(stick, local, [cargo_of(local, result_for(0, 18))])
    (ours(stick, TO) / name_of(1, ".txt")).write_bytes(b"somebody's notes")
    (ours(stick, TO) / name_of(2, ".txt")).symlink_to(local)
    done, _, _ = visit(stick, local, [cargo_of(local, result_for(machine, 17)) for machine in range(4)])
    assert [type(each.error) for each in done] == [NameTaken, NameTaken, ForeignObject, type(None)]
    assert (ours(stick, TO) / name_of(1, ".txt")).read_bytes() == b"somebody's notes"
    assert (ours(stick, TO) / name_of(3, ".txt")).is_file()


def test_a_newer_file_in_a_container_does_not_hinder_a_newer_one_by_itself(stick: Path, local: Path) -> None:
    visit(stick, local, [cargo_of(local, result_for(machine)) for machine in range(MANY)])
    done, _, _ = visit(stick, local, [cargo_of(local, result_for(0, 18))])
    assert [(each.already, each.container, each.error) for each in done] == [(False, "", None)]
    with read(stick, local) as harvest:
        numbers = [seen.facts.number for seen in harvest.of("result") if seen.facts and seen.name == name_of(0, ".txt")]
    assert numbers == [17, 18], "whoever takes them goes by the number"


def test_a_damaged_container_of_the_same_files_is_left_and_they_go_without_one(stick: Path, local: Path) -> None:
    many = [cargo_of(local, result_for(machine)) for machine in range(MANY)]
    done, _, _ = visit(stick, local, many)
    box = ours(stick, TO) / done[0].container
    data = bytearray(box.read_bytes())
    data[600] ^= 1
    box.write_bytes(data)
    done, _, _ = visit(stick, local, many)
    assert [each.error for each in done] == [None] * MANY
    assert there(stick) == sorted([box.name, *(item.file.name for item in many)])
    assert box.read_bytes() == data


def test_a_container_that_broke_off_is_replaced(stick: Path, local: Path) -> None:
    many = [cargo_of(local, result_for(machine)) for machine in range(MANY)]
    done, _, _ = visit(stick, local, many)
    box = ours(stick, TO) / done[0].container
    whole = box.read_bytes()
    box.write_bytes(whole[:5000])
    done, _, _ = visit(stick, local, many)
    assert box.read_bytes() == whole
    assert there(stick) == [box.name]


def test_a_folder_that_is_none_fails_the_visit_by_its_name_and_once(stick: Path, local: Path) -> None:
    ours(stick, TO).rmdir()
    ours(stick, TO).write_bytes(b"")
    with pytest.raises(ForeignObject) as caught:
        visit(stick, local, [cargo_of(local, result_for(machine)) for machine in range(2)])
    assert caught.value.context["name"] == "TAXFERRY/to-offline"


def test_what_was_carried_before_the_stick_was_full_was_told(
    stick: Path, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cargo = [cargo_of(local, result_for(machine)) for machine in range(3)]
    monkeypatch.setattr(
        LocalFiles,
        "free_bytes",
        lambda _self, folder: 0 if name_of(1, ".txt") in {p.name for p in folder.path.iterdir()} else 1 << 30,
    )
    told: list[str] = []

    def carry_all(opened: Stick, harvest: reading.Harvest) -> None:
        for each in carry(opened, harvest, cargo, TO, now=NOW, advanced=lambda _: None):
            told.append(each.cargo.file.name)  # noqa: PERF401  one by one, as a visit writes them down

    with Stick.open(stick, station=STATION) as opened, read(stick, local) as harvest, pytest.raises(MediumFull):
        carry_all(opened, harvest)
    assert told == there(stick) == [name_of(0, ".txt"), name_of(1, ".txt")]


def test_nothing_is_carried_onto_a_medium_without_the_marker(tmp_path: Path, local: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    cargo = [cargo_of(local, result_for())]
    with Stick.open(bare, station=STATION, unprepared=True) as opened, read(bare, local) as harvest:
        left = carry(opened, harvest, cargo, TO, now=NOW, advanced=lambda _: None)
        with pytest.raises(MediumUnprepared):
            list(left)
    assert list(bare.iterdir()) == []


def test_a_thousand_files_are_one_container(stick: Path, local: Path) -> None:
    path = local / "one"
    path.write_bytes(b"x")
    sha256 = hashlib.sha256(b"x").hexdigest()
    facts = Facts(kind="result", stem=f"{TAXPAYER}_0_202608010000", card_no="TC", number=1, digest="a" * 64)
    many = [Cargo(Outgoing(path, name_of(n, ".txt"), sha256, 1), facts) for n in range(1000)]
    done, _, _ = visit(stick, local, many)
    assert len({each.container for each in done}) == 1


# Tidying


def test_a_file_goes_when_it_is_finished_and_nothing_else_does(stick: Path, local: Path) -> None:
    visit(stick, local, [cargo_of(local, result_for(machine)) for machine in range(3)])
    (ours(stick, TO) / name_of(4, ".txt")).write_bytes(b"rubbish")
    (stick / "photo.jpg").write_bytes(b"x")
    _, removed, _ = visit(stick, local, [], lambda seen: seen.name != name_of(1, ".txt") and seen.facts is not None)
    assert removed == [name_of(0, ".txt"), name_of(2, ".txt")]
    assert there(stick) == [name_of(1, ".txt"), name_of(4, ".txt")]
    assert (stick / "photo.jpg").exists()


def test_a_container_goes_only_when_every_member_is_finished(stick: Path, local: Path) -> None:
    many = [cargo_of(local, result_for(machine)) for machine in range(MANY)]
    done, _, _ = visit(stick, local, many)
    _, removed, _ = visit(stick, local, [], lambda seen: seen.name != name_of(3, ".txt"))
    assert (removed, there(stick)) == ([], [done[0].container])
    _, removed, _ = visit(stick, local, [], lambda _: True)
    assert removed == sorted(item.file.name for item in many)
    assert there(stick) == []


def test_a_container_with_others_results_is_not_removed_by_one_machine(stick: Path, local: Path) -> None:
    """STICK-10: one machine of an agency has cleared and sees only its own member; eleven have not."""
    done, _, _ = visit(stick, local, [cargo_of(local, result_for(machine)) for machine in range(12)])
    _, removed, _ = visit(stick, local, [], lambda _: True, machines=[f"{TAXPAYER}_3"])
    assert (removed, there(stick)) == ([], [done[0].container])


def test_a_damaged_container_is_nobody_s_to_remove(stick: Path, local: Path) -> None:
    done, _, _ = visit(stick, local, [cargo_of(local, result_for(machine)) for machine in range(MANY)])
    box = ours(stick, TO) / done[0].container
    box.write_bytes(box.read_bytes()[:-100])
    _, removed, _ = visit(stick, local, [], lambda _: True)
    assert (removed, there(stick)) == ([], [box.name])


def test_what_changed_after_it_was_read_is_not_removed(stick: Path, local: Path) -> None:
    visit(stick, local, [cargo_of(local, result_for(machine)) for machine in range(2)])
    with Stick.open(stick, station=STATION) as opened, read(stick, local) as harvest:
        path = ours(stick, TO) / name_of(0, ".txt")
        path.write_bytes(bytes(path.stat().st_size))
        assert tidy(opened, harvest, lambda _: True) == [name_of(1, ".txt")]
    assert there(stick) == [name_of(0, ".txt")]


def test_a_trust_file_goes_by_itself_so_that_a_container_can_go(stick: Path, local: Path) -> None:
    path = local / "trust.txt"
    path.write_bytes(texts.signed_trust(texts.trust_file()))
    trust = Cargo(Outgoing.of(path, "trust.txt"), Facts(kind="trust", number=1))
    many = [cargo_of(local, result_for(machine, bureau_time=NOW - timedelta(days=1))) for machine in range(MANY)]
    visit(stick, local, [*many, trust])
    assert "trust.txt" in there(stick)
    _, removed, _ = visit(stick, local, [], lambda seen: seen.suffix == ".txt")
    assert len(removed) == MANY
    assert there(stick) == ["trust.txt"]
