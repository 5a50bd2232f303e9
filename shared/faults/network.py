"""The way to the bureau: what broke, and where to look first."""

from __future__ import annotations

from typing import Final

from shared.faults.model import Actor, Fault, Resend
from shared.text import Text

_ONLINE: Final = Text("上网机", "the Internet PC")
_SAFE: Final = Text(
    "报税文件在两台电脑上都有；连接没有建立时，税局什么也没有收到",
    "both PCs hold the report; where no connection was made, the bureau has received nothing",
)

NETWORK_FAULTS: Final = (
    Fault(
        key="network-internet",
        code="",
        letter="L",
        title=Text("网络连接异常：本机不能上网", "no connection: this PC has no Internet"),
        cause=Text("因特网线路、拨号或路由器故障", "the line, the dial-up or the router is down"),
        actor=Actor.ONLINE_OPERATOR,
        resend=Resend.SAME_BYTES,
        safe=_SAFE,
        where=_ONLINE,
        steps=(
            Text("看其他网站能否打开", "see whether other sites open"),
            Text(
                "不能时检查网线和路由器，必要时重新拨号或重启路由器；仍不行则联系宽带运营商",
                "if not, check cable and router, dial again or restart the router; then call the provider",
            ),
            Text("恢复后程序会自动再试，也可执行 once", "the program tries again by itself; once tries now"),
        ),
        aliases=("B4001", "CA095"),
        words=("网络", "网络连接异常", "上网", "断网", "拨号", "internet", "network", "offline"),
    ),
    Fault(
        key="network-lan",
        code="",
        letter="L",
        title=Text("网络连接异常：局域网或防火墙阻挡", "no connection: the LAN or a firewall is in the way"),
        cause=Text(
            "局域网设置有误，或防火墙、杀毒软件、代理、HTTPS 检查挡住了到税局的连接",
            "LAN settings are wrong, or a firewall, antivirus, proxy or TLS inspection blocks the way to the bureau",
        ),
        actor=Actor.ONLINE_OPERATOR,
        resend=Resend.SAME_BYTES,
        safe=_SAFE,
        where=_ONLINE,
        steps=(
            Text(
                "执行 doctor，看它停在哪一步：域名、连接、加密还是应答",
                "run doctor and see which step fails: name, connection, TLS or answer",
            ),
            Text(
                "在防火墙和杀毒软件中放行本程序与税局地址；公司有代理时按管理员给的设置填写",
                "let the program and the bureau's address pass in firewall and antivirus; set the proxy as the administrator says",
            ),
            Text(
                "换一条网络（如手机热点）再试，可确认是否局域网的问题",
                "another network, a phone's say, tells whether the LAN is at fault",
            ),
        ),
        aliases=("B4001", "B4002", "CA-960011120"),
        words=("局域网", "防火墙", "代理", "杀毒", "firewall", "proxy", "lan"),
    ),
    Fault(
        key="network-bureau",
        code="",
        letter="L",
        title=Text("网络连接异常：税务网站不通", "no connection: the bureau's site is down"),
        cause=Text(
            "税局的网站或接收服务正在维护或发生故障", "the bureau's site or service is under maintenance or has failed"
        ),
        actor=Actor.NOBODY,
        resend=Resend.SAME_BYTES,
        safe=_SAFE,
        where=Text("税务机关", "the bureau"),
        steps=(
            Text(
                "其他网站正常而税局不通时，过一段时间再试；程序会自动再试",
                "if other sites work, wait; the program tries again by itself",
            ),
            Text("看税务机关有没有维护公告", "look for the bureau's announcements"),
            Text(
                "临近锁死日期仍不通时，带税控设备到办税服务厅抄报",
                "if the lock date comes near, report at the tax hall with the device",
            ),
        ),
        aliases=("B4001",),
        words=("税务网站", "维护", "网站打不开", "bureau down", "maintenance"),
    ),
    Fault(
        key="outcome-unknown",
        code="",
        title=Text("发送时中断，税局是否收到不明", "the connection broke while sending: the outcome is unknown"),
        cause=Text("报税文件已经发出，但没有等到回答", "the report went out and no answer came back"),
        actor=Actor.NOBODY,
        resend=Resend.WAIT,
        safe=Text(
            "文件没有丢失；同一个文件税局只会受理一次", "nothing is lost; the bureau takes the same file only once"
        ),
        where=_ONLINE,
        steps=(
            Text(
                "什么都不用做：程序先询问税局，没有收到才会重发同一个文件",
                "do nothing: the program asks first and sends the same file again only if it never arrived",
            ),
            Text("不要手工再传一遍", "do not upload it by hand"),
        ),
        aliases=("B4101",),
        words=("中断", "结果不明", "超时", "timeout", "unknown"),
    ),
    Fault(
        key="network-delay",
        code="",
        title=Text("申报数据还没有传到征管系统", "the declaration has not reached the bureau's main system yet"),
        cause=Text(
            "网络或系统有延迟：申报刚刚完成，税局的比对系统里还看不到",
            "systems lag behind: the return was filed a moment ago, and the comparison does not see it yet",
        ),
        actor=Actor.NOBODY,
        resend=Resend.SAME_BYTES,
        safe=Text("申报和报税文件都没有问题，没有丢失", "declaration and report are in order; nothing is lost"),
        where=_ONLINE,
        steps=(
            Text(
                "等几小时再执行 retry（同一个文件），可以多试几次",
                "wait some hours, then run retry (the same file); several times if need be",
            ),
            Text("尽量在业务不忙的时候（如晚上）再试", "try when there is little traffic, in the evening say"),
            Text(
                "第二天仍不行，向主管税务机关核对申报是否入库",
                "if it fails the next day too, ask the bureau whether the return was booked",
            ),
        ),
        words=("延迟", "排队清卡", "征管系统", "晚上", "delay"),
    ),
)
