"""The one thread of a process that moves bytes from its rings to its logs."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from cipherlog_core._settings import notice
from cipherlog_core._spool import Spool

__all__ = ["Writer"]

T = TypeVar("T")

_POLL = 0.05, 1.0  # seconds between two looks at the rings while there is something in them, and at most
_PATIENCE = 0.1  # seconds that a line may wait for the next look; a longer sleep is ended by the first line
_SCAN = 5.0  # seconds between two looks for rings of dead processes
_BATCHES = 16  # of one ring before the next ring's turn
_BACK_OFF = 0.1, 0.4  # seconds after the first failure, and at most: a second after its end all must be well


class Writer:
    """It polls: a thread that every event wakes would cost the event 20 times what the ring does.

    Not more often than it must, for after each turn of it what the program does next finds cold caches: at 10 ms rather
    than 50 a tapped call over loopback costs half as much again in the mean, and thrice at p95 (benchmarks/tap.py).
    While nothing is logged it sleeps longer and longer, and the first event wakes it.
    *after_batch* is called with each spool that could be served, *after_round* when all have had their turn, *tidy*
    every 5 s and when the thread starts.
    """

    def __init__(
        self,
        spools: Callable[[], Iterable[Spool]],
        after_batch: Callable[[Spool], None],
        after_round: Callable[[], None],
        tidy: Callable[[], None],
    ) -> None:
        self._spools = spools
        self._after_batch = after_batch
        self._after_round = after_round
        self._tidy = tidy
        self.renew()

    def renew(self) -> None:
        """Begin anew in a forked child, where the thread does not exist."""
        self._thread: threading.Thread | None = None
        self._run_number = 0
        # A bare lock that is taken while there is nothing to tell. `threading.Event` is made of Python steps: a signal
        # handler that raises between two of them leaves its inner lock taken, and this thread waiting for good.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._waits: dict[str, tuple[float, float]] = {}  # log: not before (monotonic), seconds of the next wait

    def start(self) -> bool:
        """Have the thread running; False where none can be, as at the end of the interpreter."""
        if self._thread is None:
            if sys.is_finalizing():  # a thread does not run any more, and 3.11 waits for it to begin
                return False
            self._run_number += 1
            run = (os.getpid(), self._run_number)
            thread = threading.Thread(target=self._run, args=run, name="cipherlog-writer", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
        return True

    @property
    def goes_on(self) -> bool:
        """Whether there is a next turn: in the last one nothing may be put off."""
        return self._thread is not None

    def wake(self) -> None:
        """Have the rings looked at now."""
        if self._bell.locked():
            try:
                self._bell.release()
            except RuntimeError:
                return  # another thread was faster

    def stop(self, timeout: float) -> bool:
        """End the thread; whether it ended within *timeout* seconds. One that is stuck ends when it can."""
        thread, self._thread = self._thread, None
        self._run_number += 1
        self.wake()
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def _run(self, pid: int, number: int) -> None:
        scan_at, nap = 0.0, _POLL[0]
        while number == self._run_number and pid == os.getpid():
            moved = more = False
            for spool in self._spools():
                batches = self._guarded(partial(self._serve, spool)) or 0
                moved, more = moved or batches > 0 or spool.is_unsynced, more or batches == _BATCHES
            self._guarded(self._after_round)
            if time.monotonic() >= scan_at:
                scan_at = time.monotonic() + _SCAN
                self._guarded(self._tidy)
            nap = _POLL[0] if moved else min(2 * nap, _POLL[1])
            if not more:
                self._sleep(nap)
        if pid == os.getpid():  # whoever stops it waits for so long and no longer, and a disk that hangs holds it here
            for spool in self._spools():
                goal = spool.head  # a thread that goes on logging would have it never end
                while self._guarded(partial(self._serve, spool)) == _BATCHES and spool.tail < goal:
                    pass

    def _guarded(self, step: Callable[[], T]) -> T | None:
        """Take a *step*; the thread, and the other logs, must outlive whatever happens in it."""
        try:
            return step()
        except Exception as error:  # noqa: BLE001
            notice.from_sink(f"writer: {type(error)}", f"the writer thread met {error!r} and goes on.")
            return None

    def _sleep(self, seconds: float) -> None:
        spools = list(self._spools())
        if seconds > _PATIENCE:
            for spool in spools:
                spool.doze()
            if any(spool.is_waiting for spool in spools):  # it came in the meantime, or its disk fails
                seconds = _POLL[0]
        self._bell.acquire(timeout=seconds)

    def _serve(self, spool: Spool) -> int:
        """Move some batches; how many."""
        not_before, wait = self._waits.get(spool.name, (0.0, _BACK_OFF[0]))
        if time.monotonic() < not_before:
            return 0
        spool.move_aside()
        batches = 0
        try:
            while batches < _BATCHES and spool.move():
                batches += 1
        except OSError as error:
            self._waits[spool.name] = time.monotonic() + wait, min(2 * wait, _BACK_OFF[1])
            place = "the ring" if spool.ring and spool.ring.durable else "memory only"
            message = f"{spool.name} cannot be written ({error}); its events wait in {place}, and it is tried again."
            notice.from_sink(f"{spool.name} {error.errno}", message)
            return 0
        self._waits.pop(spool.name, None)
        self._after_batch(spool)
        return batches
