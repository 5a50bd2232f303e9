"""Every error this project raises on purpose, and what the user is told.

The first two digits of a code are the exit code, so the tree below is also the table of exit statuses. Codes are
permanent: a retired one is never given to something else. This module imports nothing but the pair of languages, so
that everything may import it.

    TaxferryError
      FormatError                 the bytes are not what the specification says
        NameInvalid               B10xx  exit 10   a file's name
        ReportInvalid             B11xx  exit 11   a .dat
        ResultInvalid             B12xx  exit 12   a .txt
        ImportInvalid             B13xx  exit 13   an invoice list
        AckInvalid                B14xx  exit 14   an .ack
        TrustFileInvalid          B15xx  exit 15   a trust file
      TrustError                  well formed, and not acceptable
        SignatureRefused          B20xx  exit 20
        CertificateRefused        B21xx  exit 21
        OtherReport               B22xx  exit 22   a result of another report
        Outdated                  B23xx  exit 23   older than what was applied
        TrustRefused              B24xx  exit 24
      MediumError
        MediumAbsent B30xx · MediumAmbiguous B31xx · MediumUnprepared B32xx · MediumFull B33xx
        MediumReadOnly B34xx · MediumDamaged B35xx
      BureauError
        BureauUnreachable B40xx · OutcomeUnknown B41xx · BureauRefused B42xx · StillProcessing B43xx · BureauBusy B44xx
      StationError
        ConfigurationError B50xx · NotAllowed B51xx · WrongState B52xx · Locked B53xx

A defect of the program itself (an illegal transition, a broken invariant) is not in this tree.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import ClassVar

from shared.text import Text


class ExitCode(IntEnum):
    """Exit statuses of all three programs: an interface, never reused."""

    OK = 0
    WARNINGS = 1
    USAGE = 2
    NAME = 10
    REPORT = 11
    RESULT = 12
    IMPORT = 13
    ACK = 14
    TRUST_FILE = 15
    SIGNATURE = 20
    CERTIFICATE = 21
    OTHER_REPORT = 22
    OUTDATED = 23
    TRUST = 24
    MEDIUM_ABSENT = 30
    MEDIUM_AMBIGUOUS = 31
    MEDIUM_UNPREPARED = 32
    MEDIUM_FULL = 33
    MEDIUM_READ_ONLY = 34
    MEDIUM_DAMAGED = 35
    BUREAU_UNREACHABLE = 40
    OUTCOME_UNKNOWN = 41
    BUREAU_REFUSED = 42
    STILL_PROCESSING = 43
    BUREAU_BUSY = 44
    CONFIGURATION = 50
    NOT_ALLOWED = 51
    WRONG_STATE = 52
    LOCKED = 53
    INTERRUPTED = 130


class TaxferryError(Exception):
    """Base of all errors raised on purpose.

    Attributes:
        code: Permanent identifier, `B` and four digits; the first two are the exit code.
        message: What happened, with placeholders for `context`.
        safe: What became of the user's data. Always answered.
        hint: What to do next, and on which PC where that matters.
        field_code: The bureau's or device's own number for this fault (`2734`, `0x8204000D`), if it has one.
        context: The facts of this occurrence (names, sizes, positions). Never contents, keys or PINs.
    """

    code: ClassVar[str] = "B0000"
    message: ClassVar[Text]
    safe: ClassVar[Text] = Text("数据没有改动", "no data was changed")
    hint: ClassVar[Text]
    field_code: ClassVar[str] = ""

    def __init__(self, **context: object) -> None:
        """Fill the message and the hint with the facts of this occurrence."""
        self.context = context
        self.text = self.message.fill(**context)
        self.advice = self.hint.fill(**context)
        super().__init__(self.text.en)

    @property
    def exit_code(self) -> ExitCode:
        """The process's exit status when this error ends a command."""
        return ExitCode(int(self.code[1:3]))

    def __str__(self) -> str:
        """Render the message in the current language."""
        return str(self.text)

    def as_json(self) -> dict[str, object]:
        """Return the error as the `errors` items of `--json` show it."""
        found: dict[str, object] = {
            "code": self.code,
            "exit_code": int(self.exit_code),
            "message": str(self.text),
            "safe": str(self.safe),
            "hint": str(self.advice),
            "context": {k: str(v) if not isinstance(v, int) else v for k, v in self.context.items()},
        }
        if self.field_code:
            found["field_code"] = self.field_code
        return found


class UsageError(TaxferryError):
    """The command line itself is wrong."""

    code = "B0201"
    message = Text("{reason}", "{reason}")
    hint = Text("执行 {command} --help 查看用法", "see {command} --help")


class Interrupted(TaxferryError):
    """A person stopped the command. Its exit status has three digits, so its code cannot begin with it."""

    code = "B9901"
    message = Text("操作已中断", "interrupted")
    safe = Text("已完成的部分保持有效，没有写到一半的文件", "what was done stays done; no file is half written")
    hint = Text("再执行一次即可继续", "run the command again to go on")

    @property
    def exit_code(self) -> ExitCode:
        """The process's exit status when this error ends a command."""
        return ExitCode.INTERRUPTED


class FormatError(TaxferryError):
    """The bytes are not what the specification says."""


class NameInvalid(FormatError):
    """A name, number or date that crosses the gap is not of its grammar."""

    code = "B1001"
    message = Text("“{name}”不是有效的{what}：{reason}", "'{name}' is not a valid {what}: {reason}")
    hint = Text(
        "文件名应为 税号_分机号_抄税日期时间.dat（或 .txt、.ack），例如 310100000000000_0_200807180808.dat",
        "names look like TAXID_MACHINE_YYYYMMDDHHMM.dat (or .txt, .ack), for example 310100000000000_0_200807180808.dat",
    )


class NotCanonical(FormatError):
    """Signed text or JSON in another spelling than the one permitted."""

    code = "B1101"
    message = Text("内容不是规定的唯一写法：{reason}", "the content is not in the one permitted form: {reason}")
    hint = Text(
        "请从原来的电脑重新拷贝该文件，不要用编辑器打开保存",
        "copy the file again from the PC that made it; do not save it in an editor",
    )


class ReportInvalid(FormatError):
    """A `.dat` that does not parse as one. The field calls the outer damage an incomplete digital envelope."""

    code = "B1102"
    message = Text("报税数据文件不完整或已损坏：{reason}", "the report file is incomplete or damaged: {reason}")
    hint = Text(
        "请回到开票机重新拷贝该 .dat 文件；开票机上的原件仍在",
        "copy the .dat again from the invoicing PC; the original is still there",
    )
    field_code = "0x82040010"


class ReportContentInvalid(ReportInvalid):
    """Signed and opened, but the content breaks the specification: the sender's program is at fault."""

    code = "B1103"
    message = Text(
        "报税数据内容不符合规定（第 {line} 行）：{reason}",
        "the report's content breaks the specification (line {line}): {reason}",
    )
    hint = Text(
        "在开票机上升级软件后执行 copy --again 与 report，重新生成报税文件",
        "update the software on the invoicing PC, then run copy --again and report",
    )
    field_code = ""


class ReportNotForUs(ReportInvalid):
    """No recipient of the envelope is ours, or its key does not open it."""

    code = "B1104"
    message = Text(
        "拆解数字信封失败：该报税文件不是用本税局当前公钥加密的",
        "the digital envelope was not sealed to this bureau's current key",
    )
    hint = Text(
        "在开票机更新信任文件后执行 report --reseal，再重新拷贝上传",
        "update the trust file on the invoicing PC, run report --reseal, carry and upload again",
    )


class ReportEmpty(ReportInvalid):
    """A zero-byte report: a copy that never finished."""

    code = "B1105"
    message = Text("报税数据文件“{name}”是空的（0 字节）", "the report file '{name}' is empty (0 bytes)")


class ReportTooLarge(ReportInvalid):
    """More than a report may hold: found while it was made, so that no reader has to refuse it later."""

    code = "B1106"
    message = Text("报税数据超过一个报税文件的上限：{reason}", "this is more than one report may hold: {reason}")
    safe = Text("没有生成报税文件；卡和发票没有改动", "no report was made; the card and the invoices are untouched")
    hint = Text(
        "本期请携带金税卡到办税服务厅报税；以后每期之内多做几次非征期抄税报税（copy --adhoc）",
        "take the card to the tax hall this time; from now on copy and report within the period too (copy --adhoc)",
    )
    field_code = ""


class ResultInvalid(FormatError):
    """A `.txt` that is not a result."""

    code = "B1201"
    message = Text("报税结果文件不完整或被改动：{reason}", "the result file is incomplete or was altered: {reason}")
    hint = Text(
        "请从上网机重新拷贝该 .txt 文件；卡没有改动", "copy the .txt again from the Internet PC; the card is untouched"
    )


class ResultEmpty(ResultInvalid):
    """A zero-byte result: a copy that never finished."""

    code = "B1202"
    message = Text("报税结果文件“{name}”是空的（0 字节）", "the result file '{name}' is empty (0 bytes)")


class MisplacedResult(ResultInvalid):
    """A result in the folder for reports: it travels the other way."""

    code = "B1203"
    message = Text("“{name}”是报税结果文件，不能上传", "'{name}' is a result; results are not uploaded")
    hint = Text(
        "报税结果应带回开票机清卡；收件文件夹只放 .dat 和 .ack 文件",
        "results go to the invoicing PC; only .dat and .ack files belong in this inbox",
    )


class QrIncomplete(ResultInvalid):
    """A result was scanned as QR codes, and not all of them were."""

    code = "B1204"
    message = Text("报税结果的二维码没有收齐：{reason}", "the QR codes of the result are not complete: {reason}")
    safe = Text("卡没有改动，也没有保存任何内容", "the card is untouched, and nothing was kept")
    hint = Text(
        "在开票机再执行 result --scan，把同一组二维码从头扫一遍，先后不限；扫不到的那张放大或打印后再扫",
        "run result --scan again on the invoicing PC and scan all codes of the set, in any order; enlarge or print what "
        "cannot be read",
    )


class QrContradicts(ResultInvalid):
    """Each scanned QR code is whole, and together they are no file."""

    code = "B1205"
    message = Text("扫到的二维码合不成一个文件：{reason}", "the scanned QR codes do not make up one file: {reason}")
    safe = Text("卡没有改动，也没有保存任何内容", "the card is untouched, and nothing was kept")
    hint = Text(
        "在上网机重新执行 show --qr，再到开票机用 result --scan 重新扫描",
        "run show --qr again on the Internet PC, then scan anew with result --scan on the invoicing PC",
    )


class QrTooLarge(ResultInvalid):
    """More than the permitted number of QR codes can carry."""

    code = "B1206"
    message = Text("结果文件有 {size} 字节，二维码放不下", "the result has {size} bytes, too many for QR codes")
    hint = Text(
        "在上网机把该 .txt 刻成光盘，或用许可的U盘带到开票机",
        "carry the .txt to the invoicing PC on a disc, or on a stick that is permitted there",
    )


class AckInvalid(FormatError):
    """An `.ack` that is not a clear receipt."""

    code = "B1401"
    message = Text("清卡回执文件不完整或被改动：{reason}", "the clear receipt is incomplete or was altered: {reason}")
    hint = Text(
        "在开票机再次执行 clear 可重新生成相同的回执",
        "run clear again on the invoicing PC: it issues the same receipt again",
    )


class TrustFileInvalid(FormatError):
    """A trust file that does not parse."""

    code = "B1501"
    message = Text("信任文件不完整或被改动：{reason}", "the trust file is incomplete or was altered: {reason}")
    hint = Text(
        "请在上网机重新取得信任文件；原来的信任文件继续有效",
        "fetch the trust file again on the Internet PC; the present one stays in force",
    )


class ImportInvalid(FormatError):
    """An invoice list that cannot be taken over; nothing of the file was taken."""

    code = "B1301"
    message = Text(
        "“{name}”有 {count} 处问题，整个文件没有导入：{first}",
        "'{name}' has {count} problem(s); nothing of it was imported: {first}",
    )
    hint = Text(
        "按列出的工作表和行号改正后重新导入；其他文件不受影响",
        "correct the sheets and rows listed and import it again; other files are not affected",
    )


class ListUnreadable(ImportInvalid):
    """A file that cannot be read as an invoice list at all."""

    code = "B1302"
    message = Text("“{name}”不能作为发票清单读取：{reason}", "'{name}' cannot be read as an invoice list: {reason}")
    hint = Text(
        "请用开票软件重新导出（.xls、.xlsx、.xml、.txt 或 .csv），不要手工改动后再导入",
        "export it again from the invoicing software (.xls, .xlsx, .xml, .txt or .csv) and import that file unchanged",
    )


class TrustError(TaxferryError):
    """Well formed, and not acceptable."""


class SignatureRefused(TrustError):
    """A signature that does not verify, or was made in another role."""

    code = "B2001"
    message = Text("验证签名失败：{reason}", "the signature does not verify: {reason}")
    hint = Text(
        "该文件被改动过或不是由所称的一方签发，请重新从原电脑拷贝",
        "the file was altered or signed by someone else; copy it again from the PC that made it",
    )
    field_code = "0x8204000D"


class CertificateRefused(TrustError):
    """A certificate that is expired, revoked, of an unknown root or of another role."""

    code = "B2101"
    message = Text("证书不可接受：{reason}", "the certificate is not acceptable: {reason}")
    hint = Text(
        "更新信任文件；如卡或U棒已换发，请联系税务机关确认",
        "update the trust file; if the card or key was re-issued, ask the bureau",
    )
    field_code = "0x8204000D"


class OtherReport(TrustError):
    """A proven file that belongs to another report."""

    code = "B2201"
    message = Text(
        "这不是本次报税的结果：{field}不同。文件属于 {theirs}，本卡等待的是 {ours}",
        "this result is not for this report: {field} differs. the file belongs to {theirs}; this card waits for {ours}",
    )
    hint = Text(
        "请在上网机取本次报税的 .txt 文件；卡没有改动，可继续等待",
        "take this report's own .txt from the Internet PC; the card is untouched and still waits",
    )


class OtherTaxpayer(OtherReport):
    """The result names another tax number (the device's refusal 156)."""

    code = "B2202"
    field_code = "JSK156"


class OtherMachine(OtherReport):
    """The result names another machine of the taxpayer."""

    code = "B2203"
    field_code = "JSK159"
    hint = Text(
        "请把该 .txt 交给它所属的开票机；在上网机另取本机的结果。卡没有改动",
        "take this .txt to the machine it belongs to, and this machine's own from the Internet PC. the card is untouched",
    )


class OtherCard(OtherReport):
    """The result names another card: this machine's card was re-issued since."""

    code = "B2204"
    field_code = "JSK159"
    hint = Text(
        "该结果属于换发前的卡，不能清本卡；请到办税服务厅处理上一张卡的报税",
        "this result belongs to a card that was replaced and cannot clear this one; settle it at the tax hall",
    )


class OtherCopyTime(OtherReport):
    """The result answers a copy of another time (the device's refusal 157)."""

    code = "B2205"
    field_code = "JSK157"


class OtherDigest(OtherReport):
    """The result answers other bytes than those that this copy was sealed into (the device's refusal 155)."""

    code = "B2206"
    field_code = "JSK155"
    hint = Text(
        "上传的不是本次生成的 .dat（可能是重新抄税或重新加密前的文件）：请把 outbox 中现在的 .dat 拷到上网机上传",
        "another .dat than the present one was uploaded (one from before copy --again or --reseal): "
        "carry the .dat now in the outbox to the Internet PC and upload it",
    )


class OtherNonce(OtherReport):
    """The result carries another clear nonce: it answers a superseded copy (the device's refusal 158)."""

    code = "B2207"
    field_code = "JSK158"


class NameContradicts(OtherReport):
    """A file whose name claims another identity than its signed header."""

    code = "B2208"
    message = Text(
        "文件名与签名内容不符：文件名称是 {named}，实际是 {signed}",
        "the name contradicts the signed content: it is named {named} but is {signed}",
    )
    hint = Text("请拷贝正确的文件；不要改名", "copy the right file, and do not rename files")


class Outdated(TrustError):
    """Older than what was applied already."""

    code = "B2301"
    message = Text("该文件比已使用的旧：{reason}", "the file is older than what was applied: {reason}")
    hint = Text("请在上网机取最新的文件", "take the newest file from the Internet PC")


class NothingAwaited(OtherReport):
    """A proven result of this card, which has no uncleared copy that it could answer."""

    code = "B2209"
    message = Text(
        "本卡现在没有等待结果的抄税。文件属于 {theirs}",
        "this card has no copy that waits for a result. the file belongs to {theirs}",
    )
    hint = Text(
        "无需处理；执行 status 查看卡的状态，执行 history 查看该次报税",
        "nothing to do: see status for the card and history for that report",
    )


class ResultOutdated(Outdated):
    """A result whose number is not higher than the last that this card has seen."""

    code = "B2302"
    message = Text(
        "该结果的结果序号是 {number}，本卡已经用到 {last}",
        "this result has number {number}; this card has already seen {last}",
    )


class TrustRefused(TrustError):
    """A trust file or root that may not replace the present one."""

    code = "B2401"
    message = Text("信任文件不可接受：{reason}", "the trust file is not acceptable: {reason}")
    hint = Text("原来的信任文件继续有效；请向税务机关核实", "the present trust file stays in force; ask the bureau")


class MediumError(TaxferryError):
    """The removable medium, or a folder that stands for it."""

    safe = Text("原件仍在发送方，没有丢失", "the sender still holds the originals; nothing is lost")


class MediumAbsent(MediumError):
    """No medium was found."""

    code = "B3001"
    message = Text("没有找到U盘", "no stick was found")
    hint = Text(
        "插入已准备的U盘后再试，或用 stick sync DIR 指定文件夹",
        "plug in a prepared stick and try again, or name a folder with stick sync DIR",
    )


class NoSuchStick(MediumAbsent):
    """The operator asked for a stick by its name, and only others are in."""

    code = "B3002"
    message = Text(
        "没有找到名为“{name}”的U盘；现在插着的是：{names}", "no stick is called '{name}'; these are in: {names}"
    )
    hint = Text(
        "插入要用的U盘，或改用上面列出的名称或路径",
        "plug in the stick that you mean, or give a name or path from the list",
    )


class NoNewStick(MediumAbsent):
    """Nothing is in that looks like a stick and is not prepared yet."""

    code = "B3003"
    message = Text("没有找到要准备的新U盘", "no new stick was found that could be prepared")
    hint = Text(
        "插入U盘后再试；已经插着的话，写明它的位置：stick prepare 位置（如 E:\\ 或 /media/…）",
        "plug one in and try again; if it is in, say where: stick prepare DIR (such as E:\\ or /media/…)",
    )


class MediumAmbiguous(MediumError):
    """Several media, and the operator must choose."""

    code = "B3101"
    message = Text("找到多个U盘：{names}", "several sticks were found: {names}")
    hint = Text(
        "请用 stick sync 名称 指定其中一个；名称相同时用 stick sync 路径",
        "name one of them: stick sync NAME; where two have the same name: stick sync PATH",
    )


class MediumUnprepared(MediumError):
    """No marker: the medium is not ours."""

    code = "B3201"
    message = Text(
        "“{name}”不是税渡的U盘（没有 TAXFERRY 标记）", "'{name}' is not a taxferry stick (it has no TAXFERRY marker)"
    )
    hint = Text(
        "如确要使用，先执行 stick prepare {name}；不会格式化，也不动其他文件",
        "to use it, run stick prepare {name} first; it never formats and touches no other file",
    )


class MediumInUse(MediumUnprepared):
    """It holds others' files, and nobody said that it is to be a stick of ours all the same."""

    code = "B3202"
    message = Text(
        "“{name}”上有 {count} 个别的文件，没有准备", "'{name}' holds {count} other files; it was not prepared"
    )
    safe = Text("U盘上什么也没有写", "nothing was written to it")
    hint = Text(
        "确实要用这个U盘时，执行 stick prepare {name} --yes；不会格式化，也不动这些文件",
        "to use it all the same, run stick prepare {name} --yes; it never formats and touches none of them",
    )


class MediumFull(MediumError):
    """Not enough room."""

    code = "B3301"
    message = Text(
        "空间不足：需要 {needed} 字节，剩余 {free} 字节", "no room: {needed} bytes needed, {free} bytes free"
    )
    hint = Text(
        "删除不需要的文件或换一个U盘后再试", "remove files you do not need or take another stick, then try again"
    )


class StorageFull(MediumFull):
    """The system says that there is no room, without saying how much is missing."""

    code = "B3302"
    message = Text("磁盘空间不足，无法写入：{name}", "no room left to write: {name}")
    safe = Text("没有写到一半的文件；原有数据没有改动", "no file is half written; what was there is unchanged")


class MediumReadOnly(MediumError):
    """Write protected."""

    code = "B3401"
    message = Text("“{name}”是只读的", "'{name}' is read-only")
    hint = Text(
        "有写保护开关就打开；没有就拔下重插后再试（文件系统有损伤时，系统会暂时把U盘改成只读）；还不行就换一个U盘",
        "open its write-protect switch, if it has one; else plug it in again and try once more (a system makes a stick "
        "with a damaged file system read-only for the time being); if that does not help take another stick",
    )


class MediumDamaged(MediumError):
    """A read or write error, or the medium went away."""

    code = "B3501"
    message = Text("U盘或磁盘出错，或被提前拔出：{reason}", "the medium failed or was pulled early: {reason}")
    hint = Text(
        "重新插入后再执行一次；若再次出错请换一个",
        "plug it in and run the command again; if it fails again take another one",
    )


class NameTaken(MediumDamaged):
    """Another file has the name already, and nothing proves it older. It was not touched."""

    code = "B3502"
    message = Text(
        "“{name}”已存在且内容不同，没有覆盖", "'{name}' is there already with other content; it was not overwritten"
    )
    hint = Text(
        "先用 verify 查看已有的文件；确认不需要后移走它再试，或换一个U盘",
        "look at the file that is there (verify); move it away if it is not needed, or take another stick",
    )


class ForeignObject(MediumDamaged):
    """Something under one of our names that is no ordinary file of a permitted size."""

    code = "B3503"
    message = Text("U盘上的“{name}”不能使用：{reason}", "'{name}' on the stick cannot be used: {reason}")
    hint = Text("从原来的电脑重新拷贝该文件", "copy the file again from the PC that made it")


class ContainerDamaged(MediumDamaged):
    """A container that is truncated, altered, or was never one of ours. What was taken from it before may be whole."""

    code = "B3505"
    message = Text("打包文件不完整或已损坏：{reason}", "the container is incomplete or damaged: {reason}")
    safe = Text(
        "原件仍在发送方，没有丢失；已取出并通过验证的文件有效",
        "the sender still holds the originals; what was taken out and proven stays good",
    )
    hint = Text(
        "回到发送方的电脑执行 stick sync 重新打包，或直接拷贝缺少的文件",
        "run stick sync on the sending PC to pack it again, or copy the missing files by themselves",
    )


class ReaderFailure(StrEnum):
    """What went wrong with the process that reads a medium."""

    ENDED = "ended"
    MEMORY = "memory"
    TIME = "time"
    FORM = "form"


class ReaderFailed(MediumDamaged):
    """The separate process that reads a medium did not finish: a defect, or a file that was made to do this."""

    code = "B3504"
    message = Text(
        "读取U盘的独立进程没有正常完成：{reason}", "the process that reads the stick did not finish: {reason}"
    )
    safe = Text(
        "已收下的文件不受影响；卡、密钥和账不在该进程里，没有改动；原件仍在发送方",
        "what was taken before stands; card, keys and ledger are not in that process and are unchanged; "
        "the sender still holds the originals",
    )
    hint = Text(
        "重新插拔U盘再执行一次；若总是如此，U盘上可能有恶意文件：换一个U盘，从原来的电脑重新拷贝",
        "plug it in again and run the command again; if it fails again the stick may hold a malicious file: "
        "take another stick and copy again from the PC that made the files",
    )

    def __init__(self, *, failure: ReaderFailure = ReaderFailure.ENDED, **context: object) -> None:
        """Keep what went wrong for programs, beside the words for people."""
        super().__init__(failure=failure, **context)
        self.failure = failure


class BureauError(TaxferryError):
    """The bureau, or the way to it."""

    safe = Text("报税文件仍在上网机，没有丢失", "the report is still on this PC; nothing is lost")


class BureauUnreachable(BureauError):
    """No connection could be made: the request was certainly not received."""

    code = "B4001"
    message = Text("连不上税局（{host}）：{reason}", "the bureau cannot be reached ({host}): {reason}")
    hint = Text(
        "依次检查：本机能否上网；局域网与防火墙；税务网站是否正常。程序会自动再试",
        "check in order: this PC's Internet; LAN and firewall; the bureau's site. the program tries again by itself",
    )


class NotTheBureau(BureauUnreachable):
    """Something answered that is not the bureau's gateway: a login page, a proxy, another site."""

    code = "B4002"
    message = Text(
        "回答的不是税局网关（{host}）：{reason}", "what answered is not the bureau's gateway ({host}): {reason}"
    )
    hint = Text(
        "检查上网认证页面、代理设置和税局网址；程序会自动再试",
        "check the network's login page, the proxy and the bureau's address; the program tries again by itself",
    )


class OutcomeUnknown(BureauError):
    """The request may have been accepted: ask, never send again blindly."""

    code = "B4101"
    message = Text(
        "发送 {report} 时连接中断，税局是否收到不明",
        "the connection broke while sending {report}: whether the bureau has it is unknown",
    )
    hint = Text(
        "无需操作：程序会先询问税局，再决定是否重发。请勿重复上传",
        "nothing to do: the program asks the bureau before it sends again. do not upload again",
    )


class BureauRefused(BureauError):
    """The bureau answered no."""

    code = "B4201"
    message = Text("税局拒绝：{reason}", "the bureau refused: {reason}")
    hint = Text("执行 explain {fault} 查看原因与处理方法", "run explain {fault} for the cause and the remedy")


class ClockSkew(BureauRefused):
    """This PC's clock is too far from the bureau's for signed requests."""

    code = "B4202"
    message = Text("本机时钟与税局时间不一致：{reason}", "this PC's clock differs from the bureau's: {reason}")
    hint = Text("校准本机的日期、时间和时区，然后再试", "set this PC's date, time and time zone, then try again")


class AuditBroken(TaxferryError):
    """The record of what people did at the bureau is not what was written."""

    code = "B4210"
    message = Text("审计记录被动过：{reason}", "the audit record was tampered with: {reason}")
    safe = Text(
        "没有改动任何数据；报告和结果不受影响", "nothing was changed by looking; reports and results are as they were"
    )
    hint = Text(
        "保存 bureau.db 和检查点的副本，与最近的备份比对，并查明是谁、何时写过数据库",
        "keep a copy of bureau.db and of the checkpoints, compare with the latest backup, and find out who wrote to the database",
    )


class CheckpointInvalid(FormatError):
    """A file that is no checkpoint of the audit record."""

    code = "B4211"
    message = Text("不是有效的审计检查点：{reason}", "it is no valid checkpoint of the audit record: {reason}")
    hint = Text(
        "给出由 audit checkpoint --out 写出的文件，不要用编辑器另存",
        "give a file that audit checkpoint --out has written, and do not save it from an editor",
    )


class StillProcessing(BureauError):
    """The answer was asked for too early: a `Y`."""

    code = "B4301"
    message = Text("税局正在处理中（Y）", "the bureau is still processing this report (Y)")
    hint = Text(
        "请等待 10–15 分钟（高峰期 30–40 分钟）后再查询，不要重复上传",
        "ask again in 10–15 minutes (30–40 in the peak); do not upload again",
    )


class BureauBusy(BureauError):
    """429 or 503: not now."""

    code = "B4401"
    message = Text("税局繁忙，请在 {seconds} 秒后再试", "the bureau is busy; try again in {seconds} seconds")
    hint = Text(
        "无需操作：程序会按税局给的时间自动再试", "nothing to do: the program tries again at the time the bureau gave"
    )


class StationError(TaxferryError):
    """This station itself."""


class ConfigurationError(StationError):
    """Settings, folders or keys of this PC."""

    code = "B5001"
    message = Text("配置有误：{reason}", "the configuration is wrong: {reason}")
    hint = Text(
        "按上面的原因改正后再试；在开票机或上网机可执行 doctor 检查环境",
        "correct what is named above and try again; on a station, doctor checks its surroundings",
    )


class KeyUnavailable(ConfigurationError):
    """The private key cannot be loaded (seed fault J)."""

    code = "B5002"
    message = Text("初始化，载入企业的私钥出错：{reason}", "the private key cannot be loaded: {reason}")
    hint = Text(
        "检查U棒是否插好、密钥文件与口令文件是否正确，然后再试",
        "check that the key is plugged in and that the key file and PIN file are right, then try again",
    )


class RegisterInvalid(ConfigurationError):
    """A list of companies that cannot be used."""

    code = "B5016"
    message = Text("企业名单不能导入{where}：{reason}", "the list of companies cannot be used{where}: {reason}")
    safe = Text("名单没有导入，已登记的企业没有改动", "nothing was registered; what was registered before is unchanged")
    hint = Text("按上面的原因改正名单后再执行一次 companies import", "correct the list and run companies import again")

    def __init__(self, *, row: int = 0, **context: object) -> None:
        """Name the row, counted from 1; 0 is the list as a whole."""
        where = Text(f"，第 {row} 行", f", row {row}") if row else Text("", "")
        super().__init__(**({"row": row, "where": where} | context))


class ExpectedFailuresInvalid(ConfigurationError):
    """A file of expected failures that names what is not examined."""

    code = "B5040"
    message = Text(
        "预期失败清单第 {row} 行“{what}”不是本套检查的要求编号",
        "line {row} of the expected failures, '{what}', is no requirement that is examined",
    )
    hint = Text(
        "每行一个编号，如 GW-31；# 之后是备注。编号见 conformance --requirements",
        "one number a line, such as GW-31; # begins a remark. conformance --requirements lists them",
    )

    def __init__(self, *, row: int = 0, what: str = "", **context: object) -> None:
        """Name the line, counted from 1."""
        super().__init__(**({"row": row, "what": what} | context))


class CannotExamine(ConfigurationError):
    """What a conformance check needs is not there."""

    code = "B5041"
    message = Text("无法检查：{reason}", "it cannot be examined: {reason}")
    hint = Text(
        "检查网址、密钥、金税卡和根证书；要求见手册“另写一个税局或客户端”",
        "check address, key, card and root; the manual's page about writing another bureau says what is needed",
    )


class NotInitialised(ConfigurationError):
    """No `init` yet in this home."""

    code = "B5003"
    message = Text("本站尚未初始化（{home}）", "this station is not initialised ({home})")
    hint = Text(
        "先执行 {program} init；需要的参数见 {program} init --help",
        "run {program} init first; {program} init --help lists what it needs",
    )


class AlreadyInitialised(ConfigurationError):
    """A second `init` with something else."""

    code = "B5004"
    message = Text("本站已经初始化：{what}", "this station is initialised already: {what}")
    hint = Text("如需更换，请用 --home 指定新的文件夹", "to use something else, name a new folder with --home")


class StationBusy(StationError):
    """Another process of this station holds the lock."""

    code = "B5005"
    message = Text("另一个税渡程序正在使用 {home}", "another taxferry program is using {home}")
    hint = Text("等它结束后再试", "wait until it has finished, then try again")


class NotFound(StationError):
    """An ID, a file or a code that is not known here."""

    code = "B5006"
    message = Text("没有找到“{what}”", "'{what}' was not found")
    hint = Text(
        "用 list 或 history 查看已有的编号；编号可以是摘要、摘要开头或文件名",
        "see list or history for what there is; an ID is a digest, the start of one, or a file name",
    )


class FileMissing(NotFound):
    """A file that was named is not there."""

    code = "B5011"
    message = Text("没有这个文件：{what}", "there is no such file: {what}")
    hint = Text(
        "检查文件名和所在文件夹（U盘是否已插入），然后再试",
        "check the name and the folder (is the stick in?), then try again",
    )


class CodeUnknown(NotFound):
    """A code that no catalogue has."""

    code = "B5015"
    message = Text("错误目录里没有“{what}”", "'{what}' is not in the catalogue of faults")
    hint = Text(
        "照原样输入屏幕上的错误号（如 271D、0x8204000D、B2201），或提示里的几个字",
        "type the code as it was shown (271D, 0x8204000D, B2201), or some words of the message",
    )


class Ambiguous(StationError):
    """An ID that fits several things."""

    code = "B5010"
    message = Text("“{what}”对应多个报告：{found}", "'{what}' fits several reports: {found}")
    hint = Text("请给出更长的摘要开头", "give more digits of the digest")


class AccessDenied(StationError):
    """The operating system does not let this user touch a file or folder."""

    code = "B5007"
    message = Text("没有权限访问：{name}", "access denied: {name}")
    hint = Text(
        "确认当前用户能读写该文件夹，且文件没有被其他程序（如 Excel、杀毒软件）占用，然后再试",
        "check that this user may read and write there and that no other program (Excel, antivirus) holds the file",
    )


class StoreDamaged(StationError):
    """A data file of this station cannot be read."""

    code = "B5008"
    message = Text("本站的数据文件已损坏：{reason}", "a data file of this station is damaged: {reason}")
    safe = Text(
        "损坏的文件没有改动；最近的备份仍在", "the damaged file was not touched; the latest backup is still there"
    )
    hint = Text(
        "不要删除文件；先复制整个数据文件夹，再用最近的备份恢复（restore）",
        "delete nothing: copy the whole folder first, then restore the latest backup (restore)",
    )


class StoreUnreachable(StationError):
    """The server that keeps this station's data does not answer."""

    code = "B5020"
    message = Text("连不上数据库：{reason}", "the database cannot be reached: {reason}")
    safe = Text("已经保存的都在数据库里；没有改动任何内容", "what was saved is in the database; nothing was changed")
    hint = Text(
        "确认数据库服务器已启动、网络连通、地址和口令正确，然后再试",
        "check that the database server is up, that the network is there, and that URL and password are right; then try again",
    )


class MetricsUnavailable(ConfigurationError):
    """The address for metrics and health cannot be listened on."""

    code = "B5021"
    message = Text("指标地址 {address} 用不了：{reason}", "metrics cannot be served at {address}: {reason}")
    safe = Text("服务没有启动，数据没有改动", "the service was not started, and no data was changed")
    hint = Text(
        "换一个端口（例如 run --metrics 127.0.0.1:9465），或不带 --metrics 启动",
        "name another port (like run --metrics 127.0.0.1:9465), or start without --metrics",
    )


class RobotInvalid(ConfigurationError):
    """Where alarms are to be sent to cannot be used."""

    code = "B5022"
    message = Text("告警的接收地址不能使用：{reason}", "alarms cannot be sent there: {reason}")
    safe = Text("原来的设置没有改动", "what was set before is unchanged")
    hint = Text(
        "按上面的原因改正后再执行 alarms set；地址从群机器人的设置页复制",
        "correct what is named above and run alarms set again; copy the address from the robot's page of settings",
    )


class RobotSilent(StationError):
    """A robot did not take a message."""

    code = "B5023"
    message = Text("“{robot}”没有收下消息：{reason}", "'{robot}' did not take the message: {reason}")
    safe = Text("告警都还在，服务会再送", "the alarms are kept, and the service sends them again")
    hint = Text(
        "检查地址、密钥和本机能否上网，改正后再执行 alarms test",
        "check the address, the secret and this PC's Internet, then run alarms test again",
    )

    @property
    def reason(self) -> Text:
        """Why, without naming the robot again."""
        reason = self.context.get("reason")
        return reason if isinstance(reason, Text) else Text(str(reason), str(reason))


class InternalError(StationError):
    """A defect of the program itself, caught at its outermost edge."""

    code = "B5099"
    message = Text("程序内部错误（{kind}），记录：{reference}", "a defect of the program ({kind}); record: {reference}")
    safe = Text(
        "每一步都先保存再执行：已完成的保持有效，没有完成的可以再执行一次",
        "every step is saved before it acts: what was done stays done, the rest can be run again",
    )
    hint = Text(
        "再执行一次；若仍出错，请把记录和版本号（--version）交给维护人员",
        "run it again; if it fails again, give the record and the version (--version) to the maintainers",
    )


class PageNotServed(ConfigurationError):
    """The local page cannot be served."""

    code = "B5050"
    message = Text("不能在本机端口 {port} 上打开页面：{reason}", "the page cannot be served on port {port}: {reason}")
    hint = Text(
        "换一个端口（--port），或不写端口，由程序自动选一个",
        "name another port (--port), or none: a free one is taken then",
    )


class PageBusy(StationError):
    """Another piece of work that this page started is under way."""

    code = "B5051"
    message = Text("正在进行“{what}”{who}，请等它完成", "'{what}'{who} is under way: wait until it is done")
    safe = Text("刚才要求的没有开始，没有改动任何内容", "what was asked for was not begun, and nothing was changed")
    hint = Text("等它完成后再点一次", "press the button again once it is done")


class FormExpired(StationError):
    """A form without its token: an old window, or another site."""

    code = "B5052"
    message = Text("这个窗口的内容已过时，没有执行", "this window is out of date; nothing was done")
    hint = Text("回到首页再操作一次", "go to the first page and do it again")


class PageUnknown(StationError):
    """No page has this address."""

    code = "B5053"
    message = Text("没有这个页面，或它的内容已不在", "there is no such page, or what it showed is gone")
    hint = Text("回到首页", "go to the first page")


class OperatorInvalid(StationError):
    """An operator cannot be set up like this."""

    code = "B5054"
    message = Text("不能这样设置操作员：{reason}", "an operator cannot be set up like this: {reason}")
    safe = Text("操作员没有改动", "no operator was changed")
    hint = Text("按上面的原因改正后再试", "correct what is named above and try again")


class SignInRefused(StationError):
    """Wrong name or password, or too many attempts."""

    code = "B5055"
    message = Text("没有登录：{reason}", "not signed in: {reason}")
    hint = Text(
        "再输入一次；忘记密码时请管理员重设", "enter it again; if it is forgotten, an administrator sets a new one"
    )


class NothingChosen(StationError):
    """A form was sent without what it needs."""

    code = "B5056"
    message = Text("没有选择：{what}", "nothing was chosen: {what}")
    hint = Text("选择后再点一次", "choose, then press the button again")


class RootNotCompared(ConfigurationError):
    """A root that came on a stick, and that nobody has compared with what the invoicing PC shows."""

    code = "B5065"
    message = Text(
        "U盘上的税局根证书还没有人核对，指纹是：{fingerprint}",
        "nobody has compared the bureau's root on the stick yet; its fingerprint is {fingerprint}",
    )
    safe = Text("没有信任它，也没有改动任何设置", "it is not believed, and no setting was changed")
    hint = Text(
        "与开票机上“检测环境”（doctor）显示的根证书指纹逐组核对；完全相同，再执行 init，加上 --root-fingerprint 和那里显示的指纹",
        "compare it, group by group, with what doctor shows on the invoicing PC; if they are the same, run init again with "
        "--root-fingerprint and what is shown there",
    )


class RootDiffers(ConfigurationError):
    """A root that came on a stick is not the one that a person named."""

    code = "B5066"
    message = Text(
        "U盘上的税局根证书不是您核对的那一个：U盘上是 {found}，您写的是 {typed}",
        "the bureau's root on the stick is not the one that you compared: it is {found}, and you wrote {typed}",
    )
    safe = Text("没有信任它，也没有改动任何设置", "it is not believed, and no setting was changed")
    hint = Text(
        "先看是否抄错；没有抄错就不要用这个U盘，在开票机重新执行 stick prepare，仍不同请联系税务机关",
        "see whether it was copied wrongly; if not, do not use this stick: run stick prepare on the invoicing PC again, and "
        "ask the bureau if it still differs",
    )


class NothingToPairWith(ConfigurationError):
    """The stick does not hold what the other PC would have put there."""

    code = "B5067"
    message = Text("U盘“{label}”上没有{what}", "the stick '{label}' holds no {what}")
    safe = Text("没有改动任何设置", "no setting was changed")
    hint = Text(
        "把U盘插到开票机执行一次 stick prepare，再拿回来执行 init；或用 --bureau 写明税局网址",
        "plug the stick into the invoicing PC, run stick prepare there and init here again; or name the address with --bureau",
    )


class CardFileInvalid(ConfigurationError):
    """The file given to `init` is not an issued card."""

    code = "B5012"
    message = Text("不能装入金税卡：{reason}", "the card cannot be taken in: {reason}")
    safe = Text("没有装入任何卡；该文件仍在原处", "no card was taken in; the file is still where it was")
    hint = Text(
        "确认 --card 是税局发行的 .taxcard 文件；文件已损坏时，请税务机关重新发行，然后在开票机再执行 init",
        "make sure that --card is the .taxcard that the bureau issued; if it is damaged, have the card re-issued, then run "
        "init here again",
    )


class NotOverwritten(ConfigurationError):
    """A file of that name is there already, and is something else."""

    code = "B5014"
    message = Text("{name} 已存在，内容是别的", "{name} exists already and is something else")
    safe = Text("该文件没有覆盖，也没有写出新的", "that file was not overwritten, and nothing new was written")
    hint = Text("确认后换一个文件名，或先把该文件移走", "name another file, or move that one away first")


class CardDamaged(StoreDamaged):
    """The software card's file cannot be read. No backup holds it: there is only one card."""

    code = "B5013"
    message = Text("金税卡的数据文件已损坏：{reason}", "the card's file is damaged: {reason}")
    safe = Text(
        "损坏的文件没有改动；发票和报税记录在其他文件里，没有受影响",
        "the damaged file was not touched; invoices and records lie in other files and are unharmed",
    )
    hint = Text(
        "不要删除文件；先复制整个数据文件夹保存，再到办税服务厅换发金税卡（备份里没有金税卡，restore 恢复不了）",
        "delete nothing: copy the whole folder, then have the card re-issued at the tax hall (no backup holds the card, so "
        "restore cannot help)",
    )


class NotAllowed(StationError):
    """This operator may not do that."""

    code = "B5101"
    message = Text("操作员无权执行：{what}", "this operator may not do that: {what}")
    hint = Text("请由管理员操作", "ask an administrator")


class WrongState(StationError):
    """The verb does not fit the present state of card or report."""

    code = "B5201"
    message = Text("现在不能执行：{reason}", "not possible now: {reason}")
    hint = Text("{next_action}", "{next_action}")


class NotCopied(WrongState):
    """Reporting or clearing asked for, and nothing was copied."""

    code = "B5203"


class AlreadyCopied(WrongState):
    """A copy of this period is there already."""

    code = "B5204"


class NoSuccess(WrongState):
    """Clearing asked for, and no proven success of this copy has arrived."""

    code = "B5205"


class EarlierPeriodOpen(WrongState):
    """An earlier month was never reported: only the tax hall can settle it."""

    code = "B5206"


class PeriodClosed(WrongState):
    """Invoices, or voids, of a period that was copied already."""

    code = "B5207"


class NoResultYet(WrongState):
    """No result has arrived for the copy that waits."""

    code = "B5208"


class SpoolMissing(WrongState):
    """The sealed report is no longer where this station keeps it."""

    code = "B5209"
    message = Text(
        "已生成的报税文件 {name} 不见了或被改动，无法原样再给出",
        "the sealed report {name} is missing or was altered and cannot be given out again",
    )
    hint = Text(
        "若U盘或上网机上还有该文件，可继续使用；否则在开票机执行 report --reseal 重新生成（摘要会不同）",
        "a copy on the stick or the Internet PC is still good; otherwise run report --reseal here (a new digest)",
    )


class BackupInvalid(StationError):
    """A backup that is incomplete, altered or of another station."""

    code = "B5009"
    message = Text("备份文件不可用：{reason}", "the backup cannot be used: {reason}")
    safe = Text("现有数据没有改动", "the present data was not changed")
    hint = Text("换用 backups 文件夹中的另一个备份", "use another file of the backups folder")


class ConfirmationNeeded(StationError):
    """A verb that concerns several reports, and nobody has confirmed it."""

    code = "B5030"
    message = Text("{verb} 会涉及 {count} 个报告，尚未确认", "{verb} concerns {count} report(s) and was not confirmed")
    safe = Text("什么也没有改动", "nothing was changed")
    hint = Text("核对数目，确实要执行时加上 --yes", "check the number; if it is meant, add --yes")


class StillArchived(StationError):
    """A report whose file was moved into an archive."""

    code = "B5031"
    message = Text("{report} 已归档（{archive}）", "{report} lies in an archive ({archive})")
    hint = Text("先执行 archive restore {report}，再执行一次", "run archive restore {report} first, then run it again")


class ArchiveInvalid(StationError):
    """An archive that is missing, incomplete or altered."""

    code = "B5032"
    message = Text("归档文件 {name} 不可用：{reason}", "the archive {name} cannot be used: {reason}")
    safe = Text("本机的数据没有改动", "the data of this PC was not changed")
    hint = Text(
        "从备份介质取回同名的归档文件，放回原处后再试", "bring the same archive back from where copies are kept"
    )


class StationRetired(StationError):
    """A station that was moved to another PC works no more."""

    code = "B5033"
    message = Text("本站已于 {at} 迁走，不再工作", "this station was moved to another PC on {at} and works no more")
    safe = Text("数据都还在，可以查看", "all data is still here and can be looked at")
    hint = Text(
        "在新电脑上继续；确要在这里继续，用迁移时的备份执行 restore 备份文件 --replace",
        "go on at the new PC; to go on here after all, run restore FILE --replace with the backup of the move",
    )


class HomeNotEmpty(StationError):
    """A restore into a folder that has a station."""

    code = "B5034"
    message = Text("{home} 里已经有一个站", "there is a station in {home} already")
    safe = Text("现有数据没有改动", "the present data was not changed")
    hint = Text(
        "换一个空文件夹（--home），或加 --replace：现有数据会原样移到旁边，不会删除",
        "name an empty folder (--home), or add --replace: what is there is moved aside, not deleted",
    )


class PassphraseWrong(StationError):
    """An encrypted backup, and no or not the right passphrase."""

    code = "B5035"
    message = Text("备份已加密，{reason}", "the backup is encrypted: {reason}")
    safe = Text("现有数据没有改动", "the present data was not changed")
    hint = Text(
        "把备份口令写进一个只有一行的文件，用 --passphrase-file 指定",
        "write the passphrase into a file of one line and name it with --passphrase-file",
    )


class ServiceNotInstalled(StationError):
    """A unit that could not be put in place."""

    code = "B5036"
    message = Text("服务没有装上：{reason}", "the service was not installed: {reason}")
    hint = Text(
        "按原因处理；也可用 service print 输出后自己放到位",
        "see to what is named; or put the output of service print in place yourself",
    )


class StationBackupInvalid(BackupInvalid):
    """A backup of an Internet PC that is incomplete, altered, or no such backup."""

    code = "B5037"
    hint = Text("换用另一份备份", "use another backup")


class DetailMismatch(WrongState):
    """Detail and summary differ: the bureau would answer 2715."""

    code = "B5202"
    message = Text(
        "发票明细与汇总不符（票种 {kind}）：汇总 {summary}，明细 {detail}",
        "detail and summary differ (kind {kind}): summary {summary}, detail {detail}",
    )
    hint = Text(
        "补齐或改正发票明细后再报税；执行 explain 2715 查看处理方法",
        "complete or correct the invoices before reporting; see explain 2715",
    )
    field_code = "2715"


class ImportUnsettled(WrongState):
    """An earlier import was interrupted between ledger and card, and was not settled yet."""

    code = "B5210"
    message = Text(
        "上一次导入在登记到卡时中断，尚未结清", "an earlier import was interrupted while the card was told of it"
    )
    hint = Text(
        "再执行一次本命令；程序会先向卡核对上一次导入，再继续",
        "run the command again; the program first asks the card about the earlier import, then goes on",
    )


class Locked(StationError):
    """The lock date has passed: remote reporting is closed."""

    code = "B5301"
    message = Text(
        "已过锁死日期（{lock_date}），不能抄税和远程报税",
        "the lock date ({lock_date}) has passed: no copy and no remote report",
    )
    hint = Text(
        "请携带金税卡到办税服务厅报税；已有的报税成功结果仍可清卡",
        "take the card to the tax hall; a success that has already arrived can still clear it",
    )
