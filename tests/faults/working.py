"""A parent that logs and its workers, started by one of multiprocessing's methods.

Run as ``python working.py METHOD WORKERS``. Workers end as multiprocessing ends them: no exit handler runs, nothing is
flushed by hand. When all have ended, prints how many rings are left behind, and ends.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

import cipherlog_core

EVENTS = 200


def work(name: str) -> None:
    logger = cipherlog_core.start("app")
    for seq in range(EVENTS):
        assert logger.event("numbered", producer=name, seq=seq, text="x" * 300)


def main(method: str, workers: str) -> None:
    logger = cipherlog_core.start("app")
    for seq in range(EVENTS):
        assert logger.event("numbered", producer="parent", seq=seq)
    context = multiprocessing.get_context(method)
    processes = [context.Process(target=work, args=(f"worker {number}",)) for number in range(int(workers))]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    spool = Path(os.environ["LOG_DIR"]) / ".spool"
    print(len([path for path in spool.glob("*.ring") if f".{os.getpid()}-" not in path.name]))


if __name__ == "__main__":
    main(*sys.argv[1:])
