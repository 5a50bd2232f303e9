"""Several nodes before one database: each goes on with what another one took, and nothing is done twice."""

from __future__ import annotations

import json
import shutil
import stat

import pytest

from online_station.cli import base, program
from online_station.core.decide import OperatorHold, SendDue
from online_station.shell.node import read_node
from online_station.shell.schema import BLOB, REPORT
from online_station.shell.setup import opened, read_settings
from online_station.shell.steps import Pass
from online_station.shell.store import LeaseLost
from shared.errors import AlreadyInitialised, NotInitialised, StoreDamaged, StoreUnreachable, TaxferryError
from tests.support.databases import cluster, postgresql  # noqa: F401  fixtures
from tests.support.online import desk, large_report
from tests.support.pki import NOW


@pytest.fixture
def nodes(tmp_path, postgresql):  # noqa: F811
    """Two nodes with one inbox and one outbox."""
    with desk(tmp_path, postgresql, shared=tmp_path / "共享", name="甲") as first:
        yield first, first.another("乙", postgresql)


def test_what_one_node_took_another_one_sends_fetches_stages_and_closes(nodes):
    first, second = nodes
    bureau = first.bureau
    bureau.declared.clear()
    digest = first.report()
    first.once()
    assert first.state(digest) == "held"
    shutil.rmtree(first.home.root)  # that machine burns down
    bureau.declared.add("2026-07")
    second.clock.advance(seconds=10)
    second.once()
    assert bureau.puts[digest] == 1
    assert second.state(digest) == "accepted"
    third = second.another("丙", read_node(second.home).database)
    bureau.succeed(digest)
    shutil.rmtree(second.home.root)
    (staged,) = third.ask_now().staged
    assert staged.read_bytes() == bureau.reports[digest].answer
    fourth = third.another("丁", read_node(third.home).database)
    third.ack(digest)
    third.bureau.misbehave("ack", 503)
    third.once()
    shutil.rmtree(third.home.root)
    fourth.clock.advance(seconds=30)
    fourth.once()
    assert fourth.state(digest) == "acknowledged"
    assert (bureau.puts[digest], bureau.acks[digest]) == (1, 2)


def test_a_large_report_is_kept_in_parts_and_comes_back_whole(nodes):
    first, second = nodes
    data, report = large_report(3 << 20)
    (first.inbox / report.header.name.file_name(".dat")).write_bytes(data)
    first.bureau.declared.clear()
    first.once()
    with opened(second.home) as store:
        copy = second.home.report_file(report.digest)
        store.bring(copy, f"report/{report.digest}", store.find(report.digest).file_sha256)
        assert copy.read_bytes() == data
        with store.reading() as connection:
            sizes = [len(row.data) for row in connection.execute(BLOB.select().where(BLOB.c.name.like("report/%")))]
        assert max(sizes) == 1 << 20
        copy.write_bytes(b"damaged")
        store.bring(copy, f"report/{report.digest}", store.find(report.digest).file_sha256)
        assert copy.read_bytes() == data
        with pytest.raises(FileNotFoundError):
            store.bring(second.home.spool / "x", "report/nobody")


def test_two_nodes_that_see_the_same_file_take_it_once(nodes):
    first, second = nodes
    digest = first.report()
    path = next(first.inbox.iterdir())
    data = path.read_bytes()
    with first.station() as one, second.station() as two:
        assert one.intake.take_report(path, NOW, named=None, remove=False)[1] is True
        assert two.intake.take_report(path, NOW, named=None, remove=True)[1] is False
    assert not path.exists()
    path.write_bytes(data)  # and once more, after the other one removed it
    second.once()
    assert first.bureau.puts[digest] == 1


def test_a_worker_that_slept_longer_than_its_lease_changes_nothing(nodes):
    first, second = nodes
    digest = first.report()
    with first.station() as one, second.station() as two:
        one.intake.run(first.clock.now(), 0.0)
        stale = one.store.claim_report(digest, "one", 60.0, None, {one_step(first, digest)})
        assert stale is not None
        one.store.end_leases("one")  # its lease has run out
        fresh = two.store.claim_report(digest, "two", 60.0, None, {one_step(first, digest)})
        assert fresh is not None
        with pytest.raises(LeaseLost):
            one.store.apply(digest, SendDue(), first.clock.now(), claim=stale)
        assert two.store.apply(digest, SendDue(), first.clock.now(), claim=fresh)[2]
        assert first.state(digest) == "sending"
        with pytest.raises(LeaseLost):
            one.steps._upload(stale, Pass())
        assert first.bureau.puts[digest] == 0, "who was stopped before his request sends nothing when he wakes"


def one_step(node, digest):
    from online_station.core.decide import next_step

    return next_step(node.row(digest).snapshot)


def test_a_start_ends_only_the_leases_of_its_own_node(nodes):
    first, second = nodes
    digest = first.report()
    with first.station() as station:
        station.intake.run(first.clock.now(), 0.0)
        name = read_node(first.home).name
        assert station.store.claim_report(digest, name, 600.0, None, {one_step(first, digest)})
    second.once()
    assert first.bureau.puts[digest] == 0, "it is under the lease of a node that may live"
    first.once()
    assert first.bureau.puts[digest] == 1, "its own node knows that it does not"


def test_an_operator_on_any_node_is_heard_by_all(nodes):
    first, second = nodes
    first.bureau.declared.clear()
    digest = first.report()
    first.once()
    second.decide(digest, OperatorHold())
    first.bureau.declared.add("2026-07")
    first.clock.advance(days=1)
    first.once()
    assert first.bureau.puts[digest] == 0


def test_what_differs_between_machines_stays_in_the_home_and_is_read_by_nobody_else(nodes):
    first, second = nodes
    assert stat.S_IMODE(first.home.node_file.stat().st_mode) == 0o600
    assert not first.home.database.exists()
    with opened(first.home) as store:
        assert not {"key", "inbox", "pin_file", "proxy"} & store.settings().keys()
        mine, other = read_settings(first.home, store), read_settings(second.home, store)
    assert (mine.station_id, mine.inbox) == (other.station_id, other.inbox)
    assert mine.node != other.node
    with opened(first.home) as store:
        assert {"trust_asked_at"} & store.settings().keys() == set(), "each node fetches its own trust file"


def test_a_home_keeps_its_kind_of_database(tmp_path, nodes):
    first, _ = nodes
    (tmp_path / "own").mkdir()
    with desk(tmp_path / "own") as own, pytest.raises(AlreadyInitialised):
        own.initialise(read_node(first.home).database)


def test_a_node_with_another_root_does_not_join(tmp_path, nodes):
    from cryptography.hazmat.primitives.serialization import Encoding

    from tests.support.pki import foreign_pki

    first, _ = nodes
    (tmp_path / "root.pem").write_bytes(foreign_pki().root.public_bytes(Encoding.PEM))
    with pytest.raises(TaxferryError) as caught:
        first.another("外", read_node(first.home).database)
    assert caught.value.exit_code != 0
    with pytest.raises(NotInitialised), opened(type(first.home)(tmp_path / "外")):
        pass


def test_a_database_that_is_away_is_said_plainly_and_its_password_is_not(tmp_path, nodes, capsys):
    first, _ = nodes
    secret = "postgresql://taxferry:hunter2@127.0.0.1:1/none"
    facts = json.loads(first.home.node_file.read_text())
    first.home.node_file.write_text(json.dumps(facts | {"database": secret}))
    with pytest.raises(StoreUnreachable), opened(first.home):
        pass
    status = program.run(["--home", str(first.home.root), "list"])
    said = capsys.readouterr()
    assert status == StoreUnreachable(reason="x").exit_code
    assert "连不上数据库" in said.err
    assert "hunter2" not in said.out + said.err
    first.home.node_file.write_text("{")
    with pytest.raises(StoreDamaged), opened(first.home):
        pass


def test_the_whole_month_with_verbs_on_a_shared_database(nodes, monkeypatch, capsys):
    first, second = nodes
    monkeypatch.setattr(base, "CLOCK", first.clock)

    def run(node, *words):
        status = program.run(["--home", str(node.home.root), "--json", *words])
        return status, json.loads(capsys.readouterr().out)["data"]

    digest = first.report()
    assert run(first, "once")[1]["items"][0]["state"] == "accepted"
    first.bureau.succeed(digest)
    assert run(second, "results")[1]["items"][0]["state"] == "staged"
    first.ack(digest)
    assert run(second, "once")[0] == 0
    assert run(first, "show", digest)[1]["state"] == "acknowledged"
    assert [item["state"] for item in run(second, "list")[1]["items"]] == ["acknowledged"]
    assert run(first, "board")[0] == 0


def test_the_uploads_of_a_card_keep_their_order_and_what_is_held_bars_nobody(nodes):
    first, _ = nodes
    bureau = first.bureau
    earlier = first.report(sequence=7)
    later = first.report(sequence=8, name="later.dat")
    bureau.misbehave("put", 429)
    first.once()
    assert (bureau.puts[earlier], bureau.puts[later]) == (1, 0), "the earlier one was not taken: the later one waits"
    first.clock.advance(seconds=10)
    first.once()
    sent = [path.rsplit("/", 1)[1] for method, path, status in bureau.log if method == "PUT" and status == 201]
    assert sent == [earlier, later]


def test_the_lane_is_free_again_when_the_earlier_report_is_held(station_desk):
    earlier = station_desk.report(sequence=7)
    later = station_desk.report(sequence=8, name="later.dat")
    station_desk.bureau.misbehave("put", 429)
    station_desk.once()
    station_desk.decide(earlier, OperatorHold())
    station_desk.once()
    assert (station_desk.state(earlier), station_desk.state(later)) == ("held", "accepted")
    with opened(station_desk.home) as store, store.reading() as connection:
        assert connection.execute(REPORT.select().where(REPORT.c.lane.is_not(None))).all() == []


def test_upload_sends_the_earlier_report_of_the_card_first(station_desk, tmp_path):
    earlier = station_desk.report(sequence=7)
    station_desk.bureau.misbehave("put", 429)
    station_desk.once()
    later = station_desk.report(sequence=8, name="later.dat")
    path = (station_desk.inbox / "later.dat").rename(tmp_path / "later.dat")
    station_desk.clock.advance(seconds=30)
    with station_desk.station() as station:
        station.upload(path)
    sent = [p.rsplit("/", 1)[1] for method, p, status in station_desk.bureau.log if method == "PUT" and status == 201]
    assert sent == [earlier, later]


def test_the_stick_and_the_codes_of_any_node_carry_what_another_one_fetched(
    nodes, tmp_path, read_apart, monkeypatch, capsys
):
    first, second = nodes
    monkeypatch.setattr(base, "CLOCK", first.clock)
    digest = first.report()
    first.once()
    first.bureau.succeed(digest)
    (staged,) = first.ask_now().staged
    stick = tmp_path / "U盘"
    stick.mkdir()

    def run(*words):
        status = program.run(["--home", str(second.home.root), "--json", *map(str, words)])
        return status, json.loads(capsys.readouterr().out)["data"]

    assert run("stick", "prepare", stick)[0] == 0
    shutil.rmtree(first.home.root)
    assert staged.name in run("stick", "sync", stick)[1]["placed"]
    assert (stick / "TAXFERRY/to-offline" / staged.name).read_bytes() == first.bureau.reports[digest].answer
    (second.home.results / f"{digest}-1.txt").unlink()
    assert run("show", digest, "--qr", tmp_path / "结果.html")[0] == 0
