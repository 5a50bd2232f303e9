"""Words for people, in Chinese and English, side by side.

A message is a pair: whoever writes one writes both languages in the same place, and a missing translation is a
type error instead of a gap that an operator finds. This package imports nothing from the project.

It does not parse, and it never decides anything: no code may branch on a rendered text.
"""

from __future__ import annotations

import locale
import os
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final, Literal, NamedTuple

Language = Literal["zh", "en"]

_language: ContextVar[Language] = ContextVar("language", default="zh")


class Text(NamedTuple):
    """One message in both languages.

    Both halves may hold the same `{name}` placeholders, filled by `fill`.
    """

    zh: str
    en: str

    def fill(self, **values: object) -> Text:
        """Return the message with its placeholders replaced; a `Text` value is rendered in each half's language."""
        return Text(
            self.zh.format(**{k: v.zh if isinstance(v, Text) else v for k, v in values.items()}),
            self.en.format(**{k: v.en if isinstance(v, Text) else v for k, v in values.items()}),
        )

    def __str__(self) -> str:
        """Render in the language of the current context."""
        return self.zh if _language.get() == "zh" else self.en


def both(text: str) -> Text:
    """Return a message that reads the same in both languages (a name, a number, a path)."""
    return Text(text, text)


def current_language() -> Language:
    """Return the language in which messages are rendered now."""
    return _language.get()


def set_language(language: Language) -> None:
    """Render messages of the current context in `language` from now on."""
    _language.set(language)


_VARIABLES: Final = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")


def detect_language(environ: Mapping[str, str] | None = None) -> Language:
    """Return the language of the user's system: English only if the system clearly says so.

    Args:
        environ: The environment to read; the process's own by default.

    Returns:
        `en` if the first set variable of gettext's order names an English locale (or the system's locale does,
        where none is set); `zh` otherwise, also for the C locale: Chinese is this project's first language.
    """
    environ = os.environ if environ is None else environ
    for variable in _VARIABLES:
        value = environ.get(variable, "").split(":")[0]
        if value:
            return "en" if value.lower().startswith("en") else "zh"
    name = locale.getlocale()[0] or ""
    return "en" if name.lower().startswith(("en", "english")) else "zh"
