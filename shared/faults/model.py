"""What is known about one fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from shared.text import Text


class Actor(StrEnum):
    """Who has to act first."""

    ONLINE_OPERATOR = "online-operator"
    INVOICING_OPERATOR = "invoicing-operator"
    OTHER_MACHINE = "other-machine"
    ACCOUNTANT = "accountant"
    BUREAU = "bureau"
    SERVICE = "service"
    NOBODY = "nobody"


ACTORS: Final[Mapping[Actor, Text]] = MappingProxyType(
    {
        Actor.ONLINE_OPERATOR: Text("上网机操作员", "the operator of the Internet PC"),
        Actor.INVOICING_OPERATOR: Text("开票机操作员", "the operator of the invoicing PC"),
        Actor.OTHER_MACHINE: Text("其他开票机的操作员", "the operator of the other invoicing PC"),
        Actor.ACCOUNTANT: Text("会计（办理申报的人）", "the accountant who files the declaration"),
        Actor.BUREAU: Text("税务机关", "the tax bureau"),
        Actor.SERVICE: Text("税控服务商", "the service provider of the tax device"),
        Actor.NOBODY: Text("无需人工，程序会自动处理", "nobody: the program goes on by itself"),
    }
)


class Resend(StrEnum):
    """What may be sent after this fault."""

    SAME_BYTES = "same-bytes"
    WAIT = "wait"
    NEW_REPORT = "new-report"
    NEVER = "never"


RESENDS: Final[Mapping[Resend, Text]] = MappingProxyType(
    {
        Resend.SAME_BYTES: Text(
            "可以：改正后重发同一个文件，不要重新生成", "yes: the same file again after the correction; make no new one"
        ),
        Resend.WAIT: Text("不要重发，等待后再查询结果", "no: wait, then ask for the result again"),
        Resend.NEW_REPORT: Text(
            "不要重发同一个文件；在开票机生成新的报税文件后再发",
            "not the same file: make a new one on the invoicing PC and send that",
        ),
        Resend.NEVER: Text("不能重发", "no"),
    }
)


@dataclass(frozen=True)
class Fault:
    """One fault with one cause.

    Attributes:
        key: Permanent name, unique in the catalogue (`271D-undeclared`).
        code: The code as the bureau spells it (`271D`); empty where the field has none.
        letter: The letter under which the field's own list of common faults has it, or empty.
        title: What is the case, in one line: the message beside the code.
        cause: Why.
        actor: Who has to act first.
        resend: What may be sent afterwards.
        safe: What becomes of the data.
        where: The place where it must be put right.
        steps: The remedy, in order; those that leave the software included.
        stage_to_offline: Whether a failure with this fault is to be carried to the invoicing PC, because the remedy
            begins there.
        aliases: Other codes that mean this (`0x8204000D`, `JSK156`, `B2201`), in their usual spelling.
        words: What people call it, for the search.
        hint_words: Words in the bureau's own text that tell this cause from others of the same code.
    """

    key: str
    code: str
    title: Text
    cause: Text
    actor: Actor
    resend: Resend
    safe: Text
    where: Text
    steps: tuple[Text, ...]
    letter: str = ""
    stage_to_offline: bool = False
    aliases: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    hint_words: tuple[str, ...] = ()
