"""How the fingerprint of a certificate is written for people who compare two of them, on two screens."""

from __future__ import annotations

from typing import Final

_GROUP: Final = 4


def grouped(fingerprint: str) -> str:
    """Return hex digits in groups of four, capitals: `9F3C 01AB …`."""
    return " ".join(fingerprint[at : at + _GROUP] for at in range(0, len(fingerprint), _GROUP)).upper()
