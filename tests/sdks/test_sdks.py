"""Real SDKs against the look-alike: one event an HTTP attempt, with the cost that was really sent."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import aclosing, closing, suppress
from itertools import product
from typing import Any

import pytest
from conftest import Logs

import openrouter_tap
from adapters import ADAPTERS, Adapter
from look_alike import LookAlike, look_alike

MODEL = "openai/gpt-4o-mini"
pytestmark = pytest.mark.filterwarnings("default")  # what the SDKs warn of is not ours

SCENARIOS = ("json", "stream", "left", "retried", "error", "timeout")
CASES = [
    pytest.param(*case, id=f"{case[0].__name__} {case[1]} {'async' if case[2] else 'sync'} {case[3]}")
    for adapter in ADAPTERS
    if adapter.is_installed()
    for case in product([adapter], adapter.doors, (False, True), SCENARIOS)
]
MISSING = [
    pytest.param(
        *(adapter, "", False, ""),
        id=adapter.__name__,
        marks=pytest.mark.skip(reason=f"{adapter.package} is not installed: `nox` runs this with it"),
    )
    for adapter in ADAPTERS
    if not adapter.is_installed()
]


@pytest.fixture(scope="module")
def server() -> Iterator[LookAlike]:
    with look_alike() as server:
        yield server


@pytest.fixture
def tapped(server: LookAlike, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> Iterator[LookAlike]:
    monkeypatch.setenv("OPENROUTER_TAP_HOSTS", server.origin.removeprefix("http://"))
    server.sent.clear()
    server.asked = 0
    yield server
    openrouter_tap.uninstrument()


async def call(adapter: Adapter, model: str, *, is_async: bool, streamed: bool = False, take: int = 10**6) -> int:
    """Make a call and take so many chunks of its stream; how many there were."""
    taken = 0
    if not streamed:
        await (adapter.aask(model) if is_async else asyncio.to_thread(adapter.ask, model))
    elif is_async:
        async with aclosing(adapter.achunks(model)) as chunks:
            async for _ in chunks:
                taken += 1
                if taken == take:
                    break
    else:
        taken = await asyncio.to_thread(_take, adapter, model, take)
    return taken


def _take(adapter: Adapter, model: str, take: int) -> int:
    taken = 0
    with closing(adapter.chunks(model)) as chunks:
        for _ in chunks:
            taken += 1
            if taken == take:
                break
    return taken


async def play(kind: type[Adapter], door: str, scenario: str, origin: str, *, is_async: bool) -> None:
    """The scenario; what the SDK raises in one that goes wrong is not the subject."""
    if scenario == "retried":
        await call(kind(f"{origin}/busy/{kind.busy}", door, retries=2), MODEL, is_async=is_async)
    elif scenario == "timeout":
        with suppress(Exception):
            await call(kind(f"{origin}/slow", door, timeout=0.4), MODEL, is_async=is_async)
    elif scenario == "error":
        with suppress(Exception):
            await call(kind(origin, door), "simulator/midstream-error", is_async=is_async, streamed=True)
    else:
        take = 2 if scenario == "left" else 10**6
        await call(kind(origin, door), MODEL, is_async=is_async, streamed=scenario != "json", take=take)
        if scenario == "left":
            await asyncio.sleep(0)


@pytest.mark.parametrize(("kind", "door", "is_async", "scenario"), CASES + MISSING)
def test_each_attempt_leaves_one_event(
    kind: type[Adapter], door: str, is_async: bool, scenario: str, tapped: LookAlike, logs: Logs
) -> None:
    """With the cost and the id that the look-alike sent, the right outcome, and the number of the attempt."""
    if door == "instrument":
        openrouter_tap.instrument()
    asyncio.run(play(kind, door, scenario, tapped.origin, is_async=is_async))
    gc.collect()

    found = logs.read()
    fields: list[dict[str, Any]] = [record["fields"] for record in found]
    outcomes = {"left": ["closed_early"], "retried": ["http_error", "completed"], "error": ["stream_error"]}
    outcomes["timeout"] = ["failed", "completed"] if kind.insists else ["failed"]
    assert [call["outcome"] for call in fields] == outcomes.get(scenario, ["completed"])
    assert {call["endpoint"] for call in fields} == {kind.endpoint}
    if scenario != "timeout":
        assert [call["http_status"] for call in fields] == [sent.status for sent in tapped.sent]
        assert [call["generation_id"] for call in fields] == [sent.generation_id for sent in tapped.sent]
    if fields[-1]["outcome"] == "completed":
        assert fields[-1]["cost"]["total"] == tapped.sent[-1].cost is not None
        assert fields[-1]["streamed"] == (scenario == "stream")
    else:
        assert {call["cost"]["total"] for call in fields} == {None}
    if kind.links_attempts:
        assert [call["attempt"] for call in fields] == list(range(1, len(fields) + 1))
        assert len({call["call_id"] for call in fields}) == 1
