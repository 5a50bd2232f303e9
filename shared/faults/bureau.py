"""What the bureau answers to a report: refusals, waiting, failures."""

from __future__ import annotations

from typing import Final

from shared.faults.model import Actor, Fault, Resend
from shared.text import Text

_ONLINE: Final = Text("上网机", "the Internet PC")
_OFFLINE: Final = Text("开票机", "the invoicing PC")
_KEPT: Final = Text(
    "报税文件在两台电脑上都有，卡没有改动，没有丢失任何数据",
    "both PCs still hold the report and the card is untouched: nothing is lost",
)

BUREAU_FAULTS: Final = (
    Fault(
        key="locked",
        code="",
        letter="A",
        title=Text("开票机已进入锁死期，不能远程报税", "the lock date has passed: remote reporting is closed"),
        cause=Text(
            "到锁死日期仍未完成抄税、报税和清卡", "copy, report and clear were not finished by the card's lock date"
        ),
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.NEVER,
        safe=Text(
            "开票数据都在卡和开票机里；已经取得的报税成功结果仍可用来清卡",
            "all figures are on the card and the invoicing PC; a success already received can still clear the card",
        ),
        where=Text("办税服务厅", "the tax hall"),
        steps=(
            Text(
                "先看手头有没有本次报税成功的结果文件；有就在开票机执行 clear，锁死即解除",
                "look first for a success result of this report; if there is one, run clear on the invoicing PC",
            ),
            Text(
                "没有结果时，带上税控设备（金税卡或金税盘）和证照到办税服务厅作大厅报税，由窗口解锁并清卡",
                "otherwise take the tax device and the licence to the tax hall, report there and have it unlocked and cleared",
            ),
            Text(
                "如有新购发票尚未读入，请窗口先把发票电子数据退回税务端，解锁后再重新领用",
                "if bought invoices were never read in, let the hall take their electronic data back first; draw them again after",
            ),
            Text(
                "下月起按 status 显示的剩余天数提前完成报税和清卡",
                "from next month on, finish before the days left that status shows run out",
            ),
        ),
        stage_to_offline=True,
        aliases=("B5301", "JSK021", "JSK702", "JSK781", "JSK246"),
        words=("锁死", "锁死期", "锁死日期", "锁卡", "不能使用远程抄报", "locked", "lock date"),
        hint_words=("锁死",),
    ),
    Fault(
        key="271D-undeclared",
        code="271D",
        letter="B",
        title=Text("未申报，一窗式比对失败", "not declared: there is nothing to compare the report with"),
        cause=Text(
            "征期报税先于网上申报：税局还没有收到本期申报表",
            "the period report was sent before the return of the period was filed",
        ),
        actor=Actor.ACCOUNTANT,
        resend=Resend.SAME_BYTES,
        safe=_KEPT,
        where=Text("申报系统，然后是上网机", "the declaration system, then the Internet PC"),
        steps=(
            Text("完成本期网上申报，取得申报成功回执", "file the return of the period and get its confirmation"),
            Text(
                "在上网机执行 retry，把同一个报税文件再发一次；不要回开票机重新抄税",
                "run retry on the Internet PC: it sends the same file again; do not copy again on the invoicing PC",
            ),
            Text("10–15 分钟后查询结果（高峰期更久）", "ask for the result after 10–15 minutes, longer in the peak"),
            Text(
                "确实已经申报的：可能是数据还没有传到（explain 延迟），或申报周期登记有误（explain 申报周期）",
                "if it was filed: the declaration may not have arrived yet (explain delay), or the cycle on record is wrong "
                "(explain cycle)",
            ),
        ),
        words=("未申报", "没有申报", "先申报后抄报", "not declared", "undeclared"),
        hint_words=("未申报", "尚未申报", "没有申报"),
    ),
    Fault(
        key="271D-mismatch",
        code="271D",
        letter="C",
        title=Text("一窗式比对数据不符", "declaration and report differ"),
        cause=Text(
            "申报表的份数、金额或税额与报税数据不一致，例如多填或漏填了一份发票",
            "counts, amounts or tax of the return are not those of the report: an invoice too many or forgotten, say",
        ),
        actor=Actor.ACCOUNTANT,
        resend=Resend.SAME_BYTES,
        safe=_KEPT,
        where=Text(
            "申报系统，然后是上网机；不行则办税服务厅",
            "the declaration system, then the Internet PC; else the tax hall",
        ),
        steps=(
            Text(
                "逐项核对申报表与开票机的汇总（按票种和税率）",
                "compare the return with the invoicing PC's summary, per kind and rate",
            ),
            Text(
                "更正申报，或请税务机关对申报数据作特殊处理；不允许更正时按当地税务机关的要求办理",
                "correct the return or ask the bureau for special handling; where it may not be corrected, do as the bureau says",
            ),
            Text(
                "在上网机执行 retry 重发同一个文件，10–15 分钟后查询",
                "run retry on the Internet PC (the same file), and ask for the result after 10–15 minutes",
            ),
            Text(
                "仍不能一致时，请服务商开具证明，带税控设备到办税服务厅报税",
                "if they cannot be brought to agree, get the service provider's statement and report at the tax hall with the device",
            ),
        ),
        words=("比对不符", "一窗式比对", "比对失败", "cross-check", "mismatch"),
        hint_words=("不符", "不一致", "≠", "不等于"),
    ),
    Fault(
        key="2715-wrong-files",
        code="2715",
        letter="D",
        title=Text("发票明细与汇总比对不符（明细数据有误）", "detail and summary differ (the detail is wrong)"),
        cause=Text(
            "升级或维护时把旧的程序或数据文件拷进了新系统，明细缺少、多出或改变了发票",
            "an upgrade or repair put old program or data files into the new system, so that the detail lacks, repeats or changes invoices",
        ),
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.NEW_REPORT,
        safe=Text(
            "发票和卡都没有改动；同样的文件再发也会得到同样的结果",
            "invoices and card are untouched; the same file would get the same answer again",
        ),
        where=_OFFLINE,
        steps=(
            Text(
                "请服务商放回正确的文件，或从开票软件重新导出发票清单并导入，补齐明细",
                "let the service provider put the right files back, or export the list from the invoicing software again and import it",
            ),
            Text(
                "在开票机执行 copy --again 和 report：重新抄税并生成新的报税文件（旧文件从此不能清卡）",
                "run copy --again and report on the invoicing PC: a new copy and a new file; the old one can no longer clear",
            ),
            Text("把新的 .dat 带到上网机上传", "carry the new .dat to the Internet PC"),
            Text(
                "仍不符时，请服务商开具证明，到办税服务厅补录报税",
                "if they still differ, get the service provider's statement and have the hall enter the invoices by hand (补录)",
            ),
        ),
        stage_to_offline=True,
        aliases=("B5202", "INP-251209"),
        words=("明细与汇总", "数据文件", "升级", "补录", "detail", "summary"),
    ),
    Fault(
        key="2715-reissued-card",
        code="2715",
        letter="D",
        title=Text("发票明细与汇总比对不符（重发过卡）", "detail and summary differ (the card was re-issued)"),
        cause=Text(
            "所属期内更换或重新发行过税控设备，旧卡开出的发票不在新卡的汇总里",
            "the tax device was replaced or re-issued within the period: invoices of the old card are missing from the new one's summary",
        ),
        actor=Actor.SERVICE,
        resend=Resend.NEVER,
        safe=Text(
            "发票和卡都没有改动；同样的文件再发也会得到同样的结果",
            "invoices and card are untouched; the same file would get the same answer again",
        ),
        where=Text("办税服务厅", "the tax hall"),
        steps=(
            Text("联系服务商核实并开具证明", "have the service provider look at it and issue a statement"),
            Text(
                "带证明、税控设备和该月全部发票（或存根联）到办税服务厅作补录报税：窗口把旧卡的发票补录进系统",
                "take it, the device and all invoices of the month to the tax hall for entry by hand (补录): "
                "the old card's invoices are entered there",
            ),
            Text("补录报税完成后由窗口清卡", "the hall clears the card when that is done"),
        ),
        stage_to_offline=True,
        aliases=("B5202", "INP-251209"),
        words=("明细与汇总", "补录", "换卡", "重发金税卡", "重新发行", "re-issued card"),
        hint_words=("重发", "换卡"),
    ),
    Fault(
        key="272C",
        code="272C",
        letter="E",
        title=Text("该企业有其他开票机未报税", "other machines of this taxpayer have not reported yet"),
        cause=Text(
            "征期报税要等全部开票机（主机和分机）都报上来，才与申报数据比对",
            "a period is compared only when the main machine and all sub machines have reported",
        ),
        actor=Actor.OTHER_MACHINE,
        resend=Resend.WAIT,
        safe=Text(
            "本机的报税文件已被税局收下，没有错误，不用重发",
            "the bureau has this machine's report and it is in order; it need not be sent again",
        ),
        where=Text("其他开票机", "the other invoicing PCs"),
        steps=(
            Text("在上网机看清单，找出还没有报税的开票机", "see on the Internet PC which machines have not reported"),
            Text("让这些开票机抄税、报税，并上传", "copy, report and upload on those"),
            Text(
                "最后一台报上后，先报的各机再查询一次结果（上网机会自动查询），然后分别清卡",
                "after the last one, ask for the results of the others again (the Internet PC does it by itself), then clear each card",
            ),
            Text(
                "某台开票机当月没有业务也要抄税、报税（零申报）",
                "a machine without business in the month must copy and report too (a zero report)",
            ),
        ),
        words=("其他开票机", "分机", "主机", "主分机", "other machine", "sub machine"),
    ),
    Fault(
        key="2734-signature",
        code="2734",
        letter="F",
        title=Text("验证签名失败（0x8204000D）", "the signature does not verify (0x8204000D)"),
        cause=Text(
            "开户时登记的公钥与实际使用的证书不同：有多个U棒、换过U棒或轮换使用",
            "the enrolled public key is not the one in use: several keys, a replaced key, or keys used in turn",
        ),
        actor=Actor.SERVICE,
        resend=Resend.SAME_BYTES,
        safe=_KEPT,
        where=Text("上网机和税务机关的开户登记", "the Internet PC and the bureau's enrolment"),
        steps=(
            Text(
                "执行 doctor，比较本机证书指纹与税局登记的指纹；插错了U棒就换回登记的那一个",
                "run doctor: it compares this key's fingerprint with the enrolled ones; if the wrong key is plugged in, take the enrolled one",
            ),
            Text(
                "确实换过U棒时，导出现用证书（公钥），交服务商或税务机关重新开户登记",
                "if the key was replaced, export the certificate in use and have it enrolled again by the service provider or the bureau",
            ),
            Text(
                "登记更正后，在上网机执行 retry 重发同一个文件",
                "then run retry on the Internet PC: the same file again",
            ),
            Text(
                "如果上网机自己就验不过签名（B2001），说明文件被改动，请回开票机重新拷贝",
                "if this PC itself cannot verify the file (B2001), it was altered: copy it again from the invoicing PC",
            ),
        ),
        aliases=("0x8204000D", "B2001", "CA039", "JSK249"),
        words=("验证签名", "签名失败", "公钥", "多个U棒", "更换U棒", "signature", "public key"),
        hint_words=("签名", "8204000D"),
    ),
    Fault(
        key="2734-envelope",
        code="2734",
        letter="G",
        title=Text("拆解数字信封失败（0x82040010）", "the digital envelope does not open (0x82040010)"),
        cause=Text(
            "报税文件不是用税局当前的公钥加密的（税局公钥文件没有正确导入或已过期），或者文件不完整",
            "the report was not sealed to the bureau's current key (a wrong or stale key file), or the file is incomplete",
        ),
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.NEW_REPORT,
        safe=_KEPT,
        where=_OFFLINE,
        steps=(
            Text(
                "先在上网机对 .dat 执行 verify：若文件不完整，回开票机重新拷贝原件再上传",
                "first run verify on the .dat on the Internet PC: if it is incomplete, copy the original again",
            ),
            Text(
                "文件完整时，把上网机取得的最新 trust.txt（含税局公钥）用U盘带到开票机并执行 stick sync",
                "if it is whole, carry the newest trust.txt (with the bureau's keys) to the invoicing PC and run stick sync there",
            ),
            Text(
                "在开票机执行 report --reseal：同一次抄税，用新公钥重新加密，得到新的报税文件",
                "run report --reseal on the invoicing PC: the same copy, sealed to the new key, as a new file",
            ),
            Text(
                "把新文件带到上网机上传，10–15 分钟后查询结果",
                "carry and upload the new file, and ask for the result after 10–15 minutes",
            ),
        ),
        stage_to_offline=True,
        aliases=("0x82040010", "B1102", "B1104", "CA-960001087"),
        words=("数字信封", "税局公钥", "拆解", "envelope", "bureau key"),
        hint_words=("信封", "82040010"),
    ),
    Fault(
        key="2735",
        code="2735",
        letter="H",
        title=Text("企业未开户或开户不成功", "the taxpayer is not enrolled for remote reporting"),
        cause=Text(
            "上传时税局还没有为该税号开通远程报税", "the bureau had not enrolled this taxpayer when the report arrived"
        ),
        actor=Actor.SERVICE,
        resend=Resend.SAME_BYTES,
        safe=_KEPT,
        where=Text("税务机关的开户登记", "the bureau's enrolment"),
        steps=(
            Text(
                "带上营业执照信息和上网机使用的证书（公钥），请服务商或主管税务机关办理开户",
                "have the service provider or the bureau enrol the taxpayer, with the certificate in use on the Internet PC",
            ),
            Text("用 doctor 确认已开户", "check with doctor that the enrolment is there"),
            Text("在上网机执行 retry 重发同一个文件", "run retry on the Internet PC: the same file again"),
        ),
        words=("未开户", "开户", "enrolment", "not enrolled"),
    ),
    Fault(
        key="processing",
        code="Y",
        letter="N",
        title=Text("税局正在处理中（结果内容为 Y）", "the bureau is still processing the report (the result is a Y)"),
        cause=Text(
            "查询早了：税局还没有处理完，此时的结果文件只有一个 Y，不能清卡",
            "the result was asked for too early: all there is yet is a Y, which clears nothing",
        ),
        actor=Actor.NOBODY,
        resend=Resend.WAIT,
        safe=Text("税局已收到报税文件，没有丢失", "the bureau has the report; nothing is lost"),
        where=_ONLINE,
        steps=(
            Text(
                "等 10–15 分钟再查询；上网机会按时自动查询，Y 不会写到U盘上",
                "ask again in 10–15 minutes; the Internet PC does it in time by itself and never puts a Y on a stick",
            ),
            Text("不要重复上传，也不要把 Y 文件带回开票机", "do not upload again, and carry no Y to the invoicing PC"),
        ),
        aliases=("B4301",),
        words=("正在处理", "处理中", "无法清卡", "processing"),
    ),
    Fault(
        key="long-processing",
        code="Y",
        letter="I",
        title=Text("长时间显示“税局正在处理中”", "the report stays 'in process' for a long time"),
        cause=Text(
            "税局端的接收或处理程序发生故障或正在重启，部分报税文件被积压",
            "a part of the bureau's own systems failed or was restarted, and some reports wait there",
        ),
        actor=Actor.NOBODY,
        resend=Resend.WAIT,
        safe=Text(
            "税局已收到报税文件；恢复后会自动处理积压的文件",
            "the bureau has the report and works through what has piled up as soon as it is back",
        ),
        where=Text("税务机关", "the bureau"),
        steps=(
            Text(
                "耐心等待；上网机会自动放慢并继续查询，也可隔一段时间执行 results",
                "wait; the Internet PC goes on asking, ever more slowly; results asks at once",
            ),
            Text("不要反复上传：同一个文件已有受理回执", "do not upload again and again: the receipt is there"),
            Text(
                "临近锁死日期仍无结果时，带受理回执号联系主管税务机关，必要时改到办税服务厅报税",
                "if the lock date comes near, go to the bureau with the receipt number, or report at the tax hall",
            ),
        ),
        words=("长时间", "一直处理中", "积压", "long processing", "stuck"),
    ),
    Fault(
        key="peak-load",
        code="",
        letter="N",
        title=Text("征期高峰，处理缓慢", "the peak of the filing period: everything is slow"),
        cause=Text(
            "征期服务器压力大，报税文件排队；平时 3–5 分钟，高峰要 30–40 分钟甚至更久",
            "reports queue up at the bureau: some minutes on a quiet day, 30–40 minutes and more in the peak",
        ),
        actor=Actor.NOBODY,
        resend=Resend.WAIT,
        safe=Text(
            "报税文件已在上网机登记，会按次序发送或等待结果", "the report is on record here and goes on in its turn"
        ),
        where=_ONLINE,
        steps=(
            Text(
                "让上网机继续运行；它按税局给出的时间再试，不会挤占别人的次序",
                "leave the Internet PC running: it tries at the time the bureau gives",
            ),
            Text("尽量避开征期最后两天和白天高峰", "avoid the last two days of the period, and midday"),
        ),
        aliases=("B4401",),
        words=("高峰", "繁忙", "拥堵", "排队", "服务器压力", "busy", "peak"),
    ),
    Fault(
        key="superseded",
        code="SUPERSEDED",
        title=Text("该报告已被同一张卡的新抄税取代", "a newer copy of the same card took this report's place"),
        cause=Text(
            "开票机重新抄税（copy --again）后，卡只等待新的报告；旧报告即使成功也不能清卡",
            "after copy --again the card waits for the new report only; the old one can no longer clear it",
        ),
        actor=Actor.INVOICING_OPERATOR,
        resend=Resend.NEVER,
        safe=_KEPT,
        where=_ONLINE,
        steps=(
            Text(
                "用开票机最近一次抄税生成的 .dat 上传；在开票机执行 history 可看到是哪一个",
                "upload the .dat of the card's newest copy; history on the invoicing PC names it",
            ),
            Text(
                "旧报告不用处理，在上网机执行 cancel（加 --reason 写明原因）可从待办中去掉",
                "the old report needs nothing; cancel, with a --reason, takes it off the list",
            ),
        ),
        stage_to_offline=False,
        words=("重新抄税", "作废", "取代", "superseded"),
    ),
    Fault(
        key="report-failed",
        code="",
        letter="M",
        title=Text("报税失败，原因见结果中的说明", "the report failed for the reason that its result gives"),
        cause=Text(
            "税局给出的错误号不在本目录中，或只有文字说明",
            "the bureau gave a code that is not in this catalogue, or only words",
        ),
        actor=Actor.BUREAU,
        resend=Resend.NEVER,
        safe=_KEPT,
        where=Text("先看结果中的错误号与说明", "begin with the code and the words in the result"),
        steps=(
            Text(
                "在上网机执行 show，或在开票机执行 result，查看税局的原文",
                "read the bureau's own words: show on the Internet PC, result on the invoicing PC",
            ),
            Text(
                "把错误号和说明原文告诉服务商或主管税务机关",
                "give the code and those words to the service provider or the bureau",
            ),
            Text("按他们的答复处理；在此之前不要反复上传", "do as they say; until then, do not upload again and again"),
        ),
        aliases=("B4201",),
        words=("报税失败", "失败原因", "failed"),
    ),
)
