"""Typed events: one struct type, one log, always JSON Lines, never filtered by level and never sampled.

`Channel.emit` is bent for speed (benchmarks/tap.py, benchmarks/emit.py): a buffer that begins with what all records
share, and one encoder that writes the rest behind it, ids, times, struct and all, in one step.
"""

from __future__ import annotations

import re
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from cipherlog_core import _record
from cipherlog_core._context import CONTEXT
from cipherlog_core._encode import LINE_LIMIT, TEXT_LIMIT, encode_text, fit, printed, text_or_none
from cipherlog_core._folders import JSON_SUFFIX
from cipherlog_core._fork import HERE
from cipherlog_core._pipeline import PIPELINE
from cipherlog_core._redact import clean, read_environment
from cipherlog_core._settings import notice, shown

__all__ = ["Channel", "channel"]

T = TypeVar("T", bound=msgspec.Struct)

_CURRENT: Any = object()
_COMMA, _NEWLINE = b",\n"
_now, _count_up, _local, _clean_names = _record.now, _record.count_up, _record.local, _record.clean_names
_encode_into = msgspec.json.Encoder().encode_into


class _Rest(msgspec.Struct, gc=False):
    """What differs between two records of a channel."""

    id: str
    ts: str
    thread: str
    tool: str | None
    session_id: str | None
    request_id: str | None
    fields: Any


class _Form(NamedTuple):
    """What they share: the start of the line, buffers that hold it, and the identity for which it is right."""

    identity: object
    start: bytes
    buffers: list[bytearray]


class Channel(Generic[T]):
    """Writes structs of one type as the ``fields`` of one event to one log. Made by `channel`."""

    def __init__(self, stem: str, type_: type[T], event: str, logger: str, level: str) -> None:
        self.type = type_
        self._given = stem, type_, event, logger, level
        self._spool = PIPELINE.spool(stem + JSON_SUFFIX)
        self._append = self._spool.append
        self._origin = _record.Origin(logger)
        self._event = event
        self._level = level
        self._form = _Form(None, b"", [])

    def __reduce__(self) -> tuple[Any, ...]:
        """Another channel to the same log, in whatever process: ring and lock are no part of it."""
        return Channel, self._given

    def emit(
        self,
        struct: T,
        *,
        tool: str | None = _CURRENT,
        session_id: str | None = _CURRENT,
        request_id: str | None = _CURRENT,
    ) -> bool:
        """Log *struct*; True when the line is safe from the death of the process (`Stats.durable`), False when dropped.

        The three ids default to what `bind` has bound here and now; None is written as null. Never raises.
        """
        given = zip((tool, session_id, request_id), CONTEXT.get().ids, strict=True)
        ids = (bound if one is _CURRENT else text_or_none(one) for one, bound in given)
        return self.emit_with_ids(_cleaned(struct), *ids)

    def emit_with_ids(self, struct: Any, tool: str | None, session_id: str | None, request_id: str | None) -> bool:
        """`emit`, for one who has looked for the ids, and for secrets in all that is free text."""
        try:
            if not HERE[0]:  # a fork that ran no hooks
                PIPELINE.renew()
            identity, start, buffers = self._form
            if identity is not _record.identity:
                identity, start, buffers = self._new_form()
            try:
                buffer = buffers.pop()
            except IndexError:
                buffer = bytearray(start)
            micros = _now() // 1000  # as in _record.head; a call for it costs half a microsecond
            second, date = _record.this_second
            if micros // 1_000_000 != second:
                date = _record.new_second(micros // 1_000_000)
            digits = str(micros)
            try:
                thread = _local.thread._name  # noqa: SLF001
            except AttributeError:
                thread = _record.thread_name()
            id_ = digits + _record.suffixes[_count_up() & 0xFFF]
            rest = _Rest(
                id_,
                f"{date}{digits[-6:]}Z",
                _clean_names.get(thread) or _record.new_clean_name(thread),
                tool,
                session_id,
                request_id,
                struct,
            )
            at = len(start)
            try:
                _encode_into(rest, buffer, at)
                buffer[at] = _COMMA
                buffer.append(_NEWLINE)
            except Exception:  # noqa: BLE001  msgspec refuses by several types: a lone surrogate, a wrong type
                buffer[at:] = self._encode_slowly(rest, LINE_LIMIT - at)
            else:
                if len(buffer) > TEXT_LIMIT:
                    buffer[at:] = self._encode_slowly(rest, LINE_LIMIT - at)
            kept = self._append(buffer)
            buffers.append(buffer)
            return kept
        except Exception as error:  # noqa: BLE001  logging must not fail its caller
            notice(f"emit: {type(error)}", f"an event {self._event} could not be logged: {shown(error)}")
            return self._spool.refuse()

    def refuse(self) -> bool:
        """Count an event that could not be made."""
        return self._spool.refuse()

    def _encode_slowly(self, rest: _Rest, room: int) -> bytes:
        """The end of a line from what is no valid or too long a record: made valid, and cut to *room* bytes."""
        values = msgspec.structs.asdict(rest)
        fields = values.pop("fields")
        head = b"".join(b',"%b":%b' % (name.encode(), encode_text(value)) for name, value in values.items())
        try:
            fields = msgspec.to_builtins(fields, str_keys=True, enc_hook=printed)
        except Exception:  # noqa: BLE001  a structure without an end, a number of 100 digits
            fields = msgspec.structs.asdict(fields)
        body, is_cut = fit(fields, room - len(head) - len(b',"fields":}\n'))
        body = clean(body)
        self._spool.cut += is_cut
        return b'%b,"fields":%b}\n' % (head, body)

    def _new_form(self) -> _Form:
        read_environment()
        prefix = self._origin.prefix(self._level, self._event)
        self._form = _Form(_record.identity, f'{{"schema":1,{prefix}'.encode(), [])
        return self._form


def _cleaned(struct: msgspec.Struct) -> Any:
    """*struct*, or what it says without its secrets."""
    try:
        data = msgspec.json.encode(struct)
    except Exception:  # noqa: BLE001  it is made valid, and cleaned, before it is written
        return struct
    kept = clean(data)
    return struct if kept is data else msgspec.json.decode(kept)


def channel(
    stem: str, type_: type[T], *, event: str | None = None, logger: str | None = None, level: str = "INFO"
) -> Channel[T]:
    """A channel that writes structs of *type_* to ``<stem>.jsonl``.

    *event* defaults to *stem*, *logger* to the name of the module that defines *type_*. Raises `ValueError` if *stem*
    is not 1 to 48 of ``A-Z a-z 0-9 . _ -`` or begins with a dot.
    """
    if not re.fullmatch(r"(?!\.)[A-Za-z0-9._-]{1,48}", stem):
        raise ValueError(f"channel({stem!r}): a log's name is 1 to 48 of A-Z a-z 0-9 . _ - and begins with no dot")
    return Channel(stem, type_, event or stem, logger or type_.__module__, level)
