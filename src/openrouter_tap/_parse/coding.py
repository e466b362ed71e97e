"""Content codings, undone within bounds: a bomb costs the tap nothing."""

from __future__ import annotations

import time
import zlib

__all__ = ["EDGE", "WHOLE", "edges", "inflate", "is_deflated"]

WHOLE = 1 << 20
"""Bytes up to which a JSON body is kept whole."""
EDGE = 1 << 16
"""Bytes that are kept of each end of a longer one."""

_STEP = 1 << 16
_MOST = 32 << 20  # bytes of output
_LONGEST = 0.05  # seconds


def edges(parts: list[bytes]) -> list[bytes]:
    """The two ends of what *parts* make together."""
    joined = b"".join(parts)
    return [joined[:EDGE], joined[-EDGE:]]


def is_deflated(body: bytes) -> bool:
    """Whether *body* begins as gzip or zlib data do, and JSON and SSE never. The header is no proof either way."""
    return body[:2] == b"\x1f\x8b" or body[:1] == b"\x78"


def inflate(body: bytes, *, raw: bool = False) -> tuple[list[bytes], int] | None:
    """The parts and the length of what gzip or zlib *body* holds; None where that is out of bounds or broken.

    *raw*: it is deflated without the frame of either. More than `WHOLE` bytes are cut to their two ends. A stream that
    is not finished gives what is there.
    """
    stream = zlib.decompressobj(-15 if raw else 47)
    parts: list[bytes] = []
    size = held = 0
    deadline = time.monotonic() + _LONGEST
    try:
        while body and not stream.eof:
            part = stream.decompress(body, _STEP)
            body = stream.unconsumed_tail
            parts.append(part)
            size += len(part)
            held += len(part)
            if held > WHOLE:
                parts, held = edges(parts), 2 * EDGE
                if size > _MOST or time.monotonic() > deadline:
                    return None
    except zlib.error:
        return None
    return parts, size
