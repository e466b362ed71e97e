"""examples/cipher's llm-inference with a watch on it: a further tool tells the time inside tap and logger.

Run as ``python -m benchmarks.tools_server queue`` or ``… sync``: then each line is written as the hand-written function
did it, by opening, appending and closing the file in the caller's thread.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from cipherlog_core._logger import Logger
from cipherlog_core._spool import Spool

_SERVER = Path(__file__).parents[1] / "examples" / "cipher" / "servers" / "llm_inference_mcp.py"
_clock = time.perf_counter_ns
_spent = _depth = 0


def _timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """*function*, whose time is counted once where it is called within another of these."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        global _spent, _depth
        _depth += 1
        begin = _clock()
        try:
            return function(*args, **kwargs)
        finally:
            _depth -= 1
            if not _depth:
                _spent += _clock() - begin

    return call


def _append_at_once(spool: Spool, line: bytes) -> bool:
    with open(os.path.join(os.environ["LOG_DIR"], spool.name), "ab") as file:
        file.write(line)
    return True


def spent() -> int:
    """Nanoseconds in tap and logger since the last time."""
    global _spent
    total, _spent = _spent, 0
    return total


def main(how: str) -> None:
    """Serve over stdio."""
    if how == "sync":
        os.makedirs(os.environ["LOG_DIR"], exist_ok=True)
        Spool.append = _append_at_once
    from openrouter_tap import _transport  # its channel takes the spool's `append` when it is imported
    from openrouter_tap._observation import Observation

    _transport.begin, _transport.observe = _timed(_transport.begin), _timed(_transport.observe)
    Observation.finish = _timed(Observation.finish)
    Logger.event, Logger.handle = _timed(Logger.event), _timed(Logger.handle)
    example = runpy.run_path(str(_SERVER))
    example["server"].tool()(spent)
    example["server"].run()


if __name__ == "__main__":
    main(*sys.argv[1:])
