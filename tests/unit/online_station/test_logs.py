"""The service's logs: two forms of the same, turned over, scrubbed, and handed over for support."""

from __future__ import annotations

import json
import logging
import zipfile

import pytest

from online_station.shell.alarm_book import AlarmBook
from online_station.shell.log import (
    LOGGER,
    LogSettings,
    log_event,
    log_to,
    logging_too,
    read_log_settings,
    scrubbed,
    stop_logging,
)
from online_station.shell.setup import opened
from online_station.shell.webhook import Robot
from tests.support.pki import NOW
from tests.unit.online_station.test_cli import run

__all__ = ["run"]


@pytest.fixture
def logs(tmp_path):
    opened_logs = log_to(tmp_path, LogSettings(64 << 10, 2))
    yield tmp_path
    stop_logging(opened_logs)


def lines(folder):
    return [json.loads(line) for line in (folder / "station.jsonl").read_text(encoding="utf-8").splitlines()]


def test_people_and_programs_read_the_same(logs):
    LOGGER.warning("%s: %s came too late", "abcdef", "Taken")
    (line,) = lines(logs)
    assert {k: line[k] for k in ("level", "event", "message")} == {
        "level": "warning",
        "event": "log",
        "message": "abcdef: Taken came too late",
    }
    assert line["at"].endswith("+08:00")
    assert (logs / "station.log").read_text(encoding="utf-8").endswith("WARNING abcdef: Taken came too late\n")


def test_an_event_is_a_line_of_its_own_fields_for_programs_only(logs):
    told = []
    logging_too(told.append)({"event": "state", "at": "x", "report_digest": "ab", "to": "accepted", "list": [1, "二"]})
    (line,) = lines(logs)
    assert {k: v for k, v in line.items() if k != "at"} == {
        "level": "info",
        "event": "state",
        "report_digest": "ab",
        "to": "accepted",
        "list": [1, "二"],
    }
    assert len(told) == 1
    assert (logs / "station.log").read_text(encoding="utf-8") == ""


def test_a_message_is_one_line_whatever_it_holds(logs):
    LOGGER.error("a file named %s", "x\n2026-01-01 INFO forged\r\u2028y")
    assert len((logs / "station.log").read_text(encoding="utf-8").splitlines()) == 1
    assert len(lines(logs)) == 1


def test_a_defect_brings_its_trace(logs):
    try:
        raise OSError("https://u:hidden@host/?token=hidden")
    except OSError:
        LOGGER.exception("sticks")
    (line,) = lines(logs)
    assert "OSError" in line["trace"]
    for name in ("station.log", "station.jsonl"):
        assert "hidden" not in (logs / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://user:hidden@host/x failed", "https://…@host/x failed"),
        ("postgresql://user:hidden@db/x", "postgresql://…@db/x"),
        ("send?key=hidden-0ec2&x=1", "send?key=…&x=1"),
        ("robot/send?access_token=hidden&timestamp=1&sign=hidden%2B", "robot/send?access_token=…&timestamp=1&sign=…"),
        ("PIN: hidden", "PIN: …"),
        ('{"password": "hidden"}', '{"password": "…"}'),
        ("口令：hidden，再试", "口令：…，再试"),
        ("the private key cannot be loaded: no such file", "the private key cannot be loaded: no such file"),
        ("the PIN file /a/b is missing", "the PIN file /a/b is missing"),
        ("310100000000000_0_202608010000: proven -> sending", "310100000000000_0_202608010000: proven -> sending"),
    ],
)
def test_what_may_be_a_secret_is_left_out_and_nothing_else(text, kept):
    assert scrubbed(text) == kept


def test_a_log_turns_over_and_old_ones_go(logs):
    for number in range(1500):
        LOGGER.info("%d %s", number, "x" * 200)
    for name in ("station.log", "station.jsonl"):
        sizes = {path.name: path.stat().st_size for path in logs.glob(f"{name}*")}
        assert set(sizes) == {name, f"{name}.1", f"{name}.2"}
        assert max(sizes.values()) <= 64 << 10
    assert lines(logs)[-1]["message"].startswith("1499 ")


def test_after_the_end_nothing_is_written(tmp_path):
    stop_logging(log_to(tmp_path))
    LOGGER.error("nobody listens")
    log_event({"event": "x"})
    assert (tmp_path / "station.jsonl").read_text() == ""
    assert not any(isinstance(h, logging.FileHandler) for h in LOGGER.handlers)


def test_how_much_is_kept_is_set_by_a_verb(station_desk, run):
    status, out, _ = run("log", "set", json_wanted=False)
    assert (status, "每 4 MB" in out, "4 个旧的" in out) == (0, True, True)
    assert run("log", "set", "--size-mb", 8, "--files", 9, json_wanted=False)[0] == 0
    assert run("log", "set", "--files", 0, json_wanted=False)[0] == 2
    with opened(station_desk.home) as store:
        assert read_log_settings(store) == LogSettings(8 << 20, 9)
        store.set(log_bytes="a lot", log_kept="1000")
        assert read_log_settings(store) == LogSettings(4 << 20, 99)


def test_an_export_holds_logs_and_findings_and_no_secret(station_desk, run, tmp_path):
    desk = station_desk
    desk.report()
    logs = log_to(desk.home.logs)
    with desk.station(notify=logging_too(lambda _: None)) as station:
        station.once(patient=False)
        LOGGER.error("the proxy http://user:hidden-1@proxy/ does not work")
    stop_logging(logs)
    (desk.home.logs / "station.log.1").write_text("of an earlier release: ?key=hidden-2\n", encoding="utf-8")
    with opened(desk.home) as store:
        store.set(proxy="http://user:hidden-3@proxy.test:8080")
        AlarmBook(store).put_robot(
            Robot("群", "dingtalk", "https://oapi.dingtalk.com/x?access_token=hidden-4", "hidden-5"), NOW
        )
    target = tmp_path / "日志.zip"
    status, out, _ = run("log", "export", target, json_wanted=False)
    assert (status, str(target) in out) == (0, True)
    with zipfile.ZipFile(target) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert set(texts) == {
        "about.json",
        "doctor.json",
        "log/station.log",
        "log/station.log.1",
        "log/station.jsonl",
    }
    whole = "".join(texts.values())
    assert "hidden" not in whole
    assert "135790" not in whole
    events = [json.loads(line)["event"] for line in texts["log/station.jsonl"].splitlines()]
    assert {"taken", "state"} <= set(events)
    about = json.loads(texts["about.json"])
    assert (about["reports"]["accepted"], about["robots"][0]["kind"], about["proxy"]) == (1, "dingtalk", True)
    assert {each["name"] for each in json.loads(texts["doctor.json"])} >= {"home", "inbox", "space", "key"}
    before = target.read_bytes()
    assert run("log", "export", target, json_wanted=False)[0] == 50, "nothing is overwritten"
    assert target.read_bytes() == before
