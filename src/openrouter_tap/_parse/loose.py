"""A reply that is JSON but not what the types say: take what is right, one fact at a time."""

from __future__ import annotations

import functools
import json
import math
import re
import types
from typing import Any, Union, get_args, get_origin

import msgspec
from msgspec import Raw, Struct

from openrouter_tap._parse.wire import Reply, Usage

__all__ = ["last_usage", "read_loosely"]

_fields = functools.cache(msgspec.structs.fields)  # it evaluates annotations anew each time
_DIGITS = 20  # from which on an integer is no count
_USAGE = '"usage"'
_TRIES = 4
_END_OF_EVENT = re.compile(r"[^][{}]*\}")


def read_loosely(body: bytes) -> Reply | None:
    """The facts of *body*; None where it is no JSON object at all."""
    try:
        text = body.decode(json.detect_encoding(body), "replace")
        value = json.loads(text, parse_int=_integer)  # unlike others it takes NaN and 1e999
    except (ValueError, RecursionError):
        return None
    return _reply_of(value) if isinstance(value, dict) else None


def _reply_of(value: dict[str, Any]) -> Reply:
    reply: Reply = _struct(Reply, value)
    usage = reply.usage
    if usage is not None and usage.is_byok is None and value["usage"].get("is_byok") is not None:
        usage.cost = None  # who paid is told, but not so that it can be read: what was paid is then unknown, too
    return reply


def last_usage(tail: bytes, *, in_event: bool = False) -> Usage | None:
    """The usage of the reply of which *tail* is the end, where its beginning is not there.

    It stands in the reply itself and in no object within: with what holds it all ends, *in_event* but for the rest of
    the event that holds the reply.
    """
    text = tail.decode("utf-8", "replace")
    at = len(text)
    for _ in range(_TRIES):
        at = text.rfind(_USAGE, 0, at)
        if at < 0:
            break
        try:
            value, end = json.JSONDecoder(parse_int=_integer).raw_decode("{" + text[at:])
        except (ValueError, RecursionError):
            continue
        rest = text[at + end - 1 :].strip()
        if not rest or (in_event and _END_OF_EVENT.fullmatch(rest)):
            return _reply_of(value).usage
    return None


def _integer(digits: str) -> float:
    return int(digits) if len(digits) < _DIGITS else float(digits)


def _struct(kind: Any, value: dict[str, Any]) -> Any:
    facts = {field.name: _fact(field.type, value.get(field.encode_name)) for field in _fields(kind)}
    return kind(**{name: fact for name, fact in facts.items() if fact is not None})


def _fact(kind: Any, value: Any) -> Any:
    """*value* as *kind*; None if it is none."""
    if value is None:
        return None
    if kind is Raw:
        return Raw(json.dumps(value).encode())
    if get_origin(kind) in (Union, types.UnionType):
        facts = (_fact(option, value) for option in get_args(kind))
        return next((fact for fact in facts if fact is not None), None)
    if get_origin(kind) is list:
        (item_kind,) = get_args(kind)
        return (
            [_struct(item_kind, item) for item in value if isinstance(item, dict)] if isinstance(value, list) else None
        )
    if isinstance(kind, type) and issubclass(kind, Struct):
        return _struct(kind, value) if isinstance(value, dict) else None
    return _scalar(kind, value)


def _scalar(kind: Any, value: Any) -> Any:
    if isinstance(value, str):
        value = value[:256]
    try:
        fact = msgspec.convert(value, kind, strict=isinstance(value, bool))
    except (msgspec.ValidationError, ValueError):
        return None
    return None if isinstance(fact, float) and not math.isfinite(fact) else fact
