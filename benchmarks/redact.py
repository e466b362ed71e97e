"""What the net for secrets adds to an event that holds none, and to a call through the tap.

The same program in the same process, its net taken out in one of two blocks; all strings fresh. How the net works:
docs/explanation/redaction.md.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import cipherlog_core
from benchmarks.clients import ClientKind
from benchmarks.data import COST, HEADERS, Exchange, call_fields, event_number, server_fields
from benchmarks.harness import (
    Block,
    Options,
    Series,
    Spread,
    differences,
    interleave,
    met,
    publish,
    read_back,
    require,
    spared_collector,
    table,
)
from cipherlog_core import _logger, _redact
from openrouter_tap import TappedTransport, _observation, _observe
from openrouter_tap._compat import LIBRARIES

__all__ = ["main"]

_EVENTS = 4000
_CALLS = 400
_PARTS = {"without": "without the net", "with": "with it", "control": "without it again (control)"}

_clock = time.perf_counter_ns

Net = Callable[[], AbstractContextManager[object]]


@contextmanager
def _no_net() -> Iterator[None]:
    """Neither lines nor the tap's texts and headers are looked at."""

    def unseen(data: Any, *_: object) -> Any:
        return data

    with contextlib.ExitStack() as stack:
        for module, name in ((_logger, "clean"), (_observation, "clean_text"), (_observation, "clean_texts")):
            stack.enter_context(mock.patch.object(module, name, unseen))
        stack.enter_context(mock.patch.object(_observe, "add_header", unseen))
        yield


_WORDS = [
    "the",
    "request",
    "was",
    "answered",
    "from",
    "a",
    "replica",
    "in",
    "another",
    "region",
    "because",
    "its",
    "primary",
    "did",
    "not",
    "report",
    "for",
    "some",
    "seconds",
    "so",
    "this",
    "page",
    "may",
    "lack",
    "orders",
    "that",
    "customers",
    "placed",
    "meanwhile;",
    "reconciliation",
    "follows",
    "at",
]


def _message_fields(number: int) -> dict[str, object]:
    """One long message, as `logging` makes them, of words as long as those of a language; its line has 940 B."""
    words = (f"{_WORDS[number * place % len(_WORDS)]} {number * place % 997}" for place in range(1, 100))
    job = uuid.UUID(int=number * 2654435761 << 64)
    return {"seq": number, "job": str(job), "message": " ".join(words)[:602], "elapsed_ms": 0.125}


class Events:
    """Blocks of events through `Logger.event`, each into a folder of its own that is read back."""

    def __init__(self, make: Callable[[int], dict[str, Any]], net: Net) -> None:
        self._make, self._net = make, net
        self._next = 0
        self.line_size = 0

    def __call__(self) -> Block:
        numbers = range(self._next, self._next + _EVENTS)
        self._next = numbers.stop
        events = [self._make(number) for number in numbers]
        with tempfile.TemporaryDirectory() as folder:
            log = cipherlog_core.start("bench", settings=cipherlog_core.Settings(dir=folder, backups=0, gzip=False))
            with spared_collector(), self._net():
                begin = _clock()
                calls = [self._log(log, event) for event in events]
                called = _clock() - begin
            cipherlog_core.stop()
            records, size = read_back(Path(folder))
        require(sorted(event_number(one["fields"]) for one in records) == list(numbers), "events are missing or others")
        require([one["fields"] for one in records] == events, "events are not what was logged")
        self.line_size = size // len(numbers)
        return Block(calls, called, called)

    @staticmethod
    def _log(log: cipherlog_core.Logger, event: dict[str, Any]) -> int:
        start = _clock()
        log.event("tool_called", **event)
        return _clock() - start


class Calls:
    """Blocks of calls through a tap, over a stub in place of the network."""

    def __init__(self, kind: ClientKind, folder: str, net: Net) -> None:
        self._kind, self._net, self._folder = kind, net, folder
        self._inner = kind.transport()
        self._client = kind.client(TappedTransport(self._inner))
        self.line_size = 0

    def __call__(self) -> Block:
        exchanges: Sequence[Exchange] = [Exchange.json() for _ in range(_CALLS)]
        with spared_collector(), self._net():
            begin = _clock()
            calls = self._kind.calls(self._client, self._inner, exchanges, streamed=False)
            called = _clock() - begin
        cipherlog_core.flush()
        records, size = read_back(Path(self._folder))
        self.line_size = size // len(records)
        found = {one["fields"]["generation_id"]: one["fields"]["cost"]["total"] for one in records[-_CALLS:]}
        require(found == {exchange.generation_id: COST for exchange in exchanges}, "calls are missing or others")
        return Block(calls, called, called)


def _variants(make: Callable[[Net], Any]) -> dict[str, Any]:
    return {"without": make(_no_net), "with": make(nullcontext), "control": make(_no_net)}


def _row(title: str, variants: dict[str, Any], series: dict[str, Series], most: float) -> list[str]:
    without, with_net, control = (series[part] for part in _PARTS)
    added = Spread.of(differences(without, with_net, lambda block: block.median))
    noise = Spread.of(differences(without, control, lambda block: block.median))
    return [
        title,
        str(variants["with"].line_size),
        f"{without.percentile(50):.2f}",
        f"{with_net.percentile(50):.2f}",
        f"{added:+.2f}",
        f"{noise:+.2f}",
        f"{most}",
        met(added.median <= most),
    ]


def main() -> None:
    """Measure, judge and publish."""
    options = Options("benchmarks.redact", __doc__, rounds=40)
    _redact.add_header(HEADERS["Authorization"].encode())
    rows = []
    for title, make, most in (
        ("`Logger.event`", server_fields, 1.0),
        ("`Logger.event`, one long message", _message_fields, 2.0),
        ("`Logger.event`, 39 fields in 4 objects", lambda number: {"seq": number, **call_fields(number)}, 2.0),
    ):
        variants = _variants(lambda net, make=make: Events(make, net))  # type: ignore[misc]
        rows.append(_row(title, variants, interleave(variants, options.rounds, options.draw), most))
    with tempfile.TemporaryDirectory() as folder:
        settings = cipherlog_core.Settings(dir=folder, level="WARNING", rotate_size=0)
        cipherlog_core.start("bench", settings=settings)
        for kind in map(ClientKind, LIBRARIES):
            variants = _variants(lambda net, kind=kind: Calls(kind, folder, net))  # type: ignore[misc]
            title = f"a call by {kind} through the tap"
            rows.append(_row(title, variants, interleave(variants, options.rounds, options.draw), 0.6))
        require(cipherlog_core.stats().dropped == 0, "events were dropped")
        cipherlog_core.stop()
    head = "p50 µs", "line B", "without", "with", "added", "control", "aim ≤", ""
    publish("redact", [options.heading("msgspec", "orjson"), _CHECKED, table(head, rows)], write=options.write)


_CHECKED = "Checked: all lines, read back, hold each event exactly once, as it was logged."


if __name__ == "__main__":
    main()
