"""A process whose main thread logs while a timer interrupts it about 1,400 times a second.

Run as ``python interrupted.py MODE SECONDS``. The handler raises (MODE = raise) or logs (MODE = log). A second thread
logs beside it. Prints, as JSON, which events of each producer were acknowledged.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time

import cipherlog_core


class Interrupt(BaseException):
    """As KeyboardInterrupt: it comes between any two steps of the main thread."""


class Log:
    """Logs numbered events of several producers and remembers which were acknowledged."""

    def __init__(self) -> None:
        self.logger = cipherlog_core.start("app")
        self.kept: dict[str, list[int]] = {"main": [], "thread": [], "handler": []}
        self.numbers = dict.fromkeys(self.kept, 0)
        self.inside = False
        self.interrupts = 0

    def one(self, producer: str) -> None:
        number = self.numbers[producer]
        self.numbers[producer] = number + 1
        if self.logger.event("numbered", producer=producer, seq=number, text="x" * (number % 700)):
            self.kept[producer].append(number)

    def one_interrupted(self) -> None:
        try:
            self.inside = True
            self.one("main")
            self.inside = False
        except Interrupt:
            self.interrupts += 1

    def from_thread(self, end: float) -> None:
        while time.monotonic() < end:
            self.one("thread")


def main(mode: str, seconds: str) -> None:
    log = Log()

    def handler(*_: object) -> None:
        if mode == "log":
            log.one("handler")
        elif log.inside:
            log.inside = False
            raise Interrupt

    end = time.monotonic() + float(seconds)
    thread = threading.Thread(target=log.from_thread, args=(end,))
    thread.start()
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)
    while time.monotonic() < end:
        log.one_interrupted()
    signal.setitimer(signal.ITIMER_REAL, 0)
    thread.join(20)
    assert not thread.is_alive()
    assert cipherlog_core.stop(10)
    print(json.dumps({"kept": log.kept, "interrupts": log.interrupts}))


main(*sys.argv[1:])
