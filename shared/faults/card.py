"""What the card says: refusals of a result, and states in which it does not copy, report or clear."""

from __future__ import annotations

from typing import Final

from shared.faults.model import Actor, Fault, Resend
from shared.text import Text

_OFFLINE: Final = Text("开票机", "the invoicing PC")
_BOTH: Final = Text("上网机取文件，开票机使用", "fetch the file on the Internet PC, use it on the invoicing PC")
_UNTOUCHED: Final = Text(
    "卡没有改动，仍在等待本次报税的结果", "the card is untouched and still waits for this report's result"
)
_HALL_STEP: Final = Text(
    "仍不行时，带税控设备到办税服务厅，由窗口读入报税成功标志并清卡",
    "if it still fails, take the device to the tax hall and have it cleared there",
)
_RIGHT_FILE: Final = Text(
    "在上网机用 show 找到本次报税（税号、分机号、抄税时间都对得上），执行 stick sync 带回它的 .txt",
    "find this report on the Internet PC with show (tax number, machine and copy time agree) and carry its .txt with stick sync",
)


def _refusal(
    key: str, title: Text, cause: Text, aliases: tuple[str, ...], words: tuple[str, ...], *steps: Text
) -> Fault:
    return Fault(
        key=key,
        code="",
        title=title,
        cause=cause,
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.WAIT,
        safe=_UNTOUCHED,
        where=_BOTH,
        steps=(*steps, _HALL_STEP),
        aliases=aliases,
        words=("清卡失败", "不匹配", *words),
    )


CARD_FAULTS: Final = (
    _refusal(
        "clear-other-taxpayer",
        Text("清卡：税号不匹配", "clear: another taxpayer's result"),
        Text(
            "结果文件属于别的企业（代理记账时常见）",
            "the result is another enterprise's, as happens where one PC serves several",
        ),
        ("B2202", "JSK151", "JSK156", "JSK1089", "JSK1093"),
        ("税号", "别的企业", "tax number"),
        _RIGHT_FILE,
        Text("把别家的 .txt 放回它自己的开票机", "take the other file to its own invoicing PC"),
    ),
    _refusal(
        "clear-other-machine",
        Text("清卡：分机号或卡号不匹配", "clear: another machine's or card's result"),
        Text(
            "结果文件属于本企业的另一台开票机，或属于换卡前的旧卡",
            "the result belongs to another machine of the enterprise, or to the card before the present one",
        ),
        ("B2203", "B2204", "JSK007", "JSK552", "JSK1087", "JSK159"),
        ("分机号", "主机", "卡号", "machine"),
        _RIGHT_FILE,
        Text(
            "每台开票机只能用自己的结果清卡：文件名中间一段是分机号，0 是主机",
            "each machine clears with its own result: the middle part of the name is the machine, 0 is the main one",
        ),
    ),
    _refusal(
        "clear-other-time",
        Text("清卡：抄税时间不匹配", "clear: the result of another copy"),
        Text(
            "结果文件是另一次抄税（另一个月或非征期）的",
            "the result is of another copy: another month's, or an ad hoc one",
        ),
        ("B2205", "JSK152", "JSK157", "JSK1092"),
        ("抄税时间", "上个月", "copy time"),
        _RIGHT_FILE,
    ),
    _refusal(
        "clear-other-nonce",
        Text("清卡：随机数不匹配", "clear: the random number differs"),
        Text(
            "抄税之后又重新抄过（copy --again），或上传的不是本次抄税的文件：旧结果不能再清卡",
            "the card was copied again since, or another copy's file was uploaded: the old result clears no more",
        ),
        ("B2207", "JSK153", "JSK158", "JSK1088"),
        ("随机数", "重新抄税", "nonce", "random"),
        Text(
            "确认上网机上传的是最近一次 report 生成的 .dat；不是就带去上传",
            "see that what was uploaded is the .dat of the latest report; carry it if not",
        ),
        _RIGHT_FILE,
    ),
    _refusal(
        "clear-other-digest",
        Text("清卡：报告摘要（校验和）不匹配", "clear: the digest (checksum) differs"),
        Text(
            "结果是对另一份报税文件的回答：同一次抄税重新加密过，上传的却是旧文件",
            "the result answers another file: the copy was sealed anew and the older file was uploaded",
        ),
        ("B2206", "JSK150", "JSK155"),
        ("校验和", "摘要", "digest", "checksum"),
        Text(
            "把开票机传出目录中现有的 .dat 带到上网机上传",
            "carry the .dat that lies in the outbox now to the Internet PC and upload it",
        ),
        Text(
            "税局因“同一次抄税已有另一份报告”（sequence-taken）拒收时，在开票机执行 copy --again 和 report，上传新的 .dat",
            "if the bureau refuses it because it has this copy already (sequence-taken), run copy --again and report on the "
            "invoicing PC, and upload the new .dat",
        ),
        _RIGHT_FILE,
    ),
    _refusal(
        "clear-older",
        Text("清卡：结果比已使用的旧", "clear: the result is older than one already seen"),
        Text(
            "卡已经看过更新的结果（例如失败之后又成功），这个文件已经作废",
            "the card has seen a newer one (a success after a failure, say): this file is void",
        ),
        ("B2301", "B2302"),
        ("旧结果", "序号", "older", "outdated"),
        Text("在上网机执行 results 取最新的结果，再带回", "run results on the Internet PC and carry the newest one"),
    ),
    _refusal(
        "clear-nothing-awaited",
        Text("清卡：卡没有在等待结果", "clear: the card awaits no result"),
        Text(
            "这次报税已经清过卡，或者本期还没有抄税、生成报税文件",
            "this report was cleared already, or nothing was copied and sealed yet",
        ),
        ("B2209", "JSK204", "JSK1085", "JSK086"),
        ("没有等待", "重复清卡", "nothing awaited"),
        Text("执行 status 看卡的状态：“已完成”就不用再清", "run status: 'done' means that nothing is left to do"),
    ),
    _refusal(
        "clear-refused",
        Text("清卡：其他原因被拒绝", "clear: refused for another reason"),
        Text("结果文件损坏或被改动，签名不是税局的", "the result is damaged or altered, or not signed by the bureau"),
        ("B1201", "B1202", "JSK159", "CA-960011030"),
        ("清卡不成功", "其他", "refused"),
        Text(
            "从上网机重新拷贝 .txt，不要用编辑器打开保存，再执行 clear",
            "copy the .txt again from the Internet PC without opening it in an editor, then run clear",
        ),
    ),
    Fault(
        key="already-cleared",
        code="",
        title=Text("已经清过卡", "cleared already"),
        cause=Text("同一个结果再次用来清卡", "the same result was used again"),
        actor=Actor.NOBODY,
        resend=Resend.NEVER,
        safe=Text("卡已清，重复执行没有影响", "the card is cleared; doing it again changes nothing"),
        where=_OFFLINE,
        steps=(
            Text(
                "当作成功：确认锁死日期已到下月，重新启动开票软件即可",
                "take it as success: see that the lock date is next month's, and restart the invoicing software",
            ),
            Text("清卡回执 .ack 需要时可由 clear 重新生成", "clear writes the same .ack again where it is needed"),
        ),
        aliases=("09d118",),
        words=("重复清卡", "已清卡", "already cleared"),
    ),
    Fault(
        key="not-copied",
        code="",
        title=Text("还没有抄税，不能远程报税", "not copied yet: there is nothing to report"),
        cause=Text("抄税处理还没有做，卡上没有本期汇总", "the period was not frozen on the card"),
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.NEVER,
        safe=Text("没有数据改动", "no data was changed"),
        where=_OFFLINE,
        steps=(
            Text("在开票机执行 copy，再执行 report", "run copy and then report on the invoicing PC"),
            Text("上月没有业务也要抄税（零申报）", "a month without business is copied too (a zero report)"),
        ),
        aliases=("B5203", "JSK195", "JSK223", "JSK191", "09d11b"),
        words=("未抄税", "没有抄税", "先抄税", "not copied"),
    ),
    Fault(
        key="already-copied",
        code="",
        title=Text("已抄税未清卡，不能再抄", "copied and not cleared: it cannot be copied again"),
        cause=Text("卡上已有一次抄税在等待结果", "a copy on the card is waiting for its result"),
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.WAIT,
        safe=Text("抄税数据在卡上，没有改动", "the copied figures are on the card, unchanged"),
        where=_OFFLINE,
        steps=(
            Text("先完成这一次：report、上传、取结果、clear", "finish this one first: report, upload, result, clear"),
            Text(
                "只有这次肯定不会成功（如 2715）时才执行 copy --again；旧的结果从此不能清卡",
                "only if it cannot succeed (2715), run copy --again; the old result can then clear no more",
            ),
        ),
        aliases=("B5204", "JSK202", "JSK1086"),
        words=("已抄税", "重复抄税", "already copied"),
    ),
    Fault(
        key="earlier-month-open",
        code="",
        title=Text("有更早的月份没有抄报", "an earlier month was never copied and reported"),
        cause=Text(
            "多个月没有正常抄税、报税，远程一次只能报上一个月",
            "several months are open; remote reporting takes only the month before",
        ),
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.NEVER,
        safe=Text("各月发票数据都在，没有改动", "the invoices of all months are there, unchanged"),
        where=Text("办税服务厅", "the tax hall"),
        steps=(
            Text(
                "带税控设备和各月发票到办税服务厅，由窗口按月补报并清卡",
                "take the device and the invoices to the tax hall: it reports month by month and clears",
            ),
            Text("之后每月按时远程报税", "report remotely in time from then on"),
        ),
        aliases=("B5206", "JSK245", "JSK248"),
        words=("多月", "跨月", "漏抄", "earlier month"),
    ),
    Fault(
        key="copied-cannot-void",
        code="",
        title=Text("已经抄税的发票不能作废", "a copied invoice cannot be voided"),
        cause=Text(
            "抄税以后，正数和负数发票都已计入上报的汇总",
            "after the copy, both positive and negative invoices are part of the reported figures",
        ),
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.NEVER,
        safe=Text("发票和汇总没有改动", "invoice and summary are unchanged"),
        where=_OFFLINE,
        steps=(
            Text("开错的正数发票：按规定开具红字发票冲销", "a wrong positive invoice: issue a red invoice against it"),
            Text(
                "已抄税的红字专用发票开错：本软件无法更正，请咨询主管税务机关",
                "a wrong red special invoice that was copied: ask the bureau; no software can correct it",
            ),
            Text(
                "误作废的发票也不能恢复，按作废处理，另开一张",
                "an invoice voided by mistake stays void; issue another one",
            ),
        ),
        aliases=("B5207", "09d11c"),
        words=("作废", "不能作废", "红字", "冲红", "void"),
    ),
    Fault(
        key="unread-volumes",
        code="",
        title=Text("有新购发票没有读入", "bought invoices were not read in yet"),
        cause=Text(
            "税控设备里有未读入的发票卷，抄税或清卡前须先处理",
            "volumes wait on the device and must be dealt with before copy or clear",
        ),
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.NEVER,
        safe=Text("没有数据改动", "no data was changed"),
        where=Text("开票软件；锁死后在办税服务厅", "the invoicing software; once locked, the tax hall"),
        steps=(
            Text(
                "没有锁死时，先在开票软件里读入新购发票，再抄税",
                "if not locked, read them in with the invoicing software, then copy",
            ),
            Text(
                "已经锁死不能读入时，到办税服务厅把发票电子数据退回税务端，解锁后重新领用",
                "if locked, have the tax hall take their electronic data back, unlock the device, and draw them again",
            ),
        ),
        aliases=("JSK222", "JSK027", "JSK209"),
        words=("新购发票", "没有读入", "发票卷", "读入", "volumes"),
    ),
    Fault(
        key="unuploaded-invoices",
        code="",
        title=Text("有离线发票没有上传（报送）", "offline invoices were not uploaded yet"),
        cause=Text(
            "断网期间开的发票还是“未报送”，开票软件不让抄报和清卡",
            "invoices issued without a network are still unsent, and the invoicing software blocks copy and clear",
        ),
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.SAME_BYTES,
        safe=Text("发票都在开票机上，没有丢失", "the invoices are on the invoicing PC; nothing is lost"),
        where=Text("开票软件；不能联网的在办税服务厅", "the invoicing software; without any network, the tax hall"),
        steps=(
            Text(
                "在开票软件的已开发票查询中找到“未报送”的发票，手工上传，再重新登录",
                "find the unsent ones in the list of issued invoices, upload them by hand, and log in again",
            ),
            Text(
                "上传一直失败时用发票修复再试", "if that keeps failing, use the software's invoice repair and try again"
            ),
            Text(
                "经批准不联网的企业，按规定到办税服务厅报送离线发票",
                "where working without a network is approved, deliver them at the tax hall",
            ),
            Text("全部报送后继续抄税、报税", "when all are sent, go on with copy and report"),
        ),
        aliases=("JSK250", "JSK246"),
        words=("未报送", "未上传", "离线发票", "手工上传", "发票修复", "unsent", "not uploaded"),
    ),
    Fault(
        key="offline-limits",
        code="",
        title=Text("离线时长或离线限额已到，或为 0", "offline hours or amounts are used up, or zero"),
        cause=Text(
            "离线开票的时间、金额或张数超过授权，或授权值本来就是 0",
            "more was issued offline than permitted, or the permission is zero",
        ),
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.NEVER,
        safe=Text("已开发票没有改动", "issued invoices are unchanged"),
        where=Text("开票机；授权为 0 时在办税服务厅", "the invoicing PC; if the permission is zero, the tax hall"),
        steps=(
            Text("先把离线发票上传（报送）", "upload the offline invoices first"),
            Text(
                "报税并清卡：清卡会写入新的上传截止日期、离线时长和离线限额",
                "report and clear: clearing writes a new upload deadline, new hours and new limits",
            ),
            Text(
                "授权值为 0 是不正常的：带设备和证照到税务机关修改离线时长和限额",
                "zero is not normal: have the bureau change hours and limits, with device and licence",
            ),
        ),
        aliases=("JSK247", "JSK768", "JSK769", "JSK781", "09d11f", "09d120", "09d121", "09d122"),
        words=("离线限额", "离线时长", "离线", "上传截止", "offline limit", "offline hours"),
    ),
    Fault(
        key="interrupted-on-card",
        code="",
        title=Text("抄税或清卡时掉电、拔卡", "power was lost or the card pulled while copying or clearing"),
        cause=Text(
            "操作没有做完，设备报告数据混乱", "the operation did not finish, and the device reports confused data"
        ),
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.WAIT,
        safe=Text(
            "软件卡一次写成：要么全部完成，要么没有发生。真实设备以状态查询为准",
            "the software card writes once: all of it or nothing. for a real device, its status query decides",
        ),
        where=_OFFLINE,
        steps=(
            Text("插好设备，重新启动，执行 status", "plug the device in, restart, run status"),
            Text(
                "没有完成就再执行一次同一条命令；清卡可以重复执行",
                "run the same command again if it is not done; clearing may be repeated",
            ),
            Text(
                "设备仍报数据混乱时，备份后联系服务商作发票修复，必要时到办税服务厅",
                "if the device still complains, back up and let the service provider repair it, or go to the tax hall",
            ),
        ),
        aliases=("JSK234", "JSK240", "JSK241", "B5210"),
        words=("掉电", "断电", "拔卡", "数据混乱", "power", "pulled"),
    ),
    Fault(
        key="medium-mismatch",
        code="",
        title=Text("报税盘与金税盘不匹配", "the reporting disk does not match the tax device"),
        cause=Text(
            "插入的报税盘不是本机的，或介质类型与操作不符",
            "the disk is another machine's, or of the wrong kind for the operation",
        ),
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.NEVER,
        safe=Text("两个设备都没有改动", "both devices are unchanged"),
        where=_OFFLINE,
        steps=(
            Text(
                "换成本机的报税盘；主机盘和分机盘不能混用",
                "take this machine's own disk; main and sub machines' disks are not interchangeable",
            ),
            Text(
                "报税盘丢失或损坏时按税务机关要求重新购置、发行",
                "a lost or broken disk is replaced and issued as the bureau says",
            ),
        ),
        aliases=("JSK160", "JSK1057", "JSK167", "JSK800"),
        words=("报税盘", "金税盘", "不匹配", "mismatch disk"),
    ),
    Fault(
        key="return-forbidden",
        code="",
        title=Text(
            "征期内清卡之前不能退回发票", "invoices cannot be returned between the start of the period and the clear"
        ),
        cause=Text(
            "从征期开始到读入报税成功标志之前，设备不允许退回；锁死时也不允许",
            "the device refuses returns until the success is on it, and while it is locked",
        ),
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.NEVER,
        safe=Text("发票没有改动", "the invoices are unchanged"),
        where=_OFFLINE,
        steps=(
            Text("先完成抄税、报税和清卡，再退回发票", "copy, report and clear first, then return them"),
            Text("已锁死的，到办税服务厅办理", "if locked, go to the tax hall"),
        ),
        aliases=("JSK085",),
        words=("退回发票", "退票", "return invoices"),
    ),
)
