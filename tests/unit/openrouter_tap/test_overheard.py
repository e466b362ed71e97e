"""What the caller's own decoder gives of a coded body is what the tap reads."""

from __future__ import annotations

import gzip
import random
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
from openrouter_tap._sse_stream import SseStream

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
        self.answer = answer
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


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
async def test_deflate_without_its_frame(kind: str, library: ModuleType, is_async: bool, logs: object) -> None:
    """The decoder then begins anew by calling itself: what it gives is told once."""
    is_json = kind == "application/json"
    text = dumps(message()) if is_json else b"".join(stream(4))
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = packer.compress(text) + packer.flush()
    pieces = [body[at : at + 200] for at in range(0, len(body), 200)]
    called = Called(
        library, Answer(pieces, [("content-type", kind), ("content-encoding", "deflate")]), is_async=is_async
    )

    assert b"".join(await called.take("bytes")) == text
    assert (called.event.outcome, called.event.cost.total) == ("completed", 0.0123)


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


async def test_a_coding_that_the_library_refuses(library: ModuleType, is_async: bool, logs: object) -> None:
    """What is wrong with it is told where the caller reads, as without the tap."""
    answer = Answer([b"no gzip"], [("content-type", "application/json"), ("content-encoding", ", ".join(["gzip"] * 9))])
    called = Called(library, answer, is_async=is_async)

    with pytest.raises(library.DecodingError):
        await called.take("bytes")
    assert called.event.outcome in ("failed", "closed_early")


async def test_a_body_that_cannot_be_decoded(library: ModuleType, is_async: bool, logs: object) -> None:
    """The caller gets an error and has closed nothing: the call has failed, and what of."""
    body = bytearray(gzip.compress(random.Random(7).randbytes(3000)))
    body[1500:1600] = b"\xff" * 100
    pieces = [bytes(body[at : at + 400]) for at in range(0, len(body), 400)]
    called = Called(library, Answer(pieces, [("content-encoding", "gzip")]), is_async=is_async)

    with pytest.raises(library.DecodingError):
        await called.take("bytes")
    assert (called.event.outcome, called.event.error.type) == ("failed", "DecodingError")


async def test_nothing_is_put_on_a_response_before_it_is_read(library: ModuleType, logs: object) -> None:
    """Recorders of replies look for a decoder there, and the caller may have one of his own."""
    answer = coded("gzip", dumps(message()))
    tapped = TappedTransport(Replay(library, answer)).handle_request(library.Request("POST", URL))
    plain = Replay(library, answer).handle_request(library.Request("POST", URL))

    assert vars(tapped).keys() == vars(plain).keys()
    assert tapped.read() == plain.read()
    assert type(tapped._decoder) is type(plain._decoder)


async def test_a_response_with_a_decoder_of_its_own(library: ModuleType, logs: object) -> None:
    """One around the library's: the bytes go through each of them once."""

    class Doubling:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def decode(self, data: bytes) -> Any:
            given = self.inner.decode(data)
            return given * 2 if isinstance(given, bytes) else (piece * 2 for piece in given)

        def flush(self) -> Any:
            return self.inner.flush()

    class Response(library.Response):  # type: ignore[name-defined, misc]
        def _get_content_decoder(self) -> Any:
            return Doubling(super()._get_content_decoder())

    events: list[CallEvent] = []
    inner = Replay(ModuleLike(library, Response), coded("gzip", dumps(message()), size=1 << 20))
    response = TappedTransport(inner, options=TapOptions(on_event=events.append)).handle_request(
        library.Request("POST", URL)
    )

    assert response.read() == dumps(message()) * 2
    assert [event.cost.total for event in events] == [0.0123]


class ModuleLike:
    """*library* with a *response* class of its own."""

    def __init__(self, library: ModuleType, response: type) -> None:
        self.library, self.Response = library, response

    def __getattr__(self, name: str) -> Any:
        return getattr(self.library, name)


@pytest.mark.parametrize("given", [bytearray, memoryview])
async def test_a_decoder_that_gives_no_bytes(given: type, library: ModuleType, logs: object) -> None:
    """What it gives goes on as it is."""

    class Decoder:
        def decode(self, data: bytes) -> Any:
            return given(gzip.decompress(data))

        def flush(self) -> bytes:
            return b""

    class Response(library.Response):  # type: ignore[name-defined, misc]
        def _get_content_decoder(self) -> Any:
            self._decoder = Decoder()
            return self._decoder

    events: list[CallEvent] = []
    inner = Replay(ModuleLike(library, Response), coded("gzip", dumps(message()), size=1 << 20))
    tap = TappedTransport(inner, options=TapOptions(on_event=events.append))
    response = tap.handle_request(library.Request("POST", URL))
    decoder = response._get_content_decoder()
    for part in response.iter_raw():
        assert type(decoder.decode(part)) is given

    assert [event.cost.total for event in events] == [0.0123]


async def test_a_response_without_weak_references(library: ModuleType, logs: object) -> None:
    """Nobody can be heard: what is gzip is undone by the tap."""

    class Bare:
        __slots__ = ("extensions", "headers", "is_closed", "status_code", "stream")

    events: list[CallEvent] = []
    answer = coded("gzip", dumps(message()))
    bare, full = Bare(), Replay(library, answer).handle_request(None)
    for name in Bare.__slots__:
        setattr(bare, name, getattr(full, name))
    inner = Replay(library, answer)
    inner.handle_request = lambda _: bare  # type: ignore[method-assign]
    tap = TappedTransport(inner, options=TapOptions(on_event=events.append))
    response = tap.handle_request(library.Request("POST", URL, json={}))

    assert list(response.stream) == answer.chunks
    assert [event.cost.total for event in events] == [0.0123]


STORED = {
    "gzip": lambda events: _flushed(zlib.compressobj(0, zlib.DEFLATED, 31), events),
    "zstd": lambda events: [zstandard.ZstdCompressor(level=-50).compress(b"".join(events))],
}


def _flushed(packer: Any, events: list[bytes]) -> list[bytes]:
    return [*[packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH) for event in events], packer.flush()]


@pytest.mark.parametrize("coding", STORED)
@pytest.mark.parametrize("endpoint", ["responses", "messages", "chat/completions"])
async def test_text_that_shines_through_its_coding(
    endpoint: str, coding: str, library: ModuleType, is_async: bool, logs: object
) -> None:
    """What is packed without being packed looks like events; they are read where they are text, and whole."""
    events = {
        "responses": [
            b'data: {"type":"response.output_text.delta","delta":"word"}\n\n',
            b'data: {"type":"response.completed","response":{"id":"r-1","model":"m","usage":{"cost":0.0123}}}\n\n',
        ],
        "messages": [
            b'data: {"type":"message_start","message":{"id":"gen-1","model":"m","usage":{"input_tokens":3}}}\n\n',
            b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"word"}}\n\n',
            b'data: {"type":"message_delta","delta":{},"usage":{"output_tokens":2,"cost":0.0123}}\n\n',
            b'data: {"type":"message_stop"}\n\n',
        ],
        "chat/completions": stream(),
    }[endpoint]
    pieces = STORED[coding](events)
    called = Called(library, coded(coding, b"", "text/event-stream"), is_async=is_async)
    called.answer.chunks = [part[at : at + 7] for part in pieces for at in range(0, len(part), 7)]

    assert "".join(await called.take("text", URL.replace("chat/completions", endpoint))) == b"".join(events).decode()
    event = called.event
    assert (event.outcome, event.cost.total) == ("completed", 0.0123)
    assert 0 <= sum(map(len, called.answer.chunks)) - event.bytes_in < 24  # what comes behind the last event
    assert event.ttft_ms is not None


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("application/json", dumps(message())[:-40]),
        ("application/json", b"<html>"),
        ("text/event-stream", b": a comment\n\n" * 3),
    ],
    ids=["cut", "no JSON", "comments"],
)
async def test_what_is_cut_or_no_reply_has_failed(
    kind: str, text: bytes, coding: str, library: ModuleType, is_async: bool, logs: object
) -> None:
    """In any coding, as without one."""
    called = Called(library, coded(coding, text, kind), is_async=is_async)
    await called.take("bytes")

    assert called.event.outcome == "failed"


async def test_messages_left_at_their_last_event(library: ModuleType, is_async: bool, logs: object) -> None:
    """``message_stop`` is the end in a coding, too."""
    events = [
        b'data: {"type":"message_start","message":{"id":"gen-1","model":"m","usage":{"input_tokens":3}}}\n\n',
        b'data: {"type":"message_delta","delta":{},"usage":{"output_tokens":2,"cost":0.0123}}\n\n',
        b'data: {"type":"message_stop"}\n\n',
    ]
    called = Called(library, coded("gzip", b"".join(events), "text/event-stream"), is_async=is_async)
    called.answer.chunks.append(b"")
    reply = await called.caller.send(url=URL.replace("chat/completions", "messages"), json={"model": "m"})
    async with aclosing(called.caller.chunks(reply, "lines")) as lines:
        async for line in lines:
            if "message_stop" in line:
                break
    await called.caller.close(reply)

    assert (called.event.outcome, called.event.cost.total) == ("completed", 0.0123)


async def test_a_bomb_under_the_name_of_a_stream(library: ModuleType, logs: object) -> None:
    """What holds far more than came is looked at up to 8 MiB."""
    looked_at = 0
    call = TappedTransport(Replay(library, coded("zstd", b'"content" ' * (1 << 21), "text/event-stream")))
    response = call.handle_request(library.Request("POST", URL))
    opens = SseStream._opens

    def count(stream: Any, text: bytes) -> bool:
        nonlocal looked_at
        looked_at += len(text)
        return opens(stream, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SseStream, "_opens", count)
        assert len(response.read()) == 10 << 21

    assert looked_at <= 21 << 20
