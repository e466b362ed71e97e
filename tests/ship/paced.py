"""A process that logs numbered events at a pace: ``python paced.py COUNT PER_SECOND TIMES``.

Writes the 99th percentile of an event's time, in microseconds, to TIMES.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cipherlog_core

TOGETHER = 20


def main(count: int, per_second: int, times: str) -> None:
    logger = cipherlog_core.start("app")
    taken = []
    begun = time.perf_counter()
    for seq in range(count):
        if seq % TOGETHER == 0:
            time.sleep(max(0.0, begun + seq / per_second - time.perf_counter()))
        before = time.perf_counter_ns()
        assert logger.event("numbered", seq=seq, text="x" * (seq % 100))
        taken.append(time.perf_counter_ns() - before)
    assert cipherlog_core.stop(10)
    Path(times).write_text(str(sorted(taken)[len(taken) * 99 // 100] / 1000))


main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
