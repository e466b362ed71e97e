"""What the record of a call says in OpenTelemetry's traces and metrics; an entry point of `cipherlog_core.ship`."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from cipherlog_core.ship._otlp import attributes, ids_of, nanoseconds
from openrouter_tap._genai import OPERATIONS, names

__all__ = ["CallSignals"]

_FAILED = ("http_error", "stream_error", "failed")
_LOCAL = {"provider": "provider", "generation_api": "provider", "estimate": "local", "caller": "local"}
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
_KINDS = ("prompt", "completion", "cached", "cache_write", "reasoning")
_OWN = (
    "upstream_provider",
    "endpoint",
    "outcome",
    "streamed",
    "attempt",
    "call_id",
    "tier_id",
    "service_tier",
    "bytes_in",
)

_EXPERIMENTAL = "Experimental: names and units may change."

Record = dict[str, Any]
Key = tuple[tuple[str, Any], ...]


class CallSignals:
    """Spans and metrics of `openrouter_cost` records, in the names that *environ* chooses."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._names = names(os.environ if environ is None else environ)

    def span(self, record: Record) -> Span:
        """The client span of the call, from its request to its outcome, the stream included.

        Where the line names no trace, its ids are made from the record's id: a record that is shipped twice makes the
        same span twice. Raises `KeyError`, `TypeError` or `ValueError` for a record that is none of its schema.
        """
        fields = record["fields"]
        end = nanoseconds(record["ts"])
        trace_id, parent = ids_of(fields)
        digest = hashlib.sha256(record["id"].encode()).digest()
        error = fields["error"] or {}
        status = Status()
        if fields["outcome"] in _FAILED:
            status = Status(code=Status.STATUS_CODE_ERROR, message=str(error.get("type") or fields["outcome"]))
        return Span(
            trace_id=trace_id or digest[:16],
            span_id=digest[16:24],
            parent_span_id=parent,
            name=f"{_operation(fields)} {fields['request_model'] or fields['model'] or ''}".strip(),
            kind=Span.SPAN_KIND_CLIENT,
            start_time_unix_nano=end - _microseconds(fields["latency_ms"]) * 1000,
            end_time_unix_nano=end,
            attributes=attributes(self._attributes(record)),
            status=status,
        )

    def _attributes(self, record: Record) -> dict[str, Any]:
        fields, name = record["fields"], self._names
        tokens, cost, error = fields["tokens"], fields["cost"], fields["error"] or {}
        known = cost["total"] is not None
        return {
            **self._shared(fields),
            name["response_id"]: fields["generation_id"],
            name["finish_reasons"]: fields["finish_reason"] and [fields["finish_reason"]],
            name["ttft"]: _seconds(fields["ttft_ms"]),
            **{name[f"tokens.{kind}"]: tokens[kind] for kind in _KINDS},
            **{name[f"cost.{part}"]: _number(cost[part]) for part in ("total", "input", "output")},
            name["cost.currency"]: cost["currency"] if known else None,
            name["cost.source"]: _LOCAL.get(cost["source"]) if known else None,
            "error.type": error.get("type"),
            "http.response.status_code": fields["http_status"],
            "log.record.uid": record["id"],
            "session.id": record["session_id"],
            **{f"openrouter.{own}": fields[own] for own in _OWN},
            "openrouter.error.code": error.get("code"),
            "openrouter.is_byok": cost["is_byok"],
            "openrouter.cost.other": _number(cost["other"]),
            "openrouter.cost.upstream": _number(cost["upstream"]),
            "openrouter.tokens": {kind: tokens[kind] for kind in ("total", "audio", "image")},
            "openrouter.tag": fields["tags"],
        }

    def _shared(self, fields: Record) -> dict[str, Any]:
        """The attributes that metrics have too: few values each."""
        return {
            self._names["operation"]: _operation(fields),
            self._names["provider"]: fields["provider"],
            self._names["request_model"]: fields["request_model"],
            self._names["model"]: fields["model"],
            "server.address": fields["host"],
        }

    def metrics(self, records: Sequence[Record]) -> list[Metric]:
        """Sums and histograms of *records* alone (delta); a record that is none of its schema is in none."""
        found = _Points()
        for record in records:
            try:
                points = list(self._points(record["fields"]))
                start, end = self._times(record)
            except (KeyError, TypeError, ValueError, AttributeError):
                continue
            for name, key, value in points:
                found.add(name, key, value, start, end)
        return found.metrics(self._names)

    def _times(self, record: Record) -> tuple[int, int]:
        end = nanoseconds(record["ts"])
        return end - _microseconds(record["fields"]["latency_ms"]) * 1000, end

    def _points(self, fields: Record) -> Iterator[tuple[str, Key, Any]]:
        shared = self._shared(fields)
        failed = {"error.type": (fields["error"] or {}).get("type")}
        for name, value in (("latency_ms", "metric.duration"), ("ttft_ms", "metric.ttft")):
            if fields[name] is not None:
                yield value, _key(shared | failed), _seconds(fields[name])
        if (total := fields["cost"]["total"]) is not None:
            more = {self._names["cost.currency"]: fields["cost"]["currency"]}
            yield "metric.cost", _key(shared | more), Decimal(repr(float(total)))
        for kind in _KINDS:
            count = fields["tokens"][kind]
            if count is None:
                continue
            if (single := f"metric.tokens.{kind}") in self._names:
                yield single, _key(shared | {self._names["modality"]: "unknown"}), int(count)
            elif kind in ("prompt", "completion"):
                kind_name = "input" if kind == "prompt" else "output"
                yield "metric.tokens", _key(shared | {self._names["token_type"]: kind_name}), int(count)


class _Points:
    """Values by metric and attributes, with the time that they span."""

    def __init__(self) -> None:
        self._values: dict[str, dict[Key, list[Any]]] = defaultdict(lambda: defaultdict(list))
        self._times: dict[tuple[str, Key], tuple[int, int]] = {}

    def add(self, name: str, key: Key, value: Any, start: int, end: int) -> None:
        """Note *value* for the metric *name*."""
        self._values[name][key].append(value)
        since, until = self._times.get((name, key), (start, end))
        self._times[name, key] = min(since, start), max(until, end)

    def metrics(self, naming: Mapping[str, str]) -> list[Metric]:
        """All of them, in the names of a convention."""
        return [self._metric(name, naming[name], values) for name, values in self._values.items()]

    def _metric(self, name: str, written: str, values: Mapping[Key, list[Any]]) -> Metric:
        delta = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
        if name in ("metric.duration", "metric.ttft", "metric.tokens"):
            unit, bounds = ("{token}", _TOKENS) if name == "metric.tokens" else ("s", _SECONDS)
            points = [self._histogram(name, key, some, bounds) for key, some in values.items()]
            histogram = Histogram(data_points=points, aggregation_temporality=delta)
            return Metric(name=written, description=_EXPERIMENTAL, unit=unit, histogram=histogram)
        numbers = [self._number(name, key, some) for key, some in values.items()]
        unit = "{USD}" if name == "metric.cost" else "{token}"
        total = Sum(data_points=numbers, aggregation_temporality=delta, is_monotonic=True)
        return Metric(name=written, description=_EXPERIMENTAL, unit=unit, sum=total)

    def _number(self, name: str, key: Key, values: list[Any]) -> NumberDataPoint:
        start, end = self._times[name, key]
        total = sum(values)
        point = NumberDataPoint(attributes=attributes(dict(key)), start_time_unix_nano=start, time_unix_nano=end)
        if name == "metric.cost":  # added as decimals
            point.as_double = float(total)
        else:
            point.as_int = total
        return point

    def _histogram(self, name: str, key: Key, values: list[Any], bounds: Sequence[float]) -> HistogramDataPoint:
        start, end = self._times[name, key]
        counts = [0] * (len(bounds) + 1)
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        return HistogramDataPoint(
            attributes=attributes(dict(key)),
            start_time_unix_nano=start,
            time_unix_nano=end,
            count=len(values),
            sum=float(sum(values)),
            min=min(values),
            max=max(values),
            bucket_counts=counts,
            explicit_bounds=bounds,
        )


def _key(values: Mapping[str, Any]) -> Key:
    return tuple((name, value) for name, value in values.items() if value is not None)


def _operation(fields: Record) -> str:
    endpoint = str(fields["endpoint"])
    return OPERATIONS.get(endpoint, endpoint)


def _microseconds(milliseconds: float | None) -> int:
    return 0 if milliseconds is None else round(milliseconds * 1000)


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else _microseconds(milliseconds) / 1_000_000


def _number(money: float | None) -> float | None:
    """Always a double: a free call's cost is the integer 0 in the line, and an attribute has one type."""
    return None if money is None else float(money)
