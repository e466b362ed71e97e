"""Values to JSON. Whatever a caller passes becomes one valid line; nothing is raised and no event lost."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import date, datetime, time
from enum import Enum
from itertools import islice
from numbers import Integral, Rational, Real
from typing import Any, NamedTuple, Self
from uuid import UUID

import msgspec

from cipherlog_core._exc import describe
from cipherlog_core._redact import TEXT_MOST, clean_text

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
_MARGIN = TEXT_MOST - TEXT_LIMIT  # bytes of a text behind its cut that are looked through as well
_MARK = 32  # bytes of a text's room that are left for the mark of its cut
_DEPTH = 254  # as orjson
_NODES = 20_000  # values looked at one by one; a structure that contains itself twice would have no end
_SMALL = 1024  # bytes of a value that others have to make room for
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
        return _json(_Plain(LINE_LIMIT).of(value))


def _json(plain: object) -> bytes:
    try:
        return dumps(plain)
    except TypeError:
        return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def text_or_none(value: object) -> str | None:
    """*value* as text of at most 1,024 characters."""
    return None if value is None else clean_text(value if isinstance(value, str) else printed(value))[:_HEAD_TEXT]


def encode_text(value: object) -> bytes:
    """JSON of `text_or_none`."""
    return encode(text_or_none(value))


def fit(fields: Mapping[str, object], room: int) -> Fitted:
    """JSON of *fields* in at most *room* bytes, no text of more than 64 KiB.

    Small values stay as they are. The others share what is left: of each its longest texts are cut and marked; if that
    is not enough, a text or list is replaced by a mark, and an object gives up its biggest members in the same way.
    """
    with suppress(Exception):
        data = dumps(fields)
        if len(data) <= TEXT_LIMIT:
            return Fitted(data, is_cut=False)
    members = [_Member.of(name, value) for name, value in fields.items()]
    data = _joined(member.data for member in members)
    if len(data) <= room:
        return Fitted(data, any(member.is_cut for member in members))
    return Fitted(_shared(members, room - len(_LEFT_OUT)), is_cut=True)


class _Member(NamedTuple):
    """A member of an object: its name, its value, both as JSON, and whether something in that is cut."""

    name: bytes
    value: object
    data: bytes
    is_cut: bool

    @classmethod
    def of(cls, name: object, value: object) -> Self:
        key, plain = _Plain(TEXT_LIMIT), _Plain(TEXT_LIMIT)
        start = _json(key.key(name)) + b":"
        return cls(start, value, start + _json(plain.of(value)), key.has_cut or plain.has_cut)


_LEFT_OUT = b'"truncated_bytes":%20d,{}' % 0


def _joined(members: Iterable[bytes]) -> bytes:
    return b"{%b}" % b",".join(members)


def _shared(members: list[_Member], room: int) -> bytes:
    """JSON of an object of those *members* that can be made to fit."""
    kept = {}
    left, left_out = room, 0
    sizes = [len(member.data) if len(member.data) > _SMALL else 0 for member in members]
    for done, index in enumerate(sorted(range(len(members)), key=sizes.__getitem__)):
        member, is_big = members[index], sizes[index] > 0
        share = max(min(_SMALL, left), left // (len(members) - done)) if is_big else left - room // 4
        data = member.data if len(member.data) < share else _shortened(member, share - 1)
        if len(data) < share:
            kept[index] = data
            left -= len(data) + 1
        else:
            left_out += len(member.data)
    told = [b'"truncated_bytes":%d' % left_out] if left_out else []
    return _joined([*(kept[index] for index in sorted(kept)), *told])


def _shortened(member: _Member, room: int) -> bytes:
    """JSON of a *member*, in at most *room* bytes if it can be: cut ever shorter, in the end a mark."""
    room -= len(member.name)
    for cut in _CUTS:
        plain = _Plain(cut).of(member.value)
        data = _json(plain)
        if len(data) <= room:
            return member.name + data
    if isinstance(plain, dict):
        return member.name + fit(member.value if type(member.value) is dict else plain, room).data
    mark = encode(f"…[{len(member.data) - len(member.name)} bytes cut]")
    return member.name + (b"[%b]" % mark if isinstance(plain, list) else mark)


class _Plain:
    """Turns values into types that no encoder refuses, texts no longer than *cut* bytes."""

    def __init__(self, cut: int) -> None:
        self.has_cut = False
        self._cut = cut
        self._left = _NODES

    def of(self, value: object) -> Any:
        """*value* as plain types."""
        return self._of(value, _DEPTH)

    def key(self, key: object) -> str:
        """*key* as the name of a member."""
        return self._text(key if isinstance(key, str) else printed(key))

    def _of(self, value: object, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            return self._mark()
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
        if not depth:
            return self._mark()
        match value:
            case Mapping():
                most = islice(value.items(), self._left + 1)
                return {self.key(key): self._of(item, depth - 1) for key, item in most}
            case tuple() if hasattr(value, "_asdict"):
                return self._of(value._asdict(), depth)
            case list() | tuple() | set() | frozenset():
                return [self._of(item, depth - 1) for item in islice(value, self._left + 1)]
        return self._other(value, depth - 1)

    def _mark(self) -> str:
        self.has_cut = True
        return "…"

    def _other(self, value: object, depth: int) -> Any:
        """What encoders know beyond the basic types, else its text."""
        match value:
            case datetime() | date():
                return value.isoformat()
            case time() if value.tzinfo is None:
                return value.isoformat()
            case UUID():
                return str(value)
            case Integral():  # numpy's; of its floats some are `float` and some are not
                return self._plain(int(value), depth)
            case Real() if not isinstance(value, Rational):
                return self._plain(float(value), depth)
            case BaseException():
                return self._of(describe(value), depth)
        members = _members(value, type(value))
        if members is None:
            return self._text(printed(value))
        return {self.key(name): self._of(item, depth) for name, item in members.items()}

    def _text(self, text: str) -> str:
        if len(text) * 4 <= self._cut and text.isascii():
            return text
        data = text.encode("utf-8", "backslashreplace")  # lone surrogates have no UTF-8
        if len(data) <= self._cut:
            return data.decode()
        self.has_cut = True
        kept = self._without_half_a_secret(data)[: self._cut - _MARK].decode("utf-8", "ignore")
        return f"{kept}…[{len(data) - len(kept.encode())} bytes cut]"

    def _without_half_a_secret(self, data: bytes) -> bytes:
        """The text *data*, beyond its cut, without a secret that would be cut in two, and then not known for one."""
        known = data[: self._cut + _MARGIN]
        around = known[max(0, self._cut - _MARGIN) :].decode("utf-8", "ignore")
        if clean_text(around) == around:
            return data
        return clean_text(known.decode("utf-8", "ignore")).encode()


def _members(value: Any, kind: Any) -> Mapping[str, object] | None:
    """What an object with named values shows, that secrets are known by their names; None for any other."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    if dataclasses.is_dataclass(kind):
        public = [field.name for field in dataclasses.fields(kind) if not field.name.startswith("_")]
        return {name: getattr(value, name) for name in public}
    if hasattr(kind, "model_dump"):  # pydantic's; a dump would run serializers, and show what the model hides
        return dict(value.__repr_args__())
    if hasattr(kind, "__attrs_attrs__"):
        shown = {field.name: field.repr for field in kind.__attrs_attrs__ if field.repr}
        return {name: getattr(value, name) if how is True else how(getattr(value, name)) for name, how in shown.items()}
    return value._asdict() if hasattr(kind, "_asdict") else None  # a row of a database


def printed(value: object) -> str:
    """*value* as text; never raises."""
    try:
        if isinstance(value, bytes | bytearray):
            return value.decode("utf-8", "backslashreplace")
        return repr(value) if isinstance(value, BaseException) else str(value)
    except Exception:  # noqa: BLE001  a caller's __str__ may raise anything
        return f"<{type(value).__name__}>"
