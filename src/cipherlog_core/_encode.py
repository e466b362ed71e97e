"""Values to JSON. Whatever a caller passes becomes one valid line; nothing is raised and no event lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

__all__ = ["LINE_LIMIT", "encode", "encode_text", "fit", "printed", "text_or_none"]

LINE_LIMIT = 1 << 18
"""Bytes that a line may have, its newline included."""

_TEXT = 1024
_DEPTH = 32
_NODES = 20_000  # values looked at one by one; a structure that contains itself twice would have no end
_CUTS = (1 << 16, 1 << 13, 1 << 10, 1 << 7)  # characters that a string keeps, tried in turn


def encode(value: object) -> bytes:
    """JSON of *value*. What JSON has no form for is written as text."""
    try:
        return orjson.dumps(value)
    except Exception:  # noqa: BLE001  orjson refuses by several types, and what it calls may raise any
        return _Plain(LINE_LIMIT).encode(value)


def text_or_none(value: object) -> str | None:
    """*value* as text of at most 1,024 characters."""
    return None if value is None else (value if isinstance(value, str) else printed(value))[:_TEXT]


def encode_text(value: object) -> bytes:
    """JSON of `text_or_none`."""
    return encode(text_or_none(value))


def fit(fields: Mapping[str, object], room: int) -> bytes:
    """JSON of *fields* in at most *room* bytes: the longest strings are cut, in the end all is left out."""
    size = 0
    for cut in _CUTS:
        data = _Plain(cut).encode(fields)
        size = size or len(data)
        if len(data) <= room:
            return data
    return b'{"truncated_bytes":%d}' % size


class _Plain:
    """Turns values into types that orjson cannot refuse, strings no longer than *cut* characters."""

    def __init__(self, cut: int) -> None:
        self._cut = cut
        self._left = _NODES

    def encode(self, value: object) -> bytes:
        return orjson.dumps(self._of(value, _DEPTH))

    def _of(self, value: object, depth: int) -> Any:
        self._left -= 1
        match value:
            case None | bool():
                return value
            case float():
                return float(value)
            case int():
                return int(value) if -(1 << 63) <= value < 1 << 64 else str(value)
            case str():
                return self._text(value)
        if not depth or self._left <= 0:
            return "…"
        match value:
            case Mapping():
                return {self._key(key): self._of(item, depth - 1) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._of(item, depth - 1) for item in value]
        return self._other(value)

    def _other(self, value: object) -> Any:
        """What orjson knows beyond the basic types (dates, dataclasses …), else its text."""
        try:
            data = orjson.dumps(value)
        except Exception:  # noqa: BLE001  see encode
            return self._text(printed(value))
        return orjson.Fragment(data) if len(data) <= self._cut else self._text(data.decode())

    def _key(self, key: object) -> str:
        return self._text(key if isinstance(key, str) else printed(key))

    def _text(self, text: str) -> str:
        rest = len(text) - self._cut
        if rest > 0:
            text = f"{text[: self._cut]}…[{rest} characters cut]"
        return text.encode("utf-8", "backslashreplace").decode()  # lone surrogates have no UTF-8


def printed(value: object) -> str:
    """*value* as text; never raises."""
    try:
        if isinstance(value, bytes | bytearray):
            return value.decode("utf-8", "backslashreplace")
        return repr(value) if isinstance(value, BaseException) else str(value)
    except Exception:  # noqa: BLE001  a caller's __str__ may raise anything
        return f"<{type(value).__name__}>"
