"""What an invoicing PC tells a new Internet PC, by the stick that it prepared: whom to believe, and where the bureau is.

The trust file that the card was issued with lies on the stick. A file on a stick makes nobody believe a root, though: a
person compares its fingerprint with the one that the invoicing PC shows, and then everything else has a signature.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from shared.envelope.chain import TrustStore
from shared.envelope.roles import fingerprint
from shared.errors import NothingToPairWith, RootDiffers, RootNotCompared, TaxferryError
from shared.medium.names import TRUST
from shared.medium.reading import read_stick
from shared.medium.sticks import Sticks
from shared.model.trust import open_issued_trust
from shared.text import Text
from shared.text.fingerprints import grouped

_NEW: Final = "online-new"
_WHOM: Final = re.compile(r"([0-9A-Z]{15,20})-([0-9]{1,5})")


@dataclass(frozen=True)
class Met:
    """What the stick says. Nothing of it is believed before the root was compared.

    Attributes:
        label: The stick's name for people.
        trust: The trust file.
        root: The root that it stands under.
        gateways: The bureau's addresses, the preferred one first.
        taxpayer_id: Of the invoicing PC that prepared the stick, as the marker says: for a look, never for a decision.
        machine_no: Likewise.
    """

    label: str
    trust: bytes
    root: x509.Certificate
    gateways: tuple[str, ...]
    taxpayer_id: str = ""
    machine_no: int | None = None

    @property
    def fingerprint(self) -> str:
        """What a person compares."""
        return fingerprint(self.root)

    @property
    def gateway(self) -> str:
        """Where the bureau is.

        Raises:
            NothingToPairWith: The trust file names no address.
        """
        if not self.gateways:
            raise NothingToPairWith(label=self.label, what=Text("税局网址", "address of the bureau"))
        return self.gateways[0]


def meet(folder: Path | None, now: datetime) -> Met:
    """Read what an invoicing PC has put on a stick for a station that is still to be made.

    Args:
        folder: Where the stick is, or its name; None if only one is in.
        now: The present.

    Raises:
        MediumError: No stick, several, or one that cannot be read.
        NothingToPairWith: It holds no trust file that holds together.
    """
    sticks = Sticks(_NEW, _Nothing(), lambda _entry: False, lambda: False)
    path = sticks.find(folder)
    identity, _ = sticks.listing(path)
    label = path.name if identity is None else identity.label
    with (
        tempfile.TemporaryDirectory(prefix="taxferry-") as scratch,
        read_stick(
            path,
            station=_NEW,
            scratch=Path(scratch),
            trust=TrustStore(roots=()),
            at=now,
            machines=(),
            copy_kinds=(TRUST,),
            known={},
            advanced=lambda _done, _total: None,
        ) as harvest,
    ):
        for seen in reversed(harvest.of("trust")):
            if seen.copy is None:
                continue
            data = seen.copy.read_bytes()
            try:
                trust = open_issued_trust(data, at=now)
            except TaxferryError:
                continue  # an older one may be whole
            whom = _WHOM.fullmatch("" if identity is None else identity.station)
            return Met(
                label,
                data,
                trust.roots_in_force[-1],
                trust.gateways,
                whom[1] if whom else "",
                int(whom[2]) if whom else None,
            )
    raise NothingToPairWith(
        label=label, what=Text("税局的信任文件（trust.txt）", "trust file of the bureau (trust.txt)")
    )


def compared(met: Met, typed: str) -> x509.Certificate:
    """Return the root that a person has compared.

    Args:
        met: What the stick says.
        typed: The fingerprint as the invoicing PC shows it; blanks, colons and case do not matter.

    Raises:
        RootNotCompared: Nothing was typed.
        RootDiffers: It is another root.
    """
    plain = re.sub(r"[\s:-]", "", typed).lower()
    if not plain:
        raise RootNotCompared(fingerprint=grouped(met.fingerprint))
    if plain != met.fingerprint:
        raise RootDiffers(found=grouped(met.fingerprint), typed=typed.strip()[:200])
    return met.root


class _Nothing:
    """A station that is still to be made remembers no stick."""

    def recall(self, _key: str) -> str:
        return ""

    def keep(self, _key: str, _value: str) -> None:
        """Keep nothing."""
