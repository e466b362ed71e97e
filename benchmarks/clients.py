"""The four kinds of client, with a stub in place of the network or over real HTTP, and their calls, timed one by one.

A stub's replies are there at once, so all that is measured is work of Python. JSON is fetched by ``client.post``, a
stream of events by ``client.stream`` and ``aiter_raw`` or ``iter_raw``: the leanest ways, so that nothing hides what is
added.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from benchmarks.data import HEADERS, URL, Exchange

__all__ = ["ClientKind"]

_clock = time.perf_counter_ns


@dataclass(frozen=True, slots=True)
class ClientKind:
    """A client of one library: sync, or async if there is a *run* that runs a coroutine."""

    library: ModuleType
    run: Callable[[Any], Any] | None = None
    url: str = URL
    """Where calls go to: without network if it is OpenRouter's."""

    def __str__(self) -> str:
        return f"{self.library.__name__} {'async' if self.run else 'sync'}"

    def transport(self) -> Any:
        """A stub that answers each request with its ``exchange``; the real one, where a server does."""
        if self.url != URL:
            return self.library.AsyncHTTPTransport() if self.run else self.library.HTTPTransport()
        return _async_stub(self.library) if self.run else _sync_stub(self.library)

    def client(self, transport: Any, **options: Any) -> Any:
        client = self.library.AsyncClient if self.run else self.library.Client
        return client(transport=transport, **options)

    def close(self, client: Any) -> None:
        if self.run:
            self.run(client.aclose())
        else:
            client.close()

    def calls(self, client: Any, inner: Any, exchanges: Sequence[Exchange], *, streamed: bool) -> list[int]:
        """Have *exchanges* through *client* and its *inner* transport one after the other; the nanoseconds of each."""
        if self.run is None:
            return (_stream if streamed else _post)(client, inner, exchanges, self.url)
        calls = (_async_stream if streamed else _async_post)(client, inner, exchanges, self.url)
        nanoseconds: list[int] = self.run(calls)
        return nanoseconds


def _async_stub(library: Any) -> Any:
    class Body(library.AsyncByteStream):
        def __init__(self, chunks: list[bytes]) -> None:
            self.chunks = chunks

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in self.chunks:
                yield chunk

    class Stub(library.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any:  # noqa: ARG002
            return library.Response(200, headers=self.exchange.headers, stream=Body(self.exchange.chunks))

    return Stub()


def _sync_stub(library: Any) -> Any:
    class Body(library.SyncByteStream):
        def __init__(self, chunks: list[bytes]) -> None:
            self.chunks = chunks

        def __iter__(self) -> Iterator[bytes]:
            yield from self.chunks

    class Stub(library.BaseTransport):
        def handle_request(self, request: Any) -> Any:  # noqa: ARG002
            return library.Response(200, headers=self.exchange.headers, stream=Body(self.exchange.chunks))

    return Stub()


async def _async_post(client: Any, inner: Any, exchanges: Sequence[Exchange], url: str) -> list[int]:
    nanoseconds = []
    for exchange in exchanges:
        inner.exchange = exchange
        start = _clock()
        await client.post(url, content=exchange.request, headers=HEADERS)
        nanoseconds.append(_clock() - start)
    return nanoseconds


async def _async_stream(client: Any, inner: Any, exchanges: Sequence[Exchange], url: str) -> list[int]:
    nanoseconds = []
    for exchange in exchanges:
        inner.exchange = exchange
        start = _clock()
        async with client.stream("POST", url, content=exchange.request, headers=HEADERS) as response:
            async for _ in response.aiter_raw():
                pass
        del response  # what its end costs belongs to the call
        nanoseconds.append(_clock() - start)
    return nanoseconds


def _post(client: Any, inner: Any, exchanges: Sequence[Exchange], url: str) -> list[int]:
    nanoseconds = []
    for exchange in exchanges:
        inner.exchange = exchange
        start = _clock()
        client.post(url, content=exchange.request, headers=HEADERS)
        nanoseconds.append(_clock() - start)
    return nanoseconds


def _stream(client: Any, inner: Any, exchanges: Sequence[Exchange], url: str) -> list[int]:
    nanoseconds = []
    for exchange in exchanges:
        inner.exchange = exchange
        start = _clock()
        with client.stream("POST", url, content=exchange.request, headers=HEADERS) as response:
            for _ in response.iter_raw():
                pass
        del response
        nanoseconds.append(_clock() - start)
    return nanoseconds
