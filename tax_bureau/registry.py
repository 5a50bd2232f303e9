"""Taxpayers, cards and enterprise keys: issued, enrolled, withdrawn.

What goes out is written first and registered after: an interruption leaves a file that nobody believes yet, and the
same command finishes the work with that file instead of making a second one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from shared.clock import CHINA, Clock
from shared.durable import write_durably
from shared.envelope.chain import PARSER_ERRORS, check_leaf
from shared.envelope.roles import CardIdentity, Role, fingerprint, station_taxpayer
from shared.errors import ConfigurationError, NotFound, NotOverwritten, TaxferryError, WrongState
from shared.ids import MachineNo, TaxpayerId
from shared.keys.file import load_key_file
from shared.keys.secret import Secret
from shared.model.taxcard import TaxCard, read_taxcard, write_taxcard
from shared.money import format_fen
from shared.text import Text
from tax_bureau.audit import PROGRAM, By
from tax_bureau.authority import FilingDay, next_month, of_new_card
from tax_bureau.book import Book
from tax_bureau.issue import (
    KeyType,
    card_name,
    certificate_pem,
    key_pem,
    make_certificate,
    make_pkcs12,
    new_key,
    station_name,
)
from tax_bureau.judge.facts import CardOnFile
from tax_bureau.keyring import Keyring, leaf_validity
from tax_bureau.store import Card, Store

_MAX_CERTIFICATE_FILE: Final = 1 << 16
_CARD_PREFIX: Final = "66"


@dataclass(frozen=True)
class CardOrder:
    """What is asked for when a card is issued.

    Attributes:
        taxpayer_id: 税号.
        name: 纳税人名称.
        machine_no: 分机号.
        sub_machines: For a main card, how many sub machines there are.
        key_type: Kind of the card's key.
        last_copied: The day up to which figures were copied already; by default
            the last day of the month before last, so that last month waits to be copied.
        lock_date: 锁死日期; by default this month's, never in the past.
        offline_hours: 离线开票时长.
        offline_limits: 离线限额 per kind, in fen.
        stock: Invoice numbers on the card, per kind.
        reissue: Replace the machine's card in use.
    """

    taxpayer_id: TaxpayerId
    name: str
    machine_no: MachineNo
    sub_machines: int = 0
    key_type: KeyType = "rsa"
    last_copied: date | None = None
    lock_date: date | None = None
    offline_hours: int = 72
    offline_limits: Mapping[str, int] | None = None
    stock: Mapping[str, int] | None = None
    reissue: bool = False


@dataclass(frozen=True)
class IssuedCard:
    """A card that was issued.

    Attributes:
        card: What is on it.
        new: False if the file of an earlier run is this card already.
        warnings: What is odd about it.
    """

    card: TaxCard
    new: bool
    warnings: tuple[Text, ...] = ()


class Registry:
    """The bureau's register."""

    def __init__(
        self, store: Store, keyring: Callable[[], Keyring], clock: Clock, filing_day: FilingDay, book: Book
    ) -> None:
        """Work with these."""
        self._store = store
        self._book = book
        self._keys = keyring
        self._clock = clock
        self._filing_day = filing_day

    @property
    def _keyring(self) -> Keyring:
        return self._keys()

    # --- cards -----------------------------------------------------------------------------------------------------

    def issue_card(self, order: CardOrder, out: Path, by: By = PROGRAM) -> IssuedCard:
        """Issue a card into a file that only its owner may read, and register it.

        Raises:
            WrongState: The machine has a card in use, and `reissue` was not asked for. Nothing was issued.
            NotOverwritten: `out` holds something else. Nothing was issued.
        """
        found = self._finished(order, out, by)
        if found is not None:
            return found
        self._check_vacant(order)
        card = self._make_card(order)
        write_taxcard(out, card)
        return IssuedCard(card, new=True, warnings=self._register(card, order, by))

    def _finished(self, order: CardOrder, out: Path, by: By) -> IssuedCard | None:
        """Return the card of an earlier run of the same command, registered if it was interrupted before that."""
        if not out.exists():
            return None
        try:
            card = read_taxcard(out)
        except TaxferryError:
            raise NotOverwritten(name=out) from None
        if (card.taxpayer_id, card.machine_no) != (order.taxpayer_id, order.machine_no):
            raise NotOverwritten(name=out)
        with self._store.read() as tx:
            known = tx.card(card.card_no)
        if known is not None:
            return IssuedCard(card, new=False)
        if card.signer().certificate.issuer != self._keyring.issuing.subject:
            raise NotOverwritten(name=out)
        self._check_vacant(order)
        return IssuedCard(card, new=True, warnings=self._register(card, order, by))

    def _check_vacant(self, order: CardOrder) -> None:
        with self._store.read() as tx:
            used = [c for c in tx.cards(order.taxpayer_id) if c.on_file.machine_no == order.machine_no]
        if used and not order.reissue:
            raise WrongState(
                reason=Text(
                    f"该开票机已有金税卡 {used[0].on_file.card_no}",
                    f"machine has card {used[0].on_file.card_no} in use",
                ),
                next_action=Text("如确需重新发行，加 --reissue", "to replace it, add --reissue"),
            )

    def _make_card(self, order: CardOrder) -> TaxCard:
        now = self._clock.now()
        today = now.astimezone(CHINA).date()
        with self._store.write() as tx:
            card_no = f"{_CARD_PREFIX}{tx.next_number('card'):010d}"
            trust = tx.trust_file()
        if trust is None:
            raise ConfigurationError(reason=Text("没有信任文件", "there is no trust file"))
        key = new_key(order.key_type)
        identity = CardIdentity(order.taxpayer_id, order.machine_no, card_no)
        validity = leaf_validity(now)
        certificate = make_certificate(
            Role.CARD,
            key.public_key(),
            card_name(order.name, identity),
            issuer=self._keyring.issuing,
            issuer_key=self._keyring.issuing_key,
            not_before=validity.not_before,
            not_after=validity.not_after,
        )
        return TaxCard(
            card_no=card_no,
            taxpayer_id=order.taxpayer_id,
            taxpayer_name=order.name,
            machine_no=order.machine_no,
            sub_machines=order.sub_machines,
            key_pem=key_pem(key),
            certificate_pem=certificate_pem(certificate),
            chain_pem=certificate_pem(self._keyring.issuing),
            trust=trust.decode(),
            last_copied=order.last_copied or _first_of_last_month(today) - timedelta(days=1),
            lock_date=order.lock_date or of_new_card(today, self._filing_day).lock_date,
            offline_hours=order.offline_hours,
            offline_limits=dict(order.offline_limits or {}),
            stock=dict(order.stock or {}),
        )

    def _register(self, card: TaxCard, order: CardOrder, by: By) -> tuple[Text, ...]:
        now = self._clock.now()
        certificate = card.signer().certificate
        with self._store.write() as tx:
            for used in tx.cards(card.taxpayer_id):
                if used.on_file.machine_no == card.machine_no and order.reissue:
                    tx.withdraw_card(used.on_file.card_no, now)
            tx.set_taxpayer(card.taxpayer_id, card.taxpayer_name)
            tx.add_card(
                Card(
                    on_file=CardOnFile(
                        card_no=card.card_no,
                        taxpayer_id=card.taxpayer_id,
                        machine_no=card.machine_no,
                        fingerprint=fingerprint(certificate),
                        lock_date=card.lock_date,
                    ),
                    sub_machines=card.sub_machines,
                    certificate=card.certificate_pem,
                    next_period_start=next_month(card.last_copied + timedelta(days=1)),
                    upload_deadline=card.lock_date,
                    offline_hours=card.offline_hours,
                    offline_limits=card.offline_limits,
                ),
                issued_at=now,
            )
            cards = tx.cards(card.taxpayer_id)
            self._book.write(
                tx,
                by,
                "reissue-card" if order.reissue else "issue-card",
                card.card_no,
                taxpayer_id=card.taxpayer_id,
                machine_no=card.machine_no,
                lock_date=card.lock_date,
                last_copied=card.last_copied,
            )
        main = next((c for c in cards if c.on_file.machine_no == 0), None)
        subs = sum(1 for c in cards if c.on_file.machine_no)
        if main is not None and subs > main.sub_machines:
            return (
                Text(
                    f"主机卡只知道 {main.sub_machines} 台分机，现已发行 {subs} 台；请用 --sub-machines 重新发行主机卡",
                    f"the main card knows {main.sub_machines} sub machines, and {subs} have cards: "
                    "re-issue the main card with --sub-machines",
                ),
            )
        return ()

    def authorise(
        self, card_no: str, hours: int | None, limits: Mapping[str, int], by: By = PROGRAM
    ) -> tuple[int, Mapping[str, int]]:
        """Change what a card may do offline; it learns of that with its next success. Return hours and limits.

        Args:
            card_no: The card.
            hours: 离线开票时长; None leaves them as they are.
            limits: 离线限额 in fen of the kinds that change.
            by: Who does it, and why.

        Raises:
            NotFound: There is no such card in use. Nothing has changed.
        """
        with self._store.write() as tx:
            card = tx.card(card_no)
            if card is None or card.on_file.withdrawn:
                raise NotFound(what=card_no)
            new_hours = card.offline_hours if hours is None else hours
            new_limits = {**card.offline_limits, **limits}
            tx.set_offline_authority(card_no, new_hours, new_limits)
            shown = " ".join(f"{kind}={format_fen(fen)}" for kind, fen in sorted(new_limits.items()))
            self._book.write(tx, by, "authorise", card_no, hours=new_hours, limits=shown)
        return new_hours, new_limits

    # --- enterprise keys ---------------------------------------------------------------------------------------------

    def issue_key(
        self, taxpayer_id: TaxpayerId, out: Path, pin: Secret, *, key_type: KeyType, name: str, by: By = PROGRAM
    ) -> str:
        """Issue an enterprise key as a file that the PIN opens; return its fingerprint. It is not on file by that.

        Raises:
            NotOverwritten: `out` holds something else. Nothing was issued.
        """
        now = self._clock.now()
        if out.exists():
            certificate = _issued_key(out, pin, taxpayer_id)
        else:
            key = new_key(key_type)
            validity = leaf_validity(now)
            with self._store.read() as tx:
                name = name or tx.taxpayer_name(taxpayer_id) or taxpayer_id
            certificate = make_certificate(
                Role.STATION,
                key.public_key(),
                station_name(name, taxpayer_id),
                issuer=self._keyring.issuing,
                issuer_key=self._keyring.issuing_key,
                not_before=validity.not_before,
                not_after=validity.not_after,
            )
            data = make_pkcs12(key, certificate, (self._keyring.issuing,), pin, label=f"taxferry {taxpayer_id}")
            write_durably(out, data, mode=0o600)
        found = fingerprint(certificate)
        with self._store.write() as tx:
            if tx.station_key(found) is None:
                self._book.write(tx, by, "issue-key", taxpayer_id, fingerprint=found)
            tx.add_station_key(found, taxpayer_id, certificate_pem(certificate), issued_at=now)
        return found

    def enroll(
        self, taxpayer_id: TaxpayerId, certificate: x509.Certificate, *, withdraw: bool = False, by: By = PROGRAM
    ) -> str:
        """Put an enterprise key on file (开户), or take it off; return its fingerprint.

        Raises:
            CertificateRefused: It is no station's certificate.
            ConfigurationError: It names another taxpayer. Nothing has changed.
        """
        check_leaf(certificate, Role.STATION)
        owner = station_taxpayer(certificate)
        if owner != taxpayer_id:
            raise ConfigurationError(
                reason=Text(
                    f"证书属于税号 {owner}；代理请用 delegate",
                    f"the certificate is {owner}'s; for an agency use delegate",
                )
            )
        found = fingerprint(certificate)
        now = self._clock.now()
        with self._store.write() as tx:
            if withdraw and tx.station_key(found) is None:
                raise NotFound(what=found)
            tx.add_station_key(found, taxpayer_id, certificate_pem(certificate), issued_at=now)
            tx.enroll(found, None if withdraw else now)
            self._book.write(tx, by, "withdraw-key" if withdraw else "enroll", taxpayer_id, fingerprint=found)
        return found

    def delegate(self, taxpayer_id: TaxpayerId, agency: TaxpayerId, by: By = PROGRAM) -> None:
        """Let an agency report for a taxpayer, with the agency's own key."""
        with self._store.write() as tx:
            if not tx.is_delegate(taxpayer_id, agency):
                self._book.write(tx, by, "delegate", taxpayer_id, agency=agency)
            tx.add_delegate(taxpayer_id, agency)


def _issued_key(out: Path, pin: Secret, taxpayer_id: TaxpayerId) -> x509.Certificate:
    """Return the certificate of the key file that an earlier run of the same command wrote."""
    try:
        certificate = load_key_file(out, pin).certificate
        same = station_taxpayer(certificate) == taxpayer_id
    except TaxferryError:
        raise NotOverwritten(name=out) from None
    if not same:
        raise NotOverwritten(name=out)
    return certificate


def read_certificate(path: Path) -> x509.Certificate:
    """Return the certificate in a PEM file.

    Raises:
        ConfigurationError: It cannot be read or is no certificate.
    """
    try:
        with path.open("rb") as file:
            return x509.load_pem_x509_certificate(file.read(_MAX_CERTIFICATE_FILE))
    except (OSError, *PARSER_ERRORS):
        raise ConfigurationError(reason=Text(f"{path} 不是 PEM 证书", f"{path} is no PEM certificate")) from None


def _first_of_last_month(today: date) -> date:
    first = today.replace(day=1)
    return date(first.year - (first.month == 1), (first.month - 2) % 12 + 1, 1)
