"""More than the bureau can carry: it takes what it can, sends the rest away politely, and is itself again afterwards."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from online_station.shell.gateway import HttpGateway
from shared.clock import SystemClock
from shared.errors import BureauBusy
from shared.ids import MachineNo
from tax_bureau.registry import CardOrder
from tests.support.bureau import Office, close_offices
from tests.support.bureau_process import PATIENCE, serving
from tests.support.databases import until
from tests.support.pki import TAXPAYER, TAXPAYER_NAME
from tests.support.reports import rows

REPORTS = 26
QUEUE = 12


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    yield Office(tmp_path / "office", real_time=True)
    close_offices()


def backlog(url: str) -> float:
    text = requests.get(f"{url}/metrics", timeout=PATIENCE).text
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("taxferry_bureau_backlog"))
    return float(found["taxferry_bureau_backlog"]) + float(found["taxferry_bureau_backlog_waiting"])


def test_overload_loses_nothing_keeps_answering_and_ends_by_itself(office: Office) -> None:
    content = list(rows(300))
    todo = {}
    for number in range(2, REPORTS + 2):
        order = CardOrder(TAXPAYER, TAXPAYER_NAME, MachineNo(number), 0, key_type="p256")
        card = office.bureau.registry.issue_card(order, office.root / f"card-{number}").card.signer()
        data, report = office.seal(card, content=content, invoices=300)
        path = office.root / f"{report.digest}.dat"
        path.write_bytes(data)
        todo[report.digest] = (path, hashlib.sha256(data).hexdigest())
    receipts: dict[str, bytes] = {}
    sent_away: dict[str, float] = {}
    slowest = [0.0]
    queue = list(todo)
    guard = threading.Lock()

    def push(url: str) -> None:
        gateway = HttpGateway(url, office.key(), SystemClock())
        while True:
            with guard:
                if not queue:
                    return
                digest = queue.pop()
            began = time.monotonic()
            try:
                receipt = gateway.put_report(digest, *todo[digest])
                with guard:
                    receipts[digest] = receipt
                    slowest[0] = max(slowest[0], time.monotonic() - began)
            except BureauBusy as busy:
                with guard:
                    sent_away[digest] = float(busy.context["seconds"])

    def rush(url: str) -> None:
        threads = [threading.Thread(target=push, args=(url,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)

    options = ("--processing-seconds", "0", "--max-queue", str(QUEUE), "--max-uploads", "4")
    with serving(office.root / "home", *options) as process:
        rush(process.url)
        assert sent_away, "it took everything: this was no overload"
        assert len(receipts) + len(sent_away) == REPORTS, "every station got an answer"
        assert all(seconds >= 5 for seconds in sent_away.values())
        assert slowest[0] < 10
        rounds = 0
        while len(receipts) < REPORTS:  # they come again, when there is room, and a few at a time
            until(lambda: backlog(process.url) == 0, PATIENCE)
            threading.Event().wait(1.1)  # what is known of the queue may be a second old
            queue += [digest for digest in todo if digest not in receipts]
            sent_away.clear()
            rush(process.url)
            rounds += 1
            assert rounds < 20
        until(lambda: backlog(process.url) == 0, PATIENCE)
    with office.bureau.store.read() as tx:
        assert {digest: tx.report(digest).receipt for digest in todo} == receipts  # type: ignore[union-attr]
        assert {len(tx.results(digest)) for digest in todo} == {1}
