"""A receiver of OTLP over HTTP on loopback, which decodes what it takes and can misbehave in every known way."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

REQUESTS: dict[str, Any] = {
    "/v1/logs": ExportLogsServiceRequest,
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
}
Reply = tuple[int, dict[str, str], bytes]
TAKEN: Reply = (200, {}, b"")


class Receiver:
    """*answer* is asked for each request with its path and message.

    It says a reply, ``"hang"``, ``"reset"``, ``"drip head"`` or ``"drip body"``.
    """

    def __init__(self, port: int = 0) -> None:
        self.answer: Callable[[str, Any], Reply | str] = lambda _path, _message: TAKEN
        self.taken: dict[str, list[Any]] = {path: [] for path in REQUESTS}
        self.headers: list[dict[str, str]] = []
        self.asked = 0
        self.count = 0
        """Log records so far, doubled ones too."""
        self._over = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver._serve(self)

            def log_message(self, *_arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_arguments: object) -> None:
                pass  # the shipper was killed

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True).start()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        if handler.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        message = REQUESTS[handler.path].FromString(body)
        self.asked += 1
        reply = self.answer(handler.path, message)
        if reply == "hang":
            self._over.wait(60)
        if reply in ("drip head", "drip body"):
            self._drip(handler, b"HTTP/1.1 200 OK\r\n\r\n" if reply == "drip body" else b"HTTP/1.1 2")
        if isinstance(reply, str):
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
            handler.close_connection = True
            return
        status, headers, data = reply
        if status == 200:
            self.headers.append(dict(handler.headers))
            self.taken[handler.path].append(message)
            if handler.path == "/v1/logs":
                self.count += sum(len(scope.log_records) for one in message.resource_logs for scope in one.scope_logs)
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def _drip(self, handler: BaseHTTPRequestHandler, begun: bytes) -> None:
        """Answer with *begun*, and then byte by byte without an end."""
        try:
            handler.wfile.write(begun)
            while not self._over.wait(0.05):
                handler.wfile.write(b"X")
        except OSError:
            pass  # it was given up

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def logs(self) -> list[dict[str, Any]]:
        """The log records, in the order of their arrival: attributes, and ``body`` and the like as they are."""
        return [
            {
                **plain(record.attributes),
                "": record,
                "resource": plain(resource.resource.attributes),
                "scope": scope.scope.name,
            }
            for message in list(self.taken["/v1/logs"])
            for resource in message.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for message in list(self.taken["/v1/traces"])
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def metrics(self) -> list[Any]:
        return [
            metric
            for message in list(self.taken["/v1/metrics"])
            for resource in message.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]

    def wait_for(self, fact: Callable[[], bool], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not fact():
            assert time.monotonic() < deadline, f"{self.count} records, {self.asked} requests"
            time.sleep(0.01)


def partly(count: int, message: str) -> Reply:
    """A reply that takes a request of logs and throws *count* of it away."""
    response = ExportLogsServiceResponse()
    response.partial_success.rejected_log_records = count
    response.partial_success.error_message = message
    return 200, {"Content-Type": "application/x-protobuf"}, response.SerializeToString()


def plain(pairs: Any) -> dict[str, Any]:
    """Attributes as Python values."""
    return {pair.key: value_of(pair.value) for pair in pairs}


def value_of(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return plain(value.kvlist_value.values)
    return getattr(value, kind) if kind else None
