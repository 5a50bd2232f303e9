"""List, show and board as people and scripts see them."""

from __future__ import annotations

import pytest

from online_station.shell.schema import COMPANY, REPORT
from online_station.shell.setup import opened
from shared.states import OnlineState
from tests.support.many import insert, report_values, taxpayer
from tests.unit.online_station.test_cli import NAME, run

__all__ = ["run"]


def put(desk, *rows):
    with opened(desk.home) as store:
        insert(store, REPORT, list(rows))


def register(desk, *numbers):
    with opened(desk.home) as store:
        shared = {"inbox": "", "key_file": "", "pin_file": "", "added_at": 0.0}
        insert(store, COMPANY, [{"taxpayer_id": taxpayer(n), "name": f"第{n}家", **shared} for n in numbers])


def test_people_are_shown_a_page_and_told_of_the_rest_and_scripts_are_given_all(station_desk, run):
    put(station_desk, *(report_values(n) for n in range(60)))
    status, out, _ = run("list", json_wanted=False)
    assert status == 0
    assert sum("_202608010000" in line for line in out.splitlines()) == 50
    assert "共 60 个，另有 10 个；下一页加 --after " in out
    key = out.split("--after ")[1].split()[0]
    out = run("list", "--after", key, json_wanted=False)[1]
    assert sum("_202608010000" in line for line in out.splitlines()) == 10
    assert "另有" not in out
    whole = run("list")[1]
    assert (len(whole["items"]), whole["total"], whole["next"]) == (60, 60, None)
    part = run("list", "--limit", 7)[1]
    assert (len(part["items"]), part["total"], part["next"] is None) == (7, 60, False)
    assert run("list", "--limit", 7, "--after", part["next"])[1]["items"][0] == whole["items"][7]


def test_a_list_is_narrowed_by_what_is_asked_for(station_desk, run):
    put(
        station_desk,
        report_values(1, state=OnlineState.FAILED),
        report_values(2, state=OnlineState.HELD, machine=3),
        report_values(3, period="2026-05", state=OnlineState.STAGED),
        report_values(4),
    )

    def found(*words):
        status, data = run("list", *words)
        assert status == 0
        return {int(item["taxpayer_id"][4:]) for item in data["items"]}

    assert found("--taxpayer", taxpayer(1)) == {1}
    assert found("--state", "failed", "--state", "held") == {1, 2}
    assert found("--period", "2026-05") == {3}
    assert found("--machine", 3) == {2}
    assert found("--text", "汇总") == {1}
    assert found("--overdue") == {3}, "July's deadline has not passed at the beginning of August"
    assert found("--since", "2026-08-01") == {1, 2, 3, 4}
    assert found("--until", "2026-07-01") == set()
    assert "没有符合条件的报告" in run("list", "--text", "没有", json_wanted=False)[1]


@pytest.mark.parametrize(
    "words",
    [
        ("list", "--period", "2026-13"),
        ("list", "--since", "昨天"),
        ("list", "--after", "???"),
        ("list", "--limit", "0"),
        ("list", "--state", "nowhere"),
        ("board", "--period", "7"),
        ("board", "--after", "???"),
        ("board", "--only", "all"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(run, words):
    status, answer = run(*words)
    assert (status, answer["errors"][0]["code"]) == (2, "B0201")


def test_the_next_action_of_a_list_is_that_of_what_needs_a_person_even_on_another_page(station_desk, run):
    put(
        station_desk,
        report_values(1, state=OnlineState.FAILED, receipt_no="R1", resend="new-report"),
        *(report_values(n, found=station_desk.clock.now().replace(hour=23)) for n in range(2, 60)),
    )
    assert "copy --again" in run("list", "--limit", 5, json_wanted=False)[1]
    assert "copy --again" not in run("list", "--state", "acknowledged", json_wanted=False)[1]


def test_the_board_says_where_each_company_is_and_counts_them(station_desk, run):
    register(station_desk, 1, 2, 3, 9)
    put(
        station_desk,
        report_values(1, state=OnlineState.STAGED),
        report_values(1, state=OnlineState.FAILED, machine=1),
        report_values(2, state=OnlineState.ACKNOWLEDGED),
        report_values(3, state=OnlineState.PROCESSING),
        report_values(4, period="2026-05", state=OnlineState.STAGED),
    )
    status, board = run("board")
    assert status == 0
    assert [(int(line["taxpayer_id"][4:]), line["period"], line["stage"]) for line in board["items"]] == [
        (1, "2026-07", "failed"),
        (2, "2026-07", "cleared"),
        (3, "2026-07", "at-bureau"),
        (4, "2026-05", "staged"),
    ]
    assert board["items"][0]["name"] == "第1家"
    assert [m["stage"] for m in board["items"][0]["machines"]] == ["staged", "failed"]
    assert board["silent"] == [{"taxpayer_id": taxpayer(9), "name": "第9家"}]
    totals = board["totals"]
    assert {k: totals[k] for k in ("registered", "seen", "silent", "open")} == {
        "registered": 4,
        "seen": 3,
        "silent": 1,
        "open": 2,
    }
    assert (totals["companies"]["failed"], totals["companies"]["cleared"]) == (1, 1)
    assert totals["reports"] == {"acknowledged": 1, "failed": 1, "processing": 1, "staged": 1}
    assert (board["deadline"]["deadline"], board["deadline"]["certain"]) == ("2026-08-17", True)
    assert [(m["period"], m["companies"], m["days_left"] < 0) for m in board["open_months"]] == [
        ("2026-05", 1, True),
        ("2026-07", 2, False),
    ]
    out = run("board", json_wanted=False)[1]
    assert "登记 4 家，已送来 3 家：报税失败 1，已上传，待结果 1，已清卡，完成 1，没有送来 1" in out
    assert "2026-05 的征期 2026-06-15 截止，已过" in out
    assert "还没有送来报税文件的企业 1 家" in out


def test_the_board_is_narrowed_and_paged(station_desk, run):
    register(station_desk, *range(70))
    put(station_desk, *(report_values(n, state=OnlineState.HELD if n % 2 else OnlineState.STAGED) for n in range(8)))
    assert len(run("board", "--only", "failed")[1]["items"]) == 4
    assert len(run("board", "--only", "open")[1]["items"]) == 8
    assert run("board", "--only", "done")[1]["items"] == []
    assert run("board", "--period", "2026-06")[1]["items"] == []
    assert [line["taxpayer_id"] for line in run("board", "--taxpayer", taxpayer(3).lower())[1]["items"]] == [
        taxpayer(3)
    ]
    first = run("board", "--limit", 3)[1]
    second = run("board", "--limit", 100, "--after", first["next"])[1]
    assert [int(each["taxpayer_id"][4:]) for each in first["items"] + second["items"]] == list(range(8))
    silent = run("board", "--only", "silent", "--limit", 60)[1]
    assert (len(silent["silent"]), silent["total"]) == (60, 62)
    rest = run("board", "--only", "silent", "--after", silent["next"])[1]
    assert [int(each["taxpayer_id"][4:]) for each in rest["silent"]] == [68, 69]
    out = run("board", json_wanted=False)[1]
    assert "另有 12 家（用 board --only silent 一页一页看）" in out
    assert "没有这样的企业" in run("board", "--only", "done", json_wanted=False)[1]


def test_the_life_line_of_a_report_is_shown_to_its_end(station_desk, run, tmp_path):
    stick = tmp_path / "U 盘"
    stick.mkdir()
    run("stick", "prepare", stick, "--label", "财务")
    digest = station_desk.report()
    run("once")
    out = run("show", NAME, json_wanted=False)[1]
    assert "下一步在 2026-08-" in out
    assert run("show", NAME)[1]["work"]["step"] == "ask-result"
    station_desk.bureau.succeed(digest)
    run("results")
    run("stick", "sync", stick)
    station_desk.ack(digest)
    run("once")
    out = run("show", NAME, json_wanted=False)[1]
    for words in ("结果序号 1", "已放上U盘", "→ 财务）", "收到清卡回执，已送达税局"):
        assert words in out
    shown = run("show", NAME)[1]
    assert (shown["acks"][0]["state"], shown["work"]["due_at"]) == ("delivered", None)
    assert [leg["leg"] for leg in shown["legs"]] == ["left"]
