"""The one thread of a process that moves bytes from its rings to its logs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable

from cipherlog_core._settings import notice
from cipherlog_core._spool import Spool

__all__ = ["Writer"]

_POLL = 0.01  # seconds between two looks at the rings
_SCAN = 5.0  # seconds between two looks for rings of dead processes
_BATCHES = 16  # of one ring before the next ring's turn
_BACK_OFF = 0.1, 5.0  # seconds after the first failure, and at most


class Writer:
    """It polls: a thread that every event wakes would cost the event 20 times what the ring does.

    *after_batch* is called with a spool that has moved some lines, *tidy* every 5 s and when the thread starts.
    """

    def __init__(
        self,
        spools: Callable[[], Iterable[Spool]],
        after_batch: Callable[[Spool], None],
        tidy: Callable[[], None],
    ) -> None:
        self._spools = spools
        self._after_batch = after_batch
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
        self._waits: dict[str, tuple[float, float]] = {}  # stem: not before (monotonic), seconds of the next wait

    def start(self) -> bool:
        """Have the thread running; False where none can be, as at the end of the interpreter."""
        if self._thread is None:
            self._run_number += 1
            run = (os.getpid(), self._run_number)
            thread = threading.Thread(target=self._run, args=run, name="cipherlog-writer", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
        return True

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
        scan_at = 0.0
        while number == self._run_number and pid == os.getpid():
            busy = False
            try:
                for spool in self._spools():
                    busy |= self._serve(spool)
                if time.monotonic() >= scan_at:
                    scan_at = time.monotonic() + _SCAN
                    self._tidy()
            except Exception as error:  # noqa: BLE001  the thread must outlive whatever happens
                notice.from_sink(f"writer: {type(error)}", f"the writer thread met {error!r} and goes on.")
            if not busy:
                self._bell.acquire(timeout=_POLL)

    def _serve(self, spool: Spool) -> bool:
        """Move some batches; whether there may be more at once."""
        not_before, wait = self._waits.get(spool.stem, (0.0, _BACK_OFF[0]))
        if time.monotonic() < not_before:
            return False
        spool.move_aside()
        try:
            batches = 0
            while batches < _BATCHES and spool.move():
                batches += 1
        except OSError as error:
            self._waits[spool.stem] = time.monotonic() + wait, min(2 * wait, _BACK_OFF[1])
            message = f"{spool.stem} cannot be written ({error}); its events wait in the ring, and it is tried again."
            notice.from_sink(f"{spool.stem} {error.errno}", message)
            return False
        self._waits.pop(spool.stem, None)
        self._after_batch(spool)
        return batches == _BATCHES
