"""Hostile sticks: whatever lies on one, both stations end soon, open nothing that is not theirs, and take what is good.

A folder on a file system that allows every nasty object stands for the stick.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import pytest
import zstandard

from offline_station.shell import visit as offline_visit
from offline_station.shell.home import Home as OfflineHome
from offline_station.shell.station import Station
from online_station.shell import visit as online_visit
from online_station.shell.setup import opened, read_settings
from online_station.shell.trust import Trust
from shared.clock import FixedClock
from shared.errors import (
    CertificateRefused,
    ForeignObject,
    MediumError,
    MediumUnprepared,
    NameContradicts,
    StillProcessing,
    TaxferryError,
)
from shared.ids import MachineNo
from shared.medium import Direction, Stick, container
from shared.medium.names import PartName, station_tag
from tests.support.forge import Forge
from tests.support.hostile import LONG_AGO, ODDITIES, TRAPS, Trap, scatter, set_traps, snapshot
from tests.support.offline import answer, new_station
from tests.support.online import Desk, desk, make_report
from tests.support.pki import NOW, OTHER_TAXPAYER, TAXPAYER, foreign_pki, pki

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="platform: sticks as POSIX shows them")

LONGEST_SECONDS = 20
"""For one visit, on a machine that has much else to do: each takes about a second."""
STEM = f"{TAXPAYER}_0_202608010000"


@dataclass
class Seen:
    """What a visit came to, whichever station made it."""

    taken: list[str]
    complaints: list[TaxferryError]
    foreign: int
    failure: MediumError | None = None
    warnings: list[Any] = field(default_factory=list)

    def codes(self) -> list[str]:
        return sorted(error.code for error in self.complaints)


class Side(Protocol):
    """One of the two stations, with a stick."""

    stick: Path
    suffix: str
    quarantine: Path

    @property
    def ours(self) -> Path: ...

    def visit(self) -> Seen: ...

    def good(self) -> bytes: ...

    def arrived(self) -> list[str]: ...


def _prepared(root: Path) -> Path:
    folder = root / "U 盘"
    folder.mkdir()
    with Stick.prepare(folder, "财务", station="someone", now=NOW):
        pass
    return folder


class Offline:
    suffix = ".txt"

    def __init__(self, root: Path, station: Station) -> None:
        self.stick, self.station = _prepared(root), station
        self.quarantine = station.home.quarantine
        self.copy = station.card.open_copy()

    @property
    def ours(self) -> Path:
        return self.stick / "TAXFERRY" / "to-offline"

    def visit(self) -> Seen:
        done = offline_visit.sync(self.station, self.stick)
        problem = done.problem
        assert problem is None or isinstance(problem, MediumError)
        return Seen(done.taken, [r.error for r in done.refused], done.foreign, problem, done.warnings)

    def good(self) -> bytes:
        assert self.copy is not None
        return answer(self.copy)

    def arrived(self) -> list[str]:
        return sorted(path.name for path in self.station.inbox.iterdir())


class Online:
    suffix = ".dat"

    def __init__(self, root: Path, station: Desk) -> None:
        self.stick, self.desk = _prepared(root), station
        self.quarantine = station.home.quarantine
        self.data = make_report(0)[0]

    @property
    def ours(self) -> Path:
        return self.stick / "TAXFERRY" / "to-online"

    def visit(self) -> Seen:
        with opened(self.desk.home) as store:
            settings = read_settings(self.desk.home, store)
            now = self.desk.clock.now()
            done = online_visit.synchronise(
                self.stick,
                station=settings.station_id,
                home=self.desk.home,
                store=store,
                trust=Trust(self.desk.home.trust, now),
                inbox=settings.inbox,
                now=now,
            )
        return Seen(done.taken, done.problems, done.foreign, done.failure, done.warnings)

    def good(self) -> bytes:
        return self.data

    def arrived(self) -> list[str]:
        return sorted(path.name for path in self.desk.inbox.iterdir())


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = new_station(tmp_path_factory.mktemp("template"), FixedClock(NOW))
    with Station.open(home, FixedClock(NOW)) as station:
        station.copy(kind="period")
        station.report()
    return home.root


@pytest.fixture
def offline(tmp_path: Path, template: Path) -> Iterator[Offline]:
    home = OfflineHome(Path(shutil.copytree(template, tmp_path / "home")))
    with Station.open(home, FixedClock(NOW)) as station:
        yield Offline(tmp_path, station)


@pytest.fixture
def online(tmp_path: Path) -> Iterator[Online]:
    with desk(tmp_path) as made:
        yield Online(tmp_path, made)


@pytest.fixture(params=["offline", "online"])
def side(request: pytest.FixtureRequest) -> Side:
    found: Side = request.getfixturevalue(request.param)
    return found


def numbered(side: Side, count: int) -> list[str]:
    """Return as many names of ours, all of this machine, as Explorer makes them."""
    return [f"{STEM} ({number}){side.suffix}" for number in range(1, count + 1)]


def within_bounds(visit: Callable[[], Seen]) -> Seen:
    start = time.monotonic()
    done = visit()
    assert time.monotonic() - start < LONGEST_SECONDS
    return done


# What is no ordinary file


def test_what_is_no_ordinary_file_is_named_and_left_and_the_good_file_comes_over(side: Side, tmp_path: Path) -> None:
    outside = tmp_path / "outside" / f"{STEM}{side.suffix}"
    outside.parent.mkdir()
    outside.write_bytes(side.good())
    os.utime(outside, (LONG_AGO, LONG_AGO))
    used = set_traps(side.ours, numbered(side, len(TRAPS)), outside)
    roots = set_traps(side.stick, numbered(side, len(TRAPS)), outside)
    (side.ours / f"{STEM}{side.suffix}").write_bytes(side.good())
    before = snapshot(side.stick), snapshot(outside.parent)
    done = within_bounds(side.visit)
    assert side.arrived() == [f"{STEM}{side.suffix}"]
    assert sorted(str(e.context["name"]) for e in done.complaints) == sorted([*used, *roots])
    assert {type(e) for e in done.complaints} == {ForeignObject}
    after = snapshot(side.stick)
    for name in used:
        path = str(side.ours / name)
        assert after[path] == before[0][path], name
    assert snapshot(outside.parent) == before[1], "nobody followed a link"


def test_what_is_not_ours_is_counted_never_opened_and_left(side: Side) -> None:
    for folder in (side.stick, side.ours):
        scatter(folder)
    (side.stick / f"{STEM}{side.suffix}").write_bytes(side.good())
    before = snapshot(side.stick)
    done = within_bounds(side.visit)
    assert side.arrived() == [f"{STEM}{side.suffix}"]
    assert done.complaints == []
    assert done.foreign == 2 * (len(ODDITIES) + 4)
    after = snapshot(side.stick)
    foreign = [path for path in before if "TAXFERRY" not in path or str(side.ours) + "/" in path]
    foreign.remove(str(side.stick / f"{STEM}{side.suffix}"))
    assert {path: after.get(path) for path in foreign} == {path: before[path] for path in foreign}


@pytest.mark.parametrize(
    ("place", "make"),
    [
        ("TAXFERRY", "link"),
        ("to-online", "link"),
        ("to-offline", "link"),
        ("to-online", "pipe"),
        ("to-offline", "file"),
    ],
)
def test_a_folder_of_ours_that_is_none_is_not_followed(side: Side, tmp_path: Path, place: str, make: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    path = side.stick / "TAXFERRY" if place == "TAXFERRY" else side.stick / "TAXFERRY" / place
    shutil.copytree(path, elsewhere)
    shutil.rmtree(path)
    if make == "link":
        path.symlink_to(elsewhere, target_is_directory=True)
    elif make == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(b"a file")
    for folder in (elsewhere, elsewhere / side.ours.name):
        if folder.is_dir():
            (folder / f"{STEM} (7){side.suffix}").write_bytes(b"bait")
    (side.stick / f"{STEM}{side.suffix}").write_bytes(side.good())
    before = snapshot(elsewhere)
    done = within_bounds(side.visit)
    assert side.arrived() == [f"{STEM}{side.suffix}"], "the root is read all the same"
    assert snapshot(elsewhere) == before
    assert not any("(7)" in str(e) for e in done.complaints)
    if place == "TAXFERRY":
        assert done.failure is None or isinstance(done.failure, MediumUnprepared)
    else:
        assert [str(e.context["name"]) for e in done.complaints] == [f"TAXFERRY/{place}"], "said once"
        assert done.failure is None or isinstance(done.failure, ForeignObject)


# Sizes, numbers, names


def test_sparse_giants_and_empty_files_are_named_and_cost_no_time(side: Side) -> None:
    giant, empty, container = (f"{STEM} (1){side.suffix}", f"{STEM} (2){side.suffix}", f"batch-{'0' * 16}.tar")
    for name, size in ((giant, 1 << 40), (empty, 0), (container, 1 << 40)):
        with (side.ours / name).open("wb") as file:
            file.truncate(size)
    (side.ours / f"{STEM}{side.suffix}").write_bytes(side.good())
    done = within_bounds(side.visit)
    assert side.arrived() == [f"{STEM}{side.suffix}"]
    assert sorted(str(e.context["name"]) for e in done.complaints) == sorted([giant, empty, container])


def test_rubbish_under_our_names_fills_no_disk(side: Side) -> None:
    limit = 65536 if side.suffix == ".txt" else 16 << 20
    for number in range(6):
        with (side.ours / f"{STEM} ({number + 1}){side.suffix}").open("wb") as file:
            file.write(b"%d" % number)
            file.truncate(limit)
    done = within_bounds(side.visit)
    assert len(done.complaints) == 6
    kept = sum(path.stat().st_size for path in side.quarantine.iterdir())
    assert kept <= (64 << 20) + 6 * 1000


def test_a_hundred_thousand_entries_do_not_hide_that_not_all_was_looked_at(online: Online) -> None:
    here = os.open(online.ours, os.O_RDONLY)
    for number in range(100_000):
        os.mknod(f"{number:06}.tmp", dir_fd=here)
    os.close(here)
    (online.ours / f"{STEM}.dat").write_bytes(online.good())
    (online.stick / f"{STEM} (1).dat").write_bytes(online.good())
    done = within_bounds(online.visit)
    assert online.arrived() == [f"{STEM}.dat"]
    assert any("没有看完" in line.zh for line in done.warnings)
    shutil.rmtree(online.stick)


def test_more_files_of_ours_than_anyone_has_are_told_about(side: Side) -> None:
    for number in range(2_001):
        (side.ours / f"{STEM} ({number % 999 + 1}){'副本' * (number // 999)}{side.suffix}").touch()
    done = within_bounds(side.visit)
    assert any("没有看完" in line.zh for line in done.warnings)


def test_names_that_differ_only_in_case_or_blanks_are_one_file_and_come_over_once(side: Side) -> None:
    for name in (
        f"{STEM}{side.suffix}",
        f"{STEM}{side.suffix.upper()}",
        f" {STEM}{side.suffix}\n",
        f"{STEM} - 副本{side.suffix}",
    ):
        (side.ours / name).write_bytes(side.good())
    done = within_bounds(side.visit)
    assert side.arrived() == [f"{STEM}{side.suffix}"]
    assert done.complaints == []
    assert done.taken == [f"{STEM}{side.suffix}"]


def test_a_second_name_of_a_file_is_a_file_like_any_other(side: Side) -> None:
    path = side.stick / "photo.jpg"
    path.write_bytes(side.good())
    os.link(path, side.ours / f"{STEM}{side.suffix}")
    within_bounds(side.visit)
    assert side.arrived() == [f"{STEM}{side.suffix}"]
    assert path.read_bytes() == side.good()


# What cannot be believed


def why(side: Side) -> dict[str, str]:
    """Return the texts in the quarantine by the names of the files beside them."""
    texts = {path.name: path.read_text(encoding="utf-8-sig") for path in side.quarantine.glob("*.why.txt")}
    assert sorted(name.removesuffix(".why.txt") for name in texts) == sorted(
        path.name for path in side.quarantine.iterdir() if not path.name.endswith(".why.txt")
    )
    return texts


def test_what_proves_nothing_is_kept_once_with_a_reason_that_people_can_read(side: Side) -> None:
    good = side.good()
    bad = {
        f"{STEM} (1){side.suffix}": good[: len(good) // 2],
        f"{STEM} (2){side.suffix}": good[:-20] + bytes(20),
        f"{STEM} (3){side.suffix}": b"\x00" * 5000,
        f"{STEM} (4){side.suffix}": b"MZ\x90\x00" + os.urandom(5000),
    }
    for name, data in bad.items():
        (side.ours / name).write_bytes(data)
    (side.ours / f"{STEM}{side.suffix}").write_bytes(good)
    first = within_bounds(side.visit)
    assert side.arrived() == [f"{STEM}{side.suffix}"]
    assert len(first.complaints) == len(bad)
    texts = why(side)
    assert len(texts) == len(bad)
    for text in texts.values():
        assert all(word in text for word in ("文件：", "时间：", "原因：", "数据：", "办法："))
        assert len(text.strip().splitlines()) == 5
    before = snapshot(side.quarantine)
    within_bounds(side.visit)
    assert snapshot(side.quarantine) == before, "the same content is not set aside again"
    assert all((side.ours / name).read_bytes() == data for name, data in bad.items()), "the stick is left as it is"


def test_a_name_of_several_lines_writes_no_lines_into_the_reason(side: Side) -> None:
    (side.ours / f"{STEM}{side.suffix}\n\u2028").write_bytes(b"nothing")
    within_bounds(side.visit)
    (text,) = why(side).values()
    assert len(text.strip().splitlines()) == 5


def test_the_longest_names_that_a_stick_can_hold_are_set_aside_like_others(side: Side) -> None:
    marks = "副本" * 36
    names = [f"{STEM}{marks}{side.suffix}", f"{STEM}{marks}{side.suffix.upper()}"]
    assert {len(os.fsencode(name)) for name in names} == {250}
    for number, name in enumerate(names):
        (side.ours / name).write_bytes(b"nothing %d" % number)
    (side.ours / f"{STEM}{side.suffix}").write_bytes(side.good())
    done = within_bounds(side.visit)
    assert len(done.complaints) == len(why(side)) == 2
    assert side.arrived() == [f"{STEM}{side.suffix}"]


def test_a_wrong_identity_is_refused_whatever_the_name_says(online: Online) -> None:
    other = STEM.replace("_0_", "_3_")
    (online.ours / f"{other}.dat").write_bytes(online.good())
    (online.ours / f"{STEM}.ack").write_bytes(online.good())
    (online.ours / f"{STEM}.txt").write_bytes(online.good())
    foreign = make_report(0, foreign_pki())[0]
    (online.ours / f"{STEM} (1).dat").write_bytes(foreign)
    done = within_bounds(online.visit)
    assert online.arrived() == []
    assert len(done.complaints) == 3, "the .txt is for the invoicing PCs to judge"
    assert {type(e) for e in done.complaints} >= {NameContradicts}
    assert any(isinstance(e, CertificateRefused) for e in done.complaints)
    contradicts = next(e for e in done.complaints if isinstance(e, NameContradicts))
    assert "3" in contradicts.text.zh
    assert "主机" in contradicts.text.zh, "both identities are shown"


def test_other_people_s_results_and_a_y_are_no_results_of_ours(offline: Offline) -> None:
    assert offline.copy is not None
    good = offline.good()
    (offline.ours / f"{OTHER_TAXPAYER}_0_202608010000.txt").write_bytes(good)
    (offline.ours / f"{STEM.replace('_0_', '_1_')}.txt").write_bytes(good)
    (offline.ours / f"{STEM} (1).txt").write_bytes(b"Y\r\n")
    renamed = replace(offline.copy.name, machine_no=MachineNo(4))
    (offline.ours / f"{STEM} (2).txt").write_bytes(answer(offline.copy, name=renamed))
    (offline.ours / f"{STEM} (3).txt").write_bytes(answer(offline.copy, signer=foreign_pki().bureau_result))
    before = snapshot(offline.ours)
    done = within_bounds(offline.visit)
    assert offline.arrived() == []
    assert {type(e) for e in done.complaints} == {StillProcessing, NameContradicts, CertificateRefused}
    assert len(why(offline)) == 2, "a Y says nothing that anybody would keep"
    after = snapshot(offline.ours)
    others = [path for path in before if "(" not in path]
    assert {p: after[p] for p in others} == {p: before[p] for p in others}, "other machines' files are not opened"


def test_what_is_packed_with_a_bomb_is_never_unpacked_here(online: Online) -> None:
    """The Internet PC proves the signature over a report and has no key to what is inside: nothing can unfold."""
    bomb = BombForge(signer=pki().card(key_type="p256"))
    data = bomb.report()
    assert len(data) < 100_000
    (online.ours / f"{STEM}.dat").write_bytes(data)
    done = within_bounds(online.visit)
    assert done.complaints == []
    assert online.arrived() == [f"{STEM}.dat"], "properly signed: the bureau, which unpacks within bounds, refuses it"


class BombForge(Forge):
    """A report by a real card whose content unfolds to 256 MiB."""

    def frame(self, _content: bytes) -> bytes:
        return zstandard.ZstdCompressor(level=3).compress(bytes(256 << 20))


# Containers


def packed(folder: Path, members: dict[str, bytes], direction: Direction) -> Path:
    """Put a container of ours into a folder."""
    made = container.plan(
        [container.Member(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in members.items()],
        direction,
    )
    path = folder / made.name
    with path.open("wb") as file:
        container.write(made, lambda member: io.BytesIO(members[member.name]), file.write)
    return path


def reports(count: int) -> dict[str, bytes]:
    return {STEM.replace("_0_", f"_{n}_") + ".dat": make_report(n)[0] for n in range(count)}


def test_whole_members_of_a_broken_container_come_over_and_the_break_is_told(online: Online) -> None:
    members = reports(3)
    path = packed(online.ours, members, Direction.TO_ONLINE)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    done = within_bounds(online.visit)
    assert done.codes() == ["B3505"]
    assert 1 <= len(online.arrived()) < 3
    assert path.exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:100],
        lambda data: data[:124] + b"77777777777\0" + data[136:],
        lambda data: data[:124] + b"00000000000\0" + data[136:],
        lambda data: data[:156] + b"2" + data[157:],
        lambda data: b"../../../../etc/cron.d/x".ljust(100, b"\0") + data[100:],
        lambda data: data + bytes(512),
        lambda data: os.urandom(4096),
        lambda data: zstandard.ZstdCompressor().compress(data),
        lambda data: data[:-1024],
    ],
    ids=["empty", "short", "size", "no size", "link", "path", "more", "noise", "packed again", "no end"],
)
def test_what_is_no_container_of_ours_is_named_and_the_good_file_comes_over(
    offline: Offline, spoil: Callable[[bytes], bytes]
) -> None:
    good = offline.good()
    path = packed(offline.ours, {f"{STEM}.txt": good}, Direction.TO_OFFLINE)
    path.write_bytes(spoil(path.read_bytes()))
    (offline.stick / f"{STEM}.txt").write_bytes(good)
    done = within_bounds(offline.visit)
    assert offline.arrived() == [f"{STEM}.txt"]
    assert [e.code for e in done.complaints] in (["B3505"], ["B3503"])


def test_a_container_of_other_kinds_gives_only_what_is_for_this_station(offline: Offline) -> None:
    assert offline.copy is not None
    sub = replace(offline.copy.name, machine_no=MachineNo(1))
    members = {f"{STEM}.txt": offline.good(), sub.file_name(".txt"): answer(offline.copy, name=sub)}
    packed(offline.ours, members, Direction.TO_OFFLINE)
    packed(offline.ours, reports(2), Direction.TO_ONLINE)
    done = within_bounds(offline.visit)
    assert (offline.arrived(), done.complaints) == ([f"{STEM}.txt"], [])


# What stands where we write


def test_a_marker_that_cannot_be_believed_lets_nobody_write(online: Online) -> None:
    identity = online.stick / "TAXFERRY" / "stick.json"
    good = json.loads(identity.read_bytes())
    secret = online.stick.parent / "secret.json"
    secret.write_text(json.dumps(good))
    (online.stick / f"{STEM}.dat").write_bytes(online.good())
    wrong: list[object] = [
        b"{" + b" " * (1 << 20) + b"}",
        b"[" * 4000,
        b'{"id": NaN}',
        {**good, "id": 7},
        {**good, "id": good["id"].upper()},
        {**good, "id": good["id"] + "\n"},
        {**good, "label": ["x"]},
        {**good, "station": None},
        [good],
        b"\xff\xfe{}",
        None,
    ]
    for content in wrong:
        identity.unlink()
        if content is None:
            identity.symlink_to(secret)
        else:
            identity.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        with pytest.raises(MediumUnprepared), Stick.open(online.stick, station="x"):
            pass
    done = within_bounds(online.visit)
    assert online.arrived() == [f"{STEM}.dat"], "it is read like any medium without the marker"
    assert list((online.stick / "TAXFERRY" / "to-offline").iterdir()) == []
    assert done.failure is None
    identity.unlink()
    identity.write_text(
        json.dumps({**good, "label": "\x1b[2J\u202eab\ud800\n" + "长" * 100, "made_at": "\ud800" * 100})
    )
    with Stick.open(online.stick, station="x") as stick:
        assert stick.identity is not None
        assert stick.identity.label == "[2Jab " + "长" * 34
        assert json.dumps(vars(stick.identity), ensure_ascii=False).encode()


@pytest.mark.parametrize("trap", [t for t in TRAPS if t.name != "device"], ids=lambda trap: trap.name)
def test_a_transfer_log_that_is_no_file_stops_nothing(online: Online, tmp_path: Path, trap: Trap) -> None:
    digest = online.desk.report()
    online.desk.once()
    online.desk.bureau.succeed(digest)
    online.desk.ask_now()
    outside = tmp_path / "outside" / "log.csv"
    outside.parent.mkdir()
    outside.write_text("theirs")
    trap.make(online.stick / "TAXFERRY" / "transfer-log.csv", outside)
    done = within_bounds(online.visit)
    assert done.failure is None
    assert (online.stick / "TAXFERRY" / "to-offline" / f"{STEM}.txt").is_file()
    assert outside.read_text() == "theirs"


@pytest.mark.parametrize("trap", [t for t in TRAPS if t.name != "device"], ids=lambda trap: trap.name)
def test_our_own_names_taken_by_links_and_pipes_stop_only_what_has_them(
    online: Online, tmp_path: Path, trap: Trap
) -> None:
    digests = [online.desk.report(machine) for machine in (0, 1)]
    online.desk.once()
    for digest in digests:
        online.desk.bureau.succeed(digest)
    online.desk.ask_now()
    outside = tmp_path / "outside" / "file"
    outside.parent.mkdir()
    outside.write_text("theirs")
    folder = online.stick / "TAXFERRY" / "to-offline"
    taken = folder / f"{STEM}.txt"
    trap.make(taken, outside)
    done = within_bounds(online.visit)
    assert done.failure is None
    assert (folder / f"{STEM.replace('_0_', '_1_')}.txt").is_file()
    assert (folder / "trust.txt").is_file()
    assert any(e.context.get("name") == taken.name for e in done.complaints)
    assert not taken.is_file() or taken.is_symlink()
    assert outside.read_text() == "theirs"


def test_a_part_of_ours_that_is_a_link_is_not_written_through(online: Online, tmp_path: Path) -> None:
    digest = online.desk.report()
    online.desk.once()
    online.desk.bureau.succeed(digest)
    online.desk.ask_now()
    outside = tmp_path / "outside"
    outside.write_text("theirs")
    with opened(online.desk.home) as store:
        station = station_tag(read_settings(online.desk.home, store).station_id)
        number = store.report(digest).snapshot.result_no  # type: ignore[union-attr]
    content = online.desk.home.result_file(digest, number).read_bytes()  # type: ignore[arg-type]
    part = PartName(f"{STEM}.txt", hashlib.sha256(content).hexdigest()[:8], station)
    folder = online.stick / "TAXFERRY" / "to-offline"
    (folder / str(part)).symlink_to(outside)
    done = within_bounds(online.visit)
    assert outside.read_text() == "theirs"
    assert done.failure is None
    assert (folder / f"{STEM}.txt").read_bytes() == content
    assert not os.path.lexists(folder / str(part)), "it had our name: it is a part of ours that came to nothing"
