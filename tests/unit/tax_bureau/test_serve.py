"""The running process: its ready line, its stop, and that killing it loses nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from online_station.shell.gateway import HttpGateway, Processing
from shared.clock import SystemClock
from shared.errors import BureauRefused
from shared.model.receipt import prove_receipt
from shared.model.result import prove_result
from tax_bureau.home import Bureau, open_bureau
from tax_bureau.serve import listen, url_of
from tests.support.bureau import Office
from tests.support.bureau_process import PATIENCE, serving
from tests.support.pki import OTHER_TAXPAYER


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """Return a bureau whose certificates are in force now: the processes have the machine's clock."""
    return Office(tmp_path / "office", real_time=True)


def upload(office: Office, gateway: HttpGateway, **changes: object) -> tuple[str, bytes]:
    data, report = office.seal(**changes)
    path = office.root / f"{report.digest}.dat"
    path.write_bytes(data)
    return report.digest, gateway.put_report(report.digest, path, hashlib.sha256(data).hexdigest())


def wait_for_result(gateway: HttpGateway, digest: str) -> bytes:
    last = time.monotonic() + PATIENCE
    while time.monotonic() < last:
        answer = gateway.result(digest)
        if not isinstance(answer, Processing):
            return answer
        time.sleep(0.05)
    raise AssertionError("no result")


def results_of(office: Office, digest: str) -> list[int]:
    bureau: Bureau = open_bureau(office.root / "home", SystemClock())
    with closing(bureau.store), bureau.store.read() as tx:
        return [r.result_no for r in tx.results(digest)]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_serves_stations_and_stops_in_order_when_told(office: Office, how: signal.Signals) -> None:
    with serving(office.root / "home", "--processing-seconds", "0.5") as process:
        gateway = HttpGateway(process.url, office.key(), SystemClock())
        digest, receipt = upload(office, gateway)
        proven = prove_receipt(receipt, office.bureau.keyring.store, at=SystemClock().now())
        assert proven.receipt.report_digest == digest
        assert isinstance(gateway.result(digest), Processing)
        text = wait_for_result(gateway, digest)
        assert prove_result(text, office.bureau.keyring.store, at=SystemClock().now()).result.code in ("271D", "LOCKED")
        status, errors = process.end(how)
        assert (status, errors) == (0, "")
        assert process.process.stdout is not None


def test_killed_while_processing_it_goes_on_and_judges_once(office: Office) -> None:
    home = office.root / "home"
    with serving(home, "--processing-seconds", "1") as process:
        gateway = HttpGateway(process.url, office.key(), SystemClock())
        digest, _ = upload(office, gateway)
        process.end(signal.SIGKILL)
    with serving(home) as process:
        gateway = HttpGateway(process.url, office.key(), SystemClock())
        wait_for_result(gateway, digest)
        process.end(signal.SIGKILL)
    with serving(home) as process:
        gateway = HttpGateway(process.url, office.key(), SystemClock())
        first = wait_for_result(gateway, digest)
        assert gateway.result(digest) == first
    assert results_of(office, digest) == [1]


def test_other_verbs_work_beside_it(office: Office) -> None:
    home = office.root / "home"
    with serving(home, "--processing-seconds", "0") as process:
        gateway = HttpGateway(process.url, office.key(), SystemClock())
        digest, _ = upload(office, gateway)
        wait_for_result(gateway, digest)
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tax_bureau",
                "--home",
                str(home),
                "decide",
                digest[:8],
                "--success",
                "--reason=补录",
                "--json",
            ],
            capture_output=True,
            timeout=PATIENCE,
            check=True,
        )
        number = json.loads(done.stdout)["data"]["result_no"]
        proven = prove_result(wait_for_result(gateway, digest), office.bureau.keyring.store, at=SystemClock().now())
        assert (proven.result.result_no, proven.result.outcome) == (number, "success")


def test_station_learns_refusals_from_it(office: Office) -> None:

    with serving(office.root / "home", "--processing-seconds", "60") as process:
        own = HttpGateway(process.url, office.key(), SystemClock())
        other = HttpGateway(process.url, office.key(OTHER_TAXPAYER), SystemClock())
        assert own.report_status("0" * 64) is None
        with pytest.raises(BureauRefused):
            upload(office, other)
        digest, _ = upload(office, own)
        status = own.report_status(digest)
        assert status is not None
        assert status.state == "stored"
        assert abs((own.clock() - SystemClock().now()).total_seconds()) < 60


def test_port_in_use_is_a_clear_error(office: Office) -> None:
    with contextlib.closing(listen("127.0.0.1", 0)) as server:
        port = url_of(server).rsplit(":", 1)[1]
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tax_bureau",
                "--home",
                str(office.root / "home"),
                "serve",
                "--port",
                port,
                "--json",
            ],
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 50
    assert port in json.loads(done.stdout)["errors"][0]["message"]
