"""Two PCs that know nothing of each other, and one stick: nobody types an address, and nobody believes by accident."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.clock import SystemClock
from shared.envelope.roles import fingerprint
from shared.text.fingerprints import grouped
from tax_bureau.home import init_bureau, open_bureau
from tests.support.fault_world import Firm, Office, World, journeying
from tests.support.reading import nothing_plugged_in, read_in_process

__all__ = ["nothing_plugged_in", "read_in_process"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[World]:
    office = Office(tmp_path / "税 局")
    with journeying(office, tmp_path, monkeypatch, capsys, "monthly-duty") as found:
        yield found
    office.close()


def new_key(us: Firm) -> list[object]:
    key = us.new_key()
    us.enroll(key)
    return key


def test_from_two_empty_homes_one_stick_tells_each_pc_of_the_other(world: World) -> None:
    """STICK-24."""
    us = world.firm()
    us.declare()
    stick = us.stick()
    key = new_key(us)
    held = us.online("init", *key, "--stick", stick, expect=50)
    [error] = held["errors"]
    assert error["code"] == "B5065"
    assert not (us.online_home / "station.db").exists(), "nothing is believed, and nothing is set"
    shown = us.offline_screen("doctor", expect=None)
    root = fingerprint(world.office.bureau.keyring.root)
    assert grouped(root) in shown, "the invoicing PC shows what is to be compared"
    assert grouped(root) in error["message"]
    wrong = us.online("init", *key, "--stick", stick, "--root-fingerprint", "0" * 64, expect=50)
    assert wrong["errors"][0]["code"] == "B5066"
    made = us.online("init", *key, "--stick", stick, "--root-fingerprint", grouped(root).lower())
    assert (made["bureau"], made["root_fingerprint"]) == (world.office.url, root)
    assert made["taxpayer_id"] == us.taxpayer
    us._connected = True
    report = us.report()
    us.offline("stick", "sync", stick)
    us.online("stick", "sync", stick)
    us.online("once")
    us.wait_for(report, "staged")
    us.online("stick", "sync", stick)
    us.offline("stick", "sync", stick)
    assert us.offline("result")["outcome"] == "success"
    assert us.offline("clear")["cleared"]


def test_the_other_way_round_a_new_card_takes_the_newer_trust_file_from_the_stick(world: World) -> None:
    us = world.firm()
    before = us.offline("status")["trust_version"]
    world.bureau("publish", "--renew-lists", "--reason", "到期重签")
    us.init_online(new_key(us))
    made = us.root / "U盘甲"
    made.mkdir()
    us.online("stick", "prepare", made)
    taken = us.offline("init", "--stick", made)
    assert taken["trust_version"] > before
    assert us.offline("init", "--stick", made)["trust_version"] == taken["trust_version"], "and it may be run again"


def test_a_stick_of_another_bureau_is_believed_by_neither_pc(world: World) -> None:
    us = world.firm()
    init_bureau(world.root / "别的税局", SystemClock(), key_type="p256", gateways=["http://127.0.0.1:9"])
    other = open_bureau(world.root / "别的税局", SystemClock())
    stick = us.stick()
    left = stick / "TAXFERRY" / "to-offline" / "trust.txt"
    with other.store.read() as tx:
        left.write_bytes(tx.trust_file() or b"")
    other.store.close()
    before = us.offline("status")["trust_version"]
    refused = us.offline("init", "--stick", stick, expect=24)
    assert refused["errors"][0]["code"] == "B2401"
    assert us.offline("status")["trust_version"] == before
    root = fingerprint(world.office.bureau.keyring.root)
    wrong = us.online("init", *new_key(us), "--stick", stick, "--root-fingerprint", root, expect=50)
    assert wrong["errors"][0]["code"] == "B5066", "the person compared with the card's, and that is another"


def test_a_stick_without_a_trust_file_and_one_for_another_taxpayer_are_named(world: World) -> None:
    us, them = world.firm(), world.firm()
    stick = us.stick()
    root = fingerprint(world.office.bureau.keyring.root)
    key = new_key(them)
    told = them.online("init", *key, "--stick", stick, "--root-fingerprint", root, expect=1)
    assert told["taxpayer_id"] == them.taxpayer
    said = them.online_screen("init", *key, "--stick", stick, "--root-fingerprint", root, expect=1)
    assert us.taxpayer in said
    (stick / "TAXFERRY" / "to-offline" / "trust.txt").unlink()
    bare = us.online("init", *new_key(us), "--stick", stick, expect=50)
    assert bare["errors"][0]["code"] == "B5067"
