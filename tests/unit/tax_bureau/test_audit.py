"""The record of what people did: every way to edit it is found and named, and what nobody edited is whole."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import CHINA
from shared.errors import AuditBroken, CheckpointInvalid, NotFound, SignatureRefused
from tax_bureau.audit import CHECKPOINT_EVERY, FIRST, By, Checkpoint, Entry, verify
from tax_bureau.cli import program
from tax_bureau.judge.facts import Declaration
from tests.support.bureau import PERIOD, Office
from tests.support.pki import NOW, OTHER_TAXPAYER, TAXPAYER

WANG = By("王五", "wangwu", "更正")


def chain(count: int) -> list[Entry]:
    """Return a whole record of that many entries."""
    found: list[Entry] = []
    for number in range(1, count + 1):
        entry = Entry(
            number,
            f"2026-08-05T09:{number:02d}:00+08:00",
            "王五",
            "wangwu",
            "declare",
            TAXPAYER,
            f"第 {number} 次",
            {"version": str(number)},
            found[-1].digest if found else FIRST,
        )
        found.append(_true(entry))
    return found


def _true(entry: Entry, **changes: Any) -> Entry:
    from dataclasses import replace

    entry = replace(entry, **changes)
    return replace(entry, digest=entry.computed())


def point(entries: list[Entry], number: int) -> Checkpoint:
    return Checkpoint(number, entries[number - 1].digest, NOW)


def found(entries: list[Entry], checkpoints: list[Checkpoint]) -> list[tuple[str, int, int]]:
    return [(each.kind, each.first, each.last) for each in verify(entries, checkpoints)]


def test_a_record_that_nobody_edited_is_whole() -> None:  # JUDGE-21
    whole = chain(9)
    assert found(whole, [point(whole, 4), point(whole, 9)]) == []
    assert found([], []) == []


@pytest.mark.parametrize("field", ["operator", "os_user", "reason", "subject", "action", "at", "detail"])
def test_an_entry_that_was_changed_is_named(field: str) -> None:
    from dataclasses import replace

    edited = chain(6)
    edited[2] = replace(edited[2], **{field: {"version": "99"} if field == "detail" else "别的"})
    assert found(edited, []) == [("changed", 3, 3)]


def test_an_entry_that_was_changed_with_its_digest_breaks_the_chain_behind_it() -> None:
    edited = chain(6)
    edited[2] = _true(edited[2], reason="别的")
    assert found(edited, []) == [("rewritten", 3, 3)]


def test_removed_entries_are_named() -> None:
    whole = chain(8)
    assert found([*whole[:2], *whole[5:]], []) == [("removed", 3, 5)]
    assert found(whole[1:], []) == [("removed", 1, 1)]


def test_entries_that_changed_places_are_named() -> None:
    from dataclasses import replace

    edited = chain(6)
    edited[1], edited[4] = replace(edited[4], number=2), replace(edited[1], number=5)
    kinds = found(edited, [])
    assert ("reordered", 2, 2) in kinds
    assert ("reordered", 5, 5) in kinds


def test_what_was_cut_off_before_a_checkpoint_is_named() -> None:  # JUDGE-22
    whole = chain(8)
    assert found(whole[:5], [point(whole, 7)]) == [("truncated", 6, 7)]
    assert found([], [point(whole, 8)]) == [("truncated", 1, 8)]
    assert found(whole[:5], [point(whole, 5)]) == [], "behind the last checkpoint there is no trace"


def test_a_whole_new_chain_is_named_from_the_last_checkpoint_that_holds() -> None:
    whole = chain(8)
    forged = whole[:4]
    for entry in whole[4:]:
        forged.append(_true(entry, reason="伪造", previous=forged[-1].digest))
    assert found(forged, []) == [], "the chain alone does not show it"
    assert found(forged, [point(whole, 3), point(whole, 6), point(whole, 8)]) == [("rewritten", 4, 6)]


@given(st.data())
def test_no_single_edit_passes_a_record_with_a_checkpoint_at_its_end(data: st.DataObject) -> None:
    whole = chain(7)
    end = [point(whole, 7)]
    at = data.draw(st.integers(0, 6))
    how = data.draw(st.sampled_from(["drop", "swap", "edit", "edit-true", "insert"]))
    edited = list(whole)
    if how == "drop":
        del edited[at]
    elif how == "swap":
        other = data.draw(st.integers(0, 6).filter(lambda n: n != at))
        edited[at], edited[other] = edited[other], edited[at]
        edited.sort(key=lambda e: e.number) if data.draw(st.booleans()) else None
        if edited == whole:
            return
    elif how == "insert":
        edited.insert(at, _true(whole[at], reason="多出来的"))
    else:
        from dataclasses import replace

        make = _true if how == "edit-true" else replace
        edited[at] = make(whole[at], reason=data.draw(st.text(max_size=8).filter(lambda t: t != whole[at].reason)))
    assert verify(edited, end) != []


# in a bureau


@contextmanager
def database(office: Office) -> Iterator[sqlite3.Connection]:
    """Give somebody the database file, past the program."""
    connection = sqlite3.connect(office.root / "home" / "bureau.db")
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def declare(office: Office, times: int = 1) -> None:
    for _ in range(times):
        office.bureau.desk.declare(OTHER_TAXPAYER, PERIOD, Declaration(matching=True), WANG)


def kinds(office: Office, *files: Path) -> list[str]:
    return [each.kind for each in office.bureau.book.inspect(files).breaches]


def test_an_act_and_its_entry_are_one_transaction(office: Office) -> None:  # JUDGE-20
    digest = office.send()
    with office.bureau.store.read() as tx:
        before = len(tx.audit())
    with pytest.raises(NotFound):
        office.bureau.desk.decide("0" * 64, "success", by=WANG)
    office.bureau.desk.decide(digest, "success", by=WANG)
    with office.bureau.store.read() as tx:
        entries = tx.audit()
    assert len(entries) == before + 1
    assert (entries[-1].operator, entries[-1].os_user, entries[-1].reason) == ("王五", "wangwu", "更正")
    assert (entries[-1].action, entries[-1].subject) == ("decide", digest)
    assert entries[-1].detail["outcome"] == "success"


def test_checkpoints_are_signed_by_themselves_and_continue_each_other(office: Office) -> None:
    declare(office, 2 * CHECKPOINT_EVERY)
    office.bureau.book.seal()
    seen = office.bureau.book.inspect()
    assert seen.breaches == ()
    assert seen.checkpoints >= 3
    assert seen.last_checkpoint == seen.entries


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("update audit set operator = '李四' where number = 3", "changed"),
        ("update audit set detail = 'x' where number = 3", "changed"),
        ("delete from audit where number = 3", "removed"),
        ("update audit set number = 1000 where number = 3", "removed"),
        ("delete from audit where number > 3", "truncated"),
        ("delete from audit", "truncated"),
    ],
)
def test_a_hand_in_the_database_is_found(office: Office, sql: str, kind: str) -> None:
    declare(office, 6)
    office.bureau.book.seal()
    assert kinds(office) == []
    with database(office) as connection:
        connection.execute(sql)
    assert kind in kinds(office)


def test_who_takes_entries_and_checkpoints_away_is_found_by_one_that_was_kept_elsewhere(
    office: Office, tmp_path: Path
) -> None:
    declare(office, 6)
    kept = tmp_path / "带走的检查点.txt"
    office.bureau.book.checkpoint(kept)
    declare(office, 2)
    with database(office) as connection:
        connection.execute("delete from audit where number > 3")
        connection.execute("delete from audit_checkpoints")
    (office.root / "home" / "audit" / "checkpoint.txt").unlink()
    assert kinds(office) == []
    assert kinds(office, kept) == ["truncated"]


def test_the_bureau_signs_nothing_over_a_record_that_was_edited(office: Office) -> None:  # JUDGE-23
    declare(office, 4)
    first = office.bureau.book.seal()
    with database(office) as connection:
        connection.execute("delete from audit where number > 2")
    declare(office, 6)
    with pytest.raises(AuditBroken):
        office.bureau.book.seal()
    assert office.bureau.book._newest() == first, "the evidence stays"
    assert kinds(office) != []


def test_a_checkpoint_is_no_other_file_and_nobody_elses(office: Office, tmp_path: Path) -> None:
    declare(office)
    out = tmp_path / "c.txt"
    office.bureau.book.checkpoint(out)
    other = tmp_path / "x.txt"
    other.write_bytes(b"x")
    with pytest.raises(CheckpointInvalid):
        office.bureau.book.inspect([other])
    other.write_bytes(out.read_bytes().replace("末条序号: ".encode(), "末条序号: 1".encode()))
    with pytest.raises(SignatureRefused):
        office.bureau.book.inspect([other])
    digest = office.send()
    other.write_bytes(office.client().get(f"/v1/reports/{digest}/result").body)
    with pytest.raises(CheckpointInvalid):
        office.bureau.book.inspect([other])


# on the command line


@pytest.fixture
def run(office: Office, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def call(*words: object, expect: int = 0, said: bool = False) -> Any:
        status = program.run(["--home", str(office.root / "home"), *map(str, words), *([] if said else ["--json"])])
        out, err = capsys.readouterr()
        assert status == expect, out + err
        return out + err if said else json.loads(out)

    return call


def test_every_change_by_a_person_is_on_record_with_who_and_why(
    office: Office, run: Callable[..., Any], tmp_path: Path
) -> None:
    digest = office.send()
    (tmp_path / "pin").write_text("135790\n", encoding="utf-8")
    who = ("--operator", "赵六", "--reason", "测试")
    card = ("--taxpayer-id", OTHER_TAXPAYER, "--name", "某公司", "--key-type", "p256")
    run("issue-card", *card, "--machine-no", 0, "--out", tmp_path / "c.taxcard", *who)
    key = ("--key", tmp_path / "k.p12", "--pin-file", tmp_path / "pin")
    run("issue-key", "--taxpayer-id", OTHER_TAXPAYER, "--out", *key[1:], "--key-type", "p256", *who)
    run("enroll", "--taxpayer-id", OTHER_TAXPAYER, *key, *who)
    run("enroll", "--taxpayer-id", OTHER_TAXPAYER, *key, "--withdraw", *who)
    run("delegate", "--taxpayer-id", OTHER_TAXPAYER, "--agency", TAXPAYER, *who)
    run("declare", "--taxpayer-id", OTHER_TAXPAYER, "--period", PERIOD, *who)
    with office.bureau.store.read() as tx:
        [issued] = [c for c in tx.cards(OTHER_TAXPAYER) if c.on_file.machine_no == 0]
    run("authorise", "--card-no", issued.on_file.card_no, "--offline-hours", 24, *who)
    run("rejudge", digest, *who)
    run("decide", digest, "--failure", "--code", "2715", *who)
    run("reissue", digest, *who)
    run("renew-key", "envelope", "--key-type", "p256", *who)
    run("revoke", *key, *who)
    run("publish", "--renew-lists", *who)
    run("calendar", "set", "2099-03-20", *who)
    items = run("audit", "list", "--operator", "赵六")["data"]["items"]
    assert {i["action"] for i in items} == {
        *("issue-card", "issue-key", "enroll", "withdraw-key", "delegate", "declare", "authorise", "rejudge", "decide"),
        *("reissue", "renew-key", "revoke", "renew-lists", "filing-day", "publish"),
    }
    assert {i["reason"] for i in items} == {"测试"}
    assert all(i["os_user"] for i in items)
    assert run("audit", "verify")["data"]["breaches"] == []
    shown = run("show", digest, said=True)
    assert "人工裁定" in shown
    assert "理由：测试" in shown


@pytest.mark.parametrize("reason", [[], ["--reason", ""], ["--reason", " \t"]])
@pytest.mark.parametrize(
    "verb",
    [
        ("decide", "abcd", "--success"),
        ("reissue", "abcd"),
        ("renew-key", "result"),
        ("revoke", "--card-no", "1"),
        ("calendar", "set", "2099-03-20"),
        ("authorise", "--card-no", "1", "--offline-hours", "1"),
    ],
    ids=lambda verb: verb[0],
)
def test_what_needs_a_reason_is_not_done_without_one(
    run: Callable[..., Any], verb: tuple[str, ...], reason: list[str]
) -> None:
    run(*verb, *reason, expect=2)
    assert all(i["action"] not in verb for i in run("audit", "list")["data"]["items"])


def test_the_record_is_listed_in_pages_and_by_subject(office: Office, run: Callable[..., Any]) -> None:
    declare(office, 5)
    first = run("audit", "list", "--limit", 3, "--subject", OTHER_TAXPAYER[:12])["data"]
    assert first["more"]
    last = first["items"][-1]["number"]
    rest = run("audit", "list", "--after", last, "--subject", OTHER_TAXPAYER)["data"]
    assert [i["number"] for i in rest["items"]] == sorted(i["number"] for i in rest["items"])
    assert not rest["more"]
    assert "--after" in run("audit", "list", "--limit", 3, said=True)


def test_an_edited_record_ends_verify_with_the_entry_named_and_is_told_with_every_change(
    office: Office, run: Callable[..., Any]
) -> None:
    run("declare", "--taxpayer-id", TAXPAYER, "--period", PERIOD)
    with database(office) as connection:
        connection.execute("update audit set reason = '没有' where number = 2")
    answer = run("audit", "verify", expect=42)
    assert [(b["kind"], b["first"]) for b in answer["data"]["breaches"]] == [("changed", 2)]
    assert answer["errors"][0]["code"] == "B4210"
    said = run("audit", "verify", expect=42, said=True)
    assert "第 2 条内容被改动" in said


def test_what_a_person_writes_cannot_break_the_lines_of_the_record(office: Office, run: Callable[..., Any]) -> None:
    reason = "第一行\n第二行\u202e反向\x07"
    run("declare", "--taxpayer-id", TAXPAYER, "--period", PERIOD, "--operator", "甲\n乙", "--reason", reason)
    item = run("audit", "list")["data"]["items"][-1]
    assert (item["operator"], item["reason"]) == ("甲 乙", "第一行 第二行 反向")
    assert run("audit", "verify")["data"]["breaches"] == []


def test_entries_are_dated_by_the_bureau(office: Office) -> None:
    declare(office)
    with office.bureau.store.read() as tx:
        assert tx.audit()[-1].at == NOW.astimezone(CHINA).isoformat(timespec="seconds")
