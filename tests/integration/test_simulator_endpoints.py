"""The look-alike's `/responses` and `/messages`, through the four clients: what it bills is what the tap records."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from conftest import Logs

from openrouter_tap import CallEvent, TapOptions, TappedTransport
from openrouter_tap.simulator import MODELS, create_app, running

pytestmark = pytest.mark.anyio

QUESTION = [{"role": "user", "content": "What did it cost? " * 20}]
ASKED: dict[str, dict[str, Any]] = {
    "responses": {"input": QUESTION},
    "messages": {"messages": QUESTION, "max_tokens": 100},
}
TOOL = {"name": "look_up", "parameters": {"type": "object", "properties": {}}}
GOOD = [name for name, model in MODELS.items() if not model.fails]

Send = Callable[..., Awaitable[tuple[Any, bytes]]]


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with running(create_app()) as origin:
        yield origin


@pytest.fixture
def anyio_backend() -> str:
    """Enough here: test_calls has both."""
    return "asyncio"


@pytest.fixture(params=["sync", "async"])
async def send(
    request: pytest.FixtureRequest, library: ModuleType, origin: str, events: list[CallEvent], logs: Logs
) -> AsyncIterator[Send]:
    """Sends one call to an endpoint; the reply and its content."""
    transport = TappedTransport(options=TapOptions(hosts=("127.0.0.1",), on_event=events.append))
    options = {"transport": transport, "base_url": f"{origin}/api/v1", "headers": {"x-api-key": "none"}, "timeout": 5}
    if request.param == "sync":
        with library.Client(**options) as client:

            async def send(endpoint: str, model: str, **more: Any) -> tuple[Any, bytes]:
                reply = client.post(f"/{endpoint}", json={"model": model, **ASKED[endpoint], **more})
                return reply, reply.content

            yield send
    else:
        async with library.AsyncClient(**options) as client:

            async def send(endpoint: str, model: str, **more: Any) -> tuple[Any, bytes]:
                reply = await client.post(f"/{endpoint}", json={"model": model, **ASKED[endpoint], **more})
                return reply, reply.content

            yield send


def usage_in(content: bytes) -> dict[str, Any]:
    """The last usage in a reply, JSON or SSE."""
    lines = [line[6:] for line in content.split(b"\n") if line.startswith(b"data: {")] or [content]
    told = [json.loads(line) for line in lines]
    return [usage for event in told if (usage := (event.get("response") or event).get("usage"))][-1]


@pytest.mark.parametrize("endpoint", ASKED)
@pytest.mark.parametrize("model", GOOD)
async def test_what_is_billed_is_what_is_recorded(
    endpoint: str, model: str, send: Send, events: list[CallEvent]
) -> None:
    """JSON and SSE: the cost is the model's price times the tokens, in the reply and in the event."""
    replies = [await send(endpoint, model, stream=stream) for stream in (False, True)]

    entry = MODELS[model]
    assert [(event.outcome, event.streamed, event.endpoint) for event in events] == [
        ("completed", False, endpoint),
        ("completed", True, endpoint),
    ]
    for (reply, content), event in zip(replies, events, strict=True):
        usage, tokens, cost = usage_in(content), event.tokens, event.cost
        price = (tokens.prompt - tokens.cached) * entry.prompt_price + tokens.cached * (entry.cached_price or 0)
        price += tokens.completion * entry.completion_price
        assert cost.total == pytest.approx(float(price), rel=1e-12)
        assert cost.total == usage["cost"] + (usage["cost_details"]["upstream_inference_cost"] if entry.is_byok else 0)
        assert cost.input + cost.output == pytest.approx(cost.total, rel=1e-12)
        assert (cost.is_byok, cost.source) == (entry.is_byok, "provider")
        assert tokens.total == tokens.prompt + tokens.completion
        assert (tokens.reasoning > 0) == entry.reasons
        assert (event.model, event.request_model) == (entry.served_as, model)
        assert event.generation_id == reply.headers["x-generation-id"]
        assert event.upstream_provider == (entry.provider if endpoint == "messages" else None)
    assert (events[1].tokens.cached > 0) == (entry.cached_price is not None)
    assert events[1].ttft_ms is not None


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "SSE"])
@pytest.mark.parametrize(
    ("endpoint", "more", "reason"),
    [
        ("responses", {}, "completed"),
        ("responses", {"max_output_tokens": 2}, "max_output_tokens"),
        ("responses", {"tools": [{"type": "function", **TOOL}]}, "completed"),
        ("messages", {}, "end_turn"),
        ("messages", {"max_tokens": 2}, "max_tokens"),
        ("messages", {"tools": [TOOL]}, "tool_use"),
    ],
)
async def test_why_it_ended(
    endpoint: str, more: dict[str, Any], reason: str, stream: bool, send: Send, events: list[CallEvent]
) -> None:
    """In the words of the endpoint; and a call of a tool is a first token."""
    await send(endpoint, "openai/gpt-4o-mini", stream=stream, **more)

    (event,) = events
    assert (event.outcome, event.finish_reason) == ("completed", reason)
    assert (event.ttft_ms is not None) == stream


@pytest.mark.parametrize("endpoint", ASKED)
@pytest.mark.parametrize(
    ("model", "stream", "outcome", "error"),
    [
        ("simulator/rate-limited", False, "http_error", "rate_limit_exceeded"),
        ("simulator/no-credits", True, "http_error", "payment_required"),
        ("simulator/midstream-error", False, "stream_error", "provider_unavailable"),
        ("simulator/midstream-error", True, "stream_error", "provider_unavailable"),
        ("simulator/not-json", True, "failed", "200"),
        ("simulator/no-cost", True, "completed", None),
    ],
)
async def test_what_goes_wrong(
    endpoint: str, model: str, stream: bool, outcome: str, error: str | None, send: Send, events: list[CallEvent]
) -> None:
    """Each scenario, in the endpoint's own shape of an error: one event, and an unknown cost is null."""
    await send(endpoint, model, stream=stream)

    (event,) = events
    assert (event.outcome, event.error and event.error.type, event.cost.total) == (outcome, error, None)
    assert (event.request_model, event.cost.source) == (model, "unknown")


@pytest.mark.parametrize("endpoint", ASKED)
@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "SSE"])
async def test_a_connection_that_breaks(
    endpoint: str, stream: bool, library: ModuleType, send: Send, events: list[CallEvent]
) -> None:
    """The caller gets the library's exception; the output and the cost are unknown."""
    with pytest.raises(library.RemoteProtocolError):
        await send(endpoint, "simulator/cut-off", stream=stream)

    (event,) = events
    assert (event.outcome, event.error.type) == ("failed", "RemoteProtocolError")
    assert (event.tokens.completion, event.cost.total) == (None, None)
    assert event.generation_id.startswith("gen-")


@pytest.mark.parametrize(("endpoint", "lines"), [("responses", 0), ("messages", 1)])
async def test_the_stream_looks_like_the_real_one(endpoint: str, lines: int, send: Send) -> None:
    """Event lines on /messages only; the first, the terminal and the last event as on the wire."""
    _, content = await send(endpoint, "deepseek/deepseek-r1", stream=True)

    blocks = [block for block in content.split(b"\n\n") if block and not block.startswith(b":")]
    types = [json.loads(block.partition(b"data: ")[2])["type"] for block in blocks[:-1]]
    assert all(block.count(b"event: ") == lines for block in blocks)
    assert (types[0], types[-1]) == (
        ("response.created", "response.completed") if endpoint == "responses" else ("message_start", "message_stop")
    )
    assert blocks[-1].endswith(b"data: [DONE]")
