"""What the signature of a file that crosses the gap proves about it, in the few words that carrying it needs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, BinaryIO, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.clock import format_time
from shared.envelope.chain import TrustStore
from shared.envelope.opening import prove_report
from shared.ids import ReportName, parse_stem
from shared.medium.names import MAX_SIZES, TRUST
from shared.model.ack import prove_ack
from shared.model.result import prove_result
from shared.model.trust import read_signed_trust

_Hex64 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Short = Annotated[str, Field(max_length=600)]
_STRICT: Final = ConfigDict(extra="forbid", frozen=True, strict=True)


class Facts(BaseModel):
    """What the signed content of a file says.

    Attributes:
        kind: What it is.
        stem: Whose it is; empty for a trust file.
        card_no: The card.
        number: The sequence of a report, the number of a result (also the one that a clear receipt is about), the
            version of a trust file.
        digest: The report digest; empty for a trust file.
        body_sha256: SHA-256 of the signed text of a result or clear receipt.
        signed_at: When it was signed, as it claims.
    """

    model_config = _STRICT

    kind: Literal["report", "result", "ack", "trust"]
    stem: _Short = ""
    card_no: _Short = ""
    number: int = Field(ge=0, le=2**53)
    digest: _Hex64 | Literal[""] = ""
    body_sha256: _Hex64 | Literal[""] = ""
    signed_at: _Short = ""

    @property
    def name(self) -> ReportName:
        """Whose it is."""
        return parse_stem(self.stem)

    def supersedes(self, other: Facts) -> bool:
        """Return whether this is provably the newer of two files of one kind, machine and card."""
        if (self.kind, self.stem, self.card_no) != (other.kind, other.stem, other.card_no):
            return False
        return (self.number, self.signed_at) > (other.number, other.signed_at)


def prove_facts(file: BinaryIO, suffix: str, trust: TrustStore, *, at: datetime, name: str = "") -> Facts:
    """Prove a file and return what its signature says.

    Args:
        file: Open at its start.
        suffix: What its name says it is: `.dat`, `.txt`, `.ack` or `trust.txt`.
        trust: What is believed. A trust file's signature only has to fit its own signer: whether that one is believed is
            decided by whoever puts the file in force.
        at: The moment of judgement.
        name: The file's name, for messages.

    Raises:
        TaxferryError: It proves nothing.
    """
    if suffix == ".dat":
        report = prove_report(file, trust, at=at)
        header = report.header
        return Facts(
            kind="report",
            stem=header.name.stem,
            card_no=header.card_no,
            number=header.sequence,
            digest=report.digest,
            signed_at=format_time(report.signing_time),
        )
    data = file.read(MAX_SIZES[suffix] + 1)
    if suffix == ".txt":
        result = prove_result(data, trust, at=at, name=name)
        return Facts(
            kind="result",
            stem=result.result.name.stem,
            card_no=result.result.card_no,
            number=result.result.result_no,
            digest=result.result.report_digest,
            body_sha256=result.body_sha256,
            signed_at=format_time(result.result.bureau_time),
        )
    if suffix == ".ack":
        ack = prove_ack(data, trust, at=at)
        return Facts(
            kind="ack",
            stem=ack.ack.name.stem,
            card_no=ack.ack.card_no,
            number=ack.ack.result_no,
            digest=ack.ack.report_digest,
            body_sha256=ack.body_sha256,
            signed_at=format_time(ack.ack.cleared_at),
        )
    assert suffix == TRUST
    found, _ = read_signed_trust(data)
    return Facts(kind="trust", number=found.version)
