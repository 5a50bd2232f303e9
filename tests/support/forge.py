"""Builds reports that no writer of ours would write: every part can be exchanged before the next is put around it.

The parts are assembled in memory from the specification's structures, without the streaming writer.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import zstandard
from cryptography import x509
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.canonical import render_json
from shared.envelope import cms, der, suites
from shared.envelope.roles import card_identity
from shared.keys.port import Signer
from tests.support.pki import NOW, Pki, pki
from tests.support.reports import NONCE, rows

CHUNK = 262144
END = b"\x00\x00"


def indefinite(tag: int, *parts: bytes) -> bytes:
    """Return a constructed element of indefinite length."""
    return bytes((tag, 0x80)) + b"".join(parts) + END


def chunks(data: bytes, size: int = CHUNK) -> bytes:
    """Return the data cut into primitive octet strings."""
    return b"".join(der.octet_string(data[at : at + size]) for at in range(0, len(data), size))


class Forge:
    """One report in the making. Change an attribute or replace a method, then ask for `report()`."""

    def __init__(
        self,
        *,
        world: Pki | None = None,
        signer: Signer | None = None,
        recipients: Sequence[x509.Certificate] | None = None,
    ) -> None:
        world = world or pki()
        self.signer: Signer = signer or world.card()
        # Who line 1 says has sealed it: the signer, unless somebody signs another's work.
        self.sealer: Signer = self.signer
        self.recipients = [world.envelope.certificate] if recipients is None else list(recipients)
        self.key, self.nonce = os.urandom(32), os.urandom(12)
        self.recipients_der = cms.recipient_infos(self.recipients, self.key)
        card = card_identity(self.signer.certificate)
        self.identity: dict[str, Any] = {
            "format": "taxferry-report/1",
            "suite": suites.SUITES[self.signer.algorithm],
            "taxpayer_id": card.taxpayer_id,
            "machine_no": card.machine_no,
            "stamp": "202608010000",
            "kind": "period",
            "period_start": "2026-07-01",
            "period_end": "2026-07-31",
            "card_no": card.card_no,
            "sequence": 7,
            "nonce": NONCE,
            "invoice_count": 3,
        }
        self.line_1_changes: dict[str, Any] = {}
        self.header_changes: dict[str, Any] = {}
        self.rows: list[bytes] = list(rows(3))
        self.chunk = CHUNK
        self.content_algorithm: bytes | None = None
        self.tag: bytes | None = None
        self.attributes: bytes | None = None
        self.infos: bytes | None = None
        self.certificates: bytes | None = None
        self.after = b""

    def content(self) -> bytes:
        line_1 = {
            **self.identity,
            "salt": "5a" * 16,
            "signer_sha256": hashlib.sha256(cms.encoded(self.sealer.certificate)).hexdigest(),
            "recipients_sha256": hashlib.sha256(self.recipients_der).hexdigest(),
            **self.line_1_changes,
        }
        return b"".join(line + b"\n" for line in (render_json(line_1), *self.rows))

    def frame(self, content: bytes) -> bytes:
        return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(content)

    def inner(self, frame: bytes) -> bytes:
        sealed = AESGCM(self.key).encrypt(self.nonce, frame, None)
        algorithm = self.content_algorithm or suites.content_encryption(self.nonce)
        return indefinite(
            0x30,
            cms.ID_AUTH_ENVELOPED_DATA,
            indefinite(
                0xA0,
                indefinite(
                    0x30,
                    der.integer(0),
                    self.recipients_der,
                    indefinite(0x30, cms.ID_DATA, algorithm, indefinite(0xA0, chunks(sealed[:-16], self.chunk))),
                    der.octet_string(self.tag or sealed[-16:]),
                ),
            ),
        )

    def header(self, content: bytes) -> bytes:
        return render_json(
            {
                **self.identity,
                "content_sha256": hashlib.sha256(content).hexdigest(),
                "content_bytes": len(content),
                **self.header_changes,
            }
        )

    def outer(self, inner: bytes, header: bytes) -> bytes:
        attributes = self.attributes or cms.signed_attributes(
            self.signer, hashlib.sha256(inner).digest(), signing_time=NOW, hint=header
        )
        infos = cms.signer_infos(self.signer, attributes) if self.infos is None else self.infos
        certificates = cms.certificate_set(self.signer) if self.certificates is None else self.certificates
        return self.wrap(inner, certificates, infos) + self.after

    def wrap(self, inner: bytes, certificates: bytes, infos: bytes) -> bytes:
        content = indefinite(0x30, cms.ID_DATA, indefinite(0xA0, indefinite(0x24, chunks(inner, self.chunk))))
        signed = indefinite(0x30, der.integer(1), der.set_of([suites.SHA256]), content, certificates, infos)
        return indefinite(0x30, cms.ID_SIGNED_DATA, indefinite(0xA0, signed))

    def report(self) -> bytes:
        content = self.content()
        return self.outer(self.inner(self.frame(content)), self.header(content))
