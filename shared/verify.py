"""Stand-alone proof of any file that crosses the gap: no home, no state, no network.

Without a root the signature and the structure are proven against the certificate inside the file, and it is said
plainly that nobody vouched for that certificate: such a file is whole, and may still be anyone's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from shared.clock import format_time
from shared.envelope.chain import PARSER_ERRORS, TrustStore, certificate_time, load_certificate
from shared.envelope.opening import SignedReport, prove_report, read_signed_report
from shared.envelope.roles import Role, card_identity, fingerprint, role_of
from shared.errors import ConfigurationError, FileMissing, NameContradicts, ReportInvalid, TaxferryError, TrustRefused
from shared.ids import ReportName, recognise_name
from shared.model import ack as acks
from shared.model import receipt as receipts
from shared.model import result as results
from shared.model import trust as trusts
from shared.text import Text
from shared.text.system import os_reason

Kind = Literal["report", "result", "ack", "trust", "receipt"]

_MAX_TEXT: Final = trusts.MAX_TRUST_BYTES
_BOM: Final = b"\xef\xbb\xbf"
_TITLES: Final[Mapping[bytes, Kind]] = {
    "税渡 报税结果".encode(): "result",
    "税渡 清卡回执".encode(): "ack",
    "税渡 信任文件".encode(): "trust",
    "税渡 受理回执".encode(): "receipt",
}
NOT_CHECKED: Final = Text(
    "没有给出根证书（--trust），因此没有检查证书是谁签发的：只能说明文件完整，不能说明是谁的",
    "no root was given (--trust), so nobody vouches for the certificate: the file is whole, and may be anyone's",
)


@dataclass(frozen=True)
class Verification:
    """What was proven of a file. A file that fails raises instead.

    Attributes:
        kind: What the file is.
        valid: True: signature, structure, role and, with roots, the chain hold.
        signer: Who signed: subject, role, fingerprint, validity.
        header: What the signed content says of itself.
        warnings: What a person should know although it is valid.
        checked_chain: Whether the certificate was proven up to a given root.
    """

    kind: Kind
    valid: bool
    signer: Mapping[str, str]
    header: Mapping[str, object]
    warnings: Sequence[Text] = ()
    checked_chain: bool = False


def verify_file(path: Path, trust: TrustStore | None, at: datetime) -> Verification:
    """Prove a file of any kind.

    Args:
        path: A `.dat`, `.txt`, `.ack`, upload receipt or trust file. The name decides nothing, but must not contradict
            the signed content.
        trust: Roots to prove the signer with, or None to leave the signer unproven.
        at: The moment of judgement.

    Raises:
        NotFound: There is no such file.
        FormatError: It is none of these files, or a damaged one.
        TrustError: Its signature, certificate or name does not hold.
        StillProcessing: It is a `Y`.
    """
    try:
        with path.open("rb") as file:
            found = verify_stream(file, trust, at, name=path.name)
    except (FileNotFoundError, IsADirectoryError):
        raise FileMissing(what=path) from None
    except OSError as error:
        raise ConfigurationError(
            reason=Text(f"{path} 读不出（{os_reason(error).zh}）", f"{path} cannot be read: {os_reason(error).en}")
        ) from None
    return found


def verify_stream(file: BinaryIO, trust: TrustStore | None, at: datetime, *, name: str = "") -> Verification:
    """Prove an open, seekable file; see `verify_file`."""
    kind = recognise_kind(file.read(64), name)
    file.seek(0)
    if kind == "report":
        found = _verify_report(file, trust, at)
    else:
        found = _verify_text(kind, file.read(_MAX_TEXT + 1), trust, at, name)
    _check_name(name, found)
    return found


def recognise_kind(start: bytes, name: str = "") -> Kind:
    """Return what a file claims to be, from its first 64 bytes; for what says nothing, from its name.

    Raises:
        ReportInvalid: Neither says anything.
    """
    text = start.removeprefix(_BOM)
    for title, kind in _TITLES.items():
        if text.startswith(title):
            return kind
    if start.startswith(b"\x30\x80"):
        return "report"
    suffixes: Mapping[str, Kind] = {".dat": "report", ".txt": "result", ".ack": "ack"}
    recognised = recognise_name(name)
    if recognised is not None:
        return suffixes[recognised[1]]
    if name.lower().startswith("trust") and name.lower().endswith(".txt"):
        return "trust"
    if results.is_processing(start) or name.lower().endswith(".txt"):
        return "result"
    if name.lower().endswith(".ack"):
        return "ack"
    raise ReportInvalid(
        reason=Text("不是税渡的报税、结果、回执或信任文件", "it is no report, result, clear receipt or trust file")
    )


def _verify_report(file: BinaryIO, store: TrustStore | None, at: datetime) -> Verification:
    proven = read_signed_report(file) if store is None else prove_report(file, store, at=at)
    header = proven.header.model_dump(mode="json") | {
        "report_digest": proven.digest,
        "signing_time": format_time(proven.signing_time),
        "size_bytes": proven.size_bytes,
    }
    warnings = (NOT_CHECKED,) if isinstance(proven, SignedReport) else proven.warnings
    return _found("report", proven.signer, header, warnings, store)


def _verify_text(kind: Kind, data: bytes, store: TrustStore | None, at: datetime, name: str) -> Verification:
    if kind == "trust":
        return _verify_trust(data, store, at)
    if kind == "result":
        if store is not None:
            result = results.prove_result(data, store, at=at, name=name or ".txt")
            return _found(kind, result.signer, _result_header(result.result, result.body), result.warnings, store)
        signed = results.read_signed_result(data, name=name or ".txt")
        return _found(
            kind, signed.signer, _result_header(results.parse_result(signed.body), signed.body), (NOT_CHECKED,), store
        )
    if kind == "ack":
        if store is None:
            return _found(kind, *_ack(*acks.read_signed_ack(data)), (NOT_CHECKED,), store)
        ack = acks.prove_ack(data, store, at=at)
        return _found(kind, *_ack(ack.ack, ack.signer), ack.warnings, store)
    if store is None:
        return _found(kind, *_receipt(*receipts.read_signed_receipt(data)), (NOT_CHECKED,), store)
    receipt = receipts.prove_receipt(data, store, at=at)
    return _found(kind, *_receipt(receipt.receipt, receipt.signer), receipt.warnings, store)


def _found(
    kind: Kind,
    signer: x509.Certificate,
    header: Mapping[str, object],
    warnings: Sequence[Text],
    store: TrustStore | None,
) -> Verification:
    return Verification(kind, True, describe_signer(signer), header, tuple(warnings), store is not None)


def _ack(ack: acks.Ack, signer: x509.Certificate) -> tuple[x509.Certificate, dict[str, object]]:
    return signer, _name_header(ack.name) | {
        "card_no": ack.card_no,
        "report_digest": ack.report_digest,
        "result_no": ack.result_no,
        "result_sha256": ack.result_sha256,
        "cleared_at": format_time(ack.cleared_at),
        "lock_date": ack.lock_date.isoformat(),
    }


def _receipt(receipt: receipts.Receipt, signer: x509.Certificate) -> tuple[x509.Certificate, dict[str, object]]:
    return signer, _name_header(receipt.name) | {
        "report_digest": receipt.report_digest,
        "receipt_no": receipt.receipt_no,
        "received_at": format_time(receipt.received_at),
        "ask_after_seconds": receipt.ask_after_seconds,
    }


def _verify_trust(data: bytes, store: TrustStore | None, at: datetime) -> Verification:
    if store is None:
        trust, signer = trusts.read_signed_trust(data)
        warnings: tuple[Text, ...] = (NOT_CHECKED,)
    else:
        trust = _prove_under(data, store, at)
        _, signer = trusts.read_signed_trust(data)
        warnings = trust.warnings
    header: dict[str, object] = {
        "version": trust.version,
        "issued_at": format_time(trust.issued_at),
        "roots": [fingerprint(root) for root in trust.roots],
        "roots_in_force": len(trust.roots_in_force),
        "certificates": {role.value: [fingerprint(c) for c in group] for role, group in trust.certificates.items()},
        "revocation_lists": len(trust.crls),
        "deadlines": dict(trust.calendar),
        "gateways": list(trust.gateways),
    }
    return _found("trust", signer, header, warnings, store)


def _prove_under(data: bytes, store: TrustStore, at: datetime) -> trusts.TrustFile:
    refused: TaxferryError | None = None
    for root in store.roots:
        try:
            return trusts.prove_trust(data, root=root, at=at)
        except TrustRefused as error:
            refused = error
    raise refused or TrustRefused(reason=Text("没有给出根证书", "no root was given"))


def _result_header(result: results.Result, body: bytes) -> dict[str, object]:
    return _name_header(result.name) | {
        "card_no": result.card_no,
        "report_digest": result.report_digest,
        "nonce": result.nonce,
        "receipt_no": result.receipt_no,
        "result_no": result.result_no,
        "last_acknowledged": result.last_acknowledged,
        "outcome": result.outcome,
        "code": result.code,
        "message": result.message,
        "bureau_time": format_time(result.bureau_time),
        "lock_date": result.lock_date.isoformat() if result.lock_date else "",
        "body_sha256": hashlib.sha256(body).hexdigest(),
    }


def _name_header(name: ReportName) -> dict[str, object]:
    return {"taxpayer_id": name.taxpayer_id, "machine_no": name.machine_no, "stamp": name.stamp.text}


def describe_signer(certificate: x509.Certificate) -> dict[str, str]:
    """Return what a person or a script wants to know of a signer; the certificate was proven before."""
    found = {
        "subject": certificate.subject.rfc4514_string(),
        "role": role_of(certificate).value,
        "fingerprint": fingerprint(certificate),
        "not_before": certificate_time(certificate.not_valid_before_utc),
        "not_after": certificate_time(certificate.not_valid_after_utc),
    }
    if found["role"] == Role.CARD:
        card = card_identity(certificate)
        found |= {"taxpayer_id": card.taxpayer_id, "machine_no": str(card.machine_no), "card_no": card.card_no}
    return found


def _check_name(name: str, found: Verification) -> None:
    recognised = recognise_name(name)
    header = found.header
    if recognised is None or "stamp" not in header:
        return
    claimed = recognised[0]
    if (claimed.taxpayer_id, claimed.machine_no, claimed.stamp.text) != (
        header["taxpayer_id"],
        header["machine_no"],
        header["stamp"],
    ):
        signed = f"{header['taxpayer_id']}_{header['machine_no']}_{header['stamp']}"
        raise NameContradicts(named=claimed.stem, signed=signed)


def load_trust(path: Path, *, at: datetime) -> TrustStore:
    """Return what a person names with `--trust`: PEM certificates of roots, or a trust file that they believe.

    Raises:
        ConfigurationError: The file cannot be read or is neither.
        TrustFileInvalid, TrustError: It is a trust file that does not hold in itself.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_TEXT + 1)
    except OSError as error:
        raise ConfigurationError(
            reason=Text(f"{path} 读不出（{os_reason(error).zh}）", f"{path} cannot be read: {os_reason(error).en}")
        ) from None
    if data.removeprefix(_BOM).startswith("税渡 信任文件".encode()):
        return trusts.open_issued_trust(data, at=at).store()
    try:
        certificates = x509.load_pem_x509_certificates(data) if len(data) <= _MAX_TEXT else []
    except PARSER_ERRORS:
        certificates = []
    if not certificates:
        raise ConfigurationError(
            reason=Text(
                f"“{path.name}”不是根证书（PEM）或信任文件", f"'{path.name}' is neither PEM roots nor a trust file"
            )
        )
    return TrustStore(roots=tuple(load_certificate(each.public_bytes(Encoding.DER)) for each in certificates))
