"""The logger of a server: any event, any fields."""

from __future__ import annotations

from collections.abc import Mapping

from cipherlog_core import _record
from cipherlog_core._context import CONTEXT, Context, encode_ids
from cipherlog_core._encode import LINE_LIMIT, encode, fit
from cipherlog_core._fork import HERE
from cipherlog_core._pipeline import PIPELINE
from cipherlog_core._settings import LEVELS, level_name, notice
from cipherlog_core._spool import Spool

__all__ = ["Logger"]


class Logger:
    """Writes events to ``<server>.jsonl``. Made by `start`."""

    def __init__(self, server: str, spool: Spool) -> None:
        self.server = server
        self.threshold = LEVELS["INFO"]
        self._spool = spool
        self._append = spool.append
        self._origin = _record.Origin(server, server)

    def event(
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
        are further fields, whose names may be those of parameters.

        Returns True when the line is safe from the death of the process. False when it was dropped, which `stats`
        counts, or when *level* is below that of the settings.
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
            if tool is None and session_id is None and request_id is None:
                ids = context.ids_json
            else:
                ids = _merged(context, tool, session_id, request_id)
            if fields is not None:
                more.update(fields)
            prefix = self._origin.prefix(level, name)
            line = b"%b%b}\n" % (_record.head(prefix, ids), _body(context, more))
            if len(line) > LINE_LIMIT:
                head = _record.head(prefix, ids)
                line = b"%b%b}\n" % (head, fit({**context.fields, **more}, LINE_LIMIT - len(head) - 2))
            return self._append(line)
        except Exception as error:  # noqa: BLE001  logging must not fail its caller
            notice(f"event: {type(error)}", f"an event of {self.server} could not be logged: {error!r}")
            return self._spool.refuse()


def _body(context: Context, fields: dict[str, object]) -> bytes:
    bound = context.fields
    if not bound:
        return encode(fields)
    if not fields:
        return context.fields_json
    if bound.keys().isdisjoint(fields):
        return b"%b,%b" % (context.fields_json[:-1], encode(fields)[1:])
    return encode({**bound, **fields})


def _merged(context: Context, *given: str | None) -> str:
    return encode_ids(*(bound if new is None else new for new, bound in zip(given, context.ids, strict=True)))


def _known(level: object) -> str:
    name = level_name(level)
    if name not in LEVELS:
        notice(f"level {level!r}", f"{level!r} is no level ({', '.join(LEVELS)}): INFO is used instead.")
        return "INFO"
    return name
