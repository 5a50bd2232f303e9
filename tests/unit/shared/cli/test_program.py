"""The frame of the programs: options anywhere, one object, clear errors, the user's language."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from shared.cli import FILE, Context, Outcome, Program, add_standard_verbs, argument, as_taxferry_error, option
from shared.errors import ExitCode, Locked, StillProcessing
from shared.text import Text, current_language
from shared.text.locale.__main__ import catalogues

ROOT = Path(__file__).parents[4]


def made(raises: Callable[[], object] | None = None) -> Program:
    program = Program("offline-station", Text("税渡 开票机", "taxferry, invoicing PC"))

    @program.verb("copy", Text("抄税处理", "freeze"), option("--adhoc", is_flag=True, help=Text("非征期", "ad hoc")))
    def copy(context: Context, adhoc: bool) -> Outcome:
        if raises is not None:
            raises()
        return Outcome(
            {"adhoc": adhoc, "home": str(context.home), "json": context.json},
            [Text("已抄税", "copied")],
            Text("执行 report", "run report"),
        )

    @program.verb("warn", Text("提醒", "warn"))
    def warn(context: Context) -> Outcome:
        return Outcome({"n": 1}, warnings=[Text("证书快到期", "the certificate expires soon")])

    @program.verb("wait", Text("等待", "wait"))
    def wait(context: Context) -> Outcome:
        return Outcome({"outcome": "processing"}, errors=[StillProcessing()])

    @program.verb("run", Text("运行", "run"))
    def run(context: Context) -> Outcome:
        context.say(Text("开始", "started"))
        context.emit({"event": "started"})
        return Outcome({})

    invoices = program.group("invoices", Text("发票", "invoices"))

    @invoices.verb(
        "import",
        Text("导入发票\n\n全部或没有。", "import lists"),
        argument("files", nargs=-1, required=True, type=FILE, help=Text("清单", "lists")),
    )
    def import_files(context: Context, files: tuple[Path, ...]) -> Outcome:
        return Outcome({"files": [{"file": str(f), "bytes": f.stat().st_size} for f in files]})

    add_standard_verbs(program)
    return program


def raising(error: BaseException) -> Callable[[], object]:
    def fail() -> object:
        raise error

    return fail


class Said:
    """What a run printed, and its exit status."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def object(self) -> dict[str, Any]:
        lines = self.out.splitlines()
        assert len(lines) == 1, self.out
        found = json.loads(lines[0])
        assert list(found) == ["ok", "command", "data", "errors", "version"]
        assert isinstance(found, dict)
        return found


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def run(*words: str, raises: Callable[[], object] | None = None) -> Said:
        status = made(raises).run(words)
        return Said(status, *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    "words",
    [
        ("--json", "--home", "H", "copy", "--adhoc"),
        ("copy", "--adhoc", "--json", "--home", "H"),
        ("--home=H", "copy", "--json", "--adhoc"),
        ("--home", "other", "copy", "--home", "H", "--adhoc", "--json"),
    ],
)
def test_the_global_options_are_taken_before_and_after_the_verb(say: Callable[..., Said], words: tuple[str]) -> None:
    said = say(*words)
    assert said.status == 0
    assert said.object["data"] == {"adhoc": True, "home": "H", "json": True, "next_action": "执行 report"}
    assert said.err == ""


@pytest.mark.parametrize("at", range(4))
def test_in_a_nested_group_they_stand_anywhere(say: Callable[..., Said], tmp_path: Path, at: int) -> None:
    file = tmp_path / "发 票.xls"
    file.write_bytes(b"12345")
    words = ["invoices", "import", str(file)]
    words.insert(at, "--json")
    found = say(*words).object
    assert found["command"] == "invoices import"
    assert found["data"]["files"] == [{"file": str(file), "bytes": 5}]


def test_people_read_what_happened_and_what_to_do_next(say: Callable[..., Said]) -> None:
    assert say("copy").out == "已抄税\n下一步：执行 report\n"
    assert say("copy", "--lang", "en").out == "copied\nnext: run report\n"
    assert say("--lang=en", "copy").out == "copied\nnext: run report\n"


def test_a_run_does_not_change_the_language_of_its_caller(say: Callable[..., Said]) -> None:
    say("copy", "--lang", "en")
    assert current_language() == "zh"
    assert os.environ["LANGUAGE"] == "zh"


def test_warnings_make_the_status_one(say: Callable[..., Said]) -> None:
    said = say("warn")
    assert (said.status, said.out, said.err) == (1, "", "注意：证书快到期\n")
    found = say("warn", "--json").object
    assert found["ok"] is True
    assert found["data"] == {"n": 1, "warnings": ["证书快到期"]}


def test_an_error_says_what_happened_whether_the_data_is_safe_and_what_to_do(say: Callable[..., Said]) -> None:
    said = say("copy", raises=raising(Locked(lock_date="2026-08-17")))
    assert said.status == 53
    assert said.out == ""
    lines = said.err.splitlines()
    assert lines[0].startswith("错误：已过锁死日期（2026-08-17）")
    assert lines[0].endswith("[B5301]")
    assert lines[1].startswith("数据：")
    assert lines[2].startswith("办法：")
    english = say("copy", "--lang", "en", raises=raising(Locked(lock_date="2026-08-17"))).err.splitlines()
    assert [line.split(":")[0] for line in english] == ["error", "data", "hint"]


def test_data_and_an_error_can_come_together(say: Callable[..., Said]) -> None:
    said = say("wait", "--json")
    assert said.status == 43
    assert said.object["ok"] is False
    assert said.object["data"] == {"outcome": "processing"}
    assert said.object["errors"][0]["code"] == "B4301"


USAGE = [
    ("copy", "--bad"),
    ("nothing",),
    ("invoices", "import"),
    ("copy", "extra"),
    ("--lang", "fr", "copy"),
    ("copy", "--home"),
    ("invoices",),
    (),
]


@pytest.mark.parametrize("words", USAGE, ids=" ".join)
def test_a_wrong_command_line_is_a_usage_error_in_the_users_language(
    say: Callable[..., Said], words: tuple[str]
) -> None:
    said = say(*words)
    assert said.status == 2
    assert said.out == ""
    error = next(line for line in said.err.splitlines() if line.startswith("错误："))
    assert error.endswith("[B0201]")
    for english in ("No such", "Missing", "unexpected", "requires", "Invalid", "not one of"):
        assert english not in error
    assert "error:" in say("--lang", "en", *words).err


@pytest.mark.parametrize("words", USAGE, ids=" ".join)
def test_a_wrong_command_line_too_gives_exactly_one_object(say: Callable[..., Said], words: tuple[str]) -> None:
    found = say("--json", *words).object
    assert found["ok"] is False
    assert [e["code"] for e in found["errors"]] == ["B0201"]
    assert found["errors"][0]["exit_code"] == 2


def test_a_defect_is_one_clear_message_and_a_record_without_a_traceback(
    say: Callable[..., Said], tmp_path: Path
) -> None:
    said = say("copy", "--home", str(tmp_path), raises=raising(ZeroDivisionError("x")))
    assert said.status == 50
    assert "[B5099]" in said.err
    assert "Traceback" not in said.err
    (record,) = (tmp_path / "log").iterdir()
    assert str(record) in said.err
    assert "ZeroDivisionError" in record.read_text(encoding="utf-8")
    assert say("copy", "--json", raises=raising(ZeroDivisionError())).object["errors"][0]["code"] == "B5099"


def test_a_defect_leaves_no_folder_where_no_station_lives(say: Callable[..., Said], tmp_path: Path) -> None:
    say("copy", "--home", str(tmp_path / "none"), raises=raising(KeyError("x")))
    assert not (tmp_path / "none").exists()


def test_the_traceback_is_shown_to_those_who_ask(say: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXFERRY_DEBUG", "1")
    assert "Traceback" in say("copy", raises=raising(ZeroDivisionError())).err


def test_an_interrupted_command_ends_with_130(say: Callable[..., Said]) -> None:
    said = say("copy", "--json", raises=raising(KeyboardInterrupt()))
    assert said.status == 130
    assert said.object["errors"][0]["exit_code"] == 130


def system_error(number: int, name: str | None = "/数据/x") -> OSError:
    return OSError(number, os.strerror(number), name)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (system_error(errno.ENOSPC), "B3302"),
        (system_error(errno.ENOSPC, None), "B3302"),
        (system_error(errno.EACCES), "B5007"),
        (system_error(errno.EROFS), "B3401"),
        (system_error(errno.EIO), "B3501"),
        (system_error(errno.ENOENT), "B5011"),
        (system_error(errno.ENAMETOOLONG), "B5001"),
        (system_error(errno.EISDIR), "B5001"),
    ],
    ids=lambda value: value if isinstance(value, str) else errno.errorcode[value.errno],
)
def test_what_the_system_refuses_is_a_clear_error(say: Callable[..., Said], error: OSError, code: str) -> None:
    said = say("copy", "--json", raises=raising(error))
    assert said.object["errors"][0]["code"] == code
    assert said.status == int(code[1:3])


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENAMETOOLONG, errno.EISDIR, errno.EIO, errno.ENOTDIR])
def test_the_systems_own_words_are_said_in_chinese(say: Callable[..., Said], number: int) -> None:
    said = say("copy", raises=raising(system_error(number)))
    assert os.strerror(number) not in said.err


def test_a_folder_is_named_and_not_the_temporary_file_in_it(say: Callable[..., Said]) -> None:
    said = say("copy", raises=raising(system_error(errno.ENOENT, "/数据/没有/.x.12ab34cd.taxferry-tmp")))
    assert "没有这个文件：/数据/没有 " in said.err


def test_a_full_disk_under_the_database_is_no_damage() -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    found = as_taxferry_error(error)
    assert found is not None
    assert found.code == "B3302"
    assert "disk" not in found.text.zh


def test_a_damaged_or_busy_data_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(sqlite3.DatabaseError) as damaged, closing(sqlite3.connect(tmp_path / "x.db")) as connection:
        connection.execute("select * from t")
    connection.close()
    found = as_taxferry_error(damaged.value)
    assert found is not None
    assert found.code == "B5008"

    holder = sqlite3.connect(tmp_path / "y.db", isolation_level=None)
    holder.execute("create table t (a)")
    holder.execute("begin exclusive")
    other = sqlite3.connect(tmp_path / "y.db", timeout=0)
    with pytest.raises(sqlite3.OperationalError) as busy:
        other.execute("select * from t")
    other.close()
    holder.close()
    found = as_taxferry_error(busy.value)
    assert found is not None
    assert found.code == "B5005"


def test_a_defect_is_no_foreseeable_failure() -> None:
    assert as_taxferry_error(ZeroDivisionError()) is None
    assert as_taxferry_error(sqlite3.ProgrammingError("x")) is None


def test_help_and_version_are_answered_anywhere_and_also_as_one_object(say: Callable[..., Said]) -> None:
    help_text = say("invoices", "import", "--help").out
    assert "导入发票" in help_text
    assert "FILES..." in help_text
    assert "用法" in help_text
    assert "Options" not in help_text
    assert "Usage" in say("--lang", "en", "copy", "--help").out
    assert say("--version").out.startswith("offline-station ")
    assert say("invoices", "import", "--version").status == 0
    assert say("--json", "--help").object["data"]["help"]
    assert say("copy", "--version", "--json").object["data"]["program"] == "offline-station"


def test_the_list_of_verbs_is_in_the_order_of_their_buttons(say: Callable[..., Said]) -> None:
    lines = [line.split()[0] for line in say("--help").out.split("命令:")[1].splitlines() if line.strip()]
    assert lines == ["copy", "warn", "wait", "run", "invoices", "verify", "explain"]


def test_a_long_running_verb_prints_lines(say: Callable[..., Said]) -> None:
    out = [json.loads(line) for line in say("run", "--json").out.splitlines()]
    assert out[0] == {"event": "started"}
    assert out[-1]["ok"] is True
    assert say("run").out == "开始\n"


def test_explain_answers_with_cause_actor_and_remedy(say: Callable[..., Said]) -> None:
    said = say("explain", "271D")
    assert said.status == 0
    for word in ("原因：", "由谁处理：", "能否重发：", "数据：", "处理步骤："):
        assert said.out.count(word) == 2  # both causes
    items = say("explain", "锁死", "--json").object["data"]["items"]
    assert items[0]["key"] == "locked"
    assert items[0]["resend"] == "never"
    assert say("explain", "没有这种东西xyz").status == int(ExitCode.CONFIGURATION)


def test_explain_answers_for_each_of_several_codes(say: Callable[..., Said]) -> None:
    items = say("explain", "2715", "B2203", "--json").object["data"]["items"]
    assert {"2715", "B2203"} <= {item["code"] for item in items}
    said = say("explain", "2715", "B9999")
    assert said.status == int(ExitCode.CONFIGURATION)
    assert "B9999" in said.err
    assert "list" not in said.err, "a code is not looked up among the reports"


def test_verify_of_a_missing_file_is_a_clear_error(say: Callable[..., Said], tmp_path: Path) -> None:
    said = say("verify", str(tmp_path / "none.dat"))
    assert said.status == 50
    assert "[B5011]" in said.err


TEXTS = ROOT / "tests" / "vectors" / "text"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("result.txt", "result"), ("clear.ack", "ack"), ("trust.txt", "trust"), ("receipt.txt", "receipt")],
)
def test_verify_proves_any_signed_file_without_state(say: Callable[..., Said], name: str, kind: str) -> None:
    said = say("verify", str(TEXTS / name), "--trust", str(TEXTS / "root.pem"), "--json")
    assert said.status == 0
    assert said.object["data"]["kind"] == kind
    assert said.object["data"]["valid"] is True
    assert said.object["data"]["checked_chain"] is True


def test_verify_without_a_root_says_that_nobody_vouches_for_the_signer(say: Callable[..., Said]) -> None:
    said = say("verify", str(TEXTS / "result.txt"))
    assert said.status == 0
    assert "证书链没有验证" in said.out
    assert "税号：310100000000000" in said.out
    assert "--trust" in said.out


def test_verify_of_an_altered_file_or_with_a_wrong_root_is_refused(say: Callable[..., Said], tmp_path: Path) -> None:
    altered = tmp_path / "result.txt"
    altered.write_bytes((TEXTS / "result.txt").read_bytes().replace(b"310100000000000", b"310100000000001"))
    assert say("verify", str(altered)).status == 20
    assert say("verify", str(TEXTS / "result.txt"), "--trust", str(altered)).status == 50
    assert say("verify", str(TEXTS / "root.pem")).status == 11


def script(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "program.py"
    path.write_text(
        "from shared.cli import *\nfrom shared.text import Text\n"
        "p = Program('offline-station', Text('税渡', 'taxferry'))\n"
        "@p.verb('go', Text('开始', 'go'))\n"
        f"def go(context):\n    {body}\np.main()\n",
        encoding="utf-8",
    )
    return path


def start(path: Path, *words: str, **environ: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(path), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_output_survives_a_pipe_whose_code_page_knows_no_chinese(tmp_path: Path) -> None:
    path = script(tmp_path, "return Outcome({}, [Text('报税 ￥1 \\udc80 ✓', 'x')])")
    process = start(path, "go", PYTHONIOENCODING="ascii", LC_ALL="C")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.decode() == "报税 ￥1 \\udc80 ✓\n"


def test_a_reader_that_goes_away_ends_nothing_in_a_traceback(tmp_path: Path) -> None:
    path = script(tmp_path, "return Outcome({}, [Text('line ' * 1000, 'x')] * 1000)")
    with start(path, "go") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_progress_is_silent_where_nobody_looks_and_the_step_is_short(tmp_path: Path) -> None:
    body = "[context.progress(n, 100, Text('张', 'n')) for n in range(100)]; return Outcome({}, [Text('好', 'ok')])"
    out, err = start(script(tmp_path, body), "go").communicate(timeout=60)
    assert (out.decode(), err) == ("好\n", b"")


def test_the_compiled_catalogues_are_up_to_date() -> None:
    for path, content in catalogues().items():
        assert path.read_bytes() == content, "run: python -m shared.text.locale"


def test_the_chinese_catalogue_keeps_every_placeholder() -> None:
    import re

    from shared.text.locale.__main__ import HERE, read_po

    for path in HERE.rglob("*.po"):
        for key, value in read_po(path.read_text("utf-8")).items():
            assert value, key
            wanted = set(re.findall(r"\{(\w+)", key))
            assert set(re.findall(r"\{(\w+)", value)) <= wanted, key


def test_verify_says_values_as_people_do_and_keeps_the_plain_ones_for_programs(say: Callable[..., Said]) -> None:
    chinese = say("verify", str(TEXTS / "result.txt")).out
    assert "用途：税局结果签名" in chinese
    assert "结果：报税成功" in chinese
    assert "bureau-result\n" not in chinese
    assert "+08:00" not in chinese
    assert "the bureau's results" in say("verify", str(TEXTS / "result.txt"), "--lang", "en").out
    found = say("verify", str(TEXTS / "result.txt"), "--json").object["data"]
    assert (found["signer"]["role"], found["header"]["outcome"]) == ("bureau-result", "success")
    assert found["header"]["bureau_time"].endswith("+08:00")
