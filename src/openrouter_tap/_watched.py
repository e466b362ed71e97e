"""The reply's body on its way to the caller: a stream of both libraries, sync and async, that is watched.

It is the `Observation` of the call as well: one object per call. Each step of ours is guarded where it is taken, here
and in the two kinds of streams: a fault of ours ends the watching and never the reading.
tests/faults/test_own_faults.py makes every function raise.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any

from openrouter_tap._compat import StreamBase
from openrouter_tap._observation import Observation

__all__ = ["WatchedStream"]


class WatchedStream(Observation, StreamBase):
    """What JSON and streams of events have in common."""

    body: Any = None
    """The stream that is watched."""
    chunks: AsyncGenerator[bytes, None] | None = None
    """Our own iterator while one is in use, and that of the body behind it."""
    inner: Any = None

    def _watch(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        raise NotImplementedError

    def __aiter__(self) -> AsyncIterator[bytes]:
        self.inner = inner = self.body.__aiter__()
        self.chunks = chunks = self._watch(inner)
        return chunks

    def close(self) -> None:
        if not self.done:
            try:
                self.leave("closed_early")
            except Exception as fault:  # noqa: BLE001
                self.give_up(fault)
        self.body.close()

    def aclose(self) -> Coroutine[Any, Any, None]:
        """A plain function: where nothing of ours is open, the body's own coroutine is handed on."""
        if not self.done:
            try:
                self.leave("closed_early")
            except Exception as fault:  # noqa: BLE001
                self.give_up(fault)
        return self.body.aclose() if self.chunks is None else self._close_all()

    async def _close_all(self) -> None:
        chunks, inner = self.chunks, self.inner
        self.chunks = self.inner = None
        try:
            await _close_iterator(chunks)
            await _close_iterator(inner)
        finally:
            await self.body.aclose()

    @property
    def elapsed(self) -> Any:
        """What httpx2 asks the stream for; our place is around that one where the hooks have put us."""
        return getattr(self.body, "elapsed", None)


async def _close_iterator(chunks: Any) -> None:
    """Close an iterator that nobody is reading: the libraries close theirs in part, and none behind ours."""
    close = getattr(chunks, "aclose", None)
    if close is not None and not getattr(chunks, "ag_running", False):
        await close()
