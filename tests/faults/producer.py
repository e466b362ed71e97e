"""A process that logs numbered events flat out and notes, in a shared page, how many were acknowledged.

Run as ``python producer.py FOLDER PRODUCER ACKS``. The settings come from the environment.
"""

from __future__ import annotations

import itertools
import mmap
import sys

import cipherlog_core


def main(producer: str, acks: str) -> None:
    logger = cipherlog_core.start("app")
    with open(acks, "r+b") as file:
        words = memoryview(mmap.mmap(file.fileno(), mmap.PAGESIZE)).cast("Q")
    for seq in itertools.count():
        text = "x" * (seq * 37 % 700)
        if logger.event("numbered", producer=producer, seq=seq, text=text):
            words[0] = seq + 1
        else:
            words[1] += 1


main(*sys.argv[1:])
