"""The service's log: one file that turns over, in words, without contents, keys or PINs."""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

LOGGER: Final = logging.getLogger("taxferry.online")
# Without the service nobody reads the log: verbs say in the operator's words what happened, and nothing beside them.
LOGGER.addHandler(logging.NullHandler())
_SPEAKERS: Final = (LOGGER, logging.getLogger("taxferry.jobs"))
_BYTES: Final = 4 << 20
_KEPT: Final = 4


def log_to(folder: Path) -> logging.Handler:
    """Write the log below `folder` from now on; return the handler, which the caller removes at the end."""
    handler = RotatingFileHandler(folder / "station.log", maxBytes=_BYTES, backupCount=_KEPT, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for logger in _SPEAKERS:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    return handler


def stop_logging(handler: logging.Handler) -> None:
    """Stop writing to `handler` and close it."""
    for logger in _SPEAKERS:
        logger.removeHandler(handler)
    handler.close()
