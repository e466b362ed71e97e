"""The look-alike's HTTP: routes, framing and timing as OpenRouter's."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from openrouter_tap.simulator._catalogue import MODELS, SPECIALISTS
from openrouter_tap.simulator._chat import CHAT
from openrouter_tap.simulator._dialect import Dialect
from openrouter_tap.simulator._messages import MESSAGES
from openrouter_tap.simulator._others import OTHERS, video
from openrouter_tap.simulator._replies import Answer, answer, prompt_of
from openrouter_tap.simulator._responses import RESPONSES

__all__ = ["create_app"]

_FILM = b"\0\0\0\x18ftypmp42" + bytes(4096)
_PADDING = b"\n         \n"
_COMMENT = b": OPENROUTER PROCESSING\n\n"
_STALL = 60.0  # seconds of silence
_UNFINISHED = "cut-off", "stalled"
_DIALECTS = {"chat/completions": CHAT, "responses": RESPONSES, "messages": MESSAGES, **OTHERS}
_MODELS = MODELS | SPECIALISTS
_MOST = 1000  # videos whose making is remembered


def create_app(*, delay: float = 0.0) -> Starlette:
    """The look-alike as an ASGI app. *delay*: seconds between two network chunks of a reply."""
    seen: set[tuple[str, str]] = set()
    videos = _Videos()
    endpoints = {path: _Endpoint(dialect, delay, seen) for path, dialect in _DIALECTS.items()}
    endpoints["videos"].on_answer = videos.add
    routes = [Route(f"/api/v1/{path}", endpoint, methods=["POST"]) for path, endpoint in endpoints.items()]
    polls = Route("/api/v1/videos/{job}", videos.poll), Route("/api/v1/videos/{job}/content", videos.content)
    return Starlette(routes=[*routes, *polls, Route("/api/v1/models", _models)])


async def _models(_request: Request) -> Response:
    entries = [
        {"id": slug, "pricing": {"prompt": str(model.prompt_price), "completion": str(model.completion_price)}}
        for slug, model in _MODELS.items()
    ]
    return JSONResponse({"data": entries})


class _Videos:
    """The videos in the making: a poll brings each a step further."""

    def __init__(self) -> None:
        self._jobs: dict[str, tuple[Answer, int]] = {}

    def add(self, job: Answer) -> None:
        if len(self._jobs) >= _MOST:
            del self._jobs[next(iter(self._jobs))]
        self._jobs[job.id] = job, 0

    async def poll(self, request: Request) -> Response:
        job, polls = self._jobs.get(request.path_params["job"], (None, 0))
        if job is None:
            return JSONResponse(CHAT.error(404, "Video not found"), 404)
        self._jobs[job.id] = job, polls + 1
        return JSONResponse(video(job, polls + 1))

    async def content(self, request: Request) -> Response:
        if request.path_params["job"] not in self._jobs:
            return JSONResponse(CHAT.error(404, "Video not found"), 404)
        return Response(_FILM, media_type="video/mp4")


class _Endpoint:
    """``POST`` to an endpoint; *seen* are the prompts that are cached, shared by all."""

    def __init__(self, dialect: Dialect, delay: float, seen: set[tuple[str, str]]) -> None:
        self._dialect = dialect
        self._delay = delay
        self._seen = seen
        self.on_answer: Callable[[Answer], None] = lambda _: None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        if "authorization" not in request.headers and "x-api-key" not in request.headers:
            return self._error(401, "Missing Authentication header")
        try:
            asked = json.loads(await request.body())
            model = _MODELS.get(slug := asked["model"])
        except (ValueError, KeyError, TypeError):
            return self._error(400, "Invalid request body")
        if model is None:
            return self._error(400, f"{slug} is not a valid model ID")
        if refusal := self._refusal(model.fails):
            return refusal
        prompt = slug, prompt_of(asked)
        result = answer(asked, model, is_cached=prompt in self._seen, kind=self._dialect.kind)
        self._seen.add(prompt)
        self.on_answer(result)
        if asked.get("stream") and self._dialect.events is not None:
            return self._stream(self._events(self._dialect.events(result), result), result)
        return self._whole(result, gzip="gzip" in request.headers.get("accept-encoding", ""))

    def _whole(self, result: Answer, *, gzip: bool) -> Response:
        body = self._dialect.body(result)
        if isinstance(body, bytes):
            pieces = self._paced([_sent(body, result)], result)
            return StreamingResponse(pieces, media_type="audio/mpeg", headers=self._headers(result))
        return self._json(body, result, gzip=gzip)

    def _json(self, body: dict[str, Any], result: Answer, *, gzip: bool) -> Response:
        if result.model.fails == "midstream-error":
            body = self._dialect.failed(result, self._disconnected())
        text = json.dumps(body, separators=(",", ":")).encode()
        pieces = self._paced([_PADDING, _PADDING, _sent(text, result)], result)
        headers = {"content-encoding": "gzip"} if gzip else {}
        return StreamingResponse(
            _gzipped(pieces) if gzip else pieces,
            self._dialect.status,
            media_type="application/json",
            headers={**self._headers(result), **headers},
        )

    def _stream(self, chunks: list[bytes], result: Answer) -> Response:
        pieces = self._paced(chunks, result)
        return StreamingResponse(pieces, media_type="text/event-stream", headers=self._headers(result))

    async def _paced(self, pieces: list[bytes], result: Answer) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
            await asyncio.sleep(self._delay)
        if result.model.fails == "stalled":
            await asyncio.sleep(_STALL)
        if result.model.fails == "cut-off":
            raise ConnectionAbortedError("the reply ends in its middle, as asked")

    def _events(self, events: list[bytes], result: Answer) -> list[bytes]:
        """The network chunks of a stream: some hold several events, the last one why it ended, its cost and its end."""
        fails = result.model.fails
        if fails in _UNFINISHED:
            return [_COMMENT, *events[: len(events) // 2]]
        if fails == "midstream-error":
            return [_COMMENT, *events[: len(events) // 2], self._dialect.broken(result, self._disconnected())]
        head, end = events[:-3], b"".join(events[-3:])
        return [_COMMENT * 2, _COMMENT, *head[:2], b"".join(head[2:4]), *head[4:], end]

    def _headers(self, result: Answer) -> dict[str, str]:
        about = {"X-Generation-Id": result.id} if self._dialect.has_id_header else {}
        if self._dialect.has_provider_header:
            about["X-Provider-Name"] = result.model.provider
        return {**about, **_headers(result)}

    def _disconnected(self) -> dict[str, Any]:
        return self._dialect.error(502, "Provider disconnected", error_type="provider_unavailable")

    def _refusal(self, fails: str | None) -> Response | None:
        """The answer of a scenario that ends before the generation."""
        match fails:
            case "rate-limited":
                error_type, message = "rate_limit_exceeded", "Provider returned error"
                return self._error(429, message, provider_name="OpenAI", error_type=error_type)
            case "no-credits":
                return self._error(402, "This request requires more credits", error_type="payment_required")
            case "overloaded":
                message = "No provider is available"
                return self._error(503, message, retry_after="2", error_type="provider_overloaded")
            case "not-json":
                return HTMLResponse("<html><body>Sign in to the network first</body></html>")
        return None

    def _error(self, status: int, message: str, *, retry_after: str | None = None, **metadata: Any) -> Response:
        headers = {"Retry-After": retry_after} if retry_after else {}
        return JSONResponse(self._dialect.error(status, message, **metadata), status, headers)


def _sent(body: bytes, result: Answer) -> bytes:
    """As much of *body* as comes: half of it where the reply breaks off or stalls."""
    return body[: len(body) // 2] if result.model.fails in _UNFINISHED else body


async def _gzipped(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Each piece flushed by itself, as the keep-alive whitespace ahead of a JSON reply must be."""
    packer = zlib.compressobj(wbits=31)
    async for piece in pieces:
        yield packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()


def _headers(result: Answer) -> dict[str, str]:
    return {
        "CF-RAY": f"{result.id[-16:]}-SIM",
        "Cache-Control": "no-cache",
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "X-Generation-Id,cf-ray,X-Provider-Name,request-id",
        "X-Content-Type-Options": "nosniff",
    }
