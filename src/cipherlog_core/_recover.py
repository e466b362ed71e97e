"""Bring what dead processes left in their rings into the logs."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from cipherlog_core._filesystem import HAS_LOCKS, boot_id, close, open_regular, try_lock
from cipherlog_core._folders import JSON_SUFFIX, TEXT_SUFFIX, Folders
from cipherlog_core._logfile import LogFile
from cipherlog_core._ring import BadRingError, Ring

__all__ = ["Recovered", "RingFile", "recover", "ring_files"]

_SUFFIXES = "|".join(map(re.escape, (JSON_SUFFIX, TEXT_SUFFIX)))
_RING = re.compile(rf"(\.?)(.+(?:{_SUFFIXES}))\.(\d+)-[0-9a-f]+\.ring")
_PATIENCE = 2.0  # seconds that all of it may wait for locks: a process that is stopped may hold one
_HALF_MADE = 60.0  # seconds after which a ring that was never finished is litter


@dataclass(slots=True)
class Recovered:
    """What one look through a folder found."""

    records: Counter[str] = field(default_factory=Counter)
    """By the file name of the log."""
    lost: Counter[str] = field(default_factory=Counter)
    """Lines that the end of the machine's run has made unreadable, likewise."""
    bad: list[str] = field(default_factory=list)
    """Files that are no rings, by their new names."""
    troubles: list[tuple[str, OSError | ValueError]] = field(default_factory=list)
    """Rings that could not be emptied, and why: they are as they were."""


class RingFile(NamedTuple):
    """A file that is a ring by its name."""

    path: str
    log: str
    """File name of the log."""
    pid: int
    """Of the process that made it."""
    is_finished: bool
    """Whether its maker had it ready."""


def ring_files(folders: Folders) -> Iterator[RingFile]:
    """All rings, of living and of dead processes. Raises `OSError` where a folder cannot be read."""
    for folder in folders.own_rings:
        try:
            names = sorted(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for name in names:
            if match := _RING.fullmatch(name):
                hidden, log, pid = match.groups()
                yield RingFile(os.path.join(folder, name), log, int(pid), not hidden)


def recover(folders: Folders) -> Recovered:
    """Move the lines of every dead process's ring to their log. Appends only; never rotates.

    Safe at any time, from any process, also twice at once. Raises `OSError` where the folder cannot be read.
    """
    result, deadline = Recovered(), time.monotonic() + _PATIENCE
    for file in ring_files(folders) if HAS_LOCKS else ():
        try:
            _take_over(LogFile(folders, file.log), file, result, deadline)
        except (OSError, ValueError) as error:  # one that cannot be opened must not keep back the others
            result.troubles.append((file.path, error))
    return result


def _take_over(log: LogFile, file: RingFile, result: Recovered, deadline: float) -> None:
    try:
        descriptor = open_regular(file.path, os.O_RDWR, may_be_linked=True)
    except FileNotFoundError:
        return
    try:
        if not try_lock(descriptor):
            return  # its owner lives
        status = os.fstat(descriptor)
        if not status.st_nlink:
            return  # another process was faster
        if file.is_finished:
            _empty(log, file.path, result, deadline)
        elif time.time() - status.st_mtime > _HALF_MADE:
            os.unlink(file.path)
    finally:
        close(descriptor)
        log.close()


def _empty(log: LogFile, path: str, result: Recovered, deadline: float) -> None:
    try:
        ring = Ring.attach(path)
    except FileNotFoundError:
        return  # another process was faster, and a second name kept the file
    except BadRingError:
        os.rename(path, f"{path}.bad")
        result.bad.append(f"{path}.bad")
        return
    try:
        if ring.boot != boot_id():
            ring = _salvage(log, ring, result)
        records, *_ = ring.held()
        while log.move(ring, deadline):
            pass
        result.records[log.name] += records - ring.held()[0]
        if ring.pending:
            raise TimeoutError(f"another process has had the lock of {log.name} for {_PATIENCE:.0f} s")
        os.unlink(ring.path)
    finally:
        ring.close()


def _salvage(log: LogFile, old: Ring, result: Recovered) -> Ring:
    """A ring of this run of the machine with the lines of an *old* one that are whole: its pages may be of any age.

    A kill between the two steps leaves both: their lines are then in the log twice, with the same ids.
    """
    lines = old.read(old.tail, old.pending).split(b"\n")
    whole = [line for line in lines[:-1] if _is_whole(line, log.name)]
    result.lost[log.name] += len(lines) - bool(not lines[-1]) - len(whole)
    new = Ring.create(os.path.dirname(old.path), log.name, old.size)
    new.fill(b"".join(b"%b\n" % line for line in whole))
    os.unlink(old.path)
    old.close()
    return new


def _is_whole(line: bytes, name: str) -> bool:
    if name.endswith(TEXT_SUFFIX):
        return bool(line) and b"\0" not in line
    try:
        return isinstance(msgspec.json.decode(line), dict)
    except msgspec.DecodeError:
        return False
