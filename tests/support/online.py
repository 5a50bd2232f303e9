"""A whole online station inside the test: its folders, a clock that stands, and a scripted bureau on 127.0.0.1."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from online_station.core.decide import DEFAULT_POLICY, Policy
from online_station.shell.gateway import PART_BYTES, HttpGateway
from online_station.shell.home import Home
from online_station.shell.records import ReportRow
from online_station.shell.runner import Station
from online_station.shell.setup import at_work, initialise, opened
from shared.clock import FixedClock
from shared.envelope.roles import Role
from shared.envelope.textsign import sign_text
from shared.ids import MachineNo, ReportDigest
from shared.keys.file import SoftSigner
from shared.keys.secret import Secret
from shared.model.ack import Ack, render_ack
from shared.model.result import parse_result, prove_result
from tax_bureau.issue import make_pkcs12, station_name
from tests.support.fake_bureau import FakeBureau, serving
from tests.support.pki import NOW, TAXPAYER, TAXPAYER_NAME, Pki, pki
from tests.support.reports import noise, sealed

PIN = Secret("135790")
PERIOD = "2026-07"


@dataclass
class Desk:
    """One station and its bureau.

    Attributes:
        root: Everything lies below it.
        bureau: The scripted bureau.
        clock: The station's clock.
        policy: How patient the station is.
        part_bytes: Larger reports are sent in parts of this size.
        checkpoint: Told where a crash would be interesting.
        name: What this node is called, if there are several.
        shared: Where the nodes' common folders are; None for folders of its own.
    """

    root: Path
    bureau: FakeBureau
    clock: FixedClock
    policy: Policy = DEFAULT_POLICY
    part_bytes: int = PART_BYTES
    checkpoint: Any = field(default=lambda point: None)
    name: str = "上网机 1"
    shared: Path | None = None

    @property
    def home(self) -> Home:
        return Home(self.root / self.name)

    @property
    def inbox(self) -> Path:
        return self.home.default_inbox if self.shared is None else self.shared / "收件"

    @property
    def outbox(self) -> Path:
        return self.home.default_outbox if self.shared is None else self.shared / "发件"

    def initialise(self, database: str | None = None, **settings: Any) -> None:
        """Make the station, or a node of it."""
        initialise(
            self.home,
            bureau=self.bureau.url,
            key=self.root / "key.p12",
            pin_file=self.root / "口令.txt",
            root_file=self.root / "root.pem",
            inbox=None if self.shared is None else self.inbox,
            outbox=None if self.shared is None else self.outbox,
            proxy="",
            ca_file=None,
            clock=self.clock,
            database=database,
            **settings,
        )

    def another(self, name: str, database: str) -> Desk:
        """Make another node of the same station."""
        made = replace(self, name=name)
        made.initialise(database)
        return made

    @contextmanager
    def station(self, **more: Any) -> Iterator[Station]:
        with at_work(
            self.home, self.clock, policy=self.policy, checkpoint=self.checkpoint, settle=0.0, **more
        ) as station:
            if isinstance(station.keyring.own.gateway, HttpGateway):
                station.keyring.own.gateway.part_bytes = self.part_bytes
            yield station

    def once(self):
        with self.station() as station:
            return station.once(patient=False)

    def ask_now(self):
        with self.station() as station:
            return station.ask_now()

    def row(self, wanted: str) -> ReportRow:
        with opened(self.home, self.policy) as store:
            return store.find(wanted)

    def state(self, wanted: str) -> str:
        return self.row(wanted).state.value

    def state_or_none(self, wanted: str) -> str | None:
        with opened(self.home, self.policy) as store:
            row = store.report(wanted)
        return None if row is None else row.state.value

    def decide(self, wanted: str, event: Any) -> None:
        with opened(self.home, self.policy) as store:
            store.apply(store.find(wanted).digest, event, self.clock.now())

    def report(self, machine: int = 0, *, name: str | None = None, put: bool = True, **changes: Any) -> str:
        """Seal a report and put it into the inbox; return its digest."""
        data, made = make_report(machine, self.bureau.pki, **changes)
        if put:
            (self.inbox / (name or made.header.name.file_name(".dat"))).write_bytes(data)
        return made.digest

    def ack(self, digest: str, *, name: str | None = None) -> Path:
        """Put the clear receipt for the newest success into the inbox."""
        data, stem = make_ack(self.bureau, digest)
        path = self.inbox / (name or f"{stem}.ack")
        path.write_bytes(data)
        return path


def make_report(machine: int = 0, world: Pki | None = None, **changes: Any):
    world = world or pki()
    signer = changes.pop("signer", None) or world.card(machine_no=machine, key_type="p256")
    return sealed(signer, world=world, **changes)


def large_report(size: int, world: Pki | None = None, *, seed: int = 0, **changes: Any):
    """Return the octets of a report of about that size, and what its writer says about it; nobody reads its rows."""
    return make_report(0, world, content=noise(size, seed), **{"invoices": 0, **changes})


def make_ack(bureau: FakeBureau, digest: str) -> tuple[bytes, str]:
    answer = bureau.reports[digest].answer
    assert answer is not None
    proven = prove_result(answer, bureau.pki.trust, at=NOW)
    result = parse_result(proven.body)
    assert result.lock_date is not None
    ack = Ack(
        result.name,
        result.card_no,
        ReportDigest(result.report_digest),
        result.result_no,
        hashlib.sha256(proven.body).hexdigest(),
        NOW,
        result.lock_date,
    )
    card = bureau.pki.card(machine_no=MachineNo(result.name.machine_no), key_type="p256")
    return sign_text(render_ack(ack), card, signing_time=NOW), result.name.stem


def key_file(folder: Path, world: Pki, taxpayer: str = TAXPAYER) -> tuple[Path, Path, SoftSigner]:
    """Write an enterprise key and its PIN file."""
    key = world.key("p256", f"station file {taxpayer}")
    certificate = world.leaf(Role.STATION, station_name(TAXPAYER_NAME, taxpayer), key)  # type: ignore[arg-type]
    path, pin = folder / "key.p12", folder / "口令.txt"
    path.write_bytes(make_pkcs12(key, certificate, (world.issuing,), PIN, label="station"))
    pin.write_text("135790\n", encoding="utf-8")
    return path, pin, SoftSigner(key, certificate, (world.issuing,))


@contextmanager
def desk(root: Path, database: str | None = None, **settings: Any) -> Iterator[Desk]:
    """Run a scripted bureau and make a station that is on its file."""
    from cryptography.hazmat.primitives.serialization import Encoding

    world = pki()
    key, pin, signer = key_file(root, world)
    pem = root / "root.pem"
    pem.write_bytes(world.root.public_bytes(Encoding.PEM))
    with serving(FakeBureau(world, declared={PERIOD})) as bureau:
        bureau.know(signer.certificate)
        made = Desk(root, bureau, FixedClock(NOW), **settings)
        assert (key, pin, pem) == (root / "key.p12", root / "口令.txt", root / "root.pem")
        made.initialise(database)
        yield made
