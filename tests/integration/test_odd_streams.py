"""Streams and replies that the libraries take, though they are not what one expects: the tap takes them as well."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from types import ModuleType
from typing import Any

import anyio
import pytest
from callers import Caller
from conftest import Logs
from dialects import RESPONSES
from replies import URL, dumps, message, stream

import cipherlog_core
from openrouter_tap import CallEvent, TapOptions, TappedTransport
from openrouter_tap.simulator import running

ERROR_ONLY = [b'data: {"error":{"code":502}}\n\n']


class Bare:
    """An iterator that is no iterable, and that blocks for good if it is asked again after its end."""

    def __init__(self, chunks: list[bytes]) -> None:
        self.left: queue.Queue[bytes | None] = queue.Queue()
        for chunk in [*chunks, None]:
            self.left.put(chunk)

    def __next__(self) -> bytes:
        if (chunk := self.left.get(timeout=5)) is None:
            raise StopIteration
        return chunk

    async def __anext__(self) -> bytes:
        try:
            return next(self)
        except StopIteration:
            raise StopAsyncIteration from None


def body_of(library: ModuleType, chunks: list[bytes]) -> Any:
    class Body(library.SyncByteStream, library.AsyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            return Bare(chunks)  # type: ignore[return-value]

        def __aiter__(self) -> AsyncIterator[bytes]:
            return Bare(chunks)  # type: ignore[return-value]

    return Body()


def transport(library: ModuleType, answer: Callable[[Any], Any], events: list[CallEvent]) -> TappedTransport:
    return TappedTransport(library.MockTransport(answer), options=TapOptions(on_event=events.append))


@pytest.mark.anyio
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("chunks", "kind", "outcome"),
    [
        (stream(), "text/event-stream", "completed"),
        (ERROR_ONLY, "text/event-stream", "stream_error"),
        ([], "text/event-stream", "failed"),
        ([dumps(message())], "application/json", "completed"),
    ],
    ids=["stream", "error only", "nothing", "JSON"],
)
async def test_a_bare_iterator_is_read_once(
    chunks: list[bytes],
    kind: str,
    outcome: str,
    is_async: bool,
    library: ModuleType,
    events: list[CallEvent],
    logs: Logs,
) -> None:
    """It needs no ``__iter__``, and is not asked again after its end."""

    def answer(_: Any) -> Any:
        return library.Response(200, headers={"Content-Type": kind}, stream=body_of(library, chunks))

    caller = Caller(library, transport(library, answer, events), is_async=is_async)
    reply = await caller.send("POST", URL, json={})
    got = [chunk async for chunk in caller.chunks(reply)]
    await caller.close(reply)

    assert b"".join(got) == b"".join(chunks)
    assert [event.outcome for event in events] == [outcome]


@pytest.mark.anyio
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
async def test_a_body_that_refuses_to_be_read(
    kind: str, is_async: bool, library: ModuleType, events: list[CallEvent], logs: Logs
) -> None:
    """The call has failed, and is not one that its caller left."""

    class Body(library.SyncByteStream, library.AsyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            raise library.ReadError("no")

        __aiter__ = __iter__

    def answer(_: Any) -> Any:
        return library.Response(200, headers={"Content-Type": kind}, stream=Body())

    caller = Caller(library, transport(library, answer, events), is_async=is_async)
    reply = await caller.send("POST", URL, json={})
    with pytest.raises(library.ReadError):
        await caller.read(reply)
    await caller.close(reply)

    assert [(event.outcome, event.error.type) for event in events if event.error] == [("failed", "ReadError")]


@pytest.mark.parametrize(("status", "outcome"), [(503, "http_error"), (200, "closed_early")])
def test_a_reply_that_was_closed_unread_below_the_tap(
    status: int, outcome: str, library: ModuleType, events: list[CallEvent], logs: Logs
) -> None:
    """It has no content to ask for; the call is recorded all the same."""

    class Closing(library.BaseTransport):
        def handle_request(self, request: Any) -> Any:
            reply = library.Response(status, stream=body_of(library, [b"x"]))
            reply.close = lambda: None
            reply.is_closed = True
            return reply

    tap = TappedTransport(Closing(), options=TapOptions(on_event=events.append))
    with library.Client(transport=tap) as client, client.stream("POST", URL, json={}) as reply:
        assert reply.status_code == status

    assert [event.outcome for event in events] == [outcome]


def test_a_refusal_that_is_left_open(library: ModuleType, events: list[CallEvent], logs: Logs) -> None:
    """Whoever sends the request again may let the first reply lie until it is collected, in whatever thread."""
    statuses = iter([503, 200])

    def answer(_: Any) -> Any:
        return library.Response(next(statuses), stream=body_of(library, stream()))

    with library.Client(transport=transport(library, answer, events)) as client:
        request = client.build_request("POST", URL, json={"stream": True})
        replies = [client.send(request, stream=True)]
        client.send(request, stream=True).read()
        elsewhere = threading.Thread(target=lambda: (replies.clear(), gc.collect()))
        elsewhere.start()
        elsewhere.join()

    assert [(event.attempt, event.outcome) for event in events] == [(2, "completed"), (1, "http_error")]
    assert len({event.call_id for event in events}) == 1
    assert events[1].latency_ms == events[1].headers_ms


def test_what_the_caller_says_in_metadata_ends_nothing(
    library: ModuleType, events: list[CallEvent], logs: Logs
) -> None:
    """`/responses` repeats metadata in its first event."""
    reply = {"id": "gen-1", "model": "m", "status": "in_progress", "metadata": {"type": "response.completed"}}
    done = {**reply, "status": "completed", "usage": {"input_tokens": 1, "output_tokens": 1, "cost": 0.25}}
    body = b"".join(
        b"data: %b\n\n" % dumps({"type": f"response.{kind}", "response": response})
        for kind, response in (("created", reply), ("completed", done))
    )

    def answer(_: Any) -> Any:
        return library.Response(200, headers={"Content-Type": "text/event-stream"}, stream=body_of(library, [body]))

    with library.Client(transport=transport(library, answer, events)) as client:
        client.post(RESPONSES, json={})

    assert [(event.outcome, event.cost.total) for event in events] == [("completed", 0.25)]


RESPONSE = [
    b'data: {"type":"response.completed","response":{"id":"gen-1","usage":{"cost":0.25}}}\n\n',
    b"data: [DONE]\n\n",
]


@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
def test_what_iterates_over_the_body_is_closed_as_without_the_tap(kind: str, library: ModuleType, logs: Logs) -> None:
    """httpx2 closes a generator in the task of the caller who leaves it, httpx does not."""

    async def use(tapped: bool) -> list[str]:
        said = []

        class Body(library.AsyncByteStream):
            async def __aiter__(self) -> AsyncIterator[bytes]:
                try:
                    for piece in stream():
                        yield piece
                finally:
                    await asyncio.sleep(0)
                    said.append("cleaned up")

        def answer(_: Any) -> Any:
            return library.Response(200, headers={"Content-Type": kind}, stream=Body())

        inner = library.MockTransport(answer)
        client = library.AsyncClient(transport=TappedTransport(inner) if tapped else inner)
        async with client, client.stream("POST", URL, json={}) as reply:
            async with aclosing(reply.aiter_bytes()) as chunks:
                async for _ in chunks:
                    break
            said.append("left")
        return said

    if library.__name__ == "httpx2":
        assert asyncio.run(use(tapped=True)) == asyncio.run(use(tapped=False)) == ["cleaned up", "left"]
    else:
        assert asyncio.run(use(tapped=True))[0] == asyncio.run(use(tapped=False))[0] == "left"


def test_a_stream_that_is_open_at_the_end_of_its_loop(
    library: ModuleType, logs: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop closes all that iterates, and meets no error that it would not meet without the tap."""

    async def use(tapped: bool) -> Any:
        class Body(library.AsyncByteStream):
            async def __aiter__(self) -> AsyncIterator[bytes]:
                try:
                    for piece in stream():
                        yield piece
                finally:
                    await asyncio.sleep(0)

        def answer(_: Any) -> Any:
            return library.Response(200, headers={"Content-Type": "text/event-stream"}, stream=Body())

        inner = library.MockTransport(answer)
        client = library.AsyncClient(transport=TappedTransport(inner) if tapped else inner)
        reply = await client.send(client.build_request("POST", URL, json={}), stream=True)
        chunks = reply.aiter_raw()
        await anext(chunks)
        return client, reply, chunks

    def errors(*, tapped: bool) -> int:
        caplog.clear()
        kept = asyncio.run(use(tapped))
        return len([record for record in caplog.records if kept and record.name == "asyncio"])

    assert bool(errors(tapped=True)) <= bool(errors(tapped=False))


def test_a_body_that_iterates_itself_is_closed_as_often_as_without_the_tap(library: ModuleType, logs: Logs) -> None:
    """Not once more where the caller leaves it behind its last event."""

    def use(tapped: bool) -> int:
        closed = []

        class Body(library.SyncByteStream):
            def __init__(self) -> None:
                self.left = iter(RESPONSE)

            def __iter__(self) -> Iterator[bytes]:
                return self  # type: ignore[return-value]

            def __next__(self) -> bytes:
                return next(self.left)

            def close(self) -> None:
                closed.append(None)

        def answer(_: Any) -> Any:
            return library.Response(200, headers={"Content-Type": "text/event-stream"}, stream=Body())

        inner = library.MockTransport(answer)
        client = library.Client(transport=TappedTransport(inner) if tapped else inner)
        with client, client.stream("POST", RESPONSES, json={}) as reply:
            for line in reply.iter_lines():
                if line == "data: [DONE]":
                    break
        return len(closed)

    assert use(tapped=True) <= use(tapped=False)


def test_a_client_that_is_closed_while_its_first_chunk_is_awaited(
    library: ModuleType, events: list[CallEvent], logs: Logs
) -> None:
    """The call has its event, and is in no count of losses, though the transport within reads on."""
    may_come, asked = threading.Event(), threading.Event()

    class Body(library.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            asked.set()
            may_come.wait(5)
            yield from stream()

    def answer(_: Any) -> Any:
        return library.Response(200, headers={"Content-Type": "text/event-stream"}, stream=Body())

    tap = transport(library, answer, events)
    client = library.Client(transport=tap)
    dropped = cipherlog_core.stats().dropped
    reader = threading.Thread(target=client.post, args=(URL,), kwargs={"json": {}})
    reader.start()
    asked.wait(5)
    tap.close()
    may_come.set()
    reader.join()

    assert [event.outcome for event in events] == ["abandoned"]
    assert cipherlog_core.stats().dropped == dropped


def test_calls_that_share_a_failure(library: ModuleType, events: list[CallEvent], logs: Logs) -> None:
    """One error for all who wait for the same connection: each call has its event."""

    async def use() -> None:
        waiting: list[asyncio.Future[None]] = []
        error = library.ConnectError("down")

        class Waiting(library.AsyncBaseTransport):
            async def handle_async_request(self, _: Any) -> Any:
                waiting.append(asyncio.get_running_loop().create_future())
                await waiting[-1]
                raise error

        options = TapOptions(on_event=events.append)
        async with library.AsyncClient(transport=TappedTransport(Waiting(), options=options)) as client:
            calls = [asyncio.create_task(client.post(URL, json={})) for _ in range(20)]
            await asyncio.sleep(0.05)
            for future in reversed(waiting):  # who began first fails last
                future.set_result(None)
            await asyncio.gather(*calls, return_exceptions=True)

    asyncio.run(use())

    assert [event.outcome for event in events] == ["failed"] * 20


def test_a_stream_that_is_let_go_gives_its_connection_back(library: ModuleType, logs: Logs) -> None:
    """As it does without the tap: nothing of ours holds what iterates over the body."""

    async def use(origin: str, tapped: bool) -> list[str]:
        limits = library.Limits(max_connections=1)
        inner = library.AsyncHTTPTransport(limits=limits)
        tap = TappedTransport(inner, options=TapOptions(hosts=("127.0.0.1",)))
        async with library.AsyncClient(transport=tap if tapped else inner) as client:
            body = {"model": "openai/gpt-4o-mini", "messages": [], "stream": True}
            request = client.build_request(
                "POST", f"{origin}/api/v1/chat/completions", json=body, headers={"Authorization": "x"}
            )
            reply = await client.send(request, stream=True)
            async for _ in reply.aiter_raw():
                break
            for _ in range(100):
                await asyncio.sleep(0)
            gc.collect()
            for _ in range(100):
                await asyncio.sleep(0.001)
            connections = [str(connection.info()) for connection in inner._pool.connections]
            await reply.aclose()
            return connections

    with running() as origin:
        plain = anyio.run(use, origin, False)
        assert anyio.run(use, origin, True) == plain
