"""What the service does by itself once a day, when nobody works: archiving, if it was told to."""

from __future__ import annotations

import re
import threading
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

from online_station.shell.archive import DEFAULT_DAYS, Archivist
from online_station.shell.home import Home
from online_station.shell.log import LOGGER
from online_station.shell.setup import read_settings
from online_station.shell.store import Store
from shared.clock import CHINA, Clock
from shared.errors import StationBusy, TaxferryError, UsageError
from shared.text import Text

_LOOK_SECONDS: Final = 30.0
_HOURS: Final = timedelta(hours=3)
"""For so long after its time the daily work may begin: a PC that was off then does not begin at noon."""
_TIME: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_JOIN_SECONDS: Final = 10.0
_RAN_ON: Final = "archive_ran_on"


def parse_daily(text: str) -> time:
    """Return a time of day.

    Raises:
        UsageError: It is none.
    """
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise UsageError(
            reason=Text(f"“{text[:20]}”不是时刻；写法如 02:30", f"'{text[:20]}' is no time of day; write 02:30"),
            command="online-station archive auto",
        )
    return time(int(found[1]), int(found[2]))


def archive_folder(home: Home, store: Store) -> Path:
    """Return where archives lie."""
    return Path(store.setting("archive_folder") or home.archive)


def archive_days(store: Store) -> int:
    """Return after how many days something that is finished is moved."""
    return int(store.setting("archive_after_days") or DEFAULT_DAYS)


class QuietHour:
    """Archives once a day at the time that was set."""

    def __init__(self, home: Home, store: Store, clock: Clock, stop: threading.Event) -> None:
        """Prepare for one station, until `stop`."""
        self._home = home
        self._store = store
        self._clock = clock
        self._stop = stop
        self._thread = threading.Thread(target=self._run, name="quiet-hour", daemon=True)

    def start(self) -> None:
        """Begin to look at the clock."""
        self._thread.start()

    def join(self) -> None:
        """Wait for what is under way; killed, it goes on at the next time."""
        self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                self.look(self._clock.now())
            except StationBusy:
                LOGGER.info("another process moves files just now; looked at again in a while")
            except (TaxferryError, OSError, DBAPIError) as error:
                LOGGER.error("archive: %s", error)

    def look(self, now: datetime) -> bool:
        """Archive if it is time and was not done today; return whether it was done now."""
        at = self._store.setting("archive_at") or ""
        local = now.astimezone(CHINA)
        if not at or self._store.setting(_RAN_ON) == f"{local:%Y-%m-%d}":
            return False
        begins = datetime.combine(local.date(), parse_daily(at), CHINA)
        if not begins <= local < begins + _HOURS:
            return False
        settings = read_settings(self._home, self._store)
        archivist = Archivist(
            self._home,
            self._store,
            station=settings.station_id,
            folder=archive_folder(self._home, self._store),
            outbox=settings.outbox,
        )
        done = archivist.run(now, older_than=timedelta(days=archive_days(self._store)))
        self._store.set(**{_RAN_ON: f"{local:%Y-%m-%d}"})
        LOGGER.info("archive: %d report(s), %d other file(s)", done.reports, done.others)
        for problem in done.problems:
            LOGGER.warning("archive: %s", problem.zh)
        return True
