"""The JSON body of a reply, as it came over the wire, to its facts."""

from __future__ import annotations

import msgspec

from openrouter_tap._parse.coding import EDGE, WHOLE, inflate, is_deflated
from openrouter_tap._parse.loose import read_loosely
from openrouter_tap._parse.wire import Reply, decode_reply

__all__ = ["read_reply"]


def read_reply(body: bytes | list[bytes], *, cut: bool) -> Reply | None:
    """The facts of a body in one or more parts, of which a *cut* one holds only the two ends; None if it is no JSON.

    What cannot be decoded here gives a reply without facts.
    """
    whole = body if isinstance(body, bytes) else b"".join(body)
    if is_deflated(whole):
        inflated = None if cut else inflate(whole)
        if inflated is None:
            return Reply()
        parts, size = inflated
        whole, cut = b"".join(parts), size > WHOLE
    if cut:
        return _read_ends(whole[:EDGE], whole[-EDGE:])
    try:
        return decode_reply(whole)
    except msgspec.DecodeError:
        return read_loosely(whole)


def _read_ends(head: bytes, tail: bytes) -> Reply:
    """The facts before ``choices`` and those from ``usage`` on, where OpenRouter puts all that are read here."""
    reply = Reply()
    until = head.find(b'"choices"')
    if until > 0 and (start := read_loosely(head[:until].rstrip(b", \t\r\n") + b"}")):
        reply = start
    at = tail.rfind(b'"usage"')
    if at >= 0 and (end := read_loosely(b"{" + tail[at:])):
        reply.usage = end.usage
    return reply
