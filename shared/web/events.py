"""What a page hears while it is open: server-sent events, from any thread to every open window.

A browser opens six connections to one host, and an open stream holds one of them for good. So each session has its
few newest streams; an older window is told `bye`, and asks again when somebody looks at it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

STREAMS: Final = 3
_PING_SECONDS: Final = 15.0
_BEHIND: Final = 64
"""Events that a stream may be behind; of progress, the latest says everything."""
_BYE: Final = b"event: bye\ndata: {}\n\n"


class _Stream:
    def __init__(self, session: str) -> None:
        self.session = session
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue(_BEHIND)

    def put(self, event: bytes | None) -> None:
        while True:
            with contextlib.suppress(asyncio.QueueFull):
                self.queue.put_nowait(event)
                return
            self.queue.get_nowait()


def _put_all(streams: Sequence[_Stream], event: bytes | None) -> None:
    for stream in streams:
        stream.put(event)


class Hub:
    """Everybody who listens."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._streams: list[_Stream] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many windows listen."""
        return len(self._streams)

    def publish(self, event: str, facts: Mapping[str, object] | None = None) -> None:
        """Tell every window; may be called from any thread, and never waits."""
        with self._lock:
            loop, streams = self._loop, list(self._streams)
        if loop is None or not streams:
            return
        data = encode(event, facts or {})
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(_put_all, streams, data)

    def close(self) -> None:
        """End all streams."""
        with self._lock:
            self._closed = True
            loop, streams = self._loop, list(self._streams)
        if loop is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_put_all, streams, None)

    async def stream(self, session: str, first: Callable[[], bytes]) -> AsyncIterator[bytes]:
        """Yield events for one window until it or the program ends.

        Args:
            session: Whose window it is.
            first: Returns the event that it hears at once; asked when nothing can be missed any more.
        """
        mine = _Stream(session)
        with self._lock:
            self._loop = asyncio.get_running_loop()
            older = [one for one in self._streams if one.session == session]
            self._streams.append(mine)
            closed = self._closed
        for one in older[: max(0, len(older) + 1 - STREAMS)]:
            one.put(_BYE)
            one.put(None)
        try:
            yield first()
            while not closed:
                try:
                    event = await asyncio.wait_for(mine.queue.get(), _PING_SECONDS)
                except TimeoutError:
                    event = b": still here\n\n"
                if event is None:
                    return
                yield event
        finally:
            with self._lock:
                if mine in self._streams:
                    self._streams.remove(mine)


def encode(event: str, facts: Mapping[str, object]) -> bytes:
    """Return an event as it is sent."""
    return f"event: {event}\ndata: {json.dumps(dict(facts), default=str)}\n\n".encode()
