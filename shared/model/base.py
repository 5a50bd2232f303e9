"""Three strictnesses of records.

What is signed is taken exactly or not at all; what we stored ourselves names the version of its shape; what a bureau
sends may grow new members.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


class SignedModel(BaseModel):
    """A record under a signature: frozen, strict types, no unknown member."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class StoredModel(BaseModel):
    """A record in our own files."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    schema_version: int = 1


class WireModel(BaseModel):
    """A record that a bureau sends: unknown members are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


def _existing_day(text: str) -> str:
    date.fromisoformat(text)
    return text


Amount = Annotated[str, StringConstraints(pattern=r"^-?(0|[1-9][0-9]{0,12})\.[0-9]{2}$", max_length=17)]
"""Yuan with two decimals (REP-11); negative zero is refused by `money.parse_fen`."""
Number = Annotated[str, StringConstraints(pattern=r"^-?[0-9]{1,15}(\.[0-9]{1,18})?$", max_length=35)]
"""A price or a quantity as the invoice writes it (REP-12)."""
IsoDay = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), AfterValidator(_existing_day)]
"""A day that exists, `2026-07-31` (FORM-3)."""
Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Hex64 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
TaxpayerIdText = Annotated[str, StringConstraints(pattern=r"^([0-9A-Z]{15}|[0-9A-Z]{17}|[0-9A-Z]{18}|[0-9A-Z]{20})$")]
StampText = Annotated[str, StringConstraints(pattern=r"^[0-9]{12}$")]
Printable = Annotated[str, StringConstraints(pattern=r"^[ !#-\[\]-~]{1,64}$")]
"""Printable ASCII without the quotation mark and the backslash: no escape is ever needed."""
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
