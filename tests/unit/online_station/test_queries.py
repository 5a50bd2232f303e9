"""Questions page by page: the answers of SQLite and PostgreSQL are those of a plain loop, and no page reads everything."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from online_station.core.board import STAGE_OF, STAGES, Stage
from online_station.shell import queries
from online_station.shell.queries import KeyMalformed, Wanted
from online_station.shell.records import QuarantinedRow
from online_station.shell.schema import QUARANTINED, REPORT, STANDING
from shared.states import OnlineState
from tests.support.databases import cluster
from tests.support.many import fill, insert, open_tables, report_values, standing, taxpayer
from tests.support.pki import NOW

__all__ = ["cluster"]

PERIODS = ("2026-05", "2026-06", "2026-07")
TODAY = NOW.date()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A file with 60 companies in it; nobody writes into it."""
    with contextlib.closing(open_tables(tmp_path_factory.mktemp("queries") / "station.db")) as database:
        database.rows = fill(database, companies=60, periods=PERIODS)
        yield database


@pytest.fixture(scope="module")
def remote(cluster):
    """The same on a server."""
    with contextlib.closing(open_tables(cluster.new_database())) as database:
        database.rows = fill(database, companies=60, periods=PERIODS)
        yield database


@pytest.fixture(params=["local", "remote"])
def filled(request):
    """The one or the other."""
    return request.getfixturevalue(request.param)


def pages(database, wanted, limit):
    key = None
    while True:
        page = queries.reports_page(database, wanted, limit=limit, after=key)
        yield page
        key = page.next
        if key is None:
            return


WANTED = [
    (Wanted(), lambda r: True),
    (Wanted(taxpayer=taxpayer(10)), lambda r: r["taxpayer_id"] == taxpayer(10)),
    (Wanted(states=(OnlineState.FAILED,)), lambda r: r["state"] == "failed"),
    (Wanted(states=(OnlineState.STAGED, OnlineState.HELD)), lambda r: r["state"] in ("staged", "held")),
    (Wanted(period="2026-06"), lambda r: r["period"] == "2026-06"),
    (
        Wanted(period="2026-06", states=(OnlineState.STAGED, OnlineState.HELD)),
        lambda r: r["period"] == "2026-06" and r["state"] in ("staged", "held"),
    ),
    (Wanted(machine=1), lambda r: r["machine_no"] == 1),
    (Wanted(text="汇总不"), lambda r: "汇总不" in r["message"]),
    (Wanted(text="第12家"), lambda r: r["taxpayer_id"] == taxpayer(12)),
    (Wanted(text="r3"), lambda r: r["receipt_no"].startswith("R3")),
    (Wanted(text="%"), lambda r: False),
    (Wanted(missed="2026-06"), lambda r: r["period"] <= "2026-06" and not r["superseded"]),
]


@pytest.mark.parametrize(("wanted", "fits"), WANTED)
def test_the_pages_of_a_list_are_together_what_a_loop_finds_the_newest_first(filled, wanted, fits):
    """Every twentieth company has copied twice: the first copy of a month is superseded unless the second was given up."""
    good = {(r["card_no"], r["period"], r["sequence"]) for r in filled.rows if r["state"] != "cancelled"}
    rows = [{**r, "superseded": (r["card_no"], r["period"], r["sequence"] + 1) in good} for r in filled.rows]
    expected = [r["digest"] for r in sorted(rows, key=lambda r: -r["found_at"]) if fits(r)]
    found = list(pages(filled, wanted, 7))
    assert [row.digest for page in found for row in page.items] == expected
    assert {page.total for page in found} == {len(expected)}
    whole = queries.reports_page(filled, wanted, limit=None)
    assert ([row.digest for row in whole.items], whole.next, whole.total) == (expected, None, len(expected))


def test_days_are_china_days_and_both_ends_count(filled):
    first, last = date(2026, 6, 3), date(2026, 6, 25)
    found = queries.reports_page(filled, Wanted(since=first, until=last), limit=None).items
    assert {row.digest for row in found} == {
        r["digest"]
        for r in filled.rows
        if first <= (NOW + timedelta(seconds=r["found_at"] - NOW.timestamp())).date() <= last
    }


def test_reports_of_one_second_stand_on_one_page_only(tmp_path):
    with contextlib.closing(open_tables(tmp_path / "station.db")) as database:
        insert(database, REPORT, [report_values(n) for n in range(25)])
        shown = [row.digest for page in pages(database, Wanted(), 4) for row in page.items]
        assert len(shown) == len(set(shown)) == 25


def test_files_that_were_set_aside_stand_between_the_reports(tmp_path):
    with contextlib.closing(open_tables(tmp_path / "station.db")) as database:
        insert(database, REPORT, [report_values(n, found=NOW + timedelta(minutes=n)) for n in range(4)])
        row = {
            "stored_name": "x.dat",
            "name": f"{taxpayer(3)}_0.dat",
            "code": "B1105",
            "reason_zh": "空",
            "reason_en": "",
        }
        insert(database, QUARANTINED, [{**row, "at": NOW.timestamp() + 90}])
        shown = [row for page in pages(database, Wanted(), 1) for row in page.items]
        assert [isinstance(row, QuarantinedRow) for row in shown] == [False, False, True, False, False]
        for wanted in (Wanted(states=(OnlineState.QUARANTINED,)), Wanted(text="b1105"), Wanted(taxpayer=taxpayer(3))):
            found = queries.reports_page(database, wanted, limit=5)
            assert any(isinstance(row, QuarantinedRow) for row in found.items)
        for wanted in (Wanted(period="2026-07"), Wanted(machine=0), Wanted(states=(OnlineState.HELD,))):
            assert not any(isinstance(r, QuarantinedRow) for r in queries.reports_page(database, wanted, limit=9).items)
        assert queries.reports_page(database, Wanted(states=(OnlineState.QUARANTINED,), machine=0), limit=5).items == ()
        assert queries.counts(database)["quarantined"] == 1


@pytest.mark.parametrize("key", ["", "x", "e30", "WzFd", "é", "W251bGwsICJ4Il0", "9" * 100])
def test_a_key_that_was_never_given_out_is_refused(local, key):
    with pytest.raises(KeyMalformed):
        queries.reports_page(local, Wanted(), limit=5, after=key)
    with pytest.raises(KeyMalformed):
        queries.board_page(local, limit=5, after=key)


def plan(database, statement):
    """Return how SQLite carries out a statement, a line for each table."""
    words = str(statement.compile(database.engine, compile_kwargs={"literal_binds": True}))
    with database.reading() as connection:
        return [str(r[3]) for r in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {words.replace('%', '%%')}")]


@pytest.mark.parametrize("place", [None, (NOW.timestamp(), "f" * 64)])
@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (Wanted(), "report_found"),
        (Wanted(taxpayer=taxpayer(3)), "report_taxpayer"),
        (Wanted(states=(OnlineState.FAILED, OnlineState.HELD)), "report_state"),
        (Wanted(period="2026-07"), "report_month"),
        (Wanted(since=TODAY), "report_found"),
        (Wanted(missed="2026-06", states=queries.OPEN_STATES), "report_state"),
    ],
)
def test_a_page_walks_along_an_index(local, wanted, index, place):
    steps = plan(local, queries.keys_of_page(wanted, 50, place))
    reads = [step for step in steps if " report" in step and "later_copy" not in step]
    assert reads
    assert all(f"INDEX {index}" in step for step in reads), steps
    if place is not None or wanted != Wanted():
        assert all(step.startswith("SEARCH") for step in reads), steps
    later = [step for step in steps if "later_copy" in step]
    assert all("report_card" in step for step in later), steps


def test_a_page_of_the_board_walks_along_an_index(local):
    statement = sa.select(REPORT.c.taxpayer_id).distinct().where(*queries._counts_in("2026-07", None, "31"))
    (step,) = plan(local, statement.order_by(REPORT.c.taxpayer_id).limit(51))
    assert step.startswith("SEARCH report USING INDEX report_month (period=? AND kind=? AND taxpayer_id>?)")
    for statement in (queries._slowest("2026-07", None, "failed"), queries._newest("2026-07", None).select()):
        reads = [step for step in plan(local, statement) if " report" in step]
        assert all(step.startswith("SEARCH report USING INDEX report_month (period=? AND kind=?") for step in reads)


# The board


def stages_of(rows, period):
    """Tell by a plain loop how far each company is."""
    newest = {}
    for r in rows:
        if r["period"] == period and r["state"] not in ("cancelled", "quarantined"):
            key = (r["taxpayer_id"], r["machine_no"])
            if key not in newest or newest[key]["sequence"] < r["sequence"]:
                newest[key] = r
    found = {}
    for (who, _), r in newest.items():
        found.setdefault(who, []).append(STAGES.index(STAGE_OF[OnlineState(r["state"])]))
    return {who: STAGES[min(each)] for who, each in sorted(found.items())}


@pytest.mark.parametrize("only", [None, "open", "failed", "done"])
def test_the_pages_of_the_board_are_together_what_a_loop_finds(filled, only):
    def fits(stage):
        return {
            None: True,
            "open": stage is not Stage.CLEARED,
            "failed": stage in (Stage.FAILED, Stage.HELD),
            "done": stage is Stage.CLEARED,
        }[only]

    expected = [
        (who, period, stage)
        for period in reversed(PERIODS)
        for who, stage in stages_of(filled.rows, period).items()
        if fits(stage)
    ]
    found, key = [], None
    while True:
        page = queries.board_page(filled, only=only, limit=8, after=key)
        assert page.total == len(expected)
        found.extend(page.items)
        key = page.next
        if key is None:
            break
    assert [(line.taxpayer_id, line.period, line.stage) for line in found] == expected
    one = queries.board_page(filled, only=only, period="2026-06")
    assert [(each.taxpayer_id, each.period, each.stage) for each in one.items] == [
        each for each in expected if each[1] == "2026-06"
    ]


def test_a_month_is_counted_by_the_database_as_by_a_loop(filled):
    stages = stages_of(filled.rows, "2026-07")
    found = queries.tally(filled, "2026-07", TODAY)
    assert found.companies == {stage: number for stage, number in Counter(stages.values()).items() if number}
    assert (found.registered, found.seen, found.silent) == (60, len(stages), 60 - len(stages))
    assert found.open == sum(stage is not Stage.CLEARED for stage in stages.values())
    assert list(found.companies) == sorted(found.companies, key=STAGES.index)
    silent = queries.silent_page(filled, "2026-07", limit=4)
    assert (silent.total, len(silent.items)) == (found.silent, 4)
    rest = queries.silent_page(filled, "2026-07", after=silent.next)
    assert {each.taxpayer_id for each in (*silent.items, *rest.items)} == {taxpayer(n) for n in range(60)} - set(stages)
    months = queries.open_months(filled, TODAY)
    assert [each.due.period for each in months] == list(PERIODS)
    assert months[-1].companies == found.open


def test_one_company_is_counted_alone(filled):
    found = queries.tally(filled, "2026-07", TODAY, taxpayer=taxpayer(10))
    assert (found.registered, found.seen, found.silent) == (1, 1, 0)
    (line,) = queries.board_page(filled, taxpayer=taxpayer(10), period="2026-07").items
    assert [machine.machine_no for machine in line.machines] == [0, 1]
    assert queries.silent_page(filled, "2026-07", taxpayer=taxpayer(9)).total == 1


def test_the_board_names_the_machine_for_which_a_report_waits(tmp_path):
    with contextlib.closing(open_tables(tmp_path / "station.db")) as database:
        row = report_values(1, state=OnlineState.WAITING)
        insert(database, REPORT, [row])
        told = {"taxpayer_id": row["taxpayer_id"], "period": "2026-07", "body": standing(row, (0, 2)), "at": 0.0}
        insert(database, STANDING, [told])
        (line,) = queries.board_page(database).items
        assert (line.stage, line.missing, line.declared) == (Stage.WAITING, (2,), True)


def test_gaps_of_cards_are_found_by_the_database(filled):
    by_loop = []
    cards = {}
    for r in filled.rows:
        cards.setdefault(r["card_no"], []).append(r["sequence"])
    for card, numbers in sorted(cards.items()):
        for before, after in itertools.pairwise(sorted(numbers)):
            if after > before + 1:
                by_loop.append((card, tuple(range(before + 1, after)), after))
    assert sorted((gap.card_no, gap.missing, gap.before) for gap in queries.gaps(filled)) == sorted(by_loop)
    assert by_loop


def test_the_oldest_report_that_a_person_has_to_see_to_comes_first(filled):
    first = queries.first_for_a_person(filled, Wanted())
    latest = {}
    for r in filled.rows:
        latest[r["card_no"]] = max(latest.get(r["card_no"], 0), r["sequence"])
    waiting = [r for r in filled.rows if r["state"] in ("failed", "held") and latest[r["card_no"]] == r["sequence"]]
    assert first is not None
    assert first.digest == min(waiting, key=lambda r: r["found_at"])["digest"]
    assert queries.first_for_a_person(filled, Wanted(states=(OnlineState.ACKNOWLEDGED,))) is None
    only = queries.first_for_a_person(filled, Wanted(states=(OnlineState.PROVEN,)))
    assert only is None or only.state is OnlineState.PROVEN


def test_what_is_due_is_counted(tmp_path):
    with contextlib.closing(open_tables(tmp_path / "station.db")) as database:
        assert queries.due_now(database, NOW) == (0, None)
        rows = [report_values(n, due_at=NOW.timestamp() + 60 * (n - 2)) for n in range(5)]
        insert(database, REPORT, rows)
        assert queries.due_now(database, NOW) == (3, NOW - timedelta(minutes=2))


@pytest.mark.slow
def test_a_hundred_thousand_reports_are_looked_at_in_no_time(tmp_path):
    """What CONTRIBUTING promises of a normal PC, with room for a slow one."""
    with contextlib.closing(open_tables(tmp_path / "station.db")) as database:
        rows = fill(database, companies=20_000, periods=[f"2026-{month:02}" for month in range(3, 8)])
        assert len(rows) > 100_000
        for question, seconds in (
            (lambda: queries.reports_page(database, Wanted(), limit=50), 0.5),
            (lambda: queries.reports_page(database, Wanted(states=(OnlineState.FAILED,)), limit=50), 0.5),
            (lambda: queries.reports_page(database, Wanted(period="2026-05"), limit=50), 1.0),
            (lambda: queries.board_page(database, period="2026-07", limit=50), 1.5),
            (lambda: queries.tally(database, "2026-07", TODAY), 3.0),
            (lambda: queries.open_months(database, TODAY), 3.0),
            (lambda: queries.gaps(database), 3.0),
        ):
            began = time.monotonic()
            question()
            assert time.monotonic() - began < seconds
