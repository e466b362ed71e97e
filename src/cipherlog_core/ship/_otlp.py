"""Lines of logs as requests of OTLP, in the messages of the OpenTelemetry project."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple, Protocol

import msgspec
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, ResourceMetrics, ScopeMetrics
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

__all__ = ["Encoder", "Entry", "Signals", "attributes", "entries", "ids_of", "nanoseconds", "signals"]

_SEVERITIES: dict[str, Any] = {"DEBUG": 5, "INFO": 9, "WARNING": 13, "ERROR": 17, "CRITICAL": 21}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UNNAMED = "unknown_service"  # as OpenTelemetry calls it
_GROUP = "cipherlog_core.ship"
_INT64, _UINT64 = 1 << 63, 1 << 64
_DEEPEST = 24  # lists and objects in each other; protobuf decoders end at 100 messages, an object makes 3
_OURS = "log.record.uid", "log.file.name"  # what a record is told by, whatever a field is called
_EXC = {"type": "exception.type", "message": "exception.message", "stack": "exception.stacktrace"}

Record = dict[str, Any]


class Entry(NamedTuple):
    """A line, and the record in it; None where it is none: text, or torn."""

    line: bytes
    record: Record | None


class Signals(Protocol):
    """What the records of one event say beside their log records."""

    def span(self, record: Record) -> Span | None:
        """The span of *record*. Raises whatever it likes for one that is not as it should be."""

    def metrics(self, records: Sequence[Record]) -> list[Metric]:
        """What *records* add to the metrics, as sums since the last request (delta)."""


def signals() -> dict[str, Signals]:
    """By event, those of all installed packages."""
    found = importlib.metadata.entry_points(group=_GROUP)
    return {entry.name: entry.load()() for entry in found}


def entries(lines: Iterable[bytes]) -> list[Entry]:
    """The records in *lines*."""
    return [Entry(line, _record(line)) for line in lines]


def _record(line: bytes) -> Record | None:
    try:
        record = msgspec.json.decode(line)
        is_ours = (
            isinstance(record["fields"], dict)
            and all(isinstance(record[key], str) for key in ("event", "id", "logger"))
            and isinstance(record.setdefault("server", None), str | None)
            and 0 <= nanoseconds(record["ts"]) < _UINT64
        )
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError, KeyError):
        return None
    return record if is_ours else None


class Encoder:
    """Makes the requests of all signals. *resource*: what is known of the service; its name wins over the records'."""

    def __init__(self, resource: Mapping[str, str], more: Mapping[str, Signals]) -> None:
        self._resource = dict(resource)
        self._more = more

    def encode(self, signal: str, log: str, batch: Sequence[Entry]) -> Any | None:
        """The request that *batch*, of the file *log*, makes of *signal*; None where it makes nothing."""
        if signal == "logs":
            return self._logs(log, batch) if batch else None
        records = [entry.record for entry in batch if entry.record and entry.record["event"] in self._more]
        return self._spans(records) if signal == "traces" else self._metrics(records)

    def _logs(self, log: str, batch: Sequence[Entry]) -> Any:
        observed = time.time_ns()
        request = ExportLogsServiceRequest()
        # Neighbours only, here and below: the order of a process's records is to be the order of their lines.
        for server, of_server in groupby(batch, _server):
            scopes = [
                ScopeLogs(scope=_scope(logger), log_records=[self._log(log, entry, observed) for entry in group])
                for logger, group in groupby(of_server, _logger)
            ]
            request.resource_logs.append(ResourceLogs(resource=self._resource_of(server), scope_logs=scopes))
        return request

    def _log(self, log: str, entry: Entry, observed: int) -> LogRecord:
        if entry.record is not None:
            with suppress(Exception):  # whatever another program writes under our names: it is text at least
                record = log_record(entry.record, log, observed)
                if not record.span_id and (span := self._span(entry.record)):
                    record.trace_id, record.span_id = span.trace_id, span.span_id
                return record
        body = AnyValue(string_value=entry.line.decode(errors="replace"))
        return LogRecord(observed_time_unix_nano=observed, body=body, attributes=attributes({"log.file.name": log}))

    def _span(self, record: Record) -> Span | None:
        more = self._more.get(record["event"])
        try:
            return more.span(record) if more else None
        except Exception:  # noqa: BLE001  a record of its event that is none of its schema: it is a log record at least
            return None

    def _spans(self, records: list[Record]) -> Any | None:
        request = ExportTraceServiceRequest()
        made = [(record, span) for record in records if (span := self._span(record))]
        for (server, logger), group in groupby(made, lambda one: (one[0].get("server"), one[0].get("logger"))):
            scope = ScopeSpans(scope=_scope(logger), spans=[span for _, span in group])
            request.resource_spans.append(ResourceSpans(resource=self._resource_of(server), scope_spans=[scope]))
        return request if made else None

    def _metrics(self, records: list[Record]) -> Any | None:
        request = ExportMetricsServiceRequest()
        for (server, logger, event), group in groupby(sorted(records, key=_kind), _kind):
            if found := _metrics_of(self._more[event], list(group)):
                scope = ScopeMetrics(scope=_scope(logger), metrics=found)
                resource = self._resource_of(server or None)
                request.resource_metrics.append(ResourceMetrics(resource=resource, scope_metrics=[scope]))
        return request if request.resource_metrics else None

    def _resource_of(self, server: str | None) -> Resource:
        name = {"service.name": server or _UNNAMED}
        return Resource(attributes=attributes({**name, **self._resource}))


def _kind(record: Record) -> tuple[str, str, str]:
    return record["server"] or "", record["logger"], record["event"]


def _metrics_of(more: Signals, records: Sequence[Record]) -> list[Metric]:
    """What *records* add; each alone where they cannot be added, and nothing for one that makes none."""
    try:
        return more.metrics(records)
    except Exception:  # noqa: BLE001  as of spans; sums may overflow, too
        return [metric for one in records for metric in _metrics_of(more, [one])] if len(records) > 1 else []


def log_record(record: Record, log: str, observed: int) -> LogRecord:
    """The log record of a *record* of the file *log*. Its fields keep their names; what is null is left out.

    A field wins over what the head says under the same name, but for `_OURS`: there it is called ``fields.…``.
    """
    fields = dict(record["fields"])
    body = fields.pop("message") if record["event"] == "log" and "message" in fields else record["event"]
    exc = fields.pop("exc") if isinstance(fields.get("exc"), dict) else {}
    trace_id, span_id = ids_of(fields)
    found = {f"fields.{name}" if name in _OURS else name: value for name, value in _flat(fields, "")}
    more = {
        **{_EXC.get(name, f"exc.{name}"): _stack(value) if name == "stack" else value for name, value in exc.items()},
        "log.record.uid": record["id"],
        "log.file.name": log,
        "process.pid": record.get("pid"),
        "thread.name": record.get("thread"),
        "server": record.get("server"),
        "tool": record.get("tool"),
        "session.id": record.get("session_id"),
        "request_id": record.get("request_id"),
    }
    return LogRecord(
        time_unix_nano=nanoseconds(record["ts"]),
        observed_time_unix_nano=observed,
        severity_number=_SEVERITIES.get(record.get("level", ""), 0),
        severity_text=str(record.get("level") or ""),
        event_name=record["event"],
        body=_any(body),
        trace_id=trace_id,
        span_id=span_id,
        attributes=[
            KeyValue(key=key, value=_any(value)) for key, value in {**found, **dict(_flat(more, "")), **found}.items()
        ],
    )


def _stack(lines: Any) -> Any:
    return "\n".join(map(str, lines)) if isinstance(lines, list) else lines


def nanoseconds(ts: str) -> int:
    """Since 1970, of a record's time. Raises `ValueError`."""
    return (datetime.fromisoformat(ts) - _EPOCH) // _MICROSECOND * 1000


def ids_of(fields: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """The trace and the span that *fields* name; empty where they name none."""
    try:
        trace_id, span_id = (bytes.fromhex(fields.get(name) or "") for name in ("trace_id", "span_id"))
    except (ValueError, TypeError):
        return b"", b""
    return (trace_id, span_id) if (len(trace_id), len(span_id)) == (16, 8) else (b"", b"")


def attributes(values: Mapping[str, Any]) -> list[KeyValue]:
    """Attributes of *values*: objects by dotted names, null left out."""
    return [KeyValue(key=key, value=_any(value)) for key, value in _flat(values, "")]


def _flat(values: Mapping[str, Any], prefix: str, left: int = _DEEPEST) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and left:
            yield from _flat(value, f"{prefix}{name}.", left - 1)
        elif value is not None:
            yield f"{prefix}{name}", value


def _any(value: Any, left: int = _DEEPEST) -> AnyValue:
    """*value*; what is deeper in it than *left* is JSON."""
    if not left and isinstance(value, list | dict):
        return AnyValue(string_value=msgspec.json.encode(value).decode())
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, int) and -_INT64 <= value < _INT64:
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[_any(one, left - 1) for one in value]))
    if isinstance(value, dict):
        pairs = [KeyValue(key=name, value=_any(one, left - 1)) for name, one in value.items()]
        return AnyValue(kvlist_value=KeyValueList(values=pairs))
    return AnyValue() if value is None else AnyValue(string_value=str(value))


def _scope(logger: str | None) -> InstrumentationScope:
    return InstrumentationScope(name=logger or "")


def _server(entry: Entry) -> str | None:
    return entry.record["server"] if entry.record else None


def _logger(entry: Entry) -> str | None:
    return entry.record["logger"] if entry.record else None
