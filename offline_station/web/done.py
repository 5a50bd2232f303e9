"""What came of a piece of work, as its page shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from offline_station.ledger.problems import FileReport
from offline_station.shell.station import Answer, Refusal, Reported
from offline_station.shell.visit import Visit as StickVisit
from offline_station.web.standing import copy_words, failure_card, report_words
from offline_station.web.wording import on_page
from shared.clock import readable_time
from shared.medium.eject import Ejected
from shared.text import Text, both
from shared.web.blocks import OFFLINE_PC, ONLINE_PC, FaultCard, NextStep

PULL_OUT = Text("现在可以拔出U盘", "The stick can be pulled out now")


@dataclass(frozen=True)
class Done:
    """What came of a piece of work.

    Attributes:
        title: What happened.
        good: Whether it went as hoped; None if it is neither good nor bad.
        facts: Figures and names.
        lines: What was done, one by one.
        warnings: What a person should know.
        pull: Whether the stick can be pulled out now; None if none was touched.
        pull_words: What is said of that.
        fault: What the bureau or the stick said, and the way out.
        files: Invoice lists.
        slip: The address of a page to print.
        next: What to do; None for what follows from where things stand.
    """

    title: Text
    good: bool | None = True
    facts: Sequence[tuple[Text, object]] = ()
    lines: Sequence[Text] = ()
    warnings: Sequence[Text] = ()
    pull: bool | None = None
    pull_words: Text = PULL_OUT
    fault: FaultCard | None = None
    files: Sequence[FileReport] = ()
    slip: str = ""
    next: NextStep | None = None


def reported(done: Reported, label: str | None) -> Done:
    """Return what sealing did, and whether the stick has it."""
    words = copy_words(done.copy)
    if done.finished:
        return Done(Text(f"{words.zh}已经清卡，无需再报", f"{words.en} is cleared; there is nothing to report"))
    title = (
        Text(f"{words.zh}的报税文件已放上U盘“{label}”", f"The report of {words.en} is on the stick “{label}”")
        if label
        else Text(
            f"{words.zh}的报税文件已生成，还没有放上U盘", f"The report of {words.en} is sealed, and on no stick yet"
        )
    )
    facts = [
        (Text("文件", "File"), done.path.name),
        (Text("发票", "Invoices"), Text(f"{done.copy.invoice_count} 张", str(done.copy.invoice_count))),
        (Text("大小", "Size"), size_words(done.size_bytes)),
        (Text("报告摘要", "Report digest"), done.copy.report_digest),
    ]
    lines = [
        Text(
            "明细与汇总一致；已签名并加密给税局。",
            "Detail and summary agree; it is signed, and encrypted for the bureau.",
        )
        if done.sealed_now
        else Text(
            "文件早已生成，内容不变；重复报税不会发生。",
            "The file was sealed before and is unchanged; nothing is filed twice.",
        )
    ]
    if not label:
        lines.append(
            Text(
                f"也可以从传出目录自己拷贝：{done.path}", f"You may also copy it from the outbox yourself: {done.path}"
            )
        )
    slip = f"/history/{done.copy.nonce}/slip"
    return Done(title, facts=facts, lines=lines, pull=True if label else None, slip=slip)


def answered(answer: Answer) -> Done:
    """Return what was found of a result."""
    warnings = [line for refusal in answer.refused for line in _refused(refusal)]
    if answer.processing:
        return Done(
            Text("税局正在处理中（Y），还没有结果", "The bureau is still processing (Y): there is no result yet"),
            None,
            lines=[Text("卡没有改动。不要重复上传。", "The card is untouched. Do not upload again.")],
            warnings=warnings[:0],
            next=NextStep(
                Text("10 到 15 分钟后在上网机再次查询结果。", "Ask again on the Internet PC in 10 to 15 minutes."),
                ONLINE_PC,
                here=False,
            ),
        )
    if answer.verdict is not None:
        found = answer.verdict.result
        words = report_words(found.name)
        facts = [
            (Text("所属期", "Period"), words),
            (Text("受理回执", "Receipt"), found.receipt_no),
            (Text("税局时间", "Bureau's time"), readable_time(found.bureau_time)),
            (Text("清卡后锁死日期", "Lock date after clearing"), found.lock_date),
            (Text("上传截止日期", "Upload deadline"), found.upload_deadline),
        ]
        if found.outcome == "success":
            title = Text(f"{words.zh}报税成功", f"The report of {words.en} succeeded")
            lines = [
                Text(
                    "结果已验证：签名有效，属于这张卡的这一次抄税。",
                    "It is proven: signed by the bureau, for this card and this very copy.",
                )
            ]
            if answer.verdict.effect == "applied-before":
                lines.append(Text("这个结果已经用来清过卡。", "The card was cleared with it already."))
            return Done(title, True, facts, lines, [*warnings, *answer.verdict.warnings])
        return Done(
            Text(
                f"{words.zh}报税失败：{found.code} {found.message}",
                f"The report of {words.en} was refused: {found.code}",
            ),
            False,
            facts,
            [],
            warnings,
            fault=failure_card(answer.verdict.copy),
        )
    copy = answer.from_memory
    if copy is not None:
        words, seen = copy_words(copy), copy.success or copy.failure
        if seen is not None and seen.outcome == "failure":
            title = Text(
                f"没有新的结果；{words.zh}的上一个结果是失败", f"No new result; the last one of {words.en} is a failure"
            )
            return Done(title, None, warnings=warnings, fault=failure_card(copy))
        done = Text("已清卡", "cleared") if copy.cleared_at else Text("可以清卡", "the card can be cleared")
        return Done(
            Text(f"没有新的结果；{words.zh}报税成功，{done.zh}", f"No new result; {words.en} succeeded, {done.en}"),
            None,
            warnings=warnings,
        )
    return Done(
        Text("找到的文件都不能用，还没有结果", "None of the files found can be used: there is no result yet"),
        False,
        warnings=warnings,
    )


def visited(done: StickVisit) -> Done:
    """Return what one visit to a stick did."""
    lines = [Text(f"放上 {name}", f"put on: {name}") for name in done.placed]
    lines += [Text(f"早已放上 {name}", f"on it already: {name}") for name in done.already]
    lines += [Text(f"取下 {name}", f"taken: {name}") for name in done.taken]
    lines += [Text(f"已办完，从U盘移走 {name}", f"done with, removed: {name}") for name in done.removed]
    if done.trust_version:
        lines.append(
            Text(f"信任文件更新到版本 {done.trust_version}", f"trust file is now version {done.trust_version}")
        )
    if not lines:
        lines.append(Text("没有要带的文件", "nothing to carry"))
    warnings = [line for refusal in done.refused for line in _refused(refusal)] + [on_page(w) for w in done.warnings]
    if done.unplaced:
        names = "、".join(done.unplaced[:5])
        warnings.append(
            Text(
                f"这个U盘只读：{len(done.unplaced)} 个文件没有放上（{names}）。打开写保护开关，或换一个U盘。",
                f"This stick is read-only: {len(done.unplaced)} files could not be put on it ({names}). Open its switch, or take another one.",
            )
        )
    return Done(
        Text(f"U盘“{done.label}”已同步", f"The stick “{done.label}” is in sync"),
        not warnings,
        lines=lines,
        warnings=warnings,
        pull=True,
        slip="/stick/slip" if done.placed or done.already else "",
    )


def let_go(label: str, done: Ejected) -> Done:
    """Return what came of an ejection."""
    title = (
        Text(f"U盘“{label}”可以拔出", f"The stick “{label}” can be pulled out")
        if done.safe
        else Text(f"先不要拔U盘“{label}”", f"Do not pull the stick “{label}” yet")
    )
    return Done(title, done.safe, pull=done.safe, pull_words=done.advice)


def imported(reports: Sequence[FileReport]) -> Done:
    """Return what became of invoice lists."""
    refused = [one for one in reports if one.error is not None]
    count = sum(one.invoices for one in reports)
    if refused:
        title = Text(
            f"{len(reports)} 个文件中有 {len(refused)} 个没有导入",
            f"{len(refused)} of {len(reports)} files were not imported",
        )
    else:
        title = Text(f"导入 {count} 张发票", f"{count} invoices were imported")
    again = NextStep(
        Text("按上面指出的行改正清单，再导入一次。", "Correct the rows named above, and import the list again."),
        OFFLINE_PC,
        link="/invoices",
        button=Text("导入发票", "Import invoices"),
    )
    return Done(title, not refused, files=reports, next=again if refused else None)


def _refused(refusal: Refusal) -> list[Text]:
    error = refusal.error
    lines = [
        Text(
            f"没有采用 {refusal.name}：{error.text.zh}（{error.code}）",
            f"not taken: {refusal.name}: {error.text.en} ({error.code})",
        )
    ]
    if refusal.moved_to is not None:
        lines.append(Text(f"已移到 {refusal.moved_to}", f"moved to {refusal.moved_to}"))
    return lines


def size_words(octets: int) -> Text:
    """Return a size as people say it."""
    if octets < 10_000:
        return Text(f"{octets} 字节", f"{octets} bytes")
    if octets < 10_000_000:
        return both(f"{octets / 1000:,.0f} KB")
    if octets < 10_000_000_000:
        return both(f"{octets / 1_000_000:,.0f} MB")
    return both(f"{octets / 1_000_000_000:,.1f} GB")
