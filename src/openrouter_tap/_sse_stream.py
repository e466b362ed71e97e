"""A reply that is a stream of events, on its way to the caller: watched and untouched.

One object per call, as in `_json_stream`. This module is bent for speed; benchmarks/tap.py justifies it. What is odd:

- SSE is many chunks: a generator per iteration, 3 times as fast per chunk as an iterator class. The async one is
  started with the event loop's hooks off (`__aiter__`), so no loop and no trio keeps books on it; one left behind is
  closed on the spot, without a warning. `parts.append` is written out: 3.11 specialises that, and not a cached name.
- A stream is watched in three loops: until its first content, until its end, and not at all behind that. Sync and async
  are twins, written out: what they share, put into a call, costs 30 ns a chunk. What has other `Marks` than chat stays
  in the first loop, which costs half a microsecond a chunk.
- The end of a stream is `[DONE]`, not the end of its bytes: SDKs stop there and close, and openai's async client
  iterates again to drain the rest. Two bytes before a chunk's end hint at it; `Kept.is_over` proves it.
- `aclose` is a plain function that hands the inner coroutine on when nothing of ours is open.
- Each step of ours is guarded where it is taken: a fault of ours ends the watching and never the reading.
  tests/faults/test_own_faults.py makes every function raise.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from typing import Any

from openrouter_tap._compat import StreamBase, close_iterator, host_and_path
from openrouter_tap._event import Outcome
from openrouter_tap._observation import Observation, clock, endpoint_of
from openrouter_tap._parse.reply import read_reply
from openrouter_tap._parse.sse import OVERLAP, Kept, Marks, has_content, marks_of
from openrouter_tap._parse.wire import Reply

__all__ = ["SseStream"]

_BRACKET = ord("]")
_LAST = 64  # chunks in which the end is looked for when nothing hinted at it


class SseStream(Observation, StreamBase):
    """A stream of events, of which the last ones are kept and read at the end."""

    streamed = True
    body: Any = None
    """The stream that is watched."""
    _held = 0  # bytes in the kept chunks
    _over = False  # whether [DONE] was seen
    _overlap = b""  # the end of what was searched for content
    _marks: Marks | None = None  # where content and end are not chat's
    _begun = False  # whether `_marks` is known
    _ending = False  # whether the last event of those has begun
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
        has_ended = reply.finish_reason is not None or (reply.usage is not None and self._marks is None)
        if self._over or has_ended or kept.is_over(_LAST):
            return reply, True
        coding = self._header(b"content-encoding") or ""
        other = None if reply.id else read_reply(kept.ends, cut=bool(kept.gone), coding=coding)
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
        if has_content(text):
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
        chunks = iter(self.body)
        held = None
        try:
            if not self.done and (self.first_content is None or self._marks is not None):
                for chunk in chunks:
                    try:
                        opened = self._opens(chunk)
                    except Exception as fault:  # noqa: BLE001
                        opened = self.give_up(fault)
                    yield chunk
                    if opened:
                        break
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
            yield from chunks
        except BaseException as error:
            if held is not None:
                self._held = held
            try:
                self.fail(error)
            except Exception as fault:  # noqa: BLE001
                self.give_up(fault)
            raise

    def close(self) -> None:
        if not self.done:
            try:
                self.leave("closed_early")
            except Exception as fault:  # noqa: BLE001
                self.give_up(fault)
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

    async def _watch(self) -> AsyncGenerator[bytes, None]:  # noqa: C901, PLR0912  the twin of __iter__
        kept = self._kept
        parts, limit = kept.parts, kept.limit
        self._inner = chunks = self.body.__aiter__()
        held = None
        try:
            yield b""  # taken by __aiter__
            if not self.done and (self.first_content is None or self._marks is not None):
                async for chunk in chunks:
                    try:
                        opened = self._opens(chunk)
                    except Exception as fault:  # noqa: BLE001
                        opened = self.give_up(fault)
                    yield chunk
                    if opened:
                        break
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
                    self._chunks = self._inner = None
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
            raise
        self._chunks = self._inner = None

    def aclose(self) -> Coroutine[Any, Any, None]:
        if not self.done:
            try:
                self.leave("closed_early")
            except Exception as fault:  # noqa: BLE001
                self.give_up(fault)
        return self.body.aclose() if self._chunks is None else self._close_all()

    async def _close_all(self) -> None:
        chunks, inner = self._chunks, self._inner
        self._chunks = self._inner = None
        try:
            await close_iterator(chunks)
            await close_iterator(inner)
        finally:
            await self.body.aclose()

    @property
    def elapsed(self) -> Any:
        """What httpx2 asks the stream for; our place is around that one where the hooks have put us."""
        return getattr(self.body, "elapsed", None)
