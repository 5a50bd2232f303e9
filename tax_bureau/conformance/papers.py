"""What an examiner needs of a bureau: keys that it knows, a card of its own, and reports made with it."""

from __future__ import annotations

import io
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final, TypedDict

from cryptography import x509

from shared.clock import CHINA, Clock
from shared.envelope.roles import Role, card_identity
from shared.envelope.seal import ReportDraft, SealedReport, seal_report
from shared.errors import CannotExamine
from shared.ids import MachineNo, Nonce, TaxpayerId, parse_stamp
from shared.keys.file import SoftSigner, load_key_file
from shared.keys.port import Signer
from shared.keys.secret import Secret
from shared.model.report import Trailer, render_row
from shared.text import Text
from tax_bureau.home import Bureau
from tax_bureau.issue import authority_name, make_certificate, make_root, new_key
from tax_bureau.registry import CardOrder

_DAY: Final = timedelta(days=1)
_NAME: Final = "合规检查"


class Span(TypedDict):
    """From when to when a certificate is valid."""

    not_before: datetime
    not_after: datetime


@dataclass(frozen=True)
class Papers:
    """What the examiner holds.

    Attributes:
        key: The enrolled key of a taxpayer.
        card: That taxpayer's only card, main machine, not locked.
        root: The root of the bureau.
        other: The enrolled key of another taxpayer, if there is one.
        unenrolled: A key that the bureau issued to a taxpayer who is not enrolled, if there is one.
    """

    key: Signer
    card: Signer
    root: x509.Certificate
    other: Signer | None = None
    unenrolled: Signer | None = None

    @property
    def taxpayer_id(self) -> TaxpayerId:
        """Whose reports are sent."""
        return card_identity(self.card.certificate).taxpayer_id


def stranger(now: datetime) -> SoftSigner:
    """Return a station key that no bureau knows."""
    root_key, key = new_key("p256"), new_key("p256")
    span: Span = {"not_before": now - _DAY, "not_after": now + _DAY}
    root = make_root(root_key, authority_name("stranger"), **span)
    certificate = make_certificate(
        Role.STATION, key.public_key(), authority_name("stranger station"), issuer=root, issuer_key=root_key, **span
    )
    return SoftSigner(key, certificate)


@contextmanager
def issued_by(bureau: Bureau) -> Iterator[Papers]:
    """Have the reference bureau issue everything to three taxpayers that nobody else has."""
    mark = f"{int(bureau.clock.now().timestamp() * 1000):013d}"
    one, other, third = (TaxpayerId(f"{letter}F{mark}") for letter in "CDE")
    pin = Secret(secrets.token_hex(8))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def key(taxpayer_id: TaxpayerId) -> SoftSigner:
            path = folder / f"{taxpayer_id}.p12"
            bureau.registry.issue_key(taxpayer_id, path, pin, key_type="p256", name=_NAME)
            return load_key_file(path, pin)

        order = CardOrder(one, _NAME, MachineNo(0), key_type="p256", offline_limits={})
        card = bureau.registry.issue_card(order, folder / "main.taxcard").card.signer()
        keys = [key(each) for each in (one, other, third)]
        for taxpayer_id, each in zip((one, other), keys, strict=False):
            bureau.registry.enroll(taxpayer_id, each.certificate)
        yield Papers(keys[0], card, bureau.keyring.root, other=keys[1], unenrolled=keys[2])


@dataclass
class Maker:
    """Makes reports of one card; each is a newer copy than the one before.

    Attributes:
        card: Whose reports.
        recipients: The bureau's envelope certificates.
        clock: The card's time.
    """

    card: Signer
    recipients: tuple[x509.Certificate, ...]
    clock: Clock
    _sequence: int = field(default=0)

    def make(
        self, *, period: bool = False, sequence: int | None = None, month: date | None = None
    ) -> tuple[bytes, SealedReport]:
        """Return a report without business: an ad hoc one of this minute, or the period report of last month.

        Args:
            period: Of a month.
            sequence: That of an earlier copy, for a second report of it.
            month: Which month's period report; by default last month's.
        """
        now = self.clock.now().astimezone(CHINA)
        first = month or now.date().replace(day=1)
        last_month = (first - _DAY).replace(day=1)
        minute = now if (now.hour, now.minute) != (0, 0) else now + timedelta(minutes=1)
        # Later runs with the same card go on above: a second has room for a thousand copies.
        self._sequence = max(self._sequence + 1, int(now.timestamp()) * 1000)
        identity = card_identity(self.card.certificate)
        draft = ReportDraft(
            taxpayer_id=identity.taxpayer_id,
            machine_no=identity.machine_no,
            stamp=parse_stamp(f"{first:%Y%m}010000" if period else f"{minute:%Y%m%d%H%M}"),
            period_start=last_month if period else minute.date().replace(day=1),
            period_end=first - _DAY if period else minute.date(),
            card_no=identity.card_no,
            sequence=sequence or self._sequence,
            nonce=Nonce(secrets.token_hex(16)),
            invoice_count=0,
        )
        out = io.BytesIO()
        rows = [render_row(Trailer(invoices=0, lines=0, amount="0.00", tax="0.00"))]
        report = seal_report(
            out, draft, rows, signer=self.card, recipients=self.recipients, signing_time=now.replace(microsecond=0)
        )
        return out.getvalue(), report


def cannot(zh: str, en: str) -> CannotExamine:
    """Return the error that says why nothing can be examined."""
    return CannotExamine(reason=Text(zh, en))
