"""The streams of a tap whose end is not seen: it ends with their client, or with the program."""

from __future__ import annotations

import atexit
from contextlib import suppress
from weakref import WeakSet

from openrouter_tap._observation import Streams

__all__ = ["OpenStreams"]


class OpenStreams:
    """By their `id`: a `WeakSet` of them costs each stream 3 µs."""

    def __init__(self) -> None:
        self.by_id: Streams = {}
        _all.add(self)

    def leave(self) -> None:
        """Have an event of each: nobody will read them to their end."""
        for call in [stream() for stream in list(self.by_id.values())]:
            if call is not None:
                try:
                    call.leave("abandoned")
                except Exception as fault:  # noqa: BLE001
                    call.give_up(fault)


_all: WeakSet[OpenStreams] = WeakSet()


@atexit.register
def _leave_all() -> None:
    """At the end of the program: what a daemon thread holds is collected no more."""
    for streams in list(_all):
        with suppress(Exception):
            streams.leave()
