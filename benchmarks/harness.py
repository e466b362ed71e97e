"""The protocol of all benchmarks: blocks in random order, a control, differences within a round, tables.

A variant runs one block at a time: many calls after each other, timed one by one and as a whole, the work it puts off
included. Each round runs one block of each variant in an order drawn anew, so that the phases of a shared machine meet
all alike. What one variant costs more than another is the difference within a round; the median of all rounds is
quoted, with quartiles. A variant that runs twice, the control, shows how much of such a difference is noise.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import gzip
import importlib.metadata
import math
import os
import platform
import random
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec

__all__ = [
    "Block",
    "Options",
    "Series",
    "Spread",
    "differences",
    "interleave",
    "met",
    "must",
    "must_share",
    "percentile",
    "publish",
    "read_back",
    "require",
    "spared_collector",
    "table",
    "ticks",
]

_RESULTS = Path(__file__).with_name("RESULTS.md")
_MICRO = 1000  # nanoseconds


@dataclass(frozen=True, slots=True)
class Block:
    """Calls of one variant; the fields in nanoseconds, the properties in microseconds a call."""

    calls: list[int]
    called: int
    """From the first call until the last had returned."""
    settled: int
    """From the first call until the work that was put off was done too."""

    @property
    def median(self) -> float:
        return statistics.median(self.calls) / _MICRO

    @property
    def p95(self) -> float:
        return percentile(sorted(self.calls), 95) / _MICRO

    @property
    def first(self) -> float:
        """The first call, after the work of other variants: its code and data are in no cache."""
        return self.calls[0] / _MICRO

    @property
    def whole(self) -> float:
        """The share of one call in the whole block: nothing that was put off is left out."""
        return self.settled / len(self.calls) / _MICRO


def percentile(ordered: Sequence[int], percent: float) -> int:
    """The smallest that so many per cent of the sorted figures do not exceed."""
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]


class Series:
    """The blocks of one variant in the order of the rounds, and figures over all their calls in microseconds."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self.blocks = list(blocks)
        self._calls = sorted(call for block in self.blocks for call in block.calls)

    def percentile(self, percent: float) -> float:
        return percentile(self._calls, percent) / _MICRO

    @property
    def mean(self) -> float:
        return statistics.fmean(self._calls) / _MICRO

    @property
    def called_per_second(self) -> float:
        return len(self._calls) / sum(block.called for block in self.blocks) * 1e9

    @property
    def settled_per_second(self) -> float:
        return len(self._calls) / sum(block.settled for block in self.blocks) * 1e9


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of one figure of each round."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: Iterable[float]) -> Self:
        low, median, high = statistics.quantiles(figures, n=4, method="inclusive")
        return cls(median, low, high)

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def differences(base: Series, series: Series, figure: Callable[[Block], float]) -> list[float]:
    """What *series* costs more than *base*, round by round."""
    return [figure(more) - figure(less) for less, more in zip(base.blocks, series.blocks, strict=True)]


def interleave(variants: Mapping[str, Callable[[], Block]], rounds: int, draw: random.Random) -> dict[str, Series]:
    """Run a block of each variant *rounds* times, after one round that does not count."""
    blocks: dict[str, list[Block]] = {name: [] for name in variants}
    for _ in range(rounds + 1):
        for name in draw.sample(list(variants), len(variants)):
            blocks[name].append(variants[name]())
    return {name: Series(run[1:]) for name, run in blocks.items()}


@contextmanager
def spared_collector() -> Iterator[None]:
    """Begin with nothing to collect, and hide from the collector what the benchmark itself holds ready."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def ticks(seconds: float) -> AsyncIterator[int]:
    """Wake every so many *seconds*; how many nanoseconds late the loop was each time. A missed one is left out."""
    due = time.perf_counter()
    while True:
        due += seconds
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        late = max(0.0, time.perf_counter() - due)
        yield int(late * 1e9)
        if late > seconds:
            due += late


class Options:
    """The command line of a benchmark, and its source of random order."""

    def __init__(self, module: str, purpose: str, rounds: int) -> None:
        parser = argparse.ArgumentParser(prog=f"python -m {module}", description=purpose)
        parser.add_argument("--rounds", type=int, default=rounds, help="blocks of each variant (%(default)s)")
        parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="of the blocks' order (random)")
        parser.add_argument("--write", action="store_true", help="put the result into benchmarks/RESULTS.md")
        given = parser.parse_args()
        if given.rounds < 2:
            parser.error("--rounds: quartiles need 2 at least")
        self.module, self.rounds, self.seed, self.write = module, given.rounds, given.seed, given.write
        self.draw = random.Random(given.seed)

    def heading(self, *packages: str) -> str:
        """What was run where: command, machine and versions."""
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
        return (
            f"`python -m {self.module} --rounds {self.rounds} --seed {self.seed}`\n\n"
            f"{os.cpu_count()} CPUs ({platform.machine()}), {platform.system()} {platform.release()}, "
            f"{platform.python_implementation()} {platform.python_version()}, {versions}."
        )


def read_back(folder: Path) -> tuple[list[dict[str, Any]], int]:
    """The records in all logs of *folder*, rotated files included, and their bytes. Each line must be JSON."""
    files = [path for path in folder.glob("*.jsonl*") if not path.with_name(f"{path.name}.gz").exists()]
    data = [gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in files]
    try:
        return [msgspec.json.decode(line) for text in data for line in text.splitlines()], sum(map(len, data))
    except msgspec.DecodeError as error:
        raise SystemExit(f"The figures do not count: a line is no JSON ({error}).") from None


def require(fact: bool, otherwise: str) -> None:
    """End the program if *fact* is not so: a variant that loses or skips work has no figures."""
    if not fact:
        raise SystemExit(f"The figures do not count: {otherwise}.")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Markdown; the first column is text and the others are figures."""
    columns = list(head)
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [columns, rule, *rows])


def must(passed: bool) -> str:
    return "PASS" if passed else "**FAIL**"


def must_share(share: Spread, limit: float, control: Spread, rival: Spread) -> str:
    """Whether a *share* of what a *rival* adds is small enough; no verdict where the noise is a tenth of that."""
    if max(-control.low, control.high) > rival.median / 10:
        return "noise"
    return must(share.median <= limit)


def met(aim: bool) -> str:
    return "met" if aim else "missed"


def publish(section: str, paragraphs: Iterable[str], *, write: bool) -> None:
    """Print the result, and put it between the marks of its *section* in RESULTS.md."""
    text = "\n\n".join(paragraphs)
    print(text)
    if not write:
        return
    begin, end = f"<!-- {section}: begin -->\n", f"<!-- {section}: end -->"
    page = _RESULTS.read_text(encoding="utf-8")
    before, mark, rest = page.partition(begin)
    _, other, after = rest.partition(end)
    if not (mark and other):
        raise SystemExit(f"{_RESULTS.name} has no marks for the section {section!r}")
    _RESULTS.write_text(f"{before}{begin}\n{text}\n\n{end}{after}", encoding="utf-8")
