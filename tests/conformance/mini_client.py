"""A small client of a bureau, written from docs/spec alone, honest or wrong in one way that is asked for.

It shares nothing with the online station: another signer, another reader, another way of going on. Time is a clock that
its caller moves.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

from shared.clock import FixedClock
from tests.conformance.independent import decoder
from tests.conformance.independent.certificates import certificate
from tests.conformance.independent.octets import Refused

PART = 4 << 20
BOUND = 256 << 10
WRONG = {
    "resends-after-lost-reply": {"GW-6"},
    "takes-503-for-not-received": {"GW-2"},
    "believes-login-page": {"GW-3"},
    "follows-redirects": {"GW-3"},
    "believes-any-receipt": {"GW-3"},
    "ignores-retry-after": {"GW-8"},
    "asks-before-receipt-says": {"RES-32"},
    "believes-any-result": {"GW-9"},
    "never-asks-standing": {"GW-10"},
    "sends-undeclared": {"GW-10"},
    "sends-old-envelope": {"GW-12"},
    "takes-endless-answers": {"GW-16"},
    "signs-nothing": {"GW-20"},
    "signs-twice": {"GW-20"},
    "covers-less": {"GW-21"},
    "omits-content-digest": {"GW-22"},
    "orders-parameters": {"GW-23"},
    "writes-signature-as-der": {"GW-24"},
    "clock-is-wrong": {"GW-26"},
    "repeats-nonce": {"GW-27"},
    "guesses-offset": {"GW-38"},
    "takes-202-for-yes": {"GW-39"},
}
"""What may be wrong with it, and which requirements that breaks."""


@dataclass
class Report:
    """A report on its way."""

    data: bytes
    found: dict[str, Any]
    phase: str = "new"
    due: float = 0.0
    offset: int = 0

    @property
    def path(self) -> str:
        return f"/v1/reports/{self.found['digest']}"


@dataclass
class MiniClient:
    """The client."""

    url: str
    folder: Path
    outbox: Path
    clock: FixedClock
    wrong: str = ""
    reports: list[Report] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Load what was handed out, and the trust file."""
        pin = (self.folder / "pin.txt").read_text().strip().encode()
        key, own, _ = pkcs12.load_key_and_certificates((self.folder / "key.p12").read_bytes(), pin)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert own is not None
        self.key, self.own = key, own
        self.chance = random.Random(8)
        root = x509.load_pem_x509_certificate((self.folder / "root.pem").read_bytes()).public_bytes(Encoding.DER)
        found = decoder.decode_trust(self.ask("GET", "/v1/trust")[2], self.clock.now(), root=root)
        self.envelopes = [certificate(der) for der in found["certificates"]["bureau-envelope"]]
        self.believed = decoder.trust(found["roots"], found["authorities"], found["lists"])
        for path in sorted((self.folder / "reports").glob("*.dat")):
            data = path.read_bytes()
            self.reports.append(Report(data, decoder.decode_report(data, self.believed, self.clock.now())))

    # --- the line ---------------------------------------------------------------------------------------------------

    def sign(self, method: str, target: str, fields: dict[str, str]) -> list[tuple[str, str]]:
        parts, (path, _, query) = urlsplit(self.url), target.partition("?")
        if self.wrong == "omits-content-digest":
            fields.pop("Content-Digest", None)
        values = {"@method": method, "@authority": parts.netloc, "@path": path, "@query": f"?{query}"}
        values |= {
            name.lower(): fields[name] for name in ("Content-Digest", "Content-Range", "Repr-Digest") if name in fields
        }
        if self.wrong == "covers-less":
            del values["@query"]
        nonce = "0123456789abcdef" if self.wrong == "repeats-nonce" else self.chance.randbytes(16).hex()
        created = int(self.clock.now().timestamp()) - (3600 if self.wrong == "clock-is-wrong" else 0)
        keyid = self.own.fingerprint(hashes.SHA256()).hex()
        parameters = [
            f"created={created}",
            f'nonce="{nonce}"',
            f'keyid="{keyid}"',
            'alg="ecdsa-p256-sha256"',
            'tag="taxferry"',
        ]
        if self.wrong == "orders-parameters":
            parameters.reverse()
        covered = " ".join(f'"{name}"' for name in values)
        given = ";".join([f"({covered})", *parameters])
        base = "\n".join([*(f'"{name}": {value}' for name, value in values.items()), f'"@signature-params": {given}'])
        octets = self.key.sign(base.encode(), ec.ECDSA(hashes.SHA256()))
        if self.wrong != "writes-signature-as-der":
            octets = b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(octets))
        signature = f"taxferry=:{base64.b64encode(octets).decode()}:"
        given = f"taxferry={given}"
        if self.wrong == "signs-twice":
            given, signature = (
                f"{given}, {given.replace('taxferry', 'b', 1)}",
                f"{signature}, {signature.replace('taxferry', 'b', 1)}",
            )
        signed = [] if self.wrong == "signs-nothing" else [("Signature-Input", given), ("Signature", signature)]
        return [*fields.items(), *signed]

    def ask(
        self, method: str, target: str, body: bytes | None = None, **fields: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, fields and body; status 0 if nothing came."""
        sent = {name.replace("_", "-"): value for name, value in fields.items()}
        if body is not None:
            sent["Content-Digest"] = digest(body)
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=30)
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in self.sign(method, target, sent):
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            connection.send(body or b"")
            answer = connection.getresponse()
            data = answer.read(64 << 20 if self.wrong == "takes-endless-answers" else 2 << 20)
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, data
        except (OSError, http.client.HTTPException):
            return 0, {}, b""
        finally:
            connection.close()

    # --- the life of a report ---------------------------------------------------------------------------------------

    def run(self, finished: Any, *, rounds: int = 40) -> None:
        """Go on until it is finished, or for some rounds of a second each."""
        for _ in range(rounds):
            for report in self.reports:
                steps = 0
                while report.phase not in ("done", "held") and report.due <= self._now() and steps < 12:
                    steps += 1
                    getattr(self, f"_{report.phase}")(report)
            if finished():
                return
            self.clock.advance(seconds=1)

    def _now(self) -> float:
        return self.clock.now().timestamp()

    def _later(self, report: Report, seconds: float) -> None:
        report.due = self._now() + seconds

    def _new(self, report: Report) -> None:
        header = report.found["header"]
        report.phase = "ask" if len(report.data) > PART else "send"
        if self.wrong != "never-asks-standing":
            target = f"/v1/taxpayers/{header['taxpayer_id']}/standing?period={header['period_end'][:7]}"
            said = json.loads(self.ask("GET", target)[2])
            known = self.own.fingerprint(hashes.SHA256()).hex() in said["key_fingerprints"]
            declared = said["declared"] or header["kind"] == "adhoc" or self.wrong == "sends-undeclared"
            if not (said["enrolled"] and known and declared):
                report.phase = "held"
        current = {(one["issuer"], one["serial"]) for one in self.envelopes}
        if self.wrong != "sends-old-envelope" and not current & set(report.found["recipients"]):
            report.phase = "held"

    def _send(self, report: Report) -> None:
        if len(report.data) <= PART:
            self._judge(report, *self.ask("PUT", report.path, report.data))
            return
        first, size = report.offset, len(report.data)
        part = report.data[first : first + PART]
        fields = {"Content_Range": f"bytes {first}-{first + len(part) - 1}/{size}", "Repr_Digest": digest(report.data)}
        status, headers, body = self.ask("PUT", report.path, part, **fields)
        if status == 202:
            report.offset = json.loads(body)["offset"]
            if self.wrong == "takes-202-for-yes":
                self._taken(report, 0)
        elif status == 409:
            report.offset = json.loads(body)["offset"]
        elif status == 0 and self.wrong == "guesses-offset":
            report.offset = first + len(part)
        else:
            self._judge(report, status, headers, body)

    def _judge(self, report: Report, status: int, headers: dict[str, str], body: bytes) -> None:
        if status == 307 and self.wrong == "follows-redirects":
            self.ask("GET", urlsplit(headers["location"]).path)
        if status in (200, 201):
            try:
                receipt = decoder.decode_receipt(body, self.believed, self.clock.now())
            except Refused:
                page = body.startswith(b"<html>")
                if self.wrong == ("believes-login-page" if page else "believes-any-receipt"):
                    self._taken(report, 0)
                    return
                report.phase = "ask"
                return
            self._taken(report, 0 if self.wrong == "asks-before-receipt-says" else receipt["ask_after_seconds"])
        elif status == 429:
            report.phase = "send"
            self._later(report, 0 if self.wrong == "ignores-retry-after" else float(headers["retry-after"]))
        else:
            small = len(report.data) <= PART
            hasty = [(503, "takes-503-for-not-received"), *([(0, "resends-after-lost-reply")] if small else [])]
            report.phase = "send" if (status, self.wrong) in hasty else "ask"

    def _taken(self, report: Report, seconds: float) -> None:
        report.phase = "wait"
        self._later(report, seconds)

    def _ask(self, report: Report) -> None:
        status, _, body = self.ask("GET", report.path)
        said = json.loads(body) if status == 200 else {}
        if status in (200, 404) and said.get("state", "partial") == "partial":
            report.offset, report.phase = said.get("offset", 0), "send"
        elif status == 200:
            self._taken(report, said["ask_after_seconds"])
        else:
            self._later(report, 1)

    def _wait(self, report: Report) -> None:
        status, headers, body = self.ask("GET", f"{report.path}/result")
        if status == 202:
            self._later(report, 0 if self.wrong == "ignores-retry-after" else float(headers["retry-after"]))
            return
        try:
            if len(body) > BOUND:
                raise Refused("too large")
            result = decoder.decode_result(body, self.believed, self.clock.now())
            if result["nonce"] != report.found["header"]["nonce"]:
                raise Refused("another report's")
        except Refused:
            if self.wrong != "believes-any-result" or len(body) > BOUND or status != 200:
                self._later(report, 1)
                return
        header = report.found["header"]
        (self.outbox / f"{header['taxpayer_id']}_{header['machine_no']}_{header['stamp']}.txt").write_bytes(body)
        report.phase = "done"


def digest(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def names(wanted: Iterable[str]) -> list[str]:
    """Return requirements in order, for a comparison that can be read."""
    return sorted(wanted)
