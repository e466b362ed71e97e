"""Answers as ``/chat/completions`` tells of them."""

from __future__ import annotations

from typing import Any

from openrouter_tap.simulator._dialect import DONE, Dialect, data
from openrouter_tap.simulator._replies import Answer

__all__ = ["CHAT"]


def _envelope(answer: Answer, kind: str, choice: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": answer.id,
        "provider": answer.model.provider,
        "model": answer.model.served_as,
        "object": kind,
        "created": answer.created,
        "system_fingerprint": None,  # the openrouter SDK wants the key
        "choices": [{"index": 0, "logprobs": None, **choice}],
        **more,
    }


def _body(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": " ".join(answer.words) or None, "refusal": None}
    if answer.reasoning:
        message["reasoning"] = " ".join(answer.reasoning)
    if answer.tool_calls:
        message["tool_calls"] = answer.tool_calls
    choice = {"finish_reason": answer.finish_reason, "native_finish_reason": answer.finish_reason, "message": message}
    return _envelope(answer, "chat.completion", choice, usage=answer.usage)


def _events(answer: Answer) -> list[bytes]:
    """Role, reasoning, tool calls, words, finish, usage."""
    deltas: list[dict[str, Any]] = [{"content": ""}]
    deltas += [{"content": "", "reasoning": f"{word} "} for word in answer.reasoning]
    deltas += [{"content": None, "tool_calls": [call]} for call in answer.tool_calls]
    deltas += [{"content": piece} for piece in answer.pieces]
    events = [data(_chunk(answer, delta)) for delta in deltas]
    finish = data(_chunk(answer, {"content": ""}, answer.finish_reason))
    return [*events, finish, data({**_chunk(answer, {"content": ""}), "usage": answer.usage}), DONE]


def _chunk(answer: Answer, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    delta = {"role": "assistant", **delta}
    choice = {"delta": delta, "finish_reason": finish_reason, "native_finish_reason": finish_reason}
    return _envelope(answer, "chat.completion.chunk", choice)


def _error(code: int, message: str, **metadata: Any) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    return {"error": {**error, "metadata": metadata} if metadata else error}


def _broken(answer: Answer, error: dict[str, Any]) -> bytes:
    return data({**_chunk(answer, {"content": ""}, "error"), **error})


CHAT = Dialect(_body, _events, _error, _broken)
