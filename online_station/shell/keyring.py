"""Which key speaks for which taxpayer: the company's own where it has one, the station's otherwise.

A key that cannot be used holds the reports of its own taxpayer and nobody else's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from online_station.shell.gateway import Gateway
from online_station.shell.register import Register
from shared.envelope.roles import fingerprint, station_taxpayer
from shared.errors import ConfigurationError, KeyUnavailable
from shared.keys.file import load_key_file
from shared.keys.port import Signer
from shared.keys.secret import read_pin_file
from shared.text import Text

Connect = Callable[[Signer], Gateway]


@dataclass(frozen=True)
class Voice:
    """A way to the bureau on behalf of somebody.

    Attributes:
        gateway: The bureau, spoken to with the key.
        keyid: Fingerprint of the key's certificate.
    """

    gateway: Gateway
    keyid: str


class Keyring:
    """The keys of one station."""

    def __init__(self, own: Voice, register: Register, connect: Connect) -> None:
        """Speak with `own` for all who have no key here.

        Args:
            own: The station's own way to the bureau.
            register: Who has a key of their own.
            connect: Makes a way to the bureau with a key.
        """
        self.own = own
        self._register = register
        self._connect = connect
        self._known: dict[str, tuple[tuple[str, int], Voice]] = {}

    def voice(self, taxpayer_id: str) -> Voice:
        """Return the way to the bureau for a taxpayer; a key is read again when its file has changed.

        Raises:
            KeyUnavailable: The taxpayer has a key of its own and it cannot be used now.
        """
        company = self._register.find(taxpayer_id)
        if company is None or not company.key:
            return self.own
        try:
            mark = (company.key, Path(company.key).stat().st_mtime_ns)
        except OSError:
            raise KeyUnavailable(
                reason=Text(f"密钥文件 {company.key} 不见了", f"the key file {company.key} is missing")
            ) from None
        known = self._known.get(taxpayer_id)
        if known is not None and known[0] == mark:
            return known[1]
        try:
            signer = load_key_file(Path(company.key), read_pin_file(Path(company.pin_file)))
        except ConfigurationError as error:
            raise error if isinstance(error, KeyUnavailable) else KeyUnavailable(reason=error.text) from None
        holder = station_taxpayer(signer.certificate)
        if holder != taxpayer_id:
            raise KeyUnavailable(
                reason=Text(
                    f"{company.key} 是税号 {holder} 的密钥，不是 {taxpayer_id} 的",
                    f"{company.key} is the key of {holder}, not of {taxpayer_id}",
                )
            )
        voice = Voice(self._connect(signer), fingerprint(signer.certificate))
        self._known[taxpayer_id] = (mark, voice)
        return voice
