"""Make a station, and open the one that was made."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cryptography import x509

from online_station.core.decide import DEFAULT_POLICY, Policy
from online_station.shell.gateway import Gateway, HttpGateway, check_url
from online_station.shell.home import Home
from online_station.shell.intake import Checkpoint, Inboxes
from online_station.shell.keyring import Keyring, Voice
from online_station.shell.node import OWN, Node, read_node, where, write_node
from online_station.shell.register import Register
from online_station.shell.retired import refuse_if_retired
from online_station.shell.runner import SETTLE_SECONDS, Station
from online_station.shell.store import Store
from online_station.shell.trust import Trust, read_root
from shared.clock import Clock
from shared.envelope.roles import Role, fingerprint, station_taxpayer
from shared.errors import AlreadyInitialised, ConfigurationError, NotInitialised, TaxferryError
from shared.jobs.limits import Limits
from shared.keys.file import load_key_file
from shared.keys.port import Signer
from shared.keys.secret import read_pin_file
from shared.model.trust import open_issued_trust, prove_trust
from shared.text import Text
from shared.text.system import os_reason

PROGRAM: Final = "online-station"
DEFAULT_LIMITS: Final = Limits(at_once=6, per_second=10.0, burst=20)

_ROOT: Final = "root_fingerprint"


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
        limits: What the service asks the bureau to bear, over all nodes.
        node: This node's name; empty if the station is one PC.
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
    limits: Limits = DEFAULT_LIMITS
    node: str = ""

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
    root: x509.Certificate | None = None,
    carried: bytes = b"",
    database: str | None = None,
    at_once: int | None = None,
    per_second: float | None = None,
) -> Initialised:
    """Make a station, or a node of one, or change the address, key, PIN file, folders, proxy or limits of one.

    What is not given stays. The address may change: whom to believe is the pinned root's matter, and that never changes.

    Args:
        home: Its folders.
        bureau: The bureau's address.
        key: The enterprise key.
        pin_file: What opens it.
        root_file: The root certificate; None if it is to come from the bureau, or came by another way.
        root: The root that a person compared, where it came on a stick.
        carried: The trust file that came with it, for as long as the bureau cannot be reached.
        inbox: Where files arrive.
        outbox: Where results go.
        proxy: An HTTP proxy.
        ca_file: Certificates for TLS.
        clock: The time.
        database: URL of the PostgreSQL database that the nodes of the station share; None for a file in the home.
        at_once: Requests that the bureau is asked at the same time.
        per_second: Requests that are begun per second.

    Raises:
        AlreadyInitialised: It belongs to another root, or has another database. Nothing was changed.
        TaxferryError: Something does not fit or cannot be reached. No settings were written.
    """
    url = check_url(bureau)
    now = clock.now()
    signer = load_key_file(key, read_pin_file(pin_file))
    taxpayer = station_taxpayer(signer.certificate)
    given = root if root_file is None else read_root(root_file)
    home.create()
    with home.locked():
        node = _node(home, database)
        store = Store(home.database if node is None else node.database, DEFAULT_POLICY)
        try:
            before = store.settings() | ({} if node is None else dict(node.settings))
            limits = _limits(before, at_once, per_second)
            inbox = (inbox or Path(before.get("inbox", home.default_inbox))).absolute()
            outbox = (outbox or Path(before.get("outbox", home.default_outbox))).absolute()
            if inbox == outbox:
                raise ConfigurationError(
                    reason=Text("收件与发件文件夹不能相同", "the inbox and the outbox cannot be the same folder")
                )
            proxy = before.get("proxy", "") if proxy is None else proxy
            ca_path = before.get("ca_file", "") if ca_file is None else str(ca_file.absolute())
            pinned = read_root(home.trust / "root.pem") if (home.trust / "root.pem").is_file() else None
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
            fetched, raw = bool(raw), raw or carried
            root = pinned or given or open_issued_trust(raw, at=now).roots_in_force[-1]
            if before.get(_ROOT, fingerprint(root)) != fingerprint(root):
                raise AlreadyInitialised(what=Text("另一个税局根证书", "another root certificate"))
            if raw and pinned is None:
                prove_trust(raw, root=root, at=now)  # a root that does not fit must not stay behind, pinned
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
                "taxpayer_id": taxpayer,
                "at_once": str(limits.at_once),
                "per_second": str(limits.per_second),
                _ROOT: fingerprint(root),
            }
            if fetched and node is None:
                values["trust_asked_at"] = now.isoformat()
            store.set_new(station_id=f"online-{secrets.token_hex(2)}")  # of two nodes that start at once, one names it
            if node is not None:
                write_node(home, replace(node, settings={name: values.pop(name) for name in sorted(OWN)}))
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


def _node(home: Home, database: str | None) -> Node | None:
    """Return the node that a home is or becomes; None for a station with a database of its own."""
    node = read_node(home)
    if database is None:
        return node
    if home.database.is_file():
        raise AlreadyInitialised(what=Text("本机自己的数据库", "a database of its own"))
    return Node.new(database) if node is None else replace(node, database=database)


def _limits(before: Mapping[str, str], at_once: int | None, per_second: float | None) -> Limits:
    known = DEFAULT_LIMITS
    most = at_once if at_once is not None else int(before.get("at_once", known.at_once))
    rate = per_second if per_second is not None else float(before.get("per_second", known.per_second))
    try:
        return Limits(at_once=most, per_second=rate, burst=max(1, round(2 * rate)))
    except ValueError:
        raise ConfigurationError(
            reason=Text("--at-once 与 --per-second 必须大于零", "--at-once and --per-second have to be above zero")
        ) from None


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
    node = read_node(home)
    found = store.settings() | ({} if node is None else dict(node.settings))
    if not {"bureau", "inbox"} <= found.keys():
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
        limits=_limits(found, None, None),
        node="" if node is None else node.name,
    )


@contextmanager
def opened(home: Home, policy: Policy = DEFAULT_POLICY) -> Iterator[Store]:
    """Open the database of a station that was made.

    Raises:
        NotInitialised: There is none.
    """
    database = where(home)
    if database is None:
        raise NotInitialised(home=home.root, program=PROGRAM)
    store = Store(database, policy)
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
        refuse_if_retired(store)
        signer = settings.signer()

        def connect(key: Signer) -> Gateway:
            return settings.gateway(key, clock) if gateway is None else gateway(settings, key)

        register = Register(store)

        paths: dict[str, Path] = {}

        def companies_folders() -> list[Path]:
            return [paths.get(folder) or paths.setdefault(folder, Path(folder)) for folder in register.folders()]

        own = Voice(connect(signer), fingerprint(signer.certificate))
        station = Station(
            home,
            store,
            Trust(home.trust, clock.now()),
            Keyring(own, register, connect),
            clock,
            inboxes=Inboxes(settings.inbox, companies_folders),
            outbox=settings.outbox,
            limits=settings.limits,
            node=settings.node,
            checkpoint=checkpoint,
            settle=settle,
            notify=notify,
        )
        station.recover()
        yield station
