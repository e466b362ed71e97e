"""The life of a process's logs: opened at `start` or the first event, closed at `stop` or exit, new after a fork."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import Counter
from datetime import UTC, datetime

import msgspec

from cipherlog_core import _record
from cipherlog_core._context import NOTHING
from cipherlog_core._encode import encode
from cipherlog_core._filesystem import make_folder
from cipherlog_core._logfile import SPOOL, LogFile
from cipherlog_core._recover import recover
from cipherlog_core._ring import Ring
from cipherlog_core._rotation import SUFFIX
from cipherlog_core._settings import Settings, notice
from cipherlog_core._spool import Spool
from cipherlog_core._writer import Writer

__all__ = ["PIPELINE", "FileStats", "Stats"]

_EXIT = 2.0  # seconds that the end of the process may wait for the disk
_RECORD = 512  # bytes at which a record is reckoned where the size of a ring is given in records
_LEAST = 1 << 20  # bytes of the smallest ring: a quarter of it holds the longest line


class FileStats(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one log in this process since it began, in records unless it says otherwise."""

    accepted: int = 0
    """Events whose call returned True."""
    written: int = 0
    """Those of them that are in the log file."""
    dropped: int = 0
    """Events that were refused or lost."""
    recovered: int = 0
    """Records of dead processes that this process brought into the log."""
    pending_bytes: int = 0
    """Bytes in the ring that are not in the log yet."""
    durable: bool = True
    """Whether what is accepted survives the death of the process."""
    rotations: int = 0
    errors: int = 0
    """Attempts to write that failed; what they were to write is tried again."""


class Stats(FileStats, frozen=True, kw_only=True):
    """The sums over all logs of the process; `durable` if each of them is."""

    files: dict[str, FileStats] = {}
    """By file name, such as ``openrouter-costs.jsonl``."""


class Pipeline:
    """All logs of a process, one `Spool` each, and the writer that serves them."""

    def __init__(self) -> None:
        self._spools: dict[str, Spool] = {}
        self._chosen: dict[str, Settings] = {}
        self._default: Settings | None = None
        self._exiting = self._registered = False
        self._origin = _record.Origin("cipherlog_core")
        self._writer = Writer(lambda: list(self._spools.values()), self._report_drops, self._tidy)
        self._environment: Settings | None = None
        self._folders: dict[str, str] = {}
        self.renew()

    def renew(self) -> None:
        """Begin anew in a forked child: it has its parent's settings, and its own rings and thread."""
        _record.renew()
        self._lock = threading.Lock()
        self._opener = 0  # the thread that is opening a log: nested events must not wait for it
        self._recovered: Counter[str] = Counter()
        self._writer.renew()
        for spool in self._spools.values():
            spool.renew()

    def spool(self, stem: str) -> Spool:
        """The spool of the log *stem*; nothing is opened yet."""
        return self._spools.get(stem) or self._spools.setdefault(stem, Spool(stem, self._open, self._writer.wake))

    def settings(self, stem: str) -> Settings:
        """What is in force for the log *stem*."""
        if self._environment is None and not (stem in self._chosen or self._default):
            self._environment = Settings.from_env()
        return self._chosen.get(stem) or self._default or self._environment or Settings()

    def start(self, stem: str, settings: Settings | None) -> None:
        """Open the log *stem*, after what dead processes left in its folder has been brought into the logs."""
        spool = self.spool(stem)
        if not any(spool.ring for spool in self._spools.values()):
            self._chosen.clear()
            self._default = settings
            self._forget_environment()
        if settings is not None and spool.ring is None:
            self._chosen[stem] = settings
        self._recover(self._folder(self.settings(stem)))
        if spool.ring is None:
            self._open(spool)

    def flush(self, timeout: float) -> bool:
        """Move what was accepted so far to the files; False if that took longer than *timeout* seconds."""
        deadline = time.monotonic() + timeout
        left = sum(not self._empty(spool, deadline) for spool in self._spools.values())
        return not left

    def stop(self, timeout: float) -> bool:
        """Write what is left and close all; False if something is left in a ring, for the next start."""
        deadline = time.monotonic() + timeout
        self._writer.stop(timeout)
        left = sum(not self._close(spool, deadline) for spool in self._spools.values())
        self._forget_environment()
        return not left

    def at_exit(self) -> None:
        """Write what is left; an event that comes still later is written by its own call."""
        self._exiting = True
        deadline = time.monotonic() + _EXIT
        self._writer.stop(_EXIT)
        for spool in self._spools.values():
            spool.synchronous = True
            ring, log = spool.ring, spool.log
            if ring and log and self._empty(spool, deadline):
                _remove(ring, log)
            elif ring:
                self._leave(spool, ring)

    def stats(self) -> Stats:
        """Counts of each log, and their sums."""
        files = {spool.stem + SUFFIX: self._stats(spool) for spool in self._spools.values()}
        for stem in self._recovered.keys() - self._spools.keys():
            files[stem + SUFFIX] = FileStats(recovered=self._recovered[stem])
        names = [field.name for field in msgspec.structs.fields(FileStats) if field.name != "durable"]
        sums = {name: sum(getattr(file, name) for file in files.values()) for name in names}
        return Stats(**sums, durable=all(file.durable for file in files.values()), files=files)

    def _open(self, spool: Spool) -> bool:
        me = threading.get_ident()
        if self._opener == me:
            return False
        with self._lock:
            try:
                self._opener = me
                trouble = self._open_now(spool) if spool.ring is None else None
            finally:
                self._opener = 0
        if trouble is not None:
            notice(
                "not durable",
                f"no ring can be kept in {trouble.filename} ({trouble.strerror}): events wait for the disk in memory "
                "only, and a kill loses those. Make that folder a writable one on a local disk, or set LOG_DIR.",
            )
        return True

    def _open_now(self, spool: Spool) -> OSError | None:
        settings = self.settings(spool.stem)
        folder = self._folder(settings)
        size = max(_LEAST, 1 << (settings.queue_max * _RECORD - 1).bit_length())
        trouble = None
        try:
            make_folder(os.path.join(folder, SPOOL))
            ring = Ring.create(os.path.join(folder, SPOOL), spool.stem + SUFFIX, size)
        except OSError as error:
            trouble = error
            ring = Ring.anonymous(spool.stem + SUFFIX, size)
        log = LogFile(folder, spool.stem, settings.rotate_size, spool.counts)
        spool.attach(ring, log, settings.queue_block_ms / 1000)
        if not self._registered:
            self._registered = True
            atexit.register(self.at_exit)
        spool.synchronous = self._exiting or not self._writer.start()
        return trouble

    def _empty(self, spool: Spool, deadline: float) -> bool:
        spool.move_aside()
        self._report_drops(spool)
        return spool.drain(deadline)

    def _close(self, spool: Spool, deadline: float) -> bool:
        self._empty(spool, deadline)
        ring, log = spool.detach()
        if ring is None or log is None:
            return True
        emptied = _move_rest(ring, log, deadline)
        if emptied:
            _remove(ring, log)
        else:
            self._leave(spool, ring)
        ring.close()
        log.close()
        return emptied

    def _leave(self, spool: Spool, ring: Ring) -> None:
        """Account for what a ring still holds when nobody will empty it any more."""
        left = ring.read(ring.tail, ring.pending).count(b"\n")
        if ring.durable:
            spool.left += left
            fate = "the next start in that folder writes them"
        else:
            spool.lose(left)
            fate = "they are lost"
        notice.from_sink(f"left {spool.stem}", f"{left} events of {spool.stem} could not be written: {fate}.")

    def _report_drops(self, spool: Spool) -> None:
        spool.report_drops(self._describe_drops)

    def _describe_drops(self, count: int, since: float, reason: str) -> bytes:
        fields = {"dropped": count, "since": _iso(since), "reason": reason}
        prefix = self._origin.prefix("WARNING", "records_dropped")
        return b"%b%b}\n" % (_record.head(prefix, NOTHING.ids_json), encode(fields))

    def _tidy(self) -> None:
        for folder in set(self._folders.values()):
            self._recover(folder)

    def _recover(self, folder: str) -> None:
        try:
            found = recover(folder)
        except OSError as error:
            notice(f"recover {folder}", f"rings of dead processes in {folder} cannot be read ({error}).")
            return
        self._recovered += found.records
        for name in found.bad:
            notice(name, f"{name} is no ring of this version: it is kept, and its events are not in the log.")

    def _folder(self, settings: Settings) -> str:
        """The absolute folder, found once: a later change of the working directory does not move the log."""
        return self._folders.setdefault(settings.dir, os.path.abspath(settings.dir))

    def _forget_environment(self) -> None:
        self._environment = None
        self._folders = {}

    def _stats(self, spool: Spool) -> FileStats:
        ring = spool.ring
        waiting = ring.read(ring.tail, ring.pending).count(b"\n") if ring else 0
        return FileStats(
            accepted=spool.accepted,
            written=spool.accepted - waiting - spool.left,
            dropped=spool.dropped,
            recovered=self._recovered[spool.stem],
            pending_bytes=spool.pending,
            durable=ring.durable if ring else True,
            rotations=spool.counts.rotations,
            errors=spool.errors + spool.counts.failed_rotations,
        )


def _move_rest(ring: Ring, log: LogFile, deadline: float) -> bool:
    try:
        while ring.pending and time.monotonic() < deadline:
            log.move(ring, deadline)
    except OSError:
        return False
    return not ring.pending


def _remove(ring: Ring, log: LogFile) -> None:
    """Unlink the file of an empty ring."""
    if ring.durable:
        try:
            os.unlink(os.path.join(log.spool, ring.name))
        except OSError:
            return  # somebody else did, or the folder is gone


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


PIPELINE = Pipeline()
os.register_at_fork(after_in_child=PIPELINE.renew)
