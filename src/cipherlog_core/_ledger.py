"""The lock file of a log: its lock, the ledger of the batch under way, a commit counter, the last segment.

Word 0 counts commits and is read without the lock, to see that somebody makes progress. The words behind it and the
name are the ledger. Each is written by one `pwrite` within a page, which a kill cannot cut.
"""

from __future__ import annotations

import errno
import os
import struct
from contextlib import suppress
from typing import NamedTuple

from cipherlog_core._filesystem import HAS_LOCKS, close, is_file, open_regular, try_lock, unlock

__all__ = ["Entry", "Ledger", "open_ledger"]

_SIZE = 4096
_STATE = struct.Struct("<QQQQQQ16s144s")  # commits, open, then an Entry
_LAST = struct.Struct("<QQ")
_LAST_AT = 2048
_MOST = (1 << 64) - 1
_ABSURD = 1 << 40


class Entry(NamedTuple):
    """A batch that is being written: *length* bytes from *tail* of *ring* to *offset* of the file *inode*."""

    inode: int
    offset: int
    tail: int
    length: int
    boot: bytes
    """Of the machine (see `_filesystem.boot_id`): what was under way in another one's memory is gone."""
    ring: str


class Ledger:
    """One open file description of the lock file: threads that share it exclude each other by other means.

    What stands in it is read once each time the lock is taken, and written through: each call to the kernel lets other
    threads have the interpreter, and a busy program's takes it back late.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._page = memoryview(bytearray(_SIZE))
        self._descriptor = open_regular(path, os.O_RDWR | os.O_CREAT)
        try:
            self._file = os.fstat(self._descriptor)
            if self._file.st_size < _SIZE:  # zeros over zeros: harmless if two processes do it
                os.ftruncate(self._descriptor, _SIZE)
        except OSError:
            close(self._descriptor)
            raise

    def try_lock(self) -> bool:
        """Take the lock of the log file across processes, unless it is taken."""
        return try_lock(self._descriptor)

    def read(self) -> None:
        """Read what stands in it, under the lock and once it is known to be `in_place`."""
        self._page[:] = os.pread(self._descriptor, _SIZE, 0).ljust(_SIZE, b"\0")  # somebody may have truncated it

    def unlock(self) -> None:
        """Release the lock of the log file."""
        unlock(self._descriptor)

    def is_open(self) -> bool:
        """Whether the descriptor is still this file's, and not closed or another's."""
        return is_file(self._descriptor, self._file)

    def in_place(self) -> bool:
        """Whether the path still leads to this file: two lock files would exclude nobody."""
        try:
            there = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return there.st_ino == self._file.st_ino

    @property
    def commits(self) -> int:
        """Batches that were ever written, by anybody, until now: read without the lock."""
        return int.from_bytes(os.pread(self._descriptor, 8, 0), "little")

    def entry(self) -> Entry | None:
        """The batch whose writer did not finish."""
        _, is_open, inode, offset, tail, length, boot, name = _STATE.unpack_from(self._page)
        ring = name.rstrip(b"\0").decode("utf-8", "replace")
        return (
            Entry(inode, offset, tail, length, boot, ring) if is_open == 1 else None
        )  # not by what a crash left there

    def knows(self, log: os.stat_result) -> bool:
        """Whether *log* is the file to which the last batch went, or was to go."""
        _, _, inode, offset, *_ = _STATE.unpack_from(self._page)
        return bool(inode == log.st_ino and offset <= log.st_size)

    def open_entry(self, entry: Entry) -> None:
        """Note what is about to be written, before a byte of it is."""
        self._write(_STATE.pack(self._commits, 1, *entry[:5], entry.ring.encode()), 0)

    def close_entry(self) -> None:
        """Note that the batch is in the file and its ring's tail behind it."""
        self._write(struct.pack("<QQ", (self._commits + 1) & _MOST, 0), 0)

    @property
    def last(self) -> tuple[int, int]:
        """Number of the last segment, 0 before the first, and the period (see `Rotation`) begun with its end."""
        number, period = _LAST.unpack_from(self._page, _LAST_AT)
        return (number, period) if number < _ABSURD and period < _ABSURD else (0, 0)

    @last.setter
    def last(self, last: tuple[int, int]) -> None:
        self._write(_LAST.pack(*last), _LAST_AT)

    def close(self) -> None:
        """Close the descriptor, which ends the lock if this was its last copy."""
        descriptor, is_open, self._descriptor = self._descriptor, self.is_open(), -1
        try:
            self._page.release()  # a frame that a fork's child has inherited holds no lock: a `ValueError` ends it
        finally:
            if is_open:
                close(descriptor)

    @property
    def _commits(self) -> int:
        return int.from_bytes(self._page[:8], "little")

    def _write(self, data: bytes, offset: int) -> None:
        os.pwrite(self._descriptor, data, offset)
        self._page[offset : offset + len(data)] = data


class _Unshared(Ledger):
    """A ledger in memory, for systems on which no lock would make a file worth more."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._page = memoryview(bytearray(_SIZE))

    def try_lock(self) -> bool:
        return True

    def read(self) -> None:
        pass

    @property
    def commits(self) -> int:
        return self._commits

    def unlock(self) -> None:
        pass

    def is_open(self) -> bool:
        return True

    def in_place(self) -> bool:
        return os.path.isdir(os.path.dirname(self.path))

    def close(self) -> None:
        pass

    def _write(self, data: bytes, offset: int) -> None:
        self._page[offset : offset + len(data)] = data


def open_ledger(path: str) -> Ledger | None:
    """The ledger in the lock file *path*; None where that has a second name and others are at it: try again."""
    if not HAS_LOCKS:
        return _Unshared(path)
    try:
        return Ledger(path)
    except OSError as error:
        if error.errno != errno.EMLINK:
            raise
    return Ledger(path) if _part(path) else None


def _part(path: str) -> bool:
    """Put a copy in the place of a lock file that is linked, by a backup or to do harm; False if others are at it.

    Who has the file open finds it exchanged, as one that was deleted (`Ledger.in_place`).
    """
    descriptor = open_regular(path, os.O_RDONLY)
    try:
        if not try_lock(descriptor) or os.stat(path, follow_symlinks=False).st_ino != os.fstat(descriptor).st_ino:
            return False  # another process was faster
        copy = f"{path}.tmp"
        with suppress(FileNotFoundError):
            os.unlink(copy)
        written = open_regular(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            os.write(written, os.pread(descriptor, _SIZE, 0).ljust(_SIZE, b"\0"))
        finally:
            close(written)
        os.rename(copy, path)
    finally:
        close(descriptor)
    return True
