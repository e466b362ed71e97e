"""A million calls as lines, and their totals added up apart from any database."""

from __future__ import annotations

import random
from collections import defaultdict
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from benchmarks.data import call_event

from openrouter_tap import CallError, Cost

MODELS = [None, *(f"maker/model-{number}" for number in range(6))]
PROVIDERS = ["Maker", "Other", "Third"]
TIERS = [None, "free", "gold"]
ENDINGS = [("completed", None), ("http_error", "429"), ("stream_error", "overloaded")]
ZERO = Decimal(0)


def lines(count: int, seed: int) -> Any:
    """*count* records of calls, oldest first, over 20 days; with amounts whose floats do not add up."""
    chance = random.Random(seed)
    for number in range(count):
        total = chance.choice((None, 0.1, 1e-5, 3.3e-7, 1234.56789, round(chance.random(), chance.randrange(3, 17))))
        outcome, error = chance.choices(ENDINGS, (8, 1, 1))[0]
        event = msgspec.structs.replace(
            call_event(number),
            model=chance.choice(MODELS),
            request_model="maker/asked",
            upstream_provider=chance.choice(PROVIDERS),
            tier_id=chance.choice(TIERS),
            outcome=outcome,
            error=CallError(error, None) if error else None,
            cost=Cost(None, None, None, total, total, False, "unknown" if total is None else "provider"),
        )
        micros = 1_790_000_000_000_000 + number * (20 * 86_400_000_000 // count)
        day = 10 + number * 20 // count
        yield {
            "schema": 1,
            "id": f"{micros:016}{number:013x}",
            "ts": f"2026-11-{day:02}T12:00:00.{number % 1_000_000:06}Z",
            "level": "INFO",
            "logger": "openrouter_tap",
            "pid": 1,
            "thread": "MainThread",
            "server": "llm-inference",
            "tool": None,
            "session_id": None,
            "request_id": None,
            "event": "openrouter_cost",
            "fields": event,
        }


def write(folder: Path, count: int, seed: int) -> list[list[tuple[Any, ...]]]:
    """A log of *count* calls, the first thousand twice, as doubled deliveries are; the five totals that are right."""
    encoder = msgspec.json.Encoder()
    sums: list[dict[Any, list[Any]]] = [defaultdict(list) for _ in range(5)]
    with (folder / "openrouter-costs.jsonl").open("wb") as file:
        for record in lines(count, seed):
            line = encoder.encode(record)
            file.write(line + b"\n")
            _add(sums, record, line)
        for record in islice(lines(count, seed), 1000):
            file.write(encoder.encode(record) + b"\n")
    return [[(*key, *values) for key, values in sorted(table.items(), key=_order)] for table in sums]


def _order(item: tuple[tuple[Any, ...], Any]) -> Any:
    return [value or "" for value in item[0]]


def _add(sums: list[dict[Any, list[Any]]], record: dict[str, Any], line: bytes) -> None:
    call = record["fields"]
    cost = msgspec.json.decode(line)["fields"]["cost"]["total"]
    known, unknown = (ZERO, 1) if cost is None else (Decimal(repr(cost)), 0)
    _sum(sums[0], (call.model or call.request_model,), 1, known, unknown)
    _sum(sums[1], (record["ts"][:10],), 1, known, unknown)
    tokens = call.tokens
    _sum(sums[2], (call.upstream_provider,), 1, tokens.prompt, tokens.completion, tokens.cached)
    _sum(sums[3], (call.outcome, call.error and call.error.type), 1, known)
    tier = sums[4].setdefault((call.tier_id,), [0, ZERO, call.latency_ms, call.latency_ms])
    tier[0] += 1
    tier[1] += known
    tier[2], tier[3] = min(tier[2], call.latency_ms), max(tier[3], call.latency_ms)


def _sum(table: dict[Any, list[Any]], key: tuple[Any, ...], *values: Any) -> None:
    row = table.setdefault(key, [0] * len(values))
    for place, value in enumerate(values):
        row[place] += value
