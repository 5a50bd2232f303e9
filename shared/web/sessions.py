"""Who looks at the page: one session per browser, in memory only."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from shared.text import Language, Text

IDLE: Final = timedelta(hours=12)
OPERATOR_IDLE: Final = timedelta(hours=2)
"""An operator who has walked away has to sign in again."""
_MANY: Final = 64


@dataclass
class Session:
    """One browser that came with a good ticket.

    Attributes:
        key: What its cookie holds.
        csrf: What each of its forms holds.
        seen_at: When a person last used it.
        language: What the person chose; None until then.
        operator: Who signed in; empty if nobody did.
        role: With which rights.
        notices: What the next page says once.
        memory: Whatever a station keeps for the next page.
    """

    key: str
    csrf: str
    seen_at: datetime
    language: Language | None = None
    operator: str = ""
    role: str = ""
    notices: list[Text] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)

    def sign_in(self, operator: str, role: str) -> None:
        """Note who it is."""
        self.operator, self.role = operator, role

    def sign_out(self) -> None:
        """Forget who it was, and what was prepared for them."""
        self.operator, self.role = "", ""
        self.memory.clear()

    def take_notices(self) -> list[Text]:
        """Return what is to be said once."""
        found, self.notices = self.notices, []
        return found


class Sessions:
    """All sessions of one running page."""

    def __init__(self) -> None:
        """Begin with none."""
        self._known: dict[str, Session] = {}
        self._lock = threading.Lock()

    def begin(self, now: datetime) -> Session:
        """Return a new session."""
        session = Session(secrets.token_urlsafe(32), secrets.token_urlsafe(32), now)
        with self._lock:
            self._drop_idle(now)
            while len(self._known) >= _MANY:
                del self._known[min(self._known.values(), key=lambda one: one.seen_at).key]
            self._known[session.key] = session
        return session

    def renew(self, session: Session) -> None:
        """Give a session new secrets, as is due when somebody signs in or out."""
        with self._lock:
            self._known.pop(session.key, None)
            session.key, session.csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
            self._known[session.key] = session

    def find(self, key: str, now: datetime) -> Session | None:
        """Return a session that is alive."""
        with self._lock:
            session = self._known.get(key)
            if session is None:
                return None
            if now - session.seen_at > IDLE:
                del self._known[key]
                return None
            if session.operator and now - session.seen_at > OPERATOR_IDLE:
                session.sign_out()
            return session

    def sign_out_everywhere(self, operator: str) -> None:
        """Sign an operator out in every browser: removed, or with a new password."""
        with self._lock:
            for session in self._known.values():
                if session.operator == operator:
                    session.sign_out()

    def _drop_idle(self, now: datetime) -> None:
        for key in [key for key, one in self._known.items() if now - one.seen_at > IDLE]:
            del self._known[key]
