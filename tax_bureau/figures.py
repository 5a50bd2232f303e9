"""Reading declared figures: a JSON object with sales and tax per invoice kind.

{"004": {"amount": "10000.00", "tax": "1300.00"}, "007": {"amount": "500.00", "tax": "65.00"}}
"""

from __future__ import annotations

import json
from typing import Final

from shared.errors import ConfigurationError
from shared.model.report import KIND_NAMES
from shared.money import parse_fen
from shared.text import Text
from tax_bureau.judge.facts import Figures

MAX_BYTES: Final = 1 << 16


def parse_figures(data: bytes) -> dict[str, Figures]:
    """Return the declared figures per invoice kind.

    Raises:
        ConfigurationError: Anything else than the object described above.
    """
    try:
        if len(data) > MAX_BYTES:
            raise ValueError("too large")
        plain = json.loads(data.decode("utf-8-sig"))
        if not isinstance(plain, dict):
            raise ValueError("an object is expected")
        return {kind: _figures(kind, value) for kind, value in plain.items()}
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(
            reason=Text(
                '申报数据文件无效：应为 {"票种": {"amount": "0.00", "tax": "0.00"}} 这样的 JSON',
                f"the figures are invalid ({error})",
            )
        ) from None


def _figures(kind: str, value: object) -> Figures:
    if kind not in KIND_NAMES:
        raise ValueError(f"unknown invoice kind {kind[:10]!r}")
    if not isinstance(value, dict) or not set(value) <= {"amount", "tax"}:
        raise ValueError(f"{kind}: amount and tax are expected")
    amounts = {}
    for name in ("amount", "tax"):
        text = value.get(name, "0.00")
        if not isinstance(text, str):
            raise ValueError(f"{kind}: {name} must be a text such as '1234.50'")
        amounts[name] = parse_fen(text)
    return Figures(amounts["amount"], amounts["tax"])
