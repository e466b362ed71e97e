"""One of the four clients behind one async surface, a transport that replays a reply, and what a caller sees of it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from replies import URL


@dataclass
class Answer:
    """What the transport gives: *chunks* as they are, then perhaps an error, or an error instead of a reply."""

    chunks: list[bytes] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)
    status: int = 200
    error: Exception | None = None
    fails: Exception | None = None
    is_read: bool = False
    """Whether the reply comes with its body read, as those of mocks do."""
    extensions: dict[str, Any] = field(default_factory=lambda: {"http_version": b"HTTP/1.1"})


class Body:
    """A body that counts how often it is closed."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.closes = 0

    def __iter__(self) -> Iterator[bytes]:
        yield from self.answer.chunks
        if self.answer.error is not None:
            raise self.answer.error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk

    def close(self) -> None:
        self.closes += 1

    async def aclose(self) -> None:
        self.closes += 1


class Replay:
    """A transport of *library* that gives an answer, chunk by chunk."""

    def __init__(self, library: ModuleType, answer: Answer) -> None:
        self.library, self.answer = library, answer
        self.body: Body | None = None
        self.closes = 0

    def handle_request(self, request: Any) -> Any:
        answer = self.answer
        if answer.fails is not None:
            raise answer.fails
        if answer.is_read:
            return self.library.Response(answer.status, headers=answer.headers, content=b"".join(answer.chunks))
        kind = type("Body", (Body, self.library.SyncByteStream, self.library.AsyncByteStream), {})
        self.body = kind(answer)
        return self.library.Response(
            answer.status, headers=answer.headers, stream=self.body, extensions=dict(answer.extensions)
        )

    async def handle_async_request(self, request: Any) -> Any:
        return self.handle_request(request)

    def close(self) -> None:
        self.closes += 1

    async def aclose(self) -> None:
        self.closes += 1


class Caller:
    """A client, sync or async, whose every step is awaited."""

    def __init__(self, library: ModuleType, transport: Any, *, is_async: bool, **options: Any) -> None:
        self.is_async = is_async
        self.client = (library.AsyncClient if is_async else library.Client)(transport=transport, **options)

    async def send(self, method: str = "POST", url: str = URL, **request: Any) -> Any:
        """The reply to a request, its body not read yet."""
        built = self.client.build_request(method, url, **request)
        return await self.resend(built)

    async def resend(self, request: Any) -> Any:
        sent = self.client.send(request, stream=True)
        return await sent if self.is_async else sent

    async def read(self, reply: Any) -> bytes:
        return await reply.aread() if self.is_async else reply.read()

    async def chunks(self, reply: Any, how: str = "raw") -> AsyncIterator[Any]:
        """What ``iter_raw`` and its kin give, closed with the iteration."""
        if self.is_async:
            async with aclosing(getattr(reply, f"aiter_{how}")()) as chunks:
                async for chunk in chunks:
                    yield chunk
        else:
            chunks = getattr(reply, f"iter_{how}")()
            try:
                for chunk in chunks:
                    yield chunk
            finally:
                chunks.close()

    async def close(self, what: Any) -> None:
        await what.aclose() if self.is_async else what.close()

    async def leave(self) -> None:
        """Close the client."""
        await self.close(self.client)


HOWS = ("read", "raw", "bytes", "text", "lines", "left", "left, not closed", "unread", "dropped", "left open", "twice")
"""Ways to take a reply: whole, in pieces of four kinds, left after two of them, or not at all."""


async def _take(caller: Caller, reply: Any, how: str, got: list[Any]) -> None:
    if how == "read":
        got.append(await caller.read(reply))
    elif how in ("left", "left, not closed", "left open"):
        async with aclosing(caller.chunks(reply)) as chunks:
            async for chunk in chunks:
                got.append(chunk)
                if len(got) == 2:
                    break
    elif how not in ("unread", "dropped"):
        async with aclosing(caller.chunks(reply, "raw" if how == "twice" else how)) as chunks:
            async for chunk in chunks:
                got.append(chunk)  # noqa: PERF401  what came before an error counts, too
    if how not in ("left, not closed", "dropped", "left open"):
        await caller.close(reply)
    if how == "twice":
        await caller.close(reply)
        async with aclosing(caller.chunks(reply)) as chunks:
            got.append([chunk async for chunk in chunks])


def _told(error: BaseException) -> tuple[str, str]:
    return type(error).__qualname__, str(error)


async def seen(caller: Caller, transport: Replay, how: str, **request: Any) -> dict[str, Any]:
    """All that a caller who takes the reply in the way *how* can see of it."""
    view: dict[str, Any] = {"got": (got := [])}
    reply = None
    try:
        reply = await caller.send(**request)
        await _take(caller, reply, how, got)
    except Exception as error:
        view["error"] = _told(error), [_told(one) for one in (error.__cause__, error.__context__) if one]
        if reply is not None:
            await caller.close(reply)
    if reply is not None:
        view |= _facts(reply)
    body, reply = transport.body, None
    if how == "dropped":
        gc.collect()
    try:
        await caller.leave()
    except Exception as error:
        view["at the end"] = _told(error)
    if how in ("left, not closed", "left open"):
        for _ in range(3 * caller.is_async):
            await asyncio.sleep(0)  # the loop closes generators that were left
        gc.collect()
    view["closes"] = transport.closes, body and body.closes
    return view


def _facts(reply: Any) -> dict[str, Any]:
    facts = {
        "status": reply.status_code,
        "headers": reply.headers.raw,
        "extensions": dict(reply.extensions),
        "closed": (reply.is_closed, reply.is_stream_consumed),
        "downloaded": reply.num_bytes_downloaded,
        "request": (reply.request.method, str(reply.request.url), reply.request.headers.raw),
        "encoding": reply.encoding,
    }
    for name in ("elapsed", "content", "text"):
        try:
            value = getattr(reply, name)
            facts[name] = value if name != "elapsed" else value.total_seconds() >= 0
        except Exception as error:
            facts[name] = _told(error)
    return facts
