"""The shipper against a real gRPC server that behaves in every known way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import (
    LogsServiceServicer,
    add_LogsServiceServicer_to_server,
)

from cipherlog_core._folders import Folders
from cipherlog_core.ship import _shipper
from cipherlog_core.ship._options import destinations
from cipherlog_core.ship._shipper import Shipper
from shipping import Told, folder, line, told

__all__ = ["folder", "told"]

LOGS_ONLY = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}


class Logs(LogsServiceServicer):
    """*answer* is asked for each request; what it lets pass is taken."""

    def __init__(self) -> None:
        self.answer: Callable[[grpc.ServicerContext], Any] = lambda _context: None
        self.asked: list[float] = []
        self.numbers: list[int] = []
        self.metadata: dict[str, Any] = {}
        self.over = threading.Event()

    def Export(self, request: Any, context: grpc.ServicerContext) -> ExportLogsServiceResponse:  # noqa: N802
        self.asked.append(time.monotonic())
        self.metadata = dict(context.invocation_metadata())
        self.answer(context)
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                self.numbers += [record.attributes[0].value.int_value for record in scope.log_records]
        return ExportLogsServiceResponse()


@pytest.fixture
def service() -> Iterator[tuple[Logs, str]]:
    logs = Logs()
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", 20_000)])
    add_LogsServiceServicer_to_server(logs, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield logs, f"http://127.0.0.1:{port}"
    logs.over.set()
    server.stop(None).wait(5)


@pytest.fixture
def ship(
    service: tuple[Logs, str], told: Told, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Shipper]:
    monkeypatch.setattr(_shipper, "_BACK_OFF", (0.01, 0.05))

    def do(**environ: str) -> Shipper:
        to = destinations({**LOGS_ONLY, **environ}, service[1], "grpc")
        shipper = Shipper(Folders.of(str(folder)), to, {}, lambda *said: told.append(said))
        shipper.run(once=True)
        return shipper

    return do


def write(folder: Path, count: int) -> None:
    (folder / "app.jsonl").write_bytes(b"".join(map(line, range(count))))


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED", "INTERNAL"])
def test_what_cannot_be_taken_now_is_sent_again(
    service: tuple[Logs, str], ship: Callable[..., Shipper], folder: Path, code: str
) -> None:
    """Until it is taken."""
    logs, _ = service
    write(folder, 30)
    logs.answer = lambda context: context.abort(grpc.StatusCode[code], "not now") if len(logs.asked) < 3 else None

    ship()

    assert logs.numbers == list(range(30))
    assert len(logs.asked) == 3


def test_the_retry_info_of_a_receiver_is_honoured(
    service: tuple[Logs, str], ship: Callable[..., Shipper], folder: Path
) -> None:
    """It is what Retry-After is in HTTP."""
    logs, _ = service
    write(folder, 1)

    def answer(context: grpc.ServicerContext) -> None:
        if len(logs.asked) == 1:
            detail = AnyMessage()
            detail.Pack(RetryInfo(retry_delay=Duration(nanos=600_000_000)))
            status = Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="slowly", details=[detail])
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slowly")

    logs.answer = answer

    ship()

    assert logs.asked[1] - logs.asked[0] >= 0.6
    assert logs.numbers == [0]


def test_a_retry_info_of_nothing_keeps_the_back_off(
    service: tuple[Logs, str], ship: Callable[..., Shipper], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It means now, which every receiver that is ailing would regret."""
    monkeypatch.setattr(_shipper, "_BACK_OFF", (0.2, 0.2))
    logs, _ = service
    write(folder, 1)

    def answer(context: grpc.ServicerContext) -> None:
        if len(logs.asked) == 1:
            detail = AnyMessage()
            detail.Pack(RetryInfo(retry_delay=Duration()))
            status = Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message="now", details=[detail])
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            context.abort(grpc.StatusCode.UNAVAILABLE, "now")

    logs.answer = answer

    ship()

    assert logs.asked[1] - logs.asked[0] >= 0.1


def test_a_message_beyond_the_limit_of_the_receiver_is_split(
    service: tuple[Logs, str], ship: Callable[..., Shipper], folder: Path
) -> None:
    """gRPC's own limit, which a receiver has at 4 MiB as a rule."""
    logs, _ = service
    write(folder, 300)

    shipped = ship().shipped

    assert (logs.numbers, shipped.parked) == (list(range(300)), 0)
    assert len(logs.asked) > 1


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "UNAUTHENTICATED", "UNIMPLEMENTED"])
def test_refused_batches_are_kept(
    service: tuple[Logs, str], ship: Callable[..., Shipper], folder: Path, told: Told, code: str
) -> None:
    """In the dead-letter file, and it says so."""
    logs, _ = service
    write(folder, 3)
    logs.answer = lambda context: context.abort(grpc.StatusCode[code], "never")

    assert ship().shipped.parked == 3
    assert [kind for kind, _ in told] == ["refused logs"]


def test_headers_are_metadata(service: tuple[Logs, str], ship: Callable[..., Shipper], folder: Path) -> None:
    """In lower case, as gRPC wants them."""
    write(folder, 1)

    ship(OTEL_EXPORTER_OTLP_HEADERS="X-Key=a b", OTEL_EXPORTER_OTLP_COMPRESSION="gzip")

    assert service[0].metadata["x-key"] == "a b"


@pytest.mark.soak
def test_a_hanging_receiver_does_not_hold_the_command(service: tuple[Logs, str], folder: Path) -> None:
    """SIGTERM ends it within two seconds."""
    logs, url = service
    write(folder, 1)
    logs.answer = lambda _context: logs.over.wait(30)
    command = [sys.executable, "-m", "openrouter_tap", "ship", "--dir", str(folder), "--endpoint", url]
    process = subprocess.Popen([*command, "--protocol", "grpc"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not logs.asked:
        assert time.monotonic() < deadline
        time.sleep(0.01)

    begun = time.monotonic()
    process.terminate()

    assert process.wait(10) == 1  # something is left
    assert time.monotonic() - begun < 2.3


LOGS_AT_ITS_END = """
import threading, cipherlog_core
logger = cipherlog_core.start("app")
logger.event("numbered", seq=0)
threading.Event().wait(1.2)  # the thread has shipped it
logger.event("numbered", seq=1)
"""


def test_the_end_of_a_process_ships_what_it_logged_last(service: tuple[Logs, str], tmp_path: Path) -> None:
    """At its end an interpreter starts no thread any more (3.12)."""
    logs, url = service
    more = {"LOG_DIR": str(tmp_path / "logs"), "LOG_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    subprocess.run([sys.executable, "-c", LOGS_AT_ITS_END], env={**os.environ, **LOGS_ONLY, **more}, check=True)

    assert logs.numbers == [0, 1]
