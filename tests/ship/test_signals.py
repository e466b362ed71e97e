"""What a call says in traces and metrics, in the conventions for generative AI."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Logs

import cipherlog_core
from cipherlog_core._folders import Folders
from cipherlog_core.ship._options import destinations
from cipherlog_core.ship._shipper import Shipper
from openrouter_tap import Cost, Tokens, log_cost
from openrouter_tap._event import Outcome
from receiver import Receiver, plain
from shipping import folder, line, numbers, receiver, ship, told

__all__ = ["folder", "receiver", "ship", "told"]

Ship = Callable[..., Shipper]


def cost(total: float | None, **more: Any) -> None:
    log_cost(model="m/x", tokens=Tokens(prompt=10, completion=5, cache_write=2), cost=Cost(total=total), **more)


def calls(logs: Logs) -> None:
    for total in (0.1, 0.2, None):
        cost(total, latency_ms=1500.25, generation_id="gen-1", team="a")
    assert cipherlog_core.flush()


@pytest.mark.parametrize("opt_in", [None, "http,gen_ai_latest_experimental"])
def test_a_call_is_a_span_and_metrics_in_the_chosen_convention(
    logs: Logs, receiver: Receiver, opt_in: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time true to the call; tokens and cost as recorded; money added as decimals."""
    calls(logs)
    if opt_in:
        monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", opt_in)

    Shipper(Folders.of(str(logs.folder)), destinations({}, receiver.url), {}, print).run(once=True)

    records = logs.read()
    assert [span.end_time_unix_nano - span.start_time_unix_nano for span in receiver.spans] == [1_500_250_000] * 3
    assert [plain(span.attributes)["log.record.uid"] for span in receiver.spans] == [one["id"] for one in records]
    first = plain(receiver.spans[0].attributes)
    write_name = "gen_ai.usage.cache_write.input_tokens" if opt_in else "gen_ai.usage.cache_creation.input_tokens"
    assert (first["gen_ai.usage.input_tokens"], first["gen_ai.usage.output_tokens"], first[write_name]) == (10, 5, 2)
    assert (first["gen_ai.usage.cost.amount"], first["gen_ai.usage.cost.currency"]) == (0.1, "USD")
    assert "gen_ai.usage.cost.amount" not in plain(receiver.spans[2].attributes)
    assert first["openrouter.tag.team"] == "a"
    metrics = {metric.name: metric for metric in receiver.metrics}
    assert metrics["gen_ai.usage.cost.amount"].sum.data_points[0].as_double == 0.3  # 0.1 + 0.2 as decimals
    if opt_in:
        assert metrics["gen_ai.client.inference.usage.input_tokens"].sum.data_points[0].as_int == 30
        assert metrics["gen_ai.client.inference.duration"].histogram.data_points[0].sum == 4.50075
    else:
        points = metrics["gen_ai.client.token.usage"].histogram.data_points
        assert {plain(one.attributes)["gen_ai.token.type"]: one.sum for one in points} == {"input": 30, "output": 15}
        assert metrics["gen_ai.client.operation.duration"].histogram.data_points[0].sum == 4.50075


TRACE = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"}
ERROR = {"type": "rate_limit_exceeded", "code": "429"}


@pytest.mark.parametrize("outcome", sorted(Outcome.__args__))
def test_a_span_has_the_parent_and_the_status_that_its_line_tells(
    ship: Ship, receiver: Receiver, logs: Logs, folder: Path, outcome: str
) -> None:
    """Error where the call failed; a child of the span in which it was made; its log record names that one, too."""
    cost(0.1, latency_ms=2.5)
    (record,) = logs.read()
    error = ERROR if outcome in ("http_error", "stream_error", "failed") else None
    record["fields"] |= {
        **TRACE,
        "outcome": outcome,
        "error": error,
        "host": "openrouter.ai" if error else "::1",
        "ttft_ms": 1.5,
    }
    (folder / "openrouter-costs.jsonl").write_text(json.dumps(record) + "\n")

    ship()

    (span,) = receiver.spans
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == tuple(TRACE.values())
    assert len(span.span_id) == 8
    assert (span.status.code, span.status.message) == ((2, ERROR["type"]) if error else (0, ""))
    told = plain(span.attributes)
    assert told.get("error.type") == (ERROR["type"] if error else None)
    assert told["server.address"] == record["fields"]["host"]
    assert told["gen_ai.response.time_to_first_chunk"] == 0.0015
    assert receiver.logs[0][""].span_id.hex() == TRACE["span_id"]


def test_a_record_that_is_none_of_its_schema_is_a_log_record_all_the_same(
    ship: Ship, receiver: Receiver, folder: Path
) -> None:
    """And no span, nor in any metric."""
    (folder / "openrouter-costs.jsonl").write_bytes(line(1, event="openrouter_cost") + line(2))

    ship()

    assert (numbers(receiver), receiver.spans, receiver.metrics) == ([1, 2], [], [])


def test_a_record_that_is_shipped_twice_makes_the_same_span_twice(logs: Logs, receiver: Receiver) -> None:
    """And its log record is of that span: all three can be told by id."""
    calls(logs)
    for _ in range(2):
        Shipper(Folders.of(str(logs.folder)), destinations({}, receiver.url), {}, print).run(once=True)
        (logs.folder / ".spool" / "ship.json").unlink()

    ids = [(span.trace_id, span.span_id) for span in receiver.spans]
    assert ids[:3] == ids[3:]
    assert len(set(ids)) == 3
    assert ids == [(record[""].trace_id, record[""].span_id) for record in receiver.logs]
