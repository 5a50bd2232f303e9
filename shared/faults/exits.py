"""What each exit status says."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from shared.errors import ExitCode
from shared.text import Text

EXIT_WORDS: Final[Mapping[ExitCode, Text]] = MappingProxyType(
    {
        ExitCode.OK: Text("要求的事都已完成并已落盘", "everything asked for is done and durable"),
        ExitCode.WARNINGS: Text("已完成，但有需要注意的地方", "done, with warnings"),
        ExitCode.USAGE: Text("命令写法有误", "the command line is wrong"),
        ExitCode.NAME: Text(
            "文件名、税号、分机号或时间不合规定", "a name, tax number, machine number or time is not of its form"
        ),
        ExitCode.REPORT: Text("报税文件不合规定或已损坏", "a report is damaged or not of its form"),
        ExitCode.RESULT: Text("报税结果文件不合规定或已损坏", "a result is damaged or not of its form"),
        ExitCode.IMPORT: Text("发票清单不能导入", "an invoice list cannot be imported"),
        ExitCode.ACK: Text("清卡回执不合规定或已损坏", "a clear receipt is damaged or not of its form"),
        ExitCode.TRUST_FILE: Text("信任文件不合规定或已损坏", "a trust file is damaged or not of its form"),
        ExitCode.SIGNATURE: Text("签名验证不通过", "a signature does not verify"),
        ExitCode.CERTIFICATE: Text("证书不可接受", "a certificate is not acceptable"),
        ExitCode.OTHER_REPORT: Text("是另一次报税的文件", "the file belongs to another report"),
        ExitCode.OUTDATED: Text("比已使用的旧", "older than what was applied"),
        ExitCode.TRUST: Text("信任文件不可接受", "a trust file is not acceptable"),
        ExitCode.MEDIUM_ABSENT: Text("没有U盘", "no stick"),
        ExitCode.MEDIUM_AMBIGUOUS: Text("有多个U盘，需要指定", "several sticks; name one"),
        ExitCode.MEDIUM_UNPREPARED: Text("U盘没有准备过", "the stick is not prepared"),
        ExitCode.MEDIUM_FULL: Text("空间不足", "no room"),
        ExitCode.MEDIUM_READ_ONLY: Text("介质只读", "the medium is read-only"),
        ExitCode.MEDIUM_DAMAGED: Text("介质出错或被提前拔出", "the medium failed or was pulled early"),
        ExitCode.BUREAU_UNREACHABLE: Text("连不上税局，请求没有送出", "the bureau cannot be reached; nothing was sent"),
        ExitCode.OUTCOME_UNKNOWN: Text(
            "税局是否收到不明，将先询问", "whether the bureau has it is unknown; it is asked first"
        ),
        ExitCode.BUREAU_REFUSED: Text("税局拒绝", "the bureau refused"),
        ExitCode.STILL_PROCESSING: Text("税局正在处理中（Y）", "the bureau is still processing (Y)"),
        ExitCode.BUREAU_BUSY: Text("税局繁忙，稍后再试", "the bureau is busy; later"),
        ExitCode.CONFIGURATION: Text(
            "本机的设置、文件夹、密钥或权限有问题", "settings, folders, keys or rights of this PC"
        ),
        ExitCode.NOT_ALLOWED: Text("该操作员无权执行", "this operator may not do that"),
        ExitCode.WRONG_STATE: Text("当前状态下不能执行", "not possible in the present state"),
        ExitCode.LOCKED: Text("已锁死", "locked"),
        ExitCode.INTERRUPTED: Text("被中断；已完成的保持有效", "interrupted; what was done stays done"),
    }
)
