"""Real exchanges, replayed over loopback HTTP in small chunks. They are not part of the project."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest
from conftest import Logs
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from openrouter_tap import TapOptions, TappedTransport, tag
from openrouter_tap.simulator import running

REPOSITORY = Path(__file__).parents[2]
RECORDED = Path(os.environ.get("RECORDED_EXCHANGES", REPOSITORY.parent / "shared" / "wire" / "recorded"))
EXCHANGES = {path.stem: json.loads(path.read_text()) for path in sorted(RECORDED.glob("*.json"))}
CHAT = {name: exchange for name, exchange in EXCHANGES.items() if "chat/completions" in exchange["request"]["url"]}

pytestmark = pytest.mark.skipif(not CHAT, reason=f"no recorded exchanges in {RECORDED}; they are not published")

CHUNK = 11
HOP_BY_HOP = {"content-length", "transfer-encoding", "connection", "content-encoding"}


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with running(Starlette(routes=[Route("/{path:path}", replay, methods=["POST"])])) as origin:
        yield origin


async def replay(request: Request) -> Response:
    """The recorded reply that the query names, in chunks of `CHUNK` bytes."""
    response = CHAT[request.url.query]["response"]
    headers = {name: value for name, value in response["headers"].items() if name not in HOP_BY_HOP}
    if raw := response.get("body_base64"):
        body, headers["content-encoding"] = base64.b64decode(raw), response["headers"]["content-encoding"]
    else:
        body = response["body"].encode()

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), CHUNK):
            yield body[at : at + CHUNK]

    return StreamingResponse(chunks(), response["status"], headers)


def send_all(library: ModuleType, origin: str) -> None:
    with library.Client(transport=TappedTransport(options=TapOptions(hosts=("127.0.0.1",)))) as client:
        for name, exchange in CHAT.items():
            with tag(session_id=name), client.stream("POST", url_of(origin, name), content=body_of(exchange)) as reply:
                for _ in reply.iter_bytes():
                    pass


async def send_all_async(library: ModuleType, origin: str) -> None:
    async with library.AsyncClient(transport=TappedTransport(options=TapOptions(hosts=("127.0.0.1",)))) as client:
        for name, exchange in CHAT.items():
            with tag(session_id=name):
                request = client.stream("POST", url_of(origin, name), content=body_of(exchange))
                async with request as reply:
                    async for _ in reply.aiter_bytes():
                        pass


def url_of(origin: str, name: str) -> str:
    return f"{origin}/api/v1/chat/completions?{name}"


def body_of(exchange: dict[str, Any]) -> bytes:
    body = exchange["request"].get("body") or {}
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_every_exchange_gives_one_event_with_the_true_values(
    library: ModuleType, kind: str, origin: str, logs: Logs
) -> None:
    """One event per exchange, whose facts are those of the recording."""
    if kind == "sync":
        send_all(library, origin)
    else:
        anyio.run(send_all_async, library, origin)

    records = logs.read()
    assert [record["session_id"] for record in records] == list(CHAT)
    for record in records:
        name = record["session_id"]
        assert {"name": name, **found(record["fields"])} == {"name": name, **true_values(CHAT[name])}


def found(fields: dict[str, Any]) -> dict[str, Any]:
    cost = fields["cost"]
    return {
        "model": fields["model"],
        "generation_id": fields["generation_id"],
        "upstream_provider": fields["upstream_provider"],
        "status": fields["http_status"],
        "outcome": fields["outcome"],
        "tokens": {
            key: fields["tokens"][key]
            for key in ("prompt", "completion", "total", "cached", "cache_write", "reasoning")
        },
        "cost": {key: None if cost[key] is None else Decimal(repr(cost[key])) for key in ("total", "input", "output")},
        "is_byok": cost["is_byok"],
        "source": cost["source"],
    }


def true_values(exchange: dict[str, Any]) -> dict[str, Any]:
    """The money rules once more, written from their description and not from the code under test."""
    expected, status = exchange["expected"], exchange["response"]["status"]
    usage = expected["usage"] or {}
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    split = usage.get("cost_details") or {}
    total = money(usage.get("cost"))
    if total is not None and usage.get("is_byok") is True:
        total += money(split.get("upstream_inference_cost")) or 0
    return {
        "model": expected["model"],
        "generation_id": expected["id"],
        "upstream_provider": expected["provider"],
        "status": status,
        "outcome": "http_error" if status >= 400 else "stream_error" if expected["error"] else "completed",
        "tokens": {
            "prompt": usage.get("prompt_tokens"),
            "completion": usage.get("completion_tokens"),
            "total": usage.get("total_tokens"),
            "cached": prompt.get("cached_tokens"),
            "cache_write": prompt.get("cache_write_tokens"),
            "reasoning": completion.get("reasoning_tokens"),
        },
        "cost": {
            "total": total,
            "input": money(split.get("upstream_inference_prompt_cost")),
            "output": money(split.get("upstream_inference_completions_cost")),
        },
        "is_byok": usage.get("is_byok"),
        "source": "unknown" if total is None else "provider",
    }


def money(amount: float | None) -> Decimal | None:
    return None if amount is None else Decimal(repr(float(amount)))
