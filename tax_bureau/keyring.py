"""The bureau's own keys: a root, an issuing CA, and one key for each thing that the bureau signs or opens.

They lie in one folder, each readable by its owner only. A real bureau keeps the root elsewhere; this one is a
reference and has everything at hand.

A key that is renewed gets new files (`envelope-2.key`), and a list is written anew under another name as well; the file
`current.json` says which ones count. It is replaced in one step, so that an interruption leaves the old keys in force.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from shared.durable import write_durably
from shared.envelope.chain import PARSER_ERRORS, TrustStore, crl_number
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

_CURRENT: Final = "current.json"
_FORMER: Final = "former.json"
_T = TypeVar("_T")
KeyName = Literal["result", "envelope", "trust"]
_LEAVES: Final[Mapping[KeyName, Role]] = {
    "result": Role.BUREAU_RESULT,
    "envelope": Role.BUREAU_ENVELOPE,
    "trust": Role.TRUST,
}
_LISTS: Final = ("root", "issuing")


@dataclass(frozen=True)
class Validity:
    """From when to when something that is issued now is valid."""

    not_before: datetime
    not_after: datetime


def leaf_validity(now: datetime) -> Validity:
    """Return the validity of a card's, a station's or one of the bureau's own certificates."""
    return Validity(now - _OFFLINE_CLOCKS, now + _LEAF_LIFE)


@dataclass(frozen=True)
class Former:
    """An envelope key that was renewed.

    Attributes:
        key: The key.
        until: POSIX seconds until which it opens reports.
    """

    key: SoftDecrypter
    until: float


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
        former: Envelope keys that are in force no more and still open reports for a while, the newest first.
    """

    root: x509.Certificate
    issuing: x509.Certificate
    issuing_key: PrivateKey
    crls: tuple[x509.CertificateRevocationList, ...]
    result: SoftSigner
    trust: SoftSigner
    envelope: SoftDecrypter
    former: tuple[Former, ...] = ()

    def openers(self, now: datetime) -> tuple[SoftDecrypter, ...]:
        """Return the keys that open reports now, the one in force first."""
        at = now.timestamp()
        return (self.envelope, *(each.key for each in self.former if at <= each.until))

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
    for issuer, certificate, key in (("root", root, root_key), ("issuing", issuing, issuing_key)):
        crl = make_crl(certificate, key, (), number=1, this_update=now - _OFFLINE_CLOCKS, next_update=now + _CRL_LIFE)
        write_durably(folder / f"{issuer}.crl", crl.public_bytes(Encoding.DER))


def load_keyring(folder: Path) -> Keyring:
    """Return the keys in `folder`.

    Raises:
        ConfigurationError: A file is missing or damaged. Nothing was changed.
    """
    stems = _current(folder)

    def stem(name: str) -> str:
        return stems.get(name, name)

    issuing = _certificate(folder, "issuing")
    crls = tuple(_read(folder / stem(f"{name}.crl"), x509.load_der_x509_crl) for name in _LISTS)
    result, trust, envelope = stem("result"), stem("trust"), stem("envelope")
    return Keyring(
        root=_certificate(folder, "root"),
        issuing=issuing,
        issuing_key=_key(folder, "issuing"),
        crls=crls,
        result=SoftSigner(_key(folder, result), _certificate(folder, result), (issuing,)),
        trust=SoftSigner(_key(folder, trust), _certificate(folder, trust), (issuing,)),
        envelope=SoftDecrypter(_key(folder, envelope), _certificate(folder, envelope)),
        former=tuple(
            Former(SoftDecrypter(_key(folder, name), _certificate(folder, name)), until)
            for name, until in reversed(_former(folder))
        ),
    )


class KeyringOnDisk:
    """The keys as they are now: what another process renews or revokes counts here from then on."""

    def __init__(self, folder: Path) -> None:
        """Load the keys in `folder`.

        Raises:
            ConfigurationError: A file is missing or damaged.
        """
        self._folder = folder
        self._mark = _mark(folder)
        self._keyring = load_keyring(folder)

    def __call__(self) -> Keyring:
        """Return the keys."""
        mark = _mark(self._folder)
        if mark != self._mark:
            self._keyring, self._mark = load_keyring(self._folder), mark
        return self._keyring


def renew_key(
    folder: Path, name: KeyName, key_type: KeyType, now: datetime, *, accept_old_for: float = 0.0
) -> x509.Certificate:
    """Put a new key of the bureau in force; return its certificate. The old one is kept and no longer used.

    Args:
        folder: Where the keys lie.
        name: Which one.
        key_type: Of the new key.
        now: The present.
        accept_old_for: Seconds for which an old envelope key still opens reports.
    """
    role = _LEAVES[name]
    issuing, issuing_key = _certificate(folder, "issuing"), _key(folder, "issuing")
    key, leaf = new_key(key_type), leaf_validity(now)
    certificate = make_certificate(
        role,
        key.public_key(),
        authority_name(f"taxferry reference {role.value}"),
        issuer=issuing,
        issuer_key=issuing_key,
        not_before=leaf.not_before,
        not_after=leaf.not_after,
    )
    stem = _vacant(folder, name, ".key")
    _write(folder, stem, certificate, key)
    if accept_old_for and name == "envelope":
        # Before the new key is in force: an interruption leaves an old key that is accepted and still the only one.
        kept = [*_former(folder), (_current(folder).get(name, name), now.timestamp() + accept_old_for)]
        write_durably(folder / _FORMER, json.dumps(kept).encode(), mode=0o600)
    _put_in_force(folder, {name: stem})
    return certificate


def renew_lists(folder: Path, revoke: int | None, now: datetime, *, life: timedelta = _CRL_LIFE) -> None:
    """Put revocation lists with higher numbers in force, with one more certificate on the issuing CA's if one is given.

    Args:
        folder: Where the keys lie.
        revoke: Serial number of a card's, a station's or one of the bureau's certificates.
        now: The time of the lists.
        life: After which time newer ones must be there.
    """
    stems = _current(folder)
    made = {}
    for name in _LISTS:
        old = _read(folder / stems.get(f"{name}.crl", f"{name}.crl"), x509.load_der_x509_crl)
        revoked = {entry.serial_number: entry.revocation_date_utc for entry in old}
        if revoke is not None and name == "issuing":
            revoked.setdefault(revoke, now)
        crl = make_crl(
            _certificate(folder, name),
            _key(folder, name),
            revoked.items(),
            number=crl_number(old) + 1,
            this_update=now - _OFFLINE_CLOCKS,
            next_update=now + life,
        )
        stem = f"{name}-{crl_number(crl)}.crl"
        write_durably(folder / stem, crl.public_bytes(Encoding.DER))
        made[f"{name}.crl"] = stem
    _put_in_force(folder, made)


def _current(folder: Path) -> Mapping[str, str]:
    try:
        found = json.loads((folder / _CURRENT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        raise ConfigurationError(
            reason=Text(f"密钥文件 {folder / _CURRENT} 已损坏", f"key file {folder / _CURRENT} is damaged")
        ) from None
    return {str(name): Path(str(stem)).name for name, stem in found.items()}


def _former(folder: Path) -> list[tuple[str, float]]:
    try:
        found = json.loads((folder / _FORMER).read_text(encoding="utf-8"))
        return [(Path(str(name)).name, float(until)) for name, until in found]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError):
        raise ConfigurationError(
            reason=Text(f"密钥文件 {folder / _FORMER} 已损坏", f"key file {folder / _FORMER} is damaged")
        ) from None


def _put_in_force(folder: Path, stems: Mapping[str, str]) -> None:
    text = json.dumps({**_current(folder), **stems}, indent=2, sort_keys=True)
    write_durably(folder / _CURRENT, text.encode(), mode=0o600)


def _vacant(folder: Path, name: str, suffix: str) -> str:
    number = 2
    while (folder / f"{name}-{number}{suffix}").exists():
        number += 1
    return f"{name}-{number}"


def _mark(folder: Path) -> tuple[int, int] | None:
    try:
        found = (folder / _CURRENT).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


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
