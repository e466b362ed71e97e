"""A process that logs to all three kinds of files: ``python numbered.py COUNT PER_SECOND``.

The settings come from the environment. Some lines are long, some hold what a shipper that reads text could trip over.
"""

from __future__ import annotations

import sys
import time

import cipherlog_core
from openrouter_tap import log_cost

ODD = 'tab\tquote"back\\slash\nnewline\r\x00\x1b[31m ä 漢 😀 \u2028 \u0085 %msg% ${HOME} {{ x }}'


def main(count: str, per_second: str) -> None:
    logger = cipherlog_core.start("llm-inference")
    begin = time.monotonic()
    for seq in range(int(count)):
        long = seq % 997 == 500
        logger.event("numbered", seq=seq, text=ODD if seq % 3 else "", more="x" * (60_000 if long else seq * 37 % 300))
        if not seq % 4:
            log_cost(
                model=f"maker/model-{seq % 7}", tokens={"prompt": seq, "completion": 1}, cost=seq / 1e6, seq=str(seq)
            )
        if not seq % 16:
            cipherlog_core.routing_event(selected_tool="search", status=str(seq))
        if not seq % 20:
            cipherlog_core.flush()
            time.sleep(max(0.0, begin + seq / int(per_second) - time.monotonic()))
    cipherlog_core.stop()


main(*sys.argv[1:])
