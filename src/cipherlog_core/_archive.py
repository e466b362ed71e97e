"""The one thread of a process that compresses closed segments and deletes the oldest.

What is to be compressed is read off the disk and not remembered: whoever closed a segment may be dead. A kill at any
step leaves the plain segment, the whole compressed one, or both; readers then take one, and the next round clears up.
"""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from cipherlog_core._checkpoint import shipped_to
from cipherlog_core._filesystem import close, open_regular, sync_folder, try_lock
from cipherlog_core._folders import Folders
from cipherlog_core._rotation import Segment, closed_segments, is_segment
from cipherlog_core._settings import Settings, notice, shown

__all__ = ["Archiver", "compress"]

_LEVEL = 6  # 9 takes half as long again for 1 %
_GZIP = 31  # window bits that mean gzip
_UNFINISHED = ".tmp"
_STEP = 1 << 18  # bytes at a time: zlib works without the GIL
_UNSHIPPED = 10  # times the number of segments that are kept, where a shipper has not got further
_LOOK = 5.0  # seconds between two looks for segments whose time has come


class Log(NamedTuple):
    """A log whose segments are looked after."""

    folders: Folders
    name: str
    settings: Settings


class Archiver:
    """*logs* gives the logs that this process writes now. The thread begins with the first work."""

    def __init__(self, logs: Callable[[], list[Log]]) -> None:
        self._logs = logs
        self.renew()

    def renew(self) -> None:
        """Begin anew in a forked child, where the thread does not exist."""
        self._thread: threading.Thread | None = None
        self._run_number = 0
        self._news: deque[tuple[str, str | None]] = deque()
        self._bell = threading.Lock()  # as that of the writer
        self._bell.acquire()
        self._look_at = 0.0

    def note_closed(self, name: str, path: str) -> None:
        """The log *name* has a new segment. Neither waits nor raises."""
        self._news.append((name, path))
        self._look_at = 0.0

    def note_opened(self, name: str, folder: str) -> None:
        """This process writes the log *name* from now on: an archiver may have been killed at it."""
        with suppress(OSError):  # one that cannot be read now
            if next(closed_segments(folder, name), None) is None:
                return
            self._news.append((name, None))
            self._look_at = 0.0

    def look(self) -> None:
        """Have the thread do what there is to do; called by the writer in each of its rounds."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK
            if self._news or any(_due(log) for log in self._logs()):
                self._begin()

    def stop(self, timeout: float, logs: list[Log]) -> None:
        """End the thread; a segment that it is at stays as it was, for the next round of whoever is there.

        Who closes a segment deletes the oldest, and nobody else does: of the *logs* that is done here where it was not.
        """
        thread, self._thread = self._thread, None
        self._run_number += 1
        self._ring()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        closed = {name for name, path in list(self._news) if path is not None}
        for log in logs:
            if log.name in closed:
                with suppress(OSError):
                    self._prune(log)

    def _begin(self) -> None:
        if self._thread is None:
            self._run_number += 1
            run = (os.getpid(), self._run_number)
            thread = threading.Thread(target=self._run, args=run, name="cipherlog-archiver", daemon=True)
            with suppress(RuntimeError):  # the interpreter is ending
                thread.start()
                self._thread = thread
        self._ring()

    def _ring(self) -> None:
        with suppress(RuntimeError):  # it rings already
            self._bell.release()

    def _run(self, pid: int, number: int) -> None:
        def is_current() -> bool:
            return number == self._run_number and pid == os.getpid()

        while is_current():
            try:
                self._work(is_current)
            except Exception as error:  # noqa: BLE001  the thread must outlive whatever happens
                notice.from_sink(f"archiver: {type(error)}", f"the archiver thread met {shown(error)} and goes on.")
            self._bell.acquire()

    def _work(self, is_wanted: Callable[[], bool]) -> None:
        logs = self._logs()
        by_name = {log.name: log for log in logs}
        for _ in range(len(self._news)):
            name, path = self._news.popleft()
            if (named := by_name.get(name)) is None:
                self._news.append((name, path))  # the log is just being closed: `stop` sees to it
                continue
            if path is not None:
                _tell(named, path)
                self._prune(named)
            _clear(named)
        for log in logs:
            for segment in self._told(_due(log)):
                if not is_wanted():
                    return
                with _sole(log) as is_ours, suppress(FileNotFoundError):  # another process has pruned it
                    if is_ours:
                        compress(log.folders, segment, is_wanted)

    def _prune(self, log: Log) -> None:
        """Delete the oldest segments beyond the number that is kept, but none that is still to be told or shipped.

        Of those that are to be shipped ten times that number are kept.
        """
        if not log.settings.backups:
            return  # and no look at a folder that may hold very many
        found = list(closed_segments(log.folders.logs, log.name))
        numbers = sorted({segment.number for segment in found})
        first = next(iter(numbers[-log.settings.backups :]), 0)
        shipped = shipped_to(log.folders, log.name)
        if shipped is None and log.settings.otlp_endpoint is not None:
            shipped = 0  # the shipper has not made its checkpoint yet
        if shipped is not None:
            most = numbers[-log.settings.backups * _UNSHIPPED :]
            first = max(min(first, shipped + 1), next(iter(most), 0))
            if numbers and max(numbers[0], shipped + 1) < first:
                _tell_unshipped(log, first)
        for segment in self._told(found):
            if segment.number < first:
                _unlink(segment.path)

    def _told(self, found: list[Segment]) -> list[Segment]:
        """Those of what was *found* whose closing by this process is told already."""
        untold = {path for _, path in list(self._news)}
        return [segment for segment in found if segment.path.removesuffix(".gz") not in untold]


def _tell(log: Log, path: str) -> None:
    if log.settings.on_segment_closed is not None:
        try:
            log.settings.on_segment_closed(path)
        except BaseException as error:  # noqa: BLE001  a caller's own function, and sys.exit() in it ends no thread
            notice("on_segment_closed", f"Settings.on_segment_closed raised {shown(error)} for {path}.")


def _tell_unshipped(log: Log, first: int) -> None:
    kept = log.settings.backups * _UNSHIPPED
    notice(
        f"unshipped {log.name}",
        f"segments of {log.name} before number {first} are deleted though they are not shipped: more than {kept} wait "
        f"(LOG_BACKUPS times {_UNSHIPPED}). Have the receiver reachable, or set LOG_BACKUPS higher.",
    )


def _clear(log: Log) -> None:
    """Delete the unfinished files of archivers that were killed."""
    with _sole(log) as is_ours:
        for name in os.listdir(log.folders.spool) if is_ours else ():
            path = name.removesuffix(_UNFINISHED)
            if path != name and is_segment(log.name, path):
                _unlink(os.path.join(log.folders.spool, name))


def _due(log: Log) -> list[Segment]:
    """The plain segments whose time to be compressed has come, oldest first."""
    if not log.settings.gzip:
        return []
    before = time.time() - log.settings.gzip_after
    plain = [segment for segment in closed_segments(log.folders.logs, log.name) if not segment.is_compressed]
    return [segment for segment in sorted(plain) if _closed_before(segment, before)]


def _closed_before(segment: Segment, moment: float) -> bool:
    try:
        status = os.stat(segment.path)
        return status.st_mtime <= moment and status.st_nlink == 1  # while a backup has it too, no room is gained
    except OSError:  # another process has pruned it
        return False


@contextmanager
def _sole(log: Log) -> Iterator[bool]:
    """Whether this process is the one that compresses the log's segments now."""
    with _opened(os.path.join(log.folders.spool, f"{log.name}.gzip.lock"), os.O_RDWR | os.O_CREAT) as descriptor:
        yield try_lock(descriptor)


def compress(folders: Folders, segment: Segment, is_wanted: Callable[[], bool] = lambda: True) -> None:
    """Replace a plain *segment* by a compressed one, unless it ceases to be wanted. Raises `OSError`."""
    compressed = f"{segment.path}.gz"
    if not os.path.exists(compressed):
        unfinished = os.path.join(folders.spool, os.path.basename(compressed) + _UNFINISHED)
        if not _copy(segment.path, unfinished, folders.mode, is_wanted):
            return
        os.rename(unfinished, compressed)
        sync_folder(folders.logs)  # before what it replaces is deleted
    _unlink(segment.path)


def _copy(source: str, target: str, mode: int, is_wanted: Callable[[], bool]) -> bool:
    """A gzip file of *source*, safe on disk, with its times; False if it was given up."""
    _unlink(target)  # of one who was killed
    is_done = False
    try:
        new = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with _opened(source, os.O_RDONLY) as reader, _opened(target, new, mode) as writer:
            packer = zlib.compressobj(_LEVEL, wbits=_GZIP)
            while (data := os.read(reader, _STEP)) and is_wanted():
                _write(writer, packer.compress(data))
            _write(writer, packer.flush())
            os.fsync(writer)
            status, is_done = os.fstat(reader), not data
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        if not is_done:
            _unlink(target)
    return is_done


@contextmanager
def _opened(path: str, flags: int, mode: int = 0o600) -> Iterator[int]:
    descriptor = open_regular(path, flags, mode, may_be_linked=True)  # what is written to is made anew, always
    try:
        yield descriptor
    finally:
        close(descriptor)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
