"""A process that forks while its threads log; parent and children log numbered events.

Run as ``python forking.py HOW CHILDREN``. HOW is os (os.fork), handler (os.fork in a signal handler that interrupts the
logger) or multiprocessing. Prints, as JSON, what was acknowledged in the parent.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import sys
import threading
import time

import cipherlog_core

EVENTS = 50

logger = cipherlog_core.start("app") if __name__ == "__main__" else None
acknowledged = {"a": 0, "b": 0, "c": 0}
stopping = threading.Event()


def work(name: str) -> None:
    """Log until told to stop; each acknowledged event has the next number."""
    while not stopping.is_set():
        acknowledged[name] += logger.event("numbered", producer=name, seq=acknowledged[name], text="x" * 300)


def child(name: str) -> None:
    """What a child does: log, and end as worker processes do, without exit handlers."""
    for seq in range(EVENTS):
        assert logger.event("numbered", producer=name, seq=seq)
    os._exit(0)


def fork_in_handler(number: int) -> int:
    """Fork at whatever point of the logger the signal meets the main thread."""
    pids: list[int] = []

    def handler(*_: object) -> None:
        pid = os.fork()
        if not pid:
            signal.setitimer(signal.ITIMER_REAL, 0)
            child(f"child {number}")
        pids.append(pid)

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.002 + number * 0.00003)
    for seq in itertools.count():
        logger.event("not numbered", seq=seq)
        if pids:
            return pids[0]
    raise AssertionError


def fork(how: str, number: int) -> int:
    """The pid of a child, which logs and ends."""
    if how == "handler":
        return fork_in_handler(number)
    if how == "multiprocessing":
        process = multiprocessing.get_context("fork").Process(target=child, args=(f"child {number}",))
        process.start()
        return process.pid or 0
    pid = os.fork()
    if not pid:
        child(f"child {number}")
    return pid


def main(how: str, children: str) -> None:
    threads = [threading.Thread(target=work, args=(name,)) for name in acknowledged]
    for thread in threads:
        thread.start()
    for number in range(int(children)):
        pid = fork(how, number)
        deadline = time.monotonic() + 20
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            assert time.monotonic() < deadline, f"child {number} hangs"
            time.sleep(0.001)
    stopping.set()
    for thread in threads:
        thread.join()
    assert cipherlog_core.stop(10)
    print(json.dumps(acknowledged))


if __name__ == "__main__":
    main(*sys.argv[1:])
