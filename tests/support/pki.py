"""A small certificate world for tests: one root, one issuing CA, leaves of every role, and a foreign twin of it all.

Keys are made once per process and shared; nothing in a test may depend on their values. `NOW` lies inside every
validity that is not asked to be otherwise.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509

from shared.clock import CHINA
from shared.envelope.chain import TrustStore
from shared.envelope.roles import CardIdentity, Role
from shared.ids import MachineNo, TaxpayerId
from shared.keys.file import PrivateKey, SoftDecrypter, SoftSigner
from tax_bureau.issue import (
    KeyType,
    authority_name,
    card_name,
    make_certificate,
    make_crl,
    make_issuing_ca,
    make_root,
    new_key,
    station_name,
)

NOW = datetime(2026, 8, 5, 9, 30, tzinfo=CHINA)
NOT_BEFORE = datetime(2006, 1, 1, tzinfo=CHINA)
NOT_AFTER = datetime(2046, 1, 1, tzinfo=CHINA)
DAY = timedelta(days=1)

TAXPAYER = TaxpayerId("310100000000000")
OTHER_TAXPAYER = TaxpayerId("91110108551385082Q")
TAXPAYER_NAME = "上海某某贸易有限公司"


@functools.cache
def cached_key(kind: KeyType, label: str) -> PrivateKey:
    """Return the key of that label; the same one as long as the process lives."""
    return new_key(kind)


@dataclass
class Pki:
    """One bureau's certificates.

    Attributes:
        label: Distinguishes keys and card numbers of two bureaus.
        key_type: Of root, issuing CA and the bureau's own leaves.
        names: The common part of the authorities' names; a rogue bureau may use another's.
    """

    label: str = "bureau"
    key_type: KeyType = "rsa"
    names: str = "Test"
    _leaves: dict[tuple[object, ...], x509.Certificate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the authorities."""
        self.root_key = self.key(self.key_type, "root")
        self.issuing_key = self.key(self.key_type, "issuing")
        self.root = make_root(
            self.root_key, authority_name(f"{self.names} root"), not_before=NOT_BEFORE, not_after=NOT_AFTER
        )
        self.issuing = make_issuing_ca(
            self.issuing_key.public_key(),
            authority_name(f"{self.names} issuing CA"),
            issuer=self.root,
            issuer_key=self.root_key,
            not_before=NOT_BEFORE,
            not_after=NOT_AFTER,
        )

    def key(self, kind: KeyType, label: str) -> PrivateKey:
        """Return this bureau's key of that label."""
        return cached_key(kind, f"{self.label}/{label}")

    def leaf(
        self,
        role: Role,
        name: x509.Name,
        key: PrivateKey,
        *,
        not_before: datetime = NOT_BEFORE,
        not_after: datetime = NOT_AFTER,
    ) -> x509.Certificate:
        """Return a certificate by the issuing CA; the same one for the same arguments."""
        wanted = (role, name, id(key), not_before, not_after)
        if wanted not in self._leaves:
            self._leaves[wanted] = make_certificate(
                role,
                key.public_key(),
                name,
                issuer=self.issuing,
                issuer_key=self.issuing_key,
                not_before=not_before,
                not_after=not_after,
            )
        return self._leaves[wanted]

    @functools.cached_property
    def trust(self) -> TrustStore:
        """Root, issuing CA and current revocation lists (nothing is revoked)."""
        return self.trust_with(())

    def trust_with(
        self,
        revoked: Iterable[x509.Certificate],
        *,
        number: int = 1,
        this_update: datetime = NOT_BEFORE,
        next_update: datetime = NOT_AFTER,
    ) -> TrustStore:
        """Return a store whose lists revoke `revoked` (leaves, or the issuing CA itself)."""
        return TrustStore(
            roots=(self.root,),
            intermediates=(self.issuing,),
            crls=self.crls(revoked, number=number, this_update=this_update, next_update=next_update),
        )

    def crls(
        self,
        revoked: Iterable[x509.Certificate] = (),
        *,
        number: int = 1,
        this_update: datetime = NOT_BEFORE,
        next_update: datetime = NOT_AFTER,
    ) -> tuple[x509.CertificateRevocationList, ...]:
        """Return the lists of root and issuing CA."""
        gone = list(revoked)
        return tuple(
            make_crl(
                issuer,
                key,
                [(c.serial_number, this_update) for c in gone if c.issuer == issuer.subject],
                number=number,
                this_update=this_update,
                next_update=next_update,
            )
            for issuer, key in ((self.root, self.root_key), (self.issuing, self.issuing_key))
        )

    def signer(self, role: Role, *, key_type: KeyType | None = None) -> SoftSigner:
        """Return a signer of the bureau's own in that role."""
        key = self.key(key_type or self.key_type, role.value)
        return SoftSigner(key, self.leaf(role, authority_name(f"{self.names} {role.value}"), key), (self.issuing,))

    @functools.cached_property
    def bureau_result(self) -> SoftSigner:
        """The key that signs results and receipts."""
        return self.signer(Role.BUREAU_RESULT)

    @functools.cached_property
    def trust_signer(self) -> SoftSigner:
        """The key that signs trust files."""
        return self.signer(Role.TRUST)

    @functools.cached_property
    def envelope(self) -> SoftDecrypter:
        """The RSA key that reports are sealed to."""
        return self.envelope_of("rsa")

    @functools.cached_property
    def envelope_p256(self) -> SoftDecrypter:
        """The P-256 key that reports are sealed to."""
        return self.envelope_of("p256")

    def envelope_of(self, key_type: KeyType) -> SoftDecrypter:
        """Return the bureau's envelope key of one kind."""
        key = self.key(key_type, f"envelope {key_type}")
        name = authority_name(f"{self.names} envelope {key_type}")
        return SoftDecrypter(key, self.leaf(Role.BUREAU_ENVELOPE, name, key))

    def card(
        self,
        taxpayer_id: str = TAXPAYER,
        machine_no: int = 0,
        key_type: KeyType = "rsa",
        *,
        card_no: str | None = None,
        not_before: datetime = NOT_BEFORE,
        not_after: datetime = NOT_AFTER,
    ) -> SoftSigner:
        """Return the key of a card; its number is `TC` with the machine's number unless given."""
        identity = CardIdentity(
            TaxpayerId(taxpayer_id), MachineNo(machine_no), card_no or f"TC{machine_no:06d}{taxpayer_id[-4:]}"
        )
        key = self.key(key_type, f"card {identity}")
        name = card_name(TAXPAYER_NAME, identity)
        certificate = self.leaf(Role.CARD, name, key, not_before=not_before, not_after=not_after)
        return SoftSigner(key, certificate, (self.issuing,))

    def station(self, taxpayer_id: str = TAXPAYER, key_type: KeyType = "rsa") -> SoftSigner:
        """Return the enterprise key (U棒) of a taxpayer."""
        key = self.key(key_type, f"station {taxpayer_id}")
        name = station_name(TAXPAYER_NAME, TaxpayerId(taxpayer_id))
        return SoftSigner(key, self.leaf(Role.STATION, name, key), (self.issuing,))


@functools.cache
def pki() -> Pki:
    """Return the bureau that tests believe."""
    return Pki()


@functools.cache
def p256_pki() -> Pki:
    """Return a bureau whose own keys are all P-256."""
    return Pki(label="bureau-p256", key_type="p256", names="Test P-256")


@functools.cache
def foreign_pki() -> Pki:
    """Return a bureau that nobody here believes, with names of its own."""
    return Pki(label="foreign", names="Foreign")


@functools.cache
def rogue_pki() -> Pki:
    """Return a bureau that nobody here believes and that uses the believed one's names."""
    return Pki(label="rogue")
