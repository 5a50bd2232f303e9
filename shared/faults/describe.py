"""Show a fault to people and to programs."""

from __future__ import annotations

from shared.faults.model import ACTORS, RESENDS, Fault
from shared.text import Text


def describe(fault: Fault) -> list[Text]:
    """Return the lines that explain a fault on a terminal."""
    code = f"{fault.code}  " if fault.code else ""
    lines = [
        Text(f"{code}{fault.title.zh}", f"{code}{fault.title.en}"),
        Text(f"  原因：{fault.cause.zh}", f"  cause: {fault.cause.en}"),
        Text(f"  由谁处理：{ACTORS[fault.actor].zh}", f"  who acts: {ACTORS[fault.actor].en}"),
        Text(f"  在哪里：{fault.where.zh}", f"  where: {fault.where.en}"),
        Text(f"  能否重发：{RESENDS[fault.resend].zh}", f"  send again: {RESENDS[fault.resend].en}"),
        Text(f"  数据：{fault.safe.zh}", f"  data: {fault.safe.en}"),
        Text("  处理步骤：", "  remedy:"),
    ]
    lines += [Text(f"    {n}. {s.zh}", f"    {n}. {s.en}") for n, s in enumerate(fault.steps, 1)]
    if fault.aliases:
        also = "、".join(fault.aliases)
        lines.append(Text(f"  相关代码：{also}", f"  other codes: {', '.join(fault.aliases)}"))
    lines.append(Text("", ""))
    return lines


def as_json(fault: Fault) -> dict[str, object]:
    """Return a fault as `explain --json` shows it."""
    return {
        "key": fault.key,
        "code": fault.code,
        "letter": fault.letter,
        "title": str(fault.title),
        "cause": str(fault.cause),
        "actor": fault.actor.value,
        "resend": fault.resend.value,
        "safe": str(fault.safe),
        "where": str(fault.where),
        "steps": [str(step) for step in fault.steps],
        "stage_to_offline": fault.stage_to_offline,
        "aliases": list(fault.aliases),
    }
