"""The facts of one HTTP exchange with OpenRouter: what a line of `openrouter-costs.jsonl` holds in ``fields``."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

__all__ = ["CallError", "CallEvent", "Cost", "Endpoint", "Outcome", "Tokens"]

Endpoint = Literal[
    "chat.completions",
    "completions",
    "responses",
    "messages",
    "embeddings",
    "rerank",
    "images",
    "audio.transcriptions",
    "audio.speech",
    "videos",
    "other",
]

Outcome = Literal[
    "completed",
    "http_error",
    "stream_error",
    "cancelled",
    "closed_early",
    "failed",
    "abandoned",
]
"""How a call ended.

``stream_error``: an error inside a reply with status 200, streamed or not. ``closed_early``: the caller closed the
reply before its end. ``failed``: no reply, or a broken one. ``abandoned``: the reply was never closed, and collected.
"""


class Tokens(Struct, frozen=True, gc=False):
    """Token counts as billed. None is unknown, never 0."""

    prompt: int | None = None
    """All input, cached and cache-write tokens included."""
    completion: int | None = None
    """All output, reasoning included as the provider reports it."""
    total: int | None = None
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    audio: int | None = None
    """Input and output together, as far as each is reported."""
    image: int | None = None
    """Input and output together, as far as each is reported."""


class Cost(Struct, frozen=True, gc=False):
    """What the call cost, in US dollars as the provider states it. None is unknown, never 0."""

    input: float | None = None
    output: float | None = None
    other: float | None = None
    """What `total` has beyond `input` and `output`: web search, file parsing, BYOK fee; None when nothing."""
    total: float | None = None
    """What is charged to credits, plus what the provider charges your own key (BYOK)."""
    upstream: float | None = None
    """What the provider charged, as reported. Without BYOK it repeats the charge and is not added."""
    is_byok: bool | None = None
    source: Literal["provider", "generation_api", "estimate", "caller", "unknown"] = "unknown"
    currency: Literal["USD"] = "USD"


class CallError(Struct, frozen=True, gc=False):
    """Why a call failed; never the message, which can quote the prompt."""

    type: str
    """OpenRouter's ``error_type``, else the exception's class name, else the status."""
    code: str | None = None


class CallEvent(Struct, frozen=True, gc=False):
    """One HTTP exchange. Times are milliseconds from the moment when the request went to the transport."""

    provider: Literal["openrouter"]
    tier_id: str | None
    """From `tag`."""
    model: str | None
    """The model that served, as the reply names it."""
    request_model: str | None
    """The model that was asked for."""
    upstream_provider: str | None
    generation_id: str | None
    call_id: str | None
    """Shared by the attempts of one SDK call; None where they cannot be recognised."""
    attempt: int | None
    """From 1, as the SDK counts its retries."""
    host: str | None
    """None in what `log_cost` logs."""
    endpoint: Endpoint
    streamed: bool | None
    """None in what `log_cost` logs."""
    http_status: int | None
    """None when no reply came."""
    outcome: Outcome
    error: CallError | None
    latency_ms: float | None
    """Until the outcome, the stream included. None where `log_cost` was not told."""
    headers_ms: float | None
    """Until the reply's headers were there."""
    ttft_ms: float | None
    """Until the first event with content, reasoning, a tool call, audio or an image; None when not streamed."""
    tokens: Tokens
    cost: Cost
    finish_reason: str | None
    service_tier: str | None
    bytes_in: int | None
    """Bytes of the reply's body as they came over the wire."""
    trace_id: str | None
    """Of the OpenTelemetry span that was current when the call began."""
    span_id: str | None
    tags: dict[str, str]
    """From `tag`: at most 16, of at most 256 characters."""
