"""A bureau's folder: what is in it, how it is made and how it is opened.

bureau.db    the memory
keys/        the bureau's own keys
audit/       the newest signed checkpoint of what people did
spool/       received reports
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from shared.calendar import filing_deadline
from shared.clock import Clock
from shared.envelope.roles import fingerprint
from shared.errors import NotInitialised
from shared.model.trust import render_trust
from tax_bureau.audit import PROGRAM, By
from tax_bureau.book import Book
from tax_bureau.calendar import FilingCalendar
from tax_bureau.desk import Desk
from tax_bureau.issue import KeyType
from tax_bureau.keyring import Keyring, KeyringOnDisk, load_keyring, make_keyring
from tax_bureau.parts import Parts
from tax_bureau.registry import Registry
from tax_bureau.spool import Spool
from tax_bureau.store import Store
from tax_bureau.trust_office import TrustOffice, trust_file

_READY: Final = "initialised"


@dataclass(frozen=True)
class Bureau:
    """An open bureau.

    Attributes:
        home: Its folder.
        store: Its memory.
        keys: Its keys as they are now.
        spool: Its received files.
        registry: Cards and keys of taxpayers.
        trust: Its keys, revocations and calendar, and what it tells others of them.
        calendar: Until when a month can be filed.
        book: The record of what people did.
        desk: Its work on reports.
        clock: Its time.
    """

    home: Path
    store: Store
    keys: KeyringOnDisk
    spool: Spool
    registry: Registry
    trust: TrustOffice
    calendar: FilingCalendar
    book: Book
    desk: Desk
    clock: Clock

    @property
    def keyring(self) -> Keyring:
        """The bureau's keys."""
        return self.keys()


def filing_day(month: str) -> date:
    """Return the last filing day of a month `YYYY-MM`, by the official calendar."""
    return filing_deadline(month).day


def init_bureau(
    home: Path, clock: Clock, *, key_type: KeyType = "rsa", gateways: tuple[str, ...] = (), by: By = PROGRAM
) -> bool:
    """Make a bureau in `home`: its keys and version 1 of its trust file.

    Returns:
        Whether it was made now; a finished one is left as it is, an interrupted attempt is begun anew.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = Store(home / "bureau.db")
    try:
        with store.read() as tx:
            if tx.setting(_READY) is not None:
                return False
        keys = home / "keys"
        keys.mkdir(mode=0o700, exist_ok=True)
        now = clock.now()
        make_keyring(keys, key_type, now)
        keyring = load_keyring(keys)
        trust = trust_file(keyring, {}, gateways, version=1, now=now)
        with store.write() as tx:
            tx.add_trust_file(1, render_trust(trust, keyring.trust))
            tx.set_setting(_READY, "1")
            # No checkpoint yet: whoever closes this bureau for the first time signs it.
            tx.add_audit(by, now, "init", "bureau", root=fingerprint(keyring.root))
        return True
    finally:
        store.close()


def open_bureau(home: Path, clock: Clock) -> Bureau:
    """Open a bureau.

    Raises:
        NotInitialised: There is none in `home`.
    """
    if not (home / "bureau.db").exists():
        raise NotInitialised(home=home, program="tax-bureau")
    store = Store(home / "bureau.db")
    with store.read() as tx:
        ready = tx.setting(_READY) is not None
    if not ready:
        store.close()
        raise NotInitialised(home=home, program="tax-bureau")
    keys = KeyringOnDisk(home / "keys")
    spool = Spool(home / "spool")
    parts = Parts(home / "spool" / "parts")
    calendar = FilingCalendar(store)
    book = Book(store, keys, home / "audit", clock)
    return Bureau(
        home=home,
        store=store,
        keys=keys,
        spool=spool,
        registry=Registry(store, keys, clock, calendar, book),
        trust=TrustOffice(store, keys, home / "keys", clock, book),
        calendar=calendar,
        book=book,
        desk=Desk(store, keys, spool, parts, clock, calendar, book),
        clock=clock,
    )
