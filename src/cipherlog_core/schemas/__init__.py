"""What a line of a log holds, as types, and as the JSON Schema files beside this one, which are made from them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from cipherlog_core._routing import Routing

__all__ = ["EVENTS", "Dropped", "Exc", "Logged", "Record", "schema_of"]

F = TypeVar("F")

Time = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")]
"""ISO 8601, UTC, microseconds."""


class Record(Struct, Generic[F], kw_only=True):
    """One line of a log. Every key is always there; null is unknown."""

    schema: Literal[1]
    id: Annotated[str, Meta(pattern=r"^\d{16}[0-9a-f]{13}$")]
    ts: Time
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    logger: str
    pid: int
    thread: str
    server: str | None
    tool: str | None
    session_id: str | None
    request_id: str | None
    event: str
    fields: F


class Exc(Struct, kw_only=True):
    """An exception."""

    type: str
    message: str
    stack: list[str]
    """From the outermost frame to the innermost: file, line, function."""
    cause: Exc | None
    notes: list[str] | UnsetType = UNSET
    """Of `BaseException.add_note`."""
    exceptions: list[Exc | str] | UnsetType = UNSET
    """Of a group; a text where they were too much for a line."""


class Logged(Struct, kw_only=True):
    """``fields`` of the event ``log``: a record of `logging`, its extras beside these."""

    message: str
    exc: Exc | UnsetType = UNSET
    stack_info: str | UnsetType = UNSET


class Dropped(Struct, kw_only=True):
    """``fields`` of the event ``records_dropped``."""

    dropped: Annotated[int, Meta(gt=0)]
    since: Time
    reason: Literal["full", "nested", "error", "lost"]


EVENTS: dict[str, type] = {"log": Logged, "records_dropped": Dropped, "routing": Routing}
"""The events whose ``fields`` have a type."""


def schema_of(fields: Any = dict[str, Any], event: str | None = None) -> str:
    """The JSON Schema (2020-12) of lines whose ``fields`` are of this type; of *event* only, if one is named."""
    (schema,), parts = msgspec.json.schema_components([Record[fields]], ref_template="#/$defs/{name}")
    for part in parts.values():
        _require_what_is_always_written(part)
    told = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": event or "record",
        "allOf": [schema, {"properties": {"event": {"const": event}}}] if event else [schema],
        "$defs": parts,
    }
    return json.dumps(told, indent=2) + "\n"


def _require_what_is_always_written(part: dict[str, Any]) -> None:
    """A default is what the program assumes where it is not told; in the line it stands all the same."""
    properties: dict[str, dict[str, Any]] = part.get("properties", {})
    defaults = [name for name, property_ in properties.items() if property_.pop("default", part) is not part]
    if properties:
        part["required"] = [name for name in properties if name in {*part.get("required", ()), *defaults}]
