"""The words of the command line, as the page says them: who presses buttons is not told to run verbs.

Errors and the fault catalogue speak of verbs, because they are read in both places. Here the verbs of this PC become
the names of its buttons, and the Internet PC's those of its page.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Final

from shared.text import Text
from shared.web.blocks import FaultCard

BUTTONS: Final[Mapping[str, Text]] = {
    "copy --again": Text("重新抄税", "Copy again"),
    "copy --adhoc": Text("非征期抄税", "Ad hoc copy"),
    "report --reseal": Text("重新生成报税文件", "Seal again"),
    "report --again": Text("再放一次到U盘", "Put it on a stick again"),
    "stick sync": Text("与U盘同步", "Sync the stick"),
    "stick prepare": Text("准备U盘", "Prepare the stick"),
    "stick eject": Text("弹出U盘", "Eject the stick"),
    "stick list": Text("U盘", "Stick"),
    "invoices import": Text("导入发票", "Import invoices"),
    "log export": Text("导出日志", "Export the log"),
    "init": Text("装入金税卡", "Take the card in"),
    "status": Text("首页", "Home"),
    "copy": Text("抄税", "Copy"),
    "report": Text("远程报税", "Report"),
    "result": Text("报税结果", "Result"),
    "clear": Text("清卡", "Clear"),
    "history": Text("报税记录", "Reports"),
    "restore": Text("恢复备份", "Restore"),
    "backup": Text("备份", "Back up"),
    "doctor": Text("检测环境", "Check"),
    "explain": Text("帮助", "Help"),
    # On the Internet PC's page.
    "retry": Text("重发", "Send again"),
    "results": Text("查询结果", "Ask for results"),
    "once": Text("立即处理", "Work now"),
    "release": Text("放行", "Release"),
}
_ALL: Final = "|".join(re.escape(verb) for verb in sorted(BUTTONS, key=len, reverse=True))
_CHINESE: Final = re.compile(rf" ?(执行 ?)?(?<![\w.\-/{{])({_ALL})(?![A-Za-z0-9_.\-]) ?")
_ENGLISH: Final = re.compile(rf"\b(run|Run|with) ({_ALL})(?![\w\-])")
_ENGLISH_ALONE: Final = re.compile(r"\b(copy --\w+|report --\w+|stick (?:sync|prepare|eject))(?![\w\-])")
_PRESS: Final = {"run": "press", "Run": "Press", "with": "with"}


def on_page(text: Text) -> Text:
    """Return a text with the names of buttons in the place of verbs."""
    chinese = _CHINESE.sub(lambda m: f"{'点' if m[1] else ''}“{BUTTONS[m[2]].zh}”", text.zh)
    english = _ENGLISH.sub(lambda m: f"{_PRESS[m[1]]} “{BUTTONS[m[2]].en}”", text.en)
    english = _ENGLISH_ALONE.sub(lambda m: f"“{BUTTONS[m[1]].en}”" if m[1] in BUTTONS else m[1], english)
    return Text(chinese, english)


def card_on_page(card: FaultCard) -> FaultCard:
    """Return a fault card in the page's words."""
    return dataclasses.replace(
        card,
        title=on_page(card.title),
        cause=on_page(card.cause),
        safe=on_page(card.safe),
        where=on_page(card.where),
        steps=tuple(on_page(step) for step in card.steps),
    )
