"""A process that logs numbered events and notes, in a shared page, how many were acknowledged.

Run as ``python producer.py PRODUCER ACKS [COUNT [KILL_AT [HOW]]]``; the settings come from the environment. Without a
count it goes on until it is killed. With KILL_AT it kills itself at its KILL_ATth system call for a log, either before
the call (HOW = before) or when it is half or wholly done (HOW = after).
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import cipherlog_core
from cipherlog_core import _archive, _filesystem, _ledger, _logfile, _pipeline, _recover, _ring

CALLS = {"open", "close", "write", "pwrite", "rename", "unlink", "mkdir", "ftruncate", "posix_fallocate"}


class Killing:
    """The module `os`, in which one call is the last."""

    def __init__(self, at: int, how: str) -> None:
        self.left = at
        self.how = how

    def __getattr__(self, name: str) -> Any:
        function = getattr(os, name)
        return self.counted(name, function) if name in CALLS else function

    def counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.left -= 1
            if self.left:
                return function(*args)
            if self.how == "after":
                function(*((args[0], args[1][: len(args[1]) // 2]) if name == "write" else args))
            os.kill(os.getpid(), signal.SIGKILL)
            return None

        return call


def main(producer: str, acks: str, count: str = "0", kill_at: str = "0", how: str = "") -> None:
    with open(acks, "r+b") as file:
        words = memoryview(mmap.mmap(file.fileno(), mmap.PAGESIZE)).cast("Q")
    if how:
        for module in (_archive, _filesystem, _ledger, _logfile, _pipeline, _recover, _ring):
            module.os = Killing(int(kill_at), how) if module is _filesystem else _filesystem.os
    logger = cipherlog_core.start("app")
    seq = 0
    while not int(count) or seq < int(count):
        if logger.event("numbered", producer=producer, seq=seq, text="x" * (seq * 37 % 700)):
            words[0] = seq + 1
        seq += 1
        if int(count) and not seq % 20:
            cipherlog_core.flush()
    cipherlog_core.stop()


main(*sys.argv[1:])
