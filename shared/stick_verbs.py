"""What both stations say about sticks: the words and the data of the `stick` verbs.

A station does the work (`shell/visit.py`) and hands what came of it to these functions, so that both PCs speak alike.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from shared.cli import FILE, FOLDER, Context, Outcome, argument, option
from shared.durable import write_durably
from shared.errors import MediumAmbiguous, MediumError, MediumInUse, NoNewStick
from shared.medium.eject import eject
from shared.medium.find import STATES, FoundStick, MediumState, foreign_files
from shared.medium.names import MARKER
from shared.medium.slip import Slip, render_slip
from shared.medium.stick import Listing, StickIdentity
from shared.text import Text, both
from shared.text.system import shown_name

SLIP_NAME: Final = "交接单.html"


def stick_argument() -> click.Parameter:
    """Return the argument that says which stick: where several are in, or where a folder stands for one."""
    return argument(
        "folder",
        required=False,
        type=FOLDER,
        metavar="[DIR|LABEL]",
        help=Text("U盘的位置或名称；只插着一个时不用写", "where the stick is, or its name; needless if only one is in"),
    )


def prepare_parameters() -> list[click.Parameter]:
    """Return the parameters of `stick prepare`."""
    return [
        argument(
            "folder",
            required=False,
            type=FOLDER,
            metavar="[DIR]",
            help=Text("U盘的位置；只插着一个新U盘时不用写", "where the stick is; needless if only one new stick is in"),
        ),
        option("--label", default="", metavar="NAME", help=Text("给人看的名称，如“财务红色”", "its name for people")),
        option(
            "--yes",
            is_flag=True,
            help=Text("U盘上有别的文件也照样准备，不再询问", "prepare it although it holds other files; do not ask"),
        ),
        option(
            "--new-identity",
            is_flag=True,
            help=Text("这是另一个U盘的复制品：给它新的标识", "this is a copy of another stick: give it a new identity"),
        ),
    ]


def slip_parameters() -> list[click.Parameter]:
    """Return the parameters of `stick slip`."""
    return [
        stick_argument(),
        option("--out", type=FILE, metavar="FILE", help=Text("写到哪个网页文件", "the HTML file to write")),
    ]


# Preparing


def the_new_one(found: Sequence[FoundStick]) -> Path:
    """Return the only medium that is in and not prepared yet.

    Raises:
        NoNewStick: There is none, or none that looks like one.
        MediumAmbiguous: There are several, and the operator has to say which.
    """
    fresh = [one for one in found if one.state is MediumState.NOT_OURS]
    if len(fresh) == 1:
        return fresh[0].path
    if fresh:
        names = [one.shown for one in fresh]
        raise MediumAmbiguous(names=Text("、".join(names), ", ".join(names)))
    raise NoNewStick(path="?")


def ask_first(context: Context, folder: Path, *, yes: bool) -> None:
    """Let a person confirm that a medium with others' files is to be a stick of ours; those files are never touched.

    Raises:
        MediumInUse: Nobody confirmed it. Nothing was written.
        MediumError: It cannot be read.
    """
    if yes or (folder / MARKER).is_dir():
        return
    count = foreign_files(folder)
    if count == 0:
        return
    if not context.json and sys.stdin.isatty():
        question = Text(
            f"{folder} 上有 {count} 个别的文件。仍要用作报税U盘吗？不会格式化，也不动这些文件",
            f"{folder} holds {count} other files. use it for reports all the same? nothing is formatted or touched",
        )
        if click.confirm(str(question), err=True):
            return
    raise MediumInUse(name=shown_name(str(folder)), count=count)


def prepared(identity: StickIdentity, folder: Path) -> Outcome:
    """Return what `stick prepare` says."""
    return Outcome(
        {"path": str(folder), "id": identity.id, "label": identity.label, "made_at": identity.made_at},
        [Text(f"U盘“{identity.label}”已准备好（{folder}）", f"the stick '{identity.label}' is ready ({folder})")],
        Text(
            "执行 stick sync；或让 watch（开票机）、run（上网机）一直开着，插上就自动传输",
            "run stick sync; or leave watch (invoicing PC) or run (Internet PC) on, which serves every stick by itself",
        ),
    )


# Listing


def medium_json(one: FoundStick) -> dict[str, object]:
    """Return a medium as `--json` shows it."""
    return {
        "path": str(one.path),
        "id": None if one.identity is None else one.identity.id,
        "label": one.label,
        "state": one.state.value,
        "state_text": str(STATES[one.state].name),
        "advice": str(STATES[one.state].advice),
        "free_bytes": one.free_bytes,
        "waiting": one.waiting,
    }


def _medium_line(one: FoundStick) -> Text:
    state = STATES[one.state]
    return Text(f"{one.shown}  {state.name.zh}：{state.advice.zh}", f"{one.shown}  {state.name.en}: {state.advice.en}")


def listed(
    found: Sequence[FoundStick],
    chosen: FoundStick | None,
    look: Callable[[Path], tuple[StickIdentity | None, Listing]],
    *,
    to_place: bool,
    next_action: Text | None,
) -> Outcome:
    """Return what `stick list` says: every medium that is in with its state, and the files of the one that is meant.

    Args:
        found: The media.
        chosen: The one that is meant; None if there is none, or several.
        look: Lists one.
        to_place: Whether something waits to be put on a stick: only then does it matter that one cannot be written.
        next_action: What to do next.
    """
    lines = [_medium_line(one) for one in found]
    data: dict[str, object] = {"media": [medium_json(one) for one in found]}
    if chosen is None:
        state = MediumState.SEVERAL if any(one.identity for one in found) else MediumState.NONE
        if found and state is MediumState.NONE:
            state = MediumState.NOT_OURS
        lines.append(Text(f"{STATES[state].name.zh}：{STATES[state].advice.zh}", f"{STATES[state].advice.en}"))
        return Outcome(data | {"items": [], "state": state.value}, lines, next_action, exit_code=STATES[state].exit)
    data["state"] = chosen.state.value
    try:
        identity, files = look(chosen.path)
    except MediumError as error:
        return Outcome(data | {"items": []}, lines, next_action, errors=[error])
    data |= {
        "path": str(chosen.path),
        "id": None if identity is None else identity.id,
        "label": None if identity is None else identity.label,
        "items": [{"name": f.name, "place": f.place, "bytes": f.size, "suffix": f.suffix} for f in files.files],
        "unusable": [{"name": shown_name(u.name), "place": u.place, **u.error.as_json()} for u in files.unusable],
        "foreign": files.foreign,
        "truncated": files.truncated,
    }
    lines += [both(f"  {f.place:10} {f.name}  {f.size}") for f in files.files]
    lines += [
        Text(f"  {u.place:10} {shown_name(u.name)}  {u.error.text.zh}", f"  {u.place:10} {u.name}  {u.error.text.en}")
        for u in files.unusable
    ]
    if not files.files:
        lines.append(Text("  没有报税文件", "  no files of ours"))
    lines.append(Text(f"  其他文件 {files.foreign} 个（不处理）", f"  {files.foreign} other files (left alone)"))
    return Outcome(data, lines, next_action, exit_code=chosen.exit_code(to_place=to_place))


# Leaving


def ejected(identity: StickIdentity | None, path: Path, next_action: Text | None = None) -> Outcome:
    """Take a stick that is closed off the system, and say whether it can be pulled out."""
    done = eject(path)
    data = {
        "safe": done.safe,
        "path": str(path),
        "label": None if identity is None else identity.label,
        "unmounted": done.unmounted,
        "powered_off": done.powered_off,
        "advice": str(done.advice),
    }
    everything = Text("全部数据已写到介质上", "everything has reached the medium")
    if done.safe:
        return Outcome(data, [everything, done.advice], next_action)
    return Outcome(data, [everything], done.advice, [done.advice])


def slip_written(slip: Slip, target: Path) -> Outcome:
    """Write a transfer slip, and say where it is."""
    write_durably(target, render_slip(slip).encode(), mode=0o644)
    return Outcome(
        {"file": str(target), "number": slip.number, "files": len(slip.files)},
        [Text(f"交接单 {slip.number}，{len(slip.files)} 个文件：{target}", f"slip {slip.number}: {target}")],
        Text("用浏览器打开并打印，交接双方签名", "open it in a browser and print it; both sides sign"),
    )


def burn_next(folder: Path) -> Text:
    """Return what to do with a folder that is to become a disc."""
    return Text(
        f"用系统的刻录功能把 {folder} 里的全部内容刻到一张新光盘（不要追加，刻完封盘并校验），打印其中的“{SLIP_NAME}”",
        f"burn all that is in {folder} to a new disc with the system's burner (no further session, close and verify it), "
        f"and print the '{SLIP_NAME}' in it",
    )


def narrator(context: Context) -> Callable[[str, Mapping[str, Any], Text], None]:
    """Return what tells of the events of an attended stick: lines for people, JSON lines for programs."""

    def tell(event: str, facts: Mapping[str, Any], words: Text) -> None:
        context.emit({"event": event, **facts, "text": str(words)})
        context.say(words)

    return tell
