"""Server-sent events: where content begins, where the stream is over, and the facts that its events hold."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from openrouter_tap._parse.coding import WHOLE, inflate, is_deflated
from openrouter_tap._parse.loose import read_loosely
from openrouter_tap._parse.wire import Reply, decode_reply

__all__ = ["OVERLAP", "Kept", "has_content"]

OVERLAP = 64
"""Bytes before a cut that must be looked at again: content can begin across it."""

_LIMIT = 1 << 17  # bytes of a stream that are held before old events are let go
_KEEP = 1 << 15  # bytes that are held then
_HEAD = 1 << 14  # bytes of the beginning that are held for the ids
_FEW = 4  # chunks that usually hold them
_EVENTS = 8  # the last events hold it all: error, finish reason, usage

# A non-empty text, or a tool call. Keep-alive comments, role-only and empty deltas are no content.
_CONTENT = re.compile(
    rb'"(?:content|reasoning|text|arguments|refusal|transcript|data)"\s*:\s*"[^"]|"tool_calls"\s*:\s*\[\s*\{'
)
# A line of its own: JSON texts hold no raw newline, so no content can look like it.
_DONE = re.compile(rb"[\r\n]data: ?\[DONE\][\r\n]")


def has_content(text: bytes) -> bool:
    """Whether an event in *text* brings content, reasoning, a tool call or audio."""
    return _CONTENT.search(text) is not None


class Kept:
    """What is kept of a stream: its last chunks, its first bytes, and the last event with usage; never the stream."""

    __slots__ = ("_head", "_usage", "gone", "limit", "parts")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        """The last chunks; the reader of the stream appends to it."""
        self.limit = _LIMIT
        """Bytes in `parts` from which on `trim` is due."""
        self.gone = 0
        """Bytes that were let go."""
        self._head = b""
        self._usage = b""

    def trim(self, held: int) -> int:
        """Let old events go; how many of the *held* bytes are left. A line that is not finished stays."""
        joined = b"".join(self.parts)
        cut = joined.rfind(b"\n", 0, held - _KEEP) + 1
        if not cut and held > WHOLE:
            cut = held - _KEEP
        at = joined.rfind(b'"usage"', 0, cut)
        if at >= 0:
            self._usage = joined[joined.rfind(b"\n", 0, at) + 1 : cut].split(b"\n", 1)[0]
        self._head = self._head or joined[: min(cut, _HEAD)]
        self.parts[:] = [joined[cut:]]
        self.gone += cut
        self.limit = _LIMIT if cut else 2 * held
        return held - cut

    def is_over(self, last: int = 8) -> bool:
        """Whether ``[DONE]`` stands in the *last* chunks."""
        parts = self.parts[-last:]
        start = b"\n" if len(parts) == len(self.parts) else b""
        return _DONE.search(start + b"".join(parts)) is not None

    def facts(self) -> Reply:
        """What the events say, the last one that says it."""
        parts = self.parts
        if parts and is_deflated(parts[0]):
            parts = self._inflated()
        reply = Reply()
        _read(reply, b"".join(parts[-_FEW:]))
        if reply.usage is None or reply.finish_reason is None:
            self._look_further(reply, b"".join(parts))
        if reply.id is None or reply.model is None:
            for line in _lines_backwards(self._head or b"".join(parts)[:_HEAD]):
                _fill(reply, line)
        return reply

    def _look_further(self, reply: Reply, text: bytes) -> None:
        _read(reply, text)
        if reply.usage is None and (at := text.rfind(b'"usage"')) >= 0:
            line = next(_lines_backwards(text[: text.find(b"\n", at)]))
            _fill(reply, line)
        if reply.usage is None and self._usage:
            _fill(reply, self._usage)

    def _inflated(self) -> list[bytes]:
        inflated = None if self.gone else inflate(b"".join(self.parts))
        return inflated[0] if inflated else []


def _lines_backwards(text: bytes) -> Iterator[bytes]:
    """The lines of *text*, the last one first; what comes before its first newline may be the end of a line."""
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    end = len(text)
    while end >= 0:
        start = text.rfind(b"\n", 0, end)
        yield text[start + 1 : end]
        end = start


def _read(reply: Reply, text: bytes) -> None:
    """Fill *reply* from the last events of *text*, backwards, until usage and finish reason are known."""
    events = 0
    for line in _lines_backwards(text):
        events += _fill(reply, line)
        if events == _EVENTS or (reply.usage is not None and reply.finish_reason is not None):
            return


def _fill(reply: Reply, line: bytes) -> bool:
    """Put what *reply* lacks from the event in *line*; whether it is one."""
    if line[:6] not in (b"data: ", b"data:{") or line.endswith(b"[DONE]"):
        return False
    try:
        event = decode_reply(line[5:])
    except msgspec.DecodeError:
        loose = read_loosely(line[5:])
        if loose is None:
            return False
        event = loose
    for name in ("id", "provider", "model", "usage", "service_tier"):
        if getattr(reply, name) is None:
            setattr(reply, name, getattr(event, name))
    if reply.finish_reason is None and event.finish_reason is not None:
        reply.choices = event.choices
    if reply.failure is None and (failure := event.failure) is not None:
        reply.error = failure
    return True
