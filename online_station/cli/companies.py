"""The companies that the station reports for."""

from __future__ import annotations

from pathlib import Path

from online_station.cli import base
from online_station.cli.base import program
from online_station.shell.home import Home
from online_station.shell.register import Register, read_list
from online_station.shell.setup import opened
from shared.cli import FILE, Context, Outcome, argument
from shared.errors import (
    NotFound,
)
from shared.text import Text

_companies = program.group(
    "companies", Text("企业名单：代账公司登记所服务的企业", "the companies that this station reports for")
)


@_companies.verb(
    "import",
    Text(
        "导入企业名单（csv、xlsx）：税号、名称、收件文件夹、密钥文件、口令文件\n\n要么全部导入，要么一家也不导入；再次导入会更新。",
        "take a list of companies (csv, xlsx): taxpayer_id, name, inbox, key, pin_file\n\n"
        "All or none; a second import brings them up to date.",
    ),
    argument("file", type=FILE, help=Text("企业名单", "the list")),
)
def companies_import(context: Context, file: Path) -> Outcome:
    """Register companies."""
    companies, notes = read_list(file)
    with opened(Home(context.home)) as store:
        done = Register(store).put(companies, base.CLOCK.now())
    missing = [c for c in companies if c.key and not Path(c.key).is_file()]
    warnings = notes + [
        Text(f"{c.taxpayer_id} 的密钥文件不在：{c.key}", f"the key file of {c.taxpayer_id} is missing: {c.key}")
        for c in missing[:20]
    ]
    return Outcome(
        {"added": done.added, "changed": done.changed, "same": done.same, "keys_missing": len(missing)},
        [
            Text(
                f"新登记 {done.added} 家，更新 {done.changed} 家，未变 {done.same} 家",
                f"{done.added} registered, {done.changed} brought up to date, {done.same} unchanged",
            )
        ],
        Text("执行 board 查看哪些企业还没有报税", "run board to see who has not reported yet"),
        warnings,
    )


@_companies.verb("list", Text("列出登记的企业", "list the companies"))
def companies_list(context: Context) -> Outcome:
    """List the companies."""
    with opened(Home(context.home)) as store:
        companies = Register(store).companies()
    lines = []
    for company in companies:
        key = Text("自己的密钥", "a key of its own") if company.key else Text("用本站密钥（代办）", "the station's key")
        lines.append(
            Text(
                f"{company.taxpayer_id}  {company.name}  {key.zh}{'，文件夹 ' + company.inbox if company.inbox else ''}",
                f"{company.taxpayer_id}  {company.name}  {key.en}{', folder ' + company.inbox if company.inbox else ''}",
            )
        )
    return Outcome(
        {
            "items": [
                {
                    "taxpayer_id": c.taxpayer_id,
                    "name": c.name,
                    "inbox": c.inbox,
                    "key": c.key,
                    "pin_file": c.pin_file,
                    "key_present": bool(c.key) and Path(c.key).is_file(),
                }
                for c in companies
            ]
        },
        lines or [Text("还没有登记企业", "no company is registered")],
    )


@_companies.verb(
    "remove",
    Text("从名单中去掉一家企业；它的报告保留", "take a company off the register; its reports stay"),
    argument("taxpayer_id", metavar="TAXPAYER_ID", help=Text("税号", "taxpayer id")),
)
def companies_remove(context: Context, taxpayer_id: str) -> Outcome:
    """Remove a company."""
    with opened(Home(context.home)) as store:
        if not Register(store).remove(taxpayer_id.strip().upper()):
            raise NotFound(what=taxpayer_id[:80])
    return Outcome(
        {"taxpayer_id": taxpayer_id}, [Text(f"已从名单中去掉 {taxpayer_id}", f"{taxpayer_id} is off the register")]
    )
