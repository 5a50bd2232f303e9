"""A small Linux of its own, for what the host's kernel cannot do: FAT by its real driver, a disk that can be pulled.

User-mode Linux is an ordinary program: it needs no rights and no virtual machine, and boots in two seconds. Its root is
the host's, with the caller's own rights, so that this project and its Python run inside unchanged. As the boot is the
dear part, a campaign boots once and does all its runs inside.

Tools: `user-mode-linux` (the kernel and its modules) and `kmod` (to load them); `dmsetup`, `dosfstools` for the guests.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
KERNEL = "linux.uml"
MODULES = Path("/usr/lib/uml/modules")
_TOOLS = {KERNEL: "user-mode-linux", "modprobe": "kmod", "dmsetup": "dmsetup", "mkfs.vfat": "dosfstools"}
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MEGABYTES = 512
_MOUNTS = ("modules", "tmp")

_INIT = """\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs guest {folder}/tmp
mkdir {folder}/tmp/tmp
export PATH={path} HOME={folder}/tmp TMPDIR={folder}/tmp/tmp
modprobe -d {folder}/modules -a {modules}
touch {folder}/up
# Should the host's side be killed, nobody else would end this.
(sleep {seconds:.0f}; echo o >/proc/sysrq-trigger) &
cd {root}
{command} >{folder}/output 2>&1 </dev/null
echo $? >{folder}/status
sync
echo o >/proc/sysrq-trigger
exec sleep 60
"""


@dataclass(frozen=True)
class Finished:
    """How a program ended in the guest.

    Attributes:
        status: Its exit status; -1 if the guest died or was stopped before the program ended.
        output: What it wrote, and, if it did not end, what the guest's kernel said.
    """

    status: int
    output: str


def needed(*more: str) -> None:
    """Skip the test unless user-mode Linux and the tools of its guests are installed."""
    for program, package in {**_TOOLS, **{name: name for name in more}}.items():
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}") is None:
            pytest.skip(f"{package} is not installed")
    if not MODULES.is_dir():
        pytest.skip("user-mode-linux is installed without its modules")


def kernel() -> str:
    """Return the release of the guest's kernel."""
    return next(iter(sorted(p.name for p in MODULES.iterdir())), "?")


def version_of(package: str) -> str:
    """Return the version of a Debian package, or nothing."""
    query = shutil.which("dpkg-query")
    if query is None:
        return ""
    words = [query, "-W", "-f", "${Version}", package]
    return subprocess.run(words, capture_output=True, text=True, timeout=20, check=False).stdout.strip()


def boot(
    folder: Path, command: Sequence[str], *, modules: Sequence[str], seconds: float, settings: Mapping[str, str]
) -> Finished:
    """Boot a guest, run one program in it as its root, and return how that ended.

    Args:
        folder: An empty folder for the guest; what the program writes below it, other than in `tmp`, stays.
        command: The program with its arguments; it runs in the repository's folder.
        modules: The kernel modules to load first.
        seconds: When to give up.
        settings: More environment variables.
    """
    assert " " not in str(folder), "the kernel's command line knows no quotes"
    for name in _MOUNTS:
        (folder / name).mkdir()
    # modprobe insists on this layout; the packages' modules lie elsewhere.
    (folder / "modules/lib/modules").mkdir(parents=True)
    for release in MODULES.iterdir():
        (folder / "modules/lib/modules" / release.name).symlink_to(release)
    words = [f"{key}={value}" for key, value in settings.items()]
    init = folder / "init"
    init.write_text(
        _INIT.format(
            folder=folder,
            seconds=seconds,
            path=_SYSTEM_PATH,
            modules=" ".join(modules),
            root=shlex.quote(str(ROOT)),
            command=shlex.join(["env", *words, *command]),
        )
    )
    init.chmod(0o755)
    arguments = [
        f"mem={_MEGABYTES}M",
        "root=/dev/root",
        "rootfstype=hostfs",
        "rootflags=/",
        "rw",
        f"init={init}",
        "con=null",
        "con0=fd:0,fd:1",
        "quiet",
    ]
    console = _run_kernel(folder, arguments, seconds)
    status, output = folder / "status", folder / "output"
    said = output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""
    if not (folder / "up").exists():
        pytest.skip(f"platform: user-mode Linux does not start here: {console[-300:]!r}")
    if not status.exists() or not status.read_text().strip():
        return Finished(-1, f"{said}\n--- the guest did not end by itself within {seconds} s:\n{console[-3000:]}")
    return Finished(int(status.read_text()), said)


def _run_kernel(folder: Path, arguments: Sequence[str], seconds: float) -> str:
    """Run the guest's kernel to its end, or until its time is over; return what stood on its console."""
    program = shutil.which(KERNEL)
    assert program is not None
    with subprocess.Popen(
        [program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(_memory(folder))},
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return said.decode(errors="replace").replace("\r", "")


def _memory(folder: Path) -> Path:
    """Return where the guest's memory is kept: a file, which should itself be in memory, if there is room for it."""
    shared = Path("/dev/shm")
    if shared.is_dir() and os.access(shared, os.W_OK | os.X_OK) and shutil.disk_usage(shared).free > _MEGABYTES << 20:
        return shared
    return folder


def campaign(folder: Path, orders: Sequence[Mapping[str, Any]], *, seconds: float = 100) -> list[dict[str, Any]]:
    """Boot a guest for `tests.support.uml_guest`, let it carry out its orders, and return what it answered to each.

    Args:
        folder: An empty folder.
        orders: What `uml_guest.ORDERS` has functions for: their names as `do`, their arguments beside it.
        seconds: When to give up.
    """
    (folder / "orders.json").write_text(json.dumps(orders, default=str, ensure_ascii=False), encoding="utf-8")
    done = boot(
        folder,
        [sys.executable, "-m", "tests.support.uml_guest", str(folder)],
        modules=["nls_cp437", "nls_iso8859-1", "nls_utf8", "vfat", "dm-log-writes", "dm-zero", "sd_mod"],
        seconds=seconds,
        settings={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8", "LANGUAGE": "zh"},
    )
    assert done.status == 0, done.output[-4000:]
    answers: list[dict[str, Any]] = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    return answers
