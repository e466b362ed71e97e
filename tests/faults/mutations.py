"""Replies that are almost right: each seed gives one, always the same."""

from __future__ import annotations

import copy
import functools
import gzip
import json
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dialects import DIALECTS

ODD_VALUES = [
    None, True, False, -1, 0, 1e308, 5e-324, 2**53, 2**64, 2**70, -(2**70), float("nan"), float("inf"), "", "null",
    "1e5", "x" * 5000, "\ud800", "\u2028\x85", "\x1b[31m", "\x00", "data: [DONE]\n\n", [], [[]], {}, {"": None}, [None],
    {"usage": {"cost": 7}}, {"error": {"code": 1}}, {"type": "error"}, {"id": 1}, {"delta": []}, {"response": "x"},
]  # fmt: skip
ODD_BYTES = [
    b"NaN", b"1e999", b"-", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"[DONE]", b'"usage"', b'"usage":{"cost":',
    b"data: ", b"\n\n", b"\r", b"event: x\n", b"[" * 3000, b"{" * 50, b"1" * 5000, b"\xf0\x9f", b'"error"',
    b"\\u", b"}", b'"', b'"type":"response.completed"', b'"type":"message_stop"\n', b"\x1f\x8b\x08", b"\x78\x9c",
]  # fmt: skip
KEYS = ["usage", "error", "choices", "id", "model", "delta", "response", "message", "type", "cost", "status", "is_byok"]
TYPES = ["application/json", "text/event-stream", "text/event-stream; charset=utf-8", "text/html", "audio/mpeg", ""]


@dataclass
class Mutation:
    """A reply as it goes over the wire."""

    path: str
    status: int
    headers: dict[str, str]
    chunks: list[bytes]


def mutation(seed: int) -> Mutation:
    """The reply of *seed*."""
    chance = random.Random(seed)
    url, make, make_stream = DIALECTS[chance.choice(list(DIALECTS))]
    is_stream = chance.random() < 0.5
    if is_stream:
        events = make_stream(chance.randrange(6))
        for _ in range(chance.randrange(3)):
            place = chance.randrange(len(events))
            events[place] = odd_event(events[place], chance)
        body = b"".join(events)
    else:
        value = copy.deepcopy(make())
        for _ in range(chance.randrange(3)):
            spoil(value, chance)
        body = json.dumps(value).encode()
    for _ in range(chance.randrange(4)):
        body = chance.choice(BYTE_FAULTS)(body, chance)
    headers, body = coded(body, chance)
    right = TYPES[1] if is_stream else TYPES[0]
    headers["content-type"] = right if chance.random() < 0.9 else chance.choice(TYPES)
    size = chance.choice([1, 3, 50, 700, 1 << 20])
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    return Mutation(url[url.index("/api") :], chance.choice([200] * 8 + [400, 429, 502]), headers, chunks)


def odd_event(event: bytes, chance: random.Random) -> bytes:
    before, mark, data = event.partition(b"data: ")
    try:
        value = json.loads(data)
    except ValueError:
        return chance.choice([b"", event * 2, event[:-1], event[: len(event) // 2]])
    spoil(value, chance)
    return before + mark + json.dumps(value).encode() + b"\n\n"


def spoil(value: Any, chance: random.Random) -> None:
    """Put something odd somewhere into *value*."""
    while isinstance(value, dict | list) and value:
        key = chance.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if not isinstance(value[key], dict | list) or not value[key] or chance.random() < 0.3:
            if isinstance(value, dict) and chance.random() < 0.3:
                value[chance.choice(KEYS)] = value.pop(key)
            else:
                value[key] = copy.deepcopy(chance.choice(ODD_VALUES))
            return
        value = value[key]


def coded(body: bytes, chance: random.Random) -> tuple[dict[str, str], bytes]:
    """*body* in a coding, that is told or not, or told and not there."""
    pack, name = chance.choice(
        [(bytes, None)] * 5 + [(functools.partial(gzip.compress, mtime=0), "gzip"), (zlib.compress, "deflate")]
    )
    packed = pack(body)
    if chance.random() < 0.1:
        packed = chance.choice(BYTE_FAULTS)(packed, chance)
    if chance.random() < 0.1:
        name = chance.choice([None, "gzip", "br", "zstd", "gzip, gzip", "identity", "x" * 300])
    return ({"content-encoding": name} if name else {}), packed


def cut(body: bytes, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(len(body) + 1)
    return start, min(len(body), start + chance.choice([1, 1, 3, 20, 300]))


def lose(body: bytes, chance: random.Random) -> bytes:
    start, end = cut(body, chance)
    return body[:start] + body[end:]


def double(body: bytes, chance: random.Random) -> bytes:
    start, end = cut(body, chance)
    return body[:end] + body[start:]


def flip(body: bytes, chance: random.Random) -> bytes:
    start, end = cut(body, chance)
    return body[:start] + chance.randbytes(end - start) + body[end:]


def insert(body: bytes, chance: random.Random) -> bytes:
    start, _ = cut(body, chance)
    return body[:start] + chance.choice(ODD_BYTES) + body[start:]


def end(body: bytes, chance: random.Random) -> bytes:
    return body[: cut(body, chance)[0]]


BYTE_FAULTS: list[Callable[[bytes, random.Random], bytes]] = [lose, double, flip, insert, insert, end]
