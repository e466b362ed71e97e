"""OTLP over gRPC."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from cipherlog_core._redact import clean_text
from cipherlog_core.ship._answer import LONGEST_WAIT, SHOWN, Answer, partial_success
from cipherlog_core.ship._options import Destination

__all__ = ["GrpcSender"]

_STUBS: dict[str, Any] = {"logs": LogsServiceStub, "traces": TraceServiceStub, "metrics": MetricsServiceStub}
_REFUSED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.UNAUTHENTICATED,
}
_SIZES = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OUT_OF_RANGE}  # also for rates: the text tells
_DETAILS = "grpc-status-details-bin"
_OPTIONS = (  # else a channel may stay away for two minutes after the receiver has come back
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5000),
)


class GrpcSender:
    """A channel to the receiver of one *signal*."""

    def __init__(self, signal: str, destination: Destination) -> None:
        self._signal = signal
        self._to = destination
        self._channel = _channel(destination)
        self._stub = _STUBS[signal](self._channel)
        self._metadata = [(name.lower(), value) for name, value in destination.headers.items()]

    def send(self, request: Any) -> Answer:
        """Send *request*."""
        try:
            response = self._stub.Export(request, timeout=self._to.timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            return _answer(error)
        return partial_success(self._signal, response)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


def _channel(to: Destination) -> Any:
    target = urlsplit(to.url).netloc
    compression = grpc.Compression.Gzip if to.compression == "gzip" else grpc.Compression.NoCompression
    if to.is_insecure:
        return grpc.insecure_channel(target, options=_OPTIONS, compression=compression)
    files = (to.certificate, to.client_key, to.client_certificate)
    credentials = grpc.ssl_channel_credentials(*map(_content, files))
    return grpc.secure_channel(target, credentials, options=_OPTIONS, compression=compression)


def _content(path: str | None) -> bytes | None:
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()


def _answer(error: Any) -> Answer:
    code, details = error.code(), error.details() or ""
    reason = f"{code.name}: {clean_text(details)}"[:SHOWN]
    if code in _SIZES and ("larger than" in details or "too large" in details):
        return Answer("too large", reason)
    if code in _REFUSED:
        return Answer("refused", reason)
    return Answer("later", reason, _wait(error))


def _wait(error: Any) -> float | None:
    """The seconds of a `RetryInfo`, which is how a receiver says Retry-After here."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS:
            try:
                for detail in Status.FromString(value).details:
                    info = RetryInfo()
                    if detail.Unpack(info):
                        return float(min(info.retry_delay.ToTimedelta().total_seconds(), LONGEST_WAIT))
            except Exception:  # noqa: BLE001  no message of that kind
                return None
    return None
