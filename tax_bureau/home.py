"""A bureau's folder: what is in it, how it is made and how it is opened.

bureau.db    the memory; or
database     the URL of the PostgreSQL database that is the memory, readable by its owner only
keys/        the bureau's own keys
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
from shared.clock import CHINA, Clock
from shared.durable import write_durably
from shared.envelope.roles import Role
from shared.errors import NotInitialised, WrongState
from shared.model.trust import TrustFile, render_trust
from shared.text import Text
from tax_bureau.authority import month_text, next_month
from tax_bureau.desk import Desk
from tax_bureau.issue import KeyType
from tax_bureau.keyring import Keyring, load_keyring, make_keyring
from tax_bureau.parts import Parts
from tax_bureau.registry import Registry
from tax_bureau.spool import Spool
from tax_bureau.store import Store

_READY: Final = "initialised"
_URL_FILE: Final = "database"
_CALENDAR_MONTHS: Final = 14


@dataclass(frozen=True)
class Bureau:
    """An open bureau.

    Attributes:
        home: Its folder.
        store: Its memory.
        keyring: Its keys.
        spool: Its received files.
        registry: Cards and keys of taxpayers.
        desk: Its work on reports.
        clock: Its time.
    """

    home: Path
    store: Store
    keyring: Keyring
    spool: Spool
    registry: Registry
    desk: Desk
    clock: Clock


def filing_day(month: str) -> date:
    """Return the last filing day of a month `YYYY-MM`, by the official calendar."""
    return filing_deadline(month).day


def init_bureau(
    home: Path, clock: Clock, *, key_type: KeyType = "rsa", gateways: tuple[str, ...] = (), database: str = ""
) -> bool:
    """Make a bureau in `home`: its keys and version 1 of its trust file.

    Args:
        home: Its folder.
        clock: The time.
        key_type: Of its own keys.
        gateways: Addresses for the trust file.
        database: URL of an empty PostgreSQL database; without one, the memory is a file in `home`. It is kept in a file
            and never shown again, as it may hold a password.

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
        trust = TrustFile(
            version=1,
            issued_at=now,
            roots=(keyring.root,),
            intermediates=(keyring.issuing,),
            certificates={
                Role.BUREAU_RESULT: (keyring.result.certificate,),
                Role.BUREAU_ENVELOPE: (keyring.envelope.certificate,),
                Role.TRUST: (keyring.trust.certificate,),
            },
            crls=keyring.crls,
            calendar=_calendar(now.astimezone(CHINA).date()),
            gateways=gateways,
        )
        with store.write() as tx:
            tx.add_trust_file(1, render_trust(trust, keyring.trust))
            tx.set_setting(_READY, "1")
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
    keyring = load_keyring(home / "keys")
    spool = Spool(home / "spool")
    parts = Parts(home / "spool" / "parts", home / "locks")
    return Bureau(
        home=home,
        store=store,
        keyring=keyring,
        spool=spool,
        registry=Registry(store, keyring, clock, filing_day),
        desk=Desk(store, keyring, spool, parts, clock, filing_day),
        clock=clock,
    )


def _memory(home: Path) -> Path | str | None:
    """Return where a bureau's memory is, or None if there is no bureau."""
    kept = home / _URL_FILE
    if kept.exists():
        return kept.read_text(encoding="utf-8").strip()
    path = home / "bureau.db"
    return path if path.exists() else None


def _calendar(today: date) -> dict[str, int]:
    month = today.replace(day=1)
    days = {}
    for _ in range(_CALENDAR_MONTHS):
        days[month_text(month)] = filing_day(month_text(month)).day
        month = next_month(month)
    return days
