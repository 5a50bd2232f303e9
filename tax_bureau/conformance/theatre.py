"""A bureau that exists only while a client is examined: its certificates, a key and reports for that client, a script."""

from __future__ import annotations

import base64
import io
import random
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography import x509

from shared.clock import CHINA
from shared.durable import write_durably
from shared.envelope.chain import TrustStore
from shared.envelope.roles import CardIdentity, Role
from shared.envelope.seal import ReportDraft, SealedReport, seal_report
from shared.ids import MachineNo, Nonce, TaxpayerId, parse_stamp
from shared.keys.file import PrivateKey, SoftSigner
from shared.keys.secret import Secret
from shared.model.report import Trailer, render_row
from shared.model.trust import TrustFile, render_trust
from shared.text import Text
from tax_bureau.conformance.papers import Span
from tax_bureau.issue import (
    authority_name,
    card_name,
    certificate_pem,
    make_certificate,
    make_crl,
    make_issuing_ca,
    make_pkcs12,
    make_root,
    new_key,
    station_name,
)

TAXPAYER: Final = TaxpayerId("310100000000000")
NAME: Final = "合规检查企业"
LARGE_BYTES: Final = 13 << 20
"""So that a client that sends 4 MiB at a time sends four parts."""
_LIFE: Final = timedelta(days=60)


class Scene(StrEnum):
    """What happens to a report; each has one of its own."""

    PLAIN = "plain"
    LOST_REPLY = "lost-reply"
    UNAVAILABLE = "unavailable"
    PORTAL = "portal"
    REDIRECT = "redirect"
    BUSY = "busy"
    FALSE_RECEIPT = "false-receipt"
    FALSE_RESULT = "false-result"
    ENDLESS = "endless"
    PARTS = "parts"
    OLD_ENVELOPE = "old-envelope"
    UNDECLARED = "undeclared"
    NOT_ENROLLED = "not-enrolled"
    OTHER_KEY = "other-key"


HELD: Final = (Scene.OLD_ENVELOPE, Scene.UNDECLARED, Scene.NOT_ENROLLED, Scene.OTHER_KEY)
"""Reports that are not to be sent at all."""
WORDS: Final[dict[Scene, Text]] = {
    Scene.PLAIN: Text("受理，先 Y 后成功", "taken; Y, then a success"),
    Scene.LOST_REPLY: Text("受理，但回答丢失", "taken, and the answer is lost"),
    Scene.UNAVAILABLE: Text("受理，但回答是 503", "taken, and the answer is 503"),
    Scene.PORTAL: Text("回答的是上网认证页面", "a login page answers"),
    Scene.REDIRECT: Text("回答是重定向", "the answer is a redirection"),
    Scene.BUSY: Text("429，过几秒再来", "429, and to come again in some seconds"),
    Scene.FALSE_RECEIPT: Text("受理，但回执是别的密钥签的", "taken, and another key signs the receipt"),
    Scene.FALSE_RESULT: Text(
        "结果先是别的密钥签的，又是别的报告的", "results by another key and of another report come first"
    ),
    Scene.ENDLESS: Text("问结果，回答没完没了", "an answer that does not end"),
    Scene.PARTS: Text(
        "大文件，分段时断线、换位置", "a large file; parts whose answer is lost, or that are wanted from elsewhere"
    ),
    Scene.OLD_ENVELOPE: Text("加密给不再使用的税局密钥", "sealed to a key that is in force no more"),
    Scene.UNDECLARED: Text("征期未申报", "a month that is not declared"),
    Scene.NOT_ENROLLED: Text("未开户", "a taxpayer that is not enrolled"),
    Scene.OTHER_KEY: Text("登记的是另一把密钥", "another key is on file"),
}


@dataclass(frozen=True)
class Prop:
    """A report of the play.

    Attributes:
        scene: What happens to it.
        report: What its writer says about it.
        data: Its octets.
        period: The month in which its period ends.
    """

    scene: Scene
    report: SealedReport
    data: bytes
    period: str


class World:
    """The certificates of the play, made afresh: nobody believes them anywhere else."""

    def __init__(self, now: datetime) -> None:
        """Make them."""
        now = now.replace(microsecond=0)
        self.now = now
        self._span: Span = {"not_before": now - _LIFE, "not_after": now + _LIFE}
        self._root_key, self._issuing_key = new_key("p256"), new_key("p256")
        self.root = make_root(self._root_key, authority_name("conformance root"), **self._span)
        self.issuing = make_issuing_ca(
            self._issuing_key.public_key(),
            authority_name("conformance issuing CA"),
            issuer=self.root,
            issuer_key=self._root_key,
            **self._span,
        )
        self.result = self._signer(Role.BUREAU_RESULT, authority_name("conformance result"))
        self.trust_signer = self._signer(Role.TRUST, authority_name("conformance trust"))
        self.station_key = new_key("p256")
        self.station = self._leaf(Role.STATION, station_name(NAME, TAXPAYER), self.station_key)
        self.envelope = self._leaf(Role.BUREAU_ENVELOPE, authority_name("conformance envelope"), new_key("p256"))
        self.old_envelope = self._leaf(Role.BUREAU_ENVELOPE, authority_name("former envelope"), new_key("p256"))

    def _leaf(self, role: Role, name: x509.Name, key: PrivateKey) -> x509.Certificate:
        return make_certificate(
            role,
            key.public_key(),
            name,
            issuer=self.issuing,
            issuer_key=self._issuing_key,
            **self._span,
        )

    def _signer(self, role: Role, name: x509.Name) -> SoftSigner:
        key = new_key("p256")
        return SoftSigner(key, self._leaf(role, name, key), (self.issuing,))

    @property
    def _crls(self) -> tuple[x509.CertificateRevocationList, ...]:
        pairs = ((self.root, self._root_key), (self.issuing, self._issuing_key))
        times = {"this_update": self.now - _LIFE, "next_update": self.now + _LIFE}
        return tuple(make_crl(of, key, (), number=1, **times) for of, key in pairs)

    @property
    def store(self) -> TrustStore:
        """What signatures are proven against."""
        return TrustStore(roots=(self.root,), intermediates=(self.issuing,), crls=())

    def trust_file(self) -> bytes:
        """Return version 1 of the play's trust file."""
        trust = TrustFile(
            version=1,
            issued_at=self.now,
            roots=(self.root,),
            intermediates=(self.issuing,),
            certificates={
                Role.BUREAU_RESULT: (self.result.certificate,),
                Role.BUREAU_ENVELOPE: (self.envelope,),
                Role.TRUST: (self.trust_signer.certificate,),
            },
            crls=self._crls,
        )
        return render_trust(trust, self.trust_signer)

    def card(self, machine: int) -> SoftSigner:
        """Return a new card."""
        identity = CardIdentity(TAXPAYER, MachineNo(machine), f"CF{machine:08d}")
        key = new_key("p256")
        return SoftSigner(key, self._leaf(Role.CARD, card_name(NAME, identity), key), (self.issuing,))

    def prop(self, scene: Scene, machine: int) -> Prop:
        """Return the report of a scene: ad hoc, unless it is about a month that is not declared."""
        now = self.now.astimezone(CHINA)
        moment, period = now if now.hour or now.minute else now + timedelta(minutes=1), scene is Scene.UNDECLARED
        back = {Scene.NOT_ENROLLED: 2, Scene.OTHER_KEY: 3}.get(scene, 0)
        first = moment.date().replace(day=1)
        for _ in range(back):
            first = (first - timedelta(days=1)).replace(day=1)
        end = first - timedelta(days=1) if period else first if back else moment.date()
        stamp = f"{first:%Y%m}010000" if period else f"{first:%Y%m}010800" if back else f"{moment:%Y%m%d%H%M}"
        card = self.card(machine)
        draft = ReportDraft(
            taxpayer_id=TAXPAYER,
            machine_no=MachineNo(machine),
            stamp=parse_stamp(stamp),
            period_start=end.replace(day=1),
            period_end=end,
            card_no=f"CF{machine:08d}",
            sequence=1,
            nonce=Nonce(secrets.token_hex(16)),
            invoice_count=0,
        )
        out = io.BytesIO()
        report = seal_report(
            out,
            draft,
            _rows(scene is Scene.PARTS),
            signer=card,
            recipients=[self.old_envelope if scene is Scene.OLD_ENVELOPE else self.envelope],
            signing_time=self.now,
        )
        return Prop(scene, report, out.getvalue(), f"{_month(end)}")

    def props(self, scenes: Sequence[Scene] = tuple(Scene)) -> tuple[Prop, ...]:
        """Return the reports of a play."""
        return tuple(self.prop(scene, number) for number, scene in enumerate(scenes))

    def hand_out(self, folder: Path, props: Sequence[Prop]) -> None:
        """Write what the client is given: root, key, PIN file, and the reports in a folder of their own."""
        reports = folder / "reports"
        reports.mkdir(parents=True, exist_ok=True)
        pin = secrets.token_hex(6)
        key = make_pkcs12(self.station_key, self.station, (self.issuing,), Secret(pin), label="conformance")
        write_durably(folder / "root.pem", certificate_pem(self.root).encode(), mode=0o644)
        write_durably(folder / "key.p12", key, mode=0o600)
        write_durably(folder / "pin.txt", f"{pin}\n".encode(), mode=0o600)
        for prop in props:
            write_durably(reports / prop.report.header.name.file_name(".dat"), prop.data, mode=0o644)


def _month(day: date) -> str:
    return f"{day:%Y-%m}"


def _rows(large: bool) -> Iterator[bytes]:
    """Yield a report without business; a large one is made so by rows that mean nothing and compress badly."""
    if large:
        chance = random.Random(1)  # noqa: S311  only to be hard to compress
        for _ in range(0, LARGE_BYTES, 300_000):
            yield base64.b64encode(chance.randbytes(300_000))
    yield render_row(Trailer(invoices=0, lines=0, amount="0.00", tax="0.00"))
