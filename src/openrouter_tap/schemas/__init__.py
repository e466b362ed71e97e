"""JSON Schemas of the lines that the tap writes, and what writes the schema files of both packages anew."""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from cipherlog_core import schemas
from openrouter_tap._event import CallEvent

__all__ = ["EVENTS", "Http", "all_schemas"]


class Http(Struct, kw_only=True):
    """``fields`` of ``http``, a step of an exchange with a tapped host; a program's own such events may lack any."""

    phase: Literal["start", "headers", "end"] | UnsetType | None = UNSET
    method: str | UnsetType | None = UNSET
    host: str | UnsetType | None = UNSET
    path: str | UnsetType | None = UNSET
    """Ids in it are masked."""
    http_status: int | UnsetType | None = UNSET
    latency_ms: float | UnsetType | None = UNSET
    """From the start; null there."""
    sample_weight: Annotated[int, Meta(gt=0)] | UnsetType = UNSET
    """For how many events it stands."""


EVENTS: dict[str, type] = {"openrouter_cost": CallEvent, "http": Http}


def all_schemas() -> dict[str, str]:
    """The text of each schema file of both packages, by its path below the folder of the packages."""
    made = {"cipherlog_core/schemas/record.schema.json": schemas.schema_of()}
    for package, events in (("cipherlog_core", schemas.EVENTS), ("openrouter_tap", EVENTS)):
        for event, kind in events.items():
            made[f"{package}/schemas/{event}.schema.json"] = schemas.schema_of(kind, event)
    return made


def main() -> None:
    """Write the files: ``python -m openrouter_tap.schemas``, after a change of the types."""
    for path, text in all_schemas().items():
        package, _, rest = path.partition("/")
        with open(str(files(package) / rest), "w", encoding="utf-8") as file:
            file.write(text)
