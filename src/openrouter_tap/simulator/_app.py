"""The look-alike's HTTP: routes, framing and timing as OpenRouter's."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from openrouter_tap.simulator._catalogue import MODELS
from openrouter_tap.simulator._replies import Answer, answer, error_body

__all__ = ["create_app"]

_PADDING = b"\n         \n"
_COMMENT = b": OPENROUTER PROCESSING\n\n"
_STALL = 60.0  # seconds of silence


def create_app(*, delay: float = 0.0) -> Starlette:
    """The look-alike as an ASGI app. *delay*: seconds between two network chunks of a reply."""
    return Starlette(
        routes=[Route("/api/v1/chat/completions", _Chat(delay), methods=["POST"]), Route("/api/v1/models", _models)]
    )


async def _models(_request: Request) -> Response:
    entries = [
        {"id": slug, "pricing": {"prompt": str(model.prompt_price), "completion": str(model.completion_price)}}
        for slug, model in MODELS.items()
    ]
    return JSONResponse({"data": entries})


class _Chat:
    """``POST /chat/completions``."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._seen: set[tuple[str, str]] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        if "authorization" not in request.headers:
            return _error(401, "Missing Authentication header")
        try:
            asked = json.loads(await request.body())
            slug = asked["model"]
        except (ValueError, KeyError, TypeError):
            return _error(400, "Invalid request body")
        model = MODELS.get(slug)
        if model is None:
            return _error(400, f"{slug} is not a valid model ID")
        if refusal := _refusal(model.fails):
            return refusal
        prompt = slug, json.dumps(asked.get("messages"))
        result = answer(asked, model, is_cached=prompt in self._seen)
        self._seen.add(prompt)
        if asked.get("stream"):
            return self._stream(_events(result), result)
        return self._json(result, gzip="gzip" in request.headers.get("accept-encoding", ""))

    def _json(self, result: Answer, *, gzip: bool) -> Response:
        body: dict[str, Any] = result.message()
        if result.model.fails == "midstream-error":
            body = error_body(502, "Provider disconnected", error_type="provider_unavailable")
        text = json.dumps(body, separators=(",", ":")).encode()
        if result.model.fails == "cut-off":
            text = text[: len(text) // 2]
        pieces = self._paced([_PADDING, _PADDING, text], cut=result.model.fails == "cut-off")
        headers = {"content-encoding": "gzip"} if gzip else {}
        return StreamingResponse(
            _gzipped(pieces) if gzip else pieces, media_type="application/json", headers={**_headers(result), **headers}
        )

    def _stream(self, chunks: list[bytes], result: Answer) -> Response:
        fails = result.model.fails
        pieces = self._paced(chunks, cut=fails == "cut-off", stall=fails == "stalled")
        return StreamingResponse(pieces, media_type="text/event-stream", headers=_headers(result))

    async def _paced(self, pieces: list[bytes], *, cut: bool = False, stall: bool = False) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
            await asyncio.sleep(self._delay)
        if stall:
            await asyncio.sleep(_STALL)
        if cut:
            raise ConnectionAbortedError("the reply ends in its middle, as asked")


def _events(result: Answer) -> list[bytes]:
    """The network chunks of a stream: some hold several events, the last one finish, usage and ``[DONE]``."""
    lines = [b"data: %b\n\n" % json.dumps(chunk, separators=(",", ":")).encode() for chunk in result.chunks()]
    fails = result.model.fails
    if fails in ("cut-off", "stalled"):
        return [_COMMENT, *lines[: len(lines) // 2]]
    if fails == "midstream-error":
        broken: dict[str, Any] = result.envelope(
            "chat.completion.chunk", {"delta": {"content": ""}, "finish_reason": "error"}
        )
        broken |= error_body(502, "Provider disconnected", error_type="provider_unavailable")
        return [_COMMENT, *lines[: len(lines) // 2], b"data: %b\n\n" % json.dumps(broken).encode()]
    head, end = lines[:-2], b"".join(lines[-2:]) + b"data: [DONE]\n\n"
    return [_COMMENT * 2, _COMMENT, *head[:2], b"".join(head[2:4]), *head[4:], end]


async def _gzipped(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Each piece flushed by itself, as the keep-alive whitespace ahead of a JSON reply must be."""
    packer = zlib.compressobj(wbits=31)
    async for piece in pieces:
        yield packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()


def _headers(result: Answer) -> dict[str, str]:
    return {
        "X-Generation-Id": result.id,
        "CF-RAY": f"{result.id[-16:]}-SIM",
        "Cache-Control": "no-cache",
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "X-Generation-Id,cf-ray,X-Provider-Name,request-id",
        "X-Content-Type-Options": "nosniff",
    }


def _refusal(fails: str | None) -> Response | None:
    """The answer of a scenario that ends before the generation."""
    match fails:
        case "rate-limited":
            return _error(429, "Provider returned error", provider_name="OpenAI", error_type="rate_limit_exceeded")
        case "no-credits":
            return _error(402, "This request requires more credits", error_type="payment_required")
        case "overloaded":
            return _error(503, "No provider is available", retry_after="2", error_type="provider_overloaded")
        case "not-json":
            return HTMLResponse("<html><body>Sign in to the network first</body></html>")
    return None


def _error(status: int, message: str, *, retry_after: str | None = None, **metadata: Any) -> Response:
    headers = {"Retry-After": retry_after} if retry_after else {}
    return JSONResponse(error_body(status, message, **metadata), status, headers)
