"""What a person does next about a report, and on which PC. Pure words; nothing is decided by them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

from online_station.core.decide import HoldReason, Snapshot
from shared import faults
from shared.faults import Fault
from shared.states import OnlineState
from shared.text import Text, both

_S = OnlineState

STATE_WORDS: Final[dict[OnlineState, Text]] = {
    _S.FOUND: Text("已收到", "found"),
    _S.PROVEN: Text("已验证，待上传", "proven, to be sent"),
    _S.HELD: Text("暂不上传", "held"),
    _S.SENDING: Text("正在上传", "sending"),
    _S.UNKNOWN: Text("上传结果不明，先询问税局", "outcome unknown, the bureau is asked first"),
    _S.ACCEPTED: Text("税局已受理", "accepted by the bureau"),
    _S.PROCESSING: Text("税局正在处理（Y）", "being processed (Y)"),
    _S.WAITING: Text("等待其他开票机报税（272C）", "waiting for other machines (272C)"),
    _S.FAILED: Text("报税失败", "failed"),
    _S.ANSWERED: Text("报税成功，结果待放入发件文件夹", "succeeded, result to be staged"),
    _S.STAGED: Text("报税成功，结果已备好", "succeeded, result staged"),
    _S.ACKNOWLEDGED: Text("已清卡，完成", "cleared, done"),
    _S.QUARANTINED: Text("已隔离", "quarantined"),
    _S.CANCELLED: Text("已放弃", "cancelled"),
}

HOLD_WORDS: Final[dict[HoldReason, Text]] = {
    HoldReason.OPERATOR: Text("操作员要求暂不上传", "an operator holds it"),
    HoldReason.NOT_ENROLLED: Text("企业未开户（2735）", "the taxpayer is not enrolled (2735)"),
    HoldReason.KEY_NOT_ON_FILE: Text(
        "税局没有登记本机的企业密钥（2734）", "the bureau has not this station's key on file (2734)"
    ),
    HoldReason.NOT_DECLARED: Text("本期尚未申报（271D）", "nothing was declared for the period (271D)"),
    HoldReason.ENVELOPE_OUTDATED: Text(
        "报税文件不是用税局当前公钥加密的", "the report is not sealed to a current key of the bureau"
    ),
    HoldReason.NOT_OURS: Text(
        "税局不允许本机为该企业报税", "the bureau does not let this station act for the taxpayer"
    ),
    HoldReason.KEY_MISSING: Text("该企业的密钥用不了", "the taxpayer's own key cannot be used"),
}

_HOLD_NEXT: Final[dict[HoldReason, Text]] = {
    HoldReason.OPERATOR: Text("需要上传时，在上网机执行 release", "when it is to go, run release on the Internet PC"),
    HoldReason.NOT_ENROLLED: Text(
        "到税务机关办理开户；办好后在上网机执行 once 上传（服务 run 会自动进行）",
        "enrol at the bureau, then run once on the Internet PC to send it (the service run does it by itself)",
    ),
    HoldReason.KEY_NOT_ON_FILE: Text(
        "到税务机关登记本机的企业密钥（U棒）；登记后在上网机执行 once 上传（服务 run 会自动进行）",
        "have this station's key put on file at the bureau, then run once here to send it (the service run does it by "
        "itself)",
    ),
    HoldReason.NOT_DECLARED: Text(
        "先完成网上申报；申报后在上网机执行 once 上传（服务 run 会自动进行）。确要先发送，执行 release",
        "file the declaration, then run once on the Internet PC (the service run does it by itself). to send it anyway, run "
        "release",
    ),
    HoldReason.ENVELOPE_OUTDATED: Text(
        "把新的信任文件带到开票机，执行 report --reseal，再把新文件带来",
        "carry the new trust file to the invoicing PC, run report --reseal there and bring the new file",
    ),
    HoldReason.KEY_MISSING: Text(
        "检查该企业的密钥文件和口令文件（companies list 可查），放好后执行 once（服务 run 会自动进行）",
        "see to the taxpayer's key file and PIN file (companies list names them), then run once (the service run does it by "
        "itself)",
    ),
    HoldReason.NOT_OURS: Text(
        "使用该企业自己的密钥，或请税务机关登记代办关系",
        "use the taxpayer's own key, or have the bureau put the delegation on file",
    ),
}

_NEXT: Final[dict[OnlineState, Text]] = {
    _S.FOUND: Text(
        "执行 once 验证（服务 run 会自动进行）", "run once to have it proven (the service run does it by itself)"
    ),
    _S.PROVEN: Text("执行 once 上传（服务 run 会自动进行）", "run once to send it (the service run does it by itself)"),
    _S.SENDING: Text("无需操作，正在上传", "nothing: it is being sent"),
    _S.UNKNOWN: Text(
        "执行 once（服务 run 会自动进行）：程序先询问税局，再决定是否重发。请勿重新抄税",
        "run once (the service run does it by itself): the bureau is asked before anything is sent again. do not copy again",
    ),
    _S.ACCEPTED: Text(
        "等待 10–15 分钟后执行 once 查询结果（服务 run 会自动进行）",
        "wait 10–15 minutes, then run once to ask for the result (the service run does it by itself)",
    ),
    _S.PROCESSING: Text(
        "继续等待，稍后执行 once 再查询（服务 run 会自动进行）；请勿重复上传",
        "wait, then run once to ask again (the service run does it by itself). do not upload it again",
    ),
    _S.WAITING: Text(
        "请其他开票机完成抄税、报税并上传；全部到齐后执行 once 取回结果（服务 run 会自动进行）",
        "have the other machines copy, report and upload; once all are in, run once to fetch the result (the service run "
        "does it by itself)",
    ),
    _S.ANSWERED: Text(
        "执行 once 把结果放入发件文件夹（服务 run 会自动进行）",
        "run once to stage the result (the service run does it by itself)",
    ),
    _S.STAGED: Text(
        "把结果带回开票机：stick sync，然后在开票机执行 result 与 clear",
        "carry the result back: stick sync, then run result and clear on the invoicing PC",
    ),
    _S.ACKNOWLEDGED: Text("无，本次报税已完成", "nothing: this report is done"),
    _S.QUARANTINED: Text("查看 quarantine 文件夹中的说明", "read the explanation in the quarantine folder"),
    _S.CANCELLED: Text(
        "无；如仍要上传，在上网机执行 retry", "nothing; to send it after all, run retry on the Internet PC"
    ),
}


_LONG: Final = timedelta(days=1)


def not_back(label: str, away: timedelta, deadline: date | None, today: date) -> Text | None:
    """Return what to say of a result that left on a stick and whose clear receipt has not come back.

    Args:
        label: The stick's.
        away: How long ago it left.
        deadline: Until when the period has to be reported and cleared; None if that is not known.
        today: The day.

    Returns:
        None as long as it is too early to wonder.
    """
    if away < _LONG:
        return None
    days = away.days
    left = Text("", "")
    if deadline is not None:
        remaining = (deadline - today).days
        left = (
            Text(
                f"，距征期截止（{deadline}）还有 {remaining} 天",
                f"; the filing deadline ({deadline}) is in {remaining} days",
            )
            if remaining >= 0
            else Text(f"，征期截止（{deadline}）已过", f"; the filing deadline ({deadline}) has passed")
        )
    return Text(
        f"结果已由U盘“{label}”带走 {days} 天，还没有带回清卡回执{left.zh}。请到开票机查看是否已清卡；"
        "U盘丢失时再插一个U盘，结果会自动再放一份",
        f"the result left on stick '{label}' {days} days ago and no clear receipt came back{left.en}. see on the invoicing "
        "PC whether the card is cleared; if the stick is lost plug in another one, which is given the result again",
    )


def never_came(taxpayer_id: str, machine_no: int, missing: Sequence[int], before: int) -> Text:
    """Return what to say of copies of a card that never arrived here, although a later one did.

    Args:
        taxpayer_id: Whose card.
        machine_no: Which machine.
        missing: The sequence numbers of the copies.
        before: That of the next one that did arrive.
    """
    numbers, ids = "、".join(map(str, missing[:10])), ", ".join(map(str, missing[:10]))
    machine = "主机" if machine_no == 0 else f"{machine_no} 号分机"
    return Text(
        f"注意：{taxpayer_id} {machine} 第 {numbers} 次抄税的报税文件没有带来，第 {before} 次的已经带来。"
        "若不是被重新抄税取代，可能丢了U盘：请在开票机执行 history 查看",
        f"note: copy {ids} of {taxpayer_id} machine {machine_no} never came here, although copy {before} did. if it was not "
        "superseded, a stick may be lost: see history on that invoicing PC",
    )


OVERTAKEN: Final = Text(
    "同一张卡已有更新的抄税，本报告不再需要处理：已清卡的会由清卡回执结案，被取代的不能再清卡",
    "nothing: the same card has a newer copy. a report that was cleared is closed by its clear receipt; one that was "
    "superseded can no longer clear",
)
"""The next action for a report that its card has gone on from: a card holds one uncleared copy at most."""


def state_words(snapshot: Snapshot) -> Text:
    """Return a report's state as people say it, with the reason of a hold and the code of a failure."""
    words = STATE_WORDS[snapshot.state]
    if snapshot.state is _S.HELD and snapshot.hold is not None:
        reason = HOLD_WORDS[snapshot.hold]
        return Text(f"{words.zh}：{reason.zh}", f"{words.en}: {reason.en}")
    if snapshot.state is _S.WAITING and snapshot.message:
        # Which machines: the bureau names them, and so does the board.
        return Text(f"{words.zh}：{snapshot.message}", words.en)
    if snapshot.state is _S.FAILED and (snapshot.code or snapshot.message):
        told = f"{snapshot.code} {snapshot.message}".strip()
        # The bureau speaks Chinese; what the catalogue knows is said in English too.
        english = f"{snapshot.code} {faults.find(snapshot.code, snapshot.message).title.en}".strip()
        return Text(f"{words.zh}：{told}", f"{words.en}: {english}")
    return words


def next_action(snapshot: Snapshot, fault: Fault | None) -> Text:
    """Return the next human action.

    Args:
        snapshot: The report.
        fault: What the catalogue knows about its code, for a failed report.
    """
    if snapshot.state is _S.HELD and snapshot.hold is not None:
        return _HOLD_NEXT[snapshot.hold]
    if snapshot.state is _S.FAILED:
        return _after_failure(snapshot, fault)
    return _NEXT[snapshot.state]


def _after_failure(snapshot: Snapshot, fault: Fault | None) -> Text:
    if fault is None:
        return Text(
            "查明原因后在上网机执行 retry，或 cancel", "find the cause, then run retry on the Internet PC, or cancel"
        )
    first = fault.steps[0] if fault.steps else fault.title
    place = both("")
    if snapshot.resend == "same-bytes" or not snapshot.receipt_no:
        place = Text("。改正后在上网机执行 retry", ". after the correction run retry on the Internet PC")
    elif snapshot.resend == "new-report":
        place = Text(
            "。之后在开票机执行 copy --again 与 report", ". then run copy --again and report on the invoicing PC"
        )
    return Text(f"{first.zh.rstrip('。')}{place.zh}", f"{first.en.rstrip('.')}{place.en}")
