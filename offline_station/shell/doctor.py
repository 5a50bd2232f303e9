"""Is everything here as it must be? Each finding says so, or what to do."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from offline_station.card.port import CardReading
from offline_station.shell.backup import latest_backup
from offline_station.shell.home import FOLDER_NAMES
from offline_station.shell.station import Station
from offline_station.shell.visit import sticks_of
from shared.envelope.roles import Role, fingerprint
from shared.errors import TaxferryError
from shared.medium.confine import available
from shared.medium.find import STATES, MediumState
from shared.stick_words import READER_DOWN
from shared.text import Text
from shared.text.fingerprints import grouped

_LEAST_FREE: Final = 1 << 30
_SOON_DAYS: Final = 30
_CLOCK_TOLERANCE_SECONDS: Final = 300


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: For programs.
        what: What was looked at.
        detail: What was seen.
        remedy: What to do; only where something is to be done.
    """

    name: str
    ok: bool
    what: Text
    detail: Text
    remedy: Text | None = None


def examine_station(station: Station) -> list[Finding]:
    """Look at everything that a month's work needs."""
    reading = station.read()
    return [
        _card(station, reading),
        _lock_date(reading),
        _key(station, reading),
        _bureau_keys(station, reading),
        _clock(station, reading),
        _memory(station),
        *(_folder(name, path) for name, path in (("outbox", station.outbox), ("inbox", station.inbox))),
        _space(station),
        _ledger(station),
        _backup(station),
        _stick(station),
        _reader(),
    ]


def _card(station: Station, reading: CardReading) -> Finding:
    facts = reading.facts
    what = Text("金税卡", "card")
    detail = Text(
        f"{facts.card_no}，信任文件版本 {reading.trust_version}",
        f"{facts.card_no}, trust version {reading.trust_version}",
    )
    path = station.home.card
    if os.name != "nt" and path.stat().st_mode & 0o077:
        return Finding(
            "card",
            False,
            what,
            Text("其他用户也能读卡文件", "other users can read the card's file"),
            Text(f"执行 chmod 600 {path}", f"run chmod 600 {path}"),
        )
    return Finding("card", True, what, detail)


def _lock_date(reading: CardReading) -> Finding:
    what = Text("锁死日期", "lock date")
    detail = Text(
        f"{reading.facts.lock_date}，剩 {reading.days_left} 天",
        f"{reading.facts.lock_date}, {reading.days_left} days left",
    )
    if reading.locked:
        return Finding(
            "lock-date",
            False,
            what,
            detail,
            Text(
                "携带金税卡到办税服务厅；已有成功结果的仍可清卡",
                "take the card to the tax hall, unless a success is here",
            ),
        )
    return Finding("lock-date", True, what, detail)


def _key(station: Station, reading: CardReading) -> Finding:
    what = Text("卡内密钥", "the card's key")
    try:
        signer = station.card.signer()
        signer.sign(b"doctor")
        found = station.card.trust_in_force().store().prove(signer.certificate, signer.chain, Role.CARD, at=reading.at)
    except TaxferryError as error:
        return Finding("key", False, what, error.text, error.advice)
    days = (signer.certificate.not_valid_after_utc - reading.at).days
    detail = Text(
        f"{signer.algorithm}，证书还有 {days} 天到期", f"{signer.algorithm}, certificate valid {days} more days"
    )
    if days < _SOON_DAYS:
        return Finding(
            "key", False, what, detail, Text("请到税务机关换发金税卡", "have the card re-issued by the bureau")
        )
    return Finding(
        "key",
        True,
        what,
        Text("；".join([detail.zh, *(w.zh for w in found)]), "; ".join([detail.en, *(w.en for w in found)])),
    )


def _bureau_keys(station: Station, reading: CardReading) -> Finding:
    what = Text("税局公钥", "the bureau's keys")
    trust = station.card.trust_in_force()
    count = len(trust.envelope_certificates(reading.at))
    root = grouped(fingerprint(trust.roots_in_force[-1]))
    detail = Text(f"{count} 个可用；根证书指纹 {root}", f"{count} usable; the root's fingerprint is {root}")
    remedy = None
    if not count:
        remedy = Text(
            "在上网机取得新的信任文件，放上U盘，在本机执行 stick sync",
            "fetch a new trust file on the Internet PC, and bring it here with stick sync",
        )
    return Finding("bureau-keys", bool(count), what, detail, remedy)


def _clock(station: Station, reading: CardReading) -> Finding:
    what = Text("时钟", "clock")
    now = station.clock.now()
    behind = (reading.at - now).total_seconds()
    if behind > _CLOCK_TOLERANCE_SECONDS:
        return Finding(
            "clock",
            False,
            what,
            Text(f"比税局时间 {reading.at:%Y-%m-%d %H:%M} 慢", f"behind the bureau's {reading.at:%Y-%m-%d %H:%M}"),
            Text("校正本机的日期和时间", "correct this PC's date and time"),
        )
    return Finding("clock", True, what, Text(f"{now:%Y-%m-%d %H:%M}", f"{now:%Y-%m-%d %H:%M}"))


MEMORY_LOST: Final = Text(
    "设置与经过的记录（station.db）丢失过，已按卡重建，报税数据和发票没有丢失，但传出、传入目录恢复成了默认；"
    "请用 restore 恢复备份，或再执行一次 init（可带 --outbox、--inbox）",
    "settings and life-lines (station.db) were lost and made anew from the card. no report or invoice is lost, but outbox "
    "and inbox are the default ones again: restore a backup, or run init again (with --outbox, --inbox if you like)",
)


def _memory(station: Station) -> Finding:
    what = Text("设置", "settings")
    if station.memory_lost:
        return Finding("memory", False, what, Text("丢失过，已重建", "lost, and made anew"), MEMORY_LOST)
    return Finding("memory", True, what, Text("完整", "whole"))


def _folder(name: str, path: Path) -> Finding:
    what = FOLDER_NAMES[name]
    if not path.is_dir() or not os.access(path, os.W_OK | os.R_OK):
        return Finding(
            name,
            False,
            what,
            Text(f"{path} 不存在或不可写", f"{path} is missing or not writable"),
            Text(f"建立该文件夹，或用 init --{name} 另设", f"make the folder, or set another one with init --{name}"),
        )
    return Finding(name, True, what, Text(str(path), str(path)))


def _space(station: Station) -> Finding:
    free = shutil.disk_usage(station.home.root).free
    detail = Text(f"剩余 {free >> 20} MiB", f"{free >> 20} MiB free")
    remedy = (
        None if free >= _LEAST_FREE else Text("清理磁盘，或移走旧的备份", "free some space, or move old backups away")
    )
    return Finding("space", free >= _LEAST_FREE, Text("磁盘空间", "disk space"), detail, remedy)


def _ledger(station: Station) -> Finding:
    behind = sorted(station.behind())
    what = Text("发票明细", "invoice detail")
    if behind:
        months = "、".join(behind)
        return Finding(
            "ledger",
            False,
            what,
            Text(f"{months} 比卡上的少", f"less than the card counted for {months}"),
            Text("重新导入这些月份的发票清单", "import those months' lists again"),
        )
    return Finding("ledger", True, what, Text("与卡上的份数一致", "as many invoices as the card counted"))


def _backup(station: Station) -> Finding:
    latest = latest_backup(station.home)
    detail = (
        Text(latest.name, latest.name)
        if latest
        else Text("还没有（清卡前会自动备份）", "none yet (made before each clear)")
    )
    return Finding("backup", True, Text("备份", "backup"), detail)


def _stick(station: Station) -> Finding:
    what = Text("U盘", "stick")
    found = sticks_of(station).found()
    if not found:
        # A stick that is not in is the ordinary state of a stick.
        return Finding("stick", True, what, Text("没有插着", "none is in"))
    shown = [
        Text(f"{one.shown}：{STATES[one.state].name.zh}", f"{one.shown}: {STATES[one.state].name.en}") for one in found
    ]
    detail = Text("；".join(text.zh for text in shown), "; ".join(text.en for text in shown))
    bad = next((one for one in found if one.state in (MediumState.DAMAGED, MediumState.PULLED)), None)
    return Finding("stick", bad is None, what, detail, None if bad is None else STATES[bad.state].advice)


def _reader() -> Finding:
    """Say what confines the process that reads sticks; a system that lacks a protection is no fault of the station."""
    names = [protection.name for protection in available() if protection.in_force]
    detail = Text("、".join(n.zh for n in names), ", ".join(n.en for n in names))
    what = Text("U盘读取进程", "the process that reads sticks")
    if names:
        return Finding("reader", True, what, detail)
    return Finding("reader", False, what, READER_DOWN.name, READER_DOWN.advice)
