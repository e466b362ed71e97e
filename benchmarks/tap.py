"""What the tap adds to a call, beside what other instruments add to the same call. RESULTS.md tells the method."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter, truediv
from pathlib import Path

import httpx
import httpx2

import cipherlog_core
from benchmarks.clients import ClientKind
from benchmarks.data import COST, Exchange
from benchmarks.harness import (
    Block,
    Options,
    Series,
    Spread,
    differences,
    interleave,
    met,
    must,
    publish,
    read_back,
    require,
    spared_collector,
    table,
)
from benchmarks.instruments import Instrumented, bare, hooked, tapped, traced

__all__ = ["main"]

_JSON_CALLS = 800  # in a block: tens of milliseconds, several turns of the background writer
_STREAMS = 300
_SHORT, _LONG = 103, 303  # chunks of a stream; three of them bring no text

_BARE, _CONTROL = "bare", "bare again (control)"
_TAPPED, _BESIDE = "tapped", "tapped, OpenTelemetry imported"
_TRACED, _HOOKED = "OpenTelemetry", "hook, `open('a')`"
_BARE_LONG, _TAPPED_LONG = f"bare, {_LONG} chunks", f"tapped, {_LONG} chunks"

_BASES = {_BARE_LONG: _BARE_LONG, _TAPPED_LONG: _BARE_LONG}  # what a variant is compared with, if not with `_BARE`
_median, _whole, _first = attrgetter("median"), attrgetter("whole"), attrgetter("first")

_MUST_JSON, _MUST_STREAM = 1 / 5, 1 / 2  # of what OpenTelemetry adds
_AIM_JSON = 12.0  # µs
_AIM_FIXED, _AIM_CHUNK = 20.0, 0.12

_clock = time.perf_counter_ns


_CHECKED = (
    "Checked: nothing dropped; the log, read back, has one line for each tapped call, with its id, cost and outcome; "
    "OpenTelemetry exported a span and the hook wrote a line for each of theirs."
)
_NOT_ALIKE = (
    "What is not alike: OpenTelemetry's span has method, URL, status and the time until the headers; no model, no "
    "tokens, no cost, and nothing of what comes after the headers of a stream. It is measured without metrics, and its "
    "exporter drops the spans instead of encoding and sending them. The hook knows cost and tokens of JSON only, and "
    "of a stream nothing but the headers. The tap writes its record to disk, with tokens, cost, time to first token "
    "and outcome."
)


class Variant:
    """Blocks of calls through one client: JSON, or streams of so many *chunks*."""

    def __init__(self, instrumented: Instrumented, chunks: int = 0) -> None:
        self.instrumented = instrumented
        self.chunks = chunks
        self.sent: list[str] = []

    def __call__(self) -> Block:
        exchanges = self._exchanges()
        self.sent += [exchange.generation_id for exchange in exchanges]
        it = self.instrumented
        with spared_collector(), it.surroundings():
            begin = _clock()
            calls = it.kind.calls(it.client, it.stub, exchanges, streamed=bool(self.chunks))
            called = _clock() - begin
            it.settle()
            return Block(calls, called, _clock() - begin)

    def _exchanges(self) -> list[Exchange]:
        if self.chunks:
            return [Exchange.sse(self.chunks - 3) for _ in range(_STREAMS)]
        return [Exchange.json() for _ in range(_JSON_CALLS)]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All variants of one kind of call by one kind of client."""

    title: str
    series: dict[str, Series]

    def added(self, name: str, figure: Callable[[Block], float]) -> list[float]:
        """What the variant *name* costs more than the bare call, round by round."""
        return differences(self.series[_BASES.get(name, _BARE)], self.series[name], figure)

    def table(self) -> str:
        head = "", "median µs", "mean", "p95", "p99", "added: median", "whole block", "first call", "median ÷ bare"
        return table(head, [self._row(name) for name in self.series])

    def _row(self, name: str) -> list[str]:
        series, base = self.series[name], self.series[_BASES.get(name, _BARE)]
        figures = [series.percentile(50), series.mean, series.percentile(95), series.percentile(99)]
        added = [f"{Spread.of(self.added(name, figure)):+.1f}" for figure in (_median, _whole, _first)]
        ratio = series.percentile(50) / base.percentile(50)
        return [
            name,
            *(f"{figure:.1f}" for figure in figures),
            *(added if series is not base else ["", "", ""]),
            f"{ratio:.2f}",
        ]


def _compare(kind: ClientKind, options: Options, *, streamed: bool) -> Comparison:
    chunks = _SHORT if streamed else 0
    with tempfile.TemporaryDirectory() as name, _logging_to(name):
        folder = Path(name)
        bares = {_BARE: Variant(bare(kind), chunks), _CONTROL: Variant(bare(kind), chunks)}
        taps = {_TAPPED: Variant(tapped(kind), chunks), _BESIDE: Variant(tapped(kind, beside=True), chunks)}
        rivals = {
            _TRACED: Variant(traced(kind), chunks),
            _HOOKED: Variant(hooked(kind, folder / "hook.log", streamed=streamed), chunks),
        }
        if streamed:
            bares[_BARE_LONG], taps[_TAPPED_LONG] = Variant(bare(kind), _LONG), Variant(tapped(kind), _LONG)
        series = interleave({**bares, **taps, **rivals}, options.rounds, options.draw)
        _check_taps(folder, [call for tap in taps.values() for call in tap.sent], streamed=streamed)
        for rival, variant in rivals.items():
            _check_rival(rival, variant)
    return Comparison(f"{kind}, {'stream' if streamed else 'JSON'}", series)


@contextmanager
def _logging_to(folder: str) -> Iterator[None]:
    # At WARNING: below that the libraries log each request, tapped or not.
    cipherlog_core.start(
        "benchmark", settings=cipherlog_core.Settings(dir=folder, level="WARNING", backups=0, gzip=False)
    )
    try:
        yield
    finally:
        cipherlog_core.stop()


def _check_taps(folder: Path, sent: list[str], *, streamed: bool) -> None:
    require(cipherlog_core.flush(), "the log could not be flushed")
    require(cipherlog_core.stats().dropped == 0, "records were dropped")
    events = [record["fields"] for record in read_back(folder)[0]]
    require(len(events) == len(sent), f"{len(sent)} calls left {len(events)} lines")
    require({event["generation_id"] for event in events} == set(sent), "some lines are of no call")
    facts = {(event["cost"]["total"], event["outcome"], event["streamed"]) for event in events}
    require(facts == {(COST, "completed", streamed)}, f"costs and outcomes are {facts}")


def _check_rival(name: str, variant: Variant) -> None:
    records = variant.instrumented.records()
    variant.instrumented.close()
    require(records == len(variant.sent), f"{name} made {records} records of {len(variant.sent)} calls")


def main() -> None:
    """Measure, judge and publish."""
    options = Options("benchmarks.tap", __doc__, rounds=20)
    with asyncio.Runner() as runner:
        kinds = [ClientKind(library, run) for library in (httpx2, httpx) for run in (runner.run, None)]
        replies = [_compare(kind, options, streamed=False) for kind in kinds]
        streams = [_compare(kind, options, streamed=True) for kind in kinds]
    heading = options.heading("httpx2", "httpx", "msgspec", "opentelemetry-sdk", "opentelemetry-instrumentation-httpx")
    tables = [f"### {comparison.title}\n\n{comparison.table()}" for comparison in (*replies, *streams)]
    verdicts = [_judge_json(replies), _judge_streams(streams)]
    publish("tap", [heading, _CHECKED, *verdicts, _NOT_ALIKE, *tables], write=options.write)


def _judge_json(comparisons: list[Comparison]) -> str:
    head = (
        "JSON: µs added",
        "tapped",
        "whole block",
        "OpenTelemetry",
        "÷ OpenTelemetry",
        "must ≤ 0.20",
        "aim ≤ 12, both",
    )
    return table(head, [_json_row(comparison) for comparison in comparisons])


def _json_row(comparison: Comparison) -> list[str]:
    tap, rival = comparison.added(_TAPPED, _median), comparison.added(_TRACED, _median)
    median, whole = Spread.of(tap), Spread.of(comparison.added(_TAPPED, _whole))
    share = Spread.of(map(truediv, tap, rival))
    figures = [f"{median:.1f}", f"{whole:.1f}", f"{Spread.of(rival):.1f}", f"{share:.3f}"]
    aim = max(median.median, whole.median) <= _AIM_JSON
    return [comparison.title, *figures, must(share.median <= _MUST_JSON), met(aim)]


def _judge_streams(comparisons: list[Comparison]) -> str:
    limits = "must ≤ 0.50", "fixed", "a chunk", "aim ≤ 20 + 0.12"
    head = "stream: µs added", "tapped", "OpenTelemetry", "÷ OpenTelemetry", *limits
    return table(head, [_stream_row(comparison) for comparison in comparisons])


def _stream_row(comparison: Comparison) -> list[str]:
    """The line through the two lengths is what a stream costs at its ends, and what each chunk adds to that."""
    tap, rival = comparison.added(_TAPPED, _median), comparison.added(_TRACED, _median)
    share = Spread.of(map(truediv, tap, rival))
    lengths = list(zip(tap, comparison.added(_TAPPED_LONG, _median), strict=True))
    slope = Spread.of((long - short) / (_LONG - _SHORT) for short, long in lengths)
    fixed = Spread.of(short - (long - short) / (_LONG - _SHORT) * _SHORT for short, long in lengths)
    figures = [f"{Spread.of(tap):.1f}", f"{Spread.of(rival):.1f}", f"{share:.3f}"]
    aim = fixed.median <= _AIM_FIXED and slope.median <= _AIM_CHUNK
    verdicts = [must(share.median <= _MUST_STREAM), f"{fixed:.1f}", f"{slope:.3f}", met(aim)]
    return [comparison.title, *figures, *verdicts]


if __name__ == "__main__":
    main()
