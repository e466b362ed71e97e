"""Lines of every kind: none of them stops those after it, and a caller's names stay the caller's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Logs

from cipherlog_core.ship._shipper import Shipper
from openrouter_tap import Cost, Tokens, log_cost
from receiver import Receiver
from shipping import folder, line, numbers, receiver, ship, told

__all__ = ["folder", "receiver", "ship", "told"]

Ship = Callable[..., Shipper]


def nested(opening: str, closing: str, depth: int) -> bytes:
    return line(2).replace(b'"seq": 2', b'"seq": 2, "a": ' + opening.encode() * depth + b"1" + closing.encode() * depth)


TEXTS = {
    "brackets": b"[" * 200_000 + b"\n",
    "before 1970": line(2, ts="1960-01-01T00:00:00Z"),
    "after 2554": line(2, ts="2600-01-01T00:00:00Z"),
    "year 9999": line(2, ts="9999-01-01T00:00:00Z"),
    "level": line(2, level=[]),
    "server": line(2, server={"a": 1}),
    "surrogate": line(2, fields={"seq": 2, "a": "\ud800"}),
}
RECORDS = {
    "lists": nested("[", "]", 300),
    "objects": nested('{"a":', "}", 300),
    "mixed": nested('[{"a":', "}]", 40),
    "no stack": line(2, fields={"seq": 2, "exc": {"type": "E", "stack": None}}),
    "numbers as stack": line(2, fields={"seq": 2, "exc": {"type": "E", "stack": [1]}}),
    "huge": line(2, fields={"seq": 2, "n": 10**30}),
}


@pytest.mark.parametrize("kind", [*TEXTS, *RECORDS])
def test_no_line_stops_those_after_it(ship: Ship, receiver: Receiver, folder: Path, kind: str) -> None:
    """What can be a record is one; the rest is text; both in their place."""
    poison = {**TEXTS, **RECORDS}[kind]
    (folder / "app.jsonl").write_bytes(line(1) + poison + line(3))

    shipped = ship().shipped

    assert (shipped.lines, shipped.parked) == (3, 0)
    assert numbers(receiver) == ([1, 2, 3] if kind in RECORDS else [1, 3])
    assert len(receiver.logs) == 3
    if kind in TEXTS:
        assert receiver.logs[1][""].body.string_value == poison.decode(errors="replace").rstrip("\n")


FIELDS: dict[str, dict[str, Any]] = {
    "latency": {"latency_ms": 1e15},
    "infinite latency": {"latency_ms": 1e300},
    "negative": {"latency_ms": -1e300},
    "provider": {"provider": ["a"]},
    "tokens": {"tokens": {"prompt": 1 << 70}},
}


@pytest.mark.parametrize("kind", FIELDS)
@pytest.mark.parametrize("opt_in", ["", "gen_ai_latest_experimental"])
def test_a_call_that_is_none_leaves_the_others_their_metrics(
    ship: Ship, receiver: Receiver, logs: Logs, folder: Path, kind: str, opt_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log record arrives, and all of the calls beside it."""
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", opt_in)
    log_cost(model="m/x", tokens=Tokens(prompt=10, completion=5), cost=Cost(total=0.5), latency_ms=1.0)
    (record,) = logs.read()
    poison = json.loads(json.dumps(record))
    for name, value in FIELDS[kind].items():
        poison["fields"][name] = {**poison["fields"][name], **value} if isinstance(value, dict) else value
    lines = [json.dumps(one) + "\n" for one in (record, poison, record)]
    (folder / "openrouter-costs.jsonl").write_text("".join(lines))

    shipped = ship().shipped

    assert (shipped.lines, shipped.parked, len(receiver.logs)) == (3, 0, 3)
    assert len(receiver.spans) >= 2
    costs = [one for one in receiver.metrics if one.name == "gen_ai.usage.cost.amount"]
    assert sum(point.as_double for one in costs for point in one.sum.data_points) >= 1.0


def test_what_cannot_be_encoded_at_all_is_kept_and_the_rest_goes_on(
    ship: Ship, receiver: Receiver, folder: Path, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes: one line is put aside, with a notice."""
    from cipherlog_core.ship._otlp import Encoder

    encode = Encoder.encode

    def failing(self: Encoder, signal: str, log: str, batch: Any) -> Any:
        if any(entry.record["fields"]["seq"] == 2 for entry in batch):
            raise MemoryError("no more")
        return encode(self, signal, log, batch)

    monkeypatch.setattr(Encoder, "encode", failing)
    (folder / "app.jsonl").write_bytes(b"".join(map(line, range(5))))

    shipped = ship({"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}).shipped

    assert (numbers(receiver), shipped.parked) == ([0, 1, 3, 4], 1)
    assert [kind for kind, _ in told] == ["refused logs"]


def test_a_field_keeps_its_name_and_value(ship: Ship, receiver: Receiver, folder: Path) -> None:
    """The head's come where no field has the name; only the id and the file are always the head's."""
    own = {"server": "s", "thread.name": "t", "process": {"pid": 1}, "session.id": "x", "tool": "hammer"}
    fields = {**own, "request_id": "r", "log.record.uid": "mine", "exception.type": "E"}
    (folder / "app.jsonl").write_bytes(line(1, fields=fields))

    ship()

    (record,) = receiver.logs
    del own["process"]
    assert {name: record[name] for name in own} == own
    assert (record["process.pid"], record["request_id"], record["exception.type"]) == (1, "r", "E")
    assert (record["log.record.uid"], record["fields.log.record.uid"]) == (f"{1:016d}0123456789abc", "mine")
    assert record["resource"] == {"service.name": "app"}
