"""`http` events: at DEBUG every exchange with a tapped host leaves its steps in the server's own log."""

from __future__ import annotations

import re
from typing import Any
from weakref import WeakSet

from openrouter_tap._bridge import Context, servers
from openrouter_tap._compat import host_and_path

__all__ = ["DEBUG", "log", "servers"]

DEBUG = 10
"""The level up to which the process's first server must log for there to be any."""
_ID = re.compile(r"(?<=/)(?=[^/]*\d)[^/]{8,}")

_begun: WeakSet[Any] = WeakSet()
"""Requests whose start is logged and whose end is not: a second tap around the first has nothing to add."""


def log(
    phase: str, request: Any, context: Context, http_status: int | None = None, latency_ms: float | None = None
) -> None:
    """Log one step of an exchange: its start, its headers or its end. Ids in the path are masked."""
    if phase == "start":
        if request in _begun:
            return
        _begun.add(request)
    elif phase == "end":
        _begun.discard(request)
    host, path = host_and_path(request.url)
    tool, session_id, request_id = context.ids
    servers[0].event(
        "http",
        level="DEBUG",
        tool=tool,
        session_id=session_id,
        request_id=request_id,
        phase=phase,
        method=request.method,
        host=host,
        path=_ID.sub("*", path),
        http_status=http_status,
        latency_ms=latency_ms,
    )
