"""Alarms: what is one, that each is said once, and that robots are told it in their own form, come what may."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import itertools
import json
import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_station.core.alarms import (
    Alarm,
    Companies,
    Facts,
    Kind,
    Known,
    Rules,
    StickAway,
    StuckReport,
    alarms,
    compare,
)
from online_station.core.board import due
from online_station.core.decide import HoldReason
from online_station.shell import webhook
from online_station.shell.alarm_book import EXPIRES, LIMITS, AlarmBook
from online_station.shell.meter import LifeSign, Meters, Reach
from online_station.shell.schema import COMPANY, LEG, NOTICE, REPORT, SETTING
from online_station.shell.setup import opened, read_settings
from online_station.shell.watch import Watch, files_in, look
from online_station.shell.webhook import Robot, Said, check_robot, masked, parcel, send
from shared.errors import RobotInvalid, RobotSilent
from shared.states import OnlineState
from shared.text import Text, both
from tests.support.databases import cluster
from tests.support.fake_robot import SECRET, serving_robot
from tests.support.many import insert, open_tables, report_values, taxpayer
from tests.support.pki import NOW
from tests.unit.online_station.test_cli import run

__all__ = ["cluster", "run"]

MONTH = due("2026-07", NOW.date())
RULES = Rules()


def facts(**changes):
    return Facts(**{"place": "pc1", "due": MONTH, **changes})


def near(days=1):
    """Return the month when so many days are left."""
    return due("2026-07", MONTH.day - timedelta(days=days))


# What is an alarm


@pytest.mark.parametrize("kind", Kind)
def test_each_trouble_is_an_alarm_and_none_of_them_without_it(kind):
    trouble = {
        Kind.DEADLINE: {"due": near(), "behind": Companies(2, ("甲", "乙"))},
        Kind.SILENT: {"due": near(), "silent": Companies(7, tuple("甲乙丙丁戊"))},
        Kind.FAULT: {"stuck": [StuckReport("a" * 64, "甲 1_0_1", None, "2715", "明细与汇总不符")]},
        Kind.HELD: {"stuck": [StuckReport("a" * 64, "甲 1_0_1", HoldReason.KEY_MISSING)]},
        Kind.STICK: {"sticks": [StickAway("0" * 16, "财务", 3, 4)]},
        Kind.BUREAU: {"down_for": timedelta(minutes=30)},
        Kind.DISK: {"free_bytes": (2 << 30) - 1},
        Kind.KEY: {"key_days": 29},
    }
    (alarm,) = alarms(facts(**trouble[kind]), RULES)
    assert alarm.kind is kind
    assert alarm.place == ("pc1" if kind in (Kind.BUREAU, Kind.DISK, Kind.KEY) else "")
    assert alarm.text.zh
    assert alarm.text.en


def test_in_order_means_no_alarm():
    fine = facts(down_for=timedelta(minutes=29), free_bytes=2 << 30, key_days=30, behind=Companies(5, ("甲",)))
    assert alarms(fine, RULES) == []
    assert alarms(facts(), RULES) == []


@pytest.mark.parametrize(("days", "told"), [(4, False), (3, True), (0, True), (-1, True), (-5, True), (-6, False)])
def test_a_deadline_is_an_alarm_from_some_days_before_it_until_some_days_after(days, told):
    found = alarms(facts(due=near(days), behind=Companies(1, ("甲",))), RULES)
    assert bool(found) is told


def test_many_companies_are_one_alarm_that_names_some_of_them():
    (alarm,) = alarms(facts(due=near(), silent=Companies(20_000, tuple("甲乙丙丁戊"))), RULES)
    assert alarm.key == "silent:2026-07"
    assert "20000 家" in alarm.text.zh
    assert "甲、乙、丙、丁、戊 等" in alarm.text.zh


def test_another_fault_of_the_same_report_is_another_alarm():
    first, second = (
        alarms(facts(stuck=[StuckReport("a" * 64, "甲", None, code)]), RULES)[0].key for code in ("2715", "271D")
    )
    assert first != second


KEYS = st.sets(st.sampled_from(["deadline:1", "fault:a", "fault:b", "disk:pc1", "disk:pc2"]))


@given(KEYS, KEYS, st.integers(0, 72))
def test_what_is_said_is_what_is_new_what_has_lasted_and_what_is_over(standing, so, hours):
    def place(key):
        return key.partition(":")[2] if key.startswith("disk") else ""

    so = {key for key in so if place(key) in ("", "pc1")}
    known = {key: Known(place(key), NOW) for key in standing}
    now_so = [Alarm(key, Kind.DISK, place(key), both(key)) for key in sorted(so)]
    changes = compare(known, now_so, NOW + timedelta(hours=hours), RULES, "pc1")
    assert {a.key for a in changes.raised} == so - standing
    assert {a.key for a in changes.repeated} == (so & standing if hours >= 24 else set())
    assert set(changes.ended) == {key for key in standing - so if place(key) != "pc2"}, "pc2 judges its own disk"


# Each is said once


@pytest.fixture(params=["sqlite", "postgresql"])
def two_nodes(request, tmp_path):
    """Two programs that have the same database open."""
    where = tmp_path / "station.db" if request.param == "sqlite" else request.getfixturevalue("cluster").new_database()
    with contextlib.closing(open_tables(where)) as one, contextlib.closing(open_tables(where)) as other:
        yield AlarmBook(Node(one)), AlarmBook(Node(other))


class Node:
    """A database with what the book needs of a store."""

    def __init__(self, database):
        self.reading, self.writing = database.reading, database.writing

    def settings(self):
        with self.reading() as connection:
            return {r.name: r.value for r in connection.execute(SETTING.select())}

    def set(self, **values):
        with self.writing() as connection:
            for name, value in values.items():
                connection.execute(SETTING.delete().where(SETTING.c.name == name))
                connection.execute(SETTING.insert().values(name=name, value=value))


def alarm(key="fault:a", place="", words="出事了"):
    return Alarm(key, Kind.FAULT, place, Text(words, "trouble"))


ROBOT = Robot("群", "generic", "https://example.test/hook/0123456789abcdef")


def test_nodes_that_see_the_same_at_once_say_it_once(two_nodes):
    two_nodes[0].put_robot(ROBOT, NOW)
    found = [alarm(f"fault:{n}") for n in range(20)]
    begin = threading.Barrier(2)
    said = []

    def see(book):
        begin.wait(10)
        said.extend(a.key for a in book.note(found, NOW, RULES, "pc1").raised)

    threads = [threading.Thread(target=see, args=(book,)) for book in two_nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(said) == sorted(a.key for a in found)
    (batch,) = two_nodes[0].take(NOW)
    assert sorted(s.key for s in batch.said) == sorted(a.key for a in found)
    assert two_nodes[1].take(NOW) == [], "what one node has taken, no other one sends"


def test_what_a_node_took_and_never_sent_is_sent_by_another(two_nodes):
    one, other = two_nodes
    one.put_robot(ROBOT, NOW)
    one.note([alarm()], NOW, RULES, "pc1")
    assert len(one.take(NOW)) == 1
    assert other.take(NOW + timedelta(seconds=119)) == []
    (batch,) = other.take(NOW + timedelta(seconds=120))
    assert (batch.attempts, batch.said[0].key) == (2, "fault:a")


def test_an_alarm_is_raised_repeated_and_ended_once_each(two_nodes):
    one, other = two_nodes
    one.put_robot(ROBOT, NOW)
    told = []
    for hours, so in ((0, True), (1, True), (24, True), (25, True), (26, False), (27, False), (28, True)):
        now = NOW + timedelta(hours=hours)
        for book in (one, other):
            book.note([alarm()] if so else [], now, RULES, "pc1")
            for batch in book.take(now):
                told += [(hours, s.event) for s in batch.said]
                book.sent(batch, now)
    assert told == [(0, "raised"), (24, "repeated"), (26, "ended"), (28, "raised")]
    (row,) = one.robots()
    assert (row.sent_at, row.waiting) == (NOW + timedelta(hours=28), 0)


def test_a_lasting_alarm_is_described_as_it_is_now_without_being_said_again(two_nodes):
    one, other = two_nodes
    one.put_robot(ROBOT, NOW)
    one.note([alarm(words="还有 5 家")], NOW, RULES, "pc1")
    one.note([alarm(words="还有 3 家")], NOW + timedelta(hours=1), RULES, "pc1")
    assert [each.alarm.text.zh for each in other.standing()] == ["还有 3 家"]
    assert [s.text.zh for batch in other.take(NOW) for s in batch.said] == ["还有 5 家"]


def test_a_robot_that_fails_is_tried_later_and_later_and_not_for_ever(two_nodes):
    book, _ = two_nodes
    book.put_robot(ROBOT, NOW)
    book.note([alarm()], NOW, RULES, "pc1")
    now, waits, expired = NOW, [], 0
    while not expired:
        batches = book.take(now)
        if batches:
            expired = book.failed(batches[0], Text("没有回应", "no answer"), now)
            waits.append(now)
        with book._store.reading() as connection:
            due_at = connection.execute(NOTICE.select().with_only_columns(NOTICE.c.due_at)).scalar()
        assert book.take(now) == []
        now = now if due_at is None else datetime.fromtimestamp(due_at, NOW.tzinfo)
        assert now < NOW + EXPIRES + timedelta(hours=2)
    pauses = [(after - before).total_seconds() for before, after in itertools.pairwise(waits)]
    assert 20 <= pauses[0] <= 50
    assert max(pauses) <= 4330
    assert len(waits) < 40
    (row,) = book.robots()
    assert (row.failure.zh, row.waiting) == ("没有回应", 0)


def test_a_new_robot_is_told_what_stands_and_a_mended_one_what_it_missed(two_nodes):
    book, _ = two_nodes
    book.note([alarm()], NOW, RULES, "pc1")
    assert book.put_robot(ROBOT, NOW) is True
    (batch,) = book.take(NOW)
    book.failed(batch, both("x"), NOW)
    assert book.take(NOW) == []
    assert book.put_robot(ROBOT, NOW + timedelta(seconds=1)) is False
    assert len(book.take(NOW + timedelta(seconds=1))) == 1
    assert book.remove_robot("群") is True
    assert book.remove_robot("群") is False
    assert (book.take(NOW + timedelta(days=1)), book.robots()) == ([], [])


def test_what_has_no_room_in_one_message_waits_for_the_next(two_nodes):
    book, _ = two_nodes
    book.put_robot(ROBOT, NOW)
    book.note([alarm(f"fault:{n:04}") for n in range(250)], NOW, RULES, "pc1")
    (batch,) = book.take(NOW)
    assert (len(batch.said), batch.left_out) == (200, 50)
    book.sent(batch, NOW)
    assert [len(each.said) for each in book.take(NOW)] == [50]


def test_rules_are_kept_and_what_cannot_be_used_counts_as_not_set(two_nodes):
    book, other = two_nodes
    assert book.rules() == Rules()
    book.set_rules(days_before=5, repeat_hours=1)
    assert other.rules() == Rules(days_before=5, repeat_hours=1)
    book.set_rules(days_before=-1, key_days=10**6)
    assert other.rules() == Rules(repeat_hours=1)
    assert set(LIMITS) == set(vars(Rules()))


# Robots


SAID = [
    Said("fault:a", "fault", "raised", NOW, Text("甲公司 报税失败", "甲 failed")),
    Said("disk:pc1", "disk", "ended", NOW, Text("磁盘将满", "disk nearly full")),
]


@pytest.fixture
def robot():
    with serving_robot(now_ms=int(NOW.timestamp() * 1000)) as made:
        yield made


def each_kind(robot):
    return (
        Robot("通用", "generic", robot.generic, "sign with this"),
        Robot("企业微信", "wecom", robot.wecom),
        Robot("钉钉", "dingtalk", robot.dingtalk, SECRET),
    )


def test_each_robot_is_told_in_its_own_form(robot):
    for to in each_kind(robot):
        send(to, parcel(to, "online-ab12", SAID, NOW))
    assert [who for who, _ in robot.took] == ["generic", "wecom", "dingtalk"]
    plain = robot.took[0][1]
    assert (plain["source"], plain["version"], plain["station"]) == ("taxferry", 1, "online-ab12")
    assert plain["alarms"][0] == {
        "key": "fault:a",
        "kind": "fault",
        "event": "raised",
        "since": "2026-08-05T09:30:00+08:00",
        "text": {"zh": "甲公司 报税失败", "en": "甲 failed"},
    }
    assert robot.texts()[0] == "【税渡】online-ab12\n新：甲公司 报税失败\n结束：磁盘将满"
    assert robot.texts()[0] == robot.texts()[1]


def test_a_plain_message_is_signed_over_its_time_and_its_octets(robot):
    to = each_kind(robot)[0]
    request = parcel(to, "s", SAID, NOW)
    stamp = request.headers["Taxferry-Timestamp"]
    assert stamp == str(int(NOW.timestamp()))
    expected = hmac.new(b"sign with this", stamp.encode() + b"." + request.body, hashlib.sha256).hexdigest()
    assert request.headers["Taxferry-Signature"] == f"sha256={expected}"
    assert "Taxferry-Signature" not in parcel(Robot("x", "generic", to.url), "s", SAID, NOW).headers


def test_the_signature_of_a_message_is_what_another_program_computes():
    """Computed with OpenSSL: `printf '%s\\n%s' 1577262236757 "$s" | openssl dgst -sha256 -hmac "$s" -binary | base64`."""
    moment = datetime.fromtimestamp(1577262236, NOW.tzinfo).replace(microsecond=757000)
    added = webhook.dingtalk_signature("this is secret", moment)
    assert added == "&timestamp=1577262236757&sign=hmPWwU%2B7lVdm3ZZz0r9tSfx0L4Q26jWOZr9%2BGs6EZQM%3D"
    assert webhook.dingtalk_signature("", moment) == ""


def test_a_wrong_secret_or_a_wrong_clock_is_refused_and_said(robot):
    wrong = Robot("钉钉", "dingtalk", robot.dingtalk, "SECxxxxxxxxxxxxxxxx")
    with pytest.raises(RobotSilent, match="310000 sign not match"):
        send(wrong, parcel(wrong, "s", SAID, NOW))
    good = each_kind(robot)[2]
    with pytest.raises(RobotSilent, match="invalid timestamp"):
        send(good, parcel(good, "s", SAID, NOW - timedelta(hours=2)))


@pytest.mark.parametrize("number", [1, 3, 60, 500])
def test_a_long_message_is_cut_to_what_the_maker_takes_and_says_how_much_is_missing(robot, number):
    said = [
        Said(str(n), "fault", "raised", NOW, both("某某某某某某有限责任公司的报告出了事" * 3)) for n in range(number)
    ]
    for to in each_kind(robot)[1:]:
        send(to, parcel(to, "online-ab12", said, NOW, left_out=7))
    assert robot.refused == []
    for content in robot.texts():
        shown = content.count("新：")
        assert f"另有 {number - shown + 7} 条" in content


def test_a_single_thing_that_is_too_long_is_cut_between_signs(robot):
    to = each_kind(robot)[1]
    send(to, parcel(to, "s", [Said("a", "fault", "raised", NOW, both("长" * 3000))], NOW))
    assert robot.texts()[0].endswith("…")


MISBEHAVIOUR = [
    ((500, b""), "HTTP 500"),
    ((404, b"<html>"), "HTTP 404"),
    ("redirect", "HTTP 302"),
    ("close", "连接不上"),
    ("flood", "回答读不了"),
    ((200, b"<html>hello</html>"), "回答不是机器人的"),
    ((200, b"[]"), "回答不是机器人的"),
    ((200, b'{"errcode": "x"}'), "回答不是机器人的"),
    ((200, b"[" * 60000), "回答不是机器人的"),
    ((200, b'{"errcode": 45009, "errmsg": "api freq out of limit"}'), "发送太频繁"),
    ((200, b'{"errcode": 93000, "errmsg": "invalid webhook url 693a91f6-7abc-4bc4-97a0-0ec2sifa5aaa"}'), "93000"),
]


@pytest.mark.parametrize(("does", "words"), MISBEHAVIOUR)
def test_a_robot_that_misbehaves_took_nothing_and_its_address_is_not_told(robot, does, words):
    robot.script.append(does)
    to = each_kind(robot)[1]
    with pytest.raises(RobotSilent) as caught:
        send(to, parcel(to, "s", SAID, NOW))
    assert words in caught.value.text.zh
    for told in (str(caught.value), repr(caught.value), repr(to), repr(parcel(to, "s", SAID, NOW))):
        assert "693a91f6" not in told
    assert caught.value.__cause__ is None
    assert robot.took == []


def test_a_robot_that_does_not_answer_is_not_waited_for(robot, monkeypatch):
    monkeypatch.setattr(webhook, "READ_SECONDS", 0.2)
    robot.script.append("hang")
    to = each_kind(robot)[0]
    with pytest.raises(RobotSilent, match="超时"):
        send(to, parcel(to, "s", SAID, NOW))


def test_nobody_listens():
    to = Robot("x", "generic", "http://127.0.0.1:9/a-secret-path")
    with pytest.raises(RobotSilent) as caught:
        send(to, parcel(to, "s", SAID, NOW))
    assert "a-secret-path" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("generic", ""),
        ("generic", "example.test/x"),
        ("generic", "ftp://example.test/x"),
        ("generic", "https://user:password@example.test/x"),
        ("generic", "https://example.test/x y"),
        ("generic", "https://example.test/#x"),
        ("generic", "https://[::1/x"),
        ("generic", "https://example.test:99999/x"),
        ("wecom", "https://qyapi.weixin.qq.com/cgi-bin/webhook/send"),
        ("dingtalk", "https://oapi.dingtalk.com/robot/send?key=1"),
    ],
)
def test_an_address_that_no_robot_can_have_is_refused(kind, url):
    with pytest.raises(RobotInvalid) as caught:
        check_robot(Robot("群", kind, url))
    assert "password" not in str(caught.value)


def test_what_is_wrong_with_a_robot_is_said_before_it_is_kept():
    with pytest.raises(RobotInvalid):
        check_robot(Robot("a b", "generic", "https://example.test/"))
    with pytest.raises(RobotInvalid):
        check_robot(Robot("群", "wecom", "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=1", "SEC1"))
    assert check_robot(Robot("群", "generic", "https://example.test/")) == []
    assert check_robot(Robot("群", "generic", "http://localhost:80/")) == []
    (warning,) = check_robot(Robot("群", "generic", "http://10.0.0.1/"))
    assert "明文" in warning.zh


def test_an_address_is_shown_by_its_host_and_its_end(robot):
    assert masked("https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=693a91f6-0ec2sifa5aaa") == (
        "https://qyapi.weixin.qq.com/…5aaa"
    )
    assert masked("https://example.test/short") == "https://example.test/…"


# Facts of a station


@pytest.fixture
def station(station_desk):
    with opened(station_desk.home) as store:
        yield station_desk, store


def seen(station, **changes):
    desk, store = station
    return look(
        store,
        desk.home,
        desk.clock.now(),
        RULES,
        **{"place": "pc1", "down_for": timedelta(), "key_days": None, **changes},
    )


def test_a_station_in_order_raises_nothing(station):
    assert alarms(seen(station), Rules(free_gib=0)) == []


def test_what_is_wrong_is_found_in_the_database(station):
    desk, store = station
    desk.clock.moment = NOW.replace(day=16)
    shared = {"inbox": "", "key_file": "", "pin_file": "", "added_at": 0.0}
    insert(store, COMPANY, [{"taxpayer_id": taxpayer(n), "name": f"第{n}家", **shared} for n in (1, 2, 3)])
    staged = report_values(4, state=OnlineState.STAGED)
    superseded = report_values(5, state=OnlineState.FAILED, sequence=1)
    insert(
        store,
        REPORT,
        [
            report_values(1, state=OnlineState.FAILED),
            report_values(2, state=OnlineState.HELD),
            report_values(6, state=OnlineState.HELD, hold="key-missing"),
            staged,
            superseded,
            report_values(5, state=OnlineState.ACKNOWLEDGED, sequence=2),
        ],
    )
    left = {"digest": staged["digest"], "leg": "left", "stick_id": "0" * 16, "label": "财务"}
    insert(store, LEG, [{"at": NOW.timestamp(), **left}])
    found = {a.kind: a.text.zh for a in alarms(seen(station), Rules(free_gib=0))}
    assert set(found) == {Kind.DEADLINE, Kind.SILENT, Kind.FAULT, Kind.HELD, Kind.STICK}
    assert f"还有 3 家没有报税成功：第1家、第2家、{taxpayer(6)}" in found[Kind.DEADLINE]
    assert "还有 1 家没有送来报税文件：第3家" in found[Kind.SILENT]
    assert found[Kind.FAULT].startswith(f"第1家 {taxpayer(1)}_0_202608010000 报税失败：2715")
    assert "U盘“财务”带走了 1 个结果，11 天" in found[Kind.STICK]
    assert not any("7500" in text or "4000" in text for text in found.values()), "no figures"


def test_the_bureau_is_out_of_reach_since_it_was_first_not_reached(station):
    desk, store = station
    reach = Reach(store, desk.clock, "pc1")
    assert reach.down_for(NOW) == timedelta()
    reach.asked("trust", "unreachable")
    desk.clock.advance(minutes=20)
    reach.asked("status", "unreachable")
    reach.asked("upload", "unknown")
    assert Reach(store, desk.clock, "pc1").down_for(desk.clock.now()) == timedelta(minutes=20), (
        "a restart forgets nothing"
    )
    (alarm,) = alarms(seen(station, down_for=timedelta(minutes=31)), Rules(free_gib=0))
    assert alarm.key == "bureau:pc1"
    reach.asked("status", "refused")
    assert reach.down_since is None
    assert Reach(store, desk.clock, "pc1").down_since is None


def test_files_in_the_inbox_and_in_the_folders_of_companies_are_counted(tmp_path):
    (tmp_path / "甲" / "deep").mkdir(parents=True)
    for name in ("a.dat", "甲/b.dat", "甲/deep/c.dat", ".hidden"):
        (tmp_path / name).touch()
    assert files_in(tmp_path) == 2
    assert files_in(tmp_path / "nowhere") == 0


# The watch


def watch_of(desk, store, send=None):
    return Watch(
        desk.home, desk.clock, threading.Event(), Reach(store, desk.clock, "pc1"), Meters(LifeSign()), send=send
    )


def test_a_robot_is_told_once_of_a_fault_and_once_of_its_end(station, robot):
    desk, store = station
    book = AlarmBook(store)
    book.set_rules(free_gib=0)
    book.put_robot(Robot("群", "wecom", robot.wecom), NOW)
    insert(store, REPORT, [report_values(1, state=OnlineState.FAILED)])
    watch = watch_of(desk, store)
    for _ in range(3):
        watch.once(store)
    assert [text.count("新：") for text in robot.texts()] == [1]
    assert taxpayer(1) in robot.texts()[0]
    with store.writing() as connection:
        connection.execute(REPORT.update().values(state="processing"))
    for _ in range(3):
        watch.once(store)
    assert [text.count("结束：") for text in robot.texts()] == [0, 1]


def test_a_robot_that_is_down_holds_nobody_up_and_is_told_when_it_is_back(station, robot):
    desk, store = station
    book = AlarmBook(store)
    book.set_rules(free_gib=0)
    book.put_robot(Robot("坏的", "wecom", robot.wecom), NOW)
    book.put_robot(Robot("好的", "generic", robot.generic), NOW)
    insert(store, REPORT, [report_values(1, state=OnlineState.FAILED)])
    tried = []

    def flaky(to, request):
        tried.append(to.name)
        if to.name == "坏的" and len(tried) < 4:
            raise RobotSilent(robot=to.name, reason=both("down"))
        send(to, request)

    watch = watch_of(desk, store, flaky)
    watch.once(store)
    (down,) = [row for row in book.robots() if row.robot.name == "坏的"]
    assert (down.failed_at, down.failure.zh, down.waiting) == (NOW, "down", 1)
    for _ in range(6):
        watch.once(store)
        desk.clock.advance(minutes=2)
    assert [who for who, _ in robot.took] == ["generic", "wecom"]
    with store.reading() as connection:
        assert connection.execute(NOTICE.select()).all() == []
    assert {row.robot.name: row.failed_at for row in book.robots()} == {"坏的": None, "好的": None}


def test_the_watch_ends_with_the_service_and_survives_what_goes_wrong(station):
    desk, store = station
    stop, seen_twice = threading.Event(), threading.Event()

    class Broken(Reach):
        calls = 0

        def down_for(self, now):
            Broken.calls += 1
            if Broken.calls == 1:
                raise OSError("the disk is gone")
            seen_twice.set()
            return timedelta()

    watch = Watch(desk.home, desk.clock, stop, Broken(store, desk.clock, "pc1"), Meters(), every=0.01)
    watch.start()
    assert seen_twice.wait(20)
    stop.set()
    watch.join(20)
    assert not watch.is_alive()


# The verbs


def test_robots_are_set_listed_tried_and_removed(station_desk, run, robot, tmp_path):
    secret, address = tmp_path / "密钥.txt", tmp_path / "地址.txt"
    secret.write_text(f"{SECRET}\n", encoding="utf-8")
    address.write_text(f"\ufeff{robot.dingtalk}\r\n", encoding="utf-8")
    status, out, _ = run("alarms", "list", json_wanted=False)
    assert status == 0
    assert "还没有登记机器人" in out
    assert "现在没有告警" in out
    assert run("alarms", "test", json_wanted=False)[0] == 50
    robot.now_ms = None
    status, out, _ = run("alarms", "set", "群", "--kind", "wecom", "--url", robot.wecom, json_wanted=False)
    assert (status, "alarms test 群" in out) == (0, True)
    words = ("--kind", "dingtalk", "--url-file", address, "--secret-file", secret)
    assert run("alarms", "set", "钉钉群", *words, json_wanted=False)[0] == 0
    status, out, _ = run("alarms", "test", json_wanted=False)
    assert (status, [who for who, _ in robot.took]) == (
        0,
        ["dingtalk", "wecom"] if "钉" < "群" else ["wecom", "dingtalk"],
    )
    assert all("测试" in text for text in robot.texts())
    robot.script.append((500, b""))
    status, out, err = run("alarms", "test", "群", json_wanted=False)
    assert status == 50
    assert "“群”没有收下消息：HTTP 500" in err
    answer = json.loads(run("alarms", "list", "--json", json_wanted=False)[1])
    shown = json.dumps(answer)
    assert {each["name"] for each in answer["data"]["robots"]} == {"群", "钉钉群"}
    for word in (SECRET, "693a91f6", "50cb6e95", str(robot.wecom)):
        assert word not in shown
    assert run("alarms", "remove", "群", json_wanted=False)[0] == 0
    assert run("alarms", "remove", "群", json_wanted=False)[0] == 50


@pytest.mark.parametrize(
    "words",
    [
        ("群", "--kind", "wecom"),
        ("群", "--kind", "wecom", "--url", "https://x.test/?key=1", "--url-file", "x"),
        ("群", "--kind", "wecom", "--url", "nonsense"),
        ("群", "--kind", "generic", "--url-file", "nowhere"),
        ("群", "--kind", "generic", "--url", "https://x.test/", "--ca-file", "nowhere"),
    ],
)
def test_a_robot_that_cannot_be_used_is_not_kept(station_desk, run, words):
    assert run("alarms", "set", *words, json_wanted=False)[0] == 50
    with opened(station_desk.home) as store:
        assert AlarmBook(store).robots() == []


def test_rules_are_shown_and_set(station_desk, run):
    status, out, _ = run("alarms", "rules", "--days-before", 7, "--repeat-hours", 2, json_wanted=False)
    assert status == 0
    assert "截止前 7 天起提醒" in out
    assert "每 2 小时再说一次" in out
    assert run("alarms", "rules", "--days-before", 99, json_wanted=False)[0] == 2
    assert json.loads(run("alarms", "rules", "--json", json_wanted=False)[1])["data"]["days_before"] == 7


def test_what_stands_is_listed(station, run):
    desk, store = station
    insert(store, REPORT, [report_values(1, state=OnlineState.FAILED)])
    AlarmBook(store).set_rules(free_gib=0)
    watch_of(desk, store).once(store)
    out = run("alarms", "list", json_wanted=False)[1]
    assert f"{taxpayer(1)}_0_202608010000 报税失败：2715" in out
    assert Path(desk.home.root).exists()
    assert read_settings(desk.home, store).station_id
