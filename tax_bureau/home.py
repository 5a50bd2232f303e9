"""A bureau's folder: what is in it, how it is made and how it is opened.

bureau.db    the memory; or
database     the URL of the PostgreSQL database that is the memory, readable by its owner only
keys/        the bureau's own keys
audit/       the newest signed checkpoint of what people did
spool/       received reports
locks/       what processes of this bureau lock
logs/        who asked for what

Several processes serve and judge on one PostgreSQL database. They all work in this one folder: on one machine as it is,
on several as a share. The reports stay files there and do not go into the database, as they are up to 1 GiB and are
written and read in one pass and bounded memory; a file is durable under its name before its row is committed, so that
whoever sees the row can read the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from shared.calendar import filing_deadline
from shared.clock import Clock
from shared.durable import write_durably
from shared.envelope.roles import fingerprint
from shared.errors import NotInitialised, WrongState
from shared.model.trust import render_trust
from shared.text import Text
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
_URL_FILE: Final = "database"


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
    home: Path,
    clock: Clock,
    *,
    key_type: KeyType = "rsa",
    gateways: tuple[str, ...] = (),
    database: str = "",
    by: By = PROGRAM,
) -> bool:
    """Make a bureau in `home`: its keys and version 1 of its trust file.

    Args:
        home: Its folder.
        clock: The time.
        key_type: Of its own keys.
        gateways: Addresses for the trust file.
        database: URL of an empty PostgreSQL database; without one, the memory is a file in `home`. It is kept in a file
            and never shown again, as it may hold a password.
        by: Who makes it.

    Returns:
        Whether it was made now; a finished one is left as it is, an interrupted attempt is begun anew.

    Raises:
        WrongState: The bureau in `home` has another memory, or the database is another bureau's. Nothing was changed.
        StoreUnreachable: There is no server, or it lets nobody in. Nothing was changed.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    where = _memory(home)
    if database and where is not None and where != database:
        raise WrongState(
            reason=Text("这个税局已有另一个数据库", "this bureau has another database already"),
            next_action=Text("换一个 --home 建立新的税局", "make the new one in another --home"),
        )
    store = Store(database or where or home / "bureau.db")
    try:
        if database and where is None:
            with store.read() as tx:
                taken = tx.setting(_READY) is not None
            if taken:
                raise WrongState(
                    reason=Text("该数据库属于另一个税局", "the database belongs to another bureau"),
                    next_action=Text(
                        "给出空的数据库；同一税局的其他进程共用同一个 --home",
                        "give an empty one; further processes of one bureau share its --home",
                    ),
                )
            write_durably(home / _URL_FILE, database.encode(), mode=0o600)
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
    where = _memory(home)
    if where is None:
        raise NotInitialised(home=home, program="tax-bureau")
    store = Store(where)
    with store.read() as tx:
        ready = tx.setting(_READY) is not None
    if not ready:
        store.close()
        raise NotInitialised(home=home, program="tax-bureau")
    keys = KeyringOnDisk(home / "keys")
    spool = Spool(home / "spool")
    parts = Parts(home / "spool" / "parts", home / "locks")
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


def _memory(home: Path) -> Path | str | None:
    """Return where a bureau's memory is, or None if there is no bureau."""
    kept = home / _URL_FILE
    if kept.exists():
        return kept.read_text(encoding="utf-8").strip()
    path = home / "bureau.db"
    return path if path.exists() else None
