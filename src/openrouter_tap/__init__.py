"""What every LLM call through OpenRouter cost, taken from the wire and written as JSON lines."""

from __future__ import annotations

from openrouter_tap._client import instrument, tap_client, uninstrument
from openrouter_tap._event import CallError, CallEvent, Cost, Outcome, Tokens
from openrouter_tap._hooks import async_event_hooks, event_hooks
from openrouter_tap._log_cost import log_cost
from openrouter_tap._options import TapOptions
from openrouter_tap._tag import tag
from openrouter_tap._transport import TappedTransport

__all__ = [
    "CallError",
    "CallEvent",
    "Cost",
    "Outcome",
    "TapOptions",
    "TappedTransport",
    "Tokens",
    "async_event_hooks",
    "event_hooks",
    "instrument",
    "log_cost",
    "tag",
    "tap_client",
    "uninstrument",
]
