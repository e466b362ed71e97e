"""What the environment and the caller may choose, checked against its types."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta
from msgspec.structs import FieldInfo

from cipherlog_core._notice import Notices

__all__ = ["LEVELS", "Settings", "level_name", "notice"]

notice = Notices("cipherlog_core")

LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a process logs. Each field can be set by the variable ``LOG_<FIELD>``; what code passes wins.

    Raises `ValueError`, which names the field, for a value passed in code that does not fit. A bad
    value in the environment is reported once and the default is used.
    """

    level: Level = "INFO"
    """Least severe level that `Logger.event` writes. Typed events are written at any level."""
    dir: Annotated[str, Meta(min_length=1)] = "logs"
    """Folder of the logs; made absolute at the first event, created with mode 0700."""
    rotate_size: Annotated[int, Meta(ge=0, le=1 << 50)] = 10 << 20
    """Bytes after which a file is renamed to a segment and begun anew; 0 = never."""
    queue_max: Annotated[int, Meta(ge=1, le=1 << 22)] = 8192
    """Records of 512 B that the ring of each file must hold; a ring is at least 1 MiB."""
    queue_block_ms: Annotated[int, Meta(ge=0, le=60_000)] = 200
    """Milliseconds without progress after which a full ring drops an event; 0 = drop at once."""

    def __post_init__(self) -> None:
        for field in msgspec.structs.fields(type(self)):
            try:
                msgspec.convert(getattr(self, field.name), field.type)
            except msgspec.ValidationError as error:
                raise ValueError(f"Settings.{field.name}: {error}") from None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Self:
        """Settings from the ``LOG_*`` variables of *environ* (default `os.environ`); *given* ones win."""
        environ = os.environ if environ is None else environ
        values = dict(given)
        for field in msgspec.structs.fields(cls):
            text = environ.get(_variable(field), "").strip()
            if text and field.name not in given:
                values[field.name] = _from_text(field, text)
        return cls(**values)


def _variable(field: FieldInfo) -> str:
    return f"LOG_{field.name.upper()}"


def level_name(level: object) -> str:
    """The name of *level* in any spelling that `logging` knows: ``warn``, ``fatal``, 30."""
    text = str(level)
    number = int(text) if text.isdecimal() else logging.getLevelNamesMapping().get(text.upper())
    return text if number is None else logging.getLevelName(number)


_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def _size(text: str) -> int | str:
    """Bytes from ``10485760``, ``10MB`` or ``64 KiB``: powers of 1024, as log rotation tools read them."""
    number = text.upper().removesuffix("B").removesuffix("I").rstrip()
    unit = _UNITS.get(number[-1:], 1)
    digits = number[:-1].rstrip() if unit > 1 else number
    return int(digits) * unit if digits.isdecimal() else text


def _count(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


_PARSERS: dict[str, Callable[[str], int | str]] = {
    "level": level_name,
    "dir": str,
    "rotate_size": _size,
    "queue_max": _count,
    "queue_block_ms": _count,
}


def _from_text(field: FieldInfo, text: str) -> Any:
    try:
        return msgspec.convert(_PARSERS[field.name](text), field.type)
    except msgspec.ValidationError as error:
        name = _variable(field)
        notice(name, f"{name}={text!r} cannot be used ({error}): {field.default!r} is used instead.")
        return field.default
