"""Typed views of OpenRouter's JSON: what is not named here is skipped and never built.

What does not fit a type (a count as text, a negative cost) raises a `ValidationError` here and is read again by
`loose`, one fact at a time.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

__all__ = [
    "ABSENT",
    "NULL",
    "UNREADABLE",
    "Asked",
    "Choice",
    "CostDetails",
    "Delta",
    "Details",
    "Incomplete",
    "Reply",
    "Usage",
    "decode_asked",
    "decode_reply",
]

ABSENT = Raw()
NULL = Raw(b"null")

Count = Annotated[int, Meta(ge=0, lt=1 << 53)]
Money = Annotated[float, Meta(ge=0)]
Text = Annotated[str, Meta(max_length=256)]

_FINAL = ("completed", "failed", "cancelled")


class Details(Struct, gc=False):
    """``prompt_tokens_details`` and ``completion_tokens_details``, and their kin of the other endpoints."""

    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    audio_tokens: Count | None = None
    image_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    thinking_tokens: Count | None = None
    """The same on ``/messages``."""


class CostDetails(Struct, gc=False, rename=lambda name: f"upstream_inference_{name}"):
    """``cost_details``; the split is called prompt and completions, or input and output on ``/responses``."""

    cost: Money | None = None
    prompt_cost: Money | None = None
    completions_cost: Money | None = None
    input_cost: Money | None = None
    output_cost: Money | None = None


class Usage(Struct, gc=False):
    """``usage`` of any endpoint: chat says prompt and completion, ``/responses`` and ``/messages`` input and output."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    total_tokens: Count | None = None
    cost: Money | None = None
    is_byok: bool | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    cost_details: CostDetails | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    input_tokens_details: Details | None = None
    output_tokens_details: Details | None = None
    cache_read_input_tokens: Count | None = None
    """Of ``/messages``, where `input_tokens` does not include it."""
    cache_creation_input_tokens: Count | None = None


class Choice(Struct, gc=False):
    """One of ``choices``."""

    finish_reason: Text | None = None
    error: Raw = ABSENT


class Delta(Struct, gc=False):
    """What ``message_delta`` changes."""

    stop_reason: Text | None = None


class Incomplete(Struct, gc=False):
    """``incomplete_details`` of ``/responses``."""

    reason: Text | None = None


class Reply(Struct, gc=False):
    """A reply of chat, ``/responses`` or ``/messages``, or one event of a streamed reply."""

    id: Text | None = None
    provider: Text | None = None
    model: Text | None = None
    choices: list[Choice] | None = None
    usage: Usage | None = None
    service_tier: Text | None = None
    error: Raw = ABSENT
    error_type: Text | None = None
    """Beside the error on ``/responses``."""
    type: Text | None = None
    """Of an event."""
    code: Raw = ABSENT
    """Of an event that is an error, without an object of that name."""
    stop_reason: Text | None = None
    """Of ``/messages``, as `delta` is."""
    delta: Delta | str | None = None
    status: Text | int | None = None
    """Of ``/responses``, as `incomplete_details` is."""
    incomplete_details: Incomplete | None = None
    response: Reply | None = None
    """The reply that the events of ``/responses`` report on."""
    message: Reply | str | None = None
    """The same of ``message_start``."""
    generation_id: Text | None = None
    """Of ``/videos``, where `id` is that of the job."""

    @property
    def whole(self) -> Reply:
        """The reply itself, where this is an event that holds it."""
        if self.response is not None:
            return self.response
        message = self.message
        if not isinstance(message, Reply):
            return self
        if message.usage is not None:
            message.usage.output_tokens = None  # what it says before any output is no count
        return message

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped, where this event says so."""
        if self.choices:
            return self.choices[0].finish_reason
        if self.incomplete_details is not None:
            return self.incomplete_details.reason
        if isinstance(self.delta, Delta):
            return self.delta.stop_reason
        return self.stop_reason or (str(self.status) if self.status in _FINAL else None)

    @property
    def failure(self) -> Raw | None:
        """The error object inside the reply, or inside one of its choices."""
        if self.error is not ABSENT and self.error != NULL:
            return self.error
        for choice in self.choices or ():
            if choice.error is not ABSENT and choice.error != NULL:
                return choice.error
        if self.type == "error":
            return Raw(b'{"code":%b}' % bytes(NULL if self.code is ABSENT else self.code))
        return NULL if self.status == "failed" else None


class Asked(Struct, gc=False):
    """What a request says of itself."""

    model: Text | None = None
    stream: bool | None = None


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the decoders raise for what they cannot read."""

decode_reply = msgspec.json.Decoder(Reply).decode
decode_asked = msgspec.json.Decoder(Asked).decode
