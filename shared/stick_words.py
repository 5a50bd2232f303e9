"""What both stations say of a visit to a stick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.text import Text


@dataclass(frozen=True)
class StatedAdvice:
    """What is the case, and what to do about it."""

    name: Text
    advice: Text


PULL_OUT: Final = Text("现在可以拔出", "it can be pulled out now")
READER_DOWN: Final = StatedAdvice(
    Text("启动不了", "it does not start"),
    Text(
        "U盘因此读不了：检查杀毒软件是否拦截 Python，重新安装后再执行 doctor",
        "so no stick can be read: see whether antivirus software blocks Python, install again, then run doctor",
    ),
)
TOO_MANY: Final = Text(
    "U盘上的文件太多，没有看完：把不相干的文件移走，再执行 stick sync",
    "there are too many files on the stick, and not all were looked at: move away what has no business there, "
    "then run stick sync again",
)
_MANY: Final = 10


def read_only_warning(unplaced: Sequence[str]) -> Text:
    """Return what to say of files that wait and could not be put on a medium that is read-only."""
    names = "、".join(unplaced[:5])
    return Text(
        f"此介质只读：只取了文件，{len(unplaced)} 个待带出的文件没有放上（{names}）。"
        "换可写的U盘再执行 stick sync，或用 stick disc 刻一张光盘",
        f"this medium is read-only: files were taken, and {len(unplaced)} that wait could not be put on it ({names}). "
        "run stick sync with one that can be written, or make a disc with stick disc",
    )


def carried_words(placed: Sequence[str], container: str) -> list[Text]:
    """Return lines about what was put on a stick: names, or one line for a container of many."""
    if len(placed) > _MANY and container:
        count = len(placed)
        return [Text(f"  放上 {count} 个文件（打包为 {container}）", f"  put on: {count} files, packed as {container}")]
    return [Text(f"  放上 {name}", f"  put on: {name}") for name in placed]


def useless_words(label: str, name: Text, advice: Text) -> Text:
    """Return what to say of a medium that was plugged in and cannot be visited.

    Args:
        label: Its name and place.
        name: Its state.
        advice: What to do about it.
    """
    return Text(f"× {label}：{name.zh}。{advice.zh}", f"× {label}: {name.en}. {advice.en}")
