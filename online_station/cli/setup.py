"""Make a station, alone or together with the invoicing program on the same PC."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from cryptography import x509

from online_station.cli import base
from online_station.cli.base import program
from online_station.cli.stick import sticks_at
from online_station.shell import meeting
from online_station.shell.home import Home
from online_station.shell.pairing import tell_offline_station
from online_station.shell.setup import initialise
from shared import stick_verbs
from shared.cli import FILE, FOLDER, Context, Outcome, option
from shared.envelope.roles import fingerprint
from shared.text import Text
from shared.text.fingerprints import grouped


@program.verb(
    "init",
    Text("初始化：税局网址、企业密钥、收发文件夹", "set the bureau's address, the enterprise key and the folders"),
    option(
        "--bureau",
        metavar="URL",
        help=Text(
            "税局网址；不写则从开票机准备的U盘上取得",
            "the bureau's address; taken from a stick that the invoicing PC prepared, if not named",
        ),
    ),
    option("--key", required=True, type=FILE, metavar="FILE", help=Text("企业密钥（PKCS#12）", "key file (PKCS#12)")),
    option("--pin-file", required=True, type=FILE, metavar="FILE", help=Text("口令文件", "file that holds the PIN")),
    option("--trust", type=FILE, metavar="FILE", help=Text("税局根证书（PEM）", "the bureau's root certificate (PEM)")),
    option(
        "--stick",
        type=FOLDER,
        metavar="DIR|LABEL",
        help=Text(
            "从哪个U盘取得税局网址和根证书；只插着一个时不用写",
            "the stick with the bureau's address and root; needless if only one is in",
        ),
    ),
    option(
        "--root-fingerprint",
        default="",
        metavar="HEX",
        help=Text(
            "开票机上显示的根证书指纹（doctor）：与U盘上的核对过",
            "the root's fingerprint as the invoicing PC's doctor shows it: compared with that on the stick",
        ),
    ),
    option("--inbox", type=FOLDER, metavar="DIR", help=Text("收件文件夹", "where files from the invoicing PCs arrive")),
    option("--outbox", type=FOLDER, metavar="DIR", help=Text("发件文件夹", "where results are put")),
    option("--proxy", metavar="URL", help=Text("HTTP 代理", "an HTTP proxy")),
    option(
        "--database",
        metavar="URL",
        help=Text(
            "几台上网机共用的 PostgreSQL 数据库，如 postgresql://用户@主机/库；不写则用本机文件",
            "the PostgreSQL database that several nodes share, postgresql://user@host/name; a file of this PC otherwise",
        ),
    ),
    option(
        "--at-once",
        type=int,
        metavar="N",
        help=Text(
            "服务同时向税局发出的请求数（各台合计，默认 6）",
            "requests to the bureau at the same time, over all nodes (6)",
        ),
    ),
    option(
        "--per-second",
        type=float,
        metavar="N",
        help=Text(
            "服务每秒开始的请求数（各台合计，默认 10）", "requests to the bureau per second, over all nodes (10)"
        ),
    ),
    option("--ca-file", type=FILE, metavar="FILE", help=Text("TLS 证书文件（PEM）", "certificates for TLS (PEM)")),
)
def init(
    context: Context,
    bureau: str | None,
    key: Path,
    pin_file: Path,
    trust: Path | None,
    stick: Path | None,
    root_fingerprint: str,
    inbox: Path | None,
    outbox: Path | None,
    proxy: str | None,
    ca_file: Path | None,
    database: str | None,
    at_once: int | None,
    per_second: float | None,
) -> Outcome:
    """Make the station."""
    met, root = None, None
    if bureau is None or stick is not None:
        met = meeting.meet(stick, base.CLOCK.now())
        bureau = bureau or met.gateway
        root = None if trust is not None else _compared(context, met, root_fingerprint)
    made = initialise(
        Home(context.home),
        bureau=bureau,
        key=key,
        pin_file=pin_file,
        root_file=trust,
        inbox=inbox,
        outbox=outbox,
        proxy=proxy,
        ca_file=ca_file,
        clock=base.CLOCK,
        database=database,
        at_once=at_once,
        per_second=per_second,
        root=root,
        carried=b"" if met is None else met.trust,
    )
    settings = made.settings
    pinned = fingerprint(made.root)
    warnings = list(made.warnings)
    if not made.root_was_given:
        warnings.append(
            Text(
                f"根证书是从税局网址取得的，请与税务机关公布的指纹核对：{pinned}",
                f"the root came from the bureau's address; compare its fingerprint with the published one: {pinned}",
            )
        )
    if met is not None and met.taxpayer_id not in ("", settings.taxpayer_id):
        warnings.append(
            Text(
                f"U盘是税号 {met.taxpayer_id} 的开票机准备的，企业密钥是税号 {settings.taxpayer_id} 的："
                "确认没有拿错；代账公司用 companies import 登记企业",
                f"the stick was prepared for taxpayer {met.taxpayer_id}, and the key is that of {settings.taxpayer_id}: make sure "
                "that neither is the wrong one; an agency registers its companies with companies import",
            )
        )
    return Outcome(
        {
            "bureau": settings.bureau,
            "taxpayer_id": settings.taxpayer_id,
            "key_fingerprint": made.keyid,
            "root_fingerprint": pinned,
            "trust_version": made.trust_version,
            "inbox": str(settings.inbox),
            "outbox": str(settings.outbox),
        },
        [
            Text(f"上网机已就绪：{settings.bureau}", f"the station is ready: {settings.bureau}"),
            Text(f"税号 {settings.taxpayer_id}", f"taxpayer {settings.taxpayer_id}"),
            Text(f"收件文件夹 {settings.inbox}", f"inbox {settings.inbox}"),
            Text(f"发件文件夹 {settings.outbox}", f"outbox {settings.outbox}"),
        ],
        next_action=Text(
            "把开票机的 .dat 文件放入收件文件夹（或 stick sync），然后执行 once 或 run",
            "put the .dat of the invoicing PC into the inbox (or run stick sync), then run once or run",
        ),
        warnings=warnings,
    )


def _compared(context: Context, met: meeting.Met, typed: str) -> x509.Certificate:
    """Let a person compare the root on the stick with what the invoicing PC shows."""
    if not typed and not context.json and sys.stdin.isatty():
        shown = grouped(met.fingerprint)
        context.say(Text(f"U盘上的根证书指纹：{shown}", f"the root on the stick has the fingerprint {shown}"))
        question = Text(
            "与开票机上 doctor 显示的根证书指纹逐组核对，完全相同吗",
            "compare it, group by group, with what doctor shows on the invoicing PC. are they the same",
        )
        if click.confirm(str(question), err=True):
            return met.root
    return meeting.compared(met, typed)


# Both stations on one PC


@program.verb(
    "pair",
    Text(
        "开票机可以联网时：两个程序装在同一台电脑，用一个文件夹代替U盘\n\n"
        "之后让 offline-station watch 和 online-station run 一直开着即可；证明和检查与用U盘时完全相同。",
        "where the invoicing PC may have a network: both programs on one PC, a folder in place of the stick\n\n"
        "Then leave offline-station watch and online-station run on; everything is proven just as with a stick.",
    ),
    option(
        "--offline-home",
        type=FOLDER,
        metavar="DIR",
        help=Text("开票机程序的数据文件夹；默认是系统的", "the home of offline-station; the system's by default"),
    ),
    option(
        "--folder",
        type=FOLDER,
        metavar="DIR",
        help=Text("代替U盘的文件夹；默认在本站的数据文件夹里", "the folder; in this station's home by default"),
    ),
)
def pair(context: Context, offline_home: Path | None, folder: Path | None) -> Outcome:
    """Let a folder stand for the stick, on both sides."""
    where = (folder if folder is not None else context.home / "passage").absolute()
    label = "本机文件夹"
    with sticks_at(context) as sticks:
        where.mkdir(parents=True, exist_ok=True)
        stick_verbs.ask_first(context, where, yes=False)
        sticks.prepare(where, label, new_identity=False, now=base.CLOCK.now())
    told = tell_offline_station(offline_home, where)
    return Outcome(
        {"folder": str(where), "offline_home": told},
        [Text(f"两个程序都用 {where} 代替U盘", f"both programs use {where} in place of a stick")],
        Text(
            "让 offline-station watch 和 online-station run 一直开着；之后在开票机程序里 copy、report、result、clear 即可",
            "leave offline-station watch and online-station run on; then copy, report, result and clear as usual",
        ),
    )
