"""What reaches the disk: one process and eight on one file, with rotation and gzip, and how a producer fares meanwhile.

RESULTS.md tells the method. Each block runs in processes of its own, so that no logger inherits another's threads.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.data import event_number
from benchmarks.harness import Options, Spread, must, publish, read_back, require, table
from benchmarks.producers import LOGGERS

__all__ = ["main"]

_ONE = 150_000  # events of a block of one process: five segments of 10 MB
_EIGHT = 40_000  # of each of eight processes
_PROCESSES = 8
_SLOW = {"loguru": 5, "recipe": 2, "concurrent-log-handler": 2}  # so many times fewer events, for the same patience

_MUST_RATE = 4.0  # times concurrent-log-handler's
_MUST_STALL = 1 / 10  # of loguru's
_AIM_RATE, _AIM_COST_RATE, _AIM_CPU, _AIM_EIGHT = 350_000, 200_000, 4.0, 500_000

OURS, COSTS, CLH = "ours", "ours, cost records", "concurrent-log-handler"


@dataclass(frozen=True, slots=True)
class Run:
    """Processes that have logged, from the first event of the first to the last byte of all on disk."""

    events: int
    seconds: float
    """Until all is in files."""
    with_gzip: float
    """Until all that was closed is compressed too."""
    cpu: float
    latencies: list[int]
    """Of each call, in nanoseconds, where they were timed."""

    @property
    def rate(self) -> float:
        return self.events / self.seconds

    @property
    def rate_with_gzip(self) -> float:
        return self.events / self.with_gzip

    @property
    def cpu_per_million(self) -> float:
        return self.cpu / self.events * 1e6


def _run(logger: str, mode: str, events: int, processes: int = 1) -> Run:
    """Have *processes* log and read back that each event is there once."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.producers", logger, mode, folder, str(events)]
        running = [
            subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for number in range(processes)
        ]
        for one in running:
            require(bool(one.stdout and one.stdout.readline()), f"{logger} did not start")
        for one in running:
            assert one.stdin
            one.stdin.write("go\n")
            one.stdin.flush()
        told: list[dict[str, Any]] = [json.loads(one.communicate(timeout=600)[0]) for one in running]
        require(not any(one.returncode for one in running), f"{logger} failed")
        require(not any(facts["dropped"] for facts in told), f"{logger} dropped events")
        found = sorted(filter(None, map(_key, read_back(Path(folder))[0])))
        expected = [(str(number), seq) for number in range(processes) for seq in range(events)]
        require(found == sorted(expected), f"{len(expected)} events to {logger} left {len(found)} lines or others")
    begin = min(facts["begin"] for facts in told)
    return Run(
        events * processes,
        max(facts["written"] for facts in told) - begin,
        max(facts["settled"] for facts in told) - begin,
        sum(facts["cpu"] for facts in told),
        [latency for facts in told for latency in facts["latencies"]],
    )


def _key(record: dict[str, Any]) -> tuple[str, int] | None:
    """The producer of a record and its number; None for what was there before."""
    producer = record["fields"].get("producer") or record["session_id"]
    return None if producer == "filler" else (producer, event_number(record["fields"]))


def _interleaved(
    options: Options, names: list[str], mode: str, events: int, processes: int = 1
) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in options.draw.sample(names, len(names)):
            slow = 1 if mode == "stall" else _SLOW.get(name, 1)
            runs[name].append(_run(name, mode, events // slow, processes))
    return runs


def _rates(runs: dict[str, list[Run]]) -> str:
    rows = [
        [
            name,
            f"{Spread.of(run.rate for run in series):,.0f}",
            f"{Spread.of(run.rate_with_gzip for run in series):,.0f}",
            f"{Spread.of(run.cpu_per_million for run in series):.1f}",
        ]
        for name, series in runs.items()
    ]
    return table(("", "events/s in files", "events/s, gzip done too", "CPU s per million, gzip included"), rows)


def _share(runs: dict[str, list[Run]], figure: str = "rate") -> Spread:
    pairs = zip(runs[OURS], runs[CLH], strict=True)
    return Spread.of(getattr(mine, figure) / getattr(theirs, figure) for mine, theirs in pairs)


def _percentile(latencies: list[int], percent: float) -> float:
    ordered = sorted(latencies)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] / 1000


def main() -> None:
    """Measure, judge and publish."""
    options = Options("benchmarks.disk", __doc__, rounds=5)
    one = _interleaved(options, [*LOGGERS], "flat out", _ONE)
    eight = _interleaved(options, [OURS, CLH], "shared", _EIGHT, _PROCESSES)
    stall = _interleaved(options, [OURS, "recipe", "loguru"], "stall", 4000)
    ours = _percentile([latency for run in stall[OURS] for latency in run.latencies], 99.9)
    loguru = Spread.of(max(run.latencies) / 1000 for run in stall["loguru"])
    verdicts = [
        ["one process, events/s in files ÷ CLH's", f"{_share(one):.1f}", "≥ 4", must(_share(one).median >= _MUST_RATE)],
        [
            "the same until gzip is done too",
            f"{_share(one, 'rate_with_gzip'):.1f}",
            "≥ 4",
            must(_share(one, "rate_with_gzip").median >= _MUST_RATE),
        ],
        ["eight processes, events/s ÷ CLH's", f"{_share(eight):.1f}", "≥ 4", must(_share(eight).median >= _MUST_RATE)],
        [
            "producer's p99.9 while 50 MiB are compressed ÷ loguru's stall",
            f"{ours / loguru.median:.5f}",
            "≤ 0.1",
            must(ours / loguru.median <= _MUST_STALL),
        ],
    ]
    aims = [
        ["events/s at 330 B", Spread.of(run.rate for run in one[OURS]).median, _AIM_RATE, 1],
        ["events/s of cost records", Spread.of(run.rate for run in one[COSTS]).median, _AIM_COST_RATE, 1],
        ["CPU s per million, gzip included", Spread.of(run.cpu_per_million for run in one[OURS]).median, _AIM_CPU, -1],
        ["events/s of eight processes", Spread.of(run.rate for run in eight[OURS]).median, _AIM_EIGHT, 1],
    ]
    aim_rows = [
        [
            name,
            f"{found:,.1f}",
            f"{'≥' if sign > 0 else '≤'} {aim:,.0f}",
            "met" if (found - aim) * sign >= 0 else "missed",
        ]
        for name, found, aim, sign in aims
    ]
    stalls = [
        [name, *(f"{_percentile([one for run in runs for one in run.latencies], p):,.1f}" for p in (50, 99, 99.9, 100))]
        for name, runs in stall.items()
    ]
    paragraphs = [
        options.heading("msgspec", "orjson", "concurrent-log-handler", "loguru"),
        "Checked: nothing dropped; all files, compressed ones included, read back hold each event exactly once.",
        table(("must", "figure", "", ""), verdicts),
        table(("aim", "figure", "", ""), aim_rows),
        f"### One process, flat out, segments of 10 MB, gzip at once\n\n{_rates(one)}",
        f"### {_PROCESSES} processes, one file, segments of 10 MB, no gzip\n\n{_rates(eight)}",
        "### A call while a segment of 50 MiB is compressed: 2,000 events/s for 2 s\n\n"
        + table(("", "p50 µs", "p99", "p99.9", "max"), stalls),
    ]
    publish("disk", paragraphs, write=options.write)


if __name__ == "__main__":
    main()
