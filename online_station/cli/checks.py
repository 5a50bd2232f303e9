"""Whether everything is in order."""

from __future__ import annotations

from online_station.cli import base
from online_station.cli.base import program
from online_station.cli.words import READ_WHY
from online_station.shell import diagnosis
from online_station.shell.home import Home
from online_station.shell.setup import opened, read_settings
from online_station.shell.trust import Trust
from shared.cli import Context, Outcome
from shared.envelope.roles import fingerprint
from shared.errors import (
    ExitCode,
    TaxferryError,
)
from shared.text import Text


def examine(home: Home) -> list[diagnosis.Finding]:
    """Look at everything that the station in `home` needs."""
    now = base.CLOCK.now()
    findings: list[diagnosis.Finding] = []
    with opened(home) as store:
        settings = read_settings(home, store)
        trust = Trust(home.trust, now)
        findings.extend(diagnosis.folders(home, settings.inbox, settings.outbox))
        findings.append(diagnosis.reader())
        findings.append(diagnosis.trust_file(trust))
        try:
            signer = settings.signer()
        except TaxferryError as error:
            findings.append(diagnosis.Finding("key", "error", error.text, error.advice))
        else:
            findings.extend(diagnosis.key(signer, trust.store, now))
            gateway = settings.gateway(signer, base.CLOCK)
            findings.extend(diagnosis.network(settings.bureau, gateway, now))
            if findings[-1].name == "clock":
                findings.append(diagnosis.on_file(gateway, settings.taxpayer_id, fingerprint(signer.certificate), now))
        quarantined = len(store.quarantined())
        if quarantined:
            findings.append(
                diagnosis.Finding(
                    "quarantine",
                    "warning",
                    Text(f"隔离文件 {quarantined} 个", f"{quarantined} file(s) in quarantine"),
                    READ_WHY,
                )
            )
    return findings


@program.verb("doctor", Text("检测环境，逐项给出办法", "check everything, each with a remedy"))
def doctor(context: Context) -> Outcome:
    """Check everything."""
    findings = examine(Home(context.home))
    bad = [f for f in findings if f.verdict == "error"]
    code = ExitCode.OK
    if bad:
        unreachable = bad[0].name in ("network", "lan", "bureau")
        code = ExitCode.BUREAU_UNREACHABLE if unreachable else ExitCode.CONFIGURATION
    marks = {"ok": "√", "warning": "!", "error": "×"}  # all exist in the Chinese code page
    lines = []
    for finding in findings:
        mark, message, remedy = marks[finding.verdict], finding.message, finding.remedy
        arrow = " → " if remedy.zh else ""
        lines.append(
            Text(
                f"{mark} {finding.title.zh}：{message.zh}{arrow}{remedy.zh}",
                f"{mark} {finding.title.en}: {message.en}{arrow}{remedy.en}",
            )
        )
    return Outcome(
        {
            "items": [
                {"name": f.name, "verdict": f.verdict, "message": str(f.message), "remedy": str(f.remedy)}
                for f in findings
            ]
        },
        lines,
        next_action=bad[0].remedy if bad else None,
        warnings=[f.message for f in findings if f.verdict == "warning"],
        exit_code=code,
    )
