"""The whole month of one invoicing PC in one process, for the runner with the audit hook.

python tests/airgap/runner.py tests.airgap.journey FOLDER
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from offline_station.card.software import SoftwareCard
from offline_station.cli import program
from shared.clock import SystemClock
from shared.model.taxcard import write_taxcard
from shared.qr import split
from tests.support.offline import answer, invoice_list, taxcard
from tests.support.pki import pki

CLIENTS = ("requests", "urllib3", "httpx", "aiohttp", "ftplib", "smtplib", "watchdog", "starlette")


def play(folder: Path) -> None:
    now = SystemClock().now()
    today = now.date()
    last_month = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    home, stick, root = folder / "开票机", folder / "U盘", folder / "root.pem"
    stick.mkdir()
    root.write_bytes(pki().root.public_bytes(Encoding.PEM))
    card = folder / "0.taxcard"
    write_taxcard(card, taxcard(last_copied=last_month - timedelta(days=1), lock_date=today + timedelta(days=20)))
    listed = invoice_list(folder / "发票.csv", 20, month=last_month)

    def verb(*words: object, status: int = 0) -> dict[str, Any]:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = program.run(["--home", str(home), "--json", *map(str, words)])
        assert code == status, f"{words}: {code}\n{out.getvalue()}"
        data: dict[str, Any] = json.loads(out.getvalue())["data"]
        return data

    verb("init", "--card", card)
    assert verb("invoices", "import", listed)["files"][0]["invoices"] == 20
    assert verb("status")["state"] == "to-copy"
    assert verb("copy")["invoice_count"] == 20
    report = verb("report")
    assert Path(report["file"]).stat().st_size == report["bytes"]
    verb("stick", "prepare", stick)
    assert verb("stick", "sync", stick)["placed"] == [Path(report["file"]).name]
    opened = SoftwareCard(home / "card.db")
    made = opened.open_copy()
    opened.close()
    assert made is not None
    name = made.name.file_name(".txt")
    too_early = folder / name
    too_early.write_bytes(b"Y")
    assert verb("result", too_early, status=43)["outcome"] == "processing"
    result = answer(made, lock_date=today + timedelta(days=50), bureau_time=now - timedelta(minutes=1))
    (stick / "TAXFERRY" / "to-offline" / name).write_bytes(result)
    assert verb("stick", "sync", stick)["taken"] == [name]
    assert verb("result")["outcome"] == "success"
    sys.stdin = io.TextIOWrapper(io.BytesIO("\r\n".join(split(result)).encode()))
    assert verb("result", "--scan")["effect"] == "repeated"
    sys.stdin = sys.__stdin__
    assert verb("clear")["cleared"] is True
    assert verb("stick", "sync", stick)["placed"] == [made.name.file_name(".ack")]
    verb("stick", "list", stick)
    verb("stick", "eject", stick)
    verb("invoices", "list")
    verb("invoices", "export", folder / "出.xlsx")
    verb("history")
    verb("show", made.name.stem)
    saved = verb("backup")["file"]
    verb("restore", saved)
    verb("log", "export")
    verb("doctor")
    verb("verify", report["file"], "--trust", root)
    verb("explain", "271D")
    assert verb("status")["state"] == "done"
    loaded = [name for name in CLIENTS if name in sys.modules]
    assert not loaded, f"network clients were loaded: {loaded}"
    print("journey complete")


if __name__ == "__main__":
    play(Path(sys.argv[1]))
