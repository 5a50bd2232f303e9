"""Look at everything that a station needs, and say of each what to do about it: the `doctor`."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from online_station.shell.gateway import Gateway
from online_station.shell.home import Home
from online_station.shell.trust import Trust
from shared.envelope.chain import TrustStore
from shared.envelope.roles import Role, fingerprint, station_taxpayer
from shared.errors import TaxferryError
from shared.keys.port import Signer
from shared.medium.confine import available
from shared.stick_words import READER_DOWN
from shared.text import Text, both
from shared.text.system import os_reason

_SECONDS: Final = 5.0
_LEAST_FREE: Final = 2 << 30
_SKEW_SECONDS: Final = 120
_EXPIRY_DAYS: Final = 30

_NOTHING: Final = both("")

Verdict = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What, as a permanent word.
        verdict: `ok`, `warning` or `error`.
        message: What was found.
        remedy: What to do; empty if nothing.
    """

    name: str
    verdict: Verdict
    message: Text
    remedy: Text = _NOTHING

    @property
    def title(self) -> Text:
        """What was looked at, for people."""
        return _TITLES[self.name]


_TITLES: Final = {
    "home": Text("数据文件夹", "home"),
    "inbox": Text("收件文件夹", "inbox"),
    "outbox": Text("发件文件夹", "outbox"),
    "space": Text("磁盘空间", "space"),
    "key": Text("企业密钥", "key"),
    "trust": Text("信任文件", "trust file"),
    "network": Text("本机网络", "network"),
    "lan": Text("到税局的连接", "way to the bureau"),
    "bureau": Text("税局网站", "bureau"),
    "clock": Text("时钟", "clock"),
    "enrolment": Text("开户与密钥登记", "enrolment"),
    "quarantine": Text("隔离区", "quarantine"),
    "reader": Text("U盘读取进程", "the process that reads sticks"),
}


def reader() -> Finding:
    """Say what confines the process that reads sticks; a system that lacks a protection is no fault of the station."""
    names = [protection.name for protection in available() if protection.in_force]
    if not names:
        return Finding("reader", "error", READER_DOWN.name, READER_DOWN.advice)
    return Finding("reader", "ok", Text("、".join(n.zh for n in names), ", ".join(n.en for n in names)))


def folders(home: Home, inbox: Path, outbox: Path) -> Iterator[Finding]:
    """Look at the folders and the free space."""
    for name, folder in (("home", home.root), ("inbox", inbox), ("outbox", outbox)):
        if folder.is_dir() and os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            yield Finding(name, "ok", both(str(folder)))
        else:
            yield Finding(
                name,
                "error",
                Text(f"文件夹不存在或不可写：{folder}", f"the folder is missing or not writable: {folder}"),
                Text("建立该文件夹并检查权限", "make the folder and check its permissions"),
            )
    free = shutil.disk_usage(home.root).free
    words = Text(f"剩余 {free >> 20} MiB", f"{free >> 20} MiB free")
    if free >= _LEAST_FREE:
        yield Finding("space", "ok", words)
    else:
        yield Finding("space", "warning", words, Text("清理磁盘，至少留 2 GiB", "free at least 2 GiB"))


def key(signer: Signer, trust: TrustStore, now: datetime) -> Iterator[Finding]:
    """Look at the enterprise key and its certificate."""
    certificate = signer.certificate
    try:
        signer.sign(b"doctor")
        warnings = trust.prove(certificate, signer.chain, Role.STATION, at=now)
        taxpayer = station_taxpayer(certificate)
    except TaxferryError as error:
        yield Finding("key", "error", error.text, error.advice)
        return
    words = Text(
        f"税号 {taxpayer}，指纹 {fingerprint(certificate)}",
        f"taxpayer {taxpayer}, fingerprint {fingerprint(certificate)}",
    )
    days = (certificate.not_valid_after_utc - now).days
    if days < _EXPIRY_DAYS:
        yield Finding(
            "key",
            "warning",
            Text(f"{words.zh}，{days} 天后到期", f"{words.en}, expires in {days} days"),
            Text("到税务机关换发U棒", "have the key re-issued by the bureau"),
        )
    else:
        yield Finding("key", "ok", words)
    for warning in warnings:
        yield Finding("key", "warning", warning)


def trust_file(trust: Trust) -> Finding:
    """Look at the trust file in force."""
    if trust.current is None:
        return Finding(
            "trust",
            "warning",
            Text("还没有信任文件", "there is no trust file yet"),
            Text("连上税局后执行 once", "run once when the bureau can be reached"),
        )
    words = Text(f"第 {trust.current.version} 版", f"version {trust.current.version}")
    return Finding("trust", "warning" if trust.current.warnings else "ok", words)


def network(url: str, gateway: Gateway, now: datetime) -> Iterator[Finding]:
    """Ask in the order in which a hotline asks: this PC's network, the way to the bureau, the bureau's site, clocks."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        yield Finding(
            "network",
            "error",
            Text(f"本机解析不了税局网址 {host}", f"this PC cannot resolve {host}"),
            Text(
                "检查本机能否上网：网线或无线网、IP 与 DNS 设置",
                "check this PC's Internet: cable, wireless, IP and DNS",
            ),
        )
        return
    yield Finding("network", "ok", Text("本机网络可用", "this PC's network works"))
    try:
        socket.create_connection((host, port), timeout=_SECONDS).close()
    except OSError as error:
        yield Finding(
            "lan",
            "error",
            Text(
                f"连不到 {host}:{port}：{os_reason(error).zh}", f"no connection to {host}:{port}: {os_reason(error).en}"
            ),
            Text(
                "检查局域网、代理和防火墙是否允许访问该地址；都正常时，税局网站可能在维护",
                "check that LAN, proxy and firewall allow it; if they do, the bureau's site may be down",
            ),
        )
        return
    yield Finding("lan", "ok", Text(f"可以连到 {host}:{port}", f"{host}:{port} can be connected to"))
    try:
        bureau_time = gateway.clock()
    except TaxferryError as error:
        yield Finding("bureau", "error", error.text, error.advice)
        return
    yield Finding("bureau", "ok", Text("税局网站正常", "the bureau's site answers"))
    skew = int((now - bureau_time).total_seconds())
    words = Text(f"本机时钟与税局相差 {skew} 秒", f"this PC's clock is {skew} seconds off the bureau's")
    if abs(skew) <= _SKEW_SECONDS:
        yield Finding("clock", "ok", words)
    else:
        yield Finding(
            "clock", "error", words, Text("校准本机的日期、时间和时区", "set this PC's date, time and time zone")
        )


def on_file(gateway: Gateway, taxpayer_id: str, keyid: str, now: datetime) -> Finding:
    """Ask whether the bureau has this station's key on file (the usual cause of a 2734)."""
    try:
        standing = gateway.standing(taxpayer_id, f"{now:%Y-%m}")
    except TaxferryError as error:
        return Finding("enrolment", "error", error.text, error.advice)
    if not standing.enrolled:
        return Finding(
            "enrolment",
            "error",
            Text("企业未开户（2735）", "the taxpayer is not enrolled (2735)"),
            Text("到税务机关办理开户", "enrol at the bureau"),
        )
    if keyid not in standing.key_fingerprints:
        return Finding(
            "enrolment",
            "error",
            Text("税局登记的不是这把密钥（2734）", "the bureau has another key on file (2734)"),
            Text("插上已登记的U棒，或到税务机关重新登记", "plug in the enrolled key, or have this one put on file"),
        )
    return Finding("enrolment", "ok", Text("已开户，密钥已登记", "enrolled, and this key is on file"))
