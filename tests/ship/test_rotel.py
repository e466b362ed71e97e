"""A real receiver of OpenTelemetry, Rotel, takes all three signals, over HTTP and gRPC.

It needs ``pip install --no-deps rotel==0.0.1a15``, which is in no extra: only prereleases of it exist.
"""

from __future__ import annotations

import calendar
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Logs

from openrouter_tap import Cost, Tokens, log_cost

FOUND = importlib.util.find_spec("rotel")
pytestmark = pytest.mark.skipif(FOUND is None, reason="no rotel: pip install --no-deps rotel==0.0.1a15")
PROTOCOLS = ["http/protobuf", "grpc"]


@pytest.fixture
def rotel(tmp_path: Path) -> Iterator[tuple[dict[str, str], Callable[[], str]]]:
    """A running Rotel: its endpoints by protocol, and what it has printed so far."""
    assert FOUND is not None
    assert FOUND.origin is not None
    ports = free_ports(2)
    http, grpc = (f"127.0.0.1:{port}" for port in ports)
    command = [str(Path(FOUND.origin).with_name("rotel-agent")), "start", "--exporter", "blackhole"]
    command += [part for signal in ("logs", "traces", "metrics") for part in ("--debug-log", signal)]
    command += ["--debug-log-verbosity", "detailed", "--otlp-http-endpoint", http, "--otlp-grpc-endpoint", grpc]
    printed = tmp_path / "rotel.out"
    with printed.open("wb") as out:
        environ = {**os.environ, "ROTEL_PID_FILE": str(tmp_path / "rotel.pid")}
        process = subprocess.Popen(command, env=environ, stdout=out, stderr=subprocess.STDOUT)
    for port in ports:
        wait_for(lambda port=port: is_open(port))
    yield {"http/protobuf": f"http://{http}", "grpc": f"http://{grpc}"}, lambda: printed.read_text(errors="replace")
    process.terminate()
    process.wait(10)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def is_open(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def wait_for(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_rotel_takes_all_signals_field_exact(logs: Logs, rotel: Any, protocol: str) -> None:
    """Each attribute of the log records and spans as Rotel prints them; sums and counts of the metrics."""
    endpoints, printed = rotel
    usage = Tokens(prompt=2649, completion=100, total=2749, cached=2569, cache_write=79, reasoning=7)
    money = Cost(input=0.00106995, output=0.0015, total=0.00256995, source="provider")
    for session in ("s-1", "s-2"):
        log_cost(model="maker/model", tokens=usage, cost=money, latency_ms=1833.619, session_id=session, env="prod")
    records = logs.read()

    command = [sys.executable, "-m", "openrouter_tap", "ship", "--once", "--dir", str(logs.folder)]
    command += ["--endpoint", endpoints[protocol], "--protocol", protocol]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    wait_for(lambda: printed().count("Metric #") >= 3 and printed().endswith("\n"))
    text = printed()
    for record, log, span in zip(records, items(text, "LogRecord"), items(text, "Span"), strict=True):
        assert attributes(log) == {
            **flat(record["fields"]),
            **flat({"server": record["server"]}),  # of whatever test has started one before
            "log.record.uid": record["id"],
            "log.file.name": "openrouter-costs.jsonl",
            "process.pid": str(record["pid"]),
            "thread.name": record["thread"],
            "session.id": record["session_id"],
        }
        end = nanoseconds(record["ts"])
        assert (value(log, "Timestamp"), value(log, "SeverityText"), value(log, "EventName")) == (
            str(end),
            "INFO",
            "openrouter_cost",
        )
        assert (value(span, "Start time"), value(span, "End time")) == (str(end - 1_833_619_000), str(end))
        assert value(span, "Kind") == "SPAN_KIND_CLIENT"
        assert (value(log, "Trace ID"), value(log, "Span ID")) == (value(span, "Trace ID"), value(span, "ID"))
        assert attributes(span) == SPAN | {"log.record.uid": record["id"], "session.id": record["session_id"]}
    sums = {value(one, "-> Name"): (value(one, "-> Unit"), numbers(one)) for one in items(text, "Metric")}
    assert sums == {
        "gen_ai.client.operation.duration": ("s", [3.667238]),
        "gen_ai.client.token.usage": ("{token}", [200.0, 5298.0]),
        "gen_ai.usage.cost.amount": ("{USD}", [0.0051399]),
    }


SPAN = {
    "gen_ai.operation.name": "other",
    "gen_ai.provider.name": "openrouter",
    "gen_ai.response.model": "maker/model",
    "gen_ai.usage.input_tokens": "2649",
    "gen_ai.usage.output_tokens": "100",
    "gen_ai.usage.cache_read.input_tokens": "2569",
    "gen_ai.usage.cache_creation.input_tokens": "79",
    "gen_ai.usage.reasoning.output_tokens": "7",
    "gen_ai.usage.cost.amount": "0.00256995",
    "gen_ai.usage.cost.input": "0.00106995",
    "gen_ai.usage.cost.output": "0.0015",
    "gen_ai.usage.cost.currency": "USD",
    "gen_ai.usage.cost.source": "provider",
    "openrouter.endpoint": "other",
    "openrouter.outcome": "completed",
    "openrouter.tokens.total": "2749",
    "openrouter.tag.env": "prod",
}


def items(text: str, kind: str) -> list[str]:
    """What is printed of each log record, span or metric."""
    return re.findall(
        rf"^{kind} #\d+$(.*?)(?=^\w+ #\d+$|\Z)" if kind != "Metric" else METRIC, text, re.MULTILINE | re.DOTALL
    )


METRIC = r"^Metric #\d+$(.*?)(?=^(?:Metric|Resource\w+) #\d+$|\Z)"


def value(item: str, name: str) -> str:
    match = re.search(rf"^ *{re.escape(name)} *: (.*?)(?:\(\d+\))?$", item, re.MULTILINE)
    assert match, (name, item)
    return match[1].strip()


def attributes(item: str) -> dict[str, str]:
    return dict(re.findall(r"^     -> (\S+): \w+\((.*)\)$", item, re.MULTILINE))


def numbers(metric: str) -> list[float]:
    return sorted(float(one) for one in re.findall(r"^(?:Sum|Value): (.*)$", metric, re.MULTILINE))


def nanoseconds(ts: str) -> int:
    seconds, micros = ts.removesuffix("Z").split(".")
    return calendar.timegm(time.strptime(seconds, "%Y-%m-%dT%H:%M:%S")) * 10**9 + int(micros) * 1000


def flat(fields: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """As text, nested names with dots, without what is null."""
    found: dict[str, str] = {}
    for name, one in fields.items():
        if isinstance(one, dict):
            found |= flat(one, f"{prefix}{name}.")
        elif one is not None:
            found[f"{prefix}{name}"] = one if isinstance(one, str) else json.dumps(one)
    return found
