"""Bring what dead processes left in their rings into the logs."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from dataclasses import dataclass, field

from cipherlog_core._filesystem import open_regular, try_lock
from cipherlog_core._logfile import SPOOL, LogFile
from cipherlog_core._ring import BadRingError, Ring
from cipherlog_core._rotation import SUFFIX

__all__ = ["Recovered", "recover"]

_RING = re.compile(rf"(\.?)(.+){re.escape(SUFFIX)}\.\d+-[0-9a-f]+\.ring")
_HALF_MADE = 60.0  # seconds after which a ring that was never finished is litter


@dataclass(slots=True)
class Recovered:
    """What one look through a folder found."""

    records: Counter[str] = field(default_factory=Counter)
    """By the stem of the log."""
    bad: list[str] = field(default_factory=list)
    """Files that are no rings, by their new names."""


def recover(folder: str) -> Recovered:
    """Move the lines of every dead process's ring in *folder* to their logs. Appends only; never rotates.

    Safe at any time, from any process, also twice at once. Raises `OSError` where the disk does not let it.
    """
    result = Recovered()
    spool = os.path.join(folder, SPOOL)
    try:
        names = sorted(os.listdir(spool))
    except (FileNotFoundError, NotADirectoryError):
        return result
    for name in names:
        if match := _RING.fullmatch(name):
            hidden, stem = match.groups()
            _take_over(LogFile(folder, stem), os.path.join(spool, name), bool(hidden), result)
    return result


def _take_over(log: LogFile, path: str, hidden: bool, result: Recovered) -> None:
    try:
        descriptor = open_regular(path, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        if not try_lock(descriptor):
            return  # its owner lives
        status = os.fstat(descriptor)
        if not status.st_nlink:
            return  # another process was faster
        if not hidden:
            _empty(log, path, result)
        elif time.time() - status.st_mtime > _HALF_MADE:
            os.unlink(path)
    finally:
        os.close(descriptor)
        log.close()


def _empty(log: LogFile, path: str, result: Recovered) -> None:
    try:
        ring = Ring.attach(path)
    except BadRingError:
        os.rename(path, f"{path}.bad")
        result.bad.append(f"{path}.bad")
        return
    try:
        records = ring.read(ring.tail, ring.pending).count(b"\n")
        while log.move(ring):
            pass
        os.unlink(path)
        result.records[log.stem] += records
    finally:
        ring.close()
