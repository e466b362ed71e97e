"""The life of a process's logs: opened at `start` or the first event, closed at `stop` or exit, new after a fork."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from cipherlog_core import _record
from cipherlog_core._archive import Archiver, Log
from cipherlog_core._console import Console
from cipherlog_core._folders import JSON_SUFFIX, TEXT_SUFFIX, Folders, not_durable, not_trusted
from cipherlog_core._last_lock import LastLock, Lock
from cipherlog_core._lines import describe_drops
from cipherlog_core._logfile import LogFile
from cipherlog_core._recover import recover
from cipherlog_core._ring import Ring
from cipherlog_core._rotation import Rotation
from cipherlog_core._settings import Settings, notice
from cipherlog_core._spool import Spool
from cipherlog_core._stats import FileStats, Stats, add_up
from cipherlog_core._writer import Writer
from cipherlog_core.ship._background import Background

__all__ = ["PIPELINE"]

_EXIT = 2.0  # seconds that the end of the process may wait for the disk
_MEND = 0.5  # seconds that a log's lines may take to be written before it gets another ring
_RECORD = 512  # bytes at which a record is reckoned where the size of a ring is given in records
_LEAST = 1 << 20  # bytes of the smallest ring: a quarter of it holds the longest line


class Pipeline:
    """All logs of a process, one `Spool` each, and the threads that serve them."""

    def __init__(self) -> None:
        self._by_name: dict[str, Spool] = {}  # by file name, as all below
        self._names: dict[str, str] = {}  # by server
        self._chosen: dict[str, Settings] = {}
        self._default: Settings | None = None
        self._environment: Settings | None = None
        self._folders: dict[tuple[str, str | None, str], Folders] = {}
        self._consoles: dict[str, Console] = {}
        self._exiting = self._at_exit_is_registered = False
        self._takers: list[Callable[[bytes], object]] = []
        self._archiver = Archiver(self._logs)
        self._writer = Writer(lambda: self._spools, self._after_batch, self._after_round, self._tidy)
        self._background = Background()
        self.renew()

    def renew(self) -> None:
        """Begin anew in a forked child: it has its parent's settings, and its own rings and threads."""
        _record.renew()
        self._lock: Lock = threading.Lock()
        self._opener = 0  # the thread that is opening a log: nested events must not wait for it
        self._finalizer_is_registered = False
        self._recovered: Counter[str] = Counter()
        self._writer.renew()
        self._archiver.renew()
        self._background.renew()
        for spool in self._spools:
            spool.renew()
        for console in self._consoles.values():
            console.renew()

    @property
    def _spools(self) -> list[Spool]:
        """All of them, in a list of its own: another thread may add one meanwhile."""
        return list(self._by_name.values())

    def spool(self, name: str) -> Spool:
        """The spool of the log with the file name *name*; nothing is opened yet."""
        spool = self._by_name.get(name)
        if spool is None:
            spool = self._by_name.setdefault(name, Spool(name, self._open, self._writer.wake))
            spool.divert(self._give if self._takers else None)
        return spool

    @contextmanager
    def diverted(self, take: Callable[[bytes], object]) -> Iterator[None]:
        """Give the lines of all logs to *take* until the end of the block; nothing is opened meanwhile."""
        self._takers = [*self._takers, take]
        self._divert()
        try:
            yield
        finally:
            self._takers = [taker for taker in self._takers if taker is not take]
            self._divert()

    def _divert(self) -> None:
        for spool in self._spools:
            spool.divert(self._give if self._takers else None)

    def _give(self, line: bytes) -> list[object]:
        return [take(line) for take in self._takers]

    def settings(self, name: str) -> Settings:
        """What is in force for the log *name*."""
        return self._chosen.get(name) or self._default or self._from_environment()

    def start(self, server: str, settings: Settings | None) -> Spool:
        """Open the log of *server*, after what dead processes left in its folder has been brought into the logs."""
        if not any(spool.ring for spool in self._spools):
            self._chosen.clear()
            self._default = settings
            self._forget_environment()
        spool = self.server_spool(server, settings)
        if self._takers:
            return spool
        self._recover(self._folders_of(spool.name))
        if spool.ring is None and not self._is_nested():
            self._open(spool)
        return spool

    def server_spool(self, server: str, settings: Settings | None = None) -> Spool:
        """The spool of the log of *server*, which opens at its first line. *settings* hold where it is not open."""
        name = self._names.get(server)
        if name is None or self.spool(name).ring is None:
            in_force = settings or self._default or self._from_environment()
            name = self._names[server] = server + (JSON_SUFFIX if in_force.json else TEXT_SUFFIX)
            self._chosen[name] = in_force
        elif settings is not None and settings != self.settings(name):
            notice(f"settings {name}", f"{name} is open with other settings, which stay in force until stop().")
        return self.spool(name)

    def flush(self, timeout: float) -> bool:
        """Move what was accepted so far to the files; False if that took longer than *timeout* seconds."""
        deadline = time.monotonic() + timeout
        if self._is_nested():
            return self._drain_only(deadline)
        left = sum(not self._empty(spool, deadline) for spool in self._spools)
        self._write_consoles(deadline)
        return not left

    def stop(self, timeout: float) -> bool:
        """Write what is left and close all; False if something is left in a ring, for the next start."""
        deadline = time.monotonic() + timeout
        if self._is_nested():
            return self._drain_only(deadline)
        self._writer.stop(timeout)
        logs = self._logs()
        left = sum(not self._close(spool, deadline) for spool in self._spools)
        self._write_consoles(deadline)
        self._background.stop(deadline)
        self._archiver.stop(max(0.0, deadline - time.monotonic()), logs)
        self._forget_environment()
        return not left

    def at_exit(self) -> None:
        """Write what is left; an event that comes still later is written by its own call."""
        self._exiting, self._lock = True, LastLock(self._lock)
        deadline = time.monotonic() + _EXIT
        self._writer.stop(_EXIT)
        for spool in self._spools:
            spool.end()
            ring, log = spool.ring, spool.log
            if ring and log and self._empty(spool, deadline):
                ring.remove()
            elif ring:
                self._leave(spool, ring)
        self._write_consoles(deadline)
        self._background.stop(deadline)
        self._archiver.stop(max(0.0, deadline - time.monotonic()), self._logs())

    def stats(self) -> Stats:
        """Counts of each log that something was done with, and their sums."""
        used = [it for it in self._spools if it.ring or it.accepted or it.dropped or it.errors]
        files = {name: FileStats(recovered=count) for name, count in self._recovered.copy().items()}
        return add_up(files | {spool.name: self._stats(spool) for spool in used})

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
        folders = self._folders_of(spool.name)
        if trouble is not None:
            notice("not durable", not_durable(folders, trouble))
        if doubt := not_trusted(folders):
            notice("network", doubt)
        return True

    def _open_now(self, spool: Spool) -> OSError | None:
        settings, folders = self.settings(spool.name), self._folders_of(spool.name)
        ring, trouble = self._new_ring(folders, spool.name)
        log = LogFile(
            folders,
            spool.name,
            Rotation(settings.rotate_size, settings.rotate_when),
            spool.counts,
            on_closed=partial(self._archiver.note_closed, spool.name),
            fsync_after=settings.fsync_ms / 1000,
        )
        if settings.console is not None and (settings.json or spool.name.endswith(TEXT_SUFFIX)):
            console = self._consoles.setdefault(settings.console, Console(settings.console))
            log.on_batch = console.put
        spool.attach(ring, log, settings.queue_block_ms / 1000)
        self._archiver.note_opened(spool.name, folders.logs)
        self._register_exit()
        if self._exiting:
            spool.end()
        else:
            spool.synchronous = not (threading.main_thread().is_alive() and self._writer.start())
        if settings.otlp_endpoint is not None and not self._exiting:
            self._background.start(folders, settings.otlp_endpoint)
        return trouble

    def _new_ring(self, folders: Folders, name: str) -> tuple[Ring, OSError | None]:
        """A ring where one can be kept, else one in memory and why."""
        size = max(_LEAST, 1 << (self.settings(name).queue_max * _RECORD - 1).bit_length())
        trouble = None
        for folder in folders.rings:
            try:
                folders.make() if folder == folders.spool else folders.make_own(folder)
                return Ring.create(folder, name, size), None
            except OSError as error:
                trouble = error
        try:
            return Ring.anonymous(name, size), trouble
        except (OSError, ValueError):  # more than there is
            return Ring.anonymous(name, _LEAST), trouble

    def _register_exit(self) -> None:
        if not self._at_exit_is_registered:
            self._at_exit_is_registered = True
            atexit.register(self.at_exit)
        process, util = (sys.modules.get(f"multiprocessing.{name}") for name in ("process", "util"))
        if process and util and process.parent_process() and not self._finalizer_is_registered:
            self._finalizer_is_registered = True  # children of multiprocessing end without exit handlers
            util.Finalize(None, self.at_exit, exitpriority=0)

    def _is_nested(self) -> bool:
        """Whether this is a signal handler or finaliser that interrupts our own code, and may wait for no lock."""
        return self._opener == threading.get_ident() or any(spool.is_inside for spool in self._spools)

    def _drain_only(self, deadline: float) -> bool:
        """What a nested call can do: move what is in the rings, as far as nobody whom it interrupts is at that."""
        drained = [spool.drain(deadline) and not spool.is_waiting for spool in self._spools]
        return all(drained)

    def _empty(self, spool: Spool, deadline: float) -> bool:
        spool.move_aside()
        self._report_drops(spool)
        emptied = spool.drain(deadline)
        self._sync(spool, deadline=deadline)
        return emptied

    def _close(self, spool: Spool, deadline: float) -> bool:
        self._empty(spool, deadline)
        ring, log = spool.detach()
        if ring is None or log is None:
            return True
        emptied = self._let_go(spool, ring, log, deadline)
        log.close(deadline)
        return emptied

    def _let_go(self, spool: Spool, ring: Ring, log: LogFile, deadline: float) -> bool:
        """Empty and close a *ring* that is detached; whether it could be emptied."""
        with spool.inside():
            emptied = log.empty(ring, deadline)
        if emptied:
            ring.remove()
        else:
            self._leave(spool, ring)
        log.release(ring, deadline)
        return emptied

    def _leave(self, spool: Spool, ring: Ring) -> None:
        """Account for what a ring still holds when nobody will empty it any more."""
        left, _, is_safe = ring.held()
        if is_safe:
            spool.left += left
            fate = "the next start in that folder writes them"
        else:
            spool.lose(left)
            fate = "they are lost"
        notice.from_sink(f"left {spool.name}", f"{left} events of {spool.name} could not be written: {fate}.")

    def _report_drops(self, spool: Spool) -> None:
        spool.report_drops(partial(describe_drops, spool.name))

    def _after_batch(self, spool: Spool) -> None:
        self._report_drops(spool)
        if spool.is_unsynced:
            self._sync(spool, time.monotonic() if self._writer.goes_on else None)
        if (error := spool.counts.rotation_error) is not None:
            trouble = f"{spool.name} cannot be rotated ({error}): it grows, and it is tried again."
            notice.from_sink(f"rotate {spool.name}", trouble)

    def _sync(self, spool: Spool, now: float | None = None, deadline: float | None = None) -> None:
        log = spool.log
        try:
            if log is not None:
                log.sync_if_due(now, deadline)
        except OSError as error:
            spool.errors += 1
            notice.from_sink(f"sync {spool.name}", f"{spool.name} cannot be synced ({error}), it is tried again.")

    def _after_round(self) -> None:
        self._write_consoles()
        self._archiver.look()

    def _write_consoles(self, deadline: float = 0.0) -> None:
        for console in self._consoles.values():
            console.write(deadline)

    def _tidy(self) -> None:
        for folders in set(self._folders.values()):
            self._recover(folders)
        for spool in self._spools:
            self._mend(spool)

    def _mend(self, spool: Spool) -> None:
        """Give a log a ring in a file, where the one that it has is in memory only or taken away."""
        ring, log = spool.ring, spool.log
        if ring is None or log is None or ring.is_safe or not spool.drain(time.monotonic() + _MEND):
            return
        new, trouble = self._new_ring(log.folders, spool.name)
        if trouble is not None:
            new.close()
            return
        if ring.durable:
            notice.from_sink(f"ring {spool.name}", f"the ring of {spool.name} was taken away; it has a new one.")
        spool.retired = ring
        try:
            before = spool.attach(new, log, self.settings(spool.name).queue_block_ms / 1000)
            if before is not None:
                self._let_go(spool, before, log, time.monotonic() + _EXIT)
        finally:
            spool.retired = None

    def _recover(self, folders: Folders) -> None:
        try:
            with ExitStack() as stack:
                for spool in self._spools:
                    stack.enter_context(spool.inside())
                found = recover(folders)
        except OSError as error:
            notice(f"recover {folders.logs}", f"rings of dead processes in {folders.logs} cannot be read ({error}).")
            return
        self._recovered += found.records
        for path, why in found.troubles:
            kind = f"ring {getattr(why, 'errno', type(why))}"  # once each: a disk that fails may hold hundreds of rings
            notice(kind, f"rings of dead processes cannot be brought in, it is tried again: {path}: {why}")
        for name in found.bad:
            notice(name, f"{name} is no ring of this version: it is kept, and its events are not in the log.")
        for name, lost in (+found.lost).items():
            notice(f"lost {name}", f"{lost} lines of {name} did not survive the end of the machine's last run.")

    def _logs(self) -> list[Log]:
        opened = [spool for spool in self._spools if spool.ring]
        return [Log(self._folders_of(spool.name), spool.name, self.settings(spool.name)) for spool in opened]

    def _folders_of(self, name: str) -> Folders:
        """The folders, absolute, found once: a later change of the working directory does not move the log."""
        settings = self.settings(name)
        key = settings.dir, settings.spool_dir, settings.file_mode
        folders = self._folders.get(key)
        if folders is None:
            folders = Folders.of(settings.dir, settings.spool_dir, int(settings.file_mode, 8))
        return self._folders.setdefault(key, folders)

    def _from_environment(self) -> Settings:
        if self._environment is None:
            self._environment = Settings.from_env()
        return self._environment

    def _forget_environment(self) -> None:
        self._environment, self._folders = None, {}

    def _stats(self, spool: Spool) -> FileStats:
        ring = spool.ring  # another thread may take it away
        waiting, pending, durable = ring.held() if ring else (0, 0, True)
        return FileStats(
            accepted=spool.accepted,
            written=spool.accepted - waiting - spool.left,
            dropped=spool.dropped,
            cut=spool.cut,
            recovered=self._recovered[spool.name],
            pending_bytes=pending,
            durable=durable,
            rotations=spool.counts.rotations,
            errors=spool.errors + spool.counts.failed_rotations,
        )


PIPELINE = Pipeline()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PIPELINE.renew)
