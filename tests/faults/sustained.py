"""A process that logs at a steady rate and watches itself. Run as ``python sustained.py EVENTS PER_SECOND``.

Prints, as JSON, what was acknowledged, and what the process held once a second: resident KiB, threads, descriptors.
"""

from __future__ import annotations

import json
import os
import sys
import time

import cipherlog_core


def held() -> tuple[int, int, int]:
    with open("/proc/self/status") as file:
        status = dict(line.split(":", 1) for line in file)
    return int(status["VmRSS"].split()[0]), int(status["Threads"]), len(os.listdir("/proc/self/fd"))


def main(events: int, per_second: int) -> None:
    logger = cipherlog_core.start("app")
    begin = time.monotonic()
    seconds, kept, samples = 0, 0, []
    for seq in range(events):
        ahead = begin + seq / per_second - time.monotonic()
        if ahead > 0.001:
            time.sleep(ahead)
        kept += logger.event("numbered", producer="a", seq=seq, call=f"call-{seq:08x}", elapsed_ms=seq % 9973 / 8)
        if time.monotonic() - begin >= seconds:
            seconds += 1
            samples.append(held())
    took = time.monotonic() - begin
    assert cipherlog_core.stop(30)
    stats = cipherlog_core.stats()
    print(json.dumps({"kept": kept, "dropped": stats.dropped, "took": took, "samples": samples}))


main(*map(int, sys.argv[1:]))
