"""What can be put on a client to know its calls: the tap, OpenTelemetry's instrumentation, logfire, a response hook."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import logfire
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor, HTTPXClientInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import cipherlog_core
from benchmarks.clients import ClientKind
from benchmarks.data import COST
from benchmarks.harness import read_back, require
from openrouter_tap import TapOptions, TappedTransport

__all__ = [
    "Instrumented",
    "bare",
    "check_taps",
    "hooked",
    "logfired",
    "logging_to",
    "tapped",
    "traced",
    "without_opentelemetry",
]


@dataclass(frozen=True, slots=True)
class Instrumented:
    """A client, and what belongs to its instrument."""

    kind: ClientKind
    client: Any
    inner: Any
    """The transport that does the work."""
    settle: Callable[[], object] = lambda: None
    """Does the work that was put off."""
    records: Callable[[], int] = lambda: 0
    """How many records a rival has made so far."""
    surroundings: Callable[[], AbstractContextManager[object]] = nullcontext
    close: Callable[[], object] = lambda: None


@contextmanager
def logging_to(folder: str) -> Iterator[None]:
    """Log at WARNING: below that the libraries log each request, tapped or not."""
    cipherlog_core.start(
        "benchmark", settings=cipherlog_core.Settings(dir=folder, level="WARNING", backups=0, gzip=False)
    )
    try:
        yield
    finally:
        cipherlog_core.stop()


def check_taps(folder: Path, sent: Sequence[str], *, streamed: bool) -> None:
    """Each of the calls *sent* has left one line, with its cost and outcome."""
    require(cipherlog_core.flush(), "the log could not be flushed")
    require(cipherlog_core.stats().dropped == 0, "records were dropped")
    events = [record["fields"] for record in read_back(folder)[0]]
    require(len(events) == len(sent), f"{len(sent)} calls left {len(events)} lines")
    require({event["generation_id"] for event in events} == set(sent), "some lines are of no call")
    facts = {(event["request_model"], event["cost"]["total"], event["outcome"], event["streamed"]) for event in events}
    require(facts <= {("openai/gpt-4o", COST, "completed", streamed)}, f"facts of the calls are {facts}")


def bare(kind: ClientKind) -> Instrumented:
    inner = kind.transport()
    return Instrumented(kind, kind.client(inner), inner)


def tapped(kind: ClientKind, *, beside: bool = False) -> Instrumented:
    """The tap; *beside*: in a program that has imported OpenTelemetry, which the tap then asks for the trace's id."""
    inner = kind.transport()
    client = kind.client(TappedTransport(inner, options=TapOptions(hosts=("127.0.0.1",))))
    around = nullcontext if beside else without_opentelemetry
    return Instrumented(kind, client, inner, settle=cipherlog_core.flush, surroundings=around)


@contextmanager
def without_opentelemetry() -> Iterator[None]:
    """As in a program that never imported it."""
    hidden = sys.modules.pop("opentelemetry.trace")
    try:
        yield
    finally:
        sys.modules["opentelemetry.trace"] = hidden


def traced(kind: ClientKind) -> Instrumented:
    """OpenTelemetry's own instrumentation with its SDK, its default sampler (all calls) and its batch processor."""
    inner = kind.transport()
    client = kind.client(inner)
    exporter = _Dropping()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    instrumentor = HTTPXClientInstrumentor if kind.library.__name__ == "httpx" else HTTPX2ClientInstrumentor
    instrumentor.instrument_client(client, tracer_provider=provider)
    return Instrumented(
        kind, client, inner, provider.force_flush, records=lambda: exporter.spans, close=provider.shutdown
    )


def logfired(kind: ClientKind) -> Instrumented:
    """logfire as it is by default, but for what it would print and send; without metrics, as OpenTelemetry is."""
    inner = kind.transport()
    client = kind.client(inner)
    exporter = _Dropping()
    instance = logfire.configure(
        local=True,
        send_to_logfire=False,
        console=False,
        metrics=False,
        additional_span_processors=[BatchSpanProcessor(exporter)],
    )
    instance.instrument_httpx(client)
    return Instrumented(
        kind, client, inner, instance.force_flush, records=lambda: exporter.spans, close=instance.shutdown
    )


class _Dropping(SpanExporter):
    """Counts the spans; an exporter of use would also encode and send them."""

    def __init__(self) -> None:
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


def hooked(kind: ClientKind, path: Path, *, streamed: bool) -> Instrumented:
    """A response hook that appends a line to *path*.

    It reads a JSON reply; a stream it logs by its headers, because to read it would withhold it from the caller.
    """

    def append(response: Any) -> None:
        reply = {} if streamed else response.json()
        usage = reply.get("usage", {})
        record = {
            "ts": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "event": "openrouter_cost",
            "provider": "openrouter",
            "generation_id": response.headers["x-generation-id"],
            "model": reply.get("model"),
            "tokens": {name: usage.get(f"{name}_tokens") for name in ("prompt", "completion", "total")},
            "cost": usage.get("cost"),
            "http_status": response.status_code,
        }
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def on_response(response: Any) -> None:
        if not streamed:
            response.read()
        append(response)

    async def on_async_response(response: Any) -> None:
        if not streamed:
            await response.aread()
        append(response)

    inner = kind.transport()
    hook = on_async_response if kind.run else on_response
    client = kind.client(inner, event_hooks={"response": [hook]})
    return Instrumented(kind, client, inner, records=lambda: path.read_bytes().count(b"\n"))
