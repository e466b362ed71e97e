"""Replies in OpenRouter's shapes, written for the tests."""

from __future__ import annotations

import json
from typing import Any

URL = "https://openrouter.ai/api/v1/chat/completions"
ID = "gen-1790000000-AbCdEfGhIjKlMnOpQrSt"
USAGE: dict[str, Any] = {
    "prompt_tokens": 1200,
    "completion_tokens": 300,
    "total_tokens": 1500,
    "cost": 0.0123,
    "is_byok": False,
    "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 7, "audio_tokens": 3, "video_tokens": 0},
    "cost_details": {
        "upstream_inference_cost": 0.0123,
        "upstream_inference_prompt_cost": 0.01,
        "upstream_inference_completions_cost": 0.0023,
    },
    "completion_tokens_details": {"reasoning_tokens": 50, "image_tokens": 2, "audio_tokens": 4},
}
ENVELOPE: dict[str, Any] = {"id": ID, "provider": "Maker", "model": "maker/model-1-20260101", "created": 1790000000}
COMMENT = b": OPENROUTER PROCESSING\n\n"
DONE = b"data: [DONE]\n\n"


def dumps(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def message(text: str = "an answer", **more: Any) -> dict[str, Any]:
    """A JSON reply."""
    choice = {"finish_reason": "stop", "index": 0, "message": {"role": "assistant", "content": text}}
    return {**ENVELOPE, "object": "chat.completion", "choices": [choice], "usage": USAGE, **more}


def chunk(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> bytes:
    """One event of a stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return b"data: %b\n\n" % dumps({**ENVELOPE, "object": "chat.completion.chunk", "choices": [choice], **more})


def stream(words: int = 5, usage: dict[str, Any] | None = None) -> list[bytes]:
    """The events of a stream, one by one."""
    deltas = [chunk({"role": "assistant", "content": f"word {number} "}) for number in range(words)]
    return [
        COMMENT,
        chunk({"role": "assistant", "content": ""}),
        *deltas,
        chunk({"content": ""}, "stop"),
        chunk({"content": ""}, usage=usage or USAGE),
        DONE,
    ]
