"""Videos are made while nobody is connected: what one cost only a poll tells, and so does each poll after that."""

from __future__ import annotations

import re

from openrouter_tap._parse.wire import Reply

__all__ = ["is_first_to_tell", "is_poll"]

_POLL = re.compile(r".*/videos/[^/]+/?")
_MOST = 4096  # videos that are remembered

_told: dict[str, object] = {}


def is_poll(method: str, path: str) -> bool:
    """Whether a request asks how far a video is."""
    return method == "GET" and _POLL.fullmatch(path) is not None


def is_first_to_tell(path: str, status: int | None, reply: Reply) -> bool:
    """Whether this *reply*, and none before it in this process, tells how the making of its video ended.

    It is asked once for each reply, and remembers.
    """
    if status is None or status >= 300 or (reply.usage is None and reply.failure is None):  # noqa: PLR2004
        return False
    me = object()
    while len(_told) >= _MOST:
        _told.pop(next(iter(_told)), None)
    return _told.setdefault(reply.generation_id or reply.id or path, me) is me
