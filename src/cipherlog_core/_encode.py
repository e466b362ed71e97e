"""Values to JSON. Whatever a caller passes becomes one valid line; nothing is raised and no event lost."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from cipherlog_core._exc import describe

try:
    from orjson import dumps
except ModuleNotFoundError:  # the same lines, slower

    def dumps(_value: Any, /) -> bytes:  # type: ignore[misc]
        """Refuse, so that all values are made plain, which `json` encodes alike."""
        raise TypeError


__all__ = ["LINE_LIMIT", "TEXT_LIMIT", "Fitted", "dumps", "encode", "encode_text", "fit", "printed", "text_or_none"]

LINE_LIMIT = 1 << 18
"""Bytes that a line may have, its newline included."""
TEXT_LIMIT = 1 << 16
"""Bytes that a text may have; a line below that has none that is longer."""

_HEAD_TEXT = 1024
_DEPTH = 32
_NODES = 20_000  # values looked at one by one; a structure that contains itself twice would have no end
_CUTS = (TEXT_LIMIT, 1 << 13, 1 << 10, 1 << 7)  # bytes that a text keeps, tried in turn


class Fitted(NamedTuple):
    """JSON that fits, and whether something had to be cut for that."""

    data: bytes
    is_cut: bool


def encode(value: object) -> bytes:
    """JSON of *value*. What JSON has no form for is written as text."""
    try:
        return dumps(value)
    except Exception:  # noqa: BLE001  orjson refuses by several types, and what it calls may raise any
        return _Plain(LINE_LIMIT).encode(value)


def text_or_none(value: object) -> str | None:
    """*value* as text of at most 1,024 characters."""
    return None if value is None else (value if isinstance(value, str) else printed(value))[:_HEAD_TEXT]


def encode_text(value: object) -> bytes:
    """JSON of `text_or_none`."""
    return encode(text_or_none(value))


def fit(fields: Mapping[str, object], room: int) -> Fitted:
    """JSON of *fields* in at most *room* bytes, no text of more than 64 KiB.

    The longest texts are cut and marked; if that is not enough, all is left out.
    """
    size = 0
    for cut in _CUTS:
        plain = _Plain(cut)
        data = plain.encode(fields)
        size = size or len(data)
        if len(data) <= room:
            return Fitted(data, plain.has_cut)
    return Fitted(b'{"truncated_bytes":%d}' % size, is_cut=True)


class _Plain:
    """Turns values into types that no encoder refuses, texts no longer than *cut* bytes."""

    def __init__(self, cut: int) -> None:
        self.has_cut = False
        self._cut = cut
        self._left = _NODES

    def encode(self, value: object) -> bytes:
        plain = self._of(value, _DEPTH)
        try:
            return dumps(plain)
        except TypeError:
            return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

    def _of(self, value: object, depth: int) -> Any:
        self._left -= 1
        try:
            return self._plain(value, depth)
        except Exception:  # noqa: BLE001  a caller's own mapping or property may raise anything
            return self._text(printed(value))

    def _plain(self, value: object, depth: int) -> Any:
        match value:
            case None | bool():
                return value
            case Enum():
                return self._of(value.value, depth)
            case float():
                return float(value) if math.isfinite(value) else None
            case int():
                return int(value) if -(1 << 63) <= value < 1 << 64 else self._text(printed(value))
            case str():
                return self._text(value)
        if not depth or self._left <= 0:
            return "…"
        match value:
            case Mapping():
                return {self._key(key): self._of(item, depth - 1) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._of(item, depth - 1) for item in value]
        return self._other(value, depth - 1)

    def _other(self, value: object, depth: int) -> Any:
        """What encoders know beyond the basic types, else its text."""
        match value:
            case datetime() | date():
                return value.isoformat()
            case time() if value.tzinfo is None:
                return value.isoformat()
            case UUID():
                return str(value)
            case BaseException():
                return self._of(describe(value), depth)
            case msgspec.Struct():
                return self._of(msgspec.structs.asdict(value), depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            public = [field.name for field in dataclasses.fields(value) if not field.name.startswith("_")]
            return {name: self._of(getattr(value, name), depth) for name in public}
        return self._text(printed(value))

    def _key(self, key: object) -> str:
        return self._text(key if isinstance(key, str) else printed(key))

    def _text(self, text: str) -> str:
        if len(text) * 4 <= self._cut and text.isascii():
            return text
        data = text.encode("utf-8", "backslashreplace")  # lone surrogates have no UTF-8
        if len(data) <= self._cut:
            return data.decode()
        self.has_cut = True
        kept = data[: self._cut].decode("utf-8", "ignore")
        return f"{kept}…[{len(data) - len(kept.encode())} bytes cut]"


def printed(value: object) -> str:
    """*value* as text; never raises."""
    try:
        if isinstance(value, bytes | bytearray):
            return value.decode("utf-8", "backslashreplace")
        return repr(value) if isinstance(value, BaseException) else str(value)
    except Exception:  # noqa: BLE001  a caller's __str__ may raise anything
        return f"<{type(value).__name__}>"
