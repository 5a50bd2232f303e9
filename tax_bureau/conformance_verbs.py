"""The verb `tax-bureau conformance`: examine a bureau, or play one for a client to be examined."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from shared.cli import FILE, FOLDER, Context, Outcome, Program, argument, option
from shared.clock import SystemClock
from shared.errors import ConfigurationError, ExitCode, UsageError
from shared.keys.file import load_key_file
from shared.keys.secret import read_pin_file
from shared.model.taxcard import read_taxcard
from shared.text import Text, both
from shared.text.system import os_reason
from shared.verify import load_trust
from tax_bureau.conformance import of_bureau, of_client
from tax_bureau.conformance.findings import Findings, Judgement, Verdict, judge, read_expected
from tax_bureau.conformance.papers import Papers, cannot, issued_by
from tax_bureau.conformance.theatre import WORDS, World
from tax_bureau.conformance.wire import Wire
from tax_bureau.home import open_bureau

_COMMAND: Final = "tax-bureau conformance"
_VERDICTS: Final = {
    Verdict.HOLDS: Text("符合", "holds"),
    Verdict.BROKEN: Text("不符合", "broken"),
    Verdict.NOT_OBSERVED: Text("未观察", "not observed"),
}
_MOST_EXPECTED: Final = 1 << 20


def add_conformance_verb(program: Program) -> None:
    """Declare the verb."""

    @program.verb(
        "conformance",
        Text(
            "检查别的税局或客户端是否符合规格\n\n"
            "给出 URL：扮演客户端检查那个税局（要有已登记的密钥和金税卡；本机的参考税局用 --home 即可）。\n\n"
            "给出 --listen：扮演税局，等客户端连来，检查客户端。全部符合为 0，否则为 1。",
            "examine whether another bureau or client keeps the specification\n\n"
            "With a URL it plays a client to that bureau and needs an enrolled key and a card; for the reference bureau of "
            "this PC --home is enough.\n\n"
            "With --listen it plays a bureau to whatever client is pointed at it. Status 0 if everything holds, 1 if not.",
        ),
        argument("url", required=False, metavar="[URL]", help=Text("要检查的税局", "the bureau to examine")),
        option("--listen", is_flag=True, help=Text("扮演税局，检查客户端", "play a bureau, and examine a client")),
        option(
            "--key",
            type=FILE,
            metavar="FILE",
            help=Text("已登记的企业密钥（.p12）", "an enrolled enterprise key (.p12)"),
        ),
        option(
            "--pin-file",
            type=FILE,
            metavar="FILE",
            help=Text("口令文件，几把密钥共用", "the file with the PIN of the keys"),
        ),
        option(
            "--card",
            type=FILE,
            metavar="FILE",
            help=Text(
                "同一纳税人的主机卡（.taxcard），专供检查", "that taxpayer's main card (.taxcard), for this alone"
            ),
        ),
        option(
            "--trust", type=FILE, metavar="FILE", help=Text("税局根证书（PEM）", "the bureau's root certificate (PEM)")
        ),
        option(
            "--other-key",
            type=FILE,
            metavar="FILE",
            help=Text("另一纳税人已登记的密钥（可选）", "another taxpayer's enrolled key (optional)"),
        ),
        option(
            "--unenrolled-key",
            type=FILE,
            metavar="FILE",
            help=Text("未开户纳税人的密钥（可选）", "a key of a taxpayer who is not enrolled (optional)"),
        ),
        option("--ca-file", type=FILE, metavar="FILE", help=Text("TLS 的根证书", "root certificates for TLS")),
        option(
            "--patience",
            type=float,
            default=60.0,
            metavar="SECONDS",
            help=Text("每个结果最多等多久", "how long to wait for each result"),
        ),
        option(
            "--out",
            type=FOLDER,
            metavar="DIR",
            help=Text(
                "--listen：把给客户端的密钥、根证书和报告放在这里",
                "--listen: where the client's key, root and reports are put",
            ),
        ),
        option(
            "--outbox",
            type=FOLDER,
            metavar="DIR",
            help=Text("--listen：客户端的传出目录（可选）", "--listen: the client's outbox (optional)"),
        ),
        option("--port", type=int, default=0, metavar="PORT", help=Text("--listen：端口", "--listen: the port")),
        option(
            "--seconds",
            type=float,
            default=300.0,
            metavar="SECONDS",
            help=Text("--listen：最多等多久", "--listen: how long to wait"),
        ),
        option(
            "--expected-failures",
            type=FILE,
            metavar="FILE",
            help=Text("预期不符合的要求，每行一个编号", "requirements that are expected to fail, one a line"),
        ),
        option("--requirements", is_flag=True, help=Text("只列出检查哪些要求", "only list what is examined")),
    )
    def conformance(
        context: Context,
        url: str | None,
        listen: bool,
        expected_failures: Path | None,
        requirements: bool,
        **given: object,
    ) -> Outcome:
        """Examine."""
        if requirements:
            return _requirements(of_client.REASONS if listen else of_bureau.REASONS)
        if (url is None) is not listen:
            raise UsageError(reason=Text("给出 URL，或给出 --listen", "give a URL, or --listen"), command=_COMMAND)
        reasons = of_client.REASONS if listen else of_bureau.REASONS
        expected: tuple[str, ...] = ()
        if expected_failures is not None:
            expected = read_expected(_read(expected_failures), reasons)
        findings = _play(context, **given) if listen else _examine(context, str(url), **given)  # type: ignore[arg-type]
        return _outcome(findings, judge(findings, expected), expected)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_EXPECTED).decode("utf-8-sig", "replace")
    except OSError as error:
        raise ConfigurationError(
            reason=Text(f"{path} 读不出（{os_reason(error).zh}）", f"{path}: {os_reason(error).en}")
        ) from None


def _by_number(entry: tuple[str, Text]) -> tuple[str, int]:
    prefix, _, number = entry[0].partition("-")
    return prefix, int(number)


def _requirements(reasons: Mapping[str, Text]) -> Outcome:
    return Outcome(
        {
            "items": [
                {"requirement": id_, "otherwise": reason.en} for id_, reason in sorted(reasons.items(), key=_by_number)
            ]
        },
        [
            Text(f"{id_}  看不到时：{reason.zh}", f"{id_}  if it is not observed: {reason.en}")
            for id_, reason in sorted(reasons.items(), key=_by_number)
        ],
    )


def _examine(
    context: Context,
    url: str,
    *,
    key: Path | None,
    pin_file: Path | None,
    card: Path | None,
    trust: Path | None,
    other_key: Path | None,
    unenrolled_key: Path | None,
    ca_file: Path | None,
    patience: float,
    **_: object,
) -> Findings:
    clock = SystemClock()
    if not url.startswith(("http://", "https://")):
        raise UsageError(
            reason=Text("网址以 http:// 或 https:// 开头", "a URL begins with http:// or https://"), command=_COMMAND
        )

    @contextlib.contextmanager
    def papers() -> Iterator[Papers]:
        if key is None:
            bureau = open_bureau(context.home, clock)
            context.at_end(bureau.store.close)
            with issued_by(bureau) as issued:
                yield issued
            return
        if pin_file is None or card is None or trust is None:
            raise UsageError(
                reason=Text("--key 之外还要 --pin-file、--card、--trust", "--key needs --pin-file, --card and --trust"),
                command=_COMMAND,
            )
        pin = read_pin_file(pin_file)
        roots = load_trust(trust, at=clock.now()).roots
        yield Papers(
            load_key_file(key, pin),
            read_taxcard(card).signer(),
            roots[0],
            other=None if other_key is None else load_key_file(other_key, pin),
            unenrolled=None if unenrolled_key is None else load_key_file(unenrolled_key, pin),
        )

    with papers() as held:
        return of_bureau.examine(
            Wire(url, clock, ca_file),
            held,
            patience=patience,
            pause=time.sleep,
            progress=lambda words: context.say(Text(f"检查：{words.zh}", f"examining: {words.en}")),
        )


def _play(
    context: Context, *, out: Path | None, outbox: Path | None, port: int, seconds: float, **_: object
) -> Findings:
    if out is None:
        raise UsageError(reason=Text("--listen 还要 --out DIR", "--listen needs --out DIR"), command=_COMMAND)
    clock = SystemClock()
    world = World(clock.now())
    props = world.props()
    world.hand_out(out, props)
    stage = of_client.Stage(world, props, clock, outbox=outbox)
    with of_client.playing(stage, port=port):
        context.emit({"url": stage.url, "key": str(out / "key.p12"), "reports": str(out / "reports")})
        for line in (
            Text(f"税局网址：{stage.url}", f"the bureau: {stage.url}"),
            Text(f"密钥 key.p12、口令 pin.txt、根证书 root.pem：{out}", f"key.p12, pin.txt and root.pem: {out}"),
            Text(f"把 {out / 'reports'} 里的全部报告交给客户端", f"give the client all reports in {out / 'reports'}"),
            *(
                Text(
                    f"  {prop.report.header.name.stem}  {WORDS[prop.scene].zh}",
                    f"  {prop.report.header.name.stem}  {WORDS[prop.scene].en}",
                )
                for prop in props
            ),
        ):
            context.say(line)
        _until(lambda: stage.finished, seconds)
    return of_client.judge_client(stage)


def _until(done: Callable[[], bool], seconds: float) -> None:
    stop, left = threading.Event(), seconds
    while left > 0 and not done():
        stop.wait(0.2)
        left -= 0.2


def _outcome(findings: Findings, judgement: Judgement, expected: tuple[str, ...]) -> Outcome:
    if not findings.all:
        raise cannot("没有收到任何请求", "no request came")
    lines, items = [], []
    for id_, reason in sorted(findings.reasons.items(), key=_by_number):
        verdict, seen = findings.verdict(id_), findings.of(id_)
        mark = Text("", "")
        if verdict is Verdict.BROKEN and id_ in expected:
            mark = Text("（预期）", " (expected)")
        elif verdict is Verdict.HOLDS and id_ in expected:
            mark = Text("（预期不符合，却符合了）", " (was expected to fail)")
        word = _VERDICTS[verdict]
        lines.append(Text(f"{id_}  {word.zh}{mark.zh}", f"{id_}  {word.en}{mark.en}"))
        if verdict is Verdict.NOT_OBSERVED:
            lines[-1] = Text(f"{lines[-1].zh}：{reason.zh}", f"{lines[-1].en}: {reason.en}")
        for each in seen:
            if not each.ok:
                lines.append(Text(f"    应当：{each.what.zh}", f"    should be: {each.what.en}"))
                lines.append(both(f"    {each.seen}"))
        items.append(
            {
                "requirement": id_,
                "verdict": verdict.value,
                "expected_failure": id_ in expected,
                "reason": reason.en if verdict is Verdict.NOT_OBSERVED else "",
                "checks": [{"what": each.what.en, "ok": each.ok, "seen": each.seen} for each in seen],
            }
        )
    counts = {verdict: sum(findings.verdict(id_) is verdict for id_ in findings.reasons) for verdict in Verdict}
    lines.append(
        Text(
            f"{len(findings.all)} 项检查；要求 {counts[Verdict.HOLDS]} 条符合，{counts[Verdict.BROKEN]} 条不符合，"
            f"{counts[Verdict.NOT_OBSERVED]} 条未观察",
            f"{len(findings.all)} checks; of the requirements {counts[Verdict.HOLDS]} hold, {counts[Verdict.BROKEN]} are "
            f"broken, {counts[Verdict.NOT_OBSERVED]} were not observed",
        )
    )
    return Outcome(
        {
            "side": findings.side,
            "conformant": judgement.good,
            "failures": list(judgement.failures),
            "expected_failures": list(judgement.expected),
            "unexpected_passes": list(judgement.unexpected_passes),
            "items": items,
        },
        lines,
        exit_code=ExitCode.OK if judgement.good else ExitCode.WARNINGS,
    )
