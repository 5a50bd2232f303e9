"""What the pages of both PCs are built of: a next step, a fault, a life-line, a step of the month.

These are values; `templates/blocks.html` draws them. They hold no markup and no address of any page but their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from shared.errors import TaxferryError
from shared.faults import ACTORS, RESENDS, Fault, Resend, find
from shared.text import Text

OFFLINE_PC: Final = Text("开票机", "invoicing PC")
ONLINE_PC: Final = Text("上网机", "Internet PC")
HALL: Final = Text("办税服务厅", "tax hall")
NOWHERE: Final = Text("", "")


@dataclass(frozen=True)
class NextStep:
    """What a person does next.

    Attributes:
        text: What, in one sentence.
        where: On which PC, or where else.
        here: Whether that is the PC that shows this page.
        link: Where on this page it is done; empty if it is not done here.
        button: What the link is called.
        posts: Whether the button acts at once, instead of leading to a page.
    """

    text: Text
    where: Text
    here: bool = True
    link: str = ""
    button: Text = NOWHERE
    posts: bool = False


@dataclass(frozen=True)
class FaultCard:
    """A failure, and the way out of it.

    Attributes:
        title: What happened.
        code: Its permanent code, or the bureau's.
        cause: Why.
        actor: Who must act.
        resend: Whether the same report may be sent again, in a sentence.
        resend_allowed: The same, as a word for the eye: `yes`, `no`, `new`, `wait`, or nothing to send.
        safe: What became of the data.
        where: Where it is put right.
        steps: How.
        details: What a service engineer asks for, to be copied.
    """

    title: Text
    code: str
    cause: Text
    actor: Text
    resend: Text
    resend_allowed: Literal["yes", "no", "new", "wait", ""]
    safe: Text
    where: Text
    steps: tuple[Text, ...]
    details: str = ""


_ALLOWED: Final[dict[Resend, Literal["yes", "no", "new", "wait"]]] = {
    Resend.SAME_BYTES: "yes",
    Resend.WAIT: "wait",
    Resend.NEW_REPORT: "new",
    Resend.NEVER: "no",
}
_NOTHING_SENT: Final = Text(
    "这一步没有向税局发送任何内容，不涉及重发", "nothing was sent to the bureau: there is nothing to send again"
)


def card_of_error(error: TaxferryError, *, now: datetime | None = None, version: str = "") -> FaultCard:
    """Return an error of ours as a fault card.

    Args:
        error: What happened.
        now: When.
        version: Of the program, for the details.
    """
    fault = find(error.field_code) if error.field_code else find(error.code)
    own = error.code.startswith(("B5", "B3", "B1", "B02"))
    return FaultCard(
        title=error.text,
        code=error.code,
        cause=fault.cause,
        actor=ACTORS[fault.actor],
        resend=_NOTHING_SENT if own and not error.field_code else RESENDS[fault.resend],
        resend_allowed="" if own and not error.field_code else _ALLOWED[fault.resend],
        safe=error.safe,
        where=fault.where,
        steps=(error.advice,) if not error.field_code else (error.advice, *fault.steps),
        details=details_of(error.code, error.text.en, error.context, now, version),
    )


def card_of_fault(fault: Fault, message: str = "", *, details: str = "") -> FaultCard:
    """Return a fault of the catalogue as a card.

    Args:
        fault: The fault.
        message: The bureau's own words, if there are any.
        details: What a service engineer asks for.
    """
    title = (
        fault.title
        if not message or message == fault.title.zh
        else Text(f"{fault.title.zh}（{message}）", fault.title.en)
    )
    return FaultCard(
        title=title,
        code=fault.code or fault.key,
        cause=fault.cause,
        actor=ACTORS[fault.actor],
        resend=RESENDS[fault.resend],
        resend_allowed=_ALLOWED[fault.resend],
        safe=fault.safe,
        where=fault.where,
        steps=fault.steps,
        details=details,
    )


def details_of(
    code: str, message: str, context: dict[str, object] | None = None, now: datetime | None = None, version: str = ""
) -> str:
    """Return what is to be copied for a service engineer: facts, in one language, without contents or secrets."""
    lines = [f"code: {code}", f"message: {message}"]
    lines += [f"{key}: {value.en if isinstance(value, Text) else value}" for key, value in (context or {}).items()]
    if now is not None:
        lines.append(f"time: {now.isoformat()}")
    if version:
        lines.append(f"version: taxferry {version}")
    return "\n".join(lines)


@dataclass(frozen=True)
class Leg:
    """One station of a report's life.

    Attributes:
        name: What it is called.
        state: `done`, `now`, `todo`, `failed`.
        where: On which PC it happens.
        at: When it happened.
        note: More about it.
    """

    name: Text
    state: Literal["done", "now", "todo", "failed"]
    where: Text = NOWHERE
    at: datetime | None = None
    note: Text = NOWHERE


@dataclass(frozen=True)
class MonthStep:
    """One of the big steps of a month's work.

    Attributes:
        name: What the button is called.
        what: What it does, in a few words.
        state: `done`, `now` (the one that invites), `wait` (something else has to come first), `shut`.
        note: Why it waits, or what it brought.
        link: Where it leads, or what it posts to.
        posts: Whether it acts at once, instead of leading to a page.
        button: What its button says, if it invites.
    """

    name: Text
    what: Text
    state: Literal["done", "now", "wait", "shut"]
    note: Text = NOWHERE
    link: str = ""
    posts: bool = False
    button: Text = NOWHERE


def days_words(days: int) -> Text:
    """Return how long it is to the lock date."""
    if days > 0:
        return Text(f"还有 {days} 天", f"{days} day{'s' if days != 1 else ''} left")
    if days == 0:
        return Text("就是今天", "it is today")
    return Text(f"已过 {-days} 天", f"{-days} day{'s' if days != -1 else ''} ago")


def level_of(days: int) -> str:
    """Return how pressing the lock date is: `late`, `soon` or `fine`."""
    return "late" if days <= 3 else "soon" if days <= 7 else "fine"
