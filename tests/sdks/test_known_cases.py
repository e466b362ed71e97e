"""Costs that SDKs drop or misreport, and what the line says of the same call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Logs

import openrouter_tap
from adapters import ADAPTERS, LangChainOpenAI, LiteLLM, OpenAIChat, OpenAIResponses, OpenRouterChat, PydanticAI
from look_alike import LookAlike
from test_sdks import server, tapped

__all__ = ["server", "tapped"]
pytestmark = pytest.mark.filterwarnings("default")

if not any(adapter.is_installed() for adapter in ADAPTERS):
    pytest.skip("no SDK is installed: `nox` runs these", allow_module_level=True)

MODEL, BYOK, FREE = "openai/gpt-4o-mini", "mistralai/mistral-large-2512", "meta-llama/llama-4-scout:free"


def needs(kind: Any) -> Any:
    return pytest.mark.skipif(
        not kind.is_installed(), reason=f"{kind.package} is not installed: `nox` runs this with it"
    )


@pytest.fixture
def instrumented(tapped: LookAlike) -> Iterator[LookAlike]:
    openrouter_tap.instrument()
    return tapped


def cost_of(logs: Logs) -> dict[str, Any]:
    (record,) = logs.read()
    return record["fields"]["cost"]


@needs(LiteLLM)
def test_litellm_streams(instrumented: LookAlike, logs: Logs) -> None:
    """litellm's chunks do not add up to the cost that was sent, or tell none; the line has it."""
    chunks = list(LiteLLM(instrumented.origin, "instrument").chunks(MODEL))
    told = [getattr(getattr(chunk, "usage", None), "cost", None) for chunk in chunks]

    cost = cost_of(logs)
    assert [one for one in told if one is not None] in ([], [cost["total"]])
    assert cost["total"] == instrumented.sent[0].cost is not None


@needs(LiteLLM)
def test_litellm_responses(instrumented: LookAlike, logs: Logs) -> None:
    """A call of the Responses API through litellm has its cost."""
    import litellm

    options: Any = {"api_base": f"{instrumented.origin}/api/v1", "api_key": "x", "input": "hello there"}
    litellm.responses(model=f"openrouter/{MODEL}", **options)

    assert cost_of(logs)["total"] == instrumented.sent[0].cost is not None


@needs(LangChainOpenAI)
def test_langchain_streams(tapped: LookAlike, logs: Logs) -> None:
    """The messages that langchain-openai gives have no cost anywhere; the line has it."""
    chunks = list(LangChainOpenAI(tapped.origin).chunks(MODEL))
    cost = cost_of(logs)

    assert not [chunk for chunk in chunks if '"cost"' in chunk.model_dump_json()]
    assert cost["total"] == tapped.sent[0].cost is not None


@needs(OpenAIChat)
@pytest.mark.parametrize("kind", [OpenAIChat, OpenAIResponses])
def test_a_providers_own_key(kind: type[OpenAIChat], tapped: LookAlike, logs: Logs) -> None:
    """``usage.cost`` is 0 where one's own key pays: the line adds what the provider charged, once."""
    reply = kind(tapped.origin).ask(BYOK)
    cost = cost_of(logs)

    assert reply.usage.cost == 0
    assert cost["is_byok"] is True
    assert cost["total"] == cost["upstream"] == reply.usage.cost_details["upstream_inference_cost"] > 0


@needs(OpenAIChat)
def test_a_free_model(tapped: LookAlike, logs: Logs) -> None:
    """A cost of 0 that was told is a known 0, though it comes as an integer or as 0.0."""
    OpenAIChat(tapped.origin).ask(FREE)
    cost = cost_of(logs)

    assert (cost["total"], cost["source"]) == (0, "provider")


@needs(OpenAIChat)
def test_cached_and_reasoning_tokens_are_counted_once(tapped: LookAlike, logs: Logs) -> None:
    """``prompt`` includes what was cached, ``completion`` what was reasoned: nothing is added again."""
    adapter = OpenAIChat(tapped.origin)
    for model in ("anthropic/claude-sonnet-4.6", "deepseek/deepseek-r1"):
        long = [{"role": "user", "content": "what does it cost? " * 60}]
        for _ in range(2):
            adapter.clients()[0].chat.completions.create(model=model, messages=long)
    tokens = [record["fields"]["tokens"] for record in logs.read()]

    assert tokens[1]["cached"] > 0
    assert tokens[1]["prompt"] == tokens[0]["prompt"]
    assert tokens[2]["reasoning"] > 0
    assert all(one["total"] == one["prompt"] + one["completion"] for one in tokens)


@needs(OpenRouterChat)
def test_the_provider_that_the_sdk_drops(tapped: LookAlike, logs: Logs) -> None:
    """The openrouter SDK's reply does not tell who served; the line does."""
    reply = OpenRouterChat(tapped.origin).ask(MODEL)
    (record,) = logs.read()

    assert "provider" not in reply.model_dump()
    assert record["fields"]["upstream_provider"] == "OpenAI"


@needs(PydanticAI)
def test_pydantic_ai(tapped: LookAlike, logs: Logs) -> None:
    """What pydantic-ai knows of a call is no price of OpenRouter's; the line has what was charged."""
    asyncio.run(PydanticAI(tapped.origin).aask(BYOK))
    cost = cost_of(logs)

    assert cost["total"] == cost["upstream"] > 0


@needs(OpenAIChat)
def test_a_cancelled_stream(tapped: LookAlike, logs: Logs) -> None:
    """CancelledError is a BaseException: the call is recorded, with the id under which its cost can be asked for."""

    async def leave() -> None:
        async def read() -> None:
            async for _ in OpenAIChat(tapped.origin).achunks("simulator/stalled"):
                begun.set()

        begun = asyncio.Event()
        task = asyncio.create_task(read())
        await begun.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(leave())
    (record,) = logs.read()

    assert record["fields"]["outcome"] in ("cancelled", "closed_early")
    assert record["fields"]["generation_id"] == tapped.sent[0].generation_id
    assert record["fields"]["cost"]["total"] is None
