"""Server-sent events: where content begins, where the stream is over, and the facts that its events hold."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from itertools import islice

from openrouter_tap._event import Endpoint
from openrouter_tap._parse.coding import WHOLE, inflate, is_deflated
from openrouter_tap._parse.loose import last_usage, read_loosely
from openrouter_tap._parse.wire import UNREADABLE, Choice, Reply, Usage, decode_reply

__all__ = ["LAST", "OVERLAP", "Kept", "Marks", "has_content", "marks_of"]

OVERLAP = 64
"""Bytes before a cut that must be looked at again: content can begin across it."""

_LIMIT = 1 << 17  # bytes of a stream that are held before old events are let go
_KEEP = 1 << 15  # bytes that are held then
_HEAD = 1 << 14  # bytes of the beginning that are held for the ids
_MANY = 4096  # chunks that are joined at once
_FEW = 4  # chunks that usually hold them
_EVENTS = 8  # the last events hold it all: error, finish reason, usage
_TRIES = 64  # lines that are read as events, whether they are any or not: what is none costs the most

LAST = 64
"""Chunks in which the end is looked for when nothing hinted at it."""

# A non-empty text, or a tool call. Keep-alive comments, role-only and empty deltas are no content.
_CONTENT = re.compile(
    rb'"(?:content|reasoning|text|arguments|refusal|transcript|data|b64_json)"\s*:\s*"[^"]|"tool_calls"\s*:\s*\[\s*\{'
)


class Marks:
    """How the events of `/responses` and `/messages` show content and their end, which chat does otherwise.

    No text can look like either: the quotes in a text are escaped. An end is the type of the last event, its first key,
    behind which only ``[DONE]`` may come, or nothing.
    """

    def __init__(self, content: bytes, end: bytes) -> None:
        self.content = re.compile(content).search
        self.end = re.compile(rb'data:\s*\{\s*"type"\s*:\s*"(?:%b)"' % end).search


_MARKS = {
    "responses": Marks(
        rb'"delta"\s*:\s*"[^"]|"type"\s*:\s*"[a-z_]+_call"', rb"response\.(?:completed|failed|incomplete)"
    ),
    "messages": Marks(
        rb'"(?:text|thinking|partial_json)"\s*:\s*"[^"]|"type"\s*:\s*"(?:server_|mcp_)?tool_use"', rb"message_stop"
    ),
}
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_SPLIT = re.compile(rb"(?<=[^\r\n])(?:\r\n|[\r\n])data: ?")  # between two lines of one event
_FINISH_REASON = b'"finish_reason":"'
_USUAL_CONTENT = b'"content":"'  # found in a tenth of the time
_DONE = b"[DONE]"
_DONE_EVENT = b"data: [DONE]\n\n"
_USUAL_END = b"\n\n" + _DONE_EVENT


def has_content(text: bytes) -> bool:
    """Whether an event in *text* brings content, reasoning, a tool call, audio or an image."""
    at = text.find(_USUAL_CONTENT) + len(_USUAL_CONTENT)
    if at >= len(_USUAL_CONTENT) and text[at : at + 1] not in b'"':
        return True
    return b'"' in text and _CONTENT.search(text) is not None


def marks_of(endpoint: Endpoint) -> Marks | None:
    """What to look for in the events of *endpoint*; None where they are chat's."""
    return _MARKS.get(endpoint)


class Kept:
    """What is kept of a stream: its last chunks, its first bytes, and the last event with usage; never the stream."""

    __slots__ = ("_head", "_usage", "gone", "limit", "parts")

    def __init__(self, parts: list[bytes] | None = None) -> None:
        self.parts = parts or []
        """The last chunks; the reader of the stream appends to it."""
        self.limit = _LIMIT
        """Bytes in `parts` from which on `trim` is due."""
        self.gone = 0
        """Bytes that were let go."""
        self._head = b""
        self._usage = b""

    def trim(self, held: int) -> int:
        """Let old events go; how many of the *held* bytes are left. A line that is not finished stays."""
        joined = self._joined()
        cut = joined.rfind(b"\n", 0, held - _KEEP) + 1
        if not cut and held > WHOLE:
            cut = held - _KEEP
        at = _usage_in(joined, cut)
        if at >= 0:
            end = joined.find(b"\n", at, cut)
            self._usage = joined[joined.rfind(b"\n", 0, at) + 1 : cut if end < 0 else end]
        self._head = self._head or joined[: min(cut, _HEAD)]
        self.parts[:] = [joined[cut:]]
        self.gone += cut
        self.limit = _LIMIT if cut else held + _LIMIT
        return held - cut

    @property
    def ends(self) -> list[bytes]:
        """All of it, or its two ends."""
        return [self._head, *self.parts]

    def is_over(self, last: int = 8) -> bool:
        """Whether the event ``[DONE]`` stands in the *last* chunks: as a line of its own, which no content can be."""
        parts = self.parts
        if parts and parts[-1] == _DONE_EVENT and (len(parts) == 1 or parts[-2].endswith(b"\n")):
            return True
        text = b"".join(parts[-last:])
        at = text.rfind(_DONE)
        before, after = text[:at].removesuffix(b" "), text[at + len(_DONE) :][:1]
        if at < 0 or not before.endswith(b"data:") or after not in (b"\n", b"\r"):
            return False
        return before.endswith((b"\ndata:", b"\rdata:")) or (before == b"data:" and len(parts) <= last)

    def facts(self) -> Reply:
        """What the events say, the last one that says it."""
        parts = self.parts
        if len(parts) > _MANY:
            parts[:] = [self._joined()]
        reply = _read_usual_end(b"".join(parts[-_FEW:]))
        if reply is None:
            if is_deflated(b"".join(parts)):
                parts = self._inflated()
            reply = _read(b"".join(parts[-_FEW:]), None)
        if reply is None or reply.usage is None or reply.finish_reason is None:
            reply = self._look_further(b"".join(parts), reply)
        if reply.id is None or reply.model is None:
            for event in _events(_lines(self._head or b"".join(parts)[:_HEAD])):
                _complete(reply, event)
        return reply

    def _look_further(self, text: bytes, reply: Reply | None) -> Reply:
        reply = _read(text, reply) or Reply()
        if reply.usage is None and _SPLIT.search(text, max(0, len(text) - _LIMIT)):
            reply = _read(_SPLIT.sub(b" ", text[-_LIMIT:]), reply) or reply
        if reply.usage is None and (at := _usage_in(text, len(text))) >= 0:
            start, end = text.rfind(b"\n", 0, at) + 1, text.find(b"\n", at)
            self._usage = text[start : end if end >= 0 else None]
        if reply.usage is None and (event := _event(self._usage)):
            _complete(reply, event)
        if reply.usage is None and self.gone:  # the last event is longer than what is kept, and was cut
            reply.usage = last_usage(_lines(self._usage + text)[0], in_event=True)
        return reply

    def _joined(self) -> bytes:
        parts = self.parts
        if len(parts) > _MANY:  # `join` takes 80 bytes for each part while it works
            parts = [b"".join(parts[at : at + _MANY]) for at in range(0, len(parts), _MANY)]
        return b"".join(parts)

    def _inflated(self) -> list[bytes]:
        inflated = None if self.gone else inflate(b"".join(self.parts))
        return inflated[0] if inflated else []


def _usage_in(text: bytes, end: int) -> int:
    """Where the last usage before *end* begins; -1 without. Events that say null are passed over, up to a bound."""
    at = end
    for _ in range(_TRIES):
        at = text.rfind(b'"usage"', 0, at)
        if at < 0 or _USAGE.match(text, at):
            return at
    return -1


def _read_usual_end(text: bytes) -> Reply | None:
    """The facts of a stream that ends as OpenRouter's do: in an event with usage and then ``[DONE]``.

    Twice as fast as `_read`, which reads any stream; None where it is another, or where an event tells of an error.
    """
    end = len(text) - len(_USUAL_END)
    start = text.rfind(b"\n", 0, end) + 1
    if not text.endswith(_USUAL_END) or not text.startswith(b"data: ", start) or b'"error"' in text:
        return None
    try:
        reply = decode_reply(text[start + 6 : end])
    except UNREADABLE:
        return None
    choices = reply.choices
    if not choices or choices[0].finish_reason is None:  # it stands in an event before; no quoted text looks like that
        at = text.rfind(_FINISH_REASON, 0, start) + len(_FINISH_REASON)
        reason = text[at : text.find(b'"', at)] if at >= len(_FINISH_REASON) else b""
        if not reason.replace(b"_", b"").isalpha():
            return None
        reply.choices = [Choice(reason.decode())]
    return reply if reply.usage is not None else None


def _read(text: bytes, reply: Reply | None) -> Reply | None:
    """*reply* with what the last events of *text* add, backwards, until usage and finish reason are known."""
    for number, event in enumerate(_events(reversed(_lines(text))), 1):
        if reply is None:
            reply = event
        else:
            _complete(reply, event)
        if number == _EVENTS or (reply.usage is not None and reply.finish_reason is not None):
            break
    return reply


def _lines(text: bytes) -> list[bytes]:
    """The lines of *text*, which may end in any of the three ways; the first and the last may be halves."""
    text = text.removeprefix(BOM_UTF8)
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return text.split(b"\n")


def _events(lines: Iterable[bytes]) -> Iterator[Reply]:
    """The events on *lines*, as far as they can be read; no more than `_TRIES`."""
    data = (line for line in lines if line[:5] == b"data:" and line[-6:] != _DONE)
    return filter(None, map(_event, islice(data, _TRIES)))


def _event(line: bytes) -> Reply | None:
    if line[:5] != b"data:":
        return None
    try:
        return decode_reply(line[5:]).whole
    except UNREADABLE:
        event = read_loosely(line[5:])
    return event and event.whole


def _complete(reply: Reply, event: Reply) -> None:
    """Put what *reply* lacks from an earlier *event*."""
    if reply.usage is None:
        reply.usage = event.usage
    elif event.usage is not None:
        _complete_input(reply.usage, event.usage)
    if reply.finish_reason is None and (reason := event.finish_reason) is not None:
        reply.choices = [Choice(reason)]
    if reply.failure is None and (failure := event.failure) is not None:
        reply.error = failure
    reply.error_type = reply.error_type or event.error_type
    reply.id = reply.id or event.id
    reply.model = reply.model or event.model
    reply.provider = reply.provider or event.provider
    reply.service_tier = reply.service_tier or event.service_tier


def _complete_input(usage: Usage, earlier: Usage) -> None:
    """Put what ``message_delta`` need not repeat of ``message_start``."""
    if usage.input_tokens is None:
        usage.input_tokens = earlier.input_tokens
    if usage.cache_read_input_tokens is None:
        usage.cache_read_input_tokens = earlier.cache_read_input_tokens
    if usage.cache_creation_input_tokens is None:
        usage.cache_creation_input_tokens = earlier.cache_creation_input_tokens
