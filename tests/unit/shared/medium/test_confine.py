"""A process that reads what a stranger wrote can do nothing else, whatever it tries, and is never left behind."""

from __future__ import annotations

import functools
import hashlib
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.errors import Interrupted, ReaderFailed, ReaderFailure
from shared.medium import confine, renounce
from shared.medium.confine import PROTECTIONS, Limits, available, run_confined
from tests.support.confined_nobody import NOBODY

ROOT = Path(__file__).parents[4]
MODULE = "tests.support.confined"
LIMITS = Limits(silent_seconds=30)
LONGEST = 30
"""Seconds for a process to end that was told to."""


@functools.cache
def in_force() -> frozenset[str]:
    return frozenset(each.word for each in available() if each.in_force)


def need(*words: str) -> None:
    """Skip where this system does not have a protection."""
    for word in words:
        if word not in in_force():
            pytest.skip(f"platform: this system has no protection '{word}'")


def children() -> set[int]:
    """Return the process numbers of our children, those included that ended and were not collected."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if int(line.rpartition(")")[2].split()[1]) == os.getpid():
            found.add(int(folder.name))
    return found


@pytest.fixture(autouse=True)
def _nobody_is_left() -> Iterator[None]:
    if not Path("/proc/self/stat").exists():
        yield
        return
    processes, threads = children(), threading.active_count()
    yield
    assert children() - processes == set()
    assert threading.active_count() == threads


class Field:
    """A stick, a scratch folder, and beside them what must stay as it is."""

    def __init__(self, folder: Path) -> None:
        self.stick, self.scratch, self.home = folder / "U盘", folder / "scratch", folder / "home"
        for each in (self.stick, self.scratch, self.home):
            each.mkdir()
        self.found = self.stick / "一.dat"
        self.found.write_text("from the stick", encoding="utf-8")
        self.secret = self.home / "card.db"
        self.secret.write_text("secret", encoding="utf-8")
        self.secret.chmod(0o600)

    def run(self, *deeds: dict[str, object], limits: Limits = LIMITS, **request: object) -> list[dict[str, Any]]:
        asked = {"deeds": deeds, **request}
        return list(run_confined(MODULE, asked, readable=[self.stick], writable=[self.scratch], limits=limits))

    def tried(self, do: str, **what: object) -> dict[str, Any]:
        return self.run({"do": do, **what})[-1]

    def failure(self, *deeds: dict[str, object], limits: Limits = LIMITS, **request: object) -> ReaderFailed:
        with pytest.raises(ReaderFailed) as caught:
            self.run(*deeds, limits=limits, **request)
        return caught.value


@pytest.fixture
def field(tmp_path: Path) -> Field:
    return Field(tmp_path)


# What it is for


def test_a_request_goes_in_and_messages_come_out(field: Field) -> None:
    first, born, tried = field.run({"do": "read", "path": str(field.found)}, 名="值")
    assert first["event"] == "confined"
    assert set(first["protections"]) == in_force()
    assert born["request"]["名"] == "值"
    assert born["process"] != os.getpid()
    assert tried["result"] == "from the stick"


def test_it_lists_the_stick_copies_to_the_scratch_folder_and_proves_signatures(field: Field) -> None:
    copy = field.scratch / "copy"
    listed, written, back, proven = field.run(
        {"do": "names", "path": str(field.stick)},
        {"do": "write", "path": str(copy)},
        {"do": "read", "path": str(copy)},
        {"do": "prove", "path": str(field.found)},
    )[2:]
    assert listed["result"] == ["一.dat"]
    assert written["result"] == len("written")
    assert back["result"] == copy.read_text(encoding="utf-8") == "written"
    assert proven["result"] == hashlib.sha256(b"from the stick").hexdigest()


def test_it_inherits_no_variables_no_handles_and_no_folder(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("TAXFERRY_PIN", "123456")
    monkeypatch.setenv("LANGUAGE", "en")
    with field.secret.open("rb") as file:
        os.set_inheritable(file.fileno(), True)
        found = field.tried("surroundings")["result"]
    assert not {"HTTPS_PROXY", "TAXFERRY_PIN", "HOME", "PATH"} & found["environment"].keys()
    assert found["environment"]["LANGUAGE"] == "en"
    assert found["folder"] == os.path.abspath(os.sep)
    assert found["handles"] == 1  # the way back; nothing of ours


def test_modules_beside_the_stick_are_not_imported(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json.py", "shared.py", "sitecustomize.py"):
        (field.stick / name).write_text("raise SystemExit(5)", encoding="utf-8")
    monkeypatch.chdir(field.stick)
    assert field.run()[0]["event"] == "confined"


# What it cannot do


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Field, dict[str, dict[str, Any]]]:
    """One process that tries everything in turn: what became of each attempt, by its name."""
    field = Field(tmp_path_factory.mktemp("field"))
    link = field.stick / "二.dat"
    link.symlink_to(field.secret)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            pass  # from here it is reached
        wanted: dict[str, dict[str, object]] = {
            "connect": {"do": "connect", "port": port},
            "datagram": {"do": "datagram"},
            "read outside": {"do": "read", "path": str(field.secret)},
            "write outside": {"do": "write", "path": str(field.secret)},
            "make outside": {"do": "write", "path": str(field.home / "new")},
            "remove outside": {"do": "remove", "path": str(field.secret)},
            "list outside": {"do": "names", "path": str(field.home)},
            "list processes": {"do": "names", "path": "/proc"},
            "follow a link": {"do": "read", "path": str(link)},
            "write to the stick": {"do": "write", "path": str(field.found)},
            "make on the stick": {"do": "write", "path": str(field.stick / "new")},
            "remove from the stick": {"do": "remove", "path": str(field.found)},
            "change a mode": {"do": "change_mode", "path": str(field.secret)},
            "cut a file": {"do": "cut", "path": str(field.secret)},
            "start a program": {"do": "program"},
            "become a program": {"do": "become"},
            "make processes": {"do": "fork"},
            "signal the parent": {"do": "signal_parent"},
            "open the parent's memory": {"do": "read_parent"},
            "read the parent's memory": {"do": "read_parent_by_call"},
        }
        tried = field.run(*wanted.values())[2:]
    return field, dict(zip(wanted, tried, strict=True))


@pytest.mark.parametrize(
    ("attempt", "protections"),
    [
        ("connect", ["network"]),
        ("datagram", ["calls"]),
        ("read outside", ["files"]),
        ("write outside", ["files"]),
        ("make outside", ["files"]),
        ("remove outside", ["files"]),
        ("list outside", ["files"]),
        ("list processes", ["files"]),
        ("follow a link", ["files"]),
        ("write to the stick", ["files"]),
        ("make on the stick", ["files"]),
        ("remove from the stick", ["files"]),
        ("change a mode", ["calls"]),
        ("cut a file", ["calls"]),
        ("start a program", ["programs"]),
        ("become a program", ["programs"]),
        ("make processes", ["calls"]),
        ("signal the parent", ["calls"]),
        ("open the parent's memory", ["files"]),
        ("read the parent's memory", ["calls"]),
    ],
)
def test_it_is_refused(attempts: tuple[Field, dict[str, dict[str, Any]]], attempt: str, protections: list[str]) -> None:
    need(*protections)
    found = attempts[1][attempt]
    assert found.get("refused") == "PermissionError", found


def test_after_all_attempts_everything_is_as_it_was(attempts: tuple[Field, dict[str, dict[str, Any]]]) -> None:
    need("files", "calls")
    field, _ = attempts
    assert (field.secret.read_text(encoding="utf-8"), field.secret.stat().st_mode & 0o777) == ("secret", 0o600)
    assert field.found.read_text(encoding="utf-8") == "from the stick"
    assert [path.name for path in field.home.iterdir()] == ["card.db"]
    assert {path.name for path in field.stick.iterdir()} == {"一.dat", "二.dat"}


def test_it_writes_no_longer_file_than_it_may(field: Field) -> None:
    need("limits")
    path = field.scratch / "large"
    tried = field.run({"do": "large_file", "path": str(path)}, limits=replace(LIMITS, file_bytes=4096))[-1]
    assert tried["refused"] == "OSError"
    assert path.stat().st_size <= 4096


def test_it_opens_no_more_files_than_it_may(field: Field) -> None:
    need("limits")
    assert field.tried("many_files", path=str(field.found))["refused"] == "OSError"


# How it ends


def test_too_much_memory_ends_it(field: Field) -> None:
    need("limits")
    error = field.failure({"do": "allocate"})
    assert error.failure is ReaderFailure.MEMORY
    assert error.code == "B3504"


def test_too_much_work_ends_it(field: Field) -> None:
    need("limits")
    assert field.failure({"do": "spin"}, limits=replace(LIMITS, cpu_seconds=1)).failure is ReaderFailure.TIME


def test_silence_ends_it(field: Field) -> None:
    assert field.failure({"do": "silent"}, limits=replace(LIMITS, silent_seconds=1)).failure is ReaderFailure.TIME


def test_a_long_message_ends_it(field: Field) -> None:
    assert field.failure(length=10_000_000).failure is ReaderFailure.FORM


def test_the_longest_message_passes(field: Field) -> None:
    length = 1000 - len('{"event": ""}')
    limits = replace(LIMITS, message_bytes=1000)
    assert len(field.run(length=length, limits=limits)[-1]["event"]) == length
    assert field.failure(length=length + 1, limits=limits).failure is ReaderFailure.FORM


def test_many_messages_end_it(field: Field) -> None:
    limits = replace(LIMITS, messages=1000)
    assert field.failure(messages=1_000_000, limits=limits).failure is ReaderFailure.FORM


@pytest.mark.parametrize(
    "text", ["no json\n", "[]\n", '"a"\n', "[" * 100_000 + "\n", "\udcff".encode("utf-8", "surrogatepass").hex()[:3]]
)
def test_what_is_no_message_ends_it(field: Field, text: str) -> None:
    assert field.failure({"do": "babble", "text": text}).failure is ReaderFailure.FORM


def test_a_message_after_the_last_ends_it(field: Field) -> None:
    assert field.failure(end_twice=True).failure is ReaderFailure.FORM


@pytest.mark.parametrize("status", [0, 3])
def test_an_early_exit_is_no_success(field: Field, status: int) -> None:
    error = field.failure({"do": "exit_early", "status": status})
    assert error.failure is ReaderFailure.ENDED
    assert str(status) in error.text.en


def test_a_crash_is_an_error_that_names_the_signal(field: Field) -> None:
    if os.name != "posix":
        pytest.skip("platform: no signals")
    error = field.failure({"do": "crash"})
    assert error.failure is ReaderFailure.ENDED
    assert "SIGSEGV" in error.text.en


def test_an_error_inside_carries_what_was_said_and_nothing_that_a_terminal_obeys(field: Field) -> None:
    error = field.failure({"do": "stumble"})
    assert error.failure is ReaderFailure.ENDED
    (note,) = error.__notes__
    assert "ValueError: stumbled" in note
    assert "\x1b" not in note
    assert "stumbled" not in str(error.as_json())


def test_a_module_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ReaderFailed):
        list(run_confined("shared.medium.nonesuch", {}, readable=(), writable=()))


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, ValueError])
def test_whoever_stops_listening_ends_it(field: Field, error: type[BaseException]) -> None:
    messages = run_confined(MODULE, {"deeds": [{"do": "silent"}]}, readable=(), writable=(), limits=LIMITS)
    next(messages)
    process = next(messages)["process"]
    assert not ended(process)
    with pytest.raises(error):
        messages.throw(error)
    assert ended(process)


def test_a_request_that_is_not_read_does_not_hold_up_the_parent() -> None:
    """Far more than a pipe holds, for a module that ends without reading."""
    with pytest.raises(ReaderFailed):
        list(run_confined("shared.text", {"much": "x" * 1_000_000}, readable=(), writable=()))


def test_it_can_be_cancelled(field: Field) -> None:
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 5

    with pytest.raises(Interrupted):
        list(
            run_confined(
                MODULE, {"deeds": [{"do": "silent"}]}, readable=(), writable=(), limits=LIMITS, cancelled=cancelled
            )
        )


def ended(process: int) -> bool:
    """Return whether a process is gone, or dead and only not collected yet."""
    try:
        line = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return line.rpartition(")")[2].split()[0] in "ZX"


PARENT = """
import sys
from shared.medium.confine import Limits, run_confined
for message in run_confined("tests.support.confined", {"deeds": [{"do": "silent"}]}, readable=(), writable=()):
    if "process" in message:
        print(message["process"], flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_it_does_not_outlive_its_parent(number: signal.Signals) -> None:
    if not hasattr(os, "pidfd_open"):
        pytest.skip("platform: no handles of processes to wait for")
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        process = int(parent.stdout.readline())
        handle = os.pidfd_open(process)
        try:
            parent.send_signal(number)
            gone = select.poll()
            gone.register(handle, select.POLLIN)
            assert gone.poll(LONGEST * 1000)
        finally:
            os.close(handle)
        parent.communicate(timeout=LONGEST)


# The means


def test_an_ordinary_user_is_confined_as_well() -> None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("platform: only root can be somebody else; the other tests ran as an ordinary user")
    need("files", "calls", "limits")
    folder = Path(tempfile.mkdtemp())  # not below a folder that only root may enter
    try:
        folder.chmod(0o755)
        field = Field(folder)
        for path in folder.rglob("*"):
            os.chown(path, NOBODY, NOBODY)
        deeds = [
            {"do": "read", "path": str(field.found)},
            {"do": "write", "path": str(field.scratch / "copy")},
            {"do": "prove", "path": str(field.found)},
            {"do": "read", "path": str(field.secret)},  # their own file, by its mode
            {"do": "fork"},
            {"do": "datagram"},
        ]
        first, _, *tried = run_confined(
            "tests.support.confined_nobody",
            {"deeds": deeds},
            readable=[field.stick],
            writable=[field.scratch],
            limits=LIMITS,
        )
        assert {"files", "calls", "limits", "privileges", "parent"} <= set(first["protections"])  # type: ignore[call-overload]
        assert [each.get("result") for each in tried[:2]] == ["from the stick", len("written")]
        assert [each.get("refused") for each in tried] == [None, None, None, *["PermissionError"] * 3]
        assert (field.scratch / "copy").stat().st_uid == NOBODY
    finally:
        shutil.rmtree(folder)


def test_what_this_kernel_can_do_is_in_force() -> None:
    """Else every test above that needs a protection would be left out without a word."""
    if sys.platform != "linux":
        pytest.skip("platform: not Linux")
    expected = {"process", "parent", "limits", "privileges"}
    if renounce.landlock_version():
        expected |= {"files", "programs"}
    if renounce.refused_calls():
        expected |= {"calls", "network", "programs"}
    assert expected <= in_force()


def test_where_the_kernel_does_not_see_to_it_the_end_of_standard_input_ends_it() -> None:
    code = "import time; from shared.medium import confine; assert confine._follow_stdin(); time.sleep(60)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.DEVNULL, check=False, timeout=LONGEST
    )
    assert done.returncode == 1


def test_several_threads_are_not_confined_by_halves(tmp_path: Path) -> None:
    stop = threading.Event()
    waiting = threading.Thread(target=stop.wait)
    waiting.start()
    try:
        with pytest.raises(RuntimeError):
            confine.enter([tmp_path], [tmp_path], LIMITS)
    finally:
        stop.set()
        waiting.join()


def test_what_is_available_has_words_for_people() -> None:
    found = available()
    assert [each.word for each in found] == list(PROTECTIONS)
    assert all(each.name.zh and each.name.en for each in found)
    assert found[0].in_force


def test_each_version_of_landlock_is_asked_only_for_what_it_knows() -> None:
    handled = [renounce._handled(version) for version in range(1, 8)]
    assert [files.bit_length() for files, _, _ in handled] == [13, 14, 15, 15, 16, 16, 16]
    assert [network for _, network, _ in handled] == [0, 0, 0, 3, 3, 3, 3]
    assert [scoped for _, _, scoped in handled] == [0, 0, 0, 0, 0, 3, 3]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_answers_each_call_as_the_table_says(machine: str) -> None:
    """The filter is run by a reader of such programs, for machines that are not at hand too."""
    column, mark = renounce._MACHINES[machine]
    program = renounce._filter(column, mark)
    refused = {each[column] for each in renounce._REFUSED.values()} - {None}
    answers = {number: answer_of(program, number, mark) for number in range(600)}
    assert {number for number, answer in answers.items() if answer == 0x00050001} == refused
    assert {number for number, answer in answers.items() if answer == 0x7FFF0000} == set(range(452)) - refused
    assert {answers[number] for number in range(452, 600)} == {0x00050026}
    assert answer_of(program, 0, 0x40000003) == 0x80000000  # a 32-bit call


def answer_of(program: bytes, number: int, machine: int) -> int:
    """Interpret the four instructions that the filter uses."""
    shown = struct.pack("=II", number, machine)
    loaded = at = 0
    while True:
        code, yes, no, value = struct.unpack_from("=HBBI", program, at * 8)
        at += 1
        if code == 0x20:
            (loaded,) = struct.unpack_from("=I", shown, value)
        elif code == 0x06:
            return value
        else:
            at += yes if (loaded == value if code == 0x15 else loaded >= value) else no
