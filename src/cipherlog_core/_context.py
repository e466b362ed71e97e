"""What a task or thread has bound to its events: cleaned, and fields encoded, when it is bound.

Each call of a server binds, and often twice; so ids are encoded only where they are logged (benchmarks/tools.py).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Generic, ParamSpec, Self, TypeVar, cast

from cipherlog_core._encode import encode, text_or_none
from cipherlog_core._notice import shown

__all__ = ["CONTEXT", "IDS", "NOTHING", "Context", "Scope", "bind", "bound", "encode_ids", "pin"]

IDS = ("tool", "session_id", "request_id")
"""The keys that every record has, and whoever logs may fill."""

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


def encode_ids(tool: str | None, session_id: str | None, request_id: str | None) -> str:
    """The three ids of every record, clean ones, as members of a JSON object."""
    return f'"tool":{_json(tool)},"session_id":{_json(session_id)},"request_id":{_json(request_id)}'


def _json(text: str | None) -> str:
    return "null" if text is None else encode(text).decode()


class Context:
    """What is bound. *pinned* ids come before those of *bound*; the rest is derived from the two.

    *before*: the context that this one adds to.
    """

    __slots__ = ("_ids_json", "bound", "fields", "fields_json", "ids", "pinned")
    fields: dict[str, object]
    fields_json: bytes

    def __init__(self, bound: dict[str, object], pinned: dict[str, Any], before: Context | None) -> None:
        self.bound, self.pinned = bound, pinned
        ids = (
            pinned.get("tool", bound.get("tool")),
            pinned.get("session_id", bound.get("session_id")),
            pinned.get("request_id", bound.get("request_id")),
        )
        self.ids: tuple[Any, ...] = tuple(map(text_or_none, ids))
        self._ids_json = ""
        if before is not None and bound is before.bound:
            self.fields, self.fields_json = before.fields, before.fields_json
        else:
            self.fields = {key: value for key, value in bound.items() if key not in IDS}
            self.fields_json = encode(self.fields) if self.fields else b"{}"

    @property
    def ids_json(self) -> str:
        """`encode_ids`, when it is first asked for: the tap never does."""
        if not self._ids_json:
            self._ids_json = encode_ids(*self.ids)
        return self._ids_json


NOTHING = Context({}, {}, None)
CONTEXT: ContextVar[Context] = ContextVar("cipherlog_context", default=NOTHING)


class Scope(Generic[T]):
    """A value of a context variable: set at once, and put back at the end of a ``with`` block.

    Never raises "created in a different Context": where a generator is closed by another task, there is nothing
    of ours to put back there.
    """

    __slots__ = ("_before", "_value", "_variable")

    def __init__(self, variable: ContextVar[T], value: T) -> None:
        self._variable = variable
        self._value = value
        self._before = variable.get()
        variable.set(value)

    def __enter__(self) -> Self:
        if self._variable.get() is not self._value:
            self._before = self._variable.get()
            self._variable.set(self._value)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._variable.get() is self._value:
            self._variable.set(self._before)


def bind(**context: object) -> Scope[Context]:
    """Add *context* to each event of this task or thread, until the end of the ``with`` block if it opens one.

    ``tool``, ``session_id`` and ``request_id`` fill the record's own keys; all else goes to the ``fields`` of
    `Logger.event`, where explicit keywords win. What an async generator binds its consumer sees while it is suspended.
    """
    current = CONTEXT.get()
    return Scope(CONTEXT, Context({**current.bound, **context}, current.pinned, current))


def bound(function: Callable[P, R]) -> Callable[P, R]:
    """*function*, to be called in another thread, with what is bound here and now.

    Threads and executors begin with nothing bound: ``pool.submit(bound(work), 1)``. An ``async def`` may be run by
    another loop. Raises `TypeError` for a generator function: its body runs with what is bound where it is consumed.
    """
    context = CONTEXT.get()
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"bound({shown(function)}): a generator runs where it is consumed; call bind() in there")
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run(*args: P.args, **kwargs: P.kwargs) -> Any:
            with Scope(CONTEXT, context):
                return await function(*args, **kwargs)

        return cast(Callable[P, R], run)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with Scope(CONTEXT, context):
            return function(*args, **kwargs)

    return call


def pin(**ids: object) -> Scope[Context]:
    """Set ids that come before what is bound: for whoever knows them better than the application's `bind`."""
    current = CONTEXT.get()
    return Scope(CONTEXT, Context(current.bound, {**current.pinned, **ids}, current))
