"""Write the manual's page on reliability from what the fault campaigns saw: `make reliability`.

The campaigns in `tests/faults` write their counts down (`tests.support.reliability`); this adds them up and says on what
machine it was. The page is committed, so that it can be read without running anything; nobody edits it by hand.
"""

from __future__ import annotations

import json
import platform
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.clock import SystemClock
from shared.text import Text
from tests.support import uml
from tests.support.reliability import BAD, GOOD

PAGE = Path(__file__).parent / "reliability.md"
OURS = "taxferry"

TIERS: Mapping[str, Text] = {
    "in-process": Text(
        "内存里的模拟U盘：每一个操作处出错、断电、拔出", "a stick in memory: a fault at every single operation"
    ),
    "strace": Text("真实进程：在系统调用处杀死或使其出错", "real processes, killed or failed at their system calls"),
    "fuse": Text("FUSE模拟U盘：真实进程，模拟的FAT", "a pretended FAT stick by FUSE, under real processes"),
    "loop": Text("本机内核的文件系统，镜像文件作U盘", "the host's own file systems on image files"),
    "uml": Text(
        "用户态Linux：真实的vfat驱动和可拔出的磁盘",
        "user-mode Linux: the real vfat driver and a disk that can be pulled",
    ),
}
WALKS: Mapping[str, str] = {
    "report out": "写上报告",
    "report in": "取下报告",
    "result out": "写上结果",
    "result in": "取下结果",
    "receipt out": "写上回执",
    "receipt in": "取下回执",
}
FAULTS: Mapping[str, str] = {
    r"none": "没有故障，只是卸下再插上",
    r"kill -9 at each system call": "在每个系统调用处 kill -9",
    r"each system call pretends to succeed": "每个系统调用谎称成功",
    r"(\w+) from each system call": r"每个系统调用返回 \1",
    r"(E[A-Z]+) at each operation": r"每个文件操作返回 \1",
    r"(E[A-Z]+) at each operation, and ever after": r"从每个文件操作起一直返回 \1",
    r"power cut at each operation": "在每个文件操作处断电",
    r"power cut at each write(?: to the disk)?": "每次写盘后断电，已写的都在",
    r"power cut, unsynced writes lost": "断电，盘内缓存里没有刷出的任意丢失、撕裂",
    **{rf"power cut in a visit of a station: {walk}": f"两站往返，{zh}的那次断电" for walk, zh in WALKS.items()},
    **{rf"pulled in a visit of a station: {walk}": f"两站往返，{zh}的那次被拔出" for walk, zh in WALKS.items()},
    r"pulled at each operation": "在每个文件操作处拔出",
    r"pulled at each operation, looks empty": "在每个文件操作处拔出，看上去是空盘",
    r"pulled before a file operation": "在文件操作之前拔出",
    r"pulled while writing, and as soon as it is over": "写的时候、以及刚结束时拔出",
    r"unmounted at each operation": "在每个文件操作处被卸载",
    r"write-protected at each operation": "在每个文件操作处变成只读",
    r"write-protected": "写保护",
    r"full": "写满",
    r"sectors that cannot be read back": "写得进、读不出的坏扇区",
    r"capacity that is not there": "假冒容量（写进去就没了）",
    r"each (?:read|write) of the disk fails from some operation on": "从某个操作起，盘的读或写出错",
    r"one bit flipped in each (?:read|write)": "读或写时翻转一个比特",
    r"one byte changes on the medium before it is read back": "读回之前，盘上变了一个字节",
    r"each write stores half": "每次写只写进一半",
    r"each write stores nothing and says it did": "每次写什么也没存，却说存了",
}
"""In Chinese, by patterns of what the campaigns call them; what matches none stands as it is."""
ENDS: Mapping[str, Text] = {
    "new": Text("文件在盘上，完整", "the file is there, whole"),
    "old": Text("盘上是原来的那份，完整", "the one before it is there, whole"),
    "absent": Text("盘上没有，发送方还留着，下次再写", "not there; the sender keeps it and writes it again"),
    "refused": Text("程序明确报错，没有说“可以拔出”", "a clear error; nobody said that it was safe"),
    "torn-not-believed": Text(
        "盘上有半截文件，但接收方不会认", "something unfinished is there, and no reader believes it"
    ),
    "spoiled": Text(
        "盘上的文件系统坏了，程序明确报错要求换一个盘；发送方还留着",
        "the file system is damaged, and a clear error says to take another stick; the sender keeps the file",
    ),
    "torn-believed": Text("半截文件顶着正式文件名，会被当真", "something unfinished that a reader takes for the file"),
    "false-safe": Text(
        "说了成功或“可以拔出”，盘上却没有完整的文件", "success was said, and the file is not there whole"
    ),
    "lost": Text("盘上没有完整的文件，发送方也已经删掉了", "not on the stick, and the sender has already removed it"),
    "wrong-clear": Text("不该清卡的清了", "a card was cleared that should not have been"),
    "next-visit-blocked": Text("下一次再插也写不进去", "the next visits fail, too"),
    "hung": Text("程序卡住", "it hung"),
    "crashed": Text("程序异常退出", "it crashed"),
}


@dataclass(frozen=True)
class Row:
    """One campaign on one subject: what was done where, to whom, and how often it ended how."""

    tier: str
    medium: str
    fault: str
    subject: str
    outcomes: Mapping[str, int]

    @property
    def ours(self) -> bool:
        """Whether it was our own program, in whatever way it was used."""
        return _is_ours(self.subject)

    @property
    def runs(self) -> int:
        """How many runs there were."""
        return sum(self.outcomes.values())

    @property
    def bad(self) -> int:
        """How many of them ended as none may."""
        return sum(count for word, count in self.outcomes.items() if word in BAD)


def _is_ours(subject: str) -> bool:
    return subject == OURS or subject.startswith(f"{OURS} ")


def merge(lines: Iterable[str]) -> list[Row]:
    """Add up what was recorded, in a fixed order."""
    sums: dict[tuple[str, str, str, str], Counter[str]] = {}
    for line in lines:
        row = json.loads(line)
        key = (row["tier"], row["medium"], row["fault"], row["subject"])
        sums.setdefault(key, Counter()).update(row["outcomes"])
    order = list(TIERS)

    def rank(key: tuple[str, str, str, str]) -> tuple[int, str, str, bool, str]:
        tier, medium, fault, subject = key
        return (order.index(tier) if tier in order else len(order), medium, fault, not _is_ours(subject), subject)

    return [Row(*key, outcomes=dict(sums[key])) for key in sorted(sums, key=rank)]


def read(folder: Path) -> list[Row]:
    """Return what was recorded in a folder."""
    return merge(
        line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines()
    )


def page(rows: Sequence[Row], machine: Sequence[str]) -> str:
    """Return the page.

    Args:
        rows: What was seen.
        machine: On what, one fact a line.
    """
    ours = [row for row in rows if row.ours]
    runs, bad = sum(row.runs for row in ours), sum(row.bad for row in ours)
    spoiled = sum(row.outcomes.get("spoiled", 0) for row in ours)
    peers = sorted({row.subject for row in rows if not row.ours})
    parts = [
        "<!-- 由 make reliability 的试验结果生成（docs/reliability.py）：不要手工修改 -->\n",
        "# 可靠性：把U盘弄坏的试验",
        "",
        "这一页不是承诺，是试验记录：一次插盘在每一处被断电、拔出、杀死，或者遇到坏盘，然后看盘上剩下什么、程序说了什么、再插一次能不能接着做完。",
        f"**税渡在下面的 {runs} 次故障中，坏结局 {bad} 次**"
        + (f"；另有 {spoiled} 次，盘坏到要修复或换一个盘（见下面），原件都在。" if spoiled else "。"),
        "同样的故障也让别的办法走了一遍（" + "、".join(f"`{name}`" for name in peers) + "），并排列在表里。"
        if peers
        else "",
        "",
        "好结局只有一个意思：**没有人被骗，也没有东西丢失**。文件要么完整地在盘上，要么发送方还留着、下一次插盘补上；凡是说了“可以拔出”的，一定完整。",
        "",
        "*English: these are records of experiments. A visit to a stick was cut off, pulled, killed or given a failing disk at "
        "every point named below; then the stick was looked at as its reader would, and our next visit had to complete. "
        f"taxferry: {runs} runs, {bad} bad ends; {spoiled} times the stick needed repair or another one, with the originals "
        "kept. Each cell shows bad ends / runs; what the words mean stands below the "
        "tables. Windows, macOS and real USB hardware were not tested.*",
        "",
        "## 总表",
        "",
        "每格是：坏结局次数 / 总次数。空格表示没有对它做这项试验。",
        "",
    ]
    for tier in dict.fromkeys(row.tier for row in rows):
        parts += [f"### {_both(TIERS, tier)}", "", *_overview([row for row in rows if row.tier == tier]), ""]
    parts += [
        "## 每种结局的次数",
        "",
        "| 层 | 介质 | 故障 | 谁 | 好结局 | 坏结局 |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {row.tier} | {row.medium} | {_fault(row.fault)} | {row.subject} | {_counts(row, GOOD)} | "
            f"{_counts(row, BAD)} |"
            for row in rows
        ),
        "",
        "| 记号 | 意思 | meaning |",
        "| --- | --- | --- |",
        *(
            f"| {'**' if word in BAD else ''}{word}{'**' if word in BAD else ''} | {ENDS[word].zh} | {ENDS[word].en} |"
            for word in (*GOOD, *BAD)
        ),
        "",
        "粗体是坏结局。",
        "",
        *_NOTES,
        "## 在什么机器上",
        "",
        *(f"- {fact}" for fact in machine),
        "",
    ]
    return "\n".join(parts)


_NOTES = [
    "## 怎么看别的办法",
    "",
    "- `cp` 之后不等写完就拔或断电；`cp && sync` 等系统写完。操作员先“弹出”再拔，`cp` 也是安全的：这里试的是没有弹出的时候。",
    "- `fsync, rename, fsync` 是教科书上的做法：写到临时名、同步、改名、同步文件夹。在 ext4 上可靠；在 Linux 的 vfat "
    "上，改名后的目录项里没有长度，断电后剩下空文件。税渡因此在改名之后按新名字再同步一次（[STICK-5](spec/stick.md)）。",
    "- `nncp-xfer` 是最接近的同类程序。它的包有认证，半截的包不会被当真；但它一写到盘上就删掉发送方的那份（不带 `-keep` "
    "时），盘出了事就没有第二份。它有自己的确认包，这里没有用。",
    "- 这些程序的版本见下面；结果只说明这些版本、这些故障。",
    "",
    "## 文件系统自己会坏到什么程度",
    "",
    "FAT 没有日志。如果盘在断电时丢掉自己缓存里的一部分、却保住另一部分，FAT 的目录或文件在增长的那一刻就可能断开（`refused`：拔下重插后能继续；"
    "`spoiled`：要修复或换一个盘）。任何程序都避免不了；税渡能做到的是：不说“可以拔出”，报错说清楚，原件还在。按顺序保住每一次写的盘上不会这样。",
    "",
    "*FAT has no journal. A disk that loses a part of its cache and keeps another can break a folder or a file in the moment in which "
    "it grows; no program can prevent that. What is promised is a clear error, and that the original is kept. It does not happen on "
    "a disk that keeps its writes in order.*",
    "",
    "## 没有试的",
    "",
    "- **Windows 和 macOS：没有试。** 表里全部是 Linux。",
    "- **真实的U盘硬件：没有试。** 断电是从内核记录的写操作重建出来的；拔出的是内核的虚拟SCSI可移动磁盘；不是把真的U盘从插口上拔下来。"
    "谎称已经写好的U盘主控，只试了“容量是假的”这一种。",
    "- 桌面自动挂载（udisks）、内核的 exFAT 和 NTFS 驱动、分区表损坏：没有试。",
    "",
    "*Not tested: Windows, macOS, real USB hardware (cuts are rebuilt from the kernel's own record of its writes; the disk that "
    "is pulled is the kernel's pretended SCSI disk), desktop auto-mounting, kernel exFAT and NTFS, damaged partition tables.*",
    "",
    "## 再做一遍",
    "",
    "```console",
    "$ make reliability     # 全部试验，然后重写这一页",
    "$ .ci/long             # 同样的试验，随其他慢的测试一起",
    "```",
    "",
    "平时的 `make test` 只做其中快的一部分。各层需要的工具没有装时，那一层跳过并说明缺什么；`.ci/run` 会先装好。",
    "",
]


def _both(words: Mapping[str, Text], key: str) -> str:
    return f"{words[key].zh} · {words[key].en}" if key in words else key


def _fault(name: str) -> str:
    """Return a fault's Chinese name, or its own."""
    for pattern, words in FAULTS.items():
        found = re.fullmatch(pattern, name)
        if found:
            return found.expand(words)
    return name


def _overview(rows: Sequence[Row]) -> list[str]:
    """Return a table with a line for each medium and fault, and a column for each subject."""
    subjects = sorted({row.subject for row in rows}, key=lambda name: (not _is_ours(name), name))
    cells = {(row.medium, row.fault, row.subject): f"{row.bad} / {row.runs}" for row in rows}
    lines = dict.fromkeys((row.medium, row.fault) for row in rows)
    return [
        "| 介质 | 故障 | " + " | ".join(subjects) + " |",
        "| --- | --- | " + " | ".join("---" for _ in subjects) + " |",
        *(
            f"| {medium} | {_fault(fault)} · {fault} | "
            + " | ".join(cells.get((medium, fault, subject), "") for subject in subjects)
            + " |"
            for medium, fault in lines
        ),
    ]


def _counts(row: Row, words: Sequence[str]) -> str:
    return ", ".join(f"{word} {row.outcomes[word]}" for word in words if row.outcomes.get(word))


def facts() -> list[str]:
    """Return on what machine this runs, and which versions of the others were tried."""
    found = [
        f"{SystemClock().now():%Y-%m-%d}",
        f"本机：{platform.system()} {platform.release()} {platform.machine()}，Python {platform.python_version()}",
    ]
    if uml.MODULES.is_dir():
        found.append(f"用户态Linux的内核（vfat 驱动由此而来）：{uml.kernel()}")
    for program, package in (("cp", "coreutils"), ("nncp-xfer", "nncp"), ("exfatfuse", "exfat-fuse")):
        version = uml.version_of(package)
        if version:
            found.append(f"`{program}`：{package} {version}")
    return found


def main(folder: Path) -> int:
    """Write the page; return 1 if a run of ours ended badly, or none was recorded."""
    rows = read(folder)
    PAGE.write_text(page(rows, facts()), encoding="utf-8")
    ours = [row for row in rows if row.ours]
    bad = [row for row in ours if row.bad]
    for row in bad:
        print(f"bad: {row}", file=sys.stderr)  # noqa: T201  this is a program
    return 1 if bad or not ours else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
