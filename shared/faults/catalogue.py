"""Put the catalogue together, and find things in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from shared import errors
from shared.errors import ExitCode, TaxferryError
from shared.faults.bureau import BUREAU_FAULTS
from shared.faults.card import CARD_FAULTS
from shared.faults.clearing import CLEARING_FAULTS
from shared.faults.exits import EXIT_WORDS
from shared.faults.keys import KEY_FAULTS
from shared.faults.model import Actor, Fault, Resend
from shared.faults.network import NETWORK_FAULTS
from shared.text import Text, both

_ALL: Final = (*BUREAU_FAULTS, *NETWORK_FAULTS, *KEY_FAULTS, *CARD_FAULTS, *CLEARING_FAULTS)
CATALOGUE: Final[Mapping[str, Fault]] = MappingProxyType({fault.key: fault for fault in _ALL})
"""Every fault by its key, in the order of the manual."""

EXITS: Final = EXIT_WORDS


def _subclasses(base: type[TaxferryError]) -> Iterator[type[TaxferryError]]:
    for child in base.__subclasses__():
        yield child
        yield from _subclasses(child)


def _errors() -> dict[str, type[TaxferryError]]:
    # Only the tree of `shared.errors`: an error that a test or a plug-in derives has no page of its own.
    found = {
        c.code: c
        for c in _subclasses(TaxferryError)
        if c.__module__ == errors.__name__ and "code" in vars(c) and hasattr(c, "message") and hasattr(c, "hint")
    }
    return dict(sorted(found.items()))


ERRORS: Final[Mapping[str, type[TaxferryError]]] = MappingProxyType(_errors())
"""Every error class that has a code, by its code."""


def normalise(code: str) -> str:
    """Return a code in the one spelling that is compared: `0x8204000d`, `JSK-156` and ` 271d ` are known too."""
    text = re.sub(r"[\s_]+", "", code).upper()
    if error := re.fullmatch(r"ERROR@(\d+)@.*", text):
        text = f"CA{error[1]}"
    text = re.sub(r"^(JSK|CA)-?0*(\d{1,3})$", lambda m: f"{m[1]}{int(m[2]):03d}", text)
    return f"0X{text}" if re.fullmatch(r"8204[0-9A-F]{4}|8022[0-9A-F]{4}", text) else text


def find_all(code: str) -> list[Fault]:
    """Return every fault with this code, the most frequent cause first."""
    wanted = normalise(code)
    by_code = [f for f in CATALOGUE.values() if wanted in (normalise(f.code), f.key.upper()) and wanted]
    return by_code or [f for f in CATALOGUE.values() if wanted in (normalise(a) for a in f.aliases)]


def find(code: str, text: str = "") -> Fault:
    """Return the fault that a bureau's answer means.

    Args:
        code: The bureau's code, a field code (`0x8204000D`), a device's code or an error's.
        text: The bureau's own words, which tell apart the causes of one code.

    Returns:
        The fault; for an unknown code one that passes the code and the bureau's words through and permits nothing.
    """
    matches = find_all(code)
    for match in matches:
        if any(word in text for word in match.hint_words):
            return match
    if matches:
        return matches[0]
    error = ERRORS.get(normalise(code))
    return _from_error(error) if error is not None else passed_through(code, text)


def passed_through(code: str, text: str) -> Fault:
    """Return a fault that says no more than the bureau did."""
    words = " ".join(text.split())[:500]
    shown = re.sub(r"[^0-9A-Za-z@._-]", "", code)[:40]
    known = CATALOGUE["report-failed"]
    return Fault(
        key=shown or "unknown",
        code=shown,
        title=both(words) if words else Text(f"税局错误 {shown}", f"the bureau's error {shown}"),
        cause=known.cause,
        actor=known.actor,
        resend=known.resend,
        safe=known.safe,
        where=known.where,
        steps=known.steps,
    )


_ACTORS_BY_TENS: Final = {
    0: Actor.INVOICING_OPERATOR,
    1: Actor.INVOICING_OPERATOR,
    2: Actor.INVOICING_OPERATOR,
    3: Actor.INVOICING_OPERATOR,
    4: Actor.ONLINE_OPERATOR,
    5: Actor.INVOICING_OPERATOR,
}


def _without_placeholders(text: Text) -> Text:
    return Text(re.sub(r"\{\w+\}", "…", text.zh), re.sub(r"\{\w+\}", "…", text.en))


def _from_error(error: type[TaxferryError]) -> Fault:
    """Return an error of the tree as a fault, so that `explain` has an answer for every code that was ever printed."""
    exit_code = ExitCode.INTERRUPTED if error.code.startswith("B99") else ExitCode(int(error.code[1:3]))
    hint = _without_placeholders(error.hint)
    return Fault(
        key=error.code,
        code=error.code,
        title=_without_placeholders(error.message),
        cause=EXIT_WORDS[exit_code],
        actor=_ACTORS_BY_TENS.get(int(exit_code) // 10, Actor.INVOICING_OPERATOR),
        resend=Resend.NEVER if int(exit_code) // 10 != 4 else Resend.WAIT,
        safe=_without_placeholders(error.safe),
        where=Text("出现该提示的电脑", "the PC that showed it"),
        steps=(hint,),
        aliases=(error.field_code,) if error.field_code else (),
    )


def search(query: str) -> list[Fault]:
    """Return what a person may mean by `query`: a code of any kind, a letter, an exit status, or words."""
    text = query.strip()
    if not text:
        return []
    upper = normalise(text)
    found = find_all(text)
    if upper in ERRORS:
        found = [_from_error(ERRORS[upper]), *found]
    if not found:
        found = [f for f in CATALOGUE.values() if f.letter and f.letter == upper]
    if not found and re.fullmatch(r"27[0-9A-F]{2}", upper):
        found = [passed_through(upper, "")]
    if not found:
        found = _by_exit_status(upper)
    return found or _by_words(text)


def _by_exit_status(text: str) -> list[Fault]:
    if not re.fullmatch(r"\d{1,3}", text):
        return []
    return [_from_error(e) for e in ERRORS.values() if e.code[1:3] == f"{int(text):02d}"]


def _by_words(text: str) -> list[Fault]:
    """Every word must occur; faults that are called so come before those that only mention it."""
    words = text.casefold().split()
    scored = []
    for position, fault in enumerate(CATALOGUE.values()):
        names = " ".join((*fault.words, *fault.title)).casefold()
        everything = " ".join((names, *fault.cause, *(half for step in fault.steps for half in step))).casefold()
        if all(word in names for word in words):
            scored.append((0, position, fault))
        elif all(word in everything for word in words):
            scored.append((1, position, fault))
    return [fault for _, _, fault in sorted(scored, key=lambda row: row[:2])][:8]
