"""Replies that are made to hurt: what the tap adds to a program that gets them stays small."""

from __future__ import annotations

import functools
import gzip
import hashlib
import importlib.util
import json
import os
import random
import subprocess
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from itertools import chain, repeat
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from conftest import Logs, checked, content
from replies import dumps, message, stream

import cipherlog_core
from cipherlog_core.reading import segments
from mutations import Mutation, mutation
from openrouter_tap import TapOptions, TappedTransport, tag
from openrouter_tap._compat import LIBRARIES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the measures are Linux's")

SEED = 20261124
MIB = 1 << 20
MOST_KIB = 8 << 10
MOST_CPU = 0.05
PIECE = 1 << 16
NOTICE = "a reply of 127.0.0.1 is cut or not JSON: what it lacks is null in its event.\n"
NAMES = {"br": ("brotli", {"quality": 1}), "zstd": ("zstandard", {"level": 1})}


def zeros(size: int, pack: Any) -> bytes:
    return b"".join([*map(pack.compress, repeat(bytes(MIB), size // MIB)), pack.flush()])


def other_coding(name: str, size: int) -> bytes:
    module, options = NAMES[name]
    return importlib.import_module(module).compress(bytes(size), **options)


@functools.cache
def bomb(coding: str, size: int) -> bytes:
    """*size* zeros in all codings of the header *coding*."""
    if coding in NAMES:
        return other_coding(coding, size)
    first, *others = coding.split(", ")
    body = zeros(size, zlib.compressobj(wbits={"gzip": 31, "deflate": 15, "bare deflate": -15}[first]))
    for _ in others:
        body = gzip.compress(body)
    return body


def long_json(size: int) -> Iterator[bytes]:
    head, tail = dumps(message("HERE")).split(b"HERE")
    return chain([head], repeat(b"word " * (PIECE // 5), size // PIECE), [tail])


def long_line(size: int) -> Iterator[bytes]:
    return chain(stream(1)[:2], [b"data: "], repeat(b"x" * PIECE, size // PIECE))


def crumbs(size: int) -> Iterator[bytes]:
    return chain([b"data: "], repeat(b"xy", size // 2))


def json_crumbs(size: int) -> Iterator[bytes]:
    return chain([b'{"id":"gen-1","choices":"'], repeat(b"xy", size // 2))


def tiny_events(size: int) -> Iterator[bytes]:
    return chain(repeat(b"data:{}\n\n", size // 9), stream(1)[-2:])


def endless(_: int) -> Iterator[bytes]:
    return repeat(stream(1)[2] * 100)


STREAMS: dict[str, Callable[[int], Iterable[bytes]]] = {
    maker.__name__: maker for maker in (long_json, long_line, crumbs, json_crumbs, tiny_events, endless)
}


@functools.cache
def large() -> bytes:
    """8 MB of JSON, gzipped to 3."""
    chance = random.Random(SEED)
    rows = [{"index": row, "embedding": [chance.uniform(-0.1, 0.1) for _ in range(1536)]} for row in range(280)]
    return gzip.compress(dumps({"object": "list", "data": rows, **message()}), 6)


class Hostile(BaseHTTPRequestHandler):
    """Sends what the query names, chunk by chunk."""

    protocol_version = "HTTP/1.1"
    wbufsize = PIECE
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        kind, *arguments = urlsplit(self.path).query.split("&")
        reply = self.reply(kind, *arguments)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            self.wfile.writelines(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in reply.chunks if chunk)
            self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()
        except OSError:  # the client has left
            self.close_connection = True
            with suppress(OSError):  # 3.13 tells of what is left in it when it is collected
                self.wfile.close()
            self.wfile = BytesIO()

    def reply(self, kind: str, *arguments: str) -> Mutation:
        if kind == "mutation":
            return mutation(int(arguments[0]))
        if kind == "bomb":
            coding, body = arguments[0].replace("+", " "), bomb(arguments[0].replace("+", " "), int(arguments[1]))
            return Mutation(
                "", 200, {"content-type": "application/json", "content-encoding": coding.removeprefix("bare ")}, [body]
            )
        if kind == "large":
            return Mutation("", 200, {"content-type": "application/json", "content-encoding": "gzip"}, [large()])
        if kind in STREAMS:
            type_ = "application/json" if "json" in kind else "text/event-stream"
            return Mutation("", 200, {"content-type": type_}, STREAMS[kind](int(arguments[0])))
        return Mutation("", 200, {"content-type": "application/json"}, [dumps(message())])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(5)


def measured(library: str, origin: str, query: str, folder: Path, *, times: int = 1, limit: int = 0) -> dict[str, Any]:
    """What hostile.py says, and what is true in any case: the bytes are unchanged, and the memory bounded."""
    url = f"{origin}/api/v1/chat/completions?{query}"
    command = [sys.executable, str(Path(__file__).with_name("hostile.py")), library, url, str(times), str(limit)]
    environment = {**os.environ, "LOG_DIR": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert (done.returncode, done.stderr.replace(NOTICE, "")) == (0, "")
    facts: dict[str, Any] = json.loads(done.stdout)
    facts["added"] = {key: facts["tapped"][key] - facts["plain"][key] for key in ("cpu", "kib")}
    print(f"{library} {query}: +{facts['added']['kib']} KiB, +{facts['added']['cpu'] * 1000:.1f} ms", end=" ")
    print(f"(without the tap {facts['plain']['cpu'] * 1000:.0f} ms), {facts['outcomes'][-1]}")
    assert facts["tapped"]["digest"] == facts["plain"]["digest"]
    assert facts["added"]["kib"] <= MOST_KIB
    assert len(facts["outcomes"]) == times + 1
    return facts


FULL = pytest.mark.soak
CODINGS = ["gzip", "gzip, gzip", "deflate", "bare deflate", ", ".join(["gzip"] * 6)]
CODINGS += [name for name, (module, _) in NAMES.items() if importlib.util.find_spec(module)]


@pytest.mark.parametrize(
    ("library", "size"),
    [("httpx2", 64 * MIB), *(pytest.param(name, 1024 * MIB, marks=FULL) for name in ("httpx", "httpx2"))],
    ids=str,
)
@pytest.mark.parametrize("coding", CODINGS)
def test_bombs(coding: str, library: str, size: int, origin: str, tmp_path: Path) -> None:
    """A few KiB that hold very much: at most 8 MiB and 50 ms of CPU more, and the bytes as they came."""
    query = f"bomb&{coding.replace(' ', '+')}&{size}"
    digest = hashlib.sha256(bomb(coding, size)).hexdigest()  # ahead of the call, which would time out meanwhile
    facts = measured(library, origin, query, tmp_path, times=3)

    assert facts["tapped"]["digest"] == digest
    assert facts["added"]["cpu"] <= MOST_CPU
    assert facts["cost"] is None


@pytest.mark.parametrize(
    ("kind", "size", "outcome", "cost"),
    [
        ("long_json", 16 * MIB, "completed", 0.0123),
        ("long_line", 16 * MIB, "failed", None),
        ("crumbs", MIB // 16, "failed", None),
        ("json_crumbs", MIB // 16, "failed", None),
        ("tiny_events", MIB // 8, "completed", 0.0123),
        ("endless", 16 * MIB, "closed_early", None),
        pytest.param("long_json", 1024 * MIB, "completed", 0.0123, marks=FULL),
        pytest.param("long_line", 1024 * MIB, "failed", None, marks=FULL),
        pytest.param("crumbs", 4 * MIB, "failed", None, marks=FULL),
        pytest.param("json_crumbs", 4 * MIB, "failed", None, marks=FULL),
        pytest.param("tiny_events", 9_000_000, "completed", 0.0123, marks=FULL),
        pytest.param("endless", 2048 * MIB, "closed_early", None, marks=FULL),
    ],
)
def test_long_replies(kind: str, size: int, outcome: str, cost: float | None, origin: str, tmp_path: Path) -> None:
    """Of any length, in any chunks: memory is bounded, and four times the bytes cost about four times the CPU."""
    limit = size if kind == "endless" else 0
    facts = measured("httpx2", origin, f"{kind}&{size}", tmp_path, limit=limit)
    part = measured("httpx", origin, f"{kind}&{size // 4}", tmp_path, limit=limit // 4)

    assert (facts["outcomes"][-1], facts["cost"]) == (outcome, cost)
    assert facts["tapped"]["cpu"] <= 6 * part["tapped"]["cpu"] + MOST_CPU


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_eight_megabytes_keep_their_cost(library: ModuleType, kind: str, origin: str, logs: Logs) -> None:
    """A gzipped JSON reply of embeddings: 3 MB on the wire, 8 of text."""
    replies = receive(library, kind, origin, ["large"])

    assert len(gzip.decompress(large())) > 8_000_000
    assert replies == [large()]
    (record,) = logs.read()
    assert (record["fields"]["outcome"], record["fields"]["cost"]["total"]) == ("completed", 0.0123)


@pytest.mark.parametrize("count", [1_000, pytest.param(100_000, marks=FULL)])
def test_mutated_replies(count: int, origin: str, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is raised, the bytes pass unchanged, and each call leaves one line, which is strict JSON."""
    monkeypatch.setenv("LOG_BACKUPS", "0")
    clients = [(library, kind) for library in LIBRARIES for kind in ("sync", "async")]
    print(f"mutations from {SEED}")
    errors = cipherlog_core.stats().errors
    for place, (library, kind) in enumerate(clients):
        seeds = range(SEED + place, SEED + count, len(clients))
        for part in batched(seeds, 1_000):
            received = receive(library, kind, origin, [f"mutation&{seed}" for seed in part])
            assert received == [b"".join(mutation(seed).chunks) for seed in part]

    assert cipherlog_core.flush()
    seen: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for path in segments(str(logs.folder), "openrouter-costs.jsonl"):
        for line in content(path).split(b"\n")[:-1]:
            record = checked(line)
            if record["event"] == "openrouter_cost":
                seen[record["session_id"]] += 1
                outcomes[record["fields"]["outcome"]] += 1
    print(dict(outcomes))
    assert seen == {f"mutation&{seed}": 1 for seed in range(SEED, SEED + count)}
    assert cipherlog_core.stats().errors == errors


def batched(seeds: range, size: int) -> Iterator[range]:
    return (seeds[at : at + size] for at in range(0, len(seeds), size))


def path_of(query: str) -> str:
    kind, _, seed = query.partition("&")
    return mutation(int(seed)).path if kind == "mutation" else "/api/v1/embeddings"


def receive(library: ModuleType, kind: str, origin: str, queries: list[str]) -> list[bytes]:
    """The bytes of each reply, read raw through a tapped client."""
    transport = TappedTransport(options=TapOptions(hosts=("127.0.0.1",)))
    paths = [
        mutation(int(query[9:])).path if query.startswith("mutation&") else "/api/v1/embeddings" for query in queries
    ]
    urls = [f"{origin}{path}?{query}" for path, query in zip(paths, queries, strict=True)]

    async def receive_async() -> list[bytes]:
        replies = []
        async with library.AsyncClient(transport=transport, timeout=30) as client:
            for url, query in zip(urls, queries, strict=True):
                with tag(session_id=query):
                    async with client.stream("POST", url, content=b"{}") as reply:
                        replies.append(b"".join([chunk async for chunk in reply.aiter_raw()]))
        return replies

    if kind == "async":
        return anyio.run(receive_async)
    replies = []
    with library.Client(transport=transport, timeout=30) as client:
        for url, query in zip(urls, queries, strict=True):
            with tag(session_id=query), client.stream("POST", url, content=b"{}") as reply:
                replies.append(b"".join(reply.iter_raw()))
    return replies
