"""The JSON body of a reply, as it came over the wire, to its facts."""

from __future__ import annotations

from collections.abc import Callable

from openrouter_tap._parse.coding import EDGE, WHOLE, inflate, is_deflated
from openrouter_tap._parse.loose import last_usage, read_loosely
from openrouter_tap._parse.wire import ABSENT, UNREADABLE, Reply, decode_reply

__all__ = ["read_reply"]


_PADDING = b" \t\r\n\xef\xbb\xbf"  # and a BOM
_LONG = (b'"choices"', b'"output"', b'"content"', b'"data"')  # keys of what makes a reply long
_SHORT = (b'"model"', b'"usage"', b'"provider"', b'"id"')  # keys of what may stand behind that
_CLEAR = ("", "identity", "gzip", "x-gzip")


def read_reply(body: bytes | list[bytes], *, cut: bool, coding: Callable[[], str] = str) -> Reply | None:
    """The facts of a body in one or more parts, of which a *cut* one holds only the two ends; None if it is no JSON.

    *coding* tells what its header says, if need be; what cannot be undone here (br, zstd) gives a reply without facts.
    """
    whole = body if isinstance(body, bytes) else b"".join(body)
    reply = _read(whole, cut=cut, raw=False)
    if reply is None and (said := coding().strip().lower()) not in _CLEAR:
        return (_read(whole, cut=cut, raw=True) if said == "deflate" else None) or Reply()
    return reply


def _read(whole: bytes, *, cut: bool, raw: bool) -> Reply | None:
    if raw or is_deflated(whole):
        inflated = None if cut else inflate(whole, raw=raw)
        if inflated is None:
            return Reply()
        parts, size = inflated
        whole, cut = b"".join(parts), size > WHOLE
    if cut:
        return _read_ends(whole[:EDGE], whole[-EDGE:])
    try:
        return decode_reply(whole)
    except UNREADABLE:
        return read_loosely(whole)


def _read_ends(head: bytes, tail: bytes) -> Reply | None:
    """The facts before what makes the reply long and those behind it, where OpenRouter puts all that are read here.

    None where the ends are not those of an object.
    """
    if not head.lstrip(_PADDING).startswith(b"{") or not tail.rstrip(_PADDING).endswith(b"}"):
        return None
    reply = Reply()
    until = min((at for key in _LONG if (at := head.find(key)) > 0), default=0)
    if until and (start := read_loosely(head[:until].rstrip(b", \t\r\n") + b"}")):
        reply = start
    rest = _read_rest(tail)
    for name in Reply.__struct_fields__:
        if getattr(reply, name) in (None, ABSENT):
            setattr(reply, name, getattr(rest, name))
    reply.usage = rest.usage or reply.usage or last_usage(tail)
    return reply


def _read_rest(tail: bytes) -> Reply:
    """What stands behind the long part, from the first key on with which *tail* is the rest of an object."""
    for at in sorted(at for key in _SHORT if (at := tail.rfind(key)) >= 0):
        try:
            return decode_reply(b"{" + tail[at:])
        except UNREADABLE:
            continue
    return Reply()
