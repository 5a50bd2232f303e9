"""What is put beside the service to watch over it: meters on its work, alarms, and the pages for those who look."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from online_station.shell import health
from online_station.shell.gateway import Gateway
from online_station.shell.health import Address, Answer, checks_answer
from online_station.shell.home import Home
from online_station.shell.log import log_event
from online_station.shell.meter import LifeSign, Meters, Reach, place_of
from online_station.shell.metered import MeteredGateway
from online_station.shell.metrics import PrometheusMeter
from online_station.shell.setup import Settings, opened, read_settings
from online_station.shell.store import Store
from online_station.shell.watch import LOOK_SECONDS, Send, Watch, gauges, readiness
from shared.clock import Clock
from shared.keys.port import Signer
from shared.text import Text

STILL_SECONDS: Final = 900.0
"""A service whose work has not moved for so long is not healthy; one request to the bureau may take five minutes."""
_READY_SECONDS: Final = 10.0
Tell = Callable[[str, Mapping[str, Any], Text], None]


class Oversight:
    """Watches over one service.

    Attributes:
        meter: What the work is to tell of itself.
    """

    def __init__(self, home: Home, clock: Clock) -> None:
        """Watch over the station in `home`; nothing is begun before `watching`."""
        self._home, self._clock = home, clock
        self._life = LifeSign()
        self.meter = Meters(self._life)

    def gateway(self, settings: Settings, key: Signer) -> Gateway:
        """Return the way to the bureau, with a meter on it."""
        return MeteredGateway(settings.gateway(key, self._clock), self.meter)

    def counting(self, tell: Tell) -> Tell:
        """Return what tells of sticks, and counts and logs it as well."""

        def counted(event: str, facts: Mapping[str, Any], words: Text) -> None:
            if event in ("safe", "failed"):
                self.meter.visited(event)
            log_event({"event": f"stick-{event}", **facts})
            tell(event, facts, words)

        return counted

    @contextlib.contextmanager
    def watching(
        self,
        stop: threading.Event,
        metrics: Address | None = None,
        *,
        every: float = LOOK_SECONDS,
        send: Send | None = None,
    ) -> Iterator[Address | None]:
        """Watch while the block runs; give the address of the pages, if there are any.

        Args:
            stop: When the service ends.
            metrics: Where the pages are served; None for none.
            every: Seconds between two looks for alarms.
            send: See `Watch`.

        Raises:
            MetricsUnavailable: Nobody can listen there.
        """
        with contextlib.ExitStack() as stack:
            store = stack.enter_context(opened(self._home))
            reach = Reach(store, self._clock, place_of(read_settings(self._home, store).node))
            self.meter.add(reach)
            where = None
            if metrics is not None:
                where = stack.enter_context(health.serving(metrics, self._routes(store, reach)))
            ended = threading.Event()
            watch = Watch(self._home, self._clock, ended, reach, self.meter, every=every, send=send)
            watch.start()
            stack.callback(watch.join, 30.0)
            stack.callback(ended.set)
            yield where

    def _routes(self, store: Store, reach: Reach) -> dict[str, health.Route]:
        settings = read_settings(self._home, store)
        lock = threading.Lock()

        def looked() -> Any:
            with lock:
                return gauges(store, settings.inbox, reach, self._clock.now())

        meter = PrometheusMeter(looked, self._life)
        self.meter.add(meter)
        checked = _Remembered(lambda: readiness(store, self._home, settings), lock)
        return {
            "/metrics": lambda accepted: Answer(200, *meter.page(accepted)),
            "/healthz": lambda _accepted: checks_answer({"working": self._life.age < STILL_SECONDS}),
            "/readyz": lambda _accepted: checks_answer(checked()),
        }


class _Remembered:
    """Asks again only after some seconds: to load a key takes a while, and anybody may ask."""

    def __init__(self, ask: Callable[[], dict[str, bool]], lock: threading.Lock) -> None:
        self._ask, self._lock = ask, lock
        self._answer: dict[str, bool] = {}
        self._at = float("-inf")

    def __call__(self) -> dict[str, bool]:
        with self._lock:
            if time.monotonic() - self._at > _READY_SECONDS:
                self._answer, self._at = self._ask(), time.monotonic()
            return self._answer
