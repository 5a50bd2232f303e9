"""The baseline of `benchmarks.agency`: one thread per file, asking at fixed intervals, remembering nothing.

    python -m benchmarks.agency_naive MONTH FOLDER URL SECONDS

It proves what it sends and what it gets, with the station's own client; it keeps no order, no limits and no database, and a
kill loses what it was doing.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from online_station.shell.gateway import HttpGateway, Processing
from shared.clock import SystemClock
from shared.envelope.chain import TrustStore
from shared.envelope.opening import prove_report
from shared.errors import BureauError
from shared.files import hash_file
from shared.keys.file import load_key_file
from shared.keys.secret import read_pin_file
from shared.model.ack import prove_ack
from shared.model.result import prove_result
from shared.model.trust import open_issued_trust
from tests.support.agency_month import Month

AT_ONCE = 32
ASKS = 4
"""How often it would ask in the bureau's 40 minutes."""


class Errand:
    """What has to be done for a file, without anything around it."""

    def __init__(self, month: Month, folder: Path, url: str, seconds: float) -> None:
        self.inbox, self.outbox, self.kept = folder / "shared/in", folder / "shared/out", folder / "kept"
        self.kept.mkdir(exist_ok=True)
        self.pause = seconds / ASKS
        self.clock = SystemClock()
        self.signer = load_key_file(month.key, read_pin_file(month.pin_file))
        self.url = url
        trust = open_issued_trust(self.gateway().trust(), at=self.clock.now())
        self.trust: TrustStore = trust.store()

    def gateway(self) -> HttpGateway:
        """Return a client; none is shared between threads."""
        return HttpGateway(self.url, self.signer, self.clock)

    def take(self, path: Path) -> Path:
        """Move a file out of the inbox."""
        return Path(shutil.move(path, self.kept / path.name))

    def send(self, path: Path) -> str:
        """Prove a report and send it until somebody takes it; return its digest."""
        gateway = self.gateway()
        with path.open("rb") as file:
            proven = prove_report(io.BytesIO(file.read()), self.trust, at=self.clock.now())
        header = proven.header
        while True:
            try:
                gateway.standing(header.taxpayer_id, header.period)
                gateway.put_report(proven.digest, path, hash_file(path)[0])
                return proven.digest
            except BureauError:
                time.sleep(self.pause)

    def ask(self, digest: str) -> bool:
        """Ask for the result once; return whether it lies in the outbox now."""
        try:
            answer = self.gateway().result(digest)
        except BureauError:
            return False
        if isinstance(answer, Processing):
            return False
        found = prove_result(answer, self.trust, at=self.clock.now())
        target = self.outbox / found.result.name.file_name(".txt")
        temporary = self.outbox / f".{target.name}.part"
        temporary.write_bytes(answer)
        temporary.rename(target)
        return True

    def close(self, path: Path) -> bool:
        """Deliver a clear receipt once; return whether it arrived."""
        data = path.read_bytes()
        ack = prove_ack(data, self.trust, at=self.clock.now()).ack
        try:
            self.gateway().put_ack(ack.report_digest, data)
        except BureauError:
            return False
        return True


def main() -> None:
    """Work until killed."""
    month, folder, url, seconds = Month(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    threading.stack_size(512 << 10)
    errand = Errand(month, folder, url, seconds)
    line = threading.Semaphore(AT_ONCE)

    def report(path: Path) -> None:
        with line:
            digest = errand.send(path)
        while True:
            time.sleep(errand.pause)
            with line:
                if errand.ask(digest):
                    return

    def ack(path: Path) -> None:
        while True:
            with line:
                if errand.close(path):
                    return
            time.sleep(errand.pause)

    while True:
        for path in sorted(errand.inbox.iterdir()):
            if path.suffix in (".dat", ".ack"):
                work = report if path.suffix == ".dat" else ack
                threading.Thread(target=work, args=(errand.take(path),), daemon=True).start()
        time.sleep(0.5)


if __name__ == "__main__":
    main()
