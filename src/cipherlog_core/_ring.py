"""A ring of whole lines in a memory-mapped file, which outlives the death of its process.

Layout: a header page of 8-byte words, then *size* bytes of lines. Offsets only grow; a byte stands at its offset
modulo *size*. `HEAD` belongs to the process that owns the ring, `TAIL` to whoever holds the lock of the log file.
Both are published by one aligned native store, `words[i] = n`: `struct.pack_into` stores byte by byte, so that a
reader sees, and a kill leaves, half an offset. The owner holds a `flock` on the file for life: who can take the lock
knows that the owner is dead.
"""

from __future__ import annotations

import mmap
import os
import re
import secrets
from typing import Self

from cipherlog_core._filesystem import allocate, boot_id, close, is_file, open_regular, require_steady, try_lock

__all__ = ["BATCH", "HEAD", "HEADER", "TAIL", "BadRingError", "Ring"]

HEADER = mmap.PAGESIZE
BATCH = 1 << 16
"""Bytes that are moved to the log at a time: longer writes hold the GIL for longer than an event loop likes."""

_MAGIC, _SIZE, HEAD, TAIL = 0, 1, 8, 16  # words; head and tail each on a cache line of their own
_MAGIC_VALUE = int.from_bytes(b"CLRING\x00\x02", "little")
_BOOT = slice(16, 32)  # bytes
_SPACE, _END = b" "[0], re.compile(rb"\n(?! )").search


_left_open: list[mmap.mmap] = []  # a mapping has a descriptor of its own and closes it, though its number is another's


class BadRingError(Exception):
    """A file that cannot be read as a ring."""


class Ring:
    """The mapping and its two offsets. `descriptor` is -1 for a ring in anonymous memory."""

    def __init__(self, path: str, descriptor: int, size: int, access: int = mmap.ACCESS_DEFAULT) -> None:
        self.path = path
        self.name = os.path.basename(path)
        self.descriptor = descriptor
        self._file = os.fstat(descriptor) if descriptor >= 0 else None
        self.size = size
        self.map = mmap.mmap(descriptor, HEADER + size, access=access)
        self.words = memoryview(self.map).cast("Q")

    @classmethod
    def create(cls, folder: str, file_name: str, size: int) -> Self:
        """A new ring of *size* bytes (a power of two) for the log *file_name*, locked by this process.

        Raises `OSError` where *folder* cannot hold a mapping that never faults.
        """
        require_steady(folder)
        name = f"{file_name}.{os.getpid()}-{secrets.token_hex(6)}.ring"
        hidden, path = os.path.join(folder, f".{name}"), os.path.join(folder, name)
        descriptor = open_regular(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            try_lock(descriptor)
            allocate(descriptor, HEADER + size)
            ring = cls(path, descriptor, size)
            ring._begin()
            os.rename(hidden, path)  # so a scan never meets a ring that is unlocked or half made
        except BaseException:
            close(descriptor)
            os.unlink(hidden)
            raise
        return ring

    @classmethod
    def anonymous(cls, file_name: str, size: int) -> Self:
        """A ring that dies with the process, for where no file can hold one."""
        ring = cls(f"{file_name}.{os.getpid()}-{secrets.token_hex(6)}.memory", -1, size)
        ring._begin()
        return ring

    @classmethod
    def attach(cls, path: str, *, to_read: bool = False) -> Self:
        """The ring that another process made, *to_read* only or to move lines from.

        Raises `BadRingError` if its header makes no sense.
        """
        # A backup may have linked it. What somebody planted, the header tells before anything is written.
        descriptor = open_regular(path, os.O_RDONLY if to_read else os.O_RDWR, may_be_linked=True)
        try:
            return cls._checked(path, descriptor, mmap.ACCESS_READ if to_read else mmap.ACCESS_DEFAULT)
        except BaseException:
            close(descriptor)
            raise

    @classmethod
    def _checked(cls, path: str, descriptor: int, access: int) -> Self:
        size = os.fstat(descriptor).st_size - HEADER
        if size <= 0 or size & (size - 1):
            raise BadRingError(f"{path}: {size + HEADER} bytes is no size of a ring")
        ring = cls(path, descriptor, size, access)
        words = ring.words
        if (words[_MAGIC], words[_SIZE]) == (_MAGIC_VALUE, size) and 0 <= words[HEAD] - words[TAIL] <= size:
            return ring
        ring._unmap()
        raise BadRingError(f"{path}: the header is not that of a ring")

    def _begin(self) -> None:
        for page in range(0, HEADER + self.size, mmap.PAGESIZE):
            self.map[page] = 0  # only a store makes the page present: the hot path must not wait for the kernel
        self.map[_BOOT] = boot_id()
        self.words[_SIZE] = self.size
        self.words[_MAGIC] = _MAGIC_VALUE

    @property
    def durable(self) -> bool:
        """Whether the lines survive the death of the process."""
        return self.descriptor >= 0

    @property
    def boot(self) -> bytes:
        """The machine's run (see `boot_id`) in which the ring was made: in a later one its pages may be of any age."""
        return self.map[_BOOT]

    @property
    def is_safe(self) -> bool:
        """Whether a kill would spare the lines: nobody has deleted or moved the file, or closed its descriptor."""
        try:
            file = self._file
            return file is not None and os.path.samestat(file, os.stat(self.path)) and is_file(self.descriptor, file)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:  # it cannot be seen now, and is tried again
            return True

    @property
    def tail(self) -> int:
        """Offset of the first byte that is not in the log yet."""
        return self.words[TAIL]

    @property
    def pending(self) -> int:
        """Bytes that are not in the log yet."""
        return self.words[HEAD] - self.words[TAIL]

    def held(self) -> tuple[int, int, bool]:
        """Records and bytes that are not in the log yet, and whether a kill would spare them.

        Of text, lines that begin with a space belong to the record before them.
        """
        try:
            lines = self.read(self.tail, self.pending)
            records = lines.count(b"\n") - lines.count(b"\n ") - lines.startswith(b" ")
            return records, len(lines), self.is_safe
        except (OSError, ValueError):  # another thread has just closed it
            return 0, 0, True

    def read(self, offset: int, count: int) -> bytes:
        """*count* bytes from *offset* on, over the end of the ring if need be."""
        at = HEADER + offset % self.size
        first = self.map[at : min(at + count, HEADER + self.size)]
        rest = count - len(first)
        return first + self.map[HEADER : HEADER + rest] if rest else first

    def fill(self, lines: bytes) -> None:
        """Put whole *lines*, no more than there is room for, into a new ring."""
        self.map[HEADER : HEADER + len(lines)] = lines
        self.words[HEAD] = len(lines)

    def batch(self, most: int = BATCH) -> tuple[int, bytes]:
        """The tail, and the whole records from it on: at most *most* bytes, or one record. Of text see `held`."""
        tail, count = self.words[TAIL], self.pending
        data = self.read(tail, min(count, most + 1))  # the byte behind tells whether a record goes on
        if count <= most:
            return tail, data
        whole = data.rfind(b"\n", 0, most) + 1
        while whole and data[whole] == _SPACE:
            whole = data.rfind(b"\n", 0, whole - 1) + 1
        if not whole:
            data = self.read(tail, count)
            end = _END(data)
            whole = end.end() if end else count
        return tail, data[:whole]

    def close(self) -> None:
        """Unmap and close, which ends the lock. Never unlocks: a fork's parent shares the lock."""
        self._unmap()
        descriptor, self.descriptor = self.descriptor, -1
        if self._has_descriptor(descriptor):
            close(descriptor)

    def remove(self) -> None:
        """Unlink the file of an empty ring."""
        if self.durable:
            try:
                os.unlink(self.path)
            except OSError:
                return  # somebody else did, or the folder is gone

    def _unmap(self) -> None:
        self.words.release()
        if self.descriptor < 0 or self._has_descriptor(self.descriptor):
            self.map.close()
        else:
            _left_open.append(self.map)

    def _has_descriptor(self, descriptor: int) -> bool:
        """Whether *descriptor* is still that of the ring, and no other's: a program may close all that there are."""
        return self._file is not None and is_file(descriptor, self._file)
