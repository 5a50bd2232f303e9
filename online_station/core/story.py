"""A report's history, line by line, as a person tells it. Pure words; `--json` keeps the plain names beside them."""

from __future__ import annotations

from typing import Final

from online_station.core.advice import HOLD_WORDS, STATE_WORDS
from shared.states import OnlineState
from shared.text import Text, both

ENDED_WHILE_SENDING: Final = "ended-while-sending"
"""The note of a reply that was lost because this program was ended."""
ARRIVED_IN_PART: Final = "arrived-in-part"
"""The note of a report of which the bureau has the beginning."""

_HAPPENED: Final[dict[str, Text]] = {
    "placed-on-stick": Text("已放上U盘", "placed on the stick"),
    "result-proven": Text("新的结果", "a new result"),
    "staged": Text("结果已放入发件文件夹", "result staged"),
    "ack-delivered": Text("清卡回执已送达", "clear receipt delivered"),
    "checked": Text("暂不上传的原因有变", "held for another reason"),
    "not-taken": Text("没有送到税局，稍后再传", "did not reach the bureau; sent again later"),
    "never-seen": Text("税局没有收到，重新上传", "the bureau never got it; sent again"),
    "operator-hold": Text("操作员要求暂不上传", "held by an operator"),
    "operator-release": Text("操作员放行", "released by an operator"),
    "operator-retry": Text("操作员要求再传一次", "an operator has it sent again"),
    "operator-cancel": Text("操作员放弃该报告", "given up by an operator"),
    "restored": Text("从备份恢复，先向税局询问", "restored from a backup; the bureau is asked first"),
    "archived": Text("已归档", "moved into an archive"),
    "archive-restored": Text("从归档取回", "brought back from an archive"),
}
_ALWAYS_AS_EVENT: Final = frozenset(
    {
        *("not-taken", "never-seen", "restored"),
        *("operator-hold", "operator-release", "operator-retry", "operator-cancel"),
    }
)


def happened(event: str, before: OnlineState, after: OnlineState, note: str = "") -> Text:
    """Return what happened in words.

    Args:
        event: Its plain name.
        before: The state before it.
        after: The state after it.
        note: Its note, as it was kept.
    """
    if note == ARRIVED_IN_PART:
        return Text("税局已收到一部分，从断点继续上传", "the bureau has a part of it; the upload goes on from there")
    known = _HAPPENED.get(event)
    words = STATE_WORDS[after]
    if known is not None and (before is after or event in _ALWAYS_AS_EVENT):
        words = known
    told = _told(event, note)
    if not told.zh:
        return words
    return Text(f"{words.zh}（{told.zh}）", f"{words.en} ({told.en})")


def _told(event: str, note: str) -> Text:
    if note == ENDED_WHILE_SENDING:
        return Text("上传时程序被关闭", "the program was ended while it was sending")
    if event == "checked":
        return next((words for reason, words in HOLD_WORDS.items() if reason.value == note), both(note))
    number, _, code = note.partition(" ")
    if event == "result-proven" and number.isdecimal():
        tail = f"，{code}" if code else ""
        return Text(f"结果序号 {number}{tail}", f"result no. {number}{tail and ', ' + code}")
    return both(note)


def service_line(event: str, facts: dict[str, str]) -> Text:
    """Return a line of the running service in words.

    Args:
        event: The plain name that `run --json` prints.
        facts: What it prints with it.
    """
    report = facts.get("report_digest", "")[:12]
    file, code = facts.get("file", ""), facts.get("code", "")
    match event:
        case "taken":
            return Text(f"收到报税文件 {report}…", f"report {report}… taken from the inbox")
        case "quarantined":
            return Text(f"已隔离 {file}（{code}）", f"set aside: {file} ({code})")
        case "state":
            words = STATE_WORDS[OnlineState(facts["to"])]
            tail = f" {code}" if code and code not in words.zh else ""
            return Text(f"{report}…  {words.zh}{tail}", f"{report}…  {words.en}{tail}")
        case "ack-delivered":
            return Text(f"{report}…  清卡回执已送达", f"{report}…  clear receipt delivered")
        case "trust":
            version = facts.get("version", "")
            return Text(f"信任文件更新到第 {version} 版", f"trust file {version} is in force")
        case "trouble":
            return Text(f"出错：{facts.get('message', '')}", f"trouble: {facts.get('message', '')}")
        case _:
            return both(" ".join([event, *facts.values()]))
