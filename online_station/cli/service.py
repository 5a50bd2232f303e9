"""Have the station started for good."""

from __future__ import annotations

from pathlib import Path

import click

from online_station.cli.base import program
from online_station.shell.home import Home
from online_station.shell.quiet_hour import archive_folder
from online_station.shell.register import Register
from online_station.shell.service_units import DEFAULT_USER, KINDS, STATE, TRIED, Kind, Unit, install, render
from online_station.shell.setup import opened, read_settings
from shared.cli import FOLDER, Context, Outcome, option
from shared.errors import NotInitialised
from shared.text import Text, both

_service = program.group("service", Text("服务：开机自动运行", "have the station started with the PC"))
_USER = option(
    "--run-as",
    default=DEFAULT_USER,
    metavar="NAME",
    help=Text(f"以哪个系统用户运行；默认 {DEFAULT_USER}", f"the system's user who runs it ({DEFAULT_USER})"),
)
_NOT_TRIED = Text(
    "这一种没有在它的系统上试过，请先在测试机上试用",
    "this kind was not tried on the system that it is for: try it on a test machine first",
)


def _unit(context: Context, kind: Kind, run_as: str) -> Unit:
    home = context.home.absolute()
    if kind == "template":
        return render(kind, home=STATE / "taxferry-online" if not home.is_relative_to(STATE) else home, user=run_as)
    writes: list[Path] = []
    reads: list[Path] = []
    try:
        with opened(Home(home)) as store:
            settings = read_settings(Home(home), store)
            companies = Register(store).companies()
            writes = [settings.inbox, settings.outbox, archive_folder(Home(home), store)]
            writes += [Path(company.inbox) for company in companies if company.inbox]
            reads = [settings.key, settings.pin_file, *(Path(company.key) for company in companies if company.key)]
    except NotInitialised:
        pass  # it can be described before it is made
    outside = sorted({path.absolute() for path in writes if not path.absolute().is_relative_to(home)})
    return render(kind, home=home, user=run_as, writes=outside, reads=reads)


@_service.verb(
    "print",
    Text(
        "输出服务的描述文件\n\nsystem、user、template 用于 systemd；launchd 用于 macOS；winsw、task 用于 Windows。",
        "print the description of the service\n\n"
        "system, user and template are for systemd, launchd for macOS, winsw and task for Windows.",
    ),
    option(
        "--kind",
        type=click.Choice(KINDS),
        default="system",
        help=Text("哪一种；默认 system", "which; system by default"),
    ),
    _USER,
)
def service_print(context: Context, kind: Kind, run_as: str) -> Outcome:
    """Print a unit."""
    unit = _unit(context, kind, run_as)
    warnings = [] if kind in TRIED else [_NOT_TRIED]
    lines = [both(line) for line in unit.text.rstrip("\n").split("\n")]
    return Outcome({"kind": kind, "file_name": unit.file_name, "text": unit.text}, lines, warnings=warnings)


@_service.verb(
    "install",
    Text(
        "装成 systemd 服务，开机自动运行，并立即启动",
        "install as a systemd service that starts with the PC, and start it now",
    ),
    option(
        "--user", is_flag=True, help=Text("只为当前用户（不需要管理员）", "for this user only; no administrator needed")
    ),
    option(
        "--template",
        is_flag=True,
        help=Text("一台电脑上几个站：taxferry-online@名称", "several on one PC: taxferry-online@NAME"),
    ),
    option("--no-start", is_flag=True, help=Text("只放好文件，不启动", "put the file in place only")),
    option("--folder", type=FOLDER, metavar="DIR", help=Text("放到这个文件夹", "put it into this folder")),
    _USER,
)
def service_install(
    context: Context, user: bool, template: bool, no_start: bool, folder: Path | None, run_as: str
) -> Outcome:
    """Install a unit."""
    kind: Kind = "user" if user else "template" if template else "system"
    unit = _unit(context, kind, run_as)
    path, notes = install(unit, start=not no_start and folder is None, folder=folder)
    again = "systemctl --user" if user else "systemctl"
    return Outcome(
        {"kind": kind, "file": str(path), "started": not no_start and folder is None and kind != "template"},
        [Text(f"已放好 {path}", f"{path} is in place"), *notes],
        Text(
            f"查看状态 {again} status taxferry-online，查看日志 journalctl -t taxferry-online",
            f"see {again} status taxferry-online, and journalctl -t taxferry-online for its log",
        ),
    )
