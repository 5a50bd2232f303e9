"""The bureau's own keys: a root, an issuing CA, and one key for each thing that the bureau signs or opens.

They lie in one folder, each readable by its owner only. A real bureau keeps the root elsewhere; this one is a
reference and has everything at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from shared.durable import write_durably
from shared.envelope.chain import PARSER_ERRORS, TrustStore
from shared.envelope.roles import Role
from shared.errors import ConfigurationError
from shared.keys.file import PrivateKey, SoftDecrypter, SoftSigner, load_private_key
from shared.text import Text
from tax_bureau.issue import (
    KeyType,
    authority_name,
    certificate_pem,
    key_pem,
    make_certificate,
    make_crl,
    make_issuing_ca,
    make_root,
    new_key,
)

_OFFLINE_CLOCKS: Final = timedelta(days=31)
"""Clocks of machines without network are slow: what is issued now must be valid for them too."""
_AUTHORITY_LIFE: Final = timedelta(days=30 * 365)
_LEAF_LIFE: Final = timedelta(days=10 * 365)
_CRL_LIFE: Final = timedelta(days=400)

_T = TypeVar("_T")
_LEAVES: Final = {"result": Role.BUREAU_RESULT, "envelope": Role.BUREAU_ENVELOPE, "trust": Role.TRUST}


@dataclass(frozen=True)
class Validity:
    """From when to when something that is issued now is valid."""

    not_before: datetime
    not_after: datetime


def leaf_validity(now: datetime) -> Validity:
    """Return the validity of a card's, a station's or one of the bureau's own certificates."""
    return Validity(now - _OFFLINE_CLOCKS, now + _LEAF_LIFE)


@dataclass(frozen=True)
class Keyring:
    """The bureau's keys, loaded.

    Attributes:
        root: The certificate that everyone believes.
        issuing: The CA that issues cards, station keys and the bureau's own certificates.
        issuing_key: Its key.
        crls: Revocation lists of both.
        result: Signs results and receipts.
        trust: Signs trust files.
        envelope: Opens reports.
    """

    root: x509.Certificate
    issuing: x509.Certificate
    issuing_key: PrivateKey
    crls: tuple[x509.CertificateRevocationList, ...]
    result: SoftSigner
    trust: SoftSigner
    envelope: SoftDecrypter

    @property
    def store(self) -> TrustStore:
        """What signatures that come in are proven against."""
        return TrustStore(roots=(self.root,), intermediates=(self.issuing,), crls=self.crls)


def make_keyring(folder: Path, key_type: KeyType, now: datetime) -> None:
    """Make fresh keys and write them into `folder`, each file durable and readable by its owner only.

    What an interrupted earlier attempt left there is replaced.
    """
    authority = Validity(now - _OFFLINE_CLOCKS, now + _AUTHORITY_LIFE)
    root_key, issuing_key = new_key(key_type), new_key(key_type)
    root = make_root(
        root_key,
        authority_name("taxferry reference root"),
        not_before=authority.not_before,
        not_after=authority.not_after,
    )
    issuing = make_issuing_ca(
        issuing_key.public_key(),
        authority_name("taxferry reference issuing CA"),
        issuer=root,
        issuer_key=root_key,
        not_before=authority.not_before,
        not_after=authority.not_after,
    )
    _write(folder, "root", root, root_key)
    _write(folder, "issuing", issuing, issuing_key)
    leaf = leaf_validity(now)
    for name, role in _LEAVES.items():
        key = new_key(key_type)
        certificate = make_certificate(
            role,
            key.public_key(),
            authority_name(f"taxferry reference {role.value}"),
            issuer=issuing,
            issuer_key=issuing_key,
            not_before=leaf.not_before,
            not_after=leaf.not_after,
        )
        _write(folder, name, certificate, key)
    for name, certificate, key in (("root", root, root_key), ("issuing", issuing, issuing_key)):
        crl = make_crl(certificate, key, (), number=1, this_update=now - _OFFLINE_CLOCKS, next_update=now + _CRL_LIFE)
        write_durably(folder / f"{name}.crl", crl.public_bytes(Encoding.DER))


def load_keyring(folder: Path) -> Keyring:
    """Return the keys in `folder`.

    Raises:
        ConfigurationError: A file is missing or damaged. Nothing was changed.
    """
    issuing = _certificate(folder, "issuing")
    crls = tuple(_read(folder / f"{name}.crl", x509.load_der_x509_crl) for name in ("root", "issuing"))
    return Keyring(
        root=_certificate(folder, "root"),
        issuing=issuing,
        issuing_key=_key(folder, "issuing"),
        crls=crls,
        result=SoftSigner(_key(folder, "result"), _certificate(folder, "result"), (issuing,)),
        trust=SoftSigner(_key(folder, "trust"), _certificate(folder, "trust"), (issuing,)),
        envelope=SoftDecrypter(_key(folder, "envelope"), _certificate(folder, "envelope")),
    )


def _write(folder: Path, name: str, certificate: x509.Certificate, key: PrivateKey) -> None:
    write_durably(folder / f"{name}.key", key_pem(key).encode(), mode=0o600)
    write_durably(folder / f"{name}.pem", certificate_pem(certificate).encode(), mode=0o600)


def _certificate(folder: Path, name: str) -> x509.Certificate:
    return _read(folder / f"{name}.pem", x509.load_pem_x509_certificate)


def _key(folder: Path, name: str) -> PrivateKey:
    return _read(folder / f"{name}.key", lambda data: load_private_key(data.decode("ascii")))


def _read(path: Path, parse: Callable[[bytes], _T]) -> _T:
    try:
        return parse(path.read_bytes())
    except (OSError, *PARSER_ERRORS):
        raise ConfigurationError(
            reason=Text(f"密钥文件 {path} 缺失或已损坏", f"key file {path} is missing or damaged")
        ) from None
