"""Make a station, alone or together with the invoicing program on the same PC."""

from __future__ import annotations

from pathlib import Path

from online_station.cli import base
from online_station.cli.base import program
from online_station.cli.stick import sticks_at
from online_station.shell.home import Home
from online_station.shell.pairing import tell_offline_station
from online_station.shell.setup import initialise
from shared import stick_verbs
from shared.cli import FILE, FOLDER, Context, Outcome, option
from shared.envelope.roles import fingerprint
from shared.text import Text


@program.verb(
    "init",
    Text("初始化：税局网址、企业密钥、收发文件夹", "set the bureau's address, the enterprise key and the folders"),
    option("--bureau", required=True, metavar="URL", help=Text("税局网址", "the bureau's address")),
    option("--key", required=True, type=FILE, metavar="FILE", help=Text("企业密钥（PKCS#12）", "key file (PKCS#12)")),
    option("--pin-file", required=True, type=FILE, metavar="FILE", help=Text("口令文件", "file that holds the PIN")),
    option("--trust", type=FILE, metavar="FILE", help=Text("税局根证书（PEM）", "the bureau's root certificate (PEM)")),
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
    bureau: str,
    key: Path,
    pin_file: Path,
    trust: Path | None,
    inbox: Path | None,
    outbox: Path | None,
    proxy: str | None,
    ca_file: Path | None,
    database: str | None,
    at_once: int | None,
    per_second: float | None,
) -> Outcome:
    """Make the station."""
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
    )
    settings = made.settings
    root = fingerprint(made.root)
    warnings = list(made.warnings)
    if not made.root_was_given:
        warnings.append(
            Text(
                f"根证书是从税局网址取得的，请与税务机关公布的指纹核对：{root}",
                f"the root came from the bureau's address; compare its fingerprint with the published one: {root}",
            )
        )
    return Outcome(
        {
            "bureau": settings.bureau,
            "taxpayer_id": settings.taxpayer_id,
            "key_fingerprint": made.keyid,
            "root_fingerprint": root,
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
