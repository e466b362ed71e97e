"""A process that logs numbered events and notes, in a shared page, how many were acknowledged.

Run as ``python producer.py PRODUCER ACKS [COUNT [KILL_AT [HOW]]]``; the settings come from the environment. Without a
count it goes on until it is killed. With KILL_AT it kills itself at its KILL_ATth system call for a log, either before
the call (HOW = before) or when it is half or wholly done (HOW = after).

Run as ``python producer.py each FOLDER HOW FIRST LAST`` it forks such a process for each KILL_AT from FIRST to LAST,
each with 100 events and a folder of its own, until one ends by itself; it prints how each has ended.
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


def each(folder: str, how: str, first: str, last: str) -> None:
    for number in range(int(first), int(last) + 1):
        acks, os.environ["LOG_DIR"] = f"{folder}/{number}.acks", f"{folder}/{number}"
        with open(acks, "wb") as file:
            file.write(bytes(mmap.PAGESIZE))
        pid = os.fork()
        if not pid:
            main("a", acks, "100", str(number), how)
            return
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(status, flush=True)
        if status != -signal.SIGKILL:
            return


if sys.argv[1] == "each":
    each(*sys.argv[2:])
else:
    main(*sys.argv[1:])
