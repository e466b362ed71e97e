"""Replies in a coding (gzip, deflate, br, zstd), on their way to the caller: read as his own decoder gives them.

What comes over the wire is kept as well, for a caller who takes it raw, or whose decoder can make nothing of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from openrouter_tap._json_stream import JsonStream
from openrouter_tap._overheard import Listener, overhear
from openrouter_tap._parse.coding import WHOLE, Bounded
from openrouter_tap._parse.sse import Kept
from openrouter_tap._parse.wire import Reply
from openrouter_tap._sse_stream import SseStream
from openrouter_tap._watched import WatchedStream

__all__ = ["CodedJsonStream", "CodedSseStream"]

_MUCH, _MOST_TIMES = 8 << 20, 50  # what holds so many bytes, and so many times what came of it, is a bomb

Weak = Callable[[], Any]
"""A weak reference to the response: it holds its stream."""


class _Listening(WatchedStream):
    """What both kinds have in common: where the caller's decoder is at work, `hear` is told what it gives."""

    response: Weak | None = None
    hear: Callable[[bytes], None]

    def _listen(self) -> bool:
        return overhear(self.response, Listener(self.hear, self.fail, self.give_up))

    def __iter__(self) -> Iterator[bytes]:
        try:
            self._listen()
        except Exception as fault:  # noqa: BLE001
            self.give_up(fault)
        return super().__iter__()

    def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            self._listen()
        except Exception as fault:  # noqa: BLE001
            self.give_up(fault)
        return super().__aiter__()


class CodedJsonStream(_Listening, JsonStream):
    """A body that is kept twice: as it came, and, where it is decoded, as text."""

    _text: Bounded | None = None

    def hear(self, text: bytes) -> None:
        """Take the next piece of what the decoder gives."""
        if not self.done and text:
            if self._text is None:
                self._text = Bounded()
            self._text.add(text)

    def facts(self) -> tuple[Reply, bool]:
        text = self._text
        if text is not None:
            self._cut, self._kept = text.size > WHOLE, b"".join(text.parts)
        try:
            return super().facts()
        finally:
            self._text = None

    def _coding(self) -> str:
        return super()._coding() if self._text is None else ""

    def _keep_parts(self, chunk: bytes) -> None:
        if self._text is None:
            super()._keep_parts(chunk)
        else:
            self._kept = b""


class CodedSseStream(_Listening, SseStream):
    """A stream of events whose first content and end are looked for in the text."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._raw: Kept | None = None  # where the text is heard, what came
        self._raw_held = 0
        self._is_text = False

    @property
    def _came(self) -> int:
        return self._raw.gone + self._raw_held if self._raw is not None else 0

    def hear(self, text: bytes) -> None:
        """Take the next piece of what the decoder gives."""
        if self.done or not text:
            return
        heard = self._kept.gone + self._held
        if heard <= _MUCH or heard <= _MOST_TIMES * self._came:
            self._is_text = True
            super()._opens(text)

    def facts(self) -> tuple[Reply, bool]:
        raw = self._raw
        if raw is None:
            return super().facts()
        if not self._is_text:
            self._kept, self._held = raw, self._raw_held
        came = self._came
        try:
            return super().facts()
        finally:
            self.size, self._raw = came, None

    def _coding(self) -> str:
        return "" if self._is_text else super()._coding()

    def _opens(self, chunk: bytes) -> bool:
        """Keep what came, whether or not its text is heard; the loops go on with this one until the end."""
        raw = self._raw
        if raw is None:
            return super()._opens(chunk)
        raw.parts.append(chunk)
        self._raw_held += len(chunk)
        if self._raw_held > raw.limit:
            self._raw_held = raw.trim(self._raw_held)
        return self.done

    def _listen(self) -> bool:
        if super()._listen():
            self._raw = Kept()
        return self._raw is not None
