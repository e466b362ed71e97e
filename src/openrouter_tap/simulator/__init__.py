"""A local OpenRouter look-alike: a real HTTP server that sends what OpenRouter sends, in the way it sends it.

Needs the extra ``simulator``. It serves every endpoint of inference, and knows some made-up models with made-up prices
(`MODELS`, and `SPECIALISTS` for embeddings, images, sound and film) and some that misbehave (`SCENARIOS`), so a program
can meet a rate limit or an error in mid-stream without spending a cent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openrouter_tap.simulator._catalogue import MODELS, SCENARIOS, SPECIALISTS

if TYPE_CHECKING:
    from openrouter_tap.simulator._app import create_app
    from openrouter_tap.simulator._server import running

__all__ = ["MODELS", "SCENARIOS", "SPECIALISTS", "create_app", "running"]


def __getattr__(name: str) -> Any:
    """What serves, which alone needs the extra: `openrouter_tap.testing` takes the answers without it."""
    if name == "create_app":
        from openrouter_tap.simulator._app import create_app

        return create_app
    if name == "running":
        from openrouter_tap.simulator._server import running

        return running
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
