"""HTTP/1.1 and HTTP/2 (cleartext, with prior knowledge), on asyncio and trio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from types import ModuleType
from typing import Any

import anyio
import pytest
from conftest import Logs
from replies import ID, USAGE, chunk, stream
from starlette.requests import Request
from starlette.responses import Response

from openrouter_tap import CallEvent, TapOptions, TappedTransport
from served import CHAT, App, hypercorn

pytestmark = pytest.mark.anyio

BODY = {"model": "maker/model", "messages": []}
MANY = 8


class Together(App):
    """Its streams wait until `MANY` have begun, which on one connection can only be so if they are multiplexed."""

    def __init__(self) -> None:
        super().__init__()
        self.connections: set[tuple[str, int]] = set()
        self.together = asyncio.Barrier(MANY)

    async def chat(self, request: Request) -> Response:
        self.connections.add(request.scope["client"])
        return await super().chat(request)

    async def chunks(self, request: Request) -> AsyncIterator[bytes]:
        yield chunk({"role": "assistant", "content": ""})
        async with asyncio.timeout(20):
            if request.headers.get("x-wait") == "for all":
                await self.together.wait()
            elif request.headers.get("x-wait") == "for ever":
                await asyncio.Event().wait()
        for piece in stream()[2:]:
            yield piece


@pytest.fixture(scope="module")
def app() -> Together:
    return Together()


@pytest.fixture(scope="module")
def origin(app: Together) -> Iterator[str]:
    with hypercorn(app) as origin:
        yield origin


@pytest.fixture(params=[{"http1": True, "http2": False}, {"http1": False, "http2": True}], ids=["HTTP/1.1", "HTTP/2"])
def versions(request: pytest.FixtureRequest) -> dict[str, bool]:
    return request.param


@pytest.fixture
def options(events: list[CallEvent], logs: Logs) -> TapOptions:
    return TapOptions(hosts=("127.0.0.1",), on_event=events.append)


def facts(event: CallEvent) -> tuple[Any, ...]:
    prompt = (event.tokens.prompt, event.tokens.completion, event.cost.total)
    return (event.outcome, event.http_status, event.generation_id, event.streamed, *prompt)


def expected(*, streamed: bool) -> tuple[Any, ...]:
    return ("completed", 200, ID, streamed, USAGE["prompt_tokens"], USAGE["completion_tokens"], USAGE["cost"])


async def test_json_and_stream(
    versions: dict[str, bool], library: ModuleType, origin: str, events: list[CallEvent], options: TapOptions
) -> None:
    """The facts are those of the reply, and the bytes too, whatever carries them."""
    transport = TappedTransport(library.AsyncHTTPTransport(**versions), options=options)
    async with library.AsyncClient(transport=transport) as client:
        whole = await client.post(origin + CHAT, json=BODY)
        streamed = await client.post(origin + CHAT, json={**BODY, "stream": True})

    assert {whole.http_version, streamed.http_version} == {"HTTP/2" if versions["http2"] else "HTTP/1.1"}
    assert streamed.content == b"".join(stream()[1:])
    assert [facts(event) for event in events] == [expected(streamed=False), expected(streamed=True)]
    assert [event.bytes_in for event in events] == [len(whole.content), len(streamed.content)]
    assert events[1].headers_ms <= events[1].ttft_ms <= events[1].latency_ms


async def test_of_a_sync_client(
    versions: dict[str, bool], library: ModuleType, origin: str, events: list[CallEvent], options: TapOptions
) -> None:
    """The same, inside a program of either backend."""
    transport = TappedTransport(library.HTTPTransport(**versions), options=options)
    with library.Client(transport=transport) as client:
        client.post(origin + CHAT, json=BODY)
        client.post(origin + CHAT, json={**BODY, "stream": True})

    assert [facts(event) for event in events] == [expected(streamed=False), expected(streamed=True)]


async def test_streams_on_one_connection(
    app: Together, library: ModuleType, origin: str, events: list[CallEvent], options: TapOptions
) -> None:
    """Each has its own event with its own facts; one that is left in its middle ends none of the others."""
    app.connections.clear()
    transport = TappedTransport(library.AsyncHTTPTransport(http1=False, http2=True), options=options)

    async def call(model: str, wait: str) -> None:
        body, headers = {"model": model, "stream": True}, {"x-wait": wait}
        async with (
            client.stream("POST", origin + CHAT, json=body, headers=headers) as reply,
            aclosing(reply.aiter_raw()) as chunks,
        ):
            async for _ in chunks:
                if wait == "for ever":
                    return

    with anyio.fail_after(30):
        async with library.AsyncClient(transport=transport) as client:
            await client.post(origin + CHAT, json=BODY)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, "left", "for ever")
                for number in range(MANY):
                    tasks.start_soon(call, f"model-{number}", "for all")

    assert len(app.connections) == 1
    found = {event.request_model: event for event in events[1:]}
    left = found.pop("left")
    assert (left.outcome, left.generation_id, left.cost.total) == ("closed_early", ID, None)
    assert found.keys() == {f"model-{number}" for number in range(MANY)}
    assert len(events) == MANY + 2
    assert {facts(event) for event in found.values()} == {expected(streamed=True)}


async def test_a_stream_that_is_cancelled(
    versions: dict[str, bool], library: ModuleType, origin: str, events: list[CallEvent], options: TapOptions
) -> None:
    """One event, and the client serves the next call."""
    transport = TappedTransport(library.AsyncHTTPTransport(**versions), options=options)
    headers = {"x-wait": "for ever"}
    with anyio.fail_after(30):
        async with library.AsyncClient(transport=transport) as client:
            with anyio.CancelScope() as scope:
                async with (
                    client.stream("POST", origin + CHAT, json={**BODY, "stream": True}, headers=headers) as reply,
                    aclosing(reply.aiter_raw()) as chunks,
                ):
                    await anext(chunks)
                    scope.cancel()
                    await anext(chunks)
            await client.post(origin + CHAT, json=BODY)

    assert [event.outcome for event in events] == ["cancelled", "completed"]
