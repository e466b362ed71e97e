"""Servers on 127.0.0.1 for these tests (HTTP/2, TLS, a proxy that counts), and a transport that retries."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from inspect import isawaitable
from typing import Any

import trustme
from hypercorn.asyncio import serve
from hypercorn.config import Config
from replies import message, stream
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

CHAT = "/api/v1/chat/completions"
AUTHORITY = trustme.CA()
_TAKEN = socket.socket()


async def done(result: Any) -> Any:
    """The result of a call of either kind."""
    return await result if isawaitable(result) else result


@cache
def free_port() -> int:
    """A port that nobody listens on, nor will: it is taken."""
    _TAKEN.bind(("127.0.0.1", 0))
    return _TAKEN.getsockname()[1]


class App(Starlette):
    """Answers like OpenRouter, counts the requests it gets, and fails as often as the header ``x-fail`` says."""

    def __init__(self) -> None:
        routes = [
            Route(CHAT, self.chat, methods=["GET", "POST"]),
            Route("/moved", lambda _: RedirectResponse(CHAT, 307), methods=["POST"]),
            Route("/api/v1/guarded/chat/completions", self.guarded, methods=["POST"]),
        ]
        super().__init__(routes=routes)
        self.seen: Counter[str] = Counter()

    async def chat(self, request: Request) -> Response:
        key = request.headers.get("x-key", "")
        self.seen[key] += 1
        if self.seen[key] <= int(request.headers.get("x-fail", "0")):
            return JSONResponse({"error": {"code": 503, "message": "busy"}}, 503)
        if json.loads(await request.body() or b"{}").get("stream"):
            return StreamingResponse(self.chunks(request), media_type="text/event-stream")
        return JSONResponse(message())

    async def chunks(self, _request: Request) -> AsyncIterator[bytes]:
        for chunk in stream():
            yield chunk
            await asyncio.sleep(0)

    async def guarded(self, request: Request) -> Response:
        if not request.headers.get("authorization", "").startswith("Digest "):
            challenge = 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'
            return JSONResponse({}, 401, {"WWW-Authenticate": challenge})
        return JSONResponse(message())


@contextmanager
def threaded(main: Callable[[Callable[[], Awaitable[None]]], Coroutine[Any, Any, None]]) -> Iterator[None]:
    """Run *main* in a thread; what it is given it awaits when it is up, and until it shall end."""
    is_up, here = threading.Event(), []

    async def up() -> None:
        stopped = asyncio.Event()
        here.append((asyncio.get_running_loop(), stopped))
        is_up.set()
        await stopped.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main(up)))
    thread.start()
    assert is_up.wait(10)
    try:
        yield
    finally:
        ((loop, stopped),) = here
        loop.call_soon_threadsafe(stopped.set)
        thread.join(10)


@contextmanager
def hypercorn(app: Any, *, tls: bool = False) -> Iterator[str]:
    """Serve *app* from a thread, over HTTP/1.1 and HTTP/2; with *tls* under a certificate of `AUTHORITY`."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port, config = listener.getsockname()[1], Config()
        config.bind = [f"fd://{os.dup(listener.fileno())}"]
    config.graceful_timeout, config.errorlog = 1, None
    with ExitStack() as files:
        if tls:
            certificate = AUTHORITY.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
            config.certfile = config.keyfile = files.enter_context(certificate.tempfile())
        files.enter_context(threaded(lambda up: serve(app, config, shutdown_trigger=up)))
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"


class Proxy:
    """Forwards and tunnels; `seen` are the request lines that it got."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.url = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b" ", 2)
        self.seen.append(f"{method.decode()} {target.decode()}")
        host, _, port = target.removeprefix(b"http://").partition(b"/")[0].partition(b":")
        to_reader, to_writer = await asyncio.open_connection(host.decode(), int(port))
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            to_writer.write(head.replace(b"http://%b:%b" % (host, port), b"", 1))
        await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@contextmanager
def proxying() -> Iterator[Proxy]:
    """A proxy that runs in a thread."""
    proxy = Proxy()

    async def main(up: Callable[[], Awaitable[None]]) -> None:
        server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await up()
        server.close()

    with threaded(main):
        yield proxy


class Retry:
    """A transport that tries three times, for all four clients, and then gives what it got last."""

    def __init__(self, inner: Any, raises: Callable[[], BaseException] | None = None) -> None:
        self.inner, self.raises = inner, raises

    async def handle_async_request(self, request: Any) -> Any:
        return await self._handle(request, self.inner.handle_async_request, "aclose")

    def handle_request(self, request: Any) -> Any:
        coroutine = self._handle(request, self.inner.handle_request, "close")
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError

    async def _handle(self, request: Any, send: Callable[[Any], Any], close: str) -> Any:
        last: Any = None
        for attempt in range(3):
            try:
                last = await done(send(request))
            except Exception as error:
                last = error
            else:
                if last.status_code < 500 or (attempt == 2 and self.raises is None):
                    return last
                await done(getattr(last, close)())
        raise last if self.raises is None else self.raises()

    async def aclose(self) -> None:
        await self.inner.aclose()

    def close(self) -> None:
        self.inner.close()
