"""What a task or thread has bound to its events, encoded when it is bound and not when it is logged."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Generic, NamedTuple, ParamSpec, Self, TypeVar, cast

from cipherlog_core._encode import encode, encode_text, text_or_none
from cipherlog_core._notice import shown

__all__ = ["CONTEXT", "NOTHING", "Context", "Scope", "bind", "bound", "encode_ids", "pin"]

_IDS = ("tool", "session_id", "request_id")

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


def encode_ids(*ids: object) -> str:
    """The three ids of every record as members of a JSON object."""
    tool, session_id, request_id = (encode_text(value).decode() for value in ids)
    return f'"tool":{tool},"session_id":{session_id},"request_id":{request_id}'


class Context(NamedTuple):
    """What is bound. *pinned* ids come before those of *bound*; the rest is derived from the two."""

    bound: dict[str, object]
    pinned: dict[str, Any]
    ids: tuple[Any, ...]
    ids_json: str
    fields: dict[str, object]
    fields_json: bytes
    fields_start: bytes
    """The same up to where a further field goes."""

    @classmethod
    def of(cls, bound: dict[str, object], pinned: dict[str, Any]) -> Self:
        """The context with what is derived from *bound* and *pinned*."""
        ids = tuple(text_or_none(pinned.get(key, bound.get(key))) for key in _IDS)
        fields = {key: value for key, value in bound.items() if key not in _IDS}
        data = encode(fields)
        return cls(bound, pinned, ids, encode_ids(*ids), fields, data, data[:-1] + b",")


NOTHING = Context.of({}, {})
CONTEXT: ContextVar[Context] = ContextVar("cipherlog_context", default=NOTHING)


class Scope(Generic[T]):
    """A value of a context variable: set at once, and put back at the end of a ``with`` block.

    Never raises "created in a different Context": where a generator is closed by another task, there is nothing
    of ours to put back there.
    """

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
    return Scope(CONTEXT, Context.of({**current.bound, **context}, current.pinned))


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
    return Scope(CONTEXT, Context.of(current.bound, {**current.pinned, **ids}))
