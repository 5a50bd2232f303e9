"""A visit on FAT by the real Linux driver, and on a removable disk: power cuts, pulling, write protection, bad sectors.

Here stands what no model decides: the kernel itself writes, and the kernel itself reads what is left. The others that
people use to carry files go through the same campaigns; how they end is recorded for the manual's page on reliability,
and asserted only where it shows that the harness bites.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support import reports, texts, uml
from tests.support.reliability import BAD, record
from tests.support.tools import tool

RESULT = "310100000000000_0_200807180808.txt"
REPORT = "310100000000000_0_202608010000.dat"
NEIGHBOURS = ["310100000000000_8_202607010000.txt", "310100000000000_9_202607010000.txt"]
"""What has long been on every stick."""
WELL = {"new", "absent", "torn-not-believed"}
"""How a power cut may leave a stick; torn is the empty file between a rename and the syncs after it."""
IN_ORDER = "power cut at each write"
WITH_LOSS = "power cut, unsynced writes lost"
CARRIERS = ("taxferry", "cp", "cp && sync", "fsync, rename, fsync", "nncp-xfer")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the guest's folder, with a small signed file and a large one to carry."""
    uml.needed()
    made = tmp_path / "guest"
    made.mkdir()
    (made / RESULT).write_bytes(texts.signed(texts.success()))
    noise = random.Random("report")
    content = [noise.randbytes(1024).hex().encode() for _ in range(300)]
    (made / REPORT).write_bytes(reports.sealed(content=content, invoices=0)[0])
    return made


def cut(carrier: str, source: str = RESULT, fat: int = 16, options: str = "utf8", seeds: int = 2) -> dict[str, Any]:
    return {
        "do": "power cut",
        "carrier": carrier,
        "source": source,
        "fat": fat,
        "options": options,
        "seeds": list(range(seeds)),
    }


def note(order: Mapping[str, Any], answer: Mapping[str, Any], fault: str, medium: str) -> list[str]:
    """Record a row; return its bad ends."""
    subject = order.get("carrier", "taxferry").removesuffix(", first visit").removesuffix(", batch")
    record(tier="uml", medium=medium, fault=fault, subject=subject, outcomes=answer["outcomes"])
    assert sum(answer["outcomes"].values()) > 0
    assert bool(answer["bad"]) == any(word in BAD for word in answer["outcomes"])
    return [f"{subject}, {medium}, {fault}: {what}" for what in answer["bad"]]


def note_cut(order: Mapping[str, Any], answer: Mapping[str, Any]) -> list[str]:
    """Record both rows of a power-cut campaign; return their bad ends."""
    medium = f"vfat (FAT{order['fat']})"
    assert answer["writes"] > 1
    return note(order, answer["in order"], IN_ORDER, medium) + note(order, answer["with loss"], WITH_LOSS, medium)


def test_a_power_cut_at_any_write_of_a_visit_to_vfat_leaves_what_the_next_visit_completes(folder: Path) -> None:
    """STICK-5, STICK-7: and what a visit called safe is there, whole, however much of the disk's cache is lost."""
    orders = [cut("taxferry"), cut("fsync, rename, fsync", seeds=0)]
    ours, textbook = uml.campaign(folder, orders)
    assert note_cut(orders[0], ours) == []
    for kind in ("in order", "with loss"):
        assert set(ours[kind]["outcomes"]) <= WELL, "no visit is refused for what the last one left"
        assert {"new", "absent"} <= set(ours[kind]["outcomes"]), "some cuts came before the file and some after it"
    # The harness bites: what is durable on other file systems is not on this one.
    assert textbook["in order"]["outcomes"]["false-safe"]


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("options", ["utf8", "utf8,flush"])
@pytest.mark.parametrize("fat", [12, 16, 32])
def test_no_kind_of_fat_and_no_size_of_file_changes_that(folder: Path, fat: int, options: str) -> None:
    """STICK-5."""
    seeds = 12 if fat < 32 else 4
    orders = [cut("taxferry", source, fat, options, seeds) for source in (RESULT, REPORT)]
    orders += [cut(carrier, RESULT, fat, options, seeds) for carrier in ("taxferry, first visit", "taxferry, batch")]
    answers = uml.campaign(folder, orders, seconds=900)
    assert [bad for order, answer in zip(orders, answers, strict=True) for bad in note_cut(order, answer)] == []
    ends = {word for answer in answers for word in answer["in order"]["outcomes"]}
    assert ends <= WELL, "no visit is refused for what the last one left"


def pulled(folder: Path, source: str, step: int, seconds: float = 100) -> dict[str, Any]:
    order = {"do": "pulled", "source": source, "step": step}
    (answer,) = uml.campaign(folder, [order], seconds=seconds)
    assert note(order, answer, "pulled before a file operation", "vfat (FAT32)") == []
    return answer


def test_a_disk_pulled_during_a_visit_is_never_called_safe_nor_taken_for_an_empty_one(folder: Path) -> None:
    """STICK-12: it can look empty and healthy; plugged in again, the next visit completes."""
    answer = pulled(folder, RESULT, step=4)
    assert answer["looked_empty"] > 0, "the kernel shows it as it is: then this test proves nothing"
    assert set(answer["outcomes"]) <= {"absent", "new", "torn-not-believed"}


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("source", [RESULT, REPORT])
def test_that_holds_before_every_single_file_operation(folder: Path, source: str) -> None:
    """STICK-12."""
    assert pulled(folder, source, step=1, seconds=600)["operations"] > 20


def test_an_ailing_disk_is_refused_while_the_original_is_kept_and_used_again_when_it_is_well(folder: Path) -> None:
    """STICK-5, STICK-13: write-protected, unreadable, forged, full; and names as FAT treats them (STICK-3, STICK-7)."""
    bad_blocks = [
        {"do": "bad blocks", "carrier": "taxferry", "source": RESULT, "fault": fault}
        for fault in ("unreadable", "forged")
    ]
    rest = [{"do": what, "source": RESULT} for what in ("protected", "full", "names")]
    unreadable, forged, protected, full, names = uml.campaign(folder, [*bad_blocks, *rest])

    for order, answer in zip(bad_blocks, (unreadable, forged), strict=True):
        assert note(order, answer, BAD_BLOCKS[order["fault"]], "vfat (FAT32)") == []
        assert (answer["refused"], answer["found"]) == ("MediumDamaged", "absent")

    assert protected == {"refused": "MediumReadOnly", "listed": NEIGHBOURS, "whole": True, "after": "new"}
    record(tier="uml", medium="vfat (FAT32)", fault="write-protected", subject="taxferry", outcomes={"refused": 1})

    for when in ("before", "during"):
        assert full[when] == {"refused": "MediumFull", "left": NEIGHBOURS, "after": "new"}, when
    record(tier="uml", medium="vfat (FAT32)", fault="full", subject="taxferry", outcomes={"refused": 2})

    assert names["case twin"] == "NameTaken"
    assert names["twin"] == "another content", "FAT folds case: the same name in other letters is taken, not replaced"
    assert names["long"] == "a person's file"
    assert names["foreign"] == 1, "a long Chinese name is counted and left alone"
    listed = {tuple(entry) for entry in names["listed"]}
    assert {("root", RESULT), ("root", RESULT.replace(".txt", " - 副本.txt")), ("to-offline", NEIGHBOURS[0])} <= listed


BAD_BLOCKS = {"unreadable": "sectors that cannot be read back", "forged": "capacity that is not there"}


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("carrier", CARRIERS)
def test_the_others_go_through_the_same_faults_for_the_table_and_ours_is_never_wrong(
    folder: Path, carrier: str
) -> None:
    if carrier == "nncp-xfer":
        tool(carrier)
    cuts = [cut(carrier, source, 16, "utf8", 12) for source in (RESULT, REPORT)]
    bad_blocks = [
        {"do": "bad blocks", "carrier": carrier, "source": RESULT, "fault": fault} for fault in ("unreadable", "forged")
    ]
    pulls = [{"do": "pulled command", "carrier": carrier, "source": REPORT, "sectors": [1, 50, 200, 400, 600]}]
    answers = iter(uml.campaign(folder, [*cuts, *bad_blocks, *pulls], seconds=600))
    bad = [what for order in cuts for what in note_cut(order, next(answers))]
    for order in bad_blocks:
        bad += note(order, next(answers), BAD_BLOCKS[order["fault"]], "vfat (FAT32)")
    bad += note(pulls[0], next(answers), "pulled while writing, and as soon as it is over", "vfat (FAT32)")
    if carrier == "taxferry":
        assert bad == []
    elif carrier in ("cp", "fsync, rename, fsync"):
        assert bad, "the harness no longer bites"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_whole_month_crosses_on_a_real_vfat_disk(folder: Path) -> None:
    """The demonstration with its two invoicing PCs, its Internet PC and its bureau, and a removable disk between them."""
    (answer,) = uml.campaign(folder, [{"do": "round trip"}], seconds=800)
    assert answer["cleared"] == [0, 1]
    left = sorted(name.rpartition(".")[2] for name in answer["left"])
    assert left == ["ack", "ack", "csv", "dat", "dat", "json", "txt", "txt", "txt"], (
        "what is done with stays for a while"
    )
