"""Typed events: one struct type, one log, always JSON Lines, never filtered by level and never sampled."""

from __future__ import annotations

import os
from typing import Any, Generic, TypeVar

import msgspec

from cipherlog_core import _record
from cipherlog_core._context import CONTEXT, encode_ids
from cipherlog_core._encode import LINE_LIMIT, encode, fit
from cipherlog_core._pipeline import PIPELINE
from cipherlog_core._settings import notice

__all__ = ["Channel", "channel"]

T = TypeVar("T", bound=msgspec.Struct)

_CURRENT: Any = object()
_encode_into = msgspec.json.Encoder().encode_into
_getpid = os.getpid


class Channel(Generic[T]):
    """Writes structs of one type as the ``fields`` of one event to one log. Made by `channel`."""

    def __init__(self, stem: str, type_: type[T], event: str, logger: str, level: str) -> None:
        self.type = type_
        self._spool = PIPELINE.spool(stem)
        self._append = self._spool.append
        self._origin = _record.Origin(logger)
        self._event = event
        self._level = level
        self._buffers: list[bytearray] = []  # kept, so that a call need not grow one; list methods are one step

    def emit(
        self,
        struct: T,
        *,
        tool: str | None = _CURRENT,
        session_id: str | None = _CURRENT,
        request_id: str | None = _CURRENT,
    ) -> bool:
        """Log *struct*; True when the line is safe from the death of the process, False when it was dropped.

        The three ids default to what `bind` has bound here and now; None is written as null. Never raises.
        """
        try:
            if _getpid() != _record.pid:  # a fork that ran no hooks
                PIPELINE.renew()
            ids: tuple[object, ...] = (tool, session_id, request_id)
            if _CURRENT in ids:
                ids = tuple(old if new is _CURRENT else new for new, old in zip(ids, CONTEXT.get().ids, strict=True))
            head = _record.head(self._origin.prefix(self._level, self._event), encode_ids(*ids))
            try:
                buffer = self._buffers.pop()
            except IndexError:
                buffer = bytearray()
            buffer[:] = head
            self._encode(struct, buffer, len(head))
            kept = self._append(buffer)
            self._buffers.append(buffer)
            return kept
        except Exception as error:  # noqa: BLE001  logging must not fail its caller
            notice(f"emit: {type(error)}", f"an event {self._event} could not be logged: {error!r}")
            return self._spool.refuse()

    def _encode(self, struct: T, buffer: bytearray, start: int) -> None:
        try:
            _encode_into(struct, buffer, start)
        except Exception:  # noqa: BLE001  msgspec refuses by several types: a lone surrogate, a value of a wrong type
            buffer[start:] = encode(msgspec.structs.asdict(struct))
        buffer += b"}\n"
        if len(buffer) > LINE_LIMIT:
            buffer[start:] = fit(msgspec.to_builtins(struct), LINE_LIMIT - start - 2) + b"}\n"


def channel(
    stem: str, type_: type[T], *, event: str | None = None, logger: str | None = None, level: str = "INFO"
) -> Channel[T]:
    """A channel that writes structs of *type_* to ``<stem>.jsonl``.

    *event* defaults to *stem*, *logger* to the name of the module that defines *type_*.
    """
    return Channel(stem, type_, event or stem, logger or type_.__module__, level)
