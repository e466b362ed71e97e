"""What one event costs the one who logs it, beside the standard library's recipe. RESULTS.md tells the method."""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cipherlog_core
from benchmarks.data import call_event, call_fields, event_number, request_fields, server_fields
from benchmarks.harness import (
    Block,
    Options,
    Series,
    Spread,
    interleave,
    met,
    must,
    publish,
    read_back,
    require,
    spared_collector,
    table,
)
from benchmarks.loggers import (
    Emit,
    Logger,
    bridged,
    channel,
    in_context,
    nothing,
    ours,
    recipe,
    recipe_in_context,
)

__all__ = ["main"]

_FLAT_OUT = 20_000  # events in a block
_PACED = 250  # few in a block, and more rounds: a long block would fall into one phase of the machine
_PACED_ROUNDS = 8  # times as many
_GAP = 500_000  # nanoseconds between paced events
_WARM_UP = 50
_THREADS = 1, 2, 4

_CLOCK = "no logger: the clock alone"
_OURS, _CONTROL, _RECIPE = "`Logger.event`", "`Logger.event` again (control)", "recipe"
_CHANNEL, _COST_RECIPE = "cost record: `Channel.emit`", "cost record: recipe"

_BOUND, _BOUND_RECIPE = "request in context", "request in context: recipe"
_BRIDGED = "through `logging`"

_MUST = 1 / 2  # of the recipe's median; of its p99 all
_AIMS = {_OURS: (2.5, 20.0), _CHANNEL: (5.0, 33.0), _BRIDGED: (8.0, float("inf"))}  # µs, paced: p50 and p99

Run = Callable[[Emit, Sequence[Any]], list[int]]

_clock = time.perf_counter_ns


def _flat_out(emit: Emit, events: Sequence[Any]) -> list[int]:
    calls = []
    for event in events:
        start = _clock()
        emit(event)
        calls.append(_clock() - start)
    return calls


def _paced(emit: Emit, events: Sequence[Any]) -> list[int]:
    calls = []
    due = _clock()
    for event in events:
        due += _GAP
        late = _clock() - due
        if late < 0:
            time.sleep(-late / 1e9)
        else:
            due += late  # no burst makes up for it
        start = _clock()
        emit(event)
        calls.append(_clock() - start)
    return calls


def _in_threads(number: int, emit: Emit, events: Sequence[Any]) -> list[int]:
    ready = threading.Barrier(number)

    def work(part: Sequence[Any]) -> list[int]:
        ready.wait()
        return _flat_out(emit, part)

    with ThreadPoolExecutor(number) as pool:
        return list(itertools.chain(*pool.map(work, [events[first::number] for first in range(number)])))


class Variant:
    """Blocks of events through one logger, each into a folder of its own that is read back."""

    def __init__(self, logger: Logger, make: Callable[[int], Any], run: Run) -> None:
        self._logger, self._make, self._run = logger, make, run
        self._count = _WARM_UP + (_PACED if run is _paced else _FLAT_OUT)
        self._next = 0
        self.line_size = 0

    def __call__(self) -> Block:
        numbers = range(self._next, self._next + self._count)
        self._next = numbers.stop
        events = [self._make(number) for number in numbers]
        with tempfile.TemporaryDirectory() as folder:
            block = self._log(Path(folder), events)
            if self._logger is not nothing:
                self._read_back(Path(folder), numbers)
        return block

    def _log(self, folder: Path, events: Sequence[Any]) -> Block:
        with spared_collector():
            with self._logger(folder) as emit:
                for event in events[:_WARM_UP]:
                    emit(event)
                begin = _clock()
                calls = self._run(emit, events[_WARM_UP:])
                called = _clock() - begin
            return Block(calls, called, _clock() - begin)

    def _read_back(self, folder: Path, numbers: range) -> None:
        records, size = read_back(folder)
        self.line_size = size // len(numbers)
        found = sorted(event_number(record["fields"]) for record in records)
        require(
            found == list(numbers),
            f"{len(numbers)} events to {self._logger.__name__} left {len(found)} lines or others",
        )


def _compare(options: Options, run: Run, times: int = 1) -> tuple[dict[str, Variant], dict[str, Series]]:
    variants = {
        _CLOCK: Variant(nothing, server_fields, run),
        _OURS: Variant(ours, server_fields, run),
        _CONTROL: Variant(ours, server_fields, run),
        _RECIPE: Variant(recipe, server_fields, run),
        _CHANNEL: Variant(channel, call_event, run),
        _COST_RECIPE: Variant(recipe, call_fields, run),
        _BOUND: Variant(in_context, request_fields, run),
        _BOUND_RECIPE: Variant(recipe_in_context, request_fields, run),
        _BRIDGED: Variant(bridged, server_fields, run),
    }
    return variants, interleave(variants, times * options.rounds, options.draw)


def _table(variants: dict[str, Variant], series: dict[str, Series], *, rates: bool) -> str:
    head = ["", "line B", "p50 µs", "p95", "p99", "p99.9", "max"]
    rows = [[name, str(variants[name].line_size), *_latencies(run)] for name, run in series.items()]
    if rates:
        head += ["events/s called", "on disk"]
        for row, run in zip(rows, series.values(), strict=True):
            row += [f"{run.called_per_second:,.0f}", f"{run.settled_per_second:,.0f}"]
    return table(head, rows)


def _latencies(series: Series) -> list[str]:
    return [f"{series.percentile(percent):.1f}" for percent in (50, 95, 99, 99.9, 100)]


def _share(series: dict[str, Series], mine: str, other: str) -> Spread:
    """The median of *mine* to that of *other*, round by round."""
    return Spread.of(
        one.median / two.median for one, two in zip(series[mine].blocks, series[other].blocks, strict=True)
    )


def _verdict(pace: str, series: dict[str, Series]) -> list[str]:
    pairs = (_OURS, _RECIPE), (_BOUND, _BOUND_RECIPE), (_CHANNEL, _COST_RECIPE), (_CONTROL, _OURS)
    share, bound, cost, control = (_share(series, *pair) for pair in pairs)
    p99, recipes_p99 = (series[name].percentile(99) for name in (_BOUND, _BOUND_RECIPE))
    verdicts = must(max(share.median, bound.median) <= _MUST), must(p99 <= recipes_p99)
    shares = f"{share:.2f}", f"{bound:.2f}"
    return [pace, *shares, verdicts[0], f"{p99:.1f} / {recipes_p99:.1f}", verdicts[1], f"{cost:.2f}", f"{control:.2f}"]


def _aims(series: dict[str, Series]) -> str:
    rows = []
    for name, (median, p99) in _AIMS.items():
        found = series[name].percentile(50), series[name].percentile(99)
        is_met = found[0] <= median and found[1] <= p99
        rows.append([name, f"{found[0]:.1f}", f"{median}", f"{found[1]:.1f}", f"{p99:.0f}", met(is_met)])
    return table(("aim, paced", "p50 µs", "≤", "p99", "≤", ""), rows)


def _threads(options: Options) -> str:
    loggers = {"`Logger.event`": ours, "recipe": recipe}
    variants = {
        f"{number} thread{'s' * (number > 1)}, {name}": Variant(logger, server_fields, partial(_in_threads, number))
        for number in _THREADS
        for name, logger in loggers.items()
    }
    return _table(variants, interleave(variants, options.rounds, options.draw), rates=True)


def main() -> None:
    """Measure, judge and publish."""
    options = Options("benchmarks.emit", __doc__, rounds=8)
    flat_out, paced, threads = _compare(options, _flat_out), _compare(options, _paced, _PACED_ROUNDS), _threads(options)
    require(cipherlog_core.stats().dropped == 0, "events were dropped")
    verdicts = [_verdict("flat out", flat_out[1]), _verdict("paced", paced[1])]
    paragraphs = [
        options.heading("msgspec", "orjson"),
        _CHECKED,
        table(_HEAD, verdicts),
        _aims(paced[1]),
        f"### Flat out, {_FLAT_OUT:,} events in a block\n\n{_table(*flat_out, rates=True)}",
        f"### Paced, {10**9 // _GAP:,} events/s, {_PACED:,} events in a block\n\n{_table(*paced, rates=False)}",
        f"### Threads, flat out, {_FLAT_OUT:,} events in a block\n\n{threads}",
    ]
    publish("emit", paragraphs, write=options.write)


_HEAD = (
    "p50 ÷ recipe's",
    "event",
    "in context",
    "must ≤ 0.50",
    "p99 in context / recipe's",
    "must ≤ recipe's",
    "cost record",
    "control ÷ event",
)
_CHECKED = "Checked: nothing dropped; of each block all files, read back, hold each event exactly once."


if __name__ == "__main__":
    main()
