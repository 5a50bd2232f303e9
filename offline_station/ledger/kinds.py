"""Which 票种 an invoice has: by the words of the list, by the rule of the invoice code, by the number's length."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from shared.model.report import InvoiceKind

Kinds = tuple[InvoiceKind, ...]
"""What a word or a number can mean; the first is meant if nothing else tells. Empty: it says nothing."""

_DIGITAL: Final[Kinds] = ("101", "102")
_BY_CODE_WORD: Final[dict[str, Kinds]] = {
    # The common numbers of the tax system, then those of the verification platform, then the devices' own.
    **{kind: (kind,) for kind in ("004", "005", "006", "007", "009", "025", "026", "028")},
    "01": ("004",),
    "02": ("009",),
    "03": ("005",),
    "04": ("007",),
    "08": ("028",),
    "10": ("026",),
    "14": ("026",),
    "15": ("006",),
    "0": ("004",),
    "2": ("007",),
    "12": ("005",),
    "41": ("025",),
    "42": ("006",),
    "51": ("026",),
    "52": ("028",),
    "11": ("025", "009"),
    "81": ("101",),
    "82": ("102",),
    "83": ("005",),
    "84": ("006",),
    "85": ("101",),
    "86": ("102",),
    "s": ("004",),
    "c": ("007",),
    "j": ("005",),
    "p": ("026",),
    "q": ("025",),
    "f": ("009",),
}
_SPECIAL_ELECTRONIC_CODES: Final = frozenset({"144031539110", "131001570151", "133011501118", "111001571071"})
_TWELVE_BY_END: Final[dict[str, InvoiceKind]] = {
    "04": "007",
    "05": "007",
    "06": "025",
    "07": "025",
    "11": "026",
    "12": "026",
    "13": "028",
    "17": "006",
}
_TEN_BY_EIGHTH: Final[dict[str, InvoiceKind]] = {"1": "004", "5": "004", "3": "007", "6": "007", "2": "009", "7": "009"}


@lru_cache(maxsize=512)
def kinds_of_words(words: str) -> Kinds:
    """Return the kinds that a list's own words allow: `专用发票` is 004, and 028 or 101 if the number says so."""
    text = unicodedata.normalize("NFKC", words).replace(" ", "").lower()
    if text in _BY_CODE_WORD:
        return _BY_CODE_WORD[text]
    if "机动车" in text and "二手车" not in text:
        return ("005",)
    if "二手车" in text:
        return ("006",)
    if "货运" in text or "货物运输" in text:
        return ("009",)
    if "卷" in text:
        return ("025",)
    if "通行费" in text:
        return ("026",)
    special = re.search(r"专用|专票|电专|数电专", text) is not None
    ordinary = re.search(r"普通|普票|电普|数电普", text) is not None
    if special == ordinary:
        if re.search(r"数电|全电", text):
            return _DIGITAL
        return ("026", "028", "101", "102") if "电子" in text else ()
    if re.search(r"数电|全电|电子发票\(", text):
        return ("101",) if special else ("102",)
    if "电子" in text or re.search(r"电专|电普", text):
        return ("028", "101") if special else ("026", "102")
    return ("004", "028", "101") if special else ("007", "026", "025", "102")


def kinds_of_number(code: str, number: str) -> Kinds:
    """Return the kinds that an invoice code's rule, or a number of twenty digits, allows."""
    if len(number) == 20:
        return _DIGITAL
    if len(code) == 10:
        kind = _TEN_BY_EIGHTH.get(code[7])
        return (kind,) if kind else ()
    if len(code) == 12:
        if code in _SPECIAL_ELECTRONIC_CODES:
            return ("026",)
        if code[0] == "0":
            kind = _TWELVE_BY_END.get(code[10:])
            return (kind,) if kind else ()
        if code[7] == "2":
            return ("005",)
    return ()


def resolve_kind(words: Kinds, number: Kinds, fallback: InvoiceKind | None) -> tuple[InvoiceKind | None, bool]:
    """Return the kind, and whether words and number contradict each other (then the words count).

    Args:
        words: What the list says.
        number: What code and number say.
        fallback: What the operator says, for rows where neither tells.
    """
    allowed: Kinds = tuple(kind for kind in words if kind in number) or words or number
    contradiction = bool(words and number and not set(words) & set(number))
    if len(allowed) > 1 and _mixes_special_and_ordinary(allowed):
        return (fallback if fallback in allowed else None), contradiction
    return (allowed[0] if allowed else fallback), contradiction


def _mixes_special_and_ordinary(kinds: Kinds) -> bool:
    return 0 < len(set(kinds) & {"004", "028", "101"}) < len(set(kinds))


def restored_code(digits: str) -> str | None:
    """Return the invoice code that lost its leading zero, if that is certain, else None.

    Only codes of twelve digits begin with a zero, and those say in their last two digits what they are.
    """
    if len(digits) != 11 or not digits.isascii() or not digits.isdigit():
        return None
    code = "0" + digits
    region, ending = int(code[1:3]), code[10:]
    return code if 11 <= region <= 65 and ending in _TWELVE_BY_END else None
