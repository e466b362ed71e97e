"""A process that logs for `benchmarks.disk`: ``python -m benchmarks.producers LOGGER MODE FOLDER EVENTS NUMBER``.

It says that it is ready, waits for a line, logs, and tells as JSON when it began, when all was in files, when all that
was put off was done, its CPU time since the start of the logging, and what it knows to have dropped. Modes: "flat out"
(rotation and gzip), "shared" (the same without gzip), "stall" (a log of almost 50 MiB; then paced, each call timed).
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import queue
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import cipherlog_core
from benchmarks.data import call_event
from openrouter_tap import CallEvent

__all__ = ["LOGGERS"]

Emit = Callable[[dict[str, Any]], object]

_SEGMENT, _BIG = 10 << 20, 50 << 20
_GAP = 500_000  # nanoseconds between paced events


class Work:
    """What the logger of a process is to do, and what it tells of itself."""

    def __init__(self, mode: str, folder: Path) -> None:
        self.folder = folder
        self.segment = _BIG if mode == "stall" else _SEGMENT
        self.gzip = mode != "shared"
        self.dropped = 0
        self.written = 0.0
        """When all was in files, where that is before the end."""


@contextmanager
def ours(work: Work) -> Iterator[Emit]:
    """`Logger.event`."""
    settings = cipherlog_core.Settings(
        dir=str(work.folder), rotate_size=work.segment, gzip=work.gzip, gzip_after=0, backups=0
    )
    log = cipherlog_core.start("bench", settings=settings)
    yield lambda fields: log.event("tool_call", **fields)
    _finish(work)


@contextmanager
def our_costs(work: Work) -> Iterator[Emit]:
    """Cost records; the producer and its number are in the tags."""
    costs = cipherlog_core.channel("openrouter-costs", CallEvent, event="openrouter_cost", logger="openrouter_tap")
    with ours(work):

        def emit(fields: dict[str, Any]) -> object:
            event = call_event(fields["seq"])
            return costs.emit(event, tool=None, session_id=fields["producer"], request_id=event.generation_id)

        yield emit


def _finish(work: Work) -> None:
    cipherlog_core.flush(60)
    work.written = time.time()
    work.dropped = cipherlog_core.stats().dropped
    while work.gzip and list(work.folder.glob("*-*-*.jsonl")):
        time.sleep(0.005)
    cipherlog_core.stop(60)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "schema": 1,
            "id": f"{record.created:.6f}-{record.process}",
            "ts": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "server": "bench",
            "event": record.getMessage(),
            "thread": record.threadName,
            "tool": None,
            "session_id": None,
            "request_id": None,
            "fields": record.__dict__["fields"],
        }
        return json.dumps(line, separators=(",", ":"))


@contextmanager
def clh(work: Work) -> Iterator[Emit]:
    """`ConcurrentRotatingFileHandler`, the field's usual answer to many processes."""
    from concurrent_log_handler import ConcurrentRotatingFileHandler

    handler = ConcurrentRotatingFileHandler(
        str(work.folder / "bench.jsonl"), maxBytes=work.segment, backupCount=1000, use_gzip=work.gzip
    )
    handler.setFormatter(_JsonFormatter())
    with _logging_to(handler) as emit:
        yield emit
    handler.close()


@contextmanager
def recipe(work: Work) -> Iterator[Emit]:
    """The standard library's queue recipe, its rotator compressing in the listener's thread."""
    import gzip
    import shutil

    def rotate(source: str, target: str) -> None:
        with open(source, "rb") as plain, gzip.open(target, "wb", compresslevel=6) as packed:
            shutil.copyfileobj(plain, packed)
        Path(source).unlink()

    handler = logging.handlers.RotatingFileHandler(
        work.folder / "bench.jsonl", maxBytes=work.segment, backupCount=1000, encoding="utf-8"
    )
    if work.gzip:
        handler.namer = lambda name: f"{name}.gz"
        handler.rotator = rotate
    handler.setFormatter(_JsonFormatter())
    waiting: queue.Queue[logging.LogRecord] = queue.Queue()
    listener = logging.handlers.QueueListener(waiting, handler)
    listener.start()
    with _logging_to(logging.handlers.QueueHandler(waiting)) as emit:
        yield emit
    listener.stop()
    handler.close()


@contextmanager
def loguru(work: Work) -> Iterator[Emit]:
    """loguru, queued, with its own rotation and compression, and a line of the same keys."""
    from loguru import logger

    def form(record: Any) -> str:
        record["extra"]["line"] = json.dumps(
            {
                "schema": 1,
                "id": str(record["time"].timestamp()),
                "ts": record["time"].isoformat(),
                "level": record["level"].name,
                "logger": record["name"],
                "pid": record["process"].id,
                "server": "bench",
                "event": record["message"],
                "thread": record["thread"].name,
                "tool": None,
                "session_id": None,
                "request_id": None,
                "fields": record["extra"]["fields"],
            },
            separators=(",", ":"),
        )
        return "{extra[line]}\n"

    logger.remove()
    sink = logger.add(
        str(work.folder / "bench.jsonl"),
        format=form,
        rotation=work.segment,
        compression="gz" if work.gzip else None,
        enqueue=True,
        catch=False,
    )
    yield lambda fields: logger.bind(fields=fields).info("tool_call")
    logger.complete()
    logger.remove(sink)


@contextmanager
def _logging_to(handler: logging.Handler) -> Iterator[Emit]:
    logger = logging.Logger("bench", logging.INFO)  # noqa: LOG001  one that no other part of the program can reach
    logger.addHandler(handler)
    yield lambda fields: logger.info("tool_call", extra={"fields": fields})


LOGGERS: dict[str, Callable[[Work], AbstractContextManager[Emit]]] = {
    "ours": ours,
    "ours, cost records": our_costs,
    "concurrent-log-handler": clh,
    "recipe": recipe,
    "loguru": loguru,
}


def _fields(producer: str, seq: int) -> dict[str, Any]:
    return {
        "producer": producer,
        "seq": seq,
        "call": f"call-{seq:08x}",
        "selected_tool": f"search_{seq % 7}",
        "elapsed_ms": seq % 9973 / 8,
    }


def _timed(emit: Emit, producer: str, events: int) -> list[int]:
    latencies = []
    due = time.perf_counter_ns()
    for seq in range(events):
        fields = _fields(producer, seq)
        due += _GAP
        if (ahead := due - time.perf_counter_ns()) > 0:
            time.sleep(ahead / 1e9)
        else:
            due -= ahead
        start = time.perf_counter_ns()
        emit(fields)
        latencies.append(time.perf_counter_ns() - start)
    return latencies


def _fill_up(work: Work) -> None:
    """A log that is full but for a moment's events, of lines like those to come."""
    record = {"schema": 1, "id": "0", "ts": "2026-11-24T00:00:00.000000Z", "level": "INFO", "fields": {}}
    with open(work.folder / "bench.jsonl", "w", encoding="utf-8") as file:
        size = 0
        while size < work.segment - 200_000:
            line = json.dumps({**record, "fields": {"filler": size, **_fields("filler", size)}}) + "\n"
            size += file.write(line)


def main(logger: str, mode: str, folder: str, events: int, producer: str) -> None:
    """Log, and tell."""
    work = Work(mode, Path(folder))
    if mode == "stall":
        _fill_up(work)
    latencies: list[int] = []
    with LOGGERS[logger](work) as emit:
        emit_all = list(map(_fields, [producer] * events, range(events))) if mode != "stall" else []
        print("ready", flush=True)
        sys.stdin.readline()
        begin, cpu = time.time(), time.process_time()
        if mode == "stall":
            latencies = _timed(emit, producer, events)
        else:
            for fields in emit_all:
                emit(fields)
    settled = time.time()
    print(
        json.dumps(
            {
                "begin": begin,
                "written": work.written or settled,
                "settled": settled,
                "cpu": time.process_time() - cpu,
                "dropped": work.dropped,
                "latencies": latencies,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
