"""The head of every record: the same keys for all, and what does not change encoded once.

`head` is bent for speed (benchmarks/emit.py). What it shares with `Channel.emit_with_ids` is written out in both: one
reading of the clock for the time and the id (microseconds, then what is unique to this process, then a count), and the
name that the current thread has now.
"""

from __future__ import annotations

import itertools
import os
import secrets
import threading
import time
import weakref

from cipherlog_core._encode import encode_text, text_or_none
from cipherlog_core._fork import mark

__all__ = ["Origin", "head", "head_of", "identity", "name_server", "renew", "server_name", "stamp_at"]

_LATEST = 1e10  # seconds after 1970 that an id has room for
_MANY = 1024  # different names after which a cache is emptied

now = time.time_ns
count_up = itertools.count().__next__
this_second: tuple[int, str] = (-1, "")  # one tuple, so that no thread sees half of another's
local = threading.local()
_thread_names: dict[str, str] = {}  # as JSON
clean_names: dict[str, str] = {}
"""Names of threads as they are written."""
_server: str | None = None

pid = -1
identity = object()
"""Another object whenever process or server are others: what was encoded for them is then to be encoded anew."""
_origins: weakref.WeakSet[Origin] = weakref.WeakSet()
suffixes: list[str] = []


class Origin:
    """A logger as the source of events. *server* None: the name of the process's first server."""

    def __init__(self, logger: str, server: str | None = None) -> None:
        self._logger = logger
        self._server = server
        self.prefixes: dict[tuple[str, str], str] = {}
        """What `prefix` has given, by level and event; emptied when process or server are others."""
        _origins.add(self)

    def prefix(self, level: str, event: str, written: str | None = None) -> str:
        """The members, as JSON, that all *event* events of this *level* share; *written* replaces its name."""
        if len(self.prefixes) >= _MANY:
            self.prefixes.clear()
        prefix = self.prefixes[level, event] = self.prefix_of(level, written or event, pid)
        return prefix

    def prefix_of(self, level: str, event: str, of_pid: int) -> str:
        """The same for the process *of_pid*."""
        values = level, self._logger, self._server or server_name(), event
        level_, logger, server, event_ = (encode_text(value).decode() for value in values)
        return f'"level":{level_},"logger":{logger},"pid":{of_pid},"server":{server},"event":{event_}'


def thread_name() -> str:
    local.thread = threading.current_thread()
    return threading.current_thread().name


def stamp_at(seconds: float) -> tuple[str, str]:
    """The time text and the id of a record that was made *seconds* after 1970."""
    if not 0 <= seconds < _LATEST:
        seconds = time.time()
    micros = int(seconds * 1_000_000)
    second, date = this_second
    if micros // 1_000_000 != second:
        date = _date(micros // 1_000_000)
    digits = f"{micros:016}"
    return f"{date}{digits[-6:]}Z", digits + suffixes[count_up() & 0xFFF]


def new_second(second: int) -> str:
    global this_second
    this_second = second, _date(second)
    return this_second[1]


def _date(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))


def head(prefix: str, ids: str) -> bytes:
    """A record of here and now, up to the value of its ``fields``."""
    micros = now() // 1000
    second, date = this_second
    if micros // 1_000_000 != second:
        date = new_second(micros // 1_000_000)
    digits = str(micros)
    try:
        name = local.thread._name  # noqa: SLF001  .name is a function of Python, and dearer than all the rest here
    except AttributeError:
        name = thread_name()
    thread = _thread_names.get(name) or _new_thread_name(name)
    return (
        f'{{"schema":1,"id":"{digits}{suffixes[count_up() & 0xFFF]}","ts":"{date}{digits[-6:]}Z",'
        f'{prefix},"thread":{thread},{ids},"fields":'
    ).encode()


def head_of(ts: str, id_: str, name: str, prefix: str, ids: str) -> bytes:
    """A record of the thread *name*, up to the value of its ``fields``."""
    thread = _thread_names.get(name) or _new_thread_name(name)
    return f'{{"schema":1,"id":"{id_}","ts":"{ts}",{prefix},"thread":{thread},{ids},"fields":'.encode()


def _new_thread_name(name: str) -> str:
    if len(_thread_names) >= _MANY:
        _thread_names.clear()
    encoded = _thread_names[name] = encode_text(name).decode()
    return encoded


def server_name() -> str | None:
    """The name given to the process's first `start`, else ``OTEL_SERVICE_NAME``."""
    return _server or os.environ.get("OTEL_SERVICE_NAME") or None


def new_clean_name(name: str) -> str:
    if len(clean_names) >= _MANY:
        clean_names.clear()
    cleaned = clean_names[name] = text_or_none(name) or ""
    return cleaned


def name_server(name: str) -> None:
    """Take *name* for the process's server, if it is the first."""
    global _server, identity
    if _server is None:
        _server, identity = name, object()
        _forget_prefixes()


def renew() -> None:
    """Take a new identity, so that ids stay unique: at import and in a forked child."""
    global pid, suffixes, identity
    mark()
    process = secrets.token_hex(5)
    pid, suffixes, identity = os.getpid(), [f"{process}{count:03x}" for count in range(0x1000)], object()
    _forget_prefixes()


def _forget_prefixes() -> None:
    for origin in _origins:
        origin.prefixes = {}


renew()
