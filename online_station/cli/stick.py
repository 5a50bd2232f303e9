"""Sticks and discs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from online_station.cli import base
from online_station.cli.base import program
from online_station.cli.work import once_each
from online_station.shell.home import Home
from online_station.shell.retired import refuse_if_retired
from online_station.shell.setup import Settings, opened, read_settings
from online_station.shell.trust import Trust
from online_station.shell.visit import introduce, slip, sticks_of, synchronise
from online_station.shell.visiting import after_visit, visit_json, visit_words
from shared import stick_verbs
from shared.cli import FOLDER, Context, Outcome, argument, option
from shared.errors import (
    ExitCode,
)
from shared.medium.sticks import Sticks
from shared.text import Text

_stick = program.group(
    "stick", Text("U盘：准备、查看、同步、弹出、交接单、光盘", "sticks: prepare, list, sync, eject, slip, disc")
)


@_stick.verb(
    "prepare",
    Text(
        "准备U盘：做标记，不格式化，不动其他文件\n\n只插着一个新U盘时不用写位置。",
        "make a stick ours: a marker; nothing is formatted or removed\n\nIf only one new stick is in, it is meant.",
    ),
    *stick_verbs.prepare_parameters(),
)
def stick_prepare(context: Context, folder: Path | None, label: str, yes: bool, new_identity: bool) -> Outcome:
    """Make the marker."""
    with sticks_at(context) as sticks:
        where = folder.absolute() if folder is not None else stick_verbs.the_new_one(sticks.found())
        stick_verbs.ask_first(context, where, yes=yes)
        now = base.CLOCK.now()
        identity = sticks.prepare(where, label, new_identity=new_identity, now=now)
        introduce(where, sticks.station, Trust(Home(context.home).trust, now), now)
    return stick_verbs.prepared(identity, where)


@contextlib.contextmanager
def sticks_at(context: Context) -> Iterator[Sticks]:
    """Give the sticks of this station."""
    home = Home(context.home)
    with opened(home) as store:
        yield sticks_of(store, read_settings(home, store).station_id)


@_stick.verb(
    "list",
    Text("查看插着的U盘、各自的状态和上面的文件", "show the sticks that are in, their states and their files"),
    stick_verbs.stick_argument(),
)
def stick_list(context: Context, folder: Path | None) -> Outcome:
    """List sticks."""
    with sticks_at(context) as sticks:
        found = sticks.found()
        return stick_verbs.listed(
            found, sticks.meant(folder, found), sticks.listing, to_place=sticks.to_place(), next_action=None
        )


@_stick.verb(
    "sync",
    Text("双向一次完成：取报税文件，放结果", "both directions in one go: reports off it, results onto it"),
    stick_verbs.stick_argument(),
)
def stick_sync(context: Context, folder: Path | None) -> Outcome:
    """Take what came, leave what goes back."""
    home = Home(context.home)
    now = base.CLOCK.now()
    with opened(home) as store:
        refuse_if_retired(store)
        settings: Settings = read_settings(home, store)
        done = synchronise(
            sticks_of(store, settings.station_id).find(folder),
            station=settings.station_id,
            home=home,
            store=store,
            trust=Trust(home.trust, now),
            inbox=settings.inbox,
            now=now,
            progress=context.progress,
        )
    lines, warnings = visit_words(done)
    errors = once_each([*done.problems, *([done.failure] if done.failure is not None else [])])
    code = ExitCode.OK if done.failure is None else done.failure.exit_code
    return Outcome(visit_json(done), lines, after_visit(done), warnings, code, errors)


@_stick.verb(
    "eject",
    Text(
        "弹出U盘：确认全部写完，能断电就断电", "eject a stick: everything is written, and it is powered off if possible"
    ),
    stick_verbs.stick_argument(),
)
def stick_eject(context: Context, folder: Path | None) -> Outcome:
    """Prove that everything has reached the medium, and let go of it."""
    with sticks_at(context) as sticks:
        path = sticks.find(folder)
        identity = sticks.settle(path)
    return stick_verbs.ejected(identity, path)


@_stick.verb(
    "slip",
    Text(
        "打印交接单：列出U盘上带回的文件，供双方签名", "a printable slip of what the stick carries back, for signatures"
    ),
    *stick_verbs.slip_parameters(),
)
def stick_slip(context: Context, folder: Path | None, out: Path | None) -> Outcome:
    """Write a transfer slip."""
    home = Home(context.home)
    now = base.CLOCK.now()
    with opened(home) as store:
        station = read_settings(home, store).station_id
        where = sticks_of(store, station).find(folder)
        made = slip(where, station=station, home=home, store=store, trust=Trust(home.trust, now), now=now)
    return stick_verbs.slip_written(made, out if out is not None else home.logs / f"{made.number}.html")


@_stick.verb(
    "disc",
    Text(
        "准备刻光盘：把要带回的结果和交接单放进一个文件夹\n\n给不许用可写U盘的单位。",
        "prepare a disc: the results and their slip, in a folder to burn\n\nFor sites that forbid sticks that can be written.",
    ),
    argument("folder", type=FOLDER, metavar="DIR", help=Text("新的空文件夹", "a new, empty folder")),
    option("--label", default="", metavar="NAME", help=Text("光盘的名称", "the disc's name")),
)
def stick_disc(context: Context, folder: Path, label: str) -> Outcome:
    """Fill a folder that is to be burnt."""
    home = Home(context.home)
    now = base.CLOCK.now()
    folder = folder.absolute()
    with opened(home) as store:
        refuse_if_retired(store)
        settings = read_settings(home, store)
        station, trust = settings.station_id, Trust(home.trust, now)
        sticks_of(store, station).prepare_disc(folder, label, now=now)
        done = synchronise(
            folder,
            station=station,
            home=home,
            store=store,
            trust=trust,
            inbox=settings.inbox,
            now=now,
            remember=False,
            progress=context.progress,
        )
        if done.failure is not None:
            raise done.failure
        made = slip(folder, station=station, home=home, store=store, trust=trust, now=now)
    written = stick_verbs.slip_written(made, folder / stick_verbs.SLIP_NAME)
    lines, warnings = visit_words(done)
    return Outcome(
        visit_json(done) | dict(written.data), [*lines[:-1], *written.lines], stick_verbs.burn_next(folder), warnings
    )
