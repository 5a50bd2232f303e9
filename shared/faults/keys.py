"""The enterprise key and certificates: on a token (U棒), in a file, enrolled at the bureau."""

from __future__ import annotations

from typing import Final

from shared.faults.model import Actor, Fault, Resend
from shared.text import Text

_ONLINE: Final = Text("上网机", "the Internet PC")
_SAFE: Final = Text("什么都没有发出；报税文件和卡没有改动", "nothing was sent; the report and the card are untouched")

KEY_FAULTS: Final = (
    Fault(
        key="key-cannot-be-loaded",
        code="",
        letter="J",
        title=Text("初始化，载入企业的私钥出错", "the enterprise's private key cannot be loaded"),
        cause=Text(
            "U棒没有插好，或它的驱动、证书管理器、加密组件版本太旧，或密钥文件路径不对",
            "the key is not plugged in; its driver, manager or cryptographic library is too old; or the key file is not there",
        ),
        actor=Actor.ONLINE_OPERATOR,
        resend=Resend.SAME_BYTES,
        safe=_SAFE,
        where=_ONLINE,
        steps=(
            Text(
                "确认U棒插在上网机上，拔下重插，换一个USB口",
                "see that the key is in the Internet PC; plug it in again, in another port",
            ),
            Text(
                "仍出错时，从发证机构安装该型号U棒的最新驱动和证书管理器",
                "if it still fails, install the newest driver and manager for this type of key from its issuer",
            ),
            Text(
                "旧开票软件自带的加密组件版本过低时，请服务商升级",
                "where an old invoicing software brings an outdated cryptographic library, let the service provider update it",
            ),
            Text(
                "使用密钥文件时，用 doctor 检查文件和口令文件是否存在、能读",
                "with a key file, let doctor check that it and the PIN file are there and readable",
            ),
            Text("恢复后执行 once：同一个文件继续发送", "then run once: the same file goes on"),
        ),
        aliases=(
            "B5002",
            "0x82040000",
            "0x82040002",
            "0x82040004",
            "0x82040006",
            "0x82040008",
            "0x82040036",
            "0x82040050",
            "0x82040051",
            "0x82040052",
            "0x82040053",
            "0x80220003",
            "CA163",
            "CA167",
            "CA187",
            "CA-960011100",
        ),
        words=("私钥", "载入企业的私钥出错", "U棒", "驱动", "初始化", "private key", "token", "driver"),
    ),
    Fault(
        key="key-pin-wrong",
        code="",
        title=Text("密钥口令错误", "the key's PIN is wrong"),
        cause=Text("输入或口令文件里的口令与U棒（密钥文件）不符", "the PIN typed or stored is not this key's"),
        actor=Actor.ONLINE_OPERATOR,
        resend=Resend.SAME_BYTES,
        safe=_SAFE,
        where=_ONLINE,
        steps=(
            Text("不要连续试：多次输错会锁住U棒", "do not go on guessing: some wrong tries lock the key"),
            Text(
                "核对口令文件（首尾不要有空格），确认插的是本企业的U棒",
                "check the PIN file (no blanks at its ends) and that it is this enterprise's key",
            ),
            Text("忘记口令时，到发证机构重置", "if the PIN is lost, have the issuer reset it"),
        ),
        aliases=("B5002", "0x82040003", "0x82040005", "0x82040007", "0x82040037", "CA168", "CA-960032031"),
        words=("口令", "密码错误", "PIN", "password"),
    ),
    Fault(
        key="key-locked",
        code="",
        title=Text("U棒已锁住", "the key is locked"),
        cause=Text("口令连续输错，U棒自我保护", "too many wrong PINs"),
        actor=Actor.SERVICE,
        resend=Resend.SAME_BYTES,
        safe=_SAFE,
        where=Text("发证机构", "the key's issuer"),
        steps=(
            Text(
                "带U棒和证照到发证机构解锁或重新签发",
                "take the key and the licence to its issuer to have it unlocked or re-issued",
            ),
            Text(
                "如重新签发，公钥会改变：必须重新开户登记（参见 2734）",
                "a re-issued key has another public key: it must be enrolled again (see 2734)",
            ),
        ),
        aliases=("B5002", "0x82040054", "0x80220007", "CA166", "CA-960032032"),
        words=("U棒锁", "卡锁死", "解锁", "key locked"),
    ),
    Fault(
        key="several-keys",
        code="",
        title=Text("同时插了多个U棒，或不是登记的那一个", "several keys are plugged in, or another one than before"),
        cause=Text("程序不能替人选择用哪一个签名", "no program may choose which one signs"),
        actor=Actor.ONLINE_OPERATOR,
        resend=Resend.SAME_BYTES,
        safe=_SAFE,
        where=_ONLINE,
        steps=(
            Text("只留下开户登记的那一个，其余拔下", "leave only the enrolled one plugged in"),
            Text("用 doctor 核对指纹后再执行 once", "compare fingerprints with doctor, then run once"),
        ),
        aliases=("B5002", "0x82040057", "CA-960032033"),
        words=("多个U棒", "插错", "several keys", "wrong key"),
    ),
    Fault(
        key="certificate-expired",
        code="",
        title=Text("证书已过期或尚未生效", "the certificate has expired or is not valid yet"),
        cause=Text("证书有效期已过，或本机时钟不对", "its time is over, or this PC's clock is wrong"),
        actor=Actor.ONLINE_OPERATOR,
        resend=Resend.SAME_BYTES,
        safe=_SAFE,
        where=Text("出现该提示的电脑，然后是发证机构", "the PC that says so, then the issuer"),
        steps=(
            Text("先校对本机日期和时间", "check this PC's date and time first"),
            Text(
                "确实过期时，到发证机构续期；续期后公钥改变的，重新开户登记",
                "if it has expired, have it renewed; if the public key changed, enrol it again",
            ),
            Text(
                "卡的证书过期时，到办税服务厅换发税控设备",
                "if it is the card's, have the tax device re-issued at the tax hall",
            ),
        ),
        aliases=("0x82040012", "CA100", "CA101", "B2101"),
        words=("证书过期", "有效期", "未生效", "expired"),
    ),
    Fault(
        key="certificate-invalid",
        code="",
        title=Text("证书无效或来源不受信任", "the certificate is invalid or of an unknown root"),
        cause=Text(
            "证书不完整、用途不对，或本机没有签发它的根证书和中间证书",
            "the certificate is damaged or made for another use, or this PC does not have its root and intermediates",
        ),
        actor=Actor.ONLINE_OPERATOR,
        resend=Resend.SAME_BYTES,
        safe=_SAFE,
        where=Text("出现该提示的电脑", "the PC that says so"),
        steps=(
            Text(
                "在上网机取得最新的信任文件（trust.txt），用U盘带到开票机",
                "fetch the newest trust file on the Internet PC and carry it to the invoicing PC",
            ),
            Text("用 verify 加 --trust 单独验证该文件", "prove the file alone with verify and --trust"),
            Text(
                "仍无效时，把指纹报给税务机关或发证机构核对",
                "if it stays invalid, give the fingerprint to the bureau or the issuer",
            ),
        ),
        aliases=(
            "0x8204000F",
            "0x82040011",
            "0x82040013",
            "0x82040014",
            "0x82040015",
            "0x8204005C",
            "CA062",
            "CA063",
            "CA096",
            "CA114",
            "B2101",
            "B2401",
        ),
        words=("证书无效", "不受信任", "根证书", "证书链", "invalid certificate", "chain", "root"),
    ),
    Fault(
        key="certificate-revoked",
        code="",
        title=Text(
            "证书已吊销、挂失、停用或注销", "the certificate was revoked, reported lost, suspended or cancelled"
        ),
        cause=Text("发证机构已经宣布该证书不再有效", "its issuer has declared it void"),
        actor=Actor.SERVICE,
        resend=Resend.NEVER,
        safe=_SAFE,
        where=Text("发证机构和税务机关", "the issuer and the bureau"),
        steps=(
            Text("查明是谁、为什么办理的吊销或挂失", "find out who had it revoked, and why"),
            Text(
                "到发证机构换发新证书，再到税务机关重新开户登记", "have a new one issued, then enrol it at the bureau"
            ),
            Text(
                "如果是卡的证书，带设备到办税服务厅；换卡当月的发票要补录报税（参见 2715）",
                "if it is the card's, go to the tax hall with the device; invoices of that month are entered by hand (see 2715)",
            ),
        ),
        stage_to_offline=True,
        aliases=("0x82040016", "CA097", "CA098", "CA099", "CA102", "B2101"),
        words=("吊销", "挂失", "注销", "停用", "revoked"),
    ),
    Fault(
        key="certificate-status-unknown",
        code="",
        title=Text("查不到证书是否被吊销", "whether the certificate is revoked cannot be found out"),
        cause=Text("吊销列表过期或下载不到", "the revocation list is stale or cannot be fetched"),
        actor=Actor.NOBODY,
        resend=Resend.SAME_BYTES,
        safe=_SAFE,
        where=_ONLINE,
        steps=(
            Text(
                "在上网机执行 once，取得带有新吊销列表的信任文件，再带到开票机",
                "run once on the Internet PC: it fetches a trust file with new lists; carry it over",
            ),
            Text(
                "开票机上这只是提醒：是否接受由税局决定",
                "on the invoicing PC this is only a warning: the bureau decides",
            ),
        ),
        aliases=("0x82040017", "0x82040018", "0x8204001B", "0x8204001C", "0x8204001D", "0x8204001E", "CA103"),
        words=("吊销列表", "CRL", "OCSP", "状态未知"),
    ),
    Fault(
        key="clock-wrong",
        code="",
        title=Text("时钟不准", "a clock is wrong"),
        cause=Text(
            "电脑或税控设备的时钟与税局相差太多，或停止、倒退",
            "the PC's or the device's clock is far from the bureau's, has stopped or was set back",
        ),
        actor=Actor.ONLINE_OPERATOR,
        resend=Resend.SAME_BYTES,
        safe=Text("没有数据改动；时间对准后可继续", "no data was changed; go on when the time is right"),
        where=Text("出现该提示的电脑", "the PC that says so"),
        steps=(
            Text(
                "上网机：打开自动对时，校对日期、时间和时区",
                "Internet PC: switch on automatic time, check date, time and zone",
            ),
            Text(
                "开票机：按上网机的时间校对；不要往回调到已开票日期之前",
                "invoicing PC: set it by the Internet PC; never back before an issued invoice",
            ),
            Text(
                "税控设备自己的时钟有误时，联网的由税局校准，不联网的带设备到办税服务厅",
                "the device's own clock is set by the bureau: online, or at the tax hall",
            ),
        ),
        aliases=("B4202", "JSK002", "JSK003", "JSK100", "JSK506", "99800011", "096a80", "09e105"),
        words=("时钟", "时间不对", "日期错误", "clock", "time"),
    ),
)
