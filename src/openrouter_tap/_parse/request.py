"""What a request body says of itself, without reading a big one whole."""

from __future__ import annotations

from openrouter_tap._parse.wire import UNREADABLE, Asked, decode_asked

__all__ = ["NOTHING_ASKED", "read_request"]

NOTHING_ASKED = Asked()

_SMALL = 1 << 13  # bytes that are parsed at once
_WHOLE = 1 << 16  # bytes that are parsed when the ends do not tell
_EDGE = 1 << 12
_LONG = (b'"messages"', b'"input"')  # keys of what makes a request long
_ALSO_LONG = (b'"prompt"', b'"documents"', b'"query"', b'"input_audio"', b'"input_references"', b'"frame_images"')


def read_request(body: bytes) -> Asked:
    """``model`` and ``stream`` of *body*, a big one from its first and last 4 KiB.

    20 MB of images are normal, and SDKs put ``messages`` first. What is cut out counts only where it is an object of
    its own: that proves the key to be one of the top level and not a text in a message.
    """
    if len(body) <= _SMALL:
        try:
            return decode_asked(body)
        except UNREADABLE:
            return NOTHING_ASKED
    head = body[:_EDGE]
    asked = _before_content(head, _LONG) or _after_content(body[-_EDGE:]) or _before_content(head, _ALSO_LONG)
    if asked is None and len(body) <= _WHOLE:
        asked = _decode(body)
    return asked or NOTHING_ASKED


def _before_content(head: bytes, keys: tuple[bytes, ...]) -> Asked | None:
    for key in keys:
        cut = head.find(key)
        if cut > 0 and (asked := _decode(head[:cut].rstrip(b", \t\r\n") + b"}")) and asked.model:
            return asked
    return None


def _after_content(tail: bytes) -> Asked | None:
    at = tail.find(b'"model"')
    while at >= 0:
        if (asked := _decode(b"{" + tail[at:])) and asked.model:
            return asked
        at = tail.find(b'"model"', at + 1)
    return None


def _decode(data: bytes) -> Asked | None:
    try:
        return decode_asked(data)
    except UNREADABLE:
        return None
