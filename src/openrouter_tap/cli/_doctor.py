"""A look at what is in force and what is on disk, and whether something is wrong with it. It changes nothing."""

from __future__ import annotations

import gzip
import importlib.metadata
import os
import platform
import stat
import tempfile
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cipherlog_core import schemas as core_schemas
from cipherlog_core.reading import (
    Choice,
    Folders,
    filesystem_of,
    is_network,
    logs,
    open_regular,
    require_steady,
    ring_states,
    segments,
)
from openrouter_tap import schemas
from openrouter_tap._bridge import clean_text
from openrouter_tap._options import NO_HOST, Switch, no_hosts

__all__ = ["examine"]

_LIBRARIES = ("httpx", "httpx2", "msgspec", "orjson")
_TAP_VARIABLES = ("OPENROUTER_TAP_HOSTS", "OTEL_SDK_DISABLED", "OTEL_SERVICE_NAME")
_LAST = 1 << 18  # bytes of a log's end in which its last lines are looked at
_LINES = 100
_DECODERS = {
    event: msgspec.json.Decoder(core_schemas.Record[kind])  # type: ignore[valid-type]
    for event, kind in {**core_schemas.EVENTS, **schemas.EVENTS}.items()
}
_ANY = msgspec.json.Decoder(core_schemas.Record[dict[str, Any]])
_DROPPED = msgspec.json.Decoder(core_schemas.Record[core_schemas.Dropped])


class Finding(NamedTuple):
    """Something that was looked at, and whether it is as it should be."""

    is_fine: bool
    text: str


def examine(console: Console) -> bool:
    """Print what is in force and what is found; whether all is well."""
    choices = list(Choice.all_in(os.environ))
    values = {choice.field: choice.value for choice in choices}
    folders = Folders.of(values["dir"], values["spool_dir"])
    console.print(_versions(), highlight=False)
    console.print(_settings(choices))
    findings = [*_settings_findings(choices), *_folder(folders), *_rings(folders), *_logs(folders)]
    for finding in findings:
        console.print(_shown(f"{'ok' if finding.is_fine else '!!'}  {finding.text}"), highlight=False)
    wrong = sum(not finding.is_fine for finding in findings)
    console.print(f"\n{'All is well.' if not wrong else f'{wrong} of {len(findings)} findings need a look (!!).'}")
    return not wrong


def _versions() -> str:
    found = [f"openrouter-tap {_version('openrouter-tap')}", f"Python {platform.python_version()}", platform.system()]
    return ", ".join([*found, *(f"{name} {_version(name)}" for name in _LIBRARIES)])


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _settings(choices: list[Choice]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("setting", "in force", "from"):
        table.add_column(heading)
    for choice in choices:
        origin = "default" if choice.text is None else f"bad: {choice.text!r}" if choice.trouble else "environment"
        table.add_row(choice.variable, _shown("-" if choice.value is None else str(choice.value)), _shown(origin))
    switch = Switch.of(os.environ)
    table.add_row("OPENROUTER_TAP", "on" if switch.is_on else "off", switch.origin)
    for variable in _TAP_VARIABLES:
        value = os.environ.get(variable)
        table.add_row(variable, _shown(value or "-"), "environment" if value else "default")
    return table


def _shown(text: str) -> Text:
    """*text* without secrets, and without markup: what is printed here is pasted into reports."""
    return Text(clean_text(text))


def _settings_findings(choices: list[Choice]) -> Iterator[Finding]:
    bad = [choice for choice in choices if choice.trouble]
    for choice in bad:
        yield Finding(
            False, f"{choice.variable}={choice.text!r} cannot be used; {choice.trouble}. {choice.value!r} is in force"
        )
    if not bad:
        yield Finding(True, "every LOG_ variable can be used")
    if trouble := Switch.of(os.environ).trouble:
        yield Finding(False, trouble)
    for host in no_hosts(os.environ.get("OPENROUTER_TAP_HOSTS", "").split(",")):
        yield Finding(False, f"OPENROUTER_TAP_HOSTS: {host!r} {NO_HOST}")


def _folder(folders: Folders) -> Iterator[Finding]:
    place = folders.logs
    if not os.path.isdir(place):
        if os.path.exists(place):
            yield Finding(False, f"{place} is no folder")
            return
        while not os.path.lexists(place):
            place = os.path.dirname(place)
        can = os.path.isdir(place) and _can_write(place)
        yield Finding(can, f"{folders.logs} is not there; it {'will' if can else 'cannot'} be made at the first event")
    else:
        mode = stat.S_IMODE(os.stat(place).st_mode)
        can = _can_write(place)
        yield Finding(can, f"{place} has mode {mode:04o} and can{'' if can else 'not'} be written")
    kind = filesystem_of(place)
    if is_network(kind):
        yield Finding(False, f"{place} is on {kind}, whose locks are not to be trusted: one process a log")
    yield _durability(folders, place)


def _can_write(folder: str) -> bool:
    """Tried, by a file that is gone at once: root may all that modes tell, and makes no file in /proc for that."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _durability(folders: Folders, place: str) -> Finding:
    troubles = []
    for folder in [place, *folders.rings[1:]]:
        try:
            require_steady(folder)
        except OSError as error:
            troubles.append(f"{folder}: {error.strerror}")
        else:
            return Finding(True, f"events survive the death of their process: rings can be kept in {folder}")
    return Finding(False, f"events do not survive the death of their process ({'; '.join(troubles)})")


def _rings(folders: Folders) -> Iterator[Finding]:
    try:
        states = list(ring_states(folders))
    except OSError as error:
        yield Finding(False, f"the rings cannot be read: {error}")
        return
    for state in states:
        records = state.lines.count(b"\n")
        fill = f"{records} records wait in {len(state.lines) / max(1, state.size):.0%} of {state.size >> 10} KiB"
        name = f"ring of {state.log}, process {state.pid}"
        if not state.size:
            yield Finding(False, f"{name}: {state.path} makes no sense, or cannot be opened")
        elif state.is_alive:
            yield Finding(True, f"{name}, which lives: {fill}")
        else:
            fate = "; the next start or `openrouter-tap report` brings them in" if records else ""
            yield Finding(True, f"{name}, which has ended: {fill}{fate}")
    if not states:
        yield Finding(True, "no rings: nobody is logging, and nothing was left behind")
    for folder in folders.rings:
        if os.path.lexists(folder) and folder not in folders.own_rings:
            yield Finding(False, f"{folder} is a symlink or another user's: no ring is kept there")
            continue
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            if name.endswith(".bad"):
                yield Finding(False, f"{os.path.join(folder, name)} was no ring of this version: look, and delete it")


def _logs(folders: Folders) -> Iterator[Finding]:
    try:
        names = logs(folders.logs)
    except OSError:
        return
    for name in names:
        yield from _log(folders.logs, name)


def _log(folder: str, name: str) -> Iterator[Finding]:
    active = os.path.join(folder, name)
    closed = [path for path in segments(folder, name) if path != active]
    count = size = 0
    end = b""
    for path in closed + [active] * os.path.lexists(active):
        try:
            more, end = _end(path)
        except FileNotFoundError:  # it has just been compressed or deleted
            continue
        except (OSError, EOFError, zlib.error) as error:
            yield Finding(False, f"{path} cannot be read: {error}")
        else:
            count, size = count + 1, size + more
    text = f"{name}: {count} files, {size:,} bytes"
    if not name.endswith(".jsonl"):
        yield Finding(True, text)
        return
    lines = _last_lines(end)
    bad = [trouble for line in lines if (trouble := _trouble(line))]
    text = f"{text}; of its last {len(lines)} lines {len(bad)} are not of the schema"
    yield Finding(not bad, f"{text} ({bad[0]})" if bad else text)
    dropped = sum(_dropped(line) for line in lines)
    if dropped:
        yield Finding(False, f"{name}: its last lines tell of {dropped} events that were dropped")


def _end(path: str) -> tuple[int, bytes]:
    """The size of a file, and the end of what is in it; a compressed one is read from end to end."""
    with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not path.endswith(".gz"):
            file.seek(max(0, size - _LAST))
            return size, file.read(_LAST)
        file.seek(0)
        end = b""
        with gzip.open(file) as unpacked:
            while data := unpacked.read(_LAST):
                end = (end + data)[-_LAST:]
        return size, end


def _last_lines(end: bytes) -> list[bytes]:
    lines = end.split(b"\n")
    whole = lines if len(end) < _LAST else lines[1:]
    return [line for line in whole if line][-_LINES:]


def _trouble(line: bytes) -> str | None:
    """Why *line* is no record of its event; None if it is one."""
    try:
        _DECODERS.get(_ANY.decode(line).event, _ANY).decode(line)
    except msgspec.DecodeError as error:
        return str(error)
    return None


def _dropped(line: bytes) -> int:
    try:
        return _DROPPED.decode(line).fields.dropped if b'"records_dropped"' in line else 0
    except msgspec.DecodeError:
        return 0
