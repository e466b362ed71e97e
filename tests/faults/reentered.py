"""A process in which the logger is called from where it is least expected. Run as ``python reentered.py HOW``.

Prints ``producer seq`` for each event that was acknowledged. Ends with status 1 and all stacks if it hangs for 5 s.
"""

from __future__ import annotations

import atexit
import faulthandler
import io
import itertools
import logging
import logging.config
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

WATCHDOG = 5.0
NUMBERS = itertools.count()


def acknowledged(producer: str, seq: int) -> None:
    if cipherlog_core.start("app").event("numbered", producer=producer, seq=seq, text="x" * 100):
        os.write(1, f"{producer} {seq}\n".encode())


def from_hook(where: str) -> Callable[[], None]:
    """What logs whenever it is called, in the process's own name."""
    numbers = itertools.count()
    return lambda: acknowledged(f"{where} {os.getpid()}", next(numbers))


if __name__ == "__main__":  # of each kind one hook before the logger's own, and one after
    os.register_at_fork(before=from_hook("before"), after_in_parent=from_hook("in parent"))
    os.register_at_fork(after_in_child=from_hook("in child"))

import cipherlog_core  # noqa: E402  behind the hooks, that is the point


class Talkative(io.TextIOBase):
    """A stream that logs, and maybe flushes the log, whenever it is written to."""

    written = 0

    def __init__(self, *, flushes: bool) -> None:
        self.flushes = flushes

    def write(self, text: str) -> int:
        acknowledged("stream", next(NUMBERS))
        self.written += 1
        if self.flushes:
            cipherlog_core.flush(0.1)
        return len(text)


class Recording(logging.Handler):
    """A handler that logs what it is given, by the logger itself."""

    def emit(self, record: logging.LogRecord) -> None:
        acknowledged("handler", next(NUMBERS))
        cipherlog_core.flush(0.1)


def beside(work: Callable[[], object], deed: Callable[[], object]) -> None:
    """Do the *deed* while two threads do their *work* again and again."""
    ended = threading.Event()

    def again() -> None:
        while not ended.is_set():
            work()
            time.sleep(0.0005)  # enough for one to be at it always, and little to read afterwards

    threads = [threading.Thread(target=again) for _ in range(2)]
    for thread in threads:
        thread.start()
    deed()
    ended.set()
    for thread in threads:
        thread.join()


def forks() -> None:
    os.register_at_fork(before=from_hook("late before"), after_in_parent=from_hook("late in parent"))
    os.register_at_fork(after_in_child=from_hook("late in child"))
    logger = cipherlog_core.start("app")

    def fork() -> None:
        for _ in range(10):
            if not os.fork():
                acknowledged(f"child {os.getpid()}", 0)
                os._exit(0)
            os.wait()

    beside(lambda: logger.event("noise"), fork)


def console(*, flushes: bool) -> None:
    sys.stderr = stream = Talkative(flushes=flushes)
    for seq in range(20):
        acknowledged("main", seq)
    while not stream.written:
        cipherlog_core.flush(1)


def handlers() -> None:
    acknowledged("main", 0)
    logging.getLogger().addHandler(Recording())
    logging.getLogger("cipherlog_core").addHandler(Recording())  # of our own notices, too
    beside(
        lambda: logging.getLogger("other").warning("noise"), lambda: [acknowledged("main", 1 + n) for n in range(20)]
    )
    cipherlog_core.start("app", settings=cipherlog_core.Settings(queue_max=100))  # a notice


def configured() -> None:
    ours = {"class": "cipherlog_core.CipherHandler", "server": "app"}
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"ours": ours},
        "root": {"handlers": ["ours"], "level": "INFO"},
    }
    noisy = logging.getLogger("noise")  # now: to get one waits while others configure
    acknowledged("main", 0)

    logged: list[int] = []

    def log() -> None:
        noisy.warning("noise")
        acknowledged("thread", next(NUMBERS))
        logged.append(1)

    def configure() -> None:
        for number in itertools.count():
            logging.config.dictConfig(config)
            if number > 50 and len(logged) > 50:
                return

    beside(log, configure)
    logging.getLogger("last").warning("last")


def stops() -> None:
    """By a signal's handler, at exit, and by threads, while others log and start."""
    signal.signal(signal.SIGALRM, lambda *_: cipherlog_core.stop(0.2))
    atexit.register(cipherlog_core.stop)
    acknowledged("main", 0)

    def deed() -> None:
        for number in range(20):
            signal.setitimer(signal.ITIMER_REAL, 0.0005 + number * 0.0005)  # at whatever point it meets this thread
            cipherlog_core.stop(0.2)
            cipherlog_core.start("app")

    beside(lambda: acknowledged("thread", next(NUMBERS)), deed)
    signal.setitimer(signal.ITIMER_REAL, 0)
    atexit.register(acknowledged, "late", 0)
    atexit.register(cipherlog_core.stop)


HOW = {
    "forks": forks,
    "console": partial(console, flushes=False),
    "console that flushes": partial(console, flushes=True),
    "handlers": handlers,
    "dictConfig": configured,
    "stops": stops,
}

if __name__ == "__main__":
    faulthandler.dump_traceback_later(WATCHDOG, exit=True)
    HOW[sys.argv[1]]()
