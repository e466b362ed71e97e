"""Where a router sent a request, and where it should have."""

from __future__ import annotations

from msgspec import Struct

from cipherlog_core._channel import channel

__all__ = ["Routing", "routing_event"]


class Routing(Struct, frozen=True, gc=False):
    """The ``fields`` of a ``routing`` event. None is unknown."""

    selected_tool: str | None
    recommended_tool: str | None
    is_compliant: bool | None
    detected_domain: str | None
    status: str | None


_routing = channel("routing-metadata", Routing, event="routing", logger="routing")


def routing_event(
    *,
    selected_tool: str | None = None,
    recommended_tool: str | None = None,
    is_compliant: bool | None = None,
    detected_domain: str | None = None,
    status: str | None = None,
    tool: str | None = None,
    session_id: str | None = None,
    request_id: str | None = None,
) -> bool:
    """Log a routing decision to ``routing-metadata.jsonl``, at any level and unsampled; never raises.

    *tool*, *session_id* and *request_id* default to what `bind` bound. Returns True when the line is safe from the
    death of the process, False when it was dropped, which `stats` counts.
    """
    given = {"tool": tool, "session_id": session_id, "request_id": request_id}
    ids = {name: value for name, value in given.items() if value is not None}
    return _routing.emit(Routing(selected_tool, recommended_tool, is_compliant, detected_domain, status), **ids)
