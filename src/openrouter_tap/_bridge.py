"""The only crossing from the tap to the logger."""

from __future__ import annotations

from cipherlog_core import channel
from cipherlog_core._context import CONTEXT, Context, Scope, pin
from cipherlog_core._encode import printed
from cipherlog_core._notice import Notices, shown
from cipherlog_core._redact import MARK, add_header, clean_text, clean_texts
from cipherlog_core._secrets import is_secret
from cipherlog_core._servers import STARTED
from cipherlog_core._settings import SWITCH
from openrouter_tap._event import CallEvent

__all__ = [
    "MARK",
    "SWITCH",
    "Context",
    "Scope",
    "add_header",
    "clean_text",
    "clean_texts",
    "current",
    "is_secret",
    "lost",
    "notice",
    "pin",
    "printed",
    "record",
    "servers",
    "shown",
]

notice = Notices("openrouter_tap")

current = CONTEXT.get
"""What `tag` and `bind` say here and now. It is taken when a call begins: at its end another task may be running."""

_costs = channel("openrouter-costs", CallEvent, event="openrouter_cost", logger="openrouter_tap")

record = _costs.emit_with_ids
"""Writes the event of a call: the event, then the record's tool, session_id and request_id."""

lost = _costs.refuse
"""Counts a call of which no event could be made."""

servers = STARTED
"""The loggers that the program has started, the first of them first."""
