"""What the tap adds to a call, beside what other instruments add to the same call. RESULTS.md tells the method."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter, truediv
from pathlib import Path

import httpx
import httpx2

from benchmarks.clients import ClientKind
from benchmarks.data import URL, Exchange
from benchmarks.harness import (
    Block,
    Options,
    Series,
    Spread,
    differences,
    interleave,
    met,
    must_share,
    publish,
    require,
    spared_collector,
    table,
)
from benchmarks.instruments import Instrumented, bare, check_taps, hooked, logfired, logging_to, tapped, traced
from benchmarks.server import serving

__all__ = ["main"]

_JSON_CALLS, _JSON_CALLS_HTTP = 800, 200  # in a block: tens of milliseconds, several turns of the background writer
_STREAMS, _STREAMS_HTTP = 300, 100
_SHORT, _LONG = 103, 303  # chunks of a stream; three of them bring no text

_BARE, _CONTROL = "bare", "bare again (control)"
_TAPPED, _BESIDE = "tapped", "tapped, OpenTelemetry imported"
_TRACED, _LOGFIRED, _HOOKED = "OpenTelemetry", "logfire", "hook, `open('a')`"
_BARE_LONG, _TAPPED_LONG = f"bare, {_LONG} chunks", f"tapped, {_LONG} chunks"

_BASES = {_BARE_LONG: _BARE_LONG, _TAPPED_LONG: _BARE_LONG}  # what a variant is compared with, if not with `_BARE`
_median, _whole, _first, _p95 = attrgetter("median"), attrgetter("whole"), attrgetter("first"), attrgetter("p95")

_MUST_JSON, _MUST_STREAM = 1 / 6, 2 / 5  # of what OpenTelemetry adds
_MUST_HOOK = 2 / 3  # of what the hook adds to JSON
_AIM_JSON, _AIM_P95 = 11.0, 14.0  # µs
_AIM_FIXED, _AIM_CHUNK = 18.0, 0.10

_clock = time.perf_counter_ns


_CHECKED = (
    "Checked: nothing dropped; the log, read back, has one line for each tapped call, with its id, cost and outcome; "
    "OpenTelemetry and logfire exported a span and the hook wrote a line for each of theirs."
)
_NOT_ALIKE = (
    "What is not alike: the span of OpenTelemetry and of logfire has method, URL, status and the time until the "
    "headers; no model, no tokens, no cost, and nothing of what comes after the headers of a stream. Both are measured "
    "without metrics, and their exporter drops the spans instead of encoding and sending them. The hook knows cost and "
    "tokens of JSON only, and of a stream nothing but the headers. The tap writes its record to disk, with tokens, "
    "cost, time to first token and outcome."
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
            calls = it.kind.calls(it.client, it.inner, exchanges, streamed=bool(self.chunks))
            called = _clock() - begin
            it.settle()
            return Block(calls, called, _clock() - begin)

    def _exchanges(self) -> list[Exchange]:
        in_process = self.instrumented.kind.url == URL
        if self.chunks:
            return [Exchange.sse(self.chunks - 3) for _ in range(_STREAMS if in_process else _STREAMS_HTTP)]
        return [Exchange.json() for _ in range(_JSON_CALLS if in_process else _JSON_CALLS_HTTP)]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All variants of one kind of call by one kind of client."""

    kind: ClientKind
    streamed: bool
    series: dict[str, Series]

    @property
    def title(self) -> str:
        return f"{self.kind}, {'stream' if self.streamed else 'JSON'}{'' if self.in_process else ', loopback'}"

    @property
    def in_process(self) -> bool:
        return self.kind.url == URL

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
    with tempfile.TemporaryDirectory() as name, logging_to(name):
        folder = Path(name)
        bares = {_BARE: Variant(bare(kind), chunks), _CONTROL: Variant(bare(kind), chunks)}
        taps = {_TAPPED: Variant(tapped(kind), chunks), _BESIDE: Variant(tapped(kind, beside=True), chunks)}
        rivals = {
            _TRACED: Variant(traced(kind), chunks),
            _LOGFIRED: Variant(logfired(kind), chunks),
            _HOOKED: Variant(hooked(kind, folder / "hook.log", streamed=streamed), chunks),
        }
        if streamed:
            bares[_BARE_LONG], taps[_TAPPED_LONG] = Variant(bare(kind), _LONG), Variant(tapped(kind), _LONG)
        variants = {**bares, **taps, **rivals}
        series = interleave(variants, options.rounds, options.draw)
        check_taps(folder, [call for tap in taps.values() for call in tap.sent], streamed=streamed)
        for rival, variant in rivals.items():
            _check_rival(rival, variant)
        for variant in variants.values():
            kind.close(variant.instrumented.client)
    return Comparison(kind, streamed, series)


def _check_rival(name: str, variant: Variant) -> None:
    records = variant.instrumented.records()
    variant.instrumented.close()
    require(records == len(variant.sent), f"{name} made {records} records of {len(variant.sent)} calls")


def main() -> None:
    """Measure, judge and publish."""
    options = Options("benchmarks.tap", __doc__, rounds=20)
    with asyncio.Runner() as runner, serving() as url:
        kinds = [ClientKind(library, run) for library in (httpx2, httpx) for run in (runner.run, None)]
        kinds += [replace(kind, url=url) for kind in kinds]
        replies = [_compare(kind, options, streamed=False) for kind in kinds]
        streams = [_compare(kind, options, streamed=True) for kind in kinds]
    otel = "opentelemetry-sdk", "opentelemetry-instrumentation-httpx"
    heading = options.heading("httpx2", "httpx", "msgspec", *otel, "logfire")
    tables = [f"### {comparison.title}\n\n{comparison.table()}" for comparison in (*replies, *streams)]
    verdicts = [_judge_json(replies), _judge_streams(streams)]
    publish("tap", [heading, _CHECKED, *verdicts, _NOT_ALIKE, *tables], write=options.write)


def _judge_json(comparisons: list[Comparison]) -> str:
    added = "control", "tapped", "whole block", "p95", "OpenTelemetry", "logfire", "hook"
    verdicts = "÷ OpenTelemetry", "must ≤ 1/6", "÷ hook", "must ≤ 2/3", "aim ≤ 11, 11, p95 14"
    return table(("JSON: µs added", *added, *verdicts), [_json_row(comparison) for comparison in comparisons])


def _json_row(comparison: Comparison) -> list[str]:
    tap = comparison.added(_TAPPED, _median)
    median, whole, p95 = (Spread.of(comparison.added(_TAPPED, figure)) for figure in (_median, _whole, _p95))
    control, *rivals = (comparison.added(name, _median) for name in (_CONTROL, _TRACED, _LOGFIRED, _HOOKED))
    of_traced, of_hook = (Spread.of(map(truediv, tap, rival)) for rival in (rivals[0], rivals[2]))
    noise, by_traced, _, by_hook = map(Spread.of, (control, *rivals))
    aim = max(median.median, whole.median) <= _AIM_JSON and p95.median <= _AIM_P95
    return [
        comparison.title,
        *(f"{Spread.of(figures):.1f}" for figures in (control, tap)),
        *(f"{spread:.1f}" for spread in (whole, p95, *map(Spread.of, rivals))),
        *(f"{of_traced:.3f}", must_share(of_traced, _MUST_JSON, noise, by_traced)),
        *(f"{of_hook:.3f}", must_share(of_hook, _MUST_HOOK, noise, by_hook)),
        met(aim) if comparison.in_process else "",
    ]


def _judge_streams(comparisons: list[Comparison]) -> str:
    added = "control", "tapped", "OpenTelemetry", "logfire"
    verdicts = "÷ OpenTelemetry", "must ≤ 2/5", "fixed", "a chunk", "aim ≤ 18 + 0.10"
    return table(("stream: µs added", *added, *verdicts), [_stream_row(comparison) for comparison in comparisons])


def _stream_row(comparison: Comparison) -> list[str]:
    """The line through the two lengths is what a stream costs at its ends, and what each chunk adds to that."""
    names = _CONTROL, _TAPPED, _TRACED, _LOGFIRED
    control, tap, traced_, logfired_ = (comparison.added(name, _median) for name in names)
    share = Spread.of(map(truediv, tap, traced_))
    lengths = list(zip(tap, comparison.added(_TAPPED_LONG, _median), strict=True))
    slope = Spread.of((long - short) / (_LONG - _SHORT) for short, long in lengths)
    fixed = Spread.of(short - (long - short) / (_LONG - _SHORT) * _SHORT for short, long in lengths)
    aim = fixed.median <= _AIM_FIXED and slope.median <= _AIM_CHUNK
    return [
        comparison.title,
        *(f"{Spread.of(figures):.1f}" for figures in (control, tap, traced_, logfired_)),
        *(
            f"{share:.3f}",
            must_share(share, _MUST_STREAM, Spread.of(control), Spread.of(traced_)),
            f"{fixed:.1f}",
            f"{slope:.3f}",
        ),
        met(aim) if comparison.in_process else "",
    ]


if __name__ == "__main__":
    main()
