"""The reply's body on its way to the caller: a stream of both libraries, sync and async, that is watched.

It is the `Observation` of the call as well: one object per call. Each step of ours is guarded where it is taken, here
and in the two kinds of streams: a fault of ours ends the watching and never the reading.
tests/faults/test_own_faults.py makes every function raise.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from openrouter_tap._compat import StreamBase
from openrouter_tap._observation import Observation

__all__ = ["WatchedStream"]


class WatchedStream(Observation, StreamBase):
    """What JSON and streams of events have in common."""

    body: Any
    """The stream that is watched."""

    def close(self) -> None:
        if not self.done:
            try:
                self.leave("closed_early")
            except Exception as fault:  # noqa: BLE001
                self.give_up(fault)
        self.body.close()

    def aclose(self) -> Coroutine[Any, Any, None]:
        """A plain function: the body's own coroutine is handed on.

        What iterates over the body is not closed here: whoever iterates does that, or lets it go.
        """
        if not self.done:
            try:
                self.leave("closed_early")
            except Exception as fault:  # noqa: BLE001
                self.give_up(fault)
        closing: Coroutine[Any, Any, None] = self.body.aclose()
        return closing

    @property
    def elapsed(self) -> Any:
        """What httpx2 asks the stream for; our place is around that one where the hooks have put us."""
        return getattr(self.body, "elapsed", None)
