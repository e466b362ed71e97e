"""Real SDKs against the look-alike: one event an HTTP attempt, with the cost that was really sent."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import aclosing, closing, suppress
from datetime import datetime
from itertools import product
from typing import Any

import pytest
from conftest import Logs

import openrouter_tap
from adapters import TRIED, Adapter
from frameworks import ADAPTERS
from look_alike import LookAlike, look_alike
from openrouter_tap._compat import LIBRARIES

MODEL, BROKEN = "openai/gpt-4o-mini", "simulator/midstream-error"
pytestmark = pytest.mark.filterwarnings("default")  # what the SDKs warn of is not ours

OUTCOMES = {
    "json": ["completed"],
    "stream": ["completed"],
    "stream left": ["closed_early"],
    "json retried": ["http_error", "completed"],
    "stream retried": ["http_error", "completed"],
    "json error": ["stream_error"],
    "stream error": ["stream_error"],
    "json timeout": ["failed"],
    "stream timeout": ["failed"],
}
"""Of each attempt, by the scenario."""


def cells() -> Iterator[Any]:
    """One of each adapter, door, way and scenario; what an adapter cannot do is skipped, and seen."""
    elsewhere = [adapter.__name__ for adapter in ADAPTERS if not adapter.is_installed()]
    if elsewhere and TRIED is None:
        reason = f"`nox` tries these, in environments of their own: {', '.join(elsewhere)}"
        yield pytest.param(None, "", False, "", id="elsewhere", marks=pytest.mark.skip(reason=reason))
    for adapter in ADAPTERS:
        if not adapter.is_installed():
            continue
        for door, way, scenario in product(adapter.doors, ("sync", "async"), OUTCOMES):
            reason = adapter.cannot.get(way) or adapter.cannot.get(scenario)
            yield pytest.param(
                *(adapter, door, way == "async", scenario),
                id=f"{adapter.__name__} {door} {way} {scenario}",
                marks=pytest.mark.skip(reason=f"{adapter.__name__}: {reason}") if reason else (),
            )


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
    how, _, what = scenario.partition(" ")
    options: dict[str, Any] = {"is_async": is_async, "streamed": how == "stream"}
    if what == "retried":
        await call(kind(f"{origin}/busy/{kind.busy}", door, retries=2), MODEL, **options)
    elif what == "timeout":
        where, model = (origin, "simulator/stalled") if how == "stream" else (f"{origin}/slow", MODEL)
        with suppress(Exception):
            await call(kind(where, door, timeout=0.4), model, **options)
    elif what == "error":
        with suppress(Exception):
            await call(kind(origin, door), BROKEN, **options)
    elif what == "left":
        await call(kind(origin, door), MODEL, take=2, **options)
        await asyncio.sleep(0)
    else:
        await call(kind(origin, door), MODEL, **options)


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the client that made a request was async, for each request."""
    used: list[bool] = []
    for library, is_async in product(LIBRARIES, (False, True)):
        client = library.AsyncClient if is_async else library.Client

        def send(self: Any, *args: Any, was: bool = is_async, sends: Any = client.send, **options: Any) -> Any:
            used.append(was)
            return sends(self, *args, **options)

        monkeypatch.setattr(client, "send", send)
    return used


@pytest.mark.parametrize(("kind", "door", "is_async", "scenario"), list(cells()))
def test_each_attempt_leaves_one_event(
    kind: type[Adapter],
    door: str,
    is_async: bool,
    scenario: str,
    clients: list[bool],
    tapped: LookAlike,
    logs: Logs,
) -> None:
    """With the cost and the id that the look-alike sent, the right outcome, and the number of the attempt."""
    if door == "instrument":
        openrouter_tap.instrument()
    asyncio.run(play(kind, door, scenario, tapped.origin, is_async=is_async))
    gc.collect()

    records = logs.read()
    lies_about = kind.leaves_refusals and scenario == "stream retried"
    if lies_about:  # and is written whenever it is collected
        records.sort(key=lambda record: record["fields"]["attempt"])
    fields: list[dict[str, Any]] = [record["fields"] for record in records]
    outcomes = ["failed", "completed"] if scenario == "json timeout" and kind.insists else OUTCOMES[scenario]
    assert [call["outcome"] for call in fields] == outcomes
    assert set(clients) == {is_async or kind.is_only_async}
    assert {call["endpoint"] for call in fields} == {kind.endpoint}
    assert fields[-1]["streamed"] == scenario.startswith("stream")
    assert {call["error"]["type"] for call in fields if call["outcome"] == "failed"} <= {"ReadTimeout"}
    if scenario != "json timeout":
        assert [call["http_status"] for call in fields] == [sent.status for sent in tapped.sent]
        assert [call["generation_id"] for call in fields] == [sent.generation_id for sent in tapped.sent]
    if outcomes[-1] == "completed":
        assert fields[-1]["cost"]["total"] == tapped.sent[-1].cost is not None
    else:
        assert {call["cost"]["total"] for call in fields} == {None}
    if kind.links_attempts:
        assert [call["attempt"] for call in fields] == list(range(1, len(fields) + 1))
        assert len({call["call_id"] for call in fields}) == 1
    assert_times(records)
    if lies_about:
        assert fields[0]["latency_ms"] == fields[0]["headers_ms"]
    else:
        assert_no_overlap(records)


def assert_times(records: list[dict[str, Any]]) -> None:
    """A stream lasts until its end."""
    for record in records:
        call = record["fields"]
        if call["ttft_ms"] is not None:
            assert call["headers_ms"] <= call["ttft_ms"] <= call["latency_ms"]
        if call["outcome"] == "completed" and call["streamed"]:
            assert call["headers_ms"] < call["ttft_ms"] < call["latency_ms"]


def assert_no_overlap(records: list[dict[str, Any]]) -> None:
    """No attempt takes in the one before or the pause behind it."""
    ends = [datetime.fromisoformat(record["ts"]).timestamp() * 1000 for record in records]
    starts = [end - record["fields"]["latency_ms"] for end, record in zip(ends, records, strict=True)]
    assert all(start > end for end, start in zip(ends, starts[1:], strict=False))
