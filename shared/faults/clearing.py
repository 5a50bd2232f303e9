"""Why a card does not clear although everybody did their best: duties, cycles, devices, settings."""

from __future__ import annotations

from typing import Final

from shared.faults.model import Actor, Fault, Resend
from shared.text import Text

_HALL: Final = Text("办税服务厅", "the tax hall")
_SAFE: Final = Text("发票和卡都没有改动", "invoices and card are unchanged")

CLEARING_FAULTS: Final = (
    Fault(
        key="server-address",
        code="",
        title=Text(
            "没有设置税局（安全接入）服务器地址，或地址有误", "the bureau's server address is not set, or wrong"
        ),
        cause=Text(
            "新装或重装后没有填写地址，或税局更换了地址",
            "it was never entered after an installation, or the bureau has moved",
        ),
        actor=Actor.ONLINE_OPERATOR,
        resend=Resend.SAME_BYTES,
        safe=_SAFE,
        where=Text("上网机", "the Internet PC"),
        steps=(
            Text("从主管税务机关取得正确的地址，填入设置", "get the right address from the bureau and enter it"),
            Text("执行 doctor 测试，成功后再发送", "test it with doctor, then send"),
        ),
        aliases=("B4002",),
        words=("服务器地址", "安全接入", "无法清卡", "server address"),
    ),
    Fault(
        key="not-declared-cannot-clear",
        code="",
        title=Text("没有申报或申报有误，不能清卡", "no declaration, or a wrong one: the card does not clear"),
        cause=Text(
            "本期没有申报，或申报数据错误，税局不给报税成功",
            "nothing was declared for the period or the figures are wrong, so the bureau gives no success",
        ),
        actor=Actor.ACCOUNTANT,
        resend=Resend.SAME_BYTES,
        safe=_SAFE,
        where=Text("申报系统，然后是上网机", "the declaration system, then the Internet PC"),
        steps=(
            Text("改正数据并重新申报，取得回执", "correct and file again, and get the confirmation"),
            Text(
                "在上网机执行 retry（同一个文件），取得成功结果后清卡",
                "run retry on the Internet PC (the same file), then clear with the success",
            ),
            Text("对应的错误号一般是 271D", "the code is usually 271D"),
        ),
        words=("无法清卡", "申报错误", "重新申报", "cannot clear"),
    ),
    Fault(
        key="wrong-declaration-cycle",
        code="",
        title=Text(
            "申报周期登记有误（按季还是按月）", "the declaration cycle on record is wrong (quarterly or monthly)"
        ),
        cause=Text(
            "征管系统把按季申报的小规模企业登记成了按月，于是认为本月没有申报",
            "the bureau's system has a small taxpayer who files quarterly down as monthly, and misses this month's return",
        ),
        actor=Actor.BUREAU,
        resend=Resend.SAME_BYTES,
        safe=_SAFE,
        where=_HALL,
        steps=(
            Text(
                "核对企业核定的申报周期：季报还是月报",
                "find out which cycle the taxpayer is assigned: quarterly or monthly",
            ),
            Text(
                "到办税服务厅把登记改为按季，或者按月补一次申报",
                "have the tax hall change the record to quarterly, or file this month's return",
            ),
            Text(
                "改好后在上网机执行 retry 重发同一个文件，然后清卡",
                "then run retry on the Internet PC (the same file), and clear",
            ),
            Text(
                "申报按季的企业，抄税、报税、清卡仍然每月都要做",
                "also who declares quarterly copies, reports and clears every month",
            ),
        ),
        words=("季报", "月报", "按季", "按月", "申报周期", "小规模", "无法清卡", "quarterly", "monthly", "cycle"),
    ),
    Fault(
        key="zero-month",
        code="",
        title=Text("没有业务的月份也要抄报", "a month without business is reported too"),
        cause=Text(
            "上月没有开票、领票或退票，误以为不用抄税",
            "nothing was issued, bought or returned, and it was thought that nothing need be done",
        ),
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.NEVER,
        safe=_SAFE,
        where=Text("开票机", "the invoicing PC"),
        steps=(
            Text(
                "照常执行 copy 和 report：会生成零申报的报税文件",
                "run copy and report as ever: they make a zero report",
            ),
            Text("上传、取结果、清卡，与平时一样", "upload, fetch the result and clear as usual"),
        ),
        words=("零申报", "没有业务", "没有开票", "空月", "zero report"),
    ),
    Fault(
        key="monthly-duty",
        code="",
        title=Text("每月都必须抄报税并清卡", "copy, report and clear every month"),
        cause=Text(
            "不按时完成，过了锁死日期就不能开票；实时上传发票不能代替报税",
            "without it the device stops issuing at the lock date; uploading invoices one by one does not replace it",
        ),
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.NEVER,
        safe=_SAFE,
        where=Text("开票机", "the invoicing PC"),
        steps=(
            Text("用 status 看还剩几天", "see with status how many days are left"),
            Text(
                "先申报，后抄报；一般每月 15 日前（遇节假日顺延）完成",
                "declare first, then report; usually by the 15th, later after holidays",
            ),
        ),
        aliases=("JSK019", "JSK701", "JSK056", "JSK161"),
        words=("每月", "抄报税", "是否需要报税", "every month"),
    ),
    Fault(
        key="hall-copy",
        code="",
        title=Text("什么时候要到办税厅抄报", "when to copy and report at the tax hall"),
        cause=Text(
            "没有网络或长期不通，企业注销，税务机关要求，或已经锁死",
            "no network at all, deregistration, a demand of the bureau, or a locked device",
        ),
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.NEVER,
        safe=_SAFE,
        where=_HALL,
        steps=(
            Text(
                "在开票软件中执行办税厅抄税，把明细抄到报税盘或金税盘",
                "copy to the reporting disk or device with the invoicing software's function for the hall",
            ),
            Text("带盘到办税服务厅报送，由窗口清卡", "deliver it at the tax hall, which clears the card"),
            Text("回来后执行 status 核对锁死日期已到下月", "check with status that the lock date is next month's"),
        ),
        words=("办税厅", "大厅", "办税服务厅", "注销", "tax hall"),
    ),
    Fault(
        key="summary-upload-failed",
        code="",
        title=Text("上报汇总不成功", "the invoicing software's own summary upload fails"),
        cause=Text("网络不通，或还有发票不是“已报送”", "no network, or some invoices are not marked as sent"),
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.SAME_BYTES,
        safe=_SAFE,
        where=Text("开票软件", "the invoicing software"),
        steps=(
            Text("检查到税局的网络", "check the network to the bureau"),
            Text("把未报送的发票手工上传，确认全部为“已报送”", "upload what is unsent, until all are marked as sent"),
            Text(
                "重新登录开票软件触发上报汇总；仍不行改用报税文件或办税厅抄报",
                "log in again to trigger it; else use a report file or the tax hall",
            ),
        ),
        words=("上报汇总", "汇总上传", "summary upload"),
    ),
    Fault(
        key="device-and-disk-lost",
        code="",
        title=Text("税控设备与硬盘同时损坏", "the tax device and the PC's disk are both broken"),
        cause=Text("上月开过票，电子数据两处都没有了", "invoices were issued, and both electronic copies are gone"),
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.NEVER,
        safe=Text(
            "电子数据已不在本机；有备份先恢复备份", "the data is no longer here; restore a backup first if there is one"
        ),
        where=_HALL,
        steps=(
            Text(
                "先找税渡和开票软件的备份，能恢复就恢复",
                "look for backups of taxferry and of the invoicing software, and restore them",
            ),
            Text(
                "不能恢复时，带上月全部发票（存根联）到办税服务厅，按存根联补录报税",
                "otherwise take all invoices of the month to the tax hall: they are entered by hand from the counterfoils (补录)",
            ),
            Text(
                "同时办理税控设备的更换和发行；换卡当月可能出现 2715",
                "have the device replaced and issued; expect 2715 in that month",
            ),
        ),
        words=("损坏", "硬盘", "存根联", "补录", "金税盘坏", "broken"),
    ),
    Fault(
        key="re-issued-card",
        code="",
        title=Text("换发税控设备", "the tax device is re-issued"),
        cause=Text(
            "设备损坏、丢失、企业迁移或更名后重新发行",
            "it broke, was lost, or the enterprise moved or changed its name",
        ),
        actor=Actor.SERVICE,
        resend=Resend.NEVER,
        safe=Text(
            "旧卡的报税数据只在旧卡和备份里：换卡之前先报税、清卡",
            "the old card's figures are on it and in backups only: report and clear before the change",
        ),
        where=_HALL,
        steps=(
            Text(
                "换卡之前，先把旧卡的当期数据抄税、报税、清卡",
                "before the change, copy, report and clear with the old card",
            ),
            Text(
                "来不及时，换卡后由办税服务厅补录旧卡开出的发票（参见 2715）",
                "if it is too late, the tax hall enters the old card's invoices by hand (see 2715)",
            ),
            Text(
                "新卡到手后在新的文件夹执行 init，旧文件夹保留",
                "run init with the new card in a new home, and keep the old home",
            ),
        ),
        aliases=("B5004",),
        words=("换卡", "重新发行", "重发金税卡", "丢失", "re-issued"),
    ),
    Fault(
        key="half-copied-file",
        code="",
        title=Text("U盘上的文件不完整", "a file on the stick is incomplete"),
        cause=Text(
            "没有等拷贝完成就拔出，或U盘有坏块；文件变短或成了 0 字节",
            "the stick was pulled before the copy was done, or has bad blocks: the file is short or empty",
        ),
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.SAME_BYTES,
        safe=Text("原件仍在发送方的电脑上，没有丢失", "the sender still holds the original; nothing is lost"),
        where=Text("发送方的电脑", "the PC that sent it"),
        steps=(
            Text(
                "回到发送方的电脑执行 stick sync，等出现“现在可以拔出”再拔",
                "run stick sync on the sending PC again, and wait until it says that the stick may be removed",
            ),
            Text("同一个U盘再次出错就换一个", "if the same stick fails again, take another one"),
        ),
        aliases=("B1105", "B1202", "B3501", "B3503", "B3505"),
        words=("不完整", "0字节", "空文件", "拔出", "坏块", "U盘", "incomplete", "stick"),
    ),
)
