"""examples/cipher's llm-inference with a watch on it: a further tool tells the time inside tap and logger, by call.

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

import cipherlog_core
import openrouter_tap
from cipherlog_core._logger import Logger
from cipherlog_core._spool import Spool

_SERVER = Path(__file__).parents[1] / "examples" / "cipher" / "servers" / "llm_inference_mcp.py"
_clock = time.perf_counter_ns
_spent = [0]  # of each tool call; what came before the first stands ahead of it
_depth = 0


def _timed(function: Callable[..., Any], *, is_first: bool = False) -> Callable[..., Any]:
    """*function*, whose time is counted once where it is called within another of these.

    *is_first*: a tool call begins with it.
    """

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        global _depth
        if is_first:
            _spent.append(0)
        _depth += 1
        begin = _clock()
        try:
            return function(*args, **kwargs)
        finally:
            _depth -= 1
            if not _depth:
                _spent[-1] += _clock() - begin

    return call


def _append_at_once(spool: Spool, line: bytes) -> bool:
    with open(os.path.join(os.environ["LOG_DIR"], spool.name), "ab") as file:
        file.write(line)
    return True


def spent() -> list[int]:
    """Nanoseconds in tap and logger of each tool call since the last time."""
    calls = _spent[1:]
    _spent[:] = [0]
    return calls


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
    cipherlog_core.bind, openrouter_tap.tag = _timed(cipherlog_core.bind, is_first=True), _timed(openrouter_tap.tag)
    example = runpy.run_path(str(_SERVER))
    example["server"].tool()(spent)
    example["server"].run()


if __name__ == "__main__":
    main(*sys.argv[1:])
