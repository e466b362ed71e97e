"""A reply that is JSON, on its way to the caller: watched and untouched.

JSON is mostly one or two chunks: the first one is kept by reference, and in a list only if there are more. Bent for
speed (benchmarks/tap.py): `_keep` is written out for that one, and sync and async are twins.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator

from openrouter_tap._compat import CLOSING, aiterate
from openrouter_tap._observation import NO_REPLY
from openrouter_tap._parse.coding import EDGE, MANY, WHOLE, Inflater, edges, is_deflated
from openrouter_tap._parse.reply import read_reply
from openrouter_tap._parse.sse import LAST, Kept
from openrouter_tap._parse.wire import UNREADABLE, Reply, decode_reply
from openrouter_tap._watched import WatchedStream

__all__ = ["JsonStream"]

_OK = 200
_BINARY = ("audio/", "image/", "video/")
_OPAQUE = (*_BINARY, "application/octet-stream")


class JsonStream(WatchedStream):
    """A body that is kept, or its two ends if it is long, and read at the end.

    Defaults of the class, which are read once a call: a second `__init__` would cost it half a microsecond.
    """

    _kept: bytes | list[bytes] | Inflater = b""  # the first chunk by reference; a list when there are more
    _held = 0  # bytes in the list
    _cut = False  # whether the list is the two ends of the body

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
        if isinstance(kept, Inflater):
            if not kept.is_sound:
                return NO_REPLY, True
            self._cut, kept = kept.body.size > WHOLE, kept.body.parts
        elif not is_deflated(kept if isinstance(kept, bytes) else kept[0]) and self._is_of(_BINARY):
            return NO_REPLY, True
        reply = read_reply(kept, cut=self._cut, coding=self._coding)
        if reply is not None:
            return reply, True
        events = Kept(kept if isinstance(kept, list) else [kept])
        reply = events.facts()
        if reply.id or reply.usage:  # a stream under the name of JSON
            self.streamed = True
            return reply, reply.usage is not None or events.is_over(LAST)
        return NO_REPLY, self._is_of(_OPAQUE)

    def _is_of(self, types: tuple[str, ...]) -> bool:
        return (self._header(b"content-type") or "").lower().startswith(types)

    def _keep(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if not self._kept and len(chunk) <= WHOLE:
            self._kept = chunk
        elif not self.done:
            self._keep_parts(chunk)

    def _keep_parts(self, chunk: bytes) -> None:
        if isinstance(self._kept, Inflater):
            self._kept.feed(chunk)
            return
        if not isinstance(self._kept, list):
            self._held = len(self._kept)
            self._kept = [self._kept] if self._kept else []
        self._kept.append(chunk)
        self._held += len(chunk)
        if self._held > WHOLE:
            if not self._cut and is_deflated(b"".join(self._kept[:2])):
                parts, self._kept = self._kept, Inflater()
                for part in parts:
                    self._kept.feed(part)
                return
            self._kept, self._held, self._cut = edges(self._kept), 2 * EDGE, True
        elif len(self._kept) > MANY:
            self._kept = [b"".join(self._kept)]

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self.body:
                if self._kept or len(chunk) > WHOLE:
                    try:
                        self._keep(chunk)
                    except Exception as fault:  # noqa: BLE001
                        self.give_up(fault)
                else:
                    self._kept = chunk
                    self.size += len(chunk)
                yield chunk
        except BaseException as error:
            try:
                self.fail(error)
            except Exception as fault:  # noqa: BLE001
                self.give_up(fault)
            raise
        try:
            self.finish("completed")
        except Exception as fault:  # noqa: BLE001
            self.give_up(fault)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = None
        try:
            chunks = aiterate(self.body)
            async for chunk in chunks:
                if self._kept or len(chunk) > WHOLE:
                    try:
                        self._keep(chunk)
                    except Exception as fault:  # noqa: BLE001
                        self.give_up(fault)
                else:
                    self._kept = chunk
                    self.size += len(chunk)
                yield chunk
        except BaseException as error:
            try:
                self.fail(error)
            except Exception as fault:  # noqa: BLE001
                self.give_up(fault)
            if isinstance(chunks, AsyncGenerator) and isinstance(self.body, CLOSING):
                await chunks.aclose()
            raise
        try:
            self.finish("completed")
        except Exception as fault:  # noqa: BLE001
            self.give_up(fault)
