from __future__ import annotations

from typing import Any

import msgspec
import pytest
from replies import USAGE

from openrouter_tap import Cost, Tokens
from openrouter_tap._parse.usage import cost_of, tokens_of
from openrouter_tap._parse.wire import Usage


def usage(**changes: Any) -> Usage:
    return msgspec.convert({**USAGE, **changes}, Usage)


def split(prompt: float | None, completion: float | None, upstream: float | None = None) -> dict[str, float | None]:
    return {
        "upstream_inference_cost": upstream,
        "upstream_inference_prompt_cost": prompt,
        "upstream_inference_completions_cost": completion,
    }


def test_tokens() -> None:
    """As billed; what input and output share is added up."""
    assert tokens_of(usage()) == Tokens(1200, 300, 1500, 100, 7, 50, 7, 2)


def test_absent_tokens_are_unknown() -> None:
    """Null, never 0."""
    assert tokens_of(Usage()) == Tokens()
    assert tokens_of(usage(prompt_tokens_details=None, completion_tokens_details={})) == Tokens(1200, 300, 1500)


def test_cost_as_reported() -> None:
    """Without BYOK the upstream cost repeats the total and is not added to it."""
    assert cost_of(usage()) == Cost(0.01, 0.0023, None, 0.0123, 0.0123, False, "provider")


def test_byok_adds_what_the_provider_charges() -> None:
    """Total is the fee plus upstream; the fee, which is in no half of the split, is ``other``."""
    cost = cost_of(usage(cost=0.0002, is_byok=True, cost_details=split(0.003, 0.001, 0.004)))

    assert cost == Cost(0.003, 0.001, 0.0002, 0.0042, 0.004, True, "provider")


def test_byok_without_a_fee() -> None:
    """A cost of 0 is not the whole story."""
    cost = cost_of(usage(cost=0, is_byok=True, cost_details=split(0.00007, 0.0041, 0.00417)))

    assert (cost.total, cost.other) == (0.00417, None)


@pytest.mark.parametrize("cost", [0, 0.01])
def test_byok_without_what_the_provider_charges_is_unknown(cost: float) -> None:
    """The fee alone is not what the call cost."""
    found = cost_of(usage(cost=cost, is_byok=True, cost_details=split(None, None)))

    assert (found.total, found.source, found.is_byok) == (None, "unknown", True)


def test_byok_unknown_adds_nothing() -> None:
    """Absent is not true."""
    cost = cost_of(usage(is_byok=None))

    assert (cost.total, cost.is_byok) == (0.0123, None)


@pytest.mark.parametrize(
    ("total", "prompt", "completion", "other"),
    [
        (0.007637029, 0.000595881, 4.1148e-05, 0.007),
        (0.0133176, 0.0032696, 4.8e-05, 0.01),
        (3e-07, 2e-07, 0.5e-07, 0.5e-07),
        (0.0001, 0.00004, 0.00006, None),
        (0.1 + 0.2, 0.1, 0.2, None),  # a float apart
        (0.0, 0.001, 0.001, None),  # a free router: the split is of what was not charged
        (0.5, None, 0.1, None),
    ],
)
def test_what_the_split_lacks_is_other(
    total: float, prompt: float | None, completion: float | None, other: float | None
) -> None:
    """A positive remainder, to the last digit; rounding is none, and the split is never forced to add up."""
    cost = cost_of(usage(cost=total, cost_details=split(prompt, completion)))

    assert (cost.input, cost.output, cost.other, cost.total) == (prompt, completion, other, total)


@pytest.mark.parametrize("details", [None, split(0.1, 0.2, 0.3)])
def test_without_a_cost_the_source_is_unknown(details: dict[str, float | None] | None) -> None:
    """A split without a total is kept, and no total made of it."""
    cost = cost_of(usage(cost=None, cost_details=details))

    assert (cost.total, cost.source) == (None, "unknown")


def test_a_known_zero_stays_zero() -> None:
    """A free model costs 0, which is known."""
    assert cost_of(usage(cost=0, cost_details=split(0, 0, 0))) == Cost(0, 0, None, 0, 0, False, "provider")
