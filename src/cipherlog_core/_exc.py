"""An exception as data: its type, its message, where it was raised, and what caused it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from types import TracebackType
from typing import Any, TypeVar

__all__ = ["describe", "described"]

T = TypeVar("T")

_FRAMES = 64  # of a stack, from its inner end
_CAUSES = 8
_GROUP = 16


def describe(error: BaseException) -> dict[str, Any]:
    """``type``, ``message``, ``stack`` and ``cause`` of *error*, its ``notes``, and ``exceptions`` of a group.

    The stack is a list of texts, the innermost frame last, as in a traceback. No source line and no value of a variable
    is in it. ``cause`` is the exception that Python would show above this one, or None.
    """
    return _described(error, _CAUSES, set())


def _described(error: BaseException, causes: int, seen: set[int]) -> dict[str, Any]:
    """The same; what was *seen* brings what belongs to it no second time: groups in groups grow by powers."""
    is_new = causes > 0 and id(error) not in seen
    seen.add(id(error))
    told: dict[str, Any] = {
        "type": _name(type(error)),
        "message": _message(error),
        "stack": [*_stack(_given(error, "__traceback__", TracebackType))][-_FRAMES:],
        "cause": None,
    }
    cause = _given(error, "__cause__", BaseException)
    if cause is None and not _given(error, "__suppress_context__", bool):
        cause = _given(error, "__context__", BaseException)
    if cause is not None and is_new and id(cause) not in seen:
        told["cause"] = _described(cause, causes - 1, seen)
    if notes := _given(error, "__notes__", list):
        told["notes"] = [note for note in notes if isinstance(note, str)]
    if isinstance(error, BaseExceptionGroup) and is_new:
        members = _given(error, "exceptions", tuple) or ()
        told["exceptions"] = [_described(inner, causes - 1, seen) for inner in islice(members, _GROUP)]
    return told


def described(text: str) -> dict[str, Any]:
    """The same as far as the *text* of a traceback tells it, which is all that comes from another process."""
    lines = text.strip("\n").split("\n")
    kind, _, message = lines[-1].partition(": ")
    return {"type": kind, "message": message, "stack": lines[:-1][-_FRAMES:], "cause": None}


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _given(error: BaseException, name: str, kind: type[T]) -> T | None:
    try:
        value = getattr(error, name)
        return value if isinstance(value, kind) else None
    except Exception:  # noqa: BLE001  none of that name, or a caller's property, which may raise anything
        return None


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  a caller's __str__ may raise anything
        return "<no message>"


def _stack(traceback: TracebackType | None) -> Iterator[str]:
    while traceback is not None:
        code = traceback.tb_frame.f_code
        yield f"{code.co_filename}:{traceback.tb_lineno} in {code.co_qualname}"
        traceback = traceback.tb_next
