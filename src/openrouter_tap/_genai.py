"""The names of OpenTelemetry's conventions for generative AI, in one table.

None of them is stable, and they were renamed again in autumn 2026: each is written here as both conventions have it.
`OTEL_SEMCONV_STABILITY_OPT_IN` chooses, as for all instrumentations of OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["OPERATIONS", "OPT_IN", "Names", "names"]

OPT_IN = "gen_ai_latest_experimental"
"""What `OTEL_SEMCONV_STABILITY_OPT_IN` holds where the latest convention is wanted."""

Names = dict[str, str]

_SAME: Names = {
    "operation": "gen_ai.operation.name",
    "provider": "gen_ai.provider.name",
    "request_model": "gen_ai.request.model",
    "model": "gen_ai.response.model",
    "response_id": "gen_ai.response.id",
    "finish_reasons": "gen_ai.response.finish_reasons",
    "ttft": "gen_ai.response.time_to_first_chunk",
    "tokens.prompt": "gen_ai.usage.input_tokens",
    "tokens.completion": "gen_ai.usage.output_tokens",
    "tokens.cached": "gen_ai.usage.cache_read.input_tokens",
    "tokens.reasoning": "gen_ai.usage.reasoning.output_tokens",
    # No convention names a cost yet: these are of open-telemetry/semantic-conventions-genai#443.
    "cost.total": "gen_ai.usage.cost.amount",
    "cost.currency": "gen_ai.usage.cost.currency",
    "cost.source": "gen_ai.usage.cost.source",
    "cost.input": "gen_ai.usage.cost.input",
    "cost.output": "gen_ai.usage.cost.output",
    "metric.cost": "gen_ai.usage.cost.amount",
    "token_type": "gen_ai.token.type",
}
_PREVIOUS: Names = {  # v1.41
    **_SAME,
    "tokens.cache_write": "gen_ai.usage.cache_creation.input_tokens",
    "metric.duration": "gen_ai.client.operation.duration",
    "metric.ttft": "gen_ai.client.operation.time_to_first_chunk",
    "metric.tokens": "gen_ai.client.token.usage",
}
_LATEST: Names = {
    **_SAME,
    "tokens.cache_write": "gen_ai.usage.cache_write.input_tokens",
    "metric.duration": "gen_ai.client.inference.duration",
    "metric.ttft": "gen_ai.client.inference.time_to_first_chunk",
    "metric.tokens.prompt": "gen_ai.client.inference.usage.input_tokens",
    "metric.tokens.completion": "gen_ai.client.inference.usage.output_tokens",
    "metric.tokens.cached": "gen_ai.client.inference.usage.cache_read.input_tokens",
    "metric.tokens.cache_write": "gen_ai.client.inference.usage.cache_write.input_tokens",
    "metric.tokens.reasoning": "gen_ai.client.inference.usage.reasoning.output_tokens",
    "modality": "gen_ai.token.modality",
}

OPERATIONS = {
    "chat.completions": "chat",
    "responses": "chat",
    "messages": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
}
"""By endpoint; the others are operations that no convention names, and called as they are."""


def names(environ: Mapping[str, str]) -> Names:
    """The names of the convention that *environ* chooses: the previous one unless the latest is opted in."""
    chosen = environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "").split(",")
    return _LATEST if OPT_IN in (name.strip() for name in chosen) else _PREVIOUS
