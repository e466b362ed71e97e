"""Costs and outcomes that SDKs drop or misreport, and what the line says of the same call."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from logging import WARNING
from typing import Any

import pytest
from conftest import Logs

import cipherlog_core
import openrouter_tap
from adapters import KEY, AnthropicMessages, OpenAIChat, OpenAIResponses, OpenRouterChat, OpenRouterResponses
from costs import BYOK, FREE, charged
from frameworks import (
    ADAPTERS,
    Instructor,
    LangChainOpenAI,
    LangChainOpenRouter,
    LiteLLM,
    LiteLLMResponses,
    PydanticAI,
    PydanticAIResponses,
)
from look_alike import LookAlike
from test_sdks import BROKEN, MODEL, server, tapped

__all__ = ["server", "tapped"]
pytestmark = pytest.mark.filterwarnings("default")

if not any(adapter.is_installed() for adapter in ADAPTERS):
    pytest.skip("`nox` runs these, each in an environment with its SDK", allow_module_level=True)


def of(*kinds: Any) -> Any:
    """For each of *kinds*; skipped where all of them belong to another environment."""
    here = [kind for kind in kinds if kind.is_installed()]
    reason = f"`nox` runs this with {kinds[0].package}"
    return pytest.mark.parametrize("kind", here or [pytest.param(None, marks=pytest.mark.skip(reason=reason))])


@pytest.fixture
def instrumented(tapped: LookAlike) -> LookAlike:
    openrouter_tap.instrument()
    return tapped


def fields_of(logs: Logs) -> dict[str, Any]:
    (record,) = logs.read()
    return record["fields"]


def cost_of(logs: Logs) -> dict[str, Any]:
    return fields_of(logs)["cost"]


@of(LiteLLM)
def test_litellm_streams(kind: type[LiteLLM], instrumented: LookAlike, logs: Logs) -> None:
    """No chunk of litellm's tells the cost that was sent; the line does."""
    chunks = list(kind(instrumented.origin, "instrument").chunks(MODEL))

    assert not [chunk for chunk in chunks if getattr(getattr(chunk, "usage", None), "cost", None) is not None]
    assert cost_of(logs)["total"] == instrumented.sent[0].cost is not None


@of(LiteLLM, LiteLLMResponses)
def test_litellm_with_a_providers_own_key(kind: type[LiteLLM], instrumented: LookAlike, logs: Logs) -> None:
    """litellm takes it for free, on both endpoints; the line has what the provider charged."""
    reply = kind(instrumented.origin, "instrument").ask(BYOK)

    assert reply._hidden_params["response_cost"] == 0
    assert cost_of(logs)["total"] == charged(instrumented.sent[0]) > 0


@of(LiteLLM)
def test_litellm_calls_back_with_each_chunk(
    kind: type[LiteLLM], instrumented: LookAlike, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who adds up in a success callback counts a stream often; it has one line."""
    import litellm

    called: list[object] = []
    monkeypatch.setattr(litellm, "success_callback", [lambda *call: called.append(call)])
    list(kind(instrumented.origin, "instrument").chunks(MODEL))
    deadline = time.monotonic() + 20
    while len(called) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)

    assert len(called) > 1
    assert cost_of(logs)["total"] == instrumented.sent[0].cost is not None


@of(LangChainOpenAI)
@pytest.mark.parametrize("prefix", ["", "/bare"])
def test_langchain_streams(prefix: str, kind: type[LangChainOpenAI], tapped: LookAlike, logs: Logs) -> None:
    """No message of langchain-openai's has the cost, though it comes beside choices or without; the line has it."""
    chunks = list(kind(tapped.origin + prefix).chunks(MODEL))

    (last,) = [line for line in tapped.sent[0].plain.splitlines() if b'"usage":' in line]
    assert (json.loads(last.removeprefix(b"data: "))["choices"] == []) == (prefix == "/bare")
    assert not [chunk for chunk in chunks if '"cost"' in chunk.model_dump_json()]
    assert cost_of(logs)["total"] == tapped.sent[0].cost is not None


@of(LangChainOpenAI, LangChainOpenRouter)
def test_langchain_threads(kind: type[LangChainOpenAI], instrumented: LookAlike, logs: Logs) -> None:
    """It runs a batch in threads of its own: who called is known in each."""
    with openrouter_tap.tag(session_id="s-1", team="blue"):
        kind(instrumented.origin, "instrument").model(MODEL).batch(["one", "two", "three"])
    found = logs.read()

    assert len({record["thread"] for record in found}) > 1
    assert [(record["session_id"], record["fields"]["tags"]) for record in found] == [("s-1", {"team": "blue"})] * 3


@of(OpenAIChat)
def test_threads_of_ones_own(kind: type[OpenAIChat], tapped: LookAlike, logs: Logs) -> None:
    """Executors take no context along: with `bound` a call has its session and tags, without it has none."""
    adapter = kind(tapped.origin)
    with openrouter_tap.tag(session_id="s-1", team="blue"), ThreadPoolExecutor() as pool:
        pool.submit(cipherlog_core.bound(adapter.ask), MODEL).result()
        pool.submit(adapter.ask, MODEL).result()
    told = [(record["session_id"], record["fields"]["tags"]) for record in logs.read()]

    assert told == [("s-1", {"team": "blue"}), (None, {})]


@of(OpenAIChat, OpenAIResponses)
def test_a_stream_that_another_task_closes(
    kind: type[OpenAIChat], tapped: LookAlike, logs: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    """As servers do when their client has gone: nothing is raised or told, and the call has its line."""

    async def leave() -> None:
        chunks = kind(tapped.origin).achunks(MODEL)
        with openrouter_tap.tag(session_id="s-1"):
            await anext(chunks)
        await asyncio.create_task(chunks.aclose())  # type: ignore[attr-defined]

    asyncio.run(leave())
    (record,) = logs.read()

    assert (record["fields"]["outcome"], record["session_id"]) == ("closed_early", "s-1")
    assert not [one for one in caplog.records if one.levelno >= WARNING]


@of(OpenAIChat)
def test_a_big_image_and_the_key(kind: type[OpenAIChat], tapped: LookAlike, logs: Logs) -> None:
    """The event of a request of 8 MB is there, with its model, and nothing in it is of the image or the key."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0KGgo" * 750_000}}
    text = {"type": "text", "text": "what is on it?"}
    kind(tapped.origin).clients()[0].chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": [text, image]}]
    )
    fields = fields_of(logs)

    assert fields["request_model"] == MODEL
    assert fields["cost"]["total"] == tapped.sent[0].cost is not None
    written = b"".join(path.read_bytes() for path in logs.folder.rglob("*") if path.is_file())
    assert not [secret for secret in (KEY, "iVBORw0KGgo", "what is on it") if secret.encode() in written]


@of(OpenAIChat, OpenAIResponses)
def test_a_providers_own_key(kind: type[OpenAIChat], tapped: LookAlike, logs: Logs) -> None:
    """``usage.cost`` is 0 where one's own key pays: the line adds what the provider charged, once."""
    reply = kind(tapped.origin).ask(BYOK)
    cost = cost_of(logs)

    assert reply.usage.cost == 0
    assert cost["is_byok"] is True
    assert cost["total"] == cost["upstream"] == reply.usage.cost_details["upstream_inference_cost"] > 0


@of(OpenAIChat)
def test_a_free_model(kind: type[OpenAIChat], tapped: LookAlike, logs: Logs) -> None:
    """A cost of 0 that was told is a known 0, though it comes as an integer or as 0.0."""
    kind(tapped.origin).ask(FREE)
    cost = cost_of(logs)

    assert (cost["total"], cost["source"]) == (0, "provider")


@of(OpenAIChat)
def test_cached_and_reasoning_tokens_are_counted_once(kind: type[OpenAIChat], tapped: LookAlike, logs: Logs) -> None:
    """``prompt`` includes what was cached, ``completion`` what was reasoned: nothing is added again."""
    adapter = kind(tapped.origin)
    for model in ("anthropic/claude-sonnet-4.6", "deepseek/deepseek-r1"):
        long = [{"role": "user", "content": "what does it cost? " * 60}]
        for _ in range(2):
            adapter.clients()[0].chat.completions.create(model=model, messages=long)
    tokens = [record["fields"]["tokens"] for record in logs.read()]

    assert tokens[1]["cached"] > 0
    assert tokens[1]["prompt"] == tokens[0]["prompt"]
    assert tokens[2]["reasoning"] > 0
    assert all(one["total"] == one["prompt"] + one["completion"] for one in tokens)


@of(AnthropicMessages)
def test_what_was_cached_is_beside_the_input(kind: type[AnthropicMessages], tapped: LookAlike, logs: Logs) -> None:
    """The anthropic SDK tells as input what was not cached; ``prompt`` means the same on every endpoint."""
    client = kind(tapped.origin).clients()[0]
    long: Any = [{"role": "user", "content": "what does it cost? " * 60}]
    first, second = (
        client.messages.create(model="anthropic/claude-sonnet-4.6", max_tokens=64, messages=long) for _ in range(2)
    )
    tokens = [record["fields"]["tokens"] for record in logs.read()]

    assert second.usage.input_tokens < first.usage.input_tokens
    assert tokens[1]["cached"] == second.usage.cache_read_input_tokens > 0
    assert tokens[1]["prompt"] == tokens[0]["prompt"] == first.usage.input_tokens


@of(OpenRouterChat)
def test_the_provider_that_the_sdk_drops(kind: type[OpenRouterChat], tapped: LookAlike, logs: Logs) -> None:
    """The openrouter SDK's reply does not tell who served; the line does."""
    reply = kind(tapped.origin).ask(MODEL)

    assert "provider" not in reply.model_dump()
    assert fields_of(logs)["upstream_provider"] == "OpenAI"


@of(PydanticAI, PydanticAIResponses)
def test_a_list_price_is_not_what_was_charged(kind: type[PydanticAI], tapped: LookAlike, logs: Logs) -> None:
    """What pydantic-ai reckons with its price list is off for a key of one's own; the line has what was charged."""
    reply = kind(tapped.origin).ask(BYOK)
    charge = charged(tapped.sent[0])

    assert float(reply.response.cost().total_price) != pytest.approx(charge)
    assert cost_of(logs)["total"] == charge > 0


@of(Instructor)
def test_what_instructor_asks_again_is_paid_again(kind: type[Instructor], tapped: LookAlike, logs: Logs) -> None:
    """A reply of the wrong shape is asked for once more, which is no attempt of the same call: a line each."""
    from instructor.core import InstructorRetryException
    from pydantic import BaseModel

    class City(BaseModel):
        name: str  # the look-alike's tool calls have no arguments

    messages: Any = [{"role": "user", "content": "where?"}]
    with pytest.raises(InstructorRetryException):
        kind(tapped.origin).patched()[0].chat.completions.create(
            model=MODEL, messages=messages, response_model=City, max_retries=3
        )
    calls = [record["fields"] for record in logs.read()]

    assert [call["cost"]["total"] for call in calls] == [charged(sent) for sent in tapped.sent]
    assert len({call["call_id"] for call in calls}) == len(calls) > 1


TAKEN_FOR_A_SUCCESS = {
    OpenAIChat: ("json",),
    OpenAIResponses: ("json", "stream"),
    AnthropicMessages: ("json",),
    OpenRouterChat: ("stream",),
    OpenRouterResponses: ("json", "stream"),
    LangChainOpenRouter: ("stream",),
    Instructor: ("json",),
}


@of(*TAKEN_FOR_A_SUCCESS)
def test_an_error_that_is_taken_for_a_success(kind: Any, instrumented: LookAlike, logs: Logs) -> None:
    """An error in a reply with status 200 raises nothing in many SDKs; the line knows it, and what it was."""
    for how in TAKEN_FOR_A_SUCCESS[kind]:
        adapter = kind(instrumented.origin, "instrument")
        list(adapter.chunks(BROKEN)) if how == "stream" else adapter.ask(BROKEN)
    calls = [record["fields"] for record in logs.read()]

    assert [call["http_status"] for call in calls] == [200] * len(TAKEN_FOR_A_SUCCESS[kind])
    assert {(call["outcome"], call["error"]["type"]) for call in calls} == {("stream_error", "provider_unavailable")}


def _parsed(client: Any, messages: Any) -> None:
    client.chat.completions.parse(model=MODEL, messages=messages)


def _raw(client: Any, messages: Any) -> None:
    client.chat.completions.with_raw_response.create(model=MODEL, messages=messages).parse()


def _raw_unparsed(client: Any, messages: Any) -> None:
    client.chat.completions.with_raw_response.create(model=MODEL, messages=messages)


def _streaming(client: Any, messages: Any) -> None:
    with client.chat.completions.with_streaming_response.create(model=MODEL, messages=messages) as reply:
        list(reply.iter_lines())


def _events(client: Any, messages: Any) -> None:
    with client.chat.completions.stream(model=MODEL, messages=messages) as events:
        list(events)


def _response_events(client: Any, messages: Any) -> None:
    with client.responses.stream(model=MODEL, input="hello there") as events:
        list(events)
        events.get_final_response()


def _options(client: Any, messages: Any) -> None:
    client.with_options(timeout=9, max_retries=1).chat.completions.create(model=MODEL, messages=messages)


@of(OpenAIChat)
@pytest.mark.parametrize("way", [_parsed, _raw, _raw_unparsed, _streaming, _events, _response_events, _options])
def test_other_ways_of_openai(
    way: Callable[[Any, Any], None], kind: type[OpenAIChat], tapped: LookAlike, logs: Logs
) -> None:
    """Each of them leaves a line with its cost."""
    way(kind(tapped.origin).clients()[0], [{"role": "user", "content": "hello there"}])

    assert fields_of(logs)["outcome"] == "completed"
    assert cost_of(logs)["total"] == tapped.sent[0].cost is not None
