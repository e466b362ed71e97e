"""The only crossing from the tap to the logger."""

from __future__ import annotations

from cipherlog_core import channel
from cipherlog_core._context import CONTEXT, Context, Scope, pin
from cipherlog_core._notice import Notices
from openrouter_tap._event import CallEvent

__all__ = ["Context", "Scope", "current", "notice", "pin", "record"]

notice = Notices("openrouter_tap")

current = CONTEXT.get
"""What `tag` and `bind` say here and now. It is taken when a call begins: at its end another task may be running."""

_costs = channel("openrouter-costs", CallEvent, event="openrouter_cost", logger="openrouter_tap")


def record(event: CallEvent, context: Context, reply_ids: dict[bytes, bytes]) -> bool:
    """Write *event*. Its request id: the application's, else the reply's, else the generation's, else Cloudflare's."""
    tool, session_id, request_id = context.ids
    if request_id is None:
        sent = reply_ids.get(b"request-id") or reply_ids.get(b"x-request-id")
        request_id = sent.decode("latin-1") if sent else event.generation_id
        if request_id is None and (ray := reply_ids.get(b"cf-ray")):
            request_id = ray.decode("latin-1")
    return _costs.emit(event, tool=tool, session_id=session_id, request_id=request_id)
