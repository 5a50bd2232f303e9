"""What the bureau tells others to believe: its keys, what is revoked, and the filing calendar, as a trust file.

Each act changes the keys or the calendar first and publishes a new version after it. An interruption between the two
leaves a trust file that is behind; `publish` finds that out and catches up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from shared.calendar import filing_deadline
from shared.clock import CHINA, Clock
from shared.envelope.roles import Role, fingerprint
from shared.errors import NotFound, WrongState
from shared.model.trust import TrustFile, read_signed_trust, render_trust, render_trust_body
from shared.text import Text
from tax_bureau.audit import PROGRAM, By
from tax_bureau.authority import month_text, next_month
from tax_bureau.book import Book
from tax_bureau.calendar import overrides, publish_day
from tax_bureau.issue import KeyType
from tax_bureau.keyring import KeyName, Keyring, renew_key, renew_lists
from tax_bureau.store import Store, Transaction

_CALENDAR_MONTHS: Final = 14
_MOST_KEYS: Final = 8
"""Certificates of a role in one trust file (TRUST-2)."""


class TrustOffice:
    """Renews keys, revokes certificates, publishes filing days."""

    def __init__(self, store: Store, keyring: Callable[[], Keyring], folder: Path, clock: Clock, book: Book) -> None:
        """Work with these; `folder` holds the keys."""
        self._store = store
        self._keyring = keyring
        self._folder = folder
        self._clock = clock
        self._book = book

    def publish(self, by: By = PROGRAM) -> tuple[int, bool]:
        """Publish what is in force as a new version of the trust file; return the version and whether it is a new one.

        Nothing is published if the newest version says it all already.
        """
        with self._store.write() as tx:
            return self._publish(tx, by)

    def renew(
        self, name: KeyName, key_type: KeyType, by: By = PROGRAM, *, accept_old_for: float = 0.0
    ) -> tuple[x509.Certificate, int]:
        """Put a new key of the bureau in force and publish it; return its certificate and the trust file's version.

        An old envelope key is published beside the new one and opens reports for `accept_old_for` seconds; after them
        what was sealed to it gets 2734 (0x82040010), and `publish` takes it out of the trust file.
        """
        certificate = renew_key(self._folder, name, key_type, self._clock.now(), accept_old_for=accept_old_for)
        with self._store.write() as tx:
            self._book.write(tx, by, "renew-key", name, fingerprint=fingerprint(certificate))
            return certificate, self._publish(tx, by)[0]

    def revoke(self, certificate: x509.Certificate, by: By = PROGRAM) -> int:
        """Revoke a card's or a station's certificate and publish that; return the trust file's version.

        A revoked card is withdrawn and a revoked station key is taken off file as well.

        Raises:
            NotFound: This bureau has not issued it. Nothing has changed.
        """
        if certificate.issuer != self._keyring().issuing.subject:
            raise NotFound(what=fingerprint(certificate))
        now = self._clock.now()
        renew_lists(self._folder, certificate.serial_number, now)
        found = fingerprint(certificate)
        with self._store.write() as tx:
            for card in tx.cards():
                if card.on_file.fingerprint == found:
                    tx.withdraw_card(card.on_file.card_no, now)
            if tx.station_key(found) is not None:
                tx.enroll(found, None)
            self._book.write(tx, by, "revoke", found, serial=certificate.serial_number)
            return self._publish(tx, by)[0]

    def card_certificate(self, card_no: str) -> x509.Certificate:
        """Return the certificate of a card in use.

        Raises:
            NotFound: There is no such card in use.
        """
        with self._store.read() as tx:
            card = tx.card(card_no)
        if card is None:
            raise NotFound(what=card_no)
        return x509.load_pem_x509_certificate(card.certificate.encode())

    def renew_revocation_lists(self, by: By = PROGRAM, *, life: timedelta | None = None) -> int:
        """Sign the revocation lists anew, before the old ones are stale, and publish them; return the version."""
        renew_lists(self._folder, None, self._clock.now(), **({} if life is None else {"life": life}))
        with self._store.write() as tx:
            self._book.write(tx, by, "renew-lists", "bureau")
            return self._publish(tx, by)[0]

    def set_filing_day(self, day: date, by: By = PROGRAM) -> int:
        """Publish the last filing day of a month; it wins over the rule. Return the trust file's version.

        Raises:
            WrongState: The month is over: its lock dates have been acted upon. Nothing has changed.
        """
        if day < self._clock.now().astimezone(CHINA).date().replace(day=1):
            raise WrongState(
                reason=Text(f"{day:%Y-%m} 已经过去", f"{day:%Y-%m} is over"),
                next_action=Text("只能公布本月及以后的截止日", "publish a day of this month or a later one"),
            )
        with self._store.write() as tx:
            before = filing_deadline(f"{day:%Y-%m}", overrides(tx))
            publish_day(tx, day)
            self._book.write(tx, by, "filing-day", f"{day:%Y-%m}", day=day, before=f"{before.day} {before.source}")
            return self._publish(tx, by)[0]

    def _publish(self, tx: Transaction, by: By) -> tuple[int, bool]:
        data = tx.trust_file()
        assert data is not None, "an initialised bureau has one"
        old, _ = read_signed_trust(data)
        keyring = self._keyring()
        new = trust_file(keyring, overrides(tx), old.gateways, version=old.version, now=self._clock.now())
        if render_trust_body(replace(new, issued_at=old.issued_at)) == render_trust_body(old):
            return old.version, False
        new = replace(new, version=old.version + 1)
        tx.add_trust_file(new.version, render_trust(new, keyring.trust))
        self._book.write(tx, by, "publish", f"trust {new.version}")
        return new.version, True


def trust_file(
    keyring: Keyring, published: Mapping[str, int], gateways: tuple[str, ...], *, version: int, now: datetime
) -> TrustFile:
    """Return what the bureau wants to be believed.

    Args:
        keyring: Its keys and lists.
        published: Filing days that a person has published, by month.
        gateways: Its addresses.
        version: Of the file.
        now: When it is made.
    """
    return TrustFile(
        version=version,
        issued_at=now,
        roots=(keyring.root,),
        intermediates=(keyring.issuing,),
        certificates={
            Role.BUREAU_RESULT: (keyring.result.certificate,),
            Role.BUREAU_ENVELOPE: tuple(opener.certificate for opener in keyring.openers(now))[:_MOST_KEYS],
            Role.TRUST: (keyring.trust.certificate,),
        },
        crls=keyring.crls,
        calendar=_calendar(now.astimezone(CHINA).date(), published),
        gateways=gateways,
    )


def _calendar(today: date, published: Mapping[str, int]) -> dict[str, int]:
    month = today.replace(day=1)
    days = {}
    for _ in range(_CALENDAR_MONTHS):
        found = filing_deadline(month_text(month), published)
        # Who reads this file takes its days for the bureau's word: a forecast is nobody's.
        if found.certain:
            days[month_text(month)] = found.day.day
        month = next_month(month)
    return days
