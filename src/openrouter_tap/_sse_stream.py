"""A reply that is a stream of events, on its way to the caller: watched and untouched.

This module is bent for speed; benchmarks/tap.py justifies it. What looks odd:

- SSE is many chunks: a generator per iteration, 3 times as fast per chunk as an iterator class. `parts.append` is
  written out: 3.11 specialises that, and not a cached name.
- A stream is watched in three loops: until its first content, until its end, and not at all behind that. Sync and async
  are twins, written out: what they share, put into a call, costs 30 ns a chunk. What has other `Marks` than chat stays
  in the first loop, which costs half a microsecond a chunk.
- The end of a stream is `[DONE]`, not the end of its bytes: SDKs stop there and close, and openai's async client
  iterates again to drain the rest. Two bytes before a chunk's end hint at it; `Kept.is_over` proves it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

from openrouter_tap._compat import CLOSING, aiterate, host_and_path, iterate, nothing
from openrouter_tap._event import Outcome
from openrouter_tap._observation import Begun, Emit, Streams, clock, endpoint_of
from openrouter_tap._parse.reply import read_reply
from openrouter_tap._parse.sse import LAST, OVERLAP, Kept, Marks, has_content, marks_of
from openrouter_tap._parse.wire import Reply
from openrouter_tap._watched import WatchedStream

__all__ = ["SseStream"]

_BRACKET = ord("]")


class SseStream(WatchedStream):
    """A stream of events, of which the last ones are kept and read at the end."""

    def __init__(self, request: Any, begun: Begun, emit: Emit) -> None:
        super().__init__(request, begun, emit)
        self.streamed = True
        self.open_streams: Streams = {}
        """That of the transport, where there is one."""
        self._kept = Kept()
        self._held = 0  # bytes in the kept chunks
        self._over = False  # whether [DONE] was seen
        self._overlap = b""  # the end of what was searched for content
        self._marks: Marks | None = None  # where content and end are not chat's
        self._begun = False  # whether `_marks` is known
        self._ending = False  # whether the last event of those has begun

    def at_once(self, content: bytes, *, encoded: bool) -> None:
        """The transport has read the body already, and decoded it if it was *encoded*."""
        self._kept.parts.append(content)
        self._held = len(content)
        self.wire_size_known = not encoded
        self.finish("completed")

    def facts(self) -> tuple[Reply, bool]:
        self.open_streams.pop(id(self), None)
        try:
            return self._facts()
        finally:
            self._kept.parts.clear()

    def _facts(self) -> tuple[Reply, bool]:
        kept = self._kept
        self.size = kept.gone + self._held
        reply = kept.facts()
        if self._over or reply.finish_reason is not None or (reply.usage is not None and self._marks is None):
            return reply, True
        if kept.is_over(LAST):
            return reply, True
        other = None if reply.id else read_reply(kept.ends, cut=bool(kept.gone), coding=self._coding)
        if other is None:
            return reply, False
        self.streamed = other.id is None  # JSON under the name of a stream, else a coding that is not undone
        return other, True

    def leave(self, outcome: Outcome) -> None:
        self._held = sum(map(len, self._kept.parts))  # the count of an iteration under way is in its frame
        self.finish("completed" if self._kept.is_over(LAST) else outcome)

    def fail(self, error: BaseException) -> None:
        if not self.done and self._kept.is_over(LAST):
            self.finish("completed")
        super().fail(error)

    def _opens(self, chunk: bytes) -> bool:
        """Keep *chunk*, and whether the first content is in it, or the end."""
        if self.done:  # the client was closed meanwhile
            return True
        if not self._begun:
            self._begun, self._marks = True, marks_of(endpoint_of(host_and_path(self.request.url)[1]))
        self._kept.parts.append(chunk)
        self._held += len(chunk)
        if self._held > self._kept.limit:
            self._held = self._kept.trim(self._held)
        text = self._overlap + chunk
        self._overlap = b"" if chunk[-1:] == b"\n" else text[-OVERLAP:]  # no content goes over the end of a line
        if self._marks is not None:
            return self._is_marked(self._marks, chunk, text)
        if self.first_content is None and has_content(text):
            self.first_content = clock()
            return True
        return chunk[-3:-2] == b"]" and self._ends(self._held)

    def _is_marked(self, marks: Marks, chunk: bytes, text: bytes) -> bool:
        """Whether *chunk*, the end of *text*, completes an endpoint's last event; content in it is noted."""
        if self.first_content is None and marks.content(text):
            self.first_content = clock()
        rest = chunk if self._ending else b""
        if not self._ending and (mark := marks.end(text)):
            self._ending, rest = True, text[mark.end() :]
        if b"\n" in rest or b"\r" in rest:
            self._over = True
            self.finish("completed")
        return self.done

    def _ends(self, held: int) -> bool:
        """A chunk ended like ``[DONE]``: whether it is that event, and not a text that ends so."""
        if self._kept.is_over():
            self._held = held
            self._over = True
            self.finish("completed")
        return self.done

    def __iter__(self) -> Iterator[bytes]:  # noqa: C901, PLR0912  see above: three loops, what they share written out
        kept = self._kept
        parts, limit = kept.parts, kept.limit
        held = None
        try:
            chunks = iterate(self.body)
            if not self.done and (self.first_content is None or self._marks is not None):
                for chunk in chunks:
                    try:
                        opened = self._opens(chunk)
                    except Exception as fault:  # noqa: BLE001
                        opened = self.give_up(fault)
                    yield chunk
                    if opened:
                        break
                else:
                    chunks = iter(())  # it has ended, and is not asked again
            if not self.done:
                held = self._held
                for chunk in chunks:
                    parts.append(chunk)
                    held += len(chunk)
                    try:
                        if held > limit:
                            held = kept.trim(held)
                            limit = kept.limit
                        if chunk[-3] == _BRACKET and self._ends(held):
                            break
                    except IndexError:
                        pass
                    except Exception as fault:  # noqa: BLE001
                        self.give_up(fault)
                        break
                    yield chunk
                else:
                    self._held = held
                    try:
                        self.finish("completed")
                    except Exception as fault:  # noqa: BLE001
                        self.give_up(fault)
                    return
                yield chunk
            for chunk in chunks:  # `yield from` would close what the libraries do not
                yield chunk
        except BaseException as error:
            if held is not None:
                self._held = held
            try:
                self.fail(error)
            except Exception as fault:  # noqa: BLE001
                self.give_up(fault)
            raise

    async def __aiter__(self) -> AsyncIterator[bytes]:  # noqa: C901, PLR0912  the twin
        kept = self._kept
        parts, limit = kept.parts, kept.limit
        held = chunks = None
        try:
            chunks = aiterate(self.body)
            if not self.done and (self.first_content is None or self._marks is not None):
                async for chunk in chunks:
                    try:
                        opened = self._opens(chunk)
                    except Exception as fault:  # noqa: BLE001
                        opened = self.give_up(fault)
                    yield chunk
                    if opened:
                        break
                else:
                    chunks = nothing()
            if not self.done:
                held = self._held
                async for chunk in chunks:
                    parts.append(chunk)
                    held += len(chunk)
                    try:
                        if held > limit:
                            held = kept.trim(held)
                            limit = kept.limit
                        if chunk[-3] == _BRACKET and self._ends(held):
                            break
                    except IndexError:
                        pass
                    except Exception as fault:  # noqa: BLE001
                        self.give_up(fault)
                        break
                    yield chunk
                else:
                    self._held = held
                    try:
                        self.finish("completed")
                    except Exception as fault:  # noqa: BLE001
                        self.give_up(fault)
                    return
                yield chunk
            async for chunk in chunks:
                yield chunk
        except BaseException as error:
            if held is not None:
                self._held = held
            try:
                self.fail(error)
            except Exception as fault:  # noqa: BLE001
                self.give_up(fault)
            if isinstance(chunks, AsyncGenerator) and isinstance(self.body, CLOSING):
                await chunks.aclose()
            raise
