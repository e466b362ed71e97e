"""Requests, replies and events of realistic size and shape, each with ids of its own, so that no cache flatters."""

from __future__ import annotations

import itertools
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import msgspec

from openrouter_tap import CallEvent, Cost, Tokens

__all__ = [
    "COST",
    "HEADERS",
    "URL",
    "Exchange",
    "call_event",
    "call_fields",
    "event_number",
    "request_fields",
    "server_fields",
]

COST = 0.00417325
URL = "https://openrouter.ai/api/v1/chat/completions"
HEADERS = {"Authorization": f"Bearer sk-or-v1-{'0' * 64}", "Content-Type": "application/json"}

_GENERATION = "gen-0000000000-AAAAAAAAAAAAAAAAAAAA"  # stands for the id that each reply gets
_PROMPT = "prompt-00000000-000"  # stands for the exchange's number and the pieces of its reply
_WAIT = b"\n         \n"
_RAY = "0000000000000000-FRA"

_asked = re.compile(rb"prompt-(\d{8})-(\d{3})")
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request with its reply."""

    generation_id: str
    request: bytes
    headers: list[tuple[bytes, bytes]]
    chunks: list[bytes]

    @classmethod
    def json(cls) -> Exchange:
        """A reply of one piece, 2 kB."""
        return cls._numbered(next(_numbers), 0)

    @classmethod
    def sse(cls, contents: int) -> Exchange:
        """A stream of *contents* pieces of text, and three more: a comment, the usage and the end."""
        return cls._numbered(next(_numbers), contents)

    @classmethod
    def of(cls, request: bytes) -> Exchange:
        """The one that *request* belongs to, for a server that has seen nothing else of it."""
        asked = _asked.search(request)
        assert asked
        return cls._numbered(int(asked[1]), int(asked[2]))

    @property
    def packed(self) -> Exchange:
        """The same behind whitespace that keeps the connection alive, gzipped piece by piece."""
        packer = zlib.compressobj(wbits=31)
        pieces = [packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in (_WAIT, _WAIT, *self.chunks)]
        headers = [*self.headers, (b"Content-Encoding", b"gzip")]
        return replace(self, headers=headers, chunks=[*pieces, packer.flush()])

    @classmethod
    def _numbered(cls, number: int, contents: int) -> Exchange:
        digest = sha256(b"%d" % number).hexdigest()
        generation_id = f"gen-{1764000000 + number}-{digest[:20]}"
        new = {_GENERATION.encode(): generation_id.encode(), _RAY[:16].encode(): digest[-16:].encode()}
        request, headers, chunks = _JSON_REQUEST, _JSON_HEADERS, [_JSON_REPLY]
        if contents:
            pieces = [_SSE_PIECE] * (contents - 1)
            request, headers = _SSE_REQUEST, _SSE_HEADERS
            chunks = [_SSE_COMMENT, *pieces, _SSE_LAST, _SSE_USAGE, _SSE_DONE]
        return cls(
            generation_id,
            request.replace(_PROMPT.encode(), b"prompt-%08d-%03d" % (number, contents)),
            [(name, _replace(value, new)) for name, value in headers],
            [_replace(chunk, new) for chunk in chunks],
        )


def server_fields(number: int) -> dict[str, object]:
    """Fields of a server's event; its line has about 330 B."""
    return {
        "seq": number,
        "call": f"call-{number:08x}",
        "selected_tool": f"search_{number % 7}",
        "elapsed_ms": number % 9973 / 8,
    }


def request_fields(number: int) -> dict[str, object]:
    """Fields of a request's event; with what is bound its line has about 470 B."""
    return {
        "seq": number,
        "method": "tools/call",
        "path": f"/v1/sessions/{number:012x}/messages",
        "status": 200 + number % 3,
        "duration_ms": number % 9973 / 8,
        "bytes_out": 1000 + number % 7919,
        "cached": not number % 5,
    }


def call_event(number: int) -> CallEvent:
    """The event of a call; its line is as long as one of the tap, 1050 B."""
    return CallEvent(
        provider="openrouter",
        tier_id=None,
        model=f"openai/gpt-4{number % 7}",
        request_model="openai/gpt-4o",
        upstream_provider="OpenAI",
        generation_id=f"gen-{number:010}-{number * 2654435761 % (1 << 80):020x}",
        call_id=None,
        attempt=1,
        host="openrouter.ai",
        endpoint="chat.completions",
        streamed=True,
        http_status=200,
        outcome="completed",
        error=None,
        latency_ms=1000 + number % 9973 / 8,
        headers_ms=300 + number % 997 / 8,
        ttft_ms=320 + number % 997 / 8,
        tokens=Tokens(900 + number % 89, 200 + number % 13, 1100 + number % 97, 0, 0, 64, 0, 0),
        cost=Cost(0.00225, 0.00192325, None, COST, COST, False, "provider"),
        finish_reason="stop",
        service_tier=None,
        bytes_in=37_000 + number % 997,
        trace_id=None,
        span_id=None,
        tags={},
    )


def call_fields(number: int) -> dict[str, Any]:
    """The same as plain values, for a logger that takes those."""
    fields: dict[str, Any] = msgspec.to_builtins(call_event(number))
    return fields


def event_number(fields: Mapping[str, Any]) -> int:
    """The number from which *fields* were made."""
    return int(fields["seq"] if "seq" in fields else fields["generation_id"].split("-")[1])


def _replace(data: bytes, new: dict[bytes, bytes]) -> bytes:
    for old, value in new.items():
        data = data.replace(old, value)
    return data


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _request(**more: object) -> bytes:
    question = "Which of these three contracts may be ended before the end of the year, and at what price? " * 9
    messages = [{"role": "system", "content": _PROMPT}, {"role": "user", "content": question[:820]}]
    return _json({"model": "openai/gpt-4o", "messages": messages, **more})


def _headers(content_type: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"Date", b"Mon, 24 Nov 2025 16:00:00 GMT"),
        (b"Content-Type", content_type),
        (b"Transfer-Encoding", b"chunked"),
        (b"Connection", b"keep-alive"),
        (b"CF-RAY", _RAY.encode()),
        (b"Access-Control-Allow-Origin", b"*"),
        (b"Access-Control-Expose-Headers", b"X-Generation-Id,cf-ray,X-Provider-Name"),
        (b"X-Generation-Id", _GENERATION.encode()),
        (b"Vary", b"Accept-Encoding"),
        (b"Permissions-Policy", b'payment=(self "https://checkout.stripe.com")'),
        (b"Referrer-Policy", b"no-referrer, strict-origin-when-cross-origin"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Server", b"cloudflare"),
    ]


def _reply(kind: str, choice: dict[str, object], **more: object) -> bytes:
    choices = [{"index": 0, "logprobs": None, "finish_reason": None, "native_finish_reason": None, **choice}]
    base = {"id": _GENERATION, "provider": "OpenAI", "model": "openai/gpt-4o", "object": kind, "created": 1764000000}
    return _json({**base, "choices": choices, **more})


def _event(text: str, finish_reason: str | None = None, **more: object) -> bytes:
    delta = {"role": "assistant", "content": text}
    reasons = {"finish_reason": finish_reason, "native_finish_reason": finish_reason}
    return b"data: %b\n\n" % _reply("chat.completion.chunk", {"delta": delta, **reasons}, **more)


_USAGE = {
    "prompt_tokens": 931,
    "completion_tokens": 212,
    "total_tokens": 1143,
    "cost": COST,
    "is_byok": False,
    "prompt_tokens_details": {"cached_tokens": 128, "cache_write_tokens": 0, "audio_tokens": 0, "video_tokens": 0},
    "cost_details": {
        "upstream_inference_cost": COST,
        "upstream_inference_prompt_cost": 0.00225,
        "upstream_inference_completions_cost": 0.00192325,
    },
    "completion_tokens_details": {"reasoning_tokens": 64, "image_tokens": 0, "audio_tokens": 0},
}
_ANSWER = 'The second one ("lease", § 4) may be ended by the 30th of June.\nThe price is two months\' rent. ' * 12

_JSON_REQUEST = _request(temperature=0.2)
_JSON_HEADERS = _headers(b"application/json")
_JSON_REPLY = _reply(
    "chat.completion",
    {
        "finish_reason": "stop",
        "native_finish_reason": "stop",
        "message": {"role": "assistant", "content": _ANSWER, "refusal": None, "reasoning": None},
    },
    system_fingerprint="fp_50cad350e4",
    usage=_USAGE,
)

_SSE_REQUEST = _request(stream=True)
_SSE_HEADERS = _headers(b"text/event-stream")
_SSE_COMMENT = b": OPENROUTER PROCESSING\n\n"
_SSE_PIECE = _event(_ANSWER[:80])
_SSE_LAST = _event(_ANSWER[:40], "stop")
_SSE_USAGE = _event("", usage=_USAGE)
_SSE_DONE = b"data: [DONE]\n\n"
