"""Descriptions of the service for what starts services: systemd, launchd, and two of Windows.

The texts lie beside this module; what depends on the PC is filled in: which Python, which home, which folders.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from xml.sax.saxutils import escape

from shared.durable import write_durably
from shared.errors import ServiceNotInstalled
from shared.text import Text, current_language
from shared.text.system import os_reason

Kind = Literal["system", "user", "template", "launchd", "winsw", "task"]
KINDS: Final[tuple[Kind, ...]] = ("system", "user", "template", "launchd", "winsw", "task")
TRIED: Final = frozenset({"system", "user", "template"})
"""What was run on the system that it is for."""
STATE: Final = Path("/var/lib")
SYSTEM_UNITS: Final = Path("/etc/systemd/system")
DEFAULT_USER: Final = "taxferry"
_FILES: Final[dict[Kind, tuple[str, str]]] = {
    "system": ("taxferry-online.service", "taxferry-online.service"),
    "user": ("taxferry-online-user.service", "taxferry-online.service"),
    "template": ("taxferry-online.service", "taxferry-online@.service"),
    "launchd": ("taxferry-online.plist", "taxferry.online-station.plist"),
    "winsw": ("taxferry-online-winsw.xml", "taxferry-online.xml"),
    "task": ("taxferry-online-task.xml", "taxferry-online-task.xml"),
}
_STICKS: Final = ("-/media", "-/run/media", "-/mnt")
_HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))
_SECONDS: Final = 60
_PLAIN: Final = re.compile(r"\w[\w/-]*")
"""What a state directory can be called: systemd takes no quoted names there."""


@dataclass(frozen=True)
class Unit:
    """A description of the service.

    Attributes:
        kind: For what.
        file_name: What the file is called where it belongs.
        text: Its content.
    """

    kind: Kind
    file_name: str
    text: str


def render(
    kind: Kind,
    *,
    home: Path,
    user: str = DEFAULT_USER,
    writes: Sequence[Path] = (),
    reads: Sequence[Path] = (),
    python: str = sys.executable,
) -> Unit:
    """Describe the service.

    Args:
        kind: For what.
        home: Its home. For a template, the folder that has a home per instance.
        user: Who it runs as, if a system starts it.
        writes: Folders outside the home that it writes to.
        reads: Files outside the home that it reads.
        python: The Python in which this program is installed.

    Raises:
        ServiceNotInstalled: A path cannot be written into such a file.
    """
    template, file_name = _FILES[kind]
    text = (Path(__file__).parent / "units" / template).read_text("utf-8")
    where = str(home) + ("/%i" if kind == "template" else "")
    words = [python, "-m", "online_station", "--home", where, "--lang", str(current_language()), "run"]
    for path in [*words, *map(str, writes), *map(str, reads)]:
        if any(ord(c) < 32 or c == "\x7f" for c in path):
            raise ServiceNotInstalled(
                reason=Text(f"路径含有控制字符：{path!r}", f"a path has control characters: {path!r}")
            )
    windows = kind in ("winsw", "task")
    inside = home.is_relative_to(STATE) and _PLAIN.fullmatch(str(home.relative_to(STATE))) is not None
    state = f"StateDirectory={home.relative_to(STATE)}" if inside else ""
    if state and kind == "template":
        state += "/%i"
    seen = [home, *writes, *reads, Path(python).absolute(), Path(sys.prefix)]
    touched = [*([] if inside else [home]), *writes]
    values = {
        "EXEC": " ".join(_exec_word(word, instance=kind == "template") for word in words),
        "USER": user,
        "STATE": f"{state}\nStateDirectoryMode=0700" if state else "# Its home is among the ReadWritePaths.",
        "PROTECT_HOME": "read-only" if any(map(_in_a_home, seen)) else "yes",
        "WRITE": " ".join([*_STICKS, *(_path_word(str(path)) for path in touched)]),
        "ARGUMENTS_PLIST": "\n".join(f"    <string>{escape(word)}</string>" for word in words),
        "PROGRAM_XML": escape(words[0]),
        "ARGUMENTS_XML": escape(" ".join(_windows_word(word) for word in words[1:]) if windows else ""),
        "HOME_XML": escape(str(home)),
    }
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return Unit(kind, file_name, text)


def _in_a_home(path: Path) -> bool:
    return any(path.is_relative_to(each) for each in _HOMES)


def _unit_word(word: str) -> str:
    """Return a word in which systemd replaces nothing."""
    return word.replace("\\", "\\\\").replace("%", "%%").replace('"', '\\"')


def _path_word(word: str) -> str:
    return f'"{_unit_word(word)}"' if any(c in word for c in " \t'\"\\") else _unit_word(word)


def _exec_word(word: str, *, instance: bool) -> str:
    """Return a word of a command line as systemd reads it; only an instance's name is filled in."""
    tail = "%i" if instance and word.endswith("/%i") else ""
    word = _unit_word(word.removesuffix(tail)).replace("$", "$$") + tail
    return f'"{word}"' if any(c in word for c in " \t'\"\\;") else word


def _windows_word(word: str) -> str:
    return f'"{word}"' if " " in word or not word else word


def install(unit: Unit, *, start: bool, folder: Path | None = None) -> tuple[Path, list[Text]]:
    """Put a systemd unit in place and have it started now and at every start of the PC.

    Args:
        unit: A `system`, `user` or `template` one.
        start: Whether it is enabled and started, too.
        folder: Where units lie, if not in the system's or the user's folder.

    Returns:
        The file, and what a person should know.

    Raises:
        ServiceNotInstalled: It could not be put there, or systemd does not take it.
    """
    if unit.kind not in TRIED:
        raise ServiceNotInstalled(
            reason=Text(
                f"{unit.kind} 只能用 service print 输出，按手册放到位",
                f"{unit.kind} can only be printed (service print); the manual says where it belongs",
            )
        )
    where = folder or (SYSTEM_UNITS if unit.kind != "user" else _user_units())
    if unit.kind != "user" and folder is None:
        _need_user(unit)
    path = where / unit.file_name
    try:
        where.mkdir(parents=True, exist_ok=True)
        write_durably(path, unit.text.encode(), mode=0o644)
    except OSError as error:
        why = os_reason(error)
        raise ServiceNotInstalled(reason=Text(f"不能写 {path}（{why.zh}）", f"cannot write {path}: {why.en}")) from None
    notes: list[Text] = []
    if not start:
        return path, notes
    if unit.kind == "template":
        notes.append(
            Text(
                "逐台启动：systemctl enable --now taxferry-online@名称",
                "start each one: systemctl enable --now taxferry-online@NAME",
            )
        )
    systemctl = ["systemctl", "--user"] if unit.kind == "user" else ["systemctl"]
    commands = [["daemon-reload"]]
    if unit.kind != "template":
        commands.append(["enable", "--now", unit.file_name])
    for command in commands:
        _systemctl([*systemctl, *command])
    return path, notes


def _user_units() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def _need_user(unit: Unit) -> None:
    name = next(line.removeprefix("User=") for line in unit.text.splitlines() if line.startswith("User="))
    try:
        import pwd

        pwd.getpwnam(name)
    except ImportError:
        raise ServiceNotInstalled(reason=Text("这个系统没有 systemd", "this system has no systemd")) from None
    except KeyError:
        command = f"useradd --system --shell /usr/sbin/nologin {name}"
        raise ServiceNotInstalled(
            reason=Text(f"没有用户 {name}；先执行 {command}", f"there is no user {name}; run {command} first")
        ) from None


def _systemctl(command: list[str]) -> None:
    program = shutil.which(command[0])
    if program is None:
        raise ServiceNotInstalled(reason=Text("找不到 systemctl", "there is no systemctl"))
    try:
        done = subprocess.run(  # noqa: S603  the command is ours
            [program, *command[1:]], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceNotInstalled(
            reason=Text(f"{' '.join(command)} 没有完成", f"{' '.join(command)} did not end")
        ) from error
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [str(done.returncode)])[-1][:200]
        raise ServiceNotInstalled(reason=Text(f"{' '.join(command)}：{said}", f"{' '.join(command)}: {said}"))
