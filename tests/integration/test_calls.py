"""Calls of every kind and every ending, over loopback HTTP, through the four clients."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from types import ModuleType
from typing import Any

import anyio
import pytest
from conftest import Logs
from faulty_server import refused

from openrouter_tap import CallEvent, TapOptions, TappedTransport
from openrouter_tap.simulator import MODELS, create_app, running

pytestmark = pytest.mark.anyio

KEY = {"Authorization": "Bearer none"}
QUESTION = [{"role": "user", "content": "What did it cost? " * 20}]


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with running(create_app()) as origin:
        yield origin


async def as_async(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


class Client:
    """One of the four clients behind one async surface, so that each test is written once."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.is_async = inspect.iscoroutinefunction(client.send)

    @asynccontextmanager
    async def stream(self, model: str, **body: Any) -> AsyncIterator[Any]:
        request = {"model": model, "messages": QUESTION, "stream": True, **body}
        if self.is_async:
            async with self.client.stream("POST", "/chat/completions", json=request) as reply:
                yield reply
        else:
            with self.client.stream("POST", "/chat/completions", json=request) as reply:
                yield reply

    @asynccontextmanager
    async def chunks(self, reply: Any) -> AsyncIterator[AsyncIterator[bytes]]:
        """The chunks; trio wants generators closed, the library's own too."""
        async with aclosing(reply.aiter_raw() if self.is_async else as_async(reply.iter_raw())) as chunks:
            yield chunks

    async def post(self, model: str, **body: Any) -> Any:
        result = self.client.post("/chat/completions", json={"model": model, "messages": QUESTION, **body})
        return await result if self.is_async else result


@pytest.fixture(params=["sync", "async"])
async def client(
    request: pytest.FixtureRequest, library: ModuleType, origin: str, events: list[CallEvent], logs: Logs
) -> AsyncIterator[Client]:
    transport = TappedTransport(options=TapOptions(hosts=("127.0.0.1",), on_event=events.append))
    options = {"transport": transport, "base_url": f"{origin}/api/v1", "headers": KEY, "timeout": 5}
    if request.param == "sync":
        with library.Client(**options) as client:
            yield Client(client)
    else:
        async with library.AsyncClient(**options) as client:
            yield Client(client)


@pytest.mark.parametrize("model", [name for name, model in MODELS.items() if not model.fails])
async def test_json_and_stream(model: str, client: Client, events: list[CallEvent]) -> None:
    """Both tell the same cost, which is the model's price times the tokens."""
    reply = await client.post(model)
    async with client.stream(model) as streamed, client.chunks(streamed) as chunks:
        _ = [chunk async for chunk in chunks]

    entry, usage = MODELS[model], reply.json()["usage"]
    assert [event.outcome for event in events] == ["completed", "completed"]
    for event in events:
        cached = event.tokens.cached
        price = (event.tokens.prompt - cached) * entry.prompt_price + cached * (entry.cached_price or 0)
        price += event.tokens.completion * entry.completion_price
        assert event.cost.total == pytest.approx(float(price), rel=1e-12)
        assert (event.model, event.request_model, event.upstream_provider) == (entry.served_as, model, entry.provider)
        assert event.cost.is_byok == entry.is_byok
        assert (event.tokens.reasoning > 0) == entry.reasons
    assert events[0].tokens.prompt == usage["prompt_tokens"]
    assert events[0].generation_id == reply.json()["id"] == reply.headers["x-generation-id"]
    assert reply.headers["content-encoding"] == "gzip"
    assert events[0].bytes_in < len(reply.content) or reply.num_bytes_downloaded == events[0].bytes_in
    assert events[1].ttft_ms is not None


@pytest.mark.parametrize(
    ("model", "streamed", "outcome", "error"),
    [
        ("simulator/rate-limited", False, "http_error", "rate_limit_exceeded"),
        ("simulator/no-credits", True, "http_error", "payment_required"),
        ("simulator/overloaded", False, "http_error", "provider_overloaded"),
        ("simulator/midstream-error", False, "stream_error", "provider_unavailable"),
        ("simulator/midstream-error", True, "stream_error", "provider_unavailable"),
        ("simulator/not-json", False, "failed", "200"),
        ("simulator/no-cost", True, "completed", None),
        ("unknown/model", False, "http_error", "400"),
    ],
)
async def test_scenarios(
    model: str, streamed: bool, outcome: str, error: str | None, client: Client, events: list[CallEvent]
) -> None:
    """Whatever the service does, the call leaves one event, and an unknown cost is null."""
    await client.post(model, stream=streamed)

    (event,) = events
    assert (event.outcome, event.error and event.error.type, event.cost.total) == (outcome, error, None)
    assert (event.request_model, event.cost.source) == (model, "unknown")


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_connection_that_breaks(
    streamed: bool, client: Client, library: ModuleType, events: list[CallEvent]
) -> None:
    """The caller gets the library's exception, and the event has what came before it."""
    with pytest.raises(library.RemoteProtocolError):
        await client.post("simulator/cut-off", stream=streamed)

    (event,) = events
    assert (event.outcome, event.error.type, event.http_status) == ("failed", "RemoteProtocolError", 200)
    assert event.generation_id.startswith("gen-")
    assert event.model == ("openai/gpt-4o-mini" if streamed else None)


async def test_a_stream_that_is_left(client: Client, events: list[CallEvent]) -> None:
    """Closed by the caller: no usage came, so the cost is unknown, but the id is there to ask for it."""
    async with client.stream("openai/gpt-4o-mini") as reply, client.chunks(reply) as chunks:
        async for chunk in chunks:
            if b"created" in chunk:
                break

    (event,) = events
    assert (event.outcome, event.error, event.cost.source) == ("closed_early", None, "unknown")
    assert (event.model, event.generation_id) == ("openai/gpt-4o-mini", reply.headers["x-generation-id"])
    assert event.bytes_in > 0


async def test_a_reply_that_is_not_read(client: Client, events: list[CallEvent]) -> None:
    """A caller that looks at the status and closes."""
    async with client.stream("openai/gpt-4o-mini") as reply:
        assert reply.status_code == 200

    assert [(event.outcome, event.bytes_in) for event in events] == [("closed_early", 0)]


async def test_done_and_then_closed(client: Client, events: list[CallEvent]) -> None:
    """SDKs stop at [DONE] and close without reading to the end: the call is completed there and then."""
    seen = b""
    async with client.stream("openai/gpt-4o-mini") as reply, client.chunks(reply) as chunks:
        async for chunk in chunks:
            seen += chunk
            if b"[DONE]" in seen:
                assert len(events) == 1
                break

    assert [event.outcome for event in events] == ["completed"]


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "SSE"])
async def test_a_stall_ends_in_a_timeout(
    library: ModuleType, stream: bool, origin: str, events: list[CallEvent], logs: Logs
) -> None:
    """A read timeout in mid-reply: failed, of a stream with the first token's time."""
    transport = TappedTransport(options=TapOptions(hosts=("127.0.0.1",), on_event=events.append))
    with library.Client(transport=transport, headers=KEY, timeout=0.5) as client, pytest.raises(library.ReadTimeout):
        client.post(f"{origin}/api/v1/chat/completions", json={"model": "simulator/stalled", "stream": stream})

    (event,) = events
    assert (event.outcome, event.error.type, event.http_status) == ("failed", "ReadTimeout", 200)
    assert event.ttft_ms < event.latency_ms if stream else event.ttft_ms is None


@pytest.mark.parametrize("until", ["headers", "first chunk"])
async def test_cancelled(library: ModuleType, until: str, origin: str, events: list[CallEvent], logs: Logs) -> None:
    """By the caller, on asyncio and trio: one event, and the cancellation goes on."""
    transport = TappedTransport(options=TapOptions(hosts=("127.0.0.1",), on_event=events.append))
    body = {"model": "simulator/stalled", "stream": until == "first chunk"}
    async with library.AsyncClient(transport=transport, headers=KEY) as client:
        with anyio.CancelScope() as scope:
            if until == "headers":
                scope.cancel()
            async with (
                client.stream("POST", f"{origin}/api/v1/chat/completions", json=body) as reply,
                aclosing(reply.aiter_raw()) as chunks,
            ):
                async for _ in chunks:
                    scope.cancel()

    assert scope.cancelled_caught
    (event,) = events
    assert (event.outcome, event.error.type) in [("cancelled", "CancelledError"), ("cancelled", "Cancelled")]
    assert (event.http_status, event.streamed) == ((None, False) if until == "headers" else (200, True))


async def test_nobody_listens(library: ModuleType, events: list[CallEvent], logs: Logs) -> None:
    """A refused connection is a call too."""
    transport = TappedTransport(options=TapOptions(hosts=("127.0.0.1",), on_event=events.append))
    async with library.AsyncClient(transport=transport) as client:
        with pytest.raises(library.ConnectError):
            await client.post(f"{refused()}/api/v1/chat/completions", json={"model": "m"})

    assert [(event.outcome, event.error.type, event.request_model) for event in events] == [
        ("failed", "ConnectError", "m")
    ]


async def test_the_caller_sees_what_it_would_see(client: Client, library: ModuleType, origin: str) -> None:
    """Bytes, headers, elapsed and pool are those of an untapped client."""
    with library.Client(base_url=f"{origin}/api/v1", headers=KEY) as plain:
        body = {"model": "openai/gpt-4o-mini", "messages": QUESTION, "stream": True}
        expected = plain.post("/chat/completions", json=body)
    reply = await client.post("openai/gpt-4o-mini", stream=True)

    def without_ids(text: bytes) -> bytes:
        return text.replace(reply.headers["x-generation-id"].encode(), b"").replace(
            expected.headers["x-generation-id"].encode(), b""
        )

    assert without_ids(reply.content).count(b"data: ") == without_ids(expected.content).count(b"data: ")
    assert reply.headers.keys() == expected.headers.keys()
    assert reply.elapsed.total_seconds() > 0
    assert reply.extensions.keys() == expected.extensions.keys()
    assert reply.http_version == expected.http_version


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio wants generators closed, and a closed one drains nothing
async def test_a_second_iteration_drains(library: ModuleType, origin: str, events: list[CallEvent], logs: Logs) -> None:
    """openai's async client iterates the stream again behind [DONE]: the rest comes, and no second event."""
    transport = TappedTransport(options=TapOptions(hosts=("127.0.0.1",), on_event=events.append))
    async with library.AsyncClient(transport=transport, headers=KEY) as client:
        body = {"model": "openai/gpt-4o-mini", "stream": True}
        async with client.stream("POST", f"{origin}/api/v1/chat/completions", json=body) as reply:
            async for chunk in reply.aiter_raw():
                if b"[DONE]" in chunk:
                    break
            rest = [chunk async for chunk in reply.stream]

    assert rest == []
    assert [event.outcome for event in events] == ["completed"]


@pytest.mark.parametrize(
    "make", [lambda library: library.Client, lambda library: library.AsyncClient], ids=["sync", "async"]
)
async def test_the_record_is_on_disk(
    make: Callable[[ModuleType], Any], library: ModuleType, origin: str, logs: Logs
) -> None:
    """With nothing but the transport: ``openrouter-costs.jsonl``, one line a call."""
    client = Client(
        make(library)(
            transport=TappedTransport(options=TapOptions(hosts=("127.0.0.1",))),
            base_url=f"{origin}/api/v1",
            headers=KEY,
        )
    )
    replies = [await client.post("openai/gpt-4o-mini") for _ in range(3)]
    await client.client.aclose() if client.is_async else client.client.close()

    records = logs.read()
    assert [record["fields"]["generation_id"] for record in records] == [reply.json()["id"] for reply in replies]
    assert [record["fields"]["cost"]["total"] for record in records] == [
        reply.json()["usage"]["cost"] for reply in replies
    ]
