"""What this station believes: the root that was handed over by a person, and the newest trust file under it."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from online_station.shell.gateway import Gateway
from shared.durable import write_durably
from shared.envelope.chain import TrustStore
from shared.errors import CertificateRefused, ConfigurationError, FileMissing, TaxferryError
from shared.model.trust import TrustFile, prove_trust, read_signed_trust
from shared.text import Text

TRUST_NAME: Final = "trust.txt"
_MAX_PEM: Final = 1 << 16


def read_root(path: Path) -> x509.Certificate:
    """Return the root certificate in a PEM file.

    Raises:
        FileMissing: There is no such file.
        ConfigurationError: Not readable, or not one certificate.
    """
    try:
        with path.open("rb") as file:
            found = x509.load_pem_x509_certificates(file.read(_MAX_PEM))
    except FileNotFoundError:
        raise FileMissing(what=path) from None
    except (OSError, ValueError):
        found = []
    if len(found) != 1:
        raise ConfigurationError(
            reason=Text(f"“{path}”不是一个根证书（PEM）", f"'{path}' is not one root certificate (PEM)")
        )
    return found[0]


class Trust:
    """The pinned root and the trust file in force, on disk.

    Attributes:
        root: Pinned by `init`.
        current: The trust file in force; None until one was fetched.
    """

    def __init__(self, folder: Path, at: datetime) -> None:
        """Read what lies in `folder`.

        A trust file was proven when it was taken, and stays in force when its signer's certificate has expired since:
        otherwise an older one could take its place (TRUST-7). One that is damaged is not used.

        Raises:
            ConfigurationError: There is no pinned root.
        """
        self._folder = folder
        self.root = read_root(folder / "root.pem")
        self.current: TrustFile | None = None
        with contextlib.suppress(FileNotFoundError, TaxferryError):
            self.current = _taken_before((folder / TRUST_NAME).read_bytes(), self.root, at)

    @classmethod
    def pin(cls, folder: Path, root: x509.Certificate, at: datetime) -> Trust:
        """Write the root that is to be believed, and return the trust under it."""
        write_durably(folder / "root.pem", root.public_bytes(Encoding.PEM))
        return cls(folder, at)

    @property
    def store(self) -> TrustStore:
        """What signatures are proven against."""
        return self.current.store() if self.current is not None else TrustStore(roots=(self.root,))

    @property
    def file(self) -> Path:
        """Where the trust file in force lies."""
        return self._folder / TRUST_NAME

    def adopt(self, data: bytes, at: datetime) -> bool:
        """Put a newer trust file in force; return whether it is another one than before.

        Raises:
            TrustFileInvalid, TrustError: It is not acceptable. The present one stays in force.
        """
        proven = prove_trust(data, root=self.root if self.current is None else self.current, at=at)
        if self.current is not None and proven.version == self.current.version:
            return False
        write_durably(self.file, data)
        self.current = proven
        return True

    def refresh(self, gateway: Gateway, at: datetime) -> bool:
        """Fetch the bureau's trust file; return whether a newer one is in force now.

        Raises:
            TaxferryError: It could not be fetched or is not acceptable. The present one stays in force.
        """
        return self.adopt(gateway.trust(), at)


def _taken_before(data: bytes, root: x509.Certificate, at: datetime) -> TrustFile:
    try:
        return prove_trust(data, root=root, at=at)
    except CertificateRefused as error:
        found, _ = read_signed_trust(data)
        if root not in found.roots:
            raise
        return replace(found, warnings=(error.text,))
