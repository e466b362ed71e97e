"""What the environment and the caller may choose, checked against its types."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args, get_origin

import msgspec
from msgspec import Meta
from msgspec.structs import FieldInfo

from cipherlog_core._notice import Notices, shown

__all__ = ["LEVELS", "SWITCH", "Choice", "Settings", "level_name", "notice", "shown"]

notice = Notices("cipherlog_core")

LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a process logs. Each field but the last can be set by the variable ``LOG_<FIELD>``; what code passes wins.

    Raises `ValueError`, which names the field, for a value passed in code that does not fit. A bad
    value in the environment is reported once and the default is used.
    """

    level: Level = "INFO"
    """Least severe level that `Logger.event` and `logging` records are written at. Typed events are always written."""
    json: bool = True
    """JSON Lines in ``<server>.jsonl``; else text for people in ``<server>.log``. Typed events are always JSON."""
    console: Literal["stderr", "stdout"] | None = None
    """Where all that is logged is shown as well; ``off`` in the environment."""
    dir: Annotated[str, Meta(min_length=1)] = "logs"
    """Folder of the logs; made absolute at the first event, created with mode 0700."""
    rotate_size: Annotated[int, Meta(ge=0, le=1 << 50, description="bytes (10485760, 10MB, 64 KiB)")] = 10 << 20
    """Bytes after which a file is renamed to a segment and begun anew; 0 = never."""
    rotate_when: Literal["hour", "midnight"] | None = None
    """The turn, in UTC, at which a file is closed whatever its size."""
    backups: Annotated[int, Meta(ge=0, le=1 << 20)] = 5
    """Closed segments of each log that are kept; 0 = all."""
    gzip: bool = True
    """Whether closed segments are compressed."""
    gzip_after: Annotated[float, Meta(ge=0, le=1 << 30)] = 30
    """Seconds for which a closed segment stays as it is, so that whoever follows the log can finish it."""
    queue_max: Annotated[int, Meta(ge=1, le=1 << 22)] = 8192
    """Records of 512 B that the ring of each file must hold; a ring is at least 1 MiB."""
    queue_block_ms: Annotated[int, Meta(ge=0, le=60_000)] = 200
    """Milliseconds without progress after which a full ring drops an event; 0 = drop at once."""
    sample_http: Annotated[int, Meta(ge=1, le=1 << 30)] = 1
    """Of DEBUG events and records about HTTP, one in so many is written; 1 = all."""
    spool_dir: Annotated[str, Meta(min_length=1)] | None = None
    """Folder on a local disk for the rings of logs whose own file system cannot hold one."""
    fsync_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = 0
    """Milliseconds after which what is written is made safe from a loss of power, by `os.fsync`; 0 = never."""
    file_mode: Annotated[str, Meta(pattern="^0?6[046][04]$", description="0600, 0604, 0640, 0644, 0660, 0664")] = "0600"
    """Mode of new log files, in octal. A log folder that is made lets in who may read: ``0640`` gives it 0750."""
    otlp_endpoint: (
        Annotated[str, Meta(pattern=r"^https?://[^\s/]+", description="a base URL, as http://collector:4318")] | None
    ) = None
    """Base URL of an OpenTelemetry receiver to which a thread of this process ships the folder (extra ``otlp``)."""
    on_segment_closed: Callable[[str], object] | None = None
    """Called, in a thread of the logger, with the path of each segment that this process has closed. While it runs this
    process compresses and deletes none."""

    def __post_init__(self) -> None:
        for field in _FIELDS:
            value = getattr(self, field.name)
            try:
                if field.name in _PARSERS:
                    msgspec.convert(value, field.type)
                elif value is not None and not callable(value):
                    raise ValueError(f"Settings.{field.name}: Expected a function")
            except msgspec.ValidationError as error:
                raise ValueError(f"Settings.{field.name}: {error}") from None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Self:
        """Settings from the ``LOG_*`` variables of *environ* (default `os.environ`); *given* ones win."""
        values = dict(given)
        for choice in Choice.all_in(os.environ if environ is None else environ):
            if choice.field in given:
                continue
            values[choice.field] = choice.value
            if choice.trouble:
                notice(
                    choice.variable,
                    f"{choice.variable}={choice.text!r} cannot be used; {choice.trouble}. "
                    f"{choice.value!r} is used instead.",
                )
        return cls(**values)


class Choice(NamedTuple):
    """What the environment says of one field."""

    field: str
    variable: str
    text: str | None
    """None where it says nothing."""
    value: Any
    """The default where it says nothing, or nothing that can be used."""
    trouble: str | None = None
    """Where `text` cannot be used: what can."""

    @classmethod
    def all_in(cls, environ: Mapping[str, str]) -> Iterator[Self]:
        """One for each field that has a variable."""
        for field in _FIELDS:
            if field.name in _PARSERS:
                variable = f"LOG_{field.name.upper()}"
                text = environ.get(variable, "").strip()
                yield cls._of(field, variable, text) if text else cls(field.name, variable, None, field.default)

    @classmethod
    def _of(cls, field: FieldInfo, variable: str, text: str) -> Self:
        try:
            value = msgspec.convert(_PARSERS[field.name](text), field.type)
        except (msgspec.ValidationError, ValueError):  # ValueError: more digits than Python reads
            return cls(field.name, variable, text, field.default, f"it takes {_allowed(field.type)}")
        return cls(field.name, variable, text, value)


def _allowed(kind: Any) -> str:
    """What a variable of this *kind* takes, in words."""
    if kind is bool:
        return ", ".join(SWITCH)
    is_optional = type(None) in get_args(kind)
    kind = get_args(kind)[0] if is_optional else kind
    if get_origin(kind) is Literal:
        return ", ".join([*get_args(kind), *["off"] * is_optional])
    base, meta = get_args(kind)
    words: str = meta.description or ("a whole number" if base is int else "a number")
    return words if meta.ge is None else f"{words} from {meta.ge} to {meta.le}"


def level_name(level: object) -> str:
    """The name of *level* in any spelling that `logging` knows: ``warn``, ``fatal``, 30."""
    text = str(level)
    number = int(text) if text.isdecimal() else logging.getLevelNamesMapping().get(text.upper())
    return text if number is None else logging.getLevelName(number)


_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def _size(text: str) -> int | str:
    """Bytes from ``10485760``, ``10_485_760``, ``10MB`` or ``64 KiB``: powers of 1024, as rotation tools read them."""
    number = re.sub(r"(?<=\d)_(?=\d)", "", text).upper().removesuffix("B").removesuffix("I").rstrip()
    unit = _UNITS.get(number[-1:], 1)
    digits = number[:-1].rstrip() if unit > 1 else number
    return int(digits) * unit if digits.isdecimal() else text


def _count(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _seconds(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


SWITCH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def _switch(text: str) -> bool | str:
    return SWITCH.get(text.lower(), text)


def _name_or_none(text: str) -> str | None:
    name = text.lower()
    return None if name in ("off", "none", "never") else name


_PARSERS: dict[str, Callable[[str], object]] = {
    "level": level_name,
    "json": _switch,
    "console": _name_or_none,
    "dir": os.path.expanduser,
    "rotate_size": _size,
    "rotate_when": _name_or_none,
    "backups": _count,
    "gzip": _switch,
    "gzip_after": _seconds,
    "queue_max": _count,
    "queue_block_ms": _count,
    "sample_http": _count,
    "spool_dir": os.path.expanduser,
    "fsync_ms": _count,
    "file_mode": str,
    "otlp_endpoint": str,
}
_FIELDS = msgspec.structs.fields(Settings)  # once: it looks up names, which is too late when the interpreter ends
