"""Replies of `/responses` and `/messages` in OpenRouter's shapes, and what the tap sees in the bytes of a reply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Any

import httpx
from replies import DONE, ID, URL, dumps, message, stream

from openrouter_tap import CallEvent
from openrouter_tap._bridge import current
from openrouter_tap._json_stream import JsonStream
from openrouter_tap._sse_stream import SseStream

RESPONSES = URL.replace("chat/completions", "responses")
MESSAGES = URL.replace("chat/completions", "messages")

RESPONSE_USAGE: dict[str, Any] = {
    "input_tokens": 1200,
    "input_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 7},
    "output_tokens": 300,
    "output_tokens_details": {"reasoning_tokens": 50},
    "total_tokens": 1500,
    "cost": 0.0123,
    "is_byok": False,
    "cost_details": {
        "upstream_inference_cost": 0.0123,
        "upstream_inference_input_cost": 0.01,
        "upstream_inference_output_cost": 0.0023,
    },
}
MESSAGE_USAGE: dict[str, Any] = {
    "input_tokens": 1093,
    "output_tokens": 300,
    "output_tokens_details": {"thinking_tokens": 50},
    "cache_creation_input_tokens": 7,
    "cache_read_input_tokens": 100,
    "cache_creation": {"ephemeral_5m_input_tokens": 7, "ephemeral_1h_input_tokens": 0},
    "server_tool_use": None,
    "service_tier": "standard",
    "speed": "standard",
    "cost": 0.0123,
    "is_byok": False,
    "cost_details": {
        "upstream_inference_cost": 0.0123,
        "upstream_inference_prompt_cost": 0.01,
        "upstream_inference_completions_cost": 0.0023,
    },
}
BEGUN_USAGE = {**MESSAGE_USAGE, "output_tokens": 3, "output_tokens_details": None}
for key in ("cost", "is_byok", "cost_details"):
    del BEGUN_USAGE[key]


def response(text: str = "an answer", status: str = "completed", **more: Any) -> dict[str, Any]:
    """A JSON reply of `/responses`, or what its events report on."""
    item = {
        "id": "msg_tmp_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}],
    }
    return {
        "id": ID,
        "object": "response",
        "created_at": 1790000000,
        "model": "maker/model-1-20260101",
        "status": status,
        "output": [item] if text else [],
        "error": None,
        "incomplete_details": None,
        "tools": [],
        "metadata": {},
        "service_tier": "default",
        "instructions": None,
        "usage": RESPONSE_USAGE,
        **more,
    }


def response_event(kind: str, **more: Any) -> bytes:
    return b"data: %b\n\n" % dumps({"type": f"response.{kind}", **more, "sequence_number": 1})


def response_delta(text: str, kind: str = "output_text") -> bytes:
    return response_event(f"{kind}.delta", output_index=0, item_id="msg_tmp_1", content_index=0, delta=text)


def response_stream(words: int = 5, status: str = "completed", **more: Any) -> list[bytes]:
    """The events of a `/responses` stream, one by one; the terminal one and ``[DONE]`` are the last two."""
    begun = response("", "in_progress", usage=None)
    item = {"id": "msg_tmp_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    return [
        response_event("created", response=begun),
        response_event("in_progress", response=begun),
        response_event("output_item.added", output_index=0, item=item),
        response_event("content_part.added", output_index=0, item_id="msg_tmp_1", content_index=0, part=part),
        *(response_delta(f"word {number} ") for number in range(words)),
        response_event(status, response=response("word " * words, status, **more)),
        DONE,
    ]


def answered(text: str = "an answer", **more: Any) -> dict[str, Any]:
    """A JSON reply of `/messages`."""
    return {
        "id": ID,
        "type": "message",
        "role": "assistant",
        "model": "maker/model-1-20260101",
        "content": [{"type": "text", "text": text, "citations": None}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "provider": "Maker",
        "usage": MESSAGE_USAGE,
        **more,
    }


def message_event(kind: str, **more: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), dumps({"type": kind, **more}))


def message_delta(**delta: str) -> bytes:
    return message_event("content_block_delta", index=0, delta={"type": "text_delta", **delta})


def message_stream(words: int = 5, usage: dict[str, Any] | None = None) -> list[bytes]:
    """The events of a `/messages` stream: ``message_delta``, ``message_stop`` and ``[DONE]`` are the last three."""
    begun = {**answered(), "content": [], "stop_reason": None, "usage": BEGUN_USAGE}
    return [
        message_event("message_start", message=begun),
        message_event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        message_event("ping"),
        *(message_delta(text=f"word {number} ") for number in range(words)),
        message_event("content_block_stop", index=0),
        message_event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage or MESSAGE_USAGE),
        message_event("message_stop"),
        b"event: data\n" + DONE,
    ]


DIALECTS: dict[str, tuple[str, Any, Any]] = {
    "chat": (URL, message, stream),
    "responses": (RESPONSES, response, response_stream),
    "messages": (MESSAGES, answered, message_stream),
}
"""The endpoint, the maker of its JSON replies, that of its streams."""


def observed(
    kind: type[JsonStream | SseStream],
    chunks: list[bytes],
    url: str = URL,
    *,
    taken: int | None = None,
    is_async: bool = False,
    **headers: str,
) -> tuple[CallEvent, list[bytes]]:
    """The event of a reply that comes in *chunks*, and what the caller got, who closes after *taken* of them."""
    events: list[CallEvent] = []
    request = httpx.Request("POST", url, content=b"{}")
    call = kind(request, (current(), (None, None), 0, False, None), lambda event, *_: events.append(event))
    call.status = 200
    call.headers = httpx.Headers({name.replace("_", "-"): value for name, value in headers.items()})
    call.body = Body(chunks)
    if is_async:
        passed = asyncio.run(_read_async(call, taken))
    else:
        passed = list(islice(call, taken))
        call.close()
    (event,) = events
    return event, passed


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __init__(self, chunks: list[bytes]) -> None:
        self.chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self.chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk


async def _read_async(call: Any, taken: int | None) -> list[bytes]:
    passed: list[bytes] = []
    chunks = aiter(call)
    while taken is None or len(passed) < taken:
        try:
            passed.append(await anext(chunks))
        except StopAsyncIteration:
            break
    await call.aclose()
    return passed
