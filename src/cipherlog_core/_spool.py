"""The producers' side of one log: when `append` returns, its line is in the ring and outlives the process.

This module is bent for speed and for safety. What looks odd has one of these reasons:

- `locked()` and `sleep(0)` ahead of `with lock`: threads that queue in the kernel for so short a lock form a convoy,
  2 to 5 times slower with 2 to 4 threads (benchmarks/emit.py, threads). And `with`, unlike `acquire` before `try`,
  cannot be split by a signal handler that raises: no KeyboardInterrupt leaves the lock taken
  (tests/faults/test_interrupts.py).
- `_inside`, the threads that are in here: one that comes again (signal handler, `__del__`, a sink that logs) must take
  no lock and wait for nothing. Its line goes aside, and the outer call moves it on before it returns. Whoever takes the
  lock is marked first; `flush` and `stop` ask `is_inside` and keep away from it.
- `_limit`: one comparison tells the usual case from "half full: wake the writer", "full", "over the end of the ring"
  and "no ring yet". The usual case is written out in `append`: cold, each step of Python costs 30 ns.
- Between the lock and the publishing no function is called in the usual case, and `_put` reads the mapping once: a fork
  in a signal handler may exchange it under the frame's feet in the child, and a closed mapping is an error where the
  child's new one would be torn.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cipherlog_core._last_lock import LastLock, Lock
from cipherlog_core._logfile import Counts, LogFile
from cipherlog_core._ring import HEAD, HEADER, Ring

__all__ = ["Spool"]

_ASIDE = 4096  # lines of nested calls that may wait for their outer call
_GIVE_UP = 10  # times the patience: the longest that a full ring holds a caller
_NAP = 0.001
_LAST_WRITE = 2.0  # seconds that a call may take to write its line itself

_ident = threading.get_ident
_sleep = time.sleep


class _Tally:
    """A counter that any thread may raise, in a nested call too: `next` on a count is one step."""

    def __init__(self) -> None:
        self._count = itertools.count()

    def add(self) -> None:
        next(self._count)

    @property
    def value(self) -> int:
        return int(repr(self._count)[len("count(") : -1])  # one step too, which leaves the count as it is


class Spool:
    """The ring of one log in this process. *open_* gives it one at the first `append` (see `attach`)."""

    def __init__(self, name: str, open_: Callable[[Spool], bool], wake: Callable[[], None]) -> None:
        self.name = name
        """File name of the log."""
        self.ring: Ring | None = None
        self.log: LogFile | None = None
        self._map: Any = None
        self._words: Any = None
        self.synchronous = False
        """Whether each `append` also moves its line to the log, because no writer thread can."""
        self.taken: Callable[[bytes], object] | None = None
        """What gets the lines in place of the ring; see `divert`."""
        self._open = open_
        self._wake = wake
        self.renew()

    def renew(self) -> None:
        """Begin anew in a forked child: fresh locks and counts, nothing of the parent's touched."""
        self.accepted = self.cut = self.errors = self._reported = 0
        self.left = 0
        """Records that were in rings which could not be emptied when they were detached."""
        self.retired: Ring | None = None
        """The ring before this one, while it is being emptied."""
        self.counts = Counts()
        self._dropped = _Tally()
        self._since, self._reason = 0.0, ""
        self._lock: Lock = threading.Lock()
        self._inside: set[int] = set()
        self._aside: deque[bytes] = deque()
        ring, log = self.detach()
        for close in (ring and ring.close, log and log.abandon):
            try:
                if close:
                    close()
            except (BufferError, OSError):
                continue  # the fork came in the middle of its opening or closing

    def attach(self, ring: Ring, log: LogFile, patience: float) -> Ring | None:
        """Use *ring* from now on; the one before. *patience*: seconds without progress after which a full one drops."""
        with self.inside(), self._lock:
            before, self._is_dozing = self.ring, False
            self._map, self._words = ring.map, ring.words
            self._mask, self._end = ring.size - 1, HEADER + ring.size
            self._patience, self._stalled_at = patience, -1
            self.ring, self.log = ring, log
            self._soft = ring.size // 2
            self._go_on_from(0)
        return before

    def detach(self) -> tuple[Ring | None, LogFile | None]:
        """Stop using the ring, which the caller closes; the next `append` opens another."""
        with self.inside(), self._lock:
            ring, log, self.ring, self.log = self.ring, self.log, None, None
            self._map, self._words, self._is_dozing = None, None, False
            self._head = self._soft = self._base = self._limit = 0
        return ring, log

    def append(self, line: bytes | bytearray) -> bool:
        """Put one whole line into the ring; False if it was dropped, which is counted."""
        me = _ident()
        inside = self._inside
        if me in inside:
            return self._put_aside(line)
        try:
            inside.add(me)
            lock, count = self._lock, len(line)
            while lock.locked():
                _sleep(0)
            with lock:
                head = self._head
                end = head + count
                if kept := end <= self._limit:
                    base = self._base
                    self._map[head - base : end - base] = line
                    self._words[HEAD] = self._head = end  # publish
                    self.accepted += 1
                else:
                    kept = self._put(line)
            if not kept:
                kept = self._insist(line)
            while self._aside:
                self.move_aside()
            return kept and (not self.synchronous or self.drain(time.monotonic() + _LAST_WRITE))
        finally:
            inside.discard(me)

    def end(self) -> None:
        """Have each `append` write its own line from now on, at the end of the interpreter too."""
        self.synchronous = True
        self._lock = LastLock(self._lock)
        if self.log is not None:
            self.log.end()

    def divert(self, take: Callable[[bytes], object] | None) -> None:
        """Give each line from now on to *take*, which must not raise; None: put it into the ring again."""
        with self.inside(), self._lock:
            self.taken = take
            self._limit = -1  # each line goes through `_put`
            if take is None and self.ring is not None:
                self._go_on_from(self._head)

    def _put(self, line: bytes | bytearray) -> bool:
        if self.taken is not None:
            self.taken(bytes(line))
            return True
        count = len(line)
        head, ring, words = self._head, self._map, self._words
        end = head + count
        if end > self._soft and not self._has_room(end):
            return False
        at = HEADER + (head & self._mask)
        beyond = at + count - self._end
        if beyond <= 0:
            ring[at : at + count] = line
        else:
            ring[at : self._end] = line[:-beyond]
            ring[HEADER : HEADER + beyond] = line[-beyond:]
        words[HEAD] = self._head = end  # in one step: a signal's exception can come with any call, and not in between
        self.accepted += 1
        self._go_on_from(end)
        return True

    def _go_on_from(self, head: int) -> None:
        """Note where the next line goes: up to `_limit`, an offset stands at ``offset - _base`` in the mapping."""
        lap = head & ~self._mask
        self._head, self._base, self._limit = head, lap - HEADER, min(self._soft, lap + self._mask + 1)
        if self.taken is not None:
            self._limit = -1

    def _has_room(self, end: int) -> bool:
        ring = self.ring
        if ring is None:
            return False
        tail = ring.tail
        self._soft = tail + ring.size // 2
        if end > self._soft or self._is_dozing:
            self._is_dozing = False
            self._wake()
        return end - tail <= ring.size

    def doze(self) -> None:
        """Have the next line wake the writer, which is about to sleep for longer than a line should wait."""
        with self.inside(), self._lock:
            self._is_dozing = True
            self._soft = self._limit = 0

    def _put_aside(self, line: bytes | bytearray) -> bool:
        if len(self._aside) >= _ASIDE:
            return self._drop("nested")
        self._aside.append(bytes(line))
        return True

    def move_aside(self) -> None:
        """Put the lines of nested calls into the ring."""
        with self.inside():
            for _ in range(len(self._aside)):
                try:
                    line = self._aside.popleft()
                except IndexError:  # another thread was faster
                    return
                with self._lock:
                    kept = self._put(line)
                if not kept:
                    self._insist(line)

    def _insist(self, line: bytes | bytearray) -> bool:
        """There is no room: open the ring, or help the writer to make room; in the end drop the line."""
        start = progress = time.monotonic()
        commits = -1
        while True:
            if self.ring is None and not self._open(self):
                return self._put_aside(line)
            with self._lock:
                if self._put(line):
                    return True
            if self._stalled():
                return self._drop("full")
            moved = self._help()
            now, seen = time.monotonic(), self._commits()
            if moved or seen != commits:
                commits, progress = seen, now
            if now - progress >= self._patience or now - start >= _GIVE_UP * self._patience:
                self._stalled_at = self.tail
            elif not moved:
                _sleep(_NAP)

    def _stalled(self) -> bool:
        """Whether a call has waited in vain since the last batch moved: then nobody waits again."""
        return self._stalled_at == self.tail

    @property
    def tail(self) -> int:
        """Offset of the first byte that is not in the log yet; negative without a ring."""
        ring = self.ring
        return -2 if ring is None else ring.tail

    def _help(self) -> int:
        """Move one batch here and now, if nobody else is at it."""
        try:
            return self.move(time.monotonic()) if self._patience else 0
        except (OSError, ValueError):  # ValueError: the ring was closed by `stop` meanwhile
            return 0

    def _commits(self) -> int:
        log = self.log
        try:
            return log.commits if log else 0
        except OSError:
            return 0

    def _drop(self, reason: str) -> bool:
        if not self._since:
            self._since, self._reason = time.time(), reason
        self._dropped.add()
        return False

    @property
    def dropped(self) -> int:
        """Lines that were refused or lost since the process began."""
        return self._dropped.value

    def lose(self, count: int) -> None:
        """Count lines that were accepted and will never be written."""
        self.left += count
        for _ in range(count):
            self._drop("lost")

    def refuse(self) -> bool:
        """Count an event of which no line could be made."""
        return self._drop("error")

    @property
    def head(self) -> int:
        """Offset behind the last line."""
        return self._head

    @property
    def pending(self) -> int:
        """Bytes in the ring that are not in the log yet."""
        ring = self.ring
        return ring.pending if ring else 0

    @property
    def is_inside(self) -> bool:
        """Whether this thread is in here already: then it may hold the lock, and must not wait for it."""
        return _ident() in self._inside

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Mark this thread as one that is in here, or holds the log's lock elsewhere: its nested events go aside."""
        me = _ident()
        if me in self._inside:
            yield
            return
        try:
            self._inside.add(me)
            yield
        finally:
            self._inside.discard(me)

    @property
    def is_unsynced(self) -> bool:
        """Whether something in the log is still to be synced."""
        return self.log is not None and self.log.is_unsynced

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to move."""
        return bool(self._aside) or self.pending > 0

    def report_drops(self, describe: Callable[[int, float, str], bytes]) -> None:
        """Put ``describe(count, since, reason)`` into the ring if lines were dropped and it takes that."""
        count = self.dropped - self._reported
        if not count or self.ring is None or self.taken is not None:
            return
        line = describe(count, self._since or time.time(), self._reason)
        with self.inside(), self._lock:
            if self._put(line):
                self._reported += count
                self._since = 0.0

    def move(self, deadline: float | None = None) -> int:
        """Move one batch to the log; see `LogFile.move`. An event that this gives rise to goes aside."""
        ring, log = self.ring, self.log
        if ring is None or log is None:
            return 0
        with self.inside():
            try:
                return log.move(ring, deadline)
            except OSError:
                self.errors += 1
                raise

    def drain(self, deadline: float) -> bool:
        """Move what is in the ring now; False if that failed or took longer than *deadline*."""
        ring, goal = self.ring, self._head
        while self.retired is not None or (ring is self.ring and 0 <= self.tail < goal):
            try:
                moved = self.move(deadline)
            except (OSError, ValueError):
                moved = 0
            if not moved:
                if time.monotonic() >= deadline:
                    return False
                _sleep(_NAP)
        return True
