"""The lock file of a log: its lock, the ledger of the batch under way, a commit counter, the last segment number.

Word 0 counts commits and is read without the lock, to see that somebody makes progress. Words 1 to 5 and the name
after them are the ledger. Each is written by one `pwrite` within a page, which a kill cannot cut.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from cipherlog_core._filesystem import open_regular, try_lock, unlock

__all__ = ["Entry", "Ledger"]

_SIZE = 4096
_STATE = struct.Struct("<QQQQQQ128s")  # commits, open, then an Entry
_SEGMENT = struct.Struct("<Q")
_SEGMENT_AT = 2048


class Entry(NamedTuple):
    """A batch that is being written: *length* bytes from *tail* of *ring* to *offset* of the file *inode*."""

    inode: int
    offset: int
    tail: int
    length: int
    ring: str


class Ledger:
    """One open file description of the lock file: threads that share it exclude each other by other means."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = open_regular(path, os.O_RDWR | os.O_CREAT)
        if os.fstat(self._descriptor).st_size < _SIZE:  # zeros over zeros: harmless if two processes do it
            os.ftruncate(self._descriptor, _SIZE)

    def try_lock(self) -> bool:
        """Take the lock of the log file across processes, unless it is taken."""
        return try_lock(self._descriptor)

    def unlock(self) -> None:
        """Release the lock of the log file."""
        unlock(self._descriptor)

    def in_place(self) -> bool:
        """Whether the path still leads to this file: two lock files would exclude nobody."""
        try:
            there = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return there.st_ino == os.fstat(self._descriptor).st_ino

    @property
    def commits(self) -> int:
        """Batches that were ever written, by anybody."""
        return int(_STATE.unpack(os.pread(self._descriptor, _STATE.size, 0))[0])

    def entry(self) -> Entry | None:
        """The batch whose writer did not finish."""
        _, is_open, inode, offset, tail, length, name = _STATE.unpack(os.pread(self._descriptor, _STATE.size, 0))
        return Entry(inode, offset, tail, length, name.rstrip(b"\0").decode()) if is_open else None

    def open_entry(self, entry: Entry) -> None:
        """Note what is about to be written, before a byte of it is."""
        state = _STATE.pack(self.commits, 1, *entry[:4], entry.ring.encode())
        os.pwrite(self._descriptor, state, 0)

    def close_entry(self) -> None:
        """Note that the batch is in the file and its ring's tail behind it."""
        os.pwrite(self._descriptor, struct.pack("<QQ", self.commits + 1, 0), 0)

    @property
    def segment(self) -> int:
        """Number of the last segment; 0 before the first."""
        return int(_SEGMENT.unpack(os.pread(self._descriptor, _SEGMENT.size, _SEGMENT_AT))[0])

    @segment.setter
    def segment(self, number: int) -> None:
        os.pwrite(self._descriptor, _SEGMENT.pack(number), _SEGMENT_AT)

    def close(self) -> None:
        """Close the descriptor, which ends the lock if this was its last copy."""
        os.close(self._descriptor)
