"""Content codings, undone within bounds: a bomb costs the tap nothing."""

from __future__ import annotations

import time
import zlib

__all__ = ["EDGE", "MANY", "WHOLE", "Bounded", "Inflater", "edges", "inflate", "is_deflated"]

WHOLE = 1 << 20
"""Bytes up to which a JSON body is kept whole."""
EDGE = 1 << 16
"""Bytes that are kept of each end of a longer one."""
MANY = 4096
"""Parts of a body that are held one by one."""

_MAGIC = (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_STEP = 1 << 16
_MOST = 32 << 20  # bytes of output
_LONGEST = 0.04  # seconds of CPU for any body,
_PACE = 40e-9  # or for each byte of it that came: a bomb has few, and a long reply takes a fifth of this


def edges(parts: list[bytes]) -> list[bytes]:
    """The two ends of what *parts*, of more than `WHOLE` bytes, make together."""
    if len(parts) > 1:
        parts = [b"".join(parts)]
    return [parts[0][:EDGE], parts[0][-EDGE:]]


def is_deflated(body: bytes) -> bool:
    """Whether *body* begins as gzip or zlib data do, and JSON and SSE never. The header is no proof either way."""
    return body[:2] in _MAGIC


class Bounded:
    """A body without its coding, as it comes: kept whole up to `WHOLE` bytes, and of a longer one the two ends."""

    __slots__ = ("_held", "parts", "size")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        """Bytes that came, kept or not."""
        self._held = 0

    def add(self, part: bytes) -> None:
        """Take the next *part*; of a long one nothing but its ends is copied."""
        self.size += len(part)
        self._held += len(part)
        if self._held > WHOLE:
            before = b"".join(self.parts)
            self.parts = [(before + part[:EDGE])[:EDGE], (before[-EDGE:] + part[-EDGE:])[-EDGE:]]
            self._held = 2 * EDGE
            return
        self.parts.append(part)
        if len(self.parts) > MANY:
            self.parts = [b"".join(self.parts)]


class Inflater:
    """What a gzip or zlib body holds, undone as it comes.

    *raw*: it is deflated without the frame of either. A body that is not finished gives what is there.
    """

    __slots__ = ("_came", "_spent", "_stream", "body", "is_sound")

    def __init__(self, *, raw: bool = False) -> None:
        self.body = Bounded()
        self.is_sound = True
        """False where the body is broken or out of bounds; then nothing is kept."""
        self._came = 0
        self._spent = 0.0
        self._stream = zlib.decompressobj(-15 if raw else 47)

    def feed(self, body: bytes) -> None:
        """Undo the next bytes of the body."""
        if not self.is_sound:
            return
        begin = time.thread_time()
        try:
            for at in range(0, len(body), _STEP):  # in pieces: zlib copies what it has not read with each step
                piece = body[at : at + _STEP]
                self._came += len(piece)
                self._undo(piece, begin - self._spent + max(_LONGEST, self._came * _PACE))
        except (zlib.error, OverflowError):
            self.is_sound, self.body = False, Bounded()
        self._spent += time.thread_time() - begin

    def _undo(self, piece: bytes, deadline: float) -> None:
        while piece and not self._stream.eof:
            part = self._stream.decompress(piece, _STEP)
            piece = self._stream.unconsumed_tail
            self.body.add(part)
            if self.body.size > _MOST or time.thread_time() > deadline:
                raise OverflowError("a bomb, or too long to be worth its time")


def inflate(body: bytes, *, raw: bool = False) -> tuple[list[bytes], int] | None:
    """The parts and the length of what *body* holds, as `Inflater` gives them; None where it is not sound."""
    if len(body) <= _STEP:  # nearly every reply: in one step, whose time and output are bounded
        try:
            whole = zlib.decompressobj(-15 if raw else 47).decompress(body, WHOLE)
        except zlib.error:
            return None
        if len(whole) < WHOLE:
            return [whole], len(whole)
    inflater = Inflater(raw=raw)
    inflater.feed(body)
    return (inflater.body.parts, inflater.body.size) if inflater.is_sound else None
