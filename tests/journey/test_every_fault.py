"""Every fault of the catalogue, from the operator's keyboard to the operator's screen.

Each journey causes one fault where it truly arises, reads it on that side's screen together with its remedy, and is
cured by that remedy: by the real command lines, against a bureau on 127.0.0.1. A fault without a journey fails here.
"""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.clock import FixedClock, SystemClock
from shared.envelope.textsign import sign_text
from shared.faults import CATALOGUE
from shared.ids import Nonce
from shared.keys.file import load_key_file
from shared.keys.port import Signer
from shared.keys.secret import Secret
from shared.model.result import parse_result, render_result
from tax_bureau.cli import program as bureau_program
from tax_bureau.home import init_bureau, open_bureau
from tax_bureau.issue import certificate_pem
from tests.support import workbooks
from tests.support.fault_world import NAME, PATIENCE_SECONDS, Firm, Office, Slot, World, journeying, last_month

Journey = Callable[[World], None]
JOURNEYS: dict[str, Journey] = {}


def journey(key: str) -> Callable[[Journey], Journey]:
    """Declare the journey of a fault."""

    def declare(function: Journey) -> Journey:
        assert key not in JOURNEYS, f"two journeys for {key}"
        JOURNEYS[key] = function
        return function

    return declare


def without_journey(keys: Iterable[str]) -> set[str]:
    """Return the faults that nobody has walked."""
    return set(keys) - set(JOURNEYS)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    made = Office(tmp_path_factory.mktemp("税 局"))
    yield made
    made.close()


SLOW = frozenset(
    {
        *("certificate-expired", "certificate-status-unknown", "key-locked", "network-delay", "re-issued-card"),
        *("return-forbidden", "summary-upload-failed", "wrong-declaration-cycle"),
    }
)
"""Causes that differ from a quick one's in a code or a word only: walked where there is time."""


@pytest.mark.parametrize("key", [pytest.param(k, marks=[pytest.mark.slow] * (k in SLOW)) for k in CATALOGUE])
def test_the_fault_is_caused_seen_with_its_remedy_and_cured_by_it(
    key: str, office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert key in JOURNEYS, f"the fault {key} has no journey"
    with journeying(office, tmp_path, monkeypatch, capsys, key) as world:
        JOURNEYS[key](world)
    assert "seen" in world.trace, "nobody saw the fault on a screen"
    assert world.trace[-1:] == ["cured"], "the remedy did not cure it"


def test_a_fault_without_a_journey_is_found_and_no_journey_is_for_nothing() -> None:
    assert without_journey(CATALOGUE) == set()
    assert without_journey([*CATALOGUE, "2799-new"]) == {"2799-new"}
    assert set(JOURNEYS) <= set(CATALOGUE)
    assert set(CATALOGUE) >= SLOW


def test_the_authority_of_a_success_reaches_the_card_and_a_forecast_is_seen_on_both_screens(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # JUDGE-16, JUDGE-19
    with journeying(office, tmp_path, monkeypatch, capsys, "monthly-duty") as world:
        us = world.firm(offline_hours=48, offline_limit="007=12345.67")
        us.declare()
        made = us.report()
        us.send(made)
        result = us.fetch(made)
        first_of_month = date.today().replace(day=1)  # noqa: DTZ011
        following = (first_of_month + timedelta(days=31)).replace(day=1)
        days = world.bureau("calendar", "list", "--from", f"{following:%Y-%m}", "--months", 1)["items"][0]
        screens = us.online_screen("show", made["report_digest"]), us.offline_screen("result", result)
        listed = world.run(bureau_program, office.home, "list", "--taxpayer-id", us.taxpayer, json_=False)
        assert [("预测" in screen) for screen in (*screens, listed)] == [not days["certain"]] * 3
        cleared = us.offline("clear")
        assert (cleared["lock_date"], cleared["upload_deadline"]) == (days["day"], days["day"])
        assert cleared["next_period_start"] == following.isoformat()
        assert (cleared["offline_hours"], cleared["offline_limits"]) == (48, {"007": "12345.67"})
        bureau_time = us.offline("status")["bureau_time"]
        assert bureau_time[:10] == f"{SystemClock().now():%Y-%m-%d}"
        shutil.copy(cleared["ack_file"], us.online_home / "inbox")
        us.online("once")
        assert world.bureau("show", made["report_digest"])["state"] == "closed"
        published = following.replace(day=25)
        world.bureau("calendar", "set", published.isoformat(), "--reason", "公告延期")
        them = world.firm()
        assert them.whole_month()["lock_date"] == published.isoformat(), "a published day wins over the rule"


# --- what the bureau answers ---------------------------------------------------------------------------------------


@journey("locked")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    made = us.report()
    us.send(made)
    result = us.fetch(made)
    lock = date.fromisoformat(us.offline("status")["lock_date"])
    world.at_offline(datetime.combine(lock + timedelta(days=1), datetime.min.time(), SystemClock().now().tzinfo))
    assert us.offline("status")["state"] == "locked"
    world.seen(us.offline_screen("report", expect=53), "B5301", on="offline", words="办税服务厅")
    cleared = us.clear_with(result)  # the first step: a success that is here still clears
    world.cured(cleared["lock_date"] > lock.isoformat(), us.offline("status")["state"] != "locked")


@journey("271D-undeclared")
def _(world: World) -> None:
    us = world.firm()
    us.sell()
    made = us.report()
    assert "271D" in us.send(made, expect=52), "the Internet PC asks first, and holds the report"
    us.online("release", made["report_digest"])
    us.online("once")
    world.seen(us.failed(made), "271D", on="online", words="未申报")
    us.declare()
    us.online("retry", made["report_digest"])
    world.cured(us.finish(made), us.online("show", made["report_digest"])["uploads"] == 2)


@journey("271D-mismatch")
def _(world: World) -> None:
    us = world.firm()
    us.sell()
    [summary] = us.offline("copy")["summaries"]
    made = us.offline("report")
    kind, amount, tax = summary["kind"], summary["positive_amount"], summary["positive_tax"]
    wrong, right = us.root / "漏填.json", us.root / "更正.json"
    wrong.write_text(json.dumps({kind: {"amount": "1.00", "tax": tax}}), encoding="utf-8")
    right.write_text(json.dumps({kind: {"amount": amount, "tax": tax}}), encoding="utf-8")
    us.declare(figures=wrong)
    us.send(made)
    screen = us.failed(made)
    world.seen(screen, "271D", on="online", words=f"申报1.00<抄报{amount}")
    us.declare(figures=right, reason="漏填一张发票")
    us.online("retry", made["report_digest"])
    world.cured(us.finish(made))


@journey("2715-wrong-files")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    us.sell(2)
    old = shutil.copy(us.homes[0] / "ledger.db", us.root / "旧.db")
    listed = us.sell(3)
    us.offline("copy")
    for name in ("ledger.db-wal", "ledger.db-shm"):
        (us.homes[0] / name).unlink(missing_ok=True)
    shutil.copy(old, us.homes[0] / "ledger.db")  # a repair put an old data file back
    world.seen(us.offline_screen("report", expect=52), "2715", on="offline", words="汇总")
    us.offline("invoices", "import", listed)
    made = us.report("--again")
    us.send(made)
    world.cured(us.finish(made), made["invoice_count"] == 5)


@journey("2715-reissued-card")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    us.sell(2)  # on the card that breaks
    us.take_card(fresh=True, reason="原卡损坏")
    us.sell(3)
    made = us.report()
    world.office.bureau.desk.set_processing_seconds(3600)
    us.send(made)
    told = "所属期内换卡，旧卡开出的发票不在汇总中"
    world.bureau(
        "decide", made["report_digest"], "--failure", "--code", "2715", "--message", told, "--reason", "人工核对"
    )
    us.online("results")
    screen = us.offline_screen("result", us.staged(made))
    world.seen(screen, "2715", on="offline", words="换卡")
    world.bureau("decide", made["report_digest"], "--success", "--reason", "凭证明补录旧卡发票 2 份")
    us.online("results")
    world.cured(us.finish(made))


@journey("272C")
def _(world: World) -> None:
    us = world.firm(machines=2)
    us.declare()
    main = us.report()
    us.send(main)
    us.wait_for(main, "waiting")
    world.seen(us.online_screen("show", main["report_digest"]), "272C", on="online", words="1号分机")
    sub = us.report(machine=1)
    us.send(sub)
    world.cured(us.finish(main), us.finish(sub, machine=1))


@journey("2734-signature")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    us.enroll(us.new_key("登记的"))
    used = us.new_key("实际用的")
    us.init_online(used)
    made = us.report()
    world.seen(us.send(made, expect=52), "2734", on="online")
    assert "2734" in us.online_screen("doctor", expect=50)
    us.enroll(used)
    us.online("once")
    world.cured(us.fetch(made))


@journey("2734-envelope")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    stick = us.stick()
    made = us.report()
    world.bureau("renew-key", "envelope", "--key-type", "p256", "--reason", "定期更换")
    us.send_despite(made)
    us.wait_for(made, "failed")
    us.online("stick", "sync", stick)
    us.offline("stick", "sync", stick)
    world.seen(us.offline_screen("result", expect=None), "2734", on="offline", words="0x82040010")
    again = us.offline("report", "--reseal")
    assert again["report_digest"] != made["report_digest"]
    us.send(again)
    world.cured(us.finish(again))


@journey("2735")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    us.connect(enrolled=False)
    made = us.report()
    world.seen(us.send(made, expect=52), "2735", on="online", words="开户")
    us.enroll(["--key", us.root / "key.p12", "--pin-file", us.root / "口令"])
    us.online("once")
    world.cured(us.fetch(made))


@journey("processing")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    made = us.report()
    world.office.bureau.desk.set_processing_seconds(60)
    us.send(made)
    world.seen(us.online_screen("results", expect=43), "Y", on="online", words="税局正在处理")
    assert not list((us.online_home / "outbox").iterdir()), "a Y is carried by nobody"
    (us.homes[0] / "inbox" / f"{made['stem']}.txt").write_bytes(b"Y")
    assert "Y" in us.offline_screen("result", expect=43), "and if a person did, it is named"
    world.office.clock.by += timedelta(seconds=61)
    world.cured(us.finish(made))


@journey("long-processing")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    made = us.report()
    spooled = world.office.bureau.spool.path(made["report_digest"])
    elsewhere = us.root / "掉线的存储"
    world.office.bureau.desk.set_processing_seconds(60)
    us.send(made)
    shutil.move(spooled, elsewhere)  # a part of the bureau's systems fails, and the report waits there
    world.office.clock.by += timedelta(seconds=61)
    _until(lambda: any(e["event"] == "postponed" for e in world.bureau("show", made["report_digest"])["events"]))
    world.seen(us.online_screen("results", expect=43), "Y", on="online", words="正在处理")
    shutil.move(elsewhere, spooled)
    world.office.clock.by += timedelta(seconds=61)
    world.cured(us.finish(made), us.online("show", made["report_digest"])["uploads"] == 1)


@journey("peak-load")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    door = world.door()
    us.connect(door.url)
    made = us.report()
    door.mode = "busy"
    world.seen(us.send(made, expect=44), "B4401", on="online", words="繁忙")
    door.mode = "open"
    world.cured(us.fetch(made), us.online("show", made["report_digest"])["uploads"] == 1)


@journey("superseded")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    old = us.report()
    kept = {**old, "file": shutil.copy(old["file"], us.root / "旧.dat")}
    new = us.report("--again")
    us.send(new)
    us.fetch(new)
    us.online("upload", kept["file"], expect=None)
    us.wait_for(kept, "failed")
    world.seen(us.online_screen("show", kept["report_digest"]), "SUPERSEDED", on="online", words="重新抄税")
    us.online("cancel", kept["report_digest"], "--reason", "已重新抄税")
    world.cured(us.state(kept) == "cancelled", us.finish(new))


@journey("report-failed")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    made = us.report()
    world.office.bureau.desk.set_processing_seconds(3600)
    us.send(made)
    told = "征管档案异常，请联系主管税务机关"
    world.bureau(
        "decide", made["report_digest"], "--failure", "--code", "27F0", "--message", told, "--reason", "档案异常"
    )
    screen = us.failed(made)
    assert "27F0" in screen, "an unknown number passes through"
    world.seen(screen, "报税失败", on="online", words=told)
    world.bureau("decide", made["report_digest"], "--success", "--reason", "档案已更正")
    us.online("results")
    world.cured(us.finish(made))


# --- the way to the bureau -----------------------------------------------------------------------------------------


@journey("network-internet")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    us.connect()
    made = us.report()
    with pytest.MonkeyPatch.context() as line:

        def nobody(*_: object, **__: object) -> None:
            raise socket.gaierror("no network")

        line.setattr(socket, "getaddrinfo", nobody)
        world.seen(us.send(made, expect=40), "B4001", on="online")
        assert "× 本机网络" in us.online_screen("doctor", expect=40)
    world.cured(us.fetch(made))


@journey("network-lan")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    door = world.door()
    us.connect(door.url)
    made = us.report()
    door.shut()  # the firewall
    world.seen(us.send(made, expect=40), "B4001", on="online")
    assert "× 到税局的连接" in us.online_screen("doctor", expect=40)
    door.open()
    world.cured(us.fetch(made))


@journey("network-bureau")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    door = world.door()
    us.connect(door.url)
    made = us.report()
    door.mode = "down"
    world.seen(us.send(made, expect=40), "B4001", on="online")
    screen = us.online_screen("doctor", expect=40)
    assert "√ 到税局的连接" in screen
    assert "× 税局网站" in screen
    door.mode = "open"
    world.cured(us.fetch(made), us.online("show", made["report_digest"])["uploads"] == 1)


@journey("outcome-unknown")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    door = world.door()
    us.connect(door.url)
    made = us.report()
    door.mode = "cut"
    world.seen(us.send(made, expect=41), "B4101", on="online", words="不明")
    door.mode = "open"
    world.cured(us.fetch(made), door.uploads == 1)


@journey("network-delay")
def _(world: World) -> None:
    us = world.firm()
    made = us.report()
    us.send_despite(made)
    world.seen(us.failed(made), "271D", on="online", words="未申报", explain="延迟")
    us.declare(reason="申报数据到达")  # hours later
    us.online("retry", made["report_digest"])
    world.cured(us.finish(made))


@journey("server-address")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    elsewhere = world.door()
    elsewhere.mode = "login"
    key = us.new_key()
    us.enroll(key)
    us.init_online(key, elsewhere.url)
    made = us.report()
    world.seen(us.send(made, expect=40), "B4002", on="online", words="税局网址")
    us.init_online(key)
    assert "√ 税局网站" in us.online_screen("doctor", expect=None)
    world.cured(us.fetch(made))


# --- keys and certificates ----------------------------------------------------------------------------------------


@journey("key-cannot-be-loaded")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    us.connect()
    made = us.report()
    key = us.root / "key.p12"
    away = key.rename(us.root / "拔下的")
    world.seen(us.send(made, expect=50), "B5002", on="online", words="载入企业的私钥出错")
    assert "× 企业密钥" in us.online_screen("doctor", expect=50)
    away.rename(key)
    us.send(made)
    world.cured(us.fetch(made))


@journey("key-pin-wrong")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    us.connect()
    made = us.report()
    (us.root / "口令").write_text("000000\n", encoding="utf-8")
    world.seen(us.send(made, expect=50), "B5002", on="online", words="口令不正确")
    (us.root / "口令").write_text("135790\n", encoding="utf-8")
    us.send(made)
    world.cured(us.fetch(made))


def _token(world: World, *tokens: Signer) -> Slot:
    """Put tokens into the Internet PC's port, in the key file's place."""
    slot = Slot(*tokens)
    world.monkeypatch.setattr("online_station.shell.setup.load_key_file", slot.signer)
    return slot


@journey("key-locked")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    us.connect()
    slot = _token(world, load_key_file(us.root / "key.p12", Secret("135790")))
    made = us.report()
    slot.locked = True
    world.seen(us.send(made, expect=50), "0x82040054", on="online", words="锁住")
    slot.locked = False  # at the issuer
    us.send(made)
    world.cured(us.fetch(made))


@journey("several-keys")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    us.connect()
    us.new_key("别家的")
    ours, other = (load_key_file(us.root / f"{n}.p12", Secret("135790")) for n in ("key", "别家的"))
    slot = _token(world, ours, other)
    made = us.report()
    world.seen(us.send(made, expect=50), "0x82040057", on="online", words="2 个U棒")
    slot.tokens = [ours]
    us.send(made)
    world.cured(us.fetch(made))


@journey("certificate-expired")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    long_ago = open_bureau(world.office.home, FixedClock(SystemClock().now() - timedelta(days=11 * 365)))
    old = us.root / "旧.p12"
    long_ago.registry.issue_key(us.taxpayer, old, Secret("135790"), key_type="p256", name=NAME)  # type: ignore[arg-type]
    long_ago.store.close()
    key = ["--key", old, "--pin-file", us.root / "口令"]
    us.enroll(key)
    root = world.office.root / "root.pem"
    screen = us.online_screen("init", "--bureau", world.office.url, *key, "--trust", root, expect=21)
    world.seen(screen, "B2101", on="online", words="过期")
    renewed = us.new_key("续期")
    us.enroll(renewed)
    us.init_online(renewed)
    made = us.report()
    us.send(made)
    world.cured(us.fetch(made))


@journey("certificate-invalid")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    init_bureau(world.root / "别的税局", SystemClock(), key_type="p256")
    other = open_bureau(world.root / "别的税局", SystemClock())
    wrong = world.root / "wrong.pem"
    wrong.write_text(certificate_pem(other.keyring.root), encoding="utf-8")
    other.store.close()
    key = us.new_key()
    us.enroll(key)
    screen = us.online_screen("init", "--bureau", world.office.url, *key, "--trust", wrong, expect=24)
    world.seen(screen, "B2401", on="online", words="根证书")
    us.init_online(key)
    made = us.report()
    us.send(made)
    world.cured(us.fetch(made))


@journey("certificate-revoked")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    made = us.report()
    world.bureau("revoke", "--card-no", us.cards[0], "--reason", "金税卡挂失")
    world.seen(us.send(made, expect=21), "B2101", on="online", words="吊销")
    stick = us.stick()
    us.online("stick", "sync", stick)
    assert "B2101" in us.offline_screen("stick", "sync", stick, expect=21), (
        "the stick is given nothing that proves nothing"
    )
    assert "吊销" in us.offline_screen("doctor", expect=None)
    us.take_card(fresh=True, reason="换发")
    made = us.report()
    us.send(made)
    world.cured(us.finish(made))


@journey("certificate-status-unknown")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    world.office.bureau.trust.renew_revocation_lists(life=timedelta(days=-1))  # stale when it is signed
    us.connect()
    made = us.report()
    check = ("verify", made["file"], "--trust", us.online_home / "trust" / "trust.txt")
    world.seen(us.online_screen(*check), "吊销列表", on="online", words="已过期")
    world.bureau("publish", "--renew-lists", "--reason", "到期重签")
    world.at_online(timedelta(hours=13))  # the trust file is fetched twice a day
    us.online("once", expect=None)
    world.at_online(timedelta(0))
    us.send(made)
    world.cured(us.fetch(made), "已过期" not in us.online_screen(*check))


@journey("clock-wrong")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    us.connect()
    made = us.report()
    world.at_online(timedelta(hours=1))
    world.seen(us.send(made, expect=None), "B4202", on="online", words="时钟")
    assert "× 时钟" in us.online_screen("doctor", expect=50)
    world.at_online(timedelta(0))
    us.send(made, expect=None)
    world.cured(us.fetch(made))


# --- the card refuses a result -------------------------------------------------------------------------------------


def _answered(world: World, *copy: str) -> tuple[Firm, dict[str, Any], Path]:
    """Return a firm whose report has its success, which the card has not seen."""
    us = world.firm()
    made = us.report(*copy)
    us.declare()
    us.send(made)
    return us, made, us.fetch(made)


@journey("clear-other-taxpayer")
def _(world: World) -> None:
    us, _, ours = _answered(world)
    _, _, theirs = _answered(world, "--adhoc")
    world.seen(us.offline_screen("result", theirs, expect=22), "B2202", on="offline", words="税号")
    world.cured(us.clear_with(ours))


@journey("clear-other-machine")
def _(world: World) -> None:
    us = world.firm(2)
    us.declare()
    made = [us.report(machine=n) for n in (0, 1)]
    for each in made:
        us.send(each)
    ours, theirs = us.fetch(made[0]), us.fetch(made[1])
    world.seen(us.offline_screen("result", theirs, expect=22), "B2203", on="offline", words="分机号")
    world.cured(us.clear_with(ours), us.clear_with(theirs, machine=1))


@journey("clear-other-time")
def _(world: World) -> None:
    us, _, old = _answered(world, "--adhoc")
    made = us.report()
    world.seen(us.offline_screen("result", old, expect=22), "B2205", on="offline", words="抄税时间")
    us.send(made)
    world.cured(us.finish(made))


@journey("clear-other-nonce")
def _(world: World) -> None:
    us, _, right = _answered(world)
    body = parse_result(right.read_bytes().split(b"-----BEGIN CMS-----")[0])
    faulty = replace(body, nonce=Nonce("0" * 32), result_no=body.result_no + 1)  # a bureau that mixes up its answers
    wrong = us.root / "另一份.txt"
    wrong.write_bytes(
        sign_text(render_result(faulty), world.office.bureau.keyring.result, signing_time=body.bureau_time)
    )
    world.seen(us.offline_screen("result", wrong, expect=22), "B2207", on="offline", words="随机数")
    world.cured(us.clear_with(right))


@journey("clear-other-digest")
def _(world: World) -> None:
    us, _, old = _answered(world)
    again = us.offline("report", "--reseal")  # after the first file was carried away
    world.seen(us.offline_screen("result", old, expect=22), "B2206", on="offline", words="摘要")
    refused = us.send(again, expect=42)
    assert "sequence-taken" in refused, "the bureau has this very copy already, and has answered it"
    newest = us.report("--again")
    us.send(newest)
    world.cured(us.finish(newest))


@journey("clear-older")
def _(world: World) -> None:
    us = world.firm()
    made = us.report()
    us.connect()
    world.office.bureau.desk.set_processing_seconds(3600)
    us.declare()
    us.send(made)
    why = ("--message", "明细与汇总不符", "--reason", "人工核对")
    world.bureau("decide", made["report_digest"], "--failure", "--code", "2715", *why)
    us.online("results")
    failure = us.staged(made)
    assert us.offline("result", failure)["outcome"] == "failure"
    world.bureau("decide", made["report_digest"], "--success", "--reason", "已补录")
    us.online("results")
    success = us.fetch(made)
    assert us.offline("result", success)["outcome"] == "success"
    world.seen(us.offline_screen("result", failure, expect=23), "B2302", on="offline", words="序号")
    world.cured(us.clear_with(success))


@journey("clear-nothing-awaited")
def _(world: World) -> None:
    us, _, result = _answered(world, "--adhoc")
    second = us.report("--again", "--adhoc")
    us.send(second)
    us.finish(second)
    world.seen(us.offline_screen("result", result, expect=22), "B2209", on="offline", words="没有")
    world.cured(us.offline("status")["open_copy"] is None)


@journey("clear-refused")
def _(world: World) -> None:
    us, made, result = _answered(world)
    edited = us.root / "打开看过的.txt"
    edited.write_bytes(result.read_bytes().replace("税局时间".encode(), "税局 时间".encode()))
    screen = us.offline_screen("result", edited, expect=None)
    assert "B2001" in screen, "an altered text does not verify"
    short = us.root / "缺一截.txt"
    short.write_bytes(result.read_bytes()[:-100])
    world.seen(us.offline_screen("result", short, expect=12), "B1201", on="offline")
    world.cured(us.clear_with(us.staged(made)))


@journey("already-cleared")
def _(world: World) -> None:
    us = world.firm()
    first = us.whole_month()
    world.seen(us.offline_screen("clear"), "已经清过卡", on="offline", explain="重复清卡")
    again = us.offline("clear")
    world.cured(again["already"], again["lock_date"] == first["lock_date"], first["lock_date"][:7] > us.period)


@journey("not-declared-cannot-clear")
def _(world: World) -> None:
    us = world.firm()
    made = us.report()
    us.send_despite(made)
    assert "271D" in us.failed(made)
    world.seen(us.offline_screen("clear", expect=52), "B5205", on="offline", explain="申报错误")
    us.declare()
    us.online("retry", made["report_digest"])
    world.cured(us.finish(made))


@journey("wrong-declaration-cycle")
def _(world: World) -> None:
    us = world.firm()
    made = us.report()
    quarter_end = f"{last_month().year}-{(last_month().month - 1) // 3 * 3 + 3:02d}"
    if quarter_end == us.period:
        quarter_end = f"{last_month().year + 1}-03"
    world.bureau(
        "declare", "--taxpayer-id", us.taxpayer, "--period", quarter_end, "--matching"
    )  # quarterly, on record monthly
    us.send_despite(made)
    world.seen(us.failed(made), "271D", on="online", explain="申报周期")
    us.declare(reason="登记改为按月，补本月申报")
    us.online("retry", made["report_digest"])
    world.cured(us.finish(made))


# --- the card in its states ------------------------------------------------------------------------------------------


@journey("not-copied")
def _(world: World) -> None:
    us = world.firm()
    world.seen(us.offline_screen("report", expect=52), "B5203", on="offline", words="copy")
    world.cured(us.report()["file"])


@journey("already-copied")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    us.offline("copy")
    world.seen(us.offline_screen("copy", expect=52), "B5204", on="offline", words="--again")
    made = us.offline("report")
    us.send(made)
    world.cured(us.finish(made))


@journey("earlier-month-open")
def _(world: World) -> None:
    earlier = last_month(last_month())
    us = world.firm(last_copied=(earlier - timedelta(days=1)).isoformat())
    us.declare()
    us.sell(2, month=earlier)
    listed = us.sell(2)
    world.seen(us.offline_screen("copy", expect=52), "B5206", on="offline", words="办税服务厅")
    # the tax hall takes the earlier month's invoices, and issues the device anew
    us.take_card(fresh=True, last_copied=(last_month() - timedelta(days=1)).isoformat(), reason="大厅补报")
    us.offline("invoices", "import", listed)
    made = us.report()
    us.send(made)
    world.cured(us.finish(made), made["invoice_count"] == 2)


@journey("copied-cannot-void")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    month = last_month()
    line = workbooks.Line("轴承", 100_00, 13_00, "0.13", "1", "100.00")
    blue = workbooks.Sale("00000071", month, (line,), code="3100193320")
    us.offline("invoices", "import", _list(us, "原来的", [blue]))
    made = us.report()
    void = _list(us, "又作废的", [replace(blue, void=True)])
    screen = us.offline_screen("invoices", "import", void, expect=13)
    world.seen(screen, "不能再作废", on="offline", words="应开具红字发票", explain="不能作废")
    red = workbooks.red_of(blue, "00000072", date.today().replace(day=1))  # noqa: DTZ011
    us.offline("invoices", "import", _list(us, "冲红", [red]))
    us.send(made)
    world.cured(us.finish(made))


def _list(us: Firm, name: str, sales: list[workbooks.Sale]) -> Path:
    return workbooks.csv_list(us.root / f"{name}.csv", sales, seller=(NAME, us.taxpayer))


@journey("unread-volumes")
def _(world: World) -> None:
    device = world.device()
    us = world.firm()
    device.objects["copy"] = "JSK222"
    world.seen(us.offline_screen("copy", expect=52), "JSK222", on="offline", words="读入")
    device.objects.clear()  # read in, in the invoicing software
    world.cured(us.report()["file"])


@journey("unuploaded-invoices")
def _(world: World) -> None:
    device = world.device()
    us = world.firm()
    device.objects.update(copy="JSK250", clear="JSK250")
    world.seen(us.offline_screen("copy", expect=52), "JSK250", on="offline", words="未报送")
    device.objects.clear()
    world.cured(us.report()["file"])


@journey("offline-limits")
def _(world: World) -> None:
    us = world.firm(offline_hours=0, offline_limit="004=0.00")
    us.declare()
    screen = us.offline_screen("status")
    world.seen(screen, "离线开票 0 小时", on="offline", words="限额 004 ￥0.00", explain="离线限额")
    why = ("--reason", "核定离线授权")
    world.bureau("authorise", "--card-no", us.cards[0], "--offline-hours", 72, "--offline-limit", "004=50000.00", *why)
    made = us.report()
    us.send(made)
    cleared = us.finish(made)
    assert cleared["offline_hours"] == 72
    world.cured(cleared["offline_limits"]["004"] == "50000.00", "离线开票 72 小时" in us.offline_screen("status"))


@journey("interrupted-on-card")
def _(world: World) -> None:
    device = world.device()
    us = world.firm()
    us.declare()
    made = us.report()
    us.send(made)
    assert us.offline("result", us.fetch(made))["outcome"] == "success"
    device.pulled = "clear"
    world.seen(us.offline_screen("clear", expect=52), "JSK241", on="offline", words="掉电")
    assert us.offline("status")["state"] == "to-clear"
    world.cured(us.offline("clear")["already"] is False, us.offline("status")["state"] == "done")


@journey("medium-mismatch")
def _(world: World) -> None:
    device = world.device()
    us = world.firm()
    device.objects["copy"] = "JSK160"
    world.seen(us.offline_screen("copy", expect=52), "JSK160", on="offline", words="报税盘")
    device.objects.clear()  # this machine's own disk
    world.cured(us.report()["file"])


@journey("return-forbidden")
def _(world: World) -> None:
    device = world.device()
    us = world.firm()
    us.declare()
    made = us.report()
    device.objects["clear"] = (
        "JSK085"  # asked to return invoices, the device answers so for as long as it is not cleared
    )
    world.seen(us.offline_screen("clear", expect=52), "JSK085", on="offline", words="退回发票")
    device.objects.clear()
    us.send(made)
    us.finish(made)
    card = device(us.homes[0] / "card.db")
    card.return_volume(SystemClock().now())
    card.close()
    world.cured(us.offline("status")["state"] == "done")


# --- duties, cycles, devices, sticks -----------------------------------------------------------------------------------


@journey("zero-month")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    assert us.offline("status")["state"] == "to-copy", "a month without business waits as well"
    world.seen(us.offline_screen("copy"), "零申报", on="offline")
    made = us.offline("report")
    us.send(made)
    world.cured(us.finish(made), made["invoice_count"] == 0)


@journey("monthly-duty")
def _(world: World) -> None:
    us = world.firm()
    screen = us.offline_screen("status")
    world.seen(screen, "待抄税", on="offline", words=f"剩 {us.offline('status')['days_left']} 天", explain="每月")
    before = us.offline("status")["lock_date"]
    world.cured(us.whole_month()["lock_date"] > before)


@journey("hall-copy")
def _(world: World) -> None:
    yesterday = (date.today() - timedelta(days=1)).isoformat()  # noqa: DTZ011
    us = world.firm(lock_date=yesterday)
    assert us.offline("status")["state"] == "locked"
    world.seen(us.offline_screen("copy", expect=53), "办税服务厅", on="offline", explain="办税厅抄报")
    us.take_card(fresh=True, reason="大厅抄报并清卡")
    found = us.offline("status")
    world.cured(found["lock_date"] > yesterday, found["state"] != "locked")


@journey("summary-upload-failed")
def _(world: World) -> None:
    device = world.device()
    us = world.firm()
    us.declare()
    device.objects["copy"] = "JSK250"  # the invoicing software has not got its summary through
    world.seen(us.offline_screen("copy", expect=52), "JSK250", on="offline", explain="上报汇总")
    device.objects.clear()  # all uploaded by hand; the report goes by file
    made = us.report()
    us.send(made)
    world.cured(us.finish(made))


@journey("device-and-disk-lost")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    listed = us.sell(3)
    shutil.rmtree(us.homes[0])
    world.seen(us.offline_screen("status", expect=50), "B5003", on="offline", explain="金税盘坏")
    us.take_card(fresh=True, reason="设备与硬盘同时损坏")
    us.offline("invoices", "import", listed)  # by the counterfoils
    made = us.report()
    us.send(made)
    world.cured(us.finish(made), made["invoice_count"] == 3)


@journey("re-issued-card")
def _(world: World) -> None:
    us = world.firm()
    us.whole_month()
    new = us.root / "新.taxcard"
    world.bureau(
        *("issue-card", "--taxpayer-id", us.taxpayer, "--name", NAME, "--machine-no", 0, "--key-type", "p256"),
        *("--reissue", "--reason", "更名", "--out", new),
    )
    world.seen(us.offline_screen("init", "--card", new, expect=50), "B5004", on="offline", words="--home")
    us.homes[0] = us.root / "新开票机"
    us.offline("init", "--card", new)
    made = us.report("--adhoc")
    us.send(made)
    world.cured(us.finish(made), (us.root / "开票机 0").exists())


@journey("half-copied-file")
def _(world: World) -> None:
    us = world.firm()
    us.declare()
    us.connect()
    made = us.report()
    stick = us.stick()
    us.offline("stick", "sync", stick)
    [lying] = (stick / "TAXFERRY" / "to-online").glob("*.dat")
    lying.write_bytes(b"")  # pulled too early
    world.seen(us.online_screen("stick", "sync", stick, expect=None), "B3503", on="online", words="0 字节")
    lying.unlink()
    us.offline("report", "--again", "--stick", stick)
    us.online("stick", "sync", stick)
    us.online("once", expect=None)
    world.cured(us.finish(made))


def _until(there: Callable[[], bool]) -> None:
    last = time.monotonic() + PATIENCE_SECONDS
    while not there():
        assert time.monotonic() < last, "it did not happen"
        time.sleep(0.02)
