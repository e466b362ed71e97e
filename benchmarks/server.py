"""The server of the runs over real HTTP: a process of its own on 127.0.0.1 that answers what the stubs answer.

A stream is written at once, in HTTP chunks of one event each: how the two processes take turns is then no part of the
figures.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.data import URL, Exchange

__all__ = ["serving"]

_length = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


@contextmanager
def serving() -> Iterator[str]:
    """Serve; the URL that takes the requests."""
    command = [sys.executable, "-m", "benchmarks.server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin
        assert server.stdout
        try:
            yield URL.replace("https://openrouter.ai", f"http://127.0.0.1:{int(server.stdout.readline())}")
        finally:
            server.stdin.close()  # ends it


def answer(request: bytes) -> bytes:
    """The reply to a request's body, as it goes over the wire."""
    exchange = Exchange.of(request)
    head = b"".join(b"%b: %b\r\n" % header for header in exchange.headers)
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in exchange.chunks)
    return b"HTTP/1.1 200 OK\r\n%b\r\n%b0\r\n\r\n" % (head, body)


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, blank, body = self.received.partition(b"\r\n\r\n")
        length = _length.search(head + b"\r\n")
        if blank and length and len(body) >= int(length[1]):  # no client asks again before it has its reply
            self.received = b""
            self.transport.write(answer(body))


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
