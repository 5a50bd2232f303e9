"""The alarms that stand, the robots that are told, and what they have still to be told: kept in the database.

Several nodes may look at once: whoever inserts an alarm first has raised it, and whoever takes a notice first sends it.
Between sending and noting it a process can die; then a robot is told the same once more.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from online_station.core.alarms import Alarm, Changes, Event, Kind, Known, Rules, compare
from online_station.core.backoff import Backoff
from online_station.shell.schema import ALARM, NOTICE, ROBOT
from online_station.shell.store import Store
from online_station.shell.webhook import MOST_AT_ONCE, Robot, RobotKind, Said
from shared.clock import CHINA
from shared.jobs.database import insert_new, insert_or_update
from shared.text import Text

RETRY: Final = Backoff(30, 3600)
_LEASE: Final = timedelta(minutes=2)
"""For so long nobody else sends what somebody has taken; longer than a request can last."""
EXPIRES: Final = timedelta(hours=24)
"""What could not be sent for so long is not sent any more: an alarm that still stands is said again anyway."""
_REMEMBERED: Final = timedelta(days=90)
_RULE: Final = "alarm_rule_"
LIMITS: Final[Mapping[str, tuple[int, int]]] = {
    "days_before": (0, 31),
    "stick_days": (1, 60),
    "down_minutes": (1, 7 * 24 * 60),
    "free_gib": (0, 10_000),
    "key_days": (0, 365),
    "repeat_hours": (1, 31 * 24),
}
"""What each rule may be."""


@dataclass(frozen=True)
class StandingAlarm:
    """An alarm that stands, or stood.

    Attributes:
        alarm: It.
        raised_at: Since when.
        said_at: When it was said last.
        ended_at: When it was over; None while it stands.
    """

    alarm: Alarm
    raised_at: datetime
    said_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class RobotRow:
    """A robot, and how it fared.

    Attributes:
        robot: It.
        sent_at: When it was told something last; None if never.
        failed_at: When that last failed; None if it went well since.
        failure: Why.
        waiting: How many things it has still to be told.
    """

    robot: Robot
    sent_at: datetime | None
    failed_at: datetime | None
    failure: Text
    waiting: int


@dataclass(frozen=True)
class Batch:
    """What was taken to be sent to one robot.

    Attributes:
        robot: The robot.
        ids: The notices.
        said: What they say.
        attempts: How often the most tried of them was tried, this time included.
        left_out: How many more wait.
    """

    robot: Robot
    ids: tuple[str, ...]
    said: tuple[Said, ...]
    attempts: int
    left_out: int


class AlarmBook:
    """The alarms in the station's database."""

    def __init__(self, store: Store) -> None:
        """Look into `store`."""
        self._store = store

    # Rules

    def rules(self) -> Rules:
        """Return when something is an alarm; what cannot be used counts as not set."""
        found = self._store.settings()
        values = {}
        for each in fields(Rules):
            text, (least, most) = found.get(_RULE + each.name, ""), LIMITS[each.name]
            if text.isdecimal() and least <= int(text) <= most:
                values[each.name] = int(text)
        return Rules(**values)

    def set_rules(self, **values: int) -> Rules:
        """Set rules, by their names; the others stay."""
        self._store.set(**{_RULE + name: str(value) for name, value in values.items()})
        return self.rules()

    # Robots

    def robots(self) -> list[RobotRow]:
        """Return the robots by name."""
        waiting = sa.select(sa.func.count()).where(NOTICE.c.robot == ROBOT.c.name).scalar_subquery().label("waiting")
        with self._store.reading() as connection:
            return [_robot(r) for r in connection.execute(sa.select(ROBOT, waiting).order_by(ROBOT.c.name))]

    def put_robot(self, robot: Robot, now: datetime) -> bool:
        """Add a robot, or describe one anew; a new one is told at once what stands. Return whether it is new."""
        described = {"kind": robot.kind, "url": robot.url, "secret": robot.secret, "ca_file": robot.ca_file}
        plain = {"sent_at": None, "failed_at": None, "failure_zh": "", "failure_en": ""}
        with self._store.writing() as connection:
            new = insert_new(connection, ROBOT, {"name": robot.name, **described, **plain, "added_at": now.timestamp()})
            if not new:
                connection.execute(sa.update(ROBOT).where(ROBOT.c.name == robot.name).values(**described, **plain))
                # What could not be sent to the old address is tried at the new one at once.
                connection.execute(sa.update(NOTICE).where(NOTICE.c.robot == robot.name).values(due_at=now.timestamp()))
                return False
            for row in connection.execute(sa.select(ALARM).where(ALARM.c.ended_at.is_(None))).all():
                standing = _standing(row)
                _notice(connection, robot.name, standing.alarm, "raised", standing.raised_at, now)
            return True

    def remove_robot(self, name: str) -> bool:
        """Take a robot away, with what it had still to be told; return whether there was one."""
        with self._store.writing() as connection:
            connection.execute(sa.delete(NOTICE).where(NOTICE.c.robot == name))
            return connection.execute(sa.delete(ROBOT).where(ROBOT.c.name == name)).rowcount > 0

    # Alarms

    def standing(self) -> list[StandingAlarm]:
        """Return the alarms that stand, the newest first."""
        query = sa.select(ALARM).where(ALARM.c.ended_at.is_(None))
        with self._store.reading() as connection:
            return [_standing(r) for r in connection.execute(query.order_by(ALARM.c.raised_at.desc(), ALARM.c.key))]

    def counts(self) -> dict[str, int]:
        """Return how many alarms of each kind stand."""
        found = dict.fromkeys((kind.value for kind in Kind), 0)
        query = sa.select(ALARM.c.kind, sa.func.count()).where(ALARM.c.ended_at.is_(None)).group_by(ALARM.c.kind)
        with self._store.reading() as connection:
            found.update({str(kind): int(number) for kind, number in connection.execute(query)})
        return found

    def note(self, now_so: Collection[Alarm], now: datetime, rules: Rules, place: str) -> Changes:
        """Keep what is so now, and write for each robot what it is to be told; return what was new to us.

        Args:
            now_so: The alarms, as this machine sees them.
            now: The present.
            rules: When an alarm is said again.
            place: This machine.
        """
        known = {each.alarm.key: Known(each.alarm.place, each.said_at) for each in self.standing()}
        wanted = compare(known, now_so, now, rules, place)
        raised, repeated, ended = [], [], []
        with self._store.writing() as connection:
            robots = [str(name) for name in connection.scalars(sa.select(ROBOT.c.name))]
            for alarm in wanted.raised:
                if _raise(connection, alarm, now):
                    raised.append(alarm)
                    _tell(connection, robots, alarm, "raised", now, now)
            for alarm in wanted.repeated:
                since = _repeat(connection, alarm, known[alarm.key].said_at, now)
                if since is not None:
                    repeated.append(alarm)
                    _tell(connection, robots, alarm, "repeated", since, now)
            for key in wanted.ended:
                over = _end(connection, key, now)
                if over is not None:
                    ended.append(key)
                    _tell(connection, robots, over.alarm, "ended", over.raised_at, now)
            # What stands is described as it is now, for those who ask; it is not said again because of it.
            said = {alarm.key for alarm in (*wanted.raised, *wanted.repeated)}
            for alarm in now_so:
                if alarm.key not in said:
                    _describe(connection, alarm)
            old = (now - _REMEMBERED).timestamp()
            connection.execute(sa.delete(ALARM).where(ALARM.c.ended_at.is_not(None), ALARM.c.ended_at < old))
        return Changes(tuple(raised), tuple(repeated), tuple(ended))

    # Notices

    def take(self, now: datetime) -> list[Batch]:
        """Take what is to be sent now, a batch for each robot; nobody else takes it for two minutes."""
        found = []
        for row in self.robots():
            batch = self._take_for(row.robot, now)
            if batch is not None:
                found.append(batch)
        return found

    def _take_for(self, robot: Robot, now: datetime) -> Batch | None:
        c = NOTICE.c
        due = (c.robot == robot.name) & (c.due_at <= now.timestamp())
        with self._store.writing() as connection:
            query = sa.select(NOTICE).where(due).order_by(c.made_at, c.id).limit(MOST_AT_ONCE).with_for_update()
            rows = connection.execute(query).all()
            if not rows:
                return None
            ids = tuple(str(r.id) for r in rows)
            lease = (now + _LEASE).timestamp()
            connection.execute(
                sa.update(NOTICE).where(c.id.in_(ids)).values(due_at=lease, attempts=NOTICE.c.attempts + 1)
            )
            more = connection.execute(sa.select(sa.func.count()).select_from(NOTICE).where(due)).scalar_one()
        said = tuple(Said(r.alarm, r.kind, r.event, _at(r.since), Text(r.zh, r.en)) for r in rows)
        return Batch(robot, ids, said, 1 + max(int(r.attempts) for r in rows), int(more))

    def sent(self, batch: Batch, now: datetime) -> None:
        """Note that a batch was sent."""
        with self._store.writing() as connection:
            connection.execute(sa.delete(NOTICE).where(NOTICE.c.id.in_(batch.ids)))
            self._fared(connection, batch, {"sent_at": now.timestamp(), "failed_at": None}, Text("", ""))

    def failed(self, batch: Batch, why: Text, now: datetime) -> int:
        """Note that a batch could not be sent, to be tried again later; return how much of it is too old for that."""
        due = RETRY.due(now, batch.attempts, batch.robot.name).timestamp()
        with self._store.writing() as connection:
            mine = NOTICE.c.id.in_(batch.ids)
            old = sa.delete(NOTICE).where(mine, NOTICE.c.made_at < (now - EXPIRES).timestamp())
            expired = connection.execute(old).rowcount
            connection.execute(sa.update(NOTICE).where(mine).values(due_at=due))
            self._fared(connection, batch, {"failed_at": now.timestamp()}, why)
        return max(0, int(expired))

    def _fared(self, connection: Connection, batch: Batch, values: Mapping[str, object], why: Text) -> None:
        told = {**values, "failure_zh": why.zh, "failure_en": why.en}
        connection.execute(sa.update(ROBOT).where(ROBOT.c.name == batch.robot.name).values(**told))


def _raise(connection: Connection, alarm: Alarm, now: datetime) -> bool:
    """Let an alarm stand; False if another node was faster."""
    at = now.timestamp()
    values: dict[str, object] = {"key": alarm.key, "kind": alarm.kind.value, "place": alarm.place, "zh": alarm.text.zh}
    values |= {"en": alarm.text.en, "raised_at": at, "said_at": at, "ended_at": None}
    if insert_new(connection, ALARM, values):
        return True
    over = sa.update(ALARM).where(ALARM.c.key == alarm.key, ALARM.c.ended_at.is_not(None)).values(**values)
    return connection.execute(over).rowcount > 0


def _repeat(connection: Connection, alarm: Alarm, said_at: datetime, now: datetime) -> datetime | None:
    """Say an alarm again; return since when it stands, or None if another node was faster."""
    mine = (ALARM.c.key == alarm.key, ALARM.c.ended_at.is_(None), ALARM.c.said_at <= said_at.timestamp())
    values = {"said_at": now.timestamp(), "zh": alarm.text.zh, "en": alarm.text.en}
    if connection.execute(sa.update(ALARM).where(*mine).values(**values)).rowcount == 0:
        return None
    return _at(connection.execute(sa.select(ALARM.c.raised_at).where(ALARM.c.key == alarm.key)).scalar_one())


def _end(connection: Connection, key: str, now: datetime) -> StandingAlarm | None:
    mine = (ALARM.c.key == key, ALARM.c.ended_at.is_(None))
    if connection.execute(sa.update(ALARM).where(*mine).values(ended_at=now.timestamp())).rowcount == 0:
        return None
    return _standing(connection.execute(sa.select(ALARM).where(ALARM.c.key == key)).one())


def _describe(connection: Connection, alarm: Alarm) -> None:
    differs = sa.or_(ALARM.c.zh != alarm.text.zh, ALARM.c.en != alarm.text.en)
    mine = (ALARM.c.key == alarm.key, ALARM.c.ended_at.is_(None), differs)
    connection.execute(sa.update(ALARM).where(*mine).values(zh=alarm.text.zh, en=alarm.text.en))


def _tell(
    connection: Connection, robots: Sequence[str], alarm: Alarm, event: Event, since: datetime, now: datetime
) -> None:
    for name in robots:
        _notice(connection, name, alarm, event, since, now)


def _notice(connection: Connection, robot: str, alarm: Alarm, event: Event, since: datetime, now: datetime) -> None:
    values = {
        "id": secrets.token_hex(16),
        "robot": robot,
        "alarm": alarm.key,
        "event": event,
        "kind": alarm.kind.value,
        "zh": alarm.text.zh,
        "en": alarm.text.en,
        "since": since.timestamp(),
        "made_at": now.timestamp(),
        "attempts": 0,
        "due_at": now.timestamp(),
    }
    insert_or_update(connection, NOTICE, values)


def _robot(row: Row[Any]) -> RobotRow:
    kind: RobotKind = next((each for each in get_args(RobotKind) if each == row.kind), "generic")
    return RobotRow(
        Robot(row.name, kind, row.url, row.secret, row.ca_file),
        None if row.sent_at is None else _at(row.sent_at),
        None if row.failed_at is None else _at(row.failed_at),
        Text(row.failure_zh, row.failure_en),
        int(row.waiting),
    )


def _standing(row: Row[Any]) -> StandingAlarm:
    alarm = Alarm(row.key, Kind(row.kind), row.place, Text(row.zh, row.en))
    ended = None if row.ended_at is None else _at(row.ended_at)
    return StandingAlarm(alarm, _at(row.raised_at), _at(row.said_at), ended)


def _at(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, CHINA)
