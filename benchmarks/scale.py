"""Where there is much of it, or nothing to do: a big request, a gzipped reply, a thousand streams, another host, the
import.

RESULTS.md tells the method.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import httpx2

import cipherlog_core
from benchmarks.clients import ClientKind
from benchmarks.data import HEADERS, URL, Exchange
from benchmarks.harness import (
    Block,
    Options,
    Series,
    Spread,
    differences,
    interleave,
    met,
    percentile,
    publish,
    require,
    spared_collector,
    table,
    ticks,
)
from benchmarks.instruments import Instrumented, bare, check_taps, logging_to, tapped, without_opentelemetry
from openrouter_tap import TappedTransport

__all__ = ["main"]

_BODY, _BODIES = 10_000_000, 8  # bytes; bodies that take turns, so that none is in a cache
_CALLS = 400  # in a block
_ELSEWHERE_CALLS = 2000
_STREAMS, _CHUNKS, _PAUSE, _RAMP = 1000, 200, 0.03, 1.0  # seconds between chunks, and until the last stream has begun
_TICK = 0.001

_AIM_BIG, _AIM_ELSEWHERE = 20.0, 0.5  # µs
_AIM_LAG = 1000.0  # µs
_AIM_IMPORT = 15.0  # ms

_BARE, _CONTROL, _TAPPED = "bare", "bare again (control)", "tapped"
_PACKED = "JSON as OpenRouter mostly sends it: gzipped, behind whitespace, in four pieces"

_clock = time.perf_counter_ns
_median, _whole = attrgetter("median"), attrgetter("whole")

_CHECKED = (
    "Checked: nothing dropped; the log, read back, has one line for each call and stream, with its id, model, cost and "
    "outcome, and none for other hosts; each stream brought all its chunks."
)


def _big(kind: ClientKind, options: Options) -> dict[str, Series]:
    """Calls with a request of 10 MB: `messages` first, as SDKs write it, so that the model stands at the end."""
    bodies = [b'{"messages":[{"role":"user","content":"%b"}],"model":"openai/gpt-4o"}' % text for text in _texts()]
    turns = itertools.cycle(bodies)
    return _calls(kind, options, lambda: replace(Exchange.json(), request=next(turns)))


def _calls(kind: ClientKind, options: Options, make: Callable[[], Exchange]) -> dict[str, Series]:
    """Calls whose exchanges *make* makes, tapped or not."""

    def block(it: Instrumented, sent: list[str]) -> Block:
        exchanges = [make() for _ in range(_CALLS)]
        sent += [exchange.generation_id for exchange in exchanges]
        with spared_collector(), it.surroundings():
            begin = _clock()
            calls = it.kind.calls(it.client, it.inner, exchanges, streamed=False)
            called = _clock() - begin
            it.settle()
            return Block(calls, called, _clock() - begin)

    sent: dict[str, list[str]] = {_BARE: [], _CONTROL: [], _TAPPED: []}
    with tempfile.TemporaryDirectory() as folder, logging_to(folder):
        instruments = zip(sent, (bare(kind), bare(kind), tapped(kind)), strict=True)
        variants = {name: partial(block, it, sent[name]) for name, it in instruments}
        series = interleave(variants, options.rounds, options.draw)
        check_taps(Path(folder), sent[_TAPPED], streamed=False)
    return series


def _texts() -> list[bytes]:
    return [os.urandom(_BODY // 2).hex().encode() for _ in range(_BODIES)]


def _elsewhere(kind: ClientKind, method: str, options: Options) -> dict[str, Series]:
    """Requests to a host that is not tapped, handed to the transport itself: the rest of a client is only noise."""
    library, answered = kind.library, itertools.count()
    response = library.Response(200)

    class Answering(library.BaseTransport, library.AsyncBaseTransport):
        def handle_request(self, request: Any) -> Any:  # noqa: ARG002
            next(answered)
            return response

        async def handle_async_request(self, request: Any) -> Any:  # noqa: ARG002
            next(answered)
            return response

    def block(transport: Any) -> Block:
        content = None if method == "GET" else b"{}"
        requests = [
            library.Request(method, f"https://api.example.com/v1/things/{number}", headers=HEADERS, content=content)
            for number in range(_ELSEWHERE_CALLS)
        ]
        with spared_collector():
            begin = _clock()
            calls = kind.run(_hand_async(transport, requests)) if kind.run else _hand(transport, requests)
            called = _clock() - begin
        return Block(calls, called, called)

    inner = Answering()
    transports = {_BARE: inner, _CONTROL: inner, _TAPPED: TappedTransport(inner)}
    variants = {name: partial(block, transport) for name, transport in transports.items()}
    with tempfile.TemporaryDirectory() as folder, logging_to(folder):
        series = interleave(variants, options.rounds, options.draw)
        check_taps(Path(folder), [], streamed=False)
    require(next(answered) == 3 * (options.rounds + 1) * _ELSEWHERE_CALLS, "some requests did not arrive")
    return series


def _hand(transport: Any, requests: Sequence[Any]) -> list[int]:
    nanoseconds, handle = [], transport.handle_request
    for request in requests:
        start = _clock()
        handle(request)
        nanoseconds.append(_clock() - start)
    return nanoseconds


async def _hand_async(transport: Any, requests: Sequence[Any]) -> list[int]:
    nanoseconds, handle = [], transport.handle_async_request
    for request in requests:
        start = _clock()
        await handle(request)
        nanoseconds.append(_clock() - start)
    return nanoseconds


@dataclass(frozen=True, slots=True)
class Crowd:
    """A thousand streams that have run through one client."""

    p50: float
    """Of the ticks' lateness, in microseconds."""
    p99: float
    cpu: float
    """Microseconds a stream, of all threads."""


def _crowds(library: ModuleType, options: Options, rounds: int) -> dict[str, list[Crowd]]:
    sent: list[str] = []

    def crowd(*, is_tapped: bool) -> Crowd:
        exchanges = [Exchange.sse(_CHUNKS - 3) for _ in range(_STREAMS)]
        inner = _through_loop(library, {exchange.request: exchange for exchange in exchanges})
        transport = TappedTransport(inner) if is_tapped else inner
        if is_tapped:
            sent.extend(exchange.generation_id for exchange in exchanges)
        with spared_collector(), without_opentelemetry():
            cpu = time.process_time_ns()
            lags = asyncio.run(_stream_all(library.AsyncClient(transport=transport), exchanges))
            require(cipherlog_core.flush(), "the log could not be flushed")
            cpu = time.process_time_ns() - cpu
        lags.sort()
        return Crowd(percentile(lags, 50) / 1000, percentile(lags, 99) / 1000, cpu / _STREAMS / 1000)

    runs: dict[str, list[Crowd]] = {_BARE: [], _CONTROL: [], _TAPPED: []}
    with tempfile.TemporaryDirectory() as folder, logging_to(folder):
        for _ in range(rounds + 1):
            for name in options.draw.sample([*runs], len(runs)):
                runs[name].append(crowd(is_tapped=name is _TAPPED))
        check_taps(Path(folder), sent, streamed=True)
    return {name: run[1:] for name, run in runs.items()}


def _through_loop(library: Any, exchanges: dict[bytes, Exchange]) -> Any:
    """A transport whose chunks come one by one, each woken by the loop."""

    class Body(library.AsyncByteStream):
        def __init__(self, chunks: list[bytes]) -> None:
            self.chunks = chunks

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in self.chunks:
                await asyncio.sleep(_PAUSE)
                yield chunk

    class Transport(library.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any:
            exchange = exchanges[request.content]
            return library.Response(200, headers=exchange.headers, stream=Body(exchange.chunks))

    return Transport()


async def _stream_all(client: Any, exchanges: Sequence[Exchange]) -> list[int]:
    """Have all streams at once; how late, in nanoseconds, each tick of the loop came meanwhile."""

    async def stream(number: int, exchange: Exchange) -> None:
        await asyncio.sleep(_RAMP * number / _STREAMS)
        count = 0
        async with client.stream("POST", URL, content=exchange.request, headers=HEADERS) as response:
            async for _ in response.aiter_raw():
                count += 1
        require(count == _CHUNKS, f"a stream brought {count} chunks")

    async def watch() -> None:
        async for late in ticks(_TICK):
            lags.append(late)  # noqa: PERF401  it ends by being cancelled

    lags: list[int] = []
    watching = asyncio.create_task(watch())
    await asyncio.gather(*(stream(number, exchange) for number, exchange in enumerate(exchanges)))
    watching.cancel()
    return lags


_IMPORTS = """
import importlib, sys, time
hidden, *names = sys.argv[1:]
sys.modules.update(dict.fromkeys(hidden.split(",")))  # as if not installed
for name in names:
    begin = time.perf_counter_ns()
    importlib.import_module(name)
    print(time.perf_counter_ns() - begin)
"""
_IMPORTED = {
    "httpx": ("click,rich,httpx2", "httpx"),
    "httpx again (control)": ("click,rich,httpx2", "httpx"),
    "httpx, `openrouter_tap`": ("click,rich,httpx2", "httpx", "openrouter_tap"),
    "httpx, httpx2": ("click,rich", "httpx", "httpx2"),
    "httpx, httpx2, `openrouter_tap`": ("click,rich", "httpx", "httpx2", "openrouter_tap"),
}
_IMPORT_BASES = {"httpx, httpx2": "httpx, httpx2", "httpx, httpx2, `openrouter_tap`": "httpx, httpx2"}


def _imports(options: Options, rounds: int) -> str:
    """Each in an interpreter of its own, from bytecode, as installed packages are."""
    runs: dict[str, list[list[float]]] = {name: [] for name in _IMPORTED}
    with tempfile.TemporaryDirectory() as bytecode:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = bytecode
        for _ in range(rounds + 1):  # the first compiles
            for name in options.draw.sample([*_IMPORTED], len(_IMPORTED)):
                command = [sys.executable, "-c", _IMPORTS, *_IMPORTED[name]]
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                runs[name].append([int(line) / 1e6 for line in done.stdout.split()])
    rows = []
    for name, (_, *times) in runs.items():
        base = _IMPORT_BASES.get(name, "httpx")
        added = Spread.of(sum(more) - sum(less) for less, more in zip(runs[base][1:], times, strict=True))
        row = [name, f"{Spread.of(map(sum, times)):.1f}", f"{added:+.1f}" if name != base else "", "", ""]
        if _IMPORTED[name][-1] == "openrouter_tap":
            own = Spread.of(one[-1] for one in times)
            row[3:] = f"{own:.1f}", met(own.median <= _AIM_IMPORT)
        rows.append(row)
    head = "", "ms", "added", "`openrouter_tap` itself, after them", f"aim ≤ {_AIM_IMPORT:.0f}"
    return f"### Import, {rounds} interpreters each\n\n{table(head, rows)}"


def _added(
    title: str, runs: dict[str, dict[str, Series]], figures: dict[str, Callable[[Block], float]], aim: float | None
) -> str:
    """A table of what the tap adds; the aim, if there is one, is for the first of the *figures*."""
    rows = []
    for name, series in runs.items():
        control, *taps = (
            Spread.of(differences(series[_BARE], series[which], figure))
            for which, figure in [(_CONTROL, _median), *((_TAPPED, figure) for figure in figures.values())]
        )
        cells = (f"{spread:+.2f}" for spread in (control, *taps))
        rows.append(
            [
                name,
                f"{series[_BARE].percentile(50):.2f}",
                *cells,
                *([] if aim is None else [met(taps[0].median <= aim)]),
            ]
        )
    head = "µs", "bare", "control", *figures, *([] if aim is None else [f"aim ≤ {aim}"])
    return f"### {title}\n\n{table(head, rows)}"


def _crowd_table(runs: dict[str, dict[str, list[Crowd]]], rounds: int) -> str:
    rows = []
    for library, crowds in runs.items():
        for name, run in crowds.items():
            pairs = list(zip(crowds[_BARE], run, strict=True))
            lag = Spread.of(more.p99 - less.p99 for less, more in pairs)
            cpu = Spread.of(more.cpu - less.cpu for less, more in pairs)
            p50, p99, busy = (Spread.of(map(attrgetter(figure), run)) for figure in ("p50", "p99", "cpu"))
            added = [f"{lag:+.0f}", f"{cpu:+.0f}"] if name != _BARE else ["", ""]
            aim = met(lag.median <= _AIM_LAG) if name == _TAPPED else ""
            rows.append([f"{library}, {name}", f"{p50:.0f}", f"{p99:.0f}", added[0], aim, f"{busy:.0f}", added[1]])
    head = "", "lag µs: p50", "p99", "p99 added", f"aim ≤ {_AIM_LAG:.0f}", "CPU µs a stream", "added"
    title = f"{_STREAMS:,} streams of {_CHUNKS} chunks at once, a chunk of each every {_PAUSE * 1000:.0f} ms"
    return f"### {title}, {rounds} rounds\n\n{table(head, rows)}"


def main() -> None:
    """Measure, judge and publish."""
    options = Options("benchmarks.scale", __doc__, rounds=20)
    few = max(2, options.rounds // 4)
    libraries = httpx2, httpx
    with asyncio.Runner() as runner:
        kinds = [ClientKind(library, run) for library in libraries for run in (runner.run, None)]
        big = {str(kind): _big(kind, options) for kind in kinds}
        packed = {str(kind): _calls(kind, options, lambda: Exchange.json().packed) for kind in kinds}
        elsewhere = {
            f"{kind}, {method}": _elsewhere(kind, method, options) for kind in kinds for method in ("GET", "POST")
        }
    crowds = {library.__name__: _crowds(library, options, few) for library in libraries}
    paragraphs = [
        options.heading("httpx2", "httpx", "msgspec", "orjson"),
        _CHECKED,
        _added("A request of 10 MB", big, {"tapped: median": _median, "whole block": _whole}, _AIM_BIG),
        _added(_PACKED, packed, {"tapped: median": _median, "whole block": _whole}, None),
        _added("A request to another host", elsewhere, {"tapped": _median}, _AIM_ELSEWHERE),
        _crowd_table(crowds, few),
        _imports(options, 2 * options.rounds),
    ]
    publish("scale", paragraphs, write=options.write)


if __name__ == "__main__":
    main()
