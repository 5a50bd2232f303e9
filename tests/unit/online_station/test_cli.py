"""The verbs, as an operator or a script types them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from online_station import cli
from online_station.cli import base
from online_station.core.story import service_line
from tests.support.online import make_ack, make_report
from tests.support.pki import NOW, foreign_pki

NAME = "310100000000000_0_202608010000"


@pytest.fixture
def run(station_desk, capsys, monkeypatch):
    """Run a verb with --json; return its exit status and data."""
    monkeypatch.setattr(base, "CLOCK", station_desk.clock)

    def call(*words, json_wanted=True):
        status = cli.program.run(
            ["--home", str(station_desk.home.root), *map(str, words), *(["--json"] if json_wanted else [])]
        )
        said = capsys.readouterr()
        if not json_wanted:
            return status, said.out, said.err
        answer = json.loads(said.out)
        assert answer["ok"] == (status in (0, 1))
        assert answer["command"] == " ".join(str(w) for w in words[: 2 if words[0] == "stick" else 1])
        return status, {**answer["data"], "errors": answer["errors"]}

    return call


def test_the_whole_month_with_verbs_alone(station_desk, run, tmp_path):
    desk, bureau = station_desk, station_desk.bureau
    bureau.declared.clear()
    stick = tmp_path / "U 盘"
    stick.mkdir()
    assert run("stick", "list")[0] == 30
    status, visit = run("stick", "sync", stick)
    assert (status, visit["placed"], visit["unplaced"], visit["id"]) == (32, [], [], None)
    assert list(stick.iterdir()) == [], "it may be read, and is not written to before somebody prepared it"
    assert run("stick", "list")[0] == 30
    assert run("stick", "prepare", stick)[0] == 0
    assert (stick / "TAXFERRY/to-offline/trust.txt").is_file(), "for a PC that has only its card (STICK-24)"
    data, made = make_report()
    (stick / "TAXFERRY/to-online" / f"{NAME}.dat").write_bytes(data)
    status, visit = run("stick", "sync")
    assert (status, visit["taken"], visit["placed"]) == (0, [f"{NAME}.dat"], [])
    assert run("once")[0] == 0
    (item,) = run("list")[1]["items"]
    assert {k: item[k] for k in ("report_digest", "taxpayer_id", "machine_no", "stamp", "state", "code")} == {
        "report_digest": made.digest,
        "taxpayer_id": "310100000000000",
        "machine_no": 0,
        "stamp": "202608010000",
        "state": "held",
        "code": "271D",
    }
    assert "release" in item["next_action"]
    assert run("release", NAME)[0] == 0
    assert run("release", made.digest[:8])[0] == 0, "every verb can be run again"
    assert run("once")[0] == 0
    assert run("results")[0] == 43
    assert run("hold", NAME)[0] == 52
    bureau.fail(made.digest, "271D")
    status, found = run("results")
    assert (status, found["items"][0]["outcome"], found["items"][0]["code"]) == (0, "failure", "271D")
    assert run("retry", NAME)[1]["state"] == "proven"
    bureau.declared.add("2026-07")
    assert run("retry", f"{NAME}.dat")[0] == 0
    assert run("once")[1]["items"][0]["state"] == "accepted"
    bureau.succeed(made.digest)
    assert run("results")[1]["items"][0]["state"] == "staged"
    assert run("results")[0] == 0
    unprepared = tmp_path / "别的"
    unprepared.mkdir()
    status, visit = run("stick", "sync", unprepared)
    assert (status, visit["unplaced"], visit["safe"]) == (32, [f"{NAME}.txt"], False)
    assert list(unprepared.iterdir()) == []
    assert run("stick", "sync")[1]["placed"] == [f"{NAME}.txt"]
    visit = run("stick", "sync")[1]
    assert (visit["placed"], visit["already"]) == ([], [f"{NAME}.txt", "trust.txt"])
    assert (stick / f"TAXFERRY/to-offline/{NAME}.txt").read_bytes() == bureau.reports[made.digest].answer
    (stick / "TAXFERRY/to-online" / f"{NAME}.ack").write_bytes(make_ack(bureau, made.digest)[0])
    visit = run("stick", "sync")[1]
    assert visit["taken"] == [f"{NAME}.ack"]
    assert (visit["placed"], visit["already"]) == ([], ["trust.txt"]), "its clear receipt is here: it was used"
    assert run("once")[0] == 0
    status, shown = run("show", NAME)
    assert (status, shown["state"], shown["uploads"]) == (0, "acknowledged", 2)
    assert [e["to"] for e in shown["events"]][-1] == "acknowledged"
    assert [r["result_no"] for r in shown["results"]] == [1, 2]
    assert run("stick", "eject")[1]["safe"] is True
    assert run("board")[1]["items"][0]["missing"] == []
    assert desk.row(NAME).uploads == 2
    desk.clock.advance(days=6, hours=23)
    assert run("stick", "sync")[1]["removed"] == [], "for seven days it can be looked at there"
    desk.clock.advance(hours=1)
    assert run("stick", "sync")[1]["removed"] == [f"{NAME}.txt"]
    assert [path.name for path in (stick / "TAXFERRY/to-offline").iterdir()] == ["trust.txt"]


def test_the_stick_is_read_by_a_process_apart(station_desk, run, tmp_path, read_apart):
    """STICK-8."""
    stick = tmp_path / "U 盘"
    stick.mkdir()
    run("stick", "prepare", stick)
    (stick / "TAXFERRY/to-online" / f"{NAME}.dat").write_bytes(make_report()[0])
    status, visit = run("stick", "sync", stick)
    assert (status, visit["taken"]) == (0, [f"{NAME}.dat"])
    assert {"process", "limits"} <= set(visit["confined_by"])
    assert list(station_desk.home.spool.iterdir()) == []


def test_people_are_told_that_they_can_pull_the_stick_out_only_if_all_went_well(station_desk, run, tmp_path):
    stick = tmp_path / "U 盘"
    stick.mkdir()
    run("stick", "prepare", stick)
    assert "现在可以拔出U盘" in run("stick", "sync", stick, json_wanted=False)[1]
    (stick / "TAXFERRY/to-offline/trust.txt").unlink()
    (stick / "TAXFERRY/to-offline/trust.txt").mkdir()  # our name, and nothing of ours
    status, out, err = run("stick", "sync", stick, json_wanted=False)
    assert (status, "trust.txt" in err) == (35, True)
    assert "现在可以拔出U盘" in out, "one file could not be placed, and the medium is well"
    shutil.rmtree(stick / "TAXFERRY/to-offline")
    (stick / "TAXFERRY/to-offline").write_bytes(b"")
    status, out, err = run("stick", "sync", stick, json_wanted=False)
    assert status == 35
    assert err.count("TAXFERRY/to-offline") == 1, "what keeps everything from being placed is said once"
    assert "没有新文件" not in out
    assert "可以拔出" not in out + err


def test_upload_sends_one_file_and_leaves_it_where_it_is(station_desk, run, tmp_path):
    data, made = make_report()
    path = tmp_path / "报税 文件.dat"
    path.write_bytes(data)
    status, item = run("upload", path)
    assert (status, item["state"], item["report_digest"]) == (0, "accepted", made.digest)
    assert path.exists()
    assert run("upload", path)[0] == 0
    assert station_desk.bureau.puts[made.digest] == 1


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"", 11), (b"\x30\x80", 11), (None, 50)],
)
def test_upload_of_what_is_no_report_is_a_clear_error(run, tmp_path, data, status):
    path = tmp_path / f"{NAME}.dat"
    if data is not None:
        path.write_bytes(data)
    found, answer = run("upload", path)
    assert found == status
    assert answer["errors"][0]["hint"]


def test_upload_that_is_held_says_so(station_desk, run, tmp_path):
    station_desk.bureau.declared.clear()
    path = tmp_path / "x.dat"
    path.write_bytes(make_report()[0])
    status, item = run("upload", path)
    assert (status, item["hold"]) == (52, "not-declared")


def test_a_refused_upload_and_an_unknown_one_have_their_exit_codes(station_desk, run, tmp_path):
    path = tmp_path / "x.dat"
    path.write_bytes(make_report()[0])
    station_desk.bureau.misbehave("put", (403, "2734", "验证签名失败"))
    assert run("upload", path)[0] == 42
    assert run("show", NAME)[1]["fault"]["code"] == "2734"
    station_desk.bureau.misbehave("put", "drop")
    station_desk.bureau.misbehave("status", 500, 500)
    assert run("retry", NAME)[0] == 0
    assert run("once")[0] == 41


def test_what_needs_a_new_report_cannot_be_retried(station_desk, run):
    digest = station_desk.report()
    run("once")
    station_desk.bureau.fail(digest, "2715", "发票明细与汇总比对不符")
    run("results")
    status, answer = run("retry", NAME)
    assert status == 52
    assert "2715" in answer["errors"][0]["message"]
    assert run("cancel", NAME, "--reason", "抄错了月份")[1]["state"] == "cancelled"
    assert run("cancel", NAME, "--reason", "抄错了月份")[0] == 0


def test_a_report_given_up_by_mistake_is_taken_up_again(station_desk, run):
    station_desk.bureau.declared.clear()
    station_desk.report()
    run("once")
    assert run("cancel", NAME, "--reason", "抄错了月份")[1]["state"] == "cancelled"
    assert run("retry", NAME)[0] == 0
    run("once")
    assert run("list")[1]["items"][0]["state"] == "held"


def test_quarantined_files_stand_in_the_list(station_desk, run):
    (station_desk.inbox / f"{NAME}.dat").write_bytes(b"")
    assert run("once")[0] == 11
    (item,) = run("list")[1]["items"]
    assert (item["state"], item["code"], item["stem"], item["machine_no"]) == ("quarantined", "B1105", NAME, 0)


def test_ids_are_unknown_or_ambiguous_with_clear_errors(station_desk, run):
    assert run("show", "abcd")[0] == 50
    for machine in range(17):
        station_desk.report(machine)
    run("once")
    first = [i["report_digest"][0] for i in run("list")[1]["items"]]
    twice = next(c for c in first if first.count(c) > 1)
    status, answer = run("show", twice)
    assert (status, answer["errors"][0]["code"]) == (50, "B5010")


def test_the_doctor_finds_a_healthy_station_and_a_dead_bureau(station_desk, run, monkeypatch):
    from online_station.shell import diagnosis

    monkeypatch.setattr(diagnosis, "_LEAST_FREE", 1)
    status, found = run("doctor")
    verdicts = {i["name"]: i["verdict"] for i in found["items"]}
    assert status == 0, found
    assert set(verdicts.values()) == {"ok"}
    assert {"inbox", "outbox", "space", "trust", "key", "network", "lan", "bureau", "clock", "enrolment"} <= set(
        verdicts
    )
    station_desk.bureau.key_fingerprints.clear()
    assert {i["name"]: i["verdict"] for i in run("doctor")[1]["items"]}["enrolment"] == "error"
    station_desk.clock.advance(minutes=4)
    assert {i["name"]: i["verdict"] for i in run("doctor")[1]["items"]}["clock"] == "error"
    with station_desk.station() as station:
        station.store.set(bureau="http://127.0.0.1:9")
    status, found = run("doctor")
    assert status == 40
    assert found["items"][-1]["name"] == "lan"
    (station_desk.root / "key.p12").unlink()
    assert run("doctor")[0] == 50


def test_init_again_changes_folders_and_refuses_another_root(station_desk, run, tmp_path):
    root = station_desk.root
    words = ["--key", root / "key.p12", "--pin-file", root / "口令.txt"]
    status, made = run("init", "--bureau", station_desk.bureau.url, *words, "--inbox", tmp_path / "收件")
    assert (status, made["inbox"]) == (0, str(tmp_path / "收件"))
    foreign = tmp_path / "another.pem"
    foreign.write_bytes(foreign_pki().root.public_bytes(Encoding.PEM))
    assert run("init", "--bureau", station_desk.bureau.url, *words, "--trust", foreign)[0] == 50
    same = ["--inbox", tmp_path / "x", "--outbox", tmp_path / "x"]
    assert run("init", "--bureau", station_desk.bureau.url, *words, *same)[0] == 50


def test_a_mistyped_or_moved_address_can_be_corrected_and_the_rest_stays(station_desk, run, tmp_path):
    root = station_desk.root
    words = ["--key", root / "key.p12", "--pin-file", root / "口令.txt"]
    digest = station_desk.report()
    run("once")
    assert run("init", "--bureau", "http://127.0.0.1:9", *words, "--inbox", tmp_path / "收件")[0] == 1
    assert run("results")[0] == 40
    status, made = run("init", "--bureau", station_desk.bureau.url, *words)
    assert (status, made["inbox"]) == (0, str(tmp_path / "收件"))
    station_desk.bureau.succeed(digest)
    assert run("results")[1]["items"][0]["state"] == "staged"


def test_init_without_a_root_shows_its_fingerprint_to_compare(station_desk, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(base, "CLOCK", station_desk.clock)
    root = station_desk.root
    words = ["--bureau", station_desk.bureau.url, "--key", str(root / "key.p12"), "--pin-file", str(root / "口令.txt")]
    assert cli.program.run(["--home", str(tmp_path / "new"), "init", *words]) == 1
    from cryptography.hazmat.primitives import hashes

    assert station_desk.bureau.pki.root.fingerprint(hashes.SHA256()).hex() in capsys.readouterr().err


def test_verbs_before_init_say_so(capsys, tmp_path):
    for words in (["once"], ["list"], ["results"], ["run"], ["doctor"], ["stick", "sync", str(tmp_path)]):
        assert cli.program.run(["--home", str(tmp_path / "none"), *words]) == 50
        assert "B5003" in capsys.readouterr().err


def test_beside_a_running_service_once_and_upload_hand_over(station_desk, run, tmp_path):
    path = tmp_path / "x.dat"
    path.write_bytes(make_report()[0])
    with station_desk.station():
        assert run("once")[1]["service"] is True
        assert run("results")[1]["service"] is True
        assert run("upload", path)[1]["service"] is True
    assert (station_desk.inbox / f"{NAME}.dat").is_file()
    run("once")
    assert station_desk.state(NAME) == "accepted"


def test_words_are_in_both_languages(station_desk, run):
    station_desk.report()
    status, out, _ = run("once", "--lang", "zh", json_wanted=False)
    assert status == 0
    assert "税局已受理" in out
    assert "下一步" in out
    _, out, _ = run("list", "--lang", "en", json_wanted=False)
    assert "accepted by the bureau" in out
    assert "next: " in out


def test_the_unreachable_bureau_is_exit_40_and_nothing_is_lost(station_desk, run):
    station_desk.report()
    with station_desk.station() as station:
        station.store.set(bureau="http://127.0.0.1:9")
    status, found = run("once")
    assert status == 40
    assert found["errors"][0]["code"] == "B4001"
    assert station_desk.state(NAME) == "proven"
    assert station_desk.clock.now() == NOW


def test_a_file_that_is_not_there_is_named_and_is_no_matter_of_settings(run, tmp_path):
    _, answer = run("upload", tmp_path / "没有.dat")
    assert answer["errors"][0]["code"] == "B5011"


def test_a_life_line_is_told_in_words_and_kept_plain_for_programs(station_desk, run):
    station_desk.bureau.declared.clear()
    digest = station_desk.report()
    run("once")
    run("release", NAME, "--operator", "Wang", "--reason", "told by\nphone")
    run("once")
    station_desk.bureau.fail(digest, "271D", "未申报")
    run("results")
    _, chinese, _ = run("show", NAME, "--lang", "zh", json_wanted=False)
    lines = [line.split("  ")[-1] for line in chinese.splitlines() if line.startswith("  2026-")]
    assert lines[1] == "暂不上传（本期尚未申报（271D））"
    assert lines[2] == "操作员放行（Wang: told by phone）"
    assert lines[-1] == "报税失败（结果序号 1，271D）"
    assert "+08:00" not in chinese
    _, english, _ = run("show", NAME, "--lang", "en", json_wanted=False)
    assert not any("\u4e00" <= c <= "\u9fff" for c in english)
    events = run("show", NAME)[1]["events"]
    assert events[-1]["to"] == "failed"
    assert events[-1]["at"].endswith("+08:00")


def test_what_the_bureau_says_in_chinese_is_said_in_english_too(station_desk, run):
    digest = station_desk.report()
    run("once")
    station_desk.bureau.fail(digest, "2715", "发票明细与汇总比对不符")
    run("results")
    _, out, _ = run("list", "--lang", "en", json_wanted=False)
    assert "2715" in out
    assert not any("\u4e00" <= c <= "\u9fff" for c in out)


def test_without_the_service_the_next_action_names_the_verb(station_desk, run):
    station_desk.bureau.declared.clear()
    station_desk.report()
    run("once")
    assert "once" in run("release", NAME)[1]["next_action"]


def test_a_pass_that_could_not_reach_the_bureau_does_not_say_that_nothing_was_due(station_desk, run):
    station_desk.report()
    with station_desk.station() as station:
        station.store.set(bureau="http://127.0.0.1:9")
    run("once")
    status, out, err = run("once", json_wanted=False)
    assert "没有到期的工作" not in out if status else "执行 results" in out
    assert "NewConnectionError" not in err


def test_a_verb_says_nothing_beside_its_words(station_desk):
    """In a process of its own: logging falls back to standard error where nobody listens."""
    (station_desk.inbox / f"{NAME}.dat").write_bytes(b"")
    words = ["--home", str(station_desk.home.root), "--json", "once"]
    done = subprocess.run(
        [sys.executable, "-m", "online_station", *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 11
    assert done.stderr == ""


def test_a_refusal_is_told_with_its_code(station_desk, run):
    station_desk.report()
    station_desk.bureau.misbehave("put", (403, "2735", "企业未开户"))
    run("once")
    assert "报税失败（2735）" in run("show", NAME, "--lang", "zh", json_wanted=False)[1]


def test_holding_twice_is_one_event(station_desk, run):
    station_desk.bureau.declared.clear()
    station_desk.report()
    run("once")
    assert run("hold", NAME)[0] == 0
    assert run("hold", NAME.lower())[0] == 0
    assert [e["event"] for e in run("show", NAME)[1]["events"]].count("operator-hold") == 1


def test_a_report_that_its_card_has_gone_on_from_asks_nothing_more_of_anybody(station_desk, run):
    old = station_desk.report()
    run("once")
    station_desk.bureau.fail(old, "2715", "发票明细与汇总比对不符")
    run("results")
    new = station_desk.report(sequence=99, nonce="7" * 32)
    run("once")
    station_desk.bureau.succeed(new)
    run("results")
    items = {i["report_digest"]: i for i in run("list")[1]["items"]}
    assert items[old]["overtaken"]
    assert "更新的抄税" in items[old]["next_action"]
    assert not items[new]["overtaken"]
    assert "clear" in run("list")[1]["next_action"]


def test_the_service_speaks_in_words():
    words = service_line("state", {"report_digest": "ab" * 32, "from": "staged", "to": "acknowledged", "code": ""})
    assert words.zh == "abababababab…  已清卡，完成"
    for event in ("taken", "quarantined", "ack-delivered", "trust", "trouble"):
        assert event not in service_line(event, {"report_digest": "ab", "file": "x", "version": "2"}).zh
