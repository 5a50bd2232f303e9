"""The verbs as scripts and people use them: exit codes, JSON data, and the next action in both languages."""

from __future__ import annotations

import json
import os
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from offline_station import cli
from offline_station.card.software import SoftwareCard
from offline_station.core.card_rules import CopyRecord
from shared.clock import CHINA, FixedClock
from shared.model.taxcard import write_taxcard
from tests.support.offline import NOW, answer, invoice_list, new_station, taxcard

STEM = "310100000000000_0_202608010000"


class Desk:
    """An operator's desk: the program, a home, and what was printed last."""

    def __init__(self, home: Path, folder: Path, clock: FixedClock, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self.folder, self.clock, self._capsys = home, folder, clock, capsys
        self.out = self.err = ""

    def run(self, *words: object, status: int = 0) -> str:
        code = cli.program.run(["--home", str(self.home), *map(str, words)])
        self.out, self.err = self._capsys.readouterr()
        assert code == status, f"{words}: {code}\n{self.out}{self.err}"
        return self.out

    def ask(self, *words: object, status: int = 0) -> dict[str, Any]:
        answered = json.loads(self.run(*words, "--json", status=status))
        assert answered["ok"] == (status in (0, 1))
        assert set(answered) == {"ok", "command", "data", "errors", "version"}
        data: dict[str, Any] = answered["data"]
        self.errors = answered["errors"]
        return data

    def open_copy(self) -> CopyRecord:
        card = SoftwareCard(self.home / "card.db")
        found = card.open_copy()
        card.close()
        assert found is not None
        return found

    def result_file(self, number: int = 1, **changes: Any) -> Path:
        path = self.folder / f"{STEM}.txt"
        path.write_bytes(answer(self.open_copy(), number, **{"bureau_time": self.clock.now(), **changes}))
        return path


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_station(tmp_path_factory.mktemp("template"), FixedClock(NOW)).root


@pytest.fixture
def desk(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    clock = FixedClock(NOW)
    monkeypatch.setattr(cli, "clock", clock)
    home = Path(shutil.copytree(template, tmp_path / "开票 机"))
    return Desk(home, tmp_path, clock, capsys)


def test_the_month_in_the_forms_that_scripts_use(desk: Desk) -> None:
    listed = invoice_list(desk.folder / "发票.csv", 6)
    imported = desk.ask("invoices", "import", listed)["files"][0]
    assert {"file", "invoices", "lines", "voided", "amount", "tax", "skipped", "problems"} <= set(imported)
    assert (imported["invoices"], imported["problems"]) == (6, [])
    status = desk.ask("status")
    wanted = {"state", "taxpayer_id", "machine_no", "lock_date", "days_left", "last_copied_at", "last_cleared_at"}
    assert wanted | {"next_action"} <= set(status)
    assert (status["state"], status["days_left"], status["last_copied_at"]) == ("to-copy", 12, None)
    copied = desk.ask("copy")
    assert {"stamp", "kind", "nonce", "invoice_count"} <= set(copied)
    assert (copied["stamp"], copied["kind"], copied["invoice_count"]) == ("202608010000", "period", 6)
    report = desk.ask("report")
    assert {"file", "report_digest", "invoice_count", "bytes"} <= set(report)
    assert Path(report["file"]).name == f"{STEM}.dat"
    result = desk.ask("result", desk.result_file())
    assert (result["report_digest"], result["outcome"], result["code"]) == (report["report_digest"], "success", "")
    assert desk.ask("status")["state"] == "to-clear"
    cleared = desk.ask("clear")
    assert (cleared["cleared"], cleared["already"], cleared["lock_date"]) == (True, False, "2026-09-15")
    assert Path(cleared["ack_file"]).name == f"{STEM}.ack"
    assert desk.ask("clear")["already"] is True
    assert desk.ask("status")["state"] == "done"
    history = desk.ask("history")["items"]
    assert [item["state"] for item in history] == ["cleared"]
    shown = desk.ask("show", report["report_digest"][:10])
    assert [event["event"] for event in shown["events"]] == ["copied", "sealed", "success", "cleared"]


def test_options_stand_before_and_after_the_verb(desk: Desk) -> None:
    before = json.loads(desk.run("--json", "status"))
    assert before["data"] == desk.ask("status")
    assert "state:" in desk.run("status", "--lang", "en")
    assert "状态" in desk.run("--lang", "zh", "status")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("report",), 52),
        (("clear",), 52),
        (("result",), 52),
        (("result", "nowhere.txt"), 50),
        (("show", "deadbeef"), 50),
        (("restore", "nowhere.zip"), 50),
        (("stick", "sync"), 30),
        (("stick", "list", "/nonexistent/stick"), 30),
        (("invoices", "list", "--month", "2026-7"), 2),
        (("nonsense",), 2),
        (("init",), 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_exit_codes_at_the_beginning(desk: Desk, words: tuple[str, ...], status: int) -> None:
    desk.ask(*words, status=status)


@pytest.mark.parametrize(
    ("words", "status"),
    [(("init", "--card"), 50), (("invoices", "import"), 13), (("result",), 50), (("restore",), 50)],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_pipe_or_a_folder_is_no_file_and_nothing_waits_on_it(desk: Desk, words: tuple[str, ...], status: int) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("platform: there are no pipes in folders")
    os.mkfifo(desk.folder / "管道")
    for path in (desk.folder / "管道", desk.folder):
        desk.ask(*words, path, status=status)


def test_a_verb_before_init_says_what_to_do(desk: Desk) -> None:
    desk.home = desk.folder / "empty"
    for verb in ("status", "copy", "report", "result", "clear", "history", "doctor", "backup"):
        desk.ask(verb, status=50)
        assert desk.errors[0]["code"] == "B5003"
    assert not desk.home.exists()


def test_init_in_its_exact_form(desk: Desk) -> None:
    desk.home = desk.folder / "新 家"
    card = desk.folder / "分机 1.taxcard"
    write_taxcard(card, taxcard(1))
    made = desk.ask("init", "--card", card, "--outbox", desk.folder / "传出", "--inbox", desk.folder / "传入")
    assert (made["machine_no"], made["taken_in"]) == (1, True)
    assert made["outbox"] == str(desk.folder / "传出")
    assert not card.exists()
    assert desk.ask("init", "--card", card)["taken_in"] is False
    write_taxcard(card, taxcard(2))
    desk.ask("init", "--card", card, status=50)
    assert card.exists()


def test_copy_again_needs_to_be_asked_for(desk: Desk) -> None:
    first = desk.ask("copy")["nonce"]
    desk.ask("copy", status=52)
    assert desk.errors[0]["code"] == "B5204"
    again = desk.ask("copy", "--again")
    assert again["superseded"] == [first]
    assert [item["state"] for item in desk.ask("history")["items"]] == ["copied", "superseded"]


def test_ad_hoc_has_its_own_stamp(desk: Desk) -> None:
    made = desk.ask("copy", "--adhoc")
    assert (made["kind"], made["stamp"]) == ("adhoc", "202608050930")
    assert Path(desk.ask("report")["file"]).name == "310100000000000_0_202608050930.dat"


def test_report_again_says_that_nothing_changed(desk: Desk) -> None:
    desk.run("copy")
    first = desk.ask("report")
    second = desk.ask("report")
    assert first | {"sealed_now": False} == second
    assert desk.ask("report", "--reseal")["report_digest"] != first["report_digest"]


def test_the_lock_date_closes_copy_and_report_and_never_clear(desk: Desk) -> None:
    desk.run("copy")
    desk.run("report")
    result = desk.result_file()
    desk.clock.moment = datetime(2026, 8, 18, 9, 0, tzinfo=CHINA)
    status = desk.ask("status")
    assert (status["state"], status["locked"], status["days_left"]) == ("locked", True, -1)
    desk.ask("copy", "--again", status=53)
    desk.ask("report", status=53)
    desk.ask("result", result)
    assert desk.ask("status")["state"] == "to-clear"
    assert desk.ask("clear")["cleared"] is True
    assert desk.ask("status")["state"] == "done"


def test_a_failure_is_a_result_and_says_who_must_act(desk: Desk) -> None:
    desk.run("copy")
    desk.run("report")
    failed = desk.ask("result", desk.result_file(code="271D", message="未申报"))
    assert (failed["outcome"], failed["code"], failed["message"]) == ("failure", "271D", "未申报")
    desk.ask("clear", status=52)
    assert "retry" in desk.ask("status")["next_action"]
    desk.ask("result", desk.result_file(2, code="2715", message="明细与汇总不符"))
    assert "copy --again" in desk.ask("status")["next_action"]


def test_a_y_is_still_processing(desk: Desk) -> None:
    desk.run("copy")
    desk.run("report")
    path = desk.folder / f"{STEM}.txt"
    path.write_bytes(b"Y\n")
    data = desk.ask("result", path, status=43)
    assert data["outcome"] == "processing"
    (desk.home / "inbox" / path.name).write_bytes(b"Y")
    assert desk.ask("result", status=43)["outcome"] == "processing"
    assert "重复上传" in desk.run("result", path, status=43)


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"", 12), (b"garbage\r\n", 12), (b"x" * 100_000, 12)],
    ids=["empty", "garbage", "oversized"],
)
def test_what_is_no_result_has_exit_code_12(desk: Desk, content: bytes, status: int) -> None:
    desk.run("copy")
    desk.run("report")
    path = desk.folder / f"{STEM}.txt"
    path.write_bytes(content)
    desk.ask("result", path, status=status)
    assert path.exists()
    desk.ask("clear", status=52)


def test_wrong_results_have_the_codes_of_their_kind(desk: Desk) -> None:
    desk.run("copy")
    desk.run("report")
    good = desk.result_file().read_bytes()
    path = desk.folder / f"{STEM}.txt"
    path.write_bytes(good.replace(b"2026-09-15", b"2026-09-16", 1))
    desk.ask("result", path, status=20)
    made = desk.open_copy()
    other = made.name.__class__(made.name.taxpayer_id, 3, made.name.stamp)  # type: ignore[arg-type]
    theirs = desk.folder / other.file_name(".txt")
    theirs.write_bytes(answer(made, name=other))
    desk.ask("result", theirs, status=22)
    assert "3 号分机" in desk.errors[0]["message"]
    path.write_bytes(theirs.read_bytes())
    desk.ask("result", path, status=22)
    assert desk.errors[0]["code"] == "B2208", "renamed into ours"
    desk.ask("result", desk.result_file(5, code="271D"))
    desk.ask("result", desk.result_file(4), status=23)
    assert desk.ask("status")["state"] == "copied"


def test_several_wrong_files_are_all_listed(desk: Desk) -> None:
    desk.run("copy")
    desk.run("report")
    (desk.home / "inbox" / f"{STEM}.txt").write_bytes(b"")
    (desk.home / "inbox" / f"{STEM} (1).txt").write_bytes(b"garbage")
    data = desk.ask("result", status=12)
    assert len(data["refused"]) == len(desk.errors) == 2
    assert all(Path(refused["moved_to"]).exists() for refused in data["refused"])
    desk.ask("result", status=52)


def test_a_good_result_among_bad_ones_is_taken_and_the_others_told(desk: Desk) -> None:
    desk.run("copy")
    desk.run("report")
    (desk.home / "inbox" / f"{STEM}.txt").write_bytes(b"")
    (desk.home / "inbox" / f"{STEM} (1).txt").write_bytes(desk.result_file().read_bytes())
    desk.run("result")
    assert "报税成功" in desk.out
    assert "没有采用" in desk.out


def test_a_bad_list_is_named_by_file_and_row_and_exits_13(desk: Desk) -> None:
    bad = desk.folder / "坏.csv"
    good = invoice_list(desk.folder / "好.csv", 3)
    text = good.read_bytes().decode("gb18030").replace("2026/07/", "2026/13/")
    bad.write_bytes(text.encode("gb18030"))
    data = desk.ask("invoices", "import", bad, good, status=13)
    assert data["files"][0]["problems"][0]["row"] == 2
    assert data["files"][1]["invoices"] == 3
    assert desk.ask("invoices", "list")["count"] == 3


def test_invoices_are_listed_by_pages_and_exported(desk: Desk) -> None:
    desk.run("invoices", "import", invoice_list(desk.folder / "a.csv", 7))
    first = desk.ask("invoices", "list", "--limit", 5)
    second = desk.ask("invoices", "list", "--limit", 5, "--after", first["after"])
    assert (len(first["items"]), len(second["items"]), second["after"]) == (5, 2, None)
    assert desk.ask("invoices", "list", "--kind", "004")["count"] == 0
    for name in ("out.csv", "out.xlsx"):
        exported = desk.ask("invoices", "export", desk.folder / name, "--month", "2026-07")
        assert exported["invoices"] == 7
        assert (desk.folder / name).stat().st_size > 500


def test_the_stick_in_its_exact_forms(desk: Desk) -> None:
    folder = desk.folder / "U盘"
    folder.mkdir()
    assert desk.ask("stick", "prepare", folder, "--label", "财务")["label"] == "财务"
    desk.run("copy")
    assert desk.ask("report")["stick"] == "财务"
    done = desk.ask("stick", "sync", folder)
    assert (done["placed"], done["already"]) == ([], [f"{STEM}.dat"]), "report put it there"
    (folder / "TAXFERRY" / "to-online" / f"{STEM}.dat").unlink()
    assert desk.ask("stick", "sync", folder)["placed"] == [f"{STEM}.dat"]
    assert [item["name"] for item in desk.ask("stick", "list")["items"]] == [f"{STEM}.dat", "trust.txt"]
    assert desk.ask("stick", "eject")["safe"] is True
    (folder / "TAXFERRY" / "to-offline" / f"{STEM}.txt").write_bytes(desk.result_file().read_bytes())
    assert desk.ask("stick", "sync")["taken"] == [f"{STEM}.txt"]
    assert "result" in desk.ask("stick", "sync")["next_action"]
    assert desk.ask("result")["outcome"] == "success"
    unprepared = desk.folder / "光盘"
    unprepared.mkdir()
    desk.ask("stick", "sync", unprepared, status=32)
    desk.run("clear")
    desk.ask("stick", "sync", unprepared, status=32)


def test_backup_restore_and_log(desk: Desk) -> None:
    desk.run("invoices", "import", invoice_list(desk.folder / "a.csv", 4))
    saved = desk.ask("backup", desk.folder / "备份 1.zip")
    assert Path(saved["file"]).exists()
    desk.run("invoices", "import", invoice_list(desk.folder / "b.csv", 2, first_number=70))
    restored = desk.ask("restore", saved["file"], status=1)
    assert restored["behind"] == ["2026-07"]
    assert "重新导入" in desk.run("status", status=1) + desk.err
    desk.run("invoices", "import", desk.folder / "b.csv")
    desk.ask("status")
    exported = desk.ask("log", "export", desk.folder / "日志.csv")
    assert exported["entries"] > 3
    assert (desk.folder / "日志.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    (desk.folder / "bad.zip").write_bytes(b"PK")
    desk.ask("restore", desk.folder / "bad.zip", status=50)


def test_doctor_finds_nothing_in_health_and_names_remedies_in_sickness(desk: Desk) -> None:
    healthy = desk.ask("doctor")
    assert healthy["ok"] is True
    names = {item["name"] for item in healthy["items"]}
    assert names == {
        "card", "lock-date", "key", "bureau-keys", "clock", "memory", "outbox", "inbox", "space", "ledger", "backup", "stick", "reader",
    }  # fmt: skip
    (desk.home / "card.db").chmod(0o644)
    shutil.rmtree(desk.home / "outbox")
    (desk.home / "outbox").write_bytes(b"")
    desk.clock.moment = datetime(2026, 8, 30, 9, 0, tzinfo=CHINA)
    (desk.home / "outbox").unlink()
    sick = desk.ask("doctor", status=1)
    bad = {item["name"]: item["remedy"] for item in sick["items"] if not item["ok"]}
    assert {"card", "lock-date"} <= set(bad)
    assert all(bad.values())


def test_a_clock_behind_the_bureaus_is_a_warning(desk: Desk) -> None:
    """CARD-12."""
    desk.run("copy")
    desk.run("report")
    desk.run("result", desk.result_file(bureau_time=NOW + timedelta(hours=2)))
    assert desk.ask("status", status=1)["bureau_time"] == "2026-08-05T11:30:00+08:00"
    assert "时钟" in desk.run("status", status=1) + desk.err


def test_a_lost_memory_is_told_until_init_or_restore_mends_it(desk: Desk) -> None:
    desk.run("copy")
    for path in desk.home.glob("station.db*"):
        path.unlink()
    assert "station.db" in desk.run("status", status=1) + desk.err
    assert {i["name"] for i in desk.ask("doctor", status=1)["items"] if not i["ok"]} >= {"memory"}
    desk.run("init")
    assert desk.ask("status")["state"] == "copied"


def test_a_visit_that_failed_does_not_say_that_there_was_nothing_to_carry(desk: Desk) -> None:
    stick = desk.folder / "U盘"
    stick.mkdir()
    desk.run("stick", "prepare", stick)
    desk.run("copy")
    assert "现在可以拔出U盘" in desk.run("report")
    assert "现在可以拔出U盘" in desk.run("stick", "sync", stick)
    for path in (stick / "TAXFERRY" / "to-online").iterdir():
        path.unlink()
        path.mkdir()  # our name, and nothing of ours
    said = desk.run("stick", "sync", stick, status=35)
    assert "没有要带的文件" not in said
    assert "可以拔出" not in said + desk.err


def test_the_stick_is_read_by_a_process_apart(desk: Desk, read_apart: None) -> None:
    """STICK-8."""
    stick = desk.folder / "U盘"
    stick.mkdir()
    desk.run("stick", "prepare", stick)
    desk.run("copy")
    desk.run("report")
    (stick / "TAXFERRY" / "to-offline" / f"{STEM}.txt").write_bytes(desk.result_file().read_bytes())
    done = desk.ask("stick", "sync", stick)
    assert done["taken"] == [f"{STEM}.txt"]
    assert {"process", "limits"} <= set(done["confined_by"])
    assert [path.name for path in (desk.home / "spool").iterdir() if path.name.startswith(".visit")] == []


def test_people_are_told_what_happened_the_state_and_the_next_action(desk: Desk) -> None:
    for words, needle in (
        (("copy",), "零申报"),
        (("report",), "报税文件已生成"),
        (("status",), "已抄税"),
        (("history",), "上网机"),
    ):
        text = desk.run(*words)
        assert needle in text
        assert "下一步：" in text
    text = desk.run("status", "--lang", "en")
    assert "next: " in text
    assert "Internet PC" in text


def test_verify_and_explain_need_no_home(desk: Desk) -> None:
    desk.run("copy")
    path = desk.ask("report")["file"]
    desk.home = desk.folder / "nowhere"
    assert desk.ask("verify", path)["kind"] == "report"
    assert desk.run("explain", "B2203")
    assert not desk.home.exists()


def _chinese(text: str) -> bool:
    return any("\u4e00" <= c <= "\u9fff" for c in text)


def test_a_life_line_is_told_in_words_with_readable_times(desk: Desk) -> None:
    desk.run("copy")
    desk.run("report")
    desk.run("result", desk.result_file(code="271D", message="未申报"))
    shown = desk.run("show", STEM, "--lang", "zh")
    assert "2026-08-05 09:30:00  收到结果：报税失败：271D 未申报，受理回执 R00000001" in shown
    assert "nonce" not in shown
    assert "+08:00" not in shown
    assert not _chinese(desk.run("show", STEM, "--lang", "en"))
    assert not _chinese(desk.run("result", "--lang", "en"))
    assert desk.ask("show", STEM)["events"][-1]["event"] == "failure"


def test_clearing_too_early_names_the_very_next_step(desk: Desk) -> None:
    desk.run("copy")
    desk.run("clear", status=52)
    assert "执行 report" in desk.err
    desk.run("report")
    desk.run("clear", status=52)
    assert "执行 result" in desk.err
    desk.run("result", desk.result_file(code="271D", message="未申报"))
    desk.run("clear", status=52)
    assert "retry" in desk.err


def test_the_start_of_a_digest_is_an_id_however_short(desk: Desk) -> None:
    desk.run("copy")
    digest = desk.ask("report")["report_digest"]
    assert desk.ask("show", digest[:1])["report_digest"] == digest
    desk.run("show", "", status=50)


def test_a_folder_that_cannot_be_used_leaves_the_card_outside(desk: Desk) -> None:
    (desk.folder / "文件").write_text("x")
    write_taxcard(desk.folder / "新.taxcard", taxcard())
    desk.home = desk.folder / "新家"
    desk.run("init", "--card", desk.folder / "新.taxcard", "--outbox", desk.folder / "文件", status=50)
    assert (desk.folder / "新.taxcard").exists()
    assert not (desk.home / "card.db").exists()
    desk.run("init", "--card", desk.folder / "新.taxcard", "--outbox", desk.folder / "夹")
    assert not (desk.folder / "新.taxcard").exists()


@pytest.mark.parametrize(("content", "code"), [(None, "B5011"), (b"", "B5012"), (b"{}", "B5012"), (b"135790", "B5012")])
def test_what_is_no_card_is_refused_with_its_own_advice(desk: Desk, content: bytes | None, code: str) -> None:
    path = desk.folder / "x.taxcard"
    if content is not None:
        path.write_bytes(content)
    desk.home = desk.folder / "新家"
    desk.ask("init", "--card", path, status=50)
    assert desk.errors[0]["code"] == code
    assert path.exists() == (content is not None)


@pytest.mark.parametrize("size", [0, 5000])
def test_a_damaged_card_is_not_sought_in_a_backup(desk: Desk, size: int) -> None:
    path = desk.home / "card.db"
    path.write_bytes(path.read_bytes()[:size])
    desk.run("status", status=50)
    assert "[B5013]" in desk.err
    assert "办税服务厅" in desk.err


def test_a_damaged_ledger_is_sought_in_a_backup(desk: Desk) -> None:
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        (desk.home / name).unlink(missing_ok=True)
    (desk.home / "ledger.db").write_bytes(b"nothing of the kind" * 100)
    desk.run("status", status=50)
    assert "[B5008]" in desk.err
    assert "restore" in desk.err


@pytest.mark.parametrize("content", [b"", b"rubbish"])
def test_an_unusable_result_on_the_stick_is_a_warning_of_the_visit(desk: Desk, content: bytes) -> None:
    stick = desk.folder / "U盘"
    stick.mkdir()
    desk.run("stick", "prepare", stick)
    (stick / "TAXFERRY" / "to-offline" / f"{STEM}.txt").write_bytes(content)
    desk.run("stick", "sync", status=1)
    assert f"{STEM}.txt" in desk.err
    assert desk.ask("stick", "sync", status=1)["refused"][0]["file"] == f"{STEM}.txt"


def test_a_list_that_is_not_there_is_said_so_in_chinese(desk: Desk) -> None:
    desk.run("invoices", "import", desk.folder / "没有.csv", status=13)
    assert "文件或文件夹不存在" in desk.err
    assert "No such" not in desk.out + desk.err
