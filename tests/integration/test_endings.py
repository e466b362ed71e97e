"""Each way in which a call ends, over sockets: one event that says so, and a pool as it is without the tap."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from callers import Caller
from conftest import Logs
from faulty_server import FaultyServer, faulty_server, hung_port, refused

from openrouter_tap import CallEvent, TapOptions, TappedTransport

pytestmark = pytest.mark.anyio

BODY = {"model": "maker/model", "stream": True}
CANCELLED = {"asyncio": "CancelledError", "trio": "Cancelled"}
TAIL = "/api/v1/chat/completions"
Act = Callable[[Caller, str], Awaitable[None]]


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    with faulty_server() as server:
        yield server


@pytest.fixture(params=["sync", "asyncio", "trio"])
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def anyio_backend(mode: str) -> str:
    return "asyncio" if mode == "sync" else mode


async def post(caller: Caller, origin: str, what: str, **options: Any) -> Any:
    return await caller.send(url=f"{origin}/{what}{TAIL}", json=BODY, **options)


def whole(what: str, **options: Any) -> Act:
    async def act(caller: Caller, origin: str) -> None:
        reply = await post(caller, origin, what, **options)
        try:
            await caller.read(reply)
        finally:
            await caller.close(reply)

    return act


def at(origin: str) -> Act:
    async def act(caller: Caller, _: str) -> None:
        await whole("json")(caller, origin)

    return act


async def connect_timeout(caller: Caller, _: str) -> None:
    with hung_port() as origin:
        await whole("json", timeout=0.1)(caller, origin)


async def pool_timeout(caller: Caller, origin: str) -> None:
    reply = await post(caller, origin, "stalled")
    try:
        await post(caller, origin, "json", timeout=0.1)
    finally:
        await caller.close(reply)


async def some(caller: Caller, reply: Any, until: bytes = b"word") -> None:
    """Read the reply as far as *until*."""
    async with aclosing(caller.chunks(reply)) as chunks:
        async for chunk in chunks:
            if until in chunk:
                return


def left(what: str, until: bytes = b"word", times: int = 1) -> Act:
    async def act(caller: Caller, origin: str) -> None:
        reply = await post(caller, origin, what)
        await some(caller, reply, until)
        for _ in range(times):
            await caller.close(reply)

    return act


async def unread(caller: Caller, origin: str) -> None:
    await caller.close(await post(caller, origin, "stream"))


async def dropped(caller: Caller, origin: str) -> None:
    await post(caller, origin, "stream")
    gc.collect()


async def client_closed(caller: Caller, origin: str) -> None:
    reply = await post(caller, origin, "stalled")
    await caller.leave()
    await caller.close(reply)


def without_cost(method: str) -> Act:
    async def act(caller: Caller, origin: str) -> None:
        reply = await caller.send(method, f"{origin}/json{TAIL}")
        await caller.read(reply)
        await caller.close(reply)

    return act


# What is done; the outcome, the error's type and the status of each event.
ENDINGS: dict[str, tuple[Act, list[tuple[str, str | None, int | None]]]] = {
    "completed": (whole("json"), [("completed", None, 200)]),
    "stream completed": (whole("stream"), [("completed", None, 200)]),
    "HTTP error": (whole("429"), [("http_error", "429", 429)]),
    "error inside a body": (whole("error-in-json"), [("stream_error", "402", 200)]),
    "error inside a stream": (whole("error-in-stream"), [("stream_error", "provider_unavailable", 200)]),
    "refused": (at(refused()), [("failed", "ConnectError", None)]),
    "no such name": (at("http://openrouter.invalid"), [("failed", "ConnectError", None)]),
    "connect timeout": (connect_timeout, [("failed", "ConnectTimeout", None)]),
    "read timeout": (whole("no-reply", timeout=0.1), [("failed", "ReadTimeout", None)]),
    "read timeout in mid-stream": (whole("stalled", timeout=0.3), [("failed", "ReadTimeout", 200)]),
    "pool timeout": (pool_timeout, [("failed", "PoolTimeout", None), ("closed_early", None, 200)]),
    "no HTTP": (whole("garbage"), [("failed", "RemoteProtocolError", None)]),
    "hung up": (whole("gone"), [("failed", "RemoteProtocolError", None)]),
    "cut in half": (whole("cut"), [("failed", "RemoteProtocolError", 200)]),
    "stream cut in half": (whole("cut-stream"), [("failed", "RemoteProtocolError", 200)]),
    "left early": (left("stalled"), [("closed_early", None, 200)]),
    "closed twice": (left("stalled", times=2), [("closed_early", None, 200)]),
    "never read": (unread, [("closed_early", None, 200)]),
    "dropped": (dropped, [("abandoned", None, 200)]),
    "client closed": (client_closed, [("abandoned", None, 200)]),
    "DONE seen": (left("stream", b"[DONE]"), [("completed", None, 200)]),
    "DONE seen and no end": (left("done-stalled", b"[DONE]", 2), [("completed", None, 200)]),
    "HEAD": (without_cost("HEAD"), []),
    "GET": (without_cost("GET"), []),
}


def pool_of(transport: Any) -> list[str]:
    """The connections, as they tell of themselves."""
    pool = transport._pool
    return [connection.info() for connection in pool.connections] + [f"{len(pool._requests)} requests"]


async def state_after(
    act: Act, library: ModuleType, mode: str, server: FaultyServer, events: list[CallEvent] | None
) -> tuple[Any, list[str]]:
    """What *act* raised and how it left the pool; tapped if the *events* have a place to go to."""
    is_async = mode != "sync"
    limits = library.Limits(max_connections=1)
    inner = transport = (library.AsyncHTTPTransport if is_async else library.HTTPTransport)(limits=limits, verify=False)
    if events is not None:
        transport = TappedTransport(inner, options=TapOptions(hosts=("*",), on_event=events.append))
    caller = Caller(library, transport, is_async=is_async)
    error = None
    try:
        await act(caller, server.origin)
    except Exception as raised:
        error = type(raised), str(raised).replace("0x", "")
    state = pool_of(inner)
    await caller.leave()
    return error, state


async def check(
    act: Act, library: ModuleType, mode: str, server: FaultyServer, events: list[CallEvent]
) -> list[tuple[str, str | None, int | None]]:
    """Compare with an untapped client; what the events say."""
    expected = await state_after(act, library, mode, server, None)
    assert await state_after(act, library, mode, server, events) == expected
    return [(event.outcome, event.error and event.error.type, event.http_status) for event in events]


@pytest.mark.parametrize("mode", ["sync", "asyncio", pytest.param("trio", marks=pytest.mark.soak)])
@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_ending(
    ending: str, library: ModuleType, mode: str, server: FaultyServer, events: list[CallEvent], logs: Logs
) -> None:
    """One event, and what the caller and its pool would have had without the tap."""
    act, told = ENDINGS[ending]
    assert await check(act, library, mode, server, events) == told
    assert len(logs.read()) == len(told)


async def test_tls_on_one_side_only(
    library: ModuleType, mode: str, server: FaultyServer, events: list[CallEvent], logs: Logs
) -> None:
    """A handshake that fails is a call that failed to connect."""
    act = at(server.origin.replace("http:", "https:"))
    assert await check(act, library, mode, server, events) == [("failed", "ConnectError", None)]


async def test_an_upgrade(
    library: ModuleType, mode: str, server: FaultyServer, events: list[CallEvent], logs: Logs
) -> None:
    """101: the call is over, and the connection is the caller's, as the transport gives it."""

    async def act(caller: Caller, origin: str) -> None:
        reply = await post(caller, origin, "upgrade", headers={"Connection": "Upgrade", "Upgrade": "other"})
        assert "network_stream" in reply.extensions
        await caller.close(reply)

    assert await check(act, library, mode, server, events) == [("completed", None, 101)]


async def cancelled_while_connecting(caller: Caller, _: str) -> None:
    with hung_port() as origin, anyio.move_on_after(0.1):
        await post(caller, origin, "json")


async def cancelled_before_the_headers(caller: Caller, origin: str) -> None:
    with anyio.move_on_after(0.1):
        await post(caller, origin, "no-reply")


async def cancelled_at_a_chunk(caller: Caller, origin: str, scope: anyio.CancelScope) -> None:
    reply = await post(caller, origin, "stalled")
    try:
        async with aclosing(caller.chunks(reply)) as chunks:
            async for _ in chunks:
                scope.cancel()
    finally:
        await caller.close(reply)


async def cancelled_in_mid_stream(caller: Caller, origin: str) -> None:
    with anyio.CancelScope() as scope:
        await cancelled_at_a_chunk(caller, origin, scope)


async def cancelled_twice(caller: Caller, origin: str) -> None:
    with anyio.CancelScope() as outer, anyio.CancelScope() as inner:
        try:
            await cancelled_at_a_chunk(caller, origin, inner)
        finally:
            outer.cancel()
            await anyio.lowlevel.checkpoint()


async def cancelled_while_closing(caller: Caller, origin: str) -> None:
    reply = await post(caller, origin, "stalled")
    await some(caller, reply)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await caller.close(reply)


CANCELLATIONS: dict[str, tuple[Act, str, int | None]] = {
    "while connecting": (cancelled_while_connecting, "cancelled", None),
    "before the headers": (cancelled_before_the_headers, "cancelled", None),
    "in mid-stream": (cancelled_in_mid_stream, "cancelled", 200),
    "twice": (cancelled_twice, "cancelled", 200),
    "while closing": (cancelled_while_closing, "closed_early", 200),
}


@pytest.mark.parametrize("mode", ["asyncio", "trio"])
@pytest.mark.parametrize("when", CANCELLATIONS)
async def test_cancelled(
    when: str, library: ModuleType, mode: str, server: FaultyServer, events: list[CallEvent], logs: Logs
) -> None:
    """One event whenever it comes; a reply that is being closed was left before."""
    act, outcome, status = CANCELLATIONS[when]
    error = CANCELLED[mode] if outcome == "cancelled" else None
    assert await check(act, library, mode, server, events) == [(outcome, error, status)]


@pytest.mark.parametrize("mode", ["asyncio", "trio"])
async def test_closed_by_another_task(
    library: ModuleType, mode: str, server: FaultyServer, events: list[CallEvent], logs: Logs
) -> None:
    """Behind [DONE], while the iteration is held by the first task."""

    async def act(caller: Caller, origin: str) -> None:
        reply = await post(caller, origin, "done-stalled")
        async with aclosing(reply.aiter_raw()) as chunks:
            async for chunk in chunks:
                if b"[DONE]" in chunk:
                    break
            async with anyio.create_task_group() as group:
                group.start_soon(caller.close, reply)

    assert await check(act, library, mode, server, events) == [("completed", None, 200)]


EXIT = """
import httpx, threading, time
from openrouter_tap import TapOptions, TappedTransport
def wait():
    time.sleep(60)
{thread}
client = httpx.Client(transport=TappedTransport(options=TapOptions(hosts=("*",))))
for path in {paths}:
    reply = client.send(client.build_request("POST", "{origin}/" + path + "{tail}", json={{}}), stream=True)
    path == "stream" or reply.close()
"""


@pytest.mark.parametrize("thread", ["", "threading.Thread(target=wait, daemon=True).start()"], ids=["alone", "daemon"])
@pytest.mark.parametrize(("paths", "outcomes"), [(["json", "stream"], 2), (["stream"], 1)])
def test_a_reply_that_is_open_at_the_end_of_the_program(
    paths: list[str], outcomes: int, thread: str, server: FaultyServer, tmp_path: Path
) -> None:
    """The event is on disk, also where no log was open before, and where a daemon keeps all from being collected."""
    environment = {**os.environ, "LOG_DIR": str(tmp_path)}
    command = [sys.executable, "-c", EXIT.format(paths=paths, thread=thread, origin=server.origin, tail=TAIL)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=True)

    assert (tmp_path / "openrouter-costs.jsonl").read_text().count('"outcome":') == outcomes
    assert not done.stderr


class Retry:
    """A transport that sends a request that is not answered well again, as many times as it has answers."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __enter__(self) -> None:
        self.inner.__enter__()

    def __exit__(self, *exc_info: object) -> None:
        self.inner.__exit__(*exc_info)

    def handle_request(self, request: Any) -> Any:
        reply = self.inner.handle_request(request)
        while reply.status_code != 200:
            reply.read()
            reply.close()
            reply = self.inner.handle_request(request)
        return reply


def answering(library: ModuleType, statuses: list[int]) -> Any:
    left = iter(statuses)
    return library.MockTransport(lambda _: library.Response(next(left), json={"id": "gen-1"}))


def attempts(events: list[CallEvent]) -> tuple[list[int | None], list[str | None]]:
    return [event.attempt for event in events], [event.call_id for event in events]


@pytest.fixture
def options(events: list[CallEvent], logs: Logs) -> TapOptions:
    return TapOptions(hosts=("*",), on_event=events.append)


@pytest.mark.parametrize("mode", ["sync"])
@pytest.mark.parametrize("counts", [["0", "1", "2"], ["0", "1"], ["0"]])
async def test_attempts_that_an_sdk_counts(
    counts: list[str], library: ModuleType, events: list[CallEvent], options: TapOptions
) -> None:
    """openai and anthropic make a new request each time and say in a header which one it is."""
    inner = answering(library, [429] * (len(counts) - 1) + [200])
    with library.Client(transport=TappedTransport(inner, options=options)) as client:
        for count in counts:
            client.post("http://x/chat/completions", json=BODY, headers={"x-stainless-retry-count": count})

    numbers, ids = attempts(events)
    assert numbers == [int(count) + 1 for count in counts]
    assert len(set(ids)) == 1
    assert len(ids[0]) == 24


@pytest.mark.parametrize("mode", ["sync"])
@pytest.mark.parametrize("tap_is", ["inside", "outside"])
async def test_a_transport_that_retries(
    tap_is: str, library: ModuleType, events: list[CallEvent], options: TapOptions
) -> None:
    """A tap inside it sees each attempt, and knows them by their request; one outside sees one call."""
    inner = answering(library, [503, 429, 200])
    tap: Any = TappedTransport(Retry(inner), options=options)
    if tap_is == "inside":
        tap = Retry(TappedTransport(inner, options=options))
    with library.Client(transport=tap) as client:
        client.post("http://x/chat/completions", json=BODY)

    numbers, ids = attempts(events)
    assert numbers == ([1, 2, 3] if tap_is == "inside" else [1])
    assert len(set(ids)) == 1
    assert (ids[0] is None) == (tap_is == "outside")


@pytest.mark.parametrize("mode", ["sync"])
async def test_calls_that_have_nothing_to_do_with_each_other(
    library: ModuleType, events: list[CallEvent], options: TapOptions
) -> None:
    """Other requests are other calls; a count whose beginning was not seen here belongs to none."""
    with library.Client(transport=TappedTransport(answering(library, [429, 200, 429]), options=options)) as client:
        client.post("http://x/chat/completions", json=BODY)
        client.post("http://x/chat/completions", json=BODY)
        client.post("http://x/chat/completions", json=BODY, headers={"x-stainless-retry-count": "5"})

    numbers, (first, second, third) = attempts(events)
    assert numbers == [1, 1, 6]
    assert first is not None
    assert (second, third) == (None, None)
