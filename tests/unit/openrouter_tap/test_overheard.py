"""What the caller's own decoder gives of a coded body is what the tap reads."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from contextlib import aclosing
from types import ModuleType
from typing import Any

import brotli
import pytest
import zstandard
from callers import Answer, Caller, Replay
from replies import ID, URL, chunk, dumps, message, stream

from openrouter_tap import CallEvent, TapOptions, TappedTransport
from openrouter_tap._parse import coding as undoing

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
LONG = message("word " * 500_000)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    return request.param


def coded(coding: str, data: bytes, kind: str = "application/json", size: int = 700) -> Answer:
    body = CODINGS[coding](data)
    headers = [("content-type", kind), ("content-encoding", coding)]
    return Answer([body[at : at + size] for at in range(0, len(body), size)], headers)


class Called:
    """A tapped client, and the events of its calls."""

    def __init__(self, library: ModuleType, answer: Answer, *, is_async: bool) -> None:
        self.events: list[CallEvent] = []
        transport = TappedTransport(Replay(library, answer), options=TapOptions(on_event=self.events.append))
        self.caller = Caller(library, transport, is_async=is_async)

    async def take(self, how: str, url: str = URL) -> list[Any]:
        """What ``iter_raw`` and its kin give of a reply."""
        reply = await self.caller.send(url=url, json={"model": "m"})
        try:
            async with aclosing(self.caller.chunks(reply, how)) as chunks:
                return [chunk async for chunk in chunks]
        finally:
            await self.caller.close(reply)

    @property
    def event(self) -> CallEvent:
        (event,) = self.events
        return event


@pytest.fixture
def no_inflating(monkeypatch: pytest.MonkeyPatch) -> None:
    """Red where the tap undoes a coding itself."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("undone a second time")

    monkeypatch.setattr(undoing.zlib, "decompressobj", refuse)


@pytest.mark.parametrize("size", [1, 700, 1 << 20])
@pytest.mark.parametrize("coding", CODINGS)
async def test_json(coding: str, size: int, library: ModuleType, is_async: bool, logs: object) -> None:
    """Tokens and cost of any coding that the library knows, and the size as it came over the wire."""
    answer = coded(coding, dumps(message()), size=size)
    called = Called(library, answer, is_async=is_async)

    assert b"".join(await called.take("bytes")) == dumps(message())
    event = called.event
    assert (event.outcome, event.generation_id, event.cost.total, event.tokens.total) == ("completed", ID, 0.0123, 1500)
    assert event.bytes_in == sum(map(len, answer.chunks))


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip"])
async def test_json_longer_than_is_kept(coding: str, library: ModuleType, is_async: bool, logs: object) -> None:
    """2.5 MB: read at its two ends."""
    called = Called(library, coded(coding, dumps(LONG), size=1 << 16), is_async=is_async)
    await called.take("bytes")

    assert (called.event.outcome, called.event.cost.total, called.event.generation_id) == ("completed", 0.0123, ID)


@pytest.mark.parametrize("coding", CODINGS)
async def test_streams(coding: str, library: ModuleType, is_async: bool, logs: object) -> None:
    """Read to the end: with the time to the first content."""
    events = b"".join([*stream(40), *[chunk({"content": "x" * 4000}) for _ in range(50)], *stream()])
    called = Called(library, coded(coding, events, "text/event-stream", 64), is_async=is_async)

    assert "".join(await called.take("text")) == events.decode()
    event = called.event
    assert (event.outcome, event.streamed, event.cost.total) == ("completed", True, 0.0123)
    assert event.ttft_ms is not None
    assert event.ttft_ms <= (event.latency_ms or 0)


async def test_a_stream_left_at_its_last_event(library: ModuleType, is_async: bool, logs: object) -> None:
    """``[DONE]`` is the end of a coded stream, too, however the bytes of its frame then are left."""
    answer = coded("gzip", b"".join(stream()), "text/event-stream")
    answer.chunks.append(b"")
    called = Called(library, answer, is_async=is_async)
    reply = await called.caller.send(json={"model": "m"})
    async with aclosing(called.caller.chunks(reply, "lines")) as lines:
        async for line in lines:
            if line == "data: [DONE]":
                break
    await called.caller.close(reply)

    assert (called.event.outcome, called.event.cost.total) == ("completed", 0.0123)


async def test_responses_and_messages(library: ModuleType, is_async: bool, logs: object) -> None:
    """The first content of an endpoint whose events are not chat's."""
    events = (
        b'data: {"type":"response.output_text.delta","delta":"word"}\n\n'
        b'data: {"type":"response.completed","response":{"id":"resp-1","model":"m","usage":{"cost":0.1}}}\n\n'
    )
    called = Called(library, coded("br", events, "text/event-stream", 5), is_async=is_async)
    await called.take("lines", URL.replace("chat/completions", "responses"))

    assert (called.event.endpoint, called.event.outcome, called.event.cost.total) == ("responses", "completed", 0.1)
    assert called.event.ttft_ms is not None


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
async def test_whoever_takes_the_raw_bytes(coding: str, library: ModuleType, is_async: bool, logs: object) -> None:
    """No decoder is at work: gzip and deflate are undone by the tap, and what it cannot undo leaves nulls."""
    answer = coded(coding, dumps(message()))
    called = Called(library, answer, is_async=is_async)

    assert await called.take("raw") == answer.chunks
    known = 0.0123 if coding in ("gzip", "deflate") else None
    assert (called.event.outcome, called.event.cost.total) == ("completed", known)


@pytest.mark.usefixtures("no_inflating")
async def test_nothing_is_undone_twice(library: ModuleType, is_async: bool, logs: object) -> None:
    """Not even where the reply is long: nothing but the decoder of the caller works on a coded body."""
    for reply in (message(), LONG):
        called = Called(library, coded("br", dumps(reply), size=1 << 16), is_async=is_async)
        await called.take("bytes")
        assert called.event.cost.total == 0.0123


async def test_one_response_for_many_requests(library: ModuleType, logs: object) -> None:
    """A transport that gives the same object again: its decoder is wrapped once."""
    events: list[CallEvent] = []
    answer = coded("gzip", dumps(message()))
    inner = Replay(library, answer)
    response = inner.handle_request(None)
    inner.handle_request = lambda _: response  # type: ignore[method-assign]
    tap = TappedTransport(inner, options=TapOptions(on_event=events.append))
    for _ in range(3):
        tap.handle_request(library.Request("POST", URL, json={}))
        response.stream.close()
        response.stream = inner.body

    response.read()
    assert type(response._decoder._decoder).__module__ == f"{library.__name__}._decoders"
    assert [event.outcome for event in events] == ["closed_early"] * 3


async def test_a_coding_that_the_library_refuses(library: ModuleType, is_async: bool, logs: object) -> None:
    """What is wrong with it is told where the caller reads, as without the tap."""
    answer = Answer([b"no gzip"], [("content-type", "application/json"), ("content-encoding", ", ".join(["gzip"] * 9))])
    called = Called(library, answer, is_async=is_async)

    with pytest.raises(library.DecodingError):
        await called.take("bytes")
    assert called.event.outcome in ("failed", "closed_early")
