"""Servers on 127.0.0.1 for these tests: one that speaks HTTP/2 and TLS, a proxy that counts, an app that misbehaves."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
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


def free_port() -> int:
    """A port that nobody listens on."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


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
            return StreamingResponse(self.chunks(), media_type="text/event-stream")
        return JSONResponse(message())

    async def chunks(self) -> AsyncIterator[bytes]:
        for chunk in stream():
            yield chunk
            await asyncio.sleep(0)

    async def guarded(self, request: Request) -> Response:
        if not request.headers.get("authorization", "").startswith("Digest "):
            challenge = 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'
            return JSONResponse({}, 401, {"WWW-Authenticate": challenge})
        return JSONResponse(message())


@contextmanager
def hypercorn(app: Any, *, tls: bool = False) -> Iterator[str]:
    """Serve *app* from a thread, over HTTP/1.1 and HTTP/2; with *tls* under a certificate of `AUTHORITY`."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port, config = listener.getsockname()[1], Config()
        config.bind = [f"fd://{os.dup(listener.fileno())}"]
    config.graceful_timeout, config.errorlog = 1, None
    if tls:
        certificate = AUTHORITY.issue_cert("127.0.0.1")
        create = config.create_ssl_context

        def with_certificate() -> Any:
            context = create()
            certificate.configure_cert(context)
            return context

        config.certfile = config.keyfile = os.devnull
        config.create_ssl_context = with_certificate
    loop, stopped, is_up = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    async def trigger() -> None:
        is_up.set()
        await stopped.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(app, config, shutdown_trigger=trigger),))
    thread.start()
    try:
        assert is_up.wait(10)
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(10)
        loop.close()


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
    proxy, loop, is_up, stopped = Proxy(), asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def main() -> None:
        server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        is_up.set()
        await stopped.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    try:
        assert is_up.wait(10)
        yield proxy
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(10)
        loop.close()
