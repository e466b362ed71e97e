"""Calls of every kind against the look-alike, through real clients, and the report on them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from rich.console import Console
from rich.progress import Progress

import cipherlog_core
from cipherlog_core import Settings
from openrouter_tap import TapOptions, TappedTransport, tag
from openrouter_tap.report import read_report, show
from openrouter_tap.simulator import MODELS, create_app, running

__all__ = ["run"]

_DELAY = 0.005  # seconds between two chunks of a reply
_TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
_QUESTION = "What did this call cost, and where is that written? Answer in one sentence. " * 5


@dataclass(frozen=True)
class _Call:
    model: str
    stream: bool = False
    leave: bool = False
    """Whether the caller leaves the stream when its first words are there."""
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        messages = [{"role": "user", "content": _QUESTION}]
        return {"model": self.model, "messages": messages, "stream": self.stream, **self.more}


_CALLS = [
    *(_Call(model, stream) for model, entry in MODELS.items() if not entry.fails for stream in (False, True)),
    _Call("openai/gpt-4o-mini", more={"tools": [_TOOL]}),
    _Call("openai/gpt-4o-mini", stream=True, more={"tools": [_TOOL]}),
    _Call("anthropic/claude-sonnet-4.6", stream=True, leave=True),
    _Call("simulator/rate-limited"),
    _Call("simulator/midstream-error", stream=True),
    _Call("simulator/no-cost"),
    _Call("simulator/cut-off", stream=True),
]


def run(console: Console) -> None:
    """Make all calls twice, async and sync, and print the report on them."""
    begin = datetime.now(UTC).isoformat()
    with running(create_app(delay=_DELAY)) as origin, Progress(console=console, transient=True) as progress:
        task = progress.add_task("calling the look-alike", total=2 * len(_CALLS))

        def tick(call: _Call) -> None:
            progress.update(task, advance=1, description=f"{call.model}{' (stream)' if call.stream else ''}")

        asyncio.run(_call_async(origin, tick))
        _call_sync(origin, tick)
    cipherlog_core.stop()
    folder = Settings.from_env().dir
    show(read_report(folder, since=begin), console)
    console.print(f"The log: {os.path.abspath(os.path.join(folder, 'openrouter-costs.jsonl'))}", soft_wrap=True)


async def _call_async(origin: str, tick: Callable[[_Call], None]) -> None:
    async with httpx.AsyncClient(transport=_tap(origin), base_url=f"{origin}/api/v1", headers=_HEADERS) as client:
        for call in _CALLS:
            with tag(session_id="demo-async"):
                try:
                    async with client.stream("POST", "/chat/completions", json=call.body) as reply:
                        async for line in reply.aiter_lines():
                            if call.leave and "created" in line:
                                break
                except httpx.HTTPError:
                    pass  # some are made to fail
            tick(call)


def _call_sync(origin: str, tick: Callable[[_Call], None]) -> None:
    with httpx.Client(transport=_tap(origin), base_url=f"{origin}/api/v1", headers=_HEADERS) as client:
        for call in _CALLS:
            with tag(session_id="demo-sync"):
                try:
                    with client.stream("POST", "/chat/completions", json=call.body) as reply:
                        for line in reply.iter_lines():
                            if call.leave and "created" in line:
                                break
                except httpx.HTTPError:
                    pass  # some are made to fail
            tick(call)


_HEADERS = {"Authorization": "Bearer no-key-is-needed"}


def _tap(origin: str) -> TappedTransport:
    return TappedTransport(options=TapOptions(hosts=(httpx.URL(origin).netloc.decode(),)))
