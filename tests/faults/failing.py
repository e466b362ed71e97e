"""A process whose calls for its logs fail: the Nth, or all from the Nth on until they are mended.

Run as ``python failing.py FOLDER HOW ERROR-N...``: for each a log folder of its own. HOW is once, outage (all calls
fail from the Nth on, for as long as 30 events are logged) or control (once, a write, by a writer that forgets what
failed). Prints a line of JSON for each.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import cipherlog_core
from cipherlog_core import Settings, _archive, _filesystem, _folders, _ledger, _logfile, _pipeline, _recover, _ring

EVENTS = 60
MODULES = (_archive, _filesystem, _folders, _ledger, _logfile, _pipeline, _recover, _ring)
CALLS = {"open", "close", "write", "pwrite", "rename", "unlink", "mkdir", "ftruncate", "posix_fallocate", "fsync"}


class Failing:
    """The module `os`, in which calls fail from the one numbered *at* on, *count* of them."""

    def __init__(self, names: set[str]) -> None:
        self.names = names
        self.calls = self.failed = self.error = self.at = self.count = 0
        self.failed_call = ""

    def arm(self, error: int, at: int, count: int) -> None:
        self.calls = self.failed = 0
        self.error, self.at, self.count = error, at, count

    def __getattr__(self, name: str) -> Any:
        function = getattr(os, name)
        return self.counted(name, function) if name in self.names else function

    def counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            self.calls += 1
            if not self.at <= self.calls < self.at + self.count:
                return function(*args, **named)
            if not self.failed:
                self.failed_call = name
            self.failed += 1
            if name == "close":  # as Linux does: the descriptor is gone all the same
                function(*args)
            raise OSError(self.error, os.strerror(self.error))

        return call


def forget(write: Callable[..., None]) -> Callable[..., None]:
    """The writer of the control."""

    def forgetful(self: _logfile.LogFile, data: bytes) -> None:
        try:
            write(self, data)
        except OSError:
            return

    return forgetful


def one(folder: str, calls: Failing, run: str, how: str) -> dict[str, Any]:
    settings = Settings(
        dir=os.path.join(folder, run),
        queue_max=64,
        rotate_size=4000,
        backups=0,
        gzip_after=0,
        fsync_ms=1,
        queue_block_ms=50,
    )
    before = cipherlog_core.stats()
    error, _, at = run.partition("-")
    calls.arm(getattr(errno, error), int(at), 1 << 30 if how == "outage" else 1)
    logger = cipherlog_core.start("app", settings=settings)
    kept, late = [], None
    for seq in range(EVENTS):
        if logger.event("numbered", producer="a", seq=seq, text="x" * (seq * 37 % 300)):
            kept.append(seq)
        if how == "outage" and seq == EVENTS // 2:
            calls.count = 0
            mended = time.monotonic()
        if not seq % 6 and not (how == "outage" and calls.count and calls.failed):
            cipherlog_core.flush(0.2 if how == "outage" else 1)
    if how == "outage":
        while cipherlog_core.stats().pending_bytes and time.monotonic() < mended + 10:
            time.sleep(0.001)
        late = time.monotonic() - mended
    stopped, failed = cipherlog_core.stop(5), calls.failed
    calls.arm(0, 0, 0)
    after = cipherlog_core.stats()
    counts = {name: getattr(after, name) - getattr(before, name) for name in ("dropped", "errors", "rotations")}
    facts = {"run": run, "kept": kept, "late": late, "stopped": stopped, "failed": failed, "call": calls.failed_call}
    return facts | counts


def main(folder: str, how: str, *runs: str) -> None:
    calls = Failing({"write"} if how == "control" else CALLS)
    for module in (_logfile,) if how == "control" else MODULES:
        module.os = calls
    if how == "control":
        _logfile.LogFile._write = forget(_logfile.LogFile._write)
    for run in runs:
        print(json.dumps(one(folder, calls, run, how)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
