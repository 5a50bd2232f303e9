"""What the inbox takes, refuses, waits for and leaves alone."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import os
import threading
import time

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from online_station.shell import intake
from online_station.shell.intake import scan
from online_station.shell.setup import opened
from online_station.shell.store import Store
from online_station.shell.watcher import InboxWatcher
from shared.envelope.textsign import sign_text
from shared.errors import ConfigurationError, NameContradicts, OtherReport, StationBusy, StoreDamaged, TaxferryError
from shared.ids import Nonce, ReportDigest
from shared.model.ack import prove_ack, render_ack
from tests.support.online import make_report
from tests.support.pki import NOW, foreign_pki

NAME = "310100000000000_0_202608010000"


def why(desk):
    return {p.name.removesuffix(".why.txt"): p.read_text("utf-8-sig") for p in desk.home.quarantine.glob("*.why.txt")}


@pytest.mark.parametrize(
    "name",
    [
        f"{NAME}.dat",
        f"{NAME} (1).dat",
        f"{NAME} - 副本.dat",
        f"{NAME}.DAT",
        f"{NAME}.dat.txt",
        "３１０１００００００００００００_0_202608010000.dat",
        "报税.dat",
    ],
)
def test_a_renamed_report_is_taken_under_its_true_identity(station_desk, name):
    """NAME-1: the name is a hint."""
    digest = station_desk.report(name=name)
    station_desk.once()
    assert station_desk.row(NAME).digest == digest
    assert list(station_desk.inbox.iterdir()) == []


def test_a_name_that_contradicts_the_signature_is_refused_with_both_identities(station_desk):
    station_desk.report(name="310100000000000_1_202608010000.dat")
    (rejected,) = station_desk.once().harvest.rejected
    assert rejected.code == "B2208"
    (text,) = why(station_desk).values()
    assert "1 号分机" in text
    assert "主机" in text


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        (f"{NAME}.dat", b"", "B1105"),
        (f"{NAME}.dat", b"\x30\x80rubbish", "B1102"),
        (f"{NAME}.txt", b"Y", "B1203"),
        (f"{NAME}.txt", b"", "B1203"),
        (f"{NAME}.ack", b"", "B1401"),
        (f"{NAME}.ack", "税渡 清卡回执 1\r\n".encode(), "B1401"),
        (f"{NAME}.ack", b"x" * 70_000, "B1401"),
    ],
)
def test_what_cannot_be_accepted_is_set_aside_with_the_reason_beside_it(station_desk, name, data, code):
    (station_desk.inbox / name).write_bytes(data)
    done = station_desk.once()
    assert [e.code for e in done.harvest.rejected] == [code]
    ((stored, text),) = why(station_desk).items()
    assert (station_desk.home.quarantine / stored).read_bytes() == data
    assert code in text
    assert name in text
    assert "办法：" in text
    assert not (station_desk.inbox / name).exists()


@pytest.mark.parametrize("cut", [1, 100, 1500, -1])
def test_a_truncated_report_is_set_aside(station_desk, cut):
    data, _ = make_report()
    (station_desk.inbox / f"{NAME}.dat").write_bytes(data[:cut])
    assert [e.code for e in station_desk.once().harvest.rejected] == ["B1102"]


def test_a_foreign_card_s_report_is_set_aside(station_desk):
    foreign = foreign_pki()
    data, _ = make_report(0, foreign)
    (station_desk.inbox / f"{NAME}.dat").write_bytes(data)
    assert [e.code for e in station_desk.once().harvest.rejected] == ["B2101"]


def test_a_file_that_is_still_growing_is_given_time_and_then_taken(station_desk):
    data, made = make_report()
    path = station_desk.inbox / f"{NAME}.dat"
    path.write_bytes(data[: len(data) // 2])
    with station_desk.station() as station:
        station._tracker.settle = 3600.0
        done = station.once(patient=False)
        assert done.harvest.waiting == [path.name]
        path.write_bytes(data)
        assert station.once(patient=False).harvest.reports == [made.digest], "a file that proves is taken at once"


@pytest.mark.skipif(os.name == "nt", reason="platform: leases are Linux's")
def test_a_file_that_somebody_writes_is_not_judged(station_desk):
    path = station_desk.inbox / f"{NAME}.dat"
    with path.open("wb") as file:
        file.write(b"\x30\x80half")
        file.flush()
        assert station_desk.once().harvest.waiting == [path.name]
    assert station_desk.once().harvest.rejected


def test_one_report_in_two_files_is_one_report(station_desk):
    digest = station_desk.report()
    station_desk.report(name=f"{NAME} (1).dat", put=False)
    data = (station_desk.inbox / f"{NAME}.dat").read_bytes()
    (station_desk.inbox / f"{NAME} (1).dat").write_bytes(data)
    harvest = station_desk.once().harvest
    assert (harvest.reports, harvest.known) == ([digest], 1)
    assert station_desk.bureau.puts[digest] == 1
    (station_desk.inbox / f"{NAME}.dat").write_bytes(data)
    station_desk.once()
    assert station_desk.bureau.puts[digest] == 1
    assert list(station_desk.inbox.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="platform: pipes and symbolic links")
def test_what_is_no_file_of_ours_is_left_alone_and_counted(station_desk, tmp_path):
    inbox = station_desk.inbox
    data, _ = make_report()
    (tmp_path / "elsewhere.dat").write_bytes(data)
    (inbox / f"{NAME}.dat").symlink_to(tmp_path / "elsewhere.dat")
    os.mkfifo(inbox / "310100000000000_1_202608010000.dat")
    (inbox / "照片.jpg").write_bytes(b"x")
    (inbox / "说明.txt").write_bytes(b"x")
    (inbox / "别人的.dat").write_bytes(b"x")
    (inbox / "folder.dat").mkdir()
    (inbox / ".hidden.dat").write_bytes(data)
    (inbox / f"{NAME}.dat.part").write_bytes(data)
    before = sorted(p.name for p in inbox.iterdir())
    harvest = station_desk.once().harvest
    assert (harvest.reports, harvest.quarantined, harvest.foreign) == ([], [], 5)
    assert sorted(p.name for p in inbox.iterdir()) == before


@pytest.mark.skipif(os.name == "nt", reason="platform: names are text there")
def test_a_name_in_another_encoding_stops_nothing(station_desk):
    """What an old Windows packed or copied comes with names in GBK."""
    inbox = os.fsencode(station_desk.inbox)
    data, made = make_report()
    with open(inbox + b"/" + "七月报税.dat".encode("gbk"), "wb") as file:
        file.write(data)
    with open(inbox + b"/" + "公司.dat".encode("gbk"), "wb") as file:
        file.write(b"nobody's business")
    harvest = station_desk.once().harvest
    assert (harvest.reports, harvest.foreign) == ([made.digest], 1)
    with opened(station_desk.home) as store:
        notes = [event.note for event in store.events(made.digest)]
    assert "七月报税.dat" in notes


def test_another_file_that_took_the_name_meanwhile_is_not_removed(station_desk):
    _, first = make_report(0)
    path = station_desk.inbox / first.header.name.file_name(".dat")
    later, second = make_report(0, sequence=8, nonce=Nonce("1" * 32))

    def replaced(point):
        if point == "report noted" and station_desk.checkpoint is not None:
            station_desk.checkpoint = None
            path.unlink()
            path.write_bytes(later)

    station_desk.checkpoint = replaced
    digest = station_desk.report(0)
    with station_desk.station() as station:
        station.once(patient=False)
        assert path.read_bytes() == later
        station.once(patient=False)
    assert [station_desk.row(d).digest for d in (digest, second.digest)] == [digest, second.digest]
    assert not path.exists()


def test_a_file_that_changes_between_the_proof_and_the_copy_is_not_kept(station_desk, monkeypatch):
    digest = station_desk.report()
    (path,) = station_desk.inbox.iterdir()
    data = path.read_bytes()

    class Changing(io.BytesIO):
        """Reads as a whole report until it was read to its end, and damaged after that."""

        seen = False

        def fileno(self):
            return handle.fileno()

        def read(self, size=-1):
            found = super().read(size)
            if self.tell() == len(data):
                self.seen = True
            return found

        def seek(self, offset, whence=0):
            if self.seen and (offset, whence) == (0, 0):
                damaged = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
                self.seen = False
                super().seek(0)
                super().write(damaged)
            return super().seek(offset, whence)

    with path.open("rb") as handle, station_desk.station() as station:
        monkeypatch.setattr(intake, "open_ordinary", lambda _: Changing(data))
        monkeypatch.setattr(intake, "SMALL", 0)
        with pytest.raises(TaxferryError):
            station.intake.take_report(path, NOW, named=None, remove=True)
        assert not station_desk.home.report_file(digest).exists()
        assert path.read_bytes() == data
        # A small one is read once: what is kept is what was proven, whatever becomes of the file meanwhile.
        monkeypatch.setattr(intake, "SMALL", len(data))
        station.intake.take_report(path, NOW, named=None, remove=False)
        assert station_desk.home.report_file(digest).read_bytes() == data


def test_a_clear_receipt_by_another_card_s_hand_is_not_delivered(station_desk):
    """Machine 1 signs a receipt in its own name, for the digest of machine 0's report."""
    desk = station_desk
    mine, other = desk.report(0), desk.report(1)
    desk.once()
    for digest in (mine, other):
        desk.bureau.succeed(digest)
    desk.ask_now()
    path = desk.ack(other)
    proven = prove_ack(path.read_bytes(), desk.bureau.pki.trust, at=NOW)
    forged = dataclasses.replace(proven.ack, report_digest=ReportDigest(mine))
    path.write_bytes(
        sign_text(render_ack(forged), desk.bureau.pki.card(machine_no=1, key_type="p256"), signing_time=NOW)
    )
    harvest = desk.once().harvest
    assert [type(error) for error in harvest.rejected] == [OtherReport]
    assert desk.bureau.acks[mine] == 0
    assert desk.state(mine) == "staged"


def test_a_clear_receipt_under_another_s_name_is_refused(station_desk):
    desk = station_desk
    digest = desk.report(0)
    desk.once()
    desk.bureau.succeed(digest)
    desk.ask_now()
    desk.ack(digest, name="310100000000000_1_202608010000.ack")
    harvest = desk.once().harvest
    assert [type(error) for error in harvest.rejected] == [NameContradicts]
    assert desk.bureau.acks[digest] == 0


def test_a_missing_inbox_is_a_clear_error(tmp_path):
    with pytest.raises(ConfigurationError):
        scan(tmp_path / "gone")


def test_a_report_that_was_kept_but_not_noted_is_found_again(station_desk):
    data, made = make_report()
    station_desk.home.report_file(made.digest).write_bytes(data)
    station_desk.once()
    assert station_desk.state(made.digest) == "accepted"


def test_one_process_owns_the_station(station_desk):
    with station_desk.station(), pytest.raises(StationBusy), station_desk.station():
        pass


def test_a_database_of_a_newer_release_is_not_touched(station_desk):
    from online_station.core.decide import DEFAULT_POLICY

    store = Store(station_desk.home.database, DEFAULT_POLICY)
    with store.writing() as connection:
        connection.exec_driver_sql("PRAGMA user_version=99")
    store.close()
    with pytest.raises(StoreDamaged):
        Store(station_desk.home.database, DEFAULT_POLICY)


def test_the_watch_wakes_and_comes_back_after_the_folder_was_made_anew(tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    wake = threading.Event()
    watcher = InboxWatcher(folder, wake)
    try:
        assert watcher.ensure()
        wake.clear()
        (folder / "a.dat").write_bytes(b"x")
        assert wake.wait(5)
        (folder / "a.dat").unlink()
        folder.rmdir()
        assert not watcher.alive
        assert not watcher.ensure()
        folder.mkdir()
        assert watcher.ensure()
        wake.clear()
        (folder / "b.dat").write_bytes(b"x")
        assert wake.wait(5)
        assert watcher.restarts == 2
    finally:
        watcher.close()


def test_the_service_takes_what_arrives_and_hears_an_operator(station_desk):
    from online_station.core.decide import OperatorRelease

    station_desk.bureau.declared.clear()
    stop, wake = threading.Event(), threading.Event()
    told = []
    with station_desk.station(notify=told.append) as station:
        thread = threading.Thread(target=station.run, args=(stop, wake))
        thread.start()
        try:
            digest = station_desk.report()
            until(lambda: station_desk.row(digest).state.value == "held")
            station_desk.decide(digest, OperatorRelease())
            until(lambda: station_desk.bureau.puts[digest] == 1)
        finally:
            stop.set()
            wake.set()
            thread.join(10)
    assert not thread.is_alive()
    assert {"taken", "state"} <= {e["event"] for e in told}


def test_the_service_outlives_a_full_database(station_desk):
    done = station_desk.report(0)
    station_desk.once()
    told = []
    with station_desk.station(notify=told.append) as station:

        def pages(most: int | None) -> int:
            with station.store.reading() as connection:
                count = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            limit[0] = count if most is None else most
            return count

        limit = [1 << 20]

        @sa.event.listens_for(station.store.database.engine, "begin")
        def _limited(connection):
            connection.exec_driver_sql(f"PRAGMA max_page_count={limit[0]}")

        pages(None)
        with contextlib.suppress(DBAPIError):
            for _ in range(5000):
                station.store.note(done, "x", station_desk.clock.now(), "y" * 400)
        stop, wake = threading.Event(), threading.Event()
        thread = threading.Thread(target=station.run, args=(stop, wake))
        thread.start()
        try:
            digest = station_desk.report(1)
            until(lambda: any(e["event"] == "trouble" for e in told))
            pages(1 << 20)  # somebody made room
            until(lambda: station_desk.clock.advance(seconds=1) or station_desk.state(digest) == "accepted")
        finally:
            stop.set()
            wake.set()
            thread.join(10)
    assert not thread.is_alive()
    assert station_desk.bureau.puts[digest] == 1


def test_the_service_asks_after_an_upload_whose_answer_it_could_not_keep(station_desk):  # GW-6
    """A disk that is full at that moment must not leave the report as `sending` until somebody restarts the service."""
    points = []

    def full_once(point: str) -> None:
        points.append(point)
        if point == "upload answered" and points.count(point) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    station_desk.checkpoint = full_once
    stop, wake = threading.Event(), threading.Event()
    with station_desk.station() as station:
        thread = threading.Thread(target=station.run, args=(stop, wake))
        thread.start()
        try:
            digest = station_desk.report()
            until(lambda: station_desk.clock.advance(seconds=1) or station_desk.state(digest) == "accepted")
        finally:
            stop.set()
            wake.set()
            thread.join(10)
    assert not thread.is_alive()
    assert station_desk.bureau.puts[digest] == 1


def test_the_service_outlives_a_database_that_cannot_be_read(station_desk):
    stop, wake = threading.Event(), threading.Event()
    told = []
    with station_desk.station(notify=told.append) as station:
        thread = threading.Thread(target=station.run, args=(stop, wake))
        thread.start()

        def rename(old, new):
            with station.store.writing() as connection:
                connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")

        try:
            rename("report", "report_gone")
            until(lambda: any(e["event"] == "trouble" for e in told))
            rename("report_gone", "report")
            digest = station_desk.report()
            until(lambda: station_desk.state(digest) == "accepted")
        finally:
            stop.set()
            wake.set()
            thread.join(10)
    assert not thread.is_alive()


def until(condition):
    last = time.monotonic() + 20
    while True:
        try:
            if condition():
                return
        except Exception:
            if time.monotonic() > last:
                raise
        assert time.monotonic() < last
        time.sleep(0.02)
