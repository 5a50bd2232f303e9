"""2734, 0x8204000D: the signature is not that of the card on file (验证签名失败)."""

from __future__ import annotations

from tax_bureau.judge.facts import Facts, Finding

FIELD_CODE = "0x8204000D"


def check(facts: Facts) -> Finding | None:
    """Find out whether the registered card of that machine signed the report (JUDGE-2)."""
    header, card = facts.header, facts.card
    if facts.examination.fault == "signature":
        reason = facts.examination.reason
    elif card is None:
        reason = f"卡号 {header.card_no} 没有登记"
    elif (card.taxpayer_id, card.machine_no) != (header.taxpayer_id, header.machine_no):
        reason = f"卡号 {header.card_no} 登记在另一税号或另一台开票机"
    elif card.withdrawn:
        reason = f"卡号 {header.card_no} 已停用，请使用重新发行的金税卡"
    elif facts.signer != card.fingerprint:
        reason = "签名证书不是登记的证书"
    else:
        return None
    return Finding("2734", f"验证签名失败，返回值：{FIELD_CODE}（{reason}）", FIELD_CODE)
