"""Real exchanges, replayed over loopback HTTP in chunks of any size. They are not part of the project."""

from __future__ import annotations

import base64
import gzip
import json
import os
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from conftest import Logs

from openrouter_tap import TapOptions, TappedTransport, tag

REPOSITORY = Path(__file__).parents[2]
RECORDED = Path(os.environ.get("RECORDED_EXCHANGES", REPOSITORY.parent / "shared" / "wire" / "recorded"))
ENDPOINTS = {
    "/api/v1/chat/completions": "chat.completions",
    "/api/v1/responses": "responses",
    "/api/v1/messages": "messages",
    "/api/v1/embeddings": "embeddings",
    "/api/v1/rerank": "rerank",
    "/api/v1/images": "images",
    "/api/v1/audio/speech": "audio.speech",
}
EXCHANGES = {
    path.stem: exchange
    for path in sorted(RECORDED.glob("*.json"))
    if urlsplit((exchange := json.loads(path.read_text()))["request"]["url"]).path in ENDPOINTS
}

pytestmark = pytest.mark.skipif(not EXCHANGES, reason=f"no recorded exchanges in {RECORDED}; they are not published")

CHUNKS = (1, 7, 700, 1 << 30)
LONGEST_IN_BYTES = 20_000
HOP_BY_HOP = {"content-length", "transfer-encoding", "connection", "content-encoding"}


class Replay(BaseHTTPRequestHandler):
    """Sends the reply of the exchange that the query names, in chunks of the size that it names."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        name, size = urlsplit(self.path).query.split("&")
        response, body = EXCHANGES[name]["response"], wire_body(EXCHANGES[name])
        self.send_response(response["status"])
        for header, value in response["headers"].items():
            if header not in HOP_BY_HOP:
                self.send_header(header, value)
        if "body_base64" in response and "content-encoding" in response["headers"]:
            self.send_header("content-encoding", response["headers"]["content-encoding"])
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        pieces = [body[at : at + int(size)] for at in range(0, len(body), int(size))]
        self.wfile.writelines(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Replay) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(5)


def wire_body(exchange: dict[str, Any]) -> bytes:
    response = exchange["response"]
    raw = response.get("body_base64")
    return base64.b64decode(raw) if raw else response["body"].encode()


def replays() -> list[tuple[str, int]]:
    return [
        (name, size)
        for size in CHUNKS
        for name, exchange in EXCHANGES.items()
        if size > 1 or len(wire_body(exchange)) < LONGEST_IN_BYTES
    ]


def send_all(library: ModuleType, origin: str) -> None:
    with library.Client(transport=TappedTransport(options=TapOptions(hosts=("127.0.0.1",)))) as client:
        for name, size in replays():
            with tag(session_id=f"{name} {size}"), client.stream("POST", **request_of(origin, name, size)) as reply:
                for _ in reply.iter_bytes():
                    pass


async def send_all_async(library: ModuleType, origin: str) -> None:
    async with library.AsyncClient(transport=TappedTransport(options=TapOptions(hosts=("127.0.0.1",)))) as client:
        for name, size in replays():
            with tag(session_id=f"{name} {size}"):
                async with client.stream("POST", **request_of(origin, name, size)) as reply:
                    async for _ in reply.aiter_bytes():
                        pass


def request_of(origin: str, name: str, size: int) -> dict[str, Any]:
    asked = EXCHANGES[name]["request"]
    body = asked.get("body") or {}
    content = body if isinstance(body, str) else json.dumps(body)
    return {"url": f"{origin}{urlsplit(asked['url']).path}?{name}&{size}", "content": content.encode()}


def test_no_endpoint_is_left_out() -> None:
    """Each recorded POST is replayed, on each of the endpoints of which there are recordings."""
    posted = [
        path.stem for path in RECORDED.glob("*.json") if json.loads(path.read_text())["request"]["method"] == "POST"
    ]

    assert sorted(posted) == sorted(EXCHANGES)
    assert {urlsplit(exchange["request"]["url"]).path for exchange in EXCHANGES.values()} == ENDPOINTS.keys()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_every_exchange_gives_one_event_with_the_true_values(
    library: ModuleType, kind: str, origin: str, logs: Logs
) -> None:
    """One event per exchange and size of chunks, whose facts are those of the recording."""
    if kind == "sync":
        send_all(library, origin)
    else:
        anyio.run(send_all_async, library, origin)

    records = logs.read()
    assert [record["session_id"] for record in records] == [f"{name} {size}" for name, size in replays()]
    truth = {name: true_values(exchange) for name, exchange in EXCHANGES.items()}
    wrong = [
        (record["session_id"], found(record["fields"]), true)
        for record in records
        if found(record["fields"]) != (true := truth[record["session_id"].split()[0]])
    ]
    assert wrong == []


def found(fields: dict[str, Any]) -> dict[str, Any]:
    cost, tokens = fields["cost"], fields["tokens"]
    return {
        "endpoint": fields["endpoint"],
        "model": fields["model"],
        "generation_id": fields["generation_id"],
        "upstream_provider": fields["upstream_provider"],
        "status": fields["http_status"],
        "outcome": fields["outcome"],
        "tokens": {key: tokens[key] for key in ("prompt", "completion", "total", "cached", "cache_write", "reasoning")},
        "cost": {key: None if cost[key] is None else Decimal(repr(cost[key])) for key in ("total", "input", "output")},
        "is_byok": cost["is_byok"],
        "source": cost["source"],
    }


def true_values(exchange: dict[str, Any]) -> dict[str, Any]:
    """The rules once more, written from their description and not from the code under test."""
    expected, status = exchange["expected"], exchange["response"]["status"]
    endpoint = ENDPOINTS[urlsplit(exchange["request"]["url"]).path]
    usage = expected["usage"] or {}
    split = usage.get("cost_details") or {}
    total = money(usage.get("cost"))
    if total is not None and usage.get("is_byok") is True:
        total += money(split.get("upstream_inference_cost")) or 0
    names = ("input", "output") if endpoint == "responses" else ("prompt", "completions")
    return {
        "endpoint": endpoint,
        "model": expected["model"],
        "generation_id": expected["id"] or expected["x_generation_id"],
        "upstream_provider": expected["provider"] or exchange["response"]["headers"].get("x-provider-name"),
        "status": status,
        "outcome": "http_error" if status >= 400 else "stream_error" if tells_of_an_error(exchange) else "completed",
        "tokens": true_tokens(endpoint, usage),
        "cost": {
            "total": total,
            "input": money(split.get(f"upstream_inference_{names[0]}_cost")),
            "output": money(split.get(f"upstream_inference_{names[1]}_cost")),
        },
        "is_byok": usage.get("is_byok"),
        "source": "unknown" if total is None else "provider",
    }


def true_tokens(endpoint: str, usage: dict[str, Any]) -> dict[str, int | None]:
    if endpoint == "messages":
        read, written = usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens")
        given = usage.get("output_tokens_details") or {}
        prompt = usage["input_tokens"] + read + written if usage else None
        completion, reasoning = usage.get("output_tokens"), given.get("thinking_tokens")
        total = prompt + completion if usage else None
    else:
        taken_name, given_name = ("input", "output") if endpoint == "responses" else ("prompt", "completion")
        taken = usage.get(f"{taken_name}_tokens_details") or {}
        given = usage.get(f"{given_name}_tokens_details") or {}
        prompt, completion = usage.get(f"{taken_name}_tokens"), usage.get(f"{given_name}_tokens")
        total, reasoning = usage.get("total_tokens"), given.get("reasoning_tokens")
        read, written = taken.get("cached_tokens"), taken.get("cache_write_tokens")
    return {
        "prompt": prompt,
        "completion": completion,
        "total": total,
        "cached": read,
        "cache_write": written,
        "reasoning": reasoning,
    }


def tells_of_an_error(exchange: dict[str, Any]) -> bool:
    """Whether a body of status 200 holds an error, in any of the places where OpenRouter puts one."""
    body = wire_body(exchange)
    if exchange["response"]["headers"].get("content-type", "").startswith("audio/"):
        return False
    text = (gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body).decode().strip()
    lines = [text] if text.startswith("{") else [line[5:] for line in text.splitlines() if line.startswith("data:")]
    for line in lines:
        if line.strip() == "[DONE]":
            continue
        event = json.loads(line)
        inside = [event, event.get("response") or {}, *(event.get("choices") or [])]
        if event.get("type") in ("error", "response.failed") or any(place.get("error") for place in inside):
            return True
    return False


def money(amount: float | None) -> Decimal | None:
    return None if amount is None else Decimal(repr(float(amount)))
