"""The logger of a server: any event, any fields, and the records of `logging`.

`Logger.event` is bent for speed (benchmarks/emit.py): the usual case is written out, each detour is a call.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from cipherlog_core import _record
from cipherlog_core._context import CONTEXT, IDS, NOTHING, Context, encode_ids
from cipherlog_core._encode import TEXT_LIMIT, dumps, printed, text_or_none
from cipherlog_core._exc import describe, described
from cipherlog_core._folders import TEXT_SUFFIX
from cipherlog_core._fork import HERE
from cipherlog_core._lines import Line, fitted_line, json_line, text_line_of, with_bound
from cipherlog_core._pipeline import PIPELINE
from cipherlog_core._redact import clean, read_environment
from cipherlog_core._sample import is_kept
from cipherlog_core._settings import LEVELS, Settings, level_name, notice, shown
from cipherlog_core._spool import Spool

__all__ = ["Logger"]

_DEBUG = LEVELS["DEBUG"]
_HTTP = {"httpx", "httpcore", "httpx2", "httpcore2"}
_PLAIN = list(logging.LogRecord("", 0, "", 0, "", (), None).__dict__)
_STANDARD = frozenset(_PLAIN) | {"message", "asctime", "taskName", "color_message"}  # the last: uvicorn's
_IDS = frozenset(IDS)
_TAKEN = frozenset({"message", "exc", "stack_info"})
_TYPED = frozenset({"log", "records_dropped", "routing", "openrouter_cost", "openrouter_cost_amended"})
_KINDS: dict[str, Any] = {"name": str, "levelno": int, "levelname": str, "created": int | float}
_PLAIN_TEXTS, _PLAIN_FIELDS = (str, type(None)), (dict, type(None))
_MOST = 1 << 63


class Logger:
    """Writes events to ``<server>.jsonl``. Made by `start`."""

    def __init__(self, server: str) -> None:
        self.server = server
        self._origin = _record.Origin(server, server)
        self._origins: dict[str, _record.Origin] = {}

    def use(self, spool: Spool, settings: Settings) -> None:
        """Log to *spool* from now on, as *settings* say."""
        read_environment()
        self._spool = spool
        self._append: Callable[[bytes], bool] = spool.append
        self.choose_form()
        self._one_in = settings.sample_http
        self.threshold = LEVELS[settings.level]

    def choose_form(self) -> None:
        """Write text where the log is one for people, unless its lines go elsewhere."""
        self._is_text = self._spool.name.endswith(TEXT_SUFFIX) and self._spool.taken is None

    def event(  # noqa: C901  see above
        self,
        name: str,
        /,
        *,
        level: str = "INFO",
        tool: str | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
        fields: Mapping[str, object] | None = None,
        **more: object,
    ) -> bool:
        """Log *name* with *more* as its fields; never raises, and never waits for the disk unless the ring is full.

        *tool*, *session_id* and *request_id* fill the record's own keys and default to what `bind` bound. *fields*
        are further fields, whose names may be those of parameters. An exception that is the value of a field becomes an
        object of its type, message, stack and cause.

        Returns True when the line is safe from the death of the process (where `Stats.durable` is true). False when it
        was dropped, which `stats` counts, when *level* is below that of the settings, or when sampling leaves it out.
        """
        try:
            number = LEVELS.get(level)
            if number is None:
                level = _known(level)
                number = LEVELS[level]
            if number < self.threshold:
                return False
            if not HERE[0]:  # a fork that ran no hooks
                PIPELINE.renew()
            context = CONTEXT.get()
            if fields is not None:
                more.update(fields)
            if number == _DEBUG and name == "http" and not self._samples(session_id or context.ids[1], more):
                return False
            if self._is_text:
                ids = _merged(context, tool, session_id, request_id)
                ts, _ = _record.stamp_at(time.time())
                return self._put(text_line_of((ts, level, self.server, str(name)), ids, {**context.fields, **more}))
            if tool is None and session_id is None and request_id is None:
                ids_json = context.ids_json
            else:
                ids_json = encode_ids(*_merged(context, tool, session_id, request_id))
            prefix = self._origin.prefixes.get((level, name)) or self._new_prefix(level, name)
            head = _record.head(prefix, ids_json)
            try:
                data = dumps(more)
            except Exception:  # noqa: BLE001  see `encode`, which this is for the usual case
                return self._put(fitted_line(head, context, more))
            if context.fields:
                data = with_bound(context, more, data)
            if len(data) > TEXT_LIMIT:
                return self._put(fitted_line(head, context, more))
            return self._append(b"%b%b}\n" % (head, clean(data, more, context.fields)))
        except Exception as error:  # noqa: BLE001  logging must not fail its caller
            return self._once_more(error, (name, level, tool, session_id, request_id), fields, more)

    def handle(self, record: logging.LogRecord, least: int = logging.NOTSET) -> bool:
        """Log a *record* of `logging`: its message and extras as fields, its exception as ``exc``; never raises.

        *least*: the level of a handler that has one of its own, which then stands for that of the settings.
        """
        least = least or self.threshold
        try:
            if record.levelno < least:
                return False
            if not HERE[0]:
                PIPELINE.renew()
            return self._handle(record, CONTEXT.get())
        except Exception:  # noqa: BLE001  as in event
            try:
                record = _repaired(record)
                return record.levelno >= least and self._handle(record, CONTEXT.get())
            except Exception as error:  # noqa: BLE001
                return self._refuse(error)

    def _handle(self, record: logging.LogRecord, context: Context) -> bool:
        fields: dict[str, object] = {"message": _message(record)}
        given = _extras(record.__dict__)
        if _IDS.isdisjoint(given):
            ids = context.ids
        else:
            ids = _merged(
                context, given.pop("tool", None), given.pop("session_id", None), given.pop("request_id", None)
            )
        if (given or context.fields) and not (_TAKEN.isdisjoint(given) and _TAKEN.isdisjoint(context.fields)):
            given, context = _renamed({**context.fields, **given}), NOTHING
        is_http = record.levelno <= _DEBUG and self._one_in > 1 and record.name.partition(".")[0] in _HTTP
        if is_http and not self._samples(ids[1], given):
            return False
        fields.update(given)
        if record.exc_info or record.exc_text:
            fields.update(_exc_of(record))
        if record.stack_info:
            fields["stack_info"] = printed(record.stack_info)
        level = _level_of(record)
        ts, id_ = _record.stamp_at(record.created)
        if self._is_text:
            return self._put(text_line_of((ts, level, record.name, "log"), ids, {**context.fields, **fields}))
        origin = self._origins.get(record.name) or self._new_origin(record.name)
        ids_json = context.ids_json if ids is context.ids else encode_ids(*ids)
        if record.process == _record.pid:
            prefix = origin.prefixes.get((level, "log")) or origin.prefix(level, "log")
        else:
            prefix = origin.prefix_of(level, "log", _pid_of(record))
        return self._put(json_line(_record.head_of(ts, id_, str(record.threadName), prefix, ids_json), context, fields))

    def _samples(self, session_id: str | None, fields: dict[str, object]) -> bool:
        """Whether one of many records is written, which then says for how many it stands."""
        fields["sample_weight"] = self._one_in
        return is_kept(session_id, self._one_in)

    def _new_origin(self, name: str) -> _record.Origin:
        return self._origins.setdefault(name, _record.Origin(printed(name), self.server))

    def _new_prefix(self, level: str, name: str) -> str:
        if name in _TYPED:
            notice(f"event {name}", f"the name {name!r} is that of a typed event: it is written as {name + '_'!r}.")
            return self._origin.prefix(level, name, f"{name}_")
        return self._origin.prefix(level, name)

    def _put(self, line: Line) -> bool:
        self._spool.cut += line.is_cut
        return self._append(line.data)

    def _once_more(self, error: Exception, given: tuple[object, ...], fields: Any, more: dict[str, object]) -> bool:
        """Log what `event` could not, with its odd arguments made plain; refuse it if that was not the reason."""
        if type(fields) in _PLAIN_FIELDS and all(type(value) in _PLAIN_TEXTS for value in given):
            return self._refuse(error)
        try:
            fields = dict(fields or {})
        except Exception:  # noqa: BLE001  no mapping, or a caller's own
            fields = {"fields": fields}
        name, level, *ids = given
        return self.event(
            printed(name),
            level=_known(level),
            fields={**more, **fields},
            **dict(zip(IDS, map(text_or_none, ids), strict=True)),
        )

    def _refuse(self, error: Exception) -> bool:
        notice(f"event: {type(error)}", f"an event of {self.server} could not be logged: {shown(error)}")
        return self._spool.refuse()


def _merged(context: Context, *given: object) -> tuple[str | None, ...]:
    """The three ids: as they were given, else as they are bound."""
    return tuple(bound if new is None else text_or_none(new) for new, bound in zip(given, context.ids, strict=True))


def _extras(attributes: dict[str, object]) -> dict[str, object]:
    """What was passed as ``extra``: it stands behind what each record has, in whose names it cannot be."""
    count = len(_PLAIN)
    if len(attributes) == count and next(reversed(attributes)) == _PLAIN[-1]:
        return {}
    if next(islice(attributes, count - 1, count), None) != _PLAIN[-1]:  # a filter has taken something away
        return {name: value for name, value in attributes.items() if name not in _STANDARD}
    return {name: value for name, value in islice(attributes.items(), count, None) if name not in _STANDARD}


def _message(record: logging.LogRecord) -> str:
    try:
        message = record.getMessage()
    except Exception:  # noqa: BLE001  arguments that do not fit the message, or cannot be printed: neither is lost
        args = record.args if isinstance(record.args, tuple) else (record.args,)
        return printed(record.msg) + (f" ({', '.join(map(shown, args))})" if args else "")
    return message if isinstance(message, str) else printed(message)


def _exc_of(record: logging.LogRecord) -> dict[str, object]:
    """The exception of a record as a field, as far as it is there: one from another process has the text only."""
    info = record.exc_info
    if isinstance(info, tuple) and len(info) > 1 and isinstance(info[1], BaseException):
        return {"exc": describe(info[1])}
    return {"exc": described(printed(record.exc_text))} if record.exc_text else {}


def _renamed(given: dict[str, object]) -> dict[str, object]:
    """What was *given*, with a mark on names that are ours and would be taken for it."""
    return {
        f"{name}_" if name in _TAKEN and not (name == "exc" and isinstance(value, BaseException)) else name: value
        for name, value in given.items()
    }


def _pid_of(record: logging.LogRecord) -> int:
    pid = record.process
    return pid if type(pid) is int and 0 <= pid < _MOST else 0


def _repaired(record: logging.LogRecord) -> logging.LogRecord:
    """An odd *record* with all that `logging` promises: a filter or another program has had it in its hands."""
    given = record.__dict__
    sound = {name: value for name, value in given.items() if isinstance(value, _KINDS.get(name, object))}
    repaired = logging.LogRecord(printed(given.get("name", "root")), logging.INFO, "", 0, "", (), None)
    repaired.__dict__.update(sound)
    return repaired


def _level_of(record: logging.LogRecord) -> str:
    """The highest of our levels that the record reaches: custom levels stand in between."""
    level = record.levelname
    if level in LEVELS:
        return level
    return next((name for name, number in reversed(LEVELS.items()) if record.levelno >= number), "DEBUG")


def _known(level: object) -> str:
    try:
        name = level_name(level)
    except Exception:  # noqa: BLE001  a caller's __str__ may raise anything
        name = ""
    if name not in LEVELS:
        told = shown(level)[:100]
        notice(f"level {told}", f"{told} is no level ({', '.join(LEVELS)}): INFO is used instead.")
        return "INFO"
    return name
