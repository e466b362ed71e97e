"""OpenRouter's `usage` object to tokens and money.

The money rules: the total is ``usage.cost``, plus ``upstream_inference_cost`` only where ``is_byok`` is true (elsewhere
that repeats the cost), and unknown where it is true and that is missing; the split is taken as it is reported and never
forced to add up; a remainder is ``other``.
"""

from __future__ import annotations

from decimal import Decimal

from openrouter_tap._event import Cost, Tokens
from openrouter_tap._parse.wire import CostDetails, Details, Usage

__all__ = ["NO_COST", "NO_TOKENS", "cost_of", "tokens_of"]

NO_TOKENS = Tokens()
NO_COST = Cost()

_NO_DETAILS = Details()
_NO_SPLIT = CostDetails()
_NOISE = 1e-6  # relative: splits differ from the total by that much through rounding


def tokens_of(usage: Usage) -> Tokens:
    """The token counts of *usage*."""
    if usage.input_tokens is not None or usage.output_tokens is not None:
        return _input_and_output(usage)
    prompt = usage.prompt_tokens_details or _NO_DETAILS
    completion = usage.completion_tokens_details or _NO_DETAILS
    audio, image = completion.audio_tokens, completion.image_tokens
    return Tokens(
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
        prompt.cached_tokens,
        prompt.cache_write_tokens,
        completion.reasoning_tokens,
        audio if prompt.audio_tokens is None else _sum(prompt.audio_tokens, audio),
        image if prompt.image_tokens is None else _sum(prompt.image_tokens, image),
    )


def _input_and_output(usage: Usage) -> Tokens:
    """The same of the endpoints that say input and output; ``/messages`` counts what is cached apart, and no total."""
    taken = usage.input_tokens_details or _NO_DETAILS
    given = usage.output_tokens_details or _NO_DETAILS
    read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    prompt, completion, total = usage.input_tokens, usage.output_tokens, usage.total_tokens
    if prompt is not None:
        prompt += (read or 0) + (written or 0)
        if total is None and completion is not None:
            total = prompt + completion
    return Tokens(
        prompt,
        completion,
        total,
        taken.cached_tokens if read is None else read,
        taken.cache_write_tokens if written is None else written,
        given.thinking_tokens if given.reasoning_tokens is None else given.reasoning_tokens,
        _sum(taken.audio_tokens, given.audio_tokens),
        _sum(taken.image_tokens, given.image_tokens),
    )


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)


def cost_of(usage: Usage) -> Cost:
    """The money of *usage*; without a cost the source is ``unknown``, whatever the split says."""
    split = usage.cost_details or _NO_SPLIT
    given, taken, total = split.prompt_cost, split.completions_cost, usage.cost
    if given is None and taken is None:
        given, taken = split.input_cost, split.output_cost
    if usage.is_byok is True and total is not None:  # what the provider charged that key is most of it
        total = None if split.cost is None else _exact(total, split.cost)
    if total is None:
        return Cost(given, taken, None, None, split.cost, usage.is_byok, "unknown")
    other = None
    if given is not None and taken is not None and total - given - taken > total * _NOISE:
        other = _exact(total, -given, -taken)
    return Cost(given, taken, other, total, split.cost, usage.is_byok, "provider")


def _exact(*amounts: float) -> float:
    """The sum of the amounts as they are written: adding floats would invent digits."""
    return float(sum(Decimal(repr(amount)) for amount in amounts))
