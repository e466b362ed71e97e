"""Locks at the end of the interpreter, when threads are stopped wherever they wait for it, with what they hold."""

from __future__ import annotations

import sys
import threading
from typing import TypeAlias

__all__ = ["LastLock", "Lock"]


class LastLock:
    """Stands for *lock* from the exit handlers on.

    Once the interpreter ends, one thread alone runs, and needs no lock. It could wait for good for one that a stopped
    thread holds, even if that is not `locked`: the thread has it from the kernel, and does not know yet.
    """

    def __init__(self, lock: Lock) -> None:
        self._lock = lock

    def locked(self) -> bool:
        """Whether one must wait for it."""
        return not sys.is_finalizing() and self._lock.locked()

    def __enter__(self) -> None:
        if not sys.is_finalizing():
            self._lock.__enter__()

    def __exit__(self, *exc_info: object) -> None:
        if not sys.is_finalizing():
            self._lock.__exit__(None, None, None)


Lock: TypeAlias = "threading.Lock | LastLock"  # in quotes: up to 3.12 the first is a function
