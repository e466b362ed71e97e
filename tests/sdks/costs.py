"""What a reply of the look-alike means in money and tokens: the oracle, reckoned from the bytes that went out."""

from __future__ import annotations

from typing import Any

from look_alike import Sent

BYOK, FREE = "mistralai/mistral-large-2512", "meta-llama/llama-4-scout:free"
REASONING, NO_COST = "deepseek/deepseek-r1", "simulator/no-cost"


def charged(sent: Sent) -> float | None:
    """US dollars: the cost, and what the provider charged where one's own key pays; None where no cost was told."""
    usage = sent.usage
    if "cost" not in usage:
        return None
    return usage["cost"] + (usage["cost_details"]["upstream_inference_cost"] if usage["is_byok"] else 0)


def tokens(sent: Sent) -> dict[str, Any]:
    """``prompt`` with what was cached, ``completion`` with what was reasoned."""
    usage = sent.usage
    if "cache_read_input_tokens" in usage:  # as messages tells it: what was cached is beside the input
        cached = usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"]
        return {"prompt": usage["input_tokens"] + cached, "completion": usage["output_tokens"]}
    if "input_tokens" in usage:
        return {"prompt": usage["input_tokens"], "completion": usage["output_tokens"]}
    return {"prompt": usage["prompt_tokens"], "completion": usage["completion_tokens"]}
