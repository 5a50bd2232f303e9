"""The line before the judges: turns, pace, both databases, and a bureau of the first release."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shared.clock import SystemClock
from shared.errors import StoreDamaged, WrongState
from shared.ids import MachineNo
from shared.states import BureauState
from tax_bureau import workers
from tax_bureau.home import init_bureau, open_bureau
from tax_bureau.pace import Pace, seconds_until_judged, smoothed
from tax_bureau.registry import CardOrder
from tax_bureau.store import Line, Store, Worker
from tests.support.bureau import Office
from tests.support.databases import cluster, postgresql, until
from tests.support.pki import OTHER_TAXPAYER, TAXPAYER, TAXPAYER_NAME, foreign_pki

__all__ = ["cluster", "postgresql"]

FIRST_RELEASE = """
CREATE TABLE reports_v1 (
    digest VARCHAR NOT NULL, taxpayer_id VARCHAR NOT NULL, machine_no INTEGER NOT NULL, stamp VARCHAR NOT NULL,
    kind VARCHAR NOT NULL, period VARCHAR NOT NULL, card_no VARCHAR NOT NULL, sequence INTEGER NOT NULL,
    header BLOB NOT NULL, signer VARCHAR NOT NULL, signed_on VARCHAR NOT NULL, size_bytes INTEGER NOT NULL,
    file_sha256 VARCHAR NOT NULL, received_at VARCHAR NOT NULL, uploaded_by VARCHAR NOT NULL,
    receipt_no VARCHAR NOT NULL, ask_after INTEGER NOT NULL, receipt BLOB NOT NULL, state VARCHAR NOT NULL,
    due_at FLOAT, round INTEGER NOT NULL, counted BOOLEAN NOT NULL, examination VARCHAR, result_no INTEGER,
    code VARCHAR NOT NULL, field_code VARCHAR NOT NULL, message VARCHAR NOT NULL, PRIMARY KEY (digest)
);
"""
"""The table as the first release made it."""


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Office:
    """Return a bureau on either kind of database."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgresql")
    return Office(tmp_path / "office", database=url)


def put(office: Office, card: object = None, key: object = None, **changes: object) -> str:
    data, report = office.seal(card, **changes)  # type: ignore[arg-type]
    assert office.client(key).put_report(report.digest, data).status == 201  # type: ignore[arg-type]
    return report.digest


def state(office: Office, digest: str) -> BureauState:
    with office.bureau.store.read() as tx:
        report = tx.report(digest)
    assert report is not None
    return report.state


def results(office: Office, digest: str) -> list[int]:
    with office.bureau.store.read() as tx:
        return [each.result_no for each in tx.results(digest)]


def cards_of(office: Office, taxpayer_id: str, count: int) -> list[object]:
    found = []
    for number in range(2, count + 2):
        order = CardOrder(taxpayer_id, TAXPAYER_NAME, MachineNo(number), 0, key_type="p256")  # type: ignore[arg-type]
        found.append(office.bureau.registry.issue_card(order, office.root / f"{taxpayer_id}-{number}").card.signer())
    return found


# --- turns -----------------------------------------------------------------------------------------------------------


def test_one_with_many_reports_does_not_keep_the_others_waiting(either: Office) -> None:  # JUDGE-24
    """The big one was here first; after its first report everybody else has a turn."""
    big = [put(either, card) for card in cards_of(either, TAXPAYER, 6)]
    (card,) = cards_of(either, OTHER_TAXPAYER, 1)
    either.clock.advance(seconds=1)
    small = put(either, card, either.key(OTHER_TAXPAYER), taxpayer_id=OTHER_TAXPAYER)
    for _ in range(2):
        either.clock.advance(seconds=1)
        assert either.bureau.desk.judge_next()
    assert state(either, small) is not BureauState.STORED
    assert [state(either, digest) for digest in big].count(BureauState.STORED) == 5
    assert either.bureau.desk.judge_all() == 5


def test_of_each_taxpayer_one_report_is_due_and_the_next_follows(office: Office) -> None:
    digests = [put(office, card) for card in cards_of(office, TAXPAYER, 3)]
    for left in (3, 2, 1):
        with office.bureau.store.read() as tx:
            line = tx.in_line(office.clock.now().timestamp())
        assert (line.ready, line.taxpayers) == (left, 1)
        office.bureau.desk.judge_next()
    assert not office.bureau.desk.judge_next()
    assert [results(office, digest) for digest in digests] == [[1], [1], [1]]


def test_a_report_that_is_superseded_or_decided_by_hand_does_not_block_its_line(either: Office) -> None:
    first, second, third = cards_of(either, TAXPAYER, 3)
    waiting = [put(either, card) for card in (first, second, third)]
    newer = put(either, first, sequence=8)  # supersedes the head of the line
    either.bureau.desk.decide(waiting[1], "failure", code="27FF", message="x")
    assert either.bureau.desk.judge_all() == 2
    assert [state(either, digest) for digest in (waiting[2], newer)] == [BureauState.FAILED] * 2


def test_one_that_waits_longer_lets_a_repaired_one_of_its_taxpayer_pass(office: Office) -> None:
    digest = office.send()
    office.bureau.desk.set_processing_seconds(300)
    late = put(office, office.card(1))
    office.bureau.desk.judge_again(digest)
    assert office.bureau.desk.judge_all() == 1
    assert results(office, digest) == [1, 2]
    assert state(office, late) is BureauState.STORED
    office.clock.advance(seconds=300)
    assert office.bureau.desk.judge_all() == 1


def test_a_report_whose_file_cannot_be_read_lets_the_others_pass(office: Office) -> None:
    first, second = (put(office, card) for card in cards_of(office, TAXPAYER, 2))
    path = office.root / "home" / "spool" / "reports" / f"{first}.dat"
    path.rename(office.root / "away")
    office.bureau.desk.judge_all()
    assert (results(office, first), results(office, second)) == ([], [1])


# --- workers ---------------------------------------------------------------------------------------------------------


def test_two_judging_processes_share_the_work_and_judge_each_report_once(either: Office) -> None:
    digests = [put(either, card, invoices=40) for card in cards_of(either, TAXPAYER, 8)]
    other = open_bureau(either.root / "home", either.clock)
    with (
        workers.judging(either.bureau.desk, either.bureau.store, either.clock, threads=2),
        workers.judging(other.desk, other.store, either.clock, threads=2),
    ):
        until(lambda: all(results(either, digest) for digest in digests))
    other.store.close()
    assert [len(results(either, digest)) for digest in digests] == [1] * 8
    with either.bureau.store.read() as tx:
        assert sum(worker.judged for worker in tx.workers()) == 8


def test_a_zombie_s_judgement_counts_for_nothing(either: Office) -> None:
    """It was stopped for longer than its lease; what it says when it wakes up is not written."""
    digest = put(either)
    with either.bureau.store.write() as tx:
        claim = tx.claim("zombie", either.bureau.desk.lease_clock(), 60.0)
    assert claim is not None
    assert either.bureau.desk.judge_all() == 0, "it is in somebody's hands"
    with either.bureau.store.write() as tx:
        tx.let_go("zombie")
    assert either.bureau.desk.judge_all() == 1
    assert either.bureau.desk.judge(claim, lambda: False) is True
    assert results(either, digest) == [1]


def test_what_a_dead_process_of_this_machine_had_is_taken_over_at_once(office: Office) -> None:
    digest = put(office)
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead = f"{os.uname().nodename}:{done.stdout.decode().strip()}:ab"
    with office.bureau.store.write() as tx:
        assert tx.claim(dead, office.bureau.desk.lease_clock(), 3600.0) is not None
    with workers.judging(office.bureau.desk, office.bureau.store, office.clock):
        until(lambda: results(office, digest) == [1])
    assert workers.is_dead(dead)
    assert not workers.is_dead(f"elsewhere:{done.stdout.decode().strip()}:ab")
    assert not workers.is_dead(f"{os.uname().nodename}:{os.getpid()}:ab")
    assert not workers.is_dead("nonsense")


def test_totals_stay_when_the_rows_of_old_processes_are_added_up(office: Office) -> None:
    for name in ("a", "b", "c"):
        with office.bureau.store.write() as tx:
            tx.keep_worker(Worker(name, 1, 0.0, 10.0 if name != "c" else 500.0, judged=7, busy_seconds=1.5))
            tx.fold_workers(100.0)
    with office.bureau.store.read() as tx:
        assert [(each.name, each.judged) for each in tx.workers()] == [("c", 7), ("past", 14)]


# --- pace ------------------------------------------------------------------------------------------------------------


def test_waiting_is_the_turns_before_a_report_over_the_measured_speed() -> None:
    pace = Pace.of([Worker("a", 1, 0, 0, pace=4.0), Worker("b", 1, 0, 0, pace=6.0)])
    assert seconds_until_judged(Line(0, 0, 50), pace) == 0
    assert seconds_until_judged(Line(ready=5000, taxpayers=100), pace) == 10
    assert seconds_until_judged(Line(ready=5000, taxpayers=100), pace, behind=9) == 100
    assert seconds_until_judged(Line(ready=300, taxpayers=100), pace, behind=9) == 30
    assert seconds_until_judged(Line(ready=10**9, taxpayers=10**9), pace) == 3600
    assert seconds_until_judged(Line(ready=1, taxpayers=1), Pace()) > 0, "nobody judges: nothing is promised"
    assert Pace.of([Worker("new", 2, 0, 0)]).per_second > 0
    assert 4 < smoothed(4.0, 9.0) < 9
    assert smoothed(0.0, 9.0) == 9


def test_when_to_ask_again_follows_the_backlog_and_the_speed(office: Office) -> None:  # GW-19
    cards = cards_of(office, TAXPAYER, 5)
    digests = [put(office, card) for card in cards]
    with office.bureau.store.write() as tx:
        tx.keep_worker(Worker("w", 1, 0.0, office.clock.now().timestamp(), judged=9, busy_seconds=90.0, pace=0.1))
    office.restart()  # what is known of the queue may be a second old
    waits = []
    for digest in digests:
        reply = office.client().get(f"/v1/reports/{digest}/result")
        assert reply.status == 202
        waits.append(int(reply.headers["retry-after"]))
    assert waits == [50] * 5, "five reports that became ready in the same moment, ten seconds each"
    data, report = office.seal(cards_of(office, TAXPAYER, 6)[-1])
    assert office.client().put_report(report.digest, data).status == 201
    status = office.client().get(f"/v1/reports/{report.digest}").json
    assert status["ask_after_seconds"] >= 50


# --- a bureau of the first release -----------------------------------------------------------------------------------


def as_of_the_first_release(path: Path) -> None:
    """Turn a database into what the first release would have written."""
    db = sqlite3.connect(path)
    db.executescript(FIRST_RELEASE)
    names = [row[1] for row in db.execute("PRAGMA table_info(reports_v1)")]
    taken = ", ".join("ready_at" if name == "due_at" else name for name in names)
    db.execute(f"INSERT INTO reports_v1 SELECT {taken} FROM reports")
    db.executescript(
        """
        DROP TABLE reports; ALTER TABLE reports_v1 RENAME TO reports; DROP TABLE workers;
        CREATE INDEX reports_of_card ON reports (card_no, sequence);
        CREATE INDEX reports_of_period ON reports (taxpayer_id, period);
        CREATE INDEX reports_due ON reports (state, due_at);
        INSERT OR REPLACE INTO settings VALUES ('schema_version', '1');
        PRAGMA user_version = 0;
        """
    )
    db.commit()
    db.close()


def test_a_bureau_of_the_first_release_goes_on_with_reports_in_every_state(office: Office) -> None:
    cards = cards_of(office, TAXPAYER, 3)
    failed = office.send(cards[0], recipients=[foreign_pki().envelope.certificate])
    superseded = office.send(cards[1])
    office.send(cards[1], sequence=8)
    office.declare()
    waiting = office.send(office.card(0))
    succeeded = put(office, cards[2])
    office.bureau.desk.decide(succeeded, "success")
    closed = put(office, office.card(1))
    office.bureau.desk.decide(closed, "success")
    assert office.client().put_ack(closed, office.ack(closed, office.card(1))).status == 200
    (other,) = cards_of(office, OTHER_TAXPAYER, 1)
    office.bureau.desk.set_processing_seconds(300)
    stored = [put(office, other, office.key(OTHER_TAXPAYER), taxpayer_id=OTHER_TAXPAYER)]
    office.bureau.desk.judge_again(failed)
    before = {
        digest: (state(office, digest), results(office, digest)) for digest in (waiting, superseded, succeeded, closed)
    }
    assert {state for state, _ in before.values()} | {state(office, failed)} >= {
        BureauState.WAITING,
        BureauState.SUPERSEDED,
        BureauState.SUCCEEDED,
        BureauState.CLOSED,
        BureauState.STORED,
    }
    office.bureau.store.close()
    as_of_the_first_release(office.root / "home" / "bureau.db")
    office.restart()
    assert {digest: (state(office, digest), results(office, digest)) for digest in before} == before
    assert office.bureau.desk.judge_all() == 1, "what was due stays due"
    assert len(results(office, failed)) == 2
    assert results(office, stored[0]) == []
    office.clock.advance(seconds=300)
    assert office.bureau.desk.judge_all() == 1
    assert results(office, stored[0]) == [1]
    office.restart()
    assert state(office, closed) is BureauState.CLOSED


def test_a_newer_release_s_bureau_is_left_alone(office: Office) -> None:
    path = office.root / "home" / "bureau.db"
    office.bureau.store.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StoreDamaged):
        Store(path)
    assert path.read_bytes() == before


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def test_uploads_of_one_report_at_once_to_two_processes_make_one_report(postgresql: str, tmp_path: Path) -> None:
    office = Office(tmp_path / "office", database=postgresql)
    data, report = office.seal()
    replies = []
    start = threading.Barrier(4)

    def upload() -> None:
        start.wait()
        replies.append(office.client().put_report(report.digest, data))

    threads = [threading.Thread(target=upload) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reply.status for reply in replies) == [200, 200, 200, 201]
    assert len({reply.body for reply in replies}) == 1


def test_the_database_s_address_is_kept_and_never_shown(postgresql: str, tmp_path: Path) -> None:
    secret = postgresql.replace("postgres@", "postgres:geheim-4711@")
    said = ""
    for arguments in (["init", "--key-type", "p256", "--database", secret], ["init"], ["list", "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "tax_bureau", "--home", str(tmp_path / "b"), *arguments],
            capture_output=True, timeout=60, check=True, text=True,
        )  # fmt: skip
        said += done.stdout + done.stderr
    kept = tmp_path / "b" / "database"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert kept.read_text() == secret
    assert not (tmp_path / "b" / "bureau.db").exists()
    assert "geheim" not in said
    wrong = subprocess.run(
        [sys.executable, "-m", "tax_bureau", "--home", str(tmp_path / "c"), "init", "--database",
         "postgresql://x:geheim@/nowhere?host=/nonexistent", "--json"],
        capture_output=True, timeout=60, check=False, text=True,
    )  # fmt: skip
    assert wrong.returncode == 50
    assert json.loads(wrong.stdout)["errors"][0]["code"] == "B5020"
    assert "geheim" not in wrong.stdout + wrong.stderr


def test_two_bureaus_do_not_share_a_database(postgresql: str, tmp_path: Path) -> None:
    clock = SystemClock()
    assert init_bureau(tmp_path / "a", clock, key_type="p256", database=postgresql)
    assert not init_bureau(tmp_path / "a", clock, key_type="p256", database=postgresql)
    with pytest.raises(WrongState):
        init_bureau(tmp_path / "b", clock, key_type="p256", database=postgresql)
    with pytest.raises(WrongState):
        init_bureau(tmp_path / "a", clock, key_type="p256", database="postgresql://elsewhere/x")
