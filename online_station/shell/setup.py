"""Make a station, and open the one that was made."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509

from online_station.core.decide import DEFAULT_POLICY, Policy
from online_station.shell.gateway import Gateway, HttpGateway, check_url
from online_station.shell.home import Home
from online_station.shell.intake import Checkpoint, Inboxes
from online_station.shell.keyring import Keyring, Voice
from online_station.shell.register import Register
from online_station.shell.runner import SETTLE_SECONDS, Station
from online_station.shell.store import Store
from online_station.shell.trust import Trust, read_root
from shared.clock import Clock
from shared.envelope.roles import Role, fingerprint, station_taxpayer
from shared.errors import AlreadyInitialised, ConfigurationError, NotInitialised, TaxferryError
from shared.keys.file import load_key_file
from shared.keys.port import Signer
from shared.keys.secret import read_pin_file
from shared.model.trust import open_issued_trust
from shared.text import Text
from shared.text.system import os_reason

PROGRAM: Final = "online-station"


def _no_crash(_point: str) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Settings:
    """What `init` decided.

    Attributes:
        bureau: The bureau's address.
        key: The key file.
        pin_file: What opens it.
        inbox: Where files arrive.
        outbox: Where results go.
        proxy: An HTTP proxy, or empty.
        ca_file: Certificates for TLS, or empty for the system's.
        station_id: This station's name on sticks.
        taxpayer_id: Whose key it is.
    """

    bureau: str
    key: Path
    pin_file: Path
    inbox: Path
    outbox: Path
    proxy: str
    ca_file: str
    station_id: str
    taxpayer_id: str

    def signer(self) -> Signer:
        """Load the enterprise key.

        Raises:
            KeyUnavailable: It cannot be used now.
        """
        return load_key_file(self.key, read_pin_file(self.pin_file))

    def gateway(self, signer: Signer, clock: Clock) -> HttpGateway:
        """Return the bureau's client."""
        return HttpGateway(
            self.bureau, signer, clock, proxy=self.proxy, ca_file=Path(self.ca_file) if self.ca_file else None
        )


@dataclass(frozen=True)
class Initialised:
    """What `init` came to.

    Attributes:
        settings: What is in force now.
        root: The pinned root.
        root_was_given: Whether a person handed it over; otherwise it has to be compared.
        keyid: Fingerprint of the enterprise key's certificate.
        trust_version: Of the trust file in force; None if none could be fetched yet.
        warnings: What a person should know.
    """

    settings: Settings
    root: x509.Certificate
    root_was_given: bool
    keyid: str
    trust_version: int | None
    warnings: tuple[Text, ...]


def initialise(
    home: Home,
    *,
    bureau: str,
    key: Path,
    pin_file: Path,
    root_file: Path | None,
    inbox: Path | None,
    outbox: Path | None,
    proxy: str | None,
    ca_file: Path | None,
    clock: Clock,
) -> Initialised:
    """Make a station, or change the address, key, PIN file, folders or proxy of one; what is not given stays.

    The address may change: whom to believe is the pinned root's matter, and that never changes.

    Raises:
        AlreadyInitialised: It belongs to another root. Nothing was changed.
        TaxferryError: Something does not fit or cannot be reached. No settings were written.
    """
    url = check_url(bureau)
    now = clock.now()
    signer = load_key_file(key, read_pin_file(pin_file))
    taxpayer = station_taxpayer(signer.certificate)
    given = None if root_file is None else read_root(root_file)
    home.create()
    with home.locked():
        store = Store(home.database, DEFAULT_POLICY)
        try:
            before = store.settings()
            inbox = (inbox or Path(before.get("inbox", home.default_inbox))).absolute()
            outbox = (outbox or Path(before.get("outbox", home.default_outbox))).absolute()
            if inbox == outbox:
                raise ConfigurationError(
                    reason=Text("收件与发件文件夹不能相同", "the inbox and the outbox cannot be the same folder")
                )
            proxy = before.get("proxy", "") if proxy is None else proxy
            ca_path = before.get("ca_file", "") if ca_file is None else str(ca_file.absolute())
            pinned = read_root(home.trust / "root.pem") if before else None
            if pinned is not None and given is not None and pinned != given:
                raise AlreadyInitialised(what=Text("另一个税局根证书", "another root certificate"))
            gateway = HttpGateway(url, signer, clock, proxy=proxy, ca_file=Path(ca_path) if ca_path else None)
            warnings: list[Text] = []
            raw = b""
            try:
                raw = gateway.trust()
            except TaxferryError as error:
                if given is None and pinned is None:
                    raise  # without a root there is nothing to believe
                warnings.append(error.text)
            root = pinned or given or open_issued_trust(raw, at=now).roots_in_force[-1]
            trust = Trust.pin(home.trust, root, now)
            if raw:
                trust.adopt(raw, now)
                warnings.extend(trust.store.prove(signer.certificate, signer.chain, Role.STATION, at=now))
            for folder in (inbox, outbox):
                _make_folder(folder)
            values = {
                "bureau": url,
                "key": str(key.absolute()),
                "pin_file": str(pin_file.absolute()),
                "inbox": str(inbox),
                "outbox": str(outbox),
                "proxy": proxy,
                "ca_file": ca_path,
                "station_id": before.get("station_id") or f"online-{secrets.token_hex(2)}",
                "taxpayer_id": taxpayer,
            }
            if raw:
                values["trust_asked_at"] = now.isoformat()
            store.set(**values)
            return Initialised(
                settings=read_settings(home, store),
                root=root,
                root_was_given=given is not None or pinned is not None,
                keyid=fingerprint(signer.certificate),
                trust_version=None if trust.current is None else trust.current.version,
                warnings=tuple(warnings),
            )
        finally:
            store.close()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            reason=Text(
                f"不能建立文件夹 {folder}（{os_reason(error).zh}）", f"cannot make {folder}: {os_reason(error).en}"
            )
        ) from None


def read_settings(home: Home, store: Store) -> Settings:
    """Return what `init` decided.

    Raises:
        NotInitialised: There was no `init`.
    """
    found = store.settings()
    if "bureau" not in found:
        raise NotInitialised(home=home.root, program=PROGRAM)
    return Settings(
        bureau=found["bureau"],
        key=Path(found["key"]),
        pin_file=Path(found["pin_file"]),
        inbox=Path(found["inbox"]),
        outbox=Path(found["outbox"]),
        proxy=found.get("proxy", ""),
        ca_file=found.get("ca_file", ""),
        station_id=found["station_id"],
        taxpayer_id=found["taxpayer_id"],
    )


@contextmanager
def opened(home: Home, policy: Policy = DEFAULT_POLICY) -> Iterator[Store]:
    """Open the database of a station that was made.

    Raises:
        NotInitialised: There is none.
    """
    if not home.database.is_file():
        raise NotInitialised(home=home.root, program=PROGRAM)
    store = Store(home.database, policy)
    try:
        read_settings(home, store)
        yield store
    finally:
        store.close()


@contextmanager
def at_work(
    home: Home,
    clock: Clock,
    *,
    policy: Policy = DEFAULT_POLICY,
    checkpoint: Checkpoint = _no_crash,
    settle: float = SETTLE_SECONDS,
    notify: Callable[[Mapping[str, object]], None] | None = None,
    gateway: Callable[[Settings, Signer], Gateway] | None = None,
) -> Iterator[Station]:
    """Own the station, recover from whatever ended the last owner, and give it to the block.

    Raises:
        NotInitialised: There is no station.
        StationBusy: Another process owns it.
        KeyUnavailable: The enterprise key cannot be used now.
    """
    with opened(home, policy) as store, home.locked():
        settings = read_settings(home, store)
        signer = settings.signer()

        def connect(key: Signer) -> Gateway:
            return settings.gateway(key, clock) if gateway is None else gateway(settings, key)

        register = Register(store)

        def companies_folders() -> list[Path]:
            return [Path(company.inbox) for company in register.companies() if company.inbox]

        own = Voice(connect(signer), fingerprint(signer.certificate))
        station = Station(
            home,
            store,
            Trust(home.trust, clock.now()),
            Keyring(own, register, connect),
            clock,
            inboxes=Inboxes(settings.inbox, companies_folders),
            outbox=settings.outbox,
            checkpoint=checkpoint,
            settle=settle,
            notify=notify,
        )
        station.recover()
        yield station
