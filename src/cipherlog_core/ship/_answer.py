"""What became of a request to a receiver."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

__all__ = ["LONGEST_WAIT", "SHOWN", "Answer", "partial_success"]

SHOWN = 200
"""Characters of what a receiver says."""
LONGEST_WAIT = 3600.0
"""Seconds that a receiver may ask for."""

_REJECTED = {"logs": "rejected_log_records", "traces": "rejected_spans", "metrics": "rejected_data_points"}
_RESPONSES: dict[str, Any] = {
    "logs": ExportLogsServiceResponse,
    "traces": ExportTraceServiceResponse,
    "metrics": ExportMetricsServiceResponse,
}


class Answer(NamedTuple):
    """What became of a request."""

    kind: Literal["taken", "later", "too large", "refused"]
    """``later``: the same again after a while. ``refused``: it will never be taken."""
    reason: str = ""
    wait: float | None = None
    """Seconds that the receiver asked for."""
    rejected: int = 0
    """Items of a request that was taken which the receiver has thrown away."""


def partial_success(signal: str, response: Any) -> Answer:
    """What a receiver that took a request says of its parts. *response*: its message, or the bytes of one."""
    if isinstance(response, bytes):
        try:
            response = _RESPONSES[signal].FromString(response)
        except Exception:  # noqa: BLE001  DecodeError, or none of it: an answer in JSON or HTML all the same
            return Answer("taken")
    told = response.partial_success
    return Answer("taken", told.error_message[:SHOWN], rejected=getattr(told, _REJECTED[signal]))
