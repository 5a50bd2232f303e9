"""A bureau's folder: what is in it, how it is made and how it is opened.

bureau.db    the memory
keys/        the bureau's own keys
spool/       received reports
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from shared.calendar import filing_deadline
from shared.clock import CHINA, Clock
from shared.envelope.roles import Role
from shared.errors import NotInitialised
from shared.model.trust import TrustFile, render_trust
from tax_bureau.authority import month_text, next_month
from tax_bureau.desk import Desk
from tax_bureau.issue import KeyType
from tax_bureau.keyring import Keyring, load_keyring, make_keyring
from tax_bureau.parts import Parts
from tax_bureau.registry import Registry
from tax_bureau.spool import Spool
from tax_bureau.store import Store

_READY: Final = "initialised"
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


def init_bureau(home: Path, clock: Clock, *, key_type: KeyType = "rsa", gateways: tuple[str, ...] = ()) -> bool:
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
    if not (home / "bureau.db").exists():
        raise NotInitialised(home=home, program="tax-bureau")
    store = Store(home / "bureau.db")
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


def _calendar(today: date) -> dict[str, int]:
    month = today.replace(day=1)
    days = {}
    for _ in range(_CALENDAR_MONTHS):
        days[month_text(month)] = filing_day(month_text(month)).day
        month = next_month(month)
    return days
