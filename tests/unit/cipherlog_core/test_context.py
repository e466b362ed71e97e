from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import cipherlog_core
from cipherlog_core import bind
from cipherlog_core._context import CONTEXT, pin
from cipherlog_core._redact import MARK, add_value


def bound() -> dict[str, object]:
    return CONTEXT.get().bound


def test_a_block_adds_and_takes_away() -> None:
    """Blocks nest: the inner adds to the outer, and each ends its own."""
    with bind(session_id="s", user="u"):
        with bind(user="v", step=1):
            assert bound() == {"session_id": "s", "user": "v", "step": 1}
        assert bound() == {"session_id": "s", "user": "u"}
    assert bound() == {}


def test_without_a_block_it_holds_until_the_task_ends() -> None:
    """A plain call binds for the rest of the task, and for no other."""

    async def task() -> dict[str, object]:
        bind(session_id="s")
        await asyncio.sleep(0)
        return bound()

    async def main() -> list[dict[str, object]]:
        return [await asyncio.create_task(task()), bound()]

    assert asyncio.run(main()) == [{"session_id": "s"}, {}]


def test_ids_go_to_the_head_and_the_rest_to_the_fields() -> None:
    """The three ids are encoded apart from the other context."""
    with bind(session_id="s", request_id=7, user="u"):
        context = CONTEXT.get()

        assert context.ids_json == '"tool":null,"session_id":"s","request_id":"7"'
        assert context.fields_json == b'{"user":"u"}'


def test_pinned_ids_come_before_bound_ones() -> None:
    """What `pin` says holds, though `bind` is called later and deeper."""
    with pin(session_id="pinned"), bind(session_id="bound", tool="t"):
        assert CONTEXT.get().ids == ("t", "pinned", None)


def test_ending_in_another_context_is_harmless() -> None:
    """A generator that is closed by another task neither raises nor disturbs what is bound there."""

    def generator() -> object:
        with bind(session_id="s"):
            yield

    steps = generator()
    contextvars.copy_context().run(next, steps)
    with bind(session_id="here"):
        steps.close()

        assert bound() == {"session_id": "here"}


def test_a_coroutine_function_takes_its_context_along() -> None:
    """To a loop in another thread, and over its awaits."""

    async def work(number: int) -> list[object]:
        before = bound()
        await asyncio.sleep(0)
        return [number, before, bound()]

    with bind(session_id="s"):
        carried = cipherlog_core.bound(work)
    with ThreadPoolExecutor() as pool:
        assert pool.submit(lambda: asyncio.run(carried(7))).result() == [7, {"session_id": "s"}, {"session_id": "s"}]


def test_a_generator_function_takes_nothing_along() -> None:
    """Which is said, in place of binding nothing."""

    def steps() -> Iterator[int]:
        yield 1

    async def more_steps() -> AsyncIterator[int]:
        yield 1

    for function in (steps, more_steps):
        with pytest.raises(TypeError, match="runs where it is consumed"):
            cipherlog_core.bound(function)


def test_what_is_bound_again_is_looked_at_again() -> None:
    """A key that became known meanwhile is hidden, and an object says what it is now."""
    secret = "zq7-live-value-of-a-test-41"

    class Session:
        name = "a"

        def __str__(self) -> str:
            return self.name

    session = Session()
    with bind(session_id=secret, request_id=session):
        assert CONTEXT.get().ids == (None, secret, "a")
        add_value(secret)
        session.name = "b"
        with bind(session_id=secret, request_id=session):
            assert CONTEXT.get().ids == (None, MARK, "b")
        with bind(more=1):
            assert CONTEXT.get().ids == (None, MARK, "b")


def test_the_ids_are_encoded_once_and_when_they_are_asked_for() -> None:
    """As JSON, nulls included, whatever stands in them."""
    with bind(session_id='a"b', tool="\ud800"):
        assert json.loads(f"{{{CONTEXT.get().ids_json}}}")["session_id"] == 'a"b'
        assert CONTEXT.get().ids_json is CONTEXT.get().ids_json
    assert CONTEXT.get().ids_json == '"tool":null,"session_id":null,"request_id":null'
