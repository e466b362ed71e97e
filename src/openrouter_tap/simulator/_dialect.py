"""What the endpoints of the look-alike do each in its own way."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openrouter_tap.simulator._replies import Answer

__all__ = ["DONE", "Dialect", "data"]

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Dialect:
    """How an endpoint tells of an answer."""

    body: Callable[[Answer], dict[str, Any] | bytes]
    """The reply as one JSON object, or as the sound that it is."""
    events: Callable[[Answer], list[bytes]] | None
    """The reply as events; the last three tell why it ended, what it cost, and that it is over. None: never."""
    error: Callable[..., dict[str, Any]]
    """The body of an error: of a status, a message, and metadata by keyword."""
    broken: Callable[[Answer, dict[str, Any]], bytes]
    """The event that tells of an error in mid-stream, given its body."""
    failed: Callable[[Answer, dict[str, Any]], dict[str, Any]] = lambda _, error: error
    """A JSON reply of status 200 that tells of an error, given its body."""
    kind: str = ""
    """What ids have behind ``gen-``."""
    status: int = 200
    has_id_header: bool = True
    has_provider_header: bool = False


def data(event: dict[str, Any]) -> bytes:
    """An event as it goes over the wire."""
    return b"data: %b\n\n" % json.dumps(event, separators=(",", ":")).encode()
