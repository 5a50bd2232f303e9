"""Archives, backups and operators' decisions where several nodes share one PostgreSQL database."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_station.cli import base, program
from online_station.core.decide import OperatorHold
from online_station.shell import locked_stream
from online_station.shell.home import Home
from online_station.shell.node import read_node
from online_station.shell.schema import BLOB
from online_station.shell.setup import opened
from tests.support.databases import cluster, postgresql  # noqa: F401  fixtures
from tests.support.online import desk


@pytest.fixture
def nodes(tmp_path, postgresql, monkeypatch):  # noqa: F811
    with desk(tmp_path, postgresql, shared=tmp_path / "共享", name="甲") as first:
        monkeypatch.setattr(base, "CLOCK", first.clock)
        yield first, first.another("乙", postgresql)


@pytest.fixture
def run(capsys):
    def call(home, *words):
        status = program.run(["--home", str(home), *map(str, words), "--json"])
        answer = json.loads(capsys.readouterr().out)
        return status, {**answer["data"], "errors": answer["errors"]}

    return call


def blobs(node) -> int:
    with opened(node.home) as store, store.reading() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(BLOB)).scalar_one()


def test_one_node_archives_what_another_one_did_and_brings_it_back(nodes, run):
    first, second = nodes
    digest = first.report()
    first.once()
    first.bureau.succeed(digest)
    first.ask_now()
    first.ack(digest)
    first.once()
    assert first.state(digest) == "acknowledged"
    assert blobs(first) == 4, "the report, its receipt, its result and its clear receipt"
    before = run(second.home.root, "show", digest)[1]
    for node in nodes:
        node.clock.advance(days=181)
    status, done = run(second.home.root, "archive", "run")
    assert (status, done["reports"]) == (0, 1)
    assert blobs(first) == 0
    assert list(second.home.spool.iterdir()) == []
    assert run(first.home.root, "show", digest)[1]["archive"] == Path(done["archives"][0]).name
    status, again = run(first.home.root, "archive", "run")
    assert (status, again["reports"]) == (0, 0), "the archive lies on the other node, which is no trouble"
    assert run(second.home.root, "archive", "restore", digest)[0] == 0
    assert blobs(first) == 4
    after = run(first.home.root, "show", digest)[1]
    assert after["events"][:-2] == before["events"]
    assert run(first.home.root, "hold", digest)[0] == 52
    with opened(first.home) as store:
        store.note(digest, "placed-on-stick", first.clock.now(), "after")
    assert run(first.home.root, "show", digest)[1]["events"][-1]["note"] == "after", "numbers go on where they were"


def test_a_node_is_backed_up_without_the_database_and_made_anew(nodes, run, tmp_path, monkeypatch):
    monkeypatch.setattr(locked_stream, "LOG_N", 14)
    first, _ = nodes
    first.bureau.declared.clear()
    held = first.report()
    first.once()
    first.decide(held, OperatorHold())
    passphrase = tmp_path / "p.txt"
    passphrase.write_text("correct horse\n", encoding="utf-8")
    file = tmp_path / "x.backup"
    status, made = run(first.home.root, "backup", file, "--passphrase-file", passphrase)
    assert (status, made["has_database"], made["keys"]) == (0, False, 1)
    assert run(first.home.root, "backup", tmp_path / "y.backup", "--retire")[1]["errors"][0]["code"] == "B5001"
    assert run(first.home.root, "backup", tmp_path / "open.backup")[1]["locked"] is False
    new = Home(tmp_path / "新 丙")
    refused = run(new.root, "restore", tmp_path / "open.backup")[1]["errors"][0]
    assert (refused["code"], "--database" in refused["message"]) == ("B5001", True)
    status, put = run(new.root, "restore", file, "--passphrase-file", passphrase)
    assert (status, put["asked"]) == (0, 0), "the database goes on as it is: nothing is older than the truth"
    known, node = read_node(first.home), read_node(new)
    assert known is not None
    assert node is not None
    assert (node.database, node.name != known.name) == (known.database, True)
    assert run(new.root, "show", held)[1]["hold"] == "operator"
    status, put = run(new.root, "restore", file, "--passphrase-file", passphrase, "--replace", "--database-restored")
    assert (status, put["asked"]) == (0, 1)
    assert run(new.root, "show", held)[1]["state"] == "unknown"
    first.clock.advance(seconds=timedelta(minutes=1).total_seconds())
    run(new.root, "once")
    assert run(new.root, "show", held)[1]["state"] == "held"
