"""The caller of a tapped client sees what the caller of a client without the tap sees, whatever the reply is."""

from __future__ import annotations

import gc
import gzip
import random
import zlib
from types import ModuleType
from typing import Any

import anyio
import anyio.lowlevel
import brotli
import pytest
import zstandard
from callers import HOWS, Answer, Caller, Replay, seen
from conftest import Logs
from replies import COMMENT, chunk, dumps, message, stream

from openrouter_tap import CallEvent, TapOptions, TappedTransport

TURNS = 50
SEED = 20261124
TEXTS = ["an answer", "Grüße, 世界 🌍", "[DONE]", '"usage":', "\u2028", "line\nline", "x" * 3000]
ERRORS = ["ReadError", "ReadTimeout", "RemoteProtocolError", "CloseError", "DecodingError"]
TYPES = ["application/json", "text/event-stream", "text/event-stream; charset=utf-8", "TEXT/Event-Stream", "text/html"]


def _events(rng: random.Random) -> list[bytes]:
    """A stream of one of three endpoints, with comments, errors and what else comes anywhere in it."""
    if rng.random() < 0.3:
        events = [
            b'event: response.created\ndata: {"type":"response.created","response":{"id":"resp-1"}}\n\n',
            b'data: {"type":"response.output_text.delta","delta":"%b"}\n\n' % rng.choice(TEXTS[:2]).encode(),
            b'data: {"type":"response.completed","response":{"id":"r","usage":{"input_tokens":3,"cost":0.1}}}\n\n',
        ]
    else:
        events = stream(rng.randint(0, 6))
        events[1] = chunk({"content": rng.choice(TEXTS)})
    for _ in range(rng.randint(0, 3)):
        extra = [COMMENT, b"\n", b"id: 7\nretry: 10\n\n", b"data:\n\n", b'data: {"error":{"code":502}}\n\n', b"da"]
        events.insert(rng.randint(0, len(events)), rng.choice(extra))
    return events


def _cut(rng: random.Random, data: bytes) -> list[bytes]:
    """*data* in chunks: whole, of one byte, or cut anywhere, empty ones among them."""
    way = rng.random()
    if way < 0.1:
        return [data]
    if way < 0.2 and len(data) < 3000:
        return [data[at : at + 1] for at in range(len(data))]
    places = sorted(rng.randint(0, len(data)) for _ in range(rng.randint(1, 20)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


def _coded(rng: random.Random, data: bytes) -> tuple[bytes, list[tuple[str, str]]]:
    coding = rng.choice(["", "", "", "gzip", "deflate", "raw deflate", "gzip, gzip", "br", "zstd", "none of these"])
    if coding == "gzip":
        data = gzip.compress(data, mtime=0)
    elif coding == "deflate":
        data = zlib.compress(data)
    elif coding == "raw deflate":
        data, coding = zlib.compress(data, wbits=-15), "deflate"
    elif coding == "br":
        data = brotli.compress(data, quality=1)
    elif coding == "zstd":
        data = zstandard.ZstdCompressor(level=1).compress(data)
    elif coding == "gzip, gzip":
        data = gzip.compress(gzip.compress(data, mtime=0), mtime=0)
    if rng.random() < 0.1:
        data = data[: rng.randint(0, len(data))]
    elif rng.random() < 0.1:
        data += rng.choice([b"\n", b"\x00", b"trailing", b"\x1f\x8b"])
    return data, [("Content-Encoding", coding)] if coding else []


def generated(rng: random.Random, library: ModuleType) -> Answer:
    """A reply, well formed or not."""
    events = None
    if rng.random() < 0.55:
        events = [event.replace(b"\n", rng.choice([b"\n", b"\n", b"\r\n", b"\r"])) for event in _events(rng)]
        data = b"".join(events)
    elif rng.random() < 0.6:
        data = dumps(message(rng.choice(TEXTS))) + b" " * rng.choice([0, 0, 1 << 21])
    else:
        data = rng.choice([b"", b"", b"{", b"\xff\xfe", b"null", dumps({"error": {"code": 402}}), rng.randbytes(300)])
    headers = [("Content-Type", rng.choice(TYPES[1:] if events and rng.random() < 0.9 else TYPES)), ("X-One", "1")]
    if events and rng.random() < 0.4:
        chunks = events
    else:
        data, coding = _coded(rng, data)
        chunks, headers = _cut(rng, data), headers + coding
    headers += rng.sample([("x-one", "2"), ("Set-Cookie", "a=b"), ("X-Generation-Id", "gen-1")], rng.randint(0, 3))
    error = getattr(library, rng.choice(ERRORS))("in mid-body") if rng.random() < 0.7 else OSError("of the socket")
    return Answer(
        chunks if rng.random() < 0.9 else chunks[: rng.randint(0, len(chunks))],
        headers,
        rng.choice([200] * 8 + [201, 204, 402, 429, 500, 503]),
        error if rng.random() < 0.15 else None,
        error if rng.random() < 0.03 else None,
        is_read=rng.random() < 0.05,
        extensions={"http_version": b"HTTP/1.1", "reason_phrase": b"Fine", "own": rng.random()},
    )


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("count", [150, pytest.param(5000, marks=pytest.mark.soak)])
async def test_with_and_without_the_tap(
    count: int, is_async: bool, library: ModuleType, events: list[CallEvent], logs: Logs
) -> None:
    """Bytes, their cuts, exceptions, headers, extensions, states and closes are the same; each reply is one event."""
    print("seed", SEED)
    gc.collect()
    gc.freeze()  # what pytest holds would make each collection slow
    rng = random.Random(SEED)
    options = TapOptions(on_event=events.append)
    for number in range(count):
        answer, how = generated(rng, library), rng.choice(HOWS)
        request: dict[str, Any] = {"json": {"model": "m", "stream": True}}

        plain = Replay(library, answer)
        expected = await seen(Caller(library, plain, is_async=is_async), plain, how, **request)
        inner = Replay(library, answer)
        tapped = Caller(library, TappedTransport(inner, options=options), is_async=is_async)
        found = await seen(tapped, inner, how, **request)

        assert found == expected, (number, how, answer)
        for _ in range(TURNS):  # an event loop closes one after another what a reader has let go
            if len(events) == number + 1:
                break
            await anyio.lowlevel.checkpoint()
        assert len(events) == number + 1, (number, how, answer)
    gc.unfreeze()
