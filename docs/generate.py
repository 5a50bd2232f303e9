"""Write the manual's pages that the code already knows: commands, exit codes, errors, faults and states.

The pages are committed, so that they can be read where the repository is read; a test fails when one is out of date.
Run `make pages` after a change of what they show.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path

import click

from shared import faults, states
from shared.cli import Program
from shared.errors import ExitCode
from shared.medium.find import STATES
from shared.text import Text, set_language

HERE = Path(__file__).parent
NOTE = "<!-- 由 docs/generate.py 从代码生成：不要手工修改，执行 make pages -->\n"
PROGRAMS = ("offline_station", "online_station", "tax_bureau")


def exit_codes() -> str:
    """Return the page of exit statuses."""
    rows = [f"| {code.value} | {faults.EXITS[code].zh} | {faults.EXITS[code].en} |" for code in ExitCode]
    return "\n".join(
        [
            NOTE,
            "# 退出码",
            "",
            "退出码是接口：有文档，有测试，不再挪作他用。不认识的退出码一律当作失败。",
            "错误写到标准错误：`错误：…`、`数据：…`、`办法：…`；给程序用请加 `--json`，标准输出只有一个对象"
            ' `{"ok", "command", "data", "errors", "version"}`。',
            "",
            "| 码 | 意思 | meaning |",
            "| --- | --- | --- |",
            *rows,
            "",
            "`result` 对任何证明过的结果（成功或失败）都退出 0，对 `Y` 退出 43；没有证明过的成功就 `clear`，退出 52。",
            "",
        ]
    )


def error_pages() -> str:
    """Return the page of all permanent error codes."""
    blocks = []
    for error in faults.ERRORS.values():
        field = f"（税局或设备的错误号：`{error.field_code}`）" if error.field_code else ""
        blocks += [
            f"## {error.code}",
            "",
            f"**{error.message.zh}**{field}",
            "",
            f"- 数据：{error.safe.zh}",
            f"- 办法：{error.hint.zh}",
            f"- English: {error.message.en} — {error.safe.en} — {error.hint.en}",
            "",
        ]
    return "\n".join(
        [
            NOTE,
            "# 错误号",
            "",
            "`B` 加四位数字，前两位就是[退出码](exit-codes.md)。错误号是永久的。`{…}` 处是当时的具体内容。",
            "任何一个都可以在不联网的电脑上执行 `explain 错误号` 查看。税局和设备的错误号见[故障目录](faults.md)。",
            "",
            *blocks,
        ]
    )


def fault_pages() -> str:
    """Return the page of the field's faults."""
    parts = [
        NOTE,
        "# 故障目录",
        "",
        "税局、设备和通道的错误号：原因、谁来处理、能不能重发、怎么办。与 `explain 错误号` 的内容相同。",
        "",
    ]
    for fault in faults.CATALOGUE.values():
        title = f"{fault.code} {fault.title.zh}".strip()
        parts += [f"## {title}", "", f"*{fault.title.en}*", ""]
        parts += [
            f"- **原因**：{fault.cause.zh}",
            f"- **由谁处理**：{faults.ACTORS[fault.actor].zh}（{fault.where.zh}）",
            f"- **能否重发**：{faults.RESENDS[fault.resend].zh}",
            f"- **数据**：{fault.safe.zh}",
            "",
        ]
        parts += [f"{number}. {step.zh}" for number, step in enumerate(fault.steps, 1)]
        if fault.aliases:
            parts += ["", "相关代码：" + "、".join(f"`{alias}`" for alias in fault.aliases)]
        parts.append("")
    return "\n".join(parts)


TABLES: tuple[tuple[Text, Mapping[tuple[StrEnum, StrEnum], StrEnum]], ...] = (
    (Text("上网机上的一份报告", "a report on the Internet PC"), states.ONLINE),
    (Text("开票机上的一份报告", "a report on the invoicing PC"), states.OFFLINE),
    (Text("卡", "the card"), states.CARD),
    (Text("税局里的一份报告", "a report at the reference bureau"), states.BUREAU),
)


def state_pages() -> str:
    """Return the page of the transition tables, each with its diagram."""
    parts = [NOTE, "# 状态", "", "状态和变化就是 `shared/states.py` 里的表，别无其他。", ""]
    for title, table in TABLES:
        parts += [f"## {title.zh} · {title.en}", "", "```mermaid", "stateDiagram-v2"]
        parts += [f"  {_node(a)} --> {_node(b)}: {event}" for (a, event), b in table.items()]
        leaves = {b for b in table.values() if not any(a == b for a, _ in table)}
        parts += [f"  {_node(state)} --> [*]" for state in sorted(leaves)]
        parts += ["```", "", "| 状态 state | 事件 event | 之后 after |", "| --- | --- | --- |"]
        parts += [f"| {a.value} | {event.value} | {b.value} |" for (a, event), b in table.items()]
        parts.append("")
    parts += ["## U盘 · a stick", "", "插上的介质必居其一；退出码是程序因此不能继续时给出的。", ""]
    parts += [
        "| 状态 state | 意思 | meaning | 办法 | what to do | 退出码 exit |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for state, words in STATES.items():
        name, advice = words.name, words.advice
        parts.append(f"| {state.value} | {name.zh} | {name.en} | {advice.zh} | {advice.en} | {words.exit.value} |")
    parts.append("")
    return "\n".join(parts)


def _node(state: StrEnum) -> str:
    return state.value.replace("-", "_")


def command_pages() -> str:
    """Return the page of all verbs, from the programs' own help."""
    parts = [
        NOTE,
        "# 命令",
        "",
        "三个程序，一种语法。每条命令都说明做了什么、现在是什么状态、下一步做什么。",
        "`--json`、`--lang zh|en`、`--home DIR` 写在命令前后都可以；任何命令都可以再做一次。",
        "",
    ]
    for name in PROGRAMS:
        program: Program = importlib.import_module(f"{name}.cli").program
        parts += [f"## {program.name}", "", program.title.zh.splitlines()[0], ""]
        for path, command in verbs(program):
            zh, en = command.words
            parts += [f"### {program.name} {path}", "", zh.strip(), "", f"*{en.strip().splitlines()[0]}*", ""]
            parts += [f"```text\n{usage(program.name, path, command)}\n```", ""]
    return "\n".join(parts)


def verbs(program: Program) -> Iterator[tuple[str, click.Command]]:
    """Yield every verb of a program with its words on the command line."""

    def walk(group: click.Group, prefix: str) -> Iterator[tuple[str, click.Command]]:
        for name, command in group.commands.items():
            if isinstance(command, click.Group):
                yield from walk(command, f"{prefix}{name} ")
            else:
                yield f"{prefix}{name}", command

    yield from walk(program._group, "")  # noqa: SLF001  the manual shows what the program is made of


COMMON = frozenset({"json", "lang", "home", "version", "help"})


def usage(program: str, path: str, command: click.Command) -> str:
    """Return a verb's usage line and what its parameters are."""
    ctx = click.Context(command, info_name=f"{program} {path}", help_option_names=[])
    own = [p for p in command.params if p.name not in COMMON]
    shapes = [_shape(p, ctx) for p in own]
    line = " ".join(
        [program, path, *(s if p.required else f"[{s}]" for p, s in zip(own, shapes, strict=True))],
    )
    return "\n".join([line, *(f"  {s}  {_words(p)}" for p, s in zip(own, shapes, strict=True) if _words(p))])


def _shape(parameter: click.Parameter, ctx: click.Context) -> str:
    if isinstance(parameter, click.Argument):
        name = (parameter.metavar or parameter.human_readable_name).strip("[].").upper()
        return name + ("…" if parameter.nargs == -1 else "")
    name = max(parameter.opts, key=len)
    if getattr(parameter, "is_flag", False):
        return name
    return f"{name} {parameter.make_metavar(ctx).strip('[]')}"


def _words(parameter: click.Parameter) -> str:
    words = getattr(parameter, "words", None)
    return words.zh if isinstance(words, Text) else ""


def pages() -> dict[Path, str]:
    """Return every generated page by its path."""
    set_language("zh")
    made = {
        "exit-codes": exit_codes(),
        "errors": error_pages(),
        "faults": fault_pages(),
        "states": state_pages(),
        "commands": command_pages(),
    }
    return {HERE / "reference" / f"{name}.md": text for name, text in made.items()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
