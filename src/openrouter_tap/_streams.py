"""The reply's body on its way to the caller, watched and untouched: one class for JSON, one for a stream of events.

Each is a stream of both libraries, sync and async, its own iterator where that is quickest, and the `Observation` of
the call: one object per call. This module is bent for speed; benchmarks/tap.py justifies it. What looks odd:

- JSON is one or two chunks: the object is its own async iterator, and keeps the first chunk without a list.
- SSE is many chunks: a generator per iteration, 3 times as fast per chunk as an iterator class. The async one is
  started with the event loop's hooks off (`__aiter__`), so no loop and no trio keeps books on it; one left behind is
  closed on the spot, without a warning. `parts.append` is written out: 3.11 specialises that, and not a cached name.
- A stream is watched in three loops: until its first content, until its end, and not at all behind that. Sync and async
  are twins, written out: what they share, put into a call, costs 30 ns a chunk.
- The end of a stream is `[DONE]`, not the end of its bytes: SDKs stop there and close, and openai's async client
  iterates again to drain the rest. Two bytes before a chunk's end hint at it; `Kept.is_over` proves it.
- `aclose` is a plain function that hands the inner coroutine on when nothing of ours is open.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from typing import Any

from openrouter_tap._compat import StreamBase
from openrouter_tap._event import Outcome
from openrouter_tap._observation import NO_REPLY, Observation, clock
from openrouter_tap._parse.coding import EDGE, WHOLE, edges
from openrouter_tap._parse.reply import read_reply
from openrouter_tap._parse.sse import OVERLAP, Kept, has_content
from openrouter_tap._parse.wire import UNREADABLE, Reply, decode_reply

__all__ = ["JsonStream", "SseStream"]

_BRACKET = ord("]")
_OK = 200
_LAST = 64  # chunks in which the end is looked for when nothing hinted at it
_BINARY = ("audio/", "image/", "video/", "application/octet-stream")


class JsonStream(Observation, StreamBase):
    """A body that is kept, or its two ends if it is long, and read at the end."""

    body: Any = None
    size = 0
    _kept: bytes | list[bytes] = b""  # the first chunk by reference; a list when there are more
    _held = 0  # bytes in the list
    _cut = False  # whether the list is the two ends of the body
    _pull: Any = None  # __anext__ of the iterator in use

    def at_once(self, content: bytes, *, encoded: bool) -> None:
        """The transport has read the body already, and decoded it if it was *encoded*."""
        self._keep(content)
        self.wire_size_known = not encoded
        self.finish("completed")

    def facts(self) -> tuple[Reply, bool]:
        kept, self._kept = self._kept, b""
        if not kept:
            return NO_REPLY, self.status != _OK
        if isinstance(kept, bytes):
            try:
                return decode_reply(kept), True
            except UNREADABLE:
                pass
        reply = read_reply(kept, cut=self._cut, coding=self._header(b"content-encoding") or "")
        if reply is not None:
            return reply, True
        events = Kept(kept if isinstance(kept, list) else [kept])
        reply = events.facts()
        if reply.id or reply.usage:  # a stream under the name of JSON
            self.streamed = True
            return reply, reply.usage is not None or events.is_over(_LAST)
        return NO_REPLY, (self._header(b"content-type") or "").lower().startswith(_BINARY)

    def _keep(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if not self._kept and len(chunk) <= WHOLE:
            self._kept = chunk
        elif not self.done:
            self._keep_parts(chunk)

    def _keep_parts(self, chunk: bytes) -> None:
        if not isinstance(self._kept, list):
            self._held = len(self._kept)
            self._kept = [self._kept]
        self._kept.append(chunk)
        self._held += len(chunk)
        if self._held > WHOLE:
            self._kept, self._held, self._cut = edges(self._kept), 2 * EDGE, True

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self.body:
                self._keep(chunk)
                yield chunk
        except BaseException as error:
            self.fail(error)
            raise
        self.finish("completed")

    def close(self) -> None:
        if not self.done:
            self.leave("closed_early")
        self.body.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        if self._pull is None:  # httpx2 asks twice for each iteration
            self._pull = self.body.__aiter__().__anext__
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk: bytes = await self._pull()
        except StopAsyncIteration:
            self._pull = None  # so that a second iteration asks the body again
            self.finish("completed")
            raise
        except BaseException as error:
            self.fail(error)
            raise
        if self._kept:
            self._keep(chunk)
        else:
            self._kept = chunk
            self.size = len(chunk)
        return chunk

    def aclose(self) -> Coroutine[Any, Any, None]:
        if not self.done:
            self.leave("closed_early")
        return self.body.aclose() if self._pull is None else self._close_both()

    async def _close_both(self) -> None:
        chunks, self._pull = self._pull.__self__, None
        try:
            await _close_iterator(chunks)
        finally:
            await self.body.aclose()


class SseStream(Observation, StreamBase):
    """A stream of events, of which the last ones are kept and read at the end."""

    streamed = True
    body: Any = None
    _held = 0  # bytes in the kept chunks
    _over = False  # whether [DONE] was seen
    _overlap = b""  # the end of what was searched for content
    _chunks: AsyncGenerator[bytes, None] | None = None  # our generator, and the body's iterator behind it
    _inner: Any = None

    def __init__(self) -> None:
        self._kept = Kept()

    def at_once(self, content: bytes, *, encoded: bool) -> None:
        """The transport has read the body already, and decoded it if it was *encoded*."""
        self._kept.parts.append(content)
        self._held = len(content)
        self.wire_size_known = not encoded
        self.finish("completed")

    def facts(self) -> tuple[Reply, bool]:
        try:
            return self._facts()
        finally:
            self._kept.parts.clear()

    def _facts(self) -> tuple[Reply, bool]:
        kept = self._kept
        self.size = kept.gone + self._held
        reply = kept.facts()
        if self._over or reply.usage is not None or reply.finish_reason is not None or kept.is_over(_LAST):
            return reply, True
        coding = self._header(b"content-encoding") or ""
        other = None if reply.id else read_reply(kept.parts, cut=bool(kept.gone), coding=coding)
        if other is None:
            return reply, False
        self.streamed = other.id is None  # JSON under the name of a stream, else a coding that is not undone
        return other, True

    def leave(self, outcome: Outcome) -> None:
        self._held = sum(map(len, self._kept.parts))  # the count of an iteration under way is in its frame
        self.finish("completed" if self._kept.is_over(_LAST) else outcome)

    def fail(self, error: BaseException) -> None:
        if not self.done and self._kept.is_over(_LAST):
            self.finish("completed")
        super().fail(error)

    def _opens(self, chunk: bytes) -> bool:
        """Before the first content: keep *chunk*, and whether content is in it, or the end."""
        self._kept.parts.append(chunk)
        self._held += len(chunk)
        if self._held > self._kept.limit:
            self._held = self._kept.trim(self._held)
        text = self._overlap + chunk
        if has_content(text):
            self.first_content = clock()
            return True
        self._overlap = b"" if chunk[-1:] == b"\n" else text[-OVERLAP:]  # no content goes over the end of a line
        return chunk[-3:-2] == b"]" and self._ends(self._held)

    def _ends(self, held: int) -> bool:
        """A chunk ended like ``[DONE]``: whether it is that event, and not a text that ends so."""
        if self._kept.is_over():
            self._held = held
            self._over = True
            self.finish("completed")
        return self.done

    def __iter__(self) -> Iterator[bytes]:  # noqa: C901  see above: three loops, and what they share written out
        kept = self._kept
        parts, limit = kept.parts, kept.limit
        chunks = iter(self.body)
        held = None
        try:
            if not self.done and self.first_content is None:
                for chunk in chunks:
                    opened = self._opens(chunk)
                    yield chunk
                    if opened:
                        break
            if not self.done:
                held = self._held
                for chunk in chunks:
                    parts.append(chunk)
                    held += len(chunk)
                    if held > limit:
                        held = kept.trim(held)
                        limit = kept.limit
                    try:
                        if chunk[-3] == _BRACKET and self._ends(held):
                            break
                    except IndexError:
                        pass
                    yield chunk
                else:
                    self._held = held
                    self.finish("completed")
                    return
                yield chunk
            yield from chunks
        except BaseException as error:
            if held is not None:
                self._held = held
            self.fail(error)
            raise

    def close(self) -> None:
        if not self.done:
            self.leave("closed_early")
        self.body.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = self._chunks = self._watch()
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)
        try:
            chunks.__anext__().send(None)  # to its first yield: begun, and known to no event loop
        except StopIteration:
            pass
        finally:
            sys.set_asyncgen_hooks(*hooks)
        return chunks

    async def _watch(self) -> AsyncGenerator[bytes, None]:  # noqa: C901  the twin of __iter__
        kept = self._kept
        parts, limit = kept.parts, kept.limit
        self._inner = chunks = self.body.__aiter__()
        held = None
        try:
            yield b""  # taken by __aiter__
            if not self.done and self.first_content is None:
                async for chunk in chunks:
                    opened = self._opens(chunk)
                    yield chunk
                    if opened:
                        break
            if not self.done:
                held = self._held
                async for chunk in chunks:
                    parts.append(chunk)
                    held += len(chunk)
                    if held > limit:
                        held = kept.trim(held)
                        limit = kept.limit
                    try:
                        if chunk[-3] == _BRACKET and self._ends(held):
                            break
                    except IndexError:
                        pass
                    yield chunk
                else:
                    self._held = held
                    self.finish("completed")
                    self._chunks = self._inner = None
                    return
                yield chunk
            async for chunk in chunks:
                yield chunk
        except BaseException as error:
            if held is not None:
                self._held = held
            self.fail(error)
            raise
        self._chunks = self._inner = None

    def aclose(self) -> Coroutine[Any, Any, None]:
        if not self.done:
            self.leave("closed_early")
        return self.body.aclose() if self._chunks is None else self._close_all()

    async def _close_all(self) -> None:
        chunks, inner = self._chunks, self._inner
        self._chunks = self._inner = None
        try:
            await _close_iterator(chunks)
            await _close_iterator(inner)
        finally:
            await self.body.aclose()


async def _close_iterator(chunks: Any) -> None:
    """Close an iterator that nobody is reading: the libraries close theirs in part, and none behind ours."""
    close = getattr(chunks, "aclose", None)
    if close is not None and not getattr(chunks, "ag_running", False):
        await close()
