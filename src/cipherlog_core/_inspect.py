"""What is in the rings of a folder, seen without moving a byte: for a look around, and for read-only folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from cipherlog_core._filesystem import HAS_LOCKS, open_regular, try_lock
from cipherlog_core._folders import Folders
from cipherlog_core._recover import RingFile, ring_files
from cipherlog_core._ring import BadRingError, Ring

__all__ = ["RingState", "ring_states"]


class RingState(NamedTuple):
    """A ring as it was found."""

    path: str
    log: str
    """File name of the log."""
    pid: int
    is_alive: bool
    """Whether its owner lives."""
    size: int
    """Bytes that it can hold; 0 where it makes no sense, or cannot be opened."""
    lines: bytes
    """What is not in the log yet, as far as nobody moves it at the same time."""


def ring_states(folders: Folders) -> Iterator[RingState]:
    """All rings that can be found. Raises `OSError` where they cannot be read."""
    for file in ring_files(folders):
        if file.is_finished:
            try:
                yield _state(file)
            except FileNotFoundError:  # its owner has just ended
                continue
            except OSError:
                yield RingState(file.path, file.log, file.pid, False, 0, b"")


def _state(file: RingFile) -> RingState:
    is_alive = _is_locked(file.path)
    try:
        ring = Ring.attach(file.path, to_read=True)
    except BadRingError:
        return RingState(file.path, file.log, file.pid, is_alive, 0, b"")
    try:
        lines = ring.read(ring.tail, max(0, min(ring.pending, ring.size)))
        return RingState(file.path, file.log, file.pid, is_alive, ring.size, lines)
    finally:
        ring.close()


def _is_locked(path: str) -> bool:
    descriptor = open_regular(path, os.O_RDONLY)
    try:
        return HAS_LOCKS and not try_lock(descriptor)
    finally:
        os.close(descriptor)
