"""What an event loop and an idle process feel of the logger. RESULTS.md tells the method."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.data import event_number, server_fields
from benchmarks.harness import Options, Spread, met, publish, read_back, require, spared_collector, table, ticks
from benchmarks.loggers import Emit, Logger, nothing, ours, recipe

__all__ = ["main"]

_SECONDS = 2.0
_TICK = 0.001
_BURST = 5  # events a tick: 5,000 a second
_IDLE = 10.0

_AIM_LAG = 1.5  # times an empty loop's
_AIM_IDLE = 0.1  # percent of a core

_EMPTY, _OURS, _CONTROL, _RECIPE = "empty loop", "`Logger.event`", "empty loop again (control)", "recipe"

_IDLING = """
import cipherlog_core, sys, time
logger = cipherlog_core.start("idle", settings=cipherlog_core.Settings(dir=sys.argv[1]))
for number in range(100):
    logger.event("x", number=number)
time.sleep(3)  # until the writer has seen that nothing comes
cpu = time.process_time()
time.sleep(float(sys.argv[2]))
print((time.process_time() - cpu) / float(sys.argv[2]) * 100)
"""


async def _lags(emit: Emit, seconds: float) -> tuple[list[int], int]:
    """How late, in nanoseconds, each tick of a loop comes that logs a burst at each; and the number of events."""
    lags: list[int] = []
    end = time.perf_counter() + seconds
    async for late in ticks(_TICK):
        lags.append(late)
        for number in range(len(lags) * _BURST - _BURST, len(lags) * _BURST):
            emit(server_fields(number))
        if time.perf_counter() >= end:
            break
    return lags, len(lags) * _BURST


def _block(logger: Logger) -> list[int]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with spared_collector(), logger(folder) as emit:
            lags, number = asyncio.run(_lags(emit, _SECONDS))
        if logger is not nothing:
            found = sorted(event_number(record["fields"]) for record in read_back(folder)[0])
            require(found == list(range(number)), f"{number} events left {len(found)} lines or others")
    return lags


def _p99(lags: list[int]) -> float:
    return sorted(lags)[int(len(lags) * 0.99)] / 1000


def _idle() -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", _IDLING, folder, str(_IDLE)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Measure, judge and publish."""
    options = Options("benchmarks.quiet", __doc__, rounds=8)
    variants: dict[str, Logger] = {_EMPTY: nothing, _CONTROL: nothing, _OURS: ours, _RECIPE: recipe}
    runs: dict[str, list[list[int]]] = {name: [] for name in variants}
    for _ in range(options.rounds):
        for name in options.draw.sample([*variants], len(variants)):
            runs[name].append(_block(variants[name]))
    idle = Spread.of(_idle() for _ in range(3))

    def share(name: str) -> Spread:
        return Spread.of(_p99(mine) / _p99(empty) for mine, empty in zip(runs[name], runs[_EMPTY], strict=True))

    rows = [[name, f"{Spread.of(map(_p99, series)):.0f}", f"{share(name):.2f}"] for name, series in runs.items()]
    verdicts = [
        [
            "loop lag's p99 ÷ an empty loop's",
            f"{share(_OURS):.2f}",
            f"≤ {_AIM_LAG}",
            met(share(_OURS).median <= _AIM_LAG),
        ],
        ["CPU of an idle process, percent", f"{idle:.3f}", f"≤ {_AIM_IDLE}", met(idle.median <= _AIM_IDLE)],
    ]
    paragraphs = [
        options.heading("msgspec", "orjson"),
        "Checked: of each block all files, read back, hold each event exactly once.",
        table(("aim", "figure", "", ""), verdicts),
        f"### Lateness of a loop's ticks of 1 ms, {_BURST} events at each, {_SECONDS:.0f} s in a block\n\n"
        + table(("", "p99 µs, by block", "÷ empty loop's"), rows),
    ]
    publish("quiet", paragraphs, write=options.write)


if __name__ == "__main__":
    main()
