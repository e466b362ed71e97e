"""How long what a call consists of lives."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from weakref import ref

import pytest
from callers import Answer, Caller, Replay

from openrouter_tap import CallEvent, TapOptions, TappedTransport


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.anyio
@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_a_call_that_fails_is_no_cycle(is_async: bool, library: ModuleType, events: list[CallEvent]) -> None:
    """The exception, and the request with its body, go when the caller lets them go, and wait for no collector."""
    inner: Any = Replay(library, Answer())
    tap = TappedTransport(inner, options=TapOptions(on_event=events.append))

    async def left_by(transport: Any) -> list[object]:
        inner.answer.fails = library.ConnectError("no")
        refs = [ref(inner.answer.fails)]
        try:  # not by pytest.raises, which keeps what it caught
            await Caller(library, transport, is_async=is_async).send(json={"model": "m"})
        except library.ConnectError as error:
            refs.append(ref(error.request))
        inner.answer.fails = None
        return [left() for left in refs]

    assert await left_by(inner) == [None, None]
    assert await left_by(tap) == [None, None]
    assert [event.outcome for event in events] == ["failed"]
