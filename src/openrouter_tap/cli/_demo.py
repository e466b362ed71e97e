"""Calls of every kind against the look-alike, through real clients, and the report on them."""

from __future__ import annotations

import asyncio
import itertools
import os
import shlex
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from rich.console import Console

import cipherlog_core
from cipherlog_core import Settings
from openrouter_tap import CallEvent, TapOptions, TappedTransport, tag
from openrouter_tap.report import read_report, show
from openrouter_tap.simulator import MODELS, create_app, running

__all__ = ["run"]

_NOT_FOR_A_DEMO = "OPENROUTER_TAP", "OTEL_SDK_DISABLED", "LOG_OTLP_ENDPOINT"
_DELAY = 0.005  # seconds between two chunks of a reply
_TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
_HEADERS = {"Authorization": "Bearer no-key-is-needed"}
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
    """Make all calls twice, async and sync, tell of each as it ends, and print the report on them."""
    folder = os.environ["LOG_DIR"] = os.path.join(Settings.from_env().dir, "demo")  # no report on real calls reads that
    for name in _NOT_FOR_A_DEMO:
        os.environ.pop(name, None)
    begin = datetime.now(UTC)
    numbers = itertools.count(1)

    def tell(event: CallEvent) -> None:
        kind = "stream" if event.streamed else "JSON"
        cost = "?" if event.cost.total is None else f"{event.cost.total:.7f}"
        number = f"{next(numbers)}/{2 * len(_CALLS)}"
        line = f"{number:>5}  {event.request_model or '':<30} {kind:<6}  {event.outcome:<12}  {cost:>9}"
        console.print(f"{line}  {event.latency_ms or 0:4.0f} ms", highlight=False, no_wrap=True, overflow="ellipsis")

    with running(create_app(delay=_DELAY)) as origin:
        options = TapOptions(hosts=(httpx.URL(origin).netloc.decode(),), on_event=tell)
        asyncio.run(_call_async(f"{origin}/api/v1/chat/completions", options))
        _call_sync(f"{origin}/api/v1/chat/completions", options)
    cipherlog_core.stop()
    console.print()
    show(read_report(folder, since=begin), console)
    console.print(
        f"The log: {os.path.abspath(os.path.join(folder, 'openrouter-costs.jsonl'))}", soft_wrap=True, markup=False
    )
    console.print(f"The report on all demos: openrouter-tap report {shlex.quote(folder)}", soft_wrap=True, markup=False)


async def _call_async(url: str, options: TapOptions) -> None:
    async with httpx.AsyncClient(transport=TappedTransport(options=options), headers=_HEADERS) as client:
        for call in _CALLS:
            failing = suppress(httpx.HTTPError)  # some are made to
            with tag(session_id="demo-async"), failing:
                async with client.stream("POST", url, json=call.body) as reply:
                    async for line in reply.aiter_lines():
                        if call.leave and "created" in line:
                            break


def _call_sync(url: str, options: TapOptions) -> None:
    with httpx.Client(transport=TappedTransport(options=options), headers=_HEADERS) as client:
        for call in _CALLS:
            failing = suppress(httpx.HTTPError)
            with tag(session_id="demo-sync"), failing, client.stream("POST", url, json=call.body) as reply:
                for line in reply.iter_lines():
                    if call.leave and "created" in line:
                        break
