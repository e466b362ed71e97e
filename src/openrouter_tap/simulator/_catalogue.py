"""The models of the look-alike and the ways in which some of them misbehave."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

__all__ = ["MODELS", "SCENARIOS", "SPECIALISTS", "Model"]


@dataclass(frozen=True, slots=True)
class Model:
    """A model for sale. Prices are US dollars per token."""

    served_as: str
    """What the reply calls it: often another name than the one asked for."""
    provider: str
    prompt_price: Decimal
    completion_price: Decimal
    cached_price: Decimal | None = None
    """Price of a prompt token that was cached; None where nothing is cached."""
    unit_price: Decimal = Decimal(0)
    """US dollars per search, or per second of sound or film, where that is what is sold."""
    reasons: bool = False
    is_byok: bool = False
    """Whether the account's own provider key pays: the cost is 0, the provider's charge the real one."""
    fails: str | None = None
    """A key of `SCENARIOS`."""
    fixed_cost: Decimal | None = None
    """US dollars for each reply, whatever its length."""


SCENARIOS = {
    "rate-limited": "429 from upstream, before any token",
    "no-credits": "402: the account is empty",
    "overloaded": "503 with Retry-After",
    "midstream-error": "an error event in a stream with status 200, or an error object in a JSON reply",
    "cut-off": "the connection ends in the middle of the reply",
    "not-json": "200 with an HTML page, as a proxy in between would send",
    "no-cost": "usage without cost: the cost stays unknown",
    "stalled": "a reply that begins and then says nothing for a minute, for a timeout to end it",
}

_USD = Decimal
_SMALL = Model("openai/gpt-4o-mini", "OpenAI", _USD("0.00000015"), _USD("0.0000006"))
_SONNET = Model(
    "anthropic/claude-4.6-sonnet-20260217", "Anthropic", _USD("0.000003"), _USD("0.000015"), _USD("0.0000003")
)
_FLASH = Model(
    "google/gemini-3-flash-preview-20251217", "Google", _USD("0.0000005"), _USD("0.000003"), _USD("0.00000005")
)

MODELS: dict[str, Model] = {
    "openai/gpt-4o-mini": _SMALL,
    "anthropic/claude-sonnet-4.6": _SONNET,
    "google/gemini-3-flash-preview": _FLASH,
    "deepseek/deepseek-r1": Model(
        "deepseek/deepseek-r1", "Fireworks", _USD("0.0000005"), _USD("0.0000022"), reasons=True
    ),
    "mistralai/mistral-large-2512": Model(
        "mistralai/mistral-large-2512", "Mistral", _USD("0.000002"), _USD("0.000006"), is_byok=True
    ),
    "meta-llama/llama-4-scout:free": Model("meta-llama/llama-4-scout:free", "Together", _USD(0), _USD(0)),
    **{f"simulator/{name}": replace(_SMALL, fails=name) for name in SCENARIOS},
}
"""By the slug that a request names; the last ones stand for the `SCENARIOS`."""

SPECIALISTS: dict[str, Model] = {
    "openai/text-embedding-3-small": Model("text-embedding-3-small", "OpenAI", _USD("0.00000002"), _USD(0)),
    "cohere/rerank-v3.5": Model("rerank-v3.5", "Cohere", _USD(0), _USD(0), unit_price=_USD("0.001")),
    "voyage/rerank-2.5": Model("rerank-2.5", "Voyage", _USD("0.00000005"), _USD(0)),
    "google/gemini-3.1-flash-lite-image": Model(
        "google/gemini-3.1-flash-lite-image", "Google", _USD("0.00000025"), _USD("0.00003")
    ),
    "openai/whisper-1": Model("openai/whisper-1", "OpenAI", _USD(0), _USD(0), unit_price=_USD("0.0001")),
    "hexgrad/kokoro-82m": Model("hexgrad/kokoro-82m", "DeepInfra", _USD("0.0000008"), _USD(0)),
    "google/veo-3.1": Model("google/veo-3.1", "Google", _USD(0), _USD(0), unit_price=_USD("0.08")),
}
"""Models for the endpoints that do not chat, where those of `MODELS` are served, too."""
