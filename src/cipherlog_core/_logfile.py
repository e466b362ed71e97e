"""One log file, and the only way into it: whole lines, once each, under the file's lock.

A kill can cut a `write` in its middle. So the ledger notes each batch before it is written, and whoever takes the
lock next first finishes what it finds noted there (`_settle`). Every step is append-only and may be cut anywhere:
SIGKILL, a full disk and recovery are one path.
Proven by tests/faults/test_sigkill.py; with `_settle` taken out, that test finds doubled and torn lines.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from cipherlog_core._filesystem import HAS_LOCKS, boot_id, close, is_file, open_regular, sync_folder
from cipherlog_core._folders import Folders
from cipherlog_core._last_lock import LastLock, Lock
from cipherlog_core._ledger import Entry, Ledger, open_ledger
from cipherlog_core._ring import BATCH, TAIL, BadRingError, Ring
from cipherlog_core._rotation import Rotation, last_segment_number, segment_name

__all__ = ["Counts", "LogFile"]

_NAP = 0.0005  # seconds between two tries for a lock
_ROTATE_AGAIN = 1.0  # seconds after a rename that failed


@dataclass(slots=True)
class Counts:
    """What this process did to a log."""

    rotations: int = 0
    failed_rotations: int = 0
    rotation_error: OSError | None = None
    """Why the last attempt failed, if it did."""


def _nothing(_: object) -> None:
    pass


class LogFile:
    """The log *name* in *folders*. It opens nothing before the first `move`, and opens again what others replaced.

    `on_batch` is called with the bytes of each batch, *on_closed* with the path of each segment: under the lock, so
    they must neither wait nor raise. *fsync_after*: see `sync_if_due`; 0 = never.
    """

    def __init__(
        self,
        folders: Folders,
        name: str,
        rotation: Rotation = Rotation(),  # noqa: B008  immutable
        counts: Counts | None = None,
        *,
        on_closed: Callable[[str], object] = _nothing,
        fsync_after: float = 0.0,
    ) -> None:
        self.folders = folders
        self.name = name
        self.path = os.path.join(folders.logs, name)
        self.counts = counts or Counts()
        self._rotation = rotation
        self._most = min(BATCH, rotation.size or BATCH)  # bytes of a batch: none makes a file larger than it may be
        self.on_batch: Callable[[bytes], object] = _nothing
        self._on_closed = on_closed
        self._fsync_after = fsync_after
        self._unsynced_since: float | None = None
        self._threads: Lock = threading.Lock()  # flock does not exclude threads that share one descriptor
        self._is_closed = False
        self._ledger: Ledger | None = None
        self._cut: Entry | None = None  # the batch that failed last
        self._descriptor = -1
        self._file: os.stat_result | None = None
        self._inode = 0
        self._size = 0
        self._written = 0.0
        self._overdue = False  # a turn of the clock is seen once, though the rename may fail more often
        self._rotate_from = 0.0

    def empty(self, ring: Ring, deadline: float) -> bool:
        """Move all that is in *ring*; False where that fails or takes longer than *deadline*."""
        try:
            while ring.pending and time.monotonic() < deadline:
                self.move(ring, deadline)
        except OSError:
            return False
        return not ring.pending

    def move(self, ring: Ring, deadline: float | None = None) -> int:
        """Move one batch from *ring* to the file; the bytes moved, 0 if there were none or no lock.

        Waits for the lock until *deadline* (`time.monotonic`), or for good. Raises `OSError` when the disk
        fails: the batch then stays in the ring, and the next call, here or in another process, goes on.
        """
        if not self._is_free(deadline):
            return 0
        with self._threads:  # `with` and `finally`: a signal handler that raises cannot leave a lock taken
            if self._is_closed:
                return 0
            try:
                ledger = self._lock(deadline)
                return self._commit(ledger, ring) if ledger else 0
            finally:
                if self._ledger:
                    self._ledger.unlock()

    @property
    def commits(self) -> int:
        """Batches written so far by anybody; it moves while somebody makes progress."""
        return self._ledger.commits if self._ledger else 0

    @property
    def is_unsynced(self) -> bool:
        """Whether something is written that a loss of power may still take, and is to be synced."""
        return self._unsynced_since is not None

    def sync_if_due(self, now: float | None = None, deadline: float | None = None) -> None:
        """Have on disk what was written *fsync_after* seconds ago (or at all, without a *now*). Raises `OSError`.

        Holds no lock for it, that others can write meanwhile. What could not be synced is tried again.
        """
        since = self._unsynced_since
        if since is None or (now is not None and now - since < self._fsync_after):
            return
        if not self._is_free(deadline):
            return
        with self._threads:
            if self._descriptor < 0:
                return
            descriptor = os.dup(self._descriptor)
            self._unsynced_since = None
        try:
            os.fsync(descriptor)
        except OSError:
            self._unsynced_since = since
            raise
        finally:
            close(descriptor)

    def close(self, deadline: float | None = None) -> None:
        """Close the descriptors, unless somebody uses them until *deadline*; nothing else depends on a close."""
        if self._is_free(deadline):
            with self._threads:
                self._retire_log()
                self.abandon()

    def end(self) -> None:
        """Be ready for the end of the interpreter."""
        self._threads = LastLock(self._threads)

    def abandon(self) -> None:
        """The same at once: in a forked child, where nobody else is left, and a lock may have been."""
        self._is_closed = True
        self._close_ledger()
        self._close_log()

    def release(self, ring: Ring, deadline: float) -> None:
        """Close a *ring*, unless somebody moves its lines until *deadline*: then it ends with the process."""
        if self._is_free(deadline):
            with self._threads:
                ring.close()

    def _is_free(self, deadline: float | None) -> bool:
        """Whether no other thread is at the file; it waits for that until *deadline*, for the disk may hang there."""
        while self._threads.locked():
            if _passed(deadline):
                return False
            time.sleep(_NAP)
        return True

    def _lock(self, deadline: float | None) -> Ledger | None:
        while True:
            if self._ledger is not None and not self._ledger.is_open():
                self._ledger = None  # not to be closed: the number is another's
            if self._ledger is None:
                self.folders.make()
                self._ledger = open_ledger(os.path.join(self.folders.spool, f"{self.name}.lock"))
            if self._ledger is None or not self._ledger.try_lock():
                if _passed(deadline):
                    return None
                time.sleep(_NAP)
            elif self._ledger.in_place():
                self._ledger.read()
                return self._ledger
            else:
                self._close_ledger()

    def _commit(self, ledger: Ledger, ring: Ring) -> int:
        self._find_log(ledger)
        if entry := ledger.entry():
            self._settle(entry, ring)
            ledger.close_entry()
        elif self._cut is not None:
            self._pass_over(self._cut, ring)
        self._cut = None
        tail, data = ring.batch(self._most)
        if not data:
            return 0
        self._end_line()  # of another program, or one that a loss of power cut
        self._rotate_if_due(ledger, len(data))
        self._cut = Entry(self._inode, self._size, tail, len(data), boot_id(), ring.name)
        ledger.open_entry(self._cut)
        self._write(data)
        ring.words[TAIL] = tail + len(data)
        self._cut = None
        self.on_batch(data)
        ledger.close_entry()
        return len(data)

    def _find_log(self, ledger: Ledger) -> None:
        """Open what the path leads to now: somebody may have renamed, deleted or truncated the file."""
        if not self._is_open():
            self._descriptor = -1
        try:
            there = os.stat(self.path, follow_symlinks=False)
            if there.st_ino == self._inode and self._descriptor >= 0:
                self._size, self._written = there.st_size, there.st_mtime
                return
        except FileNotFoundError:
            pass
        self._retire_log()
        here = self._open_log(may_be_linked=True)
        if here.st_nlink > 1 and not ledger.knows(here):  # whoever planted it, nothing is written to it
            self._on_closed(self._close_segment(ledger, ledger.last[1]))
            here = self._open_log(may_be_linked=False)
        if self._fsync_after:
            sync_folder(self.folders.logs)  # the name of the file, and of the one that was renamed
        self._inode, self._size, self._written = here.st_ino, here.st_size, here.st_mtime

    def _is_open(self) -> bool:
        """Whether the descriptor is still that of the file for which it was opened."""
        return self._descriptor >= 0 and (self._file is None or is_file(self._descriptor, self._file))

    def _open_log(self, *, may_be_linked: bool) -> os.stat_result:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        self._file = None
        self._descriptor = open_regular(self.path, flags, self.folders.mode, may_be_linked=may_be_linked)
        self._file = os.fstat(self._descriptor)
        return self._file

    def _settle(self, entry: Entry, mine: Ring) -> None:
        """Finish the batch of a writer that died or failed between ledger and tail."""
        if entry.ring == mine.name:
            self._roll_forward(entry, mine)
            return
        ring = self._ring_of(entry)
        if ring is None:
            self._end_line()  # out of reach: its owner's next start may write the batch again
            return
        try:
            self._roll_forward(entry, ring)
        finally:
            ring.close()

    def _ring_of(self, entry: Entry) -> Ring | None:
        if entry.boot != boot_id():  # neither ledger nor ring are what they were when the machine went down
            return None
        for folder in self.folders.own_rings:
            try:
                return Ring.attach(os.path.join(folder, entry.ring))
            except (OSError, BadRingError):
                continue
        return None

    def _roll_forward(self, entry: Entry, ring: Ring) -> None:
        if ring.words[TAIL] != entry.tail:  # it died after its tail moved: all is done
            return
        written = self._size - entry.offset
        if not self._holds_start_of(entry, ring, written):
            self._end_line()  # another hand changed the file; the batch will be written anew
            return
        self._write(ring.read(entry.tail + written, entry.length - written))
        ring.words[TAIL] = entry.tail + entry.length

    def _pass_over(self, entry: Entry, ring: Ring) -> None:
        """Of a batch of ours, whose ring the process that has ended its line cannot reach, leave out what is there."""
        if self._inode != entry.inode or (ring.name, ring.words[TAIL]) != (entry.ring, entry.tail):
            return
        there = self._read(entry.length, entry.offset)
        for line in ring.read(entry.tail, entry.length).splitlines(keepends=True):
            if not there.startswith(line):
                break
            there = there[len(line) :]
            ring.words[TAIL] += len(line)

    def _holds_start_of(self, entry: Entry, ring: Ring, written: int) -> bool:
        """Whether the end of the file is the first *written* bytes of the batch."""
        if self._inode != entry.inode or not 0 <= written <= entry.length:
            return False
        return self._read(written, entry.offset) == ring.read(entry.tail, written)

    def _end_line(self) -> None:
        if self._size and self._read(1, self._size - 1) != b"\n":
            self._write(b"\n")

    def _read(self, count: int, offset: int) -> bytes:
        if HAS_LOCKS:
            return os.pread(self._descriptor, count, offset)
        os.lseek(self._descriptor, offset, os.SEEK_SET)  # writes go to the end all the same
        return os.read(self._descriptor, count)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            count = os.write(self._descriptor, view)
            self._size += count
            view = view[count:]
        if self._fsync_after and self._unsynced_since is None:
            self._unsynced_since = time.monotonic()

    def _rotate_if_due(self, ledger: Ledger, more: int) -> None:
        now = time.time()
        self._overdue |= self._rotation.is_due(self._size, more, self._written, ledger.last[1], now)
        if self._overdue and _passed(self._rotate_from):
            self._rotate(ledger, self._rotation.period(now))

    def _rotate(self, ledger: Ledger, period: int) -> None:
        try:
            path = self._close_segment(ledger, period)
        except OSError as error:  # a file that grows is better than one that stops
            self.counts.failed_rotations += 1
            self.counts.rotation_error = error
            self._rotate_from = time.monotonic() + _ROTATE_AGAIN
        else:
            self.counts.rotations += 1
            self.counts.rotation_error = None
            self._overdue = False
            self._on_closed(path)
        self._find_log(ledger)

    def _close_segment(self, ledger: Ledger, period: int) -> str:
        """Give the file the name of a segment, for good; its path. A new *period* begins."""
        number = (ledger.last[0] or last_segment_number(self.folders.logs, self.name)) + 1
        path = os.path.join(self.folders.logs, segment_name(self.name, number))
        ledger.last = number, period  # first: after a kill a number may be left out, never given twice
        self._retire_log()  # not everywhere can an open file be renamed
        os.rename(self.path, path)
        return path

    # Forgotten first, closed then: an exception of a signal handler between the two must not leave a number here
    # that is closed already, and may be another file's the next time.

    def _close_ledger(self) -> None:
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            ledger.close()

    def _close_log(self) -> None:
        descriptor, is_open, self._descriptor = self._descriptor, self._is_open(), -1
        if is_open:
            close(descriptor)

    def _retire_log(self) -> None:
        """Close the file for good: nobody will have the rest of it on disk later."""
        if self._descriptor >= 0 and self._unsynced_since is not None:
            with suppress(OSError):
                os.fsync(self._descriptor)
            self._unsynced_since = None
        self._close_log()


def _passed(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline
