"""Where a router sent a request, and where it should have."""

from __future__ import annotations

from contextlib import suppress

from msgspec import Struct

from cipherlog_core._channel import channel
from cipherlog_core._encode import printed
from cipherlog_core._settings import notice, shown

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
    selected, recommended, domain, status = map(_text, (selected_tool, recommended_tool, detected_domain, status))
    return _routing.emit(Routing(selected, recommended, _switch(is_compliant), domain, status), **ids)


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else printed(value)


def _switch(value: object) -> bool | None:
    """*value* as a boolean, which 0, 1 and numpy's are too; None, with a notice, where it is none."""
    if value is None or isinstance(value, bool):
        return value
    with suppress(Exception):
        if value == bool(value):
            return bool(value)
    notice("is_compliant", f"routing_event(): is_compliant={shown(value)} is no boolean: it is logged as null.")
    return None
