"""A record as the line of its log: JSON, or text where the log is one for people."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from cipherlog_core import _record
from cipherlog_core._context import IDS, NOTHING, Context
from cipherlog_core._encode import LINE_LIMIT, TEXT_LIMIT, dumps, encode, fit
from cipherlog_core._folders import TEXT_SUFFIX
from cipherlog_core._redact import clean
from cipherlog_core._text import text_line

__all__ = ["Line", "describe_drops", "fitted_line", "json_line", "text_line_of", "with_bound"]

_LOGGER = "cipherlog_core"
_origin = _record.Origin(_LOGGER)


class Line(NamedTuple):
    """The bytes of a record, and whether something in it had to be cut."""

    data: bytes
    is_cut: bool = False


def json_line(head: bytes, context: Context, fields: Mapping[str, object]) -> Line:
    """The record that begins with *head* and has *fields* and what is bound; no text in it is longer than 64 KiB."""
    try:
        data = with_bound(context, fields, dumps(fields))
        if len(data) <= TEXT_LIMIT:
            return Line(b"%b%b}\n" % (head, clean(data, fields, context.fields)))
    except Exception:  # noqa: BLE001, S110  of the caller's values: see `encode`
        pass
    return fitted_line(head, context, fields)


def fitted_line(head: bytes, context: Context, fields: Mapping[str, object]) -> Line:
    """The same where values are odd or long."""
    data, is_cut = fit({**fields, **context.fields, **fields}, LINE_LIMIT - len(head) - 2)  # fields first, and they win
    return Line(b"%b%b}\n" % (head, clean(data)), is_cut)


def with_bound(context: Context, fields: Mapping[str, object], data: bytes) -> bytes:
    """JSON of *fields*, which alone is *data*, and of what is bound; the former wins where both say something."""
    bound = context.fields
    if not bound:
        return data
    if not fields:
        return context.fields_json
    if bound.keys().isdisjoint(fields):
        return b"%b,%b" % (context.fields_json[:-1], data[1:])
    return encode({**bound, **fields})


def text_line_of(head: tuple[str, str, str, str], ids: tuple[str | None, ...], fields: Mapping[str, object]) -> Line:
    """The same as text. *head*: time, level, logger and event."""
    return Line(*text_line(*head, {**fields, **dict(zip(IDS, ids, strict=True))}))


def describe_drops(name: str, count: int, since: float, reason: str) -> bytes:
    """The line that tells a reader of the log *name* that *count* events are not in it."""
    begin = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    fields = {"dropped": count, "since": begin, "reason": reason}
    if name.endswith(TEXT_SUFFIX):
        ts, _ = _record.stamp_at(time.time())
        return text_line_of((ts, "WARNING", _LOGGER, "records_dropped"), NOTHING.ids, fields).data
    head = _record.head(_origin.prefix("WARNING", "records_dropped"), NOTHING.ids_json)
    return json_line(head, NOTHING, fields).data
