"""A process that ends in one of many ways, with events logged on the way out. Run as ``python ending.py HOW``.

Prints the events that were acknowledged before the end, as lines ``producer seq``; what the end itself logs is in LATE.
"""

from __future__ import annotations

import atexit
import builtins
import faulthandler
import gc
import itertools
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

import cipherlog_core
from cipherlog_core._spool import Spool

LATE = {
    "atexit first": 1, "atexit": 2, "del first": 1, "del builtins": 1, "del": 2, "cycle": 1, "handler first": 0,
    "daemon thread": 0, "thread": 1, "os._exit": 0, "SIGTERM": 0, "SIGINT": 0, "exception": 0,
    "sys.exit in a thread": 0, "stop everywhere": 1, "while a thread collects": 0, "os._exit in a collection": 1,
    "sys.exit in a handler": 1,
}  # fmt: skip
CONTROLS = {
    "forgets": r"\['missing'\]", "doubles": r"\['doubled'\]", "tears": "'torn'", "talks": "something",
    "fails": "9 == 0",
}  # fmt: skip
"""Ends of a logger that is wrong, and what they are called."""

BEFORE = 300
WATCHDOG = 20.0
"""Seconds until a process that hangs says where. Most of it is for a machine that does much else."""
FIRST = {"atexit first", "del first", "del builtins", "handler first"}


class Late:
    """Logs when it is collected."""

    def __del__(self, start: Callable[[str], cipherlog_core.Logger] = cipherlog_core.start) -> None:
        start("app").event("numbered", producer="late", seq=0)


def late(seq: int) -> None:
    cipherlog_core.start("app").event("numbered", producer="late", seq=seq)


def prepare(how: str) -> object:
    """What will log at the end."""
    if how in ("del first", "cycle"):
        return Late()
    if how == "del builtins":
        builtins.late = Late()
    elif how == "handler first":
        logging.getLogger("late").addHandler(cipherlog_core.CipherHandler())
        atexit.register(logging.getLogger("late").warning, "late")
    elif how in ("atexit first", "atexit"):
        atexit.register(late, 0)
    return None


def spin() -> None:
    logger = cipherlog_core.start("app")
    while True:
        logger.event("spinning")


class Ending:
    """Logs when it is collected, and ends the process there."""

    def __del__(self) -> None:
        late(0)
        sys.stdout.flush()
        os._exit(0)


def collect() -> None:
    """Garbage that logs when it is collected, without end."""
    logger = cipherlog_core.start("app")

    class Garbage:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            logger.event("collected")

    while True:
        Garbage()
        gc.collect(0)


def end_in_a_collection() -> None:
    ending = Ending()
    ending.me = ending  # type: ignore[attr-defined]
    del ending
    gc.collect()


def end_in_a_handler() -> None:
    """By the exception that `sys.exit` is, at whatever point of the logger it meets the main thread."""

    def handler(*_: object) -> None:
        late(0)
        sys.exit()

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    spin()


def end(how: str) -> None:
    """The end itself."""
    if how in ENDS:
        ENDS[how]()
    elif how == "atexit":
        atexit.register(late, 1)  # behind the logger's own: before it, in the order of exit
    elif how == "del":
        builtins.late, globals()["kept"] = Late(), None
        late(1)
    elif how in ("daemon thread", "while a thread collects"):
        threading.Thread(target=spin if how == "daemon thread" else collect, daemon=True).start()
    elif how == "thread":
        threading.Timer(0.05, late, (0,)).start()
    elif how == "os._exit":
        sys.stdout.flush()
        os._exit(0)
    elif how in ("SIGTERM", "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        sys.stdout.flush()
        os.kill(os.getpid(), getattr(signal, how))
    elif how == "exception":
        raise LookupError("of the program's own")
    elif how == "sys.exit in a thread":
        threading.Thread(target=sys.exit).start()


def stop_everywhere() -> None:
    """Start and stop twice, from threads, a signal handler, exit, beside events."""
    signal.signal(signal.SIGALRM, lambda *_: cipherlog_core.stop(0.5))
    atexit.register(cipherlog_core.stop)
    atexit.register(cipherlog_core.stop)
    threads = [threading.Thread(target=cipherlog_core.stop) for _ in range(4)]
    threads += [threading.Thread(target=cipherlog_core.start, args=("app",)) for _ in range(4)]
    threads += [threading.Thread(target=cipherlog_core.stats) for _ in range(4)]
    for thread in threads:
        thread.start()
        signal.raise_signal(signal.SIGALRM)
    for thread in threads:
        thread.join()
    late(0)
    cipherlog_core.stop()
    cipherlog_core.stop()


ENDS = {
    "stop everywhere": stop_everywhere,
    "os._exit in a collection": end_in_a_collection,
    "sys.exit in a handler": end_in_a_handler,
}


def spoil(how: str) -> None:
    """Make the logger wrong with every 50th line, or at the end."""
    append, numbers = Spool.append, itertools.count(1)

    def wrong(spool: Spool, line: bytes) -> bool:
        if next(numbers) % 50:
            return append(spool, line)
        return how == "forgets" or (append(spool, line[:90] + b"\n") if how == "tears" else append(spool, line * 2))

    if how in ("forgets", "doubles", "tears"):
        Spool.append = wrong
    elif how == "talks":
        atexit.register(print, "something", file=sys.stderr)
    elif how == "fails":
        atexit.register(os._exit, 9)


def main(how: str) -> None:
    faulthandler.dump_traceback_later(WATCHDOG, exit=True)
    spoil(how)
    kept = prepare(how)
    if how == "cycle":
        kept.me = kept  # type: ignore[union-attr]
        gc.disable()
    if how not in FIRST:
        logger = cipherlog_core.start("app")
        for seq in range(BEFORE):
            if logger.event("numbered", producer="main", seq=seq, text="x" * 200):
                print("main", seq)
    if how == "del first":
        globals()["kept"] = kept
    end(how)


if __name__ == "__main__":
    main(sys.argv[1])
