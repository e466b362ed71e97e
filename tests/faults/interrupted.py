"""A process whose main thread logs while a timer interrupts it about 1,400 times a second.

Run as ``python interrupted.py MODE INTERRUPTS``: it ends when so many have come and 1,000 events are logged.
The handler raises (MODE = raise), logs (log), logs and flushes (flush) or logs and stops (stop). A second thread logs
beside it. Prints, as JSON, which events were acknowledged.
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

    def __init__(self, *, raises: bool) -> None:
        self.raises = raises
        self.logger = cipherlog_core.start("app")
        self.kept: dict[str, list[int]] = {"main": [], "thread": [], "handler": []}
        self.numbers = dict.fromkeys(self.kept, 0)
        self.inside = False
        self.interrupts = 0
        self.is_over = False

    def one(self, producer: str) -> None:
        number = self.numbers[producer]
        self.numbers[producer] = number + 1
        if self.logger.event("numbered", producer=producer, seq=number, text="x" * (number % 700)):
            self.kept[producer].append(number)

    def one_interrupted(self) -> None:
        try:
            self.inside = self.raises
            self.one("main")
            self.inside = False if self.raises else self.inside
        except Interrupt:
            self.interrupts += 1

    def from_thread(self) -> None:
        while not self.is_over:
            self.one("thread")


def main(mode: str, interrupts: str) -> None:
    log = Log(raises=mode == "raise")

    def handler(*_: object) -> None:
        if mode in ("log", "flush", "stop"):
            log.one("handler")
            log.interrupts += 1
            if mode != "log" and not log.inside and not log.interrupts % 100:
                log.inside = True  # one at a time: the next signal comes before this one is done
                (cipherlog_core.flush if mode == "flush" else cipherlog_core.stop)(0.02)
                log.inside = False
        elif log.inside:
            log.inside = False
            raise Interrupt

    deadline = time.monotonic() + 30
    thread = threading.Thread(target=log.from_thread)
    thread.start()
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)
    while (log.interrupts < int(interrupts) or len(log.kept["main"]) < 1000) and time.monotonic() < deadline:
        log.one_interrupted()
    signal.setitimer(signal.ITIMER_REAL, 0)
    log.is_over = True
    thread.join(20)
    assert not thread.is_alive()
    assert cipherlog_core.stop(10)
    print(json.dumps({"kept": log.kept, "interrupts": log.interrupts}))


main(*sys.argv[1:])
