"""The service's logs: one for people and one for programs, which turn over; without contents, keys, PINs or secrets.

    station.log    lines in words
    station.jsonl  the same as one JSON object a line, with the service's events (what `run --json` prints)

What reaches a log is scrubbed of what a message might carry by mistake: user names and passwords in addresses, tokens and
keys in queries.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from online_station.shell.store import Store
from shared.clock import CHINA

LOGGER: Final = logging.getLogger("taxferry.online")
# Without the service nobody reads the log: verbs say in the operator's words what happened, and nothing beside them.
LOGGER.addHandler(logging.NullHandler())
_SPEAKERS: Final = (LOGGER, logging.getLogger("taxferry.jobs"))
_EVENTS: Final = logging.getLogger("taxferry.online.events")
_EVENTS.propagate = False  # people are told of events in words, by others
_EVENTS.addHandler(logging.NullHandler())

HUMAN_LOG: Final = "station.log"
JSON_LOG: Final = "station.jsonl"
LEAST_BYTES: Final = 64 << 10
MOST_BYTES: Final = 1 << 30
MOST_KEPT: Final = 99
_LONGEST: Final = 4000
_LONGEST_TRACE: Final = 16_000

_SECRETS: Final = (
    # user:password@ of an address; a parameter of a query; a word for a secret and what is said to be it
    re.compile(r"(?P<kept>\b[a-z][a-z0-9+.-]*://)[^/\s@]*(?=@)", re.IGNORECASE),
    re.compile(
        r"(?P<kept>\b(?:key|access_token|token|sign|signature|secret|password|passwd|pwd|pin)=)[^&\s\"'<>,;]+",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?P<kept>(?:\b(?:password|passwd|pwd|pin|secret)\b|口令|密码)[\"']?\s*[:：]\s*[\"']?)[^\s\"'<>,;，；]+",
        re.IGNORECASE,
    ),
)


@dataclass(frozen=True)
class LogSettings:
    """How much of a log is kept.

    Attributes:
        max_bytes: A file that has grown to this size is put aside and a new one begun.
        kept: How many files that were put aside are kept.
    """

    max_bytes: int = 4 << 20
    kept: int = 4


def read_log_settings(store: Store) -> LogSettings:
    """Return how much is kept; what cannot be used counts as not set."""
    default = LogSettings()
    found = store.settings()
    return LogSettings(
        _whole(found.get("log_bytes"), LEAST_BYTES, MOST_BYTES, default.max_bytes),
        _whole(found.get("log_kept"), 1, MOST_KEPT, default.kept),
    )


def _whole(text: str | None, least: int, most: int, default: int) -> int:
    if text is None or re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) is None:
        return default
    return min(max(int(text), least), most)


def write_log_settings(store: Store, settings: LogSettings) -> None:
    """Set how much is kept; a service that runs goes by it after its next start."""
    store.set(log_bytes=str(settings.max_bytes), log_kept=str(settings.kept))


def scrubbed(text: str) -> str:
    """Return a text without what may be a secret in it."""
    for pattern in _SECRETS:
        text = pattern.sub(r"\g<kept>…", text)
    return text


@dataclass(frozen=True)
class Logs:
    """The open logs."""

    handlers: tuple[tuple[logging.Logger, logging.Handler], ...]


def log_to(folder: Path, settings: LogSettings = LogSettings()) -> Logs:
    """Write the logs below `folder` from now on; return them, for the caller to close at the end."""
    human = _rotating(folder / HUMAN_LOG, settings)
    human.setFormatter(_Words("%(asctime)s %(levelname)s %(message)s"))
    machine = _rotating(folder / JSON_LOG, settings)
    machine.setFormatter(_JsonLines())
    made = [(logger, handler) for logger in _SPEAKERS for handler in (human, machine)]
    made.append((_EVENTS, machine))
    for logger, handler in made:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    return Logs(tuple(made))


def _rotating(path: Path, settings: LogSettings) -> RotatingFileHandler:
    return RotatingFileHandler(path, maxBytes=settings.max_bytes, backupCount=settings.kept, encoding="utf-8")


def stop_logging(logs: Logs) -> None:
    """Stop writing the logs and close them."""
    for logger, handler in logs.handlers:
        logger.removeHandler(handler)
        handler.close()


def log_event(event: Mapping[str, object]) -> None:
    """Write an event of the service into the log for programs."""
    _EVENTS.info("%s", event.get("event", ""), extra={"taxferry_event": dict(event)})


def logging_too(tell: Callable[[Mapping[str, object]], None]) -> Callable[[Mapping[str, object]], None]:
    """Return what tells of an event and logs it as well."""

    def both_of_them(event: Mapping[str, object]) -> None:
        log_event(event)
        tell(event)

    return both_of_them


class _Words(logging.Formatter):
    """A line for people: one line, whatever a message holds, and no secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return scrubbed(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        record.message = _one_line(record.message)
        return super().formatMessage(record)


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, CHINA).isoformat(timespec="milliseconds")
        line: dict[str, object] = {"at": at, "level": record.levelname.lower()}
        event = getattr(record, "taxferry_event", None)
        if isinstance(event, dict):
            line.update({str(k): _clean(v) for k, v in event.items() if k != "at"})
        else:
            line |= {"event": "log", "message": _clean(record.getMessage())}
        if record.exc_info:
            line["trace"] = scrubbed(self.formatException(record.exc_info))[-_LONGEST_TRACE:]
        return _LINE_ENDS.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(line, ensure_ascii=False))


_LINE_ENDS: Final = re.compile(r"[\x85\u2028\u2029]")
"""What JSON lets stand in a string and some readers take for the end of a line."""


def _clean(value: object) -> object:
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(k): _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(each) for each in value]
    return scrubbed(str(value))[:_LONGEST]


def _one_line(text: str) -> str:
    return re.sub(r"[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+", " ⏎ ", text)
