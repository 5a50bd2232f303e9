"""Watch over the station beside its work: see what is wrong, keep it, and tell the robots. It never holds up the work."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

from online_station.core.alarms import (
    HOLDS_WITHOUT_ALARM,
    NAMED,
    Companies,
    Facts,
    Rules,
    StickAway,
    StuckReport,
    alarms,
)
from online_station.core.board import Stage, due
from online_station.core.decide import HoldReason
from online_station.shell import queries, webhook
from online_station.shell.alarm_book import AlarmBook
from online_station.shell.home import Home
from online_station.shell.log import LOGGER, log_event
from online_station.shell.meter import Meter, Reach, place_of
from online_station.shell.metrics import Gauges
from online_station.shell.setup import Settings, opened, read_settings
from online_station.shell.store import Store
from online_station.shell.trust import Trust
from shared.clock import CHINA, Clock
from shared.errors import RobotSilent, TaxferryError

LOOK_SECONDS: Final = 60.0
_AFTER_A_DEFECT: Final = 60.0
_KEY_EVERY: Final = timedelta(hours=6)
_MOST_STUCK: Final = 500
"""Reports that raise alarms of their own at once, the oldest first; `list` shows them all."""
_MOST_COUNTED: Final = 100_000
Send = Callable[[webhook.Robot, webhook.Parcel], None]


def look(
    store: Store, home: Home, now: datetime, rules: Rules, *, place: str, down_for: timedelta, key_days: int | None
) -> Facts:
    """Return what is so now, by questions to the database and to the disk of this machine, which is called `place`."""
    today = now.astimezone(CHINA).date()
    period = queries.present_period(now)
    month = due(period, today, _calendar(home, now))
    behind = silent = Companies()
    if month.days_left <= rules.days_before:
        number, first = queries.behind(store, period, Stage.STAGED, limit=NAMED)
        behind = Companies(number, tuple(_called(store, first)))
        page = queries.silent_page(store, period, limit=NAMED)
        silent = Companies(page.total, tuple(each.name or each.taxpayer_id for each in page.items))
    stuck = queries.stuck(store, but=[reason.value for reason in HOLDS_WITHOUT_ALARM], limit=_MOST_STUCK)
    names = queries.names_of(store, (each.taxpayer_id for each in stuck))
    away = queries.sticks_away(store, now - timedelta(days=rules.stick_days))
    return Facts(
        place=place,
        due=month,
        behind=behind,
        silent=silent,
        stuck=[
            StuckReport(
                each.digest,
                f"{names.get(each.taxpayer_id, '')} {each.stem}".strip(),
                HoldReason(each.hold) if each.hold else None,
                each.code,
                each.message,
            )
            for each in stuck
        ],
        sticks=[StickAway(a.stick_id or a.label, a.label, a.results, (now - a.since).days) for a in away],
        down_for=down_for,
        free_bytes=_free(home.root),
        key_days=key_days,
    )


def _called(store: Store, taxpayers: Sequence[str]) -> list[str]:
    names = queries.names_of(store, taxpayers)
    return [names.get(each) or each for each in taxpayers]


def _calendar(home: Home, now: datetime) -> queries.Calendar:
    current = Trust(home.trust, now).current
    return None if current is None else current.calendar


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def key_days(settings: Settings, now: datetime) -> int | None:
    """Return for how many days the station's own certificate lasts; None if the key cannot be used."""
    try:
        return (settings.signer().certificate.not_valid_after_utc - now).days
    except TaxferryError:
        return None


class Watch(threading.Thread):
    """Looks every minute until `stop` is set."""

    def __init__(
        self,
        home: Home,
        clock: Clock,
        stop: threading.Event,
        reach: Reach,
        meter: Meter,
        *,
        every: float = LOOK_SECONDS,
        send: Send | None = None,
    ) -> None:
        """Watch over the station in `home`.

        Args:
            home: The folders.
            clock: The time.
            stop: When to end.
            reach: Since when the bureau is out of reach.
            meter: Told about messages that were sent.
            every: Seconds between two looks.
            send: Sends a request to a robot; over the network unless a test says otherwise.
        """
        super().__init__(name="watch", daemon=True)
        self._home, self._clock = home, clock
        self._stop_event, self._reach, self._meter = stop, reach, meter
        self._every, self._send = every, send
        self._key: tuple[datetime, int | None] | None = None

    def run(self) -> None:
        """Look, keep, tell; whatever goes wrong here is logged and tried again."""
        while not self._stop_event.is_set():
            try:
                with opened(self._home) as store:
                    while not self._stop_event.is_set():
                        self._guarded(store)
                        self._stop_event.wait(self._every)
            except Exception:  # noqa: BLE001  the service goes on with reports, and says what failed here
                LOGGER.exception("watch")
                self._stop_event.wait(_AFTER_A_DEFECT)

    def _guarded(self, store: Store) -> None:
        try:
            self.once(store)
        except (TaxferryError, OSError, DBAPIError) as error:
            LOGGER.error("watch: %s", error)

    def once(self, store: Store) -> None:
        """Look once, and send what is to be sent."""
        book, now = AlarmBook(store), self._clock.now()
        settings, rules = read_settings(self._home, store), book.rules()
        facts = look(
            store,
            self._home,
            now,
            rules,
            place=place_of(settings.node),
            down_for=self._reach.down_for(now),
            key_days=self._key_days(settings, now),
        )
        changes = book.note(alarms(facts, rules), now, rules, facts.place)
        for event, found in (("raised", changes.raised), ("repeated", changes.repeated)):
            for alarm in found:
                LOGGER.warning("alarm %s: %s", event, alarm.text.en)
                log_event({"event": "alarm", "what": event, "key": alarm.key, "kind": alarm.kind.value})
        for key in changes.ended:
            LOGGER.info("alarm ended: %s", key)
            log_event({"event": "alarm", "what": "ended", "key": key})
        self.deliver(book, settings)

    def deliver(self, book: AlarmBook, settings: Settings) -> None:
        """Send what is due, one message to each robot."""
        for batch in book.take(self._clock.now()):
            if self._stop_event.is_set():
                return  # taken, and due again in two minutes, for whoever works then
            now = self._clock.now()
            request = webhook.parcel(batch.robot, settings.station_id, batch.said, now, left_out=batch.left_out)
            try:
                if self._send is None:
                    webhook.send(batch.robot, request, proxy=settings.proxy)
                else:
                    self._send(batch.robot, request)
            except RobotSilent as error:
                self._meter.told(batch.robot.kind, "failed")
                expired = book.failed(batch, error.reason, now)
                LOGGER.warning("%s%s", error, f" ({expired} given up)" if expired else "")
            else:
                self._meter.told(batch.robot.kind, "ok")
                book.sent(batch, now)

    def _key_days(self, settings: Settings, now: datetime) -> int | None:
        if self._key is None or not timedelta() <= now - self._key[0] < _KEY_EVERY:
            self._key = (now, key_days(settings, now))
        return self._key[1]


# For /metrics and /readyz


def gauges(store: Store, inbox: Path, reach: Reach, now: datetime) -> Gauges:
    """Return what the database and the disk say."""
    reports = queries.counts(store)
    number, oldest = queries.due_now(store, now)
    return Gauges(
        reports=reports,
        due=number,
        oldest_due_seconds=0.0 if oldest is None else max(0.0, (now - oldest).total_seconds()),
        inbox_files=files_in(inbox),
        quarantined=reports["quarantined"],
        circuit_open=queries.circuit_is_open(store),
        bureau_down_seconds=reach.down_for(now).total_seconds(),
        alarms=AlarmBook(store).counts(),
    )


def files_in(inbox: Path) -> int:
    """Return how many files lie in the inbox and in the folders in it; what cannot be read counts as empty."""
    number = 0
    folders = [inbox]
    for folder in folders:
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if folder is inbox:
                            folders.append(Path(entry.path))
                    else:
                        number += 1
        except OSError:
            continue
        if number >= _MOST_COUNTED:
            break
    return number


def readiness(store: Store, home: Home, settings: Settings) -> dict[str, bool]:
    """Return whether the database answers, the inbox can be read and the key can be used."""
    return {"database": _answers(home, store), "inbox": _readable(settings.inbox), "key": _usable(settings)}


def _answers(home: Home, store: Store) -> bool:
    try:
        read_settings(home, store)
    except (TaxferryError, DBAPIError):
        return False
    return True


def _readable(folder: Path) -> bool:
    try:
        with os.scandir(folder):
            return True
    except OSError:
        return False


def _usable(settings: Settings) -> bool:
    try:
        settings.signer()
    except TaxferryError:
        return False
    return True
