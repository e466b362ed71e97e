"""What is added to a call of the openai SDK by the tap, and by what else can be put under or around that SDK."""

from __future__ import annotations

import importlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import httpx2
import openai
from openai.resources.chat.completions import Completions
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import cipherlog_core
from benchmarks.clients import ClientKind
from benchmarks.data import Exchange
from benchmarks.harness import Block, Options, Series, Spread, differences, interleave, publish, require, table
from benchmarks.harness import spared_collector as spared
from benchmarks.instruments import check_taps, logging_to
from openrouter_tap import tap_client

__all__ = ["main"]

_CALLS, _STREAMS, _CHUNKS = 100, 30, 100
_BARE, _CONTROL, _TAPPED = "bare", "bare again (control)", "tapped"
_KIND = ClientKind(httpx2)
_INSTRUMENTORS = {
    "OpenLLMetry": "opentelemetry.instrumentation.openai",
    "openinference": "openinference.instrumentation.openai",
    "OpenTelemetry openai-v2": "opentelemetry.instrumentation.openai_v2",
}
_PACKAGES = (
    *("openai", "httpx2", "opentelemetry-sdk", "opentelemetry-instrumentation-openai", "langfuse"),
    *("openinference-instrumentation-openai", "opentelemetry-instrumentation-openai-v2", "opentelemetry-util-genai"),
)
_PATCHED = ((Completions, "create"), (openai.OpenAI, "request"))
_CHECKED = (
    "`OpenAI(...).chat.completions.create`, sync, over a stub in place of the network; the work that is put off falls "
    "into the *whole block*. Checked: the log has one line for each tapped call, with its id, cost and outcome; each "
    "rival exported at least one span for each of its calls. Their exporter drops the spans instead of encoding and "
    "sending them; the tap writes its record to disk. OpenLLMetry, openinference and langfuse record prompts and "
    "answers, as they do by default; OpenTelemetry openai-v2 and the tap do not."
)
_clock = time.perf_counter_ns
_Attributes = list[tuple[Any, str, Any]]


class _Dropping(SpanExporter):
    """Counts the spans; an exporter of use would also encode and send them."""

    def __init__(self) -> None:
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


def _attributes() -> _Attributes:
    """What the rivals patch, as it is now."""
    return [(owner, name, vars(owner).get(name)) for owner, name in _PATCHED]


def _set(attributes: _Attributes) -> None:
    for owner, name, value in attributes:
        if value is not None:
            setattr(owner, name, value)
        elif name in vars(owner):
            delattr(owner, name)


@dataclass
class Variant:
    """Blocks of calls through one client, with the patches of one rival in force for that time."""

    patches: _Attributes
    streamed: bool
    is_tapped: bool = False
    settle: Callable[[], object] = lambda: None
    sent: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.inner = _KIND.transport()
        client = _KIND.client(self.inner)
        self.client = openai.OpenAI(
            base_url="https://openrouter.ai/api/v1",
            api_key="none",
            http_client=tap_client(client) if self.is_tapped else client,
        )

    def __call__(self) -> Block:
        if self.streamed:
            exchanges = [Exchange.sse(_CHUNKS - 3) for _ in range(_STREAMS)]
        else:
            exchanges = [Exchange.json() for _ in range(_CALLS)]
        asked = [json.loads(exchange.request) for exchange in exchanges]
        self.sent += [exchange.generation_id for exchange in exchanges]
        with spared(), self._patched():
            begin = _clock()
            calls = [self._call(exchange, body) for exchange, body in zip(exchanges, asked, strict=True)]
            called = _clock() - begin
            self.settle()
            return Block(calls, called, _clock() - begin)

    @contextmanager
    def _patched(self) -> Iterator[None]:
        plain = _attributes()
        _set(self.patches)
        try:
            yield
        finally:
            _set(plain)

    def _call(self, exchange: Exchange, body: dict[str, Any]) -> int:
        self.inner.exchange = exchange
        start = _clock()
        reply = self.client.chat.completions.create(**body)
        if self.streamed:
            for _ in reply:
                pass
        del reply
        return _clock() - start


def _patches_of(instrument: Callable[[], object]) -> _Attributes:
    """What *instrument* makes of the SDK, which is then as it was."""
    plain = _attributes()
    try:
        instrument()
        return _attributes()
    finally:
        _set(plain)


@dataclass(frozen=True)
class Rival:
    """What a rival makes of the SDK, and what ends its work that was put off."""

    patches: _Attributes
    settle: Callable[[], object]
    exporter: _Dropping

    @classmethod
    def of(cls, name: str) -> Rival:
        """Raises `ImportError` where it cannot be had."""
        exporter, provider = _Dropping(), TracerProvider(shutdown_on_exit=False)
        if name == "langfuse":
            client = importlib.import_module("langfuse").Langfuse(
                public_key="pk", secret_key="none", tracer_provider=provider, span_exporter=exporter
            )
            return cls(_patches_of(lambda: importlib.import_module("langfuse.openai")), client.flush, exporter)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        instrumentor = importlib.import_module(_INSTRUMENTORS[name]).OpenAIInstrumentor()
        patches = _patches_of(lambda: instrumentor.instrument(tracer_provider=provider))
        return cls(patches, provider.force_flush, exporter)


def _compare(options: Options, rivals: dict[str, Rival], *, streamed: bool) -> str:
    plain = _attributes()
    with tempfile.TemporaryDirectory() as name, logging_to(name):
        variants = {
            _BARE: Variant(plain, streamed),
            _CONTROL: Variant(plain, streamed),
            _TAPPED: Variant(plain, streamed, is_tapped=True, settle=cipherlog_core.flush),
            **{rival: Variant(it.patches, streamed, settle=it.settle) for rival, it in rivals.items()},
        }
        before = {rival: it.exporter.spans for rival, it in rivals.items()}
        series = interleave(variants, options.rounds, options.draw)
        check_taps(Path(name), variants[_TAPPED].sent, streamed=streamed)
    for rival, it in rivals.items():
        spans, calls = it.exporter.spans - before[rival], len(variants[rival].sent)
        require(spans >= calls, f"{rival} exported {spans} spans of {calls} calls")
    return f"### {f'A stream of {_CHUNKS} chunks' if streamed else 'JSON'}\n\n{_table(series)}"


def _table(series: dict[str, Series]) -> str:
    median, whole = attrgetter("median"), attrgetter("whole")
    ours = Spread.of(differences(series[_BARE], series[_TAPPED], median)).median
    rows = []
    for name, one in series.items():
        added = Spread.of(differences(series[_BARE], one, median))
        rows.append(
            [
                name,
                f"{one.percentile(50):.0f}",
                f"{one.percentile(95):.0f}",
                "" if name == _BARE else f"{added:+.0f}",
                "" if name == _BARE else f"{Spread.of(differences(series[_BARE], one, whole)):+.0f}",
                "" if name in (_BARE, _CONTROL) else f"{added.median / ours:.1f}",
            ]
        )
    head = "", "median µs", "p95", "added: median", "added: whole block", "median ÷ tapped"
    return table(head, rows)


def main() -> None:
    options = Options("benchmarks.sdk", __doc__ or "", 12)
    rivals, absent = {}, []
    for name in (*_INSTRUMENTORS, "langfuse"):
        try:
            rivals[name] = Rival.of(name)
        except ImportError as error:
            absent.append(f"{name} ({error})")
    tables = [_compare(options, rivals, streamed=streamed) for streamed in (False, True)]
    publish(
        "sdk",
        [
            options.heading(*_PACKAGES),
            _CHECKED,
            *(f"Not measured, because it cannot be imported with these versions: {name}." for name in absent),
            *tables,
        ],
        write=options.write,
    )


if __name__ == "__main__":
    main()
