"""What the reading process finds on a stick, copies and proves (inside the test's own process)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.ids import Nonce
from shared.medium import Direction, reader
from tests.support import texts
from tests.support.online import make_report
from tests.support.pki import TAXPAYER, foreign_pki, pki
from tests.support.sticks import container_of, file_of, name_of, ours, prepared, request, result_for, stem


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    return prepared(tmp_path / "U 盘")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def read(stick: Path, scratch: Path, **changes: Any) -> list[dict[str, Any]]:
    asked = request(stick, scratch, **changes).model_dump(mode="json")
    messages = list(reader.work(asked))
    assert json.loads(json.dumps(messages)) == json.loads(json.dumps(messages, ensure_ascii=True))
    return messages


def files(messages: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {f"{m.get('container', '')}/{m['name']}".strip("/"): m for m in messages if m["event"] == "file"}


def put(stick: Path, name: str, data: bytes, direction: Direction = Direction.TO_ONLINE) -> str:
    (ours(stick, direction) / name).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def test_the_listing_comes_first_and_every_file_is_proven_and_copied_under_a_number(stick: Path, scratch: Path) -> None:
    report, made = make_report(0)
    name, text = file_of(result_for())
    ack = texts.signed_ack(texts.ack_of(result_for()), by=pki().card(key_type="p256"))
    trust = texts.signed_trust(texts.trust_file())
    put(stick, name_of(0, ".dat"), report)
    put(stick, name_of(0, ".ack"), ack)
    put(stick, name, text, Direction.TO_OFFLINE)
    put(stick, "trust.txt", trust, Direction.TO_OFFLINE)
    (stick / "photo.jpg").write_bytes(b"x")
    messages = read(stick, scratch)
    listing = messages[0]
    assert (listing["event"], listing["foreign"], listing["others"]) == ("listing", 1, 0)
    assert listing["identity"] == json.loads((stick / "TAXFERRY" / "stick.json").read_text())["id"]
    assert listing["total_bytes"] == sum(map(len, (report, ack, text, trust)))
    found = files(messages)
    facts = {key: value["facts"] for key, value in found.items()}
    assert facts[name_of(0, ".dat")]["digest"] == made.digest
    assert facts[name_of(0, ".dat")]["number"] == 7
    assert {f["kind"] for f in facts.values()} == {"report", "result", "ack", "trust"}
    assert facts["trust.txt"]["stem"] == ""
    assert len({facts[name]["body_sha256"], facts[name_of(0, ".ack")]["body_sha256"], ""}) == 3
    copies = {key: value["copied"] for key, value in found.items()}
    assert copies["trust.txt"] == "", "not asked for"
    kept = {path.name: path.read_bytes() for path in scratch.iterdir()}
    assert kept == {copies[name_of(0, ".dat")]: report, copies[name_of(0, ".ack")]: ack, copies[name]: text}
    assert all(set(each) <= set("0123456789abcdef") for each in kept), "a stick gives no names to local files"


def test_what_is_known_is_not_copied(stick: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report, made = make_report(0)
    sha256 = put(stick, name_of(0, ".dat"), report)
    known = {"known": (sha256,), "known_sizes": (len(report),)}
    (found,) = files(read(stick, scratch, **known)).values()
    assert (found["copied"], found["sha256"], found["facts"]["digest"]) == ("", sha256, made.digest)
    monkeypatch.setattr(reader, "_LARGE", 1)
    (found,) = files(read(stick, scratch, **known)).values()
    assert (found["copied"], found["sha256"]) == ("", sha256)
    assert "facts" not in found, "a large one is read once, for its SHA-256 alone"
    assert list(scratch.iterdir()) == []
    other = make_report(0, nonce=Nonce("1" * 32))[0]
    put(stick, name_of(0, ".dat"), other)
    (found,) = files(read(stick, scratch, known=(sha256,), known_sizes=(len(other),))).values()
    assert found["facts"]["kind"] == "report", "the size alone says nothing"
    assert (scratch / found["copied"]).read_bytes() == other


def test_only_the_wanted_machines_files_are_opened(stick: Path, scratch: Path) -> None:
    for machine in range(3):
        put(stick, *file_of(result_for(machine)), Direction.TO_OFFLINE)
    os.mkfifo(ours(stick, Direction.TO_OFFLINE) / f"{stem(2)} (1).txt")
    put(stick, "trust.txt", texts.signed_trust(texts.trust_file()), Direction.TO_OFFLINE)
    messages = read(stick, scratch, machines=(f"{TAXPAYER}_1",))
    assert messages[0]["others"] == 2
    assert sorted(files(messages)) == [name_of(1, ".txt"), "trust.txt"]
    assert len(list(scratch.iterdir())) == 1
    (scratch / "0").unlink()
    nobody = read(stick, scratch, machines=())
    assert list(files(nobody)) == ["trust.txt"]


def test_a_name_that_contradicts_the_signed_header_is_told_with_both(stick: Path, scratch: Path) -> None:
    data = make_report(0)[0]
    put(stick, name_of(5, ".dat"), data)
    (found,) = files(read(stick, scratch)).values()
    assert "facts" not in found
    assert found["error"]["code"] == "B2208"
    assert (scratch / found["copied"]).read_bytes() == data, "for the quarantine"


def test_what_proves_nothing_is_told_and_kept_within_bounds(
    stick: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_REJECTED", 3000)
    monkeypatch.setattr(reader, "_REJECTED_IN_ALL", 5000)
    for number, size in enumerate((2000, 4000, 2000, 2000, 500), 1):
        put(stick, f"{stem()} ({number}).dat", bytes(size))
    put(stick, name_of(0, ".dat"), make_report(0, foreign_pki())[0])
    found = files(read(stick, scratch))
    assert all("error" in each for each in found.values())
    kept = sorted(path.stat().st_size for path in scratch.iterdir())
    assert len(found) == 6
    assert sum(kept) <= 5000
    assert kept == [500, 2000, 2000]


def test_a_whole_container_is_as_its_members_lying_there(stick: Path, scratch: Path) -> None:
    members = {name_of(machine, ".dat"): make_report(machine)[0] for machine in range(3)}
    name, data = container_of(members, Direction.TO_ONLINE)
    sha256 = put(stick, name, data)
    found = files(read(stick, scratch))
    assert {m: (scratch / found[f"{name}/{m}"]["copied"]).read_bytes() for m in members} == members
    box = found[name]
    assert (box["sha256"], box["size"], box.get("error"), box["others"]) == (sha256, len(data), None, 0)


def test_of_a_damaged_container_the_whole_members_before_the_damage_count(stick: Path, scratch: Path) -> None:
    members = {name_of(machine, ".dat"): make_report(machine)[0] for machine in range(3)}
    name, data = container_of(members, Direction.TO_ONLINE)
    second = data.index(name_of(1, ".dat").encode()) + 512
    for spoiled in (data[: second + 100], data[:second] + b"\0" * 600 + data[second + 600 :], data[:-512]):
        put(stick, name, spoiled)
        for path in scratch.iterdir():
            path.unlink()
        found = files(read(stick, scratch))
        assert found[name]["error"]["code"] == "B3505"
        good = {key for key, each in found.items() if each.get("facts")}
        assert f"{name}/{name_of(0, '.dat')}" in good
        assert f"{name}/{name_of(1, '.dat')}" not in good or spoiled == data[:-512]
        referred = {each["copied"] for each in found.values() if each.get("copied")}
        assert {path.name for path in scratch.iterdir()} == referred, "what broke off leaves no copy"


def test_members_for_others_are_counted_and_not_copied(stick: Path, scratch: Path) -> None:
    name, data = container_of(dict(file_of(result_for(machine)) for machine in range(4)), Direction.TO_OFFLINE)
    put(stick, name, data, Direction.TO_OFFLINE)
    found = files(read(stick, scratch, machines=(f"{TAXPAYER}_2",)))
    assert sorted(found) == sorted([name, f"{name}/{name_of(2, '.txt')}"])
    assert (found[name]["others"], len(list(scratch.iterdir()))) == (3, 1)


def test_progress_goes_on_by_bytes_that_were_read(stick: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_PROGRESS", 1)
    for machine in range(2):
        put(stick, name_of(machine, ".dat"), make_report(machine)[0])
    name, data = container_of({name_of(5, ".dat"): make_report(5)[0]}, Direction.TO_ONLINE)
    put(stick, name, data)
    messages = read(stick, scratch)
    done = [m["done"] for m in messages if m["event"] == "progress"]
    assert done == sorted(done)
    assert 0 < done[-1] <= messages[0]["total_bytes"]


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    if sys.platform == "win32":
        pytest.skip("platform: no such limit")
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_of_this_pc_is_not_said_to_be_the_stick_s(stick: Path, scratch: Path) -> None:
    put(stick, name_of(0, ".dat"), bytes(300_000))
    put(stick, name_of(1, ".dat"), make_report(1)[0])
    name, data = container_of({name_of(2, ".dat"): bytes(300_000), name_of(3, ".dat"): b"x"}, Direction.TO_ONLINE)
    put(stick, name, data)
    with files_of_at_most(100_000):
        found = files(read(stick, scratch))
    assert found[name_of(0, ".dat")]["error"]["code"] == "B3302"
    assert found[name]["error"]["code"] == "B3302"
    assert found[name_of(1, ".dat")]["facts"]["kind"] == "report", "what fits comes over"
    assert len(list(scratch.iterdir())) == 1


def test_no_stick_is_one_message(tmp_path: Path, scratch: Path) -> None:
    (message,) = read(tmp_path / "gone", scratch)
    assert (message["event"], message["error"]["code"]) == ("trouble", "B3001")


def test_a_medium_without_the_marker_is_read_in_its_root(tmp_path: Path, scratch: Path) -> None:
    disc = tmp_path / "disc"
    disc.mkdir()
    (disc / name_of(0, ".dat")).write_bytes(make_report(0)[0])
    messages = read(disc, scratch)
    assert messages[0]["identity"] == ""
    assert [m["place"] for m in messages if m["event"] == "file"] == ["root"]
