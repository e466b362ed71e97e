"""The look-alike behind two more prefixes, and what it has really sent: the oracle of these tests."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse

from openrouter_tap.simulator import create_app, running

_CHOICES = re.compile(rb'"choices":\[\{.*?\}\],')
_COST = re.compile(rb'"cost":([\d.e-]+)')


@dataclass
class Sent:
    """One reply, as it went out."""

    status: int = 0
    generation_id: str | None = None
    is_gzip: bool = False
    body: bytes = b""

    @property
    def plain(self) -> bytes:
        return zlib.decompressobj(31).decompress(self.body) if self.is_gzip else self.body

    @property
    def cost(self) -> float | None:
        """The last ``cost`` in it, whatever pays."""
        found = _COST.findall(self.plain)
        return float(found[-1]) if found else None

    @property
    def usage(self) -> dict[str, Any]:
        """The last ``usage`` in it, JSON or SSE, wherever it stands."""
        found: list[dict[str, Any]] = []

        def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            found.extend(value for key, value in pairs if key == "usage" and value)
            return dict(pairs)

        for text in re.findall(rb"^(?:data: )?(\{.*\})$", self.plain, re.MULTILINE):
            json.loads(text, object_pairs_hook=keep)
        return found[-1]


@dataclass
class LookAlike:
    """``/busy/429/...`` refuses every other request with that status, ``/slow/...`` lets them wait.

    ``/bare/...`` has a stream's usage in a chunk with ``choices: []``, as OpenRouter now and then does.
    """

    origin: str = ""
    sent: list[Sent] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        self._app = create_app(delay=0.001)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        sent = Sent()
        self.sent.append(sent)

        async def recorded(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = dict(message["headers"])
                sent.status, sent.is_gzip = message["status"], headers.get(b"content-encoding") == b"gzip"
                sent.generation_id = headers.get(b"x-generation-id", b"").decode() or None
            if prefix == "bare" and b'"usage":' in message.get("body", b""):
                message = {**message, "body": _CHOICES.sub(b'"choices":[],', message["body"])}
            sent.body += message.get("body", b"")
            await send(message)

        _, prefix, rest = scope["path"].split("/", 2)
        if prefix in ("slow", "busy"):
            self.asked += 1
        if prefix == "slow" and self.asked % 2:
            await asyncio.sleep(5)
        elif prefix == "busy":
            status, _, rest = rest.partition("/")
            if self.asked % 2:
                error = {"code": int(status), "message": "busy", "metadata": {"error_type": "provider_overloaded"}}
                await JSONResponse({"error": error}, int(status), {"retry-after-ms": "5"})(scope, receive, recorded)
                return
        path = f"/{rest}" if prefix in ("slow", "busy", "bare") else scope["path"]
        await self._app({**scope, "path": path, "raw_path": path.encode()}, receive, recorded)


@contextmanager
def look_alike() -> Iterator[LookAlike]:
    app = LookAlike()
    with running(app) as origin:
        app.origin = origin
        yield app
