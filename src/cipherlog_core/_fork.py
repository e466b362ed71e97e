"""Tells a forked child without a system call: `os.getpid` is one, and costs 6 times as much as reading a byte."""

from __future__ import annotations

import mmap
import os
import sys

__all__ = ["HERE", "mark"]

_WIPE_ON_FORK = 18  # MADV_WIPEONFORK, Linux 4.14: a child finds zeros in that memory, whoever forked and however


class _Pid:
    """The same by `os.getpid`, where the kernel wipes nothing."""

    def __init__(self) -> None:
        self._pid = 0

    def __getitem__(self, _index: int) -> int:
        return self._pid == os.getpid()

    def __setitem__(self, _index: int, _value: int) -> None:
        self._pid = os.getpid()


def _page() -> mmap.mmap | _Pid:
    if sys.platform != "linux":
        return _Pid()
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        page.madvise(_WIPE_ON_FORK)
    except OSError:  # an older kernel
        return _Pid()
    return page


HERE = _page()
"""``HERE[0]`` is 0 in a process that has not called `mark`: in a forked child, though no hook of Python ran there."""


def mark() -> None:
    """Say that this process knows itself."""
    HERE[0] = 1
