"""The service's own way with sticks: whatever is plugged in is visited, beside the work on reports.

It runs in a thread with a database connection of its own, exactly as `stick sync` would in another process: what a
visit takes goes into the inbox, and the work on reports is woken.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy.exc import DBAPIError

from online_station.shell.home import Home
from online_station.shell.log import LOGGER
from online_station.shell.setup import opened, read_settings
from online_station.shell.store import Store
from online_station.shell.trust import Trust
from online_station.shell.visit import Visit, outgoing_mark, sticks_of, synchronise
from shared.clock import Clock
from shared.errors import StationBusy, TaxferryError
from shared.medium.attend import attend
from shared.medium.find import STATES, FoundStick
from shared.medium.sticks import Sticks
from shared.medium.volumes import MountWake
from shared.stick_words import PULL_OUT, carried_words, read_only_warning, useless_words
from shared.text import Text
from shared.text.system import os_reason

_AFTER_A_DEFECT: Final = 30.0
Tell = Callable[[str, Mapping[str, Any], Text], None]


def visit_words(done: Visit) -> tuple[list[Text], list[Text]]:
    """Return what a visit did, and what a person should know about it."""
    lines = [Text(f"U盘“{done.label}”（{done.path}）", f"stick '{done.label}' ({done.path})")]
    lines += [Text(f"  取入 {name}", f"  taken: {name}") for name in done.taken]
    lines += carried_words(done.placed, done.container)
    lines += [Text(f"  清理 {name}（已清卡）", f"  removed: {name} (used)") for name in done.removed]
    if done.failure is None:
        if len(lines) == 1 and not done.unplaced and not done.problems:
            lines.append(Text("  U盘与本机一致，没有新文件", "  the stick is up to date, there is nothing new"))
        lines.append(Text(f"{PULL_OUT.zh}U盘", f"{PULL_OUT.en}"))
    warnings = list(done.warnings)
    if done.unplaced and done.failure is None:
        warnings.append(read_only_warning(done.unplaced))
    return lines, warnings


def visit_json(done: Visit) -> dict[str, object]:
    """Return a visit as `--json` shows it."""
    return {
        "stick": str(done.path),
        "id": done.stick_id or None,
        "label": done.label,
        "taken": done.taken,
        "known": done.known,
        "placed": done.placed,
        "already": done.already,
        "container": done.container or None,
        "removed": done.removed,
        "unplaced": done.unplaced,
        "foreign": done.foreign,
        "safe": done.failure is None,
        "confined_by": list(done.protections),
    }


def after_visit(done: Visit) -> Text | None:
    """Return the next human action after a visit."""
    if done.taken:
        return Text("在上网机执行 once（服务运行时会自动处理）", "run once here (a running service does it by itself)")
    if any(name.endswith(".txt") and name != "trust.txt" for name in [*done.placed, *done.already]):
        return Text(
            "把U盘带到开票机，执行 stick sync、result、clear",
            "carry the stick to the invoicing PC and run stick sync, result and clear there",
        )
    return None


class Visiting(threading.Thread):
    """Attends to sticks until `stop` is set."""

    def __init__(self, home: Home, clock: Clock, stop: threading.Event, wake: threading.Event, tell: Tell) -> None:
        """Attend on behalf of the station in `home`; `wake` is set when something was taken."""
        super().__init__(name="sticks", daemon=True)
        self._home, self._clock = home, clock
        self._stop_event, self._wake, self._tell = stop, wake, tell
        self._sticks: Sticks | None = None
        self._mark: frozenset[Hashable] = frozenset()
        self._found: Sequence[FoundStick] = ()
        self._written: Hashable = None

    def run(self) -> None:
        """Attend; a stick that fails is told about, and the next one follows. A defect is told about, and does not end it."""
        while not self._stop_event.is_set():
            try:
                with MountWake() as mounts, opened(self._home) as store:
                    attend(
                        survey=lambda store=store: self._survey(store),  # type: ignore[misc]
                        visit=self._visit,
                        notice=self._notice,
                        wake=mounts,
                        stop=self._stop_event,
                    )
            except Exception as error:  # noqa: BLE001  the service goes on with reports, and says what failed here
                LOGGER.exception("sticks")
                words = Text(f"U盘服务出错，稍后再试：{error}", f"sticks failed, and are tried again: {error}")
                self._tell("trouble", {"message": str(error)}, words)
                self._stop_event.wait(_AFTER_A_DEFECT)

    def _notice(self, found: FoundStick) -> None:
        state = STATES[found.state]
        facts = {"label": found.label, "path": str(found.path), "state": found.state.value}
        self._tell("unusable", facts, useless_words(found.shown, state.name, state.advice))

    def _survey(self, store: Store) -> tuple[Sequence[FoundStick], frozenset[Hashable]]:
        """Look at what is in; the reports are read again only when somebody has written."""
        try:
            written = store.change_mark()
            if self._sticks is None or written != self._written:
                known = sticks_of(store, read_settings(self._home, store).station_id)
                to_place = known.to_place()
                self._sticks = replace(known, to_place=lambda: to_place)
                self._mark, self._written = outgoing_mark(store), written
            self._found = self._sticks.found()
        except (TaxferryError, OSError, DBAPIError) as error:
            # The database is busy or full. The next look comes soon; no stick was pulled because of it.
            LOGGER.error("sticks: %s", error)
        return self._found, self._mark

    def _visit(self, found: FoundStick) -> bool | None:
        facts = {"label": found.label, "path": str(found.path)}
        self._tell(
            "visiting",
            facts,
            Text(f"U盘“{found.label}”：正在传输，请不要拔出…", f"stick '{found.label}': do not pull it out…"),
        )
        try:
            now = self._clock.now()
            with opened(self._home) as store:
                settings = read_settings(self._home, store)
                done = synchronise(
                    found.path,
                    station=settings.station_id,
                    home=self._home,
                    store=store,
                    trust=Trust(self._home.trust, now),
                    inbox=settings.inbox,
                    now=now,
                )
        except StationBusy:
            return None  # somebody visits it by hand
        except TaxferryError as error:
            return self._failed(facts, error.text, error.as_json())
        except OSError as error:
            return self._failed(facts, os_reason(error), {})
        except DBAPIError as error:
            return self._failed(facts, Text(str(error), str(error)), {})
        if done.taken:
            self._wake.set()
        for problem in done.problems:
            LOGGER.warning("stick %s: %s %s", found.label, problem.code, problem)
        if done.failure is not None:
            return self._failed(facts, done.failure.text, done.failure.as_json())
        action = after_visit(done)
        then = Text("", "") if action is None or done.taken else Text(f"。下一步：{action.zh}", f". next: {action.en}")
        counts = Text(
            f"取入 {len(done.taken)} 个，放上 {len(done.placed)} 个",
            f"{len(done.taken)} taken, {len(done.placed)} placed",
        )
        self._tell(
            "safe",
            visit_json(done),
            Text(
                f"√ 现在可以拔出U盘“{found.label}”（{counts.zh}）{then.zh}",
                f"√ the stick '{found.label}' can be pulled out now ({counts.en}){then.en}",
            ),
        )
        return True

    def _failed(self, facts: Mapping[str, object], why: Text, error: Mapping[str, object]) -> bool:
        LOGGER.error("stick %s: %s", facts["label"], why)
        words = Text(
            f"× U盘“{facts['label']}”没有传输完：{why.zh}。文件都还在发送方，没有丢失；重新插入再试",
            f"× stick '{facts['label']}': {why.en}. the senders still hold every file; plug it in again",
        )
        self._tell("failed", {**facts, "error": error}, words)
        return False
