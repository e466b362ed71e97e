"""The loggers that are compared: ours, its channel for typed events, and the recipe of the standard library.

Each is a context manager: it takes an empty folder, gives the function that logs one event, and at its end all events
are in files.
"""

from __future__ import annotations

import itertools
import json
import logging
import logging.handlers
import queue
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cipherlog_core
from openrouter_tap import CallEvent

__all__ = [
    "Emit",
    "Logger",
    "bridged",
    "channel",
    "in_context",
    "nothing",
    "ours",
    "recipe",
    "recipe_in_context",
]

Emit = Callable[[Any], object]
Logger = Callable[[Path], AbstractContextManager[Emit]]

_SEGMENT = 10 << 20  # bytes; that of ours is the same by default
_KEEP_ALL = 1000

CONTEXT: dict[str, object] = {"session_id": "s-4711", "request_id": "r-0815-af31", "user": "u-23", "tenant": "acme"}

_costs = cipherlog_core.channel("openrouter-costs", CallEvent, event="openrouter_cost", logger="openrouter_tap")


@contextmanager
def nothing(folder: Path) -> Iterator[Emit]:  # noqa: ARG001
    """No logger: what the clock and one call of a function take."""

    def emit(fields: dict[str, object]) -> None:
        pass

    yield emit


@contextmanager
def ours(folder: Path) -> Iterator[Emit]:
    """`cipherlog_core.Logger.event`."""
    log = cipherlog_core.start("bench", settings=cipherlog_core.Settings(dir=str(folder)))

    def emit(fields: dict[str, Any]) -> None:
        log.event("tool_call", **fields)

    try:
        yield emit
    finally:
        cipherlog_core.stop()


@contextmanager
def in_context(folder: Path) -> Iterator[Emit]:
    """The same within `bind`, with sampling of HTTP events on."""
    settings = cipherlog_core.Settings(dir=str(folder), sample_http=10)
    log = cipherlog_core.start("bench", settings=settings)

    def emit(fields: dict[str, Any]) -> None:
        log.event("request", **fields)

    try:
        with cipherlog_core.bind(**CONTEXT):
            yield emit
    finally:
        cipherlog_core.stop()


@contextmanager
def bridged(folder: Path) -> Iterator[Emit]:
    """A plain record of `logging`, through `CipherHandler`."""
    logger = logging.Logger("bench", logging.INFO)  # noqa: LOG001  one that no other part of the program can reach
    logger.addHandler(cipherlog_core.CipherHandler("bench"))

    def emit(fields: dict[str, Any]) -> None:
        logger.info("tool_call", extra=fields)

    with ours(folder):
        yield emit


@contextmanager
def channel(folder: Path) -> Iterator[Emit]:
    """`cipherlog_core.Channel.emit` as the tap calls it, with the ids that it gives."""

    def emit(event: CallEvent) -> None:
        _costs.emit_with_ids(event, None, None, event.generation_id)

    with ours(folder):
        yield emit


@contextmanager
def recipe_in_context(folder: Path) -> Iterator[Emit]:
    """The same with a filter that takes what is bound from a context variable, and samples as ours does."""
    bound: ContextVar[dict[str, object]] = ContextVar("bound")
    bound.set(CONTEXT)

    def add_context(record: logging.LogRecord) -> bool:
        if record.levelno == logging.DEBUG and record.msg == "http" and hash(bound.get()["session_id"]) % 10:
            return False
        record.__dict__["fields"] = {**bound.get(), **record.__dict__["fields"]}
        return True

    with recipe(folder, add_context) as emit:
        yield emit


@contextmanager
def recipe(folder: Path, filter_: Callable[[logging.LogRecord], bool] | None = None) -> Iterator[Emit]:
    """``QueueHandler``, ``QueueListener`` and ``RotatingFileHandler`` with a formatter that writes JSON.

    The listener's thread formats and writes. The queue is unbounded, so the caller never waits and nothing is lost.
    """
    files = logging.handlers.RotatingFileHandler(
        folder / "bench.jsonl", maxBytes=_SEGMENT, backupCount=_KEEP_ALL, encoding="utf-8"
    )
    files.setFormatter(_JsonFormatter())
    waiting: queue.Queue[logging.LogRecord] = queue.Queue()
    listener = logging.handlers.QueueListener(waiting, files)
    logger = logging.Logger("bench", logging.INFO)  # noqa: LOG001  one that no other part of the program can reach
    logger.addHandler(logging.handlers.QueueHandler(waiting))
    if filter_:
        logger.addFilter(filter_)

    def emit(fields: dict[str, object]) -> None:
        logger.info("tool_call", extra={"fields": fields})

    listener.start()
    try:
        yield emit
    finally:
        listener.stop()
        files.close()


class _JsonFormatter(logging.Formatter):
    """The keys of our records."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count()

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = record.__dict__["fields"]
        line = {
            "schema": 1,
            "id": f"{record.created:.6f}-{next(self._numbers):016x}",
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "server": "bench",
            "event": record.getMessage(),
            "thread": record.threadName,
            "tool": None,
            "session_id": None,
            "request_id": fields.get("generation_id"),
            "fields": fields,
        }
        return json.dumps(line, separators=(",", ":"))
