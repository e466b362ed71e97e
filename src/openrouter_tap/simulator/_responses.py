"""Answers as ``/responses`` tells of them."""

from __future__ import annotations

from itertools import count
from typing import Any

from openrouter_tap.simulator._chat import CHAT
from openrouter_tap.simulator._dialect import DONE, Dialect, data
from openrouter_tap.simulator._replies import Answer

__all__ = ["RESPONSES"]


def _response(answer: Answer, status: str, **more: Any) -> dict[str, Any]:
    return {
        "id": answer.id,
        "object": "response",
        "created_at": answer.created,
        "model": answer.model.served_as,
        "status": status,
        "completed_at": answer.created if status == "completed" else None,
        "output": [],
        "error": None,
        "incomplete_details": None,
        "tools": answer.asked.get("tools") or [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "max_output_tokens": answer.asked.get("max_output_tokens"),
        "temperature": 1,
        "top_p": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "instructions": answer.asked.get("instructions"),
        "service_tier": "auto",
        "metadata": {},
        **more,
    }


def _body(answer: Answer) -> dict[str, Any]:
    is_cut = answer.finish_reason == "length"
    return _response(
        answer,
        "incomplete" if is_cut else "completed",
        output=[item for item, _ in _items(answer)],
        incomplete_details={"reason": "max_output_tokens"} if is_cut else None,
        usage=_usage(answer.usage),
    )


def _items(answer: Answer) -> list[tuple[dict[str, Any], list[tuple[str, str]]]]:
    """What is put out, each with the kind and text of the deltas that bring it."""
    items: list[tuple[dict[str, Any], list[tuple[str, str]]]] = []
    if answer.reasoning:
        text = {"type": "reasoning_text", "text": " ".join(answer.reasoning)}
        thought = {"id": "rs_tmp_1", "type": "reasoning", "summary": [], "content": [text]}
        items.append((thought, [("reasoning_text", f"{word} ") for word in answer.reasoning]))
    for call in answer.tool_calls:
        item = {"id": call["id"], "type": "function_call", "call_id": call["id"], **call["function"]}
        items.append((item, [("function_call_arguments", item["arguments"])]))
    if answer.words:
        part = {"type": "output_text", "text": " ".join(answer.words), "annotations": [], "logprobs": []}
        item = {"id": "msg_tmp_1", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
        items.append((item, [("output_text", piece) for piece in answer.pieces]))
    return items


def _events(answer: Answer) -> list[bytes]:
    begun, body = _response(answer, "in_progress", usage=None), _body(answer)
    events: list[dict[str, Any]] = [
        {"type": f"response.{kind}", "response": begun} for kind in ("created", "in_progress")
    ]
    for place, (item, deltas) in enumerate(_items(answer)):
        events += _item_events(place, item, deltas)
    events.append({"type": f"response.{body['status']}", "response": body})
    numbers = count()
    return [*(data({**event, "sequence_number": next(numbers)}) for event in events), DONE]


def _item_events(place: int, item: dict[str, Any], deltas: list[tuple[str, str]]) -> list[dict[str, Any]]:
    kind, _ = deltas[0]
    at: dict[str, Any] = {"output_index": place, "item_id": item["id"]}
    if item["type"] == "function_call":
        begun, whole = {**item, "arguments": ""}, {"arguments": item["arguments"]}
        first, last = [], []
    else:
        at |= {"content_index": 0}
        begun = {key: value for key, value in item.items() if key != "content"}
        (part,) = item["content"]
        whole = {"text": part["text"]}
        first = [{"type": "response.content_part.added", **at, "part": {**part, "text": ""}}]
        last = [{"type": "response.content_part.done", **at, "part": part}]
    if item["type"] == "message":
        begun |= {"status": "in_progress", "content": []}
    more: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
    return [
        {"type": "response.output_item.added", "output_index": place, "item": begun},
        *first,
        *({"type": f"response.{kind}.delta", **at, "delta": text, **more} for _, text in deltas),
        {"type": f"response.{kind}.done", **at, **whole, **more},
        *last,
        {"type": "response.output_item.done", "output_index": place, "item": item},
    ]


def _usage(usage: dict[str, Any]) -> dict[str, Any]:
    split = usage.get("cost_details")
    given: dict[str, Any] = {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": usage["prompt_tokens_details"]["cached_tokens"]},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": usage["completion_tokens_details"]["reasoning_tokens"]},
        "total_tokens": usage["total_tokens"],
    }
    if split is None:
        return given
    details = {
        "upstream_inference_cost": split["upstream_inference_cost"],
        "upstream_inference_input_cost": split["upstream_inference_prompt_cost"],
        "upstream_inference_output_cost": split["upstream_inference_completions_cost"],
    }
    return {**given, "cost": usage["cost"], "is_byok": usage["is_byok"], "cost_details": details}


def _failed(answer: Answer, error: dict[str, Any]) -> dict[str, Any]:
    told = error["error"]
    seen = {"code": "server_error", "message": told["message"]}
    return _response(answer, "failed", error=seen, error_type=told["metadata"]["error_type"])


def _broken(answer: Answer, error: dict[str, Any]) -> bytes:
    return data({"type": "response.failed", "response": _failed(answer, error)})


RESPONSES = Dialect(_body, _events, CHAT.error, _broken, _failed)
