"""A server on loopback that misbehaves as the path of the request asks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from replies import dumps, message, stream

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n"
_JSON = _HEAD % b"application/json"
_SSE = _HEAD % b"text/event-stream" + b"Transfer-Encoding: chunked\r\n\r\n"
_BODY = dumps(message())


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _whole(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


_EVENTS = [chunked(event) for event in stream()]
_ERROR = chunked(b'data: {"error":{"code":502,"metadata":{"error_type":"provider_unavailable"}},"choices":[]}\n\n')

# What is sent for each path, and whether the connection then hangs (else it is kept for the next request, or closed).
REPLIES: dict[str, tuple[bytes, str]] = {
    "json": (_whole(b"200 OK", _BODY), "keep"),
    "stream": (_SSE + b"".join(_EVENTS) + b"0\r\n\r\n", "keep"),
    "429": (_whole(b"429 Too Many Requests", dumps({"error": {"code": 429}})), "keep"),
    "error-in-json": (_whole(b"200 OK", dumps({"error": {"code": 402}})), "keep"),
    "error-in-stream": (_SSE + b"".join(_EVENTS[:4]) + _ERROR + b"0\r\n\r\n", "keep"),
    "no-reply": (b"", "hang"),
    "garbage": (b"\x00\x01 this is no HTTP\r\n\r\n", "close"),
    "cut": (_JSON + b"Content-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY[:60]), "close"),
    "cut-stream": (_SSE + b"".join(_EVENTS[:4]), "close"),
    "gone": (b"", "close"),
    "stalled": (_SSE + b"".join(_EVENTS[:4]), "hang"),
    "done-stalled": (_SSE + b"".join(_EVENTS), "hang"),
    "upgrade": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n", "hang"),
}


class FaultyServer:
    """Answers ``/<name>/...`` with ``REPLIES[name]``; one thread a connection."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.origin = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.open: set[socket.socket] = set()
        self.threads: list[threading.Thread] = []

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.settimeout(20)
            self.open.add(connection)
            thread = threading.Thread(target=self._serve, args=[connection], daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as lines:
                if connection.recv(1, socket.MSG_PEEK) == b"\x16":  # TLS
                    return
                while first := lines.readline():
                    length = 0
                    while (line := lines.readline()) not in (b"\r\n", b""):
                        if line.lower().startswith(b"content-length:"):
                            length = int(line.split(b":")[1])
                    lines.read(length)
                    method, path, _ = first.split(b" ", 2)
                    reply, then = REPLIES[path.decode().split("/")[1]]
                    if method == b"HEAD":
                        reply = reply[: reply.index(b"\r\n\r\n") + 4]
                    connection.sendall(reply)
                    if then == "close":
                        return
                    if then == "hang":
                        lines.read(1)  # until the client goes
        except (OSError, ValueError):
            return  # the client went, or spoke another protocol
        finally:
            self.open.discard(connection)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in list(self.open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self.threads:
            thread.join(5)


@contextmanager
def faulty_server() -> Iterator[FaultyServer]:
    server = FaultyServer()
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(5)


@contextmanager
def hung_port() -> Iterator[str]:
    """An origin whose backlog is full: a connection to it is never made."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            fillers.append(filler)
        try:
            yield f"http://127.0.0.1:{address[1]}"
        finally:
            for filler in fillers:
                filler.close()


_TAKEN = socket.socket()


@cache
def refused() -> str:
    """An origin where nobody listens, nor will: the port is taken."""
    _TAKEN.bind(("127.0.0.1", 0))
    return f"http://127.0.0.1:{_TAKEN.getsockname()[1]}"
