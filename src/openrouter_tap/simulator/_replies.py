"""What the look-alike answers: text, token counts and money, made from the request alone and so always the same."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from openrouter_tap.simulator._catalogue import Model

__all__ = ["Answer", "answer", "generation_id", "prompt_of", "usage_of"]

_TEXT = "the ring holds what the wire said and the line tells what the call cost in tokens and in time"
_WORDS = _TEXT.split()
_PROMPTS = ("messages", "input", "prompt", "query", "documents", "input_audio")
_BLOCK = 64  # tokens: prompts are cached by whole blocks


@dataclass(frozen=True, slots=True)
class Answer:
    """A generation: its parts in order, and what it is billed."""

    id: str
    model: Model
    words: list[str]
    reasoning: list[str]
    tool_calls: list[dict[str, Any]]
    finish_reason: str
    usage: dict[str, Any]
    asked: dict[str, Any]
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def pieces(self) -> list[str]:
        """The words as deltas, which joined are the text."""
        return [f" {word}" if place else word for place, word in enumerate(self.words)]


def prompt_of(request: dict[str, Any]) -> str:
    """What the model is asked, on any endpoint."""
    return json.dumps([request[key] for key in _PROMPTS if request.get(key)])


def answer(request: dict[str, Any], model: Model, *, is_cached: bool, kind: str = "") -> Answer:
    """The generation for *request*, its id of *kind*; *is_cached* when the same messages were sent before."""
    seed = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).digest()
    tools = request.get("tools") or []
    most = request.get("max_tokens") or request.get("max_output_tokens") or 4 + len(_WORDS)
    count = 0 if tools else 4 + seed[0] % len(_WORDS)
    words = [_WORDS[(seed[1] + place) % len(_WORDS)] for place in range(min(count, most))]
    reasoning = [_WORDS[(seed[2] + place) % len(_WORDS)] for place in range(6)] if model.reasons else []
    calls = [_tool_call(place, tool, seed) for place, tool in enumerate(tools[:1])]
    prompt = max(1, len(prompt_of(request)) // 4)
    completion = len(words) + len(reasoning) + 12 * len(calls)
    return Answer(
        id=generation_id(seed, kind),
        model=model,
        words=words,
        reasoning=reasoning,
        tool_calls=calls,
        finish_reason="tool_calls" if calls else "length" if count > most else "stop",
        usage=usage_of(model, prompt, completion, len(reasoning), prompt - prompt % _BLOCK if is_cached else 0),
        asked=request,
    )


def generation_id(seed: bytes, kind: str) -> str:
    """A new id, as those of the endpoint whose ids have *kind* in them."""
    kind = f"{kind}-" if kind else ""
    return f"gen-{kind}{int(time.time())}-{hashlib.sha256(seed + time.time_ns().to_bytes(8)).hexdigest()[:20]}"


def _tool_call(index: int, tool: dict[str, Any], seed: bytes) -> dict[str, Any]:
    function = {"name": tool.get("function", tool).get("name", "tool"), "arguments": "{}"}
    return {"index": index, "id": f"call_{seed.hex()[:24]}", "type": "function", "function": function}


def usage_of(model: Model, prompt: int, completion: int, reasoning: int = 0, cached: int = 0) -> dict[str, Any]:
    """The ``usage`` of so many tokens, as chat says it."""
    if model.cached_price is None:
        cached = 0
    prompt_cost = (prompt - cached) * model.prompt_price + cached * (model.cached_price or Decimal(0))
    completion_cost = completion * model.completion_price
    if model.fixed_cost is not None:
        prompt_cost, completion_cost = Decimal(0), model.fixed_cost
    charge = float(prompt_cost + completion_cost)
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "cost": 0 if model.is_byok else charge,
        "is_byok": model.is_byok,
        "prompt_tokens_details": {
            "cached_tokens": cached,
            "cache_write_tokens": 0,
            "audio_tokens": 0,
            "video_tokens": 0,
        },
        "cost_details": {
            "upstream_inference_cost": charge,
            "upstream_inference_prompt_cost": float(prompt_cost),
            "upstream_inference_completions_cost": float(completion_cost),
        },
        "completion_tokens_details": {"reasoning_tokens": reasoning, "image_tokens": 0, "audio_tokens": 0},
    }
    if model.fails == "no-cost":
        for key in ("cost", "is_byok", "cost_details"):
            del usage[key]
    return usage
