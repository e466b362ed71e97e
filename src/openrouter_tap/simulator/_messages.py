"""Answers as ``/messages`` tells of them: as Anthropic would, with OpenRouter's provider and cost."""

from __future__ import annotations

from typing import Any

from openrouter_tap.simulator._dialect import DONE, Dialect, data
from openrouter_tap.simulator._replies import Answer

__all__ = ["MESSAGES"]

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}
_DELTAS = {"thinking": "thinking_delta", "tool_use": "input_json_delta", "text": "text_delta"}


def _body(answer: Answer) -> dict[str, Any]:
    return {
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "model": answer.model.served_as,
        "content": [block for block, _, _ in _blocks(answer)],
        "stop_reason": _STOP_REASONS[answer.finish_reason],
        "stop_sequence": None,
        "usage": _usage(answer.usage),
        "provider": answer.model.provider,
    }


def _blocks(answer: Answer) -> list[tuple[dict[str, Any], str, list[str]]]:
    """The content, each block with the key and the texts of the deltas that bring it."""
    blocks: list[tuple[dict[str, Any], str, list[str]]] = []
    if answer.reasoning:
        thought = {"type": "thinking", "thinking": " ".join(answer.reasoning), "signature": ""}
        blocks.append((thought, "thinking", [f"{word} " for word in answer.reasoning]))
    for call in answer.tool_calls:
        use = {"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": {}}
        blocks.append((use, "partial_json", [call["function"]["arguments"]]))
    if answer.words:
        text = {"type": "text", "text": " ".join(answer.words)}
        blocks.append((text, "text", answer.pieces))
    return blocks


def _events(answer: Answer) -> list[bytes]:
    body = _body(answer)
    known = {key: value for key, value in body["usage"].items() if key.startswith(("input", "cache"))}
    begun = {**body, "content": [], "stop_reason": None, "usage": {**known, "output_tokens": 1}}
    events = [_event("message_start", message=begun)]
    for index, (block, key, texts) in enumerate(_blocks(answer)):
        empty = {**block, **({key: ""} if key in block else {})}
        events.append(_event("content_block_start", index=index, content_block=empty))
        for text in texts:
            delta = {"type": _DELTAS[block["type"]], key: text}
            events.append(_event("content_block_delta", index=index, delta=delta))
        events.append(_event("content_block_stop", index=index))
    changed = {"stop_reason": body["stop_reason"], "stop_sequence": None}
    events.append(_event("message_delta", delta=changed, usage=body["usage"]))
    return [*events, _event("message_stop"), b"event: data\n" + DONE]


def _event(kind: str, **more: Any) -> bytes:
    return b"event: %b\n%b" % (kind.encode(), data({"type": kind, **more}))


def _usage(usage: dict[str, Any]) -> dict[str, Any]:
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    money: dict[str, Any] = {key: usage[key] for key in ("cost", "is_byok", "cost_details") if key in usage}
    return {
        "input_tokens": usage["prompt_tokens"] - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"thinking_tokens": usage["completion_tokens_details"]["reasoning_tokens"]},
        "service_tier": "standard",
        **money,
    }


def _error(code: int, message: str, *, error_type: str | None = None, **_: Any) -> dict[str, Any]:
    error = {
        "type": _TYPES.get(code, "api_error"),
        "message": message,
        **({"error_type": error_type} if error_type else {}),
    }
    return {"type": "error", "error": error, "request_id": None}


MESSAGES = Dialect(_body, _events, _error, lambda _, error: _event("error", **error))
