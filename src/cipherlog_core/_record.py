"""The head of every record: the same keys in the same order, built from parts that are encoded once."""

from __future__ import annotations

import itertools
import os
import secrets
import threading
import time

from cipherlog_core._encode import encode_text

__all__ = ["Origin", "head", "name_server", "renew", "server_name"]

_HEAD = b'{"schema":1,"id":"%016x%b%06x","ts":"%b.%06dZ",%b,"thread":%b,%b,"fields":'
_MANY = 1024  # different names after which a cache is emptied

_counter = itertools.count()
_thread_names: dict[str, bytes] = {}
_local = threading.local()
_second: tuple[int, bytes] = (-1, b"")  # one tuple, so that no thread sees half of another's
_origins: list[Origin] = []
_server: str | None = None

pid = -1
_process = b""


class Origin:
    """A logger as the source of events. *server* None: the name of the process's first server."""

    def __init__(self, logger: str, server: str | None = None) -> None:
        self._logger = logger
        self._server = server
        self._prefixes: dict[tuple[str, str], bytes] = {}
        _origins.append(self)

    def prefix(self, level: str, event: str) -> bytes:
        """The members that all *event* events of this *level* share."""
        return self._prefixes.get((level, event)) or self._encode(level, event)

    def forget(self) -> None:
        """Encode anew: the process or its name has changed."""
        self._prefixes.clear()

    def _encode(self, level: str, event: str) -> bytes:
        prefix = b'"level":"%b","logger":%b,"pid":%d,"server":%b,"event":%b' % (
            level.encode(),
            encode_text(self._logger),
            pid,
            encode_text(self._server or server_name()),
            encode_text(event),
        )
        if len(self._prefixes) >= _MANY:
            self._prefixes.clear()
        self._prefixes[level, event] = prefix
        return prefix


def head(prefix: bytes, ids: bytes) -> bytes:
    """A record up to the value of its ``fields``, with the id and the time of now."""
    ns = time.time_ns()
    micros = ns // 1000
    second, date = _second
    if micros // 1_000_000 != second:
        date = _new_second(micros // 1_000_000)
    return _HEAD % (
        ns,
        _process,
        next(_counter) & 0xFFFFFF,
        date,
        micros % 1_000_000,
        prefix,
        _thread_name(),
        ids,
    )


def _new_second(second: int) -> bytes:
    global _second
    date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
    _second = second, date
    return date


def _thread_name() -> bytes:
    try:
        thread = _local.thread
    except AttributeError:
        thread = _local.thread = threading.current_thread()
    name = thread.name
    return _thread_names.get(name) or _new_thread_name(name)


def _new_thread_name(name: str) -> bytes:
    if len(_thread_names) >= _MANY:
        _thread_names.clear()
    encoded = _thread_names[name] = encode_text(name)
    return encoded


def server_name() -> str | None:
    """The name given to the process's first `start`, else ``OTEL_SERVICE_NAME``."""
    return _server or os.environ.get("OTEL_SERVICE_NAME") or None


def name_server(name: str) -> None:
    """Take *name* for the process's server, if it is the first."""
    global _server
    if _server is None:
        _server = name
        _forget_prefixes()


def renew() -> None:
    """Take a new identity, so that ids stay unique: at import and in a forked child."""
    global pid, _process
    pid, _process = os.getpid(), secrets.token_hex(5).encode()
    _forget_prefixes()


def _forget_prefixes() -> None:
    for origin in _origins:
        origin.forget()


renew()
